//! The server brings times that lie in the future back to the present.

use std::sync::Arc;

use super::{Command, Lane};
use crate::clock::Timestamp;
use crate::cluster::{Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::batch::{Batch, ColumnGroup};

/// Sets times of workers and of their VMs that lie in the future to now. They were written by a clock that was ahead
/// and has been set back since, and cannot be right: a worker that was last seen in an hour would be healthy for an
/// hour, dead or alive.
#[derive(Clone, Debug)]
pub struct ClampFutureTimes {
    /// Workers that looked to have such times to the server that asks.
    pub candidates: Vec<WorkerId>,
}

impl Command for ClampFutureTimes {
    /// How many workers had some.
    type Reply = usize;

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // Each kind of time is in a column group of its own, and each VM in a row.
        let vms = |id: &WorkerId| known.find_worker(id.as_str()).map_or(0, |worker| worker.usage.vms.len());
        self.candidates.iter().map(|id| 5 + vms(id)).sum()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let mut clamped = 0;
        for id in &self.candidates {
            let Some(known) = batch.find_worker(id.as_str()).cloned() else { continue };
            let mut worker = Worker::clone(&known);
            let column_groups = clamp_times(&mut worker, batch.at, batch.revision);
            if !column_groups.is_empty() {
                worker.revision = batch.revision;
                if let Some(drain) = worker.drain.as_mut().filter(|_| column_groups.contains(&ColumnGroup::Drain)) {
                    Arc::make_mut(drain).revision = batch.revision;
                }
                batch.put_worker(worker, &column_groups);
                clamped += 1;
            }
        }
        Ok(clamped)
    }
}

/// Answers which columns have to be written.
fn clamp_times(worker: &mut Worker, now: Timestamp, revision: u64) -> Vec<ColumnGroup> {
    let mut column_groups = Vec::new();
    let mut clamp = |time: &mut Timestamp, group| {
        if *time > now {
            *time = now;
            column_groups.push(group);
        }
    };
    clamp(&mut worker.usage.last_seen, ColumnGroup::Heartbeat);
    clamp(&mut worker.life.started_at, ColumnGroup::Registration);
    if let Some(deregistered_at) = &mut worker.life.deregistered_at {
        clamp(deregistered_at, ColumnGroup::Deregistration);
    }
    if let Some(drain) = worker.drain.as_mut().filter(|drain| drain.latest_time().is_some_and(|time| time > now)) {
        Arc::make_mut(drain).clamp_times(now);
        column_groups.push(ColumnGroup::Drain);
    }
    if let Some(vms) = worker.usage.vms.with_clamped_times(now, revision) {
        worker.usage.vms = vms;
        worker.usage.vms_revision = revision;
        column_groups.push(ColumnGroup::Heartbeat);
    }
    column_groups
}
