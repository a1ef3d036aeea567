//! The cluster at one revision.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use chrono::TimeDelta;

use super::change::Changes;
use super::epoch::Epochs;
use super::event::Cursor;
use super::id::{VmId, WorkerId};
use super::sorted::{Chunk, Keyed, Sorted};
use super::totals::Totals;
use super::vm::Vm;
use super::worker::{Tombstone, Worker, WorkerVms};

/// VMs of which more than one worker says that they hold a slot there.
pub type Duplicates = BTreeSet<VmId>;

/// Everything there is to know of the cluster at one revision. Never changes; the next revision
/// is another snapshot that shares whatever stayed the same.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The epochs of the database that this is the state of: part of every cursor.
    pub epochs: Epochs,
    /// The revision.
    pub revision: u64,
    workers: Sorted<Arc<Worker>>,
    vms: Sorted<VmReports>,
    vms_holding_slots: usize,
    totals: Totals,
    /// The workers of each zone, and those without one under the empty text; no zone is empty.
    zones: Arc<BTreeMap<Arc<str>, Sorted<WorkerId>>>,
    /// Nearly always none, and then this is what is asked first.
    duplicates: Arc<Duplicates>,
    tombstones: Sorted<Arc<Tombstone>>,
    ended_silence: TimeDelta,
}

/// Who reports a VM.
#[derive(Clone, Debug)]
pub struct VmReports {
    id: VmId,
    /// Nearly always one; the order is that of the workers' ids.
    reports: Vec<Arc<Vm>>,
}

impl VmReports {
    /// The workers that report it.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerId> {
        self.reports.iter().map(|vm| &vm.worker_id)
    }

    /// The VM that they report.
    pub fn id(&self) -> &VmId {
        &self.id
    }

    /// The one report, if there is only one.
    pub fn only(&self) -> Option<&Arc<Vm>> {
        match self.reports.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn holds_slot(&self) -> bool {
        self.reports.iter().any(|vm| vm.status.holds_slot())
    }

    fn is_duplicate(&self) -> bool {
        self.reports.iter().filter(|vm| vm.status.holds_slot()).count() > 1
    }
}

impl Keyed for WorkerId {
    fn key(&self) -> &str {
        self.as_str()
    }
}

impl Keyed for VmReports {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

impl Snapshot {
    /// A cluster without workers.
    pub fn empty(epochs: Epochs) -> Self {
        Self {
            epochs,
            revision: 0,
            workers: Sorted::default(),
            vms: Sorted::default(),
            vms_holding_slots: 0,
            totals: Totals::default(),
            zones: Arc::default(),
            duplicates: Arc::default(),
            tombstones: Sorted::default(),
            ended_silence: TimeDelta::zero(),
        }
    }

    /// The place in the change log after everything that was committed up to a revision.
    pub fn cursor_after(&self, revision: u64) -> Cursor {
        Cursor::after_revision(self.epochs.of(revision).clone(), revision)
    }

    /// The place in the change log after everything that led to this state.
    pub fn cursor(&self) -> Cursor {
        self.cursor_after(self.revision)
    }

    /// The longest silence that ended with this revision: how long a worker that was heard in this step had not been.
    pub fn ended_silence(&self) -> TimeDelta {
        self.ended_silence
    }

    /// The next snapshot: this one with the changes of `revision`.
    #[must_use]
    pub fn apply(&self, changes: Changes, revision: u64) -> Self {
        let Changes { workers, purged, gone, forgotten } = changes;
        let mut next = self.clone();
        next.revision = revision;
        next.ended_silence = TimeDelta::zero();
        for id in forgotten {
            next.tombstones.remove(id.as_str());
        }
        // Who left before who came: a worker may be removed and registered again in one step.
        for id in purged.iter().map(|tombstone| &tombstone.worker_id).chain(&gone) {
            if let Some(before) = next.workers.remove(id.as_str()) {
                next.totals.replace(Some(&before), None);
                next.change_zone(Some(&before), None);
                next.replace_reports(&before.usage.vms, &[]);
            }
        }
        for tombstone in purged {
            next.tombstones.insert(tombstone);
        }
        for worker in workers {
            let before = next.workers.insert(worker.clone());
            next.totals.replace(before.as_deref(), Some(&worker));
            next.change_zone(before.as_deref(), Some(&worker));
            let old_vms = match before {
                Some(before) => {
                    let silence = worker.usage.last_seen - before.usage.last_seen;
                    next.ended_silence = next.ended_silence.max(silence);
                    before.usage.vms.clone()
                }
                None => WorkerVms::default(),
            };
            next.replace_reports(&old_vms, &worker.usage.vms);
        }
        next
    }

    /// The worker with this id.
    pub fn find_worker(&self, id: &str) -> Option<&Arc<Worker>> {
        self.workers.get(id)
    }

    /// All workers, by id.
    pub fn workers(&self) -> impl DoubleEndedIterator<Item = &Arc<Worker>> {
        self.workers.iter()
    }

    /// The workers between two ids, by id.
    pub fn workers_in<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Worker>> {
        self.workers.range(lower, upper)
    }

    /// The workers of a zone between two ids, by id; those without a zone under the empty text.
    pub fn workers_of_zone<'a>(
        &'a self,
        zone: &str,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Worker>> {
        let ids = self.zones.get(zone).into_iter().flat_map(move |ids| ids.range(lower, upper));
        ids.filter_map(|id| self.find_worker(id.as_str()))
    }

    /// How many workers a zone has; those without a zone under the empty text.
    pub fn worker_count_of_zone(&self, zone: &str) -> usize {
        self.zones.get(zone).map_or(0, Sorted::len)
    }

