//! What events say in fields that only their sentence said before: the VM's name, its status before and after, and the
//! zone of the worker then. Kinds that stood for several things are told apart. Indexes find the events of a VM, and those
//! since a time.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Event {
    Table,
    Revision,
    Position,
    At,
    VmId,
    VmName,
    VmStatus,
    PreviousStatus,
    Zone,
}

/// Few questions are about one VM, and all others go by other indexes.
const BY_VM: &str = "event_vm_id_revision_position_idx";

/// Where in the log a time is.
const BY_TIME: &str = "event_at_revision_idx";

/// Sentences tell what happened in rows from before: they were made of these words.
const SPLIT_KINDS: [&str; 5] = [
    "UPDATE event SET kind = 'worker_updated' \
     WHERE kind = 'worker_registered' AND message = 'Worker ' || worker_id || ' described itself anew'",
    "UPDATE event SET kind = 'worker_purged' \
     WHERE kind = 'worker_left' AND message = 'Worker ' || worker_id || ' was removed'",
    "UPDATE event SET kind = 'vm_lost' \
     WHERE kind = 'vm_stopped' AND reason IN ('host restarted', 'worker removed')",
    "UPDATE event SET kind = 'vm_failed' \
     WHERE kind = 'vm_stopped' AND message = 'VM ' || vm_id || ' failed on worker ' || worker_id",
    "UPDATE event SET kind = 'vm_vanished' \
     WHERE kind = 'vm_stopped' AND message = 'VM ' || vm_id || ' is gone from worker ' || worker_id",
];

/// The kinds that programs of before can read.
const MERGED_KINDS: [&str; 3] = [
    "UPDATE event SET kind = 'worker_registered' WHERE kind = 'worker_updated'",
    "UPDATE event SET kind = 'worker_left' WHERE kind = 'worker_purged'",
    "UPDATE event SET kind = 'vm_stopped' WHERE kind IN ('vm_failed', 'vm_lost', 'vm_moved', 'vm_vanished')",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One statement for each column: SQLite adds one at a time.
        for column in [Event::VmName, Event::VmStatus, Event::PreviousStatus, Event::Zone] {
            let column = text_null(column);
            manager.alter_table(Table::alter().table(Event::Table).add_column(column).to_owned()).await?;
        }
        for sql in SPLIT_KINDS {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        let by_vm = Index::create()
            .name(BY_VM)
            .table(Event::Table)
            .col(Event::VmId)
            .col(Event::Revision)
            .col(Event::Position)
            .cond_where(Expr::col(Event::VmId).is_not_null())
            .to_owned();
        manager.create_index(by_vm).await?;
        let by_time = Index::create().name(BY_TIME).table(Event::Table).col(Event::At).col(Event::Revision).to_owned();
        manager.create_index(by_time).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [BY_TIME, BY_VM] {
            manager.drop_index(Index::drop().name(name).table(Event::Table).to_owned()).await?;
        }
        for sql in MERGED_KINDS {
            manager.get_connection().execute_unprepared(sql).await?;
        }
        for column in [Event::Zone, Event::PreviousStatus, Event::VmStatus, Event::VmName] {
            manager.alter_table(Table::alter().table(Event::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
