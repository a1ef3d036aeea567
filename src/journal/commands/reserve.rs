//! Somebody reserves room for VMs that are not there yet: on which workers, by the rules of
//! [`placement`](crate::cluster::Placer), on the latest state.
//!
//! All commands of a batch see what those before them have reserved, and batches of several servers wait for each other:
//! so no slot is given twice, whoever asks where. The input is checked in [`resolvers`](crate::resolvers).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::{Command, Lane, WORKERS_PER_ROW};
use crate::cluster::{
    Actor, Distinct, EventKind, LivenessCutoff, PlacementConstraints, PlacementStrategy, Placer, Reservation,
    ReservationId, ReservationState, ReservedSlot, Snapshot, VmId, VmSize,
};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, EventDetails};
use crate::journal::reserved_slots;

/// How many reservations hold room at most. Each takes some hundred bytes and a look at every worker, and none that is
/// not released or taken stays for longer than an hour: more than this are no plans of anybody.
pub const MAX_HELD_RESERVATIONS: usize = 10_000;

/// How many workers an event names.
const MAX_NAMED_WORKERS: usize = 3;

/// Reserves room for VMs of one size, for all of them or for none.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The id that the reservation gets.
    pub id: ReservationId,
    /// The size of each VM.
    pub size: VmSize,
    /// How many VMs.
    pub count: usize,
    /// Where they may be placed.
    pub constraints: PlacementConstraints,
    /// Which workers are preferred.
    pub strategy: PlacementStrategy,
    /// What no two of them may share.
    pub distinct: Distinct,
    /// The VMs, if they are named: as many as there are to be.
    pub vm_ids: Vec<VmId>,
    /// For how long room is held.
    pub lifetime: Duration,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

impl Command for Reserve {
    type Reply = Arc<Reservation>;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // The reservation, its event, and each worker; and what as many rows take as the look at all workers, so that a
        // batch of reservations does not keep those behind it waiting.
        2 + self.count + known.worker_count() / WORKERS_PER_ROW
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { id, size, count, constraints, strategy, distinct, vm_ids, lifetime, reason, offline_after } = self;
        if batch.held_reservation_count() >= MAX_HELD_RESERVATIONS {
            return Err(Error::TooManyReservations { max: MAX_HELD_RESERVATIONS });
        }
        for vm in vm_ids {
            let held = batch.reservation_for_vm(vm).filter(|reservation| reservation.is_held_at(batch.at));
            if let Some(reservation) = held {
                let (vm, reservation) = (vm.to_string(), reservation.id.to_string());
                return Err(Error::VmIsReservedFor { vm, reservation });
            }
        }
        // Where a VM is already, its arrival would not be noticed.
        let present: HashSet<_> = vm_ids.iter().flat_map(|vm| batch.workers_that_run(vm)).collect();
        let mut constraints = constraints.clone();
        constraints.without_workers.extend(present.into_iter().map(|worker| worker.to_string()));
        let cutoff = LivenessCutoff::of(batch.at, *offline_after);
        let reserved = batch.reserved_now();
        let preferred = (*strategy, *distinct);
        let mut placer = Placer::new(batch.workers(), cutoff, &constraints, preferred, &reserved);
        let places = placer.place(*size, *count);
        if places.len() < *count {
            return Err(Error::DoesNotFit { wanted: *count, placeable: places.len() });
        }
        let slots = places.into_iter().enumerate().map(|(at, worker)| ReservedSlot {
            worker_id: worker.id.clone(),
            vm_id: vm_ids.get(at).cloned(),
            state: ReservationState::Held,
        });
        let lifetime = TimeDelta::from_std(*lifetime).unwrap_or_default();
        let reservation = Reservation {
            id: id.clone(),
            size: *size,
            slots: slots.collect(),
            reason: reason.clone(),
            created_by: batch.caller().principal().token().map(|token| token.lasting_id().shared()),
            created_at: batch.at,
            expires_at: batch.at.checked_add_signed(lifetime).unwrap_or(batch.at),
            state: ReservationState::Held,
            ended_at: None,
            revision: batch.revision,
        };
        let message = message(&reservation);
        let details = EventDetails {
            reservation_id: Some(id.clone()),
            reason: reason.clone(),
            message,
            ..EventDetails::default()
        };
        let worker = reserved_slots::only_worker(&reservation);
        batch.record_event_of_reservation(Actor::Operator, EventKind::ReservationHeld, worker, details);
        Ok(reserved_slots::hold(batch, reservation))
    }
}

fn message(reservation: &Reservation) -> String {
    let Reservation { id, slots, .. } = reservation;
    let mut workers: Vec<_> = slots.iter().map(|slot| slot.worker_id.as_str()).collect();
    workers.sort_unstable();
    workers.dedup();
    let named = workers.get(..MAX_NAMED_WORKERS.min(workers.len())).unwrap_or_default().join(", ");
    let slots = match slots.len() {
        1 => "a slot".to_owned(),
        count => format!("{count} slots"),
    };
    match workers.len().saturating_sub(MAX_NAMED_WORKERS) {
        0 => format!("Reservation {id} holds {slots} on {named}"),
        others => format!("Reservation {id} holds {slots} on {named} and {others} other workers"),
    }
}
