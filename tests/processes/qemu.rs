//! What the agent reads from the arguments of QEMU, against what QEMU itself says.
//!
//! Real QEMU processes of Debian's package, without KVM and with nothing to boot, are started with many spellings of
//! size, identity and start. Each is then asked over QMP what it has, and that is what the inventory has to say.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use aetherium::agent::inventory::VmSource as _;
use aetherium::agent::inventory::processes::HostProcesses;
use aetherium::client::{VmReport, VmStatus};
use futures_util::{StreamExt as _, stream};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::{PATIENCE, eventually};

/// How many machines one run makes up.
const MACHINES: usize = 60;

/// How many run at once.
const AT_ONCE: usize = 4;

const WORKER: &str = "host-1";

/// A QEMU that runs, and its control socket.
struct Qemu {
    child: Child,
    qmp: BufReader<UnixStream>,
    _folder: TempDir,
}

impl Qemu {
    /// Starts it with these arguments, and waits until it answers; what it has against them otherwise.
    async fn start(folder: TempDir, arguments: &[String]) -> Result<Self, String> {
        let socket = folder.path().join("qmp");
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-display", "none", "-nodefaults"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let connected = timeout(PATIENCE, async {
            loop {
                if let Ok(stream) = UnixStream::connect(&socket).await {
                    return Some(stream);
                }
                if child.try_wait().unwrap().is_some() {
                    return None;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        let Some(stream) = connected.await.expect("QEMU listens in time") else {
            let mut words = String::new();
            child.stderr.take().unwrap().read_to_string(&mut words).await.unwrap();
            return Err(words);
        };
        let mut qemu = Self { child, qmp: BufReader::new(stream), _folder: folder };
        match qemu.line().await {
            Some(greeting) => assert!(greeting["QMP"].is_object(), "{greeting}"),
            // It listens before it looks at the rest of its arguments.
            None => {
                let mut words = String::new();
                qemu.child.stderr.take().unwrap().read_to_string(&mut words).await.unwrap();
                return Err(words);
            }
        }
        qemu.ask("qmp_capabilities").await;
        Ok(qemu)
    }

    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.qmp.read_line(&mut line)).await.expect("QEMU answers in time");
        (read.unwrap_or(0) > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    async fn ask(&mut self, command: &str) -> Value {
        let question = format!("{}\n", json!({"execute": command}));
        self.qmp.get_mut().write_all(question.as_bytes()).await.unwrap();
        loop {
            let mut line = self.line().await.expect("QEMU goes on");
            // Events come in between.
            if line.get("event").is_none() {
                assert!(line.get("return").is_some(), "{command}: {line}");
                return line["return"].take();
            }
        }
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What QEMU says of its VM, in the words of an inventory; its id, if that is made up, without the end.
    async fn says(&mut self) -> VmReport {
        let mebibytes = |bytes: &Value| bytes.as_u64().unwrap_or(0).div_ceil(1024 * 1024);
        let memory = self.ask("query-memory-size-summary").await;
        // Both at once: two half mebibytes are one.
        let bytes = memory["base-memory"].as_u64().unwrap() + memory["plugged-memory"].as_u64().unwrap_or(0);
        let vcpus = self.ask("query-cpus-fast").await.as_array().unwrap().len();
        let uuid = self.ask("query-uuid").await["UUID"].as_str().unwrap().to_owned();
        let name = self.ask("query-name").await["name"].as_str().map(str::to_owned);
        let status = match self.ask("query-status").await["status"].as_str().unwrap() {
            "running" => VmStatus::Running,
            "prelaunch" => VmStatus::Created,
            "inmigrate" => VmStatus::Starting,
            other => panic!("a VM that is {other}"),
        };
        let id = if Uuid::parse_str(&uuid).unwrap().is_nil() { format!("{WORKER}~qemu-{}-", self.pid()) } else { uuid };
        VmReport {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            status,
            vcpus: u32::try_from(vcpus).unwrap(),
            memory_mb: u32::try_from(mebibytes(&json!(bytes))).unwrap(),
            note: None,
            reservation_id: None,
        }
    }
}

/// What the inventory of this host says of a process's VM; its id, if that is made up, without the end.
fn found(processes: &HostProcesses, expected_id: &str) -> Option<VmReport> {
    let vms = processes.list().unwrap().into_iter().map(|vm| vm.report);
    let mut vm = vms.into_iter().find(|vm| vm.id.starts_with(expected_id))?;
    if vm.name == vm.id {
        vm.name = expected_id.to_owned();
    }
    vm.id = expected_id.to_owned();
    Some(vm)
}

/// A made-up machine.
struct Machine {
    arguments: Vec<String>,
    folder: TempDir,
}

/// Makes up machines; the groups of options that belong together come in any order.
struct Workshop {
    dice: SmallRng,
}

impl Workshop {
    fn machine(&mut self) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        // Each in an order of its own, then mixed: an option may not move past another that it overrides.
        let mut groups = vec![self.identity(), self.start()];
        let nvdimm = self.dice.random_bool(0.3);
        let mut kind = (*["q35", "type=q35", "pc"].choose(&mut self.dice).unwrap()).to_owned();
        if nvdimm {
            kind += ",nvdimm=on";
        }
        groups.push(vec![self.one_of(&["-machine", "-M", "--machine"]), kind]);
        groups.push(self.cpus());
        groups.push(self.memory(nvdimm, folder.path()));
        if self.dice.random_bool(0.3) {
            groups.push(words(self.one_of(&["-usb", "-no-reboot", "-snapshot", "-no-user-config"]).as_str()));
        }
        groups.shuffle(&mut self.dice);
        Machine { arguments: groups.concat(), folder }
    }

    fn one_of(&mut self, texts: &[&str]) -> String {
        (*texts.choose(&mut self.dice).unwrap()).to_owned()
    }

    fn identity(&mut self) -> Vec<String> {
        let uuid = |dice: &mut SmallRng| {
            let uuid = Uuid::from_bytes(dice.random()).to_string();
            if dice.random_bool(0.5) { uuid.to_uppercase() } else { uuid }
        };
        let mut identity = match self.dice.random_range(0..5) {
            0 => Vec::new(),
            1 => vec!["-uuid".to_owned(), uuid(&mut self.dice)],
            2 => vec!["-smbios".to_owned(), format!("type=1,serial=7,uuid={}", uuid(&mut self.dice))],
            3 => vec![
                "-uuid".to_owned(),
                uuid(&mut self.dice),
                "-smbios".to_owned(),
                format!("type=1,uuid={}", uuid(&mut self.dice)),
            ],
            _ => vec![
                "-smbios".to_owned(),
                format!("type=1,uuid={}", uuid(&mut self.dice)),
                "-uuid".to_owned(),
                uuid(&mut self.dice),
            ],
        };
        identity.extend(match self.dice.random_range(0..4) {
            0 => Vec::new(),
            1 => words("-name web"),
            2 => words("--name guest=a,,b/c,debug-threads=on"),
            _ => words("-name first -name debug-threads=on,guest=-m"),
        });
        identity
    }

    fn start(&mut self) -> Vec<String> {
        words(&self.one_of(&["", "-S", "-incoming defer", "-S -incoming defer"]))
    }

    /// CPUs from the start, perhaps with one that is a device.
    fn cpus(&mut self) -> Vec<String> {
        let count = self.dice.random_range(1..5);
        match self.dice.random_range(0..9) {
            0 => Vec::new(),
            1 => words(&format!("-smp {count}")),
            2 => words(&format!("-smp cpus=0x{count:x}")),
            3 => words(&format!("-smp sockets=2,cores={count}")),
            4 => words(&format!("--smp maxcpus={count}")),
            5 => words(&format!("-machine smp.cpus={count}")),
            6 => words(&format!("-smp 1 -smp cpus={count},maxcpus=8")),
            7 => words(&format!(
                "-smp {count},sockets=8,cores=1,threads=1,maxcpus=8 -device qemu64-x86_64-cpu,socket-id=7,core-id=0,thread-id=0"
            )),
            _ => {
                let mut words = words(&format!("-smp {count},sockets=8,cores=1,threads=1,maxcpus=8 -device"));
                words.push(
                    r#"{"driver": "qemu64-x86_64-cpu", "socket-id": 6, "core-id": 0, "thread-id": 0}"#.to_owned(),
                );
                words
            }
        }
    }

    /// Memory from the start, perhaps with some that is a device.
    fn memory(&mut self, nvdimm: bool, folder: &Path) -> Vec<String> {
        let size = 32 * self.dice.random_range(1..5);
        let can_be_plugged = ",slots=4,maxmem=4G";
        let hot = self.dice.random_bool(0.5);
        let more = if hot { can_be_plugged } else { "" };
        let mut memory = match self.dice.random_range(0..9) {
            0 => words(&if hot { format!("-m {}", &can_be_plugged[1..]) } else { String::new() }),
            1 => words(&format!("-m {size}{more}")),
            2 => words(&format!("-m size={}k{more}", size * 1024)),
            3 => words(&format!("--m 0.5G -m 0x{size:x}{more}")),
            4 => words(&format!("-m 0.1G{more}")),
            5 if !hot => words(&format!("-M memory.size={size}M")),
            6 => words(&format!(
                "-object memory-backend-ram,id=ram0,size={size}M -machine memory-backend=ram0 -m {size}{more}"
            )),
            7 if !hot => {
                words(&format!("-object memory-backend-ram,size={size}M,id=ram0 -machine memory-backend=ram0"))
            }
            _ => {
                let more = if hot { "slots = \"4\"\n maxmem = \"4G\"\n" } else { "" };
                let text = format!("# Incus does it so.\n[memory]\n size = \"{size}M\"\n{more}\n[smp-opts]\n");
                std::fs::write(folder.join("qemu.conf"), text).unwrap();
                words("-readconfig qemu.conf")
            }
        };
        for number in 0..if hot { self.dice.random_range(0..3) } else { 0 } {
            let driver = if nvdimm && self.dice.random_bool(0.5) { "nvdimm" } else { "pc-dimm" };
            let bytes = 128 * 1024 * 1024;
            if self.dice.random_bool(0.5) {
                memory.extend(words(&format!("-object qom-type=memory-backend-ram,id=m{number},size=128M")));
            } else {
                let object = json!({"qom-type": "memory-backend-ram", "id": format!("m{number}"), "size": bytes});
                memory.extend(["-object".to_owned(), object.to_string()]);
            }
            memory.push("-device".to_owned());
            memory.push(match self.dice.random_range(0..3) {
                0 => format!("{driver},memdev=m{number},id=d{number}"),
                1 => json!({"driver": driver, "memdev": format!("m{number}"), "id": format!("d{number}")}).to_string(),
                _ => format!("{{'id': 'd{number}', 'driver': '{driver}', 'memdev': 'm{number}'}}"),
            });
        }
        memory
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inventory_says_of_a_machine_what_qemu_says() {
    let seed: u64 = rand::random();
    let mut workshop = Workshop { dice: SmallRng::seed_from_u64(seed) };
    let machines: Vec<_> = (0..MACHINES).map(|_| workshop.machine()).collect();
    let processes = HostProcesses::under("/proc", WORKER);
    let compare = async |Machine { arguments, folder }: Machine| {
        let line = arguments.join(" ");
        let mut qemu = Qemu::start(folder, &arguments).await.map_err(|words| format!("{line}\n  refused: {words}"))?;
        let expected = qemu.says().await;
        match found(&processes, &expected.id) {
            Some(found) if found == expected => Ok(()),
            found => Err(format!("{line}\n  QEMU says  {expected:?}\n  found      {found:?}")),
        }
    };
    let outcomes = stream::iter(machines.into_iter().map(compare)).buffer_unordered(AT_ONCE);
    let wrong: Vec<_> = outcomes.filter_map(async |outcome| outcome.err()).collect().await;
    assert!(wrong.is_empty(), "seed {seed}, {} of {MACHINES} machines:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_machine_that_waits_is_created_and_then_runs() {
    let processes = HostProcesses::under("/proc", WORKER);
    for name in ["plain", "debug-threads=on,guest=plain"] {
        let arguments = ["-S", "-m", "64", "-vga", "std", "-name", name].map(str::to_owned);
        let mut qemu = Qemu::start(tempfile::tempdir().unwrap(), &arguments).await.unwrap();
        let expected = qemu.says().await;
        assert_eq!(expected.status, VmStatus::Created);
        assert_eq!(found(&processes, &expected.id).unwrap().status, VmStatus::Created, "{name}");
        qemu.ask("cont").await;
        let running = async || found(&processes, &expected.id).filter(|vm| vm.status == VmStatus::Running);
        eventually("the machine is seen running", running).await;
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_leaves_the_size_unknown() {
    let processes = HostProcesses::under("/proc", WORKER);
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("qemu.conf");
    std::fs::write(&file, "[memory]\nsize = \"96M\"\n[smp-opts]\ncpus = \"3\"\n").unwrap();
    let arguments = ["-S", "-name", "incus", "-readconfig", file.to_str().unwrap()].map(str::to_owned);
    let mut qemu = Qemu::start(folder, &arguments).await.unwrap();
    let expected = qemu.says().await;
    assert_eq!((expected.vcpus, expected.memory_mb), (3, 96));
    assert_eq!(found(&processes, &expected.id).as_ref(), Some(&expected));
    std::fs::remove_file(&file).unwrap();
    let unknown = VmReport { vcpus: 0, memory_mb: 0, ..expected.clone() };
    assert_eq!(found(&processes, &expected.id), Some(unknown));
}
