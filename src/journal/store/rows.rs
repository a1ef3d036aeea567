//! Rows of the database as values of the cluster, and the other way round.
//!
//! Which rows are written when is in [`write_batch`](super::write_batch).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use entity::{drain, epoch, event, idempotency_record, reservation, token, vm, worker, worker_tombstone};
use futures_util::TryStreamExt as _;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, StreamTrait as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cluster_row::PrunedThrough;
use crate::auth::{Joins, LastUsed, Role, SpentPoints, Token, TokenHash, TokenId, TokenKind, TokenScope};
use crate::clock::{Timestamp, with_milliseconds};
use crate::cluster::{
    Actor, Audit, Author, Boot, Boots, Changes, Cursor, Deadline, Drain, Epoch, Epochs, Event, Identity, InvalidId,
    Life, PolicyError, Reservation, ReservationId, Reserved, ReservedSlot, Snapshot, Tombstone, UnknownWord, Usage, Vm,
    VmExtras, VmId, VmSize, VmStatus, Worker, WorkerId, WorkerVms,
};
use crate::error::Error;
use crate::journal::idempotency_record::{IdempotencyRecord, StoredResponse};

/// A row that this program cannot have written: another program has written to the database.
#[derive(Debug, thiserror::Error)]
pub enum BadRow {
    #[error(transparent)]
    Word(#[from] UnknownWord),
    #[error("{text:?} is no id: it {reason}")]
    Id { text: String, reason: InvalidId },
    #[error("the token {0:?} cannot be read")]
    Token(String),
    #[error("{number} is out of range for {column}")]
    Number { column: &'static str, number: i64 },
    #[error("the VMs of {worker_id} cannot be read: {reason}")]
    Vms { worker_id: String, reason: Arc<serde_json::Error> },
}

impl From<BadRow> for Error {
    fn from(error: BadRow) -> Self {
        Self::Corrupt(Arc::new(error))
    }
}

/// How many epochs are kept, and so after how many starts of servers a cursor is too old to be resumed.
const MAX_EPOCHS: u32 = 1_000;

/// Reads the epochs of the database.
pub async fn read_epochs(connection: &impl ConnectionTrait) -> Result<Epochs, Error> {
    let rows = epoch::Entity::oldest_first().all(connection).await?;
    let epochs = rows.into_iter().map(|epoch::Model { number: _, name, start_revision }| {
        Ok(Epoch { name: name.into(), start: unsigned("start_revision", start_revision)? })
    });
    let epochs = Epochs::of_database(epochs.collect::<Result<_, BadRow>>()?);
    epochs.ok_or_else(|| DbErr::RecordNotFound("an epoch".to_owned()).into())
}

/// Begins an epoch: what is committed from now on belongs to it. Its name has to be of hexadecimal digits.
pub async fn begin_epoch(transaction: &DatabaseTransaction, name: &str) -> Result<(), Error> {
    let statements = [
        // First, for the lock of all commits.
        format!("UPDATE cluster SET epoch = '{name}' WHERE id = 1"),
        // No cursor is of an epoch in which nothing was committed. A server that cannot commit may start very often.
        "DELETE FROM epoch WHERE start_revision > 0 AND start_revision = (SELECT revision FROM cluster WHERE id = 1)"
            .to_owned(),
        format!(
            "INSERT INTO epoch (number, name, start_revision) SELECT coalesce(max(epoch.number), 0) + 1, '{name}', \
             (SELECT cluster.revision FROM cluster WHERE cluster.id = 1) FROM epoch"
        ),
        format!("DELETE FROM epoch WHERE number <= (SELECT max(latest.number) FROM epoch AS latest) - {MAX_EPOCHS}"),
    ];
    for statement in statements {
        transaction.execute_unprepared(&statement).await?;
    }
    Ok(())
}

/// Reads everything that changed since a snapshot; since an empty one, everything there is. What was removed with its
/// row is found by comparison, if the snapshot is older.
pub async fn changes_since(
    transaction: &DatabaseTransaction,
    base: &Snapshot,
    pruned_through: PrunedThrough,
) -> Result<Changes, Error> {
    let since = signed(base.revision);
    let mut changes = Changes::default();
    let mut texts = WorkerTexts::default();
    let mut worker_of = |row: worker::Model, parts: &mut WorkerParts| {
        let known = base.find_worker(&row.id);
        let unchanged = known.filter(|_| row.vms_revision <= since);
        let (id, vms) = match (unchanged, parts.vms.remove_entry(row.id.as_str())) {
            (Some(worker), _) => (worker.id.clone(), worker.usage.vms.clone()),
            (None, Some(found)) => found,
            (None, None) => (read_worker_id(&row.id)?, WorkerVms::default()),
        };
        let drain = parts.drains.remove(row.id.as_str());
        let drain = drain.or_else(|| known.filter(|_| row.drain_number > 0).and_then(|known| known.drain.clone()));
        Ok::<_, Error>(Arc::new(read_worker(row, id, vms, drain, &mut texts)?))
    };
    let statement = worker::Entity::changed_since(since);
    if since == 0 {
        // Each row becomes a worker at once: what a driver holds of all rows takes several times the memory of what they
        // become, and would leave holes behind in which nothing else fits.
        let vms = vms_of_workers_changed_since(transaction, since).await?;
        let mut parts = WorkerParts { vms, drains: latest_drains_since(transaction, since).await? };
        let mut rows = statement.stream(transaction).await?;
        while let Some(row) = rows.try_next().await? {
            changes.workers.push(worker_of(row, &mut parts)?);
        }
    } else {
        let rows = statement.all(transaction).await?;
        let mut parts = WorkerParts::default();
        // Most commits of other servers are heartbeats that change no VM, and each statement is a round trip.
        if rows.iter().any(|row| row.vms_revision > since) {
            parts.vms = vms_of_workers_changed_since(transaction, since).await?;
        }
        if rows.iter().any(|row| row.drain_number > 0 && row.drain_revision > since) {
            parts.drains = latest_drains_since(transaction, since).await?;
        }
        for row in rows {
            changes.workers.push(worker_of(row, &mut parts)?);
        }
    }
    // The database may sort by a collation; here it is by code point, as everywhere else.
    changes.workers.sort_by(|one, other| one.id.cmp(&other.id));
    for row in worker_tombstone::Entity::purged_since(since).all(transaction).await? {
        let tombstone = Tombstone {
            worker_id: read_worker_id(&row.id)?,
            incarnation: unsigned("incarnation", row.incarnation)?,
            boots: read_boots(row.boot_id, row.host_boot_id, row.earlier_boot_ids, row.earlier_host_boot_ids),
            purged_at: row.purged_at,
            revision: unsigned("revision", row.revision)?,
        };
        changes.purged.push(Arc::new(tombstone));
    }
    for row in token::Entity::changed_since(since).all(transaction).await? {
        changes.tokens.push(Arc::new(read_token(row)?));
    }
    // Reservations change rarely beside heartbeats, and each statement is a round trip.
    if since == 0 || base.revision < pruned_through.reservations_changed {
        for row in reservation::Entity::changed_since(since).all(transaction).await? {
            changes.reservations.push(Arc::new(read_reservation(row)?));
        }
    }
    if base.revision < pruned_through.reservations {
        let existing: HashSet<String> =
            reservation::Entity::ids().into_tuple().all(transaction).await?.into_iter().collect();
        let removed = base.reservations_in(Bound::Unbounded, Bound::Unbounded);
        let removed = removed.filter(|reservation| !existing.contains(reservation.id.as_str()));
        changes.forgotten_reservations.extend(removed.map(|reservation| reservation.id.clone()));
    }
    if base.revision < pruned_through.tombstones {
        // Workers may have been purged without a tombstone that is left. They are found by comparison with those that
        // exist.
        let existing: HashSet<String> =
            worker::Entity::ids().into_tuple().all(transaction).await?.into_iter().collect();
        let gone = base.workers().filter(|worker| !existing.contains(worker.id.as_str()));
        changes.gone.extend(gone.map(|worker| worker.id.clone()));
    }
    if base.revision < pruned_through.tokens {
        let existing: HashSet<String> = token::Entity::ids().into_tuple().all(transaction).await?.into_iter().collect();
        let removed = base.tokens().filter(|token| !existing.contains(token.id.as_str()));
        changes.forgotten_tokens.extend(removed.map(|token| token.id.clone()));
    }
    Ok(changes)
}

/// What other tables have of workers that changed, by their ids.
#[derive(Default)]
struct WorkerParts {
    vms: HashMap<WorkerId, WorkerVms>,
    drains: HashMap<String, Arc<Drain>>,
}

/// The columns of a VM, as one statement reads them for all VMs of a worker.
#[derive(Deserialize)]
struct VmCells<'a>(
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    i64,
    i64,
    i64,
    Timestamp,
    Option<Timestamp>,
    Timestamp,
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Option<Cow<'a, str>>,
);

/// VMs by worker. They are streamed worker by worker, because all rows at once take several times the memory of what they
/// become.
async fn vms_of_workers_changed_since(
    transaction: &DatabaseTransaction,
    since: i64,
) -> Result<HashMap<WorkerId, WorkerVms>, Error> {
    let (mut vms, mut names) = (HashMap::new(), SharedTexts::default());
    let statement = vm::Entity::of_workers_changed_since(ConnectionTrait::get_database_backend(transaction), since);
    let mut rows = transaction.stream_raw(statement).await?;
    while let Some(row) = rows.try_next().await? {
        let (worker_id, text): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let worker_id = read_worker_id(&worker_id)?;
        let cells: Vec<VmCells<'_>> = serde_json::from_str(&text)
            .map_err(|reason| BadRow::Vms { worker_id: worker_id.to_string(), reason: Arc::new(reason) })?;
        let its_vms = cells.into_iter().map(|cells| Ok(Arc::new(read_vm(cells, worker_id.clone(), &mut names)?)));
        let mut its_vms = its_vms.collect::<Result<Vec<_>, BadRow>>()?;
        // The database may sort by a collation; here it is by code point, as everywhere else.
        its_vms.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        // Here, since until then the list has the memory of the cells that it was made of, many times as much.
        vms.insert(worker_id, its_vms.into());
    }
    Ok(vms)
}

/// The last drain of each worker, by worker, if it changed after a revision.
async fn latest_drains_since(
    transaction: &DatabaseTransaction,
    since: i64,
) -> Result<HashMap<String, Arc<Drain>>, Error> {
    let rows = drain::Entity::latest_changed_since(since).all(transaction).await?;
    let drains = rows.into_iter().map(|row| Ok((row.worker_id.clone(), Arc::new(read_drain(row)?))));
    Ok(drains.collect::<Result<_, BadRow>>()?)
}

pub fn read_drain(row: drain::Model) -> Result<Drain, BadRow> {
    let drain::Metadata(metadata) = row.metadata;
    let author = |actor: Option<String>, token_id: Option<String>, name: Option<String>| {
        let of = |actor: String| Author {
            actor: actor.into(),
            token_id: token_id.map(Into::into),
            name: name.map(Into::into),
        };
        actor.map(of)
    };
    let deadline = match (row.deadline_ms, row.deadline_at) {
        (Some(after), Some(at)) => Some(Deadline { after: Duration::from_millis(unsigned("deadline_ms", after)?), at }),
        _ => None,
    };
    Ok(Drain {
        number: unsigned("number", row.number)?,
        reason: row.reason.map(Into::into),
        metadata: metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        started_by: author(row.started_by, row.started_by_token_id, row.started_by_name),
        started_at: row.started_at,
        start_revision: unsigned("start_revision", row.start_revision)?,
        deadline,
        notified_revision: row.notified_revision.map(|number| unsigned("notified_revision", number)).transpose()?,
        acknowledged_at: row.acknowledged_at,
        completed_at: row.completed_at,
        overdue_at: row.overdue_at,
        ended_at: row.ended_at,
        ended_by: author(row.ended_by, row.ended_by_token_id, row.ended_by_name),
        end_reason: row.end_reason.map(Into::into),
        initial_vms: row.initial_vms.map(|number| unsigned("initial_vms", number)).transpose()?,
        revision: unsigned("revision", row.revision)?,
    })
}

/// How many texts are remembered to be shared. Those of a fleet that share few are then looked up in vain, in a small table.
const MAX_SHARED_TEXTS: usize = 4_096;

/// Texts that many workers or VMs share, such as zones: each is kept once.
#[derive(Default)]
struct SharedTexts(HashSet<Arc<str>>);

/// The texts of workers. Values of labels have a table of their own: those that no other worker has, such as inventory
/// numbers, would fill that of the others.
#[derive(Default)]
struct WorkerTexts {
    /// Zones, capabilities and keys of labels.
    names: SharedTexts,
    label_values: SharedTexts,
}

impl SharedTexts {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new = Arc::<str>::from(text);
        if self.0.len() < MAX_SHARED_TEXTS {
            self.0.insert(new.clone());
        }
        new
    }
}

