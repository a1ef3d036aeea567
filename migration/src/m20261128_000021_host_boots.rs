//! Which start of its host a worker's process belongs to, and since which revision the process lives.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    HostBootId,
    LifeRevision,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let host = ColumnDef::new(Worker::HostBootId).text().null().to_owned();
        manager.alter_table(Table::alter().table(Worker::Table).add_column(host).to_owned()).await?;
        // Until now an inventory was forgotten with the life it was of, so any that is there is of the present life.
        let life = ColumnDef::new(Worker::LifeRevision).big_integer().not_null().default(0).to_owned();
        manager.alter_table(Table::alter().table(Worker::Table).add_column(life).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [Worker::LifeRevision, Worker::HostBootId] {
            manager.alter_table(Table::alter().table(Worker::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
