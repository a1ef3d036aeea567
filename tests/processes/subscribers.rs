//! A server goes away under 200 subscribers and comes back at the same address: stopped in order, and killed.
//!
//! Most of them follow events and keep a model of the cluster: what REST showed once, changed by each event since. A
//! change that was told twice or not at all does not fit the model, and fails there and then. The others follow
//! heartbeats, where the latest word about a worker counts. Some stay away until what they missed has left the change
//! log, and are told so. In the end, whatever became of their connections, all of them know what REST shows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aetherium::cluster::Cursor;
use futures_util::future::join_all;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::database::TestDatabase;
use crate::harness::{PATIENCE, Server, Subscription, TOLD, Told, eventually, http};

/// How many follow events,
const FOLLOWERS: usize = 120;

/// of these, how many stay away for long,
const LATE: usize = 10;

/// and how many follow heartbeats.
const WATCHERS: usize = 80;

/// How many workers report all the time.
const WORKERS: usize = 3;

/// How often each of them does: what 200 readers can take on a machine that hardly has time for them.
const PERIOD: Duration = Duration::from_secs(1);

/// How many entries of the change log are kept in the end.
const KEPT: usize = 20;

/// How much everybody has to be told before the next thing happens.
const A_FEW: u64 = 10;

/// How long subscribers may take until all of them have come back, on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(180);

/// An address that no other socket is given: theirs are 127.0.0.1, with a port of the system's choice.
const ANY_PORT: &str = "127.0.0.2:0";

/// The code of a WebSocket that is closed because the server ends: come back.
const SERVICE_RESTART: u16 = 1012;

/// Where subscribers stay.
const ZONE: &str = "lasting";

/// A cluster as REST shows it: the policy of each worker, and who has which VM.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    policies: BTreeMap<String, String>,
    vms: BTreeSet<(String, String)>,
    /// The revisions at which the two were read.
    read_at: (u64, u64),
}

impl Model {
    /// Reads it at this revision or later; none if the server goes away meanwhile.
    async fn read(http: &Client, address: SocketAddr, min_revision: u64) -> Option<Self> {
        let ask = async |path: &str| {
            let url = format!("http://{address}/api/v1{path}?min_revision={min_revision}");
            let response = http.get(url).send().await.ok().filter(|response| response.status() == StatusCode::OK)?;
            let revision: u64 = response.headers()["x-revision"].to_str().unwrap().parse().unwrap();
            assert!(revision >= min_revision, "revision {min_revision} was asked for, {revision} is shown");
            Some((revision, response.json::<Value>().await.ok()?))
        };
        let (workers_at, workers) = ask("/workers").await?;
        let (vms_at, distribution) = ask("/cluster/distribution").await?;
        let policies = list(&workers["workers"]).iter().map(|worker| (text(&worker["id"]), text(&worker["status"])));
        let places = list(&distribution["distribution"]).iter();
        let vms =
            places.flat_map(|place| list(&place["vms"]).iter().map(|vm| (text(&place["worker_id"]), text(&vm["id"]))));
        Some(Self { policies: policies.collect(), vms: vms.collect(), read_at: (workers_at, vms_at) })
    }

    /// Takes one event in. Whatever happened can only have happened once, to what is there.
    fn fold(&mut self, event: &Told) {
        let revision = place(&event.cursor).revision;
        let worker = event.worker_id.clone().unwrap_or_default();
        let fits = if let Some(vm) = &event.vm_id {
            if revision <= self.read_at.1 {
                return;
            }
            let vm = (worker, vm.clone());
            match &*event.kind {
                "vm_started" => self.vms.insert(vm),
                "vm_stopped" | "vm_failed" | "vm_moved" | "vm_vanished" | "vm_lost" => self.vms.remove(&vm),
                "vm_changed" => self.vms.contains(&vm),
                _ => panic!("{event:?}"),
            }
        } else {
            if revision <= self.read_at.0 {
                return;
            }
            let became = |policy: &str| Some(policy.to_owned());
            match &*event.kind {
                "worker_registered" => self.policies.insert(worker, "active".into()).is_none(),
                "worker_purged" => self.policies.remove(&worker).is_some(),
                "worker_drain_started" => self.policies.insert(worker, "draining".into()) == became("active"),
                "worker_activated" => self.policies.insert(worker, "active".into()) == became("draining"),
                _ => panic!("{event:?}"),
            }
        };
        assert!(fits, "something before it was missed, or it was told before: {event:?}\n{self:#?}");
    }
}

