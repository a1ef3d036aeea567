//! The watch oracle: what followers are told, against what was committed.
//!
//! Workers' commands are recorded as they are acknowledged, and the event table is read at the end. Meanwhile readers
//! follow over real WebSockets and HTTP streams that are cut at random moments, go on from their last cursor at
//! whatever server is there, and find servers going away and coming back. At the end each must have been told every
//! event once, in order.
//!
//! Where the cuts fall is drawn from a fixed seed; what happens in between is up to the scheduler.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aetherium::cluster::{Cursor, EventFilter};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::*;

/// How many workers report.
const WORKERS: usize = 5;

/// How often each of them reports that VMs began and, next time, that they ended.
const ROUNDS: usize = 10;

/// How many VMs begin or end with one heartbeat.
const VMS: usize = 500;

/// How many events come of the heartbeats on one database. With two databases it makes 100,000.
const EVENTS: usize = WORKERS * ROUNDS * 2 * VMS;

/// Everything has to be over by then.
const DEADLINE: Duration = Duration::from_secs(180);

/// The servers that are there; the place of one is empty while it is being replaced.
type Servers = Vec<Option<Arc<Reachable>>>;

/// A server as its clients see it.
struct Reachable {
    rest: Rest,
    port: Port,
}

impl Reachable {
    async fn of(cluster: &TestCluster) -> Option<Arc<Self>> {
        Some(Arc::new(Self { rest: cluster.rest(), port: Port::of(cluster).await }))
    }
}

/// One that is there now.
async fn any(servers: &mut watch::Receiver<Servers>, random: &mut StdRng) -> Arc<Reachable> {
    let present = servers.wait_for(|servers| servers.iter().any(Option::is_some)).await.unwrap();
    let present: Vec<_> = present.iter().flatten().collect();
    present[random.random_range(0..present.len())].clone()
}

/// Sends a command until it is acknowledged.
async fn acknowledged(
    servers: &mut watch::Receiver<Servers>,
    random: &mut StdRng,
    path: &str,
    body: serde_json::Value,
) {
    loop {
        let server = any(servers, random).await;
        let answer = server.rest.post(path).json(body.clone()).await;
        match answer.status {
            200 => return,
            // A server that is leaving; what it did not acknowledge may be committed or not.
            503 => tokio::task::yield_now().await,
            _ => panic!("{path}: {}", answer.body),
        }
    }
}

/// Lets a worker report VMs that begin, and then that they ended, over and over. Answers what became of that.
async fn report(number: usize, mut servers: watch::Receiver<Servers>) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(number as u64);
    let id = format!("w{number}");
    let path = format!("/api/v1/workers/{id}");
    let (mut committed, mut sequence) = (Vec::with_capacity(2 * ROUNDS * (VMS + 1)), 0);
    for round in 0..ROUNDS {
        let vms: Vec<_> = (0..VMS).map(|n| format!("vm-{number}-{round}-{n:03}")).collect();
        for (kind, present) in [("vm_started", &vms[..]), ("vm_vanished", &[])] {
            sequence += 1;
            let present: Vec<_> = present.iter().map(|id| json!({"id": id})).collect();
            let beat = json!({"incarnation": 1, "sequence": sequence, "vms": present});
            acknowledged(&mut servers, &mut random, &format!("{path}/heartbeat"), beat).await;
            committed.extend(vms.iter().map(|vm| format!("{kind} {id} {vm}")));
            let (command, kind) =
                if sequence % 2 == 1 { ("drain", "drain_started") } else { ("activate", "activated") };
            acknowledged(&mut servers, &mut random, &format!("{path}/{command}"), json!({})).await;
            committed.push(format!("worker_{kind} {id} "));
        }
    }
    committed
}

/// An event as a follower is told it, by whatever protocol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    cursor: String,
    kind: String,
    #[serde(alias = "workerId")]
    worker_id: Option<String>,
    #[serde(alias = "vmId")]
    vm_id: Option<String>,
}

impl Told {
    /// Kind, worker and VM: what is known of an event before it is committed.
    fn what(&self) -> String {
        let [worker, vm] = [&self.worker_id, &self.vm_id].map(|id| id.as_deref().unwrap_or_default());
        format!("{} {worker} {vm}", self.kind)
    }
}

/// By which protocol somebody follows.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    WebSocket,
    GraphqlSse,
    RestSse,
    Ndjson,
}

/// A stream of events that may end at any moment.
enum Following {
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Http(HttpStream),
}

