//! A gateway: the task of one worker, or of the workers that share a request. It waits until a worker has something to
//! do, sends it, and tells the worker the outcome. What a worker does, and when, is decided by the worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::scene;
use super::simulated_worker::{Action, SimulatedWorker};
use super::tally::Tally;
use crate::client::{ApiClient, Client, ClientError, Heartbeat, HeartbeatReply};

/// Heartbeats that are due within an interval divided by this are sent together. The server gives every worker a
/// slightly different time for its next heartbeat; without slack, a gateway would soon send each of them alone.
const SLACK_FRACTION: u32 = 4;

/// How long the workers may take to deregister, so that a server that hangs does not keep the simulator from ending. A
/// whole fleet takes less.
const DEREGISTRATION_TIME: Duration = Duration::from_secs(30);

/// What all gateways of a fleet share.
pub(super) struct FleetLink {
    pub(super) client: Client,
    /// The operator of a scene.
    pub(super) operator: ApiClient,
    pub(super) tally: Arc<Tally>,
    /// Permits for registrations and deregistrations in flight, and for heartbeats.
    pub(super) registrations: Semaphore,
    pub(super) heartbeats: Semaphore,
    pub(super) stop: CancellationToken,
    /// Whether workers deregister at the end.
    pub(super) goodbye: bool,
    /// Whether heartbeats are sent to the endpoint that takes many.
    pub(super) batched: bool,
}

/// Workers that share requests.
pub(super) struct Gateway {
    workers: Vec<SimulatedWorker>,
    link: Arc<FleetLink>,
}

/// A heartbeat in flight.
struct SentHeartbeat {
    worker: usize,
    since: Instant,
    heartbeat: Heartbeat,
}

impl Gateway {
    pub(super) fn new(workers: Vec<SimulatedWorker>, link: Arc<FleetLink>) -> Self {
        Self { workers, link }
    }

    /// Acts for its workers until told to stop.
    pub(super) async fn run(mut self) {
        let stop = self.link.stop.clone();
        while let Some(due) = self.workers.iter().map(SimulatedWorker::due).min() {
            if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
                break;
            }
            let slack = self.slack();
            self.register().await;
            self.send_heartbeats(slack).await;
            self.play().await;
        }
        if self.link.goodbye {
            self.say_goodbye().await;
        }
    }

    fn slack(&self) -> Duration {
        match self.workers.as_slice() {
            [] | [_] => Duration::ZERO,
            [first, ..] => first.pace() / SLACK_FRACTION,
        }
    }

    /// Registers the workers that have to, trying each once. After a failure, a worker is due again later.
    async fn register(&mut self) {
        let FleetLink { client, tally, registrations, stop, .. } = &*self.link;
        for worker in &mut self.workers {
            if worker.next_action(Instant::now(), Duration::ZERO, tally) != Action::Register {
                continue;
            }
            let Some(_permit) = stop.run_until_cancelled(registrations.acquire()).await else {
                return;
            };
            let answer = client.register(worker.id(), worker.registration()).await;
            let now = Instant::now();
            match answer {
                Ok(registered) => worker.registered(now, &registered, tally),
                Err(error) => {
                    debug!(worker.id = worker.id(), %error, "Worker {} could not register", worker.id());
                    tally.registration_failed(&error);
                    worker.failed(now, &error);
                }
            }
        }
    }

    /// Sends the heartbeats that are due, in one request.
    async fn send_heartbeats(&mut self, slack: Duration) {
        let FleetLink { client, tally, heartbeats, stop, batched, .. } = &*self.link;
        let now = Instant::now();
        let mut sent = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if worker.next_action(now, slack, tally) == Action::Heartbeat {
                let since = worker.waiting_since(now);
                sent.extend(worker.heartbeat(now, tally).map(|heartbeat| SentHeartbeat {
                    worker: index,
                    since,
                    heartbeat,
                }));
            }
        }
        if sent.is_empty() {
            return;
        }

        // The latency is measured from before the permit: if the server stalls, waiting for one is part of it.
        let Some(_permit) = stop.run_until_cancelled(heartbeats.acquire()).await else {
            return;
        };
        let answers = if *batched {
            let bodies: Vec<(&str, &Heartbeat)> =
                sent.iter().map(|sent| (self.workers[sent.worker].id(), &sent.heartbeat)).collect();
            client.heartbeats(&bodies).await
        } else {
            let mut answers = Vec::with_capacity(1);
            for sent in &sent {
                let id = self.workers[sent.worker].id();
                answers.push(client.heartbeat(id, &sent.heartbeat).await);
            }
            Ok(answers)
        };
        match answers {
            Ok(answers) => {
                for (sent, answer) in sent.iter().zip(&answers) {
                    apply_answer(&mut self.workers[sent.worker], sent.since, answer.as_ref(), tally);
                }
            }
            // The request failed, and with it every heartbeat in it.
            Err(error) => {
                for sent in &sent {
                    apply_answer(&mut self.workers[sent.worker], sent.since, Err(&error), tally);
                }
            }
        }
    }

    /// Drains the workers that the scene wants drained now.
    async fn play(&mut self) {
        for worker in &mut self.workers {
            if let Some((reason, deadline)) = worker.take_drain() {
                scene::drain(&self.link.operator, worker.id(), reason, deadline).await;
            }
        }
    }

    async fn say_goodbye(&self) {
        let end = Instant::now() + DEREGISTRATION_TIME;
        for worker in &self.workers {
            let Some(life) = worker.last_life() else { continue };
            let Ok(_permit) = self.link.registrations.acquire().await else {
                return;
            };
            if Instant::now() > end {
                return;
            }
            match self.link.client.goodbye(worker.id(), life).await {
                Ok(()) => self.link.tally.said_goodbye(),
                Err(error) => {
                    debug!(worker.id = worker.id(), %error, "Worker {} could not say goodbye", worker.id());
                    self.link.tally.goodbye_failed(&error);
                }
            }
        }
    }
}

fn apply_answer(
    worker: &mut SimulatedWorker,
    since: Instant,
    answer: Result<&HeartbeatReply, &ClientError>,
    tally: &Tally,
) {
    let now = Instant::now();
    match answer {
        Ok(reply) => {
            tally.acknowledged(now - since);
            worker.acknowledged(now, reply);
        }
        Err(error) => {
            debug!(worker.id = worker.id(), %error, "A beat of worker {} failed", worker.id());
            tally.heartbeat_failed(error);
            worker.failed(now, error);
        }
    }
}
