//! Removes old events and old idempotency records, in steps that are short enough that the writer never waits long for
//! one.
//!
//! The change log begins at two places: at one for all events, and at an earlier one for those that operators caused,
//! which are all that is left before the first one. Either place is moved first, and then the events before it are
//! removed: a query in between, or a start after a crash in between, finds a true beginning. How far others than
//! operators' events are removed is a place of its own, `events_deleted_through`, at which the next step begins: it
//! neither looks again at what is left before, nor leaves behind what a crash has left. What is old enough is decided by
//! [retention](crate::journal::retention).

use entity::idempotency_record::Request;
use entity::{cluster, drain, event, idempotency_record};
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _};

use super::database::Database;
use crate::clock::Timestamp;
use crate::cluster::EventClass;
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

impl EventLimits {
    fn exclude(self, row: &event::Model) -> bool {
        row.at < self.oldest || self.surplus_revision.is_some_and(|last| row.revision <= last)
    }
}

/// The revision of the newest event that is one too many.
pub async fn surplus_revision(database: &Database, class: EventClass, max_events: u64) -> Result<Option<i64>> {
    let mut events = event::Entity::revisions_newest_first();
    if class == EventClass::ByOperators {
        events = events.filter(event::Entity::by_operators());
    }
    Ok(events.offset(max_events).into_tuple().one(&*database.readers()).await?)
}

/// How many events there are.
pub async fn count_events(database: &Database) -> Result<u64> {
    let count: Option<i64> = event::Entity::count_all().into_tuple().one(&*database.readers()).await?;
    Ok(count.unwrap_or_default().unsigned_abs())
}

/// Removes some of the oldest events that operators did not cause, if they have to go. Answers how many; none if no
/// events have to go.
pub async fn prune_some_events(database: &Database, limits: EventLimits, now: Timestamp) -> Result<Option<u64>> {
    let Some(cluster::Model { events_pruned_through, events_deleted_through, .. }) = read_cluster(database).await?
    else {
        return Ok(None);
    };
    let oldest = event::Entity::after(events_deleted_through, i64::MAX).limit(STEP);
    let oldest = oldest.all(&*database.readers()).await?;
    if let Some(last) = oldest.last().filter(|_| oldest.iter().any(|row| row.at > now)) {
        // Events that were committed by a clock that was ahead get the present time, and age from now on.
        let transaction = database.begin_maintenance().await?;
        event::Entity::date_back(events_deleted_through, last.revision, now).exec(&*transaction).await?;
        transaction.commit().await?;
    }
    // What was committed before an event that must go is older, whatever the clock said then. What is before the
    // beginning already was left there by a step that did not end.
    let must_go = |row: &event::Model| row.revision <= events_pruned_through || limits.exclude(row);
    // The events of one commit go together: a cursor may point between them, and then the next one must be there.
    let Some(last) = oldest.iter().rfind(|row| must_go(row)).map(|row| row.revision) else { return Ok(None) };
    // Several servers may prune: the beginning never moves back. It has a transaction of its own, because it locks the
    // row that all commits wait for.
    let transaction = database.begin_maintenance().await?;
    cluster::Entity::mark_events_pruned(last).exec(&*transaction).await?;
    transaction.commit().await?;
    let transaction = database.begin_maintenance().await?;
    let removed = event::Entity::remove_others(events_deleted_through, last).exec(&*transaction).await?.rows_affected;
    // Last, because it locks that row as well.
    cluster::Entity::mark_events_deleted(events_deleted_through, last).exec(&*transaction).await?;
    transaction.commit().await?;
    Ok(Some(removed))
}

/// Removes some of the oldest events that operators caused, if they have to go and all other events of their time are
/// gone. Answers how many; none if no events have to go.
pub async fn prune_some_operator_events(
    database: &Database,
    limits: EventLimits,
    now: Timestamp,
) -> Result<Option<u64>> {
    let Some(cluster::Model { events_pruned_through, operator_events_pruned_through, .. }) =
        read_cluster(database).await?
    else {
        return Ok(None);
    };
    let oldest = event::Entity::oldest_first().filter(event::Entity::by_operators()).limit(STEP);
    let oldest = oldest.all(&*database.readers()).await?;
    let is_pruned = |row: &&event::Model| row.revision <= events_pruned_through;
    if let Some(last) = oldest.iter().rfind(is_pruned).filter(|_| oldest.iter().any(|row| row.at > now)) {
        // The clock was ahead when all events of their time were pruned, and is not any more.
        let transaction = database.begin_maintenance().await?;
        let date_back = event::Entity::date_back(0, last.revision, now).filter(event::Entity::by_operators());
        date_back.exec(&*transaction).await?;
        transaction.commit().await?;
    }
    let must_go =
        |row: &&event::Model| row.revision <= operator_events_pruned_through || is_pruned(row) && limits.exclude(row);
    let Some(last) = oldest.iter().rfind(must_go).map(|row| row.revision) else { return Ok(None) };
    let transaction = database.begin_maintenance().await?;
    cluster::Entity::mark_operator_events_pruned(last).exec(&*transaction).await?;
    transaction.commit().await?;
    let transaction = database.begin_maintenance().await?;
    let removed = event::Entity::remove_up_to(last).exec(&*transaction).await?.rows_affected;
    transaction.commit().await?;
    Ok(Some(removed))
}

async fn read_cluster(database: &Database) -> Result<Option<cluster::Model>> {
    Ok(cluster::Entity::find_by_id(cluster::ID).one(&*database.readers()).await?)
}

/// Removes some of the drains that ended before a time, but no worker's last one, which is a part of the state. Answers how
/// many.
pub async fn prune_some_drains(database: &Database, oldest: Timestamp) -> Result<u64> {
    let transaction = database.begin_maintenance().await?;
    let removed = drain::Entity::remove_ended_before(oldest, STEP).exec(&*transaction).await?.rows_affected;
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
