//! `/workers`: what operators and tools ask of workers, and how workers come and go.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::filter::{FILTER_NAMES, named};
use super::object::{ListedVm, RegisterWorkerPayload, Worker};
use super::paging::{Paging, SORT};
use super::read::{Read, Shown};
use super::{Endpoint, LONGEST_WAIT, Result};
use crate::http::{Id, Json, OptionalJson, Query};
use crate::resolvers::filter::{self, WorkerFilterInput};
use crate::resolvers::input::{self, RegistrationInput, vm_status, wanted};
use crate::resolvers::page::Listing;
use crate::resolvers::{Goodbye, PolicyChanged, Resolvers};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    id: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    #[serde(default)]
    status: Vec<String>,
    is_healthy: Option<bool>,
    #[serde(default)]
    capability: Vec<String>,
    #[serde(default)]
    label: Vec<String>,
    search: Option<String>,
    /// By what to sort, with a minus before it for the largest first.
    sort: Option<String>,
    /// For how long to wait for a change, as Go writes durations.
    wait: Option<String>,
    /// The revision that the client has seen.
    after_revision: Option<i64>,
}

#[derive(Serialize)]
struct WorkerList {
    workers: Vec<Worker>,
    total: usize,
}

/// `GET /api/v1/workers`
pub(super) async fn list(
    State(Endpoint { resolvers, closing }): State<Endpoint>,
    Read(mut reading): Read,
    paging: Paging,
    Query(query): Query<ListQuery>,
) -> Result<impl IntoResponse> {
    let ListQuery { id, zone, status, is_healthy, capability, label, search, sort, wait, after_revision } = query;
    let filter = WorkerFilterInput {
        ids: id,
        zones: named(zone),
        statuses: status,
        is_healthy,
        capabilities: capability,
        labels: label.iter().map(|text| filter::label(text)).collect(),
        search,
    };
    let filter = filter.check(&FILTER_NAMES)?;
    let order = sort.map(|text| filter::worker_order(SORT, &text)).transpose()?.unwrap_or_default();
    if let Some(wait) = wait {
        let after = after_revision.map(|number| input::revision("after_revision", number)).transpose()?;
        let wait = input::duration("wait", &wait, LONGEST_WAIT)?;
        let past = resolvers.read_when_past(after.unwrap_or(reading.revision()), wait);
        // A server that leaves does not make its leaving wait for this.
        reading = closing.run_until_cancelled(past).await.unwrap_or_else(|| resolvers.read());
    }
    let Listing { nodes, total, next } = reading.listing_of_workers(&filter, order, paging.request())?;
    let workers = nodes.into_iter().map(Worker).collect();
    Ok((paging.link(next.as_deref()), Shown(reading.revision(), WorkerList { workers, total })))
}

/// `GET /api/v1/workers/{id}`
pub(super) async fn one(Read(reading): Read, Id(id): Id) -> Result<Shown<Worker>> {
    Ok(Shown(reading.revision(), Worker(reading.worker(&id)?)))
}

#[derive(Deserialize)]
pub(super) struct VmsQuery {
    #[serde(default)]
    status: Vec<String>,
}

#[derive(Serialize)]
struct WorkerVms {
    worker_id: String,
    vms: Vec<ListedVm>,
    total: usize,
}

/// `GET /api/v1/workers/{id}/vms`
pub(super) async fn vms(Read(reading): Read, Id(id): Id, Query(query): Query<VmsQuery>) -> Result<impl IntoResponse> {
    let statuses =
        wanted("status", query.status)?.iter().map(|word| vm_status("status", word)).collect::<Result<Vec<_>, _>>()?;
    let vms: Vec<_> = reading.worker_vms(&id, &statuses)?.into_iter().map(ListedVm).collect();
    Ok(Shown(reading.revision(), WorkerVms { worker_id: id, total: vms.len(), vms }))
}

/// `PUT /api/v1/workers/{id}`
pub(super) async fn register(
    State(resolvers): State<Resolvers>,
    Id(id): Id,
    Json(input): Json<RegistrationInput>,
) -> Result<impl IntoResponse> {
    let registered = resolvers.register_worker(&id, input).await?;
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(RegisterWorkerPayload(registered))))
}

#[derive(Deserialize)]
pub(super) struct GoodbyeQuery {
    #[serde(default)]
    purge: bool,
    #[serde(default)]
    force: bool,
}

/// `DELETE /api/v1/workers/{id}`
pub(super) async fn deregister(
    State(resolvers): State<Resolvers>,
    Id(id): Id,
    Query(GoodbyeQuery { purge, force }): Query<GoodbyeQuery>,
) -> Result<StatusCode> {
    resolvers.deregister_worker(&id, Goodbye { purge, force }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default, Deserialize)]
#[serde(expecting = "a JSON object with an optional `reason`")]
pub(super) struct PolicyBody {
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct PolicyAnswer {
    worker_id: String,
    status: &'static str,
    message: &'static str,
}

impl From<PolicyChanged> for PolicyAnswer {
    fn from(changed: PolicyChanged) -> Self {
        // What was asked for, which an offline worker's status would hide.
        let (status, message) = (changed.worker.worker.policy.as_str(), changed.message());
        Self { worker_id: changed.worker.worker.id.to_string(), status, message }
    }
}

/// `POST /api/v1/workers/{id}/drain`
pub(super) async fn drain(
    State(resolvers): State<Resolvers>,
    Id(id): Id,
    OptionalJson(body): OptionalJson<PolicyBody>,
) -> Result<Json<PolicyAnswer>> {
    let changed = resolvers.drain_worker(&id, body.unwrap_or_default().reason, None).await?;
    Ok(Json(changed.into()))
}

/// `POST /api/v1/workers/{id}/activate`
pub(super) async fn activate(
    State(resolvers): State<Resolvers>,
    Id(id): Id,
    OptionalJson(body): OptionalJson<PolicyBody>,
) -> Result<Json<PolicyAnswer>> {
    let changed = resolvers.activate_worker(&id, body.unwrap_or_default().reason, None).await?;
    Ok(Json(changed.into()))
}
