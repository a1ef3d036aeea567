//! Whole simulations, against a small server that implements the contract and is not the server of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::client::{Heartbeat, Registration, VmReport};

/// When every worker has been acknowledged this often, a conversation is over.
const ENOUGH_HEARTBEATS: u32 = 6;

/// A worker as the server sees it.
#[derive(Default)]
struct Seen {
    /// None once the server has forgotten it.
    incarnation: Option<u64>,
    boot_id: String,
    owes_everything: bool,
    sequence: u64,
    vms: BTreeMap<String, VmReport>,
    received: u32,
    acknowledged: u32,
    gone: bool,
}

/// What the server does to a worker's second heartbeat.
#[derive(Clone, Copy, Default)]
enum Trouble {
    #[default]
    None,
    Forgets,
    Fences,
    IsBusy,
    AsksForEverything,
}

#[derive(Default)]
struct Server {
    workers: BTreeMap<String, Seen>,
    troubles: BTreeMap<String, Trouble>,
    expected: usize,
    incarnations: u64,
    largest_request: usize,
    /// What the fleet did against the contract.
    violations: Vec<String>,
    /// Cancelled when every worker has sent heartbeats often enough.
    satisfied: CancellationToken,
}

impl Server {
    fn register(&mut self, id: &str, registration: Registration) -> Value {
        let worker = self.workers.entry(id.to_owned()).or_default();
        if worker.incarnation.is_none() || worker.boot_id != registration.boot_id {
            self.incarnations += 1;
            worker.incarnation = Some(self.incarnations);
            worker.boot_id = registration.boot_id;
            worker.vms.clear();
            worker.sequence = 0;
            worker.owes_everything = true;
        }
        json!({
            "worker": {"id": id},
            "incarnation": worker.incarnation,
            "heartbeat_interval_seconds": 0.01,
            "offline_after_seconds": 60,
            "revision": 1
        })
    }

    /// Answers a heartbeat as it would be answered alone: a status, and the body that goes with it.
    fn heartbeat(&mut self, id: &str, heartbeat: Heartbeat) -> (u16, Value) {
        let trouble = self.troubles.get(id).copied().unwrap_or_default();
        let Some(worker) = self.workers.get_mut(id) else {
            return failure(404, &format!("Worker not found: {id}"));
        };
        worker.received += 1;
        let trouble = if worker.received == 2 { trouble } else { Trouble::None };
        match trouble {
            Trouble::Forgets => worker.incarnation = None,
            // Somebody else registers under this id.
            Trouble::Fences => {
                worker.incarnation = Some(u64::MAX);
                worker.boot_id = "somebody else".to_owned();
            }
            Trouble::IsBusy => return failure(503, "too many beats"),
            Trouble::None | Trouble::AsksForEverything => {}
        }
        match worker.incarnation {
            None => return failure(404, &format!("Worker not found: {id}")),
            Some(current) if current != heartbeat.incarnation => return failure(409, "an older incarnation"),
            Some(_) => {}
        }

        if heartbeat.sequence <= worker.sequence {
            self.violations.push(format!("{id}: sequence {} is not new", heartbeat.sequence));
        }
        worker.sequence = heartbeat.sequence;
        if worker.owes_everything && heartbeat.vms.is_none() {
            self.violations.push(format!("{id}: beat {} lacks the inventory it owes", heartbeat.sequence));
        }
        if let Some(vms) = heartbeat.vms {
            worker.vms = vms.into_iter().map(|vm| (vm.id.clone(), vm)).collect();
        }
        if let Some(delta) = heartbeat.vms_delta {
            worker.vms.extend(delta.upsert.into_iter().map(|vm| (vm.id.clone(), vm)));
            worker.vms.retain(|id, _| !delta.remove.contains(id));
        }
        let cores: u32 = worker.vms.values().filter(|vm| vm.status.holds_slot()).map(|vm| vm.vcpus).sum();
        if heartbeat.used_cpu_cores != Some(cores) {
            self.violations.push(format!("{id}: says {:?} cores, its VMs {cores}", heartbeat.used_cpu_cores));
        }

        worker.acknowledged += 1;
        worker.owes_everything = matches!(trouble, Trouble::AsksForEverything);
        let resync = worker.owes_everything;
        let all = self.workers.values();
        if all.len() == self.expected && all.into_iter().all(|worker| worker.acknowledged >= ENOUGH_HEARTBEATS) {
            self.satisfied.cancel();
        }
        let reply = json!({"policy": "active", "next_heartbeat_seconds": 0.01, "revision": 2, "resync": resync});
        (200, reply)
    }
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    (code, json!({"error": "the reason phrase", "message": message, "code": code}))
}

type Shared = Arc<Mutex<Server>>;

async fn register(State(server): State<Shared>, Path(id): Path<String>, Json(body): Json<Registration>) -> Json<Value> {
    Json(server.lock().await.register(&id, body))
}

