//! Lists that remember how their rows were written.
//!
//! Who asks for all workers a hundred times a second asks for the same rows a hundred times: a few have changed
//! meanwhile, the rest have not. So a protocol hands in how a row is written, and is asked to write only those that
//! changed, or that the clock has made something else of (an `uptime` counts seconds). Rows lie in chunks, as those of
//! the snapshot do; a chunk in which nothing changed is not even looked into, and its bytes go out uncopied.
//!
//! What is kept is bounded in bytes, all lists of one kind together, and those that are asked for least are forgotten
//! first.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Reading;
use crate::clock::Timestamp;
use crate::cluster::{self, Depends, Duplicates, Vm, VmId, VmReports, VmView, Worker, WorkerId, WorkerView};

/// How many bytes of rows of one kind are kept, all lists together.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How many lists are expected to be kept: so few that the cache does not divide its bytes, into which the longest list
/// has to fit. It is no limit.
const EXPECTED_LISTS: usize = 16;

/// Which list it is.
pub struct List<R> {
    name: Arc<str>,
    /// What the rows show beside what is their own.
    depends: Depends,
    rows: PhantomData<fn(&R)>,
}

impl<R> List<R> {
    /// The list of a name, which says all about how its rows are written: lists of one name have the same rows, whoever
    /// asks for them.
    pub fn named(name: impl Into<Arc<str>>, depends: Depends) -> Self {
        Self { name: name.into(), depends, rows: PhantomData }
    }
}

impl<R> fmt::Debug for List<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("name", &self.name).field("depends", &self.depends).finish()
    }
}

/// What a row came to when it was written.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Objects in the lists inside of it.
    pub objects: usize,
    /// Whether it was written to its end; if not, it is not kept.
    pub is_whole: bool,
    /// Stands for its bytes: changes whenever they do.
    pub version: u64,
}

/// All rows of a list, written.
#[derive(Debug, Default)]
pub struct Rows {
    /// The rows in order, divided by commas.
    pub pieces: Vec<Bytes>,
    /// How many rows there are.
    pub total: usize,
    /// Objects in the lists inside of them.
    pub objects: usize,
    /// Stands for all of it.
    pub version: u64,
}

/// Where written rows are kept. Cheap to clone.
#[derive(Clone)]
pub struct Kept {
    workers: Arc<Shelf<Arc<Worker>>>,
    vms: Arc<Shelf<VmReports>>,
}

type Shelf<R> = Cache<Arc<str>, Arc<Written<R>>, ByBytes>;

impl Default for Kept {
    fn default() -> Self {
        Self { workers: Arc::new(shelf()), vms: Arc::new(shelf()) }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, vms } = self;
        f.debug_struct("Kept").field("workers", &workers.weight()).field("vms", &vms.weight()).finish()
    }
}

fn shelf<R: Source>() -> Shelf<R> {
    Cache::with_weighter(EXPECTED_LISTS, MAX_BYTES, ByBytes)
}

#[derive(Clone, Copy)]
struct ByBytes;

impl<R: Source> Weighter<Arc<str>, Arc<Written<R>>> for ByBytes {
    fn weight(&self, name: &Arc<str>, written: &Arc<Written<R>>) -> u64 {
        name.len() as u64 + written.chunks.iter().map(|chunk| chunk.weight()).sum::<u64>().max(1)
    }
}

/// All rows of a list as they were written last.
struct Written<R: Source> {
    chunks: Vec<Arc<Chunk<R>>>,
    /// Which VMs are reported twice, if the rows show that.
    duplicates: Option<Arc<Duplicates>>,
}

/// Neighbouring rows.
struct Chunk<R: Source> {
    /// What they were written from, to be known again. It is not kept alive for it.
    rows: Weak<cluster::Chunk<R>>,
    marks: Arc<[R::Mark]>,
    /// Each row with a comma before it; a row that is not shown has no bytes.
    bytes: Bytes,
    places: Vec<Place>,
    /// What they come to together.
    all: Place,
}

/// A row among the bytes of its chunk; or the whole chunk.
#[derive(Clone, Copy)]
struct Place {
    /// Where it ends. It begins where the one before it ends.
    end: usize,
    /// For which moments it holds: from this one,
    since: Timestamp,
    /// and before that one, if it does not hold until the row changes.
    until: Option<Timestamp>,
    total: usize,
    row: Row,
}

impl Place {
    fn holds_at(&self, now: Timestamp) -> bool {
        self.row.is_whole && self.since <= now && self.until.is_none_or(|until| now < until)
    }

