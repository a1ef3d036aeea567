//! Documents of GraphQL that are sent again and again: parsed once, and answered as if each time were the first.

use aetherium::graphql::DocumentCacheStats;
use serde_json::{Value, json};

use crate::harness::*;

/// Shows the status, so that what a refusal says is part of it.
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// How much work documents have made between two readings of the account.
fn between(before: DocumentCacheStats, after: DocumentCacheStats) -> (u64, u64) {
    (after.parsed - before.parsed, after.validated - before.validated)
}

async fn ask(cluster: &TestCluster, query: &str, variables: &Value) -> (u16, String) {
    let body = json!({"query": query, "variables": variables});
    let answer = cluster.rest().post("/graphql").header("accept", GRAPHQL_RESPONSE).json(body).await;
    (answer.status, answer.body)
}

on_both_databases! {
    async fn a_document_is_read_once_whatever_door_it_comes_in_by(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let query = "query($id: ID!) { worker(id: $id) { id } }";
        let before = cluster.server().documents().stats();
        ask(&cluster, query, &json!({"id": "w1"})).await;
        let read = cluster.server().documents().stats();
        assert_eq!((between(before, read), read.kept), ((1, 1), before.kept + 1));

        let expected = json!({"data": {"worker": {"id": "w2"}}});
        let variables = json!({"id": "w2"});
        let post = cluster.rest().post("/graphql").json(json!({"query": query, "variables": variables})).await;
        post.assert_json(200, expected.clone());
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let path = format!("/graphql?query={}&variables={}", escape(query), escape(&variables.to_string()));
        cluster.rest().get(&path).await.assert_json(200, expected.clone());
        let sse = cluster.rest().get(&path).header("accept", "text/event-stream").await;
        assert!(sse.body.contains(&expected.to_string()), "{}", sse.body);
        let mut socket = Port::of(&cluster).await.client().await;
        socket.subscribe("1", query, variables).await;
        assert_eq!(socket.next("1").await, expected["data"]);
        assert_eq!(between(read, cluster.server().documents().stats()), (0, 0));
    }

    async fn an_equal_request_is_read_once_and_answered_as_things_are_now(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let fields = "usedCpuCores status uptime lastSeen revision";
        let query = format!("query($id: ID!) {{ worker(id: $id) {{ {fields} }} workers {{ {fields} }} }}");
        // Of these, one has no room beside the first, and one would be too long.
        let names: String = (0..60).map(|n| format!("host{n:03}: hostname ")).collect();
        let others = ["", &names].map(|more| format!("worker(id: $id) {{ uptime usedCpuCores {more} }}"));
        let mut first = None;
        for step in 0..5 {
            match step {
                1 => cluster.advance(seconds(1)),
                2 => _ = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 5})).await,
                3 => _ = cluster.rest().post("/api/v1/workers/w1/drain").await,
                4 => cluster.advance(seconds(61)),
                _ => {}
            }
            let (status, answer) = ask(&cluster, &query, &json!({"id": "w1"})).await;
            let read = cluster.server().documents().stats();
            assert_eq!((status, between(*first.get_or_insert(read), read)), (200, (0, 0)));
            let known = cluster.worker("w1").await;
            let expected = json!({
                "usedCpuCores": known["used_cpu_cores"], "status": known["status"].as_str().unwrap().to_uppercase(),
                "uptime": known["uptime"], "lastSeen": known["last_seen"], "revision": known["revision"],
            });
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer, json!({"data": {"worker": expected, "workers": [expected]}}), "step {step}");
            for other in &others {
                let (_, answer) = ask(&cluster, &format!("query($id: ID!) {{ {other} }}"), &json!({"id": "w1"})).await;
                let answer: Value = serde_json::from_str(&answer).unwrap();
                let shown = &answer["data"]["worker"];
                assert_eq!(
                    [&shown["uptime"], &shown["usedCpuCores"]],
                    [&known["uptime"], &known["used_cpu_cores"]],
                    "step {step}: {answer}"
                );
                first = Some(cluster.server().documents().stats());
            }
        }
    }

    async fn an_equal_request_is_still_one_of_its_own(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let drain = "mutation { drainWorker(input: {workerId: \"w1\"}) { changed } }";
        for expected in [true, false, true] {
            if expected {
                cluster.rest().post("/api/v1/workers/w1/activate").await;
            }
            let (_, answer) = ask(&cluster, drain, &json!({})).await;
            assert_eq!(answer, format!("{{\"data\":{{\"drainWorker\":{{\"changed\":{expected}}}}}}}"));
        }

        let query = json!({"query": "{ workers { id } }", "extensions": {"cost": true}});
        let post = || cluster.rest().post("/graphql").json(query.clone());
        let plain = post().await;
        assert_eq!((plain.header("content-type"), post().await.body), (Some("application/json"), plain.body.clone()));
        let specified = post().header("accept", GRAPHQL_RESPONSE).await;
        assert_eq!((specified.header("content-type"), &specified.body), (Some(GRAPHQL_RESPONSE), &plain.body));
        let stream = post().header("accept", "text/event-stream").await;
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));

        let unseen = json!({"query": "{ workers { id } }", "extensions": {"minRevision": 3}});
        let post = || cluster.rest().post("/graphql").json(unseen.clone());
        assert_eq!(post().await.json()["data"], json!({"workers": [{"id": "w1"}]}));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(post().await.json()["data"], json!({"workers": [{"id": "w1"}]}));
    }

    async fn a_subscription_is_read_once_too(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let query = "subscription($every: Duration) { clusterStats(every: $every) { totalWorkers } }";
        let mut first = None;
        for every in [json!({}), json!({"every": "1s"}), json!({"every": null})] {
            let mut socket = port.client().await;
            socket.subscribe("1", query, every).await;
            assert_eq!(socket.next("1").await, json!({"clusterStats": {"totalWorkers": 1}}));
            let read = cluster.server().documents().stats();
            assert_eq!(between(*first.get_or_insert(read), read), (0, 0));
        }
    }
}

