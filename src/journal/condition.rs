//! How the journal stands with its database, as the writer has last seen it: whether commits are made, and how old what is
//! known of other servers' commits may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From when on a commit counts as hanging: no statement of it has been answered for so long. It is counted from the last
/// answer and not from the start, because a commit of a dozen statements takes six seconds on a database that answers each
/// after half a second, and such a database is slow, not away.
const HANGS_AFTER: Duration = Duration::from_secs(3);

/// How old what this server knows of other servers' commits may be before it counts as stale: ten looks, or the longest
/// wait within one commit of a slow database.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// When a statement of the writer was last answered. Marked by the writer's connections, after each statement.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    last_ms: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    /// The database has answered, or the wait for an answer begins.
    pub(super) fn mark(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Written by the writer, read by whoever is asked how this server is.
#[derive(Debug)]
pub(super) struct CommitCondition {
    /// Of the writer's statements.
    progress: Arc<Progress>,
    /// Whether the last commit failed for reasons of the database's, and nothing has succeeded since.
    is_failing: AtomicBool,
    /// Whether a commit is under way.
    is_committing: AtomicBool,
    /// Marked whenever this server is known to have seen everything that is committed.
    up_to_date: Progress,
}

impl CommitCondition {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self {
            progress,
            is_failing: AtomicBool::new(false),
            is_committing: AtomicBool::new(false),
            up_to_date: Progress::new(),
        }
    }

    /// Whether commits are being made, as far as anybody knows.
    pub(super) fn is_ok(&self) -> bool {
        let hangs = self.is_committing.load(Ordering::Relaxed) && self.progress.idle() > HANGS_AFTER;
        !hangs && !self.is_failing.load(Ordering::Relaxed)
    }

    pub(super) fn begin_commit(&self) {
        self.progress.mark();
        self.is_committing.store(true, Ordering::Relaxed);
    }

    pub(super) fn end_commit(&self) {
        self.is_committing.store(false, Ordering::Relaxed);
    }

    /// Answers whether that is news.
    pub(super) fn set_failing(&self, is_failing: bool) -> bool {
        self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing
    }

    /// The writer has just seen the latest revision of the database.
    pub(super) fn mark_up_to_date(&self) {
        self.up_to_date.mark();
    }

    /// How long ago this server is known to have seen everything that was committed.
    pub(super) fn staleness(&self) -> Duration {
        self.up_to_date.idle()
    }

    /// How long ago the database last answered: a statement of the writer, or a look that was successful. A commit may be long
    /// on a slow database, and all the while it answers.
    pub(super) fn silence(&self) -> Duration {
        self.progress.idle().min(self.up_to_date.idle())
    }

    /// Whether that is long enough ago that commits of other servers may be missing.
    pub(super) fn is_stale(&self) -> bool {
        self.staleness() > STALE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_hangs_when_nothing_of_it_is_answered_and_not_when_it_is_long() {
        let progress =
            Arc::new(Progress { start: Instant::now() - Duration::from_secs(60), last_ms: AtomicU64::new(0) });
        let condition = CommitCondition::new(progress.clone());
        assert!(condition.is_ok(), "nothing is being committed");
        condition.begin_commit();
        assert!(condition.is_ok());
        progress.last_ms.store(50_000, Ordering::Relaxed);
        assert!(!condition.is_ok(), "no answer for ten seconds");
        progress.mark();
        assert!(condition.is_ok(), "a statement was answered");
        condition.set_failing(true);
        condition.end_commit();
        assert!(!condition.is_ok());
    }
}
