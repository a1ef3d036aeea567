//! Totals of the cluster.

use serde_json::json;

use crate::harness::*;

on_both_databases! {
    // semantics 14
    async fn an_empty_cluster_is_all_zeros(cluster: TestCluster) {
        cluster.rest().get("/api/v1/cluster/stats").await.assert_json(200, json!({
            "total_workers": 0, "active_workers": 0, "draining_workers": 0, "offline_workers": 0,
            "total_cpu_cores": 0, "total_memory_mb": 0, "used_cpu_cores": 0, "used_memory_mb": 0,
            "available_cpu_cores": 0, "available_memory_mb": 0,
            "cluster_cpu_usage_percent": 0.0, "cluster_memory_usage_percent": 0.0,
            "total_vms": 0, "max_vms": 0, "available_vm_slots": 0, "zones": {},
            "schedulable_workers": 0, "schedulable_cpu_cores": 0, "schedulable_memory_mb": 0, "schedulable_vm_slots": 0,
            "revision": 0,
        }));
    }

    // semantics 14, 15, 16
    async fn totals_count_every_registered_worker_and_schedulable_ones_only_what_takes_work(cluster: TestCluster) {
        cluster
            .add([
                worker("active").zone("a").cpu(8).memory_mb(8_000).max_vms(10).vms([vm("vm-1").size(2, 1_000)]),
                worker("draining").zone("a").cpu(8).memory_mb(8_000).max_vms(10).vms([vm("vm-2").size(1, 500)]),
                worker("offline")
                    .zone("b")
                    .cpu(4)
                    .memory_mb(4_000)
                    .max_vms(5)
                    .vms([vm("vm-3").size(4, 4_000)])
                    .silent_for(minutes(2)),
                worker("nowhere").cpu(1).memory_mb(1_000).max_vms(1),
            ])
            .await;
        cluster.rest().post("/api/v1/workers/draining/drain").await;
        cluster.rest().get("/api/v1/cluster/stats").await.assert_json(
            200,
            json!({
                "total_workers": 4, "active_workers": 2, "draining_workers": 1, "offline_workers": 1,
                "total_cpu_cores": 21, "total_memory_mb": 21_000, "used_cpu_cores": 7, "used_memory_mb": 5_500,
                "available_cpu_cores": 14, "available_memory_mb": 15_500,
                // sum(used) / sum(total), which is not the mean of the workers
                "cluster_cpu_usage_percent": 33.33, "cluster_memory_usage_percent": 26.19,
                "total_vms": 3, "max_vms": 26, "available_vm_slots": 23,
                "zones": {"a": 2, "b": 1},
                "schedulable_workers": 2, "schedulable_cpu_cores": 7, "schedulable_memory_mb": 8_000,
                "schedulable_vm_slots": 10,
                "revision": 9,
            }),
        );
    }

    // semantics 15; regression: available resources went negative
    async fn what_is_available_never_goes_below_nothing(cluster: TestCluster) {
        let vms = [vm("vm-1").size(8, 8_000), vm("vm-2").size(8, 8_000)];
        cluster.add([worker("w1").cpu(4).memory_mb(4_000).max_vms(1).vms(vms)]).await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        for field in [
            "available_cpu_cores",
            "available_memory_mb",
            "available_vm_slots",
            "schedulable_cpu_cores",
            "schedulable_memory_mb",
            "schedulable_vm_slots",
        ] {
            assert_eq!(stats[field], 0, "{field}");
        }
        assert_eq!([&stats["cluster_cpu_usage_percent"], &stats["used_cpu_cores"]], [&json!(400.0), &json!(16)]);
    }

    // semantics 15: room on a full worker does not make up for another's want of it
    async fn an_overcommitted_worker_takes_nothing_from_what_others_have_to_give(cluster: TestCluster) {
        cluster.add([worker("full").cpu(4).vms([vm("vm-1").size(8, 1)]), worker("free").cpu(4)]).await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        assert_eq!([&stats["available_cpu_cores"], &stats["schedulable_cpu_cores"]], [&json!(0), &json!(4)]);
    }

    // semantics 25
    async fn totals_are_exact_far_beyond_32_bits(cluster: TestCluster) {
        let huge = i32::MAX;
        cluster
            .add((1..=3).map(|n| worker(&format!("w{n}")).registers("memory_mb", huge).reports("used_memory_mb", huge)))
            .await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        assert_eq!([&stats["total_memory_mb"], &stats["used_memory_mb"]], [&json!(3 * i64::from(huge)); 2]);
    }
}
