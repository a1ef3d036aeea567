//! Query cost: an estimate of an operation before it runs, in fields of the largest possible response and rows that are
//! scanned for it.
//!
//! The cost depends on the document and the variables only: an operation that is allowed on an empty cluster is allowed
//! on a full one, too, and the other way round. A list with a stated length (`first`, `last`, a list of ids) counts
//! with that length; any other list counts as long as in the largest cluster that this server is meant for. What a
//! response really holds is counted during execution, by the [`budget`](crate::graphql::execution::budget).
//!
//! A page is short, but its filter may have to scan everything: so each scanned row counts as much as a field, and as
//! much again for each 64 entries that it is compared with.
//!
//! The same estimate for the present size of the cluster decides which operations are too long for a thread on which
//! other requests wait ([`Offload`](crate::resolvers::offload::Offload)).

use std::cell::Cell;
use std::convert::Infallible;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Response, Value, Variables};

use super::variables;
use crate::clock::Timestamp;
use crate::graphql::error::request_error;
use crate::graphql::schema::index::{self, SchemaIndex, innermost, is_list, root};
use crate::history::{HistoryQuery, MAX_POINTS};
use crate::resolvers::history::{most_points, steps_of_points, steps_to_read_curves};
use crate::resolvers::offload::ENTRIES_OF_A_STEP;
use crate::resolvers::page::{DEFAULT_SIZE, MAX_SIZE};
use crate::resolvers::purge::{MAX_NAMED_REFUSALS, MAX_PURGED};
use crate::resolvers::reservations::MAX_HELD_RESERVATIONS;

/// Workers in the largest cluster.
const MAX_WORKERS: u64 = 10_000;

/// VMs on each of its workers.
const VMS_PER_WORKER: u64 = 20;

/// The assumed length of any other list, such as labels or zones.
const SHORT_LIST_LENGTH: u64 = 10;

/// The size of the cluster that an estimate assumes.
#[derive(Clone, Copy, Debug)]
pub struct ClusterSize {
    workers: u64,
    vms_per_worker: u64,
}

impl ClusterSize {
    /// The largest cluster.
    const LARGEST: Self = Self { workers: MAX_WORKERS, vms_per_worker: VMS_PER_WORKER };

    /// A cluster of this many workers and VMs.
    pub fn of(workers: usize, vms: usize) -> Self {
        Self { workers: workers as u64, vms_per_worker: vms.div_ceil(workers.max(1)) as u64 }
    }

    fn vms(self) -> u64 {
        self.workers.saturating_mul(self.vms_per_worker)
    }
}

/// The cost of an operation in the largest cluster, which the limit applies to.
pub fn of(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
    types: &SchemaIndex,
) -> u64 {
    in_cluster_of(ClusterSize::LARGEST, operation, document, variables, types)
}

/// The cost of an operation in a cluster of this size.
pub fn in_cluster_of(
    size: ClusterSize,
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
    types: &SchemaIndex,
) -> u64 {
    let estimate =
        Estimate { size, document, variables, types, reads_variables: Cell::new(false), changed_workers: Cell::new(0) };
    estimate.of_operation(operation)
}

/// The cost of an operation in the largest cluster; none if it depends on the variables.
pub fn without_variables(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    types: &SchemaIndex,
) -> Option<u64> {
    let variables = &Variables::default();
    let size = ClusterSize::LARGEST;
    let estimate =
        Estimate { size, document, variables, types, reads_variables: Cell::new(false), changed_workers: Cell::new(0) };
    let cost = estimate.of_operation(operation);
    (!estimate.reads_variables.get()).then_some(cost)
}

/// Refuses a cost above the limit.
pub fn check_limit(cost: u64, limit: u64) -> Result<(), Response> {
    if cost <= limit {
        return Ok(());
    }
    Err(Response::from_errors(vec![request_error(
        "QUERY_TOO_COMPLEX",
        format!(
            "The operation has a cost of {cost}, which is how many fields the largest answer to it has and how many rows \
             are looked at for it; at most {limit} are allowed. Ask for pages, by `first` of the connections, nest fewer \
             lists, or filter by ids"
        ),
    )]))
}

