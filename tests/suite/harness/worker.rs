//! Workers and VMs as a test describes them; they come in through the public API like real ones.

use std::time::Duration;

use serde_json::{Value, json};

use super::TestCluster;

/// A worker with 16 cores, 32 GiB and no VMs, unless told otherwise.
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
    /// In this zone.
    pub fn zone(self, zone: &str) -> Self {
        self.registers("zone", zone)
    }

    /// With so many cores.
    pub fn cpu(self, cores: u32) -> Self {
        self.registers("cpu_cores", cores)
    }

    /// With so much memory.
    pub fn memory_mb(self, memory: u32) -> Self {
        self.registers("memory_mb", memory)
    }

    /// With room for so many VMs.
    pub fn max_vms(self, vms: u32) -> Self {
        self.registers("max_vms", vms)
    }

    /// Says this when it registers.
    pub fn registers(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.registration[key] = value.into();
        self
    }

    /// With these VMs.
    pub fn vms(self, vms: impl IntoIterator<Item = TestVm>) -> Self {
        let vms: Vec<Value> = vms.into_iter().map(Into::into).collect();
        self.reports("vms", vms)
    }

    /// Says this in its heartbeat.
    pub fn reports(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.beat.get_or_insert_with(|| json!({}))[key] = value.into();
        self
    }

    /// Registers, and is not heard from after that.
    pub fn without_heartbeat(mut self) -> Self {
        self.beat = None;
        self
    }

    /// Was last heard from that long ago.
    pub fn silent_for(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// What it says when it registers.
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

/// A running VM with 2 CPUs and 2 GiB, unless told otherwise.
pub fn vm(id: &str) -> TestVm {
    TestVm(json!({"id": id, "name": id, "status": "running", "vcpus": 2, "memory_mb": 2048}))
}

/// A VM that a worker will report.
#[derive(Clone)]
pub struct TestVm(Value);

impl TestVm {
    /// With this name.
    pub fn name(self, name: &str) -> Self {
        self.says("name", name)
    }

    /// In this status.
    pub fn status(self, status: &str) -> Self {
        self.says("status", status)
    }

    /// Of this size.
    pub fn size(self, vcpus: u32, memory_mb: u32) -> Self {
        self.says("vcpus", vcpus).says("memory_mb", memory_mb)
    }

    fn says(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0[key] = value.into();
        self
    }
}

impl From<TestVm> for Value {
    fn from(TestVm(json): TestVm) -> Self {
        json
    }
}
