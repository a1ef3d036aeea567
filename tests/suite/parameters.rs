//! A filter that is misspelt, repeated, empty or unknown never means everything: what a route does not take is refused,
//! and what it takes finds what it says.
//!
//! Which parameters there are is read from the OpenAPI document, so that a new one is looked at as well.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::harness::*;

/// An operation with the parameters of its query string.
struct Operation {
    method: String,
    path: String,
    parameters: BTreeSet<String>,
}

/// Every operation of the document.
fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(aetherium::rest::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter(|parameter| parameter["in"] == "query");
            operations.push(Operation {
                method: method.to_uppercase(),
                path: format!(
                    "/api/v1{}",
                    path.replace("vms/{id}", "vms/vm-1").replace("{id}", "w1").replace("{zone}", "a")
                ),
                parameters: parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
            });
        }
    }
    operations
}

/// Names that are nearly this one.
fn misspelt(name: &str) -> Vec<String> {
    let mut letters: Vec<_> = name.chars().collect();
    letters.swap(0, 1);
    let mut names = vec![
        format!("{name}s"),
        name.to_uppercase(),
        name[1..].to_owned(),
        letters.into_iter().collect(),
        format!("{name}%20"),
        format!("{name}[0]"),
        format!("{name}[]s"),
        name.replace('_', "-"),
        name.replace('_', ""),
    ];
    names.retain(|other| other != name);
    names
}

/// A worker that may register again and is still the same.
fn known(id: &str) -> TestWorker {
    worker(id).zone("a").registers("boot_id", "one").vms([vm("vm-1")])
}

/// A request that is carried out if nothing is wrong with its query string.
async fn ask(cluster: &TestCluster, operation: &Operation, query: &str) -> Answer {
    let ask = cluster.rest().ask(&operation.method, &format!("{}?{query}", operation.path));
    match (&*operation.method, &*operation.path) {
        ("PUT", _) => ask.json(known("w1").registration()).await,
        ("POST", "/api/v1/workers/w1/heartbeat") => ask.json(json!({"incarnation": 1})).await,
        ("POST", "/api/v1/reservations") => ask.json(json!({"vcpus": 1, "memory_mb": 1})).await,
        ("POST", "/api/v1/heartbeats") => ask.json(json!({"heartbeats": []})).await,
        ("POST", "/api/v1/drains" | "/api/v1/activations") => ask.json(json!({"filter": {"ids": ["w9"]}})).await,
        ("POST", "/api/v1/purges") => ask.json(json!({"offline_for": "1h", "dry_run": true})).await,
        _ => ask.await,
    }
}

