//! VMs by their hypervisor processes, which are found by reading `/proc`.
//!
//! A process that cannot be read is skipped: processes end while they are read, and many belong to other users. A
//! `/proc` that cannot be listed, or that hides the processes of other users, is an error: the host would look empty,
//! and so like the best place for new VMs. Without root, `/proc` shows the arguments of every process, but neither its
//! program nor its root directory: VMs are found all the same, but no size that is in a file inside a jail.
//!
//! # Ids
//!
//! The id of a VM is its UUID, if its process has one in its arguments: that is the same on every host, also during a
//! migration. Names, and ids that are unique on one host only, are not used, since another host may have the same. A VM
//! without a UUID gets a generated id, `<worker>~<hypervisor>-<pid>-<start>-<boot>`: the `~` marks it as generated, and
//! its parts are the same for as long as the process lives.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::arguments::{CommandLine, readable};
use super::guest::{Guest, GuestStart, ProcessView, Thread};
use super::{FoundVm, LONGEST_ID, VmSource, cloud_hypervisor, figure, firecracker, printable_name, qemu};
use crate::agent::inventory::hypervisor::Hypervisor;
use crate::client::{VmReport, VmStatus};

/// Where Linux shows its processes.
pub const PROC: &str = "/proc";

/// The largest file that is read, in bytes: as long as a command line may be.
const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// The name of the initial PID namespace, in which all processes of the host are.
const INITIAL_NAMESPACE: &str = "pid:[4026531836]";

/// The CPU time, in clock ticks of 10 ms, from which on a VM counts as running: before it is started, the threads of
/// its process sleep.
const HAS_RUN: u64 = 3;

/// Marks an id as generated.
const GENERATED_MARK: char = '~';

/// The processes under one `/proc`.
#[derive(Debug)]
pub struct HostProcesses {
    proc: PathBuf,
    worker_id: String,
    /// Whether all processes of the host have to be visible.
    of_the_host: bool,
    known: Mutex<HashMap<ProcessKey, KnownProcess>>,
}

/// Identifies a process among all since the start of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ProcessKey {
    pid: u32,
    start: u64,
}

/// What is known of a process for as long as it lives.
#[derive(Clone, Debug, Default)]
struct KnownProcess {
    /// The id of its VM.
    id: String,
    /// Whether its VM has been seen running.
    has_run: bool,
}

impl HostProcesses {
    /// The processes of the host that this process runs on, which is the worker with this id. In a container, where
    /// only a part of them is visible, listing them is an error.
    pub fn of_this_host(worker_id: impl Into<String>) -> Self {
        Self { of_the_host: true, ..Self::under(PROC, worker_id) }
    }

    /// The processes under another `/proc`, such as that of the host, mounted into a container.
    pub fn under(proc: impl Into<PathBuf>, worker_id: impl Into<String>) -> Self {
        Self { proc: proc.into(), worker_id: worker_id.into(), of_the_host: false, known: Mutex::default() }
    }

