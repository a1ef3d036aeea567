//! The windows in memory: the samples that are not written yet, by the quarter of an hour that they are of.
//!
//! The points of a subject are kept encoded, as they will be written: some hundred bytes, most of which are measured
//! load.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::figure::Figure;
use super::points::{Point, Points};
use super::subject::Subject;
use super::tier::{Tier, WINDOW};

/// How many windows are kept that could not be written, as long as the database is away: an hour.
const MAX_UNWRITTEN: usize = 4;

/// The samples that are not written yet.
#[derive(Debug, Default)]
pub struct Windows(Mutex<BTreeMap<i64, HashMap<Subject, Box<[u8]>>>>);

impl Windows {
    /// Adds samples of one minute. A minute that has a sample of a figure keeps it: a clock that was set back doubles
    /// none.
    pub fn record(&self, minute: i64, samples: Vec<(Subject, Vec<(Figure, i64)>)>) {
        let (start, place) = place_of(minute);
        let mut windows = self.lock();
        let window = windows.entry(start).or_default();
        for (subject, figures) in samples {
            let known = window.get(&subject).and_then(|bytes| decode(start, bytes));
            let mut points = known.unwrap_or_else(|| Points::absent(Tier::Minute.points_in_row(start)));
            for (figure, value) in figures {
                if points.at(figure, place).is_absent() {
                    points.set(figure, place, Point::of(value));
                }
            }
            window.insert(subject, points.encode().into());
        }
    }

    /// The windows that begin before a time, the oldest first.
    pub fn begun_before(&self, time: i64) -> Vec<i64> {
        self.lock().range(..time).map(|(start, _)| *start).collect()
    }

    /// What a window has samples of: the cluster and the zones first.
    pub fn subjects(&self, start: i64) -> Vec<Subject> {
        let windows = self.lock();
        let mut subjects: Vec<_> = windows.get(&start).into_iter().flat_map(HashMap::keys).cloned().collect();
        subjects.sort_unstable();
        subjects
    }

    /// The points of a subject in a window.
    pub fn points(&self, start: i64, subject: &Subject) -> Option<Points> {
        decode(start, self.lock().get(&start)?.get(subject)?)
    }

    /// The points of a subject in all windows.
    pub fn all_points(&self, subject: &Subject) -> Vec<(i64, Points)> {
        let windows = self.lock();
        let points = |(start, window): (&i64, &HashMap<Subject, Box<[u8]>>)| {
            Some((*start, decode(*start, window.get(subject)?)?))
        };
        windows.iter().filter_map(points).collect()
    }

    /// Forgets a window, which is written.
    pub fn forget(&self, start: i64) {
        self.lock().remove(&start);
    }

    /// Forgets the oldest windows if too many could not be written. Answers how many are forgotten.
    pub fn forget_surplus(&self) -> usize {
        let mut windows = self.lock();
        let surplus = windows.len().saturating_sub(MAX_UNWRITTEN + 1);
        (0..surplus).filter_map(|_| windows.pop_first()).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, HashMap<Subject, Box<[u8]>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The window that a minute is in, and its place there.
fn place_of(minute: i64) -> (i64, usize) {
    let start = minute.div_euclid(WINDOW) * WINDOW;
    (start, usize::try_from((minute - start) / Tier::Minute.step()).unwrap_or_default())
}

fn decode(start: i64, bytes: &[u8]) -> Option<Points> {
    Points::decode(Tier::Minute.points_in_row(start), bytes)
}
