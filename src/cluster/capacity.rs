//! How many VMs of a size fit in the cluster, and how many still would without the worker, or the zone, that has most of
//! that room.
//!
//! A worker counts if [`placement`](super::placement) would place such a VM on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::free_capacity::VmSize;
use super::id::WorkerId;
use super::placement::{Distinct, PlacementConstraints, PlacementStrategy};
use super::view::View;

/// How many VMs of one size fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// How many.
    pub vms: u64,
    /// How many in each zone in which some fit, by name; under the empty text, on workers without a zone.
    pub zones: Vec<ZoneCapacity>,
    /// How many if the worker with the most room for them is lost; none if they fit nowhere.
    pub without_largest_worker: Option<CapacityWithoutWorker>,
    /// How many if the zone with the most room for them is lost; none if they fit nowhere.
    pub without_largest_zone: Option<CapacityWithoutZone>,
    /// VMs on the counted workers whose CPUs or memory are not known: there may be less room than it seems.
    pub unsized_vms: u64,
    /// Revision that all of this was read at.
    pub revision: u64,
}

/// How many VMs fit in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCapacity {
    /// Its name.
    pub zone: Arc<str>,
    /// On how many workers some fit.
    pub workers: u64,
    /// How many fit.
    pub vms: u64,
}

/// How many VMs fit without one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityWithoutWorker {
    /// The worker.
    pub worker_id: WorkerId,
    /// How many fit on the others.
    pub vms: u64,
}

/// How many VMs fit without one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityWithoutZone {
    /// The zone.
    pub zone: Arc<str>,
    /// How many fit in the others.
    pub vms: u64,
}

impl Capacity {
    /// How many VMs of this size fit in what the view shows.
    pub fn of(view: &View, size: VmSize, constraints: &PlacementConstraints) -> Self {
        let placer = view.placer(constraints, (PlacementStrategy::default(), Distinct::None));
        let mut zones = BTreeMap::<&Arc<str>, ZoneCapacity>::new();
        let mut capacity = Self { revision: view.snapshot.revision, ..Self::default() };
        // Of several with as much room, the first by id.
        let mut largest: Option<(&WorkerId, u64)> = None;
        for seat in placer.seats().iter().filter(|seat| placer.refusals(seat, size).is_empty()) {
            let (name, vms) = (&seat.worker.identity.zone, seat.free.count(size));
            let empty = || ZoneCapacity { zone: name.clone(), workers: 0, vms: 0 };
            let zone = zones.entry(name).or_insert_with(empty);
            zone.workers += 1;
            zone.vms += vms;
            capacity.vms += vms;
            capacity.unsized_vms += seat.worker.usage.vms.count_unsized_slot_holders() as u64;
            if largest.is_none_or(|(_, most)| vms > most) {
                largest = Some((&seat.worker.id, vms));
            }
        }
        capacity.zones = zones.into_values().collect();
        let all = capacity.vms;
        capacity.without_largest_worker =
            largest.map(|(id, vms)| CapacityWithoutWorker { worker_id: id.clone(), vms: all - vms });
        // The last of several with the most is the first of the reversed.
        let largest = capacity.zones.iter().rev().max_by_key(|zone| zone.vms);
        capacity.without_largest_zone =
            largest.map(|zone| CapacityWithoutZone { zone: zone.zone.clone(), vms: all - zone.vms });
        capacity
    }
}
