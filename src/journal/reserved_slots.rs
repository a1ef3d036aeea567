//! Slots of reservations, and what is held for them on workers: both change together, in the same batch.
//!
//! A slot is taken in the commit of the heartbeat that brings its VM, so that there is no moment in which the room
//! counts twice, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, ColumnGroup, EventDetails};
use crate::cluster::{
    Actor, EventKind, LivenessCutoff, Reservation, ReservationState, ReservedSlot, Snapshot, VmId, VmSize, Worker,
    WorkerId,
};

/// How many rows a slot that is given back may write of its worker: the worker, and its drain with an event if that is
/// complete now.
pub const ROWS_TO_GIVE_BACK: usize = 3;

/// How many rows a heartbeat may write at most beside its own, because VMs of it take slots: for each, the reservation,
/// its event, and those of the worker on which the slot was held if that is another one.
pub fn rows_to_take(known: &Snapshot, reported: usize) -> usize {
    (2 + ROWS_TO_GIVE_BACK) * reported.min(known.held_slot_count())
}

/// Holds the slots of a new reservation on their workers.
pub fn hold(batch: &mut Batch<'_>, reservation: Reservation) -> Arc<Reservation> {
    let mut of_workers = BTreeMap::<WorkerId, usize>::new();
    for slot in reservation.held_slots() {
        *of_workers.entry(slot.worker_id.clone()).or_default() += 1;
    }
    for (id, count) in of_workers {
        change_worker(batch, &id, None, |worker| (0..count).for_each(|_| worker.reserved.add(reservation.size)));
    }
    batch.put_reservation(reservation)
}

/// Ends what is held of a reservation. A worker that has been silent for longer than `offline_after` completes no drain
/// by that.
pub fn end(
    batch: &mut Batch<'_>,
    reservation: &Reservation,
    state: ReservationState,
    offline_after: Duration,
) -> Arc<Reservation> {
    let mut of_workers = BTreeMap::<WorkerId, usize>::new();
    for slot in reservation.held_slots() {
        *of_workers.entry(slot.worker_id.clone()).or_default() += 1;
    }
    for (id, count) in of_workers {
        give_back(batch, &id, reservation.size, count, offline_after);
    }
    batch.put_reservation(reservation.ended(state, batch.at, batch.revision))
}

/// The only worker of a reservation's slots, for events; none if there are several.
pub fn only_worker(reservation: &Reservation) -> Option<WorkerId> {
    let first = &reservation.slots.first()?.worker_id;
    let is_only = reservation.slots.iter().all(|slot| slot.worker_id == *first);
    is_only.then(|| first.clone())
}

/// Lets VMs that a worker begins to hold take their slots. What was held on the worker itself is changed in `worker`,
/// for the caller to put. Answers whether that is so.
pub fn take(before: &Worker, worker: &mut Worker, offline_after: Duration, batch: &mut Batch<'_>) -> bool {
    if before.usage.vms.is_same(&worker.usage.vms) || !batch.may_hold_slots() {
        return false;
    }
    let vms = worker.usage.vms.clone();
    let reserved_before = worker.reserved;
    for vm in vms.iter().filter(|vm| vm.status.holds_slot()) {
        let known = before.vm(vm.id.as_str());
        if known.is_some_and(|known| Arc::ptr_eq(known, vm)) {
            continue;
        }
        // A VM that was there already came without a reservation that is for it, unless its report says so only now.
        let is_new = known.is_none_or(|known| !known.status.holds_slot());
        let says_so = vm.reservation_id().and_then(|id| batch.find_reservation(id)).cloned();
        let named = || batch.reservation_for_vm(&vm.id).filter(|_| is_new).cloned();
        let Some(reservation) = says_so.or_else(named) else { continue };
        if let Some(place) = slot_for(&reservation, &vm.id, worker, vm.reservation_id().is_some(), batch) {
            take_slot(&reservation, place, &vm.id, worker, offline_after, batch);
        }
    }
    worker.reserved != reserved_before
}

