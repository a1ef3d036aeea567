//! The rows of the change log, and the SQL words by which they are asked for, filtered, put in order and removed.
//!
//! What an event means, and the same filter for streams, is in `src/cluster/event.rs`; pages are read in
//! `src/journal/store/events.rs`, and how long a row is kept is decided in `src/journal/retention.rs`.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query};
use sea_orm::{DeleteMany, QueryOrder, QuerySelect, Select, UpdateMany};

use crate::cluster;

/// The word for an operator in the column `actor`.
const OPERATOR: &str = "operator";

/// The condition of the partial indexes of entries that operators caused, as the migration spells it: a database does
/// not use such an index for a condition with a parameter in it.
const BY_OPERATORS: &str = "actor = 'operator'";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event")]
pub struct Model {
    /// Revision of the commit it belongs to.
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    /// Its place in that commit, counted from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// When it was committed.
    pub at: DateTimeUtc,
    /// What kind of thing happened.
    pub kind: String,
    /// The worker it is about.
    pub worker_id: Option<String>,
    /// The VM it is about.
    pub vm_id: Option<String>,
    /// The reservation it is about.
    pub reservation_id: Option<String>,
    /// Who caused it.
    pub actor: Option<String>,
    /// Id of the token of who caused it.
    pub actor_token_id: Option<String>,
    /// Name of that token.
    pub actor_name: Option<String>,
    /// Id of the request that caused it.
    pub request_id: Option<String>,
    /// IP address from which that came.
    pub address: Option<String>,
    /// The reason that was given.
    pub reason: Option<String>,
    /// What happened, as a sentence.
    pub message: String,
    /// The name that the VM had then.
    pub vm_name: Option<String>,
    /// The status that the VM had after it.
    pub vm_status: Option<String>,
    /// The status that the VM had before it.
    pub previous_status: Option<String>,
    /// The zone in which the worker was then; empty if it was in none.
    pub zone: Option<String>,
}

