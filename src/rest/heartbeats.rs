//! How workers say that they are alive: each for itself, or many through a gateway.

use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::Result;
use super::object::RecordHeartbeatPayload;
use crate::error::Error;
use crate::http::{Failure, Id, Json, read_part};
use crate::resolvers::input::HeartbeatInput;
use crate::resolvers::{HeartbeatRecorded, Resolvers};

/// Most heartbeats in one body.
pub(super) const MAX_HEARTBEATS: usize = 1_000;

/// `POST /api/v1/workers/{id}/heartbeat`
pub(super) async fn one(
    State(resolvers): State<Resolvers>,
    Id(id): Id,
    Json(input): Json<HeartbeatInput>,
) -> Result<Json<RecordHeartbeatPayload>> {
    Ok(Json(RecordHeartbeatPayload(resolvers.record_heartbeat(&id, input).await?)))
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object with `heartbeats`")]
pub(super) struct Heartbeats {
    /// Read one by one, so that one that cannot be read does not spoil the others.
    heartbeats: Vec<serde_json::Value>,
}

/// Whose heartbeat it is; the rest of the object is what it says.
#[derive(Deserialize)]
#[serde(expecting = "a JSON object that describes a heartbeat")]
struct Sender {
    worker_id: String,
}

#[derive(Serialize)]
pub(super) struct Results {
    results: Vec<Answered>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answered {
    Recorded {
        status: u16,
        #[serde(flatten)]
        reply: RecordHeartbeatPayload,
    },
    Refused {
        worker_id: Option<String>,
        status: u16,
        error: Failure,
    },
}

/// `POST /api/v1/heartbeats`
pub(super) async fn many(
    State(resolvers): State<Resolvers>,
    Json(Heartbeats { heartbeats }): Json<Heartbeats>,
) -> Result<Json<Results>> {
    if heartbeats.len() > MAX_HEARTBEATS {
        let problem = format!("must have at most {MAX_HEARTBEATS} entries, not {}", heartbeats.len());
        return Err(Error::invalid("heartbeats", problem).into());
    }
    // All at once: the journal commits together what comes together, in the order given.
    let results = join_all(heartbeats.into_iter().map(|beat| answer(&resolvers, beat))).await;
    Ok(Json(Results { results }))
}

async fn answer(resolvers: &Resolvers, beat: serde_json::Value) -> Answered {
    match record(resolvers, &beat).await {
        Ok(reply) => Answered::Recorded { status: StatusCode::OK.as_u16(), reply: RecordHeartbeatPayload(reply) },
        Err(error) => {
            let worker_id = beat.get("worker_id").and_then(serde_json::Value::as_str).map(str::to_owned);
            Answered::Refused { worker_id, status: error.status().as_u16(), error }
        }
    }
}

async fn record(resolvers: &Resolvers, beat: &serde_json::Value) -> Result<HeartbeatRecorded> {
    let Sender { worker_id } = read_part(beat)?;
    Ok(resolvers.record_heartbeat(&worker_id, read_part(beat)?).await?)
}
