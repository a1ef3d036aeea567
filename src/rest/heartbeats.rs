//! The handlers of heartbeats: of one worker, and of a gateway's batch.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::Either;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::endpoint::Endpoint;
use super::error::Result;
use super::etag::Unconditional;
use super::idempotent_response::{once, rendered, respond};
use super::json_objects::{RecordHeartbeatPayload, RecordedInBatch, WriteJson as _};
use crate::error::{Error, Kind};
use crate::http::{
    HttpError, JSON_HEAD, Json, JsonText, PathId, WithIdempotencyKey, current_caller, is_kept_for_operators, note_shed,
    read_part,
};
use crate::resolvers::worker_input::HeartbeatInput;
use crate::resolvers::{HeartbeatRecorded, HeartbeatSender, Resolvers};

/// How long the refusal of a batch is held back when commands are shed. To read a batch is a fifth of the work of taking
/// it, so gateways that do not wait as `Retry-After` says could have the server do nothing else. Held back, each connection
/// gets one refusal in this time.
const REFUSED_BATCH_HOLD: Duration = Duration::from_millis(1_500);

/// Most heartbeats in one body.
pub(super) const MAX_HEARTBEATS: usize = 1_000;

/// `POST /api/v1/workers/{id}/heartbeat`
pub(super) async fn one(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    _: Unconditional,
    Admitted(WithIdempotencyKey(key, Json(input))): Admitted<WithIdempotencyKey<Json<HeartbeatInput>>>,
) -> Result<Response> {
    match key {
        None => {
            let recorded = resolvers.record_heartbeat(&current_caller(), &id, input).await.map_err(failure)?;
            Ok(JSON_HEAD.answer(RecordHeartbeatPayload(recorded).text()))
        }
        Some(key) => {
            let once = once(key, |recorded| rendered(&RecordHeartbeatPayload(recorded), None));
            // Boxed, so that requests without a key, which are nearly all, do not have the size of this future.
            Ok(respond(
                Box::pin(resolvers.record_heartbeat_idempotent(&current_caller(), &id, input, once))
                    .await
                    .map_err(failure)?,
            ))
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object with `heartbeats`")]
pub(super) struct Heartbeats {
    /// Parsed one by one, so that an invalid one does not concern the others.
    heartbeats: Vec<Box<RawValue>>,
}

/// The id of the worker; the rest of the object is its heartbeat.
#[derive(Deserialize)]
#[serde(expecting = "a JSON object that describes a heartbeat")]
struct Sender {
    worker_id: String,
}

#[derive(Serialize)]
struct Results {
    results: Vec<Answered>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answered {
    Recorded(RecordedInBatch),
    Refused { worker_id: Option<String>, status: u16, error: HttpError },
}

/// `POST /api/v1/heartbeats`
pub(super) async fn many(
    State(endpoint): State<Arc<Endpoint>>,
    _: Unconditional,
    Admitted(WithIdempotencyKey(key, Json(Heartbeats { heartbeats }))): Admitted<WithIdempotencyKey<Json<Heartbeats>>>,
) -> Result<Response> {
    if heartbeats.len() > MAX_HEARTBEATS {
        let problem = format!("must have at most {MAX_HEARTBEATS} entries, not {}", heartbeats.len());
        return Err(Error::invalid("heartbeats", problem).into());
    }
    let (mut readable, mut places) = (Vec::with_capacity(heartbeats.len()), Vec::with_capacity(heartbeats.len()));
    for heartbeat in heartbeats {
        places.push(match read(&heartbeat) {
            Ok((worker_id, input)) => {
                readable.push((worker_id.clone(), input));
                BatchEntry::Asked(worker_id)
            }
            Err(failure) => BatchEntry::Unreadable(claimed_sender(&heartbeat), failure),
        });
    }
    match key {
        None => {
            let recorded =
                hold_if_busy(&endpoint, endpoint.resolvers.record_heartbeats(&current_caller(), readable).await)
                    .await?;
            Ok(Json(results(&places, recorded)).into_response())
        }
        Some(key) => {
            let render = move |recorded| rendered(&results(&places, recorded), None);
            let reply =
                endpoint.resolvers.record_heartbeats_idempotent(&current_caller(), readable, once(key, render)).await;
            Ok(respond(hold_if_busy(&endpoint, reply).await?))
        }
    }
}

/// Reads the body of a heartbeat request only if there is room in the queue. If there is none, only the senders are
/// parsed from the body, which is a fraction of the work: they are alive, and are noted as such.
pub(super) struct Admitted<E>(E);

impl<E: FromRequest<Arc<Endpoint>, Rejection: IntoResponse>> FromRequest<Arc<Endpoint>> for Admitted<E> {
    type Rejection = Response;

    fn from_request(
        request: Request,
        state: &Arc<Endpoint>,
    ) -> impl Future<Output = Result<Self, Self::Rejection>> + Send {
        match check_room(&state.resolvers) {
            Ok(()) => Either::Left(
                E::from_request(request, state).map(|read| read.map(Self).map_err(IntoResponse::into_response)),
            ),
            // Boxed, so that accepted heartbeats do not have the size of this future.
            Err(refused) => Either::Right(Box::pin(refuse(request, state.clone(), refused).map(Err))),
        }
    }
}

/// Refuses a request after its senders are noted. The refusal of a batch is held back for [`REFUSED_BATCH_HOLD`].
async fn refuse(request: Request, endpoint: Arc<Endpoint>, refused: Error) -> Response {
    if let Error::Denied(_) = refused {
        // Who may not send heartbeats does not have theirs read.
        return failure(refused).into_response();
    }
    let is_batch = is_batch(request.uri().path());
    note_senders(request, endpoint.resolvers.clone()).await;
    if is_batch {
        return match hold_if_busy(&endpoint, Err::<Infallible, _>(refused)).await {
            Ok(never) => match never {},
            Err(refused) => refused.into_response(),
        };
    }
    failure(refused).into_response()
}

/// Holds the refusal of a batch back, if it is refused for load, at the door or after its body was parsed.
async fn hold_if_busy<T>(endpoint: &Endpoint, outcome: Result<T, Error>) -> Result<T, HttpError> {
    if let Err(Error::Busy { .. }) = outcome {
        // Boxed, so that accepted batches do not have the size of this future.
        Box::pin(endpoint.closing.run_until_cancelled(sleep(REFUSED_BATCH_HOLD))).await;
    }
    outcome.map_err(failure)
}

/// Whether a path is that of batches, which contains no id.
fn is_batch(path: &str) -> bool {
    path.ends_with("/heartbeats")
}

/// Checks whether heartbeats are accepted now, on this connection. How many a batch has is known only from its body: if
/// there is room for fewer, they are refused after parsing.
fn check_room(resolvers: &Resolvers) -> Result<(), Error> {
    // Before the body is read: a viewer has no business with it.
    resolvers.authorize_heartbeats(&current_caller())?;
    if is_kept_for_operators() { Err(Error::NoConnectionForWorkers) } else { resolvers.check_room_for_heartbeat() }
}

/// Marks a refusal for load, which is not logged by itself, because there are too many.
fn failure(error: Error) -> HttpError {
    if error.kind() == Kind::Overloaded {
        note_shed();
    }
    error.into()
}

/// The sender of a heartbeat; the rest is skipped.
#[derive(Deserialize)]
struct Speaker<'a> {
    #[serde(borrow)]
    worker_id: Option<Text<'a>>,
    incarnation: i64,
    #[serde(borrow)]
    boot_id: Option<Text<'a>>,
    sequence: Option<i64>,
}

/// A string that is copied only if it has escapes. An `Option<Cow<str>>` is always copied: serde borrows a `Cow` only
/// where it is the whole field.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Speaker<'_> {
    /// The worker is the one that the path of the request names, or else the one that the heartbeat names.
    fn sender<'a>(&'a self, id: Option<&'a str>) -> Option<HeartbeatSender<'a>> {
        let text = |text: &'a Option<Text<'_>>| text.as_ref().map(|Text(text)| &**text);
        let worker_id = id.or(text(&self.worker_id))?;
        let boot_id = text(&self.boot_id);
        Some(HeartbeatSender { worker_id, incarnation: self.incarnation, boot_id, sequence: self.sequence })
    }
}

#[derive(Deserialize)]
struct Speakers<T> {
    heartbeats: Vec<T>,
}

/// Notes signs of life from the senders in a refused request.
async fn note_senders(request: Request, resolvers: Resolvers) {
    let (mut parts, body) = request.into_parts();
    let id = if is_batch(parts.uri.path()) {
        None
    } else {
        PathId::from_request_parts(&mut parts, &()).await.ok().map(|PathId(id)| id)
    };
    let Ok(text) = JsonText::from_request(Request::from_parts(parts, body), &()).await else { return };
    let speakers: Vec<Speaker<'_>> = if id.is_some() {
        serde_json::from_slice(text.as_bytes()).into_iter().collect()
    } else if let Ok(Speakers { heartbeats }) = serde_json::from_slice(text.as_bytes()) {
        heartbeats
    } else if let Ok(Speakers { heartbeats }) = serde_json::from_slice::<Speakers<&RawValue>>(text.as_bytes()) {
        // An invalid one does not concern the others.
        heartbeats.into_iter().filter_map(|heartbeat| serde_json::from_str(heartbeat.get()).ok()).collect()
    } else {
        return;
    };
    resolvers
        .note_liveness_signs(&current_caller(), speakers.iter().filter_map(|speaker| speaker.sender(id.as_deref())));
}

/// One entry of a batch, after parsing.
enum BatchEntry {
    /// Submitted, for this worker.
    Asked(String),
    /// Invalid, with the id of its worker if that could be parsed.
    Unreadable(Option<String>, HttpError),
}

fn results(places: &[BatchEntry], recorded: Vec<Result<HeartbeatRecorded, Error>>) -> Results {
    let mut recorded = recorded.into_iter();
    let answered = places.iter().filter_map(|place| match place {
        BatchEntry::Asked(worker_id) => Some(answered(Some(worker_id.clone()), recorded.next()?.map_err(Into::into))),
        BatchEntry::Unreadable(worker_id, failure) => Some(answered(worker_id.clone(), Err(failure.clone()))),
    });
    Results { results: answered.collect() }
}

fn read(heartbeat: &RawValue) -> Result<(String, HeartbeatInput)> {
    let Sender { worker_id } = read_part(heartbeat)?;
    Ok((worker_id, read_part(heartbeat)?))
}

/// The id of the worker in an invalid heartbeat, if it can be parsed.
fn claimed_sender(heartbeat: &RawValue) -> Option<String> {
    // Only this field is parsed, whatever is wrong with the others.
    read_part(heartbeat).ok().map(|Sender { worker_id }| worker_id)
}

fn answered(worker_id: Option<String>, recorded: Result<HeartbeatRecorded>) -> Answered {
    match recorded {
        Ok(reply) => Answered::Recorded(RecordedInBatch { reply, status: StatusCode::OK.as_u16() }),
        Err(error) => Answered::Refused { worker_id, status: error.status().as_u16(), error },
    }
}
