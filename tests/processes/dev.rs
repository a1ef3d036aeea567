//! `aetherium dev`, from the welcome to the empty folder.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Program, eventually, http};

#[tokio::test]
async fn a_cluster_to_try_out_shows_this_machine_and_leaves_nothing_behind() {
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--workers", "3", "--vms-per-worker", "2"];
    let mut program = Program::start(&arguments);
    let welcome = program.printed("Ctrl-C ends it").await;
    let url = welcome.lines().find_map(|line| line.trim().strip_prefix("Dashboard")?.trim().strip_suffix('/')).unwrap();
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let hostname = hostname.trim();

    // Everybody is there when the welcome is printed.
    let get =
        async |path: &str| http().get(format!("{url}{path}")).send().await.unwrap().json::<Value>().await.unwrap();
    let workers = get("/api/v1/workers").await;
    let ids: Vec<_> =
        workers["workers"].as_array().unwrap().iter().map(|worker| worker["id"].as_str().unwrap()).collect();
    let mut expected = vec![hostname, "sim-0001", "sim-0002", "sim-0003"];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let this = get(&format!("/api/v1/workers/{hostname}")).await;
    let cores = fs::read_to_string("/proc/cpuinfo").unwrap().matches("processor\t").count();
    assert_eq!((&this["status"], &this["cpu_cores"]), (&json!("active"), &json!(cores)));
    eventually("the simulated VMs are reported", async || {
        (get("/api/v1/cluster/stats").await["total_vms"].as_u64() >= Some(6)).then_some(())
    })
    .await;

    // What the welcome tells to try works as it is printed.
    let commands: Vec<_> = welcome.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let [list, query, drain] = commands[..] else { panic!("three things to try: {welcome}") };
    assert_eq!(shell(list).await["total"], 4);
    let answer = shell(query).await;
    assert_eq!(answer["data"]["workers"].as_array().map(Vec::len), Some(4), "{answer}");
    assert_eq!(shell(drain).await["status"], "draining");
    assert_eq!(get(&format!("/api/v1/workers/{hostname}")).await["status"], "draining");

    let folder = program.folder().to_owned();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "its data is in one temporary folder");
    program.signal("TERM");
    // The folder that the test gave is gone together with the program, so look before.
    let gone = eventually("the temporary folder goes", async || {
        fs::read_dir(&folder).map_or(Some(()), |mut rest| rest.next().is_none().then_some(()))
    });
    gone.await;
    let exit = program.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
}

async fn shell(command: &str) -> Value {
    let output = Command::new("bash").args(["-c", command]).output().await.unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{command}: {error}: {output:?}"))
}

#[tokio::test]
async fn a_cluster_to_try_out_has_something_to_see() {
    let arguments = ["dev", "--listen", "127.0.0.1:0", "--offline-after", "5s", "--heartbeat-interval", "1s"];
    let mut program = Program::start(&arguments);
    let welcome = program.printed("Ctrl-C ends it").await;
    assert!(welcome.contains("offline after 5s"), "{welcome}");
    let url = welcome.lines().find_map(|line| line.trim().strip_prefix("Dashboard")?.trim().strip_suffix('/')).unwrap();
    let get = async |path: &str| {
        http().get(format!("{url}/api/v1{path}")).send().await.unwrap().json::<Value>().await.unwrap()
    };

    let workers = get("/workers").await;
    let simulated = workers["workers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|worker| worker["id"].as_str().unwrap().starts_with("sim-"));
    let zones: Vec<_> = simulated.map(|worker| worker["zone"].as_str().unwrap()).collect();
    assert_eq!((zones.len(), zones.iter().collect::<BTreeSet<_>>().len()), (10, 3), "{zones:?}");

    for (worker, state, reason, note) in [
        ("sim-0002", "draining", "new disks", "live migration refused: local disk"),
        ("sim-0006", "overdue", "firmware update", "no other worker has a GPU"),
    ] {
        eventually(&format!("{worker} is {state}, and says what is in the way"), async || {
            let drain = get(&format!("/workers/{worker}/drain")).await;
            let blockers = drain["blockers"].as_array()?;
            let is_so = drain["state"] == state && drain["reason"] == reason;
            (is_so && blockers.iter().any(|blocker| blocker["message"].as_str().unwrap().contains(note))).then_some(())
        })
        .await;
    }
    eventually("one worker is lost", async || {
        let offline = get("/workers?status=offline").await;
        (offline["total"] == 1 && offline["workers"][0]["id"] == "sim-0009").then_some(())
    })
    .await;

    program.signal("TERM");
    let exit = program.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
}
