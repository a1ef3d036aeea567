//! The cluster at one revision.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use chrono::TimeDelta;

use super::change::Changes;
use super::epoch::Epochs;
use super::event::Cursor;
use super::id::{VmId, WorkerId};
use super::index::{Ids, Index};
use super::sorted_list::{Chunk, Keyed, SortedList};
use super::status::WorkerStatus;
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
    workers: SortedList<Arc<Worker>>,
    vms: SortedList<VmReports>,
    vms_holding_slots: usize,
    totals: Totals,
    indexes: Indexes,
    /// Nearly always none, and then this is what is asked first.
    duplicates: Arc<Duplicates>,
    tombstones: SortedList<Arc<Tombstone>>,
    ended_silence: TimeDelta,
}

/// By what workers and VMs are found without a look at all of them. No heartbeat changes any of these, unless it changes
/// the set of VMs, or is of a worker that was known to be offline.
#[derive(Clone, Debug, Default)]
struct Indexes {
    /// Those without a zone under the empty text.
    zones: Index<WorkerId>,
    hostnames: Index<WorkerId>,
    /// By [`label_text`].
    labels: Index<WorkerId>,
    /// By revision of the last registration that was more than a retry, as [`revision_text`].
    registrations: Index<WorkerId>,
    by_status: StatusIndex,
    /// VMs by the zones of the workers on which they hold a slot. One that holds a slot on several may be in several
    /// zones, and is shown in one.
    vms_by_zone: Index<VmId>,
}

/// Workers by what they are while none has been silent for too long since it was last announced.
#[derive(Clone, Debug, Default)]
struct StatusIndex {
    active: Ids<WorkerId>,
    draining: Ids<WorkerId>,
    offline: Ids<WorkerId>,
}

/// An order of workers that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexedOrder {
    /// By hostname, then by id.
    Hostname,
    /// By zone, then by id; those without one first.
    Zone,
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

