//! Reservations: nobody gets a slot that is held for somebody else, each ends, and each ends once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

/// Makes a reservation of VMs with one CPU each.
async fn reserve(cluster: &TestCluster, more: Value) -> Answer {
    let mut body = json!({"vcpus": 1, "memory_mb": 1_024});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    cluster.rest().post("/api/v1/reservations").json(body).await
}

async fn reserved(cluster: &TestCluster, more: Value) -> Value {
    let answer = reserve(cluster, more).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()
}

async fn reservation(cluster: &TestCluster, id: &Value) -> Value {
    cluster.rest().get(&format!("/api/v1/reservations/{}", id.as_str().unwrap())).await.json()
}

async fn release(cluster: &TestCluster, id: &Value) -> Answer {
    cluster.rest().delete(&format!("/api/v1/reservations/{}", id.as_str().unwrap())).await
}

/// What is reserved and what is free on a worker.
async fn room(cluster: &TestCluster, worker: &str) -> [u64; 4] {
    let worker = cluster.worker(worker).await;
    ["reserved_cpu_cores", "reserved_vm_slots", "free_cpu_cores", "free_vm_slots"]
        .map(|key| worker[key].as_u64().unwrap())
}

async fn schedulable(cluster: &TestCluster) -> [u64; 3] {
    let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
    ["schedulable_cpu_cores", "schedulable_memory_mb", "schedulable_vm_slots"].map(|key| stats[key].as_u64().unwrap())
}

/// What the change log says of reservations.
async fn told(cluster: &TestCluster) -> Vec<String> {
    cluster.history().await.into_iter().filter(|line| line.starts_with("reservation")).collect()
}

