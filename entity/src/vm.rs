//! VMs, as workers report them: during a migration two workers may report the same VM, so the key
//! is worker and VM.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{QueryOrder, Select};

use crate::worker;

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
}

/// No relations: rows are read table by table.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// All VMs of the workers whose set of VMs changed after a revision, by worker and id. Whole
    /// sets, since a VM that is gone has no row that could say so.
    pub fn of_workers_changed_since(revision: i64) -> Select<Self> {
        let vms = Self::find().order_by_asc(Column::WorkerId).order_by_asc(Column::Id);
        if revision == 0 {
            return vms;
        }
        let workers = Query::select()
            .column(worker::Column::Id)
            .from(worker::Entity)
            .and_where(worker::Column::VmsRevision.gt(revision))
            .take();
        vms.filter(Column::WorkerId.in_subquery(workers))
    }
}
