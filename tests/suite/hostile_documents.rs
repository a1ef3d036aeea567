//! Documents that would keep a core busy, or its stack full, are refused before they can: by POST, by GET, as a stream,
//! and on a socket. What it takes is told by the work that is counted, not by a clock: none of them is ever validated.
//! (`cargo bench --bench hostile_documents` measures the time.)

use std::time::Duration;

use aetherium::graphql::DocumentCacheStats;
use serde_json::{Value, json};

use crate::harness::*;

/// Each fragment spreads the next one several times; the last one is `{ leaf }`.
fn bomb(levels: usize, spreads: usize, leaf: &str) -> String {
    let mut document = "{ workers { ...F0 } }".to_owned();
    for level in 0..levels {
        document += &format!("fragment F{level} on Worker{{{}}}", format!("...F{} ", level + 1).repeat(spreads));
    }
    document + &format!("fragment F{levels} on Worker{{{leaf}}}")
}

/// `open` so many times, what is inside, and as often `close`.
fn nested(open: &str, levels: usize, inside: &str, close: &str) -> String {
    open.repeat(levels) + inside + &close.repeat(levels)
}

/// Everything that is known to hurt, with the codes it may be refused with.
fn corpus() -> Vec<(&'static str, String, &'static [&'static str])> {
    const COMPLEX: &[&str] = &["QUERY_TOO_COMPLEX"];
    const PARSED: &[&str] = &["QUERY_TOO_COMPLEX", "GRAPHQL_PARSE_FAILED"];
    const INVALID: &[&str] = &["GRAPHQL_VALIDATION_FAILED"];
    const EITHER: &[&str] = PARSED;
    let aliases = |count: usize| (0..count).map(|n| format!("a{n}:id ")).collect::<String>();
    let chain = |count: usize| {
        let links = (0..count).map(|n| format!("fragment F{n} on Worker{{...F{}}}", n + 1));
        format!("{{workers{{...F0}}}}{}fragment F{count} on Worker{{id}}", links.collect::<String>())
    };
    vec![
        ("2^20 fields in fragments", bomb(20, 2, "id"), COMPLEX),
        ("2^30 fields in fragments", bomb(30, 2, "id"), COMPLEX),
        ("8^8 fields in fragments", bomb(8, 8, "id"), COMPLEX),
        ("40^60 fields in fragments", bomb(60, 40, "id"), COMPLEX),
        ("2^30 spreads of a fragment that is not there", bomb(30, 2, "...Nope"), COMPLEX),
        ("2^30 inline fragments", bomb(30, 2, "... { ... { __typename } }"), COMPLEX),
        (
            "2^30 fields in fragments that nobody spreads",
            bomb(30, 2, "id").replace("{ workers { ...F0 } }", "{ workers { id } }"),
            COMPLEX,
        ),
        ("a fragment that spreads itself", "{ workers { ...F } } fragment F on Worker { ...F }".into(), INVALID),
        (
            "two fragments that spread each other",
            "{ workers { ...F } } fragment F on Worker { vms { ...G } } fragment G on Vm { worker { ...F } }".into(),
            INVALID,
        ),
        (
            "a cycle that nobody spreads",
            "{ workers { id } } fragment F on Worker { ...G } fragment G on Worker { ...F }".into(),
            INVALID,
        ),
        ("a chain of 40 fragments", chain(40), COMPLEX),
        ("a chain of 1,500 fragments", chain(1_500), COMPLEX),
        ("10,000 levels of fields", nested("{a", 10_000, "", "}"), PARSED),
        (
            "10,000 levels of fields that exist",
            format!("{{vms{}}}", nested("{worker{vms", 4_000, "{id}", "}}")),
            PARSED,
        ),
        ("20 levels of fields that exist", format!("{{vms{}}}", nested("{worker{vms", 10, "{id}", "}}")), COMPLEX),
        ("10,000 levels of inline fragments", format!("{{{}}}", nested("...{", 10_000, "id", "}")), PARSED),
        ("20,000 levels of lists", format!("{{workers(zone:{}){{id}}}}", nested("[", 20_000, "", "]")), EITHER),
        ("10,000 levels of objects", format!("{{workers(zone:{}){{id}}}}", nested("{a:", 10_000, "1", "}")), EITHER),
        (
            "20,000 levels of list types",
            format!("query($a:{}){{workers{{id}}}}", nested("[", 20_000, "Int", "]")),
            EITHER,
        ),
        ("10,000 aliases", format!("{{workers{{{}}}}}", aliases(10_000)), COMPLEX),
        ("200 aliases", format!("{{workers{{{}}}}}", aliases(200)), COMPLEX),
        ("200 aliases in a fragment", format!("{{workers{{...F}}}}fragment F on Worker{{{}}}", aliases(200)), COMPLEX),
        ("32,000 fields", format!("{{workers{{{}}}}}", "a ".repeat(32_000)), COMPLEX),
        ("10,000 fields", format!("{{workers{{{}}}}}", "id ".repeat(10_000)), COMPLEX),
        ("1,001 fields at the root", format!("{{{}}}", "__typename ".repeat(1_001)), COMPLEX),
        ("10,000 directives", format!("{{workers{{id {}}}}}", "@a ".repeat(10_000)), COMPLEX),
        ("a document of 64 KiB and more", format!("{{workers{{id}}}}#{}", "x".repeat(64 * 1024)), COMPLEX),
        (
            "a list of 15,000 entries",
            format!("{{workersConnection(filter:{{ids:[{}]}}){{totalCount}}}}", "\"\",".repeat(15_000)),
            COMPLEX,
        ),
        ("16,000 spreads without a space", format!("{{a{}}}fragment F on Query{{id}}", "...F".repeat(16_000)), COMPLEX),
        ("101 fields at the root", format!("{{{}}}", "__typename ".repeat(101)), COMPLEX),
        ("21 directives", format!("{{workers{{id {}}}}}", "@a ".repeat(21)), COMPLEX),
        ("21 directives of a fragment", format!("{{workers{{...{}{{id}}}}}}", "@a ".repeat(21)), COMPLEX),
        (
            "300 operations that lack 1,000 variables",
            (0..300).map(|n| format!("query Q{n}{{...F}}")).collect::<String>()
                + &format!("fragment F on Query{{nodes(ids:[{}]){{id}}}}", "$v ".repeat(1_000)),
            COMPLEX,
        ),
        ("60,000 zeros", format!("{{nodes(ids:[{}]){{id}}}}", "0".repeat(60_000)), PARSED),
        ("15,000 nulls without a space", format!("{{nodes(ids:[{}]){{id}}}}", "null".repeat(15_000)), INVALID),
        (
            "a text in three quotation marks that does not end",
            format!("{{workers(zone:[\"\"\"x\"]){{{}}}}}", "id ".repeat(20_000)),
            PARSED,
        ),
        (
            "a list behind a text that does not end",
            format!("{{nodes(ids:[\"\"\"x\"{}]){{id}}}}", " 1".repeat(30_000)),
            PARSED,
        ),
        ("a word that does not end", "x".repeat(60_000), PARSED),
        ("a text that does not end", format!("{{workers(zone:\"{}", "\\u0041".repeat(10_000)), PARSED),
        ("braces that do not close", "{".repeat(60_000), PARSED),
        ("brackets that do not close", format!("{{workers(zone:{}", "[".repeat(60_000)), PARSED),
    ]
}

/// The code of a refusal, which has no data.
#[track_caller]
fn code_of(what: &str, body: &Value) -> String {
    assert_eq!(body.get("data"), None, "{what}: {body}");
    body["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("{what}: no code: {body}")).to_owned()
}

/// At most one document was parsed since then, and none validated.
#[track_caller]
fn assert_little_work(what: &str, before: DocumentCacheStats, cluster: &TestCluster) {
    let after = cluster.server().documents().stats();
    assert!(after.parsed - before.parsed <= 1, "{what} was parsed more than once: {before:?} {after:?}");
    assert_eq!(after.validated, before.validated, "{what} was validated");
    assert_eq!(after.kept, before.kept, "{what} was kept");
}

#[tokio::test]
async fn documents_that_cost_too_much_are_refused_unseen_by_post_by_get_and_as_a_stream() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    for (what, document, codes) in corpus() {
        let before = cluster.server().documents().stats();
        let answer = cluster
            .rest()
            .post("/graphql")
            .header("accept", "application/graphql-response+json")
            .json(json!({"query": document}))
            .await;
        assert_little_work(what, before, &cluster);
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        let code = code_of(what, &answer.json());
        assert!(codes.contains(&&*code), "{what}: {}", answer.body);
        assert!(answer.body.len() < 4_096, "{what}: a refusal is short, this one has {} bytes", answer.body.len());

        let before = cluster.server().documents().stats();
        let answer = cluster
            .rest()
            .post("/graphql")
            .header("accept", "text/event-stream")
            .json(json!({"query": document}))
            .await;
        assert_little_work(what, before, &cluster);
        let told = answer.body.lines().find_map(|line| line.strip_prefix("data:")).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(code_of(what, &serde_json::from_str(told).unwrap()), code, "{what}, as a stream");

        // A document that fits into a request line; a longer one is the listener's to refuse.
        let escaped: String = document.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if escaped.len() < 60_000 {
            let before = cluster.server().documents().stats();
            let answer = cluster.rest().get(&format!("/graphql?query={escaped}")).await;
            assert_little_work(what, before, &cluster);
            assert_eq!(code_of(what, &answer.json()), code, "{what}, by GET");
        }
    }
}

#[tokio::test]
async fn documents_that_cost_too_much_are_refused_unseen_on_a_socket_that_stays_open() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    let port = Port::of(&cluster).await;
    let mut socket = port.client().await;
    for (what, document, codes) in corpus() {
        // What does not fit into a message is refused as a message; see `subscriptions`.
        if json!({"query": document}).to_string().len() > 60_000 {
            continue;
        }
        for document in [document.clone(), document.replacen("{workers", "subscription{workers", 1)] {
            let before = cluster.server().documents().stats();
            socket.subscribe(what, &document, json!({})).await;
            let answer = socket.hear().await;
            assert_little_work(what, before, &cluster);
            assert_eq!([&answer["type"], &answer["id"]], [&json!("error"), &json!(what)], "{answer}");
            let code = code_of(what, &json!({"errors": answer["payload"]}));
            assert!(codes.contains(&&*code) || code == "GRAPHQL_VALIDATION_FAILED", "{what}: {answer}");
        }
    }
    socket.subscribe("after all that", "{ workers { id } }", json!({})).await;
    assert_eq!(socket.next("after all that").await, json!({"workers": [{"id": "w1"}]}));
}

