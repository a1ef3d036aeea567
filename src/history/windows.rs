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

/// The points of one window, encoded.
type Window = HashMap<Subject, Box<[u8]>>;

/// The samples that are not written yet, by the start of their window.
#[derive(Debug, Default)]
pub struct Windows(Mutex<BTreeMap<i64, Window>>);

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
        let points = |(start, window): (&i64, &Window)| Some((*start, decode(*start, window.get(subject)?)?));
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Window>> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What ADR 0075 says of memory.
    #[test]
    fn a_window_of_a_worker_takes_some_hundred_bytes() {
        let allocated = |used: i64| {
            let figures = &Figure::ALL[..8];
            let values = [32, 131_072, 2_000, 100, used, used * 2_048, used * 10, used];
            figures.iter().copied().zip(values).collect::<Vec<_>>()
        };
        let measured = |minute: i64| {
            let odd = (minute * 7_919) % 5_000;
            let values = [9_000 + odd, 60_000 + odd, 9_500 - odd];
            Figure::MEASURED.into_iter().zip(values).collect::<Vec<_>>()
        };
        for (is_measured, most) in [(false, 50), (true, 240)] {
            let (windows, worker) = (Windows::default(), Subject::Worker(Arc::from("w")));
            for minute in 0..15 {
                let mut figures = allocated(12);
                if is_measured {
                    figures.extend(measured(minute));
                }
                windows.record(minute * 60, vec![(worker.clone(), figures)]);
            }
            let bytes = windows.lock()[&0][&worker].len();
            assert!((most / 2..=most).contains(&bytes), "{bytes}");
        }
        assert!(size_of::<Subject>() + size_of::<Box<[u8]>>() <= 40);
    }

    #[test]
    fn a_minute_that_is_sampled_twice_counts_once_and_windows_that_cannot_be_written_are_bounded() {
        let (windows, cluster) = (Windows::default(), Subject::Cluster);
        for (minute, value) in [(0, 1), (0, 2), (60, 3)] {
            windows.record(minute, vec![(cluster.clone(), vec![(Figure::Workers, value)])]);
        }
        let points = windows.points(0, &cluster).unwrap();
        let values = points.of(Figure::Workers).unwrap().iter().map(|point| (point.count, point.sum));
        assert_eq!(values.take(3).collect::<Vec<_>>(), [(1, 1), (1, 3), (0, 0)]);
        for window in 0..10 {
            windows.record(window * WINDOW, vec![(cluster.clone(), vec![(Figure::Workers, 1)])]);
        }
        assert_eq!(windows.forget_surplus(), 5);
        assert_eq!(windows.begun_before(i64::MAX), (5..10).map(|window| window * WINDOW).collect::<Vec<_>>());
    }
}
