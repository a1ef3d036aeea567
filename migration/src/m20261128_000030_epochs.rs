//! Which life of the database a revision belongs to.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Cluster {
    Table,
    Database,
    Epoch,
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
                    .col(text(Epoch::Name).unique_key())
                    .col(big_integer(Epoch::StartRevision))
                    .to_owned(),
            )
            .await?;
        // What was committed so far is one epoch, of the name that cursors have had.
        let first = Query::select()
            .expr(Expr::val(1))
            .column(Cluster::Database)
            .expr(Expr::val(0))
            .from(Cluster::Table)
            .to_owned();
        let first = Query::insert()
            .into_table(Epoch::Table)
            .columns([Epoch::Number, Epoch::Name, Epoch::StartRevision])
            .select_from(first)
            .map_err(|error| DbErr::Custom(error.to_string()))?
            .to_owned();
        manager.execute(first).await?;
        let column = ColumnDef::new(Cluster::Epoch).text().not_null().default("").to_owned();
        manager.alter_table(Table::alter().table(Cluster::Table).add_column(column).to_owned()).await?;
        let latest =
            Query::update().table(Cluster::Table).value(Cluster::Epoch, Expr::col(Cluster::Database)).to_owned();
        manager.execute(latest).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Cursors of the last epoch stay good.
        let name = Query::update().table(Cluster::Table).value(Cluster::Database, Expr::col(Cluster::Epoch)).to_owned();
        manager.execute(name).await?;
        manager.alter_table(Table::alter().table(Cluster::Table).drop_column(Cluster::Epoch).to_owned()).await?;
        manager.drop_table(Table::drop().table(Epoch::Table).to_owned()).await
    }
}
