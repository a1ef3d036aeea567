//! `/cluster` and `/health`: the whole, and this server.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::list::Lists;
use super::object::ClusterStats;
use super::read::Read;
use super::shape;
use crate::http::Json;
use crate::resolvers::{Component, Health, Resolvers};

/// `GET /api/v1/cluster/stats`
pub(super) async fn stats(read: Read) -> Response {
    read.show_object(ClusterStats(read.reading.cluster_stats()))
}

/// `GET /api/v1/cluster/distribution`
pub(super) async fn distribution(State(lists): State<Lists>, read: Read) -> Response {
    lists.distribution(&read)
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
