//! The snapshot: the immutable state of the cluster at one revision, with its indexes, and the rule which of
//! several reports of one VM is authoritative.
//!
//! The next snapshot is made from the one before by [`Changes`], and shares everything that stayed the same. A snapshot
//! does not know what time it is: what depends on the moment is read from a [`View`](super::View).

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use chrono::TimeDelta;

use super::change::Changes;
use super::epoch::Epochs;
use super::event::Cursor;
use super::held_reservations::{Reservations, ReservedAt};
use super::id::{ReservationId, VmId, WorkerId};
use super::index::{Ids, Index};
use super::reservation::Reservation;
use super::sorted_list::{Chunk, Keyed, SortedList};
use super::status::WorkerStatus;
use super::totals::Totals;
use super::vm::Vm;
use super::worker::{Tombstone, Worker, WorkerVms};
use crate::auth::{Role, Token, TokenId, TokenScope};
use crate::clock::Timestamp;

/// VMs that hold a slot on more than one worker, by the reports of these workers.
pub type Duplicates = BTreeSet<VmId>;

/// The state of the cluster at one revision. It never changes; the next revision is another snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The epochs of the database, one of which is part of every cursor.
    pub epochs: Epochs,
    /// The revision.
    pub revision: u64,
    workers: SortedList<Arc<Worker>>,
    vms: SortedList<VmReports>,
    vms_holding_slots: usize,
    totals: Totals,
    indexes: Indexes,
    /// Nearly always empty.
    duplicates: Arc<Duplicates>,
    tombstones: SortedList<Arc<Tombstone>>,
    tokens: SortedList<Arc<Token>>,
    /// Tokens of the role worker that name a worker, by that; without those that were revoked.
    tokens_by_worker: Index<TokenId>,
    reservations: Reservations,
    ended_silence: TimeDelta,
}

/// The indexes of workers and VMs. A heartbeat changes one of them only if it changes the set of VMs, or is the first
/// one of a worker that was announced offline.
#[derive(Clone, Debug, Default)]
struct Indexes {
    /// Workers by zone; those without a zone under the empty text.
    zones: Index<WorkerId>,
    hostnames: Index<WorkerId>,
    /// Workers by [`label_text`].
    labels: Index<WorkerId>,
    /// Workers by the revision of their last registration that was more than a retry, as [`revision_text`].
    registrations: Index<WorkerId>,
    /// Workers by the token that speaks for them.
    owners: Index<WorkerId>,
    by_status: StatusIndex,
    /// Workers whose drain stands, online or not.
    draining: Ids<WorkerId>,
    /// VMs by the zones of the workers on which they hold a slot. A VM that holds a slot on several workers is in the
    /// zones of all of them, and shown in one.
    vms_by_zone: Index<VmId>,
}

/// Workers by their [announced status](Worker::announced_status).
#[derive(Clone, Debug, Default)]
struct StatusIndex {
    active: Ids<WorkerId>,
    draining: Ids<WorkerId>,
    offline: Ids<WorkerId>,
}

/// An order of workers, beside that by id, for which there is an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexedOrder {
    /// By hostname, then by id.
    Hostname,
    /// By zone, then by id; those without one first.
    Zone,
}

/// The reports of one VM, at least one.
#[derive(Clone, Debug)]
pub struct VmReports(Reports);

#[derive(Clone, Debug)]
enum Reports {
    /// The only report, which none went from beside since this server has started: as of nearly all VMs.
    One(Arc<Vm>),
    Several(Box<SeveralReports>),
}

/// Reports of one VM of which there are several, or were.
#[derive(Clone, Debug)]
struct SeveralReports {
    id: VmId,
    /// By the ids of their workers.
    reports: Vec<Arc<Vm>>,
    /// The revision at which a report last went while others stayed, or a later one; 0 if none went since this server
    /// has started.
    last_removal: u64,
}

impl VmReports {
    /// The reports of a VM, by the ids of their workers; none without any.
    fn of(id: &VmId, reports: Vec<Arc<Vm>>, last_removal: u64) -> Option<Self> {
        match reports.as_slice() {
            [] => None,
            [only] if last_removal == 0 => Some(Self(Reports::One(only.clone()))),
            _ => Some(Self(Reports::Several(Box::new(SeveralReports { id: id.clone(), reports, last_removal })))),
        }
    }