fn read_worker(
    row: worker::Model,
    id: WorkerId,
    vms: WorkerVms,
    drain: Option<Arc<Drain>>,
    WorkerTexts { names, label_values }: &mut WorkerTexts,
) -> Result<Worker, BadRow> {
    let worker::Labels(labels) = row.labels;
    let worker::Capabilities(capabilities) = row.capabilities;
    let capabilities = capabilities.iter().map(|capability| names.get(capability)).collect();
    let policy_error = match (row.policy_error, row.policy_error_at, row.policy_error_revision) {
        (Some(message), Some(since), Some(revision)) => Some(Arc::new(PolicyError {
            message: message.into(),
            since,
            policy_revision: unsigned("policy_error_revision", revision)?,
        })),
        _ => None,
    };
    Ok(Worker {
        id,
        identity: Arc::new(Identity {
            hostname: row.hostname.into(),
            address: row.address.into(),
            zone: names.get(&row.zone),
            labels: labels.iter().map(|(key, value)| (names.get(key), label_values.get(value))).collect(),
            capabilities,
            cpu_cores: unsigned("cpu_cores", row.cpu_cores)?,
            memory_mb: unsigned("memory_mb", row.memory_mb)?,
            disk_gb: unsigned("disk_gb", row.disk_gb)?,
            max_vms: unsigned("max_vms", row.max_vms)?,
        }),
        registration_revision: unsigned("registration_revision", row.registration_revision)?,
        life: Life {
            incarnation: unsigned("incarnation", row.incarnation)?,
            boots: read_boots(row.boot_id, row.host_boot_id, row.earlier_boot_ids, row.earlier_host_boot_ids),
            since_revision: unsigned("incarnation_revision", row.incarnation_revision)?,
            started_at: row.started_at,
            deregistered_at: row.deregistered_at,
        },
        owner: row.token_id.as_deref().and_then(TokenId::parse),
        usage: Usage {
            last_seen: row.last_seen,
            sequence: row.sequence.map(|number| unsigned("sequence", number)).transpose()?,
            late_sequence: row.late_sequence.map(|number| unsigned("late_sequence", number)).transpose()?,
            used_cpu_cores: unsigned("used_cpu_cores", row.used_cpu_cores)?,
            used_memory_mb: unsigned("used_memory_mb", row.used_memory_mb)?,
            used_disk_gb: unsigned("used_disk_gb", row.used_disk_gb)?,
            vms,
            inventory_revision: row
                .inventory_revision
                .map(|number| unsigned("inventory_revision", number))
                .transpose()?,
            vms_revision: unsigned("vms_revision", row.vms_revision)?,
            set_aside_vms: unsigned("set_aside_vms", row.set_aside_vms)?,
            policy_echo: row.policy_echo.map(|number| unsigned("policy_echo", number)).transpose()?,
            policy_error,
        },
        policy: row.policy.parse()?,
        drain,
        policy_revision: unsigned("policy_revision", row.policy_revision)?,
        last_announced_availability: row.last_announced_availability.parse()?,
        reserved: Reserved {
            cpu_cores: unsigned("reserved_cpu_cores", row.reserved_cpu_cores)?,
            memory_mb: unsigned("reserved_memory_mb", row.reserved_memory_mb)?,
            disk_gb: unsigned("reserved_disk_gb", row.reserved_disk_gb)?,
            vm_slots: unsigned("reserved_vm_slots", row.reserved_vm_slots)?,
        },
        revision: unsigned("revision", row.revision)?,
        render_cache: Default::default(),
    })
}

