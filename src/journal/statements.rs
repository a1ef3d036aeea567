//! The bulk statements of a batch.
//!
//! One statement per writer of a table, however many rows: each takes all its rows as one JSON
//! parameter (`json_to_recordset` on PostgreSQL, `jsonb_each` on SQLite), so that its text is the
//! same for every batch and is prepared once. Measured against one statement per row in the same
//! transaction, this commits ten times more rows per second.
//!
//! What comes by the thousand every second is given to SQLite value by value, one statement for each 512 rows
//! ([`Update::run_often`]).

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement, Value};
use serde::Serialize;

/// Type of a column, as the two databases have to be told.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Text,
    Integer,
    Time,
    Json,
}

/// A column that a statement takes from its rows.
pub(super) type Column = (&'static str, Type);

/// Inserts rows; those whose key is there already get the columns of `update` instead.
pub(super) struct Upsert {
    pub table: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
    pub update: &'static [&'static str],
}

/// Changes the columns of rows that are there.
pub(super) struct Update {
    pub table: &'static str,
    pub key: &'static str,
    pub columns: &'static [Column],
}

/// Removes rows.
pub(super) struct Delete {
    pub table: &'static str,
    pub key: &'static [Column],
}

impl Upsert {
    pub(super) async fn run(&self, transaction: &DatabaseTransaction, rows: &[impl Serialize]) -> Result<(), DbErr> {
        let Self { table, key, columns, update } = self;
        send(transaction, rows, |backend| {
            let names = list(columns.iter().map(|(name, _)| (*name).to_owned()));
            let values = list(columns.iter().map(|column| value(backend, column)));
            let from = from(backend, columns);
            // Without a WHERE, SQLite would read ON as the condition of a join.
            let mut sql = format!(
                "INSERT INTO {table} ({names}) SELECT {values} FROM {from} WHERE true ON CONFLICT ({}) ",
                key.join(", ")
            );
            if update.is_empty() {
                sql.push_str("DO NOTHING");
            } else {
                let set = list(update.iter().map(|name| format!("{name} = excluded.{name}")));
                let _ = write!(sql, "DO UPDATE SET {set}");
            }
            sql
        })
        .await
    }
}

/// A row that can be given to a database value by value.
pub(super) trait Bind {
    /// Its key, then its columns in the order of the statement.
    fn bind(&self, values: &mut Vec<Value>);
}

/// Most rows that are given value by value to one statement.
const MOST_BOUND: usize = 512;

impl Update {
    /// The same as [`run`](Self::run), quicker on SQLite, to which reading a row from JSON is twice the work of writing it.
    ///
    /// The text then has places for a number of rows. So that there are few texts, each of which is prepared once, there
    /// are places for a few more rows than are needed, and the last row is given more than once, which changes nothing.
    pub(super) async fn run_often(
        &self,
        transaction: &DatabaseTransaction,
        rows: &[impl Serialize + Bind],
    ) -> Result<(), DbErr> {
        let backend = transaction.get_database_backend();
        if backend != DbBackend::Sqlite {
            return self.run(transaction, rows).await;
        }
        let Self { table, key, columns } = self;
        // SQLite calls the columns of values `column1`, `column2` and so on.
        let set = list(columns.iter().enumerate().map(|(at, column)| format!("{} = row.column{}", column.0, at + 2)));
        let row = format!("({})", list(columns.iter().map(|_| "?".to_owned()).chain(["?".to_owned()])));
        for rows in rows.chunks(MOST_BOUND) {
            let places = places(rows.len());
            let mut values = Vec::with_capacity(places * (1 + columns.len()));
            let last = rows.last().into_iter().cycle().take(places - rows.len());
            rows.iter().chain(last).for_each(|row| row.bind(&mut values));
            // SQLite takes a value that is missing for NULL, and those behind it for their neighbours.
            debug_assert_eq!(values.len(), places * (1 + columns.len()), "a row has a value for each column");
            let all = list(std::iter::repeat_n(row.clone(), places));
            let sql = format!("UPDATE {table} SET {set} FROM (VALUES {all}) AS row WHERE {table}.{key} = row.column1");
            transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        }
        Ok(())
    }

