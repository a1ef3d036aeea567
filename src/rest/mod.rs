//! The documented REST contract: JSON in, one resolver call, JSON out.
//!
//! Handlers extract, ask, map and return; they hold no logic. What an object's JSON looks like is
//! generated from [`cluster::fields`](crate::cluster::fields) in [`object`], value by value in
//! [`shape`]. Failures leave as the documented body whatever goes wrong (see `http`).

mod clusters;
mod etag;
mod events;
mod filter;
mod heartbeats;
mod list;
mod object;
mod once;
mod openapi;
mod paging;
mod read;
mod shape;
mod vms;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::list::Lists;
pub use self::openapi::document as openapi;
use crate::error::{Error, Kind, Subject};
use crate::http::{About, HttpError, RouteOptions, Routes, get, post};
use crate::resolvers::Resolvers;

/// Body of one heartbeat with a whole inventory: some thousand VMs.
const HEARTBEAT_BODY: usize = 1024 * 1024;

/// Body of a gateway's many heartbeats.
const HEARTBEATS_BODY: usize = 8 * 1024 * 1024;

/// The longest that a long poll may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What handlers work with.
struct Endpoint {
    resolvers: Resolvers,
    lists: Lists,
    /// Tells streams to end.
    closing: CancellationToken,
}

impl FromRef<Arc<Endpoint>> for Resolvers {
    fn from_ref(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.resolvers.clone()
    }
}

/// Every route of the contract, grouped by who calls it.
pub fn routes(resolvers: Resolvers, closing: CancellationToken) -> Routes {
    const LONG_POLL: RouteOptions = RouteOptions::NOTHING.time(LONGEST_WAIT.saturating_add(Duration::from_secs(5)));
    // What they do has a line of its own, which says more.
    const TOLD: RouteOptions = RouteOptions::NOTHING.quiet();
    let operators = Routes::new()
        .route_with(LONG_POLL, "/api/v1/workers", get(workers::list))
        .route("/api/v1/workers/{id}/vms", get(workers::vms))
        .route_with(TOLD, "/api/v1/workers/{id}/drain", post(workers::drain))
        .route_with(TOLD, "/api/v1/workers/{id}/activate", post(workers::activate))
        .route("/api/v1/cluster/stats", get(clusters::stats))
        .route("/api/v1/cluster/distribution", get(clusters::distribution))
        .route("/api/v1/vms", get(vms::list))
        .route("/api/v1/vms/{id}", get(vms::one))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/health", get(clusters::health))
        .route("/api/v1/openapi.json", get(openapi::show));
    let one_beat = RouteOptions::NOTHING.body(HEARTBEAT_BODY).quiet();
    let many_beats = RouteOptions::NOTHING.body(HEARTBEATS_BODY).quiet();
    let workers = Routes::new()
        .route_with(TOLD, "/api/v1/workers/{id}", get(workers::one).put(workers::register).delete(workers::deregister))
        .route_with(one_beat, "/api/v1/workers/{id}/heartbeat", post(heartbeats::one))
        .route_with(many_beats, "/api/v1/heartbeats", post(heartbeats::many));
    let routes = operators.merge(workers).with_parameters(openapi::query_parameters);
    routes.with_state(Arc::new(Endpoint { resolvers, lists: Lists::default(), closing }))
}

/// What a handler returns: an answer, or the failure as the contract has it.
type Result<T, E = HttpError> = std::result::Result<T, E>;

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::InvalidArgument => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Stale => StatusCode::PRECONDITION_FAILED,
            Kind::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => {
                error!(error = %error.chain(), "a request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let Subject { argument, id, current_revision } = error.subject();
        let (argument, id) = (argument.map(str::to_owned), id.map(str::to_owned));
        Self::new(status, error.to_string()).about(About { argument, id, current_revision })
    }
}
