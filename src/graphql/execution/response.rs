//! The response of a query or mutation, and its serialization as JSON. Media types and statuses are chosen in
//! `transport::negotiation`.

use async_graphql::{Response, Value};
use axum::body::Body;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::http::ChunkedBytes;

/// The response of a query or mutation.
pub enum OperationResponse {
    /// JSON text without errors: written by a plan, or serialized early.
    Serialized(ChunkedBytes),
    /// A result of the engine, or a request error, not serialized yet.
    Resolved(Response),
}

impl From<Response> for OperationResponse {
    fn from(response: Response) -> Self {
        Self::Resolved(response)
    }
}

impl OperationResponse {
    /// Serializes a response without errors; one with errors is returned as it is, because its status depends on them.
    /// Long operations call this on the thread that runs them: a long response takes a while to serialize.
    pub fn serialized(self) -> Self {
        match self {
            Self::Resolved(response) if response.errors.is_empty() => {
                match serde_json::to_vec(&SerializedResponse(&response)) {
                    Ok(text) => {
                        let mut pieces = ChunkedBytes::default();
                        pieces.push(text.into());
                        Self::Serialized(pieces)
                    }
                    Err(_) => Self::Resolved(response),
                }
            }
            other => other,
        }
    }

    /// Whether this is a request error: nothing was executed.
    pub fn is_request_error(&self) -> bool {
        match self {
            Self::Serialized(_) => false,
            Self::Resolved(response) => is_request_error(response),
        }
    }

    /// Whether the request was malformed (`BAD_REQUEST`): then its status is an error with every media type.
    pub fn is_bad_request(&self) -> bool {
        let Self::Resolved(response) = self else { return false };
        response.errors.iter().any(|error| {
            let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
            code == Some(&Value::from("BAD_REQUEST"))
        })
    }

    /// In how many seconds the request may be sent again, if the caller has asked too much (`RATE_LIMITED`): then its
    /// status is 429 with every media type.
    pub fn rate_limit(&self) -> Option<u64> {
        let Self::Resolved(response) = self else { return None };
        let mut extensions = response.errors.iter().filter_map(|error| error.extensions.as_ref());
        let limited = extensions.find(|extensions| extensions.get("code") == Some(&Value::from("RATE_LIMITED")))?;
        match limited.get("retryAfterSeconds") {
            Some(Value::Number(seconds)) => seconds.as_u64(),
            _ => None,
        }
    }

    /// The body of the HTTP response; none if it cannot be serialized.
    pub fn into_body(self) -> Option<Body> {
        match self {
            Self::Serialized(text) => Some(text.into()),
            Self::Resolved(response) => serde_json::to_vec(&SerializedResponse(&response)).ok().map(Into::into),
        }
    }
}

/// Serializes a response. A request error has no `data` entry, as the specification wants it; the engine would write a
/// null.
pub struct SerializedResponse<'a>(pub &'a Response);

impl Serialize for SerializedResponse<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if is_request_error(self.0) {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("errors", &self.0.errors)?;
            map.end()
        } else {
            self.0.serialize(serializer)
        }
    }
}

/// Whether a response has nothing but request errors, which have no path; errors of execution have one.
pub fn is_request_error(response: &Response) -> bool {
    !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty())
}
