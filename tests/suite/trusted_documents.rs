//! Documents that an operator trusts: checked at the start, asked for by id, and as routes of their own.

use std::path::PathBuf;

use aetherium::clock::Clock;
use aetherium::graphql::TrustedMode;
use aetherium::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

const WORKER: &str = "query Worker($id: ID!) { worker(id: $id) { id zone } }";
const DRAIN: &str =
    "mutation Drain($id: ID!, $reason: String) { drainWorker(input: {workerId: $id, reason: $reason}) { changed } }";
const FOLLOW: &str = "subscription Stats { clusterStats { totalWorkers } }";
const FIND: &str = "query Find($first: Int, $zones: [String!], $filter: WorkerFilter, $order: WorkerOrderField! = ID, $healthy: Boolean, $key: Boolean! = false) {
    workersConnection(first: $first, filter: $filter, orderBy: {field: $order}) { totalCount nodes { id hostname @include(if: $key) } }
    other: workersConnection(filter: {zones: $zones, isHealthy: $healthy}) { totalCount } }";

fn operation(id: &str, name: &str, kind: &str, body: &str) -> Value {
    json!({"id": id, "name": name, "type": kind, "body": body})
}

fn manifest(operations: impl IntoIterator<Item = Value>) -> Value {
    let operations: Vec<_> = operations.into_iter().collect();
    json!({"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations})
}

fn usual() -> Value {
    manifest([
        operation("worker", "Worker", "query", WORKER),
        operation("drain", "Drain", "mutation", DRAIN),
        operation("stats", "Stats", "subscription", FOLLOW),
        operation("find", "Find", "query", FIND),
        operation("ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38", "", "query", "{__typename}"),
    ])
}

/// A file, and the folder that it is in.
fn file(text: &str) -> (PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifest.json");
    std::fs::write(&file, text).unwrap();
    (file, folder)
}

async fn trusting(database: &TestDatabase, mode: TrustedMode) -> TestCluster {
    let (file, _folder) = file(&usual().to_string());
    TestCluster::configured(database, |options| {
        options.graphql.trusted_documents = Some(file);
        options.graphql.trusted_documents_mode = mode;
    })
    .await
}

async fn post(cluster: &TestCluster, body: Value) -> Value {
    cluster.rest().post("/graphql").json(body).await.json()
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no code: {answer}"))
}

on_both_databases! {
    async fn a_trusted_document_is_asked_for_by_its_id(database: TestDatabase) {
        for mode in [TrustedMode::Allow, TrustedMode::Only] {
            let cluster = trusting(&database, mode).await;
            if mode == TrustedMode::Allow {
                cluster.add([worker("w1").zone("a")]).await;
            }
            let expected = json!({"data": {"worker": {"id": "w1", "zone": "a"}}});
            let variables = json!({"id": "w1"});
            // Equal requests are read once; the second is as good as the first.
            for _ in 0..2 {
                let body = json!({"documentId": "worker", "variables": variables});
                assert_eq!(post(&cluster, body).await, expected, "{mode:?}");
            }
            let hash = json!({"persistedQuery": {"version": 1, "sha256Hash": "worker"}});
            for body in [
                json!({"documentId": "worker", "variables": variables}),
                json!({"documentId": "worker", "query": WORKER, "variables": variables, "operationName": "Worker"}),
                json!({"extensions": hash, "variables": variables}),
                json!({"extensions": hash, "query": WORKER, "variables": variables}),
            ] {
                assert_eq!(post(&cluster, body.clone()).await, expected, "{body}");
            }
            let get = cluster.rest().get("/graphql?documentId=worker&variables=%7B%22id%22:%22w1%22%7D").await;
            get.assert_json(200, expected.clone());
            let mut socket = Port::of(&cluster).await.client().await;
            let payload = json!({"documentId": "worker", "variables": variables});
            socket.say(json!({"type": "subscribe", "id": "1", "payload": payload})).await;
            assert_eq!(socket.next("1").await, expected["data"]);
            assert_eq!(socket.hear().await, json!({"type": "complete", "id": "1"}));
            socket.say(json!({"type": "subscribe", "id": "2", "payload": {"documentId": "stats"}})).await;
            assert_eq!(socket.next("2").await, json!({"clusterStats": {"totalWorkers": 1}}));
            for prefix in ["", "sha256:"] {
                let id = format!("{prefix}ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38");
                assert_eq!(post(&cluster, json!({"documentId": id})).await, json!({"data": {"__typename": "Query"}}));
            }
            let other = post(&cluster, json!({"documentId": "worker", "query": "{ vms { id } }"})).await;
            assert_eq!(code(&other), "BAD_USER_INPUT");
            assert_eq!(code(&post(&cluster, json!({"documentId": "nope"})).await), "PERSISTED_QUERY_NOT_FOUND");
            cluster.into_server().stop().await;
        }
    }

    async fn a_trusted_document_is_a_route(database: TestDatabase) {
        let cluster = trusting(&database, TrustedMode::Allow).await;
        cluster.add([worker("w1").zone("a"), worker("w2").zone("b"), worker("w3")]).await;
        let get = async |path: &str| cluster.rest().get(&format!("/api/v1/q/{path}")).await;
        get("worker?id=w1").await.assert_json(200, json!({"data": {"worker": {"id": "w1", "zone": "a"}}}));
        get("worker?id=nope").await.assert_json(200, json!({"data": {"worker": null}}));

        let drained = json!({"data": {"drainWorker": {"changed": true}}});
        let refused = get("drain?id=w1").await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("POST")), "{}", refused.body);
        assert_eq!(cluster.worker("w1").await["status"], "active");
        cluster.rest().post("/api/v1/q/drain?id=w1&reason=new%20disks").await.assert_json(200, drained.clone());
        cluster.rest().post("/api/v1/q/drain").json(json!({"id": "w2"})).await.assert_json(200, drained);

        let count = async |query: &str| {
            let answer = get(&format!("find?{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.body);
            let data = answer.json()["data"].take();
            let nodes = data["workersConnection"]["nodes"].as_array().unwrap().clone();
            (nodes.len(), data["workersConnection"]["totalCount"].clone(), data["other"]["totalCount"].clone(), nodes)
        };
        assert_eq!(count("first=2").await.0, 2);
        assert_eq!(count("zones[]=a&zones%5B%5D=b&_=1764341000").await.2, 2);
        assert_eq!(count("zones=a&zones=b").await.2, 2);
        assert_eq!(count("zones=a").await.2, 1);
        assert_eq!(count("healthy=true").await.2, 3);
        assert_eq!(count("filter=%7B%22statuses%22:%5B%22DRAINING%22%5D%7D").await.1, 2);
        assert_eq!(count("order=HOSTNAME&key=true").await.3[0]["hostname"], "w1.example.com");
    }

    async fn a_subscription_is_followed_at_its_route(database: TestDatabase) {
        let cluster = trusting(&database, TrustedMode::Only).await;
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut stream =
            HttpStream::get(&port.authority(), "/api/v1/q/stats", &[("accept", "text/event-stream")]).await;
        assert_eq!(stream.message().await.json(), json!({"data": {"clusterStats": {"totalWorkers": 1}}}));
        cluster.add([worker("w2")]).await;
        let plain = cluster.rest().get("/api/v1/q/stats").await;
        assert_eq!((plain.status, code(&plain.json())), (406, "BAD_USER_INPUT"), "{}", plain.body);
    }
}

#[tokio::test]
async fn parameters_of_a_route_that_are_wrong_are_named() {
    let cluster = trusting(&TestDatabase::sqlite(), TrustedMode::Allow).await;
    for (path, status, expected_code, expected) in [
        ("nope", 404, "PERSISTED_QUERY_NOT_FOUND", "There is no document with the id \"nope\""),
        ("worker", 400, "BAD_USER_INPUT", "Variable \"$id\" has to be given"),
        ("worker?id=a&id=b", 400, "BAD_USER_INPUT", "$id: takes one value, and is given 2 times"),
        ("worker?id=a&zone=b", 400, "BAD_USER_INPUT", "Unknown variable $zone: this operation takes $id: ID!"),
        (
            "find?first=x",
            400,
            "BAD_USER_INPUT",
            "$first: must be a whole number from -2147483648 to 2147483647, not \"x\"",
        ),
        ("find?first=", 400, "BAD_USER_INPUT", "$first: a value is missing"),
        ("find?healthy=", 400, "BAD_USER_INPUT", "$healthy: a value is missing"),
        ("find?zone=a", 400, "BAD_USER_INPUT", "Did you mean $zones?"),
        ("find?Zones=a", 400, "BAD_USER_INPUT", "Did you mean $zones?"),
        ("find?zones=%ff", 400, "BAD_USER_INPUT", "Query parameter `zones`: what is percent-encoded here is not UTF-8"),
        ("find?healthy=1", 400, "BAD_USER_INPUT", "$healthy: must be true or false, not \"1\""),
        (
            "find?order=id",
            400,
            "BAD_USER_INPUT",
            "$order: must be one of CPU_USAGE, FREE_CPU_CORES, FREE_MEMORY, FREE_VM_SLOTS, HOSTNAME, ID, ",
        ),
        ("find?filter=zone", 400, "BAD_USER_INPUT", "$filter: must be a WorkerFilter written as JSON, not \"zone\""),
        ("find?filter=%7B%22nope%22:1%7D", 400, "BAD_USER_INPUT", "$filter has no field \"nope\": there are"),
    ] {
        let answer = cluster.rest().get(&format!("/api/v1/q/{path}")).await;
        let body = answer.json();
        assert_eq!((answer.status, code(&body)), (status, expected_code), "{path}: {body}");
        let message = body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(expected), "{path}: {message}");
    }
    let answer = cluster.rest().get("/api/v1/q/find?first=-1").await;
    assert_eq!((answer.status, code(&answer.json())), (200, "INVALID_ARGUMENT"), "{}", answer.body);
    let answer = cluster.rest().post("/api/v1/q/drain").json(json!({"worker": "w1"})).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("Unknown variable $worker"), "{}", answer.body);
}

