//! Removes old events and old idempotency records, in steps that are short enough that the writer never waits long for
//! one.
//!
//! The beginning of the event log is moved first, and then the events before it are removed: a query in between, or a
//! start after a crash in between, finds a true beginning. What is old enough is decided by
//! [retention](crate::journal::retention).

use entity::idempotency_record::Request;
use entity::{cluster, event, idempotency_record};
use sea_orm::QuerySelect as _;

use super::database::Database;
use crate::clock::Timestamp;
use crate::error::Result;

/// How many events are looked at in one step.
const STEP: u64 = 2_000;

/// Which events have to go.
#[derive(Clone, Copy)]
pub struct EventLimits {
    /// Those from before this time.
    pub oldest: Timestamp,
    /// Those up to this revision: the newest one too many. Several servers that prune at once agree on it, and would
    /// not on how many events are too many.
    pub surplus_revision: Option<i64>,
}

/// The revision of the newest event that is one too many.
pub async fn surplus_revision(database: &Database, max_events: u64) -> Result<Option<i64>> {
    let surplus = event::Entity::newest_first().offset(max_events).one(&*database.readers()).await?;
    Ok(surplus.map(|row| row.revision))
}

/// Removes some of the oldest events, if they have to go. Answers how many.
pub async fn prune_some_events(database: &Database, limits: EventLimits, now: Timestamp) -> Result<u64> {
    let EventLimits { oldest: oldest_kept, surplus_revision } = limits;
    let oldest = event::Entity::oldest_first().limit(STEP).all(&*database.readers()).await?;
    let must_go =
        |row: &event::Model| row.at < oldest_kept || surplus_revision.is_some_and(|last| row.revision <= last);
    // What was committed before an event that must go is older, whatever the clock said then.
    let going = oldest.iter().rposition(must_go).map_or(0, |last| last + 1);
    if let Some(last) = oldest.last().filter(|_| oldest.iter().any(|row| row.at > now)) {
        // Events that were committed by a clock that was ahead get the present time, and age from now on.
        let transaction = database.begin_maintenance().await?;
        event::Entity::date_back(last.revision, now).exec(&*transaction).await?;
        transaction.commit().await?;
    }
    // The events of one commit go together: a cursor may point between them, and then the next one must be there.
    let Some(last) = going.checked_sub(1).and_then(|last| oldest.get(last)) else { return Ok(0) };
    // Several servers may prune: the beginning never moves back. It has a transaction of its own, because it locks the
    // row that all commits wait for.
    let transaction = database.begin_maintenance().await?;
    cluster::Entity::mark_events_pruned(last.revision).exec(&*transaction).await?;
    transaction.commit().await?;
    let transaction = database.begin_maintenance().await?;
    let removed = event::Entity::up_to(last.revision).exec(&*transaction).await?.rows_affected;
    transaction.commit().await?;
    Ok(removed)
}

/// Gives idempotency records that were made by a clock that was ahead the present time: they would outlive those that
/// are newer. This comes before the others are removed, since their order is that of their times.
pub async fn date_back_idempotency_records(database: &Database, now: Timestamp) -> Result<()> {
    let transaction = database.begin_maintenance().await?;
    idempotency_record::Entity::date_back(now).exec(&*transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Removes idempotency records of one kind from before a time, and the oldest of more than so many.
pub async fn prune_idempotency_records(
    database: &Database,
    kind: Request,
    oldest: Timestamp,
    max_records: u64,
) -> Result<()> {
    let surplus = idempotency_record::Entity::newest_first(kind).offset(max_records).one(&*database.readers()).await?;
    let transaction = database.begin_maintenance().await?;
    idempotency_record::Entity::created_before(kind, oldest, surplus).exec(&*transaction).await?;
    transaction.commit().await?;
    Ok(())
}
