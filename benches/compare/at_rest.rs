//! A large cluster: how long a server takes until it answers, and what memory it has then. And what a subscription takes
//! that has nothing to tell.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Wanted;
use super::load::{Connection, Request};
use super::ours::Ours;
use super::table::{Line, Table, Target};
use crate::support::{Core, Fleet, Program, median, subscribe};

const START: &str = "start to ready";
const MEMORY: &str = "memory at rest";
const IDLE: &str = "idle-subscription";

const STARTS: usize = 3;
const SUBSCRIBERS: usize = 1_000;
const EVENTS: &str = "subscription { clusterEvents { cursor kind message workerId vmId } }";

/// Measures all that is wanted.
pub async fn measure(wanted: &Wanted, table: &mut Table) -> Result<()> {
    if wanted.has(START) || wanted.has(MEMORY) {
        let (start, memory) = large_cluster().await?;
        table.add(Line::value(START, "s", Ok(start), Target::AtMost(2.0)));
        table.add(Line::value(MEMORY, "MB", Ok(memory), Target::AtMost(250.0)));
    }
    if wanted.has(IDLE) {
        table.add(Line::value(IDLE, "KiB", Ok(idle_subscription().await?), Target::AtMost(32.0)));
    }
    Ok(())
}

/// Seconds until the first answer, and resident megabytes a moment later.
async fn large_cluster() -> Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let start = async || Program::aetherium(Core::Measured, folder.path(), &["--offline-after", "24h"]).await;
    let server = start().await?;
    Fleet::B.join(&server.client()).await;
    server.stop().await;
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let began = Instant::now();
        let server = start().await?;
        Connection::open(&server.address).await?.ask(&Request::get("/api/v1/health")).await?;
        times.push(began.elapsed().as_secs_f64());
        sleep(Duration::from_secs(1)).await;
        memory.push(server.resident() as f64 * 1_024.0 / 1e6);
        server.stop().await;
    }
    Ok((median(times), median(memory)))
}

/// KiB for each of many that follow events of a cluster where nothing happens.
async fn idle_subscription() -> Result<f64> {
    let ours = Ours::start(None).await?;
    let before = ours.program.resident();
    let mut sockets = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut socket = subscribe(TcpStream::connect(ours.address()).await?, EVENTS).await;
        // It has begun: acknowledged, and told from where on it tells.
        for _ in 0..2 {
            socket.next().await.unwrap()?;
        }
        sockets.push(socket);
    }
    sleep(Duration::from_secs(1)).await;
    Ok((ours.program.resident() - before) as f64 / SUBSCRIBERS as f64)
}
