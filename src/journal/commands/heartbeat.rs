//! A worker says that it is alive, what it uses, and perhaps which VMs it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane, SignOfLife, boot_is_over, check_life, entries_if_back, heard, vms_on};
use crate::cluster::{Actor, Availability, EventKind, LivenessCutoff, Snapshot, Tombstone, Vm, VmId, VmStatus, Worker};
use crate::error::{Error, Result};
use crate::journal::draft::{Draft, Told};

/// Records a heartbeat.
#[derive(Clone, Debug)]
pub struct RecordHeartbeat {
    /// Who it says it is; any text, since an odd one is just unknown.
    pub worker_id: String,
    /// What it says.
    pub beat: Beat,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
}

/// What a heartbeat says.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The life of the process that says it.
    pub incarnation: u64,
    /// What the process called its start, if it says so.
    pub boot_id: Option<String>,
    /// Its number in that life. One that is not above the last one that counted comes late: what it says is not news, but
    /// it is a sign of life, once for each number.
    pub sequence: Option<u64>,
    /// CPU cores allocated to VMs; if left out, what its VMs add up to.
    pub used_cpu_cores: Option<u32>,
    /// Memory allocated to VMs, in MiB; if left out, what its VMs add up to.
    pub used_memory_mb: Option<u32>,
    /// Disk allocated to VMs, in GB; if left out, as before.
    pub used_disk_gb: Option<u32>,
    /// What it says of its VMs.
    pub inventory: Inventory,
}

/// What a heartbeat says of the worker's VMs.
#[derive(Clone, Debug, Default)]
pub enum Inventory {
    /// Nothing: they are as they were. Not the same as an empty list.
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

/// What a worker says of one VM.
#[derive(Clone, Debug)]
pub struct VmReport {
    /// The VM; checked here, so that one odd id does not spoil the heartbeat.
    pub id: String,
    /// Name given by whoever created it.
    pub name: Arc<str>,
    /// What it is doing.
    pub status: VmStatus,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
}

/// A VM of a report that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedVm {
    /// The id as reported.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// The heartbeat was heard.
#[derive(Clone, Debug)]
pub struct HeartbeatAccepted {
    /// The worker right after it.
    pub worker: Arc<Worker>,
    /// Whether the next one should carry the whole inventory.
    pub resync: bool,
    /// If it came late, the number of the last one that counted.
    pub last_sequence: Option<u64>,
    /// VMs that were left out.
    pub rejected_vms: Vec<RejectedVm>,
}

/// Records heartbeats of many workers that came in one request, together or not at all; one that is refused does not
/// spoil the others.
#[derive(Clone, Debug)]
pub struct RecordHeartbeats(pub Vec<RecordHeartbeat>);

impl Command for RecordHeartbeats {
    /// What each of them is answered, in order.
    type Reply = Vec<Result<HeartbeatAccepted>>;

    fn lane(&self) -> Lane {
        Lane::Workers
    }

    fn is_heartbeat(&self) -> bool {
        true
    }

