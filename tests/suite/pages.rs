//! Pages that are found by an index are those that a look at everything would find, in both protocols.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::harness::*;

/// A fleet of which much is alike: hostnames, zones and labels that several workers share, in all statuses, with VMs that
/// hold slots and others, and some that two workers report.
async fn furnish(cluster: &TestCluster) {
    for n in 0..30 {
        let id = format!("w{n:02}");
        let labels = match n % 4 {
            0 => json!({"env": "production", "rack": format!("r{n}")}),
            1 => json!({"env": "test"}),
            2 => json!({"en": "vproduction"}),
            _ => json!({}),
        };
        let registration = worker(&id)
            .zone(["b", "", "a"][n % 3])
            .registers("hostname", format!("host{}", n % 7))
            .registers("labels", labels)
            .registration();
        assert_eq!(cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await.status, 201);
        let vm = |name: String, status: &str| json!({"id": name, "status": status});
        let mut vms = vec![vm(format!("vm-{n:02}-a"), "running"), vm(format!("vm-{n:02}-b"), "stopped")];
        // Neighbours are in different zones.
        vms.push(vm(format!("shared-{}", n / 2), if n % 5 == 0 { "stopped" } else { "running" }));
        assert_eq!(cluster.beat(&id, json!({"incarnation": 1, "vms": vms})).await.status, 200);
    }
    for n in [3, 4, 5, 11, 29] {
        assert_eq!(cluster.rest().post(&format!("/api/v1/workers/w{n:02}/drain")).await.status, 200);
    }
    for n in [5, 6, 17] {
        assert_eq!(cluster.rest().delete(&format!("/api/v1/workers/w{n:02}")).await.status, 204);
    }
}

/// Pages of a list until its end, by links.
async fn walk_rest(cluster: &TestCluster, list: &str, query: &str) -> (Vec<Value>, Value) {
    let mut ids = Vec::new();
    let mut path = format!("/api/v1/{list}?{query}&limit=4");
    loop {
        let answer = cluster.rest().get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let page = answer.json();
        ids.extend(pick(&page[list], ["id"]).into_iter().map(|[id]| id));
        let Some(link) = answer.header("link") else { return (ids, page["total"].clone()) };
        path = format!("/api/v1/{list}{}", &link[1..link.find('>').unwrap()]);
    }
}

/// Pages of a connection until its other end, by cursors.
async fn walk_graphql(cluster: &TestCluster, field: &str, arguments: &str, from_the_end: bool) -> (Vec<Value>, Value) {
    let (size, place, more, next) = if from_the_end {
        ("last", "before", "hasPreviousPage", "startCursor")
    } else {
        ("first", "after", "hasNextPage", "endCursor")
    };
    let query = format!(
        "query($place: String) {{ {field}({size}: 4, {place}: $place, {arguments}) \
         {{ totalCount nodes {{ id }} pageInfo {{ {more} {next} }} }} }}"
    );
    let (mut pages, mut at) = (Vec::new(), Value::Null);
    loop {
        let answer = cluster.graphql_answer(&query, json!({"place": at})).await;
        let page = &answer["data"][field];
        assert!(page.is_object(), "{query}: {answer}");
        pages.push(pick(&page["nodes"], ["id"]).into_iter().map(|[id]| id).collect::<Vec<_>>());
        if page["pageInfo"][more] == false {
            if from_the_end {
                pages.reverse();
            }
            return (pages.concat(), page["totalCount"].clone());
        }
        at = page["pageInfo"][next].clone();
    }
}

/// Filters of workers: as REST writes them, as GraphQL does, and whom they find.
type Wanted = (&'static str, &'static str, fn(&Value) -> bool);

const WORKERS: [Wanted; 10] = [
    ("", "", |_| true),
    ("zone=a", "zones: [\"a\"]", |worker| worker["zone"] == "a"),
    ("zone=nowhere", "zones: [\"nowhere\"]", |_| false),
    ("has_zone=false", "zones: [\"\"]", |worker| worker["zone"] == ""),
    ("status=active", "statuses: [ACTIVE]", |worker| worker["status"] == "active"),
    ("status=draining", "statuses: [DRAINING]", |worker| worker["status"] == "draining"),
    ("status=offline", "statuses: [OFFLINE]", |worker| worker["status"] == "offline"),
    ("is_healthy=false", "isHealthy: false", |worker| worker["is_healthy"] == false),
    ("label=env%3Dproduction", "labels: [{key: \"env\", value: \"production\"}]", |worker| {
        worker["labels"]["env"] == "production"
    }),
    (
        "label=env%3Dtest&zone=a&status=draining",
        "labels: [{key: \"env\", value: \"test\"}], zones: [\"a\"], statuses: [DRAINING]",
        |worker| worker["labels"]["env"] == "test" && worker["zone"] == "a" && worker["status"] == "draining",
    ),
];

