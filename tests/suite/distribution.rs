//! Which VMs are where.

use serde_json::json;

use crate::harness::*;

on_both_databases! {
    // regression: the distribution left out workers, and crashed on a VM without size
    async fn every_worker_is_in_the_distribution_whatever_its_state(cluster: TestCluster) {
        cluster
            .add([
                worker("w1").zone("a").reports("vms", json!([{"id": "vm-1"}])),
                worker("w2"),
                worker("w3").without_heartbeat(),
                worker("w4").vms([vm("vm-4")]).silent_for(minutes(2)),
                worker("w5").vms([vm("vm-5").status("stopped")]),
            ])
            .await;
        cluster.rest().post("/api/v1/workers/w2/drain").await;
        cluster.rest().get("/api/v1/cluster/distribution").await.assert_json(
            200,
            json!({
                "distribution": [
                    {
                        "worker_id": "w1", "hostname": "w1.example.com", "zone": "a", "vm_count": 1,
                        "vms": [{"id": "vm-1", "name": "vm-1", "status": "running", "vcpus": 0, "memory_mb": 0}],
                    },
                    {"worker_id": "w2", "hostname": "w2.example.com", "zone": "", "vm_count": 0, "vms": []},
                    {"worker_id": "w3", "hostname": "w3.example.com", "zone": "", "vm_count": 0, "vms": []},
                    {
                        "worker_id": "w4", "hostname": "w4.example.com", "zone": "", "vm_count": 1,
                        "vms": [{"id": "vm-4", "name": "vm-4", "status": "running", "vcpus": 2, "memory_mb": 2048}],
                    },
                    {"worker_id": "w5", "hostname": "w5.example.com", "zone": "", "vm_count": 0, "vms": []},
                ],
                "total_workers": 5,
            }),
        );
    }
}
