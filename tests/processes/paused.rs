//! A server that is stopped and goes on later (SIGSTOP; a suspended machine looks the same) among others on one
//! PostgreSQL.
//!
//! For itself no time has passed, so to its eyes a whole fleet is suddenly silent. For the others it may have gone with
//! the lock that all of them need. What time it is is read off the heartbeats that the cluster records.

use std::time::Duration;

use aetherium::clock::Timestamp;
use futures_util::future::join_all;
use reqwest::Client;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::database::TestDatabase;
use crate::harness::{Server, eventually, http};

/// How long workers may be silent here: longer than a busy machine may keep them from beating.
const OFFLINE_AFTER: Duration = Duration::from_secs(10);

/// What a sweeper may take to notice, and a little more.
const NOTICED: Duration = Duration::from_secs(2);

/// How often workers beat.
const BEAT_PERIOD: Duration = Duration::from_millis(300);

/// How long a worker waits for an answer.
const BEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many workers a fleet has: enough for the brake against mass false alarms.
const FLEET: usize = 12;

/// Workers that beat by way of the same servers in turn.
struct Fleet {
    ids: Vec<String>,
    /// Who of them beats.
    beating: watch::Sender<Vec<String>>,
}

impl Fleet {
    /// Registers workers and lets them beat.
    async fn start(prefix: &str, through: &[&Server]) -> Self {
        let ids: Vec<_> = (0..FLEET).map(|number| format!("{prefix}-{number:02}")).collect();
        // All at once: who registers is heard then, and has to beat soon.
        let registrations = ids.iter().map(async |id| {
            let body = json!({
                "hostname": id, "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024, "boot_id": "1"
            });
            through[0].put(&format!("/workers/{id}"), &body).await
        });
        join_all(registrations).await;
        let (beating, ids_now) = watch::channel(ids.clone());
        let urls = through.iter().map(|server| format!("{}/api/v1/heartbeats", server.url)).collect();
        tokio::spawn(beat(http(), urls, ids_now));
        Self { ids, beating }
    }
}

/// Beats until nobody wants to know.
async fn beat(http: Client, urls: Vec<String>, ids: watch::Receiver<Vec<String>>) {
    for url in urls.iter().cycle() {
        let beats: Vec<_> = ids.borrow().iter().map(|id| json!({"worker_id": id, "incarnation": 1})).collect();
        let request = http.post(url).json(&json!({"heartbeats": beats})).timeout(BEAT_TIMEOUT);
        // A server that does not answer is what this is about.
        let _ = request.send().await;
        if ids.has_changed().is_err() {
            return;
        }
        tokio::time::sleep(BEAT_PERIOD).await;
    }
}

