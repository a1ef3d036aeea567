//! Why a database could not be opened, as sentences for whoever started the server, and how long opening it may take.
//!
//! Errors of a database that is open are not here: they are [`Error::Database`](crate::error::Error).

use std::path::PathBuf;
use std::time::Duration;

use sea_orm::sqlx;
use sea_orm::{DbErr, RuntimeErr};

/// How long a connection is waited for before the database counts as unavailable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// There is no such file.
    #[error(
        "Cannot open the database {url}: unable to open {}, which does not exist; `aetherium migrate up` makes it.",
        .path.display()
    )]
    Missing {
        /// What was given.
        url: String,
        /// The file.
        path: PathBuf,
    },
    /// Another server has it.
    #[error(
        "The database {url} is in use by another Aetherium server: SQLite serves one at a time. \
         Stop that one first, or use PostgreSQL for several."
    )]
    InUse {
        /// What was given.
        url: String,
    },
    /// The file can be reached by several names, each of which SQLite would keep a log of its own for.
    #[error(
        "The database {url} has several names (hard links), which SQLite takes for several databases: remove all but one."
    )]
    SeveralNames {
        /// What was given.
        url: String,
    },
    /// It cannot be determined whether another server has it.
    #[error(
        "Cannot lock the database {url} by the file {}: {reason}. Without a lock, two servers could write to it; \
         keep it where files can be locked.",
        .path.display()
    )]
    Lock {
        /// What was given.
        url: String,
        /// The file that stands for it.
        path: PathBuf,
        /// The system's words.
        reason: String,
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
        /// Whether there are no tables at all, as before the first start.
        is_empty: bool,
    },
    /// A later version has changed the tables.
    #[error(
        "The database {url} was made by a newer version of Aetherium (it has {migration}): use that version, \
         or have it take its migrations back."
    )]
    Newer {
        /// What was given, without a password.
        url: String,
        /// A migration that this version does not know.
        migration: String,
    },
    /// A build from before the first release made the tables, under other names, and no migration leads on from there.
    #[error(
        "The database {url} was made by a version of Aetherium from before the first release, whose tables are not carried \
         on: start with a new file or an empty database, where workers register again by themselves; who was draining, and \
         the change log, stay behind."
    )]
    BeforeRelease {
        /// What was given, without a password.
        url: String,
    },
    /// The database belongs to another program.
    #[error(
        "The database {url} belongs to something else (it has the table {table}): \
         give Aetherium a database, or a schema, of its own."
    )]
    Foreign {
        /// What was given, without a password.
        url: String,
        /// A table that is not ours.
        table: String,
    },
    /// The tables could not be brought into shape.
    #[error("Cannot migrate the database {url}: {reason}.")]
    Migration {
        /// What was given, without a password.
        url: String,
        /// The driver's words.
        reason: String,
        /// Where they come from.
        #[source]
        source: DbErr,
    },
}

impl OpenError {
    /// The database did not answer, or refused.
    pub fn connect(shown: &str, source: DbErr) -> Self {
        Self::Connect { url: shown.to_owned(), reason: reason(&source), source }
    }

    /// The tables could not be brought into shape.
    pub fn migration(shown: &str, source: DbErr) -> Self {
        Self::Migration { url: shown.to_owned(), reason: reason(&source), source }
    }
}

/// The driver's message, without the prefixes by which it names itself.
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
