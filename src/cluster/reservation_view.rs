//! Reservations in answers: what has become of them by the moment of reading, and which of them are asked for.

use std::sync::Arc;

use super::reservation::{Reservation, ReservationState, ReservedSlot, at_moment};
use super::view::View;

/// A reservation in an answer.
#[derive(Clone, Debug)]
pub struct ReservationView {
    /// The reservation.
    pub reservation: Arc<Reservation>,
    /// The view it is read from.
    pub view: Arc<View>,
}

impl ReservationView {
    /// What has become of it by now.
    pub fn state(&self) -> ReservationState {
        self.reservation.state_at(self.view.now)
    }

    /// Its slots, as they are by now.
    pub fn slots(&self) -> Vec<ReservedSlot> {
        let slots = self.reservation.slots.iter().cloned();
        let expires_at = self.reservation.expires_at;
        slots.map(|slot| ReservedSlot { state: at_moment(slot.state, expires_at, self.view.now), ..slot }).collect()
    }
}

/// Which reservations match: fields are ANDed, entries of a list ORed. A list that is none matches every reservation;
/// an empty list matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationFilter {
    /// In one of these states.
    pub states: Option<Vec<ReservationState>>,
    /// With a slot on one of these workers.
    pub worker_ids: Option<Vec<String>>,
}

impl ReservationFilter {
    /// Whether the reservation matches.
    pub fn matches(&self, reservation: &ReservationView) -> bool {
        let Self { states, worker_ids } = self;
        states.as_ref().is_none_or(|wanted| wanted.contains(&reservation.state()))
            && worker_ids.as_ref().is_none_or(|wanted| {
                let slots = &reservation.reservation.slots;
                slots.iter().any(|slot| wanted.iter().any(|wanted| wanted == slot.worker_id.as_str()))
            })
    }

    /// With how many entries each reservation is compared.
    pub fn entries(&self) -> usize {
        self.states.as_ref().map_or(0, Vec::len) + self.worker_ids.as_ref().map_or(0, Vec::len)
    }
}
