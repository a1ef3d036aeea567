//! Tombstones: what is left for a while of a worker that was purged. A later worker of its id counts on from its last
//! incarnation, and a registration that arrives late is recognised by the boot ids of its process and refused. How long they
//! are kept is decided by `journal::retention`.

use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, Select};

use crate::worker::{BootIds, HostBoots};

/// A worker that was purged.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "worker_tombstone")]
pub struct Model {
    /// The worker's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Its last incarnation.
    pub incarnation: i64,
    /// Boot id of its last incarnation, whose process may still run and register again.
    pub boot_id: Option<String>,
    /// Boot ids of its earlier incarnations, the latest last.
    pub earlier_boot_ids: BootIds,
    /// The boot id of the host that each of those ran on, if its process said so.
    pub earlier_host_boot_ids: HostBoots,
    /// Boot id of the host that its last incarnation ran on, if its process said so.
    pub host_boot_id: Option<String>,
    /// When it was purged.
    pub purged_at: DateTimeUtc,
    /// Revision of the commit that purged it.
    pub revision: i64,
}

/// No relations: what they referred to is gone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Workers purged after a revision, by id.
    pub fn purged_since(revision: i64) -> Select<Self> {
        Self::find().filter(Column::Revision.gt(revision)).order_by_asc(Column::Id)
    }
}
