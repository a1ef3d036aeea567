//! The commands of operators, typed: against a real server, into pipes, with what the documents promise about output and
//! exit statuses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::database::TestDatabase;
use crate::harness::{Exit, PATIENCE, Program, Server, eventually};

/// A terminal of somebody, with a home of its own, in front of one server.
struct Operator {
    home: TempDir,
    variables: Vec<(String, String)>,
}

impl Operator {
    fn of(url: &str) -> Self {
        let operator = Self::of_nobody();
        Self { variables: vec![("AETHERIUM_SERVER".to_owned(), url.to_owned())], ..operator }
    }

    /// Somebody who has named no server.
    fn of_nobody() -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn start(&self, arguments: &[&str]) -> Program {
        let home = self.home.path().to_str().unwrap();
        let mut variables = vec![("HOME", home)];
        variables.extend(self.variables.iter().map(|(name, value)| (&**name, &**value)));
        Program::start_with(arguments, &variables)
    }

    async fn run(&self, line: &str) -> Exit {
        self.type_in(&line.split(' ').collect::<Vec<_>>()).await
    }

    async fn type_in(&self, arguments: &[&str]) -> Exit {
        self.start(arguments).exit().await
    }

    /// The output of a command that succeeds.
    async fn out(&self, line: &str) -> String {
        let exit = self.run(line).await;
        assert_eq!((exit.code, exit.err.as_str()), (Some(0), ""), "{line}");
        exit.out
    }

    fn login_file(&self) -> PathBuf {
        self.home.path().join(".config/aetherium/login.json")
    }
}

/// A server with workers `w000`, `w001`, … in the zones `a` and `b`.
async fn server_with(workers: usize) -> Server {
    let server = Server::start(&TestDatabase::sqlite()).await;
    populate(&server, workers).await;
    server
}

async fn populate(server: &Server, workers: usize) {
    for at in 0..workers {
        let zone = if at % 2 == 0 { "a" } else { "b" };
        let worker = json!({
            "hostname": format!("host-{at}"), "address": "10.0.0.1:8081", "zone": zone, "labels": {"env": "prod", "n": at.to_string()},
            "cpu_cores": 16, "memory_mb": 32768, "disk_gb": 500, "boot_id": "first"
        });
        server.put(&format!("/workers/w{at:03}"), &worker).await;
    }
}

async fn heartbeat(server: &Server, worker: &str, sequence: u64, vms: Value) {
    let beat = json!({"incarnation": 1, "boot_id": "first", "sequence": sequence, "vms": vms});
    let (status, answer) =
        server.change(reqwest::Method::POST, &format!("/workers/{worker}/heartbeat"), Some(&beat)).await;
    assert!(status.is_success(), "{answer}");
}

fn vm(id: &str, status: &str) -> Value {
    json!({"id": id, "name": format!("name of {id}"), "status": status, "vcpus": 2, "memory_mb": 1024})
}

