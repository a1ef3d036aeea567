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
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aetherium::client::Heartbeat;
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use self::support::{Core, Program, registration, subscribe};

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
    let server = match way {
        Way::Stock => start_stock().await,
        Way::Shared | Way::EachItsOwn => Program::aetherium(Core::Any, folder.path(), &[]).await.unwrap(),
    };
    let client = server.client();
    if way != Way::Stock {
        for worker in 0..WORKERS {
            client.register(&format!("w{worker:02}"), &registration(worker)).await.unwrap();
        }
    }
    let arrived = Arc::new(AtomicU64::new(0));
    let mut sockets = Vec::new();
    for subscriber in 0..SUBSCRIBERS {
        let name = if way == Way::EachItsOwn { format!("S{subscriber}") } else { String::new() };
        let document = format!("subscription {name} {SELECTION}");
        sockets.push(tokio::spawn(follow(&server.address, &document, arrived.clone()).await));
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

    let before = (server.cpu_time(), arrived.load(Ordering::Relaxed));
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(BEATS_PER_SECOND).unwrap());
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut beats = 0;
    let http = reqwest::Client::new();
    while Instant::now() < end {
        ticks.tick().await;
        beats += 1;
        let worker = beats % WORKERS as u64;
        if way == Way::Stock {
            http.post(format!("http://{}/beat/{worker}", server.address)).send().await.unwrap();
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
    let cpu = server.cpu_time() - before.0;
    for socket in sockets {
        socket.abort();
    }
    server.kill().await;
    (cpu.as_secs_f64() * 1e6 / messages as f64, messages)
}

async fn start_stock() -> Program {
    let mut command = Core::Any.command(std::env::current_exe().unwrap());
    command.arg(SERVE_STOCK);
    Program::that_tells_its_address(command).await.unwrap()
}

/// Opens a socket and subscribes; the future counts what arrives.
async fn follow(address: &str, document: &str, arrived: Arc<AtomicU64>) -> impl Future<Output = ()> + use<> {
    let mut socket = subscribe(TcpStream::connect(address).await.unwrap(), document).await;
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

fn beat(sequence: u64) -> Heartbeat {
    Heartbeat {
        incarnation: 1,
        sequence,
        used_cpu_cores: Some(u32::try_from(sequence % 16).unwrap()),
        used_memory_mb: Some(8_192),
        used_disk_gb: Some(50),
        vms: None,
        ..Heartbeat::default()
    }
}
