//! Keeps the change log, the answers kept for whoever asks again, and the tombstones of purged workers from growing for ever.
//!
//! Old entries go in small steps, each short, so that writers never wait long for one. First the
//! place where the log begins is moved, then the entries before it are removed: whoever looks in
//! between, or after a crash in between, is told the truth.

use std::time::Duration;

use chrono::TimeDelta;
use entity::idempotency_record::Request;
use entity::{cluster, event, idempotency_record};
use sea_orm::QuerySelect;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Journal;
use super::commands::{ANSWERS_ARE_KEPT_FOR_HOURS, ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES, ForgetPurged};
use crate::clock::{Clock, Timestamp};
use crate::error::Result;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(60);

/// How many entries go in one step.
const STEP: u64 = 2_000;

/// How many tombstones go in one commit.
const TOMBSTONES_PER_COMMIT: usize = 2_000;

/// How long an answer is kept for whoever asks again: longer than any client keeps trying.
const KEEP_ANSWERS: Duration = Duration::from_secs(ANSWERS_ARE_KEPT_FOR_HOURS * 60 * 60);

/// The same for heartbeats: long before that, the worker has sent another one.
const KEEP_ANSWERS_TO_HEARTBEATS: Duration = Duration::from_secs(ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES * 60);

/// How many of either are kept at most: a command of an operator takes some 300 bytes. Each have their own, so that the
/// keys of a fleet, which come by the thousand a second, do not displace those of operators.
const MAX_ANSWERS: u64 = 100_000;

/// How long a tombstone is kept. A tombstone is what a late registration of an ended process is recognised by, and refused:
/// one from a machine that was suspended, or from a snapshot of one. Such are resumed after days; after a month, whoever
/// does it will have looked at what happens. Incarnations do not come twice even after that.
const KEEP_TOMBSTONES: TimeDelta = TimeDelta::days(30);

/// How many are kept at most: as many as the largest fleet has workers, for one that is replaced at once. Each takes some
/// hundred bytes of memory, and a few thousand if its process was started again and again.
const MAX_TOMBSTONES: usize = 100_000;

/// How much of the change log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries older than this go.
    pub max_age: Duration,
    /// Of more entries than this, the oldest go.
    pub max_events: u64,
}

impl Default for Retention {
    /// A week, as long as that is not more than some 200 MB.
    fn default() -> Self {
        Self { max_age: Duration::from_secs(7 * 24 * 60 * 60), max_events: 1_000_000 }
    }
}

/// Removes old entries of the change log, old answers to requests with a key, and old tombstones of purged workers.
#[derive(Debug)]
pub struct LogTrimmer {
    journal: Journal,
    clock: Clock,
    retention: Retention,
}

impl LogTrimmer {
    pub(super) fn new(journal: Journal, clock: Clock, retention: Retention) -> Self {
        Self { journal, clock, retention }
    }