    fn signs_of_life(&self, hear: &mut dyn FnMut(SignOfLife<'_>)) {
        self.0.iter().for_each(|beat| beat.signs_of_life(hear));
    }

    fn rows(&self, known: &Snapshot) -> usize {
        self.0.iter().map(|beat| beat.rows(known)).sum()
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        Ok(self.0.iter().map(|beat| beat.decide(draft)).collect())
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

    fn signs_of_life(&self, hear: &mut dyn FnMut(SignOfLife<'_>)) {
        let Beat { incarnation, sequence, .. } = self.beat;
        let boot_id = self.beat.boot_id.as_deref();
        hear(SignOfLife { worker_id: &self.worker_id, incarnation: Some(incarnation), boot_id, sequence });
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // Each VM that changed or is gone is a row, and an entry of the change log.
        1 + entries_if_back(known, &self.worker_id)
            + match &self.beat.inventory {
                Inventory::Unchanged => 0,
                Inventory::Whole(reports) => {
                    let vms = vms_on(known, &self.worker_id).map_or(&[][..], |vms| vms);
                    let is_known =
                        |report: &&VmReport| vms.binary_search_by(|vm| vm.id.as_str().cmp(&report.id)).is_ok();
                    let gone = vms.len().saturating_sub(reports.iter().filter(is_known).count());
                    2 * (reports.len() + gone)
                }
                Inventory::Delta { upsert, remove } => 2 * (upsert.len() + remove.len()),
            }
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { worker_id, beat, offline_after } = self;
        let Some(known) = draft.find_worker(worker_id).cloned() else {
            let tombstone = draft.tombstone(worker_id);
            return Err(tombstone.map_or_else(|| not_registered(worker_id), |it| is_purged(worker_id, it, beat)));
        };
        check_life(&known, beat.incarnation, beat.boot_id.as_deref())?;
        if known.life.deregistered_at.is_some() {
            let over = known.life.boots.find_over(beat.boot_id.as_deref());
            let has_left = || Error::HasLeft(worker_id.clone());
            return Err(over.map_or_else(has_left, |boot_id| boot_is_over(worker_id, &boot_id, known.life.incarnation)));
        }
        if let (Some(this), Some(last)) = (beat.sequence, known.usage.sequence)
            && this <= last
        {
            return hear_late(known, this, last, LivenessCutoff::of(draft.at, *offline_after), draft);
        }

        let mut worker = Worker::clone(&known);
        worker.revision = draft.revision;
        worker.usage.last_seen = draft.at;
        worker.usage.sequence = beat.sequence.or(known.usage.sequence);
        worker.usage.late_sequence = None;
        let rejected_vms = take_inventory(&mut worker, &beat.inventory, draft);
        take_usage(&mut worker, beat);
        let parts = heard(&known, &mut worker, draft);
        tell_of_vms(&known, &worker, draft);
        let resync = !worker.knows_inventory();
        let worker = draft.put(worker, parts);
        Ok(HeartbeatAccepted { worker, resync, last_sequence: None, rejected_vms })
    }
}

fn not_registered(id: &str) -> Error {
    Error::NotRegistered(id.to_owned())
}

/// Why a heartbeat of a worker that was purged is refused: its process may register again unless it is over.
fn is_purged(id: &str, tombstone: &Tombstone, beat: &Beat) -> Error {
    let (given, current) = (beat.incarnation, tombstone.incarnation);
    if given < current {
        return Error::Superseded { id: id.to_owned(), given, current };
    }
    let says_who = given == current || beat.boot_id.is_some();
    let over = tombstone.boots.find_over(beat.boot_id.as_deref()).filter(|_| says_who);
    over.map_or_else(|| not_registered(id), |boot_id| boot_is_over(id, &boot_id, current))
}

/// Takes a heartbeat whose number is not above the last one that counted. It may be a repetition of that one, or be late;
/// or its process has lost count. So what it says is not taken, and its process is told with which number to go on. But
/// its process is alive, or was when it said this for the first time: each number is a sign of life once. To be told that
/// all is well and be offline all the same would be no answer, so then it is refused.
fn hear_late(
    known: Arc<Worker>,
    this: u64,
    last: u64,
    cutoff: LivenessCutoff,
    draft: &mut Draft<'_>,
) -> Result<HeartbeatAccepted> {
    // A repetition of the last one tells all that it told.
    let resync = this < last || !known.knows_inventory();
    let late = |worker| HeartbeatAccepted { worker, resync, last_sequence: Some(last), rejected_vms: Vec::new() };
    if known.usage.late_sequence.is_some_and(|late| this <= late) {
        return match known.availability(cutoff) {
            Availability::Online => Ok(late(known)),
            Availability::Offline => Err(Error::SaidBefore { id: known.id.to_string(), given: this, last }),
        };
    }
    let mut worker = Worker::clone(&known);
    worker.revision = draft.revision;
    worker.usage.last_seen = draft.at;
    worker.usage.late_sequence = Some(this);
    let parts = heard(&known, &mut worker, draft);
    let worker = draft.put(worker, parts);
    Ok(late(worker))
}

/// Brings the worker's VMs to what the heartbeat says. Unchanged VMs keep their revision.
fn take_inventory(worker: &mut Worker, inventory: &Inventory, draft: &Draft<'_>) -> Vec<RejectedVm> {
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
            // Who gave no name has the id for one.
            name: if report.name == id.shared() { id.shared() } else { report.name.clone() },
            status: report.status,
            vcpus: report.vcpus,
            memory_mb: report.memory_mb,
            revision: draft.revision,
        };
        let unchanged = worker.vm(id.as_str()).filter(|before| before.equals_but_for_revision(&vm)).cloned();
        vms.insert(id, unchanged.unwrap_or_else(|| Arc::new(vm)));
    }

    let is_same = vms.len() == worker.usage.vms.len()
        && vms.values().zip(worker.usage.vms.iter()).all(|(new, old)| Arc::ptr_eq(new, old));
    if !is_same {
        worker.usage.vms = vms.into_values().collect::<Vec<_>>().into();
        worker.usage.vms_revision = draft.revision;
    }
    if matches!(inventory, Inventory::Whole(_)) {
        worker.usage.inventory_revision = Some(draft.revision);
    }
    rejected_vms
}

/// Takes the figures of the heartbeat; what it leaves out, its VMs tell. Until this life of its process has said anything
/// of VMs, it is as it was: also in the life before.
fn take_usage(worker: &mut Worker, beat: &Beat) {
    let knows_vms = worker.knows_inventory() || matches!(beat.inventory, Inventory::Delta { .. });
    let sum = |size: fn(&Vm) -> u32| {
        knows_vms.then(|| {
            let sum = worker.slot_holders().fold(0_u32, |sum, vm| sum.saturating_add(size(vm)));
            // What one worker may report for itself, its VMs may not exceed together.
            sum.min(i32::MAX.unsigned_abs())
        })
    };
    let used_cpu_cores = beat.used_cpu_cores.or_else(|| sum(|vm| vm.vcpus));
    let used_memory_mb = beat.used_memory_mb.or_else(|| sum(|vm| vm.memory_mb));
    let usage = &mut worker.usage;
    usage.used_cpu_cores = used_cpu_cores.unwrap_or(usage.used_cpu_cores);
    usage.used_memory_mb = used_memory_mb.unwrap_or(usage.used_memory_mb);
    usage.used_disk_gb = beat.used_disk_gb.unwrap_or(usage.used_disk_gb);
}

/// Writes into the change log what became of each VM.
fn tell_of_vms(before: &Worker, after: &Worker, draft: &mut Draft<'_>) {
    if before.usage.vms.is_same(&after.usage.vms) {
        return;
    }
    let id = &after.id;
    let mut tell = |kind, vm: &Vm, message: String| {
        draft.tell(Actor::Worker, kind, id, Told { vm_id: Some(vm.id.clone()), reason: None, message });
    };
    for old in before.slot_holders() {
        if after.vm(old.id.as_str()).is_none() {
            tell(EventKind::VmStopped, old, format!("VM {} is gone from worker {id}", old.id));
        }
    }
    for new in after.usage.vms.iter() {
        let old = before.vm(new.id.as_str());
        let held = old.is_some_and(|old| old.status.holds_slot());
        match (held, new.status.holds_slot()) {
            (false, true) => tell(EventKind::VmStarted, new, format!("VM {} is {} on worker {id}", new.id, new.status)),
            (true, false) => tell(EventKind::VmStopped, new, format!("VM {} {} on worker {id}", new.id, new.status)),
            _ if old.is_some_and(|old| Arc::ptr_eq(old, new)) => {}
            _ => tell(EventKind::VmChanged, new, format!("VM {} is now {} on worker {id}", new.id, new.status)),
        }
    }
}
