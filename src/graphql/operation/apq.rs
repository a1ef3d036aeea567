//! Automatic persisted queries, by Apollo's protocol: a client sends the hash of its document, and the
//! document itself only if the server does not know it yet.
//!
//! What is kept is the text by its hash, apart from the documents that have been read: a text is a
//! fraction of what it is parsed into, so that many more of them can be kept for as long.

use std::sync::Arc;

use async_graphql::{Response, Value};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};
use sha2::{Digest as _, Sha256};

use crate::graphql::error::request_error;

/// How many texts may be kept.
const MAX_TEXTS: u64 = 10_000;

/// How many texts are expected, so low that the cache does not divide its bytes into parts that are too small for the
/// longest text. It is no limit.
const EXPECTED: usize = 256;

/// How many bytes of texts may be kept.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The key in a request's extensions.
pub const EXTENSION: &str = "persistedQuery";

/// The SHA-256 of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// Of this text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Reads it from 64 hexadecimal digits.
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

/// The hash that a request's extension names, if there is one, as it is written. DocumentCache that an operator trusts may
/// have ids there that are no hashes.
pub fn asked_for(extension: Option<&Value>) -> Result<Option<&str>, Response> {
    let extension = match extension {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(extension)) => extension,
        Some(_) => return Err(wrong("`extensions.persistedQuery` must be an object with version and sha256Hash")),
    };
    match extension.get("version") {
        Some(Value::Number(version)) if version.as_i64() == Some(1) => {}
        _ => return Err(wrong("Unsupported persisted query version: `extensions.persistedQuery.version` must be 1")),
    }
    match extension.get("sha256Hash") {
        Some(Value::String(hash)) => Ok(Some(hash)),
        _ => Err(wrong("`extensions.persistedQuery.sha256Hash` must be a text")),
    }
}

/// The hash that is written like this.
pub fn hash(digits: &str) -> Result<DocumentHash, Response> {
    DocumentHash::parse(digits).ok_or_else(|| {
        wrong("`extensions.persistedQuery.sha256Hash` must be the SHA-256 of the document, in 64 hexadecimal digits")
    })
}

/// Texts of documents by their hashes.
pub struct PersistedQueryCache(Cache<DocumentHash, Arc<str>, ByBytes>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<DocumentHash, Arc<str>> for ByBytes {
    fn weight(&self, _: &DocumentHash, text: &Arc<str>) -> u64 {
        // A text weighs at least its share, so that the limit of bytes is also one of number.
        (text.len() as u64).max(MAX_BYTES / MAX_TEXTS)
    }
}

impl PersistedQueryCache {
    /// None yet.
    pub fn new() -> Self {
        Self(Cache::with(EXPECTED, MAX_BYTES, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default()))
    }

    /// The text with this hash. The words of the refusal are what clients wait for, to send the text.
    pub fn find(&self, hash: DocumentHash) -> Result<Arc<str>, Response> {
        self.0.get(&hash).ok_or_else(|| refused("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound"))
    }

    /// Keeps a text that has this hash.
    pub fn keep(&self, hash: DocumentHash, text: Arc<str>) {
        self.0.insert(hash, text);
    }
}

/// Hashes without texts are not taken here. Clients that are told so send texts from then on.
pub fn not_supported() -> Response {
    refused("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
}

/// A text came with the hash of another one.
pub fn mismatch() -> Response {
    wrong("The provided sha does not match the query: `sha256Hash` must be the SHA-256 of `query` as it is sent")
}

fn wrong(problem: &str) -> Response {
    refused("BAD_USER_INPUT", problem)
}

fn refused(code: &str, message: &str) -> Response {
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
        for wrong in
            ["", "ec", &digits[1..], &format!("{digits}0"), &digits.replace('e', "g"), &digits.replace("ec", "é")]
        {
            assert_eq!(DocumentHash::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let persisted = PersistedQueryCache::new();
        for n in 0..MAX_TEXTS + 2_000 {
            let text = format!("{{ a{n} }}");
            persisted.keep(DocumentHash::of(&text), text.into());
        }
        assert!((MAX_TEXTS / 2..=MAX_TEXTS).contains(&(persisted.0.len() as u64)), "{}", persisted.0.len());
        for n in 0..400 {
            let text = format!("{{ a{n} }} # {}", "x".repeat(60_000));
            persisted.keep(DocumentHash::of(&text), text.into());
        }
        assert!(persisted.0.weight() <= MAX_BYTES);
    }
}