#[tokio::test]
async fn each_limit_is_what_it_is_set_to_and_says_so_at_every_door() {
    const OF_THESE: &str = "query($ids:[ID!]){workersConnection(first:1 filter:{ids:$ids}){totalCount}}";
    let cluster = TestCluster::configured(&TestDatabase::sqlite(), |options| {
        let limits = &mut options.graphql.limits;
        (limits.document, limits.tokens, limits.selections, limits.depth) = (300, 50, 20, 4);
        (limits.aliases, limits.root_fields, limits.directives, limits.cost) = (3, 5, 2, 100_000);
        (limits.body, limits.entries) = (2_000, 10);
    })
    .await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    let port = Port::of(&cluster).await;
    let mut socket = port.client().await;
    for (document, expected) in [
        (format!("{{workers{{id}}}}#{}", "x".repeat(300)), "The document has 314 bytes; at most 300 are allowed"),
        (format!("{{workers{{id}}}}{}", "{ ".repeat(45)), "The document has 51 tokens; at most 50 are allowed"),
        (
            format!("{{workers{{{}}}}}", "id ".repeat(20)),
            "The document has 21 selections in one operation or fragment; at most 20 are allowed",
        ),
        (
            format!("{{workers{{...F}}}}fragment F on Worker{{{}}}", "id ".repeat(19)),
            "The document has 21 selections with its fragments written out; at most 20 are allowed",
        ),
        ("{vms{worker{vms{worker{id}}}}}".into(), "The document has 5 levels of fields; at most 4 are allowed"),
        (
            "{workers{a:id b:id c:id d:id}}".into(),
            "The document has 4 aliases with its fragments written out; at most 3 are allowed",
        ),
        (
            format!("{{{}}}", "__typename ".repeat(6)),
            "The document has 6 fields at the root of an operation; at most 5 are allowed",
        ),
        (
            "{workers{id @skip(if:false) @include(if:true) @x}}".into(),
            "The document has 3 directives in one place; at most 2 are allowed",
        ),
        (
            "{workers{id vms{id}}}".into(),
            "The operation has a cost of 220001, which is how many fields the largest answer to it has and how many rows \
             are looked at for it; at most 100000 are allowed. Ask for pages, by `first` of the connections, nest fewer \
             lists, or filter by ids",
        ),
        (OF_THESE.into(), "The variables have 11 entries in lists; at most 10 are allowed"),
    ] {
        let variables = if document == OF_THESE { json!({"ids": vec!["x"; 11]}) } else { json!({}) };
        let body = json!({"query": document, "variables": variables});
        let post = cluster.rest().post("/graphql").json(body.clone()).await;
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let path = format!("/graphql?query={}&variables={}", escape(&document), escape(&variables.to_string()));
        let get = cluster.rest().get(&path).await;
        let stream = cluster.rest().post("/graphql").header("accept", "text/event-stream").json(body).await;
        let told = stream.body.lines().find_map(|line| line.strip_prefix("data:")).unwrap().trim().to_owned();
        socket.subscribe("1", &document, variables).await;
        let heard = socket.hear().await;
        for answer in
            [post.json(), get.json(), serde_json::from_str(&told).unwrap(), json!({"errors": heard["payload"]})]
        {
            assert_eq!(code_of(&document, &answer), "QUERY_TOO_COMPLEX", "{answer}");
            assert_eq!(answer["errors"][0]["message"], expected, "{answer}");
        }
    }
    let long = json!({"query": "{workers{id}}", "variables": {"x": "y".repeat(2_000)}});
    let answer = cluster.rest().post("/graphql").json(long).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert_eq!(code_of("a body that is too large", &answer.json()), "BAD_REQUEST");
    let answer = cluster.rest().post("/api/v1/q/any").json(json!({"x": "y".repeat(2_000)})).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    // Just within all of them.
    cluster.graphql("{ a: workers { b: id c: hostname } clusterStats { totalWorkers } __typename worker(id: \"w1\") { vms { id } } }").await;
}

