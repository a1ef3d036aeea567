//! `/cluster` and `/health`: the whole, and this server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::object::ClusterStats;
use super::read::Read;
use super::{Endpoint, shape};
use crate::http::{Json, as_part_of_the_request};
use crate::resolvers::{Component, Health, Resolvers};

/// `GET /api/v1/cluster/stats`
pub(super) async fn stats(read: Read) -> Response {
    read.show_object(ClusterStats(read.reading.cluster_stats()))
}

/// `GET /api/v1/cluster/distribution`
pub(super) async fn distribution(State(endpoint): State<Arc<Endpoint>>, read: Read) -> Response {
    let steps = read.reading.steps_to_list_distribution();
    let lists = endpoint.lists.clone();
    let answer = move || lists.distribution(&read);
    endpoint.resolvers.offload().run(steps, as_part_of_the_request(answer)).await
}

#[derive(Serialize)]
struct HealthAnswer {
    status: &'static str,
    components: serde_json::Map<String, serde_json::Value>,
    timestamp: shape::DateTime,
}

/// `GET /api/v1/health`
pub(super) async fn health(State(resolvers): State<Resolvers>) -> impl IntoResponse {
    let health = resolvers.health().await;
    let (code, status) =
        if health.is_ok() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "degraded") };
    let Health { components, timestamp } = health;
    let components =
        components.into_iter().map(|(name, component)| (name.to_owned(), word(component).into())).collect();
    (code, Json(HealthAnswer { status, components, timestamp: timestamp.into() }))
}

fn word(component: Component) -> &'static str {
    match component {
        Component::Ok => "ok",
        Component::Unavailable => "unavailable",
    }
}
