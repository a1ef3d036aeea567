//! A worker joins: a join token lets it in, and it has a token of its own from then on. Its text is made by the worker and
//! never gets here: the command has only its hash.
//!
//! What the worker is, it says when it [registers](super::register) with its own token.

use std::sync::Arc;

use super::register::WIDE_ROW;
use super::{Command, Lane};
use crate::auth::{
    Denied, Joins, LastUsed, NoCredential, Role, SpentPoints, Token, TokenHash, TokenId, TokenKind, TokenScope,
    TokenState,
};
use crate::cluster::{Actor, EventKind, Snapshot, Worker, WorkerId};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, ColumnGroup};

/// Lets a worker join with the join token of the caller.
#[derive(Clone, Debug)]
pub struct Join {
    /// The worker.
    pub worker_id: WorkerId,
    /// The public id of its own token.
    pub token_id: TokenId,
    /// The hash of its own token.
    pub token_hash: TokenHash,
}

impl Join {
    /// The token that an earlier request like this one has made, if there was one. It is answered again, whatever became
    /// of the join token's uses since: the first answer may have been lost.
    fn find_joined(&self, batch: &Batch<'_>, join: &Token) -> Result<Option<Arc<Token>>> {
        let Some(known) = batch.find_token(self.token_id.as_str()) else { return Ok(None) };
        let is_same = known.role == Role::Worker
            && known.worker_id() == Some(self.worker_id.as_str())
            && known.created_by.as_ref() == Some(&join.id)
            && known.hash.is_same(&self.token_hash);
        match known.state(batch.at, |id| batch.find_token(id)) {
            TokenState::Live if is_same => Ok(Some(known.clone())),
            TokenState::Expired | TokenState::Revoked if is_same => {
                Err(Error::JoinedTokenEnded(self.worker_id.to_string()))
            }
            TokenState::Live | TokenState::Expired | TokenState::Revoked => {
                Err(Error::TokenExists(self.token_id.to_string()))
            }
        }
    }
}

impl Command for Join {
    type Reply = Arc<Token>;

    fn lane(&self) -> Lane {
        Lane::Workers
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // Two tokens and an event; each token that is replaced, and an event of that; the worker that changes hands.
        3 + 2 * known.tokens_of_worker(self.worker_id.as_str()).count() + WIDE_ROW
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { worker_id: id, token_id, token_hash } = self;
        let caller = batch.caller().principal().token().ok_or(Denied::FirstToken)?.id.clone();
        let join = batch.find_token(caller.as_str()).ok_or(Denied::Unauthenticated(NoCredential::Unknown))?.clone();
        let Some(Joins { max, so_far }) = join.joins else {
            return Err(Denied::Role { needs: Role::Join, has: join.role }.into());
        };
        if join.worker_id().is_some_and(|named| named != id.as_str()) {
            return Err(Denied::JoinsAnother(id.to_string()).into());
        }
        if let Some(joined) = self.find_joined(batch, &join)? {
            return Ok(joined);
        }
        // Before it is told whether there is the worker.
        if so_far >= max {
            return Err(Error::JoinTokenUsedUp { max });
        }
        let before = batch.live_tokens_of_worker(id.as_str());
        let known = batch.find_worker(id.as_str()).cloned();
        match join.scope {
            TokenScope::Worker(_) => {}
            _ if known.is_some() || !before.is_empty() => return Err(Error::WorkerIsKnown(id.to_string())),
            TokenScope::NewWorkers | TokenScope::Nobody | TokenScope::AtMost(_) => {}
        }

        for token in before {
            let message = format!("Token {} ({}) was revoked: worker {id} joins anew", token.id, token.name);
            batch.record_event(Actor::Operator, EventKind::TokenRevoked, id, message);
            batch.put_token(token.revoked(batch.at, batch.revision));
        }
        if let Some(known) = known {
            let worker = Worker { owner: Some(token_id.clone()), revision: batch.revision, ..Worker::clone(&known) };
            batch.put_worker(worker, &[ColumnGroup::Registration]);
        }
        let message = format!("Worker {id} joined with token {} ({}), its own is {token_id}", join.id, join.name);
        batch.record_event(Actor::Operator, EventKind::WorkerJoined, id, message);
        batch.put_token(Token {
            joins: Some(Joins { max, so_far: so_far + 1 }),
            last_used: LastUsed::stored(join.last_used.at()),
            revision: batch.revision,
            ..Token::clone(&join)
        });
        Ok(batch.put_token(Token {
            id: token_id.clone(),
            hash: *token_hash,
            kind: TokenKind::Bearer,
            role: Role::Worker,
            name: id.shared(),
            scope: TokenScope::Worker(id.shared()),
            joins: None,
            parent: None,
            created_by: Some(join.id.clone()),
            created_at: batch.at,
            expires_at: None,
            revoked_at: None,
            last_used: LastUsed::default(),
            spent: SpentPoints::default(),
            revision: batch.revision,
        }))
    }
}
