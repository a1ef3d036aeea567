//! Answers to commands that came with an idempotency key, for whoever asks again.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use sea_orm::{Condition, DeleteMany, QueryOrder, Select, UpdateMany};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_answer")]
pub struct Model {
    /// Chosen by the client.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// Tells the request from others that come with the same key.
    pub fingerprint: String,
    /// The answer's text.
    pub body: String,
    /// The answer's entity tag.
    pub tag: Option<String>,
    /// When it was given.
    pub at: DateTimeUtc,
}

/// No relations: what an answer is about may be gone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Answers of these keys.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Select<Self> {
        Self::find().filter(Column::Key.is_in(keys))
    }

    /// All answers, newest first.
    pub fn newest_first() -> Select<Self> {
        Self::find().order_by_desc(Column::At).order_by_desc(Column::Key)
    }

    /// Dates answers that are dated later than a moment to that moment.
    pub fn date_back(moment: DateTimeUtc) -> UpdateMany<Self> {
        Self::update_many().col_expr(Column::At, Expr::value(moment)).filter(Column::At.gt(moment))
    }

    /// Answers from before a moment, and those up to another one.
    pub fn given_before(moment: DateTimeUtc, up_to: Option<DateTimeUtc>) -> DeleteMany<Self> {
        let mut old = Condition::any().add(Column::At.lt(moment));
        if let Some(up_to) = up_to {
            old = old.add(Column::At.lte(up_to));
        }
        Self::delete_many().filter(old)
    }
}
