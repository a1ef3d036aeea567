//! A batch while it is decided: the state as it will be, and what has to be written for it.
//!
//! Commands change a [`Batch`] and nothing else. It is a value in memory: it knows neither the tables nor SQL, which
//! are [`store`](super::store)'s, and nothing of who waits for the commands' replies, which is
//! [`queue`](super::queue)'s.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::idempotency_record::{IdempotencyRecord, StoredResponse};
use crate::auth::{Action, Caller, Denied, Role, Token, TokenId, TokenKind, TokenState};
use crate::clock::Timestamp;
use crate::cluster::{
    Actor, Audit, Author, Availability, Changes, Cursor, Drain, DrainStep, Epochs, Event, EventKind, Fleet,
    LivenessCutoff, Reservation, ReservationId, ReservationState, ReservedAt, Snapshot, Tombstone, Vm, VmId, VmReports,
    VmStatus, Worker, WorkerId,
};
use crate::error::Error;

/// The next state of the cluster, while commands are still changing it.
///
/// Commands see what the commands before them in the same batch did. Rows are written from the final state, column
/// group by column group, so the number of statements does not depend on how many commands of a batch touched one
/// worker.
pub struct Batch<'a> {
    base: &'a Snapshot,
    /// The revision this batch will have.
    pub revision: u64,
    /// When it happens, by the clock of all servers.
    pub at: Timestamp,
    workers: BTreeMap<WorkerId, ChangedWorker>,
    purged: BTreeMap<WorkerId, Arc<Tombstone>>,
    /// Records of drains that are new or changed, by worker and number: several of one worker, if it was activated and
    /// drained again.
    drains: BTreeMap<(WorkerId, u32), Arc<Drain>>,
    /// Workers whose tombstones are removed.
    pruned_tombstones: BTreeSet<WorkerId>,
    /// The latest revision at which one of them was purged.
    tombstones_pruned_through: u64,
    /// Incarnations that are handed out are above this.
    incarnation_floor: u64,
    /// Whether the floor has to be written.
    has_raised_floor: bool,
    events: Vec<Arc<Event>>,
    tokens: BTreeMap<TokenId, Arc<Token>>,
    /// Tokens that are removed.
    pruned_tokens: BTreeSet<TokenId>,
    reservations: BTreeMap<ReservationId, Arc<Reservation>>,
    /// Reservations that are removed.
    pruned_reservations: BTreeSet<ReservationId>,
    /// Who has sent the command that is decided now.
    caller: Caller,
    /// What the events of that command say of its request.
    audit: Option<Arc<Audit>>,
    /// Idempotency records by key: those of earlier batches that commands of this one may ask for, and those that this
    /// one makes.
    idempotency_records: BTreeMap<Arc<str>, IdempotencyRecord>,
    /// Keys of the records that this batch makes.
    recorded_keys: Vec<Arc<str>>,
}

/// A worker's new state, and which of its columns have to be written.
struct ChangedWorker {
    worker: Arc<Worker>,
    column_groups: [bool; ColumnGroup::COUNT],
}

/// The columns of a worker, grouped by who changes them. Two writers never share a column, so neither undoes the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnGroup {
    /// Identity, capacity and incarnation.
    Registration,
    /// Usage and VMs.
    Heartbeat,
    /// Which heartbeats counted although they came late.
    LateHeartbeat,
    /// The scheduling policy.
    Policy,
    /// Which drain is the last one. That of its record is written by itself.
    Drain,
    /// What the process has heard of the policy, which is written with its heartbeat.
    PolicyReport,
    /// How many of its VMs were set aside, which is written with its heartbeat, too.
    SetAside,
    /// What was announced of its availability.
    Announcement,
    /// That it has left.
    Deregistration,
    /// What is held on it for VMs that are not there yet.
    Reserved,
}

impl ColumnGroup {
    const COUNT: usize = 10;
}