    fn as_slice(&self) -> &[Arc<Vm>] {
        match &self.0 {
            Reports::One(only) => std::slice::from_ref(only),
            Reports::Several(several) => &several.reports,
        }
    }

    fn last_removal(&self) -> u64 {
        match &self.0 {
            Reports::One(_) => 0,
            Reports::Several(several) => several.last_removal,
        }
    }

    /// The workers that report it.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerId> {
        self.as_slice().iter().map(|vm| &vm.worker_id)
    }

    /// The reports of all workers but one.
    pub fn of_others<'a>(&'a self, worker: &WorkerId) -> impl Iterator<Item = &'a Arc<Vm>> {
        self.as_slice().iter().filter(move |vm| vm.worker_id != *worker)
    }

    /// The id of the VM.
    pub fn id(&self) -> &VmId {
        match &self.0 {
            Reports::One(only) => &only.id,
            Reports::Several(several) => &several.id,
        }
    }

    /// The one report, if there is only one.
    pub fn only(&self) -> Option<&Arc<Vm>> {
        match self.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn holds_slot(&self) -> bool {
        self.as_slice().iter().any(|vm| vm.status.holds_slot())
    }

    fn is_duplicate(&self) -> bool {
        self.as_slice().iter().filter(|vm| vm.status.holds_slot()).count() > 1
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
        self.id().as_str()
    }
}

impl Keyed for TokenId {
    fn key(&self) -> &str {
        self.as_str()
    }
}

