//! The one row that names the database and counts its commits.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Cluster {
    Table,
    Id,
    Database,
    Revision,
    LogStart,
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
                    .table(Cluster::Table)
                    .col(integer(Cluster::Id).primary_key())
                    .col(string(Cluster::Database))
                    .col(big_integer(Cluster::Revision))
                    .col(big_integer(Cluster::LogStart))
                    .to_owned(),
            )
            .await?;
        // The database makes its own name, so that two of them never share one.
        let random = match manager.get_database_backend() {
            sea_orm_migration::sea_orm::DbBackend::Sqlite => "lower(hex(randomblob(6)))",
            _ => "substr(md5(random()::text || clock_timestamp()::text), 1, 12)",
        };
        manager
            .execute(
                Query::insert()
                    .into_table(Cluster::Table)
                    .columns([Cluster::Id, Cluster::Database, Cluster::Revision, Cluster::LogStart])
                    .values_panic([1.into(), Expr::cust(random), 0.into(), 0.into()])
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Cluster::Table).to_owned()).await
    }
}
