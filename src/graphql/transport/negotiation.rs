//! Content negotiation of GraphQL over HTTP: whether a response is `application/graphql-response+json`, plain JSON or
//! an event stream, and the statuses, error bodies and `Cache-Control` that go with each.
//!
//! How `Accept` is parsed is not here, but in `http::negotiation`; the response itself is
//! serialized in [`response`](crate::graphql::execution::response).

use std::sync::LazyLock;

use async_graphql::parser::types::OperationType;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::graphql::error::{bad_request, request_error};
use crate::graphql::execution::response::OperationResponse;
use crate::http::{Accept, EVENT_STREAM, ErrorRenderer, HeaderTemplate, HttpError};

/// The media type of the GraphQL over HTTP specification: with it, a request error has a status of its own.
pub const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// The media type of clients from before that specification.
pub const JSON: &str = "application/json";

/// Whether a request has a precondition (`If-Match`, `If-None-Match`). Queries ignore it, since their responses have no
/// `ETag`; mutations with one are refused.
pub fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH)
}

/// The error response to a mutation with a precondition: a document may have several mutations, and one header cannot
/// say which worker it is about.
pub fn conditional_not_supported() -> async_graphql::Response {
    let message = "If-Match and If-None-Match are not taken here: pass `ifRevision` in the input of the mutation";
    bad_request(message.to_owned())
}

/// The response to a GET of an operation that is no query.
pub fn method_not_allowed(media: ResponseMedia) -> Response {
    let error =
        request_error("BAD_REQUEST", "A GET can only ask: send mutations by POST, subscriptions over WebSocket");
    let mut response = media.respond(async_graphql::Response::from_errors(vec![error]));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

/// The media type of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMedia {
    /// `application/graphql-response+json`: 400 for a request error.
    GraphqlResponse,
    /// `application/json`: 400 only for a malformed request, and 200 for everything else.
    Json,
}

static GRAPHQL_RESPONSE_HEAD: LazyLock<HeaderTemplate> = LazyLock::new(|| head(GRAPHQL_RESPONSE));

static JSON_HEAD: LazyLock<HeaderTemplate> = LazyLock::new(|| head(JSON));

fn head(media_type: &'static str) -> HeaderTemplate {
    HeaderTemplate::of([
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

impl ResponseMedia {
    /// The media type for these headers: plain JSON unless `Accept` names the specification's type, since older clients
    /// expect it.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        if Accept::of(headers).names(GRAPHQL_RESPONSE) { Self::GraphqlResponse } else { Self::Json }
    }

    /// The HTTP response, with the status that this media type has for it.
    pub fn respond(self, response: impl Into<OperationResponse>) -> Response {
        let response = response.into();
        let is_request_error = response.is_request_error();
        let retry_after_seconds = if is_request_error { response.rate_limit() } else { None };
        let (head, status) = match (self, is_request_error) {
            (Self::GraphqlResponse, true) if retry_after_seconds.is_some() => {
                (&GRAPHQL_RESPONSE_HEAD, StatusCode::TOO_MANY_REQUESTS)
            }
            (Self::Json, true) if retry_after_seconds.is_some() => (&JSON_HEAD, StatusCode::TOO_MANY_REQUESTS),
            (Self::GraphqlResponse, true) => (&GRAPHQL_RESPONSE_HEAD, StatusCode::BAD_REQUEST),
            (Self::GraphqlResponse, false) => (&GRAPHQL_RESPONSE_HEAD, StatusCode::OK),
            (Self::Json, true) if response.is_bad_request() => (&JSON_HEAD, StatusCode::BAD_REQUEST),
            (Self::Json, _) => (&JSON_HEAD, StatusCode::OK),
        };
        let Some(body) = response.into_body() else { return HttpError::internal().into_response() };
        let mut response = head.answer(body);
        *response.status_mut() = status;
        if let Some(seconds) = retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Which operations are answered with an event stream. Some clients accept every media type that they understand,
/// whatever the operation. For them only subscriptions are streamed: as JSON, a query also has a status and can be
/// cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPreference {
    /// None: the client does not accept event streams.
    Never,
    /// Subscriptions only: the client accepts JSON as well.
    Subscriptions,
    /// All: the client accepts nothing else.
    Anything,
}

impl StreamPreference {
    /// The preference that the `Accept` header states.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let accept = Accept::of(headers);
        if !accept.names(EVENT_STREAM) {
            Self::Never
        } else if [GRAPHQL_RESPONSE, JSON].into_iter().any(|media| accept.names(media)) {
            Self::Subscriptions
        } else {
            Self::Anything
        }
    }

    /// Whether a document with operations of these kinds is answered with an event stream.
    pub fn is_for(self, operation_types: &[OperationType]) -> bool {
        match self {
            Self::Never => false,
            Self::Subscriptions => operation_types.contains(&OperationType::Subscription),
            Self::Anything => true,
        }
    }
}

/// The error format of GraphQL routes for failures before a GraphQL request exists, such as a body that is no JSON: an
/// `errors` list, where GraphQL clients look.
pub const ERROR_FORMAT: ErrorRenderer = ErrorRenderer {
    media_type: |headers| if Accept::of(headers).names(GRAPHQL_RESPONSE) { GRAPHQL_RESPONSE } else { JSON },
    body: |failure| {
        let code = match failure.status() {
            StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL",
            StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
            StatusCode::TOO_MANY_REQUESTS => "RATE_LIMITED",
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            StatusCode::FORBIDDEN => "FORBIDDEN",
            _ => "BAD_REQUEST",
        };
        let error = request_error(code, failure.message());
        serde_json::to_vec(&json!({ "errors": [error] })).unwrap_or_default()
    },
};
