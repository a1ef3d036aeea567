//! The document cache: parsed and validated documents by their text.
//!
//! Parsing, validation and limits are two thirds of the time of an ordinary query (measured), and a cached document
//! skips them. Only valid documents are cached, so that invalid ones do not evict those in use. What depends on the
//! variables of a request is checked with each request (see [`variables`]).
//!
//! A request may also name its document by an id or a hash, which is looked up here in [`persisted_manifest`] and
//! [`apq`]. Prepared operations of equal requests are in [`request_cache`](super::request_cache).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_graphql::{Request, Response, Value};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::apq::{self, DocumentHash, PersistedQueryCache};
use super::cost;
use super::document::{Document, DocumentParser, MAX_BYTES};
use super::limits::{self, Limits};
use super::persisted_manifest::{self, ManifestError, TrustedDocuments, TrustedMode};
use super::rejections::Rejections;
use super::request::ParsedRequest;
use super::variables;
use crate::graphql::error::request_error;
use crate::graphql::options::GraphqlOptions;
use crate::graphql::schema::index::SchemaIndex;
use crate::metrics::{Family, Source};

/// How many documents the cache allocates room for. It is no limit, and so low because the cache divides its capacity
/// into shards by it, each of which must have room for the longest document.
const ESTIMATED_ITEMS: usize = 256;

/// Parses and validates the documents of requests, and caches them. Cheap to clone.
#[derive(Clone)]
pub struct DocumentCache(Arc<Inner>);

struct Inner {
    parser: DocumentParser,
    cached: Cache<Arc<str>, Arc<Document>, ByteWeighter>,
    /// None if automatic persisted queries are not supported.
    persisted_queries: Option<PersistedQueryCache>,
    trusted_documents: TrustedDocuments,
    rejections: Rejections,
}

/// Counters of the document cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentCacheStats {
    /// How many documents have been parsed.
    pub parsed: u64,
    /// How many of them were valid.
    pub validated: u64,
    /// How many are cached.
    pub kept: usize,
}

#[derive(Clone)]
struct ByteWeighter;

impl Weighter<Arc<str>, Arc<Document>> for ByteWeighter {
    fn weight(&self, _: &Arc<str>, document: &Arc<Document>) -> u64 {
        document.weight()
    }
}

impl DocumentCache {
    /// An empty cache, with the trusted documents of the manifest loaded.
    pub async fn open(options: &GraphqlOptions) -> Result<Self, ManifestError> {
        let parser = DocumentParser::new(options.limits);
        let trusted_documents = match (options.trusted_documents_mode, &options.trusted_documents) {
            (TrustedMode::Allow | TrustedMode::Only, Some(file)) => {
                TrustedDocuments::load(file, options.trusted_documents_mode, &parser)?
            }
            (TrustedMode::Only, None) => TrustedDocuments::empty(TrustedMode::Only),
            (TrustedMode::Off, _) | (TrustedMode::Allow, None) => TrustedDocuments::empty(TrustedMode::Off),
        };
        let cached = Cache::with(
            ESTIMATED_ITEMS,
            MAX_BYTES,
            ByteWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        let persisted_queries = options.persisted_queries.then(PersistedQueryCache::new);
        let rejections = Rejections::default();
        Ok(Self(Arc::new(Inner { parser, cached, persisted_queries, trusted_documents, rejections })))
    }

    /// The counters so far.
    pub fn stats(&self) -> DocumentCacheStats {
        let Inner { parser, cached, .. } = &*self.0;
        DocumentCacheStats {
            parsed: parser.parsed.load(Ordering::Relaxed),
            validated: parser.validated.load(Ordering::Relaxed),
            kept: cached.len(),
        }
    }

    /// The limits on requests.
    pub fn limits(&self) -> &Limits {
        &self.0.parser.limits
    }

    /// The index of the schema's types.
    pub fn schema_index(&self) -> &'static SchemaIndex {
        self.0.parser.types
    }

    /// The documents of the persisted query manifest.
    pub fn trusted_documents(&self) -> &TrustedDocuments {
        &self.0.trusted_documents
    }

    /// Finds or parses the document of a request, which sends its text or names it by id or hash. A request whose
    /// document is unknown, invalid or not allowed is refused with an error response.
    pub fn parse_request(&self, request: Request) -> Result<ParsedRequest, Response> {
        self.find_or_parse(request).inspect_err(|error_response| self.0.rejections.count(error_response))
    }

    fn find_or_parse(&self, mut request: Request) -> Result<ParsedRequest, Response> {
        let Inner { trusted_documents, persisted_queries, .. } = &*self.0;
        let text = std::mem::take(&mut request.query);
        // A query string cannot distinguish an empty name from none, so that an empty name counts as none in every
        // transport.
        request.operation_name = request.operation_name.filter(|name| !name.is_empty());
        let id = document_id(request.extensions.remove(DOCUMENT_ID))?;
        let hash = apq::requested_hash(request.extensions.get(apq::EXTENSION))?.map(str::to_owned);
        let document = match (&id, &hash) {
            (Some(id), _) => Some(trusted_documents.document(id)?),
            (None, Some(hash)) => trusted_documents.find(hash),
            (None, None) => None,
        };
        if let Some(document) = document {
            return if text.is_empty() || *text == *document.text {
                Ok(ParsedRequest::new(document.clone(), request))
            } else {
                Err(apq::mismatch())
            };
        }
        match (trusted_documents.mode, &hash) {
            (TrustedMode::Only, Some(hash)) if text.is_empty() => return Err(trusted_documents.not_found(hash)),
            (TrustedMode::Only, _) => return Err(persisted_manifest::id_required()),
            (TrustedMode::Off | TrustedMode::Allow, _) => {}
        }
        let Some(hash) = hash else { return Ok(ParsedRequest::new(self.document(&text)?, request)) };
        let Some(persisted_queries) = persisted_queries else {
            return match text.is_empty() {
                true => Err(apq::not_supported()),
                false => Ok(ParsedRequest::new(self.document(&text)?, request)),
            };
        };
        let hash = apq::parse_hash(&hash)?;
        if text.is_empty() {
            Ok(ParsedRequest::new(self.document(&persisted_queries.get(hash)?)?, request))
        } else if hash == DocumentHash::of(&text) {
            let document = self.document(&text)?;
            persisted_queries.insert(hash, document.text.clone());
            Ok(ParsedRequest::new(document, request))
        } else {
            Err(apq::mismatch())
        }
    }

