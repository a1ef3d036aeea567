//! DocumentCache, and what of them is kept.
//!
//! A document that was parsed, guarded and found valid once is none of these again while it is kept:
//! of an ordinary question the most part is parsing and validation (measured: two thirds). Kept is
//! only what is valid, so that nonsense does not crowd out what is asked every day. What depends on a
//! request's variables is looked at with each request (see [`super::variables`]).
//!
//! This is also the one place that knows which operation of a document is asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_graphql::{Request, Response, Value};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::apq::{self, DocumentHash, PersistedQueryCache};
use super::cost::{self};
use super::document::{Document, DocumentParser, MAX_BYTES};
use super::limits::{self, Limits};
use super::persisted_manifest::{self, ManifestError, TrustedDocuments, TrustedMode};
use super::request::ParsedRequest;
use super::variables;
use crate::graphql::error::request_error;
use crate::graphql::options::GraphqlOptions;
use crate::graphql::schema::index::SchemaIndex;

/// How many documents are expected, so low that the cache does not divide its bytes into parts that are too small for
/// the longest document. It is no limit.
const EXPECTED: usize = 256;

/// Reads documents, and keeps them. Cheap to clone.
#[derive(Clone)]
pub struct DocumentCache(Arc<Inner>);

struct Inner {
    reader: DocumentParser,
    kept: Cache<Arc<str>, Arc<Document>, ByBytes>,
    /// None if documents are not taken by their hashes.
    persisted: Option<PersistedQueryCache>,
    trusted: TrustedDocuments,
}

/// How much work documents have made so far, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentCacheStats {
    /// How often one was to be parsed.
    pub parsed: u64,
    /// How often one was found valid.
    pub validated: u64,
    /// How many are kept.
    pub kept: usize,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Arc<str>, Arc<Document>> for ByBytes {
    fn weight(&self, _: &Arc<str>, document: &Arc<Document>) -> u64 {
        document.weight()
    }
}

impl DocumentCache {
    /// Nothing is kept yet, except the documents that an operator trusts.
    pub async fn open(options: &GraphqlOptions) -> Result<Self, ManifestError> {
        let reader = DocumentParser::new(options.limits);
        let trusted = match (options.trusted_documents_mode, &options.trusted_documents) {
            (TrustedMode::Allow | TrustedMode::Only, Some(file)) => {
                TrustedDocuments::read(file, options.trusted_documents_mode, &reader)?
            }
            (TrustedMode::Only, None) => TrustedDocuments::empty(TrustedMode::Only),
            (TrustedMode::Off, _) | (TrustedMode::Allow, None) => TrustedDocuments::empty(TrustedMode::Off),
        };
        let kept =
            Cache::with(EXPECTED, MAX_BYTES, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let persisted = options.persisted_queries.then(PersistedQueryCache::new);
        Ok(Self(Arc::new(Inner { reader, kept, persisted, trusted })))
    }

    /// How much work documents have made so far.
    pub fn stats(&self) -> DocumentCacheStats {
        let Inner { reader, kept, .. } = &*self.0;
        DocumentCacheStats {
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
    pub fn types(&self) -> &'static SchemaIndex {
        self.0.reader.types
    }

    /// DocumentCache that an operator trusts.
    pub fn trusted(&self) -> &TrustedDocuments {
        &self.0.trusted
    }

    /// Reads the document of a request, which may name it instead of sending it, or says why it cannot be read.
    pub fn read(&self, mut request: Request) -> Result<ParsedRequest, Response> {
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
                Ok(ParsedRequest::new(document.clone(), request))
            } else {
                Err(apq::mismatch())
            };
        }
        match (trusted.mode, &hash) {
            (TrustedMode::Only, Some(hash)) if text.is_empty() => return Err(trusted.unknown(hash)),
            (TrustedMode::Only, _) => return Err(persisted_manifest::id_required()),
            (TrustedMode::Off | TrustedMode::Allow, _) => {}
        }
        let Some(hash) = hash else { return Ok(ParsedRequest::new(self.document(&text)?, request)) };
        let Some(persisted) = persisted else {
            return match text.is_empty() {
                true => Err(apq::not_supported()),
                false => Ok(ParsedRequest::new(self.document(&text)?, request)),
            };
        };
        let hash = apq::hash(&hash)?;
        if text.is_empty() {
            Ok(ParsedRequest::new(self.document(&persisted.find(hash)?)?, request))
        } else if hash == DocumentHash::of(&text) {
            let document = self.document(&text)?;
            persisted.keep(hash, document.text.clone());
            Ok(ParsedRequest::new(document, request))
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
    pub fn check(&self, asked: &mut ParsedRequest) -> Result<u64, Response> {
        let Inner { reader, .. } = &*self.0;
        let ParsedRequest { document, request } = asked;
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

impl fmt::Debug for DocumentCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { reader, kept, .. } = &*self.0;
        f.debug_struct("DocumentCache")
            .field("limits", &reader.limits)
            .field("kept", &kept.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(documents: &DocumentCache, query: &str) -> ParsedRequest {
        documents.read(Request::new(query)).unwrap_or_else(|refused| panic!("{query}: {refused:?}"))
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let documents = DocumentCache::open(&GraphqlOptions::default()).await.unwrap();
        for n in 0..MAX_DOCUMENTS + 500 {
            ask(&documents, &format!("{{ workers {{ id }} }} # {n}"));
        }
        let kept = documents.stats().kept as u64;
        assert!((MAX_DOCUMENTS / 2..=MAX_DOCUMENTS).contains(&kept), "{kept}");
        let long = "x".repeat(60_000);
        for n in 0..40 {
            ask(&documents, &format!("{{ workers {{ id }} }} # {n} {long}"));
        }
        assert!(documents.0.kept.weight() <= MAX_BYTES);
        assert!(documents.stats().kept < 2_000);
    }

    #[tokio::test]
    async fn the_operation_is_the_one_that_is_named_or_the_only_one() {
        let documents = DocumentCache::open(&GraphqlOptions::default()).await.unwrap();
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
