//! The handler of `/health`: whether this server is of use, and how each of its components is.
//!
//! How long the database may take to answer and what each component's health follows from is not decided here, but in
//! [`resolvers::health`](crate::resolvers). The totals of the cluster are in [`clusters`](super::clusters).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::json_values;
use crate::http::{Json, Query};
use crate::resolvers::{Component, ComponentHealth, Resolvers};

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
