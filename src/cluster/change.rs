//! What one commit, or one look at what others committed, changes in the live state.

use std::sync::Arc;

use super::event::Event;
use super::id::WorkerId;
use super::worker::{Tombstone, Worker};
use crate::clock::Timestamp;

/// New values to put into a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Workers that are new or different, whole, with their VMs.
    pub workers: Vec<Arc<Worker>>,
    /// Workers that are gone for good, with what is left of each.
    pub purged: Vec<(WorkerId, Arc<Tombstone>)>,
}

/// A step of the cluster from one revision to another, as the feed tells it.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it was committed.
    pub at: Timestamp,
    /// The revision it brought the cluster to.
    pub revision: u64,
    /// Workers that were heard from, or changed otherwise, in this step.
    pub workers: Vec<WorkerId>,
    /// What the change log says of it; none if another server wrote it and it has to be read there.
    pub events: Option<Vec<Arc<Event>>>,
    /// Whether the database was set back, from a backup perhaps: what was told before does not count.
    pub starts_over: bool,
}
