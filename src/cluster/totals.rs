//! Sums over the workers of a snapshot, updated with each change, so that statistics cost the same however many workers
//! there are.
//!
//! Which workers are online depends on the moment of reading. Sums over online workers are therefore kept per second of
//! the last heartbeat: a reading adds up the seconds after its cutoff, at most as many as the time-out has. What is
//! shown of the sums is in `stats`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::status::SchedulingPolicy;
use super::worker::{LivenessCutoff, Worker};

/// Sums over all workers of a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Over all workers.
    pub(super) registered: RegisteredTotals,
    /// Over the workers that are not known to be offline, by the second of their last heartbeat.
    heard: Arc<BTreeMap<i64, OnlineTotals>>,
}

/// Sums over workers, whatever their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RegisteredTotals {
    pub(super) cpu_cores: u64,
    pub(super) memory_mb: u64,
    pub(super) used_cpu_cores: u64,
    pub(super) used_memory_mb: u64,
    pub(super) max_vms: u64,
}

/// Sums over workers that are online; the free resources are those of the active ones, which take new VMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnlineTotals {
    pub(super) active: u64,
    pub(super) draining: u64,
    pub(super) free_cpu_cores: u64,
    pub(super) free_memory_mb: u64,
    pub(super) free_vm_slots: u64,
}

impl Totals {
    /// Updates the sums for a worker that was added, changed or removed.
    pub(super) fn replace(&mut self, before: Option<&Worker>, worker: Option<&Worker>) {
        if let Some(before) = before {
            self.registered.subtract(&RegisteredTotals::of(before));
            self.change_heard(before, OnlineTotals::subtract);
        }
        if let Some(worker) = worker {
            self.registered.add(&RegisteredTotals::of(worker));
            self.change_heard(worker, OnlineTotals::add);
        }
    }

    /// Sums over the workers whose last heartbeat is not before the cutoff. None if there are last heartbeats within
    /// the second of the cutoff: then each worker has to be looked at.
    pub(super) fn online(&self, cutoff: LivenessCutoff) -> Option<OnlineTotals> {
        let since = cutoff.moment();
        if since.timestamp_subsec_nanos() > 0 && self.heard.contains_key(&since.timestamp()) {
            return None;
        }
        let mut online = OnlineTotals::default();
        self.heard.range(since.timestamp()..).for_each(|(_, heard)| online.add(heard));
        Some(online)
    }

    /// Whether no worker that is not known to be offline has its last heartbeat before the cutoff.
    pub(super) fn all_were_heard(&self, cutoff: LivenessCutoff) -> bool {
        let since = cutoff.moment();
        // Heartbeats within the second of the cutoff may be before or after it.
        let second = since.timestamp() + i64::from(since.timestamp_subsec_nanos() > 0);
        self.heard.range(..second).next().is_none()
    }

    fn change_heard(&mut self, worker: &Worker, change: impl FnOnce(&mut OnlineTotals, &OnlineTotals)) {
        if worker.is_known_to_be_offline() {
            return;
        }
        let mut heard = match Arc::make_mut(&mut self.heard).entry(worker.usage.last_seen.timestamp()) {
            Entry::Occupied(heard) => heard,
            Entry::Vacant(second) => second.insert_entry(OnlineTotals::default()),
        };
        change(heard.get_mut(), &OnlineTotals::of(worker));
        // Seconds without workers are removed, or the map would grow for ever.
        if *heard.get() == OnlineTotals::default() {
            heard.remove();
        }
    }
}

impl RegisteredTotals {
    fn of(worker: &Worker) -> Self {
        let (identity, usage) = (&worker.identity, &worker.usage);
        Self {
            cpu_cores: identity.cpu_cores.into(),
            memory_mb: identity.memory_mb.into(),
            used_cpu_cores: usage.used_cpu_cores.into(),
            used_memory_mb: usage.used_memory_mb.into(),
            max_vms: identity.max_vms.into(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.cpu_cores += other.cpu_cores;
        self.memory_mb += other.memory_mb;
        self.used_cpu_cores += other.used_cpu_cores;
        self.used_memory_mb += other.used_memory_mb;
        self.max_vms += other.max_vms;
    }

    fn subtract(&mut self, other: &Self) {
        self.cpu_cores -= other.cpu_cores;
        self.memory_mb -= other.memory_mb;
        self.used_cpu_cores -= other.used_cpu_cores;
        self.used_memory_mb -= other.used_memory_mb;
        self.max_vms -= other.max_vms;
    }
}

impl OnlineTotals {
    /// What one worker adds while it is online.
    pub(super) fn of(worker: &Worker) -> Self {
        match worker.policy {
            SchedulingPolicy::Active => {
                let free = worker.free();
                Self {
                    active: 1,
                    draining: 0,
                    free_cpu_cores: free.cpu_cores,
                    free_memory_mb: free.memory_mb,
                    free_vm_slots: free.vm_slots,
                }
            }
            SchedulingPolicy::Draining => Self { draining: 1, ..Self::default() },
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.active += other.active;
        self.draining += other.draining;
        self.free_cpu_cores += other.free_cpu_cores;
        self.free_memory_mb += other.free_memory_mb;
        self.free_vm_slots += other.free_vm_slots;
    }

    fn subtract(&mut self, other: &Self) {
        self.active -= other.active;
        self.draining -= other.draining;
        self.free_cpu_cores -= other.free_cpu_cores;
        self.free_memory_mb -= other.free_memory_mb;
        self.free_vm_slots -= other.free_vm_slots;
    }
}
