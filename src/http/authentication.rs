//! Authentication: reads the credential of a request, and has it turned into a principal. The challenge of a 401 is written
//! in [`error`](super::error).
//!
//! What a token is, and who is accepted, is not known here: the server hands in an [`Authenticator`]. What a principal
//! may do is asked by the operations themselves, except that a request of nobody is refused before its body is read, on
//! every route that does not say that it [is public](super::RouteOptions::public).

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderValue;

use super::error::HttpError;
use super::session_cookie::Found;
use crate::auth::{Credential, NoCredential, Principal};

/// Tells who sends a credential.
#[derive(Clone)]
pub struct Authenticator(Arc<dyn Fn(Credential<'_>) -> Principal + Send + Sync>);

impl Authenticator {
    /// An authenticator that asks this function.
    pub fn new(authenticate: impl Fn(Credential<'_>) -> Principal + Send + Sync + 'static) -> Self {
        Self(Arc::new(authenticate))
    }

    /// Who sends a request with this value of `Authorization`.
    pub(super) fn principal(&self, authorization: Option<&HeaderValue>) -> Principal {
        let Some(value) = authorization else { return (self.0)(Credential::None) };
        (self.0)(value.to_str().ok().and_then(bearer_token).map_or(Credential::Malformed, Credential::Token))
    }

    /// Who sends a request with this cookie and without `Authorization`. `counts` says whether it is of a page of this
    /// server, and is asked only if there is a cookie.
    pub(super) fn principal_of_cookie(&self, cookie: Found<'_>, counts: impl Fn() -> bool) -> Principal {
        (self.0)(match cookie {
            Found::Nothing => Credential::None,
            Found::Secret(_) | Found::Unclear if !counts() => Credential::CrossSite,
            Found::Secret(secret) => Credential::Session(secret),
            // No session has this secret.
            Found::Unclear => Credential::Session(""),
        })
    }

    /// Who sends this text where other clients send `Authorization`: with or without the word `Bearer`.
    pub fn principal_of_text(&self, text: &str) -> Principal {
        (self.0)(Credential::Token(bearer_token(text).unwrap_or(text)))
    }
}

/// Everybody may do everything.
impl Default for Authenticator {
    fn default() -> Self {
        Self::new(|_| Principal::Unrestricted)
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
