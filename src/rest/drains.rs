//! The handlers of drains, which only ask: that of one worker, its history, and those of all workers, as a list or as a
//! stream. Draining itself is a command on a worker, in [`workers`](super::workers).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, LONGEST_WAIT};
use super::error::Result;
use super::etag::{Tag, Versioned};
use super::events::{JSON, StreamEnd};
use super::filter_params::{FILTER_NAMES, given, named};
use super::json_lists::{ListKeys, PartialList};
use super::json_objects::Drain;
use super::paging::Paging;
use super::query_response::Read;
use crate::cluster::{DrainState, DrainView};
use crate::error::Error;
use crate::http::{
    Accept, EVENT_STREAM, NDJSON, PathId, Query, SSE_KEEP_ALIVE, current_caller, in_request_context,
    is_kept_for_operators, no_connection_for_what_goes_on, streamed,
};
use crate::resolvers::checks;
use crate::resolvers::drain_input::drain_filter;
use crate::resolvers::drain_watch::DrainProgress;
use crate::resolvers::drains::{DrainHistory, drain_limit, drain_number};
use crate::resolvers::filter_input::{self, FilterNames, WorkerFilterInput};
use crate::resolvers::page::Listing;

/// The default length of a page of a worker's drains.
pub(super) const DEFAULT_LIMIT: i64 = 100;

/// What a long poll of a drain may wait for.
pub(super) const WAITS: [&str; 5] = ["complete", "safe", "overdue", "ended", "change"];

/// `GET /api/v1/drains`
const DRAINS: ListKeys = ListKeys { rows: "drains", total: "total" };

/// The names of the filter of drains.
const DRAIN_FILTER_NAMES: FilterNames = FilterNames { ids: "worker_id", statuses: "state", ..FILTER_NAMES };

#[derive(Deserialize)]
pub(super) struct DrainQuery {
    /// How long to wait, as Go writes durations.
    wait: Option<String>,
    /// For what: one of [`WAITS`].
    #[serde(rename = "for")]
    until: Option<String>,
}

/// What a long poll waits for.
#[derive(Clone, Copy)]
enum Until {
    Complete,
    Safe,
    Overdue,
    Ended,
    Change,
}

impl Until {
    fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "complete" => Ok(Self::Complete),
            "safe" => Ok(Self::Safe),
            "overdue" => Ok(Self::Overdue),
            "ended" => Ok(Self::Ended),
            "change" => Ok(Self::Change),
            _ => Err(Error::invalid(
                "for",
                format!("must be one of {}, not {:?}", WAITS.join(", "), checks::truncate(text)),
            )),
        }
    }

    /// Whether the drain is as wanted, or cannot become so any more.
    fn is_reached(self, drain: &DrainView, known: &[HeaderValue]) -> bool {
        let state = drain.state();
        match self {
            Self::Complete => state == DrainState::Complete || !state.is_standing(),
            Self::Safe => drain.is_safe_to_power_off() || !state.is_standing(),
            Self::Overdue => state != DrainState::Draining,
            Self::Ended => !state.is_standing(),
            Self::Change => !Tag::of(&Drain(drain.clone())).is_among(known),
        }
    }
}

/// `GET /api/v1/workers/{id}/drain`
pub(super) async fn one(
    State(endpoint): State<Arc<Endpoint>>,
    mut read: Read,
    PathId(id): PathId,
    Query(DrainQuery { wait, until }): Query<DrainQuery>,
) -> Result<Response> {
    let until = until.as_deref().map(Until::parse).transpose()?.unwrap_or(Until::Change);
    if let Some(wait) = wait {
        let wait = checks::duration("wait", &wait, LONGEST_WAIT)?;
        if is_kept_for_operators() {
            return Err(no_connection_for_what_goes_on());
        }
        // A client that has no answer yet waits for another one than the present.
        let present = Tag::of(&Drain(read.reading.last_drain(&id)?)).into_header_value();
        let known = if read.known.is_empty() { vec![present] } else { read.known.clone() };
        let caller = current_caller();
        let reached = endpoint.resolvers.read_when_drain(&caller, &id, wait, |drain| until.is_reached(drain, &known));
        // A shutdown ends the wait.
        let reached = Box::pin(endpoint.closing.run_until_cancelled(reached)).await;
        read.reading = reached.unwrap_or_else(|| Ok(endpoint.resolvers.present()))?;
    }
    Ok(read.show_object(Drain(read.reading.last_drain(&id)?)))
}

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    limit: Option<i64>,
    cursor: Option<i64>,
}

#[derive(Serialize)]
struct HistoryAnswer {
    worker_id: String,
    drains: Vec<Drain>,
    next_cursor: Option<String>,
}

impl Versioned for HistoryAnswer {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        (&self.worker_id, &self.next_cursor).hash(hasher);
        self.drains.version(hasher);
    }
}

