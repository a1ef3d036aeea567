//! Questions about the cluster as a whole: its totals, and which VMs are where.

use super::Reading;
use super::offload::steps;
use crate::cluster::{ClusterStats, WorkerDistribution};

impl Reading {
    /// Totals of the cluster.
    pub fn cluster_stats(&self) -> ClusterStats {
        ClusterStats::of(&self.view)
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
