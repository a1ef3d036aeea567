//! Requests that their clients may send again until they have the answer, and that are carried out once.
//!
//! What is kept is the answer as the protocol renders it, so the protocol says how; when it is kept, and for how long,
//! is the [`journal`](crate::journal)'s business.

use std::sync::Arc;

use super::Resolvers;
use crate::cluster::View;
use crate::error::Result;
pub use crate::journal::Answer;
use crate::journal::Command;
use crate::journal::commands::{Once, Told, heartbeat_fingerprint};

/// What makes a request the same as an earlier one, and how it is answered.
pub struct IdempotentRequest<T> {
    /// The key that the client has chosen.
    pub key: String,
    /// Tells the request from others with the same key.
    pub fingerprint: String,
    /// Renders the answer. It may be called more than once, and its work thrown away.
    pub render: Box<dyn Fn(T) -> Answer + Send>,
}

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct IdempotentReply {
    /// The answer.
    pub answer: Answer,
    /// Whether it had been given before.
    pub is_replay: bool,
}

impl<T> IdempotentRequest<T> {
    /// The same for heartbeats. Their fingerprints tell them from commands: workers send so many more keys that what is
    /// kept for them must not displace what is kept for operators.
    pub(super) fn of_heartbeats(self) -> Self {
        Self { fingerprint: heartbeat_fingerprint(&self.fingerprint), ..self }
    }
}

impl Resolvers {
    /// Has a command carried out, or finds what it was answered when it was. The reply is there if it was just now.
    pub(super) async fn commit_idempotent<C: Command, T: 'static>(
        &self,
        command: C,
        request: IdempotentRequest<T>,
        show: impl Fn(&C::Reply, Arc<View>) -> T + Send + 'static,
    ) -> Result<(IdempotentReply, Option<C::Reply>)> {
        let IdempotentRequest { key, fingerprint, render } = request;
        let offline_after = self.timing.offline_after;
        let command = Once {
            key: key.into(),
            fingerprint: fingerprint.into(),
            command,
            tell: Box::new(move |reply, snapshot, now| {
                render(show(reply, Arc::new(View::new(snapshot, now, offline_after))))
            }),
        };
        let Told { answer, reply } = self.journal.commit(command).await?.reply;
        Ok((IdempotentReply { answer, is_replay: reply.is_none() }, reply))
    }
}
