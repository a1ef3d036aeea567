//! Questions and commands in GraphQL: every root field, what is null, what fails and how.
//!
//! How documents travel is in `graphql_http`, what is refused unread in `guard`, streams in
//! `subscriptions`; that REST says the same is in `parity`.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

/// Four workers that differ in everything that can be asked for; the clock is at 10:02:00.
async fn furnish(cluster: &TestCluster) {
    let w1 = worker("w1")
        .zone("a")
        .registers("hostname", "beta")
        .registers("labels", json!({"tier": "compute", "env": "prod"}))
        .registers("capabilities", json!(["firecracker", "docker"]))
        .reports("used_cpu_cores", 4)
        .reports("used_memory_mb", 8192)
        .reports("used_disk_gb", 50)
        .vms([vm("vm-1").name("web"), vm("vm-2").status("stopped"), vm("vm-3").status("created")]);
    let w2 = worker("w2")
        .zone("a")
        .registers("hostname", "alpha")
        .registers("labels", json!({"env": "prod"}))
        .registers("capabilities", json!(["qemu"]))
        .reports("used_cpu_cores", 8)
        .reports("used_memory_mb", 4096)
        .vms([vm("vm-4").name("WEB-2"), vm("vm-5").status("failed")])
        .silent_for(seconds(30));
    let w3 = worker("w3")
        .zone("b")
        .registers("hostname", "beta")
        .registers("labels", json!({"env": "test"}))
        .silent_for(minutes(2));
    let w4 = worker("w4")
        .registers("hostname", "delta")
        .registers("address", "10.0.0.4:9000")
        .cpu(8)
        .reports("used_cpu_cores", 2)
        .reports("used_memory_mb", 8192)
        .vms([vm("vm-1").name("web").status("starting"), vm("vm-6").status("stopping").size(1, 512)]);
    cluster.add([w1, w2, w3, w4]).await;
    assert_eq!(cluster.rest().post("/api/v1/workers/w2/drain").await.status, 200);
}

