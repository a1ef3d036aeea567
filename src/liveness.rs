//! Announces workers that fell silent.
//!
//! That a worker is offline follows from its last heartbeat and needs nobody to say so; but
//! whoever follows the change log has to be told, once. Every server on a database runs a sweeper;
//! the journal sees to it that one of them tells.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::cluster::{Availability, HeardSince, WorkerId};
use crate::error::Result;
use crate::journal::Journal;
use crate::journal::commands::AnnounceSilent;

/// How many workers are named in the log when many go offline at once. All are in the change log.
const MOST_LINES: usize = 20;

/// How often to look: a silent worker is announced within this much after its time-out.
const PERIOD: Duration = Duration::from_secs(1);

/// How late a look may be before this server has to assume that it was not running, and that
/// heartbeats could not arrive either.
const BLIND_AFTER: Duration = Duration::from_secs(3);

/// Fewer workers than this may well die together.
const BRAKE_FROM: usize = 10;

/// Looks for workers that fell silent.
#[derive(Debug)]
pub struct LivenessSweeper {
    journal: Journal,
    clock: Clock,
    offline_after: Duration,
    /// Until then nobody is announced: after a start, or a time of blindness, every worker gets one
    /// whole time-out to be heard.
    grace_until: Timestamp,
    last_sweep: Timestamp,
    /// Whether nobody is announced because all are silent at once, so that it is logged once.
    is_braking: bool,
}

impl LivenessSweeper {
    /// A sweeper that starts with a grace of one time-out.
    pub fn new(journal: Journal, clock: Clock, offline_after: Duration) -> Self {
        let now = clock.now();
        Self { journal, clock, offline_after, grace_until: now + offline_after, last_sweep: now, is_braking: false }
    }

    /// Looks once in a while, until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            // One look at the clock: between two, the database may set it.
            let now = self.clock.now();
            self.note_blindness(now);
            if let Err(error) = self.sweep_at(now).await {
                // The database was away, so heartbeats could not be recorded: nobody is to blame for that time.
                self.begin_grace(self.clock.now());
                warn!(error = %error.chain(), "the liveness sweep failed, the next tick tries again");
            }
        }
    }

    /// Announces whoever is silent and has not been announced yet. Answers how many.
    pub async fn sweep(&mut self) -> Result<usize> {
        self.sweep_at(self.clock.now()).await
    }

    async fn sweep_at(&mut self, now: Timestamp) -> Result<usize> {
        self.last_sweep = now;
        if let Some(outage) = self.journal.last_outage() {
            self.grace_until = self.grace_until.max(outage + self.offline_after);
        }
        if now <= self.grace_until {
            return Ok(0);
        }
        let candidates = self.silent_workers(now);
        if candidates.is_empty() {
            self.is_braking = false;
            return Ok(0);
        }
        if self.is_our_own_deafness(now) {
            return Ok(0);
        }
        let command = AnnounceSilent { candidates, offline_after: self.offline_after };
        let announced = self.journal.commit(command).await?.reply;
        // A commit that took its time was no time of blindness.
        self.last_sweep = self.clock.now();
        self.note_offline(&announced);
        Ok(announced.len())
    }

    /// A line for each worker, by which it is found; of a rack that goes at once, for the first of them.
    fn note_offline(&self, announced: &[WorkerId]) {
        let seconds = self.offline_after.as_secs();
        for id in announced.iter().take(MOST_LINES) {
            info!(worker.id = %id, "Worker {id} went offline: it has not been heard from for over {seconds} s");
        }
        if let Some((first, others)) =
            announced.get(MOST_LINES..).and_then(|others| Some((others.first()?, others.len())))
        {
            info!(workers.offline = announced.len(), "And {others} more workers went offline, from {first} on");
        }
    }

    fn silent_workers(&self, now: Timestamp) -> Vec<WorkerId> {
        let heard_since = HeardSince::of(now, self.offline_after);
        self.journal
            .snapshot()
            .workers()
            .filter(|worker| {
                worker.announced == Availability::Online && worker.availability(heard_since) == Availability::Offline
            })
            .map(|worker| worker.id.clone())
            .collect()
    }

    /// Whether it is more likely that this server hears nobody than that everybody died: when nobody
    /// at all has been heard lately in a cluster worth the name. Workers do not beat at the same
    /// moment, so this shows before the first of them is late. If they stay silent for another
    /// time-out, it is believed.
    fn is_our_own_deafness(&mut self, now: Timestamp) -> bool {
        let snapshot = self.journal.snapshot();
        let listened_to = snapshot.workers().filter(|worker| worker.announced == Availability::Online);
        let (count, last_heard) = listened_to.fold((0, Timestamp::MIN_UTC), |(count, last_heard), worker| {
            (count + 1, last_heard.max(worker.usage.last_seen))
        });
        // In a time of grace, it was this server that did not listen.
        let quiet_since = last_heard.max(self.grace_until - self.offline_after);
        let quiet_for = (now - quiet_since).to_std().unwrap_or_default();
        let is_deaf = count >= BRAKE_FROM && quiet_for > self.offline_after / 2 && quiet_for <= self.offline_after * 2;
        if is_deaf && !self.is_braking {
            warn!(workers.silent = count, "all {count} workers are silent at once: announcing nobody for now");
        }
        self.is_braking = is_deaf;
        is_deaf
    }

    /// A process that was stopped (SIGSTOP, a suspended machine) has heard nobody meanwhile.
    fn note_blindness(&mut self, now: Timestamp) {
        if (now - self.last_sweep).to_std().unwrap_or_default() > BLIND_AFTER {
            self.begin_grace(now);
        }
    }

    fn begin_grace(&mut self, now: Timestamp) {
        self.grace_until = now + self.offline_after;
    }
}
