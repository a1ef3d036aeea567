//! Answers to commands that came with an idempotency key.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{text, text_null, timestamp_with_time_zone};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum KeptAnswer {
    Table,
    Key,
    Fingerprint,
    Body,
    Tag,
    At,
}

/// The oldest go first.
const BY_AGE: &str = "kept_answer_by_age";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(KeptAnswer::Table)
                    .col(text(KeptAnswer::Key).primary_key())
                    .col(text(KeptAnswer::Fingerprint))
                    .col(text(KeptAnswer::Body))
                    .col(text_null(KeptAnswer::Tag))
                    .col(timestamp_with_time_zone(KeptAnswer::At))
                    .to_owned(),
            )
            .await?;
        manager.create_index(Index::create().name(BY_AGE).table(KeptAnswer::Table).col(KeptAnswer::At).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(KeptAnswer::Table).to_owned()).await
    }
}
