//! Every error that GraphQL clients can meet: its code, and words that name the thing, the value and what would be
//! right.

use serde_json::{Value, json};

use crate::harness::*;

/// A request, the code of its one error, and everything that its message has to say.
struct Case(Value, &'static str, &'static [&'static str]);

fn question(query: &str) -> Value {
    json!({"query": query})
}

fn with_variables(query: &str, variables: Value) -> Value {
    json!({"query": query, "variables": variables})
}

fn with_extensions(extensions: Value) -> Value {
    json!({"query": "{ workers { id } }", "extensions": extensions})
}

/// What is wrong with the request itself.
fn requests() -> Vec<Case> {
    const INVALID: &str = "GRAPHQL_VALIDATION_FAILED";
    let page = "query($first: Int, $filter: WorkerFilter) { workersConnection(first: $first, filter: $filter) { totalCount } }";
    vec![
        Case(json!({}), "BAD_REQUEST", &["`query`", "send the document"]),
        Case(json!({"query": "{a}", "variables": 7}), "BAD_REQUEST", &["`variables`", "must be a JSON object"]),
        Case(question("{ workers { id }"), "GRAPHQL_PARSE_FAILED", &["cannot be parsed at 1:17", "expected \"}\""]),
        Case(question("{ workers { nope } }"), INVALID, &["\"nope\"", "\"Worker\""]),
        Case(question("{ worker { id } }"), INVALID, &["\"worker\"", "argument \"id\"", "is required"]),
        Case(question("{ worker(id: {a: 1}) { id } }"), INVALID, &["ID cannot represent value: { a: 1, }"]),
        Case(question("{ workers { ...F } }"), INVALID, &["fragment", "\"F\""]),
        Case(question("{ workers { ...F } } fragment F on Worker { ...F }"), INVALID, &["\"F\"", "spreads itself"]),
        Case(
            question("{ a: workers { x: id } a: workers { x: zone } }"),
            INVALID,
            &["\"x\"", "\"id\" and \"zone\"", "Use different aliases"],
        ),
        Case(
            question("subscription { clusterEvents { kind } clusterStats { revision } }"),
            INVALID,
            &["exactly one field"],
        ),
        Case(
            question("{ workersConnection(first: 4294967296) { totalCount } }"),
            INVALID,
            &["Int cannot represent non 32-bit signed integer value: 4294967296"],
        ),
        Case(question("{ events(after: \"x\") { hasNextPage } }"), INVALID, &["Cursor", "\"x\" is not a cursor"]),
        Case(
            question("mutation { drainWorker(input: {workerId: \"w1\", ifRevision: 1.5}) { changed } }"),
            INVALID,
            &["Int53", "1.5 is not a whole number"],
        ),
        Case(question("subscription { clusterStats { revision } }"), INVALID, &["not supported on this transport"]),
        Case(with_variables(page, json!({"first": "x"})), "BAD_USER_INPUT", &["$first must be Int, not \"x\""]),
        Case(with_variables(page, json!({"first": 1.5})), "BAD_USER_INPUT", &["$first must be Int, not 1.5"]),
        Case(
            with_variables(page, json!({"filter": {"statuses": ["ACTIVE", "NOPE"]}})),
            "BAD_USER_INPUT",
            &["$filter.statuses[1] must be one of ACTIVE, DRAINING, OFFLINE, not \"NOPE\""],
        ),
        Case(
            with_variables(page, json!({"filter": {"nope": 1}})),
            "BAD_USER_INPUT",
            &[
                "$filter has no field \"nope\"",
                "capabilities, hasZone, ids, isHealthy, labels, minFreeCpuCores, minFreeMemoryMb, minFreeVmSlots, search, statuses, zones",
            ],
        ),
        Case(
            with_variables(page, json!({"filter": {"labels": [{}]}})),
            "BAD_USER_INPUT",
            &["$filter.labels[0] must have a field \"key\""],
        ),
        Case(question("query($id: ID!) { worker(id: $id) { id } }"), "BAD_USER_INPUT", &["\"$id\"", "has to be given"]),
        Case(
            json!({"query": "query A { workers { id } } query B { vms { id } }"}),
            "BAD_USER_INPUT",
            &["`operationName`", "\"A\", \"B\""],
        ),
        Case(
            json!({"query": "query A { workers { id } } query B { vms { id } }", "operationName": "C"}),
            "BAD_USER_INPUT",
            &["\"C\"", "there are \"A\", \"B\""],
        ),
        Case(
            json!({"query": "{ workers { id } }", "operationName": "C"}),
            "BAD_USER_INPUT",
            &["\"C\"", "leave `operationName` out"],
        ),
        Case(
            question(&format!("{{ workers {{ {} }} }}", "id ".repeat(1_001))),
            "QUERY_TOO_COMPLEX",
            &["1002 selections", "at most 1000"],
        ),
        Case(
            json!({
                "query": "query($ids: [ID!]) { workersConnection(filter: {ids: $ids}) { totalCount } }",
                "variables": {"ids": vec!["w"; 15_001]},
            }),
            "QUERY_TOO_COMPLEX",
            &["variables have 15001 entries in lists", "at most 15000"],
        ),
        Case(
            question("{ vms { worker { vms { worker { vms { id } } } } } }"),
            "QUERY_TOO_COMPLEX",
            &["cost of 88400001", "at most 10000000", "`first`"],
        ),
        Case(json!({"documentId": "nope"}), "PERSISTED_QUERY_NOT_FOUND", &["\"nope\"", "--trusted-documents"]),
        Case(
            json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0".repeat(64)}}}),
            "PERSISTED_QUERY_NOT_FOUND",
            &["PersistedQueryNotFound"],
        ),
        Case(
            json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}),
            "BAD_USER_INPUT",
            &["sha256Hash", "64 hexadecimal digits"],
        ),
        Case(
            with_extensions(json!({"minRevision": "x"})),
            "INVALID_ARGUMENT",
            &["minRevision", "must be a whole number"],
        ),
        Case(with_extensions(json!({"minRevision": -1})), "INVALID_ARGUMENT", &["minRevision", "-1"]),
    ]
}

