//! Summing up: the rows of a day into one of quarters of an hour, those of a month into one of six hours; and removing
//! rows whose time is over.
//!
//! A row is summed up some time after its span has ended, from rows that no server changes any more, so that all servers
//! come to the same. The row of the cluster is written last: where it is, all others are.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::warn;

use super::figure::Figures;
use super::points::Points;
use super::reader::{HistoryReader, add_row};
use super::subject::Subject;
use super::tier::{DAY, MINUTE, Tier};
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::journal::HistoryRow;

/// How long after the end of a row's span it is summed up: its last window is written by then, if the database is there.
const SETTLED_AFTER: i64 = 20 * MINUTE;

/// How many subjects are summed up at a time: so many days of samples are in memory.
const SUBJECTS_PER_STEP: usize = 20;

/// How much longer rows are kept that could not be summed up, in seconds: servers of a newer version, which wrote them, sum
/// them up when they run again.
const UNREADABLE_RETENTION: i64 = 7 * DAY;

/// Sums up whatever is over, and removes what is old.
pub async fn run(history: &HistoryReader, snapshot: &Arc<Snapshot>, now: i64) -> Result<()> {
    sum_up(history, snapshot, Tier::Minute, Tier::QuarterHour, now).await?;
    sum_up(history, snapshot, Tier::QuarterHour, Tier::SixHours, now).await?;
    for tier in Tier::ALL {
        let (start, next) = tier.row_around(now - tier.retention());
        let is_over = start - (next - start);
        // What is not summed up yet stays until it is: all that is over was tried just now, so that this is what only a
        // newer version can read.
        let before = match tier {
            Tier::Minute | Tier::QuarterHour => {
                is_over.min(history.unsummed_since(tier, now).max(is_over - UNREADABLE_RETENTION))
            }
            Tier::SixHours => is_over,
        };
        history.store().remove_before(tier.number(), before).await?;
    }
    Ok(())
}

/// Sums up the rows of a tier that are over.
async fn sum_up(history: &HistoryReader, snapshot: &Arc<Snapshot>, from: Tier, to: Tier, now: i64) -> Result<()> {
    let (present, _) = to.row_around(now - SETTLED_AFTER);
    let (mut since, mut unsummed_since) = (i64::MIN, present);
    // Days without rows are passed over.
    while let Some(oldest) = history.store().oldest_start(from.number(), since).await? {
        let (start, next) = to.row_around(oldest);
        if start >= present {
            break;
        }
        let cluster = Subject::Cluster.key();
        if history.store().rows(&[(to.number(), vec![start])], &[&cluster]).await?.is_empty()
            && !sum_up_row(history, snapshot, from, to, start).await?
        {
            unsummed_since = unsummed_since.min(start);
        }
        since = next;
    }
    history.set_unsummed_since(from, unsummed_since);
    Ok(())
}

/// Sums up one row of each worker and zone that there is now, and at last of the cluster. Rows of workers that were removed
/// are not summed up: nobody can ask for them. False if a row cannot be read: then what it is about has no sum, and the
/// cluster has none, so that a server that can read it sums up the rest.
async fn sum_up_row(
    history: &HistoryReader,
    snapshot: &Arc<Snapshot>,
    from: Tier,
    to: Tier,
    start: i64,
) -> Result<bool> {
    let (_, end) = to.row_around(start);
    let starts = from.rows_between(start, end);
    let workers = snapshot.workers().map(|worker| Subject::Worker(worker.id.shared()));
    let zones = snapshot.zones().map(|(zone, _)| Subject::Zone(zone.clone()));
    let subjects: Vec<_> = workers.chain(zones).map(|subject| subject.key()).collect();
    let cluster = Subject::Cluster.key();
    for subjects in subjects.chunks(SUBJECTS_PER_STEP).chain([std::slice::from_ref(&cluster)]) {
        let keys: Vec<_> = subjects.iter().map(String::as_str).collect();
        let rows = history.store().rows(&[(from.number(), starts.clone())], &keys).await?;
        // On a thread where nobody waits. If that panics, nothing is summed up.
        let Some(mut sums) = spawn_blocking(move || sums_of(rows, from, to, start)).await.unwrap_or_default() else {
            warn!(
                history.start = start,
                "History from {start} s on is of a newer version, or damaged: it is left as it is"
            );
            return Ok(false);
        };
        if *subjects == *std::slice::from_ref(&cluster) {
            // It tells that this row is done, whatever there is of the cluster.
            sums.entry(cluster.clone()).or_insert_with(|| Points::absent(to.points_in_row(start)));
        }
        let row = |(subject, points): (String, Points)| HistoryRow {
            tier: to.number(),
            start,
            subject,
            points: points.encode(),
        };
        history.store().add(sums.into_iter().map(row).collect()).await?;
    }
    Ok(true)
}

/// The sums of rows, by subject; none if one of them cannot be decoded.
fn sums_of(rows: Vec<HistoryRow>, from: Tier, to: Tier, start: i64) -> Option<HashMap<String, Points>> {
    let length = to.points_in_row(start);
    let mut sums = HashMap::<String, Points>::new();
    for row in rows {
        let points = Points::decode(from.points_in_row(row.start), &row.points)?;
        let sum = sums.entry(row.subject).or_insert_with(|| Points::absent(length));
        add_row(sum, Figures::ALL, (start, to.step(), length), (from, row.start), &points);
    }
    Some(sums)
}
