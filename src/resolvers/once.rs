//! Requests that their clients may send again until they have the answer, and that are carried out once.
//!
//! What is kept is the answer as the protocol renders it, so the protocol says how; when it is kept, and for how long,
//! is the [`journal`](crate::journal)'s business.

use std::sync::Arc;

use super::Resolvers;
use crate::cluster::View;
use crate::error::Result;
pub use crate::journal::StoredResponse;
use crate::journal::commands::{IdempotentCommand, IdempotentOutcome};
use crate::journal::{Command, heartbeat_fingerprint};

/// What makes a request the same as an earlier one, and how it is answered.
pub struct Once<T> {
    /// The key that the client has chosen.
    pub key: String,
    /// Tells the request from others with the same key.
    pub fingerprint: String,
    /// Renders the answer. It may be called more than once, and its work thrown away.
    pub render: Box<dyn Fn(T) -> StoredResponse + Send>,
}

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The answer.
    pub answer: StoredResponse,
    /// Whether it had been given before.
    pub is_repeated: bool,
}

impl<T> Once<T> {
    /// The same for heartbeats. Their fingerprints tell them from commands: workers send so many more keys that what is
    /// kept for them must not displace what is kept for operators.
    pub(super) fn of_heartbeats(self) -> Self {
        Self { fingerprint: heartbeat_fingerprint(&self.fingerprint), ..self }
    }
}

impl Resolvers {
    /// Has a command carried out, or finds what it was answered when it was. The reply is there if it was just now.
    pub(super) async fn commit_once<C: Command, T: 'static>(
        &self,
        command: C,
        once: Once<T>,
        show: impl Fn(&C::Reply, Arc<View>) -> T + Send + 'static,
    ) -> Result<(Answered, Option<C::Reply>)> {
        let Once { key, fingerprint, render } = once;
        let offline_after = self.timing.offline_after;
        let command = IdempotentCommand {
            key: key.into(),
            fingerprint: fingerprint.into(),
            command,
            render: Box::new(move |reply, snapshot, now| {
                render(show(reply, Arc::new(View::new(snapshot, now, offline_after))))
            }),
        };
        let IdempotentOutcome { response: answer, reply } = self.journal.commit(command).await?.reply;
        Ok((Answered { answer, is_repeated: reply.is_none() }, reply))
    }
}
