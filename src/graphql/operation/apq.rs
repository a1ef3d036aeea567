//! Automatic persisted queries (APQ), by Apollo's protocol: a client sends the hash of its document, and the text only
//! if the server does not have it yet.
//!
//! The cache here has texts by their hashes, apart from the [document cache](super::document_cache): a text takes a
//! fraction of its parsed form, so that many more texts than documents can be cached.

use std::sync::Arc;

use async_graphql::{Response, Value};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};
use sha2::{Digest as _, Sha256};

use crate::graphql::error::request_error;

/// Most texts in the cache.
const MAX_TEXTS: u64 = 10_000;

/// How many texts the cache allocates room for. It is no limit, and so low because the cache divides its capacity into
/// shards by it, each of which must have room for the longest text.
const ESTIMATED_ITEMS: usize = 256;

/// The capacity of the cache in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The key of the hash in a request's extensions.
pub const EXTENSION: &str = "persistedQuery";

/// The SHA-256 of a document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// The hash of this text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Parses a hash of 64 hexadecimal digits.
    pub fn parse(digits: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
        }
        Some(Self(hash))
    }
}

/// The hash in a request's extension, if there is one, as it is written: with trusted documents it may be an id that is
/// no hash.
pub fn requested_hash(extension: Option<&Value>) -> Result<Option<&str>, Response> {
    let extension = match extension {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(extension)) => extension,
        Some(_) => {
            return Err(bad_user_input("`extensions.persistedQuery` must be an object with version and sha256Hash"));
        }
    };
    match extension.get("version") {
        Some(Value::Number(version)) if version.as_i64() == Some(1) => {}
        _ => {
            return Err(bad_user_input(
                "Unsupported persisted query version: `extensions.persistedQuery.version` must be 1",
            ));
        }
    }
    match extension.get("sha256Hash") {
        Some(Value::String(hash)) => Ok(Some(hash)),
        _ => Err(bad_user_input("`extensions.persistedQuery.sha256Hash` must be a text")),
    }
}

/// Parses the hash in a request's extension.
pub fn parse_hash(digits: &str) -> Result<DocumentHash, Response> {
    DocumentHash::parse(digits).ok_or_else(|| {
        bad_user_input(
            "`extensions.persistedQuery.sha256Hash` must be the SHA-256 of the document, in 64 hexadecimal digits",
        )
    })
}

/// The cache of texts by their hashes.
pub struct PersistedQueryCache(Cache<DocumentHash, Arc<str>, ByteWeighter>);

#[derive(Clone)]
struct ByteWeighter;

impl Weighter<DocumentHash, Arc<str>> for ByteWeighter {
    fn weight(&self, _: &DocumentHash, text: &Arc<str>) -> u64 {
        // The least weight of a text makes the capacity in bytes a limit on the number of texts, too.
        (text.len() as u64).max(MAX_BYTES / MAX_TEXTS)
    }
}

impl PersistedQueryCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self(Cache::with(
            ESTIMATED_ITEMS,
            MAX_BYTES,
            ByteWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ))
    }

    /// The text with this hash, or the error response at which clients send the text. They recognize it by its message.
    pub fn get(&self, hash: DocumentHash) -> Result<Arc<str>, Response> {
        self.0.get(&hash).ok_or_else(|| error_response("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound"))
    }

    /// Caches a text under its hash.
    pub fn insert(&self, hash: DocumentHash, text: Arc<str>) {
        self.0.insert(hash, text);
    }
}

/// The error response where APQ is switched off. Clients send texts from then on.
pub fn not_supported() -> Response {
    error_response("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
}

/// The error response to a text with the hash of another one.
pub fn mismatch() -> Response {
    bad_user_input(
        "The provided sha does not match the query: `sha256Hash` must be the SHA-256 of `query` as it is sent",
    )
}

fn bad_user_input(problem: &str) -> Response {
    error_response("BAD_USER_INPUT", problem)
}

fn error_response(code: &str, message: &str) -> Response {
    Response::from_errors(vec![request_error(code, message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_in_upper_and_lower_case_and_nothing_else_is() {
        let digits = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";
        assert_eq!(DocumentHash::parse(digits), Some(DocumentHash::of("{__typename}")));
        assert_eq!(DocumentHash::parse(&digits.to_uppercase()), DocumentHash::parse(digits));
        for bad_user_input in
            ["", "ec", &digits[1..], &format!("{digits}0"), &digits.replace('e', "g"), &digits.replace("ec", "é")]
        {
            assert_eq!(DocumentHash::parse(bad_user_input), None, "{bad_user_input}");
        }
    }

    #[test]
    fn the_cache_is_bounded_in_number_and_in_bytes() {
        let cache = PersistedQueryCache::new();
        for n in 0..MAX_TEXTS + 2_000 {
            let text = format!("{{ a{n} }}");
            cache.insert(DocumentHash::of(&text), text.into());
        }
        assert!((MAX_TEXTS / 2..=MAX_TEXTS).contains(&(cache.0.len() as u64)), "{}", cache.0.len());
        for n in 0..400 {
            let text = format!("{{ a{n} }} # {}", "x".repeat(60_000));
            cache.insert(DocumentHash::of(&text), text.into());
        }
        assert!(cache.0.weight() <= MAX_BYTES);
    }
}