fn read_token(row: token::Model) -> Result<Token, BadRow> {
    let token::Model { id, hash, kind, role, name, worker_id, max_workers, created_by, created_at, .. } = row;
    let unreadable = || BadRow::Token(id.clone());
    let role: Role = role.parse().map_err(|_| unreadable())?;
    let scope = match (worker_id, max_workers) {
        (Some(worker_id), _) => TokenScope::Worker(worker_id.into()),
        (None, Some(most)) => TokenScope::AtMost(unsigned("max_workers", most)?),
        (None, None) if role == Role::Join => TokenScope::NewWorkers,
        (None, None) => TokenScope::Nobody,
    };
    let joins = match row.max_uses {
        Some(max) => Some(Joins { max: unsigned("max_uses", max)?, so_far: unsigned("uses", row.uses.unwrap_or(0))? }),
        None => None,
    };
    Ok(Token {
        id: TokenId::parse(&id).ok_or_else(unreadable)?,
        hash: TokenHash::from_hex(&hash).ok_or_else(unreadable)?,
        kind: kind.parse::<TokenKind>().map_err(|_| unreadable())?,
        role,
        name: name.into(),
        scope,
        joins,
        // One whose parent cannot be read must not outlive it.
        parent: row.parent.map(|parent| TokenId::parse(&parent).ok_or_else(unreadable)).transpose()?,
        created_by: created_by.as_deref().and_then(TokenId::parse),
        created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        last_used: LastUsed::stored(row.last_used_at),
        spent: SpentPoints::default(),
        revision: unsigned("revision", row.revision)?,
    })
}

