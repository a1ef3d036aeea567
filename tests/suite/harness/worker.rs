//! Descriptions of workers and VMs for tests, which register and report through the public API as real ones do.

use std::time::Duration;

use serde_json::{Value, json};

use super::TestCluster;

/// A worker with 16 cores, 32 GiB and no VMs, which the methods change.
pub fn worker(id: &str) -> TestWorker {
    let registration = json!({
        "hostname": format!("{id}.example.com"), "address": "192.168.1.10:8081",
        "cpu_cores": 16, "memory_mb": 32768, "disk_gb": 500,
    });
    TestWorker { id: id.to_owned(), registration, beat: Some(json!({"vms": []})), silence: Duration::ZERO }
}

/// A worker that will join a cluster.
#[derive(Clone)]
pub struct TestWorker {
    id: String,
    registration: Value,
    beat: Option<Value>,
    silence: Duration,
}

impl TestWorker {
    /// Sets the zone.
    pub fn zone(self, zone: &str) -> Self {
        self.registers("zone", zone)
    }

    /// Sets the cores.
    pub fn cpu(self, cores: u32) -> Self {
        self.registers("cpu_cores", cores)
    }

    /// Sets the memory.
    pub fn memory_mb(self, memory: u32) -> Self {
        self.registers("memory_mb", memory)
    }

    /// Sets how many VMs it may hold.
    pub fn max_vms(self, vms: u32) -> Self {
        self.registers("max_vms", vms)
    }

    /// Sets a key of its registration.
    pub fn registers(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.registration[key] = value.into();
        self
    }

    /// Sets its VMs.
    pub fn vms(self, vms: impl IntoIterator<Item = TestVm>) -> Self {
        let vms: Vec<Value> = vms.into_iter().map(Into::into).collect();
        self.reports("vms", vms)
    }

    /// Sets a key of its heartbeat.
    pub fn reports(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.beat.get_or_insert_with(|| json!({}))[key] = value.into();
        self
    }

    /// Makes it send no heartbeat after its registration.
    pub fn without_heartbeat(mut self) -> Self {
        self.beat = None;
        self
    }

    /// Sets for how long it has been silent.
    pub fn silent_for(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The body of its registration.
    pub fn registration(&self) -> Value {
        self.registration.clone()
    }

    pub(super) fn silence(&self) -> Duration {
        self.silence
    }

    pub(super) async fn join(self, cluster: &TestCluster) {
        let Self { id, registration, beat, silence: _ } = self;
        let registered = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await;
        assert_eq!(registered.status, 201, "{}", registered.body);
        if let Some(mut beat) = beat {
            beat["incarnation"] = registered.json()["incarnation"].take();
            let beaten = cluster.beat(&id, beat).await;
            assert_eq!(beaten.status, 200, "{}", beaten.body);
        }
    }
}

/// A running VM with 2 CPUs and 2 GiB, which the methods change.
pub fn vm(id: &str) -> TestVm {
    TestVm(json!({"id": id, "name": id, "status": "running", "vcpus": 2, "memory_mb": 2048}))
}

/// A VM that a worker will report.
#[derive(Clone)]
pub struct TestVm(Value);

impl TestVm {
    /// Sets the name.
    pub fn name(self, name: &str) -> Self {
        self.says("name", name)
    }

    /// Sets the status.
    pub fn status(self, status: &str) -> Self {
        self.says("status", status)
    }

    /// Sets the size.
    pub fn size(self, vcpus: u32, memory_mb: u32) -> Self {
        self.says("vcpus", vcpus).says("memory_mb", memory_mb)
    }

    /// Sets a key of the report.
    pub fn says(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0[key] = value.into();
        self
    }
}

impl From<TestVm> for Value {
    fn from(TestVm(json): TestVm) -> Self {
        json
    }
}