const SUBSCRIPTION: &str = "subscription($after: Cursor, $filter: EventFilter) {
    clusterEvents(after: $after, filter: $filter) { cursor kind workerId vmId }
}";

#[derive(Deserialize)]
struct Next<T> {
    payload: Option<T>,
}

#[derive(Deserialize)]
struct Payload {
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    cluster_events: Told,
}

/// What REST tells besides what is compared.
#[derive(Deserialize)]
struct RestEvent {
    cursor: String,
    kind: String,
    worker_id: Option<String>,
    vm_id: Option<String>,
}

impl From<RestEvent> for Told {
    fn from(RestEvent { cursor, kind, worker_id, vm_id }: RestEvent) -> Self {
        Self { cursor, kind, worker_id, vm_id }
    }
}

impl Protocol {
    /// Follows from a cursor; none if the server is just going away.
    async fn follow(self, authority: &str, after: &str, worker: Option<&str>) -> Option<Following> {
        let filter = json!({"workerIds": worker.map(|worker| vec![worker])});
        let operation = json!({"query": SUBSCRIPTION, "variables": {"after": after, "filter": filter}});
        let mut path = format!("/api/v1/events?after={after}");
        if let Some(worker) = worker {
            path += &format!("&worker_id={worker}");
        }
        // An old cursor in the address, as in a page that stays open; the newer one in the header counts.
        let stale = path.replace(after, after.split_once('-').map(|(name, _)| format!("{name}-0")).as_deref()?);
        let answer = match self {
            Self::WebSocket => return web_socket(authority, operation).await.ok(),
            Self::GraphqlSse => {
                let headers = [("accept", "text/event-stream"), ("content-type", "application/json")];
                HttpStream::ask(authority, "POST", "/graphql", &headers, &operation.to_string()).await
            }
            Self::RestSse => {
                let headers = [("accept", "text/event-stream"), ("last-event-id", after)];
                HttpStream::ask(authority, "GET", &stale, &headers, "").await
            }
            Self::Ndjson => HttpStream::ask(authority, "GET", &path, &[("accept", "application/x-ndjson")], "").await,
        };
        answer.ok().filter(|answer| answer.status == 200).map(Following::Http)
    }

    /// The next event; none if the stream has ended.
    async fn next(self, following: &mut Following) -> Option<Told> {
        loop {
            match (self, &mut *following) {
                (Self::WebSocket, Following::WebSocket(socket)) => match in_time(socket.next()).await {
                    Some(Ok(Frame::Text(text))) => match read::<Next<Payload>>(&text).payload {
                        Some(payload) => return payload.data.map(|data| data.cluster_events),
                        // A ping of the protocol; or an operation that is over with its server.
                        None => continue,
                    },
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => continue,
                    _ => return None,
                },
                (Self::Ndjson, Following::Http(answer)) => {
                    let line = answer.next_line().await.ok().flatten()?;
                    return Some(read::<RestEvent>(&line).into());
                }
                (Self::RestSse, Following::Http(answer)) => {
                    let message = answer.next_message().await.ok().flatten()?;
                    let told = Told::from(read::<RestEvent>(&message.data));
                    assert_eq!((message.id.as_deref(), &message.event), (Some(&*told.cursor), &told.kind));
                    return Some(told);
                }
                (Self::GraphqlSse, Following::Http(answer)) => {
                    let message = answer.next_message().await.ok().flatten()?;
                    if message.event == "complete" {
                        return None;
                    }
                    return read::<Payload>(&message.data).data.map(|data| data.cluster_events);
                }
                (Self::WebSocket, Following::Http(_)) | (_, Following::WebSocket(_)) => unreachable!(),
            }
        }
    }
}

