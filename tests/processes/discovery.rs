//! What the program says to Consul, and what it does when Consul hangs, refuses or forgets: one behaviour at a time.

use std::fs;

use consul_stub::{Acl, EventKind, Mode, Rules, State, Status, Stub, UnknownCheck};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

use crate::database::TestDatabase;
use crate::harness::{Program, Server, eventually, http};

/// The check is kept fresh every 100 ms.
const BRISK: [&str; 2] = ["--consul-check-ttl", "300ms"];

/// A server that announces itself to a Consul.
async fn announced(database: &TestDatabase, consul: &Stub, further: &[&str]) -> (Server, String) {
    let url = consul.url();
    let mut arguments = vec!["--consul", &url];
    arguments.extend(further);
    let server = Server::start_with(database, &arguments).await;
    let id = server.service_id();
    (server, id)
}

async fn until_status(consul: &Stub, id: &str, status: Status) {
    let has = |state: &State| (state.catalog.status(id) == Some(status)).then_some(());
    consul.until(&format!("{id} is {}", status.word()), has).await;
}

async fn until_gone(consul: &Stub, id: &str) {
    consul.until(&format!("{id} is gone"), |state| state.catalog.service(id).is_none().then_some(())).await;
}

/// How often something has happened to a service.
fn count(state: &State, id: &str, what: EventKind) -> usize {
    state.catalog.history_of(id).into_iter().filter(|happening| *happening == what).count()
}

/// Waits until the server says so of Consul in its health, and that it is well all the same.
async fn until_health(server: &Server, consul: &str) {
    let ask = async || {
        let health = server.get("/health").await;
        (health["status"] == "ok" && health["components"]["consul"] == consul).then_some(())
    };
    eventually(&format!("Consul is {consul}"), ask).await;
}

/// Waits for a warning with these words.
async fn warned(program: &mut Program, words: &str) -> Value {
    let says = |line: &Value| line["level"] == "WARN" && line["message"].as_str().unwrap().contains(words);
    program.logged(words, says).await
}

#[tokio::test]
async fn a_server_announces_itself_and_is_gone_before_it_hangs_up() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let (server, id) = announced(&database, &consul, &[]).await;
    until_status(&consul, &id, Status::Passing).await;
    consul.read(|state| {
        let service = state.catalog.service(&id).unwrap();
        assert_eq!((service.name.as_str(), service.address.as_str()), ("aetherium", "127.0.0.1"));
        assert_eq!(service.port, server.address.port());
        let check = state.catalog.check(&format!("service:{id}")).unwrap();
        assert_eq!(check.ttl.map(|ttl| ttl.as_secs()), Some(30));
        let registered = state.requests.iter().find(|request| request.path == "/v1/agent/service/register").unwrap();
        assert_eq!(registered.query, "replace-existing-checks=true");
    });
    until_health(&server, "ok").await;

    let stream = http().get(format!("{}/api/v1/events", server.url)).header("accept", "text/event-stream");
    let mut stream = stream.send().await.unwrap();
    server.program.signal("TERM");
    while let Some(_rest) = stream.chunk().await.unwrap() {}
    consul.read(|state| {
        assert_eq!(state.catalog.history_of(&id).last(), Some(&EventKind::Deregistered));
        assert!(state.catalog.service(&id).is_none());
    });
    assert_eq!(server.program.exit().await.code, Some(0));
}

