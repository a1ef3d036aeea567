//! `aetherium simulate`: a synthetic fleet that speaks the real API.
//!
//! One process simulates thousands of workers that register, send heartbeats, start and stop VMs, fall silent and
//! return. It talks to the server by [`crate::client`], as agents do, so that the server cannot tell the workers from
//! real ones. It is for trying Aetherium out, for measuring a server, and for seeing what a server does when workers
//! fail.
//!
//! The files, in the order of a fleet's life:
//!
//! * `options`: the options of the command.
//! * `fleet`: generates the hosts of the fleet, as a pure function of the options and their seed.
//! * `simulated_inventory`: the VMs of one worker: placing, churn, and what a heartbeat reports of them. Pure as well.
//! * `simulated_worker`: decides when a worker registers, sends heartbeats, falls silent, returns and backs off.
//! * `scene`: who is drained, and who falls silent, where a fleet is to be looked at.
//! * `gateway`: a task that sends what its worker (or, with `--batch`, its workers) decided.
//! * `tally` and `progress`: the counts, and how they are shown.
//!
//! **Invariant:** nothing of the server is imported. The simulator knows the API only as [`crate::client`] declares it,
//! so that it fails when the public contract changes, even if both sides of this crate change together.

mod fleet;
mod gateway;
mod options;
mod progress;
mod scene;
mod simulated_inventory;
mod simulated_load;
mod simulated_worker;
mod tally;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::options::SimulateOptions;
pub use self::progress::Progress;
pub use self::scene::{Part, Scene};
pub use self::tally::{Failures, Latency, Summary};

use self::gateway::{FleetLink, Gateway};
use self::progress::Display;
use self::simulated_worker::SimulatedWorker;
use self::tally::Tally;
use crate::client::{ApiClient, ApiError, Client, ClientError, TokenFileError, TrustError};

/// How many registrations are in flight at once. A real fleet does not start within a second either, and a server that
/// is busy with registrations should still answer heartbeats.
const REGISTRATIONS_AT_ONCE: usize = 64;

/// How many heartbeats are in flight at once. If the server stalls, every worker would hold a connection otherwise, and
/// the simulator would fail by the usual limit of 1,024 open files before the server does.
const HEARTBEATS_AT_ONCE: usize = 256;

/// Why a simulation did not start. Once it runs, failures are counted in the [`Summary`].
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The address or an id made from the prefix cannot be used.
    #[error("the simulated fleet cannot be set up")]
    Setup(#[source] ClientError),
    /// The same, of the operator of a scene.
    #[error("the simulated fleet cannot be set up")]
    Operator(#[source] ApiError),
    /// The token cannot be read.
    #[error(transparent)]
    Token(TokenFileError),
    /// The authorities to trust cannot be read.
    #[error(transparent)]
    Trust(TrustError),
    /// The first worker could not register. This is not retried, so that a wrong address is reported at once.
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

/// Simulates a fleet until told to stop, or until its `duration` is over, and returns the counts.
///
/// Requests in flight are finished at the end, so that every heartbeat that the server has accepted is counted here.
///
/// The future is boxed so that its code is generated with this library, not again in each program that polls it.
pub fn run(
    options: SimulateOptions,
    progress: Progress,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<Summary, SimulateError>> {
    run_until(options, progress, shutdown).boxed()
}

async fn run_until(
    options: SimulateOptions,
    progress: Progress,
    shutdown: CancellationToken,
) -> Result<Summary, SimulateError> {
    let token = options.token.read().map_err(SimulateError::Token)?;
    let trust = options.trust.read().map_err(SimulateError::Trust)?;
    let operator = ApiClient::new(&options.server, &trust, token.clone()).map_err(SimulateError::Operator)?;
    let mut client = Client::trusting(&options.server, &trust).map_err(SimulateError::Setup)?.with_token(token);
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
    let link = Arc::new(FleetLink {
        client,
        operator,
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
            // Rates are over the time until the stop, without the deregistrations that follow it.
            () = stop.cancelled(), if !tally.is_closed() => tally.close(),
            _ = ticks.tick() => display.show(&tally.summary()),
        }
    }
    display.clear();
    Ok(tally.summary())
}

/// The part of the first interval in which the workers of a scene send their first heartbeats: who looks at it shall find it
/// whole.
const SPREAD_OF_A_SCENE: f64 = 0.1;

/// Makes the workers of the fleet, not registered yet, with their heartbeats spread evenly over the interval, or over the
/// first part of it.
fn assemble(options: &SimulateOptions) -> Vec<SimulatedWorker> {
    // Different in every run: the server shall take a second simulation for a restart of the workers, not for retries.
    let run: Arc<str> = Uuid::new_v4().to_string().into();
    let now = Instant::now();
    let batch = options.batch.max(1);
    let gateways = f64::from(options.workers.div_ceil(batch).max(1));
    let spread = if options.scene == Scene::default() { 1.0 } else { SPREAD_OF_A_SCENE };
    fleet::generate_fleet(options)
        .into_iter()
        .zip(0u32..)
        .map(|(host, index)| {
            let phase = f64::from(index / batch) / gateways * spread;
            SimulatedWorker::new(host, Arc::clone(&run), phase, options, now)
        })
        .collect()
}

/// Divides the fleet into the workers of each gateway.
fn groups(workers: Vec<SimulatedWorker>, batch: u32) -> impl Iterator<Item = Vec<SimulatedWorker>> {
    let size = usize::try_from(batch).unwrap_or(usize::MAX).max(1);
    let mut workers = workers.into_iter();
    std::iter::from_fn(move || {
        let group: Vec<SimulatedWorker> = workers.by_ref().take(size).collect();
        (!group.is_empty()).then_some(group)
    })
}

#[cfg(test)]
mod tests;
