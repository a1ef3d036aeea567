//! The example bodies of the OpenAPI document, all of one cluster. Tests hold each of them against its schema. Examples of
//! parameters are in [`parameters`](super::parameters).

use serde_json::{Value, json};

use super::parameters::{BOOT_ID_EXAMPLE, EVENT_CURSOR_EXAMPLE, HOST_BOOT_ID_EXAMPLE};

pub(super) fn worker() -> Value {
    json!({
        "id": "worker-01",
        "hostname": "node1.example.com",
        "address": "192.168.1.10:8081",
        "zone": "us-west-1a",
        "status": "active",
        "labels": {"env": "production", "tier": "compute"},
        "capabilities": ["firecracker", "docker"],
        "cpu_cores": 16,
        "memory_mb": 32768,
        "disk_gb": 500,
        "used_cpu_cores": 4,
        "used_memory_mb": 8192,
        "used_disk_gb": 50,
        "cpu_usage_percent": 25.0,
        "memory_usage_percent": 25.0,
        "vm_count": 2,
        "max_vms": 100,
        "started_at": "2025-11-02T10:00:00Z",
        "last_seen": "2025-11-02T12:30:45Z",
        "uptime": "2h30m45s",
        "is_healthy": true,
        "scheduling_policy": "active",
        "revision": 813,
        "reserved_cpu_cores": 2,
        "reserved_memory_mb": 4096,
        "reserved_disk_gb": 0,
        "reserved_vm_slots": 1,
        "free_cpu_cores": 10,
        "free_memory_mb": 20480,
        "free_disk_gb": 450,
        "free_vm_slots": 97,
        "uptime_seconds": 9045,
    })
}

pub(super) fn workers() -> Value {
    json!({"workers": [worker()], "total": 1})
}

fn listed_vms() -> Value {
    json!([
        {"id": "vm-123", "name": "dev-vm-1", "status": "running", "vcpus": 2, "memory_mb": 2048},
        {"id": "vm-456", "name": "dev-vm-2", "status": "running", "vcpus": 1, "memory_mb": 512},
    ])
}

pub(super) fn worker_vms() -> Value {
    json!({"worker_id": "worker-01", "vms": listed_vms(), "total": 2})
}

pub(super) fn vm() -> Value {
    json!({
        "id": "vm-123",
        "name": "dev-vm-1",
        "worker_id": "worker-01",
        "status": "running",
        "vcpus": 2,
        "memory_mb": 2048,
        "duplicate": false,
        "revision": 813,
        "created_at": "2025-11-02T10:05:00Z",
        "started_at": "2025-11-02T10:05:12Z",
        "status_since": "2025-11-02T10:05:12Z",
        "note": "live migration refused: host CPU lacks avx512",
        "reservation_id": "res-7f3a",
        "vcpu_count": 2,
    })
}

pub(super) fn vms() -> Value {
    json!({"vms": [vm()], "total": 1})
}

pub(super) fn registration() -> Value {
    json!({
        "hostname": "node1.example.com",
        "address": "192.168.1.10:8081",
        "zone": "us-west-1a",
        "labels": {"env": "production", "tier": "compute"},
        "capabilities": ["firecracker", "docker"],
        "cpu_cores": 16,
        "memory_mb": 32768,
        "disk_gb": 500,
        "max_vms": 100,
        "boot_id": BOOT_ID_EXAMPLE,
        "host_boot_id": HOST_BOOT_ID_EXAMPLE,
    })
}

pub(super) fn registered(created: bool) -> Value {
    json!({
        "worker": worker(),
        "incarnation": 1,
        "heartbeat_interval_seconds": 10,
        "offline_after_seconds": 60,
        "revision": 813,
        "created": created,
        "policy_revision": 813,
    })
}

pub(super) fn heartbeat() -> Value {
    json!({"incarnation": 1, "vms": listed_vms()})
}

pub(super) fn recorded() -> Value {
    json!({
        "worker_id": "worker-01",
        "policy": "active",
        "next_heartbeat_seconds": 9.617,
        "revision": 814,
        "resync": false,
        "set_aside": {},
        "policy_revision": 813,
    })
}

