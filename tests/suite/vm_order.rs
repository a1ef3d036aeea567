//! VMs in every order that can be asked for, in both protocols, page by page, and while they come, move and go.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::*;

/// The keys as REST and GraphQL write them, and the field that an element shows of each.
const KEYS: [(&str, &str, &str); 10] = [
    ("id", "ID", "id"),
    ("name", "NAME", "name"),
    ("status", "STATUS", "status"),
    ("worker_id", "WORKER_ID", "workerId"),
    ("zone", "ZONE", "zone"),
    ("vcpus", "VCPUS", "vcpus"),
    ("memory_mb", "MEMORY", "memoryMb"),
    ("created_at", "CREATED_AT", "createdAt"),
    ("started_at", "STARTED_AT", "startedAt"),
    ("status_since", "STATUS_SINCE", "statusSince"),
];

const STATUSES: [&str; 6] = ["CREATED", "STARTING", "RUNNING", "STOPPING", "STOPPED", "FAILED"];

/// Every status, as REST asks for it.
const ALL: &str = "status=created&status=starting&status=running&status=stopping&status=stopped&status=failed";

const ALL_IN_GRAPHQL: &str = "filter: {statuses: [CREATED, STARTING, RUNNING, STOPPING, STOPPED, FAILED]}";

/// A fleet of which much is alike, with VMs that two workers report, whose times are of four moments.
async fn furnish(cluster: &TestCluster) {
    for n in 0..8 {
        let registration = worker(&format!("w{n}")).zone(["b", "", "a"][n % 3]).registration();
        assert_eq!(cluster.rest().put(&format!("/api/v1/workers/w{n}")).json(registration).await.status, 201);
    }
    for round in 0..4 {
        cluster.advance(seconds(2));
        for n in 0..8_usize {
            let mut vms: Vec<_> = (0..=round.min(n))
                .map(|m| {
                    let status = STATUSES[(n + m * round) % 6].to_lowercase();
                    json!({
                        "id": format!("vm-{n}-{m}"), "name": format!("name-{}", (n * m) % 5), "status": status,
                        "vcpus": n % 3, "memory_mb": 512 * (m % 3),
                    })
                })
                .collect();
            vms.push(
                json!({"id": format!("shared-{}", n / 2), "status": if n % 4 == 0 { "stopped" } else { "running" }}),
            );
            assert_eq!(cluster.beat(&format!("w{n}"), json!({"incarnation": 1, "vms": vms})).await.status, 200);
        }
    }
}

/// All that is shown of the VMs of a connection, in the order asked for.
async fn listed(cluster: &TestCluster, connection: &str, arguments: &str) -> Vec<Value> {
    let fields = "id name status workerId zone vcpus memoryMb createdAt startedAt statusSince";
    let query =
        connection.replace("VMS", &format!("vmsConnection(first: 500, {arguments}) {{ nodes {{ {fields} }} }}"));
    let mut page = cluster.graphql(&query).await;
    let page = if page["worker"].is_object() { page["worker"].take() } else { page };
    page["vmsConnection"]["nodes"].as_array().unwrap().clone()
}

/// Compares two VMs by a field that is shown.
fn compare(field: &str, one: &Value, other: &Value) -> Ordering {
    let rank = |vm: &Value| STATUSES.iter().position(|status| vm["status"] == *status).unwrap();
    let text = |vm: &Value| vm[field].as_str().unwrap_or_default().to_owned();
    match field {
        "status" => rank(one).cmp(&rank(other)),
        "vcpus" | "memoryMb" => one[field].as_u64().cmp(&other[field].as_u64()),
        // Times of one moment of a second are texts of one length; those that are missing come first.
        _ => text(one).cmp(&text(other)),
    }
}

fn ids(rows: &Value) -> Vec<String> {
    pick(rows, ["id"]).into_iter().map(|[id]| id.as_str().unwrap().to_owned()).collect()
}

/// The ids of all pages by links.
async fn walk_rest(cluster: &TestCluster, query: &str, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut path = format!("/api/v1/vms?{query}&limit={limit}");
    loop {
        let answer = cluster.rest().get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        found.extend(ids(&answer.json()["vms"]));
        let Some(link) = answer.header("link") else { return found };
        path = format!("/api/v1/vms{}", &link[1..link.find('>').unwrap()]);
    }
}