    /// Hypervisor processes, the oldest first.
    fn list_hypervisors(&self) -> io::Result<Vec<Process>> {
        self.check_visibility()?;
        let mut found: Vec<_> = fs::read_dir(&self.proc)?
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Process::read(&self.proc, pid))
            .collect();
        found.sort_unstable_by_key(|process| (process.key.start, process.key.pid));
        Ok(without_helpers(found))
    }

    /// Fails if processes of other users are hidden. Process 1 always exists and belongs to root, so it is read as a
    /// probe.
    fn check_visibility(&self) -> io::Result<()> {
        let proc = self.proc.display();
        if self.of_the_host {
            // A kernel without PID namespaces shows all processes.
            let namespace = fs::read_link(self.proc.join("self/ns/pid")).unwrap_or_else(|_| INITIAL_NAMESPACE.into());
            if namespace != Path::new(INITIAL_NAMESPACE) {
                return Err(io::Error::other(format!(
                    "the agent is in a PID namespace of its own and does not see the host's processes: mount the host's \
                     /proc and name it with --proc, or name {proc} if this container is the worker"
                )));
            }
        }
        fs::read_dir(&self.proc)?;
        File::open(self.proc.join("1/cmdline")).and_then(|mut file| file.read(&mut [0])).map(drop).map_err(|error| {
            let problem = "it is mounted with hidepid, or is not a whole /proc, so VMs of others would not show";
            io::Error::new(error.kind(), format!("process 1 cannot be read in {proc} ({error}): {problem}"))
        })
    }

    /// Assigns an id to the VM of every process, the oldest process first. An assigned id stays.
    fn assign_ids(&self, guests: &[(Process, Guest)], known: &mut HashMap<ProcessKey, KnownProcess>) {
        let alive: HashSet<_> = guests.iter().map(|(process, _)| process.key).collect();
        known.retain(|key, _| alive.contains(key));
        let boot = self.boot();
        // The receiver of a migration gets the UUID when the process that sends the VM is gone.
        let stays = |process: &Process, guest: &Guest, known: &HashMap<ProcessKey, KnownProcess>| {
            known.get(&process.key).is_some_and(|it| {
                guest.start != GuestStart::AfterMigration || guest.uuid.as_ref().is_none_or(|uuid| *uuid == it.id)
            })
        };
        let mut taken: HashSet<String> = HashSet::new();
        for (process, guest) in guests {
            if stays(process, guest, known) {
                taken.extend(known.get(&process.key).map(|it| it.id.clone()));
            }
        }
        for (process, guest) in guests {
            if stays(process, guest, known) {
                continue;
            }
            let made_up = generated_id(&self.worker_id, process.hypervisor, process.key, boot.as_deref());
            let id = match &guest.uuid {
                Some(uuid) if taken.insert(uuid.clone()) => uuid.clone(),
                Some(uuid) => {
                    if known.get(&process.key).is_none_or(|it| it.id != made_up) {
                        let pid = process.key.pid;
                        warn!(vm.uuid = %uuid, vm.id = %made_up, process.pid = pid, "Process {pid} runs a VM of a UUID that another one here has: the newer is {made_up}");
                    }
                    made_up
                }
                None => made_up,
            };
            known.entry(process.key).or_default().id = id;
        }
    }

    /// The first part of the boot id of the host.
    fn boot(&self) -> Option<String> {
        let boot_id = read_file(&self.proc.join("sys/kernel/random/boot_id"))?;
        let boot_id = String::from_utf8(boot_id).ok()?;
        Some(boot_id.trim().split('-').next()?.to_owned()).filter(|boot| !boot.is_empty())
    }
}

impl VmSource for HostProcesses {
    fn name(&self) -> &str {
        "processes"
    }

    fn list(&self) -> io::Result<Vec<FoundVm>> {
        let processes = self.list_hypervisors()?;
        let guests: Vec<_> =
            processes.into_iter().filter_map(|process| process.guest().map(|guest| (process, guest))).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.assign_ids(&guests, &mut known);
        let vm = |(process, guest): (Process, Guest)| {
            let remembered = known.get_mut(&process.key)?;
            remembered.has_run = remembered.has_run || process.has_run(guest.start);
            let id = remembered.id.clone();
            let status = match guest.start {
                _ if remembered.has_run => VmStatus::Running,
                GuestStart::WithProcess => VmStatus::Running,
                GuestStart::OnCommand | GuestStart::NotStarted => VmStatus::Created,
                GuestStart::AfterMigration => VmStatus::Starting,
            };
            let report = VmReport {
                name: guest.name.as_deref().and_then(printable_name).unwrap_or_else(|| id.clone()),
                id,
                status,
                vcpus: figure(guest.vcpus.unwrap_or(0)),
                memory_mb: figure(guest.memory_mib.unwrap_or(0)),
                note: None,
                reservation_id: None,
            };
            Some(FoundVm { report, kind: process.hypervisor.name() })
        };
        Ok(guests.into_iter().filter_map(vm).collect())
    }
}

/// A generated id, which is different for every worker and for every process of it.
fn generated_id(worker_id: &str, hypervisor: Hypervisor, key: ProcessKey, boot: Option<&str>) -> String {
    let ProcessKey { pid, start } = key;
    let mut own = format!("{GENERATED_MARK}{}-{pid}-{start}", hypervisor.name());
    if let Some(boot) = boot {
        own.push('-');
        own.push_str(boot);
    }
    let room = LONGEST_ID.saturating_sub(own.chars().count());
    if worker_id.chars().count() <= room {
        return format!("{worker_id}{own}");
    }
    // A worker's id may be as long as a VM's may be. Then it is cut, and its hash is added.
    let hash: String = Sha256::digest(worker_id).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = worker_id.chars().take(room.saturating_sub(hash.len() + 1)).collect();
    format!("{kept}{GENERATED_MARK}{hash}{own}")
}

