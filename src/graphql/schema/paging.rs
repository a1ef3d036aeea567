//! Pagination: the arguments of connections and `PageInfo`, by Relay's specification of connections.

use async_graphql::SimpleObject;

use crate::resolvers::page::{Page, PageNames, PageRequest};

/// The arguments of every connection.
pub struct PageArguments {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

impl From<PageArguments> for PageRequest {
    fn from(PageArguments { first, after, last, before }: PageArguments) -> Self {
        Self { first: first.map(Into::into), after, last: last.map(Into::into), before, names: PageNames::default() }
    }
}

/// Where a page lies in its list.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether there is more after this page.
    pub has_next_page: bool,
    /// Whether there is more before this page.
    pub has_previous_page: bool,
    /// Cursor of the first element of this page.
    pub start_cursor: Option<String>,
    /// Cursor of the last element of this page.
    pub end_cursor: Option<String>,
}

impl<T> From<&Page<T>> for PageInfo {
    fn from(page: &Page<T>) -> Self {
        Self {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: page.start_cursor(),
            end_cursor: page.end_cursor(),
        }
    }
}
