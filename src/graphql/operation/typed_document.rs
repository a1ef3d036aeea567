//! Conversion of a document from `apollo-compiler`'s form to the engine's, with input coercion of its constants and the
//! validation rules about values that `apollo-compiler` lacks.
//!
//! Values are coerced to their types: a single value where a list is expected becomes a list of one, and a number where
//! an ID is expected becomes its text. The rules refuse a field that an input object has twice, a value that a custom
//! scalar does not accept, and a variable where its type is not allowed, at any depth. Positions stay those of the
//! client's text.
//!
//! The values of variables are coerced with each request, in [`variables`](super::variables).

use std::collections::{HashMap, HashSet};

use apollo_compiler::executable::{self, Operation};
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{Node, Schema, ast};
use async_graphql::parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, FragmentSpread,
    InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeCondition,
    VariableDefinition,
};
use async_graphql::{Name, Number, Pos, Positioned};
use async_graphql_value::Value;

use super::positions::Source;
use super::validation_errors::ValidationErrors;
use crate::graphql::schema::scalars;

/// A document in the form of the engine and the plans.
pub struct TypedDocument {
    pub document: ExecutableDocument,
    /// By operation: variables of nullable types that are used where null is not allowed. The specification allows that
    /// if a default covers an omitted variable; but no default covers a null, which has to be refused with the request.
    pub never_null: HashMap<Option<Name>, Vec<Name>>,
}

/// Converts a document that is valid but for the rules of this module, and adds the errors of those.
pub fn convert(
    document: &executable::ExecutableDocument,
    schema: &Schema,
    source: &Source<'_>,
    errors: &mut ValidationErrors<'_>,
) -> TypedDocument {
    let mut converter = Converter { schema, source, errors, uses: VariableUses::default() };
    let mut fragments = HashMap::new();
    let mut uses_by_fragment = HashMap::new();
    for (name, fragment) in &document.fragments {
        let written = FragmentDefinition {
            type_condition: converter.condition(fragment.type_condition(), fragment.location()),
            directives: converter.directives(&fragment.directives),
            selection_set: converter.set(&fragment.selection_set, fragment.location()),
        };
        fragments.insert(Name::new(name), converter.at(fragment.location(), written));
        uses_by_fragment.insert(name.as_str(), std::mem::take(&mut converter.uses));
    }
    let (mut operations, mut never_null) = (Vec::new(), HashMap::new());
    for operation in document.operations.iter() {
        let written = converter.operation(operation);
        let uses = std::mem::take(&mut converter.uses);
        let name = operation.name.as_ref().map(Name::new);
        let never = check_uses(operation, &uses, &uses_by_fragment, converter.errors);
        if !never.is_empty() {
            never_null.insert(name.clone(), never.into_iter().map(Name::new).collect());
        }
        operations.push((name, converter.at(operation.location(), written)));
    }
    let operations = match operations.pop() {
        Some((None, operation)) if operations.is_empty() => DocumentOperations::Single(operation),
        last => {
            let operations = operations.into_iter().chain(last);
            DocumentOperations::Multiple(operations.filter_map(|(name, it)| Some((name?, it))).collect())
        }
    };
    TypedDocument { document: ExecutableDocument { operations, fragments }, never_null }
}

/// The variables and fragments that an operation or fragment uses.
#[derive(Default)]
struct VariableUses {
    variables: Vec<VariableUse>,
    fragments: Vec<ast::NamedType>,
}

/// A position in which a variable is used.
struct VariableUse {
    variable: ast::NamedType,
    location: Option<SourceSpan>,
    /// The type that is expected there.
    ty: ast::Type,
    has_default: bool,
}

