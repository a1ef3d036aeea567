//! `aetherium migrate`: applies, takes back and lists migrations by hand. `aetherium serve` applies them by itself.
//! How they are applied is in `journal::store::migrate`.

use aetherium::journal::{Database, without_password};
use anyhow::Context;
use clap::{Args, Subcommand};

use super::output::print;
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
    let url = &options.database_url;
    let database = match direction {
        Direction::Up(_) => Database::connect(url).await?,
        Direction::Down(_) => Database::connect_existing(url).await?,
        Direction::Status(_) => Database::inspect(url).await?,
    };
    let before = database.migrations().await?;
    match direction {
        Direction::Up(_) => database.migrate().await?,
        Direction::Down(_) => database.migrate_back(1).await?,
        Direction::Status(_) => {}
    }
    let after = database.migrations().await?;
    match direction {
        Direction::Up(_) | Direction::Down(_) if before == after => print("nothing to do")?,
        Direction::Up(_) | Direction::Down(_) => {
            for (name, is_applied) in after.iter().filter(|state| !before.contains(state)) {
                print(format_args!("{} {name}", if *is_applied { "applied" } else { "taken back" }))?;
            }
        }
        Direction::Status(_) => {
            for (name, is_applied) in &after {
                print(format_args!("{}  {name}", if *is_applied { "applied" } else { "pending" }))?;
            }
        }
    }
    let shown = without_password(url);
    database.close().await.with_context(|| format!("The database {shown} did not close cleanly"))
}