/// What jq makes of a text. It fails for what is not JSON.
async fn jq(filter: &str, text: &str) -> String {
    let mut jq = Command::new("jq");
    let jq = jq.args(["--compact-output", "--exit-status", filter]);
    let mut jq = jq.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("jq is there");
    jq.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = jq.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{filter}: {output:?}\n{text}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn every_command_writes_json_that_jq_reads() {
    let server = server_with(3).await;
    heartbeat(&server, "w000", 1, json!([vm("vm-1", "running"), vm("vm-2", "failed")])).await;
    let operator = Operator::of(&server.url);
    for (line, filter, expected) in [
        ("workers -o json", "[.total, (.workers | length), .workers[0].id]", r#"[3,3,"w000"]"#),
        ("workers w001 -o json", ".id", r#""w001""#),
        ("workers w002 w001 -o json", "[.workers[].id]", r#"["w002","w001"]"#),
        ("workers --zone b -o jsonl", ".zone", r#""b""#),
        ("workers -l env=prod -l n=2 -o json", "[.workers[].id]", r#"["w002"]"#),
        ("workers --sort -vm_count --limit 1 -o json", "[.workers[].id]", r#"["w000"]"#),
        ("workers --search host-1 -o json", "[.workers[].id]", r#"["w001"]"#),
        ("workers --status offline -o json", ".", r#"{"workers":[],"total":0}"#),
        ("workers w000 -o json -c id,labels.env,drain", ".", r#"{"id":"w000","labels.env":"prod","drain":null}"#),
        ("vms -o json", "[.vms[] | .id, .worker_id]", r#"["vm-1","w000"]"#),
        ("vms --status failed --worker w000 --zone a -o json", "[.vms[].id]", r#"["vm-2"]"#),
        ("vms --status running --status failed --sort -status -o json", "[.vms[].id]", r#"["vm-2","vm-1"]"#),
        ("vms vm-1 vm-2 -o json", "[.vms[].status]", r#"["running","failed"]"#),
        ("vms vm-1 -o json", ".status", r#""running""#),
        ("events --worker w000 -o json", "[.events[].kind]", r#"["worker_registered","vm_started","vm_failed"]"#),
        ("events --limit 1 -o json", "[.events[].worker_id]", r#"["w000"]"#),
        ("status -o json", "[.stats.total_workers, (.zones | length), .attention[].kind]", r#"[3,2,"vm_failed"]"#),
        ("drain w000 w002 --dry-run --allow-shortfall -o json", "[.total_changed, .plan.vms]", "[2,1]"),
        ("activate w000 --dry-run -o json", "[.workers[].changed]", "[false]"),
        ("api workers?zone=b", "[.workers[].id]", r#"["w001"]"#),
        ("api /api/v1/workers/w001/drain -X POST", ".status", r#""draining""#),
        ("query {clusterStats{totalWorkers}}", ".data.clusterStats.totalWorkers", "3"),
        ("login -o json", ".session.asks_for_tokens | not", "true"),
        ("token list -o json", ".", r#"{"tokens":[],"total":0}"#),
        ("logout -o json", ".signed_out", "true"),
    ] {
        let exit = operator.run(line).await;
        assert_eq!((exit.code, exit.err.as_str()), (Some(0), ""), "{line}");
        assert_eq!(jq(filter, &exit.out).await, expected, "{line}: {}", exit.out);
    }
}

#[tokio::test]
async fn every_failure_has_its_exit_status_and_is_json_if_that_was_asked_for() {
    let server = server_with(1).await;
    let operator = Operator::of(&server.url);
    let nowhere = Operator::of("http://127.0.0.1:1");
    for (operator, line, exit, code) in [
        (&operator, "workers w009", 3, 404),
        (&operator, "workers w000 w009", 3, 404),
        (&operator, "workers ..", 3, 404),
        (&operator, "vms vm-9", 3, 404),
        (&operator, "vms vm-8 vm-9", 3, 404),
        (&operator, "workers --status asleep", 2, 400),
        (&operator, "workers --sort nonsense", 2, 400),
        (&operator, "workers --nonsense", 2, 400),
        (&operator, "workers -c nonsense", 2, 400),
        (&operator, "workers --zone=", 2, 400),
        (&operator, "workers --search=", 2, 400),
        (&operator, "workers -l=", 2, 400),
        (&operator, "workers --capability=", 2, 400),
        (&operator, "vms --worker=", 2, 400),
        (&operator, "vms --status=", 2, 400),
        (&operator, "vms --search=", 2, 400),
        (&operator, "events --worker=", 2, 400),
        (&operator, "events --since=", 2, 400),
        (&operator, "drains --state=", 2, 400),
        (&operator, "workers w000 --watch", 2, 400),
        (&operator, "events --after nonsense", 2, 400),
        (&operator, "events --follow --after nonsense", 2, 400),
        (&operator, "status -c id", 2, 400),
        (&operator, "workers --server localhost:8080", 2, 400),
        (&operator, "workers --token-file /nowhere", 2, 400),
        (&operator, "workers --ca-file /nowhere", 2, 400),
        (&nowhere, "workers", 7, 503),
        (&nowhere, "status --watch", 7, 503),
        (&nowhere, "events --follow", 7, 503),
        (&nowhere, "vms", 7, 503),
        (&nowhere, "login", 7, 503),
    ] {
        let told = operator.run(&format!("{line} -o json")).await;
        assert_eq!(told.code, Some(exit), "{line}: {}", told.err);
        let keys = jq("[(.error | type), (.message | length > 0), .code]", &told.err).await;
        assert_eq!(keys, format!(r#"["string",true,{code}]"#), "{line}: {}", told.err);
        let said = operator.run(line).await;
        assert_eq!(said.code, Some(exit), "{line}");
        let is_sentence =
            said.err.starts_with("aetherium: ") && said.err.ends_with(".\n") && said.err.lines().count() == 1;
        assert!(is_sentence || said.err.starts_with("error: "), "{line}: {}", said.err);
    }
    for (line, exit, code) in [
        ("api workers/w009", 3, 404),
        ("api workers/w000 -X PATCH", 2, 405),
        ("api workers/w000/drain -d []", 2, 400),
        ("api workers/w000/drain -X POST -H If-Match:\"999\"", 5, 412),
        ("query {nonsense}", 2, 400),
        ("query mutation{drainWorker(input:{workerId:\"w009\"}){worker{id}}}", 3, 404),
    ] {
        let exit_of = operator.run(line).await;
        assert_eq!(exit_of.code, Some(exit), "{line}: {}", exit_of.err);
        assert_eq!(jq(".code", &exit_of.err).await, code.to_string(), "{line}: {}", exit_of.err);
    }
    // The server's own body is handed on, with all of its keys.
    let refused = operator.run("workers --status asleep -o json").await;
    assert_eq!(jq(".argument", &refused.err).await, r#""status""#);
}

#[tokio::test]
async fn lists_walk_all_pages_and_show_each_object_once() {
    let server = server_with(1203).await;
    let beats: Vec<_> = (0..1203)
        .map(|at| {
            let vms = [vm(&format!("vm-{at}"), "running")];
            json!({"worker_id": format!("w{at:03}"), "incarnation": 1, "boot_id": "first", "vms": vms})
        })
        .collect();
    for beats in beats.chunks(1_000) {
        let body = json!({"heartbeats": beats});
        let (status, answer) = server.change(reqwest::Method::POST, "/heartbeats", Some(&body)).await;
        assert!(status.is_success(), "{answer}");
    }
    assert_eq!(server.get("/cluster/stats").await["total_vms"], 1203);
    let operator = Operator::of(&server.url);
    for (line, lines) in [
        ("workers -o name", 1203),
        ("workers -o jsonl", 1203),
        ("workers -o csv", 1204),
        ("workers", 1204),
        ("vms -o name", 1203),
        ("workers -o name --limit 700", 700),
        ("workers -o csv --limit 0", 1),
    ] {
        let out = operator.out(line).await;
        assert_eq!(out.lines().count(), lines, "{line}");
    }
    let names = operator.out("workers -o name --sort -cpu_usage").await;
    let unique: std::collections::BTreeSet<_> = names.lines().collect();
    assert_eq!((unique.len(), names.lines().count()), (1203, 1203));
    let all: Value = serde_json::from_str(&operator.out("workers -o json").await).unwrap();
    assert_eq!((all["total"].as_u64(), all["workers"].as_array().unwrap().len()), (Some(1203), 1203));
    // A reader that has enough is no failure.
    let head =
        format!("{} workers -o jsonl | head -n 1 | wc -l; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_aetherium"));
    let piped = Command::new("bash").args(["-c", &head]).env("AETHERIUM_SERVER", &server.url).output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&piped.stdout), String::from_utf8_lossy(&piped.stderr));
    assert_eq!((piped.status.code(), out.trim(), &*err), (Some(0), "1", ""));
}

#[tokio::test]
async fn text_of_others_does_not_reach_a_terminal_as_it_is() {
    let server = server_with(1).await;
    // Controls are refused at the door, marks of direction are not.
    heartbeat(
        &server,
        "w000",
        1,
        json!([{"id": "vm-1", "name": "txt\u{202e}exe.\u{200b}x", "status": "running", "vcpus": 1, "memory_mb": 1}]),
    )
    .await;
    let operator = Operator::of(&server.url);
    let table = operator.out("vms -c name").await;
    assert_eq!(table, "NAME\ntxt\\u{202e}exe.\\u{200b}x\n");
    for line in ["vms -o json", "vms vm-1 -o json", "vms -o jsonl", "vms vm-1", "vms", "vms -o wide"] {
        let out = operator.out(line).await;
        assert!(!out.contains(['\u{202e}', '\u{200b}']), "{line}: {out}");
    }
    let json = operator.out("vms vm-1 -o json").await;
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["name"], "txt\u{202e}exe.\u{200b}x", "it means the same");
    let refused = operator.type_in(&["workers", "w\u{1b}[31m\u{202e}"]).await;
    assert_eq!((refused.code, refused.err.contains(['\u{1b}', '\u{202e}'])), (Some(3), false), "{}", refused.err);
}

#[tokio::test]
async fn a_watch_loses_nothing_while_the_server_is_killed_and_started_again() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    populate(&server, 2).await;
    let address = server.address.to_string();
    let operator = Operator::of(&server.url);
    let mut workers = operator.start(&["workers", "--zone", "a", "--watch", "-o", "json"]);
    let mut vms = operator.start(&["vms", "--watch"]);
    let mut status = operator.start(&["status", "--watch", "-o", "jsonl"]);
    let mut events = operator.start(&["events", "--follow", "-o", "jsonl"]);
    workers.printed("\"change\":\"present\"").await;
    status.printed("\"total_workers\":2").await;
    // These two say nothing before something happens: a VM comes and goes until both have heard of it.
    let (mut server, mut sequence) = (server, 0);
    eventually("both to follow", async || {
        sequence += 1;
        let list = if sequence % 2 == 1 { json!([vm("vm-first", "running")]) } else { json!([]) };
        heartbeat(&server, "w000", sequence, list).await;
        (vms.heard().contains("vm-first") && events.heard().contains("vm-first")).then_some(())
    })
    .await;

    for round in 0..3 {
        for change in 0..5 {
            sequence += 1;
            heartbeat(&server, "w000", sequence, json!([vm(&format!("vm-{round}-{change}"), "running")])).await;
        }
        server.kill().await;
        server = Server::start_at(&address, &database, &["--offline-after", "1h"]).await;
        sequence += 1;
        heartbeat(&server, "w000", sequence, json!([vm(&format!("vm-{round}-after"), "running")])).await;
    }
    let (drained, _) = server.change(reqwest::Method::POST, "/workers/w000/drain", None).await;
    assert!(drained.is_success());

    let log = server.log(0).await;
    let last = log.last().unwrap().cursor.clone();
    let followed = events.printed(&last).await;
    let seen: Vec<Value> = followed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = seen[0]["cursor"].as_str().unwrap();
    let from = log.iter().position(|event| event.cursor == first).unwrap();
    let expected: Vec<_> = log[from..].iter().map(|event| event.cursor.as_str()).collect();
    assert_eq!(seen.iter().map(|event| event["cursor"].as_str().unwrap()).collect::<Vec<_>>(), expected);

    // Every event about the worker is one object, with the state after it.
    let told = workers.printed(&last).await;
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cursors: Vec<_> = told.iter().filter_map(|change| change["event"]["cursor"].as_str()).collect();
    let about: Vec<_> = log
        .iter()
        .filter(|event| event.worker_id.as_deref() == Some("w000"))
        .map(|event| event.cursor.as_str())
        .collect();
    let from = about.iter().position(|cursor| *cursor == cursors[0]).unwrap();
    assert_eq!(cursors, about[from..]);
    assert!(told.iter().all(|change| change["worker"]["id"] == "w000"), "the other one is in another zone");
    assert_eq!(told.last().unwrap()["worker"]["status"], "draining");

    let told = vms.printed("vm-2-after").await;
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cursors: Vec<_> = told.iter().map(|change| change["event"]["cursor"].as_str().unwrap()).collect();
    let about: Vec<_> = log.iter().filter(|event| event.vm_id.is_some()).map(|event| event.cursor.as_str()).collect();
    let from = about.iter().position(|cursor| *cursor == cursors[0]).unwrap();
    assert_eq!(cursors, about[from..from + cursors.len()], "those that came and went meanwhile, too");
    status.printed("\"draining_workers\":1").await;

    for mut program in [workers, vms, status, events] {
        // Events that had arrived before are read first, the end of their connection after them.
        program.has_said("reconnecting").await;
        program.signal("INT");
        let exit = program.exit().await;
        assert_eq!(exit.code, Some(130), "{}", exit.err);
    }
}

#[tokio::test]
async fn a_drain_is_waited_for_and_goes_on_without_whoever_began_it() {
    let server = server_with(4).await;
    let operator = Operator::of(&server.url);
    heartbeat(&server, "w000", 1, json!([vm("vm-1", "running")])).await;
    let drain = operator.start(&["drain", "w000", "-m", "new disks", "-o", "json"]);
    eventually("what is in the way", async || drain.said().contains("VM vm-1").then_some(())).await;
    drain.signal("INT");
    let interrupted = drain.exit().await;
    assert_eq!((interrupted.code, interrupted.out.as_str()), (Some(130), ""));
    assert!(interrupted.err.contains("goes on without this command"), "{}", interrupted.err);
    let worker = server.get("/workers/w000").await;
    assert_eq!((&worker["status"], &worker["drain"]["reason"]), (&json!("draining"), &json!("new disks")));

    let wait = operator.start(&["wait", "w000", "--for", "complete", "-o", "json"]);
    eventually("the wait to begin", async || wait.said().contains("vm-1").then_some(())).await;
    // The first heartbeat after the drain may have been on its way before; the second counts.
    for sequence in 2..4 {
        heartbeat(&server, "w000", sequence, json!([])).await;
    }
    let exit = wait.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
    assert_eq!(jq("[.drains[] | .worker_id, .state]", &exit.out).await, r#"["w000","complete"]"#);
    assert_eq!(operator.run("wait w000 --for complete").await.code, Some(0), "it is complete already");

    heartbeat(&server, "w001", 1, json!([vm("vm-2", "running")])).await;
    let ended = operator.start(&["drain", "w001"]);
    eventually("the drain to begin", async || ended.said().contains("vm-2").then_some(())).await;
    assert_eq!(operator.run("activate w001 -m never-mind").await.code, Some(0));
    let exit = ended.exit().await;
    assert_eq!(exit.code, Some(5), "{}", exit.err);
    assert!(exit.err.contains("w001: its drain was cancelled by operator"), "{}", exit.err);

    let overdue = operator.run("drain w001 --deadline 1ms -o json").await;
    assert_eq!(overdue.code, Some(6), "{}", overdue.err);
    let last = overdue.err.lines().last().unwrap();
    assert_eq!(jq(".code", last).await, "408");
    assert!(last.contains("overdue since") && last.contains("vm-2"), "{last}");
    let timed_out = operator.run("wait w001 w003 --for complete --timeout 10ms -o json").await;
    assert_eq!(timed_out.code, Some(6), "{}", timed_out.err);

    for (line, code) in [
        ("wait w002 w003 --for online", 0),
        ("wait w002 --for offline --timeout 10ms", 6),
        ("wait w002 --for complete", 3),
        ("wait w009 --for online", 3),
        ("drain w009", 3),
        ("drain w000 w009 --yes", 3),
        ("drain", 2),
        ("activate", 2),
        ("drain --zone=", 2),
        ("drain --search= --yes", 2),
        ("activate --search= --yes", 2),
        ("drain -l env=nothing", 3),
        // Two of two in the zone, and nobody to ask.
        ("drain --zone b", 2),
        ("activate w000 w001", 2),
    ] {
        let exit = operator.run(line).await;
        assert_eq!(exit.code, Some(code), "{line}: {}", exit.err);
    }
    assert_eq!(server.get("/workers/w003").await["status"], "active");
    let listed = operator.out("drains -o json").await;
    assert_eq!(
        jq("[.drains[] | [.worker_id, .state]] | sort", &listed).await,
        r#"[["w000","complete"],["w001","overdue"]]"#
    );
    let listed = operator.out("drains --state overdue --zone b -o name").await;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let history = operator.out("drains w001 -o json").await;
    assert_eq!(jq("[.drains[].state]", &history).await, r#"["overdue","canceled"]"#);
}

#[tokio::test]
async fn several_workers_drain_at_once_or_not_at_all() {
    let server = server_with(6).await;
    let operator = Operator::of(&server.url);
    heartbeat(&server, "w000", 1, json!([vm("vm-1", "running")])).await;
    heartbeat(&server, "w002", 1, json!([vm("vm-2", "running")])).await;
    heartbeat(&server, "w001", 1, json!([])).await;
    let told = operator.out("drain --zone a --dry-run -o json").await;
    let filter = "[.dry_run, .total_changed, .plan.fits, [.plan.moves[].to_worker_id]]";
    assert_eq!(jq(filter, &told).await, r#"[true,3,true,["w001","w001"]]"#);
    let table = operator.out("drain --zone a --dry-run").await;
    let expected = "3 of 3 workers would begin to drain.\n2 VMs have to move, of which 2 fit elsewhere.\n\n\
                    VM    FROM  TO\nvm-1  w000  w001\nvm-2  w002  w001\n";
    assert_eq!(table, expected);
    assert_eq!(operator.out("drain --zone a --dry-run -o name").await, "w000\nw002\nw004\n");
    for (line, code) in [
        ("drain --zone a --dry-run -o csv", 2),
        ("drain --zone a --dry-run -c state", 2),
        ("drain --zone a --dry-run --detach", 2),
        ("drain w009 --dry-run", 3),
        ("activate w009 --dry-run", 3),
    ] {
        assert_eq!(operator.run(line).await.code, Some(code), "{line}");
    }
    assert_eq!(server.get("/drains").await["total"], 0, "nothing was changed so far");

    let drained = operator.out("drain --zone a --yes --detach -o json").await;
    assert_eq!(jq("[.drains[].worker_id]", &drained).await, r#"["w000","w002","w004"]"#);
    let events = server.get("/events?kind=worker_drain_started").await.to_string();
    assert_eq!(jq("[.events[].revision] | [length, (unique | length)]", &events).await, "[3,1]");
    let told = operator.out("activate w000 w001 --dry-run -o json").await;
    assert_eq!(jq("[.workers[] | [.worker_id, .changed]]", &told).await, r#"[["w000",true],["w001",false]]"#);
    assert_eq!(operator.out("activate --zone a --yes -o name").await, "w000\nw002\nw004\n");
    let events = server.get("/events?kind=worker_activated").await.to_string();
    assert_eq!(jq("[.events[].revision] | [length, (unique | length)]", &events).await, "[3,1]");

    let full = json!([{"id": "vm-3", "vcpus": 15, "memory_mb": 1024}]);
    heartbeat(&server, "w001", 2, full).await;
    let told = operator.run("drain --zone a --dry-run -o json").await;
    assert_eq!((told.code, jq(".plan.total_stranded", &told.out).await.as_str()), (Some(5), "2"));
    assert_eq!(jq(".code", &told.err).await, "409");
    let refused = operator.run("drain --zone a --yes -o json").await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(5), ""));
    assert_eq!(jq("[.code, .plan.total_stranded, .plan.stranded[0].vm_id]", &refused.err).await, r#"[409,2,"vm-1"]"#);
    let said = operator.run("drain --zone a --yes").await;
    assert_eq!(said.code, Some(5));
    assert!(said.err.contains("FITS NOWHERE") && said.err.contains("vm-2"), "{}", said.err);
    assert_eq!(server.get("/workers/w004").await["status"], "active");
    let allowed = operator.run("drain --zone a --yes --allow-shortfall --detach").await;
    assert_eq!(allowed.code, Some(0), "{}", allowed.err);
    assert!(allowed.err.contains("no place was found for 2 of the 2 VMs on these workers"), "{}", allowed.err);

    operator.out("activate --zone a --yes").await;
    operator.out("drain w002 --detach").await;
    assert!(operator.out("drain w000 --dry-run").await.contains("FITS NOWHERE"));
    operator.out("drain w000 --detach").await;
    assert_eq!(server.get("/workers/w000").await["status"], "draining", "who is named is drained in any case");
}

#[tokio::test]
async fn workers_that_are_gone_for_good_are_purged() {
    let server = server_with(4).await;
    let operator = Operator::of(&server.url);
    heartbeat(&server, "w001", 1, json!([vm("vm-1", "running")])).await;
    for (line, code) in [
        ("purge", 2),
        ("purge --force", 2),
        ("purge --zone=", 2),
        ("purge w009", 3),
        ("purge w000 w009 --yes", 3),
        ("purge --offline-for 1h --yes", 3),
        ("purge -l env=nothing --yes", 3),
        // Nobody to ask.
        ("purge w000 w002", 2),
        ("purge --search w00", 2),
        ("purge w001", 5),
    ] {
        let exit = operator.run(line).await;
        assert_eq!(exit.code, Some(code), "{line}: {}", exit.err);
    }
    let told = operator.run("purge --search w00 --dry-run -o json").await;
    let expected = r#"["w000","w002","w003"]"#;
    assert_eq!((told.code, jq("[.purged[].worker_id]", &told.out).await.as_str()), (Some(0), expected));
    assert!(told.err.contains("Worker w001 still holds 1 VMs"), "{}", told.err);
    assert_eq!(server.get("/workers").await["total"], 4, "nothing was changed so far");

    assert_eq!(operator.out("purge w000 -o name").await, "w000\n", "who is named is meant");
    let purged = operator.run("purge --search w00 --yes -o json").await;
    assert_eq!((purged.code, jq("[.purged[].worker_id]", &purged.out).await.as_str()), (Some(5), r#"["w002","w003"]"#));
    assert!(purged.err.contains("2 were purged, and 1 were not"), "{}", purged.err);
    let forced = operator.out("purge w001 --force -o json").await;
    assert_eq!(jq(".purged[0].removed_vm_ids", &forced).await, r#"["vm-1"]"#);
    assert_eq!(server.get("/workers").await["total"], 0);
}

#[tokio::test]
async fn a_drain_that_was_completed_is_not_taken_for_one_that_is_safe() {
    let server = server_with(1).await;
    let operator = Operator::of(&server.url);
    heartbeat(&server, "w000", 1, json!([])).await;
    operator.out("drain w000 --detach").await;
    for sequence in 2..4 {
        heartbeat(&server, "w000", sequence, json!([])).await;
    }
    assert_eq!(operator.run("wait w000 --for complete").await.code, Some(0));
    let attention = async || jq("[.attention[].kind]", &operator.out("status -o json").await).await;
    assert_eq!(attention().await, r#"["drain_complete"]"#);
    // Another process of the worker has not acknowledged the drain.
    let second = |sequence: u64| json!({"incarnation": 2, "sequence": sequence, "vms": []});
    let beat = async |sequence: u64| {
        let path = "/workers/w000/heartbeat";
        let (status, answer) = server.change(reqwest::Method::POST, path, Some(&second(sequence))).await;
        assert!(status.is_success(), "{answer}");
    };
    let worker = json!({
        "hostname": "host-0", "address": "10.0.0.1:8081", "zone": "a", "cpu_cores": 16, "memory_mb": 32768, "disk_gb": 500,
        "boot_id": "second"
    });
    server.put("/workers/w000", &worker).await;
    assert_eq!(server.get("/workers/w000/drain").await["state"], "complete");
    assert_eq!(attention().await, r#"["drain_unsafe"]"#);
    let wait = operator.start(&["wait", "w000", "--for", "complete"]);
    eventually("what is in the way", async || wait.said().contains("has not acknowledged the drain").then_some(()))
        .await;
    assert!(wait.said().contains("w000: complete, but not safe to power off; "), "{}", wait.said());
    for sequence in 1..3 {
        beat(sequence).await;
    }
    let exit = wait.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
}

#[tokio::test]
async fn a_wait_is_over_in_time_though_the_server_is_away() {
    let server = server_with(1).await;
    let operator = Operator::of(&server.url);
    // Longer than it takes to begin, and than the time after which it looks by itself.
    let wait = operator.start(&["wait", "w000", "--for", "offline", "--timeout", "20s"]);
    eventually("the wait to begin", async || wait.said().contains("last heard at").then_some(())).await;
    server.kill().await;
    let exit = wait.exit().await;
    assert_eq!(exit.code, Some(6), "{}", exit.err);
    assert!(exit.err.contains("Not offline: w000: last heard at"), "{}", exit.err);
}

#[tokio::test]
async fn the_newest_events_are_each_shown_once_over_several_pages() {
    let server = server_with(8).await;
    for worker in 0..8 {
        let vms: Value = (0..90).map(|at| vm(&format!("vm-{worker}-{at}"), "running")).collect();
        heartbeat(&server, &format!("w{worker:03}"), 1, vms).await;
    }
    let operator = Operator::of(&server.url);
    let all = operator.out("events -o name").await;
    let all: Vec<_> = all.lines().collect();
    assert_eq!(all.len(), 728);
    for last in [1, 500, 501, 728, 10_000] {
        let newest = operator.out(&format!("events --last {last} -o name")).await;
        assert_eq!(newest.lines().collect::<Vec<_>>(), all[all.len().saturating_sub(last)..], "{last}");
    }
}

#[tokio::test]
async fn a_signal_ends_a_command_whose_reader_takes_nothing() {
    let server = server_with(300).await;
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aetherium"));
        let mut workers = command
            .args(["workers", "-o", "json"])
            .env("AETHERIUM_SERVER", &server.url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // The rest does not fit into the pipe.
        workers.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
        let pid = workers.id().unwrap().to_string();
        let kill = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]).status();
        assert!(kill.await.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, workers.wait()).await.expect("it ends").unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

#[tokio::test]
async fn a_terminal_has_its_echo_again_when_a_login_is_interrupted() {
    let database = TestDatabase::sqlite();
    let create = ["token", "create", "--role", "admin", "--name", "alice", "--database-url", database.url()];
    assert_eq!(Program::run(&create).await.code, Some(0));
    let server = Server::start(&database).await;
    let home = tempfile::tempdir().unwrap();
    let terminal = openpty(None, None).unwrap();
    let echoes = || tcgetattr(&terminal.slave).unwrap().local_flags.contains(LocalFlags::ECHO);
    assert!(echoes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_aetherium"));
    let mut login = command
        .args(["login", &server.url])
        .env("HOME", home.path())
        .stdin(terminal.slave.try_clone().unwrap())
        .stderr(terminal.slave.try_clone().unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the terminal to hide the token", async || (!echoes()).then_some(())).await;
    let pid = login.id().unwrap().to_string();
    let kill = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &pid]).status();
    assert!(kill.await.unwrap().success());
    let status = tokio::time::timeout(PATIENCE, login.wait()).await.expect("it ends").unwrap();
    assert_eq!((status.code(), echoes()), (Some(130), true));
}

#[tokio::test]
async fn room_is_found_held_and_released() {
    let server = server_with(2).await;
    for worker in ["w000", "w001"] {
        heartbeat(&server, worker, 1, json!([])).await;
    }
    let operator = Operator::of(&server.url);
    let fits = operator.out("fits --vcpus 4 --memory 8GiB -n 8 -o json").await;
    assert_eq!(jq("[.fits, .placeable]", &fits).await, "[true,8]");
    let table = operator.out("fits --vcpus 4 --memory 8GiB -n 3").await;
    assert!(table.starts_with("3 of 3 VMs fit now.\n8 such VMs in all"), "{table}");
    let too_many = operator.run("fits --vcpus 4 --memory 8GiB -n 9 --without-zone b -o json").await;
    assert_eq!((too_many.code, jq(".placeable", &too_many.out).await.as_str()), (Some(5), "4"));
    assert_eq!(jq(".message", &too_many.err).await, r#""4 of 9 VMs fit""#);

    let held = operator.out("reserve --vcpus 16 --memory 8GiB -n 2 --distinct worker --for 10m -m soon -o json").await;
    assert_eq!(jq("[.state, .reason, (.slots | length)]", &held).await, r#"["held","soon",2]"#);
    let refused = operator.run("reserve --vcpus 1 --memory 1GiB --vm vm-1 -o json").await;
    assert_eq!((refused.code, jq(".code", &refused.err).await.as_str()), (Some(5), "409"));
    let id = operator.out("reservations --state held -o name").await;
    let released = operator.out(&format!("release {} -m no-need -o json", id.trim())).await;
    assert_eq!(jq(".state", &released).await, r#""released""#);
    let one = operator.out(&format!("reservations {} -o json", id.trim())).await;
    assert_eq!(jq(".state", &one).await, r#""released""#);
    assert_eq!(operator.out("reservations --state held -o name").await, "");
    for (line, code) in [
        ("release 00000000-0000-0000-0000-000000000000", 3),
        ("reservations nowhere", 3),
        ("fits --vcpus 4 --memory 8", 2),
        ("fits --vcpus 0 --memory 8GiB", 2),
        ("fits --vcpus 1 --memory 8GiB --zone=", 2),
        ("reserve --vcpus 1", 2),
    ] {
        assert_eq!(operator.run(&format!("{line} -o json")).await.code, Some(code), "{line}");
    }
}

#[tokio::test]
async fn a_login_is_kept_for_its_owner_and_its_server_alone() {
    let database = TestDatabase::sqlite();
    let create = ["token", "create", "--role", "admin", "--name", "alice", "--database-url", database.url()];
    let token = Program::run(&create).await.out;
    let server = Server::start(&database).await;
    let operator = Operator::of_nobody();
    let file = operator.home.path().join("alice.token");
    fs::write(&file, &token).unwrap();

    let refused = operator.run(&format!("login {} -o json", server.url)).await;
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(!operator.login_file().exists());
    let signed_in = operator.out(&format!("login {} --token-file {}", server.url, file.display())).await;
    assert_eq!(signed_in, format!("Signed in to {} as alice (admin)\n", server.url));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&operator.login_file()), mode(operator.login_file().parent().unwrap())), (0o600, 0o700));

    assert_eq!(operator.out("workers -o json").await, "{\"workers\":[],\"total\":0}\n");
    // Tokens are made by the server now, and those of others are listed.
    let viewer = operator.out("token create --role viewer --name bob").await;
    assert!(viewer.starts_with("aev_") && viewer.lines().count() == 1, "{viewer}");
    let id = &viewer[4..16];
    assert_eq!(operator.out("token list -o name -c name").await.lines().collect::<Vec<_>>().len(), 2);
    let join = operator.out("token create --join --worker host-1").await;
    let expected = format!("| aetherium agent join --server {} --id=host-1 --join-token-file -\n", server.url);
    assert!(join.starts_with("printf '%s\\n' aej_") && join.ends_with(&expected), "{join}");

    // The token in the environment counts before that of the login.
    let bob = Operator::of(&server.url).with("AETHERIUM_TOKEN", viewer.trim());
    assert_eq!(bob.run("workers").await.code, Some(0));
    let denied = bob.run("token list -o json").await;
    assert_eq!((denied.code, jq(".code", &denied.err).await.as_str()), (Some(4), "403"));
    assert_eq!(bob.run("api workers/w/drain -X POST").await.code, Some(4));
    assert_eq!(operator.out(&format!("token revoke {id}")).await, format!("revoked {id} (bob)\n"));
    eventually("the token to be refused", async || (bob.run("workers").await.code == Some(4)).then_some(())).await;
    assert_eq!(operator.run("token revoke 000000000000").await.code, Some(3));

    // Another server gets nothing of the login.
    let open = server_with(0).await;
    let session: Value =
        serde_json::from_str(&operator.out(&format!("api session --server {}", open.url)).await).unwrap();
    assert_eq!(session["token"], Value::Null);

    assert!(operator.out("logout").await.starts_with("Signed out"));
    assert!(!operator.login_file().exists());
    assert_eq!(operator.out("logout").await, "There was no login\n");
}

#[tokio::test]
async fn a_pinned_certificate_and_a_token_are_enough_to_ask_over_tls() {
    let database = TestDatabase::sqlite();
    let create = ["token", "create", "--role", "operator", "--name", "carol", "--database-url", database.url()];
    let token = Program::run(&create).await.out;
    let server = Server::start_with(&database, &["--tls", "self"]).await;
    let url = server.url.replace("http://", "https://");
    let other = format!("sha256:{}", "0".repeat(64));
    let unknown = Operator::of(&url).with("AETHERIUM_TOKEN", token.trim());
    let refused = unknown.run("workers").await;
    assert_eq!(refused.code, Some(7), "{}", refused.err);
    assert!(refused.err.contains("--server-fingerprint"), "{}", refused.err);
    let refused = unknown.run(&format!("workers -o json --server-fingerprint {other}")).await;
    assert_eq!(refused.code, Some(7));
    let message = jq(".message", &refused.err).await;
    let pin = message.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().trim_end_matches(',');

    let operator = Operator::of_nobody().with("AETHERIUM_TOKEN", token.trim());
    operator.out(&format!("login {url} --server-fingerprint {pin}")).await;
    let carol = Operator { variables: Vec::new(), ..operator };
    for line in ["workers", "status", "vms -o json", "query {clusterStats{totalWorkers}}", "events"] {
        carol.out(line).await;
    }
    let first = carol.out("events --limit 1 -o name").await;
    let create = ["token", "create", "--role", "viewer", "--name", "dan", "--database-url", database.url()];
    assert_eq!(Program::run(&create).await.code, Some(0));
    let followed = carol.out(&format!("events --follow --after {} --limit 1 -o jsonl", first.trim())).await;
    assert_eq!(jq(".kind", &followed).await, r#""token_created""#);
}

#[tokio::test]
async fn shells_and_man_read_what_is_made_for_them() {
    let operator = Operator::of_nobody();
    let bash = operator.out("completion bash").await;
    let loaded = "source <(cat) && complete -p aetherium && COMP_WORDS=(aetherium workers --zo) COMP_CWORD=2 && _aetherium aetherium --zo workers && echo ${COMPREPLY[@]}";
    let mut shell = Command::new("bash");
    let mut shell = shell.args(["-c", loaded]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(bash.as_bytes()).await.unwrap();
    let output = shell.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.ends_with("--zone\n"), "{said}");
    assert!(operator.out("completion zsh").await.starts_with("#compdef aetherium"));
    assert!(operator.out("completion fish").await.contains("complete -c aetherium"));

    let folder = operator.home.path().join("man/man1");
    assert_eq!(operator.out(&format!("man {}", folder.display())).await, "");
    let workers = fs::read_to_string(folder.join("aetherium-workers.1")).unwrap();
    assert!(workers.contains(".TH") && workers.contains("\\-\\-zone"), "{workers}");
    assert!(folder.join("aetherium.1").exists() && folder.join("aetherium-token-create.1").exists());
}