pub(super) fn heartbeats() -> Value {
    json!({"heartbeats": [
        {"worker_id": "worker-01", "incarnation": 1, "vms": listed_vms()},
        {"worker_id": "worker-99", "incarnation": 1},
    ]})
}

pub(super) fn results() -> Value {
    let mut recorded = recorded();
    recorded["status"] = json!(200);
    let message = "Worker not found: worker-99. Register it again, then send heartbeats.";
    let error = json!({"error": "Not Found", "message": message, "code": 404});
    json!({"results": [recorded, {"worker_id": "worker-99", "status": 404, "error": error}]})
}

pub(super) fn reason() -> Value {
    json!({"reason": "new disks"})
}

pub(super) fn drain_request() -> Value {
    json!({"reason": "new disks", "deadline_seconds": 7200, "metadata": {"ticket": "OPS-123"}})
}

pub(super) fn drain() -> Value {
    json!({
        "reason": "new disks",
        "started_by": "operator",
        "started_at": "2025-11-02T12:30:45Z",
        "is_empty": false,
        "id": "worker-01/3",
        "worker_id": "worker-01",
        "number": 3,
        "state": "draining",
        "safe_to_power_off": false,
        "metadata": {"ticket": "OPS-123"},
        "started_by_token_id": "4fT9sQ2mXw0a",
        "started_by_name": "alice",
        "deadline_at": "2025-11-02T14:30:45Z",
        "acknowledged_at": "2025-11-02T12:30:52Z",
        "completed_at": null,
        "overdue_at": null,
        "ended_at": null,
        "ended_by": null,
        "end_reason": null,
        "initial_vms": 2,
        "remaining_vms": 1,
        "blockers": [{
            "kind": "vm_running",
            "vm_id": "vm-123",
            "since": "2025-11-02T12:30:45Z",
            "note": "live migration refused",
            "message": "VM vm-123 (dev-vm-1) is running: live migration refused",
        }],
        "revision": 814,
    })
}

pub(super) fn drains() -> Value {
    json!({"drains": [drain()], "total": 1})
}

pub(super) fn worker_drains() -> Value {
    json!({"worker_id": "worker-01", "drains": [drain()], "next_cursor": null})
}

fn drain_progress() -> Value {
    json!({"drain": drain(), "is_last": false})
}

pub(super) fn drain_stream() -> String {
    format!("event: progress\ndata: {}\n\n", drain_progress())
}

pub(super) fn drain_lines() -> String {
    format!("{}\n", drain_progress())
}

pub(super) fn draining() -> Value {
    let message = "Worker marked as draining. It will stop accepting new tasks.";
    json!({"worker_id": "worker-01", "status": "draining", "message": message})
}

pub(super) fn active() -> Value {
    json!({"worker_id": "worker-01", "status": "active", "message": "Worker activated. It will resume accepting tasks."})
}

pub(super) fn stats() -> Value {
    json!({
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
        "zones": {"us-east-1a": 1, "us-west-1a": 2, "us-west-1b": 2},
        "schedulable_workers": 4,
        "schedulable_cpu_cores": 48,
        "schedulable_memory_mb": 98304,
        "schedulable_vm_slots": 388,
        "revision": 813,
    })
}

pub(super) fn zones() -> Value {
    let zone = json!({
        "id": "zones/us-west-1a",
        "name": "us-west-1a",
        "workers": 2,
        "active_workers": 1,
        "draining_workers": 1,
        "offline_workers": 0,
        "cpu_cores": 32,
        "memory_mb": 65536,
        "used_cpu_cores": 8,
        "used_memory_mb": 16384,
        "vm_count": 6,
        "max_vms": 200,
        "schedulable_cpu_cores": 12,
        "schedulable_memory_mb": 24576,
        "schedulable_vm_slots": 97,
        "revision": 813,
    });
    json!({"zones": [zone], "total": 1})
}

