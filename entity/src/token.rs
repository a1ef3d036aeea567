//! Tokens: who may ask, and what. Of the token itself only a hash is stored.

use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, QuerySelect, Select};

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "token")]
pub struct Model {
    /// The public part of its text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// SHA-256 of its text, in hexadecimal digits.
    pub hash: String,
    /// Where its secret counts.
    pub kind: String,
    /// What its holder may do.
    pub role: String,
    /// The name that its creator gave it.
    pub name: String,
    /// The only worker that its holder speaks for, or may let join.
    pub worker_id: Option<String>,
    /// How many workers its holder may speak for, if they are not named.
    pub max_workers: Option<i64>,
    /// How many workers it may let join; for the role join.
    pub max_uses: Option<i64>,
    /// How many workers it has let join.
    pub uses: Option<i64>,
    /// Id of the token that it was made from, with which it ends.
    pub parent: Option<String>,
    /// Id of the token with which it was created.
    pub created_by: Option<String>,
    /// When it was created.
    pub created_at: DateTimeUtc,
    /// When it ends by itself.
    pub expires_at: Option<DateTimeUtc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTimeUtc>,
    /// When it was last used, as far as that was committed.
    pub last_used_at: Option<DateTimeUtc>,
    /// Revision of its last change.
    pub revision: i64,
}

/// No relations: the tokens that others were created with may be gone.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Tokens that have changed after a revision, by id: created, used or revoked.
    pub fn changed_since(revision: i64) -> Select<Self> {
        Self::find().filter(Column::Revision.gt(revision)).order_by_asc(Column::Id)
    }

    /// The ids of all tokens.
    pub fn ids() -> Select<Self> {
        Self::find().select_only().column(Column::Id)
    }
}
