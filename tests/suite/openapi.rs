//! The OpenAPI document is what the program says it is, and says what the server does.
//!
//! Linters and a fuzzer look at the same document in `tests/conformance/openapi`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aetherium::auth::Caller;
use aetherium::resolvers::tokens::TokenInput;
use serde_json::{Map, Value, json};

use crate::harness::openapi::{BASE, document, visit};
use crate::harness::*;

/// The methods that operations can have.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "patch", "trace"];

#[test]
fn docs_openapi_json_is_what_the_binary_prints() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let committed = fs::read_to_string(&file).unwrap();
    assert!(
        committed == aetherium::rest::openapi(),
        "docs/openapi.json is not what the program prints. If the change is meant, run: cargo run -- openapi > docs/openapi.json"
    );
}

#[test]
fn every_path_of_the_router_is_in_the_document_and_no_other() {
    let document = document();
    let documented: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest/mod.rs")).unwrap();
    let source = source.replace(".route_with(", ".route(");
    let routed = source.split(".route(").skip(1).map(|rest| rest.split('"').nth(1).expect("a path in quotes"));
    // The document's paths are below its server's.
    let routed: BTreeSet<_> = routed.map(|path| path.strip_prefix("/api/v1").expect("a path of the API")).collect();
    assert_eq!(documented, routed);
}

#[test]
fn everything_in_the_document_is_described() {
    let document = document();
    let mut undescribed = Vec::new();
    let mut ask = |place: &str, thing: &Value| {
        if !is_text(&thing["description"]) {
            undescribed.push(place.to_owned());
        }
    };
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        ask(name, schema);
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            // Some say what they mean where they are referred to, others where they are declared.
            let property = if property["description"].is_null() { resolve(&document, property) } else { property };
            ask(&format!("{name}.{field}"), property);
        }
    }
    for Operation { name, operation, .. } in operations(&document) {
        ask(&name, operation);
        assert!(is_text(&operation["summary"]) && is_text(&operation["operationId"]), "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            ask(&format!("{name}: {}", parameter["name"]), parameter);
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            ask(&format!("{name}: {status}"), response);
            for (header, described) in response["headers"].as_object().into_iter().flatten() {
                ask(&format!("{name}: {status}: {header}"), described);
            }
        }
    }
    assert!(undescribed.is_empty(), "no description: {undescribed:#?}");
}

