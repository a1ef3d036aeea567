//! Drains have records of their own, and workers say what they know of the policy. Drains that stand are taken over.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, json_binary, text, text_null, timestamp_with_time_zone_null,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Drain {
    Table,
    WorkerId,
    Number,
    Reason,
    Metadata,
    StartedBy,
    StartedByTokenId,
    StartedByName,
    StartedAt,
    StartRevision,
    DeadlineMs,
    DeadlineAt,
    NotifiedRevision,
    AcknowledgedAt,
    CompletedAt,
    OverdueAt,
    EndedAt,
    EndedBy,
    EndedByTokenId,
    EndedByName,
    EndReason,
    InitialVms,
    Revision,
}

#[derive(DeriveIden)]
enum Worker {
    Table,
    Id,
    Policy,
    PolicyRevision,
    DrainReason,
    DrainStartedBy,
    DrainStartedAt,
    DrainNumber,
    DrainRevision,
    PolicyEcho,
    PolicyError,
    PolicyErrorAt,
    PolicyErrorRevision,
    Revision,
}

#[derive(DeriveIden)]
enum Event {
    Table,
    Kind,
}

/// What retention looks for: drains that ended long ago.
const BY_END: &str = "drain_ended_at_idx";

/// The policy of a worker that has a drain.
const DRAINING: &str = "draining";

/// The name that the event of a drain's beginning had before, which reads as that of its end.
const OLD_KIND: &str = "worker_drained";
const NEW_KIND: &str = "worker_drain_started";

/// Kinds of events that servers of before cannot read.
const NEW_KINDS: [&str; 3] = ["worker_drain_overdue", "worker_drain_complete", "worker_drain_reopened"];

fn rename_events(from: &str, to: &str) -> UpdateStatement {
    Query::update().table(Event::Table).value(Event::Kind, to).and_where(Expr::col(Event::Kind).eq(from)).to_owned()
}

async fn add_column(manager: &SchemaManager<'_>, column: ColumnDef) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(Worker::Table).add_column(column).to_owned()).await
}

async fn drop_column(manager: &SchemaManager<'_>, column: Worker) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(Worker::Table).drop_column(column).to_owned()).await
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Drain::Table)
                    .col(text(Drain::WorkerId))
                    .col(big_integer(Drain::Number))
                    .col(text_null(Drain::Reason))
                    .col(json_binary(Drain::Metadata))
                    .col(text_null(Drain::StartedBy))
                    .col(text_null(Drain::StartedByTokenId))
                    .col(text_null(Drain::StartedByName))
                    .col(timestamp_with_time_zone_null(Drain::StartedAt))
                    .col(big_integer(Drain::StartRevision))
                    .col(big_integer_null(Drain::DeadlineMs))
                    .col(timestamp_with_time_zone_null(Drain::DeadlineAt))
                    .col(big_integer_null(Drain::NotifiedRevision))
                    .col(timestamp_with_time_zone_null(Drain::AcknowledgedAt))
                    .col(timestamp_with_time_zone_null(Drain::CompletedAt))
                    .col(timestamp_with_time_zone_null(Drain::OverdueAt))
                    .col(timestamp_with_time_zone_null(Drain::EndedAt))
                    .col(text_null(Drain::EndedBy))
                    .col(text_null(Drain::EndedByTokenId))
                    .col(text_null(Drain::EndedByName))
                    .col(text_null(Drain::EndReason))
                    .col(big_integer_null(Drain::InitialVms))
                    .col(big_integer(Drain::Revision))
                    .primary_key(Index::create().col(Drain::WorkerId).col(Drain::Number))
                    .to_owned(),
            )
            .await?;
        let by_end = Index::create()
            .name(BY_END)
            .table(Drain::Table)
            .col(Drain::EndedAt)
            .cond_where(Expr::col(Drain::EndedAt).is_not_null())
            .to_owned();
        manager.create_index(by_end).await?;
        // One statement for each column: SQLite adds one at a time.
        for column in [
            big_integer(Worker::DrainNumber).default(0).take(),
            big_integer(Worker::DrainRevision).default(0).take(),
            big_integer_null(Worker::PolicyEcho),
            text_null(Worker::PolicyError),
            timestamp_with_time_zone_null(Worker::PolicyErrorAt),
            big_integer_null(Worker::PolicyErrorRevision),
        ] {
            add_column(manager, column).await?;
        }
        let no_metadata = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => "'{}'::jsonb",
            _ => "'{}'",
        };
        let standing = Query::select()
            .column(Worker::Id)
            .expr(Expr::cust("1"))
            .column(Worker::DrainReason)
            .expr(Expr::cust(no_metadata))
            .column(Worker::DrainStartedBy)
            .column(Worker::DrainStartedAt)
            .column(Worker::PolicyRevision)
            .column(Worker::Revision)
            .from(Worker::Table)
            .and_where(Expr::col(Worker::Policy).eq(DRAINING))
            .to_owned();
        let taken_over = Query::insert()
            .into_table(Drain::Table)
            .columns([
                Drain::WorkerId,
                Drain::Number,
                Drain::Reason,
                Drain::Metadata,
                Drain::StartedBy,
                Drain::StartedAt,
                Drain::StartRevision,
                Drain::Revision,
            ])
            .select_from(standing)
            .map_err(|error| DbErr::Migration(error.to_string()))?
            .to_owned();
        manager.execute(taken_over).await?;
        let numbered = Query::update()
            .table(Worker::Table)
            .value(Worker::DrainNumber, 1)
            .value(Worker::DrainRevision, Expr::col(Worker::Revision))
            .and_where(Expr::col(Worker::Policy).eq(DRAINING))
            .to_owned();
        manager.execute(numbered).await?;
        for column in [Worker::DrainStartedAt, Worker::DrainStartedBy, Worker::DrainReason] {
            drop_column(manager, column).await?;
        }
        manager.execute(rename_events(OLD_KIND, NEW_KIND)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.execute(rename_events(NEW_KIND, OLD_KIND)).await?;
        let unknown =
            Query::delete().from_table(Event::Table).and_where(Expr::col(Event::Kind).is_in(NEW_KINDS)).to_owned();
        manager.execute(unknown).await?;
        for column in [
            text_null(Worker::DrainReason),
            text_null(Worker::DrainStartedBy),
            timestamp_with_time_zone_null(Worker::DrainStartedAt),
        ] {
            add_column(manager, column).await?;
        }
        let standing = |column: Drain| {
            let row = Query::select()
                .column(column)
                .from(Drain::Table)
                .and_where(Expr::col((Drain::Table, Drain::WorkerId)).equals((Worker::Table, Worker::Id)))
                .and_where(Expr::col((Drain::Table, Drain::Number)).equals((Worker::Table, Worker::DrainNumber)))
                .to_owned();
            Expr::from(row)
        };
        let taken_back = Query::update()
            .table(Worker::Table)
            .value(Worker::DrainReason, standing(Drain::Reason))
            .value(Worker::DrainStartedBy, standing(Drain::StartedBy))
            .value(Worker::DrainStartedAt, standing(Drain::StartedAt))
            .and_where(Expr::col(Worker::Policy).eq(DRAINING))
            .to_owned();
        manager.execute(taken_back).await?;
        for column in [
            Worker::PolicyErrorRevision,
            Worker::PolicyErrorAt,
            Worker::PolicyError,
            Worker::PolicyEcho,
            Worker::DrainRevision,
            Worker::DrainNumber,
        ] {
            drop_column(manager, column).await?;
        }
        manager.drop_table(Table::drop().table(Drain::Table).to_owned()).await
    }
}
