//! The server prunes tombstones: it deletes those of workers that were purged long ago.
//!
//! How long and how many tombstones are kept is not decided here, but in [`retention`](crate::journal::retention), as
//! it is for events and idempotency records, which are pruned without a command.

use super::{Command, Lane};
use crate::cluster::{Snapshot, WorkerId};
use crate::error::Result;
use crate::journal::batch::Batch;

/// Removes tombstones. Each is named with the revision of its purge: the tombstone of a worker that was registered and
/// purged again since is kept.
#[derive(Clone, Debug)]
pub struct PruneTombstones {
    /// Workers, and the revisions at which they were purged.
    pub candidates: Vec<(WorkerId, u64)>,
}

impl Command for PruneTombstones {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        self.candidates.len()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        for (id, revision) in &self.candidates {
            if let Some(tombstone) = batch.tombstone(id.as_str()).filter(|it| it.revision == *revision).cloned() {
                batch.prune_tombstone(&tombstone);
            }
        }
        Ok(())
    }
}
