//! Committed states of the cluster: the one that is read now, and the one right after a command.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::cluster::Snapshot;

/// A state of the cluster, as it was committed.
#[derive(Clone, Debug)]
pub struct Published {
    /// The cluster.
    pub snapshot: Arc<Snapshot>,
    /// When it was committed.
    pub at: Timestamp,
}

/// The reply to a command that is committed, with the state right after it.
#[derive(Clone, Debug)]
pub struct Committed<T> {
    /// The reply.
    pub reply: T,
    /// The cluster right after the batch the command was in.
    pub snapshot: Arc<Snapshot>,
}
