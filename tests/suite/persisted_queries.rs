//! Automatic persisted queries: a document is sent once, and asked for by its hash from then on.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::*;

const QUERY: &str = "query($id: ID!) { worker(id: $id) { id } }";

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn by_hash(text: &str) -> Value {
    json!({"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}})
}

async fn post(cluster: &TestCluster, body: Value) -> Value {
    cluster.rest().post("/graphql").json(body).await.json()
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The message and the code of an answer's only error.
#[track_caller]
fn refusal(answer: &Value) -> (&str, &str) {
    assert_eq!((answer.get("data"), answer["errors"].as_array().map(Vec::len)), (None, Some(1)), "{answer}");
    let error = &answer["errors"][0];
    (error["message"].as_str().unwrap(), error["extensions"]["code"].as_str().unwrap())
}

on_both_databases! {
    async fn a_document_is_asked_for_by_its_hash_once_it_has_been_sent(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let expected = |id: &str| json!({"data": {"worker": {"id": id}}});
        let hash_only = |id: &str| json!({"extensions": by_hash(QUERY), "variables": {"id": id}});
        let not_found = ("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND");
        let path = |id: &str| {
            let variables = json!({"id": id}).to_string();
            format!("/graphql?extensions={}&variables={}", escape(&by_hash(QUERY).to_string()), escape(&variables))
        };
        let mut socket = Port::of(&cluster).await.client().await;

        assert_eq!(refusal(&post(&cluster, hash_only("w1")).await), not_found);
        assert_eq!(refusal(&cluster.rest().get(&path("w1")).await.json()), not_found);
        socket.say(json!({"type": "subscribe", "id": "1", "payload": hash_only("w1")})).await;
        let heard = socket.hear().await;
        assert_eq!(heard["type"], "error");
        assert_eq!(refusal(&json!({"errors": heard["payload"]})), not_found);

        // Sent with its hash by GET, as clients do that know how.
        let with_text = format!("{}&query={}", path("w1"), escape(QUERY));
        cluster.rest().get(&with_text).await.assert_json(200, expected("w1"));
        assert_eq!(post(&cluster, hash_only("w2")).await, expected("w2"));
        cluster.rest().get(&path("w2")).await.assert_json(200, expected("w2"));
        let stream = cluster.rest().get(&path("w2")).header("accept", "text/event-stream").await;
        assert!(stream.body.contains(&expected("w2").to_string()), "{}", stream.body);
        socket.say(json!({"type": "subscribe", "id": "2", "payload": hash_only("w2")})).await;
        assert_eq!(socket.next("2").await, expected("w2")["data"]);
    }

    async fn subscriptions_and_commands_have_hashes_too(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let drain = "mutation { drainWorker(input: {workerId: \"w1\"}) { changed } }";
        assert_eq!(
            post(&cluster, json!({"query": drain, "extensions": by_hash(drain)})).await,
            json!({"data": {"drainWorker": {"changed": true}}})
        );
        assert_eq!(
            post(&cluster, json!({"extensions": by_hash(drain)})).await,
            json!({"data": {"drainWorker": {"changed": false}}})
        );
        let answer = cluster.rest().get(&format!("/graphql?extensions={}", escape(&by_hash(drain).to_string()))).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{}", answer.body);

        let follow = "subscription { clusterStats { totalWorkers } }";
        let mut socket = Port::of(&cluster).await.client().await;
        let payload = json!({"query": follow, "extensions": by_hash(follow)});
        socket.say(json!({"type": "subscribe", "id": "1", "payload": payload})).await;
        assert_eq!(socket.next("1").await, json!({"clusterStats": {"totalWorkers": 1}}));
        socket.say(json!({"type": "subscribe", "id": "2", "payload": {"extensions": by_hash(follow)}})).await;
        assert_eq!(socket.next("2").await, json!({"clusterStats": {"totalWorkers": 1}}));
    }
}

#[tokio::test]
async fn a_hash_that_is_not_the_texts_is_refused_and_nothing_is_kept_under_it() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let answer = post(&cluster, json!({"query": "{ vms { id } }", "extensions": by_hash("{ workers { id } }")})).await;
    let (message, code) = refusal(&answer);
    assert_eq!(code, "BAD_USER_INPUT");
    assert!(message.contains("provided sha does not match"), "{message}");
    let answer = post(&cluster, json!({"extensions": by_hash("{ workers { id } }")})).await;
    assert_eq!(refusal(&answer).1, "PERSISTED_QUERY_NOT_FOUND");
}

#[tokio::test]
async fn what_is_not_valid_is_not_kept_under_its_hash() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    for (bad, expected) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ a: workers { x: id } a: workers { x: zone } }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let answer = post(&cluster, json!({"query": bad, "extensions": by_hash(bad)})).await;
        assert_eq!(refusal(&answer).1, expected, "{bad}");
        let answer = post(&cluster, json!({"extensions": by_hash(bad)})).await;
        assert_eq!(refusal(&answer).1, "PERSISTED_QUERY_NOT_FOUND", "{bad}");
    }
}

#[tokio::test]
async fn extensions_that_are_no_persisted_query_say_what_is_wrong() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let hash = sha256(QUERY);
    for (extension, problem) in [
        (json!(7), "must be an object"),
        (json!({"sha256Hash": hash}), "Unsupported persisted query version"),
        (json!({"version": 2, "sha256Hash": hash}), "Unsupported persisted query version"),
        (json!({"version": 1}), "sha256Hash` must be a text"),
        (json!({"version": 1, "sha256Hash": 7}), "sha256Hash` must be a text"),
        (json!({"version": 1, "sha256Hash": "abc"}), "64 hexadecimal digits"),
    ] {
        let answer = post(&cluster, json!({"extensions": {"persistedQuery": extension}})).await;
        let (message, code) = refusal(&answer);
        assert_eq!(code, "BAD_USER_INPUT", "{extension}");
        assert!(message.contains(problem), "{extension}: {message}");
    }
    let answer = cluster.rest().post("/graphql").json(json!({"extensions": {"persistedQuery": null}})).await;
    assert_eq!((answer.status, refusal(&answer.json()).1), (400, "BAD_REQUEST"));
}

#[tokio::test]
async fn a_server_that_keeps_none_says_that_it_does_not_and_takes_texts() {
    let cluster =
        TestCluster::configured(&TestDatabase::sqlite(), |options| options.graphql.persisted_queries = false).await;
    let query = "{ workers { id } }";
    let not_supported = ("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED");
    assert_eq!(refusal(&post(&cluster, json!({"extensions": by_hash(query)})).await), not_supported);
    let answer = post(&cluster, json!({"query": query, "extensions": by_hash(query)})).await;
    assert_eq!(answer, json!({"data": {"workers": []}}));
    assert_eq!(refusal(&post(&cluster, json!({"extensions": by_hash(query)})).await), not_supported);
}
