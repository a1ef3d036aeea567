//! Pages of lists, by keyset: a cursor has the sort key and the id of a row, not a number of rows, so that pages stay
//! right while rows are added, removed and moved (see [`WalkOrder`]).
//!
//! Where rows come from is not known here: a list that can be searched implements [`Seek`] or [`ListById`]; of any
//! other every row is looked at, and no more than two pages of them are kept at a time.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::checks::truncate;
use super::{Reading, Resolvers};
use crate::cluster::{Cursor, Snapshot, SortKey, View, VmOrder, VmOrderField, WorkerOrder, WorkerOrderField};
use crate::error::{Error, Result};

/// Size of a page, unless the request has one.
pub(crate) const DEFAULT_SIZE: usize = 100;

/// Largest page.
pub(crate) const MAX_SIZE: usize = 500;

/// A request for a page: the first rows after a cursor, or the last rows before one.
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
    /// What the protocol calls these four, for refusals.
    pub names: PageNames,
}

impl PageRequest {
    /// Whether the page begins where the list does.
    pub(super) fn starts_at_the_front(&self) -> bool {
        self.after.is_none() && self.last.is_none() && self.before.is_none()
    }

    /// The size of the page, and whether it is counted from the end.
    pub(super) fn size(&self) -> Result<(usize, bool)> {
        match (self.first, self.last) {
            (Some(_), Some(_)) => Err(Error::invalid("last", "cannot be combined with `first`: ask for one of them")),
            (None, Some(last)) => Ok((page_size("last", last)?, true)),
            (Some(first), None) => Ok((page_size(self.names.first, first)?, false)),
            (None, None) => Ok((DEFAULT_SIZE, false)),
        }
    }

    /// How many rows are read at most for the page of a list of so many rows that can be searched.
    pub(super) fn most_rows(&self, all: usize) -> usize {
        if self.is_for_all() { all } else { all.min(MAX_SIZE) }
    }

    /// The revision at which the walk began that the page is of; none if the page is the first of its walk, or its
    /// cursors are invalid.
    pub(super) fn walk_start_revision(&self) -> Option<u64> {
        let places = [(&self.after, self.names.after), (&self.before, "before")];
        let places = places.into_iter().filter_map(|(text, field)| CursorPosition::parse(text.as_deref()?, field).ok());
        places.filter_map(|place| Some(place.since("after").ok()??.revision)).min()
    }

    /// Whether the whole list is asked for, and no page.
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
    /// As the Relay specification calls them.
    fn default() -> Self {
        Self { first: "first", after: "after", order: "orderBy" }
    }
}

/// An order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOrder {
    key: PageKey,
    /// Largest first.
    descending: bool,
}

/// By what a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageKey {
    /// By the ids of what is listed, which never change: nothing ever moves in this order.
    Id,
    /// By a key of workers other than the id.
    Worker(WorkerOrderField),
    /// By a key of VMs other than the id.
    Vm(VmOrderField),
}

impl PageOrder {
    /// By id, smallest first: the order in which lists come.
    pub(super) const BY_ID: Self = Self { key: PageKey::Id, descending: false };

    fn is_by_id(&self) -> bool {
        self.key == PageKey::Id
    }

    /// The position that a cursor stands for, which has to be one of this order, also in a list that is empty.
    fn position(&self, cursor: &str, field: &'static str, names: &PageNames) -> Result<CursorPosition> {
        let place = CursorPosition::parse(cursor, field)?;
        let is_of_this_order = match self.key {
            PageKey::Id => matches!(place.key, SortKey::Id(_)),
            PageKey::Worker(order) => order.has_key(&place.key),
            PageKey::Vm(order) => order.has_key(&place.key),
        };
        if is_of_this_order { Ok(place) } else { Err(cursor_of_another_order(field, names)) }
    }
}

impl From<WorkerOrder> for PageOrder {
    fn from(WorkerOrder { field, descending }: WorkerOrder) -> Self {
        let key = if field == WorkerOrderField::Id { PageKey::Id } else { PageKey::Worker(field) };
        Self { key, descending }
    }
}

impl From<VmOrder> for PageOrder {
    fn from(VmOrder { field, descending }: VmOrder) -> Self {
        let key = if field == VmOrderField::Id { PageKey::Id } else { PageKey::Vm(field) };
        Self { key, descending }
    }
}

