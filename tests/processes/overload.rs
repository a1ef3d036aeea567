//! More heartbeats than can be committed: from agents on connections of their own while the database is slow, and from a
//! gateway that sends many times what is taken. Whoever beats is not told to be offline, whoever does not is, and operators
//! are answered.
//!
//! What is asserted are counts. The load goes on until what has to happen meanwhile has happened, however long that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::database::TestDatabase;
use crate::harness::{Injection, Server, eventually};

/// Agents with a connection each. In batches of 512 commands, as they once were, the last of them would wait for longer than
/// a request is answered in.
const AGENTS: usize = 3_000;

/// What each commit takes at least, for them and for the gateway.
const SLOW: Duration = Duration::from_secs(2);
const LESS_SLOW: Duration = Duration::from_secs(1);

/// Agents beside the gateway, and those that it speaks for.
const HONEST_AGENTS: usize = 50;
const BEHIND_THE_GATEWAY: usize = 1_000;

/// Its connections while it is measured how much is taken, which is more than one batch and all of which may wait; and in
/// the flood, where no answer makes it wait. There each sends a body every second, more than ten times what is committed: as
/// fast as they could, they would take the machine's time from the server.
const FEW_CONNECTIONS: usize = 12;
const MANY_CONNECTIONS: usize = 64;
const FLOOD_PACE: Duration = Duration::from_secs(1);

/// For how long each of these is looked at.
const LOOK: Duration = Duration::from_secs(6);

const INTERVAL: Duration = Duration::from_secs(2);

/// Long beside what a busy machine may take for a heartbeat, whose worker is offline then and rightly said to be.
const OFFLINE_AFTER: &str = "20s";

/// What became of heartbeats.
#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    /// Refused, and heard all the same.
    heard: AtomicU64,
    is_healing: AtomicBool,
    /// Agents of whom a beat was taken since.
    healed: AtomicU64,
}

impl Counts {
    fn note(&self, status: u16, beats: u64) {
        match status {
            200 => self.taken.fetch_add(beats, Ordering::Relaxed),
            503 => self.heard.fetch_add(beats, Ordering::Relaxed),
            other => panic!("a heartbeat was answered {other}"),
        };
    }
}

struct Trial {
    server: Server,
    counts: Arc<Counts>,
    clients: JoinSet<()>,
}

impl Trial {
    async fn begin(database: &TestDatabase, workers: usize) -> Self {
        let further = ["--offline-after", OFFLINE_AFTER, "--heartbeat-interval", "2s"];
        let server = Server::start_with(database, &further).await;
        let mut registering = JoinSet::new();
        for part in 0..20 {
            let address = server.address.to_string();
            registering.spawn(async move {
                let mut connection = Connection::open(&address).await;
                for worker in (part..workers).step_by(20) {
                    connection.register(&format!("w{worker}")).await;
                }
                for id in ["dead", "drained"].iter().skip(part).take(1) {
                    connection.register(id).await;
                }
            });
        }
        registering.join_all().await;
        Self { server, counts: Arc::default(), clients: JoinSet::new() }
    }

    /// Lets agents beat, each over a connection of its own, as long as the trial goes on.
    fn agents(&mut self, numbers: std::ops::Range<usize>) {
        let count = numbers.len();
        for agent in numbers {
            let (address, counts) = (self.server.address.to_string(), self.counts.clone());
            self.clients.spawn(async move {
                sleep(INTERVAL.mul_f64(agent as f64 / count as f64)).await;
                let mut connection = Connection::open(&address).await;
                let request = request("POST", &format!("/workers/w{agent}/heartbeat"), &json!({"incarnation": 1}));
                let mut has_healed = false;
                loop {
                    let was_healing = counts.is_healing.load(Ordering::Relaxed);
                    let (status, retry_after) = connection.ask(&request).await;
                    counts.note(status, 1);
                    if was_healing && !has_healed && status == 200 {
                        has_healed = true;
                        counts.healed.fetch_add(1, Ordering::Relaxed);
                    }
                    sleep(retry_after.map_or(INTERVAL, Duration::from_secs)).await;
                }
            });
        }
    }

