//! The distribution: the VMs of each worker that hold a slot on it. Totals, also those of zones, are in
//! [`stats`](super::stats).

use super::view::{VmView, WorkerView};

/// A worker with the VMs that hold a slot on it.
#[derive(Clone, Debug)]
pub struct WorkerDistribution {
    /// The worker.
    pub worker: WorkerView,
    /// Its VMs, by id.
    pub vms: Vec<VmView>,
}

impl WorkerDistribution {
    /// The VMs of one worker.
    pub fn of(worker: WorkerView) -> Self {
        let vms = worker.vms(None);
        Self { worker, vms }
    }
}