/// Short documents for answers without end.
fn endless() -> Vec<(&'static str, String)> {
    let links = |levels: usize| nested("vms{worker{", levels, "vms{id}", "}}");
    let aliases: String = (0..100).map(|n| format!("a{n}:vms{{id}} ")).collect();
    vec![
        ("a chain of lists", format!("{{workers{{{}}}}}", links(6))),
        ("a chain of lists from the other end", format!("{{vms{{worker{{{}}}}}}}", links(5))),
        ("a chain of pages", format!("{{workersConnection{{edges{{node{{{}}}}}}}}}", links(4))),
        (
            "a chain of events",
            "{workers{events(first:500){worker{events(first:500){worker{events(first:500){at}}}}}}}".into(),
        ),
        ("what is where, a hundred times", format!("{{vmDistribution{{vms{{worker{{{aliases}}}}}}}}}")),
    ]
}

/// All curves of a page of workers, as long as they may be: 24 million values.
const ALL_CURVES: &str = "{ workersConnection(first: 500) { nodes { history(rangeSeconds: 2592000, maxPoints: 1500) {
    cpuCores { ...C } memoryMb { ...C } diskGb { ...C } maxVms { ...C } usedCpuCores { ...C } usedMemoryMb { ...C }
    usedDiskGb { ...C } vmCount { ...C } measuredCpuCores { ...C } measuredMemoryMb { ...C } measuredLoad1 { ...C }
} } } } fragment C on HistoryCurve { values min max }";

