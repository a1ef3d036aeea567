//! Which lives of a worker are over: the boot ids they had, and below which incarnation none is handed out any more.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    EarlierBootIds,
}

#[derive(DeriveIden)]
enum PurgedWorker {
    Table,
    BootId,
    EarlierBootIds,
}

#[derive(DeriveIden)]
enum Cluster {
    Table,
    IncarnationFloor,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The defaults are for rows of servers that do not know these columns yet.
        let ids = ColumnDef::new(Worker::EarlierBootIds).json_binary().not_null().default("[]").to_owned();
        manager.alter_table(Table::alter().table(Worker::Table).add_column(ids).to_owned()).await?;
        let last = ColumnDef::new(PurgedWorker::BootId).text().null().to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(last).to_owned()).await?;
        let ids = ColumnDef::new(PurgedWorker::EarlierBootIds).json_binary().not_null().default("[]").to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(ids).to_owned()).await?;
        let floor = ColumnDef::new(Cluster::IncarnationFloor).big_integer().not_null().default(0).to_owned();
        manager.alter_table(Table::alter().table(Cluster::Table).add_column(floor).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let floor = Table::alter().table(Cluster::Table).drop_column(Cluster::IncarnationFloor).to_owned();
        manager.alter_table(floor).await?;
        for column in [PurgedWorker::EarlierBootIds, PurgedWorker::BootId] {
            manager.alter_table(Table::alter().table(PurgedWorker::Table).drop_column(column).to_owned()).await?;
        }
        let ids = Table::alter().table(Worker::Table).drop_column(Worker::EarlierBootIds).to_owned();
        manager.alter_table(ids).await
    }
}
