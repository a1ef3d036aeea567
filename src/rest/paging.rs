//! `?limit=`, `?cursor=` and the `Link` to the next page, the same for every list.
//!
//! Which rows that are is decided in [`resolvers::page`](crate::resolvers::page).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

use crate::http::{HttpError, Query, current_address};
use crate::resolvers::page::{PageNames, PageRequest};

/// The names of the parameters of a page.
const NAMES: PageNames = PageNames { first: "limit", after: "cursor", order: "sort" };

/// The name of the parameter for the order.
pub(super) const SORT: &str = NAMES.order;

/// The page that is asked for, with what the link to the next page is made of.
pub(super) struct Paging {
    request: PageRequest,
    link: LinkToNext,
}

/// What the link to the next page is made of.
pub(super) struct LinkToNext {
    /// The address that was asked, without its query; empty if it is not known.
    address: String,
    /// The whole query string, not decoded.
    query: String,
}

#[derive(Deserialize)]
pub(super) struct PagingQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let Query(PagingQuery { limit, cursor }) = Query::from_request_parts(parts, state).await?;
        let request = PageRequest { first: limit, after: cursor, names: NAMES, ..PageRequest::default() };
        Ok(Self { request, link: LinkToNext::from_request_parts(parts, state).await? })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LinkToNext {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        // Whole lists, which are asked for most, have no next page.
        let address = if query.is_empty() { None } else { current_address(&parts.headers) };
        Ok(Self { address: address.unwrap_or_default(), query })
    }
}

impl Paging {
    /// The request for resolvers.
    pub(super) fn request(&self) -> &PageRequest {
        &self.request
    }

    /// The header `Link` with the next page, if there is one.
    pub(super) fn link(&self, next: Option<&str>) -> HeaderMap {
        self.link.to(next)
    }

    /// The cursor of the next page for the body: none if the whole list is asked for, which the contract describes.
    pub(super) fn next_cursor(&self, next: Option<String>) -> Option<Option<String>> {
        (!self.request.is_for_all()).then_some(next)
    }
}

impl LinkToNext {
    /// The header `Link` with the next page, if there is one: the same query with another cursor. Its address is whole,
    /// because not every client resolves a relative one.
    pub(super) fn to(&self, next: Option<&str>) -> HeaderMap {
        let address = &self.address;
        let link = next.map(|cursor| format!("<{address}?{}>; rel=\"next\"", question_from(&self.query, cursor)));
        let link = link.and_then(|link| HeaderValue::try_from(link).ok());
        link.map(|link| (header::LINK, link)).into_iter().collect()
    }
}

/// The query string with another cursor, and without `wait`, which the first page has waited for.
fn question_from(query: &str, cursor: &str) -> String {
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !matches!(&**name, "cursor" | "wait"));
    let mut question = form_urlencoded::Serializer::new(String::new());
    question.extend_pairs(kept).append_pair(NAMES.after, cursor);
    question.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_same_question_from_another_place() {
        for (query, expected) in [
            ("", "cursor=NEXT"),
            ("limit=2", "limit=2&cursor=NEXT"),
            ("zone=a&cursor=OLD&zone=b+c&limit=2", "zone=a&zone=b+c&limit=2&cursor=NEXT"),
            ("zone=a%26b%3E%C3%BC&%63ursor=OLD", "zone=a%26b%3E%C3%BC&cursor=NEXT"),
            ("zone=\">&wait=30s&after_revision=7", "zone=%22%3E&after_revision=7&cursor=NEXT"),
        ] {
            assert_eq!(question_from(query, "NEXT"), expected, "{query}");
        }
    }
}
