//! Statistics of the cluster, as both protocols show them. How the sums are kept up to date is in `totals`.

use std::sync::Arc;

use super::view::{View, percent};

/// Totals over all registered workers, whatever their status; the `schedulable_` figures are of the workers only that
/// take new VMs now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClusterStats {
    /// Registered workers.
    pub total_workers: u64,
    /// Those that take new VMs.
    pub active_workers: u64,
    /// Those that take no new VMs and keep those they have.
    pub draining_workers: u64,
    /// Those that are offline.
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
    /// Workers that take new VMs.
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

/// The id of the statistics, for caches of clients.
pub const STATS_ID: &str = "cluster/stats";

/// The id of a zone, for caches of clients.
pub fn zone_id(name: &str) -> String {
    format!("zones/{name}")
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::{
        Availability, Changes, Identity, Labels, Life, SchedulingPolicy, Snapshot, Worker, WorkerId, WorkerStatus,
    };

    /// What a step makes of a worker; nothing if it purges it.
    type Step = Vec<(u8, Option<(u8, u32, i64, bool, bool)>)>;

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let worker = (0_u8..3, 0_u32..9, 0_i64..20_000, any::<bool>(), any::<bool>());
        prop::collection::vec(prop::collection::vec((0_u8..6, prop::option::weighted(0.8, worker)), 0..4), 1..30)
    }

    fn worker(id: u8, (zone, used, seen, draining, has_left): (u8, u32, i64, bool, bool)) -> Arc<Worker> {
        let identity = Identity {
            hostname: "node".into(),
            address: "10.0.0.1:1".into(),
            zone: ["", "a", "b"][usize::from(zone)].into(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            cpu_cores: 4,
            memory_mb: 1_000,
            disk_gb: 0,
            max_vms: 3,
        };
        let seen = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(seen);
        let life =
            Life { incarnation: 1, boots: Arc::default(), since_revision: 1, started_at: seen, deregistered_at: None };
        let mut worker = Worker::first_life(WorkerId::parse(&format!("w{id}")).unwrap(), identity, life);
        worker.usage.used_cpu_cores = used;
        worker.usage.used_memory_mb = 100 * used;
        worker.policy = if draining { SchedulingPolicy::Draining } else { SchedulingPolicy::Active };
        worker.last_announced_availability = if has_left { Availability::Offline } else { Availability::Online };
        Arc::new(worker)
    }

    proptest! {
        #[test]
        fn totals_are_the_sums_over_the_workers_after_any_change_at_any_moment(
            steps in steps(), moments in prop::collection::vec(0_i64..40_000, 1..10)
        ) {
            let mut snapshot = Snapshot::empty("test".into());
            for (revision, step) in (1..).zip(steps) {
                let mut changes = Changes::default();
                for (id, made) in step {
                    match made {
                        Some(made) => changes.workers.push(worker(id, made)),
                        // Also together with a registration of the same id, which comes after it.
                        None => {
                            let purged = worker(id, (0, 0, 0, false, false));
                            let tombstone = purged.tombstone(false, DateTime::UNIX_EPOCH, revision);
                            changes.purged.push(Arc::new(tombstone));
                        }
                    }
                }
                snapshot = snapshot.apply(changes, revision);
                for now in moments.iter().map(|moment| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(*moment)) {
                    let view = Arc::new(View::new(Arc::new(snapshot.clone()), now, Duration::from_secs(10)));
                    let stats = ClusterStats::of(&view);
                    let count = |status| view.workers().filter(|worker| worker.status() == status).count() as u64;
                    let active = || view.workers().filter(|worker| worker.status() == WorkerStatus::Active);
                    let in_zone = |zone: &str| view.workers().filter(|it| &*it.identity().zone == zone).count() as u64;
                    let sum = |figure: fn(&Worker) -> u32| -> u64 {
                        view.workers().map(|worker| u64::from(figure(&worker.worker))).sum()
                    };
                    let free = |total: fn(&Worker) -> u32, used: fn(&Worker) -> u32| -> u64 {
                        active().map(|it| u64::from(total(&it.worker).saturating_sub(used(&it.worker)))).sum()
                    };
                    prop_assert_eq!(
                        [stats.active_workers, stats.draining_workers, stats.offline_workers, stats.total_workers],
                        [
                            count(WorkerStatus::Active),
                            count(WorkerStatus::Draining),
                            count(WorkerStatus::Offline),
                            view.workers().count() as u64,
                        ]
                    );
                    prop_assert_eq!(
                        [stats.used_cpu_cores, stats.used_memory_mb, stats.total_cpu_cores, stats.max_vms],
                        [
                            sum(|worker| worker.usage.used_cpu_cores),
                            sum(|worker| worker.usage.used_memory_mb),
                            sum(|worker| worker.identity.cpu_cores),
                            sum(|worker| worker.identity.max_vms),
                        ]
                    );
                    prop_assert_eq!(
                        [stats.schedulable_cpu_cores, stats.schedulable_vm_slots],
                        [
                            free(|worker| worker.identity.cpu_cores, |worker| worker.usage.used_cpu_cores),
                            free(|worker| worker.identity.max_vms, |_| 0),
                        ]
                    );
                    let zones = |name: &str| {
                        stats.zones.iter().find(|zone| &*zone.name == name).map_or(0, |zone| zone.workers)
                    };
                    prop_assert_eq!([zones("a"), zones("b")], [in_zone("a"), in_zone("b")]);
                    prop_assert!(stats.zones.iter().all(|zone| zone.workers > 0));
                }
            }
        }
    }
}
