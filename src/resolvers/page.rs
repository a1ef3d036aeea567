//! Pages of long lists, by keyset: a cursor remembers a place in the order, not a number of rows,
//! so pages stay right while rows come and go.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::input::echo;
use crate::cluster::{WorkerOrder, WorkerSortKey};
use crate::error::{Error, Result};

/// Size of a page when nobody asks for one.
pub(crate) const DEFAULT_SIZE: usize = 100;

/// Largest page.
pub(crate) const MAX_SIZE: usize = 500;

/// Which part of a list is wanted: the first so many after a cursor, or the last so many before one.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// How many from the front.
    pub first: Option<i64>,
    /// Only what comes after this.
    pub after: Option<String>,
    /// How many from the end.
    pub last: Option<i64>,
    /// Only what comes before this.
    pub before: Option<String>,
    /// How the protocol that asks names these four, for whoever has to mend them.
    pub names: PageNames,
}

impl PageRequest {
    /// Whether no part is asked for.
    pub fn is_for_all(&self) -> bool {
        let Self { first, after, last, before, names: _ } = self;
        first.is_none() && after.is_none() && last.is_none() && before.is_none()
    }
}

/// What a protocol calls the parameters of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNames {
    /// How many from the front.
    pub first: &'static str,
    /// Only what comes after this.
    pub after: &'static str,
    /// In what order.
    pub order: &'static str,
}

impl Default for PageNames {
    /// As connections are specified.
    fn default() -> Self {
        Self { first: "first", after: "after", order: "orderBy" }
    }
}

/// An element with its place in the order.
#[derive(Clone, Debug)]
pub struct Edge<T> {
    /// What the list is sorted by.
    pub key: WorkerSortKey,
    /// The element's id, which makes the order total.
    pub id: Arc<str>,
    /// The element.
    pub node: T,
}

impl<T> Edge<T> {
    /// The place as opaque text.
    pub fn cursor(&self) -> String {
        let place = Place { key: self.key.clone(), id: self.id.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&place).unwrap_or_default())
    }
}

/// What a cursor remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    key: WorkerSortKey,
    id: Arc<str>,
}

impl Place {
    fn parse(text: &str, field: &'static str) -> Result<Self> {
        URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
            Error::invalid(field, format!("{:?} is not a cursor of this API: pass back one unchanged", echo(text)))
        })
    }

    /// Where an element lies, seen from here.
    fn compare<T>(&self, edge: &Edge<T>, descending: bool, field: &'static str, order: &str) -> Result<Ordering> {
        let by_key = edge.key.compare(&self.key).ok_or_else(|| {
            let problem = "is a cursor of another order: pass back one that came with the present";
            Error::invalid(field, format!("{problem} `{order}`"))
        })?;
        let by_key = if descending { by_key.reverse() } else { by_key };
        Ok(by_key.then_with(|| edge.id.cmp(&self.id)))
    }
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The elements, in order.
    pub edges: Vec<Edge<T>>,
    /// How many there are in the whole list.
    pub total: usize,
    /// Whether there is more behind.
    pub has_next: bool,
    /// Whether there is more in front.
    pub has_previous: bool,
}

impl<T> Page<T> {
    /// Cuts the wanted part out of the whole list, which comes sorted by id.
    pub fn of(mut edges: Vec<Edge<T>>, order: WorkerOrder, request: &PageRequest) -> Result<Self> {
        let PageRequest { first, after, last, before, names } = request;
        let (size, from_the_end) = match (first, last) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("last", "cannot be combined with `first`: ask for one of them"));
            }
            (None, Some(last)) => (page_size("last", *last)?, true),
            (Some(first), None) => (page_size(names.first, *first)?, false),
            (None, None) => (DEFAULT_SIZE, false),
        };
        sort(&mut edges, order);
        let total = edges.len();
        let mut start = 0;
        let mut end = total;
        if let Some(after) = after {
            let place = Place::parse(after, names.after)?;
            start = count_until(&edges, |edge| {
                Ok(place.compare(edge, order.descending, names.after, names.order)?.is_gt())
            })?;
        }
        if let Some(before) = before {
            let place = Place::parse(before, "before")?;
            end =
                count_until(&edges, |edge| Ok(place.compare(edge, order.descending, "before", names.order)?.is_ge()))?;
        }
        end = end.max(start);
        if from_the_end {
            start = start.max(end.saturating_sub(size));
        } else {
            end = end.min(start.saturating_add(size));
        }
        edges.truncate(end);
        edges.drain(..start);
        Ok(Self { edges, total, has_next: end < total, has_previous: start > 0 })
    }

    /// The place of the last element, to go on from.
    pub fn end_cursor(&self) -> Option<String> {
        self.edges.last().map(Edge::cursor)
    }

    /// The place of the first element, to go back from.
    pub fn start_cursor(&self) -> Option<String> {
        self.edges.first().map(Edge::cursor)
    }
}

