//! The SeaORM entity of the table `vm`: VMs as workers report them. During a migration two workers may report the same
//! VM, so the key is worker and VM; which of both reports is shown is decided by `cluster::snapshot`.

use sea_orm::entity::prelude::*;
use sea_orm::{DbBackend, Statement};

/// One worker's report of one VM.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "vm")]
pub struct Model {
    /// Who reports it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub worker_id: String,
    /// The VM.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Name given by whoever created it.
    pub name: String,
    /// What it is doing.
    pub status: String,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// Memory in MiB.
    pub memory_mb: i64,
    /// Revision of the last change to this report.
    pub revision: i64,
    /// When the server first heard of the VM.
    pub created_at: DateTimeUtc,
    /// When it began to run for the last time.
    pub started_at: Option<DateTimeUtc>,
    /// Since when it has its status.
    pub status_since: DateTimeUtc,
    /// What its worker says of it.
    pub note: Option<String>,
    /// The reservation that it takes.
    pub reservation_id: Option<String>,
}

/// No relations: rows are read table by table.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// All VMs of the workers whose set of VMs changed after a revision: a row for each of these workers, of its id and
    /// a JSON text, which is a list of lists of what the columns have after that. Whole sets, since a VM that is gone
    /// has no row that could say so. A row for each VM would take several times as long to read: drivers copy each
    /// value of each.
    pub fn of_workers_changed_since(backend: DbBackend, revision: i64) -> Statement {
        const COLUMNS: &str =
            "id, name, status, vcpus, memory_mb, revision, created_at, started_at, status_since, note, reservation_id";
        let (vms, place) = match backend {
            DbBackend::Sqlite => (format!("json_group_array(json_array({COLUMNS}))"), "?1"),
            _ => (format!("json_agg(json_build_array({COLUMNS}))::text"), "$1"),
        };
        if revision == 0 {
            let sql = format!("SELECT worker_id, {vms} FROM vm GROUP BY worker_id ORDER BY worker_id");
            return Statement::from_string(backend, sql);
        }
        let sql = format!(
            "SELECT worker_id, {vms} FROM vm \
             WHERE worker_id IN (SELECT worker.id FROM worker WHERE worker.vms_revision > {place}) \
             GROUP BY worker_id ORDER BY worker_id"
        );
        Statement::from_sql_and_values(backend, sql, [revision.into()])
    }
}
