//! The input types. They are converted here and checked in [`crate::resolvers::worker_input`], as REST's are.

use async_graphql::{Enum, ID, InputObject, MaybeUndefined};

use super::scalars::{Duration, Int53};
use super::value_types::{self, TokenRole};
use crate::auth::Role;
use crate::cluster;
use crate::error::Error;
use crate::resolvers::checks::{Whole, wanted};
use crate::resolvers::drain_input::{DrainInput, drain_filter};
use crate::resolvers::drain_workers;
use crate::resolvers::filter_input::{EventFilterInput, FilterNames, VmFilterInput, WorkerFilterInput};
use crate::resolvers::join::JoinInput;
use crate::resolvers::purge::PurgeInput;
use crate::resolvers::tokens::TokenInput;
use crate::resolvers::worker_input::{self, HeartbeatInput, RegistrationInput, VmInput};

/// Which workers are wanted. Fields are ANDed, entries of a list ORed; every label must match. A field that is left
/// out, or null, asks for nothing in particular; an empty list matches nothing. A page by id of one zone, of one status,
/// or of one label with its value is found by an index and costs the same however many workers there are; for anything else
/// each worker is looked at that these leave.
#[derive(Default, InputObject)]
pub struct WorkerFilter {
    /// With one of these ids.
    ids: Option<Vec<ID>>,
    /// In one of these zones; the empty text asks for workers without a zone.
    zones: Option<Vec<String>>,
    /// In a zone, or in none.
    has_zone: Option<bool>,
    /// In one of these statuses.
    statuses: Option<Vec<value_types::WorkerStatus>>,
    /// Healthy, or not.
    is_healthy: Option<bool>,
    /// With one of these capabilities.
    capabilities: Option<Vec<String>>,
    /// With all of these labels.
    labels: Option<Vec<LabelFilter>>,
    /// With this text in the id, hostname, address or zone, whatever the case.
    search: Option<String>,
    /// With at least so many CPU cores that are neither allocated nor reserved.
    min_free_cpu_cores: Option<i32>,
    /// With at least so much memory that is neither allocated nor reserved, in MiB.
    min_free_memory_mb: Option<i32>,
    /// With at least so many VM slots that are neither held nor reserved.
    min_free_vm_slots: Option<i32>,
}

impl TryFrom<WorkerFilter> for cluster::WorkerFilter {
    type Error = Error;

    fn try_from(filter: WorkerFilter) -> Result<Self, Error> {
        let WorkerFilter { ids, zones, has_zone, statuses, is_healthy, capabilities, labels, search, .. } = filter;
        let word = |status| cluster::WorkerStatus::from(status).as_str().to_owned();
        let filter = WorkerFilterInput {
            ids: ids.map(texts),
            zones,
            has_zone,
            statuses: statuses.map(|statuses| statuses.into_iter().map(word).collect()),
            is_healthy,
            capabilities,
            labels: labels.map(|labels| labels.into_iter().map(Into::into).collect()),
            search,
            min_free_cpu_cores: filter.min_free_cpu_cores.map(Into::into),
            min_free_memory_mb: filter.min_free_memory_mb.map(Into::into),
            min_free_vm_slots: filter.min_free_vm_slots.map(Into::into),
        };
        filter.check(&FilterNames::PLURAL)
    }
}

/// Workers in this zone and in one of these zones, as far as each is given.
pub fn in_zones(zone: Option<String>, zones: Option<Vec<String>>) -> Result<cluster::WorkerFilter, Error> {
    const NAMES: FilterNames = FilterNames { zones: "zones", ..FilterNames::PLURAL };
    let zones = match (zone, zones) {
        (Some(zone), Some(zones)) => {
            // Checked as a whole first, so that what is refused does not depend on the other argument.
            WorkerFilterInput { zones: Some(zones.clone()), ..WorkerFilterInput::default() }.check(&NAMES)?;
            return Ok(cluster::WorkerFilter {
                zones: Some(zones.into_iter().filter(|one| *one == zone).take(1).collect()),
                ..cluster::WorkerFilter::default()
            });
        }
        (Some(zone), None) => return Ok(cluster::WorkerFilter::in_zone(Some(zone))),
        (None, zones) => zones,
    };
    WorkerFilterInput { zones, ..WorkerFilterInput::default() }.check(&NAMES)
}

