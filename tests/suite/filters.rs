//! Filters, orders and cursors: REST and GraphQL take the same ones, find the same, and refuse the same.

use serde_json::{Value, json};

use crate::harness::*;

/// Workers and VMs that differ in everything that can be asked for.
async fn furnish(cluster: &TestCluster) {
    let labels = |labels: Value| move |worker: TestWorker| worker.registers("labels", labels);
    cluster
        .add([
            labels(json!({"env": "prod", "tier": ""}))(worker("w1").zone("a"))
                .registers("hostname", "beta")
                .registers("capabilities", json!(["qemu", "docker"]))
                .reports("used_cpu_cores", 8)
                .reports("used_memory_mb", 1024)
                .vms([vm("vm-1").name("web"), vm("vm-2").status("stopped"), vm("vm-3")]),
            labels(json!({"env": "prod"}))(worker("w2").zone("a"))
                .registers("hostname", "alpha")
                .registers("capabilities", json!(["docker"]))
                .reports("used_cpu_cores", 4)
                .reports("used_memory_mb", 4096)
                .vms([vm("vm-4").name("Webmail")]),
            labels(json!({"env": "a=b, c"}))(worker("w3").zone("b, c"))
                .registers("hostname", "delta")
                .reports("used_cpu_cores", 8)
                .vms([vm("vm-5").status("failed")])
                .silent_for(minutes(2)),
            worker("w4").registers("hostname", "gamma").registers("address", "10.0.0.7:1").silent_for(seconds(30)),
        ])
        .await;
    cluster.rest().post("/api/v1/workers/w2/drain").await;
}

/// What REST finds.
async fn found(cluster: &TestCluster, list: &str, query: &str) -> Vec<Value> {
    let answer = cluster.rest().get(&format!("/api/v1/{list}{query}")).await;
    assert_eq!(answer.status, 200, "{list}{query}: {}", answer.body);
    let ids = pick(&answer.json()[list], ["id"]).concat();
    assert_eq!(answer.json()["total"], ids.len(), "{list}{query}");
    assert_eq!(answer.header("link"), None, "without `limit` it is the whole list");
    ids
}

/// What GraphQL finds.
async fn connected(cluster: &TestCluster, list: &str, arguments: &str) -> Vec<Value> {
    let connection = format!("{list}Connection");
    let page = cluster.graphql(&format!("{{ {connection}{arguments} {{ nodes {{ id }} }} }}")).await;
    pick(&page[&connection]["nodes"], ["id"]).concat()
}

