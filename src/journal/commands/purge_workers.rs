//! An operator purges many workers at once: those that a filter matches, in one commit.
//!
//! Which workers to look at is found before, on a snapshot; here each is compared with the filter again, as it now is,
//! because it may have come back meanwhile. One worker is purged by [`deregister`](super::deregister).

use std::sync::Arc;
use std::time::Duration;

use super::deregister::{purge_worker, rows_of_purge};
use super::{Command, Lane};
use crate::auth::Action;
use crate::cluster::{Actor, PurgeFilter, Snapshot, View, VmId, WorkerId, WorkerView};
use crate::error::Result;
use crate::journal::batch::Batch;

/// Most rows that one purge of many workers writes: what the commands of operators may have of a batch, so that
/// heartbeats are not kept waiting for it. A single worker may have more.
const MAX_PURGED_ROWS: usize = 5_000;

/// Purges those of some workers that match.
#[derive(Clone, Debug)]
pub struct PurgeWorkers {
    /// The workers, by id.
    pub worker_ids: Vec<WorkerId>,
    /// Which of them are purged.
    pub filter: PurgeFilter,
    /// Whether they are purged even though VMs hold slots on them.
    pub force: bool,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

/// What became of each worker that is still there.
#[derive(Clone, Debug, Default)]
pub struct WorkersPurged {
    /// The workers that were purged, by id.
    pub purged: Vec<PurgedWorker>,
    /// Those that were not, by id.
    pub refused: Vec<RefusedPurge>,
}

/// A worker that is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgedWorker {
    /// The worker.
    pub worker_id: WorkerId,
    /// The VMs that go with it, by id, whatever their status.
    pub removed_vms: Vec<VmId>,
}

/// A worker that is not purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPurge {
    /// The worker.
    pub worker_id: WorkerId,
    /// Why.
    pub reason: PurgeRefusalReason,
    /// How many VMs hold slots on it.
    pub vms: usize,
}

/// Why a worker is not purged with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeRefusalReason {
    /// VMs hold slots on it.
    HoldsVms,
    /// It matched when the purge was asked for, and does not any more.
    Changed,
}

impl PurgeRefusalReason {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::HoldsVms, Self::Changed];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HoldsVms => "holds_vms",
            Self::Changed => "changed",
        }
    }
}

impl PurgeWorkers {
    /// As many of these workers as one commit takes: at least one of them, if there is one.
    pub fn as_many_as_fit<'a>(
        known: &Snapshot,
        workers: impl IntoIterator<Item = &'a WorkerId>,
        most: usize,
    ) -> Vec<WorkerId> {
        let mut rows = 0_usize;
        let mut fitting = Vec::new();
        for id in workers.into_iter().take(most) {
            rows = rows.saturating_add(rows_of_purge(known, id.as_str()));
            if rows > MAX_PURGED_ROWS && !fitting.is_empty() {
                break;
            }
            fitting.push(id.clone());
        }
        fitting
    }
}

/// Why this worker cannot be purged, if it cannot.
pub fn purge_refusal(worker: &WorkerView, filter: &PurgeFilter, force: bool) -> Option<RefusedPurge> {
    let vms = worker.worker.usage.vms.count_slot_holders();
    let reason = match filter.matches(worker) {
        false => PurgeRefusalReason::Changed,
        true if vms > 0 && !force => PurgeRefusalReason::HoldsVms,
        true => return None,
    };
    Some(RefusedPurge { worker_id: worker.worker.id.clone(), reason, vms })
}

impl Command for PurgeWorkers {
    type Reply = WorkersPurged;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, known: &Snapshot) -> usize {
        self.worker_ids.iter().map(|id| rows_of_purge(known, id.as_str())).sum()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { worker_ids, filter, force, offline_after } = self;
        let view = Arc::new(View::new(batch.preview(), batch.at, *offline_after));
        let found: Vec<_> = worker_ids.iter().filter_map(|id| batch.find_worker(id.as_str())).cloned().collect();
        for worker in &found {
            batch.authorize(Action::Purge, worker)?;
        }
        let mut reply = WorkersPurged::default();
        for worker in found {
            let worker = WorkerView { worker, view: view.clone() };
            match purge_refusal(&worker, filter, *force) {
                Some(refused) => reply.refused.push(refused),
                None => {
                    let removed_vms = purge_worker(&worker.worker, Actor::Operator, batch);
                    reply.purged.push(PurgedWorker { worker_id: worker.worker.id.clone(), removed_vms });
                }
            }
        }
        Ok(reply)
    }
}
