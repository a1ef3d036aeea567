//! Which migrations a database has seen, and whether it belongs to this program and this version.
//!
//! Nothing is changed here; see [`migrate`](super::migrate) for that.

use migration::{FIRST_BEFORE_RELEASE, Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::open_error::OpenError;

/// The table in which sea-orm records which migrations have been applied.
const MIGRATIONS: &str = "seaql_migrations";

/// A migration's name, and whether it has been applied.
pub type MigrationState = (String, bool);

/// Every migration this version knows, the oldest first, and whether it has been applied. Refuses tables of a newer
/// version, those of builds from before the first release, and those of other programs.
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
    let unknown = applied.iter().find(|name| !known.contains(name));
    if applied.iter().any(|name| known.contains(name)) {
        if let Some(migration) = unknown {
            return Err(OpenError::Newer { url: shown.to_owned(), migration: migration.clone() });
        }
    } else if let Some(table) = table.or_else(|| unknown.map(|_| MIGRATIONS.to_owned())) {
        return Err(OpenError::Foreign { url: shown.to_owned(), table });
    }
    Ok(known.into_iter().map(|name| (name.clone(), applied.contains(&name))).collect())
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
