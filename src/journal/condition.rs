//! Whether commits can be made, as the writer has last seen it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From when on a commit that is under way is taken for one that hangs, before it is given up.
const HANGS_AFTER: Duration = Duration::from_secs(3);

/// Written by the writer, read by whoever is asked how this server is.
#[derive(Debug)]
pub(super) struct CommitCondition {
    start: Instant,
    /// Whether the last commit failed for reasons of the database's, and nothing has succeeded since.
    is_failing: AtomicBool,
    /// When the present commit began, in milliseconds after `start`; 0 if there is none.
    began_ms: AtomicU64,
}

impl CommitCondition {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), is_failing: AtomicBool::new(false), began_ms: AtomicU64::new(0) }
    }

    /// Whether commits are being made, as far as anybody knows.
    pub(super) fn is_ok(&self) -> bool {
        let began_ms = self.began_ms.load(Ordering::Relaxed);
        let hangs = began_ms > 0 && self.elapsed_ms().saturating_sub(began_ms) > milliseconds(HANGS_AFTER);
        !hangs && !self.is_failing.load(Ordering::Relaxed)
    }

    pub(super) fn begin_commit(&self) {
        self.began_ms.store(self.elapsed_ms().max(1), Ordering::Relaxed);
    }

    pub(super) fn end_commit(&self) {
        self.began_ms.store(0, Ordering::Relaxed);
    }

    /// Answers whether that is news.
    pub(super) fn set_failing(&self, is_failing: bool) -> bool {
        self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing
    }

    fn elapsed_ms(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