#[test]
fn every_example_is_as_its_schema_says() {
    let document = document();
    let mut wrong = Vec::new();
    let mut examples = 0;
    visit(&document, &mut |place, node| {
        if let (Some(schema), Some(example)) = (node.get("schema"), node.get("example")) {
            examples += 1;
            wrong.extend(faults(&strict(&document), schema, example).map(|fault| format!("{place}: {fault}")));
        }
    });
    assert!(examples > 40, "examples were not found: {examples}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

on_both_databases! {
    async fn the_document_is_served(cluster: TestCluster) {
        let answer = cluster.rest().get("/api/v1/openapi.json").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.body, aetherium::rest::openapi());
    }

    async fn every_path_has_the_methods_that_are_documented_and_no_others(cluster: TestCluster) {
        let document = document();
        for (path, item) in document["paths"].as_object().unwrap() {
            let documented: BTreeSet<_> =
                METHODS.iter().filter(|method| item.get(**method).is_some()).map(|method| method.to_uppercase()).collect();
            let answer = cluster.rest().ask("PATCH", &format!("{BASE}{}", path.replace("{id}", "w1"))).await;
            assert_eq!(answer.status, 405, "{path}");
            let allowed = answer.header("allow").unwrap().split(',').filter(|method| *method != "HEAD");
            assert_eq!(allowed.map(str::to_owned).collect::<BTreeSet<_>>(), documented, "{path}");
        }
    }

    async fn answers_are_as_documented(cluster: TestCluster) {
        let held = Held::against(document());
        let rest = cluster.rest();
        let heartbeat = json!({"incarnation": 1, "vms": [{"id": "vm-1"}, {"id": "vm-2", "status": "stopped"}, {"id": ""}]});
        let registration = worker("w1").zone("a").registers("labels", json!({"env": "test"})).registration();
        for (method, path, template, body) in [
            ("PUT", "/workers/w1", "/workers/{id}", registration.clone()),
            ("PUT", "/workers/w1", "/workers/{id}", registration.clone()),
            ("PUT", "/workers/w2", "/workers/{id}", registration.clone()),
            ("PUT", "/workers/w3", "/workers/{id}", json!({"hostname": ""})),
            ("POST", "/workers/w1/heartbeat", "/workers/{id}/heartbeat", json!({"incarnation": 1})),
            ("POST", "/workers/w1/heartbeat", "/workers/{id}/heartbeat", with(heartbeat.clone(), json!({"incarnation": 2}))),
            ("POST", "/workers/w2/heartbeat", "/workers/{id}/heartbeat", heartbeat.clone()),
            ("POST", "/workers/w9/heartbeat", "/workers/{id}/heartbeat", heartbeat.clone()),
            ("PUT", "/workers/vm-1", "/workers/{id}", registration),
            ("POST", "/heartbeats", "/heartbeats", json!({"heartbeats": [{"worker_id": "w1", "incarnation": 2}, {"worker_id": "w9", "incarnation": 1}, 7]})),
            ("POST", "/heartbeats", "/heartbeats", json!({"heartbeats": 7})),
            ("POST", "/workers/w1/drain", "/workers/{id}/drain", json!({"reason": "new disks"})),
            ("POST", "/workers/w2/drain", "/workers/{id}/drain", Value::Null),
            ("POST", "/workers/w9/drain", "/workers/{id}/drain", json!({})),
            ("POST", "/workers/w1/activate", "/workers/{id}/activate", json!({})),
            ("POST", "/workers/w1/activate", "/workers/{id}/activate", json!({"reason": 7})),
        ] {
            held.check(method, template, rest.ask(method, &format!("{BASE}{path}")).json(body).await);
        }
        for (path, template) in [
            ("/workers", "/workers"),
            ("/workers?limit=1", "/workers"),
            ("/workers?limit=501", "/workers"),
            ("/workers/w1", "/workers/{id}"),
            ("/workers/w9", "/workers/{id}"),
            ("/workers/w1?min_revision=x", "/workers/{id}"),
            ("/workers/w1/vms", "/workers/{id}/vms"),
            ("/workers/w1/vms?status=stopped", "/workers/{id}/vms"),
            ("/workers/w1/vms?status=odd", "/workers/{id}/vms"),
            ("/workers/w9/vms", "/workers/{id}/vms"),
            ("/workers/w1/drain", "/workers/{id}/drain"),
            ("/workers/w1/drain?for=odd", "/workers/{id}/drain"),
            ("/workers/w9/drain", "/workers/{id}/drain"),
            ("/workers/w1/drains", "/workers/{id}/drains"),
            ("/workers/w9/drains", "/workers/{id}/drains"),
            ("/workers/w1/history", "/workers/{id}/history"),
            ("/workers/w1/history?max_points=0", "/workers/{id}/history"),
            ("/workers/w9/history", "/workers/{id}/history"),
            ("/zones/none/history", "/zones/{zone}/history"),
            ("/zones/a/history?max_points=3", "/zones/{zone}/history"),
            ("/zones/a/history?max_points=1", "/zones/{zone}/history"),
            ("/cluster/history?range_seconds=900000", "/cluster/history"),
            ("/cluster/history?since=odd", "/cluster/history"),
            ("/drains", "/drains"),
            ("/drains?state=odd", "/drains"),
            ("/vms", "/vms"),
            ("/vms?limit=1", "/vms"),
            ("/vms?cursor=odd", "/vms"),
            ("/vms/vm-1", "/vms/{id}"),
            ("/vms/vm-9", "/vms/{id}"),
            ("/cluster/stats", "/cluster/stats"),
            ("/cluster/stats?min_revision=-1", "/cluster/stats"),
            ("/cluster/distribution", "/cluster/distribution"),
            ("/cluster/distribution?min_revision=-1", "/cluster/distribution"),
            ("/placement?vcpus=1&memory_mb=1&count=400&strategy=pack", "/placement"),
            ("/placement?vcpus=1", "/placement"),
            ("/capacity?vcpus=1&memory_mb=1", "/capacity"),
            ("/evacuation-plan", "/evacuation-plan"),
            ("/evacuation-plan?limit=odd", "/evacuation-plan"),
            ("/capacity", "/capacity"),
            ("/reservations", "/reservations"),
            ("/reservations?state=odd", "/reservations"),
            ("/reservations/none", "/reservations/{id}"),
            ("/cluster/zones", "/cluster/zones"),
            ("/cluster/zones?min_revision=-1", "/cluster/zones"),
            ("/cluster/worker-counts?status=active", "/cluster/worker-counts"),
            ("/cluster/worker-counts?status=odd", "/cluster/worker-counts"),
            ("/cluster/vm-counts?duplicate=false", "/cluster/vm-counts"),
            ("/cluster/vm-counts?status=odd", "/cluster/vm-counts"),
            ("/sd/prometheus", "/sd/prometheus"),
            ("/sd/prometheus?status=active&port=9100", "/sd/prometheus"),
            ("/sd/prometheus?port=0", "/sd/prometheus"),
            ("/events", "/events"),
            ("/events?limit=2", "/events"),
            ("/events?limit=1&order=desc&since=2020-01-01T00:00:00Z", "/events"),
            ("/events?kind=odd", "/events"),
            ("/events?after=odd", "/events"),
            ("/health", "/health"),
            ("/openapi.json", "/openapi.json"),
        ] {
            held.check("GET", template, rest.get(&format!("{BASE}{path}")).await);
        }
        rest.post("/api/v1/workers/w2/activate").await;
        for (body, status) in [
            (json!({"vcpus": 1, "memory_mb": 1, "count": 2, "reason": "r"}), 201),
            (json!({"vcpus": 1, "memory_mb": 1, "vm_ids": ["vm-9"]}), 201),
            (json!({"vcpus": 1, "memory_mb": 1, "vm_ids": ["vm-9"]}), 409),
            (json!({"vcpus": 1}), 400),
        ] {
            let answer = rest.post("/api/v1/reservations").json(body).await;
            assert_eq!(answer.status, status, "{}", answer.body);
            held.check("POST", "/reservations", answer);
        }
        for (path, body, status) in [
            ("/drains", json!({"filter": {"ids": ["w1", "none"]}, "metadata": {"a": "b"}, "allow_shortfall": true}), 200),
            ("/drains", json!({"all": true, "limit": 1}), 409),
            ("/drains", json!({"all": true, "filter": {"ids": ["w1"]}}), 400),
            ("/activations", json!({"all": true, "reason": "r"}), 200),
            ("/activations", json!({}), 400),
        ] {
            let answer = rest.post(&format!("{BASE}{path}")).json(body).await;
            assert_eq!(answer.status, status, "{}", answer.body);
            held.check("POST", path, answer);
        }
        for body in [
            json!({"offline_for": "1h", "dry_run": true}),
            json!({"filter": {"ids": ["none"], "labels": {"env": null}}, "force": true}),
            json!({"all": true, "dry_run": true}),
            json!({}),
            json!({"filter": {"zone": "a"}}),
        ] {
            held.check("POST", "/purges", rest.post("/api/v1/purges").json(body).await);
        }
        held.check("GET", "/reservations", rest.get("/api/v1/reservations?limit=1").await);
        let reservations = rest.get("/api/v1/reservations").await;
        let id = reservations.json()["reservations"][0]["id"].as_str().unwrap().to_owned();
        held.check("GET", "/reservations", reservations);
        held.check("GET", "/reservations/{id}", rest.get(&format!("/api/v1/reservations/{id}")).await);
        held.check("DELETE", "/reservations/{id}", rest.delete(&format!("/api/v1/reservations/{id}")).await);
        held.check("DELETE", "/reservations/{id}", rest.delete("/api/v1/reservations/none").await);
        for (reason, status) in [("disks", 200), ("disks", 200), ("fans", 422)] {
            let drain = rest.post("/api/v1/workers/w1/drain").json(json!({"reason": reason}));
            let answer = drain.header("idempotency-key", "once").await;
            assert_eq!(answer.status, status, "{}", answer.body);
            held.check("POST", "/workers/{id}/drain", answer);
        }
        let problem = rest.get("/api/v1/vms/vm-9").header("accept", "application/problem+json").await;
        assert_eq!(problem.header("content-type"), Some("application/problem+json"));
        held.check("GET", "/vms/{id}", problem);
        let tag = rest.get("/api/v1/workers/w1/vms").await.header("etag").unwrap().to_owned();
        let known = rest.get("/api/v1/workers/w1/vms").header("if-none-match", &tag).await;
        assert_eq!(known.status, 304);
        held.check("GET", "/workers/{id}/vms", known);
        for (tag, status) in [("\"1\"", 412), ("*", 200), ("1", 400)] {
            let answer = rest.post("/api/v1/workers/w1/activate").header("if-match", tag).await;
            assert_eq!(answer.status, status, "{}", answer.body);
            held.check("POST", "/workers/{id}/activate", answer);
        }
        for (path, template) in [
            ("/workers/w1?purge=true", "/workers/{id}"),
            ("/workers/w1?purge=true&force=true", "/workers/{id}"),
            ("/workers/w1?purge=odd", "/workers/{id}"),
            ("/workers/w1", "/workers/{id}"),
        ] {
            held.check("DELETE", template, rest.delete(&format!("{BASE}{path}")).await);
        }
        // Last, since the server asks for a token from the first one on.
        let admin = TokenInput { name: "me".to_owned(), role: "admin".to_owned(), ..TokenInput::default() };
        let admin = cluster.server().resolvers().create_token(&Caller::server(), admin).await.unwrap();
        let secret = admin.text.expose().to_owned();
        let admin = format!("Bearer {secret}");
        for (method, path, template, body) in [
            ("POST", "/tokens", "/tokens", json!({"name": "w1", "role": "worker", "worker_id": "w1", "expires_in": "1h"})),
            ("POST", "/tokens", "/tokens", json!({"name": "gateway", "role": "worker", "max_workers": 7})),
            ("POST", "/tokens", "/tokens", json!({"name": "join", "role": "join", "worker_id": "w9", "max_uses": 2})),
            ("POST", "/tokens", "/tokens", json!({"name": "odd", "role": "odd"})),
            ("POST", "/workers/w9/join", "/workers/{id}/join", own_token().1),
            ("GET", "/tokens", "/tokens", Value::Null),
            ("GET", "/session", "/session", Value::Null),
            ("POST", "/session", "/session", json!({"token": secret})),
            ("POST", "/session", "/session", json!({"code": "odd"})),
            ("POST", "/session", "/session", json!({})),
            ("DELETE", "/session", "/session", Value::Null),
            ("DELETE", "/tokens/none", "/tokens/{id}", Value::Null),
            ("DELETE", "/workers/w9", "/workers/{id}", Value::Null),
        ] {
            let ask = || rest.ask(method, &format!("{BASE}{path}"));
            held.check(method, template, ask().json(body.clone()).await);
            held.check(method, template, ask().header("authorization", &admin).json(body).await);
        }
        let join = cluster.token(join_token(Some("w9"), 1)).await;
        for (path, body) in [("/workers/w9/join", own_token().1), ("/workers/w9/join", own_token().1), ("/workers/w9/join", json!({})), ("/workers/w8/join", own_token().1)] {
            held.check("POST", "/workers/{id}/join", cluster.holder(&join).post(&format!("{BASE}{path}")).json(body).await);
        }
        let tokens = rest.get("/api/v1/tokens").header("authorization", &admin).await.json();
        for token in tokens["tokens"].as_array().unwrap() {
            let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());
            held.check("DELETE", "/tokens/{id}", rest.delete(&path).header("authorization", &admin).await);
        }
        held.assert_that_every_success_was_seen();
    }
}

