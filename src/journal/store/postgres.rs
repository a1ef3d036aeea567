//! Connections to PostgreSQL: with which options and time-outs the pools of the writer and of the readers are opened.
//!
//! Whether PostgreSQL can be reached at all is asked in [`reachability`](super::reachability), on a session of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{self, Executor as _, Row as _};
use sea_orm::{ConnectOptions, Database as Connector, DatabaseConnection, DbErr};

use super::open_error::CONNECT_TIMEOUT;
use super::statement_meter::StatementMeter;

/// How long PostgreSQL may work on one statement. The largest one, at a start with 200,000 VMs, takes one second.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long PostgreSQL may work on one statement of a commit. It is shorter than a whole commit may take, so that a
/// commit that was given up does not go on unseen and hold the lock for long. (A statement that is a commit by itself
/// may still come to its end. Its clients were told that the outcome is unknown, and the next batch finds out.)
const COMMIT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(7);

/// A connection of the writer is tested when it returns to the pool. For this long after that test it is trusted
/// without another: a test before each commit would take a tenth of the commit's time. Its user has to expect that it
/// was lost.
const TRUSTED_AFTER_TEST: Duration = Duration::from_secs(1);

/// Connections of the writer. One writes; after that it is tested, and meanwhile the other one writes.
const WRITER_CONNECTIONS: u32 = 2;

/// Connections for everybody else.
const READER_CONNECTIONS: u32 = 8;

/// The last sessions of the writer with PostgreSQL, by the numbers of their processes there.
#[derive(Debug, Default)]
pub struct WriterSessions(Mutex<VecDeque<i32>>);

impl WriterSessions {
    /// As many as there may be at once, and those that have just replaced them.
    const MOST: usize = 2 * WRITER_CONNECTIONS as usize;

    fn note(&self, process: i32) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.push_back(process);
        if last.len() > Self::MOST {
            last.pop_front();
        }
    }

    /// As a list for SQL.
    pub fn list(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The limits of a pool.
struct Limits {
    connections: u32,
    statement_timeout: Duration,
    trusted_after_test: Duration,
}

/// Opens the pool of the writer. With `is_lazy`, its connections are made when they are needed.
pub async fn connect_writer(
    url: String,
    is_lazy: bool,
    meter: StatementMeter,
    sessions: Arc<WriterSessions>,
) -> Result<DatabaseConnection, DbErr> {
    let limits = Limits {
        connections: WRITER_CONNECTIONS,
        statement_timeout: COMMIT_STATEMENT_TIMEOUT,
        trusted_after_test: TRUSTED_AFTER_TEST,
    };
    connect(url, limits, is_lazy, meter, Some(sessions)).await
}

/// Opens the pool of everybody but the writer.
pub async fn connect_readers(url: &str, is_lazy: bool, meter: StatementMeter) -> Result<DatabaseConnection, DbErr> {
    let limits = Limits {
        connections: READER_CONNECTIONS,
        statement_timeout: STATEMENT_TIMEOUT,
        trusted_after_test: Duration::ZERO,
    };
    connect(url.to_owned(), limits, is_lazy, meter, None).await
}

async fn connect(
    url: String,
    Limits { connections, statement_timeout, trusted_after_test }: Limits,
    is_lazy: bool,
    meter: StatementMeter,
    sessions: Option<Arc<WriterSessions>>,
) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_lazy(is_lazy)
        .sqlx_logging(false)
        .set_application_name("aetherium")
        .statement_timeout(statement_timeout)
        .test_before_acquire_if_idle_for(trusted_after_test)
        .map_sqlx_postgres_opts(|options| {
            options.options([
                // A transaction that waited for the lock has to see what was committed meanwhile, whatever the default
                // of this database is. Set once here, it takes no further statement in every transaction.
                ("default_transaction_isolation", "read committed"),
                // A server that is stopped, or cut off, in the middle of a commit holds the lock that all others wait
                // for. The database takes the lock back.
                ("idle_in_transaction_session_timeout", "5s"),
                ("lock_timeout", "6s"),
                ("tcp_keepalives_idle", "5"),
                ("tcp_keepalives_interval", "2"),
                ("tcp_keepalives_count", "3"),
            ])
        })
        .map_sqlx_postgres_pool_opts(move |options| {
            let sessions = sessions.clone();
            // What is acknowledged survives a crash of the database: `synchronous_commit` is turned on if it is off for
            // this role or this database. Any other value stays, because it may wait for a standby, too.
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