struct Estimate<'a> {
    size: ClusterSize,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    types: &'a SchemaIndex,
    /// Set when the estimate has used a variable.
    reads_variables: Cell<bool>,
    /// How many workers the mutation that is estimated drains or activates at most.
    changed_workers: Cell<u64>,
}

/// A variable that was omitted.
struct UnknownVariable;

impl Estimate<'_> {
    fn of_operation(&self, operation: &OperationDefinition) -> u64 {
        self.of_set(Some(root(operation.ty)), &operation.selection_set.node, DEFAULT_SIZE as u64)
    }

    /// The cost of a selection set for one object. `page` is the page size of the connection around the object.
    fn of_set(&self, parent: Option<&str>, set: &SelectionSet, page: u64) -> u64 {
        let mut cost = 0_u64;
        for selection in set.items.iter().map(|selection| &selection.node) {
            if self.is_skipped(selection.directives()) {
                continue;
            }
            cost = cost.saturating_add(match selection {
                Selection::Field(field) => self.of_field(parent, &field.node, page),
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref().map(|condition| &*condition.node.on.node);
                    self.of_set(condition.or(parent), &inline.node.selection_set.node, page)
                }
                Selection::FragmentSpread(spread) => {
                    self.document.fragments.get(&spread.node.fragment_name.node).map_or(0, |fragment| {
                        let condition = &*fragment.node.type_condition.node.on.node;
                        self.of_set(Some(condition), &fragment.node.selection_set.node, page)
                    })
                }
            });
        }
        cost
    }

    /// The cost of a field, its selection set included.
    fn of_field(&self, parent: Option<&str>, field: &Field, page: u64) -> u64 {
        let selection_set = &field.selection_set.node;
        let definition = parent.and_then(|parent| self.types.field(parent, &field.name.node));
        // Introspection, whose responses are no longer than the schema.
        let Some((parent, definition)) = parent.zip(definition) else {
            return self.of_set(None, selection_set, page).saturating_add(1);
        };
        if selection_set.items.is_empty() {
            let is_list_of_points = parent == "HistoryCurve" && is_list(&definition.ty);
            return if is_list_of_points { page.saturating_add(1) } else { 1 };
        }
        if let ("Mutation", "drainWorkers" | "activateWorkers") = (parent, field.name.node.as_str()) {
            self.changed_workers.set(self.named_workers(definition, field).unwrap_or(self.size.workers));
        }
        let page_inside = match (parent, field.name.node.as_str()) {
            // The lists of a plan in a payload are as long as the mutation says, and those of a curve as its history says.
            ("DrainWorkersPayload" | "History", _) => page,
            _ if innermost(&definition.ty) == "History" => most_points(self.max_points(definition, field)),
            _ => self.page_of(definition, field),
        };
        let each = self.of_set(Some(innermost(&definition.ty)), selection_set, page_inside);
        let times = if is_list(&definition.ty) { self.length(parent, definition, field, page) } else { 1 };
        each.saturating_mul(times).saturating_add(self.rows_scanned(parent, definition, field, page)).saturating_add(1)
    }

    /// How many points each curve of a history has at most, as sent.
    fn max_points(&self, definition: &index::IndexedField, field: &Field) -> Option<i64> {
        Some(match self.argument(definition, field, "maxPoints") {
            Some(Value::Number(number)) => number.as_i64().unwrap_or(MAX_POINTS),
            _ => MAX_POINTS,
        })
    }

    /// The rows that are scanned to find the objects of a field, each counted again for what it is compared with. A
    /// list that returns every row it scans counts by its length only.
    fn rows_scanned(&self, parent: &str, definition: &index::IndexedField, field: &Field, page: u64) -> u64 {
        let ClusterSize { workers, vms_per_worker } = self.size;
        match (parent, field.name.node.as_str()) {
            ("Query", "workersConnection") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let order = self.order(definition, field);
                let is_sought = match order {
                    // The number of all is known, too, or that of those that have this one thing in common.
                    Order::ById => filter.is_empty() || filter.is_for_one_of_an_index(),
                    Order::Indexed => filter.is_empty(),
                    Order::Sorted => false,
                };
                if is_sought {
                    return 0;
                }
                let rows = filter.entries("ids").unwrap_or(workers);
                // Each row is compared with those that are kept for the page.
                let selecting = u64::from(order != Order::ById);
                rows.saturating_mul(filter.comparisons("ids").saturating_add(selecting))
            }
            ("Query", "vmsConnection") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let selecting = u64::from(!self.is_by_id(definition, field));
                if filter.is_for_one_zone() && selecting == 0 {
                    return 0;
                }
                let of_workers = filter.entries("workerIds").map(|ids| ids.saturating_mul(vms_per_worker));
                let comparisons = filter.comparisons("workerIds").saturating_add(selecting);
                of_workers.unwrap_or(self.size.vms()).saturating_mul(comparisons)
            }
            ("Worker", "vmsConnection") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let selecting = u64::from(!self.is_by_id(definition, field));
                vms_per_worker.saturating_mul(filter.comparisons("").saturating_add(selecting))
            }
            ("Query", "drains") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let rows = filter.entries("workerIds").unwrap_or(workers);
                rows.saturating_mul(filter.comparisons("workerIds"))
            }
            ("Query", "zones") => workers,
            ("Query", "workerCounts") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                filter.entries("ids").unwrap_or(workers).saturating_mul(filter.comparisons("ids"))
            }
            ("Query", "vmCounts") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                self.size.vms().saturating_mul(filter.comparisons("workerIds"))
            }
            // The VMs of each worker are collected even if they are only counted.
            ("Query", "vmDistribution") => self.size.vms(),
            ("Query" | "Worker" | "Vm", "events") | ("Worker", "drains") => self.page_of(definition, field),
            ("Worker" | "Zone", "history") | ("Query", "clusterHistory" | "zoneHistory") => {
                let number = |name| match self.argument(definition, field, name) {
                    Some(Value::Number(number)) => number.as_i64(),
                    _ => None,
                };
                // A span that begins at a moment counts as long as it may be, whichever moment it is.
                let since = self.argument(definition, field, "since").filter(|since| *since != Value::Null);
                let since = since.map(|_| Timestamp::UNIX_EPOCH);
                let query = HistoryQuery { since, range_seconds: number("rangeSeconds"), ..HistoryQuery::default() };
                steps_to_read_curves(&query, 0)
            }
            // A curve, of the points of its rows.
            ("History", _) => steps_of_points(page),
            // As a candidate, as a refusal, and to place VMs on it.
            ("Query", "placement") => workers.saturating_mul(3),
            ("Query", "capacity") | ("Mutation", "purgeWorkers") => workers,
            ("Mutation", "activateWorkers") => {
                let filter = self.filter_of_change(definition, field);
                filter.entries("ids").unwrap_or(workers).saturating_mul(filter.comparisons("ids"))
            }
            ("Query", "evacuationPlan") | ("Mutation", "drainWorkers") => {
                let filter = self.filter_of_change(definition, field);
                let found = filter.entries("ids").unwrap_or(workers).saturating_mul(filter.comparisons("ids"));
                let vms = filter.entries("ids").unwrap_or(workers).saturating_mul(vms_per_worker);
                // To find the workers and their VMs, and to place these.
                found.saturating_add(vms).saturating_add(workers.saturating_mul(3))
            }
            ("Query", "reservations") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let kept = 2 * MAX_HELD_RESERVATIONS as u64;
                if filter.is_empty() { 0 } else { kept.saturating_mul(filter.comparisons("")) }
            }
            _ => 0,
        }
    }

    /// The order of a connection.
    fn order(&self, definition: &index::IndexedField, field: &Field) -> Order {
        match self.argument(definition, field, "orderBy") {
            Some(Value::Object(order)) => Order::of(order.get("field")),
            _ => Order::ById,
        }
    }

    /// Whether a connection is in the order of its ids. Of VMs, no other order has an index.
    fn is_by_id(&self, definition: &index::IndexedField, field: &Field) -> bool {
        self.order(definition, field) == Order::ById
    }

    /// The filter of the workers that are to be drained or activated, or of those that a plan is asked of.
    fn filter_of_change(&self, definition: &index::IndexedField, field: &Field) -> Filter {
        Filter::of(match self.argument(definition, field, "input") {
            Some(Value::Object(mut input)) => input.swap_remove("filter"),
            _ => self.argument(definition, field, "filter"),
        })
    }

    /// How many workers a change names by their ids; none if it does not.
    fn named_workers(&self, definition: &index::IndexedField, field: &Field) -> Option<u64> {
        self.filter_of_change(definition, field).entries("ids")
    }

    /// The length of a list.
    fn length(&self, parent: &str, definition: &index::IndexedField, field: &Field, page: u64) -> u64 {
        match (parent, field.name.node.as_str()) {
            ("Query", "workers" | "vmDistribution") => self.size.workers,
            ("Query", "vms") => self.size.vms(),
            ("Worker" | "WorkerDistribution", "vms") | ("Drain", "blockers") => self.size.vms_per_worker,
            ("Query", "nodes") => match self.argument(definition, field, "ids") {
                Some(Value::List(ids)) => ids.len() as u64,
                _ => 1,
            },
            ("Worker" | "Vm", "events") | ("Worker", "drains") => self.page_of(definition, field),
            (
                "WorkerConnection"
                | "VmConnection"
                | "ReservationConnection"
                | "ClusterEventConnection"
                | "DrainConnection",
                "edges" | "nodes",
            )
            | ("Placement", "assignments" | "candidates" | "refusals") => page,
            ("EvacuationPlan", "moves" | "stranded") => page,
            ("DrainWorkersPayload" | "ActivateWorkersPayload", "workers") => self.changed_workers.get(),
            ("PurgeWorkersPayload", "purged") => MAX_PURGED as u64,
            ("PurgeWorkersPayload", "refused") => MAX_NAMED_REFUSALS as u64,
            _ => SHORT_LIST_LENGTH,
        }
    }

    /// The size of the page that a field requests. A size that is not allowed is refused by the resolver.
    fn page_of(&self, definition: &index::IndexedField, field: &Field) -> u64 {
        let largest = MAX_SIZE as u64;
        let requested = ["first", "last"].into_iter().find_map(|name| match self.argument(definition, field, name) {
            Some(Value::Number(size)) => Some(size.as_i64().map_or(largest, |size| size.max(0).unsigned_abs())),
            _ => None,
        });
        // The lists of a placement, or of a plan, are as long as its request says.
        if let Some(Value::Number(limit)) = self.argument(definition, field, "limit") {
            return limit.as_u64().unwrap_or(largest).min(largest);
        }
        let input = self.argument(definition, field, "request").or_else(|| self.argument(definition, field, "input"));
        let placed = match input {
            Some(Value::Object(request)) => {
                let number = |name| match request.get(name) {
                    Some(Value::Number(number)) => number.as_u64(),
                    _ => None,
                };
                number("limit").max(number("count"))
            }
            _ => None,
        };
        requested.or(placed).unwrap_or(DEFAULT_SIZE as u64).min(largest)
    }

    /// The value of an argument: as given, or its default.
    fn argument(&self, definition: &index::IndexedField, field: &Field, name: &str) -> Option<Value> {
        // An omitted variable omits only what it stands for.
        let variable = |name: &Name| {
            self.reads_variables.set(true);
            Ok::<_, Infallible>(self.variables.get(name).cloned())
        };
        let argument = field.get_argument(name);
        let argument = argument.and_then(|value| variables::substitute(&value.node, &variable).ok().flatten());
        argument.or_else(|| definition.arguments.get(name)?.default.clone())
    }

    fn variable(&self, name: &Name) -> Result<Value, UnknownVariable> {
        self.reads_variables.set(true);
        self.variables.get(name).cloned().ok_or(UnknownVariable)
    }

    /// Whether `@skip` or `@include` excludes a selection, with the variables that are known.
    fn is_skipped(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().map(|directive| &directive.node).any(|directive| {
            let skips_if = match &*directive.name.node {
                "skip" => true,
                "include" => false,
                _ => return false,
            };
            let condition = directive.get_argument("if").map(|condition| condition.node.clone());
            let condition = condition.and_then(|it| it.into_const_with(|name| self.variable(&name)).ok());
            condition == Some(Value::Boolean(skips_if))
        })
    }
}

