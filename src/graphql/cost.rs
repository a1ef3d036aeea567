//! What an operation may cost, told before it is run: how many fields the largest answer to it has.
//!
//! The document and its variables decide, and nothing else: what is allowed on an empty cluster is
//! allowed on a full one, and the other way round. Where a list says how long it may be (`first`,
//! `last`, ids that are asked for), that is taken; any other list is taken to be as long as in the
//! largest cluster this server is meant for. What an answer then really holds is watched by
//! [`budget`](super::budget).

use std::cell::Cell;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Response, Value, Variables};

use super::error::request_error;
use super::types::{self, Types, innermost, is_list, root};

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

/// How many fields the largest answer has.
pub(super) fn of(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
    types: &Types,
) -> u64 {
    let estimate = Estimate { document, variables, types, asked_for_variables: Cell::new(false) };
    estimate.of_operation(operation)
}

/// The same whatever the variables are; none if they have a say.
pub(super) fn whatever_the_variables(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    types: &Types,
) -> Option<u64> {
    let variables = &Variables::default();
    let estimate = Estimate { document, variables, types, asked_for_variables: Cell::new(false) };
    let cost = estimate.of_operation(operation);
    (!estimate.asked_for_variables.get()).then_some(cost)
}

/// Refuses what costs more than is allowed.
pub(super) fn within(cost: u64, limit: u64) -> Result<(), Response> {
    if cost <= limit {
        return Ok(());
    }
    Err(Response::from_errors(vec![request_error(
        "QUERY_TOO_COMPLEX",
        format!(
            "The operation has a cost of {cost}, which is how many fields the largest answer to it has; at most {limit} \
             are allowed. Ask for pages, by `first` of the connections, or nest fewer lists"
        ),
    )]))
}

struct Estimate<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    types: &'a Types,
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
        each.saturating_mul(times).saturating_add(1)
    }

    /// How many objects a list has.
    fn length(&self, parent: &str, definition: &types::Field, field: &Field, page: u64) -> u64 {
        match (parent, field.name.node.as_str()) {
            ("Query", "workers" | "vmDistribution") => WORKERS,
            ("Query", "vms") => WORKERS * VMS_OF_A_WORKER,
            ("Worker" | "WorkerDistribution", "vms") => VMS_OF_A_WORKER,
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
    fn page_of(&self, definition: &types::Field, field: &Field) -> u64 {
        let asked = ["first", "last"].into_iter().find_map(|name| match self.argument(definition, field, name) {
            Some(Value::Number(size)) => Some(size.as_i64().map_or(LARGEST_PAGE, |size| size.max(0).unsigned_abs())),
            _ => None,
        });
        asked.unwrap_or(USUAL_PAGE).min(LARGEST_PAGE)
    }

    fn argument(&self, definition: &types::Field, field: &Field, name: &str) -> Option<Value> {
        let given = field.get_argument(name);
        let given = given.and_then(|value| value.node.clone().into_const_with(|name| self.variable(&name)).ok());
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

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    fn cost(query: &str, variables: serde_json::Value) -> u64 {
        let document = parse_query(query).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        of(&operation.node, &document, &Variables::from_json(variables), Types::of_schema())
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
            ("{ workers { events { kind } } }", json!({}), 1 + 10_000 * (1 + 20)),
            ("{ workers { events(first: 3) { kind at } } }", json!({}), 1 + 10_000 * (1 + 3 * 2)),
            ("{ vmDistribution { vms { id } } }", json!({}), 1 + 10_000 * (1 + 20)),
            (ids, json!({"ids": ["a", "b", "c"]}), 1 + 3),
            (page, json!({"n": 7}), 1 + 1 + 7),
            (page, json!({"n": 2_147_483_647}), 1 + 1 + 500),
            (page, json!({"n": -1}), 1 + 1),
            (page, json!({}), 1 + 1 + 100),
            ("{ vmsConnection(last: 5) { totalCount edges { cursor node { id } } } }", json!({}), 1 + 1 + 1 + 5 * 3),
            ("{ events { nodes { kind } } }", json!({}), 1 + 1 + 100),
            ("{ events(first: 9) { nodes { kind } } }", json!({}), 1 + 1 + 9),
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
    fn what_cannot_be_counted_costs_all_there_is() {
        let query = format!("{{ workers {{ {}vms {{ id }}{} }} }}", "vms { worker { ".repeat(14), " } }".repeat(14));
        assert_eq!(cost(&query, json!({})), u64::MAX);
    }
}
