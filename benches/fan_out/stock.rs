//! The measure: the same subscription as the engine's own layer for axum serves it, out of the box. Every socket resolves
//! and writes out each message for itself.

use std::io::Write as _;
use std::time::Duration;

use async_graphql::{EmptyMutation, Object, Schema, SimpleObject, Subscription};
use async_graphql_axum::GraphQLSubscription;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::WORKERS;

/// What a subscriber is told, with the fields of the benchmark's document.
#[derive(Clone, SimpleObject)]
struct WorkerHeartbeat {
    received_at: String,
    coalesced: i32,
    worker: Worker,
}

#[derive(Clone, SimpleObject)]
struct Worker {
    id: String,
    hostname: String,
    address: String,
    zone: String,
    status: String,
    labels: Vec<Label>,
    capabilities: Vec<String>,
    cpu_cores: i32,
    memory_mb: i32,
    disk_gb: i32,
    used_cpu_cores: i32,
    used_memory_mb: i32,
    used_disk_gb: i32,
    cpu_usage_percent: f64,
    memory_usage_percent: f64,
    vm_count: i32,
    max_vms: i32,
    started_at: String,
    last_seen: String,
    uptime: String,
    is_healthy: bool,
    revision: i32,
}

#[derive(Clone, SimpleObject)]
struct Label {
    key: String,
    value: String,
}

struct Query;

#[Object]
impl Query {
    async fn workers(&self) -> usize {
        WORKERS
    }
}

struct Subscriptions(broadcast::Sender<WorkerHeartbeat>);

#[Subscription]
impl Subscriptions {
    async fn worker_heartbeats(&self) -> impl Stream<Item = WorkerHeartbeat> + use<> {
        let present = stream::iter((0..WORKERS).map(heartbeat));
        present.chain(stream::unfold(self.0.subscribe(), |mut beats| async move {
            loop {
                match beats.recv().await {
                    Ok(beat) => return Some((beat, beats)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        }))
    }
}

/// Serves until it is killed. Its address is the first line it prints; each `POST /beat` is a beat.
pub async fn serve() {
    let (beats, _) = broadcast::channel(1_024);
    let schema = Schema::build(Query, EmptyMutation, Subscriptions(beats.clone())).finish();
    let router = Router::new()
        .route_service("/graphql", GraphQLSubscription::new(schema))
        .route("/beat/{worker}", post(beat))
        .with_state(beats);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    // Should whoever started it be gone without a word.
    let serving = axum::serve(listener, router).into_future();
    tokio::time::timeout(Duration::from_secs(600), serving).await.expect("it is ended by whoever started it").unwrap();
}

async fn beat(
    State(beats): State<broadcast::Sender<WorkerHeartbeat>>,
    axum::extract::Path(worker): axum::extract::Path<usize>,
) {
    let _ = beats.send(heartbeat(worker));
}

fn heartbeat(worker: usize) -> WorkerHeartbeat {
    let text = |text: &str| text.to_owned();
    let label = |key: &str, value: &str| Label { key: key.to_owned(), value: value.to_owned() };
    WorkerHeartbeat {
        received_at: text("2025-11-02T12:30:45.123Z"),
        coalesced: 1,
        worker: Worker {
            id: format!("w{worker:02}"),
            hostname: text("node.example.com"),
            address: text("192.168.1.10:8081"),
            zone: text("us-west-1a"),
            status: text("ACTIVE"),
            labels: vec![label("env", "production"), label("tier", "compute")],
            capabilities: vec![text("docker"), text("firecracker")],
            cpu_cores: 16,
            memory_mb: 32_768,
            disk_gb: 500,
            used_cpu_cores: 4,
            used_memory_mb: 8_192,
            used_disk_gb: 50,
            cpu_usage_percent: 25.0,
            memory_usage_percent: 25.0,
            vm_count: 0,
            max_vms: 100,
            started_at: text("2025-11-02T10:00:00Z"),
            last_seen: text("2025-11-02T12:30:45Z"),
            uptime: text("2h30m45s"),
            is_healthy: true,
            revision: 42,
        },
    }
}
