//! What it costs to tell many subscribers the same.
//!
//! One server, 1,000 sockets that follow the same heartbeats, 50 beats a second; measured is the
//! server's CPU time for each message that arrived. Once over `graphql-transport-ws`, where equal
//! subscriptions share their work, once over the legacy sub-protocol, where every socket resolves and
//! writes out each message for itself. Both in one run on one machine: only the ratio means anything.
//!
//! `cargo bench --bench fan_out`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first oddity"
)]

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aetherium::client::{Client, Heartbeat, Registration};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const SUBSCRIBERS: usize = 1_000;
const WORKERS: usize = 50;
const BEATS_PER_SECOND: u64 = 50;
const SECONDS: u64 = 8;

/// The 23 fields that dashboards show.
const DOCUMENT: &str = "subscription { workerHeartbeats { receivedAt coalesced worker { id hostname address zone status \
    labels { key value } capabilities cpuCores memoryMb diskGb usedCpuCores usedMemoryMb usedDiskGb cpuUsagePercent \
    memoryUsagePercent vmCount maxVms startedAt lastSeen uptime isHealthy revision } } }";

struct Dialect {
    protocol: &'static str,
    subscribe: &'static str,
    delivery: &'static str,
}

const SHARED: Dialect = Dialect { protocol: "graphql-transport-ws", subscribe: "subscribe", delivery: "\"next\"" };
const PER_SOCKET: Dialect = Dialect { protocol: "graphql-ws", subscribe: "start", delivery: "\"data\"" };

#[tokio::main]
async fn main() {
    let shared = measure(&SHARED).await;
    let per_socket = measure(&PER_SOCKET).await;
    println!("CPU per delivered message, {SUBSCRIBERS} subscribers, {BEATS_PER_SECOND} beats/s for {SECONDS} s:");
    println!("  shared      {:>7.1} us  ({} messages)", shared.0, shared.1);
    println!("  per socket  {:>7.1} us  ({} messages)", per_socket.0, per_socket.1);
    println!("  ratio       {:>7.3}", shared.0 / per_socket.0);
}

/// Microseconds of the server's CPU time for each message that arrived, and how many did.
async fn measure(dialect: &Dialect) -> (f64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = start(&folder).await;
    let client = Client::new(&format!("http://{address}")).unwrap();
    for worker in 0..WORKERS {
        client.register(&format!("w{worker:02}"), &registration()).await.unwrap();
    }
    let arrived = Arc::new(AtomicU64::new(0));
    let mut sockets = Vec::new();
    for _ in 0..SUBSCRIBERS {
        sockets.push(tokio::spawn(follow(address.clone(), dialect, arrived.clone()).await));
    }
    // Everybody has the present state of every worker.
    let everything = (SUBSCRIBERS * WORKERS) as u64;
    timeout(Duration::from_secs(120), async {
        while arrived.load(Ordering::Relaxed) < everything {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("every subscriber should get the present state");

    let before = (cpu_time(&server), arrived.load(Ordering::Relaxed));
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(BEATS_PER_SECOND).unwrap());
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut beats = 0;
    while Instant::now() < end {
        ticks.tick().await;
        beats += 1;
        client.heartbeat(&format!("w{:02}", beats % WORKERS as u64), &beat(beats)).await.unwrap();
    }
    // Until nothing more arrives.
    let mut last = 0;
    while last != arrived.load(Ordering::Relaxed) {
        last = arrived.load(Ordering::Relaxed);
        sleep(Duration::from_millis(500)).await;
    }
    let messages = last - before.1;
    let cpu = cpu_time(&server) - before.0;
    for socket in sockets {
        socket.abort();
    }
    server.kill().await.unwrap();
    (cpu.as_secs_f64() * 1e6 / messages as f64, messages)
}

async fn start(folder: &tempfile::TempDir) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_aetherium"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("the server should say where it listens");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    (server, line["listen.address"].as_str().unwrap().to_owned())
}

/// Opens a socket and subscribes; the future counts what arrives.
async fn follow(address: String, dialect: &Dialect, arrived: Arc<AtomicU64>) -> impl Future<Output = ()> + use<> {
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", dialect.protocol.parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let text = |value: serde_json::Value| Message::Text(value.to_string().into());
    socket.send(text(json!({"type": "connection_init"}))).await.unwrap();
    let subscribe = json!({"type": dialect.subscribe, "id": "1", "payload": {"query": DOCUMENT}});
    socket.send(text(subscribe)).await.unwrap();
    let delivery = dialect.delivery;
    async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && text.get(..40).is_some_and(|head| head.contains(delivery))
            {
                arrived.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn registration() -> Registration {
    Registration {
        hostname: "node.example.com".into(),
        address: "192.168.1.10:8081".into(),
        zone: "us-west-1a".into(),
        labels: [("env".to_owned(), "production".to_owned()), ("tier".to_owned(), "compute".to_owned())].into(),
        capabilities: vec!["firecracker".into(), "docker".into()],
        cpu_cores: 16,
        memory_mb: 32_768,
        disk_gb: 500,
        max_vms: 100,
        boot_id: "bench".into(),
    }
}

fn beat(sequence: u64) -> Heartbeat {
    Heartbeat {
        incarnation: 1,
        sequence,
        used_cpu_cores: Some(u32::try_from(sequence % 16).unwrap()),
        used_memory_mb: Some(8_192),
        used_disk_gb: Some(50),
        vms: None,
        vms_delta: None,
    }
}

/// User and system time of a process so far.
fn cpu_time(process: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id().unwrap())).unwrap();
    // The name, in parentheses, may have spaces; the times are the 14th and 15th fields, in hundredths.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
