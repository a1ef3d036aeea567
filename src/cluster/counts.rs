//! Counts for overviews: each zone with its workers and what is free there, and how many workers or VMs match a filter, by
//! status and by zone. They are counted when they are asked for; the totals of the cluster, which are asked for all the
//! time, are kept up to date in `totals`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::status::{VmStatus, WorkerStatus};
use super::totals::OnlineTotals;
use super::view::{View, VmView, WorkerView};

/// One zone, with the sums over its registered workers; the `schedulable_` figures are of those only that take new VMs now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ZoneTotals {
    /// The id of the zone, for caches of clients.
    pub id: String,
    /// Its name.
    pub name: Arc<str>,
    /// Its workers, by status.
    pub workers: WorkerCounts,
    /// CPU cores of all.
    pub cpu_cores: u64,
    /// Memory of all, in MiB.
    pub memory_mb: u64,
    /// CPU cores that VMs hold.
    pub used_cpu_cores: u64,
    /// Memory that VMs hold, in MiB.
    pub used_memory_mb: u64,
    /// VMs that hold a slot, as its workers report them.
    pub vm_count: u64,
    /// How many VMs its workers together may hold.
    pub max_vms: u64,
    /// Free CPU cores on workers that take new VMs.
    pub schedulable_cpu_cores: u64,
    /// Free memory on those, in MiB.
    pub schedulable_memory_mb: u64,
    /// Free VM slots on those.
    pub schedulable_vm_slots: u64,
    /// Revision that all of this was read at.
    pub revision: u64,
}

/// How many workers there are, by status and zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkerCounts {
    /// All of them.
    pub total: u64,
    /// Those that take new VMs.
    pub active: u64,
    /// Those that take no new VMs and keep those they have.
    pub draining: u64,
    /// Those that are offline.
    pub offline: u64,
    /// By zone; those without a zone are not in it.
    pub zones: Vec<ZoneCount>,
    /// Revision that all of this was read at.
    pub revision: u64,
}

/// How many VMs there are, by status and zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VmCounts {
    /// All of them.
    pub total: u64,
    /// Created.
    pub created: u64,
    /// Starting.
    pub starting: u64,
    /// Running.
    pub running: u64,
    /// Stopping.
    pub stopping: u64,
    /// Stopped.
    pub stopped: u64,
    /// Failed.
    pub failed: u64,
    /// By the zone of their workers; those on workers without a zone are not in it.
    pub zones: Vec<ZoneCount>,
    /// Revision that all of this was read at.
    pub revision: u64,
}

/// How many of what is counted are in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZoneCount {
    /// Its name.
    pub zone: Arc<str>,
    /// How many.
    pub count: u64,
}

impl ZoneTotals {
    /// Every zone with a worker in it, by name. Workers without a zone are in none.
    pub fn of(view: &Arc<View>) -> Vec<Self> {
        Self::of_workers(view.workers().filter(|worker| !worker.identity().zone.is_empty()), view)
    }

    /// The zones of workers, by name. Workers without a zone are in one whose name is empty.
    pub(super) fn of_workers(workers: impl Iterator<Item = WorkerView>, view: &View) -> Vec<Self> {
        let mut zones = BTreeMap::<Arc<str>, Self>::new();
        for worker in workers {
            let name = &worker.identity().zone;
            let zone = match zones.get_mut(name) {
                Some(zone) => zone,
                None => zones.entry(name.clone()).or_insert_with(|| Self {
                    id: super::zone_id(name),
                    name: name.clone(),
                    revision: view.snapshot.revision,
                    ..Self::default()
                }),
            };
            zone.add(&worker);
        }
        zones.into_values().collect()
    }

    fn add(&mut self, worker: &WorkerView) {
        let (identity, usage) = (worker.identity(), &worker.worker.usage);
        self.workers.add_status(worker.status());
        self.cpu_cores += u64::from(identity.cpu_cores);
        self.memory_mb += u64::from(identity.memory_mb);
        self.used_cpu_cores += u64::from(usage.used_cpu_cores);
        self.used_memory_mb += u64::from(usage.used_memory_mb);
        self.vm_count += worker.vm_count() as u64;
        self.max_vms += u64::from(identity.max_vms);
        if worker.is_healthy() {
            let free = OnlineTotals::of(&worker.worker);
            self.schedulable_cpu_cores += free.free_cpu_cores;
            self.schedulable_memory_mb += free.free_memory_mb;
            self.schedulable_vm_slots += free.free_vm_slots;
        }
    }
}

impl WorkerCounts {
    /// Counts workers of a view.
    pub fn of(workers: impl Iterator<Item = WorkerView>, view: &View) -> Self {
        let mut counts = Self { revision: view.snapshot.revision, ..Self::default() };
        let mut zones = BTreeMap::<Arc<str>, u64>::new();
        for worker in workers {
            counts.add_status(worker.status());
            count(&mut zones, &worker.identity().zone);
        }
        counts.zones = zones.into_iter().map(|(zone, count)| ZoneCount { zone, count }).collect();
        counts
    }

    fn add_status(&mut self, status: WorkerStatus) {
        self.total += 1;
        match status {
            WorkerStatus::Active => self.active += 1,
            WorkerStatus::Draining => self.draining += 1,
            WorkerStatus::Offline => self.offline += 1,
        }
    }
}

impl VmCounts {
    /// Counts VMs of a view.
    pub fn of(vms: impl Iterator<Item = VmView>, view: &View) -> Self {
        let mut counts = Self { revision: view.snapshot.revision, ..Self::default() };
        let mut zones = BTreeMap::<Arc<str>, u64>::new();
        for vm in vms {
            counts.total += 1;
            match vm.vm.status {
                VmStatus::Created => counts.created += 1,
                VmStatus::Starting => counts.starting += 1,
                VmStatus::Running => counts.running += 1,
                VmStatus::Stopping => counts.stopping += 1,
                VmStatus::Stopped => counts.stopped += 1,
                VmStatus::Failed => counts.failed += 1,
            }
            if let Some(worker) = vm.view.snapshot.find_worker(vm.vm.worker_id.as_str()) {
                count(&mut zones, &worker.identity.zone);
            }
        }
        counts.zones = zones.into_iter().map(|(zone, count)| ZoneCount { zone, count }).collect();
        counts
    }
}

/// Counts one more in a zone; there is no zone of an empty name.
fn count(zones: &mut BTreeMap<Arc<str>, u64>, zone: &Arc<str>) {
    match zones.get_mut(zone) {
        Some(so_far) => *so_far += 1,
        None if zone.is_empty() => {}
        None => _ = zones.insert(zone.clone(), 1),
    }
}
