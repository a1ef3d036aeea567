//! The handler of `/events`: the change log, as a page or as a stream of server-sent events that can be resumed.
//!
//! What a stream sends, and how it resumes, is not decided here, but in [`watch`](crate::resolvers::watch); how long
//! events are kept is in `journal::retention`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::Result;
use super::etag::Versioned;
use super::filter_params::{FILTER_NAMES, given, named};
use super::json_objects::ClusterEvent;
use super::json_values;
use super::paging::LinkToNext;
use super::query_response::Read;
use crate::error;
use crate::http::{Accept, EVENT_STREAM, NDJSON, Query, SSE_KEEP_ALIVE, current_caller, streamed};
use crate::resolvers::checks::{self, truncate};
use crate::resolvers::filter_input::EventFilterInput;
use crate::resolvers::{DEFAULT_EVENTS, EventPageRequest, EventView, event_limit};

/// The media type of a page.
pub(super) const JSON: &str = "application/json";

/// The header that a browser's `EventSource` sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    after: Option<String>,
    cursor: Option<String>,
    limit: Option<i64>,
    order: Option<String>,
    since: Option<String>,
    until: Option<String>,
    #[serde(default)]
    kind: Vec<String>,
    #[serde(default)]
    worker_id: Vec<String>,
    #[serde(default)]
    vm_id: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
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
    /// The `cursor` of the next page; null if this is the last.
    next_cursor: json_values::OptionalCursor,
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
    paging: LinkToNext,
    Query(query): Query<EventsQuery>,
) -> Result<Response> {
    let EventsQuery { after, cursor, limit, order, since, until, kind, worker_id, vm_id, zone, actor, actor_token_id } =
        query;
    let filter = EventFilterInput {
        worker_ids: given(worker_id),
        vm_ids: given(vm_id),
        zones: named(zone),
        kinds: given(kind),
        actors: given(actor),
        actor_token_ids: given(actor_token_id),
    };
    let filter = filter.check(&FILTER_NAMES)?;
    let resumed = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let after = resumed.or(after.as_deref().filter(|after| !after.is_empty()));
    let newest_first = order.map(|order| is_newest_first(&order)).transpose()?.unwrap_or_default();
    let cursor = cursor.filter(|cursor| !cursor.is_empty());
    let since = since.map(|time| checks::moment("since", &time)).transpose()?;
    let until = until.map(|time| checks::moment("until", &time)).transpose()?;
    let only_of_lists =
        [("cursor", cursor.is_some()), ("order", newest_first), ("since", since.is_some()), ("until", until.is_some())];
    let check_stream = || {
        let problem = "is for lists: a stream begins after `after`, goes on in the order of the log, and does not end";
        let odd = only_of_lists.iter().find(|(_, is_given)| *is_given);
        odd.map_or(Ok(()), |(name, _)| Err(error::Error::invalid(name, problem)))
    };
    // Generated clients name every media type that the operation has, whichever they can read. Of those, only JSON
    // ends, so that it is preferred.
    let accept = Some(Accept::of(&headers)).filter(|accept| !accept.names(JSON));
    if accept.is_some_and(|accept| accept.names(EVENT_STREAM)) {
        check_stream()?;
        let events = endpoint.resolvers.watch_events(&current_caller(), after, filter)?;
        let messages = events.map(message).take_until(endpoint.closing.clone().cancelled_owned());
        return Ok(streamed(Sse::new(messages).keep_alive(KeepAlive::new().interval(SSE_KEEP_ALIVE))));
    }
    if accept.is_some_and(|accept| accept.names(NDJSON)) {
        check_stream()?;
        let events = endpoint.resolvers.watch_events(&current_caller(), after, filter)?;
        let lines = lines(events).take_until(endpoint.closing.clone().cancelled_owned());
        let media = [(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))];
        return Ok(streamed((media, Body::from_stream(lines))));
    }
    let limit = limit.map_or(Ok(DEFAULT_EVENTS), |limit| event_limit("limit", limit))?;
    endpoint.resolvers.spend_more(&current_caller(), limit);
    let after = after.map(str::to_owned);
    // A page goes on from its cursor, in whichever order. `after` is about time: nothing from before it is on any page.
    let (after, before, names) = if newest_first {
        (cursor, after, ["cursor", "after"])
    } else if cursor.is_some() {
        (cursor, None, ["cursor", "before"])
    } else {
        (after, None, ["after", "before"])
    };
    let request = EventPageRequest { limit, from_the_end: false, after, before, newest_first, since, until, names };
    let page = endpoint.resolvers.list_events(&read.reading, &request, &filter).await?;
    let last = page.nodes.last().map(|event| event.event.cursor.clone());
    let next = last.filter(|_| page.has_next_page);
    let link = paging.to(next.as_ref().map(ToString::to_string).as_deref());
    let list = EventList {
        events: page.nodes.into_iter().map(ClusterEvent).collect(),
        end_cursor: page.end_cursor.into(),
        has_next_page: page.has_next_page,
        next_cursor: next.into(),
    };
    Ok((link, read.show(list)).into_response())
}

fn is_newest_first(order: &str) -> Result<bool> {
    match order {
        "asc" => Ok(false),
        "desc" => Ok(true),
        _ => {
            let problem = format!("must be asc (oldest first) or desc (newest first), not {:?}", truncate(order));
            Err(error::Error::invalid("order", problem).into())
        }
    }
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