/// An element with its position in an order.
#[derive(Clone, Debug)]
pub struct Edge<T> {
    /// What the list is sorted by.
    key: SortKey,
    /// The element's id, which makes the order total.
    pub id: Arc<str>,
    /// The revision at which the key last changed, or a later one.
    key_revision: u64,
    /// Where the change log was when the walk began; none in an order whose keys never change, and until the element is
    /// on a page.
    since: Option<Cursor>,
    /// The element.
    pub node: T,
}

impl<T> Edge<T> {
    /// An element whose key last changed at this revision, or before it.
    pub fn new(key: SortKey, id: Arc<str>, key_revision: u64, node: T) -> Self {
        Self { key, id, key_revision, since: None, node }
    }

    /// The same in a walk that began there.
    pub(super) fn in_walk(self, since: &Cursor) -> Self {
        Self { since: Some(since.clone()), ..self }
    }

    /// The position as an opaque text.
    pub fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&self.place(self.since.as_ref())).unwrap_or_default())
    }

    /// The position in a walk that began there.
    fn place(&self, since: Option<&Cursor>) -> CursorPosition {
        let has_moved = since.is_some_and(|since| self.key_revision > since.revision);
        CursorPosition { key: self.key.clone(), id: self.id.clone(), since: since.map(Cursor::to_string), has_moved }
    }

    /// Compares two elements of one order in which nothing has moved.
    pub fn compare(&self, other: &Self, order: PageOrder) -> Ordering {
        let by_key = self.key.compare(&other.key).unwrap_or(Ordering::Equal);
        let by_key = if order.descending { by_key.reverse() } else { by_key };
        by_key.then_with(|| self.id.cmp(&other.id))
    }
}

/// A position in a list, as a cursor encodes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CursorPosition {
    pub(super) key: SortKey,
    pub(super) id: Arc<str>,
    /// Where the change log was when the walk began, as its cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Whether the key of the element may have changed since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_moved: bool,
}

impl CursorPosition {
    pub(super) fn parse(text: &str, field: &'static str) -> Result<Self> {
        URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
            Error::invalid(field, format!("{:?} is not a cursor of this API: pass back one unchanged", truncate(text)))
        })
    }

    fn since(&self, field: &'static str) -> Result<Option<Cursor>> {
        let since = self.since.as_deref().map(str::parse).transpose();
        since.map_err(|_| Error::invalid(field, "is not a cursor of this API: pass back one unchanged"))
    }
}

/// The order of a walk: of reading a list page by page while its elements move.
///
/// An element may get another key during a walk, and so jump over the cursor without being on any page. Elements whose
/// key may have changed since the walk began therefore come last, ordered by their ids, which never change; in a walk
/// from the end, they come first. So a walk meets every element that is in the list throughout, and meets an element
/// twice only if it moved after it was met.
struct WalkOrder {
    order: PageOrder,
    /// Where the change log was when the walk began; none in the order by id.
    since: Option<Cursor>,
    from_the_end: bool,
}

impl WalkOrder {
    fn compare(&self, one: (&SortKey, &str, bool), other: (&SortKey, &str, bool)) -> Ordering {
        let ((key, id, has_moved), (other_key, other_id, other_has_moved)) = (one, other);
        let by_moves = has_moved.cmp(&other_has_moved);
        let by_moves = if self.from_the_end { by_moves.reverse() } else { by_moves };
        let by_key = if has_moved { Ordering::Equal } else { key.compare(other_key).unwrap_or(Ordering::Equal) };
        let by_key = if self.order.descending { by_key.reverse() } else { by_key };
        by_moves.then(by_key).then_with(|| id.cmp(other_id))
    }

    fn place<'a, T>(&self, edge: &'a Edge<T>) -> (&'a SortKey, &'a str, bool) {
        let has_moved = self.since.as_ref().is_some_and(|since| edge.key_revision > since.revision);
        (&edge.key, &edge.id, has_moved)
    }

    /// Compares an element with the position of a cursor.
    fn seen_from<T>(&self, place: &CursorPosition, edge: &Edge<T>) -> Ordering {
        self.compare(self.place(edge), (&place.key, &place.id, place.has_moved && self.since.is_some()))
    }
}