/// The one error of an answer: its path, its code and its message.
#[track_caller]
fn error_of(answer: &Value) -> (Value, String, String) {
    let [error] = &answer["errors"].as_array().unwrap_or_else(|| panic!("no errors: {answer}"))[..] else {
        panic!("more than one error: {answer}")
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (error["path"].clone(), text(&error["extensions"]["code"]), text(&error["message"]))
}

/// The values of one field of each object of a list.
fn each(list: &Value, field: &str) -> Vec<Value> {
    pick(list, [field]).into_iter().map(|[value]| value).collect()
}

on_both_databases! {
    async fn a_worker_is_shown_with_all_its_fields(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"{ worker(id: "w1") {
            __typename id hostname address zone status schedulingPolicy isHealthy labels { key value } capabilities
            cpuCores memoryMb diskGb usedCpuCores usedMemoryMb usedDiskGb cpuUsagePercent memoryUsagePercent
            vmCount maxVms startedAt lastSeen uptime revision vms { id }
        } }"#;
        cluster.advance(std::time::Duration::from_millis(1_500));
        assert_eq!(
            cluster.graphql(query).await,
            json!({"worker": {
                "__typename": "Worker", "id": "w1", "hostname": "beta", "address": "192.168.1.10:8081", "zone": "a",
                "status": "ACTIVE", "schedulingPolicy": "ACTIVE", "isHealthy": true,
                "labels": [{"key": "env", "value": "prod"}, {"key": "tier", "value": "compute"}],
                "capabilities": ["firecracker", "docker"],
                "cpuCores": 16, "memoryMb": 32768, "diskGb": 500, "usedCpuCores": 4, "usedMemoryMb": 8192, "usedDiskGb": 50,
                "cpuUsagePercent": 25.0, "memoryUsagePercent": 25.0, "vmCount": 2, "maxVms": 100,
                "startedAt": "2025-11-02T10:02:00Z", "lastSeen": "2025-11-02T10:02:00Z", "uptime": "1s", "revision": 6,
                "vms": [{"id": "vm-1"}, {"id": "vm-3"}],
            }})
        );
    }

    async fn a_worker_that_left_out_what_it_may_has_its_defaults(cluster: TestCluster) {
        cluster.add([worker("w1").without_heartbeat()]).await;
        let query = r#"{ worker(id: "w1") { zone labels { key } capabilities maxVms usedDiskGb vms { id } vmCount } }"#;
        let expected = json!({"zone": null, "labels": [], "capabilities": [], "maxVms": 100, "usedDiskGb": 0, "vms": [], "vmCount": 0});
        assert_eq!(cluster.graphql(query).await["worker"], expected);
    }

    async fn workers_are_listed_by_id_and_by_zone(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"{
            all: workers { id zone } a: workers(zone: "a") { id } none: workers(zone: "A") { id } without: workers(zone: "") { id }
            any: workers(zone: null) { id }
        }"#;
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "all": [{"id": "w1", "zone": "a"}, {"id": "w2", "zone": "a"}, {"id": "w3", "zone": "b"}, {"id": "w4", "zone": null}],
                "a": [{"id": "w1"}, {"id": "w2"}],
                "none": [],
                "without": [{"id": "w4"}],
                "any": [{"id": "w1"}, {"id": "w2"}, {"id": "w3"}, {"id": "w4"}],
            })
        );
    }

    async fn what_is_read_from_the_log_stands_where_it_was_asked_for(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let query = "{
            first: events(first: 1) { nodes { kind workerId } } workers { id }
            last: events(first: 1) { nodes { kind } } ... { workers { zone } last: events(first: 1) { hasNextPage } }
        }";
        let answer = cluster.rest().post("/graphql").json(json!({"query": query})).await;
        let expected = concat!(
            r#"{"data":{"first":{"nodes":[{"kind":"WORKER_REGISTERED","workerId":"w1"}]},"#,
            r#""workers":[{"id":"w1","zone":null},{"id":"w2","zone":null}],"#,
            r#""last":{"nodes":[{"kind":"WORKER_REGISTERED"}],"hasNextPage":true}}}"#,
        );
        assert_eq!(answer.body, expected, "in the order asked for, each key once");
        let wrong = cluster.graphql_answer("{ workers { id } events(first: 501) { endCursor } }", json!({})).await;
        assert_eq!([&wrong["data"], &wrong["errors"][0]["path"]], [&Value::Null, &json!(["events"])]);
    }

    async fn the_empty_cluster_has_empty_lists_and_no_totals(cluster: TestCluster) {
        let query = "{
            workers { id } vms { id } vmDistribution { workerId } events { nodes { cursor } endCursor hasNextPage }
            workersConnection { edges { cursor } nodes { id } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
            vmsConnection { edges { cursor } nodes { id } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
            clusterStats { totalWorkers totalMemoryMb clusterCpuUsagePercent zones { name } revision }
        }";
        let page = json!({
            "edges": [], "nodes": [], "totalCount": 0,
            "pageInfo": {"hasNextPage": false, "hasPreviousPage": false, "startCursor": null, "endCursor": null},
        });
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "workers": [], "vms": [], "vmDistribution": [],
                "events": {"nodes": [], "endCursor": cluster.first_cursor(), "hasNextPage": false},
                "workersConnection": page, "vmsConnection": page,
                "clusterStats": {"totalWorkers": 0, "totalMemoryMb": 0, "clusterCpuUsagePercent": 0.0, "zones": [], "revision": 0},
            })
        );
    }

    async fn what_nobody_knows_is_null(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"query($odd: ID!) {
            worker(id: "vm-1") { id } vm(id: "w1") { id } node(id: "x") { id }
            odd: worker(id: $odd) { id } number: worker(id: 7) { id } nodes(ids: ["", "vm-6", "x", "w1", "w1"]) { __typename id }
        }"#;
        let answer = cluster.graphql_answer(query, json!({"odd": "a/b\u{0}".repeat(200)})).await;
        assert_eq!(
            answer,
            json!({"data": {
                "worker": null, "vm": null, "node": null, "odd": null, "number": null,
                "nodes": [null, {"__typename": "Vm", "id": "vm-6"}, null, {"__typename": "Worker", "id": "w1"}, {"__typename": "Worker", "id": "w1"}],
            }})
        );
    }

    async fn a_node_is_a_worker_or_a_vm(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"{
            w: node(id: "w2") { __typename id ... on Worker { status } ... on Vm { vcpus } }
            v: node(id: "vm-2") { __typename id ... on Worker { status } ... on Vm { vcpus } }
        }"#;
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "w": {"__typename": "Worker", "id": "w2", "status": "DRAINING"},
                "v": {"__typename": "Vm", "id": "vm-2", "vcpus": 2},
            })
        );
        let ids: Vec<_> = (0..1_001).map(|n| n.to_string()).collect();
        let answer =
            cluster.graphql_answer("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({"ids": ids})).await;
        let (path, code, message) = error_of(&answer);
        assert_eq!((path, &*code), (json!(["nodes"]), "INVALID_ARGUMENT"));
        assert_eq!(message, "ids must have at most 1000 entries, not 1001");
    }

    async fn vms_are_shown_with_the_worker_they_are_on(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"{
            vm(id: "vm-6") { __typename id name workerId status vcpus memoryMb duplicate revision worker { id vms { id worker { id } } } }
            vms { id status workerId duplicate }
            stopped: vm(id: "vm-2") { status workerId }
        }"#;
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "vm": {
                    "__typename": "Vm", "id": "vm-6", "name": "vm-6", "workerId": "w4", "status": "STOPPING",
                    "vcpus": 1, "memoryMb": 512, "duplicate": false, "revision": 8,
                    "worker": {"id": "w4", "vms": [{"id": "vm-1", "worker": {"id": "w4"}}, {"id": "vm-6", "worker": {"id": "w4"}}]},
                },
                "vms": [
                    {"id": "vm-1", "status": "STARTING", "workerId": "w4", "duplicate": true},
                    {"id": "vm-3", "status": "CREATED", "workerId": "w1", "duplicate": false},
                    {"id": "vm-4", "status": "RUNNING", "workerId": "w2", "duplicate": false},
                    {"id": "vm-6", "status": "STOPPING", "workerId": "w4", "duplicate": false},
                ],
                "stopped": {"status": "STOPPED", "workerId": "w1"},
            })
        );
    }

    // semantics 27
    async fn a_vm_that_two_workers_report_is_shown_by_each_as_its_own(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"{
            w1: worker(id: "w1") { vms { id status duplicate worker { id } } }
            w4: worker(id: "w4") { vms { id status duplicate worker { id } } }
            vm(id: "vm-1") { status worker { id } } clusterStats { totalVms }
        }"#;
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "w1": {"vms": [
                    {"id": "vm-1", "status": "RUNNING", "duplicate": true, "worker": {"id": "w1"}},
                    {"id": "vm-3", "status": "CREATED", "duplicate": false, "worker": {"id": "w1"}},
                ]},
                "w4": {"vms": [
                    {"id": "vm-1", "status": "STARTING", "duplicate": true, "worker": {"id": "w4"}},
                    {"id": "vm-6", "status": "STOPPING", "duplicate": false, "worker": {"id": "w4"}},
                ]},
                "vm": {"status": "STARTING", "worker": {"id": "w4"}},
                "clusterStats": {"totalVms": 4},
            })
        );
    }

    async fn a_worker_shows_the_labels_and_vms_that_are_asked_for(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = r#"{ worker(id: "w1") {
            tier: labels(keys: ["tier", "nope"]) { key value } none: labels(keys: []) { key } every: labels(keys: null) { key }
            stopped: vms(status: STOPPED) { id } some: vms(status: [STOPPED, RUNNING]) { id } failed: vms(status: [FAILED]) { id }
            empty: vms(status: []) { id } null: vms(status: null) { id } vmCount
        } }"#;
        assert_eq!(
            cluster.graphql(query).await["worker"],
            json!({
                "tier": [{"key": "tier", "value": "compute"}], "none": [], "every": [{"key": "env"}, {"key": "tier"}],
                "stopped": [{"id": "vm-2"}], "some": [{"id": "vm-1"}, {"id": "vm-2"}], "failed": [],
                "empty": [], "null": [{"id": "vm-1"}, {"id": "vm-3"}], "vmCount": 2,
            })
        );
    }

    async fn statistics_and_distribution_are_shown_whole(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = "{
            clusterStats {
                totalWorkers activeWorkers drainingWorkers offlineWorkers totalCpuCores totalMemoryMb usedCpuCores usedMemoryMb
                availableCpuCores availableMemoryMb clusterCpuUsagePercent clusterMemoryUsagePercent totalVms maxVms
                availableVmSlots zones { name workers } schedulableWorkers schedulableCpuCores schedulableMemoryMb
                schedulableVmSlots revision
            }
            vmDistribution { workerId hostname zone vmCount vms { id } }
        }";
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "clusterStats": {
                    "totalWorkers": 4, "activeWorkers": 2, "drainingWorkers": 1, "offlineWorkers": 1,
                    "totalCpuCores": 56, "totalMemoryMb": 131_072, "usedCpuCores": 14, "usedMemoryMb": 20_480,
                    "availableCpuCores": 42, "availableMemoryMb": 110_592,
                    "clusterCpuUsagePercent": 25.0, "clusterMemoryUsagePercent": 15.63, "totalVms": 4, "maxVms": 400,
                    "availableVmSlots": 396, "zones": [{"name": "a", "workers": 2}, {"name": "b", "workers": 1}],
                    "schedulableWorkers": 2, "schedulableCpuCores": 18, "schedulableMemoryMb": 49_152,
                    "schedulableVmSlots": 196, "revision": 9,
                },
                "vmDistribution": [
                    {"workerId": "w1", "hostname": "beta", "zone": "a", "vmCount": 2, "vms": [{"id": "vm-1"}, {"id": "vm-3"}]},
                    {"workerId": "w2", "hostname": "alpha", "zone": "a", "vmCount": 1, "vms": [{"id": "vm-4"}]},
                    {"workerId": "w3", "hostname": "beta", "zone": "b", "vmCount": 0, "vms": []},
                    {"workerId": "w4", "hostname": "delta", "zone": null, "vmCount": 2, "vms": [{"id": "vm-1"}, {"id": "vm-6"}]},
                ],
            })
        );
    }

    async fn totals_beyond_32_bits_are_exact(cluster: TestCluster) {
        cluster.add((0..3).map(|n| worker(&format!("w{n}")).memory_mb(i32::MAX.cast_unsigned()))).await;
        let stats = cluster.graphql("{ clusterStats { totalMemoryMb } }").await;
        assert_eq!(stats, json!({"clusterStats": {"totalMemoryMb": 3 * i64::from(i32::MAX)}}));
    }

    async fn times_are_instants_in_utc_with_a_fraction_only_if_there_is_one(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let query = r#"{ worker(id: "w1") { startedAt lastSeen uptime status } events(first: 1) { nodes { at } } }"#;
        cluster.advance(std::time::Duration::from_millis(9_045_250));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let (started, seen) = ("2025-11-02T10:00:00Z", "2025-11-02T12:30:45.250Z");
        assert_eq!(
            cluster.graphql(query).await,
            json!({
                "worker": {"startedAt": started, "lastSeen": seen, "uptime": "2h30m45s", "status": "ACTIVE"},
                "events": {"nodes": [{"at": started}]},
            })
        );
        cluster.advance(minutes(10));
        let silent = json!({"startedAt": started, "lastSeen": seen, "uptime": "2h30m45s", "status": "OFFLINE"});
        assert_eq!(cluster.graphql(query).await["worker"], silent);
    }

    async fn workers_are_found_by_each_field_of_a_filter(cluster: TestCluster) {
        furnish(&cluster).await;
        for (filter, expected) in [
            ("{}", "w1 w2 w3 w4"),
            (r#"{ids: ["w3", "w1", "x"]}"#, "w1 w3"),
            (r#"{ids: "w3"}"#, "w3"),
            (r#"{zones: ["b", ""]}"#, "w3 w4"),
            ("{statuses: [ACTIVE]}", "w1 w4"),
            ("{statuses: [DRAINING, OFFLINE]}", "w2 w3"),
            ("{isHealthy: true}", "w1 w2 w4"),
            ("{isHealthy: false}", "w3"),
            (r#"{capabilities: ["qemu", "docker"]}"#, "w1 w2"),
            (r#"{labels: [{key: "env"}]}"#, "w1 w2 w3"),
            (r#"{labels: [{key: "env", value: "prod"}]}"#, "w1 w2"),
            (r#"{labels: [{key: "env", value: "prod"}, {key: "tier"}]}"#, "w1"),
            (r#"{labels: [{key: "tier", value: "prod"}]}"#, ""),
            (r#"{search: "ETA"}"#, "w1 w3"),
            (r#"{search: "10.0.0."}"#, "w4"),
            (r#"{search: "W2"}"#, "w2"),
            (r#"{search: ""}"#, "w1 w2 w3 w4"),
            (r#"{search: "%"}"#, ""),
            (
                r#"{zones: ["a"], isHealthy: true, statuses: [ACTIVE, DRAINING], labels: [{key: "env"}], search: "a"}"#,
                "w1 w2",
            ),
            (
                r#"{ids: null, zones: null, statuses: null, isHealthy: null, capabilities: null, labels: null, search: null}"#,
                "w1 w2 w3 w4",
            ),
        ] {
            let page = cluster
                .graphql(&format!("{{ workersConnection(filter: {filter}) {{ nodes {{ id }} totalCount }} }}"))
                .await;
            let expected: Vec<_> = expected.split_whitespace().collect();
            assert_eq!(each(&page["workersConnection"]["nodes"], "id"), expected, "{filter}");
            assert_eq!(page["workersConnection"]["totalCount"], expected.len(), "{filter}");
        }
    }

    async fn vms_are_found_by_each_field_of_a_filter(cluster: TestCluster) {
        furnish(&cluster).await;
        for (filter, expected) in [
            ("{}", "vm-1 vm-3 vm-4 vm-6"),
            ("{statuses: [STOPPED, FAILED]}", "vm-2 vm-5"),
            ("{statuses: []}", ""),
            (r#"{zones: ["a"]}"#, "vm-3 vm-4"),
            (r#"{zones: [""]}"#, "vm-1 vm-6"),
            (r#"{workerIds: ["w2", "w4"]}"#, "vm-1 vm-4 vm-6"),
            (r#"{search: "web"}"#, "vm-1 vm-4"),
            (r#"{search: "M-6"}"#, "vm-6"),
            (r#"{statuses: [CREATED, STOPPED, RUNNING], zones: ["a"], workerIds: ["w1"], search: "vm"}"#, "vm-1 vm-2 vm-3"),
        ] {
            let page = cluster
                .graphql(&format!("{{ vmsConnection(filter: {filter}) {{ nodes {{ id }} totalCount }} }}"))
                .await;
            let expected: Vec<_> = expected.split_whitespace().collect();
            assert_eq!(each(&page["vmsConnection"]["nodes"], "id"), expected, "{filter}");
            assert_eq!(page["vmsConnection"]["totalCount"], expected.len(), "{filter}");
        }
        let query = r#"{ worker(id: "w1") {
            holding: vmsConnection { nodes { id status worker { id } } totalCount }
            stopped: vmsConnection(filter: {statuses: [STOPPED]}) { nodes { id } }
            last: vmsConnection(last: 1, filter: {statuses: [STOPPED, CREATED, RUNNING]}) { nodes { id } totalCount }
        } }"#;
        assert_eq!(
            cluster.graphql(query).await["worker"],
            json!({
                "holding": {"totalCount": 2, "nodes": [
                    {"id": "vm-1", "status": "RUNNING", "worker": {"id": "w1"}},
                    {"id": "vm-3", "status": "CREATED", "worker": {"id": "w1"}},
                ]},
                "stopped": {"nodes": [{"id": "vm-2"}]},
                "last": {"nodes": [{"id": "vm-3"}], "totalCount": 3},
            })
        );
    }

    async fn events_are_found_by_each_field_of_a_filter(cluster: TestCluster) {
        furnish(&cluster).await;
        for (filter, expected) in [
            (r#"{workerIds: ["w2"]}"#, "WORKER_REGISTERED:w2 VM_STARTED:vm-4 VM_FAILED:vm-5 WORKER_DRAIN_STARTED:w2"),
            ("{kinds: [WORKER_DRAIN_STARTED]}", "WORKER_DRAIN_STARTED:w2"),
            (
                r#"{kinds: [WORKER_REGISTERED, WORKER_DRAIN_STARTED], workerIds: ["w1", "w2"]}"#,
                "WORKER_REGISTERED:w2 WORKER_REGISTERED:w1 WORKER_DRAIN_STARTED:w2",
            ),
            ("{kinds: [VM_STARTED], workerIds: []}", ""),
            (
                "{kinds: [VM_STARTED], workerIds: null}",
                "VM_STARTED:vm-4 VM_STARTED:vm-1 VM_STARTED:vm-3 VM_STARTED:vm-1 VM_STARTED:vm-6",
            ),
            ("{kinds: [RESYNC, SYNCED]}", ""),
            (r#"{workerIds: ["x"]}"#, ""),
        ] {
            let page =
                cluster.graphql(&format!("{{ events(filter: {filter}) {{ nodes {{ kind workerId vmId }} }} }}")).await;
            let found =
                pick(&page["events"]["nodes"], ["kind", "workerId", "vmId"]).into_iter().map(|[kind, worker, vm]| {
                    format!("{}:{}", kind.as_str().unwrap(), vm.as_str().or(worker.as_str()).unwrap())
                });
            assert_eq!(found.collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>(), "{filter}");
        }
    }

    async fn events_are_shown_whole_and_page_by_page(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        cluster.advance(seconds(5));
        cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"reason": "new disk"})).await;
        let fields = "cursor revision at kind workerId vmId actor reason message worker { id } vm { id }";
        let all = cluster.graphql(&format!("{{ events {{ nodes {{ {fields} }} endCursor hasNextPage }} }}")).await;
        let nodes = all["events"]["nodes"].as_array().unwrap();
        assert_eq!(all["events"]["hasNextPage"], false);
        assert_eq!(all["events"]["endCursor"], end(&cluster), "everything up to here was read");
        let mut drained = nodes[2].clone();
        assert!(drained["message"].take().as_str().unwrap().contains("w1") && drained["cursor"].take().is_string());
        assert_eq!(
            drained,
            json!({
                "cursor": null, "revision": 3, "at": "2025-11-02T10:00:05Z", "kind": "WORKER_DRAIN_STARTED", "workerId": "w1", "vmId": null,
                "actor": "OPERATOR", "reason": "new disk", "message": null, "worker": {"id": "w1"}, "vm": null,
            })
        );
        assert_eq!([&nodes[1]["kind"], &nodes[1]["vm"]], [&json!("VM_STARTED"), &json!({"id": "vm-1"})]);

        let mut paged = Vec::new();
        let mut after = Value::Null;
        loop {
            let query = format!(
                "query($after: Cursor) {{ events(first: 1, after: $after) {{ nodes {{ {fields} }} endCursor hasNextPage }} }}"
            );
            let page = cluster.graphql_answer(&query, json!({"after": after})).await["data"]["events"].take();
            paged.extend(page["nodes"].as_array().unwrap().clone());
            after = page["endCursor"].clone();
            if page["hasNextPage"] == false {
                break;
            }
            assert_eq!(after, paged.last().unwrap()["cursor"]);
        }
        assert_eq!(&paged, nodes);
        let query = "query($after: Cursor) { events(after: $after) { nodes { kind } endCursor hasNextPage } }";
        let rest = cluster.graphql_answer(query, json!({"after": after})).await["data"]["events"].take();
        assert_eq!(
            rest,
            json!({"nodes": [], "endCursor": after, "hasNextPage": false}),
            "the cursor is kept to ask again"
        );

        // What an event is about may be gone; that it happened is not.
        cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await;
        let nodes = cluster.graphql("{ events(first: 2) { nodes { workerId worker { id } vmId vm { id } } } }").await;
        assert_eq!(
            nodes["events"]["nodes"],
            json!([
                {"workerId": "w1", "worker": null, "vmId": null, "vm": null},
                {"workerId": "w1", "worker": null, "vmId": "vm-1", "vm": null},
            ])
        );
    }

    // regression: a filter without matches gave the old cursor back, to read the same events again for ever
    async fn whoever_finds_no_event_goes_on_after_all_that_was_read(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let query = "query($first: Int!, $after: Cursor) { events(first: $first, after: $after, filter: {workerIds: [\"w2\"]}) { nodes { kind } endCursor hasNextPage } }";
        let page = async |first: u32, after: &str| {
            let variables = json!({"first": first, "after": after});
            cluster.graphql_answer(query, variables).await["data"]["events"].take()
        };
        let (begun, joined) = (cluster.first_cursor(), end(&cluster));
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let drained = end(&cluster);
        assert_ne!(joined, drained);
        assert_eq!(page(5, &joined).await, json!({"nodes": [], "endCursor": drained, "hasNextPage": false}));
        assert_eq!(page(5, &drained).await, json!({"nodes": [], "endCursor": drained, "hasNextPage": false}));
        let registered = json!([{"kind": "WORKER_REGISTERED"}]);
        assert_eq!(page(1, &begun).await, json!({"nodes": registered, "endCursor": drained, "hasNextPage": false}));
        assert_eq!(page(0, &begun).await, json!({"nodes": [], "endCursor": begun, "hasNextPage": true}));
        let ahead = drained.replace('-', "-9");
        let answer = cluster.graphql_answer(query, json!({"first": 5, "after": ahead})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "nobody has told of it: {answer}");
    }

    async fn workers_come_in_every_order_both_ways_with_ties_by_id(cluster: TestCluster) {
        furnish(&cluster).await;
        for (field, ascending, descending) in [
            ("ID", "w1 w2 w3 w4", "w4 w3 w2 w1"),
            ("HOSTNAME", "w2 w1 w3 w4", "w4 w1 w3 w2"),
            ("ZONE", "w4 w1 w2 w3", "w3 w1 w2 w4"),
            ("CPU_USAGE", "w3 w1 w4 w2", "w2 w1 w4 w3"),
            ("MEMORY_USAGE", "w3 w2 w1 w4", "w1 w4 w2 w3"),
            ("VM_COUNT", "w3 w2 w1 w4", "w1 w4 w2 w3"),
            ("LAST_SEEN", "w3 w2 w1 w4", "w1 w4 w2 w3"),
        ] {
            for (order, expected) in [
                (format!("{{field: {field}}}"), ascending),
                (format!("{{field: {field}, direction: ASC}}"), ascending),
                (format!("{{field: {field}, direction: DESC}}"), descending),
            ] {
                let expected: Vec<_> = expected.split_whitespace().collect();
                let whole =
                    cluster.graphql(&format!("{{ workersConnection(orderBy: {order}) {{ nodes {{ id }} }} }}")).await;
                assert_eq!(each(&whole["workersConnection"]["nodes"], "id"), expected, "{order}");
                assert_eq!(walk(&cluster, &order, "first", "after").await, expected, "{order}, forwards");
                let mut backwards = walk(&cluster, &order, "last", "before").await;
                backwards.reverse();
                assert_eq!(backwards, expected, "{order}, backwards");
            }
        }
    }

    async fn a_page_says_where_it_lies(cluster: TestCluster) {
        furnish(&cluster).await;
        let page = async |arguments: &str| {
            let fields = "edges { cursor node { id } } nodes { id } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }";
            cluster.graphql(&format!("{{ workersConnection{arguments} {{ {fields} }} }}")).await["workersConnection"]
                .take()
        };
        let all = page("").await;
        let cursors = each(&all["edges"], "cursor");
        assert_eq!(cursors.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), 4, "each has its own");
        for (arguments, ids, next, previous) in [
            (String::new(), "w1 w2 w3 w4", false, false),
            ("(first: 2)".into(), "w1 w2", true, false),
            (format!("(first: 2, after: {})", cursors[0]), "w2 w3", true, true),
            (format!("(first: 2, after: {})", cursors[1]), "w3 w4", false, true),
            (format!("(first: 0, after: {})", cursors[1]), "", true, true),
            (format!("(after: {})", cursors[3]), "", false, true),
            ("(last: 3)".into(), "w2 w3 w4", false, true),
            (format!("(last: 1, before: {})", cursors[1]), "w1", true, false),
            (format!("(before: {})", cursors[2]), "w1 w2", true, false),
            (format!("(after: {}, before: {})", cursors[0], cursors[3]), "w2 w3", true, true),
            (format!("(after: {}, before: {})", cursors[2], cursors[1]), "", true, true),
            ("(first: 500)".into(), "w1 w2 w3 w4", false, false),
        ] {
            let page = page(&arguments).await;
            let ids: Vec<_> = ids.split_whitespace().collect();
            assert_eq!(each(&page["nodes"], "id"), ids, "{arguments}");
            let edges: Vec<_> = each(&page["edges"], "node").iter().map(|node| node["id"].clone()).collect();
            assert_eq!(edges, ids, "{arguments}");
            let ends = page["edges"].as_array().unwrap();
            assert_eq!(
                page["pageInfo"],
                json!({
                    "hasNextPage": next, "hasPreviousPage": previous,
                    "startCursor": ends.first().map(|edge| &edge["cursor"]), "endCursor": ends.last().map(|edge| &edge["cursor"]),
                }),
                "{arguments}"
            );
            assert_eq!(page["totalCount"], 4, "{arguments}");
        }
    }

    async fn a_page_has_a_hundred_entries_if_nobody_says_how_many(cluster: TestCluster) {
        let registrations = (0..101).map(|n| worker(&format!("w{n:03}")).without_heartbeat());
        cluster.add(registrations).await;
        let page = cluster.graphql("{ workersConnection { nodes { id } totalCount pageInfo { hasNextPage } } }").await;
        let page = &page["workersConnection"];
        assert_eq!(each(&page["nodes"], "id").len(), 100);
        assert_eq!([&page["totalCount"], &page["pageInfo"]["hasNextPage"]], [&json!(101), &json!(true)]);
    }

    async fn cursors_survive_what_comes_and_goes(cluster: TestCluster) {
        cluster.add(["b", "d", "f", "h"].map(worker)).await;
        let query = "query($after: String) { workersConnection(first: 2, after: $after) { nodes { id } pageInfo { endCursor } } }";
        let page = async |after: Value| {
            cluster.graphql_answer(query, json!({"after": after})).await["data"]["workersConnection"].take()
        };
        let first = page(Value::Null).await;
        assert_eq!(each(&first["nodes"], "id"), ["b", "d"]);

        // The one the cursor belongs to goes, others come before and after it.
        cluster.rest().delete("/api/v1/workers/d?purge=true").await;
        cluster.add(["a", "e"].map(worker)).await;
        let second = page(first["pageInfo"]["endCursor"].clone()).await;
        assert_eq!(each(&second["nodes"], "id"), ["e", "f"]);
        cluster.rest().delete("/api/v1/workers/h?purge=true").await;
        let third = page(second["pageInfo"]["endCursor"].clone()).await;
        assert_eq!(third, json!({"nodes": [], "pageInfo": {"endCursor": null}}));
    }

    async fn arguments_that_make_no_sense_are_named_as_graphql_spells_them(cluster: TestCluster) {
        furnish(&cluster).await;
        let page =
            cluster.graphql("{ workersConnection(orderBy: {field: CPU_USAGE}) { pageInfo { endCursor } } }").await;
        let of_cpu = &page["workersConnection"]["pageInfo"]["endCursor"];
        let page =
            cluster.graphql("{ workersConnection(orderBy: {field: HOSTNAME}) { pageInfo { endCursor } } }").await;
        let of_hostname = &page["workersConnection"]["pageInfo"]["endCursor"];
        let other_order = "is a cursor of another order: pass back one that came with the present `orderBy`";
        for (field, problem) in [
            (
                "workersConnection(first: -1) { totalCount }".to_owned(),
                "first must be from 0 to 500, not -1".to_owned(),
            ),
            ("workersConnection(first: 501) { totalCount }".into(), "first must be from 0 to 500, not 501".into()),
            (
                "workersConnection(first: 2147483647) { totalCount }".into(),
                "first must be from 0 to 500, not 2147483647".into(),
            ),
            (
                "workersConnection(last: -2147483648) { totalCount }".into(),
                "last must be from 0 to 500, not -2147483648".into(),
            ),
            (
                "workersConnection(first: 1, last: 1) { totalCount }".into(),
                "last cannot be combined with `first`: ask for one of them".into(),
            ),
            (
                r#"workersConnection(after: "x") { totalCount }"#.into(),
                r#"after "x" is not a cursor of this API: pass back one unchanged"#.into(),
            ),
            (
                r#"workersConnection(before: "") { totalCount }"#.into(),
                r#"before "" is not a cursor of this API: pass back one unchanged"#.into(),
            ),
            (format!("workersConnection(after: {of_cpu}) {{ totalCount }}"), format!("after {other_order}")),
            (
                format!("workersConnection(before: {of_cpu}, orderBy: {{field: MEMORY_USAGE}}) {{ totalCount }}"),
                format!("before {other_order}"),
            ),
            (format!("workersConnection(after: {of_hostname}) {{ totalCount }}"), format!("after {other_order}")),
            (
                format!("workersConnection(after: {of_hostname}, orderBy: {{field: ZONE}}) {{ totalCount }}"),
                format!("after {other_order}"),
            ),
            ("vmsConnection(last: 501) { totalCount }".into(), "last must be from 0 to 500, not 501".into()),
            (format!("vmsConnection(after: {of_cpu}) {{ totalCount }}"), format!("after {other_order}")),
            ("events(first: 501) { hasNextPage }".into(), "first must be from 0 to 500, not 501".into()),
            ("events(first: -1) { hasNextPage }".into(), "first must be from 0 to 500, not -1".into()),
            (
                r#"events(after: "other-1") { hasNextPage }"#.into(),
                r#"after "other-1" is a cursor of another database, or of what this one was before it was restored from a backup: read the present state, and start without one"#.into(),
            ),
        ] {
            let answer = cluster.graphql_answer(&format!("{{ {field} }}"), json!({})).await;
            let (path, code, message) = error_of(&answer);
            let name = field.split('(').next().unwrap();
            assert_eq!((path, &*code, message), (json!([name]), "INVALID_ARGUMENT", problem), "{field}");
            assert_eq!(
                answer["data"],
                Value::Null,
                "nothing is left of a query of which a part that cannot be null failed"
            );
        }
        // Below something that can be null, only that is lost.
        let query = r#"{ a: worker(id: "w1") { id events(first: 501) { kind } } b: worker(id: "w1") { vmsConnection(first: 501) { totalCount } } w2: worker(id: "w2") { id } }"#;
        let answer = cluster.graphql_answer(query, json!({})).await;
        assert_eq!(answer["data"], json!({"a": null, "b": null, "w2": {"id": "w2"}}));
        let codes: Vec<_> = answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (&error["path"], &error["extensions"]["code"]))
            .collect();
        let invalid = json!("INVALID_ARGUMENT");
        assert_eq!(codes, [(&json!(["a", "events"]), &invalid), (&json!(["b", "vmsConnection"]), &invalid)]);
    }

    // One reading for all of an answer, whatever is written meanwhile.
    async fn all_figures_of_one_answer_are_of_one_revision(cluster: TestCluster) {
        cluster.add((0..4).map(|n| worker(&format!("w{n}")))).await;
        let query = "{
            clusterStats { revision totalWorkers usedCpuCores totalVms drainingWorkers }
            workers { id revision usedCpuCores vmCount status vms { id } events(first: 1) { revision } }
            vmDistribution { workerId vmCount vms { id } } vms { id }
            events(first: 500) { nodes { revision workerId worker { id } } }
        }";
        let writes = async {
            for round in 0..40_u32 {
                let beats: Vec<_> = (0..4)
                    .map(|n| {
                        let vms: Vec<_> =
                            (0..(round + n) % 5).map(|vm| json!({"id": format!("vm-{n}-{vm}"), "vcpus": 1})).collect();
                        json!({"worker_id": format!("w{n}"), "incarnation": 1, "vms": vms})
                    })
                    .collect();
                let body = json!({"heartbeats": beats});
                assert_eq!(cluster.rest().post("/api/v1/heartbeats").json(body).await.status, 200);
                let new = worker(&format!("new-{round}")).registration();
                assert_eq!(cluster.rest().put(&format!("/api/v1/workers/new-{round}")).json(new).await.status, 201);
                let verb = if round % 2 == 0 { "drain" } else { "activate" };
                assert_eq!(cluster.rest().post(&format!("/api/v1/workers/w1/{verb}")).await.status, 200);
            }
        };
        let reads = async {
            let mut revisions = BTreeSet::new();
            for _ in 0..60 {
                let answer = cluster.graphql(query).await;
                let (stats, workers) = (&answer["clusterStats"], answer["workers"].as_array().unwrap());
                let sum = |field: &str| workers.iter().map(|worker| worker[field].as_u64().unwrap()).sum::<u64>();
                let revision = stats["revision"].as_u64().unwrap();
                assert_eq!(stats["totalWorkers"], workers.len());
                assert_eq!(stats["usedCpuCores"], sum("usedCpuCores"));
                assert_eq!(stats["totalVms"], sum("vmCount"));
                assert_eq!(stats["totalVms"], answer["vms"].as_array().unwrap().len());
                assert_eq!(
                    stats["drainingWorkers"],
                    workers.iter().filter(|worker| worker["status"] == "DRAINING").count()
                );
                assert!(workers.iter().all(|worker| worker["revision"].as_u64().unwrap() <= revision));
                let ids = |list: &Value, id: &str| pick(list, [id, "vmCount", "vms"]);
                assert_eq!(ids(&answer["workers"], "id"), ids(&answer["vmDistribution"], "workerId"));
                // The log is read later than the state, and may know more by then.
                for event in answer["events"]["nodes"].as_array().unwrap() {
                    assert!(event["revision"].as_u64().unwrap() <= revision, "{event} in an answer of {revision}");
                    assert_eq!(event["worker"]["id"], event["workerId"]);
                }
                for event in workers.iter().map(|worker| &worker["events"][0]) {
                    assert!(event["revision"].as_u64().unwrap() <= revision, "{event} in an answer of {revision}");
                }
                revisions.insert(revision);
            }
            revisions.len()
        };
        let (revisions, ()) = tokio::join!(reads, writes);
        assert!(revisions > 3, "only {revisions} states were seen");
    }

    async fn draining_and_activating_answer_with_the_worker_as_it_now_is(cluster: TestCluster) {
        furnish(&cluster).await;
        let drain = r#"mutation { drainWorker(input: {workerId: "w1", reason: "new disk"}) {
            message changed worker { id status schedulingPolicy revision events(first: 1) { kind reason } }
        } }"#;
        let drained = |changed: bool| {
            json!({"drainWorker": {
                "message": "Worker marked as draining. It will stop accepting new tasks.", "changed": changed,
                "worker": {"id": "w1", "status": "DRAINING", "schedulingPolicy": "DRAINING", "revision": 10, "events": [{"kind": "WORKER_DRAIN_STARTED", "reason": "new disk"}]},
            }})
        };
        assert_eq!(cluster.graphql(drain).await, drained(true));
        assert_eq!(cluster.graphql(drain).await, drained(false), "the second time, nothing happens");
        assert_eq!(
            cluster.graphql(r#"{ worker(id: "w1") { status } }"#).await,
            json!({"worker": {"status": "DRAINING"}})
        );

        let activate = r#"mutation { activateWorker(input: {workerId: "w1"}) { message changed worker { status schedulingPolicy } } }"#;
        assert_eq!(
            cluster.graphql(activate).await,
            json!({"activateWorker": {
                "message": "Worker activated. It will resume accepting tasks.", "changed": true,
                "worker": {"status": "ACTIVE", "schedulingPolicy": "ACTIVE"},
            }})
        );
        let offline = r#"mutation { drainWorker(input: {workerId: "w3"}) { changed worker { status schedulingPolicy lastSeen } } }"#;
        assert_eq!(
            cluster.graphql(offline).await,
            json!({"drainWorker": {
                "changed": true, "worker": {"status": "OFFLINE", "schedulingPolicy": "DRAINING", "lastSeen": "2025-11-02T10:00:00Z"},
            }})
        );
    }

    async fn a_worker_lives_its_life_in_graphql_alone(cluster: TestCluster) {
        let register = r#"mutation($bootId: String) { registerWorker(input: {
            workerId: "w1", hostname: "node1", address: "10.0.0.1:8081", zone: "a", labels: [{key: "env", value: "prod"}],
            capabilities: ["qemu"], cpuCores: 4, memoryMb: 8192, diskGb: 100, maxVms: 5, bootId: $bootId
        }) { created incarnation heartbeatIntervalSeconds offlineAfterSeconds revision
             worker { id hostname address zone labels { key value } capabilities cpuCores memoryMb diskGb maxVms status } } }"#;
        let registered = |created: bool, incarnation: u64, revision: u64| {
            json!({"data": {"registerWorker": {
                "created": created, "incarnation": incarnation, "heartbeatIntervalSeconds": 10.0, "offlineAfterSeconds": 60.0, "revision": revision,
                "worker": {
                    "id": "w1", "hostname": "node1", "address": "10.0.0.1:8081", "zone": "a", "labels": [{"key": "env", "value": "prod"}],
                    "capabilities": ["qemu"], "cpuCores": 4, "memoryMb": 8192, "diskGb": 100, "maxVms": 5, "status": "ACTIVE",
                },
            }}})
        };
        assert_eq!(cluster.graphql_answer(register, json!({"bootId": "one"})).await, registered(true, 1, 1));
        assert_eq!(
            cluster.graphql_answer(register, json!({"bootId": "one"})).await,
            registered(false, 1, 2),
            "a retry"
        );
        assert_eq!(
            cluster.graphql_answer(register, json!({"bootId": "two"})).await,
            registered(false, 2, 3),
            "a restart"
        );

        let beat = r#"mutation { recordHeartbeat(input: {
            workerId: "w1", incarnation: 2, sequence: 7, usedDiskGb: 9,
            vms: [{id: "vm-1", name: "web", status: RUNNING, vcpus: 2, memoryMb: 2048}, {id: "vm-2", status: STOPPED}, {id: "a/b"}]
        }) { workerId policy nextHeartbeatSeconds revision resync setAside { id reason } worker { usedCpuCores usedMemoryMb usedDiskGb vmCount vms { id name } } } }"#;
        let mut beaten = cluster.graphql(beat).await["recordHeartbeat"].take();
        let next = beaten["nextHeartbeatSeconds"].take().as_f64().unwrap();
        assert!((9.0..=11.0).contains(&next), "{next}");
        let reason = beaten["setAside"][0]["reason"].take();
        assert!(reason.as_str().is_some_and(|reason| !reason.is_empty()), "{reason}");
        assert_eq!(
            beaten,
            json!({
                "workerId": "w1", "policy": "ACTIVE", "nextHeartbeatSeconds": null, "revision": 4, "resync": false,
                "setAside": [{"id": "a/b", "reason": null}],
                "worker": {"usedCpuCores": 2, "usedMemoryMb": 2048, "usedDiskGb": 9, "vmCount": 1, "vms": [{"id": "vm-1", "name": "web"}]},
            })
        );

        let delta = r#"mutation { recordHeartbeat(input: {
            workerId: "w1", incarnation: 2, sequence: 8, vmsDelta: {upsert: [{id: "vm-3"}], remove: ["vm-1", "nope"]}
        }) { revision worker { vms(status: [CREATED, STARTING, RUNNING, STOPPING, STOPPED, FAILED]) { id status vcpus } } } }"#;
        assert_eq!(
            cluster.graphql(delta).await["recordHeartbeat"]["worker"]["vms"],
            json!([
                {"id": "vm-2", "status": "STOPPED", "vcpus": 0}, {"id": "vm-3", "status": "RUNNING", "vcpus": 0},
            ])
        );

        // As many as fit into the largest body, or nearly.
        let report = |n: usize| json!({"id": format!("v{n}"), "name": "a", "status": "RUNNING", "vcpus": 1, "memoryMb": 1});
        let many: Vec<Value> = (0..3_000).map(report).collect();
        let answer = cluster
            .graphql_answer(
                "mutation($vms: [VmReportInput!]!) { recordHeartbeat(input: { \
                    workerId: \"w1\", incarnation: 2, sequence: 9, vms: $vms }) { worker { vmCount } } }",
                json!({"vms": many}),
            )
            .await;
        assert_eq!(answer["data"]["recordHeartbeat"]["worker"]["vmCount"], 3_000, "{answer}");
        // More of them do if nothing but their names is said, or that they are gone.
        let ids: Vec<String> = (0..12_000).map(|n| format!("v{n}")).collect();
        let named: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        for (ty, part, sent, left) in [
            ("[VmReportInput!]!", "vms: $vms", json!(named), 12_000),
            ("[ID!]!", "vmsDelta: {remove: $vms}", json!(ids), 0),
        ] {
            let report = format!(
                "mutation($vms: {ty}) {{ recordHeartbeat(input: {{ \
                    workerId: \"w1\", incarnation: 2, {part} }}) {{ worker {{ vmCount }} }} }}"
            );
            let answer = cluster.graphql_answer(&report, json!({"vms": sent})).await;
            assert_eq!(answer["data"]["recordHeartbeat"]["worker"]["vmCount"], left, "{answer}");
        }

        let leave = r#"mutation { deregisterWorker(input: {workerId: "w1"}) { workerId } }"#;
        assert_eq!(cluster.graphql(leave).await, json!({"deregisterWorker": {"workerId": "w1"}}));
        assert_eq!(
            cluster.graphql(r#"{ worker(id: "w1") { status } }"#).await,
            json!({"worker": {"status": "OFFLINE"}})
        );
        let purge = r#"mutation { deregisterWorker(input: {workerId: "w1", purge: true, force: true}) { workerId } }"#;
        assert_eq!(cluster.graphql(purge).await, json!({"deregisterWorker": {"workerId": "w1"}}));
        assert_eq!(
            cluster.graphql(r#"{ worker(id: "w1") { id } vm(id: "vm-3") { id } }"#).await,
            json!({"worker": null, "vm": null})
        );
    }

    async fn a_command_that_fails_is_null_and_the_others_of_its_document_stand(cluster: TestCluster) {
        furnish(&cluster).await;
        let answer = cluster.graphql_answer(r#"mutation {
            first: drainWorker(input: {workerId: "w1"}) { changed }
            nobody: drainWorker(input: {workerId: "worker-99"}) { changed }
            stale: activateWorker(input: {workerId: "w1", ifRevision: 1}) { changed }
            old: recordHeartbeat(input: {workerId: "w1", incarnation: 0}) { revision }
            unknown: recordHeartbeat(input: {workerId: "worker-99", incarnation: 1}) { revision }
            small: registerWorker(input: {workerId: "w9", hostname: "h", address: "a:1", cpuCores: 0, memoryMb: 1}) { created }
            odd: registerWorker(input: {workerId: "a/b", hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1}) { created }
            both: recordHeartbeat(input: {workerId: "w1", incarnation: 1, vms: [], vmsDelta: {}}) { revision }
            below: recordHeartbeat(input: {workerId: "w1", incarnation: 1, usedMemoryMb: -1}) { revision }
            full: deregisterWorker(input: {workerId: "w4", purge: true}) { workerId }
            negative: activateWorker(input: {workerId: "w1", ifRevision: -1}) { changed }
            last: activateWorker(input: {workerId: "w1"}) { changed worker { status } }
        }"#, json!({})).await;
        assert_eq!(
            answer["data"],
            json!({
                "first": {"changed": true}, "nobody": null, "stale": null, "old": null, "unknown": null, "small": null,
                "odd": null, "both": null, "below": null, "full": null, "negative": null,
                "last": {"changed": true, "worker": {"status": "ACTIVE"}},
            })
        );
        let expected = [
            ("nobody", "NOT_FOUND", "Worker not found: worker-99"),
            ("stale", "CONFLICT", "Worker w1 is not what it was at revision 1: its registration, or what operators want of it, is of revision 10. Read it again, then decide."),
            (
                "old",
                "CONFLICT",
                "Incarnation 0 of worker w1 is over: incarnation 1 has registered since. Two processes may be using this id.",
            ),
            ("unknown", "NOT_FOUND", "Worker not found: worker-99. Register it again, then send heartbeats."),
            ("small", "INVALID_ARGUMENT", "cpuCores must be from 1 to 100000, not 0"),
            ("odd", "INVALID_ARGUMENT", ""),
            ("both", "INVALID_ARGUMENT", "vmsDelta cannot be combined with `vms`"),
            ("below", "INVALID_ARGUMENT", "usedMemoryMb must be from 0 to 2147483647, not -1"),
            ("full", "CONFLICT", "Worker w4 still holds 2 VMs. Stop or move them first, or pass force=true."),
            ("negative", "INVALID_ARGUMENT", "ifRevision must be from 0 to 9007199254740992, not -1"),
        ];
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors.len(), expected.len(), "{answer}");
        for (error, (field, code, message)) in errors.iter().zip(expected) {
            assert_eq!([&error["path"], &error["extensions"]["code"]], [&json!([field]), &json!(code)], "{error}");
            assert!(error["message"].as_str().unwrap().contains(message), "{error}");
        }
    }

    async fn a_command_can_be_tied_to_the_revision_that_was_seen(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let seen = cluster.graphql(r#"{ worker(id: "w1") { revision } }"#).await["worker"]["revision"].take();
        let drain = r#"mutation($seen: Int53) { drainWorker(input: {workerId: "w1", ifRevision: $seen}) { changed worker { revision } } }"#;
        let answer = cluster.graphql_answer(drain, json!({"seen": seen})).await;
        assert_eq!(answer["data"]["drainWorker"]["changed"], true);
        let answer = cluster.graphql_answer(drain, json!({"seen": seen})).await;
        assert_eq!(error_of(&answer).1, "CONFLICT", "the first one has changed it");
        assert_eq!(answer["data"], json!({"drainWorker": null}));
    }

    async fn whole_numbers_are_exact_up_to_2_to_the_53rd(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let drain = "mutation($seen: Int53) { drainWorker(input: {workerId: \"w1\", ifRevision: $seen}) { changed } }";
        let answer = cluster.graphql_answer(drain, json!({"seen": 1_i64 << 53})).await;
        assert_eq!(error_of(&answer).1, "CONFLICT", "it is a number, but not the right one");
        for odd in [json!((1_i64 << 53) + 1), json!(1.5), json!("1"), json!(u64::MAX), json!(1e300)] {
            let answer = cluster.graphql_answer(drain, json!({"seen": odd})).await;
            let (_, code, message) = error_of(&answer);
            assert_eq!(code, "BAD_USER_INPUT", "{odd}: {message}");
        }
        assert_eq!(cluster.worker("w1").await["status"], "active");
    }

    async fn the_events_of_a_worker_come_newest_first_and_page_back(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2")]), worker("w2")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.rest().post("/api/v1/workers/w2/drain").await;
        cluster.rest().post("/api/v1/workers/w1/activate").await;
        let query = r#"query($first: Int!, $after: Cursor) { worker(id: "w1") { events(first: $first, after: $after) { cursor kind workerId vmId } } }"#;
        let events = async |first: u32, after: Value| {
            cluster.graphql_answer(query, json!({"first": first, "after": after})).await["data"]["worker"]["events"]
                .take()
        };
        let all = events(20, Value::Null).await;
        let kinds = ["WORKER_ACTIVATED", "WORKER_DRAIN_STARTED", "VM_STARTED", "VM_STARTED", "WORKER_REGISTERED"];
        assert_eq!(each(&all, "kind"), kinds);
        assert_eq!(each(&all, "workerId"), ["w1"; 5]);
        assert_eq!(each(&all, "vmId"), [Value::Null, Value::Null, json!("vm-2"), json!("vm-1"), Value::Null]);
        let mut paged = Vec::new();
        let mut after = Value::Null;
        loop {
            // Two at a time: the VMs' events are of one revision, and a page ends between them.
            let page = events(if paged.is_empty() { 3 } else { 1 }, after).await;
            let Some(last) = page.as_array().unwrap().last() else { break };
            after = last["cursor"].clone();
            paged.extend(page.as_array().unwrap().clone());
        }
        assert_eq!(Value::from(paged), all);
        let by_default =
            cluster.graphql(r#"{ worker(id: "w2") { events { kind } none: events(first: 0) { kind } } }"#).await;
        assert_eq!(
            by_default["worker"],
            json!({"events": [{"kind": "WORKER_DRAIN_STARTED"}, {"kind": "WORKER_REGISTERED"}], "none": []})
        );
    }

    async fn the_events_of_several_workers_are_each_cut_at_any_place_of_the_log(cluster: TestCluster) {
        cluster.add(["w1", "w2", "w3"].map(worker)).await;
        let vms = |id: &str| (1..=3).map(|n| vm(&format!("{id}-vm-{n}")).into()).collect::<Vec<Value>>();
        let beats = ["w1", "w2"].map(|id| json!({"worker_id": id, "incarnation": 1, "vms": vms(id)}));
        cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).await;
        cluster.rest().post("/api/v1/workers/w2/drain").await;
        let log = cluster.graphql("{ events { nodes { cursor workerId } } }").await["events"]["nodes"].take();
        let log = log.as_array().unwrap();
        let query = "query($first: Int!, $after: Cursor) { workers { id events(first: $first, after: $after) { cursor workerId } } }";
        for before in 0..=log.len() {
            for limit in [0, 1, 2, 20] {
                let after = log.get(before).map(|event| &event["cursor"]);
                let answer = cluster.graphql_answer(query, json!({"first": limit, "after": after})).await;
                let expected = ["w1", "w2", "w3"].map(|id| {
                    let events = log[..before].iter().rev().filter(|event| event["workerId"] == id).take(limit);
                    json!({"id": id, "events": events.collect::<Vec<_>>()})
                });
                assert_eq!(answer["data"]["workers"], json!(expected), "{limit} before {after:?}");
            }
        }
    }

    async fn the_events_of_many_workers_cost_as_many_statements_as_those_of_one(cluster: TestCluster) {
        join_all((0..200).map(async |n| {
            let id = format!("w{n:03}");
            cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker(&id).registration()).await;
            cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).await;
        }))
        .await;
        let cost = async |first: usize, expected: usize| {
            let query = "query($first: Int) { workersConnection(first: $first) { nodes { id events(first: 2) { kind workerId } } } }";
            let before = cluster.statements_sent();
            let answer = cluster.graphql_answer(query, json!({"first": first})).await;
            let cost = cluster.statements_sent() - before;
            let nodes = answer["data"]["workersConnection"]["nodes"].as_array().unwrap().clone();
            assert_eq!(nodes.len(), expected);
            for node in nodes {
                let event = |kind: &str| json!({"kind": kind, "workerId": node["id"]});
                assert_eq!(node["events"], json!([event("WORKER_DRAIN_STARTED"), event("WORKER_REGISTERED")]));
            }
            cost
        };
        // Whoever looks for other servers' commits may come between, once.
        let (one, many) = (cost(1, 1).await, [cost(50, 50).await, cost(200, 200).await]);
        assert!((1..=2).contains(&one), "{one}");
        assert!(many.iter().all(|many| (1..=2).contains(many)), "{many:?} statements for many workers, {one} for one");

        let before = cluster.statements_sent();
        cluster.graphql("{ workers { id vms { id } } vms { id worker { id } } clusterStats { revision } vmDistribution { vms { id } } }").await;
        assert!(cluster.statements_sent() - before <= 1, "what is in memory costs none");
    }
}

/// The cursor after everything that has happened.
fn end(cluster: &TestCluster) -> String {
    cluster.first_cursor().replace("-0", &format!("-{}", cluster.revision()))
}

/// All ids in an order, one page of one worker after the other.
async fn walk(cluster: &TestCluster, order: &str, size: &str, from: &str) -> Vec<Value> {
    let info = if size == "first" { "endCursor" } else { "startCursor" };
    let query = format!(
        "query($from: String) {{ workersConnection({size}: 1, {from}: $from, orderBy: {order}) {{ nodes {{ id }} pageInfo {{ {info} }} }} }}"
    );
    let (mut ids, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let answer = cluster.graphql_answer(&query, json!({"from": cursor})).await;
        let page = &answer["data"]["workersConnection"];
        let [id] = &each(&page["nodes"], "id")[..] else { return ids };
        ids.push(id.clone());
        cursor = page["pageInfo"][info].clone();
    }
}
