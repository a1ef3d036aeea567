//! Content negotiation: the media types that `Accept` names, and the format in which a client wants errors.

use axum::http::{HeaderMap, HeaderValue, header};

/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// The media type of one JSON object a line, which may be a stream without end.
pub const NDJSON: &str = "application/x-ndjson";

/// The `Accept` headers of a request. Only named types count, without weights: clients that send a wildcard do not
/// care, and get the default.
#[derive(Clone, Copy, Debug)]
pub struct Accept<'a>(&'a HeaderMap);

impl<'a> Accept<'a> {
    /// Reads these headers.
    pub fn of(headers: &'a HeaderMap) -> Self {
        Self(headers)
    }

    /// Whether they name this media type.
    pub fn names(self, media: &str) -> bool {
        self.0.get_all(header::ACCEPT).iter().any(|line| line_names(line, media))
    }
}

/// Whether one `Accept` header names this media type.
pub(super) fn line_names(line: &HeaderValue, media: &str) -> bool {
    // Most headers name one type or a wildcard, which their length tells: an equal length must be an equal name, and a
    // shorter header cannot contain it.
    if line.len() <= media.len() {
        return line.as_bytes().eq_ignore_ascii_case(media.as_bytes());
    }
    let parts = line.to_str().unwrap_or_default().split(',');
    let mut named = parts.filter_map(|part| part.split(';').next());
    named.any(|named| named.trim().eq_ignore_ascii_case(media))
}

/// The media type of RFC 9457's error format.
pub(super) const PROBLEM: &str = "application/problem+json";

/// The format in which a client wants errors: the documented one, unless it names RFC 9457's and not
/// `application/json`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorFormat {
    /// Whether RFC 9457's format is named.
    for_problem: bool,
    /// Whether `application/json` is named.
    for_json: bool,
}

impl ErrorFormat {
    /// Takes one `Accept` header into account.
    pub(super) fn add(&mut self, accept: &HeaderValue) {
        self.for_problem |= line_names(accept, PROBLEM);
        self.for_json |= line_names(accept, "application/json");
    }

    /// Whether an error has to be written in RFC 9457's format.
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
