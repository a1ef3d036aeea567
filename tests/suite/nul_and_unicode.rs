//! Texts that a database may choke on, wherever a request can carry one: both databases answer the same, and neither
//! fails. PostgreSQL takes no NUL in a text, and neither takes the escaped one in JSON; SQLite takes both.

use serde_json::{Value, json};

use crate::harness::*;

const ODD: [&str; 9] = [
    "\0",
    "w1\0",
    "\0w1",
    "a\u{1}b\u{7f}",
    "\u{fffe}\u{ffff}\u{10ffff}",
    "\u{202e}w1\u{feff}",
    "'; DROP TABLE worker; --",
    "\\u0000\\",
    "%\u{0}_$1?:x",
];

/// Each request that carries a text, by the text.
async fn ask_all(cluster: &TestCluster, odd: &str) -> Vec<(String, u16, String)> {
    let mut answers = Vec::new();
    let escaped: String = form_urlencoded::byte_serialize(odd.as_bytes()).collect();
    let mut note = |what: String, answer: Answer| answers.push((what, answer.status, answer.body));
    for path in [
        "/api/v1/events?worker_id={}",
        "/api/v1/events?worker_id=w1&worker_id={}",
        "/api/v1/events?after={}",
        "/api/v1/workers?id={}",
        "/api/v1/workers?zone={}",
        "/api/v1/workers?status={}",
        "/api/v1/workers?capability={}",
        "/api/v1/workers?label={}",
        "/api/v1/workers?label=env%3D{}",
        "/api/v1/workers?search={}",
        "/api/v1/workers?sort={}",
        "/api/v1/workers?limit=1&cursor={}",
        "/api/v1/workers?wait={}",
        "/api/v1/vms?worker_id={}",
        "/api/v1/vms?zone={}",
        "/api/v1/vms?search={}",
        "/api/v1/workers/w1/vms?status={}",
        "/api/v1/q/{}",
    ] {
        let path = path.replace("{}", &escaped);
        note(format!("GET {path}"), cluster.rest().get(&path).await);
    }
    let segment = escaped.replace('+', "%20");
    for (method, path) in [
        ("GET", "/api/v1/workers/{}"),
        ("GET", "/api/v1/workers/{}/vms"),
        ("GET", "/api/v1/vms/{}"),
        ("POST", "/api/v1/workers/{}/drain"),
        ("POST", "/api/v1/workers/{}/activate"),
        ("DELETE", "/api/v1/workers/{}"),
        ("DELETE", "/api/v1/workers/{}?purge=true"),
    ] {
        let path = path.replace("{}", &segment);
        note(format!("{method} {path}"), cluster.rest().ask(method, &path).await);
    }
    let put = async |path: &str, body: Value| cluster.rest().put(path).json(body).await;
    note("id".to_owned(), put(&format!("/api/v1/workers/{segment}"), worker("x").registration()).await);
    for key in ["hostname", "address", "zone", "boot_id"] {
        note(key.to_owned(), put("/api/v1/workers/w2", worker("w2").registers(key, odd).registration()).await);
    }
    for (key, value) in [("labels", json!({"env": odd})), ("labels", json!({odd: "x"})), ("capabilities", json!([odd]))]
    {
        note(
            format!("{key} {value}"),
            put("/api/v1/workers/w2", worker("w2").registers(key, value.clone()).registration()).await,
        );
    }
    for beat in [
        json!({"incarnation": 1, "vms": [{"id": odd}, {"id": "good"}]}),
        json!({"incarnation": 1, "vms": [{"id": "vm-1", "name": odd}]}),
        json!({"incarnation": 1, "vms": [{"id": "vm-1", "status": odd}]}),
        json!({"incarnation": 1, "vms_delta": {"remove": [odd], "upsert": [{"id": odd}]}}),
    ] {
        note(format!("beat {beat}"), cluster.beat("w1", beat).await);
    }
    let beats = json!({"heartbeats": [{"worker_id": odd, "incarnation": 1}, {"worker_id": "w1", "incarnation": 1}]});
    note("beats".to_owned(), cluster.rest().post("/api/v1/heartbeats").json(beats).await);
    for command in ["drain", "activate"] {
        let path = format!("/api/v1/workers/w1/{command}");
        note(format!("{command} for a reason"), cluster.rest().post(&path).json(json!({"reason": odd})).await);
        if odd.chars().all(|char| (' '..='~').contains(&char)) {
            let answer = cluster.rest().post(&path).header("idempotency-key", odd).header("if-match", odd).await;
            note(format!("{command} with a key"), answer);
        }
    }
    for (query, variables) in [
        ("query($x: [ID!]) { events(filter: {workerIds: $x}) { nodes { kind } } }", json!({"x": [odd]})),
        ("query($x: [ID!]) { events(filter: {workerIds: $x}) { nodes { kind } } }", json!({"x": [odd, "w1"]})),
        ("query($x: Cursor) { events(after: $x) { nodes { kind } } }", json!({"x": odd})),
        ("query($x: ID!) { worker(id: $x) { id events(first: 3) { kind } } }", json!({"x": odd})),
        (
            "query($x: ID!) { vm(id: $x) { id } node(id: $x) { __typename } nodes(ids: [$x]) { __typename } }",
            json!({"x": odd}),
        ),
        ("query($x: String) { workersConnection(filter: {search: $x}) { totalCount } }", json!({"x": odd})),
        ("query($x: String) { workersConnection(after: $x) { totalCount } }", json!({"x": odd})),
        ("mutation($x: String) { drainWorker(input: {workerId: \"w1\", reason: $x}) { changed } }", json!({"x": odd})),
        ("mutation($x: ID!) { activateWorker(input: {workerId: $x}) { changed } }", json!({"x": odd})),
    ] {
        let answer = cluster.rest().post("/graphql").json(json!({"query": query, "variables": variables})).await;
        note(query.to_owned(), answer);
    }
    answers
}