on_both_databases! {
    // semantics 20
    async fn what_a_route_does_not_take_is_refused_and_changes_nothing(cluster: TestCluster) {
        cluster.add([known("w1"), worker("w2")]).await;
        let before = cluster.everything().await;
        let operations = operations();
        let all: BTreeSet<_> = operations.iter().flat_map(|operation| operation.parameters.clone()).collect();
        assert!(operations.len() >= 16 && all.len() >= 18, "the document has lost something: {all:?}");
        let mut asked = 0;
        for operation in &operations {
            let mut names: BTreeSet<_> = all.iter().flat_map(|name| misspelt(name)).chain(all.clone()).collect();
            names.extend(["zones", "foo", "reason", "resaon", "kind", "Zone", "query", "a%3Db", "%C3%A4"].map(str::to_owned));
            for name in names.iter().filter(|name| !operation.parameters.contains(*name)) {
                let Operation { method, path, parameters } = operation;
                let answer = ask(&cluster, operation, &format!("{name}=x")).await;
                assert_eq!(answer.status, 400, "{method} {path}?{name}=x: {}", answer.body);
                answer.assert_house_shape();
                let message = answer.json()["message"].as_str().unwrap().to_owned();
                assert!(message.starts_with("Unknown query parameter `"), "{message}");
                let names_one = parameters.iter().any(|known| message.contains(&format!("did you mean `{known}`?")));
                assert_eq!(names_one, !parameters.is_empty(), "{method} {path}?{name}=x: {message}");
                asked += 1;
            }
            // The nearest is the one it was made of.
            for known in &operation.parameters {
                let answer = ask(&cluster, operation, &format!("{known}s=x")).await;
                assert!(answer.body.contains(&format!("did you mean `{known}`?")), "{known}: {}", answer.body);
            }
        }
        assert!(asked > 1_000, "{asked}");
        assert_eq!(cluster.everything().await, before);
    }

    async fn what_is_documented_is_taken_and_what_libraries_add_is_passed_over(cluster: TestCluster) {
        cluster.add([known("w1"), worker("w2")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let is_asked = |operation: &&Operation| {
            // From the first token on, the server asks for one.
            let needs_tokens = ["/api/v1/tokens", "/api/v1/session"].contains(&&*operation.path) || operation.path.ends_with("/join");
            // There is none of this id.
            let is_about_a_reservation = operation.path.starts_with("/api/v1/reservations/");
            operation.method != "DELETE" && !is_about_a_reservation && !(operation.method == "POST" && needs_tokens)
        };
        for operation in operations().iter().filter(is_asked) {
            for name in &operation.parameters {
                // Whatever is wrong with the value, it is the value.
                let answer = ask(&cluster, operation, &format!("{name}=%20")).await;
                assert!(!answer.body.contains("Unknown query parameter"), "{name}: {}", answer.body);
            }
            for name in ["_", "_=1764341000", "_zones=%zz&_t=", "_foo[]=1"] {
                // What is needed comes with it.
                let is_about_a_size = ["/api/v1/placement", "/api/v1/capacity"].contains(&&*operation.path);
                let name = if is_about_a_size { format!("vcpus=1&memory_mb=1&{name}") } else { name.to_owned() };
                let answer = ask(&cluster, operation, &name).await;
                assert!(answer.status < 300, "{} {}?{name}: {}", operation.method, operation.path, answer.body);
            }
        }
        let zones = cluster.rest().get("/api/v1/workers?zone[]=a&zone%5B%5D=b&_=1").await;
        assert_eq!(pick(&zones.json()["workers"], ["id"]).concat(), ["w1"]);
        let head = cluster.rest().head("/api/v1/workers?zones=a").await;
        assert_eq!(head.status, 400, "HEAD takes what GET takes");
    }

    async fn numbers_and_flags_that_say_nothing_are_refused(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a")]).await;
        for path in [
            "workers?limit=", "workers?limit", "workers?is_healthy=", "workers?has_zone=", "workers?min_revision=",
            "workers?after_revision=&wait=1s", "vms?limit=", "vms?has_zone", "events?limit=", "vms?min_revision=",
            "workers/w1?min_revision=", "cluster/stats?min_revision=",
        ] {
            let answer = cluster.rest().get(&format!("/api/v1/{path}")).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            assert!(answer.body.contains("a value is missing"), "{path}: {}", answer.body);
        }
        for path in [
            "workers?limit=1&limit=2", "workers?limit[]=1&limit=1", "workers?search=a&search=b", "workers?sort=id&sort=id",
            "workers?is_healthy=true&is_healthy=false", "workers?has_zone=true&has_zone=true", "workers?cursor=a&cursor=a",
            "workers?wait=1s&wait=1s", "vms?search=a&search=", "events?limit=1&limit=1", "events?after=a&after=b",
            "workers/w1?min_revision=1&min_revision=1",
            // Nor is what cannot be read taken for something else.
            "workers?zone=%ff", "workers?zone=%zz", "vms?search=100%", "workers?zone=%C3", "workers?%ff=a",
            "workers?label=zone==a", "workers?label=zone!=a", "workers?label=!zone",
            "workers?id=", "workers?status=", "workers?capability=", "workers?label=", "workers?sort=", "workers?wait=",
            "workers?cursor=", "vms?status=", "vms?worker_id=", "workers/w1/vms?status=",
        ] {
            let answer = cluster.rest().get(&format!("/api/v1/{path}")).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            answer.assert_house_shape();
        }
        let before = cluster.everything().await;
        for path in ["purge=", "purge", "purge=true&force=", "purge[]=true&purge=true", "prge=true", "Purge=true"] {
            let answer = cluster.rest().delete(&format!("/api/v1/workers/w1?{path}")).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        }
        assert_eq!(cluster.everything().await, before);
    }

    // semantics 20
    async fn commands_know_all_their_keys_and_workers_are_of_different_ages(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let before = cluster.everything().await;
        for command in ["drain", "activate"] {
            for (body, said) in [
                (r#"{"reasn": "disks"}"#, "unknown key `reasn`: did you mean `reason`?"),
                (r#"{"Reason": "disks"}"#, "unknown key `Reason`: did you mean `reason`?"),
                (r#"{"reason": "disks", "ifRevision": 1}"#, "unknown key `ifRevision`: did you mean `reason`?"),
                (r#"{"a`, expected `b": 1}"#, "unknown key `a`, expected `b`: did you mean `"),
                (r#"{"": 1}"#, "unknown key ``: did you mean `"),
                (r#"{"reason": "a", "reason": "b"}"#, "duplicate field `reason`"),
            ] {
                let answer = cluster.rest().post(&format!("/api/v1/workers/w1/{command}")).body(body).await;
                assert_eq!(answer.status, 400, "{body}: {}", answer.body);
                assert!(answer.body.contains(said), "{body}: {}", answer.body);
                answer.assert_house_shape();
            }
        }
        assert_eq!(cluster.everything().await, before);
        let registration = with(json!({"more": 1, "zones": 1}), json!({}));
        let mut body = worker("w3").registration();
        body.as_object_mut().unwrap().extend(registration.as_object().unwrap().clone());
        assert_eq!(cluster.rest().put("/api/v1/workers/w3").json(body).await.status, 201);
        let beat = json!({"incarnation": 1, "vms": [{"id": "vm-1", "more": {}}], "usedCpu": 4, "temperature": 21.5});
        assert_eq!(cluster.beat("w3", beat.clone()).await.status, 200);
        let beats = json!({"heartbeats": [with(json!({"worker_id": "w3", "incarnation": 1, "x": 0}), json!({"x": 1}))], "y": 1});
        let answer = cluster.rest().post("/api/v1/heartbeats").json(beats).await;
        assert_eq!(answer.json()["results"][0]["status"], 200, "{}", answer.body);
    }

    async fn workers_without_a_zone_are_asked_for_in_both_protocols(cluster: TestCluster) {
        let workers = [
            worker("w1").zone("a").vms([vm("vm-1")]),
            worker("w2").vms([vm("vm-2")]),
            worker("w3").zone("b"),
            worker("w4"),
        ];
        cluster.add(workers).await;
        for (query, filter, workers, vms) in [
            ("has_zone=false", "{hasZone: false}", "w2 w4", "vm-2"),
            ("has_zone=true", "{hasZone: true}", "w1 w3", "vm-1"),
            ("has_zone=false&zone=a", "{hasZone: false, zones: [\"a\"]}", "", ""),
            ("has_zone=true&zone=a", "{hasZone: true, zones: [\"a\"]}", "w1", "vm-1"),
            ("zone=", "{zones: null}", "w1 w2 w3 w4", "vm-1 vm-2"),
            ("zone=&zone=b", "{zones: [\"b\"]}", "w3", ""),
        ] {
            for (list, ids) in [("workers", workers), ("vms", vms)] {
                let ids: Vec<_> = ids.split_whitespace().collect();
                let answer = cluster.rest().get(&format!("/api/v1/{list}?{query}")).await.json();
                assert_eq!(pick(&answer[list], ["id"]).concat(), ids, "{list}?{query}");
                let connection = format!("{list}Connection");
                let twin = cluster.graphql(&format!("{{ {connection}(filter: {filter}) {{ nodes {{ id }} }} }}")).await;
                assert_eq!(pick(&twin[&connection]["nodes"], ["id"]).concat(), ids, "{list} {filter}");
            }
        }
        for (zone, ids) in [("null", "w1 w2 w3 w4"), ("\"\"", "w2 w4"), ("\"a\"", "w1"), ("\"nowhere\"", "")] {
            let answer = cluster.graphql(&format!("{{ workers(zone: {zone}) {{ id }} }}")).await;
            let ids: Vec<_> = ids.split_whitespace().collect();
            assert_eq!(pick(&answer["workers"], ["id"]).concat(), ids, "{zone}");
        }
    }

    async fn an_empty_list_matches_nothing(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1")])]).await;
        for field in ["ids", "zones", "statuses", "capabilities", "labels"] {
            for value in [json!([]), Value::Null] {
                let expected = u64::from(value.is_null());
                let literal = format!("{{ workersConnection(filter: {{{field}: {value}}}) {{ totalCount }} }}");
                assert_eq!(cluster.graphql(&literal).await["workersConnection"]["totalCount"], expected, "{literal}");
                let variable = "query($filter: WorkerFilter) { workersConnection(filter: $filter) { totalCount } }";
                let answer = cluster.graphql_answer(variable, json!({"filter": {field: value}})).await;
                assert_eq!(answer["data"]["workersConnection"]["totalCount"], expected, "{field}: {value}");
            }
        }
        for field in ["statuses", "zones", "workerIds"] {
            for (value, expected) in [("[]", 0), ("null", 1)] {
                let query = format!("{{ vmsConnection(filter: {{{field}: {value}}}) {{ totalCount }}
                    worker(id: \"w1\") {{ vmsConnection(filter: {{{field}: {value}}}) {{ totalCount }} }} }}");
                let answer = cluster.graphql(&query).await;
                assert_eq!(answer["vmsConnection"]["totalCount"], expected, "{query}");
                assert_eq!(answer["worker"]["vmsConnection"]["totalCount"], expected, "{query}");
            }
        }
        for (arguments, expected) in [("(status: [])", 0), ("(status: null)", 1), ("", 1), ("(status: [STOPPED])", 0)] {
            let answer = cluster.graphql(&format!("{{ worker(id: \"w1\") {{ vms{arguments} {{ id }} }} }}")).await;
            assert_eq!(answer["worker"]["vms"].as_array().unwrap().len(), expected, "{arguments}");
        }
        for field in ["workerIds", "kinds"] {
            for (value, expected) in [("[]", false), ("null", true)] {
                let query = format!("{{ events(filter: {{{field}: {value}}}) {{ nodes {{ kind }} }} }}");
                let nodes = cluster.graphql(&query).await["events"]["nodes"].as_array().unwrap().len();
                assert_eq!(nodes > 0, expected, "{query}");
            }
        }
        let nothing = cluster.graphql("{ worker(id: \"w1\") { labels(keys: []) { key } } nodes(ids: []) { id } }").await;
        assert_eq!(nothing, json!({"worker": {"labels": []}, "nodes": []}));
    }

    async fn a_parameter_of_graphql_that_is_misspelt_is_not_passed_over(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a"), worker("w2")]).await;
        let query = "query($zone: String) { workers(zone: $zone) { id } }";
        let escaped = query.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D").replace('$', "%24");
        for (name, meant) in [
            ("variabels", "variables"), ("Variables", "variables"), ("variable", "variables"), ("variables[]", "variables"),
            ("variables[zone]", "variables"), ("operation_name", "operationName"), ("operationname", "operationName"),
            ("document_id", "documentId"), ("extension", "extensions"), ("Query", "query"), ("querry", "query"),
        ] {
            let said = format!("Unknown parameter `{name}`: did you mean `{meant}`?");
            let by_get = cluster.rest().get(&format!("/graphql?query={escaped}&{name}=%7B%22zone%22:%22a%22%7D")).await;
            let by_post = cluster.rest().post("/graphql").json(json!({"query": query, name: {"zone": "a"}})).await;
            for answer in [by_get, by_post] {
                assert_eq!(answer.status, 400, "{name}: {}", answer.body);
                let error = &answer.json()["errors"][0];
                assert_eq!((&error["message"], &error["extensions"]["code"]), (&json!(said), &json!("BAD_REQUEST")));
            }
            let mut socket = Port::of(&cluster).await.client().await;
            socket.say(json!({"type": "subscribe", "id": "1", "payload": {"query": query, name: {"zone": "a"}}})).await;
            assert_eq!(socket.hear().await["payload"][0]["message"], said);
        }
        for other in ["id", "queryId", "doc_id", "operationType", "clientMutationId", "more", "_", "x"] {
            let by_get = cluster.rest().get(&format!("/graphql?query={escaped}&{other}=1")).await;
            let by_post = cluster.rest().post("/graphql").json(json!({"query": query, other: 1})).await;
            for answer in [by_get, by_post] {
                answer.assert_json(200, json!({"data": {"workers": [{"id": "w1"}, {"id": "w2"}]}}));
            }
        }
        let twice = cluster.rest().get(&format!("/graphql?query={escaped}&variables=%7B%7D&variables=%7B%7D")).await;
        assert_eq!(twice.status, 400, "{}", twice.body);
        let twice = format!(r#"{{"query": {}, "variables": {{"zone": "a"}}, "variables": {{}}}}"#, json!(query));
        let twice = cluster.rest().post("/graphql").header("content-type", "application/json").body(twice).await;
        assert_eq!(twice.status, 400, "{}", twice.body);
    }

    async fn an_empty_operation_name_is_none_however_it_comes(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (query, is_good) in [
            ("{ workers { id } }", true),
            ("query A { workers { id } }", true),
            ("query A { workers { id } } query B { vms { id } }", false),
        ] {
            let escaped = query.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D");
            let by_get = cluster.rest().get(&format!("/graphql?query={escaped}&operationName=")).await.json();
            let by_post = cluster.rest().post("/graphql").json(json!({"query": query, "operationName": ""})).await.json();
            let without = cluster.rest().post("/graphql").json(json!({"query": query})).await.json();
            let mut socket = Port::of(&cluster).await.client().await;
            let payload = json!({"query": query, "operationName": ""});
            socket.say(json!({"type": "subscribe", "id": "1", "payload": payload})).await;
            let heard = socket.hear().await;
            assert_eq!(without.get("errors").is_none(), is_good, "{without}");
            assert_eq!((&by_get, &by_post), (&without, &without), "{query}");
            let over_websocket = if is_good { &heard["payload"]["data"] } else { &heard["payload"] };
            assert_eq!(over_websocket, if is_good { &without["data"] } else { &without["errors"] }, "{query}");
        }
    }
}

/// A worker as far as questions can tell it from others.
struct Known {
    id: &'static str,
    zone: &'static str,
    status: &'static str,
    is_healthy: bool,
    capabilities: &'static [&'static str],
    labels: &'static [(&'static str, &'static str)],
    /// With their statuses.
    vms: &'static [(&'static str, &'static str)],
}

/// The whole list.
const FLEET: [Known; 4] = [
    Known {
        id: "w1",
        zone: "a",
        status: "active",
        is_healthy: true,
        capabilities: &["qemu", "docker"],
        labels: &[("env", "prod"), ("tier", "")],
        vms: &[("vm-1", "running"), ("vm-2", "stopped")],
    },
    Known {
        id: "w2",
        zone: "a",
        status: "draining",
        is_healthy: true,
        capabilities: &["docker"],
        labels: &[("env", "a=b")],
        vms: &[("vm-3", "created")],
    },
    Known { id: "w3", zone: "", status: "active", is_healthy: true, capabilities: &[], labels: &[], vms: &[] },
    Known {
        id: "w4",
        zone: "b c",
        status: "offline",
        is_healthy: false,
        capabilities: &["qemu"],
        labels: &[("env", "prod")],
        vms: &[("vm-4", "failed"), ("vm-5", "running")],
    },
];

/// What is asked, before it is spelled: names and values, each with a number that chooses a spelling.
type Question = Vec<(&'static str, &'static str, u8)>;

fn questions() -> impl Strategy<Value = (bool, Question)> {
    let good = prop::sample::select(vec![
        ("id", "w1"),
        ("id", "w4"),
        ("id", "w9"),
        ("zone", ""),
        ("zone", "a"),
        ("zone", "b c"),
        ("status", "active"),
        ("status", "draining"),
        ("status", "offline"),
        ("status", "running"),
        ("status", "stopped"),
        ("is_healthy", "true"),
        ("is_healthy", "false"),
        ("has_zone", "true"),
        ("has_zone", "false"),
        ("capability", "qemu"),
        ("capability", "docker"),
        ("label", "env"),
        ("label", "env=prod"),
        ("label", "env=a=b"),
        ("label", "tier="),
        ("search", ""),
        ("search", "w"),
        ("search", "vm-3"),
        ("sort", "-id"),
        ("worker_id", "w1"),
        ("worker_id", "w4"),
        ("_", "1"),
        ("_t", ""),
    ]);
    let names = prop::sample::select(vec![
        "id",
        "zone",
        "status",
        "is_healthy",
        "has_zone",
        "capability",
        "label",
        "search",
        "sort",
        "worker_id",
        "limit",
        "cursor",
        "zones",
        "Zone",
        "statuses",
        "ids",
        "_",
        "kind",
    ]);
    let values = prop::sample::select(vec![
        "",
        "a",
        "b c",
        "w1",
        "w4",
        "w9",
        "active",
        "draining",
        "offline",
        "running",
        "stopped",
        "true",
        "false",
        "qemu",
        "docker",
        "env",
        "env=prod",
        "env=a=b",
        "env==prod",
        "tier=",
        "!env",
        "id",
        "-id",
        "%",
        "vm-3",
    ]);
    let pairs = prop_oneof![8 => good, 1 => (names, values)];
    let pair = (pairs, any::<u8>()).prop_map(|((name, value), how)| (name, value, how));
    (any::<bool>(), prop::collection::vec(pair, 0..5))
}

/// Spells a question as one of the many clients would.
fn spelled(question: &Question) -> String {
    let all = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let plain = |text: &str| text.replace('%', "%25").replace(' ', "+");
    let pairs = question.iter().map(|(name, value, how)| {
        let name = if how & 1 == 0 { (*name).to_owned() } else { format!("{name}[]") };
        let name = if how & 2 == 0 { name } else { all(&name) };
        let value = if how & 4 == 0 { plain(value) } else { all(value) };
        if value.is_empty() && how & 8 == 0 { name } else { format!("{name}={value}") }
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// What the question finds, worked out from the whole list; none if it makes no sense.
fn expected(of_workers: bool, question: &Question) -> Option<Vec<&'static str>> {
    let taken: &[&str] = if of_workers {
        &["id", "zone", "status", "is_healthy", "has_zone", "capability", "label", "search", "sort", "limit", "cursor"]
    } else {
        &["id", "zone", "status", "has_zone", "worker_id", "search", "sort", "limit", "cursor"]
    };
    let values =
        |name: &str| question.iter().filter(|(it, ..)| *it == name).map(|(_, value, _)| *value).collect::<Vec<_>>();
    let single = |name: &str| match *values(name) {
        [] => Some(None),
        [one] => Some(Some(one)),
        _ => None,
    };
    let flag = |name: &str| match single(name)? {
        None => Some(None),
        Some("true") => Some(Some(true)),
        Some("false") => Some(Some(false)),
        Some(_) => None,
    };
    if question.iter().any(|(name, ..)| !taken.contains(name) && !name.starts_with('_')) {
        return None;
    }
    let statuses: &[&str] =
        if of_workers { &["active", "draining", "offline"] } else { &["created", "running", "stopped", "failed"] };
    let words = values("status");
    if words.iter().any(|word| !statuses.contains(word)) {
        return None;
    }
    if ["id", "capability", "worker_id"].iter().any(|name| values(name).contains(&"")) {
        return None;
    }
    // No value of the pool is a cursor, or a number.
    if !values("cursor").is_empty() || !values("limit").is_empty() {
        return None;
    }
    let labels = values("label");
    if labels.iter().any(|label| label.is_empty() || label.starts_with('!') || label.contains("==")) {
        return None;
    }
    let (healthy, has_zone, search) = (flag("is_healthy")?, flag("has_zone")?, single("search")?);
    let is_reversed = match single("sort")? {
        None | Some("id") => false,
        Some("-id") => true,
        Some(_) => return None,
    };
    let zones: Vec<_> = values("zone").into_iter().filter(|zone| !zone.is_empty()).collect();
    let any_of = |wanted: &[&str], value: &str| wanted.is_empty() || wanted.contains(&value);
    let in_zone =
        |worker: &Known| any_of(&zones, worker.zone) && has_zone.is_none_or(|wanted| wanted != worker.zone.is_empty());
    let contains = |places: &[&str]| search.is_none_or(|text| places.iter().any(|place| place.contains(text)));
    let mut found = Vec::new();
    for worker in &FLEET {
        if !of_workers {
            let vms = worker.vms.iter().filter(|(id, status)| {
                let status =
                    if words.is_empty() { ["running", "created"].contains(status) } else { words.contains(status) };
                status
                    && in_zone(worker)
                    && any_of(&values("worker_id"), worker.id)
                    && any_of(&values("id"), id)
                    && contains(&[id])
            });
            found.extend(vms.map(|(id, _)| *id));
            continue;
        }
        let has_label = |label: &&str| match label.split_once('=') {
            Some(pair) => worker.labels.contains(&pair),
            None => worker.labels.iter().any(|(key, _)| key == label),
        };
        let address = format!("{}.example.com 10.0.0.1:8081", worker.id);
        let is_wanted = any_of(&values("id"), worker.id)
            && in_zone(worker)
            && any_of(&words, worker.status)
            && healthy.is_none_or(|wanted| wanted == worker.is_healthy)
            && (values("capability").is_empty()
                || worker.capabilities.iter().any(|has| values("capability").contains(has)))
            && labels.iter().all(has_label)
            && contains(&[worker.id, worker.zone, &address]);
        if is_wanted {
            found.push(worker.id);
        }
    }
    if is_reversed {
        found.reverse();
    }
    Some(found)
}

on_both_databases! {
    async fn any_query_string_is_refused_or_finds_what_it_says(cluster: TestCluster) {
        for known in &FLEET {
            let labels: Value = known.labels.iter().map(|(key, value)| (*key, json!(value))).collect();
            let joining = worker(known.id)
                .zone(known.zone)
                .registers("address", "10.0.0.1:8081")
                .registers("capabilities", json!(known.capabilities))
                .registers("labels", labels)
                .vms(known.vms.iter().map(|(id, status)| vm(id).status(status)));
            cluster.add([if known.is_healthy { joining } else { joining.silent_for(minutes(5)) }]).await;
            if known.status == "draining" {
                cluster.rest().post(&format!("/api/v1/workers/{}/drain", known.id)).await;
            }
        }
        for known in FLEET.iter().filter(|known| known.is_healthy) {
            cluster.beat(known.id, json!({"incarnation": 1})).await;
        }
        let mut runner = TestRunner::default();
        let (mut refused, mut found_some) = (0, 0);
        for _ in 0..3_000 {
            let (of_workers, question) = questions().new_tree(&mut runner).unwrap().current();
            let list = if of_workers { "workers" } else { "vms" };
            let path = format!("/api/v1/{list}?{}", spelled(&question));
            let answer = cluster.rest().get(&path).await;
            match expected(of_workers, &question) {
                None => {
                    assert_eq!(answer.status, 400, "{path} of {question:?}: {}", answer.body);
                    refused += 1;
                }
                Some(ids) => {
                    assert_eq!(answer.status, 200, "{path} of {question:?}: {}", answer.body);
                    assert_eq!(pick(&answer.json()[list], ["id"]).concat(), ids, "{path} of {question:?}");
                    found_some += usize::from(!question.is_empty() && !ids.is_empty());
                }
            }
        }
        assert!(refused > 300 && found_some > 300, "{refused} refused, {found_some} found");
    }
}
