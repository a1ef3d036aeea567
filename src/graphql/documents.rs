//! Documents, and what of them is kept.
//!
//! A document that was parsed, guarded and found valid once is none of these again while it is kept:
//! of an ordinary question the most part is parsing and validation (measured: two thirds). Kept is
//! only what is valid, so that nonsense does not crowd out what is asked every day. What depends on a
//! request's variables is looked at with each request (see [`validation`](super::validation)).
//!
//! This is also the one place that knows which operation of a document is asked for.

use std::collections::HashSet;
use std::fmt;
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Positioned, Request, Response, Value};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::error::request_error;
use super::guard::{self, Limits};
use super::types::Types;
use super::validation::{StopBeforeExecution, Validator, variables_fit};

/// How many documents may be kept. A program has tens, a playground makes one with each keystroke.
const MAX_DOCUMENTS: u64 = 2_000;

/// How many bytes of documents may be kept, with what they are parsed into.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Reads documents, and keeps them. Cheap to clone.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    limits: Limits,
    types: &'static Types,
    validator: Validator,
    kept: Cache<Arc<str>, Arc<Document>, ByBytes>,
    parsed: AtomicU64,
}

/// How much work documents have made so far, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentsRead {
    /// How often one was parsed.
    pub parsed: u64,
    /// How often one was validated, or the variables that it was asked with.
    pub validated: u64,
    /// How many are kept.
    pub kept: usize,
}

/// A document that was parsed, and is within the limits.
pub(super) struct Document {
    pub(super) text: Arc<str>,
    parsed: ExecutableDocument,
    is_valid: AtomicBool,
}

/// A request whose document has been read.
pub(super) struct Asked {
    pub(super) document: Arc<Document>,
    /// The rest of it; its text is empty.
    pub(super) request: Request,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Arc<str>, Arc<Document>> for ByBytes {
    fn weight(&self, text: &Arc<str>, _: &Arc<Document>) -> u64 {
        /// A word of a few letters and what divides it from the next becomes a node of the parsed document.
        const PARSED_BYTES_FOR_EACH: usize = size_of::<Positioned<Field>>() / 4;
        // A document weighs at least its share, so that the limit of bytes is also one of number.
        ((text.len() * (1 + PARSED_BYTES_FOR_EACH)) as u64).max(MAX_BYTES / MAX_DOCUMENTS)
    }
}

impl Documents {
    /// Nothing is kept yet.
    pub fn new(limits: Limits) -> Self {
        let types = Types::of_schema();
        let validating = limits.tell(super::schema()).extension(StopBeforeExecution).finish();
        let kept = Cache::with(
            usize::try_from(MAX_DOCUMENTS).unwrap_or(usize::MAX),
            MAX_BYTES,
            ByBytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        let validator = Validator::new(validating, types);
        Self(Arc::new(Inner { limits, types, validator, kept, parsed: AtomicU64::new(0) }))
    }

    /// How much work documents have made so far.
    pub fn read_so_far(&self) -> DocumentsRead {
        let Inner { parsed, validator, kept, .. } = &*self.0;
        DocumentsRead { parsed: parsed.load(Ordering::Relaxed), validated: validator.asked(), kept: kept.len() }
    }

    /// How large a request may be.
    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Reads the document of a request, or says why it cannot be read.
    pub(super) fn read(&self, mut request: Request) -> Result<Asked, Response> {
        let text = std::mem::take(&mut request.query);
        let document = match self.0.kept.get(&*text) {
            Some(document) => document,
            None => {
                self.0.parsed.fetch_add(1, Ordering::Relaxed);
                Arc::new(Document::read(text.into(), &self.0.limits)?)
            }
        };
        Ok(Asked { document, request })
    }

    /// Refuses what is not valid, or not with these variables; gives variables that were left out their defaults.
    pub(super) async fn validate(&self, asked: &mut Asked) -> Result<(), Response> {
        let Asked { document, request } = asked;
        let operation = document.operation(request.operation_name.as_deref());
        if let Some(operation) = operation {
            fill_in_defaults(operation, request);
            // The engine would notice only when it comes to an argument that the variable is for, and fail that field.
            if let Some(name) = missing_variable(operation, request) {
                let problem = format!("Variable \"${name}\" has to be given: it has no default, and cannot be null");
                return Err(Response::from_errors(vec![request_error("BAD_USER_INPUT", problem)]));
            }
        }
        let is_known = document.is_valid.load(Ordering::Relaxed);
        if is_known && operation.is_some_and(|it| variables_fit(it, &request.variables, self.0.types)) {
            return Ok(());
        }
        let Request { operation_name, variables, .. } = &*request;
        self.0.validator.validate(&document.parsed, operation_name.as_deref(), variables).await?;
        if !document.is_valid.swap(true, Ordering::Relaxed) {
            self.0.kept.insert(document.text.clone(), document.clone());
        }
        Ok(())
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { limits, kept, .. } = &*self.0;
        f.debug_struct("Documents").field("limits", limits).field("kept", &kept.len()).finish_non_exhaustive()
    }
}

impl Document {
    fn read(text: Arc<str>, limits: &Limits) -> Result<Self, Response> {
        let parsed = guard::read(&text, limits)?;
        let document = Self { text, parsed, is_valid: AtomicBool::new(false) };
        if document.has_one_stream_each() {
            Ok(document)
        } else {
            Err(Response::from_errors(vec![request_error(
                "GRAPHQL_VALIDATION_FAILED",
                "A subscription has exactly one field at its root, which is not of introspection and not in a fragment with a \
                 condition",
            )]))
        }
    }

