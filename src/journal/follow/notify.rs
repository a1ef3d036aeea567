//! Notifications between servers on the same PostgreSQL that something was committed.
//!
//! A notification only has the others poll at once: a server that misses it finds out by polling, twice a second. So it
//! is sent after the commit and outside of it, where it costs the commit nothing (inside, one per commit took 56 % of
//! PostgreSQL's commits), and whether it arrives does not matter. What was committed is never in it.

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

use crate::journal::published::Published;
use crate::journal::store::database::Database;

/// The channel. Other programs on the same database would have to choose another.
const CHANNEL: &str = "aetherium_commits";

/// How long to wait between two notifications: each is a transaction with a wait for the disk.
const PAUSE: Duration = Duration::from_millis(20);

/// How long to wait before listening again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Notifies other servers of commits.
pub struct CommitNotifier {
    database: Database,
    /// Whether a task is sending notifications.
    is_sending: Arc<AtomicBool>,
    /// The last revision to notify of.
    latest: Arc<AtomicU64>,
}

impl CommitNotifier {
    pub fn new(database: Database) -> Self {
        Self { database, is_sending: Arc::default(), latest: Arc::default() }
    }

    /// Notifies of a revision: at once, or a moment later together with others if a notification has just been sent.
    pub fn notify(&self, revision: u64) {
        if self.database.backend() != DbBackend::Postgres || self.latest.swap(revision, Ordering::AcqRel) == revision {
            return;
        }
        if self.is_sending.swap(true, Ordering::AcqRel) {
            return;
        }
        let (readers, latest, is_sending) = (self.database.readers(), self.latest.clone(), self.is_sending.clone());
        tokio::spawn(async move {
            loop {
                let revision = latest.load(Ordering::Acquire);
                if let Err(error) = readers.execute_unprepared(&format!("NOTIFY {CHANNEL}, '{revision}'")).await {
                    debug!(error = %error, "a hint to other servers could not be sent");
                }
                sleep(PAUSE).await;
                is_sending.swap(false, Ordering::AcqRel);
                // Something may have been committed meanwhile, and another task may already be sending it.
                if latest.load(Ordering::Acquire) == revision || is_sending.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }
}

/// Has the writer poll at every notification, until told to stop.
pub async fn follow_replicas(
    database: &Database,
    published: &ArcSwap<Published>,
    poll_now: &Notify,
    shutdown: &CancellationToken,
) {
    if database.backend() != DbBackend::Postgres {
        return;
    }
    let following = async {
        loop {
            match PgListener::connect_with(database.readers().get_postgres_connection_pool()).await {
                Ok(listener) => wait_for_notifications(listener, published, poll_now).await,
                Err(error) => debug!(error = %error, "cannot listen for hints of other servers"),
            }
            sleep(RETRY).await;
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(following).await;
}

async fn wait_for_notifications(mut listener: PgListener, published: &ArcSwap<Published>, poll_now: &Notify) {
    if listener.listen(CHANNEL).await.is_err() {
        return;
    }
    // None is a connection that was lost and found again: notifications may have been lost meanwhile.
    while let Ok(notification) = listener.try_recv().await {
        let revision = notification.and_then(|notification| notification.payload().parse::<u64>().ok());
        // This server's own notifications come back, too.
        if revision.is_none_or(|revision| revision > published.load().snapshot.revision) {
            poll_now.notify_one();
        }
    }
}
