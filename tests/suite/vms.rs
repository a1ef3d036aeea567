//! VMs: on their worker, on their own, and on two workers at once.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::*;

on_both_databases! {
    // semantics 10, 11
    async fn vms_that_hold_a_slot_count_and_others_are_listed_when_asked_for(cluster: TestCluster) {
        let statuses = ["created", "failed", "running", "starting", "stopped", "stopping"];
        cluster.add([worker("w1").vms(statuses.map(|status| vm(status).status(status)))]).await;

        let holding = ["created", "running", "starting", "stopping"];
        assert_eq!(cluster.worker("w1").await["vm_count"], 4);
        for (query, expected) in [
            ("", holding.as_slice()),
            ("?status=stopped", &["stopped"]),
            ("?status=stopped&status=failed", &["failed", "stopped"]),
            ("?status=running&status=failed", &["failed", "running"]),
        ] {
            let on_worker = cluster.rest().get(&format!("/api/v1/workers/w1/vms{query}")).await.json();
            let anywhere = cluster.rest().get(&format!("/api/v1/vms{query}")).await.json();
            for (list, place) in [(on_worker, "worker"), (anywhere, "vms")] {
                assert_eq!(pick(&list["vms"], ["status"]).concat(), expected, "{place}{query}");
                assert_eq!(list["total"], expected.len());
            }
        }
        let distribution = cluster.rest().get("/api/v1/cluster/distribution").await.json();
        let [entry] = pick(&distribution["distribution"], ["vm_count", "vms"]).try_into().unwrap();
        assert_eq!(entry[0], entry[1].as_array().unwrap().len(), "never a second number");
        assert_eq!(cluster.rest().get("/api/v1/vms/stopped").await.json()["status"], "stopped", "one by id is found");
    }

    // semantics 11
    async fn a_status_is_one_of_six_words(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let words = "created, starting, running, stopping, stopped, failed";
        for path in ["/api/v1/vms?status=RUNNING", "/api/v1/workers/w1/vms?status=RUNNING"] {
            let message = format!("status must be one of {words}, not \"RUNNING\"");
            cluster.rest().get(path).await.assert_failure(400, &message);
        }
        let answer = cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "a", "status": "paused"}]})).await;
        answer.assert_failure(400, &format!("status must be one of {words}, not \"paused\" (of VM \"a\")"));
    }

    // semantics 13
    async fn a_vm_of_unknown_size_is_still_a_vm(cluster: TestCluster) {
        cluster.add([worker("w1").reports("vms", json!([{"id": "vm-1"}]))]).await;
        cluster.rest().get("/api/v1/vms/vm-1").await.assert_json(
            200,
            json!({
                "id": "vm-1", "name": "vm-1", "worker_id": "w1", "status": "running", "vcpus": 0, "memory_mb": 0,
                "duplicate": false, "revision": 2, "created_at": "2025-11-02T10:00:00Z",
                "started_at": "2025-11-02T10:00:00Z", "status_since": "2025-11-02T10:00:00Z", "vcpu_count": 0,
            }),
        );
    }

    async fn a_vm_that_says_the_same_again_has_not_changed(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2")])]).await;
        let vms: Vec<Value> = vec![vm("vm-1").into(), vm("vm-2").size(4, 4096).into()];
        cluster.beat("w1", json!({"incarnation": 1, "vms": vms})).await;
        let list = cluster.rest().get("/api/v1/vms").await.json();
        assert_eq!(pick(&list["vms"], ["id", "revision"]), [[json!("vm-1"), json!(2)], [json!("vm-2"), json!(3)]]);
        let told = ["worker_registered w1", "vm_started w1 vm-1", "vm_started w1 vm-2", "vm_changed w1 vm-2"];
        assert_eq!(cluster.history().await, told);
    }

    // semantics 27
    async fn a_vm_on_two_workers_is_one_vm_of_whoever_reported_it_last(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1").name("on w1")])]).await;
        cluster.add([worker("w2").vms([vm("vm-1").name("on w2")])]).await;
        let home = async || {
            let vm = cluster.rest().get("/api/v1/vms/vm-1").await.json();
            let list = cluster.rest().get("/api/v1/vms").await.json();
            assert_eq!(list, json!({"vms": [vm], "total": 1}), "the VM itself is one object");
            [vm["worker_id"].clone(), vm["name"].clone(), vm["duplicate"].clone()]
        };
        assert_eq!(home().await, [json!("w2"), json!("on w2"), json!(true)]);
        for (id, name) in [("w1", "on w1"), ("w2", "on w2")] {
            cluster.rest().get(&format!("/api/v1/workers/{id}/vms")).await.assert_json(200, json!({
                "worker_id": id, "total": 1,
                "vms": [{
                    "id": "vm-1", "name": name, "status": "running", "vcpus": 2, "memory_mb": 2048, "duplicate": true,
                }],
            }));
            assert_eq!(cluster.worker(id).await["vm_count"], 1);
        }
        assert_eq!(cluster.rest().get("/api/v1/cluster/stats").await.json()["total_vms"], 1, "totals count it once");

        let again: Value = vm("vm-1").name("on w1").into();
        cluster.beat("w1", json!({"incarnation": 1, "vms": [again]})).await;
        assert_eq!(home().await, [json!("w1"), json!("on w1"), json!(true)], "w1 has reported it again");
        let stopped: Value = vm("vm-1").name("on w1").status("stopped").into();
        cluster.beat("w1", json!({"incarnation": 1, "vms": [stopped]})).await;
        assert_eq!(home().await, [json!("w2"), json!("on w2"), json!(false)], "only w2 says that it holds a slot");
        cluster.beat("w2", json!({"incarnation": 1, "vms": []})).await;
        let vm = cluster.rest().get("/api/v1/vms/vm-1").await.json();
        assert_eq!([&vm["worker_id"], &vm["status"]], [&json!("w1"), &json!("stopped")]);
    }

    // semantics 27b
    async fn a_vm_with_an_odd_id_is_set_aside_and_the_rest_counts(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let vms = json!([{"id": "vm-1"}, {"id": "w2"}, {"id": "w1"}, {"id": ""}, {"id": "a/b"}, {"id": "vm-2"}]);
        let reply = cluster.beat("w1", json!({"incarnation": 1, "vms": vms})).await;
        assert_eq!(
            reply.json()["set_aside"],
            json!({"": "A VM's id must not be empty.", "a/b": "A VM's id must not contain '/'."})
        );
        let list = cluster.rest().get("/api/v1/vms").await.json();
        assert_eq!(pick(&list["vms"], ["id"]).concat(), ["vm-1", "vm-2", "w1", "w2"]);
    }

    // semantics 27
    async fn what_is_on_a_host_is_what_that_host_reports(cluster: TestCluster) {
        // Every VM is on some of four hosts, running on some of these and stopped on others, said in any order.
        let mut dice = SmallRng::seed_from_u64(14);
        let hosts = ["w1", "w2", "w3", "w4"];
        cluster.add(hosts.map(worker)).await;
        for round in 0..8 {
            let host = hosts[dice.random_range(0..hosts.len())];
            let mut vms = Vec::new();
            for number in 0..8 {
                if dice.random_bool(0.6) {
                    let status = if dice.random_bool(0.7) { "running" } else { "stopped" };
                    let name = format!("of {host} in {round}");
                    vms.push(json!({"id": format!("vm-{number}"), "name": name, "status": status}));
                }
            }
            cluster.beat(host, json!({"incarnation": 1, "vms": vms})).await;

            for wanted in [vec!["w1"], vec!["w4"], vec!["w2", "w3"], vec!["w3", "w2", "w2"], vec!["w1", "w2", "w3", "w4"], vec!["w9"]] {
                for statuses in [vec![], vec!["running", "stopped"], vec!["stopped"]] {
                    let parameters = |name: &str, values: &[&str]| {
                        values.iter().map(|value| format!("&{name}={value}")).collect::<String>()
                    };
                    let of_status = parameters("status", &statuses);
                    // What each host says of itself, by the one list that was never in doubt.
                    let mut expected: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
                    for host in wanted.iter().filter(|host| **host != "w9") {
                        let own = cluster.rest().get(&format!("/api/v1/workers/{host}/vms?_=1{of_status}")).await.json();
                        for vm in own["vms"].as_array().unwrap() {
                            let report = ((*host).to_owned(), vm["name"].as_str().unwrap().to_owned());
                            expected.entry(vm["id"].as_str().unwrap().to_owned()).or_default().insert(report);
                        }
                    }
                    let query = format!("?_=1{}{of_status}", parameters("worker_id", &wanted));
                    let listed = cluster.rest().get(&format!("/api/v1/vms{query}")).await.json();
                    let listed: Vec<_> = listed["vms"].as_array().unwrap().iter().map(|vm| {
                        let text = |key: &str| vm[key].as_str().unwrap().to_owned();
                        (text("id"), (text("worker_id"), text("name")))
                    }).collect();
                    let ids: Vec<_> = listed.iter().map(|(id, _)| id).collect();
                    assert_eq!(ids, expected.keys().collect::<Vec<_>>(), "round {round}: {query}");
                    for (id, report) in &listed {
                        assert!(expected[id].contains(report), "round {round}: {query}: {id} {report:?}");
                        let one = cluster.rest().get(&format!("/api/v1/vms/{id}")).await.json();
                        let home = (one["worker_id"].as_str().unwrap().to_owned(), one["name"].as_str().unwrap().to_owned());
                        assert!(*report == home || !expected[id].contains(&home), "{id} is at home on a wanted host");
                    }

                    let asked = "query($filter: VmFilter) { vmsConnection(filter: $filter, first: 50) {
                        totalCount nodes { id name worker { id } } } }";
                    let mut filter = json!({"workerIds": wanted});
                    if !statuses.is_empty() {
                        filter["statuses"] = statuses.iter().map(|status| json!(status.to_uppercase())).collect();
                    }
                    let connection = cluster.graphql_answer(asked, json!({"filter": filter})).await;
                    let nodes = connection["data"]["vmsConnection"]["nodes"].as_array().unwrap().iter().map(|vm| {
                        let text = |value: &Value| value.as_str().unwrap().to_owned();
                        (text(&vm["id"]), (text(&vm["worker"]["id"]), text(&vm["name"])))
                    });
                    assert_eq!(nodes.collect::<Vec<_>>(), listed, "both protocols say the same");
                }
            }
        }
    }
}