/// VMs in one of these statuses and in one of those, as far as each list is given.
pub fn in_statuses(
    status: Option<Vec<value_types::VmStatus>>,
    statuses: Option<Vec<value_types::VmStatus>>,
) -> Result<Option<Vec<cluster::VmStatus>>, Error> {
    let status: Option<Vec<cluster::VmStatus>> = entries("status", status)?;
    let statuses: Option<Vec<cluster::VmStatus>> = entries("statuses", statuses)?;
    Ok(match (status, statuses) {
        (Some(one), Some(other)) => Some(one.into_iter().filter(|status| other.contains(status)).collect()),
        (one, other) => one.or(other),
    })
}

/// Which drains are wanted. Fields are ANDed, entries of a list ORed; every label must match. A field that is left out, or
/// null, asks for nothing in particular; an empty list matches nothing.
#[derive(Default, InputObject)]
pub struct DrainFilter {
    /// In one of these states.
    states: Option<Vec<value_types::DrainState>>,
    /// Of one of these workers.
    worker_ids: Option<Vec<ID>>,
    /// Of workers in one of these zones; the empty text asks for workers without a zone.
    zones: Option<Vec<String>>,
    /// Of workers in a zone, or in none.
    has_zone: Option<bool>,
    /// Of workers with one of these capabilities.
    capabilities: Option<Vec<String>>,
    /// Of workers with all of these labels.
    labels: Option<Vec<LabelFilter>>,
    /// Of workers with this text in the id, hostname, address or zone, whatever the case.
    search: Option<String>,
}

impl TryFrom<DrainFilter> for cluster::DrainFilter {
    type Error = Error;

    fn try_from(filter: DrainFilter) -> Result<Self, Error> {
        const NAMES: FilterNames =
            FilterNames { ids: "filter.worker_ids", statuses: "filter.states", ..FilterNames::PLURAL };
        let DrainFilter { states, worker_ids, zones, has_zone, capabilities, labels, search } = filter;
        let word = |state| cluster::DrainState::from(state).as_str().to_owned();
        let workers = WorkerFilterInput {
            ids: worker_ids.map(texts),
            zones,
            has_zone,
            capabilities,
            labels: labels.map(|labels| labels.into_iter().map(Into::into).collect()),
            search,
            ..WorkerFilterInput::default()
        };
        drain_filter(workers, states.map(|states| states.into_iter().map(word).collect()), &NAMES)
    }
}

/// Label that has to be there. A null `value` asks only that the key is there.
#[derive(InputObject)]
pub struct LabelFilter {
    /// Key of the label.
    key: String,
    /// Value of the label.
    value: Option<String>,
}

impl From<LabelFilter> for cluster::LabelFilter {
    fn from(LabelFilter { key, value }: LabelFilter) -> Self {
        Self { key, value }
    }
}

/// Which VMs are wanted. Fields are ANDed, entries of a list ORed. A field that is left out, or null, asks for nothing
/// in particular; an empty list matches nothing. A page of one zone, and of the VMs of some workers, costs the same however
/// many VMs there are; for anything else each VM is looked at.
#[derive(Default, InputObject)]
pub struct VmFilter {
    /// In one of these statuses; those that hold a slot if left out.
    statuses: Option<Vec<value_types::VmStatus>>,
    /// On a worker in one of these zones; the empty text asks for workers without a zone.
    zones: Option<Vec<String>>,
    /// On a worker in a zone, or in none.
    has_zone: Option<bool>,
    /// On one of these workers, as it reports them itself, also while another worker reports the same VM.
    worker_ids: Option<Vec<ID>>,
    /// With one of these ids.
    ids: Option<Vec<ID>>,
    /// Reported by more than one worker to hold a slot there, or not.
    duplicate: Option<bool>,
    /// With this text in the id or name, whatever the case.
    search: Option<String>,
}