/// What an event says besides its cursor, time and kind.
#[derive(Debug, Default)]
pub struct EventDetails {
    /// The VM it is about.
    pub vm_id: Option<VmId>,
    /// The reservation it is about.
    pub reservation_id: Option<ReservationId>,
    /// The name of the VM.
    pub vm_name: Option<Arc<str>>,
    /// The status that the VM has now; none if it is gone.
    pub vm_status: Option<VmStatus>,
    /// The status that the VM had before; none if it was not there.
    pub previous_status: Option<VmStatus>,
    /// The zone of a worker that is not in the batch yet.
    pub zone: Option<Arc<str>>,
    /// The reason that was given.
    pub reason: Option<Arc<str>>,
    /// What happened, as a sentence.
    pub message: String,
}

impl From<String> for EventDetails {
    fn from(message: String) -> Self {
        Self { message, ..Self::default() }
    }
}

impl EventDetails {
    /// What an event says of a VM that was reported before, is reported now, or both.
    pub fn of_vm(before: Option<&Vm>, now: Option<&Vm>, message: String) -> Self {
        let vm = now.or(before);
        Self {
            vm_id: vm.map(|vm| vm.id.clone()),
            vm_name: vm.map(|vm| vm.name.clone()),
            vm_status: now.map(|vm| vm.status),
            previous_status: before.map(|vm| vm.status),
            message,
            ..Self::default()
        }
    }
}

/// VMs whose rows have to be removed, and those whose rows are new or different.
#[derive(Default)]
pub struct VmChanges<'a> {
    pub removed: Vec<&'a Vm>,
    pub upserted: Vec<&'a Vm>,
}

impl<'a> Batch<'a> {
    /// Begins a batch on top of a state. What comes of it counts only if that is the latest.
    pub(super) fn on(
        base: &'a Snapshot,
        revision: u64,
        at: Timestamp,
        incarnation_floor: u64,
        idempotency_records: BTreeMap<Arc<str>, IdempotencyRecord>,
    ) -> Self {
        Self {
            base,
            revision,
            at,
            workers: BTreeMap::new(),
            purged: BTreeMap::new(),
            drains: BTreeMap::new(),
            pruned_tombstones: BTreeSet::new(),
            tombstones_pruned_through: 0,
            incarnation_floor,
            has_raised_floor: false,
            events: Vec::new(),
            tokens: BTreeMap::new(),
            pruned_tokens: BTreeSet::new(),
            reservations: BTreeMap::new(),
            pruned_reservations: BTreeSet::new(),
            caller: Caller::server(),
            audit: None,
            idempotency_records,
            recorded_keys: Vec::new(),
        }
    }

    /// The state this batch began on, at the revision that it will have: for responses that show no more than a reply
    /// and the revision.
    pub fn preview(&self) -> Arc<Snapshot> {
        let mut preview = self.base.clone();
        preview.revision = self.revision;
        Arc::new(preview)
    }

    /// The record of this key, made before or in this batch.
    pub fn find_idempotency_record(&self, key: &str) -> Option<&IdempotencyRecord> {
        self.idempotency_records.get(key)
    }

    /// Keeps a response for the case that its request is sent again.
    pub fn record_response(&mut self, key: Arc<str>, fingerprint: Arc<str>, response: StoredResponse) {
        self.recorded_keys.push(key.clone());
        self.idempotency_records.insert(key, IdempotencyRecord { fingerprint, response });
    }

    /// Sets who has sent the command that is decided next.
    pub(super) fn set_caller(&mut self, caller: &Caller) {
        self.caller = caller.clone();
        self.audit = None;
    }

    /// Who has sent the command that is decided now.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the caller is still accepted. Its request may have been on the way for long, and its token revoked
    /// meanwhile, perhaps by a command of this batch.
    pub(super) fn check_caller(&self) -> Result<(), Error> {
        let denied = self.caller.principal().denied_since(self.at, self.has_tokens(), |id| self.find_token(id));
        denied.map_or(Ok(()), |why| Err(Denied::Unauthenticated(why).into()))
    }

    /// Whether there are tokens. The batch removes none that counts for that.
    pub fn has_tokens(&self) -> bool {
        self.base.has_tokens() || !self.tokens.is_empty()
    }

