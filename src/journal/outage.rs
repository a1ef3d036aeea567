//! Finds the end of an outage.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::database::Database;

/// How long to wait between two attempts, if nobody asks for one.
const PAUSE: Duration = Duration::from_millis(500);

/// How long one attempt may take on PostgreSQL. One on SQLite is waited for: it may hang in the disk, and another one beside
/// it would only hang, too.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// An outage that goes on: somebody tries to commit something that changes nothing, until that succeeds.
#[derive(Debug)]
pub(super) struct Outage {
    /// Whether commands have to wait for its end, or are tried all the same.
    pub stops_commands: bool,
    ended: oneshot::Receiver<()>,
    wanted: Arc<Notify>,
    prober: JoinHandle<()>,
}

impl Outage {
    pub(super) fn begin(database: Database, stops_commands: bool) -> Self {
        let (end, ended) = oneshot::channel();
        let wanted = Arc::new(Notify::new());
        let prober = tokio::spawn(probe(database, end, wanted.clone()));
        Self { stops_commands, ended, wanted, prober }
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn end(&mut self) {
        if (&mut self.ended).await.is_err() {
            // Whoever tried is gone, and only a runtime that ends takes it away.
            std::future::pending::<()>().await;
        }
    }

    /// Has the next attempt made at once.
    pub(super) fn hurry(&self) {
        self.wanted.notify_one();
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.prober.abort();
    }
}

async fn probe(database: Database, end: oneshot::Sender<()>, wanted: Arc<Notify>) {
    loop {
        let attempt = async { database.probe().await.map_err(|error| error.to_string()) };
        let outcome = match database.backend() {
            DbBackend::Postgres => {
                timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            }
            _ => attempt.await,
        };
        match outcome {
            Ok(()) => {
                let _ = end.send(());
                return;
            }
            Err(error) => debug!(error = %error, "the database still takes no commits"),
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = wanted.notified() => {}
        }
    }
}
