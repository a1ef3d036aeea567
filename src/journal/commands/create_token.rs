//! An administrator creates a token, or whoever has the database creates a sign-in code. Its text is made before and never
//! gets here: the command has only its hash.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane};
use crate::auth::{Joins, LastUsed, Role, SpentPoints, Token, TokenHash, TokenId, TokenKind, TokenScope};
use crate::cluster::{EventKind, Snapshot};
use crate::error::{Error, Result};
use crate::journal::batch::Batch;

/// Creates a token.
#[derive(Clone, Debug)]
pub struct CreateToken {
    /// Its public id, made at random.
    pub id: TokenId,
    /// The hash of its text.
    pub hash: TokenHash,
    /// Where its text counts.
    pub kind: TokenKind,
    /// What its holder may do.
    pub role: Role,
    /// Its name.
    pub name: Arc<str>,
    /// The workers that its holder speaks for, or may let join.
    pub scope: TokenScope,
    /// How many workers it may let join, if that is what it is for.
    pub max_uses: Option<u32>,
    /// After which time it expires, counted by the database's clock; never, if it is none.
    pub lifetime: Option<Duration>,
}

impl Command for CreateToken {
    type Reply = Arc<Token>;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, _: &Snapshot) -> usize {
        2
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { id, hash, kind, role, name, scope, max_uses, lifetime } = self;
        let what = match kind {
            TokenKind::Bearer | TokenKind::Session => "Token",
            // A code is removed after its end. Were it the first token, the server would ask for tokens while nobody
            // has one, and be open again later.
            TokenKind::SignInCode if !batch.has_tokens() => return Err(Error::NothingToSignInTo),
            TokenKind::SignInCode => "Sign-in code",
        };
        let token = Token {
            id: id.clone(),
            hash: *hash,
            kind: *kind,
            role: *role,
            name: name.clone(),
            scope: scope.clone(),
            joins: max_uses.map(|max| Joins { max, so_far: 0 }),
            parent: None,
            // Of a session, which is removed after its end, the token that it was begun with.
            created_by: batch.caller().principal().token().map(|token| token.lasting_id().clone()),
            created_at: batch.at,
            expires_at: lifetime.map(|lifetime| batch.at + lifetime),
            revoked_at: None,
            last_used: LastUsed::default(),
            spent: SpentPoints::default(),
            revision: batch.revision,
        };
        batch.record_event_of_token(EventKind::TokenCreated, format!("{what} {id} ({name}) was created: {role}"));
        Ok(batch.put_token(token))
    }
}
