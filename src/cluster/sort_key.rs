//! The key of an element of a sorted list, which cursors carry.
//!
//! By which keys a list can be sorted is in [`worker_order`](super::worker_order) and [`vm_order`](super::vm_order);
//! where a page begins and ends is in [`resolvers::page`](crate::resolvers::page).

use std::cmp::Ordering;
use std::sync::Arc;

use super::status::VmStatus;
use crate::clock::Timestamp;

/// The key of an element in an order of its list. Each order has a variant of its own, so that a cursor of another order
/// is noticed even if both keys are texts.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortKey {
    /// In the order by id, which all lists have.
    Id(Arc<str>),
    /// Workers by hostname.
    Hostname(Arc<str>),
    /// Workers by zone.
    Zone(Arc<str>),
    /// Workers by share of CPU cores.
    Cpu(f64),
    /// Workers by share of memory.
    Memory(f64),
    /// Workers by number of VMs.
    Vms(usize),
    /// Workers by last heartbeat.
    Seen(Timestamp),
    /// Workers by free CPU cores.
    FreeCpu(u64),
    /// Workers by free memory.
    FreeMemory(u64),
    /// Workers by free VM slots.
    FreeSlots(u64),
    /// VMs by name.
    VmName(Arc<str>),
    /// VMs by status: the position of the status in [`VmStatus::ALL`].
    VmStatus(usize),
    /// VMs by worker.
    VmWorker(Arc<str>),
    /// VMs by zone of their worker.
    VmZone(Arc<str>),
    /// VMs by virtual CPUs.
    VmCpus(u32),
    /// VMs by memory.
    VmMemory(u32),
    /// VMs by when the server first heard of them.
    VmCreated(Timestamp),
    /// VMs by when they began to run; those that have not are before all others.
    VmStarted(Option<Timestamp>),
    /// VMs by when they came into their status.
    VmStatusSince(Timestamp),
}

impl SortKey {
    /// The key of a VM's status, in the order in which a VM goes through them.
    pub(super) fn of_status(status: VmStatus) -> Self {
        Self::VmStatus(VmStatus::ALL.iter().position(|one| *one == status).unwrap_or(VmStatus::ALL.len()))
    }

    /// Compares two keys of one order; none if they are of different orders.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Id(one), Self::Id(other))
            | (Self::Hostname(one), Self::Hostname(other))
            | (Self::Zone(one), Self::Zone(other))
            | (Self::VmName(one), Self::VmName(other))
            | (Self::VmWorker(one), Self::VmWorker(other))
            | (Self::VmZone(one), Self::VmZone(other)) => Some(one.cmp(other)),
            (Self::Cpu(one), Self::Cpu(other)) | (Self::Memory(one), Self::Memory(other)) => Some(one.total_cmp(other)),
            (Self::Vms(one), Self::Vms(other)) | (Self::VmStatus(one), Self::VmStatus(other)) => Some(one.cmp(other)),
            (Self::Seen(one), Self::Seen(other))
            | (Self::VmCreated(one), Self::VmCreated(other))
            | (Self::VmStatusSince(one), Self::VmStatusSince(other)) => Some(one.cmp(other)),
            (Self::VmStarted(one), Self::VmStarted(other)) => Some(one.cmp(other)),
            (Self::FreeCpu(one), Self::FreeCpu(other))
            | (Self::FreeMemory(one), Self::FreeMemory(other))
            | (Self::FreeSlots(one), Self::FreeSlots(other)) => Some(one.cmp(other)),
            (Self::VmCpus(one), Self::VmCpus(other)) | (Self::VmMemory(one), Self::VmMemory(other)) => {
                Some(one.cmp(other))
            }
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
                | Self::FreeSlots(_)
                | Self::VmName(_)
                | Self::VmStatus(_)
                | Self::VmWorker(_)
                | Self::VmZone(_)
                | Self::VmCpus(_)
                | Self::VmMemory(_)
                | Self::VmCreated(_)
                | Self::VmStarted(_)
                | Self::VmStatusSince(_),
                _,
            ) => None,
        }
    }
}
