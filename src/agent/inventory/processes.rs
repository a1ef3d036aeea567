//! Hypervisor processes of this host, found by reading `/proc`.
//!
//! Processes come and go while they are read and many belong to somebody else, so one that cannot be read is passed
//! over. Only a `/proc` that cannot be listed at all is an error. Without root, `/proc` shows the arguments of every
//! process but neither its program nor its root directory: VMs are still found, a jailed Firecracker's size is not.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::arguments::CommandLine;
use super::{LONGEST_ID, VmSource, cloud_hypervisor, firecracker, qemu};
use crate::agent::hypervisor::Hypervisor;
use crate::client::VmReport;

/// Where Linux keeps its processes.
pub const PROC: &str = "/proc";

/// The kernel takes command lines of this size at most; a larger file is not one.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// The processes under one `/proc`.
#[derive(Clone, Debug)]
pub struct HostProcesses {
    proc: PathBuf,
}

impl HostProcesses {
    /// The processes under this `/proc`, which need not be that of this process.
    pub fn new(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into() }
    }

    /// Hypervisor processes, the oldest first.
    fn list_hypervisors(&self) -> io::Result<Vec<Process>> {
        let mut found: Vec<_> = fs::read_dir(&self.proc)?
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Process::read(&self.proc, pid))
            .collect();
        found.sort_unstable_by_key(|process| (process.start, process.command.pid));
        Ok(without_helpers(found))
    }
}

impl VmSource for HostProcesses {
    fn name(&self) -> &str {
        "processes"
    }

    fn list(&self) -> io::Result<Vec<VmReport>> {
        let processes = self.list_hypervisors()?;
        let vms = processes.iter().filter_map(|process| Some((process.command.pid, process.vm()?)));
        Ok(with_distinct_ids(vms))
    }
}

/// One hypervisor process.
#[derive(Debug)]
struct Process {
    hypervisor: Hypervisor,
    command: CommandLine,
    parent: u32,
    /// In clock ticks since the machine started.
    start: u64,
    folder: PathBuf,
}

impl Process {
    /// Reads a process if it is a hypervisor. A process that has ended but was not waited for has no arguments any
    /// more; one that is merely suspended still holds what it holds.
    fn read(proc: &Path, pid: u32) -> Option<Self> {
        let folder = proc.join(pid.to_string());
        let command_line = read_file(&folder.join("cmdline"))?;
        let mut arguments = command_line
            .strip_suffix(b"\0")
            .unwrap_or(&command_line)
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned());
        let program = arguments.next()?;
        if program.is_empty() {
            return None;
        }
        let hypervisor = hypervisor_of(Path::new(&program)).or_else(|| {
            // A wrapper may have renamed the process; the program itself it cannot hide.
            hypervisor_of(&fs::read_link(folder.join("exe")).ok()?)
        })?;
        let (parent, start) = read_file(&folder.join("stat"))
            .and_then(|stat| parent_and_start(&String::from_utf8_lossy(&stat)))
            .unwrap_or_default();
        let command = CommandLine { pid, arguments: arguments.collect() };
        Some(Self { hypervisor, command, parent, start, folder })
    }

    fn vm(&self) -> Option<VmReport> {
        match self.hypervisor {
            Hypervisor::CloudHypervisor => Some(cloud_hypervisor::vm(&self.command)),
            Hypervisor::Firecracker => {
                let config = firecracker::config_path(&self.command)
                    .and_then(|path| read_file(&self.path_inside(path)))
                    .and_then(|text| String::from_utf8(text).ok());
                Some(firecracker::vm(&self.command, config.as_deref()))
            }
            Hypervisor::Qemu => qemu::vm(&self.command),
        }
    }

    /// A path as the process itself would follow it: from its working directory, and inside its jail.
    fn path_inside(&self, path: &str) -> PathBuf {
        match Path::new(path).strip_prefix("/") {
            Ok(path) => self.folder.join("root").join(path),
            Err(_) => self.folder.join("cwd").join(path),
        }
    }
}

fn hypervisor_of(program: &Path) -> Option<Hypervisor> {
    let file_name = program.file_name()?.to_str()?;
    // The kernel marks a program that was replaced while it runs, as an upgrade does.
    Hypervisor::of_program(file_name.strip_suffix(" (deleted)").unwrap_or(file_name))
}