    /// Looks once in a while, until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            match shutdown.run_until_cancelled(self.trim()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(removed)) => debug!(events.removed = removed, "{removed} old events left the change log"),
                Some(Err(error)) => {
                    warn!(error = %error.chain(), "trimming the change log failed, the next tick tries again")
                }
            }
        }
    }

    /// Removes what need not be kept. Answers how many entries.
    pub async fn trim(&self) -> Result<u64> {
        // Each is trimmed even if the others cannot be.
        let (events, answers) = (self.trim_events().await, self.trim_answers().await);
        let tombstones = self.trim_tombstones().await;
        tombstones.and(answers).and(events)
    }

    /// Forgets workers that were purged too long ago. Each server does: no other one removes what it has in memory.
    async fn trim_tombstones(&self) -> Result<()> {
        let now = self.clock.now();
        let too_old = now.checked_sub_signed(KEEP_TOMBSTONES).unwrap_or(Timestamp::MIN_UTC);
        let snapshot = self.journal.snapshot();
        let mut tombstones: Vec<_> = snapshot.tombstones().collect();
        tombstones.sort_by_key(|tombstone| tombstone.revision);
        let surplus = tombstones.len().saturating_sub(MAX_TOMBSTONES);
        let mut candidates = Vec::new();
        let mut purged_at = None;
        for (place, tombstone) in tombstones.into_iter().enumerate().rev() {
            // One without a date, or with one of a clock that was ahead, is at least as old as the one that was purged next.
            // Of the others each speaks for itself: one that was purged by a clock that was behind makes no other one old.
            purged_at = tombstone.purged_at.filter(|at| *at <= now).or(purged_at);
            if place < surplus || purged_at.is_some_and(|at| at < too_old) {
                candidates.push((tombstone.worker_id.clone(), tombstone.revision));
            }
        }
        for candidates in candidates.chunks(TOMBSTONES_PER_COMMIT) {
            self.journal.commit(ForgetPurged { candidates: candidates.to_vec() }).await?;
        }
        Ok(())
    }

    async fn trim_events(&self) -> Result<u64> {
        // The newest one too many. Its place and not their number is what several servers that trim at once agree on.
        let surplus = event::Entity::newest_first().offset(self.retention.max_events);
        let surplus = surplus.one(&*self.journal.database().readers()).await?.map(|row| row.revision);
        let mut removed = 0;
        loop {
            let step = self.step(surplus).await?;
            if step == 0 {
                return Ok(removed);
            }
            removed += step;
        }
    }

    /// Removes answers that nobody will ask for again.
    async fn trim_answers(&self) -> Result<()> {
        let (database, now) = (self.journal.database(), self.clock.now());
        // Given by a clock that was ahead: they would outlive those that are newer. First, since what is too many is told by
        // the dates.
        let transaction = database.begin_upkeep().await?;
        idempotency_record::Entity::date_back(now).exec(&*transaction).await?;
        transaction.commit().await?;
        for (of, time) in [(Request::Command, KEEP_ANSWERS), (Request::Heartbeat, KEEP_ANSWERS_TO_HEARTBEATS)] {
            let surplus = idempotency_record::Entity::newest_first(of).offset(MAX_ANSWERS);
            let surplus = surplus.one(&*database.readers()).await?;
            let transaction = database.begin_upkeep().await?;
            idempotency_record::Entity::created_before(of, now - time, surplus).exec(&*transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Removes some of the oldest, if they are too old or up to this revision.
    async fn step(&self, surplus: Option<i64>) -> Result<u64> {
        let oldest = event::Entity::oldest_first().limit(STEP).all(&*self.journal.database().readers()).await?;
        let now = self.clock.now();
        let too_old = now - self.retention.max_age;
        let must_go = |row: &event::Model| row.at < too_old || surplus.is_some_and(|last| row.revision <= last);
        // What was committed before something that must go is older, whatever the clock said then.
        let going = oldest.iter().rposition(must_go).map_or(0, |last| last + 1);
        if let Some(last) = oldest.last().filter(|_| oldest.iter().any(|row| row.at > now)) {
            // Committed by a clock that was ahead: from now on they age as others do.
            let transaction = self.journal.database().begin_upkeep().await?;
            event::Entity::date_back(last.revision, now).exec(&*transaction).await?;
            transaction.commit().await?;
        }
        // A commit goes whole: a cursor may point between its entries, and then the next must be there.
        let Some(last) = going.checked_sub(1).and_then(|last| oldest.get(last)) else { return Ok(0) };
        // Several servers may trim: the beginning never moves back. Each by itself: all commits wait for the first.
        let transaction = self.journal.database().begin_upkeep().await?;
        cluster::Entity::mark_events_pruned(last.revision).exec(&*transaction).await?;
        transaction.commit().await?;
        let transaction = self.journal.database().begin_upkeep().await?;
        let removed = event::Entity::up_to(last.revision).exec(&*transaction).await?.rows_affected;
        transaction.commit().await?;
        Ok(removed)
    }
}
