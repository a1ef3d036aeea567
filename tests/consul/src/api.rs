//! The routes under `/v1`, each as Consul's documentation of its HTTP API describes it. How they misbehave is decided by
//! the mode, in `state`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router, body};
use go_duration::GoDuration;
use rand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::acl::{Authorizer, NODE};
use crate::answer::{Read, Refusal};
use crate::catalog::{Catalog, Check, EventKind, Service, Status};
use crate::registration::{Registration, refuse_active_checks};
use crate::state::{Mode, Shared, UnknownCheck};

/// How long a blocking query waits if it does not say, and at most.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);
const MAX_WAIT: Duration = Duration::from_secs(600);

/// By this part of the wait at most, a blocking query waits longer, so that not all are renewed at once.
const JITTER_FRACTION: u32 = 16;

const DATACENTER: &str = "dc1";
const NODE_ID: &str = "5d2b1c1e-0000-4000-8000-000000000001";
const NODE_ADDRESS: &str = "127.0.0.1";

/// Everything under `/v1`.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/agent/self", get(agent_self))
        .route("/v1/agent/services", get(agent_services))
        .route("/v1/agent/checks", get(agent_checks))
        .route("/v1/agent/service/register", put(register_service))
        .route("/v1/agent/service/deregister/{*id}", put(deregister_service))
        .route("/v1/agent/service/maintenance/{*id}", put(service_maintenance))
        .route("/v1/agent/check/update/{*id}", put(update_check))
        .route("/v1/agent/check/pass/{*id}", put(pass_check))
        .route("/v1/agent/check/warn/{*id}", put(warn_check))
        .route("/v1/agent/check/fail/{*id}", put(fail_check))
        .route("/v1/health/service/{name}", get(health_service))
        .route("/v1/health/state/{state}", get(health_state))
        .route("/v1/catalog/datacenters", get(async || Json([DATACENTER])))
        .route("/v1/catalog/nodes", get(catalog_nodes))
        .route("/v1/catalog/services", get(catalog_services))
        .route("/v1/catalog/service/{name}", get(catalog_service))
        .route("/v1/status/leader", get(async || Json(format!("{NODE_ADDRESS}:8300"))))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), apply_mode))
        .with_state(shared)
}

type Outcome<T = StatusCode> = Result<T, Refusal>;

/// Answers as the present mode has it: a query that blocks is overtaken by a mode that begins meanwhile.
async fn apply_mode(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let lost = shared.note_request(&request);
    shared.answers_again().await;
    if lost {
        return Refusal::no_leader().into_response();
    }
    let response = tokio::select! {
        biased;
        () = shared.until_mode(Mode::Fail) => Refusal::no_leader().into_response(),
        () = shared.until_mode(Mode::Refuse) => Refusal::forbidden("Permission denied").into_response(),
        response = next.run(request) => response,
    };
    shared.answers_again().await;
    response
}

// --- requests -------------------------------------------------------------------------------------------------------

/// The parameters of a request: a name may be there several times, and without a value.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether it is there with nothing, or with what Go reads as true.
    fn flag(&self, name: &str) -> Outcome<bool> {
        let Some(value) = self.get(name) else { return Ok(false) };
        if value.is_empty() {
            return Ok(true);
        }
        parse_bool(value).ok_or_else(|| Refusal::bad_request(format!("Invalid value for ?{name}")))
    }

    /// Refuses what this stub would have to overlook.
    fn without(&self, names: &[&str]) -> Outcome<()> {
        match names.iter().find(|name| self.get(name).is_some()) {
            Some(name) => Err(Refusal::not_in_the_stub(format!("parameter {name}"))),
            None => Ok(()),
        }
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Finds out what a request may do: by `?token=`, `X-Consul-Token` or a bearer token, in this order.
fn authorize(shared: &Shared, headers: &HeaderMap, parameters: &Parameters) -> Outcome<Authorizer> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let secrets = [parameters.get("token"), header("x-consul-token"), bearer];
    let secret = secrets.into_iter().flatten().find(|secret| !secret.is_empty());
    shared.read(|state| state.acl.resolve(secret))
}

/// What a read waits for.
struct Blocking {
    index: u64,
    wait: Duration,
}

