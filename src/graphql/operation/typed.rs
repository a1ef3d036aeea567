//! Writes a valid document in the form in which the engine and plans take it, and holds the rules about values that
//! `apollo-compiler` lacks.
//!
//! Values are written as what their types make of them: an entry where a list is wanted becomes a list of one, and a
//! number where an id is wanted becomes its text. Refused are names that an input object has twice, values that a
//! scalar of ours does not take, and variables where they may not stand, at any depth. Places stay those of the
//! client's text.

use std::collections::{HashMap, HashSet};

use apollo_compiler::ast::{self, Value as Written};
use apollo_compiler::executable::{
    ExecutableDocument as Valid, Operation, Selection as ValidSelection, SelectionSet as ValidSet,
};
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Node, Schema};
use async_graphql::parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, FragmentSpread,
    InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeCondition,
    VariableDefinition,
};
use async_graphql::{Name, Number, Pos, Positioned};
use async_graphql_value::Value;

use super::problems::ValidationErrors;
use super::source::Source;
use crate::graphql::schema::scalars;

/// A document as the engine and plans take it.
pub struct Typed {
    pub document: ExecutableDocument,
    /// Variables that stand where null may not, by their operations, if they may be null as they are declared. That is
    /// allowed where a default stands in for a variable that is left out, and no default stands in for null.
    pub never_null: HashMap<Option<Name>, Vec<Name>>,
}

/// Writes a document that is valid but for the rules that are kept here; adds to the problems what those find.
pub fn write(document: &Valid, schema: &Schema, source: &Source<'_>, problems: &mut ValidationErrors<'_>) -> Typed {
    let mut writer = Writer { schema, source, problems, uses: Uses::default() };
    let mut fragments = HashMap::new();
    let mut uses_of_fragments = HashMap::new();
    for (name, fragment) in &document.fragments {
        let written = FragmentDefinition {
            type_condition: writer.condition(fragment.type_condition(), fragment.location()),
            directives: writer.directives(&fragment.directives),
            selection_set: writer.set(&fragment.selection_set, fragment.location()),
        };
        fragments.insert(Name::new(name), writer.at(fragment.location(), written));
        uses_of_fragments.insert(name.as_str(), std::mem::take(&mut writer.uses));
    }
    let (mut operations, mut never_null) = (Vec::new(), HashMap::new());
    for operation in document.operations.iter() {
        let written = writer.operation(operation);
        let uses = std::mem::take(&mut writer.uses);
        let name = operation.name.as_ref().map(Name::new);
        let never = check_uses(operation, &uses, &uses_of_fragments, writer.problems);
        if !never.is_empty() {
            never_null.insert(name.clone(), never.into_iter().map(Name::new).collect());
        }
        operations.push((name, writer.at(operation.location(), written)));
    }
    let operations = match operations.pop() {
        Some((None, operation)) if operations.is_empty() => DocumentOperations::Single(operation),
        last => {
            let operations = operations.into_iter().chain(last);
            DocumentOperations::Multiple(operations.filter_map(|(name, it)| Some((name?, it))).collect())
        }
    };
    Typed { document: ExecutableDocument { operations, fragments }, never_null }
}

/// What an operation or a fragment uses.
#[derive(Default)]
struct Uses {
    variables: Vec<Use>,
    fragments: Vec<ast::NamedType>,
}

/// A place where a variable stands.
struct Use {
    variable: ast::NamedType,
    location: Option<SourceSpan>,
    /// What is wanted there.
    ty: ast::Type,
    has_default: bool,
}

/// Checks the variables that an operation uses, itself and by its fragments. Answers with those that stand where null
/// may not, and may be null as they are declared.
fn check_uses<'a>(
    operation: &'a Operation,
    own: &Uses,
    of_fragments: &HashMap<&str, Uses>,
    problems: &mut ValidationErrors<'_>,
) -> HashSet<&'a str> {
    let declared: HashMap<_, _> = operation.variables.iter().map(|variable| (&variable.name, variable)).collect();
    let (mut seen, mut pending, mut never_null) = (HashSet::new(), vec![own], HashSet::new());
    while let Some(uses) = pending.pop() {
        let fragments = uses.fragments.iter().filter(|name| seen.insert(name.as_str()));
        pending.extend(fragments.filter_map(|name| of_fragments.get(name.as_str())));
        for used in &uses.variables {
            let name = &used.variable;
            let Some(variable) = declared.get(name) else {
                problems.add(used.location, || format!("Variable \"${name}\" is not defined."));
                continue;
            };
            if !is_allowed(variable, used) {
                let (declared, wanted) = (&variable.ty, &used.ty);
                problems.add(variable.location().into_iter().chain(used.location), || {
                    format!("Variable \"${name}\" of type \"{declared}\" used in position expecting type \"{wanted}\".")
                });
            }
            if used.ty.is_non_null() && !variable.ty.is_non_null() {
                never_null.insert(variable.name.as_str());
            }
        }
    }
    never_null
}