impl Keyed for Token {
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
            tokens: SortedList::default(),
            tokens_by_worker: Index::default(),
            reservations: Reservations::default(),
            ended_silence: TimeDelta::zero(),
        }
    }

    /// The cursor after everything that was committed up to a revision.
    pub fn cursor_after(&self, revision: u64) -> Cursor {
        Cursor::after_revision(self.epochs.of(revision).clone(), revision)
    }

    /// The cursor after everything that led to this state.
    pub fn cursor(&self) -> Cursor {
        self.cursor_after(self.revision)
    }

    /// The longest time since the heartbeat before, among the workers of which a heartbeat was committed with this
    /// revision.
    pub fn ended_silence(&self) -> TimeDelta {
        self.ended_silence
    }

    /// The next snapshot: this one with the changes of `revision`.
    #[must_use]
    pub fn apply(&self, mut changes: Changes, revision: u64) -> Self {
        let (tokens, forgotten) = (std::mem::take(&mut changes.tokens), std::mem::take(&mut changes.forgotten_tokens));
        let reservations = std::mem::take(&mut changes.reservations);
        let forgotten_reservations = std::mem::take(&mut changes.forgotten_reservations);
        let mut next = self.apply_to_workers(changes, revision);
        for id in forgotten {
            if let Some(gone) = next.tokens.remove(id.as_str())
                && let TokenScope::Worker(worker) = &gone.scope
            {
                next.tokens_by_worker.remove(worker, id.as_str());
            }
        }
        // Sessions last: each finds the token that it was opened with.
        let (tokens, sessions): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| token.parent.is_none());
        for mut token in tokens.into_iter().chain(sessions) {
            let before = next.tokens.search(token.id.as_str());
            if let Some(before) = before {
                token.last_used.continues(&before.last_used);
            }
            let parent = || next.tokens.search(token.parent.as_ref()?.as_str());
            if let Some(spent) = before.or_else(parent).map(|shares| shares.spent.clone()) {
                Arc::make_mut(&mut token).spent = spent;
            }
            if let (TokenScope::Worker(worker), Role::Worker) = (&token.scope, token.role) {
                match token.revoked_at {
                    None => next.tokens_by_worker.insert(worker, token.id.clone()),
                    Some(_) => next.tokens_by_worker.remove(worker, token.id.as_str()),
                }
            }
            next.tokens.insert(token);
        }
        forgotten_reservations.iter().for_each(|id| next.reservations.remove(id.as_str()));
        reservations.into_iter().for_each(|reservation| next.reservations.insert(reservation));
        next
    }

    fn apply_to_workers(&self, changes: Changes, revision: u64) -> Self {
        let is_first = self.workers.len() == 0 && self.tombstones.len() == 0;
        if is_first && changes.purged.is_empty() && is_ascending(&changes.workers) {
            return self.filled(changes.workers, revision);
        }
        let Changes { workers, purged, gone, forgotten, .. } = changes;
        let mut next = self.clone();
        next.revision = revision;
        next.ended_silence = TimeDelta::zero();
        for id in forgotten {
            next.tombstones.remove(id.as_str());
        }
        // Removals come before additions: a worker may be removed and registered again in one step.
        for id in purged.iter().map(|tombstone| &tombstone.worker_id).chain(&gone) {
            if let Some(before) = next.workers.remove(id.as_str()) {
                next.totals.replace(Some(&before), None);
                next.indexes.replace(Some(&before), None);
                next.replace_reports(&before.usage.vms, &[], revision);
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
            next.replace_reports(&old_vms, &worker.usage.vms, worker.usage.vms_revision);
            next.replace_vms_of_zone(before.as_deref(), Some(&worker));
        }
        next
    }

    /// This snapshot, which is empty, with workers that come in ascending order of their ids. This is for the start,
    /// when the whole state is read at once: to sort it once takes a fraction of the time of inserting one by one.
    fn filled(&self, workers: Vec<Arc<Worker>>, revision: u64) -> Self {
        let mut next = self.clone();
        next.revision = revision;
        next.ended_silence = TimeDelta::zero();
        next.indexes = Indexes::of(&workers);
        workers.iter().for_each(|worker| next.totals.replace(None, Some(worker)));
        let mut vms: Vec<Arc<Vm>> = workers.iter().flat_map(|worker| worker.usage.vms.iter().cloned()).collect();
        // The sort is stable, so that the reports of one VM stay in the order of their workers' ids.
        vms.sort_by(|one, other| one.id.cmp(&other.id));
        let reports = || vms.chunk_by(|one, other| one.id == other.id);
        let entries = reports().filter_map(|of_one| match of_one {
            [] => None,
            [only] => Some(VmReports(Reports::One(only.clone()))),
            [first, ..] => VmReports::of(&first.id, of_one.to_vec(), 0),
        });
        let entries = entries.inspect(|entry| {
            next.vms_holding_slots += usize::from(entry.holds_slot());
            if entry.is_duplicate() {
                Arc::make_mut(&mut next.duplicates).insert(entry.id().clone());
            }
        });
        next.vms = SortedList::from_sorted_with_len(entries, reports().count());
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

    /// The workers that have a label with this value.
    pub fn workers_with_label(&self, key: &str, value: &str) -> Option<&Ids<WorkerId>> {
        self.indexes.labels.ids(&label_text(key, value))
    }

    /// The workers with an [announced status](Worker::announced_status). A worker that has been silent for too long and
    /// is not announced yet is active or draining here, although its status is offline.
    pub fn workers_announced(&self, status: WorkerStatus) -> &Ids<WorkerId> {
        self.indexes.by_status.of(status)
    }

    /// How many workers there are whose drain stands.
    pub fn draining_count(&self) -> usize {
        self.indexes.draining.count()
    }

    /// The ids of the workers whose drain stands.
    pub fn draining_ids(&self) -> &Ids<WorkerId> {
        &self.indexes.draining
    }

    /// The workers whose drain stands, whether they are online or not.
    pub fn draining_workers(&self) -> impl DoubleEndedIterator<Item = &Arc<Worker>> {
        let ids = self.indexes.draining.range(Bound::Unbounded, Bound::Unbounded);
        ids.filter_map(|id| self.find_worker(id.as_str()))
    }

    /// The index of all workers in an order: by hostname or zone, and under the same text by id.
    pub fn ordered(&self, order: IndexedOrder) -> &Index<WorkerId> {
        match order {
            IndexedOrder::Hostname => &self.indexes.hostnames,
            IndexedOrder::Zone => &self.indexes.zones,
        }
    }

    /// The workers whose last registration that was more than a retry is after a revision, the latest last.
    pub fn registered_after(&self, revision: u64) -> impl Iterator<Item = &WorkerId> {
        let later = self.indexes.registrations.groups_after(&revision_text(revision));
        later.flat_map(|group| group.ids().range(Bound::Unbounded, Bound::Unbounded))
    }

    /// How many workers [`registered_after`](Self::registered_after) has.
    pub fn count_registered_after(&self, revision: u64) -> usize {
        self.indexes.registrations.groups_after(&revision_text(revision)).map(|group| group.ids().count()).sum()
    }

    /// VMs that hold a slot on a worker in this zone; under the empty text, on a worker without a zone. A
    /// [duplicate](Self::duplicates) among them may be shown in another zone.
    pub fn vms_of_zone(&self, zone: &str) -> Option<&Ids<VmId>> {
        self.indexes.vms_by_zone.ids(zone)
    }

    /// The zones, each with the number of its workers.
    pub fn zones(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let zones = self.indexes.zones.groups(Bound::Excluded(""), Bound::Unbounded);
        zones.map(|zone| (zone.text(), zone.ids().count()))
    }

    /// How many workers are registered.
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// The reports of the VM with this id.
    pub fn find_vm(&self, id: &str) -> Option<&VmReports> {
        self.vms.get(id)
    }

    /// The revision at which what is shown of a VM last changed, or a later one. While several workers report the VM,
    /// that is the present one, since any heartbeat of theirs may change which report is shown. That one of several
    /// reports went before this server started is not known.
    pub(super) fn reports_revision(&self, id: &str) -> u64 {
        self.find_vm(id).map_or(self.revision, |entry| match entry.only() {
            Some(vm) => vm.revision.max(entry.last_removal()),
            None => self.revision,
        })
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

    /// The tombstones of workers that were purged.
    pub fn tombstones(&self) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.tombstones.iter()
    }

    /// The tombstone of a worker with this id that was purged.
    pub fn tombstone(&self, id: &str) -> Option<&Arc<Tombstone>> {
        self.tombstones.get(id)
    }

    /// The token with this public id, whether it is accepted or not.
    pub fn token(&self, id: &str) -> Option<&Arc<Token>> {
        self.tokens.get(id)
    }

    /// All tokens, by id: those that ended, too.
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = &Arc<Token>> {
        self.tokens.iter()
    }

    /// How many tokens there are, with those that ended.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens of the role worker that name this worker, without those that were revoked.
    pub fn tokens_of_worker(&self, worker: &str) -> impl Iterator<Item = &Arc<Token>> {
        let ids = self.tokens_by_worker.ids(worker).into_iter();
        ids.flat_map(|ids| ids.range(Bound::Unbounded, Bound::Unbounded)).filter_map(|id| self.token(id.as_str()))
    }

    /// The reservation with this id, whether it holds room or has ended.
    pub fn reservation(&self, id: &str) -> Option<&Arc<Reservation>> {
        self.reservations.get(id)
    }

    /// The reservations between two ids, by id, and so by when they were made: those that have ended, too.
    pub fn reservations_in<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Reservation>> {
        self.reservations.range(lower, upper)
    }

    /// How many reservations there are, with those that have ended.
    pub fn reservation_count(&self) -> usize {
        self.reservations.len()
    }

    /// The reservations whose end is not announced, those first that expire first.
    pub fn held_reservations(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.reservations.held()
    }

    /// How many reservations there are whose end is not announced.
    pub fn held_reservation_count(&self) -> usize {
        self.reservations.count_held()
    }

    /// How many slots all reservations have that are kept.
    pub fn reserved_slot_count(&self) -> usize {
        self.reservations.slots()
    }

    /// How many slots are held, as far as is committed.
    pub fn held_slot_count(&self) -> usize {
        self.reservations.held_slots()
    }

    /// The reservation that holds a slot for this VM, as far as is committed.
    pub fn reservation_for_vm(&self, vm: &str) -> Option<&ReservationId> {
        self.reservations.held_for(vm)
    }

    /// The reservations that hold a slot on this worker, as far as is committed.
    pub fn reservations_on(&self, worker: &str) -> impl Iterator<Item = &Arc<Reservation>> {
        self.reservations.held_on(worker)
    }

    /// How many reservations hold a slot on this worker.
    pub fn reservation_count_on(&self, worker: &str) -> usize {
        self.reservations.held_count_on(worker)
    }

    /// The reservations whose time is over, and whose end is not announced.
    pub fn overdue_reservations(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Reservation>> {
        self.reservations.overdue(now)
    }

    /// What is reserved on each worker at a moment.
    pub fn reserved_at(&self, now: Timestamp) -> ReservedAt {
        ReservedAt::without(self.overdue_reservations(now))
    }

    /// Whether the server asks for tokens: whether there are any. Those that ended count, so that a server whose last
    /// token expires does not open itself to everybody.
    pub fn has_tokens(&self) -> bool {
        self.tokens.len() > 0
    }

    /// How many workers a token speaks for.
    pub fn count_owned_by(&self, token: &TokenId) -> usize {
        self.indexes.owners.ids(token.as_str()).map_or(0, Ids::count)
    }

    /// The authoritative report of a VM: the latest of those that hold a slot; if none does, the latest of all.
    pub fn authoritative_report<'a>(&'a self, reports: &'a VmReports) -> Option<&'a Arc<Vm>> {
        match reports.as_slice() {
            [only] => Some(only),
            several => several.iter().max_by_key(|vm| self.precedence(vm)),
        }
    }

    /// The rank of a report among several of one VM: the highest one is authoritative.
    pub fn precedence(&self, vm: &Vm) -> (bool, u64, WorkerId) {
        let said_at = self.find_worker(vm.worker_id.as_str()).map_or(0, |worker| worker.last_reported(vm));
        (vm.status.holds_slot(), said_at, vm.worker_id.clone())
    }

    /// Whether the VM holds a slot on more than one worker.
    pub fn is_duplicate(&self, vm_id: &str) -> bool {
        self.duplicates.contains(vm_id)
    }

    /// All VMs that hold a slot on more than one worker. As long as the set does not change, it is the same allocation.
    pub fn duplicates(&self) -> &Arc<Duplicates> {
        &self.duplicates
    }

    /// All workers by id, in chunks: a chunk that did not change is the same allocation in the next snapshot.
    pub fn worker_chunks(&self) -> &[Arc<Chunk<Arc<Worker>>>] {
        self.workers.chunks()
    }

    /// All VMs by id, in chunks: a chunk that did not change is the same allocation in the next snapshot.
    pub fn vm_chunks(&self) -> &[Arc<Chunk<VmReports>>] {
        self.vms.chunks()
    }

    /// Updates the index of VMs by zone for a worker that has changed: removes the VMs that hold no slot in its old
    /// zone any more, and inserts those that hold one in its new zone. Its reports have to be replaced before.
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

    /// Whether a VM holds a slot on a worker in a zone, other than one worker.
    fn holds_slot_in_zone(&self, id: &VmId, zone: &str, except: &WorkerId) -> bool {
        let reports = self.vms.search(id.as_str()).into_iter().flat_map(VmReports::as_slice);
        let mut others = reports.filter(|vm| vm.worker_id != *except && vm.status.holds_slot());
        others.any(|vm| self.workers.search(vm.worker_id.as_str()).is_some_and(|other| &*other.identity.zone == zone))
    }

    /// Replaces the reports of one worker, whose VMs changed at this revision, by its new ones; both lists are sorted by
    /// id.
    fn replace_reports(&mut self, old: &[Arc<Vm>], new: &[Arc<Vm>], revision: u64) {
        if std::ptr::eq(old, new) {
            return;
        }
        for vm in old {
            if new.binary_search_by(|other| other.id.cmp(&vm.id)).is_err() {
                let remove = |reports: &mut Vec<Arc<Vm>>| reports.retain(|other| other.worker_id != vm.worker_id);
                self.edit_reports(&vm.id, revision, remove);
            }
        }
        for vm in new {
            let same = old
                .binary_search_by(|other| other.id.cmp(&vm.id))
                .is_ok_and(|at| old.get(at).is_some_and(|other| Arc::ptr_eq(other, vm)));
            if !same {
                self.edit_reports(&vm.id, revision, |reports| {
                    match reports.binary_search_by(|other| other.worker_id.cmp(&vm.worker_id)) {
                        Ok(at) => reports[at] = vm.clone(),
                        Err(at) => reports.insert(at, vm.clone()),
                    }
                });
            }
        }
    }

    fn edit_reports(&mut self, id: &VmId, revision: u64, edit: impl FnOnce(&mut Vec<Arc<Vm>>)) {
        let before = self.vms.search(id.as_str());
        self.vms_holding_slots -= usize::from(before.is_some_and(VmReports::holds_slot));
        let mut reports = before.map_or_else(|| Vec::with_capacity(1), |before| before.as_slice().to_vec());
        let (was_duplicate, count) = (before.is_some_and(VmReports::is_duplicate), reports.len());
        let last_removal = before.map_or(0, VmReports::last_removal);
        edit(&mut reports);
        let last_removal = if reports.len() < count { revision } else { last_removal };
        let entry = VmReports::of(id, reports, last_removal);
        self.vms_holding_slots += usize::from(entry.as_ref().is_some_and(VmReports::holds_slot));
        match (was_duplicate, entry.as_ref().is_some_and(VmReports::is_duplicate)) {
            (false, true) => _ = Arc::make_mut(&mut self.duplicates).insert(id.clone()),
            (true, false) => _ = Arc::make_mut(&mut self.duplicates).remove(id),
            (false, false) | (true, true) => {}
        }
        match entry {
            Some(entry) => _ = self.vms.insert(entry),
            None => _ = self.vms.remove(id.as_str()),
        }
    }
}

impl Indexes {
    /// The indexes of workers that come in ascending order of their ids.
    fn of(workers: &[Arc<Worker>]) -> Self {
        let by =
            |text: fn(&Worker) -> Arc<str>| Index::of(workers.iter().map(|worker| (text(worker), worker.id.clone())));
        let labels = workers.iter().flat_map(|worker| label_texts(worker).map(|text| (text, worker.id.clone())));
        // Each list is allocated at its final size: one that doubles frees blocks that are as large as the index together.
        let mut counts = HashMap::<&Arc<str>, usize>::new();
        for worker in workers {
            *counts.entry(&worker.identity.zone).or_default() += worker.usage.vms.count_slot_holders();
        }
        let with_room = |(zone, count): (&Arc<str>, usize)| (zone.clone(), Vec::with_capacity(count));
        let mut by_zone: HashMap<Arc<str>, Vec<VmId>> = counts.into_iter().map(with_room).collect();
        for worker in workers {
            if let Some(ids) = by_zone.get_mut(&worker.identity.zone) {
                ids.extend(worker.slot_holders().map(|vm| vm.id.clone()));
            }
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
            owners: Index::of(
                workers.iter().filter_map(|worker| Some((worker.owner.as_ref()?.shared(), worker.id.clone()))),
            ),
            by_status,
            draining: Ids::of(
                workers
                    .iter()
                    .filter(|worker| worker.standing_drain().is_some())
                    .map(|worker| worker.id.clone())
                    .collect(),
            ),
            vms_by_zone: Index::of_groups(by_zone),
        }
    }

    /// Updates the indexes for a worker that was added, changed or removed.
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
        let drains = |worker: &Worker| worker.standing_drain().is_some();
        match (before.filter(|before| drains(before)), worker.filter(|worker| drains(worker))) {
            (None, Some(worker)) => {
                self.draining.insert(worker.id.clone());
            }
            (Some(before), None) => {
                self.draining.remove(before.id.as_str());
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        // Most changes are heartbeats, which change none of the other indexes.
        let is_registered_as_before = before.zip(worker).is_some_and(|(before, worker)| {
            before.registration_revision == worker.registration_revision
                && before.owner == worker.owner
                // A worker that was read from the database has an equal identity in another allocation.
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
            if let Some(owner) = &before.owner {
                self.owners.remove(owner.as_str(), id);
            }
        }
        if let Some(worker) = worker {
            self.zones.insert(&worker.identity.zone, worker.id.clone());
            self.hostnames.insert(&worker.identity.hostname, worker.id.clone());
            label_texts(worker).for_each(|text| self.labels.insert(&text, worker.id.clone()));
            self.registrations.insert(&revision_text(worker.registration_revision), worker.id.clone());
            if let Some(owner) = &worker.owner {
                self.owners.insert(&owner.shared(), worker.id.clone());
            }
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

/// A label as one text, which differs from that of every other label: the length of the key tells where the value
/// begins.
fn label_text(key: &str, value: &str) -> String {
    let mut text = String::with_capacity(key.len() + value.len() + 4);
    let _ = write!(text, "{}={key}{value}", key.len());
    text
}

fn label_texts(worker: &Worker) -> impl Iterator<Item = Arc<str>> {
    worker.identity.labels.iter().map(|(key, value)| label_text(key, value).into())
}

/// A revision as a text that sorts as the number does.
fn revision_text(revision: u64) -> Arc<str> {
    format!("{revision:016x}").into()
}

fn is_ascending(workers: &[Arc<Worker>]) -> bool {
    workers.is_sorted_by(|one, other| one.id < other.id)
}