#[tokio::test]
async fn a_server_that_nobody_told_of_consul_leaves_it_alone() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let url = consul.url();
    let variables = [("CONSUL_HTTP_ADDR", url.as_str())];
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()];
    let mut program = Program::start_with(&arguments, &variables);
    let ready = program.logged("its address", |line| line["listen.address"].is_string()).await;
    let health = format!("http://{}/api/v1/health", ready["listen.address"].as_str().unwrap());
    let health: Value = http().get(health).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["components"].get("consul"), None, "{health}");
    program.signal("TERM");
    assert_eq!(program.exit().await.code, Some(0));
    assert_eq!(consul.read(|state| state.requests.len()), 0);

    // One word makes it the one of the environment.
    let arguments = [&arguments[..], &["--consul", "--advertise", "node1.example.com:80"]].concat();
    let program = Program::start_with(&arguments, &variables);
    let advertised = |state: &State| {
        let found = state.catalog.passing("aetherium").into_iter().find_map(|id| state.catalog.service(id))?;
        (found.address == "node1.example.com" && found.port == 80).then_some(())
    };
    consul.until("it is announced where it says", advertised).await;
    program.signal("TERM");
    program.exit().await;
}

#[tokio::test]
async fn a_consul_behind_a_unix_socket_is_reached() {
    let (database, consul, folder) = (TestDatabase::sqlite(), Stub::start_apart().await, tempfile::tempdir().unwrap());
    let socket = folder.path().join("consul.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let target = consul.url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut stub = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut stub).await });
        }
    });
    let address = format!("unix://{}", socket.display());
    let server = Server::start_with(&database, &["--consul", &address]).await;
    until_health(&server, "ok").await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_restarted_in_its_place_replaces_itself() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let (server, id) = announced(&database, &consul, &[]).await;
    until_status(&consul, &id, Status::Passing).await;
    let (listen, url) = (server.address.to_string(), consul.url());
    server.kill().await;
    let server = Server::start_at(&listen, &database, &["--consul", &url]).await;
    let again = |state: &State| (count(state, &id, EventKind::Registered) == 2).then_some(());
    consul.until("it registers again", again).await;
    assert_eq!(consul.read(|state| state.catalog.services().count()), 1);
    server.stop().await;
}

#[tokio::test]
async fn what_consul_forgets_is_told_anew_whichever_version_it_is_of() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let (server, id) = announced(&database, &consul, &BRISK).await;
    // Registered is not enough: it is the next update that is told, by whatever words.
    let is_updated = |state: &State| {
        let is_last = state.catalog.history_of(&id).last() == Some(&EventKind::Updated(Status::Passing));
        (is_last && state.catalog.service(&id).is_some()).then_some(())
    };
    for unknown in [UnknownCheck::NotFound, UnknownCheck::UnknownCheck, UnknownCheck::NoTtl] {
        consul.until("its check is updated", is_updated).await;
        consul.set_unknown_check(unknown);
        consul.forget();
    }
    consul.until("its check is updated", is_updated).await;
    server.stop().await;
}

on_both_databases! {
    async fn a_server_that_cannot_commit_is_not_passing(database: TestDatabase) {
        let consul = Stub::start_apart().await;
        let (server, id) = announced(&database, &consul, &BRISK).await;
        let worker = json!({"hostname": "n", "address": "n:1", "cpu_cores": 1, "memory_mb": 1});
        server.put("/workers/w1", &worker).await;
        until_status(&consul, &id, Status::Passing).await;
        database.execute("ALTER TABLE cluster RENAME TO mislaid").await;
        let (status, answer) = server.change(Method::POST, "/workers/w1/drain", None).await;
        assert_eq!(status, 503, "{answer}");
        until_status(&consul, &id, Status::Warning).await;
        let output = consul.read(|state| state.catalog.check(&format!("service:{id}")).unwrap().output.clone());
        assert_eq!(output, "changes are not committed");
        database.execute("ALTER TABLE mislaid RENAME TO cluster").await;
        until_status(&consul, &id, Status::Passing).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_check_that_ran_out_while_consul_was_away_passes_again() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let (mut server, id) = announced(&database, &consul, &BRISK).await;
    for _ in 0..2 {
        until_status(&consul, &id, Status::Passing).await;
        consul.go_away().await;
        until_health(&server, "unavailable").await;
        until_status(&consul, &id, Status::Critical).await;
        consul.come_back().await;
        until_health(&server, "ok").await;
    }
    warned(&mut server.program, &format!("service {id} is not announced")).await;
    until_status(&consul, &id, Status::Passing).await;
    let exit = server.stop().await;
    let told = exit.err.lines().filter(|line| line.contains("is not announced")).count();
    assert_eq!(told, 2, "once for each time that it was away: {}", exit.err);
}

#[tokio::test]
async fn a_consul_that_hangs_holds_up_nothing_and_the_end_for_a_second_at_most() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    consul.set_mode(Mode::Hang);
    let (server, _) = announced(&database, &consul, &BRISK).await;
    consul.until("it is asked", |state| (!state.requests.is_empty()).then_some(())).await;
    let worker = json!({"hostname": "n", "address": "n:1", "cpu_cores": 1, "memory_mb": 1});
    server.put("/workers/w1", &worker).await;
    // Consul answers nothing before the end of the server.
    let exit = server.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
    assert!(exit.err.contains("leaves without Consul, which did not answer in time"), "{}", exit.err);
    consul.read(|state| assert_eq!(state.catalog.services().count(), 0));
}

