//! Somebody gives back what a reservation holds, because it is not needed any more.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane};
use crate::cluster::{Actor, EventKind, Reservation, ReservationState, Snapshot};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, EventDetails};
use crate::journal::reserved_slots;

/// Releases what a reservation still holds. Slots that VMs have taken stay theirs.
#[derive(Clone, Debug)]
pub struct ReleaseReservation {
    /// The reservation.
    pub id: String,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

/// Nothing is held any more.
#[derive(Clone, Debug)]
pub struct ReservationReleased {
    /// The reservation.
    pub reservation: Arc<Reservation>,
    /// Whether it held something before.
    pub changed: bool,
}

impl Command for ReleaseReservation {
    type Reply = ReservationReleased;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // The reservation, its event, and what is given back.
        let slots = known.reservation(&self.id).map_or(0, |reservation| reservation.slots.len());
        2 + reserved_slots::ROWS_TO_GIVE_BACK * slots
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { id, reason, offline_after } = self;
        let known = batch.find_reservation(id).ok_or_else(|| Error::ReservationNotFound(id.clone()))?.clone();
        match known.state {
            ReservationState::Held => {}
            // What was asked for is so.
            ReservationState::Released | ReservationState::Expired => {
                return Ok(ReservationReleased { reservation: known, changed: false });
            }
            ReservationState::Taken => return Err(Error::ReservationTaken(id.clone())),
        }
        // Its time may be over although nobody has said so yet.
        let is_expired = !known.is_held_at(batch.at);
        let (actor, kind, state) = if is_expired {
            (Actor::Server, EventKind::ReservationExpired, ReservationState::Expired)
        } else {
            (Actor::Operator, EventKind::ReservationReleased, ReservationState::Released)
        };
        let message = format!("Reservation {id} was {}", if is_expired { "not taken in time" } else { "released" });
        let reason = reason.clone().filter(|_| !is_expired);
        let reservation_id = Some(known.id.clone());
        let details = EventDetails { reservation_id, reason, message, ..EventDetails::default() };
        batch.record_event_of_reservation(actor, kind, reserved_slots::only_worker(&known), details);
        let reservation = reserved_slots::end(batch, &known, state, *offline_after);
        Ok(ReservationReleased { reservation, changed: !is_expired })
    }
}
