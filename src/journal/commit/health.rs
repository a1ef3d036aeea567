//! The health of commits, as the writer has last seen it: whether they succeed, and how far this server may be
//! behind what other servers have committed.
//!
//! The writer records it, and health checks read it. Nothing is decided by it: the writer gives up by its
//! [watchdog](super::watchdog), and refuses commands in an [outage](crate::journal::store::outage).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::journal::store::statement_progress::{Moment, Progress};

/// A commit hangs when no statement of it was answered for this long. This is counted from the last answer and not from
/// the start: a commit of a dozen statements takes six seconds on a database that answers each after half a second, and
/// such a database is slow, not down.
const HANGS_AFTER: Duration = Duration::from_secs(3);

/// How long a commit that hung is remembered if no other one is tried. Clients that avoid servers whose commits hang
/// would never give them another one to try.
const HANGS_ARE_REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// How old what this server knows of other servers' commits may be before it counts as stale: ten polls, or the longest
/// wait within one commit of a slow database.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Stands for no moment.
const NEVER: u64 = u64::MAX;

/// Recorded by the writer, read by health checks.
#[derive(Debug)]
pub struct CommitHealth {
    /// When statements of the writer were answered.
    progress: Arc<Progress>,
    /// Whether the last commit failed through the database's fault, and nothing has succeeded since.
    is_failing: AtomicBool,
    /// Whether a commit is in progress.
    is_committing: AtomicBool,
    /// When the last commit ended that hung, as a moment of `progress`; [`NEVER`] if another one has succeeded since
    /// without hanging.
    hung_ms: AtomicU64,
    /// Marked whenever this server is known to have seen everything that is committed.
    up_to_date: Progress,
}

impl CommitHealth {
    pub fn new(progress: Arc<Progress>) -> Self {
        Self {
            progress,
            is_failing: AtomicBool::new(false),
            is_committing: AtomicBool::new(false),
            hung_ms: AtomicU64::new(NEVER),
            up_to_date: Progress::new(),
        }
    }

    /// Whether commits succeed, as far as the writer knows.
    pub fn is_ok(&self) -> bool {
        let hangs = self.is_committing.load(Ordering::Relaxed) && self.progress.longest_wait() > HANGS_AFTER;
        !hangs && !self.has_hung() && !self.is_failing.load(Ordering::Relaxed)
    }

    /// Whether the last commit hung. If only a commit that hangs now counted, health would waver with each commit to a
    /// disk that takes as long as this.
    fn has_hung(&self) -> bool {
        let hung = self.hung_ms.load(Ordering::Relaxed);
        hung != NEVER && self.progress.since(Moment::from_ms(hung)) < HANGS_ARE_REMEMBERED_FOR
    }

    pub fn begin_commit(&self) {
        self.progress.begin();
        self.is_committing.store(true, Ordering::Relaxed);
    }

    pub fn end_commit(&self, has_succeeded: bool) {
        if self.progress.longest_wait() > HANGS_AFTER {
            self.hung_ms.store(self.progress.now().as_ms(), Ordering::Relaxed);
        } else if has_succeeded {
            self.hung_ms.store(NEVER, Ordering::Relaxed);
        }
        self.is_committing.store(false, Ordering::Relaxed);
    }

    /// Records whether commits fail. Answers whether that has changed.
    pub fn set_failing(&self, is_failing: bool) -> bool {
        if !is_failing {
            // An attempt has just succeeded.
            self.hung_ms.store(NEVER, Ordering::Relaxed);
        }
        self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing
    }

    /// This moment, for [`mark_up_to_date`](Self::mark_up_to_date).
    pub fn now(&self) -> Moment {
        self.up_to_date.now()
    }

    /// The writer has seen everything that was committed before this moment. It is the moment before the database was
    /// asked, because the answer may take its time.
    pub fn mark_up_to_date(&self, moment: Moment) {
        self.up_to_date.mark_at(moment);
    }

    /// How long ago this server is known to have seen everything that was committed.
    pub fn staleness(&self) -> Duration {
        self.up_to_date.idle()
    }

    /// Whether that is so long ago that commits of other servers may be missing.
    pub fn is_stale(&self) -> bool {
        self.staleness() > STALE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// One that began a minute ago.
    fn health() -> (Arc<Progress>, CommitHealth) {
        let progress = Arc::new(Progress::begun_ago(MINUTE));
        (progress.clone(), CommitHealth::new(progress))
    }

    #[test]
    fn a_commit_hangs_when_nothing_of_it_is_answered_and_not_when_it_is_long() {
        let (progress, health) = health();
        assert!(health.is_ok(), "nothing is being committed");
        health.begin_commit();
        assert!(health.is_ok());
        progress.idle_for(Duration::from_secs(10));
        assert!(!health.is_ok(), "no answer for ten seconds");
        progress.excuse();
        assert!(health.is_ok(), "it waited for its turn");
        progress.mark();
        health.end_commit(true);
        assert!(health.is_ok());
        health.set_failing(true);
        assert!(!health.is_ok());
    }

    #[test]
    fn one_that_hung_is_told_of_until_another_one_does_not_or_none_is_tried() {
        let (progress, health) = health();
        let hang = || {
            health.begin_commit();
            progress.idle_for(Duration::from_secs(4));
            assert!(!health.is_ok());
            progress.mark();
            assert!(!health.is_ok(), "it is not over");
            health.end_commit(true);
            assert!(!health.is_ok(), "the next one may hang, too");
        };
        hang();
        health.begin_commit();
        assert!(!health.is_ok(), "nobody knows yet");
        health.end_commit(false);
        assert!(!health.is_ok(), "it was not committed");
        health.begin_commit();
        health.end_commit(true);
        assert!(health.is_ok());
        hang();
        health.hung_ms.store(45_000, Ordering::Relaxed);
        assert!(health.is_ok(), "15 s without another one");
        hang();
        health.set_failing(false);
        assert!(health.is_ok(), "an attempt succeeded");
    }

    #[test]
    fn what_is_known_is_as_old_as_the_question() {
        let (_, health) = health();
        assert!(!health.is_stale());
        let asked = health.now();
        let health = CommitHealth { up_to_date: Progress::begun_ago(Duration::from_secs(6)), ..health };
        health.mark_up_to_date(asked);
        assert!(health.is_stale(), "the answer took six seconds");
        health.mark_up_to_date(health.now());
        health.mark_up_to_date(asked);
        assert!(!health.is_stale(), "a later look was quicker");
    }
}