/// The first elements of a walk, out of elements that come in any order; of a walk from the end, the last ones.
struct Selection<'w, T> {
    walk: &'w WalkOrder,
    /// How many are wanted.
    size: usize,
    /// At most twice as many as are wanted. Once some were left out, the one at position `size - 1` is the last of
    /// those that were wanted then.
    kept: Vec<Edge<T>>,
    has_left_out: bool,
}

impl<T> Selection<'_, T> {
    fn add(&mut self, edge: Edge<T>) {
        if self.kept.len() >= self.size.saturating_mul(2) {
            self.shrink();
        }
        let worst = self.size.checked_sub(1).and_then(|at| self.kept.get(at)).filter(|_| self.has_left_out);
        if self.size == 0 || worst.is_some_and(|worst| self.compare(&edge, worst).is_gt()) {
            self.has_left_out = true;
        } else {
            self.kept.push(edge);
        }
    }

    /// Leaves out what is not wanted any more.
    fn shrink(&mut self) {
        let Some(last) = self.size.checked_sub(1).filter(|_| self.kept.len() > self.size) else { return };
        let mut kept = std::mem::take(&mut self.kept);
        kept.select_nth_unstable_by(last, |one, other| self.compare(one, other));
        kept.truncate(self.size);
        self.kept = kept;
        self.has_left_out = true;
    }

    /// Compares two elements by which is met first.
    fn compare(&self, one: &Edge<T>, other: &Edge<T>) -> Ordering {
        let by_walk = self.walk.compare(self.walk.place(one), self.walk.place(other));
        if self.walk.from_the_end { by_walk.reverse() } else { by_walk }
    }

    /// The elements in the order of the list, and whether there were more.
    fn finish(mut self) -> (Vec<Edge<T>>, bool) {
        self.shrink();
        let Self { walk, mut kept, has_left_out, .. } = self;
        kept.sort_unstable_by(|one, other| walk.compare(walk.place(one), walk.place(other)));
        (kept, has_left_out)
    }
}

/// A list of which the part between two positions is found by search.
pub(super) trait Seek {
    /// An element.
    type Node;

    /// A position in the list.
    type Position: ?Sized;

    /// The elements between two positions, in the direction of the walk; no elements if the second is before the first.
    fn between<'a>(
        &'a self,
        lower: Bound<&'a Self::Position>,
        upper: Bound<&'a Self::Position>,
    ) -> Box<dyn DoubleEndedIterator<Item = Self::Node> + 'a>;

    /// Compares two positions.
    fn compare(&self, one: &Self::Position, other: &Self::Position) -> Ordering;

    /// How many elements there are in the whole list.
    fn total(&self) -> usize;

    /// The edge of an element.
    fn edge(&self, node: Self::Node) -> Edge<Self::Node>;
}

/// A list in the order by id, in either direction.
struct ById<'l, L> {
    list: &'l L,
    descending: bool,
}

impl<L: ListById> Seek for ById<'_, L> {
    type Node = L::Node;
    type Position = str;

    fn between<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> Box<dyn DoubleEndedIterator<Item = L::Node> + 'a> {
        // The list itself is read in ascending order.
        if self.descending {
            Box::new(self.list.range(upper, lower).rev())
        } else {
            Box::new(self.list.range(lower, upper))
        }
    }

    fn compare(&self, one: &str, other: &str) -> Ordering {
        if self.descending { other.cmp(one) } else { one.cmp(other) }
    }

    fn total(&self) -> usize {
        self.list.total()
    }

    fn edge(&self, node: L::Node) -> Edge<L::Node> {
        self.list.edge(node)
    }
}

/// A list in the order by id, of which any part is found by search.
pub(super) trait ListById {
    /// An element.
    type Node;

    /// The elements between two ids, in ascending order.
    fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = Self::Node> + 'a;

    /// How many there are in the whole list.
    fn total(&self) -> usize;

    /// The edge of an element in the order by id.
    fn edge(&self, node: Self::Node) -> Edge<Self::Node>;
}

/// The objects of a view that match a filter.
pub(super) struct FilteredList<'a, F> {
    pub(super) view: &'a Arc<View>,
    pub(super) filter: &'a F,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The elements, in order.
    pub edges: Vec<Edge<T>>,
    /// How many there are in the whole list.
    pub total: usize,
    /// Whether elements follow.
    pub has_next: bool,
    /// Whether elements precede.
    pub has_previous: bool,
}

