//! Whether a document says something that the schema can answer.
//!
//! The engine validates what it executes, each time anew. Here that is done apart from execution, by a
//! schema that stops when it has validated; a document that has passed is executed by another one,
//! which does not look again. What depends on the variables of a request is looked at with each of
//! them: briefly by [`doubt`], and by the engine, in its words, if that leaves any doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use async_graphql::parser::types::{BaseType, ExecutableDocument, OperationDefinition, Type};
use async_graphql::{Request, Response, Schema, Value, Variables, async_trait};

use super::error;
use super::mutation::Mutation;
use super::overlap;
use super::query::Query;
use super::subscription::Subscription;
use super::types::{Input, Kind, Types};
use crate::resolvers::input::echo;

/// Validates documents. Cheap to clone.
#[derive(Clone)]
pub(super) struct Validator {
    schema: Schema<Query, Mutation, Subscription>,
    types: &'static Types,
    /// How often the engine was asked.
    asked: Arc<AtomicU64>,
}

impl Validator {
    pub(super) fn new(schema: Schema<Query, Mutation, Subscription>, types: &'static Types) -> Self {
        Self { schema, types, asked: Arc::default() }
    }

    /// What is wrong with a document, or with the variables that it is asked with.
    pub(super) async fn validate(
        &self,
        document: &ExecutableDocument,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<(), Response> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut request = Request::new("").variables(variables.clone());
        request.operation_name = operation_name.map(str::to_owned);
        request.set_parsed_query(document.clone());
        let mut response = self.schema.execute(request).await;
        if response.is_ok() {
            let conflicts = overlap::conflicts(document, self.types);
            if conflicts.is_empty() {
                return Ok(());
            }
            response = Response::from_errors(conflicts);
        }
        error::code(&mut response);
        Err(response)
    }

    /// How often the engine was asked.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Ends every execution before it begins.
pub(super) struct StopBeforeExecution;

impl ExtensionFactory for StopBeforeExecution {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for StopBeforeExecution {
    async fn execute(&self, _: &ExtensionContext<'_>, _: Option<&str>, _: NextExecute<'_>) -> Response {
        Response::default()
    }
}

/// A variable, or a part of one, that may not be what the operation declares.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Where, such as `$filter.statuses[0]`.
    place: String,
    problem: String,
}

impl Doubt {
    fn new(problem: String) -> Self {
        Self { place: String::new(), problem }
    }

    /// It is in this part of something.
    fn below(mut self, part: &str) -> Self {
        self.place.insert_str(0, part);
        self
    }

    /// In words: the variable, what is wrong with it, and what would be right.
    pub(super) fn in_words(&self) -> String {
        let Self { place, problem } = self;
        format!("{place} {problem}")
    }
}

/// The first of the variables that is not beyond doubt what the operation declares.
pub(super) fn doubt(operation: &OperationDefinition, variables: &Variables, types: &Types) -> Option<Doubt> {
    operation.variable_definitions.iter().map(|definition| &definition.node).find_map(|declared| {
        let (name, ty) = (&declared.name.node, &declared.var_type.node);
        let doubt = match variables.get(name)? {
            // One with a default may stand where null may not.
            Value::Null if ty.nullable && declared.default_value.is_none() => None,
            Value::Null => Some(Doubt::new("must not be null: leave it out, or give a value".to_owned())),
            value => doubt_about(ty, value, types),
        };
        doubt.map(|doubt| doubt.below(&format!("${name}")))
    })
}

/// What keeps a value from being beyond doubt one of a type.
fn doubt_about(ty: &Type, value: &Value, types: &Types) -> Option<Doubt> {
    match (&ty.base, value) {
        (_, Value::Null) => (!ty.nullable).then(|| Doubt::new(format!("must be {ty}, not null"))),
        (BaseType::List(of), Value::List(entries)) => entries
            .iter()
            .enumerate()
            .find_map(|(index, entry)| doubt_about(of, entry, types).map(|doubt| doubt.below(&format!("[{index}]")))),
        (BaseType::List(of), entry) => doubt_about(of, entry, types),
        (BaseType::Named(name), value) => doubt_about_named(name, value, types),
    }
}

fn doubt_about_named(name: &str, value: &Value, types: &Types) -> Option<Doubt> {
    let is_one = match (types.get(name), value) {
        (Some(Kind::Enum(words)), Value::String(_) | Value::Enum(_)) => {
            let word = match value {
                Value::String(word) => word.as_str(),
                Value::Enum(word) => word.as_str(),
                _ => "",
            };
            if words.contains(word) {
                return None;
            }
            let mut words: Vec<_> = words.iter().map(String::as_str).collect();
            words.sort_unstable();
            return Some(Doubt::new(format!("must be one of {}, not {}", words.join(", "), in_short(value))));
        }
        (Some(Kind::Input(fields)), Value::Object(given)) => {
            for (name, value) in given {
                let Some(field) = fields.get(name.as_str()) else {
                    let mut known: Vec<_> = fields.keys().map(String::as_str).collect();
                    known.sort_unstable();
                    let known = known.join(", ");
                    return Some(Doubt::new(format!("has no field {:?}: there are {known}", echo(name))));
                };
                if let Some(doubt) = doubt_about(&field.ty, value, types) {
                    return Some(doubt.below(&format!(".{name}")));
                }
            }
            let is_missing =
                |name: &str, field: &Input| !field.ty.nullable && field.default.is_none() && !given.contains_key(name);
            let missing = fields.iter().filter(|(name, field)| is_missing(name, field)).map(|(name, _)| name).min();
            return missing.map(|name| Doubt::new(format!("must have a field {name:?}")));
        }
        // What our own scalars take is looked at when they are read.
        (Some(Kind::Scalar), Value::String(_) | Value::Number(_) | Value::Boolean(_)) => true,
        (None, value) => match (name, value) {
            ("Int", Value::Number(number)) => number.is_i64(),
            ("Float", Value::Number(_)) | ("String" | "ID", Value::String(_)) | ("Boolean", Value::Boolean(_)) => true,
            ("ID", Value::Number(number)) => number.is_i64(),
            _ => false,
        },
        (Some(_), _) => false,
    };
    (!is_one).then(|| Doubt::new(format!("must be {name}, not {}", in_short(value))))
}

/// A value as it was sent, or its beginning.
fn in_short(value: &Value) -> String {
    echo(&value.to_string()).into_owned()
}
