//! What every question has in common: which state it is asked of, telling which one answered, and telling whether the
//! client has the answer already.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::etag::{Tag, Versioned};
use super::object::WriteText;
use crate::http::{Failure, Json, Query};
use crate::resolvers::{Reading, Resolvers, input};

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

impl<S> FromRequestParts<S> for Read
where
    S: Send + Sync,
    Resolvers: axum::extract::FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        // Most questions have no query string, and then there is nothing to read.
        let Query(AtLeast { min_revision }) = match parts.uri.query() {
            Some(_) => Query::from_request_parts(parts, state).await?,
            None => Query(AtLeast { min_revision: None }),
        };
        let min_revision = min_revision.map(|number| input::revision("min_revision", number)).transpose()?;
        let State(resolvers) = match State::<Resolvers>::from_request_parts(parts, state).await {
            Ok(resolvers) => resolvers,
            Err(never) => match never {},
        };
        let reading = resolvers.read_at_least(min_revision).await?;
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
        headers.extend(tag.into_header_value().map(|tag| (header::ETAG, tag)));
        // It may be kept, if it is asked each time whether it still holds.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, VARY);
        response
    }
}