    /// What both come to, if `next` follows.
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
            row: Row {
                objects: self.row.objects.saturating_add(next.row.objects),
                is_whole: self.row.is_whole && next.row.is_whole,
                // Whatever the chunks are: another server may have divided the same rows in another way.
                version: self.row.version.wrapping_add(next.row.version),
            },
        }
    }
}

impl<R: Source> Chunk<R> {
    /// How many bytes it holds, roughly: also those that what a mark points to leaves behind when it goes.
    fn weight(&self) -> u64 {
        (self.bytes.len() + self.marks.len() * (size_of::<R::Mark>() + size_of::<Place>() + R::LEFT_BEHIND)) as u64
    }

    fn is_of(&self, rows: &Arc<cluster::Chunk<R>>) -> bool {
        std::ptr::eq(self.rows.as_ptr(), Arc::as_ptr(rows))
    }
}

/// A row of a snapshot.
trait Source {
    /// What the row is known again by, when it is gone perhaps.
    type Mark;

    /// How many bytes a mark holds of a row that is gone.
    const LEFT_BEHIND: usize;

    /// What it is sorted by.
    fn key(&self) -> &str;

    fn mark(&self) -> Self::Mark;

    /// What the row of this mark is sorted by.
    fn key_of(mark: &Self::Mark) -> &str;

    /// Whether it is the very row of this mark, not only an equal one.
    fn is_of(&self, mark: &Self::Mark) -> bool;
}

impl Source for Arc<Worker> {
    type Mark = (WorkerId, Weak<Worker>);

    const LEFT_BEHIND: usize = size_of::<Worker>();

    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn mark(&self) -> Self::Mark {
        (self.id.clone(), Arc::downgrade(self))
    }

    fn key_of((id, _): &Self::Mark) -> &str {
        id.as_str()
    }

    fn is_of(&self, (_, worker): &Self::Mark) -> bool {
        std::ptr::eq(worker.as_ptr(), Arc::as_ptr(self))
    }
}

impl Source for VmReports {
    /// None if several workers report it: which of them speaks for it is not for the reports to say.
    type Mark = (VmId, Option<Weak<Vm>>);

    const LEFT_BEHIND: usize = size_of::<Vm>();

    fn key(&self) -> &str {
        self.id().as_str()
    }

    fn mark(&self) -> Self::Mark {
        (self.id().clone(), self.only().map(Arc::downgrade))
    }

    fn key_of((id, _): &Self::Mark) -> &str {
        id.as_str()
    }

    fn is_of(&self, (_, report): &Self::Mark) -> bool {
        match (self.only(), report) {
            (Some(only), Some(report)) => std::ptr::eq(report.as_ptr(), Arc::as_ptr(only)),
            _ => false,
        }
    }
}

/// The rows that were written before, in order, as far as they have been passed.
struct Before<'a, R: Source> {
    chunks: &'a [Arc<Chunk<R>>],
    at: usize,
}

impl<'a, R: Source> Before<'a, R> {
    /// The chunk of these very rows, if it comes next and still holds.
    fn take_chunk(&mut self, rows: &Arc<cluster::Chunk<R>>, now: Timestamp) -> Option<&'a Arc<Chunk<R>>> {
        let first = rows.first()?.key();
        while self.chunks.first().is_some_and(|chunk| chunk.marks.last().is_some_and(|last| R::key_of(last) < first)) {
            self.chunks = self.chunks.get(1..)?;
            self.at = 0;
        }
        let chunk = self.chunks.first()?;
        if self.at > 0 || !chunk.is_of(rows) || !chunk.all.holds_at(now) {
            return None;
        }
        self.chunks = self.chunks.get(1..)?;
        Some(chunk)
    }

    /// The bytes of this very row, if they still hold: in which chunk, and at which place.
    fn take_row(&mut self, row: &R, now: Timestamp) -> Option<(&'a Chunk<R>, usize)> {
        loop {
            let chunk = self.chunks.first()?;
            let Some(before) = chunk.marks.get(self.at) else {
                self.chunks = self.chunks.get(1..)?;
                self.at = 0;
                continue;
            };
            let at = self.at;
            if row.is_of(before) {
                self.at += 1;
                return chunk.places.get(at).is_some_and(|place| place.holds_at(now)).then_some((chunk, at));
            }
            if R::key_of(before) > row.key() {
                return None;
            }
            self.at += 1;
            if R::key_of(before) == row.key() {
                return None;
            }
        }
    }
}

