//! What the journal counts for monitoring: how long commits take, how many commands they have, and how many fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::{Buckets, Counter, Family, Histogram};

/// Microseconds: a commit takes some tenths of a millisecond on a fast disk, and is given up after some seconds.
const COMMIT_DURATIONS: Buckets = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Commands: from one to the most that a batch has.
const BATCH_SIZES: Buckets = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192];

/// Stands for a number of events that was never asked for.
const NOT_COUNTED: u64 = u64::MAX;

/// The counters of one journal.
#[derive(Debug)]
pub struct JournalMetrics {
    durations: Histogram,
    sizes: Histogram,
    failures: Counter,
    event_rows: AtomicU64,
}

impl JournalMetrics {
    pub fn new() -> Self {
        Self {
            durations: Histogram::new(COMMIT_DURATIONS),
            sizes: Histogram::new(BATCH_SIZES),
            failures: Counter::default(),
            event_rows: AtomicU64::new(NOT_COUNTED),
        }
    }

    /// A batch of so many commands was committed, or could not be.
    pub fn observe_commit(&self, commands: usize, duration: Duration, has_succeeded: bool) {
        if has_succeeded {
            self.durations.observe_duration(duration);
            self.sizes.observe(commands as u64);
        } else {
            self.failures.increment();
        }
    }

    /// The change log has so many rows.
    pub fn set_event_rows(&self, rows: u64) {
        self.event_rows.store(rows, Ordering::Relaxed);
    }

    /// The families, with how many commands wait in each lane.
    pub fn collect(&self, waiting: impl IntoIterator<Item = (&'static str, usize)>, families: &mut Vec<Family>) {
        const MICROSECONDS: f64 = 1e6;
        let help = "How long commits took that succeeded, in seconds.";
        families.push(Family::histogram("aetherium_journal_commit_duration_seconds", help).with_histogram(
            [],
            &self.durations,
            MICROSECONDS,
        ));
        let help = "How many commands a commit had.";
        families.push(Family::histogram("aetherium_journal_batch_size", help).with_histogram([], &self.sizes, 1.0));
        let help = "Commits that failed. The commands of a batch that failed are tried again in halves, which are counted, too.";
        families.push(Family::counter("aetherium_journal_commit_failures", help).with_counter([], &self.failures));
        let mut length = Family::gauge("aetherium_journal_queue_length", "Commands that wait for a commit, by lane.");
        for (lane, commands) in waiting {
            length.add([("lane", lane.into())], commands as f64);
        }
        families.push(length);
        let rows = self.event_rows.load(Ordering::Relaxed);
        if rows != NOT_COUNTED {
            let help = "Rows of the change log, as of the last time that this server has counted them.";
            families.push(Family::gauge("aetherium_event_log_rows", help).with([], rows as f64));
        }
    }
}