/// Answers, held against the document.
struct Held {
    document: Value,
    strict: Value,
    seen: std::cell::RefCell<BTreeMap<String, BTreeSet<u16>>>,
}

impl Held {
    fn against(document: Value) -> Self {
        Self { strict: strict(&document), document, seen: Default::default() }
    }

    /// The status is documented, so is the type of the body, so is every key in it, and every header that has to be
    /// there is.
    #[track_caller]
    fn check(&self, method: &str, template: &str, answer: Answer) {
        let asked = format!("{method} {template}");
        let responses = &self.document["paths"][template][method.to_lowercase()]["responses"];
        let response = resolve(&self.document, &responses[answer.status.to_string()]);
        assert!(response.is_object(), "{asked}: {} is not documented: {}", answer.status, answer.body);
        for header in response["headers"].as_object().into_iter().flat_map(Map::keys) {
            // Left out where a list does not go on, and where nothing was asked for before.
            let is_optional = ["link", "idempotency-replayed"].contains(&header.as_str());
            assert!(is_optional || answer.header(header).is_some(), "{asked}: {} without {header}", answer.status);
        }
        match answer.header("content-type") {
            None => assert!(response.get("content").is_none() && answer.body.is_empty(), "{asked}: {}", answer.body),
            Some(media) => {
                let content = &response["content"][media];
                assert!(content.is_object(), "{asked}: {media} is not documented");
                let faults: Vec<_> = faults(&self.strict, &content["schema"], &answer.json()).collect();
                assert!(faults.is_empty(), "{asked}: {faults:#?} in {}", answer.body);
            }
        }
        self.seen.borrow_mut().entry(asked).or_default().insert(answer.status);
    }