/// What is stored of a token.
pub fn token_row(token: &Token) -> Value {
    let Token { id, hash, kind, role, name, scope: _, joins, parent, created_by, created_at, expires_at, .. } = token;
    let Token { revoked_at, last_used, revision, .. } = token;
    json!({
        "id": id.as_str(), "hash": hash.to_string(), "kind": kind.as_str(), "role": role.as_str(), "name": name,
        "worker_id": token.worker_id(), "max_workers": token.max_workers(),
        "max_uses": joins.map(|joins| joins.max), "uses": joins.map(|joins| joins.so_far),
        "parent": parent.as_ref().map(TokenId::as_str),
        "created_by": created_by.as_ref().map(TokenId::as_str), "created_at": with_milliseconds(*created_at),
        "expires_at": expires_at.map(with_milliseconds), "revoked_at": revoked_at.map(with_milliseconds),
        "last_used_at": last_used.at().map(with_milliseconds),
        "revision": revision,
    })
}

fn read_reservation(row: reservation::Model) -> Result<Reservation, BadRow> {
    let reservation::Slots(slots) = row.slots;
    let slots = slots.into_iter().map(|reservation::Slot { worker_id, vm_id, state }| {
        let vm_id = vm_id.as_deref().map(read_vm_id).transpose()?;
        Ok(ReservedSlot { worker_id: read_worker_id(&worker_id)?, vm_id, state: state.parse()? })
    });
    Ok(Reservation {
        id: read_reservation_id(&row.id)?,
        size: VmSize {
            vcpus: unsigned("vcpus", row.vcpus)?,
            memory_mb: unsigned("memory_mb", row.memory_mb)?,
            disk_gb: unsigned("disk_gb", row.disk_gb)?,
        },
        slots: slots.collect::<Result<_, BadRow>>()?,
        reason: row.reason.map(Into::into),
        created_by: row.created_by.map(Into::into),
        created_at: row.created_at,
        expires_at: row.expires_at,
        state: row.state.parse()?,
        ended_at: row.ended_at,
        revision: unsigned("revision", row.revision)?,
    })
}

