//! The schema migrations, one per file, up and down, the same on SQLite and PostgreSQL. One that was released is never
//! edited; a new one is a new file, listed last.
//!
//! **Invariant:** migrations spell their own table and column names and import nothing of
//! `entity`: the past must not change when the present does.

pub use sea_orm_migration::prelude::*;

mod m20261129_000001_cluster;
mod m20261129_000002_workers;
mod m20261129_000003_events;
mod m20261129_000004_idempotency;
mod m20261129_000005_tokens;
mod m20261129_000006_join_tokens;
mod m20261129_000007_sessions;
mod m20261129_000008_operator_events;
mod m20261129_000009_drains;
mod m20261129_000010_reservations;
mod m20261129_000011_vm_columns;
mod m20261129_000012_event_fields;
mod m20261129_000013_vms_set_aside;
mod m20261129_000014_history;

/// The first migration of builds from before the first release. Theirs were folded into the first ones here and are not
/// carried on: a database that has seen this one has other names of tables and columns.
pub const FIRST_BEFORE_RELEASE: &str = "m20261123_000001_cluster";

/// With this the name of a migration ends that servers of the version before cannot go on beside. All others expand: they
/// add tables, indexes, and columns that may be null or have a default, and change nothing that is there. The names of
/// what was applied are in the database, so that an older program, which does not know the migration, can tell which it is
/// (ADR 0077).
pub const CONTRACT: &str = "_contract";

/// All changes, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261129_000001_cluster::Migration),
            Box::new(m20261129_000002_workers::Migration),
            Box::new(m20261129_000003_events::Migration),
            Box::new(m20261129_000004_idempotency::Migration),
            Box::new(m20261129_000005_tokens::Migration),
            Box::new(m20261129_000006_join_tokens::Migration),
            Box::new(m20261129_000007_sessions::Migration),
            Box::new(m20261129_000008_operator_events::Migration),
            Box::new(m20261129_000009_drains::Migration),
            Box::new(m20261129_000010_reservations::Migration),
            Box::new(m20261129_000011_vm_columns::Migration),
            Box::new(m20261129_000012_event_fields::Migration),
            Box::new(m20261129_000013_vms_set_aside::Migration),
            Box::new(m20261129_000014_history::Migration),
        ]
    }
}
