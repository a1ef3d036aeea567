//! Which migrations a database has seen, and whether it belongs to this program and to a version that this one can be beside.
//!
//! Nothing is changed here; see [`migrate`](super::migrate) for that.

use migration::{CONTRACT, FIRST_BEFORE_RELEASE, Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::open_error::OpenError;

/// The table in which sea-orm records which migrations have been applied.
const MIGRATIONS: &str = "seaql_migrations";

/// A migration's name, and what became of it.
pub type MigrationState = (String, MigrationStatus);

/// What became of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationStatus {
    /// It has been applied.
    Applied,
    /// It has not been applied.
    Pending,
    /// A newer version has applied it. This one does not know it, and can do with what it has made.
    Newer,
}

/// A newer version has changed the tables under a server that runs, in a way that it cannot go on beside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "A newer version of Aetherium has changed the tables of the database, and this version cannot use them any more (they \
     have {migration}): start that version in place of this one."
)]
pub struct TablesContracted {
    /// The migration that has changed them.
    pub migration: String,
}

/// Every migration this version knows, the oldest first, then those of a newer version. Refuses tables of a newer version
/// that this one cannot do with, those of builds from before the first release, and those of other programs.
pub async fn find_migrations(connection: &impl ConnectionTrait, shown: &str) -> Result<Vec<MigrationState>, OpenError> {
    let failed = |source| OpenError::migration(shown, source);
    let backend = connection.get_database_backend();
    // The tables are read before the migrations, because another server may be committing both at this moment.
    let statement = Statement::from_string(backend, tables_but_for_migrations(backend));
    let table = connection.query_one_raw(statement).await.map_err(failed)?;
    let table = table.map(|row| row.try_get::<String>("", "name")).transpose().map_err(failed)?;
    let applied = applied(connection).await.map_err(failed)?;
    if applied.iter().any(|name| name == FIRST_BEFORE_RELEASE) {
        return Err(OpenError::BeforeRelease { url: shown.to_owned() });
    }
    let known: Vec<_> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let mut unknown = applied.iter().filter(|name| !known.contains(name));
    if applied.iter().any(|name| known.contains(name)) {
        // What is missing was made before what is unknown, by whoever knew both.
        let is_whole = known.iter().all(|name| applied.contains(name));
        if let Some(migration) = unknown.clone().find(|name| !is_whole || name.ends_with(CONTRACT)) {
            return Err(OpenError::Newer { url: shown.to_owned(), migration: migration.clone() });
        }
    } else if let Some(table) = table.or_else(|| unknown.next().map(|_| MIGRATIONS.to_owned())) {
        return Err(OpenError::Foreign { url: shown.to_owned(), table });
    }
    let newer: Vec<_> = unknown.map(|name| (name.clone(), MigrationStatus::Newer)).collect();
    let status =
        |name: &String| if applied.contains(name) { MigrationStatus::Applied } else { MigrationStatus::Pending };
    Ok(known.into_iter().map(|name| (name.clone(), status(&name))).chain(newer).collect())
}

/// Finds the first migration of a newer version that this one cannot go on beside. No other table is read than that of the
/// applied migrations: any other may be locked, or not be what it was.
pub async fn find_contract(connection: &impl ConnectionTrait) -> Result<Option<TablesContracted>, DbErr> {
    let latest = Migrator::migrations().last().map(|migration| migration.name().to_owned()).unwrap_or_default();
    let sql = format!(
        "SELECT min(version) AS version FROM {MIGRATIONS} WHERE version > '{latest}' AND version LIKE '%{CONTRACT}'"
    );
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    let migration: Option<String> = row.map(|row| row.try_get("", "version")).transpose()?.flatten();
    Ok(migration.map(|migration| TablesContracted { migration }))
}

/// The migrations that have been applied, known or not.
async fn applied(connection: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => format!("SELECT 1 WHERE to_regclass('{MIGRATIONS}') IS NOT NULL"),
        _ => format!("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{MIGRATIONS}'"),
    };
    if connection.query_one_raw(Statement::from_string(backend, sql)).await?.is_none() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT version FROM {MIGRATIONS} ORDER BY version");
    let rows = connection.query_all_raw(Statement::from_string(backend, sql)).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}

/// Finds a table, if there are any. Tables of extensions do not count: many PostgreSQL servers are set up with some.
fn tables_but_for_migrations(backend: DbBackend) -> String {
    match backend {
        DbBackend::Postgres => format!(
            "SELECT class.relname::text AS name FROM pg_class AS class \
             WHERE class.relnamespace = current_schema()::regnamespace AND class.relkind IN ('r', 'p') \
             AND class.relname <> '{MIGRATIONS}' AND NOT EXISTS (SELECT FROM pg_depend AS dependency \
             WHERE dependency.classid = 'pg_class'::regclass AND dependency.objid = class.oid \
             AND dependency.deptype = 'e') ORDER BY name LIMIT 1"
        ),
        _ => format!(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name <> '{MIGRATIONS}' ORDER BY name LIMIT 1"
        ),
    }
}
