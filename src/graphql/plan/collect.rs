//! From a selection of fields to what writes it: the specification's CollectFields, done once.
//!
//! What cannot be done here is no error: [`Fallback`] says who has to do it instead.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use async_graphql::parser::types::{Directive, Field, FragmentDefinition, Selection, SelectionSet};
use async_graphql::{InputType, Name, Positioned, Variables};
use async_graphql_value::Value;

use crate::graphql::operation::variables::resolve;
use crate::graphql::schema::index::SchemaIndex;

/// The longest selection that rows are kept by, in bytes: all fields of everything are two thousand.
const LONGEST_SPELLED: usize = 16 * 1024;

/// Why something was not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It depends on variables, and those are not known yet.
    NeedsVariables,
    /// Only the ordinary resolver can do it, or say what is wrong with it.
    Resolver,
}

/// What a selection is compiled with.
pub struct Compiler<'a> {
    pub fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// None while a document is compiled for whatever variables it will be asked with.
    pub variables: Option<&'a Variables>,
    pub types: &'a SchemaIndex,
}

/// A field that is asked for, put together from wherever its key stands in the selection.
pub struct CollectedField<'a> {
    /// The first field of this key; the others have the same name and arguments.
    pub field: &'a Positioned<Field>,
    /// What is asked for below it.
    pub sets: Vec<&'a SelectionSet>,
}

impl<'a> CollectedField<'a> {
    pub fn key(&self) -> &'a Name {
        &self.field.node.response_key().node
    }

    /// The name of the field, as the rest of the program spells it.
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
    /// The fields that are asked for of an object, in order, each key once.
    pub fn collect(&self, object: &str, sets: &[&'a SelectionSet]) -> Result<Vec<CollectedField<'a>>, Fallback> {
        let mut collection = Collection { object, fields: Vec::new(), by_key: HashMap::new(), seen: HashSet::new() };
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
                        && collection.seen.insert(name)
                    {
                        self.collect_into(collection, &fragment.selection_set.node)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether `@skip` and `@include` leave something in. No other directive is known here.
    fn is_included(&self, directives: &[Positioned<Directive>]) -> Result<bool, Fallback> {
        for Positioned { node: directive, .. } in directives {
            let wanted = match directive.name.node.as_str() {
                "include" => true,
                "skip" => false,
                _ => return Err(Fallback::Resolver),
            };
            if argument::<bool>(&directive.arguments, "if", self.variables)? != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A field and all that is asked for below it, as text, with fragments written out: what is the same text is
    /// planned the same, in whatever document it stands. None if that depends on variables, or is longer than anybody
    /// asks who will ask again.
    pub(super) fn spelled_out(&self, asked: &CollectedField<'_>) -> Option<String> {
        let selection = self.selection_spelled_out(&asked.sets)?;
        Some(format!("{}{selection}", asked.field.node.name.node))
    }

    /// The same of a selection alone.
    pub(super) fn selection_spelled_out(&self, sets: &[&SelectionSet]) -> Option<String> {
        let mut text = String::new();
        if self.variables.is_none() {
            sets.iter().for_each(|set| self.spell(set, &mut text));
        }
        (self.variables.is_none() && text.len() <= LONGEST_SPELLED).then_some(text)
    }

    fn spell(&self, set: &SelectionSet, text: &mut String) {
        text.push('{');
        for Positioned { node: selection, .. } in &set.items {
            // Fragments that repeat each other write one short argument a thousand times.
            if text.len() > LONGEST_SPELLED {
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
                    spell_arguments(&field.arguments, text);
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
                spell_arguments(&directive.arguments, text);
            }
            set.iter().filter(|set| !set.items.is_empty()).for_each(|set| self.spell(set, text));
        }
        text.push('}');
    }

    /// What an argument of a field is.
    pub(super) fn argument<T: InputType>(&self, asked: &CollectedField<'_>, name: &str) -> Result<T, Fallback> {
        argument(&asked.field.node.arguments, name, self.variables)
    }
}

fn spell_arguments(arguments: &[(Positioned<Name>, Positioned<Value>)], text: &mut String) {
    for (index, (name, value)) in arguments.iter().enumerate() {
        let _ = write!(text, "{}{}:{}", if index == 0 { '(' } else { ',' }, name.node, value.node);
    }
    if !arguments.is_empty() {
        text.push(')');
    }
}

/// What one of these arguments is.
pub(super) fn argument<T: InputType>(
    arguments: &[(Positioned<Name>, Positioned<Value>)],
    name: &str,
    variables: Option<&Variables>,
) -> Result<T, Fallback> {
    let given = arguments.iter().find(|(given, _)| given.node == name).map(|(_, value)| &value.node);
    let known = |name: &Name| match variables {
        Some(variables) => Ok(variables.get(name).cloned()),
        None => Err(Fallback::NeedsVariables),
    };
    // No argument that is planned has a default of its own; parts of some have.
    let given = given.map(|value| resolve(value, &known)).transpose()?.flatten();
    T::parse(given).map_err(|_| Fallback::Resolver)
}

/// The fields of an object that have been found so far.
struct Collection<'a, 'o> {
    object: &'o str,
    fields: Vec<CollectedField<'a>>,
    by_key: HashMap<&'a Name, usize>,
    /// Fragments that have been looked into.
    seen: HashSet<&'a Name>,
}

impl<'a> Collection<'a, '_> {
    fn add(&mut self, field: &'a Positioned<Field>) {
        let at = *self.by_key.entry(&field.node.response_key().node).or_insert(self.fields.len());
        let set = &field.node.selection_set.node;
        match self.fields.get_mut(at) {
            Some(asked) => asked.sets.push(set),
            None => self.fields.push(CollectedField { field, sets: vec![set] }),
        }
    }
}
