//! The tables: which migrations they have seen, and how they get the others.
//!
//! All that are missing are applied in one transaction, so that tables are never found half changed. On PostgreSQL it takes
//! an advisory lock first: of several servers that start together, one changes the tables, and the others wait and find it
//! done. Whoever finds nothing to do has changed nothing and needed no right to.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, QuerySelect, Statement};
use tracing::info;

use super::connections::WritingTransaction;
use super::database::{Database, OpenError};

/// What the lock is called on PostgreSQL: any number will do that other programs on the same database do not use.
const LOCK: i64 = 0x6165_7468_6572_6975;

/// Where sea-orm keeps what has been applied.
const MIGRATIONS: &str = "seaql_migrations";

/// What is written and removed again to see whether there is room. No client can send a key with spaces in it.
const PROBE_KEY: &str = "is there room";

/// As much as a batch of some hundred heartbeats takes in SQLite's log.
const BALLAST_BYTES: u32 = 128 * 1_024;

/// A migration's name, and whether it has been applied.
pub type MigrationState = (String, bool);

impl Database {
    /// Every migration, the oldest first, and whether it has been applied. Nothing is changed to find that out.
    pub async fn migrations(&self) -> Result<Vec<MigrationState>, OpenError> {
        find_migrations(&*self.readers(), &self.shown()).await
    }

    /// Whether the tables have the shape this version works with.
    pub async fn is_migrated(&self) -> Result<bool, OpenError> {
        Ok(self.migrations().await?.iter().all(|(_, is_applied)| *is_applied))
    }

    /// Brings the tables to the shape this version works with.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        if self.is_migrated().await? {
            return Ok(());
        }
        let failed = |error| OpenError::migration(&self.shown(), error);
        let transaction = self.begin_migrating().await.map_err(failed)?;
        // Somebody else may have done it while the lock was waited for.
        let migrations = find_migrations(&**transaction, &self.shown()).await?;
        if migrations.iter().any(|(_, is_applied)| !is_applied) {
            Migrator::up(&**transaction, None).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Takes the last migrations back, so many of them, and what their tables hold with them.
    pub async fn migrate_back(&self, steps: u32) -> Result<(), OpenError> {
        let failed = |error| OpenError::migration(&self.shown(), error);
        let transaction = self.begin_migrating().await.map_err(failed)?;
        find_migrations(&**transaction, &self.shown()).await?;
        Migrator::down(&**transaction, Some(steps)).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn begin_migrating(&self) -> Result<Box<WritingTransaction>, DbErr> {
        let transaction = self.begin_upkeep().await?;
        if self.backend() == DbBackend::Postgres {
            // It may take its time, and so may whoever has the lock.
            transaction
                .execute_unprepared(
                    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0",
                )
                .await?;
            let sql = format!("SELECT pg_try_advisory_xact_lock({LOCK}) AS locked");
            let row = transaction.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
            if row.map(|row| row.try_get("", "locked")).transpose()? != Some(true) {
                info!("Waiting for another server that changes the tables");
                transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
            }
            // A table that somebody else is using is waited for, but not for ever: others wait behind us.
            transaction.execute_unprepared("SET LOCAL lock_timeout = '60s'").await?;
        }
        Ok(Box::new(transaction))
    }

    /// Succeeds if commits can be made, and if the tables have the columns that are written to: makes one that changes
    /// nothing in the end.
    pub(super) async fn probe(&self) -> Result<(), DbErr> {
        if self.backend() == DbBackend::Sqlite {
            // Where there is room for a page, there may be none for a commit.
            let ballast = format!(
                "INSERT INTO kept_answer (key, fingerprint, body, at) \
                 VALUES ('{PROBE_KEY}', '', hex(zeroblob({BALLAST_BYTES} / 2)), '1970-01-01T00:00:00.000+00:00') \
                 ON CONFLICT (key) DO UPDATE SET body = excluded.body"
            );
            let transaction = self.begin_writing().await?;
            transaction.execute_unprepared(&ballast).await?;
            transaction.commit().await?;
        }
        let transaction = self.begin_writing().await?;
        if self.backend() == DbBackend::Sqlite {
            let removal = format!("DELETE FROM kept_answer WHERE key = '{PROBE_KEY}'");
            transaction.execute_unprepared(&removal).await?;
        }
        transaction.execute_unprepared("UPDATE cluster SET revision = revision WHERE id = 1").await?;
        entity::cluster::Entity::find().limit(0).all(&*transaction).await?;
        entity::epoch::Entity::find().limit(0).all(&*transaction).await?;
        entity::worker::Entity::find().limit(0).all(&*transaction).await?;
        entity::vm::Entity::find().limit(0).all(&*transaction).await?;
        entity::event::Entity::find().limit(0).all(&*transaction).await?;
        entity::kept_answer::Entity::find().limit(0).all(&*transaction).await?;
        entity::purged_worker::Entity::find().limit(0).all(&*transaction).await?;
        transaction.commit().await
    }
}

/// Every migration this version knows, the oldest first, and whether it has been applied. Refuses tables of a newer version,
/// and those of other programs.
pub(super) async fn find_migrations(
    connection: &impl ConnectionTrait,
    shown: &str,
) -> Result<Vec<MigrationState>, OpenError> {
    let failed = |source| OpenError::migration(shown, source);
    let backend = connection.get_database_backend();
    // First the tables, then what made them: another server may be making them at this moment, all at once.
    let statement = Statement::from_string(backend, tables_but_for_migrations(backend));
    let table = connection.query_one_raw(statement).await.map_err(failed)?;
    let table = table.map(|row| row.try_get::<String>("", "name")).transpose().map_err(failed)?;
    let applied = applied(connection).await.map_err(failed)?;
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

/// Finds a table, if there are any. Those of extensions are nobody's: many PostgreSQL servers are set up with some.
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