impl<T> Page<T> {
    /// Selects the page from the elements of the whole list, which come in any order, and are of this snapshot. Each is
    /// compared with those that are kept; there are never more than two pages of these.
    pub fn of(
        edges: impl IntoIterator<Item = Edge<T>>,
        order: impl Into<PageOrder>,
        request: &PageRequest,
        now: &Snapshot,
    ) -> Result<Self> {
        let order = order.into();
        let PageRequest { first: _, after, last: _, before, names } = request;
        let (size, from_the_end) = request.size()?;
        let parse =
            |text: &Option<String>, field| text.as_ref().map(|text| order.position(text, field, names)).transpose();
        let (after, before) = (parse(after, names.after)?, parse(before, "before")?);
        let since = (!order.is_by_id()).then(|| walk_start(&after, &before, names.after, now)).transpose()?;
        let walk = WalkOrder { order, since, from_the_end };
        let mut selection = Selection { walk: &walk, size, kept: Vec::new(), has_left_out: false };
        let (mut total, mut some_precede, mut some_follow) = (0, false, false);
        for edge in edges {
            total += 1;
            if after.as_ref().is_some_and(|after| walk.seen_from(after, &edge).is_le()) {
                some_precede = true;
            } else if before.as_ref().is_some_and(|before| walk.seen_from(before, &edge).is_ge()) {
                some_follow = true;
            } else {
                selection.add(edge);
            }
        }
        let (mut edges, has_left_out) = selection.finish();
        edges.iter_mut().for_each(|edge| edge.since = walk.since.clone());
        let has_next = some_follow || (has_left_out && !from_the_end);
        let has_previous = some_precede || (has_left_out && from_the_end);
        Ok(Self { edges, total, has_next, has_previous })
    }

    /// The same page, cut out of the whole list after that was sorted: what every other way to a page is compared with.
    #[cfg(test)]
    pub(super) fn cut_out(
        mut edges: Vec<Edge<T>>,
        order: impl Into<PageOrder>,
        request: &PageRequest,
        now: &Snapshot,
    ) -> Result<Self> {
        let order = order.into();
        let PageRequest { after, before, names, .. } = request;
        let (size, from_the_end) = request.size()?;
        let parse =
            |text: &Option<String>, field| text.as_ref().map(|text| order.position(text, field, names)).transpose();
        let (after, before) = (parse(after, names.after)?, parse(before, "before")?);
        let since = (!order.is_by_id()).then(|| walk_start(&after, &before, names.after, now)).transpose()?;
        let walk = WalkOrder { order, since, from_the_end };
        edges.sort_by(|one, other| walk.compare(walk.place(one), walk.place(other)));
        let total = edges.len();
        let place_of = |place: &Option<CursorPosition>, is_before: fn(Ordering) -> bool| {
            place.as_ref().map(|place| edges.partition_point(|edge| is_before(walk.seen_from(place, edge))))
        };
        let mut start = place_of(&after, Ordering::is_le).unwrap_or(0);
        let mut end = place_of(&before, Ordering::is_lt).unwrap_or(total).max(start);
        if from_the_end {
            start = start.max(end.saturating_sub(size));
        } else {
            end = end.min(start.saturating_add(size));
        }
        edges.truncate(end);
        edges.drain(..start);
        edges.iter_mut().for_each(|edge| edge.since = walk.since.clone());
        Ok(Self { edges, total, has_next: end < total, has_previous: start > 0 })
    }

    /// Reads the page from a list in the order by id, ascending or descending.
    pub(super) fn by_id(list: &impl ListById<Node = T>, descending: bool, request: &PageRequest) -> Result<Self> {
        let PageRequest { after, before, names, .. } = request;
        let parse = |text: &Option<String>, field| {
            let Some(text) = text else { return Ok(None) };
            match CursorPosition::parse(text, field)?.key {
                SortKey::Id(id) => Ok(Some(id)),
                _ => Err(cursor_of_another_order(field, names)),
            }
        };
        let size = request.size()?;
        let (after, before) = (parse(after, names.after)?, parse(before, "before")?);
        Ok(Self::sought(&ById { list, descending }, after.as_deref(), before.as_deref(), size))
    }

