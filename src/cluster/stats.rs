//! Totals of the cluster.

use std::sync::Arc;

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
    /// The totals of what the view shows.
    pub fn of(view: &View) -> Self {
        let (totals, online) = (view.snapshot.totals(), view.online());
        let total_workers = view.snapshot.worker_count() as u64;
        let zones = view.snapshot.zones();
        let zones = zones.map(|(name, workers)| ZoneStats { name: name.clone(), workers: workers as u64 });
        Self {
            total_workers,
            active_workers: online.active,
            draining_workers: online.draining,
            offline_workers: total_workers - online.active - online.draining,
            total_cpu_cores: totals.registered.cpu_cores,
            total_memory_mb: totals.registered.memory_mb,
            used_cpu_cores: totals.registered.used_cpu_cores,
            used_memory_mb: totals.registered.used_memory_mb,
            total_vms: view.snapshot.vms_holding_slots() as u64,
            max_vms: totals.registered.max_vms,
            zones: zones.collect(),
            schedulable_workers: online.active,
            schedulable_cpu_cores: online.free_cpu_cores,
            schedulable_memory_mb: online.free_memory_mb,
            schedulable_vm_slots: online.free_vm_slots,
            revision: view.snapshot.revision,
        }
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