/// The parent's pid and the start time, from a line such as `7 (name) S 1 7 …`. The name may hold anything, brackets
/// and spaces included, so counting begins after the last one.
fn parent_and_start(stat: &str) -> Option<(u32, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // Fields 4 and 22 as proc(5) numbers them; the first one here is number 3.
    let parent = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((parent, start))
}

/// Reads a regular file of a bearable size. Anything else, a pipe above all, could keep the reader waiting for ever.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Leaves out processes that are copies of their parent: hypervisors fork for a terminal or on their way into the
/// background, and such a child runs no second VM.
fn without_helpers(processes: Vec<Process>) -> Vec<Process> {
    let commands: HashMap<u32, Vec<String>> =
        processes.iter().map(|process| (process.command.pid, process.command.arguments.clone())).collect();
    processes.into_iter().filter(|process| commands.get(&process.parent) != Some(&process.command.arguments)).collect()
}

/// Gives VMs that share an id one each. The oldest keeps it, so that a newcomer does not rename what ran before.
fn with_distinct_ids(vms: impl Iterator<Item = (u32, VmReport)>) -> Vec<VmReport> {
    let mut taken = HashSet::new();
    vms.filter_map(|(pid, vm)| {
        let suffixes = [String::new(), format!("-{pid}")];
        let more = (2..).map(|round: u32| format!("-{pid}-{round}"));
        let id = suffixes
            .into_iter()
            .chain(more)
            .map(|suffix| with_suffix(&vm.id, &suffix))
            .find(|id| taken.insert(id.clone()))?;
        Some(VmReport { id, ..vm })
    })
    .collect()
}

