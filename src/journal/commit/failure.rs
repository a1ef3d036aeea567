//! Why a batch was not committed, derived from the error of the database.
//!
//! The distinction decides what becomes of the commands: what is refused for its data is tried in halves, so that the
//! other commands are spared; in an outage all of them fail. What a client is answered is [`Error`]'s business.

use std::sync::Arc;

use sea_orm::sqlx::{self, sqlite::SqliteError};
use sea_orm::{DbErr, RuntimeErr};

use crate::error::Error;
use crate::journal::queue::pending_command::DecisionPanicked;
use crate::journal::store::applied_migrations::TablesContracted;
use crate::journal::store::sqlite_files::{FileCheckError, FileMoved};

/// Why the journal ends without being told to: left running, its server would refuse every change.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalEnded {
    /// The file of the database is not where it was.
    #[error(transparent)]
    FileMoved(#[from] FileMoved),
    /// The tables are not those that this version can use.
    #[error(transparent)]
    TablesContracted(#[from] TablesContracted),
}

/// Why a batch was not committed.
pub enum Failure {
    /// Because of something in it: without that, the rest could be committed.
    Refused(Error),
    /// Because the database is not there, or not in a state to take any batch.
    Outage(Error),
    /// Because the file of the database is not where it was. What was committed may be nowhere.
    Moved(FileMoved),
}

/// An outage that is known by something else than an error of the database.
pub fn outage(words: impl Into<String>) -> Failure {
    Failure::Outage(DbErr::Custom(words.into()).into())
}

/// What commands are answered when the file has moved.
pub fn file_moved(moved: &FileMoved) -> Error {
    DbErr::Custom(moved.to_string()).into()
}

impl From<FileCheckError> for Failure {
    fn from(error: FileCheckError) -> Self {
        match error {
            FileCheckError::Moved(moved) => Self::Moved(moved),
            FileCheckError::Unknown(error) => outage(format!("the file of the database cannot be looked at: {error}")),
        }
    }
}

impl From<DecisionPanicked> for Failure {
    fn from(panicked: DecisionPanicked) -> Self {
        Self::Refused(Error::Corrupt(Arc::new(panicked)))
    }
}

/// An error before the COMMIT, after which nothing was committed; or of a statement that is a commit by itself. Such a
/// statement has done nothing if the error is about the data. After any other error it may have, and the next batch
/// finds out.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if is_about_the_data(&error) { Self::Refused(error) } else { Self::Outage(error) }
    }
}

/// Whether the database understood and refused: SQLSTATE classes 22 (data exception), 23 (integrity) and 42 (no such
/// thing), and their like on SQLite.
fn is_about_the_data(error: &Error) -> bool {
    match database_code(error) {
        // ERROR, TOOBIG, CONSTRAINT, MISMATCH.
        Some(Code::Sqlite(code)) => matches!(code, 1 | 18 | 19 | 20),
        Some(Code::Postgres(state)) => ["22", "23", "42"].iter().any(|class| state.starts_with(class)),
        None => false,
    }
}

/// Whether a statement does not fit the tables: they are not those of this version, or this server may not write to
/// them.
pub fn is_about_the_tables(error: &Error) -> bool {
    match database_code(error) {
        Some(Code::Sqlite(code)) => code == 1,
        Some(Code::Postgres(state)) => state.starts_with("42"),
        None => false,
    }
}

/// Whether PostgreSQL has ended a statement or a session because it took too long: SQLSTATE 57014 (query canceled),
/// 55P03 (lock not available) and 25P03 (idle in transaction).
pub fn is_timeout(error: &Error) -> bool {
    matches!(database_code(error), Some(Code::Postgres(state)) if ["57014", "55P03", "25P03"].contains(&&*state))
}

/// The error code of a database.
enum Code {
    /// The primary code. Extended ones carry it in their low byte.
    Sqlite(u32),
    /// The SQLSTATE.
    Postgres(String),
}

fn database_code(error: &Error) -> Option<Code> {
    let Error::Database(error) = error else { return None };
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = &**error else {
        return None;
    };
    let sqlx::Error::Database(error) = &**error else { return None };
    let code = error.code()?;
    match code.parse::<u32>() {
        Ok(code) if error.try_downcast_ref::<SqliteError>().is_some() => Some(Code::Sqlite(code & 0xff)),
        _ => Some(Code::Postgres(code.into_owned())),
    }
}
