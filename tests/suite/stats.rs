//! Totals of the cluster.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::*;

/// What statistics say that can be added up from the lists of workers and VMs, added up.
async fn added_up(cluster: &TestCluster) -> Value {
    let workers = cluster.rest().get("/api/v1/workers").await.json()["workers"].take();
    let workers = workers.as_array().unwrap();
    let figure = |worker: &Value, field: &str| worker[field].as_u64().unwrap();
    let sum = |field: &str| workers.iter().map(|worker| figure(worker, field)).sum::<u64>();
    let with_status = |status: &str| workers.iter().filter(|worker| worker["status"] == status).count();
    let free = |total: &str, used: &str| -> u64 {
        let active = workers.iter().filter(|worker| worker["status"] == "active");
        active.map(|worker| figure(worker, total).saturating_sub(figure(worker, used))).sum()
    };
    let mut zones = serde_json::Map::new();
    for zone in workers.iter().filter_map(|worker| worker["zone"].as_str()).filter(|zone| !zone.is_empty()) {
        let count = zones.get(zone).and_then(Value::as_u64).unwrap_or(0);
        zones.insert(zone.to_owned(), json!(count + 1));
    }
    json!({
        "total_workers": workers.len(), "active_workers": with_status("active"),
        "draining_workers": with_status("draining"), "offline_workers": with_status("offline"),
        "total_cpu_cores": sum("cpu_cores"), "total_memory_mb": sum("memory_mb"),
        "used_cpu_cores": sum("used_cpu_cores"), "used_memory_mb": sum("used_memory_mb"), "max_vms": sum("max_vms"),
        "total_vms": cluster.rest().get("/api/v1/vms").await.json()["total"], "zones": zones,
        "schedulable_workers": with_status("active"),
        "schedulable_cpu_cores": free("cpu_cores", "used_cpu_cores"),
        "schedulable_memory_mb": free("memory_mb", "used_memory_mb"),
        "schedulable_vm_slots": free("max_vms", "vm_count"),
    })
}