async fn web_socket(authority: &str, operation: serde_json::Value) -> Result<Following, io::Error> {
    let request = Port::at(authority.parse().unwrap()).handshake().protocol(TRANSPORT_WS).into_request();
    let (mut socket, _) = in_time(connect_async(request)).await.map_err(io::Error::other)?;
    let subscribe = json!({"id": "1", "type": "subscribe", "payload": operation});
    for message in [json!({"type": "connection_init"}), subscribe] {
        in_time(socket.send(Frame::text(message.to_string()))).await.map_err(io::Error::other)?;
    }
    Ok(Following::WebSocket(Box::new(socket)))
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Follows until so many events were told, with cuts; answers all that was told, and how often it was cut.
async fn follow(
    protocol: Protocol,
    seed: u64,
    start: String,
    worker: Option<&'static str>,
    count: usize,
    mut servers: watch::Receiver<Servers>,
) -> (Vec<Told>, usize) {
    let mut random = StdRng::seed_from_u64(1_000 + seed);
    let (mut told, mut cuts, mut cursor) = (Vec::<Told>::with_capacity(count), 0, start);
    while told.len() < count {
        let server = any(&mut servers, &mut random).await;
        let Some(mut following) = protocol.follow(&server.port.authority(), &cursor, worker).await else {
            tokio::task::yield_now().await;
            continue;
        };
        drop(server);
        // Now and then very soon, so that cuts fall into the replay as well.
        let most = if random.random_bool(0.3) { 20 } else { 4_000 };
        for _ in 0..random.random_range(0..most) {
            let Some(event) = protocol.next(&mut following).await else { break };
            let event = Told { kind: event.kind.to_lowercase(), ..event };
            cursor.clone_from(&event.cursor);
            match event.kind.as_str() {
                "synced" => {}
                "resync" => panic!("{protocol:?}: nothing has left the log: {event:?}"),
                _ => told.push(event),
            }
            if told.len() == count {
                break;
            }
        }
        cuts += 1;
    }
    (told, cuts)
}

/// What the event table holds after a cursor.
async fn recorded(cluster: &TestCluster, start: &Cursor, worker: Option<&str>) -> Vec<Told> {
    let filter = EventFilter { worker_ids: worker.map(|id| vec![id.to_owned()]), ..Default::default() };
    let page = cluster.server().journal().event_log().events_after(start, &filter, 10_000_000).await.unwrap();
    let told = page.events.iter().map(|event| Told {
        cursor: event.cursor.to_string(),
        kind: event.kind.as_str().to_owned(),
        worker_id: event.worker_id.as_ref().map(ToString::to_string),
        vm_id: event.vm_id.as_ref().map(ToString::to_string),
    });
    told.collect()
}

/// What was told is what was recorded: says how many were missed, doubled and out of order.
#[track_caller]
fn compare(who: &str, told: &[Told], recorded: &[Told]) {
    if told == recorded {
        return;
    }
    let places: BTreeMap<_, _> = recorded.iter().enumerate().map(|(place, event)| (&event.cursor, place)).collect();
    let mut times = vec![0_usize; recorded.len()];
    let (mut invented, mut disordered, mut last) = (Vec::new(), 0, None);
    for event in told {
        match places.get(&event.cursor) {
            Some(place) => {
                times[*place] += 1;
                disordered += usize::from(last.is_some_and(|last| *place < last));
                last = Some(*place);
            }
            None => invented.push(event),
        }
    }
    let missed = times.iter().filter(|times| **times == 0).count();
    let doubled = times.iter().filter(|times| **times > 1).count();
    let apart = told.iter().zip(recorded).position(|(told, recorded)| told != recorded);
    panic!(
        "{who}: {missed} missed, {doubled} doubled, {disordered} out of order, {} never committed; first at {apart:?}",
        invented.len()
    );
}

/// Replaces servers one after the other, so many times, each when this much more has been committed.
async fn replace(mut clusters: Vec<TestCluster>, times: usize, servers: watch::Sender<Servers>) -> Vec<TestCluster> {
    for time in 0..times {
        let place = time % clusters.len();
        let cluster = clusters.remove(place);
        let wanted = cluster.revision() + 5;
        // If so much does not come any more, there is nothing to disturb.
        let mut commits = cluster.server().journal().subscribe();
        while cluster.revision() < wanted {
            if tokio::time::timeout(Duration::from_secs(2), commits.recv()).await.is_err() {
                break;
            }
        }
        servers.send_modify(|servers| servers[place] = None);
        let cluster = cluster.restart().await;
        let reachable = Reachable::of(&cluster).await;
        servers.send_modify(|servers| servers[place] = reachable);
        clusters.insert(place, cluster);
    }
    clusters
}

/// A third server, so to speak, that is slow between taking its revision and committing it.
async fn commit_slowly(database: &TestDatabase, times: usize) {
    for time in 0..times {
        let hold = format!("SELECT pg_sleep({})", if time % 3 == 0 { 0.2 } else { 0.02 });
        database
            .execute(&format!(
                "BEGIN; \
                 WITH raised AS (UPDATE cluster SET revision = revision + 1 WHERE id = 1 RETURNING revision) \
                 INSERT INTO event (revision, position, at, kind, worker_id, vm_id, message) \
                 SELECT revision, 0, now(), 'vm_changed', 'w0', 'slow-{time}', 'slow' FROM raised; \
                 {hold}; COMMIT"
            ))
            .await;
        // And one that thinks better of it.
        database
            .execute(&format!("BEGIN; UPDATE cluster SET revision = revision + 1 WHERE id = 1; {hold}; ROLLBACK"))
            .await;
    }
}

/// Lets it all happen at once, and compares.
async fn observe(database: TestDatabase, servers: usize) {
    let first = TestCluster::on(&database).await;
    first.add((0..WORKERS).map(|n| worker(&format!("w{n}")))).await;
    let start = first.first_cursor();
    let start: Cursor = start.parse().unwrap();
    let start = Cursor::after_revision(start.epoch, first.revision());
    let mut clusters = vec![first];
    while clusters.len() < servers {
        let another = clusters[0].another_server().await;
        clusters.push(another);
    }
    let (present, servers) = watch::channel(join_all(clusters.iter().map(Reachable::of)).await);

    let slow = if clusters.len() > 1 { 12 } else { 0 };
    let (of_one, all) = (EVENTS / WORKERS + 2 * ROUNDS, EVENTS + 2 * ROUNDS * WORKERS + slow);
    let readers = [
        (Protocol::WebSocket, None, all),
        (Protocol::RestSse, None, all),
        (Protocol::GraphqlSse, Some("w1"), of_one),
        (Protocol::Ndjson, Some("w2"), of_one),
        (Protocol::WebSocket, Some("w3"), of_one),
    ];
    let readers = readers.iter().zip(0..).map(|((protocol, worker, count), seed)| {
        let reader = follow(*protocol, seed, start.to_string(), *worker, *count, servers.clone());
        async move { (protocol, worker, tokio::spawn(reader).await.unwrap()) }
    });
    let writers = (0..WORKERS).map(|n| {
        let writer = tokio::spawn(report(n, servers.clone()));
        async move { writer.await.unwrap() }
    });
    let (told, committed, clusters, ()) = tokio::time::timeout(DEADLINE, async {
        tokio::join!(
            join_all(readers),
            join_all(writers),
            replace(clusters, 6, present),
            commit_slowly(&database, slow)
        )
    })
    .await
    .expect("followers should be told of everything");

    // The record is true: it holds what was acknowledged, and nothing else.
    let record = recorded(&clusters[0], &start, None).await;
    let mut committed: Vec<_> = committed.into_iter().flatten().collect();
    committed.extend((0..slow).map(|time| format!("vm_changed w0 slow-{time}")));
    let mut whats: Vec<_> = record.iter().map(Told::what).collect();
    committed.sort_unstable();
    whats.sort_unstable();
    assert!(whats == committed, "{} events are recorded, {} were acknowledged", whats.len(), committed.len());

    for (protocol, worker, (told, cuts)) in told {
        let who = format!("{protocol:?} {worker:?}, cut {cuts} times");
        compare(&who, &told, &recorded(&clusters[0], &start, *worker).await);
        assert!(cuts > 3, "{who}");
    }
}

// reliability C8, C9, F7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_one_server_that_restarts_are_told_everything_once_in_order() {
    TestDatabase::sqlite().run(async |database| observe(database, 1).await).await;
}

