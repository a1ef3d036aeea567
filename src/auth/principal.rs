//! The principal: who asks, as far as the server knows.

use std::sync::Arc;

use super::cost_limit::CostLimitState;
use super::kind::TokenKind;
use super::role::Role;
use super::secret::Claim;
use super::token::{Token, TokenState};
use crate::clock::Timestamp;

/// What a request carries to say who sends it; `Debug` is left out on purpose.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// Something that is no token.
    Malformed,
    /// A text that may be a token, in `Authorization`.
    Token(&'a str),
    /// A text that may be the secret of a session, in the cookie.
    Session(&'a str),
    /// The cookie of a session, with a request of a page that is not this server's.
    CrossSite,
    /// A text that may be a sign-in code, where one signs in.
    SignInCode(&'a str),
}

/// Tells who sends a credential.
pub trait Authenticate: Send + Sync {
    /// Who sends it.
    fn authenticate(&self, credential: Credential<'_>) -> Principal;

    /// Whether a principal that was told before would be told again now, exactly so. It may say no when it would.
    fn accepts_still(&self, principal: &Principal) -> bool;

    /// What a principal is told of the points that its queries may cost; nothing, while most of them are left.
    fn cost_limit_state(&self, principal: &Principal) -> Option<CostLimitState>;
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Nobody that the server knows, though it has tokens.
    Anonymous(NoCredential),
    /// Whoever reaches a server that has no tokens. They may do everything, except make the first one.
    Unrestricted,
    /// The holder of a token that is accepted.
    Holder(Arc<Token>),
    /// The server itself.
    Server,
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCredential {
    /// There was no token.
    Missing,
    /// What was sent is no token.
    Malformed,
    /// It may have been a token of another server, or was removed.
    Unknown,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
    /// It is a session's secret or a sign-in code where a token is wanted, or the other way round.
    Misplaced,
    /// A session's cookie came with a request of a page that is not this server's.
    CrossSite,
    /// The session is over: its time, or it was signed out or revoked, or the token ended that it was begun with.
    SessionEnded,
    /// A sign-in code was used before, or its time is over.
    CodeSpent,
    /// There is no such sign-in code, or not yet: it was made on the database a moment ago.
    CodeUnknown,
}

impl NoCredential {
    /// The sentence that a client is told.
    pub fn message(self) -> &'static str {
        match self {
            Self::Missing => "This server asks for a token: send it as `Authorization: Bearer <token>`",
            Self::Malformed => {
                "The token cannot be read, its form or its checksum is wrong: it is sent as `Authorization: Bearer <token>`"
            }
            Self::Unknown => "The token is not one of this server",
            Self::Expired => "The token has expired",
            Self::Revoked => "The token has been revoked",
            Self::Misplaced => {
                "This is a secret of another kind: tokens are sent as `Authorization: Bearer <token>`, a session's secret \
                 only in its cookie, a sign-in code only to open a session"
            }
            Self::CrossSite => "The session's cookie counts only for requests of this server's own pages",
            Self::SessionEnded => "The session has ended: sign in again",
            Self::CodeUnknown => {
                "The sign-in link is not known here, or not yet: try it once more, or ask for another one"
            }
            Self::CodeSpent => "The sign-in link was used before, or its ten minutes are over: ask for another one",
        }
    }
}

impl NoCredential {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Missing,
        Self::Malformed,
        Self::Unknown,
        Self::Expired,
        Self::Revoked,
        Self::Misplaced,
        Self::CrossSite,
        Self::SessionEnded,
        Self::CodeSpent,
        Self::CodeUnknown,
    ];

    /// What monitoring calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Misplaced => "misplaced",
            Self::CrossSite => "cross_site",
            Self::SessionEnded => "session_ended",
            Self::CodeSpent => "code_spent",
            Self::CodeUnknown => "code_unknown",
        }
    }

    /// Whether something was sent that may be a guess: neither nothing, nor the cookie of a session that has ended or that
    /// another page has made a browser send, of which pages learn that they have to sign in.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Missing | Self::CrossSite | Self::SessionEnded => false,
            Self::Malformed
            | Self::Unknown
            | Self::Expired
            | Self::Revoked
            | Self::Misplaced
            | Self::CodeSpent
            | Self::CodeUnknown => true,
        }
    }

    /// Why a token in this state is not accepted, if it is not.
    fn of_state(kind: TokenKind, state: TokenState) -> Option<Self> {
        match (state, kind) {
            (TokenState::Live, _) => None,
            (TokenState::Expired, TokenKind::Bearer) => Some(Self::Expired),
            (TokenState::Revoked, TokenKind::Bearer) => Some(Self::Revoked),
            (TokenState::Expired | TokenState::Revoked, TokenKind::Session) => Some(Self::SessionEnded),
            (TokenState::Expired | TokenState::Revoked, TokenKind::SignInCode) => Some(Self::CodeSpent),
        }
    }
}