async fn three_servers(database: &TestDatabase) -> [Server; 3] {
    let offline_after = format!("{}s", OFFLINE_AFTER.as_secs());
    let further = ["--offline-after", &*offline_after, "--heartbeat-interval", "1s"];
    [
        Server::start_with(database, &further).await,
        Server::start_with(database, &further).await,
        Server::start_with(database, &further).await,
    ]
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// When a worker was last heard from, as a server knows it.
async fn last_seen(server: &Server, id: &str) -> Timestamp {
    // It may have been registered with another server a moment ago.
    let worker = eventually("the worker is known", async || {
        let (status, worker) = server.ask(&format!("/workers/{id}")).await;
        status.is_success().then_some(worker)
    });
    time(&worker.await["last_seen"])
}

/// Waits until a worker that beats has done so for so long.
async fn pass(time: Duration, server: &Server, id: &str) {
    let begin = last_seen(server, id).await;
    eventually("time passes", async || (last_seen(server, id).await >= begin + time).then_some(())).await;
}

/// Whom the log says this of, in its order.
async fn told_of(server: &Server, kind: &str) -> Vec<String> {
    let (revision, _) = server.read("/cluster/stats").await;
    let log = server.log(revision).await;
    log.into_iter().filter(|event| event.kind == kind).filter_map(|event| event.worker_id).collect()
}

/// The same, once there is somebody, sorted.
async fn are_told_of(server: &Server, kind: &str, count: usize) -> Vec<String> {
    let mut told = eventually(&format!("{count} times {kind}"), async || {
        Some(told_of(server, kind).await).filter(|told| told.len() >= count)
    })
    .await;
    told.sort_unstable();
    told
}

/// Waits until a server that was paused knows what the others do, and answers with it.
async fn catch_up(server: &Server, revision: u64) -> Value {
    eventually("the server catches up", async || {
        let (status, answer) = server.ask(&format!("/workers?min_revision={revision}")).await;
        status.is_success().then_some(answer)
    })
    .await
}

async fn a_paused_server_among_others(database: TestDatabase) {
    let [one, other, paused] = three_servers(&database).await;
    let steady = Fleet::start("steady", &[&one, &other]).await;
    let bound = Fleet::start("bound", &[&paused]).await;
    // Until the sweepers have begun to announce.
    pass(OFFLINE_AFTER + NOTICED, &one, &steady.ids[0]).await;
    assert_eq!(told_of(&one, "worker_offline").await, [""; 0]);

    paused.program.signal("STOP");
    pass(OFFLINE_AFTER * 2 + NOTICED, &one, &steady.ids[0]).await;
    assert_eq!(are_told_of(&one, "worker_offline", FLEET).await, bound.ids, "who could beat nowhere else is silent");

    let (revision, _) = one.read("/workers").await;
    paused.program.signal("CONT");
    let shown = catch_up(&paused, revision).await;
    let worker = |id: &str| shown["workers"].as_array().unwrap().iter().find(|worker| worker["id"] == id).unwrap();
    for id in &steady.ids {
        assert_eq!(worker(id)["status"], "active", "{}", worker(id));
    }
    assert_eq!(are_told_of(&paused, "worker_online", FLEET).await, bound.ids);
    // Until the one that was paused announces again.
    pass(OFFLINE_AFTER + NOTICED, &paused, &steady.ids[0]).await;

    // All three look out for whoever really falls silent, and one of them says so.
    let [gone, rest @ ..] = &*steady.ids else { unreachable!() };
    steady.beating.send_replace(rest.to_vec());
    let mut silent = bound.ids.clone();
    silent.push(gone.clone());
    are_told_of(&other, "worker_offline", FLEET + 1).await;
    pass(NOTICED, &paused, &rest[0]).await;
    assert_eq!(are_told_of(&other, "worker_offline", FLEET + 1).await, silent);
    assert_eq!(are_told_of(&other, "worker_online", FLEET).await, bound.ids);
    for server in [one, other, paused] {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_was_paused_raises_no_false_alarm_and_catches_up() {
    TestDatabase::postgres().await.run(a_paused_server_among_others).await;
}

async fn a_paused_server_that_heard_everybody(database: TestDatabase) {
    let [one, other, paused] = three_servers(&database).await;
    let fleet = Fleet::start("bound", &[&paused]).await;
    pass(OFFLINE_AFTER + NOTICED, &one, &fleet.ids[0]).await;

    paused.program.signal("STOP");
    assert_eq!(are_told_of(&one, "worker_offline", FLEET).await, fleet.ids);
    // Perhaps it is the servers that are deaf: it takes another time-out to believe that everybody is silent.
    let mut last_heard = Timestamp::MIN_UTC;
    for id in &fleet.ids {
        last_heard = last_heard.max(last_seen(&one, id).await);
    }
    let events = one.get("/events?limit=500").await;
    let announced = events["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "worker_offline");
    for event in announced {
        // The servers' clocks agree to some milliseconds.
        let silence = time(&event["at"]) - last_heard + chrono::TimeDelta::milliseconds(500);
        assert!(silence.to_std().unwrap() > OFFLINE_AFTER * 2, "announced after {silence}: {event}");
    }

    let (revision, _) = one.read("/workers").await;
    paused.program.signal("CONT");
    catch_up(&paused, revision).await;
    assert_eq!(are_told_of(&other, "worker_online", FLEET).await, fleet.ids);
    pass(OFFLINE_AFTER + NOTICED, &other, &fleet.ids[0]).await;
    assert_eq!(are_told_of(&other, "worker_offline", FLEET).await, fleet.ids, "once each");
    for server in [one, other, paused] {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_fleet_that_only_a_paused_server_heard_is_announced_once_and_not_in_a_hurry() {
    TestDatabase::postgres().await.run(a_paused_server_that_heard_everybody).await;
}

/// What PostgreSQL knows of the servers' transactions.
struct Transactions(DatabaseConnection);

impl Transactions {
    async fn of(database: &TestDatabase) -> Self {
        let mut options = ConnectOptions::new(database.url());
        options.max_connections(1).sqlx_logging(false);
        Self(Database::connect(options).await.unwrap())
    }

    /// How many are open and wait for their server to go on, once nothing is being worked on.
    async fn abandoned(&self) -> i64 {
        let sql = "SELECT count(*) FILTER (WHERE state = 'active') AS working, \
                     count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS abandoned \
                   FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        eventually("the database has done its part", async || {
            let row = self.0.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap().unwrap();
            let working: i64 = row.try_get("", "working").unwrap();
            (working == 0).then(|| row.try_get("", "abandoned").unwrap())
        })
        .await
    }
}

/// Lets a worker have other VMs again and again; each beat is a long transaction.
async fn keep_changing(url: String, id: &'static str, is_over: watch::Receiver<bool>) -> u64 {
    let http = http();
    let mut sequence = 0;
    loop {
        sequence += 1;
        let vms: Vec<_> = (0..100).map(|vm| json!({"id": format!("{id}-{sequence}-{vm}")})).collect();
        let beat = json!({"incarnation": 1, "sequence": sequence, "vms": vms});
        // Until it is acknowledged.
        while let Ok(response) = http.post(format!("{url}/api/v1/workers/{id}/heartbeat")).json(&beat).send().await {
            if response.status().is_success() {
                break;
            }
        }
        if *is_over.borrow() {
            return sequence;
        }
    }
}

async fn a_server_paused_in_a_commit(database: TestDatabase) {
    let [one, paused] = [Server::start(&database).await, Server::start(&database).await];
    let body =
        json!({"hostname": "w", "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024, "boot_id": "1"});
    paused.put("/workers/busy", &body).await;
    let (over, is_over) = watch::channel(false);
    let writer = tokio::spawn(keep_changing(paused.url.clone(), "busy", is_over));

    let transactions = Transactions::of(&database).await;
    eventually("the server is stopped in the middle of a commit", async || {
        paused.program.signal("STOP");
        if transactions.abandoned().await > 0 {
            return Some(());
        }
        paused.program.signal("CONT");
        // Elsewhere in a commit the next time.
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..50))).await;
        None
    })
    .await;

    // The lock is gone with it for a while, not for good.
    let client = http();
    eventually("another server writes", async || {
        let request = client.put(format!("{}/api/v1/workers/free", one.url)).json(&body);
        request.send().await.unwrap().status().is_success().then_some(())
    })
    .await;
    let (revision, _) = one.read("/workers").await;

    paused.program.signal("CONT");
    let shown = catch_up(&paused, revision).await;
    assert!(shown["workers"].as_array().unwrap().iter().any(|worker| worker["id"] == "free"), "{shown}");
    over.send_replace(true);
    let last = writer.await.unwrap();
    let (revision, _) = paused.read("/workers").await;
    for server in [one, paused] {
        // All of the last beat, and nothing of one before.
        let (_, list) = server.read(&format!("/workers/busy/vms?min_revision={revision}")).await;
        let vms = list["vms"].as_array().unwrap();
        let prefix = format!("busy-{last}-");
        assert!(vms.len() == 100 && vms.iter().all(|vm| vm["id"].as_str().unwrap().starts_with(&prefix)), "{list}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_is_paused_in_the_middle_of_a_commit_does_not_keep_the_others_from_writing() {
    TestDatabase::postgres().await.run(a_server_paused_in_a_commit).await;
}
