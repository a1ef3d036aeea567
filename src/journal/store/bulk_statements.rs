//! Bulk statements: inserts, updates and deletes of any number of rows.
//!
//! A statement takes all its rows as one JSON parameter (`json_to_recordset` on PostgreSQL, `jsonb_each` on SQLite), so
//! that its text is the same for every batch and is prepared once. Measured against one statement per row in the same
//! transaction, this commits ten times more rows per second. Which tables and columns are written is in
//! [`write_batch`](super::write_batch).
//!
//! Plain heartbeats, of which thousands come every second, have statements of their own:
//! [`heartbeat_rows`](super::heartbeat_rows).

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};
use serde::Serialize;

/// Type of a column.
#[derive(Clone, Copy)]
pub enum Type {
    Text,
    Integer,
    Time,
    Json,
}

/// A column that a statement takes from its rows.
pub type Column = (&'static str, Type);

/// Inserts rows; those whose key is there already get the columns of `update` instead.
pub struct Upsert {
    pub table: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
    pub update: &'static [&'static str],
}

/// Changes the columns of rows that are there.
pub struct Update {
    pub table: &'static str,
    pub key: &'static str,
    pub columns: &'static [Column],
}

/// Removes rows.
pub struct Delete {
    pub table: &'static str,
    pub key: &'static [Column],
}

impl Upsert {
    pub async fn run(&self, transaction: &DatabaseTransaction, rows: &[impl Serialize]) -> Result<(), DbErr> {
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

impl Update {
    pub async fn run(&self, transaction: &DatabaseTransaction, rows: &[impl Serialize]) -> Result<(), DbErr> {
        let Self { table, key, columns } = self;
        send(transaction, rows, |backend| {
            let key = (*key, Type::Text);
            let set = list(columns.iter().map(|column| format!("{} = {}", column.0, value(backend, column))));
            let from = from(backend, &[&[key], *columns].concat());
            format!("UPDATE {table} SET {set} FROM {from} WHERE {table}.{} = {}", key.0, value(backend, &key))
        })
        .await
    }
}

impl Delete {
    pub async fn run(&self, transaction: &DatabaseTransaction, rows: &[impl Serialize]) -> Result<(), DbErr> {
        let Self { table, key } = self;
        send(transaction, rows, |backend| {
            let names = list(key.iter().map(|(name, _)| (*name).to_owned()));
            let values = list(key.iter().map(|column| value(backend, column)));
            format!("DELETE FROM {table} WHERE ({names}) IN (SELECT {values} FROM {})", from(backend, key))
        })
        .await
    }
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
    let rows = serde_json::to_string(rows).map_err(|error| DbErr::Json(error.to_string()))?;
    transaction.execute_raw(Statement::from_sql_and_values(backend, sql(backend), [rows.into()])).await?;
    Ok(())
}

/// The rows as a table named `row`. With `json_each`, SQLite would serialize each row as text and parse it again.
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
