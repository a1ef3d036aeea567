//! Authentication: reads the credential of a request, and has it turned into a principal. The challenge of a 401 is written
//! in [`error`](super::error).
//!
//! What a token is, and who is accepted, is not known here: the server hands in what [`Authenticate`]s. What a principal
//! may do is asked by the operations themselves, except that a request of nobody is refused before its body is read, on
//! every route that does not say that it [is public](super::RouteOptions::public).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderValue;

use super::error::HttpError;
use super::failed_authentications::FailedAuthentications;
use super::server::connection::{authenticated_before, note_authenticated};
use super::session_cookie::Found;
use crate::auth::{Authenticate, CostLimitState, Credential, NoCredential, Principal};

/// Tells who sends a request.
#[derive(Clone)]
pub struct Authenticator {
    authenticate: Arc<dyn Authenticate>,
    failures: Arc<FailedAuthentications>,
}

impl Authenticator {
    /// An authenticator that asks this, and counts failures here.
    pub fn new(authenticate: impl Authenticate + 'static, failures: Arc<FailedAuthentications>) -> Self {
        Self { authenticate: Arc::new(authenticate), failures }
    }

    /// The error for a client of this address that nobody knows: 401, or 429 after too many credentials that were not
    /// accepted.
    pub fn refusal(&self, why: NoCredential, client: Option<IpAddr>) -> HttpError {
        self.failures.count_reason(why);
        let counted = if why.is_failure() { self.failures.count(client) } else { Ok(()) };
        match counted {
            Ok(()) => HttpError::unauthorized(why.message()),
            Err(wait) => HttpError::too_many_requests(
                "Too many requests of this address came with a token that is not accepted; one with a token that is \
                 accepted is answered at any time",
                wait,
            ),
        }
    }

    /// Who sends a request with this value of `Authorization`. The credential that the last request of the connection
    /// sent is not hashed and looked up again; that its token is still accepted is asked for each request.
    pub(super) fn principal(&self, authorization: Option<&HeaderValue>) -> Principal {
        let Some(value) = authorization else { return self.authenticate.authenticate(Credential::None) };
        if let Some(known) = authenticated_before(value).filter(|known| self.authenticate.accepts_still(known)) {
            return known;
        }
        let credential = value.to_str().ok().and_then(bearer_token).map_or(Credential::Malformed, Credential::Token);
        let principal = self.authenticate.authenticate(credential);
        if principal.token().is_some() {
            note_authenticated(value, &principal);
        }
        principal
    }

    /// Who sends a request with this cookie and without `Authorization`. `counts` says whether it is of a page of this
    /// server, and is asked only if there is a cookie.
    pub(super) fn principal_of_cookie(&self, cookie: Found<'_>, counts: impl Fn() -> bool) -> Principal {
        self.authenticate.authenticate(match cookie {
            Found::Nothing => Credential::None,
            Found::Secret(_) | Found::Unclear if !counts() => Credential::CrossSite,
            Found::Secret(secret) => Credential::Session(secret),
            // No session has this secret.
            Found::Unclear => Credential::Session(""),
        })
    }

    /// What this principal is told of the points that its queries may cost.
    pub(super) fn cost_limit_state(&self, principal: &Principal) -> Option<CostLimitState> {
        principal.token().and_then(|_| self.authenticate.cost_limit_state(principal))
    }

    /// Who sends this text where other clients send `Authorization`: with or without the word `Bearer`.
    pub fn principal_of_text(&self, text: &str) -> Principal {
        self.authenticate.authenticate(Credential::Token(bearer_token(text).unwrap_or(text)))
    }
}

/// Everybody may do everything.
impl Default for Authenticator {
    fn default() -> Self {
        Self::new(Unrestricted, Arc::default())
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

    fn cost_limit_state(&self, _: &Principal) -> Option<CostLimitState> {
        None
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
