//! Property tests: random documents are run by plan and by the engine, and both responses must be equal, to the byte.
//!
//! Each document is run several times while the clock moves and the cluster changes, so that cached rows are tested
//! together with rows that must not be cached.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{DocumentOperations, OperationType};
use async_graphql::{EmptyMutation, EmptySubscription, Request, Schema, ValidationMode, Variables, value};
use chrono::TimeDelta;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::collect::Compiler;
use super::{ItemPlan, PlanInput};
use crate::clock::Timestamp;
use crate::cluster::{
    Changes, Cursor, Event, EventKind, Identity, Life, SchedulingPolicy, Snapshot, Tombstone, View, Vm, VmId, VmStatus,
    Worker, WorkerId,
};
use crate::graphql::execution::budget::Budget;
use crate::graphql::execution::response::OperationResponse;
use crate::graphql::operation::document_cache::DocumentCache;
use crate::graphql::options::GraphqlOptions;
use crate::graphql::schema::index::{IndexedType, SchemaIndex, innermost};
use crate::graphql::schema::object_types::Node;
use crate::graphql::schema::query::Query;
use crate::graphql::subscriptions::broadcast::{ItemRoot, Payload};
use crate::graphql::subscriptions::item::StreamItem;
use crate::resolvers::row_cache::RowCache;
use crate::resolvers::watch::Heartbeat;
use crate::resolvers::{EventView, Reading};

/// Fields that have no plan.
const NOT_PLANNED: [&str; 2] = ["events", "health"];

/// Ids of the test's cluster, and one that does not exist.
const IDS: [&str; 8] = ["w0", "w1", "w2", "w3", "v0", "v1", "v7", "nobody"];

/// Generates random documents.
struct DocumentGenerator {
    random: StdRng,
    types: &'static SchemaIndex,
    fragments: Vec<String>,
}

impl DocumentGenerator {
    fn document(&mut self) -> String {
        let fields = self.selection("Query", 0);
        let fragments = self.fragments.join("\n");
        // Each variable is used, since one that is not would make the document invalid.
        let uses = "used: __typename @include(if: $yes) @skip(if: $no)
            usedToo: worker(id: $id) { labels(keys: $keys) { key } vms(status: $statuses) { id } }";
        let uses = if self.random.random_bool(0.3) {
            (
                uses,
                "query Q($id: ID! = \"w1\", $yes: Boolean! = true, $no: Boolean!, $keys: [String!], $statuses: [VmStatus!])",
            )
        } else {
            ("", "query Q")
        };
        let fields = if uses.0.is_empty() { without_variables(&fields) } else { fields };
        let fragments = if uses.0.is_empty() { without_variables(&fragments) } else { fragments };
        format!("{} {{ {fields} {} }}\n{fragments}", uses.1, uses.0)
    }

    fn selection(&mut self, ty: &str, depth: usize) -> String {
        let mut text = String::new();
        let (least, most) = if depth == 0 { (1, 3) } else { (1, 6) };
        for _ in 0..self.random.random_range(least..=most) {
            let field = self.field(ty, depth);
            match self.random.random_range(0..12) {
                0 => _ = write!(text, " ... {{ {field} }}"),
                1 => _ = write!(text, " ... on {ty} {{ {field} }}"),
                2 => {
                    let condition = self.condition();
                    _ = write!(text, " ... on {ty} {condition} {{ {field} }}");
                }
                3 if ["Worker", "Vm"].contains(&ty) => _ = write!(text, " ... on Node {{ __typename nodeId: id }}"),
                4 => {
                    let name = format!("F{}", self.fragments.len());
                    self.fragments.push(String::new());
                    _ = write!(text, " ...{name}");
                    let at = self.fragments.len() - 1;
                    self.fragments[at] = format!("fragment {name} on {ty} {{ {field} }}");
                }
                _ => _ = write!(text, " {field}"),
            }
        }
        text
    }

