//! What one commit, or one look at what others committed, changes in the live state.

use std::sync::Arc;

use chrono::TimeDelta;

use super::event::{Cursor, Event};
use super::id::WorkerId;
use super::worker::{Tombstone, Worker};
use crate::clock::Timestamp;

/// New values to put into a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Workers that are new or different, whole, with their VMs.
    pub workers: Vec<Arc<Worker>>,
    /// Tombstones of workers that are gone for good.
    pub purged: Vec<Arc<Tombstone>>,
    /// Workers that are gone for good, and of which not even a tombstone is left.
    pub gone: Vec<WorkerId>,
    /// Workers whose tombstones are gone; one of the same id may be there again.
    pub forgotten: Vec<WorkerId>,
}

/// A step of the cluster from one revision to another, as the feed tells it.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it was committed.
    pub at: Timestamp,
    /// The revision that it brought the cluster from.
    pub after: u64,
    /// The revision it brought the cluster to.
    pub revision: u64,
    /// The epoch of that revision.
    pub epoch: Arc<str>,
    /// Workers that were heard from, or changed otherwise, in this step.
    pub workers: Vec<WorkerId>,
    /// How many workers were removed.
    pub removed: usize,
    /// The longest silence that ended with it: how long one of the workers had not been heard.
    pub ended_silence: TimeDelta,
    /// What the change log says of it; none if another server wrote it and it has to be read there.
    pub events: Option<Vec<Arc<Event>>>,
    /// Whether the database was set back, from a backup perhaps: what was told before does not count.
    pub starts_over: bool,
}

impl Change {
    /// The place in the change log after it.
    pub fn cursor(&self) -> Cursor {
        Cursor::after_revision(self.epoch.clone(), self.revision)
    }
}
