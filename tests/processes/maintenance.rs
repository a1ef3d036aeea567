//! A day of an operator: ten hosts are taken out one after another and brought back, by the command line alone, while
//! their VMs move between them; one host is blocked, one is late, one drain is cancelled. Afterwards the record tells all
//! of it, over both protocols and after a restart of the server.
//!
//! The hosts are real agents over `/proc`s made of files. A VM is the process of a hypervisor in one of these, and a
//! script of the hosts' operator migrates it: it reserves a place, and moves the process there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::run_process;
use crate::database::TestDatabase;
use crate::harness::{Exit, Program, Server, eventually};

/// How many hosts there are, in two zones.
const HOSTS: usize = 10;

/// Empties a host: each VM is moved to where a place was reserved for it. A VM that is pinned stays, and says why; a host
/// with a file `wait` waits until it is gone.
const EMPTY_THIS_HOST: &str = r#"#!/bin/sh
[ "$AETHERIUM_POLICY" = draining ] || exit 0
here=$SITE/$AETHERIUM_WORKER_ID
while [ -e "$here/wait" ]; do sleep 0.05; done
for process in "$here"/4*; do
    [ -e "$process" ] || continue
    [ ! -e "$process/pinned" ] || { cat "$process/pinned" >&2; exit 1; }
    vm=$(cat "$process/uuid")
    target=$("$AETHERIUM" reserve --vcpus 1 --memory 256MiB --vm "$vm" -m migration -o json | jq -er '.slots[0].worker_id') || exit 1
    mv "$process" "$SITE/$target/"
done
"#;

/// The hosts, the script, and the server.
struct Site {
    folder: TempDir,
    server: Server,
    agents: Vec<Option<Program>>,
}

fn host(number: usize) -> String {
    format!("host-{number:02}")
}

fn uuid(number: usize) -> String {
    format!("6f0e0000-0000-4000-8000-{number:012}")
}

impl Site {
    async fn new(database: &TestDatabase) -> Self {
        let server = Server::start_with(database, &["--offline-after", "1h", "--heartbeat-interval", "200ms"]).await;
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("empty-this-host");
        fs::write(&script, EMPTY_THIS_HOST).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut site = Self { folder, server, agents: Vec::new() };
        for number in 0..HOSTS {
            let proc = site.proc(number);
            fs::create_dir(&proc).unwrap();
            run_process(&proc, 1, "/sbin/init");
            let (pid, uuid) = (4_000 + u32::try_from(number).unwrap(), uuid(number));
            let command = format!("/usr/bin/qemu-system-x86_64 -name vm-{number} -smp 1 -m 256 -uuid {uuid}");
            run_process(&proc, pid, &command);
            fs::write(proc.join(pid.to_string()).join("uuid"), uuid).unwrap();
            let agent = site.start_agent(number);
            site.agents.push(Some(agent));
        }
        site
    }

    fn proc(&self, number: usize) -> PathBuf {
        self.folder.path().join(host(number))
    }

    fn start_agent(&self, number: usize) -> Program {
        let (id, proc) = (host(number), self.proc(number));
        let zone = if number.is_multiple_of(2) { "east" } else { "west" };
        let script = self.folder.path().join("empty-this-host");
        let arguments = [
            "agent",
            "--server",
            &self.server.url,
            "--id",
            &id,
            "--zone",
            zone,
            "--proc",
            proc.to_str().unwrap(),
            "--on-policy-change",
            script.to_str().unwrap(),
        ];
        let variables = [
            ("SITE", self.folder.path().to_str().unwrap()),
            ("AETHERIUM", env!("CARGO_BIN_EXE_aetherium")),
            ("AETHERIUM_SERVER", &self.server.url),
        ];
        Program::start_with(&arguments, &variables)
    }

    /// Runs a command of an operator.
    async fn run(&self, arguments: &[&str]) -> Exit {
        self.start(arguments).exit().await
    }

    fn start(&self, arguments: &[&str]) -> Program {
        Program::start_with(arguments, &[("AETHERIUM_SERVER", &self.server.url)])
    }

    /// What a command of an operator answers, with `-o json`.
    async fn ask(&self, arguments: &[&str]) -> Value {
        let exit = self.run(&[arguments, &["-o", "json"]].concat()).await;
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.out, exit.err);
        serde_json::from_str(&exit.out).unwrap()
    }
}

impl Site {
    /// The last drain of a host, with what is in the way; null before the first one.
    async fn drain(&self, number: usize) -> Value {
        let path = format!("workers/{}/drain", host(number));
        let exit = self.run(&["api", &path]).await;
        if exit.code == Some(3) {
            return Value::Null;
        }
        assert_eq!(exit.code, Some(0), "{path}: {}{}", exit.out, exit.err);
        serde_json::from_str(&exit.out).unwrap()
    }

