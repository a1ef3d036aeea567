//! Writes what a batch has decided: which rows, into which columns, in which order.
//!
//! One statement per writer of a table, however many rows, and those of [`heartbeat_rows`](super::heartbeat_rows). What
//! is written was decided by [`Batch`] before, and nothing is decided here; how a statement is spelled for either
//! database is in [`bulk_statements`](super::bulk_statements), and what a row says in [`rows`].

use entity::cluster;
use sea_orm::DatabaseTransaction;
use serde_json::json;

use super::bulk_statements::{Column, Delete, Type, Update, Upsert};
use super::heartbeat_rows::HeartbeatRows;
use super::rows;
use crate::error::Error;
use crate::journal::batch::{Batch, ColumnGroup, VmChanges};

/// Writes everything. The order matters only where rows have to be gone before, or there before, others are written.
pub async fn write_batch(transaction: &DatabaseTransaction, batch: &Batch<'_>) -> Result<(), Error> {
    let ids: Vec<_> = batch.purged().map(|purged| json!({ "worker_id": purged.worker_id.as_str() })).collect();
    VMS_OF_PURGED.run(transaction, &ids).await?;
    DRAINS_OF_PURGED.run(transaction, &ids).await?;
    let ids: Vec<_> = batch.purged().map(|purged| json!({ "id": purged.worker_id.as_str() })).collect();
    PURGED_WORKERS.run(transaction, &ids).await?;
    let tombstones: Vec<_> = batch.purged().map(rows::tombstone_row).collect();
    TOMBSTONES.run(transaction, &tombstones).await?;
    let ids: Vec<_> = batch.pruned_tombstones().iter().map(|id| json!({ "id": id.as_str() })).collect();
    PRUNED_TOMBSTONES.run(transaction, &ids).await?;
    if let Some(revision) = batch.tombstones_pruned_through() {
        cluster::Entity::mark_tombstones_pruned(rows::signed(revision)).exec(transaction).await?;
    }
    if let Some(floor) = batch.raised_incarnation_floor() {
        cluster::Entity::raise_incarnation_floor(rows::signed(floor)).exec(transaction).await?;
    }

    let ids: Vec<_> = batch.pruned_tokens().iter().map(|id| json!({ "id": id.as_str() })).collect();
    PRUNED_TOKENS.run(transaction, &ids).await?;
    if !ids.is_empty() {
        cluster::Entity::mark_tokens_pruned(rows::signed(batch.revision)).exec(transaction).await?;
    }
    TOKENS.run(transaction, &batch.tokens().map(rows::token_row).collect::<Vec<_>>()).await?;
    let ids: Vec<_> = batch.pruned_reservations().iter().map(|id| json!({ "id": id.as_str() })).collect();
    PRUNED_RESERVATIONS.run(transaction, &ids).await?;
    if !ids.is_empty() {
        cluster::Entity::mark_reservations_pruned(rows::signed(batch.revision)).exec(transaction).await?;
    }
    let reservations: Vec<_> = batch.reservations().map(rows::reservation_row).collect();
    RESERVATIONS.run(transaction, &reservations).await?;
    if !reservations.is_empty() {
        cluster::Entity::mark_reservations_changed(rows::signed(batch.revision)).exec(transaction).await?;
    }

    let with = |group| batch.workers_with(group);
    let registrations: Vec<_> = with(ColumnGroup::Registration).map(rows::registration_row).collect();
    REGISTRATIONS.run(transaction, &registrations).await?;
    HeartbeatRows::of(batch).write(transaction).await?;
    HEARTBEATS.run(transaction, &batch.other_heartbeats().map(rows::usage_row).collect::<Vec<_>>()).await?;
    let late: Vec<_> = with(ColumnGroup::LateHeartbeat).map(rows::late_heartbeat_row).collect();
    LATE_HEARTBEATS.run(transaction, &late).await?;
    POLICIES.run(transaction, &with(ColumnGroup::Policy).map(rows::policy_row).collect::<Vec<_>>()).await?;
    DRAINS.run(transaction, &batch.drains().map(|(id, drain)| rows::drain_row(id, drain)).collect::<Vec<_>>()).await?;
    LAST_DRAINS.run(transaction, &with(ColumnGroup::Drain).map(rows::last_drain_row).collect::<Vec<_>>()).await?;
    RESERVED.run(transaction, &with(ColumnGroup::Reserved).map(rows::reserved_row).collect::<Vec<_>>()).await?;
    let announcements: Vec<_> = with(ColumnGroup::Announcement).map(rows::announcement_row).collect();
    ANNOUNCEMENTS.run(transaction, &announcements).await?;
    let deregistrations: Vec<_> = with(ColumnGroup::Deregistration).map(rows::deregistration_row).collect();
    DEREGISTRATIONS.run(transaction, &deregistrations).await?;

    let VmChanges { removed, upserted } = batch.vm_changes();
    let removed: Vec<_> =
        removed.iter().map(|vm| json!({ "worker_id": vm.worker_id.as_str(), "id": vm.id.as_str() })).collect();
    REMOVED_VMS.run(transaction, &removed).await?;
    VMS.run(transaction, &upserted.into_iter().map(rows::vm_row).collect::<Vec<_>>()).await?;
    EVENTS.run(transaction, &batch.events().iter().map(|event| rows::event_row(event)).collect::<Vec<_>>()).await?;
    let records = batch.new_idempotency_records();
    let records: Vec<_> = records.map(|(key, record)| rows::idempotency_row(key, record, batch.at)).collect();
    IDEMPOTENCY_RECORDS.run(transaction, &records).await?;
    Ok(())
}

