//! The handlers of `/reservations`: to make one, to look at them, to release one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::error::Result;
use super::filter_params::given;
use super::idempotent_response::{once, rendered, respond};
use super::json_lists::{ListKeys, PartialList};
use super::json_objects::Reservation;
use super::paging::Paging;
use super::query_response::Read;
use crate::cluster::{LabelFilter, ReservationView};
use crate::http::{Json, OptionalJson, PathId, Query, WithIdempotencyKey, current_caller, in_request_context};
use crate::resolvers::checks::Whole;
use crate::resolvers::placement::ConstraintsInput;
use crate::resolvers::reservations::{ReservationFilterInput, ReservationInput};
use crate::resolvers::{IdempotentReply, Resolvers, StoredResponse};

/// `GET /api/v1/reservations`
const RESERVATIONS: ListKeys = ListKeys { rows: "reservations", total: "total" };

#[derive(Deserialize)]
pub(super) struct ReservationListQuery {
    #[serde(default)]
    state: Vec<String>,
    #[serde(default)]
    worker_id: Vec<String>,
}

/// `GET /api/v1/reservations`
pub(super) async fn list(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    paging: Paging,
    Query(ReservationListQuery { state, worker_id }): Query<ReservationListQuery>,
) -> Result<Response> {
    let filter = ReservationFilterInput { states: given(state), worker_ids: given(worker_id) };
    let filter = filter.check("state", "worker_id")?;
    let steps = read.reading.steps_to_list_reservations(&filter, paging.request());
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || {
        let page = read.reading.page_of_reservations(&filter, paging.request())?;
        let next = page.end_cursor().filter(|_| page.has_next);
        let (rows, total) = (page.edges.into_iter().map(|edge| Reservation(edge.node)).collect(), page.total);
        let link = paging.link(next.as_deref());
        let next_cursor = paging.next_cursor(next);
        Ok((link, read.show(PartialList { keys: RESERVATIONS, rows, total, next_cursor })).into_response())
    };
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}

/// `GET /api/v1/reservations/{id}`
pub(super) async fn one(read: Read, PathId(id): PathId) -> Result<Response> {
    Ok(read.show_object(Reservation(read.reading.reservation(&id)?)))
}

/// The body of a reservation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with `vcpus` and `memory_mb`")]
pub(super) struct ReservationBody {
    pub(super) vcpus: Whole,
    pub(super) memory_mb: Whole,
    pub(super) disk_gb: Option<Whole>,
    pub(super) count: Option<Whole>,
    pub(super) zones: Option<Vec<String>>,
    pub(super) labels: Option<BTreeMap<String, Option<String>>>,
    pub(super) capabilities: Option<Vec<String>>,
    pub(super) strategy: Option<String>,
    pub(super) distinct: Option<String>,
    pub(super) without_workers: Option<Vec<String>>,
    pub(super) without_zones: Option<Vec<String>>,
    pub(super) expires_in: Option<String>,
    pub(super) vm_ids: Option<Vec<String>>,
    pub(super) reason: Option<String>,
}

impl From<ReservationBody> for ReservationInput {
    fn from(body: ReservationBody) -> Self {
        let labels =
            body.labels.map(|labels| labels.into_iter().map(|(key, value)| LabelFilter { key, value }).collect());
        Self {
            constraints: ConstraintsInput {
                vcpus: Some(body.vcpus),
                memory_mb: Some(body.memory_mb),
                disk_gb: body.disk_gb,
                zones: body.zones,
                labels,
                capabilities: body.capabilities,
                without_workers: body.without_workers,
                without_zones: body.without_zones,
            },
            count: body.count,
            strategy: body.strategy,
            distinct: body.distinct,
            expires_in: body.expires_in,
            vm_ids: body.vm_ids,
            reason: body.reason,
        }
    }
}

/// `POST /api/v1/reservations`
pub(super) async fn create(
    State(resolvers): State<Resolvers>,
    WithIdempotencyKey(key, Json(body)): WithIdempotencyKey<Json<ReservationBody>>,
) -> Result<Response> {
    let (caller, input) = (current_caller(), ReservationInput::from(body));
    let answered = match key {
        None => IdempotentReply { answer: answer(resolvers.reserve(&caller, input).await?), is_replay: false },
        Some(key) => resolvers.reserve_idempotent(&caller, input, once(key, answer)).await?,
    };
    let mut response = respond(answered);
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

fn answer(reservation: ReservationView) -> StoredResponse {
    rendered(&Reservation(reservation), None)
}

/// The body of a release.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with an optional `reason`")]
pub(super) struct ReleaseBody {
    pub(super) reason: Option<String>,
}

/// `DELETE /api/v1/reservations/{id}`
pub(super) async fn release(
    State(resolvers): State<Resolvers>,
    PathId(id): PathId,
    OptionalJson(body): OptionalJson<ReleaseBody>,
) -> Result<Json<Reservation>> {
    let reason = body.unwrap_or_default().reason;
    let released = resolvers.release_reservation(&current_caller(), &id, reason).await?;
    Ok(Json(Reservation(released.reservation)))
}