/// The ids of all pages of a connection by cursors, from either end.
async fn walk_graphql(cluster: &TestCluster, arguments: &str, size: &str, limit: usize) -> Vec<String> {
    let (from, more, next) = match size {
        "first" => ("after", "hasNextPage", "endCursor"),
        _ => ("before", "hasPreviousPage", "startCursor"),
    };
    let query = format!(
        "query($from: String) {{ vmsConnection({size}: {limit}, {from}: $from, {arguments}) \
         {{ nodes {{ id }} pageInfo {{ {more} {next} }} }} }}"
    );
    let (mut pages, mut place) = (Vec::new(), Value::Null);
    loop {
        let mut answer = cluster.graphql_answer(&query, json!({"from": place})).await;
        let mut page = answer["data"]["vmsConnection"].take();
        assert!(page.is_object(), "{query}: {answer}");
        pages.push(ids(&page["nodes"]));
        if page["pageInfo"][more] == false {
            if size == "last" {
                pages.reverse();
            }
            return pages.concat();
        }
        place = page["pageInfo"][next].take();
    }
}

on_both_databases! {
    async fn vms_come_in_the_same_orders_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        for (filter, rest) in [
            (ALL_IN_GRAPHQL, ALL),
            ("filter: {}", ""),
            (r#"filter: {zones: ["a"]}"#, "zone=a"),
            (r#"filter: {workerIds: ["w1", "w6", "w7"], search: "1"}"#, "worker_id=w1&worker_id=w6&worker_id=w7&search=1"),
        ] {
            for (key, name, field) in KEYS {
                for (sign, direction) in [("", "ASC"), ("-", "DESC")] {
                    let arguments = format!("{filter}, orderBy: {{field: {name}, direction: {direction}}}");
                    let found = listed(&cluster, "{ VMS }", &arguments).await;
                    assert!(found.len() > 1, "{arguments}: {found:?}");
                    let mut expected = listed(&cluster, "{ VMS }", filter).await;
                    expected.sort_by(|one, other| {
                        let by_key = compare(field, one, other);
                        let by_key = if direction == "DESC" { by_key.reverse() } else { by_key };
                        by_key.then_with(|| if field == "id" { Ordering::Equal } else { compare("id", one, other) })
                    });
                    assert_eq!(found, expected, "{arguments}");

                    let expected = ids(&found.into());
                    let sort = format!("{rest}&sort={sign}{key}");
                    let sort = sort.trim_start_matches('&');
                    let whole = cluster.rest().get(&format!("/api/v1/vms?{sort}")).await.json();
                    assert_eq!(ids(&whole["vms"]), expected, "{sort}");
                    assert_eq!(whole["total"], expected.len(), "{sort}");
                    assert_eq!(walk_rest(&cluster, sort, 4).await, expected, "{sort}");
                    for size in ["first", "last"] {
                        assert_eq!(walk_graphql(&cluster, &arguments, size, 4).await, expected, "{size} {arguments}");
                    }
                }
            }
        }
    }

    async fn the_vms_of_a_worker_come_in_every_order_too(cluster: TestCluster) {
        furnish(&cluster).await;
        for (key, name, field) in KEYS {
            for (sign, direction) in [("", "ASC"), ("-", "DESC")] {
                let arguments = format!("{ALL_IN_GRAPHQL}, orderBy: {{field: {name}, direction: {direction}}}");
                let found = listed(&cluster, r#"{ worker(id: "w5") { VMS } }"#, &arguments).await;
                assert_eq!(found.len(), 5);
                assert!(found.is_sorted_by(|one, other| {
                    let by_key = compare(field, one, other);
                    (if direction == "DESC" { by_key.reverse() } else { by_key }).is_le()
                }), "{arguments}: {found:?}");
                let rest = cluster.rest().get(&format!("/api/v1/workers/w5/vms?{ALL}&sort={sign}{key}")).await.json();
                assert_eq!(ids(&rest["vms"]), ids(&found.into()), "{sign}{key}");
            }
        }
    }

    async fn a_cursor_of_another_order_is_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let refusal = "is a cursor of another order: pass back one that came with the present";
        for (one, other) in [("name", "zone"), ("worker_id", "name"), ("vcpus", "memory_mb"), ("created_at", "status_since"), ("id", "name"), ("status", "id")] {
            let page = cluster.rest().get(&format!("/api/v1/vms?sort={one}&limit=1")).await.json();
            let cursor = page["next_cursor"].as_str().unwrap();
            let answer = cluster.rest().get(&format!("/api/v1/vms?sort={other}&limit=1&cursor={cursor}")).await;
            assert_eq!((answer.status, answer.json()["message"].as_str().unwrap()), (400, &*format!("cursor {refusal} `sort`")), "{one} {other}");
            let page = format!("{{ vmsConnection(after: \"{cursor}\", orderBy: {{field: {}}}) {{ totalCount }} }}", KEYS.iter().find(|(key, ..)| *key == other).unwrap().1);
            let answer = cluster.graphql_answer(&page, json!({})).await;
            assert_eq!(answer["errors"][0]["message"], format!("after {refusal} `orderBy`"), "{one} {other}");
        }
        // Nor is one of a list of workers in an order of the same name.
        let workers = cluster.rest().get("/api/v1/workers?sort=zone&limit=1").await.json();
        let cursor = workers["next_cursor"].as_str().unwrap();
        assert_eq!(cluster.rest().get(&format!("/api/v1/vms?sort=zone&cursor={cursor}")).await.status, 400);
        let answer = cluster.rest().get("/api/v1/vms?sort=hostname").await;
        let keys = "id, name, status, worker_id, zone, vcpus, memory_mb, created_at, started_at, status_since";
        let expected = format!("sort must be one of {keys}, with a - before it for the largest first, not \"hostname\"");
        assert_eq!((answer.status, answer.json()["message"].as_str().unwrap()), (400, &*expected));
    }

    async fn a_cursor_of_one_protocol_goes_on_in_the_other(cluster: TestCluster) {
        furnish(&cluster).await;
        for (key, name, _) in KEYS {
            let all = walk_rest(&cluster, &format!("sort=-{key}"), 500).await;
            let first = cluster.rest().get(&format!("/api/v1/vms?sort=-{key}&limit=3")).await.json();
            let page = format!(
                "{{ vmsConnection(first: 3, after: {}, orderBy: {{field: {name}, direction: DESC}}) {{ nodes {{ id }} pageInfo {{ endCursor }} }} }}",
                first["next_cursor"]
            );
            let second = cluster.graphql(&page).await["vmsConnection"].take();
            let cursor = second["pageInfo"]["endCursor"].as_str().unwrap();
            let third = cluster.rest().get(&format!("/api/v1/vms?sort=-{key}&limit=500&cursor={cursor}")).await.json();
            let walked = [ids(&first["vms"]), ids(&second["nodes"]), ids(&third["vms"])].concat();
            assert_eq!(walked, all, "{key}");
        }
    }

    // The rest of the worker is of one state, so that this page is of no later one.
    async fn a_page_of_a_worker_does_not_wait_for_a_revision_that_is_to_come(cluster: TestCluster) {
        furnish(&cluster).await;
        let page = |after: &str| format!(
            "{{ worker(id: \"w5\") {{ vmsConnection(first: 1, after: {after}, orderBy: {{field: NAME}}) {{ pageInfo {{ endCursor }} }} }} }}"
        );
        let first = cluster.graphql(&page("null")).await;
        let cursor = first["worker"]["vmsConnection"]["pageInfo"]["endCursor"].as_str().unwrap();
        assert!(cluster.graphql(&page(&json!(cursor).to_string())).await["worker"].is_object());
        let mut place: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).unwrap()).unwrap();
        let (epoch, revision) = place["since"].as_str().unwrap().rsplit_once('-').unwrap();
        place["since"] = json!(format!("{epoch}-{}", revision.parse::<u64>().unwrap() + 1));
        let later = URL_SAFE_NO_PAD.encode(place.to_string());
        let answer = cluster.graphql_answer(&page(&json!(later).to_string()), json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer}");
        // What it waits for has come.
        cluster.add([worker("w9")]).await;
        assert!(cluster.graphql(&page(&json!(later).to_string())).await["worker"].is_object());
    }

    async fn vms_that_are_there_throughout_a_walk_are_met(cluster: TestCluster) {
        let mut fleet = Fleet { seed: 0x2545_F491_4F6C_DD1D, at: BTreeMap::new() };
        fleet.begin(&cluster).await;
        for (key, name, _) in KEYS {
            for (sign, direction) in [("", "ASC"), ("-", "DESC")] {
                let walk = format!("sort={sign}{key}");
                let mut met = Vec::new();
                let mut path = format!("/api/v1/vms?{walk}&limit=5");
                loop {
                    let answer = cluster.rest().get(&path).await;
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                    met.push(ids(&answer.json()["vms"]));
                    let Some(link) = answer.header("link") else { break };
                    path = format!("/api/v1/vms{}", &link[1..link.find('>').unwrap()]);
                    fleet.go_on(&cluster).await;
                }
                fleet.assert_met(&met, &walk);

                let query = format!(
                    "query($from: String) {{ vmsConnection(last: 5, before: $from, orderBy: {{field: {name}, direction: {direction}}}) \
                     {{ nodes {{ id }} pageInfo {{ hasPreviousPage startCursor }} }} }}"
                );
                let (mut met, mut place) = (Vec::new(), Value::Null);
                loop {
                    let mut answer = cluster.graphql_answer(&query, json!({"from": place})).await;
                    let mut page = answer["data"]["vmsConnection"].take();
                    assert!(page.is_object(), "{answer}");
                    met.push(ids(&page["nodes"]));
                    if page["pageInfo"]["hasPreviousPage"] == false {
                        break;
                    }
                    place = page["pageInfo"]["startCursor"].take();
                    fleet.go_on(&cluster).await;
                }
                fleet.assert_met(&met, &format!("backwards by {key} {direction}"));
            }
        }
    }
}

