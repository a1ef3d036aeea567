//! Questions that take long: they leave their thread to others, cost what they look at, and look where the answer is.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use aetherium::server::ServerOptions;
use futures_util::poll;
use serde_json::{Value, json};

use crate::harness::*;

/// So many workers with so many VMs each that no list of all VMs is short work.
const WORKERS: usize = 5;
const VMS_OF_EACH: usize = 5_500;

/// Each asks in another way for everything there is.
fn long_questions(cluster: &TestCluster) -> Vec<(&'static str, Ask)> {
    let get = |path: &str| cluster.rest().get(path);
    let post = |document: &str| cluster.rest().post("/graphql").json(json!({ "query": document }));
    let search = r#"vmsConnection(first: 1, filter: {search: "nothing"}) { totalCount }"#;
    let searches: String = (0..6).map(|alias| format!("a{alias}: {search} ")).collect();
    let searches = format!("{{ {searches} }}");
    let escaped: String = searches.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        ("all VMs", get("/api/v1/vms")),
        ("all VMs again, of which all is known", get("/api/v1/vms")),
        ("VMs by a text", get("/api/v1/vms?search=NOTHING")),
        ("a page of VMs by zone and text", get("/api/v1/vms?zone=a&zone=b&search=vm&limit=1")),
        (
            "VMs of all workers by name",
            get("/api/v1/vms?worker_id=w0&worker_id=w1&worker_id=w2&worker_id=w3&worker_id=w4"),
        ),
        ("which VM is where", get("/api/v1/cluster/distribution")),
        ("many searches", post(&searches)),
        ("many searches again, whose bytes are known", post(&searches)),
        ("many searches by GET", get(&format!("/graphql?query={escaped}"))),
        ("many searches as a stream", post(&searches).header("accept", "text/event-stream")),
        (
            "all VMs by plan",
            post("{ vms { id name status vcpus memoryMb duplicate revision workerId worker { id } } }"),
        ),
        (
            "which VM is where by plan",
            post(
                "{ vmDistribution { workerId vms { id name status vcpus memoryMb duplicate revision workerId worker { id } } } }",
            ),
        ),
        ("all VMs, resolved", post("{ events(first: 1) { nodes { kind } } vms { id name } }")),
    ]
}

