//! What operators ask of workers: drain and activate.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

/// The documented answer to a drain.
fn drained(id: &str) -> Value {
    let message = "Worker marked as draining. It will stop accepting new tasks.";
    json!({"worker_id": id, "status": "draining", "message": message})
}

/// The documented answer to an activation.
fn activated(id: &str) -> Value {
    let message = "Worker activated. It will resume accepting tasks.";
    json!({"worker_id": id, "status": "active", "message": message})
}

/// A worker as it was before it was drained at this moment, with these changes.
fn draining(mut worker: Value, since: &str, is_empty: bool, changes: Value) -> Value {
    worker["drain"] = json!({"reason": null, "started_by": "operator", "started_at": since, "is_empty": is_empty});
    with(worker, changes)
}

on_both_databases! {
    // semantics 6
    async fn a_drain_changes_the_policy_and_nothing_else(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1"), vm("vm-2")]).silent_for(seconds(20))]).await;
        let before = cluster.worker("w1").await;
        let vms = cluster.rest().get("/api/v1/workers/w1/vms").await.json();

        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        let changes = json!({"status": "draining", "scheduling_policy": "draining", "revision": 3});
        let after = draining(before.clone(), "2025-11-02T10:00:20Z", false, changes);
        assert_eq!(cluster.worker("w1").await, after);
        cluster.rest().get("/api/v1/workers/w1/vms").await.assert_json(200, vms);

        cluster.rest().post("/api/v1/workers/w1/activate").await.assert_json(200, activated("w1"));
        assert_eq!(cluster.worker("w1").await, with(before, json!({"revision": 4})));
    }

    // semantics 6
    async fn a_worker_that_has_nothing_left_to_do_stays_draining(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        let worker = cluster.worker("w1").await;
        assert_eq!((&worker["status"], &worker["vm_count"]), (&json!("draining"), &json!(0)));
    }

    // semantics 3
    async fn draining_a_silent_worker_records_the_wish_and_leaves_it_offline(cluster: TestCluster) {
        cluster.add([worker("w1").silent_for(minutes(2))]).await;
        let before = cluster.worker("w1").await;
        assert_eq!(before["status"], "offline");

        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        let wish = json!({"scheduling_policy": "draining", "revision": 3});
        let after = draining(before, "2025-11-02T10:02:00Z", true, wish);
        assert_eq!(cluster.worker("w1").await, after);

        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(cluster.worker("w1").await["status"], "draining", "the wish shows when heartbeats return");
    }

    // regression: draining refreshed `last_seen`, so a dead worker looked healthy for a minute
    async fn an_operator_is_no_sign_of_life(cluster: TestCluster) {
        cluster.add([worker("w1").silent_for(seconds(59))]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.rest().post("/api/v1/workers/w1/activate").await;
        cluster.advance(seconds(2));
        let worker = cluster.worker("w1").await;
        assert_eq!([&worker["last_seen"], &worker["is_healthy"]], [&json!(START), &json!(false)]);
    }

    // semantics 4; regression: draining an unknown worker was a 500
    async fn an_unknown_worker_cannot_be_drained_or_activated(cluster: TestCluster) {
        for command in ["drain", "activate"] {
            let answer = cluster.rest().post(&format!("/api/v1/workers/worker-99/{command}")).await;
            answer.assert_failure(404, "Worker not found: worker-99");
        }
        assert_eq!(cluster.revision(), 0);
    }

    // semantics 5
    async fn asking_again_changes_nothing_and_is_answered_the_same(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/activate").await.assert_json(200, activated("w1"));
        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        let (before, history) = (cluster.everything().await, cluster.history().await);
        cluster.advance(seconds(0));
        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        assert_eq!((cluster.everything().await, cluster.history().await), (before, history.clone()));
        assert_eq!(history, ["worker_registered w1", "worker_drained w1"]);
    }

    // semantics 7
    async fn a_body_is_not_needed_and_may_carry_a_reason(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3"), worker("w4")]).await;
        let drain = |id: &str| cluster.rest().post(&format!("/api/v1/workers/{id}/drain"));
        drain("w1").await.assert_json(200, drained("w1"));
        drain("w2").body("{}").await.assert_json(200, drained("w2"));
        drain("w3").json(json!({"reason": "new disk"})).await.assert_json(200, drained("w3"));
        let form = drain("w4").header("content-type", "application/x-www-form-urlencoded");
        form.body(r#"{"reason": "curl -d says it is a form"}"#).await.assert_json(200, drained("w4"));

        let resolvers = cluster.server().resolvers();
        let events = resolvers.list_events(&resolvers.present(), &Default::default(), &Default::default()).await.unwrap();
        let reasons: Vec<_> = events.nodes.iter().filter_map(|node| node.event.reason.as_deref()).collect();
        assert_eq!(reasons, ["new disk", "curl -d says it is a form"]);
    }

    // semantics 7
    async fn a_body_that_cannot_be_read_is_refused(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        for body in ["{", "reason=disk", "[]", "7", r#"{"reason": 5}"#, r#"{"reason": "a\u0000b"}"#] {
            let answer = cluster.rest().post("/api/v1/workers/w1/drain").body(body).await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.body);
            answer.assert_house_shape();
        }
        assert_eq!(cluster.everything().await, before);
    }

    // regression: a worker's restart erased its drain
    async fn a_drain_survives_restarts_of_the_worker_and_of_the_server(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let status = async |cluster: &TestCluster| cluster.worker("w1").await["status"].take();

        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(status(&cluster).await, "draining", "the worker registered again");
        cluster.advance(minutes(5));
        cluster.beat("w1", json!({"incarnation": 2})).await;
        assert_eq!(status(&cluster).await, "draining", "the worker was away");
        cluster.rest().delete("/api/v1/workers/w1").await;
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(status(&cluster).await, "draining", "the worker left and came back");
        let cluster = cluster.restart().await;
        assert_eq!(status(&cluster).await, "draining", "the server restarted");
    }

    // regression: whole-row updates raced the drain
    async fn drains_and_heartbeats_at_the_same_time_never_undo_each_other(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for round in 1..=9_u32 {
            let command = if round % 2 == 0 { "activate" } else { "drain" };
            let (policy, cores) = (if round % 2 == 0 { "active" } else { "draining" }, round);
            let path = format!("/api/v1/workers/w1/{command}");
            let before = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 0}));
            let after = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": cores}));
            let (before, operator, after) = tokio::join!(before, cluster.rest().post(&path).into_future(), after);
            assert_eq!([before.status, operator.status, after.status], [200; 3]);
            let worker = cluster.worker("w1").await;
            assert_eq!([&worker["scheduling_policy"], &worker["used_cpu_cores"]], [&json!(policy), &json!(cores)]);
        }
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    async fn operators_who_disagree_are_each_told_what_they_asked_for(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let commands = ["drain", "activate", "drain", "activate"];
        let paths = commands.map(|command| format!("/api/v1/workers/w1/{command}"));
        let answers = join_all(paths.iter().map(|path| cluster.rest().post(path).into_future())).await;
        for (command, answer) in commands.iter().zip(answers) {
            answer.assert_json(200, if *command == "drain" { drained("w1") } else { activated("w1") });
        }
    }
}
