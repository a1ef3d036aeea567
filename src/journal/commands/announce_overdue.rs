//! The server announces drains whose deadline has passed.

use std::sync::Arc;

use super::{Command, Lane};
use crate::cluster::{Actor, EventKind, Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::batch::{Batch, ColumnGroup, EventDetails};

/// Announces drains that look overdue. Any server may ask for it. Whether they are overdue, and not announced yet, is
/// decided here, on the latest state: so each is announced once.
#[derive(Clone, Debug)]
pub struct AnnounceOverdue {
    /// Workers whose drain looked overdue to the server that asks.
    pub candidates: Vec<WorkerId>,
}

impl Command for AnnounceOverdue {
    /// Those that were announced.
    type Reply = Vec<WorkerId>;

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        // The worker, its drain and an event.
        3 * self.candidates.len()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let mut announced = Vec::new();
        for id in &self.candidates {
            let Some(known) = batch.find_worker(id.as_str()).cloned() else { continue };
            let due = known.drain.as_ref().and_then(|drain| drain.overdue_from());
            if due.is_none_or(|due| due > batch.at) {
                continue;
            }
            let mut worker = Worker::clone(&known);
            let Some(drain) = worker.drain.as_mut() else { continue };
            let drain = Arc::make_mut(drain);
            drain.overdue_at = Some(batch.at);
            drain.revision = batch.revision;
            let reason = drain.reason.clone();
            worker.revision = batch.revision;
            let vms = known.usage.vms.count_slot_holders();
            let message = format!("The drain of worker {id} is overdue: VMs that hold a slot: {vms}");
            let details = EventDetails { reason, message, ..EventDetails::default() };
            batch.record_event(Actor::Server, EventKind::WorkerDrainOverdue, id, details);
            batch.put_worker(worker, &[ColumnGroup::Drain]);
            announced.push(id.clone());
        }
        Ok(announced)
    }
}
