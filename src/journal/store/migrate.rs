//! The schema: how the tables get the migrations that they have not seen.
//!
//! All that are missing are applied in one transaction, so that tables are never found half changed. On PostgreSQL it
//! takes an advisory lock first: of several servers that start together, one migrates, and the others wait and find it
//! done. A server that finds nothing to do changes nothing, and needs no right to change tables. The migrations
//! themselves are in the crate `migration`.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tracing::info;

use super::applied_migrations::{MigrationState, find_migrations};
use super::connections::WritingTransaction;
use super::database::Database;
use super::open_error::OpenError;

/// The number of the advisory lock: any will do that other programs on the same database do not use.
const LOCK: i64 = 0x6165_7468_6572_6975;

impl Database {
    /// Every migration, the oldest first, and whether it has been applied. Nothing is changed to find that out.
    pub async fn migrations(&self) -> Result<Vec<MigrationState>, OpenError> {
        find_migrations(&*self.readers(), &self.shown()).await
    }

    /// Whether the tables have the shape this version works with.
    pub async fn is_migrated(&self) -> Result<bool, OpenError> {
        Ok(self.migrations().await?.iter().all(|(_, is_applied)| *is_applied))
    }

    /// Whether there are no tables at all.
    pub async fn is_empty(&self) -> Result<bool, OpenError> {
        Ok(self.migrations().await?.iter().all(|(_, is_applied)| !is_applied))
    }

    /// Brings the tables to the shape this version works with.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        if self.is_migrated().await? {
            return Ok(());
        }
        let failed = |error| OpenError::migration(&self.shown(), error);
        let transaction = self.begin_migrating().await.map_err(failed)?;
        // Another server may have migrated while the lock was waited for.
        let migrations = find_migrations(&**transaction, &self.shown()).await?;
        if migrations.iter().any(|(_, is_applied)| !is_applied) {
            Migrator::up(&**transaction, None).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Reverts the last migrations, so many of them, and with them what their tables hold.
    pub async fn migrate_back(&self, steps: u32) -> Result<(), OpenError> {
        let failed = |error| OpenError::migration(&self.shown(), error);
        let transaction = self.begin_migrating().await.map_err(failed)?;
        find_migrations(&**transaction, &self.shown()).await?;
        Migrator::down(&**transaction, Some(steps)).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn begin_migrating(&self) -> Result<Box<WritingTransaction>, DbErr> {
        let transaction = self.begin_maintenance().await?;
        if self.backend() == DbBackend::Postgres {
            // A migration may take its time, and so may the server that has the lock.
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
            // A table that is in use is waited for, but not for ever: others wait behind this transaction.
            transaction.execute_unprepared("SET LOCAL lock_timeout = '60s'").await?;
        }
        Ok(Box::new(transaction))
    }
}