/// Documents with variables that are right, wrong, doubtful and missing.
fn questions() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        (
            "query($first: Int, $z: [String!]) { workersConnection(first: $first, filter: {zones: $z}) { totalCount } }",
            vec![
                json!({"first": 1}),
                json!({"first": null, "z": null}),
                json!({"first": "x"}),
                json!({"first": 1.5}),
                json!({"first": 4_294_967_296_u64}),
                json!({"first": -1}),
                json!({"z": "one"}),
                json!({"z": ["a", null]}),
                json!({"z": [["a"]]}),
                json!({"unknown": 1}),
            ],
        ),
        (
            "query($f: WorkerFilter, $o: WorkerOrder = {field: ID}) { workersConnection(filter: $f, orderBy: $o) { totalCount } }",
            vec![
                json!({"f": {"statuses": ["ACTIVE"], "labels": [{"key": "a"}]}, "o": {"field": "ZONE"}}),
                json!({"o": null}),
                json!({"f": {"statuses": ["NOPE"]}}),
                json!({"f": {"statuses": "ACTIVE"}}),
                json!({"f": {"labels": [{"value": "a"}]}}),
                json!({"f": {"nope": 1}}),
                json!({"f": 7}),
                json!({"o": {"direction": "ASC"}}),
                json!({"o": {"field": "ID", "direction": "UP"}}),
            ],
        ),
        (
            "query($id: ID!, $yes: Boolean = true) { worker(id: $id) { id zone @include(if: $yes) } }",
            vec![
                json!({"id": "w1"}),
                json!({"id": 7}),
                json!({"id": "w1", "yes": false}),
                json!({"id": "w1", "yes": null}),
                json!({"id": "w1", "yes": "no"}),
                json!({"id": {"a": 1}}),
                json!({"id": null}),
                json!({}),
            ],
        ),
        (
            "query($n: Int = 3) { events(first: $n) { hasNextPage } }",
            vec![json!({}), json!({"n": 2}), json!({"n": null})],
        ),
        (
            "query($after: Cursor) { events(after: $after) { hasNextPage } }",
            vec![json!({}), json!({"after": "nonsense"}), json!({"after": 7}), json!({"after": ["x"]})],
        ),
    ]
}

#[tokio::test]
async fn a_document_that_is_known_is_answered_as_one_that_is_not() {
    let known = TestCluster::on(&TestDatabase::sqlite()).await;
    known.add([worker("w1").zone("a")]).await;
    for (query, variables) in questions() {
        // Beyond doubt at first, so that the document is kept.
        assert!(ask(&known, query, &variables[0]).await.1.contains("data"), "{query}");
        for variables in &variables {
            let again = ask(&known, query, variables).await;
            // Never seen: the same with a comment of its own. Places in the text stay where they are.
            let first = ask(&known, &format!("{query} # {variables}"), variables).await;
            assert_eq!(again, first, "{query} {variables}");
        }
    }
}

