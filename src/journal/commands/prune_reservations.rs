//! The server prunes reservations: it deletes those that ended long ago.
//!
//! How long and how many are kept is not decided here, but in [`retention`](crate::journal::retention).

use super::{Command, Lane};
use crate::cluster::{ReservationId, ReservationState, Snapshot};
use crate::error::Result;
use crate::journal::batch::Batch;

/// Removes reservations, as far as they have ended.
#[derive(Clone, Debug)]
pub struct PruneReservations {
    /// Their ids.
    pub candidates: Vec<ReservationId>,
}

impl Command for PruneReservations {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        self.candidates.len()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        for id in &self.candidates {
            let known = batch.find_reservation(id.as_str());
            if known.is_some_and(|known| known.state != ReservationState::Held) {
                batch.prune_reservation(id);
            }
        }
        Ok(())
    }
}
