//! The tables of workers, their VMs, and tombstones of workers that were purged, with their indexes. Their rows as structs
//! are in `entity`.
//!
//! Ids and names may have 255 characters of any script. A length limit of a column would count bytes
//! on one database and characters on the other, so columns are `text`; the server checks lengths
//! before it writes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, json_binary, text, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    Id,
    Hostname,
    Address,
    Zone,
    Labels,
    Capabilities,
    CpuCores,
    MemoryMb,
    DiskGb,
    MaxVms,
    Incarnation,
    BootId,
    EarlierBootIds,
    EarlierHostBootIds,
    HostBootId,
    IncarnationRevision,
    RegistrationRevision,
    StartedAt,
    DeregisteredAt,
    LastSeen,
    Sequence,
    LateSequence,
    UsedCpuCores,
    UsedMemoryMb,
    UsedDiskGb,
    InventoryRevision,
    VmsRevision,
    Policy,
    PolicyRevision,
    DrainReason,
    DrainStartedBy,
    DrainStartedAt,
    LastAnnouncedAvailability,
    Revision,
}

#[derive(DeriveIden)]
enum Vm {
    Table,
    WorkerId,
    Id,
    Name,
    Status,
    Vcpus,
    MemoryMb,
    Revision,
}

#[derive(DeriveIden)]
enum WorkerTombstone {
    Table,
    Id,
    Incarnation,
    BootId,
    EarlierBootIds,
    EarlierHostBootIds,
    HostBootId,
    PurgedAt,
    Revision,
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
                    .table(Worker::Table)
                    .col(text(Worker::Id).primary_key())
                    .col(text(Worker::Hostname))
                    .col(text(Worker::Address))
                    .col(text(Worker::Zone))
                    .col(json_binary(Worker::Labels))
                    .col(json_binary(Worker::Capabilities))
                    .col(big_integer(Worker::CpuCores))
                    .col(big_integer(Worker::MemoryMb))
                    .col(big_integer(Worker::DiskGb))
                    .col(big_integer(Worker::MaxVms))
                    .col(big_integer(Worker::Incarnation))
                    .col(text_null(Worker::BootId))
                    .col(json_binary(Worker::EarlierBootIds))
                    .col(json_binary(Worker::EarlierHostBootIds))
                    .col(text_null(Worker::HostBootId))
                    .col(big_integer(Worker::IncarnationRevision))
                    .col(big_integer(Worker::RegistrationRevision))
                    .col(timestamp_with_time_zone(Worker::StartedAt))
                    .col(timestamp_with_time_zone_null(Worker::DeregisteredAt))
                    .col(timestamp_with_time_zone(Worker::LastSeen))
                    .col(big_integer_null(Worker::Sequence))
                    .col(big_integer_null(Worker::LateSequence))
                    .col(big_integer(Worker::UsedCpuCores))
                    .col(big_integer(Worker::UsedMemoryMb))
                    .col(big_integer(Worker::UsedDiskGb))
                    .col(big_integer_null(Worker::InventoryRevision))
                    .col(big_integer(Worker::VmsRevision))
                    .col(text(Worker::Policy))
                    .col(big_integer(Worker::PolicyRevision))
                    .col(text_null(Worker::DrainReason))
                    .col(text_null(Worker::DrainStartedBy))
                    .col(timestamp_with_time_zone_null(Worker::DrainStartedAt))
                    .col(text(Worker::LastAnnouncedAvailability))
                    .col(big_integer(Worker::Revision))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Vm::Table)
                    .col(text(Vm::WorkerId))
                    .col(text(Vm::Id))
                    .col(text(Vm::Name))
                    .col(text(Vm::Status))
                    .col(big_integer(Vm::Vcpus))
                    .col(big_integer(Vm::MemoryMb))
                    .col(big_integer(Vm::Revision))
                    .primary_key(Index::create().col(Vm::WorkerId).col(Vm::Id))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(WorkerTombstone::Table)
                    .col(text(WorkerTombstone::Id).primary_key())
                    .col(big_integer(WorkerTombstone::Incarnation))
                    .col(text_null(WorkerTombstone::BootId))
                    .col(json_binary(WorkerTombstone::EarlierBootIds))
                    .col(json_binary(WorkerTombstone::EarlierHostBootIds))
                    .col(text_null(WorkerTombstone::HostBootId))
                    .col(timestamp_with_time_zone(WorkerTombstone::PurgedAt))
                    .col(big_integer(WorkerTombstone::Revision))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(WorkerTombstone::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Vm::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Worker::Table).to_owned()).await
    }
}
