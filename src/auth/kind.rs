//! Kinds of tokens: where the secret of each counts. What its holder may do is not said here but by its
//! [role](super::role).

use std::fmt;
use std::str::FromStr;

/// The kind of a token. The secret of each kind counts in one place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Sent with each request, in `Authorization`.
    Bearer,
    /// A browser's, sent in its cookie.
    Session,
    /// Part of a sign-in link: opens one session, and is sent for nothing else.
    SignInCode,
}

impl TokenKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Bearer, Self::Session, Self::SignInCode];

    /// The word for it, in both protocols and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Session => "session",
            Self::SignInCode => "sign_in_code",
        }
    }

    /// Whether tokens of the kind come and go by themselves, so that they are removed some time after their end.
    pub fn is_short_lived(self) -> bool {
        match self {
            Self::Bearer => false,
            Self::Session | Self::SignInCode => true,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of bearer, session, sign_in_code")]
pub struct UnknownKind;

impl FromStr for TokenKind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(UnknownKind)
    }
}
