//! The server prunes tokens: it removes those that ended long ago.
//!
//! How long they are kept is not decided here, but in [`retention`](crate::journal::retention). Tokens are revoked by
//! [`revoke_token`](super::revoke_token), and expire by themselves.

use super::{Command, Lane};
use crate::auth::TokenId;
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::journal::batch::Batch;

/// Removes tokens, as far as no worker belongs to them, and one is left. Each is named with the revision of its last
/// change: one that has changed since is kept.
#[derive(Clone, Debug)]
pub struct PruneTokens {
    /// Tokens that ended, and the revisions of their last changes.
    pub candidates: Vec<(TokenId, u64)>,
}

impl Command for PruneTokens {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        self.candidates.len()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        for (id, revision) in &self.candidates {
            if batch.find_token(id.as_str()).is_some_and(|token| token.revision == *revision) {
                batch.remove_token(id);
            }
        }
        Ok(())
    }
}
