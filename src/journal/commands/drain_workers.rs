//! An operator drains many workers at once, or activates them: those that a filter matches, in one commit. So none of
//! them takes another's VMs meanwhile.
//!
//! Which workers match, and whether the rest of the cluster can hold what has to move, is decided here, on the latest
//! state: the room that a reservation of the same batch takes is gone. One worker is drained by
//! [`set_scheduling_policy`](super::set_scheduling_policy), which refuses nothing for want of room.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::set_scheduling_policy::{PolicyRequest, PolicySet};
use super::{Command, Lane, WORKERS_PER_ROW};
use crate::cluster::{DrainRequest, EvacuationPlan, LivenessCutoff, Snapshot, View, Worker, WorkerFilter, WorkerView};
use crate::error::{Error, Result};
use crate::journal::batch::Batch;

/// Most workers that one request drains or activates: those of the largest cluster that this server is meant for.
pub const MAX_CHANGED: usize = 10_000;

/// Rows of each worker: itself, its drain and an event.
const ROWS_PER_WORKER: usize = 3;

/// Drains the workers that match, all of them or none.
#[derive(Clone, Debug)]
pub struct DrainWorkers {
    /// Which workers.
    pub filter: WorkerFilter,
    /// What is said of their drains.
    pub request: DrainRequest,
    /// Whether they are drained although no place is found for VMs on them.
    pub allow_shortfall: bool,
    /// How many VMs each list of the plan has at most.
    pub listed: usize,
    /// How many workers matched when it was asked for.
    pub expected: usize,
    /// How many workers and VMs are looked at for the plan, about.
    pub looks: usize,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

/// The workers are draining.
#[derive(Clone, Debug)]
pub struct WorkersDrained {
    /// The workers, by id.
    pub workers: Vec<PolicySet>,
    /// Where their VMs could go.
    pub plan: EvacuationPlan,
}

/// Activates the workers that match.
#[derive(Clone, Debug)]
pub struct ActivateWorkers {
    /// Which workers.
    pub filter: WorkerFilter,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// How many workers matched when it was asked for.
    pub expected: usize,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

/// The policies of workers, by id, are as wanted.
pub type PoliciesSet = Vec<PolicySet>;

/// Refuses a filter that so many workers match, if they are too many for one commit.
pub fn check_count(matching: usize) -> Result<()> {
    if matching <= MAX_CHANGED {
        return Ok(());
    }
    let problem = format!("matches {matching} workers, of which {MAX_CHANGED} are the most at once");
    Err(Error::invalid("filter", problem))
}

/// The workers that match as they are now in the batch, by id. They may be more than when it was asked for.
fn matching(batch: &Batch<'_>, filter: &WorkerFilter, offline_after: Duration) -> Result<Vec<Arc<Worker>>> {
    let view = Arc::new(View::new(batch.preview(), batch.at, offline_after));
    let matches = |worker: &Arc<Worker>| filter.matches(&WorkerView { worker: worker.clone(), view: view.clone() });
    let mut workers: Vec<_> = match &filter.ids {
        Some(ids) => {
            ids.iter().filter_map(|id| batch.find_worker(id)).filter(|worker| matches(worker)).cloned().collect()
        }
        None => batch.workers().filter(|worker| matches(worker)).cloned().collect(),
    };
    workers.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    workers.dedup_by(|one, other| one.id == other.id);
    check_count(workers.len())?;
    Ok(workers)
}

impl DrainWorkers {
    /// Refuses drains for whose VMs no place was found, unless no drain would begin: a drain that stands may be asked for again,
    /// whatever the rest of the cluster can hold now.
    pub fn check_room(begins_any: bool, plan: &EvacuationPlan, allow_shortfall: bool) -> Result<()> {
        if begins_any && !plan.fits() && !allow_shortfall {
            return Err(Error::Shortfall(Arc::new(plan.clone())));
        }
        Ok(())
    }
}

impl Command for DrainWorkers {
    type Reply = WorkersDrained;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, _known: &Snapshot) -> usize {
        ROWS_PER_WORKER * self.expected + self.looks / WORKERS_PER_ROW
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { filter, request, allow_shortfall, listed, expected: _, looks: _, offline_after } = self;
        let workers = matching(batch, filter, *offline_after)?;
        let plan = {
            let ids: HashSet<_> = workers.iter().map(|worker| &worker.id).collect();
            EvacuationPlan::of(&batch.fleet(LivenessCutoff::of(batch.at, *offline_after)), &ids, *listed)
        };
        let begins_any = workers.iter().any(|worker| worker.standing_drain().is_none());
        Self::check_room(begins_any, &plan, *allow_shortfall)?;
        let request = PolicyRequest::Drain(request.clone());
        let workers = workers.iter().map(|worker| request.apply(worker, batch)).collect();
        Ok(WorkersDrained { workers, plan })
    }
}

impl Command for ActivateWorkers {
    type Reply = PoliciesSet;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, known: &Snapshot) -> usize {
        let looked_at = self.filter.ids.as_ref().map_or_else(|| known.worker_count(), Vec::len);
        ROWS_PER_WORKER * self.expected + looked_at / WORKERS_PER_ROW
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { filter, reason, expected: _, offline_after } = self;
        let request = PolicyRequest::Activate(reason.clone());
        let workers = matching(batch, filter, *offline_after)?;
        Ok(workers.iter().map(|worker| request.apply(worker, batch)).collect())
    }
}
