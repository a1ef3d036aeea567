//! What is counted of requests that are refused before anything of them runs, by why: the `extensions.code` of their first
//! error, in the words of metrics.

use async_graphql::{Response, Value};

use crate::metrics::{Counter, Family};

/// The codes with which operations are refused, and their words. Any other is the last word's.
const REASONS: [(&str, &str); 7] = [
    ("GRAPHQL_PARSE_FAILED", "parse"),
    ("GRAPHQL_VALIDATION_FAILED", "validation"),
    ("QUERY_TOO_COMPLEX", "too_complex"),
    ("BAD_USER_INPUT", "variables"),
    ("PERSISTED_QUERY_NOT_FOUND", "persisted_query_not_found"),
    ("PERSISTED_QUERY_NOT_SUPPORTED", "persisted_query_not_supported"),
    ("PERSISTED_QUERY_ID_REQUIRED", "id_required"),
];

/// The counters of refused requests.
#[derive(Debug, Default)]
pub struct Rejections {
    by_reason: [Counter; REASONS.len()],
    other: Counter,
}

impl Rejections {
    /// Counts a request that is refused with this response.
    pub fn count(&self, error_response: &Response) {
        let extensions = error_response.errors.first().and_then(|error| error.extensions.as_ref());
        let code = extensions.and_then(|extensions| extensions.get("code"));
        let is_code = |known: &str| matches!(code, Some(Value::String(code)) if code == known);
        let place = REASONS.iter().position(|(known, _)| is_code(known));
        place.and_then(|place| self.by_reason.get(place)).unwrap_or(&self.other).increment();
    }

    /// Adds their family.
    pub fn collect(&self, families: &mut Vec<Family>) {
        let help = "GraphQL requests that were refused before anything of them ran, by why.";
        let mut rejected = Family::counter("aetherium_graphql_rejected", help);
        for ((_, reason), counter) in REASONS.iter().zip(&self.by_reason) {
            rejected.add([("reason", (*reason).into())], counter.get() as f64);
        }
        families.push(rejected.with_counter([("reason", "other".into())], &self.other));
    }
}
