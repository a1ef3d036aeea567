//! Reads a VM's name, vCPUs and memory from the command line of a QEMU process:
//! `qemu-system-x86_64 -name guest=web,debug-threads=on -uuid … -smp 4 -m 2G …`.
//!
//! What is hot-plugged over QMP is not in the arguments, and not visible. A figure that is not in the arguments is
//! QEMU's default if the default of the machine type is known here, and unknown otherwise. How QEMU's options are
//! read is in `option_parser`; sizes and their units, for every hypervisor, in [`arguments`](super::arguments).

mod option_parser;

use std::collections::BTreeMap;

use self::option_parser::Settings;
use super::arguments::{CommandLine, Unit, size_mib};
use super::guest::{Guest, GuestStart, ProcessView, uuid};

/// QEMU's own default when `-smp` is not given, of the machines that [`has_usual_size`] knows.
const DEFAULT_VCPUS: u64 = 1;

/// QEMU's own default when `-m` is not given, of the same machines.
const DEFAULT_MEMORY_MIB: u64 = 128;

/// The levels of a CPU topology; a level that is not given has one of its kind.
const TOPOLOGY: [&str; 8] = ["drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads"];

/// Devices that are memory, of the size of the backend they name.
const DIMMS: [&str; 2] = ["pc-dimm", "nvdimm"];

/// The names of devices that add one CPU end in these.
const CPUS: [&str; 3] = ["-x86_64-cpu", "-i386-cpu", "-s390x-cpu"];

/// The names of devices that add one core end in this.
const CORES: &str = "-spapr-cpu-core";

/// The VM a QEMU process runs, or none: libvirt starts QEMU without a machine to ask it what it can do. `program` is
/// the name of the program's file.
pub(super) fn guest(program: &str, command: &CommandLine, process: &impl ProcessView) -> Option<Guest> {
    let settings = Settings::of(command, process);
    let machine = Machine::of(&settings);
    if machine.kind.as_deref() == Some("none") {
        return None;
    }
    let is_usual = has_usual_size(program, machine.kind.as_deref());
    let sized = if settings.are_incomplete { None } else { Some(&machine) };
    let start = if settings.has("incoming") {
        GuestStart::AfterMigration
    } else if settings.has("S") || settings.has("preconfig") {
        GuestStart::OnCommand
    } else {
        GuestStart::WithProcess
    };
    Some(Guest {
        uuid: machine.uuid.as_deref().and_then(uuid),
        name: machine.name.clone().filter(|name| !name.is_empty()),
        vcpus: sized.and_then(|machine| Some(machine.vcpus(is_usual)? + machine.plugged_cpus(&settings))),
        memory_mib: sized.and_then(|machine| {
            Some(machine.memory_mib(is_usual)?.saturating_add(machine.plugged_memory_mib(&settings)?))
        }),
        start,
    })
}

/// The machine that the settings describe; later ones override earlier ones.
#[derive(Debug, Default)]
struct Machine {
    kind: Option<String>,
    name: Option<String>,
    uuid: Option<String>,
    smp: BTreeMap<String, String>,
    /// The size as it is given, and the unit of a number without one.
    memory: Option<(String, Unit)>,
    /// The id of the memory backend that is the main memory.
    memory_backend: Option<String>,
    /// The sizes of memory backends by id; none for a size that cannot be parsed.
    backends: BTreeMap<String, Option<u64>>,
}

impl Machine {
    fn of(settings: &Settings) -> Self {
        let mut machine = Self::default();
        for setting in &settings.list {
            let given = |key: &str| setting.pairs.get(key).cloned();
            match setting.option.as_str() {
                "machine" | "M" => {
                    machine.kind = given("type").or(machine.kind);
                    machine.memory_backend = given("memory-backend").or(machine.memory_backend);
                    machine.memory = given("memory.size").map(|size| (size, Unit::Byte)).or(machine.memory);
                    for (key, value) in &setting.pairs {
                        if let Some(key) = key.strip_prefix("smp.") {
                            machine.smp.insert(key.to_owned(), value.clone());
                        }
                    }
                }
                "m" => machine.memory = given("size").map(|size| (size, Unit::Mib)).or(machine.memory),
                "smp" => machine.smp.extend(setting.pairs.clone()),
                "name" => machine.name = given("guest").or(machine.name),
                "uuid" => machine.uuid = given(""),
                "smbios" if given("type").as_deref() == Some("1") => machine.uuid = given("uuid").or(machine.uuid),
                "object" if given("qom-type").is_some_and(|kind| kind.starts_with("memory-backend-")) => {
                    let size = given("size").and_then(|size| size_mib(&size, Unit::Byte));
                    machine.backends.insert(given("id").unwrap_or_default(), size);
                }
                _ => {}
            }
        }
        machine
    }

