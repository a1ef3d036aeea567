//! Servers and agents that find each other by Consul, and go on without it.
//!
//! Consul is a stub of the same behaviour, which can also hang, fail, refuse, forget and be away (`tests/consul`). Nothing
//! of that may be seen where it matters: in heartbeats, as the server keeps them, and in the change log.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use consul_stub::{Acl, EventKind, Mode, State, Status, Stub};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::agent::run_process;
use crate::database::TestDatabase;
use crate::harness::{PATIENCE, Program, Server, Subscription, eventually};

/// A hundredth of what they are by default: intervals of heartbeats, and the TTL of checks.
const INTERVAL: &str = "100ms";
const TTL: &str = "300ms";

/// The TTL where a check must not expire by itself: an update may be late by twenty seconds.
const LONG_TTL: &str = "30s";

/// As many heartbeats as there are in ten minutes, by default.
const TEN_MINUTES: usize = 60;

/// After how long a call to a Consul that hangs is given up.
const CALL_TIMEOUT: TimeDelta = TimeDelta::seconds(5);

/// How many agents there are in each story.
const AGENTS: usize = 5;

/// The worker whose agent knows of no Consul.
const CONTROL: &str = "control";

/// What Consul knows servers, and workers, as.
const SERVER: &str = "aetherium";
const WORKER: &str = "aetherium-worker";

on_both_databases! {
    async fn servers_and_agents_find_each_other_with_no_address_configured(database: TestDatabase) {
        let consul = Stub::start_apart().await;
        let start_server = async || start_server_with(&database, &consul, LONG_TTL).await;
        let mut present = start_server().await;
        let mut agents = Agents::start(&consul, LONG_TTL);
        for end in ["TERM", "KILL"] {
            agents.all_report_to(&present).await;
            all_are_passing(&consul, &[&present]).await;
            // A SQLite file has one server, so there the next one comes when this one has gone.
            let mut next = None;
            if database.backend() == DbBackend::Postgres {
                let both = next.insert(start_server().await);
                all_are_passing(&consul, &[&present, both]).await;
                agents.all_know(&[&present, both]).await;
                all_are_heard_twice(&present).await;
            }
            let id = service_id(&present);
            present.program.signal(end);
            let exit = present.program.exit().await;
            let (last, code) = match end {
                "TERM" => (EventKind::Deregistered, Some(0)),
                _ => {
                    consul.expire(&id);
                    (EventKind::Expired, None)
                }
            };
            assert_eq!(exit.code, code, "{}", exit.err);
            consul.until("the server is not found any more", |state| {
                (state.catalog.history_of(&id).last() == Some(&last)).then_some(())
            }).await;
            present = match next {
                Some(next) => next,
                None => start_server().await,
            };
        }
        agents.all_report_to(&present).await;
        all_are_passing(&consul, &[&present]).await;
        let turned = agents.turned();
        let (events, warnings) = (kinds(&present).await, agents.stop().await);
        if database.backend() == DbBackend::Postgres {
            // Whoever turns to the other server with its next heartbeat has nothing to warn of.
            assert_eq!(events, ["worker_registered"; AGENTS]);
            assert_eq!(warnings, [const { Vec::<String>::new() }; AGENTS]);
            // Each of the two servers that ended refused one heartbeat of each agent, which another one then took.
            assert!(turned.iter().all(|turns| turns.len() == 2), "{turned:?}");
        }
        present.stop().await;
    }

    async fn no_worker_falls_silent_while_consul_hangs(database: TestDatabase) {
        ten_minutes_of(Trouble::Hangs, database).await;
    }

    async fn no_worker_falls_silent_while_consul_fails(database: TestDatabase) {
        ten_minutes_of(Trouble::Fails, database).await;
    }

    async fn no_worker_falls_silent_while_consul_refuses(database: TestDatabase) {
        ten_minutes_of(Trouble::Refuses, database).await;
    }

    async fn no_worker_falls_silent_while_consul_is_away(database: TestDatabase) {
        ten_minutes_of(Trouble::IsAway, database).await;
    }

    async fn no_worker_falls_silent_while_consul_forgets_again_and_again(database: TestDatabase) {
        ten_minutes_of(Trouble::Forgets, database).await;
    }
}

