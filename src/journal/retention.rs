//! Keeps the change log, and the answers kept for whoever asks again, from growing for ever.
//!
//! Old entries go in small steps, each short, so that writers never wait long for one. First the
//! place where the log begins is moved, then the entries before it are removed: whoever looks in
//! between, or after a crash in between, is told the truth.

use std::time::Duration;

use entity::kept_answer::Request;
use entity::{cluster, event, kept_answer};
use sea_orm::QuerySelect;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::commands::{ANSWERS_ARE_KEPT_FOR_HOURS, ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES};
use super::database::Database;
use crate::clock::Clock;
use crate::error::Result;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(60);

/// How many entries go in one step.
const STEP: u64 = 2_000;

/// How long an answer is kept for whoever asks again: longer than any client keeps trying.
const KEEP_ANSWERS: Duration = Duration::from_secs(ANSWERS_ARE_KEPT_FOR_HOURS * 60 * 60);

/// The same for heartbeats: long before that, the worker has sent another one.
const KEEP_ANSWERS_TO_HEARTBEATS: Duration = Duration::from_secs(ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES * 60);

/// How many of either are kept at most: a command of an operator takes some 300 bytes. Each have their own, so that the
/// keys of a fleet, which come by the thousand a second, do not displace those of operators.
const MAX_ANSWERS: u64 = 100_000;

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

/// Removes old entries of the change log.
#[derive(Debug)]
pub struct LogTrimmer {
    database: Database,
    clock: Clock,
    retention: Retention,
}

impl LogTrimmer {
    pub(super) fn new(database: Database, clock: Clock, retention: Retention) -> Self {
        Self { database, clock, retention }
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
        // Each is trimmed even if the other cannot be.
        let (events, answers) = (self.trim_events().await, self.trim_answers().await);
        answers.and(events)
    }

    async fn trim_events(&self) -> Result<u64> {
        // The newest one too many. Its place and not their number is what several servers that trim at once agree on.
        let surplus = event::Entity::newest_first().offset(self.retention.max_events);
        let surplus = surplus.one(&*self.database.readers()).await?.map(|row| row.revision);
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
        let now = self.clock.now();
        for (of, time) in [(Request::Command, KEEP_ANSWERS), (Request::Heartbeat, KEEP_ANSWERS_TO_HEARTBEATS)] {
            let surplus = kept_answer::Entity::newest_first(of).offset(MAX_ANSWERS);
            let surplus = surplus.one(&*self.database.readers()).await?.map(|row| row.at);
            let transaction = self.database.begin_upkeep().await?;
            // Given by a clock that was ahead: they would outlive those that are newer.
            kept_answer::Entity::date_back(now).exec(&*transaction).await?;
            kept_answer::Entity::given_before(of, now - time, surplus).exec(&*transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Removes some of the oldest, if they are too old or up to this revision.
    async fn step(&self, surplus: Option<i64>) -> Result<u64> {
        let oldest = event::Entity::oldest_first().limit(STEP).all(&*self.database.readers()).await?;
        let now = self.clock.now();
        let too_old = now - self.retention.max_age;
        let must_go = |row: &event::Model| row.at < too_old || surplus.is_some_and(|last| row.revision <= last);
        // What was committed before something that must go is older, whatever the clock said then.
        let going = oldest.iter().rposition(must_go).map_or(0, |last| last + 1);
        if let Some(last) = oldest.last().filter(|_| oldest.iter().any(|row| row.at > now)) {
            // Committed by a clock that was ahead: from now on they age as others do.
            let transaction = self.database.begin_upkeep().await?;
            event::Entity::date_back(last.revision, now).exec(&*transaction).await?;
            transaction.commit().await?;
        }
        // A commit goes whole: a cursor may point between its entries, and then the next must be there.
        let Some(last) = going.checked_sub(1).and_then(|last| oldest.get(last)) else { return Ok(0) };
        // Several servers may trim: the beginning never moves back. Each by itself: all commits wait for the first.
        let transaction = self.database.begin_upkeep().await?;
        cluster::Entity::move_log_start(last.revision).exec(&*transaction).await?;
        transaction.commit().await?;
        let transaction = self.database.begin_upkeep().await?;
        let removed = event::Entity::up_to(last.revision).exec(&*transaction).await?.rows_affected;
        transaction.commit().await?;
        Ok(removed)
    }
}
