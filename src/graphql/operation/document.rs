//! A document that is valid and within the limits, and the parser that makes it of a text.
//!
//! A document knows its operations, and of each what does not depend on a request's variables: its cost and its plan,
//! found out when they are first asked for. What keeps documents is [`document_cache`](super::document_cache).

use std::collections::{HashMap, HashSet};
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Response, ServerError};

use super::cost::{self};
use super::limits::Limits;
use super::typed::Typed;
use super::validation;
use crate::graphql::error::request_error;
use crate::graphql::plan::{Fallback, Plan};
use crate::graphql::schema::index::SchemaIndex;
use crate::resolvers::input::echo;

/// How many documents may be kept. A program has tens, a playground makes one with each keystroke.
pub const MAX_DOCUMENTS: u64 = 2_000;

/// How many bytes of documents may be kept, with what they are parsed into.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A document that is valid and within the limits.
pub struct Document {
    pub text: Arc<str>,
    pub parsed: ExecutableDocument,
    /// Variables for which null is not taken although their types are, by their operations.
    never_null: HashMap<Option<Name>, Vec<Name>>,
    /// How many there are with all fragments written out, as a plan has them.
    selections: usize,
    /// What is known of its operations whatever they are asked with, found out when it is asked for first.
    known: OnceLock<HashMap<Option<Name>, OperationInfo>>,
}

/// What is known of an operation whatever it is asked with.
pub struct OperationInfo {
    /// How it is answered by plan, found out when it is run first.
    pub plan: OnceLock<Result<Arc<Plan>, Fallback>>,
    /// None if that depends on the variables.
    pub cost: Option<u64>,
}

impl Document {
    /// How many bytes it holds, roughly, with what it is parsed into and its plans.
    pub fn weight(&self) -> u64 {
        /// A word of a few letters and what divides it from the next becomes a node of the parsed document.
        const PARSED_BYTES_FOR_EACH: usize = size_of::<Positioned<Field>>() / 4;
        /// What writes a field by plan: its key, and a function with what it needs.
        const PLANNED_BYTES: usize = 128;
        // A document weighs at least its share, so that the limit of bytes is also one of number.
        let bytes = self.text.len() * (1 + PARSED_BYTES_FOR_EACH) + self.selections * PLANNED_BYTES;
        (bytes as u64).max(MAX_BYTES / MAX_DOCUMENTS)
    }
}

/// Parses and validates, and keeps nothing.
pub struct DocumentParser {
    pub limits: Limits,
    pub types: &'static SchemaIndex,
    pub parsed: AtomicU64,
    pub validated: AtomicU64,
}

impl DocumentParser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, types: SchemaIndex::of_schema(), parsed: AtomicU64::new(0), validated: AtomicU64::new(0) }
    }

    /// Reads a document, and refuses it if it is not valid or not within the limits.
    pub fn read(&self, text: &str) -> Result<Arc<Document>, Response> {
        self.parsed.fetch_add(1, Ordering::Relaxed);
        let (Typed { document: parsed, never_null }, selections) = validation::read(text, &self.limits)?;
        let document = Document { text: text.into(), parsed, never_null, selections, known: OnceLock::new() };
        document.check_streams()?;
        self.validated.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(document))
    }
}

