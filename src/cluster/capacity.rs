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
    /// The worker with the most room for them; none if they fit nowhere.
    pub largest_worker: Option<WorkerId>,
    /// How many would fit without it.
    pub vms_without_largest_worker: u64,
    /// The zone with the most room for them; none if they fit nowhere.
    pub largest_zone: Option<Arc<str>>,
    /// How many would fit without it.
    pub vms_without_largest_zone: u64,
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

impl Capacity {
    /// How many VMs of this size fit in what the view shows.
    pub fn of(view: &View, size: VmSize, constraints: &PlacementConstraints) -> Self {
        let placer = view.placer(constraints, (PlacementStrategy::default(), Distinct::None));
        let mut zones = BTreeMap::<&Arc<str>, ZoneCapacity>::new();
        let mut capacity = Self { revision: view.snapshot.revision, ..Self::default() };
        // Of several with as much room, the first by id.
        let mut largest: Option<(&WorkerId, u64)> = None;
        for bin in placer.bins().iter().filter(|bin| placer.refusals(bin, size).is_empty()) {
            let (name, vms) = (&bin.worker.identity.zone, bin.free.count(size));
            let empty = || ZoneCapacity { zone: name.clone(), workers: 0, vms: 0 };
            let zone = zones.entry(name).or_insert_with(empty);
            zone.workers += 1;
            zone.vms += vms;
            capacity.vms += vms;
            capacity.unsized_vms += bin.worker.usage.vms.count_unsized_slot_holders() as u64;
            if largest.is_none_or(|(_, most)| vms > most) {
                largest = Some((&bin.worker.id, vms));
            }
        }
        capacity.zones = zones.into_values().collect();
        if let Some((id, vms)) = largest {
            capacity.largest_worker = Some(id.clone());
            capacity.vms_without_largest_worker = capacity.vms - vms;
        }
        // Of several with as much room, the first by name.
        if let Some(largest) = capacity.zones.iter().rev().max_by_key(|zone| zone.vms) {
            capacity.largest_zone = Some(largest.zone.clone());
            capacity.vms_without_largest_zone = capacity.vms - largest.vms;
        }
        capacity
    }
}
