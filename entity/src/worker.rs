//! The SeaORM entity of the table `worker`: how a worker is stored, not how it is shown (`cluster::fields`).
//!
//! Each column has one writer, named in the comments below; statements of one writer never touch another's columns, so
//! a drain and a heartbeat cannot undo each other.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::{FromJsonQueryResult, QueryOrder, QuerySelect, Select};
use serde::{Deserialize, Serialize};

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "worker")]
pub struct Model {
    /// Chosen by the worker; never changes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,

    /// Name of the machine. Written by registration.
    pub hostname: String,
    /// Host and port it listens on. Written by registration.
    pub address: String,
    /// Where it stands; empty if nobody said. Written by registration.
    pub zone: String,
    /// Free labels. Written by registration.
    pub labels: Labels,
    /// What it can do. Written by registration.
    pub capabilities: Capabilities,
    /// CPU cores. Written by registration.
    pub cpu_cores: i64,
    /// Memory in MiB. Written by registration.
    pub memory_mb: i64,
    /// Disk in GB. Written by registration.
    pub disk_gb: i64,
    /// How many VMs it may hold. Written by registration.
    pub max_vms: i64,
    /// Counts the starts of its process. Written by registration.
    pub incarnation: i64,
    /// What the process calls its present start. Written by registration.
    pub boot_id: Option<String>,
    /// Boot ids of earlier incarnations, the latest last. Written by registration and by deregistration.
    pub earlier_boot_ids: BootIds,
    /// The boot id of the host that each of those ran on, if the process said so. Written by registration and by
    /// deregistration.
    pub earlier_host_boot_ids: HostBoots,
    /// Boot id of the host that the process runs on, if it said so. Written by registration.
    pub host_boot_id: Option<String>,
    /// Revision of the registration that began this incarnation. Written by registration.
    pub incarnation_revision: i64,
    /// Revision of the last registration that was more than a retry. Written by registration.
    pub registration_revision: i64,
    /// When this incarnation began. Written by registration.
    pub started_at: DateTimeUtc,
    /// When it deregistered. Written by deregistration, cleared by registration.
    pub deregistered_at: Option<DateTimeUtc>,

    /// When it was last heard from. Written by heartbeats; a registration counts as the first one.
    pub last_seen: DateTimeUtc,
    /// Number of the last heartbeat that counted. Written by heartbeats.
    pub sequence: Option<i64>,
    /// Number up to which heartbeats that came late have counted as signs of life. Written by heartbeats.
    pub late_sequence: Option<i64>,
    /// CPU cores allocated to VMs. Written by heartbeats.
    pub used_cpu_cores: i64,
    /// Memory allocated to VMs, in MiB. Written by heartbeats.
    pub used_memory_mb: i64,
    /// Disk allocated to VMs, in GB. Written by heartbeats.
    pub used_disk_gb: i64,
    /// Revision of the last whole inventory, which an earlier incarnation sent if this is below `incarnation_revision`.
    /// Written by heartbeats.
    pub inventory_revision: Option<i64>,
    /// Revision of the last change to its set of VMs. Written by heartbeats.
    pub vms_revision: i64,
    /// How many VMs that hold a slot were set aside when it reported them last, because of their ids. Written by
    /// heartbeats.
    pub set_aside_vms: i64,

    /// What operators asked for. Written by drain and activate only.
    pub policy: String,
    /// Revision of the last change to that. Written by drain and activate only.
    pub policy_revision: i64,
    /// Number of its last drain, or 0 if there was none. Written by whatever changes that drain.
    pub drain_number: i64,
    /// Revision of the last change to that drain. Written by whatever changes it.
    pub drain_revision: i64,

    /// Policy revision that its process has echoed last. Written by heartbeats, cleared by registration.
    pub policy_echo: Option<i64>,
    /// What its process says of a policy hook that failed. Written by heartbeats, cleared by registration.
    pub policy_error: Option<String>,
    /// When it said so first. Written by heartbeats, cleared by registration.
    pub policy_error_at: Option<DateTimeUtc>,
    /// The policy revision that this is about. Written by heartbeats, cleared by registration.
    pub policy_error_revision: Option<i64>,

    /// Id of the token that speaks for the worker. Written by registrations.
    pub token_id: Option<String>,

    /// `online` or `offline`, as the change log last announced it. Written by announcements.
    pub last_announced_availability: String,

    /// CPU cores that are held for VMs that are not there yet. Written with reservations only.
    pub reserved_cpu_cores: i64,
    /// Memory that is held for them, in MiB. Written with reservations only.
    pub reserved_memory_mb: i64,
    /// Disk that is held for them, in GB. Written with reservations only.
    pub reserved_disk_gb: i64,
    /// VM slots that are held for them. Written with reservations only.
    pub reserved_vm_slots: i64,

    /// Revision of the last change to this row. Written by every writer.
    pub revision: i64,
}

/// Labels by key, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Labels(pub BTreeMap<String, String>);

/// Capabilities, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Capabilities(pub Vec<String>);

/// Boot ids of a worker's process, kept as JSON: `["b1", "b2"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct BootIds(pub Vec<String>);

/// Boot ids of a worker's process, each with the boot id of its host, kept as JSON: `[["b2", "h1"]]`. Pairs, since a
/// start whose process did not name its host is in [`BootIds`] only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct HostBoots(pub Vec<(String, String)>);

/// No relations: rows are read table by table.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The ids of all workers.
    pub fn ids() -> Select<Self> {
        Self::find().select_only().column(Column::Id)
    }

    /// Workers that changed after a revision, by id.
    pub fn changed_since(revision: i64) -> Select<Self> {
        Self::find().filter(Column::Revision.gt(revision)).order_by_asc(Column::Id)
    }
}
