//! Query plans: a selection of fields is compiled once into functions that write the response straight to JSON.
//!
//! The engine resolves field by field, with a future, a context and a map entry for each: half a microsecond for even
//! the simplest field. A plan ([`Plan::compile`]) is the selection with everything looked up: each response key as
//! bytes, with a function that writes the field's value behind it. A plan that does not depend on variables is compiled
//! when its operation first runs, and cached with the document; one that does is compiled for each request.
//!
//! A plan never makes an error. Whatever it cannot do (a field that reads the change log, an argument that is refused,
//! a response that grows too large) is a [`Fallback`]: the engine then runs the operation as if there were no plan, so
//! that errors are made in one place. Root fields that have no plan are resolved by the engine alone, and inserted
//! between the planned ones.
//!
//! [`collect`] is the specification's CollectFields, [`roots`] plans the fields of the query root, [`object_writers`]
//! those of object types, [`stream_items`] the items of subscriptions, and [`value_writers`] writes leaf values. That
//! plans and engine agree to the byte is a property test (`tests`).

mod collect;
mod object_writers;
mod roots;
mod stream_items;
#[cfg(test)]
mod tests;
mod value_writers;

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};

pub use self::collect::{Compiler, Fallback};
pub use self::roots::PlanInput;
use self::roots::{RootResponse, RootWriter};
pub use self::stream_items::ItemPlan;
use crate::graphql::schema::index::{SchemaIndex, root};
use crate::http::{ChunkedBytes, EXPECTED_ANSWER};
use crate::json;

/// The plan of a query.
pub struct Plan {
    /// The root fields in order: response key and writer. The writer is none for a field that the engine resolves.
    fields: Vec<(Name, Option<RootWriter>)>,
    /// The operation with only the fields that the engine resolves, if there are any.
    engine_document: Option<ExecutableDocument>,
}

impl Plan {
    /// Compiles the plan of a query. `variables` is none for a plan that is to serve every request. There is no plan if
    /// the engine would have to resolve all root fields.
    pub fn compile(
        operation: &OperationDefinition,
        document: &ExecutableDocument,
        variables: Option<&Variables>,
        types: &SchemaIndex,
    ) -> Result<Self, Fallback> {
        if !operation.directives.is_empty() {
            return Err(Fallback::Resolver);
        }
        let compiler = Compiler { fragments: &document.fragments, variables, types };
        let mut fields = Vec::new();
        let mut engine_fields = Vec::new();
        for collected in compiler.collect(root(operation.ty), &[&operation.selection_set.node])? {
            let writer = match roots::plan(&collected, &compiler) {
                Ok(writer) => Some(writer),
                Err(Fallback::Resolver) => {
                    engine_fields.push(standalone_field(collected.field, &collected.sets));
                    None
                }
                Err(Fallback::NeedsVariables) => return Err(Fallback::NeedsVariables),
            };
            fields.push((collected.key().clone(), writer));
        }
        if !engine_fields.is_empty() && engine_fields.len() == fields.len() {
            return Err(Fallback::Resolver);
        }
        let engine_document = (!engine_fields.is_empty()).then(|| {
            let mut operation = operation.clone();
            operation.selection_set.node.items = engine_fields;
            let pos = operation.selection_set.pos;
            ExecutableDocument {
                operations: DocumentOperations::Single(Positioned::new(operation, pos)),
                fragments: document.fragments.clone(),
            }
        });
        Ok(Self { fields, engine_document })
    }

    /// The document that the engine has to run beside the plan.
    pub fn engine_document(&self) -> Option<&ExecutableDocument> {
        self.engine_document.as_ref()
    }

    /// Writes the response. `engine_data` is what the engine resolved of [`engine_document`](Self::engine_document) and
    /// `objects` how many objects are in it; `cost` is written to the extensions.
    pub fn write(
        &self,
        input: &PlanInput<'_>,
        engine_data: Option<&Value>,
        objects: usize,
        cost: Option<&Value>,
    ) -> Result<ChunkedBytes, Fallback> {
        let mut response = RootResponse::default();
        response.buffer.bytes.reserve(EXPECTED_ANSWER);
        response.buffer.objects = objects;
        response.buffer.bytes.extend_from_slice(br#"{"data":{"#);
        for (index, (key, writer)) in self.fields.iter().enumerate() {
            if index > 0 {
                response.buffer.bytes.push(b',');
            }
            json::plain(key.as_str(), &mut response.buffer.bytes);
            response.buffer.bytes.push(b':');
            match (writer, engine_data) {
                (Some(writer), _) => writer(input, &mut response)?,
                (None, Some(Value::Object(engine_data))) => {
                    json::value(engine_data.get(key).ok_or(Fallback::Resolver)?, &mut response.buffer.bytes);
                }
                (None, _) => return Err(Fallback::Resolver),
            }
            if !response.buffer.is_usable() {
                return Err(Fallback::Resolver);
            }
        }
        response.buffer.bytes.push(b'}');
        if let Some(cost) = cost {
            response.buffer.bytes.extend_from_slice(br#","extensions":{"cost":"#);
            json::value(cost, &mut response.buffer.bytes);
            response.buffer.bytes.push(b'}');
        }
        response.buffer.bytes.push(b'}');
        response.chunks.push(response.buffer.bytes.into());
        Ok(response.chunks)
    }
}

/// A root field as a selection of its own, with the merged selection sets of its response key.
fn standalone_field(field: &Positioned<Field>, sets: &[&SelectionSet]) -> Positioned<Selection> {
    let mut merged = field.clone();
    // `@skip` and `@include` have been applied.
    merged.node.directives.clear();
    merged.node.selection_set.node.items = sets.iter().flat_map(|set| set.items.iter().cloned()).collect();
    let pos = merged.pos;
    Positioned::new(Selection::Field(merged), pos)
}
