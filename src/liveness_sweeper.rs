//! The liveness sweeper: announces, in the change log, workers whose heartbeats have stopped.
//!
//! A worker is offline as soon as its last heartbeat is older than the time-out, and no sweep is needed for that; but
//! the readers of the change log have to be told, once. Every server on a database runs a sweeper, and the journal lets
//! only the first announcement of a worker through. The sweeper never changes when a worker was last seen, except to
//! bring times of a clock that was set back into the present. Its intervals are in [`timing`](crate::timing).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::Caller;
use crate::clock::{Clock, Timestamp};
use crate::cluster::{Availability, LivenessCutoff, Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::commands::{AnnounceOffline, AnnounceOverdue, ClampFutureTimes, RecordLivenessSigns};
use crate::journal::{Command, Journal, NotedSign};
use crate::timing::{CLOCK_TOLERANCE, LIVENESS_SIGNS_PER_TIMEOUT, PAUSE_THRESHOLD, SWEEP_INTERVAL};

/// How many workers are named in the log when many go offline at once. All are in the change log.
const MAX_LOGGED_WORKERS: usize = 20;

/// In a cluster of fewer workers than this, all of them may well die together, and a partition is not suspected.
const PARTITION_MIN_WORKERS: usize = 10;

/// How many workers one commit concerns at most. A commit of 100,000 would run over its time, and fail again each
/// second; a commit of this many takes a fraction of a second, and heartbeats and operators get their turn before the
/// next one.
const WORKERS_PER_COMMIT: usize = 2_000;

/// Looks for workers whose heartbeats have stopped, and announces them.
///
/// For how long a worker has been silent is measured by the clock that all servers share, which may be set. Whether
/// this server was able to receive heartbeats is measured by the monotonic time of its process: grace and pauses are.
#[derive(Debug)]
pub struct LivenessSweeper {
    journal: Journal,
    clock: Clock,
    offline_after: Duration,
    /// Until this monotonic time nobody is announced: after a start, or a time in which no heartbeat could arrive,
    /// every worker gets one whole time-out to send one. The longest backoff of an agent follows from the same time-out
    /// and is shorter (`client::RetryLimits`).
    grace_until: Duration,
    last_sweep: ClockReading,
    /// How many connections this server has rejected, without reading a request, since it started.
    rejected_connections: Arc<AtomicU64>,
    /// How many there were at the last sweep.
    known_rejected: u64,
    /// Whether nobody is announced because a partition is suspected, so that it is logged once; monitoring reads it.
    suspects_partition: Arc<AtomicBool>,
}

/// Both clocks, read at once.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    /// The time that all servers share.
    now: Timestamp,
    /// The monotonic time of this process.
    passed: Duration,
}

impl ClockReading {
    fn of(clock: &Clock) -> Self {
        Self { now: clock.now(), passed: clock.monotonic() }
    }

    /// By how much the clock was set since an earlier moment.
    fn clock_set_since(self, earlier: Self) -> TimeDelta {
        let passed = TimeDelta::from_std(self.passed.saturating_sub(earlier.passed)).unwrap_or(TimeDelta::MAX);
        (self.now - earlier.now).checked_sub(&passed).unwrap_or(TimeDelta::MIN)
    }
}

