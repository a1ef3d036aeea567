//! All hosts of a cluster start anew at once, as after a power cut: each registers with a new boot and reports all its VMs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::database::TestDatabase;
use crate::harness::{PATIENCE, Server, http};

/// What all hosts share.
struct Fleet {
    http: Client,
    url: String,
    vms: usize,
    /// How often one of them was told to come back later, and not answered.
    refused: AtomicUsize,
    unanswered: AtomicUsize,
}

impl Fleet {
    /// Sends until it is acknowledged, and waits as long as it is told in between.
    async fn send(&self, request: impl Fn(&Client) -> reqwest::RequestBuilder) -> Value {
        loop {
            let answer = request(&self.http).timeout(PATIENCE).send().await;
            let wait = match answer {
                Ok(answer) if answer.status().is_success() => return answer.json().await.unwrap(),
                Ok(answer) => {
                    let (status, headers) = (answer.status(), answer.headers());
                    let wait = headers.get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
                    let wait: u64 = wait.unwrap_or_else(|| panic!("{status} without word of when to come back"));
                    assert!(
                        [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status),
                        "{status}"
                    );
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    wait
                }
                Err(_) => {
                    self.unanswered.fetch_add(1, Ordering::Relaxed);
                    1
                }
            };
            sleep(Duration::from_secs(wait) + Duration::from_millis(rand::random_range(0..500))).await;
        }
    }

    /// Starts a host: registers it, and reports its VMs.
    async fn start(self: Arc<Self>, id: String, boot: usize) {
        let worker = format!("{}/api/v1/workers/{id}", self.url);
        let boot_id = format!("{id}-boot-{boot}");
        let body = json!({
            "hostname": id, "address": "192.0.2.1:8081", "cpu_cores": 640, "memory_mb": 1_000_000, "max_vms": 1_000,
            "boot_id": boot_id, "host_boot_id": boot_id
        });
        let incarnation = self.send(|http| http.put(&worker).json(&body)).await["incarnation"].take();
        let vms: Vec<_> = (0..self.vms)
            .map(|vm| json!({"id": format!("{id}-{boot}-{vm}"), "status": "running", "vcpus": 2, "memory_mb": 2_048}))
            .collect();
        let beat = json!({"incarnation": incarnation, "sequence": 1, "vms": vms});
        self.send(|http| http.post(format!("{worker}/heartbeat")).json(&beat)).await;
    }
}

async fn all_start(fleet: &Arc<Fleet>, hosts: usize, boot: usize) {
    let mut starting = JoinSet::new();
    for host in 0..hosts {
        starting.spawn(fleet.clone().start(format!("host-{host:03}"), boot));
    }
    starting.join_all().await;
}

/// The most memory that a process has had at once, in MiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

async fn all_hosts_start_anew(database: &TestDatabase, hosts: usize, vms: usize) {
    let server = Server::start_with(database, &["--offline-after", "60s"]).await;
    let [refused, unanswered] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let fleet = Arc::new(Fleet { http: http(), url: server.url.clone(), vms, refused, unanswered });
    all_start(&fleet, hosts, 1).await;
    let before = (peak(server.program.pid()), fleet.refused.swap(0, Ordering::Relaxed));
    fleet.unanswered.store(0, Ordering::Relaxed);

    let begun = Instant::now();
    all_start(&fleet, hosts, 2).await;
    let took = begun.elapsed();
    let name = if database.backend() == DbBackend::Sqlite { "SQLite" } else { "PostgreSQL" };
    println!(
        "mass restart of {hosts} workers with {vms} VMs each on {name}: {:.1} s, {} refused (503), {} not answered, \
         peak {} MiB (after the first start: {} MiB, {} refused)",
        took.as_secs_f64(),
        fleet.refused.load(Ordering::Relaxed),
        fleet.unanswered.load(Ordering::Relaxed),
        peak(server.program.pid()),
        before.0,
        before.1,
    );

    let workers = server.get("/workers").await["workers"].take();
    let workers = workers.as_array().unwrap();
    assert_eq!(workers.len(), hosts);
    for worker in workers {
        assert_eq!((&worker["status"], &worker["vm_count"]), (&json!("active"), &json!(vms)), "{worker}");
    }
    let list = server.get("/vms").await["vms"].take();
    let ids = list.as_array().unwrap().iter().map(|vm| vm["id"].as_str().unwrap());
    assert!(ids.clone().all(|id| id.split('-').nth(2) == Some("2")), "nothing of the life before is left");
    assert_eq!(ids.count(), hosts * vms);
    // The log is long: only what must not be in it is asked for.
    let silent =
        server.query(r#"{ events(filter: {kinds: [WORKER_OFFLINE]}) { nodes { workerId } } }"#, &json!({}), 0).await;
    assert_eq!(silent["events"]["nodes"], json!([]), "nobody who beat was announced as offline");
    server.is_well().await;
    server.stop().await;
}

on_both_databases! {
    async fn some_hosts_start_anew_at_once(database: TestDatabase) {
        all_hosts_start_anew(&database, 60, 100).await;
    }
}

mod six_hundred_hosts_start_anew_at_once {
    use super::*;

    #[tokio::test]
    #[ignore = "takes minutes: tests/run faults"]
    async fn sqlite() {
        TestDatabase::sqlite()
            .run(async |database: TestDatabase| all_hosts_start_anew(&database, 600, 300).await)
            .await;
    }

    #[tokio::test]
    #[ignore = "takes minutes: tests/run faults"]
    async fn postgres() {
        let database = TestDatabase::postgres().await;
        database.run(async |database: TestDatabase| all_hosts_start_anew(&database, 600, 300).await).await;
    }
}
