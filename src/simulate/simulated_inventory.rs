//! The VMs of one simulated worker: placing them, replacing them over time, and what a heartbeat reports of them.
//!
//! The inventory keeps what has changed since the last acknowledged heartbeat, not since the last one that was sent. If
//! a heartbeat or its answer is lost, the next one carries its changes, too; to apply a change twice does no harm. When
//! heartbeats are sent is decided by the worker.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::client::{Heartbeat, VmDelta, VmReport, VmStatus};

/// The sizes of VMs: vCPUs and MiB of memory. The first is the smallest, and is reserved for every free slot.
const SIZES: [(u32, u32); 6] = [(1, 512), (1, 1024), (2, 2048), (2, 2048), (2, 4096), (4, 4096)];

const ROLES: [&str; 5] = ["web", "api", "db", "cache", "build"];

/// Disk of every VM. Reports of VMs do not have it; only the total of the worker does.
const DISK_GB_PER_VM: u32 = 10;

/// The probability that a free slot is filled before the next heartbeat; below 1, so that numbers of VMs vary.
const REFILL_PROBABILITY: f64 = 0.5;

/// The probability that a VM that stops has failed.
const FAILURE_PROBABILITY: f64 = 0.05;

/// What a host has for VMs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) vcpus: u32,
    pub(super) memory_mb: u32,
}

/// What the VMs that hold a slot use of their host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SimulatedUsage {
    pub(super) vms: u32,
    pub(super) vcpus: u32,
    pub(super) memory_mb: u32,
    pub(super) disk_gb: u32,
}

/// How many VMs have started and stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChurnCounts {
    pub(super) started: u64,
    pub(super) stopped: u64,
}

#[derive(Clone, Debug)]
struct SimulatedVm {
    report: VmReport,
    /// Whether the server has not acknowledged it as it is now.
    changed: bool,
    /// Whether it runs on, whatever happens to the others.
    held_back: bool,
}

/// The VMs of one worker.
#[derive(Clone, Debug)]
pub(super) struct SimulatedInventory {
    worker: String,
    capacity: Capacity,
    /// How many VMs the worker holds when every slot is taken.
    wanted: u32,
    vms: Vec<SimulatedVm>,
    /// Number of the last VM; ids are never used again.
    last: u32,
    /// Ids of VMs that were removed, which the server has not acknowledged.
    gone: Vec<String>,
    /// Whether the next heartbeat has to carry the whole inventory: at the start of an incarnation, or because the
    /// server asked for it.
    whole: bool,
}

impl SimulatedInventory {
    /// Places `wanted` running VMs on an empty host.
    pub(super) fn filled(worker: &str, capacity: Capacity, wanted: u32, rng: &mut SmallRng) -> Self {
        let mut inventory = Self {
            worker: worker.to_owned(),
            capacity,
            wanted,
            vms: Vec::with_capacity(wanted as usize),
            last: 0,
            gone: Vec::new(),
            whole: true,
        };
        for _ in 0..wanted {
            inventory.place(VmStatus::Running, rng);
        }
        inventory
    }

    /// Holds back the first VM that runs, and says why with this note; without one, lets it go again.
    pub(super) fn hold_back(&mut self, note: Option<&str>) {
        let held = |vm: &&mut SimulatedVm| vm.held_back;
        match (note, self.vms.iter_mut().find(held)) {
            (Some(_), Some(_)) | (None, None) => {}
            (None, Some(vm)) => {
                (vm.held_back, vm.changed) = (false, true);
                vm.report.note = None;
            }
            (Some(note), None) => {
                if let Some(vm) = self.vms.iter_mut().find(|vm| vm.report.status == VmStatus::Running) {
                    (vm.held_back, vm.changed) = (true, true);
                    vm.report.note = Some(note.to_owned());
                }
            }
        }
    }

    /// Lets time pass: VMs that are starting or stopping take their next step, some running ones begin to stop, and
    /// free slots are filled if the worker takes new VMs.
    ///
    /// `percent_per_minute` of the running VMs begin to stop in a minute, and so more in a longer `elapsed` time.
    pub(super) fn churn(
        &mut self,
        percent_per_minute: f64,
        elapsed: Duration,
        takes_new: bool,
        rng: &mut SmallRng,
    ) -> ChurnCounts {
        let mut churned = ChurnCounts::default();
        let stopping = 1.0 - (-percent_per_minute / 100.0 * elapsed.as_secs_f64() / 60.0).exp();
        let vacancies = self.wanted.saturating_sub(self.count());

        let Self { vms, gone, .. } = self;
        vms.retain_mut(|vm| {
            let next = match vm.report.status {
                VmStatus::Created => VmStatus::Starting,
                VmStatus::Starting => {
                    churned.started += 1;
                    VmStatus::Running
                }
                VmStatus::Running if vm.held_back => return true,
                VmStatus::Running if stopping > 0.0 && rng.random_bool(stopping) => VmStatus::Stopping,
                VmStatus::Running => return true,
                VmStatus::Stopping => {
                    churned.stopped += 1;
                    if rng.random_bool(FAILURE_PROBABILITY) { VmStatus::Failed } else { VmStatus::Stopped }
                }
                VmStatus::Stopped | VmStatus::Failed => {
                    gone.push(std::mem::take(&mut vm.report.id));
                    return false;
                }
            };
            vm.report.status = next;
            vm.changed = true;
            true
        });

        if takes_new {
            for _ in 0..vacancies {
                if rng.random_bool(REFILL_PROBABILITY) {
                    self.place(VmStatus::Created, rng);
                }
            }
        }
        churned
    }

