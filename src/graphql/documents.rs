//! Documents, and what of them is kept.
//!
//! A document that was parsed, guarded and found valid once is none of these again while it is kept:
//! of an ordinary question the most part is parsing and validation (measured: two thirds). Kept is
//! only what is valid, so that nonsense does not crowd out what is asked every day. What depends on a
//! request's variables is looked at with each request (see [`validation`](super::validation)).
//!
//! This is also the one place that knows which operation of a document is asked for.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Positioned, Request, Response, Value, Variables};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::cost::{self, Sizes};
use super::error::request_error;
use super::guard::{self, Limits};
use super::options::GraphqlOptions;
use super::persisted::{self, DocumentHash, PersistedQueries};
use super::plan::{Plan, Stop};
use super::trusted::{self, ManifestError, TrustedDocuments, TrustedMode};
use super::types::Types;
use super::validation::{Doubt, StopBeforeExecution, Validator, doubt};
use crate::resolvers::input::echo;

/// How many documents may be kept. A program has tens, a playground makes one with each keystroke.
const MAX_DOCUMENTS: u64 = 2_000;

/// How many documents are expected, so low that the cache does not divide its bytes into parts that are too small for the
/// longest document. It is no limit.
const EXPECTED: usize = 256;

/// How many bytes of documents may be kept, with what they are parsed into.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Reads documents, and keeps them. Cheap to clone.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    reader: Reader,
    kept: Cache<Arc<str>, Arc<Document>, ByBytes>,
    /// None if documents are not taken by their hashes.
    persisted: Option<PersistedQueries>,
    trusted: TrustedDocuments,
}

/// Parses and validates, and keeps nothing.
pub(super) struct Reader {
    limits: Limits,
    types: &'static Types,
    validator: Validator,
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
    /// How many there are with all fragments written out, as a plan has them.
    selections: usize,
    is_valid: AtomicBool,
    /// What is known of its operations whatever they are asked with, found out when it is asked for first.
    known: OnceLock<HashMap<Option<Name>, Known>>,
}

/// What is known of an operation whatever it is asked with.
struct Known {
    /// How it is answered by plan, found out when it is run first.
    plan: OnceLock<Result<Arc<Plan>, Stop>>,
    /// None if that depends on the variables.
    cost: Option<u64>,
}

/// A request whose document has been read.
pub(super) struct Asked {
    pub(super) document: Arc<Document>,
    /// The rest of it; its text is empty.
    pub(super) request: Request,
    /// By what the document wants to be known from now on, if it is valid.
    hash: Option<DocumentHash>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Arc<str>, Arc<Document>> for ByBytes {
    fn weight(&self, _: &Arc<str>, document: &Arc<Document>) -> u64 {
        document.weight()
    }
}

impl Document {
    /// How many bytes it holds, roughly, with what it is parsed into and its plans.
    pub(super) fn weight(&self) -> u64 {
        /// A word of a few letters and what divides it from the next becomes a node of the parsed document.
        const PARSED_BYTES_FOR_EACH: usize = size_of::<Positioned<Field>>() / 4;
        /// What writes a field by plan: its key, and a function with what it needs.
        const PLANNED_BYTES: usize = 128;
        // A document weighs at least its share, so that the limit of bytes is also one of number.
        let bytes = self.text.len() * (1 + PARSED_BYTES_FOR_EACH) + self.selections * PLANNED_BYTES;
        (bytes as u64).max(MAX_BYTES / MAX_DOCUMENTS)
    }
}

impl Reader {
    fn new(limits: Limits) -> Self {
        let types = Types::of_schema();
        let validating = limits.tell(super::schema()).extension(StopBeforeExecution).finish();
        Self { limits, types, validator: Validator::new(validating, types), parsed: AtomicU64::new(0) }
    }

    /// Parses a document within the limits.
    pub(super) fn parse(&self, text: &str) -> Result<Arc<Document>, Response> {
        self.parsed.fetch_add(1, Ordering::Relaxed);
        Document::parse(text, &self.limits).map(Arc::new)
    }

