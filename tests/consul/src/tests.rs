//! The stub by its routes, with time that the tests move: what is told of Consul here is what discovery relies on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::ServiceExt;

use crate::state::Shared;
use crate::{Acl, DEREGISTER_MINIMUM, Mode, Rules, UnknownCheck, api};

const REGISTER: &str = "/v1/agent/service/register?replace-existing-checks=true";

#[tokio::test(start_paused = true)]
async fn a_check_that_is_not_updated_for_its_ttl_is_critical() {
    let consul = Consul::new();
    consul.put(REGISTER, web()).await;
    assert_eq!(consul.statuses("web").await, ["passing"]);
    sleep(Duration::from_secs(29)).await;
    consul.put("/v1/agent/check/update/service:web-1", json!({"Status": "warning", "Output": "slow"})).await;
    assert_eq!(consul.statuses("web").await, ["warning"]);
    sleep(Duration::from_secs(29)).await;
    assert_eq!(consul.statuses("web").await, ["warning"], "another TTL has begun");
    sleep(Duration::from_secs(2)).await;
    let checks = consul.get("/v1/agent/checks").await.body;
    let check = &checks["service:web-1"];
    assert_eq!(check["Status"], "critical");
    assert_eq!(check["Output"], "TTL expired (last output before timeout follows): slow");
    assert_eq!(consul.get("/v1/health/service/web?passing").await.body, json!([]));
    consul.put("/v1/agent/check/pass/service:web-1", Value::Null).await;
    assert_eq!(consul.statuses("web").await, ["passing"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_critical_for_long_is_deregistered_but_not_before_a_minute() {
    let consul = Consul::new();
    let mut web = web();
    web["Check"]["DeregisterCriticalServiceAfter"] = json!("1s");
    consul.put(REGISTER, web).await;
    sleep(Duration::from_secs(30 + 59)).await;
    assert_eq!(consul.statuses("web").await, ["critical"]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(consul.statuses("web").await, Vec::<String>::new());
    assert_eq!(consul.get("/v1/catalog/services").await.body, json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_made_to_expire_is_critical_until_its_next_update() {
    let consul = Consul::new();
    consul.put(REGISTER, web()).await;
    consul.shared.change(|catalog, now| catalog.expire("web-1", now));
    assert_eq!(consul.statuses("web").await, ["critical"]);
    consul.put("/v1/agent/check/pass/service:web-1", Value::Null).await;
    assert_eq!(consul.statuses("web").await, ["passing"]);
}

// The status of a registration is for new checks: Consul has kept that of known ones since its first versions.
#[tokio::test(start_paused = true)]
async fn a_service_that_registers_again_is_what_it_was() {
    let consul = Consul::new();
    consul.put(REGISTER, web()).await;
    sleep(Duration::from_secs(31)).await;
    consul.put(REGISTER, web()).await;
    assert_eq!(consul.statuses("web").await, ["critical"]);
    consul.put("/v1/agent/check/pass/service:web-1", Value::Null).await;
    consul.put(REGISTER, web()).await;
    assert_eq!(consul.statuses("web").await, ["passing"]);
}

#[tokio::test(start_paused = true)]
async fn a_query_blocks_until_what_it_asks_for_has_changed() {
    let consul = Consul::new();
    let empty = consul.get("/v1/health/service/web").await;
    let path = format!("/v1/health/service/web?passing&index={}&wait=5m", empty.index);
    let mut blocked = consul.begin(&path);
    consul.put(REGISTER, other()).await;
    assert!(blocked.is_silent().await, "another service was registered");
    consul.put(REGISTER, web()).await;
    let found = blocked.answer().await;
    assert!(found.index > empty.index);
    let [instance] = found.body.as_array().unwrap().as_slice() else { panic!("{}", found.body) };
    assert_eq!((&instance["Service"]["ID"], &instance["Service"]["Port"]), (&json!("web-1"), &json!(8080)));
    let checks: Vec<_> = instance["Checks"].as_array().unwrap().iter().map(|check| &check["CheckID"]).collect();
    assert_eq!(checks, ["serfHealth", "service:web-1"]);

    let mut blocked = consul.begin(&format!("/v1/health/service/web?passing&index={}", found.index));
    consul.put("/v1/agent/check/update/service:web-1", json!({"Status": "passing", "Output": "another word"})).await;
    assert!(blocked.is_silent().await, "the output alone is not synchronised");
    consul.put("/v1/agent/check/warn/service:web-1?note=slow", Value::Null).await;
    assert_eq!(blocked.answer().await.body, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_waits_in_vain_answers_what_it_knew_after_a_bit_more_than_its_wait() {
    let consul = Consul::new();
    for (wait, seconds) in [("&wait=16s", 16), ("", 300), ("&wait=1h", 600), ("&wait=0s", 300)] {
        let begun = Instant::now();
        let nodes = consul.get(&format!("/v1/catalog/nodes?index=1{wait}")).await;
        assert_eq!((nodes.index, &nodes.body[0]["Node"]), (1, &json!("stub")));
        let (took, least) = (begun.elapsed(), Duration::from_secs(seconds));
        let most = least + least / 16 + Duration::from_millis(1);
        assert!((least..=most).contains(&took), "{wait}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_falls_wakes_whoever_waits() {
    let consul = Consul::new();
    for _ in 0..3 {
        consul.put(REGISTER, web()).await;
    }
    let before = consul.get("/v1/health/service/web").await;
    let mut blocked = consul.begin(&format!("/v1/health/service/web?index={}", before.index));
    assert!(blocked.is_silent().await);
    consul.shared.change(|catalog, _| catalog.reset_index());
    let after = blocked.answer().await;
    assert!(after.index < before.index, "{} < {}", after.index, before.index);
    assert_eq!(after.body[0]["Service"]["ID"], "web-1");

    let mut blocked = consul.begin(&format!("/v1/health/service/web?index={}", after.index));
    assert!(blocked.is_silent().await);
    consul.shared.change(|catalog, _| catalog.forget());
    assert_eq!(blocked.answer().await.body, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_nobody_registered_is_refused_as_the_version_has_it() {
    let consul = Consul::new();
    for (version, status, sentence) in [
        (
            UnknownCheck::NotFound,
            StatusCode::NOT_FOUND,
            r#"Unknown check ID "service:web-1". Ensure that the check ID is passed, not the check name."#,
        ),
        (UnknownCheck::UnknownCheck, StatusCode::INTERNAL_SERVER_ERROR, r#"Unknown check "service:web-1""#),
        (
            UnknownCheck::NoTtl,
            StatusCode::INTERNAL_SERVER_ERROR,
            r#"CheckID "service:web-1" does not have associated TTL"#,
        ),
    ] {
        consul.shared.set(|state| state.unknown_check = version);
        let update = json!({"Status": "passing", "Output": ""});
        let refused = consul.ask("PUT", "/v1/agent/check/update/service:web-1", update, None).await;
        assert_eq!((refused.status, refused.body), (status, json!(sentence)));
    }
    let refused = consul.ask("PUT", "/v1/agent/service/deregister/web-1", Value::Null, None).await;
    let sentence = r#"Unknown service ID "web-1". Ensure that the service ID is passed, not the service name."#;
    assert_eq!((refused.status, refused.body), (StatusCode::NOT_FOUND, json!(sentence)));
}

#[tokio::test(start_paused = true)]
async fn what_a_token_does_not_permit_is_refused_or_left_out() {
    let consul = Consul::new();
    consul.put(REGISTER, other()).await;
    let rules = Rules { service_write: vec!["we".to_owned()], node_read: true, ..Rules::default() };
    consul.shared.set(|state| state.acl = Acl::only("secret", "abc", rules));
    let register = async |token| consul.ask("PUT", REGISTER, web(), token).await;
    let anonymous = "Permission denied: anonymous token lacks permission 'service:write' on \"web\". The anonymous \
                     token is used implicitly when a request does not specify a token.";
    let refused = register(None).await;
    assert_eq!((refused.status, refused.body), (StatusCode::FORBIDDEN, json!(anonymous)));
    let refused = register(Some("guessed")).await;
    assert_eq!((refused.status, refused.body), (StatusCode::FORBIDDEN, json!("ACL not found")));
    assert_eq!(register(Some("secret")).await.status, StatusCode::OK);
    let lacks = "Permission denied: token with AccessorID 'abc' lacks permission 'service:write' on \"other\"";
    let refused = consul.ask("PUT", REGISTER, other(), Some("secret")).await;
    assert_eq!((refused.status, refused.body), (StatusCode::FORBIDDEN, json!(lacks)));
    let refused = consul.ask("PUT", "/v1/agent/service/deregister/other-1", Value::Null, Some("secret")).await;
    assert_eq!((refused.status, refused.body), (StatusCode::FORBIDDEN, json!(lacks)));

    let services = consul.ask("GET", "/v1/catalog/services", Value::Null, Some("secret")).await;
    assert_eq!((services.body, services.filtered.as_deref()), (json!({"web": []}), Some("true")));
    let found = consul.ask("GET", "/v1/health/service/web", Value::Null, Some("secret")).await;
    assert_eq!((found.body.as_array().map(Vec::len), found.filtered.as_deref()), (Some(1), Some("false")));
    let unseen = consul.get("/v1/health/service/web").await;
    assert_eq!((unseen.body, unseen.filtered), (json!([]), None), "who has no token is not told");
}

#[tokio::test(start_paused = true)]
async fn metadata_has_limits() {
    let consul = Consul::new();
    let long = |length| "x".repeat(length);
    let pair = |key: &str, value: &str, why: &str| {
        let refusal = format!("Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {why}");
        (json!({key: value}), refusal)
    };
    let many: Value = (0..65).map(|number| (number.to_string(), json!(""))).collect();
    let too_many = "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs".to_owned();
    for (meta, refusal) in [
        (many, too_many),
        pair("", "blank", "Key cannot be blank"),
        pair("a.b", "a dot", "Key contains invalid characters"),
        pair(&long(129), "long", "Key is too long (limit: 128 characters)"),
        pair("consul-version", "1", "Key prefix 'consul-' is reserved for internal use"),
        pair("labels", &long(513), "Value is too long (limit: 512 characters)"),
    ] {
        let mut web = web();
        web["Meta"] = meta;
        let refused = consul.ask("PUT", REGISTER, web, None).await;
        assert_eq!((refused.status, refused.body), (StatusCode::BAD_REQUEST, json!(refusal)));
    }
    let mut web = web();
    web["Meta"] = json!({long(128): long(512)});
    consul.put(REGISTER, web).await;
}

#[tokio::test(start_paused = true)]
async fn maintenance_shows_an_instance_as_critical_until_it_is_over() {
    let consul = Consul::new();
    consul.put(REGISTER, web()).await;
    consul.put("/v1/agent/service/maintenance/web-1?enable=true&reason=new+disks", Value::Null).await;
    assert_eq!(consul.statuses("web").await, ["critical", "passing"]);
    assert_eq!(consul.get("/v1/health/service/web?passing=true").await.body, json!([]));
    let checks = consul.get("/v1/health/state/critical").await.body;
    assert_eq!(
        (&checks[0]["CheckID"], &checks[0]["Notes"]),
        (&json!("_service_maintenance:web-1"), &json!("new disks"))
    );
    consul.put("/v1/agent/service/register", web()).await;
    assert_eq!(consul.statuses("web").await, ["critical", "passing"], "a registration does not end it");
    consul.put("/v1/agent/service/maintenance/web-1?enable=false", Value::Null).await;
    assert_eq!(consul.statuses("web").await, ["passing"]);
    consul.put("/v1/agent/service/maintenance/web-1?enable=true", Value::Null).await;
    consul.put(REGISTER, web()).await;
    assert_eq!(consul.statuses("web").await, ["passing"], "one that replaces all checks does");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_answered_when_that_is_over() {
    let consul = Consul::new();
    let mut blocked = consul.begin(&format!("/v1/health/service/web?index={}", u64::MAX));
    assert!(blocked.is_silent().await, "it waits already");
    consul.shared.set(|state| state.mode = Mode::Hang);
    let mut hanging = consul.begin("/v1/status/leader");
    advance(Duration::from_secs(3_600)).await;
    assert!(hanging.is_silent().await && blocked.is_silent().await);
    consul.shared.set(|state| state.mode = Mode::Answer);
    assert_eq!(hanging.answer().await.body, json!("127.0.0.1:8300"));
    assert_eq!(blocked.answer().await.body, json!([]), "its wait is over");
    let mut blocked = consul.begin(&format!("/v1/health/service/web?index={}", u64::MAX));
    assert!(blocked.is_silent().await);
    consul.shared.set(|state| state.mode = Mode::Fail);
    let failed = blocked.answer().await;
    assert_eq!((failed.status, failed.body), (StatusCode::INTERNAL_SERVER_ERROR, json!("No cluster leader")));
}

#[tokio::test(start_paused = true)]
async fn what_consul_would_refuse_or_overlook_and_what_the_stub_cannot_is_refused() {
    let consul = Consul::new();
    let with = |field: &str, value: Value| {
        let mut web = web();
        web[field] = value;
        web
    };
    let check = |check: Value| with("Check", check);
    for (registration, status, sentence) in [
        (json!({}), 400, "Missing service name"),
        (with("Address", json!("0.0.0.0")), 400, "Invalid service address"),
        (with("Address", json!("::")), 400, "Invalid service address"),
        (check(json!({})), 400, "Invalid check: TTL must be > 0 for TTL checks"),
        (check(json!({"TTL": "30"})), 400, "Request decode failed: time: invalid duration \"30\""),
        (check(json!({"TTL": "1s", "Status": "fine"})), 400, "Status for checks must 'passing', 'warning', 'critical'"),
        (check(json!({"HTTP": "http://x", "Interval": "1s"})), 501, "only TTL checks"),
        (with("Adress", json!("x")), 400, "unknown field `adress`"),
    ] {
        let refused = consul.ask("PUT", REGISTER, registration, None).await;
        assert_eq!(refused.status.as_u16(), status, "{}", refused.body);
        assert!(refused.body.as_str().unwrap().contains(sentence), "{}", refused.body);
    }
    let refused = consul.ask("GET", "/v1/health/service/web?filter=Service.Meta.zone==x", Value::Null, None).await;
    assert_eq!((refused.status.as_u16(), refused.body), (501, json!("the stub of Consul has no parameter filter")));
}

fn web() -> Value {
    let check = json!({"TTL": "30s", "Status": "passing", "DeregisterCriticalServiceAfter": "24h"});
    json!({"Name": "web", "ID": "web-1", "Address": "192.0.2.1", "Port": 8080, "Check": check})
}

fn other() -> Value {
    json!({"name": "other", "id": "other-1", "port": 1, "check": {"ttl": "30s", "status": "passing"}})
}

/// A stub without a port.
struct Consul {
    shared: Arc<Shared>,
    router: Router,
}

/// What a request was answered with.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    index: u64,
    filtered: Option<String>,
    /// A sentence is a string.
    body: Value,
}

/// A request that is not answered yet, perhaps.
struct Begun(tokio::task::JoinHandle<Answer>);

impl Consul {
    fn new() -> Self {
        let shared = Arc::new(Shared::new(DEREGISTER_MINIMUM));
        tokio::spawn(Arc::clone(&shared).pass_time());
        Self { router: api::router(Arc::clone(&shared)), shared }
    }

    async fn get(&self, path: &str) -> Answer {
        let answer = self.ask("GET", path, Value::Null, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer
    }

    async fn put(&self, path: &str, body: Value) {
        let answer = self.ask("PUT", path, body, None).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, json!("")), "{path}");
    }

    async fn ask(&self, method: &str, path: &str, body: Value, token: Option<&str>) -> Answer {
        self.request(method, path, body, token).await.unwrap()
    }

    fn begin(&self, path: &str) -> Begun {
        Begun(self.request("GET", path, Value::Null, None))
    }

    fn request(&self, method: &str, path: &str, body: Value, token: Option<&str>) -> tokio::task::JoinHandle<Answer> {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("X-Consul-Token", token);
        }
        let (router, request) = (self.router.clone(), request.body(body).unwrap());
        tokio::spawn(async move {
            let response = router.oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let index = header("x-consul-index").map_or(0, |index| index.parse().unwrap());
            let (status, filtered) = (head.status, header("x-consul-results-filtered-by-acls"));
            let bytes = to_bytes(body, usize::MAX).await.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
            Answer { status, index, filtered, body }
        })
    }

    /// How the checks of a service are, by their ids, without the node's own.
    async fn statuses(&self, service: &str) -> Vec<String> {
        let found = self.get(&format!("/v1/health/service/{service}")).await.body;
        let checks =
            found.as_array().unwrap().iter().flat_map(|entry| entry["Checks"].as_array().unwrap().iter().skip(1));
        checks.map(|check| check["Status"].as_str().unwrap().to_owned()).collect()
    }
}

impl Begun {
    /// Whether nothing has come although everybody has done what there was to do.
    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(1), &mut self.0).await.is_err()
    }

    /// The answer, for which nothing is left to wait.
    async fn answer(self) -> Answer {
        timeout(Duration::from_secs(1), self.0).await.expect("it is woken").unwrap()
    }
}