/// Writes a row, and tells before which moment it holds; none if the row is not shown.
type WriteRow<'a, R> = dyn FnMut(&R, &mut Vec<u8>) -> Option<(Row, Option<Timestamp>)> + 'a;

/// Writes a list: of what is kept what still holds, and the rest anew.
fn list<R: Source>(
    shelf: &Shelf<R>,
    list: &List<R>,
    rows: &[Arc<cluster::Chunk<R>>],
    now: Timestamp,
    duplicates: &Arc<Duplicates>,
    write: &mut WriteRow<'_, R>,
) -> Rows {
    let is_kept = list.depends.can_be_kept();
    let duplicates = list.depends.on_duplicates().then(|| duplicates.clone());
    let before = shelf.get(&list.name).filter(|before| match (&before.duplicates, &duplicates) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (before, after) => before.is_none() && after.is_none(),
    });
    let mut old = Before { chunks: before.as_ref().map_or(&[], |before| &before.chunks), at: 0 };
    let mut is_new = before.as_ref().is_none_or(|before| before.chunks.len() != rows.len());
    let mut chunks = Vec::with_capacity(rows.len());
    for rows in rows {
        if let Some(chunk) = old.take_chunk(rows, now) {
            chunks.push(chunk.clone());
        } else {
            is_new = true;
            chunks.push(Arc::new(chunk(rows, &mut old, now, write)));
        }
    }
    let written = gather(&chunks);
    if is_new && is_kept {
        shelf.insert(list.name.clone(), Arc::new(Written { chunks, duplicates }));
    }
    written
}

/// Writes a chunk, with what is left of the rows before.
fn chunk<R: Source>(
    rows: &Arc<cluster::Chunk<R>>,
    old: &mut Before<'_, R>,
    now: Timestamp,
    write: &mut WriteRow<'_, R>,
) -> Chunk<R> {
    // The same rows, of which some are to be written anew: they are known again by the same marks.
    let same = old.chunks.first().filter(|chunk| old.at == 0 && chunk.is_of(rows));
    let marks = same.map_or_else(|| rows.iter().map(R::mark).collect(), |chunk| chunk.marks.clone());
    let expected = old.chunks.first().map_or(0, |chunk| chunk.bytes.len() + chunk.bytes.len() / 16);
    let mut bytes = Vec::with_capacity(expected);
    let mut places = Vec::with_capacity(rows.len());
    let nothing = Row { objects: 0, is_whole: true, version: 0 };
    let mut all = Place { end: 0, since: Timestamp::MIN_UTC, until: None, total: 0, row: nothing };
    for row in rows.iter() {
        let place = if let Some((chunk, at)) = old.take_row(row, now) {
            let start = at.checked_sub(1).and_then(|before| chunk.places.get(before)).map_or(0, |place| place.end);
            let place = chunk.places.get(at).copied().unwrap_or(chunk.all);
            bytes.extend_from_slice(&chunk.bytes[start..place.end]);
            Place { end: bytes.len(), ..place }
        } else {
            let start = bytes.len();
            bytes.push(b',');
            let written = write(row, &mut bytes);
            if written.is_none() {
                bytes.truncate(start);
            }
            let total = usize::from(written.is_some());
            let (row, until) = written.unwrap_or((nothing, None));
            Place { end: bytes.len(), since: now, until, total, row }
        };
        places.push(place);
        all = all.followed_by(place);
    }
    Chunk { rows: Arc::downgrade(rows), marks, bytes: bytes.into(), places, all }
}

fn gather<R: Source>(chunks: &[Arc<Chunk<R>>]) -> Rows {
    let mut rows = Rows { pieces: Vec::with_capacity(chunks.len()), ..Rows::default() };
    for chunk in chunks.iter().filter(|chunk| !chunk.bytes.is_empty()) {
        // The comma before the first row of all divides it from nothing.
        let start = usize::from(rows.pieces.is_empty());
        rows.pieces.push(chunk.bytes.slice(start..));
        rows.total += chunk.all.total;
        rows.objects = rows.objects.saturating_add(chunk.all.row.objects);
        rows.version = rows.version.wrapping_add(chunk.all.row.version);
    }
    rows
}

