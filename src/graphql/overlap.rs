//! Whether the fields of a document that share a name in the answer can be one field there.
//!
//! The engine compares the fields of one selection set. Two fields of one name may also meet when
//! their parents are merged: `{ a: worker(id: "1") { x: id } a: worker(id: "1") { x: hostname } }`.
//! Of such a pair the engine answers one and forgets the other. This is the specification's rule
//! (FieldsInSetCanMerge) whole, in a form that looks at each field of the written-out document a
//! constant number of times for each level: sameness of shape is compared with the first of a group,
//! and merging is followed group by group. The guard has seen to it that there are not many.

use std::collections::HashMap;

use async_graphql::parser::types::{BaseType, ExecutableDocument, Field, Selection, SelectionSet, Type};
use async_graphql::{Positioned, ServerError};

use super::error::request_error;
use super::types::{Types, innermost, root};

/// What cannot be merged, in words; the first for each operation.
pub(super) fn conflicts(document: &ExecutableDocument, types: &Types) -> Vec<ServerError> {
    let rule = Rule { document, types };
    let operations = document.operations.iter().map(|(_, operation)| &operation.node);
    operations
        .filter_map(|operation| {
            let mut fields = Vec::new();
            rule.collect(Some(root(operation.ty)), &operation.selection_set.node, &mut fields);
            rule.are_the_same(&fields).and_then(|()| rule.have_one_shape(&fields)).err()
        })
        .collect()
}

struct Rule<'a> {
    document: &'a ExecutableDocument,
    types: &'a Types,
}

/// A field where it was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    /// The type that it is asked of; none inside introspection, whose types are all objects.
    parent: Option<&'a str>,
    field: &'a Positioned<Field>,
    ty: Option<&'a Type>,
}

impl<'a> Rule<'a> {
    /// The fields of a selection set, with those of its fragments.
    fn collect(&self, parent: Option<&'a str>, set: &'a SelectionSet, found: &mut Vec<Found<'a>>) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let definition = parent.and_then(|parent| self.types.field(parent, &field.node.name.node));
                    found.push(Found { parent, field, ty: definition.map(|definition| &definition.ty) });
                }
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref().map(|condition| &*condition.node.on.node);
                    self.collect(condition.or(parent), &inline.node.selection_set.node, found);
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) {
                        let condition = &*fragment.node.type_condition.node.on.node;
                        self.collect(Some(condition), &fragment.node.selection_set.node, found);
                    }
                }
            }
        }
    }

    /// What is selected in these fields, taken together.
    fn inside(&self, fields: &[Found<'a>]) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        for Found { field, ty, .. } in fields {
            self.collect(ty.map(innermost), &field.node.selection_set.node, &mut found);
        }
        found
    }

    /// Fields of one name have values of one shape, whatever object they are of.
    fn have_one_shape(&self, fields: &[Found<'a>]) -> Result<(), ServerError> {
        for group in by_name(fields) {
            let [first, others @ ..] = &group[..] else { continue };
            for other in others {
                if let (Some(one), Some(another)) = (first.ty, other.ty)
                    && !self.is_one_shape(one, another)
                {
                    let problem = format!("they return conflicting types \"{one}\" and \"{another}\"");
                    return Err(conflict(first, other, &problem));
                }
            }
            self.have_one_shape(&self.inside(&group))?;
        }
        Ok(())
    }

    fn is_one_shape(&self, one: &Type, other: &Type) -> bool {
        one.nullable == other.nullable
            && match (&one.base, &other.base) {
                (BaseType::List(one), BaseType::List(other)) => self.is_one_shape(one, other),
                (BaseType::Named(one), BaseType::Named(other)) => {
                    one == other || !(self.types.is_leaf(one) || self.types.is_leaf(other))
                }
                (BaseType::List(_), BaseType::Named(_)) | (BaseType::Named(_), BaseType::List(_)) => false,
            }
    }

    /// Fields of one name are the same field with the same arguments, if they can be of one object.
    fn are_the_same(&self, fields: &[Found<'a>]) -> Result<(), ServerError> {
        for group in by_name(fields) {
            for together in self.that_may_meet(&group) {
                let [first, others @ ..] = &together[..] else { continue };
                for other in others {
                    let (one, another) = (&first.field.node, &other.field.node);
                    if one.name.node != another.name.node {
                        let problem =
                            format!("\"{}\" and \"{}\" are different fields", one.name.node, another.name.node);
                        return Err(conflict(first, other, &problem));
                    }
                    if !has_the_same_arguments(one, another) {
                        return Err(conflict(first, other, "they have differing arguments"));
                    }
                }
                self.are_the_same(&self.inside(&together))?;
            }
        }
        Ok(())
    }

    /// Those that can be of one object: of each object type, with those of interfaces.
    fn that_may_meet(&self, group: &[Found<'a>]) -> Vec<Vec<Found<'a>>> {
        let is_concrete = |found: &Found<'a>| found.parent.is_none_or(|parent| self.types.is_concrete(parent));
        let mut objects: Vec<_> = group.iter().filter(|found| is_concrete(found)).map(|found| found.parent).collect();
        objects.sort_unstable();
        objects.dedup();
        if objects.is_empty() {
            return vec![group.to_vec()];
        }
        let of = |object| group.iter().filter(|it| !is_concrete(it) || it.parent == object).copied().collect();
        objects.into_iter().map(of).collect()
    }
}

/// The fields by their names in the answer, in the order in which they are asked for.
fn by_name<'a>(fields: &[Found<'a>]) -> Vec<Vec<Found<'a>>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<_>> = Vec::new();
    for found in fields {
        let place = *places.entry(&found.field.node.response_key().node).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(*found),
            None => groups.push(vec![*found]),
        }
    }
    groups
}