#[tokio::test]
async fn a_document_is_not_read_again_for_other_variables() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let query = "query($f: WorkerFilter, $n: Int) { workersConnection(filter: $f, first: $n) { totalCount } }";
    ask(&cluster, query, &json!({})).await;
    let validations = async |variables: Value| {
        let before = cluster.server().documents().stats();
        let (status, body) = ask(&cluster, query, &variables).await;
        let (parsed, validated) = between(before, cluster.server().documents().stats());
        assert_eq!(parsed, 0, "{variables}: {body}");
        (status, validated)
    };
    for good in [
        json!({"n": 5}),
        json!({"n": null, "f": null}),
        json!({"f": {"ids": ["w1", 7], "zones": "a", "statuses": ["ACTIVE"], "labels": {"key": "k"}, "isHealthy": true}}),
    ] {
        assert_eq!(validations(good.clone()).await, (200, 0), "{good}");
    }
    for bad in [json!({"n": "5"}), json!({"f": {"statuses": ["NOPE"]}}), json!({"f": []}), json!({"f": {"nope": 1}})] {
        assert_eq!(validations(bad.clone()).await, (400, 0), "{bad}");
    }
}

#[tokio::test]
async fn what_is_not_valid_is_not_kept() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let good = "{ workers { id } }";
    ask(&cluster, good, &json!({})).await;
    let before = cluster.server().documents().stats();
    for n in 0..50 {
        for bad in [
            "{",
            "{ nope }",
            "{ workers { ...F } } fragment F on Worker { ...F }",
            "query($id: String) { worker(id: $id) { id } }",
        ] {
            ask(&cluster, &format!("{bad} # {n}"), &json!({})).await;
        }
    }
    let after = cluster.server().documents().stats();
    assert_eq!((after.kept, after.parsed - before.parsed), (before.kept, 200));
    ask(&cluster, good, &json!({})).await;
    assert_eq!(between(after, cluster.server().documents().stats()), (0, 0));
}

#[tokio::test]
async fn one_document_may_have_several_operations_each_with_its_name() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let query =
        "query A { workers { ...F } } query B($id: ID!) { worker(id: $id) { ...F zone } } fragment F on Worker { id }
        subscription S { ...R } fragment R on Subscription { clusterStats { totalWorkers } }";
    for _ in 0..2 {
        for (name, variables, expected) in [
            (json!("A"), json!({}), json!({"data": {"workers": [{"id": "w1"}]}})),
            (json!("B"), json!({"id": "w1"}), json!({"data": {"worker": {"id": "w1", "zone": null}}})),
        ] {
            let body = json!({"query": query, "operationName": name, "variables": variables});
            cluster.rest().post("/graphql").json(body).await.assert_json(200, expected);
        }
        for (name, problem) in [(json!("C"), "Unknown operation named \"C\""), (json!(null), "Operation name required")]
        {
            let body = json!({"query": query, "operationName": name});
            let answer = cluster.rest().post("/graphql").json(body).await.json();
            assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer}");
            assert!(answer["errors"][0]["message"].as_str().unwrap().starts_with(problem), "{answer}");
        }
    }
}

#[tokio::test]
async fn fields_that_cannot_be_merged_are_refused_however_deep_they_meet() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    for query in [
        r#"{ a: worker(id: "w1") { x: id } a: worker(id: "w1") { x: hostname } }"#,
        "{ ...A ...B } fragment A on Query { workers { x: address } } fragment B on Query { workers { x: hostname } }",
        r#"{ node(id: "w1") { ... on Worker { x: cpuCores } ... on Vm { x: name } } }"#,
    ] {
        let (status, body) = ask(&cluster, query, &json!({})).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, &body["errors"][0]["extensions"]["code"]),
            (400, &json!("GRAPHQL_VALIDATION_FAILED")),
            "{body}"
        );
        assert!(body["errors"][0]["message"].as_str().unwrap().contains("Use different aliases"), "{body}");
        assert_eq!(body["errors"][0]["locations"].as_array().unwrap().len(), 2, "{body}");
    }
}
