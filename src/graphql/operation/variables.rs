//! Variable coercion: what a request sends as variables becomes what its operation declares, or is refused.
//!
//! This is the specification's CoerceVariableValues. It is ours, and not that of `apollo-compiler`, because that knows
//! nothing of our scalars and does not say which part of a variable is wrong.

use std::collections::HashMap;

use async_graphql::parser::types::{
    BaseType, ExecutableDocument, OperationDefinition, Selection, SelectionSet, Type, VariableDefinition,
};
use async_graphql::{Name, Positioned, Response, ServerError, Value, Variables};
use async_graphql_value::Value as Written;

use crate::graphql::error::request_error;
use crate::graphql::schema::index::{IndexedInput, IndexedType, SchemaIndex};
use crate::graphql::schema::scalars;
use crate::resolvers::input::echo;

/// Coerces the variables of a request to those that its operation declares: with their defaults, and without any that
/// it does not declare. Refuses those that are not of their types, and null for those that stand where it may not.
pub fn coerce(
    operation: &OperationDefinition,
    never_null: &[Name],
    variables: &mut Variables,
    types: &SchemaIndex,
) -> Result<(), Response> {
    let mut known = 0;
    for declared in &operation.variable_definitions {
        let VariableDefinition { name, var_type: Positioned { node: ty, .. }, default_value, .. } = &declared.node;
        let name = &name.node;
        let wrong = match (variables.get_mut(name), default_value) {
            (Some(value), None) if *value == Value::Null && !ty.nullable => Some(missing(name)),
            (Some(value), _) if *value == Value::Null && (!ty.nullable || never_null.contains(name)) => {
                Some(format!("${name} must not be null: leave it out, or give a value"))
            }
            (Some(value), _) => coerce_value(value, ty, types).err().map(|wrong| format!("${name}{wrong}")),
            (None, Some(default)) if default.node == Value::Null && never_null.contains(name) => {
                Some(format!("${name} must not be null, which is its default: give a value"))
            }
            (None, Some(default)) => {
                variables.insert(name.clone(), default.node.clone());
                None
            }
            (None, None) if !ty.nullable => Some(missing(name)),
            (None, None) => continue,
        };
        if let Some(wrong) = wrong {
            let locations = vec![declared.pos];
            let error = ServerError { locations, ..request_error("BAD_USER_INPUT", wrong) };
            return Err(Response::from_errors(vec![error]));
        }
        known += 1;
    }
    if variables.len() > known {
        let is_declared = |name: &Name| operation.variable_definitions.iter().any(|it| it.node.name.node == *name);
        variables.retain(|name, _| is_declared(name));
    }
    Ok(())
}

fn missing(name: &Name) -> String {
    format!("Variable \"${name}\" has to be given: it has no default, and cannot be null")
}

