//! Tombstones: what is left for a while of a worker that was removed. By its last incarnation a later worker of the id is
//! told from it, and by the boot ids of its process a registration that comes late.

use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, Select};

use crate::worker::{BootIds, HostBoots};

/// A worker that was removed.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "purged_worker")]
pub struct Model {
    /// The id it had.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Its last incarnation.
    pub incarnation: i64,
    /// What its last life called its start: its process may be there still, and register again.
    pub boot_id: Option<String>,
    /// Starts of its process that were over when it was removed, the latest last.
    pub earlier_boot_ids: BootIds,
    /// Of those, which start of its host each belonged to, if it said so.
    pub earlier_host_boots: HostBoots,
    /// Which start of its host its last life belonged to, if it said so.
    pub host_boot_id: Option<String>,
    /// When it was removed; none if that was before this was kept.
    pub purged_at: Option<DateTimeUtc>,
    /// Revision of its removal.
    pub revision: i64,
}

/// No relations: what they referred to is gone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Workers removed after a revision, by id.
    pub fn removed_since(revision: i64) -> Select<Self> {
        Self::find().filter(Column::Revision.gt(revision)).order_by_asc(Column::Id)
    }
}