on_both_databases! {
    async fn workers_are_found_by_the_same_filters_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        for (query, filter, ids) in [
            ("", "", "w1 w2 w3 w4"),
            ("?id=w3&id=w1&id=nobody", r#"(filter: {ids: ["w3", "w1", "nobody"]})"#, "w1 w3"),
            ("?zone=a", r#"(filter: {zones: ["a"]})"#, "w1 w2"),
            ("?zone=a&zone=b,+c", r#"(filter: {zones: ["a", "b, c"]})"#, "w1 w2 w3"),
            ("?zone=a,b", r#"(filter: {zones: ["a,b"]})"#, ""),
            ("?status=draining", "(filter: {statuses: [DRAINING]})", "w2"),
            ("?status=offline&status=active", "(filter: {statuses: [OFFLINE, ACTIVE]})", "w1 w3 w4"),
            ("?is_healthy=true", "(filter: {isHealthy: true})", "w1 w2 w4"),
            ("?is_healthy=false", "(filter: {isHealthy: false})", "w3"),
            ("?capability=docker", r#"(filter: {capabilities: ["docker"]})"#, "w1 w2"),
            ("?capability=qemu&capability=none", r#"(filter: {capabilities: ["qemu", "none"]})"#, "w1"),
            ("?label=env", r#"(filter: {labels: [{key: "env"}]})"#, "w1 w2 w3"),
            ("?label=env=prod", r#"(filter: {labels: [{key: "env", value: "prod"}]})"#, "w1 w2"),
            ("?label=env%3Dprod", r#"(filter: {labels: [{key: "env", value: "prod"}]})"#, "w1 w2"),
            ("?label=env%3Da%3Db%2C+c", r#"(filter: {labels: [{key: "env", value: "a=b, c"}]})"#, "w3"),
            ("?label=tier=", r#"(filter: {labels: [{key: "tier", value: ""}]})"#, "w1"),
            ("?label=env=prod&label=tier", r#"(filter: {labels: [{key: "env", value: "prod"}, {key: "tier"}]})"#, "w1"),
            ("?search=ETA", r#"(filter: {search: "ETA"})"#, "w1"),
            ("?search=10.0.0.", r#"(filter: {search: "10.0.0."})"#, "w4"),
            ("?search=", r#"(filter: {search: ""})"#, "w1 w2 w3 w4"),
            ("?search=%25", r#"(filter: {search: "%"})"#, ""),
            (
                "?zone=a&status=active&status=draining&label=env&capability=docker&search=w&is_healthy=true&id=w2",
                r#"(filter: {zones: ["a"], statuses: [ACTIVE, DRAINING], labels: [{key: "env"}], capabilities: ["docker"], search: "w", isHealthy: true, ids: ["w2"]})"#,
                "w2",
            ),
        ] {
            let ids: Vec<_> = ids.split_whitespace().collect();
            assert_eq!(found(&cluster, "workers", query).await, ids, "{query}");
            assert_eq!(connected(&cluster, "workers", filter).await, ids, "{filter}");
        }
    }

    async fn vms_are_found_by_the_same_filters_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        for (query, filter, ids) in [
            ("", "", "vm-1 vm-3 vm-4"),
            ("?status=stopped&status=failed", "(filter: {statuses: [STOPPED, FAILED]})", "vm-2 vm-5"),
            ("?zone=a", r#"(filter: {zones: ["a"]})"#, "vm-1 vm-3 vm-4"),
            ("?zone=nowhere", r#"(filter: {zones: ["nowhere"]})"#, ""),
            ("?worker_id=w2&worker_id=w3", r#"(filter: {workerIds: ["w2", "w3"]})"#, "vm-4"),
            ("?search=web", r#"(filter: {search: "web"})"#, "vm-1 vm-4"),
            ("?search=M-3", r#"(filter: {search: "M-3"})"#, "vm-3"),
            (
                "?zone=a&worker_id=w1&status=stopped&status=running&search=vm",
                r#"(filter: {zones: ["a"], workerIds: ["w1"], statuses: [STOPPED, RUNNING], search: "vm"})"#,
                "vm-1 vm-2 vm-3",
            ),
        ] {
            let ids: Vec<_> = ids.split_whitespace().collect();
            assert_eq!(found(&cluster, "vms", query).await, ids, "{query}");
            assert_eq!(connected(&cluster, "vms", filter).await, ids, "{filter}");
        }
    }

    async fn plural_filters_are_beside_those_of_the_contract(cluster: TestCluster) {
        let vms = || [vm("vm-1"), vm("vm-2").status("stopped"), vm("vm-3").status("failed")];
        cluster.add([worker("w1").zone("a").vms(vms()), worker("w2").zone("b"), worker("w3"), worker("w4").zone("a")]).await;
        for (arguments, ids) in [
            ("", "w1 w2 w3 w4"),
            (r#"(zones: ["a", "nowhere"])"#, "w1 w4"),
            (r#"(zones: "b")"#, "w2"),
            (r#"(zones: ["", "b"])"#, "w2 w3"),
            ("(zones: [])", ""),
            ("(zones: null)", "w1 w2 w3 w4"),
            (r#"(zone: "a", zones: ["a", "b", "a"])"#, "w1 w4"),
            (r#"(zone: "a", zones: ["b"])"#, ""),
            (r#"(zone: null, zones: ["b"])"#, "w2"),
        ] {
            let found = cluster.graphql(&format!("{{ workers{arguments} {{ id }} }}")).await;
            assert_eq!(pick(&found["workers"], ["id"]).concat(), ids.split_whitespace().collect::<Vec<_>>(), "{arguments}");
        }
        for (arguments, ids) in [
            ("(statuses: [STOPPED, FAILED])", "vm-2 vm-3"),
            ("(statuses: [])", ""),
            ("(statuses: null)", "vm-1"),
            ("(statuses: [STOPPED, RUNNING], status: [FAILED, STOPPED])", "vm-2"),
            ("(status: [FAILED], statuses: null)", "vm-3"),
        ] {
            let found = cluster.graphql(&format!(r#"{{ worker(id: "w1") {{ vms{arguments} {{ id }} }} }}"#)).await;
            let found = pick(&found["worker"]["vms"], ["id"]).concat();
            assert_eq!(found, ids.split_whitespace().collect::<Vec<_>>(), "{arguments}");
        }
        let long = format!(r#"{{ workers(zone: "a", zones: ["{}"]) {{ id }} }}"#, "x".repeat(256));
        let refused = cluster.graphql_answer(&long, json!({})).await;
        assert_eq!(refused["errors"][0]["message"], "zones must have at most 255 characters, not 256");
    }

    async fn workers_come_in_the_same_orders_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        for (key, field, ids) in [
            ("id", "ID", "w1 w2 w3 w4"),
            ("hostname", "HOSTNAME", "w2 w1 w3 w4"),
            ("zone", "ZONE", "w4 w1 w2 w3"),
            ("cpu_usage", "CPU_USAGE", "w4 w2 w1 w3"),
            ("memory_usage", "MEMORY_USAGE", "w3 w4 w1 w2"),
            ("vm_count", "VM_COUNT", "w3 w4 w2 w1"),
            ("last_seen", "LAST_SEEN", "w3 w4 w1 w2"),
        ] {
            let ids: Vec<_> = ids.split_whitespace().collect();
            assert_eq!(found(&cluster, "workers", &format!("?sort={key}")).await, ids, "{key}");
            let order = format!("(orderBy: {{field: {field}}})");
            assert_eq!(connected(&cluster, "workers", &order).await, ids, "{key}");

            let descending = found(&cluster, "workers", &format!("?sort=-{key}")).await;
            let order = format!("(orderBy: {{field: {field}, direction: DESC}})");
            assert_eq!(connected(&cluster, "workers", &order).await, descending, "-{key}");
            assert_ne!(descending, ids, "-{key}");
        }
        assert_eq!(found(&cluster, "workers", "?sort=-cpu_usage").await, ["w1", "w3", "w2", "w4"], "equal ones by id");
    }

    async fn a_cursor_of_one_protocol_goes_on_in_the_other(cluster: TestCluster) {
        furnish(&cluster).await;
        let next = |answer: &Answer| {
            let link = answer.header("link").expect("there is more");
            let reference = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
            (reference.to_owned(), reference.rsplit_once("cursor=").unwrap().1.to_owned())
        };
        for (key, order) in [
            ("id", "{field: ID}"),
            ("-hostname", "{field: HOSTNAME, direction: DESC}"),
            ("zone", "{field: ZONE}"),
            ("-cpu_usage", "{field: CPU_USAGE, direction: DESC}"),
            ("memory_usage", "{field: MEMORY_USAGE}"),
            ("-vm_count", "{field: VM_COUNT, direction: DESC}"),
            ("last_seen", "{field: LAST_SEEN}"),
        ] {
            let query = format!("?search=w&is_healthy=true&sort={key}&limit=1");
            let whole = found(&cluster, "workers", &format!("?is_healthy=true&sort={key}")).await;
            let first = cluster.rest().get(&format!("/api/v1/workers{query}")).await;
            let (link, cursor) = next(&first);
            assert_eq!(link, format!("{query}&cursor={cursor}"), "the link asks the same question");
            assert_eq!(first.json()["total"], 3);

            let arguments = |after: &str| {
                format!(r#"(first: 1, filter: {{search: "w", isHealthy: true}}, orderBy: {order}, after: "{after}")"#)
            };
            let page = format!("{{ workersConnection{} {{ nodes {{ id }} pageInfo {{ endCursor }} }} }}", arguments(&cursor));
            let second = cluster.graphql(&page).await["workersConnection"].take();
            let end = second["pageInfo"]["endCursor"].as_str().unwrap();
            let third = cluster.rest().get(&format!("/api/v1/workers{query}&cursor={end}")).await;
            assert_eq!(third.header("link"), None, "that was the last");
            let pages = [&first.json()["workers"], &second["nodes"], &third.json()["workers"]];
            assert_eq!(pages.map(|page| pick(page, ["id"]).concat()).concat(), whole, "{key}");
        }
    }

    async fn pages_of_a_filter_in_an_order_stay_right_while_workers_come_and_go(cluster: TestCluster) {
        let used = |id: &str, cores: u32| worker(id).zone("a").reports("used_cpu_cores", cores);
        cluster.add([used("w1", 8), used("w2", 6), used("w3", 4), used("w4", 2), worker("other").zone("b")]).await;
        let first = cluster.rest().get("/api/v1/workers?zone=a&sort=-cpu_usage&limit=2").await;
        assert_eq!(pick(&first.json()["workers"], ["id"]).concat(), ["w1", "w2"]);
        let link = first.header("link").unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();

        cluster.rest().delete("/api/v1/workers/w2?purge=true").await;
        cluster.add([used("w5", 7), used("w6", 3), worker("another").zone("b").reports("used_cpu_cores", 3)]).await;
        let second = cluster.rest().get(&format!("/api/v1/workers{link}")).await;
        assert_eq!(pick(&second.json()["workers"], ["id"]).concat(), ["w3", "w4"], "nothing twice, nothing left out");
        assert_eq!(second.json()["total"], 5);
        let link = second.header("link").unwrap().trim_start_matches('<').split('>').next().unwrap().to_owned();
        let last = cluster.rest().get(&format!("/api/v1/workers{link}")).await;
        assert_eq!(pick(&last.json()["workers"], ["id"]).concat(), ["w5", "w6"], "who came meanwhile comes last");
        assert_eq!(last.header("link"), None);
    }

    async fn what_cannot_be_looked_for_is_refused_by_both_in_the_same_words(cluster: TestCluster) {
        furnish(&cluster).await;
        let (long, keys) = ("x".repeat(256), "id, hostname, zone, cpu_usage, memory_usage, vm_count, last_seen, free_cpu_cores, free_memory_mb, free_vm_slots");
        let too_long = |most: usize, chars: usize| format!("must have at most {most} characters, not {chars}");
        for (list, parameter, value, problem, twin) in [
            ("workers", "id", "", "must not be empty".to_owned(), Some(("filter.ids", json!([""])))),
            ("workers", "id", &long, too_long(255, 256), Some(("filter.ids", json!([long])))),
            ("workers", "zone", &long, too_long(255, 256), Some(("filter.zones", json!([long])))),
            ("workers", "capability", "", "must not be empty".to_owned(), Some(("filter.capabilities", json!([""])))),
            ("workers", "label", "", "must not be empty".to_owned(), Some(("filter.labels", json!([{"key": ""}])))),
            ("workers", "label", "=a", "must not be empty".to_owned(), Some(("filter.labels", json!([{"key": "", "value": "a"}])))),
            ("workers", "label", &long, too_long(63, 256), Some(("filter.labels", json!([{"key": long}])))),
            ("workers", "search", &long, too_long(255, 256), Some(("filter.search", json!(long)))),
            ("vms", "worker_id", "", "must not be empty".to_owned(), Some(("filter.workerIds", json!([""])))),
            ("vms", "zone", &long, too_long(255, 256), Some(("filter.zones", json!([long])))),
            ("events", "worker_id", "", "must not be empty".to_owned(), Some(("filter.workerIds", json!([""])))),
            ("events", "worker_id", &long, too_long(255, 256), Some(("filter.workerIds", json!([long])))),
            ("events", "vm_id", "", "must not be empty".to_owned(), Some(("filter.vmIds", json!([""])))),
            ("events", "vm_id", &long, too_long(255, 256), Some(("filter.vmIds", json!([long])))),
            ("events", "zone", &long, too_long(255, 256), Some(("filter.zones", json!([long])))),
            ("events", "actor_token_id", "", "must not be empty".to_owned(), Some(("filter.actorTokenIds", json!([""])))),
            ("reservations", "worker_id", "", "must not be empty".to_owned(), Some(("filter.workerIds", json!([""])))),
            ("reservations", "worker_id", &long, too_long(255, 256), Some(("filter.workerIds", json!([long])))),
            ("drains", "worker_id", "", "must not be empty".to_owned(), Some(("filter.workerIds", json!([""])))),
            ("vms", "search", &long, too_long(255, 256), Some(("filter.search", json!(long)))),
            // GraphQL has words of its own for these, and refuses others before we see them.
            ("workers", "status", "down", "must be one of active, draining, offline, not \"down\"".to_owned(), None),
            (
                "workers", "status", "active,offline",
                "must be one of active, draining, offline, not \"active,offline\"; for several, repeat the parameter".to_owned(),
                None,
            ),
            ("workers", "status", "", "must be one of active, draining, offline, not \"\"".to_owned(), None),
            (
                "vms", "status", "down",
                "must be one of created, starting, running, stopping, stopped, failed, not \"down\"".to_owned(),
                None,
            ),
            (
                "workers", "sort", "cpu",
                format!("must be one of {keys}, with a - before it for the largest first, not \"cpu\""),
                None,
            ),
            ("workers", "cursor", "eyJr", "\"eyJr\" is not a cursor of this API: pass back one unchanged".to_owned(), None),
        ] {
            let path = format!("/api/v1/{list}?{parameter}={value}");
            cluster.rest().get(&path).await.assert_failure(400, &format!("{parameter} {problem}"));
            let Some((argument, value)) = twin else { continue };
            let (kind, connection) = match list {
                "workers" => ("WorkerFilter", "workersConnection"),
                "vms" => ("VmFilter", "vmsConnection"),
                "events" => ("EventFilter", "events"),
                "reservations" => ("ReservationFilter", "reservations"),
                "drains" => ("DrainFilter", "drains"),
                other => panic!("{other} has no twin here"),
            };
            let query = format!("query($filter: {kind}) {{ {connection}(filter: $filter) {{ __typename }} }}");
            let filter = json!({argument.trim_start_matches("filter."): value});
            let error = cluster.graphql_answer(&query, json!({"filter": filter})).await["errors"][0].take();
            assert_eq!(error["extensions"]["code"], "INVALID_ARGUMENT", "{error}");
            assert_eq!(error["message"], format!("{argument} {problem}"));
        }
        cluster.rest().get("/api/v1/workers?is_healthy=maybe").await.assert_failure(
            400,
            "Query parameter `is_healthy`: expected true or false, got string \"maybe\"",
        );
    }

    async fn a_cursor_of_another_order_is_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let page = cluster.rest().get("/api/v1/workers?limit=1&sort=hostname").await;
        let link = page.header("link").unwrap().split('>').next().unwrap().to_owned();
        let cursor = link.rsplit_once("cursor=").unwrap().1;
        let refused = "cursor is a cursor of another order: pass back one that came with the present `sort`";
        // Also where nothing is found, so that what is wrong with a request does not depend on what there is.
        for query in ["workers?sort=zone", "workers?id=nobody", "workers?id=nobody&sort=cpu_usage", "vms?id=nothing", "vms?id=nothing&sort=name"] {
            cluster.rest().get(&format!("/api/v1/{query}&limit=1&cursor={cursor}")).await.assert_failure(400, refused);
        }
    }
}
