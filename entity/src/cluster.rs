//! The one row about the cluster as a whole.

use sea_orm::UpdateMany;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;

/// Key of the one row.
pub const ID: i32 = 1;

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "cluster")]
pub struct Model {
    /// Always [`ID`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// Name of the last epoch, so that a server finds with each commit whether there is one it does not know.
    pub epoch: String,
    /// Revision of the last commit. Every writing transaction raises it first, which on PostgreSQL
    /// also makes the transactions of several servers wait for each other.
    pub revision: i64,
    /// Entries of the change log up to this revision may have been removed: nobody can resume before it.
    pub log_start: i64,
    /// Every incarnation that is handed out is above this: 0, until the database is set back to an earlier state, or a
    /// tombstone is removed, and the last incarnation of its worker with it.
    pub incarnation_floor: i64,
    /// Tombstones of workers that were purged up to this revision may have been removed: what a server knows of an earlier
    /// one is not brought up to date by those that are left.
    pub tombstones_since: i64,
}

/// No relations: nothing refers to the cluster.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Raises the incarnations that are handed out from now on above a number, never lowers them.
    pub fn raise_incarnation_floor(floor: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::IncarnationFloor, Expr::value(floor))
            .filter(Column::Id.eq(ID))
            .filter(Column::IncarnationFloor.lt(floor))
    }

    /// Moves the revision up to which tombstones may have been removed on, never back.
    pub fn move_tombstones_since(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::TombstonesSince, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::TombstonesSince.lt(revision))
    }

    /// Moves the beginning of the change log on, never back.
    pub fn move_log_start(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::LogStart, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::LogStart.lt(revision))
    }
}