    /// Refuses a caller whose token names another worker, before it is told whether there is this one.
    pub fn check_scope(&self, id: &str) -> Result<(), Error> {
        match self.caller.principal().token().and_then(|token| token.worker_id()) {
            Some(named) if named != id => Err(Denied::NotItsWorker(id.to_owned()).into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the caller may do this to a worker, which it perhaps has to speak for.
    pub fn authorize(&self, action: Action, worker: &Worker) -> Result<(), Error> {
        let _ = worker.authorize(self.caller.principal(), action)?;
        Ok(())
    }

    /// How many workers a token speaks for, as it is now in the batch.
    pub fn count_owned_by(&self, token: &TokenId) -> usize {
        let owns = |worker: &Worker| worker.owner.as_ref() == Some(token);
        let before = |id: &WorkerId| self.base.find_worker(id.as_str()).is_some_and(|worker| owns(worker));
        let changed = self.workers.values().map(|changed| &*changed.worker);
        let gained = changed.clone().filter(|worker| owns(worker) && !before(&worker.id)).count();
        let lost = changed.filter(|worker| !owns(worker) && before(&worker.id)).map(|worker| &worker.id);
        let purged = self.purged.keys().filter(|id| !self.workers.contains_key(*id) && before(id));
        (self.base.count_owned_by(token) + gained).saturating_sub(lost.chain(purged).count())
    }

    /// The token with this public id, as it is now in the batch.
    pub fn find_token(&self, id: &str) -> Option<&Arc<Token>> {
        self.tokens.get(id).or_else(|| self.base.token(id).filter(|_| !self.pruned_tokens.contains(id)))
    }

    /// How many tokens there are that are neither sessions nor sign-in codes, with those that ended.
    pub fn lasting_token_count(&self) -> usize {
        let before = self.base.tokens().filter(|token| self.find_token(token.id.as_str()).is_some());
        let created = self.tokens.values().filter(|token| self.base.token(token.id.as_str()).is_none());
        before.chain(created).filter(|token| !token.kind.is_short_lived()).count()
    }

    /// The tokens of the role worker that name this worker and are accepted.
    pub fn live_tokens_of_worker(&self, worker: &str) -> Vec<Arc<Token>> {
        let before = self.base.tokens_of_worker(worker).filter(|token| !self.tokens.contains_key(&token.id));
        let names_it = |token: &&Arc<Token>| token.role == Role::Worker && token.worker_id() == Some(worker);
        let all = before.chain(self.tokens.values().filter(names_it));
        all.filter(|token| token.state(self.at, |id| self.find_token(id)) == TokenState::Live).cloned().collect()
    }

    /// Takes a token's new state.
    pub fn put_token(&mut self, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        self.tokens.insert(token.id.clone(), token.clone());
        token
    }

    /// Revokes a token that is not revoked yet.
    pub fn revoke_token(&mut self, known: &Token) -> Arc<Token> {
        self.put_token(known.revoked(self.at, self.revision))
    }

    /// Removes a token that has ended.
    pub fn prune_token(&mut self, id: &TokenId) {
        self.tokens.remove(id);
        self.pruned_tokens.insert(id.clone());
    }

    /// The oldest open session that was begun with a token, if there are as many as this.
    pub fn surplus_session_of(&self, parent: &TokenId, most: usize) -> Option<Arc<Token>> {
        let before = self.base.tokens().filter(|token| !self.tokens.contains_key(&token.id));
        let open = before.chain(self.tokens.values()).filter(|token| {
            token.kind == TokenKind::Session
                && token.parent.as_ref() == Some(parent)
                && token.state(self.at, |id| self.find_token(id)) == TokenState::Live
        });
        let open: Vec<_> = open.collect();
        let oldest = open.iter().min_by_key(|session| (session.created_at, &session.id));
        oldest.filter(|_| open.len() >= most).map(|session| Arc::clone(session))
    }

    /// The reservation with this id, as it is now in the batch.
    pub fn find_reservation(&self, id: &str) -> Option<&Arc<Reservation>> {
        let kept = || self.base.reservation(id).filter(|_| !self.pruned_reservations.contains(id));
        self.reservations.get(id).or_else(kept)
    }

    /// How many reservations hold room.
    pub fn held_reservation_count(&self) -> usize {
        let is_held = |reservation: &Reservation| reservation.state == ReservationState::Held;
        let before = |id: &ReservationId| self.base.reservation(id.as_str()).is_some_and(|it| is_held(it));
        let changed = self.reservations.values();
        let gained = changed.clone().filter(|it| is_held(it) && !before(&it.id)).count();
        let lost = changed.filter(|it| !is_held(it) && before(&it.id)).count();
        (self.base.held_reservation_count() + gained).saturating_sub(lost)
    }

    /// Whether any slot may be held: if not, no VM takes one.
    pub fn may_hold_slots(&self) -> bool {
        self.base.held_slot_count() > 0 || !self.reservations.is_empty()
    }

    /// The reservation that holds a slot for this VM.
    pub fn reservation_for_vm(&self, vm: &VmId) -> Option<&Arc<Reservation>> {
        let is_for_it =
            |reservation: &&Arc<Reservation>| reservation.held_slots().any(|slot| slot.vm_id.as_ref() == Some(vm));
        let changed = self.reservations.values().find(|reservation| is_for_it(reservation));
        let before = || self.base.reservation_for_vm(vm.as_str()).and_then(|id| self.find_reservation(id.as_str()));
        changed.or_else(|| before().filter(is_for_it))
    }

    /// The reservations that hold a slot on this worker.
    pub fn reservations_on(&self, worker: &WorkerId) -> Vec<Arc<Reservation>> {
        let before = self.base.reservations_on(worker.as_str());
        let before = before.filter(|reservation| !self.reservations.contains_key(&reservation.id));
        let all = before.chain(self.reservations.values());
        let is_on_it = |reservation: &&Arc<Reservation>| reservation.held_slots().any(|slot| slot.worker_id == *worker);
        all.filter(is_on_it).cloned().collect()
    }

    /// The workers on which this VM holds a slot.
    pub fn workers_that_run(&self, vm: &VmId) -> Vec<WorkerId> {
        let runs_it = |worker: &Worker| worker.vm(vm.as_str()).is_some_and(|vm| vm.status.holds_slot());
        let before = self.base.find_vm(vm.as_str()).into_iter().flat_map(VmReports::workers);
        let before = before.filter(|id| !self.workers.contains_key(*id)).filter_map(|id| self.find_worker(id.as_str()));
        let all = before.chain(self.workers.values().map(|changed| &changed.worker));
        all.filter(|worker| runs_it(worker)).map(|worker| worker.id.clone()).collect()
    }

    /// The workers of the batch, for plans of where VMs could go.
    #[expect(clippy::type_complexity, reason = "closures have no names that a shorter type could be made of")]
    pub fn fleet<'s>(
        &'s self,
        cutoff: LivenessCutoff,
    ) -> Fleet<'s, impl Fn(&Vm) -> Vec<&'s Arc<Worker>>, impl Fn(&Vm) -> Option<&'s Arc<Worker>>> {
        // In one batch a VM may have come to one worker while it is still known on another.
        let arrived = self.workers.values().flat_map(|changed| changed.worker.slot_holders());
        let arrived: HashSet<_> = arrived.filter(|vm| vm.revision == self.revision).map(|vm| vm.id.as_str()).collect();
        let holders = move |vm: &Vm| {
            if !arrived.contains(vm.id.as_str()) && !self.base.is_duplicate(vm.id.as_str()) {
                return Vec::new();
            }
            let ids = self.workers_that_run(&vm.id);
            ids.iter().filter_map(|id| self.find_worker(id.as_str())).collect()
        };
        // A batch changes few reservations, but there may be many VMs to look up.
        let held = self.reservations.values().filter(|reservation| reservation.is_held_at(self.at));
        let held = held.flat_map(|reservation| reservation.held_slots());
        let held: HashMap<_, _> = held.filter_map(|slot| Some((slot.vm_id.as_ref()?, &slot.worker_id))).collect();
        let reserved_place = move |vm: &Vm| {
            let unchanged = || {
                let id = self.base.reservation_for_vm(vm.id.as_str())?.as_str();
                let reservation = self.find_reservation(id).filter(|_| !self.reservations.contains_key(id))?;
                let slot = reservation.held_slot_for(&vm.id).filter(|_| reservation.is_held_at(self.at))?;
                Some(&slot.worker_id)
            };
            let worker = held.get(&vm.id).copied().or_else(unchanged)?;
            self.find_worker(worker.as_str())
        };
        let (workers, reserved) = (self.workers().collect(), self.reserved_now());
        Fleet { workers, cutoff, reserved, holders, reserved_place, revision: self.base.revision }
    }

    /// What is reserved on each worker at the time of the batch.
    pub fn reserved_now(&self) -> ReservedAt {
        let overdue = self.base.overdue_reservations(self.at);
        let overdue = overdue.filter(|reservation| !self.reservations.contains_key(&reservation.id));
        let is_overdue = |reservation: &&Arc<Reservation>| {
            reservation.state == ReservationState::Held && !reservation.is_held_at(self.at)
        };
        ReservedAt::without(overdue.chain(self.reservations.values().filter(is_overdue)))
    }

    /// Takes a reservation's new state. What it holds on workers is for the caller to change with it.
    pub fn put_reservation(&mut self, reservation: Reservation) -> Arc<Reservation> {
        let reservation = Arc::new(reservation);
        self.reservations.insert(reservation.id.clone(), reservation.clone());
        reservation
    }

    /// Removes a reservation that has ended.
    pub fn prune_reservation(&mut self, id: &ReservationId) {
        self.reservations.remove(id);
        self.pruned_reservations.insert(id.clone());
    }

    /// Reservations that are new or changed.
    pub(super) fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.reservations.values().map(|reservation| &**reservation)
    }

