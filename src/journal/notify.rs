//! Telling other servers on the same PostgreSQL that something was committed.
//!
//! It is a mere hint: whoever misses it finds out by looking, twice a second. So it is sent after
//! the commit and outside of it, where it costs the commit nothing (inside, one per commit took
//! 56 % of PostgreSQL's commits), and nobody cares whether it arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait as _, DbBackend};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Published;
use super::database::Database;

/// The channel. Other programs on the same database would have to choose another.
const CHANNEL: &str = "aetherium_commits";

/// How long to wait between two hints: each is a transaction with a wait for the disk.
const PAUSE: Duration = Duration::from_millis(20);

/// How long to wait before listening again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Sends hints.
pub(super) struct Hints {
    database: Database,
    /// Whether somebody is sending them.
    being_sent: Arc<AtomicBool>,
    /// The last revision that is to be told.
    latest: Arc<AtomicU64>,
}

impl Hints {
    pub(super) fn new(database: Database) -> Self {
        Self { database, being_sent: Arc::default(), latest: Arc::default() }
    }

    /// Tells everybody of a revision: at once, or with others a moment later if hints have just been sent.
    pub(super) fn send(&self, revision: u64) {
        if self.database.backend() != DbBackend::Postgres || self.latest.swap(revision, Ordering::AcqRel) == revision {
            return;
        }
        if self.being_sent.swap(true, Ordering::AcqRel) {
            return;
        }
        let (readers, latest, being_sent) = (self.database.readers(), self.latest.clone(), self.being_sent.clone());
        tokio::spawn(async move {
            loop {
                let revision = latest.load(Ordering::Acquire);
                if let Err(error) = readers.execute_unprepared(&format!("NOTIFY {CHANNEL}, '{revision}'")).await {
                    debug!(error = %error, "a hint to other servers could not be sent");
                }
                sleep(PAUSE).await;
                being_sent.swap(false, Ordering::AcqRel);
                // Something may have been committed meanwhile, and somebody else may already be telling it.
                if latest.load(Ordering::Acquire) == revision || being_sent.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }
}

/// Wakes the writer at every hint, until told to stop.
pub(super) async fn listen(
    database: &Database,
    live: &ArcSwap<Published>,
    wake: &Notify,
    shutdown: &CancellationToken,
) {
    if database.backend() != DbBackend::Postgres {
        return;
    }
    let listening = async {
        loop {
            match PgListener::connect_with(database.readers().get_postgres_connection_pool()).await {
                Ok(listener) => wait_for_hints(listener, live, wake).await,
                Err(error) => debug!(error = %error, "cannot listen for hints of other servers"),
            }
            sleep(RETRY).await;
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(listening).await;
}

async fn wait_for_hints(mut listener: PgListener, live: &ArcSwap<Published>, wake: &Notify) {
    if listener.listen(CHANNEL).await.is_err() {
        return;
    }
    // None is a connection that was lost and found again: there may have been hints meanwhile.
    while let Ok(hint) = listener.try_recv().await {
        let told = hint.and_then(|hint| hint.payload().parse::<u64>().ok());
        // Our own hints come back too.
        if told.is_none_or(|revision| revision > live.load().snapshot.revision) {
            wake.notify_one();
        }
    }
}