on_both_databases! {
    // semantics 14
    async fn an_empty_cluster_is_all_zeros(cluster: TestCluster) {
        cluster.rest().get("/api/v1/cluster/stats").await.assert_json(200, json!({
            "total_workers": 0, "active_workers": 0, "draining_workers": 0, "offline_workers": 0,
            "total_cpu_cores": 0, "total_memory_mb": 0, "used_cpu_cores": 0, "used_memory_mb": 0,
            "available_cpu_cores": 0, "available_memory_mb": 0,
            "cluster_cpu_usage_percent": 0.0, "cluster_memory_usage_percent": 0.0,
            "total_vms": 0, "max_vms": 0, "available_vm_slots": 0, "zones": {},
            "schedulable_workers": 0, "schedulable_cpu_cores": 0, "schedulable_memory_mb": 0, "schedulable_vm_slots": 0,
            "revision": 0,
        }));
    }

    // semantics 14, 15, 16
    async fn totals_count_every_registered_worker_and_schedulable_ones_only_what_takes_work(cluster: TestCluster) {
        cluster
            .add([
                worker("active").zone("a").cpu(8).memory_mb(8_000).max_vms(10).vms([vm("vm-1").size(2, 1_000)]),
                worker("draining").zone("a").cpu(8).memory_mb(8_000).max_vms(10).vms([vm("vm-2").size(1, 500)]),
                worker("offline")
                    .zone("b")
                    .cpu(4)
                    .memory_mb(4_000)
                    .max_vms(5)
                    .vms([vm("vm-3").size(4, 4_000)])
                    .silent_for(minutes(2)),
                worker("nowhere").cpu(1).memory_mb(1_000).max_vms(1),
            ])
            .await;
        cluster.rest().post("/api/v1/workers/draining/drain").await;
        cluster.rest().get("/api/v1/cluster/stats").await.assert_json(
            200,
            json!({
                "total_workers": 4, "active_workers": 2, "draining_workers": 1, "offline_workers": 1,
                "total_cpu_cores": 21, "total_memory_mb": 21_000, "used_cpu_cores": 7, "used_memory_mb": 5_500,
                "available_cpu_cores": 14, "available_memory_mb": 15_500,
                // sum(used) / sum(total), which is not the mean of the workers
                "cluster_cpu_usage_percent": 33.33, "cluster_memory_usage_percent": 26.19,
                "total_vms": 3, "max_vms": 26, "available_vm_slots": 23,
                "zones": {"a": 2, "b": 1},
                "schedulable_workers": 2, "schedulable_cpu_cores": 7, "schedulable_memory_mb": 8_000,
                "schedulable_vm_slots": 10,
                "revision": 9,
            }),
        );
    }

    // Statistics are kept with the changes, lists are read: they agree after each step, at any moment, and after a restart.
    async fn totals_are_what_the_lists_add_up_to_whatever_happens(db: TestDatabase) {
        let seed = rand::random::<u64>();
        let mut random = StdRng::seed_from_u64(seed);
        let mut cluster = TestCluster::on(&db).await;
        for step in 0..200 {
            let id = format!("w{}", random.random_range(0..6));
            let path = format!("/api/v1/workers/{id}");
            let happened = match random.random_range(0..20) {
                0..4 => {
                    let zone = ["", "a", "b"][random.random_range(0..3)];
                    let registration = json!({
                        "hostname": id, "address": "10.0.0.1:1", "zone": zone,
                        "cpu_cores": random.random_range(1..9), "memory_mb": random.random_range(1..9_000),
                        "max_vms": random.random_range(0..4), "boot_id": format!("boot-{step}"),
                    });
                    cluster.rest().put(&path).json(registration).await.status
                }
                4..11 => {
                    let life = cluster.rest().get(&path).await.json()["incarnation"].as_u64().unwrap_or(1);
                    let vms: Vec<_> = (0..random.random_range(0..5))
                        .map(|vm| json!({"id": format!("{id}-vm-{vm}"), "vcpus": vm, "memory_mb": 700 * vm}))
                        .collect();
                    cluster.beat(&id, json!({"incarnation": life, "vms": vms})).await.status
                }
                11..13 => cluster.rest().post(&format!("{path}/drain")).await.status,
                13..15 => cluster.rest().post(&format!("{path}/activate")).await.status,
                15 => cluster.rest().delete(&path).await.status,
                16 => cluster.rest().delete(&format!("{path}?purge=true&force=true")).await.status,
                17 => {
                    cluster.sweep().await;
                    0
                }
                18 => {
                    cluster = cluster.restart().await;
                    0
                }
                _ => 0,
            };
            // Also to moments at which a worker has been silent for just as long as it may be.
            cluster.advance(std::time::Duration::from_millis(random.random_range(0..25) * 500));
            let mut stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
            let expected = added_up(&cluster).await;
            stats.as_object_mut().unwrap().retain(|field, _| expected.get(field).is_some());
            assert_eq!(stats, expected, "seed {seed}, step {step}, {id}, answered {happened}");
            // So are the lists of zones.
            let all = cluster.rest().get("/api/v1/workers").await.json()["workers"].take();
            for zone in ["a", "b"] {
                let listed = cluster.rest().get(&format!("/api/v1/workers?zone={zone}")).await.json();
                let is_there = |worker: &&Value| worker["zone"] == zone;
                let expected: Vec<_> = all.as_array().unwrap().iter().filter(is_there).collect();
                assert_eq!(listed, json!({"workers": expected, "total": expected.len()}), "seed {seed}, step {step}");
                let first = cluster.rest().get(&format!("/api/v1/workers?zone={zone}&limit=1")).await.json();
                assert_eq!([&first["total"], &first["workers"][0]], [&listed["total"], &listed["workers"][0]]);
            }
        }
    }

    // semantics 15; regression: available resources went negative
    async fn what_is_available_never_goes_below_nothing(cluster: TestCluster) {
        let vms = [vm("vm-1").size(8, 8_000), vm("vm-2").size(8, 8_000)];
        cluster.add([worker("w1").cpu(4).memory_mb(4_000).max_vms(1).vms(vms)]).await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        for field in [
            "available_cpu_cores",
            "available_memory_mb",
            "available_vm_slots",
            "schedulable_cpu_cores",
            "schedulable_memory_mb",
            "schedulable_vm_slots",
        ] {
            assert_eq!(stats[field], 0, "{field}");
        }
        assert_eq!([&stats["cluster_cpu_usage_percent"], &stats["used_cpu_cores"]], [&json!(400.0), &json!(16)]);
    }

    // semantics 15: room on a full worker does not make up for another's want of it
    async fn an_overcommitted_worker_takes_nothing_from_what_others_have_to_give(cluster: TestCluster) {
        cluster.add([worker("full").cpu(4).vms([vm("vm-1").size(8, 1)]), worker("free").cpu(4)]).await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        assert_eq!([&stats["available_cpu_cores"], &stats["schedulable_cpu_cores"]], [&json!(0), &json!(4)]);
    }

    // semantics 25
    async fn totals_are_exact_far_beyond_32_bits(cluster: TestCluster) {
        let huge = i32::MAX;
        cluster
            .add((1..=3).map(|n| worker(&format!("w{n}")).registers("memory_mb", huge).reports("used_memory_mb", huge)))
            .await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        assert_eq!([&stats["total_memory_mb"], &stats["used_memory_mb"]], [&json!(3 * i64::from(huge)); 2]);
    }

    async fn zones_and_counts_are_what_adding_up_the_lists_comes_to(cluster: TestCluster) {
        let mut random = StdRng::seed_from_u64(70);
        let statuses = ["created", "starting", "running", "stopping", "stopped", "failed"];
        let workers = (0..24).map(|n| {
            let vms = (0..random.random_range(0..5)).map(|vm_n| {
                vm(&format!("vm-{}", (7 * n + vm_n) % 60)).status(statuses[random.random_range(0..6)]).size(1, 512)
            });
            let vms: Vec<_> = vms.collect();
            let silence = if n % 5 == 4 { minutes(2) } else { seconds(0) };
            worker(&format!("w{n:02}")).zone(["a", "b", "", "a b"][n % 4]).cpu(2).max_vms(3).vms(vms).silent_for(silence)
        });
        cluster.add(workers.collect::<Vec<_>>()).await;
        for n in [1, 6, 9, 12] {
            cluster.rest().post(&format!("/api/v1/workers/w{n:02}/drain")).await;
        }
        let workers = cluster.rest().get("/api/v1/workers").await.json()["workers"].take();
        let workers = workers.as_array().unwrap();
        let zones = cluster.rest().get("/api/v1/cluster/zones").await.json();
        assert_eq!(pick(&zones["zones"], ["name"]).concat(), ["a", "a b", "b"]);
        for zone in zones["zones"].as_array().unwrap() {
            let here: Vec<_> = workers.iter().filter(|worker| worker["zone"] == zone["name"]).collect();
            let sum = |key: &str| here.iter().map(|worker| worker[key].as_u64().unwrap()).sum::<u64>();
            let with = |status: &str| here.iter().filter(|worker| worker["status"] == status).count();
            let free = |all: &str, used: &str| {
                let active = here.iter().filter(|worker| worker["status"] == "active");
                active.map(|worker| worker[all].as_u64().unwrap().saturating_sub(worker[used].as_u64().unwrap())).sum::<u64>()
            };
            assert_eq!(*zone, json!({
                "id": format!("zones/{}", zone["name"].as_str().unwrap()), "name": zone["name"], "workers": here.len(),
                "active_workers": with("active"), "draining_workers": with("draining"), "offline_workers": with("offline"),
                "cpu_cores": sum("cpu_cores"), "memory_mb": sum("memory_mb"), "used_cpu_cores": sum("used_cpu_cores"),
                "used_memory_mb": sum("used_memory_mb"), "vm_count": sum("vm_count"), "max_vms": sum("max_vms"),
                "schedulable_cpu_cores": free("cpu_cores", "used_cpu_cores"),
                "schedulable_memory_mb": free("memory_mb", "used_memory_mb"),
                "schedulable_vm_slots": free("max_vms", "vm_count"), "revision": cluster.revision(),
            }));
        }
        for filter in ["", "zone=a&zone=b", "status=draining&status=offline", "search=w1", "has_zone=false", "id=w01&id=w99"] {
            let list = cluster.rest().get(&format!("/api/v1/workers?{filter}")).await.json()["workers"].take();
            let counts = cluster.rest().get(&format!("/api/v1/cluster/worker-counts?{filter}")).await.json();
            assert_eq!(counts, counted(&list, &["active", "draining", "offline"], cluster.revision(), |row| row["zone"].clone()), "{filter}");
        }
        let zone_of = |vm: &Value| workers.iter().find(|worker| worker["id"] == vm["worker_id"]).unwrap()["zone"].clone();
        let every = "status=created&status=starting&status=running&status=stopping&status=stopped&status=failed";
        for filter in ["", "zone=a", "worker_id=w01&worker_id=w05", "duplicate=true", "duplicate=false", "id=vm-1&id=vm-14", "search=vm-2"] {
            let list = cluster.rest().get(&format!("/api/v1/vms?{filter}&{every}")).await.json()["vms"].take();
            let counts = cluster.rest().get(&format!("/api/v1/cluster/vm-counts?{filter}")).await.json();
            assert_eq!(counts, counted(&list, &statuses, cluster.revision(), zone_of), "{filter}");
        }
        let running = cluster.rest().get("/api/v1/cluster/vm-counts?status=running").await.json();
        assert_eq!(running["total"], running["running"]);
    }
}

/// The counts of a list, as the server should count them.
fn counted(list: &Value, statuses: &[&str], revision: u64, zone_of: impl Fn(&Value) -> Value) -> Value {
    let list = list.as_array().unwrap();
    let mut counts = json!({"total": list.len(), "revision": revision, "zones": {}});
    for status in statuses {
        counts[status] = list.iter().filter(|row| row["status"] == *status).count().into();
    }
    for zone in list.iter().map(zone_of) {
        let Some(name) = zone.as_str().filter(|name| !name.is_empty()) else { continue };
        counts["zones"][name] = json!(counts["zones"][name].as_u64().unwrap_or(0) + 1);
    }
    counts
}
