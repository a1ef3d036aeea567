//! The server prunes tokens: it deletes those that ended long ago.
//!
//! How long they are kept is not decided here, but in [`retention`](crate::journal::retention). Tokens are revoked by
//! [`revoke_token`](super::revoke_token), and expire by themselves.

use super::{Command, Lane};
use crate::auth::TokenId;
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::journal::batch::Batch;

/// Removes tokens, as far as they have ended, no worker belongs to them, and one is left that is neither a session nor a
/// sign-in code: that there is one, even if it has ended, is why the server asks for tokens.
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
        let mut left = batch.lasting_token_count();
        for id in &self.candidates {
            let Some(known) = batch.find_token(id.as_str()) else { continue };
            if known.ended_at(batch.at, |id| batch.find_token(id)).is_none() {
                continue;
            }
            if known.kind.is_short_lived() {
                batch.prune_token(id);
            } else if left > 1 && batch.count_owned_by(id) == 0 {
                left -= 1;
                batch.prune_token(id);
            }
        }
        Ok(())
    }
}
