//! The audit trail: whose request caused an event, by which token and from where.

use serde_json::{Value, json};

use crate::harness::*;

const KEYS: [&str; 7] = ["kind", "worker_id", "actor", "actor_token_id", "actor_name", "request_id", "address"];

/// What REST tells of all events, as [`KEYS`]; a key that is left out is null.
async fn by_rest(cluster: &TestCluster, reader: &TestToken) -> Vec<[Value; 7]> {
    let list = cluster.holder(reader).get("/api/v1/events?limit=500").await.json();
    let events = list["events"].as_array().unwrap();
    for event in events {
        // Left out, not null.
        assert!(KEYS[3..].iter().all(|key| event.get(key).is_none_or(Value::is_string)), "{event}");
    }
    pick(&list["events"], KEYS)
}

/// The same by GraphQL.
async fn by_graphql(cluster: &TestCluster, reader: &TestToken) -> Vec<[Value; 7]> {
    let query = "{ events(first: 500) { nodes { kind workerId actor actorTokenId actorName requestId address } } }";
    let mut answer = cluster.holder(reader).post("/graphql").json(json!({"query": query})).await.json();
    let nodes = answer["data"]["events"]["nodes"].take();
    pick(&nodes, ["kind", "workerId", "actor", "actorTokenId", "actorName", "requestId", "address"])
        .into_iter()
        .map(|[kind, rest @ ..]| {
            let [a, b, c, d, e, f] = rest;
            let lower = |word: Value| word.as_str().unwrap().to_lowercase().into();
            [lower(kind), a, lower(b), c, d, e, f]
        })
        .collect()
}

/// The same as a stream tells it that begins with the log.
async fn by_stream(cluster: &TestCluster, reader: &TestToken, count: usize) -> Vec<[Value; 7]> {
    let port = Port::of(cluster).await;
    let (bearer, after) = (reader.bearer(), cluster.first_cursor());
    let headers = [("authorization", &*bearer), ("accept", "application/x-ndjson"), ("last-event-id", &*after)];
    let mut stream = HttpStream::get(&port.authority(), "/api/v1/events", &headers).await;
    let mut told = Vec::new();
    while told.len() < count {
        told.push(stream.line().await);
    }
    pick(&told.into(), KEYS)
}

