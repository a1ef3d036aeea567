//! Rendering by plan: a selection of fields, compiled once into what writes it, straight to JSON.
//!
//! The engine resolves field by field: a future, a context and an entry of a map for each, half a microsecond however
//! little there is to it. A plan ([`Plan::compile`]) is the selection with everything looked up: keys that are ready as
//! bytes, each with a function that writes the value of an object's field behind it. What of a document knows no
//! variables is compiled when the document is first asked with and kept with it; else it is compiled for each request.
//!
//! A plan never says what is wrong. Whatever it cannot do (a field that reads the change log, an argument that is
//! refused, an answer that grows too large) it hands back, and the ordinary resolver answers as if there were no plan.
//! So that is the one place where errors are made. Fields of the root that a plan does not know are resolved by the
//! engine, alone, and put between the others.
//!
//! [`objects`] is one more expansion of the field lists; [`roots`] has the questions; [`collect`] is the
//! specification's CollectFields; [`values`] how values look.

mod collect;
mod objects;
mod roots;
mod stream_items;
#[cfg(test)]
mod tests;
mod values;

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

/// An operation, ready to be answered.
pub struct Plan {
    /// Each field of the root: its key, and what writes it; none for those that the engine resolves.
    fields: Vec<(Name, Option<RootWriter>)>,
    /// The operation with those alone, if there are any.
    rest: Option<ExecutableDocument>,
}

impl Plan {
    /// Plans a query; the variables are none while they are not known. There is none if the engine would have to do
    /// everything.
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
        let mut rest = Vec::new();
        for asked in compiler.collect(root(operation.ty), &[&operation.selection_set.node])? {
            let write = match roots::plan(&asked, &compiler) {
                Ok(write) => Some(write),
                Err(Fallback::Resolver) => {
                    rest.push(alone(asked.field, &asked.sets));
                    None
                }
                Err(Fallback::NeedsVariables) => return Err(Fallback::NeedsVariables),
            };
            fields.push((asked.key().clone(), write));
        }
        if !rest.is_empty() && rest.len() == fields.len() {
            return Err(Fallback::Resolver);
        }
        let rest = (!rest.is_empty()).then(|| {
            let mut operation = operation.clone();
            operation.selection_set.node.items = rest;
            let pos = operation.selection_set.pos;
            ExecutableDocument {
                operations: DocumentOperations::Single(Positioned::new(operation, pos)),
                fragments: document.fragments.clone(),
            }
        });
        Ok(Self { fields, rest })
    }

    /// What the engine has to resolve.
    pub fn rest(&self) -> Option<&ExecutableDocument> {
        self.rest.as_ref()
    }

    /// Answers, with what the engine has resolved, in which there are so many objects; and tells what the operation
    /// costs, if that was asked.
    pub fn answer(
        &self,
        question: &PlanInput<'_>,
        rest: Option<&Value>,
        objects: usize,
        cost: Option<&Value>,
    ) -> Result<ChunkedBytes, Fallback> {
        let mut answer = RootResponse::default();
        answer.out.bytes.reserve(EXPECTED_ANSWER);
        answer.out.objects = objects;
        answer.out.bytes.extend_from_slice(br#"{"data":{"#);
        for (index, (key, write)) in self.fields.iter().enumerate() {
            if index > 0 {
                answer.out.bytes.push(b',');
            }
            json::plain(key.as_str(), &mut answer.out.bytes);
            answer.out.bytes.push(b':');
            match (write, rest) {
                (Some(write), _) => write(question, &mut answer)?,
                (None, Some(Value::Object(rest))) => {
                    json::value(rest.get(key).ok_or(Fallback::Resolver)?, &mut answer.out.bytes);
                }
                (None, _) => return Err(Fallback::Resolver),
            }
            if !answer.out.is_good() {
                return Err(Fallback::Resolver);
            }
        }
        answer.out.bytes.push(b'}');
        if let Some(cost) = cost {
            answer.out.bytes.extend_from_slice(br#","extensions":{"cost":"#);
            json::value(cost, &mut answer.out.bytes);
            answer.out.bytes.push(b'}');
        }
        answer.out.bytes.push(b'}');
        answer.done.push(answer.out.bytes.into());
        Ok(answer.done)
    }
}

/// A field with everything that is asked for below it, from wherever its key stands.
fn alone(field: &Positioned<Field>, sets: &[&SelectionSet]) -> Positioned<Selection> {
    let mut whole = field.clone();
    // Whether it is there has been decided.
    whole.node.directives.clear();
    whole.node.selection_set.node.items = sets.iter().flat_map(|set| set.items.iter().cloned()).collect();
    let pos = whole.pos;
    Positioned::new(Selection::Field(whole), pos)
}
