//! Questions about the cluster as a whole: its totals, and which VMs are where.

use super::Reading;
use super::offload::steps;
use crate::cluster::{
    Census, ClusterStats, VmCounts, VmFilter, VmStatus, WorkerCounts, WorkerDistribution, WorkerFilter, ZoneTotals,
};

/// VMs that are counted by status in the time in which a worker is added to the sums of its zone.
const VMS_OF_A_STEP: usize = 10;

impl Reading {
    /// Totals of the cluster.
    pub fn cluster_stats(&self) -> ClusterStats {
        ClusterStats::of(&self.view)
    }

    /// How many steps it takes to count each zone's workers.
    pub fn steps_to_list_zones(&self) -> u64 {
        steps(self.view.snapshot.worker_count(), 0)
    }

    /// The zones that have workers, by name, each with the sums over them.
    pub fn list_zones(&self) -> Vec<ZoneTotals> {
        ZoneTotals::of(&self.view)
    }

    /// How many steps it takes to count everything for monitoring.
    pub fn steps_to_take_census(&self) -> u64 {
        let snapshot = &self.view.snapshot;
        steps(snapshot.worker_count().saturating_add(snapshot.vm_count() / VMS_OF_A_STEP), 0)
    }

    /// How many steps it takes to write the series of each worker.
    pub fn steps_to_write_worker_series(&self) -> u64 {
        steps(self.view.snapshot.worker_count(), 0)
    }

    /// Everything that monitoring counts.
    pub fn census(&self) -> Census {
        Census::of(&self.view)
    }

    /// How many steps it takes to count the workers that match.
    pub fn steps_to_count_workers(&self, filter: &WorkerFilter) -> u64 {
        steps(filter.ids.as_ref().map_or(self.view.snapshot.worker_count(), Vec::len), filter.entries())
    }

    /// How many workers match, by status and by zone.
    pub fn count_workers(&self, filter: &WorkerFilter) -> WorkerCounts {
        WorkerCounts::of(self.list_workers(filter).into_iter(), &self.view)
    }

    /// How many steps it takes to count the VMs that match.
    pub fn steps_to_count_vms(&self, filter: &VmFilter) -> u64 {
        steps(self.view.snapshot.vm_count(), filter.entries())
    }

    /// How many VMs match, by status and by zone. Without statuses, all of them: those that hold no slot are counted beside
    /// the others.
    pub fn count_vms(&self, mut filter: VmFilter) -> VmCounts {
        filter.statuses = filter.statuses.or_else(|| Some(VmStatus::ALL.to_vec()));
        VmCounts::of(self.list_vms(&filter).into_iter(), &self.view)
    }

    /// How many steps it takes to write which VMs are where.
    pub fn steps_to_list_distribution(&self) -> u64 {
        let snapshot = &self.view.snapshot;
        steps(snapshot.worker_count().saturating_add(snapshot.vm_count()), 0)
    }

    /// Which VMs are where, by worker id.
    pub fn list_distribution(&self) -> Vec<WorkerDistribution> {
        self.view.workers().map(WorkerDistribution::of).collect()
    }
}