impl TryFrom<VmFilter> for cluster::VmFilter {
    type Error = Error;

    fn try_from(filter: VmFilter) -> Result<Self, Error> {
        let VmFilter { statuses, zones, has_zone, worker_ids, ids, duplicate, search } = filter;
        let word = |status| cluster::VmStatus::from(status).as_str().to_owned();
        let filter = VmFilterInput {
            statuses: statuses.map(|statuses| statuses.into_iter().map(word).collect()),
            zones,
            has_zone,
            worker_ids: worker_ids.map(texts),
            ids: ids.map(texts),
            duplicate,
            search,
        };
        filter.check(&FilterNames::PLURAL)
    }
}

/// Which events are wanted. Fields are ANDed, entries of a list ORed. A field that is left out, or null, asks for
/// nothing in particular; an empty list matches nothing.
#[derive(Default, InputObject)]
pub struct EventFilter {
    /// About one of these workers.
    worker_ids: Option<Vec<ID>>,
    /// About one of these VMs, on whichever worker.
    vm_ids: Option<Vec<ID>>,
    /// About a worker that was in one of these zones then, or about its VMs; the empty text asks for workers without a zone.
    zones: Option<Vec<String>>,
    /// Of one of these kinds.
    kinds: Option<Vec<value_types::ClusterEventKind>>,
    /// Caused by one of these. Those of `OPERATOR` alone are kept for longer than others.
    actors: Option<Vec<value_types::EventActor>>,
    /// Caused with one of these tokens, by their public ids.
    actor_token_ids: Option<Vec<ID>>,
}

impl TryFrom<EventFilter> for cluster::EventFilter {
    type Error = Error;

    fn try_from(filter: EventFilter) -> Result<Self, Error> {
        let EventFilter { worker_ids, vm_ids, zones, kinds, actors, actor_token_ids } = filter;
        let kind = |kind| cluster::EventKind::from(kind).as_str().to_owned();
        let actor = |actor| cluster::Actor::from(actor).as_str().to_owned();
        let filter = EventFilterInput {
            worker_ids: worker_ids.map(texts),
            vm_ids: vm_ids.map(texts),
            zones,
            kinds: kinds.map(|kinds| kinds.into_iter().map(kind).collect()),
            actors: actors.map(|actors| actors.into_iter().map(actor).collect()),
            actor_token_ids: actor_token_ids.map(texts),
        };
        filter.check(&FilterNames::PLURAL)
    }
}

/// By what workers are sorted. All workers lie in the orders by id, hostname and zone, so that a page of those costs the
/// same however many there are. The others are moved by heartbeats, and all workers are looked at for each page.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "cluster::WorkerOrderField")]
pub enum WorkerOrderField {
    /// By id.
    Id,
    /// By hostname.
    Hostname,
    /// By zone.
    Zone,
    /// By the share of CPU cores in use.
    CpuUsage,
    /// By the share of memory in use.
    MemoryUsage,
    /// By the number of VMs.
    VmCount,
    /// By the time of the last heartbeat.
    LastSeen,
    /// By the CPU cores that are neither allocated nor reserved.
    FreeCpuCores,
    /// By the memory that is neither allocated nor reserved.
    FreeMemory,
    /// By the VM slots that are neither held nor reserved.
    FreeVmSlots,
}

/// Which end comes first.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub enum OrderDirection {
    /// Smallest first.
    Asc,
    /// Largest first.
    Desc,
}