    /// Has SQLite's log begin anew, and the next commit be made: each that follows waits for the log once, and not twice or
    /// three times, as the first one in a log does and the one that brings a full log into the database.
    async fn empty_log(&self, database: &TestDatabase) {
        if database.backend() != DbBackend::Sqlite {
            return;
        }
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        let (status, answer) = self.server.change(Method::POST, "/workers/drained/drain", None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// Lets a gateway send, over so many connections, and at once when it has an answer.
    fn gateway(
        &mut self,
        connections: usize,
        pace: Duration,
        numbers: std::ops::Range<usize>,
    ) -> Vec<tokio::task::AbortHandle> {
        let beats: Vec<_> =
            numbers.map(|number| json!({"worker_id": format!("w{number}"), "incarnation": 1})).collect();
        let count = beats.len() as u64;
        let request = Arc::new(request("POST", "/heartbeats", &json!({"heartbeats": beats})));
        let one = || {
            let (address, counts) = (self.server.address.to_string(), self.counts.clone());
            let request = request.clone();
            self.clients.spawn(async move {
                let mut connection = Connection::open(&address).await;
                loop {
                    let next = Instant::now() + pace;
                    let (status, _) = connection.ask(&request).await;
                    counts.note(status, count);
                    sleep_until(next).await;
                }
            })
        };
        std::iter::repeat_with(one).take(connections).collect()
    }

    /// How many heartbeats each commit takes in the time of a look.
    async fn taken_by_commit(&self) -> f64 {
        let look = async || (self.counts.taken.load(Ordering::Relaxed), self.revision().await);
        let (taken, revision) = look().await;
        sleep(LOOK).await;
        let (taken_later, later) = look().await;
        assert!(later > revision, "nothing was committed in {LOOK:?}");
        (taken_later - taken) as f64 / (later - revision) as f64
    }

    /// The revision of the last commit.
    async fn revision(&self) -> u64 {
        let stats = self.server.query("{ clusterStats { revision } }", &Value::Null, 0).await;
        stats["clusterStats"]["revision"].as_u64().unwrap()
    }

    /// The load is on: the dead worker is told, and operators are answered until it is.
    async fn endure(&self) -> usize {
        let mut drains = 0;
        eventually("the worker that has died is announced", async || {
            for policy in ["drain", "activate"] {
                let path = format!("/workers/drained/{policy}");
                let (status, answer) = self.server.change(Method::POST, &path, None).await;
                assert_eq!(status, StatusCode::OK, "{answer}");
                drains += 1;
            }
            // Commits are made, and so it says.
            let (status, health) = self.server.ask("/health?require=commits").await;
            assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("ok")), "{health}");
            self.offline().await.contains(&"dead".to_owned()).then_some(())
        })
        .await;
        drains
    }

    /// All that were told to be offline.
    async fn offline(&self) -> Vec<String> {
        let query = "{ events(filter: {kinds: [WORKER_OFFLINE]}, first: 500) { nodes { workerId } } }";
        let page = self.server.query(query, &Value::Null, 0).await;
        let events = page["events"]["nodes"].as_array().unwrap().iter();
        events.map(|event| event["workerId"].as_str().unwrap().to_owned()).collect()
    }

    /// It is over: every agent has a heartbeat taken again, and nobody was told to be offline who beat.
    async fn heal(mut self, agents: usize) {
        self.counts.is_healing.store(true, Ordering::Relaxed);
        eventually("everybody's heartbeats are taken", async || {
            (self.counts.healed.load(Ordering::Relaxed) == agents as u64).then_some(())
        })
        .await;
        let mut offline = self.offline().await;
        offline.retain(|worker| !["dead", "drained"].contains(&worker.as_str()));
        assert_eq!(offline, [""; 0], "they were beating");
        assert_eq!(self.server.get("/workers/w0").await["status"], "active");
        while let Some(client) = self.clients.try_join_next() {
            // Those of the gateway were stopped.
            assert!(client.is_err_and(|error| error.is_cancelled()), "a client gave up");
        }
        self.clients.shutdown().await;
        self.server.stop().await;
    }
}

