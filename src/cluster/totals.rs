//! Sums over the workers of a snapshot. Each change brings them up to date, so that statistics cost the same however many
//! workers there are.
//!
//! Which workers are online depends on the moment of reading. So what depends on that is summed up by the second of the last
//! heartbeat: a reading adds up the seconds from which on a worker counts as heard, at most as many as the time-out has.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::status::SchedulingPolicy;
use super::worker::{LivenessCutoff, Worker};

/// Sums over all workers of a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Of all workers.
    pub(super) registered: RegisteredTotals,
    /// Of those that are online unless they have been silent for too long, by the second of their last heartbeat.
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

/// Sums over workers that are online. What is free is free on the active ones, which take new work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OnlineTotals {
    pub(super) active: u64,
    pub(super) draining: u64,
    pub(super) free_cpu_cores: u64,
    pub(super) free_memory_mb: u64,
    pub(super) free_vm_slots: u64,
}

impl Totals {
    /// Puts a worker in the place of what it was before, if it was there; takes it out if nothing is left of it.
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

    /// Sums over the workers that are online if all that were heard since a moment are. None if some were last heard within
    /// the second of that moment, since then each has to be looked at.
    pub(super) fn online(&self, since: LivenessCutoff) -> Option<OnlineTotals> {
        let since = since.moment();
        if since.timestamp_subsec_nanos() > 0 && self.heard.contains_key(&since.timestamp()) {
            return None;
        }
        let mut online = OnlineTotals::default();
        self.heard.range(since.timestamp()..).for_each(|(_, heard)| online.add(heard));
        Some(online)
    }

    /// Whether nobody is silent for too long at that moment who is not known to be offline.
    pub(super) fn all_were_heard(&self, since: LivenessCutoff) -> bool {
        let since = since.moment();
        // Within the second of that moment, it is not known of anybody.
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
        // A second of which nobody is left would stay for ever.
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
    /// What a worker adds while it is online.
    pub(super) fn of(worker: &Worker) -> Self {
        let (identity, usage) = (&worker.identity, &worker.usage);
        match worker.policy {
            SchedulingPolicy::Active => Self {
                active: 1,
                draining: 0,
                free_cpu_cores: identity.cpu_cores.saturating_sub(usage.used_cpu_cores).into(),
                free_memory_mb: identity.memory_mb.saturating_sub(usage.used_memory_mb).into(),
                free_vm_slots: u64::from(identity.max_vms).saturating_sub(usage.vms.count_slot_holders() as u64),
            },
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