    /// The virtual CPUs, as QEMU counts them: `cpus`, else `maxcpus`, else the product of the topology.
    fn vcpus(&self, is_usual: bool) -> Option<u64> {
        if self.smp.is_empty() {
            return is_usual.then_some(DEFAULT_VCPUS);
        }
        for text in self.smp.values() {
            whole(text)?;
        }
        let given = |key: &str| self.smp.get(key).and_then(|text| whole(text)).filter(|count| *count > 0);
        Some(
            given("cpus")
                .or_else(|| given("maxcpus"))
                .unwrap_or_else(|| TOPOLOGY.into_iter().filter_map(given).fold(1, u64::saturating_mul)),
        )
    }

    /// Virtual CPUs that are devices of their own.
    fn plugged_cpus(&self, settings: &Settings) -> u64 {
        let threads = self.smp.get("threads").and_then(|text| whole(text)).unwrap_or(1).max(1);
        let drivers = settings.values("device").filter_map(|device| device.get("driver"));
        let cpus = drivers.map(|driver| match driver {
            cpu if CPUS.iter().any(|cpus| cpu.ends_with(cpus)) => 1,
            core if core.ends_with(CORES) => threads,
            _ => 0,
        });
        cpus.fold(0, u64::saturating_add)
    }

    /// The memory without devices.
    fn memory_mib(&self, is_usual: bool) -> Option<u64> {
        let given = match &self.memory {
            Some((size, unit)) => size_mib(size, *unit)?,
            None => 0,
        };
        match &self.memory_backend {
            // A size of 0 stands for the default.
            _ if given > 0 => Some(given),
            Some(backend) => self.backends.get(backend).copied().flatten(),
            None => is_usual.then_some(DEFAULT_MEMORY_MIB),
        }
    }

    /// Memory that is devices of its own. Of `virtio-mem`, which the guest can give back, the size that it is requested
    /// to take.
    fn plugged_memory_mib(&self, settings: &Settings) -> Option<u64> {
        let mut plugged = 0_u64;
        for device in settings.values("device") {
            let size = match device.get("driver").map(String::as_str) {
                Some(dimm) if DIMMS.contains(&dimm) => self.backends.get(device.get("memdev")?).copied().flatten()?,
                Some(elastic) if elastic.starts_with("virtio-mem") => match device.get("requested-size") {
                    Some(size) => size_mib(size, Unit::Byte)?,
                    None => 0,
                },
                Some(_) | None => 0,
            };
            plugged = plugged.saturating_add(size);
        }
        Some(plugged)
    }
}

/// Whether the defaults above are those of a machine type.
fn has_usual_size(program: &str, machine: Option<&str>) -> bool {
    let architecture = match program.strip_prefix("qemu-system-") {
        Some(architecture) => architecture,
        // Programs of these names emulate the architecture of their host.
        None if matches!(program, "kvm" | "qemu-kvm") => std::env::consts::ARCH,
        None => return false,
    };
    match architecture {
        "x86_64" | "i386" | "x86_64-microvm" | "x86" => true,
        "s390x" => machine.is_none_or(|machine| machine.starts_with("s390-ccw-virtio")),
        "aarch64" | "arm" | "riscv64" | "riscv32" => {
            machine.is_some_and(|machine| machine == "virt" || machine.starts_with("virt-"))
        }
        _ => false,
    }
}

