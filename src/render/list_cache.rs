//! Lists whose rows are rendered once and kept until they would look different.
//!
//! A client that asks for all workers a hundred times a second asks for the same rows a hundred times: a few have
//! changed meanwhile, the rest have not. So a protocol hands in a function that writes one row, and it is called only
//! for rows that changed, or whose text the clock has changed (an `uptime` counts seconds). Rows come in chunks that
//! are shared between one state and the next; a chunk in which nothing changed is recognised by its address, and its
//! bytes go out without being copied.
//!
//! The cache of one kind of row is bounded in bytes, all its lists together; the lists that are asked for least are
//! evicted first. Which kinds of rows there are is not known here: they implement [`CacheableRow`].

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::volatility::Volatility;
use crate::clock::Timestamp;

/// How many bytes of rows of one kind are kept, all lists together.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How many lists the cache is laid out for: so few that it does not divide its bytes into shards, since the longest
/// list has to fit into one. It is no limit.
const EXPECTED_LISTS: usize = 16;

/// By what a list is found in the cache.
pub struct ListKey<R> {
    name: Arc<str>,
    /// What the rows show beside their own objects.
    volatility: Volatility,
    rows: PhantomData<fn(&R)>,
}

impl<R> ListKey<R> {
    /// The list with this name. The name has to determine how rows are written: lists with the same name share their
    /// rows.
    pub fn named(name: impl Into<Arc<str>>, volatility: Volatility) -> Self {
        Self { name: name.into(), volatility, rows: PhantomData }
    }

    /// What the rows show beside their own objects.
    pub fn volatility(&self) -> Volatility {
        self.volatility
    }
}

impl<R> fmt::Debug for ListKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListKey").field("name", &self.name).field("volatility", &self.volatility).finish()
    }
}

/// What is known of a row that was written.
#[derive(Clone, Copy, Debug)]
pub struct RenderedRow {
    /// Objects in the lists inside of it.
    pub objects: usize,
    /// Whether it was written to its end; if not, it is not reused.
    pub is_complete: bool,
    /// Changes whenever the row's bytes do.
    pub version: u64,
}

/// All rows of a list, written.
#[derive(Debug, Default)]
pub struct RenderedRows {
    /// The rows in order, divided by commas.
    pub chunks: Vec<Bytes>,
    /// How many rows there are.
    pub total: usize,
    /// Objects in the lists inside of the rows.
    pub objects: usize,
    /// Changes whenever the bytes of any row do.
    pub version: u64,
}

/// A row of a snapshot, whose text can be kept.
pub trait CacheableRow: Sized {
    /// By what the row is recognised later, when it may be gone.
    type Identity;

    /// Rows that lie together, and are replaced together when one of them changes.
    type Chunk: Deref<Target = [Self]>;

    /// How many bytes an identity keeps allocated of a row that is gone.
    const LEFT_BEHIND: usize;

    /// What the row is sorted by.
    fn key(&self) -> &str;

    /// By what the row is recognised later.
    fn identity(&self) -> Self::Identity;

    /// What the row with this identity is sorted by.
    fn key_of(identity: &Self::Identity) -> &str;

    /// Whether this is the very row with this identity, and not only an equal one.
    fn is(&self, identity: &Self::Identity) -> bool;
}

/// The rendered lists of one kind of row.
pub struct ListCache<R: CacheableRow>(Cache<Arc<str>, Arc<CachedList<R>>, ByteWeighter>);

impl<R: CacheableRow> Default for ListCache<R> {
    fn default() -> Self {
        Self(Cache::with_weighter(EXPECTED_LISTS, MAX_BYTES, ByteWeighter))
    }
}

impl<R: CacheableRow> fmt::Debug for ListCache<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListCache").field("bytes", &self.0.weight()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct ByteWeighter;

impl<R: CacheableRow> Weighter<Arc<str>, Arc<CachedList<R>>> for ByteWeighter {
    fn weight(&self, name: &Arc<str>, list: &Arc<CachedList<R>>) -> u64 {
        name.len() as u64 + list.chunks.iter().map(|chunk| chunk.weight()).sum::<u64>().max(1)
    }
}

/// State beside the rows that their text shows. It is compared by its address, and kept alive for that.
type OtherState = Arc<dyn Any + Send + Sync>;

/// All rows of a list as they were written last.
struct CachedList<R: CacheableRow> {
    chunks: Vec<Arc<CachedChunk<R>>>,
    /// The state beside the rows that they were written from, if they show any.
    other_state: Option<OtherState>,
}