/// Sets times that lie in the future to the present, in the database too (see [`ClampFutureTimes`]), and answers for
/// how many workers. A heartbeat or a registration corrects its own worker; this is for workers that send none.
pub async fn correct_times(journal: &Journal, clock: &Clock) -> Result<usize> {
    let latest = clock.now().checked_add_signed(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX_UTC);
    let snapshot = journal.snapshot();
    let in_the_future = snapshot.workers().filter(|worker| worker.latest_time() > latest);
    // A commit takes so many workers or VMs, and at least one worker.
    let (mut chunks, mut room) = (Vec::<Vec<WorkerId>>::new(), 0);
    for worker in in_the_future {
        let rows = 1 + worker.usage.vms.count_later_than(latest);
        match chunks.last_mut().filter(|_| rows <= room) {
            Some(chunk) => chunk.push(worker.id.clone()),
            None => {
                chunks.push(vec![worker.id.clone()]);
                room = WORKERS_PER_COMMIT;
            }
        }
        room = room.saturating_sub(rows);
    }
    let mut corrected = 0;
    let mut outcome = Ok(());
    for candidates in chunks {
        match journal.commit(ClampFutureTimes { candidates }).await {
            Ok(committed) => corrected += committed.reply,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if corrected > 0 {
        warn!(workers.corrected = corrected, "{corrected} workers had been seen in the future: the clock was set back");
    }
    outcome.map(|()| corrected)
}

/// Commits a command in chunks of workers, one after the other, until all are done or one fails. Answers the replies to
/// the chunks that were committed, which count whatever became of the rest.
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
        let last_sweep = ClockReading::of(&clock);
        let grace_until = last_sweep.passed.saturating_add(offline_after);
        let (rejected_connections, known_rejected) = (Arc::default(), 0);
        Self {
            journal,
            clock,
            offline_after,
            grace_until,
            last_sweep,
            rejected_connections,
            known_rejected,
            suspects_partition: Arc::default(),
        }
    }

    /// The same, with the count of rejected connections: any of them may have been a worker's.
    #[must_use]
    pub fn with_rejected_connections(self, rejected_connections: Arc<AtomicU64>) -> Self {
        Self { known_rejected: rejected_connections.load(Ordering::Relaxed), rejected_connections, ..self }
    }

    /// The same, which tells here whether it announces nobody because a partition is suspected.
    #[must_use]
    pub fn with_brake(self, suspects_partition: Arc<AtomicBool>) -> Self {
        Self { suspects_partition, ..self }
    }

    /// Sweeps every [`SWEEP_INTERVAL`], until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let reading = ClockReading::of(&self.clock);
            self.detect_pause(reading);
            if let Err(error) = self.sweep_at(reading).await {
                // While the database was away, no heartbeat could be recorded: that time does not count as silence.
                self.begin_grace(self.clock.monotonic());
                warn!(error = %error.chain(), "the liveness sweep failed, the next tick tries again");
            }
        }
    }

    /// Announces the workers that are silent and have not been announced yet. Answers how many.
    pub async fn sweep(&mut self) -> Result<usize> {
        self.sweep_at(ClockReading::of(&self.clock)).await
    }

    async fn sweep_at(&mut self, reading: ClockReading) -> Result<usize> {
        self.detect_clock_step(reading);
        self.last_sweep = reading;
        correct_times(&self.journal, &self.clock).await?;
        self.detect_refusals(reading);
        self.record_liveness_signs(reading).await?;
        self.announce_overdue(reading).await?;
        // A clock that was set forward and back between two sweeps shows nothing, but what was written in between is
        // wrong.
        for no_silence_before in [self.journal.last_outage(), self.clock.last_set()].into_iter().flatten() {
            self.grace_until = self.grace_until.max(no_silence_before.saturating_add(self.offline_after));
        }
        if reading.passed <= self.grace_until {
            return Ok(0);
        }
        let mut candidates = self.silent_workers(reading.now);
        if !candidates.is_empty() {
            // Without those of which a life sign has arrived since the snapshot.
            let heard: HashSet<_> =
                self.journal.unrecorded_liveness_signs().into_iter().map(|heard| heard.worker_id).collect();
            candidates.retain(|id| !heard.contains(id));
        }
        if candidates.is_empty() {
            self.suspects_partition.store(false, Ordering::Relaxed);
            return Ok(0);
        }
        if self.suspect_self_partition(reading) {
            return Ok(0);
        }
        let offline_after = self.offline_after;
        let signs = self.journal.liveness_signs();
        let command = |candidates| AnnounceOffline { candidates, offline_after, signs: signs.clone() };
        let (announced, outcome) = commit_in_chunks(&self.journal, &candidates, command).await;
        let announced = announced.concat();
        self.resume_after_commit();
        self.log_offline(&announced);
        outcome.map(|()| announced.len())
    }

    /// Announces drains whose deadline has passed. Silence has no part in it, so a time of grace does not keep it up.
    async fn announce_overdue(&mut self, reading: ClockReading) -> Result<()> {
        let snapshot = self.journal.snapshot();
        let is_due = |worker: &Worker| {
            let due = worker.drain.as_ref().and_then(|drain| drain.overdue_from());
            due.is_some_and(|due| due <= reading.now)
        };
        let due = snapshot.draining_workers().filter(|worker| is_due(worker));
        let candidates: Vec<_> = due.map(|worker| worker.id.clone()).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let (announced, outcome) =
            commit_in_chunks(&self.journal, &candidates, |candidates| AnnounceOverdue { candidates }).await;
        self.resume_after_commit();
        for id in announced.iter().flatten().take(MAX_LOGGED_WORKERS) {
            warn!(worker.id = %id, "The drain of worker {id} is overdue");
        }
        outcome
    }

    /// Commits that workers are alive whose heartbeats were refused, or given up in the queue, if they were last seen
    /// some time ago or are announced offline. This is done in a time of grace, too: the status that is shown of a
    /// worker depends on when it was last seen, not on announcements alone.
    async fn record_liveness_signs(&mut self, reading: ClockReading) -> Result<()> {
        let due = LivenessCutoff::of(reading.now, self.offline_after / LIVENESS_SIGNS_PER_TIMEOUT);
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
        // All chunks are submitted at once: one commit after the other would take minutes for a large fleet in
        // overload, and the workers of the last chunks would be offline meanwhile.
        let chunks = heard.chunks(WORKERS_PER_COMMIT);
        let signs =
            chunks.map(|heard| RecordLivenessSigns { signs: heard.to_vec(), offline_after: self.offline_after });
        let submitted: Vec<_> = signs.map(|signs| self.journal.submit(signs, &Caller::server())).collect();
        let mut outcome = Ok(());
        for submitted in submitted {
            let committed = match submitted {
                Ok(submitted) => submitted.committed().await.map(|_| ()),
                Err(refused) => Err(refused),
            };
            outcome = outcome.and(committed);
        }
        self.resume_after_commit();
        outcome
    }

    /// Logs how many commands were refused since the last sweep, and begins a grace if connections were rejected: a
    /// worker whose connection was rejected could not send its heartbeat.
    fn detect_refusals(&mut self, reading: ClockReading) {
        let refused = self.journal.take_refused();
        if refused > 0 {
            warn!(commands.refused = refused, "{refused} commands were refused since the last look: too many wait");
        }
        let rejected = self.rejected_connections.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.known_rejected, rejected) != rejected {
            self.begin_grace(reading.passed);
        }
    }

    /// Logs a line for each worker, by which it is found; of a rack that fails at once, for the first of them.
    fn log_offline(&self, announced: &[WorkerId]) {
        let seconds = self.offline_after.as_secs();
        for id in announced.iter().take(MAX_LOGGED_WORKERS) {
            info!(worker.id = %id, "Worker {id} went offline: it has not been heard from for over {seconds} s");
        }
        if let Some((first, others)) =
            announced.get(MAX_LOGGED_WORKERS..).and_then(|others| Some((others.first()?, others.len())))
        {
            info!(workers.offline = announced.len(), "And {others} more workers went offline, from {first} on");
        }
    }

    fn silent_workers(&self, now: Timestamp) -> Vec<WorkerId> {
        let cutoff = LivenessCutoff::of(now, self.offline_after);
        self.journal
            .snapshot()
            .workers()
            .filter(|worker| {
                worker.last_announced_availability == Availability::Online
                    && worker.availability(cutoff) == Availability::Offline
            })
            .map(|worker| worker.id.clone())
            .collect()
    }

    /// Whether this server is more likely to be cut off from the workers than all of them to have died: that is
    /// suspected when no worker at all has been heard for half of the time-out, in a cluster of some size. Workers do
    /// not report at the same moment, so this shows before the first of them is late. If all stay silent for another
    /// time-out, they are announced.
    fn suspect_self_partition(&mut self, reading: ClockReading) -> bool {
        let snapshot = self.journal.snapshot();
        let online = snapshot.workers().filter(|worker| worker.last_announced_availability == Availability::Online);
        let (count, last_heard) = online.fold((0, Timestamp::MIN_UTC), |(count, last_heard), worker| {
            (count + 1, last_heard.max(worker.usage.last_seen))
        });
        let quiet_for = (reading.now - last_heard).to_std().unwrap_or_default();
        // Before the grace began, this server may not have received anything.
        let listened_for = reading.passed.saturating_sub(self.grace_until.saturating_sub(self.offline_after));
        let quiet_for = quiet_for.min(listened_for);
        let is_suspected =
            count >= PARTITION_MIN_WORKERS && quiet_for > self.offline_after / 2 && quiet_for <= self.offline_after * 2;
        let was_suspected = self.suspects_partition.swap(is_suspected, Ordering::Relaxed);
        if is_suspected && !was_suspected {
            warn!(workers.silent = count, "all {count} workers are silent at once: announcing nobody for now");
        }
        is_suspected
    }

    /// Begins a grace if the last sweep is so long ago that the process must have been paused (SIGSTOP, a suspended
    /// machine): no heartbeat was received meanwhile.
    fn detect_pause(&mut self, reading: ClockReading) {
        if reading.passed.saturating_sub(self.last_sweep.passed) > PAUSE_THRESHOLD {
            self.begin_grace(reading.passed);
        }
    }

    /// Begins a grace if the clock was set: the times that were written before do not tell any more for how long a
    /// worker has been silent.
    fn detect_clock_step(&mut self, reading: ClockReading) {
        let by = reading.clock_set_since(self.last_sweep);
        if by.abs() > CLOCK_TOLERANCE {
            warn!(clock.set_by_ms = by.num_milliseconds(), "The clock was set by {} s", by.as_seconds_f64());
            self.begin_grace(reading.passed);
        }
    }

    /// Counts the next sweep from now, so that a slow commit is not taken for a pause. The commit may have set the
    /// clock: with PostgreSQL, commits are what sets it.
    fn resume_after_commit(&mut self) {
        let reading = ClockReading::of(&self.clock);
        self.detect_clock_step(reading);
        self.last_sweep = reading;
    }

    fn begin_grace(&mut self, passed: Duration) {
        self.grace_until = passed.saturating_add(self.offline_after);
    }
}
