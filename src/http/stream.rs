//! Streaming responses (server-sent events): the headers that keep proxies from buffering them, and the interval of
//! their keep-alives. What a stream sends is not here, but in `resolvers::watch`; its frames are written in
//! `rest::events`, `rest::drains` and `graphql::transport::sse`. WebSockets are in `graphql::transport`.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// How often an idle stream of server-sent events sends a comment, by which the client and proxies know that it is alive.
/// As often as the clients of GraphQL over server-sent events expect it.
pub const SSE_KEEP_ALIVE: Duration = Duration::from_secs(12);

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
