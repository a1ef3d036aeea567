//! Announces workers that fell silent.
//!
//! That a worker is offline follows from its last heartbeat and needs nobody to say so; but
//! whoever follows the change log has to be told, once. Every server on a database runs a sweeper;
//! the journal sees to it that one of them tells.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::cluster::{Availability, HeardSince, Snapshot, WorkerId};
use crate::error::Result;
use crate::journal::commands::{AnnounceOffline, ClampFutureTimes, RecordLivenessSigns};
use crate::journal::{Command, Journal, NotedSign};

/// How many workers are named in the log when many go offline at once. All are in the change log.
const MOST_LINES: usize = 20;

/// How often to look: a silent worker is announced within this much after its time-out.
const PERIOD: Duration = Duration::from_secs(1);

/// How late a look may be before this server has to assume that it was not running, and that
/// heartbeats could not arrive either.
const BLIND_AFTER: Duration = Duration::from_secs(3);

/// Fewer workers than this may well die together.
const BRAKE_FROM: usize = 10;

/// Of how many workers one commit tells at most. A commit of 100,000 would run over its time, and fail again each second; of
/// so many it takes a fraction of a second, and heartbeats and operators get their turn before the next one.
const WORKERS_PER_COMMIT: usize = 2_000;

/// By how much the clock has to be set, beside the time that has passed, to count as set; and by how much a time has to lie
/// in the future to be wrong. Servers that share a database follow its clock, and differ by the time of an answer.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(1);

/// Into how many parts of the time-out it is divided when a worker is committed to have been heard of whose heartbeats
/// nothing was taken: at most once in each part. So what is shed does not come back as work for the database.
const SIGNS_PER_TIMEOUT: u32 = 4;

/// Looks for workers that fell silent.
///
/// Whether a worker is silent is a matter of the clock that all servers share, which may be set. Whether this server has
/// listened is a matter of the time that passed for it: grace and pauses are measured by that.
#[derive(Debug)]
pub struct LivenessSweeper {
    journal: Journal,
    clock: Clock,
    offline_after: Duration,
    /// Until then, by the time that passes for this server, nobody is announced: after a start, or a time of blindness,
    /// every worker gets one whole time-out to be heard. What an agent waits for at most before it is heard again follows
    /// from the same time-out and is shorter (`client::RetryLimits`).
    grace_until: Duration,
    last_sweep: Moment,
    /// How many connections were turned away unheard, by this server, since it started.
    turned_away: Arc<AtomicU64>,
    /// How many it were at the last look.
    known_turned_away: u64,
    /// Whether nobody is announced because all are silent at once, so that it is logged once.
    is_braking: bool,
}

/// One look at both clocks.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// What time it is for all servers.
    now: Timestamp,
    /// How much time has passed for this one.
    passed: Duration,
}

impl Moment {
    fn of(clock: &Clock) -> Self {
        Self { now: clock.now(), passed: clock.monotonic() }
    }

    /// By how much the clock was set since an earlier moment.
    fn clock_set_since(self, earlier: Self) -> TimeDelta {
        let passed = TimeDelta::from_std(self.passed.saturating_sub(earlier.passed)).unwrap_or(TimeDelta::MAX);
        (self.now - earlier.now).checked_sub(&passed).unwrap_or(TimeDelta::MIN)
    }
}

/// Brings times that have not come yet back to the present, in the database too: see [`ClampFutureTimes`]. Answers of
/// how many workers. Heartbeats and registrations do so by themselves; this is for those that are not heard.
pub async fn correct_times(journal: &Journal, clock: &Clock) -> Result<usize> {
    let latest = clock.now().checked_add_signed(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX_UTC);
    let snapshot = journal.snapshot();
    let candidates: Vec<_> =
        snapshot.workers().filter(|worker| worker.latest_time() > latest).map(|worker| worker.id.clone()).collect();
    let (corrected, outcome) =
        commit_in_chunks(journal, &candidates, |candidates| ClampFutureTimes { candidates }).await;
    let corrected: usize = corrected.into_iter().sum();
    if corrected > 0 {
        warn!(workers.corrected = corrected, "{corrected} workers had been seen in the future: the clock was set back");
    }
    outcome.map(|()| corrected)
}

