//! Workers. Each column has one writer, named in the comments below; statements of one writer
//! never touch another's columns, so a drain and a heartbeat cannot undo each other.

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
    /// Which life of its process this is. Written by registration.
    pub incarnation: i64,
    /// What the process called this start. Written by registration.
    pub boot_id: Option<String>,
    /// Starts that are over, the latest last: what the process called them. Written by registration and by goodbye.
    pub earlier_boot_ids: BootIds,
    /// Of those, which start of its host each belonged to, if it said so. Written by registration and by goodbye.
    pub earlier_host_boots: HostBoots,
    /// Which start of its host the process belongs to, if it said so. Written by registration.
    pub host_boot_id: Option<String>,
    /// Revision of the registration that began this life. Written by registration.
    pub life_revision: i64,
    /// Revision of the last registration that was more than a retry. Written by registration.
    pub registration_revision: i64,
    /// When this life began. Written by registration.
    pub started_at: DateTimeUtc,
    /// When it said goodbye. Written by goodbye, cleared by registration.
    pub left_at: Option<DateTimeUtc>,

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
    /// Revision of the last whole inventory; of an earlier life if below `life_revision`. Written by heartbeats.
    pub inventory_revision: Option<i64>,
    /// Revision of the last change to its set of VMs. Written by heartbeats.
    pub vms_revision: i64,

    /// What operators asked for. Written by drain and activate only.
    pub policy: String,
    /// Revision of the last change to that. Written by drain and activate only.
    pub policy_revision: i64,
    /// Why it is draining. Written by drain and activate only.
    pub drain_reason: Option<String>,
    /// Who drained it. Written by drain and activate only.
    pub drain_started_by: Option<String>,
    /// Since when it has been draining. Written by drain and activate only.
    pub drain_started_at: Option<DateTimeUtc>,

    /// What was last announced of its availability. Written by whoever announces.
    pub announced: String,

    /// Revision of the last change to this row. Written by every writer.
    pub revision: i64,
}

/// Labels by key, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Labels(pub BTreeMap<String, String>);

/// Capabilities, kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Capabilities(pub Vec<String>);

/// What starts of a worker's process were called, kept as JSON: `["b1", "b2"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct BootIds(pub Vec<String>);

/// Boot ids of a worker's process, each with the boot id of its host, kept as JSON: `[["b2", "h1"]]`. By name and not by
/// place: a program that does not know this column changes [`BootIds`] and leaves it as it is.
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
