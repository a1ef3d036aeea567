//! The handlers of `/workers`: queries and commands of operators, and registration and deregistration of workers.
//! No rule is decided here: `resolvers::workers` checks the input, and the journal's commands decide.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, LONGEST_WAIT};
use super::error::Result;
use super::etag::{Versioned, precondition, tag_of_worker};
use super::filter_params::{FILTER_NAMES, given, named};
use super::idempotent_response::{once, rendered, respond};
use super::json_lists::{PartialList, WORKERS};
use super::json_objects::{ListedVm, RegisterWorkerPayload, Worker};
use super::json_values::DateTime;
use super::paging::{Paging, SORT};
use super::query_response::Read;
use super::vms::VmOrderQuery;
use crate::cluster::{WorkerFilter, WorkerOrder};
use crate::error::Error;
use crate::http::{
    IdempotencyKey, Json, OptionalJson, PathId, Query, WithIdempotencyKey, current_caller, in_request_context,
    is_kept_for_operators, no_connection_for_what_goes_on,
};
use crate::resolvers::checks::{self, Whole, vm_status, wanted};
use crate::resolvers::drain_input::{self, DrainInput, PolicyInput};
use crate::resolvers::filter_input::{self, WorkerFilterInput};
use crate::resolvers::join::{JoinInput, Joined};
use crate::resolvers::page::Listing;
use crate::resolvers::worker_input::RegistrationInput;
use crate::resolvers::{Deregistration, IdempotentReply, PolicyChanged, Resolvers, StoredResponse, WorkersQuery};

#[derive(Deserialize)]
pub(super) struct WorkerListQuery {
    #[serde(default)]
    id: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    has_zone: Option<bool>,
    #[serde(default)]
    status: Vec<String>,
    is_healthy: Option<bool>,
    #[serde(default)]
    capability: Vec<String>,
    #[serde(default)]
    label: Vec<String>,
    search: Option<String>,
    min_free_cpu_cores: Option<i64>,
    min_free_memory_mb: Option<i64>,
    min_free_vm_slots: Option<i64>,
    /// The field to sort by, after a minus in descending order.
    sort: Option<String>,
    /// How long to wait for a change, as Go writes durations.
    wait: Option<String>,
    /// The revision that the client has seen.
    after_revision: Option<i64>,
}

/// The parameters that are a filter of workers.
#[derive(Deserialize)]
pub(super) struct WorkerFilterQuery {
    #[serde(default)]
    id: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    has_zone: Option<bool>,
    #[serde(default)]
    status: Vec<String>,
    is_healthy: Option<bool>,
    #[serde(default)]
    capability: Vec<String>,
    #[serde(default)]
    label: Vec<String>,
    search: Option<String>,
    min_free_cpu_cores: Option<i64>,
    min_free_memory_mb: Option<i64>,
    min_free_vm_slots: Option<i64>,
}

impl WorkerFilterQuery {
    /// The filter, or what is wrong with it.
    pub(super) fn check(self) -> Result<WorkerFilter> {
        let Self { id, zone, has_zone, status, is_healthy, capability, label, search, .. } = self;
        let Self { min_free_cpu_cores, min_free_memory_mb, min_free_vm_slots, .. } = self;
        let filter = WorkerFilterInput {
            ids: given(id),
            zones: named(zone),
            has_zone,
            statuses: given(status),
            is_healthy,
            capabilities: given(capability),
            labels: given(
                label.iter().map(|text| filter_input::label(FILTER_NAMES.labels, text)).collect::<Result<_, _>>()?,
            ),
            search,
            min_free_cpu_cores,
            min_free_memory_mb,
            min_free_vm_slots,
        };
        Ok(filter.check(&FILTER_NAMES)?)
    }
}

