//! GraphQL over server-sent events, by the distinct connections mode of the protocol `graphql-sse`:
//! one request, one operation, one stream of `next` messages and a `complete`.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use serde_json::json;

use super::endpoint::Endpoint;
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::subscriptions::broadcast::Payload;
use crate::http::streamed;

/// How often a quiet stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(12);

/// Runs an operation of any kind, and streams what it has to say, or that its document could not be read.
pub fn answer(endpoint: &Endpoint, asked: Result<ParsedRequest, async_graphql::Response>) -> Response {
    let messages = messages(endpoint.engine.stream_asked(asked)).take_until(endpoint.closing.clone().cancelled_owned());
    streamed(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("")))
}

fn messages(payloads: impl Stream<Item = Payload>) -> impl Stream<Item = Result<Event, Infallible>> {
    let next = payloads.map(|payload| {
        let next = Event::default().event("next");
        Ok(match payload {
            Payload::Next(json) => next.data(json),
            Payload::Refused(errors) => next.json_data(json!({ "errors": errors })).unwrap_or_default(),
        })
    });
    next.chain(stream::once(async { Ok(Event::default().event("complete").data("")) }))
}