/// What is stored of a reservation.
pub fn reservation_row(reservation: &Reservation) -> Value {
    let Reservation { id, size, slots, reason, created_by, created_at, expires_at, state, ended_at, revision } =
        reservation;
    let VmSize { vcpus, memory_mb, disk_gb } = size;
    let slots = slots.iter().map(|ReservedSlot { worker_id, vm_id, state }| {
        json!({ "worker_id": worker_id.as_str(), "vm_id": vm_id.as_ref().map(VmId::as_str), "state": state.as_str() })
    });
    json!({
        "id": id.as_str(), "vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb,
        "slots": slots.collect::<Vec<_>>(), "reason": reason, "created_by": created_by,
        "created_at": with_milliseconds(*created_at), "expires_at": with_milliseconds(*expires_at),
        "state": state.as_str(), "ended_at": ended_at.map(with_milliseconds), "revision": revision,
    })
}

/// What reservations write of a worker.
pub fn reserved_row(worker: &Worker) -> Value {
    let Reserved { cpu_cores, memory_mb, disk_gb, vm_slots } = worker.reserved;
    json!({
        "id": worker.id.as_str(), "reserved_cpu_cores": cpu_cores, "reserved_memory_mb": memory_mb,
        "reserved_disk_gb": disk_gb, "reserved_vm_slots": vm_slots, "revision": worker.revision,
    })
}

fn read_boots(
    boot_id: Option<String>,
    host: Option<String>,
    worker::BootIds(earlier): worker::BootIds,
    worker::HostBoots(mut hosts): worker::HostBoots,
) -> Arc<Boots> {
    // From the latest back: of several boots of one name, the hosts of the oldest are not kept.
    let earlier = earlier.into_iter().rev().map(|id| {
        let host = hosts.iter().rposition(|(boot, _)| *boot == id).map(|at| hosts.remove(at).1.into());
        Boot { id: id.into(), host }
    });
    let mut earlier: Vec<_> = earlier.collect();
    earlier.reverse();
    Arc::new(Boots { boot_id: boot_id.map(Into::into), earlier, host: host.map(Into::into) })
}

/// The ids of earlier boots of a process.
fn earlier_boot_ids(boots: &Boots) -> Vec<&str> {
    boots.earlier.iter().map(|boot| &*boot.id).collect()
}

/// The same with the boot id of the host, for those that gave one.
fn earlier_host_boot_ids(boots: &Boots) -> Vec<(&str, &str)> {
    boots.earlier.iter().filter_map(|Boot { id, host }| Some((&**id, &**host.as_ref()?))).collect()
}

fn read_vm(cells: VmCells<'_>, worker_id: WorkerId, names: &mut SharedTexts) -> Result<Vm, BadRow> {
    let VmCells(
        id,
        name,
        status,
        vcpus,
        memory_mb,
        revision,
        created_at,
        started_at,
        status_since,
        note,
        reservation_id,
    ) = cells;
    let is_named_by_id = name == id;
    let id = read_vm_id(&id)?;
    Ok(Vm {
        // A VM without a name is named by its id.
        name: if is_named_by_id { id.shared() } else { names.get(&name) },
        id,
        worker_id,
        status: status.parse()?,
        vcpus: unsigned("vcpus", vcpus)?,
        memory_mb: unsigned("memory_mb", memory_mb)?,
        created_at: created_at.into(),
        started_at: started_at.map(Into::into),
        status_since: status_since.into(),
        extras: VmExtras::of(note.as_deref().map(Into::into), reservation_id.as_deref().map(Into::into)),
        revision: unsigned("revision", revision)?,
    })
}