/// `GET /api/v1/workers`
pub(super) async fn list(
    State(endpoint): State<Arc<Endpoint>>,
    mut read: Read,
    paging: Paging,
    Query(query): Query<WorkerListQuery>,
) -> Result<Response> {
    let Endpoint { resolvers, lists, closing } = &*endpoint;
    let WorkerListQuery {
        id,
        zone,
        has_zone,
        status,
        is_healthy,
        capability,
        label,
        search,
        min_free_cpu_cores,
        min_free_memory_mb,
        min_free_vm_slots,
        sort,
        wait,
        after_revision,
    } = query;
    let filter = WorkerFilterQuery {
        id,
        zone,
        has_zone,
        status,
        is_healthy,
        capability,
        label,
        search,
        min_free_cpu_cores,
        min_free_memory_mb,
        min_free_vm_slots,
    };
    let filter = filter.check()?;
    let order = sort.map(|text| filter_input::worker_order(SORT, &text)).transpose()?.unwrap_or_default();
    // Before the wait, too: a cursor of another server may be ahead of this one, whose state is then awaited first, and
    // must not count as a change.
    read.reading = resolvers.read_for_page(read.reading, paging.request()).await?;
    if let Some(wait) = wait {
        let after = after_revision.map(|number| checks::revision("after_revision", number)).transpose()?;
        let wait = checks::duration("wait", &wait, LONGEST_WAIT)?;
        if is_kept_for_operators() {
            return Err(no_connection_for_what_goes_on());
        }
        let question = WorkersQuery { filter: &filter, order, request: paging.request() };
        let caller = current_caller();
        let changed = resolvers.read_when_changed(&caller, question, after, wait);
        // A shutdown ends the wait.
        let changed = Box::pin(closing.run_until_cancelled(changed)).await;
        read.reading = changed.unwrap_or_else(|| Ok(resolvers.present()))?;
    }
    let steps = read.reading.steps_to_list_workers(&filter, order, paging.request());
    resolvers.spend_more(&current_caller(), steps);
    let lists = lists.clone();
    let answer = move || {
        if filter == WorkerFilter::default() && order == WorkerOrder::default() && paging.request().is_for_all() {
            return Ok(lists.workers(&read));
        }
        let Listing { nodes, total, next } = read.reading.listing_of_workers(&filter, order, paging.request())?;
        let rows = nodes.into_iter().map(Worker).collect();
        let link = paging.link(next.as_deref());
        let next_cursor = paging.next_cursor(next);
        Ok((link, read.show(PartialList { keys: WORKERS, rows, total, next_cursor })).into_response())
    };
    resolvers.offload().run(steps, in_request_context(answer)).await
}

/// `GET /api/v1/workers/{id}`
pub(super) async fn one(read: Read, PathId(id): PathId) -> Result<Response> {
    Ok(read.show_object(Worker(read.reading.worker(&id)?)))
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

impl Versioned for WorkerVms {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.worker_id.hash(hasher);
        self.vms.version(hasher);
    }
}

/// `GET /api/v1/workers/{id}/vms`
pub(super) async fn vms(
    State(resolvers): State<Resolvers>,
    read: Read,
    PathId(id): PathId,
    Query(query): Query<VmsQuery>,
    Query(order): Query<VmOrderQuery>,
) -> Result<Response> {
    let order = order.check()?;
    let statuses =
        wanted("status", query.status)?.iter().map(|word| vm_status("status", word)).collect::<Result<Vec<_>, _>>()?;
    let statuses = given(statuses);
    let vms = read.reading.worker_vms(&id, statuses.as_deref(), order)?;
    let vms: Vec<_> = vms.into_iter().map(ListedVm).collect();
    resolvers.spend_more(&current_caller(), vms.len() as u64);
    Ok(read.show(WorkerVms { worker_id: id, total: vms.len(), vms }))
}

/// A worker that has joined.
#[derive(Serialize)]
pub(super) struct JoinedBody {
    worker_id: String,
    token_id: String,
    joined_at: DateTime,
}

/// `POST /api/v1/workers/{id}/join`
pub(super) async fn join(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    Json(input): Json<JoinInput>,
) -> Result<Json<JoinedBody>> {
    if is_kept_for_operators() {
        return Err(Error::NoConnectionForWorkers.into());
    }
    let Joined { worker_id, token } = resolvers.join_worker(&current_caller(), &id, input).await?;
    let joined_at = token.created_at.into();
    Ok(Json(JoinedBody { worker_id: worker_id.to_string(), token_id: token.id.to_string(), joined_at }))
}

/// `PUT /api/v1/workers/{id}`
pub(super) async fn register(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    headers: HeaderMap,
    Json(input): Json<RegistrationInput>,
) -> Result<impl IntoResponse> {
    if is_kept_for_operators() {
        resolvers.note_liveness_sign_of_registration(&current_caller(), &id, input.boot_id.as_deref());
        return Err(Error::NoConnectionForWorkers.into());
    }
    let registered = resolvers.register_worker_if(&current_caller(), &id, input, precondition(&headers)?).await?;
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(RegisterWorkerPayload(registered))))
}