    /// The operation of this name, or the only one; none if the document does not tell.
    pub(super) fn operation(&self, name: Option<&str>) -> Option<&OperationDefinition> {
        let operation = match (&self.parsed.operations, name) {
            (DocumentOperations::Single(operation), None) => Some(operation),
            (DocumentOperations::Single(_), Some(_)) => None,
            (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name),
            (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
            (DocumentOperations::Multiple(_), None) => None,
        };
        operation.map(|operation| &operation.node)
    }

    /// What the operations are that may be meant: the one of this name, or all.
    fn kinds(&self, name: Option<&str>) -> Vec<OperationType> {
        match (self.operation(name), &self.parsed.operations, name) {
            (Some(operation), _, _) => vec![operation.ty],
            (None, DocumentOperations::Multiple(_), Some(_)) => Vec::new(),
            (None, operations, _) => operations.iter().map(|(_, operation)| operation.node.ty).collect(),
        }
    }

    /// One operation of this document with what it needs of it, as the engine runs it.
    fn cut_out(&self, operation: &OperationDefinition) -> ExecutableDocument {
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

    /// Whether each subscription of the document is of one field, as the language wants it. The engine would run several,
    /// and none of a fragment, without a word.
    fn has_one_stream_each(&self) -> bool {
        let operations = self.parsed.operations.iter().map(|(_, operation)| &operation.node);
        let mut subscriptions = operations.filter(|operation| operation.ty == OperationType::Subscription);
        subscriptions.all(|subscription| self.stream(&subscription.selection_set.node).is_some())
    }

    /// The one field at the root of a subscription, if there is but one, written out and put together from wherever it
    /// is asked for.
    fn stream(&self, root: &SelectionSet) -> Option<Positioned<Selection>> {
        let mut fields = Vec::new();
        let is_certain = self.collect_root_fields(root, &mut fields);
        let [first, others @ ..] = &fields[..] else { return None };
        if !is_certain || first.node.name.node.starts_with("__") {
            return None;
        }
        let mut whole = (*first).clone();
        for other in others {
            let is_the_same = other.node.response_key().node == first.node.response_key().node;
            if !is_the_same || is_conditional(&first.node.directives) || is_conditional(&other.node.directives) {
                return None;
            }
            whole.node.selection_set.node.items.extend(other.node.selection_set.node.items.iter().cloned());
        }
        let pos = whole.pos;
        Some(Positioned::new(Selection::Field(whole), pos))
    }

    /// False if there is a fragment that may not be there.
    fn collect_root_fields<'a>(&'a self, set: &'a SelectionSet, fields: &mut Vec<&'a Positioned<Field>>) -> bool {
        set.items.iter().all(|selection| match &selection.node {
            Selection::Field(field) => {
                fields.push(field);
                true
            }
            other if is_conditional(other.directives()) => false,
            Selection::InlineFragment(inline) => self.collect_root_fields(&inline.node.selection_set.node, fields),
            Selection::FragmentSpread(spread) => {
                let fragment = self.parsed.fragments.get(&spread.node.fragment_name.node);
                fragment.is_none_or(|it| self.collect_root_fields(&it.node.selection_set.node, fields))
            }
        })
    }
}

fn is_conditional(directives: &[Positioned<Directive>]) -> bool {
    directives.iter().any(|directive| ["skip", "include"].contains(&&*directive.node.name.node))
}

impl Asked {
    /// The operation that is asked for; none if the document does not tell, which validation then says.
    pub(super) fn operation(&self) -> Option<&OperationDefinition> {
        self.document.operation(self.request.operation_name.as_deref())
    }

