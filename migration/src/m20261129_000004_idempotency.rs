//! Responses to commands that came with an idempotency key.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{text, text_null, timestamp_with_time_zone};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum IdempotencyRecord {
    Table,
    Key,
    Fingerprint,
    ResponseBody,
    ResponseEtag,
    CreatedAt,
}

/// The oldest records are removed first.
const BY_AGE: &str = "idempotency_record_created_at_idx";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(IdempotencyRecord::Table)
                    .col(text(IdempotencyRecord::Key).primary_key())
                    .col(text(IdempotencyRecord::Fingerprint))
                    .col(text(IdempotencyRecord::ResponseBody))
                    .col(text_null(IdempotencyRecord::ResponseEtag))
                    .col(timestamp_with_time_zone(IdempotencyRecord::CreatedAt))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name(BY_AGE)
                    .table(IdempotencyRecord::Table)
                    .col(IdempotencyRecord::CreatedAt)
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(IdempotencyRecord::Table).to_owned()).await
    }
}
