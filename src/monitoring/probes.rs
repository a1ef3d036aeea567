//! Probes: whether the process lives (`/livez`), whether it should be sent requests (`/readyz`), and which version it is
//! (`/version`).
//!
//! A server without its database is degraded and *ready*: it answers questions from memory. All servers lose their database
//! at the same moment, and a balancer that dropped them all would make a whole outage of half of one. Where changes can be
//! made is asked at `/api/v1/health?require=commits`.

use std::fs::File;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::endpoint::Monitoring;
use crate::http::{HttpError, Json, Query};
use crate::resolvers::{CONSUL, Component, ComponentHealth};

/// The version of this program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is opened to find out whether a file or a socket can be.
const ANY_FILE: &str = "/dev/null";

/// `GET /livez`: an answer means that the event loop turns, whatever else is wrong.
pub(super) async fn live() -> Response {
    text("ok\n".to_owned())
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    problem: Option<&'static str>,
}

impl Check {
    fn of(name: &'static str, is_ok: bool, problem: &'static str) -> Self {
        Self { name, problem: (!is_ok).then_some(problem) }
    }

    /// `[+]journal ok`, as Kubernetes writes it.
    fn line(&self) -> String {
        match self.problem {
            None => format!("[+]{} ok", self.name),
            Some(problem) => format!("[-]{} {problem}", self.name),
        }
    }
}

/// The parameters of [`ready`].
#[derive(Deserialize)]
pub(super) struct ReadyQuery {
    /// Tells what was looked at, if it is there, with any value or none: as Kubernetes reads it.
    #[serde(default)]
    verbose: Vec<String>,
}

/// `GET /readyz`: whether requests should be sent here. With `?verbose`, what was looked at.
pub(super) async fn ready(
    State(monitoring): State<Arc<Monitoring>>,
    Query(ReadyQuery { verbose }): Query<ReadyQuery>,
) -> Response {
    let mut checks = vital_checks(&monitoring);
    let problems: Vec<_> = checks.iter().filter(|check| check.problem.is_some()).map(Check::line).collect();
    if !problems.is_empty() {
        return not_stored(HttpError::unavailable(format!("Not ready: {}", problems.join(", "))).into_response());
    }
    if verbose.is_empty() {
        return text("ok\n".to_owned());
    }
    checks.extend(further_checks(&monitoring).await);
    let lines: String = checks.iter().map(|check| format!("{}\n", check.line())).collect();
    let is_degraded = checks.iter().any(|check| check.problem.is_some());
    let verdict = if is_degraded { "readyz check passed, degraded" } else { "readyz check passed" };
    text(format!("{lines}{verdict}\n"))
}

/// What keeps a server from being ready. None of it is a question to the database, which may not answer for longer than a
/// probe waits: one second, unless Kubernetes is told otherwise.
fn vital_checks(Monitoring { resolvers, stopping, .. }: &Monitoring) -> Vec<Check> {
    const ENDED: &str = "has ended: the server has to be restarted";
    vec![
        Check::of("shutdown", !stopping.is_cancelled(), "the server is shutting down"),
        Check::of("descriptors", File::open(ANY_FILE).is_ok(), "no file or socket can be opened"),
        Check::of(Component::Journal.name(), resolvers.is_journal_open(), ENDED),
    ]
}

/// What keeps no server from being ready. The database is asked.
async fn further_checks(Monitoring { resolvers, .. }: &Monitoring) -> Vec<Check> {
    const UNAVAILABLE: &str = "unavailable";
    const FROM_MEMORY: &str = "unavailable: questions are answered from memory";
    let (health, is_migrated) = tokio::join!(resolvers.health(), resolvers.is_migrated());
    let mut checks = vec![Check::of("migrations", is_migrated, "the tables are not known to be of this version")];
    let is_ok = |health| match health {
        ComponentHealth::Ok => true,
        ComponentHealth::Unavailable => false,
    };
    let components = health.components.into_iter().filter_map(|(component, health)| {
        let problem = match component {
            // This is vital.
            Component::Journal => return None,
            Component::Database => FROM_MEMORY,
            Component::Commits => "unavailable: changes are refused",
            Component::Replication => UNAVAILABLE,
        };
        Some(Check::of(component.name(), is_ok(health), problem))
    });
    checks.extend(components);
    checks.extend(health.consul.map(|health| Check::of(CONSUL, is_ok(health), UNAVAILABLE)));
    checks
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// `GET /version`
pub(super) async fn version() -> Response {
    not_stored(Json(Version { name: "aetherium", version: VERSION }).into_response())
}

fn text(body: String) -> Response {
    let media = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    not_stored((HeaderMap::from_iter([media]), body).into_response())
}

/// It is about this moment.
fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
