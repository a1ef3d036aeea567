//! Whether a database has a token, for a server that has not started. While it runs, tokens are in the snapshot.

use sea_orm::{ConnectionTrait, Statement};

use super::applied_migrations::MigrationStatus;
use super::database::Database;
use super::open_error::OpenError;

/// The migration that makes the table.
const MIGRATION: &str = "m20261129_000005_tokens";

/// Whether a database has a token, ended or not. Nothing is created, changed or locked. A database that is not there yet
/// has none.
pub async fn tokens_exist(url: &str) -> Result<bool, OpenError> {
    let database = match Database::inspect(url).await {
        Ok(database) => database,
        Err(OpenError::Missing { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let found = find(&database).await;
    // Nothing was written that could be lost.
    let _ = database.close().await;
    found
}

async fn find(database: &Database) -> Result<bool, OpenError> {
    if !database.migrations().await?.contains(&(MIGRATION.to_owned(), MigrationStatus::Applied)) {
        return Ok(false);
    }
    // No column is named: those of a later migration may be missing still.
    let statement = Statement::from_string(database.backend(), "SELECT 1 FROM token LIMIT 1");
    let row = database.readers().query_one_raw(statement).await;
    Ok(row.map_err(|error| OpenError::connect(&database.shown(), error))?.is_some())
}