/// What is said of an answer that would be too large. It was begun, so that it has a path and no data.
#[track_caller]
fn assert_too_large(what: &str, answer: &Value) {
    assert_eq!(answer["data"], Value::Null, "{what}");
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["extensions"]["code"]), (1, &json!("QUERY_TOO_COMPLEX")), "{what}: {answer}");
    let message = errors[0]["message"].as_str().unwrap();
    assert!(message.contains("500000 objects") && message.contains("pages"), "{what}: {message}");
    assert!(errors[0]["path"].as_array().is_some_and(|path| !path.is_empty()), "{what}: {answer}");
}

#[tokio::test]
async fn answers_that_may_be_endless_are_not_begun() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    let mut socket = Port::of(&cluster).await.client().await;
    for (what, document) in endless().into_iter().chain([("all curves", ALL_CURVES.to_owned())]) {
        let answer = cluster.graphql_answer(&document, json!({})).await;
        assert_eq!(code_of(what, &answer), "QUERY_TOO_COMPLEX", "{answer}");
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("has a cost of ") && message.contains("at most 10000000"), "{what}: {message}");
        socket.subscribe(what, &document, json!({})).await;
        assert_eq!(socket.hear().await, json!({"id": what, "type": "error", "payload": answer["errors"]}));
    }
    let chain = nested("vms{worker{", 6, "vms{id}", "}}");
    let followed = format!("subscription{{workerHeartbeats{{worker{{{chain}}}}}}}");
    socket.subscribe("1", &followed, json!({})).await;
    assert_eq!(socket.hear().await["payload"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX");
    let drain = format!("mutation {{ drainWorker(input: {{workerId: \"w1\"}}) {{ worker {{ {chain} }} }} }}");
    assert_eq!(code_of("a command", &cluster.graphql_answer(&drain, json!({})).await), "QUERY_TOO_COMPLEX");
    assert_eq!(cluster.worker("w1").await["status"], "active", "a command that is refused changes nothing");
}

// What is let through for its cost is watched while it is made.
#[tokio::test]
async fn answers_that_turn_out_to_be_endless_are_given_up() {
    let cluster = TestCluster::configured(&TestDatabase::sqlite(), |options| {
        options.graphql.limits.cost = u64::MAX;
        // A slow machine takes long until there are too many.
        options.http.response_time = Duration::from_secs(600);
    })
    .await;
    let machine =
        |n: usize| worker(&format!("w{n:02}")).vms((0..20).map(move |vms| vm(&format!("vm-{n:02}-{vms:02}"))));
    cluster.add((0..50).map(machine)).await;
    for (what, document) in endless() {
        assert_too_large(what, &cluster.graphql_answer(&document, json!({})).await);
    }
    let port = Port::of(&cluster).await;
    let mut socket = port.client().await;
    let (what, document) = endless().remove(0);
    socket.subscribe("1", &document, json!({})).await;
    let answer = socket.hear().await;
    assert_eq!(answer["type"], "next", "{answer}");
    assert_too_large(what, &answer["payload"]);
    assert_eq!(socket.hear().await, json!({"id": "1", "type": "complete"}));
    // An item of a stream has a budget of its own.
    let chain = nested("vms{worker{", 5, "vms{id}", "}}");
    socket
        .subscribe(
            "2",
            &format!("subscription{{workerHeartbeats(filter: {{ids: [\"w00\"]}}){{worker{{{chain}}}}}}}"),
            json!({}),
        )
        .await;
    assert_too_large("a stream", &socket.hear().await["payload"]);
    socket.complete("2").await;

    // The lists that are asked for in earnest.
    let all = cluster.graphql("{ workers { id labels { key } vms { id worker { id } } events { kind } } vms { id } vmDistribution { vms { id } } }").await;
    assert_eq!(all["workers"].as_array().unwrap().len(), 50);
    assert_eq!(all["workers"][49]["vms"].as_array().unwrap().len(), 20);
    assert_eq!(all["vms"].as_array().unwrap().len(), 1_000);
    // A command that was carried out says so, even if what was asked of it cannot be.
    let drain = format!("mutation {{ drainWorker(input: {{workerId: \"w00\"}}) {{ worker {{ {chain} }} }} }}");
    assert_too_large("a command", &cluster.graphql_answer(&drain, json!({})).await);
    assert_eq!(cluster.worker("w00").await["status"], "draining");
}

#[tokio::test]
async fn lists_of_what_is_wanted_are_not_endless_either() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    for (query, argument, entry) in [
        ("query($l: [ID!]) { workersConnection(filter: {ids: $l}) { totalCount } }", "filter.ids", json!("w1")),
        ("query($l: [String!]) { workersConnection(filter: {zones: $l}) { totalCount } }", "filter.zones", json!("a")),
        (
            "query($l: [WorkerStatus!]) { workersConnection(filter: {statuses: $l}) { totalCount } }",
            "filter.statuses",
            json!("ACTIVE"),
        ),
        (
            "query($l: [String!]) { workersConnection(filter: {capabilities: $l}) { totalCount } }",
            "filter.capabilities",
            json!("kvm"),
        ),
        (
            "query($l: [LabelFilter!]) { workersConnection(filter: {labels: $l}) { totalCount } }",
            "filter.labels",
            json!({"key": "a"}),
        ),
        ("query($l: [ID!]) { vmsConnection(filter: {workerIds: $l}) { totalCount } }", "filter.workerIds", json!("w1")),
        (
            "query($l: [ClusterEventKind!]) { events(filter: {kinds: $l}) { hasNextPage } }",
            "filter.kinds",
            json!("VM_STARTED"),
        ),
        ("query($l: [VmStatus!]) { workers { vms(status: $l) { id } } }", "status", json!("RUNNING")),
        ("query($l: [String!]) { workers { labels(keys: $l) { key } } }", "keys", json!("env")),
    ] {
        let answer = async |count: usize| cluster.graphql_answer(query, json!({"l": vec![&entry; count]})).await;
        assert_eq!(answer(1_000).await.get("errors"), None, "{argument}");
        let error = &answer(1_001).await["errors"][0];
        assert_eq!(error["extensions"]["code"], "INVALID_ARGUMENT", "{error}");
        assert_eq!(error["message"], format!("{argument} must have at most 1000 entries, not 1001"));
    }
    for (path, parameter) in [
        ("workers", "zone=a"),
        ("workers/w1/vms", "status=running"),
        ("vms", "status=running"),
        ("events", "worker_id=w1"),
    ] {
        let answer = async |count: usize| {
            cluster.rest().get(&format!("/api/v1/{path}?{}", vec![parameter; count].join("&"))).await
        };
        assert_eq!(answer(1_000).await.status, 200, "{path}?{parameter}");
        let name = parameter.split('=').next().unwrap();
        answer(1_001).await.assert_failure(400, &format!("{name} must have at most 1000 entries, not 1001"));
    }
}