    fn field(&mut self, ty: &str, depth: usize) -> String {
        let fields = match self.types.get(ty) {
            Some(IndexedType::Object(fields) | IndexedType::Interface(fields)) => fields,
            other => panic!("{ty} has no fields: {other:?}"),
        };
        let mut names: Vec<_> = fields.keys().map(String::as_str).filter(|name| !NOT_PLANNED.contains(name)).collect();
        names.sort_unstable();
        names.push("__typename");
        if depth > 3 {
            // Lists of lists of lists: far enough.
            names.retain(|name| *name == "__typename" || self.types.is_leaf(innermost(&fields[*name].ty)));
        }
        let name = *names.choose(&mut self.random).unwrap();
        let alias = match self.random.random_range(0..8) {
            0 => format!("a{}: ", self.random.random_range(0..4)),
            1 => format!("{name}Too: "),
            _ => String::new(),
        };
        let condition = if self.random.random_range(0..10) == 0 { self.condition() } else { String::new() };
        if name == "__typename" {
            return format!("{alias}__typename {condition}");
        }
        let arguments = self.arguments(ty, name);
        let below = innermost(&fields[name].ty).to_owned();
        if self.types.is_leaf(&below) {
            return format!("{alias}{name}{arguments} {condition}");
        }
        let selection = if below == "Node" {
            let (worker, vm) = (self.selection("Worker", depth + 1), self.selection("Vm", depth + 1));
            format!("id ... on Worker {{ {worker} }} ... on Vm {{ {vm} }}")
        } else {
            self.selection(&below, depth + 1)
        };
        format!("{alias}{name}{arguments} {condition} {{ {selection} }}")
    }

    fn condition(&mut self) -> String {
        let conditions = [
            "@skip(if: true)",
            "@skip(if: false)",
            "@include(if: true)",
            "@include(if: false)",
            "@include(if: $yes)",
            "@skip(if: $no) @include(if: $yes)",
        ];
        (*conditions.choose(&mut self.random).unwrap()).to_owned()
    }

    fn arguments(&mut self, ty: &str, name: &str) -> String {
        let mut one_of = |choices: &[&str]| (*choices.choose(&mut self.random).unwrap()).to_owned();
        match (ty, name) {
            ("Query", "node" | "worker" | "vm") => {
                let id = one_of(&IDS);
                one_of(&[&format!("(id: {id:?})"), "(id: $id)", "(id: 7)"])
            }
            ("Query", "nodes") => format!("(ids: [{:?}, {:?}, {:?}])", one_of(&IDS), one_of(&IDS), one_of(&IDS)),
            ("Query", "workers") => one_of(&["", "", "(zone: \"a\")", "(zone: \"\")", "(zone: null)"]),
            ("Worker", "labels") => one_of(&["", "(keys: [\"env\"])", "(keys: [])", "(keys: $keys)", "(keys: null)"]),
            ("Worker", "vms") => {
                one_of(&["", "", "(status: [STOPPED, RUNNING])", "(status: FAILED)", "(status: $statuses)"])
            }
            ("Query", "workersConnection") => one_of(&[
                "",
                "(first: 2)",
                "(last: 1, orderBy: {field: HOSTNAME, direction: DESC})",
                "(first: 9999)",
                "(filter: {statuses: [ACTIVE, OFFLINE], labels: [{key: \"env\"}]})",
                "(first: 1, after: \"nonsense\")",
            ]),
            ("Query" | "Worker", "vmsConnection") => {
                one_of(&["", "(first: 1)", "(last: 2)", "(filter: {statuses: [STOPPED]})", "(first: -1)"])
            }
            _ => String::new(),
        }
    }
}

/// The same document with constants in place of its variables.
fn without_variables(text: &str) -> String {
    text.replace("$yes", "true")
        .replace("$no", "false")
        .replace("$id", "\"w2\"")
        .replace("$keys", "[\"rack\"]")
        .replace("$statuses", "[RUNNING]")
}

fn start() -> Timestamp {
    Timestamp::from_timestamp_millis(1_762_077_600_250).unwrap()
}

fn vm(worker: &str, number: usize, status: VmStatus, revision: u64) -> Arc<Vm> {
    Arc::new(Vm {
        id: VmId::parse(&format!("v{number}")).unwrap(),
        worker_id: WorkerId::parse(worker).unwrap(),
        name: format!("vm \"{number}\"\u{1F680}").into(),
        status,
        vcpus: 2,
        memory_mb: 2_048,
        revision,
    })
}