    /// Reads a page from a list that can be searched: so many elements between two positions, counted from the start or
    /// from the end. Only the elements of the page, and one beside it, are taken from the list, so that a page costs
    /// its own length and not the list's.
    pub(super) fn sought<L: Seek<Node = T>>(
        list: &L,
        after: Option<&L::Position>,
        before: Option<&L::Position>,
        (size, from_the_end): (usize, bool),
    ) -> Self {
        let excluded = |place: Option<_>| place.map_or(Bound::Unbounded, Bound::Excluded);
        let mut part = list.between(excluded(after), excluded(before));
        let mut next = || if from_the_end { part.next_back() } else { part.next() };
        let mut edges: Vec<_> = std::iter::from_fn(&mut next).take(size).map(|node| list.edge(node)).collect();
        let there_is_more = next().is_some();
        if from_the_end {
            edges.reverse();
        }
        let has_previous = (there_is_more && from_the_end)
            || after.is_some_and(|after| list.between(Bound::Unbounded, Bound::Included(after)).next().is_some());
        let has_next = (there_is_more && !from_the_end)
            || before.is_some_and(|before| {
                // A `before` that precedes `after` does not limit the page.
                let start = after.filter(|after| list.compare(after, before).is_ge());
                let start = start.map_or(Bound::Included(before), Bound::Excluded);
                list.between(start, Bound::Unbounded).next().is_some()
            });
        Self { edges, total: list.total(), has_next, has_previous }
    }

    /// The cursor of the last element, to go on from.
    pub fn end_cursor(&self) -> Option<String> {
        self.edges.last().map(Edge::cursor)
    }

    /// The cursor of the first element, to go back from.
    pub fn start_cursor(&self) -> Option<String> {
        self.edges.first().map(Edge::cursor)
    }
}

/// A list that is whole unless a page of it is asked for.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The elements, in order.
    pub nodes: Vec<T>,
    /// How many there are in the whole list.
    pub total: usize,
    /// The cursor to go on from, if there is more.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// The whole list, or the page of it that is asked for. `list` comes sorted by id; `edge` makes an element's edge
    /// in the order that is asked for.
    pub(super) fn of(
        list: Vec<T>,
        edge: impl Fn(T) -> Edge<T>,
        order: impl Into<PageOrder>,
        request: &PageRequest,
        now: &Snapshot,
    ) -> Result<Self> {
        let order = order.into();
        if request.is_for_all() {
            let nodes = if order == PageOrder::BY_ID {
                // The most frequent case: the list is in its order already.
                list
            } else {
                let mut edges: Vec<_> = list.into_iter().map(edge).collect();
                edges.sort_by(|one, other| one.compare(other, order));
                edges.into_iter().map(|edge| edge.node).collect()
            };
            return Ok(Self { total: nodes.len(), nodes, next: None });
        }
        Ok(Page::of(list.into_iter().map(edge), order, request, now)?.into())
    }
}

impl<T> From<Page<T>> for Listing<T> {
    fn from(page: Page<T>) -> Self {
        let next = page.end_cursor().filter(|_| page.has_next);
        Self { nodes: page.edges.into_iter().map(|edge| edge.node).collect(), total: page.total, next }
    }
}

/// Where the change log was when the walk of these positions began: where it is now, if there are none.
pub(super) fn walk_start(
    after: &Option<CursorPosition>,
    before: &Option<CursorPosition>,
    field: &'static str,
    now: &Snapshot,
) -> Result<Cursor> {
    let since = |place: &Option<CursorPosition>, field| place.as_ref().map_or(Ok(None), |place| place.since(field));
    let (after, before) = (since(after, field)?, since(before, "before")?);
    for (since, field) in [(&after, field), (&before, "before")] {
        match since {
            Some(since) if !now.epochs.include(since) => return Err(cursor_of_another_database(field)),
            Some(Cursor { revision, .. }) if *revision > now.revision => {
                return Err(Error::RevisionNotReached { wanted: *revision, current: now.revision });
            }
            Some(_) | None => {}
        }
    }
    // A page between cursors of two walks belongs to the earlier one.
    let earlier = [after, before].into_iter().flatten().min_by_key(|since| since.revision);
    Ok(earlier.unwrap_or_else(|| now.cursor()))
}