on_both_databases! {
    async fn what_is_held_is_missing_for_others_until_it_is_released(cluster: TestCluster) {
        cluster.add([worker("w1").cpu(4).max_vms(3)]).await;
        let stats = cluster.rest().get("/api/v1/cluster/stats").await.json();
        let made = reserved(&cluster, json!({"count": 2, "reason": "two for the web", "expires_in": "5m"})).await;
        let slot = json!({"worker_id": "w1", "vm_id": null, "state": "held"});
        assert_eq!(made, json!({
            "id": made["id"], "state": "held", "vcpus": 1, "memory_mb": 1_024, "disk_gb": 0, "count": 2,
            "slots": [slot, slot], "reason": "two for the web", "created_at": "2025-11-02T10:00:00Z",
            "expires_at": "2025-11-02T10:05:00Z", "ended_at": null, "revision": cluster.revision(),
        }));
        assert_eq!(room(&cluster, "w1").await, [2, 2, 2, 1]);
        assert_eq!(schedulable(&cluster).await, [2, 32_768 - 2_048, 1]);
        let documented = with(stats.clone(), json!({
            "schedulable_cpu_cores": 2, "schedulable_memory_mb": 32_768 - 2_048, "schedulable_vm_slots": 1,
            "revision": cluster.revision(),
        }));
        assert_eq!(cluster.rest().get("/api/v1/cluster/stats").await.json(), documented, "nothing else has changed");
        let short = reserve(&cluster, json!({"count": 2})).await;
        short.assert_failure(409, "Nothing was reserved: 1 of the 2 VMs fit. `GET /api/v1/placement` with the same parameters tells why the others do not.");
        assert_eq!(room(&cluster, "w1").await, [2, 2, 2, 1], "all or nothing");

        let released = release(&cluster, &made["id"]).await;
        assert_eq!((released.status, &released.json()["state"]), (200, &json!("released")));
        assert_eq!(released.json()["slots"][0]["state"], "released");
        assert_eq!(room(&cluster, "w1").await, [0, 0, 4, 3]);
        let revision = cluster.revision();
        assert_eq!(release(&cluster, &made["id"]).await.json(), released.json());
        assert_eq!(cluster.revision(), revision, "to release it again changes nothing");
        assert_eq!(told(&cluster).await, ["reservation_held w1", "reservation_released w1"]);
        release(&cluster, &json!("nobody")).await.assert_failure(404, "Reservation not found: nobody");
    }

    async fn a_vm_takes_the_slot_that_its_report_names(cluster: TestCluster) {
        cluster.add([worker("w1").cpu(4), worker("w2").cpu(2)]).await;
        let made = reserved(&cluster, json!({"count": 2, "zones": [""], "without_workers": ["w2"]})).await;
        let id = made["id"].as_str().unwrap();
        let vm = |name: &str| vm(name).size(1, 1_024).says("reservation_id", id);
        let report = |vms: Vec<Value>| json!({"incarnation": 1, "vms": vms});
        cluster.beat("w1", report(vec![vm("failed").status("failed").into()])).await;
        assert_eq!(room(&cluster, "w1").await, [2, 2, 2, 98], "a VM that has failed takes no slot");
        cluster.beat("w1", report(vec![vm("vm-1").into()])).await;
        assert_eq!(room(&cluster, "w1").await, [1, 1, 2, 98], "what was held is used, in the same commit");
        let state = reservation(&cluster, &made["id"]).await;
        assert_eq!(state["state"], "held");
        assert_eq!(state["slots"][0], json!({"worker_id": "w1", "vm_id": "vm-1", "state": "taken"}));
        cluster.beat("w1", report(vec![vm("vm-1").name("renamed").into()])).await;
        assert_eq!(room(&cluster, "w1").await, [1, 1, 2, 98], "it takes no second one");
        // It came to another worker than it was placed on: the slot will not be needed any more.
        cluster.beat("w2", report(vec![vm("vm-2").into()])).await;
        assert_eq!((room(&cluster, "w1").await, room(&cluster, "w2").await), ([0, 0, 3, 99], [0, 0, 1, 99]));
        let state = reservation(&cluster, &made["id"]).await;
        assert_eq!([&state["state"], &state["ended_at"]], ["taken", "2025-11-02T10:00:00Z"]);
        let taken = format!("Reservation {id} is taken: its VMs are there, and hold their slots by themselves.");
        release(&cluster, &made["id"]).await.assert_failure(409, &taken);
        cluster.advance(minutes(3));
        assert_eq!(cluster.sweep_reservations().await, 0);
        assert_eq!(told(&cluster).await, ["reservation_held w1", "reservation_taken w1 vm-1", "reservation_taken w2 vm-2"]);
    }

    async fn a_vm_takes_the_slot_that_names_it(cluster: TestCluster) {
        cluster.add([worker("w1").cpu(4).vms([vm("moving")]), worker("w2").cpu(2)]).await;
        let made = reserved(&cluster, json!({"vm_ids": ["moving"]})).await;
        assert_eq!(made["slots"], json!([{"worker_id": "w2", "vm_id": "moving", "state": "held"}]), "not where it is");
        let again = format!(
            "Reservation {} holds a slot for VM moving already. Release it first, or go on with it.",
            made["id"].as_str().unwrap()
        );
        reserve(&cluster, json!({"vm_ids": ["moving"], "count": 1})).await.assert_failure(409, &again);
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "moving", "status": "stopping"}]})).await;
        assert_eq!(reservation(&cluster, &made["id"]).await["state"], "held", "that is where it leaves");
        cluster.beat("w2", json!({"incarnation": 1, "vms": [{"id": "moving"}, {"id": "other"}]})).await;
        assert_eq!(reservation(&cluster, &made["id"]).await["state"], "taken");
        assert_eq!(room(&cluster, "w2").await[..2], [0, 0]);
        assert_eq!(told(&cluster).await, ["reservation_held w2", "reservation_taken w2 moving"]);
    }

    async fn a_reservation_expires_by_the_clock_and_is_announced_once(cluster: TestCluster) {
        cluster.add([worker("w1").cpu(1)]).await;
        let made = reserved(&cluster, json!({})).await;
        assert_eq!(made["expires_at"], "2025-11-02T10:02:00Z");
        cluster.advance(seconds(119));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(cluster.sweep_reservations().await, 0);
        assert_eq!(reserve(&cluster, json!({})).await.status, 409);
        cluster.advance(seconds(1));
        let state = reservation(&cluster, &made["id"]).await;
        assert_eq!([&state["state"], &state["slots"][0]["state"]], ["expired", "expired"], "nobody has swept");
        let fits = cluster.rest().get("/api/v1/placement?vcpus=1&memory_mb=1").await.json();
        assert_eq!(fits["fits"], true);
        // A VM that comes now comes too late.
        let id = made["id"].as_str().unwrap();
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "late", "reservation_id": id}]})).await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        let next = reserved(&cluster, json!({"expires_in": "1h"})).await;
        assert_eq!(cluster.sweep_reservations().await, 1);
        assert_eq!(cluster.sweep_reservations().await, 0);
        assert_eq!(room(&cluster, "w1").await, [1, 1, 0, 99], "the next one is held");
        assert_eq!(release(&cluster, &made["id"]).await.json()["state"], "expired");
        assert_eq!(release(&cluster, &next["id"]).await.json()["state"], "released");
        assert_eq!(told(&cluster).await, [
            "reservation_held w1", "reservation_held w1", "reservation_expired w1", "reservation_released w1",
        ]);
        let events = cluster.rest().get("/api/v1/events").await.json();
        let expired = events["events"].as_array().unwrap().iter().find(|event| event["kind"] == "reservation_expired");
        assert_eq!([&expired.unwrap()["reservation_id"], &expired.unwrap()["actor"]], [&made["id"], &json!("server")]);
    }

    async fn a_clock_that_is_set_back_holds_nothing_for_longer(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.advance(minutes(60));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let made = reserved(&cluster, json!({})).await;
        cluster.clock().set("2025-11-02T10:00:00Z".parse().unwrap());
        cluster.sweep_reservations().await;
        let state = reservation(&cluster, &made["id"]).await;
        assert_eq!([&state["created_at"], &state["expires_at"]], ["2025-11-02T10:00:00Z", "2025-11-02T10:02:00Z"]);
        cluster.advance(minutes(2));
        assert_eq!(cluster.sweep_reservations().await, 1);
        assert_eq!(room(&cluster, "w1").await[..2], [0, 0]);
    }

    async fn a_slot_that_is_reserved_is_in_the_way_of_a_drain_until_it_is_given_back(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3"), worker("w4")]).await;
        let on = |worker: &str| {
            let others: Vec<_> = ["w1", "w2", "w3", "w4"].into_iter().filter(|other| *other != worker).collect();
            reserved(&cluster, json!({"count": 2, "without_workers": others}))
        };
        let (released, _expired, taken, _silent) = (on("w1").await, on("w2").await, on("w3").await, on("w4").await);
        for worker in ["w1", "w2", "w3", "w4"] {
            cluster.rest().post(&format!("/api/v1/workers/{worker}/drain")).await;
            for _ in 0..2 {
                cluster.beat(worker, json!({"incarnation": 1, "vms": []})).await;
            }
        }
        let drain = async |worker: &str| {
            let drain = cluster.rest().get(&format!("/api/v1/workers/{worker}/drain")).await.json();
            let state = pick(&json!([drain]), ["state", "is_empty", "safe_to_power_off"]).concat();
            (json!(state), drain["blockers"].clone())
        };
        let message = "2 slots are reserved on worker w1: VMs may be on their way";
        let reserved = json!([{"kind": "reserved", "vm_id": null, "since": START, "note": null, "message": message}]);
        assert_eq!(drain("w1").await, (json!(["draining", false, false]), reserved));
        let question = "{ worker(id: \"w1\") { drain { isEmpty blockers { kind message } } } }";
        let twin = cluster.graphql(question).await["worker"]["drain"].take();
        assert_eq!(twin, json!({"isEmpty": false, "blockers": [{"kind": "RESERVED", "message": message}]}));

        let complete = (json!(["complete", true, true]), json!([]));
        release(&cluster, &released["id"]).await;
        assert_eq!(drain("w1").await, complete, "in the same commit");
        // The VMs come to a worker that does not drain: what was held for them is given back.
        let id = taken["id"].as_str().unwrap();
        cluster.add([worker("w5")]).await;
        for vms in [vec![vm("a")], vec![vm("a"), vm("b")]] {
            assert_eq!(drain("w3").await.0, json!(["draining", false, false]));
            let vms: Vec<Value> = vms.into_iter().map(|vm| vm.says("reservation_id", id).into()).collect();
            cluster.beat("w5", json!({"incarnation": 1, "vms": vms})).await;
        }
        assert_eq!(drain("w3").await, complete);
        // The time of the last two is over; nobody hears of one of the workers any more.
        cluster.advance(seconds(100));
        cluster.beat("w2", json!({"incarnation": 1})).await;
        cluster.sweep().await;
        cluster.advance(seconds(20));
        cluster.sweep_reservations().await;
        assert_eq!(drain("w2").await, complete);
        assert_eq!(drain("w4").await.0, json!(["draining", true, false]), "offline");
        cluster.beat("w4", json!({"incarnation": 1})).await;
        assert_eq!(drain("w4").await, complete);
        let told = cluster.history().await.into_iter().filter(|line| line.starts_with("worker_drain_complete"));
        let in_order = ["w1", "w3", "w2", "w4"].map(|worker| format!("worker_drain_complete {worker}"));
        assert_eq!(told.collect::<Vec<_>>(), in_order);
        let cluster = cluster.restart().await;
        assert_eq!(cluster.rest().get("/api/v1/workers/w1/drain").await.json()["state"], "complete");
    }

    // Whatever ends it: a release, a VM that comes elsewhere, or its time.
    async fn the_end_of_a_reservation_completes_no_drain_of_a_worker_that_is_silent(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3"), worker("w4")]).await;
        let on = |worker: &str| {
            let others: Vec<_> = ["w1", "w2", "w3", "w4"].into_iter().filter(|other| *other != worker).collect();
            reserved(&cluster, json!({"without_workers": others, "expires_in": "70s"}))
        };
        let (released, taken, _expired) = (on("w1").await, on("w2").await, on("w3").await);
        for worker in ["w1", "w2", "w3"] {
            cluster.rest().post(&format!("/api/v1/workers/{worker}/drain")).await;
            for _ in 0..2 {
                cluster.beat(worker, json!({"incarnation": 1, "vms": []})).await;
            }
        }
        // They have been silent for too long, and no sweep has announced that.
        cluster.advance(seconds(61));
        release(&cluster, &released["id"]).await;
        let vm: Value = vm("a").says("reservation_id", taken["id"].as_str().unwrap()).into();
        cluster.beat("w4", json!({"incarnation": 1, "vms": [vm]})).await;
        cluster.advance(seconds(10));
        cluster.sweep_reservations().await;
        for worker in ["w1", "w2", "w3"] {
            let path = format!("/api/v1/workers/{worker}/drain");
            let drain = cluster.rest().get(&path).await.json();
            let state = pick(&json!([drain]), ["state", "is_empty", "safe_to_power_off"]).concat();
            assert_eq!(json!(state), json!(["draining", true, false]), "{worker}");
            cluster.beat(worker, json!({"incarnation": 1})).await;
            assert_eq!(cluster.rest().get(&path).await.json()["state"], "complete", "{worker}");
        }
        let told = cluster.history().await.into_iter().filter(|line| line.starts_with("worker_drain_complete"));
        assert_eq!(told.count(), 3);
    }

    async fn the_end_of_a_reservation_leaves_the_next_one_for_the_same_vm(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let first = reserved(&cluster, json!({"vm_ids": ["a"]})).await;
        cluster.advance(minutes(2));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let next = reserved(&cluster, json!({"vm_ids": ["a"]})).await;
        assert_eq!(cluster.sweep_reservations().await, 1, "its end is announced after another one holds a slot");
        assert_eq!(reservation(&cluster, &first["id"]).await["state"], "expired");
        assert_eq!(reserve(&cluster, json!({"vm_ids": ["a"]})).await.status, 409);
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "a"}]})).await;
        assert_eq!(reservation(&cluster, &next["id"]).await["state"], "taken");
        assert_eq!(room(&cluster, "w1").await[..2], [0, 0]);
    }

    async fn a_drain_keeps_what_is_held_and_a_purge_releases_it(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let made = reserved(&cluster, json!({"count": 2, "distinct": "worker"})).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        assert_eq!(room(&cluster, "w1").await[..2], [1, 1], "a VM may be on its way");
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        let state = reservation(&cluster, &made["id"]).await;
        assert_eq!(pick(&state["slots"], ["worker_id", "state"]), [
            [json!("w1"), json!("released")], [json!("w2"), json!("held")],
        ]);
        assert_eq!(state["state"], "held");
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(room(&cluster, "w1").await[..2], [0, 0]);
        cluster.rest().delete("/api/v1/workers/w2?purge=true").await;
        assert_eq!(reservation(&cluster, &made["id"]).await["state"], "released");
    }

    async fn reservations_outlive_a_restart_and_end_after_it(cluster: TestCluster) {
        cluster.add([worker("w1").cpu(2), worker("w2").cpu(2)]).await;
        let held = reserved(&cluster, json!({"count": 3})).await;
        cluster.advance(seconds(1));
        let gone = reserved(&cluster, json!({"vm_ids": ["vm-9"]})).await;
        release(&cluster, &gone["id"]).await;
        let before = cluster.rest().get("/api/v1/reservations").await.json();
        assert_eq!(pick(&before["reservations"], ["id"]).concat(), [gone["id"].clone(), held["id"].clone()], "the latest first");
        let rooms = [room(&cluster, "w1").await, room(&cluster, "w2").await];
        let cluster = cluster.restart().await;
        assert_eq!(cluster.rest().get("/api/v1/reservations").await.json(), before);
        assert_eq!([room(&cluster, "w1").await, room(&cluster, "w2").await], rooms);
        assert_eq!(reserve(&cluster, json!({"count": 2})).await.status, 409);
        let id = held["id"].as_str().unwrap();
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-1", "vcpus": 1, "reservation_id": id}]})).await;
        cluster.advance(minutes(2));
        assert_eq!(cluster.sweep_reservations().await, 1);
        let state = reservation(&cluster, &held["id"]).await;
        assert_eq!(state["state"], "expired");
        let states = pick(&state["slots"], ["state"]).concat();
        assert_eq!(states.iter().filter(|state| **state == json!("taken")).count(), 1, "{states:?}");
        assert_eq!([room(&cluster, "w1").await[0], room(&cluster, "w2").await[0]], [0, 0]);
    }

    async fn lists_and_workers_show_reservations(cluster: TestCluster) {
        cluster.add([worker("w1").cpu(2), worker("w2")]).await;
        let first = reserved(&cluster, json!({"without_workers": ["w2"]})).await;
        cluster.advance(seconds(1));
        let second = reserved(&cluster, json!({"without_workers": ["w1"]})).await;
        release(&cluster, &second["id"]).await;
        let ids = async |query: &str| {
            let list = cluster.rest().get(&format!("/api/v1/reservations{query}")).await.json();
            (pick(&list["reservations"], ["id"]).concat(), list["total"].as_u64().unwrap())
        };
        assert_eq!(ids("?state=held").await, (vec![first["id"].clone()], 1));
        assert_eq!(ids("?worker_id=w2").await, (vec![second["id"].clone()], 1));
        assert_eq!(ids("?state=taken&state=expired").await, (vec![], 0));
        let page = cluster.rest().get("/api/v1/reservations?limit=1").await;
        assert_eq!(page.json()["reservations"][0]["id"], second["id"]);
        let next = page.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
        assert_eq!(ids(&next).await, (vec![first["id"].clone()], 2));
        let of_worker = "{ a: worker(id: \"w1\") { reservations { id } } b: worker(id: \"w2\") { reservations { id } } }";
        let of_worker = cluster.graphql(of_worker).await;
        assert_eq!(of_worker, json!({"a": {"reservations": [{"id": first["id"]}]}, "b": {"reservations": []}}));
        cluster.rest().get("/api/v1/reservations?state=lost").await
            .assert_failure(400, "state must be one of held, taken, released, expired, not \"lost\"");
    }

    async fn a_request_with_a_key_reserves_once(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let body = json!({"vcpus": 1, "memory_mb": 1});
        let ask = async || {
            cluster.rest().post("/api/v1/reservations").header("idempotency-key", "k1").json(body.clone()).await
        };
        let (first, again) = (ask().await, ask().await);
        assert_eq!([first.status, again.status], [201, 201]);
        assert_eq!(again.json(), first.json());
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(room(&cluster, "w1").await[..2], [1, 1]);
    }

    async fn reservations_that_cannot_be_meant_are_refused(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (body, message) in [
            (json!({"count": 0}), "count must be from 1 to 1000, not 0"),
            (json!({"count": 2, "vm_ids": ["a"]}), "vm_ids must name as many VMs as `count` says, which is 2, not 1"),
            (json!({"vm_ids": ["a", "a"]}), "vm_ids must not name a VM twice"),
            (json!({"vm_ids": ["a/b"]}), "vm_ids must not contain '/'"),
            (json!({"expires_in": "61m"}), "expires_in must be a length of time up to 3600s, such as 30s, not \"61m\""),
            (json!({"expires_in": "0s"}), "expires_in must be at least 1s"),
            (json!({"zones": []}), "zones must not be empty: leave it out for all zones"),
        ] {
            reserve(&cluster, body).await.assert_failure(400, message);
        }
        assert_eq!(reserve(&cluster, json!({"vcpus": 17})).await.status, 409);
        assert_eq!(reserve(&cluster, json!({"cpus": 1})).await.status, 400, "an unknown key");
        assert_eq!(room(&cluster, "w1").await[..2], [0, 0]);
    }

    async fn reservations_that_ended_are_removed_after_a_day(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let made = reserved(&cluster, json!({})).await;
        release(&cluster, &made["id"]).await;
        cluster.advance(std::time::Duration::from_secs(23 * 60 * 60));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let held = reserved(&cluster, json!({"expires_in": "1h"})).await;
        let prune = async || cluster.server().retention_pruner().prune().await.unwrap();
        prune().await;
        assert_eq!(reservation(&cluster, &made["id"]).await["state"], "released");
        cluster.advance(std::time::Duration::from_secs(60 * 60 + 1));
        prune().await;
        let gone = cluster.rest().get(&format!("/api/v1/reservations/{}", made["id"].as_str().unwrap())).await;
        assert_eq!(gone.status, 404);
        assert_eq!(reservation(&cluster, &held["id"]).await["state"], "expired", "its end is not announced yet");
    }

    // On PostgreSQL each of the two is another server.
    async fn two_clients_that_race_for_the_last_slots_get_each_of_them_once(cluster: TestCluster) {
        cluster.add((0..100).map(|at| worker(&format!("w{at:03}")).cpu(1).max_vms(1))).await;
        let other = if cluster.takes_several_servers() { Some(cluster.another_server().await) } else { None };
        let other = other.as_ref().unwrap_or(&cluster);
        let attempts = (0..100).flat_map(|_| [reserve(&cluster, json!({})), reserve(other, json!({}))]);
        let answers = join_all(attempts).await;
        let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(201), count(409)), (100, 100));
        let worker_of = |answer: &Answer| answer.json()["slots"][0]["worker_id"].as_str().map(str::to_owned);
        let mut workers: Vec<_> = answers.iter().filter_map(worker_of).collect();
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 100, "each slot was given once");
        assert_eq!(reserve(&cluster, json!({})).await.status, 409);
        assert_eq!(schedulable(&cluster).await[2], 0);
    }
}

