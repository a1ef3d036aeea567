//! Property tests: random documents are run by plan and by the engine, and both responses must be equal, to the byte.
//!
//! Each document is run several times while the clock moves, the cluster changes and the variables are others, so that
//! cached rows and reusable plans are tested together with what must not be cached. Root fields that have no plan are
//! those of introspection here; the ones that read the change log or ask for health need a server, and are in
//! `tests/suite`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{EmptyMutation, EmptySubscription, Request, Response, Schema, ValidationMode, Variables};
use chrono::TimeDelta;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::collect::Compiler;
use super::{ItemPlan, Plan, PlanInput};
use crate::clock::Timestamp;
use crate::cluster::{
    Actor, Audit, Author, Changes, Cursor, DrainRequest, Event, EventKind, Identity, Life, Snapshot, Tombstone, View,
    Vm, VmExtras, VmId, VmStatus, Worker, WorkerId,
};
use crate::graphql::execution::budget::{Budget, MAX_OBJECTS};
use crate::graphql::execution::merge::merge;
use crate::graphql::execution::response::OperationResponse;
use crate::graphql::operation::document_cache::DocumentCache;
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::operation::variables::drop_omitted_arguments;
use crate::graphql::options::GraphqlOptions;
use crate::graphql::schema::index::{IndexedType, SchemaIndex, innermost};
use crate::graphql::schema::object_types::Node;
use crate::graphql::schema::query::Query;
use crate::graphql::subscriptions::broadcast::{ItemRoot, Payload};
use crate::graphql::subscriptions::item::StreamItem;
use crate::resolvers::drain_watch::DrainProgress;
use crate::resolvers::row_cache::RowCache;
use crate::resolvers::watch::{Heartbeat, WorkerUpdate};
use crate::resolvers::{EventView, Reading};

/// Fields that have no plan. The first four cannot be resolved here, either.
const NOT_PLANNED: [&str; 12] = [
    "events",
    "health",
    "session",
    "tokens",
    "evacuationPlan",
    "placement",
    "capacity",
    "reservation",
    "reservations",
    "history",
    "clusterHistory",
    "zoneHistory",
];

/// Root fields that have no plan, which the engine resolves beside the plan of the others. Those of one response key are
/// merged.
const ENGINE_FIELDS: [&str; 6] = [
    r#"worker: __type(name: "Worker") { name fields { name type { kind } } }"#,
    r#"worker: __type(name: "Worker") { kind interfaces { name } }"#,
    "word: __type(name: $word) { kind name }",
    "word: __type(name: $word) { description name }",
    "__schema { queryType { name } ... { types { name } } }",
    "__schema { types { kind } }",
];

/// A variable of random documents.
struct Variable {
    name: &'static str,
    ty: &'static str,
    /// Stands in its place in documents without variables.
    constant: &'static str,
    /// As JSON; the empty text if it is omitted.
    values: &'static [&'static str],
}

const fn variable(
    name: &'static str,
    ty: &'static str,
    constant: &'static str,
    values: &'static [&'static str],
) -> Variable {
    Variable { name, ty, constant, values }
}