/// A whole number, parsed as C does: `8`, `0x8` and `010` are the same.
fn whole(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        Some(_) | None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::command_line;
    use super::super::guest::FakeProcess;
    use super::*;

    const UUID: &str = "6f0e0000-0000-4000-8000-00000000000a";

    fn found(words: &str) -> Guest {
        guest("qemu-system-x86_64", &command_line(words), &FakeProcess::default()).unwrap()
    }

    #[test]
    fn a_size_is_read_from_the_arguments() {
        for (words, vcpus, memory_mib) in [
            ("", Some(1), Some(128)),
            ("-smp 4 -m 2048", Some(4), Some(2048)),
            ("--smp 4,sockets=1 --m 2G", Some(4), Some(2048)),
            ("-smp cpus=2,maxcpus=8,sockets=8", Some(2), Some(128)),
            ("-smp sockets=2,cores=4,threads=2", Some(16), Some(128)),
            ("-smp maxcpus=8,sockets=2", Some(8), Some(128)),
            ("-smp 2 -smp sockets=1", Some(2), Some(128)),
            ("-smp 0x10", Some(16), Some(128)),
            ("-smp many -m lots", None, None),
            ("-m size=2097152k,slots=16,maxmem=8G", Some(1), Some(2048)),
            ("-m slots=16,maxmem=8G", Some(1), Some(128)),
            ("-m 64 -m slots=16,maxmem=8G", Some(1), Some(64)),
            ("-m 0", Some(1), Some(128)),
            ("-m 1T", Some(1), Some(1024 * 1024)),
            ("-machine q35,accel=kvm -mem-prealloc -m 512", Some(1), Some(512)),
            ("-M q35,memory.size=512M,smp.cpus=3", Some(3), Some(512)),
            ("-object memory-backend-memfd,id=pc.ram,size=96M -M q35,memory-backend=pc.ram", Some(1), Some(96)),
            ("-M q35,memory-backend=pc.ram", Some(1), None),
            (
                "-m 64 -object memory-backend-ram,id=d,size=32M -device pc-dimm,memdev=d -device e1000",
                Some(1),
                Some(96),
            ),
            ("-m 64 -device pc-dimm,memdev=d", Some(1), None),
            (
                r#"-m 64 -object {"qom-type":"memory-backend-ram","id":"d","size":33554432} -device {'driver':'nvdimm','memdev':'d'}"#,
                Some(1),
                Some(96),
            ),
            ("-m 64 -device {odd", None, None),
            ("-m 64 -device virtio-mem-pci,memdev=d,requested-size=32M", Some(1), Some(96)),
            ("-smp 2,maxcpus=4 -device qemu64-x86_64-cpu,socket-id=2", Some(3), Some(128)),
            ("-m 64 -readconfig /run/qemu.conf", None, None),
            ("-smp 99999999999 -m 1E", Some(99_999_999_999), Some(1 << 40)),
        ] {
            let found = found(words);
            assert_eq!((found.vcpus, found.memory_mib), (vcpus, memory_mib), "{words}");
        }
    }

    #[test]
    fn a_size_that_depends_on_the_machine_is_not_known() {
        for (program, words, vcpus, memory_mib) in [
            ("qemu-system-ppc64", "", None, None),
            ("qemu-system-ppc64", "-m 1G -smp 2,threads=4 -device host-spapr-cpu-core", Some(6), Some(1024)),
            ("qemu-system-aarch64", "-M raspi3b", None, None),
            ("qemu-system-aarch64", "-M virt-7.2", Some(1), Some(128)),
            ("qemu-system-s390x", "", Some(1), Some(128)),
            ("renamed", "", None, None),
        ] {
            let found = guest(program, &command_line(words), &FakeProcess::default()).unwrap();
            assert_eq!((found.vcpus, found.memory_mib), (vcpus, memory_mib), "{program} {words}");
        }
    }

    #[test]
    fn a_uuid_is_one_and_a_name_is_a_name() {
        for (words, uuid, name) in [
            ("", None, None),
            ("-name web", None, Some("web")),
            ("-name guest=web,debug-threads=on -uuid 6F0E0000-0000-4000-8000-00000000000A", Some(UUID), Some("web")),
            ("-smbios type=1,uuid=6f0e0000-0000-4000-8000-00000000000a", Some(UUID), None),
            ("-smbios type=2,uuid=6f0e0000-0000-4000-8000-00000000000a", None, None),
            (
                "-uuid 11111111-1111-4111-8111-111111111111 -smbios type=1,uuid=6f0e0000-0000-4000-8000-00000000000a",
                Some(UUID),
                None,
            ),
            ("-uuid 00000000-0000-0000-0000-000000000000", None, None),
            ("-name a,,b -name a/b", None, Some("a/b")),
            ("-name", None, None),
        ] {
            let found = found(words);
            assert_eq!((found.uuid.as_deref(), found.name.as_deref()), (uuid, name), "{words}");
        }
    }

    #[test]
    fn a_vm_may_wait_to_be_started() {
        for (words, start) in [
            ("-m 64", GuestStart::WithProcess),
            ("-S", GuestStart::OnCommand),
            ("--preconfig", GuestStart::OnCommand),
            ("-S -incoming defer", GuestStart::AfterMigration),
            ("-name -S", GuestStart::WithProcess),
        ] {
            assert_eq!(found(words).start, start, "{words}");
        }
    }

    #[test]
    fn qemu_without_a_machine_is_no_vm() {
        for words in ["-S -machine none,accel=kvm:tcg -qmp stdio", "-M none", "-machine type=none"] {
            assert_eq!(guest("qemu-system-x86_64", &command_line(words), &FakeProcess::default()), None, "{words}");
        }
    }
}
