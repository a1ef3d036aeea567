//! Orders of workers: by which key they are sorted, and the key of each worker.
//!
//! Which workers there are to sort is for the filter to say ([`filter`](super::filter)); where a page begins and ends
//! is in [`resolvers::page`](crate::resolvers::page).

use std::fmt;
use std::str::FromStr;

use super::sort_key::SortKey;
use super::status::words;
use super::view::WorkerView;

words! {
    /// By what workers can be sorted.
    #[derive(Default)]
    WorkerOrderField as "sort key of workers" {
        /// Id.
        #[default]
        Id = "id",
        /// Hostname.
        Hostname = "hostname",
        /// Zone.
        Zone = "zone",
        /// Share of CPU cores in use.
        CpuUsage = "cpu_usage",
        /// Share of memory in use.
        MemoryUsage = "memory_usage",
        /// Number of VMs.
        VmCount = "vm_count",
        /// Time of the last heartbeat.
        LastSeen = "last_seen",
        /// CPU cores that are free.
        FreeCpuCores = "free_cpu_cores",
        /// Memory that is free.
        FreeMemory = "free_memory_mb",
        /// VM slots that are free.
        FreeVmSlots = "free_vm_slots",
    }
}

/// An order of workers. Workers with equal keys are sorted by id, so that every order is total and repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerOrder {
    /// By what.
    pub field: WorkerOrderField,
    /// Largest first.
    pub descending: bool,
}

impl WorkerOrderField {
    /// Whether keys of this order look like this one.
    pub fn has_key(self, key: &SortKey) -> bool {
        match self {
            Self::Id => matches!(key, SortKey::Id(_)),
            Self::Hostname => matches!(key, SortKey::Hostname(_)),
            Self::Zone => matches!(key, SortKey::Zone(_)),
            Self::CpuUsage => matches!(key, SortKey::Cpu(_)),
            Self::MemoryUsage => matches!(key, SortKey::Memory(_)),
            Self::VmCount => matches!(key, SortKey::Vms(_)),
            Self::LastSeen => matches!(key, SortKey::Seen(_)),
            Self::FreeCpuCores => matches!(key, SortKey::FreeCpu(_)),
            Self::FreeMemory => matches!(key, SortKey::FreeMemory(_)),
            Self::FreeVmSlots => matches!(key, SortKey::FreeSlots(_)),
        }
    }

    /// The key of a worker in this order, and the revision at which it last changed, or a later one.
    pub fn key(self, worker: &WorkerView) -> (SortKey, u64) {
        let kept = &worker.worker;
        let free = || kept.free();
        match self {
            // An id never changes.
            Self::Id => (SortKey::Id(kept.id.shared()), 0),
            Self::Hostname => (SortKey::Hostname(kept.identity.hostname.clone()), kept.registration_revision),
            Self::Zone => (SortKey::Zone(kept.identity.zone.clone()), kept.registration_revision),
            Self::CpuUsage => (SortKey::Cpu(worker.cpu_usage_percent()), kept.revision),
            Self::MemoryUsage => (SortKey::Memory(worker.memory_usage_percent()), kept.revision),
            Self::VmCount => (SortKey::Vms(worker.vm_count()), kept.usage.vms_revision),
            Self::LastSeen => (SortKey::Seen(kept.usage.last_seen), kept.revision),
            Self::FreeCpuCores => (SortKey::FreeCpu(free().cpu_cores), kept.revision),
            Self::FreeMemory => (SortKey::FreeMemory(free().memory_mb), kept.revision),
            Self::FreeVmSlots => (SortKey::FreeSlots(free().vm_slots), kept.revision),
        }
    }
}
