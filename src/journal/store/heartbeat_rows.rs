//! The rows of plain heartbeats, which are nearly everything that is ever written.
//!
//! A plain heartbeat changes a worker's own numbers and none of its VMs. Those of one batch share their time and their
//! revision, so a row is six values. PostgreSQL is given them column by column, as arrays; SQLite value by value. All
//! [other rows](super::bulk_statements) come as JSON, and parsing that is a third of PostgreSQL's work on a row, and
//! for SQLite twice the work of writing it. Which heartbeats are plain is decided by the [`Batch`].

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};

use super::rows::signed;
use crate::clock::{Timestamp, with_milliseconds};
use crate::cluster::Worker;
use crate::journal::batch::Batch;

/// Most rows that are given value by value to one statement. In a larger one a row costs as much, and each number of
/// [`places`] is a prepared statement that is kept.
const MAX_BOUND_ROWS: usize = 512;

/// Stands for a worker without a sequence number, here and in [`POSTGRES`]: sea-orm's arrays hold no NULL, and no
/// number is negative.
const NO_SEQUENCE: i64 = -1;

/// The plain heartbeats of a batch.
pub struct HeartbeatRows<'a> {
    workers: Vec<&'a Worker>,
    revision: i64,
    at: Timestamp,
}

impl<'a> HeartbeatRows<'a> {
    pub fn of(batch: &'a Batch<'_>) -> Self {
        Self { workers: batch.plain_heartbeats().collect(), revision: signed(batch.revision), at: batch.at }
    }

    /// Writes them as a part of a batch.
    pub async fn write(&self, transaction: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.workers.is_empty() {
            return Ok(());
        }
        let backend = transaction.get_database_backend();
        if backend == DbBackend::Postgres {
            let sql = format!("{POSTGRES} WHERE worker.id = heartbeat.id");
            transaction.execute_raw(Statement::from_sql_and_values(backend, sql, self.arrays())).await?;
            return Ok(());
        }
        for workers in self.workers.chunks(MAX_BOUND_ROWS) {
            let (sql, values) = (sqlite(places(workers.len())), self.values(workers));
            // SQLite takes a value that is missing for NULL, and those behind it for their neighbours.
            debug_assert_eq!(values.len(), sql.matches('?').count(), "there is a value for each place");
            transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        }
        Ok(())
    }

    /// Writes them on PostgreSQL as a whole batch. It is one statement, and so a transaction by itself: it raises the
    /// revision of the cluster to the batch's if that is the next one in this epoch, and changes rows only then.
    /// Answers whether it did.
    pub async fn write_as_batch(&self, connection: &impl ConnectionTrait, epoch: &str) -> Result<bool, DbErr> {
        debug_assert!(!self.workers.is_empty(), "a revision is for something");
        // The row of the cluster is locked as by any other batch. A server that had to wait for the lock finds another
        // revision.
        let sql = format!(
            "WITH turn AS (UPDATE cluster SET revision = $1 WHERE id = 1 AND revision = $1 - 1 AND epoch = $9 RETURNING revision), \
             changed AS ({POSTGRES} WHERE worker.id = heartbeat.id AND EXISTS (SELECT FROM turn)) SELECT revision FROM turn"
        );
        let mut values = self.arrays();
        values.push(epoch.into());
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        Ok(connection.query_one_raw(statement).await?.is_some())
    }

    /// The parameters of [`POSTGRES`].
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

    /// The parameters of [`sqlite`]. The places that are left get the last row again, which changes nothing.
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

/// The statement for PostgreSQL, without the condition on rows. `unnest` stands in the SELECT, because PostgreSQL would
/// materialize each array of an `unnest` in FROM.
const POSTGRES: &str = "UPDATE worker SET revision = $1, last_seen = $2, sequence = NULLIF(heartbeat.sequence, -1), \
    used_cpu_cores = heartbeat.cpu_cores, used_memory_mb = heartbeat.memory_mb, used_disk_gb = heartbeat.disk_gb, \
    inventory_revision = CASE WHEN heartbeat.inventory THEN $1 ELSE worker.inventory_revision END \
    FROM (SELECT unnest($3::text[]) AS id, unnest($4::bigint[]) AS sequence, unnest($5::bigint[]) AS cpu_cores, \
    unnest($6::bigint[]) AS memory_mb, unnest($7::bigint[]) AS disk_gb, unnest($8::boolean[]) AS inventory) AS heartbeat";

/// Values of a row on SQLite.
const ROW: usize = 6;

/// The statement for SQLite, with places for so many rows. SQLite calls the columns of VALUES `column1`, `column2` and
/// so on.
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

/// How many rows a statement has places for if so many are needed: at most half as many again. So there are few
/// statements, each of which is prepared once.
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
