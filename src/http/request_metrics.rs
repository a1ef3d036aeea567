//! What is counted of requests: how many there were of each route, method and status, and how long their responses took to
//! begin.
//!
//! The counters of a route are made with the router, and a request finds them with its route: an index, and not a text, leads
//! to each. A path that no route matches is a client's own text, so all of them together are one "route".

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};

use crate::metrics::{Buckets, Counter, Family, Histogram, Source};

/// The label of requests whose path no route matches. No path is written like this.
const UNKNOWN_ROUTE: &str = "unknown";

/// Microseconds: what is read from memory takes some tens of them, a commit to a slow disk some seconds.
const DURATIONS: Buckets = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// The labels of methods. Those that clients make up are the last.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "other"];

/// The statuses that the server sends, each with counters of its own; any other is counted as [`OTHER_STATUS`].
const STATUSES: [StatusCode; 28] = [
    StatusCode::SWITCHING_PROTOCOLS,
    StatusCode::OK,
    StatusCode::CREATED,
    StatusCode::ACCEPTED,
    StatusCode::NO_CONTENT,
    StatusCode::NOT_MODIFIED,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::URI_TOO_LONG,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::MISDIRECTED_REQUEST,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::PRECONDITION_REQUIRED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::UPGRADE_REQUIRED,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// The label of all other statuses.
const OTHER_STATUS: &str = "other";

/// The requests of one server, on all of its listeners.
#[derive(Debug, Default)]
pub struct RequestMetrics(Mutex<Vec<Arc<RouteMetrics>>>);

/// The requests of one route.
#[derive(Debug)]
pub(super) struct RouteMetrics {
    route: &'static str,
    methods: [MethodMetrics; METHODS.len()],
}

#[derive(Debug)]
struct MethodMetrics {
    statuses: [Counter; STATUSES.len()],
    other: Counter,
    durations: Histogram,
}

impl RequestMetrics {
    /// The counters of a route: those that there are, or new ones.
    pub(super) fn of_route(&self, route: &'static str) -> Arc<RouteMetrics> {
        let mut routes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.iter().find(|known| known.route == route) {
            return known.clone();
        }
        let new = Arc::new(RouteMetrics { route, methods: std::array::from_fn(|_| MethodMetrics::new()) });
        routes.push(new.clone());
        new
    }

    /// The counters of all paths that no route matches.
    pub(super) fn of_unknown_routes(&self) -> Arc<RouteMetrics> {
        self.of_route(UNKNOWN_ROUTE)
    }
}

impl RouteMetrics {
    /// Counts a request, whose response took so long to begin.
    pub(super) fn observe(&self, method: &Method, status: StatusCode, duration: Duration) {
        let Some(method) = self.methods.get(place_of(method)) else { return };
        let place = STATUSES.iter().position(|known| *known == status);
        place.and_then(|place| method.statuses.get(place)).unwrap_or(&method.other).increment();
        method.durations.observe_duration(duration);
    }
}

impl MethodMetrics {
    fn new() -> Self {
        Self {
            statuses: std::array::from_fn(|_| Counter::default()),
            other: Counter::default(),
            durations: Histogram::new(DURATIONS),
        }
    }
}

/// The place of a method in [`METHODS`].
fn place_of(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::OPTIONS => 5,
        Method::PATCH => 6,
        _ => METHODS.len() - 1,
    }
}

impl Source for RequestMetrics {
    /// Routes and methods that nobody has used yet are left out.
    fn collect(&self, families: &mut Vec<Family>) {
        const MICROSECONDS: f64 = 1e6;
        let mut requests = Family::counter("aetherium_http_requests", "Requests, by the template of their route.");
        let help = "How long responses took to begin, in seconds. Long polls wait for as long as they are asked to.";
        let mut durations = Family::histogram("aetherium_http_request_duration_seconds", help);
        for RouteMetrics { route, methods } in
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|route| &**route)
        {
            for (method, MethodMetrics { statuses, other, durations: took }) in METHODS.into_iter().zip(methods) {
                let known = STATUSES.iter().map(|status| status.as_str().to_owned()).zip(statuses);
                let mut is_used = false;
                for (code, counter) in known.chain([(OTHER_STATUS.to_owned(), other)]) {
                    let count = counter.get();
                    if count > 0 {
                        is_used = true;
                        let labels = [("route", (*route).into()), ("method", method.into()), ("code", code.into())];
                        requests.add(labels, count as f64);
                    }
                }
                if is_used {
                    let labels = [("route", (*route).into()), ("method", method.into())];
                    durations.add_histogram(labels, took, MICROSECONDS);
                }
            }
        }
        families.extend([requests, durations]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::metrics::{Format, render};

    fn text(metrics: &RequestMetrics) -> String {
        let mut families = Vec::new();
        metrics.collect(&mut families);
        render(families, Format::Prometheus).unwrap()
    }

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let metrics = RequestMetrics::default();
        let route = metrics.of_route("/api/v1/workers/{id}");
        for (method, status) in [
            (Method::GET, StatusCode::OK),
            (Method::GET, StatusCode::OK),
            (Method::GET, StatusCode::IM_A_TEAPOT),
            (Method::from_bytes(b"BREW").unwrap(), StatusCode::METHOD_NOT_ALLOWED),
        ] {
            route.observe(&method, status, Duration::from_millis(3));
        }
        let lines = text(&metrics);
        for (method, code, count) in [("GET", "200", 2), ("GET", "other", 1), ("other", "405", 1)] {
            let line = format!(
                "aetherium_http_requests_total{{route=\"/api/v1/workers/{{id}}\",method=\"{method}\",code=\"{code}\"}} {count}.0\n"
            );
            assert!(lines.contains(&line), "{line}{lines}");
        }
        let count = "aetherium_http_request_duration_seconds_count{route=\"/api/v1/workers/{id}\",method=\"GET\"} 3\n";
        assert!(lines.contains(count), "{lines}");
        assert!(!lines.contains("method=\"PUT\""), "{lines}");
    }

    /// The code of all files in a folder, without their tests, and without this file.
    fn code_in(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let code = entries.map(|path| match path.extension() {
            _ if path.is_dir() => code_in(&path),
            Some(extension)
                if extension == "rs" && !path.ends_with("tests.rs") && !path.ends_with("request_metrics.rs") =>
            {
                let code = fs::read_to_string(path).unwrap();
                code.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
            }
            Some(_) | None => String::new(),
        });
        code.collect()
    }

    #[test]
    fn every_status_that_the_source_names_has_counters_of_its_own() {
        let code = code_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let names = code.split("StatusCode::").skip(1).map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_uppercase() && letter != '_').unwrap_or(rest.len());
            &rest[..end]
        });
        let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
        // The constant `NOT_FOUND` is the reason "Not Found", and so on.
        let reasons = STATUSES.map(|status| status.canonical_reason().unwrap().to_uppercase().replace([' ', '-'], "_"));
        let missing: Vec<_> = names.iter().filter(|name| !reasons.contains(&(**name).to_owned())).collect();
        assert!(missing.is_empty(), "STATUSES lacks {missing:?}");
        assert!(names.len() > 20, "they were not found: {names:?}");
    }

    #[test]
    fn a_route_has_the_same_counters_in_each_router() {
        let metrics = RequestMetrics::default();
        assert!(Arc::ptr_eq(&metrics.of_route("/"), &metrics.of_route("/")));
        assert!(!Arc::ptr_eq(&metrics.of_route("/"), &metrics.of_unknown_routes()));
    }
}
