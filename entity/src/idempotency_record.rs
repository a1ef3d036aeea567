//! Idempotency records: the response to each command that came with an idempotency key, so that a repetition of the
//! request gets the same response and is not carried out again.
//!
//! How a request's fingerprint is made, and what a repetition that differs is told, is decided by whoever reads them.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use sea_orm::{Condition, DeleteMany, QueryOrder, Select, UpdateMany};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_record")]
pub struct Model {
    /// Chosen by the client.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// What the request asked for, in short: a different one under the same key is told by it.
    pub fingerprint: String,
    /// The response's text.
    pub response_body: String,
    /// The response's entity tag.
    pub response_etag: Option<String>,
    /// When the command was carried out.
    pub created_at: DateTimeUtc,
}

/// No relations: what a record is about may be gone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Records of these keys.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Select<Self> {
        Self::find().filter(Column::Key.is_in(keys))
    }

    /// Records of these requests, newest first.
    pub fn newest_first(of: Request) -> Select<Self> {
        Self::find().filter(of.condition()).order_by_desc(Column::CreatedAt).order_by_desc(Column::Key)
    }

    /// Dates records that are dated later than a moment to that moment.
    pub fn date_back(moment: DateTimeUtc) -> UpdateMany<Self> {
        Self::update_many().col_expr(Column::CreatedAt, Expr::value(moment)).filter(Column::CreatedAt.gt(moment))
    }

    /// Removes records of these requests that are older than a moment, and `up_to` with all that are not newer than it.
    pub fn created_before(of: Request, moment: DateTimeUtc, up_to: Option<Model>) -> DeleteMany<Self> {
        let mut old = Condition::any().add(Column::CreatedAt.lt(moment));
        if let Some(Model { key, created_at, .. }) = up_to {
            let as_old = Condition::all().add(Column::CreatedAt.eq(created_at)).add(Column::Key.lte(key));
            old = old.add(Column::CreatedAt.lt(created_at)).add(as_old);
        }
        Self::delete_many().filter(of.condition()).filter(old)
    }
}

/// Which requests records are of.
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
