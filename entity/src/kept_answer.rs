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

    /// Answers to these requests, newest first.
    pub fn newest_first(of: Request) -> Select<Self> {
        Self::find().filter(of.condition()).order_by_desc(Column::At).order_by_desc(Column::Key)
    }

    /// Dates answers that are dated later than a moment to that moment.
    pub fn date_back(moment: DateTimeUtc) -> UpdateMany<Self> {
        Self::update_many().col_expr(Column::At, Expr::value(moment)).filter(Column::At.gt(moment))
    }

    /// Answers to these requests from before a moment, and those that are not newer than one of them, which goes as well.
    pub fn given_before(of: Request, moment: DateTimeUtc, up_to: Option<Model>) -> DeleteMany<Self> {
        let mut old = Condition::any().add(Column::At.lt(moment));
        if let Some(Model { key, at, .. }) = up_to {
            let as_old = Condition::all().add(Column::At.eq(at)).add(Column::Key.lte(key));
            old = old.add(Column::At.lt(at)).add(as_old);
        }
        Self::delete_many().filter(of.condition()).filter(old)
    }
}

/// Whose requests were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A worker's, of which there are many.
    Heartbeat,
    /// An operator's.
    Command,
}

impl Request {
    /// How the fingerprints of heartbeats begin; those of others are hexadecimal.
    pub const HEARTBEAT: &str = "heartbeat:";

    fn condition(self) -> Condition {
        let is_heartbeat = Condition::all().add(Column::Fingerprint.starts_with(Self::HEARTBEAT));
        match self {
            Self::Heartbeat => is_heartbeat,
            Self::Command => is_heartbeat.not(),
        }
    }
}
