//! More comes than can be committed: operators go first, workers are told when to come again, and are heard all the same.

use aetherium::http::ListenerOptions;
use aetherium::journal::LivenessSign;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::*;

/// A cluster whose requests are waited for as long as it takes: nothing here is about how quick a machine is.
async fn patient(db: &TestDatabase) -> TestCluster {
    TestCluster::configured(db, |options| options.http.response_time = minutes(10)).await
}

/// A gateway's body: many heartbeats of its own, and one of somebody else.
fn bulk(number: usize, stranger: &Value) -> Value {
    let gateway = json!({"worker_id": format!("gateway-{number:02}"), "incarnation": 1});
    let beats: Vec<_> = std::iter::once(stranger).chain(std::iter::repeat_n(&gateway, 999)).collect();
    json!({"heartbeats": beats})
}

/// Each sends 1,000 heartbeats, of which 16,384 may wait while nothing is committed.
const GATEWAYS: usize = 30;
const TAKEN: usize = 16;

on_both_databases! {
    async fn what_is_refused_is_heard_and_operators_are_not_refused(db: TestDatabase) {
        let cluster = patient(&db).await;
        let gateways = (0..GATEWAYS).map(|number| worker(&format!("gateway-{number:02}")));
        cluster.add(gateways).await;
        cluster.add([worker("beats"), worker("dead"), worker("replaced"), worker("drained")]).await;
        let replaced = cluster.rest().put("/api/v1/workers/replaced").json(worker("replaced").registration()).await;
        assert_eq!(replaced.json()["incarnation"], 2);
        let (held, cluster) = cluster.restart_without_commits().await;
        cluster.advance(seconds(50));

        let gateway = |number| {
            // Told by two, the living and the dead alike: the life that is over is not believed.
            let stranger = json!({"worker_id": "replaced", "incarnation": 1});
            let rest = cluster.rest();
            async move { (number, rest.post("/api/v1/heartbeats").json(bulk(number, &stranger)).await) }
        };
        let mut gateways: FuturesUnordered<_> = (0..GATEWAYS).map(gateway).collect();
        // Only those answer while nothing can be committed.
        let mut refused = Vec::new();
        while refused.len() < GATEWAYS - TAKEN {
            let (number, answer) = in_time(gateways.next()).await.unwrap();
            assert_eq!(answer.status, 503, "{}", answer.body);
            let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=20).contains(&retry_after), "{retry_after}");
            assert_eq!(answer.json()["code"], 503);
            refused.push(number);
        }
        // There is room for a few more that are small.
        let mut one = std::pin::pin!(async { cluster.beat("beats", json!({"incarnation": 1})).await });
        let mut drain = std::pin::pin!(async { cluster.rest().post("/api/v1/workers/drained/drain").await });
        tokio::select! {
            biased;
            answer = &mut drain => panic!("nothing can be committed: {}", answer.body),
            answer = &mut one => panic!("nothing can be committed: {}", answer.body),
            () = tokio::task::yield_now() => {}
        }
        held.release();
        assert_eq!(in_time(drain).await.status, 200);
        assert_eq!(in_time(one).await.status, 200);
        while let Some((_, answer)) = in_time(gateways.next()).await {
            assert_eq!(answer.status, 200, "whoever was let in is taken: {}", answer.body);
        }

        for number in refused {
            let before = cluster.worker(&format!("gateway-{number:02}")).await;
            assert_eq!(before["last_seen"], START, "nothing of it was taken");
        }
        cluster.advance(seconds(20));
        assert_eq!(cluster.sweep().await, 3, "dead, replaced and drained: all others were heard");
        let history = cluster.history().await;
        let told: Vec<_> = history.iter().filter(|event| event.starts_with("worker_offline")).collect();
        assert_eq!(told, ["worker_offline dead", "worker_offline drained", "worker_offline replaced"]);
        for number in 0..GATEWAYS {
            let worker = cluster.worker(&format!("gateway-{number:02}")).await;
            assert_eq!([&worker["status"], &worker["last_seen"]], ["active", "2025-11-02T10:00:50Z"], "{number}");
        }
    }

    async fn both_protocols_tell_when_to_come_again(db: TestDatabase) {
        let cluster = patient(&db).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        cluster.advance(seconds(1));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let (held, cluster) = cluster.restart_without_commits().await;
        let beats = Value::from(vec![json!({"worker_id": "w1", "incarnation": 1}); 1_000]);
        let body = json!({"heartbeats": beats}).to_string();
        let gateway = || {
            let rest = cluster.rest();
            let body = body.clone();
            async move { rest.post("/api/v1/heartbeats").header("content-type", "application/json").body(body).await }
        };
        let mut waiting: FuturesUnordered<_> = (0..GATEWAYS).map(|_| gateway()).collect();
        for _ in 0..GATEWAYS - TAKEN {
            assert_eq!(in_time(waiting.next()).await.unwrap().status, 503);
        }
        // What room is left, for fewer than 1,000, goes to single ones.
        let mut singles: FuturesUnordered<_> =
            (0..1_000).map(|_| cluster.beat("w1", json!({"incarnation": 1}))).collect();
        let refused = singles.next().await.unwrap();
        assert_eq!(refused.status, 503);
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("The server is busy: too many changes are waiting to be committed."), "{message}");
        let query = r#"mutation { recordHeartbeat(input: {workerId: "w1", incarnation: 1}) { workerId } }"#;
        let answer = cluster.graphql_answer(query, json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!(error["message"], refused.json()["message"]);
        assert_eq!(error["extensions"]["code"], "UNAVAILABLE");
        let retry_after = refused.header("retry-after").unwrap();
        assert_eq!(error["extensions"]["retryAfterSeconds"].to_string(), retry_after);
        // Nothing of a body is taken that finds no room, and one entry that cannot be read does not hide the others.
        let beats = json!({"heartbeats": [{"worker_id": 5}, {"worker_id": "w2", "incarnation": 1, "vms": "no list"}]});
        let mut batch = std::pin::pin!(async { cluster.rest().post("/api/v1/heartbeats").json(beats).await });
        // Held back, or gateways that do not wait would have the server do nothing else.
        tokio::select! {
            biased;
            _ = &mut batch => panic!("the refusal of a batch overtook that of a single heartbeat, which came later"),
            single = async { cluster.beat("w1", json!({"incarnation": 1})).await } => assert_eq!(single.status, 503),
        }
        assert_eq!(in_time(batch).await.status, 503);
        let heard: Vec<_> = cluster.server().journal().unrecorded_liveness_signs().into_iter().map(|it| it.worker_id.to_string()).collect();
        assert_eq!(heard, ["w2"], "w1 was just seen");
        let health = cluster.rest().get("/api/v1/health").await.json();
        assert_eq!(health["components"]["commits"], "ok", "operators' commands are taken");
        assert!(cluster.server().journal().sheds_load());
        held.release();
        while let Some(answer) = in_time(waiting.next()).await {
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        while let Some(answer) = in_time(singles.next()).await {
            assert!([200, 503].contains(&answer.status), "{}", answer.body);
        }
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 200, "it is over");
    }

    async fn who_is_heard_while_the_announcement_waits_is_not_announced(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        let (held, cluster) = cluster.restart_without_commits().await;
        cluster.advance(seconds(61));
        {
            let mut sweep = std::pin::pin!(cluster.sweep());
            assert!(futures_util::poll!(&mut sweep).is_pending(), "it waits for its commit");
            cluster.server().journal().note_liveness_signs([LivenessSign {
                worker_id: "w1",
                incarnation: Some(1),
                boot_id: None,
                sequence: None,
            }]);
            held.release();
            assert_eq!(in_time(sweep).await, 1, "w2");
        }
        assert_eq!(cluster.history().await.last().unwrap(), "worker_offline w2");
        cluster.sweep().await;
        assert_eq!(cluster.worker("w1").await["status"], "active");
    }

    async fn the_connections_for_operators_hear_workers_and_hold_nobody(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("rest"), worker("graphql"), worker("dead")]).await;
        cluster.advance(seconds(50));
        let options = ListenerOptions { connections: 1, reserved_connections: 1, ..listener_options() };
        let port = Port::with_options(&cluster, options).await;
        let _usual = TcpStream::connect(port.authority()).await.unwrap();
        let ask = async |method: &str, path: &str, body: Value, refusal: &str| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            port.reserved_refuses(&request, refusal).await;
        };
        let registration = worker("rest").registers("boot_id", "new").registration();
        ask("PUT", "/api/v1/workers/rest", registration, "no connection left for workers").await;
        let query = "mutation { registerWorker(input: {workerId: \"graphql\", hostname: \"h\", address: \"a:1\", \
                     cpuCores: 1, memoryMb: 1, bootId: \"new\"}) { __typename } }";
        ask("POST", "/graphql", json!({"query": query}), "no connection left for workers").await;
        ask("GET", "/api/v1/workers?wait=30s", Value::Null, "for streams").await;
        let mut heard: Vec<_> =
            cluster.server().journal().unrecorded_liveness_signs().into_iter().map(|it| it.worker_id.to_string()).collect();
        heard.sort();
        assert_eq!(heard, ["graphql", "rest"]);
    }

    async fn who_was_announced_offline_and_is_refused_comes_back(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        cluster.advance(seconds(61));
        assert_eq!(cluster.sweep().await, 2);
        cluster.server().journal().note_liveness_signs([LivenessSign {
            worker_id: "w1",
            incarnation: Some(1),
            boot_id: None,
            sequence: None,
        }]);
        assert_eq!(cluster.sweep().await, 0);
        assert_eq!(cluster.history().await.last().unwrap(), "worker_online w1");
        assert_eq!(cluster.worker("w1").await["status"], "active");
        assert_eq!(cluster.worker("w2").await["status"], "offline");
    }
}