/// Order of workers; equal ones are sorted by id.
#[derive(InputObject)]
pub struct WorkerOrder {
    /// By what.
    field: WorkerOrderField,
    /// Which end first.
    #[graphql(default_with = "OrderDirection::Asc")]
    direction: OrderDirection,
}

impl From<WorkerOrder> for cluster::WorkerOrder {
    fn from(WorkerOrder { field, direction }: WorkerOrder) -> Self {
        Self { field: field.into(), descending: direction == OrderDirection::Desc }
    }
}

/// By what VMs are sorted. A page by id costs the same however many there are; for the others every VM that matches is
/// looked at for each page.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "cluster::VmOrderField")]
pub enum VmOrderField {
    /// By id.
    Id,
    /// By name.
    Name,
    /// By status, in the order in which a VM goes through them: from `CREATED` to `FAILED`.
    Status,
    /// By the worker that reports it.
    WorkerId,
    /// By the zone of that worker; those without one first.
    Zone,
    /// By its virtual CPUs.
    Vcpus,
    /// By its memory.
    Memory,
    /// By when the server first heard of it.
    CreatedAt,
    /// By when it began to run; those that have not first.
    StartedAt,
    /// By since when it has its status.
    StatusSince,
}

/// Order of VMs; equal ones are sorted by id.
#[derive(InputObject)]
pub struct VmOrder {
    /// By what.
    field: VmOrderField,
    /// Which end first.
    #[graphql(default_with = "OrderDirection::Asc")]
    direction: OrderDirection,
}

impl From<VmOrder> for cluster::VmOrder {
    fn from(VmOrder { field, direction }: VmOrder) -> Self {
        Self { field: field.into(), descending: direction == OrderDirection::Desc }
    }
}

/// Which worker to drain.
#[derive(InputObject)]
pub struct DrainWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Why; kept in the change log, and with the drain.
    pub reason: Option<String>,
    /// In what time the drain shall be complete, from `1s` to 365 days, such as `2h`. When it has passed, that is announced:
    /// nothing is stopped. Given for a drain that stands, another one counts from now.
    pub deadline: Option<Duration>,
    /// Texts of your own, at most 64 keys. Given for a drain that stands, they replace what there was.
    pub metadata: Option<Vec<LabelInput>>,
    /// Any revision at which the worker was read, such as its `revision`. Only if neither its registration nor what
    /// operators want of it has changed since, else a conflict. Heartbeats do not count. After the database was
    /// restored from a backup, read the worker again: revisions are counted on from the backup, so a number from
    /// before the restore may be taken for one from after it. REST's `If-Match` with the `ETag` of the worker tells
    /// them apart.
    pub if_revision: Option<Int53>,
}

impl DrainWorkerInput {
    /// What is said of the drain.
    pub fn drain(reason: Option<String>, deadline: Option<Duration>, metadata: Option<Vec<LabelInput>>) -> DrainInput {
        let metadata = metadata.map(|entries| entries.into_iter().map(|entry| (entry.key, entry.value)).collect());
        DrainInput { reason, deadline: deadline.and_then(|deadline| deadline.measured()), metadata }
    }
}

/// Which worker to activate.
#[derive(InputObject)]
pub struct ActivateWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Why; kept in the change log.
    pub reason: Option<String>,
    /// Any revision at which the worker was read, such as its `revision`. Only if neither its registration nor what
    /// operators want of it has changed since, else a conflict. Heartbeats do not count. After the database was
    /// restored from a backup, read the worker again: revisions are counted on from the backup, so a number from
    /// before the restore may be taken for one from after it. REST's `If-Match` with the `ETag` of the worker tells
    /// them apart.
    pub if_revision: Option<Int53>,
}

