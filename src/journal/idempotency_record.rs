//! Idempotency records: the responses to requests with an `Idempotency-Key`, by which a repeated request is recognised.
//!
//! These are the records as values. The command that looks for one, and makes one, is
//! [`IdempotentCommand`](super::commands::IdempotentCommand); for how long they are kept is said in
//! [`retention`](super::retention); what a key is and how long it may be is the protocol's.

use std::sync::Arc;

use entity::idempotency_record::Request;

/// What a client was answered, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The text of it.
    pub body: Arc<str>,
    /// Its entity tag, if it has one.
    pub tag: Option<Arc<str>>,
}

/// The response to the request that first came with a key.
#[derive(Clone, Debug)]
pub struct IdempotencyRecord {
    /// Distinguishes that request from others with the same key.
    pub fingerprint: Arc<str>,
    /// How it was answered.
    pub response: StoredResponse,
}

/// The fingerprint of a heartbeat. Its prefix is how the database distinguishes the records of heartbeats from those of
/// commands, which are kept longer.
pub fn heartbeat_fingerprint(fingerprint: &str) -> String {
    format!("{}{fingerprint}", Request::HEARTBEAT)
}
