//! In which form a client wants its answer: the media types of GraphQL over HTTP, a stream of events, and the statuses and
//! errors that go with each.

use std::sync::LazyLock;

use async_graphql::parser::types::OperationType;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::graphql::error::{bad_request, request_error};
use crate::graphql::execution::response::OperationResponse;
use crate::http::{Accept, EVENT_STREAM, ErrorRenderer, HeaderTemplate, HttpError};

/// The media type of the specification: with it, the status tells whether the request was understood.
pub const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// The one from before it.
pub const JSON: &str = "application/json";

/// Whether a request is to be carried out only if something holds, or does not. Of a question that asks nothing: its
/// answer has no tag.
pub fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH)
}

/// A document may have several commands, which one header cannot tie to the worker of each.
pub fn not_conditional() -> async_graphql::Response {
    let problem = "If-Match and If-None-Match are not taken here: pass `ifRevision` in the input of the mutation";
    bad_request(problem.to_owned())
}

pub fn not_by_get(media: ResponseMedia) -> Response {
    let error =
        request_error("BAD_REQUEST", "A GET can only ask: send mutations by POST, subscriptions over WebSocket");
    let mut response = media.answer(async_graphql::Response::from_errors(vec![error]));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

/// How the client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMedia {
    /// The specification's own type.
    GraphqlResponse,
    /// Plain JSON, with which everything that could be read at all is 200.
    Json,
}

static GRAPHQL_HEAD: LazyLock<HeaderTemplate> = LazyLock::new(|| head(GRAPHQL_RESPONSE));

static PLAIN_HEAD: LazyLock<HeaderTemplate> = LazyLock::new(|| head(JSON));

fn head(media_type: &'static str) -> HeaderTemplate {
    HeaderTemplate::of([
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

impl ResponseMedia {
    /// Plain JSON unless the other is named: that is what clients from before it expect.
    pub fn asked_for(headers: &HeaderMap) -> Self {
        if Accept::of(headers).names(GRAPHQL_RESPONSE) { Self::GraphqlResponse } else { Self::Json }
    }

    pub fn answer(self, answer: impl Into<OperationResponse>) -> Response {
        let answer = answer.into();
        let refused = answer.was_refused();
        let (head, status) = match (self, refused) {
            (Self::GraphqlResponse, true) => (&GRAPHQL_HEAD, StatusCode::BAD_REQUEST),
            (Self::GraphqlResponse, false) => (&GRAPHQL_HEAD, StatusCode::OK),
            (Self::Json, true) if answer.was_unreadable() => (&PLAIN_HEAD, StatusCode::BAD_REQUEST),
            (Self::Json, _) => (&PLAIN_HEAD, StatusCode::OK),
        };
        let Some(body) = answer.into_body() else { return HttpError::internal().into_response() };
        let mut response = head.answer(body);
        *response.status_mut() = status;
        response
    }
}

/// Whether a client wants its answer as a stream. Some clients name every form they understand, whatever they ask: of
/// those JSON says more, by its status and to caches, and only a subscription needs a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPreference {
    Never,
    Subscriptions,
    Anything,
}

impl StreamPreference {
    /// What these headers say.
    pub fn asked_for(headers: &HeaderMap) -> Self {
        let accept = Accept::of(headers);
        if !accept.names(EVENT_STREAM) {
            Self::Never
        } else if [GRAPHQL_RESPONSE, JSON].into_iter().any(|media| accept.names(media)) {
            Self::Subscriptions
        } else {
            Self::Anything
        }
    }

    /// Whether that holds for a document with operations of these kinds.
    pub fn is_for(self, kinds: &[OperationType]) -> bool {
        match self {
            Self::Never => false,
            Self::Subscriptions => kinds.contains(&OperationType::Subscription),
            Self::Anything => true,
        }
    }
}

/// How routes of GraphQL write what failed before it was a request of GraphQL, such as a body that is no JSON: with
/// `errors`, where its clients look.
pub const ERROR_FORMAT: ErrorRenderer = ErrorRenderer {
    media_type: |headers| if Accept::of(headers).names(GRAPHQL_RESPONSE) { GRAPHQL_RESPONSE } else { JSON },
    body: |failure| {
        let code = match failure.status() {
            StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "UNAVAILABLE",
            _ => "BAD_REQUEST",
        };
        let error = request_error(code, failure.message());
        serde_json::to_vec(&json!({ "errors": [error] })).unwrap_or_default()
    },
};
