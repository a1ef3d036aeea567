//! Orders of VMs: by which key they are sorted, and the key of each VM.
//!
//! Which VMs there are to sort is for the filter to say ([`filter`](super::filter)); where a page begins and ends is in
//! [`resolvers::page`](crate::resolvers::page).

use std::fmt;
use std::str::FromStr;

use super::sort_key::SortKey;
use super::status::words;
use super::view::VmView;

words! {
    /// By what VMs can be sorted.
    #[derive(Default)]
    VmOrderField as "sort key of VMs" {
        /// Id.
        #[default]
        Id = "id",
        /// Name.
        Name = "name",
        /// Status, in the order in which a VM goes through them: created, starting, running, stopping, stopped, failed.
        Status = "status",
        /// The worker that reports it.
        WorkerId = "worker_id",
        /// Zone of that worker; those without one first.
        Zone = "zone",
        /// Virtual CPUs.
        Vcpus = "vcpus",
        /// Memory.
        Memory = "memory_mb",
        /// When the server first heard of it.
        CreatedAt = "created_at",
        /// When it began to run; those that have not first.
        StartedAt = "started_at",
        /// Since when it has its status.
        StatusSince = "status_since",
    }
}

/// An order of VMs. VMs with equal keys are sorted by id, so that every order is total and repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmOrder {
    /// By what.
    pub field: VmOrderField,
    /// Largest first.
    pub descending: bool,
}

impl VmOrderField {
    /// Whether keys of this order look like this one.
    pub fn has_key(self, key: &SortKey) -> bool {
        match self {
            Self::Id => matches!(key, SortKey::Id(_)),
            Self::Name => matches!(key, SortKey::VmName(_)),
            Self::Status => matches!(key, SortKey::VmStatus(_)),
            Self::WorkerId => matches!(key, SortKey::VmWorker(_)),
            Self::Zone => matches!(key, SortKey::VmZone(_)),
            Self::Vcpus => matches!(key, SortKey::VmCpus(_)),
            Self::Memory => matches!(key, SortKey::VmMemory(_)),
            Self::CreatedAt => matches!(key, SortKey::VmCreated(_)),
            Self::StartedAt => matches!(key, SortKey::VmStarted(_)),
            Self::StatusSince => matches!(key, SortKey::VmStatusSince(_)),
        }
    }

    /// The key of a VM in this order, and the revision at which it last changed, or a later one.
    pub fn key(self, vm: &VmView) -> (SortKey, u64) {
        let snapshot = &vm.view.snapshot;
        let VmView { vm, .. } = vm;
        // Which of several reports is shown may change without any of them changing.
        let revision = || snapshot.reports_revision(vm.id.as_str());
        match self {
            // An id never changes.
            Self::Id => (SortKey::Id(vm.id.shared()), 0),
            Self::Name => (SortKey::VmName(vm.name.clone()), revision()),
            Self::Status => (SortKey::of_status(vm.status), revision()),
            Self::WorkerId => (SortKey::VmWorker(vm.worker_id.shared()), revision()),
            Self::Zone => {
                let worker = snapshot.find_worker(vm.worker_id.as_str());
                let zone = worker.map(|worker| worker.identity.zone.clone()).unwrap_or_default();
                let registered = worker.map_or(0, |worker| worker.registration_revision);
                (SortKey::VmZone(zone), registered.max(revision()))
            }
            Self::Vcpus => (SortKey::VmCpus(vm.vcpus), revision()),
            Self::Memory => (SortKey::VmMemory(vm.memory_mb), revision()),
            Self::CreatedAt => (SortKey::VmCreated(vm.created_at.get()), revision()),
            Self::StartedAt => (SortKey::VmStarted(vm.started_at.map(|at| at.get())), revision()),
            Self::StatusSince => (SortKey::VmStatusSince(vm.status_since.get()), revision()),
        }
    }
}