#[tokio::test]
async fn variables_that_are_too_deep_are_refused() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let query = json!("query($zone: String) { workers(zone: $zone) { id } }");
    for value in [nested("[", 10_000, "", "]"), nested("{\"a\":", 10_000, "1", "}")] {
        let body = format!(r#"{{"query": {query}, "variables": {{"zone": {value}}}}}"#);
        let answer = cluster.rest().post("/graphql").header("content-type", "application/json").body(body).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert_eq!(code_of("too deep", &answer.json()), "BAD_REQUEST");
    }
}

#[tokio::test]
async fn an_operation_tells_its_cost_if_it_is_asked_to() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let query = "query($n: Int) { workersConnection(first: $n) { nodes { id zone } } }";
    let told = async |variables: Value, extensions: Value| {
        let body = json!({"query": query, "variables": variables, "extensions": extensions});
        let answer = cluster.rest().post("/graphql").json(body).await.json();
        assert_eq!(answer["data"]["workersConnection"]["nodes"][0]["id"], "w1", "{answer}");
        answer.get("extensions").cloned()
    };
    for (n, cost) in [(json!({"n": 1}), 4), (json!({"n": 10}), 22), (json!({}), 202)] {
        let expected = json!({"cost": {"requested": cost, "limit": 10_000_000}});
        assert_eq!(told(n, json!({"cost": true})).await, Some(expected));
    }
    for nothing in [json!({}), json!({"cost": false}), json!({"cost": "yes"}), json!(null)] {
        assert_eq!(told(json!({}), nothing).await, None);
    }
}

