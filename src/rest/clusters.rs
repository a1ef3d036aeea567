//! The handlers of `/cluster`: totals, and the distribution of VMs. The state of this server is in
//! [`health`](super::health).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::endpoint::Endpoint;
use super::json_objects::ClusterStats;
use super::query_response::Read;
use crate::http::{current_caller, in_request_context};

/// `GET /api/v1/cluster/stats`
pub(super) async fn stats(read: Read) -> Response {
    read.show_object(ClusterStats(read.reading.cluster_stats()))
}

/// `GET /api/v1/cluster/distribution`
pub(super) async fn distribution(State(endpoint): State<Arc<Endpoint>>, read: Read) -> Response {
    let steps = read.reading.steps_to_list_distribution();
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let lists = endpoint.lists.clone();
    let answer = move || lists.distribution(&read);
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}
