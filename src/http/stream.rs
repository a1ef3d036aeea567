//! Streaming responses: the headers that keep proxies from buffering them.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// The header that tells a proxy not to buffer a response, as nginx does by default.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A streaming response. No proxy may cache, buffer or compress it, because each part has to reach the client at once.
pub fn streamed(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}