// guards against a TTL as long as the interval, so that each update that came late was a failure
#[tokio::test]
async fn nothing_flaps_when_an_update_is_lost() {
    // One for each of them, which loses an update of nobody else.
    let (of_server, of_agent) = (Stub::start_apart().await, Stub::start_apart().await);
    let server = start_server_with(&TestDatabase::sqlite(), &of_server, LONG_TTL).await;
    let host = quiet_host();
    let agent = start_agent(&of_agent, "host-1", &host, LONG_TTL, &["--server", &server.url]);
    let survives = async |consul: &Stub, id: &str| {
        let updates = |happenings: &[EventKind]| happenings.iter().filter(|it| **it == PASSED).count();
        let is_passing = |state: &State| (updates(&state.catalog.history_of(id)) > 0).then_some(());
        consul.until("it is passing", is_passing).await;
        consul.lose_updates(1);
        let lost = consul.until("an update is lost", |state| {
            (state.lost_updates == 0).then(|| updates(&state.catalog.history_of(id)))
        });
        let before = lost.await;
        // The update is repeated after a tenth of the TTL, and the next is due a third of it later.
        let after = consul.until("further ones are not", |state| {
            let happened = state.catalog.history_of(id);
            (updates(&happened) >= before + 2).then_some(happened)
        });
        let happened = after.await;
        assert!(!happened.contains(&EventKind::Expired), "{happened:?}");
    };
    let id = service_id(&server);
    tokio::join!(survives(&of_server, &id), survives(&of_agent, "aetherium-worker-host-1"));
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

// guards against labels in one value of the metadata, of which Consul takes 512 bytes
#[tokio::test]
async fn a_label_too_many_does_not_keep_a_worker_out_of_consul() {
    let consul = Stub::start_apart().await;
    let server = start_server(&TestDatabase::sqlite(), &consul).await;
    let host = quiet_host();
    let labels: Vec<String> = (0..64).map(|number| format!("label-{number}={}", "x".repeat(60))).collect();
    let agent = start_agent(&consul, "host-1", &host, TTL, &["--zone", "here", "--label", &labels.join(",")]);
    let meta = consul.until("the worker is passing", |state| {
        let service = state.catalog.service("aetherium-worker-host-1")?;
        (state.catalog.status(&service.id) == Some(Status::Passing)).then(|| service.meta.clone())
    });
    let version = env!("CARGO_PKG_VERSION");
    let expected = [("version", version), ("worker_id", "host-1"), ("zone", "here")];
    assert_eq!(meta.await, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(server.get("/workers/host-1").await["labels"].as_object().unwrap().len(), labels.len());
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn a_worker_says_goodbye_although_consul_hangs() {
    let consul = Stub::start_apart().await;
    let server = start_server(&TestDatabase::sqlite(), &consul).await;
    let host = quiet_host();
    let agent = start_agent(&consul, "host-1", &host, TTL, &["--leave-on-stop"]);
    consul.until("the worker is found", |state| (!state.catalog.passing(WORKER).is_empty()).then_some(())).await;
    consul.set_mode(Mode::Hang);
    agent.signal("TERM");
    let exit = agent.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
    assert_eq!(server.get("/workers/host-1").await["status"], "offline");
    server.stop().await;
}

/// What Consul can do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Hangs,
    Fails,
    Refuses,
    IsAway,
    Forgets,
}

impl Trouble {
    async fn begin(self, consul: &Stub) {
        match self {
            Self::Hangs => consul.set_mode(Mode::Hang),
            Self::Fails => consul.set_mode(Mode::Fail),
            // Changes are refused, and what may not be seen is left out of what is read.
            Self::Refuses => consul.set_acl(Acl::nobody()),
            Self::IsAway => consul.go_away().await,
            Self::Forgets => consul.forget(),
        }
    }

    /// What happens with each heartbeat while it lasts.
    fn go_on(self, consul: &Stub) {
        if self == Self::Forgets {
            consul.forget();
        }
    }

    async fn end(self, consul: &Stub) {
        match self {
            Self::Hangs | Self::Fails => consul.set_mode(Mode::Answer),
            Self::Refuses => consul.set_acl(Acl::default()),
            Self::IsAway => consul.come_back().await,
            Self::Forgets => {}
        }
    }
}

/// For ten minutes of heartbeats, Consul does not do its work: no server, no agent and no follower may be told so by
/// anything but a line in the log; and when it is over, all is as before, with nobody started anew.
async fn ten_minutes_of(trouble: Trouble, database: TestDatabase) {
    let consul = Stub::start_apart().await;
    let server = start_server(&database, &consul).await;
    let mut agents = Agents::start(&consul, TTL);
    agents.all_report_to(&server).await;
    let host = quiet_host();
    let proc = host.path().to_str().unwrap();
    let mut control = Program::start(&["agent", "--server", &server.url, "--id", CONTROL, "--proc", proc]);
    control.logged("its registration", |line| line["message"] == "Worker control is registered").await;
    all_are_passing(&consul, &[&server]).await;

    let mut heartbeats = Heartbeats::follow(&server).await;
    trouble.begin(&consul).await;
    while !heartbeats.are_all(TEN_MINUTES) {
        heartbeats.next().await;
        trouble.go_on(&consul);
    }
    trouble.end(&consul).await;
    all_are_passing(&consul, &[&server]).await;
    // A heartbeat that waits for Consul is late by a whole call; what holds up the machine holds up the control as well.
    let gaps = &heartbeats.longest_gap;
    assert!(*gaps.values().max().unwrap() - gaps[CONTROL] < CALL_TIMEOUT / 2, "{gaps:?}");
    assert_eq!(kinds(&server).await, ["worker_registered"; AGENTS + 1]);
    control.signal("TERM");
    assert_eq!(control.exit().await.code, Some(0));
    for warnings in agents.warnings() {
        let of_consul = warnings.iter().filter(|warning| warning.starts_with("Consul ")).count();
        assert_eq!(of_consul, warnings.len(), "{warnings:?}");
        // One of announcing, one of finding.
        assert!(of_consul <= 2, "{warnings:?}");
    }

    // Servers are found again, too.
    let present = if database.backend() == DbBackend::Postgres {
        let next = start_server(&database, &consul).await;
        agents.all_know(&[&server, &next]).await;
        server.stop().await;
        next
    } else {
        server.stop().await;
        start_server(&database, &consul).await
    };
    agents.all_report_to(&present).await;
    agents.stop().await;
    present.stop().await;
}

/// What was heard of workers, by the server's own record.
struct Heartbeats {
    subscription: Subscription,
    count: BTreeMap<String, usize>,
    last: BTreeMap<String, DateTime<Utc>>,
    longest_gap: BTreeMap<String, TimeDelta>,
}

impl Heartbeats {
    async fn follow(server: &Server) -> Self {
        let query = "subscription { workerHeartbeats { receivedAt coalesced worker { id } } }";
        let subscription = Subscription::open(server.address, query, &json!({})).await.unwrap();
        Self { subscription, count: BTreeMap::new(), last: BTreeMap::new(), longest_gap: BTreeMap::new() }
    }

    async fn next(&mut self) {
        let told = timeout(PATIENCE, self.subscription.next()).await.expect("a heartbeat").unwrap();
        let heartbeat = &told["workerHeartbeats"];
        let id = heartbeat["worker"]["id"].as_str().unwrap().to_owned();
        let at: DateTime<Utc> = heartbeat["receivedAt"].as_str().unwrap().parse().unwrap();
        *self.count.entry(id.clone()).or_default() += 1;
        if let Some(last) = self.last.insert(id.clone(), at) {
            let longest = self.longest_gap.entry(id).or_default();
            *longest = (at - last).max(*longest);
        }
    }

    /// Whether every agent, and the control, was heard as often as this.
    fn are_all(&self, often: usize) -> bool {
        self.count.len() == AGENTS + 1 && self.count.values().all(|count| *count >= often)
    }
}

/// Agents that know of no server but by Consul, each on a host of its own, and announce their workers there.
struct Agents {
    agents: Vec<Program>,
    _host: TempDir,
}

impl Agents {
    fn start(consul: &Stub, ttl: &str) -> Self {
        let host = quiet_host();
        let start = |number| start_agent(consul, &format!("host-{number}"), &host, ttl, &[]);
        Self { agents: (1..=AGENTS).map(start).collect(), _host: host }
    }

    /// Waits until all of them were answered by this server.
    async fn all_report_to(&mut self, server: &Server) {
        for (agent, number) in self.agents.iter_mut().zip(1..) {
            let expected = format!("Worker host-{number} reports to {}", server.url);
            agent.logged(&expected, |line| line["message"] == expected.as_str()).await;
        }
    }

    /// Waits until Consul has named all of them exactly these servers.
    async fn all_know(&mut self, servers: &[&Server]) {
        let expected: BTreeSet<&str> = servers.iter().map(|server| server.url.as_str()).collect();
        for agent in &mut self.agents {
            let knows = |line: &Value| {
                let message = line["message"].as_str().unwrap();
                let named = message.strip_prefix("Consul names these servers: ");
                named.is_some_and(|named| named.split(", ").collect::<BTreeSet<_>>() == expected)
            };
            agent.logged("that Consul names all servers", knows).await;
        }
    }

    /// What each of them has warned of so far.
    fn warnings(&self) -> Vec<Vec<String>> {
        self.agents.iter().map(|agent| warnings(&agent.said())).collect()
    }

    /// What each of them has said whenever it turned to another server, after a heartbeat that one did not take.
    fn turned(&self) -> Vec<Vec<String>> {
        let turns = |agent: &Program| {
            let said = agent.said();
            said.lines().filter(|line| line.contains("turns to another server")).map(str::to_owned).collect()
        };
        self.agents.iter().map(turns).collect()
    }

    /// Ends all of them in order. What each has warned of is answered.
    async fn stop(self) -> Vec<Vec<String>> {
        for agent in &self.agents {
            agent.signal("TERM");
        }
        let mut all = Vec::new();
        for agent in self.agents {
            let exit = agent.exit().await;
            assert_eq!(exit.code, Some(0), "{}", exit.err);
            all.push(warnings(&exit.err));
        }
        all
    }
}

/// What a log warns of, or worse.
fn warnings(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let bad = lines.filter(|line| ["WARN", "ERROR"].contains(&line["level"].as_str().unwrap()));
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    bad.map(|line| format!("{}: {}", text(&line, "message"), text(&line, "error"))).collect()
}

/// A host on which no VM runs.
fn quiet_host() -> TempDir {
    let host = tempfile::tempdir().unwrap();
    run_process(host.path(), 1, "/sbin/init");
    host
}

fn start_agent(consul: &Stub, id: &str, host: &TempDir, ttl: &str, further: &[&str]) -> Program {
    let (url, proc) = (consul.url(), host.path().to_str().unwrap());
    let discovery = ["--consul", &url, "--consul-announce", "--consul-check-ttl", ttl];
    Program::start(&[&["agent", "--id", id, "--proc", proc], &discovery[..], further].concat())
}

async fn start_server(database: &TestDatabase, consul: &Stub) -> Server {
    start_server_with(database, consul, TTL).await
}

async fn start_server_with(database: &TestDatabase, consul: &Stub, ttl: &str) -> Server {
    // A worker may be silent for as long as by default: the time-outs of agents are parts of that.
    let further = ["--heartbeat-interval", INTERVAL, "--consul", &consul.url(), "--consul-check-ttl", ttl];
    Server::start_with(database, &further).await
}

/// By which a server is known in Consul.
fn service_id(server: &Server) -> String {
    server.service_id()
}

/// Waits until exactly these servers, and all workers, are found by whoever asks Consul for them.
async fn all_are_passing(consul: &Stub, servers: &[&Server]) {
    let expected: BTreeSet<String> = servers.iter().map(|server| server.url.clone()).collect();
    let are_found = |state: &State| {
        let passing = state.catalog.passing(SERVER).into_iter().filter_map(|id| state.catalog.service(id));
        let urls = passing.map(|service| format!("{}://{}:{}", service.meta["scheme"], service.address, service.port));
        let workers = state.catalog.passing(WORKER).len();
        (workers == AGENTS && urls.collect::<BTreeSet<_>>() == expected).then_some(())
    };
    consul.until("exactly these servers, and all workers, are passing", are_found).await;
}

/// Waits until each worker was heard twice more. The second heartbeat is begun after what came before this, so that it goes
/// to a server of the list that its agent knows by then, and is not lost with a server that was the only one.
async fn all_are_heard_twice(server: &Server) {
    let last_seen = async || {
        let list = server.get("/workers").await["workers"].take();
        let workers = list.as_array().unwrap().iter();
        workers.map(|worker| (worker["id"].to_string(), worker["last_seen"].clone())).collect::<BTreeMap<_, _>>()
    };
    for _ in 0..2 {
        let before = last_seen().await;
        eventually("another heartbeat of each", async || {
            let now = last_seen().await;
            before.iter().all(|(id, seen)| now[id] != *seen).then_some(())
        })
        .await;
    }
}

/// An update that says that all is well.
const PASSED: EventKind = EventKind::Updated(Status::Passing);

/// The kinds of all events, in order.
async fn kinds(server: &Server) -> Vec<String> {
    server.log(0).await.into_iter().map(|event| event.kind).collect()
}