on_both_databases! {
    async fn an_event_says_whose_request_it_was(cluster: TestCluster) {
        // From before there were tokens: it was somebody's request, but nobody knows whose.
        let open = cluster.rest().put("/api/v1/workers/open").json(worker("open").registration()).await;
        let id = |answer: &Answer| json!(answer.header("x-request-id").unwrap());
        let null = || Value::Null;
        let mut expected = vec![[json!("worker_registered"), json!("open"), json!("worker"), null(), null(), id(&open), null()]];

        // `aetherium token create` has no request.
        let admin = cluster.token(role_token("admin")).await;
        let worker_1 = cluster.token(worker_token("w1")).await;
        for _ in 0..2 {
            expected.push([json!("token_created"), null(), json!("operator"), null(), null(), null(), null()]);
        }
        let by = |token: &TestToken| (json!(token.id), if token.id == admin.id { json!("the admin") } else { json!("token of w1") });
        let mut expect = |kind: &str, worker: Option<&str>, actor: &str, token: &TestToken, answer: Value, address: Option<&str>| {
            let (token_id, name) = by(token);
            expected.push([json!(kind), json!(worker), json!(actor), token_id, name, answer, json!(address)]);
        };

        let answer = cluster.holder(&worker_1).put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        expect("worker_registered", Some("w1"), "worker", &worker_1, id(&answer), None);
        let beats = json!({"heartbeats": [{"worker_id": "w1", "incarnation": 1, "vms": [{"id": "vm-1"}, {"id": "vm-2"}]}]});
        let answer = cluster.holder(&worker_1).post("/api/v1/heartbeats").header("x-request-id", "mine").json(beats).await;
        assert_eq!(id(&answer), "mine");
        expect("vm_started", Some("w1"), "worker", &worker_1, id(&answer), None);
        expect("vm_started", Some("w1"), "worker", &worker_1, id(&answer), None);
        let answer = cluster.holder(&admin).post("/api/v1/workers/w1/drain").await;
        expect("worker_drain_started", Some("w1"), "operator", &admin, id(&answer), None);
        let query = r#"mutation { activateWorker(input: {workerId: "w1"}) { changed } }"#;
        let answer = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await;
        expect("worker_activated", Some("w1"), "operator", &admin, id(&answer), None);
        // A replay is another request, and no event.
        let drain = || cluster.holder(&admin).post("/api/v1/workers/w1/drain").header("idempotency-key", "k1");
        let answer = drain().await;
        expect("worker_drain_started", Some("w1"), "operator", &admin, id(&answer), None);
        let replay = drain().await;
        assert_eq!(replay.header("idempotency-replayed"), Some("true"));
        assert_ne!(id(&replay), id(&answer));

        // Where there is a connection, it has an address.
        let port = Port::of(&cluster).await;
        let (authority, bearer) = (port.authority(), admin.bearer());
        let authorization = ("authorization", &*bearer);
        let answer = HttpStream::post(&authority, "/api/v1/workers/w1/activate", &[authorization], &json!({})).await;
        expect("worker_activated", Some("w1"), "operator", &admin, json!(answer.headers["x-request-id"]), Some("127.0.0.1"));
        let query = json!({"query": r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#});
        let answer = HttpStream::post(&authority, "/graphql", &[authorization], &query).await;
        expect("worker_drain_started", Some("w1"), "operator", &admin, json!(answer.headers["x-request-id"]), Some("127.0.0.1"));
        // Forwarded headers are anybody's to write.
        let headers = [authorization, ("x-forwarded-for", "9.9.9.9"), ("forwarded", "for=9.9.9.9")];
        let answer = HttpStream::post(&authority, "/api/v1/workers/w1/activate", &headers, &json!({})).await;
        expect("worker_activated", Some("w1"), "operator", &admin, json!(answer.headers["x-request-id"]), Some("127.0.0.1"));
        let answer = cluster.holder(&admin).post("/api/v1/tokens").json(json!({"name": "n", "role": "viewer"})).await;
        expect("token_created", None, "operator", &admin, id(&answer), None);
        let viewer = answer.json()["token"]["id"].as_str().unwrap().to_owned();
        let answer = cluster.holder(&admin).delete(&format!("/api/v1/tokens/{viewer}")).await;
        expect("token_revoked", None, "operator", &admin, id(&answer), None);

        // What the server finds was nobody's request; that a worker is back is found in a request, and is the server's
        // word all the same.
        cluster.advance(minutes(2));
        assert_eq!(cluster.sweep().await, 2);
        let answer = cluster.holder(&worker_1).post("/api/v1/workers/w1/heartbeat").json(json!({"incarnation": 1})).await;
        assert_eq!(answer.status, 200);
        for (kind, worker) in [("worker_offline", "open"), ("worker_offline", "w1"), ("worker_online", "w1")] {
            expected.push([json!(kind), json!(worker), json!("server"), null(), null(), null(), null()]);
        }

        let told = by_rest(&cluster, &admin).await;
        assert_eq!(told, expected, "{told:#?}");
        assert_eq!(by_graphql(&cluster, &admin).await, expected);
        assert_eq!(by_stream(&cluster, &admin, expected.len()).await, expected);
        // Whoever looks for what one has done finds that.
        for (parameter, place) in [("actor", 2), ("actor_token_id", 3)] {
            for value in expected.iter().filter_map(|event| event[place].as_str()) {
                let path = format!("/api/v1/events?limit=500&{parameter}={value}");
                let found = cluster.holder(&admin).get(&path).await.json()["events"].take();
                let wanted: Vec<_> = expected.iter().filter(|event| event[place] == value).cloned().collect();
                assert_eq!(pick(&found, KEYS), wanted, "{path}");
            }
        }
        // From the database.
        let cluster = cluster.restart().await;
        assert_eq!(by_rest(&cluster, &admin).await, expected);
        assert_eq!(by_graphql(&cluster, &admin).await, expected);
        assert_eq!(by_stream(&cluster, &admin, expected.len()).await, expected);
    }

    async fn what_is_done_over_a_socket_is_that_of_its_token(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let (admin, operator) = (cluster.token(role_token("admin")).await, cluster.token(role_token("operator")).await);
        let port = Port::of(&cluster).await;
        // What `connection_init` says counts.
        let handshake = port.handshake().protocol(TRANSPORT_WS).header("authorization", &admin.bearer());
        let mut socket = Socket::open(handshake.header("x-request-id", "socket-1")).await.unwrap();
        socket.say(json!({"type": "connection_init", "payload": {"authorization": operator.bearer()}})).await;
        assert_eq!(socket.hear().await["type"], "connection_ack");
        socket.subscribe("1", r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#, json!({})).await;
        assert_eq!(socket.next("1").await, json!({"drainWorker": {"changed": true}}));
        let told = by_rest(&cluster, &admin).await;
        assert_eq!(*told.last().unwrap(), [
            json!("worker_drain_started"), json!("w1"), json!("operator"),
            json!(operator.id), json!("the operator"), json!("socket-1"), json!("127.0.0.1"),
        ]);
    }

    // The name is that of the time, and stays when the token has gone.
    async fn what_a_token_did_is_told_after_its_end(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let (admin, operator) = (cluster.token(role_token("admin")).await, cluster.token(role_token("operator")).await);
        cluster.holder(&operator).post("/api/v1/workers/w1/drain").await;
        assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", operator.id)).await.status, 204);
        let refused = cluster.holder(&operator).post("/api/v1/workers/w1/activate").await;
        assert_eq!(refused.status, 401);
        let told = by_rest(&cluster, &admin).await;
        let last: Vec<_> = told.iter().rev().take(2).map(|[kind, _, _, token, name, ..]| (kind, token, name)).collect();
        assert_eq!(last, [
            (&json!("token_revoked"), &json!(admin.id), &json!("the admin")),
            (&json!("worker_drain_started"), &json!(operator.id), &json!("the operator")),
        ]);
    }
}

/// On PostgreSQL: the same at the server that did not do it, which has it from the database.
#[tokio::test]
async fn an_event_says_the_same_at_another_server() {
    TestDatabase::postgres()
        .await
        .run(async |one: TestCluster| {
            let two = one.another_server().await;
            one.add([worker("w1")]).await;
            let admin = one.token(role_token("admin")).await;
            let read = format!("/api/v1/events?limit=500&min_revision={}", one.revision());
            in_time(async { while two.holder(&admin).get(&read).await.status == 401 {} }).await;
            let port = Port::of(&two).await;
            let (bearer, after) = (admin.bearer(), two.server().journal().snapshot().cursor().to_string());
            let headers = [("authorization", &*bearer), ("accept", "text/event-stream"), ("last-event-id", &*after)];
            let mut stream = HttpStream::get(&port.authority(), "/api/v1/events", &headers).await;
            let answer = one.holder(&admin).post("/api/v1/workers/w1/drain").await;
            let event = loop {
                let event = stream.message().await.json();
                if event["kind"] == "worker_drain_started" {
                    break event;
                }
            };
            let told = KEYS[3..6].iter().map(|key| event[key].clone()).collect::<Vec<_>>();
            assert_eq!(told, [json!(admin.id), json!("the admin"), json!(answer.header("x-request-id").unwrap())]);
            assert_eq!(by_rest(&two, &admin).await, by_rest(&one, &admin).await);
        })
        .await;
}
