//! What it costs to tell many subscribers the same.
//!
//! 1,000 sockets that follow the heartbeats of 50 workers, 50 beats a second; measured is the server's
//! CPU time for each message that arrived, three times in one run on one machine, because only ratios
//! mean anything:
//!
//! * **shared**: all ask the same, so that each message is resolved and written out once;
//! * **each its own**: every document has a name of its own, so that nothing can be shared;
//! * **stock**: the same fields, served by the engine's own layer for axum as it comes ([`stock`]).
//!
//! `cargo bench --bench fan_out`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first oddity"
)]

mod stock;

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

/// Given to this program, it is the server of [`stock`].
const SERVE_STOCK: &str = "--serve-stock";

/// The 23 fields that dashboards show.
const SELECTION: &str = "{ workerHeartbeats { receivedAt coalesced worker { id hostname address zone status \
    labels { key value } capabilities cpuCores memoryMb diskGb usedCpuCores usedMemoryMb usedDiskGb cpuUsagePercent \
    memoryUsagePercent vmCount maxVms startedAt lastSeen uptime isHealthy revision } } }";

/// Who serves, and what the subscribers ask for.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Shared,
    EachItsOwn,
    Stock,
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == SERVE_STOCK) {
        return stock::serve().await;
    }
    let shared = measure(Way::Shared).await;
    let each_its_own = measure(Way::EachItsOwn).await;
    let stock = measure(Way::Stock).await;
    println!("CPU per delivered message, {SUBSCRIBERS} subscribers, {BEATS_PER_SECOND} beats/s for {SECONDS} s:");
    for (what, (cost, messages)) in [("shared", shared), ("each its own", each_its_own), ("stock", stock)] {
        println!("  {what:<14}{cost:>7.1} us  ({messages} messages)");
    }
    println!("  shared / each its own  {:>7.3}", shared.0 / each_its_own.0);
    println!("  shared / stock         {:>7.3}", shared.0 / stock.0);
}

/// Microseconds of the server's CPU time for each message that arrived, and how many did.
async fn measure(way: Way) -> (f64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, address) = if way == Way::Stock { start_stock().await } else { start(&folder).await };
    let client = Client::new(&format!("http://{address}")).unwrap();
    if way != Way::Stock {
        for worker in 0..WORKERS {
            client.register(&format!("w{worker:02}"), &registration()).await.unwrap();
        }
    }
    let arrived = Arc::new(AtomicU64::new(0));
    let mut sockets = Vec::new();
    for subscriber in 0..SUBSCRIBERS {
        let name = if way == Way::EachItsOwn { format!("S{subscriber}") } else { String::new() };
        let document = format!("subscription {name} {SELECTION}");
        sockets.push(tokio::spawn(follow(address.clone(), &document, arrived.clone()).await));
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
    let http = reqwest::Client::new();
    while Instant::now() < end {
        ticks.tick().await;
        beats += 1;
        let worker = beats % WORKERS as u64;
        if way == Way::Stock {
            http.post(format!("http://{address}/beat/{worker}")).send().await.unwrap();
        } else {
            client.heartbeat(&format!("w{worker:02}"), &beat(beats)).await.unwrap();
        }
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

async fn start_stock() -> (Child, String) {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg(SERVE_STOCK)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = lines.next_line().await.unwrap().expect("the server should say where it listens");
    (server, address)
}

/// Opens a socket and subscribes; the future counts what arrives.
async fn follow(address: String, document: &str, arrived: Arc<AtomicU64>) -> impl Future<Output = ()> + use<> {
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let text = |value: serde_json::Value| Message::Text(value.to_string().into());
    socket.send(text(json!({"type": "connection_init"}))).await.unwrap();
    let subscribe = json!({"type": "subscribe", "id": "1", "payload": {"query": document}});
    socket.send(text(subscribe)).await.unwrap();
    async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && text.get(..40).is_some_and(|head| head.contains("\"next\""))
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
