//! Reservations: room that is held on workers for VMs that are not there yet.

use sea_orm::entity::prelude::*;
use sea_orm::{FromJsonQueryResult, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reservation")]
pub struct Model {
    /// Its id; those of later reservations sort behind those of earlier ones.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Virtual CPUs of each VM.
    pub vcpus: i64,
    /// Memory of each VM, in MiB.
    pub memory_mb: i64,
    /// Disk of each VM, in GB.
    pub disk_gb: i64,
    /// A slot for each VM.
    pub slots: Slots,
    /// Why it was made.
    pub reason: Option<String>,
    /// Id of the token with which it was made.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: DateTimeUtc,
    /// When it expires, or would have.
    pub expires_at: DateTimeUtc,
    /// What became of it.
    pub state: String,
    /// When it ended.
    pub ended_at: Option<DateTimeUtc>,
    /// Revision of its last change.
    pub revision: i64,
}

/// The slots of a reservation, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Slots(pub Vec<Slot>);

/// The room for one VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The worker.
    pub worker_id: String,
    /// The VM that it is for, or that has taken it.
    pub vm_id: Option<String>,
    /// What became of it.
    pub state: String,
}

/// No relations: workers and tokens that are named may be gone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Reservations that have changed after a revision, by id.
    pub fn changed_since(revision: i64) -> Select<Self> {
        Self::find().filter(Column::Revision.gt(revision)).order_by_asc(Column::Id)
    }

    /// The ids of all reservations.
    pub fn ids() -> Select<Self> {
        Self::find().select_only().column(Column::Id)
    }
}
