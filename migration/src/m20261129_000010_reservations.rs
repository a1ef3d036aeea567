//! Reservations, what each worker has reserved, which reservation an event is about, and how other servers find out that
//! reservations have changed or were removed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, json_binary, text, text_null, timestamp_with_time_zone, timestamp_with_time_zone_null,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Reservation {
    Table,
    Id,
    Vcpus,
    MemoryMb,
    DiskGb,
    Slots,
    Reason,
    CreatedBy,
    CreatedAt,
    ExpiresAt,
    State,
    EndedAt,
    Revision,
}

#[derive(DeriveIden)]
enum Worker {
    Table,
    ReservedCpuCores,
    ReservedMemoryMb,
    ReservedDiskGb,
    ReservedVmSlots,
}

#[derive(DeriveIden)]
enum Cluster {
    Table,
    ReservationsRevision,
    ReservationsPrunedThrough,
}

#[derive(DeriveIden)]
enum Event {
    Table,
    ReservationId,
}

/// What other servers look for: reservations that changed after a revision.
const BY_REVISION: &str = "reservation_revision_idx";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Reservation::Table)
                    .col(text(Reservation::Id).primary_key())
                    .col(big_integer(Reservation::Vcpus))
                    .col(big_integer(Reservation::MemoryMb))
                    .col(big_integer(Reservation::DiskGb))
                    .col(json_binary(Reservation::Slots))
                    .col(text_null(Reservation::Reason))
                    .col(text_null(Reservation::CreatedBy))
                    .col(timestamp_with_time_zone(Reservation::CreatedAt))
                    .col(timestamp_with_time_zone(Reservation::ExpiresAt))
                    .col(text(Reservation::State))
                    .col(timestamp_with_time_zone_null(Reservation::EndedAt))
                    .col(big_integer(Reservation::Revision))
                    .to_owned(),
            )
            .await?;
        let by_revision =
            Index::create().name(BY_REVISION).table(Reservation::Table).col(Reservation::Revision).to_owned();
        manager.create_index(by_revision).await?;
        // One statement for each column: SQLite adds one at a time.
        for column in
            [Worker::ReservedCpuCores, Worker::ReservedMemoryMb, Worker::ReservedDiskGb, Worker::ReservedVmSlots]
        {
            let column = big_integer(column).default(0).take();
            manager.alter_table(Table::alter().table(Worker::Table).add_column(column).to_owned()).await?;
        }
        for column in [Cluster::ReservationsRevision, Cluster::ReservationsPrunedThrough] {
            let column = big_integer(column).default(0).take();
            manager.alter_table(Table::alter().table(Cluster::Table).add_column(column).to_owned()).await?;
        }
        let reservation = text_null(Event::ReservationId);
        manager.alter_table(Table::alter().table(Event::Table).add_column(reservation).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Programs of before cannot read events of these kinds.
        let events = Query::delete()
            .from_table(Event::Table)
            .and_where(Expr::col(Event::ReservationId).is_not_null())
            .to_owned();
        manager.execute(events).await?;
        manager.alter_table(Table::alter().table(Event::Table).drop_column(Event::ReservationId).to_owned()).await?;
        for column in [Cluster::ReservationsPrunedThrough, Cluster::ReservationsRevision] {
            manager.alter_table(Table::alter().table(Cluster::Table).drop_column(column).to_owned()).await?;
        }
        for column in
            [Worker::ReservedVmSlots, Worker::ReservedDiskGb, Worker::ReservedMemoryMb, Worker::ReservedCpuCores]
        {
            manager.alter_table(Table::alter().table(Worker::Table).drop_column(column).to_owned()).await?;
        }
        manager.drop_table(Table::drop().table(Reservation::Table).to_owned()).await
    }
}
