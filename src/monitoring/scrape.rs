//! `GET /metrics`: what was counted since the start, and the cluster as it is at the moment of the scrape.
//!
//! All gauges of the cluster are of one snapshot at one moment, so that they add up. No label names a worker: the number of
//! series depends on the zones and not on the fleet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::endpoint::Monitoring;
use super::probes::VERSION;
use crate::cluster::{Census, ZoneTotals};
use crate::http::{Accept, HttpError, current_caller, in_request_context};
use crate::metrics::{Family, Format, render};
use crate::resolvers::{Component, ComponentHealth, Health};

/// REST and GraphQL tell memory in MiB; metrics have base units.
pub(super) const MIB: f64 = 1_048_576.0;

/// `GET /metrics`
pub(super) async fn metrics(
    State(monitoring): State<Arc<Monitoring>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = current_caller();
    let resolvers = monitoring.resolvers.clone();
    let reading = resolvers.read(&caller)?;
    let format = format_for(&headers);
    let health = resolvers.health().await;
    let steps = reading.steps_to_take_census();
    resolvers.spend_more(&caller, steps);
    let write = move || {
        let mut families = vec![
            Family::gauge("aetherium_build_info", "The version of the server.")
                .with([("version", VERSION.into())], 1.0),
        ];
        of_server(&monitoring, &health, &mut families);
        monitoring.sources.iter().for_each(|source| source.collect(&mut families));
        of_cluster(&reading.census(), &mut families);
        render(families, format)
    };
    let text = resolvers.offload().run(steps, in_request_context(write)).await;
    // Writing into memory does not fail.
    text.map(|text| answer(format, text)).map_err(|_| HttpError::internal())
}

/// The format that a client asks for.
pub(super) fn format_for(headers: &HeaderMap) -> Format {
    if Accept::of(headers).names(Format::OPEN_METRICS) { Format::OpenMetrics } else { Format::Prometheus }
}

/// A response in a format.
pub(super) fn answer(format: Format, body: impl Into<axum::body::Body>) -> Response {
    let mut response = body.into().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// What is so of this server at the moment.
fn of_server(monitoring: &Monitoring, health: &Health, families: &mut Vec<Family>) {
    let gauge = |name, help, value: f64| Family::gauge(name, help).with([], value);
    let up = |is_up: bool| if is_up { 1.0 } else { 0.0 };
    let is_ok = |component| up(health.is_component_ok(component));
    let braked = monitoring.announcements_braked.load(Ordering::Relaxed);
    families.extend([
        gauge("aetherium_database_up", "Whether the database answers.", is_ok(Component::Database)),
        gauge("aetherium_commits_up", "Whether changes are committed.", is_ok(Component::Commits)),
        gauge(
            "aetherium_replication_up",
            "Whether this server follows what other servers commit.",
            is_ok(Component::Replication),
        ),
        gauge(
            "aetherium_staleness_seconds",
            "How far what this server knows may lag behind the commits of other servers.",
            health.staleness.as_secs_f64(),
        ),
        gauge(
            "aetherium_announcements_braked",
            "Whether silent workers are not announced for now, because all fell silent at once.",
            up(braked),
        ),
        gauge("aetherium_stopping", "Whether the server is shutting down.", up(monitoring.stopping.is_cancelled())),
    ]);
    if let Some(consul) = health.consul {
        let is_up = match consul {
            ComponentHealth::Ok => 1.0,
            ComponentHealth::Unavailable => 0.0,
        };
        families.push(gauge("aetherium_consul_up", "Whether this server is announced in Consul.", is_up));
    }
}

/// What the snapshot has, at the moment of the scrape.
fn of_cluster(census: &Census, families: &mut Vec<Family>) {
    let mut workers = Family::gauge("aetherium_workers", "Registered workers, by zone and status.");
    let mut cores = Family::gauge(
        "aetherium_cpu_cores",
        "CPU cores of workers: all, those that VMs hold, and those that are free where new VMs may be placed.",
    );
    let mut memory = Family::gauge("aetherium_memory_bytes", "Memory of workers in bytes, in the same way.");
    let mut slots = Family::gauge("aetherium_vm_slots", "VM slots of workers, in the same way.");
    for zone in &census.zones {
        let ZoneTotals { name, workers: counts, .. } = zone;
        let name = || name.to_string();
        for (status, count) in [("active", counts.active), ("draining", counts.draining), ("offline", counts.offline)] {
            workers.add([("zone", name().into()), ("status", status.into())], count as f64);
        }
        for (family, unit, [total, used, schedulable]) in [
            (&mut cores, 1.0, [zone.cpu_cores, zone.used_cpu_cores, zone.schedulable_cpu_cores]),
            (&mut memory, MIB, [zone.memory_mb, zone.used_memory_mb, zone.schedulable_memory_mb]),
            (&mut slots, 1.0, [zone.max_vms, zone.vm_count, zone.schedulable_vm_slots]),
        ] {
            for (kind, value) in [("total", total), ("used", used), ("schedulable", schedulable)] {
                family.add([("zone", name().into()), ("kind", kind.into())], value as f64 * unit);
            }
        }
    }
    let mut vms = Family::gauge("aetherium_vms", "VMs by status, each counted once however many workers report it.");
    for (status, count) in &census.vms {
        vms.add([("status", status.as_str().into())], *count as f64);
    }
    let mut drains = Family::gauge("aetherium_drains", "Drains that stand, by state.");
    for (state, count) in &census.drains {
        drains.add([("state", state.as_str().into())], *count as f64);
    }
    let gauge = |name, help, value: u64| Family::gauge(name, help).with([], value as f64);
    families.extend([
        workers,
        cores,
        memory,
        slots,
        vms,
        gauge("aetherium_duplicate_vms", "VMs that hold a slot on more than one worker.", census.duplicate_vms),
        drains,
        gauge("aetherium_reservations", "Reservations that hold room.", census.reservations),
        gauge("aetherium_revision", "The revision that the gauges of the cluster were read at.", census.revision),
    ]);
}