impl Reading {
    /// All workers by id, each as `write` writes it.
    pub fn write_workers(
        &self,
        kept: &Kept,
        of: &List<Arc<Worker>>,
        mut write: impl FnMut(&WorkerView, &mut Vec<u8>) -> Row,
    ) -> Rows {
        let snapshot = &self.view.snapshot;
        let mut write_row = |worker: &Arc<Worker>, bytes: &mut Vec<u8>| {
            let worker = WorkerView { worker: worker.clone(), view: self.view.clone() };
            Some((write(&worker, bytes), worker.shows_the_same_until(of.depends)))
        };
        list(&kept.workers, of, snapshot.worker_chunks(), self.view.now, snapshot.duplicates(), &mut write_row)
    }

    /// All VMs that hold a slot, by id, each as `write` writes it.
    pub fn write_vms(
        &self,
        kept: &Kept,
        of: &List<VmReports>,
        mut write: impl FnMut(&VmView, &mut Vec<u8>) -> Row,
    ) -> Rows {
        let snapshot = &self.view.snapshot;
        let mut write_row = |reports: &VmReports, bytes: &mut Vec<u8>| {
            let vm = self.view.home_of(reports).filter(|vm| vm.vm.status.holds_slot())?;
            // Which of several reports speaks for the VM is for their workers to say: it has to be looked up each time.
            Some((write(&vm, bytes), reports.only().is_none().then_some(self.view.now)))
        };
        list(&kept.vms, of, snapshot.vm_chunks(), self.view.now, snapshot.duplicates(), &mut write_row)
    }
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

    impl Source for Arc<Toy> {
        type Mark = (String, Weak<Toy>);

        const LEFT_BEHIND: usize = 0;

        fn key(&self) -> &str {
            &self.key
        }

        fn mark(&self) -> Self::Mark {
            (self.key.clone(), Arc::downgrade(self))
        }

        fn key_of((key, _): &Self::Mark) -> &str {
            key
        }

        fn is_of(&self, (_, toy): &Self::Mark) -> bool {
            std::ptr::eq(toy.as_ptr(), Arc::as_ptr(self))
        }
    }

    type Chunks = Vec<Arc<cluster::Chunk<Arc<Toy>>>>;

    fn written(shelf: &Shelf<Arc<Toy>>, of: &List<Arc<Toy>>, chunks: &Chunks, now: Timestamp) -> (String, Rows) {
        let mut write = |toy: &Arc<Toy>, bytes: &mut Vec<u8>| {
            // Those that are not shown are not in the list.
            (!toy.value.is_multiple_of(5)).then(|| {
                let second = if toy.value.is_multiple_of(3) { now.timestamp() } else { 0 };
                bytes.extend_from_slice(format!("{}={}@{second}", toy.key, toy.value).as_bytes());
                let until = now + TimeDelta::milliseconds(1_000 - i64::from(now.timestamp_subsec_millis()));
                let version = u64::from(toy.value) + second.unsigned_abs();
                let row = Row { objects: 1, is_whole: !toy.value.is_multiple_of(7), version };
                (row, toy.value.is_multiple_of(3).then_some(until))
            })
        };
        let rows = list(shelf, of, chunks, now, &Arc::default(), &mut write);
        let text = rows.pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        (String::from_utf8(text).unwrap(), rows)
    }

    /// The rows as they lie: what did not change stays where it is, unless the chunks are cut anew.
    fn lay(model: &BTreeMap<u32, Arc<Toy>>, size: usize, before: &Chunks) -> Chunks {
        let toys: Vec<_> = model.values().cloned().collect();
        let chunks = toys.chunks(size).map(|toys| {
            let is_same = |chunk: &&Arc<cluster::Chunk<Arc<Toy>>>| {
                chunk.len() == toys.len() && chunk.iter().zip(toys).all(|(one, other)| Arc::ptr_eq(one, other))
            };
            before.iter().find(is_same).cloned().unwrap_or_else(|| Arc::new(toys.to_vec().into()))
        });
        chunks.collect()
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_written_now(
            steps in prop::collection::vec((0_u32..12, any::<Option<u32>>(), 1_usize..5, 0_i64..700), 1..60)
        ) {
            let (shelf, of) = (shelf(), List::named("workers", Depends::ON_SECONDS));
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
                let (text, kept) = written(&shelf, &of, &chunks, now);
                let (fresh, expected) = written(&super::shelf(), &List::named("workers", Depends::ON_SECONDS), &chunks, now);
                prop_assert_eq!(text, fresh);
                prop_assert_eq!(
                    (kept.total, kept.objects, kept.version),
                    (expected.total, expected.objects, expected.version)
                );
            }
        }
    }
}
