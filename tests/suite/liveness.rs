//! Who counts as alive, from when on, and who is told.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::*;

on_both_databases! {
    // semantics 1, 17
    async fn a_worker_is_healthy_for_sixty_seconds_and_not_a_moment_longer(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let fresh = cluster.worker("w1").await;
        cluster.advance(seconds(60));
        assert_eq!(cluster.worker("w1").await, with(fresh.clone(), json!({"uptime": "1m0s", "uptime_seconds": 60})));
        cluster.advance(Duration::from_millis(1));
        let silent = json!({"status": "offline", "is_healthy": false, "uptime": "0s"});
        assert_eq!(cluster.worker("w1").await, with(fresh, silent), "uptime stands still at `last_seen`");
    }

    // semantics 1
    async fn the_time_out_is_one_number_that_can_be_configured(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| options.timing.offline_after = seconds(30)).await;
        let registered = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await.json();
        assert_eq!(registered["offline_after_seconds"], 30);
        for (passed, status, announced) in [(30, "active", 0), (1, "offline", 1)] {
            cluster.advance(seconds(passed));
            assert_eq!(cluster.worker("w1").await["status"], status);
            assert_eq!(cluster.sweep().await, announced);
        }
    }

    // semantics 1
    async fn a_heartbeat_brings_a_silent_worker_back(cluster: TestCluster) {
        cluster.add([worker("w1").silent_for(minutes(10))]).await;
        let silent = cluster.worker("w1").await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let back = json!({
            "status": "active", "is_healthy": true, "last_seen": "2025-11-02T10:10:00Z", "uptime": "10m0s",
            "uptime_seconds": 600, "revision": 3,
        });
        assert_eq!(cluster.worker("w1").await, with(silent, back));
    }

    // semantics 1, 18; regression: `last_seen` mixed three clocks
    async fn only_the_servers_clock_counts(cluster: TestCluster) {
        let lies =
            worker("w1").registers("started_at", "1999-01-01T00:00:00Z").registers("last_seen", "2099-01-01T00:00:00Z");
        cluster.add([lies.without_heartbeat()]).await;
        cluster.advance(Duration::from_millis(1_500));
        let lie = json!({"incarnation": 1, "timestamp": "2099-01-01T00:00:00Z", "last_seen": "2099-01-01T00:00:00Z"});
        cluster.beat("w1", lie).await;
        let worker = cluster.worker("w1").await;
        assert_eq!(
            [&worker["started_at"], &worker["last_seen"], &worker["uptime"]],
            [&json!("2025-11-02T10:00:00Z"), &json!("2025-11-02T10:00:01.500Z"), &json!("1s")],
            "a fraction is shown only if there is one"
        );
    }

    async fn going_offline_and_coming_back_are_told_once(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        cluster.advance(seconds(50));
        cluster.beat("w2", json!({"incarnation": 1})).await;
        cluster.advance(seconds(11));
        assert_eq!((cluster.sweep().await, cluster.sweep().await), (1, 0));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(cluster.sweep().await, 0);
        let told = ["worker_registered w1", "worker_registered w2", "worker_offline w1", "worker_online w1"];
        assert_eq!(cluster.history().await, told);
    }

    // semantics 2
    async fn a_server_that_just_started_gives_every_worker_a_time_out_to_be_heard(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let cluster = cluster.restart().await;
        cluster.advance(minutes(10));
        let cluster = cluster.restart().await;
        assert_eq!(cluster.sweep().await, 0, "the server was away, not the workers");
        assert_eq!(cluster.worker("w1").await["is_healthy"], false, "but health is strictly a matter of age");

        cluster.advance(seconds(30));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        cluster.advance(seconds(30));
        assert_eq!(cluster.sweep().await, 0, "the grace lasts exactly one time-out");
        cluster.advance(Duration::from_millis(1));
        assert_eq!(cluster.sweep().await, 1);
        assert_eq!(cluster.history().await, ["worker_registered w1", "worker_registered w2", "worker_offline w2"]);
    }

    // semantics 2
    async fn a_server_that_was_paused_blames_nobody_for_what_it_did_not_hear(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.advance(seconds(61));
        // As a process that was stopped and goes on: its next look comes late.
        let (sweeper, shutdown) = (cluster.server().liveness_sweeper(), CancellationToken::new());
        cluster.advance(minutes(10));
        tokio::time::pause();
        let run = tokio::spawn(sweeper.run(shutdown.clone()));
        for _ in 0..3 {
            tokio::time::advance(seconds(1)).await;
        }
        tokio::time::resume();
        shutdown.cancel();
        run.await.unwrap();
        cluster.rest().post("/api/v1/workers/w9/drain").await.assert_failure(404, "Worker not found: w9");
        assert_eq!(cluster.history().await, ["worker_registered w1"]);
    }

    // regression: a crashed worker never became offline and its capacity still counted as available
    async fn a_crashed_worker_becomes_offline_and_takes_no_work(cluster: TestCluster) {
        cluster.add([worker("crashed").vms([vm("vm-1")]).silent_for(seconds(61)), worker("w2")]).await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        let fields = ["active_workers", "offline_workers", "schedulable_workers", "schedulable_cpu_cores"];
        assert_eq!(fields.map(|field| &stats[field]), [&json!(1), &json!(1), &json!(1), &json!(16)]);
        assert_eq!([&stats["schedulable_memory_mb"], &stats["schedulable_vm_slots"]], [&json!(32768), &json!(100)]);
        assert_eq!(cluster.worker("crashed").await["status"], "offline");
    }

    // semantics 17
    async fn uptime_is_told_as_go_prints_it(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (after, uptime) in [(45, "45s"), (135, "3m0s"), (8865, "2h30m45s"), (84555, "26h0m0s")] {
            cluster.advance(seconds(after));
            cluster.beat("w1", json!({"incarnation": 1})).await;
            assert_eq!(cluster.worker("w1").await["uptime"], uptime);
        }
    }
}