    /// Reservations that are removed.
    pub(super) fn pruned_reservations(&self) -> &BTreeSet<ReservationId> {
        &self.pruned_reservations
    }

    /// All workers, as they are now in the batch.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        let before = self.base.workers().filter(|worker| !self.purged.contains_key(&worker.id));
        let before = before.filter(|worker| !self.workers.contains_key(&worker.id));
        before.chain(self.workers.values().map(|changed| &changed.worker))
    }

    /// The epochs of the database that the batch is decided upon.
    pub fn epochs(&self) -> &Epochs {
        &self.base.epochs
    }

    /// The worker with this id, as it is now in the batch.
    pub fn find_worker(&self, id: &str) -> Option<&Arc<Worker>> {
        match self.workers.get(id) {
            Some(changed) => Some(&changed.worker),
            None if self.purged.contains_key(id) => None,
            None => self.base.find_worker(id),
        }
    }

    /// The tombstone of a worker of this id that was purged.
    pub fn tombstone(&self, id: &str) -> Option<&Arc<Tombstone>> {
        self.purged.get(id).or_else(|| self.base.tombstone(id).filter(|_| !self.pruned_tombstones.contains(id)))
    }

    /// An incarnation above the last one in the database, above the last one that the process itself knows of, and
    /// above the floor. The database may have been restored to a state from before the process's own was handed out.
    pub fn next_incarnation(&self, last: Option<u64>, last_of_process: Option<u64>) -> u64 {
        last.max(last_of_process).unwrap_or(0).max(self.incarnation_floor) + 1
    }

    /// Whether any worker reports a VM of this id.
    pub fn is_vm(&self, id: &str) -> bool {
        let in_base = self.base.find_vm(id).is_some_and(|reports| {
            reports.workers().any(|worker| !self.workers.contains_key(worker) && !self.purged.contains_key(worker))
        });
        in_base || self.workers.values().any(|changed| changed.worker.vm(id).is_some())
    }

    /// The authoritative one of other workers' reports of a VM, as they were before this batch: in the batch in which one
    /// worker tells that a VM is gone, another one may tell that it has come.
    pub fn report_of_another(&self, id: &VmId, worker: &WorkerId) -> Option<&'a Arc<Vm>> {
        let reports = self.base.find_vm(id.as_str())?;
        reports.of_others(worker).max_by_key(|vm| self.base.precedence(vm))
    }

    /// Takes a worker's new state and the columns that it changes, and gives the state back as it will be kept.
    pub fn put_worker(&mut self, worker: Worker, column_groups: &[ColumnGroup]) -> Arc<Worker> {
        let worker = Arc::new(worker);
        if let Some(drain) = worker.drain.as_ref().filter(|_| column_groups.contains(&ColumnGroup::Drain)) {
            self.drains.insert((worker.id.clone(), drain.number), drain.clone());
        }
        // One lookup: walking the tree is much of the work of a heartbeat.
        let new = || ChangedWorker { worker: worker.clone(), column_groups: [false; ColumnGroup::COUNT] };
        let changed = self.workers.entry(worker.id.clone()).or_insert_with(new);
        changed.worker = worker.clone();
        for group in column_groups {
            changed.column_groups[*group as usize] = true;
        }
        worker
    }

    /// Removes a worker and its VMs, and leaves a tombstone.
    pub fn purge(&mut self, worker: &Worker, by_itself: bool) {
        self.workers.remove(&worker.id);
        self.drains.retain(|(id, _), _| *id != worker.id);
        self.pruned_tombstones.remove(&worker.id);
        let tombstone = worker.tombstone(by_itself, self.at, self.revision);
        self.purged.insert(worker.id.clone(), Arc::new(tombstone));
    }

    /// Removes the tombstone of a worker that was purged before this batch. If no worker of its id is registered again,
    /// the incarnation floor rises to the tombstone's incarnation, so that none is handed out twice. (One that is
    /// registered again counts on from the tombstone's.)
    pub fn prune_tombstone(&mut self, tombstone: &Tombstone) {
        let id = &tombstone.worker_id;
        let counts_on = self.find_worker(id.as_str()).is_some();
        self.pruned_tombstones.insert(id.clone());
        self.tombstones_pruned_through = self.tombstones_pruned_through.max(tombstone.revision);
        if !counts_on && tombstone.incarnation > self.incarnation_floor {
            self.incarnation_floor = tombstone.incarnation;
            self.has_raised_floor = true;
        }
    }

    /// Adds an event to the event log.
    pub fn record_event(
        &mut self,
        actor: Actor,
        kind: EventKind,
        worker_id: &WorkerId,
        details: impl Into<EventDetails>,
    ) {
        self.push_event(actor, kind, Some(worker_id.clone()), details.into());
    }

    /// Adds an event to the event log that is about a token, and about no worker.
    pub fn record_event_of_token(&mut self, kind: EventKind, message: String) {
        self.push_event(Actor::Operator, kind, None, message.into());
    }

    /// Adds an event to the event log that is about a reservation, and about a worker if it concerns one only.
    pub fn record_event_of_reservation(
        &mut self,
        actor: Actor,
        kind: EventKind,
        worker_id: Option<WorkerId>,
        details: EventDetails,
    ) {
        self.push_event(actor, kind, worker_id, details);
    }

    /// Records an event that the server has found out, and that is about no worker.
    pub fn record_event_of_server(&mut self, kind: EventKind, message: String) {
        self.push_event(Actor::Server, kind, None, message.into());
    }

    fn push_event(&mut self, actor: Actor, kind: EventKind, worker_id: Option<WorkerId>, details: EventDetails) {
        // A filter by such kinds would not find it once other events of its time have been pruned.
        debug_assert!(actor == Actor::Operator || !kind.is_by_operators_only(), "{kind} by {actor}");
        let EventDetails { vm_id, reservation_id, vm_name, vm_status, previous_status, zone, reason, message } =
            details;
        let zone = zone.or_else(|| Some(self.find_worker(worker_id.as_ref()?.as_str())?.identity.zone.clone()));
        let audit = match actor {
            // What the server finds out was nobody's request, even if one showed it.
            Actor::Server => None,
            Actor::Worker | Actor::Operator => {
                if self.audit.is_none() {
                    self.audit = audit_of(&self.caller);
                }
                self.audit.clone()
            }
        };
        self.events.push(Arc::new(Event {
            cursor: Cursor {
                epoch: self.base.epochs.of(self.revision).clone(),
                revision: self.revision,
                position: u32::try_from(self.events.len()).unwrap_or(u32::MAX - 1),
            },
            at: self.at,
            kind,
            worker_id,
            vm_id,
            reservation_id,
            vm_name,
            vm_status,
            previous_status,
            zone,
            actor: Some(actor),
            audit,
            reason,
            message: message.into(),
            oldest_cursor: None,
        }));
    }

    /// Who has sent the command that is decided now, for a record.
    pub fn author(&self, actor: Actor) -> Author {
        let audit = audit_of(&self.caller).unwrap_or_default();
        Author { actor: actor.as_str().into(), token_id: audit.token_id.clone(), name: audit.name.clone() }
    }

    /// Takes the drain of a worker further by a heartbeat that counted, and tells of it. Answers whether its record has
    /// changed.
    pub fn advance_drain(&mut self, worker: &mut Worker) -> bool {
        let step = worker.advance_drain(self.at, self.revision);
        self.tell_of_drain(worker, step)
    }

    /// Completes the drain of a worker on which nothing is reserved any more, if that was all that was left, and tells of
    /// it. Answers whether its record has changed.
    pub fn complete_drain(&mut self, worker: &mut Worker, cutoff: LivenessCutoff) -> bool {
        let step = worker.complete_drain(cutoff, self.at, self.revision);
        self.tell_of_drain(worker, step)
    }

    fn tell_of_drain(&mut self, worker: &Worker, step: Option<DrainStep>) -> bool {
        let Some(step) = step else { return false };
        let id = worker.id.clone();
        match step {
            DrainStep::Noted => {}
            DrainStep::Completed => {
                let message = format!("The drain of worker {id} is complete: no VM holds a slot there");
                self.record_event(Actor::Server, EventKind::WorkerDrainComplete, &id, message);
            }
            DrainStep::Reopened => {
                let vms = worker.usage.vms.count_slot_holders() + worker.usage.set_aside_vms as usize;
                let message = format!("The drain of worker {id} is not complete any more: VMs that hold a slot: {vms}");
                self.record_event(Actor::Server, EventKind::WorkerDrainReopened, &id, message);
            }
        }
        true
    }

    /// Announces a worker back online if it was announced offline. The actor is the server, as it is for the
    /// announcement that the worker was offline: the server found out both.
    pub fn announce_back_online(&mut self, worker: &mut Worker) -> bool {
        let back = worker.last_announced_availability == Availability::Offline;
        if back {
            worker.last_announced_availability = Availability::Online;
            let message = format!("Worker {} is back online", worker.id);
            self.record_event(Actor::Server, EventKind::WorkerOnline, &worker.id, message);
        }
        back
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.changes_workers_only()
    }

    fn changes_workers_only(&self) -> bool {
        self.purged.is_empty()
            && self.pruned_tombstones.is_empty()
            && self.events.is_empty()
            && self.tokens.is_empty()
            && self.pruned_tokens.is_empty()
            && self.reservations.is_empty()
            && self.pruned_reservations.is_empty()
            && self.recorded_keys.is_empty()
    }

    /// Whether plain heartbeats are all that there is to write.
    pub(super) fn is_plain_heartbeats_only(&self) -> bool {
        self.changes_workers_only()
            && !self.workers.is_empty()
            && self.workers.values().all(|changed| self.is_plain_heartbeat(changed))
    }

    /// Workers of which nothing but a plain heartbeat has to be written.
    pub(super) fn plain_heartbeats(&self) -> impl Iterator<Item = &Worker> {
        self.workers.values().filter(|changed| self.is_plain_heartbeat(changed)).map(|changed| &*changed.worker)
    }

    /// Workers of which a heartbeat has to be written that is not plain.
    pub(super) fn other_heartbeats(&self) -> impl Iterator<Item = &Worker> {
        let others = self.workers.values().filter(|changed| {
            changed.column_groups[ColumnGroup::Heartbeat as usize] && !self.is_plain_heartbeat(changed)
        });
        others.map(|changed| &*changed.worker)
    }

    /// A plain heartbeat changes a worker's numbers and none of its VMs, and it arrived at the time of the batch: rows
    /// of plain heartbeats share their revision and their time.
    fn is_plain_heartbeat(&self, ChangedWorker { worker, column_groups }: &ChangedWorker) -> bool {
        const HEARTBEAT: [bool; ColumnGroup::COUNT] = {
            let mut column_groups = [false; ColumnGroup::COUNT];
            column_groups[ColumnGroup::Heartbeat as usize] = true;
            column_groups
        };
        *column_groups == HEARTBEAT && worker.usage.vms_revision != self.revision && worker.usage.last_seen == self.at
    }

    /// Workers of which this column group has to be written.
    pub(super) fn workers_with(&self, group: ColumnGroup) -> impl Iterator<Item = &Worker> {
        let changed = self.workers.values().filter(move |changed| changed.column_groups[group as usize]);
        changed.map(|changed| &*changed.worker)
    }

    /// Records of drains that are new or changed, with their workers.
    pub(super) fn drains(&self) -> impl Iterator<Item = (&WorkerId, &Drain)> {
        self.drains.iter().map(|((id, _), drain)| (id, &**drain))
    }

    /// Workers that are purged.
    pub(super) fn purged(&self) -> impl Iterator<Item = &Tombstone> {
        self.purged.values().map(|tombstone| &**tombstone)
    }

    /// Workers whose tombstones are removed.
    pub(super) fn pruned_tombstones(&self) -> &BTreeSet<WorkerId> {
        &self.pruned_tombstones
    }

    /// Up to which revision tombstones may be missing from now on; none if none is removed.
    pub(super) fn tombstones_pruned_through(&self) -> Option<u64> {
        (!self.pruned_tombstones.is_empty()).then_some(self.tombstones_pruned_through)
    }

    /// The new incarnation floor, if it has risen.
    pub(super) fn raised_incarnation_floor(&self) -> Option<u64> {
        self.has_raised_floor.then_some(self.incarnation_floor)
    }

    /// The events, in order.
    pub(super) fn events(&self) -> &[Arc<Event>] {
        &self.events
    }

    /// Tokens that are created or revoked, or of which a use is recorded.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values().map(|token| &**token)
    }

    /// Tokens that are removed.
    pub(super) fn pruned_tokens(&self) -> &BTreeSet<TokenId> {
        &self.pruned_tokens
    }

    /// The idempotency records that this batch makes, by key.
    pub(super) fn new_idempotency_records(&self) -> impl Iterator<Item = (&str, &IdempotencyRecord)> {
        self.recorded_keys.iter().filter_map(|key| Some((&**key, self.idempotency_records.get(key)?)))
    }

    /// VMs of workers that are not purged, as far as they change.
    pub(super) fn vm_changes(&self) -> VmChanges<'_> {
        let mut changes = VmChanges::default();
        for (id, ChangedWorker { worker, .. }) in &self.workers {
            if worker.usage.vms_revision != self.revision {
                continue;
            }
            // The VMs of a worker that is purged and registered again in one batch go with its purge.
            let before = if self.purged.contains_key(id) { None } else { self.base.find_worker(id.as_str()) };
            let before = before.into_iter().flat_map(|before| before.usage.vms.iter());
            let removed = before.filter(|vm| worker.vm(vm.id.as_str()).is_none());
            changes.removed.extend(removed.map(|vm| &**vm));
            let upserted = worker.usage.vms.iter().filter(|vm| vm.revision == self.revision);
            changes.upserted.extend(upserted.map(|vm| &**vm));
        }
        changes
    }

    /// What the batch makes of the state.
    pub(super) fn into_changes(self) -> (Changes, Vec<Arc<Event>>) {
        let changes = Changes {
            workers: self.workers.into_values().map(|changed| changed.worker).collect(),
            purged: self.purged.into_values().collect(),
            gone: Vec::new(),
            forgotten: self.pruned_tombstones.into_iter().collect(),
            tokens: self.tokens.into_values().collect(),
            forgotten_tokens: self.pruned_tokens.into_iter().collect(),
            reservations: self.reservations.into_values().collect(),
            forgotten_reservations: self.pruned_reservations.into_iter().collect(),
        };
        (changes, self.events)
    }
}

/// What the events of a caller's command say of its request; nothing if there is nothing to say.
fn audit_of(caller: &Caller) -> Option<Arc<Audit>> {
    let token = caller.principal().token();
    let audit = Audit {
        // Of a session, the token that it was opened with: what is done in a browser is done with that, too.
        token_id: token.map(|token| token.lasting_id().shared()),
        name: token.map(|token| token.name.clone()),
        request_id: caller.request().map(|request| request.id().into()),
        address: caller.request().and_then(|request| request.address()).map(|address| address.to_string().into()),
    };
    (audit != Audit::default()).then(|| Arc::new(audit))
}