const VMS_OF_PURGED: Delete = Delete { table: "vm", key: &[("worker_id", Type::Text)] };
const DRAINS_OF_PURGED: Delete = Delete { table: "drain", key: &[("worker_id", Type::Text)] };
const PURGED_WORKERS: Delete = Delete { table: "worker", key: &[("id", Type::Text)] };
const TOMBSTONES: Upsert = Upsert {
    table: "worker_tombstone",
    key: &["id"],
    columns: &[
        ("id", Type::Text),
        ("incarnation", Type::Integer),
        ("boot_id", Type::Text),
        ("earlier_boot_ids", Type::Json),
        ("earlier_host_boot_ids", Type::Json),
        ("host_boot_id", Type::Text),
        ("purged_at", Type::Time),
        REVISION,
    ],
    update: &[
        "incarnation",
        "boot_id",
        "earlier_boot_ids",
        "earlier_host_boot_ids",
        "host_boot_id",
        "purged_at",
        "revision",
    ],
};
const PRUNED_TOMBSTONES: Delete = Delete { table: "worker_tombstone", key: &[("id", Type::Text)] };
const REGISTRATIONS: Upsert = Upsert {
    table: "worker",
    key: &["id"],
    columns: &[
        ("id", Type::Text),
        ("hostname", Type::Text),
        ("address", Type::Text),
        ("zone", Type::Text),
        ("labels", Type::Json),
        ("capabilities", Type::Json),
        ("cpu_cores", Type::Integer),
        ("memory_mb", Type::Integer),
        ("disk_gb", Type::Integer),
        ("max_vms", Type::Integer),
        ("incarnation", Type::Integer),
        ("boot_id", Type::Text),
        ("earlier_boot_ids", Type::Json),
        ("earlier_host_boot_ids", Type::Json),
        ("host_boot_id", Type::Text),
        ("incarnation_revision", Type::Integer),
        ("started_at", Type::Time),
        ("deregistered_at", Type::Time),
        ("last_seen", Type::Time),
        ("sequence", Type::Integer),
        ("used_cpu_cores", Type::Integer),
        ("used_memory_mb", Type::Integer),
        ("used_disk_gb", Type::Integer),
        ("inventory_revision", Type::Integer),
        ("vms_revision", Type::Integer),
        ("policy", Type::Text),
        ("last_announced_availability", Type::Text),
        ("registration_revision", Type::Integer),
        ("policy_revision", Type::Integer),
        ("token_id", Type::Text),
        ("drain_number", Type::Integer),
        ("drain_revision", Type::Integer),
        ("revision", Type::Integer),
    ],
    update: &[
        "hostname",
        "address",
        "zone",
        "labels",
        "capabilities",
        "cpu_cores",
        "memory_mb",
        "disk_gb",
        "max_vms",
        "incarnation",
        "boot_id",
        "earlier_boot_ids",
        "earlier_host_boot_ids",
        "host_boot_id",
        "incarnation_revision",
        "started_at",
        "deregistered_at",
        "registration_revision",
        "token_id",
        "revision",
    ],
};
const HEARTBEATS: Update = Update {
    table: "worker",
    key: "id",
    columns: &[
        ("last_seen", Type::Time),
        ("sequence", Type::Integer),
        ("used_cpu_cores", Type::Integer),
        ("used_memory_mb", Type::Integer),
        ("used_disk_gb", Type::Integer),
        ("inventory_revision", Type::Integer),
        ("vms_revision", Type::Integer),
        ("set_aside_vms", Type::Integer),
        ("policy_echo", Type::Integer),
        ("policy_error", Type::Text),
        ("policy_error_at", Type::Time),
        ("policy_error_revision", Type::Integer),
        REVISION,
    ],
};
const LATE_HEARTBEATS: Update =
    Update { table: "worker", key: "id", columns: &[("late_sequence", Type::Integer), REVISION] };
