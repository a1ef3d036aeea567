//! What an operation may cost, told before it is run: how many fields the largest answer to it has, and how many rows
//! are compared with its filters to find them.
//!
//! The document and its variables decide, and nothing else: what is allowed on an empty cluster is
//! allowed on a full one, and the other way round. Where a list says how long it may be (`first`,
//! `last`, ids that are asked for), that is taken; any other list is taken to be as long as in the
//! largest cluster this server is meant for. What an answer then really holds is watched by
//! [`budget`](crate::graphql::execution::budget).
//!
//! A page is short, and yet its filter may have to look at everything there is: so each row that is looked at counts
//! as much as a field that is written, and again for each 64 entries that it is compared with.
//!
//! The same estimate, with the cluster as large as it is, tells what is too much work for a thread that others wait for
//! ([`Offload`](crate::resolvers::offload::Offload)).

use std::cell::Cell;
use std::convert::Infallible;

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Response, Value, Variables};

use super::variables;
use crate::graphql::error::request_error;
use crate::graphql::schema::index::{self, SchemaIndex, innermost, is_list, root};
use crate::resolvers::offload::ENTRIES_OF_A_STEP;

/// Workers of the largest cluster.
const WORKERS: u64 = 10_000;

/// VMs of each of them.
const VMS_OF_A_WORKER: u64 = 20;

/// Entries of any other list, such as labels or zones.
const FEW: u64 = 10;

/// Size of a page when nobody asks for one.
const USUAL_PAGE: u64 = 100;

/// Largest page.
const LARGEST_PAGE: u64 = 500;

/// How large the cluster is taken to be.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    workers: u64,
    vms_of_a_worker: u64,
}

impl Sizes {
    /// The largest cluster.
    const LARGEST: Self = Self { workers: WORKERS, vms_of_a_worker: VMS_OF_A_WORKER };

    /// A cluster of so many workers and VMs.
    pub fn of(workers: usize, vms: usize) -> Self {
        Self { workers: workers as u64, vms_of_a_worker: vms.div_ceil(workers.max(1)) as u64 }
    }

    fn vms(self) -> u64 {
        self.workers.saturating_mul(self.vms_of_a_worker)
    }
}

/// How many fields the largest answer has, and how many rows are looked at for it.
pub fn of(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
    types: &SchemaIndex,
) -> u64 {
    on(Sizes::LARGEST, operation, document, variables, types)
}

/// The same for a cluster of this size.
pub fn on(
    sizes: Sizes,
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
    types: &SchemaIndex,
) -> u64 {
    let estimate = Estimate { sizes, document, variables, types, asked_for_variables: Cell::new(false) };
    estimate.of_operation(operation)
}

/// The same whatever the variables are; none if they have a say.
pub fn whatever_the_variables(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    types: &SchemaIndex,
) -> Option<u64> {
    let variables = &Variables::default();
    let sizes = Sizes::LARGEST;
    let estimate = Estimate { sizes, document, variables, types, asked_for_variables: Cell::new(false) };
    let cost = estimate.of_operation(operation);
    (!estimate.asked_for_variables.get()).then_some(cost)
}

/// Refuses what costs more than is allowed.
pub fn within(cost: u64, limit: u64) -> Result<(), Response> {
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
    sizes: Sizes,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    types: &'a SchemaIndex,
    asked_for_variables: Cell<bool>,
}

/// A variable that was not given.
struct Unknown;

