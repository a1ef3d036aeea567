//! The figures of which there are curves. The numbers are in stored rows: none is given to another figure.

/// A figure of a worker, a zone or the cluster that has a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Figure {
    /// CPU cores.
    CpuCores = 0,
    /// Memory, in MiB.
    MemoryMb = 1,
    /// Disk, in GB.
    DiskGb = 2,
    /// How many VMs there may be.
    MaxVms = 3,
    /// CPU cores allocated to VMs.
    UsedCpuCores = 4,
    /// Memory allocated to VMs, in MiB.
    UsedMemoryMb = 5,
    /// Disk allocated to VMs, in GB.
    UsedDiskGb = 6,
    /// VMs that hold a slot.
    VmCount = 7,
    /// CPU cores that were busy, as the host measured it.
    MeasuredCpuCores = 8,
    /// Memory in use, in MiB, as the host measured it.
    MeasuredMemoryMb = 9,
    /// Load average of one minute, as the host measured it.
    MeasuredLoad1 = 10,
    /// Registered workers of a zone or the cluster.
    Workers = 11,
    /// Those of them that are online.
    OnlineWorkers = 12,
    /// Those of them whose measured load is known.
    MeasuredWorkers = 13,
}

impl Figure {
    /// All figures, by their numbers.
    pub const ALL: [Self; 14] = [
        Self::CpuCores,
        Self::MemoryMb,
        Self::DiskGb,
        Self::MaxVms,
        Self::UsedCpuCores,
        Self::UsedMemoryMb,
        Self::UsedDiskGb,
        Self::VmCount,
        Self::MeasuredCpuCores,
        Self::MeasuredMemoryMb,
        Self::MeasuredLoad1,
        Self::Workers,
        Self::OnlineWorkers,
        Self::MeasuredWorkers,
    ];

    /// How many there are.
    pub(super) const COUNT: usize = Self::ALL.len();

    /// Those that are of the workers whose load is known, and go together.
    pub(super) const MEASURED: [Self; 4] =
        [Self::MeasuredCpuCores, Self::MeasuredMemoryMb, Self::MeasuredLoad1, Self::MeasuredWorkers];

    /// Its place in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its name, as REST has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuCores => "cpu_cores",
            Self::MemoryMb => "memory_mb",
            Self::DiskGb => "disk_gb",
            Self::MaxVms => "max_vms",
            Self::UsedCpuCores => "used_cpu_cores",
            Self::UsedMemoryMb => "used_memory_mb",
            Self::UsedDiskGb => "used_disk_gb",
            Self::VmCount => "vm_count",
            Self::MeasuredCpuCores => "measured_cpu_cores",
            Self::MeasuredMemoryMb => "measured_memory_mb",
            Self::MeasuredLoad1 => "measured_load1",
            Self::Workers => "workers",
            Self::OnlineWorkers => "online_workers",
            Self::MeasuredWorkers => "measured_workers",
        }
    }

    /// In how many parts of one it is stored: stored numbers are whole.
    pub fn parts(self) -> i64 {
        match self {
            Self::MeasuredCpuCores | Self::MeasuredLoad1 => 1_000,
            Self::CpuCores
            | Self::MemoryMb
            | Self::DiskGb
            | Self::MaxVms
            | Self::UsedCpuCores
            | Self::UsedMemoryMb
            | Self::UsedDiskGb
            | Self::VmCount
            | Self::MeasuredMemoryMb
            | Self::Workers
            | Self::OnlineWorkers
            | Self::MeasuredWorkers => 1,
        }
    }
}

/// Some of the figures: those whose curves are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Figures(u16);

impl Figures {
    /// All of them.
    pub const ALL: Self = Self((1 << Figure::COUNT) - 1);

    /// Whether a figure is one of them.
    pub fn contains(self, figure: Figure) -> bool {
        self.0 & (1 << figure.index()) != 0
    }

    /// How many they are.
    pub fn count(self) -> u64 {
        self.0.count_ones().into()
    }
}

impl FromIterator<Figure> for Figures {
    fn from_iter<T: IntoIterator<Item = Figure>>(figures: T) -> Self {
        Self(figures.into_iter().fold(0, |bits, figure| bits | 1 << figure.index()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_at_its_place() {
        assert!(Figure::ALL.iter().enumerate().all(|(place, figure)| figure.index() == place));
        assert_eq!(Figure::ALL.into_iter().collect::<Figures>(), Figures::ALL);
    }

    #[test]
    fn figures_are_those_that_were_named() {
        let figures: Figures = [Figure::CpuCores, Figure::MeasuredWorkers].into_iter().collect();
        let contained: Vec<_> = Figure::ALL.into_iter().filter(|figure| figures.contains(*figure)).collect();
        assert_eq!(contained, [Figure::CpuCores, Figure::MeasuredWorkers]);
        assert_eq!(figures.count(), 2);
    }
}