/// What is wrong with what it asks.
fn operations() -> Vec<Case> {
    let beat = |input: &str| question(&format!("mutation {{ recordHeartbeat(input: {{{input}}}) {{ policy }} }}"));
    let register = |input: &str| {
        question(&format!(
            "mutation {{ registerWorker(input: {{hostname: \"h\", address: \"a:1\", cpuCores: 1, memoryMb: 1, {input}}}) {{ incarnation }} }}"
        ))
    };
    vec![
        Case(
            question("{ workersConnection(first: 501) { totalCount } }"),
            "INVALID_ARGUMENT",
            &["first", "from 0 to 500", "501"],
        ),
        Case(
            question("{ workersConnection(after: \"x\") { totalCount } }"),
            "INVALID_ARGUMENT",
            &["after", "\"x\"", "pass back one unchanged"],
        ),
        Case(
            question("mutation { drainWorker(input: {workerId: \"nope\"}) { changed } }"),
            "NOT_FOUND",
            &["Worker not found: nope"],
        ),
        Case(
            question("mutation { drainWorker(input: {workerId: \"w1\", ifRevision: 0}) { changed } }"),
            "CONFLICT",
            &["The condition on worker w1 names no revision that this database has", "is of revision 1"],
        ),
        Case(
            question("mutation { drainWorker(input: {workerId: \"w1\", ifRevision: -1}) { changed } }"),
            "INVALID_ARGUMENT",
            &["ifRevision", "-1"],
        ),
        Case(
            question(&format!(
                "mutation {{ drainWorker(input: {{workerId: \"w1\", reason: \"{}\"}}) {{ changed }} }}",
                "x".repeat(1_025)
            )),
            "INVALID_ARGUMENT",
            &["reason", "1024"],
        ),
        Case(
            question("mutation { deregisterWorker(input: {workerId: \"w1\", purge: true}) { workerId } }"),
            "CONFLICT",
            &["w1", "1 VMs", "force"],
        ),
        Case(
            question("mutation { deregisterWorker(input: {workerId: \"nope\"}) { workerId } }"),
            "NOT_FOUND",
            &["nope"],
        ),
        Case(beat("workerId: \"nope\", incarnation: 1"), "NOT_FOUND", &["nope", "Register it again"]),
        Case(beat("workerId: \"w1\", incarnation: 9"), "NOT_FOUND", &["w1", "incarnation 9", "the present one is 1"]),
        Case(beat("workerId: \"w1\", incarnation: 1, usedCpuCores: -1"), "INVALID_ARGUMENT", &["usedCpuCores", "-1"]),
        Case(register("workerId: \"a/b\""), "INVALID_ARGUMENT", &["id"]),
        Case(register("workerId: \"w2\", maxVms: 10001"), "INVALID_ARGUMENT", &["maxVms", "10000", "10001"]),
    ]
}