pub(super) fn cursor_of_another_order(field: &'static str, names: &PageNames) -> Error {
    let problem = "is a cursor of another order: pass back one that came with the present";
    Error::invalid(field, format!("{problem} `{}`", names.order))
}

fn cursor_of_another_database(field: &'static str) -> Error {
    let problem = "is a cursor of another database, or of what this one was before it was restored from a backup: begin \
                   with the first page again";
    Error::invalid(field, problem)
}

impl Resolvers {
    /// The cluster, at a revision not before those of the page's cursors, which may have come from another server.
    pub async fn read_for_page(&self, reading: Reading, request: &PageRequest) -> Result<Reading> {
        let PageRequest { after, before, names, .. } = request;
        for (text, field) in [(after, names.after), (before, "before")] {
            // An invalid cursor is refused when the page is read.
            let place = text.as_deref().and_then(|text| CursorPosition::parse(text, field).ok());
            let Some(since) = place.and_then(|place| place.since(field).ok().flatten()) else { continue };
            let is_there = reading.view.snapshot.epochs.include(&since) && since.revision <= reading.revision();
            if !is_there {
                let snapshot = self.journal.for_server().snapshot_at_cursor(&since).await?;
                return snapshot.map(|_| self.present()).ok_or_else(|| cursor_of_another_database(field));
            }
        }
        Ok(reading)
    }
}

