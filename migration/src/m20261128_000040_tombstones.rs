//! Of removed workers: since when they are, so that what is left of them can go one day, and where their last process was.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum PurgedWorker {
    Table,
    HostBootId,
    PurgedAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Empty for those that are there already, and for those that servers write which do not know these columns yet.
        let host = ColumnDef::new(PurgedWorker::HostBootId).text().null().to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(host).to_owned()).await?;
        let at = ColumnDef::new(PurgedWorker::PurgedAt).timestamp_with_time_zone().null().to_owned();
        manager.alter_table(Table::alter().table(PurgedWorker::Table).add_column(at).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [PurgedWorker::PurgedAt, PurgedWorker::HostBootId] {
            manager.alter_table(Table::alter().table(PurgedWorker::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