    /// Waits until the last drain of a host is as expected.
    async fn drain_when(&self, number: usize, what: &str, is_as_expected: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || Some(self.drain(number).await).filter(|drain| is_as_expected(drain))).await
    }

    /// Ends the agent of a host as a reboot does, and starts it again.
    async fn reboot(&mut self, number: usize) {
        let mut agent = self.agents[number].take().unwrap();
        agent.kill();
        agent.exit().await;
        self.agents[number] = Some(self.start_agent(number));
    }

    /// Waits until the agent of a host has logged this about its script.
    async fn logged(&mut self, number: usize, words: &str) {
        let agent = self.agents[number].as_mut().unwrap();
        agent.logged(words, |line| line["message"].as_str().is_some_and(|message| message.contains(words))).await;
    }

    /// Waits until each VM that was moved is reported where it is now. Before that, a drain of that host does not count it.
    async fn settled(&self) {
        eventually("every VM to take its slot", async || {
            (self.ask(&["reservations", "--state", "held"]).await["total"] == json!(0)).then_some(())
        })
        .await;
    }

    /// Makes the script of a host wait, or go on.
    fn hold_back(&self, number: usize, holds_back: bool) {
        let wait = self.proc(number).join("wait");
        if holds_back { fs::write(wait, "").unwrap() } else { fs::remove_file(wait).unwrap() }
    }

    /// The VMs that the hosts run, wherever: how many processes of them there are.
    fn processes(&self) -> usize {
        let folders = (0..HOSTS).flat_map(|number| fs::read_dir(self.proc(number)).unwrap());
        folders.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('4')).count()
    }

    /// The whole record: every drain, without what depends on the moment, by its id.
    async fn record(&self) -> Vec<Value> {
        let list = self.ask(&["drains"]).await;
        let mut drains = list["drains"].as_array().unwrap().clone();
        drains.sort_by_key(|drain| drain["id"].as_str().unwrap().to_owned());
        drains
    }
}

