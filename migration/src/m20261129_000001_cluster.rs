//! The one row that counts the commits of the database, and the epochs that revisions belong to.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, text, text_uniq};
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Cluster {
    Table,
    Id,
    Epoch,
    Revision,
    EventsPrunedThrough,
    IncarnationFloor,
    TombstonesPrunedThrough,
}

#[derive(DeriveIden)]
enum Epoch {
    Table,
    Number,
    Name,
    StartRevision,
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
                    .table(Epoch::Table)
                    .col(big_integer(Epoch::Number).primary_key())
                    .col(text_uniq(Epoch::Name))
                    .col(big_integer(Epoch::StartRevision))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Cluster::Table)
                    .col(integer(Cluster::Id).primary_key())
                    .col(text(Cluster::Epoch))
                    .col(big_integer(Cluster::Revision))
                    .col(big_integer(Cluster::EventsPrunedThrough))
                    .col(big_integer(Cluster::IncarnationFloor))
                    .col(big_integer(Cluster::TombstonesPrunedThrough))
                    .to_owned(),
            )
            .await?;
        // The database makes the name of its first epoch, so that two databases never share one.
        let random = match manager.get_database_backend() {
            DbBackend::Sqlite => "lower(hex(randomblob(6)))",
            _ => "substr(md5(random()::text || clock_timestamp()::text), 1, 12)",
        };
        manager
            .execute(
                Query::insert()
                    .into_table(Epoch::Table)
                    .columns([Epoch::Number, Epoch::Name, Epoch::StartRevision])
                    .values_panic([1.into(), Expr::cust(random), 0.into()])
                    .to_owned(),
            )
            .await?;
        let name = Query::select().column(Epoch::Name).from(Epoch::Table).to_owned();
        manager
            .execute(
                Query::insert()
                    .into_table(Cluster::Table)
                    .columns([
                        Cluster::Id,
                        Cluster::Epoch,
                        Cluster::Revision,
                        Cluster::EventsPrunedThrough,
                        Cluster::IncarnationFloor,
                        Cluster::TombstonesPrunedThrough,
                    ])
                    .values_panic([1.into(), name.into(), 0.into(), 0.into(), 0.into(), 0.into()])
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Cluster::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Epoch::Table).to_owned()).await
    }
}