// reliability C8, C9, F7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_two_servers_that_write_at_once_are_told_everything_once_in_order() {
    TestDatabase::postgres().await.run(async |database| observe(database, 2).await).await;
}

#[test]
fn the_oracle_notices_what_is_wrong() {
    let event = |n: u32| Told { cursor: format!("a-{n}-0"), kind: "x".into(), worker_id: None, vm_id: None };
    let all: Vec<_> = (0..5).map(event).collect();
    compare("right", &all, &all);
    let wrong = |told: &[u32]| {
        let told: Vec<_> = told.iter().map(|n| event(*n)).collect();
        let panic = std::panic::catch_unwind(|| compare("wrong", &told, &all)).expect_err("it should notice");
        panic.downcast_ref::<String>().unwrap().split("; ").next().unwrap().to_owned()
    };
    assert_eq!(wrong(&[0, 1, 3, 4]), "wrong: 1 missed, 0 doubled, 0 out of order, 0 never committed");
    assert_eq!(wrong(&[0, 1, 2, 2, 3, 4]), "wrong: 0 missed, 1 doubled, 0 out of order, 0 never committed");
    assert_eq!(wrong(&[0, 2, 1, 3, 4]), "wrong: 0 missed, 0 doubled, 1 out of order, 0 never committed");
    assert_eq!(wrong(&[0, 1, 2, 3, 4, 5]), "wrong: 0 missed, 0 doubled, 0 out of order, 1 never committed");
}