async fn goodbye(State(server): State<Shared>, Path(id): Path<String>) -> StatusCode {
    server.lock().await.workers.entry(id).or_default().gone = true;
    StatusCode::NO_CONTENT
}

async fn heartbeat(State(server): State<Shared>, Path(id): Path<String>, Json(heartbeat): Json<Heartbeat>) -> Response {
    let mut server = server.lock().await;
    server.largest_request = server.largest_request.max(1);
    let (status, body) = server.heartbeat(&id, heartbeat);
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn heartbeats(State(server): State<Shared>, Json(mut body): Json<Value>) -> Json<Value> {
    let mut server = server.lock().await;
    let heartbeats = body["heartbeats"].as_array_mut().unwrap();
    server.largest_request = server.largest_request.max(heartbeats.len());
    let results = heartbeats.iter_mut().map(|entry| {
        let id = entry["worker_id"].as_str().unwrap().to_owned();
        let (status, mut answer) = server.heartbeat(&id, serde_json::from_value(entry.take()).unwrap());
        if status != 200 {
            answer = json!({"error": answer});
        }
        answer["worker_id"] = json!(id);
        answer["status"] = json!(status);
        answer
    });
    Json(json!({"results": results.collect::<Vec<_>>()}))
}

/// Starts the server on a free port and returns its address.
async fn listen(server: Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/api/v1/workers/{id}", put(register).delete(goodbye))
        .route("/api/v1/workers/{id}/heartbeat", post(heartbeat))
        .route("/api/v1/heartbeats", post(heartbeats))
        .with_state(server);
    tokio::spawn(axum::serve(listener, router).into_future());
    format!("http://{address}")
}

#[tokio::test]
async fn a_fleet_keeps_to_the_contract_and_gets_over_every_trouble() {
    for (batch, goodbye) in [(1, true), (4, false)] {
        let satisfied = CancellationToken::new();
        let server = Arc::new(Mutex::new(Server {
            expected: 6,
            troubles: BTreeMap::from([
                ("sim-0001".to_owned(), Trouble::Forgets),
                ("sim-0002".to_owned(), Trouble::Fences),
                ("sim-0003".to_owned(), Trouble::IsBusy),
                ("sim-0004".to_owned(), Trouble::AsksForEverything),
            ]),
            satisfied: satisfied.clone(),
            ..Server::default()
        }));
        let options = SimulateOptions {
            server: listen(Arc::clone(&server)).await,
            workers: 6,
            // Every other heartbeat finds something to tell.
            churn: 100_000.0,
            // Not reached, unless a worker gets stuck: then the assertions below say which.
            duration: Some(Duration::from_secs(30)),
            failures: 0.0,
            batch,
            goodbye,
            strict: true,
            ..SimulateOptions::default()
        };
        let summary = run(options, Progress::Quiet, satisfied).await.unwrap();

        let server = server.lock().await;
        assert_eq!(server.violations, Vec::<String>::new(), "batch {batch}");
        assert_eq!(server.largest_request, batch as usize, "batch {batch}");
        let acknowledged: u32 = server.workers.values().map(|worker| worker.acknowledged).sum();
        assert_eq!(summary.heartbeats, u64::from(acknowledged), "batch {batch}");
        let failures = Failures { unknown: 1, superseded: 1, unavailable: 1, refused: 0 };
        assert_eq!(summary.heartbeats_failed, failures, "batch {batch}");
        assert_eq!((summary.registrations, summary.registrations_again), (8, 2), "batch {batch}");
        assert!(summary.vms_started > 0 && summary.vms_stopped > 0, "batch {batch}");
        assert!(summary.latency.p50 > Duration::ZERO && summary.latency.p50 <= summary.latency.max);
        assert!(!summary.is_success());
        let gone = server.workers.values().filter(|worker| worker.gone).count();
        assert_eq!(gone, if goodbye { 6 } else { 0 });
    }
}

#[tokio::test]
async fn a_simulation_ends_by_itself_when_its_duration_is_over() {
    let options = SimulateOptions {
        server: listen(Shared::default()).await,
        workers: 3,
        duration: Some(Duration::from_millis(50)),
        strict: true,
        ..SimulateOptions::default()
    };
    let summary = run(options, Progress::Quiet, CancellationToken::new()).await.unwrap();
    assert_eq!(summary.registrations, 3);
    assert!(summary.is_success(), "{summary}");
}

#[tokio::test]
async fn a_wrong_address_is_told_at_once() {
    let elsewhere = format!("{}/elsewhere", listen(Shared::default()).await);
    for (server, expected) in [
        // Nobody listens on the port of a service that died out decades ago.
        ("http://127.0.0.1:1".to_owned(), "could not register at"),
        (elsewhere, "could not register at"),
        ("ftp://example.org".to_owned(), "cannot be set up"),
    ] {
        let options = SimulateOptions { server: server.clone(), ..SimulateOptions::default() };
        let error = run(options, Progress::Quiet, CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{server}: {error}");
    }
}