pub fn read_event(row: event::Model, epochs: &Epochs) -> Result<Event, BadRow> {
    let revision = unsigned("revision", row.revision)?;
    let audit = Audit {
        token_id: row.actor_token_id.map(Into::into),
        name: row.actor_name.map(Into::into),
        request_id: row.request_id.map(Into::into),
        address: row.address.map(Into::into),
    };
    Ok(Event {
        cursor: Cursor { epoch: epochs.of(revision).clone(), revision, position: unsigned("position", row.position)? },
        at: row.at,
        kind: row.kind.parse()?,
        worker_id: row.worker_id.as_deref().map(read_worker_id).transpose()?,
        vm_id: row.vm_id.as_deref().map(read_vm_id).transpose()?,
        reservation_id: row.reservation_id.as_deref().map(read_reservation_id).transpose()?,
        vm_name: row.vm_name.map(Into::into),
        vm_status: row.vm_status.as_deref().map(str::parse).transpose()?,
        previous_status: row.previous_status.as_deref().map(str::parse).transpose()?,
        zone: row.zone.map(Into::into),
        actor: row.actor.as_deref().map(str::parse).transpose()?,
        audit: Some(audit).filter(|audit| *audit != Audit::default()).map(Arc::new),
        reason: row.reason.map(Into::into),
        message: row.message.into(),
        oldest_cursor: None,
    })
}

fn read_worker_id(text: &str) -> Result<WorkerId, BadRow> {
    WorkerId::parse(text).map_err(|reason| BadRow::Id { text: text.to_owned(), reason })
}

fn read_vm_id(text: &str) -> Result<VmId, BadRow> {
    VmId::parse(text).map_err(|reason| BadRow::Id { text: text.to_owned(), reason })
}

fn read_reservation_id(text: &str) -> Result<ReservationId, BadRow> {
    ReservationId::parse(text).map_err(|reason| BadRow::Id { text: text.to_owned(), reason })
}

/// A number for a column of the database, which cannot hold larger ones.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned<N: TryFrom<i64>>(column: &'static str, number: i64) -> Result<N, BadRow> {
    N::try_from(number).map_err(|_| BadRow::Number { column, number })
}

/// What a registration writes of a worker, and everything else that a new row needs.
pub fn registration_row(worker: &Worker) -> RegistrationRow<'_> {
    let Worker {
        id: _,
        identity,
        registration_revision,
        life,
        owner,
        usage: _,
        policy,
        drain: _,
        policy_revision,
        last_announced_availability,
        reserved: _,
        revision: _,
        render_cache: _,
    } = worker;
    let Life { incarnation, boots, since_revision, started_at, deregistered_at } = life;
    let Boots { boot_id, earlier: _, host } = &**boots;
    let Identity { hostname, address, zone, labels, capabilities, cpu_cores, memory_mb, disk_gb, max_vms } =
        &**identity;
    let identity = json!({
        "hostname": hostname, "address": address, "zone": zone, "labels": labels,
        "capabilities": capabilities, "cpu_cores": cpu_cores, "memory_mb": memory_mb, "disk_gb": disk_gb,
        "max_vms": max_vms, "incarnation": incarnation, "boot_id": boot_id,
        "earlier_boot_ids": earlier_boot_ids(boots), "earlier_host_boot_ids": earlier_host_boot_ids(boots),
        "host_boot_id": host, "incarnation_revision": since_revision,
        "started_at": with_milliseconds(*started_at), "deregistered_at": deregistered_at.map(with_milliseconds),
        "policy": policy.as_str(), "last_announced_availability": last_announced_availability.as_str(),
        "registration_revision": registration_revision, "policy_revision": policy_revision,
        "token_id": owner.as_ref().map(TokenId::as_str),
        "drain_number": 0, "drain_revision": 0,
    });
    RegistrationRow { identity, usage: usage_row(worker) }
}

#[derive(Serialize)]
pub struct RegistrationRow<'a> {
    #[serde(flatten)]
    identity: Value,
    #[serde(flatten)]
    usage: UsageRow<'a>,
}

