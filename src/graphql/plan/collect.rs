//! Field collection: the specification's CollectFields, and the arguments of collected fields.
//!
//! What cannot be compiled is no error here: [`Fallback`] says what has to happen instead. The engine's documents are
//! merged with the same function, in [`merge`](crate::graphql::execution::merge).

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use async_graphql::parser::types::{Directive, Field, FragmentDefinition, Selection, SelectionSet};
use async_graphql::{InputType, Name, Positioned, Variables};
use async_graphql_value::Value;

use crate::graphql::operation::variables::substitute;
use crate::graphql::schema::index::SchemaIndex;

/// The longest cache key of a list of rows, in bytes. A selection of all fields of all types is two thousand.
const MAX_KEY_LENGTH: usize = 16 * 1024;

/// Why a selection was not compiled or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It depends on variables, and none are given: compile again for the request.
    NeedsVariables,
    /// Only the engine's resolvers can do it, or make its error.
    Resolver,
}

/// What a selection is compiled with: the fragments of its document, the variables and the schema.
pub struct Compiler<'a> {
    pub fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// None while a plan is compiled that is to serve every request.
    pub variables: Option<&'a Variables>,
    pub types: &'a SchemaIndex,
}

/// A collected field: all selections of one response key.
pub struct CollectedField<'a> {
    /// The first selection of the key; validation has made sure that the others have the same name and arguments.
    pub field: &'a Positioned<Field>,
    /// The selection sets of all of them, to be merged.
    pub sets: Vec<&'a SelectionSet>,
}