static VARIABLES: [Variable; 21] = [
    variable("yes", "Boolean! = true", "true", &["", "", "true", "false"]),
    variable("no", "Boolean!", "false", &["false", "false", "true"]),
    variable("flag", "Boolean", "true", &["", "null", "true", "false"]),
    variable("id", r#"ID! = "w1""#, r#""w2""#, &["", r#""v1""#, r#""w3""#, "7"]),
    variable("ids", "[ID!]!", r#"["w1"]"#, &["[]", r#"["v0", "w0", "nobody"]"#, r#""w2""#]),
    variable("word", "String!", r#""Vm""#, &[r#""Worker""#, r#""a""#, r#""""#]),
    variable("text", "String", r#""HOST""#, &["", "null", r#""""#, r#""v""#, r#""prod""#, r#""2""#]),
    variable("zone", "String", r#""a""#, &["", "null", r#""""#, r#""a""#]),
    variable("keys", "[String!]", r#"["rack"]"#, &["", "null", "[]", r#"["env"]"#, r#""rack""#]),
    variable("first", "Int", "2", &["", "null", "0", "1", "3", "501"]),
    variable("after", "String", "null", &["", "null", r#""nonsense""#]),
    variable("statuses", "[VmStatus!]", "[RUNNING]", &["", "null", "[]", r#"["RUNNING", "STOPPED"]"#, r#""FAILED""#]),
    variable(
        "working",
        "[WorkerStatus!]",
        "[ACTIVE]",
        &["", "null", "[]", r#"["ACTIVE", "OFFLINE"]"#, r#""DRAINING""#],
    ),
    variable("field", "WorkerOrderField!", "HOSTNAME", &[r#""ID""#, r#""ZONE""#, r#""VM_COUNT""#, r#""LAST_SEEN""#]),
    variable("direction", "OrderDirection", "DESC", &["", r#""ASC""#, r#""DESC""#]),
    variable(
        "order",
        "WorkerOrder",
        "{field: ZONE}",
        &["", "null", r#"{"field": "HOSTNAME"}"#, r#"{"field": "MEMORY_USAGE", "direction": "DESC"}"#],
    ),
    variable(
        "labels",
        "[LabelFilter!]",
        r#"[{key: "env"}]"#,
        &["", "null", "[]", r#"{"key": "env"}"#, r#"[{"key": "env", "value": null}, {"key": "rack", "value": "x"}]"#],
    ),
    variable(
        "filter",
        "WorkerFilter",
        "{hasZone: true}",
        &[
            "",
            "null",
            "{}",
            r#"{"statuses": null, "ids": ["w0", "w2"]}"#,
            r#"{"hasZone": true, "zones": ["a", ""]}"#,
            r#"{"labels": {"key": "env", "value": "prod"}}"#,
            r#"{"isHealthy": false, "search": "HOST"}"#,
        ],
    ),
    variable(
        "vmFilter",
        "VmFilter",
        "{hasZone: true}",
        &[
            "",
            "null",
            "{}",
            r#"{"statuses": null, "search": "1"}"#,
            r#"{"statuses": ["STOPPED", "RUNNING"], "workerIds": ["w0", "w2"]}"#,
            r#"{"zones": ["a", ""]}"#,
        ],
    ),
    variable(
        "vmOrder",
        "VmOrder",
        "{field: STATUS}",
        &["", "null", r#"{"field": "NAME"}"#, r#"{"field": "CREATED_AT", "direction": "DESC"}"#],
    ),
    variable("direct", "OrderDirection! = DESC", "ASC", &["", r#""ASC""#, r#""DESC""#]),
];

/// A text with its variables replaced by what stands for them.
fn replace_variables(text: &str, mut with: impl FnMut(&str) -> String) -> String {
    let mut parts = text.split('$');
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        replaced += &with(name);
        replaced += rest;
    }
    replaced
}

/// The variables that are used in a text.
fn used_variables(text: &str) -> Vec<&'static Variable> {
    let mut used = BTreeSet::new();
    replace_variables(text, |name| {
        used.insert(name.to_owned());
        String::new()
    });
    VARIABLES.iter().filter(|variable| used.contains(variable.name)).collect()
}

/// The same document with constants in place of its variables.
fn without_variables(text: &str) -> String {
    replace_variables(text, |name| {
        VARIABLES.iter().find(|variable| variable.name == name).expect("a known variable").constant.to_owned()
    })
}

/// Random values for these variables, some of which are omitted.
fn values_of(used: &[&Variable], random: &mut StdRng) -> Variables {
    let mut values = serde_json::Map::new();
    for Variable { name, values: choices, .. } in used {
        let value = choices.choose(random).unwrap();
        if !value.is_empty() {
            values.insert((*name).to_owned(), serde_json::from_str(value).unwrap());
        }
    }
    Variables::from_json(values.into())
}

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
        self.operation(&fields)
    }

    /// A document with these root fields and the fragments that they spread, which declares the variables that it uses.
    fn operation(&mut self, fields: &str) -> String {
        let body = format!("{{ {fields} }}\n{}", std::mem::take(&mut self.fragments).join("\n"));
        let body = if self.random.random_bool(0.6) { body } else { without_variables(&body) };
        let declared: Vec<_> =
            used_variables(&body).iter().map(|Variable { name, ty, .. }| format!("${name}: {ty}")).collect();
        let declared = if declared.is_empty() { String::new() } else { format!("({})", declared.join(", ")) };
        format!("query Q{declared} {body}")
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
        if depth == 0 && self.random.random_range(0..4) == 0 {
            let condition = if self.random.random_range(0..4) == 0 { self.condition() } else { String::new() };
            let (field, selection) = ENGINE_FIELDS.choose(&mut self.random).unwrap().split_once(" {").unwrap();
            return format!("{field} {condition} {{{selection}");
        }
        let fields = match self.types.get(ty) {
            Some(IndexedType::Object(fields) | IndexedType::Interface(fields)) => fields,
            other => panic!("{ty} has no fields: {other:?}"),
        };
        // The drains of a worker are read from the database, those of all workers are not.
        let is_planned = |name: &&str| !NOT_PLANNED.contains(name) && (ty, *name) != ("Worker", "drains");
        let mut names: Vec<_> = fields.keys().map(String::as_str).filter(is_planned).collect();
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
            ("Query", "nodes") => {
                let some = format!("(ids: [{:?}, {:?}, {:?}])", one_of(&IDS), one_of(&IDS), one_of(&IDS));
                one_of(&[&some, &some, "(ids: $ids)", "(ids: [$id, \"w0\"])"])
            }
            ("Query", "workers") => one_of(&[
                "",
                "",
                "(zone: \"a\")",
                "(zone: \"\")",
                "(zone: null)",
                "(zone: $zone)",
                "(zone: $zone)",
                "(zones: [\"a\", \"\"])",
                "(zones: [], zone: $zone)",
                "(zones: $keys, zone: $zone)",
            ]),
            ("Worker", "labels") => one_of(&["", "(keys: [\"env\"])", "(keys: [])", "(keys: $keys)", "(keys: null)"]),
            ("Worker", "vms") => one_of(&[
                "",
                "",
                "(status: [STOPPED, RUNNING])",
                "(status: FAILED)",
                "(status: $statuses)",
                "(statuses: $statuses)",
                "(statuses: $statuses, status: [RUNNING, FAILED])",
            ]),
            ("Query", "workersConnection") => one_of(&[
                "",
                "(first: 2)",
                "(last: 1, orderBy: {field: HOSTNAME, direction: DESC})",
                "(first: 9999)",
                "(filter: {statuses: [ACTIVE, OFFLINE], labels: [{key: \"env\"}]})",
                "(first: 1, after: \"nonsense\")",
                "(first: $first, after: $after)",
                "(filter: $filter, orderBy: $order)",
                "(first: 2, orderBy: {field: $field, direction: $direction})",
                "(orderBy: {direction: $direct, field: $field}, last: $first)",
                "(filter: {statuses: $working, hasZone: $flag, search: $text})",
                "(first: $first, filter: {labels: $labels, zones: [$word, \"\", \"a\"]})",
                "(filter: {labels: [{key: $word}, {key: \"env\", value: $text}], isHealthy: $flag})",
            ]),
            ("Query" | "Worker", "vmsConnection") => one_of(&[
                "",
                "(first: 1)",
                "(last: 2)",
                "(filter: {statuses: [STOPPED]})",
                "(first: -1)",
                "(first: $first, filter: $vmFilter)",
                "(filter: {statuses: $statuses, search: $text, hasZone: $flag})",
                "(filter: {workerIds: [$id, \"w0\"], zones: [$word]})",
                "(orderBy: {field: ZONE, direction: $direction}, first: 2)",
                "(orderBy: $vmOrder, filter: $vmFilter, last: $first)",
                "(orderBy: {field: STARTED_AT}, after: $after)",
            ]),
            _ => String::new(),
        }
    }
}

fn start() -> Timestamp {
    Timestamp::from_timestamp_millis(1_762_077_600_250).unwrap()
}

fn vm(worker: &str, number: u64, status: VmStatus, revision: u64) -> Arc<Vm> {
    Arc::new(Vm {
        id: VmId::parse(&format!("v{number}")).unwrap(),
        worker_id: WorkerId::parse(worker).unwrap(),
        name: format!("vm \"{number}\"\u{1F680}").into(),
        status,
        vcpus: 2,
        memory_mb: 2_048,
        created_at: (Timestamp::UNIX_EPOCH + TimeDelta::milliseconds(1_500)).into(),
        started_at: (status == VmStatus::Running).then_some(Timestamp::UNIX_EPOCH.into()),
        status_since: Timestamp::UNIX_EPOCH.into(),
        extras: VmExtras::of(
            number.is_multiple_of(2).then(|| "says \"no\"".into()),
            number.is_multiple_of(3).then(|| "r-1".into()),
        ),
        revision,
    })
}

/// A random worker: without a zone, overcommitted, silent or deregistered, and with VMs that one of its three
/// neighbours may report too.
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
    let first_vm = number / 4 * 8;
    let vms = (first_vm..first_vm + 8).map(|number| {
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
    if random.random_bool(0.6) {
        let author = Author { actor: "operator".into(), token_id: None, name: Some("alice".into()) };
        let metadata = Some([("ticket".into(), "a \"b\"".into())].into());
        let deadline = random.random_bool(0.5).then(|| Duration::from_secs(20));
        let request = DrainRequest { reason: None, deadline, metadata };
        worker.begin_drain(&request, author.clone(), start(), revision);
        worker.advance_drain(start(), revision);
        if random.random_bool(0.3) {
            worker.end_drain(None, author, start(), revision);
        }
    }
    Arc::new(worker)
}

fn reading(snapshot: &Snapshot, now: Timestamp) -> Reading {
    let snapshot = Arc::new(snapshot.clone());
    Reading::of(Arc::new(View::new(snapshot, now, Duration::from_secs(60))))
}

/// Successive readings of a cluster of four workers: at the same moment, later, and after changes.
fn readings(random: &mut StdRng) -> Vec<Reading> {
    readings_of(4, 6, random)
}

/// The same of so many workers, after so many steps in each of which one of four workers changes at most.
fn readings_of(count: u64, steps: u64, random: &mut StdRng) -> Vec<Reading> {
    let mut workers: Vec<_> = (0..count).map(|number| worker(number, random, 1)).collect();
    workers.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    let empty = Snapshot::empty("test".into());
    let mut snapshot = empty.apply(Changes { workers, ..Changes::default() }, 1);
    let mut now = start() + TimeDelta::seconds(20);
    let mut readings = vec![reading(&empty, now), reading(&snapshot, now)];
    for revision in 2..2 + steps {
        now += TimeDelta::milliseconds(random.random_range(0..25_000));
        let mut changes = Changes::default();
        // Each worker once, or what comes of it would depend on the order.
        let touched: BTreeSet<_> = (0..count.div_ceil(4)).map(|_| random.random_range(0..=count)).collect();
        for number in touched {
            match random.random_range(0..4) {
                0 => {
                    let worker_id = WorkerId::parse(&format!("w{number}")).unwrap();
                    let boots = Arc::default();
                    let tombstone =
                        Tombstone { worker_id, incarnation: 1, boots, purged_at: Timestamp::UNIX_EPOCH, revision };
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
        }
        snapshot = snapshot.apply(changes, revision);
        readings.push(reading(&snapshot, now));
    }
    readings
}

type Engine = Schema<Query, EmptyMutation, EmptySubscription>;

fn engine() -> Engine {
    Schema::build(Query, EmptyMutation, EmptySubscription).validation_mode(ValidationMode::Fast).finish()
}

/// Lets the engine resolve a document as the executor does.
async fn resolve(
    engine: &Engine,
    mut document: ExecutableDocument,
    variables: &Variables,
    reading: &Reading,
    budget: &Budget,
) -> Response {
    merge(&mut document, variables, SchemaIndex::of_schema());
    drop_omitted_arguments(&mut document, variables);
    let mut request = Request::new("").variables(variables.clone()).data(reading.clone()).data(budget.clone());
    request.set_parsed_query(document);
    budget.settle(engine.execute(request).await)
}

/// A document with variables, and its plan.
struct Planned {
    parsed: ParsedRequest,
    plan: Arc<Plan>,
    is_reusable: bool,
}

impl Planned {
    /// None if document or variables are invalid, as some random ones are, or the engine has to resolve all of it.
    fn of(document_cache: &DocumentCache, text: &str, variables: Variables) -> Result<Option<Self>, TestCaseError> {
        let Ok(mut parsed) = document_cache.parse_request(Request::new(text).variables(variables)) else {
            return Ok(None);
        };
        if document_cache.check(&mut parsed).is_err() {
            return Ok(None);
        }
        let Some((plan, is_reusable)) = parsed.plan(document_cache.schema_index()) else {
            prop_assert!(text.contains("__type(") || text.contains("__schema"), "there is no plan");
            return Ok(None);
        };
        prop_assert!(is_reusable || text.contains('$'), "it depends on no variables");
        Ok(Some(Self { parsed, plan, is_reusable }))
    }

    /// The response by plan, of which this many objects have been paid for before; none if it falls back.
    async fn by_plan(
        &self,
        engine: &Engine,
        reading: &Reading,
        row_cache: &RowCache,
        spent: usize,
    ) -> Result<Option<String>, TestCaseError> {
        let (variables, budget) = (&self.parsed.request.variables, Budget::with_spent(spent));
        let engine_data = match self.plan.engine_document() {
            None => None,
            Some(document) => {
                let resolved = resolve(engine, document.clone(), variables, reading, &budget).await;
                prop_assert!(resolved.errors.is_empty(), "{:?}", resolved.errors);
                Some(resolved.data)
            }
        };
        let input = PlanInput { reading, variables, row_cache: self.is_reusable.then_some(row_cache) };
        let written = self.plan.write(&input, engine_data.as_ref(), budget.spent(), None).ok();
        Ok(written.map(|text| format!("{:?}", Payload::from(OperationResponse::Serialized(text)))))
    }

    /// The response by the engine alone; none if it has errors.
    async fn by_engine(&self, engine: &Engine, reading: &Reading, budget: &Budget) -> Option<String> {
        let document = self.parsed.extract_operation(&[OperationType::Query]).unwrap();
        let resolved = resolve(engine, document, &self.parsed.request.variables, reading, budget).await;
        resolved.errors.is_empty().then(|| format!("{:?}", Payload::from(resolved)))
    }
}

/// Runs a document both ways, with these variables by turns. Answers with how many plans were used; none if the
/// document is invalid, as some random ones are.
async fn compare(
    document_cache: &DocumentCache,
    text: &str,
    variables: &[Variables],
    readings: &[Reading],
    row_cache: &RowCache,
) -> Result<Option<usize>, TestCaseError> {
    let planned = variables.iter().filter_map(|it| Planned::of(document_cache, text, it.clone()).transpose());
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    if planned.is_empty() {
        return Ok(None);
    }
    let engine = engine();
    let mut answered = 0;
    for (reading, planned) in readings.iter().zip(planned.iter().cycle()) {
        let by_plan = planned.by_plan(&engine, reading, row_cache, 0).await?;
        let by_engine = planned.by_engine(&engine, reading, &Budget::default()).await;
        answered += usize::from(by_plan.is_some());
        prop_assert_eq!(by_plan, by_engine, "with {:?}", planned.parsed.request.variables);
    }
    Ok(Some(answered))
}

/// Runs a document both ways on budgets of which so much is spent that they are just enough for it, and one too little.
async fn compare_budgets(
    document_cache: &DocumentCache,
    text: &str,
    variables: Variables,
    readings: &[Reading],
    row_cache: &RowCache,
) -> Result<bool, TestCaseError> {
    let Some(planned) = Planned::of(document_cache, text, variables)? else { return Ok(false) };
    let engine = engine();
    let mut is_compared = false;
    for reading in readings {
        let budget = Budget::default();
        let Some(whole) = planned.by_engine(&engine, reading, &budget).await else { continue };
        let objects = budget.spent();
        let left = MAX_OBJECTS - objects;
        // First with too little: nothing may be cached of a response that is given up.
        for (spent, is_enough) in [(left + 1, false), (left, true), (0, true)] {
            if spent > MAX_OBJECTS {
                continue;
            }
            let by_engine = planned.by_engine(&engine, reading, &Budget::with_spent(spent)).await;
            prop_assert_eq!(by_engine.as_ref(), Some(&whole).filter(|_| is_enough), "engine, {} spent", spent);
            let by_plan = planned.by_plan(&engine, reading, row_cache, spent).await?;
            if (text.contains("Connection") || text.contains("drains")) && spent > 0 {
                // The engine pays once for both lists of a connection, and a plan for each that it writes: for one it may
                // still have enough, or for three not. If it has not, the engine responds.
                prop_assert!(by_plan.is_none_or(|by_plan| by_plan == whole), "{} spent", spent);
            } else {
                prop_assert_eq!(by_plan, by_engine, "{} spent", spent);
            }
        }
        is_compared |= objects > 0;
    }
    Ok(is_compared)
}

/// Items of all subscriptions for a reading, as far as it has what they are about.
fn items(reading: &Reading, random: &mut StdRng) -> Vec<(&'static str, StreamItem)> {
    let view = reading.view();
    let heartbeat = view.workers().next().map(|worker| {
        let received_at = worker.worker.usage.last_seen;
        let (coalesced, is_last) = (random.random_range(0..3), random.random_bool(0.5));
        StreamItem::Heartbeat(Heartbeat { worker, received_at, coalesced, is_last })
    });
    let update = view.workers().next().map(|worker| {
        let update = WorkerUpdate { worker, is_last: random.random_bool(0.5) };
        ("workerUpdates", StreamItem::Update(update))
    });
    let event = Event {
        cursor: Cursor { epoch: "test".into(), revision: view.snapshot.revision, position: 1 },
        at: view.now,
        kind: *EventKind::ALL.choose(random).unwrap(),
        worker_id: random.random_bool(0.5).then(|| WorkerId::parse("w1").unwrap()),
        vm_id: random.random_bool(0.5).then(|| VmId::parse("v1").unwrap()),
        reservation_id: random.random_bool(0.5).then(|| crate::cluster::ReservationId::parse("r1").unwrap()),
        vm_name: random.random_bool(0.5).then(|| "db \"1\"".into()),
        vm_status: random.random_bool(0.5).then_some(VmStatus::Failed),
        previous_status: random.random_bool(0.5).then_some(VmStatus::Running),
        zone: random.random_bool(0.5).then(|| ["", "z1"].choose(random).copied().unwrap_or_default().into()),
        actor: random.random_bool(0.5).then_some(Actor::Operator),
        audit: random
            .random_bool(0.5)
            .then(|| Arc::new(Audit { name: Some("alice".into()), address: Some("::1".into()), ..Audit::default() })),
        reason: random.random_bool(0.5).then(|| "it is \"loud\"".into()),
        message: "something happened".into(),
        oldest_cursor: None,
    };
    let event = StreamItem::Event(EventView { event: Arc::new(event), view: view.clone() });
    let drain = view.workers().find_map(|worker| worker.last_drain());
    let drain = drain.map(|drain| StreamItem::Drain(DrainProgress { drain, is_last: random.random_bool(0.5) }));
    let others = [("clusterEvents", event), ("clusterStats", StreamItem::Stats(reading.cluster_stats()))];
    let heartbeat = heartbeat.map(|heartbeat| ("workerHeartbeats", heartbeat));
    let drain = drain.map(|drain| ("drainProgress", drain));
    heartbeat.into_iter().chain(update).chain(drain).chain(others).collect()
}

async fn compare_items(
    document_cache: &DocumentCache,
    text: &str,
    items: Vec<StreamItem>,
) -> Result<bool, TestCaseError> {
    // Random fields may conflict, which makes a document invalid.
    let Ok(mut parsed) = document_cache.parse_request(Request::new(text)) else { return Ok(false) };
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

/// Runs something with a document cache of its own.
fn run<T>(work: impl AsyncFnOnce(&DocumentCache) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { work(&DocumentCache::open(&GraphqlOptions::default()).await.unwrap()).await })
}

#[test]
fn an_omitted_field_of_an_input_has_its_default_and_is_not_null() {
    let readings = readings(&mut StdRng::seed_from_u64(1));
    let ids = |order: &str| format!("workersConnection({order}) {{ nodes {{ id }} }}");
    let written = ids("orderBy: {field: ID, direction: ASC}");
    let (of_field, of_input) = (ids("orderBy: {field: ID, direction: $direction}"), ids("orderBy: $order"));
    let none = serde_json::json!({});
    for (text, variables) in [
        (format!("{{ {} }}", ids("orderBy: {field: ID}")), none.clone()),
        (format!("query($direction: OrderDirection) {{ {of_field} }}"), none.clone()),
        (format!("query($direction: OrderDirection = ASC) {{ {of_field} }}"), none),
        (format!("query($order: WorkerOrder) {{ {of_input} }}"), serde_json::json!({"order": {"field": "ID"}})),
        (format!("query($order: WorkerOrder = {{field: ID}}) {{ {of_input} }}"), serde_json::json!({})),
    ] {
        run(async |document_cache| {
            let planned =
                |text: &str, variables| Planned::of(document_cache, text, variables).unwrap().expect("a plan");
            let engine = engine();
            let plain = planned(&format!("{{ {written} }}"), Variables::default());
            let planned = planned(&text, Variables::from_json(variables.clone()));
            for reading in &readings {
                let expected = plain.by_engine(&engine, reading, &Budget::default()).await;
                let by_engine = planned.by_engine(&engine, reading, &Budget::default()).await;
                let by_plan = planned.by_plan(&engine, reading, &RowCache::default(), 0).await.unwrap();
                assert!(expected.is_some() && by_engine == expected && by_plan == expected, "{text} {variables}");
            }
        });
    }
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
        let (text, other) = (generator.document(), generator.document());
        let mut variables = |text: &str| {
            let used = used_variables(text);
            let several = if used.is_empty() { 1 } else { 3 };
            (0..several).map(|_| values_of(&used, &mut generator.random)).collect::<Vec<_>>()
        };
        let (variables, of_other) = (variables(&text), variables(&other));
        let compared = run(async |document_cache| {
            // Two more documents share the row cache, one of them equal but for its names: rows that one has cached
            // must be right for all.
            let row_cache = RowCache::default();
            let renamed = text.replace("query Q", "query Another").replace("...F", "...G").replace("fragment F", "fragment G");
            let first = compare(document_cache, &text, &variables, &readings, &row_cache).await?;
            compare(document_cache, &other, &of_other, &readings, &row_cache).await?;
            prop_assert_eq!(compare(document_cache, &renamed, &variables, &readings, &row_cache).await?, first);
            Ok::<_, TestCaseError>(first)
        });
        prop_assume!(compared.map_err(|error| TestCaseError::fail(format!("{error}\n{text}\n{other}")))?.is_some());
    }

    #[test]
    fn plans_and_engine_render_items_alike(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let readings = readings(&mut random);
        let items: Vec<_> = readings.iter().flat_map(|reading| items(reading, &mut random)).collect();
        let mut generator = DocumentGenerator { random, types: SchemaIndex::of_schema(), fragments: Vec::new() };
        let field = *["workerHeartbeats", "workerUpdates", "drainProgress", "clusterEvents", "clusterStats"].choose(&mut generator.random).unwrap();
        let ty = innermost(&generator.types.field("Subscription", field).unwrap().ty);
        let selection = generator.selection(ty, 1);
        let text = format!("subscription {{ {field} {{ {selection} }} }} {}", generator.fragments.join("\n"));
        let text = without_variables(&text);
        let items = items.into_iter().filter(|(of, _)| *of == field).map(|(_, item)| item).collect();
        let compared = run(async |document_cache| compare_items(document_cache, &text, items).await);
        prop_assume!(compared.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_global_rejects: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn plans_and_engine_have_the_same_budget(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let readings = readings_of(4, 2, &mut random);
        let mut generator = DocumentGenerator { random, types: SchemaIndex::of_schema(), fragments: Vec::new() };
        let text = generator.document();
        let variables = values_of(&used_variables(&text), &mut generator.random);
        let compared = run(async |document_cache| {
            compare_budgets(document_cache, &text, variables, &readings, &RowCache::default()).await
        });
        prop_assume!(compared.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_global_rejects: 100, ..ProptestConfig::default() })]

    /// Rows are cached by chunks of up to 256: here are several of them, which are divided and thinned.
    #[test]
    fn plans_and_engine_respond_alike_about_many_workers(seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(520..700);
        let readings = readings_of(count, 2, &mut random);
        let mut generator = DocumentGenerator { random, types: SchemaIndex::of_schema(), fragments: Vec::new() };
        let (field, ty) = *[("workers", "Worker"), ("vms", "Vm"), ("vmDistribution", "WorkerDistribution")]
            .choose(&mut generator.random)
            .unwrap();
        let selection = generator.selection(ty, 3);
        let text = generator.operation(&format!("{field} {{ {selection} }}"));
        let variables = values_of(&used_variables(&text), &mut generator.random);
        let compared = run(async |document_cache| {
            compare(document_cache, &text, &[variables], &readings, &RowCache::default()).await
        });
        prop_assume!(compared.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?.is_some());
    }
}
