//! Agents that are started anew, all at once as after an upgrade: what is told of their VMs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::run_process;
use crate::database::TestDatabase;
use crate::harness::{Program, Server, eventually};

/// How many agents there are.
const AGENTS: usize = 200;

/// The one whose host is started anew, too.
const REBOOTED: usize = 17;

/// A host, as its `/proc` shows it, with two VMs.
struct Host {
    id: String,
    proc: TempDir,
}

impl Host {
    fn new(number: usize) -> Self {
        let host = Self { id: format!("host-{number:03}"), proc: tempfile::tempdir().unwrap() };
        run_process(host.proc.path(), 1, "/sbin/init");
        for vm in [1, 2] {
            let uuid = format!("6f0e0000-0000-4000-8000-{number:06}{vm:06}");
            let command = format!("/usr/bin/qemu-system-x86_64 -name vm-{number}-{vm} -smp 2 -m 1024 -uuid {uuid}");
            run_process(host.proc.path(), 4_000 + vm, &command);
        }
        host.boot("first");
        host
    }

    fn boot(&self, boot: &str) {
        let folder = self.proc.path().join("sys/kernel/random");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("boot_id"), format!("{}-{boot}\n", self.id)).unwrap();
    }

    /// The host is started anew, and none of its VMs.
    fn reboot(&self) {
        for vm in [4_001, 4_002] {
            fs::remove_dir_all(self.proc.path().join(vm.to_string())).unwrap();
        }
        self.boot("second");
    }

    fn agent(&self, server: &Server) -> Program {
        let proc: &Path = self.proc.path();
        Program::start(&["agent", "--server", &server.url, "--id", &self.id, "--proc", proc.to_str().unwrap()])
    }
}

#[tokio::test]
async fn of_200_agents_that_are_started_anew_only_the_one_on_a_rebooted_host_brings_events_of_vms() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &["--offline-after", "1h", "--heartbeat-interval", "2s"]).await;
    let hosts: Vec<Host> = (0..AGENTS).map(Host::new).collect();
    let agents: Vec<Program> = hosts.iter().map(|host| host.agent(&server)).collect();
    let vms = async || server.get("/vms?limit=1").await["total"].as_u64().unwrap() as usize;
    grows_to(2 * AGENTS, "VMs to be reported", vms).await;
    let told = last_cursor(&server).await;

    for agent in &agents {
        agent.signal("TERM");
    }
    for agent in agents {
        assert_eq!(agent.exit().await.code, Some(0));
    }
    hosts[REBOOTED].reboot();
    let agents: Vec<Program> = hosts.iter().map(|host| host.agent(&server)).collect();
    let back = async || count(&events_after(&server, &told).await, "worker_restarted");
    grows_to(AGENTS, "agents to be back", back).await;
    eventually("the VMs of the others", async || (vms().await == 2 * (AGENTS - 1)).then_some(())).await;
    // Each has told its inventory when it has been heard twice more.
    for _ in 0..2 {
        let before = last_seen(&server).await;
        eventually("another heartbeat of each", async || {
            let now = last_seen(&server).await;
            before.iter().all(|(id, seen)| now[id] != *seen).then_some(())
        })
        .await;
    }

    let events = events_after(&server, &told).await;
    let of_vms: Vec<_> = events.iter().filter(|event| event["vm_id"].is_string()).collect();
    assert_eq!(of_vms.len(), 2, "{of_vms:?}");
    for event in of_vms {
        assert_eq!(event["worker_id"], json!(hosts[REBOOTED].id), "{event}");
    }
    let kinds = events.iter().fold(BTreeMap::new(), |mut kinds, event| {
        *kinds.entry(event["kind"].as_str().unwrap()).or_insert(0) += 1;
        kinds
    });
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    for agent in &agents {
        agent.signal("TERM");
    }
    for agent in agents {
        agent.exit().await;
    }
    server.stop().await;
}

/// Waits until a count has come up to this. So many programs may take minutes to start, so each that does is waited for
/// anew.
async fn grows_to(expected: usize, what: &str, count: impl AsyncFn() -> usize) {
    let mut reached = count().await;
    while reached < expected {
        let more = async || Some(count().await).filter(|now| *now > reached);
        reached = eventually(&format!("{expected} {what}, after {reached}"), more).await;
    }
    assert_eq!(reached, expected, "{what}");
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["kind"] == kind).count()
}

/// When each worker was last heard.
async fn last_seen(server: &Server) -> BTreeMap<String, Value> {
    let list = server.get("/workers").await;
    let workers = list["workers"].as_array().unwrap().iter();
    workers.map(|worker| (worker["id"].as_str().unwrap().to_owned(), worker["last_seen"].clone())).collect()
}

async fn last_cursor(server: &Server) -> String {
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/events?limit=500&after={cursor}")).await;
        let events = page["events"].as_array().unwrap();
        match events.last() {
            Some(last) => cursor = last["cursor"].as_str().unwrap().to_owned(),
            None => return cursor,
        }
    }
}

async fn events_after(server: &Server, cursor: &str) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), cursor.to_owned());
    loop {
        let mut page = server.get(&format!("/events?limit=500&after={after}")).await;
        let nodes = page["events"].as_array_mut().unwrap();
        let Some(last) = nodes.last() else { return events };
        after = last["cursor"].as_str().unwrap().to_owned();
        events.append(nodes);
    }
}