/// What all subscribers come to in the end.
#[derive(Clone)]
struct End {
    cursor: Cursor,
    workers: BTreeMap<String, Heard>,
}

/// What a heartbeat tells of its worker.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    revision: u64,
    status: String,
    vm_count: u64,
    used_memory_mb: u64,
}

/// What subscribers need to know.
#[derive(Clone)]
struct Setting {
    http: Client,
    address: SocketAddr,
    /// How much each was told of late.
    told: Arc<Vec<AtomicU64>>,
    /// Last cursors of those who stay away.
    away: Arc<Mutex<Vec<String>>>,
    /// Whether those do who do.
    stay_away: watch::Receiver<bool>,
    end: watch::Receiver<Option<End>>,
}

/// How it went for a subscriber.
#[derive(Debug, Default)]
struct Story {
    /// With which codes its connections ended.
    farewells: Vec<Option<u16>>,
    /// How often it was told that it missed too much.
    resyncs: usize,
    model: Model,
}

/// Follows events with a model of the cluster, until the end.
async fn follow(number: usize, mut setting: Setting) -> Story {
    let query = format!("subscription ($after: Cursor) {{ clusterEvents(after: $after) {{ {TOLD} }} }}");
    let (mut story, mut cursor, mut is_known) = (Story::default(), None::<String>, false);
    loop {
        if number < LATE && *setting.stay_away.borrow() {
            setting.away.lock().unwrap().push(cursor.clone().unwrap());
            setting.stay_away.wait_for(|away| !away).await.unwrap();
        }
        let Some(mut stream) = Subscription::open(setting.address, &query, &json!({"after": cursor})).await else {
            come_back().await;
            continue;
        };
        loop {
            if let (Some(end), Some(cursor)) = (&*setting.end.borrow(), &cursor)
                && is_known
                && !end.cursor.is_after(&place(cursor))
            {
                return story;
            }
            let next = tokio::select! {
                next = stream.next() => next,
                Ok(()) = setting.end.changed() => continue,
            };
            let Some(mut data) = next else { break };
            let event = Told::from_json(data["clusterEvents"].take());
            cursor = Some(event.cursor.clone());
            if event.kind == "resync" {
                // The log is whole until it is shortened, before the third time to come back.
                let ends = story.farewells.len();
                assert!(
                    ends > 2 || number < LATE && ends == 2,
                    "subscriber {number}, back for the {ends}th time: {event:?}"
                );
                story.resyncs += 1;
                is_known = false;
            }
            if !is_known {
                let revision = place(&event.cursor).revision;
                let Some(model) = Model::read(&setting.http, setting.address, revision).await else { break };
                (story.model, is_known) = (model, true);
            }
            if !event.is_notice() {
                story.model.fold(&event);
                setting.told[number].fetch_add(1, Ordering::Relaxed);
            }
        }
        if !stream.was_refused {
            story.farewells.push(stream.farewell);
        }
        come_back().await;
    }
}

/// Follows heartbeats until everything is known that there is.
async fn watch_heartbeats(number: usize, mut setting: Setting) -> Story {
    let query = r#"subscription ($zones: [String!]) { workerHeartbeats(filter: {zones: $zones}) {
        coalesced worker { id status vmCount usedMemoryMb revision }
    } }"#;
    let (mut story, mut heard) = (Story::default(), BTreeMap::<String, Heard>::new());
    loop {
        let Some(mut stream) = Subscription::open(setting.address, query, &json!({"zones": [ZONE]})).await else {
            come_back().await;
            continue;
        };
        loop {
            if setting.end.borrow().as_ref().is_some_and(|end| end.workers == heard) {
                return story;
            }
            let next = tokio::select! {
                next = stream.next() => next,
                Ok(()) = setting.end.changed() => continue,
            };
            let Some(data) = next else { break };
            let beat = &data["workerHeartbeats"];
            assert!(beat["coalesced"].as_u64().unwrap() >= 1, "{beat}");
            let worker = &beat["worker"];
            let now = Heard {
                revision: worker["revision"].as_u64().unwrap(),
                status: text(&worker["status"]).to_lowercase(),
                vm_count: worker["vmCount"].as_u64().unwrap(),
                used_memory_mb: worker["usedMemoryMb"].as_u64().unwrap(),
            };
            let before = heard.insert(text(&worker["id"]), now.clone());
            assert!(before.is_none_or(|before| before.revision <= now.revision), "older than before: {beat}");
            setting.told[number].fetch_add(1, Ordering::Relaxed);
        }
        if !stream.was_refused {
            story.farewells.push(stream.farewell);
        }
        come_back().await;
    }
}

