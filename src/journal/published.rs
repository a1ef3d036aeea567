//! States of the cluster as they were committed: the one that is read, and the one after a command.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::cluster::Snapshot;

/// A state of the cluster, as it was committed.
#[derive(Clone, Debug)]
pub struct Published {
    /// The cluster.
    pub snapshot: Arc<Snapshot>,
    /// When it became so.
    pub at: Timestamp,
}

/// A committed answer, with the state right after it.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// What the command answers.
    pub reply: T,
    /// The cluster right after the batch the command was in.
    pub snapshot: Arc<Snapshot>,
}