/// Which slot of a reservation a VM takes on a worker; none if it takes none. A VM whose report names the reservation
/// takes a slot also if it has come to another worker: then the slot will not be needed any more.
fn slot_for(reservation: &Reservation, vm: &VmId, worker: &Worker, names_it: bool, batch: &Batch<'_>) -> Option<usize> {
    if !reservation.is_held_at(batch.at) || reservation.has_vm(vm) {
        return None;
    }
    let is_here = |slot: &ReservedSlot| slot.worker_id == worker.id;
    let is_for_it = |slot: &ReservedSlot| slot.vm_id.as_ref() == Some(vm);
    let is_for_any = |slot: &ReservedSlot| slot.vm_id.is_none();
    let find = |fits: &dyn Fn(&ReservedSlot) -> bool| {
        reservation.slots.iter().position(|slot| slot.state == ReservationState::Held && fits(slot))
    };
    let here = find(&|slot| is_here(slot) && is_for_it(slot));
    if !names_it {
        return here;
    }
    here.or_else(|| find(&is_for_it))
        .or_else(|| find(&|slot| is_here(slot) && is_for_any(slot)))
        .or_else(|| find(&is_for_any))
}

fn take_slot(
    reservation: &Reservation,
    place: usize,
    vm: &VmId,
    worker: &mut Worker,
    offline_after: Duration,
    batch: &mut Batch<'_>,
) {
    let mut taken = reservation.clone();
    let Some(slot) = taken.slots.get_mut(place) else { return };
    slot.state = ReservationState::Taken;
    slot.vm_id = Some(vm.clone());
    let held_on = slot.worker_id.clone();
    let id = &reservation.id;
    let message = if held_on == worker.id {
        format!("VM {vm} took a slot of reservation {id} on worker {held_on}")
    } else {
        format!("VM {vm} came to worker {} and took a slot of reservation {id} on worker {held_on}", worker.id)
    };
    let details =
        EventDetails { vm_id: Some(vm.clone()), reservation_id: Some(id.clone()), message, ..EventDetails::default() };
    batch.record_event(Actor::Worker, EventKind::ReservationTaken, &worker.id, details);
    if held_on == worker.id {
        worker.reserved.subtract(reservation.size);
    } else {
        give_back(batch, &held_on, reservation.size, 1, offline_after);
    }
    batch.put_reservation(taken.settled(batch.at, batch.revision));
}

/// Releases what is held on a worker that is removed. The other slots of its reservations stay.
pub fn release_on_removed(removed: &Worker, actor: Actor, batch: &mut Batch<'_>) {
    for reservation in batch.reservations_on(&removed.id) {
        let mut left = Reservation::clone(&reservation);
        for slot in left.slots.iter_mut().filter(|slot| slot.worker_id == removed.id) {
            if slot.state == ReservationState::Held {
                slot.state = ReservationState::Released;
            }
        }
        let message = format!("Reservation {} lost what it held on worker {}, which was removed", left.id, removed.id);
        let details = EventDetails {
            reservation_id: Some(left.id.clone()),
            reason: Some("worker removed".into()),
            message,
            ..EventDetails::default()
        };
        batch.record_event(actor, EventKind::ReservationReleased, &removed.id, details);
        batch.put_reservation(left.settled(batch.at, batch.revision));
    }
}

fn give_back(batch: &mut Batch<'_>, worker: &WorkerId, size: VmSize, count: usize, offline_after: Duration) {
    let cutoff = LivenessCutoff::of(batch.at, offline_after);
    change_worker(batch, worker, Some(cutoff), |worker| (0..count).for_each(|_| worker.reserved.subtract(size)));
}

/// Changes what is held on a worker. With a cutoff, that may complete its drain.
fn change_worker(
    batch: &mut Batch<'_>,
    id: &WorkerId,
    cutoff: Option<LivenessCutoff>,
    change: impl FnOnce(&mut Worker),
) {
    // One that was removed holds nothing.
    let Some(known) = batch.find_worker(id.as_str()) else { return };
    let mut worker = Worker::clone(known);
    change(&mut worker);
    worker.revision = batch.revision;
    let mut column_groups = vec![ColumnGroup::Reserved];
    if cutoff.is_some_and(|cutoff| batch.complete_drain(&mut worker, cutoff)) {
        column_groups.push(ColumnGroup::Drain);
    }
    batch.put_worker(worker, &column_groups);
}
