//! Which VMs are where.

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
    /// What one worker holds.
    pub fn of(worker: WorkerView) -> Self {
        let vms = worker.vms(None);
        Self { worker, vms }
    }
}
