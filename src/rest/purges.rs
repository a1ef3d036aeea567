//! The handler of `/purges`: many workers are removed at once. One is removed by `DELETE /workers/{id}?purge=true`.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::filter_params::WorkerFilterBody;
use super::idempotent_response::{once, rendered, respond};
use crate::http::{Json, WithIdempotencyKey, current_caller};
use crate::resolvers::purge::{Purge, PurgeInput, PurgedWorker, RefusedPurge};
use crate::resolvers::{IdempotentReply, Resolvers, StoredResponse};

/// The body of a purge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with `filter`, `offline_for` or `all`")]
pub(super) struct PurgeBody {
    pub(super) filter: Option<WorkerFilterBody>,
    pub(super) offline_for: Option<String>,
    #[serde(default)]
    pub(super) all: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) force: bool,
}

impl PurgeBody {
    fn read(self) -> Result<PurgeInput> {
        let Self { filter, offline_for, all, dry_run, force } = self;
        Ok(PurgeInput { filter: filter.map(WorkerFilterBody::check).transpose()?, offline_for, all, dry_run, force })
    }
}

#[derive(Serialize)]
struct PurgeAnswer {
    dry_run: bool,
    purged: Vec<Purged>,
    refused: Vec<Refused>,
    total_refused: usize,
    remaining: usize,
}

#[derive(Serialize)]
struct Purged {
    worker_id: String,
    removed_vm_ids: Vec<String>,
}

#[derive(Serialize)]
struct Refused {
    worker_id: String,
    reason: &'static str,
    message: String,
}

impl From<&PurgedWorker> for Purged {
    fn from(PurgedWorker { worker_id, removed_vms }: &PurgedWorker) -> Self {
        Self { worker_id: worker_id.to_string(), removed_vm_ids: removed_vms.iter().map(ToString::to_string).collect() }
    }
}

impl From<&RefusedPurge> for Refused {
    fn from(refused: &RefusedPurge) -> Self {
        let (reason, message) = (refused.reason.as_str(), refused.message());
        Self { worker_id: refused.worker_id.to_string(), reason, message }
    }
}

/// `POST /api/v1/purges`
pub(super) async fn create(
    State(resolvers): State<Resolvers>,
    WithIdempotencyKey(key, Json(body)): WithIdempotencyKey<Json<PurgeBody>>,
) -> Result<Response> {
    let (caller, input) = (current_caller(), body.read()?);
    let answered = match key {
        None => IdempotentReply { answer: answer(resolvers.purge_workers(&caller, input).await?), is_replay: false },
        Some(key) => resolvers.purge_workers_idempotent(&caller, input, once(key, answer)).await?,
    };
    Ok(respond(answered))
}

fn answer(purge: Purge) -> StoredResponse {
    let Purge { dry_run, purged, refused, total_refused, remaining, cursor: _ } = purge;
    let (purged, refused) = (purged.iter().map(Into::into).collect(), refused.iter().map(Into::into).collect());
    rendered(&PurgeAnswer { dry_run, purged, refused, total_refused, remaining }, None)
}
