//! Whether PostgreSQL can be reached, found out on a session of its own.
//!
//! The sessions of the pools may be the very thing that hangs, and a pool goes on trying where one refusal tells
//! enough. A database that is slow may take long to answer; one that is down is recognised by not even sending its
//! first byte.

use std::io;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::postgres::WriterSessions;

/// How long PostgreSQL may take to accept a connection, and then to send its first byte: three times what a slow one
/// takes. If PostgreSQL is frozen, the operating system still accepts the connection, and nothing is sent on it.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The holder of the lock that the writer waits for counts as active if it began or ended a statement within this time:
/// twice what a slow database takes for each.
const LOCK_HOLDER_ACTIVE_WITHIN: &str = "2 s";

/// What an attempt to reach PostgreSQL found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// It answers.
    Reachable {
        /// The last revision that is committed.
        revision: i64,
        /// Whether the writer waits for a lock whose holder goes on working.
        lock_holder_is_active: bool,
    },
    /// It sends nothing, refuses or loses connections, or is starting or stopping.
    Unreachable,
    /// It answers, but not in time, or that it takes no further session, or something else that says nothing about the
    /// sessions that exist.
    Unknown,
}

/// Tries to reach the PostgreSQL of this URL.
pub async fn check_reachability(url: &str, writer_sessions: &WriterSessions) -> Reachability {
    let Ok(options) = PgConnectOptions::from_str(url) else { return Reachability::Unknown };
    let asked = async {
        let mut session = PgConnection::connect_with(&options).await?;
        let found = query(&mut session, writer_sessions).await;
        let _ = session.close().await;
        found
    };
    let nothing_is_sent = async {
        if sends_first_byte(&options).await {
            std::future::pending::<()>().await;
        }
    };
    let found = tokio::select! {
        biased;
        found = asked => found,
        () = nothing_is_sent => return Reachability::Unreachable,
    };
    match found {
        Ok(reachability) => reachability,
        Err(sqlx::Error::Io(_)) => Reachability::Unreachable,
        // It is starting, or stopping.
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("57P")) => {
            Reachability::Unreachable
        }
        Err(_) => Reachability::Unknown,
    }
}

/// Asks for the revision, and whether any session is active that holds, directly or through others that wait, the lock
/// that the writer waits for. It is one statement that is not prepared, so it takes one round trip.
async fn query(session: &mut PgConnection, writer_sessions: &WriterSessions) -> Result<Reachability, sqlx::Error> {
    let ours = writer_sessions.list();
    let sql = format!(
        "WITH RECURSIVE holder (pid) AS ( \
           SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity \
           WHERE pid = ANY (ARRAY[{ours}]::integer[]) AND wait_event_type = 'Lock' \
           UNION SELECT unnest(pg_blocking_pids(pid)) FROM holder \
         ) \
         SELECT revision, EXISTS ( \
           SELECT FROM holder JOIN pg_stat_activity USING (pid) \
           WHERE wait_event_type IS DISTINCT FROM 'Lock' \
             AND state_change > clock_timestamp() - interval '{LOCK_HOLDER_ACTIVE_WITHIN}' \
         ) FROM cluster WHERE id = 1"
    );
    let row = session.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    Ok(Reachability::Reachable { revision: row.try_get(0)?, lock_holder_is_active: row.try_get(1)? })
}

/// Whether PostgreSQL sends anything when it is asked for the one byte that says whether it speaks TLS.
async fn sends_first_byte(options: &PgConnectOptions) -> bool {
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
    /// The length of the request, and its number.
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let mut stream = timeout(FIRST_BYTE_TIMEOUT, connecting).await??;
    let asking = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    timeout(FIRST_BYTE_TIMEOUT, asking).await?.map(drop)
}