/// Neighbouring rows.
struct CachedChunk<R: CacheableRow> {
    /// The rows that were written, to recognise them. They are not kept alive for it.
    rows: Weak<R::Chunk>,
    identities: Arc<[R::Identity]>,
    /// Each row with a comma before it; a row that is not shown has no bytes.
    bytes: Bytes,
    cached: Vec<CachedRow>,
    /// All rows of the chunk, as if they were one.
    all: CachedRow,
}

/// One row among the bytes of its chunk, or all rows of a chunk together.
#[derive(Clone, Copy)]
struct CachedRow {
    /// Where its bytes end. They begin where those of the row before it end.
    end: usize,
    /// The bytes are valid from this moment on,
    since: Timestamp,
    /// and before this one. None: until the row changes.
    until: Option<Timestamp>,
    /// How many rows it stands for; 0 for a row that is not shown.
    total: usize,
    rendered: RenderedRow,
}

impl CachedRow {
    fn is_valid_at(&self, now: Timestamp) -> bool {
        self.rendered.is_complete && self.since <= now && self.until.is_none_or(|until| now < until)
    }

    /// Both together, if `next` follows.
    fn followed_by(self, next: Self) -> Self {
        let until = match (self.until, next.until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            end: next.end,
            since: self.since.max(next.since),
            until,
            total: self.total + next.total,
            rendered: RenderedRow {
                objects: self.rendered.objects.saturating_add(next.rendered.objects),
                is_complete: self.rendered.is_complete && next.rendered.is_complete,
                // A sum, so that it does not depend on the chunks: another server may have divided the same rows
                // otherwise.
                version: self.rendered.version.wrapping_add(next.rendered.version),
            },
        }
    }
}

impl<R: CacheableRow> CachedChunk<R> {
    /// How many bytes the chunk holds, roughly, with those that its identities keep allocated of rows that are gone.
    fn weight(&self) -> u64 {
        let per_row = size_of::<R::Identity>() + size_of::<CachedRow>() + R::LEFT_BEHIND;
        (self.bytes.len() + self.identities.len() * per_row) as u64
    }

    fn is_of(&self, rows: &Arc<R::Chunk>) -> bool {
        std::ptr::eq(self.rows.as_ptr(), Arc::as_ptr(rows))
    }
}

/// The rows that were written before, in order, from the first one that has not been passed yet.
struct PreviousRows<'a, R: CacheableRow> {
    chunks: &'a [Arc<CachedChunk<R>>],
    /// How many rows of the first of these chunks have been passed.
    passed: usize,
}

impl<'a, R: CacheableRow> PreviousRows<'a, R> {
    /// The chunk of these very rows, if it comes next and is still valid.
    fn take_chunk(&mut self, rows: &Arc<R::Chunk>, now: Timestamp) -> Option<&'a Arc<CachedChunk<R>>> {
        let first = rows.first()?.key();
        let ends_before = |chunk: &Arc<CachedChunk<R>>| chunk.identities.last().is_some_and(|it| R::key_of(it) < first);
        while self.chunks.first().is_some_and(ends_before) {
            self.chunks = self.chunks.get(1..)?;
            self.passed = 0;
        }
        let chunk = self.chunks.first()?;
        if self.passed > 0 || !chunk.is_of(rows) || !chunk.all.is_valid_at(now) {
            return None;
        }
        self.chunks = self.chunks.get(1..)?;
        Some(chunk)
    }

    /// The chunk that has valid bytes of this very row, and the row's position in it.
    fn take_row(&mut self, row: &R, now: Timestamp) -> Option<(&'a CachedChunk<R>, usize)> {
        loop {
            let chunk = self.chunks.first()?;
            let Some(identity) = chunk.identities.get(self.passed) else {
                self.chunks = self.chunks.get(1..)?;
                self.passed = 0;
                continue;
            };
            let at = self.passed;
            if row.is(identity) {
                self.passed += 1;
                return chunk.cached.get(at).is_some_and(|cached| cached.is_valid_at(now)).then_some((chunk, at));
            }
            if R::key_of(identity) > row.key() {
                return None;
            }
            self.passed += 1;
            if R::key_of(identity) == row.key() {
                return None;
            }
        }
    }
}

/// Writes a row, and tells before which moment its text is valid; none if the row is not shown.
type WriteRow<'a, R> = dyn FnMut(&R, &mut Vec<u8>) -> Option<(RenderedRow, Option<Timestamp>)> + 'a;