    /// What the operations are that may be meant: the one that is asked for, or all.
    pub(super) fn kinds(&self) -> Vec<OperationType> {
        self.document.kinds(self.request.operation_name.as_deref())
    }

    /// The operation that is asked for, alone, if it is of this kind.
    pub(super) fn cut_out(&self, kinds: &[OperationType]) -> Option<ExecutableDocument> {
        let operation = self.operation().filter(|operation| kinds.contains(&operation.ty))?;
        Some(self.document.cut_out(operation))
    }
}

/// Gives variables that were left out the default that they are declared with. The engine does so for arguments; the
/// condition of a `@skip` or `@include` it would take for false.
fn fill_in_defaults(operation: &OperationDefinition, request: &mut Request) {
    for declared in operation.variable_definitions.iter().map(|definition| &definition.node) {
        if let Some(default) = &declared.default_value {
            request.variables.entry(declared.name.node.clone()).or_insert_with(|| default.node.clone());
        }
    }
}

fn missing_variable<'a>(operation: &'a OperationDefinition, request: &Request) -> Option<&'a Name> {
    operation.variable_definitions.iter().map(|definition| &definition.node).find_map(|declared| {
        let name = &declared.name.node;
        let is_needed = !declared.var_type.node.nullable && declared.default_value.is_none();
        let is_null = request.variables.get(name).is_none_or(|value| *value == Value::Null);
        (is_needed && is_null).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(documents: &Documents, query: &str) -> Asked {
        documents.read(Request::new(query)).unwrap_or_else(|refused| panic!("{query}: {refused:?}"))
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let documents = Documents::new(Limits::default());
        for n in 0..MAX_DOCUMENTS + 500 {
            let mut asked = ask(&documents, &format!("{{ workers {{ id }} }} # {n}"));
            assert!(documents.validate(&mut asked).await.is_ok());
        }
        let kept = documents.read_so_far().kept as u64;
        assert!((MAX_DOCUMENTS / 2..=MAX_DOCUMENTS).contains(&kept), "{kept}");
        let long = "x".repeat(60_000);
        for n in 0..40 {
            let mut asked = ask(&documents, &format!("{{ workers {{ id }} }} # {n} {long}"));
            assert!(documents.validate(&mut asked).await.is_ok());
        }
        assert!(documents.0.kept.weight() <= MAX_BYTES);
        assert!(documents.read_so_far().kept < 2_000);
    }

    #[test]
    fn the_operation_is_the_one_that_is_named_or_the_only_one() {
        let documents = Documents::new(Limits::default());
        let two = "query A { workers { id } } mutation B { drainWorker(input: {workerId: 1}) { changed } }";
        use OperationType::{Mutation, Query};
        for (query, name, expected, kinds) in [
            ("{ vms { id } }", None, Some(Query), vec![Query]),
            ("{ vms { id } }", Some("A"), None, vec![Query]),
            ("query A { vms { id } }", None, Some(Query), vec![Query]),
            ("query A { vms { id } }", Some("B"), None, vec![]),
            (two, Some("A"), Some(Query), vec![Query]),
            (two, Some("B"), Some(Mutation), vec![Mutation]),
            (two, Some("C"), None, vec![]),
        ] {
            let mut asked = ask(&documents, query);
            asked.request.operation_name = name.map(str::to_owned);
            assert_eq!((asked.operation().map(|it| it.ty), asked.kinds()), (expected, kinds), "{query} {name:?}");
        }
        let asked = ask(&documents, two);
        assert!(asked.operation().is_none() && asked.kinds().len() == 2);
    }
}
