//! Drains: that an operator wanted a worker to take no new VMs, and what came of it. A worker has any number of them, of
//! which at most the last one stands. How long they are kept is decided by `journal::retention`.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{DeleteMany, FromJsonQueryResult, Select};
use serde::{Deserialize, Serialize};

use crate::worker;

/// A drain of a worker.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "drain")]
pub struct Model {
    /// The worker.
    #[sea_orm(primary_key, auto_increment = false)]
    pub worker_id: String,
    /// Which drain of the worker it is, from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// Why.
    pub reason: Option<String>,
    /// What operators noted with it.
    pub metadata: Metadata,
    /// Who began it.
    pub started_by: Option<String>,
    /// Id of the token with which it was begun.
    pub started_by_token_id: Option<String>,
    /// Name of that token.
    pub started_by_name: Option<String>,
    /// When it began.
    pub started_at: Option<DateTimeUtc>,
    /// Revision of the commit that began it.
    pub start_revision: i64,
    /// The length of the time in which it shall be complete, in milliseconds.
    pub deadline_ms: Option<i64>,
    /// When that time ends.
    pub deadline_at: Option<DateTimeUtc>,
    /// Revision of the first heartbeat of the worker's present process since it began.
    pub notified_revision: Option<i64>,
    /// When the worker's present process acknowledged it.
    pub acknowledged_at: Option<DateTimeUtc>,
    /// When no VM held a slot any more.
    pub completed_at: Option<DateTimeUtc>,
    /// When it was announced that its time has ended.
    pub overdue_at: Option<DateTimeUtc>,
    /// When the worker was activated.
    pub ended_at: Option<DateTimeUtc>,
    /// Who activated it.
    pub ended_by: Option<String>,
    /// Id of the token with which it was activated.
    pub ended_by_token_id: Option<String>,
    /// Name of that token.
    pub ended_by_name: Option<String>,
    /// Why it was activated.
    pub end_reason: Option<String>,
    /// How many VMs held a slot when it began.
    pub initial_vms: Option<i64>,
    /// Revision of the last change to this row.
    pub revision: i64,
}

/// Texts by key, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Metadata(pub BTreeMap<String, String>);

/// No relations: rows are read table by table.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The last drain of each worker, if it changed after a revision.
    pub fn latest_changed_since(revision: i64) -> Select<Self> {
        let latest = Query::select()
            .columns([worker::Column::Id, worker::Column::DrainNumber])
            .from(worker::Entity)
            .and_where(worker::Column::DrainRevision.gt(revision))
            .to_owned();
        Self::find().filter(Self::key().in_subquery(latest))
    }

    /// Removes some of the drains that ended before a time, of which none is the last one of its worker.
    pub fn remove_ended_before(time: DateTimeUtc, most: u64) -> DeleteMany<Self> {
        let is_last = Query::select()
            .expr(Expr::val(1))
            .from(worker::Entity)
            .and_where(Expr::col((worker::Entity, worker::Column::Id)).equals((Self, Column::WorkerId)))
            .and_where(Expr::col((worker::Entity, worker::Column::DrainNumber)).equals((Self, Column::Number)))
            .to_owned();
        let old = Query::select()
            .columns([Column::WorkerId, Column::Number])
            .from(Self)
            .and_where(Expr::col((Self, Column::EndedAt)).lt(time))
            .and_where(Expr::exists(is_last).not())
            .limit(most)
            .to_owned();
        Self::delete_many().filter(Self::key().in_subquery(old))
    }

    fn key() -> Expr {
        Expr::tuple([Expr::col(Column::WorkerId), Expr::col(Column::Number)])
    }
}
