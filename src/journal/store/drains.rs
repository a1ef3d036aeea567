//! The history of drains, read from the database. The drain that stands, and the last one, are part of the state.

use std::collections::HashMap;
use std::sync::Arc;

use entity::drain;
use sea_orm::{ConnectionTrait as _, DbBackend, FromQueryResult as _, Statement};

use super::database::Database;
use super::rows::{read_drain, signed};
use crate::cluster::Drain;
use crate::error::Result;

/// Up to `limit` drains of each of these workers, the latest first, before a number of each: one statement, however many
/// workers.
pub async fn latest_drains(
    database: &Database,
    workers: &[(Arc<str>, u64)],
    limit: u64,
) -> Result<HashMap<Arc<str>, Vec<Arc<Drain>>>> {
    let backend = database.backend();
    // An index lookup for each worker, as with events.
    let by_worker = match backend {
        DbBackend::Sqlite => {
            "json_each(?1) AS wanted CROSS JOIN drain ON drain.rowid IN ( \
               SELECT past.rowid FROM drain AS past WHERE past.worker_id = json_extract(wanted.value, '$[0]') \
               AND past.number < json_extract(wanted.value, '$[1]') ORDER BY past.number DESC LIMIT ?2)"
        }
        _ => {
            "json_array_elements($1::json) AS wanted(it) CROSS JOIN LATERAL ( \
               SELECT past.* FROM drain AS past WHERE past.worker_id = wanted.it->>0 \
               AND past.number < (wanted.it->>1)::bigint ORDER BY past.number DESC LIMIT $2) AS drain"
        }
    };
    let sql = format!("SELECT drain.* FROM {by_worker} ORDER BY drain.worker_id, drain.number DESC");
    let wanted: Vec<_> = workers.iter().map(|(id, before)| (id, signed(*before))).collect();
    let values = [serde_json::json!(wanted).to_string().into(), signed(limit).into()];
    let rows = database.readers().query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    let mut by_worker = HashMap::<Arc<str>, Vec<Arc<Drain>>>::new();
    for row in &rows {
        let row = drain::Model::from_query_result(row, "")?;
        let worker_id = row.worker_id.as_str().into();
        by_worker.entry(worker_id).or_default().push(Arc::new(read_drain(row)?));
    }
    Ok(by_worker)
}