/// No relations: workers and VMs may be gone while the log still speaks of them.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Entries after a place in the log, oldest first.
    pub fn after(revision: i64, position: i64) -> Select<Self> {
        Self::oldest_first().filter(Self::is_after(revision, position))
    }

    /// Keeps entries after a place in the log. Both columns are compared as one row value: the primary key's index then
    /// begins at the place, while for `revision > r OR (revision = r AND position > p)` it is read from its start.
    pub fn is_after(revision: i64, position: i64) -> sea_orm::sea_query::SimpleExpr {
        place().gt(Expr::tuple([Expr::value(revision), Expr::value(position)]))
    }

    /// Keeps entries before a place in the log, likewise.
    pub fn is_before(revision: i64, position: i64) -> sea_orm::sea_query::SimpleExpr {
        place().lt(Expr::tuple([Expr::value(revision), Expr::value(position)]))
    }

    /// Keeps entries after the revision in a column of the cluster's row. The row is read by the same statement, so that
    /// both are of one moment.
    pub fn is_after_pruned(through: cluster::Column) -> sea_orm::sea_query::SimpleExpr {
        let mut row = Query::select();
        row.column(through).from(cluster::Entity).and_where(cluster::Column::Id.eq(cluster::ID));
        Expr::col(Column::Revision).gt(Expr::from(row))
    }

    /// Keeps entries from the first commit on that has one of this time or a later one. The index by time finds that
    /// commit, and the log is then read from there in its own order.
    pub fn is_since(moment: DateTimeUtc) -> sea_orm::sea_query::SimpleExpr {
        let mut first = Query::select();
        first
            .column(Column::Revision)
            .from(Entity)
            .and_where(Column::At.gte(moment))
            .order_by(Column::At, Order::Asc)
            .order_by(Column::Revision, Order::Asc)
            .limit(1);
        Expr::col(Column::Revision).gte(Expr::from(first))
    }

    /// Keeps entries up to the last commit that has one from before this time, likewise.
    pub fn is_until(moment: DateTimeUtc) -> sea_orm::sea_query::SimpleExpr {
        let mut last = Query::select();
        last.column(Column::Revision)
            .from(Entity)
            .and_where(Column::At.lt(moment))
            .order_by(Column::At, Order::Desc)
            .order_by(Column::Revision, Order::Desc)
            .limit(1);
        Expr::col(Column::Revision).lte(Expr::from(last))
    }

    /// Removes entries up to a revision.
    pub fn remove_up_to(revision: i64) -> DeleteMany<Self> {
        Self::delete_many().filter(Column::Revision.lte(revision))
    }

    /// Removes entries after one revision and up to another, except for those that operators caused.
    pub fn remove_others(after: i64, up_to: i64) -> DeleteMany<Self> {
        let by_others = Column::Actor.is_null().or(Column::Actor.ne(OPERATOR));
        Self::delete_many().filter(Column::Revision.gt(after)).filter(Column::Revision.lte(up_to)).filter(by_others)
    }

    /// Dates entries after one revision and up to another that are dated later than a moment to that moment.
    pub fn date_back(after: i64, up_to: i64, moment: DateTimeUtc) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::At, Expr::value(moment))
            .filter(Column::Revision.gt(after))
            .filter(Column::Revision.lte(up_to))
            .filter(Column::At.gt(moment))
    }

    /// All entries, oldest first.
    pub fn oldest_first() -> Select<Self> {
        Self::find().order_by_asc(Column::Revision).order_by_asc(Column::Position)
    }

    /// All entries, newest first.
    pub fn newest_first() -> Select<Self> {
        Self::find().order_by_desc(Column::Revision).order_by_desc(Column::Position)
    }

    /// Revisions of all entries, newest first, one for each entry.
    pub fn revisions_newest_first() -> Select<Self> {
        Self::find()
            .select_only()
            .column(Column::Revision)
            .order_by_desc(Column::Revision)
            .order_by_desc(Column::Position)
    }

    /// How many entries there are, as an `i64`. No column is read, so that the smallest index does.
    pub fn count_all() -> Select<Self> {
        Self::find().select_only().expr(Expr::cust("COUNT(*)"))
    }

    /// Keeps entries that operators caused, which have indexes of their own.
    pub fn by_operators() -> sea_orm::sea_query::SimpleExpr {
        Expr::cust(BY_OPERATORS)
    }

    /// Keeps entries about one of these workers.
    pub fn about_workers(ids: Vec<String>) -> sea_orm::sea_query::SimpleExpr {
        Expr::col(Column::WorkerId).is_in(ids)
    }

    /// Keeps entries about one of these VMs.
    pub fn about_vms(ids: Vec<String>) -> sea_orm::sea_query::SimpleExpr {
        Expr::col(Column::VmId).is_in(ids)
    }

    /// Keeps entries about a worker that was in one of these zones then.
    pub fn in_zones(zones: Vec<String>) -> sea_orm::sea_query::SimpleExpr {
        Expr::col(Column::Zone).is_in(zones)
    }

    /// Keeps entries that one of these caused.
    pub fn by_actors<'a>(actors: impl IntoIterator<Item = &'a str>) -> sea_orm::sea_query::SimpleExpr {
        Expr::col(Column::Actor).is_in(actors)
    }

    /// Keeps entries that somebody caused with one of these tokens.
    pub fn by_tokens(ids: Vec<String>) -> sea_orm::sea_query::SimpleExpr {
        Expr::col(Column::ActorTokenId).is_in(ids)
    }

    /// Keeps entries of one of these kinds.
    pub fn of_kinds<'a>(kinds: impl IntoIterator<Item = &'a str>) -> sea_orm::sea_query::SimpleExpr {
        Expr::col(Column::Kind).is_in(kinds)
    }
}

/// The place of an entry in the log, as one row value.
fn place() -> sea_orm::sea_query::SimpleExpr {
    Expr::tuple([Expr::col(Column::Revision), Expr::col(Column::Position)])
}