on_both_databases! {
    async fn ten_hosts_are_maintained_one_after_another_and_the_record_tells_of_all(database: TestDatabase) {
        let mut site = Site::new(&database).await;
        eventually("every VM to be reported", async || {
            (site.ask(&["vms"]).await["total"] == json!(HOSTS)).then_some(())
        })
        .await;

        // Seven hosts as planned: drained, started anew, brought back.
        for number in 0..7 {
            let id = host(number);
            let exit = site.run(&["drain", &id, "-m", "new kernel", "--deadline", "1h"]).await;
            assert_eq!(exit.code, Some(0), "{}{}", exit.out, exit.err);
            let drain = site.drain(number).await;
            assert_eq!((&drain["state"], &drain["safe_to_power_off"]), (&json!("complete"), &json!(true)), "{drain}");
            assert!(!site.proc(number).join(format!("{}", 4_000 + number)).exists(), "its VM has moved");
            site.reboot(number).await;
            let exit = site.run(&["activate", &id, "-m", "new kernel runs"]).await;
            assert_eq!(exit.code, Some(0), "{}", exit.err);
            assert_eq!(site.run(&["wait", &id, "--for", "online", "--timeout", "1m"]).await.code, Some(0));
            // Before, the script would move what others bring to this host.
            site.logged(number, "begins, which is active").await;
            site.settled().await;
        }
        assert_eq!(site.processes(), HOSTS, "no VM was lost");

        // One is blocked: a VM of it cannot be moved.
        let pinned = site.proc(7).join("4007/pinned");
        fs::write(&pinned, "vm-7: live migration refused: host device\n").unwrap();
        assert_eq!(site.run(&["drain", &host(7), "-m", "new kernel", "--detach"]).await.code, Some(0));
        let says = |drain: &Value, what: &str| drain["blockers"].to_string().contains(what);
        let drain = site.drain_when(7, "the blocker", |drain| says(drain, "live migration refused: host device")).await;
        assert!(says(&drain, "policy_hook_failed") && says(&drain, &uuid(7)), "{drain}");
        assert_eq!((&drain["state"], &drain["safe_to_power_off"]), (&json!("draining"), &json!(false)));
        // Without the obstacle, and told anew, it is emptied.
        fs::remove_file(pinned).unwrap();
        let exit = site.run(&["drain", &host(7), "-m", "new kernel, device detached"]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        site.settled().await;

        // One is late: an alarm, and it may still become complete.
        site.hold_back(8, true);
        let exit = site.run(&["drain", &host(8), "-m", "new kernel", "--deadline", "1s"]).await;
        assert_eq!(exit.code, Some(6), "{}", exit.err);
        assert_eq!(site.drain(8).await["state"], "overdue");
        site.hold_back(8, false);
        let exit = site.run(&["wait", &host(8), "--for", "complete", "--timeout", "1m"]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        site.settled().await;

        // One is cancelled, while somebody waits for it.
        site.hold_back(9, true);
        let waiting = site.start(&["drain", &host(9), "-m", "new kernel"]);
        site.drain_when(9, "the drain", |drain| drain["state"] == "draining").await;
        site.logged(9, "begins, which is draining").await;
        assert_eq!(site.run(&["activate", &host(9), "-m", "not today"]).await.code, Some(0));
        let exit = waiting.exit().await;
        assert_eq!(exit.code, Some(5), "{}", exit.err);
        // Only then does the agent know, and the script, let go, would move its VMs until then.
        site.logged(9, "was stopped, since it is not draining any more").await;
        site.hold_back(9, false);
        assert_eq!(site.processes(), HOSTS, "no VM was lost");
        eventually("every VM to be reported", async || {
            (site.ask(&["vms", "--status", "running"]).await["total"] == json!(HOSTS)).then_some(())
        })
        .await;

        // The record tells of all that, in both protocols, and after a restart of the server.
        let record = site.record().await;
        let summary = |drain: &Value| {
            let of = |key: &str| drain[key].as_str().unwrap_or("-").to_owned();
            let is_set = |key: &str| !drain[key].is_null();
            (of("worker_id"), of("state"), of("reason"), of("end_reason"), is_set("overdue_at"), drain["initial_vms"].is_u64())
        };
        let told: Vec<_> = record.iter().map(summary).collect();
        let expected: Vec<_> = (0..HOSTS)
            .map(|number| {
                let (state, reason, end, overdue) = match number {
                    7 => ("complete", "new kernel, device detached", "-", false),
                    8 => ("complete", "new kernel", "-", true),
                    9 => ("canceled", "new kernel", "not today", false),
                    _ => ("ended", "new kernel", "new kernel runs", false),
                };
                (host(number), state.to_owned(), reason.to_owned(), end.to_owned(), overdue, true)
            })
            .collect();
        assert_eq!(told, expected);
        let events = site.ask(&["events"]).await;
        let kinds = |id: &str| -> Vec<String> {
            let of_it = events["events"].as_array().unwrap().iter().filter(|event| event["worker_id"] == id);
            let kinds = of_it.map(|event| event["kind"].as_str().unwrap().to_owned());
            kinds.filter(|kind| kind.starts_with("worker_drain") || kind == "worker_activated").collect()
        };
        assert_eq!(kinds(&host(0)), ["worker_drain_started", "worker_drain_complete", "worker_activated"]);
        assert_eq!(kinds(&host(7)), ["worker_drain_started", "worker_drain_changed", "worker_drain_complete"]);
        assert_eq!(kinds(&host(8)), ["worker_drain_started", "worker_drain_overdue", "worker_drain_complete"]);
        assert_eq!(kinds(&host(9)), ["worker_drain_started", "worker_activated"]);
        // Each VM that had to move took the room that was reserved for it.
        let moved: u64 = record[..9].iter().map(|drain| drain["initial_vms"].as_u64().unwrap()).sum();
        let reservations = site.ask(&["reservations"]).await;
        let states: Vec<_> = reservations["reservations"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
        assert_eq!(states, vec!["taken"; usize::try_from(moved).unwrap()], "{reservations}");

        for agent in site.agents.drain(..).flatten() {
            agent.signal("TERM");
            assert_eq!(agent.exit().await.code, Some(0));
        }
        let Site { folder, server, .. } = site;
        server.stop().await;
        let server = Server::start_with(&database, &["--offline-after", "1h"]).await;
        let site = Site { folder, server, agents: Vec::new() };
        assert_eq!(site.record().await, record);
        let document = "{ drains(first: 100) { nodes { id workerId state reason endReason overdueAt initialVms } } }";
        let answer = site.run(&["query", document]).await;
        let answer: Value = serde_json::from_str(&answer.out).unwrap();
        let mut in_graphql: Vec<_> = answer["data"]["drains"]["nodes"].as_array().unwrap().iter().map(|drain| {
            let of = |key: &str| drain[key].as_str().unwrap_or("-").to_owned();
            (of("workerId"), of("state").to_lowercase(), of("reason"), of("endReason"), !drain["overdueAt"].is_null(), drain["initialVms"].is_u64())
        }).collect();
        in_graphql.sort();
        assert_eq!(in_graphql, expected);
        site.server.stop().await;
    }
}