#[tokio::test]
async fn odd_texts_are_answered_the_same_on_both_databases() {
    TestDatabase::postgres()
        .await
        .run(async |postgres: TestCluster| {
            let sqlite = TestCluster::on(&TestDatabase::sqlite()).await;
            for cluster in [&postgres, &sqlite] {
                cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
            }
            for odd in ODD {
                let (here, there) = (ask_all(&postgres, odd).await, ask_all(&sqlite, odd).await);
                // Each database has cursors, heartbeats have times, and requests have ids of their own.
                let names =
                    [&postgres, &sqlite].map(|cluster| cluster.server().journal().snapshot().epochs.latest().clone());
                for ((what, status, body), (_, expected, other)) in here.into_iter().zip(there) {
                    assert!(status < 500 && expected < 500, "{odd:?} {what}: {status} {body}, {expected} {other}");
                    assert_eq!(status, expected, "{odd:?} {what}: {body}, {other}");
                    let shown = |body: &str, name: &str| {
                        let body = body.replace(name, "");
                        let mut body: Value = serde_json::from_str(&body).unwrap_or_default();
                        for key in ["next_heartbeat_seconds", "results"] {
                            body.as_object_mut().and_then(|body| body.remove(key));
                        }
                        for event in body["events"].as_array_mut().into_iter().flatten() {
                            event.as_object_mut().and_then(|event| event.remove("request_id"));
                        }
                        body
                    };
                    assert_eq!(shown(&body, &names[0]), shown(&other, &names[1]), "{odd:?} {what}");
                }
            }
        })
        .await;
}

on_both_databases! {
    // An id that nobody can have is nobody's, in a list of those that are wanted too, for streams as for lists.
    async fn nothing_is_told_of_ids_that_nobody_can_have(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (ids, count) in [("worker_id=%00", 0), ("worker_id=w1%00", 0), ("worker_id=w1&worker_id=%00", 1)] {
            let answer = cluster.rest().get(&format!("/api/v1/events?{ids}")).await;
            assert_eq!((answer.status, answer.json()["events"].as_array().unwrap().len()), (200, count), "{ids}");
            let port = Port::of(&cluster).await;
            let path = format!("/api/v1/events?{ids}&after={}", cluster.first_cursor());
            let mut stream = HttpStream::get(&port.authority(), &path, &[("accept", "text/event-stream")]).await;
            let expected = if count == 0 { "synced" } else { "worker_registered" };
            assert_eq!(stream.message().await.event, expected, "{ids}");
        }
    }
}

/// A proxy that collects an answer before it passes it on would show nothing of one that has no end.
#[tokio::test]
async fn streams_tell_proxies_to_pass_them_on_as_they_come() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let port = Port::of(&cluster).await;
    let sse = ("accept", "text/event-stream");
    let query = json!({"query": "subscription { clusterStats { revision } }"});
    let by_get = "/graphql?query=subscription%7BclusterStats%7Brevision%7D%7D";
    let streams = [
        HttpStream::get(&port.authority(), "/api/v1/events", &[sse]).await,
        HttpStream::get(&port.authority(), "/api/v1/events", &[("accept", "application/x-ndjson")]).await,
        HttpStream::post(&port.authority(), "/graphql", &[sse], &query).await,
        HttpStream::post(&port.authority(), "/graphql", &[sse], &json!({"query": "{ __typename }"})).await,
        HttpStream::get(&port.authority(), by_get, &[sse]).await,
    ];
    for stream in streams {
        assert_eq!((stream.status, stream.headers["x-accel-buffering"].as_str()), (200, "no"), "{:?}", stream.headers);
        assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");
    }
    let list = cluster.rest().get("/api/v1/events").await;
    assert_eq!((list.header("x-accel-buffering"), list.header("cache-control")), (None, Some("no-cache")));
}
