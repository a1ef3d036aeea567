//! Reservations: room that is held on workers for VMs that are not there yet.
//!
//! A reservation is made whole or not at all, and ends by itself: each of its slots is taken by a VM, released, or
//! expires. What is held on a worker is part of the [worker](super::Worker::reserved), as a sum that changes in the
//! same commits. How it looks at one moment is in [`reservation_view`](super::reservation_view); when a slot is taken
//! is decided in the [journal](crate::journal), with the heartbeat that brings the VM.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::TimeDelta;

use super::free_capacity::VmSize;
use super::id::{ReservationId, VmId, WorkerId};
use super::sorted_list::Keyed;
use super::status::words;
use crate::clock::Timestamp;

words! {
    /// What became of a reservation, and of each of its slots.
    ReservationState as "state of a reservation" {
        /// Room is held. Of a reservation: for at least one slot.
        Held = "held",
        /// VMs are there. Of a reservation: one in each slot that was not released before.
        Taken = "taken",
        /// The room was given back: by a request, or because the worker was removed.
        Released = "released",
        /// The time was over before a VM came. Of a reservation: for at least one slot.
        Expired = "expired",
    }
}

/// Room for VMs of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id. Ids of later reservations sort behind those of earlier ones.
    pub id: ReservationId,
    /// The size of each VM.
    pub size: VmSize,
    /// A slot for each VM.
    pub slots: Vec<ReservedSlot>,
    /// Why, in the words of whoever made it.
    pub reason: Option<Arc<str>>,
    /// The id of the token that it was made with.
    pub created_by: Option<Arc<str>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires, or would have.
    pub expires_at: Timestamp,
    /// What became of it, as far as that is committed.
    pub state: ReservationState,
    /// When its last slot was taken, or it was released, or its end was found out.
    pub ended_at: Option<Timestamp>,
    /// Revision of its last change.
    pub revision: u64,
}

/// The room for one VM, on one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedSlot {
    /// The worker.
    pub worker_id: WorkerId,
    /// The VM that it is held for, if it was named, or the one that has taken it.
    pub vm_id: Option<VmId>,
    /// What became of it, as far as that is committed.
    pub state: ReservationState,
}

impl Reservation {
    /// Whether room is held at a moment. It expires by the clock, whether that is announced or not.
    pub fn is_held_at(&self, now: Timestamp) -> bool {
        self.state == ReservationState::Held && now < self.expires_at
    }

    /// What has become of it at a moment.
    pub fn state_at(&self, now: Timestamp) -> ReservationState {
        at_moment(self.state, self.expires_at, now)
    }

    /// Its slots for which room is held, as far as is committed.
    pub fn held_slots(&self) -> impl Iterator<Item = &ReservedSlot> {
        self.slots.iter().filter(|slot| slot.state == ReservationState::Held)
    }

    /// The slot that is held for this VM, as far as is committed.
    pub fn held_slot_for(&self, vm: &VmId) -> Option<&ReservedSlot> {
        self.held_slots().find(|slot| slot.vm_id.as_ref() == Some(vm))
    }

    /// Whether a VM has one of its slots.
    pub fn has_vm(&self, id: &VmId) -> bool {
        self.slots.iter().any(|slot| slot.state == ReservationState::Taken && slot.vm_id.as_ref() == Some(id))
    }

    /// Ends what is held of it.
    #[must_use]
    pub fn ended(&self, end: ReservationState, at: Timestamp, revision: u64) -> Self {
        let mut ended = self.clone();
        for slot in ended.slots.iter_mut().filter(|slot| slot.state == ReservationState::Held) {
            slot.state = end;
        }
        Self { state: end, ended_at: Some(at), revision, ..ended }
    }

    /// Ends it if nothing is held any more, since its slots were taken or released one by one.
    #[must_use]
    pub fn settled(self, at: Timestamp, revision: u64) -> Self {
        if self.held_slots().next().is_some() {
            return Self { revision, ..self };
        }
        let is_taken = self.slots.iter().any(|slot| slot.state == ReservationState::Taken);
        let state = if is_taken { ReservationState::Taken } else { ReservationState::Released };
        Self { state, ended_at: Some(at), revision, ..self }
    }

    /// The same, made at a moment: for one that was made by a clock that was ahead, and would be held for longer than
    /// it was asked for.
    #[must_use]
    pub fn made_at(&self, at: Timestamp, revision: u64) -> Self {
        let lifetime: TimeDelta = self.expires_at - self.created_at;
        let expires_at = at.checked_add_signed(lifetime).unwrap_or(self.expires_at);
        Self { created_at: at, expires_at, revision, ..self.clone() }
    }
}

/// What has become of something that was committed in a state, and expires, at a moment.
pub(super) fn at_moment(state: ReservationState, expires_at: Timestamp, now: Timestamp) -> ReservationState {
    let is_over = state == ReservationState::Held && now >= expires_at;
    if is_over { ReservationState::Expired } else { state }
}

impl Keyed for ReservationId {
    fn key(&self) -> &str {
        self.as_str()
    }
}

impl Keyed for Reservation {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}
