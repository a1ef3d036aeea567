//! The watchdog of the writer: it aborts work that the database does not answer.
//!
//! To its client, a connection that was cut without notice, or a PostgreSQL that is frozen, looks like one that is
//! busy. A time-out alone would have to be as long as the longest commit of a healthy database, and commands would wait
//! for all of it. So when a statement is not answered for a while, [reachability](crate::journal::store::reachability)
//! is checked on a session of its own. If the database cannot be reached, the work is aborted at once. If it can,
//! something holds the commit up (a lock, a disk), and the work is given more time; while the holder of the lock is
//! active, the wait does not count at all, because the commit only waits for its turn. What follows from an abortion is
//! the [writer](super::writer)'s.

use std::pin::pin;
use std::time::{Duration, Instant};

use sea_orm::DbBackend;
use tokio::time::{sleep, timeout};

use crate::journal::store::database::Database;
use crate::journal::store::reachability::Reachability;
use crate::journal::store::statement_progress::Progress;

/// After how long without an answer reachability is checked.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// After how long without an answer a commit is aborted though the database can be reached: two seconds after health
/// shows the hang (`health::HANGS_AFTER`), because the clients of the commit are to be answered within two seconds of
/// that.
const ABORT_AFTER: Duration = Duration::from_secs(5);

/// How long a commit may take in all, whatever is answered meanwhile.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(8);

/// After how long without an answer a poll is aborted though the database can be reached: its connection may have been
/// cut without notice. No statement of a healthy poll takes so long.
const POLL_TIMEOUT: Duration = Duration::from_secs(8);

/// How often the watchdog looks.
const PERIOD: Duration = Duration::from_millis(250);

/// How long to wait between two checks of reachability.
const PAUSE: Duration = Duration::from_millis(500);

/// The kind of work that is watched. Either marks the progress with each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A commit, whose replies clients wait for.
    Commit,
    /// A poll for what other servers have committed. It may read much, and may take as long as that takes while the
    /// database goes on answering.
    Poll,
}

impl WorkKind {
    /// How much longer the work may go on without an answer, if it has taken `elapsed` so far, and `idle` of that since
    /// the last answer.
    fn left(self, elapsed: Duration, idle: Duration) -> Duration {
        match self {
            Self::Commit => COMMIT_TIMEOUT.saturating_sub(elapsed).min(ABORT_AFTER.saturating_sub(idle)),
            Self::Poll => POLL_TIMEOUT.saturating_sub(idle),
        }
    }
}

/// Why the work was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted(pub &'static str);

/// Does a piece of work, or aborts it.
pub async fn watch<T>(
    database: &Database,
    progress: &Progress,
    kind: WorkKind,
    work: impl Future<Output = T>,
) -> Result<T, Aborted> {
    let mut work = pin!(work);
    progress.begin();
    let begun = Instant::now();
    let (mut last_asked, mut revision) = (None::<Instant>, None);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep(PERIOD) => {}
        }
        let left = kind.left(begun.elapsed(), progress.idle());
        if left.is_zero() {
            return Err(Aborted("no answer from the database in time"));
        }
        let may_ask = last_asked.is_none_or(|last| last.elapsed() >= PAUSE);
        if database.backend() != DbBackend::Postgres || progress.idle() < SUSPICIOUS_AFTER || !may_ask {
            continue;
        }
        let reachability = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            // A database that has begun to answer, and takes its time, can be reached.
            reachability = timeout(left, database.reachability()) => reachability.unwrap_or(Reachability::Unknown),
        };
        last_asked = Some(Instant::now());
        match reachability {
            // A statement may have been answered meanwhile.
            Reachability::Unreachable if progress.idle() >= SUSPICIOUS_AFTER => {
                return Err(Aborted("the database is not there"));
            }
            Reachability::Reachable { revision: found, lock_holder_is_active } => {
                if lock_holder_is_active || revision.is_some_and(|before| before != found) {
                    progress.excuse();
                }
                revision = Some(found);
            }
            Reachability::Unreachable | Reachability::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_poll_may_take_long_and_a_commit_may_not_and_neither_goes_on_without_answers() {
        let [second, long] = [1, 60].map(Duration::from_secs);
        assert!(WorkKind::Poll.left(long, second) > Duration::ZERO, "it reads much");
        assert_eq!(WorkKind::Poll.left(long, POLL_TIMEOUT), Duration::ZERO);
        assert_eq!(WorkKind::Commit.left(long, second), Duration::ZERO);
        assert_eq!(WorkKind::Commit.left(second * 6, second), second * 2);
        assert_eq!(WorkKind::Commit.left(second * 6, ABORT_AFTER), Duration::ZERO);
    }
    /// What comes of a commit whose database has answered for the last time so long ago; none if it goes on.
    async fn commit_without_an_answer_for(wait: Duration) -> Option<Result<(), Aborted>> {
        let database = Database::connect("sqlite::memory:").await.unwrap();
        let progress = Progress::begun_ago(MINUTE);
        let commit = async {
            progress.idle_for(wait);
            pending().await
        };
        timeout(3 * PERIOD, watch(&database, &progress, WorkKind::Commit, commit)).await.ok()
    }

    #[tokio::test]
    async fn a_commit_is_aborted_when_nothing_of_it_is_answered_and_not_before() {
        let aborted = Aborted("no answer from the database in time");
        assert_eq!(commit_without_an_answer_for(ABORT_AFTER).await, Some(Err(aborted)));
        assert_eq!(commit_without_an_answer_for(ABORT_AFTER / 2).await, None);
    }

    #[tokio::test]
    async fn the_wait_for_an_answer_begins_with_the_work() {
        let database = Database::connect("sqlite::memory:").await.unwrap();
        // Nothing was asked for a minute, and so nothing was answered.
        let watched = async |kind: WorkKind| {
            let progress = Progress::begun_ago(MINUTE);
            timeout(2 * PERIOD, watch(&database, &progress, kind, pending::<()>())).await.ok()
        };
        assert_eq!((watched(WorkKind::Commit).await, watched(WorkKind::Poll).await), (None, None));
        let done = watch(&database, &Progress::begun_ago(MINUTE), WorkKind::Commit, ready("done")).await;
        assert_eq!(done, Ok("done"));
    }
}
