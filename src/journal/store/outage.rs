//! An outage: the time in which the database takes no commits, and the probe that finds its end.
//!
//! The probe commits something that changes nothing, again and again, until that succeeds, or until it learns that it never
//! will: nobody polls in an outage, so that the probe is who finds that a newer version has changed the tables. What is done
//! with commands meanwhile is the [writer](crate::journal::commit::writer)'s business.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, EntityTrait as _, QuerySelect as _};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::applied_migrations::{TablesContracted, find_contract};
use super::database::Database;

/// How long to wait between two attempts, if none is asked for.
const PAUSE: Duration = Duration::from_millis(500);

/// How long one attempt may take on PostgreSQL. On SQLite an attempt is waited for to its end: it may hang in the disk,
/// where another one would hang, too.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// The key of the record that is written and removed again to see whether there is room. No client can send a key with
/// spaces in it.
const PROBE_KEY: &str = "is there room";

/// The size of that record: as much as a batch of some hundred heartbeats takes in SQLite's log.
const BALLAST_BYTES: u32 = 128 * 1_024;

/// An outage that goes on. Dropping it ends its probe.
#[derive(Debug)]
pub struct Outage {
    /// Whether commands have to wait for its end. If not, they are tried all the same.
    pub blocks_commands: bool,
    ended: oneshot::Receiver<OutageEnd>,
    probe_now: Arc<Notify>,
    probe: JoinHandle<()>,
}

/// How an outage ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutageEnd {
    /// Commits can be made again.
    CommitsSucceed,
    /// The tables are those of a newer version, and this one can make no commits to them.
    TablesContracted(TablesContracted),
}

impl Outage {
    pub fn begin(database: Database, blocks_commands: bool) -> Self {
        let (end, ended) = oneshot::channel();
        let probe_now = Arc::new(Notify::new());
        let probe = tokio::spawn(probe(database, end, probe_now.clone()));
        Self { blocks_commands, ended, probe_now, probe }
    }

    /// Waits for its end. Cancel safe.
    pub async fn ended(&mut self) -> OutageEnd {
        match (&mut self.ended).await {
            Ok(end) => end,
            // The probe is gone, which only happens when the runtime ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Has the next attempt made at once.
    pub fn probe_now(&self) {
        self.probe_now.notify_one();
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

async fn probe(database: Database, end: oneshot::Sender<OutageEnd>, probe_now: Arc<Notify>) {
    loop {
        let attempt = async { attempt(&database).await.map_err(|error| error.to_string()) };
        let outcome = match database.backend() {
            DbBackend::Postgres => {
                timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
            }
            _ => attempt.await,
        };
        match outcome {
            Ok(outcome) => {
                let _ = end.send(outcome);
                return;
            }
            Err(error) => debug!(error = %error, "the database still takes no commits"),
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = probe_now.notified() => {}
        }
    }
}

/// Tries to commit. If that fails, the reason may be one that stays.
async fn attempt(database: &Database) -> Result<OutageEnd, DbErr> {
    let Err(failed) = probe_commit(database).await else { return Ok(OutageEnd::CommitsSucceed) };
    match find_contract_on_primary(database).await {
        Ok(Some(contracted)) => Ok(OutageEnd::TablesContracted(contracted)),
        // If nothing can be read either, the error of the commit is the one to tell.
        Ok(None) | Err(_) => Err(failed),
    }
}

/// Reads on the writer's connection: what readers are connected to may not be the primary any more.
async fn find_contract_on_primary(database: &Database) -> Result<Option<TablesContracted>, DbErr> {
    let (connection, lease) = database.lease_writer().await?;
    let contracted = find_contract(&connection).await?;
    lease.succeed();
    Ok(contracted)
}

/// Makes a commit that changes nothing in the end, and reads the columns of each table. Succeeds if commits can be made
/// to the tables of this version.
async fn probe_commit(database: &Database) -> Result<(), DbErr> {
    if database.backend() == DbBackend::Sqlite {
        // A disk that has room for a page may have none for a commit.
        let ballast = format!(
            "INSERT INTO idempotency_record (key, fingerprint, response_body, created_at) \
             VALUES ('{PROBE_KEY}', '', hex(zeroblob({BALLAST_BYTES} / 2)), '1970-01-01T00:00:00.000+00:00') \
             ON CONFLICT (key) DO UPDATE SET response_body = excluded.response_body"
        );
        let transaction = database.begin_writing().await?;
        transaction.execute_unprepared(&ballast).await?;
        transaction.commit().await?;
    }
    let transaction = database.begin_writing().await?;
    if database.backend() == DbBackend::Sqlite {
        let removal = format!("DELETE FROM idempotency_record WHERE key = '{PROBE_KEY}'");
        transaction.execute_unprepared(&removal).await?;
    }
    transaction.execute_unprepared("UPDATE cluster SET revision = revision WHERE id = 1").await?;
    entity::cluster::Entity::find().limit(0).all(&*transaction).await?;
    entity::epoch::Entity::find().limit(0).all(&*transaction).await?;
    entity::worker::Entity::find().limit(0).all(&*transaction).await?;
    entity::token::Entity::find().limit(0).all(&*transaction).await?;
    entity::vm::Entity::find().limit(0).all(&*transaction).await?;
    entity::reservation::Entity::find().limit(0).all(&*transaction).await?;
    entity::event::Entity::find().limit(0).all(&*transaction).await?;
    entity::idempotency_record::Entity::find().limit(0).all(&*transaction).await?;
    entity::drain::Entity::find().limit(0).all(&*transaction).await?;
    entity::worker_tombstone::Entity::find().limit(0).all(&*transaction).await?;
    transaction.commit().await
}