/// Not all at once, as every client should.
async fn come_back() {
    tokio::time::sleep(Duration::from_millis(rand::random_range(50..500))).await;
}

/// A worker that changes all the time, with an operator who changes his mind, and now and then a guest who leaves.
async fn change(number: usize, http: Client, address: SocketAddr, stop: watch::Receiver<bool>) {
    let id = format!("w{number}");
    register(&http, address, &id, ZONE).await;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 1_u64.. {
        if *stop.borrow() {
            return;
        }
        ticks.tick().await;
        let vms: Vec<_> =
            (turn..turn + 4).map(|vm| json!({"id": format!("{id}-{vm}"), "memory_mb": 64 + turn})).collect();
        let beat = json!({"incarnation": 1, "sequence": turn, "vms": vms});
        ask(&http, address, Method::POST, &format!("/{id}/heartbeat"), &beat).await;
        match turn % 8 {
            1 => ask(&http, address, Method::POST, &format!("/{id}/drain"), &json!({})).await,
            5 => ask(&http, address, Method::POST, &format!("/{id}/activate"), &json!({})).await,
            7 => {
                let guest = format!("guest-{number}-{turn}");
                register(&http, address, &guest, "guests").await;
                let beat = json!({"incarnation": 1, "vms": [{"id": format!("{guest}-vm")}]});
                ask(&http, address, Method::POST, &format!("/{guest}/heartbeat"), &beat).await;
                if turn % 16 == 7 {
                    ask(&http, address, Method::DELETE, &format!("/{guest}?purge=true&force=true"), &json!({})).await;
                }
            }
            _ => {}
        }
    }
}

async fn register(http: &Client, address: SocketAddr, id: &str, zone: &str) {
    let body = json!({
        "hostname": id, "address": "192.0.2.1:8081", "zone": zone, "cpu_cores": 8, "memory_mb": 65_536, "boot_id": "1"
    });
    ask(http, address, Method::PUT, &format!("/{id}"), &body).await;
}