impl Document {
    /// The operation of this name, or the only one; none if the document does not tell.
    pub fn operation(&self, name: Option<&str>) -> Option<&OperationDefinition> {
        let operation = match (&self.parsed.operations, name) {
            (DocumentOperations::Single(operation), None) => Some(operation),
            (DocumentOperations::Single(_), Some(_)) => None,
            (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
            (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
            (DocumentOperations::Multiple(_), None) => None,
        };
        operation.map(|operation| &operation.node)
    }

    /// What is known of the operation of this name, or of the only one. The document is valid.
    pub fn known(&self, name: Option<&str>, types: &SchemaIndex) -> Option<&OperationInfo> {
        let of = |operation: &OperationDefinition| OperationInfo {
            plan: OnceLock::new(),
            cost: cost::whatever_the_variables(operation, &self.parsed, types),
        };
        let known = self.known.get_or_init(|| {
            let operations = self.parsed.operations.iter();
            operations.map(|(name, operation)| (name.cloned(), of(&operation.node))).collect()
        });
        match name {
            Some(name) => known.get(&Some(Name::new(name))),
            None => known.values().next(),
        }
    }

    /// The variables of the operation of this name, or of the only one, for which null is not taken.
    pub fn never_null(&self, name: Option<&str>) -> &[Name] {
        if self.never_null.is_empty() {
            return &[];
        }
        match name {
            Some(name) => self.never_null.get(&Some(Name::new(name))),
            // There is one operation, or none would be meant.
            None => self.never_null.values().next(),
        }
        .map_or(&[], Vec::as_slice)
    }

    /// What is answered to a request that does not tell which operation it means.
    pub fn not_told(&self, name: Option<&str>) -> Response {
        let mut names: Vec<_> = self.parsed.operations.iter().filter_map(|(name, _)| name).collect();
        names.sort_unstable();
        let names: Vec<_> = names.into_iter().map(|name| format!("{:?}", name.as_str())).collect();
        let problem = match (name.map(echo), names.join(", ")) {
            (Some(name), names) if names.is_empty() => {
                format!("Unknown operation named {name:?}: the only one has no name, leave `operationName` out")
            }
            (Some(name), names) => format!("Unknown operation named {name:?}: there are {names}"),
            (None, names) => format!("Operation name required: send `operationName`, one of {names}"),
        };
        Response::from_errors(vec![request_error("BAD_USER_INPUT", problem)])
    }

    /// The name of its operation, if there is one with a name and no other.
    pub fn name_of_the_only_operation(&self) -> Option<&Name> {
        match &self.parsed.operations {
            DocumentOperations::Multiple(operations) if operations.len() == 1 => operations.keys().next(),
            DocumentOperations::Multiple(_) | DocumentOperations::Single(_) => None,
        }
    }

    /// What the operations are that may be meant: the one of this name, or all.
    pub fn kinds(&self, name: Option<&str>) -> Vec<OperationType> {
        match (self.operation(name), &self.parsed.operations, name) {
            (Some(operation), _, _) => vec![operation.ty],
            (None, DocumentOperations::Multiple(_), Some(_)) => Vec::new(),
            (None, operations, _) => operations.iter().map(|(_, operation)| operation.node.ty).collect(),
        }
    }

    /// One operation of this document with what it needs of it, as the engine runs it.
    pub fn cut_out(&self, operation: &OperationDefinition) -> ExecutableDocument {
        let mut operation = operation.clone();
        if operation.ty == OperationType::Subscription {
            // The engine would not look into fragments at the root.
            operation.selection_set.node.items = self.stream(&operation.selection_set.node).into_iter().collect();
        }
        let mut needed = HashSet::new();
        self.collect_fragments(&operation.selection_set.node, &mut needed);
        let fragments = needed.into_iter().filter_map(|name| {
            let fragment = self.parsed.fragments.get(&name)?.clone();
            Some((name, fragment))
        });
        let fragments = fragments.collect();
        let pos = operation.selection_set.pos;
        ExecutableDocument { operations: DocumentOperations::Single(Positioned::new(operation, pos)), fragments }
    }

    fn collect_fragments(&self, set: &SelectionSet, needed: &mut HashSet<Name>) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => self.collect_fragments(&field.node.selection_set.node, needed),
                Selection::InlineFragment(inline) => self.collect_fragments(&inline.node.selection_set.node, needed),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if needed.insert(name.clone())
                        && let Some(fragment) = self.parsed.fragments.get(name)
                    {
                        self.collect_fragments(&fragment.node.selection_set.node, needed);
                    }
                }
            }
        }
    }

    /// Refuses a subscription that is not of one field, as the language wants it. The engine would run several, and
    /// none of a fragment, without a word.
    fn check_streams(&self) -> Result<(), Response> {
        let operations = self.parsed.operations.iter().map(|(_, operation)| operation);
        let mut subscriptions = operations.filter(|operation| operation.node.ty == OperationType::Subscription);
        let Some(wrong) = subscriptions.find(|it| self.stream(&it.node.selection_set.node).is_none()) else {
            return Ok(());
        };
        let problem =
            "A subscription has exactly one field at its root, which is not of introspection, and no condition there";
        let error = request_error("GRAPHQL_VALIDATION_FAILED", problem);
        Err(Response::from_errors(vec![ServerError { locations: vec![wrong.pos], ..error }]))
    }

    /// The one field at the root of a subscription, if there is but one, written out and put together from wherever it
    /// is asked for.
    fn stream(&self, root: &SelectionSet) -> Option<Positioned<Selection>> {
        let mut fields = Vec::new();
        self.collect_root_fields(root, &mut fields)?;
        let [first, others @ ..] = &fields[..] else { return None };
        if first.node.name.node.starts_with("__") {
            return None;
        }
        let mut whole = (*first).clone();
        for other in others {
            if other.node.response_key().node != first.node.response_key().node {
                return None;
            }
            whole.node.selection_set.node.items.extend(other.node.selection_set.node.items.iter().cloned());
        }
        let pos = whole.pos;
        Some(Positioned::new(Selection::Field(whole), pos))
    }

    /// None if some of them have conditions.
    fn collect_root_fields<'a>(&'a self, set: &'a SelectionSet, fields: &mut Vec<&'a Positioned<Field>>) -> Option<()> {
        for Positioned { node: selection, .. } in &set.items {
            // No other directives are allowed here.
            if !selection.directives().is_empty() {
                return None;
            }
            match selection {
                Selection::Field(field) => fields.push(field),
                Selection::InlineFragment(inline) => {
                    self.collect_root_fields(&inline.node.selection_set.node, fields)?;
                }
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.parsed.fragments.get(&spread.node.fragment_name.node) {
                        self.collect_root_fields(&fragment.node.selection_set.node, fields)?;
                    }
                }
            }
        }
        Some(())
    }
}
