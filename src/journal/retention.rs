//! Retention: for how long events, drains that ended, idempotency records, tombstones and tokens that ended are kept,
//! and the background task that prunes them.
//!
//! Events and idempotency records are no part of the state, and each server [removes](super::store::pruning) old ones
//! beside the writer. Tombstones and tokens are part of the state: they are removed by a command like any other change.
//! The task also records when tokens were last used, which is as little urgent.
//!
//! Events that operators caused are kept for longer than others, and counted by themselves: one update of all agents
//! causes more events than operators do in a year, and would push what they did out of the log.

use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use entity::idempotency_record::Request;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::commands::{PruneReservations, PruneTokens, PruneTombstones, RecordTokenUses};
use super::handle::Journal;
use super::store::pruning::{
    EventLimits, count_events, date_back_idempotency_records, prune_idempotency_records, prune_some_drains,
    prune_some_events, prune_some_operator_events, surplus_revision,
};
use crate::clock::{Clock, Timestamp};
use crate::cluster::EventClass;
use crate::error::Result;

/// How often to prune.
const PERIOD: Duration = Duration::from_secs(60);

/// How often the rows of the change log are counted, for metrics. To count a million of them, each server reads an index
/// from its beginning to its end.
const COUNT_PERIOD: TimeDelta = TimeDelta::seconds(15 * 60);

/// How many tombstones one commit removes.
const TOMBSTONES_PER_COMMIT: usize = 2_000;

/// How long a session or a sign-in code is kept after its end: so that whoever looks into the list of tokens the next
/// morning sees who had signed in. The change log has it for longer.
const SESSION_RETENTION: TimeDelta = TimeDelta::days(1);

/// How many of them are kept after their end at most, some hundred bytes each: who signs in and out all the time must
/// not fill the memory.
const MAX_ENDED_SESSIONS: usize = 10_000;

/// How many of them one commit removes.
const SESSIONS_PER_COMMIT: usize = 2_000;

/// How many uses of tokens one commit records.
const TOKEN_USES_PER_COMMIT: usize = 2_000;

/// How many tokens one commit removes.
const TOKENS_PER_COMMIT: usize = 2_000;

/// How long a reservation is kept after its end, as a session is: so that whoever asks the next morning what became of
/// it is told. The change log has it for longer.
const RESERVATION_RETENTION: TimeDelta = TimeDelta::days(1);

/// How many reservations are kept after their end at most, some hundred bytes each: a scheduler that makes one for each
/// VM must not fill the memory.
const MAX_ENDED_RESERVATIONS: usize = 10_000;

/// How many slots those have at most, some dozens of bytes each: a reservation may be of a thousand.
const MAX_ENDED_SLOTS: usize = 100_000;

/// How many reservations one commit removes.
const RESERVATIONS_PER_COMMIT: usize = 2_000;

/// How long an idempotency record is kept: longer than any client keeps trying.
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The same for heartbeats: long before that, the worker has sent another one.
const HEARTBEAT_IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(60 * 60);

/// How many records of either kind are kept at most: one of an operator's command takes some 300 bytes. The kinds have
/// limits of their own, so that the keys of a fleet, which come by the thousand a second, do not displace those of
/// operators.
const MAX_IDEMPOTENCY_RECORDS: u64 = 100_000;

/// How long a tombstone is kept. By a tombstone, a late registration of an ended process is recognised and refused: one
/// from a machine that was suspended, or from a snapshot of one. Such machines are resumed after days; who resumes one
/// after a month will have looked at what happens. Incarnations are not handed out twice even after that.
const TOMBSTONE_RETENTION: TimeDelta = TimeDelta::days(30);

/// How many tombstones are kept at most: as many as the largest fleet has workers, for a fleet that is replaced at
/// once. Each takes some hundred bytes of memory, and a few thousand if its process was started again and again.
const MAX_TOMBSTONES: usize = 100_000;

/// How much of the event log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this are pruned.
    pub max_age: Duration,
    /// Of more events than this, the oldest are pruned. Those that operators caused count as well.
    pub max_events: u64,
    /// Events that operators caused are kept for this long, and until other events of their time are pruned. Tokens
    /// that ended are kept for as long, so that what was done with one can be read with its name and role.
    pub max_operator_event_age: Duration,
    /// Of more events that operators caused than this, the oldest are pruned once other events of their time are.
    pub max_operator_events: u64,
}

impl Default for Retention {
    /// A week, as long as that is not more than some 200 MB, and a year of what operators did, as long as that is not
    /// more than 300 MB: 2,700 acts a day.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
            max_events: 1_000_000,
            max_operator_event_age: Duration::from_secs(365 * 24 * 60 * 60),
            max_operator_events: 1_000_000,
        }
    }
}

