//! The server records when tokens were last used: once in a while, since a request only notes it in memory.

use super::{Command, Lane};
use crate::auth::{LastUsed, Token};
use crate::clock::Timestamp;
use crate::cluster::Snapshot;
use crate::error::Result;
use crate::journal::batch::Batch;

/// Records uses of tokens. Those of tokens that are gone are left out, and so are those that another server has
/// recorded a later use of.
#[derive(Clone, Debug)]
pub struct RecordTokenUses {
    /// Tokens by their public ids, and when each was last used.
    pub uses: Vec<(String, Timestamp)>,
}

impl Command for RecordTokenUses {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        self.uses.len()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        for (id, at) in &self.uses {
            let Some(known) = batch.find_token(id).cloned() else { continue };
            if known.last_used.stored_at().is_none_or(|stored| stored < *at) {
                let last_used = LastUsed::stored(Some(*at));
                batch.put_token(Token { last_used, revision: batch.revision, ..Token::clone(&known) });
            }
        }
        Ok(())
    }
}
