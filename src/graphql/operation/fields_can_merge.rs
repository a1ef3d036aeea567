//! Validation rule: fields with one response key can be merged (the specification's FieldsInSetCanMerge).
//!
//! It covers the fields of one selection set, and those that meet when their parents are merged, as `x` does here:
//!
//! `{ a: worker(id: "1") { x: id } a: worker(id: "1") { x: hostname } }`
//!
//! Of such a pair the engine would resolve one and drop the other. The rule visits each field of the written-out
//! document a constant number of times for each level, because it compares each field of a group with the first only;
//! [`limits`](super::limits) bounds how many fields there are. `apollo-compiler` has this rule too, but takes `[1]` and
//! `[1, 2]` for equal arguments.

use std::collections::HashMap;

use apollo_compiler::ast::{Type, Value};
use apollo_compiler::executable::{ExecutableDocument, Field, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Name, Node, Schema};

use super::validation_errors::ValidationErrors;

/// Adds an error for the first conflict of each operation.
pub fn check_fields_merge(document: &ExecutableDocument, schema: &Schema, problems: &mut ValidationErrors<'_>) {
    let rule = MergeRule { document, schema };
    for operation in document.operations.iter() {
        let mut fields = Vec::new();
        rule.collect(&operation.selection_set, &mut fields);
        let outcome = rule.check_same_field(&fields).and_then(|()| rule.check_same_shape(&fields));
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

struct MergeRule<'a> {
    document: &'a ExecutableDocument,
    schema: &'a Schema,
}

/// A field of a selection set.
#[derive(Clone, Copy)]
struct FieldOccurrence<'a> {
    /// The type that it is selected of.
    parent: &'a Name,
    field: &'a Node<Field>,
}

/// Two fields that cannot be merged, and why.
struct Conflict<'a> {
    one: &'a Node<Field>,
    other: &'a Node<Field>,
    problem: String,
}

impl<'a> MergeRule<'a> {
    /// Adds the fields of a selection set, those of its fragments included.
    fn collect(&self, set: &'a SelectionSet, occurrences: &mut Vec<FieldOccurrence<'a>>) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => occurrences.push(FieldOccurrence { parent: &set.ty, field }),
                Selection::InlineFragment(inline) => self.collect(&inline.selection_set, occurrences),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.document.fragments.get(&spread.fragment_name) {
                        self.collect(&fragment.selection_set, occurrences);
                    }
                }
            }
        }
    }

    /// The fields in the merged selection sets of these fields.
    fn subselections(&self, fields: &[FieldOccurrence<'a>]) -> Vec<FieldOccurrence<'a>> {
        let mut occurrences = Vec::new();
        fields.iter().for_each(|FieldOccurrence { field, .. }| self.collect(&field.selection_set, &mut occurrences));
        occurrences
    }

    /// Fields of one response key must have types of one shape, whatever their parents (SameResponseShape).
    fn check_same_shape(&self, fields: &[FieldOccurrence<'a>]) -> Result<(), Conflict<'a>> {
        for group in by_response_key(fields) {
            let [first, others @ ..] = &group[..] else { continue };
            for other in others {
                let (one, another) = (&first.field.definition.ty, &other.field.definition.ty);
                if !self.is_same_shape(one, another) {
                    let problem = format!("they return conflicting types \"{one}\" and \"{another}\"");
                    return Err(conflict(first, other, problem));
                }
            }
            self.check_same_shape(&self.subselections(&group))?;
        }
        Ok(())
    }

    fn is_same_shape(&self, one: &Type, other: &Type) -> bool {
        match (one, other) {
            (Type::List(one), Type::List(other)) | (Type::NonNullList(one), Type::NonNullList(other)) => {
                self.is_same_shape(one, other)
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

    /// Fields of one response key must be one field with equal arguments, if they can be of one object.
    fn check_same_field(&self, fields: &[FieldOccurrence<'a>]) -> Result<(), Conflict<'a>> {
        for group in by_response_key(fields) {
            for group_of_object in self.groups_by_object(&group) {
                let [first, others @ ..] = &group_of_object[..] else { continue };
                for other in others {
                    let (one, another) = (first.field, other.field);
                    if one.name != another.name {
                        let problem = format!("\"{}\" and \"{}\" are different fields", one.name, another.name);
                        return Err(conflict(first, other, problem));
                    }
                    if !has_same_arguments(one, another) {
                        return Err(conflict(first, other, "they have differing arguments".to_owned()));
                    }
                }
                self.check_same_field(&self.subselections(&group_of_object))?;
            }
        }
        Ok(())
    }

    /// The groups of fields that can be of one object: for each object type its fields and those of interfaces.
    fn groups_by_object(&self, group: &[FieldOccurrence<'a>]) -> Vec<Vec<FieldOccurrence<'a>>> {
        let is_concrete = |occurrence: &FieldOccurrence<'a>| self.schema.get_object(occurrence.parent).is_some();
        let mut objects: Vec<_> =
            group.iter().filter(|occurrence| is_concrete(occurrence)).map(|occurrence| occurrence.parent).collect();
        objects.sort_unstable();
        objects.dedup();
        if objects.is_empty() {
            return vec![group.to_vec()];
        }
        let of = |object| group.iter().filter(|it| !is_concrete(it) || it.parent == object).copied().collect();
        objects.into_iter().map(of).collect()
    }
}

/// The fields grouped by response key, in the order of the document.
fn by_response_key<'a>(fields: &[FieldOccurrence<'a>]) -> Vec<Vec<FieldOccurrence<'a>>> {
    let mut indices = HashMap::new();
    let mut groups: Vec<Vec<_>> = Vec::new();
    for occurrence in fields {
        let index = *indices.entry(occurrence.field.response_key()).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.push(*occurrence),
            None => groups.push(vec![*occurrence]),
        }
    }
    groups
}

fn has_same_arguments(one: &Field, other: &Field) -> bool {
    // A fragment that is spread twice yields the identical field.
    std::ptr::eq(one, other)
        || one.arguments.len() == other.arguments.len()
            && one.arguments.iter().all(|argument| {
                other.specified_argument_by_name(&argument.name).is_some_and(|it| is_same_value(it, &argument.value))
            })
}

/// Whether two values are equal; the order of fields does not matter.
fn is_same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    other.iter().any(|(known, other)| known == name && is_same_value(value, other))
                })
        }
        (one, other) => one == other,
    }
}

fn conflict<'a>(one: &FieldOccurrence<'a>, other: &FieldOccurrence<'a>, problem: String) -> Conflict<'a> {
    Conflict { one: one.field, other: other.field, problem }
}

#[cfg(test)]
mod tests {
    use crate::graphql::operation::limits::Limits;
    use crate::graphql::operation::validation::parse_and_validate;

    fn problem(query: &str) -> Option<String> {
        let error_response = parse_and_validate(query, &Limits::default()).err()?;
        error_response.errors.into_iter().next().map(|error| error.message)
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