fn with_suffix(id: &str, suffix: &str) -> String {
    let kept = LONGEST_ID.saturating_sub(suffix.len());
    id.chars().take(kept).chain(suffix.chars()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A `/proc` made of files.
    struct Proc(TempDir);

    impl Proc {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// Adds a process that started at its pid, the way the kernel shows it.
        fn process(&self, pid: u32, parent: u32, words: &str) -> PathBuf {
            let arguments: Vec<u8> = words.split_whitespace().flat_map(|word| word.bytes().chain([0])).collect();
            let folder = self.raw_process(pid, &arguments);
            let stat = format!("{pid} (a) b (c)) S {parent} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 0 0\n");
            fs::write(folder.join("stat"), stat).unwrap();
            folder
        }

        fn raw_process(&self, pid: u32, command_line: &[u8]) -> PathBuf {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cmdline"), command_line).unwrap();
            folder
        }

        /// What is found, in short: `id vcpus/memory`.
        fn found(&self) -> Vec<String> {
            let vms = HostProcesses::new(self.0.path()).list().unwrap();
            vms.iter().map(|vm| format!("{} {}/{}", vm.id, vm.vcpus, vm.memory_mb)).collect()
        }
    }

    #[test]
    fn every_hypervisor_is_found_among_other_processes() {
        let proc = Proc::new();
        fs::write(proc.0.path().join("uptime"), "1 1").unwrap();
        fs::create_dir(proc.0.path().join("sys")).unwrap();
        proc.process(1, 0, "/sbin/init splash");
        proc.process(2, 0, "");
        proc.process(3, 1, "grep qemu-system-x86_64 -m 1G");
        proc.process(10, 1, "/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -smp 4 -m 2G");
        proc.process(11, 1, "firecracker --id db");
        proc.process(12, 1, "/opt/cloud-hypervisor --api-socket /run/cache.sock --cpus boot=2 --memory size=1G");
        assert_eq!(proc.found(), ["web 4/2048", "db 1/128", "cache 2/1024"]);
    }

    #[test]
    fn a_renamed_hypervisor_is_known_by_its_program() {
        let proc = Proc::new();
        let folder = proc.process(10, 1, "web-vm -name web");
        symlink("/usr/bin/qemu-system-x86_64 (deleted)", folder.join("exe")).unwrap();
        assert_eq!(proc.found(), ["web 1/128"]);
    }

    #[test]
    fn a_configuration_is_read_where_the_process_sees_it() {
        let proc = Proc::new();
        let config = |vcpus: u32| format!(r#"{{"machine-config": {{"vcpu_count": {vcpus}, "mem_size_mib": 256}}}}"#);

        let jailed = proc.process(10, 1, "/firecracker --id jailed --config-file /vm.json");
        fs::create_dir(jailed.join("root")).unwrap();
        fs::write(jailed.join("root/vm.json"), config(2)).unwrap();

        let relative = proc.process(11, 1, "firecracker --id relative --config-file vm.json");
        fs::create_dir(jailed.join("cwd")).unwrap();
        fs::create_dir(relative.join("cwd")).unwrap();
        fs::write(relative.join("cwd/vm.json"), config(3)).unwrap();

        proc.process(12, 1, "firecracker --id unreadable --config-file /vm.json");

        let folder = proc.process(13, 1, "firecracker --id folder --config-file /");
        fs::create_dir(folder.join("root")).unwrap();

        assert_eq!(proc.found(), ["jailed 2/256", "relative 3/256", "unreadable 1/128", "folder 1/128"]);
    }

    #[test]
    fn of_processes_with_one_id_the_oldest_keeps_it() {
        let proc = Proc::new();
        proc.process(30, 1, "qemu-system-x86_64 -name web -smp 3");
        proc.process(4, 1, "qemu-system-x86_64 -name web -smp 1");
        proc.process(20, 1, "qemu-system-x86_64 -name web -smp 2");
        assert_eq!(proc.found(), ["web 1/128", "web-20 2/128", "web-30 3/128"]);
    }

    #[test]
    fn ids_stay_distinct_even_when_a_vm_is_named_like_a_suffix() {
        let long = "x".repeat(300);
        let proc = Proc::new();
        proc.process(4, 1, "qemu-system-x86_64 -name web-6");
        proc.process(5, 1, "qemu-system-x86_64 -name web");
        proc.process(6, 1, "qemu-system-x86_64 -name web -smp 2");
        proc.process(7, 1, &format!("qemu-system-x86_64 -name {long}"));
        proc.process(8, 1, &format!("qemu-system-x86_64 -name {long} -smp 2"));
        let ids: Vec<_> = HostProcesses::new(proc.0.path()).list().unwrap().into_iter().map(|vm| vm.id).collect();
        let long = |suffix: &str| format!("{}{suffix}", "x".repeat(255 - suffix.len()));
        assert_eq!(ids, ["web-6", "web", "web-6-2", &long(""), &long("-8")]);
    }

    #[test]
    fn a_child_with_its_parents_arguments_is_a_helper() {
        let proc = Proc::new();
        proc.process(10, 1, "cloud-hypervisor --api-socket /run/web.sock");
        proc.process(11, 10, "cloud-hypervisor --api-socket /run/web.sock");
        proc.process(12, 10, "cloud-hypervisor --api-socket /run/db.sock");
        assert_eq!(proc.found(), ["web 1/512", "db 1/512"]);
    }

    #[test]
    fn what_cannot_be_read_does_not_hide_the_rest() {
        let proc = Proc::new();
        // Gone between listing and reading, and a file where a folder should be.
        fs::create_dir(proc.0.path().join("5")).unwrap();
        fs::write(proc.0.path().join("6"), "").unwrap();
        symlink("/no/such/process", proc.0.path().join("7")).unwrap();
        // Bytes that are no text, no end mark, no stat.
        proc.raw_process(8, b"qemu-system-x86_64\0-name\0w\xffb\0-m\x00512");
        // A command line as long as they get.
        let filler = "-append x ".repeat(200_000);
        proc.process(9, 1, &format!("qemu-system-x86_64 -name big {filler}"));
        assert_eq!(proc.found(), ["w\u{fffd}b 1/512", "big 1/128"]);
    }

    #[test]
    fn no_proc_is_an_error_and_not_an_empty_host() {
        assert!(HostProcesses::new("/no/such/proc").list().is_err());
    }

    #[test]
    fn this_hosts_own_proc_can_be_listed() {
        HostProcesses::new(PROC).list().unwrap();
    }

    #[test]
    fn parent_and_start_are_found_behind_any_name() {
        for (stat, expected) in [
            ("7 (qemu) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0", Some((1, 4711))),
            ("7 (a) S 9 (b) T 2 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4712 0", Some((2, 4712))),
            ("7 (qemu) S 1", None),
            ("", None),
        ] {
            assert_eq!(parent_and_start(stat), expected, "{stat}");
        }
    }
}