    /// Refuses a document that is not valid, whatever it is asked with.
    pub(super) async fn validate(
        &self,
        document: &Document,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<(), Response> {
        self.validator.validate(&document.parsed, operation_name, variables).await?;
        document.is_valid.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Documents {
    /// Nothing is kept yet, except the documents that an operator trusts.
    pub async fn open(options: &GraphqlOptions) -> Result<Self, ManifestError> {
        let reader = Reader::new(options.limits);
        let trusted = match (options.trusted_documents_mode, &options.trusted_documents) {
            (TrustedMode::Allow | TrustedMode::Only, Some(file)) => {
                TrustedDocuments::read(file, options.trusted_documents_mode, &reader).await?
            }
            (TrustedMode::Only, None) => TrustedDocuments::empty(TrustedMode::Only),
            (TrustedMode::Off, _) | (TrustedMode::Allow, None) => TrustedDocuments::empty(TrustedMode::Off),
        };
        let kept =
            Cache::with(EXPECTED, MAX_BYTES, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let persisted = options.persisted_queries.then(PersistedQueries::new);
        Ok(Self(Arc::new(Inner { reader, kept, persisted, trusted })))
    }

    /// How much work documents have made so far.
    pub fn read_so_far(&self) -> DocumentsRead {
        let Inner { reader, kept, .. } = &*self.0;
        DocumentsRead {
            parsed: reader.parsed.load(Ordering::Relaxed),
            validated: reader.validator.asked(),
            kept: kept.len(),
        }
    }

    /// How large a request may be.
    pub(super) fn limits(&self) -> &Limits {
        &self.0.reader.limits
    }

    /// What there is in the schema.
    pub(super) fn types(&self) -> &'static Types {
        self.0.reader.types
    }

    /// Documents that an operator trusts.
    pub(super) fn trusted(&self) -> &TrustedDocuments {
        &self.0.trusted
    }

    /// Reads the document of a request, which may name it instead of sending it, or says why it cannot be read.
    pub(super) fn read(&self, mut request: Request) -> Result<Asked, Response> {
        let Inner { trusted, persisted, .. } = &*self.0;
        let text = std::mem::take(&mut request.query);
        let id = document_id(request.extensions.remove(DOCUMENT_ID))?;
        let hash = persisted::asked_for(request.extensions.get(persisted::EXTENSION))?.map(str::to_owned);
        let document = match (&id, &hash) {
            (Some(id), _) => Some(trusted.document(id)?),
            (None, Some(hash)) => trusted.find(hash),
            (None, None) => None,
        };
        if let Some(document) = document {
            return if text.is_empty() || *text == *document.text {
                Ok(Asked::new(document.clone(), request))
            } else {
                Err(persisted::mismatch())
            };
        }
        match (trusted.mode, &hash) {
            (TrustedMode::Only, Some(hash)) if text.is_empty() => return Err(trusted.unknown(hash)),
            (TrustedMode::Only, _) => return Err(trusted::id_required()),
            (TrustedMode::Off | TrustedMode::Allow, _) => {}
        }
        let Some(hash) = hash else { return Ok(Asked::new(self.document(&text)?, request)) };
        let Some(persisted) = persisted else {
            return match text.is_empty() {
                true => Err(persisted::not_supported()),
                false => Ok(Asked::new(self.document(&text)?, request)),
            };
        };
        let hash = persisted::hash(&hash)?;
        if text.is_empty() {
            Ok(Asked::new(self.document(&persisted.find(hash)?)?, request))
        } else if hash == DocumentHash::of(&text) {
            Ok(Asked { document: self.document(&text)?, request, hash: Some(hash) })
        } else {
            Err(persisted::mismatch())
        }
    }

    fn document(&self, text: &str) -> Result<Arc<Document>, Response> {
        self.0.kept.get(text).map_or_else(|| self.0.reader.parse(text), Ok)
    }

    /// Refuses what is not valid, or not with these variables, or costs too much; gives variables that were left out
    /// their defaults. Answers with the cost.
    pub(super) async fn validate(&self, asked: &mut Asked) -> Result<u64, Response> {
        let Inner { reader, kept, persisted, .. } = &*self.0;
        let Asked { document, request, hash } = asked;
        guard::check_variables(&request.variables, &reader.limits)?;
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
        let doubt = operation.and_then(|it| doubt(it, &request.variables, reader.types));
        if !is_known || operation.is_none() || doubt.is_some() {
            let Request { operation_name, variables, .. } = &*request;
            let name = operation_name.as_deref();
            // In boxes: what is known to be valid does not carry the room for it.
            if let Err(refused) = Box::pin(reader.validate(document, name, variables)).await {
                // If the document is valid without them, it is the variables that are not.
                let is_valid = is_known
                    || doubt.is_some()
                        && Box::pin(reader.validate(document, name, &Variables::default())).await.is_ok();
                return Err(document.explain(refused, name, doubt.filter(|_| is_valid)));
            }
        }
        if !is_known {
            kept.insert(document.text.clone(), document.clone());
        }
        if let (Some(hash), Some(persisted)) = (hash.take(), persisted) {
            persisted.keep(hash, document.text.clone());
        }
        let known = document.known(request.operation_name.as_deref(), reader.types).and_then(|known| known.cost);
        let cost = known.or_else(|| Some(cost::of(operation?, &document.parsed, &request.variables, reader.types)));
        let cost = cost.unwrap_or_default();
        cost::within(cost, reader.limits.cost).map(|()| cost)
    }
}

/// The key in a request's extensions under which transports pass the id of a trusted document.
pub(super) const DOCUMENT_ID: &str = "documentId";

fn document_id(asked: Option<Value>) -> Result<Option<String>, Response> {
    match asked {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(_) => Err(Response::from_errors(vec![request_error("BAD_USER_INPUT", "`documentId` must be a text")])),
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { reader, kept, .. } = &*self.0;
        f.debug_struct("Documents").field("limits", &reader.limits).field("kept", &kept.len()).finish_non_exhaustive()
    }
}

impl Document {
    fn parse(text: &str, limits: &Limits) -> Result<Self, Response> {
        let (parsed, selections) = guard::read(text, limits)?;
        let document =
            Self { text: text.into(), parsed, selections, is_valid: AtomicBool::new(false), known: OnceLock::new() };
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

    /// What is known of the operation of this name, or of the only one. The document is valid.
    fn known(&self, name: Option<&str>, types: &Types) -> Option<&Known> {
        let of = |operation: &OperationDefinition| Known {
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

    /// Adds to what the engine says what it does not: which variable it is about, and which operations there are.
    fn explain(&self, mut refused: Response, name: Option<&str>, doubt: Option<Doubt>) -> Response {
        for error in &mut refused.errors {
            if error.message.starts_with("Invalid value for argument ") {
                if let Some(doubt) = &doubt {
                    error.message = format!("{}: {}", error.message, doubt.in_words());
                }
            } else if error.message.starts_with("Unknown operation named ")
                || error.message.starts_with("Operation name required")
            {
                let mut names: Vec<_> = self.parsed.operations.iter().filter_map(|(name, _)| name).collect();
                names.sort_unstable();
                let names: Vec<_> = names.into_iter().map(|name| format!("{:?}", name.as_str())).collect();
                error.message = match (name, names.join(", ")) {
                    (Some(name), names) if names.is_empty() => {
                        let name = echo(name);
                        format!("Unknown operation named {name:?}: the only one has no name, leave `operationName` out")
                    }
                    (Some(name), names) => format!("Unknown operation named {:?}: there are {names}", echo(name)),
                    (None, names) => format!("Operation name required: send `operationName`, one of {names}"),
                };
            }
        }
        refused
    }

    /// The name of its operation, if there is one with a name and no other.
    pub(super) fn name_of_the_only_operation(&self) -> Option<&Name> {
        match &self.parsed.operations {
            DocumentOperations::Multiple(operations) if operations.len() == 1 => operations.keys().next(),
            DocumentOperations::Multiple(_) | DocumentOperations::Single(_) => None,
        }
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
    /// A document, and what it is asked with.
    pub(super) fn new(document: Arc<Document>, request: Request) -> Self {
        Self { document, request, hash: None }
    }

    /// The operation that is asked for; none if the document does not tell, which validation then says.
    pub(super) fn operation(&self) -> Option<&OperationDefinition> {
        self.document.operation(self.request.operation_name.as_deref())
    }

    /// What the operations are that may be meant: the one that is asked for, or all.
    pub(super) fn kinds(&self) -> Vec<OperationType> {
        self.document.kinds(self.request.operation_name.as_deref())
    }

    /// How to answer it without the engine, if it is a query of which that is known; and whether for good, or only with
    /// these variables.
    pub(super) fn plan(&self, types: &Types) -> Option<(Arc<Plan>, bool)> {
        let operation = self.operation().filter(|operation| operation.ty == OperationType::Query)?;
        let known = self.document.known(self.request.operation_name.as_deref(), types)?;
        let plan = || Plan::compile(operation, &self.document.parsed, None, types).map(Arc::new);
        match known.plan.get_or_init(plan) {
            Ok(plan) => Some((plan.clone(), true)),
            Err(Stop::Ordinary) => None,
            Err(Stop::NeedsVariables) => {
                let variables = Some(&self.request.variables);
                Plan::compile(operation, &self.document.parsed, variables, types).ok().map(|plan| (plan.into(), false))
            }
        }
    }

    /// What the operation costs in a cluster of this size.
    pub(super) fn cost_on(&self, sizes: Sizes, types: &Types) -> u64 {
        let Self { document, request, .. } = self;
        self.operation().map_or(0, |operation| cost::on(sizes, operation, &document.parsed, &request.variables, types))
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
        let documents = Documents::open(&GraphqlOptions::default()).await.unwrap();
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

    #[tokio::test]
    async fn the_operation_is_the_one_that_is_named_or_the_only_one() {
        let documents = Documents::open(&GraphqlOptions::default()).await.unwrap();
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
