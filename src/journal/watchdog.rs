//! Gives up work of the writer when the database does not answer.
//!
//! A connection that is cut off in silence, and a PostgreSQL that is frozen, look to their client like one that is busy. A
//! time-out alone would have to be as long as the longest commit of a healthy database, and commands would wait for all of
//! it. So when a statement is not answered for a while, the database is asked on a connection of its own whether it is
//! there. If it is not, the work is given up at once. If it is, something holds the commit up (a lock, a disk): that is
//! given more time, and all of its time while other servers go on to commit, because then it only waits for its turn.

use std::pin::pin;
use std::time::{Duration, Instant};

use sea_orm::DbBackend;
use tokio::time::{sleep, timeout};

use super::condition::Progress;
use super::database::{Database, Presence};

/// After how long without an answer the database is asked whether it is there.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// How long it may take to say so: three round trips, of half a second each on a slow database.
const PRESENCE_TIMEOUT: Duration = Duration::from_secs(2);

/// After how long without an answer a commit is given up though the database is there: two seconds after health tells of
/// it (`condition::HANGS_AFTER`), because who waits for the commit is to be told within two seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// How long one piece of work may take in all, whatever is answered meanwhile.
const WORK_TIMEOUT: Duration = Duration::from_secs(8);

/// How often to look after it.
const PERIOD: Duration = Duration::from_millis(250);

/// How long to wait before the database is asked once more.
const PAUSE: Duration = Duration::from_millis(500);

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A commit, whose statements mark the progress.
    Commit,
    /// A look for what other servers have committed. It may read much, and is given up only if the database is not there.
    Look,
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
    let begun = Instant::now();
    let (mut last_asked, mut revision) = (begun, None);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep(PERIOD) => {}
        }
        let idle = match kind {
            Work::Commit => progress.idle(),
            Work::Look => begun.elapsed(),
        };
        if begun.elapsed() >= WORK_TIMEOUT || (kind == Work::Commit && idle >= GIVE_UP_AFTER) {
            return Err(GivenUp("no answer from the database in time"));
        }
        let may_ask = last_asked == begun || last_asked.elapsed() >= PAUSE;
        if database.backend() != DbBackend::Postgres || idle < SUSPICIOUS_AFTER || !may_ask {
            continue;
        }
        let presence = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            presence = timeout(PRESENCE_TIMEOUT, database.presence()) => presence.unwrap_or(Presence::Away),
        };
        last_asked = Instant::now();
        match presence {
            // A statement may have been answered meanwhile.
            Presence::Away if kind == Work::Look || progress.idle() >= SUSPICIOUS_AFTER => {
                return Err(GivenUp("the database is not there"));
            }
            Presence::At(found) => {
                if revision.is_some_and(|before| before != found) {
                    progress.mark();
                }
                revision = Some(found);
            }
            Presence::Away | Presence::Unknown => {}
        }
    }
}