/// Checks the variables that an operation uses, itself and by its fragments. Returns the nullable ones that are used
/// where null is not allowed.
fn check_uses<'a>(
    operation: &'a Operation,
    own: &VariableUses,
    uses_by_fragment: &HashMap<&str, VariableUses>,
    errors: &mut ValidationErrors<'_>,
) -> HashSet<&'a str> {
    let declared: HashMap<_, _> = operation.variables.iter().map(|variable| (&variable.name, variable)).collect();
    let (mut seen, mut pending, mut never_null) = (HashSet::new(), vec![own], HashSet::new());
    while let Some(uses) = pending.pop() {
        let fragments = uses.fragments.iter().filter(|name| seen.insert(name.as_str()));
        pending.extend(fragments.filter_map(|name| uses_by_fragment.get(name.as_str())));
        for used in &uses.variables {
            let name = &used.variable;
            let Some(variable) = declared.get(name) else {
                errors.add(used.location, || format!("Variable \"${name}\" is not defined."));
                continue;
            };
            if !is_allowed(variable, used) {
                let (declared, expected) = (&variable.ty, &used.ty);
                errors.add(variable.location().into_iter().chain(used.location), || {
                    format!(
                        "Variable \"${name}\" of type \"{declared}\" used in position expecting type \"{expected}\"."
                    )
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
fn is_allowed(variable: &ast::VariableDefinition, used: &VariableUse) -> bool {
    if used.ty.is_non_null() && !variable.ty.is_non_null() {
        let has_default = variable.default_value.as_ref().is_some_and(|default| !default.is_null());
        return (has_default || used.has_default) && variable.ty.is_assignable_to(&used.ty.clone().nullable());
    }
    variable.ty.is_assignable_to(&used.ty)
}

/// Converts the parts of one document.
struct Converter<'a, 'p> {
    schema: &'a Schema,
    source: &'a Source<'a>,
    errors: &'a mut ValidationErrors<'p>,
    /// Those of the operation or fragment at hand.
    uses: VariableUses,
}

impl Converter<'_, '_> {
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
                var_type: self.at(variable.ty.location(), convert_type(&variable.ty)),
                directives: self.directives(&variable.directives),
                default_value: variable.default_value.as_ref().and_then(|default| {
                    let value = self.value(default, &variable.ty, false);
                    // Validation has refused variables in defaults.
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

    fn set(&mut self, set: &executable::SelectionSet, location: Option<SourceSpan>) -> Positioned<SelectionSet> {
        let items = set.selections.iter().map(|selection| self.selection(selection)).collect();
        self.at(location, SelectionSet { items })
    }

    fn selection(&mut self, selection: &executable::Selection) -> Positioned<Selection> {
        match selection {
            executable::Selection::Field(field) => {
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
            executable::Selection::FragmentSpread(spread) => {
                self.uses.fragments.push(spread.fragment_name.clone());
                let written = FragmentSpread {
                    fragment_name: self.name(&spread.fragment_name),
                    directives: self.directives(&spread.directives),
                };
                let written = self.at(spread.location(), written);
                self.at(spread.location(), Selection::FragmentSpread(written))
            }
            executable::Selection::InlineFragment(inline) => {
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

    /// Converts a value in a position of this type.
    fn value(&mut self, value: &Node<ast::Value>, ty: &ast::Type, has_default: bool) -> Value {
        match (&**value, ty) {
            (ast::Value::Variable(name), ty) => {
                self.uses.variables.push(VariableUse {
                    variable: name.clone(),
                    location: value.location(),
                    ty: ty.clone(),
                    has_default,
                });
                Value::Variable(Name::new(name))
            }
            (ast::Value::Null, _) => Value::Null,
            (ast::Value::List(entries), ast::Type::List(of) | ast::Type::NonNullList(of)) => {
                Value::List(entries.iter().map(|entry| self.value(entry, of, false)).collect())
            }
            (_, ast::Type::List(of) | ast::Type::NonNullList(of)) => Value::List(vec![self.value(value, of, false)]),
            (_, ast::Type::Named(name) | ast::Type::NonNullNamed(name)) => self.value_of_named_type(value, name),
        }
    }

    fn value_of_named_type(&mut self, value: &Node<ast::Value>, ty: &ast::NamedType) -> Value {
        match (self.schema.types.get(ty), &**value) {
            (Some(ExtendedType::InputObject(input)), ast::Value::Object(fields)) => {
                let mut object = async_graphql::indexmap::IndexMap::with_capacity(fields.len());
                for (name, value) in fields {
                    let Some(definition) = input.fields.get(name) else { continue };
                    let value = self.value(value, &definition.ty, definition.default_value.is_some());
                    if object.insert(Name::new(name), value).is_some() {
                        self.errors
                            .add(name.location(), || format!("There can be only one input field named \"{name}\"."));
                    }
                }
                Value::Object(object)
            }
            (Some(ExtendedType::Scalar(scalar)), ast::Value::Int(number)) if scalar.name == "ID" => {
                Value::String(number.as_str().to_owned())
            }
            (Some(ExtendedType::Scalar(scalar)), _) if !scalar.is_built_in() => {
                let constant = constant(value);
                let problem = match &constant {
                    Some(constant) => scalars::check(ty, constant).err(),
                    None => Some("cannot have variables in it".to_owned()),
                };
                if let Some(problem) = problem {
                    self.errors.add(value.location(), || format!("A value of type \"{ty}\" {problem}."));
                }
                constant.map(Value::from).unwrap_or_default()
            }
            _ => constant(value).map(Value::from).unwrap_or_default(),
        }
    }
}

/// A constant without coercion; none if there are variables in it.
fn constant(value: &ast::Value) -> Option<async_graphql::Value> {
    use async_graphql::Value;
    Some(match value {
        ast::Value::Null => Value::Null,
        ast::Value::Variable(_) => return None,
        ast::Value::Enum(word) => Value::Enum(Name::new(word)),
        ast::Value::String(text) => Value::String(text.clone()),
        ast::Value::Boolean(boolean) => Value::Boolean(*boolean),
        ast::Value::Int(number) => parse_number(number.as_str()),
        ast::Value::Float(number) => parse_number(number.as_str()),
        ast::Value::List(entries) => Value::List(entries.iter().map(|entry| constant(entry)).collect::<Option<_>>()?),
        ast::Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Some((Name::new(name), constant(value)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
    })
}

/// Parses a number. One that is too large for any type becomes a string of its digits, which no scalar accepts.
fn parse_number(text: &str) -> async_graphql::Value {
    // JSON would take -0 for a fraction.
    let text = if text == "-0" { "0" } else { text };
    serde_json::from_str::<Number>(text).map_or_else(|_| text.to_owned().into(), async_graphql::Value::Number)
}

fn convert_type(ty: &ast::Type) -> Type {
    let (base, nullable) = match ty {
        ast::Type::Named(name) => (BaseType::Named(Name::new(name)), true),
        ast::Type::NonNullNamed(name) => (BaseType::Named(Name::new(name)), false),
        ast::Type::List(of) => (BaseType::List(Box::new(convert_type(of))), true),
        ast::Type::NonNullList(of) => (BaseType::List(Box::new(convert_type(of))), false),
    };
    Type { base, nullable }
}
