//! Rows of history: how figures of workers, zones and the cluster went. They are written beside the commits of the
//! writer, in transactions that are short enough that none of these waits long, and have no revision. What a row holds is
//! decided by [`history`](crate::history).

use entity::history;
use sea_orm::{ConnectionTrait as _, DbBackend, EntityTrait as _, FromQueryResult as _};

use super::database::Database;
use crate::error::Result;

/// The number of the advisory lock under which a server on PostgreSQL merges its points with those of others; any will
/// do that other programs on the same database do not use.
const LOCK: i64 = 0x6165_7468_6869_7374;

/// How many rows one statement removes.
const ROWS_PER_DELETE: u64 = 2_000;

/// Some points of one subject, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The number of its tier.
    pub tier: i32,
    /// When its first point begins, in seconds since 1970.
    pub start: i64,
    /// What it is about.
    pub subject: String,
    /// The points.
    pub points: Vec<u8>,
}

/// Reads and writes rows of history.
#[derive(Clone, Debug)]
pub struct HistoryStore {
    database: Database,
}

impl HistoryStore {
    /// The rows of this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// The rows that begin at these starts of these tiers and are about these subjects: one statement.
    pub async fn rows(&self, tiers: &[(i32, Vec<i64>)], subjects: &[&str]) -> Result<Vec<HistoryRow>> {
        let tiers: Vec<_> = tiers.iter().filter(|(_, starts)| !starts.is_empty()).cloned().collect();
        if tiers.is_empty() || subjects.is_empty() {
            return Ok(Vec::new());
        }
        let select = history::Entity::rows_of(&tiers, subjects);
        read(&*self.database.readers(), &select).await
    }

    /// Merges rows of one start with those that other servers, or this one before its restart, have written: one
    /// transaction. `merge` gets the rows that are there, and answers those that have to be written. Of several servers
    /// that do this at once, one waits for the other.
    pub async fn merge(
        &self,
        tier: i32,
        start: i64,
        subjects: &[&str],
        merge: impl FnOnce(Vec<HistoryRow>) -> Vec<HistoryRow>,
    ) -> Result<()> {
        let transaction = self.database.begin_maintenance().await?;
        if self.database.backend() == DbBackend::Postgres {
            transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
        }
        let select = history::Entity::rows_of(&[(tier, vec![start])], subjects);
        let rows = merge(read(&*transaction, &select).await?);
        if !rows.is_empty() {
            let rows = rows.into_iter().map(active);
            let insert = history::Entity::insert_many(rows).on_conflict(history::Entity::replaced());
            insert.exec_without_returning(&*transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Adds rows; those that are there already stay as they are.
    pub async fn add(&self, rows: Vec<HistoryRow>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = self.database.begin_maintenance().await?;
        let rows = rows.into_iter().map(active);
        let insert = history::Entity::insert_many(rows).on_conflict(history::Entity::left_as_they_are());
        insert.exec_without_returning(&*transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The start of the oldest row of a tier.
    pub async fn oldest_start(&self, tier: i32) -> Result<Option<i64>> {
        let oldest = history::Entity::oldest(tier).one(&*self.database.readers()).await?;
        Ok(oldest.map(|row| row.start))
    }

    /// Removes rows of a tier that start before a time, some at a time. Answers how many.
    pub async fn remove_before(&self, tier: i32, start: i64) -> Result<u64> {
        let mut removed = 0;
        loop {
            let transaction = self.database.begin_maintenance().await?;
            let delete = history::Entity::remove_before(tier, start, ROWS_PER_DELETE);
            let step = delete.exec(&*transaction).await?.rows_affected;
            transaction.commit().await?;
            removed += step;
            if step < ROWS_PER_DELETE {
                return Ok(removed);
            }
        }
    }
}

async fn read(
    connection: &impl sea_orm::ConnectionTrait,
    select: &sea_orm::sea_query::SelectStatement,
) -> Result<Vec<HistoryRow>> {
    let rows = connection.query_all(select).await?;
    let row = |row| {
        let history::Model { tier, start, subject, points } = history::Model::from_query_result(row, "")?;
        Ok(HistoryRow { tier, start, subject, points })
    };
    rows.iter().map(row).collect()
}

fn active(HistoryRow { tier, start, subject, points }: HistoryRow) -> history::ActiveModel {
    history::Model { tier, start, subject, points }.into()
}
