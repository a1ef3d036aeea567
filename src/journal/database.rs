//! The database: SQLite in a file, or PostgreSQL, by URL.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as Connector, DatabaseConnection, DbBackend, DbErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, sqlx,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::condition::Progress;
use super::connections::{Connections, Lease, WritingTransaction};
use super::files::{DatabaseFiles, LockError, LookError};
use super::migrations;
use super::open_error::{CONNECT_TIMEOUT, OpenError};
use super::thread::OwnThread;

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

/// Connections to PostgreSQL for everybody else.
const READERS: u32 = 8;

/// How long PostgreSQL may take to let a connection be made, and how long to send its first byte on it: three times what a
/// slow one takes. One that is frozen has its connections made by the system, and sends nothing.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How lately whoever holds the lock that the writer waits for has to have begun or ended a statement to be taken for one
/// that goes on: twice what a slow database takes for each.
const HOLDER_GOES_ON: &str = "2 s";

/// How long a SQLite connection waits for another process that is writing. Nobody should be; whoever holds the lock for
/// longer than this keeps commands from being taken, and they are told so.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The SQLite version that fixed a corruption of write-ahead logs with more than one connection.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Connections to the database, and a count of the statements sent through them.
#[derive(Clone, Debug)]
pub struct Database {
    url: Url,
    backend: DbBackend,
    /// The journal's: there is one writing transaction at a time.
    writer: Arc<Connections>,
    /// Connections for everybody else.
    readers: Arc<ArcSwap<DatabaseConnection>>,
    /// Where the writer and its connection are, if not among everybody else: PostgreSQL works while we read the next
    /// requests, and with hundreds of those in line before the writer's next step, it would wait for us instead.
    writers_thread: Option<Arc<OwnThread>>,
    /// What only a SQLite file has.
    file: Option<Arc<SqliteFile>>,
    statements: Arc<AtomicU64>,
    /// Of the writer's statements.
    progress: Arc<Progress>,
    writers_sessions: Arc<Sessions>,
}

/// The last sessions of the writer with PostgreSQL, by the numbers of their processes there.
#[derive(Debug, Default)]
struct Sessions(Mutex<VecDeque<i32>>);

impl Sessions {
    /// As many as there may be, and those that have just replaced them.
    const MOST: usize = 2 * WRITERS as usize;

    fn note(&self, process: i32) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(process);
        if last.len() > Self::MOST {
            last.pop_front();
        }
    }

    /// As a list for SQL.
    fn list(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a PostgreSQL is there, as a session of its own finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It answers.
    There {
        /// The last revision that is committed.
        revision: i64,
        /// Whether the writer waits for a lock whose holder goes on.
        waits_its_turn: bool,
    },
    /// It sends nothing, refuses or loses connections, or is starting or stopping.
    Away,
    /// It answers, but not in time, or that it takes no further session, or something else that says nothing about those that there are.
    Unknown,
}

/// A URL that is shown without its password.
#[derive(Clone)]
struct Url(Arc<str>);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

/// A SQLite file that is open for writing.
#[derive(Debug)]
struct SqliteFile {
    files: DatabaseFiles,
    /// A connection that is open for as long as the database is, and asked nothing: without one, SQLite would remove its log
    /// and its index of it whenever the others happen to be replaced at once.
    anchor: DatabaseConnection,
    /// Whether what was in the log at the start has been brought into the database.
    is_checkpointed: AtomicBool,
}

/// Lets others have the files when it is dropped.
struct Unlocking<'a>(&'a DatabaseFiles);

impl Drop for Unlocking<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be written to; a SQLite file that is not there is made.
    Serve,
    /// To be written to, if it is there.
    Change,
    /// To be looked at, beside whoever has it.
    Inspect,
}

