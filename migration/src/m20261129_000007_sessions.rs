//! Kinds of tokens: sessions of browsers and sign-in codes are tokens, too. And the token that a session was begun with.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{text, text_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Token {
    Table,
    Kind,
    Parent,
}

/// The kind of all tokens that there were before.
const BEARER: &str = "bearer";

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
        let kind = Table::alter().table(Token::Table).add_column(text(Token::Kind).default(BEARER)).to_owned();
        manager.alter_table(kind).await?;
        manager.alter_table(Table::alter().table(Token::Table).add_column(text_null(Token::Parent)).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Without their kind, they would be taken for tokens of the first one.
        let others = Query::delete().from_table(Token::Table).and_where(Expr::col(Token::Kind).ne(BEARER)).to_owned();
        manager.execute(others).await?;
        // Servers of before cannot read these kinds of events.
        let unknown = ["signed_in", "signed_out", "authentication_failed"];
        let events =
            Query::delete().from_table(Event::Table).and_where(Expr::col(Event::Kind).is_in(unknown)).to_owned();
        manager.execute(events).await?;
        manager.alter_table(Table::alter().table(Token::Table).drop_column(Token::Parent).to_owned()).await?;
        manager.alter_table(Table::alter().table(Token::Table).drop_column(Token::Kind).to_owned()).await
    }
}