    /// The zones that workers are in, with the number of these.
    pub fn zones(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.zones.iter().filter(|(name, _)| !name.is_empty()).map(|(name, workers)| (name, workers.len()))
    }

    /// How many workers are registered.
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Who reports the VM with this id.
    pub fn find_vm(&self, id: &str) -> Option<&VmReports> {
        self.vms.get(id)
    }

    /// All VMs, by id, each once however many workers report it.
    pub fn vms(&self) -> impl DoubleEndedIterator<Item = &VmReports> {
        self.vms.iter()
    }

    /// The VMs between two ids, by id, each once however many workers report it.
    pub fn vms_in<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a VmReports> {
        self.vms.range(lower, upper)
    }

    /// How many VMs are reported, whatever their status, each counted once.
    pub fn vm_count(&self) -> usize {
        self.vms.len()
    }

    /// How many VMs hold a slot somewhere, each counted once.
    pub fn vms_holding_slots(&self) -> usize {
        self.vms_holding_slots
    }

    /// Sums over all workers.
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What is left of workers that were purged.
    pub fn tombstones(&self) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.tombstones.iter()
    }

    /// What is left of a worker of this id that was purged.
    pub fn tombstone(&self, id: &str) -> Option<&Arc<Tombstone>> {
        self.tombstones.get(id)
    }

    /// The report that speaks for the VM: of those that hold a slot, the latest; if none does, the
    /// latest of all.
    pub fn home_of<'a>(&'a self, reports: &'a VmReports) -> Option<&'a Arc<Vm>> {
        match reports.reports.as_slice() {
            [only] => Some(only),
            several => several.iter().max_by_key(|vm| self.precedence(vm)),
        }
    }

    /// Of several reports of one VM, the one with the greatest precedence speaks for it.
    pub fn precedence(&self, vm: &Vm) -> (bool, u64, WorkerId) {
        let said_at = self.find_worker(vm.worker_id.as_str()).map_or(0, |worker| worker.last_reported(vm));
        (vm.status.holds_slot(), said_at, vm.worker_id.clone())
    }

    /// Whether more than one worker says that the VM holds a slot there.
    pub fn is_duplicate(&self, vm_id: &str) -> bool {
        self.duplicates.contains(vm_id)
    }

    /// All VMs of which more than one worker says that they hold a slot there. The same set as long as it does not change.
    pub fn duplicates(&self) -> &Arc<Duplicates> {
        &self.duplicates
    }

    /// All workers by id, as they lie: what did not change from one snapshot to the next is the same in both.
    pub fn worker_chunks(&self) -> &[Arc<Chunk<Arc<Worker>>>] {
        self.workers.chunks()
    }

    /// All VMs by id, as they lie: what did not change from one snapshot to the next is the same in both.
    pub fn vm_chunks(&self) -> &[Arc<Chunk<VmReports>>] {
        self.vms.chunks()
    }

    /// Moves a worker from the zone that it was in to the one that it is in.
    fn change_zone(&mut self, before: Option<&Worker>, worker: Option<&Worker>) {
        let zone = |worker: &Worker| worker.identity.zone.clone();
        let (left, entered) = (before.map(zone), worker.map(zone));
        // Most changes are heartbeats, which leave the zones as they are: then they need no copy.
        if left == entered {
            return;
        }
        let zones = Arc::make_mut(&mut self.zones);
        if let Some((zone, worker)) = left.zip(before)
            && let Some(workers) = zones.get_mut(&zone)
        {
            workers.remove(worker.id.as_str());
            if workers.len() == 0 {
                zones.remove(&zone);
            }
        }
        if let Some((zone, worker)) = entered.zip(worker) {
            zones.entry(zone).or_default().insert(worker.id.clone());
        }
    }

    /// Brings the index of VMs from one worker's old list to its new one; both are sorted by id.
    fn replace_reports(&mut self, old: &[Arc<Vm>], new: &[Arc<Vm>]) {
        if std::ptr::eq(old, new) {
            return;
        }
        for vm in old {
            if new.binary_search_by(|other| other.id.cmp(&vm.id)).is_err() {
                self.edit_reports(&vm.id, |reports| reports.retain(|other| other.worker_id != vm.worker_id));
            }
        }
        for vm in new {
            let same = old
                .binary_search_by(|other| other.id.cmp(&vm.id))
                .is_ok_and(|at| old.get(at).is_some_and(|other| Arc::ptr_eq(other, vm)));
            if !same {
                self.edit_reports(&vm.id, |reports| {
                    match reports.binary_search_by(|other| other.worker_id.cmp(&vm.worker_id)) {
                        Ok(at) => reports[at] = vm.clone(),
                        Err(at) => reports.insert(at, vm.clone()),
                    }
                });
            }
        }
    }

    fn edit_reports(&mut self, id: &VmId, edit: impl FnOnce(&mut Vec<Arc<Vm>>)) {
        let before = self.vms.search(id.as_str());
        self.vms_holding_slots -= usize::from(before.is_some_and(VmReports::holds_slot));
        let mut entry = before.cloned().unwrap_or_else(|| VmReports { id: id.clone(), reports: Vec::with_capacity(1) });
        let was_duplicate = entry.is_duplicate();
        edit(&mut entry.reports);
        self.vms_holding_slots += usize::from(entry.holds_slot());
        match (was_duplicate, entry.is_duplicate()) {
            (false, true) => _ = Arc::make_mut(&mut self.duplicates).insert(id.clone()),
            (true, false) => _ = Arc::make_mut(&mut self.duplicates).remove(id),
            (false, false) | (true, true) => {}
        }
        if entry.reports.is_empty() {
            self.vms.remove(id.as_str());
        } else {
            self.vms.insert(entry);
        }
    }
}
