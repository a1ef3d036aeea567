//! The drain that stands on a worker: why, by whom and since when.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    Id,
    Policy,
    DrainReason,
    DrainStartedBy,
    DrainStartedAt,
}

#[derive(DeriveIden)]
enum Event {
    Table,
    Revision,
    Position,
    At,
    Kind,
    WorkerId,
    Actor,
    Reason,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            ColumnDef::new(Worker::DrainReason).text().null().to_owned(),
            ColumnDef::new(Worker::DrainStartedBy).text().null().to_owned(),
            ColumnDef::new(Worker::DrainStartedAt).timestamp_with_time_zone().null().to_owned(),
        ] {
            manager.alter_table(Table::alter().table(Worker::Table).add_column(column).to_owned()).await?;
        }
        // Of drains that stand already the change log knows, if it reaches back that far.
        let last_drain = |column: Event| {
            Query::select()
                .column(column)
                .from(Event::Table)
                .and_where(Expr::col((Event::Table, Event::WorkerId)).equals((Worker::Table, Worker::Id)))
                .and_where(Expr::col(Event::Kind).eq("worker_drained"))
                .order_by(Event::Revision, Order::Desc)
                .order_by(Event::Position, Order::Desc)
                .limit(1)
                .to_owned()
        };
        manager
            .execute(
                Query::update()
                    .table(Worker::Table)
                    .value(Worker::DrainReason, last_drain(Event::Reason))
                    .value(Worker::DrainStartedBy, last_drain(Event::Actor))
                    .value(Worker::DrainStartedAt, last_drain(Event::At))
                    .and_where(Expr::col(Worker::Policy).eq("draining"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [Worker::DrainStartedAt, Worker::DrainStartedBy, Worker::DrainReason] {
            manager.alter_table(Table::alter().table(Worker::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
