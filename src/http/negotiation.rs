//! In what a client would like to be answered.

use axum::http::{HeaderMap, HeaderValue, header};

/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Media type of one JSON object a line, which may go on for ever, too.
pub const NDJSON: &str = "application/x-ndjson";

/// The `Accept` headers of a request. Only what is named counts, without weights: a wildcard is what clients send that
/// do not care, and they get what they always got.
#[derive(Clone, Copy, Debug)]
pub struct Accept<'a>(&'a HeaderMap);

impl<'a> Accept<'a> {
    /// What these headers say.
    pub fn of(headers: &'a HeaderMap) -> Self {
        Self(headers)
    }

    /// Whether this media type is among what they name.
    pub fn names(self, media: &str) -> bool {
        self.0.get_all(header::ACCEPT).iter().any(|line| line_names(line, media))
    }
}

/// Whether one `Accept` header names this media type.
pub(super) fn line_names(line: &HeaderValue, media: &str) -> bool {
    // Most name one type or anything, which is quickly seen: what is as long is the same, and what is shorter is not.
    if line.len() <= media.len() {
        return line.as_bytes().eq_ignore_ascii_case(media.as_bytes());
    }
    let parts = line.to_str().unwrap_or_default().split(',');
    let mut named = parts.filter_map(|part| part.split(';').next());
    named.any(|named| named.trim().eq_ignore_ascii_case(media))
}

/// Media type of RFC 9457's description of an error.
pub(super) const PROBLEM: &str = "application/problem+json";

/// In what shape a client wants its failures: ours, unless it names RFC 9457's and not ours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorFormat {
    /// Whether RFC 9457's is named.
    for_problem: bool,
    /// Whether ours is.
    for_json: bool,
}

impl ErrorFormat {
    /// Hears one `Accept` header.
    pub(super) fn add(&mut self, accept: &HeaderValue) {
        self.for_problem |= line_names(accept, PROBLEM);
        self.for_json |= line_names(accept, "application/json");
    }

    /// Whether an error is to be written as RFC 9457 has it.
    pub(super) fn only_for_problem(self) -> bool {
        self.for_problem && !self.for_json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_found_in_any_place_and_case() {
        for (lines, expected) in [
            (vec![], false),
            (vec!["*/*"], false),
            (vec!["text/*"], false),
            (vec!["text/event-stream"], true),
            (vec!["application/json, Text/Event-Stream;q=0.5"], true),
            (vec!["application/json", "text/event-stream"], true),
            (vec!["text/event-streams"], false),
            (vec!["text/event-streaM"], true),
            (vec!["text/event-streak"], false),
            (vec![" text/event-stream"], true),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(Accept::of(&headers).names(EVENT_STREAM), expected, "{lines:?}");
        }
    }
}
