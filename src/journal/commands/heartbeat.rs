//! A worker sends a heartbeat: that it is alive, what it uses, and perhaps which VMs it has.
//! Which of two workers' reports of one VM is shown is decided by `cluster::Snapshot::authoritative_report`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane, events_if_back, known_vms, mark_alive, rows_of_drain};
use crate::auth::Action;
use crate::clock::{CompactTimestamp, Timestamp};
use crate::cluster::{
    Actor, Availability, EventKind, LivenessCutoff, MeasuredLoad, PolicyError, Snapshot, Tombstone, Vm, VmExtras, VmId,
    VmStatus, Worker,
};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, ColumnGroup, EventDetails};
use crate::journal::incarnation::{boot_is_over, check_incarnation};
use crate::journal::liveness_signs::LivenessSign;
use crate::journal::reserved_slots::{self, rows_to_take};

/// Records a heartbeat.
#[derive(Clone, Debug)]
pub struct RecordHeartbeat {
    /// The worker that it says it is; any text, since an odd one is just unknown.
    pub worker_id: String,
    /// Its contents.
    pub report: HeartbeatReport,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

/// The contents of a heartbeat.
#[derive(Clone, Debug)]
pub struct HeartbeatReport {
    /// The incarnation of the process that sends it.
    pub incarnation: u64,
    /// The boot id of the process, if it gives one.
    pub boot_id: Option<String>,
    /// Its sequence number in that incarnation. A heartbeat whose number is not above the last one that counted comes
    /// late: what it says is not taken, but it is a sign of life, once for each number.
    pub sequence: Option<u64>,
    /// CPU cores allocated to VMs; if left out, what its VMs add up to.
    pub used_cpu_cores: Option<u32>,
    /// Memory allocated to VMs, in MiB; if left out, what its VMs add up to.
    pub used_memory_mb: Option<u32>,
    /// Disk allocated to VMs, in GB; if left out, as before.
    pub used_disk_gb: Option<u32>,
    /// The policy revision that the process has heard of, if it says so.
    pub policy_revision: Option<u64>,
    /// What the process says of its policy hook: that it failed, or that it works; none if it says nothing.
    pub policy_error: Option<Option<Arc<str>>>,
    /// What the host measured of its load, which is handed on and not recorded.
    pub measured: Option<MeasuredLoad>,
    /// Its inventory, or the changes of it.
    pub inventory: Inventory,
}

/// The VMs of a worker, as far as a heartbeat carries them.
#[derive(Clone, Debug, Default)]
pub enum Inventory {
    /// Nothing: they are as they were. That is not the same as an empty list.
    #[default]
    Unchanged,
    /// These are all.
    Whole(Vec<VmReport>),
    /// Some changed, some are gone.
    Delta {
        /// New or changed.
        upsert: Vec<VmReport>,
        /// Gone.
        remove: Vec<String>,
    },
}

/// One VM in a heartbeat.
#[derive(Clone, Debug)]
pub struct VmReport {
    /// The VM; checked here, so that one odd id does not spoil the heartbeat.
    pub id: String,
    /// The name that it was created with.
    pub name: Arc<str>,
    /// What it is doing.
    pub status: VmStatus,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// What the worker says of it.
    pub note: Option<Arc<str>>,
    /// The reservation that it takes.
    pub reservation_id: Option<Arc<str>>,
}

/// A VM of a report that was not taken, because of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedVm {
    /// The id as reported.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// The heartbeat was taken, or was a sign of life.
#[derive(Clone, Debug)]
pub struct HeartbeatAccepted {
    /// The worker right after it.
    pub worker: Arc<Worker>,
    /// Whether the next heartbeat should carry the whole inventory.
    pub resync: bool,
    /// If it came late, the number of the last one that counted.
    pub last_sequence: Option<u64>,
    /// VMs that were not taken.
    pub rejected_vms: Vec<RejectedVm>,
    /// What the host measured of its load; none if the heartbeat came late.
    pub measured: Option<MeasuredLoad>,
}

/// Records heartbeats of many workers that came in one request. They wait and are committed together, and one that is
/// refused does not spoil the others.
#[derive(Clone, Debug)]
pub struct RecordHeartbeats(pub Vec<RecordHeartbeat>);

impl Command for RecordHeartbeats {
    /// The reply to each of them, in order.
    type Reply = Vec<Result<HeartbeatAccepted>>;

