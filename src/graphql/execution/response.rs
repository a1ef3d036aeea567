//! What comes of running an operation, and how that is written.

use async_graphql::{Response, Value};
use axum::body::Body;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::http::ChunkedBytes;

/// An answer to an operation that is no subscription.
pub enum OperationResponse {
    /// By plan: it is text already, and nothing is wrong.
    Written(ChunkedBytes),
    /// By the engine.
    Resolved(Response),
}

impl From<Response> for OperationResponse {
    fn from(response: Response) -> Self {
        Self::Resolved(response)
    }
}

impl OperationResponse {
    /// The same as text, if nothing is wrong: a long answer takes a while to write.
    pub fn written(self) -> Self {
        match self {
            Self::Resolved(response) if response.errors.is_empty() => {
                match serde_json::to_vec(&SerializedResponse(&response)) {
                    Ok(text) => {
                        let mut pieces = ChunkedBytes::default();
                        pieces.push(text.into());
                        Self::Written(pieces)
                    }
                    Err(_) => Self::Resolved(response),
                }
            }
            other => other,
        }
    }

    /// Whether nothing was executed.
    pub fn was_refused(&self) -> bool {
        match self {
            Self::Written(_) => false,
            Self::Resolved(response) => was_refused(response),
        }
    }

    /// Whether the request was not even one: then no media type makes it a success.
    pub fn was_unreadable(&self) -> bool {
        let Self::Resolved(response) = self else { return false };
        response.errors.iter().any(|error| {
            let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
            code == Some(&Value::from("BAD_REQUEST"))
        })
    }

    /// The answer as it is sent.
    pub fn into_body(self) -> Option<Body> {
        match self {
            Self::Written(text) => Some(text.into()),
            Self::Resolved(response) => serde_json::to_vec(&SerializedResponse(&response)).ok().map(Into::into),
        }
    }
}

/// An answer as it is written: one to a request that was not executed has no `data`.
pub struct SerializedResponse<'a>(pub &'a Response);

impl Serialize for SerializedResponse<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if was_refused(self.0) {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("errors", &self.0.errors)?;
            map.end()
        } else {
            self.0.serialize(serializer)
        }
    }
}

/// Whether nothing was executed: errors of execution have a path.
pub fn was_refused(response: &Response) -> bool {
    !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty())
}
