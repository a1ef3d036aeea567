//! Workers: how many VMs of the last inventory were set aside, because of their ids, although they hold a slot.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    SetAsideVms,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new(Worker::SetAsideVms).big_integer().not_null().default(0).to_owned();
        manager.alter_table(Table::alter().table(Worker::Table).add_column(column).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(Worker::Table).drop_column(Worker::SetAsideVms).to_owned()).await
    }
}