/// A random worker: without a zone, overcommitted, silent or deregistered, and with VMs that another worker may report
/// too.
fn worker(number: u64, random: &mut StdRng, revision: u64) -> Arc<Worker> {
    let name = format!("w{number}");
    let text = |key: &str, value: &str| (Arc::<str>::from(key), Arc::<str>::from(value));
    let identity = Identity {
        hostname: format!("host\\{number}\n").into(),
        address: "10.0.0.1:9000".into(),
        zone: ["", "a", "b"][random.random_range(0..3)].into(),
        labels: [text("env", "prod"), text("rack", "\u{7f}é")].into_iter().take(random.random_range(0..3)).collect(),
        capabilities: vec!["kvm".into(), "x".into()],
        cpu_cores: random.random_range(0..4),
        memory_mb: 8_192,
        disk_gb: 100,
        max_vms: 10,
    };
    let id = WorkerId::parse(&name).unwrap();
    let mut worker = Worker::first_life(id, identity, Life::first(start(), revision));
    let vms = (0..8).map(|number| {
        let status = *VmStatus::ALL.choose(random).unwrap();
        random.random_bool(0.4).then(|| vm(&name, number, status, revision))
    });
    let vms: Vec<_> = vms.flatten().collect();
    worker.usage.vms = vms.into();
    worker.usage.used_memory_mb = random.random_range(0..20_000);
    worker.usage.used_cpu_cores = random.random_range(0..8);
    worker.usage.last_seen = start() + TimeDelta::milliseconds(random.random_range(0..40_000));
    if random.random_bool(0.1) {
        worker.life.deregistered_at = Some(worker.usage.last_seen);
    }
    worker.policy = *SchedulingPolicy::ALL.choose(random).unwrap();
    Arc::new(worker)
}

fn reading(snapshot: &Snapshot, now: Timestamp) -> Reading {
    let snapshot = Arc::new(snapshot.clone());
    Reading::of(Arc::new(View::new(snapshot, now, Duration::from_secs(60))))
}

/// Successive readings of the cluster: at the same moment, later, and after changes.
fn readings(random: &mut StdRng) -> Vec<Reading> {
    let workers = (0..4).map(|number| worker(number, random, 1)).collect();
    let empty = Snapshot::empty("test".into());
    let mut snapshot = empty.apply(Changes { workers, ..Changes::default() }, 1);
    let mut now = start() + TimeDelta::seconds(20);
    let mut readings = vec![reading(&empty, now), reading(&snapshot, now)];
    for revision in 2..8 {
        now += TimeDelta::milliseconds(random.random_range(0..25_000));
        let number = random.random_range(0..5);
        let mut changes = Changes::default();
        match random.random_range(0..4) {
            0 => {
                let worker_id = WorkerId::parse(&format!("w{number}")).unwrap();
                let boots = Arc::default();
                let tombstone = Tombstone { worker_id, incarnation: 1, boots, purged_at: None, revision };
                changes.purged.push(Arc::new(tombstone));
            }
            1 => changes.workers.push(worker(number, random, revision)),
            // A heartbeat without changes, except that the worker has reported its inventory now.
            2 => changes.workers.extend(snapshot.find_worker(&format!("w{number}")).map(|known| {
                let mut worker = Worker::clone(known);
                worker.revision = revision;
                worker.usage.last_seen = worker.usage.last_seen.max(now);
                worker.usage.inventory_revision = Some(revision);
                Arc::new(worker)
            })),
            _ => {}
        }
        snapshot = snapshot.apply(changes, revision);
        readings.push(reading(&snapshot, now));
    }
    readings
}

fn variables() -> Variables {
    Variables::from_value(value!({ "no": false, "keys": ["env"], "statuses": ["RUNNING", "STOPPED"] }))
}