/// The order in which the elements of a connection are requested.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The order of the snapshot.
    ById,
    /// An order of workers that has an index.
    Indexed,
    /// An order for which every row is looked at.
    Sorted,
}

impl Order {
    fn of(field: Option<&Value>) -> Self {
        match field {
            Some(Value::Enum(field)) => Self::named(field),
            // As a variable has it.
            Some(Value::String(field)) => Self::named(field),
            _ => Self::Sorted,
        }
    }

    fn named(field: &str) -> Self {
        match field {
            "ID" => Self::ById,
            "HOSTNAME" | "ZONE" => Self::Indexed,
            _ => Self::Sorted,
        }
    }
}

/// The filter of a connection; omitted variables are not in it.
struct Filter(IndexMap<Name, Value>);

impl Filter {
    fn of(value: Option<Value>) -> Self {
        match value {
            Some(Value::Object(fields)) => Self(fields),
            _ => Self(IndexMap::new()),
        }
    }

    /// How many entries a list of the filter has; none if there is no such list.
    fn entries(&self, list: &str) -> Option<u64> {
        match self.0.get(list)? {
            Value::Null => None,
            Value::List(entries) => Some(entries.len() as u64),
            // One value stands for a list of it.
            _ => Some(1),
        }
    }

    /// Whether no condition is given.
    fn is_empty(&self) -> bool {
        self.0.values().all(|value| *value == Value::Null)
    }