    fn assert_that_every_success_was_seen(&self) {
        let seen = self.seen.borrow();
        for Operation { name, operation, .. } in operations(&self.document) {
            let successes = operation["responses"].as_object().unwrap().keys().filter(|status| status.starts_with('2'));
            for status in successes {
                let found = seen.get(&name).is_some_and(|seen| seen.contains(&status.parse().unwrap()));
                assert!(found, "this test never saw {name} answer {status}");
            }
        }
    }
}

/// One operation of the document.
struct Operation<'a> {
    /// Such as `GET /workers`.
    name: String,
    operation: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                operations.push(Operation { name: format!("{} {path}", method.to_uppercase()), operation });
            }
        }
    }
    operations
}

/// What a reference points to, or the thing itself.
fn resolve<'a>(document: &'a Value, thing: &'a Value) -> &'a Value {
    match thing["$ref"].as_str() {
        Some(place) => {
            document.pointer(place.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{place} is missing"))
        }
        None => thing,
    }
}

/// What is wrong with a value, by a schema of the document.
fn faults(document: &Value, schema: &Value, value: &Value) -> impl Iterator<Item = String> + use<> {
    let schema = json!({"allOf": [schema], "components": document["components"]});
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let faults: Vec<_> =
        validator.iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    faults.into_iter()
}

/// The document with no key allowed that it does not mention.
fn strict(document: &Value) -> Value {
    let mut strict = document.clone();
    for (_, schema) in strict["components"]["schemas"].as_object_mut().unwrap() {
        if schema.get("properties").is_some() {
            schema["additionalProperties"] = json!(false);
        }
    }
    strict
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}