    fn lane(&self) -> Lane {
        Lane::Workers
    }

    fn is_heartbeat(&self) -> bool {
        true
    }

    fn liveness_signs(&self, note: &mut dyn FnMut(LivenessSign<'_>)) {
        self.0.iter().for_each(|heartbeat| heartbeat.liveness_signs(note));
    }

    fn rows(&self, known: &Snapshot) -> usize {
        self.0.iter().map(|heartbeat| heartbeat.rows(known)).sum()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        Ok(self.0.iter().map(|heartbeat| heartbeat.decide(batch)).collect())
    }
}

impl Command for RecordHeartbeat {
    type Reply = HeartbeatAccepted;

    fn lane(&self) -> Lane {
        Lane::Workers
    }

    fn is_heartbeat(&self) -> bool {
        true
    }

    fn liveness_signs(&self, note: &mut dyn FnMut(LivenessSign<'_>)) {
        let HeartbeatReport { incarnation, sequence, .. } = self.report;
        let boot_id = self.report.boot_id.as_deref();
        note(LivenessSign { worker_id: &self.worker_id, incarnation: Some(incarnation), boot_id, sequence });
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // Each VM that changed or is gone is a row and an event.
        1 + events_if_back(known, &self.worker_id)
            + rows_of_drain(known, &self.worker_id)
            + match &self.report.inventory {
                Inventory::Unchanged => 0,
                Inventory::Whole(reports) => {
                    let vms = known_vms(known, &self.worker_id).map_or(&[][..], |vms| vms);
                    let is_known =
                        |report: &&VmReport| vms.binary_search_by(|vm| vm.id.as_str().cmp(&report.id)).is_ok();
                    let gone = vms.len().saturating_sub(reports.iter().filter(is_known).count());
                    2 * (reports.len() + gone) + rows_to_take(known, reports.len())
                }
                Inventory::Delta { upsert, remove } => {
                    2 * (upsert.len() + remove.len()) + rows_to_take(known, upsert.len())
                }
            }
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { worker_id, report, offline_after } = self;
        batch.check_scope(worker_id)?;
        let Some(known) = batch.find_worker(worker_id).cloned() else {
            let tombstone = batch.tombstone(worker_id);
            return Err(tombstone.map_or_else(|| not_registered(worker_id), |it| refuse_purged(worker_id, it, report)));
        };
        batch.authorize(Action::Heartbeat, &known)?;
        check_incarnation(&known, report.incarnation, report.boot_id.as_deref())?;
        if known.life.deregistered_at.is_some() {
            let over = known.life.boots.find_over(report.boot_id.as_deref());
            let has_left = || Error::HasLeft(worker_id.clone());
            return Err(over.map_or_else(has_left, |boot_id| boot_is_over(worker_id, &boot_id, known.life.incarnation)));
        }
        if let (Some(this), Some(last)) = (report.sequence, known.usage.sequence)
            && this <= last
        {
            return accept_late(known, this, last, LivenessCutoff::of(batch.at, *offline_after), batch);
        }

        let mut worker = Worker::clone(&known);
        worker.revision = batch.revision;
        worker.usage.last_seen = batch.at;
        worker.usage.sequence = report.sequence.or(known.usage.sequence);
        worker.usage.late_sequence = None;
        let rejected_vms = apply_inventory(&mut worker, &report.inventory, batch);
        let set_aside = count_set_aside(known.usage.set_aside_vms, &report.inventory, &rejected_vms);
        worker.usage.set_aside_vms = set_aside;
        apply_usage(&mut worker, report);
        let policy_report_changed = apply_policy_report(&mut worker, report, batch.at);
        let mut column_groups = Cow::Borrowed(mark_alive(&known, &mut worker, batch));
        record_vm_events(&known, &worker, batch);
        if policy_report_changed {
            column_groups.to_mut().push(ColumnGroup::PolicyReport);
        }
        if known.usage.set_aside_vms != set_aside {
            column_groups.to_mut().push(ColumnGroup::SetAside);
        }
        if batch.advance_drain(&mut worker) {
            column_groups.to_mut().push(ColumnGroup::Drain);
        }
        if reserved_slots::take(&known, &mut worker, *offline_after, batch) {
            column_groups.to_mut().push(ColumnGroup::Reserved);
        }
        // A part of an inventory does not tell how many there are in all.
        let is_part_set_aside = matches!(report.inventory, Inventory::Delta { .. }) && set_aside > 0;
        let resync = !worker.knows_inventory() || is_part_set_aside;
        let worker = batch.put_worker(worker, &column_groups);
        Ok(HeartbeatAccepted { worker, resync, last_sequence: None, rejected_vms, measured: report.measured })
    }
}

fn not_registered(id: &str) -> Error {
    Error::NotRegistered(id.to_owned())
}

/// The refusal of a heartbeat of a worker that was purged: its process may register again unless its boot is over.
fn refuse_purged(id: &str, tombstone: &Tombstone, report: &HeartbeatReport) -> Error {
    let (given, current) = (report.incarnation, tombstone.incarnation);
    if given < current {
        return Error::Superseded { id: id.to_owned(), given, current };
    }
    let names_its_process = given == current || report.boot_id.is_some();
    let over = tombstone.boots.find_over(report.boot_id.as_deref()).filter(|_| names_its_process);
    over.map_or_else(|| not_registered(id), |boot_id| boot_is_over(id, &boot_id, current))
}

/// Takes a late heartbeat: its sequence number is not above the last one that counted. It may repeat that one, or have
/// been overtaken by it, or its process has lost count. So nothing that it says is taken, and the reply tells its
/// process with which number to go on. But each number is a sign of life once: its process was alive when it sent it
/// for the first time. A late heartbeat that is no sign of life is refused if the worker is offline, because a reply
/// that all is well would be wrong then.
fn accept_late(
    known: Arc<Worker>,
    this: u64,
    last: u64,
    cutoff: LivenessCutoff,
    batch: &mut Batch<'_>,
) -> Result<HeartbeatAccepted> {
    // A repetition of the last heartbeat says no more and no less than that one did.
    let resync = this < last || !known.knows_inventory();
    let late = |worker| HeartbeatAccepted {
        worker,
        resync,
        last_sequence: Some(last),
        rejected_vms: Vec::new(),
        measured: None,
    };
    if known.usage.late_sequence.is_some_and(|late| this <= late) {
        return match known.availability(cutoff) {
            Availability::Online => Ok(late(known)),
            Availability::Offline => Err(Error::SaidBefore { id: known.id.to_string(), given: this, last }),
        };
    }
    let mut worker = Worker::clone(&known);
    worker.revision = batch.revision;
    worker.usage.last_seen = batch.at;
    worker.usage.late_sequence = Some(this);
    let column_groups = mark_alive(&known, &mut worker, batch);
    let worker = batch.put_worker(worker, column_groups);
    Ok(late(worker))
}

/// Sets the worker's VMs to what the heartbeat says. VMs that did not change keep their revision.
fn apply_inventory(worker: &mut Worker, inventory: &Inventory, batch: &Batch<'_>) -> Vec<RejectedVm> {
    let mut rejected_vms = Vec::new();
    let mut vms: BTreeMap<VmId, Arc<Vm>> = match inventory {
        Inventory::Unchanged => return rejected_vms,
        Inventory::Whole(_) => BTreeMap::new(),
        Inventory::Delta { .. } => worker.usage.vms.iter().map(|vm| (vm.id.clone(), vm.clone())).collect(),
    };
    let (reports, removed): (&[VmReport], &[String]) = match inventory {
        Inventory::Unchanged => (&[], &[]),
        Inventory::Whole(reports) => (reports, &[]),
        Inventory::Delta { upsert, remove } => (upsert, remove),
    };
    for id in removed {
        vms.remove(id.as_str());
    }
    let at = CompactTimestamp::from(batch.at);
    for report in reports {
        let id = match VmId::parse(&report.id) {
            Ok(id) => id,
            Err(reason) => {
                rejected_vms.push(RejectedVm { id: report.id.clone(), reason: format!("A VM's id {reason}.") });
                continue;
            }
        };
        let vm = Vm {
            id: id.clone(),
            worker_id: worker.id.clone(),
            // A VM without a name is named by its id.
            name: if report.name == id.shared() { id.shared() } else { report.name.clone() },
            status: report.status,
            vcpus: report.vcpus,
            memory_mb: report.memory_mb,
            created_at: at,
            started_at: (report.status == VmStatus::Running).then_some(at),
            status_since: at,
            extras: VmExtras::of(report.note.clone(), report.reservation_id.clone()),
            revision: batch.revision,
        };
        let vm = match worker.vm(id.as_str()) {
            Some(before) if before.says_the_same(&vm) => before.clone(),
            Some(before) => Arc::new(vm.after(before)),
            None => Arc::new(match batch.report_of_another(&id, &worker.id) {
                Some(elsewhere) => vm.after(elsewhere),
                None => vm,
            }),
        };
        vms.insert(id, vm);
    }

    let is_same = vms.len() == worker.usage.vms.len()
        && vms.values().zip(worker.usage.vms.iter()).all(|(new, old)| Arc::ptr_eq(new, old));
    if !is_same {
        worker.usage.vms = vms.into_values().collect::<Vec<_>>().into();
        worker.usage.vms_revision = batch.revision;
    }
    if matches!(inventory, Inventory::Whole(_)) {
        worker.usage.inventory_revision = Some(batch.revision);
    }
    rejected_vms
}

/// How many VMs of the worker hold a slot and are set aside. A whole inventory tells; of a part that has some, there are
/// at least as many as before, and the reply asks for a whole one.
fn count_set_aside(before: u32, inventory: &Inventory, rejected_vms: &[RejectedVm]) -> u32 {
    let reports = match inventory {
        Inventory::Unchanged => return before,
        Inventory::Whole(reports) => reports,
        Inventory::Delta { upsert, .. } => upsert,
    };
    let rejected: BTreeSet<&str> = rejected_vms.iter().map(|rejected| &*rejected.id).collect();
    let rejected = if rejected.is_empty() {
        0
    } else {
        let holders = reports.iter().filter(|report| report.status.holds_slot()).map(|report| &*report.id);
        holders.filter(|id| rejected.contains(id)).collect::<BTreeSet<_>>().len()
    };
    let rejected = u32::try_from(rejected).unwrap_or(u32::MAX);
    match inventory {
        Inventory::Whole(_) => rejected,
        Inventory::Unchanged | Inventory::Delta { .. } => before.max(rejected),
    }
}

/// Sets the worker's usage to the figures of the heartbeat. What the heartbeat leaves out is the sum over the worker's
/// VMs; until this incarnation has said anything of VMs, it stays as it was, also from the incarnation before.
fn apply_usage(worker: &mut Worker, report: &HeartbeatReport) {
    let knows_vms = worker.knows_inventory() || matches!(report.inventory, Inventory::Delta { .. });
    let sum = |size: fn(&Vm) -> u32| {
        knows_vms.then(|| {
            let sum = worker.slot_holders().fold(0_u32, |sum, vm| sum.saturating_add(size(vm)));
            // The largest number that a worker may report for itself is also the largest sum.
            sum.min(i32::MAX.unsigned_abs())
        })
    };
    let used_cpu_cores = report.used_cpu_cores.or_else(|| sum(|vm| vm.vcpus));
    let used_memory_mb = report.used_memory_mb.or_else(|| sum(|vm| vm.memory_mb));
    let usage = &mut worker.usage;
    usage.used_cpu_cores = used_cpu_cores.unwrap_or(usage.used_cpu_cores);
    usage.used_memory_mb = used_memory_mb.unwrap_or(usage.used_memory_mb);
    usage.used_disk_gb = report.used_disk_gb.unwrap_or(usage.used_disk_gb);
}

/// Takes what the heartbeat says of the policy. Answers whether that is something new.
fn apply_policy_report(worker: &mut Worker, report: &HeartbeatReport, at: Timestamp) -> bool {
    let mut is_new = false;
    if report.policy_revision.is_some() && worker.usage.policy_echo != report.policy_revision {
        worker.usage.policy_echo = report.policy_revision;
        is_new = true;
    }
    match &report.policy_error {
        None => {}
        Some(None) => is_new |= worker.usage.policy_error.take().is_some(),
        Some(Some(message)) => {
            // A heartbeat may be on its way while the policy changes: what it says is of the policy that it echoes.
            let policy_revision = report.policy_revision.unwrap_or(worker.policy_revision);
            let is_same =
                |before: &PolicyError| before.message == *message && before.policy_revision == policy_revision;
            if !worker.usage.policy_error.as_deref().is_some_and(is_same) {
                // It has failed since then, also if the drain was said more of meanwhile.
                let since = worker.policy_error().map_or(at, |before| before.since);
                let error = PolicyError { message: message.clone(), since, policy_revision };
                worker.usage.policy_error = Some(Arc::new(error));
                is_new = true;
            }
        }
    }
    is_new
}

/// Records an event for each VM that came, went or changed.
fn record_vm_events(before: &Worker, after: &Worker, batch: &mut Batch<'_>) {
    if before.usage.vms.is_same(&after.usage.vms) {
        return;
    }
    let id = &after.id;
    for old in before.slot_holders().filter(|old| after.vm(old.id.as_str()).is_none()) {
        let elsewhere = batch.report_of_another(&old.id, id).filter(|elsewhere| elsewhere.status.holds_slot());
        let (kind, message) = match elsewhere {
            Some(elsewhere) => (
                EventKind::VmMoved,
                format!(
                    "VM {} is gone from worker {id}, and {} on worker {}",
                    old.id, elsewhere.status, elsewhere.worker_id
                ),
            ),
            None => {
                (EventKind::VmVanished, format!("VM {} is gone from worker {id}, where it was {}", old.id, old.status))
            }
        };
        batch.record_event(Actor::Worker, kind, id, EventDetails::of_vm(Some(old), None, message));
    }
    for new in after.usage.vms.iter() {
        let old = before.vm(new.id.as_str());
        if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
            continue;
        }
        let had_status = |is: fn(VmStatus) -> bool| old.is_some_and(|old| is(old.status));
        let kind = match new.status {
            VmStatus::Failed if !had_status(|old| old == VmStatus::Failed) => EventKind::VmFailed,
            VmStatus::Stopped if had_status(VmStatus::holds_slot) => EventKind::VmStopped,
            VmStatus::Failed | VmStatus::Stopped => EventKind::VmChanged,
            VmStatus::Created | VmStatus::Starting | VmStatus::Running | VmStatus::Stopping => {
                if had_status(VmStatus::holds_slot) { EventKind::VmChanged } else { EventKind::VmStarted }
            }
        };
        let is_now = if kind == EventKind::VmChanged { "is now" } else { "is" };
        let message = match (kind, new.note()) {
            (EventKind::VmStopped | EventKind::VmFailed, _) => format!("VM {} {} on worker {id}", new.id, new.status),
            (_, Some(note)) if old.is_some_and(|old| old.status == new.status && old.note() != new.note()) => {
                format!("VM {} is {} on worker {id}: {note}", new.id, new.status)
            }
            _ => format!("VM {} {is_now} {} on worker {id}", new.id, new.status),
        };
        let details = EventDetails::of_vm(old.map(|old| &**old), Some(new), message);
        batch.record_event(Actor::Worker, kind, id, details);
    }
}
