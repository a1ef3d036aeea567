//! History: how figures of workers, zones and the cluster went. What tiers there are, which points a row holds and how
//! these are written is decided by the crate that writes them. A row carries no revision: it is no part of the state, and
//! nothing follows it.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::SelectStatement;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, UnionType};
use sea_orm::{DeleteMany, QueryOrder as _, QuerySelect as _, Select};

/// Some points of one subject.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "history")]
pub struct Model {
    /// How finely the row has what it holds: a number of a tier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub tier: i32,
    /// When its first point begins, in seconds since 1970.
    #[sea_orm(primary_key, auto_increment = false)]
    pub start: i64,
    /// What it is about: a worker, a zone or the cluster.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// The points, encoded.
    pub points: Vec<u8>,
}

/// No relations.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The rows of these tiers and starts about these subjects, in one statement: each is found by its key.
    pub fn rows_of(tiers: &[(i32, Vec<i64>)], subjects: &[&str]) -> SelectStatement {
        let of_tier = |(tier, starts): &(i32, Vec<i64>)| {
            Query::select()
                .columns([Column::Tier, Column::Start, Column::Subject, Column::Points])
                .from(Self)
                .and_where(Column::Tier.eq(*tier))
                .and_where(Column::Start.is_in(starts.iter().copied()))
                .and_where(Column::Subject.is_in(subjects.iter().copied()))
                .to_owned()
        };
        let mut parts = tiers.iter().map(of_tier);
        let mut statement = parts.next().unwrap_or_else(|| of_tier(&(0, Vec::new())));
        for part in parts {
            statement.union(UnionType::All, part);
        }
        statement
    }

    /// What becomes of rows that are there already: they get the points of those that are written.
    pub fn replaced() -> OnConflict {
        OnConflict::columns([Column::Tier, Column::Start, Column::Subject]).update_column(Column::Points).to_owned()
    }

    /// What becomes of rows that are there already: they stay.
    pub fn left_as_they_are() -> OnConflict {
        OnConflict::columns([Column::Tier, Column::Start, Column::Subject]).do_nothing().to_owned()
    }

    /// The oldest row of a tier.
    pub fn oldest(tier: i32) -> Select<Self> {
        Self::find().filter(Column::Tier.eq(tier)).order_by_asc(Column::Start).limit(1)
    }

    /// Removes some of the rows of a tier that start before a time.
    pub fn remove_before(tier: i32, start: i64, most: u64) -> DeleteMany<Self> {
        let key = || [Column::Tier, Column::Start, Column::Subject];
        let old = Query::select()
            .columns(key())
            .from(Self)
            .and_where(Column::Tier.eq(tier))
            .and_where(Column::Start.lt(start))
            .limit(most)
            .to_owned();
        Self::delete_many().filter(Expr::tuple(key().map(Expr::col)).in_subquery(old))
    }
}
