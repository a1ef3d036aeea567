//! `aetherium migrate`: applies, takes back and lists migrations by hand. `aetherium serve` applies them by itself.
//! How they are applied is in `journal::store::migrate`.

use aetherium::journal::{Database, MigrationState, MigrationStatus, without_password};
use anyhow::{Context, bail};
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
    /// Tell what would be lost by taking the last migration back, and with --yes take it back.
    Down(DownOptions),
    /// Say which migrations have been applied.
    Status(DatabaseOptions),
}

#[derive(Args, Clone, Debug)]
struct DownOptions {
    /// Take it back, and lose what is told.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    database: DatabaseOptions,
}

pub async fn run(MigrateOptions { direction }: MigrateOptions) -> anyhow::Result<()> {
    let (database, shown) = match &direction {
        Direction::Up(options) => (Database::connect(&options.database_url).await?, &options.database_url),
        Direction::Down(DownOptions { database: options, .. }) => {
            (Database::connect_existing(&options.database_url).await?, &options.database_url)
        }
        Direction::Status(options) => (Database::inspect(&options.database_url).await?, &options.database_url),
    };
    let shown = without_password(shown);
    let done = match direction {
        Direction::Up(_) => up(&database).await,
        Direction::Down(DownOptions { yes, .. }) => down(&database, yes).await,
        Direction::Status(_) => status(&database).await,
    };
    // Whatever came of it.
    let closed = database.close().await.with_context(|| format!("The database {shown} did not close cleanly"));
    done.and(closed)
}

async fn up(database: &Database) -> anyhow::Result<()> {
    let before = database.migrations().await?;
    database.migrate().await?;
    print_changes(&before, &database.migrations().await?)
}

async fn down(database: &Database, yes: bool) -> anyhow::Result<()> {
    let before = database.migrations().await?;
    let last = before.iter().rfind(|(_, status)| *status != MigrationStatus::Pending);
    let Some((last, _)) = last else { return Ok(print("nothing to do")?) };
    if !yes {
        let losses = database.preview_migrating_back(1).await?;
        for loss in &losses {
            print(format_args!("would lose {loss}"))?;
        }
        if losses.is_empty() {
            print("would lose no table and no column")?;
        }
        bail!("Nothing was changed: {last} is taken back with --yes, once every server is stopped.");
    }
    for loss in database.migrate_back(1).await? {
        print(format_args!("lost {loss}"))?;
    }
    print_changes(&before, &database.migrations().await?)
}

async fn status(database: &Database) -> anyhow::Result<()> {
    for (name, status) in database.migrations().await? {
        let status = match status {
            MigrationStatus::Applied => "applied",
            MigrationStatus::Pending => "pending",
            MigrationStatus::Newer => "newer  ",
        };
        print(format_args!("{status}  {name}"))?;
    }
    Ok(())
}

fn print_changes(before: &[MigrationState], after: &[MigrationState]) -> anyhow::Result<()> {
    if before == after {
        return Ok(print("nothing to do")?);
    }
    for (name, status) in after.iter().filter(|state| !before.contains(state)) {
        let became = match status {
            MigrationStatus::Pending => "taken back",
            MigrationStatus::Applied | MigrationStatus::Newer => "applied",
        };
        print(format_args!("{became} {name}"))?;
    }
    Ok(())
}
