//! Tokens, the workers that each speaks for, and who caused an event.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, text, text_null, timestamp_with_time_zone, timestamp_with_time_zone_null,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Token {
    Table,
    Id,
    Hash,
    Role,
    Name,
    WorkerId,
    MaxWorkers,
    CreatedBy,
    CreatedAt,
    ExpiresAt,
    RevokedAt,
    LastUsedAt,
    Revision,
}

#[derive(DeriveIden)]
enum Worker {
    Table,
    TokenId,
}

#[derive(DeriveIden)]
enum Event {
    Table,
    ActorTokenId,
    ActorName,
    RequestId,
    Address,
}

/// What other servers look for: tokens that changed after a revision.
const BY_REVISION: &str = "token_revision_idx";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Token::Table)
                    .col(text(Token::Id).primary_key())
                    .col(text(Token::Hash))
                    .col(text(Token::Role))
                    .col(text(Token::Name))
                    .col(text_null(Token::WorkerId))
                    .col(big_integer_null(Token::MaxWorkers))
                    .col(text_null(Token::CreatedBy))
                    .col(timestamp_with_time_zone(Token::CreatedAt))
                    .col(timestamp_with_time_zone_null(Token::ExpiresAt))
                    .col(timestamp_with_time_zone_null(Token::RevokedAt))
                    .col(timestamp_with_time_zone_null(Token::LastUsedAt))
                    .col(big_integer(Token::Revision))
                    .to_owned(),
            )
            .await?;
        let by_revision = Index::create().name(BY_REVISION).table(Token::Table).col(Token::Revision).to_owned();
        manager.create_index(by_revision).await?;
        let owner = Table::alter().table(Worker::Table).add_column(text_null(Worker::TokenId)).to_owned();
        manager.alter_table(owner).await?;
        // One statement for each column: SQLite adds one at a time.
        for column in [Event::ActorTokenId, Event::ActorName, Event::RequestId, Event::Address] {
            manager.alter_table(Table::alter().table(Event::Table).add_column(text_null(column)).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [Event::ActorTokenId, Event::ActorName, Event::RequestId, Event::Address] {
            manager.alter_table(Table::alter().table(Event::Table).drop_column(column).to_owned()).await?;
        }
        manager.alter_table(Table::alter().table(Worker::Table).drop_column(Worker::TokenId).to_owned()).await?;
        manager.drop_table(Table::drop().table(Token::Table).to_owned()).await
    }
}
