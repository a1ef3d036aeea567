//! The handler of HTTP service discovery: the workers, as Prometheus looks for what to scrape on their hosts.
//!
//! The form is Prometheus' own (`http_sd_configs`): groups of targets with labels, of which those that begin with `__meta_`
//! are for relabelling and are dropped after it.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::Result;
use super::etag::Versioned;
use super::query_response::Read;
use super::workers::WorkerFilterQuery;
use crate::cluster::WorkerView;
use crate::error::Error;
use crate::http::{Query, current_caller, in_request_context};

/// What the labels begin with.
const PREFIX: &str = "__meta_aetherium_";

#[derive(Deserialize)]
pub(super) struct DiscoveryQuery {
    /// The port of the targets, in place of that of the workers' addresses.
    port: Option<i64>,
}

/// One worker, as a group of one target.
#[derive(Hash, Serialize)]
struct TargetGroup {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

impl Versioned for TargetGroup {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.hash(hasher);
    }
}

/// `GET /api/v1/sd/prometheus`
pub(super) async fn prometheus(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(query): Query<WorkerFilterQuery>,
    Query(DiscoveryQuery { port }): Query<DiscoveryQuery>,
) -> Result<Response> {
    let filter = query.check()?;
    let port = port.map(check_port).transpose()?;
    let steps = read.reading.steps_to_count_workers(&filter);
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || {
        let groups: Vec<_> =
            read.reading.list_workers(&filter).iter().map(|worker| TargetGroup::of(worker, port)).collect();
        read.show(groups)
    };
    Ok(endpoint.resolvers.offload().run(steps, in_request_context(answer)).await)
}

fn check_port(port: i64) -> Result<u16> {
    let is_port = u16::try_from(port).ok().filter(|port| *port > 0);
    Ok(is_port.ok_or_else(|| Error::invalid("port", format!("must be from 1 to 65535, not {port}")))?)
}

impl TargetGroup {
    fn of(worker: &WorkerView, port: Option<u16>) -> Self {
        let identity = worker.identity();
        let target = match port {
            Some(port) => with_port(&identity.address, port),
            None => identity.address.to_string(),
        };
        let mut labels = BTreeMap::new();
        let mut add = |name: &str, value: &str| {
            // Prometheus takes an empty label for one that is not there.
            if !value.is_empty() {
                labels.entry(format!("{PREFIX}{name}")).or_insert_with(|| value.to_owned());
            }
        };
        add("worker_id", worker.worker.id.as_str());
        add("hostname", &identity.hostname);
        add("address", &identity.address);
        add("zone", &identity.zone);
        add("status", worker.status().as_str());
        if !identity.capabilities.is_empty() {
            // With a comma at either end, so that a relabelling rule finds a whole one.
            add("capabilities", &format!(",{},", identity.capabilities.join(",")));
        }
        for (key, value) in identity.labels.iter() {
            let key = sanitized(key);
            add(&format!("label_{key}"), value);
            add(&format!("labelpresent_{key}"), "true");
        }
        Self { targets: [target], labels }
    }
}

/// A key as a part of a label's name: whatever is no ASCII letter, digit or underscore becomes an underscore.
fn sanitized(key: &str) -> String {
    key.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// The host of an address with another port.
fn with_port(address: &str, port: u16) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let host = match address.rsplit_once(':') {
        // An IPv6 address without brackets ends in no port.
        Some((host, number)) if is_number(number) && (!host.contains(':') || host.ends_with(']')) => host,
        Some(_) | None => address,
    };
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_address_is_replaced_whatever_the_host_is() {
        for (address, expected) in [
            ("192.0.2.1:8081", "192.0.2.1:9100"),
            ("node1.example.com", "node1.example.com:9100"),
            ("[2001:db8::1]:8081", "[2001:db8::1]:9100"),
            ("[2001:db8::1]", "[2001:db8::1]:9100"),
            ("2001:db8::1", "[2001:db8::1]:9100"),
        ] {
            assert_eq!(with_port(address, 9_100), expected, "{address}");
        }
    }

    #[test]
    fn names_of_labels_have_letters_digits_and_underscores() {
        for (key, expected) in [("rack", "rack"), ("kubernetes.io/role-1", "kubernetes_io_role_1"), ("größe", "gr__e")]
        {
            assert_eq!(sanitized(key), expected);
        }
    }
}
