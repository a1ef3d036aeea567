//! The tables: which migrations they have seen, and how they get the others.
//!
//! All that are missing are applied in one transaction, so that tables are never found half changed. On PostgreSQL it takes
//! an advisory lock first: of several servers that start together, one changes the tables, and the others wait and find it
//! done. Whoever finds nothing to do has changed nothing and needed no right to.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, EntityTrait, QuerySelect, Statement};
use tracing::info;

use super::connections::WritingTransaction;
use super::database::Database;
use super::migrations::{MigrationState, find_migrations};
use super::open_error::OpenError;

/// What the lock is called on PostgreSQL: any number will do that other programs on the same database do not use.
const LOCK: i64 = 0x6165_7468_6572_6975;

/// What is written and removed again to see whether there is room. No client can send a key with spaces in it.
const PROBE_KEY: &str = "is there room";

/// As much as a batch of some hundred heartbeats takes in SQLite's log.
const BALLAST_BYTES: u32 = 128 * 1_024;

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
                "INSERT INTO idempotency_record (key, fingerprint, response_body, created_at) \
                 VALUES ('{PROBE_KEY}', '', hex(zeroblob({BALLAST_BYTES} / 2)), '1970-01-01T00:00:00.000+00:00') \
                 ON CONFLICT (key) DO UPDATE SET response_body = excluded.response_body"
            );
            let transaction = self.begin_writing().await?;
            transaction.execute_unprepared(&ballast).await?;
            transaction.commit().await?;
        }
        let transaction = self.begin_writing().await?;
        if self.backend() == DbBackend::Sqlite {
            let removal = format!("DELETE FROM idempotency_record WHERE key = '{PROBE_KEY}'");
            transaction.execute_unprepared(&removal).await?;
        }
        transaction.execute_unprepared("UPDATE cluster SET revision = revision WHERE id = 1").await?;
        entity::cluster::Entity::find().limit(0).all(&*transaction).await?;
        entity::epoch::Entity::find().limit(0).all(&*transaction).await?;
        entity::worker::Entity::find().limit(0).all(&*transaction).await?;
        entity::vm::Entity::find().limit(0).all(&*transaction).await?;
        entity::event::Entity::find().limit(0).all(&*transaction).await?;
        entity::idempotency_record::Entity::find().limit(0).all(&*transaction).await?;
        entity::worker_tombstone::Entity::find().limit(0).all(&*transaction).await?;
        transaction.commit().await
    }
}
