//! Documents, and what of them is kept.
//!
//! A document that was parsed, guarded and found valid once is none of these again while it is kept:
//! of an ordinary question the most part is parsing and validation (measured: two thirds). Kept is
//! only what is valid, so that nonsense does not crowd out what is asked every day. What depends on a
//! request's variables is looked at with each request (see [`super::variables`]).
//!
//! This is also the one place that knows which operation of a document is asked for.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Request, Response, ServerError, Value};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::cost::{self, Sizes};
use crate::graphql::error::request_error;
use super::limits::{self, Limits};
use crate::graphql::options::GraphqlOptions;
use super::apq::{self, DocumentHash, PersistedQueries};
use crate::graphql::plan::{Plan, Stop};
use super::persisted_manifest::{self, ManifestError, TrustedDocuments, TrustedMode};
use super::typed::Typed;
use crate::graphql::schema::index::Types;
use super::{validation, variables};
use crate::resolvers::input::echo;

/// How many documents may be kept. A program has tens, a playground makes one with each keystroke.
const MAX_DOCUMENTS: u64 = 2_000;

/// How many documents are expected, so low that the cache does not divide its bytes into parts that are too small for
/// the longest document. It is no limit.
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
pub struct Reader {
    limits: Limits,
    types: &'static Types,
    parsed: AtomicU64,
    validated: AtomicU64,
}

/// How much work documents have made so far, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentsRead {
    /// How often one was to be parsed.
    pub parsed: u64,
    /// How often one was found valid.
    pub validated: u64,
    /// How many are kept.
    pub kept: usize,
}

