//! Responses to requests with an `Idempotency-Key`: rendered for the idempotency record, and sent again to a repeated
//! request.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::IdempotencyKey;
use crate::resolvers::{IdempotentReply, IdempotentRequest, StoredResponse};

/// The header of a replayed response, for which nothing was done now.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Combines the key of a request with the function that renders its response.
pub(super) fn once<T>(
    key: IdempotencyKey,
    render: impl Fn(T) -> StoredResponse + Send + 'static,
) -> IdempotentRequest<T> {
    let IdempotencyKey { key, fingerprint } = key;
    IdempotentRequest { key, fingerprint, render: Box::new(render) }
}

/// Renders a response as text.
pub(super) fn rendered(body: &impl Serialize, tag: Option<&str>) -> StoredResponse {
    // The responses of this room always serialise.
    let body = serde_json::to_string(body).unwrap_or_default();
    StoredResponse { body: body.into(), tag: tag.map(Into::into) }
}

/// The response of an idempotency record: as it was the first time, with a header if it is replayed.
pub(super) fn respond(IdempotentReply { answer, is_replay }: IdempotentReply) -> Response {
    let StoredResponse { body, tag } = answer;
    let mut response = body.to_string().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(tag.and_then(|tag| HeaderValue::try_from(&*tag).ok()).map(|tag| (header::ETAG, tag)));
    if is_replay {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
