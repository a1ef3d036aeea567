//! Cloud Hypervisor: `cloud-hypervisor --api-socket /run/web.sock --kernel vmlinux --cpus boot=4 --memory size=1G …`.
//!
//! A VM that is created through the API socket has threads for its virtual CPUs once it has started; its memory is not
//! visible. What is hot-plugged over the socket is not visible, either.

use std::path::Path;

use super::arguments::{CommandLine, Unit, count, pairs, size_mib};
use super::guest::{Guest, GuestStart, ProcessView, uuid};

/// Cloud Hypervisor's own default.
const DEFAULT_VCPUS: u64 = 1;

/// Cloud Hypervisor's own default.
const DEFAULT_MEMORY_MIB: u64 = 512;

/// The names of threads of virtual CPUs begin with this, and end with a number.
const VCPU_THREAD: &str = "vcpu";

/// One of these arguments is there if the arguments describe the VM, and it is not created through the socket later.
const PAYLOADS: [&str; 3] = ["kernel", "firmware", "igvm"];

/// The VM that a Cloud Hypervisor process runs. It has no name, so that of its socket is used.
pub(super) fn guest(command: &CommandLine, process: &impl ProcessView) -> Guest {
    let socket = command.pairs("api-socket", "path").remove("path");
    let name = socket.as_deref().and_then(|path| Path::new(path).file_stem()?.to_str());
    let described = Guest {
        uuid: command.pairs("platform", "").get("uuid").and_then(|text| uuid(text)),
        name: name.map(str::to_owned),
        vcpus: command.value("cpus").and_then(|cpus| pairs(cpus, "boot").get("boot").and_then(|boot| count(boot))),
        memory_mib: memory_mib(command),
        start: GuestStart::WithProcess,
    };
    if PAYLOADS.into_iter().any(|payload| command.has(payload)) {
        let vcpus = if command.has("cpus") { described.vcpus } else { Some(DEFAULT_VCPUS) };
        let sized = command.has("memory") || command.has("memory-zone");
        let memory_mib = if sized { described.memory_mib } else { Some(DEFAULT_MEMORY_MIB) };
        return Guest { vcpus, memory_mib, ..described };
    }
    let threads = process.threads();
    let is_vcpu = |name: &str| name.strip_prefix(VCPU_THREAD).is_some_and(|number| number.parse::<u32>().is_ok());
    let vcpus = threads.map(|threads| threads.iter().filter(|thread| is_vcpu(&thread.name)).count());
    let start = if vcpus == Some(0) { GuestStart::NotStarted } else { GuestStart::WithProcess };
    let vcpus = described.vcpus.or(vcpus.filter(|count| *count > 0).map(|count| count as u64));
    Guest { vcpus, start, ..described }
}

/// The memory, with what is hot-plugged from the start, and with the memory zones.
fn memory_mib(command: &CommandLine) -> Option<u64> {
    let of = |text: &str, implied: &str| {
        let pairs = pairs(text, implied);
        let size = size_mib(pairs.get("size")?, Unit::Byte)?;
        let hotplugged = match pairs.get("hotplugged_size") {
            Some(size) => size_mib(size, Unit::Byte)?,
            None => 0,
        };
        Some(size.saturating_add(hotplugged))
    };
    let main = match command.value("memory") {
        Some(memory) => of(memory, "size")?,
        None => 0,
    };
    let zones = command.lists("memory-zone").map(|zone| of(zone, "id")).sum::<Option<u64>>()?;
    Some(main.saturating_add(zones)).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::super::arguments::command_line;
    use super::super::guest::FakeProcess;
    use super::*;

    #[test]
    fn a_vm_is_read_from_the_arguments() {
        for (words, name, vcpus, memory_mib) in [
            (
                "--kernel k --api-socket /run/web.sock --cpus boot=4 --memory size=1024M",
                Some("web"),
                Some(4),
                Some(1024),
            ),
            ("--kernel k --api-socket path=/run/web.sock --cpus boot=4,max=8", Some("web"), Some(4), Some(512)),
            (
                "--firmware f --api-socket=/run/web.sock --memory=size=2G,hotplug_size=4G",
                Some("web"),
                Some(1),
                Some(2048),
            ),
            ("--kernel k --memory size=1G,hotplug_size=4G,hotplugged_size=512M", None, Some(1), Some(1536)),
            ("--kernel k --memory size=1073741824", None, Some(1), Some(1024)),
            (
                "--kernel k --memory size=0 --memory-zone id=a,size=1G --memory-zone id=b,size=512M",
                None,
                Some(1),
                Some(1536),
            ),
            (
                "--kernel k --memory size=0 --memory-zone id=a,size=1G id=b,size=512M --cpus boot=2",
                None,
                Some(2),
                Some(1536),
            ),
            (
                "--kernel k --memory size=0 --memory-zone id=a,size=1G,hotplug_size=2G,hotplugged_size=1G id=b,size=1G",
                None,
                Some(1),
                Some(3072),
            ),
            ("--kernel k --api-socket fd=3", None, Some(1), Some(512)),
            ("--kernel k --cpus boot=none --memory size=big", None, None, None),
            ("--kernel k", None, Some(1), Some(512)),
            ("--api-socket /run/web.sock", Some("web"), None, None),
            ("--restore source_url=file:///snapshot", None, None, None),
        ] {
            let expected = Guest { name: name.map(str::to_owned), vcpus, memory_mib, ..Guest::default() };
            assert_eq!(guest(&command_line(words), &FakeProcess::default()), expected, "{words}");
        }
    }

    #[test]
    fn a_vm_made_through_the_api_shows_by_its_threads() {
        for (threads, vcpus, start) in [
            (vec!["cloud-hyperviso", "vmm", "vcpu0", "vcpu1", "vcpu_x"], Some(2), GuestStart::WithProcess),
            (vec!["cloud-hyperviso", "vmm"], None, GuestStart::NotStarted),
        ] {
            let seen = FakeProcess { threads: Some(threads), ..FakeProcess::default() };
            let found = guest(&command_line("--api-socket /run/web.sock"), &seen);
            assert_eq!((found.vcpus, found.memory_mib, found.start), (vcpus, None, start));
        }
    }

    #[test]
    fn the_platforms_uuid_is_the_vms() {
        let words = "--kernel k --platform num_pci_segments=2,uuid=6F0E0000-0000-4000-8000-00000000000A";
        let found = guest(&command_line(words), &FakeProcess::default());
        assert_eq!(found.uuid.as_deref(), Some("6f0e0000-0000-4000-8000-00000000000a"));
    }
}
