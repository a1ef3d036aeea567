//! The database: SQLite in a file, or PostgreSQL, by URL.
//!
//! It has connections of two kinds: those of the writer, of which one transaction at a time is begun, and those of
//! readers. How connections are opened is in [`sqlite`] and [`postgres`](super::postgres); what is
//! written and read through them is in the other files of this folder.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use super::connections::{Connections, Lease, WritingTransaction};
use super::database_url::{DatabaseUrl, is_in_memory, without_password};
use super::dedicated_thread::DedicatedThread;
use super::open_error::OpenError;
use super::postgres::{WriterSessions, connect_readers, connect_writer};
use super::reachability::{Reachability, check_reachability};
use super::sqlite::{SqliteFile, SqliteMode, WAL_PAGES, uncheckpointed_pages};
use super::sqlite_files::{DatabaseFiles, FileCheckError};
use super::statement_meter::StatementMeter;
use super::statement_progress::Progress;
use super::{applied_migrations, sqlite};

/// Connections to the database, and a count of the statements sent through them.
#[derive(Clone, Debug)]
pub struct Database {
    url: DatabaseUrl,
    backend: DbBackend,
    /// Connections of the journal's writer: there is one writing transaction at a time.
    writer: Arc<Connections>,
    /// Connections for everybody else.
    readers: Arc<ArcSwap<DatabaseConnection>>,
    /// The thread of the writer and its connections, on PostgreSQL. PostgreSQL works while this server reads the next
    /// requests; if the writer's next step stood in line behind hundreds of those, PostgreSQL would wait for this
    /// server.
    writer_thread: Option<Arc<DedicatedThread>>,
    /// Only for a SQLite file that may be written.
    file: Option<Arc<SqliteFile>>,
    statements: Arc<AtomicU64>,
    /// When the writer's statements were last answered.
    progress: Arc<Progress>,
    writer_sessions: Arc<WriterSessions>,
}

/// Releases the lock on the files when it is dropped.
struct UnlockOnDrop<'a>(&'a DatabaseFiles);

impl Drop for UnlockOnDrop<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenMode {
    /// To be written; a SQLite file that does not exist is created.
    Serve,
    /// To be written, if it exists.
    Change,
    /// To be written, if it exists, beside a server that has it.
    ChangeBeside,
    /// To be read, beside a server that has it.
    Inspect,
}