pub(super) fn history() -> Value {
    let curve = |value: f64| json!({"values": [value, null, value], "min": null, "max": null});
    json!({
        "start": "2025-11-02T12:28:00Z",
        "end": "2025-11-02T12:31:00Z",
        "step_seconds": 60,
        "tier": "minute",
        "length": 3,
        "cpu_cores": curve(16.0),
        "memory_mb": curve(32768.0),
        "disk_gb": curve(500.0),
        "max_vms": curve(100.0),
        "used_cpu_cores": curve(4.0),
        "used_memory_mb": curve(8192.0),
        "used_disk_gb": curve(100.0),
        "vm_count": curve(2.0),
        "measured_cpu_cores": curve(1.25),
        "measured_memory_mb": curve(9216.0),
        "measured_load1": curve(1.4),
        "workers": null,
        "online_workers": null,
        "measured_workers": null,
    })
}

pub(super) fn worker_counts() -> Value {
    let zones = json!({"us-east-1a": 1, "us-west-1a": 2, "us-west-1b": 2});
    json!({"total": 5, "active": 4, "draining": 1, "offline": 0, "zones": zones, "revision": 813})
}

pub(super) fn target_groups() -> Value {
    let labels = json!({
        "__meta_aetherium_address": "192.168.1.10:8081",
        "__meta_aetherium_hostname": "node1.example.com",
        "__meta_aetherium_label_env": "production",
        "__meta_aetherium_labelpresent_env": "true",
        "__meta_aetherium_status": "active",
        "__meta_aetherium_worker_id": "worker-01",
        "__meta_aetherium_zone": "us-west-1a",
    });
    json!([{"targets": ["192.168.1.10:9100"], "labels": labels}])
}

pub(super) fn vm_counts() -> Value {
    json!({
        "total": 17,
        "created": 0,
        "starting": 1,
        "running": 14,
        "stopping": 0,
        "stopped": 1,
        "failed": 1,
        "zones": {"us-east-1a": 3, "us-west-1a": 6, "us-west-1b": 8},
        "revision": 813,
    })
}

pub(super) fn distribution() -> Value {
    let entry = json!({
        "worker_id": "worker-01",
        "hostname": "node1.example.com",
        "zone": "us-west-1a",
        "vm_count": 2,
        "vms": listed_vms(),
    });
    json!({"distribution": [entry], "total_workers": 1})
}

pub(super) fn event() -> Value {
    json!({
        "cursor": EVENT_CURSOR_EXAMPLE,
        "revision": 813,
        "at": "2025-11-02T12:30:45Z",
        "kind": "worker_drain_started",
        "worker_id": "worker-01",
        "vm_id": null,
        "actor": "operator",
        "actor_token_id": "4fT9sQ2mXw0a",
        "actor_name": "alice",
        "request_id": "0b5d4c1e-6f0a-4f43-9d3e-2a53a6a2b7ce",
        "address": "192.168.1.7",
        "reason": "new disks",
        "message": "Worker worker-01 is draining",
        "oldest_cursor": null,
        "id": format!("events/{EVENT_CURSOR_EXAMPLE}"),
        "position": 0,
        "vm_name": null,
        "vm_status": null,
        "previous_status": null,
        "zone": "us-west-1a",
    })
}

pub(super) fn events() -> Value {
    json!({"events": [event()], "end_cursor": EVENT_CURSOR_EXAMPLE, "has_next_page": false, "next_cursor": null})
}

pub(super) fn event_stream() -> String {
    format!("id: {EVENT_CURSOR_EXAMPLE}\nevent: worker_drain_started\ndata: {}\n\n", event())
}

pub(super) fn event_lines() -> String {
    format!("{}\n", event())
}

pub(super) fn health(is_ok: bool) -> Value {
    let (status, database) = if is_ok { ("ok", "ok") } else { ("degraded", "unavailable") };
    let staleness = if is_ok { 0.21 } else { 42.5 };
    json!({
        "status": status,
        "components": {"database": database, "journal": "ok", "commits": database, "replication": database},
        "staleness_seconds": staleness,
        "timestamp": "2025-11-02T12:30:45Z",
    })
}

