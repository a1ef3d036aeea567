//! The watch oracle, under kill -9: what followers are told, against what the log holds, against what was acknowledged.
//!
//! Writers change a cluster by way of whatever server is there, repeat what was not acknowledged, and note what the
//! log has to say of it. Readers follow by each protocol, cut themselves off at random, and go on from their last
//! cursor wherever somebody answers. Meanwhile one server after the other is killed and started again. In the end there
//! is one truth: the log, read from its start. It holds what was acknowledged, each change once, and nothing else; and
//! every reader was told exactly that, in that order.
//!
//! `tests/suite/oracle.rs` asks the same of 100,000 changes, of servers that come and go in order, and of commits that
//! overtake each other. Where the cuts fall is drawn from a fixed seed; what happens in between is up to the scheduler.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aetherium::cluster::Cursor;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, Method, StatusCode};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

use crate::database::TestDatabase;
use crate::harness::{EventStream, Program, Protocol, Server, Told, http, previous_build};

/// Workers that report, each by one writer.
const WRITERS: usize = 4;

/// How often each of them starts anew.
const ROUNDS: usize = 8;

/// How many VMs begin in a round.
const VMS: usize = 120;

/// What a round asks for, see [`Writer::round`].
const REQUESTS: usize = 5;

/// How often a server is killed.
const KILLS: usize = 5;

/// Everything has to be over by then, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(300);

/// Where servers listen; the place of one is empty while it is dead.
type Addresses = Vec<Option<SocketAddr>>;

/// The servers as their clients see them.
#[derive(Clone)]
struct Cluster {
    http: Client,
    addresses: watch::Receiver<Addresses>,
}

impl Cluster {
    /// One server of those that are there now.
    async fn any(&mut self, random: &mut StdRng) -> SocketAddr {
        let present = self.addresses.wait_for(|addresses| addresses.iter().any(Option::is_some)).await.unwrap();
        let present: Vec<_> = present.iter().flatten().collect();
        *present[random.random_range(0..present.len())]
    }
}

/// A worker that reports, and its operator.
struct Writer {
    id: String,
    cluster: Cluster,
    random: StdRng,
    acknowledged: Arc<watch::Sender<usize>>,
    /// What the log has to say, as far as it was acknowledged.
    changes: Vec<String>,
    sequence: u64,
}

impl Writer {
    /// Lives through all rounds. Answers what the log has to say of it.
    async fn live(mut self) -> Vec<String> {
        let mut left_over = Vec::new();
        for round in 0..ROUNDS {
            left_over = self.round(round, left_over).await;
        }
        self.changes
    }

    /// Starts, has VMs, is drained, changes some and loses others, is activated. Answers the VMs that it then has.
    async fn round(&mut self, round: usize, left_over: Vec<String>) -> Vec<String> {
        let body = json!({
            "hostname": self.id, "address": "192.0.2.1:8081", "cpu_cores": 64, "memory_mb": 65_536, "max_vms": 1_000,
            "boot_id": format!("start-{round}")
        });
        let answer = self.ask(Method::PUT, "", &body).await;
        self.note(if round == 0 { "worker_registered" } else { "worker_restarted" }, &[""]);
        self.note("vm_vanished", &left_over);
        let incarnation = &answer["incarnation"];

        let all: Vec<_> = (0..VMS).map(|vm| format!("{}-{round}-{vm:03}", self.id)).collect();
        let beat = json!({"incarnation": incarnation, "vms": reports(&all, "first")});
        self.beat(beat).await;
        self.note("vm_started", &all);

        self.ask(Method::POST, "/drain", &json!({})).await;
        self.note("worker_drain_started", &[""]);

        let (gone, rest) = all.split_at(VMS / 4);
        let changed = &rest[..VMS / 2];
        let delta = json!({"upsert": reports(changed, "second"), "remove": gone});
        self.beat(json!({"incarnation": incarnation, "vms_delta": delta})).await;
        self.note("vm_vanished", gone);
        self.note("vm_changed", changed);

        self.ask(Method::POST, "/activate", &json!({})).await;
        self.note("worker_activated", &[""]);
        rest.to_vec()
    }