fn page_size(field: &'static str, size: i64) -> Result<usize> {
    match usize::try_from(size) {
        Ok(size) if size <= MAX_SIZE => Ok(size),
        _ => Err(Error::invalid(field, format!("must be from 0 to {MAX_SIZE}, not {size}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::Changes;

    fn edges(ids: &[&str]) -> Vec<Edge<()>> {
        ids.iter().map(|id| Edge::new(SortKey::Id((*id).into()), (*id).into(), 0, ())).collect()
    }

    fn now() -> Snapshot {
        Snapshot::empty("test".into())
    }

    fn ids(page: &Page<()>) -> Vec<&str> {
        page.edges.iter().map(|edge| &*edge.id).collect()
    }

    #[test]
    fn pages_stay_right_while_rows_come_and_go() {
        let order = WorkerOrder::default();
        let first = PageRequest { first: Some(2), ..PageRequest::default() };
        let page = Page::of(edges(&["a", "b", "d", "e"]), order, &first, &now()).unwrap();
        assert_eq!((ids(&page), page.total, page.has_next, page.has_previous), (vec!["a", "b"], 4, true, false));

        // The row of the cursor goes, another comes: the next page neither repeats nor skips.
        let next = PageRequest { after: page.end_cursor(), ..first };
        let page = Page::of(edges(&["a", "c", "d", "e"]), order, &next, &now()).unwrap();
        assert_eq!((ids(&page), page.has_next, page.has_previous), (vec!["c", "d"], true, true));

        let back = PageRequest { last: Some(2), before: page.start_cursor(), ..PageRequest::default() };
        let page = Page::of(edges(&["a", "b", "c", "d"]), order, &back, &now()).unwrap();
        assert_eq!((ids(&page), page.has_next, page.has_previous), (vec!["a", "b"], true, false));
    }

    /// A list that lies by id, of which every second one matches nothing, as behind a filter.
    struct Lying(BTreeMap<String, bool>);

    impl ListById for Lying {
        type Node = String;

        fn range<'a>(
            &'a self,
            lower: Bound<&'a str>,
            upper: Bound<&'a str>,
        ) -> impl DoubleEndedIterator<Item = String> + 'a {
            let is_above = move |id: &str| match lower {
                Bound::Included(lower) => id >= lower,
                Bound::Excluded(lower) => id > lower,
                Bound::Unbounded => true,
            };
            let is_below = move |id: &str| match upper {
                Bound::Included(upper) => id <= upper,
                Bound::Excluded(upper) => id < upper,
                Bound::Unbounded => true,
            };
            let matching = self.0.iter().filter(|(_, matches)| **matches).map(|(id, _)| id);
            matching.filter(move |id| is_above(id) && is_below(id)).cloned()
        }

        fn total(&self) -> usize {
            self.0.values().filter(|matches| **matches).count()
        }

        fn edge(&self, id: String) -> Edge<String> {
            Edge::new(SortKey::Id(id.as_str().into()), id.as_str().into(), 0, id)
        }
    }

    fn cursor_of(id: u8) -> String {
        Edge::new(SortKey::Id(format!("{id:02}").into()), format!("{id:02}").into(), 0, ()).cursor()
    }

    proptest! {
        #[test]
        fn a_page_that_is_sought_is_the_one_that_is_cut_out_of_the_whole_list(
            rows in prop::collection::btree_map(0_u8..30, any::<bool>(), 0..30),
            (after, before) in (prop::option::of(0_u8..30), prop::option::of(0_u8..30)),
            (size, from_the_end, descending) in (prop::option::of(0_i64..12), any::<bool>(), any::<bool>()),
        ) {
            let list = Lying(rows.into_iter().map(|(id, matches)| (format!("{id:02}"), matches)).collect());
            let request = PageRequest {
                first: size.filter(|_| !from_the_end),
                last: size.filter(|_| from_the_end),
                after: after.map(cursor_of),
                before: before.map(cursor_of),
                names: PageNames::default(),
            };
            let order = WorkerOrder { descending, ..WorkerOrder::default() };
            let whole: Vec<_> = list.range(Bound::Unbounded, Bound::Unbounded).map(|id| list.edge(id)).collect();
            let cut = Page::cut_out(whole, order, &request, &now()).unwrap();
            let sought = Page::by_id(&list, descending, &request).unwrap();
            let nodes = |page: &Page<String>| page.edges.iter().map(|edge| edge.node.clone()).collect::<Vec<_>>();
            prop_assert_eq!(nodes(&sought), nodes(&cut));
            prop_assert_eq!(
                (sought.total, sought.has_next, sought.has_previous, sought.start_cursor(), sought.end_cursor()),
                (cut.total, cut.has_next, cut.has_previous, cut.start_cursor(), cut.end_cursor())
            );
        }
    }

    proptest! {
        /// Whatever the order in which elements come, and however many there are beside those of the page.
        #[test]
        fn a_page_that_is_selected_is_the_one_that_is_cut_out_of_the_sorted_list(
            rows in prop::collection::btree_map(0_u16..200, (0_usize..6, 0_u64..4), 0..120),
            shuffle in any::<u64>(),
            (after, before) in (prop::option::of((0_usize..6, 0_u16..200, any::<bool>())), prop::option::of((0_usize..6, 0_u16..200, any::<bool>()))),
            (size, from_the_end, descending) in (prop::option::of(0_i64..12), any::<bool>(), any::<bool>()),
        ) {
            // Some of the elements have moved since a walk that began at revision 2.
            let now = Snapshot::empty("test".into()).apply(Changes::default(), 3);
            let edge = |id: u16, key, revision| {
                let id: Arc<str> = format!("{id:03}").into();
                Edge::new(SortKey::Vms(key), id, revision, ())
            };
            let cursor = |(key, id, has_moved)| {
                edge(id, key, if has_moved { 3 } else { 0 }).in_walk(&now.cursor_after(2)).cursor()
            };
            let request = PageRequest {
                first: size.filter(|_| !from_the_end),
                last: size.filter(|_| from_the_end),
                after: after.map(cursor),
                before: before.map(cursor),
                names: PageNames::default(),
            };
            let order = PageOrder { key: PageKey::Worker(WorkerOrderField::VmCount), descending };
            let mut edges: Vec<_> = rows.into_iter().map(|(id, (key, revision))| edge(id, key, revision)).collect();
            let cut = Page::cut_out(edges.clone(), order, &request, &now).unwrap();
            edges.sort_by_key(|edge| edge.id.bytes().fold(shuffle, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)));
            let selected = Page::of(edges, order, &request, &now).unwrap();
            let cursors = |page: &Page<()>| page.edges.iter().map(Edge::cursor).collect::<Vec<_>>();
            prop_assert_eq!(ids(&selected), ids(&cut));
            prop_assert_eq!(cursors(&selected), cursors(&cut));
            prop_assert_eq!(
                (selected.total, selected.has_next, selected.has_previous),
                (cut.total, cut.has_next, cut.has_previous)
            );
        }
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
            let error = Page::of(edges(&["a"]), WorkerOrder::default(), &request, &now()).unwrap_err();
            assert!(matches!(error, Error::Invalid { field: named, .. } if named == field), "{error}");
        }
    }
}
