//! Workers with VMs, brought in over the API as agents and gateways would.

use aetherium::client::{Client, Heartbeat, Registration, VmReport, VmStatus};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

/// Registrations under way at once.
const AT_ONCE: usize = 64;

/// Workers whose inventories go in one body.
const IN_ONE_BODY: usize = 50;

/// Workers, spread over ten zones, with as many VMs each.
#[derive(Clone, Copy)]
pub struct Fleet {
    /// How many workers.
    pub workers: usize,
    /// How many VMs each of them holds.
    pub vms: usize,
}

impl Fleet {
    /// What lists are measured with.
    pub const A: Self = Self { workers: 1_000, vms: 20 };
    /// What starts and memory are measured with.
    pub const B: Self = Self { workers: 10_000, vms: 20 };

    /// The worker of this number.
    pub fn id(worker: usize) -> String {
        format!("worker-{worker:05}")
    }

    /// The worker that is asked for where it is one.
    pub fn one() -> String {
        Self::id(500)
    }

    /// Registers all of it, with its inventories, in the order of the ids as far as that can be.
    pub async fn join(self, client: &Client) {
        let registered = stream::iter(0..self.workers).map(async |worker| {
            client.register(&Self::id(worker), &registration(worker)).await.unwrap();
        });
        registered.buffered(AT_ONCE).collect::<()>().await;
        let workers: Vec<usize> = (0..self.workers).collect();
        for some in workers.chunks(IN_ONE_BODY) {
            let beats: Vec<_> = some.iter().map(|&worker| (Self::id(worker), self.inventory(worker))).collect();
            let beats: Vec<_> = beats.iter().map(|(id, beat)| (id.as_str(), beat)).collect();
            for answer in client.heartbeats(&beats).await.unwrap() {
                answer.unwrap();
            }
        }
    }

    /// A worker's first heartbeat.
    pub fn inventory(self, worker: usize) -> Heartbeat {
        let vm = |vm: usize| VmReport {
            id: format!("vm-{worker:05}-{vm:02}"),
            name: format!("dev-vm-{vm}"),
            status: VmStatus::Running,
            vcpus: 1 + u32::try_from(vm % 2).unwrap(),
            memory_mb: 1_024,
            note: None,
            reservation_id: None,
        };
        Heartbeat { incarnation: 1, sequence: 1, vms: Some((0..self.vms).map(vm).collect()), ..Heartbeat::default() }
    }
}

/// What the worker of this number is.
pub fn registration(worker: usize) -> Registration {
    let labels = [("env", "production"), ("tier", "compute")];
    Registration {
        hostname: format!("node{worker}.example.com"),
        address: format!("10.{}.{}.{}:8081", worker / 62_500, worker / 250 % 250, worker % 250),
        zone: format!("us-west-{}", worker % 10),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        capabilities: vec!["docker".into(), "firecracker".into()],
        cpu_cores: 64,
        memory_mb: 262_144,
        disk_gb: 500,
        max_vms: 100,
        boot_id: "bench".into(),
        ..Registration::default()
    }
}

/// What the worker of this number says from then on; no two variants are the same. Without a number of its own, so that it
/// counts however often it is sent.
pub fn beat(worker: usize, variant: usize) -> Value {
    let used = 10 + (worker + variant) % 40;
    json!({"incarnation": 1, "used_cpu_cores": used, "used_memory_mb": used * 1_024, "used_disk_gb": used * 4})
}