pub(super) fn placement() -> Value {
    let memory = "needs 8192 MiB of memory, of which 6144 are free: 2048 are missing";
    json!({
        "fits": false,
        "count": 3,
        "placeable": 2,
        "assignments": [{"worker_id": "worker-01", "zone": "us-west-1a", "vms": 2}],
        "candidates": [{
            "worker_id": "worker-01", "zone": "us-west-1a", "vms": 2, "free_cpu_cores": 10, "free_memory_mb": 20480,
            "free_disk_gb": 450, "free_vm_slots": 97, "unsized_vms": 0,
        }],
        "total_candidates": 1,
        "refusals": [
            {"worker_id": "worker-01", "zone": "us-west-1a", "reasons": [
                {"reason": "cpu_cores", "needed": 4, "free": 2, "missing": 2,
                 "message": "needs 4 CPU cores, of which 2 are free: 2 are missing"},
                {"reason": "memory", "needed": 8192, "free": 4096, "missing": 4096,
                 "message": "needs 8192 MiB of memory, of which 4096 are free: 4096 are missing"},
            ]},
            {"worker_id": "worker-02", "zone": "us-west-1b", "reasons": [
                {"reason": "draining", "message": "is draining"},
                {"reason": "memory", "needed": 8192, "free": 6144, "missing": 2048, "message": memory},
            ]},
        ],
        "total_refusals": 2,
        "refusals_by_reason": [
            {"reason": "memory", "workers": 2}, {"reason": "draining", "workers": 1}, {"reason": "cpu_cores", "workers": 1},
        ],
        "revision": 813,
    })
}

pub(super) fn capacity() -> Value {
    json!({
        "vms": 6,
        "zones": [{"zone": "us-east-1a", "workers": 1, "vms": 2}, {"zone": "us-west-1a", "workers": 2, "vms": 4}],
        "largest_worker_id": "worker-01",
        "vms_without_largest_worker": 4,
        "largest_zone": "us-west-1a",
        "vms_without_largest_zone": 2,
        "unsized_vms": 0,
        "revision": 813,
    })
}

pub(super) fn new_reservation() -> Value {
    json!({"vcpus": 2, "memory_mb": 4096, "distinct": "worker", "expires_in": "5m0s", "reason": "web-7"})
}

pub(super) fn new_workers_drain() -> Value {
    // Shows the plan, whether all of its VMs find a place or not.
    json!({
        "filter": {"zones": ["us-west-1a"]}, "reason": "new switches", "deadline_seconds": 7200,
        "dry_run": true, "allow_shortfall": true
    })
}

pub(super) fn workers_drain() -> Value {
    json!({
        "dry_run": true,
        "workers": [{"worker_id": "worker-01", "changed": true}, {"worker_id": "worker-02", "changed": false}],
        "total_changed": 1,
        "plan": evacuation_plan(),
        "revision": 813,
    })
}

pub(super) fn new_activation() -> Value {
    json!({"filter": {"zones": ["us-west-1a"]}, "reason": "the switches are in"})
}

pub(super) fn workers_activation() -> Value {
    json!({
        "dry_run": false,
        "workers": [{"worker_id": "worker-01", "changed": true}, {"worker_id": "worker-02", "changed": true}],
        "total_changed": 2,
        "revision": 814,
    })
}

pub(super) fn evacuation_plan() -> Value {
    json!({
        "fits": false,
        "workers": 2,
        "vms": 3,
        "placeable": 2,
        "moves": [
            {"vm_id": "vm-123", "from_worker_id": "worker-01", "to_worker_id": "worker-07"},
            {"vm_id": "vm-124", "from_worker_id": "worker-02", "to_worker_id": "worker-08"},
        ],
        "stranded": [{
            "vm_id": "vm-125", "worker_id": "worker-02", "vcpus": 16, "memory_mb": 65536,
            "refusals_by_reason": [
                {"reason": "memory", "workers": 2}, {"reason": "excluded", "workers": 2}, {"reason": "cpu_cores", "workers": 1},
            ],
        }],
        "total_stranded": 1,
        "unsized_vms": 0,
        "set_aside_vms": 0,
        "vms_of_other_drains": 0,
        "revision": 813,
    })
}

