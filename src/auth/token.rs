//! Tokens as the cluster knows them: whose they are, what they are for, and until when. Their text is in
//! [`secret`](super::secret); they are stored by the [`journal`](crate::journal), and live in the snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::cost_limit::SpentPoints;
use super::kind::TokenKind;
use super::role::Role;
use super::secret::{TokenHash, TokenId};
use crate::clock::Timestamp;

/// A token, without its secret.
#[derive(Clone, Debug)]
pub struct Token {
    /// The public id.
    pub id: TokenId,
    /// SHA-256 of the text.
    pub hash: TokenHash,
    /// Where its secret counts.
    pub kind: TokenKind,
    /// What its holder may do.
    pub role: Role,
    /// The name that its creator gave it.
    pub name: Arc<str>,
    /// Which workers the holder speaks for, or may let join.
    pub scope: TokenScope,
    /// How often it lets workers join; none if it is not of the role [`Join`](Role::Join).
    pub joins: Option<Joins>,
    /// The token that it was made from, with which it ends; for a session that was begun with a token.
    pub parent: Option<TokenId>,
    /// Who created it: the id of a token; none if somebody did who has the database.
    pub created_by: Option<TokenId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends by itself; never, if it is none.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used: LastUsed,
    /// What its queries have cost lately.
    pub spent: SpentPoints,
    /// Revision of its last change.
    pub revision: u64,
}

/// The workers that a token of the role [`Worker`](Role::Worker) may speak for, or that one of the role
/// [`Join`](Role::Join) may let join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenScope {
    /// None: the token is of another role.
    #[default]
    Nobody,
    /// The worker with this id.
    Worker(Arc<str>),
    /// As many workers as this, whichever it registers first; for gateways.
    AtMost(u32),
    /// Any worker that the cluster does not know yet; for joining.
    NewWorkers,
}

/// How often a token lets workers join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joins {
    /// How often it may.
    pub max: u32,
    /// How often it has.
    pub so_far: u32,
}

/// When a token was last used, to the minute. The copies of one state of a token share it, so that a request notes its
/// use without a commit; uses are committed once in a while.
#[derive(Clone, Debug, Default)]
pub struct LastUsed(Arc<LastUsedAt>);

#[derive(Debug, Default)]
struct LastUsedAt {
    /// In milliseconds of Unix time; 0 if it never was.
    noted: AtomicI64,
    /// The same, as far as it is in the database.
    stored: AtomicI64,
}

/// How much later than the last noted use one has to be to be noted.
const NOTED_EVERY_MS: i64 = 60 * 1_000;

impl LastUsed {
    /// A use that is in the database.
    pub fn stored(at: Option<Timestamp>) -> Self {
        let ms = at.map_or(0, |at| at.timestamp_millis());
        Self(Arc::new(LastUsedAt { noted: AtomicI64::new(ms), stored: AtomicI64::new(ms) }))
    }

    /// When it was, as far as it was noted.
    pub fn at(&self) -> Option<Timestamp> {
        let ms = self.0.noted.load(Ordering::Relaxed);
        Timestamp::from_timestamp_millis(ms).filter(|_| ms > 0)
    }

    /// Notes a use. Nearly all uses follow another one within the minute, and only read.
    pub fn note(&self, now: Timestamp) {
        let now = now.timestamp_millis();
        if now - self.0.noted.load(Ordering::Relaxed) >= NOTED_EVERY_MS {
            self.0.noted.store(now, Ordering::Relaxed);
        }
    }

    /// When it was, as far as that is in the database.
    pub fn stored_at(&self) -> Option<Timestamp> {
        let ms = self.0.stored.load(Ordering::Relaxed);
        Timestamp::from_timestamp_millis(ms).filter(|_| ms > 0)
    }

    /// The last use, if it is not in the database yet.
    pub fn unstored(&self) -> Option<Timestamp> {
        self.at().filter(|at| self.stored_at().is_none_or(|stored| stored < *at))
    }

    /// Takes over what was noted with an earlier state of the same token.
    pub fn continues(&self, before: &Self) {
        self.0.noted.fetch_max(before.0.noted.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Whether a token is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It is.
    Live,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl TokenState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Live, Self::Expired, Self::Revoked];

    /// The word for it, in both protocols.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Token {
    /// Whether it is accepted at a moment. `find` finds a token by its public id: one that was made from another token
    /// ends with that.
    pub fn state<'a>(&self, now: Timestamp, find: impl FnOnce(&str) -> Option<&'a Arc<Self>>) -> TokenState {
        match self.own_state(now) {
            TokenState::Live => match &self.parent {
                // That one was made from none.
                Some(parent) => find(parent.as_str()).map_or(TokenState::Revoked, |parent| parent.own_state(now)),
                None => TokenState::Live,
            },
            ended @ (TokenState::Expired | TokenState::Revoked) => ended,
        }
    }

    fn own_state(&self, now: Timestamp) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            TokenState::Expired
        } else {
            TokenState::Live
        }
    }

    /// When it ended, if it has; `find` finds a token by its public id. One whose parent is gone has ended at once.
    pub fn ended_at<'a>(&self, now: Timestamp, find: impl FnOnce(&str) -> Option<&'a Arc<Self>>) -> Option<Timestamp> {
        let ends = |token: &Self| [token.revoked_at, token.expires_at.filter(|end| *end <= now)];
        let with_parent = match &self.parent {
            Some(parent) => find(parent.as_str()).map_or([Some(self.created_at), None], |parent| ends(parent)),
            None => [None, None],
        };
        ends(self).into_iter().chain(with_parent).flatten().min()
    }

    /// The token that stays when this one has come and gone: the one that it was made from, or itself.
    pub fn lasting_id(&self) -> &TokenId {
        self.parent.as_ref().unwrap_or(&self.id)
    }

    /// The same token, revoked.
    #[must_use]
    pub fn revoked(&self, at: Timestamp, revision: u64) -> Self {
        Self { revoked_at: Some(at), last_used: LastUsed::stored(self.last_used.at()), revision, ..self.clone() }
    }

    /// The only worker that it speaks for, or may let join.
    pub fn worker_id(&self) -> Option<&str> {
        match &self.scope {
            TokenScope::Worker(id) => Some(id),
            TokenScope::Nobody | TokenScope::AtMost(_) | TokenScope::NewWorkers => None,
        }
    }

    /// How many workers it may speak for, if they are not named.
    pub fn max_workers(&self) -> Option<u32> {
        match self.scope {
            TokenScope::AtMost(most) => Some(most),
            TokenScope::Nobody | TokenScope::Worker(_) | TokenScope::NewWorkers => None,
        }
    }
}