    /// Whether exactly one condition is given, and an index finds its rows without a scan.
    fn is_for_one_of_an_index(&self) -> bool {
        let mut given = self.0.iter().filter(|(_, value)| **value != Value::Null);
        let (Some((name, value)), None) = (given.next(), given.next()) else { return false };
        match name.as_str() {
            "zones" | "statuses" => self.entries(name) == Some(1),
            "isHealthy" => *value == Value::Boolean(false),
            "labels" => {
                let label = match value {
                    Value::List(labels) if labels.len() == 1 => labels.first(),
                    Value::List(_) => None,
                    label => Some(label),
                };
                matches!(label, Some(Value::Object(label)) if label.get("value").is_some_and(|it| *it != Value::Null))
            }
            _ => false,
        }
    }

    /// Whether the only condition is one zone.
    fn is_for_one_zone(&self) -> bool {
        self.entries("zones") == Some(1) && self.is_for_one_of_an_index()
    }

    /// How often a row counts that is compared with the filter. The list `found_by`, by which rows are looked up, costs
    /// nothing.
    fn comparisons(&self, found_by: &str) -> u64 {
        let others = self.0.keys().filter(|list| *list != found_by);
        let entries = others.filter_map(|list| self.entries(list)).fold(0, u64::saturating_add);
        1 + entries.div_ceil(ENTRIES_OF_A_STEP)
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    fn cost(query: &str, variables: serde_json::Value) -> u64 {
        let document = parse_query(query).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        of(&operation.node, &document, &Variables::from_json(variables), SchemaIndex::of_schema())
    }

    #[test]
    fn each_field_counts_once_for_each_object_that_it_may_be_selected_of() {
        let ids = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
        let page = "query($n: Int) { workersConnection(first: $n) { nodes { id } } }";
        for (query, variables, expected) in [
            ("{ clusterStats { totalWorkers activeWorkers } }", json!({}), 3),
            ("{ workers { id } }", json!({}), 1 + 10_000),
            ("{ vms { id name } }", json!({}), 1 + 400_000),
            ("{ workers { id capabilities vms { id } } }", json!({}), 1 + 10_000 * (2 + 1 + 20)),
            ("{ workers { labels { key value } } }", json!({}), 1 + 10_000 * (1 + 10 * 2)),
            ("{ workers { events { kind } } }", json!({}), 1 + 10_000 * (1 + 20 + 20)),
            ("{ workers { events(first: 3) { kind at } } }", json!({}), 1 + 10_000 * (1 + 3 + 3 * 2)),
            (
                "{ workersConnection(first: 9) { nodes { history { usedCpuCores { values } } } } }",
                json!({}),
                2 + 9 * (1 + 5 + 1 + 30 + 1 + 120),
            ),
            ("{ clusterHistory(maxPoints: 1500) { stepSeconds } }", json!({}), 1 + 5 + 1),
            ("{ clusterHistory(rangeSeconds: 86400) { stepSeconds } }", json!({}), 1 + 97 + 1),
            (
                "{ clusterHistory(maxPoints: 8) { vmCount { ...C } workers { values } } } fragment C on HistoryCurve { min max }",
                json!({}),
                1 + 5 + 2 * (1 + 2) + 3 * (1 + 8),
            ),
            ("{ clusterHistory(since: \"2025-11-02T00:00:00Z\", maxPoints: 4) { length } }", json!({}), 1 + 105 + 1),
            (
                "query($n: Int!) { zones { history(maxPoints: $n) { length } } }",
                json!({"n": -1}),
                1 + 10_000 + 10 * (1 + 5 + 1),
            ),
            ("{ vmDistribution { vms { id } } }", json!({}), 1 + 200_000 + 10_000 * (1 + 20)),
            (ids, json!({"ids": ["a", "b", "c"]}), 1 + 3),
            (page, json!({"n": 7}), 1 + 1 + 7),
            (page, json!({"n": 2_147_483_647}), 1 + 1 + 500),
            (page, json!({"n": -1}), 1 + 1),
            (page, json!({}), 1 + 1 + 100),
            (
                "{ vmsConnection(last: 5) { totalCount edges { cursor node { id } } } }",
                json!({}),
                1 + 200_000 + 2 + 5 * 3,
            ),
            ("{ events { nodes { kind } } }", json!({}), 1 + 100 + 1 + 100),
            ("{ events(first: 9) { nodes { kind } } }", json!({}), 1 + 9 + 1 + 9),
            ("{ events(first: 9) { hasNextPage } }", json!({}), 1 + 9 + 1),
            ("{ workers { ...F } } fragment F on Worker { id ... on Node { id } }", json!({}), 1 + 10_000 * 2),
            ("{ workers { id @skip(if: true) zone @include(if: true) } }", json!({}), 1 + 10_000),
            (
                "query($no: Boolean!) { clusterStats { totalWorkers } workers @include(if: $no) { id } }",
                json!({"no": false}),
                2,
            ),
            ("subscription { clusterEvents { kind worker { id } } }", json!({}), 4),
            (
                r#"mutation { drainWorker(input: {workerId: "w"}) { changed worker { id vms { id } } } }"#,
                json!({}),
                4 + 1 + 20,
            ),
            ("{ __schema { types { name fields { name } } } __typename }", json!({}), 6),
        ] {
            assert_eq!(cost(query, variables.clone()), expected, "{query} {variables}");
        }
    }

    /// What the pages of the dashboard ask for at most, so that nobody makes them too expensive.
    #[test]
    fn curves_on_pages_are_far_from_the_limit() {
        let rows = "{ workersConnection(first: 500) { nodes { id history(rangeSeconds: 21600, maxPoints: 36) {
            cpuCores { values } usedCpuCores { values } measuredCpuCores { values } } } } }";
        let all = "query($n: Int!) { clusterHistory(rangeSeconds: 2592000, maxPoints: $n) { start
            cpuCores { ...C } memoryMb { ...C } maxVms { ...C } usedCpuCores { ...C } usedMemoryMb { ...C } vmCount { ...C }
            measuredCpuCores { ...C } measuredMemoryMb { ...C } measuredLoad1 { ...C } onlineWorkers { ...C }
            } } fragment C on HistoryCurve { values min max }";
        for (query, variables) in [(rows, json!({})), (all, json!({"n": 400})), (all, json!({"n": 1_500}))] {
            let cost = cost(query, variables);
            assert!(cost < 100_000, "{cost} {query}");
        }
        let of_many = all.replace("clusterHistory", "workersConnection(first: 500) { nodes { history");
        let of_many = of_many.replace("} } fragment", "} } } } fragment");
        assert!(cost(&of_many, json!({"n": 1_500})) > 10_000_000);
    }

    #[test]
    fn a_page_costs_the_rows_scanned_for_it() {
        let vms = |filter: &str| format!("{{ vmsConnection(first: 1{filter}) {{ totalCount }} }}");
        let workers = |arguments: &str| format!("{{ workersConnection(first: 1{arguments}) {{ totalCount }} }}");
        let zones = "query($z: [String!]) { vmsConnection(first: 1, filter: {zones: $z}) { totalCount } }";
        // An omitted variable omits nothing else of its object.
        let with_other_field = "query($z: [String!], $s: String) { vmsConnection(first: 1, filter: {search: $s, zones: $z}) { totalCount } }";
        let ordered =
            "query($o: WorkerOrderField!) { workersConnection(first: 1, orderBy: {field: $o}) { totalCount } }";
        let whole_filter = "query($f: VmFilter) { vmsConnection(first: 1, filter: $f) { totalCount } }";
        for (query, variables, scanned) in [
            (vms(""), json!({}), 200_000),
            (vms(", filter: null"), json!({}), 200_000),
            (vms(", filter: {search: \"x\"}"), json!({}), 2 * 200_000),
            (vms(", filter: {zones: [\"a\", \"b\"], search: \"x\"}"), json!({}), 2 * 200_000),
            (zones.to_owned(), json!({"z": vec!["a"; 1_000]}), 17 * 200_000),
            (with_other_field.to_owned(), json!({"z": vec!["a"; 1_000]}), 17 * 200_000),
            (vms(", filter: {zones: \"a\"}"), json!({}), 0),
            (vms(", filter: {zones: [\"a\"], search: null}"), json!({}), 0),
            (vms(", filter: {zones: [\"a\"], statuses: [RUNNING]}"), json!({}), 2 * 200_000),
            (vms(", filter: {hasZone: true}"), json!({}), 2 * 200_000),
            (vms(", filter: {zones: null, search: null}"), json!({}), 200_000),
            (vms(", orderBy: {field: ID, direction: DESC}"), json!({}), 200_000),
            (vms(", orderBy: {field: ZONE}"), json!({}), 2 * 200_000),
            (vms(", orderBy: {field: CREATED_AT}, filter: {zones: [\"a\"]}"), json!({}), 3 * 200_000),
            (vms(", orderBy: {field: NAME}, filter: {workerIds: [\"a\", \"b\"]}"), json!({}), 4 * 20),
            // VMs of given workers are looked up without a scan of the others.
            (vms(", filter: {workerIds: [\"a\", \"b\"]}"), json!({}), 2 * 20),
            (vms(", filter: {workerIds: []}"), json!({}), 0),
            (vms(", filter: {workerIds: [\"a\"], search: \"x\"}"), json!({}), 2 * 20),
            (whole_filter.to_owned(), json!({"f": {"workerIds": ["a", "b", "c"]}}), 3 * 20),
            (whole_filter.to_owned(), json!({}), 200_000),
            (workers(""), json!({}), 0),
            (workers(", filter: null, orderBy: null"), json!({}), 0),
            // What lies in an index is found there.
            (workers(", filter: {}"), json!({}), 0),
            (workers(", filter: {zones: null}"), json!({}), 0),
            (workers(", filter: {zones: \"a\"}"), json!({}), 0),
            (workers(", filter: {zones: [\"a\"], search: null}"), json!({}), 0),
            (workers(", filter: {statuses: [DRAINING]}"), json!({}), 0),
            (workers(", filter: {isHealthy: false}"), json!({}), 0),
            (workers(", filter: {labels: [{key: \"a\", value: \"b\"}]}"), json!({}), 0),
            (workers(", filter: {labels: {key: \"a\", value: \"b\"}}"), json!({}), 0),
            (workers(", filter: {labels: [{key: \"a\"}]}"), json!({}), 2 * 10_000),
            (workers(", filter: {labels: []}"), json!({}), 10_000),
            (workers(", filter: {isHealthy: true}"), json!({}), 2 * 10_000),
            (workers(", filter: {zones: [\"a\", \"b\"]}"), json!({}), 2 * 10_000),
            (workers(", filter: {zones: [\"a\"], statuses: [ACTIVE]}"), json!({}), 2 * 10_000),
            (workers(", orderBy: {field: ID, direction: DESC}"), json!({}), 0),
            (workers(", orderBy: {field: ZONE}"), json!({}), 0),
            (workers(", orderBy: {field: HOSTNAME}, filter: {}"), json!({}), 0),
            (workers(", orderBy: {field: ZONE}, filter: {zones: [\"a\"]}"), json!({}), 3 * 10_000),
            (workers(", orderBy: {field: LAST_SEEN}"), json!({}), 2 * 10_000),
            (ordered.to_owned(), json!({"o": "HOSTNAME"}), 0),
            (ordered.to_owned(), json!({"o": "VM_COUNT"}), 2 * 10_000),
            (ordered.to_owned(), json!({}), 2 * 10_000),
            (workers(", filter: {search: \"x\", labels: [{key: \"a\"}, {key: \"b\"}]}"), json!({}), 2 * 10_000),
            (workers(", filter: {ids: [\"a\", \"b\"], isHealthy: true}"), json!({}), 2 * 2),
        ] {
            assert_eq!(cost(&query, variables.clone()), 1 + 1 + scanned, "{query} {variables}");
        }
        let of_each = "{ workers { vmsConnection(filter: {search: \"x\"}) { totalCount } } }";
        assert_eq!(cost(of_each, json!({})), 1 + 10_000 * (1 + 1 + 2 * 20));
        let plan = |filter: &str| format!("{{ evacuationPlan(filter: {filter}, limit: 7) {{ moves {{ vmId }} }} }}");
        assert_eq!(cost(&plan("null"), json!({})), 1 + 10_000 + 200_000 + 30_000 + 1 + 7);
        assert_eq!(cost(&plan("{ids: [\"a\", \"b\"]}"), json!({})), 1 + 2 + 2 * 20 + 30_000 + 1 + 7);
        let drain = |limit: &str| {
            let input = format!("{{filter: {{ids: \"a\"}}{limit}}}");
            format!(
                "mutation {{ drainWorkers(input: {input}) {{ workers {{ changed }} plan {{ stranded {{ vmId }} }} }} }}"
            )
        };
        assert_eq!(cost(&drain(", limit: 7"), json!({})), 1 + 1 + 20 + 30_000 + 2 + 1 + 1 + 7, "one worker is named");
        let activate = |filter: &str| {
            format!("mutation {{ activateWorkers(input: {{filter: {filter}}}) {{ workers {{ changed }} }} }}")
        };
        assert_eq!(cost(&activate("{ids: [\"a\", \"b\"]}"), json!({})), 1 + 2 + 1 + 2);
        assert_eq!(cost(&activate("{search: \"a\"}"), json!({})), 1 + 10_000 * 2 + 1 + 10_000);
        let a_hundred: String =
            (0..100).map(|alias| format!("a{alias}: {} ", vms("").trim_matches(['{', '}']))).collect();
        assert_eq!(cost(&format!("{{ {a_hundred} }}"), json!({})), 100 * (1 + 1 + 200_000));
    }

    #[test]
    fn what_cannot_be_counted_costs_all_there_is() {
        let query = format!("{{ workers {{ {}vms {{ id }}{} }} }}", "vms { worker { ".repeat(14), " } }".repeat(14));
        assert_eq!(cost(&query, json!({})), u64::MAX);
    }
}
