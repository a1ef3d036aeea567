//! What is free on a worker: what it has, less what its VMs use and less what is reserved on it.
//!
//! Which worker a VM is placed on is decided in [`placement`](super::placement); how reservations come and go, in
//! [`reservation`](super::reservation).

use super::vm::Vm;

/// How large a VM is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmSize {
    /// Virtual CPUs; each takes a CPU core.
    pub vcpus: u32,
    /// Memory, in MiB.
    pub memory_mb: u32,
    /// Disk, in GB.
    pub disk_gb: u32,
}

impl VmSize {
    /// The size of a VM that is there. Its disk is not reported, and its CPUs and memory are 0 if its worker cannot know
    /// them.
    pub fn of(vm: &Vm) -> Self {
        Self { vcpus: vm.vcpus, memory_mb: vm.memory_mb, disk_gb: 0 }
    }
}

/// What is held on a worker for VMs that are not there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reserved {
    /// CPU cores.
    pub cpu_cores: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Disk, in GB.
    pub disk_gb: u64,
    /// VM slots.
    pub vm_slots: u64,
}

impl Reserved {
    /// Adds one VM of this size.
    pub fn add(&mut self, size: VmSize) {
        self.cpu_cores += u64::from(size.vcpus);
        self.memory_mb += u64::from(size.memory_mb);
        self.disk_gb += u64::from(size.disk_gb);
        self.vm_slots += 1;
    }

    /// Takes one VM of this size away.
    pub fn subtract(&mut self, size: VmSize) {
        let mut one = Self::default();
        one.add(size);
        *self = self.less(&one);
    }

    /// What is left without another part of it.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        Self {
            cpu_cores: self.cpu_cores.saturating_sub(other.cpu_cores),
            memory_mb: self.memory_mb.saturating_sub(other.memory_mb),
            disk_gb: self.disk_gb.saturating_sub(other.disk_gb),
            vm_slots: self.vm_slots.saturating_sub(other.vm_slots),
        }
    }
}

/// What is free on a worker. Nothing is ever below 0: a worker that is overcommitted has nothing free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FreeCapacity {
    /// CPU cores.
    pub cpu_cores: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Disk, in GB.
    pub disk_gb: u64,
    /// VM slots.
    pub vm_slots: u64,
}

impl FreeCapacity {
    /// How many VMs of this size it holds.
    pub fn count(&self, size: VmSize) -> u64 {
        // Of what a VM does not need, there is enough for any number.
        let of = |free: u64, needed: u32| free.checked_div(needed.into()).unwrap_or(u64::MAX);
        let cpu_cores = of(self.cpu_cores, size.vcpus);
        let memory = of(self.memory_mb, size.memory_mb);
        let disk = of(self.disk_gb, size.disk_gb);
        self.vm_slots.min(cpu_cores).min(memory).min(disk)
    }

    /// Takes the room of one VM.
    pub(super) fn take(&mut self, size: VmSize) {
        self.cpu_cores = self.cpu_cores.saturating_sub(size.vcpus.into());
        self.memory_mb = self.memory_mb.saturating_sub(size.memory_mb.into());
        self.disk_gb = self.disk_gb.saturating_sub(size.disk_gb.into());
        self.vm_slots = self.vm_slots.saturating_sub(1);
    }

    /// Gives back what was taken for a VM of the size `taken`, beyond what it needs.
    pub(super) fn give_back(&mut self, taken: VmSize, needed: VmSize) {
        self.cpu_cores += u64::from(taken.vcpus.saturating_sub(needed.vcpus));
        self.memory_mb += u64::from(taken.memory_mb.saturating_sub(needed.memory_mb));
        self.disk_gb += u64::from(taken.disk_gb.saturating_sub(needed.disk_gb));
    }
}
