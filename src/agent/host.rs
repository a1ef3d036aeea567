//! The name, the capacity and the boot id of this host, read once at the start of the agent: memory that is plugged in
//! later shows after a restart. Which VMs run on it is read by [`inventory`](super::inventory).

use std::path::Path;
use std::time::Duration;

use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};
use tracing::warn;

use super::inventory::figure;
use super::inventory::processes::PROC;

/// How long listing the disks may take: a file system in user space may not answer at all.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// Below the process file system: a random id for each start of the machine.
const BOOT_ID: &str = "sys/kernel/random/boot_id";

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The capacity of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name, if it has one.
    pub(super) hostname: Option<String>,
    /// Logical cores of the machine, whatever this process itself is limited to.
    pub(super) cpu_cores: u32,
    /// Memory in MiB.
    pub(super) memory_mb: u32,
    /// Disk space of mounted file systems in GiB, as [`disk_bytes`] counts it.
    pub(super) disk_gb: u32,
    /// What the kernel calls this start of the machine, if it says so. In a container, that of the machine around it.
    pub(super) boot_id: Option<String>,
}

impl Host {
    /// Reads them, the boot id below `proc`. What cannot be read is zero (one for cores) and logged; the agent starts all the
    /// same.
    pub(super) async fn read(proc: &Path) -> Self {
        let wanted = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let (cores, memory) = match System::new_with_specifics(wanted) {
            Ok(system) => (system.cpus().len() as u64, system.total_memory()),
            Err(error) => {
                warn!(%error, "The size of this host cannot be read");
                (0, 0)
            }
        };
        let disk = match tokio::time::timeout(DISK_TIMEOUT, tokio::task::spawn_blocking(list_volumes)).await {
            Ok(Ok(volumes)) => disk_bytes(&volumes),
            Ok(Err(_)) | Err(_) => {
                warn!("The disks of this host do not answer, reporting none");
                0
            }
        };
        Self {
            hostname: name(),
            cpu_cores: figure(cores.max(1)),
            memory_mb: figure(memory / MIB),
            disk_gb: figure(disk / GIB),
            boot_id: boot_id(proc),
        }
    }
}

/// The name of this host, if it has one.
pub(super) fn name() -> Option<String> {
    System::host_name().ok().filter(|name| !name.is_empty())
}

/// What the kernel calls this start of the machine, as it says below `proc`, or, where a `proc` of processes alone was
/// mounted, below that of this process: the kernel is the same.
pub(super) fn boot_id(proc: &Path) -> Option<String> {
    // Does not block: the kernel answers this without other processes, also where parts of `/proc` are hidden.
    let read = |proc: &Path| std::fs::read_to_string(proc.join(BOOT_ID)).ok();
    let boot_id = read(proc).or_else(|| read(Path::new(PROC)))?;
    let boot_id = boot_id.trim();
    (!boot_id.is_empty()).then(|| boot_id.to_owned())
}

/// A mounted file system.
#[derive(Debug)]
struct Volume {
    device: String,
    is_root: bool,
    fixed: bool,
    bytes: u64,
}

fn list_volumes() -> Vec<Volume> {
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    disks
        .iter()
        .flatten()
        .map(|disk| Volume {
            device: disk.name().to_string_lossy().into_owned(),
            is_root: disk.mount_point() == "/",
            fixed: !disk.is_removable() && !disk.is_read_only(),
            bytes: disk.total_space(),
        })
        .collect()
}

/// The space of all mounted file systems on fixed disks together, each device once however often it is mounted.
///
/// Disks themselves are not counted: the members of a RAID, a volume group or a pool are listed beside it, so that the
/// sum would be more than there is. The space of a pool that is not mounted has to be set by the operator.
///
/// The result is at least the size of the root file system. On ZFS and in containers that is not on a device of its
/// own, and in containers it is on one of the devices: hence the larger of the two, and not their sum.
fn disk_bytes(volumes: &[Volume]) -> u64 {
    let mut devices: Vec<_> = volumes
        .iter()
        .filter(|volume| volume.fixed && volume.device.starts_with("/dev/") && !volume.device.starts_with("/dev/loop"))
        .map(|volume| (&volume.device, volume.bytes))
        .collect();
    devices.sort_unstable();
    devices.dedup_by_key(|(device, _)| *device);
    let on_devices = devices.iter().map(|(_, bytes)| bytes).sum();
    let on_root = volumes.iter().filter(|volume| volume.is_root).map(|volume| volume.bytes).max();
    on_root.unwrap_or(0).max(on_devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(device: &str, mount: &str, bytes: u64) -> Volume {
        Volume { device: device.to_owned(), is_root: mount == "/", fixed: true, bytes }
    }

    #[test]
    fn disk_space_is_that_of_all_fixed_devices_or_of_the_root() {
        let removable = Volume { fixed: false, ..volume("/dev/sdc1", "/media/stick", 64) };
        let cases = [
            ("one disk", vec![volume("/dev/vda", "/", 100)], 100),
            ("two disks", vec![volume("/dev/vda", "/", 100), volume("/dev/vdb", "/var/lib", 500)], 600),
            ("mounted twice", vec![volume("/dev/vda", "/", 100), volume("/dev/vda", "/home", 100)], 100),
            ("not for VMs", vec![volume("/dev/vda", "/", 100), removable, volume("/dev/loop3", "/mnt", 9)], 100),
            ("memory", vec![volume("/dev/vda", "/", 100), volume("tmpfs", "/tmp", 800)], 100),
            ("ZFS", vec![volume("rpool/root", "/", 900), volume("/dev/sda1", "/boot/efi", 1)], 900),
            ("container", vec![volume("overlay", "/", 100), volume("/dev/vda", "/etc/hosts", 100)], 100),
            ("nothing", vec![], 0),
        ];
        for (case, volumes, expected) in cases {
            assert_eq!(disk_bytes(&volumes), expected, "{case}");
        }
    }

    #[tokio::test]
    async fn this_host_has_a_size() {
        let host = Host::read(Path::new(PROC)).await;
        assert!(host.cpu_cores >= 1 && host.memory_mb > 0 && host.disk_gb > 0, "{host:?}");
    }
}