/// Description of a worker, by itself.
#[derive(InputObject)]
pub struct RegisterWorkerInput {
    /// Chosen by the worker: 1 to 255 characters, without `/` and control characters.
    pub worker_id: ID,
    /// Name of the machine.
    hostname: String,
    /// Host and port the worker listens on.
    address: String,
    /// Where the worker stands.
    zone: Option<String>,
    /// Free labels, at most 64.
    labels: Option<Vec<LabelInput>>,
    /// What the worker can do, such as hypervisors it offers.
    capabilities: Option<Vec<String>>,
    /// CPU cores of the machine, at least 1.
    cpu_cores: i32,
    /// Memory of the machine, in MiB, at least 1.
    memory_mb: i32,
    /// Disk of the machine, in GB; 0 if left out.
    disk_gb: Option<i32>,
    /// How many VMs the worker may hold; 100 if left out.
    max_vms: Option<i32>,
    /// Any text that is new for each start of the process: the same again is a retry. Without one, every registration
    /// is a new start. One that is over, since another one has registered or it said goodbye, is refused as a conflict.
    pub boot_id: Option<String>,
    /// Any text that is new for each start of the host, such as the kernel's boot id. With another one than before,
    /// what the host ran is gone at once; else it is kept until the new process has told its inventory.
    host_boot_id: Option<String>,
    /// The last incarnation that the process knows of: a new one is above it, even if the database was set back to a
    /// backup.
    last_incarnation: Option<Int53>,
    /// Any revision at which the worker was read. Only if neither its registration nor what operators want of it has
    /// changed since, else a conflict; 0 says that there must be no such worker yet. After the database was restored
    /// from a backup, read the worker again: revisions are counted on from the backup, so a number from before the
    /// restore may be taken for one from after it.
    pub if_revision: Option<Int53>,
}

/// Text by key: label that a worker gives itself, or metadata of a drain.
#[derive(InputObject)]
pub struct LabelInput {
    /// Key of the label.
    key: String,
    /// Value of the label.
    value: String,
}

impl From<RegisterWorkerInput> for RegistrationInput {
    fn from(input: RegisterWorkerInput) -> Self {
        let labels = input.labels.map(|labels| labels.into_iter().map(|label| (label.key, label.value)).collect());
        Self {
            hostname: input.hostname,
            address: input.address,
            zone: input.zone,
            labels,
            capabilities: input.capabilities,
            cpu_cores: whole(input.cpu_cores),
            memory_mb: whole(input.memory_mb),
            disk_gb: input.disk_gb.map(whole),
            max_vms: input.max_vms.map(whole),
            boot_id: input.boot_id,
            host_boot_id: input.host_boot_id,
            last_incarnation: input.last_incarnation.map(|incarnation| Whole(incarnation.0)),
        }
    }
}

/// Sign of life of a worker, with what it uses.
#[derive(InputObject)]
pub struct RecordHeartbeatInput {
    /// The worker.
    pub worker_id: ID,
    /// Number of this life of the worker's process, as registration told.
    pub(super) incarnation: Int53,
    /// What the process called its start when it registered: a conflict if that incarnation is another process, as it
    /// may be after the database was set back to a backup.
    pub(super) boot_id: Option<String>,
    /// Number of this heartbeat in that life, above that of the one before. One that comes late, after a later one, is
    /// a sign of life, and no more.
    pub(super) sequence: Option<Int53>,
    /// CPU cores allocated to VMs; what the VMs add up to if left out.
    used_cpu_cores: Option<i32>,
    /// Memory allocated to VMs, in MiB; what the VMs add up to if left out.
    used_memory_mb: Option<i32>,
    /// Disk allocated to VMs, in GB; as before if left out.
    used_disk_gb: Option<i32>,
    /// The policy revision that the worker has heard of last, as a reply told it. It says that the worker knows of each
    /// drain up to that revision; without it, the second heartbeat after a drain does.
    policy_revision: Option<Int53>,
    /// That the agent's policy hook failed, and how, in at most 500 characters; null says that it works. Left out, it is as
    /// before. It holds until the policy changes.
    policy_error: MaybeUndefined<String>,
    /// What the host measured of its load, for curves: nothing else is made of it.
    measured: Option<MeasuredLoadInput>,
    /// All VMs of the worker. Left out, they are as they were; an empty list says that there are none.
    vms: Option<Vec<VmReportInput>>,
    /// What changed in the VMs of the worker; cannot be combined with `vms`.
    vms_delta: Option<VmDeltaInput>,
}

