//! Commands: a drain, a heartbeat, how soon a subscriber hears of one, and how many heartbeats are taken.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::figures::{Column, Figure};
use super::support::load::{Connection, Request, Script, load};
use super::support::{Fleet, Program, Socket, beat, median, subscribe};

/// How long heartbeats are sent.
const BEATING: Duration = Duration::from_secs(5);

/// Heartbeats come in bodies, over some connections.
pub const IN_ONE_BODY: usize = 100;
const GATEWAYS: usize = 8;

/// What everybody follows who follows all that happens.
pub const EVENTS: &str = "subscription { clusterEvents { kind workerId } }";

/// Changes of which a subscriber hears, after some to warm up.
const CHANGES: usize = 15;
const WARM_UP: usize = 3;

/// How long nothing is sent before a change: longer than a socket that was just written to waits for more (ADR 0011).
pub const SILENCE: Duration = Duration::from_millis(300);

/// Gives every command, over one connection.
pub async fn measure(cluster: &Cluster, server: &Program, column: &mut Column) -> Result<()> {
    let (address, connection) = (&server.address, &mut Connection::open(&server.address).await?);
    let middle = cluster.middle();
    let policies = policies(middle);
    // An answer of before is no answer any more: each of these changes something.
    column.time(Figure::steady("drain", "ms"), connection, |turn| policies[turn % 2].clone()).await?;
    let heartbeat = format!("/api/v1/workers/{}/heartbeat", Fleet::id(middle));
    let heartbeat = |turn| Request::post(&heartbeat, &beat(middle, turn).to_string());
    column.time(Figure::steady("heartbeat", "ms"), connection, heartbeat).await?;
    let told = until_told(address, connection, &policies).await?;
    column.add(Figure::steady("change to subscriber", "ms"), told);
    let bodies = bodies(0..cluster.fleet.workers, IN_ONE_BODY, 1);
    let of_gateway = |gateway| bodies.iter().skip(gateway).step_by(GATEWAYS).cloned().collect();
    let script: Script = (0..GATEWAYS).map(of_gateway).collect();
    let taken = load(address, &script, BEATING).await? * IN_ONE_BODY as f64;
    column.add(Figure::informational("heartbeats in hundreds", "/s"), taken);
    Ok(())
}

/// A drain of this worker, and what undoes it.
pub fn policies(worker: usize) -> [Request; 2] {
    ["drain", "activate"].map(|policy| Request::post(&format!("/api/v1/workers/{}/{policy}", Fleet::id(worker)), "{}"))
}

/// Heartbeats of these workers, so many in a body.
pub fn bodies(workers: impl IntoIterator<Item = usize>, in_one_body: usize, variant: usize) -> Vec<Request> {
    let workers: Vec<usize> = workers.into_iter().collect();
    let bodies = workers.chunks(in_one_body).map(|some| {
        let beats = some.iter().map(|&worker| {
            let mut beat = beat(worker, variant);
            beat["worker_id"] = Fleet::id(worker).into();
            beat
        });
        Request::post("/api/v1/heartbeats", &json!({"heartbeats": beats.collect::<Vec<_>>()}).to_string())
    });
    bodies.collect()
}

/// The median time from a command until a subscriber has heard of it, in milliseconds.
async fn until_told(address: &str, connection: &mut Connection, policies: &[Request; 2]) -> Result<f64> {
    let mut socket = subscribe(TcpStream::connect(address).await?, EVENTS).await;
    // It has begun: acknowledged, and told from where on it tells.
    for _ in 0..2 {
        socket.next().await.context("the socket was closed")??;
    }
    let mut times = Vec::new();
    for turn in 0..WARM_UP + CHANGES {
        sleep(SILENCE).await;
        let asked = Instant::now();
        connection.exchange(&policies[turn % 2], |_| ()).await?;
        event(&mut socket).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times.split_off(WARM_UP)))
}

async fn event(socket: &mut Socket) -> Result<()> {
    loop {
        let message = socket.next().await.context("the socket was closed")??;
        if message.to_text()?.contains("WORKER_") {
            return Ok(());
        }
    }
}