/// The specification's IsVariableUsageAllowed.
fn is_allowed(variable: &ast::VariableDefinition, used: &Use) -> bool {
    if used.ty.is_non_null() && !variable.ty.is_non_null() {
        let has_default = variable.default_value.as_ref().is_some_and(|default| !default.is_null());
        return (has_default || used.has_default) && variable.ty.is_assignable_to(&used.ty.clone().nullable());
    }
    variable.ty.is_assignable_to(&used.ty)
}

struct Writer<'a, 'p> {
    schema: &'a Schema,
    source: &'a Source<'a>,
    problems: &'a mut ValidationErrors<'p>,
    /// Of the operation or fragment that is written.
    uses: Uses,
}

impl Writer<'_, '_> {
    fn pos(&self, location: Option<SourceSpan>) -> Pos {
        location.map(|location| self.source.pos(location.offset())).unwrap_or_default()
    }

    fn at<T>(&self, location: Option<SourceSpan>, node: T) -> Positioned<T> {
        Positioned::new(node, self.pos(location))
    }

    fn name(&self, name: &ast::NamedType) -> Positioned<Name> {
        self.at(name.location(), Name::new(name))
    }

    fn condition(&self, name: &ast::NamedType, location: Option<SourceSpan>) -> Positioned<TypeCondition> {
        self.at(name.location().or(location), TypeCondition { on: self.name(name) })
    }

    fn operation(&mut self, operation: &Node<Operation>) -> OperationDefinition {
        let variable_definitions = operation.variables.iter().map(|variable| {
            let definition = VariableDefinition {
                name: self.name(&variable.name),
                var_type: self.at(variable.ty.location(), written_type(&variable.ty)),
                directives: self.directives(&variable.directives),
                default_value: variable.default_value.as_ref().and_then(|default| {
                    let value = self.value(default, &variable.ty, false);
                    // The rules have refused variables here.
                    Some(self.at(default.location(), value.into_const()?))
                }),
            };
            self.at(variable.location(), definition)
        });
        OperationDefinition {
            variable_definitions: variable_definitions.collect(),
            ty: match operation.operation_type {
                ast::OperationType::Query => OperationType::Query,
                ast::OperationType::Mutation => OperationType::Mutation,
                ast::OperationType::Subscription => OperationType::Subscription,
            },
            directives: self.directives(&operation.directives),
            selection_set: self.set(&operation.selection_set, operation.location()),
        }
    }

    fn set(&mut self, set: &ValidSet, location: Option<SourceSpan>) -> Positioned<SelectionSet> {
        let items = set.selections.iter().map(|selection| self.selection(selection)).collect();
        self.at(location, SelectionSet { items })
    }

    fn selection(&mut self, selection: &ValidSelection) -> Positioned<Selection> {
        match selection {
            ValidSelection::Field(field) => {
                let location = field.location();
                let written = Field {
                    alias: field.alias.as_ref().map(|alias| self.name(alias)),
                    name: self.name(&field.name),
                    arguments: self.arguments(&field.arguments, &field.definition.arguments),
                    directives: self.directives(&field.directives),
                    selection_set: self.set(&field.selection_set, location),
                };
                let written = self.at(location, written);
                self.at(location, Selection::Field(written))
            }
            ValidSelection::FragmentSpread(spread) => {
                self.uses.fragments.push(spread.fragment_name.clone());
                let written = FragmentSpread {
                    fragment_name: self.name(&spread.fragment_name),
                    directives: self.directives(&spread.directives),
                };
                let written = self.at(spread.location(), written);
                self.at(spread.location(), Selection::FragmentSpread(written))
            }
            ValidSelection::InlineFragment(inline) => {
                let location = inline.location();
                let written = InlineFragment {
                    type_condition: inline.type_condition.as_ref().map(|on| self.condition(on, location)),
                    directives: self.directives(&inline.directives),
                    selection_set: self.set(&inline.selection_set, location),
                };
                let written = self.at(location, written);
                self.at(location, Selection::InlineFragment(written))
            }
        }
    }

    fn directives(&mut self, directives: &[Node<ast::Directive>]) -> Vec<Positioned<Directive>> {
        let schema = self.schema;
        let written = directives.iter().map(|directive| {
            let definition = schema.directive_definitions.get(&directive.name);
            let definitions = definition.map(|definition| &*definition.arguments).unwrap_or_default();
            let arguments = self.arguments(&directive.arguments, definitions);
            let written = Directive { name: self.name(&directive.name), arguments };
            self.at(directive.location(), written)
        });
        written.collect()
    }