impl Blocking {
    fn of(parameters: &Parameters) -> Outcome<Self> {
        parameters.without(&["filter", "near", "node-meta", "cached", "ns", "partition", "peer"])?;
        if parameters.get("dc").is_some_and(|dc| !["", DATACENTER].contains(&dc)) {
            return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "No path to datacenter"));
        }
        if parameters.get("stale").is_some() && parameters.get("consistent").is_some() {
            let sentence = "Cannot specify ?stale with ?consistent, conflicting semantics.";
            return Err(Refusal::bad_request(sentence));
        }
        let wait = match parameters.get("wait").filter(|wait| !wait.is_empty()) {
            None => DEFAULT_WAIT,
            Some(wait) => {
                let GoDuration(nanoseconds) = wait.parse().map_err(|_| Refusal::bad_request("Invalid wait time"))?;
                match u64::try_from(nanoseconds) {
                    Ok(1..) => Duration::from_nanos(nanoseconds.unsigned_abs()).min(MAX_WAIT),
                    Ok(0) | Err(_) => DEFAULT_WAIT,
                }
            }
        };
        let index = match parameters.get("index").filter(|index| !index.is_empty()) {
            None => 0,
            Some(index) => index.parse().map_err(|_| Refusal::bad_request("Invalid index"))?,
        };
        Ok(Self { index, wait })
    }

    /// Reads; with an index, not before what is read has a higher one, the wait is over, or everything was replaced. Who has
    /// an index from before the indexes fell would miss that by a moment.
    async fn read(&self, shared: &Shared, read: impl Fn(&Catalog) -> Read) -> Read {
        let deadline =
            Instant::now() + self.wait + rand::rng().random_range(Duration::ZERO..=self.wait / JITTER_FRACTION);
        let mut changes = shared.changes();
        let generation = changes.borrow().catalog.generation;
        loop {
            {
                let state = changes.borrow_and_update();
                let found = read(&state.catalog);
                let is_old = self.index == 0 || state.catalog.has_fallen_below(self.index);
                if is_old || found.index > self.index || state.catalog.generation != generation {
                    return found;
                }
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return shared.read(|state| read(&state.catalog));
            }
        }
    }
}

// --- what agents are told -------------------------------------------------------------------------------------------

async fn register_service(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: body::Bytes,
) -> Outcome {
    let parameters = Parameters::of(query.as_deref());
    parameters.without(&["ns", "partition"])?;
    refuse_active_checks(&body)?;
    let (registration, checks) = Registration::read(&body)?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    authorizer.may_write_service(&registration.name)?;
    let overwritten = shared.read(|state| state.catalog.service(&registration.id).map(|service| service.name.clone()));
    if let Some(name) = overwritten {
        authorizer.may_write_service(&name)?;
    }
    let replace_checks = matches!(parameters.get("replace-existing-checks"), Some("" | "true"));
    shared.change(|catalog, now| catalog.register(registration, checks, replace_checks, now));
    Ok(StatusCode::OK)
}

async fn deregister_service(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome {
    may_change_service(&shared, &id, &headers, &Parameters::of(query.as_deref()))?;
    shared.change(|catalog, now| catalog.deregister(&id, EventKind::Deregistered, now));
    Ok(StatusCode::OK)
}

async fn service_maintenance(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome {
    let parameters = Parameters::of(query.as_deref());
    let enable = parameters.get("enable").ok_or_else(|| Refusal::bad_request("Missing value for enable"))?;
    let invalid = || Refusal::bad_request(format!("Invalid value for enable: \"{enable}\""));
    let enable = parse_bool(enable).ok_or_else(invalid)?;
    may_change_service(&shared, &id, &headers, &parameters)?;
    let reason = enable.then(|| parameters.get("reason").unwrap_or_default());
    shared.change(|catalog, now| catalog.set_maintenance(&id, reason, now));
    Ok(StatusCode::OK)
}

fn may_change_service(shared: &Shared, id: &str, headers: &HeaderMap, parameters: &Parameters) -> Outcome<()> {
    parameters.without(&["ns", "partition"])?;
    let authorizer = authorize(shared, headers, parameters)?;
    let name = shared.read(|state| state.catalog.service(id).map(|service| service.name.clone()));
    let unknown =
        || format!("Unknown service ID \"{id}\". Ensure that the service ID is passed, not the service name.");
    authorizer.may_write_service(&name.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, unknown()))?)
}