impl Keyed for VmId {
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
            workers: SortedList::default(),
            vms: SortedList::default(),
            vms_holding_slots: 0,
            totals: Totals::default(),
            indexes: Indexes::default(),
            duplicates: Arc::default(),
            tombstones: SortedList::default(),
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
        let is_first = self.workers.len() == 0 && self.tombstones.len() == 0;
        if is_first && changes.purged.is_empty() && is_ascending(&changes.workers) {
            return self.filled(changes.workers, revision);
        }
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
                next.indexes.replace(Some(&before), None);
                next.replace_reports(&before.usage.vms, &[]);
                next.replace_vms_of_zone(Some(&before), None);
            }
        }
        for tombstone in purged {
            next.tombstones.insert(tombstone);
        }
        for worker in workers {
            let before = next.workers.insert(worker.clone());
            next.totals.replace(before.as_deref(), Some(&worker));
            next.indexes.replace(before.as_deref(), Some(&worker));
            let old_vms = match &before {
                Some(before) => {
                    let silence = worker.usage.last_seen - before.usage.last_seen;
                    next.ended_silence = next.ended_silence.max(silence);
                    before.usage.vms.clone()
                }
                None => WorkerVms::default(),
            };
            next.replace_reports(&old_vms, &worker.usage.vms);
            next.replace_vms_of_zone(before.as_deref(), Some(&worker));
        }
        next
    }

    /// This snapshot, in which there is nobody, with workers in ascending order of their ids. What a start reads is all
    /// there is: sorted once and laid down, it takes a fraction of the time that it takes to put it in one by one.
    fn filled(&self, workers: Vec<Arc<Worker>>, revision: u64) -> Self {
        let mut next = self.clone();
        next.revision = revision;
        next.ended_silence = TimeDelta::zero();
        next.indexes = Indexes::of(&workers);
        workers.iter().for_each(|worker| next.totals.replace(None, Some(worker)));
        let mut vms: Vec<Arc<Vm>> = workers.iter().flat_map(|worker| worker.usage.vms.iter().cloned()).collect();
        // Stable, since those of each worker come in order; so the reports of one VM stay in the order of the workers' ids.
        vms.sort_by(|one, other| one.id.cmp(&other.id));
        let ids = vms.chunk_by(|one, other| one.id == other.id).count();
        let mut reports = Vec::with_capacity(ids);
        for of_one in vms.chunk_by(|one, other| one.id == other.id) {
            let Some(first) = of_one.first() else { continue };
            let entry = VmReports { id: first.id.clone(), reports: of_one.to_vec() };
            next.vms_holding_slots += usize::from(entry.holds_slot());
            if entry.is_duplicate() {
                Arc::make_mut(&mut next.duplicates).insert(entry.id.clone());
            }
            reports.push(entry);
        }
        drop(vms);
        next.vms = SortedList::from_sorted(reports.into_iter());
        next.workers = SortedList::from_sorted(workers.into_iter());
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

    /// The workers of a zone; those without a zone under the empty text.
    pub fn workers_of_zone(&self, zone: &str) -> Option<&Ids<WorkerId>> {
        self.indexes.zones.ids(zone)
    }

    /// The workers with a label of this value.
    pub fn workers_with_label(&self, key: &str, value: &str) -> Option<&Ids<WorkerId>> {
        self.indexes.labels.ids(&label_text(key, value))
    }

    /// The workers that have a status while none has been silent for too long since it was last announced. Those that have
    /// been are active or draining here, and in truth offline.
    pub fn workers_announced(&self, status: WorkerStatus) -> &Ids<WorkerId> {
        self.indexes.by_status.of(status)
    }

    /// All workers in an order that is kept: by what they have in common, and with that by id.
    pub fn ordered(&self, order: IndexedOrder) -> &Index<WorkerId> {
        match order {
            IndexedOrder::Hostname => &self.indexes.hostnames,
            IndexedOrder::Zone => &self.indexes.zones,
        }
    }

    /// The workers that have registered after a revision, and not only repeated themselves: latest last.
    pub fn registered_after(&self, revision: u64) -> impl Iterator<Item = &WorkerId> {
        let later = self.indexes.registrations.groups_after(&revision_text(revision));
        later.flat_map(|group| group.ids().range(Bound::Unbounded, Bound::Unbounded))
    }

    /// How many these are.
    pub fn count_registered_after(&self, revision: u64) -> usize {
        self.indexes.registrations.groups_after(&revision_text(revision)).map(|group| group.ids().count()).sum()
    }

    /// VMs that hold a slot on a worker of this zone, or of none under the empty text. A [duplicate](Self::duplicates) may
    /// be shown in another zone than this.
    pub fn vms_of_zone(&self, zone: &str) -> Option<&Ids<VmId>> {
        self.indexes.vms_by_zone.ids(zone)
    }

    /// The zones that workers are in, with the number of these.
    pub fn zones(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let zones = self.indexes.zones.groups(Bound::Excluded(""), Bound::Unbounded);
        zones.map(|zone| (zone.text(), zone.ids().count()))
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
    pub fn authoritative_report<'a>(&'a self, reports: &'a VmReports) -> Option<&'a Arc<Vm>> {
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

    /// Moves the VMs that hold a slot on a worker from the zone that it was in to the one that it is in. Its reports have
    /// been replaced already.
    fn replace_vms_of_zone(&mut self, before: Option<&Worker>, worker: Option<&Worker>) {
        let zone = |worker: Option<&Worker>| worker.map(|worker| worker.identity.zone.clone());
        let (left, entered) = (zone(before), zone(worker));
        let has_stayed = left == entered;
        if has_stayed && before.zip(worker).is_some_and(|(one, other)| one.usage.vms.is_same(&other.usage.vms)) {
            return;
        }
        let holds = |worker: Option<&Worker>, id: &VmId| {
            worker.and_then(|worker| worker.vm(id.as_str())).is_some_and(|vm| vm.status.holds_slot())
        };
        for vm in before.into_iter().flat_map(Worker::slot_holders) {
            let Some(zone) = &left else { continue };
            let still_holds = has_stayed && holds(worker, &vm.id);
            if !still_holds && !self.holds_slot_in_zone(&vm.id, zone, &vm.worker_id) {
                self.indexes.vms_by_zone.remove(zone, vm.id.as_str());
            }
        }
        for vm in worker.into_iter().flat_map(Worker::slot_holders) {
            let Some(zone) = &entered else { continue };
            if !(has_stayed && holds(before, &vm.id)) {
                self.indexes.vms_by_zone.insert(zone, vm.id.clone());
            }
        }
    }

    /// Whether a VM holds a slot in a zone on another worker than this one.
    fn holds_slot_in_zone(&self, id: &VmId, zone: &str, except: &WorkerId) -> bool {
        let reports = self.vms.search(id.as_str()).into_iter().flat_map(|entry| &entry.reports);
        let mut others = reports.filter(|vm| vm.worker_id != *except && vm.status.holds_slot());
        others.any(|vm| self.workers.search(vm.worker_id.as_str()).is_some_and(|other| &*other.identity.zone == zone))
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

impl Indexes {
    /// Those of workers that come in ascending order of their ids.
    fn of(workers: &[Arc<Worker>]) -> Self {
        let by =
            |text: fn(&Worker) -> Arc<str>| Index::of(workers.iter().map(|worker| (text(worker), worker.id.clone())));
        let labels = workers.iter().flat_map(|worker| label_texts(worker).map(|text| (text, worker.id.clone())));
        let mut by_zone = HashMap::<Arc<str>, Vec<VmId>>::new();
        for worker in workers {
            let zone = match by_zone.get_mut(&worker.identity.zone) {
                Some(zone) => zone,
                None => by_zone.entry(worker.identity.zone.clone()).or_default(),
            };
            zone.extend(worker.slot_holders().map(|vm| vm.id.clone()));
        }
        let mut by_status = StatusIndex::default();
        for status in [WorkerStatus::Active, WorkerStatus::Draining, WorkerStatus::Offline] {
            let ids = workers.iter().filter(|worker| worker.announced_status() == status);
            *by_status.of_mut(status) = Ids::of(ids.map(|worker| worker.id.clone()).collect());
        }
        Self {
            zones: by(|worker| worker.identity.zone.clone()),
            hostnames: by(|worker| worker.identity.hostname.clone()),
            labels: Index::of(labels),
            registrations: by(|worker| revision_text(worker.registration_revision)),
            by_status,
            vms_by_zone: Index::of_groups(by_zone),
        }
    }

    /// Puts a worker in the place of what it was before.
    fn replace(&mut self, before: Option<&Worker>, worker: Option<&Worker>) {
        let status = Worker::announced_status;
        if before.map(status) != worker.map(status) {
            if let Some(before) = before {
                self.by_status.of_mut(status(before)).remove(before.id.as_str());
            }
            if let Some(worker) = worker {
                self.by_status.of_mut(status(worker)).insert(worker.id.clone());
            }
        }
        // Most changes are heartbeats, which leave the rest as it is.
        let is_registered_as_before = before.zip(worker).is_some_and(|(before, worker)| {
            before.registration_revision == worker.registration_revision
                // What was read from the database may be equal and not the same.
                && (Arc::ptr_eq(&before.identity, &worker.identity) || before.identity == worker.identity)
        });
        if is_registered_as_before {
            return;
        }
        if let Some(before) = before {
            let id = before.id.as_str();
            self.zones.remove(&before.identity.zone, id);
            self.hostnames.remove(&before.identity.hostname, id);
            label_texts(before).for_each(|text| self.labels.remove(&text, id));
            self.registrations.remove(&revision_text(before.registration_revision), id);
        }
        if let Some(worker) = worker {
            self.zones.insert(&worker.identity.zone, worker.id.clone());
            self.hostnames.insert(&worker.identity.hostname, worker.id.clone());
            label_texts(worker).for_each(|text| self.labels.insert(&text, worker.id.clone()));
            self.registrations.insert(&revision_text(worker.registration_revision), worker.id.clone());
        }
    }
}

impl StatusIndex {
    fn of(&self, status: WorkerStatus) -> &Ids<WorkerId> {
        match status {
            WorkerStatus::Active => &self.active,
            WorkerStatus::Draining => &self.draining,
            WorkerStatus::Offline => &self.offline,
        }
    }

    fn of_mut(&mut self, status: WorkerStatus) -> &mut Ids<WorkerId> {
        match status {
            WorkerStatus::Active => &mut self.active,
            WorkerStatus::Draining => &mut self.draining,
            WorkerStatus::Offline => &mut self.offline,
        }
    }
}

/// A label as one text, which no other label has: the length tells where the value begins.
fn label_text(key: &str, value: &str) -> String {
    let mut text = String::with_capacity(key.len() + value.len() + 4);
    let _ = write!(text, "{}={key}{value}", key.len());
    text
}

fn label_texts(worker: &Worker) -> impl Iterator<Item = Arc<str>> {
    worker.identity.labels.iter().map(|(key, value)| label_text(key, value).into())
}

/// A revision as text, in the same order.
fn revision_text(revision: u64) -> Arc<str> {
    format!("{revision:016x}").into()
}

fn is_ascending(workers: &[Arc<Worker>]) -> bool {
    workers.is_sorted_by(|one, other| one.id < other.id)
}
