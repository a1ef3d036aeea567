//! Idempotent requests: requests with a key, which are carried out once however often they are sent.
//!
//! The answer is stored as the protocol renders it, and replayed to a request that comes again; so the protocol hands
//! in how it is rendered. When it is stored, and for how long, is the [`journal`](crate::journal)'s business; how the
//! key is read from a request, that of [`http`](crate::http).

use std::sync::Arc;

use super::Resolvers;
use crate::auth::{Caller, Permit};
use crate::cluster::View;
use crate::error::Result;
pub use crate::journal::StoredResponse;
use crate::journal::commands::{IdempotentCommand, IdempotentOutcome};
use crate::journal::{Command, heartbeat_fingerprint};

/// The key of a request, and how its answer is rendered.
pub struct IdempotentRequest<T> {
    /// The key, chosen by the client.
    pub key: String,
    /// A digest of the request, by which another request with the same key is noticed.
    pub fingerprint: String,
    /// Renders the answer. It may be called more than once: the batch that it is called in may fail.
    pub render: Box<dyn Fn(T) -> StoredResponse + Send>,
}

/// The answer to an idempotent request.
#[derive(Clone, Debug)]
pub struct IdempotentReply {
    /// The answer.
    pub answer: StoredResponse,
    /// Whether it is the stored answer to an earlier request.
    pub is_replay: bool,
}

impl<T> IdempotentRequest<T> {
    /// The same, with a fingerprint that marks it as a heartbeat: workers send so many keys that the answers stored for
    /// them are counted apart, and cannot displace those stored for operators.
    pub(super) fn of_heartbeats(self) -> Self {
        Self { fingerprint: heartbeat_fingerprint(&self.fingerprint), ..self }
    }
}

impl Resolvers {
    /// Carries out a command, or finds the stored answer if it was carried out before. There is a reply in the first
    /// case only.
    pub(super) async fn commit_idempotent<C: Command, T: 'static>(
        &self,
        permit: Permit,
        caller: &Caller,
        command: C,
        request: IdempotentRequest<T>,
        show: impl Fn(&C::Reply, Arc<View>) -> T + Send + 'static,
    ) -> Result<(IdempotentReply, Option<C::Reply>)> {
        let IdempotentRequest { key, mut fingerprint, render } = request;
        // The stored answer is for nobody else: another caller with the same key is told that the key is taken.
        if let Some(token) = caller.principal().token() {
            fingerprint = format!("{fingerprint} {}", token.lasting_id());
        }
        let offline_after = self.timing.offline_after;
        let command = IdempotentCommand {
            key: key.into(),
            fingerprint: fingerprint.into(),
            command,
            render: Box::new(move |reply, snapshot, now| {
                render(show(reply, Arc::new(View::new(snapshot, now, offline_after))))
            }),
        };
        let IdempotentOutcome { response: answer, reply } =
            self.journal.with(permit).commit_for(command, caller).await?.reply;
        Ok((IdempotentReply { answer, is_replay: reply.is_none() }, reply))
    }
}