pub(super) fn new_purge() -> Value {
    json!({"filter": {"labels": {"simulated": "true"}}, "offline_for": "720h", "dry_run": true})
}

pub(super) fn purge() -> Value {
    json!({
        "dry_run": true,
        "purged": [{"worker_id": "sim-01", "removed_vm_ids": ["vm-sim-7"]}],
        "refused": [{
            "worker_id": "sim-02",
            "reason": "holds_vms",
            "message": "Worker sim-02 still holds 3 VMs. Stop or move them first, or pass force=true.",
        }],
        "total_refused": 1,
        "remaining": 0,
    })
}

pub(super) fn reservation() -> Value {
    json!({
        "id": "019ac9f2-5c1e-7d43-9d3e-2a53a6a2b7ce",
        "state": "held",
        "vcpus": 2,
        "memory_mb": 4096,
        "disk_gb": 0,
        "count": 1,
        "slots": [{"worker_id": "worker-01", "vm_id": null, "state": "held"}],
        "reason": "web-7",
        "created_by": "4fT9sQ2mXw0a",
        "created_at": "2025-11-02T12:30:45Z",
        "expires_at": "2025-11-02T12:35:45Z",
        "ended_at": null,
        "revision": 813,
    })
}

pub(super) fn released() -> Value {
    let mut released = reservation();
    (released["state"], released["slots"][0]["state"]) = (json!("released"), json!("released"));
    (released["ended_at"], released["revision"]) = (json!("2025-11-02T12:31:02Z"), json!(815));
    released
}

pub(super) fn reservations() -> Value {
    json!({"reservations": [reservation()], "total": 1})
}

fn token() -> Value {
    json!({
        "id": "4fT9sQ2mXw0a",
        "name": "alice",
        "kind": "bearer",
        "role": "operator",
        "state": "live",
        "created_at": "2025-11-02T12:30:45Z",
        "expires_at": "2026-01-31T12:30:45Z",
        "revoked_at": null,
        "last_used_at": "2025-11-02T12:30:45Z",
        "revision": 813,
    })
}

pub(super) fn session() -> Value {
    let session = json!({
        "id": "Zt5Hq8mB1cYk",
        "name": "alice",
        "kind": "session",
        "role": "operator",
        "state": "live",
        "parent": "4fT9sQ2mXw0a",
        "created_by": "4fT9sQ2mXw0a",
        "created_at": "2025-11-02T12:30:45Z",
        "expires_at": "2025-11-03T00:30:45Z",
        "revoked_at": null,
        "last_used_at": "2025-11-02T12:30:45Z",
        "revision": 815,
    });
    json!({"asks_for_tokens": true, "token": session})
}

pub(super) fn sign_in() -> Value {
    // Not a code: no one is written down anywhere, and its checksum is wrong.
    json!({"code": "aec_QxV3u7Lr2NpW0000000000000000000000000000000000000000000XXXXXX"})
}

pub(super) fn tokens() -> Value {
    json!({"tokens": [token()], "total": 1})
}

pub(super) fn new_token() -> Value {
    json!({"name": "alice", "role": "operator", "expires_in": "2160h"})
}

pub(super) fn join() -> Value {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    json!({"token_id": "Zk3bT0qY81sN", "token_sha256": hash})
}

pub(super) fn joined() -> Value {
    json!({"worker_id": "worker-01", "token_id": "Zk3bT0qY81sN", "joined_at": "2025-11-02T12:30:45Z"})
}

pub(super) fn created_token() -> Value {
    // Not a token: no one is written down anywhere, and its checksum is wrong.
    json!({"secret": "aeo_4fT9sQ2mXw0a-not-a-token", "token": token()})
}
