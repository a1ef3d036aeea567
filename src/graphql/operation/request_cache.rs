//! Requests that come again as they came before.
//!
//! A dashboard asks the same every few seconds, byte by byte, and so do all who look at it. Such a request is not read
//! again, nor is it checked again: what it came to is kept by its bytes (a sixth of what an answer about one worker
//! takes). Kept are only queries that were found valid, and nothing of their answers: those are of the present.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

use super::apq;
use super::request::PreparedOperation;

/// Longest request that is kept. Ordinary ones are some hundred bytes to a few thousand.
const LONGEST: usize = 16 * 1024;

/// How many requests are expected. It is no limit.
const EXPECTED: usize = 256;

/// How many bytes of requests may be kept, with what they are read into, and with their documents, which are mostly
/// kept elsewhere too.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Requests by their bytes.
pub struct RequestCache(Cache<Box<[u8]>, Arc<PreparedOperation>, ByBytes>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Arc<PreparedOperation>> for ByBytes {
    fn weight(&self, body: &Box<[u8]>, ready: &Arc<PreparedOperation>) -> u64 {
        /// Two bytes of JSON, a digit and a comma, may become a value in a list.
        const READ_BYTES_FOR_EACH: usize = size_of::<async_graphql::Value>() / 2;
        (body.len() * (1 + READ_BYTES_FOR_EACH)) as u64 + ready.asked().document.weight()
    }
}

impl Default for RequestCache {
    fn default() -> Self {
        Self(Cache::with(EXPECTED, MAX_BYTES, ByBytes, DefaultHashBuilder::default(), Default::default()))
    }
}

impl RequestCache {
    /// What a request of these bytes came to before.
    pub fn find(&self, body: &[u8]) -> Option<Arc<PreparedOperation>> {
        if body.len() > LONGEST { None } else { self.0.get(body) }
    }

    /// Keeps what a request came to, if it may be of use again.
    pub fn keep(&self, body: &[u8], ready: Arc<PreparedOperation>) {
        let asked = ready.asked();
        let is_query = asked.operation().is_some_and(|operation| operation.ty == OperationType::Query);
        // Each time it comes, a document is to be known by its hash for a while longer.
        let is_by_hash = asked.request.extensions.contains_key(apq::EXTENSION);
        if is_query && !is_by_hash && body.len() <= LONGEST {
            self.0.insert(body.into(), ready);
        }
    }
}
