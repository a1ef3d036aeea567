//! How the journal stands with its database, as the writer has last seen it: whether commits are made, and how old what is
//! known of other servers' commits may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From when on a commit counts as hanging: no statement of it has been answered for so long. It is counted from the last
/// answer and not from the start, because a commit of a dozen statements takes six seconds on a database that answers each
/// after half a second, and such a database is slow, not away.
const HANGS_AFTER: Duration = Duration::from_secs(3);

/// How long one that hung is remembered if no other one is tried: who sends commands only to servers that take them would
/// never find out otherwise.
const HANGS_ARE_REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// How old what this server knows of other servers' commits may be before it counts as stale: ten looks, or the longest
/// wait within one commit of a slow database.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// When a statement of the writer was last answered. Marked by the writer's connections, after each statement.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    last_ms: AtomicU64,
    /// The longest wait for an answer since the beginning of what is measured.
    longest_ms: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0), longest_ms: AtomicU64::new(0) }
    }

    /// The wait for the first answer begins.
    pub(super) fn begin(&self) {
        self.excuse();
        self.longest_ms.store(0, Ordering::Relaxed);
    }

    /// The database has answered.
    pub(super) fn mark(&self) {
        let now = self.elapsed_ms();
        let before = self.last_ms.swap(now, Ordering::Relaxed);
        self.longest_ms.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }

    /// Until now, the wait was for good reason.
    pub(super) fn excuse(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// The longest wait since the beginning, with the one that goes on.
    fn longest_wait(&self) -> Duration {
        self.idle().max(Duration::from_millis(self.longest_ms.load(Ordering::Relaxed)))
    }

    /// It was so at this moment, of [`elapsed_ms`](Self::elapsed_ms).
    fn mark_at(&self, moment: u64) {
        self.last_ms.fetch_max(moment, Ordering::Relaxed);
    }

    /// How long ago that was.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }

    fn elapsed_ms(&self) -> u64 {
        as_ms(self.start.elapsed())
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// No moment.
const NEVER: u64 = u64::MAX;

/// A moment in the life of a [`CommitCondition`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(u64);

/// Written by the writer, read by whoever is asked how this server is.
#[derive(Debug)]
pub(super) struct CommitCondition {
    /// Of the writer's statements.
    progress: Arc<Progress>,
    /// Whether the last commit failed for reasons of the database's, and nothing has succeeded since.
    is_failing: AtomicBool,
    /// Whether a commit is under way.
    is_committing: AtomicBool,
    /// When the last commit ended that hung, in milliseconds of the progress; [`NEVER`] if another one has succeeded since
    /// that did not.
    hung_ms: AtomicU64,
    /// Marked whenever this server is known to have seen everything that is committed.
    up_to_date: Progress,
}

impl CommitCondition {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self {
            progress,
            is_failing: AtomicBool::new(false),
            is_committing: AtomicBool::new(false),
            hung_ms: AtomicU64::new(NEVER),
            up_to_date: Progress::new(),
        }
    }

    /// Whether commits are being made, as far as anybody knows.
    pub(super) fn is_ok(&self) -> bool {
        let hangs = self.is_committing.load(Ordering::Relaxed) && self.progress.longest_wait() > HANGS_AFTER;
        !hangs && !self.has_hung() && !self.is_failing.load(Ordering::Relaxed)
    }

    /// Whether the last commit hung. To tell only while one does would have health waver with each commit of a disk that
    /// takes as long as this.
    fn has_hung(&self) -> bool {
        let hung = self.hung_ms.load(Ordering::Relaxed);
        let is_remembered = |hung| self.progress.elapsed_ms().saturating_sub(hung) < as_ms(HANGS_ARE_REMEMBERED_FOR);
        hung != NEVER && is_remembered(hung)
    }

    pub(super) fn begin_commit(&self) {
        self.progress.begin();
        self.is_committing.store(true, Ordering::Relaxed);
    }

    pub(super) fn end_commit(&self, has_succeeded: bool) {
        if self.progress.longest_wait() > HANGS_AFTER {
            self.hung_ms.store(self.progress.elapsed_ms(), Ordering::Relaxed);
        } else if has_succeeded {
            self.hung_ms.store(NEVER, Ordering::Relaxed);
        }
        self.is_committing.store(false, Ordering::Relaxed);
    }

    /// Answers whether that is news.
    pub(super) fn set_failing(&self, is_failing: bool) -> bool {
        if !is_failing {
            // An attempt has just succeeded.
            self.hung_ms.store(NEVER, Ordering::Relaxed);
        }
        self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing
    }

    /// This moment, for [`mark_up_to_date`](Self::mark_up_to_date).
    pub(super) fn now(&self) -> Moment {
        Moment(self.up_to_date.elapsed_ms())
    }

    /// The writer has seen all that was committed up to this moment: the one before it asked, because the answer may take
    /// its time.
    pub(super) fn mark_up_to_date(&self, moment: Moment) {
        self.up_to_date.mark_at(moment.0);
    }

    /// How long ago this server is known to have seen everything that was committed.
    pub(super) fn staleness(&self) -> Duration {
        self.up_to_date.idle()
    }

    /// Whether that is long enough ago that commits of other servers may be missing.
    pub(super) fn is_stale(&self) -> bool {
        self.staleness() > STALE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that began a minute ago.
    fn condition() -> (Arc<Progress>, CommitCondition) {
        let progress = Arc::new(Progress { start: Instant::now() - Duration::from_secs(60), ..Progress::new() });
        (progress.clone(), CommitCondition::new(progress))
    }

    #[test]
    fn a_commit_hangs_when_nothing_of_it_is_answered_and_not_when_it_is_long() {
        let (progress, condition) = condition();
        assert!(condition.is_ok(), "nothing is being committed");
        condition.begin_commit();
        assert!(condition.is_ok());
        progress.last_ms.store(50_000, Ordering::Relaxed);
        assert!(!condition.is_ok(), "no answer for ten seconds");
        progress.excuse();
        assert!(condition.is_ok(), "it waited for its turn");
        progress.mark();
        condition.end_commit(true);
        assert!(condition.is_ok());
        condition.set_failing(true);
        assert!(!condition.is_ok());
    }

    #[test]
    fn one_that_hung_is_told_of_until_another_one_does_not_or_none_is_tried() {
        let (progress, condition) = condition();
        let hang = || {
            condition.begin_commit();
            progress.last_ms.store(progress.elapsed_ms() - 4_000, Ordering::Relaxed);
            assert!(!condition.is_ok());
            progress.mark();
            assert!(!condition.is_ok(), "it is not over");
            condition.end_commit(true);
            assert!(!condition.is_ok(), "the next one may hang, too");
        };
        hang();
        condition.begin_commit();
        assert!(!condition.is_ok(), "nobody knows yet");
        condition.end_commit(false);
        assert!(!condition.is_ok(), "it was not committed");
        condition.begin_commit();
        condition.end_commit(true);
        assert!(condition.is_ok());
        hang();
        condition.hung_ms.store(45_000, Ordering::Relaxed);
        assert!(condition.is_ok(), "15 s without another one");
        hang();
        condition.set_failing(false);
        assert!(condition.is_ok(), "an attempt succeeded");
    }

    #[test]
    fn what_is_known_is_as_old_as_the_question() {
        let (_, condition) = condition();
        assert!(!condition.is_stale());
        let asked = condition.now();
        let condition = CommitCondition {
            up_to_date: Progress { start: condition.up_to_date.start - Duration::from_secs(6), ..Progress::new() },
            ..condition
        };
        condition.mark_up_to_date(asked);
        assert!(condition.is_stale(), "the answer took six seconds");
        condition.mark_up_to_date(condition.now());
        condition.mark_up_to_date(asked);
        assert!(!condition.is_stale(), "a later look was quicker");
    }
}
