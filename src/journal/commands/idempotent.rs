//! A command with an idempotency key: it is decided once, and sent again it gets the response of the first time.

use std::fmt;
use std::sync::Arc;

use super::{Command, Lane};
use crate::clock::Timestamp;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};
use crate::journal::batch::Batch;
use crate::journal::idempotency_record::StoredResponse;
use crate::journal::liveness_signs::LivenessSign;

/// Renders a reply as the response to keep, with the cluster's revision and the moment that it is of.
pub type RenderResponse<C> = Box<dyn Fn(&<C as Command>::Reply, Arc<Snapshot>, Timestamp) -> StoredResponse + Send>;

/// Decides a command unless there is a record of its key, and then answers the record's response. The record is written
/// in the transaction of the command itself, so that either both are there or neither.
pub struct IdempotentCommand<C: Command> {
    /// The idempotency key, chosen by the client.
    pub key: Arc<str>,
    /// Distinguishes this request from others with the same key.
    pub fingerprint: Arc<str>,
    /// What is to be done.
    pub command: C,
    /// Renders its response.
    pub render: RenderResponse<C>,
}

/// What came of a command with an idempotency key: the response to the first request of the key.
#[derive(Clone, Debug)]
pub struct IdempotentOutcome<R> {
    /// The response.
    pub response: StoredResponse,
    /// What the command replied; none if it was decided earlier and the response is replayed.
    pub reply: Option<R>,
}

impl<C: Command + fmt::Debug> fmt::Debug for IdempotentCommand<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentCommand")
            .field("key", &self.key)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl<C: Command> Command for IdempotentCommand<C> {
    type Reply = IdempotentOutcome<C::Reply>;

    fn lane(&self) -> Lane {
        self.command.lane()
    }

    fn liveness_signs(&self, note: &mut dyn FnMut(LivenessSign<'_>)) {
        self.command.liveness_signs(note);
    }

    fn rows(&self, known: &Snapshot) -> usize {
        1 + self.command.rows(known)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { key, fingerprint, command, render } = self;
        if let Some(record) = batch.find_idempotency_record(key) {
            return if record.fingerprint == *fingerprint {
                Ok(IdempotentOutcome { response: record.response.clone(), reply: None })
            } else {
                Err(Error::KeyReused(key.to_string()))
            };
        }
        // A refusal changes nothing and is not recorded: a client that asks again is decided anew.
        let reply = command.decide(batch)?;
        let response = render(&reply, batch.preview(), batch.at);
        batch.record_response(key.clone(), fingerprint.clone(), response.clone());
        Ok(IdempotentOutcome { response, reply: Some(reply) })
    }
}