#[tokio::test]
async fn every_error_has_a_code_and_says_what_would_be_right() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1").vms([vm("vm-1")])]).await;
    let before = cluster.everything().await;
    let mut wrong = Vec::new();
    let cases =
        requests().into_iter().map(|case| (case, false)).chain(operations().into_iter().map(|case| (case, true)));
    for (Case(body, code, words), is_executed) in cases {
        let answer = cluster.rest().post("/graphql").json(body.clone()).await.json();
        let error = &answer["errors"][0];
        let message = error["message"].as_str().unwrap_or_default();
        let said = words.iter().all(|word| message.contains(word));
        let is_one = answer["errors"].as_array().is_some_and(|errors| errors.len() == 1);
        let was_executed = answer.get("data").is_some() && error["path"].is_array();
        if error["extensions"]["code"] != code || !said || !is_one || was_executed != is_executed {
            let asked: String = body.to_string().chars().take(300).collect();
            wrong.push(format!("{asked}\n  wants {code} {words:?}\n  got {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cluster.everything().await, before, "what fails changes nothing");
}

/// All fields of a type as a selection, read from the schema.
async fn selection_of_all_fields(cluster: &TestCluster, name: &str) -> String {
    let of_type = "ofType { name kind ofType { name kind ofType { name kind } } }";
    let query = format!("{{ __type(name: \"{name}\") {{ fields {{ name type {{ name kind {of_type} }} }} }} }}");
    let told = cluster.graphql(&query).await;
    let mut selection = String::new();
    for field in told["__type"]["fields"].as_array().unwrap() {
        let mut named = &field["type"];
        while named["ofType"].is_object() {
            named = &named["ofType"];
        }
        selection += field["name"].as_str().unwrap();
        if named["kind"] == "OBJECT" {
            let inner = Box::pin(selection_of_all_fields(cluster, named["name"].as_str().unwrap())).await;
            selection += &format!(" {{ {inner} }}");
        }
        selection.push(' ');
    }
    selection
}

/// The plan in an error is written by hand: a field that the type has gained would be missing there.
#[tokio::test]
async fn the_plan_in_an_error_has_all_fields_of_its_type() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let vms = [vm("small").size(1, 1), vm("large").size(64, 1)];
    cluster.add([worker("w1").vms(vms), worker("w2").cpu(8).max_vms(4)]).await;
    let mutation = r#"mutation { drainWorkers(input: {filter: {ids: ["w1"]}, limit: 500}) { totalChanged } }"#;
    let answer = cluster.graphql_answer(mutation, json!({})).await;
    let plan = &answer["errors"][0]["extensions"]["plan"];
    let is_whole = |list: &str| plan[list].as_array().is_some_and(|list| list.len() == 1);
    assert!(is_whole("moves") && is_whole("stranded"), "an example of everything: {answer}");
    let fields = selection_of_all_fields(&cluster, "EvacuationPlan").await;
    let query = format!(r#"{{ evacuationPlan(filter: {{ids: ["w1"]}}, limit: 500) {{ {fields} }} }}"#);
    assert_eq!(*plan, cluster.graphql(&query).await["evacuationPlan"], "{fields}");
}