/// One hypervisor process.
#[derive(Debug)]
struct Process {
    key: ProcessKey,
    hypervisor: Hypervisor,
    /// The name of the program's file.
    program: String,
    command: CommandLine,
    parent: u32,
    /// CPU time that was spent inside of the guest, which KVM counts.
    guest_ticks: u64,
    folder: PathBuf,
}

impl Process {
    /// Reads a process, if it is a hypervisor. A zombie has no arguments, and is none; a stopped process still holds
    /// its resources, and is one.
    fn read(proc: &Path, pid: u32) -> Option<Self> {
        let folder = proc.join(pid.to_string());
        let command_line = read_file(&folder.join("cmdline"))?;
        let mut arguments = command_line.strip_suffix(b"\0").unwrap_or(&command_line).split(|byte| *byte == 0);
        let program = Path::new(OsStr::from_bytes(arguments.next()?));
        if program.as_os_str().is_empty() {
            return None;
        }
        let (hypervisor, program) = hypervisor_of(program).or_else(|| {
            // A wrapper may have changed the first argument; the program of the process it cannot change.
            hypervisor_of(&fs::read_link(folder.join("exe")).ok()?)
        })?;
        let Stat { parent, start, guest_ticks } =
            read_file(&folder.join("stat")).and_then(|stat| Stat::parse(&stat)).unwrap_or_default();
        let (key, command) = (ProcessKey { pid, start }, CommandLine::of(arguments));
        Some(Self { key, hypervisor, program, command, parent, guest_ticks, folder })
    }

    fn guest(&self) -> Option<Guest> {
        match self.hypervisor {
            Hypervisor::CloudHypervisor => Some(cloud_hypervisor::guest(&self.command, self)),
            Hypervisor::Firecracker => Some(firecracker::guest(&self.command, self)),
            Hypervisor::Qemu => qemu::guest(&self.program, &self.command, self),
        }
    }

    /// Whether a VM that did not start with its process has run since. Where that cannot be read, it counts as running:
    /// VM managers start all their VMs in two steps.
    fn has_run(&self, start: GuestStart) -> bool {
        match start {
            GuestStart::WithProcess => true,
            GuestStart::NotStarted => false,
            GuestStart::OnCommand | GuestStart::AfterMigration if self.guest_ticks > 0 => true,
            GuestStart::OnCommand | GuestStart::AfterMigration => self.threads().is_none_or(|threads| {
                let is_vcpu = |thread: &&Thread| thread.name.starts_with("CPU ") || thread.name.starts_with("ALL CPUs");
                let named = threads.iter().any(|thread| is_vcpu(&thread));
                let counted = threads.iter().filter(|thread| if named { is_vcpu(thread) } else { !thread.is_main });
                counted.map(|thread| thread.ticks).sum::<u64>() >= HAS_RUN
            }),
        }
    }

    /// A path as the process itself resolves it: from its working directory, and inside of its root directory.
    fn path_inside(&self, path: &Path) -> PathBuf {
        // The open files of that process, and not of this one.
        for (own, files) in [("/dev/fd", "fd"), ("/proc/self/fd", "fd"), ("/proc/self", "")] {
            if let Ok(rest) = path.strip_prefix(own) {
                return self.folder.join(files).join(rest);
            }
        }
        if path == Path::new("/dev/stdin") {
            return self.folder.join("fd/0");
        }
        match path.strip_prefix("/") {
            Ok(path) => self.folder.join("root").join(path),
            Err(_) => self.folder.join("cwd").join(path),
        }
    }
}

impl ProcessView for Process {
    fn read(&self, path: &OsStr) -> Option<Vec<u8>> {
        read_file(&self.path_inside(Path::new(path)))
    }

    fn threads(&self) -> Option<Vec<Thread>> {
        let thread = |entry: fs::DirEntry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = read_file(&entry.path().join("stat"))?;
            let (name, ticks) = thread_name_and_ticks(&stat)?;
            Some(Thread { name, is_main: id == self.key.pid, ticks })
        };
        let entries = fs::read_dir(self.folder.join("task")).ok()?;
        Some(entries.filter_map(Result::ok).filter_map(thread).collect())
    }
}

