//! Variable coercion (the specification's CoerceVariableValues): the variables of a request become values of the types
//! that the operation declares, or are refused. And the substitution of variables in arguments.
//!
//! `apollo-compiler` has coercion too, but does not know our scalars, and its errors do not say which part of a
//! variable is wrong. Which variables an operation may use where is validation: see [`typed_document`](super::typed_document).

use std::collections::HashMap;

use async_graphql::parser::types::{
    BaseType, ExecutableDocument, OperationDefinition, Selection, SelectionSet, Type, VariableDefinition,
};
use async_graphql::{Name, Positioned, Response, ServerError, Value, Variables};

use crate::graphql::error::request_error;
use crate::graphql::schema::index::{IndexedInput, IndexedType, SchemaIndex};
use crate::graphql::schema::scalars;
use crate::resolvers::checks::truncate;

/// Coerces variables to the declarations of an operation: applies defaults and drops undeclared variables. Refuses
/// values that are not of their types, and null for the variables in `never_null`.
pub fn coerce_variables(
    operation: &OperationDefinition,
    never_null: &[Name],
    variables: &mut Variables,
    types: &SchemaIndex,
) -> Result<(), Response> {
    let mut provided = 0;
    for declared in &operation.variable_definitions {
        let VariableDefinition { name, var_type: Positioned { node: ty, .. }, default_value, .. } = &declared.node;
        let name = &name.node;
        let problem = match (variables.get_mut(name), default_value) {
            (Some(value), None) if *value == Value::Null && !ty.nullable => Some(missing_variable(name)),
            (Some(value), _) if *value == Value::Null && (!ty.nullable || never_null.contains(name)) => {
                Some(format!("${name} must not be null: leave it out, or give a value"))
            }
            (Some(value), _) => coerce_value(value, ty, types).err().map(|problem| format!("${name}{problem}")),
            (None, Some(default)) if default.node == Value::Null && never_null.contains(name) => {
                Some(format!("${name} must not be null, which is its default: give a value"))
            }
            (None, Some(default)) => {
                variables.insert(name.clone(), default.node.clone());
                None
            }
            (None, None) if !ty.nullable => Some(missing_variable(name)),
            (None, None) => continue,
        };
        if let Some(problem) = problem {
            let locations = vec![declared.pos];
            let error = ServerError { locations, ..request_error("BAD_USER_INPUT", problem) };
            return Err(Response::from_errors(vec![error]));
        }
        provided += 1;
    }
    if variables.len() > provided {
        let is_declared = |name: &Name| operation.variable_definitions.iter().any(|it| it.node.name.node == *name);
        variables.retain(|name, _| is_declared(name));
    }
    Ok(())
}

/// The error about a variable that has to be given.
fn missing_variable(name: &Name) -> String {
    format!("Variable \"${name}\" has to be given: it has no default, and cannot be null")
}

/// Coerces a value to a type. The error begins with the path of the wrong part: `.statuses[0] must be …`.
fn coerce_value(value: &mut Value, ty: &Type, types: &SchemaIndex) -> Result<(), String> {
    match (&ty.base, value) {
        (_, Value::Null) if ty.nullable => Ok(()),
        (_, Value::Null) => Err(format!(" must be {ty}, not null")),
        (BaseType::List(of), Value::List(entries)) => {
            for (index, entry) in entries.iter_mut().enumerate() {
                coerce_value(entry, of, types).map_err(|problem| format!("[{index}]{problem}"))?;
            }
            Ok(())
        }
        (BaseType::List(of), entry) => {
            coerce_value(entry, of, types)?;
            *entry = Value::List(vec![std::mem::take(entry)]);
            Ok(())
        }
        (BaseType::Named(name), value) => coerce_named(value, name, types),
    }
}

fn coerce_named(value: &mut Value, name: &str, types: &SchemaIndex) -> Result<(), String> {
    match (types.get(name), name) {
        (Some(IndexedType::Enum(values)), _) => coerce_enum(value, values),
        (Some(IndexedType::Input(fields)), _) => coerce_object(value, name, fields, types),
        (Some(IndexedType::Scalar), _) => {
            if let Some(integer) = as_integer(value) {
                *value = integer.into();
            }
            scalars::check(name, value).map_err(|problem| format!(" {problem}"))
        }
        (None, "Int") => match as_integer(value).map(i32::try_from) {
            Some(Ok(integer)) => {
                *value = integer.into();
                Ok(())
            }
            Some(Err(_)) => {
                Err(format!(" must be a whole number from -2147483648 to 2147483647, not {}", truncated(value)))
            }
            None => Err(type_mismatch(value, name)),
        },
        (None, "ID") => match value {
            Value::String(_) => Ok(()),
            Value::Number(number) if number.is_u64() || number.is_i64() => {
                *value = number.to_string().into();
                Ok(())
            }
            Value::Number(number) => match number.as_f64().filter(|number| number.fract() == 0.0) {
                Some(number) => {
                    *value = id_text(number).into();
                    Ok(())
                }
                None => Err(type_mismatch(value, name)),
            },
            value => Err(type_mismatch(value, name)),
        },
        (None, "Float") if matches!(value, Value::Number(_)) => Ok(()),
        (None, "String") if matches!(value, Value::String(_)) => Ok(()),
        (None, "Boolean") if matches!(value, Value::Boolean(_)) => Ok(()),
        (Some(IndexedType::Object(_) | IndexedType::Interface(_)) | None, name) => Err(type_mismatch(value, name)),
    }
}

