//! GraphQL over server-sent events, by the distinct connections mode of the protocol `graphql-sse`: one request runs
//! one operation and gets one stream of `next` events, then a `complete` event.
//!
//! The twin for REST is `rest::events`; the headers of streams and their keep-alive are in `http::stream`.

use std::convert::Infallible;

use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use serde_json::json;

use super::endpoint::Endpoint;
use crate::auth::Caller;
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::subscriptions::broadcast::Payload;
use crate::http::{SSE_KEEP_ALIVE, streamed};

/// Streams the payloads of an operation of any kind, or the error response of a request that could not be parsed.
pub fn respond(
    endpoint: &Endpoint,
    parsed: Result<ParsedRequest, async_graphql::Response>,
    caller: Caller,
) -> Response {
    let messages = messages(endpoint.executor.stream_parsed(parsed, caller))
        .take_until(endpoint.closing.clone().cancelled_owned());
    streamed(Sse::new(messages).keep_alive(KeepAlive::new().interval(SSE_KEEP_ALIVE).text("")))
}

fn messages(payloads: impl Stream<Item = Payload>) -> impl Stream<Item = Result<Event, Infallible>> {
    let next = payloads.map(|payload| {
        let next = Event::default().event("next");
        Ok(match payload {
            Payload::Next(json) => next.data(json),
            Payload::Errors(errors) => next.json_data(json!({ "errors": errors })).unwrap_or_default(),
        })
    });
    next.chain(stream::once(async { Ok(Event::default().event("complete").data("")) }))
}
