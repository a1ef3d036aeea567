//! How far the change log is pruned of events that operators caused, which are kept for longer than others; the indexes
//! of those events; and how far tokens that ended have been removed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Cluster {
    Table,
    EventsPrunedThrough,
    EventsDeletedThrough,
    OperatorEventsPrunedThrough,
    TokensPrunedThrough,
}

#[derive(DeriveIden)]
enum Event {
    Table,
    Revision,
    Position,
    Actor,
    ActorTokenId,
}

/// What operators did, in the order of the log.
const BY_OPERATORS: &str = "event_by_operators_idx";

/// What was done with one operator's token.
const BY_OPERATORS_TOKEN: &str = "event_by_operators_token_idx";

/// The condition of both indexes. Its value is no parameter: in an index it cannot be one.
fn is_by_operator() -> SimpleExpr {
    Expr::col(Event::Actor).eq(Expr::cust("'operator'"))
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One statement for each column: SQLite adds one at a time.
        for column in
            [Cluster::EventsDeletedThrough, Cluster::OperatorEventsPrunedThrough, Cluster::TokensPrunedThrough]
        {
            let column = big_integer(column).default(0).take();
            manager.alter_table(Table::alter().table(Cluster::Table).add_column(column).to_owned()).await?;
        }
        // Until now operators' events were removed with all others.
        let update = Query::update()
            .table(Cluster::Table)
            .value(Cluster::OperatorEventsPrunedThrough, Expr::col(Cluster::EventsPrunedThrough))
            .to_owned();
        manager.execute(update).await?;
        let in_order = Index::create()
            .name(BY_OPERATORS)
            .table(Event::Table)
            .col(Event::Revision)
            .col(Event::Position)
            .cond_where(is_by_operator())
            .to_owned();
        manager.create_index(in_order).await?;
        let by_token = Index::create()
            .name(BY_OPERATORS_TOKEN)
            .table(Event::Table)
            .col(Event::ActorTokenId)
            .col(Event::Revision)
            .col(Event::Position)
            .cond_where(is_by_operator())
            .to_owned();
        manager.create_index(by_token).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [BY_OPERATORS_TOKEN, BY_OPERATORS] {
            manager.drop_index(Index::drop().name(name).table(Event::Table).to_owned()).await?;
        }
        // Programs of before take the log for complete from its oldest row on.
        let start = Query::select().column(Cluster::EventsPrunedThrough).from(Cluster::Table).to_owned();
        let old = Query::delete()
            .from_table(Event::Table)
            .and_where(Expr::col(Event::Revision).lte(Expr::from(start)))
            .to_owned();
        manager.execute(old).await?;
        for column in
            [Cluster::TokensPrunedThrough, Cluster::OperatorEventsPrunedThrough, Cluster::EventsDeletedThrough]
        {
            manager.alter_table(Table::alter().table(Cluster::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
