//! `aetherium simulate`: a synthetic fleet that speaks the real API.
//!
//! Thousands of workers register, send heartbeats, start and stop VMs, fall silent and come back, from one process and over
//! [`crate::client`], so a server under it cannot tell them from agents on real hosts. It serves three purposes: trying
//! Aetherium out, measuring a server, and finding out what a server does when workers misbehave.
//!
//! Read it in the order of a fleet's life:
//!
//! * `options`: what the command line asks for.
//! * `fleet`: the workers before anything happens, a pure function of the options and their seed.
//! * `inventory`: the VMs of one worker: placing, churn, and what a heartbeat has to tell about them. Pure as well.
//! * `worker`: when a worker registers, sends heartbeats, dies, returns and backs off. It decides and sends nothing.
//! * `gateway`: one task that does what its worker (or, with `--batch`, its workers) decided, over the network.
//! * `tally` and `progress`: what is counted, and how it is shown.
//!
//! *Invariant:* nothing of the server is imported. What the simulator believes about the API is what [`crate::client`]
//! declares, so it fails when the public contract changes, even if both sides of this crate changed together.

mod fleet;
mod gateway;
mod inventory;
mod options;
mod progress;
mod tally;
mod worker;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::options::SimulateOptions;
pub use self::progress::Progress;
pub use self::tally::{Failures, Latency, Summary};

use self::gateway::{Gateway, Link};
use self::progress::Display;
use self::tally::Tally;
use self::worker::Worker;
use crate::client::{Client, ClientError};

/// Registrations under way at once. A real fleet does not start within a second either, and a server that is busy
/// registering should still answer heartbeats.
const REGISTRATIONS_AT_ONCE: usize = 64;

/// Heartbeats under way at once. A stalled server would otherwise have every worker hold a connection, and the usual limit
/// of 1,024 open files would make the simulator fail instead of the server.
const HEARTBEATS_AT_ONCE: usize = 256;

/// Why a simulation did not take place. Once it runs, failures are counted in the [`Summary`] instead.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The address or an id made from the prefix cannot be used.
    #[error("the simulated fleet cannot be set up")]
    Setup(#[source] ClientError),
    /// Not even the first worker could register. A wrong address should be told at once, not retried ten thousand times.
    #[error("the first simulated worker could not register at {server}")]
    FirstContact {
        /// The address that was tried.
        server: String,
        /// What came back.
        source: ClientError,
    },
    /// A task of the simulator panicked, so its figures are not to be trusted.
    #[error("the simulator itself failed")]
    Crashed(#[from] JoinError),
}

/// Simulates a fleet until told to stop or until its `duration` is over, and says how it went.
///
/// Stopping lets calls that are under way finish, so that every heartbeat the server took is one that is counted here.
pub async fn run(
    options: SimulateOptions,
    progress: Progress,
    shutdown: CancellationToken,
) -> Result<Summary, SimulateError> {
    let mut client = Client::new(&options.server).map_err(SimulateError::Setup)?;
    let mut workers = assemble(&options);
    let tally = Arc::new(Tally::new(&options));

    if let Some(first) = workers.first_mut() {
        let answer = client.register(first.id(), first.registration());
        match shutdown.run_until_cancelled(answer).await {
            Some(Ok(registered)) => {
                first.registered(Instant::now(), &registered, &tally);
                client = client.with_timeout(registered.retry_limits().request_timeout);
            }
            Some(Err(source)) => {
                let server = options.server;
                return Err(SimulateError::FirstContact { server, source });
            }
            None => return Ok(tally.summary()),
        }
    }

    let stop = shutdown.child_token();
    let link = Arc::new(Link {
        client,
        tally: Arc::clone(&tally),
        registrations: Semaphore::new(REGISTRATIONS_AT_ONCE),
        heartbeats: Semaphore::new(HEARTBEATS_AT_ONCE),
        stop: stop.clone(),
        goodbye: options.goodbye,
        batched: options.batch > 1,
    });
    let mut tasks = JoinSet::new();
    for group in groups(workers, options.batch) {
        tasks.spawn(Gateway::new(group, Arc::clone(&link)).run());
    }

    let end = options.duration.map(|duration| Instant::now() + duration);
    let mut display = Display::new(progress, &options);
    let mut ticks = display.ticks();
    loop {
        tokio::select! {
            finished = tasks.join_next() => match finished {
                Some(task) => task?,
                None => break,
            },
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() && !stop.is_cancelled() => stop.cancel(),
            // What follows a stop, goodbyes above all, must not dilute the rates.
            () = stop.cancelled(), if !tally.is_closed() => tally.close(),
            _ = ticks.tick() => display.show(&tally.summary()),
        }
    }
    display.clear();
    Ok(tally.summary())
}

/// Brings the fleet to life: every worker has its place in the interval, evenly spread, and none has registered yet.
fn assemble(options: &SimulateOptions) -> Vec<Worker> {
    // New for every run: the server must take a second simulation for a restart of the workers, not for retries.
    let run: Arc<str> = Uuid::new_v4().to_string().into();
    let now = Instant::now();
    let batch = options.batch.max(1);
    let gateways = f64::from(options.workers.div_ceil(batch).max(1));
    fleet::muster(options)
        .into_iter()
        .zip(0u32..)
        .map(|(host, index)| {
            let phase = f64::from(index / batch) / gateways;
            Worker::new(host, Arc::clone(&run), phase, options, now)
        })
        .collect()
}

/// Splits the fleet into the workers of one gateway each, without copying a worker.
fn groups(workers: Vec<Worker>, batch: u32) -> impl Iterator<Item = Vec<Worker>> {
    let size = usize::try_from(batch).unwrap_or(usize::MAX).max(1);
    let mut workers = workers.into_iter();
    std::iter::from_fn(move || {
        let group: Vec<Worker> = workers.by_ref().take(size).collect();
        (!group.is_empty()).then_some(group)
    })
}

#[cfg(test)]
mod tests;