impl Database {
    /// Connects by URL. With `sqlite://`, a file that does not exist is created, and no other process may be writing to
    /// it.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(url, OpenMode::Serve).await
    }

    /// The same, except that a file that does not exist is an error.
    pub async fn connect_existing(url: &str) -> Result<Self, OpenError> {
        Self::open(url, OpenMode::Change).await
    }

    /// Connects to write a little, also beside a server: SQLite's own lock makes both wait for each other, and the server
    /// reads what was committed. Nothing is created.
    pub async fn connect_beside(url: &str) -> Result<Self, OpenError> {
        Self::open(url, OpenMode::ChangeBeside).await
    }

    /// Connects to read what is there, also beside a server: nothing is created, changed or locked.
    pub async fn inspect(url: &str) -> Result<Self, OpenError> {
        Self::open(url, OpenMode::Inspect).await
    }

    async fn open(url: &str, mode: OpenMode) -> Result<Self, OpenError> {
        let shown = without_password(url);
        let database = if url.starts_with("sqlite:") {
            Self::open_sqlite(url, &shown, mode).await?
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let failed = |source: DbErr| OpenError::connect(&shown, source);
            let statements = Arc::new(AtomicU64::new(0));
            let progress = Arc::new(Progress::new());
            let writer_sessions = Arc::new(WriterSessions::default());
            // The writer has connections of its own, so that queries of history never keep a commit waiting for one.
            let thread = DedicatedThread::start("journal").map_err(|error| failed(DbErr::Custom(error.to_string())))?;
            let open_writer = {
                let (url, meter) = (url.to_owned(), StatementMeter::for_writer(&statements, &progress));
                let sessions = writer_sessions.clone();
                move |is_lazy| connect_writer(url.clone(), is_lazy, meter.clone(), sessions.clone())
            };
            let writer = thread.run(open_writer(false)).await.map_err(failed)?;
            let readers = connect_readers(url, false, StatementMeter::new(&statements)).await.map_err(failed)?;
            Self {
                url: DatabaseUrl::new(url),
                backend: DbBackend::Postgres,
                writer: Connections::new(writer, move || Box::pin(open_writer(true))),
                readers: Arc::new(ArcSwap::from_pointee(readers)),
                writer_thread: Some(Arc::new(thread)),
                file: None,
                statements,
                progress,
                writer_sessions,
            }
        } else {
            return Err(OpenError::Scheme { url: shown });
        };
        Ok(database)
    }

    async fn open_sqlite(url: &str, shown: &str, open_mode: OpenMode) -> Result<Self, OpenError> {
        let failed = |source: DbErr| OpenError::connect(shown, source);
        let statements = Arc::new(AtomicU64::new(0));
        let progress = Arc::new(Progress::new());
        let meter = StatementMeter::new(&statements);
        // Checked here for a clear sentence: the connector would report a bad option as a failed connection.
        let options = SqliteConnectOptions::from_str(url).map_err(|error| failed(DbErr::Custom(error.to_string())))?;
        let is_in_memory = is_in_memory(url);
        let path = options.get_filename();
        if open_mode != OpenMode::Serve && !is_in_memory && !path.exists() {
            return Err(OpenError::Missing { url: shown.to_owned(), path: path.to_owned() });
        }
        let (writer, readers, file) = if is_in_memory || open_mode == OpenMode::Inspect {
            // A database in memory belongs to its one connection.
            let mode = if is_in_memory { SqliteMode::Memory } else { SqliteMode::Inspect };
            let meter = StatementMeter::for_writer(&statements, &progress);
            let connection = sqlite::connect(url.to_owned(), 1, mode, meter).await.map_err(failed)?;
            (Connections::to_memory(connection.clone()), connection, None)
        } else if open_mode == OpenMode::ChangeBeside {
            let open_writer = {
                let (url, meter) = (url.to_owned(), StatementMeter::for_writer(&statements, &progress));
                move || sqlite::connect(url.clone(), 1, SqliteMode::Writer, meter.clone())
            };
            // Before a writer is opened, which changes the file's way of logging: it may be another program's.
            let anchor = sqlite::connect(url.to_owned(), 1, SqliteMode::Anchor, meter.clone()).await.map_err(failed)?;
            let known = applied_migrations::find_migrations(&anchor, shown).await;
            let _ = anchor.close().await;
            known?;
            let writer = open_writer().await.map_err(failed)?;
            let readers = sqlite::connect(url.to_owned(), 1, SqliteMode::Reader, meter).await.map_err(failed)?;
            (Connections::new(writer, move || Box::pin(open_writer())), readers, None)
        } else {
            let files = sqlite::lock(path, shown, open_mode == OpenMode::Serve)?;
            let anchor = sqlite::connect(url.to_owned(), 1, SqliteMode::Anchor, meter.clone()).await.map_err(failed)?;
            if let Err(refusal) = applied_migrations::find_migrations(&anchor, shown).await {
                // Closed, SQLite takes its log away again: a file that is refused is left as it was found.
                let _ = anchor.close().await;
                return Err(refusal);
            }
            // This is kept in the file, so it comes after the file is known to be ours.
            anchor.execute_unprepared("PRAGMA journal_mode = WAL").await.map_err(failed)?;
            let open_writer = {
                let (url, meter) = (url.to_owned(), StatementMeter::for_writer(&statements, &progress));
                move || sqlite::connect(url.clone(), 1, SqliteMode::Writer, meter.clone())
            };
            let writer = open_writer().await.map_err(failed)?;
            let readers = sqlite::connect(url.to_owned(), 4, SqliteMode::Reader, meter).await.map_err(failed)?;
            // Reading opens the log, if nothing else has.
            anchor.execute_unprepared("SELECT count(*) FROM sqlite_master").await.map_err(failed)?;
            files.remember().map_err(|error| failed(DbErr::Custom(error.to_string())))?;
            let file = SqliteFile { files, anchor, is_checkpointed: AtomicBool::new(false) };
            (Connections::new(writer, move || Box::pin(open_writer())), readers, Some(Arc::new(file)))
        };
        let database = Self {
            url: DatabaseUrl::new(url),
            backend: DbBackend::Sqlite,
            writer,
            readers: Arc::new(ArcSwap::from_pointee(readers)),
            writer_thread: None,
            file,
            statements,
            progress,
            writer_sessions: Arc::default(),
        };
        sqlite::check_version(&database.readers(), shown).await?;
        Ok(database)
    }

    /// SQLite or PostgreSQL.
    pub fn backend(&self) -> DbBackend {
        self.backend
    }

    /// Its URL, as it may be shown.
    pub fn shown(&self) -> String {
        self.url.shown()
    }

    /// Connections for reading what is not in memory.
    pub fn readers(&self) -> Arc<DatabaseConnection> {
        self.readers.load_full()
    }

    /// The same for the writer, when it looks for commits of other servers: each answer is marked as progress.
    pub fn watched_readers(&self) -> DatabaseConnection {
        let mut readers = DatabaseConnection::clone(&self.readers());
        StatementMeter::for_writer(&self.statements, &self.progress).attach(&mut readers);
        readers
    }

    /// The thread that the writer has to run on, if it has one of its own.
    pub fn writer_thread(&self) -> Option<&Arc<DedicatedThread>> {
        self.writer_thread.as_ref()
    }

    /// Leases a connection of the writer, for a statement that is a transaction by itself.
    pub async fn lease_writer(&self) -> Result<(DatabaseConnection, Lease), DbErr> {
        self.writer.lease().await
    }

    /// Replaces all connections of readers to PostgreSQL: their sessions may be with a server that is not the primary
    /// any more.
    pub async fn reconnect_readers(&self) {
        if self.backend == DbBackend::Postgres
            && let Ok(readers) = connect_readers(self.url.secret(), true, StatementMeter::new(&self.statements)).await
        {
            let before = self.readers.swap(Arc::new(readers));
            tokio::spawn(async move { before.close_by_ref().await });
        }
    }

    /// Succeeds if the database answers.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.readers().execute_unprepared("SELECT 1").await.map(drop)
    }

    /// When statements of the writer were last answered.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Tries to reach PostgreSQL on a session of its own.
    pub async fn reachability(&self) -> Reachability {
        check_reachability(self.url.secret(), &self.writer_sessions).await
    }

    /// Succeeds if the files are where the next start will look for them.
    pub fn check_files(&self) -> Result<(), FileCheckError> {
        self.file.as_ref().map_or(Ok(()), |file| file.files.check())
    }

    /// How many statements have been sent so far, except for notifications of other servers and PRAGMAs, whose number
    /// depends on time.
    pub fn statements_sent(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Closes all connections and releases the lock on the files. Answers the first error, if there was any. Later
    /// statements are refused.
    pub async fn close(self) -> Result<(), DbErr> {
        // The lock is released also if this future is dropped before the end: nothing more will be begun.
        let _unlock = self.file.as_ref().map(|file| UnlockOnDrop(&file.files));
        // All at once, because one of them may hang in a commit.
        let readers = self.readers();
        let (writer, readers) = tokio::join!(self.writer.close(), readers.close_by_ref());
        let anchor = match &self.file {
            // The last connection to close checkpoints the log.
            Some(file) => file.anchor.close_by_ref().await,
            None => Ok(()),
        };
        writer.and(readers).and(anchor)
    }

    /// Begins a transaction that will write. On SQLite it takes the write lock at once: a lock that is asked for later
    /// is refused without waiting if another process has written in between.
    pub async fn begin_writing(&self) -> Result<WritingTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        // The connection may have been lost. Nothing has happened then, and the next lease opens a new one.
        let mut retries = if self.backend == DbBackend::Postgres { 1 } else { 0 };
        loop {
            let (connection, lease) = self.writer.lease().await?;
            self.checkpoint_at_start(&connection).await?;
            match connection.begin_with_options(options).await {
                Ok(transaction) => return Ok(WritingTransaction::new(transaction, Some(lease))),
                Err(error) if retries > 0 && !matches!(error, DbErr::ConnectionAcquire(_)) => {
                    drop((error, lease));
                    retries -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins a transaction that prunes or migrates. SQLite has one writer, so it is begun there. On PostgreSQL it is
    /// begun on a connection for readers: it may take longer than a commit may, and the writer's belong to the writer's
    /// thread.
    pub async fn begin_maintenance(&self) -> Result<WritingTransaction, DbErr> {
        match self.backend {
            DbBackend::Postgres => Ok(WritingTransaction::new(self.readers().begin().await?, None)),
            _ => self.begin_writing().await,
        }
    }

    /// Checkpoints what an earlier run of this server left in SQLite's log, before anything is added to the log. After
    /// a failed `fsync`, what is read from a file is not always what is on the disk: after a restart, a commit that
    /// failed may be read as a whole one, and what is written behind it would be lost with it when the power is cut.
    /// The checkpoint writes all of it once more.
    async fn checkpoint_at_start(&self, connection: &DatabaseConnection) -> Result<(), DbErr> {
        let Some(file) = &self.file else { return Ok(()) };
        if !file.is_checkpointed.load(Ordering::Acquire) {
            // A reader, such as a backup, may keep the checkpoint from being complete. That is no reason to refuse
            // commits.
            connection.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            file.is_checkpointed.store(true, Ordering::Release);
            // The checkpoint waits for the disk as often as the commit after it, which would look as if it hung.
            self.progress.mark();
        }
        Ok(())
    }

    /// Checkpoints SQLite's log if it is long, without waiting for readers. Answers whether it was.
    pub async fn checkpoint_if_long(&self) -> Result<bool, DbErr> {
        let Some(file) = &self.file else { return Ok(false) };
        if !file.is_checkpointed.load(Ordering::Acquire) || uncheckpointed_pages(&file.anchor).await? < WAL_PAGES {
            return Ok(false);
        }
        let (connection, lease) = self.lease_writer().await?;
        connection.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)").await?;
        lease.succeed();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A database file in this folder.
    async fn open(folder: &TempDir) -> Database {
        Database::connect(&format!("sqlite://{}", folder.path().join("cluster.db").display())).await.unwrap()
    }

    async fn write(database: &Database, sql: &str) {
        let transaction = database.begin_writing().await.unwrap();
        transaction.execute_unprepared(sql).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Makes the log of SQLite long.
    async fn write_much(database: &Database) {
        write(database, "CREATE TABLE filler (bytes BLOB)").await;
        write(database, &format!("INSERT INTO filler VALUES (zeroblob({}))", WAL_PAGES * 4_096)).await;
    }

    async fn uncheckpointed(database: &Database) -> i64 {
        uncheckpointed_pages(&database.file.as_ref().unwrap().anchor).await.unwrap()
    }

    #[tokio::test]
    async fn the_log_of_sqlite_is_brought_into_the_database_when_it_is_long_and_not_by_a_commit() {
        let folder = TempDir::new().unwrap();
        let database = open(&folder).await;
        write(&database, "CREATE TABLE other (bytes BLOB)").await;
        assert!(!database.checkpoint_if_long().await.unwrap(), "it is short");
        write_much(&database).await;
        assert!(uncheckpointed(&database).await >= WAL_PAGES, "a commit has waited for it");
        assert!(database.checkpoint_if_long().await.unwrap());
        assert_eq!(uncheckpointed(&database).await, 0);
        assert!(!database.checkpoint_if_long().await.unwrap());
        database.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_log_that_was_left_is_brought_into_the_database_before_anything_is_added_to_it() {
        let (folder, after_a_crash) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let database = open(&folder).await;
        database.migrate().await.unwrap();
        write_much(&database).await;
        for name in ["cluster.db", "cluster.db-wal"] {
            fs::copy(folder.path().join(name), after_a_crash.path().join(name)).unwrap();
        }
        database.close().await.unwrap();

        let database = open(&after_a_crash).await;
        assert!(uncheckpointed(&database).await >= WAL_PAGES, "it was left");
        assert!(!database.checkpoint_if_long().await.unwrap(), "not yet, and not beside others");
        database.begin_writing().await.unwrap().rollback().await.unwrap();
        assert_eq!(uncheckpointed(&database).await, 0);
        database.close().await.unwrap();
    }
}