#[tokio::test]
async fn each_change_of_what_consul_names_is_one_line() {
    let consul = Stub::start_apart().await;
    let url = consul.url();
    let agent = Program::start(&["agent", "--consul", &url, "--id", "w1"]);
    let service = json!({"ID": "a", "Name": "aetherium", "Address": "127.0.0.1", "Port": 1});
    let register = format!("{url}/v1/agent/service/register");
    let says = async |words: &str, times: usize| {
        let is_said = async || (agent.said().matches(words).count() == times).then_some(());
        eventually(&format!("{words} is said {times} times"), is_said).await;
    };
    says("Consul names no server, so the last list of 0 stays", 1).await;
    for times in 1..=2 {
        http().put(&register).json(&service).send().await.unwrap().error_for_status().unwrap();
        says("Consul names these servers: http://127.0.0.1:1", times).await;
        http().put(format!("{url}/v1/agent/service/deregister/a")).send().await.unwrap();
        says("Consul names no server, so the last list of 1 stays", times).await;
    }
    agent.signal("TERM");
    let exit = agent.exit().await;
    let lines = exit.err.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said = lines.map(|line| line["message"].as_str().unwrap().to_owned());
    let of_consul = said.filter(|message| message.starts_with("Consul ")).count();
    assert_eq!(of_consul, 5, "nothing else is said of it: {}", exit.err);
}

