//! The server forgets workers that were purged long ago.

use super::{Command, Lane};
use crate::cluster::{Snapshot, WorkerId};
use crate::error::Result;
use crate::journal::draft::Draft;

/// Forgets what is left of workers that were purged, each of which is named with the revision of its purge: one that was
/// registered and purged again since is kept.
#[derive(Clone, Debug)]
pub struct ForgetPurged {
    /// Workers, and when they were purged.
    pub candidates: Vec<(WorkerId, u64)>,
}

impl Command for ForgetPurged {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        self.candidates.len()
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        for (id, revision) in &self.candidates {
            if let Some(tombstone) = draft.tombstone(id.as_str()).filter(|it| it.revision == *revision).cloned() {
                draft.forget(&tombstone);
            }
        }
        Ok(())
    }
}
