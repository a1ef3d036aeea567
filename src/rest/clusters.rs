//! `/cluster` and `/health`: the whole, and this server.

use std::hash::Hasher;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::etag::Versioned;
use super::object::{ClusterStats, WorkerDistribution};
use super::read::Read;
use super::shape;
use crate::http::Json;
use crate::resolvers::{Component, Health, Resolvers};

/// `GET /api/v1/cluster/stats`
pub(super) async fn stats(read: Read) -> Response {
    read.show(ClusterStats(read.reading.cluster_stats()))
}

#[derive(Serialize)]
struct Distribution {
    distribution: Vec<WorkerDistribution>,
    total_workers: usize,
}

impl Versioned for Distribution {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.distribution.version(hasher);
    }
}

/// `GET /api/v1/cluster/distribution`
pub(super) async fn distribution(read: Read) -> Response {
    let distribution: Vec<_> = read.reading.list_distribution().into_iter().map(WorkerDistribution).collect();
    read.show(Distribution { total_workers: distribution.len(), distribution })
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
