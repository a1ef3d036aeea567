//! What is wrong with a request is found before anything of it runs, whatever door it comes in by and whether its document
//! is known or not; and what is right is answered with the values that the language says.

use aetherium::clock::Clock;
use aetherium::server::Server;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::harness::*;

const INVALID: &str = "GRAPHQL_VALIDATION_FAILED";
const WRONG: &str = "BAD_USER_INPUT";

/// Drains w1, and then what the variable says.
const TWO: &str = r#"mutation Two($i: DrainWorkerInput!) {
    a: drainWorker(input: {workerId: "w1"}) { changed } b: drainWorker(input: $i) { changed } }"#;

const REGISTER: &str = r#"mutation Register($i: RegisterWorkerInput!) {
    a: drainWorker(input: {workerId: "w1"}) { changed } b: registerWorker(input: $i) { created } }"#;

const BEAT: &str = r#"mutation Beat($i: RecordHeartbeatInput!) {
    a: drainWorker(input: {workerId: "w1"}) { changed } b: recordHeartbeat(input: $i) { policy } }"#;

const PURGE: &str = r#"mutation Purge($purge: Boolean) {
    a: drainWorker(input: {workerId: "w1"}) { changed } b: deregisterWorker(input: {workerId: "w2", purge: $purge}) { workerId } }"#;

const SHOW: &str = r#"mutation Show($show: Boolean = true) {
    a: drainWorker(input: {workerId: "w1"}) { changed worker { id @include(if: $show) } } }"#;

const PAGE: &str = "query Page($first: Int! = 5, $filter: WorkerFilter, $order: WorkerOrder) {
    workersConnection(first: $first, filter: $filter, orderBy: $order) { totalCount } }";

const EVENTS: &str = "query Events($first: Int, $after: Cursor) { worker(id: \"w1\") { events(first: $first, after: $after) { kind } } }";

const STATS: &str = "subscription Stats($every: Duration) { clusterStats(every: $every) { totalWorkers } }";