/// What a heartbeat that is not plain writes of a worker. It is not a [`Value`], which allocates each of its keys: when
/// a fleet starts, no heartbeat is plain.
#[derive(Serialize)]
pub struct UsageRow<'a> {
    id: &'a str,
    last_seen: String,
    sequence: Option<u64>,
    used_cpu_cores: u32,
    used_memory_mb: u32,
    used_disk_gb: u32,
    inventory_revision: Option<u64>,
    vms_revision: u64,
    set_aside_vms: u32,
    policy_echo: Option<u64>,
    policy_error: Option<&'a str>,
    policy_error_at: Option<String>,
    policy_error_revision: Option<u64>,
    revision: u64,
}

pub fn usage_row(worker: &Worker) -> UsageRow<'_> {
    let Usage {
        last_seen,
        sequence,
        late_sequence: _,
        used_cpu_cores,
        used_memory_mb,
        used_disk_gb,
        vms: _,
        inventory_revision,
        vms_revision,
        set_aside_vms,
        policy_echo,
        ref policy_error,
    } = worker.usage;
    let policy_error = policy_error.as_deref();
    UsageRow {
        id: worker.id.as_str(),
        last_seen: with_milliseconds(last_seen),
        sequence,
        used_cpu_cores,
        used_memory_mb,
        used_disk_gb,
        inventory_revision,
        vms_revision,
        set_aside_vms,
        policy_echo,
        policy_error: policy_error.map(|error| &*error.message),
        policy_error_at: policy_error.map(|error| with_milliseconds(error.since)),
        policy_error_revision: policy_error.map(|error| error.policy_revision),
        revision: worker.revision,
    }
}

/// What a late heartbeat writes of a worker, and the next one that is not late.
pub fn late_heartbeat_row(worker: &Worker) -> Value {
    json!({ "id": worker.id.as_str(), "late_sequence": worker.usage.late_sequence, "revision": worker.revision })
}

/// What a change of the scheduling policy writes of a worker.
pub fn policy_row(worker: &Worker) -> Value {
    json!({
        "id": worker.id.as_str(), "policy": worker.policy.as_str(), "policy_revision": worker.policy_revision,
        "revision": worker.revision,
    })
}

/// What a change of its last drain writes of a worker.
pub fn last_drain_row(worker: &Worker) -> Value {
    let drain = worker.drain.as_deref();
    json!({
        "id": worker.id.as_str(), "drain_number": drain.map_or(0, |drain| drain.number),
        "drain_revision": drain.map_or(0, |drain| drain.revision), "revision": worker.revision,
    })
}

/// The record of a drain.
pub fn drain_row(worker_id: &WorkerId, drain: &Drain) -> Value {
    let Drain { number, reason, metadata, started_by, started_at, start_revision, deadline, notified_revision, .. } =
        drain;
    let Drain { acknowledged_at, completed_at, overdue_at, ended_at, ended_by, end_reason, .. } = drain;
    let Drain { initial_vms, revision, .. } = drain;
    let token_id = |author: &Option<Author>| author.as_ref().and_then(|author| author.token_id.clone());
    let name = |author: &Option<Author>| author.as_ref().and_then(|author| author.name.clone());
    json!({
        "worker_id": worker_id.as_str(), "number": number, "reason": reason, "metadata": metadata,
        "started_by": started_by.as_ref().map(|author| &author.actor), "started_by_token_id": token_id(started_by),
        "started_by_name": name(started_by), "started_at": started_at.map(with_milliseconds),
        "start_revision": start_revision, "deadline_ms": deadline.map(|deadline| deadline.after.as_millis() as u64),
        "deadline_at": deadline.map(|deadline| with_milliseconds(deadline.at)), "notified_revision": notified_revision,
        "acknowledged_at": acknowledged_at.map(with_milliseconds),
        "completed_at": completed_at.map(with_milliseconds), "overdue_at": overdue_at.map(with_milliseconds),
        "ended_at": ended_at.map(with_milliseconds), "ended_by": ended_by.as_ref().map(|author| &author.actor),
        "ended_by_token_id": token_id(ended_by), "ended_by_name": name(ended_by), "end_reason": end_reason,
        "initial_vms": initial_vms, "revision": revision,
    })
}

/// The tombstone of a worker that is purged.
pub fn tombstone_row(tombstone: &Tombstone) -> Value {
    let Tombstone { worker_id, incarnation, boots, purged_at, revision } = tombstone;
    let Boots { boot_id, earlier: _, host } = &**boots;
    json!({
        "id": worker_id.as_str(), "incarnation": incarnation, "boot_id": boot_id,
        "earlier_boot_ids": earlier_boot_ids(boots), "earlier_host_boot_ids": earlier_host_boot_ids(boots),
        "host_boot_id": host, "purged_at": with_milliseconds(*purged_at), "revision": revision,
    })
}

/// What an announcement writes of a worker.
pub fn announcement_row(worker: &Worker) -> Value {
    json!({
        "id": worker.id.as_str(), "last_announced_availability": worker.last_announced_availability.as_str(),
        "revision": worker.revision,
    })
}

