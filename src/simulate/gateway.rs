//! The one task behind a worker, or behind as many as share a request: it waits until one of them has something to do,
//! does it over the network and tells the worker what came of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::tally::Tally;
use super::worker::{Duty, Worker};
use crate::client::{Client, ClientError, Heartbeat, HeartbeatReply};

/// Heartbeats that are due within this part of an interval go together. The server gives every worker a slightly different
/// time for its next heartbeat; without some slack a gateway would soon send each of them alone.
const GATHERED: u32 = 4;

/// A whole fleet says goodbye in less; a server that hangs does not keep the simulator from ending.
const GOODBYES_TAKE: Duration = Duration::from_secs(30);

/// What all gateways of a fleet share.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) tally: Arc<Tally>,
    /// Permits for registrations and goodbyes, and for heartbeats, under way at once.
    pub(super) registrations: Semaphore,
    pub(super) heartbeats: Semaphore,
    pub(super) stop: CancellationToken,
    /// Whether workers say goodbye at the end.
    pub(super) goodbye: bool,
    /// Whether heartbeats go through the endpoint that takes many.
    pub(super) batched: bool,
}

/// A few workers and their way to the server.
pub(super) struct Gateway {
    workers: Vec<Worker>,
    link: Arc<Link>,
}

/// A heartbeat on its way.
struct Sent {
    worker: usize,
    since: Instant,
    heartbeat: Heartbeat,
}

impl Gateway {
    pub(super) fn new(workers: Vec<Worker>, link: Arc<Link>) -> Self {
        Self { workers, link }
    }

    /// Acts for its workers until told to stop.
    pub(super) async fn run(mut self) {
        let stop = self.link.stop.clone();
        while let Some(due) = self.workers.iter().map(Worker::due).min() {
            if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
                break;
            }
            let slack = self.slack();
            self.register().await;
            self.send_heartbeats(slack).await;
        }
        if self.link.goodbye {
            self.say_goodbye().await;
        }
    }

    fn slack(&self) -> Duration {
        match self.workers.as_slice() {
            [] | [_] => Duration::ZERO,
            [first, ..] => first.pace() / GATHERED,
        }
    }

    /// Registers the workers that have to, once each. Who fails is due again later.
    async fn register(&mut self) {
        let Link { client, tally, registrations, stop, .. } = &*self.link;
        for worker in &mut self.workers {
            if worker.duty(Instant::now(), Duration::ZERO, tally) != Duty::Register {
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

    /// Sends the heartbeats that are due in one request.
    async fn send_heartbeats(&mut self, slack: Duration) {
        let Link { client, tally, heartbeats, stop, batched, .. } = &*self.link;
        let now = Instant::now();
        let mut sent = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if worker.duty(now, slack, tally) == Duty::Heartbeat {
                let since = worker.waiting_since(now);
                sent.extend(worker.heartbeat(now, tally).map(|heartbeat| Sent { worker: index, since, heartbeat }));
            }
        }
        if sent.is_empty() {
            return;
        }

        // Timed from before the permit: a heartbeat that waits for a stalled server to free one is slow, not unborn.
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
                    settle(&mut self.workers[sent.worker], sent.since, answer.as_ref(), tally);
                }
            }
            // The request as a whole failed, and with it every heartbeat in it.
            Err(error) => {
                for sent in &sent {
                    settle(&mut self.workers[sent.worker], sent.since, Err(&error), tally);
                }
            }
        }
    }

    async fn say_goodbye(&self) {
        let end = Instant::now() + GOODBYES_TAKE;
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

fn settle(worker: &mut Worker, since: Instant, answer: Result<&HeartbeatReply, &ClientError>, tally: &Tally) {
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