/// Waits until a server has seen what another one committed.
async fn catch_up(cluster: &TestCluster, revision: u64) {
    let mut commits = cluster.server().journal().subscribe();
    while cluster.revision() < revision {
        let seen = tokio::time::timeout(seconds(20), commits.recv()).await;
        let _ = seen.expect("a server should look for others' commits").expect("the journal should be open");
    }
}

#[tokio::test]
async fn servers_see_each_others_reservations_and_announce_their_end_once() {
    TestDatabase::postgres()
        .await
        .run(async |a: TestCluster| {
            a.add([worker("w1").cpu(2)]).await;
            let b = a.another_server().await;
            let made = reserved(&a, json!({"count": 2})).await;
            catch_up(&b, a.revision()).await;
            assert_eq!(reservation(&b, &made["id"]).await, made);
            assert_eq!(b.worker("w1").await, a.worker("w1").await);
            let id = made["id"].as_str().unwrap();
            b.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-1", "vcpus": 1, "reservation_id": id}]})).await;
            catch_up(&a, b.revision()).await;
            assert_eq!(room(&a, "w1").await, [1, 1, 0, 98]);
            a.advance(minutes(2));
            let [one, other] = [a.sweep_reservations(), b.sweep_reservations()];
            let (one, other) = tokio::join!(one, other);
            assert_eq!(one + other, 1, "one of them announces it");
            catch_up(&a, b.revision()).await;
            catch_up(&b, a.revision()).await;
            assert_eq!(a.worker("w1").await, b.worker("w1").await);
            assert_eq!(room(&a, "w1").await, [0, 0, 1, 99]);
            // Another server learns from the rest that one is gone.
            a.advance(std::time::Duration::from_secs(24 * 60 * 60 + 1));
            a.server().retention_pruner().prune().await.unwrap();
            catch_up(&b, a.revision()).await;
            let gone = b.rest().get(&format!("/api/v1/reservations/{id}")).await;
            assert_eq!(gone.status, 404);
        })
        .await;
}
