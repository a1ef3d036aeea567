//! Ten thousand WebSockets that follow: the memory of each, how soon the last has heard, and what a message costs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Cluster;
use super::commands::{EVENTS, SILENCE, bodies, policies};
use super::figures::{Column, Figure};
use super::history::FIRST_SAMPLE_TAKEN;
use super::support::load::{Connection, Request};
use super::support::{Fleet, Socket, median, open_more_files, subscribe_with, tell};

/// How many, if both processes may open as many files.
const SOCKETS: usize = 10_000;

/// Files that this process has open besides.
const OTHER_FILES: usize = 100;

/// How many are being opened at a time.
const AT_ONCE: usize = 64;

/// Rounds that count: so many, or as many as fit into a time.
const ROUNDS: usize = 15;
const FEWEST_ROUNDS: usize = 3;
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most heartbeats that one body has.
const IN_ONE_BODY: usize = 1_000;

/// One document; what it follows is a variable.
const HEARTBEATS: &str = "subscription ($ids: [ID!]) { workerHeartbeats(filter: {ids: $ids}) {
    receivedAt worker { id status lastSeen usedCpuCores usedMemoryMb vmCount } } }";

/// What the server asks from time to time.
const PING: &str = r#""type":"ping""#;

/// What the sockets follow.
#[derive(Clone, Copy)]
enum Following {
    /// What happens, all the same.
    Events,
    /// The heartbeats of a worker, each another one as far as there are as many.
    Heartbeats,
}

/// Measures both, each with a server that was started for it.
pub async fn measure(cluster: &Cluster, column: &mut Column) -> Result<()> {
    let files = open_more_files();
    // A server leaves a fifth of its files to other things than connections.
    let count = SOCKETS.min(files.saturating_sub(OTHER_FILES)).min(files / 5 * 4 - 1);
    if count < SOCKETS {
        eprintln!("{count} sockets, not {SOCKETS}: a process may open {files} files (`ulimit -Hn`)");
    }
    Following::Events.measure(cluster, count, column).await?;
    Following::Heartbeats.measure(cluster, count, column).await
}

impl Following {
    fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Heartbeats => "own heartbeats",
        }
    }

    fn document(self) -> &'static str {
        match self {
            Self::Events => EVENTS,
            Self::Heartbeats => HEARTBEATS,
        }
    }

    fn variables(self, fleet: Fleet, socket: usize) -> Value {
        match self {
            Self::Events => json!({}),
            Self::Heartbeats => json!({"ids": [Fleet::id(socket % fleet.workers)]}),
        }
    }

    /// Whether a message is one that is waited for.
    fn is_news(self, message: &str) -> bool {
        match self {
            Self::Events => message.contains("WORKER_"),
            Self::Heartbeats => message.contains("receivedAt"),
        }
    }

    /// What is sent so that each of so many sockets gets one message.
    fn requests(self, cluster: &Cluster, count: usize, round: usize) -> Vec<Request> {
        match self {
            Self::Events => vec![policies(cluster.middle())[round % 2].clone()],
            Self::Heartbeats => bodies(0..count.min(cluster.fleet.workers), IN_ONE_BODY, round),
        }
    }

    async fn measure(self, cluster: &Cluster, count: usize, column: &mut Column) -> Result<()> {
        let server = cluster.start().await?;
        sleep(FIRST_SAMPLE_TAKEN).await;
        let before = server.resident();
        let (heard, mut readers) = self.begin(cluster.fleet, &server.address, count).await?;
        let memory = (server.resident() - before) as f64 / count as f64;
        column.add(Figure::informational(format!("following {}, memory of a socket", self.name()), "KiB"), memory);

        let mut connection = Connection::open(&server.address).await?;
        let (mut times, mut began, mut cpu) = (Vec::new(), Instant::now(), server.cpu_time());
        for round in 0..=ROUNDS {
            if round == 1 {
                // The first one warms up.
                times.clear();
                (began, cpu) = (Instant::now(), server.cpu_time());
            }
            sleep(SILENCE).await;
            heard.expect(count);
            let requests = self.requests(cluster, count, round);
            let asked = Instant::now();
            for request in &requests {
                connection.exchange(request, |_| ()).await?;
            }
            let all = timeout(PATIENCE, heard.all.notified()).await;
            let mut closed = || std::iter::from_fn(|| readers.try_join_next()).count();
            all.with_context(|| format!("{} of {count} sockets have heard; {} were closed", heard.count(), closed()))?;
            times.push(asked.elapsed().as_secs_f64() * 1e3);
            if round >= FEWEST_ROUNDS && began.elapsed() > LONG_ENOUGH {
                break;
            }
        }
        let cost = (server.cpu_time() - cpu).as_secs_f64() * 1e6 / (times.len() * count) as f64;
        ensure!(heard.count() == count, "{} messages to {count} sockets", heard.count());
        column.add(
            Figure::informational(format!("following {}, until the last has heard", self.name()), "ms"),
            median(times),
        );
        column.add(Figure::informational(format!("following {}, CPU of a message", self.name()), "us"), cost);
        readers.shutdown().await;
        server.kill().await;
        Ok(())
    }

    /// Opens so many sockets. Each is read from the beginning: one that does not answer the server's pings is closed.
    async fn begin(self, fleet: Fleet, address: &str, count: usize) -> Result<(Arc<Heard>, JoinSet<()>)> {
        let (heard, mut readers) = (Arc::new(Heard::default()), JoinSet::new());
        let open = stream::iter(0..count).map(async |socket| self.open(fleet, address, socket).await);
        let mut open = pin!(open.buffer_unordered(AT_ONCE));
        while let Some(socket) = open.try_next().await? {
            readers.spawn(self.read(socket, heard.clone()));
        }
        Ok((heard, readers))
    }

    /// A socket that has begun to follow: it is acknowledged, and has been told how things are.
    async fn open(self, fleet: Fleet, address: &str, socket: usize) -> Result<Socket> {
        let stream = TcpStream::connect(address).await?;
        let mut socket = subscribe_with(stream, self.document(), &self.variables(fleet, socket)).await;
        for _ in 0..2 {
            let message = socket.next().await.context("the socket was closed")??;
            ensure!(!message.to_text()?.contains("error"), "{message}");
        }
        Ok(socket)
    }

    async fn read(self, mut socket: Socket, heard: Arc<Heard>) {
        while let Some(Ok(message)) = socket.next().await {
            let text = message.to_text().unwrap_or_default();
            if self.is_news(text) {
                heard.one_more();
            } else if text.contains(PING) {
                tell(&mut socket, &json!({"type": "pong"})).await;
            }
        }
    }
}

/// How many sockets have heard of what was sent last.
#[derive(Default)]
struct Heard {
    count: AtomicUsize,
    expected: AtomicUsize,
    /// Notified when as many have heard as were expected to.
    all: Notify,
}

impl Heard {
    fn expect(&self, count: usize) {
        self.count.store(0, Ordering::Relaxed);
        self.expected.store(count, Ordering::Relaxed);
    }

    fn one_more(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.expected.load(Ordering::Relaxed) {
            self.all.notify_one();
        }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
