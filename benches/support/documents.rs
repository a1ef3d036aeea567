//! The questions that figures are told of, as bodies of `POST /graphql`.

use serde_json::{Value, json};

use super::Fleet;

/// All fields of a worker that are not lists of other objects: 23.
pub const FIELDS: &str = "id hostname address zone status labels { key value } capabilities cpuCores memoryMb diskGb \
    usedCpuCores usedMemoryMb usedDiskGb cpuUsagePercent memoryUsagePercent vmCount maxVms startedAt lastSeen uptime \
    isHealthy schedulingPolicy revision";

/// VMs of a worker.
pub const VMS: &str = "vms { id name status vcpus memoryMb }";

/// One worker, all fields.
pub fn q1() -> Value {
    let document = format!("query ($id: ID!) {{ worker(id: $id) {{ {FIELDS} }} }}");
    json!({"query": document, "variables": {"id": Fleet::one()}})
}

/// All workers, all fields.
pub fn q2() -> Value {
    json!({"query": format!("{{ workers {{ {FIELDS} }} }}")})
}

/// All workers with their VMs.
pub fn q3() -> Value {
    json!({"query": format!("{{ workers {{ id zone status {VMS} }} }}")})
}

/// A question of no matter how few fields that is 2^30 of them once its fragments are written out.
pub fn bomb() -> Value {
    let levels: String = (0..30).map(|n| format!("fragment F{n} on Worker {{ ...F{0} ...F{0} }} ", n + 1)).collect();
    json!({"query": format!("{{ workers {{ ...F0 }} }} {levels} fragment F30 on Worker {{ id }}")})
}