    fn arguments(
        &mut self,
        arguments: &[Node<ast::Argument>],
        definitions: &[Node<ast::InputValueDefinition>],
    ) -> Vec<(Positioned<Name>, Positioned<Value>)> {
        let mut written = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let Some(definition) = definitions.iter().find(|definition| definition.name == argument.name) else {
                continue;
            };
            let value = self.value(&argument.value, &definition.ty, definition.default_value.is_some());
            written.push((self.name(&argument.name), self.at(argument.value.location(), value)));
        }
        written
    }

    /// A value where one of this type is wanted.
    fn value(&mut self, value: &Node<Written>, ty: &ast::Type, has_default: bool) -> Value {
        match (&**value, ty) {
            (Written::Variable(name), ty) => {
                self.uses.variables.push(Use {
                    variable: name.clone(),
                    location: value.location(),
                    ty: ty.clone(),
                    has_default,
                });
                Value::Variable(Name::new(name))
            }
            (Written::Null, _) => Value::Null,
            (Written::List(entries), ast::Type::List(of) | ast::Type::NonNullList(of)) => {
                Value::List(entries.iter().map(|entry| self.value(entry, of, false)).collect())
            }
            (_, ast::Type::List(of) | ast::Type::NonNullList(of)) => Value::List(vec![self.value(value, of, false)]),
            (_, ast::Type::Named(name) | ast::Type::NonNullNamed(name)) => self.named_value(value, name),
        }
    }

    fn named_value(&mut self, value: &Node<Written>, ty: &ast::NamedType) -> Value {
        match (self.schema.types.get(ty), &**value) {
            (Some(ExtendedType::InputObject(input)), Written::Object(fields)) => {
                let mut object = async_graphql::indexmap::IndexMap::with_capacity(fields.len());
                for (name, value) in fields {
                    let Some(definition) = input.fields.get(name) else { continue };
                    let value = self.value(value, &definition.ty, definition.default_value.is_some());
                    if object.insert(Name::new(name), value).is_some() {
                        self.problems
                            .add(name.location(), || format!("There can be only one input field named \"{name}\"."));
                    }
                }
                Value::Object(object)
            }
            (Some(ExtendedType::Scalar(scalar)), Written::Int(number)) if scalar.name == "ID" => {
                Value::String(number.as_str().to_owned())
            }
            (Some(ExtendedType::Scalar(scalar)), _) if !scalar.is_built_in() => {
                let untyped = untyped(value);
                let problem = match &untyped {
                    Some(constant) => scalars::check(ty, constant).err(),
                    None => Some("cannot have variables in it".to_owned()),
                };
                if let Some(problem) = problem {
                    self.problems.add(value.location(), || format!("A value of type \"{ty}\" {problem}."));
                }
                untyped.map(Value::from).unwrap_or_default()
            }
            _ => untyped(value).map(Value::from).unwrap_or_default(),
        }
    }
}

/// A value as it is written, whatever is wanted; none if there are variables in it.
fn untyped(value: &Written) -> Option<async_graphql::Value> {
    use async_graphql::Value;
    Some(match value {
        Written::Null => Value::Null,
        Written::Variable(_) => return None,
        Written::Enum(word) => Value::Enum(Name::new(word)),
        Written::String(text) => Value::String(text.clone()),
        Written::Boolean(boolean) => Value::Boolean(*boolean),
        Written::Int(number) => super::typed::number(number.as_str()),
        Written::Float(number) => super::typed::number(number.as_str()),
        Written::List(entries) => Value::List(entries.iter().map(|entry| untyped(entry)).collect::<Option<_>>()?),
        Written::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Some((Name::new(name), untyped(value)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
    })
}

/// The number that is written so; one that is too large for any type stays as its digits, which no scalar takes.
fn number(text: &str) -> async_graphql::Value {
    // A whole number, which JSON would take for a fraction.
    let text = if text == "-0" { "0" } else { text };
    serde_json::from_str::<Number>(text).map_or_else(|_| text.to_owned().into(), async_graphql::Value::Number)
}

fn written_type(ty: &ast::Type) -> Type {
    let (base, nullable) = match ty {
        ast::Type::Named(name) => (BaseType::Named(Name::new(name)), true),
        ast::Type::NonNullNamed(name) => (BaseType::Named(Name::new(name)), false),
        ast::Type::List(of) => (BaseType::List(Box::new(written_type(of))), true),
        ast::Type::NonNullList(of) => (BaseType::List(Box::new(written_type(of))), false),
    };
    Type { base, nullable }
}