/// Page by page at servers that take turns, each of which hears of changes.
#[tokio::test]
async fn a_walk_over_several_servers_meets_every_vm() {
    TestDatabase::postgres()
        .await
        .run(async |a: TestCluster| {
            let mut fleet = Fleet { seed: 0x9E37_79B9_7F4A_7C15, at: BTreeMap::new() };
            fleet.begin(&a).await;
            let b = a.another_server().await;
            for sort in ["-status_since", "zone"] {
                let mut met = Vec::new();
                let mut path = format!("/api/v1/vms?sort={sort}&limit=5");
                for round in 0.. {
                    let here = if round % 2 == 0 { &a } else { &b };
                    fleet.go_on(here).await;
                    let answer = here.rest().get(&path).await;
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                    met.push(ids(&answer.json()["vms"]));
                    let Some(link) = answer.header("link") else { break };
                    path = format!("/api/v1/vms{}", &link[1..link.find('>').unwrap()]);
                }
                fleet.assert_met(&met, sort);
            }
        })
        .await;
}

const VMS: u64 = 24;

const WORKERS: u64 = 6;

/// VMs that hold a slot throughout, on one worker or another, sometimes on two; others come and go. The same for the
/// same seed.
struct Fleet {
    seed: u64,
    /// The workers of each VM, with its status there.
    at: BTreeMap<String, BTreeMap<u64, &'static str>>,
}