/// What a host measured of its load, each figure only if it is known. One that is negative or too large counts as left out.
#[derive(InputObject)]
pub struct MeasuredLoadInput {
    /// For how many seconds CPU cores were busy, all of them together, since the host was started: a counter, up to 2^53.
    /// How many were busy in a minute is computed of two of its values; one that is lower than the one before begins anew.
    cpu_busy_seconds: Option<f64>,
    /// Memory in use, in MiB.
    memory_used_mb: Option<i32>,
    /// Load average of one minute, up to 1,000,000,000.
    load1: Option<f64>,
}

/// VM, as its worker reports it.
#[derive(InputObject)]
pub struct VmReportInput {
    /// The VM.
    id: ID,
    /// Its name; its id if left out.
    name: Option<String>,
    /// What it is doing; running if left out.
    status: Option<value_types::VmStatus>,
    /// Virtual CPUs; 0 if left out.
    vcpus: Option<i32>,
    /// Memory, in MiB; 0 if left out.
    memory_mb: Option<i32>,
    /// What the worker says of it, such as why it could not be moved, in up to 200 characters; nothing if left out.
    note: Option<String>,
    /// The reservation that it takes; none if left out.
    reservation_id: Option<ID>,
}

/// What changed in the VMs of a worker.
#[derive(InputObject)]
pub struct VmDeltaInput {
    /// New or changed VMs.
    upsert: Option<Vec<VmReportInput>>,
    /// VMs that are gone.
    remove: Option<Vec<ID>>,
}

impl From<RecordHeartbeatInput> for HeartbeatInput {
    fn from(input: RecordHeartbeatInput) -> Self {
        let vms_delta = input.vms_delta.map(|delta| worker_input::VmDeltaInput {
            upsert: reports(delta.upsert.unwrap_or_default()),
            remove: texts(delta.remove.unwrap_or_default()),
        });
        Self {
            incarnation: Whole(input.incarnation.0),
            boot_id: input.boot_id,
            sequence: input.sequence.map(|sequence| Whole(sequence.0)),
            used_cpu_cores: input.used_cpu_cores.map(whole),
            used_memory_mb: input.used_memory_mb.map(whole),
            used_disk_gb: input.used_disk_gb.map(whole),
            measured: input.measured.map(|load| worker_input::MeasuredInput {
                cpu_busy_seconds: load.cpu_busy_seconds,
                memory_used_mb: load.memory_used_mb.map(whole),
                load1: load.load1,
            }),
            vms: input.vms.map(reports),
            policy_revision: input.policy_revision.map(|revision| Whole(revision.0)),
            policy_error: match input.policy_error {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(error) => Some(Some(error)),
            },
            vms_delta,
        }
    }
}

/// Which worker joins, and the token that it made for itself: `aew_`, 12 letters and digits that are its id, 43 random
/// ones, and a checksum.
#[derive(InputObject)]
pub struct JoinWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Id of the token: its 12 characters after the first `_`.
    token_id: ID,
    /// SHA-256 of the token's text, in hexadecimal digits. The text itself is sent with later requests only.
    token_sha256: String,
}

impl From<JoinWorkerInput> for JoinInput {
    fn from(JoinWorkerInput { worker_id: _, token_id, token_sha256 }: JoinWorkerInput) -> Self {
        Self { token_id: token_id.0, token_sha256 }
    }
}