/// The hypervisor that a program is, and the name of its file.
fn hypervisor_of(program: &Path) -> Option<(Hypervisor, String)> {
    let file_name = program.file_name()?.to_str()?;
    // The kernel adds this to the name of a program whose file was replaced, as by an upgrade.
    let file_name = file_name.strip_suffix(" (deleted)").unwrap_or(file_name);
    Some((Hypervisor::of_program(file_name)?, file_name.to_owned()))
}

/// Fields of `/proc/PID/stat`, which is a line such as `7 (name) S 1 7 …`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// In clock ticks since the machine started.
    start: u64,
    guest_ticks: u64,
}

impl Stat {
    fn parse(stat: &[u8]) -> Option<Self> {
        let (_, fields) = name_and_fields(stat)?;
        // As proc(5) numbers them; the first one here is number 3.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            parent: field(4)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
            // Not there before Linux 2.6.24.
            guest_ticks: field(43).and_then(|ticks| ticks.parse().ok()).unwrap_or(0),
        })
    }
}

/// A thread's name and the CPU time it has used.
fn thread_name_and_ticks(stat: &[u8]) -> Option<(String, u64)> {
    let (name, fields) = name_and_fields(stat)?;
    let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((readable(name), ticks(14)?.saturating_add(ticks(15)?)))
}

/// The name and the fields behind it. The name may hold anything, brackets and spaces included, so it ends at the last
/// bracket.
fn name_and_fields(stat: &[u8]) -> Option<(&[u8], Vec<&str>)> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let begin = stat.iter().position(|byte| *byte == b'(')? + 1;
    let fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_whitespace().collect();
    Some((stat.get(begin..end)?, fields))
}

