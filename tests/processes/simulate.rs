//! `aetherium simulate` against a server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::harness::{Program, Server, eventually};

on_both_databases! {
    async fn a_fleet_of_a_hundred_workers_is_served_without_a_failure(database: TestDatabase) {
        let server = Server::start_with(&database, &[]).await;
        let fleet = ["simulate", "--server", &server.url, "--workers", "100", "--vms-per-worker", "20"];
        let simulation = Program::start(&[&fleet[..], &["--interval", "500ms", "--failures", "0", "--strict"]].concat());
        let heard = async || {
            let workers = server.get("/workers").await["workers"].take();
            let workers = workers.as_array().unwrap().iter().filter(|worker| worker["vm_count"].as_u64() >= Some(15));
            let heard = workers.map(|worker| (worker["id"].as_str().unwrap().to_owned(), worker["last_seen"].clone()));
            heard.collect::<BTreeMap<_, _>>()
        };
        let mut before = eventually("all to report their VMs", async || Some(heard().await).filter(|it| it.len() == 100)).await;
        for _ in 0..3 {
            before = eventually("another heartbeat of each", async || {
                let now = heard().await;
                before.iter().all(|(id, seen)| now.get(id).is_some_and(|now| now != seen)).then_some(now)
            })
            .await;
        }
        simulation.signal("INT");
        let exit = simulation.exit().await;
        assert_eq!(exit.code, Some(0), "{}\n{}", exit.out, exit.err);
        for line in ["workers         100\n", "registrations   100 (0 again), 0 failed\n", "beats failed    0\n"] {
            assert!(exit.out.contains(line), "{}", exit.out);
        }

        let stats = server.get("/cluster/stats").await;
        assert_eq!((&stats["total_workers"], &stats["active_workers"]), (&json!(100), &json!(100)));
        // A few are being replaced at any moment.
        let vms = stats["total_vms"].as_u64().unwrap();
        assert!((1_900..=2_100).contains(&vms), "{vms}");
        assert_eq!(server.get("/vms").await["vms"].as_array().map(Vec::len), Some(vms as usize));
        let workers = server.get("/workers").await;
        let workers = workers["workers"].as_array().unwrap();
        assert!(workers.iter().all(|worker| worker["vm_count"].as_u64() >= Some(15)));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_fleet_has_the_token_of_a_gateway() {
    let database = TestDatabase::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let token = async |name: &str, arguments: &[&str]| {
        let create = ["token", "create", "--name", name, "--database-url", database.url()];
        let exit = Program::run(&[&create, arguments].concat()).await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        let path = folder.path().join(name);
        std::fs::write(&path, exit.out).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let join = token("join", &["--role", "join", "--uses", "5"]).await;
    let gateway = token("gateway", &["--role", "worker", "--max-workers", "5"]).await;
    let mut server = Server::start_with(&database, &[]).await;
    let fleet = ["simulate", "--server", &server.url, "--workers", "5", "--interval", "100ms", "--strict"];
    let simulation = Program::start(&[&fleet[..], &["--token-file", &gateway]].concat());
    for number in 1..=5 {
        let id = format!("sim-{number:04}");
        server.program.logged("the registration of each", |line| line["worker.id"] == id.as_str()).await;
    }
    simulation.signal("INT");
    let exit = simulation.exit().await;
    assert_eq!(exit.code, Some(0), "{}\n{}", exit.out, exit.err);
    assert!(exit.out.contains("registrations   5 (0 again), 0 failed"), "{}", exit.out);
    // A join token is for hosts, each of which has a token of its own from then on.
    let exit = Program::run(&[&fleet[..], &["--token-file", &join]].concat()).await;
    assert_eq!(exit.code, Some(1));
    assert!(exit.err.contains("This needs the role worker, and the token has the role join"), "{}", exit.err);
    server.stop().await;
}

#[tokio::test]
async fn a_strict_simulation_fails_with_its_first_failure() {
    let database = TestDatabase::sqlite();
    let mut server = Server::start_with(&database, &[]).await;
    let fleet = ["simulate", "--server", &server.url, "--workers", "5", "--interval", "100ms", "--strict"];
    let mut simulation = Program::start_with(&fleet, &[("AETHERIUM_LOG", "debug")]);
    server.program.logged("all have registered", |line| line["worker.id"] == "sim-0005").await;
    server.kill().await;
    let has_failed = |line: &Value| {
        let target = line["target"].as_str().unwrap();
        target.starts_with("aetherium::simulate") && line["error"].is_string()
    };
    simulation.logged("a failure", has_failed).await;
    simulation.signal("INT");
    let exit = simulation.exit().await;
    assert_eq!(exit.code, Some(1), "{}\n{}", exit.out, exit.err);
    assert!(exit.out.contains("first failure   the server is unavailable"), "{}", exit.out);
}
