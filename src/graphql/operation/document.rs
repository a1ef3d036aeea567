//! A document: valid, within the limits, with its operations; and the parser that makes it of a text.
//!
//! The cost and the plan of an operation are stored with the document, if they do not depend on variables, when they
//! are first needed. Caching of documents is in [`document_cache`](super::document_cache), the rules are in
//! [`validation`].

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
use super::typed_document::TypedDocument;
use super::validation;
use crate::graphql::error::request_error;
use crate::graphql::plan::{Fallback, Plan};
use crate::graphql::schema::index::SchemaIndex;
use crate::resolvers::checks::truncate;

/// Most documents in the document cache. A program has tens; a playground sends a new one with each keystroke.
pub const MAX_DOCUMENTS: u64 = 2_000;

/// The capacity of the document cache in bytes, parsed forms included.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A valid document within the limits.
pub struct Document {
    pub text: Arc<str>,
    pub parsed: ExecutableDocument,
    /// By operation: variables of nullable types for which null is refused all the same; see
    /// [`TypedDocument::never_null`].
    never_null: HashMap<Option<Name>, Vec<Name>>,
    /// How many selections there are with all fragments written out, as in a plan.
    selections: usize,
    /// What is known of the operations without variables, computed when it is first needed.
    operation_infos: OnceLock<HashMap<Option<Name>, OperationInfo>>,
}

/// What is known of an operation without its variables.
pub struct OperationInfo {
    /// Its plan, compiled when the operation first runs.
    pub plan: OnceLock<Result<Arc<Plan>, Fallback>>,
    /// Its cost; none if that depends on the variables.
    pub cost: Option<u64>,
}

impl Document {
    /// Roughly how many bytes the document takes, with its parsed form and its plans: its weight in the caches.
    pub fn weight(&self) -> u64 {
        /// Bytes of the parsed form for each byte of text: a word of about four letters becomes a node.
        const PARSED_BYTES_PER_BYTE: usize = size_of::<Positioned<Field>>() / 4;
        /// Bytes of a field in a plan: its key and its writer.
        const PLANNED_BYTES: usize = 128;
        // The least weight of a document makes the capacity in bytes a limit on the number of documents, too.
        let bytes = self.text.len() * (1 + PARSED_BYTES_PER_BYTE) + self.selections * PLANNED_BYTES;
        (bytes as u64).max(MAX_BYTES / MAX_DOCUMENTS)
    }
}

/// Parses and validates documents, and caches nothing.
pub struct DocumentParser {
    pub limits: Limits,
    pub types: &'static SchemaIndex,
    /// How many texts have been parsed.
    pub parsed: AtomicU64,
    /// How many of them were valid.
    pub validated: AtomicU64,
}

impl DocumentParser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, types: SchemaIndex::of_schema(), parsed: AtomicU64::new(0), validated: AtomicU64::new(0) }
    }

    /// Parses a document. One that is invalid or exceeds a limit is refused with an error response.
    pub fn parse(&self, text: &str) -> Result<Arc<Document>, Response> {
        self.parsed.fetch_add(1, Ordering::Relaxed);
        let (TypedDocument { document: parsed, never_null }, selections) =
            validation::parse_and_validate(text, &self.limits)?;
        let document = Document { text: text.into(), parsed, never_null, selections, operation_infos: OnceLock::new() };
        document.check_subscriptions()?;
        self.validated.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(document))
    }
}

impl Document {
    /// The operation of this name, or the only one if no name is given; none if that is not one operation.
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

    /// What is known of the operation of this name, or of the only one.
    pub fn operation_info(&self, name: Option<&str>, types: &SchemaIndex) -> Option<&OperationInfo> {
        let of = |operation: &OperationDefinition| OperationInfo {
            plan: OnceLock::new(),
            cost: cost::without_variables(operation, &self.parsed, types),
        };
        let operation_infos = self.operation_infos.get_or_init(|| {
            let operations = self.parsed.operations.iter();
            operations.map(|(name, operation)| (name.cloned(), of(&operation.node))).collect()
        });
        match name {
            Some(name) => operation_infos.get(&Some(Name::new(name))),
            None => operation_infos.values().next(),
        }
    }

