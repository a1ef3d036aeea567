//! Summing up: the rows of a day into one of quarters of an hour, those of a month into one of six hours; and removing
//! rows whose time is over.
//!
//! A row is summed up some time after its span has ended, from rows that no server changes any more, so that all servers
//! come to the same. The row of the cluster is written last: where it is, all others are.

use std::collections::HashMap;
use std::sync::Arc;

use super::points::Points;
use super::reader::{HistoryReader, add_row};
use super::subject::Subject;
use super::tier::{MINUTE, Tier};
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::journal::HistoryRow;

/// How long after the end of a row's span it is summed up: its last window is written by then, if the database is there.
const SETTLED_AFTER: i64 = 20 * MINUTE;

/// How many subjects are summed up at a time: so many days of samples are in memory.
const SUBJECTS_PER_STEP: usize = 100;

/// Sums up whatever is over, and removes what is old.
pub async fn run(history: &HistoryReader, snapshot: &Arc<Snapshot>, now: i64) -> Result<()> {
    sum_up(history, snapshot, Tier::Minute, Tier::QuarterHour, now).await?;
    sum_up(history, snapshot, Tier::QuarterHour, Tier::SixHours, now).await?;
    for tier in Tier::ALL {
        let (start, next) = tier.row_around(now - tier.kept());
        let is_over = start - (next - start);
        // What is not summed up yet, after a time in which no server ran, stays until it is.
        let before = match tier {
            Tier::Minute | Tier::QuarterHour => is_over.min(history.unsummed_since(tier, now)),
            Tier::SixHours => is_over,
        };
        history.store().remove_before(tier.number(), before).await?;
    }
    Ok(())
}

/// Sums up the rows of a tier that are over.
async fn sum_up(history: &HistoryReader, snapshot: &Arc<Snapshot>, from: Tier, to: Tier, now: i64) -> Result<()> {
    let (present, _) = to.row_around(now - SETTLED_AFTER);
    if let Some(oldest) = history.store().oldest_start(from.number()).await? {
        for start in to.rows_between(to.row_around(oldest).0, present) {
            let cluster = Subject::Cluster.key();
            if history.store().rows(&[(to.number(), vec![start])], &[&cluster]).await?.is_empty() {
                sum_up_row(history, snapshot, from, to, start).await?;
            }
        }
    }
    history.set_unsummed_since(from, present);
    Ok(())
}

/// Sums up one row of each worker and zone that there is now, and at last of the cluster. Rows of workers that were removed
/// are not summed up: nobody can ask for them.
async fn sum_up_row(history: &HistoryReader, snapshot: &Arc<Snapshot>, from: Tier, to: Tier, start: i64) -> Result<()> {
    let (_, end) = to.row_around(start);
    let starts = from.rows_between(start, end);
    let workers = snapshot.workers().map(|worker| Subject::Worker(worker.id.shared()));
    let zones = snapshot.zones().map(|(zone, _)| Subject::Zone(zone.clone()));
    let subjects: Vec<_> = workers.chain(zones).map(|subject| subject.key()).collect();
    let cluster = Subject::Cluster.key();
    for subjects in subjects.chunks(SUBJECTS_PER_STEP).chain([std::slice::from_ref(&cluster)]) {
        let keys: Vec<_> = subjects.iter().map(String::as_str).collect();
        let mut sums = HashMap::<String, Points>::new();
        for row in history.store().rows(&[(from.number(), starts.clone())], &keys).await? {
            let Some(points) = Points::decode(from.points_in_row(row.start), &row.points) else { continue };
            let length = to.points_in_row(start);
            let sum = sums.entry(row.subject).or_insert_with(|| Points::absent(length));
            add_row(sum, (start, to.step(), length), (from, row.start), &points);
        }
        if subjects == [cluster.clone()] {
            // It tells that this row is done, also of a day without samples.
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
    Ok(())
}
