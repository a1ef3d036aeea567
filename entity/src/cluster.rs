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
    /// The change log is pruned through this revision, or is about to be: of what came before, at most events are left
    /// that operators caused, and nobody who follows all events can resume before it.
    pub events_pruned_through: i64,
    /// Events that operators did not cause are deleted through this revision. It is not after `events_pruned_through`,
    /// and before it only while rows are being deleted, or after a crash in the middle of that.
    pub events_deleted_through: i64,
    /// Events that operators caused are pruned through this revision, too, or are about to be. It is not after
    /// `events_pruned_through`.
    pub operator_events_pruned_through: i64,
    /// Every incarnation that is handed out is above this: 0, until the database is set back to an earlier state, or a
    /// tombstone is removed, and the last incarnation of its worker with it.
    pub incarnation_floor: i64,
    /// Tombstones of workers that were purged up to this revision may have been removed: a server whose state is older does
    /// not learn from the others which workers are gone.
    pub tombstones_pruned_through: i64,
    /// Tokens may have been removed at this revision or before it: a server whose state is older compares its tokens with
    /// those that there are.
    pub tokens_pruned_through: i64,
    /// Revision of the last change to a reservation: a server whose state is not older has no need to look for changes.
    pub reservations_revision: i64,
    /// Reservations may have been removed at this revision or before it: a server whose state is older compares its
    /// reservations with those that there are.
    pub reservations_pruned_through: i64,
}

/// No relations: nothing refers to the cluster.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Raises the number that incarnations handed out from now on are above, never lowers it.
    pub fn raise_incarnation_floor(floor: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::IncarnationFloor, Expr::value(floor))
            .filter(Column::Id.eq(ID))
            .filter(Column::IncarnationFloor.lt(floor))
    }

    /// Raises the revision through which tombstones are pruned, never lowers it.
    pub fn mark_tombstones_pruned(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::TombstonesPrunedThrough, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::TombstonesPrunedThrough.lt(revision))
    }

    /// Raises the revision through which the change log is pruned, never lowers it.
    pub fn mark_events_pruned(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::EventsPrunedThrough, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::EventsPrunedThrough.lt(revision))
    }

    /// Raises the revision through which events that operators did not cause are deleted from one to another. It stays
    /// as it is if it is below the first one: then the database was restored, and has rows again that were deleted.
    pub fn mark_events_deleted(from: i64, to: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::EventsDeletedThrough, Expr::value(to))
            .filter(Column::Id.eq(ID))
            .filter(Column::EventsDeletedThrough.gte(from))
            .filter(Column::EventsDeletedThrough.lt(to))
    }

    /// Raises the revision through which events that operators caused are pruned, never lowers it.
    pub fn mark_operator_events_pruned(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::OperatorEventsPrunedThrough, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::OperatorEventsPrunedThrough.lt(revision))
    }

    /// Raises the revision of the last change to a reservation, never lowers it.
    pub fn mark_reservations_changed(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::ReservationsRevision, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::ReservationsRevision.lt(revision))
    }

    /// Raises the revision through which reservations may have been removed, never lowers it.
    pub fn mark_reservations_pruned(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::ReservationsPrunedThrough, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::ReservationsPrunedThrough.lt(revision))
    }

    /// Raises the revision through which tokens may have been removed, never lowers it.
    pub fn mark_tokens_pruned(revision: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::TokensPrunedThrough, Expr::value(revision))
            .filter(Column::Id.eq(ID))
            .filter(Column::TokensPrunedThrough.lt(revision))
    }
}
