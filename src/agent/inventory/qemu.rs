//! QEMU: `qemu-system-x86_64 -name guest=web,debug-threads=on -uuid … -smp 4 -m 2G …`.
//!
//! What is plugged in later over QMP does not show in the arguments and is not seen.

use std::collections::BTreeMap;

use super::arguments::{CommandLine, Unit, count, size_mib};
use super::{figure, usable_id, usable_name};
use crate::client::{VmReport, VmStatus};

/// QEMU's own default when `-smp` is not given.
const DEFAULT_VCPUS: u64 = 1;

/// QEMU's own default when `-m` is not given.
const DEFAULT_MEMORY_MIB: u64 = 128;

/// The levels of a CPU topology; a level that is not given has one of its kind.
const TOPOLOGY: [&str; 8] = ["drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads"];

/// The VM a QEMU process runs, or none: libvirt starts QEMU without a machine to ask it what it can do.
pub(super) fn vm(process: &CommandLine) -> Option<VmReport> {
    let machine = ["machine", "M"].into_iter().find_map(|option| process.pairs(option, "type").remove("type"));
    if machine.as_deref() == Some("none") {
        return None;
    }
    let anonymous = || format!("qemu-{}", process.pid);
    let name = process.pairs("name", "guest").remove("guest");
    let name = name.as_deref().and_then(usable_name);
    let id =
        process.value("uuid").and_then(usable_id).or_else(|| usable_id(name.as_deref()?)).unwrap_or_else(anonymous);
    let memory = process.pairs("m", "size");
    let memory = memory.get("size").and_then(|size| size_mib(size, Unit::Mib));
    Some(VmReport {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        status: VmStatus::Running,
        vcpus: figure(vcpus(&process.pairs("smp", "cpus"))),
        memory_mb: figure(memory.unwrap_or(DEFAULT_MEMORY_MIB)),
    })
}

/// As QEMU counts: the CPUs said, else all that could ever be plugged in, else the product of the topology.
fn vcpus(smp: &BTreeMap<String, String>) -> u64 {
    let given = |key: &str| smp.get(key).and_then(|text| count(text));
    given("cpus")
        .or_else(|| given("maxcpus"))
        .unwrap_or_else(|| TOPOLOGY.into_iter().filter_map(given).fold(DEFAULT_VCPUS, u64::saturating_mul))
}

#[cfg(test)]
mod tests {
    use super::super::arguments::command_line;
    use super::*;

    #[test]
    fn a_vm_is_read_from_the_arguments() {
        for (words, id, name, vcpus, memory_mb) in [
            ("", "qemu-7", "qemu-7", 1, 128),
            ("-name web", "web", "web", 1, 128),
            ("-name guest=web,debug-threads=on -uuid 6f0e-1 -smp 4 -m 2048", "6f0e-1", "web", 4, 2048),
            ("--name web,process=qemu:web --smp 4,sockets=1 --m 2G", "web", "web", 4, 2048),
            ("-uuid 6f0e-1", "6f0e-1", "6f0e-1", 1, 128),
            ("-name a/b", "a-b", "a/b", 1, 128),
            ("-smp cpus=2,maxcpus=8,sockets=8", "qemu-7", "qemu-7", 2, 128),
            ("-smp sockets=2,cores=4,threads=2", "qemu-7", "qemu-7", 16, 128),
            ("-smp maxcpus=8,sockets=2", "qemu-7", "qemu-7", 8, 128),
            ("-smp 2 -smp sockets=1", "qemu-7", "qemu-7", 2, 128),
            ("-smp 0", "qemu-7", "qemu-7", 1, 128),
            ("-smp many -m lots", "qemu-7", "qemu-7", 1, 128),
            ("-m size=2097152k,slots=16,maxmem=8G", "qemu-7", "qemu-7", 1, 2048),
            ("-m 1T", "qemu-7", "qemu-7", 1, 1024 * 1024),
            ("-machine q35,accel=kvm -mem-prealloc -m 512", "qemu-7", "qemu-7", 1, 512),
            (
                "-smp 99999999999 -m 99999999999T",
                "qemu-7",
                "qemu-7",
                super::super::LARGEST_FIGURE,
                super::super::LARGEST_FIGURE,
            ),
            ("-smp sockets=9999999999999,cores=9999999999999", "qemu-7", "qemu-7", super::super::LARGEST_FIGURE, 128),
            ("-name", "qemu-7", "qemu-7", 1, 128),
        ] {
            let expected =
                VmReport { id: id.to_owned(), name: name.to_owned(), status: VmStatus::Running, vcpus, memory_mb };
            assert_eq!(vm(&command_line(7, words)), Some(expected), "{words}");
        }
    }

    #[test]
    fn qemu_without_a_machine_is_no_vm() {
        for words in ["-S -machine none,accel=kvm:tcg -qmp stdio", "-M none", "-machine type=none"] {
            assert_eq!(vm(&command_line(7, words)), None, "{words}");
        }
    }
}
