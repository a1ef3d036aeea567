//! Where VMs fit, why not elsewhere, and how many fit: what both protocols answer. The rules themselves are compared with
//! a look at all workers at the foot of `src/cluster/placement.rs`.

use serde_json::{Value, json};

use crate::harness::*;

/// Workers of all sorts: `a1`, `a2` and `b1` take VMs, the others do not.
async fn furnish(cluster: &TestCluster) {
    let worker = |id: &str, zone: &str| worker(id).zone(zone).cpu(8).memory_mb(8_192);
    cluster
        .add([
            worker("a1", "a")
                .registers("labels", json!({"env": "prod"}))
                .registers("capabilities", json!(["kvm", "gpu"])),
            worker("a2", "a").vms([vm("vm-1"), vm("vm-2").size(0, 0)]),
            worker("b1", "b").cpu(4).max_vms(1),
            worker("b2", "b"),
            worker("c1", "c").without_heartbeat(),
            worker("d1", "").silent_for(minutes(5)).cpu(2),
        ])
        .await;
    cluster.rest().post("/api/v1/workers/b2/drain").await;
}

async fn place(cluster: &TestCluster, query: &str) -> Value {
    let answer = cluster.rest().get(&format!("/api/v1/placement?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()
}

/// Who gets how many VMs.
fn assigned(placement: &Value) -> Vec<(String, u64)> {
    let pairs = pick(&placement["assignments"], ["worker_id", "vms"]);
    pairs.into_iter().map(|[id, vms]| (id.as_str().unwrap().to_owned(), vms.as_u64().unwrap())).collect()
}

/// The reasons of a worker, as words.
fn reasons(placement: &Value, worker: &str) -> Vec<String> {
    let refusals = placement["refusals"].as_array().unwrap();
    let refusal = refusals.iter().find(|refusal| refusal["worker_id"] == worker);
    let refusal = refusal.unwrap_or_else(|| panic!("{worker} is not refused: {placement}"));
    refusal["reasons"].as_array().unwrap().iter().map(|reason| reason["reason"].as_str().unwrap().to_owned()).collect()
}

on_both_databases! {
    async fn every_worker_that_does_not_fit_is_told_with_every_reason(cluster: TestCluster) {
        furnish(&cluster).await;
        let placement = place(&cluster, "vcpus=5&memory_mb=6000").await;
        assert_eq!(assigned(&placement), [("a1".to_owned(), 1)]);
        assert_eq!([&placement["fits"], &placement["total_candidates"]], [&json!(true), &json!(2)]);
        assert_eq!(pick(&placement["candidates"], ["worker_id", "vms", "free_cpu_cores", "unsized_vms"]), [
            [json!("a1"), json!(1), json!(8), json!(0)], [json!("a2"), json!(1), json!(6), json!(1)],
        ]);
        assert_eq!(reasons(&placement, "b1"), ["cpu_cores"]);
        assert_eq!(reasons(&placement, "b2"), ["draining"]);
        assert_eq!(reasons(&placement, "c1"), ["no_inventory"]);
        assert_eq!(reasons(&placement, "d1"), ["offline", "cpu_cores"]);
        assert_eq!(placement["total_refusals"], 4);
        assert_eq!(placement["refusals"][0], json!({"worker_id": "b1", "zone": "b", "reasons": [{
            "reason": "cpu_cores", "needed": 5, "free": 4, "missing": 1,
            "message": "needs 5 CPU cores, of which 4 are free: 1 is missing",
        }]}), "what more room would mend is the nearest miss");
        assert_eq!(placement["refusals_by_reason"], json!([
            {"reason": "cpu_cores", "workers": 2}, {"reason": "offline", "workers": 1},
            {"reason": "draining", "workers": 1}, {"reason": "no_inventory", "workers": 1},
        ]));
        let short = place(&cluster, "vcpus=5&memory_mb=6000&count=3&limit=1").await;
        assert_eq!([&short["fits"], &short["placeable"]], [&json!(false), &json!(2)]);
        assert_eq!([short["candidates"].as_array().unwrap().len(), short["refusals"].as_array().unwrap().len()], [1, 1]);
        assert_eq!(short["total_refusals"], 6, "after those that fit, nobody takes another one");
    }

    async fn constraints_and_preferences_are_as_asked(cluster: TestCluster) {
        furnish(&cluster).await;
        for (query, expected) in [
            // a2 is loaded more than a1, and both zones get VMs before either gets a second one.
            ("count=3", &[("a1", 1), ("b1", 1), ("a2", 1)][..]),
            ("count=3&strategy=pack", &[("a2", 3)]),
            ("count=3&distinct=zone", &[("a1", 1), ("b1", 1)]),
            ("count=9&distinct=worker", &[("a1", 1), ("b1", 1), ("a2", 1)]),
            ("count=2&zone=b", &[("b1", 1)]),
            ("count=2&zone=a&zone=b&without_zone=a", &[("b1", 1)]),
            ("without_worker=a1&without_zone=b", &[("a2", 1)]),
            ("label=env%3Dprod", &[("a1", 1)]),
            ("label=env", &[("a1", 1)]),
            ("label=env%3Dtest", &[]),
            ("capability=kvm&capability=gpu", &[("a1", 1)]),
            ("capability=kvm&capability=tpu", &[]),
            ("disk_gb=500", &[("a1", 1)]),
            ("disk_gb=501", &[]),
        ] {
            let placement = place(&cluster, &format!("vcpus=1&memory_mb=512&{query}")).await;
            let expected: Vec<_> = expected.iter().map(|(id, vms)| ((*id).to_owned(), *vms)).collect();
            assert_eq!(assigned(&placement), expected, "{query}");
        }
        let placement = place(&cluster, "vcpus=1&memory_mb=512&count=9&distinct=worker").await;
        assert_eq!(reasons(&placement, "b1"), ["vm_slots", "distinct"]);
    }

    async fn capacity_is_counted_by_zone_and_after_the_largest_loss(cluster: TestCluster) {
        furnish(&cluster).await;
        let capacity = cluster.rest().get("/api/v1/capacity?vcpus=2&memory_mb=1024").await;
        let revision = cluster.revision();
        capacity.assert_json(200, json!({
            "vms": 8,
            "zones": [{"zone": "a", "workers": 2, "vms": 7}, {"zone": "b", "workers": 1, "vms": 1}],
            "largest_worker_id": "a1", "vms_without_largest_worker": 4,
            "largest_zone": "a", "vms_without_largest_zone": 1,
            "unsized_vms": 1, "revision": revision,
        }));
        let nowhere = cluster.rest().get("/api/v1/capacity?vcpus=9&memory_mb=1024").await.json();
        assert_eq!([&nowhere["vms"], &nowhere["largest_zone"], &nowhere["zones"]], [&json!(0), &Value::Null, &json!([])]);
        let in_b = cluster.rest().get("/api/v1/capacity?vcpus=2&memory_mb=1024&without_zone=a").await.json();
        assert_eq!([&in_b["vms"], &in_b["largest_zone"]], [&json!(1), &json!("b")]);
    }

    async fn questions_that_cannot_be_meant_are_refused(cluster: TestCluster) {
        for (query, message) in [
            ("memory_mb=1", "vcpus is needed"),
            ("vcpus=1", "memory_mb is needed"),
            ("vcpus=0&memory_mb=1", "vcpus must be from 1 to 100000, not 0"),
            ("vcpus=1&memory_mb=2147483648", "memory_mb must be from 1 to 2147483647, not 2147483648"),
            ("vcpus=1&memory_mb=1&count=0", "count must be from 1 to 1000, not 0"),
            ("vcpus=1&memory_mb=1&count=1001", "count must be from 1 to 1000, not 1001"),
            ("vcpus=1&memory_mb=1&limit=501", "limit must be from 0 to 500, not 501"),
            ("vcpus=1&memory_mb=1&strategy=best", "strategy must be one of spread, pack, not \"best\""),
            ("vcpus=1&memory_mb=1&distinct=rack", "distinct must be one of none, worker, zone, not \"rack\""),
            ("vcpus=1&memory_mb=1&label=env%3D%3Dprod", "label must be a key, or a key and its value as env=prod, not \"env==prod\""),
        ] {
            cluster.rest().get(&format!("/api/v1/placement?{query}")).await.assert_failure(400, message);
        }
        let placement = place(&cluster, "vcpus=1&memory_mb=1").await;
        assert_eq!([&placement["fits"], &placement["total_refusals"]], [&json!(false), &json!(0)], "nobody is there");
        let empty = "{ placement(request: {vcpus: 1, memoryMb: 1, zones: []}) { fits } }";
        let refused = cluster.graphql_answer(empty, json!({})).await;
        assert_eq!(refused["errors"][0]["message"], "zones must not be empty: leave it out for all zones");
    }

    async fn free_room_is_shown_filtered_and_sorted_by(cluster: TestCluster) {
        furnish(&cluster).await;
        let worker = cluster.worker("a2").await;
        assert_eq!(pick(&json!([worker]), ["free_cpu_cores", "free_memory_mb", "free_disk_gb", "free_vm_slots"]), [
            [json!(6), json!(6_144), json!(500), json!(98)],
        ]);
        let ids = async |query: &str| {
            let list = cluster.rest().get(&format!("/api/v1/workers?{query}")).await.json();
            pick(&list["workers"], ["id"]).concat().iter().map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("min_free_cpu_cores=7").await, ["a1", "b2", "c1"]);
        assert_eq!(ids("min_free_memory_mb=8192&min_free_vm_slots=2").await, ["a1", "b2", "c1", "d1"]);
        assert_eq!(ids("sort=-free_memory_mb&zone=a").await, ["a1", "a2"]);
        assert_eq!(ids("sort=free_cpu_cores&limit=3").await, ["d1", "b1", "a2"]);
        assert_eq!(ids("sort=free_vm_slots&limit=2").await, ["b1", "a2"]);
        let sorted = "{ workersConnection(first: 1, filter: {minFreeCpuCores: 7}, orderBy: {field: FREE_MEMORY, direction: DESC}) { nodes { id } } }";
        assert_eq!(cluster.graphql(sorted).await["workersConnection"]["nodes"], json!([{"id": "a1"}]));
    }
}