impl Database {
    /// Connects by URL. With `sqlite://`, a file that is not there yet is made, and nobody else may be writing to it.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(url, Purpose::Serve).await
    }

    /// The same, except that a file that is not there is not made.
    pub async fn connect_existing(url: &str) -> Result<Self, OpenError> {
        Self::open(url, Purpose::Change).await
    }

    /// Connects to look at what is there, also beside a server: nothing is made, changed or locked.
    pub async fn inspect(url: &str) -> Result<Self, OpenError> {
        Self::open(url, Purpose::Inspect).await
    }

    async fn open(url: &str, purpose: Purpose) -> Result<Self, OpenError> {
        let shown = without_password(url);
        let database = if url.starts_with("sqlite:") {
            Self::open_sqlite(url, &shown, purpose).await?
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let failed = |source: DbErr| OpenError::connect(&shown, source);
            let statements = Arc::new(AtomicU64::new(0));
            let progress = Arc::new(Progress::new());
            let writers_sessions = Arc::new(Sessions::default());
            // Of their own, so that questions about history can never keep a commit waiting for a connection.
            let thread = OwnThread::start("journal").map_err(|error| failed(DbErr::Custom(error.to_string())))?;
            let open_writer = {
                let (url, mut meter) = (url.to_owned(), Meter::of_the_writer(&statements, &progress));
                meter.sessions = Some(writers_sessions.clone());
                move |is_lazy| {
                    let limits = (WRITERS, COMMIT_STATEMENT_TIMEOUT, FRESH);
                    postgres(url.clone(), limits, is_lazy, meter.clone())
                }
            };
            let writer = thread.run(open_writer(false)).await.map_err(failed)?;
            let readers = postgres_readers(url, false, &statements).await.map_err(failed)?;
            Self {
                url: Url(url.into()),
                backend: DbBackend::Postgres,
                writer: Connections::new(writer, move || Box::pin(open_writer(true))),
                readers: Arc::new(ArcSwap::from_pointee(readers)),
                writers_thread: Some(Arc::new(thread)),
                file: None,
                statements,
                progress,
                writers_sessions,
            }
        } else {
            return Err(OpenError::Scheme { url: shown });
        };
        Ok(database)
    }

    async fn open_sqlite(url: &str, shown: &str, purpose: Purpose) -> Result<Self, OpenError> {
        let failed = |source: DbErr| OpenError::connect(shown, source);
        let statements = Arc::new(AtomicU64::new(0));
        let progress = Arc::new(Progress::new());
        let meter = Meter::of(&statements);
        // Checked here for a clear sentence: the connector would report a bad option as a failed connection.
        let options = SqliteConnectOptions::from_str(url).map_err(|error| failed(DbErr::Custom(error.to_string())))?;
        let is_in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let path = options.get_filename();
        if purpose != Purpose::Serve && !is_in_memory && !path.exists() {
            return Err(OpenError::Missing { url: shown.to_owned(), path: path.to_owned() });
        }
        let (writer, readers, file) = if is_in_memory || purpose == Purpose::Inspect {
            // A database in memory belongs to its one connection.
            let mode = if is_in_memory { SqliteMode::Memory } else { SqliteMode::Inspect };
            let connection =
                sqlite(url.to_owned(), 1, mode, Meter::of_the_writer(&statements, &progress)).await.map_err(failed)?;
            (Connections::to_memory(connection.clone()), connection, None)
        } else {
            let files = lock(path, shown, purpose)?;
            let anchor = sqlite(url.to_owned(), 1, SqliteMode::Anchor, meter.clone()).await.map_err(failed)?;
            migrations::find_migrations(&anchor, shown).await?;
            // Not before it is known to be ours: it is kept in the file.
            anchor.execute_unprepared("PRAGMA journal_mode = WAL").await.map_err(failed)?;
            let open_writer = {
                let (url, meter) = (url.to_owned(), Meter::of_the_writer(&statements, &progress));
                move || sqlite(url.clone(), 1, SqliteMode::Writer, meter.clone())
            };
            let writer = open_writer().await.map_err(failed)?;
            let readers = sqlite(url.to_owned(), 4, SqliteMode::Reader, meter).await.map_err(failed)?;
            // Which opens the log, if nothing else has.
            anchor.execute_unprepared("SELECT count(*) FROM sqlite_master").await.map_err(failed)?;
            files.remember().map_err(|error| failed(DbErr::Custom(error.to_string())))?;
            let file = SqliteFile { files, anchor, is_checkpointed: AtomicBool::new(false) };
            (Connections::new(writer, move || Box::pin(open_writer())), readers, Some(Arc::new(file)))
        };
        let database = Self {
            url: Url(url.into()),
            backend: DbBackend::Sqlite,
            writer,
            readers: Arc::new(ArcSwap::from_pointee(readers)),
            writers_thread: None,
            file,
            statements,
            progress,
            writers_sessions: Arc::default(),
        };
        database.check_sqlite_version().await.map_err(|error| match error {
            VersionCheck::Failed(source) => failed(source),
            VersionCheck::Old(found) => OpenError::OldSqlite { found },
        })?;
        Ok(database)
    }

    /// Which of the two it is.
    pub fn backend(&self) -> DbBackend {
        self.backend
    }

    /// Its URL, as it may be shown.
    pub(super) fn shown(&self) -> String {
        without_password(&self.url.0)
    }

    /// For reading what is not in memory.
    pub fn readers(&self) -> Arc<DatabaseConnection> {
        self.readers.load_full()
    }

    /// The same, for the writer's looks: each answer is marked as progress.
    pub(super) fn watched_readers(&self) -> DatabaseConnection {
        let mut readers = DatabaseConnection::clone(&self.readers());
        Meter::of_the_writer(&self.statements, &self.progress).attach(&mut readers);
        readers
    }

    /// Where the writer has to be, if not among everybody else.
    pub(super) fn writers_thread(&self) -> Option<&Arc<OwnThread>> {
        self.writers_thread.as_ref()
    }

    /// For the journal, for a statement that is a transaction by itself.
    pub(super) async fn lease_writer(&self) -> Result<(DatabaseConnection, Lease), DbErr> {
        self.writer.lease().await
    }

    /// Gives up all of their sessions with PostgreSQL: they may be with a server that does not lead any more.
    pub(super) async fn renew_readers(&self) {
        if self.backend == DbBackend::Postgres
            && let Ok(readers) = postgres_readers(&self.url.0, true, &self.statements).await
        {
            let before = self.readers.swap(Arc::new(readers));
            tokio::spawn(async move { before.close_by_ref().await });
        }
    }

    /// Succeeds if the database answers.
    pub async fn answer(&self) -> Result<(), DbErr> {
        self.readers().execute_unprepared("SELECT 1").await.map(drop)
    }

    /// When statements of the writer were last answered.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Whether PostgreSQL is there: asked on a session of its own, because those of the pools may be what hangs, and
    /// because a pool goes on to try where somebody who is refused knows enough. A slow one may take long to answer; one
    /// that is away is known by not even beginning to.
    pub(super) async fn presence(&self) -> Presence {
        let Ok(options) = PgConnectOptions::from_str(&self.url.0) else { return Presence::Unknown };
        let asked = async {
            let mut session = PgConnection::connect_with(&options).await?;
            let found = self.ask_presence(&mut session).await;
            let _ = session.close().await;
            found
        };
        let nothing_is_sent = async {
            if begins_to_answer(&options).await {
                std::future::pending::<()>().await;
            }
        };
        let found = tokio::select! {
            biased;
            found = asked => found,
            () = nothing_is_sent => return Presence::Away,
        };
        match found {
            Ok(presence) => presence,
            Err(sqlx::Error::Io(_)) => Presence::Away,
            // It is starting, or stopping.
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("57P")) => {
                Presence::Away
            }
            Err(_) => Presence::Unknown,
        }
    }

    /// Asks for the revision, and for whoever holds, directly or behind others that wait, what the writer waits for. All in
    /// one statement that is not prepared: it takes one round trip.
    async fn ask_presence(&self, session: &mut PgConnection) -> Result<Presence, sqlx::Error> {
        let ours = self.writers_sessions.list();
        let sql = format!(
            "WITH RECURSIVE holder (pid) AS ( \
               SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity \
               WHERE pid = ANY (ARRAY[{ours}]::integer[]) AND wait_event_type = 'Lock' \
               UNION SELECT unnest(pg_blocking_pids(pid)) FROM holder \
             ) \
             SELECT revision, EXISTS ( \
               SELECT FROM holder JOIN pg_stat_activity USING (pid) \
               WHERE wait_event_type IS DISTINCT FROM 'Lock' \
                 AND state_change > clock_timestamp() - interval '{HOLDER_GOES_ON}' \
             ) FROM cluster WHERE id = 1"
        );
        let row = session.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        Ok(Presence::There { revision: row.try_get(0)?, waits_its_turn: row.try_get(1)? })
    }

    /// Succeeds if what is committed goes where the next start will look for it.
    pub(super) fn check_files(&self) -> Result<(), LookError> {
        self.file.as_ref().map_or(Ok(()), |file| file.files.check())
    }

    /// How many statements have been sent so far, except for hints and looks at the log of SQLite, which are sent as time
    /// allows.
    pub fn statements_sent(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Closes all connections, and lets others have the database. Answers the first error, if there was any; what is asked of
    /// it later is refused.
    pub async fn close(self) -> Result<(), DbErr> {
        // Also if that takes too long to be waited for: nothing more will be begun.
        let _unlocking = self.file.as_ref().map(|file| Unlocking(&file.files));
        // Each of them, whatever becomes of the others: one may hang in a commit.
        let readers = self.readers();
        let (writer, readers) = tokio::join!(self.writer.close(), readers.close_by_ref());
        let anchor = match &self.file {
            // The last one: it brings the log into the database.
            Some(file) => file.anchor.close_by_ref().await,
            None => Ok(()),
        };
        writer.and(readers).and(anchor)
    }

    /// Begins a transaction that will write. On SQLite it takes the write lock at once: a lock asked
    /// for later would be refused without waiting if somebody else has written in between.
    pub(super) async fn begin_writing(&self) -> Result<WritingTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        // A connection may have been lost. Nothing has happened then, and there will be a new one.
        let mut chances = if self.backend == DbBackend::Postgres { 1 } else { 0 };
        loop {
            let (connection, lease) = self.writer.lease().await?;
            self.checkpoint_once(&connection).await?;
            match connection.begin_with_options(options).await {
                Ok(transaction) => return Ok(WritingTransaction::new(transaction, Some(lease))),
                Err(error) if chances > 0 && !matches!(error, DbErr::ConnectionAcquire(_)) => {
                    drop((error, lease));
                    chances -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins a transaction to remove what is old, or to change the tables. SQLite wants its one writer for it; on
    /// PostgreSQL it may take longer than a commit may, and the writer's connections are made where the writer is.
    pub(super) async fn begin_upkeep(&self) -> Result<WritingTransaction, DbErr> {
        match self.backend {
            DbBackend::Postgres => Ok(WritingTransaction::new(self.readers().begin().await?, None)),
            _ => self.begin_writing().await,
        }
    }

    /// Brings what an earlier life of this server left in SQLite's log into the database, before anything is added to the
    /// log. After a failed `fsync`, what is read from a file is not always what is on the disk: a commit that failed may be
    /// read as a whole one after a restart, and what is written behind it would be lost with it when the power is cut.
    /// This writes all of it once more.
    async fn checkpoint_once(&self, connection: &DatabaseConnection) -> Result<(), DbErr> {
        let Some(file) = &self.file else { return Ok(()) };
        if !file.is_checkpointed.load(Ordering::Acquire) {
            // Who reads at this moment, as a backup does, may keep it from being all; that is no reason to take no commits.
            connection.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            file.is_checkpointed.store(true, Ordering::Release);
            // It waits for the disk as often as the commit that comes after it.
            self.progress.mark();
        }
        Ok(())
    }

    /// Brings SQLite's log into the database if it is long, beside whoever reads. Whether it was.
    pub(super) async fn checkpoint_if_long(&self) -> Result<bool, DbErr> {
        let Some(file) = &self.file else { return Ok(false) };
        if !file.is_checkpointed.load(Ordering::Acquire) || uncheckpointed(&file.anchor).await? < WAL_PAGES {
            return Ok(false);
        }
        let (connection, lease) = self.lease_writer().await?;
        connection.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)").await?;
        lease.succeed();
        Ok(true)
    }

    async fn check_sqlite_version(&self) -> Result<(), VersionCheck> {
        let statement = Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version() AS version");
        let row = self.readers().query_one_raw(statement).await.map_err(VersionCheck::Failed)?;
        let found: String = match row {
            Some(row) => row.try_get("", "version").map_err(VersionCheck::Failed)?,
            None => String::new(),
        };
        let mut numbers = found.split('.').map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        if (next(), next(), next()) < OLDEST_SQLITE { Err(VersionCheck::Old(found)) } else { Ok(()) }
    }
}

/// Locks a database file, or says why that cannot be done.
fn lock(path: &Path, shown: &str, purpose: Purpose) -> Result<DatabaseFiles, OpenError> {
    let url = shown.to_owned();
    match DatabaseFiles::lock(path, purpose == Purpose::Serve) {
        Ok(Some(files)) => Ok(files),
        Ok(None) => Err(OpenError::connect(shown, DbErr::Custom("unable to open database file".to_owned()))),
        Err(LockError::InUse) => Err(OpenError::InUse { url }),
        Err(LockError::SeveralNames) => Err(OpenError::SeveralNames { url }),
        Err(LockError::Failed(path, error)) => Err(OpenError::Lock { url, path, reason: error.to_string() }),
    }
}

enum VersionCheck {
    Failed(DbErr),
    Old(String),
}

/// What a SQLite connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SqliteMode {
    Writer,
    Reader,
    /// To be open, and to find out whose the file is before anything is changed in it.
    Anchor,
    /// Beside whoever has it.
    Inspect,
    Memory,
}

async fn sqlite(url: String, connections: u32, mode: SqliteMode, meter: Meter) -> Result<DatabaseConnection, DbErr> {
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
                // The file is made where it is locked. One that is not there later is not made anew.
                .create_if_missing(mode == SqliteMode::Memory)
                // What is acknowledged survives a power cut; group commit makes it affordable.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
                .statement_cache_capacity(512)
                .pragma("temp_store", "memory")
                .pragma("cache_size", "-20000")
                // Not within a commit, which would wait for it.
                .pragma("wal_autocheckpoint", "0");
            match mode {
                SqliteMode::Writer | SqliteMode::Reader => options.journal_mode(SqliteJournalMode::Wal),
                SqliteMode::Inspect => options.read_only(true),
                SqliteMode::Anchor | SqliteMode::Memory => options,
            }
        });
    if mode == SqliteMode::Writer {
        // One that the driver takes to be in a transaction gets a SAVEPOINT where BEGIN was meant. It is closed instead.
        options.map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
    }
    let mut connection = Connector::connect(options).await?;
    meter.attach(&mut connection);
    Ok(connection)
}

