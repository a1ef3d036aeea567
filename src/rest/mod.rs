//! The documented REST contract: JSON in, one resolver call, JSON out.
//!
//! Handlers extract, ask, map and return; they hold no logic. What an object's JSON looks like is
//! generated from [`cluster::fields`](crate::cluster::fields) in [`json_objects`], value by value in
//! [`json_values`]. Failures leave as the documented body whatever goes wrong (see `http`).

mod clusters;
mod drain_workers;
mod drains;
mod endpoint;
mod error;
mod etag;
mod events;
mod filter_params;
mod health;
mod heartbeats;
mod history;
mod idempotent_response;
mod json_lists;
mod json_objects;
mod json_values;
mod openapi;
mod paging;
mod placement;
mod purges;
mod query_response;
mod reservations;
mod service_discovery;
mod sessions;
mod tokens;
mod vms;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use self::endpoint::{Endpoint, LONGEST_WAIT};
use self::json_lists::ListRenderer;
pub use self::openapi::document as openapi;
use crate::http::{RouteOptions, Routes, delete, get, post};
use crate::resolvers::Resolvers;
use tokio_util::sync::CancellationToken;

/// The longest body of a heartbeat, with a whole inventory of some thousand VMs.
const HEARTBEAT_BODY: usize = 1024 * 1024;

/// The longest body of a batch of heartbeats.
const HEARTBEATS_BODY: usize = 8 * 1024 * 1024;

/// Every route of the contract, grouped by who calls it.
pub fn routes(resolvers: Resolvers, closing: CancellationToken) -> Routes {
    const LONG_POLL: RouteOptions = RouteOptions::NOTHING.time(LONGEST_WAIT.saturating_add(Duration::from_secs(5)));
    const DRAIN: RouteOptions = LONG_POLL.quiet();
    // Commands write their own log line, which says more.
    const TOLD: RouteOptions = RouteOptions::NOTHING.quiet();
    // Load balancers and generators of clients have no tokens.
    const PUBLIC: RouteOptions = RouteOptions::NOTHING.public();
    const SESSION: RouteOptions = RouteOptions::NOTHING.takes_credentials().body(sessions::LONGEST_BODY).quiet();
    let operators = Routes::new()
        .route_with(LONG_POLL, "/api/v1/workers", get(workers::list))
        .route("/api/v1/workers/{id}/vms", get(workers::vms))
        .route_with(DRAIN, "/api/v1/workers/{id}/drain", get(drains::one).post(workers::drain))
        .route("/api/v1/workers/{id}/drains", get(drains::history))
        .route("/api/v1/workers/{id}/history", get(history::of_worker))
        .route_with(TOLD, "/api/v1/drains", get(drains::list).post(drain_workers::drain))
        .route_with(TOLD, "/api/v1/activations", post(drain_workers::activate))
        .route("/api/v1/evacuation-plan", get(drain_workers::evacuation_plan))
        .route_with(TOLD, "/api/v1/purges", post(purges::create))
        .route_with(TOLD, "/api/v1/workers/{id}/activate", post(workers::activate))
        .route("/api/v1/cluster/stats", get(clusters::stats))
        .route("/api/v1/cluster/zones", get(clusters::zones))
        .route("/api/v1/cluster/worker-counts", get(clusters::worker_counts))
        .route("/api/v1/cluster/vm-counts", get(clusters::vm_counts))
        .route("/api/v1/cluster/distribution", get(clusters::distribution))
        .route("/api/v1/cluster/history", get(history::of_cluster))
        .route("/api/v1/zones/{zone}/history", get(history::of_zone))
        .route("/api/v1/vms", get(vms::list))
        .route("/api/v1/vms/{id}", get(vms::one))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/placement", get(placement::placement))
        .route("/api/v1/capacity", get(placement::capacity))
        .route_with(TOLD, "/api/v1/reservations", get(reservations::list).post(reservations::create))
        .route_with(TOLD, "/api/v1/reservations/{id}", get(reservations::one).delete(reservations::release))
        .route("/api/v1/sd/prometheus", get(service_discovery::prometheus))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route_with(RouteOptions::NOTHING.path_hidden(), "/api/v1/tokens/{id}", delete(tokens::revoke))
        .route_with(SESSION, "/api/v1/session", get(sessions::show).post(sessions::open).delete(sessions::close))
        .route_with(PUBLIC, "/api/v1/health", get(health::health))
        .route_with(PUBLIC, "/api/v1/openapi.json", get(openapi::show));
    let one_heartbeat = RouteOptions::NOTHING.body(HEARTBEAT_BODY).quiet();
    let many_heartbeats = RouteOptions::NOTHING.body(HEARTBEATS_BODY).quiet();
    let workers = Routes::new()
        .route_with(TOLD, "/api/v1/workers/{id}", get(workers::one).put(workers::register).delete(workers::deregister))
        .route_with(TOLD, "/api/v1/workers/{id}/join", post(workers::join))
        .route_with(one_heartbeat, "/api/v1/workers/{id}/heartbeat", post(heartbeats::one))
        .route_with(many_heartbeats, "/api/v1/heartbeats", post(heartbeats::many));
    let routes = operators.merge(workers).with_parameters(openapi::query_parameters);
    routes.with_state(Arc::new(Endpoint { resolvers, lists: ListRenderer::default(), closing }))
}
