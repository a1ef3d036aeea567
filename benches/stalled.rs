//! What a reader that does not read costs the server, in memory.
//!
//! Workers with large inventories change all of it with every beat, and everybody is told the whole of it. Measured is
//! how much larger than with nobody listening the server's process and the system's socket buffers become: with
//! subscribers who read, with one who does not, and with as many who do not, before they are cut off and after. Each on
//! a server of its own and in one run, so that growth of other causes (the fleet itself, statements, allocators) is in
//! all of them.
//!
//! `cargo bench --bench stalled`; with `--profile dev` the same on a smaller machine's terms.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first oddity"
)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use aetherium::client::{Heartbeat, VmReport, VmStatus};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::net::TcpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use self::support::{Core, Program, Socket, registration, subscribe};

const SUBSCRIBERS: usize = 100;
const WORKERS: usize = 50;
const VMS: usize = 100;
const BEATS_PER_SECOND: u32 = 20;

/// A reader that takes nothing is cut off after 10 s; until its buffers are full, it seems to take something.
const SECONDS: u64 = 20;

/// What the system of a subscriber who does not read keeps for it, as little as there can be: the rest is the server's
/// to keep.
const RECEIVE_BUFFER: u32 = 4 * 1024;

const EVENTS: &str = "subscription { clusterEvents { cursor kind message workerId vmId } }";
const INVENTORIES: &str =
    "subscription { workerHeartbeats { receivedAt worker { id hostname vms { id name status vcpus memoryMb } } } }";

/// Who listens.
#[derive(Clone, Copy)]
struct Audience {
    name: &'static str,
    document: &'static str,
    count: usize,
    reads: bool,
}

/// Memory in KiB.
#[derive(Clone, Copy, Default)]
struct Memory {
    /// The server's process.
    process: i64,
    /// The system's buffers of all TCP sockets.
    sockets: i64,
}

/// How much memory there was: before anybody listened, at most, and when those who do not read were cut off.
struct Figures {
    before: Memory,
    most: Memory,
    after: Memory,
    changes: u64,
    cut: usize,
}

#[tokio::main]
async fn main() {
    let nobody = Audience { name: "nobody", document: EVENTS, count: 0, reads: true };
    let mut audiences = vec![nobody];
    for (what, document) in [("inventories", INVENTORIES), ("events", EVENTS)] {
        for (how, count, reads) in
            [("who read", SUBSCRIBERS, true), ("who does not read", 1, false), ("who do not read", SUBSCRIBERS, false)]
        {
            let name = format!("{count:>3} of {what} {how}").leak();
            audiences.push(Audience { name, document, count, reads });
        }
    }
    println!(
        "{WORKERS} workers with {VMS} VMs each, of which one changes all of them, {BEATS_PER_SECOND} times/s for {SECONDS} s"
    );
    println!("growth in MiB                        process: most  after   sockets: most  after   changes    cut");
    for audience in audiences {
        let Figures { before, most, after, changes, cut } = measure(audience).await;
        let mib = |now: i64, before: i64| (now - before) as f64 / 1024.0;
        println!(
            "{:<35} {:>13.1} {:>6.1} {:>15.1} {:>6.1} {changes:>9} {cut:>6}",
            audience.name,
            mib(most.process, before.process),
            mib(after.process, before.process),
            mib(most.sockets, before.sockets),
            mib(after.sockets, before.sockets),
        );
    }
}

async fn measure(audience: Audience) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::aetherium(Core::Any, folder.path(), &["--offline-after", "1h"]).await.unwrap();
    let (address, client) = (server.address.parse().unwrap(), server.client());
    // Twice, so that what is made room for at the first change of all is there.
    for round in 1..=2 {
        join_all((0..WORKERS).map(async |worker| {
            let id = format!("w{worker:03}");
            client.register(&id, &registration(worker)).await.unwrap();
            client.heartbeat(&id, &beat(&id, round)).await.unwrap();
        }))
        .await;
    }
    let before = Memory::of(&server);
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for _ in 0..audience.count {
        let mut socket = follow(address, audience).await;
        // It has begun: acknowledged, and told the first thing.
        for _ in 0..2 {
            socket.next().await.unwrap().unwrap();
        }
        if audience.reads {
            read.push(tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} }));
        } else {
            unread.push(socket);
        }
    }
    let mut most = before;
    let mut ticks = interval(Duration::from_secs(1) / BEATS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut changes = 0;
    while Instant::now() < end {
        ticks.tick().await;
        changes += 1;
        let id = format!("w{:03}", changes % WORKERS as u64);
        client.heartbeat(&id, &beat(&id, 2 + changes)).await.unwrap();
        let now = Memory::of(&server);
        most = Memory { process: most.process.max(now.process), sockets: most.sockets.max(now.sockets) };
    }
    let after = Memory::of(&server);
    let mut cut = 0;
    for socket in unread {
        cut += usize::from(was_cut(socket).await);
    }
    for reader in read {
        reader.abort();
    }
    server.kill().await;
    // The system forgets the sockets.
    sleep(Duration::from_secs(1)).await;
    Figures { before, most, after, changes, cut }
}

/// Reads what is left; whether it ends.
async fn was_cut(mut socket: Socket) -> bool {
    let end = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    timeout(Duration::from_secs(2), end).await.is_ok()
}

impl Memory {
    fn of(server: &Program) -> Self {
        let sockets = fs::read_to_string("/proc/net/sockstat").unwrap();
        let pages = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap().rsplit(' ').next().unwrap();
        // Pages of 4 KiB.
        Self { process: server.resident(), sockets: pages.parse::<i64>().unwrap() * 4 }
    }
}

/// Subscribes; whoever does not read is told little by its system.
async fn follow(address: SocketAddr, audience: Audience) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    if !audience.reads {
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    }
    subscribe(socket.connect(address).await.unwrap(), audience.document).await
}

fn beat(worker: &str, sequence: u64) -> Heartbeat {
    let vm = |vm| VmReport {
        id: format!("{worker}-vm-{vm:03}"),
        name: format!("{worker}-vm-{vm:03}-of-report-{sequence}"),
        status: VmStatus::Running,
        vcpus: 1,
        memory_mb: 512,
        note: None,
        reservation_id: None,
    };
    Heartbeat {
        incarnation: 1,
        boot_id: None,
        sequence,
        used_cpu_cores: None,
        used_memory_mb: None,
        used_disk_gb: None,
        vms: Some((0..VMS).map(vm).collect()),
        vms_delta: None,
    }
}
