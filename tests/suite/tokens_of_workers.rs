//! Tokens for workers: each speaks for its own workers, and for nobody else's.

use aetherium::http::ListenerOptions;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::*;

fn not_its(id: &str) -> String {
    format!("The token does not speak for worker {id}: a worker is spoken for by the token that registered it")
}

fn owned(id: &str) -> String {
    format!(
        "Worker {id} is registered, and this token does not speak for it. Register another id, or have the worker purged \
         first."
    )
}

async fn register(cluster: &TestCluster, token: &TestToken, id: &str) -> Answer {
    cluster.holder(token).put(&format!("/api/v1/workers/{id}")).json(worker(id).registration()).await
}

async fn beat(cluster: &TestCluster, token: &TestToken, id: &str) -> Answer {
    cluster.holder(token).post(&format!("/api/v1/workers/{id}/heartbeat")).json(json!({"incarnation": 1})).await
}

async fn remove(cluster: &TestCluster, token: &TestToken, path: &str) -> Answer {
    cluster.holder(token).delete(&format!("/api/v1/workers/{path}")).await
}

async fn shown(cluster: &TestCluster, token: &TestToken, id: &str) -> Value {
    cluster.holder(token).get(&format!("/api/v1/workers/{id}")).await.json()
}

/// The workers of which signs of life were noted and not recorded.
fn heard(cluster: &TestCluster) -> Vec<String> {
    let signs = cluster.server().journal().unrecorded_liveness_signs();
    let mut heard: Vec<_> = signs.into_iter().map(|sign| sign.worker_id.to_string()).collect();
    heard.sort();
    heard
}

/// Who has registered `a` and `b`, each with a token of its own, and an administrator.
struct Pair {
    cluster: TestCluster,
    admin: TestToken,
    a: TestToken,
    b: TestToken,
}

impl Pair {
    async fn of(cluster: TestCluster) -> Self {
        let (admin, a) = (cluster.token(role_token("admin")).await, cluster.token(worker_token("a")).await);
        let b = cluster.token(worker_token("b")).await;
        assert_eq!(register(&cluster, &a, "a").await.status, 201);
        assert_eq!(register(&cluster, &b, "b").await.status, 201);
        Self { cluster, admin, a, b }
    }
}

