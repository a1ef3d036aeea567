//! Firecracker: `firecracker --api-sock … --id web --config-file vm.json`.
//!
//! The size of a VM is in its configuration file. A VM that is configured through the API socket instead has threads
//! for its virtual CPUs once it has started; its memory is not visible.

use serde::Deserialize;

use super::arguments::CommandLine;
use super::guest::{Guest, GuestStart, ProcessView, uuid};

/// The id that Firecracker gives to a VM without one.
const ANONYMOUS: &str = "anonymous-instance";

/// Firecracker's own default for a configuration that does not say.
const DEFAULT_VCPUS: u64 = 1;

/// Firecracker's own default for a configuration that does not say.
const DEFAULT_MEMORY_MIB: u64 = 128;

/// The names of threads of virtual CPUs begin with this, and end with a number.
const VCPU_THREAD: &str = "fc_vcpu ";

/// The part of a configuration file with the size of the VM.
#[derive(Deserialize)]
struct Config {
    #[serde(default, rename = "machine-config")]
    machine: MachineConfig,
}

#[derive(Default, Deserialize)]
struct MachineConfig {
    vcpu_count: Option<u64>,
    mem_size_mib: Option<u64>,
}

/// The VM a Firecracker process runs. Its `--id` is unique on its host at most, so it is a name unless it is a UUID.
pub(super) fn guest(command: &CommandLine, process: &impl ProcessView) -> Guest {
    let id = command.value("id").filter(|id| *id != ANONYMOUS);
    let named = Guest { uuid: id.and_then(uuid), name: id.map(str::to_owned), ..Guest::default() };
    match command.path("config-file") {
        Some(path) => {
            let config = process.read(path);
            let config = config.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
            Guest {
                vcpus: config.as_ref().map(|Config { machine }| machine.vcpu_count.unwrap_or(DEFAULT_VCPUS)),
                memory_mib: config.map(|Config { machine }| machine.mem_size_mib.unwrap_or(DEFAULT_MEMORY_MIB)),
                ..named
            }
        }
        None => {
            let threads = process.threads();
            let vcpus = threads.map(|threads| threads.iter().filter(|it| it.name.starts_with(VCPU_THREAD)).count());
            let start = if vcpus == Some(0) { GuestStart::NotStarted } else { GuestStart::WithProcess };
            Guest { vcpus: vcpus.filter(|count| *count > 0).map(|count| count as u64), start, ..named }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::command_line;
    use super::super::guest::FakeProcess;
    use super::*;

    const UUID: &str = "6f0e0000-0000-4000-8000-00000000000a";

    #[test]
    fn a_size_is_read_from_the_configuration_or_not_known() {
        for (config, vcpus, memory_mib) in [
            (
                Some(r#"{"boot-source": {}, "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024}}"#),
                Some(2),
                Some(1024),
            ),
            (Some(r#"{"machine-config": {"vcpu_count": 4}}"#), Some(4), Some(128)),
            (Some("{}"), Some(1), Some(128)),
            (Some(r#"{"machine-config": {"vcpu_count": -1}}"#), None, None),
            (Some("not JSON"), None, None),
            (None, None, None),
        ] {
            let seen = FakeProcess {
                files: config.map(|text| ("/vm.json", text)).into_iter().collect(),
                ..FakeProcess::default()
            };
            let found = guest(&command_line("--id web --config-file /vm.json"), &seen);
            let name = Some("web".to_owned());
            assert_eq!(found, Guest { name, vcpus, memory_mib, ..Guest::default() }, "{config:?}");
        }
    }

    #[test]
    fn a_vm_made_through_the_api_shows_by_its_threads() {
        for (threads, vcpus, start) in [
            (Some(vec!["firecracker", "fc_api", "fc_vcpu 0", "fc_vcpu 1"]), Some(2), GuestStart::WithProcess),
            (Some(vec!["firecracker", "fc_api"]), None, GuestStart::NotStarted),
            (None, None, GuestStart::WithProcess),
        ] {
            let found =
                guest(&command_line("--api-sock /run/fc.sock"), &FakeProcess { threads, ..FakeProcess::default() });
            assert_eq!((found.vcpus, found.memory_mib, found.start), (vcpus, None, start));
        }
    }

    #[test]
    fn an_id_is_a_name_unless_it_is_a_uuid() {
        for (words, uuid, name) in [
            ("--id web", None, Some("web")),
            ("--id=web", None, Some("web")),
            ("--id anonymous-instance", None, None),
            ("", None, None),
            ("--id 6f0e0000-0000-4000-8000-00000000000a", Some(UUID), Some(UUID)),
        ] {
            let found = guest(&command_line(words), &FakeProcess::default());
            assert_eq!((found.uuid.as_deref(), found.name.as_deref()), (uuid, name), "{words}");
        }
    }
}
