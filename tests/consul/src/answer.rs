//! What requests are answered with: JSON with Consul's headers, or a sentence in plain text.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// Why a request was not fulfilled.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    sentence: String,
}

impl Refusal {
    /// Refuses with a status and a sentence.
    pub fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    /// The request makes no sense.
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// The token does not permit it.
    pub fn forbidden(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, sentence)
    }

    /// Consul can do it, and this stub cannot.
    pub fn not_in_the_stub(what: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("the stub of Consul has no {}", what.as_ref()))
    }

    /// What every request is answered with while the servers of a cluster elect a leader.
    pub fn no_leader() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, self.sentence).into_response()
    }
}

/// What was read from the catalogue, and at which index.
#[derive(Debug)]
pub struct Read {
    /// When this was last changed.
    pub index: u64,
    /// The body.
    pub body: Value,
    /// Whether something was left out of it because the token does not permit to see it; none without a token.
    pub filtered: Option<bool>,
}

impl IntoResponse for Read {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        let headers = response.headers_mut();
        // A client that got 0 would not block at all, and ask again and again.
        headers.insert(HeaderName::from_static("x-consul-index"), HeaderValue::from(self.index.max(1)));
        headers.insert(HeaderName::from_static("x-consul-knownleader"), HeaderValue::from_static("true"));
        headers.insert(HeaderName::from_static("x-consul-lastcontact"), HeaderValue::from_static("0"));
        if let Some(filtered) = self.filtered {
            let filtered = HeaderValue::from_static(if filtered { "true" } else { "false" });
            headers.insert(HeaderName::from_static("x-consul-results-filtered-by-acls"), filtered);
        }
        response
    }
}