    async fn beat(&mut self, mut beat: Value) {
        self.sequence += 1;
        beat["sequence"] = json!(self.sequence);
        self.ask(Method::POST, "/heartbeat", &beat).await;
    }

    fn note(&mut self, kind: &str, vms: &[impl AsRef<str>]) {
        self.changes.extend(vms.iter().map(|vm| format!("{kind} {} {}", self.id, vm.as_ref())));
    }

    /// Sends a request until it is acknowledged. What a server took with it may be committed or not; asking for it
    /// again changes nothing then.
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Value {
        loop {
            let address = self.cluster.any(&mut self.random).await;
            let url = format!("http://{address}/api/v1/workers/{}{path}", self.id);
            let answered = async {
                let response = self.cluster.http.request(method.clone(), &url).json(body).send().await?;
                Ok::<_, reqwest::Error>((response.status(), response.json::<Value>().await?))
            };
            match answered.await {
                Ok((status, answer)) if status.is_success() => {
                    self.acknowledged.send_modify(|count| *count += 1);
                    return answer;
                }
                // A commit whose outcome is not known.
                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {}
                Ok((status, answer)) => panic!("{method} {url}: {status} {answer}"),
                // Killed before it answered; soon the address is known to be dead.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

fn reports(vms: &[String], name: &str) -> Vec<Value> {
    vms.iter().map(|id| json!({"id": id, "name": name, "vcpus": 1, "memory_mb": 64})).collect()
}

/// Follows the log.
struct Reader {
    protocol: Protocol,
    cluster: Cluster,
    random: StdRng,
    cursor: String,
    told: Vec<Told>,
    /// How often it began to follow, and how often of these the server ended it.
    begun: usize,
    broken: Arc<AtomicUsize>,
}

impl Reader {
    /// Follows until it has been told of everything up to the end, which is known at last.
    async fn follow(mut self, mut end: watch::Receiver<Option<Cursor>>) -> Self {
        while !self.is_at(&end) {
            let address = self.cluster.any(&mut self.random).await;
            let (protocol, http) = (self.protocol, &self.cluster.http);
            let Some(mut stream) = EventStream::open(protocol, http, address, &self.cursor).await else {
                tokio::task::yield_now().await;
                continue;
            };
            self.begun += 1;
            // Now and then very soon, so that cuts fall into the replay as well.
            let most = if self.random.random_bool(0.5) { 20 } else { 3_000 };
            for _ in 0..self.random.random_range(0..most) {
                let next = tokio::select! {
                    next = stream.next() => next,
                    _ = end.wait_for(|end| end.as_ref().is_some_and(|end| !end.is_after(&place(&self.cursor)))) => break,
                };
                let Some(event) = next else {
                    self.broken.fetch_add(1, Ordering::Relaxed);
                    break;
                };
                self.cursor.clone_from(&event.cursor);
                match &*event.kind {
                    "synced" => {}
                    "resync" => panic!("{protocol:?}: nothing has left the log: {event:?}"),
                    _ => self.told.push(event),
                }
            }
        }
        self
    }

    fn is_at(&self, end: &watch::Receiver<Option<Cursor>>) -> bool {
        end.borrow().as_ref().is_some_and(|end| !end.is_after(&place(&self.cursor)))
    }
}

fn place(cursor: &str) -> Cursor {
    cursor.parse().unwrap()
}

/// Kills one server after the other, spread over all that is asked for, and starts another in its place.
async fn kill(
    database: &TestDatabase,
    mut servers: Vec<Server>,
    addresses: watch::Sender<Addresses>,
    mut acknowledged: watch::Receiver<usize>,
) -> (Vec<Server>, watch::Sender<Addresses>) {
    const SHARE: usize = WRITERS * ROUNDS * REQUESTS / (KILLS + 1);
    for kill in 0..KILLS {
        // Somewhere in the middle of it, and never at the same place.
        let due = kill * SHARE + rand::random_range(1..SHARE);
        acknowledged.wait_for(|count| *count >= due).await.unwrap();
        let place = kill % servers.len();
        replace(&mut servers, place, &addresses, async || Server::start(database).await).await;
    }
    (servers, addresses)
}

/// Kills a server and starts another in its place.
async fn replace(
    servers: &mut Vec<Server>,
    place: usize,
    addresses: &watch::Sender<Addresses>,
    start: impl AsyncFn() -> Server,
) {
    servers.remove(place).kill().await;
    addresses.send_modify(|addresses| addresses[place] = None);
    let server = start().await;
    addresses.send_modify(|addresses| addresses[place] = Some(server.address));
    servers.insert(place, server);
}

/// What was told is what the log holds; says how many were missed, doubled and out of order.
#[track_caller]
fn compare(who: &str, told: &[Told], log: &[Told]) {
    if told == log {
        return;
    }
    let places: HashMap<_, _> = log.iter().enumerate().map(|(place, event)| (&event.cursor, place)).collect();
    let (mut times, mut invented, mut disordered, mut last) = (vec![0_usize; log.len()], 0, 0, 0);
    for event in told {
        match places.get(&event.cursor) {
            Some(&place) => {
                times[place] += 1;
                disordered += usize::from(place < last);
                last = place;
            }
            None => invented += 1,
        }
    }
    let missed = times.iter().filter(|times| **times == 0).count();
    let doubled = times.iter().filter(|times| **times > 1).count();
    panic!(
        "{who}: of {} changes {missed} missed, {doubled} doubled, {disordered} out of order; {invented} never committed",
        log.len()
    );
}

/// Upgrades both servers of the previous build, one after the other, and brings back that build: with the tables that it
/// knows, and what was added to them gone.
async fn upgrade_and_return(
    database: &TestDatabase,
    mut servers: Vec<Server>,
    addresses: watch::Sender<Addresses>,
    mut acknowledged: watch::Receiver<usize>,
) -> (Vec<Server>, watch::Sender<Addresses>) {
    const SHARE: usize = WRITERS * ROUNDS * REQUESTS / 4;
    let previous = previous_build();
    let status = async |program: &Path| {
        let arguments = ["migrate", "status", "--database-url", database.url()];
        let exit = Program::start_build(program, &arguments, &[]).exit().await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        exit.out.lines().count()
    };
    let present = Path::new(env!("CARGO_BIN_EXE_aetherium"));
    let known_before = status(&previous).await;
    // Each serves for a while, the first new one beside an old one, which finds tables that it does not know.
    for (place, share) in [(1, 1), (0, 2)] {
        acknowledged.wait_for(|count| *count >= share * SHARE).await.unwrap();
        addresses.send_modify(|addresses| addresses[place] = None);
        servers.remove(place).stop().await;
        let server = Server::start_build(present, database).await;
        addresses.send_modify(|addresses| addresses[place] = Some(server.address));
        servers.insert(place, server);
    }
    acknowledged.wait_for(|count| *count >= 3 * SHARE).await.unwrap();
    addresses.send_modify(|addresses| addresses.fill(None));
    for server in servers {
        server.stop().await;
    }
    for _ in known_before..status(present).await {
        let exit = Program::run(&["migrate", "down", "--yes", "--database-url", database.url()]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
    }
    let servers = vec![Server::start_build(&previous, database).await, Server::start_build(&previous, database).await];
    addresses.send_replace(servers.iter().map(|server| Some(server.address)).collect());
    (servers, addresses)
}

/// Lets it all happen at once while servers are killed, and compares.
async fn observe(database: TestDatabase, servers: usize) {
    let mut running = Vec::new();
    for _ in 0..servers {
        running.push(Server::start(&database).await);
    }
    let start = async || Server::start(&database).await;
    observe_while(&database, running, KILLS, kill, start).await;
}

/// Lets it all happen at once while servers end, so many of them and in this way, and compares. Others are started in place
/// of those that are killed in the end.
async fn observe_while(
    database: &TestDatabase,
    running: Vec<Server>,
    ends: usize,
    turnover: impl AsyncFnOnce(
        &TestDatabase,
        Vec<Server>,
        watch::Sender<Addresses>,
        watch::Receiver<usize>,
    ) -> (Vec<Server>, watch::Sender<Addresses>),
    start_server: impl AsyncFn() -> Server,
) {
    let (addresses, present) = watch::channel(running.iter().map(|server| Some(server.address)).collect());
    let cluster = Cluster { http: http(), addresses: present };
    let start = running[0].get("/events?limit=1").await["end_cursor"].as_str().unwrap().to_owned();

    let acknowledged = Arc::new(watch::Sender::new(0));
    let progress = acknowledged.subscribe();
    let writers = (0..WRITERS).map(|number| {
        let writer = Writer {
            id: format!("w{number}"),
            cluster: cluster.clone(),
            random: StdRng::seed_from_u64(number as u64),
            acknowledged: Arc::clone(&acknowledged),
            changes: Vec::new(),
            sequence: 0,
        };
        tokio::spawn(writer.live())
    });
    let writers: Vec<_> = writers.collect();
    let (end, ended) = watch::channel(None);
    let protocols = [Protocol::WebSocket, Protocol::WebSocket, Protocol::ServerSentEvents, Protocol::Ndjson];
    let broken = protocols.map(|_| Arc::<AtomicUsize>::default());
    let readers = protocols.into_iter().zip(&broken).zip(1_000..).map(|((protocol, broken), seed)| {
        let reader = Reader {
            protocol,
            cluster: cluster.clone(),
            random: StdRng::seed_from_u64(seed),
            cursor: start.clone(),
            told: Vec::new(),
            begun: 0,
            broken: Arc::clone(broken),
        };
        tokio::spawn(reader.follow(ended.clone()))
    });
    let readers: Vec<_> = readers.collect();

    let (mut running, addresses) = turnover(database, running, addresses, progress).await;
    let mut acknowledged: Vec<_> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    // A reader that was between two streams whenever a server was killed has lost none. The writers are done, so every
    // reader follows by now: servers are killed in turn until each reader has lost one.
    for place in (0..running.len()).cycle() {
        if broken.iter().all(|broken| broken.load(Ordering::Relaxed) > 0) {
            break;
        }
        replace(&mut running, place, &addresses, &start_server).await;
    }
    // Whoever was killed may have taken the last word of another server with it.
    let revisions = join_all(running.iter().map(|server| server.read("/cluster/stats"))).await;
    let revision = revisions.iter().map(|(revision, _)| *revision).max().unwrap();
    let log = running[0].log(revision).await;
    end.send_replace(Some(place(&log.last().expect("something happened").cursor)));

    // The log is true: it holds what was acknowledged, each change once, and nothing else.
    let mut logged: Vec<_> = log.iter().map(Told::what).collect();
    logged.sort_unstable();
    acknowledged.sort_unstable();
    let lost = acknowledged.iter().filter(|change| logged.binary_search(change).is_err()).count();
    assert!(
        logged == acknowledged,
        "{} changes were acknowledged, {} are in the log; {lost} of those acknowledged are not",
        acknowledged.len(),
        logged.len()
    );
    for server in &running[1..] {
        compare("the log as another server reads it", &server.log(revision).await, &log);
    }
    for reader in join_all(readers).await {
        let Reader { protocol, told, begun, broken, .. } = reader.unwrap();
        let broken = broken.load(Ordering::Relaxed);
        let who = format!("{protocol:?}, who followed {begun} times, {broken} times to a server's end");
        compare(&who, &told, &log);
        assert!(begun > ends && broken > 0, "{who}: that proves little");
    }
    for server in running {
        server.stop().await;
    }
}

on_both_databases! {
    // reliability C8, C9, F7
    async fn followers_of_servers_that_are_killed_are_told_once_of_all_that_was_acknowledged(database: TestDatabase) {
        // A SQLite file has one server; on PostgreSQL two write at once.
        let servers = if database.backend() == DbBackend::Postgres { 2 } else { 1 };
        timeout(DEADLINE, observe(database, servers)).await.expect("followers should be told of everything");
    }
}

// ADR 0077
#[tokio::test]
async fn followers_through_a_rolling_upgrade_and_back_are_told_once_of_all_that_was_acknowledged() {
    let behaviour = async |database: TestDatabase| {
        let previous = previous_build();
        let running =
            vec![Server::start_build(&previous, &database).await, Server::start_build(&previous, &database).await];
        let start = async || Server::start_build(&previous, &database).await;
        let observed = observe_while(&database, running, 2, upgrade_and_return, start);
        timeout(DEADLINE, observed).await.expect("followers should be told of everything");
    };
    TestDatabase::postgres_without_tables().await.run(behaviour).await;
}