/// Reads the beginning of a regular file. Another kind of file, such as a pipe, could block for ever.
fn read_file(path: &Path) -> Option<Vec<u8>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Leaves out processes with the same arguments as their parent: hypervisors fork for a terminal, or to go into the
/// background, and such a child runs no VM of its own.
fn without_helpers(processes: Vec<Process>) -> Vec<Process> {
    let commands: HashMap<u32, CommandLine> =
        processes.iter().map(|process| (process.key.pid, process.command.clone())).collect();
    processes.into_iter().filter(|process| commands.get(&process.parent) != Some(&process.command)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const UUID: &str = "6f0e0000-0000-4000-8000-00000000000a";

    /// A `/proc` made of files, and the source that reads it.
    struct Proc {
        folder: TempDir,
        processes: HostProcesses,
    }

    impl Proc {
        fn new() -> Self {
            Self::of_worker("host-1")
        }

        fn of_worker(worker_id: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let processes = HostProcesses::under(folder.path(), worker_id);
            let proc = Self { folder, processes };
            proc.process(1, 0, "/sbin/init splash");
            let boot_id = proc.folder.path().join("sys/kernel/random");
            fs::create_dir_all(&boot_id).unwrap();
            fs::write(boot_id.join("boot_id"), "3f9a1c2e-0000-4000-8000-000000000000\n").unwrap();
            proc
        }

        /// Adds a process that started at its pid, the way the kernel shows it.
        fn process(&self, pid: u32, parent: u32, words: &str) -> PathBuf {
            let arguments: Vec<u8> = words.split_whitespace().flat_map(|word| word.bytes().chain([0])).collect();
            let folder = self.raw_process(pid, &arguments);
            fs::write(folder.join("stat"), stat(pid, parent, pid, 0)).unwrap();
            folder
        }

        fn raw_process(&self, pid: u32, command_line: &[u8]) -> PathBuf {
            let folder = self.folder.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cmdline"), command_line).unwrap();
            folder
        }

        fn end(&self, pid: u32) {
            fs::remove_dir_all(self.folder.path().join(pid.to_string())).unwrap();
        }

        fn list(&self) -> Vec<VmReport> {
            self.processes.list().unwrap().into_iter().map(|vm| vm.report).collect()
        }

        /// The VMs that are found, as `name vcpus/memory`.
        fn found(&self) -> Vec<String> {
            let vms = self.list();
            let name = |vm: &VmReport| if vm.name == vm.id { "-".to_owned() } else { vm.name.clone() };
            vms.iter().map(|vm| format!("{} {}/{}", name(vm), vm.vcpus, vm.memory_mb)).collect()
        }

        fn ids(&self) -> Vec<String> {
            self.list().into_iter().map(|vm| vm.id).collect()
        }

        fn status(&self) -> VmStatus {
            let vms = self.list();
            assert_eq!(vms.len(), 1);
            vms[0].status
        }
    }

    fn stat(pid: u32, parent: u32, start: u32, guest_ticks: u32) -> String {
        let times = "0 0 0 0 20 0 1 0";
        let rest = format!("{} {guest_ticks} 0", "0 ".repeat(20).trim_end());
        format!("{pid} (a) b (c)) S {parent} {pid} {pid} 0 -1 0 0 0 0 0 {times} {start} {rest}\n")
    }

    fn thread(process: &Path, id: u32, name: &str, ticks: u32) {
        let folder = process.join("task").join(id.to_string());
        fs::create_dir_all(&folder).unwrap();
        let line = format!("{id} ({name}) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {id} 0\n");
        fs::write(folder.join("stat"), line).unwrap();
    }

    #[test]
    fn every_hypervisor_is_found_among_other_processes() {
        let proc = Proc::new();
        fs::write(proc.folder.path().join("uptime"), "1 1").unwrap();
        proc.process(2, 0, "");
        proc.process(3, 1, "grep qemu-system-x86_64 -m 1G");
        proc.process(10, 1, "/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -smp 4 -m 2G");
        proc.process(11, 1, "firecracker --id db");
        proc.process(
            12,
            1,
            "/opt/cloud-hypervisor --kernel k --api-socket /run/cache.sock --cpus boot=2 --memory size=1G",
        );
        assert_eq!(proc.found(), ["web 4/2048", "db 0/0", "cache 2/1024"]);
        let kinds: Vec<_> = proc.processes.list().unwrap().iter().map(|vm| vm.kind).collect();
        assert_eq!(kinds, ["qemu", "firecracker", "cloud-hypervisor"]);
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

        let handed_over = proc.process(14, 1, "firecracker --id handed-over --config-file /dev/fd/7");
        fs::create_dir(handed_over.join("fd")).unwrap();
        fs::write(handed_over.join("fd/7"), config(4)).unwrap();

        let incus = proc.process(15, 1, "qemu-system-x86_64 -name incus -readconfig /run/qemu.conf");
        fs::create_dir_all(incus.join("root/run")).unwrap();
        fs::write(incus.join("root/run/qemu.conf"), "[memory]\nsize = \"1024M\"\n[smp-opts]\ncpus = \"2\"\n").unwrap();

        let found = proc.found();
        let expected =
            ["jailed 2/256", "relative 3/256", "unreadable 0/0", "folder 0/0", "handed-over 4/256", "incus 2/1024"];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_uuid_is_an_id_and_everything_else_is_made_up() {
        let proc = Proc::new();
        proc.process(10, 1, &format!("qemu-system-x86_64 -name web -uuid {UUID}"));
        proc.process(11, 1, "qemu-system-x86_64 -name web");
        proc.process(12, 1, "firecracker --id web");
        proc.process(13, 1, "firecracker --id anonymous-instance");
        proc.process(14, 1, "cloud-hypervisor --kernel k --api-socket /run/clh-api.sock");
        proc.process(15, 1, "qemu-system-x86_64 -uuid 00000000-0000-0000-0000-000000000000");
        let expected = [
            UUID,
            "host-1~qemu-11-11-3f9a1c2e",
            "host-1~firecracker-12-12-3f9a1c2e",
            "host-1~firecracker-13-13-3f9a1c2e",
            "host-1~cloud-hypervisor-14-14-3f9a1c2e",
            "host-1~qemu-15-15-3f9a1c2e",
        ];
        assert_eq!(proc.ids(), expected);
    }

    #[test]
    fn the_same_processes_on_two_hosts_are_different_vms() {
        let long = |end: &str| format!("{}{end}", "ü".repeat(254));
        let workers = ["host-1".to_owned(), "host-2".to_owned(), "host-1~qemu-1-1".to_owned(), long("a"), long("b")];
        let commands = [
            "qemu-system-x86_64 -name windows",
            "qemu-system-x86_64",
            "firecracker",
            "firecracker --id vm-1",
            "cloud-hypervisor --api-socket /run/clh-api.sock",
        ];
        let mut ids = HashSet::new();
        for worker in &workers {
            let proc = Proc::of_worker(worker);
            for (pid, command) in (100..).zip(commands) {
                proc.process(pid, 1, command);
            }
            for id in proc.ids() {
                assert!(id.chars().count() <= LONGEST_ID && !id.contains('/'), "{id}");
                assert!(ids.insert(id.clone()), "{id} is there twice");
            }
        }
        assert_eq!(ids.len(), workers.len() * commands.len());
    }

    proptest! {
        // Each is some hundred files.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever comes and goes around a process, its VM keeps its id, and no two have one.
        #[test]
        fn no_process_renames_the_vm_of_another(
            steps in proptest::collection::vec((2_u32..12, 0_usize..5), 1..30),
        ) {
            let proc = Proc::new();
            let commands = [
                "qemu-system-x86_64 -name web",
                &format!("qemu-system-x86_64 -name web -uuid {UUID}"),
                "firecracker --id web",
                "firecracker",
                "cloud-hypervisor --api-socket /run/web.sock",
            ];
            let mut known: HashMap<u32, (String, String)> = HashMap::new();
            for (step, (pid, command)) in (100_u32..).zip(steps) {
                if known.remove(&pid).is_some() {
                    proc.end(pid);
                } else {
                    let folder = proc.process(pid, 1, commands[command]);
                    fs::write(folder.join("stat"), stat(pid, 1, step, 0)).unwrap();
                    known.insert(pid, (String::new(), step.to_string()));
                }
                let guests = proc.processes.list_hypervisors().unwrap();
                let ids = proc.ids();
                prop_assert_eq!(ids.iter().collect::<HashSet<_>>().len(), known.len());
                for (process, id) in guests.iter().zip(&ids) {
                    let (before, _) = known.get_mut(&process.key.pid).unwrap();
                    if before.is_empty() {
                        before.clone_from(id);
                    }
                    prop_assert_eq!(before, id);
                }
            }
        }
    }

    #[test]
    fn who_takes_a_vm_over_has_its_id_when_the_other_is_gone() {
        let proc = Proc::new();
        proc.process(10, 1, &format!("qemu-system-x86_64 -uuid {UUID}"));
        proc.process(20, 1, &format!("qemu-system-x86_64 -uuid {UUID} -incoming defer"));
        assert_eq!(proc.ids(), [UUID, "host-1~qemu-20-20-3f9a1c2e"]);
        assert_eq!(proc.ids(), [UUID, "host-1~qemu-20-20-3f9a1c2e"]);
        proc.end(10);
        assert_eq!(proc.ids(), [UUID]);
    }

    #[test]
    fn a_vm_that_waits_is_not_running_until_it_has_run() {
        let proc = Proc::new();
        let folder = proc.process(10, 1, "qemu-system-x86_64 -S");
        thread(&folder, 10, "qemu-system-x86", 50);
        thread(&folder, 11, "qemu-system-x86", 1);
        assert_eq!(proc.status(), VmStatus::Created);
        // By the CPU time of its threads, or by what KVM counts.
        thread(&folder, 12, "CPU 0/TCG", 0);
        thread(&folder, 13, "IO mon_iothread", 90);
        assert_eq!(proc.status(), VmStatus::Created);
        thread(&folder, 12, "CPU 0/TCG", 30);
        assert_eq!(proc.status(), VmStatus::Running);
        thread(&folder, 12, "CPU 0/TCG", 0);
        assert_eq!(proc.status(), VmStatus::Running, "it has run");
        proc.end(10);

        let folder = proc.process(20, 1, "qemu-system-x86_64 -incoming defer");
        thread(&folder, 20, "qemu-system-x86", 50);
        assert_eq!(proc.status(), VmStatus::Starting);
        fs::write(folder.join("stat"), stat(20, 1, 20, 1)).unwrap();
        assert_eq!(proc.status(), VmStatus::Running);
        proc.end(20);

        let folder = proc.process(30, 1, "firecracker --api-sock /run/fc.sock");
        thread(&folder, 30, "firecracker", 1);
        assert_eq!((proc.status(), proc.found()), (VmStatus::Created, vec!["- 0/0".to_owned()]));
        thread(&folder, 31, "fc_vcpu 0", 1);
        thread(&folder, 32, "fc_vcpu 1", 1);
        assert_eq!((proc.status(), proc.found()), (VmStatus::Running, vec!["- 2/0".to_owned()]));
    }

    #[test]
    fn a_child_with_its_parents_arguments_is_a_helper() {
        let proc = Proc::new();
        proc.process(10, 1, "cloud-hypervisor --kernel k --api-socket /run/web.sock");
        proc.process(11, 10, "cloud-hypervisor --kernel k --api-socket /run/web.sock");
        proc.process(12, 10, "cloud-hypervisor --kernel k --api-socket /run/db.sock");
        assert_eq!(proc.found(), ["web 1/512", "db 1/512"]);
    }

    #[test]
    fn what_cannot_be_read_does_not_hide_the_rest() {
        let proc = Proc::new();
        // Gone between listing and reading, and a file where a folder should be.
        fs::create_dir(proc.folder.path().join("5")).unwrap();
        fs::write(proc.folder.path().join("6"), "").unwrap();
        symlink("/no/such/process", proc.folder.path().join("7")).unwrap();
        // Bytes that are no text, no end mark, no stat.
        proc.raw_process(8, b"qemu-system-x86_64\0-name\0w\xffb\0-m\x00512");
        proc.raw_process(9, b"qemu-system-x86_64\0-name\0w\xfeb\0-m\x00512");
        // A command line as long as they get.
        let filler = "-append x ".repeat(200_000);
        proc.process(10, 1, &format!("qemu-system-x86_64 -name big {filler}"));
        assert_eq!(proc.found(), ["w\\xffb 1/512", "w\\xfeb 1/512", "big 1/128"]);
        assert_eq!(proc.ids()[..2], ["host-1~qemu-8-0-3f9a1c2e", "host-1~qemu-9-0-3f9a1c2e"]);
    }

    #[test]
    fn a_proc_that_hides_processes_is_an_error_and_not_an_empty_host() {
        let error = HostProcesses::under("/no/such/proc", "host-1").list().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);

        // Nothing there at all, as with `hidepid=2` and nothing of one's own.
        let empty = tempfile::tempdir().unwrap();
        let error = HostProcesses::under(empty.path(), "host-1").list().unwrap_err().to_string();
        assert!(error.contains("process 1 cannot be read") && error.contains("hidepid"), "{error}");

        // Its own processes only, and those of others without what is in them, as with `hidepid=1`.
        let proc = Proc::new();
        proc.process(10, 1, "qemu-system-x86_64 -name web");
        fs::remove_file(proc.folder.path().join("1/cmdline")).unwrap();
        assert!(proc.processes.list().is_err());
    }

    #[test]
    fn a_container_is_not_taken_for_the_host() {
        let proc = Proc::new();
        let own = HostProcesses { of_the_host: true, ..HostProcesses::under(proc.folder.path(), "host-1") };
        assert!(own.list().is_ok(), "without namespaces");
        for (namespace, is_host) in [("pid:[4026531836]", true), ("pid:[4026532198]", false)] {
            let link = proc.folder.path().join("self/ns");
            let _ = fs::remove_dir_all(&link);
            fs::create_dir_all(&link).unwrap();
            symlink(namespace, link.join("pid")).unwrap();
            let listed = own.list();
            assert_eq!(listed.is_ok(), is_host, "{namespace}");
            if let Err(error) = listed {
                assert!(error.to_string().contains("PID namespace"), "{error}");
            }
        }
        assert!(proc.processes.list().is_ok(), "whoever names a /proc knows which");
    }

    #[test]
    fn this_hosts_own_proc_can_be_listed() {
        HostProcesses::under(PROC, "host-1").list().unwrap();
    }

    #[test]
    fn fields_are_found_behind_any_name() {
        let times = "0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0";
        for (line, expected) in [
            (format!("7 (qemu) S 1 7 7 {times} 4711 0"), Some((1, 4711, 0))),
            (format!("7 (a) S 9 (b) T 2 7 7 {times} 4712 0"), Some((2, 4712, 0))),
            (stat(7, 1, 9, 5), Some((1, 9, 5))),
            ("7 (qemu) S 1".to_owned(), None),
            (String::new(), None),
        ] {
            let found = Stat::parse(line.as_bytes()).map(|stat| (stat.parent, stat.start, stat.guest_ticks));
            assert_eq!(found, expected, "{line}");
        }
    }
}
