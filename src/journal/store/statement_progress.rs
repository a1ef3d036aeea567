//! When the database last answered, on a clock of its own: this distinguishes a commit that hangs from one that is
//! long.
//!
//! Marked by the [meter](super::statement_meter) of the writer's connections after each statement. What to conclude
//! from a long wait is the business of `journal::commit::watchdog` and `journal::commit::health`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The moment of the last answer, and the longest wait for one.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    last_ms: AtomicU64,
    /// The longest wait for an answer since [`begin`](Self::begin).
    longest_ms: AtomicU64,
}

/// A moment, in milliseconds after the start of its [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

impl Progress {
    pub fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0), longest_ms: AtomicU64::new(0) }
    }

    /// The wait for the first answer begins.
    pub fn begin(&self) {
        self.excuse();
        self.longest_ms.store(0, Ordering::Relaxed);
    }

    /// The database has answered.
    pub fn mark(&self) {
        let Moment(now) = self.now();
        let before = self.last_ms.swap(now, Ordering::Relaxed);
        self.longest_ms.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }

    /// The wait until now does not count: there was a good reason for it.
    pub fn excuse(&self) {
        self.last_ms.store(self.now().0, Ordering::Relaxed);
    }

    /// The last answer is at least as late as this moment.
    pub fn mark_at(&self, moment: Moment) {
        self.last_ms.fetch_max(moment.0, Ordering::Relaxed);
    }

    /// The longest wait since the beginning, including the one that goes on.
    pub fn longest_wait(&self) -> Duration {
        self.idle().max(Duration::from_millis(self.longest_ms.load(Ordering::Relaxed)))
    }

    /// How long ago the last answer was.
    pub fn idle(&self) -> Duration {
        self.since(Moment(self.last_ms.load(Ordering::Relaxed)))
    }

    /// This moment.
    pub fn now(&self) -> Moment {
        Moment(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How long ago a moment was.
    pub fn since(&self, moment: Moment) -> Duration {
        Duration::from_millis(self.now().0.saturating_sub(moment.0))
    }
}

impl Moment {
    /// As a number, to be kept in an atomic.
    pub fn as_ms(self) -> u64 {
        self.0
    }

    /// The moment of this number.
    pub fn from_ms(milliseconds: u64) -> Self {
        Self(milliseconds)
    }
}

#[cfg(test)]
impl Progress {
    /// One that began so long ago.
    pub fn begun_ago(age: Duration) -> Self {
        Self { start: Instant::now() - age, ..Self::new() }
    }

    /// As if the last answer was so long ago.
    pub fn idle_for(&self, wait: Duration) {
        let wait = u64::try_from(wait.as_millis()).unwrap();
        self.last_ms.store(self.now().0 - wait, Ordering::Relaxed);
    }
}
