//! Heartbeats without news, which are nearly everything that is ever written.
//!
//! All of a batch were heard at one moment and have one revision, and their VMs are as they were. So a row carries no
//! more than the worker's own numbers, and is given in the way that costs each database least: to PostgreSQL column by
//! column, as arrays; to SQLite value by value. All [other rows](super::statements) come as JSON. To read one from it is
//! a third of PostgreSQL's work on a row, and for SQLite it is twice the work of writing it.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};

use super::rows::signed;
use crate::clock::{Timestamp, with_milliseconds};
use crate::cluster::Worker;

/// Most rows that are given value by value to one statement. A larger one costs as much a row, and each number of
/// [`places`] is a statement that is kept.
const MOST_BOUND: usize = 512;

/// Stands for a worker without a number, here and in [`POSTGRES`]: sea-orm's arrays hold no NULL, and no number is
/// negative.
const NO_SEQUENCE: i64 = -1;

/// Workers of whom a batch writes that they were heard, and how much they use.
pub(super) struct Beats<'a> {
    workers: Vec<&'a Worker>,
    revision: i64,
    at: Timestamp,
}

impl<'a> Beats<'a> {
    /// Of workers that [can be written](Self::can_write) so, by the batch that has this revision and time.
    pub(super) fn new(workers: Vec<&'a Worker>, revision: u64, at: Timestamp) -> Self {
        Self { workers, revision: signed(revision), at }
    }

    /// Whether a heartbeat in the batch that has this revision and time left the worker with nothing else to be written.
    pub(super) fn can_write(worker: &Worker, revision: u64, at: Timestamp) -> bool {
        // All rows of a batch share its time.
        worker.usage.vms_revision != revision && worker.usage.last_seen == at
    }

    /// Writes them, as a part of a batch.
    pub(super) async fn write(&self, transaction: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.workers.is_empty() {
            return Ok(());
        }
        let backend = transaction.get_database_backend();
        if backend == DbBackend::Postgres {
            let sql = format!("{POSTGRES} WHERE worker.id = beat.id");
            transaction.execute_raw(Statement::from_sql_and_values(backend, sql, self.arrays())).await?;
            return Ok(());
        }
        for workers in self.workers.chunks(MOST_BOUND) {
            let (sql, values) = (sqlite(places(workers.len())), self.values(workers));
            // SQLite takes a value that is missing for NULL, and those behind it for their neighbours.
            debug_assert_eq!(values.len(), sql.matches('?').count(), "there is a value for each place");
            transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        }
        Ok(())
    }

    /// Writes them on PostgreSQL as a whole batch: one statement, and so a transaction, which raises the revision of
    /// the cluster to theirs if it is the one before, of this epoch, and changes rows only then. Whether it did.
    pub(super) async fn write_as_batch(&self, connection: &impl ConnectionTrait, epoch: &str) -> Result<bool, DbErr> {
        debug_assert!(!self.workers.is_empty(), "a revision is for something");
        // The row of the cluster is locked as by any other batch. Whoever had to wait for it finds another revision.
        let sql = format!(
            "WITH turn AS (UPDATE cluster SET revision = $1 WHERE id = 1 AND revision = $1 - 1 AND epoch = $9 RETURNING revision), \
             changed AS ({POSTGRES} WHERE worker.id = beat.id AND EXISTS (SELECT FROM turn)) SELECT revision FROM turn"
        );
        let mut values = self.arrays();
        values.push(epoch.into());
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        Ok(connection.query_one_raw(statement).await?.is_some())
    }

    /// For [`POSTGRES`].
    fn arrays(&self) -> Vec<Value> {
        let numbers = |of: fn(&Worker) -> i64| self.workers.iter().map(|worker| of(worker)).collect::<Vec<_>>().into();
        let ids: Vec<_> = self.workers.iter().map(|worker| worker.id.as_str().to_owned()).collect();
        let inventories: Vec<_> = self.workers.iter().map(|worker| self.has_inventory(worker)).collect();
        vec![
            self.revision.into(),
            self.at.into(),
            ids.into(),
            numbers(|worker| worker.usage.sequence.map_or(NO_SEQUENCE, signed)),
            numbers(|worker| worker.usage.used_cpu_cores.into()),
            numbers(|worker| worker.usage.used_memory_mb.into()),
            numbers(|worker| worker.usage.used_disk_gb.into()),
            inventories.into(),
        ]
    }

    /// For [`sqlite`], with the last row as often as there are places left, which changes nothing.
    fn values(&self, workers: &[&Worker]) -> Vec<Value> {
        let places = places(workers.len());
        let mut values = Vec::with_capacity(3 + places * ROW);
        values.extend([self.revision.into(), with_milliseconds(self.at).into(), self.revision.into()]);
        let last = workers.last().into_iter().cycle().take(places - workers.len());
        for worker in workers.iter().chain(last) {
            let row: [Value; ROW] = [
                worker.id.as_str().into(),
                worker.usage.sequence.map(signed).into(),
                worker.usage.used_cpu_cores.into(),
                worker.usage.used_memory_mb.into(),
                worker.usage.used_disk_gb.into(),
                self.has_inventory(worker).into(),
            ];
            values.extend(row);
        }
        values
    }

    /// Whether the heartbeat carried the whole inventory.
    fn has_inventory(&self, worker: &Worker) -> bool {
        worker.usage.inventory_revision.map(signed) == Some(self.revision)
    }
}

/// What PostgreSQL is told, but for which rows. Of `unnest` in FROM it would first keep each array as a table.
const POSTGRES: &str = "UPDATE worker SET revision = $1, last_seen = $2, sequence = NULLIF(beat.sequence, -1), \
    used_cpu_cores = beat.cpu_cores, used_memory_mb = beat.memory_mb, used_disk_gb = beat.disk_gb, \
    inventory_revision = CASE WHEN beat.inventory THEN $1 ELSE worker.inventory_revision END \
    FROM (SELECT unnest($3::text[]) AS id, unnest($4::bigint[]) AS sequence, unnest($5::bigint[]) AS cpu_cores, \
    unnest($6::bigint[]) AS memory_mb, unnest($7::bigint[]) AS disk_gb, unnest($8::boolean[]) AS inventory) AS beat";

/// Values of a row on SQLite.
const ROW: usize = 6;

/// What SQLite is told, with places for so many rows. It calls the columns of values `column1`, `column2` and so on.
fn sqlite(places: usize) -> String {
    let row = format!("({})", ["?"; ROW].join(", "));
    let others = format!("{row}, ").repeat(places - 1);
    format!(
        "UPDATE worker SET revision = ?, last_seen = ?, \
         inventory_revision = CASE WHEN column6 THEN ? ELSE worker.inventory_revision END, \
         sequence = column2, used_cpu_cores = column3, used_memory_mb = column4, used_disk_gb = column5 \
         FROM (VALUES {others}{row}) WHERE worker.id = column1"
    )
}

/// For how many rows there are places, if so many are needed: at most half as many again. So there are few texts, each of
/// which is prepared once.
fn places(rows: usize) -> usize {
    let power = rows.next_power_of_two();
    if rows * 4 <= power * 3 { power / 4 * 3 } else { power }
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn there_are_places_for_all_rows_and_few_numbers_of_places() {
        let numbers: std::collections::BTreeSet<_> = (1..=512).map(places).collect();
        assert!(numbers.len() < 20, "{numbers:?}");
        assert!((1..=512).all(|rows| (rows..=rows + rows / 2).contains(&places(rows))), "{numbers:?}");
    }
}
