//! The change log.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, text_null, timestamp_with_time_zone};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Event {
    Table,
    Revision,
    Position,
    At,
    Kind,
    WorkerId,
    VmId,
    Actor,
    Reason,
    Message,
}

/// What happened to one worker, newest first, is asked for often; the rest goes by the key.
const BY_WORKER: &str = "event_by_worker";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Event::Table)
                    .col(big_integer(Event::Revision))
                    .col(big_integer(Event::Position))
                    .col(timestamp_with_time_zone(Event::At))
                    .col(text(Event::Kind))
                    .col(text_null(Event::WorkerId))
                    .col(text_null(Event::VmId))
                    .col(text_null(Event::Actor))
                    .col(text_null(Event::Reason))
                    .col(text(Event::Message))
                    .primary_key(Index::create().col(Event::Revision).col(Event::Position))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name(BY_WORKER)
                    .table(Event::Table)
                    .col(Event::WorkerId)
                    .col(Event::Revision)
                    .col(Event::Position)
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Event::Table).to_owned()).await
    }
}
