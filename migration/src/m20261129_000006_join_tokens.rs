//! How often a token lets workers join, and how often it has.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Token {
    Table,
    Role,
    RevokedAt,
    MaxUses,
    Uses,
}

#[derive(DeriveIden)]
enum Event {
    Table,
    Kind,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One statement for each column: SQLite adds one at a time.
        for column in [Token::MaxUses, Token::Uses] {
            manager
                .alter_table(Table::alter().table(Token::Table).add_column(big_integer_null(column)).to_owned())
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Servers of before know neither this role nor this kind of event. The tokens are not deleted: a server that had no
        // other would be open without them.
        let joins = Query::update()
            .table(Token::Table)
            .value(Token::Role, "viewer")
            .value(Token::RevokedAt, Expr::cust("coalesce(revoked_at, created_at)"))
            .and_where(Expr::col(Token::Role).eq("join"))
            .to_owned();
        manager.execute(joins).await?;
        let joined = Query::update()
            .table(Event::Table)
            .value(Event::Kind, "token_created")
            .and_where(Expr::col(Event::Kind).eq("worker_joined"))
            .to_owned();
        manager.execute(joined).await?;
        for column in [Token::MaxUses, Token::Uses] {
            manager.alter_table(Table::alter().table(Token::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
