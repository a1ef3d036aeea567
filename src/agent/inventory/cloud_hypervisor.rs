//! Cloud Hypervisor: `cloud-hypervisor --api-socket /run/web.sock --cpus boot=4 --memory size=1024M …`.
//!
//! A VM that is created through the API socket has no size in the arguments, and shows with Cloud Hypervisor's own
//! defaults.

use std::path::Path;

use super::arguments::{CommandLine, Unit, count, pairs, size_mib};
use super::{figure, usable_id};
use crate::client::{VmReport, VmStatus};

/// Cloud Hypervisor's own default.
const DEFAULT_VCPUS: u64 = 1;

/// Cloud Hypervisor's own default.
const DEFAULT_MEMORY_MIB: u64 = 512;

/// The VM a Cloud Hypervisor process runs. It has no name of its own, so it goes by that of its socket.
pub(super) fn vm(process: &CommandLine) -> VmReport {
    let socket = process.pairs("api-socket", "path").remove("path");
    let id = socket
        .as_deref()
        .and_then(|path| usable_id(Path::new(path).file_stem()?.to_str()?))
        .unwrap_or_else(|| format!("cloud-hypervisor-{}", process.pid));
    let vcpus = process.pairs("cpus", "boot").get("boot").and_then(|boot| count(boot));
    VmReport {
        name: id.clone(),
        id,
        status: VmStatus::Running,
        vcpus: figure(vcpus.unwrap_or(DEFAULT_VCPUS)),
        memory_mb: figure(memory_mib(process).unwrap_or(DEFAULT_MEMORY_MIB)),
    }
}

/// The memory, and that of the zones that stand in for it when its size is 0.
fn memory_mib(process: &CommandLine) -> Option<u64> {
    let size = |pairs: std::collections::BTreeMap<String, String>| size_mib(pairs.get("size")?, Unit::Byte);
    size(process.pairs("memory", "size")).or_else(|| {
        let zones = process.values("memory-zone").filter_map(|zone| size(pairs(zone, "id")));
        zones.reduce(u64::saturating_add)
    })
}

#[cfg(test)]
mod tests {
    use super::super::arguments::command_line;
    use super::*;

    #[test]
    fn a_vm_is_read_from_the_arguments() {
        for (words, id, vcpus, memory_mb) in [
            ("--api-socket /run/web.sock --cpus boot=4 --memory size=1024M", "web", 4, 1024),
            ("--api-socket path=/run/web.sock --cpus boot=4,max=8", "web", 4, 512),
            ("--api-socket=/run/web.sock --memory=size=2G,hotplug_size=4G", "web", 1, 2048),
            ("--memory size=1073741824", "cloud-hypervisor-7", 1, 1024),
            ("--memory size=0 --memory-zone id=a,size=1G --memory-zone id=b,size=512M", "cloud-hypervisor-7", 1, 1536),
            ("--api-socket fd=3", "cloud-hypervisor-7", 1, 512),
            ("--cpus boot=none --memory size=big", "cloud-hypervisor-7", 1, 512),
            ("", "cloud-hypervisor-7", 1, 512),
        ] {
            let expected =
                VmReport { id: id.to_owned(), name: id.to_owned(), status: VmStatus::Running, vcpus, memory_mb };
            assert_eq!(vm(&command_line(7, words)), expected, "{words}");
        }
    }
}
