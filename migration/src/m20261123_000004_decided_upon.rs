//! When what operators decide upon has last changed: a worker's registration, and what they want of it.
//!
//! A worker's `revision` is raised by every heartbeat, so a command that is tied to it fails within seconds.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Worker {
    Table,
    RegistrationRevision,
    PolicyRevision,
    Revision,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement, as SQLite wants it. The default is for rows of servers that do not know it yet.
        for column in [Worker::RegistrationRevision, Worker::PolicyRevision] {
            let column = ColumnDef::new(column).big_integer().not_null().default(0).to_owned();
            manager.alter_table(Table::alter().table(Worker::Table).add_column(column).to_owned()).await?;
        }
        // When it was is not known any more: not later than the last change of all.
        manager
            .execute(
                Query::update()
                    .table(Worker::Table)
                    .value(Worker::RegistrationRevision, Expr::col(Worker::Revision))
                    .value(Worker::PolicyRevision, Expr::col(Worker::Revision))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [Worker::PolicyRevision, Worker::RegistrationRevision] {
            manager.alter_table(Table::alter().table(Worker::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
