//! The reservation sweeper: announces, in the change log, reservations that nobody has taken in time.
//!
//! A reservation holds nothing any more as soon as its time is over, and no sweep is needed for that; but what workers
//! show as reserved changes with the announcement, and the readers of the change log have to be told, once. Every server
//! on a database runs a sweeper, and the journal lets only the first announcement of a reservation through.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::commands::ExpireReservations;
use super::handle::Journal;
use crate::clock::Clock;
use crate::cluster::ReservationId;
use crate::error::Result;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// How many reservations one commit announces: with a thousand slots each, as many rows as a commit can take.
const RESERVATIONS_PER_COMMIT: usize = 20;

/// How many reservations are named in the log when many expire at once. All are in the change log.
const MAX_LOGGED_RESERVATIONS: usize = 20;

/// Announces the end of reservations.
#[derive(Debug)]
pub struct ReservationSweeper {
    journal: Journal,
    clock: Clock,
    /// For how long a worker may be silent.
    offline_after: Duration,
}

impl ReservationSweeper {
    /// A sweeper of what this journal keeps.
    pub fn new(journal: Journal, clock: Clock, offline_after: Duration) -> Self {
        Self { journal, clock, offline_after }
    }

    /// Sweeps every second, until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = self.sweep().await {
                warn!(error = %error.chain(), "the sweep of reservations failed, the next tick tries again");
            }
        }
    }

    /// Announces the reservations whose time is over by now. Answers which.
    pub async fn sweep(&self) -> Result<Vec<ReservationId>> {
        let (now, snapshot) = (self.clock.now(), self.journal.snapshot());
        // Those that were made in the future, too: see the command.
        let due = snapshot.held_reservations().filter(|known| known.expires_at <= now || known.created_at > now);
        let due: Vec<_> = due.map(|reservation| reservation.id.clone()).collect();
        let mut expired = Vec::new();
        for candidates in due.chunks(RESERVATIONS_PER_COMMIT) {
            let command = ExpireReservations { candidates: candidates.to_vec(), offline_after: self.offline_after };
            expired.extend(self.journal.commit(command).await?.reply);
        }
        for id in expired.iter().take(MAX_LOGGED_RESERVATIONS) {
            info!(reservation.id = %id, "Reservation {id} expired: no VM has taken it in time");
        }
        if let Some(others) = expired.len().checked_sub(MAX_LOGGED_RESERVATIONS).filter(|others| *others > 0) {
            info!(reservations.expired = expired.len(), "And {others} more reservations expired");
        }
        Ok(expired)
    }
}
