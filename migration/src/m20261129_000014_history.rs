//! History: how figures of workers, zones and the cluster went. A row holds some points of one subject; which ones, and
//! how they are written, is said by the program.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, blob, integer, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum History {
    Table,
    Tier,
    Start,
    Subject,
    Points,
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
                    .table(History::Table)
                    .col(integer(History::Tier))
                    .col(big_integer(History::Start))
                    .col(text(History::Subject))
                    .col(blob(History::Points))
                    // Rows are removed by their start, and found by starts and subjects that are known: no other index
                    // is needed.
                    .primary_key(Index::create().col(History::Tier).col(History::Start).col(History::Subject))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(History::Table).to_owned()).await
    }
}