impl<R: CacheableRow> ListCache<R> {
    /// Renders a list: takes the bytes of rows that are still valid, and calls `write` for the others. `other_state` is
    /// what the rows show beside their own objects; another one than the last time makes all of them invalid.
    pub fn render(
        &self,
        list: &ListKey<R>,
        rows: &[Arc<R::Chunk>],
        now: Timestamp,
        other_state: Option<OtherState>,
        write: &mut WriteRow<'_, R>,
    ) -> RenderedRows {
        let before = self.0.get(&list.name).filter(|before| match (&before.other_state, &other_state) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        });
        let mut previous = PreviousRows { chunks: before.as_ref().map_or(&[], |before| &before.chunks), passed: 0 };
        let mut is_new = before.as_ref().is_none_or(|before| before.chunks.len() != rows.len());
        let mut chunks = Vec::with_capacity(rows.len());
        for rows in rows {
            if let Some(chunk) = previous.take_chunk(rows, now) {
                chunks.push(chunk.clone());
            } else {
                is_new = true;
                chunks.push(Arc::new(render_chunk(rows, &mut previous, now, write)));
            }
        }
        let rendered = gather(&chunks);
        if is_new && list.volatility.is_cacheable() {
            self.0.insert(list.name.clone(), Arc::new(CachedList { chunks, other_state }));
        }
        rendered
    }
}

/// Renders a chunk, with the bytes of previous rows as far as they are valid.
fn render_chunk<R: CacheableRow>(
    rows: &Arc<R::Chunk>,
    previous: &mut PreviousRows<'_, R>,
    now: Timestamp,
    write: &mut WriteRow<'_, R>,
) -> CachedChunk<R> {
    // If these are the very rows of before, of which the clock makes some invalid, their identities are the same, too.
    let same = previous.chunks.first().filter(|chunk| previous.passed == 0 && chunk.is_of(rows));
    let identities = same.map_or_else(|| rows.iter().map(R::identity).collect(), |chunk| chunk.identities.clone());
    let expected = previous.chunks.first().map_or(0, |chunk| chunk.bytes.len() + chunk.bytes.len() / 16);
    let mut bytes = Vec::with_capacity(expected);
    let mut cached = Vec::with_capacity(rows.len());
    let nothing = RenderedRow { objects: 0, is_complete: true, version: 0 };
    let mut all = CachedRow { end: 0, since: Timestamp::MIN_UTC, until: None, total: 0, rendered: nothing };
    for row in rows.iter() {
        let row = if let Some((chunk, at)) = previous.take_row(row, now) {
            let start = at.checked_sub(1).and_then(|before| chunk.cached.get(before)).map_or(0, |before| before.end);
            let known = chunk.cached.get(at).copied().unwrap_or(chunk.all);
            bytes.extend_from_slice(&chunk.bytes[start..known.end]);
            CachedRow { end: bytes.len(), ..known }
        } else {
            let start = bytes.len();
            bytes.push(b',');
            let written = write(row, &mut bytes);
            if written.is_none() {
                bytes.truncate(start);
            }
            let total = usize::from(written.is_some());
            let (rendered, until) = written.unwrap_or((nothing, None));
            CachedRow { end: bytes.len(), since: now, until, total, rendered }
        };
        cached.push(row);
        all = all.followed_by(row);
    }
    CachedChunk { rows: Arc::downgrade(rows), identities, bytes: bytes.into(), cached, all }
}