impl Estimate<'_> {
    fn of_operation(&self, operation: &OperationDefinition) -> u64 {
        self.of_set(Some(root(operation.ty)), &operation.selection_set.node, USUAL_PAGE)
    }

    /// What is selected of one object. A page lies around it, of this size.
    fn of_set(&self, parent: Option<&str>, set: &SelectionSet, page: u64) -> u64 {
        let mut cost = 0_u64;
        for selection in set.items.iter().map(|selection| &selection.node) {
            if self.is_left_out(selection.directives()) {
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

    fn of_field(&self, parent: Option<&str>, field: &Field, page: u64) -> u64 {
        let inside = &field.selection_set.node;
        let definition = parent.and_then(|parent| self.types.field(parent, &field.name.node));
        // Introspection, whose answers are as long as the schema, and not longer.
        let Some((parent, definition)) = parent.zip(definition) else {
            return self.of_set(None, inside, page).saturating_add(1);
        };
        if inside.items.is_empty() {
            return 1;
        }
        let each = self.of_set(Some(innermost(&definition.ty)), inside, self.page_of(definition, field));
        let times = if is_list(&definition.ty) { self.length(parent, definition, field, page) } else { 1 };
        each.saturating_mul(times).saturating_add(self.rows_looked_at(parent, definition, field)).saturating_add(1)
    }

    /// How many rows are looked at to find what a field shows, each the more often the more it is compared with. Lists
    /// that show all they look at are as long as that.
    fn rows_looked_at(&self, parent: &str, definition: &index::IndexedField, field: &Field) -> u64 {
        let Sizes { workers, vms_of_a_worker } = self.sizes;
        match (parent, field.name.node.as_str()) {
            ("Query", "workersConnection") => {
                let is_given =
                    |argument| self.argument(definition, field, argument).is_some_and(|it| it != Value::Null);
                let is_sorted = is_given("orderBy");
                if !is_sorted && !is_given("filter") {
                    // A page by id is found without the rest, and the number of all is known.
                    return 0;
                }
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let rows = filter.entries("ids").unwrap_or(workers);
                // To sort a row is to compare it with several others.
                rows.saturating_mul(filter.comparisons("ids").saturating_add(if is_sorted { FEW } else { 0 }))
            }
            ("Query", "vmsConnection") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                let of_workers = filter.entries("workerIds").map(|ids| ids.saturating_mul(vms_of_a_worker));
                of_workers.unwrap_or(self.sizes.vms()).saturating_mul(filter.comparisons("workerIds"))
            }
            ("Worker", "vmsConnection") => {
                let filter = Filter::of(self.argument(definition, field, "filter"));
                vms_of_a_worker.saturating_mul(filter.comparisons(""))
            }
            // The VMs of each worker are put together to be counted.
            ("Query", "vmDistribution") => self.sizes.vms(),
            ("Query" | "Worker", "events") => self.page_of(definition, field),
            _ => 0,
        }
    }

    /// How many objects a list has.
    fn length(&self, parent: &str, definition: &index::IndexedField, field: &Field, page: u64) -> u64 {
        match (parent, field.name.node.as_str()) {
            ("Query", "workers" | "vmDistribution") => self.sizes.workers,
            ("Query", "vms") => self.sizes.vms(),
            ("Worker" | "WorkerDistribution", "vms") => self.sizes.vms_of_a_worker,
            ("Query", "nodes") => match self.argument(definition, field, "ids") {
                Some(Value::List(ids)) => ids.len() as u64,
                _ => 1,
            },
            ("Worker", "events") => self.page_of(definition, field),
            ("WorkerConnection" | "VmConnection", "edges" | "nodes") | ("EventPage", "nodes") => page,
            _ => FEW,
        }
    }

    /// The size of the page that a field asks for. One that is not allowed is refused later on.
    fn page_of(&self, definition: &index::IndexedField, field: &Field) -> u64 {
        let asked = ["first", "last"].into_iter().find_map(|name| match self.argument(definition, field, name) {
            Some(Value::Number(size)) => Some(size.as_i64().map_or(LARGEST_PAGE, |size| size.max(0).unsigned_abs())),
            _ => None,
        });
        asked.unwrap_or(USUAL_PAGE).min(LARGEST_PAGE)
    }

    fn argument(&self, definition: &index::IndexedField, field: &Field, name: &str) -> Option<Value> {
        // What a variable that was left out stands for is left out, and the rest counts.
        let variable = |name: &Name| {
            self.asked_for_variables.set(true);
            Ok::<_, Infallible>(self.variables.get(name).cloned())
        };
        let given = field.get_argument(name);
        let given = given.and_then(|value| variables::resolve(&value.node, &variable).ok().flatten());
        given.or_else(|| definition.arguments.get(name)?.default.clone())
    }

    fn variable(&self, name: &Name) -> Result<Value, Unknown> {
        self.asked_for_variables.set(true);
        self.variables.get(name).cloned().ok_or(Unknown)
    }

    /// Whether a condition that is known says that it will not be there.
    fn is_left_out(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().map(|directive| &directive.node).any(|directive| {
            let leaves_out = match &*directive.name.node {
                "skip" => true,
                "include" => false,
                _ => return false,
            };
            let condition = directive.get_argument("if").map(|condition| condition.node.clone());
            let condition = condition.and_then(|it| it.into_const_with(|name| self.variable(&name)).ok());
            condition == Some(Value::Boolean(leaves_out))
        })
    }
}

/// The filter of a connection, as far as it is known.
struct Filter(IndexMap<Name, Value>);

impl Filter {
    fn of(value: Option<Value>) -> Self {
        match value {
            Some(Value::Object(fields)) => Self(fields),
            _ => Self(IndexMap::new()),
        }
    }

    /// How many entries a list has; none if there is no such list.
    fn entries(&self, list: &str) -> Option<u64> {
        match self.0.get(list)? {
            Value::Null => None,
            Value::List(entries) => Some(entries.len() as u64),
            // One value stands for a list of it.
            _ => Some(1),
        }
    }

    /// How often a row counts that is compared with it, beside the list by which it was found.
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
    fn each_field_counts_once_for_each_object_that_it_may_be_asked_of() {
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

    #[test]
    fn a_page_costs_what_is_looked_at_to_find_it() {
        let vms = |filter: &str| format!("{{ vmsConnection(first: 1{filter}) {{ totalCount }} }}");
        let workers = |arguments: &str| format!("{{ workersConnection(first: 1{arguments}) {{ totalCount }} }}");
        let zones = "query($z: [String!]) { vmsConnection(first: 1, filter: {zones: $z}) { totalCount } }";
        // A variable that is left out takes nothing else of its object with it.
        let beside = "query($z: [String!], $s: String) { vmsConnection(first: 1, filter: {search: $s, zones: $z}) { totalCount } }";
        let wanted = "query($f: VmFilter) { vmsConnection(first: 1, filter: $f) { totalCount } }";
        for (query, variables, looked_at) in [
            (vms(""), json!({}), 200_000),
            (vms(", filter: null"), json!({}), 200_000),
            (vms(", filter: {search: \"x\"}"), json!({}), 2 * 200_000),
            (vms(", filter: {zones: [\"a\", \"b\"], search: \"x\"}"), json!({}), 2 * 200_000),
            (zones.to_owned(), json!({"z": vec!["a"; 1_000]}), 17 * 200_000),
            (beside.to_owned(), json!({"z": vec!["a"; 1_000]}), 17 * 200_000),
            (vms(", filter: {zones: \"a\"}"), json!({}), 2 * 200_000),
            (vms(", filter: {zones: null, search: null}"), json!({}), 200_000),
            // Whose worker is known is looked for there.
            (vms(", filter: {workerIds: [\"a\", \"b\"]}"), json!({}), 2 * 20),
            (vms(", filter: {workerIds: []}"), json!({}), 0),
            (vms(", filter: {workerIds: [\"a\"], search: \"x\"}"), json!({}), 2 * 20),
            (wanted.to_owned(), json!({"f": {"workerIds": ["a", "b", "c"]}}), 3 * 20),
            (wanted.to_owned(), json!({}), 200_000),
            (workers(""), json!({}), 0),
            (workers(", filter: null, orderBy: null"), json!({}), 0),
            (workers(", filter: {}"), json!({}), 10_000),
            (workers(", orderBy: {field: ZONE}"), json!({}), 11 * 10_000),
            (workers(", filter: {search: \"x\", labels: [{key: \"a\"}, {key: \"b\"}]}"), json!({}), 2 * 10_000),
            (workers(", filter: {ids: [\"a\", \"b\"], isHealthy: true}"), json!({}), 2 * 2),
        ] {
            assert_eq!(cost(&query, variables.clone()), 1 + 1 + looked_at, "{query} {variables}");
        }
        let of_each = "{ workers { vmsConnection(filter: {search: \"x\"}) { totalCount } } }";
        assert_eq!(cost(of_each, json!({})), 1 + 10_000 * (1 + 1 + 2 * 20));
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