impl<'a> CollectedField<'a> {
    /// The response key.
    pub fn key(&self) -> &'a Name {
        &self.field.node.response_key().node
    }

    /// The name of the field in snake case, as the field lists spell it.
    pub(super) fn snake_case_name(&self) -> String {
        let mut name = String::with_capacity(self.field.node.name.node.len() + 4);
        for letter in self.field.node.name.node.chars() {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

impl<'a> Compiler<'a> {
    /// Collects the fields of an object from these selection sets, in order, each response key once.
    pub fn collect(&self, object: &str, sets: &[&'a SelectionSet]) -> Result<Vec<CollectedField<'a>>, Fallback> {
        let mut collection =
            Collection { object, fields: Vec::new(), by_key: HashMap::new(), visited_fragments: HashSet::new() };
        for set in sets {
            self.collect_into(&mut collection, set)?;
        }
        Ok(collection.fields)
    }

    fn collect_into(&self, collection: &mut Collection<'a, '_>, set: &'a SelectionSet) -> Result<(), Fallback> {
        for selection in &set.items {
            if !self.is_included(selection.node.directives())? {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => collection.add(field),
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref().map(|condition| &*condition.node.on.node);
                    if condition.is_none_or(|condition| self.types.is_a(collection.object, condition)) {
                        self.collect_into(collection, &inline.node.selection_set.node)?;
                    }
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let fragment = &self.fragments.get(name).ok_or(Fallback::Resolver)?.node;
                    if !fragment.directives.is_empty() {
                        return Err(Fallback::Resolver);
                    }
                    if self.types.is_a(collection.object, &fragment.type_condition.node.on.node)
                        && collection.visited_fragments.insert(name)
                    {
                        self.collect_into(collection, &fragment.selection_set.node)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether `@skip` and `@include` include a selection. Any other directive is a fallback.
    fn is_included(&self, directives: &[Positioned<Directive>]) -> Result<bool, Fallback> {
        for Positioned { node: directive, .. } in directives {
            let expected = match directive.name.node.as_str() {
                "include" => true,
                "skip" => false,
                _ => return Err(Fallback::Resolver),
            };
            if argument::<bool>(&directive.arguments, "if", self.variables)? != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The cache key of a field: its selection as text, with its fragments written out. Equal keys have equal plans, in
    /// whatever documents they stand. None if the selection depends on variables, or is so long that it is unlikely to
    /// be sent again.
    pub(super) fn cache_key(&self, collected: &CollectedField<'_>) -> Option<String> {
        let selection = self.selection_cache_key(&collected.sets)?;
        Some(format!("{}{selection}", collected.field.node.name.node))
    }

    /// The cache key of a selection set.
    pub(super) fn selection_cache_key(&self, sets: &[&SelectionSet]) -> Option<String> {
        let mut text = String::new();
        if self.variables.is_none() {
            sets.iter().for_each(|set| self.write_key(set, &mut text));
        }
        (self.variables.is_none() && text.len() <= MAX_KEY_LENGTH).then_some(text)
    }

    fn write_key(&self, set: &SelectionSet, text: &mut String) {
        text.push('{');
        for Positioned { node: selection, .. } in &set.items {
            // Within the limits of a document, nested fragments may repeat a selection a thousand times.
            if text.len() > MAX_KEY_LENGTH {
                return;
            }
            text.push_str(match selection {
                Selection::Field(_) => " ",
                Selection::FragmentSpread(_) | Selection::InlineFragment(_) => " ...",
            });
            let (condition, set) = match selection {
                Selection::Field(Positioned { node: field, .. }) => {
                    // Writing to memory does not fail.
                    let _ = write!(text, "{}:{}", field.response_key().node, field.name.node);
                    write_arguments_key(&field.arguments, text);
                    (None, Some(&field.selection_set.node))
                }
                Selection::InlineFragment(Positioned { node: inline, .. }) => {
                    (inline.type_condition.as_ref(), Some(&inline.selection_set.node))
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.fragments.get(&spread.node.fragment_name.node);
                    let fragment = fragment.map(|fragment| &fragment.node);
                    (fragment.map(|it| &it.type_condition), fragment.map(|it| &it.selection_set.node))
                }
            };
            if let Some(condition) = condition {
                let _ = write!(text, "on {}", condition.node.on.node);
            }
            for Positioned { node: directive, .. } in selection.directives() {
                let _ = write!(text, "@{}", directive.name.node);
                write_arguments_key(&directive.arguments, text);
            }
            set.iter().filter(|set| !set.items.is_empty()).for_each(|set| self.write_key(set, text));
        }
        text.push('}');
    }

    /// The value of an argument of a field.
    pub(super) fn argument<T: InputType>(&self, collected: &CollectedField<'_>, name: &str) -> Result<T, Fallback> {
        argument(&collected.field.node.arguments, name, self.variables)
    }
}

fn write_arguments_key(arguments: &[(Positioned<Name>, Positioned<Value>)], text: &mut String) {
    for (index, (name, value)) in arguments.iter().enumerate() {
        let _ = write!(text, "{}{}:{}", if index == 0 { '(' } else { ',' }, name.node, value.node);
    }
    if !arguments.is_empty() {
        text.push(')');
    }
}

/// The value of the argument of this name, with variables substituted.
pub(super) fn argument<T: InputType>(
    arguments: &[(Positioned<Name>, Positioned<Value>)],
    name: &str,
    variables: Option<&Variables>,
) -> Result<T, Fallback> {
    let argument_value = arguments.iter().find(|(argument, _)| argument.node == name).map(|(_, value)| &value.node);
    let lookup = |name: &Name| match variables {
        Some(variables) => Ok(variables.get(name).cloned()),
        None => Err(Fallback::NeedsVariables),
    };
    // Defaults are applied by `T::parse`, to parts of an argument only: no argument of a planned field has a default.
    let argument_value = argument_value.map(|value| substitute(value, &lookup)).transpose()?.flatten();
    T::parse(argument_value).map_err(|_| Fallback::Resolver)
}

/// The fields of an object collected so far.
struct Collection<'a, 'o> {
    object: &'o str,
    fields: Vec<CollectedField<'a>>,
    by_key: HashMap<&'a Name, usize>,
    /// The fragments visited, each of which is collected once.
    visited_fragments: HashSet<&'a Name>,
}

impl<'a> Collection<'a, '_> {
    fn add(&mut self, field: &'a Positioned<Field>) {
        let at = *self.by_key.entry(&field.node.response_key().node).or_insert(self.fields.len());
        let set = &field.node.selection_set.node;
        match self.fields.get_mut(at) {
            Some(collected) => collected.sets.push(set),
            None => self.fields.push(CollectedField { field, sets: vec![set] }),
        }
    }
}
