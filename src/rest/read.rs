//! What every question has in common: which state it is asked of, telling which one answered, and telling whether the
//! client has the answer already.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Endpoint;
use super::etag::{Tag, Versioned};
use super::object::WriteText;
use crate::http::{Failure, Json, Query};
use crate::resolvers::{Reading, input};

/// Tells the revision that an answer was read at, to be passed back as `min_revision` or `after_revision`.
const X_REVISION: HeaderName = HeaderName::from_static("x-revision");

/// What an answer depends on beside its address.
const VARY: HeaderValue = HeaderValue::from_static("accept, accept-encoding");

/// A question about the cluster.
pub(super) struct Read {
    /// The cluster, at least at the revision that `?min_revision=` names.
    pub(super) reading: Reading,
    /// Where the client says what it has already.
    headers: HeaderMap,
}

#[derive(Deserialize)]
pub(super) struct AtLeast {
    min_revision: Option<i64>,
}

impl FromRequestParts<Arc<Endpoint>> for Read {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, endpoint: &Arc<Endpoint>) -> Result<Self, Failure> {
        // Most questions have no query string, and then there is nothing to read.
        let min_revision = match parts.uri.query() {
            Some(_) => {
                let Query(AtLeast { min_revision }) = Query::from_request_parts(parts, endpoint).await?;
                min_revision.map(|number| input::revision("min_revision", number)).transpose()?
            }
            None => None,
        };
        let reading = endpoint.resolvers.read_at_least(min_revision).await?;
        let known = parts.headers.get_all(header::IF_NONE_MATCH).into_iter();
        Ok(Self { reading, headers: known.map(|tags| (header::IF_NONE_MATCH, tags.clone())).collect() })
    }
}

impl Read {
    /// An answer in JSON with the revision it was read at, or, if the client has it already, only the word that it
    /// has: then nothing is rendered.
    pub(super) fn show<T: Serialize + Versioned>(&self, answer: T) -> Response {
        self.respond(answer, |answer| Json(answer).into_response())
    }

    /// The same for one object.
    pub(super) fn show_object<T: WriteText + Versioned>(&self, object: T) -> Response {
        self.respond(object, WriteText::into_answer)
    }

    /// The same for an answer that is rendered in its own way.
    pub(super) fn respond<T: Versioned>(&self, answer: T, render: impl FnOnce(T) -> Response) -> Response {
        let tag = Tag::of(&answer);
        let mut response =
            if tag.is_known(&self.headers) { StatusCode::NOT_MODIFIED.into_response() } else { render(answer) };
        let headers = response.headers_mut();
        headers.insert(X_REVISION, HeaderValue::from(self.reading.revision()));
        headers.insert(header::ETAG, tag.into_header_value());
        // It may be kept, if it is asked each time whether it still holds.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, VARY);
        response
    }
}