impl Principal {
    /// Who sends this text as the secret of a token of this kind. `find` finds a token by its public id.
    pub fn of_secret<'a>(
        kind: TokenKind,
        text: &str,
        now: Timestamp,
        find: impl Fn(&str) -> Option<&'a Arc<Token>>,
    ) -> Self {
        // The id is public, so whether there is one may be told by the time that it takes; the hash is compared in the
        // same time whatever it is.
        let claim = Claim::split(text);
        let token = claim.and_then(|claim| find(claim.id).filter(|token| token.hash.is_same(&claim.hash())));
        let Some(token) = token else {
            let why = match kind {
                // Of a session that was removed after its end.
                TokenKind::Session => NoCredential::SessionEnded,
                TokenKind::Bearer => Claim::parse(text).map_or(NoCredential::Malformed, |_| NoCredential::Unknown),
                TokenKind::SignInCode => NoCredential::CodeUnknown,
            };
            return Self::Anonymous(why);
        };
        if token.kind != kind {
            return Self::Anonymous(NoCredential::Misplaced);
        }
        match NoCredential::of_state(kind, token.state(now, find)) {
            None => {
                token.last_used.note(now);
                Self::Holder(token.clone())
            }
            Some(why) => Self::Anonymous(why),
        }
    }

    /// Whether this is the holder of a token that is accepted, as `find` finds it, and not of an earlier state of it.
    pub fn is_current<'a>(&self, now: Timestamp, find: impl Fn(&str) -> Option<&'a Arc<Token>>) -> bool {
        let Self::Holder(held) = self else { return false };
        let is_current = find(held.id.as_str()).is_some_and(|token| Arc::ptr_eq(token, held))
            && held.state(now, find) == TokenState::Live;
        if is_current {
            held.last_used.note(now);
        }
        is_current
    }

    /// Why a principal that was accepted is not accepted any more, if it is not: its token has expired, was revoked or is
    /// gone, as after a restore, or there are tokens now and it came without one.
    pub fn denied_since<'a>(
        &self,
        now: Timestamp,
        has_tokens: bool,
        find: impl Fn(&str) -> Option<&'a Arc<Token>>,
    ) -> Option<NoCredential> {
        match self {
            Self::Holder(holder) => {
                let token = find(holder.id.as_str()).filter(|token| token.hash.is_same(&holder.hash));
                match (token.map(|token| token.state(now, find)), holder.kind) {
                    (Some(state), kind) => NoCredential::of_state(kind, state),
                    (None, TokenKind::Session) => Some(NoCredential::SessionEnded),
                    (None, TokenKind::Bearer | TokenKind::SignInCode) => Some(NoCredential::Unknown),
                }
            }
            Self::Unrestricted => has_tokens.then_some(NoCredential::Missing),
            Self::Anonymous(why) => Some(*why),
            Self::Server => None,
        }
    }

    /// The token that it was told by.
    pub fn token(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Holder(token) => Some(token),
            Self::Anonymous(_) | Self::Unrestricted | Self::Server => None,
        }
    }

    /// Its role, if it has one.
    pub fn role(&self) -> Option<Role> {
        self.token().map(|token| token.role)
    }

    /// Why it is not known, if it is not.
    pub fn missing(&self) -> Option<NoCredential> {
        match self {
            Self::Anonymous(why) => Some(*why),
            Self::Unrestricted | Self::Holder(_) | Self::Server => None,
        }
    }
}