fn coerce_enum(value: &mut Value, values: &std::collections::HashSet<String>) -> Result<(), String> {
    match value {
        Value::Enum(word) if values.contains(word.as_str()) => Ok(()),
        Value::String(word) if values.contains(word.as_str()) => {
            *value = Value::Enum(Name::new(word));
            Ok(())
        }
        value => {
            let mut values: Vec<_> = values.iter().map(String::as_str).collect();
            values.sort_unstable();
            Err(format!(" must be one of {}, not {}", values.join(", "), truncated(value)))
        }
    }
}

fn coerce_object(
    value: &mut Value,
    ty: &str,
    fields: &HashMap<String, IndexedInput>,
    types: &SchemaIndex,
) -> Result<(), String> {
    let Value::Object(fields_given) = value else { return Err(type_mismatch(value, ty)) };
    for (name, value) in fields_given.iter_mut() {
        let Some(field) = fields.get(name.as_str()) else {
            let mut known: Vec<_> = fields.keys().map(String::as_str).collect();
            known.sort_unstable();
            return Err(format!(" has no field {:?}: there are {}", truncate(name), known.join(", ")));
        };
        coerce_value(value, &field.ty, types).map_err(|problem| format!(".{name}{problem}"))?;
    }
    let is_missing = |name: &str, field: &IndexedInput| {
        !field.ty.nullable && field.default.is_none() && !fields_given.contains_key(name)
    };
    let missing = fields.iter().filter(|(name, field)| is_missing(name, field)).map(|(name, _)| name).min();
    missing.map_or(Ok(()), |name| Err(format!(" must have a field {name:?}")))
}

/// The text of an ID that was sent as an integer with a fraction or an exponent, such as `3.0` or `1e300`: the text
/// that JavaScript writes for that number, which has one type of number only.
fn id_text(number: f64) -> String {
    if number.abs() < 1e21 {
        // Adding 0 turns -0 into 0.
        return (number + 0.0).to_string();
    }
    // The exponent is above 0, and JavaScript writes its plus sign.
    format!("{number:e}").replace('e', "e+")
}

/// The integer that a JSON number is, which may be written as `1.0` or `1e3`.
fn as_integer(value: &Value) -> Option<i64> {
    /// All integers up to here are exact in a double, and far from where the conversion saturates.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Value::Number(number) = value else { return None };
    let fraction = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
    number.as_i64().or_else(|| fraction.map(|number| number as i64))
}

/// The error about a value of another type.
fn type_mismatch(value: &Value, ty: &str) -> String {
    format!(" must be {ty}, not {}", truncated(value))
}

/// A value for an error message, cut if it is long.
fn truncated(value: &Value) -> String {
    truncate(&value.to_string()).into_owned()
}

/// Substitutes variables in a value, as the specification has it: an omitted variable omits the argument or field that
/// it stands for, and is null as an entry of a list. None if the whole value is omitted.
pub fn substitute<E>(
    value: &async_graphql_value::Value,
    variable: &impl Fn(&Name) -> Result<Option<Value>, E>,
) -> Result<Option<Value>, E> {
    Ok(match value {
        async_graphql_value::Value::Variable(name) => variable(name)?,
        async_graphql_value::Value::List(entries) => {
            let entries = entries.iter().map(|entry| Ok(substitute(entry, variable)?.unwrap_or_default()));
            Some(Value::List(entries.collect::<Result<_, _>>()?))
        }
        async_graphql_value::Value::Object(fields) => {
            let mut object = async_graphql::indexmap::IndexMap::with_capacity(fields.len());
            for (name, value) in fields {
                if let Some(value) = substitute(value, variable)? {
                    object.insert(name.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        constant => constant.clone().into_const(),
    })
}

/// Removes the arguments whose variable was omitted from a document, so that their defaults apply: the engine would
/// take them for null.
pub fn drop_omitted_arguments(document: &mut ExecutableDocument, variables: &Variables) {
    let has_omitted_variable = |operation: &OperationDefinition| {
        let mut names = operation.variable_definitions.iter().map(|definition| &definition.node.name.node);
        names.any(|name| !variables.contains_key(name))
    };
    if !document.operations.iter().any(|(_, operation)| has_omitted_variable(&operation.node)) {
        return;
    }
    use async_graphql::parser::types::DocumentOperations;
    match &mut document.operations {
        DocumentOperations::Single(operation) => {
            drop_omitted_arguments_in(&mut operation.node.selection_set.node, variables)
        }
        DocumentOperations::Multiple(operations) => {
            operations
                .values_mut()
                .for_each(|it| drop_omitted_arguments_in(&mut it.node.selection_set.node, variables));
        }
    }
    document
        .fragments
        .values_mut()
        .for_each(|it| drop_omitted_arguments_in(&mut it.node.selection_set.node, variables));
}

fn drop_omitted_arguments_in(set: &mut SelectionSet, variables: &Variables) {
    for selection in &mut set.items {
        match &mut selection.node {
            Selection::Field(field) => {
                field.node.arguments.retain(|(_, value)| match &value.node {
                    async_graphql_value::Value::Variable(name) => variables.contains_key(name),
                    _ => true,
                });
                drop_omitted_arguments_in(&mut field.node.selection_set.node, variables);
            }
            Selection::InlineFragment(inline) => {
                drop_omitted_arguments_in(&mut inline.node.selection_set.node, variables)
            }
            Selection::FragmentSpread(_) => {}
        }
    }
}
