//! The handler of `/events`: the change log, as a page or as a stream of server-sent events that can be resumed.
//!
//! What a stream sends, and how it resumes, is not decided here, but in [`watch`](crate::resolvers::watch); how long
//! events are kept is in `journal::retention`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::Result;
use super::etag::Versioned;
use super::filter_params::given;
use super::json_objects::ClusterEvent;
use super::json_values;
use super::query_response::Read;
use crate::cluster::EventFilter;
use crate::error;
use crate::http::{Accept, EVENT_STREAM, NDJSON, Query, SSE_KEEP_ALIVE, current_caller, streamed};
use crate::resolvers::checks::{self, wanted};
use crate::resolvers::{EventView, event_limit};

/// The default length of a page.
pub(super) const DEFAULT_LIMIT: i64 = 100;

/// The media type of a page.
pub(super) const JSON: &str = "application/json";

/// The header that a browser's `EventSource` sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<String>,
    limit: Option<i64>,
    #[serde(default)]
    worker_id: Vec<String>,
    #[serde(default)]
    actor: Vec<String>,
    #[serde(default)]
    actor_token_id: Vec<String>,
}

#[derive(Serialize)]
struct EventList {
    events: Vec<ClusterEvent>,
    end_cursor: json_values::Cursor,
    has_next_page: bool,
}

impl Versioned for EventList {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.events.version(hasher);
        (&self.end_cursor, self.has_next_page).hash(hasher);
    }
}

/// `GET /api/v1/events`: a page, or a stream if `Accept` names one.
pub(super) async fn list(
    State(endpoint): State<Arc<Endpoint>>,
    headers: HeaderMap,
    read: Read,
    Query(query): Query<EventsQuery>,
) -> Result<Response> {
    let EventsQuery { after, limit, worker_id, actor, actor_token_id } = query;
    let worker_ids = given(wanted("worker_id", worker_id)?);
    let actors =
        wanted("actor", actor)?.iter().map(|word| checks::actor("actor", word)).collect::<Result<Vec<_>, _>>()?;
    let actor_token_ids = given(wanted("actor_token_id", actor_token_id)?);
    let filter = EventFilter { worker_ids, kinds: None, actors: given(actors), actor_token_ids };
    let resumed = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let after = resumed.or(after.as_deref().filter(|after| !after.is_empty()));
    // Generated clients name every media type that the operation has, whichever they can read. Of those, only JSON
    // ends, so that it is preferred.
    let accept = Some(Accept::of(&headers)).filter(|accept| !accept.names(JSON));
    if accept.is_some_and(|accept| accept.names(EVENT_STREAM)) {
        let events = endpoint.resolvers.watch_events(&current_caller(), after, filter)?;
        let messages = events.map(message).take_until(endpoint.closing.clone().cancelled_owned());
        return Ok(streamed(Sse::new(messages).keep_alive(KeepAlive::new().interval(SSE_KEEP_ALIVE))));
    }
    if accept.is_some_and(|accept| accept.names(NDJSON)) {
        let events = endpoint.resolvers.watch_events(&current_caller(), after, filter)?;
        let lines = lines(events).take_until(endpoint.closing.clone().cancelled_owned());
        let media = [(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))];
        return Ok(streamed((media, Body::from_stream(lines))));
    }
    let limit = event_limit("limit", limit.unwrap_or(DEFAULT_LIMIT))?;
    endpoint.resolvers.spend_more(&current_caller(), limit);
    let page = endpoint.resolvers.list_events(&read.reading, limit, after, &filter).await?;
    let list = EventList {
        events: page.nodes.into_iter().map(ClusterEvent).collect(),
        end_cursor: page.end_cursor.into(),
        has_next_page: page.has_next_page,
    };
    Ok(read.show(list))
}

/// Converts an item of the stream. An error ends the stream without an event: the client connects again with the last
/// id.
fn message(event: error::Result<EventView>) -> error::Result<sse::Event, StreamEnd> {
    let event = event.map_err(|_| StreamEnd)?;
    let message = sse::Event::default().id(event.event.cursor.to_string()).event(event.event.kind.as_str());
    message.json_data(ClusterEvent(event)).map_err(|_| StreamEnd)
}

fn lines(
    events: impl Stream<Item = error::Result<EventView>>,
) -> impl Stream<Item = error::Result<Vec<u8>, StreamEnd>> {
    events.map(|event| {
        let mut line = serde_json::to_vec(&ClusterEvent(event.map_err(|_| StreamEnd)?)).map_err(|_| StreamEnd)?;
        line.push(b'\n');
        Ok(line)
    })
}

/// Ends a stream that cannot go on: the connection is cut, so that the client does not take it for complete.
#[derive(Debug, thiserror::Error)]
#[error("the stream of events ended")]
pub(super) struct StreamEnd;
