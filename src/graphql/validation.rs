//! Whether a document says something that the schema can answer.
//!
//! The engine validates what it executes, each time anew. Here that is done apart from execution, by a
//! schema that stops when it has validated; a document that has passed is executed by another one,
//! which does not look again. What depends on the variables of a request is looked at with each of
//! them: briefly by [`fits`], and by the engine, in its words, if that leaves any doubt.

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
use super::types::{Kind, Types};

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

/// Whether the variables are beyond doubt what the operation declares. If not, the engine may still take them.
pub(super) fn variables_fit(operation: &OperationDefinition, variables: &Variables, types: &Types) -> bool {
    operation.variable_definitions.iter().map(|definition| &definition.node).all(|declared| {
        match variables.get(&declared.name.node) {
            None => true,
            // One with a default may stand where null may not.
            Some(Value::Null) => declared.var_type.node.nullable && declared.default_value.is_none(),
            Some(value) => fits(&declared.var_type.node, value, types),
        }
    })
}

/// Whether a value is beyond doubt one of a type.
fn fits(ty: &Type, value: &Value, types: &Types) -> bool {
    match (&ty.base, value) {
        (_, Value::Null) => ty.nullable,
        (BaseType::List(of), Value::List(entries)) => entries.iter().all(|entry| fits(of, entry, types)),
        (BaseType::List(of), entry) => fits(of, entry, types),
        (BaseType::Named(name), value) => fits_named(name, value, types),
    }
}

fn fits_named(name: &str, value: &Value, types: &Types) -> bool {
    match (types.get(name), value) {
        (Some(Kind::Enum(words)), Value::String(word)) => words.contains(word),
        (Some(Kind::Enum(words)), Value::Enum(word)) => words.contains(word.as_str()),
        (Some(Kind::Input(fields)), Value::Object(given)) => {
            given
                .iter()
                .all(|(name, value)| fields.get(name.as_str()).is_some_and(|field| fits(&field.ty, value, types)))
                && fields.iter().all(|(name, field)| {
                    field.ty.nullable || field.default.is_some() || given.contains_key(name.as_str())
                })
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
    }
}
