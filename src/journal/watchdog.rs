//! Gives up work of the writer when the database does not answer.
//!
//! A connection that is cut off in silence, and a PostgreSQL that is frozen, look to their client like one that is busy. A
//! time-out alone would have to be as long as the longest commit of a healthy database, and commands would wait for all of
//! it. So when a statement is not answered for a while, the database is asked on a connection of its own whether it is
//! there. If it is not, the work is given up at once. If it is, something holds the commit up (a lock, a disk): that is
//! given more time, and all of its time while whoever holds the lock goes on, because then it only waits for its turn.

use std::pin::pin;
use std::time::{Duration, Instant};

use sea_orm::DbBackend;
use tokio::time::{sleep, timeout};

use super::condition::Progress;
use super::database::{Database, Presence};

/// After how long without an answer the database is asked whether it is there.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// After how long without an answer a commit is given up though the database is there: two seconds after health tells of
/// it (`condition::HANGS_AFTER`), because who waits for the commit is to be told within two seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// How long a commit may take in all, whatever is answered meanwhile.
const WORK_TIMEOUT: Duration = Duration::from_secs(8);

/// After how long without an answer a look is given up though the database is there: its connection may have been cut off in
/// silence. No statement of a healthy one takes so long.
const LOOK_TIMEOUT: Duration = Duration::from_secs(8);

/// How often to look after it.
const PERIOD: Duration = Duration::from_millis(250);

/// How long to wait before the database is asked once more.
const PAUSE: Duration = Duration::from_millis(500);

/// What is watched. Either marks the progress with each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A commit, for which somebody waits.
    Commit,
    /// A look for what other servers have committed. It may read much, and may take as long as that takes, for as long as
    /// the database goes on to answer.
    Look,
}

impl Work {
    /// How much longer it may go on if nothing is answered, after having gone on for so long, and so long without an answer.
    fn left(self, elapsed: Duration, idle: Duration) -> Duration {
        match self {
            Self::Commit => WORK_TIMEOUT.saturating_sub(elapsed).min(GIVE_UP_AFTER.saturating_sub(idle)),
            Self::Look => LOOK_TIMEOUT.saturating_sub(idle),
        }
    }
}

/// The work was given up: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GivenUp(pub &'static str);

/// Does a piece of work, or gives it up.
pub(super) async fn watch<T>(
    database: &Database,
    progress: &Progress,
    kind: Work,
    work: impl Future<Output = T>,
) -> Result<T, GivenUp> {
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
            return Err(GivenUp("no answer from the database in time"));
        }
        let may_ask = last_asked.is_none_or(|last| last.elapsed() >= PAUSE);
        if database.backend() != DbBackend::Postgres || progress.idle() < SUSPICIOUS_AFTER || !may_ask {
            continue;
        }
        let presence = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            // One that has begun to answer, and takes its time, is not away.
            presence = timeout(left, database.presence()) => presence.unwrap_or(Presence::Unknown),
        };
        last_asked = Some(Instant::now());
        match presence {
            // A statement may have been answered meanwhile.
            Presence::Away if progress.idle() >= SUSPICIOUS_AFTER => {
                return Err(GivenUp("the database is not there"));
            }
            Presence::There { revision: found, waits_its_turn } => {
                if waits_its_turn || revision.is_some_and(|before| before != found) {
                    progress.excuse();
                }
                revision = Some(found);
            }
            Presence::Away | Presence::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_may_take_long_and_a_commit_may_not_and_neither_goes_on_without_answers() {
        let [second, long] = [1, 60].map(Duration::from_secs);
        assert!(Work::Look.left(long, second) > Duration::ZERO, "it reads much");
        assert_eq!(Work::Look.left(long, LOOK_TIMEOUT), Duration::ZERO);
        assert_eq!(Work::Commit.left(long, second), Duration::ZERO);
        assert_eq!(Work::Commit.left(second * 6, second), second * 2);
        assert_eq!(Work::Commit.left(second * 6, GIVE_UP_AFTER), Duration::ZERO);
    }
}
