//! The schema: how the tables get the migrations that they have not seen.
//!
//! All that are missing are applied in one transaction, so that tables are never found half changed. On PostgreSQL it
//! takes an advisory lock first: of several servers that start together, one migrates, and the others wait and find it
//! done. A server that finds nothing to do changes nothing, and needs no right to change tables. The migrations
//! themselves are in the crate `migration`.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, TransactionTrait as _};
use tracing::info;

use super::applied_migrations::{MigrationState, MigrationStatus, find_migrations};
use super::connections::WritingTransaction;
use super::database::Database;
use super::open_error::OpenError;
use super::schema_shape::{Loss, losses, read_shape};

/// The number of the advisory lock: any will do that other programs on the same database do not use.
const LOCK: i64 = 0x6165_7468_6572_6975;

impl Database {
    /// Every migration, the oldest first, and what became of it. Nothing is changed to find that out.
    pub async fn migrations(&self) -> Result<Vec<MigrationState>, OpenError> {
        find_migrations(&*self.readers(), &self.shown()).await
    }

    /// Whether the tables have the shape this version works with, or one of a newer version that it can do with, too.
    pub async fn is_migrated(&self) -> Result<bool, OpenError> {
        Ok(self.migrations().await?.iter().all(|(_, status)| *status != MigrationStatus::Pending))
    }

    /// Whether there are no tables at all.
    pub async fn is_empty(&self) -> Result<bool, OpenError> {
        Ok(self.migrations().await?.iter().all(|(_, status)| *status == MigrationStatus::Pending))
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
        if migrations.iter().any(|(_, status)| *status == MigrationStatus::Pending) {
            Migrator::up(&**transaction, None).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Reverts the last migrations, so many of them, and answers what is lost with that. Only the version that knows them
    /// can.
    pub async fn migrate_back(&self, steps: u32) -> Result<Vec<Loss>, OpenError> {
        let failed = |error| OpenError::migration(&self.shown(), error);
        let (transaction, lost) = self.begin_migrating_back(steps).await?;
        Migrator::down(&**transaction, Some(steps)).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(lost)
    }

    /// What would be lost if the last migrations were reverted, so many of them. Nothing is changed, but whoever uses these
    /// tables waits meanwhile.
    pub async fn preview_migrating_back(&self, steps: u32) -> Result<Vec<Loss>, OpenError> {
        let (transaction, lost) = self.begin_migrating_back(steps).await?;
        transaction.rollback().await.map_err(|error| OpenError::migration(&self.shown(), error))?;
        Ok(lost)
    }

    /// A transaction in which the last migrations can be reverted, with what is lost by that. They were reverted in it to find
    /// out, up to a savepoint. Until its end, nothing is added to what is lost.
    async fn begin_migrating_back(&self, steps: u32) -> Result<(Box<WritingTransaction>, Vec<Loss>), OpenError> {
        let failed = |error| OpenError::migration(&self.shown(), error);
        let transaction = self.begin_migrating().await.map_err(failed)?;
        let migrations = find_migrations(&**transaction, &self.shown()).await?;
        if let Some((migration, _)) = migrations.into_iter().find(|(_, status)| *status == MigrationStatus::Newer) {
            return Err(OpenError::Newer { url: self.shown(), migration });
        }
        let before = read_shape(&**transaction).await.map_err(failed)?;
        let attempt = transaction.begin().await.map_err(failed)?;
        Migrator::down(&attempt, Some(steps)).await.map_err(failed)?;
        let after = read_shape(&attempt).await.map_err(failed)?;
        attempt.rollback().await.map_err(failed)?;
        let lost = losses(&transaction, &before, &after).await.map_err(failed)?;
        Ok((transaction, lost))
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
