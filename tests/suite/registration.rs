//! Workers come, restart, and ask again.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::*;

on_both_databases! {
    async fn a_new_worker_is_told_what_it_needs_to_know(cluster: TestCluster) {
        let answer = cluster.rest().put("/api/v1/workers/w1").json(json!({
            "hostname": "node1", "address": "10.0.0.1:8081", "cpu_cores": 4, "memory_mb": 1024, "unknown": {"key": 1},
        })).await;
        answer.assert_json(201, json!({
            "worker": {
                "id": "w1", "hostname": "node1", "address": "10.0.0.1:8081", "zone": "", "status": "active",
                "labels": {}, "capabilities": [], "cpu_cores": 4, "memory_mb": 1024, "disk_gb": 0, "used_cpu_cores": 0,
                "used_memory_mb": 0, "used_disk_gb": 0, "cpu_usage_percent": 0.0, "memory_usage_percent": 0.0,
                "vm_count": 0, "max_vms": 100, "started_at": START, "last_seen": START, "uptime": "0s",
                "is_healthy": true, "scheduling_policy": "active", "revision": 1,
                "reserved_cpu_cores": 0, "reserved_memory_mb": 0, "reserved_disk_gb": 0, "reserved_vm_slots": 0,
                "free_cpu_cores": 4, "free_memory_mb": 1024, "free_disk_gb": 0, "free_vm_slots": 100,
                "uptime_seconds": 0,
            },
            "incarnation": 1,
            "heartbeat_interval_seconds": 10,
            "offline_after_seconds": 60,
            "revision": 1,
            "created": true,
            "policy_revision": 1,
        }));
        assert_eq!(cluster.worker("w1").await, answer.json()["worker"]);
    }

    // regression: two processes with one id overwrote each other silently
    async fn processes_that_register_one_id_at_once_are_told_different_incarnations(cluster: TestCluster) {
        // Together they are likely one batch; each has to be told its own life, not the last one.
        let answers = join_all((0..8).map(async |_| {
            cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await.json()
        }))
        .await;
        let mut incarnations: Vec<_> = answers.iter().map(|answer| answer["incarnation"].as_u64().unwrap()).collect();
        incarnations.sort_unstable();
        assert_eq!(incarnations, [1, 2, 3, 4, 5, 6, 7, 8]);
        let statuses = join_all((1..=8).map(async |incarnation| {
            cluster.beat("w1", json!({"incarnation": incarnation})).await.status
        }));
        assert_eq!(statuses.await, [409, 409, 409, 409, 409, 409, 409, 200]);
    }

    async fn a_registration_is_answered_though_the_worker_is_removed_in_the_same_moment(cluster: TestCluster) {
        let (registered, drained, removed) = tokio::join!(
            cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).into_future(),
            cluster.rest().post("/api/v1/workers/w1/drain").into_future(),
            cluster.rest().delete("/api/v1/workers/w1?purge=true").into_future(),
        );
        assert_eq!([registered.status, drained.status, removed.status], [201, 200, 204]);
        assert_eq!(drained.json()["status"], "draining");
        cluster.rest().get("/api/v1/workers/w1").await.assert_failure(404, "Worker not found: w1");
    }

    // semantics 8
    async fn a_restarted_worker_begins_anew_but_for_what_operators_asked_and_what_its_host_runs(cluster: TestCluster) {
        cluster
            .add([worker("w1").zone("a").registers("boot_id", "first").vms([vm("vm-1")]).reports("used_disk_gb", 9)])
            .await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let before = cluster.worker("w1").await;
        cluster.advance(minutes(5));

        let registration = worker("w1").zone("b").cpu(32).registers("boot_id", "second").registration();
        let answer = cluster.rest().put("/api/v1/workers/w1").json(registration).await;
        let after = with(
            before,
            json!({
                "zone": "b", "cpu_cores": 32, "cpu_usage_percent": 6.25, "revision": 4,
                "started_at": "2025-11-02T10:05:00Z", "last_seen": "2025-11-02T10:05:00Z", "uptime": "0s",
                "free_cpu_cores": 30,
            }),
        );
        answer.assert_json(
            200,
            json!({
                "worker": after, "incarnation": 2, "heartbeat_interval_seconds": 10, "offline_after_seconds": 60,
                "revision": 4, "created": false, "policy_revision": 3,
            }),
        );
        assert_eq!(
            cluster.history().await,
            ["worker_registered w1", "vm_started w1 vm-1", "worker_drain_started w1", "worker_restarted w1"]
        );
        let everything = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, everything);
    }

    async fn the_same_boot_asking_again_is_no_restart(cluster: TestCluster) {
        let boot = worker("w1").registers("boot_id", "one").vms([vm("vm-1")]);
        cluster.add([boot.clone()]).await;
        let before = cluster.worker("w1").await;
        cluster.advance(seconds(30));
        let answer = cluster.rest().put("/api/v1/workers/w1").json(boot.registration()).await.json();
        let heard = json!({"last_seen": "2025-11-02T10:00:30Z", "uptime": "30s", "revision": 3});
        assert_eq!(answer["worker"], with(before, heard), "asking is a sign of life, and resets nothing");
        assert_eq!([&answer["incarnation"], &answer["created"]], [&json!(1), &json!(false)]);
        assert_eq!(cluster.history().await, ["worker_registered w1", "vm_started w1 vm-1"]);

        let grown = cluster.rest().put("/api/v1/workers/w1").json(boot.cpu(64).registration()).await.json();
        assert_eq!([&grown["worker"]["cpu_cores"], &grown["incarnation"]], [&json!(64), &json!(1)]);
    }

    async fn without_a_boot_id_every_registration_is_a_new_start(cluster: TestCluster) {
        for incarnation in 1..=3 {
            let answer = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await.json();
            assert_eq!(answer["incarnation"], incarnation);
        }
    }

    async fn a_worker_that_was_announced_offline_is_announced_back_when_it_registers(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.advance(seconds(61));
        assert_eq!(cluster.sweep().await, 1);
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(
            cluster.history().await,
            ["worker_registered w1", "worker_offline w1", "worker_restarted w1", "worker_online w1"]
        );
        assert_eq!(cluster.worker("w1").await["status"], "active");
    }

    // semantics 12
    async fn any_text_of_up_to_255_characters_is_an_id(cluster: TestCluster) {
        let longest = "%C3%BC".repeat(255);
        for id in ["w", "with%20space", "%25", "%F0%9F%98%80", "%2e%2e", "a:b;c,d@e&f=g+h$i!j*k'l(m)", &longest] {
            let path = format!("/api/v1/workers/{id}");
            let answer = cluster.rest().put(&path).json(worker("w").registration()).await;
            assert_eq!(answer.status, 201, "{id}: {}", answer.body);
            let shown = cluster.rest().get(&path).await;
            shown.assert_json(200, answer.json()["worker"].take());
        }
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    // semantics 12
    async fn what_cannot_be_an_id_cannot_register(cluster: TestCluster) {
        for (id, problem) in [
            ("x".repeat(300).as_str(), "must have at most 255 characters, not 300"),
            ("a%2Fb", "must not contain '/'"),
            ("a%00b", "must not contain control characters"),
            ("a%0Ab", "must not contain control characters"),
            ("a%C2%85b", "must not contain control characters"),
            ("a%FFb", "must be valid UTF-8, without the replacement character U+FFFD"),
        ] {
            let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker("w").registration()).await;
            answer.assert_failure(400, &format!("id {problem}"));
        }
        assert_eq!(cluster.revision(), 0);
    }

    // semantics 27b
    async fn no_vm_keeps_a_worker_out_and_no_worker_a_vm(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("both"), vm("down").status("stopped"), vm("vm-1")])]).await;
        let vms = cluster.rest().get("/api/v1/vms?status=running&status=stopped").await.json();
        for id in ["both", "down"] {
            let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker(id).registration()).await;
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
        let same = cluster.rest().get("/api/v1/vms?status=running&status=stopped").await.json();
        assert_eq!(same, vms, "the VMs stay, as VMs");
        assert_eq!(cluster.worker("w1").await["vm_count"], 2);

        // A guest that runs an agent may report VMs of its own, and one that is called like itself.
        let reported = cluster.beat("both", json!({"incarnation": 1, "vms": [{"id": "w1"}, {"id": "both"}]})).await;
        assert_eq!(reported.json()["set_aside"], json!({}));
        assert_eq!(cluster.worker("both").await["vm_count"], 2);
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 200, "and locks nobody out");

        let asked = r#"{
            node(id: "both") { __typename id }
            nodes(ids: ["down", "vm-1"]) { __typename }
            worker(id: "both") { id vmCount }
            vm(id: "both") { id worker { id } }
        }"#;
        assert_eq!(
            cluster.graphql(asked).await,
            json!({
                "node": {"__typename": "Worker", "id": "both"},
                "nodes": [{"__typename": "Worker"}, {"__typename": "Vm"}],
                "worker": {"id": "both", "vmCount": 2},
                "vm": {"id": "both", "worker": {"id": "both"}},
            })
        );

        let purged = cluster.rest().delete("/api/v1/workers/both?purge=true&force=true").await;
        assert_eq!(purged.status, 204, "{}", purged.body);
        let vm = cluster.rest().get("/api/v1/vms/both").await.json();
        assert_eq!(vm["worker_id"], "w1", "the VM outlives the worker");
        assert_eq!(cluster.graphql(r#"{ node(id: "both") { __typename } }"#).await["node"]["__typename"], "Vm");
    }

    async fn a_whole_number_may_be_written_with_a_point(cluster: TestCluster) {
        let registration = with(worker("w1").registration(), json!({"cpu_cores": 16.0}));
        let answer = cluster.rest().put("/api/v1/workers/w1").json(registration).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(cluster.worker("w1").await["cpu_cores"], 16);
    }
}
