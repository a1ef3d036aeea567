//! A browser signs out: its session ends. That an administrator ends somebody else's is [`revoke_token`](super::revoke_token).

use super::{Command, Lane};
use crate::auth::{Denied, NoCredential, TokenKind};
use crate::cluster::{EventKind, Snapshot};
use crate::error::Result;
use crate::journal::batch::Batch;

/// Ends the session of the caller.
#[derive(Clone, Copy, Debug)]
pub struct CloseSession;

impl Command for CloseSession {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, _: &Snapshot) -> usize {
        2
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let session = batch.caller().principal().token().filter(|token| token.kind == TokenKind::Session);
        let id = session.ok_or(Denied::Unauthenticated(NoCredential::Misplaced))?.id.clone();
        let known = batch.find_token(id.as_str()).ok_or(Denied::Unauthenticated(NoCredential::SessionEnded))?.clone();
        batch.record_event_of_token(EventKind::SignedOut, format!("Session {id} ({}) was closed", known.name));
        batch.revoke_token(&known);
        Ok(())
    }
}
