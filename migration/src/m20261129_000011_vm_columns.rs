//! What the server itself finds out of a VM (when it came, when it began to run, since when it has its status), and what
//! else a worker may say of it: a note, and the reservation that it takes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{text_null, timestamp_with_time_zone, timestamp_with_time_zone_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum Vm {
    Table,
    CreatedAt,
    StartedAt,
    StatusSince,
    Note,
    ReservationId,
}

/// A column that may not be null needs a default on SQLite. No row keeps it: the statements below fill in those that
/// are there.
const NEVER: &str = "1970-01-01T00:00:00.000Z";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One statement for each column: SQLite adds one at a time.
        for column in [
            timestamp_with_time_zone(Vm::CreatedAt).default(NEVER).take(),
            timestamp_with_time_zone_null(Vm::StartedAt),
            timestamp_with_time_zone(Vm::StatusSince).default(NEVER).take(),
            text_null(Vm::Note),
            text_null(Vm::ReservationId),
        ] {
            manager.alter_table(Table::alter().table(Vm::Table).add_column(column).to_owned()).await?;
        }
        let earlier = match manager.get_database_backend() {
            sea_orm::DbBackend::Sqlite => "min",
            _ => "least",
        };
        for sql in [
            // A VM that the log does not speak of has come before the log begins, or before its worker's process started.
            format!(
                "UPDATE vm SET created_at = (SELECT {earlier}(worker.started_at, \
                 coalesce((SELECT min(\"at\") FROM event), worker.started_at)) FROM worker WHERE worker.id = vm.worker_id)"
            ),
            // The log tells of VMs that began or ceased to hold a slot, or changed.
            "UPDATE vm SET created_at = told.first_at FROM (SELECT vm_id, min(\"at\") AS first_at FROM event \
             WHERE vm_id IS NOT NULL GROUP BY vm_id) AS told WHERE told.vm_id = vm.id"
                .to_owned(),
            "UPDATE vm SET status_since = created_at".to_owned(),
            "UPDATE vm SET status_since = told.last_at FROM (SELECT worker_id, vm_id, max(\"at\") AS last_at FROM event \
             WHERE vm_id IS NOT NULL GROUP BY worker_id, vm_id) AS told \
             WHERE told.vm_id = vm.id AND told.worker_id = vm.worker_id"
                .to_owned(),
            "UPDATE vm SET started_at = status_since WHERE status = 'running'".to_owned(),
        ] {
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [Vm::ReservationId, Vm::Note, Vm::StatusSince, Vm::StartedAt, Vm::CreatedAt] {
            manager.alter_table(Table::alter().table(Vm::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