#[tokio::test]
async fn nothing_else_is_answered_where_only_trusted_documents_are() {
    let cluster = trusting(&TestDatabase::sqlite(), TrustedMode::Only).await;
    let before = cluster.server().documents().stats();
    let hash = json!({"persistedQuery": {"version": 1, "sha256Hash": "0".repeat(64)}});
    for (body, expected) in [
        (json!({"query": "{ workers { id } }"}), "PERSISTED_QUERY_ID_REQUIRED"),
        (json!({"query": WORKER, "variables": {"id": "w1"}}), "PERSISTED_QUERY_ID_REQUIRED"),
        (json!({"query": "{ workers { id } }", "extensions": hash}), "PERSISTED_QUERY_ID_REQUIRED"),
        (json!({"query": "{ __schema { types { name } } }"}), "PERSISTED_QUERY_ID_REQUIRED"),
        (json!({"extensions": hash}), "PERSISTED_QUERY_NOT_FOUND"),
    ] {
        let answer = cluster
            .rest()
            .post("/graphql")
            .header("accept", "application/graphql-response+json")
            .json(body.clone())
            .await;
        assert_eq!((answer.status, code(&answer.json())), (400, expected), "{body}");
    }
    let mut socket = Port::of(&cluster).await.client().await;
    socket.subscribe("1", "subscription { clusterEvents { kind } }", json!({})).await;
    assert_eq!(socket.hear().await["payload"][0]["extensions"]["code"], "PERSISTED_QUERY_ID_REQUIRED");
    assert_eq!(cluster.server().documents().stats(), before, "nothing of it was even parsed");
}