/// What is wrong with a value, behind the place where that is: `.statuses[0] must be …`.
fn coerce_value(value: &mut Value, ty: &Type, types: &SchemaIndex) -> Result<(), String> {
    match (&ty.base, value) {
        (_, Value::Null) if ty.nullable => Ok(()),
        (_, Value::Null) => Err(format!(" must be {ty}, not null")),
        (BaseType::List(of), Value::List(entries)) => {
            for (index, entry) in entries.iter_mut().enumerate() {
                coerce_value(entry, of, types).map_err(|wrong| format!("[{index}]{wrong}"))?;
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
        (Some(IndexedType::Enum(words)), _) => coerce_enum(value, words),
        (Some(IndexedType::Input(fields)), _) => coerce_object(value, name, fields, types),
        (Some(IndexedType::Scalar), _) => {
            if let Some(whole) = whole(value) {
                *value = whole.into();
            }
            scalars::check(name, value).map_err(|problem| format!(" {problem}"))
        }
        (None, "Int") => match whole(value).map(i32::try_from) {
            Some(Ok(whole)) => {
                *value = whole.into();
                Ok(())
            }
            Some(Err(_)) => {
                Err(format!(" must be a whole number from -2147483648 to 2147483647, not {}", in_short(value)))
            }
            None => Err(wrong(value, name)),
        },
        (None, "ID") => match value {
            Value::String(_) => Ok(()),
            Value::Number(number) if number.is_u64() || number.is_i64() => {
                *value = number.to_string().into();
                Ok(())
            }
            Value::Number(number) => match number.as_f64().filter(|number| number.fract() == 0.0) {
                Some(whole) => {
                    *value = id_of(whole).into();
                    Ok(())
                }
                None => Err(wrong(value, name)),
            },
            value => Err(wrong(value, name)),
        },
        (None, "Float") if matches!(value, Value::Number(_)) => Ok(()),
        (None, "String") if matches!(value, Value::String(_)) => Ok(()),
        (None, "Boolean") if matches!(value, Value::Boolean(_)) => Ok(()),
        (Some(IndexedType::Object(_) | IndexedType::Interface(_)) | None, name) => Err(wrong(value, name)),
    }
}

fn coerce_enum(value: &mut Value, words: &std::collections::HashSet<String>) -> Result<(), String> {
    match value {
        Value::Enum(word) if words.contains(word.as_str()) => Ok(()),
        Value::String(word) if words.contains(word.as_str()) => {
            *value = Value::Enum(Name::new(word));
            Ok(())
        }
        value => {
            let mut words: Vec<_> = words.iter().map(String::as_str).collect();
            words.sort_unstable();
            Err(format!(" must be one of {}, not {}", words.join(", "), in_short(value)))
        }
    }
}

fn coerce_object(
    value: &mut Value,
    ty: &str,
    fields: &HashMap<String, IndexedInput>,
    types: &SchemaIndex,
) -> Result<(), String> {
    let Value::Object(given) = value else { return Err(wrong(value, ty)) };
    for (name, value) in given.iter_mut() {
        let Some(field) = fields.get(name.as_str()) else {
            let mut known: Vec<_> = fields.keys().map(String::as_str).collect();
            known.sort_unstable();
            return Err(format!(" has no field {:?}: there are {}", echo(name), known.join(", ")));
        };
        coerce_value(value, &field.ty, types).map_err(|wrong| format!(".{name}{wrong}"))?;
    }
    let is_missing =
        |name: &str, field: &IndexedInput| !field.ty.nullable && field.default.is_none() && !given.contains_key(name);
    let missing = fields.iter().filter(|(name, field)| is_missing(name, field)).map(|(name, _)| name).min();
    missing.map_or(Ok(()), |name| Err(format!(" must have a field {name:?}")))
}

/// The text of an ID that was sent as a whole number with a fraction or an exponent, as `3.0` or `1e300`: the one that
/// JavaScript writes, where such a number is one like any other.
fn id_of(whole: f64) -> String {
    if whole.abs() < 1e21 {
        // Adding 0 takes the sign from -0.
        return (whole + 0.0).to_string();
    }
    // The exponent is above 0, and JavaScript says so.
    format!("{whole:e}").replace('e', "e+")
}

/// A whole number, which JSON may also write as `1.0` or `1e3`.
fn whole(value: &Value) -> Option<i64> {
    /// All whole numbers up to here are exact, and far from where the conversion would cut them off.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Value::Number(number) = value else { return None };
    let fraction = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
    number.as_i64().or_else(|| fraction.map(|number| number as i64))
}

fn wrong(value: &Value, ty: &str) -> String {
    format!(" must be {ty}, not {}", in_short(value))
}

/// A value as it was sent, or its beginning.
fn in_short(value: &Value) -> String {
    echo(&value.to_string()).into_owned()
}

/// A value with the variables of a request in it, as the specification has it: what a variable that was left out stands
/// for is left out, and in a list it is null. None if that is all of it.
pub fn resolve<E>(value: &Written, variable: &impl Fn(&Name) -> Result<Option<Value>, E>) -> Result<Option<Value>, E> {
    Ok(match value {
        Written::Variable(name) => variable(name)?,
        Written::List(entries) => {
            let entries = entries.iter().map(|entry| Ok(resolve(entry, variable)?.unwrap_or_default()));
            Some(Value::List(entries.collect::<Result<_, _>>()?))
        }
        Written::Object(fields) => {
            let mut object = async_graphql::indexmap::IndexMap::with_capacity(fields.len());
            for (name, value) in fields {
                if let Some(value) = resolve(value, variable)? {
                    object.insert(name.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        constant => constant.clone().into_const(),
    })
}

/// Takes out of a document the arguments for which a variable stands that was left out, so that their defaults are in
/// force: the engine would read them as null.
pub fn leave_out(document: &mut ExecutableDocument, variables: &Variables) {
    let is_left_out = |operation: &OperationDefinition| {
        let mut names = operation.variable_definitions.iter().map(|definition| &definition.node.name.node);
        names.any(|name| !variables.contains_key(name))
    };
    if !document.operations.iter().any(|(_, operation)| is_left_out(&operation.node)) {
        return;
    }
    use async_graphql::parser::types::DocumentOperations;
    match &mut document.operations {
        DocumentOperations::Single(operation) => leave_out_of(&mut operation.node.selection_set.node, variables),
        DocumentOperations::Multiple(operations) => {
            operations.values_mut().for_each(|it| leave_out_of(&mut it.node.selection_set.node, variables));
        }
    }
    document.fragments.values_mut().for_each(|it| leave_out_of(&mut it.node.selection_set.node, variables));
}

fn leave_out_of(set: &mut SelectionSet, variables: &Variables) {
    for selection in &mut set.items {
        match &mut selection.node {
            Selection::Field(field) => {
                field.node.arguments.retain(|(_, value)| match &value.node {
                    Written::Variable(name) => variables.contains_key(name),
                    _ => true,
                });
                leave_out_of(&mut field.node.selection_set.node, variables);
            }
            Selection::InlineFragment(inline) => leave_out_of(&mut inline.node.selection_set.node, variables),
            Selection::FragmentSpread(_) => {}
        }
    }
}
