//! Authentication: reads the credential of a request, and has it turned into a principal. The challenge of a 401 is written
//! in [`error`](super::error).
//!
//! What a token is, and who is accepted, is not known here: the server hands in what [`Authenticate`]s. What a principal
//! may do is asked by the operations themselves, except that a request of nobody is refused before its body is read, on
//! every route that does not say that it [is public](super::RouteOptions::public).

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderValue;

use super::error::HttpError;
use super::server::connection::{authenticated_before, note_authenticated};
use crate::auth::{Authenticate, Credential, NoCredential, Principal};

/// Tells who sends a request.
#[derive(Clone)]
pub struct Authenticator(Arc<dyn Authenticate>);

impl Authenticator {
    /// An authenticator that asks this.
    pub fn new(authenticate: impl Authenticate + 'static) -> Self {
        Self(Arc::new(authenticate))
    }

    /// Who sends a request with this value of `Authorization`. The credential that the last request of the connection
    /// sent is not hashed and looked up again; that its token is still accepted is asked for each request.
    pub(super) fn principal(&self, authorization: Option<&HeaderValue>) -> Principal {
        let Some(value) = authorization else { return self.0.authenticate(Credential::None) };
        if let Some(known) = authenticated_before(value).filter(|known| self.0.accepts_still(known)) {
            return known;
        }
        let credential = value.to_str().ok().and_then(bearer_token).map_or(Credential::Malformed, Credential::Token);
        let principal = self.0.authenticate(credential);
        if principal.token().is_some() {
            note_authenticated(value, &principal);
        }
        principal
    }

    /// Who sends this text where other clients send `Authorization`: with or without the word `Bearer`.
    pub fn principal_of_text(&self, text: &str) -> Principal {
        self.0.authenticate(Credential::Token(bearer_token(text).unwrap_or(text)))
    }
}

/// Everybody may do everything.
impl Default for Authenticator {
    fn default() -> Self {
        Self::new(Unrestricted)
    }
}

/// Accepts everybody.
struct Unrestricted;

impl Authenticate for Unrestricted {
    fn authenticate(&self, _: Credential<'_>) -> Principal {
        Principal::Unrestricted
    }

    fn accepts_still(&self, _: &Principal) -> bool {
        true
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authenticator").finish()
    }
}

/// The token in a value of `Authorization`: after the word `Bearer`, in any case, and spaces.
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// 401 for a request of nobody.
pub fn unauthenticated(why: NoCredential) -> HttpError {
    HttpError::unauthorized(why.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_follows_the_word_bearer() {
        for (value, token) in [
            ("Bearer aev_x", Some("aev_x")),
            ("bearer   aev_x ", Some("aev_x")),
            ("Basic dXNlcjpwYXNz", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("aev_x", None),
            ("", None),
        ] {
            assert_eq!(bearer_token(value), token, "{value:?}");
        }
    }
}
