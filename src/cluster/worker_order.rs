//! Orders of workers: by which key they are sorted, and the key of each worker.
//!
//! Which workers there are to sort is for the filter to say ([`filter`](super::filter)); where a page begins and ends
//! is in [`resolvers::page`](crate::resolvers::page).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::status::words;
use super::view::WorkerView;
use crate::clock::Timestamp;

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

/// The key of a worker in an order, which a cursor of that order carries. Each order has a variant of its own, so that
/// a cursor of another order is noticed even if both keys are texts.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerSortKey {
    /// In the order by id, which VMs have too.
    Id(String),
    /// In the order by hostname.
    Hostname(String),
    /// In the order by zone.
    Zone(String),
    /// In the order by share of CPU cores.
    Cpu(f64),
    /// In the order by share of memory.
    Memory(f64),
    /// In the order by number of VMs.
    Vms(usize),
    /// In the order by last heartbeat.
    Seen(Timestamp),
    /// In the order by free CPU cores.
    FreeCpu(u64),
    /// In the order by free memory.
    FreeMemory(u64),
    /// In the order by free VM slots.
    FreeSlots(u64),
}

impl WorkerSortKey {
    /// The key of a worker.
    pub fn of(worker: &WorkerView, field: WorkerOrderField) -> Self {
        match field {
            WorkerOrderField::Id => Self::Id(worker.worker.id.as_str().to_owned()),
            WorkerOrderField::Hostname => Self::Hostname(worker.identity().hostname.as_ref().to_owned()),
            WorkerOrderField::Zone => Self::Zone(worker.identity().zone.as_ref().to_owned()),
            WorkerOrderField::CpuUsage => Self::Cpu(worker.cpu_usage_percent()),
            WorkerOrderField::MemoryUsage => Self::Memory(worker.memory_usage_percent()),
            WorkerOrderField::VmCount => Self::Vms(worker.vm_count()),
            WorkerOrderField::LastSeen => Self::Seen(worker.worker.usage.last_seen),
            WorkerOrderField::FreeCpuCores => Self::FreeCpu(worker.worker.free().cpu_cores),
            WorkerOrderField::FreeMemory => Self::FreeMemory(worker.worker.free().memory_mb),
            WorkerOrderField::FreeVmSlots => Self::FreeSlots(worker.worker.free().vm_slots),
        }
    }

    /// Compares two keys of one order; none if they are of different orders.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Id(one), Self::Id(other))
            | (Self::Hostname(one), Self::Hostname(other))
            | (Self::Zone(one), Self::Zone(other)) => Some(one.cmp(other)),
            (Self::Cpu(one), Self::Cpu(other)) | (Self::Memory(one), Self::Memory(other)) => Some(one.total_cmp(other)),
            (Self::Vms(one), Self::Vms(other)) => Some(one.cmp(other)),
            (Self::Seen(one), Self::Seen(other)) => Some(one.cmp(other)),
            (Self::FreeCpu(one), Self::FreeCpu(other))
            | (Self::FreeMemory(one), Self::FreeMemory(other))
            | (Self::FreeSlots(one), Self::FreeSlots(other)) => Some(one.cmp(other)),
            (
                Self::Id(_)
                | Self::Hostname(_)
                | Self::Zone(_)
                | Self::Cpu(_)
                | Self::Memory(_)
                | Self::Vms(_)
                | Self::Seen(_)
                | Self::FreeCpu(_)
                | Self::FreeMemory(_)
                | Self::FreeSlots(_),
                _,
            ) => None,
        }
    }
}
