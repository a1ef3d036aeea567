//! Header templates: the headers that all responses of one kind have, built once and cloned for each response.
//!
//! A template is a prepared map: to clone it takes less than half of the time of inserting its headers one by one (ADR
//! 0036). The values that differ from response to response are then put where the clone has their names. [`HeaderMap`]
//! promises no order, so that the order in which it happens to keep its headers only saves look-ups: in another order,
//! each value would still get to its name, and a test would fail because it takes longer.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

/// The header of the request id, in requests and responses.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The value of `X-Content-Type-Options`: browsers must not guess another type than the declared one.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// The headers of all responses of one kind.
#[derive(Debug)]
pub struct HeaderTemplate(HeaderMap);

impl HeaderTemplate {
    /// The placeholder of a value that differs from response to response.
    pub const PLACEHOLDER: HeaderValue = HeaderValue::from_static("");

    /// A template of these headers. Those that every response has come first, where [`complete`](Self::complete) looks
    /// first.
    pub fn of(headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        let everywhere = [(X_REQUEST_ID, Self::PLACEHOLDER), (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)];
        Self(everywhere.into_iter().chain(headers).collect())
    }

    /// A response with these headers, for a template without placeholders.
    pub fn answer(&self, body: impl Into<Body>) -> Response {
        self.answer_with(body, [])
    }

    /// A response with these headers, and with a value for each [`PLACEHOLDER`](Self::PLACEHOLDER), by its name; fastest
    /// in the order of the template.
    pub fn answer_with<const N: usize>(&self, body: impl Into<Body>, own: [(HeaderName, HeaderValue); N]) -> Response {
        let mut headers = self.0.clone();
        let looked_up = fill(&mut headers, own);
        debug_assert_eq!(looked_up, 0, "the map keeps the order of its headers: {headers:?}");
        // The first placeholder is that of the request id.
        debug_assert!(headers.iter().all(|(name, value)| !value.is_empty() || name == X_REQUEST_ID), "{headers:?}");
        let mut response = Response::new(body.into());
        *response.headers_mut() = headers;
        response
    }

    /// Sets the request id, and the other headers that every response has, in a response of whatever origin.
    pub(super) fn complete(headers: &mut HeaderMap, number: HeaderValue) {
        match headers.iter_mut().next() {
            // A response from a template, where the request id is the first header.
            Some((first, place)) if first == X_REQUEST_ID => *place = number,
            Some(_) | None => {
                headers.insert(X_REQUEST_ID, number);
                headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(NOSNIFF);
            }
        }
        debug_assert!(headers.contains_key(header::X_CONTENT_TYPE_OPTIONS), "only answers of ours begin with a number");
    }
}

/// Puts values where their names are: in one pass if the names come in the order of the map, else by look-up. Returns the
/// number of look-ups.
fn fill<const N: usize>(headers: &mut HeaderMap, own: [(HeaderName, HeaderValue); N]) -> usize {
    let mut own = own.into_iter();
    let mut next = own.next();
    for (name, place) in headers.iter_mut() {
        if let Some((_, value)) = next.take_if(|(own, _)| own == name) {
            *place = value;
            next = own.next();
        }
    }
    let mut looked_up = 0;
    for (name, value) in next.into_iter().chain(own) {
        headers.insert(name, value);
        looked_up += 1;
    }
    looked_up
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(headers: &HeaderMap) -> Vec<(&str, &str)> {
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect()
    }

    #[test]
    fn an_answers_own_values_come_into_their_places() {
        let head = HeaderTemplate::of([
            (header::ETAG, HeaderTemplate::PLACEHOLDER),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::AGE, HeaderTemplate::PLACEHOLDER),
        ]);
        let own = [(header::ETAG, "\"7\""), (header::AGE, "3")];
        let own = own.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let mut answer = head.answer_with("body", own);
        HeaderTemplate::complete(answer.headers_mut(), HeaderValue::from_static("42"));
        let expected = [
            ("x-request-id", "42"),
            ("x-content-type-options", "nosniff"),
            ("etag", "\"7\""),
            ("cache-control", "no-cache"),
            ("age", "3"),
        ];
        assert_eq!(texts(answer.headers()), expected);
    }

    #[test]
    fn an_answer_of_others_is_given_what_it_lacks() {
        for (theirs, expected) in [
            (None, vec![("x-request-id", "42"), ("x-content-type-options", "nosniff")]),
            (
                Some((header::ALLOW, HeaderValue::from_static("GET"))),
                vec![("allow", "GET"), ("x-request-id", "42"), ("x-content-type-options", "nosniff")],
            ),
        ] {
            let mut headers = theirs.into_iter().collect();
            HeaderTemplate::complete(&mut headers, HeaderValue::from_static("42"));
            assert_eq!(texts(&headers), expected);
        }
    }

    #[test]
    fn values_get_to_their_names_whatever_the_order() {
        let own = [(header::ETAG, "\"7\""), (header::AGE, "3")];
        let own = || own.clone().map(|(name, value)| (name, HeaderValue::from_static(value)));
        for order in [[header::ETAG, header::AGE], [header::AGE, header::ETAG]] {
            let mut headers: HeaderMap = order.iter().map(|name| (name.clone(), HeaderTemplate::PLACEHOLDER)).collect();
            assert_eq!(fill(&mut headers, own()) > 0, order[0] == header::AGE);
            assert_eq!((&headers[header::ETAG], &headers[header::AGE]), (&own()[0].1, &own()[1].1));
            headers.insert(X_REQUEST_ID, HeaderTemplate::PLACEHOLDER);
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
            HeaderTemplate::complete(&mut headers, HeaderValue::from_static("42"));
            assert_eq!(headers[X_REQUEST_ID], "42");
            assert_eq!(headers.len(), 4);
        }
    }
}