/// Lets every commit take so long or longer.
async fn slow_commits(database: &TestDatabase, server: &Server, by: Duration) -> Option<Injection> {
    if database.backend() == DbBackend::Sqlite {
        let log = database.file().with_extension("db-wal");
        let delay = format!("fsync,fdatasync:delay_enter={}", by.as_micros());
        return Some(Injection::into(&server.program, &log, &delay).await);
    }
    database
        .execute(&format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep({}); RETURN NEW; END $$",
            by.as_secs_f64()
        ))
        .await;
    database
        .execute("CREATE TRIGGER slow BEFORE UPDATE OF revision ON cluster FOR EACH ROW EXECUTE FUNCTION slow()")
        .await;
    None
}

async fn end_slow_commits(database: &TestDatabase, slow: Option<Injection>) {
    match slow {
        Some(injection) => injection.end().await,
        None => database.execute("DROP FUNCTION slow() CASCADE").await,
    }
}

on_both_databases! {
    async fn agents_are_heard_while_commits_are_slow(database: TestDatabase) {
        let mut trial = Trial::begin(&database, AGENTS).await;
        trial.empty_log(&database).await;
        trial.agents(0..AGENTS);
        let slow = slow_commits(&database, &trial.server, SLOW).await;
        let drains = trial.endure().await;
        assert!(drains >= 2, "{drains}");
        let Counts { taken, heard, .. } = &*trial.counts;
        let (taken, heard) = (taken.load(Ordering::Relaxed), heard.load(Ordering::Relaxed));
        assert!(taken >= AGENTS as u64, "each was taken at least once: {taken}");
        assert_eq!(heard, 0, "all that waited fit into the next batch");
        end_slow_commits(&database, slow).await;
        trial.heal(AGENTS).await;
    }

    async fn a_gateway_that_sends_too_much_takes_nobody_else_down(database: TestDatabase) {
        let mut trial = Trial::begin(&database, HONEST_AGENTS + BEHIND_THE_GATEWAY).await;
        trial.empty_log(&database).await;
        trial.agents(0..HONEST_AGENTS);
        let behind = HONEST_AGENTS..HONEST_AGENTS + BEHIND_THE_GATEWAY;
        // In a build with checks, to read a heartbeat takes longer than to commit it.
        let slow = slow_commits(&database, &trial.server, LESS_SLOW).await;
        let few = trial.gateway(FEW_CONNECTIONS, Duration::ZERO, behind.clone());
        let peak = trial.taken_by_commit().await;
        few.iter().for_each(tokio::task::AbortHandle::abort);

        let flood = trial.gateway(MANY_CONNECTIONS, FLOOD_PACE, behind.clone());
        let flooded = trial.taken_by_commit().await;
        trial.endure().await;
        assert!(flooded >= peak * 0.75, "a commit takes {flooded} heartbeats in the flood, and took {peak} before");
        let heard = trial.counts.heard.load(Ordering::Relaxed);
        assert!(heard > 0, "it was too much");
        flood.iter().for_each(tokio::task::AbortHandle::abort);
        end_slow_commits(&database, slow).await;
        // Those behind it go on at their own pace.
        trial.agents(behind);
        trial.heal(HONEST_AGENTS + BEHIND_THE_GATEWAY).await;
    }
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
}

impl Connection {
    async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    async fn register(&mut self, id: &str) {
        let body = json!({"hostname": id, "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024});
        let (status, _) = self.ask(&request("PUT", &format!("/workers/{id}"), &body)).await;
        assert_eq!(status, 201, "{id}");
    }

    /// The status of the answer, and when to come again.
    async fn ask(&mut self, request: &[u8]) -> (u16, Option<u64>) {
        self.stream.write_all(request).await.unwrap();
        let mut bytes = Vec::with_capacity(1_024);
        let mut read = async |bytes: &mut Vec<u8>| {
            assert!(self.stream.read_buf(bytes).await.unwrap() > 0, "it closed the connection");
        };
        let end = loop {
            read(&mut bytes).await;
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        let length: u64 = header("content-length").unwrap();
        while (bytes.len() as u64) < end as u64 + 4 + length {
            read(&mut bytes).await;
        }
        (head[9..12].parse().unwrap(), header("retry-after"))
    }
}

fn request(method: &str, path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "{method} /api/v1{path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
