//! Histograms: how many observations were at most as large as each of a few bounds.
//!
//! `prometheus-client` has a histogram behind a lock; this one is an atomic number for each bucket, so that two threads that
//! observe at once do not wait for each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of a histogram's buckets, in ascending order, in the unit in which it observes.
pub type Buckets = &'static [u64];

/// Observations of whole numbers, such as microseconds.
#[derive(Debug)]
pub struct Histogram {
    bounds: Buckets,
    /// One for each bound, and one for what is larger than the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram without observations.
    pub fn new(bounds: Buckets) -> Self {
        Self {
            bounds,
            counts: std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.iter().take_while(|bound| value > **bound).count();
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a duration, in microseconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Each upper bound with how many values were between the one before and it; the last is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::new(&[1, 10, 100]);
        for value in [0, 1, 2, 10, 11, 1_000] {
            histogram.observe(value);
        }
        let expected = [(1.0, 2), (10.0, 2), (100.0, 1), (f64::INFINITY, 1)];
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), expected);
        assert_eq!(histogram.sum(), 1_024);
    }
}
