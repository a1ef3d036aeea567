//! How often a token lets workers join, and how often it has.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Token {
    Table,
    Role,
    MaxUses,
    Uses,
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
        // A server of before cannot read a row of their role.
        manager
            .execute(Query::delete().from_table(Token::Table).and_where(Expr::col(Token::Role).eq("join")).to_owned())
            .await?;
        for column in [Token::MaxUses, Token::Uses] {
            manager.alter_table(Table::alter().table(Token::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
