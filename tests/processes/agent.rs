//! `aetherium agent` and `aetherium serve`, talking to each other.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::harness::{Program, Proxy, Server, eventually};

/// Beats come often enough for a test to see them.
const LIVELY: [&str; 2] = ["--heartbeat-interval", "100ms"];

#[tokio::test]
async fn an_agent_reports_this_host_as_it_is() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &LIVELY).await;
    let said = ["agent", "--server", &server.url, "--zone", "here", "--label", "env=test", "--leave-on-stop"];
    let agent = Program::start(&said);

    let hostname = read("/proc/sys/kernel/hostname");
    let id = hostname.trim();
    let worker = worker(&server, id, |worker| worker["status"] == "active").await;
    let cores = read("/proc/cpuinfo").matches("processor\t").count();
    let memory: u64 = read("/proc/meminfo").split_whitespace().nth(1).unwrap().parse().unwrap();
    for (key, expected) in [
        ("hostname", json!(id)),
        ("address", json!(format!("{id}:8081"))),
        ("zone", json!("here")),
        ("labels", json!({"env": "test"})),
        ("cpu_cores", json!(cores)),
        ("memory_mb", json!(memory / 1024)),
        ("is_healthy", json!(true)),
    ] {
        assert_eq!(worker[key], expected, "{key}");
    }
    assert!(worker["disk_gb"].as_u64() > Some(0));

    agent.signal("TERM");
    let exit = agent.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
    let worker = server.get(&format!("/workers/{id}")).await;
    assert_eq!((&worker["status"], &worker["is_healthy"]), (&json!("offline"), &json!(false)), "goodbye is at once");
    server.stop().await;
}

#[tokio::test]
async fn hypervisors_of_the_host_show_up_as_vms() {
    let host = tempfile::tempdir().unwrap();
    let uuid = "6f0e0000-0000-4000-8000-00000000000a";
    run_process(host.path(), 1, "/sbin/init");
    let command = "/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -smp 4 -m 2048";
    run_process(host.path(), 4242, &format!("{command} -uuid {uuid}"));
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &LIVELY).await;
    let proc = host.path().to_str().unwrap();
    let mut agent = Program::start(&["agent", "--server", &server.url, "--id", "host-1", "--proc", proc]);

    let web = json!({"id": uuid, "name": "web", "status": "running", "vcpus": 4, "memory_mb": 2048});
    assert_eq!(vms_when(&server, 1).await, std::slice::from_ref(&web));
    let found = worker(&server, "host-1", |_| true).await;
    assert_eq!(
        (&found["vm_count"], &found["used_cpu_cores"], &found["used_memory_mb"]),
        (&json!(1), &json!(4), &json!(2048))
    );

    run_process(host.path(), 4300, "/usr/bin/firecracker --id fc-7 --api-sock /run/fc-7.sock");
    let both = vms_when(&server, 2).await;
    // A name is no id, and what the arguments do not say is not made up.
    let fc_7 = json!({
        "id": "host-1~firecracker-4300-4300", "name": "fc-7", "status": "running", "vcpus": 0, "memory_mb": 0,
    });
    assert_eq!(both, [web.clone(), fc_7.clone()]);
    fs::remove_dir_all(host.path().join("4242")).unwrap();
    assert_eq!(vms_when(&server, 1).await, [fc_7]);

    let says = |message: &'static str| move |line: &Value| line["message"] == message;
    agent.logged("what it found", says("Worker host-1 runs 1 VM: 1 qemu")).await;
    let came = "VM host-1~firecracker-4300-4300 (fc-7, firecracker) appeared on worker host-1";
    agent.logged("what came", says(came)).await;
    let went = "VM 6f0e0000-0000-4000-8000-00000000000a (web, qemu) is gone from worker host-1";
    agent.logged("what went", says(went)).await;
    let unknown = agent.logged("what it cannot know", |line| {
        line["level"] == "WARN" && line["message"].as_str().unwrap().contains("cannot be found out")
    });
    assert!(unknown.await["message"].as_str().unwrap().ends_with(": host-1~firecracker-4300-4300"));

    agent.signal("INT");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn a_host_whose_processes_are_hidden_is_not_an_empty_one() {
    let host = tempfile::tempdir().unwrap();
    run_process(host.path(), 1, "/sbin/init");
    run_process(host.path(), 4242, "/usr/bin/qemu-system-x86_64 -name web -smp 4 -m 2048");
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &LIVELY).await;
    let proc = host.path().to_str().unwrap();
    let mut agent = Program::start(&["agent", "--server", &server.url, "--id", "host-1", "--proc", proc]);
    let before = vms_when(&server, 1).await;

    // As after a remount with `hidepid`: nothing of others shows any more.
    for process in ["1", "4242"] {
        fs::remove_dir_all(host.path().join(process)).unwrap();
    }
    let is_hidden = |line: &Value| {
        let error = line["error"].as_str().unwrap_or_default();
        line["level"] == "WARN" && error.contains("process 1 cannot be read")
    };
    agent.logged("that it cannot see", is_hidden).await;
    let seen = |worker: &Value| worker["last_seen"].as_str().map(str::to_owned);
    let then = worker(&server, "host-1", |_| true).await;
    let later = worker(&server, "host-1", |worker| seen(worker) > seen(&then)).await;
    assert_eq!((&later["vm_count"], &later["used_cpu_cores"]), (&json!(1), &json!(4)), "it beats, and claims nothing");
    assert_eq!(vms_when(&server, 1).await, before);

    agent.signal("INT");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

