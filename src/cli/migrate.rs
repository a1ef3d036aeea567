//! `aetherium migrate`: the tables, by hand.

use aetherium::journal::{Database, without_password};
use anyhow::Context;
use clap::{Args, Subcommand};
use migration::{Migrator, MigratorTrait};
use sea_orm_migration::MigrationStatus;

use super::print;
use super::serve::DatabaseOptions;

#[derive(Args, Clone, Debug)]
pub struct MigrateOptions {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Clone, Debug, Subcommand)]
enum Direction {
    /// Bring the tables up to date.
    Up(DatabaseOptions),
    /// Take the last migration back, and what its tables hold with it.
    Down(DatabaseOptions),
    /// Say which migrations have been applied.
    Status(DatabaseOptions),
}

pub async fn run(MigrateOptions { direction }: MigrateOptions) -> anyhow::Result<()> {
    let (Direction::Up(options) | Direction::Down(options) | Direction::Status(options)) = &direction;
    let database = Database::connect(&options.database_url).await?;
    let shown = without_password(&options.database_url);
    let outcome = async {
        let before = applied(&database).await?;
        match direction {
            Direction::Up(_) => Migrator::up(database.for_upkeep(), None).await?,
            Direction::Down(_) => Migrator::down(database.for_upkeep(), Some(1)).await?,
            Direction::Status(_) => {}
        }
        Ok::<_, migration::DbErr>((before, applied(&database).await?))
    }
    .await;
    let (before, after) = outcome.with_context(|| format!("Cannot migrate the database {shown}"))?;
    match direction {
        Direction::Up(_) | Direction::Down(_) if before == after => print("nothing to do")?,
        Direction::Up(_) | Direction::Down(_) => {
            for (name, is_applied) in &after {
                if !before.contains(&(name.clone(), *is_applied)) {
                    print(format_args!("{} {name}", if *is_applied { "applied" } else { "taken back" }))?;
                }
            }
        }
        Direction::Status(_) => {
            for (name, is_applied) in &after {
                print(format_args!("{}  {name}", if *is_applied { "applied" } else { "pending" }))?;
            }
        }
    }
    database.close().await.with_context(|| format!("The database {shown} did not close cleanly"))
}

/// Every migration, the oldest first, and whether it has been applied.
async fn applied(database: &Database) -> Result<Vec<(String, bool)>, migration::DbErr> {
    let migrations = Migrator::get_migration_with_status(database.for_upkeep()).await?;
    Ok(migrations.iter().map(|known| (known.name().to_owned(), known.status() == MigrationStatus::Applied)).collect())
}
