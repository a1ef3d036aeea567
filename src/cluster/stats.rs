//! Totals of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::status::WorkerStatus;
use super::view::{View, percent};

/// Totals over all registered workers, whatever their status; the `schedulable_` figures count
/// only what can take new work now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClusterStats {
    /// Registered workers.
    pub total_workers: u64,
    /// Those that take new work.
    pub active_workers: u64,
    /// Those that finish what they have.
    pub draining_workers: u64,
    /// Those that are silent.
    pub offline_workers: u64,
    /// CPU cores of all.
    pub total_cpu_cores: u64,
    /// Memory of all, in MiB.
    pub total_memory_mb: u64,
    /// CPU cores that VMs hold.
    pub used_cpu_cores: u64,
    /// Memory that VMs hold, in MiB.
    pub used_memory_mb: u64,
    /// VMs that hold a slot, each counted once.
    pub total_vms: u64,
    /// How many VMs all workers together may hold.
    pub max_vms: u64,
    /// Workers by zone; those without a zone are not in it.
    pub zones: Vec<ZoneStats>,
    /// Workers that take new work.
    pub schedulable_workers: u64,
    /// Free CPU cores on those.
    pub schedulable_cpu_cores: u64,
    /// Free memory on those, in MiB.
    pub schedulable_memory_mb: u64,
    /// Free VM slots on those.
    pub schedulable_vm_slots: u64,
    /// Revision that all of this was read at.
    pub revision: u64,
}

/// How many workers a zone has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZoneStats {
    /// Its name.
    pub name: Arc<str>,
    /// Its registered workers.
    pub workers: u64,
}

impl ClusterStats {
    /// Adds up what the view shows.
    pub fn of(view: &Arc<View>) -> Self {
        let mut stats = Self {
            revision: view.snapshot.revision,
            total_vms: view.snapshot.vms_holding_slots() as u64,
            ..Self::default()
        };
        let mut zones = BTreeMap::<Arc<str>, u64>::new();
        for worker in view.workers() {
            let identity = worker.identity();
            let usage = &worker.worker.usage;
            stats.total_workers += 1;
            stats.total_cpu_cores += u64::from(identity.cpu_cores);
            stats.total_memory_mb += u64::from(identity.memory_mb);
            stats.used_cpu_cores += u64::from(usage.used_cpu_cores);
            stats.used_memory_mb += u64::from(usage.used_memory_mb);
            stats.max_vms += u64::from(identity.max_vms);
            match worker.status() {
                WorkerStatus::Active => {
                    stats.active_workers += 1;
                    stats.schedulable_workers += 1;
                    stats.schedulable_cpu_cores += u64::from(identity.cpu_cores.saturating_sub(usage.used_cpu_cores));
                    stats.schedulable_memory_mb += u64::from(identity.memory_mb.saturating_sub(usage.used_memory_mb));
                    stats.schedulable_vm_slots += u64::from(identity.max_vms).saturating_sub(worker.vm_count() as u64);
                }
                WorkerStatus::Draining => stats.draining_workers += 1,
                WorkerStatus::Offline => stats.offline_workers += 1,
            }
            if !identity.zone.is_empty() {
                *zones.entry(identity.zone.clone()).or_default() += 1;
            }
        }
        stats.zones = zones.into_iter().map(|(name, workers)| ZoneStats { name, workers }).collect();
        stats
    }

    /// CPU cores no VM holds.
    pub fn available_cpu_cores(&self) -> u64 {
        self.total_cpu_cores.saturating_sub(self.used_cpu_cores)
    }

    /// Memory no VM holds, in MiB.
    pub fn available_memory_mb(&self) -> u64 {
        self.total_memory_mb.saturating_sub(self.used_memory_mb)
    }

    /// How many more VMs all workers together may hold.
    pub fn available_vm_slots(&self) -> u64 {
        self.max_vms.saturating_sub(self.total_vms)
    }

    /// Share of all CPU cores that VMs hold, in percent.
    pub fn cluster_cpu_usage_percent(&self) -> f64 {
        percent(self.used_cpu_cores, self.total_cpu_cores)
    }

    /// Share of all memory that VMs hold, in percent.
    pub fn cluster_memory_usage_percent(&self) -> f64 {
        percent(self.used_memory_mb, self.total_memory_mb)
    }
}