/// Asks until it is done. What a server took with it may have been done, and asking again changes nothing then.
async fn ask(http: &Client, address: SocketAddr, method: Method, path: &str, body: &Value) {
    let url = format!("http://{address}/api/v1/workers{path}");
    loop {
        if let Ok(response) = http.request(method.clone(), &url).json(body).send().await {
            match response.status() {
                status if status.is_success() => return,
                // It was removed, and the server killed before it could say so.
                StatusCode::NOT_FOUND if method == Method::DELETE => return,
                StatusCode::SERVICE_UNAVAILABLE => {}
                status => panic!("{method} {url}: {status} {}", response.text().await.unwrap_or_default()),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn place(cursor: &str) -> Cursor {
    cursor.parse().unwrap()
}

/// Waits until all of these have been told a few things from now on.
async fn all_are_told(told: &[AtomicU64]) {
    for told in told {
        told.store(0, Ordering::Relaxed);
    }
    let waiting = || (0..told.len()).filter(|number| told[*number].load(Ordering::Relaxed) < A_FEW).collect::<Vec<_>>();
    let deadline = Instant::now() + DEADLINE;
    while !waiting().is_empty() {
        assert!(Instant::now() < deadline, "of {} subscribers, these wait in vain: {:?}", told.len(), waiting());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

on_both_databases! {
    async fn two_hundred_subscribers_know_what_rest_shows_after_their_server_was_stopped_and_killed(
        database: TestDatabase
    ) {
        let server = Server::start_at(ANY_PORT, &database, &["--offline-after", "1h"]).await;
        let (address, http) = (server.address, http());
        let listen = address.to_string();
        let (stop, stopped) = watch::channel(false);
        let (away_or_not, stay_away) = watch::channel(false);
        let (end, ended) = watch::channel(None);
        let told: Arc<Vec<_>> = Arc::new((0..FOLLOWERS + WATCHERS).map(|_| AtomicU64::new(0)).collect());
        let away = Arc::default();
        let setting =
            Setting { http: http.clone(), address, told: told.clone(), away: Arc::clone(&away), stay_away, end: ended };
        let writers: Vec<_> =
            (0..WORKERS).map(|n| tokio::spawn(change(n, http.clone(), address, stopped.clone()))).collect();
        let followers: Vec<_> = (0..FOLLOWERS).map(|n| tokio::spawn(follow(n, setting.clone()))).collect();
        let watchers = FOLLOWERS..FOLLOWERS + WATCHERS;
        let watchers: Vec<_> = watchers.map(|n| tokio::spawn(watch_heartbeats(n, setting.clone()))).collect();
        all_are_told(&told).await;

        server.stop().await;
        let server = Server::start_at(&listen, &database, &["--offline-after", "1h"]).await;
        all_are_told(&told).await;

        away_or_not.send_replace(true);
        server.kill().await;
        let server = Server::start_at(&listen, &database, &["--offline-after", "1h"]).await;
        all_are_told(&told[LATE..]).await;

        // What those who stayed away have missed leaves the log, which is shortened when a server starts.
        let missed = eventually("enough is missed", async || {
            let away = away.lock().unwrap().clone();
            for cursor in &away {
                let page = server.get(&format!("/events?limit=500&after={cursor}")).await;
                if list(&page["events"]).len() <= 2 * KEPT {
                    return None;
                }
            }
            (away.len() == LATE).then_some(away)
        });
        let missed = missed.await;
        server.stop().await;
        let kept = KEPT.to_string();
        let server = Server::start_at(&listen, &database, &["--offline-after", "1h", "--keep-events", &kept]).await;
        for cursor in missed {
            let path = format!("/events?after={cursor}");
            eventually("it leaves the log", async || {
                (server.ask(&path).await.0 == StatusCode::BAD_REQUEST).then_some(())
            })
            .await;
        }
        away_or_not.send_replace(false);
        all_are_told(&told).await;

        stop.send_replace(true);
        for writer in writers {
            timeout(PATIENCE, writer).await.expect("writers stop").unwrap();
        }
        let (revision, shown) = server.read("/workers").await;
        let model = Model::read(&http, address, revision).await.unwrap();
        assert_eq!(model.read_at, (revision, revision), "nothing changes any more");
        let workers = list(&shown["workers"]).iter().filter(|worker| worker["zone"] == ZONE).map(|worker| {
            let heard = Heard {
                revision: worker["revision"].as_u64().unwrap(),
                status: text(&worker["status"]),
                vm_count: worker["vm_count"].as_u64().unwrap(),
                used_memory_mb: worker["used_memory_mb"].as_u64().unwrap(),
            };
            (text(&worker["id"]), heard)
        });
        let last = server.log(revision).await.pop().unwrap();
        end.send_replace(Some(End { cursor: place(&last.cursor), workers: workers.collect() }));

        let stories = timeout(PATIENCE, join_all(followers)).await.expect("followers are told everything");
        for (number, story) in stories.into_iter().enumerate() {
            let Story { farewells, resyncs: times, model: Model { policies, vms, .. } } = story.unwrap();
            assert_eq!((&policies, &vms), (&model.policies, &model.vms), "subscriber {number}, revision {revision}");
            assert_eq!(farewells[0], Some(SERVICE_RESTART), "subscriber {number} is told to come back: {farewells:?}");
            assert!(times > 0 || number >= LATE, "subscriber {number} missed what was not there any more");
        }
        let stories = timeout(PATIENCE, join_all(watchers)).await.expect("watchers hear of every worker");
        for story in stories {
            assert_eq!(story.unwrap().farewells[0], Some(SERVICE_RESTART));
        }
        server.stop().await;
    }
}
