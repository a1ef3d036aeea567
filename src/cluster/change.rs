//! The difference between two snapshots: what one commit changes, or several commits of another server.
//!
//! [`Changes`] has the new values, by which the next snapshot is made; [`Change`] is what readers of the feed are told.
//! How either is committed or sent is not known here.

use std::sync::Arc;

use chrono::TimeDelta;

use super::event::{Cursor, Event};
use super::id::{ReservationId, WorkerId};
use super::reservation::Reservation;
use super::worker::{Tombstone, Worker};
use crate::auth::{Token, TokenId};
use crate::clock::Timestamp;

/// The new values of a snapshot; see [`Snapshot::apply`](super::Snapshot::apply).
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Workers that are new or changed, complete with their VMs.
    pub workers: Vec<Arc<Worker>>,
    /// Tombstones of workers that were purged.
    pub purged: Vec<Arc<Tombstone>>,
    /// Workers that were purged so long ago that their tombstones have been removed, too.
    pub gone: Vec<WorkerId>,
    /// Workers whose tombstones were removed; a worker with the same id may be registered again.
    pub forgotten: Vec<WorkerId>,
    /// Tokens that were created or revoked, or of which a use was recorded.
    pub tokens: Vec<Arc<Token>>,
    /// Tokens that ended long ago and were removed.
    pub forgotten_tokens: Vec<TokenId>,
    /// Reservations that are new or changed.
    pub reservations: Vec<Arc<Reservation>>,
    /// Reservations that ended long ago and were removed.
    pub forgotten_reservations: Vec<ReservationId>,
}

/// A step of the cluster from one revision to a later one, as the feed tells it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The time of the commit.
    pub at: Timestamp,
    /// The revision before the step.
    pub after: u64,
    /// The revision after the step.
    pub revision: u64,
    /// The epoch of that revision.
    pub epoch: Arc<str>,
    /// Workers that sent a heartbeat, or changed otherwise.
    pub workers: Vec<WorkerId>,
    /// How many workers were removed.
    pub removed: usize,
    /// The longest time since the heartbeat before, among the workers that sent one.
    pub ended_silence: TimeDelta,
    /// The entries of the change log; none if another server committed them: then they have to be read from the log.
    pub events: Option<Vec<Arc<Event>>>,
    /// Whether the database was set back, as by a restore from a backup: what was told before may not be in it.
    pub starts_over: bool,
}

impl Change {
    /// The cursor after its last entry.
    pub fn cursor(&self) -> Cursor {
        Cursor::after_revision(self.epoch.clone(), self.revision)
    }
}
