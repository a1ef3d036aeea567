//! Joining: a worker is let in by a join token, and has a token of its own from then on. Join tokens are created, listed
//! and revoked as all [`tokens`](super::tokens) are.
//!
//! The text of the worker's own token never gets here: the worker made it, and sends its hash. So neither an answer that
//! is lost nor one that somebody else reads gives it away.

use std::sync::Arc;

use serde::Deserialize;
use tracing::info;

use super::Resolvers;
use crate::auth::{Action, Caller, Token, TokenHash, TokenId};
use crate::cluster::WorkerId;
use crate::error::{Error, Result};
use crate::journal::Committed;
use crate::journal::commands::Join;

/// What a worker joins with, as either protocol reads it. Neither value is repeated in an error: somebody may have sent
/// the token itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a JSON object with `token_id` and `token_sha256`")]
pub struct JoinInput {
    /// The public id of the token that the worker made for itself.
    pub token_id: String,
    /// The SHA-256 of its text, in hexadecimal digits.
    pub token_sha256: String,
}

impl JoinInput {
    fn check(self, id: &str) -> Result<Join> {
        let Self { token_id, token_sha256 } = self;
        let worker_id = WorkerId::parse(id).map_err(|problem| Error::invalid("worker_id", problem.to_string()))?;
        let is_no_id =
            || Error::invalid("token_id", "must be 12 letters and digits, those after the first _ of the token");
        let is_no_hash = || Error::invalid("token_sha256", "must be 64 hexadecimal digits");
        Ok(Join {
            worker_id,
            token_id: TokenId::parse(&token_id).ok_or_else(is_no_id)?,
            token_hash: TokenHash::from_hex(&token_sha256).ok_or_else(is_no_hash)?,
        })
    }
}

/// A worker that has joined.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its id.
    pub worker_id: WorkerId,
    /// Its own token.
    pub token: Arc<Token>,
}

impl Resolvers {
    /// Lets a worker join with the join token of the caller. The same again is the same answer, at no further use.
    pub async fn join_worker(&self, caller: &Caller, id: &str, input: JoinInput) -> Result<Joined> {
        let permit = self.authorize(caller, Action::Join)?;
        let command = input.check(id)?;
        let worker_id = command.worker_id.clone();
        let Committed { reply: token, .. } = self.journal.with(permit).commit_for(command, caller).await?;
        info!(worker.id = %id, token.id = %token.id, "Worker {id} joined, its token is {}", token.id);
        Ok(Joined { worker_id, token })
    }
}