#[tokio::test]
async fn what_is_asked_in_earnest_of_the_largest_cluster_is_allowed() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let worker =
        "id hostname address zone status schedulingPolicy labels { key value } capabilities cpuCores memoryMb diskGb
        usedCpuCores usedMemoryMb usedDiskGb cpuUsagePercent memoryUsagePercent vmCount maxVms startedAt lastSeen uptime
        isHealthy revision";
    let vm = "id name workerId status vcpus memoryMb duplicate revision";
    for query in [
        format!("{{ workers {{ {worker} }} }}"),
        format!("{{ workers {{ {worker} vms {{ {vm} }} events {{ at kind message }} }} }}"),
        format!("{{ vms {{ {vm} worker {{ id zone status }} }} clusterStats {{ totalWorkers }} }}"),
        format!("{{ vmDistribution {{ workerId vms {{ {vm} }} }} vms {{ {vm} }} workers {{ {worker} }} }}"),
        format!(
            "{{ workersConnection(first: 500) {{ edges {{ cursor node {{ {worker} vms {{ {vm} worker {{ {worker} }} }} }} }} }} }}"
        ),
    ] {
        cluster.graphql(&query).await;
    }
}

#[tokio::test]
async fn ordinary_documents_pass() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    let fields =
        "id hostname address zone status labels { key value } capabilities cpuCores memoryMb usedCpuCores vmCount";
    let dashboard = format!(
        "query Dashboard {{ workersConnection(first: 100) {{ edges {{ cursor node {{ ...W vms {{ ...V worker {{ ...W }} }} events {{ kind at message }} }} }}
            pageInfo {{ hasNextPage endCursor }} totalCount }} a: clusterStats {{ ...S }} b: clusterStats {{ ...S }} }}
        fragment W on Worker {{ {fields} }} fragment V on Vm {{ id name status }} fragment S on ClusterStats {{ totalWorkers zones {{ name workers }} }}"
    );
    cluster.graphql(&dashboard).await;
    let schema = cluster.graphql(INTROSPECTION).await;
    let types = schema["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|kind| kind["name"] == "Worker"), "{types:?}");
    assert_eq!(schema["__schema"]["subscriptionType"]["name"], "Subscription");
    let port = Port::of(&cluster).await;
    let mut socket = port.client().await;
    socket.subscribe("1", INTROSPECTION, json!({})).await;
    assert_eq!(socket.next("1").await, schema);
}

