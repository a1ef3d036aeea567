//! The history of drains, read from the database. The drain that stands, and the last one, are part of the state.

use std::collections::HashMap;
use std::sync::Arc;

use entity::drain;
use sea_orm::{ConnectionTrait as _, DbBackend, FromQueryResult as _, Statement};

use super::database::Database;
use super::rows::{read_drain, signed};
use crate::cluster::Drain;
use crate::error::Result;

/// Up to `limit` drains of each of these workers, the latest first, before a number: one statement, however many workers.
pub async fn latest_drains(
    database: &Database,
    worker_ids: &[Arc<str>],
    limit: u64,
    before: Option<u64>,
) -> Result<HashMap<Arc<str>, Vec<Arc<Drain>>>> {
    let backend = database.backend();
    // An index lookup for each worker, as with events.
    let by_worker = match backend {
        DbBackend::Sqlite => {
            "json_each(?1) AS wanted CROSS JOIN drain ON drain.rowid IN ( \
               SELECT past.rowid FROM drain AS past WHERE past.worker_id = wanted.value AND past.number < ?2 \
               ORDER BY past.number DESC LIMIT ?3)"
        }
        _ => {
            "json_array_elements_text($1::json) AS wanted(id) CROSS JOIN LATERAL ( \
               SELECT past.* FROM drain AS past WHERE past.worker_id = wanted.id AND past.number < $2 \
               ORDER BY past.number DESC LIMIT $3) AS drain"
        }
    };
    let sql = format!("SELECT drain.* FROM {by_worker} ORDER BY drain.worker_id, drain.number DESC");
    let ids = serde_json::json!(worker_ids).to_string();
    let values = [ids.into(), before.map_or(i64::MAX, signed).into(), signed(limit).into()];
    let rows = database.readers().query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    let mut by_worker = HashMap::<Arc<str>, Vec<Arc<Drain>>>::new();
    for row in &rows {
        let row = drain::Model::from_query_result(row, "")?;
        let worker_id = row.worker_id.as_str().into();
        by_worker.entry(worker_id).or_default().push(Arc::new(read_drain(row)?));
    }
    Ok(by_worker)
}