impl Fleet {
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    async fn register(&mut self, cluster: &TestCluster, worker_number: u64) {
        let zone = format!("zone{}", self.random(3));
        let body = worker(&format!("w{worker_number}")).zone(&zone).registers("boot_id", "same").registration();
        let path = format!("/api/v1/workers/w{worker_number}");
        assert!(cluster.rest().put(&path).json(body).await.status < 300);
    }

    async fn begin(&mut self, cluster: &TestCluster) {
        for n in 0..WORKERS {
            self.register(cluster, n).await;
        }
        for n in 0..VMS {
            let at = self.random(WORKERS);
            self.at.insert(format!("vm{n:02}"), BTreeMap::from([(at, "running")]));
        }
        self.report(cluster).await;
    }

    /// Some VMs change their status or move to another worker by way of both, one comes or goes, and a worker is in
    /// another zone.
    async fn go_on(&mut self, cluster: &TestCluster) {
        cluster.advance(std::time::Duration::from_millis(1_500));
        for _ in 0..5 {
            let (id, to) = (format!("vm{:02}", self.random(VMS)), self.random(WORKERS));
            let status = ["created", "starting", "running", "stopping"][usize::try_from(self.random(4)).unwrap()];
            let at = self.at.get_mut(&id).unwrap();
            if at.len() > 1 {
                at.pop_first();
            } else {
                at.insert(to, status);
            }
        }
        let guest = format!("guest{}", self.random(3));
        if self.at.remove(&guest).is_none() {
            let at = self.random(WORKERS);
            self.at.insert(guest, BTreeMap::from([(at, "running")]));
        }
        let moved = self.random(WORKERS);
        self.register(cluster, moved).await;
        self.report(cluster).await;
    }

    /// All workers report what they hold.
    async fn report(&self, cluster: &TestCluster) {
        let beats: Vec<_> = (0..WORKERS)
            .map(|n| {
                let vms = self.at.iter().filter_map(|(id, at)| Some((id, at.get(&n)?)));
                let vms: Vec<_> = vms
                    .map(|(id, status)| json!({"id": id, "status": status, "vcpus": n, "memory_mb": 100 * n, "name": format!("{status}{n}")}))
                    .collect();
                json!({"worker_id": format!("w{n}"), "incarnation": 1, "vms": vms})
            })
            .collect();
        let answer = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    fn assert_met(&self, pages: &[Vec<String>], walk: &str) {
        for n in 0..VMS {
            let id = format!("vm{n:02}");
            assert!(pages.iter().flatten().any(|met| *met == id), "{walk}: {id} is on no page of {pages:?}");
        }
        let most = 3 * usize::try_from(VMS).unwrap();
        assert!(pages.iter().flatten().count() <= most, "{walk}: {} pages", pages.len());
    }
}