/// `GET /api/v1/workers/{id}/drains`
pub(super) async fn history(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    paging: Paging,
    PathId(id): PathId,
    Query(HistoryQuery { limit, cursor }): Query<HistoryQuery>,
) -> Result<Response> {
    let limit = drain_limit("limit", limit.unwrap_or(DEFAULT_LIMIT))?;
    let before = cursor.map(|number| drain_number("cursor", number)).transpose()?;
    let caller = current_caller();
    endpoint.resolvers.spend_more(&caller, limit);
    let history = endpoint.resolvers.drain_history(&caller, &read.reading, &id, limit, before).await?;
    let DrainHistory { nodes, next } = history;
    let next_cursor = next.map(|number| number.to_string());
    let link = paging.link(next_cursor.as_deref());
    let answer = HistoryAnswer { worker_id: id, drains: nodes.into_iter().map(Drain).collect(), next_cursor };
    Ok((link, read.show(answer)).into_response())
}

#[derive(Deserialize)]
pub(super) struct DrainListQuery {
    #[serde(default)]
    state: Vec<String>,
    #[serde(default)]
    worker_id: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    has_zone: Option<bool>,
    #[serde(default)]
    label: Vec<String>,
    #[serde(default)]
    capability: Vec<String>,
    search: Option<String>,
    /// The shortest time between two messages of a stream about one drain.
    every: Option<String>,
}

/// A message of a stream.
#[derive(Serialize)]
struct ProgressMessage {
    drain: Drain,
    is_last: bool,
}

impl From<DrainProgress> for ProgressMessage {
    fn from(DrainProgress { drain, is_last }: DrainProgress) -> Self {
        Self { drain: Drain(drain), is_last }
    }
}

/// `GET /api/v1/drains`: a list, or a stream if `Accept` names one.
pub(super) async fn list(
    State(endpoint): State<Arc<Endpoint>>,
    headers: HeaderMap,
    mut read: Read,
    paging: Paging,
    Query(query): Query<DrainListQuery>,
) -> Result<Response> {
    let DrainListQuery { state, worker_id, zone, has_zone, label: labels, capability, search, every } = query;
    let label = |text: &String| filter_input::label(FILTER_NAMES.labels, text);
    let workers = WorkerFilterInput {
        ids: given(worker_id),
        zones: named(zone),
        has_zone,
        capabilities: given(capability),
        labels: given(labels.iter().map(label).collect::<Result<_, _>>()?),
        search,
        ..WorkerFilterInput::default()
    };
    let filter = drain_filter(workers, given(state), &DRAIN_FILTER_NAMES)?;
    let every = every.map(|text| checks::duration("every", &text, checks::LONGEST_PERIOD)).transpose()?;
    // As with events: a client that can read JSON gets what ends.
    let accept = Some(Accept::of(&headers)).filter(|accept| !accept.names(JSON));
    let closing = endpoint.closing.clone();
    if accept.is_some_and(|accept| accept.names(EVENT_STREAM)) {
        let progress = endpoint.resolvers.watch_drains(&current_caller(), filter, every)?;
        let messages = progress.map(|progress| {
            let message = ProgressMessage::from(progress.map_err(|_| StreamEnd)?);
            let event = sse::Event::default().event(if message.is_last { "last" } else { "progress" });
            event.json_data(message).map_err(|_| StreamEnd)
        });
        let messages = messages.take_until(closing.cancelled_owned());
        return Ok(streamed(Sse::new(messages).keep_alive(KeepAlive::new().interval(SSE_KEEP_ALIVE))));
    }
    if accept.is_some_and(|accept| accept.names(NDJSON)) {
        let progress = endpoint.resolvers.watch_drains(&current_caller(), filter, every)?;
        let lines = progress.map(|progress| {
            let message = ProgressMessage::from(progress.map_err(|_| StreamEnd)?);
            let mut line = serde_json::to_vec(&message).map_err(|_| StreamEnd)?;
            line.push(b'\n');
            Ok::<_, StreamEnd>(line)
        });
        let media = [(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))];
        return Ok(streamed((media, Body::from_stream(lines.take_until(closing.cancelled_owned())))));
    }
    read.reading = endpoint.resolvers.read_for_page(read.reading, paging.request()).await?;
    let steps = read.reading.steps_to_list_drains(&filter, paging.request());
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || {
        let Listing { nodes, total, next } = read.reading.listing_of_drains(&filter, paging.request())?;
        let rows = nodes.into_iter().map(Drain).collect();
        let link = paging.link(next.as_deref());
        let next_cursor = paging.next_cursor(next);
        Ok((link, read.show(PartialList { keys: DRAINS, rows, total, next_cursor })).into_response())
    };
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}