/// Valid documents with variables that are not, and what is said of those.
fn wrong_variables() -> Vec<(&'static str, Value, &'static str)> {
    let changed = |mut input: Value, changes: Value| {
        input.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        json!({"i": input})
    };
    let machine = json!({"workerId": "w9", "hostname": "h", "address": "a:1", "cpuCores": 1, "memoryMb": 1});
    let register = |changes: Value| changed(machine.clone(), changes);
    let beat = |changes: Value| changed(json!({"workerId": "w2", "incarnation": 1}), changes);
    vec![
        (TWO, json!({}), "Variable \"$i\" has to be given"),
        (TWO, json!({"i": null}), "Variable \"$i\" has to be given"),
        (TWO, json!({"i": "abc"}), "$i must be DrainWorkerInput, not \"abc\""),
        (TWO, json!({"i": []}), "$i must be DrainWorkerInput, not []"),
        (TWO, json!({"i": [{"workerId": "w2"}]}), "$i must be DrainWorkerInput, not [{"),
        (TWO, json!({"i": {}}), "$i must have a field \"workerId\""),
        (TWO, json!({"i": {"workerId": null}}), "$i.workerId must be ID!, not null"),
        (TWO, json!({"i": {"workerId": {"a": 1}}}), "$i.workerId must be ID, not {"),
        (TWO, json!({"i": {"workerId": 1.5}}), "$i.workerId must be ID, not 1.5"),
        (
            TWO,
            json!({"i": {"workerId": "w2", "ifRevison": 1}}),
            "$i has no field \"ifRevison\": there are deadline, ifRevision,",
        ),
        (TWO, json!({"i": {"workerId": "w2", "reason": 7}}), "$i.reason must be String, not 7"),
        (TWO, json!({"i": {"workerId": "w2", "ifRevision": "1"}}), "$i.ifRevision must be a whole number"),
        (TWO, json!({"i": {"workerId": "w2", "ifRevision": 1.5}}), "1.5 is not a whole number from -2^53 to 2^53"),
        (TWO, json!({"i": {"workerId": "w2", "ifRevision": 9_007_199_254_740_993_i64}}), "from -2^53 to 2^53"),
        (TWO, json!({"i": {"workerId": "w2", "ifRevision": [1]}}), "$i.ifRevision must be a whole number"),
        (
            REGISTER,
            register(json!({"cpuCores": 2_147_483_648_i64})),
            "$i.cpuCores must be a whole number from -2147483648",
        ),
        (REGISTER, register(json!({"cpuCores": 1.5})), "$i.cpuCores must be Int, not 1.5"),
        (REGISTER, register(json!({"cpuCores": "1"})), "$i.cpuCores must be Int, not \"1\""),
        (REGISTER, register(json!({"labels": ["x"]})), "$i.labels[0] must be LabelInput, not \"x\""),
        (
            REGISTER,
            register(json!({"labels": [{"key": "a", "value": "b"}, {"key": "a"}]})),
            "$i.labels[1] must have a field \"value\"",
        ),
        (REGISTER, register(json!({"labels": {"key": "a", "value": 1}})), "$i.labels.value must be String, not 1"),
        (REGISTER, register(json!({"capabilities": ["a", null]})), "$i.capabilities[1] must be String!, not null"),
        (BEAT, beat(json!({"incarnation": true})), "$i.incarnation must be a whole number"),
        (
            BEAT,
            beat(json!({"vms": [{"id": "v", "status": "NOPE"}]})),
            "$i.vms[0].status must be one of CREATED, FAILED,",
        ),
        (BEAT, beat(json!({"vmsDelta": {"upsert": [7]}})), "$i.vmsDelta.upsert[0] must be VmReportInput, not 7"),
        (BEAT, beat(json!({"vmsDelta": {"remove": {}}})), "$i.vmsDelta.remove must be ID, not {}"),
        (PURGE, json!({"purge": null}), "$purge must not be null"),
        (PURGE, json!({"purge": "yes"}), "$purge must be Boolean, not \"yes\""),
        (SHOW, json!({"show": null}), "$show must not be null"),
        (PAGE, json!({"first": null}), "$first must not be null: leave it out"),
        (PAGE, json!({"first": "5"}), "$first must be Int, not \"5\""),
        (PAGE, json!({"filter": {"statuses": ["ACTIVE", "active"]}}), "$filter.statuses[1] must be one of ACTIVE,"),
        (PAGE, json!({"order": {"direction": "ASC"}}), "$order must have a field \"field\""),
        (
            PAGE,
            json!({"order": {"field": "ID", "direction": null}}),
            "$order.direction must be OrderDirection!, not null",
        ),
        (EVENTS, json!({"first": null}), "$first must not be null"),
        (EVENTS, json!({"after": "nonsense"}), "$after must be a cursor: \"nonsense\" is not a cursor of this API"),
        (EVENTS, json!({"after": 7}), "$after must be a text"),
        (STATS, json!({"every": "soon"}), "$every must be a length of time"),
        (STATS, json!({"every": 7}), "$every must be a text"),
    ]
}