/// Prunes old events, idempotency records, tombstones and tokens.
#[derive(Debug)]
pub struct RetentionPruner {
    journal: Journal,
    clock: Clock,
    retention: Retention,
    /// When the rows of the change log were last counted.
    counted_at: Mutex<Option<Timestamp>>,
}

impl RetentionPruner {
    /// Prunes what this journal keeps. Idempotency records and tombstones have a retention of their own.
    pub fn new(journal: Journal, clock: Clock, retention: Retention) -> Self {
        Self { journal, clock, retention, counted_at: Mutex::default() }
    }

    /// Prunes once in a while, until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            match shutdown.run_until_cancelled(self.prune()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(removed)) => debug!(events.removed = removed, "{removed} old events left the change log"),
                Some(Err(error)) => {
                    warn!(error = %error.chain(), "trimming the change log failed, the next tick tries again")
                }
            }
        }
    }

    /// Removes what need not be kept. Answers how many events.
    pub async fn prune(&self) -> Result<u64> {
        // Each kind is pruned even if the others cannot be.
        let (events, records) = (self.prune_events().await, self.prune_idempotency_records().await);
        let (tombstones, uses) = (self.prune_tombstones().await, self.record_token_uses().await);
        let (tokens, sessions) = (self.prune_tokens().await, self.prune_sessions().await);
        let (reservations, drains) = (self.prune_reservations().await, self.prune_drains().await);
        // Of no consequence to what is kept, so that its failure is none of pruning.
        self.count_events().await;
        let tokens = tombstones.and(uses).and(tokens).and(sessions);
        drains.and(tokens).and(reservations).and(records).and(events)
    }

    /// Removes reservations that ended long ago: one server does for all, as with tokens.
    async fn prune_reservations(&self) -> Result<()> {
        let now = self.clock.now();
        let too_old = now.checked_sub_signed(RESERVATION_RETENTION).unwrap_or(Timestamp::MIN_UTC);
        let snapshot = self.journal.snapshot();
        let all = snapshot.reservations_in(Bound::Unbounded, Bound::Unbounded);
        // An end in the future is of a clock that was ahead: it counts as now, until it is in the past.
        let ended = all.filter_map(|known| Some((known.ended_at?.min(now), &known.id, known.slots.len())));
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        let mut slots = 0_usize;
        let candidates = ended.into_iter().rev().enumerate().filter(|(later, (at, _, count))| {
            slots += count;
            *later >= MAX_ENDED_RESERVATIONS || slots > MAX_ENDED_SLOTS || *at < too_old
        });
        let candidates: Vec<_> = candidates.map(|(_, (_, id, _))| id.clone()).collect();
        for candidates in candidates.chunks(RESERVATIONS_PER_COMMIT) {
            self.journal.commit(PruneReservations { candidates: candidates.to_vec() }).await?;
        }
        Ok(())
    }

    /// Removes drains that ended long ago: what operators did is kept for as long.
    async fn prune_drains(&self) -> Result<()> {
        let oldest = before(self.clock.now(), self.retention.max_operator_event_age);
        while prune_some_drains(self.journal.database(), oldest).await? > 0 {}
        Ok(())
    }

    /// Removes sessions and sign-in codes that ended long ago: one server does for all, as with other tokens.
    async fn prune_sessions(&self) -> Result<()> {
        let now = self.clock.now();
        let too_old = now.checked_sub_signed(SESSION_RETENTION).unwrap_or(Timestamp::MIN_UTC);
        let snapshot = self.journal.snapshot();
        let short_lived = snapshot.tokens().filter(|token| token.kind.is_short_lived());
        let mut ended: Vec<_> = short_lived
            .filter_map(|token| Some((token.ended_at(now, |id| snapshot.token(id))?, token.id.clone())))
            .collect();
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(MAX_ENDED_SESSIONS);
        let candidates = ended.into_iter().enumerate();
        let candidates = candidates.filter(|(place, (at, _))| *place < surplus || *at < too_old);
        let candidates: Vec<_> = candidates.map(|(_, (_, id))| id).collect();
        for candidates in candidates.chunks(SESSIONS_PER_COMMIT) {
            self.journal.commit(PruneTokens { candidates: candidates.to_vec() }).await?;
        }
        Ok(())
    }

    /// Records when tokens were last used, as far as requests have noted it since the last time.
    async fn record_token_uses(&self) -> Result<()> {
        let snapshot = self.journal.snapshot();
        let uses = snapshot.tokens().filter_map(|token| Some((token.id.to_string(), token.last_used.unstored()?)));
        let uses: Vec<_> = uses.collect();
        for uses in uses.chunks(TOKEN_USES_PER_COMMIT) {
            self.journal.commit(RecordTokenUses { uses: uses.to_vec() }).await?;
        }
        Ok(())
    }

    /// Each server removes the tombstones that it has in memory: no other one does.
    async fn prune_tombstones(&self) -> Result<()> {
        let now = self.clock.now();
        let too_old = now.checked_sub_signed(TOMBSTONE_RETENTION).unwrap_or(Timestamp::MIN_UTC);
        let snapshot = self.journal.snapshot();
        let mut tombstones: Vec<_> = snapshot.tombstones().collect();
        tombstones.sort_by_key(|tombstone| tombstone.revision);
        let surplus = tombstones.len().saturating_sub(MAX_TOMBSTONES);
        let mut candidates = Vec::new();
        let mut purged_at = None;
        for (place, tombstone) in tombstones.into_iter().enumerate().rev() {
            // A tombstone with a date in the future, of a clock that was ahead, is at least as old as the one that was
            // purged next. Any other date counts for its own tombstone alone: if the clock was behind, that makes no
            // other one old.
            purged_at = Some(tombstone.purged_at).filter(|at| *at <= now).or(purged_at);
            if place < surplus || purged_at.is_some_and(|at| at < too_old) {
                candidates.push((tombstone.worker_id.clone(), tombstone.revision));
            }
        }
        for candidates in candidates.chunks(TOMBSTONES_PER_COMMIT) {
            self.journal.commit(PruneTombstones { candidates: candidates.to_vec() }).await?;
        }
        Ok(())
    }

    /// Tokens that ended long ago, those first that ended first: of the last ones, the latest stays.
    async fn prune_tokens(&self) -> Result<()> {
        let now = self.clock.now();
        let too_old = before(now, self.retention.max_operator_event_age.max(self.retention.max_age));
        let snapshot = self.journal.snapshot();
        let lasting = || snapshot.tokens().filter(|token| !token.kind.is_short_lived());
        let ended = lasting().filter_map(|token| Some((token.ended_at(now, |id| snapshot.token(id))?, token)));
        let mut ended: Vec<_> = ended.filter(|(at, _)| *at < too_old).collect();
        ended.sort_by_key(|(at, _)| *at);
        let candidates: Vec<_> = ended
            .into_iter()
            .map(|(_, token)| token.id.clone())
            .filter(|id| snapshot.count_owned_by(id) == 0)
            .collect();
        // The last token stays, and is no reason for a commit that changes nothing, once a minute for ever.
        let removable = lasting().count().saturating_sub(1);
        for candidates in
            candidates.get(..removable.min(candidates.len())).unwrap_or_default().chunks(TOKENS_PER_COMMIT)
        {
            self.journal.commit(PruneTokens { candidates: candidates.to_vec() }).await?;
        }
        Ok(())
    }

    async fn prune_events(&self) -> Result<u64> {
        let database = self.journal.database();
        let Retention { max_age, max_events, max_operator_event_age, max_operator_events } = self.retention;
        let limits = |now, max_age, surplus_revision| EventLimits { oldest: before(now, max_age), surplus_revision };
        let mut removed = 0;
        let surplus = surplus_revision(database, EventClass::All, max_events).await?;
        let now = || self.clock.now();
        while let Some(step) = prune_some_events(database, limits(now(), max_age, surplus), now()).await? {
            removed += step;
        }
        // Those of operators come second: they do not go before others of their time.
        let surplus = surplus_revision(database, EventClass::ByOperators, max_operator_events).await?;
        let limits = |now| limits(now, max_operator_event_age, surplus);
        while let Some(step) = prune_some_operator_events(database, limits(now()), now()).await? {
            removed += step;
        }
        Ok(removed)
    }

    /// Counts the rows of the change log for metrics, unless that was done a short while ago.
    async fn count_events(&self) {
        let now = self.clock.now();
        let counted_at = *self.counted_at.lock().unwrap_or_else(PoisonError::into_inner);
        if counted_at.is_some_and(|at| (now - at).abs() < COUNT_PERIOD) {
            return;
        }
        match count_events(self.journal.database()).await {
            Ok(rows) => {
                self.journal.metrics().set_event_rows(rows);
                *self.counted_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            }
            Err(error) => warn!(error = %error.chain(), "counting the change log failed, the next tick tries again"),
        }
    }

    async fn prune_idempotency_records(&self) -> Result<()> {
        let (database, now) = (self.journal.database(), self.clock.now());
        date_back_idempotency_records(database, now).await?;
        for (kind, retention) in
            [(Request::Command, IDEMPOTENCY_RETENTION), (Request::Heartbeat, HEARTBEAT_IDEMPOTENCY_RETENTION)]
        {
            prune_idempotency_records(database, kind, now - retention, MAX_IDEMPOTENCY_RECORDS).await?;
        }
        Ok(())
    }
}

/// The moment that was so long before another one.
fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(age).unwrap_or(Timestamp::MIN_UTC)
}