/// Commits a command for so many workers at a time, one after the other, until all are done or one fails. Answers the
/// replies to those that were committed, which count whatever became of the rest.
async fn commit_in_chunks<T: Clone, C: Command>(
    journal: &Journal,
    workers: &[T],
    command: impl Fn(Vec<T>) -> C,
) -> (Vec<C::Reply>, Result<()>) {
    let mut replies = Vec::new();
    for workers in workers.chunks(WORKERS_PER_COMMIT) {
        match journal.commit(command(workers.to_vec())).await {
            Ok(committed) => replies.push(committed.reply),
            Err(error) => return (replies, Err(error)),
        }
    }
    (replies, Ok(()))
}

impl LivenessSweeper {
    /// A sweeper that starts with a grace of one time-out.
    pub fn new(journal: Journal, clock: Clock, offline_after: Duration) -> Self {
        let last_sweep = Moment::of(&clock);
        let grace_until = last_sweep.passed.saturating_add(offline_after);
        let (turned_away, known_turned_away) = (Arc::default(), 0);
        Self {
            journal,
            clock,
            offline_after,
            grace_until,
            last_sweep,
            turned_away,
            known_turned_away,
            is_braking: false,
        }
    }

    /// The same, which knows by this number how many connections were turned away: nobody can tell whose they were.
    #[must_use]
    pub fn with_turned_away(self, turned_away: Arc<AtomicU64>) -> Self {
        Self { known_turned_away: turned_away.load(Ordering::Relaxed), turned_away, ..self }
    }

