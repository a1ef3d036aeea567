//! What lets tombstones go one day, and tells two starts of a process apart that have one name: since when a removed worker
//! is removed, up to which revision tombstones may be missing, and which start of its host each earlier process was on.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Cluster {
    Table,
    TombstonesSince,
}

#[derive(DeriveIden)]
enum Worker {
    Table,
    EarlierHostBoots,
}

#[derive(DeriveIden)]
enum PurgedWorker {
    Table,
    EarlierHostBoots,
    HostBootId,
    PurgedAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Unknown for rows that are there already, and for those that servers write which do not know these columns yet.
        let hosts = ColumnDef::new(Worker::EarlierHostBoots).json_binary().not_null().default("[]").to_owned();
        manager.alter_table(Table::alter().table(Worker::Table).add_column(hosts).to_owned()).await?;
        let hosts = ColumnDef::new(PurgedWorker::EarlierHostBoots).json_binary().not_null().default("[]").to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(hosts).to_owned()).await?;
        let host = ColumnDef::new(PurgedWorker::HostBootId).text().null().to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(host).to_owned()).await?;
        let at = ColumnDef::new(PurgedWorker::PurgedAt).timestamp_with_time_zone().null().to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(at).to_owned()).await?;
        // Until now none was removed.
        let since = ColumnDef::new(Cluster::TombstonesSince).big_integer().not_null().default(0).to_owned();
        manager.alter_table(Table::alter().table(Cluster::Table).add_column(since).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let since = Table::alter().table(Cluster::Table).drop_column(Cluster::TombstonesSince).to_owned();
        manager.alter_table(since).await?;
        for column in [PurgedWorker::PurgedAt, PurgedWorker::HostBootId, PurgedWorker::EarlierHostBoots] {
            manager.alter_table(Table::alter().table(PurgedWorker::Table).drop_column(column).to_owned()).await?;
        }
        let hosts = Table::alter().table(Worker::Table).drop_column(Worker::EarlierHostBoots).to_owned();
        manager.alter_table(hosts).await
    }
}