/// Which worker leaves, and how.
#[derive(InputObject)]
pub struct DeregisterWorkerInput {
    /// The worker.
    pub worker_id: ID,
    /// Which life of the worker's process leaves: a conflict if another one has registered since. Without this,
    /// `bootId` and `hostBootId`, it is an operator who takes the worker out of service, whatever its life.
    pub incarnation: Option<Int53>,
    /// What the process that leaves called its start when it registered: a conflict if the present life is another
    /// process, as one with the same `incarnation` may be after the database was set back to a backup.
    pub boot_id: Option<String>,
    /// On which start of its host the process lives, as it registered: a conflict if the present one has registered
    /// from elsewhere, or did not say from where.
    pub host_boot_id: Option<String>,
    /// Whether to remove it with its VMs, instead of keeping it as offline. Refused while VMs hold slots on it.
    #[graphql(default = false)]
    pub purge: bool,
    /// Whether to remove it even though VMs hold slots on it.
    #[graphql(default = false)]
    pub force: bool,
    /// Any revision at which the worker was read, such as its `revision`. Only if neither its registration nor what
    /// operators want of it has changed since, else a conflict. Heartbeats do not count. After the database was
    /// restored from a backup, read the worker again: revisions are counted on from the backup, so a number from
    /// before the restore may be taken for one from after it. REST's `If-Match` with the `ETag` of the worker tells
    /// them apart.
    pub if_revision: Option<Int53>,
}

/// Which workers are removed at once, with their VMs.
#[derive(InputObject)]
pub struct PurgeWorkersInput {
    /// Workers that match this. With `offlineFor`, both have to hold. One of the two has to ask for something, unless
    /// `all` says that every worker is meant.
    filter: Option<WorkerFilter>,
    /// Workers that are offline, and have not been heard from for so long.
    offline_for: Option<Duration>,
    /// Every worker. Not together with conditions.
    #[graphql(default = false)]
    all: bool,
    /// Only answer which workers would go, and which not, and why.
    #[graphql(default = false)]
    dry_run: bool,
    /// Whether to remove workers even though VMs hold slots on them.
    #[graphql(default = false)]
    force: bool,
}

impl TryFrom<PurgeWorkersInput> for PurgeInput {
    type Error = Error;

    fn try_from(input: PurgeWorkersInput) -> Result<Self, Error> {
        let PurgeWorkersInput { filter, offline_for, all, dry_run, force } = input;
        let filter = filter.map(TryInto::try_into).transpose()?;
        Ok(Self { filter, offline_for: offline_for.map(|duration| duration.0), all, dry_run, force })
    }
}

/// Which workers are drained at once, and what is said of it.
#[derive(InputObject)]
pub struct DrainWorkersInput {
    /// Workers that match this. It has to ask for something, unless `all` says that every worker is meant.
    filter: Option<WorkerFilter>,
    /// Every worker. Not together with conditions.
    #[graphql(default = false)]
    all: bool,
    /// Why; kept in the change log, and with the drains.
    reason: Option<String>,
    /// In what time the drains shall be complete, from `1s` to 365 days, such as `2h`. When it has passed, that is announced:
    /// nothing is stopped. Given for a drain that stands, another one counts from now.
    deadline: Option<Duration>,
    /// Texts of your own, at most 64 keys. Given for a drain that stands, they replace what there was.
    metadata: Option<Vec<LabelInput>>,
    /// Only answer which workers would be drained, and where their VMs could go.
    #[graphql(default = false)]
    dry_run: bool,
    /// Whether to drain them even though no place is found for VMs on them.
    #[graphql(default = false)]
    allow_shortfall: bool,
    /// How many VMs each list of the plan has at most, up to 500; 20 if left out.
    limit: Option<i32>,
}

impl TryFrom<DrainWorkersInput> for drain_workers::DrainWorkersInput {
    type Error = Error;

