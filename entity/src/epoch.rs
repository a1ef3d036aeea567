//! Epochs of the database: a server begins one before its first commit, and whenever it finds that the database was set
//! back. A copy from a backup does not know those that began after it, so that cursors of what was lost are recognised.

use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, Select};

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "epoch")]
pub struct Model {
    /// Counts the epochs.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// Random: cursors carry it.
    pub name: String,
    /// The revision of the database when it began. Its own commits have higher ones.
    pub start_revision: i64,
}

/// No relations: it is about all commits.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// All that are remembered, oldest first.
    pub fn oldest_first() -> Select<Self> {
        Self::find().order_by_asc(Column::Number)
    }
}
