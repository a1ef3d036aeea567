//! How the database came to its present shape: one change per file, up and down, the same on
//! SQLite and PostgreSQL.
//!
//! **Invariant:** migrations spell their own table and column names and import nothing of
//! `entity`: the past must not change when the present does.

pub use sea_orm_migration::prelude::*;

mod m20261123_000001_cluster;
mod m20261123_000002_workers;
mod m20261123_000003_events;
mod m20261123_000004_decided_upon;
mod m20261123_000005_kept_answers;
mod m20261128_000020_earlier_lives;
mod m20261128_000021_host_boots;
mod m20261128_000022_late_heartbeats;
mod m20261128_000023_drains;
mod m20261128_000030_epochs;
mod m20261128_000040_tombstones;

/// All changes, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_cluster::Migration),
            Box::new(m20261123_000002_workers::Migration),
            Box::new(m20261123_000003_events::Migration),
            Box::new(m20261123_000004_decided_upon::Migration),
            Box::new(m20261123_000005_kept_answers::Migration),
            Box::new(m20261128_000020_earlier_lives::Migration),
            Box::new(m20261128_000021_host_boots::Migration),
            Box::new(m20261128_000022_late_heartbeats::Migration),
            Box::new(m20261128_000023_drains::Migration),
            Box::new(m20261128_000030_epochs::Migration),
            Box::new(m20261128_000040_tombstones::Migration),
        ]
    }
}
