//! The database: SQLite in a file, or PostgreSQL, by URL.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as Connector, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, sqlx,
};

use super::thread::OwnThread;

/// How long to wait for a connection before the database counts as unavailable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long PostgreSQL may work on one statement; the largest, a start with 200,000 VMs, takes one second.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long PostgreSQL may work on one statement of a commit: shorter than a commit may take as a
/// whole, so that nothing of one that was given up goes on in secret and holds the lock for long. (If it is a commit by
/// itself, it may still come to its end. Who waited was told that nobody knows, and the next batch finds out.)
const COMMIT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(7);

/// For how long a connection of the writer counts as one that answers after it was tested, which it is when it is given
/// back. To ask again before each commit would take a tenth of its time. Who uses it has to be ready for one that is lost.
const FRESH: Duration = Duration::from_secs(1);

/// Connections of the writer. One writes; it is tested when it is given back, and meanwhile the other one writes.
const WRITERS: u32 = 2;

/// How long a SQLite connection waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The SQLite version that fixed a corruption of write-ahead logs with more than one connection.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Connections to the database, and a count of the statements sent through them.
#[derive(Clone, Debug)]
pub struct Database {
    /// The journal's: there is one writing transaction at a time.
    writer: DatabaseConnection,
    /// Connections for everybody else.
    readers: DatabaseConnection,
    /// Where the writer and its connection are, if not among everybody else: PostgreSQL works while we read the next
    /// requests, and with hundreds of those in line before the writer's next step, it would wait for us instead.
    writers_thread: Option<Arc<OwnThread>>,
    statements: Arc<AtomicU64>,
}

/// Why the database could not be opened: a sentence for whoever started the server.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that we can use.
    #[error("Cannot use {url:?} as a database: it must start with sqlite:// or postgres://.")]
    Scheme {
        /// What was given, without a password.
        url: String,
    },
    /// It did not answer, or refused.
    #[error("Cannot open the database {url}: {reason}.")]
    Connect {
        /// What was given, without a password.
        url: String,
        /// The driver's words.
        reason: String,
        /// Where they come from.
        #[source]
        source: DbErr,
    },
    /// The SQLite library is too old to be trusted with several connections.
    #[error("SQLite {found} cannot be used: versions before 3.51.3 may corrupt a database with several connections.")]
    OldSqlite {
        /// The version found.
        found: String,
    },
    /// The tables are not those this version works with.
    #[error(
        "The database {url} has not been migrated: run `aetherium migrate up` first, or start without --no-migrate."
    )]
    NotMigrated {
        /// What was given, without a password.
        url: String,
    },
}

impl Database {
    /// Connects by URL. With `sqlite://`, a file that is not there yet is made.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let shown = without_password(url);
        let failed = |source: DbErr| OpenError::Connect { url: shown.clone(), reason: reason(&source), source };
        let statements = Arc::new(AtomicU64::new(0));
        let database = if url.starts_with("sqlite:") {
            // Checked here for a clear sentence: the connector would report a bad option as a failed connection.
            SqliteConnectOptions::from_str(url).map_err(|error| failed(DbErr::Custom(error.to_string())))?;
            let mut writer = sqlite(url, 1).await.map_err(failed)?;
            count_statements(&mut writer, &statements);
            // A database in memory belongs to its one connection.
            let readers = if url.contains(":memory:") {
                writer.clone()
            } else {
                let mut readers = sqlite(url, 4).await.map_err(failed)?;
                count_statements(&mut readers, &statements);
                readers
            };
            Self { writer, readers, writers_thread: None, statements }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            // Of their own, so that questions about history can never keep a commit waiting for a connection.
            let thread = OwnThread::start("journal").map_err(|error| failed(DbErr::Custom(error.to_string())))?;
            let connecting = postgres(url.to_owned(), WRITERS, COMMIT_STATEMENT_TIMEOUT, FRESH);
            let mut writer = thread.run(connecting).await.map_err(failed)?;
            let mut readers = postgres(url.to_owned(), 8, STATEMENT_TIMEOUT, Duration::ZERO).await.map_err(failed)?;
            count_statements(&mut writer, &statements);
            count_statements(&mut readers, &statements);
            Self { writer, readers, writers_thread: Some(Arc::new(thread)), statements }
        } else {
            return Err(OpenError::Scheme { url: shown });
        };
        if database.backend() == DbBackend::Sqlite {
            database.check_sqlite_version().await.map_err(|error| match error {
                VersionCheck::Failed(source) => failed(source),
                VersionCheck::Old(found) => OpenError::OldSqlite { found },
            })?;
        }
        Ok(database)
    }

    /// Brings the tables to the shape this version works with.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        Migrator::up(self.for_upkeep(), None).await
    }

    /// Whether the tables have the shape this version works with.
    pub async fn is_migrated(&self) -> Result<bool, DbErr> {
        Ok(Migrator::get_pending_migrations(self.for_upkeep()).await?.is_empty())
    }

    /// Which of the two it is.
    pub fn backend(&self) -> DbBackend {
        self.writer.get_database_backend()
    }

    /// For reading what is not in memory.
    pub fn readers(&self) -> &DatabaseConnection {
        &self.readers
    }

    /// For changing the tables, and for removing what is old: SQLite wants its one writer for it; on PostgreSQL it may take
    /// longer than a commit may, and the writer's connections are made where the writer is.
    pub fn for_upkeep(&self) -> &DatabaseConnection {
        match self.backend() {
            DbBackend::Postgres => &self.readers,
            _ => &self.writer,
        }
    }

    /// Where the writer has to be, if not among everybody else.
    pub(super) fn writers_thread(&self) -> Option<&Arc<OwnThread>> {
        self.writers_thread.as_ref()
    }

    /// For the journal.
    pub(super) fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// Succeeds if the database answers.
    pub async fn answer(&self) -> Result<(), DbErr> {
        self.readers.execute_unprepared("SELECT 1").await.map(drop)
    }

    /// How many statements have been sent so far, except for hints, which are sent as time allows.
    pub fn statements_sent(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Closes all connections.
    pub async fn close(self) -> Result<(), DbErr> {
        let Self { writer, readers, writers_thread: _, statements: _ } = self;
        readers.close().await?;
        writer.close().await
    }

    /// Begins a transaction that will write. On SQLite it takes the write lock at once: a lock asked
    /// for later would be refused without waiting if somebody else has written in between.
    pub(super) async fn begin_writing(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        // A connection may have been lost. Nothing has happened then: the next one is tried, and at last a new one.
        let mut chances = if self.backend() == DbBackend::Postgres { WRITERS } else { 0 };
        loop {
            match self.writer.begin_with_options(options).await {
                Err(error) if chances > 0 && !matches!(error, DbErr::ConnectionAcquire(_)) => chances -= 1,
                outcome => return outcome,
            }
        }
    }

    async fn check_sqlite_version(&self) -> Result<(), VersionCheck> {
        let statement = Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version() AS version");
        let row = self.writer.query_one_raw(statement).await.map_err(VersionCheck::Failed)?;
        let found: String = match row {
            Some(row) => row.try_get("", "version").map_err(VersionCheck::Failed)?,
            None => String::new(),
        };
        let mut numbers = found.split('.').map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        if (next(), next(), next()) < OLDEST_SQLITE { Err(VersionCheck::Old(found)) } else { Ok(()) }
    }
}