fn gather<R: CacheableRow>(chunks: &[Arc<CachedChunk<R>>]) -> RenderedRows {
    let mut rows = RenderedRows { chunks: Vec::with_capacity(chunks.len()), ..RenderedRows::default() };
    for chunk in chunks.iter().filter(|chunk| !chunk.bytes.is_empty()) {
        // The comma before the first row of all divides it from nothing.
        let start = usize::from(rows.chunks.is_empty());
        rows.chunks.push(chunk.bytes.slice(start..));
        rows.total += chunk.all.total;
        rows.objects = rows.objects.saturating_add(chunk.all.rendered.objects);
        rows.version = rows.version.wrapping_add(chunk.all.rendered.version);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    /// A row that shows its key, its value, and for a while the second.
    struct Toy {
        key: String,
        value: u32,
    }

    struct ToyChunk(Vec<Arc<Toy>>);

    impl Deref for ToyChunk {
        type Target = [Arc<Toy>];

        fn deref(&self) -> &[Arc<Toy>] {
            &self.0
        }
    }

    impl CacheableRow for Arc<Toy> {
        type Identity = (String, Weak<Toy>);
        type Chunk = ToyChunk;

        const LEFT_BEHIND: usize = 0;

        fn key(&self) -> &str {
            &self.key
        }

        fn identity(&self) -> Self::Identity {
            (self.key.clone(), Arc::downgrade(self))
        }

        fn key_of((key, _): &Self::Identity) -> &str {
            key
        }

        fn is(&self, (_, toy): &Self::Identity) -> bool {
            std::ptr::eq(toy.as_ptr(), Arc::as_ptr(self))
        }
    }

    type Chunks = Vec<Arc<ToyChunk>>;

    fn rendered(cache: &ListCache<Arc<Toy>>, chunks: &Chunks, now: Timestamp) -> (String, RenderedRows) {
        let mut write = |toy: &Arc<Toy>, bytes: &mut Vec<u8>| {
            // Those that are not shown are not in the list.
            (!toy.value.is_multiple_of(5)).then(|| {
                let second = if toy.value.is_multiple_of(3) { now.timestamp() } else { 0 };
                bytes.extend_from_slice(format!("{}={}@{second}", toy.key, toy.value).as_bytes());
                let until = now + TimeDelta::milliseconds(1_000 - i64::from(now.timestamp_subsec_millis()));
                let version = u64::from(toy.value) + second.unsigned_abs();
                let row = RenderedRow { objects: 1, is_complete: !toy.value.is_multiple_of(7), version };
                (row, toy.value.is_multiple_of(3).then_some(until))
            })
        };
        let list = ListKey::named("workers", Volatility::SECONDS);
        let rows = cache.render(&list, chunks, now, None, &mut write);
        let text = rows.chunks.iter().flat_map(|chunk| chunk.to_vec()).collect();
        (String::from_utf8(text).unwrap(), rows)
    }

    /// The rows as they lie: what did not change stays where it is, unless the chunks are cut anew.
    fn lay(model: &BTreeMap<u32, Arc<Toy>>, size: usize, before: &Chunks) -> Chunks {
        let toys: Vec<_> = model.values().cloned().collect();
        let chunks = toys.chunks(size).map(|toys| {
            let is_same = |chunk: &&Arc<ToyChunk>| {
                chunk.len() == toys.len() && chunk.iter().zip(toys).all(|(one, other)| Arc::ptr_eq(one, other))
            };
            before.iter().find(is_same).cloned().unwrap_or_else(|| Arc::new(ToyChunk(toys.to_vec())))
        });
        chunks.collect()
    }

    proptest! {
        #[test]
        fn what_is_cached_is_what_would_be_written_now(
            steps in prop::collection::vec((0_u32..12, any::<Option<u32>>(), 1_usize..5, 0_i64..700), 1..60)
        ) {
            let cache = ListCache::default();
            let mut model = BTreeMap::new();
            let mut chunks = Chunks::new();
            let mut now = Timestamp::UNIX_EPOCH;
            for (key, value, size, milliseconds) in steps {
                match value {
                    Some(value) => _ = model.insert(key, Arc::new(Toy { key: format!("{key:02}"), value: value % 100 })),
                    None => _ = model.remove(&key),
                }
                now += TimeDelta::milliseconds(milliseconds);
                // A cluster that has grown is cut as before, now and then otherwise.
                let size = if milliseconds < 500 { 3 } else { size };
                chunks = lay(&model, size, &chunks);
                let (text, cached) = rendered(&cache, &chunks, now);
                let (fresh, expected) = rendered(&ListCache::default(), &chunks, now);
                prop_assert_eq!(text, fresh);
                prop_assert_eq!(
                    (cached.total, cached.objects, cached.version),
                    (expected.total, expected.objects, expected.version)
                );
            }
        }
    }

    #[test]
    fn another_state_beside_the_rows_makes_all_of_them_invalid() {
        let (cache, list) = (ListCache::default(), ListKey::named("vms", Volatility::DUPLICATES));
        let rows = vec![Arc::new(ToyChunk(vec![Arc::new(Toy { key: "a".into(), value: 1 })]))];
        let mut written = 0;
        let (one, other): (OtherState, OtherState) = (Arc::new(1), Arc::new(1));
        for (other_state, expected) in [(&one, 1), (&one, 1), (&other, 2), (&other, 2), (&one, 3)] {
            let mut write = |_: &Arc<Toy>, _: &mut Vec<u8>| {
                written += 1;
                Some((RenderedRow { objects: 0, is_complete: true, version: 0 }, None))
            };
            cache.render(&list, &rows, Timestamp::UNIX_EPOCH, Some(other_state.clone()), &mut write);
            assert_eq!(written, expected);
        }
    }
}