on_both_databases! {
    // The runtime of a test has one thread: whoever does not leave it has it until he is done.
    async fn long_questions_leave_room_for_health_and_heartbeats(database: TestDatabase) {
        // However slow the machine is that it runs on.
        let patient = |options: &mut ServerOptions| options.http.response_time = Duration::from_secs(600);
        let cluster = TestCluster::configured(&database, patient).await;
        let machine = |n: usize| {
            worker(&format!("w{n}")).max_vms(10_000).vms((0..VMS_OF_EACH).map(move |vms| vm(&format!("vm-{n}-{vms}"))))
        };
        cluster.add((0..WORKERS).map(machine)).await;
        for (what, question) in long_questions(&cluster) {
            let mut answer = pin!(question.into_future());
            assert!(poll!(&mut answer).is_pending(), "{what}: nobody else had a turn until it was answered");
            let health = cluster.rest().get("/api/v1/health").await;
            assert_eq!(health.status, 200, "{what}: {}", health.body);
            let beat = cluster.beat("w0", json!({"incarnation": 1})).await;
            assert_eq!(beat.status, 200, "{what}: {}", beat.body);
            let answer = answer.await;
            assert_eq!(answer.status, 200, "{what}: {}", answer.body);
            assert!(!answer.body.contains("errors"), "{what}: {}", answer.body);
        }
    }

    async fn vms_by_worker_are_those_that_the_workers_report(cluster: TestCluster) {
        let vms = |worker: &str| [vm(&format!("{worker}-1")), vm(&format!("{worker}-2")).status("stopped"), vm("moving")];
        let workers = ["b", "a", "d", "c"];
        cluster.add(workers.map(|id| worker(id).zone(if id < "c" { "near" } else { "far" }).vms(vms(id)))).await;
        let statuses = "status=running&status=stopped";
        let all = cluster.rest().get(&format!("/api/v1/vms?{statuses}")).await.json()["vms"].clone();
        assert_eq!(all.as_array().unwrap().len(), 4 * 2 + 1, "one that several report is shown once: {all:?}");
        // What each worker reports, of which the other way around is made.
        let mut reported = BTreeMap::new();
        for id in workers {
            let vms = cluster.rest().get(&format!("/api/v1/vms?{statuses}&worker_id={id}")).await.json()["vms"].clone();
            assert_eq!(vms.as_array().unwrap().len(), 3, "{vms}");
            reported.insert(id, vms.as_array().unwrap().clone());
        }
        let home = all.as_array().unwrap().iter().find(|vm| vm["id"] == "moving").unwrap()["worker_id"].clone();
        // Every choice of workers, in an order of its own, with one twice and one that is not there.
        for choice in 0..1 << workers.len() {
            let mut wanted: Vec<_> = (0..workers.len()).filter(|n| choice & 1 << n != 0).map(|n| workers[n]).collect();
            if let Some(first) = wanted.first().copied() {
                wanted.extend([first, "nobody"]);
            } else {
                wanted.push("nobody");
            }
            let among: BTreeSet<_> = wanted.iter().copied().collect();
            for (near, statuses) in [(false, statuses), (true, statuses), (false, "status=stopped")] {
                let wanted_of = |id: &&&str| !near || **id < "c";
                let reports = among.iter().filter(wanted_of).filter_map(|id| reported.get(id)).flatten();
                let mut expected: BTreeMap<_, Value> = BTreeMap::new();
                for vm in reports.filter(|vm| statuses.contains(vm["status"].as_str().unwrap())) {
                    // Of several reports of one VM, the one that speaks for it comes first, if it is among them.
                    let other = expected.entry(vm["id"].to_string()).or_insert_with(|| vm.clone());
                    if vm["worker_id"] == home {
                        *other = vm.clone();
                    }
                }
                let ids: Vec<_> = wanted.iter().map(|id| format!("worker_id={id}")).collect();
                let zone = if near { "&zone=near" } else { "" };
                let path = format!("/api/v1/vms?{statuses}{zone}&{}", ids.join("&"));
                let told = cluster.rest().get(&path).await.json()["vms"].clone();
                let told: BTreeMap<_, _> = told.as_array().unwrap().iter().map(|vm| (vm["id"].to_string(), vm.clone())).collect();
                assert_eq!(told.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{path}");
                for (id, vm) in told {
                    let from = vm["worker_id"].as_str().unwrap();
                    assert!(reported[from].contains(&vm), "{path}: {vm}");
                    assert!(vm["worker_id"] == home || expected[&id]["worker_id"] != home, "{path}: {vm}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_searches_cost_more_than_is_allowed_and_a_hundred_looks_do_not() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    for (field, is_allowed) in [
        (r#"vmsConnection(first: 1, filter: {search: "x"}) { totalCount }"#, false),
        (r#"vmsConnection(first: 1, filter: {zones: ["x", "y"]}) { totalCount }"#, false),
        (r#"vmsConnection(first: 1, filter: {zones: ["x"], search: "x"}) { totalCount }"#, false),
        ("vmsConnection(first: 0) { totalCount }", false),
        ("vmDistribution { workerId }", false),
        ("vmsConnection(first: 1, orderBy: {field: ZONE}) { totalCount }", false),
        (r#"vmsConnection(first: 1, orderBy: {field: ZONE}, filter: {zones: ["x"]}) { totalCount }"#, false),
        // A page of workers is selected, not sorted.
        (r#"workersConnection(first: 1, filter: {search: "x"}, orderBy: {field: ZONE}) { totalCount }"#, true),
        (r#"vmsConnection(first: 1, filter: {workerIds: ["w1"], search: "x"}) { totalCount }"#, true),
        (r#"workersConnection(first: 1, filter: {ids: ["w1"], search: "x"}) { totalCount }"#, true),
        (r#"worker(id: "w1") { vmsConnection(filter: {search: "x"}) { totalCount } }"#, true),
        // What an index finds.
        (r#"vmsConnection(first: 1, filter: {zones: ["x"]}) { totalCount }"#, true),
        (r#"workersConnection(first: 1, filter: {statuses: [ACTIVE]}) { totalCount }"#, true),
        ("workersConnection(first: 1, orderBy: {field: ZONE}) { totalCount }", true),
        ("clusterStats { totalVms }", true),
    ] {
        let fields: String = (0..100).map(|alias| format!("a{alias}: {field} ")).collect();
        let answer = cluster.graphql_answer(&format!("{{ {fields} }}"), json!({})).await;
        if is_allowed {
            assert_eq!(answer.get("errors"), None, "{field}");
        } else {
            assert_eq!(answer["errors"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX", "{field}: {answer}");
        }
    }
}
