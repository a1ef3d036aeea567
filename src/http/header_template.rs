//! The headers of every response (`X-Request-Id`, `X-Content-Type-Options`), and header templates: the response headers
//! that all responses of one kind have, with their names and values, built once and cloned for each response.
//!
//! To clone a header map takes less than half of the time of inserting its headers one by one (ADR 0036). The values
//! that differ from response to response are inserted by name: a map promises no order of its headers. What each
//! handler adds by itself (`ETag`, `Link`, `Retry-After`) is not here, but where the handler or the error is.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};

use crate::trace;

/// The header of the request id, in requests and responses.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header of the trace that a request belongs to.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static(trace::TRACEPARENT);

/// The value of `X-Content-Type-Options`: browsers must not guess another type than the declared one.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// The headers of all responses of one kind.
#[derive(Debug)]
pub struct HeaderTemplate(HeaderMap);

impl HeaderTemplate {
    /// The placeholder of a value that differs from response to response: it gives the header its place in the response.
    pub const PLACEHOLDER: HeaderValue = HeaderValue::from_static("");

    /// A template of these headers, and of those that every response has.
    pub fn of(headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        let everywhere = [(X_REQUEST_ID, Self::PLACEHOLDER), (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)];
        Self(everywhere.into_iter().chain(headers).collect())
    }

    /// A response with these headers, for a template without placeholders.
    pub fn answer(&self, body: impl Into<Body>) -> Response {
        self.answer_with(body, [])
    }

    /// A response with these headers, and with these values in place of the placeholders.
    pub fn answer_with<const N: usize>(&self, body: impl Into<Body>, own: [(HeaderName, HeaderValue); N]) -> Response {
        let mut headers = self.0.clone();
        for (name, value) in own {
            let replaced = headers.insert(name, value);
            debug_assert_eq!(replaced, Some(Self::PLACEHOLDER), "{headers:?}");
        }
        // That of the request id is left for the middleware.
        debug_assert!(headers.iter().all(|(name, value)| !value.is_empty() || name == X_REQUEST_ID), "{headers:?}");
        let mut response = Response::new(body.into());
        *response.headers_mut() = headers;
        response
    }

    /// Sets the request id, and the other headers that every response has, in a response of whatever origin.
    pub(super) fn complete(headers: &mut HeaderMap, number: HeaderValue) {
        headers.insert(X_REQUEST_ID, number);
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(NOSNIFF);
    }
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
        let [etag, age] = [(header::ETAG, "\"7\""), (header::AGE, "3")];
        let placeholders = [etag.0.clone(), age.0.clone()].map(|name| (name, HeaderTemplate::PLACEHOLDER));
        let template = HeaderTemplate::of(placeholders);
        for order in [[etag.clone(), age.clone()], [age.clone(), etag.clone()]] {
            let own = order.map(|(name, value)| (name, HeaderValue::from_static(value)));
            let answer = template.answer_with("body", own);
            assert_eq!([&etag.0, &age.0].map(|name| &answer.headers()[name]), [etag.1, age.1]);
        }
    }
}