/// Runs a document both ways. Answers with how many plans were used; none if the document is invalid, as some random
/// ones are.
async fn compare(
    document_cache: &DocumentCache,
    text: &str,
    readings: &[Reading],
    row_cache: &RowCache,
) -> Result<Option<usize>, TestCaseError> {
    // Random fields may conflict, which makes a document invalid.
    let Ok(mut parsed) = document_cache.parse_request(Request::new(text).variables(variables())) else {
        return Ok(None);
    };
    if document_cache.check(&mut parsed).is_err() {
        return Ok(None);
    }
    let planned = parsed.plan(document_cache.schema_index());
    let (plan, is_reusable) = planned.ok_or_else(|| TestCaseError::fail("there is no plan"))?;
    prop_assert!(plan.engine_document().is_none());
    prop_assert_eq!(is_reusable, !text.contains("$yes"));
    let engine_schema =
        Schema::build(Query, EmptyMutation, EmptySubscription).validation_mode(ValidationMode::Fast).finish();
    let mut answered = 0;
    for reading in readings {
        let variables = &parsed.request.variables;
        let input = PlanInput { reading, variables, row_cache: is_reusable.then_some(row_cache) };
        let by_plan = plan.write(&input, None, 0, None);
        let mut request = Request::new("").variables(variables.clone()).data(reading.clone()).data(Budget::default());
        request.set_parsed_query(parsed.extract_operation(&[OperationType::Query]).unwrap());
        let resolved = engine_schema.execute(request).await;
        match by_plan {
            Ok(text) => {
                prop_assert!(resolved.errors.is_empty(), "{:?}", resolved.errors);
                let by_plan = Payload::from(OperationResponse::Serialized(text));
                let resolved = Payload::from(resolved);
                prop_assert_eq!(format!("{by_plan:?}"), format!("{resolved:?}"));
                answered += 1;
            }
            Err(_) => prop_assert!(!resolved.errors.is_empty(), "the plan gave up without a reason"),
        }
    }
    Ok(Some(answered))
}

/// Items of all three subscriptions for a reading.
fn items(reading: &Reading, random: &mut StdRng) -> Vec<(&'static str, StreamItem)> {
    let view = reading.view();
    let heartbeat = view.workers().next().map(|worker| {
        let received_at = worker.worker.usage.last_seen;
        StreamItem::Heartbeat(Heartbeat { worker, received_at, coalesced: random.random_range(0..3) })
    });
    let event = Event {
        cursor: Cursor { epoch: "test".into(), revision: view.snapshot.revision, position: 1 },
        at: view.now,
        kind: *EventKind::ALL.choose(random).unwrap(),
        worker_id: random.random_bool(0.5).then(|| WorkerId::parse("w1").unwrap()),
        vm_id: random.random_bool(0.5).then(|| VmId::parse("v1").unwrap()),
        actor: random.random_bool(0.5).then(|| "operator".into()),
        reason: random.random_bool(0.5).then(|| "it is \"loud\"".into()),
        message: "something happened".into(),
        oldest_cursor: None,
    };
    let event = StreamItem::Event(EventView { event: Arc::new(event), view: view.clone() });
    let others = [("clusterEvents", event), ("clusterStats", StreamItem::Stats(reading.cluster_stats()))];
    heartbeat.map(|heartbeat| ("workerHeartbeats", heartbeat)).into_iter().chain(others).collect()
}

async fn compare_items(
    document_cache: &DocumentCache,
    text: &str,
    items: Vec<StreamItem>,
) -> Result<bool, TestCaseError> {
    // Random fields may conflict, which makes a document invalid.
    let Ok(mut parsed) = document_cache.parse_request(Request::new(text).variables(variables())) else {
        return Ok(false);
    };
    if document_cache.check(&mut parsed).is_err() {
        return Ok(false);
    }
    let mut document = parsed.extract_operation(&[OperationType::Subscription]).unwrap();
    if let DocumentOperations::Single(operation) = &mut document.operations {
        operation.node.ty = OperationType::Query;
    }
    let (_, operation) = document.operations.iter().next().unwrap();
    let plan = ItemPlan::compile(&operation.node, &document, &parsed.request.variables, document_cache.schema_index());
    let plan = plan.map_err(|fallback| TestCaseError::fail(format!("there is no plan: {fallback:?}")))?;
    let schema = Schema::build(ItemRoot, EmptyMutation, EmptySubscription).register_output_type::<Node>();
    let engine_schema = schema.validation_mode(ValidationMode::Fast).finish();
    for item in items {
        let by_plan = plan.write(&item);
        let mut request = Request::new("").data(item).data(Budget::default());
        request.set_parsed_query(document.clone());
        let resolved = engine_schema.execute(request).await;
        prop_assert!(resolved.errors.is_empty() || by_plan.is_none(), "{:?}", resolved.errors);
        if let Some(by_plan) = by_plan {
            prop_assert_eq!(by_plan, serde_json::to_string(&resolved).unwrap());
        }
    }
    Ok(true)
}

