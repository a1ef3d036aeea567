//! The request cache: prepared queries by the bytes of their request bodies.
//!
//! A dashboard sends the same request every few seconds, and so does everybody who has it open. For an equal request,
//! parsing of its JSON, variable coercion and cost are skipped (a sixth of the time of a query for one worker). Only
//! valid queries are cached, and no responses: each is made anew of the present state.
//!
//! The [document cache](super::document_cache) behind it has documents by their text, whatever the variables.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

use super::apq;
use super::request::PreparedOperation;

/// The longest request body that is cached. Ordinary ones have some hundred bytes to a few thousand.
const MAX_BODY_LENGTH: usize = 16 * 1024;

/// How many requests the cache allocates room for. It is no limit.
const ESTIMATED_ITEMS: usize = 256;

/// The capacity of the cache in bytes: bodies, their parsed forms and their documents, most of which the document cache
/// holds as well.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Prepared queries by the bytes of their request bodies.
pub struct RequestCache(Cache<Box<[u8]>, Arc<PreparedOperation>, ByteWeighter>);

#[derive(Clone)]
struct ByteWeighter;

impl Weighter<Box<[u8]>, Arc<PreparedOperation>> for ByteWeighter {
    fn weight(&self, body: &Box<[u8]>, prepared: &Arc<PreparedOperation>) -> u64 {
        /// Bytes of parsed values for each byte of JSON: two bytes, a digit and a comma, may become an entry of a list.
        const PARSED_BYTES_PER_BYTE: usize = size_of::<async_graphql::Value>() / 2;
        (body.len() * (1 + PARSED_BYTES_PER_BYTE)) as u64 + prepared.parsed().document.weight()
    }
}

impl Default for RequestCache {
    fn default() -> Self {
        Self(Cache::with(ESTIMATED_ITEMS, MAX_BYTES, ByteWeighter, DefaultHashBuilder::default(), Default::default()))
    }
}

impl RequestCache {
    /// The prepared query of an equal request.
    pub fn get(&self, body: &[u8]) -> Option<Arc<PreparedOperation>> {
        if body.len() > MAX_BODY_LENGTH { None } else { self.0.get(body) }
    }

    /// Caches a prepared operation, if it is a query with a body that is short enough.
    pub fn insert(&self, body: &[u8], prepared: Arc<PreparedOperation>) {
        let parsed = prepared.parsed();
        let is_query = parsed.operation().is_some_and(|operation| operation.ty == OperationType::Query);
        // A request with a hash must reach the persisted queries each time, because each use delays the eviction of its
        // text.
        let is_by_hash = parsed.request.extensions.contains_key(apq::EXTENSION);
        if is_query && !is_by_hash && body.len() <= MAX_BODY_LENGTH {
            self.0.insert(body.into(), prepared);
        }
    }
}