    fn try_from(input: DrainWorkersInput) -> Result<Self, Error> {
        let DrainWorkersInput { filter, all, reason, deadline, metadata, dry_run, allow_shortfall, limit } = input;
        Ok(Self {
            filter: filter.map(TryInto::try_into).transpose()?,
            all,
            drain: DrainWorkerInput::drain(reason, deadline, metadata),
            dry_run,
            allow_shortfall,
            limit: limit.map(whole),
        })
    }
}

/// Which workers are activated at once, and why.
#[derive(InputObject)]
pub struct ActivateWorkersInput {
    /// Workers that match this. It has to ask for something, unless `all` says that every worker is meant.
    filter: Option<WorkerFilter>,
    /// Every worker. Not together with conditions.
    #[graphql(default = false)]
    all: bool,
    /// Why; kept in the change log, and with the drains that end.
    reason: Option<String>,
    /// Only answer which workers would be activated.
    #[graphql(default = false)]
    dry_run: bool,
}

impl TryFrom<ActivateWorkersInput> for drain_workers::ActivateWorkersInput {
    type Error = Error;

    fn try_from(input: ActivateWorkersInput) -> Result<Self, Error> {
        let ActivateWorkersInput { filter, all, reason, dry_run } = input;
        Ok(Self { filter: filter.map(TryInto::try_into).transpose()?, all, reason, dry_run })
    }
}

fn reports(vms: Vec<VmReportInput>) -> Vec<VmInput> {
    vms.into_iter()
        .map(|vm| VmInput {
            id: vm.id.0,
            name: vm.name,
            status: vm.status.map(|status| cluster::VmStatus::from(status).as_str().to_owned()),
            vcpus: vm.vcpus.map(whole),
            memory_mb: vm.memory_mb.map(whole),
            note: vm.note,
            reservation_id: vm.reservation_id.map(|ID(id)| id),
        })
        .collect()
}

pub(super) fn whole(number: i32) -> Whole {
    Whole(number.into())
}

/// Converts a list of a filter, if it is given, and checks its length.
pub fn entries<T, U: From<T>>(field: &'static str, list: Option<Vec<T>>) -> Result<Option<Vec<U>>, Error> {
    let list = list.map(|list| wanted(field, list)).transpose()?;
    Ok(list.map(|list| list.into_iter().map(Into::into).collect()))
}

pub(super) fn texts(ids: Vec<ID>) -> Vec<String> {
    ids.into_iter().map(|id| id.0).collect()
}

/// What a token is created with.
#[derive(InputObject)]
pub struct CreateTokenInput {
    /// Name for lists and for the audit trail.
    name: String,
    /// What its holder may do.
    role: TokenRole,
    /// After which time it expires, up to `87600h`; never if left out. For the role `JOIN`, up to `720h`, and `1h` if left
    /// out.
    expires_in: Option<Duration>,
    /// The only worker that its holder speaks for; for the role `WORKER`. For the role `JOIN`, the only one that it lets
    /// join, also if it is known: its token of before is revoked then. Without this, it lets new workers join.
    worker_id: Option<ID>,
    /// How many workers its holder may speak for, whichever it registers first; for the role `WORKER`, and instead of
    /// `workerId`.
    max_workers: Option<i32>,
    /// How many workers it lets join, up to 10,000; one if left out. For the role `JOIN`.
    max_uses: Option<i32>,
}

impl From<CreateTokenInput> for TokenInput {
    fn from(CreateTokenInput { name, role, expires_in, worker_id, max_workers, max_uses }: CreateTokenInput) -> Self {
        Self {
            name,
            role: Role::from(role).as_str().to_owned(),
            expires_in: expires_in.map(|duration| duration.0),
            worker_id: worker_id.map(|ID(id)| id),
            max_workers: max_workers.map(i64::from),
            max_uses: max_uses.map(i64::from),
        }
    }
}

/// Which token is revoked.
#[derive(InputObject)]
pub struct RevokeTokenInput {
    /// The token.
    pub token_id: ID,
}
