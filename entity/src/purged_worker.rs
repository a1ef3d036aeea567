//! Workers that were removed with their history: what is left of them is the number of their last
//! life and the boot ids of those before it, so that a later worker of the same id can never be taken for the old one.

use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, Select};

use crate::worker::Boots;

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
    pub earlier_boot_ids: Boots,
    /// On which start of its host its last life was.
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