async fn assert_workers_are_found(cluster: &TestCluster) {
    let all = cluster.rest().get("/api/v1/workers").await.json();
    let all = all["workers"].as_array().unwrap();
    for (rest, graphql, is_wanted) in WORKERS {
        for key in ["id", "hostname", "zone"] {
            for descending in [false, true] {
                let mut expected: Vec<&Value> = all.iter().filter(|worker| is_wanted(worker)).collect();
                // Equal ones by id, in either direction.
                expected.sort_by(|one, other| {
                    let text = |worker: &Value| worker[key].as_str().unwrap().to_owned();
                    let by_key = text(one).cmp(&text(other));
                    let by_key = if descending { by_key.reverse() } else { by_key };
                    by_key.then_with(|| {
                        if key == "id" { Ordering::Equal } else { one["id"].as_str().cmp(&other["id"].as_str()) }
                    })
                });
                let expected: Vec<_> = expected.into_iter().map(|worker| worker["id"].clone()).collect();
                let expected = (expected.clone(), json!(expected.len()));
                let query = format!("{rest}&sort={}{key}", if descending { "-" } else { "" });
                assert_eq!(walk_rest(cluster, "workers", query.trim_start_matches('&')).await, expected, "{query}");
                let direction = if descending { "DESC" } else { "ASC" };
                let arguments = format!(
                    "filter: {{{graphql}}}, orderBy: {{field: {}, direction: {direction}}}",
                    key.to_uppercase()
                );
                for from_the_end in [false, true] {
                    let walked = walk_graphql(cluster, "workersConnection", &arguments, from_the_end).await;
                    assert_eq!(walked, expected, "{arguments}, from the end: {from_the_end}");
                }
            }
        }
    }
}

async fn assert_vms_are_found(cluster: &TestCluster) {
    let mut all = Vec::new();
    for status in ["running", "stopped", "created"] {
        let listed = cluster.rest().get(&format!("/api/v1/vms?status={status}")).await.json();
        all.extend(listed["vms"].as_array().unwrap().iter().cloned());
    }
    all.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    let workers = cluster.rest().get("/api/v1/workers").await.json();
    let zone_of = |vm: &Value| {
        let mut workers = workers["workers"].as_array().unwrap().iter();
        workers.find(|worker| worker["id"] == vm["worker_id"]).unwrap()["zone"].clone()
    };
    for zone in ["a", "b", "nowhere", ""] {
        for statuses in ["", "running", "stopped"] {
            let is_wanted = |vm: &&Value| {
                zone_of(vm) == zone && vm["status"] == if statuses.is_empty() { "running" } else { statuses }
            };
            let expected: Vec<_> = all.iter().filter(is_wanted).map(|vm| vm["id"].clone()).collect();
            let expected = (expected.clone(), json!(expected.len()));
            let (mut rest, mut graphql) = (format!("zone={zone}"), format!("zones: [\"{zone}\"]"));
            if zone.is_empty() {
                "has_zone=false".clone_into(&mut rest);
            }
            if !statuses.is_empty() {
                rest += &format!("&status={statuses}");
                graphql += &format!(", statuses: [{}]", statuses.to_uppercase());
            }
            assert_eq!(walk_rest(cluster, "vms", &rest).await, expected, "{rest}");
            for from_the_end in [false, true] {
                let arguments = format!("filter: {{{graphql}}}");
                let walked = walk_graphql(cluster, "vmsConnection", &arguments, from_the_end).await;
                assert_eq!(walked, expected, "{graphql}, from the end: {from_the_end}");
            }
        }
    }
}

on_both_databases! {
    async fn pages_by_an_index_are_those_of_a_look_at_everything(cluster: TestCluster) {
        furnish(&cluster).await;
        assert_workers_are_found(&cluster).await;
        assert_vms_are_found(&cluster).await;

        // Some move to another zone with their VMs, some have other VMs, some beat again, and some are gone.
        for n in [1, 2, 8, 14] {
            let moved = worker("w").zone("a").registers("hostname", "host0").registration();
            assert_eq!(cluster.rest().put(&format!("/api/v1/workers/w{n:02}")).json(moved).await.status, 200);
        }
        cluster.beat("w12", json!({"incarnation": 1, "vms": [{"id": "shared-7"}, {"id": "shared-3"}]})).await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/w20?purge=true&force=true").await.status, 204);
        assert_workers_are_found(&cluster).await;
        assert_vms_are_found(&cluster).await;

        // Silent, and not announced yet: they are offline for whoever asks.
        cluster.advance(minutes(2));
        cluster.beat("w09", json!({"incarnation": 1})).await;
        assert_workers_are_found(&cluster).await;
        cluster.sweep().await;
        assert_workers_are_found(&cluster).await;

        // What a start reads is the same.
        let before = cluster.everything().await;
        let cluster = cluster.restart().await;
        assert_eq!(cluster.everything().await, before);
        assert_workers_are_found(&cluster).await;
        assert_vms_are_found(&cluster).await;
    }
}
