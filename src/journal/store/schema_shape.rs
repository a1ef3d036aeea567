//! The shape of the tables, and what is lost with what another shape does not have: what `aetherium migrate down` tells before
//! it takes a migration back.

use std::collections::BTreeMap;
use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};

/// Tables with their columns, each with the SQL of its default value.
pub(super) type Shape = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// What is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A table.
    Table {
        /// Its name.
        name: String,
        /// How many rows it has.
        rows: u64,
    },
    /// A column of a table that stays.
    Column {
        /// The table.
        table: String,
        /// Its name.
        name: String,
        /// How many rows have another value there than they would have by default.
        rows: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |rows: u64| if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        match self {
            Self::Table { name, rows: count } => write!(f, "table {name}, {}", rows(*count)),
            Self::Column { table, name, rows: count } => {
                write!(f, "column {table}.{name}, its value in {}", rows(*count))
            }
        }
    }
}

/// Reads the shape of all tables.
pub(super) async fn read_shape(connection: &impl ConnectionTrait) -> Result<Shape, DbErr> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT columns.table_name::text AS table_name, columns.column_name::text AS column_name, \
             columns.column_default::text AS column_default \
             FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) \
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
        }
        _ => {
            "SELECT tables.name AS table_name, columns.name AS column_name, columns.dflt_value AS column_default \
             FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns \
             WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        }
    };
    let mut shape = Shape::new();
    for row in connection.query_all_raw(Statement::from_string(backend, sql)).await? {
        let table: String = row.try_get("", "table_name")?;
        shape.entry(table).or_default().insert(row.try_get("", "column_name")?, row.try_get("", "column_default")?);
    }
    Ok(shape)
}

/// What is in one shape and not in the other, with how much there is of it in the database now. On PostgreSQL, the tables that
/// lose something are locked until the end of the transaction, so that this stays true; on SQLite all are.
pub(super) async fn losses(
    transaction: &DatabaseTransaction,
    before: &Shape,
    after: &Shape,
) -> Result<Vec<Loss>, DbErr> {
    let backend = ConnectionTrait::get_database_backend(transaction);
    let mut lost = Vec::new();
    for (table, columns) in before {
        let loses = after.get(table).is_none_or(|left| columns.keys().any(|column| !left.contains_key(column)));
        if loses && backend == DbBackend::Postgres {
            transaction.execute_unprepared(&format!("LOCK TABLE \"{table}\" IN ACCESS EXCLUSIVE MODE")).await?;
        }
        let Some(left) = after.get(table) else {
            let rows = count(transaction, &format!("SELECT count(*) AS rows FROM \"{table}\"")).await?;
            lost.push(Loss::Table { name: table.clone(), rows });
            continue;
        };
        for (column, default) in columns.iter().filter(|(column, _)| !left.contains_key(*column)) {
            let default = default.as_deref().unwrap_or("NULL");
            let differs = match backend {
                DbBackend::Postgres => "IS DISTINCT FROM",
                _ => "IS NOT",
            };
            let sql = format!("SELECT count(*) AS rows FROM \"{table}\" WHERE \"{column}\" {differs} ({default})");
            let rows = count(transaction, &sql).await?;
            lost.push(Loss::Column { table: table.clone(), name: column.clone(), rows });
        }
    }
    Ok(lost)
}

async fn count(connection: &impl ConnectionTrait, sql: &str) -> Result<u64, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?;
    let rows: i64 = row.map(|row| row.try_get("", "rows")).transpose()?.unwrap_or(0);
    Ok(u64::try_from(rows).unwrap_or(0))
}