// regression: an agent's restart stopped all VMs of its host
#[tokio::test]
async fn an_agent_that_is_started_anew_leaves_its_host_as_it_was() {
    let host = tempfile::tempdir().unwrap();
    run_process(host.path(), 1, "/sbin/init");
    for pid in 1..=5 {
        run_process(host.path(), 4_000 + pid, &format!("/usr/bin/firecracker --id fc-{pid} --api-sock /run/{pid}"));
    }
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &LIVELY).await;
    let proc = host.path().to_str().unwrap();
    let said = ["agent", "--server", &server.url, "--id", "host-1", "--proc", proc];
    let mut agent = Program::start(&said);
    vms_when(&server, 5).await;
    let started = worker(&server, "host-1", |_| true).await["started_at"].take();

    // Stopped and started as for an upgrade, and killed as by a crash.
    for signal in ["TERM", "KILL"] {
        agent.signal(signal);
        agent.exit().await;
        let left = server.get("/workers/host-1").await;
        assert_eq!((&left["status"], &left["vm_count"]), (&json!("active"), &json!(5)), "after {signal}");
        let revision = left["revision"].as_u64();
        agent = Program::start(&said);
        // It has registered, and told its inventory.
        let heard = worker(&server, "host-1", |worker| worker["revision"].as_u64() > revision.map(|it| it + 1)).await;
        assert_eq!(heard["vm_count"], 5);
        assert_ne!(heard["started_at"], started);
    }
    let events = server.get("/events?limit=500").await["events"].take();
    let kinds = events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned());
    let mut expected = vec!["worker_registered"];
    expected.extend(["vm_started"; 5]);
    expected.extend(["worker_restarted"; 2]);
    assert_eq!(kinds.collect::<Vec<_>>(), expected);

    agent.signal("TERM");
    agent.exit().await;
    // For one that is taken out of service for good, from its host; and never from another one.
    let leave = async |id: &str| Program::run(&["agent", "leave", "--server", &server.url, "--id", id]).await;
    let gone = leave("host-1").await;
    assert_eq!(gone.code, Some(0), "{}", gone.err);
    assert_eq!(server.get("/workers/host-1").await["status"], "offline");
    assert_eq!(leave("host-2").await.code, Some(0), "nobody knows it");
    server.stop().await;
}

#[tokio::test]
async fn an_agent_outlives_its_server_and_registers_where_it_is_not_known() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &LIVELY).await;
    let proxy = Proxy::to(&server).await;
    let empty = tempfile::tempdir().unwrap();
    let proc = empty.path().to_str().unwrap();
    let agent = Program::start(&["agent", "--server", &proxy.url, "--id", "host-1", "--proc", proc]);
    let before = worker(&server, "host-1", |worker| worker["status"] == "active").await;

    // The same cluster, another process: the worker goes on as the one it was.
    server.kill().await;
    let server = Server::start_with(&database, &LIVELY).await;
    proxy.turn_to(&server);
    let seen = |worker: &Value| worker["last_seen"].as_str().map(str::to_owned);
    let after = worker(&server, "host-1", |worker| seen(worker) > seen(&before)).await;
    assert_eq!(after["started_at"], before["started_at"], "it did not start again");

    // Another cluster, which has never heard of it.
    server.kill().await;
    let another = TestDatabase::sqlite();
    let server = Server::start_with(&another, &LIVELY).await;
    proxy.turn_to(&server);
    worker(&server, "host-1", |worker| worker["status"] == "active").await;

    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn an_agent_ends_when_told_to_although_no_server_is_there() {
    let mut agent = Program::start(&["agent", "--server", "http://127.0.0.1:1", "--id", "host-1"]);
    agent.logged("it is not heard", |line| line["level"] == "WARN" && line["worker.id"] == "host-1").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
}

#[tokio::test]
async fn of_two_processes_with_one_id_the_older_gives_up() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &LIVELY).await;
    let start = || Program::start(&["agent", "--server", &server.url, "--id", "host-1"]);
    let older = start();
    worker(&server, "host-1", |_| true).await;
    let newer = start();
    let exit = older.exit().await;
    assert_eq!(exit.code, Some(1));
    let last = exit.err.lines().last().unwrap();
    assert!(last.starts_with("aetherium: another process has registered as worker host-1"), "{last}");
    worker(&server, "host-1", |worker| worker["status"] == "active").await;
    newer.signal("TERM");
    assert_eq!(newer.exit().await.code, Some(0));
    server.stop().await;
}

/// Waits for a worker to be there, and as expected.
async fn worker(server: &Server, id: &str, is_as_expected: impl Fn(&Value) -> bool) -> Value {
    let ask = async || {
        let (status, worker) = server.ask(&format!("/workers/{id}")).await;
        (status.is_success() && is_as_expected(&worker)).then_some(worker)
    };
    eventually(&format!("worker {id} is as expected"), ask).await
}

/// Waits until `host-1` has this many VMs.
async fn vms_when(server: &Server, count: usize) -> Vec<Value> {
    let ask = async || {
        let (status, list) = server.ask("/workers/host-1/vms").await;
        let vms = status.is_success().then(|| list["vms"].as_array().unwrap().clone())?;
        (vms.len() == count).then_some(vms)
    };
    eventually(&format!("{count} VMs are reported"), ask).await
}

/// Makes a process appear in a `/proc`, whole at once as real ones do.
pub fn run_process(proc: &Path, pid: u32, command: &str) {
    let unseen = tempfile::tempdir().unwrap();
    let folder = unseen.path().join("process");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("cmdline"), format!("{}\0", command.replace(' ', "\0"))).unwrap();
    fs::write(folder.join("stat"), format!("{pid} (vm) S 1{} {pid} 0\n", " 0".repeat(17))).unwrap();
    fs::rename(&folder, proc.join(pid.to_string())).unwrap();
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}
