//! The handlers of commands on many workers at once, `POST /drains` and `POST /activations`, and of the question that
//! goes with them, `GET /evacuation-plan`. One worker is drained, and activated, in [`workers`](super::workers).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::Result;
use super::filter_params::WorkerFilterBody;
use super::idempotent_response::{once, rendered, respond};
use super::json_objects::EvacuationPlan;
use super::placement::Written;
use super::query_response::Read;
use super::workers::{DrainBody, WorkerFilterQuery};
use crate::http::{Json, Query, WithIdempotencyKey, current_caller};
use crate::resolvers::checks::Whole;
use crate::resolvers::drain_workers::{ActivateWorkersInput, ChangeOfWorkers, DrainOfWorkers, DrainWorkersInput};
use crate::resolvers::{IdempotentReply, PolicyChanged, Resolvers, StoredResponse};

/// The body of a drain of many workers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with `filter` or `all`")]
pub(super) struct DrainWorkersBody {
    pub(super) filter: Option<WorkerFilterBody>,
    #[serde(default)]
    pub(super) all: bool,
    pub(super) reason: Option<String>,
    pub(super) deadline_seconds: Option<Whole>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) allow_shortfall: bool,
    pub(super) limit: Option<Whole>,
}

impl DrainWorkersBody {
    fn read(self) -> Result<DrainWorkersInput> {
        let Self { filter, all, reason, deadline_seconds, metadata, dry_run, allow_shortfall, limit } = self;
        let drain = DrainBody { reason, deadline_seconds, metadata }.read()?;
        let filter = filter.map(WorkerFilterBody::check).transpose()?;
        Ok(DrainWorkersInput { filter, all, drain, dry_run, allow_shortfall, limit })
    }
}

/// The body of an activation of many workers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with `filter` or `all`")]
pub(super) struct ActivateWorkersBody {
    pub(super) filter: Option<WorkerFilterBody>,
    #[serde(default)]
    pub(super) all: bool,
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) dry_run: bool,
}

impl ActivateWorkersBody {
    fn read(self) -> Result<ActivateWorkersInput> {
        let Self { filter, all, reason, dry_run } = self;
        Ok(ActivateWorkersInput { filter: filter.map(WorkerFilterBody::check).transpose()?, all, reason, dry_run })
    }
}

#[derive(Serialize)]
struct ChangeAnswer {
    dry_run: bool,
    workers: Vec<ChangedWorker>,
    total_changed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<EvacuationPlan>,
    revision: u64,
}

#[derive(Serialize)]
struct ChangedWorker {
    worker_id: String,
    changed: bool,
}

impl From<&PolicyChanged> for ChangedWorker {
    fn from(PolicyChanged { worker, changed }: &PolicyChanged) -> Self {
        Self { worker_id: worker.worker.id.to_string(), changed: *changed }
    }
}

impl ChangeAnswer {
    fn of(change: &ChangeOfWorkers, plan: Option<EvacuationPlan>) -> Self {
        let (dry_run, total_changed, revision) = (change.dry_run, change.total_changed(), change.revision);
        Self { dry_run, workers: change.workers.iter().map(Into::into).collect(), total_changed, plan, revision }
    }
}

/// `POST /api/v1/drains`
pub(super) async fn drain(
    State(resolvers): State<Resolvers>,
    WithIdempotencyKey(key, Json(body)): WithIdempotencyKey<Json<DrainWorkersBody>>,
) -> Result<Response> {
    let (caller, input) = (current_caller(), body.read()?);
    let answered = match key {
        None => IdempotentReply { answer: drained(resolvers.drain_workers(&caller, input).await?), is_replay: false },
        Some(key) => resolvers.drain_workers_idempotent(&caller, input, once(key, drained)).await?,
    };
    Ok(respond(answered))
}

/// `POST /api/v1/activations`
pub(super) async fn activate(
    State(resolvers): State<Resolvers>,
    WithIdempotencyKey(key, Json(body)): WithIdempotencyKey<Json<ActivateWorkersBody>>,
) -> Result<Response> {
    let (caller, input) = (current_caller(), body.read()?);
    let answered = match key {
        None => {
            let answer = activated(resolvers.activate_workers(&caller, input).await?);
            IdempotentReply { answer, is_replay: false }
        }
        Some(key) => resolvers.activate_workers_idempotent(&caller, input, once(key, activated)).await?,
    };
    Ok(respond(answered))
}

fn drained(DrainOfWorkers { change, plan }: DrainOfWorkers) -> StoredResponse {
    rendered(&ChangeAnswer::of(&change, Some(EvacuationPlan(plan))), None)
}

fn activated(change: ChangeOfWorkers) -> StoredResponse {
    rendered(&ChangeAnswer::of(&change, None), None)
}

#[derive(Deserialize)]
pub(super) struct EvacuationPlanQuery {
    limit: Option<i64>,
}

/// `GET /api/v1/evacuation-plan`
pub(super) async fn evacuation_plan(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(workers): Query<WorkerFilterQuery>,
    Query(EvacuationPlanQuery { limit }): Query<EvacuationPlanQuery>,
) -> Result<Response> {
    let (filter, limit) = (workers.check()?, limit.map(Whole));
    let (caller, reading) = (current_caller(), read.reading.clone());
    let plan = endpoint.resolvers.evacuation_plan(&caller, reading, filter, limit).await?;
    Ok(read.respond(Written::of(&EvacuationPlan(plan)), Body::from))
}