fn has_the_same_arguments(one: &Field, other: &Field) -> bool {
    one.arguments.len() == other.arguments.len()
        && one
            .arguments
            .iter()
            .all(|(name, value)| other.get_argument(&name.node).is_some_and(|it| it.node == value.node))
}

fn conflict(one: &Found<'_>, other: &Found<'_>, problem: &str) -> ServerError {
    let name = &one.field.node.response_key().node;
    let mut error = request_error(
        "GRAPHQL_VALIDATION_FAILED",
        format!(
            "Fields \"{name}\" conflict because {problem}. Use different aliases on the fields to fetch both if this was intentional."
        ),
    );
    error.locations = vec![one.field.pos, other.field.pos];
    error
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn problem(query: &str) -> Option<String> {
        let conflicts = conflicts(&parse_query(query).unwrap(), Types::of_schema());
        conflicts.into_iter().next().map(|error| error.message)
    }

    #[test]
    fn fields_that_meet_deep_down_have_to_be_the_same() {
        for (query, expected) in [
            ("{ a: workers { x: id } a: workers { x: hostname } }", "\"id\" and \"hostname\" are different fields"),
            ("{ workers { id } workers { id: hostname } }", "\"id\" and \"hostname\" are different fields"),
            (
                "{ ...A ...B } fragment A on Query { workers { x: address } } fragment B on Query { workers { x: hostname } }",
                "\"address\" and \"hostname\" are different fields",
            ),
            (r#"{ workers { vms { id } } workers { vms(status: [FAILED]) { id } } }"#, "they have differing arguments"),
            (
                "{ vms { worker { a: vms { x: id } ... on Worker { a: vms { x: name } } } } }",
                "\"id\" and \"name\" are different fields",
            ),
            (
                r#"{ node(id: "1") { ... on Worker { x: cpuCores } ... on Vm { x: name } } }"#,
                "return conflicting types \"Int!\" and \"String!\"",
            ),
            (
                r#"{ node(id: "1") { x: id ... on Vm { x: workerId } } }"#,
                "\"id\" and \"workerId\" are different fields",
            ),
            (
                "{ __schema { types { x: name } } __schema { types { x: kind } } }",
                "\"name\" and \"kind\" are different",
            ),
        ] {
            let problem = problem(query).unwrap_or_else(|| panic!("{query} passes"));
            assert!(problem.contains(expected), "{query}: {problem}");
        }
    }

    #[test]
    fn fields_that_can_be_merged_pass() {
        for query in [
            "{ workers { id vms { id } } workers { hostname vms { name } } }",
            r#"{ a: workers(zone: "a") { id } b: workers(zone: "b") { id } }"#,
            r#"{ node(id: "1") { ... on Worker { x: hostname } ... on Vm { x: name } } }"#,
            r#"{ node(id: "1") { id ... on Worker { id vms { x: id } } ... on Vm { worker { x: id } } } }"#,
            r#"query($z: String) { workers(zone: $z) { id } workers(zone: $z) { hostname } }"#,
            "{ workers { ...W } ...Q } fragment Q on Query { workers { ...W } } fragment W on Worker { id vms { id } }",
        ] {
            assert_eq!(problem(query), None, "{query}");
        }
    }
}