#[derive(Deserialize)]
pub(super) struct DeregistrationQuery {
    incarnation: Option<i64>,
    boot_id: Option<String>,
    host_boot_id: Option<String>,
    #[serde(default)]
    purge: bool,
    #[serde(default)]
    force: bool,
}

/// `DELETE /api/v1/workers/{id}`
pub(super) async fn deregister(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    headers: HeaderMap,
    Query(DeregistrationQuery { incarnation, boot_id, host_boot_id, purge, force }): Query<DeregistrationQuery>,
) -> Result<StatusCode> {
    let condition = precondition(&headers)?;
    resolvers
        .deregister_worker(
            &current_caller(),
            &id,
            Deregistration { incarnation, boot_id, host_boot_id, purge, force, condition },
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with an optional `reason`")]
pub(super) struct PolicyBody {
    pub(super) reason: Option<String>,
}

/// The body of a drain.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with an optional `reason`, `deadline_seconds` and `metadata`")]
pub(super) struct DrainBody {
    pub(super) reason: Option<String>,
    pub(super) deadline_seconds: Option<Whole>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

impl DrainBody {
    fn read(self) -> Result<DrainInput> {
        let Self { reason, deadline_seconds, metadata } = self;
        Ok(DrainInput { reason, deadline: deadline_seconds.map(drain_input::deadline_seconds).transpose()?, metadata })
    }
}

#[derive(Serialize)]
struct PolicyAnswer {
    worker_id: String,
    status: &'static str,
    message: &'static str,
}

impl From<PolicyChanged> for PolicyAnswer {
    fn from(changed: PolicyChanged) -> Self {
        // The policy, which the status of an offline worker would hide.
        let (status, message) = (changed.worker.worker.policy.as_str(), changed.message());
        Self { worker_id: changed.worker.worker.id.to_string(), status, message }
    }
}

/// `POST /api/v1/workers/{id}/drain`
pub(super) async fn drain(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    headers: HeaderMap,
    WithIdempotencyKey(key, OptionalJson(body)): WithIdempotencyKey<OptionalJson<DrainBody>>,
) -> Result<Response> {
    let input = PolicyInput::Drain(body.unwrap_or_default().read()?);
    let mut response = set_policy(&resolvers, &id, input, &headers, key).await?;
    if let Ok(monitor) = HeaderValue::try_from(format!("<{}>; rel=\"monitor\"", drain_path(&id))) {
        response.headers_mut().append(header::LINK, monitor);
    }
    Ok(response)
}

/// What is written as it is in a segment of a path; the rest is percent-encoded.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path at which a drain is followed.
fn drain_path(id: &str) -> String {
    format!("/api/v1/workers/{}/drain", utf8_percent_encode(id, PATH_SEGMENT))
}

/// `POST /api/v1/workers/{id}/activate`
pub(super) async fn activate(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    headers: HeaderMap,
    WithIdempotencyKey(key, OptionalJson(body)): WithIdempotencyKey<OptionalJson<PolicyBody>>,
) -> Result<Response> {
    let PolicyBody { reason } = body.unwrap_or_default();
    set_policy(&resolvers, &id, PolicyInput::Activate { reason }, &headers, key).await
}

async fn set_policy(
    resolvers: &Resolvers,
    id: &str,
    input: PolicyInput,
    headers: &HeaderMap,
    key: Option<IdempotencyKey>,
) -> Result<Response> {
    let condition = precondition(headers)?;
    let answered = match key {
        None => {
            let answer = answer(resolvers.set_policy(&current_caller(), id, input, condition).await?);
            IdempotentReply { answer, is_replay: false }
        }
        Some(key) => {
            resolvers.set_policy_idempotent(&current_caller(), id, input, condition, once(key, answer)).await?
        }
    };
    Ok(respond(answered))
}

/// The documented response, with the tag to which the next command can be tied.
fn answer(changed: PolicyChanged) -> StoredResponse {
    let tag = tag_of_worker(&changed.worker);
    rendered(&PolicyAnswer::from(changed), Some(&tag))
}