    /// The document with this text: cached, or parsed and added to the cache.
    fn document(&self, text: &str) -> Result<Arc<Document>, Response> {
        let Inner { parser, cached, .. } = &*self.0;
        if let Some(document) = cached.get(text) {
            return Ok(document);
        }
        let document = parser.parse(text)?;
        cached.insert(document.text.clone(), document.clone());
        Ok(document)
    }

    /// Coerces the variables of a request and returns the cost of its operation. A request is refused if it does not
    /// name one of several operations, if its variables cannot be coerced, or if its cost exceeds the limit.
    pub fn check(&self, parsed: &mut ParsedRequest) -> Result<u64, Response> {
        self.check_operation(parsed).inspect_err(|error_response| self.0.rejections.count(error_response))
    }

    fn check_operation(&self, parsed: &mut ParsedRequest) -> Result<u64, Response> {
        let Inner { parser, .. } = &*self.0;
        let ParsedRequest { document, request } = parsed;
        limits::check_variables(&request.variables, &parser.limits)?;
        let name = request.operation_name.as_deref();
        let operation = document.operation(name).ok_or_else(|| document.unknown_operation(name))?;
        variables::coerce_variables(operation, document.never_null(name), &mut request.variables, parser.types)?;
        let fixed_cost = document.operation_info(name, parser.types).and_then(|info| info.cost);
        let cost =
            fixed_cost.unwrap_or_else(|| cost::of(operation, &document.parsed, &request.variables, parser.types));
        cost::check_limit(cost, parser.limits.cost).map(|()| cost)
    }
}

/// The key in a request's extensions under which transports pass the id of a trusted document.
pub const DOCUMENT_ID: &str = "documentId";

/// The id of a trusted document, if the request names one.
fn document_id(id: Option<Value>) -> Result<Option<String>, Response> {
    match id {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(_) => Err(Response::from_errors(vec![request_error("BAD_USER_INPUT", "`documentId` must be a text")])),
    }
}

impl fmt::Debug for DocumentCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { parser, cached, .. } = &*self.0;
        f.debug_struct("DocumentCache")
            .field("limits", &parser.limits)
            .field("kept", &cached.len())
            .finish_non_exhaustive()
    }
}

impl Source for DocumentCache {
    fn collect(&self, families: &mut Vec<Family>) {
        self.0.rejections.collect(families);
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::types::OperationType;

    use super::*;
    use crate::graphql::operation::document::MAX_DOCUMENTS;

    fn parse(documents: &DocumentCache, query: &str) -> ParsedRequest {
        documents
            .parse_request(Request::new(query))
            .unwrap_or_else(|error_response| panic!("{query}: {error_response:?}"))
    }

    #[tokio::test]
    async fn the_cache_is_bounded_in_number_and_in_bytes() {
        let documents = DocumentCache::open(&GraphqlOptions::default()).await.unwrap();
        for n in 0..MAX_DOCUMENTS + 500 {
            parse(&documents, &format!("{{ workers {{ id }} }} # {n}"));
        }
        let kept = documents.stats().kept as u64;
        assert!((MAX_DOCUMENTS / 2..=MAX_DOCUMENTS).contains(&kept), "{kept}");
        let long = "x".repeat(60_000);
        for n in 0..40 {
            parse(&documents, &format!("{{ workers {{ id }} }} # {n} {long}"));
        }
        assert!(documents.0.cached.weight() <= MAX_BYTES);
        assert!(documents.stats().kept < 2_000);
    }

    #[tokio::test]
    async fn the_operation_is_the_one_that_is_named_or_the_only_one() {
        let documents = DocumentCache::open(&GraphqlOptions::default()).await.unwrap();
        let two = "query A { workers { id } } mutation B { drainWorker(input: {workerId: 1}) { changed } }";
        use OperationType::{Mutation, Query};
        for (query, name, expected, operation_types) in [
            ("{ vms { id } }", None, Some(Query), vec![Query]),
            ("{ vms { id } }", Some("A"), None, vec![Query]),
            ("query A { vms { id } }", None, Some(Query), vec![Query]),
            ("query A { vms { id } }", Some("B"), None, vec![]),
            (two, Some("A"), Some(Query), vec![Query]),
            (two, Some("B"), Some(Mutation), vec![Mutation]),
            (two, Some("C"), None, vec![]),
        ] {
            let mut parsed = parse(&documents, query);
            parsed.request.operation_name = name.map(str::to_owned);
            assert_eq!(
                (parsed.operation().map(|it| it.ty), parsed.operation_types()),
                (expected, operation_types),
                "{query} {name:?}"
            );
        }
        let parsed = parse(&documents, two);
        assert!(parsed.operation().is_none() && parsed.operation_types().len() == 2);
    }
}
