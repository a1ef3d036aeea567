//! What all queries share: the reading that they are answered from, the header with its revision, and 304 for clients
//! that have the response already.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::etag::{Tag, Versioned};
use super::json_objects::WriteJson;
use crate::http::{EXPECTED_ANSWER, HeaderTemplate};
use crate::json;
use crate::resolvers::Reading;

/// The header with the revision of the reading, which clients pass back as `min_revision` or `after_revision`.
const X_REVISION: HeaderName = HeaderName::from_static("x-revision");

/// The request headers that a response depends on.
const VARY: HeaderValue = HeaderValue::from_static("accept, accept-encoding, authorization, cookie");

/// The headers of every response to a query. Caches may store it, but have to revalidate it each time.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (X_REVISION, HeaderTemplate::PLACEHOLDER),
    (header::ETAG, HeaderTemplate::PLACEHOLDER),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (header::VARY, VARY),
];

static ANSWER: LazyLock<HeaderTemplate> = LazyLock::new(|| {
    let media_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    HeaderTemplate::of(HEADERS.into_iter().chain([media_type]))
});

static NOT_MODIFIED: LazyLock<HeaderTemplate> = LazyLock::new(|| HeaderTemplate::of(HEADERS));

/// A query about the cluster.
pub(super) struct Read {
    /// The cluster, at least at the revision that `?min_revision=` names.
    pub(super) reading: Reading,
    /// The values of `If-None-Match`.
    pub(super) known: Vec<HeaderValue>,
}

#[derive(Deserialize)]
pub(super) struct MinRevisionQuery {
    pub(super) min_revision: Option<i64>,
}

impl Read {
    /// Renders a response as JSON, or answers 304 without rendering if the client has it already.
    pub(super) fn show<T: Serialize + Versioned>(&self, answer: T) -> Response {
        self.respond(answer, |answer| {
            let mut text = Vec::with_capacity(EXPECTED_ANSWER);
            json::value(&answer, &mut text);
            text
        })
    }

    /// The same for one object.
    pub(super) fn show_object<T: WriteJson + Versioned>(&self, object: T) -> Response {
        self.respond(object, |object| object.text())
    }

    /// The same for a response that is rendered in its own way.
    pub(super) fn respond<T: Versioned, B: Into<Body>>(&self, answer: T, render: impl FnOnce(T) -> B) -> Response {
        let tag = Tag::of(&answer);
        let is_known = tag.is_among(&self.known);
        let revision = HeaderValue::from(self.reading.revision());
        let own = [(X_REVISION, revision), (header::ETAG, tag.into_header_value())];
        if !is_known {
            return ANSWER.answer_with(render(answer), own);
        }
        let mut response = NOT_MODIFIED.answer_with(Body::empty(), own);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_revision_and_its_tag_under_their_names() {
        for template in [&*ANSWER, &*NOT_MODIFIED] {
            let own = [(X_REVISION, HeaderValue::from(7)), (header::ETAG, HeaderValue::from_static("\"tag\""))];
            let answer = template.answer_with(Body::empty(), own);
            let headers = answer.headers();
            let shown = [X_REVISION, header::ETAG, header::CACHE_CONTROL, header::VARY].map(|name| &headers[name]);
            assert_eq!(shown, ["7", "\"tag\"", "no-cache", "accept, accept-encoding, authorization, cookie"]);
        }
    }
}