/// How many pages the log of SQLite grows to before it is brought into the database, which waits for the disk twice: 32 MiB.
/// With the usual thousand, a few thousand heartbeats did so each time.
const WAL_PAGES: i64 = 8_192;

/// How many pages of the log are not in the database yet. Nothing is written, and nobody waited for.
async fn uncheckpointed(connection: &DatabaseConnection) -> Result<i64, DbErr> {
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(NOOP)");
    let Some(row) = connection.query_one_raw(statement).await? else { return Ok(0) };
    let number = |column| row.try_get_by_index::<i64>(column);
    Ok(number(1)? - number(2)?)
}

/// Connections to PostgreSQL for everybody but the writer.
async fn postgres_readers(url: &str, is_lazy: bool, statements: &Arc<AtomicU64>) -> Result<DatabaseConnection, DbErr> {
    postgres(url.to_owned(), (READERS, STATEMENT_TIMEOUT, Duration::ZERO), is_lazy, Meter::of(statements)).await
}

/// So many connections, how long a statement may take on them, and how long one is trusted without being tested.
async fn postgres(
    url: String,
    (connections, statement_timeout, fresh): (u32, Duration, Duration),
    is_lazy: bool,
    meter: Meter,
) -> Result<DatabaseConnection, DbErr> {
    let sessions = meter.sessions.clone();
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_lazy(is_lazy)
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
        })
        .map_sqlx_postgres_pool_opts(move |options| {
            let sessions = sessions.clone();
            // What is acknowledged survives a crash of the database, whatever is set for this role or this database. Not
            // set to "on": those who wait for a standby, too, are to go on to do so.
            options.after_connect(move |session, _| {
                let sessions = sessions.clone();
                Box::pin(async move {
                    let sql = "SELECT pg_backend_pid(), CASE current_setting('synchronous_commit') \
                               WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END";
                    let row = session.fetch_one(sqlx::raw_sql(sql)).await?;
                    if let Some(sessions) = sessions {
                        sessions.note(row.try_get(0)?);
                    }
                    Ok(())
                })
            })
        });
    let mut connection = Connector::connect(options).await?;
    meter.attach(&mut connection);
    Ok(connection)
}

