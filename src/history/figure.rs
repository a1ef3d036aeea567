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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_at_its_place() {
        assert!(Figure::ALL.iter().enumerate().all(|(place, figure)| figure.index() == place));
    }
}
