//! How workers say that they are alive: each for itself, or many through a gateway.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::Result;
use super::etag::Unconditional;
use super::idempotency::{once, rendered, respond};
use super::objects::{RecordHeartbeatPayload, RecordedInBatch, WriteJson as _};
use crate::error::Error;
use crate::http::{HttpError, JSON_HEAD, Json, PathId, WithIdempotencyKey, read_part};
use crate::resolvers::input::HeartbeatInput;
use crate::resolvers::{HeartbeatRecorded, Resolvers};

/// Most heartbeats in one body.
pub(super) const MAX_HEARTBEATS: usize = 1_000;

/// `POST /api/v1/workers/{id}/heartbeat`
pub(super) async fn one(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    _: Unconditional,
    WithIdempotencyKey(key, Json(input)): WithIdempotencyKey<Json<HeartbeatInput>>,
) -> Result<Response> {
    match key {
        None => Ok(JSON_HEAD.answer(RecordHeartbeatPayload(resolvers.record_heartbeat(&id, input).await?).text())),
        Some(key) => {
            let once = once(key, |recorded| rendered(&RecordHeartbeatPayload(recorded), None));
            // In a box: nearly nobody names a key, and the others would carry the room for it.
            Ok(respond(Box::pin(resolvers.record_heartbeat_once(&id, input, once)).await?))
        }
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object with `heartbeats`")]
pub(super) struct Heartbeats {
    /// Read one by one, so that one that cannot be read does not spoil the others.
    heartbeats: Vec<Box<RawValue>>,
}

/// Whose heartbeat it is; the rest of the object is what it says.
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
    State(resolvers): State<Resolvers>,
    _: Unconditional,
    WithIdempotencyKey(key, Json(Heartbeats { heartbeats })): WithIdempotencyKey<Json<Heartbeats>>,
) -> Result<Response> {
    if heartbeats.len() > MAX_HEARTBEATS {
        let problem = format!("must have at most {MAX_HEARTBEATS} entries, not {}", heartbeats.len());
        return Err(Error::invalid("heartbeats", problem).into());
    }
    let (mut beats, mut places) = (Vec::with_capacity(heartbeats.len()), Vec::with_capacity(heartbeats.len()));
    for beat in heartbeats {
        places.push(match read(&beat) {
            Ok((worker_id, input)) => {
                beats.push((worker_id.clone(), input));
                BatchEntry::Asked(worker_id)
            }
            Err(failure) => BatchEntry::Unreadable(claimed_sender(&beat), failure),
        });
    }
    match key {
        None => Ok(Json(results(&places, resolvers.record_heartbeats(beats).await)).into_response()),
        Some(key) => {
            let render = move |recorded| rendered(&results(&places, recorded), None);
            Ok(respond(resolvers.record_heartbeats_once(beats, once(key, render)).await?))
        }
    }
}

/// One entry of a batch.
enum BatchEntry {
    /// It was asked for this worker.
    Asked(String),
    /// It could not be read.
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

fn read(beat: &RawValue) -> Result<(String, HeartbeatInput)> {
    let Sender { worker_id } = read_part(beat)?;
    Ok((worker_id, read_part(beat)?))
}

/// Whose heartbeat it says to be, if it says so much.
fn claimed_sender(beat: &RawValue) -> Option<String> {
    // Whatever else is wrong with it: what is not read may be anything.
    read_part(beat).ok().map(|Sender { worker_id }| worker_id)
}

fn answered(worker_id: Option<String>, recorded: Result<HeartbeatRecorded>) -> Answered {
    match recorded {
        Ok(reply) => Answered::Recorded(RecordedInBatch { reply, status: StatusCode::OK.as_u16() }),
        Err(error) => Answered::Refused { worker_id, status: error.status().as_u16(), error },
    }
}