/// What GraphiQL and code generators send, with all that can be asked for and types of nine wrappers.
const INTROSPECTION: &str = "
    query IntrospectionQuery {
      __schema {
        description
        queryType { name kind }
        mutationType { name kind }
        subscriptionType { name kind }
        types { ...FullType }
        directives {
          name
          description
          isRepeatable
          locations
          args(includeDeprecated: true) { ...InputValue }
        }
      }
    }
    fragment FullType on __Type {
      kind
      name
      description
      specifiedByURL
      isOneOf
      fields(includeDeprecated: true) {
        name
        description
        args(includeDeprecated: true) { ...InputValue }
        type { ...TypeRef }
        isDeprecated
        deprecationReason
      }
      inputFields(includeDeprecated: true) { ...InputValue }
      interfaces { ...TypeRef }
      enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
      possibleTypes { ...TypeRef }
    }
    fragment InputValue on __InputValue {
      name
      description
      type { ...TypeRef }
      defaultValue
      isDeprecated
      deprecationReason
    }
    fragment TypeRef on __Type {
      kind
      name
      ofType { kind name ofType { kind name ofType { kind name ofType { kind name
        ofType { kind name ofType { kind name ofType { kind name ofType { kind name
          ofType { kind name } } } } } } } } }
    }
";
