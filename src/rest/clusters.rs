//! The handlers of `/cluster` (totals and the distribution of VMs) and `/health` (the state of this server).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::json_objects::ClusterStats;
use super::json_values;
use super::query_response::Read;
use crate::http::{Json, Query, in_request_context};
use crate::resolvers::{Component, ComponentHealth, Resolvers};

/// `GET /api/v1/cluster/stats`
pub(super) async fn stats(read: Read) -> Response {
    read.show_object(ClusterStats(read.reading.cluster_stats()))
}

/// `GET /api/v1/cluster/distribution`
pub(super) async fn distribution(State(endpoint): State<Arc<Endpoint>>, read: Read) -> Response {
    let steps = read.reading.steps_to_list_distribution();
    let lists = endpoint.lists.clone();
    let answer = move || lists.distribution(&read);
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}

#[derive(Serialize)]
struct HealthAnswer {
    status: &'static str,
    components: serde_json::Map<String, serde_json::Value>,
    staleness_seconds: f64,
    timestamp: json_values::DateTime,
}

#[derive(Deserialize)]
pub(super) struct HealthQuery {
    #[serde(default)]
    require: Vec<RequiredComponent>,
}

/// A component that the client requires to work.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequiredComponent {
    Database,
    Journal,
    Commits,
    Replication,
}

/// `GET /api/v1/health`
pub(super) async fn health(State(resolvers): State<Resolvers>, Query(query): Query<HealthQuery>) -> impl IntoResponse {
    let health = resolvers.health().await;
    let status = if health.is_ok() { "ok" } else { "degraded" };
    // Without the database, queries are still answered from memory. All servers lose their database at the same moment,
    // so that a 503 of all of them would make a whole outage of half a one.
    let required = query.require.into_iter().map(Component::from).chain([Component::Journal]);
    let is_of_use = required.into_iter().all(|component| health.is_component_ok(component));
    let code = if is_of_use { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let components = health.named_components().map(|(name, health)| (name.to_owned(), word(health).into())).collect();
    let staleness_seconds = health.staleness.as_secs_f64();
    (code, Json(HealthAnswer { status, components, staleness_seconds, timestamp: health.timestamp.into() }))
}

impl From<RequiredComponent> for Component {
    fn from(required: RequiredComponent) -> Self {
        match required {
            RequiredComponent::Database => Self::Database,
            RequiredComponent::Journal => Self::Journal,
            RequiredComponent::Commits => Self::Commits,
            RequiredComponent::Replication => Self::Replication,
        }
    }
}

fn word(health: ComponentHealth) -> &'static str {
    match health {
        ComponentHealth::Ok => "ok",
        ComponentHealth::Unavailable => "unavailable",
    }
}