#[tokio::test]
async fn trusted_documents_that_are_off_are_not_there() {
    let cluster = trusting(&TestDatabase::sqlite(), TrustedMode::Off).await;
    assert_eq!(code(&post(&cluster, json!({"documentId": "worker"})).await), "PERSISTED_QUERY_NOT_FOUND");
    let answer = cluster.rest().get("/api/v1/q/worker?id=w1").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("started without --trusted-documents"), "{}", answer.body);
    assert_eq!(post(&cluster, json!({"query": "{ workers { id } }"})).await, json!({"data": {"workers": []}}));
}

#[tokio::test]
async fn a_manifest_that_is_wrong_stops_the_start_and_is_told_by_name() {
    let good = || operation("a", "A", "query", "query A { workers { id } }");
    for (text, expected) in [
        ("{".to_owned(), "it is not a manifest in JSON"),
        ("{}".to_owned(), "missing field `format`"),
        (json!({"format": "x", "version": 1, "operations": []}).to_string(), "it is \"x\" version 1"),
        (
            json!({"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}).to_string(),
            "version 2, and what is read is \"apollo-persisted-query-manifest\" version 1",
        ),
        (manifest([good(), good()]).to_string(), "operation A (id a): another operation has the same id"),
        (
            manifest([good(), operation("b", "B", "query", "query B { workers { nope } }")]).to_string(),
            "operation B (id b): Cannot query field \"nope\" on type \"Worker\"",
        ),
        (
            manifest([operation("b", "B", "query", "query B {")]).to_string(),
            "operation B (id b): The document cannot be parsed",
        ),
        (
            manifest([operation("b", "B", "query", "query B { a: workers { x: id } a: workers { x: zone } }")])
                .to_string(),
            "operation B (id b): Fields \"x\" conflict",
        ),
        (
            manifest([operation("b", "B", "query", &format!("query B {{ {} }}", "__typename ".repeat(101)))])
                .to_string(),
            "operation B (id b): The document has 101 fields at the root",
        ),
        (
            manifest([operation("b", "B", "query", "mutation B { drainWorker(input: {workerId: 1}) { changed } }")])
                .to_string(),
            "operation B (id b): its body is a mutation, and not a query",
        ),
        (
            manifest([operation("b", "B", "query", "query C { workers { id } }")]).to_string(),
            "operation B (id b): its body has another name",
        ),
        (
            manifest([operation("b", "B", "query", "query B { workers { id } } query C { vms { id } }")]).to_string(),
            "operation B (id b): its body must be one operation",
        ),
    ] {
        let (file, _folder) = file(&text);
        let problem = start(file.clone()).await;
        assert!(problem.starts_with(&format!("Cannot use the trusted documents of {}: ", file.display())), "{problem}");
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
    assert!(start("/nowhere/manifest.json".into()).await.contains("the file cannot be read"));
}

/// Why a server with this manifest does not start.
async fn start(file: PathBuf) -> String {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let mut options = cluster.options().clone();
    options.graphql.trusted_documents = Some(file);
    Server::start(options, Clock::system()).await.expect_err("this should not start").to_string()
}