    pub(super) async fn run(&self, transaction: &DatabaseTransaction, rows: &[impl Serialize]) -> Result<(), DbErr> {
        send(transaction, rows, |backend| self.sql(backend)).await
    }

    /// The same on PostgreSQL as a whole batch: one statement, and so a transaction, which raises the revision of the
    /// cluster to this one if it is the one before, and changes the rows only then. Whether it was.
    pub(super) async fn run_as_batch(
        &self,
        connection: &impl ConnectionTrait,
        rows: &[impl Serialize],
        revision: i64,
    ) -> Result<bool, DbErr> {
        let backend = connection.get_database_backend();
        // The row of the cluster is locked as by any other batch. Whoever had to wait for it finds another revision.
        let sql = format!(
            "WITH turn AS (UPDATE cluster SET revision = $2 WHERE id = 1 AND revision = $2 - 1 RETURNING revision), \
             changed AS ({} AND EXISTS (SELECT FROM turn)) SELECT revision FROM turn",
            self.sql(backend)
        );
        let values = [as_json(rows)?, revision.into()];
        Ok(connection.query_one_raw(Statement::from_sql_and_values(backend, sql, values)).await?.is_some())
    }

    fn sql(&self, backend: DbBackend) -> String {
        let Self { table, key, columns } = self;
        let key = (*key, Type::Text);
        let set = list(columns.iter().map(|column| format!("{} = {}", column.0, value(backend, column))));
        let from = from(backend, &[&[key], *columns].concat());
        format!("UPDATE {table} SET {set} FROM {from} WHERE {table}.{} = {}", key.0, value(backend, &key))
    }
}

impl Delete {
    pub(super) async fn run(&self, transaction: &DatabaseTransaction, rows: &[impl Serialize]) -> Result<(), DbErr> {
        let Self { table, key } = self;
        send(transaction, rows, |backend| {
            let names = list(key.iter().map(|(name, _)| (*name).to_owned()));
            let values = list(key.iter().map(|column| value(backend, column)));
            format!("DELETE FROM {table} WHERE ({names}) IN (SELECT {values} FROM {})", from(backend, key))
        })
        .await
    }
}

/// For how many rows there are places, if so many are needed: at most half as many again.
fn places(rows: usize) -> usize {
    let power = rows.next_power_of_two();
    if rows * 4 <= power * 3 { power / 4 * 3 } else { power }
}

async fn send(
    transaction: &DatabaseTransaction,
    rows: &[impl Serialize],
    sql: impl FnOnce(DbBackend) -> String,
) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    transaction.execute_raw(Statement::from_sql_and_values(backend, sql(backend), [as_json(rows)?])).await?;
    Ok(())
}

/// The rows as a parameter.
fn as_json(rows: &[impl Serialize]) -> Result<Value, DbErr> {
    Ok(serde_json::to_string(rows).map_err(|error| DbErr::Json(error.to_string()))?.into())
}

/// The rows as a table named `row`. With `json_each`, SQLite would write each row out as text and read it again.
fn from(backend: DbBackend, columns: &[Column]) -> String {
    match backend {
        DbBackend::Sqlite => "jsonb_each(?) AS row".to_owned(),
        _ => {
            let columns = list(columns.iter().map(|(name, kind)| {
                let kind = match kind {
                    Type::Text => "text",
                    Type::Integer => "bigint",
                    Type::Time => "timestamptz",
                    Type::Json => "jsonb",
                };
                format!("{name} {kind}")
            }));
            format!("json_to_recordset($1::json) AS row({columns})")
        }
    }
}

/// A column of `row`.
fn value(backend: DbBackend, (name, _): &Column) -> String {
    match backend {
        DbBackend::Sqlite => format!("row.value ->> '{name}'"),
        _ => format!("row.{name}"),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
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
