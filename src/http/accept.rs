//! In what a client would like to be answered.

use axum::http::{HeaderMap, header};

/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

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
        // Too short for what is looked for, which is most of them, is quickly seen.
        let lines = self.0.get_all(header::ACCEPT).iter().filter(|line| line.len() >= media.len());
        let lines = lines.filter_map(|line| line.to_str().ok());
        let named = lines.flat_map(|line| line.split(',')).filter_map(|part| part.split(';').next());
        named.map(str::trim).any(|named| named.eq_ignore_ascii_case(media))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(Accept::of(&headers).names(EVENT_STREAM), expected, "{lines:?}");
        }
    }
}
