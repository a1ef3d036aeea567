//! The handlers of `/cluster`: totals, zones, counts, and the distribution of VMs. The state of this server is in
//! [`health`](super::health).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::endpoint::Endpoint;
use super::error::Result;
use super::json_lists::{PartialList, ZONES};
use super::json_objects::{ClusterStats, VmCounts, WorkerCounts, Zone};
use super::query_response::Read;
use super::vms::VmListQuery;
use super::workers::WorkerFilterQuery;
use crate::http::{Query, current_caller, in_request_context};

/// `GET /api/v1/cluster/stats`
pub(super) async fn stats(read: Read) -> Response {
    read.show_object(ClusterStats(read.reading.cluster_stats()))
}

/// `GET /api/v1/cluster/zones`
pub(super) async fn zones(State(endpoint): State<Arc<Endpoint>>, read: Read) -> Response {
    let steps = read.reading.steps_to_list_zones();
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || {
        let rows: Vec<_> = read.reading.list_zones().into_iter().map(Zone).collect();
        read.show(PartialList { keys: ZONES, total: rows.len(), rows, next_cursor: None })
    };
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}

/// `GET /api/v1/cluster/worker-counts`
pub(super) async fn worker_counts(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(query): Query<WorkerFilterQuery>,
) -> Result<Response> {
    let filter = query.check()?;
    let steps = read.reading.steps_to_count_workers(&filter);
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || read.show_object(WorkerCounts(read.reading.count_workers(&filter)));
    Ok(endpoint.resolvers.offload().run(steps, in_request_context(answer)).await)
}

/// `GET /api/v1/cluster/vm-counts`
pub(super) async fn vm_counts(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(query): Query<VmListQuery>,
) -> Result<Response> {
    let filter = query.check()?;
    let steps = read.reading.steps_to_count_vms(&filter);
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || read.show_object(VmCounts(read.reading.count_vms(filter)));
    Ok(endpoint.resolvers.offload().run(steps, in_request_context(answer)).await)
}

/// `GET /api/v1/cluster/distribution`
pub(super) async fn distribution(State(endpoint): State<Arc<Endpoint>>, read: Read) -> Response {
    let steps = read.reading.steps_to_list_distribution();
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let lists = endpoint.lists.clone();
    let answer = move || lists.distribution(&read);
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}