const POLICIES: Update = Update {
    table: "worker",
    key: "id",
    columns: &[("policy", Type::Text), ("policy_revision", Type::Integer), REVISION],
};
const DRAINS: Upsert = Upsert {
    table: "drain",
    key: &["worker_id", "number"],
    columns: &[
        ("worker_id", Type::Text),
        ("number", Type::Integer),
        ("reason", Type::Text),
        ("metadata", Type::Json),
        ("started_by", Type::Text),
        ("started_by_token_id", Type::Text),
        ("started_by_name", Type::Text),
        ("started_at", Type::Time),
        ("start_revision", Type::Integer),
        ("deadline_ms", Type::Integer),
        ("deadline_at", Type::Time),
        ("notified_revision", Type::Integer),
        ("acknowledged_at", Type::Time),
        ("completed_at", Type::Time),
        ("overdue_at", Type::Time),
        ("ended_at", Type::Time),
        ("ended_by", Type::Text),
        ("ended_by_token_id", Type::Text),
        ("ended_by_name", Type::Text),
        ("end_reason", Type::Text),
        ("initial_vms", Type::Integer),
        REVISION,
    ],
    update: &[
        "reason",
        "metadata",
        "started_at",
        "deadline_ms",
        "deadline_at",
        "notified_revision",
        "acknowledged_at",
        "completed_at",
        "overdue_at",
        "ended_at",
        "ended_by",
        "ended_by_token_id",
        "ended_by_name",
        "end_reason",
        "revision",
    ],
};
const LAST_DRAINS: Update = Update {
    table: "worker",
    key: "id",
    columns: &[("drain_number", Type::Integer), ("drain_revision", Type::Integer), REVISION],
};
const RESERVED: Update = Update {
    table: "worker",
    key: "id",
    columns: &[
        ("reserved_cpu_cores", Type::Integer),
        ("reserved_memory_mb", Type::Integer),
        ("reserved_disk_gb", Type::Integer),
        ("reserved_vm_slots", Type::Integer),
        REVISION,
    ],
};
const ANNOUNCEMENTS: Update =
    Update { table: "worker", key: "id", columns: &[("last_announced_availability", Type::Text), REVISION] };
const DEREGISTRATIONS: Update =
    Update { table: "worker", key: "id", columns: &[("deregistered_at", Type::Time), REVISION] };
const REMOVED_VMS: Delete = Delete { table: "vm", key: &[("worker_id", Type::Text), ("id", Type::Text)] };
const VMS: Upsert = Upsert {
    table: "vm",
    key: &["worker_id", "id"],
    columns: &[
        ("worker_id", Type::Text),
        ("id", Type::Text),
        ("name", Type::Text),
        ("status", Type::Text),
        ("vcpus", Type::Integer),
        ("memory_mb", Type::Integer),
        REVISION,
        ("created_at", Type::Time),
        ("started_at", Type::Time),
        ("status_since", Type::Time),
        ("note", Type::Text),
        ("reservation_id", Type::Text),
    ],
    update: &[
        "name",
        "status",
        "vcpus",
        "memory_mb",
        "revision",
        "created_at",
        "started_at",
        "status_since",
        "note",
        "reservation_id",
    ],
};
const EVENTS: Upsert = Upsert {
    table: "event",
    key: &["revision", "position"],
    columns: &[
        REVISION,
        ("position", Type::Integer),
        ("at", Type::Time),
        ("kind", Type::Text),
        ("worker_id", Type::Text),
        ("vm_id", Type::Text),
        ("reservation_id", Type::Text),
        ("actor", Type::Text),
        ("actor_token_id", Type::Text),
        ("actor_name", Type::Text),
        ("request_id", Type::Text),
        ("address", Type::Text),
        ("reason", Type::Text),
        ("message", Type::Text),
        ("vm_name", Type::Text),
        ("vm_status", Type::Text),
        ("previous_status", Type::Text),
        ("zone", Type::Text),
    ],
    update: &[],
};
const PRUNED_TOKENS: Delete = Delete { table: "token", key: &[("id", Type::Text)] };
const TOKENS: Upsert = Upsert {
    table: "token",
    key: &["id"],
    columns: &[
        ("id", Type::Text),
        ("hash", Type::Text),
        ("kind", Type::Text),
        ("role", Type::Text),
        ("name", Type::Text),
        ("worker_id", Type::Text),
        ("max_workers", Type::Integer),
        ("max_uses", Type::Integer),
        ("uses", Type::Integer),
        ("parent", Type::Text),
        ("created_by", Type::Text),
        ("created_at", Type::Time),
        ("expires_at", Type::Time),
        ("revoked_at", Type::Time),
        ("last_used_at", Type::Time),
        REVISION,
    ],
    update: &["uses", "revoked_at", "last_used_at", "revision"],
};
const PRUNED_RESERVATIONS: Delete = Delete { table: "reservation", key: &[("id", Type::Text)] };
const RESERVATIONS: Upsert = Upsert {
    table: "reservation",
    key: &["id"],
    columns: &[
        ("id", Type::Text),
        ("vcpus", Type::Integer),
        ("memory_mb", Type::Integer),
        ("disk_gb", Type::Integer),
        ("slots", Type::Json),
        ("reason", Type::Text),
        ("created_by", Type::Text),
        ("created_at", Type::Time),
        ("expires_at", Type::Time),
        ("state", Type::Text),
        ("ended_at", Type::Time),
        REVISION,
    ],
    update: &["slots", "created_at", "expires_at", "state", "ended_at", "revision"],
};
const IDEMPOTENCY_RECORDS: Upsert = Upsert {
    table: "idempotency_record",
    key: &["key"],
    columns: &[
        ("key", Type::Text),
        ("fingerprint", Type::Text),
        ("response_body", Type::Text),
        ("response_etag", Type::Text),
        ("created_at", Type::Time),
    ],
    update: &[],
};
const REVISION: Column = ("revision", Type::Integer);
