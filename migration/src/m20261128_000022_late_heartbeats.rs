//! Up to which number heartbeats that came late have counted as signs of life.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    LateSequence,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let late = ColumnDef::new(Worker::LateSequence).big_integer().null().to_owned();
        manager.alter_table(Table::alter().table(Worker::Table).add_column(late).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let late = Table::alter().table(Worker::Table).drop_column(Worker::LateSequence).to_owned();
        manager.alter_table(late).await
    }
}