    /// Looks once in a while, until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let moment = Moment::of(&self.clock);
            self.note_blindness(moment);
            if let Err(error) = self.sweep_at(moment).await {
                // The database was away, so heartbeats could not be recorded: nobody is to blame for that time.
                self.begin_grace(self.clock.monotonic());
                warn!(error = %error.chain(), "the liveness sweep failed, the next tick tries again");
            }
        }
    }

    /// Announces whoever is silent and has not been announced yet. Answers how many.
    pub async fn sweep(&mut self) -> Result<usize> {
        self.sweep_at(Moment::of(&self.clock)).await
    }

    async fn sweep_at(&mut self, moment: Moment) -> Result<usize> {
        self.note_clock(moment);
        self.last_sweep = moment;
        correct_times(&self.journal, &self.clock).await?;
        self.note_refusals(moment);
        self.record_signs(moment).await?;
        // Set forward and back between two looks, the clock shows nothing, but what was written meanwhile is of another time.
        for excuse in [self.journal.last_outage(), self.clock.last_set()].into_iter().flatten() {
            self.grace_until = self.grace_until.max(excuse.saturating_add(self.offline_after));
        }
        if moment.passed <= self.grace_until {
            return Ok(0);
        }
        let mut candidates = self.silent_workers(moment.now);
        if !candidates.is_empty() {
            // Those that were heard since the look at them.
            let heard: HashSet<_> =
                self.journal.unrecorded_liveness_signs().into_iter().map(|heard| heard.worker_id).collect();
            candidates.retain(|id| !heard.contains(id));
        }
        if candidates.is_empty() {
            self.is_braking = false;
            return Ok(0);
        }
        if self.is_our_own_deafness(moment) {
            return Ok(0);
        }
        let offline_after = self.offline_after;
        let signs = self.journal.liveness_signs();
        let command = |candidates| AnnounceOffline { candidates, offline_after, signs: signs.clone() };
        let (announced, outcome) = commit_in_chunks(&self.journal, &candidates, command).await;
        let announced = announced.concat();
        self.resume();
        self.note_offline(&announced);
        outcome.map(|()| announced.len())
    }

    /// Commits that workers are alive whose heartbeats were refused, or given up in the queue: those that were last seen
    /// some time ago, or were announced offline. In a time of grace, too: what is shown of a worker is a matter of when it
    /// was last seen.
    async fn record_signs(&mut self, moment: Moment) -> Result<()> {
        let due = HeardSince::of(moment.now, self.offline_after / SIGNS_PER_TIMEOUT);
        let snapshot = self.journal.snapshot();
        let is_due = |snapshot: &Snapshot, heard: &NotedSign| {
            let worker = snapshot.find_worker(heard.worker_id.as_str());
            worker.is_some_and(|worker| worker.availability(due) == Availability::Offline)
        };
        let heard: Vec<_> =
            self.journal.unrecorded_liveness_signs().into_iter().filter(|heard| is_due(&snapshot, heard)).collect();
        if heard.is_empty() {
            return Ok(());
        }
        // All at once: one commit after the other would take minutes for a large fleet in overload, and meanwhile those are
        // offline that come last.
        let chunks = heard.chunks(WORKERS_PER_COMMIT);
        let signs =
            chunks.map(|heard| RecordLivenessSigns { signs: heard.to_vec(), offline_after: self.offline_after });
        let submitted: Vec<_> = signs.map(|signs| self.journal.submit(signs)).collect();
        let mut outcome = Ok(());
        for submitted in submitted {
            let committed = match submitted {
                Ok(submitted) => submitted.committed().await.map(|_| ()),
                Err(refused) => Err(refused),
            };
            outcome = outcome.and(committed);
        }
        self.resume();
        outcome
    }

    /// Tells what was refused since the last look. Whoever was turned away without a hearing is not to blame for the
    /// silence.
    fn note_refusals(&mut self, moment: Moment) {
        let refused = self.journal.take_refused();
        if refused > 0 {
            warn!(commands.refused = refused, "{refused} commands were refused since the last look: too many wait");
        }
        let turned_away = self.turned_away.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.known_turned_away, turned_away) != turned_away {
            self.begin_grace(moment.passed);
        }
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
    /// at all has been heard lately in a cluster worth the name. Workers do not send heartbeats at the same
    /// moment, so this shows before the first of them is late. If they stay silent for another
    /// time-out, it is believed.
    fn is_our_own_deafness(&mut self, moment: Moment) -> bool {
        let snapshot = self.journal.snapshot();
        let listened_to = snapshot.workers().filter(|worker| worker.announced == Availability::Online);
        let (count, last_heard) = listened_to.fold((0, Timestamp::MIN_UTC), |(count, last_heard), worker| {
            (count + 1, last_heard.max(worker.usage.last_seen))
        });
        let quiet_for = (moment.now - last_heard).to_std().unwrap_or_default();
        // In a time of grace, it was this server that did not listen.
        let listened_for = moment.passed.saturating_sub(self.grace_until.saturating_sub(self.offline_after));
        let quiet_for = quiet_for.min(listened_for);
        let is_deaf = count >= BRAKE_FROM && quiet_for > self.offline_after / 2 && quiet_for <= self.offline_after * 2;
        if is_deaf && !self.is_braking {
            warn!(workers.silent = count, "all {count} workers are silent at once: announcing nobody for now");
        }
        self.is_braking = is_deaf;
        is_deaf
    }

    /// A process that was stopped (SIGSTOP, a suspended machine) has heard nobody meanwhile.
    fn note_blindness(&mut self, moment: Moment) {
        if moment.passed.saturating_sub(self.last_sweep.passed) > BLIND_AFTER {
            self.begin_grace(moment.passed);
        }
    }

    /// After the clock was set, nobody can tell for how long a worker has been silent: what was written before is of
    /// another time.
    fn note_clock(&mut self, moment: Moment) {
        let by = moment.clock_set_since(self.last_sweep);
        if by.abs() > CLOCK_TOLERANCE {
            warn!(clock.set_by_ms = by.num_milliseconds(), "The clock was set by {} s", by.as_seconds_f64());
            self.begin_grace(moment.passed);
        }
    }

    /// Commits that took their time were no time of blindness. But the clock may have been set by one of them: on
    /// PostgreSQL that is how it is set.
    fn resume(&mut self) {
        let moment = Moment::of(&self.clock);
        self.note_clock(moment);
        self.last_sweep = moment;
    }

    fn begin_grace(&mut self, passed: Duration) {
        self.grace_until = passed.saturating_add(self.offline_after);
    }
}