#[tokio::test]
async fn a_token_that_allows_too_little_is_told_with_the_rule_that_is_missing() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let rules = Rules { service_write: vec!["other".to_owned()], ..Rules::default() };
    consul.set_acl(Acl::only("top-secret", "accessor", rules));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "top-secret\n").unwrap();
    let url = consul.url();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url(), "--consul", &url];
    let variables = [("CONSUL_HTTP_TOKEN_FILE", file.to_str().unwrap()), ("AETHERIUM_LOG", "trace")];
    let mut program = Program::start_with(&[&arguments[..], &BRISK].concat(), &variables);
    let line = warned(&mut program, "its token needs").await;
    let message = line["message"].as_str().unwrap();
    assert!(message.ends_with(r#"its token needs service:write on "aetherium""#), "{message}");

    // Another token, and nobody has to start anything anew.
    let rules = Rules { service_write: vec!["aetherium".to_owned()], ..Rules::default() };
    consul.set_acl(Acl::only("another-secret", "accessor", rules));
    fs::write(&file, "another-secret").unwrap();
    let announced = |state: &State| (!state.catalog.passing("aetherium").is_empty()).then_some(());
    consul.until("it is announced", announced).await;
    program.signal("TERM");
    let exit = program.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(!exit.err.contains("secret"), "a token is never logged: {}", exit.err);
}

#[tokio::test]
async fn an_agent_finds_its_server_and_turns_to_the_next() {
    let consul = Stub::start_apart().await;
    let (database, another) = (TestDatabase::sqlite(), TestDatabase::sqlite());
    let lively = ["--heartbeat-interval", "100ms"];
    let (first, first_id) = announced(&database, &consul, &lively).await;
    until_status(&consul, &first_id, Status::Passing).await;
    let url = consul.url();
    let agent = Program::start(&["agent", "--consul", &url, "--id", "w1"]);
    until_worker(&first, "w1").await;

    // The other one is of another cluster, so that nothing but its own heartbeats makes the worker known there.
    let (second, second_id) = announced(&another, &consul, &lively).await;
    until_status(&consul, &second_id, Status::Passing).await;
    first.stop().await;
    until_worker(&second, "w1").await;

    // Consul loses count, and its memory with it: the list that was known stays, and a new one is heard.
    consul.reset_index();
    let (third, third_id) = announced(&TestDatabase::sqlite(), &consul, &lively).await;
    until_status(&consul, &third_id, Status::Passing).await;
    second.stop().await;
    until_worker(&third, "w1").await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    third.stop().await;
}

#[tokio::test]
async fn an_agent_does_not_need_consul_for_the_server_it_was_told() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let server = Server::start_with(&database, &["--heartbeat-interval", "100ms"]).await;
    let url = consul.url();
    let registers = async |id: &str| {
        let discovery = ["--consul", &url, "--consul-announce"];
        let mut agent = Program::start(&[&["agent", "--server", &server.url, "--id", id], &discovery[..]].concat());
        let registration = format!("Worker {id} is registered");
        agent.logged("its registration", |line| line["message"] == registration.as_str()).await;
        agent.signal("TERM");
        let exit = agent.exit().await;
        assert_eq!(exit.code, Some(0));
        let said = |words: &str| exit.err.lines().position(|line| line.contains(words));
        said("Consul cannot be used").is_none_or(|gave_up| said(&registration) < Some(gave_up))
    };
    for mode in [Mode::Fail, Mode::Refuse] {
        consul.set_mode(mode);
        registers(&format!("w-{mode:?}")).await;
    }
    // A Consul that hangs is given up after some seconds. An agent that waits for it speaks of it first each time; one that
    // does not, only on a machine that is as slow.
    consul.set_mode(Mode::Hang);
    eventually("an agent registers first", async || registers("w-Hang").await.then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_list_that_the_token_may_not_see_is_told() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let (server, id) = announced(&database, &consul, &[]).await;
    until_status(&consul, &id, Status::Passing).await;
    // Consul answers such a token with 200, and an empty list.
    consul.set_acl(Acl::only("top-secret", "accessor", Rules::default()));
    let (url, variables) = (consul.url(), [("CONSUL_HTTP_TOKEN", "top-secret")]);
    let mut agent = Program::start_with(&["agent", "--consul", &url, "--id", "w1"], &variables);
    let line = warned(&mut agent, "its token needs").await;
    let message = line["message"].as_str().unwrap();
    assert!(
        message.ends_with(r#"its token needs service:read on "aetherium" and node:read on all nodes"#),
        "{message}"
    );
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn a_worker_is_announced_as_it_is() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let server = Server::start_with(&database, &["--heartbeat-interval", "100ms"]).await;
    let (url, id) = (consul.url(), "aetherium-worker-w1");
    let zone = "z".repeat(200);
    let labels: Vec<String> = (0..60).map(|number| format!("label-{number}={}", "l".repeat(60))).collect();
    let labels = labels.join(",");
    let said = [
        "agent",
        "--consul",
        &url,
        "--server",
        &server.url,
        "--id",
        "w1",
        "--zone",
        &zone,
        "--address",
        "node1:8081",
        "--label",
        &labels,
        "--consul-announce",
        "--leave-on-stop",
        "--consul-check-ttl",
        "300ms",
    ];
    let agent = Program::start(&said);
    until_status(&consul, id, Status::Passing).await;
    consul.read(|state| {
        let service = state.catalog.service(id).unwrap();
        assert_eq!(
            (service.name.as_str(), service.address.as_str(), service.port),
            ("aetherium-worker", "node1", 8081)
        );
        let keys: Vec<&str> = service.meta.keys().map(String::as_str).collect();
        assert_eq!(keys, ["version", "worker_id", "zone"], "labels stay where they are");
        assert_eq!((service.meta["worker_id"].as_str(), &service.meta["zone"]), ("w1", &zone));
    });

    // Whatever Consul forgets meanwhile, a maintenance too.
    let maintenance = async |is_on: bool| {
        let has = |state: &State| (state.catalog.is_in_maintenance(id) == is_on).then_some(());
        consul.until(&format!("maintenance is {is_on}"), has).await;
    };
    server.change(Method::POST, "/workers/w1/drain", None).await;
    maintenance(true).await;
    consul.forget();
    maintenance(true).await;
    server.change(Method::POST, "/workers/w1/activate", None).await;
    maintenance(false).await;
    until_status(&consul, id, Status::Passing).await;

    // Nobody acknowledges its heartbeats any more.
    server.kill().await;
    until_status(&consul, id, Status::Warning).await;
    agent.signal("TERM");
    agent.exit().await;
    until_gone(&consul, id).await;
}

#[tokio::test]
async fn an_agent_that_is_only_started_anew_stays_in_consul() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let server = Server::start_with(&database, &["--heartbeat-interval", "100ms"]).await;
    let (url, id) = (consul.url(), "aetherium-worker-w1");
    let said = ["agent", "--consul", &url, "--server", &server.url, "--id", "w1", "--consul-announce"];
    let agent = Program::start(&said);
    until_status(&consul, id, Status::Passing).await;
    agent.signal("TERM");
    agent.exit().await;
    assert_eq!(consul.read(|state| count(state, id, EventKind::Deregistered)), 0);
    let leave = ["agent", "leave", "--consul", &url, "--server", &server.url, "--id", "w1", "--consul-announce"];
    assert_eq!(Program::run(&leave).await.code, Some(0));
    until_gone(&consul, id).await;
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_no_server_has_taken_is_not_announced() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let server = Server::start_with(&database, &["--heartbeat-interval", "100ms"]).await;
    let (url, address) = (consul.url(), server.address.to_string());
    server.kill().await;
    let target = format!("http://{address}");
    let said = ["agent", "--consul", &url, "--server", &target, "--id", "w1", "--consul-announce"];
    let mut agent = Program::start(&[&said[..], &BRISK].concat());
    warned(&mut agent, "is not heard, trying until it is").await;
    let server = Server::start_at(&address, &database, &["--heartbeat-interval", "100ms"]).await;
    let id = "aetherium-worker-w1";
    until_status(&consul, id, Status::Passing).await;
    let happened = consul.read(|state| state.catalog.history_of(id));
    assert!(!happened.contains(&EventKind::Updated(Status::Warning)), "{happened:?}");
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}

#[tokio::test]
async fn a_worker_that_was_taken_out_is_not_announced_again_by_its_agent() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    // Between two heartbeats the worker is taken out, and there are many updates of the check.
    let server = Server::start_with(&database, &["--heartbeat-interval", "15s", "--offline-after", "5m"]).await;
    let (url, id) = (consul.url(), "aetherium-worker-w1");
    let said = ["--consul", &url, "--server", &server.url, "--id", "w1", "--consul-announce"];
    let agent = Program::start(&[&["agent"][..], &said, &BRISK].concat());
    until_status(&consul, id, Status::Passing).await;
    let left = Program::run(&[&["agent", "leave"][..], &said].concat()).await;
    assert_eq!(left.code, Some(0), "{}", left.err);
    let is_told = |state: &State| {
        let mut paths = state.requests.iter().map(|request| request.path.as_str());
        paths.find(|path| path.starts_with("/v1/agent/service/deregister/"))?;
        paths.find(|path| path.starts_with("/v1/agent/check/update/")).map(drop)
    };
    consul.until("the agent updates a check that is gone", is_told).await;
    let exit = agent.exit().await;
    assert_eq!(exit.code, Some(1), "its next heartbeat tells it that it is over: {}", exit.err);
    assert_eq!(consul.read(|state| count(state, id, EventKind::Registered)), 1);
    assert!(consul.read(|state| state.catalog.service(id).is_none()));
    server.stop().await;
}

