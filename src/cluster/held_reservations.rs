//! The reservations of a snapshot: all of them by id, and those that hold room by when they expire, by the VMs that they
//! are for, and by worker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::free_capacity::Reserved;
use super::id::{ReservationId, VmId, WorkerId};
use super::index::{Ids, Index};
use super::reservation::{Reservation, ReservationState};
use super::sorted_list::SortedList;
use super::worker::Worker;
use crate::clock::Timestamp;

/// All reservations that are kept, with the indexes of those that hold room.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    all: SortedList<Arc<Reservation>>,
    by_expiry: Arc<BTreeSet<(Timestamp, ReservationId)>>,
    /// By the VMs that slots are held for.
    by_vm: Arc<BTreeMap<VmId, ReservationId>>,
    by_worker: Index<ReservationId>,
    held_slots: usize,
    /// Of all reservations that are kept.
    slots: usize,
}

impl Reservations {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Reservation>> {
        self.all.get(id)
    }

    pub(super) fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Reservation>> {
        self.all.range(lower, upper)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn held_slots(&self) -> usize {
        self.held_slots
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.by_expiry.iter().filter_map(|(_, id)| self.get(id.as_str()))
    }

    pub(super) fn held_for(&self, vm: &str) -> Option<&ReservationId> {
        self.by_vm.get(vm)
    }

    pub(super) fn held_on(&self, worker: &str) -> impl Iterator<Item = &Arc<Reservation>> {
        let ids = self.by_worker.ids(worker).into_iter();
        let ids = ids.flat_map(|ids| ids.range(Bound::Unbounded, Bound::Unbounded));
        ids.filter_map(|id| self.get(id.as_str()))
    }

    pub(super) fn count_held(&self) -> usize {
        self.by_expiry.len()
    }

    pub(super) fn held_count_on(&self, worker: &str) -> usize {
        self.by_worker.ids(worker).map_or(0, Ids::count)
    }

    /// Those that hold room although their time is over: their end is not announced yet.
    pub(super) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Reservation>> {
        let overdue = self.by_expiry.iter().take_while(move |(expires_at, _)| *expires_at <= now);
        overdue.filter_map(|(_, id)| self.get(id.as_str()))
    }

    pub(super) fn insert(&mut self, reservation: Arc<Reservation>) {
        self.slots += reservation.slots.len();
        if let Some(before) = self.all.insert(reservation.clone()) {
            self.slots -= before.slots.len();
            self.unindex(&before);
        }
        self.index(&reservation);
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(before) = self.all.remove(id) {
            self.slots -= before.slots.len();
            self.unindex(&before);
        }
    }

    fn index(&mut self, reservation: &Reservation) {
        if reservation.state != ReservationState::Held {
            return;
        }
        let id = &reservation.id;
        Arc::make_mut(&mut self.by_expiry).insert((reservation.expires_at, id.clone()));
        for slot in reservation.held_slots() {
            self.held_slots += 1;
            self.by_worker.insert(&slot.worker_id.shared(), id.clone());
            if let Some(vm) = &slot.vm_id {
                Arc::make_mut(&mut self.by_vm).insert(vm.clone(), id.clone());
            }
        }
    }

    fn unindex(&mut self, reservation: &Reservation) {
        if reservation.state != ReservationState::Held {
            return;
        }
        Arc::make_mut(&mut self.by_expiry).remove(&(reservation.expires_at, reservation.id.clone()));
        for slot in reservation.held_slots() {
            self.held_slots -= 1;
            self.by_worker.remove(slot.worker_id.as_str(), reservation.id.as_str());
            // Once its time is over, another one may hold a slot for the VM before its end is announced.
            if let Some(vm) = slot.vm_id.as_ref().filter(|vm| self.by_vm.get(*vm) == Some(&reservation.id)) {
                Arc::make_mut(&mut self.by_vm).remove(vm);
            }
        }
    }
}

/// What is reserved on a worker at a moment: what is committed, less what has expired since.
#[derive(Debug, Default)]
pub struct ReservedAt {
    /// By worker; nearly always empty, since the end of a reservation is announced within a second.
    expired: HashMap<WorkerId, Reserved>,
}

impl ReservedAt {
    /// Counts these reservations, whose time is over, as if they held nothing.
    pub fn without<'a>(overdue: impl Iterator<Item = &'a Arc<Reservation>>) -> Self {
        let mut expired = HashMap::<WorkerId, Reserved>::new();
        for reservation in overdue {
            for slot in reservation.held_slots() {
                expired.entry(slot.worker_id.clone()).or_default().add(reservation.size);
            }
        }
        Self { expired }
    }

    /// What is reserved on this worker.
    pub fn on(&self, worker: &Worker) -> Reserved {
        match self.expired.get(&worker.id) {
            None => worker.reserved,
            Some(expired) => worker.reserved.less(expired),
        }
    }
}
