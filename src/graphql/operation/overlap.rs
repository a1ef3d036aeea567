//! Whether the fields of a document that share a name in the answer can be one field there.
//!
//! This is the specification's rule (FieldsInSetCanMerge) whole, for fields of one selection set and for those that
//! meet when their parents are merged: `{ a: worker(id: "1") { x: id } a: worker(id: "1") { x: hostname } }`. Of such a
//! pair the engine would answer one and forget the other. The rule looks at each field of the written-out document a
//! constant number of times for each level: sameness of shape is compared with the first of a group, and merging is
//! followed group by group. The guard has seen to it that there are not many. `apollo-compiler` has this rule too, and
//! takes `[1]` and `[1, 2]` for the same argument.

use std::collections::HashMap;

use apollo_compiler::ast::{Type, Value};
use apollo_compiler::executable::{ExecutableDocument, Field, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Name, Node, Schema};

use super::problems::ValidationErrors;

/// Adds what cannot be merged to the problems; the first for each operation.
pub fn find(document: &ExecutableDocument, schema: &Schema, problems: &mut ValidationErrors<'_>) {
    let rule = Rule { document, schema };
    for operation in document.operations.iter() {
        let mut fields = Vec::new();
        rule.collect(&operation.selection_set, &mut fields);
        let outcome = rule.are_the_same(&fields).and_then(|()| rule.have_one_shape(&fields));
        if let Err(Conflict { one, other, problem }) = outcome {
            problems.add(one.location().into_iter().chain(other.location()), || {
                format!(
                    "Fields \"{}\" conflict because {problem}. Use different aliases on the fields to fetch both if \
                     this was intentional.",
                    one.response_key()
                )
            });
        }
    }
}

struct Rule<'a> {
    document: &'a ExecutableDocument,
    schema: &'a Schema,
}

/// A field where it was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    /// The type that it is asked of.
    parent: &'a Name,
    field: &'a Node<Field>,
}

/// Two fields that cannot be one.
struct Conflict<'a> {
    one: &'a Node<Field>,
    other: &'a Node<Field>,
    problem: String,
}

impl<'a> Rule<'a> {
    /// The fields of a selection set, with those of its fragments.
    fn collect(&self, set: &'a SelectionSet, found: &mut Vec<Found<'a>>) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => found.push(Found { parent: &set.ty, field }),
                Selection::InlineFragment(inline) => self.collect(&inline.selection_set, found),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name) {
                        self.collect(&fragment.selection_set, found);
                    }
                }
            }
        }
    }

    /// What is selected in these fields, taken together.
    fn inside(&self, fields: &[Found<'a>]) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        fields.iter().for_each(|Found { field, .. }| self.collect(&field.selection_set, &mut found));
        found
    }

    /// Fields of one name have values of one shape, whatever object they are of.
    fn have_one_shape(&self, fields: &[Found<'a>]) -> Result<(), Conflict<'a>> {
        for group in by_name(fields) {
            let [first, others @ ..] = &group[..] else { continue };
            for other in others {
                let (one, another) = (&first.field.definition.ty, &other.field.definition.ty);
                if !self.is_one_shape(one, another) {
                    let problem = format!("they return conflicting types \"{one}\" and \"{another}\"");
                    return Err(conflict(first, other, problem));
                }
            }
            self.have_one_shape(&self.inside(&group))?;
        }
        Ok(())
    }

    fn is_one_shape(&self, one: &Type, other: &Type) -> bool {
        match (one, other) {
            (Type::List(one), Type::List(other)) | (Type::NonNullList(one), Type::NonNullList(other)) => {
                self.is_one_shape(one, other)
            }
            (Type::Named(one), Type::Named(other)) | (Type::NonNullNamed(one), Type::NonNullNamed(other)) => {
                one == other || !(self.is_leaf(one) || self.is_leaf(other))
            }
            _ => false,
        }
    }

    fn is_leaf(&self, ty: &Name) -> bool {
        matches!(self.schema.types.get(ty), Some(ExtendedType::Scalar(_) | ExtendedType::Enum(_)))
    }

    /// Fields of one name are the same field with the same arguments, if they can be of one object.
    fn are_the_same(&self, fields: &[Found<'a>]) -> Result<(), Conflict<'a>> {
        for group in by_name(fields) {
            for together in self.that_may_meet(&group) {
                let [first, others @ ..] = &together[..] else { continue };
                for other in others {
                    let (one, another) = (first.field, other.field);
                    if one.name != another.name {
                        let problem = format!("\"{}\" and \"{}\" are different fields", one.name, another.name);
                        return Err(conflict(first, other, problem));
                    }
                    if !has_the_same_arguments(one, another) {
                        return Err(conflict(first, other, "they have differing arguments".to_owned()));
                    }
                }
                self.are_the_same(&self.inside(&together))?;
            }
        }
        Ok(())
    }

    /// Those that can be of one object: of each object type, with those of interfaces.
    fn that_may_meet(&self, group: &[Found<'a>]) -> Vec<Vec<Found<'a>>> {
        let is_concrete = |found: &Found<'a>| self.schema.get_object(found.parent).is_some();
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
        let place = *places.entry(found.field.response_key()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(*found),
            None => groups.push(vec![*found]),
        }
    }
    groups
}

fn has_the_same_arguments(one: &Field, other: &Field) -> bool {
    // A fragment that is spread twice brings the very same field.
    std::ptr::eq(one, other)
        || one.arguments.len() == other.arguments.len()
            && one.arguments.iter().all(|argument| {
                other.specified_argument_by_name(&argument.name).is_some_and(|it| is_the_same(it, &argument.value))
            })
}

/// Whether two values are the same, in whatever order their fields stand.
fn is_the_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_the_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.iter().any(|(known, other)| known == name && is_the_same(value, other)))
        }
        (one, other) => one == other,
    }
}

fn conflict<'a>(one: &Found<'a>, other: &Found<'a>, problem: String) -> Conflict<'a> {
    Conflict { one: one.field, other: other.field, problem }
}

#[cfg(test)]
mod tests {
    use crate::graphql::operation::limits::Limits;
    use crate::graphql::operation::validation::read;

    fn problem(query: &str) -> Option<String> {
        let refused = read(query, &Limits::default()).err()?;
        refused.errors.into_iter().next().map(|error| error.message)
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