#[tokio::test]
async fn a_goodbye_to_the_server_that_was_named_does_not_wait_for_consul() {
    let (database, consul) = (TestDatabase::sqlite(), Stub::start_apart().await);
    let (server, service) = announced(&database, &consul, &[]).await;
    until_status(&consul, &service, Status::Passing).await;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut worker = json!({"hostname": "n", "address": "n:1", "cpu_cores": 1, "memory_mb": 1});
    worker["host_boot_id"] = json!(boot_id.trim());
    for id in ["w1", "w2"] {
        server.put(&format!("/workers/{id}"), &worker).await;
    }
    let url = consul.url();
    let asked = |state: &State| state.requests.iter().filter(|it| it.path.starts_with("/v1/health/")).count();
    for (id, named, expected) in [("w1", server.url.as_str(), 0), ("w2", "http://127.0.0.1:1", 1)] {
        consul.set_mode(if expected == 0 { Mode::Hang } else { Mode::Answer });
        let leave = ["agent", "leave", "--consul", &url, "--server", named, "--id", id];
        let exit = Program::run(&leave).await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        assert_eq!(server.get(&format!("/workers/{id}")).await["status"], "offline");
        assert_eq!(consul.read(asked), expected, "{named}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_said_to_consul_is_one_sentence() {
    let refused = async |arguments: &[&str], variables: &[(&str, &str)]| {
        let exit = Program::start_with(arguments, variables).exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.err);
        exit.err.lines().last().unwrap().to_owned()
    };
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", "sqlite::memory:", "--consul"];
    let line = refused(&serve, &[("CONSUL_HTTP_ADDR", "consul")]).await;
    assert!(line.starts_with("aetherium: CONSUL_HTTP_ADDR cannot be used: "), "{line}");
    let line = refused(&serve, &[("CONSUL_HTTP_TOKEN_FILE", "/nowhere")]).await;
    assert!(line.starts_with("aetherium: CONSUL_HTTP_TOKEN_FILE names /nowhere, which cannot be read"), "{line}");
    let everywhere = ["serve", "--listen", "0.0.0.0:0", "--insecure", "--consul", "consul.example.com:8500"];
    let line = refused(&everywhere, &[]).await;
    assert!(line.contains("0.0.0.0:0") && line.ends_with("with --advertise."), "{line}");
    let here = ["serve", "--listen", "127.0.0.1:0", "--consul", "consul.example.com:8500"];
    let line = refused(&here, &[]).await;
    assert!(line.contains("127.0.0.1:") && line.ends_with("with --advertise."), "{line}");
    let line = refused(&["agent", "--server", "http://127.0.0.1:1", "--consul-announce"], &[]).await;
    assert!(line.contains("--consul-announce needs a Consul"), "{line}");
    let line = refused(&["agent", "--consul", "off"], &[]).await;
    assert!(line.contains("there is no server to report to"), "{line}");
}

/// Waits until a worker is active.
async fn until_worker(server: &Server, id: &str) {
    let ask = async || {
        let (status, worker) = server.ask(&format!("/workers/{id}")).await;
        (status.is_success() && worker["status"] == "active").then_some(())
    };
    eventually(&format!("{id} reports to {}", server.url), ask).await;
}