    /// Puts into a heartbeat what the server does not know yet, and what the VMs use of the host.
    pub(super) fn report(&self, heartbeat: &mut Heartbeat) {
        let used = self.used();
        heartbeat.used_cpu_cores = Some(used.vcpus);
        heartbeat.used_memory_mb = Some(used.memory_mb);
        heartbeat.used_disk_gb = Some(used.disk_gb);
        if self.whole {
            heartbeat.vms = Some(self.vms.iter().map(|vm| vm.report.clone()).collect());
            return;
        }
        let changed = self.vms.iter().filter(|vm| vm.changed);
        let delta = VmDelta { upsert: changed.map(|vm| vm.report.clone()).collect(), remove: self.gone.clone() };
        heartbeat.vms_delta = (!delta.upsert.is_empty() || !delta.remove.is_empty()).then_some(delta);
    }

    /// The server has accepted what [`Self::report`] reported last.
    pub(super) fn acknowledged(&mut self) {
        self.whole = false;
        self.gone.clear();
        for vm in &mut self.vms {
            vm.changed = false;
        }
    }

    /// The next heartbeat has to carry the whole inventory.
    pub(super) fn owe_full_report(&mut self) {
        self.whole = true;
    }

    /// Sums up the VMs that hold a slot.
    pub(super) fn used(&self) -> SimulatedUsage {
        let mut used = SimulatedUsage::default();
        for SimulatedVm { report, .. } in &self.vms {
            if report.status.holds_slot() {
                used.vms += 1;
                used.vcpus += report.vcpus;
                used.memory_mb += report.memory_mb;
                used.disk_gb += DISK_GB_PER_VM;
            }
        }
        used
    }

    /// The number of all VMs, whether they hold a slot or not. A stopped VM is replaced only when it is removed, so
    /// that a worker never reports more VMs than `wanted`.
    fn count(&self) -> u32 {
        u32::try_from(self.vms.len()).unwrap_or(u32::MAX)
    }

