//! An administrator revokes a token, which is not accepted from then on. It stays in the list.

use std::sync::Arc;

use super::{Command, Lane};
use crate::auth::{Token, TokenKind};
use crate::cluster::{EventKind, Snapshot};
use crate::error::{Error, Result};
use crate::journal::batch::Batch;

/// Revokes a token.
#[derive(Clone, Debug)]
pub struct RevokeToken {
    /// Its public id.
    pub id: String,
}

impl Command for RevokeToken {
    type Reply = Arc<Token>;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, _: &Snapshot) -> usize {
        2
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let known = batch.find_token(&self.id).ok_or_else(|| Error::TokenNotFound(self.id.clone()))?.clone();
        if known.revoked_at.is_some() {
            return Ok(known);
        }
        let (id, name) = (&known.id, &known.name);
        let what = match known.kind {
            TokenKind::Bearer => "Token",
            TokenKind::Session => "Session",
            TokenKind::SignInCode => "Sign-in code",
        };
        batch.record_event_of_token(EventKind::TokenRevoked, format!("{what} {id} ({name}) was revoked"));
        Ok(batch.revoke_token(&known))
    }
}
