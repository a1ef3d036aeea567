//! What monitoring asks a server: its metrics ([`scrape`], [`worker_series`]), and whether it lives and is ready
//! ([`probes`]). Nothing of it is a part of the documented API below `/api/v1`, except for service discovery, which is in
//! `rest`.
//!
//! The routes are on the main listener, where metrics are for viewers, and on a listener of their own (`--metrics-listen`).
//! What is counted is not known here: each room that counts is a [`Source`](crate::metrics::Source).

mod endpoint;
mod probes;
mod scrape;
mod worker_series;

use std::sync::Arc;

use axum::http::Method;

pub use self::endpoint::Monitoring;
use crate::http::{Parameter, RouteOptions, Routes, get};

/// `/metrics`, `/metrics/workers`, `/livez`, `/readyz` and `/version`.
pub fn routes(monitoring: endpoint::Monitoring) -> Routes {
    // Scraped every few seconds, by whom nobody wants to read about.
    const QUIET: RouteOptions = RouteOptions::NOTHING.quiet();
    // Balancers and container runtimes have no tokens.
    const PROBE: RouteOptions = QUIET.public();
    let routes = Routes::new()
        .route_with(QUIET, "/metrics", get(scrape::metrics))
        .route_with(QUIET, "/metrics/workers", get(worker_series::workers))
        .route_with(PROBE, "/livez", get(probes::live))
        .route_with(PROBE, READY, get(probes::ready))
        .route_with(PROBE, "/version", get(probes::version));
    routes.with_parameters(parameters).with_state(Arc::new(monitoring))
}

const READY: &str = "/readyz";

fn parameters(_: &Method, path: &str) -> Vec<Parameter> {
    match path {
        // It may be without a value.
        READY => vec![Parameter { name: "verbose".to_owned(), is_text: true }],
        _ => Vec::new(),
    }
}