on_both_databases! {
    async fn a_worker_is_nobody_elses(cluster: TestCluster) {
        let Pair { cluster, admin, a, b } = Pair::of(cluster).await;
        cluster.advance(seconds(10));
        let (before, history) = (shown(&cluster, &admin, "b").await, cluster.history().await);
        let rest = || cluster.holder(&a);
        for ask in [
            rest().put("/api/v1/workers/b").json(worker("b").registration()),
            rest().put("/api/v1/workers/new").json(worker("new").registration()),
            rest().post("/api/v1/workers/b/heartbeat").json(json!({"incarnation": 1})),
            rest().post("/api/v1/workers/b/heartbeat").header("idempotency-key", "k").json(json!({"incarnation": 1})),
            rest().delete("/api/v1/workers/b"),
            rest().delete("/api/v1/workers/b?incarnation=1"),
            // Nor is told what revision or incarnation it has.
            rest().put("/api/v1/workers/b").header("if-match", "\"nope\"").json(worker("b").registration()),
            rest().put("/api/v1/workers/b").header("if-none-match", "*").json(worker("b").registration()),
            rest().delete("/api/v1/workers/b").header("if-match", "\"nope\""),
            rest().delete("/api/v1/workers/b").header("if-none-match", "*"),
            rest().delete("/api/v1/workers/b?incarnation=7"),
            rest().post("/api/v1/workers/b/heartbeat").json(json!({"incarnation": 7})),
        ] {
            let answer = ask.await;
            let id = if answer.body.contains("worker new:") { "new" } else { "b" };
            answer.assert_failure(403, &not_its(id));
        }
        assert_eq!(shown(&cluster, &admin, "b").await, before);
        assert_eq!(cluster.history().await, history);
        assert_eq!(heard(&cluster), [""; 0]);
        // Whom it may speak for, it may.
        assert_eq!(beat(&cluster, &a, "a").await.status, 200);
        assert_eq!(beat(&cluster, &b, "b").await.status, 200);
        // Whether there is another worker is not told.
        beat(&cluster, &a, "nobody").await.assert_failure(403, &not_its("nobody"));
        remove(&cluster, &a, "nobody").await.assert_failure(403, &not_its("nobody"));
        // Its own may be gone, and come again.
        assert_eq!(remove(&cluster, &admin, "a?purge=true").await.status, 204);
        assert_eq!(beat(&cluster, &a, "a").await.status, 404);
        assert_eq!(register(&cluster, &a, "a").await.status, 201);
    }

    // What a mutation is answered with is the worker as it now is, and not what the change log says of it.
    async fn a_worker_reads_nothing_by_way_of_its_mutations(cluster: TestCluster) {
        let Pair { cluster, a, .. } = Pair::of(cluster).await;
        let beat = "recordHeartbeat(input: {workerId: \"a\", incarnation: 1, vms: []})";
        for (selection, is_refused) in [
            ("worker { id status vms { id } }", false),
            ("worker { events { kind } }", true),
            ("worker { events { vm { worker { id hostname } } } }", true),
        ] {
            let query = format!("mutation {{ {beat} {{ {selection} }} }}");
            let answer = cluster.holder(&a).post("/graphql").json(json!({"query": query})).await.json();
            let code = answer["errors"][0]["extensions"]["code"].as_str();
            assert_eq!(code, is_refused.then_some("FORBIDDEN"), "{answer}");
            assert!(!answer.to_string().contains("hostname"), "{answer}");
        }
    }

    async fn a_batch_counts_for_those_that_the_token_speaks_for(cluster: TestCluster) {
        let Pair { cluster, admin, a, .. } = Pair::of(cluster).await;
        for key in [None, Some("k1")] {
            cluster.advance(seconds(10));
            let beats = json!({"heartbeats": [
                {"worker_id": "b", "incarnation": 1, "vms": [{"id": "vm-1"}]},
                {"worker_id": "a", "incarnation": 1},
                {"worker_id": "nobody", "incarnation": 1},
                {"worker_id": "b", "incarnation": 7},
            ]});
            let ask = cluster.holder(&a).post("/api/v1/heartbeats").json(beats);
            let answer = match key {
                Some(key) => ask.header("idempotency-key", key),
                None => ask,
            }.await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let results = answer.json()["results"].take();
            assert_eq!(
                pick(&results, ["worker_id", "status"]),
                [[json!("b"), json!(403)], [json!("a"), json!(200)], [json!("nobody"), json!(403)], [json!("b"), json!(403)]]
            );
            assert!(answer.body.contains(&not_its("b")), "{}", answer.body);
            let now = serde_json::to_value(cluster.clock().now()).unwrap();
            assert_eq!(shown(&cluster, &admin, "a").await["last_seen"], now);
            let b = shown(&cluster, &admin, "b").await;
            assert_eq!((&b["last_seen"], &b["vms"].as_array().map_or(0, Vec::len)), (&json!(START), &0), "{b}");
        }
        assert_eq!(heard(&cluster), [""; 0]);
    }

    async fn a_gateway_speaks_for_as_many_workers_as_it_may(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (one, two) = (cluster.token(gateway_token(2)).await, cluster.token(gateway_token(2)).await);
        // They come at once, in one commit or in several.
        let ids = ["g1", "g2", "g3", "g4"];
        let mut answers = join_all(ids.map(|id| register(&cluster, &one, id))).await;
        answers.sort_by_key(|answer| answer.status);
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201, 201, 409, 409]);
        let full = "The token speaks for 2 workers already, which is as many as it may";
        answers[3].assert_failure(409, full);
        let list = cluster.holder(&admin).get("/api/v1/workers").await.json();
        let its: Vec<_> = list["workers"].as_array().unwrap().iter().map(|worker| worker["id"].as_str().unwrap()).collect();
        assert_eq!(its.len(), 2);

        // Its own may come again, in both protocols.
        for id in &its {
            assert_eq!(register(&cluster, &one, id).await.status, 200);
            assert_eq!(beat(&cluster, &one, id).await.status, 409, "of its incarnation before");
        }
        let query = r#"mutation { registerWorker(input: {workerId: "g9", hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1}) { __typename } }"#;
        let answer = cluster.holder(&one).post("/graphql").json(json!({"query": query})).await.json();
        assert_eq!((&answer["errors"][0]["extensions"]["code"], &answer["errors"][0]["message"]), (&json!("CONFLICT"), &json!(full)));

        // That of another gateway stays with it, known or taken out of service.
        register(&cluster, &two, its[0]).await.assert_failure(409, &owned(its[0]));
        beat(&cluster, &two, its[0]).await.assert_failure(403, &not_its(its[0]));
        assert_eq!(remove(&cluster, &one, its[0]).await.status, 204);
        register(&cluster, &two, its[0]).await.assert_failure(409, &owned(its[0]));
        register(&cluster, &one, "g9").await.assert_failure(409, full);

        // Purged, it is nobody's.
        assert_eq!(remove(&cluster, &admin, &format!("{}?purge=true", its[0])).await.status, 204);
        assert_eq!(register(&cluster, &two, its[0]).await.status, 201);
        assert_eq!(register(&cluster, &one, "g9").await.status, 201);
        register(&cluster, &one, "g10").await.assert_failure(409, full);
        let cluster = cluster.restart().await;
        register(&cluster, &one, "g10").await.assert_failure(409, full);
        // A gateway may not purge its own: a drain would be over with that.
        assert_eq!(remove(&cluster, &one, "g9?purge=true").await.status, 403);

        // When its token has ended, another one takes its workers over, as many as it may.
        let three = cluster.token(gateway_token(1)).await;
        register(&cluster, &three, its[1]).await.assert_failure(409, &owned(its[1]));
        assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", one.id)).await.status, 204);
        assert_eq!(register(&cluster, &three, its[1]).await.status, 200);
        assert_eq!(register(&cluster, &three, "g9").await.status, 409, "it has one already");
    }

    async fn a_token_that_names_a_worker_takes_it_over(cluster: TestCluster) {
        let gateway = cluster.token(gateway_token(1)).await;
        assert_eq!(register(&cluster, &gateway, "w1").await.status, 201);
        assert_eq!(beat(&cluster, &gateway, "w1").await.status, 200);
        let named = cluster.token(worker_token("w1")).await;
        // It is not its own before it has said so.
        beat(&cluster, &named, "w1").await.assert_failure(403, &not_its("w1"));
        let registered = register(&cluster, &named, "w1").await;
        assert_eq!(registered.status, 200, "{}", registered.body);
        let incarnation = registered.json()["incarnation"].clone();
        let body = json!({"incarnation": incarnation});
        let ask = |token| cluster.holder(token).post("/api/v1/workers/w1/heartbeat").json(body.clone());
        assert_eq!(ask(&named).await.status, 200);
        ask(&gateway).await.assert_failure(403, &not_its("w1"));
        remove(&cluster, &gateway, "w1").await.assert_failure(403, &not_its("w1"));
        register(&cluster, &gateway, "w1").await.assert_failure(409, &owned("w1"));
        // Which leaves the gateway room for another one.
        assert_eq!(register(&cluster, &gateway, "w2").await.status, 201);

        // The replacement of a lost one: the lost one gets nothing done any more once it is revoked, and until then nothing
        // that does not begin with a registration.
        let replacement = cluster.token(worker_token("w1")).await;
        let registered = register(&cluster, &replacement, "w1").await;
        assert_eq!(registered.status, 200);
        ask(&named).await.assert_failure(403, &not_its("w1"));
        remove(&cluster, &named, "w1").await.assert_failure(403, &not_its("w1"));
        let body = json!({"incarnation": registered.json()["incarnation"]});
        let answer = cluster.holder(&replacement).post("/api/v1/workers/w1/heartbeat").json(body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn workers_from_before_there_were_tokens_become_somebodys(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3")]).await;
        let (w1, gateway) = (cluster.token(worker_token("w1")).await, cluster.token(gateway_token(1)).await);
        cluster.beat("w1", json!({"incarnation": 1})).await.assert_failure(401, "This server asks for a token: send it as `Authorization: Bearer <token>`");
        beat(&cluster, &w1, "w1").await.assert_failure(403, &not_its("w1"));
        assert_eq!(register(&cluster, &w1, "w1").await.status, 200);
        assert_eq!(register(&cluster, &gateway, "w2").await.status, 200);
        assert_eq!(register(&cluster, &gateway, "w3").await.status, 409);
        register(&cluster, &gateway, "w1").await.assert_failure(409, &owned("w1"));
    }

    async fn an_idempotency_key_is_that_of_its_token(cluster: TestCluster) {
        let Pair { cluster, admin, a, .. } = Pair::of(cluster).await;
        let operator = cluster.token(role_token("operator")).await;
        let gateway = cluster.token(gateway_token(5)).await;
        let reused = "The Idempotency-Key \"k1\" came with another request before. A new request needs a new key.";
        let drain = |token| cluster.holder(token).post("/api/v1/workers/a/drain").header("idempotency-key", "k1");
        let first = drain(&operator).await;
        assert_eq!((first.status, first.header("idempotency-replayed")), (200, None));
        let revision = cluster.revision();
        drain(&admin).await.assert_failure(422, reused);
        let again = drain(&operator).await;
        assert_eq!((again.status, again.header("idempotency-replayed"), &again.body), (200, Some("true"), &first.body));
        assert_eq!(cluster.revision(), revision);

        let reused = reused.replace("k1", "k2");
        let beats = json!({"heartbeats": [{"worker_id": "a", "incarnation": 1}]});
        let beat = |token| cluster.holder(token).post("/api/v1/heartbeats").header("idempotency-key", "k2").json(beats.clone());
        let first = beat(&a).await;
        assert_eq!(first.json()["results"][0]["status"], 200);
        beat(&gateway).await.assert_failure(422, &reused);
        let cluster = cluster.restart().await;
        let beat = |token| cluster.holder(token).post("/api/v1/heartbeats").header("idempotency-key", "k2").json(beats.clone());
        assert_eq!(beat(&a).await.body, first.body);
        beat(&gateway).await.assert_failure(422, &reused);
        // A role that may not is told that first.
        let viewer = cluster.token(role_token("viewer")).await;
        assert_eq!(beat(&viewer).await.status, 403);
    }

    async fn who_takes_a_worker_out_of_service_is_told_by_the_token(cluster: TestCluster) {
        // Without tokens it is guessed: an operator names no process of the worker.
        cluster.add([worker("open1"), worker("open2")]).await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/open1").await.status, 204);
        assert_eq!(cluster.rest().delete("/api/v1/workers/open2?incarnation=1").await.status, 204);
        let (operator, admin) = (cluster.token(role_token("operator")).await, cluster.token(role_token("admin")).await);
        let gateway = cluster.token(gateway_token(9)).await;
        for id in ["w1", "w2", "w3", "w4", "w5", "w6"] {
            assert_eq!(register(&cluster, &gateway, id).await.status, 201);
        }
        for (token, path) in [(&operator, "w1?incarnation=1"), (&admin, "w2?incarnation=1"), (&gateway, "w3"), (&gateway, "w4?incarnation=1")] {
            assert_eq!(remove(&cluster, token, path).await.status, 204, "{path}");
        }
        let needs_admin = "This needs the role admin, and the token has the role operator";
        for path in ["w5?purge=true", "w5?purge=true&incarnation=1", "w5?purge=true&force=true&incarnation=1"] {
            remove(&cluster, &operator, path).await.assert_failure(403, needs_admin);
        }
        // Another process than that of the worker now is refused whoever names it.
        assert_eq!(remove(&cluster, &admin, "w5?purge=true&incarnation=7").await.status, 404);
        assert_eq!(remove(&cluster, &admin, "w5?purge=true&incarnation=1").await.status, 204);
        assert_eq!(remove(&cluster, &gateway, "w6?purge=true").await.status, 403);
        assert_eq!(remove(&cluster, &admin, "w6?purge=true").await.status, 204);
        let events = cluster.holder(&admin).get("/api/v1/events?limit=500").await.json()["events"].take();
        let told: Vec<_> = pick(&events, ["kind", "worker_id", "actor", "message"])
            .into_iter()
            .filter(|[kind, ..]| kind == "worker_left" || kind == "worker_purged")
            .map(|[_, id, actor, message]| [id, actor, message].map(|text| text.as_str().unwrap().to_owned()).join(": "))
            .collect();
        assert_eq!(told, [
            "open1: operator: Worker open1 was taken out of service",
            "open2: worker: Worker open2 said goodbye",
            "w1: operator: Worker w1 was taken out of service",
            "w2: operator: Worker w2 was taken out of service",
            "w3: worker: Worker w3 said goodbye",
            "w4: worker: Worker w4 said goodbye",
            "w5: operator: Worker w5 was removed",
            "w6: operator: Worker w6 was removed",
        ]);
    }

    // What is refused for want of room counts as a sign of life, but not if somebody else says it.
    async fn a_full_queue_hears_nobody_of_a_worker_of_others(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| options.http.response_time = minutes(10)).await;
        let Pair { cluster, admin, a, b } = Pair::of(cluster).await;
        let (held, cluster) = cluster.restart_without_commits().await;
        cluster.advance(seconds(50));
        let beats: Vec<_> = (0..1000).map(|n| json!({"worker_id": (["a", "b"][n % 2]), "incarnation": 1})).collect();
        let body = json!({"heartbeats": beats});
        let ask = || cluster.holder(&a).post("/api/v1/heartbeats").json(body.clone()).into_future();
        let mut waiting: FuturesUnordered<_> = (0..20).map(|_| ask()).collect();
        let refused = in_time(waiting.next()).await.unwrap();
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert_eq!(heard(&cluster), ["a"]);
        // Nor from those whose clients have gone.
        drop(waiting);
        held.release();
        let answer = in_time(cluster.holder(&admin).post("/api/v1/workers/a/drain").into_future()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(heard(&cluster), ["a"]);
        cluster.advance(seconds(20));
        assert_eq!(cluster.sweep().await, 1);
        assert_eq!(cluster.history().await.last().unwrap(), "worker_offline b");
        assert_eq!(shown(&cluster, &admin, "b").await["last_seen"], START);
        assert_eq!(beat(&cluster, &b, "b").await.status, 200);
    }

    async fn the_connections_for_operators_hear_nobody_of_a_worker_of_others(cluster: TestCluster) {
        let Pair { cluster, a, .. } = Pair::of(cluster).await;
        let viewer = cluster.token(role_token("viewer")).await;
        cluster.advance(seconds(50));
        let options = ListenerOptions { connections: 1, reserved_connections: 1, ..listener_options() };
        let port = Port::with_options(&cluster, options).await;
        let _usual = TcpStream::connect(port.authority()).await.unwrap();
        let ask = async |token: &TestToken, method: &str, path: &str, body: Value, refusal: &str| {
            let (bearer, body) = (token.bearer(), body.to_string());
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            port.reserved_refuses(&request, refusal).await;
        };
        let full = "no connection left for workers";
        let beat = json!({"incarnation": 1});
        let registration = worker("b").registration();
        let by_graphql = |query: &str| json!({"query": format!("mutation {{ {query} }}")});
        ask(&a, "POST", "/api/v1/workers/b/heartbeat", beat.clone(), full).await;
        ask(&a, "POST", "/api/v1/heartbeats", json!({"heartbeats": [{"worker_id": "b", "incarnation": 1}]}), full).await;
        ask(&a, "PUT", "/api/v1/workers/b", registration.clone(), full).await;
        ask(&a, "POST", "/graphql", by_graphql(r#"recordHeartbeat(input: {workerId: "b", incarnation: 1}) { __typename }"#), full).await;
        ask(&a, "POST", "/graphql", by_graphql(r#"registerWorker(input: {workerId: "b", hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1}) { __typename }"#), full).await;
        // Nor from whoever has no business with any worker.
        ask(&viewer, "POST", "/api/v1/workers/b/heartbeat", beat.clone(), "This needs the role worker").await;
        ask(&viewer, "PUT", "/api/v1/workers/b", registration, full).await;
        assert_eq!(heard(&cluster), [""; 0]);
        ask(&a, "POST", "/api/v1/workers/a/heartbeat", beat, full).await;
        assert_eq!(heard(&cluster), ["a"]);
    }
}
