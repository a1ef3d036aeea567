//! Heartbeats: what they carry, what is answered, and which ones count.

use serde_json::{Value, json};

use crate::harness::*;

/// The worker's usage as REST shows it: cores, memory, disk, number of VMs.
async fn usage(cluster: &TestCluster, id: &str) -> [Value; 4] {
    let worker = cluster.worker(id).await;
    ["used_cpu_cores", "used_memory_mb", "used_disk_gb", "vm_count"].map(|field| worker[field].clone())
}

/// Ids of the worker's VMs.
async fn vms_of(cluster: &TestCluster, id: &str) -> Vec<Value> {
    pick(&cluster.rest().get(&format!("/api/v1/workers/{id}/vms")).await.json()["vms"], ["id"]).concat()
}

on_both_databases! {
    // regression: the heartbeat computed usage and did not send it
    async fn what_a_heartbeat_reports_is_what_everybody_sees(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a")]).await;
        let before = cluster.worker("w1").await;
        cluster.advance(seconds(10));
        let reply = cluster
            .beat(
                "w1",
                json!({
                    "incarnation": 1, "sequence": 1, "used_cpu_cores": 4, "used_memory_mb": 8192, "used_disk_gb": 50,
                    "vms": [{"id": "vm-1", "name": "one", "status": "running", "vcpus": 2, "memory_mb": 2048}],
                }),
            )
            .await;

        let next = reply.json()["next_heartbeat_seconds"].clone();
        assert!((9.0..=11.0).contains(&next.as_f64().unwrap()), "ten seconds, spread by a tenth: {next}");
        reply.assert_json(
            200,
            json!({
                "worker_id": "w1", "policy": "active", "next_heartbeat_seconds": next, "revision": 3, "resync": false,
                "set_aside": {}, "policy_revision": 1,
            }),
        );
        assert_eq!(
            cluster.worker("w1").await,
            with(
                before,
                json!({
                    "used_cpu_cores": 4, "used_memory_mb": 8192, "used_disk_gb": 50, "vm_count": 1,
                    "cpu_usage_percent": 25.0, "memory_usage_percent": 25.0,
                    "last_seen": "2025-11-02T10:00:10Z", "uptime": "10s", "revision": 3,
                    "free_cpu_cores": 12, "free_memory_mb": 24576, "free_disk_gb": 450, "free_vm_slots": 99,
                    "uptime_seconds": 10,
                })
            )
        );
        assert_eq!(vms_of(&cluster, "w1").await, ["vm-1"]);
    }

    async fn usage_left_out_is_what_the_vms_that_hold_a_slot_add_up_to(cluster: TestCluster) {
        cluster.add([worker("w1").without_heartbeat()]).await;
        let vms = json!([
            {"id": "a", "vcpus": 2, "memory_mb": 1_000},
            {"id": "b", "status": "starting", "vcpus": 1, "memory_mb": 500},
            {"id": "c", "status": "stopped", "vcpus": 8, "memory_mb": 8_000},
            {"id": "d", "status": "failed", "vcpus": 8},
        ]);
        cluster.beat("w1", json!({"incarnation": 1, "used_disk_gb": 7, "vms": vms})).await;
        assert_eq!(usage(&cluster, "w1").await, [3, 1_500, 7, 2]);
        cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 5, "vms_delta": {"remove": ["a"]}})).await;
        assert_eq!(usage(&cluster, "w1").await, [5, 500, 7, 1], "what is said goes before what adds up");
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(usage(&cluster, "w1").await, [1, 500, 7, 1]);
    }

    async fn the_reply_tells_what_operators_want(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.json()["policy"], "draining");
        cluster.rest().post("/api/v1/workers/w1/activate").await;
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.json()["policy"], "active");
    }

    // semantics 9
    async fn a_heartbeat_of_an_unknown_worker_is_told_to_register(cluster: TestCluster) {
        let answer = cluster.beat("w9", json!({"incarnation": 1})).await;
        answer.assert_failure(404, "Worker not found: w9. Register it again, then send heartbeats.");
        assert_eq!(cluster.revision(), 0);
    }

    // semantics 8; regression: two processes with one id overwrote each other silently
    async fn heartbeats_of_an_older_life_are_refused_and_change_nothing(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let again = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!((again.status, again.json()["incarnation"].take()), (200, json!(2)));
        cluster.beat("w1", json!({"incarnation": 2, "vms": [{"id": "vm-2"}]})).await;
        cluster.advance(seconds(30));
        let before = cluster.everything().await;

        let refused = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 9, "vms": []})).await;
        refused.assert_failure(
            409,
            "Incarnation 1 of worker w1 is over: incarnation 2 has registered since. \
             Two processes may be using this id.",
        );
        assert_eq!(cluster.everything().await, before);
    }

    async fn a_life_that_was_never_handed_out_is_told_to_register(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        let answer = cluster.beat("w1", json!({"incarnation": 7})).await;
        answer.assert_failure(404, "Worker w1 has no incarnation 7 yet, the present one is 1. Register it again.");
        assert_eq!(cluster.everything().await, before);
    }

    // semantics 28
    async fn a_sequence_not_above_the_last_is_a_sign_of_life_and_no_news(cluster: TestCluster) {
        cluster.add([worker("w1").reports("sequence", 5).vms([vm("vm-1")])]).await;
        cluster.advance(seconds(10));
        let before = cluster.worker("w1").await;
        for (late, resync, revision) in [(3, true, 3), (4, true, 4), (5, false, 5), (5, false, 5), (0, true, 5)] {
            let reply =
                cluster.beat("w1", json!({"incarnation": 1, "sequence": late, "used_cpu_cores": 9, "vms": []})).await;
            let body = reply.json();
            assert_eq!((reply.status, &body["resync"], &body["last_sequence"]), (200, &json!(resync), &json!(5)));
            let heard = json!({"last_seen": "2025-11-02T10:00:10Z", "uptime": "10s", "revision": revision});
            assert_eq!(cluster.worker("w1").await, with(before.clone(), heard), "each number once");
        }
        assert_eq!(vms_of(&cluster, "w1").await, ["vm-1"]);
        let reply = cluster.beat("w1", json!({"incarnation": 1, "sequence": 6, "vms": []})).await.json();
        assert_eq!(reply.get("last_sequence"), None);
        assert_eq!(vms_of(&cluster, "w1").await, [] as [&str; 0]);

        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        cluster.beat("w1", json!({"incarnation": 2, "sequence": 1, "vms": [{"id": "vm-2"}]})).await;
        assert_eq!(vms_of(&cluster, "w1").await, ["vm-2"], "each life counts anew");
    }

    // semantics 28
    async fn an_inventory_that_is_absent_is_not_an_empty_one(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2")])]).await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(vms_of(&cluster, "w1").await, ["vm-1", "vm-2"]);
        cluster.beat("w1", json!({"incarnation": 1, "vms": null, "vms_delta": null})).await;
        assert_eq!(vms_of(&cluster, "w1").await, ["vm-1", "vm-2"]);
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        assert_eq!(vms_of(&cluster, "w1").await, [] as [&str; 0]);
        assert_eq!(usage(&cluster, "w1").await, [0, 0, 0, 0]);
    }

    // semantics 28
    async fn a_delta_changes_what_it_names(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2"), vm("vm-3")])]).await;
        let delta = json!({"upsert": [{"id": "vm-2", "status": "failed"}, {"id": "vm-4"}], "remove": ["vm-1", "vm-9"]});
        let reply = cluster.beat("w1", json!({"incarnation": 1, "vms_delta": delta})).await.json();
        assert_eq!(reply["resync"], false);
        let all = cluster.rest().get("/api/v1/workers/w1/vms?status=running&status=failed").await.json();
        assert_eq!(pick(&all["vms"], ["id", "status"]), [["vm-2", "failed"], ["vm-3", "running"], ["vm-4", "running"]]);
        assert_eq!(
            cluster.history().await,
            [
                "worker_registered w1",
                "vm_started w1 vm-1",
                "vm_started w1 vm-2",
                "vm_started w1 vm-3",
                "vm_vanished w1 vm-1",
                "vm_failed w1 vm-2",
                "vm_started w1 vm-4",
            ]
        );
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    // semantics 28
    async fn the_whole_inventory_is_asked_for_until_it_was_heard(cluster: TestCluster) {
        cluster.add([worker("w1").without_heartbeat()]).await;
        for (beat, resync) in [
            (json!({"incarnation": 1}), true),
            (json!({"incarnation": 1, "vms_delta": {"upsert": [{"id": "vm-1"}]}}), true),
            (json!({"incarnation": 1, "vms": []}), false),
            (json!({"incarnation": 1, "vms_delta": {"upsert": [{"id": "vm-1"}]}}), false),
            (json!({"incarnation": 1}), false),
        ] {
            assert_eq!(cluster.beat("w1", beat.clone()).await.json()["resync"], resync, "{beat}");
        }
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(
            cluster.beat("w1", json!({"incarnation": 2})).await.json()["resync"],
            true,
            "a new life begins anew"
        );
    }

    async fn an_entry_that_json_cannot_say_is_its_own_workers_concern(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let body = r#"{"heartbeats": [
            {"worker_id": "w1", "incarnation": 1e999},
            {"worker_id": "w2", "incarnation": 1}
        ]}"#;
        let ask = cluster.rest().post("/api/v1/heartbeats").header("content-type", "application/json").body(body);
        let results = ask.await.json()["results"].take();
        assert_eq!(
            pick(&results, ["worker_id", "status", "error"]),
            [
                [json!("w1"), json!(400), failure(400, "The entry is not valid JSON: number out of range")],
                [json!("w2"), json!(200), Value::Null],
            ]
        );
    }

    async fn many_heartbeats_in_one_body_are_answered_one_by_one_in_their_order(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3")]).await;
        cluster.rest().put("/api/v1/workers/w3").json(worker("w3").registration()).await;
        cluster.advance(seconds(10));
        let answer = cluster
            .rest()
            .post("/api/v1/heartbeats")
            .json(json!({"heartbeats": [
                {"worker_id": "w2", "incarnation": 1, "used_cpu_cores": 2},
                {"worker_id": "w9", "incarnation": 1},
                {"worker_id": "w1", "incarnation": -1},
                {"worker_id": "w3", "incarnation": 1},
                {"incarnation": 1},
                {"worker_id": "w1", "vms": "all of them"},
                "nonsense",
                null,
                {"worker_id": 7, "incarnation": 1},
                {"worker_id": "w1", "incarnation": 1, "used_cpu_cores": 1, "vms": [{"id": "vm-1"}]},
            ]}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let results = answer.json()["results"].take();
        assert_eq!(
            pick(&results, ["worker_id", "status"]),
            [
                [json!("w2"), json!(200)],
                [json!("w9"), json!(404)],
                [json!("w1"), json!(400)],
                [json!("w3"), json!(409)],
                [Value::Null, json!(400)],
                [json!("w1"), json!(400)],
                [Value::Null, json!(400)],
                [Value::Null, json!(400)],
                [Value::Null, json!(400)],
                [json!("w1"), json!(200)],
            ]
        );
        assert_eq!(
            results[1],
            json!({
                "worker_id": "w9", "status": 404,
                "error": failure(404, "Worker not found: w9. Register it again, then send heartbeats."),
            })
        );
        for refused in results.as_array().unwrap().iter().filter(|result| result["status"] != 200) {
            let message = refused["error"]["message"].as_str().unwrap();
            let expected = failure(refused["status"].as_u64().unwrap() as u16, message);
            for key in ["error", "message", "code"] {
                assert_eq!(refused["error"][key], expected[key], "{refused}");
            }
            assert!(!message.contains("struct") && !message.contains("enum"), "in the words of the API: {message}");
        }
        let keys: Vec<_> = results[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["next_heartbeat_seconds", "policy", "policy_revision", "resync", "revision", "set_aside", "status", "worker_id"]
        );
        assert_eq!(usage(&cluster, "w1").await, [1, 0, 0, 1]);
        assert_eq!(usage(&cluster, "w2").await, [2, 0, 0, 0]);
        assert_eq!(usage(&cluster, "w3").await, [0, 0, 0, 0]);
        assert_eq!(cluster.worker("w3").await["last_seen"], START);
    }

    async fn heartbeats_of_one_worker_in_one_body_count_in_their_order(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let beats: Vec<_> = (1..=100).map(|n| json!({
            "worker_id": "w1", "incarnation": 1, "sequence": n, "used_cpu_cores": n, "vms": [{"id": format!("vm-{n}")}],
        })).collect();
        let answer = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).await.json();
        assert!(answer["results"].as_array().unwrap().iter().all(|result| result["status"] == 200), "{answer}");
        assert_eq!(usage(&cluster, "w1").await, [100, 0, 0, 1]);
        assert_eq!(vms_of(&cluster, "w1").await, ["vm-100"]);
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    async fn a_body_without_heartbeats_is_one_of_none(cluster: TestCluster) {
        for _ in 0..2 {
            cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": []})).await.assert_json(200, json!({"results": []}));
        }
        cluster.add([worker("w1")]).await;
    }

    async fn one_body_may_carry_a_thousand_heartbeats_and_no_more(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        let beats = |count| json!({"heartbeats": vec![json!({"worker_id": "w1", "incarnation": 1}); count]});
        let refused = cluster.rest().post("/api/v1/heartbeats").json(beats(1_001)).await;
        refused.assert_failure(400, "heartbeats must have at most 1000 entries, not 1001");
        assert_eq!(cluster.everything().await, before);
        let taken = cluster.rest().post("/api/v1/heartbeats").json(beats(1_000)).await.json();
        assert_eq!(taken["results"].as_array().unwrap().len(), 1_000);
        let none = cluster.rest().post("/api/v1/heartbeats").json(beats(0)).await;
        none.assert_json(200, json!({"results": []}));
    }

    // regression: the id stood in for the name, was refused as a name, and with it the whole report
    async fn a_vm_without_a_name_is_set_aside_for_its_id_and_the_rest_counts(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let answer = cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm\u{7}"}, {"id": "vm-1"}]})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.json()["set_aside"]["vm\u{7}"].is_string(), "{}", answer.body);
        assert_eq!(cluster.worker("w1").await["vm_count"], 1);
    }
}
