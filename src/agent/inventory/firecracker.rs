//! Firecracker: `firecracker --api-sock … --id web --config-file vm.json`.
//!
//! The size is in the configuration file. A VM that is configured through the API socket instead has none, and shows
//! with Firecracker's own defaults.

use serde::Deserialize;

use super::arguments::CommandLine;
use super::{figure, usable_id};
use crate::client::{VmReport, VmStatus};

/// The id Firecracker gives to every VM that is not given one.
const ANONYMOUS: &str = "anonymous-instance";

/// Firecracker's own default.
const DEFAULT_VCPUS: u64 = 1;

/// Firecracker's own default.
const DEFAULT_MEMORY_MIB: u64 = 128;

/// The part of a configuration file that says how large the VM is.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(default, rename = "machine-config")]
    machine: Machine,
}

#[derive(Default, Deserialize)]
struct Machine {
    vcpu_count: Option<u64>,
    mem_size_mib: Option<u64>,
}

/// Where the process found its configuration, seen from its own root and working directory.
pub(super) fn config_path(process: &CommandLine) -> Option<&str> {
    process.value("config-file")
}

/// The VM a Firecracker process runs, given the text of its configuration file if that could be read.
pub(super) fn vm(process: &CommandLine, config: Option<&str>) -> VmReport {
    let id = process
        .value("id")
        .and_then(usable_id)
        .filter(|id| id != ANONYMOUS)
        .unwrap_or_else(|| format!("firecracker-{}", process.pid));
    let Config { machine } = config.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    VmReport {
        name: id.clone(),
        id,
        status: VmStatus::Running,
        vcpus: figure(machine.vcpu_count.unwrap_or(DEFAULT_VCPUS)),
        memory_mb: figure(machine.mem_size_mib.unwrap_or(DEFAULT_MEMORY_MIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::command_line;
    use super::*;

    #[test]
    fn a_vm_is_read_from_arguments_and_configuration() {
        let config = r#"{"boot-source": {}, "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024, "smt": false}}"#;
        for (words, config, id, vcpus, memory_mb) in [
            ("--id web", Some(config), "web", 2, 1024),
            ("--id=web --api-sock /run/fc.sock", None, "web", 1, 128),
            ("", Some(config), "firecracker-7", 2, 1024),
            ("--id anonymous-instance", None, "firecracker-7", 1, 128),
            ("--id web", Some("{}"), "web", 1, 128),
            ("--id web", Some(r#"{"machine-config": {"vcpu_count": 4}}"#), "web", 4, 128),
            ("--id web", Some(r#"{"machine-config": {"vcpu_count": -1}}"#), "web", 1, 128),
            ("--id web", Some("not JSON"), "web", 1, 128),
        ] {
            let expected =
                VmReport { id: id.to_owned(), name: id.to_owned(), status: VmStatus::Running, vcpus, memory_mb };
            assert_eq!(vm(&command_line(7, words), config), expected, "{words} {config:?}");
        }
    }

    #[test]
    fn the_configuration_is_found_in_the_arguments() {
        assert_eq!(config_path(&command_line(7, "--id web --config-file vm.json")), Some("vm.json"));
        assert_eq!(config_path(&command_line(7, "--id web")), None);
    }
}
