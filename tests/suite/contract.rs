//! The examples of the REST contract, character by character, with the cluster in the state they show.
//!
//! Keys that the contract does not document come after the documented ones.

use serde_json::json;

use crate::harness::*;

/// `worker-01` as the contract prints it.
const WORKER_01: &str = r#"{
  "id": "worker-01",
  "hostname": "node1.example.com",
  "address": "192.168.1.10:8081",
  "zone": "us-west-1a",
  "status": "active",
  "labels": {
    "env": "production",
    "tier": "compute"
  },
  "capabilities": ["firecracker", "docker"],
  "cpu_cores": 16,
  "memory_mb": 32768,
  "disk_gb": 500,
  "used_cpu_cores": 4,
  "used_memory_mb": 8192,
  "used_disk_gb": 50,
  "cpu_usage_percent": 25.0,
  "memory_usage_percent": 25.0,
  "vm_count": 3,
  "max_vms": 100,
  "started_at": "2025-11-02T10:00:00Z",
  "last_seen": "2025-11-02T12:30:45Z",
  "uptime": "2h30m45s",
  "is_healthy": true
}"#;

/// The worker of the examples: it has registered when the tests begin, and beats two and a half hours later.
async fn worker_01_beats(cluster: &TestCluster, vms: impl IntoIterator<Item = TestVm>) {
    let registration = json!({
        "hostname": "node1.example.com", "address": "192.168.1.10:8081", "zone": "us-west-1a",
        "labels": {"tier": "compute", "env": "production"}, "capabilities": ["firecracker", "docker"],
        "cpu_cores": 16, "memory_mb": 32768, "disk_gb": 500, "max_vms": 100,
    });
    cluster.rest().put("/api/v1/workers/worker-01").json(registration).await;
    cluster.advance(seconds(2 * 3600 + 30 * 60 + 45));
    let vms: Vec<serde_json::Value> = vms.into_iter().map(Into::into).collect();
    let beat = json!({"incarnation": 1, "used_cpu_cores": 4, "used_memory_mb": 8192, "used_disk_gb": 50, "vms": vms});
    assert_eq!(cluster.beat("worker-01", beat).await.status, 200);
}

/// The example as it comes over the wire: without the white space between its tokens.
fn on_the_wire(example: &str) -> String {
    let mut is_text = false;
    example
        .chars()
        .filter(|c| {
            is_text ^= *c == '"';
            is_text || !c.is_whitespace()
        })
        .collect()
}

/// The example with more keys at the end of its outermost object.
fn and_more(example: &str, keys: &str) -> String {
    let wire = on_the_wire(example);
    format!("{},{keys}}}", wire.strip_suffix('}').unwrap())
}