/// The body of `check/update`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckUpdate {
    #[serde(rename = "Status", default)]
    status: String,
    #[serde(rename = "Output", default)]
    output: String,
}

async fn update_check(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: body::Bytes,
) -> Outcome {
    let undecodable = |error| Refusal::bad_request(format!("Request decode failed: {error}"));
    let update: CheckUpdate = serde_json::from_slice(&body).map_err(undecodable)?;
    let invalid = || Refusal::bad_request(format!("Invalid check status: '{}'", update.status));
    let status = Status::parse(&update.status).ok_or_else(invalid)?;
    set_check(&shared, &id, status, update.output, &headers, &Parameters::of(query.as_deref()))
}

async fn pass_check(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome {
    set_noted_check(&shared, &id, Status::Passing, &headers, query.as_deref())
}

async fn warn_check(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome {
    set_noted_check(&shared, &id, Status::Warning, &headers, query.as_deref())
}

async fn fail_check(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome {
    set_noted_check(&shared, &id, Status::Critical, &headers, query.as_deref())
}

fn set_noted_check(shared: &Shared, id: &str, status: Status, headers: &HeaderMap, query: Option<&str>) -> Outcome {
    let parameters = Parameters::of(query);
    let note = parameters.get("note").unwrap_or_default().to_owned();
    set_check(shared, id, status, note, headers, &parameters)
}

fn set_check(
    shared: &Shared,
    id: &str,
    status: Status,
    output: String,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Outcome {
    parameters.without(&["ns", "partition"])?;
    let authorizer = authorize(shared, headers, parameters)?;
    let (service, unknown_check) = shared.read(|state| {
        let check = state.catalog.check(id);
        (check.and_then(|check| state.catalog.service(&check.service)).map(|it| it.name.clone()), state.unknown_check)
    });
    let without_ttl =
        || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("CheckID \"{id}\" does not have associated TTL"));
    let Some(service) = service else {
        return Err(match unknown_check {
            UnknownCheck::NotFound => Refusal::new(
                StatusCode::NOT_FOUND,
                format!("Unknown check ID \"{id}\". Ensure that the check ID is passed, not the check name."),
            ),
            UnknownCheck::UnknownCheck => {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("Unknown check \"{id}\""))
            }
            UnknownCheck::NoTtl => without_ttl(),
        });
    };
    authorizer.may_write_service(&service)?;
    if shared.change(|catalog, now| catalog.update(id, status, output, now)) {
        Ok(StatusCode::OK)
    } else {
        Err(without_ttl())
    }
}

// --- what agents tell -----------------------------------------------------------------------------------------------

async fn agent_self(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Json<Value>> {
    authorize(&shared, &headers, &Parameters::of(query.as_deref()))?.may_read_agent()?;
    Ok(Json(json!({
        "Config": {
            "Datacenter": DATACENTER, "PrimaryDatacenter": DATACENTER, "NodeName": NODE, "NodeID": NODE_ID,
            "Server": true, "Version": VERSION, "Revision": "00000000", "BuildDate": "1970-01-01T00:00:01Z",
        },
        "DebugConfig": {},
        "Coord": null,
        "Member": {"Name": NODE, "Addr": NODE_ADDRESS, "Port": 8301, "Status": 1, "Tags": {"dc": DATACENTER}},
        "Stats": {},
        "Meta": {},
    })))
}

async fn agent_services(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Json<Value>> {
    let parameters = Parameters::of(query.as_deref());
    parameters.without(&["filter", "ns", "partition"])?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    Ok(Json(shared.read(|state| {
        let services = state.catalog.services().filter(|service| authorizer.reads_service(&service.name));
        Value::Object(services.map(|service| (service.id.clone(), agent_service(service))).collect())
    })))
}

async fn agent_checks(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Json<Value>> {
    let parameters = Parameters::of(query.as_deref());
    parameters.without(&["filter", "ns", "partition"])?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    Ok(Json(shared.read(|state| {
        let checks = state.catalog.checks().filter_map(|check| {
            let service = state.catalog.service(&check.service)?;
            let shown = authorizer.reads_service(&service.name);
            shown.then(|| (check.id.clone(), service_check(check, service, &check.output)))
        });
        Value::Object(checks.collect())
    })))
}

// --- what the catalogue tells ---------------------------------------------------------------------------------------

async fn health_service(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Read> {
    let parameters = Parameters::of(query.as_deref());
    let blocking = Blocking::of(&parameters)?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    let (passing, tags) = (parameters.flag("passing")?, parameters.all("tag"));
    let read = |catalog: &Catalog| {
        let tagged = catalog.instances(&name).filter(|service| has_tags(service, &tags));
        let asked_for = tagged.filter(|service| !passing || catalog.status(&service.id) == Some(Status::Passing));
        let entries = asked_for.map(|service| {
            let checks =
                catalog.checks_of(&service.id).map(|check| service_check(check, service, &check.synced_output));
            let checks: Vec<_> = [node_check()].into_iter().chain(checks).collect();
            json!({"Node": node(), "Service": health_service_entry(service), "Checks": checks})
        });
        let shown = authorizer.reads_node() && authorizer.reads_service(&name);
        shown_if(shown, &authorizer, catalog.service_index(&name), entries.collect())
    };
    Ok(blocking.read(&shared, read).await)
}

async fn health_state(
    State(shared): State<Arc<Shared>>,
    Path(asked_for): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Read> {
    let parameters = Parameters::of(query.as_deref());
    let blocking = Blocking::of(&parameters)?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    let is_asked_for = |status: Status| asked_for == "any" || asked_for == status.word();
    let read = |catalog: &Catalog| {
        let checks = catalog.checks().filter(|check| is_asked_for(check.status)).filter_map(|check| {
            let service = catalog.service(&check.service)?;
            let shown = authorizer.reads_node() && authorizer.reads_service(&service.name);
            Some((shown, service_check(check, service, &check.synced_output)))
        });
        let of_node = is_asked_for(Status::Passing).then(|| (authorizer.reads_node(), node_check()));
        let found: Vec<_> = of_node.into_iter().chain(checks).collect();
        let filtered = found.iter().any(|(shown, _)| !shown);
        Read {
            index: catalog.check_list_index(),
            body: found.into_iter().filter(|(shown, _)| *shown).map(|(_, check)| check).collect(),
            filtered: authorizer.authenticated.then_some(filtered),
        }
    };
    Ok(blocking.read(&shared, read).await)
}

async fn catalog_nodes(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Read> {
    let parameters = Parameters::of(query.as_deref());
    let blocking = Blocking::of(&parameters)?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    let read = |_: &Catalog| shown_if(authorizer.reads_node(), &authorizer, 1, vec![node()]);
    Ok(blocking.read(&shared, read).await)
}

async fn catalog_services(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Read> {
    let parameters = Parameters::of(query.as_deref());
    let blocking = Blocking::of(&parameters)?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    let read = |catalog: &Catalog| {
        let mut tags = BTreeMap::<&str, BTreeSet<&str>>::new();
        let mut filtered = false;
        for service in catalog.services() {
            if authorizer.reads_service(&service.name) {
                tags.entry(&service.name).or_default().extend(service.tags.iter().map(String::as_str));
            } else {
                filtered = true;
            }
        }
        let filtered = authorizer.authenticated.then_some(filtered);
        Read { index: catalog.service_list_index(), body: json!(tags), filtered }
    };
    Ok(blocking.read(&shared, read).await)
}

async fn catalog_service(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Outcome<Read> {
    let parameters = Parameters::of(query.as_deref());
    let blocking = Blocking::of(&parameters)?;
    let authorizer = authorize(&shared, &headers, &parameters)?;
    let tags = parameters.all("tag");
    let read = |catalog: &Catalog| {
        let tagged = catalog.instances(&name).filter(|service| has_tags(service, &tags));
        let shown = authorizer.reads_node() && authorizer.reads_service(&name);
        shown_if(shown, &authorizer, catalog.service_index(&name), tagged.map(catalog_entry).collect())
    };
    Ok(blocking.read(&shared, read).await)
}

/// All of it or nothing, as the token permits.
fn shown_if(shown: bool, authorizer: &Authorizer, index: u64, found: Vec<Value>) -> Read {
    let filtered = authorizer.authenticated.then_some(!shown && !found.is_empty());
    Read { index, body: if shown { Value::Array(found) } else { json!([]) }, filtered }
}

/// Whether it has all of these; Consul compares tags without regard to their case.
fn has_tags(service: &Service, tags: &[&str]) -> bool {
    tags.iter().all(|tag| service.tags.iter().any(|it| it.eq_ignore_ascii_case(tag)))
}

// --- shapes ---------------------------------------------------------------------------------------------------------

/// What this stub says that it is a version of.
const VERSION: &str = "1.21.0";

fn node() -> Value {
    json!({
        "ID": NODE_ID, "Node": NODE, "Address": NODE_ADDRESS, "Datacenter": DATACENTER,
        "TaggedAddresses": tagged_addresses(), "Meta": {"consul-network-segment": "", "consul-version": VERSION},
        "CreateIndex": 1, "ModifyIndex": 1,
    })
}

fn tagged_addresses() -> Value {
    json!({"lan": NODE_ADDRESS, "lan_ipv4": NODE_ADDRESS, "wan": NODE_ADDRESS, "wan_ipv4": NODE_ADDRESS})
}

/// The check of the node itself, which is among those of every service on it.
fn node_check() -> Value {
    json!({
        "Node": NODE, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "Notes": "",
        "Output": "Agent alive and reachable", "ServiceID": "", "ServiceName": "", "ServiceTags": [], "Type": "",
        "Interval": "", "Timeout": "", "ExposedPort": 0, "Definition": {}, "CreateIndex": 1, "ModifyIndex": 1,
    })
}

fn service_check(check: &Check, service: &Service, output: &str) -> Value {
    json!({
        "Node": NODE, "CheckID": check.id, "Name": check.name, "Status": check.status.word(), "Notes": check.notes,
        "Output": output, "ServiceID": service.id, "ServiceName": service.name, "ServiceTags": service.tags,
        "Type": if check.ttl.is_some() { "ttl" } else { "maintenance" }, "Interval": "", "Timeout": "",
        "ExposedPort": 0, "Definition": {}, "CreateIndex": check.created, "ModifyIndex": check.modified,
    })
}

fn weights(service: &Service) -> Value {
    let (passing, warning) = service.weights.map_or((1, 1), |weights| (weights.passing, weights.warning));
    json!({"Passing": passing, "Warning": warning})
}

fn agent_service(service: &Service) -> Value {
    json!({
        "ID": service.id, "Service": service.name, "Tags": service.tags, "Meta": service.meta, "Port": service.port,
        "Address": service.address, "TaggedAddresses": service_addresses(service), "Weights": weights(service),
        "EnableTagOverride": service.enable_tag_override, "Datacenter": DATACENTER,
    })
}

fn health_service_entry(service: &Service) -> Value {
    json!({
        "ID": service.id, "Service": service.name, "Tags": service.tags, "Meta": service.meta, "Port": service.port,
        "Address": service.address, "TaggedAddresses": service_addresses(service), "Weights": weights(service),
        "EnableTagOverride": service.enable_tag_override,
        "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {}, "PeerName": "",
        "CreateIndex": service.created, "ModifyIndex": service.modified,
    })
}

fn catalog_entry(service: &Service) -> Value {
    json!({
        "ID": NODE_ID, "Node": NODE, "Address": NODE_ADDRESS, "Datacenter": DATACENTER,
        "TaggedAddresses": tagged_addresses(), "NodeMeta": {"consul-network-segment": "", "consul-version": VERSION},
        "ServiceKind": "", "ServiceID": service.id, "ServiceName": service.name, "ServiceTags": service.tags,
        "ServiceAddress": service.address, "ServiceTaggedAddresses": service_addresses(service),
        "ServiceWeights": weights(service), "ServiceMeta": service.meta, "ServicePort": service.port,
        "ServiceSocketPath": "", "ServiceEnableTagOverride": service.enable_tag_override,
        "ServiceProxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "ServiceConnect": {},
        "CreateIndex": service.created, "ModifyIndex": service.modified,
    })
}

/// An address that is one, and no name, is there again by its kind.
fn service_addresses(service: &Service) -> Value {
    let address = json!({"Address": service.address, "Port": service.port});
    match service.address.parse() {
        Ok(std::net::IpAddr::V4(_)) => json!({"lan_ipv4": address, "wan_ipv4": address}),
        Ok(std::net::IpAddr::V6(_)) => json!({"lan_ipv6": address, "wan_ipv6": address}),
        Err(_) => json!({}),
    }
}
