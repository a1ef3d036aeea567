//! Documents that would keep a core busy, or its stack full, are refused before they can: by POST, by GET, and on a socket.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

/// Far more than any refusal takes, and far less than the worst of these documents would take if they were validated.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Far more than it takes to come to the limit, which is a tenth of it where the program is optimised.
const SOON: Duration = Duration::from_secs(10);

/// How long this thread, which runs the server and its client, has been computing so far. Time in which other tests
/// have its core does not count.
fn busy_so_far() -> Duration {
    let account = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps this account for every thread");
    Duration::from_nanos(account.split(' ').next().unwrap().parse().unwrap())
}

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
    const EITHER: &[&str] = &["QUERY_TOO_COMPLEX", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"];
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

#[tokio::test]
async fn documents_that_cost_too_much_are_refused_at_once_by_post_and_by_get() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    for (what, document, codes) in corpus() {
        let began = busy_so_far();
        let answer = cluster
            .rest()
            .post("/graphql")
            .header("accept", "application/graphql-response+json")
            .json(json!({"query": document}))
            .await;
        let took = busy_so_far() - began;
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        let code = code_of(what, &answer.json());
        assert!(codes.contains(&&*code), "{what}: {}", answer.body);
        assert!(took < AT_ONCE, "{what} took {took:?}");
        assert!(answer.body.len() < 4_096, "{what}: a refusal is short, this one has {} bytes", answer.body.len());

        // A document that fits into a request line; a longer one is the listener's to refuse.
        let escaped: String = document.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if escaped.len() < 60_000 {
            let began = busy_so_far();
            let answer = cluster.rest().get(&format!("/graphql?query={escaped}")).await;
            let took = busy_so_far() - began;
            assert_eq!(code_of(what, &answer.json()), code, "{what}, by GET");
            assert!(took < AT_ONCE, "{what} took {took:?} by GET");
        }
    }
}

#[tokio::test]
async fn documents_that_cost_too_much_are_refused_at_once_on_a_socket_that_stays_open() {
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
            let began = busy_so_far();
            socket.subscribe(what, &document, json!({})).await;
            let answer = socket.hear().await;
            let took = busy_so_far() - began;
            assert_eq!([&answer["type"], &answer["id"]], [&json!("error"), &json!(what)], "{answer}");
            let code = code_of(what, &json!({"errors": answer["payload"]}));
            assert!(codes.contains(&&*code) || code == "GRAPHQL_VALIDATION_FAILED", "{what}: {answer}");
            assert!(took < AT_ONCE, "{what} took {took:?} on a socket");
        }
    }
    socket.subscribe("after all that", "{ workers { id } }", json!({})).await;
    assert_eq!(socket.next("after all that").await, json!({"workers": [{"id": "w1"}]}));
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
async fn answers_that_would_be_endless_are_given_up() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let machine =
        |n: usize| worker(&format!("w{n:02}")).vms((0..20).map(move |vms| vm(&format!("vm-{n:02}-{vms:02}"))));
    cluster.add((0..50).map(machine)).await;
    let port = Port::of(&cluster).await;
    let mut socket = port.client().await;
    for (what, document) in endless() {
        let began = busy_so_far();
        assert_too_large(what, &cluster.graphql_answer(&document, json!({})).await);
        let took = busy_so_far() - began;
        assert!(took < SOON, "{what} took {took:?}");
    }
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
        answer.assert_house_shape();
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