enum VersionCheck {
    Failed(DbErr),
    Old(String),
}

async fn sqlite(url: &str, connections: u32) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|options| {
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // What is acknowledged survives a power cut; group commit makes it affordable.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
                .statement_cache_capacity(512)
                .pragma("temp_store", "memory")
                .pragma("cache_size", "-20000")
        });
    Connector::connect(options).await
}

async fn postgres(
    url: String,
    connections: u32,
    statement_timeout: Duration,
    fresh: Duration,
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .sqlx_logging(false)
        .set_application_name("aetherium")
        .statement_timeout(statement_timeout)
        .test_before_acquire_if_idle_for(fresh)
        .map_sqlx_postgres_opts(|options| {
            options.options([
                // What was committed while we waited for the lock has to be seen after it, whatever this
                // database's default is. Said once here, and not with one more statement in every transaction.
                ("default_transaction_isolation", "read committed"),
                // A server that is stopped, or cut off, in the middle of a commit holds the lock that all
                // others wait for: the database takes it back.
                ("idle_in_transaction_session_timeout", "5s"),
                ("lock_timeout", "6s"),
                ("tcp_keepalives_idle", "5"),
                ("tcp_keepalives_interval", "2"),
                ("tcp_keepalives_count", "3"),
            ])
        });
    Connector::connect(options).await
}

fn count_statements(connection: &mut DatabaseConnection, statements: &Arc<AtomicU64>) {
    let statements = statements.clone();
    connection.set_metric_callback(move |sent| {
        if !sent.statement.sql.starts_with("NOTIFY ") {
            statements.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// The URL as it may be shown: a password in it is nobody's business.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let path = path.split('?').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{path}")
        }
        None => format!("{scheme}://{authority}{path}"),
    }
}

/// The driver's words, without those that only say that it is the driver who speaks.
fn reason(error: &DbErr) -> String {
    let words = match error {
        DbErr::Conn(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            sqlx::Error::PoolTimedOut => {
                format!("no connection within {} s; is it running, and is this its address?", CONNECT_TIMEOUT.as_secs())
            }
            sqlx::Error::Database(error) => error.message().to_owned(),
            sqlx::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        },
        // The connector repeats the whole URL here, with the password.
        DbErr::Conn(RuntimeErr::Internal(_)) => {
            "it is not a URL such as postgres://user:password@host/database".to_owned()
        }
        DbErr::Custom(words) => words.clone(),
        other => other.to_string(),
    };
    words.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("sqlite://aetherium.db?mode=rwc", "sqlite://aetherium.db"),
            ("postgres://me:secret@db:5432/fleet?password=x", "postgres://me@db:5432/fleet"),
            ("postgres://db/fleet", "postgres://db/fleet"),
            ("mysql", "mysql"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
