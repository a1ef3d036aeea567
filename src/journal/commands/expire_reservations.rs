//! The server announces that reservations have expired, and gives back what they held.
//!
//! Their time is over whether that is announced or not: placements and reservations that are decided before do not
//! count what they hold.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane};
use crate::cluster::{Actor, EventKind, Reservation, ReservationId, ReservationState, Snapshot};
use crate::error::Result;
use crate::journal::batch::{Batch, EventDetails};
use crate::journal::reserved_slots;

/// Announces reservations whose time looks over. Any server may ask for it. Whether it is over, and not announced yet,
/// is decided here, on the latest state: so each is announced once.
///
/// Those that look as if they were made in the future are counted from now on: the clock that they were made by was
/// ahead and has been set back since, and they would be held for longer than anybody has asked for.
#[derive(Clone, Debug)]
pub struct ExpireReservations {
    /// Reservations that looked so to the server that asks.
    pub candidates: Vec<ReservationId>,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

impl Command for ExpireReservations {
    /// Those that have expired.
    type Reply = Vec<ReservationId>;

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // Each reservation, its event, and what is given back.
        let slots = |id: &ReservationId| known.reservation(id.as_str()).map_or(0, |known| known.slots.len());
        let rows = |id| 2 + reserved_slots::ROWS_TO_GIVE_BACK * slots(id);
        self.candidates.iter().map(rows).sum()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let mut expired = Vec::new();
        for id in &self.candidates {
            let is_held = |known: &&Arc<Reservation>| known.state == ReservationState::Held;
            let Some(known) = batch.find_reservation(id.as_str()).filter(is_held).cloned() else { continue };
            if known.created_at > batch.at {
                batch.put_reservation(known.made_at(batch.at, batch.revision));
                continue;
            }
            if known.is_held_at(batch.at) {
                continue;
            }
            let message = format!("Reservation {id} was not taken in time");
            let details = EventDetails { reservation_id: Some(id.clone()), message, ..EventDetails::default() };
            let worker = reserved_slots::only_worker(&known);
            batch.record_event_of_reservation(Actor::Server, EventKind::ReservationExpired, worker, details);
            reserved_slots::end(batch, &known, ReservationState::Expired, self.offline_after);
            expired.push(id.clone());
        }
        Ok(expired)
    }
}
