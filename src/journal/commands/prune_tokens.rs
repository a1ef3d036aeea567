//! The server prunes tokens that come and go: it deletes sessions and sign-in codes that ended long ago.
//!
//! How long they are kept is not decided here, but in [`retention`](crate::journal::retention). Other tokens stay for ever:
//! that there is one, even if it has ended, is why the server asks for tokens.

use super::{Command, Lane};
use crate::auth::TokenId;
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::journal::batch::Batch;

/// Removes sessions and sign-in codes, as far as they have ended.
#[derive(Clone, Debug)]
pub struct PruneTokens {
    /// Their public ids.
    pub candidates: Vec<TokenId>,
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
        for id in &self.candidates {
            let Some(known) = batch.find_token(id.as_str()) else { continue };
            let has_ended = known.ended_at(batch.at, |id| batch.find_token(id)).is_some();
            if known.kind.is_short_lived() && has_ended {
                batch.prune_token(id);
            }
        }
        Ok(())
    }
}