/// Whether PostgreSQL sends anything, asked for the one byte with which it says whether it speaks TLS.
async fn begins_to_answer(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let folder = options.get_socket().cloned().or_else(|| host.starts_with('/').then(|| PathBuf::from(host)));
    let outcome = match folder {
        Some(folder) => {
            let path = folder.join(format!(".s.PGSQL.{}", options.get_port()));
            first_byte(UnixStream::connect(path)).await
        }
        None => first_byte(TcpStream::connect((host, options.get_port()))).await,
    };
    outcome.is_ok()
}

async fn first_byte<S: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = io::Result<S>>,
) -> io::Result<()> {
    /// Its length, and the number of the request.
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let mut stream = timeout(FIRST_BYTE_TIMEOUT, connecting).await??;
    let asking = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    timeout(FIRST_BYTE_TIMEOUT, asking).await?.map(drop)
}

/// What is noted after each statement of a connection.
#[derive(Clone)]
struct Meter {
    statements: Arc<AtomicU64>,
    progress: Option<Arc<Progress>>,
    /// Where the sessions are noted that are begun.
    sessions: Option<Arc<Sessions>>,
}

impl Meter {
    fn of(statements: &Arc<AtomicU64>) -> Self {
        Self { statements: statements.clone(), progress: None, sessions: None }
    }