    /// The variables of the operation of this name, or of the only one, for which null is refused.
    pub fn never_null(&self, name: Option<&str>) -> &[Name] {
        if self.never_null.is_empty() {
            return &[];
        }
        match name {
            Some(name) => self.never_null.get(&Some(Name::new(name))),
            // Without a name there is only one operation, or the request has been refused.
            None => self.never_null.values().next(),
        }
        .map_or(&[], Vec::as_slice)
    }

    /// The error response to a request whose operation name is missing or unknown.
    pub fn unknown_operation(&self, name: Option<&str>) -> Response {
        let mut names: Vec<_> = self.parsed.operations.iter().filter_map(|(name, _)| name).collect();
        names.sort_unstable();
        let names: Vec<_> = names.into_iter().map(|name| format!("{:?}", name.as_str())).collect();
        let message = match (name.map(truncate), names.join(", ")) {
            (Some(name), names) if names.is_empty() => {
                format!("Unknown operation named {name:?}: the only one has no name, leave `operationName` out")
            }
            (Some(name), names) => format!("Unknown operation named {name:?}: there are {names}"),
            (None, names) => format!("Operation name required: send `operationName`, one of {names}"),
        };
        Response::from_errors(vec![request_error("BAD_USER_INPUT", message)])
    }

    /// The name of the operation, if it is the only one and has a name.
    pub fn only_operation_name(&self) -> Option<&Name> {
        match &self.parsed.operations {
            DocumentOperations::Multiple(operations) if operations.len() == 1 => operations.keys().next(),
            DocumentOperations::Multiple(_) | DocumentOperations::Single(_) => None,
        }
    }

    /// The types of the operations that a request with this name may mean: of the named one, or of all without a name.
    pub fn operation_types(&self, name: Option<&str>) -> Vec<OperationType> {
        match (self.operation(name), &self.parsed.operations, name) {
            (Some(operation), _, _) => vec![operation.ty],
            (None, DocumentOperations::Multiple(_), Some(_)) => Vec::new(),
            (None, operations, _) => operations.iter().map(|(_, operation)| operation.node.ty).collect(),
        }
    }

    /// A document of this operation alone and the fragments that it uses, for the engine.
    pub fn extract_operation(&self, operation: &OperationDefinition) -> ExecutableDocument {
        let mut operation = operation.clone();
        if operation.ty == OperationType::Subscription {
            // The engine ignores fragments at the root of a subscription.
            operation.selection_set.node.items = self.root_field(&operation.selection_set.node).into_iter().collect();
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

    /// Adds the names of all fragments that a selection set uses, directly or through others.
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

    /// Refuses a subscription that has not exactly one root field, which the specification demands. The engine would
    /// run several, and ignore one in a fragment, without an error.
    fn check_subscriptions(&self) -> Result<(), Response> {
        let operations = self.parsed.operations.iter().map(|(_, operation)| operation);
        let mut subscriptions = operations.filter(|operation| operation.node.ty == OperationType::Subscription);
        let Some(invalid) = subscriptions.find(|it| self.root_field(&it.node.selection_set.node).is_none()) else {
            return Ok(());
        };
        let message =
            "A subscription has exactly one field at its root, which is not of introspection, and no condition there";
        let error = request_error("GRAPHQL_VALIDATION_FAILED", message);
        Err(Response::from_errors(vec![ServerError { locations: vec![invalid.pos], ..error }]))
    }

    /// The root field of a subscription, merged from all selections of it; none if there is not exactly one response
    /// key, or the field is of introspection or has a condition.
    fn root_field(&self, root: &SelectionSet) -> Option<Positioned<Selection>> {
        let mut fields = Vec::new();
        self.collect_root_fields(root, &mut fields)?;
        let [first, others @ ..] = &fields[..] else { return None };
        if first.node.name.node.starts_with("__") {
            return None;
        }
        let mut merged = (*first).clone();
        for other in others {
            if other.node.response_key().node != first.node.response_key().node {
                return None;
            }
            merged.node.selection_set.node.items.extend(other.node.selection_set.node.items.iter().cloned());
        }
        let pos = merged.pos;
        Some(Positioned::new(Selection::Field(merged), pos))
    }

    /// Adds the fields of a root selection set, those in fragments included. None if one has a condition.
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