/// A document that is valid and within the limits.
pub struct Document {
    pub text: Arc<str>,
    parsed: ExecutableDocument,
    /// Variables for which null is not taken although their types are, by their operations.
    never_null: HashMap<Option<Name>, Vec<Name>>,
    /// How many there are with all fragments written out, as a plan has them.
    selections: usize,
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
pub struct Asked {
    pub document: Arc<Document>,
    /// The rest of it; its text is empty.
    pub request: Request,
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

impl Reader {
    fn new(limits: Limits) -> Self {
        Self { limits, types: Types::of_schema(), parsed: AtomicU64::new(0), validated: AtomicU64::new(0) }
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

impl Documents {
    /// Nothing is kept yet, except the documents that an operator trusts.
    pub async fn open(options: &GraphqlOptions) -> Result<Self, ManifestError> {
        let reader = Reader::new(options.limits);
        let trusted = match (options.trusted_documents_mode, &options.trusted_documents) {
            (TrustedMode::Allow | TrustedMode::Only, Some(file)) => {
                TrustedDocuments::read(file, options.trusted_documents_mode, &reader)?
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
            validated: reader.validated.load(Ordering::Relaxed),
            kept: kept.len(),
        }
    }

    /// How large a request may be.
    pub fn limits(&self) -> &Limits {
        &self.0.reader.limits
    }

    /// What there is in the schema.
    pub fn types(&self) -> &'static Types {
        self.0.reader.types
    }

    /// Documents that an operator trusts.
    pub fn trusted(&self) -> &TrustedDocuments {
        &self.0.trusted
    }

    /// Reads the document of a request, which may name it instead of sending it, or says why it cannot be read.
    pub fn read(&self, mut request: Request) -> Result<Asked, Response> {
        let Inner { trusted, persisted, .. } = &*self.0;
        let text = std::mem::take(&mut request.query);
        // A query string cannot tell an empty name from none, so that no request may mean something by it.
        request.operation_name = request.operation_name.filter(|name| !name.is_empty());
        let id = document_id(request.extensions.remove(DOCUMENT_ID))?;
        let hash = apq::asked_for(request.extensions.get(apq::EXTENSION))?.map(str::to_owned);
        let document = match (&id, &hash) {
            (Some(id), _) => Some(trusted.document(id)?),
            (None, Some(hash)) => trusted.find(hash),
            (None, None) => None,
        };
        if let Some(document) = document {
            return if text.is_empty() || *text == *document.text {
                Ok(Asked::new(document.clone(), request))
            } else {
                Err(apq::mismatch())
            };
        }
        match (trusted.mode, &hash) {
            (TrustedMode::Only, Some(hash)) if text.is_empty() => return Err(trusted.unknown(hash)),
            (TrustedMode::Only, _) => return Err(persisted_manifest::id_required()),
            (TrustedMode::Off | TrustedMode::Allow, _) => {}
        }
        let Some(hash) = hash else { return Ok(Asked::new(self.document(&text)?, request)) };
        let Some(persisted) = persisted else {
            return match text.is_empty() {
                true => Err(apq::not_supported()),
                false => Ok(Asked::new(self.document(&text)?, request)),
            };
        };
        let hash = apq::hash(&hash)?;
        if text.is_empty() {
            Ok(Asked::new(self.document(&persisted.find(hash)?)?, request))
        } else if hash == DocumentHash::of(&text) {
            let document = self.document(&text)?;
            persisted.keep(hash, document.text.clone());
            Ok(Asked::new(document, request))
        } else {
            Err(apq::mismatch())
        }
    }

    fn document(&self, text: &str) -> Result<Arc<Document>, Response> {
        let Inner { reader, kept, .. } = &*self.0;
        if let Some(document) = kept.get(text) {
            return Ok(document);
        }
        let document = reader.read(text)?;
        kept.insert(document.text.clone(), document.clone());
        Ok(document)
    }

    /// Refuses a request that does not say which operation it means, whose variables are not what that declares, or
    /// that costs too much; coerces its variables. Answers with the cost.
    pub fn check(&self, asked: &mut Asked) -> Result<u64, Response> {
        let Inner { reader, .. } = &*self.0;
        let Asked { document, request } = asked;
        limits::check_variables(&request.variables, &reader.limits)?;
        let name = request.operation_name.as_deref();
        let operation = document.operation(name).ok_or_else(|| document.not_told(name))?;
        variables::coerce(operation, document.never_null(name), &mut request.variables, reader.types)?;
        let known = document.known(name, reader.types).and_then(|known| known.cost);
        let cost = known.unwrap_or_else(|| cost::of(operation, &document.parsed, &request.variables, reader.types));
        cost::within(cost, reader.limits.cost).map(|()| cost)
    }
}

/// The key in a request's extensions under which transports pass the id of a trusted document.
pub const DOCUMENT_ID: &str = "documentId";

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

    /// The variables of the operation of this name, or of the only one, for which null is not taken.
    fn never_null(&self, name: Option<&str>) -> &[Name] {
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
    fn not_told(&self, name: Option<&str>) -> Response {
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

impl Asked {
    /// A document, and what it is asked with.
    pub fn new(document: Arc<Document>, request: Request) -> Self {
        Self { document, request }
    }

    /// The operation that is asked for; none if the request does not tell, which is refused when it is checked.
    pub fn operation(&self) -> Option<&OperationDefinition> {
        self.document.operation(self.request.operation_name.as_deref())
    }

    /// What the operations are that may be meant: the one that is asked for, or all.
    pub fn kinds(&self) -> Vec<OperationType> {
        self.document.kinds(self.request.operation_name.as_deref())
    }

    /// How to answer it without the engine, if it is a query of which that is known; and whether for good, or only with
    /// these variables.
    pub fn plan(&self, types: &Types) -> Option<(Arc<Plan>, bool)> {
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
    pub fn cost_on(&self, sizes: Sizes, types: &Types) -> u64 {
        let Self { document, request, .. } = self;
        self.operation().map_or(0, |operation| cost::on(sizes, operation, &document.parsed, &request.variables, types))
    }

    /// The operation that is asked for, alone, if it is of this kind.
    pub fn cut_out(&self, kinds: &[OperationType]) -> Option<ExecutableDocument> {
        let operation = self.operation().filter(|operation| kinds.contains(&operation.ty))?;
        Some(self.document.cut_out(operation))
    }
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
            ask(&documents, &format!("{{ workers {{ id }} }} # {n}"));
        }
        let kept = documents.read_so_far().kept as u64;
        assert!((MAX_DOCUMENTS / 2..=MAX_DOCUMENTS).contains(&kept), "{kept}");
        let long = "x".repeat(60_000);
        for n in 0..40 {
            ask(&documents, &format!("{{ workers {{ id }} }} # {n} {long}"));
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