    fn of_the_writer(statements: &Arc<AtomicU64>, progress: &Arc<Progress>) -> Self {
        Self { statements: statements.clone(), progress: Some(progress.clone()), sessions: None }
    }

    fn attach(self, connection: &mut DatabaseConnection) {
        connection.set_metric_callback(move |sent| {
            if !["NOTIFY ", "PRAGMA "].iter().any(|hint| sent.statement.sql.starts_with(hint)) {
                self.statements.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(progress) = &self.progress {
                progress.mark();
            }
        });
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_log_of_sqlite_is_brought_into_the_database_when_it_is_long_and_not_by_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("cluster.db").display());
        let database = Database::connect(&url).await.unwrap();
        let anchor = database.file.as_ref().unwrap().anchor.clone();
        let write = async |sql: &str| {
            let transaction = database.begin_writing().await.unwrap();
            transaction.execute_unprepared(sql).await.unwrap();
            transaction.commit().await.unwrap();
        };
        write("CREATE TABLE filler (bytes BLOB)").await;
        assert!(!database.checkpoint_if_long().await.unwrap(), "it is short");
        write(&format!("INSERT INTO filler VALUES (zeroblob({}))", WAL_PAGES * 4_096)).await;
        assert!(uncheckpointed(&anchor).await.unwrap() >= WAL_PAGES, "a commit has waited for it");
        assert!(database.checkpoint_if_long().await.unwrap());
        assert_eq!(uncheckpointed(&anchor).await.unwrap(), 0);
        assert!(!database.checkpoint_if_long().await.unwrap());
        database.close().await.unwrap();
    }

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