/// What a deregistration writes of a worker.
pub fn deregistration_row(worker: &Worker) -> Value {
    let deregistered_at = worker.life.deregistered_at.map(with_milliseconds);
    json!({ "id": worker.id.as_str(), "deregistered_at": deregistered_at, "revision": worker.revision })
}

/// What a heartbeat writes of a VM. It is not a [`Value`], for the reason of [`UsageRow`]: there are hundreds of VMs in
/// the first inventory of each worker.
#[derive(Serialize)]
pub struct VmRow<'a> {
    worker_id: &'a str,
    id: &'a str,
    name: &'a str,
    status: &'static str,
    vcpus: u32,
    memory_mb: u32,
    revision: u64,
    created_at: String,
    started_at: Option<String>,
    status_since: String,
    note: Option<&'a str>,
    reservation_id: Option<&'a str>,
}

pub fn vm_row(vm: &Vm) -> VmRow<'_> {
    let Vm { id, worker_id, name, status, vcpus, memory_mb, revision, .. } = vm;
    let Vm { created_at, started_at, status_since, .. } = vm;
    VmRow {
        worker_id: worker_id.as_str(),
        id: id.as_str(),
        name,
        status: status.as_str(),
        vcpus: *vcpus,
        memory_mb: *memory_mb,
        revision: *revision,
        created_at: with_milliseconds(created_at.get()),
        started_at: started_at.map(|at| with_milliseconds(at.get())),
        status_since: with_milliseconds(status_since.get()),
        note: vm.note().map(|note| &**note),
        reservation_id: vm.reservation_id().map(|id| &**id),
    }
}

/// An event. It is not a [`Value`] either: there is one for each VM that comes or goes.
#[derive(Serialize)]
pub struct EventRow<'a> {
    revision: u64,
    position: u32,
    at: String,
    kind: &'static str,
    worker_id: Option<&'a str>,
    vm_id: Option<&'a str>,
    reservation_id: Option<&'a str>,
    actor: Option<&'a str>,
    actor_token_id: Option<&'a str>,
    actor_name: Option<&'a str>,
    request_id: Option<&'a str>,
    address: Option<&'a str>,
    reason: Option<&'a str>,
    message: &'a str,
    vm_name: Option<&'a str>,
    vm_status: Option<&'static str>,
    previous_status: Option<&'static str>,
    zone: Option<&'a str>,
}

pub fn event_row(event: &Event) -> EventRow<'_> {
    let Event { cursor, at, kind, worker_id, vm_id, reservation_id, actor, audit, reason, message, .. } = event;
    let Event { vm_name, vm_status, previous_status, zone, oldest_cursor: _, .. } = event;
    let audit = audit.as_deref();
    EventRow {
        revision: cursor.revision,
        position: cursor.position,
        at: with_milliseconds(*at),
        kind: kind.as_str(),
        worker_id: worker_id.as_ref().map(WorkerId::as_str),
        vm_id: vm_id.as_ref().map(VmId::as_str),
        reservation_id: reservation_id.as_ref().map(ReservationId::as_str),
        actor: actor.map(Actor::as_str),
        actor_token_id: audit.and_then(|audit| audit.token_id.as_deref()),
        actor_name: audit.and_then(|audit| audit.name.as_deref()),
        request_id: audit.and_then(|audit| audit.request_id.as_deref()),
        address: audit.and_then(|audit| audit.address.as_deref()),
        reason: reason.as_deref(),
        message,
        vm_name: vm_name.as_deref(),
        vm_status: vm_status.map(VmStatus::as_str),
        previous_status: previous_status.map(VmStatus::as_str),
        zone: zone.as_deref(),
    }
}

/// Reads the idempotency records of these keys.
pub async fn find_idempotency_records(
    connection: &impl ConnectionTrait,
    keys: &[&str],
) -> Result<BTreeMap<Arc<str>, IdempotencyRecord>, Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = idempotency_record::Entity::of_keys(keys.iter().copied()).all(connection).await?;
    let records = rows.into_iter().map(|row| {
        let idempotency_record::Model { key, fingerprint, response_body, response_etag, created_at: _ } = row;
        let response = StoredResponse { body: response_body.into(), tag: response_etag.map(Into::into) };
        (key.into(), IdempotencyRecord { fingerprint: fingerprint.into(), response })
    });
    Ok(records.collect())
}

pub fn idempotency_row(key: &str, record: &IdempotencyRecord, at: Timestamp) -> Value {
    let IdempotencyRecord { fingerprint, response: StoredResponse { body, tag } } = record;
    json!({
        "key": key, "fingerprint": fingerprint, "response_body": body, "response_etag": tag,
        "created_at": with_milliseconds(at),
    })
}
