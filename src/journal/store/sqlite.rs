//! Connections to SQLite: with which options they are opened, and how the write-ahead log is brought into the database.
//!
//! Which connections a database has, and what for, is [`Database`](super::database::Database)'s; whose the files are is
//! looked after in [`sqlite_files`](super::sqlite_files).

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sea_orm::sqlx::Connection as _;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as Connector, DatabaseConnection, DbBackend, DbErr, Statement,
};

use super::open_error::{CONNECT_TIMEOUT, OpenError};
use super::sqlite_files::{DatabaseFiles, LockError};
use super::statement_meter::StatementMeter;

/// How long a connection waits for another process that is writing. There should be none; a process that holds the lock
/// for longer than this keeps commands from being committed, and they fail.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The SQLite version that fixed a corruption of write-ahead logs with more than one connection.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// How many pages the write-ahead log grows to before it is checkpointed, which waits for the disk twice: 32 MiB. With
/// the usual thousand, a few thousand heartbeats would checkpoint each time.
pub const WAL_PAGES: i64 = 8_192;

/// A SQLite file that is open for writing.
#[derive(Debug)]
pub struct SqliteFile {
    pub files: DatabaseFiles,
    /// A connection that stays open as long as the database, and is hardly ever used. Without it, SQLite would remove
    /// the write-ahead log and its index whenever all other connections happen to be replaced at once.
    pub anchor: DatabaseConnection,
    /// Whether the log that was there at the start has been checkpointed.
    pub is_checkpointed: AtomicBool,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SqliteMode {
    Writer,
    Reader,
    /// To stay open, and to find out whose the file is before anything is changed in it.
    Anchor,
    /// To read beside a server that has the file.
    Inspect,
    Memory,
}

/// Opens a pool of so many connections.
pub async fn connect(
    url: String,
    connections: u32,
    mode: SqliteMode,
    meter: StatementMeter,
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |options| {
            let options = options
                // The file is created where it is locked. One that is missing later is not created anew.
                .create_if_missing(mode == SqliteMode::Memory)
                // What is acknowledged survives a power cut. Group commit makes that affordable.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
                .statement_cache_capacity(512)
                .pragma("temp_store", "memory")
                .pragma("cache_size", cache_size(mode))
                // A commit would wait for it; see `checkpoint_if_long`.
                .pragma("wal_autocheckpoint", "0");
            match mode {
                SqliteMode::Writer | SqliteMode::Reader => options.journal_mode(SqliteJournalMode::Wal),
                SqliteMode::Inspect => options.read_only(true),
                SqliteMode::Anchor | SqliteMode::Memory => options,
            }
        });
    if mode == SqliteMode::Writer {
        // On a connection that the driver takes to be in a transaction, BEGIN becomes a SAVEPOINT. It is closed
        // instead.
        options.map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
    }
    let mut connection = Connector::connect(options).await?;
    meter.attach(&mut connection);
    Ok(connection)
}

/// How many pages a connection caches, in negative KiB. A reader's cache is dropped by the first transaction after a commit
/// of the writer, which comes many times a second: it serves one statement, and would be full after the first long one.
fn cache_size(mode: SqliteMode) -> &'static str {
    match mode {
        SqliteMode::Reader => "-4000",
        SqliteMode::Writer | SqliteMode::Anchor | SqliteMode::Memory | SqliteMode::Inspect => "-20000",
    }
}

/// Locks a database file, or says why that cannot be done.
pub fn lock(path: &Path, shown: &str, may_create: bool) -> Result<DatabaseFiles, OpenError> {
    let url = shown.to_owned();
    match DatabaseFiles::lock(path, may_create) {
        Ok(Some(files)) => Ok(files),
        Ok(None) => Err(OpenError::connect(shown, DbErr::Custom("unable to open database file".to_owned()))),
        Err(LockError::InUse) => Err(OpenError::InUse { url }),
        Err(LockError::SeveralNames) => Err(OpenError::SeveralNames { url }),
        Err(LockError::Failed(path, error)) => Err(OpenError::Lock { url, path, reason: error.to_string() }),
    }
}

/// How many pages of the write-ahead log are not in the database yet. Nothing is written, and nobody waited for.
pub async fn uncheckpointed_pages(connection: &DatabaseConnection) -> Result<i64, DbErr> {
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(NOOP)");
    let Some(row) = connection.query_one_raw(statement).await? else { return Ok(0) };
    let number = |column| row.try_get_by_index::<i64>(column);
    Ok(number(1)? - number(2)?)
}

/// Refuses a SQLite that is too old.
pub async fn check_version(connection: &DatabaseConnection, shown: &str) -> Result<(), OpenError> {
    let failed = |source| OpenError::connect(shown, source);
    let statement = Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version() AS version");
    let row = connection.query_one_raw(statement).await.map_err(failed)?;
    let found = row.map(|row| row.try_get::<String>("", "version")).transpose().map_err(failed)?.unwrap_or_default();
    let mut numbers = found.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    if (next(), next(), next()) < OLDEST_SQLITE { Err(OpenError::OldSqlite { found }) } else { Ok(()) }
}