    /// Places one more VM of a random size, cut to what is left when every other free slot has the smallest size
    /// reserved: so there is room for every VM, in whatever order they start and stop.
    fn place(&mut self, status: VmStatus, rng: &mut SmallRng) {
        let (least_vcpus, least_memory) = SIZES[0];
        let used = self.used();
        let others = self.wanted.saturating_sub(used.vms + 1);
        let spare = |capacity: u32, used: u32, least: u32| capacity.saturating_sub(used + others * least).max(least);
        let (vcpus, memory_mb) = *SIZES.choose(rng).unwrap_or(&SIZES[0]);
        let role = ROLES.choose(rng).unwrap_or(&ROLES[0]);
        self.last += 1;
        self.vms.push(SimulatedVm {
            report: VmReport {
                id: format!("{}-vm-{}", self.worker, self.last),
                name: format!("{role}-{}", self.last),
                status,
                vcpus: vcpus.min(spare(self.capacity.vcpus, used.vcpus, least_vcpus)),
                memory_mb: memory_mb.min(spare(self.capacity.memory_mb, used.memory_mb, least_memory)),
                note: None,
                reservation_id: None,
            },
            changed: true,
            held_back: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;

    use super::*;

    const TIGHT: Capacity = Capacity { vcpus: 20, memory_mb: 16 * 1024 };

    /// What a server makes of heartbeats.
    #[derive(Default)]
    struct Known(BTreeMap<String, VmReport>);

    impl Known {
        fn apply(&mut self, heartbeat: Heartbeat) {
            if let Some(vms) = heartbeat.vms {
                self.0 = vms.into_iter().map(|vm| (vm.id.clone(), vm)).collect();
            }
            let VmDelta { upsert, remove } = heartbeat.vms_delta.unwrap_or_default();
            self.0.extend(upsert.into_iter().map(|vm| (vm.id.clone(), vm)));
            for id in remove {
                self.0.remove(&id);
            }
        }
    }

    fn present(inventory: &SimulatedInventory) -> BTreeMap<String, VmReport> {
        let reports = inventory.vms.iter().map(|vm| vm.report.clone());
        reports.map(|vm| (vm.id.clone(), vm)).collect()
    }

    fn heartbeat(inventory: &SimulatedInventory) -> Heartbeat {
        let mut heartbeat = Heartbeat::default();
        inventory.report(&mut heartbeat);
        heartbeat
    }

    #[test]
    fn what_the_heartbeats_told_is_what_the_worker_holds_even_if_some_are_lost() {
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut inventory = SimulatedInventory::filled("w", TIGHT, 16, &mut rng);
            let mut known = Known::default();
            for round in 0..200 {
                inventory.churn(100.0, Duration::from_secs(10), true, &mut rng);
                let heartbeat = heartbeat(&inventory);
                assert!(heartbeat.vms.is_none() || heartbeat.vms_delta.is_none());
                match rng.random_range(0..4) {
                    0 => {}                      // Lost on its way.
                    1 => known.apply(heartbeat), // The answer was lost.
                    _ => {
                        known.apply(heartbeat);
                        inventory.acknowledged();
                        assert_eq!(known.0, present(&inventory), "seed {seed}, round {round}");
                    }
                }
            }
        }
    }

    #[test]
    fn churn_never_outgrows_the_host() {
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut inventory = SimulatedInventory::filled("w", TIGHT, 20, &mut rng);
            let mut total = ChurnCounts::default();
            for _ in 0..500 {
                let ChurnCounts { started, stopped } = inventory.churn(200.0, Duration::from_secs(10), true, &mut rng);
                total.started += started;
                total.stopped += stopped;
                let used = inventory.used();
                assert!(used.vcpus <= TIGHT.vcpus, "{used:?}, seed {seed}");
                assert!(used.memory_mb <= TIGHT.memory_mb, "{used:?}, seed {seed}");
                assert!(inventory.count() <= 20, "seed {seed}");
            }
            assert!(total.started > 0 && total.stopped > 0, "seed {seed}");
        }
    }

    #[test]
    fn the_rate_of_churn_does_not_depend_on_how_often_a_worker_sends_heartbeats() {
        for heartbeats_per_minute in [1, 6, 60, 600] {
            let mut rng = SmallRng::seed_from_u64(3);
            let capacity = Capacity { vcpus: 10_000, memory_mb: 10_000 * 4096 };
            let mut inventory = SimulatedInventory::filled("w", capacity, 4_000, &mut rng);
            let elapsed = Duration::from_secs(60) / heartbeats_per_minute;
            for _ in 0..heartbeats_per_minute {
                inventory.churn(5.0, elapsed, false, &mut rng);
            }
            let touched = inventory.vms.iter().filter(|vm| vm.report.status != VmStatus::Running);
            let told_to_stop = touched.count() + inventory.gone.len();
            assert!((150..250).contains(&told_to_stop), "{told_to_stop} at {heartbeats_per_minute}");
        }
    }

    #[test]
    fn without_churn_a_heartbeat_tells_of_no_vms_until_asked() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut inventory = SimulatedInventory::filled("w", TIGHT, 3, &mut rng);
        assert_eq!(heartbeat(&inventory).vms.map(|vms| vms.len()), Some(3));
        inventory.acknowledged();

        inventory.churn(0.0, Duration::from_secs(3600), true, &mut rng);
        let quiet = heartbeat(&inventory);
        assert_eq!((quiet.vms, quiet.vms_delta), (None, None));

        inventory.owe_full_report();
        assert_eq!(heartbeat(&inventory).vms.map(|vms| vms.len()), Some(3));
    }

    #[test]
    fn a_vm_that_is_held_back_says_why_and_stays_until_it_is_let_go() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut inventory = SimulatedInventory::filled("w", TIGHT, 4, &mut rng);
        let an_hour = Duration::from_secs(3600);
        for _ in 0..20 {
            inventory.hold_back(Some("local disk"));
            inventory.churn(1000.0, an_hour, false, &mut rng);
        }
        let left: Vec<_> = present(&inventory).into_values().map(|vm| (vm.status, vm.note)).collect();
        assert_eq!(left, [(VmStatus::Running, Some("local disk".to_owned()))]);
        inventory.acknowledged();

        inventory.hold_back(None);
        let told = heartbeat(&inventory).vms_delta.unwrap().upsert;
        assert_eq!(told.into_iter().map(|vm| vm.note).collect::<Vec<_>>(), [None]);
        for _ in 0..20 {
            inventory.churn(1000.0, an_hour, false, &mut rng);
        }
        assert_eq!(inventory.used(), SimulatedUsage::default());
    }

    #[test]
    fn a_draining_worker_empties_and_fills_again_when_activated() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut inventory = SimulatedInventory::filled("w", TIGHT, 8, &mut rng);
        let an_hour = Duration::from_secs(3600);
        for _ in 0..20 {
            inventory.churn(1000.0, an_hour, false, &mut rng);
        }
        assert_eq!(inventory.used(), SimulatedUsage::default());
        for _ in 0..20 {
            inventory.churn(0.0, an_hour, true, &mut rng);
        }
        assert_eq!(inventory.used().vms, 8);
    }
}
