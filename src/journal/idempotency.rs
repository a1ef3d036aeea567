//! Idempotency records: the answers to requests with an `Idempotency-Key`, by which a repeated request is known.

use std::sync::Arc;

/// What a client was told, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text of it.
    pub body: Arc<str>,
    /// Its entity tag, if it has one.
    pub tag: Option<Arc<str>>,
}

/// What was answered to the request that first came with a key.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    /// Tells that request from others.
    pub fingerprint: Arc<str>,
    /// The answer.
    pub answer: Answer,
}