/// Documents that are not valid, and what is said of them. The first half changes something before it comes to what is
/// wrong.
fn invalid_documents() -> Vec<(String, &'static str)> {
    let commands = [
        // One variable that is left out, beside a key that there is not.
        (
            "($r: String)",
            r#"drainWorker(input: {workerId: "w2", reason: $r, ifRevison: 1}) { changed }"#,
            "Did you mean \"ifRevision\"?",
        ),
        (
            "",
            r#"drainWorker(input: {workerId: "w2", workerId: "w3"}) { changed }"#,
            "only one input field named \"workerId\"",
        ),
        (
            "",
            r#"deregisterWorker(input: {workerId: "w2", purge: false, purge: true}) { workerId }"#,
            "only one input field named \"purge\"",
        ),
        (
            "",
            r#"registerWorker(input: {workerId: "w9", hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1, labels: [{key: "a", key: "b", value: "c"}]}) { created }"#,
            "only one input field named \"key\"",
        ),
        (
            r#"($i: DrainWorkerInput = {workerId: "w2", workerId: "w3"})"#,
            "drainWorker(input: $i) { changed }",
            "only one input field named \"workerId\"",
        ),
        (
            "($i: DrainWorkerInput)",
            "drainWorker(input: $i) { changed }",
            "of type \"DrainWorkerInput\" used in position expecting type \"DrainWorkerInput!\"",
        ),
        ("($i: DrainWorkerInput = null)", "drainWorker(input: $i) { changed }", "used in position expecting"),
        (
            "($id: ID)",
            "drainWorker(input: {workerId: $id}) { changed }",
            "\"$id\" of type \"ID\" used in position expecting type \"ID!\"",
        ),
        ("($id: Int!)", "drainWorker(input: {workerId: $id}) { changed }", "ID"),
        ("($r: Int)", r#"drainWorker(input: {workerId: "w2", reason: $r}) { changed }"#, "String"),
        ("($n: String)", r#"drainWorker(input: {workerId: "w2", ifRevision: $n}) { changed }"#, "Int53"),
        ("", r#"drainWorker(input: {workerId: "w2", reason: $nobody}) { changed }"#, "\"$nobody\" is not defined"),
        (
            "",
            r#"drainWorker(input: {workerId: "w2", ifRevision: "1"}) { changed }"#,
            "\"Int53\" must be a whole number",
        ),
        (
            "",
            r#"drainWorker(input: {workerId: "w2", ifRevision: 1.0}) { changed }"#,
            "\"Int53\" must be a whole number",
        ),
        ("", r#"drainWorker(input: {workerId: "w2", ifRevision: 9007199254740993}) { changed }"#, "from -2^53 to 2^53"),
        ("($n: Int53)", r#"drainWorker(input: {workerId: "w2", ifRevision: [$n]}) { changed }"#, "Int53"),
        (
            "($n: Int53 = 1.5)",
            r#"drainWorker(input: {workerId: "w2", ifRevision: $n}) { changed }"#,
            "1.5 is not a whole number",
        ),
        ("", "drainWorker { changed }", "is required"),
        ("", r#"drainWorker(input: {workerId: "w2"}) { nope }"#, "\"nope\""),
        ("", r#"drainWorker(input: {workerId: "w2"})"#, "selection of subfields"),
        ("($unused: Int)", r#"drainWorker(input: {workerId: "w2"}) { changed }"#, "never used"),
        (
            "",
            r#"... @include(if: $nobody) { drainWorker(input: {workerId: "w2"}) { changed } }"#,
            "\"$nobody\" is not defined",
        ),
        ("", "__typename(x: 1)", "Unknown argument \"x\""),
        ("", "__typename @nope", "Unknown directive \"@nope\""),
        ("", "__typename { x }", "must not have a selection"),
        ("", "__typename @skip", "is required"),
    ];
    let commands = commands.into_iter().map(|(variables, second, words)| {
        let first = r#"a: drainWorker(input: {workerId: "w1"}) { changed }"#;
        (format!("mutation {variables} {{ {first} {second} }}"), words)
    });
    let questions = [
        ("query($n: String) { events(first: $n) { hasNextPage } }", "used in position expecting"),
        (
            "query($n: Int = null) { nodes(ids: [\"w1\"]) { id } workersConnection(first: $n) { totalCount } worker(id: $n) { id } }",
            "ID",
        ),
        (
            "query($id: ID) { nodes(ids: [\"w1\", $id]) { id } }",
            "\"$id\" of type \"ID\" used in position expecting type \"ID!\"",
        ),
        ("query($ids: [ID]) { nodes(ids: $ids) { id } }", "used in position expecting"),
        ("query($ids: ID!) { nodes(ids: $ids) { id } }", "used in position expecting"),
        (
            "query($f: [WorkerStatus]) { workersConnection(filter: {statuses: $f}) { totalCount } }",
            "used in position expecting",
        ),
        ("query($s: Boolean) { __typename @skip(if: $s) }", "used in position expecting"),
        (
            "query A($s: Boolean!) { ...F } query B { ...F } fragment F on Query { __typename @skip(if: $s) }",
            "\"$s\" is not defined",
        ),
        (
            "{ workersConnection(filter: {labels: [{key: \"a\", key: \"b\"}]}) { totalCount } }",
            "only one input field named \"key\"",
        ),
        ("{ workersConnection(first: 4294967296) { totalCount } }", "non 32-bit"),
        ("{ events(after: \"x\") { hasNextPage } }", "\"x\" is not a cursor of this API"),
        ("{ nodes(ids: [1]) { id } nodes(ids: [1, 2]) { id } }", "differing arguments"),
        ("{ workers @skip(if: true) @skip(if: true) { id } }", "only be used once"),
        ("query A { workers { id } } query A { workers { id } }", "only one operation named \"A\""),
        ("subscription { clusterStats { revision } clusterEvents { kind } }", "exactly one field"),
        ("subscription { a: clusterStats { revision } b: clusterStats { revision } }", "exactly one field"),
        ("subscription { __typename }", "exactly one field"),
        (
            "subscription { ...F } fragment F on Subscription { clusterStats { revision } __typename }",
            "exactly one field",
        ),
        ("subscription($s: Boolean!) { clusterStats @skip(if: $s) { revision } }", "no condition there"),
        ("subscription { clusterStats @skip(if: false) { revision } }", "no condition there"),
        ("subscription { ... @include(if: true) { clusterStats { revision } } }", "no condition there"),
        ("subscription { clusterStats(every: \"soon\") { revision } }", "\"soon\" is no length of time"),
    ];
    let invalid = commands.chain(questions.map(|(query, words)| (query.to_owned(), words)));
    invalid.collect()
}

/// A door that a request comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Post,
    Get,
    Stream,
    Socket,
    /// By its hash, after it has been sent with that.
    Hash,
    /// By its id in a manifest.
    Id,
    /// By its own address.
    Address,
}

/// Servers of one fleet: one that takes any document, and one that trusts some.
struct Doors {
    cluster: TestCluster,
    port: Port,
    _folder: TempDir,
}

impl Doors {
    /// With these documents in the manifest.
    async fn open(database: &TestDatabase, documents: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = TestCluster::configured(database, |options| {
            options.graphql.trusted_documents = Some(manifest(&folder, documents));
        })
        .await;
        cluster.add([worker("w1"), worker("w2"), worker("w3")]).await;
        let port = Port::of(&cluster).await;
        Self { cluster, port, _folder: folder }
    }

    async fn ask(&self, door: Door, query: &str, variables: &Value) -> Value {
        let rest = self.cluster.rest();
        let post = async |body: Value| rest.post("/graphql").json(body).await.json();
        match door {
            Door::Post => post(json!({"query": query, "variables": variables})).await,
            Door::Get => {
                let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
                let path = format!("/graphql?query={}&variables={}", escape(query), escape(&variables.to_string()));
                rest.get(&path).await.json()
            }
            Door::Stream => {
                let body = json!({"query": query, "variables": variables});
                let accept = [("accept", "text/event-stream")];
                HttpStream::post(&self.port.authority(), "/graphql", &accept, &body).await.message().await.json()
            }
            Door::Socket => {
                let mut socket = self.port.client().await;
                socket.subscribe("1", query, variables.clone()).await;
                let mut heard = socket.hear().await;
                match heard["type"].as_str() {
                    Some("error") => json!({"errors": heard["payload"]}),
                    _ => heard["payload"].take(),
                }
            }
            Door::Hash => {
                let hash: String = Sha256::digest(query).iter().map(|byte| format!("{byte:02x}")).collect();
                let extensions = json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
                let sent = post(json!({"query": query, "variables": variables, "extensions": extensions})).await;
                let named = post(json!({"variables": variables, "extensions": extensions})).await;
                // What is not valid is not kept.
                if named["errors"][0]["message"] != "PersistedQueryNotFound" {
                    assert_eq!(named, sent, "{query} {variables}");
                }
                sent
            }
            Door::Id => post(json!({"documentId": id(query), "variables": variables})).await,
            Door::Address => rest.post(&format!("/api/v1/q/{}", id(query))).json(variables.clone()).await.json(),
        }
    }
}

fn fragment_on_what_comes_of(command: &str) -> String {
    let (first, rest) = command.split_at(1);
    let name = rest.split('(').next().unwrap();
    format!("fragment T on {}{name}Payload {{ __typename }}", first.to_uppercase())
}

fn id(query: &str) -> String {
    Sha256::digest(query).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn manifest(folder: &TempDir, documents: &[&str]) -> std::path::PathBuf {
    let operations = documents.iter().map(|body| {
        let mut words = body.split(|letter: char| !letter.is_alphanumeric());
        json!({"id": id(body), "type": words.next(), "name": words.next(), "body": body})
    });
    let operations: Vec<_> = operations.collect();
    let file = folder.path().join("manifest.json");
    let manifest = json!({"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations});
    std::fs::write(&file, manifest.to_string()).unwrap();
    file
}

#[track_caller]
fn assert_refused(answer: &Value, code: &str, words: &str, what: &str) {
    assert_eq!(answer.get("data"), None, "{what}: {answer}");
    let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("{what}: {answer}"));
    assert!(errors.iter().all(|error| error["extensions"]["code"] == code), "{what}: {answer}");
    let said = errors.iter().any(|error| error["message"].as_str().is_some_and(|message| message.contains(words)));
    assert!(said, "{what} wants {words:?}: {answer}");
    for word in ["::", "Some(", "Node", "async_graphql", "apollo"] {
        assert!(!answer["errors"].to_string().contains(word), "{what}: {answer}");
    }
}

on_both_databases! {
    async fn a_wrong_variable_is_refused_at_every_door_before_anything_runs(database: TestDatabase) {
        let documents = [TWO, REGISTER, BEAT, PURGE, SHOW, PAGE, EVENTS, STATS];
        let doors = Doors::open(&database, &documents).await;
        let before = doors.cluster.everything().await;
        for (query, variables, words) in wrong_variables() {
            for door in [Door::Post, Door::Get, Door::Stream, Door::Socket, Door::Hash, Door::Id, Door::Address] {
                let by_get = query.starts_with("query");
                if door == Door::Get && !by_get || door == Door::Address && query.starts_with("subscription") {
                    continue;
                }
                let answer = doors.ask(door, query, &variables).await;
                assert_refused(&answer, WRONG, words, &format!("{door:?} {query} {variables}"));
                let error = &answer["errors"][0];
                assert!(error["locations"][0]["line"].is_u64() && error.get("path").is_none(), "{answer}");
            }
        }
        assert_eq!(doors.cluster.everything().await, before, "what is refused changes nothing");
    }

    async fn an_invalid_document_is_refused_at_every_door_before_anything_runs(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        let before = doors.cluster.everything().await;
        let documents = doors.cluster.server().documents().stats();
        for (query, words) in invalid_documents() {
            // Each twice: it makes no difference that it was there before.
            for door in [Door::Post, Door::Post, Door::Get, Door::Stream, Door::Socket, Door::Hash] {
                for variables in [json!({}), json!({"r": "why", "s": true, "n": 1})] {
                    let answer = doors.ask(door, &query, &variables).await;
                    assert_refused(&answer, INVALID, words, &format!("{door:?} {query}"));
                }
            }
        }
        assert_eq!(doors.cluster.everything().await, before, "what is refused changes nothing");
        let kept = doors.cluster.server().documents().stats();
        assert_eq!((kept.kept, kept.validated), (documents.kept, documents.validated), "nor is it kept");
    }

    async fn the_verdict_does_not_depend_on_whether_the_document_is_known(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        for (query, right) in [
            (TWO, json!({"i": {"workerId": "w2"}})),
            (PAGE, json!({})),
            (EVENTS, json!({})),
        ] {
            let answer = doors.ask(Door::Post, query, &right).await;
            assert!(answer["data"].is_object(), "{answer}");
        }
        for (query, variables, words) in wrong_variables() {
            let unknown = doors.ask(Door::Post, &format!("{query} # {variables}"), &variables).await;
            let known = doors.ask(Door::Post, query, &variables).await;
            assert_eq!(known, unknown, "{query} {variables}");
            assert_refused(&known, WRONG, words, query);
        }
    }

    async fn values_are_what_the_language_makes_of_them(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        doors.cluster.add([worker("7").zone("b"), worker("18446744073709551616").zone("a")]).await;
        let numbers = json!([{"id": "18446744073709551616"}, {"id": "7"}]);
        for (query, variables, expected) in [
            // What is left out is left out, and its place's default is in force.
            ("query($n: Int) { events(first: $n) { hasNextPage } }", json!({}), json!({"events": {"hasNextPage": false}})),
            ("query($n: Int) { events(first: $n) { hasNextPage } }", json!({"n": 1}), json!({"events": {"hasNextPage": true}})),
            ("query($n: Int = 1) { events(first: $n) { hasNextPage } }", json!({}), json!({"events": {"hasNextPage": true}})),
            (
                "query($d: OrderDirection, $z: [String!]) { workersConnection(orderBy: {field: ZONE, direction: $d}, filter: {zones: $z}) { nodes { id } } }",
                json!({"z": ["a", "b"]}),
                json!({"workersConnection": {"nodes": numbers}}),
            ),
            (
                "query($o: WorkerOrder) { workersConnection(orderBy: $o, filter: {zones: [\"a\", \"b\"]}) { nodes { id } } }",
                json!({"o": {"field": "ZONE"}}),
                json!({"workersConnection": {"nodes": numbers}}),
            ),
            // An entry is a list of one, and a number an id.
            ("{ workersConnection(filter: {ids: 7}) { totalCount } }", json!({}), json!({"workersConnection": {"totalCount": 1}})),
            ("query($f: WorkerFilter) { workersConnection(filter: $f) { totalCount } }", json!({"f": {"ids": 7}}), json!({"workersConnection": {"totalCount": 1}})),
            ("query($i: [ID!]!) { nodes(ids: $i) { id } }", json!({"i": 7.0}), json!({"nodes": [{"id": "7"}]})),
            ("{ worker(id: 18446744073709551616) { id } }", json!({}), json!({"worker": {"id": "18446744073709551616"}})),
            ("query($n: Int) { workersConnection(first: $n) { nodes { id } } }", json!({"n": 1.0}), json!({"workersConnection": {"nodes": [{"id": "18446744073709551616"}]}})),
            ("query($s: [WorkerStatus!]) { workersConnection(filter: {statuses: $s}) { totalCount } }", json!({"s": "ACTIVE"}), json!({"workersConnection": {"totalCount": 5}})),
            // `__typename` is a field as others are.
            ("query($s: Boolean!) { a: __typename @skip(if: $s) __typename @include(if: $s) }", json!({"s": true}), json!({"__typename": "Query"})),
            ("query($s: Boolean = false) { __typename @skip(if: $s) }", json!({}), json!({"__typename": "Query"})),
            // What the language writes.
            ("query Q($z: [String !]) { workersConnection(filter: {zones: $z}) { totalCount } }", json!({"z": "b"}), json!({"workersConnection": {"totalCount": 1}})),
            ("\"What it is for.\" query Q { worker(id: \"7\") { id } }", json!({}), json!({"worker": {"id": "7"}})),
            ("\u{feff}{ worker(id: \"\"\"\n  7\n  \"\"\") { id } }", json!({}), json!({"worker": {"id": "7"}})),
            ("{ worker(id: \"\\u0037\") { id } }", json!({}), json!({"worker": {"id": "7"}})),
            ("{ worker(id: \"\\u{37}\") { id } }", json!({}), json!({"worker": {"id": "7"}})),
            ("subscription { ... { clusterStats { totalWorkers } } ...S } fragment S on Subscription { clusterStats { again: totalWorkers } }", json!({}), json!({"clusterStats": {"totalWorkers": 5, "again": 5}})),
            // Introspection is asked as everything else is.
            ("query($d: Boolean) { __type(name: \"Node\") { isOneOf fields(includeDeprecated: $d) { args(includeDeprecated: false) { name } } } }", json!({}), json!({"__type": {"isOneOf": null, "fields": [{"args": []}]}})),
        ] {
            // By plan and by the engine: that resolves the whole document if a part of it fails.
            let doors_of_it = match query.starts_with("subscription") {
                true => vec![Door::Stream, Door::Socket],
                false => vec![Door::Post, Door::Get, Door::Stream, Door::Socket, Door::Hash],
            };
            for door in doors_of_it {
                let answer = doors.ask(door, query, &variables).await;
                assert_eq!(answer, json!({"data": expected}), "{door:?} {query}");
            }
        }

        // A text with everything in it that texts can have, written and kept.
        for (literal, reason) in [
            (r#""""a \""" b""""#, "a \"\"\" b"),
            (r#""\u{1F600} \uD83D\uDE00 \\ \" \u00e9""#, "😀 😀 \\ \" é"),
            ("\"\"\"\n\n    first, # second\n    \"\"\"", "first, # second"),
        ] {
            let query = format!("mutation {{ drainWorker(input: {{workerId: 7, reason: {literal}}}) {{ changed worker {{ events(first: 1) {{ reason }} }} }} activateWorker(input: {{workerId: 7}}) {{ changed }} }}");
            let answer = doors.ask(Door::Post, &query, &json!({})).await;
            let event = &answer["data"]["drainWorker"]["worker"]["events"][0];
            assert_eq!(event["reason"], reason, "{literal}: {answer}");
        }

        // `purge` is false if its variable is left out, and not null.
        let answer = doors.ask(Door::Post, PURGE, &json!({})).await;
        assert_eq!(answer["data"]["b"], json!({"workerId": "w2"}), "{answer}");
        assert_eq!(doors.cluster.worker("w2").await["status"], "offline");
    }

    /// Clients write them so, and graphql-js reads them so.
    async fn numbers_are_ids_as_javascript_writes_them(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        let numbers = [
            ("0", "-0"),
            ("-3", "-3.0"),
            ("100000000000000000000", "1e20"),
            ("123456789012345670000", "1.2345678901234567e20"),
            ("1e+21", "1000000000000000000000.0"),
            ("-2.5e+21", "-2.5e21"),
            ("1e+300", "1e300"),
        ];
        doors.cluster.add(numbers.map(|(id, _)| worker(id))).await;
        for (id, number) in numbers {
            // As it is: to be read and written again might change it.
            let body = format!(r#"{{"query": "query ($id: ID!) {{ worker(id: $id) {{ id }} }}", "variables": {{"id": {number}}}}}"#);
            let rest = doors.cluster.rest();
            let answer = rest.post("/graphql").header("content-type", "application/json").body(body).await.json();
            assert_eq!(answer, json!({"data": {"worker": {"id": id}}}), "{number}");
        }
    }

    async fn a_command_that_stands_in_several_places_is_carried_out_once(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        let machine = r#"hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1"#;
        for (command, event) in [
            (format!(r#"registerWorker(input: {{workerId: "new", {machine}}})"#), "worker_registered"),
            (format!(r#"registerWorker(input: {{workerId: "new", {machine}}})"#), "worker_restarted"),
            (r#"drainWorker(input: {workerId: "w1"})"#.to_owned(), "worker_drain_started"),
            (r#"activateWorker(input: {workerId: "w1"})"#.to_owned(), "worker_activated"),
            (r#"recordHeartbeat(input: {workerId: "w1", incarnation: 1, vms: [{id: "v"}]})"#.to_owned(), "vm_started"),
            (r#"deregisterWorker(input: {workerId: "w3"})"#.to_owned(), "worker_left"),
        ] {
            let before = doors.cluster.history().await.len();
            let places = format!(
                "mutation($s: Boolean!) {{ a: {command} {{ ...T }} ...F ... {{ a: {command} {{ again: __typename }} }}
                ... on Mutation @skip(if: $s) {{ b: {command} {{ __typename }} }} }}
                fragment F on Mutation {{ a: {command} @include(if: $s) {{ third: __typename }} ...G }}
                fragment G on Mutation {{ a: {command} {{ ...T }} }}
                {}",
                fragment_on_what_comes_of(&command)
            );
            let answer = doors.ask(Door::Post, &places, &json!({"s": true})).await;
            let shown = answer["data"]["a"].as_object().unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(shown.keys().collect::<Vec<_>>(), ["__typename", "again", "third"], "{answer}");
            let history = doors.cluster.history().await;
            assert_eq!(history.len(), before + 1, "{command}: {history:?}");
            assert!(history.last().unwrap().starts_with(event), "{event}: {history:?}");
        }
    }

    async fn a_null_that_one_of_several_places_makes_is_one_for_all(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        for query in [
            r#"{ worker(id: "w1") { id } worker(id: "w1") { events(first: -1) { at } } }"#,
            r#"{ worker(id: "w1") { events(first: -1) { at } } ... { worker(id: "w1") { id } } }"#,
            r#"{ worker: node(id: "w1") { id } ...F } fragment F on Query { worker: node(id: "w1") { ... on Worker { events(first: -1) { at } } } }"#,
        ] {
            let answer = doors.ask(Door::Post, query, &json!({})).await;
            assert_eq!(answer["data"], json!({"worker": null}), "{query}: {answer}");
            assert_eq!(answer["errors"].as_array().map(Vec::len), Some(1), "{query}: {answer}");
        }
    }

    async fn errors_point_into_the_text_that_was_sent(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        let at = |line: u64, column: u64| json!({"line": line, "column": column});
        let before = "# é 😀\r\n\"\"\"What\n\nit is for.\"\"\" query Q";
        for (rest, variables, expected) in [
            ("{\n  a: workersConnection(first: 501) { totalCount } }", json!({}), vec![at(5, 3)]),
            ("{\n  workers { é } }", json!({}), vec![at(5, 13)]),
            ("{\n  workers { id, nope } }", json!({}), vec![at(5, 17)]),
            ("{\n  a: worker(id: \"é\") { id } a: worker(id: \"e\") { id } }", json!({}), vec![at(5, 3), at(5, 29)]),
            ("(\n $n: Int\n) { workersConnection(first: $n) { totalCount } }", json!({"n": "x"}), vec![at(5, 2)]),
            ("{\n\"é\"", json!({}), vec![at(5, 1)]),
        ] {
            let query = format!("{before}{rest}");
            let answer = doors.ask(Door::Post, &query, &variables).await;
            assert_eq!(answer["errors"][0]["locations"], json!(expected), "{query}: {answer}");
        }
    }

    async fn an_empty_operation_name_is_none_at_every_door(database: TestDatabase) {
        let doors = Doors::open(&database, &[]).await;
        let rest = doors.cluster.rest();
        let one = "query A { worker(id: \"w1\") { id } }";
        let two = "query A { workers { id } } query B { vms { id } }";
        let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        for (query, right) in [(one, true), (two, false)] {
            let body = json!({"query": query, "operationName": ""});
            let post = rest.post("/graphql").json(body.clone()).await.json();
            let get = rest.get(&format!("/graphql?query={}&operationName=", escape(query))).await.json();
            let accept = [("accept", "text/event-stream")];
            let stream = HttpStream::post(&doors.port.authority(), "/graphql", &accept, &body).await.message().await.json();
            let mut socket = doors.port.client().await;
            socket.say(json!({"id": "1", "type": "subscribe", "payload": body})).await;
            let heard = socket.hear().await;
            assert_eq!(heard["type"] == "next", right, "{heard}");
            assert_eq!([&get, &stream], [&post, &post]);
            match right {
                true => assert_eq!(post, json!({"data": {"worker": {"id": "w1"}}})),
                false => assert_refused(&post, WRONG, "Operation name required: send `operationName`", query),
            }
        }
    }

    async fn a_manifest_with_an_invalid_document_stops_the_start(database: TestDatabase) {
        let cluster = TestCluster::on(&database).await;
        let invalid: Vec<_> = invalid_documents().into_iter().filter(|(query, _)| !query.contains("query A")).collect();
        for (query, words) in &invalid {
            let folder = tempfile::tempdir().unwrap();
            let mut options = cluster.options().clone();
            options.graphql.trusted_documents = Some(manifest(&folder, &[query]));
            let problem = Server::start(options, Clock::system()).await.expect_err(query).to_string();
            assert!(problem.contains(words) || problem.contains("its body is a"), "{query}: {problem}");
        }
    }
}
