//! The table of the change log, `event`, with its index and the bounds of what is still there.
//!
//! What an event is lies in `entity/src/event.rs`; how long events are kept is not here, but in
//! `src/journal/retention.rs`.

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

#[derive(DeriveIden)]
enum Cluster {
    Table,
    Revision,
    EventsPrunedThrough,
}

/// The latest events of one worker are asked for often; all other questions go by the primary key.
const BY_WORKER: &str = "event_worker_id_revision_position_idx";

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
            .await?;
        // If the log was taken back and is made again, cursors from before it must not be resumed as if nothing had happened.
        manager
            .execute(
                Query::update()
                    .table(Cluster::Table)
                    .value(Cluster::EventsPrunedThrough, Expr::col(Cluster::Revision))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Event::Table).to_owned()).await
    }
}
