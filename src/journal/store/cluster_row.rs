//! The one row of the table `cluster`: which revision is committed, of which epoch, and what was pruned.
//!
//! Raising its revision is how a batch takes its turn: on PostgreSQL the lock of this row makes the writing
//! transactions of all servers wait for each other.

use entity::cluster;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait, Statement,
    TransactionTrait,
};

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The row, as a transaction sees it.
pub struct ClusterRow {
    /// The last revision; in a batch the batch's own.
    pub revision: u64,
    /// The name of the latest epoch.
    pub epoch: String,
    /// Incarnations that are handed out are above this.
    pub incarnation_floor: u64,
    /// How far rows are removed that carry the revision of their last change.
    pub pruned_through: PrunedThrough,
}

/// Up to which revisions rows may be missing of what is found by the revision of its last change: servers whose state is
/// older do not learn from rows what is gone. And up to which there may be rows of what changes rarely.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrunedThrough {
    /// Tombstones of workers that were purged up to this revision may be missing.
    pub tombstones: u64,
    /// Tokens may have been removed up to this revision.
    pub tokens: u64,
    /// Reservations may have been removed up to this revision.
    pub reservations: u64,
    /// The last revision at which a reservation has changed: servers whose state is not older read none.
    pub reservations_changed: u64,
}

/// What a poll for commits of other servers finds.
pub struct LatestCommit {
    /// The last revision.
    pub revision: u64,
    /// The name of the latest epoch.
    pub epoch: String,
    /// What time it is by the clock of the database, if that has one of its own.
    pub now: Option<Timestamp>,
    /// Whether the session can only read, as those of a primary that was demoted.
    pub is_read_only: bool,
}

impl ClusterRow {
    /// Raises the revision and takes the lock of all commits. Also answers what time it is by the clock of the
    /// database, if that has one of its own.
    pub async fn raise_revision(transaction: &DatabaseTransaction) -> Result<(Self, Option<Timestamp>)> {
        let backend = ConnectionTrait::get_database_backend(transaction);
        let sql = match backend {
            DbBackend::Postgres => {
                "UPDATE cluster SET revision = revision + 1 WHERE id = 1 \
                 RETURNING revision, epoch, incarnation_floor, tombstones_pruned_through, tokens_pruned_through, \
                 reservations_pruned_through, reservations_revision, clock_timestamp() AS now"
            }
            _ => {
                "UPDATE cluster SET revision = revision + 1 WHERE id = 1 \
                 RETURNING revision, epoch, incarnation_floor, tombstones_pruned_through, tokens_pruned_through, \
                 reservations_pruned_through, reservations_revision"
            }
        };
        let statement = Statement::from_string(backend, sql);
        let row = transaction.query_one_raw(statement).await?.ok_or_else(no_cluster_row)?;
        let now = if backend == DbBackend::Postgres { Some(row.try_get("", "now")?) } else { None };
        let number = |column: &str| -> Result<u64> {
            let number: i64 = row.try_get("", column)?;
            u64::try_from(number).map_err(|_| DbErr::Custom(format!("{column} {number} is negative")).into())
        };
        let row = Self {
            revision: number("revision")?,
            epoch: row.try_get("", "epoch")?,
            incarnation_floor: number("incarnation_floor")?,
            pruned_through: PrunedThrough {
                tombstones: number("tombstones_pruned_through")?,
                tokens: number("tokens_pruned_through")?,
                reservations: number("reservations_pruned_through")?,
                reservations_changed: number("reservations_revision")?,
            },
        };
        Ok((row, now))
    }

    /// Reads the row.
    pub async fn read(connection: &impl ConnectionTrait) -> Result<Self> {
        let row = cluster::Entity::find_by_id(cluster::ID).one(connection).await?.ok_or_else(no_cluster_row)?;
        let unsigned = |number| u64::try_from(number).unwrap_or(0);
        Ok(Self {
            revision: unsigned(row.revision),
            epoch: row.epoch,
            incarnation_floor: unsigned(row.incarnation_floor),
            pruned_through: PrunedThrough {
                tombstones: unsigned(row.tombstones_pruned_through),
                tokens: unsigned(row.tokens_pruned_through),
                reservations: unsigned(row.reservations_pruned_through),
                reservations_changed: unsigned(row.reservations_revision),
            },
        })
    }
}

impl LatestCommit {
    /// Reads it in one statement.
    pub async fn poll(readers: &DatabaseConnection) -> Result<Self> {
        let backend = readers.get_database_backend();
        let (now, is_read_only) = match backend {
            DbBackend::Postgres => ("clock_timestamp()", "current_setting('transaction_read_only') = 'on'"),
            _ => ("NULL", "FALSE"),
        };
        let sql =
            format!("SELECT revision, epoch, {now} AS now, {is_read_only} AS is_read_only FROM cluster WHERE id = 1");
        let row = readers.query_one_raw(Statement::from_string(backend, sql)).await?.ok_or_else(no_cluster_row)?;
        Ok(Self {
            revision: u64::try_from(row.try_get::<i64>("", "revision")?).unwrap_or(0),
            epoch: row.try_get("", "epoch")?,
            now: row.try_get("", "now")?,
            is_read_only: row.try_get("", "is_read_only")?,
        })
    }
}

/// What time it is by PostgreSQL's clock.
pub async fn database_time(readers: &DatabaseConnection) -> Result<Option<Timestamp>> {
    let statement = Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp() AS now");
    let row = readers.query_one_raw(statement).await?;
    Ok(row.map(|row| row.try_get("", "now")).transpose()?)
}

/// Begins a transaction that only reads, and sees one revision in all of its statements.
pub async fn begin_reading(readers: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match readers.get_database_backend() {
        DbBackend::Postgres => {
            let isolation = sea_orm::IsolationLevel::RepeatableRead;
            readers.begin_with_config(Some(isolation), None).await
        }
        _ => readers.begin().await,
    }
}

fn no_cluster_row() -> Error {
    DbErr::RecordNotFound("the row of the cluster".to_owned()).into()
}
