//! A browser signs in: a session is opened with a token or with a sign-in code. Its secret is made before and never gets
//! here: the command has only its hash.
//!
//! Whose token or code it is says the caller of the command, who is accepted as such when it is decided. So a code that is
//! sent to two servers at once opens one session: the second command finds it revoked.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane};
use crate::auth::{Denied, LastUsed, NoCredential, SpentPoints, Token, TokenHash, TokenId, TokenKind, TokenScope};
use crate::cluster::{EventKind, Snapshot};
use crate::error::Result;
use crate::journal::batch::Batch;

/// How long a session lasts at most: a working day, after which somebody who left the browser open signs in again.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// How many sessions of one token are open at once. One more ends the oldest: who signs in at yet another browser is
/// rather let in than told to find the others.
pub const MAX_SESSIONS: usize = 32;

/// Opens a session with the token or the code of the caller.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The public id of the session, made at random.
    pub id: TokenId,
    /// The hash of its secret.
    pub hash: TokenHash,
}

impl Command for OpenSession {
    type Reply = Arc<Token>;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    /// The session, its event, and the code that was used or the session that it displaces.
    fn rows(&self, _: &Snapshot) -> usize {
        3
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let missing = || Denied::Unauthenticated(NoCredential::Missing);
        let source = batch.caller().principal().token().ok_or_else(missing)?.clone();
        let (parent, ends_with, what) = match source.kind {
            TokenKind::Bearer => (Some(source.id.clone()), source.expires_at, "token"),
            // Used up, it ends at once, and its session does not end with it.
            TokenKind::SignInCode => (None, None, "sign-in code"),
            TokenKind::Session => return Err(Denied::Unauthenticated(NoCredential::Misplaced).into()),
        };
        let end = batch.at + SESSION_LIFETIME;
        let session = Token {
            id: self.id.clone(),
            hash: self.hash,
            kind: TokenKind::Session,
            role: source.role,
            name: source.name.clone(),
            scope: TokenScope::Nobody,
            joins: None,
            parent,
            created_by: Some(source.id.clone()),
            created_at: batch.at,
            expires_at: Some(ends_with.map_or(end, |ends| ends.min(end))),
            revoked_at: None,
            last_used: LastUsed::default(),
            spent: SpentPoints::default(),
            revision: batch.revision,
        };
        let Token { id, role, .. } = &session;
        let mut message = format!("Session {id} was opened with {what} {} ({}): {role}", source.id, source.name);
        let ended = match source.kind {
            TokenKind::SignInCode => Some(source),
            TokenKind::Bearer | TokenKind::Session => {
                let oldest = batch.surplus_session_of(&source.id, MAX_SESSIONS);
                if let Some(oldest) = &oldest {
                    message += &format!("; session {}, the oldest of {MAX_SESSIONS}, was closed for it", oldest.id);
                }
                oldest
            }
        };
        batch.record_event_of_token(EventKind::SignedIn, message);
        if let Some(ended) = ended {
            batch.revoke_token(&ended);
        }
        Ok(batch.put_token(session))
    }
}