on_both_databases! {
    async fn a_worker_is_shown_as_documented(cluster: TestCluster) {
        worker_01_beats(&cluster, [vm("vm-1"), vm("vm-2"), vm("vm-3")]).await;
        let more = r#""scheduling_policy":"active","revision":2,"reserved_cpu_cores":0,"reserved_memory_mb":0,"reserved_disk_gb":0,"reserved_vm_slots":0,"free_cpu_cores":12,"free_memory_mb":24576,"free_disk_gb":450,"free_vm_slots":97,"uptime_seconds":9045"#;
        let shown = and_more(WORKER_01, more);
        assert_eq!(cluster.rest().get("/api/v1/workers/worker-01").await.body, shown);

        let list = format!(r#"{{"workers":[{shown}],"total":1}}"#);
        assert_eq!(cluster.rest().get("/api/v1/workers").await.body, list);
        assert_eq!(cluster.rest().get("/api/v1/workers?zone=us-west-1a").await.body, list);
    }

    async fn the_vms_of_a_worker_are_shown_as_documented(cluster: TestCluster) {
        let vms = [vm("vm-123").name("dev-vm-1").size(2, 2048), vm("vm-456").name("dev-vm-2").size(1, 512)];
        worker_01_beats(&cluster, vms).await;
        assert_eq!(
            cluster.rest().get("/api/v1/workers/worker-01/vms").await.body,
            on_the_wire(
                r#"{
              "worker_id": "worker-01",
              "vms": [
                {
                  "id": "vm-123",
                  "name": "dev-vm-1",
                  "status": "running",
                  "vcpus": 2,
                  "memory_mb": 2048
                },
                {
                  "id": "vm-456",
                  "name": "dev-vm-2",
                  "status": "running",
                  "vcpus": 1,
                  "memory_mb": 512
                }
              ],
              "total": 2
            }"#
            )
        );
    }

    async fn drain_and_activate_answer_as_documented(cluster: TestCluster) {
        cluster.add([worker("worker-01")]).await;
        assert_eq!(
            cluster.rest().post("/api/v1/workers/worker-01/drain").await.body,
            on_the_wire(
                r#"{
              "worker_id": "worker-01",
              "status": "draining",
              "message": "Worker marked as draining. It will stop accepting new tasks."
            }"#
            )
        );
        assert_eq!(
            cluster.rest().post("/api/v1/workers/worker-01/activate").await.body,
            on_the_wire(
                r#"{
              "worker_id": "worker-01",
              "status": "active",
              "message": "Worker activated. It will resume accepting tasks."
            }"#
            )
        );
    }

    async fn the_statistics_are_shown_as_documented(cluster: TestCluster) {
        let zones = ["us-west-1a", "us-west-1a", "us-west-1b", "us-west-1b", "us-east-1a"];
        cluster
            .add(zones.iter().enumerate().map(|(n, zone)| {
                worker(&format!("worker-0{n}"))
                    .zone(zone)
                    .vms((0..3).map(|vm_n| vm(&format!("vm-{n}-{vm_n}"))))
                    .reports("used_cpu_cores", 4)
                    .reports("used_memory_mb", 8192)
            }))
            .await;
        cluster.rest().post("/api/v1/workers/worker-04/drain").await;
        // Zones are sorted by name; the order in which the contract prints them has no rule.
        let documented = r#"{
          "total_workers": 5,
          "active_workers": 4,
          "draining_workers": 1,
          "offline_workers": 0,
          "total_cpu_cores": 80,
          "total_memory_mb": 163840,
          "used_cpu_cores": 20,
          "used_memory_mb": 40960,
          "available_cpu_cores": 60,
          "available_memory_mb": 122880,
          "cluster_cpu_usage_percent": 25.0,
          "cluster_memory_usage_percent": 25.0,
          "total_vms": 15,
          "max_vms": 500,
          "available_vm_slots": 485,
          "zones": {
            "us-east-1a": 1,
            "us-west-1a": 2,
            "us-west-1b": 2
          }
        }"#;
        let more = concat!(
            r#""schedulable_workers":4,"schedulable_cpu_cores":48,"schedulable_memory_mb":98304,"#,
            r#""schedulable_vm_slots":388,"revision":11"#
        );
        assert_eq!(cluster.rest().get("/api/v1/cluster/stats").await.body, and_more(documented, more));
    }

    async fn the_distribution_is_shown_as_documented(cluster: TestCluster) {
        cluster
            .add([
                worker("worker-01")
                    .registers("hostname", "node1.example.com")
                    .zone("us-west-1a")
                    .vms([vm("vm-001").name("dev-vm-1").size(2, 2048), vm("vm-002").name("dev-vm-2").size(1, 1024)]),
                worker("worker-02").registers("hostname", "node2.example.com").zone("us-west-1a"),
            ])
            .await;
        // The example leaves out some of the VMs that it counts; here the count is that of the list.
        assert_eq!(
            cluster.rest().get("/api/v1/cluster/distribution").await.body,
            on_the_wire(
                r#"{
              "distribution": [
                {
                  "worker_id": "worker-01",
                  "hostname": "node1.example.com",
                  "zone": "us-west-1a",
                  "vm_count": 2,
                  "vms": [
                    {
                      "id": "vm-001",
                      "name": "dev-vm-1",
                      "status": "running",
                      "vcpus": 2,
                      "memory_mb": 2048
                    },
                    {
                      "id": "vm-002",
                      "name": "dev-vm-2",
                      "status": "running",
                      "vcpus": 1,
                      "memory_mb": 1024
                    }
                  ]
                },
                {
                  "worker_id": "worker-02",
                  "hostname": "node2.example.com",
                  "zone": "us-west-1a",
                  "vm_count": 0,
                  "vms": []
                }
              ],
              "total_workers": 2
            }"#
            )
        );
    }

    // regression: `/vms` never carried `worker_id`
    async fn vms_carry_the_worker_they_are_on(cluster: TestCluster) {
        worker_01_beats(&cluster, [vm("vm-123").name("dev-vm")]).await;
        let documented = r#"{
          "id": "vm-123",
          "name": "dev-vm",
          "worker_id": "worker-01",
          "status": "running"
        }"#;
        // semantics 13: `vcpu_count` is what clients from before the contract read
        let more = r#""vcpus":2,"memory_mb":2048,"duplicate":false,"revision":2,"created_at":"2025-11-02T12:30:45Z","started_at":"2025-11-02T12:30:45Z","status_since":"2025-11-02T12:30:45Z","vcpu_count":2"#;
        let shown = and_more(documented, more);
        assert_eq!(cluster.rest().get("/api/v1/vms/vm-123").await.body, shown);
        assert_eq!(cluster.rest().get("/api/v1/vms").await.body, format!(r#"{{"vms":[{shown}],"total":1}}"#));
    }

    async fn a_worker_that_does_not_exist_is_refused_as_documented(cluster: TestCluster) {
        let answer = cluster.rest().get("/api/v1/workers/worker-99").await;
        assert_eq!(
            answer.body,
            on_the_wire(
                r#"{
              "error": "Not Found",
              "message": "Worker not found: worker-99",
              "code": 404
            }"#
            )
        );
        assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/json")));
    }

    async fn the_server_tells_how_it_is(cluster: TestCluster) {
        let answer = cluster.rest().get("/api/v1/health").await;
        let mut health = answer.json();
        let staleness = health.as_object_mut().unwrap().remove("staleness_seconds");
        assert!(staleness.is_some_and(|seconds| seconds.as_f64() >= Some(0.0)), "{}", answer.body);
        assert_eq!(answer.status, 200);
        assert_eq!(
            health,
            json!({
                "status": "ok",
                "components": {"database": "ok", "journal": "ok", "commits": "ok", "replication": "ok"},
                "timestamp": "2025-11-02T10:00:00Z",
            })
        );
    }
}