/// A list for those who need not page: whole, unless they ask for a part of it.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The elements, in order.
    pub nodes: Vec<T>,
    /// How many there are in the whole list.
    pub total: usize,
    /// Where to go on, if there is more.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// The whole list, or the page of it that is asked for. Both come from `list` by id; `edge` tells an element's
    /// place in the order that is asked for.
    pub(super) fn of(
        list: Vec<T>,
        edge: impl Fn(T) -> Edge<T>,
        order: WorkerOrder,
        request: &PageRequest,
    ) -> Result<Self> {
        if request.is_for_all() {
            let nodes = if order == WorkerOrder::default() {
                // What is asked for most, and comes in its order already.
                list
            } else {
                let mut edges: Vec<_> = list.into_iter().map(edge).collect();
                sort(&mut edges, order);
                edges.into_iter().map(|edge| edge.node).collect()
            };
            return Ok(Self { total: nodes.len(), nodes, next: None });
        }
        let page = Page::of(list.into_iter().map(edge).collect(), order, request)?;
        let next = page.end_cursor().filter(|_| page.has_next);
        Ok(Self { nodes: page.edges.into_iter().map(|edge| edge.node).collect(), total: page.total, next })
    }
}

/// Puts edges in order; equal ones by id.
fn sort<T>(edges: &mut [Edge<T>], order: WorkerOrder) {
    edges.sort_by(|one, other| {
        let by_key = one.key.compare(&other.key).unwrap_or(Ordering::Equal);
        let by_key = if order.descending { by_key.reverse() } else { by_key };
        by_key.then_with(|| one.id.cmp(&other.id))
    });
}

/// How many edges come before the first one that passes.
fn count_until<T>(edges: &[Edge<T>], mut passes: impl FnMut(&Edge<T>) -> Result<bool>) -> Result<usize> {
    for (index, edge) in edges.iter().enumerate() {
        if passes(edge)? {
            return Ok(index);
        }
    }
    Ok(edges.len())
}

fn page_size(field: &'static str, size: i64) -> Result<usize> {
    match usize::try_from(size) {
        Ok(size) if size <= MAX_SIZE => Ok(size),
        _ => Err(Error::invalid(field, format!("must be from 0 to {MAX_SIZE}, not {size}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(ids: &[&str]) -> Vec<Edge<()>> {
        ids.iter().map(|id| Edge { key: WorkerSortKey::Id((*id).to_owned()), id: (*id).into(), node: () }).collect()
    }

    fn ids(page: &Page<()>) -> Vec<&str> {
        page.edges.iter().map(|edge| &*edge.id).collect()
    }

    #[test]
    fn pages_stay_right_while_rows_come_and_go() {
        let order = WorkerOrder::default();
        let first = PageRequest { first: Some(2), ..PageRequest::default() };
        let page = Page::of(edges(&["a", "b", "d", "e"]), order, &first).unwrap();
        assert_eq!((ids(&page), page.total, page.has_next, page.has_previous), (vec!["a", "b"], 4, true, false));

        // The row of the cursor goes, another comes: the next page neither repeats nor skips.
        let next = PageRequest { after: page.end_cursor(), ..first };
        let page = Page::of(edges(&["a", "c", "d", "e"]), order, &next).unwrap();
        assert_eq!((ids(&page), page.has_next, page.has_previous), (vec!["c", "d"], true, true));

        let back = PageRequest { last: Some(2), before: page.start_cursor(), ..PageRequest::default() };
        let page = Page::of(edges(&["a", "b", "c", "d"]), order, &back).unwrap();
        assert_eq!((ids(&page), page.has_next, page.has_previous), (vec!["a", "b"], true, false));
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        let request = PageRequest::default();
        for (request, field) in [
            (PageRequest { first: Some(-1), ..request.clone() }, "first"),
            (PageRequest { first: Some(501), ..request.clone() }, "first"),
            (PageRequest { first: Some(1), last: Some(1), ..request.clone() }, "last"),
            (PageRequest { after: Some("nonsense".into()), ..request.clone() }, "after"),
        ] {
            let error = Page::of(edges(&["a"]), WorkerOrder::default(), &request).unwrap_err();
            assert!(matches!(error, Error::Invalid { field: named, .. } if named == field), "{error}");
        }
    }
}