/// The cache key of a document's first root field.
fn cache_key(text: &str) -> String {
    let document = async_graphql::parser::parse_query(text).unwrap();
    let compiler = Compiler { fragments: &document.fragments, variables: None, types: SchemaIndex::of_schema() };
    let (_, operation) = document.operations.iter().next().unwrap();
    let collected = compiler.collect("Query", &[&operation.node.selection_set.node]).unwrap();
    compiler.cache_key(&collected[0]).expect("a short selection without variables")
}

#[test]
fn equal_selections_share_a_cache_key_and_others_do_not() {
    for (one, other) in [
        ("{ workers { id zone } }", "query Another($x: Int) { all: workers { id, zone } clusterStats { revision } }"),
        ("{ workers { ...F } } fragment F on Worker { id }", "{ workers { ...G } } fragment G on Worker { id }"),
        ("{ workers { ...F } } fragment F on Worker { id }", "{ workers { ... on Worker { id } } }"),
        ("{ workers { id: id } }", "{ workers { id } }"),
    ] {
        assert_eq!(cache_key(one), cache_key(other));
    }
    let different = [
        "{ workers { id zone } }",
        "{ workers { zone id } }",
        "{ workers { id: zone zone: id } }",
        "{ workers { id z: zone } }",
        "{ workers { id { zone } } }",
        "{ workers { id @skip(if: true) zone } }",
        "{ workers { id @skip(if: false) zone } }",
        "{ workers { ... @include(if: true) { id zone } } }",
        "{ workers { ... on Worker { id zone } } }",
        "{ workers { ... on Node { id zone } } }",
        "{ workers { ...F zone } } fragment F on Worker { id }",
        "{ workers { labels { key } } }",
        "{ workers { labels(keys: []) { key } } }",
        "{ workers { labels(keys: [\"a\"]) { key } } }",
        "{ workers { labels(keys: [\"a,b\"]) { key } } }",
        "{ workers { labels(keys: [\"a\", \"b\"]) { key } } }",
        "{ workers { vms(status: RUNNING) { id } } }",
        "{ workers { vms(status: [RUNNING]) { id } } }",
        "{ vms { id zone } }",
    ];
    for (at, one) in different.iter().enumerate() {
        for other in &different[at + 1..] {
            assert_ne!(cache_key(one), cache_key(other), "{one} and {other}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_global_rejects: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn plans_and_engine_respond_alike(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let readings = readings(&mut random);
        let mut generator = DocumentGenerator { random, types: SchemaIndex::of_schema(), fragments: Vec::new() };
        let text = generator.document();
        generator.fragments.clear();
        let other = generator.document();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let compared = runtime.block_on(async {
            let document_cache = DocumentCache::open(&GraphqlOptions::default()).await.unwrap();
            // Two more documents share the row cache, one of them equal but for its names: rows that one has cached
            // must be right for all.
            let row_cache = RowCache::default();
            let renamed = text.replace("query Q", "query Another").replace("...F", "...G").replace("fragment F", "fragment G");
            let first = compare(&document_cache, &text, &readings, &row_cache).await?;
            compare(&document_cache, &other, &readings, &row_cache).await?;
            prop_assert_eq!(compare(&document_cache, &renamed, &readings, &row_cache).await?, first);
            Ok::<_, TestCaseError>(first)
        });
        prop_assume!(compared.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?.is_some());
    }

    #[test]
    fn plans_and_engine_render_items_alike(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let readings = readings(&mut random);
        let items: Vec<_> = readings.iter().flat_map(|reading| items(reading, &mut random)).collect();
        let mut generator = DocumentGenerator { random, types: SchemaIndex::of_schema(), fragments: Vec::new() };
        let field = *["workerHeartbeats", "clusterEvents", "clusterStats"].choose(&mut generator.random).unwrap();
        let ty = innermost(&generator.types.field("Subscription", field).unwrap().ty);
        let selection = generator.selection(ty, 1);
        let text = format!("subscription {{ {field} {{ {selection} }} }} {}", generator.fragments.join("\n"));
        let text = without_variables(&text);
        let items = items.into_iter().filter(|(of, _)| *of == field).map(|(_, item)| item).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let compared = runtime.block_on(async {
            let document_cache = DocumentCache::open(&GraphqlOptions::default()).await.unwrap();
            compare_items(&document_cache, &text, items).await
        });
        prop_assume!(compared.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?);
    }
}
