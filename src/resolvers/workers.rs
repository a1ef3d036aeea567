//! Operations on workers: lists and pages, registration, heartbeats, deregistration, drain and activate.
//!
//! What a command changes is decided in the [`journal`](crate::journal); here its input is checked, its outcome is
//! logged, and its reply is made. Where a list or a page is read from, an index or all workers, is decided here, too.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tracing::{info, warn};

use super::checks;
use super::drain_input::{DrainInput, PolicyInput};
use super::idempotent_request::{IdempotentReply, IdempotentRequest};
use super::indexed_pages::{self, indexed_order};
use super::metrics::HeartbeatResult;
use super::offload::steps;
use super::page::{Edge, FilteredList, ListById, Listing, Page, PageRequest};
use super::vms::edge_of_vm;
use super::worker_input::{HeartbeatInput, RegistrationInput};
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller, Role};
use crate::cluster::{
    Actor, Cursor, Drain, Ids, IndexedOrder, SchedulingPolicy, View, VmId, VmOrder, VmStatus, VmView, Worker,
    WorkerFacet, WorkerFilter, WorkerId, WorkerOrder, WorkerOrderField, WorkerView,
};
use crate::error::{Error, Result};
use crate::journal::commands::{
    Deregister, Deregistered, HeartbeatAccepted, PolicySet, RecordHeartbeat, RecordHeartbeats, Register, SetPolicy,
};
pub use crate::journal::commands::{ExpectedRevision, ExpectedState, Precondition, RejectedVm};
use crate::journal::{Committed, LivenessSign, Submitted};
use crate::timing::{HEARTBEAT_JITTER, Timing};

/// The reply to a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The worker as it now is.
    pub worker: WorkerView,
    /// Whether it was not known before.
    pub created: bool,
    /// How long to wait between heartbeats.
    pub heartbeat_interval: Duration,
}

/// The reply to a heartbeat.
#[derive(Clone, Debug)]
pub struct HeartbeatRecorded {
    /// The worker as it now is.
    pub worker: WorkerView,
    /// When to send the next one.
    pub next_heartbeat: Duration,
    /// Whether the next one should carry the whole inventory.
    pub resync: bool,
    /// If the heartbeat came late, the number of the last one that counted.
    pub last_sequence: Option<u64>,
    /// VMs of the report that were rejected; the others counted.
    pub rejected_vms: Vec<RejectedVm>,
}

impl HeartbeatRecorded {
    /// The drain that stands on the worker.
    pub fn drain(&self) -> Option<&Drain> {
        self.worker.worker.standing_drain().map(|drain| &**drain)
    }
}

/// The sender of a heartbeat, as the heartbeat says.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatSender<'a> {
    /// The worker.
    pub worker_id: &'a str,
    /// Its incarnation.
    pub incarnation: i64,
    /// The boot id of its process.
    pub boot_id: Option<&'a str>,
    /// The number of the heartbeat in that incarnation.
    pub sequence: Option<i64>,
}

/// The reply to a command that sets the policy.
#[derive(Clone, Debug)]
pub struct PolicyChanged {
    /// The worker as it now is.
    pub worker: WorkerView,
    /// Whether the policy, or the drain, was another one before.
    pub changed: bool,
}

/// A worker is out of service, or removed.
#[derive(Clone, Debug)]
pub struct WorkerDeregistered {
    /// The worker as it now is; none if it was removed.
    pub worker: Option<WorkerView>,
    /// The VMs that were removed with it.
    pub removed_vms: Vec<VmId>,
    /// Where the change log is after this.
    pub cursor: Cursor,
}

impl PolicyChanged {
    /// Where the change log is after this.
    pub fn cursor(&self) -> Cursor {
        self.worker.view.snapshot.cursor()
    }

    /// The sentence that the contract documents.
    pub fn message(&self) -> &'static str {
        match self.worker.worker.policy {
            SchedulingPolicy::Draining => "Worker marked as draining. It will stop accepting new tasks.",
            SchedulingPolicy::Active => "Worker activated. It will resume accepting tasks.",
        }
    }
}

/// A deregistration, by the worker itself or by an operator.
#[derive(Clone, Debug, Default)]
pub struct Deregistration {
    /// The incarnation that deregisters. Without this and the next two, it is an operator who deregisters the worker.
    pub incarnation: Option<i64>,
    /// The boot id of the process of that incarnation.
    pub boot_id: Option<String>,
    /// The boot id of the host on which the deregistered process has to run.
    pub host_boot_id: Option<String>,
    /// Removes the worker with its VMs, instead of keeping it as offline.
    pub purge: bool,
    /// Removes it even though VMs hold slots on it.
    pub force: bool,
    /// The deregistration is refused unless this holds.
    pub condition: Precondition,
}

/// An object by its id, of any type that has one.
#[derive(Clone, Debug)]
pub enum Node {
    /// A worker.
    Worker(WorkerView),
    /// A VM.
    Vm(VmView),
}

impl Reading {
    /// The worker with this id.
    pub fn worker(&self, id: &str) -> Result<WorkerView> {
        self.find_worker(id).ok_or_else(|| Error::WorkerNotFound(id.to_owned()))
    }

    /// The worker with this id, if there is one.
    pub fn find_worker(&self, id: &str) -> Option<WorkerView> {
        self.view.find_worker(id)
    }

    /// All workers that match, by id.
    pub fn list_workers(&self, filter: &WorkerFilter) -> Vec<WorkerView> {
        let Some(ids) = &filter.ids else {
            return FilteredList { view: &self.view, filter }.range(Bound::Unbounded, Bound::Unbounded).collect();
        };
        let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        let workers = ids.into_iter().filter_map(|id| self.view.find_worker(id));
        workers.filter(|worker| filter.matches(worker)).collect()
    }

    /// The steps of finding the workers that match, and of writing the requested page of them.
    pub fn steps_to_list_workers(&self, filter: &WorkerFilter, order: WorkerOrder, request: &PageRequest) -> u64 {
        let matching = FilteredList { view: &self.view, filter };
        let rows = match &filter.ids {
            Some(ids) => ids.len(),
            None => matching.candidates().len(&self.view),
        };
        let snapshot = &self.view.snapshot;
        let rows = if indexed_order_of(filter, order).is_some() {
            // Workers that have moved since the walk began are skipped.
            let moved = request.walk_start_revision().map_or(0, |revision| snapshot.count_registered_after(revision));
            request.most_rows(rows).saturating_add(moved).min(rows.saturating_mul(2))
        } else if is_ordered_by_id(filter, order)
            && matching.known_total().is_some()
            && !matching.may_pass_unannounced()
        {
            request.most_rows(rows)
        } else {
            rows
        };
        steps(rows, filter.entries())
    }

    /// One page of the workers that match, in the order asked for.
    pub fn page_of_workers(
        &self,
        filter: &WorkerFilter,
        order: WorkerOrder,
        request: &PageRequest,
    ) -> Result<Page<WorkerView>> {
        if is_ordered_by_id(filter, order) {
            return Page::by_id(&FilteredList { view: &self.view, filter }, order.descending, request);
        }
        if let Some(kept) = indexed_order_of(filter, order) {
            return indexed_pages::page(&self.view, kept, order, request, |worker| edge(worker, order));
        }
        let edges = self.list_workers(filter).into_iter().map(|worker| edge(worker, order));
        Page::of(edges, order, request, &self.view.snapshot)
    }

    /// The workers that match, in the order asked for: all of them, or the page that is asked for.
    pub fn listing_of_workers(
        &self,
        filter: &WorkerFilter,
        order: WorkerOrder,
        request: &PageRequest,
    ) -> Result<Listing<WorkerView>> {
        let is_sought = is_ordered_by_id(filter, order) || indexed_order_of(filter, order).is_some();
        if is_sought && !request.is_for_all() {
            return Ok(self.page_of_workers(filter, order, request)?.into());
        }
        Listing::of(self.list_workers(filter), |worker| edge(worker, order), order, request, &self.view.snapshot)
    }

    /// VMs of a worker, in the order asked for: those in one of these statuses, or without statuses those that hold a
    /// slot.
    pub fn worker_vms(&self, id: &str, statuses: Option<&[VmStatus]>, order: VmOrder) -> Result<Vec<VmView>> {
        let (all, snapshot) = (PageRequest::default(), &self.view.snapshot);
        let vms = self.worker(id)?.vms(statuses);
        Ok(Listing::of(vms, |vm| edge_of_vm(vm, order), order, &all, snapshot)?.nodes)
    }

    /// The object with this id; the worker, if a worker and a VM have it.
    pub fn find_node(&self, id: &str) -> Option<Node> {
        let worker = self.find_worker(id).map(Node::Worker);
        worker.or_else(|| self.find_vm(id).map(Node::Vm))
    }
}

/// Whether the matching workers are read in the order by id, without looking them up one by one.
fn is_ordered_by_id(filter: &WorkerFilter, order: WorkerOrder) -> bool {
    filter.ids.is_none() && order.field == WorkerOrderField::Id
}

/// The index of the order, if all workers are asked for and the order has one.
fn indexed_order_of(filter: &WorkerFilter, order: WorkerOrder) -> Option<IndexedOrder> {
    if *filter == WorkerFilter::default() { indexed_order(order) } else { None }
}

/// Workers among which all that match are.
enum CandidateSet<'a> {
    /// All workers.
    All,
    /// The workers with these ids.
    Among(&'a Ids<WorkerId>),
    /// None.
    Nowhere,
}

impl CandidateSet<'_> {
    /// How many workers have to be compared with the filter.
    fn len(&self, view: &View) -> usize {
        match self {
            Self::All => view.snapshot.worker_count(),
            Self::Among(ids) => ids.count(),
            Self::Nowhere => 0,
        }
    }
}

impl<'a> FilteredList<'a, WorkerFilter> {
    /// The smallest set that an index has for a condition of the filter.
    fn candidates(&self) -> CandidateSet<'a> {
        let snapshot = &self.view.snapshot;
        let sources = self.filter.facets().filter_map(|facet| match facet {
            WorkerFacet::Zone(zone) => Some(snapshot.workers_of_zone(zone)),
            WorkerFacet::Label(key, value) => Some(snapshot.workers_with_label(key, value)),
            WorkerFacet::Status(status) => self.view.candidates(status).map(Some),
        });
        let sources = sources.map(|ids| ids.map_or(CandidateSet::Nowhere, CandidateSet::Among));
        sources.min_by_key(|source| source.len(self.view)).unwrap_or(CandidateSet::All)
    }

    /// Whether a page by status may have to skip any number of workers that are offline and not announced yet.
    fn may_pass_unannounced(&self) -> bool {
        let is_by_status = self.filter.facets().any(|facet| matches!(facet, WorkerFacet::Status(_)));
        is_by_status && !self.view.has_announced_all_silent()
    }

    /// How many workers match, if an index knows.
    fn known_total(&self) -> Option<usize> {
        let snapshot = &self.view.snapshot;
        if *self.filter == WorkerFilter::default() {
            return Some(snapshot.worker_count());
        }
        match self.filter.only_facet()? {
            WorkerFacet::Zone(zone) => Some(snapshot.workers_of_zone(zone).map_or(0, Ids::count)),
            WorkerFacet::Label(key, value) => Some(snapshot.workers_with_label(key, value).map_or(0, Ids::count)),
            WorkerFacet::Status(status) => Some(self.view.count_workers(status)),
        }
    }
}

impl ListById for FilteredList<'_, WorkerFilter> {
    type Node = WorkerView;

    fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = WorkerView> + 'a {
        let workers: Box<dyn DoubleEndedIterator<Item = WorkerView> + 'a> = match self.candidates() {
            CandidateSet::All => Box::new(self.view.workers_in(lower, upper)),
            CandidateSet::Among(ids) => Box::new(self.view.workers_among(ids, lower, upper)),
            CandidateSet::Nowhere => Box::new(std::iter::empty()),
        };
        workers.filter(|worker| self.filter.matches(worker))
    }

    fn total(&self) -> usize {
        self.known_total().unwrap_or_else(|| self.range(Bound::Unbounded, Bound::Unbounded).count())
    }

    fn edge(&self, worker: WorkerView) -> Edge<WorkerView> {
        edge(worker, WorkerOrder::default())
    }
}

/// The edge of a worker in an order.
pub(super) fn edge(worker: WorkerView, order: WorkerOrder) -> Edge<WorkerView> {
    let (key, key_revision) = order.field.key(&worker);
    Edge::new(key, worker.worker.id.shared(), key_revision, worker)
}

impl Reading {
    /// A worker as a command left it, which later commands of the same batch may have changed again.
    fn as_decided(&self, worker: Arc<Worker>) -> WorkerView {
        WorkerView { worker, view: self.view.clone() }
    }
}

impl Resolvers {
    /// Registers a worker: a new one, a restarted one, or the same again.
    pub async fn register_worker(&self, caller: &Caller, id: &str, input: RegistrationInput) -> Result<Registered> {
        self.register_worker_if(caller, id, input, Precondition::default()).await
    }

    /// The same, if a precondition holds.
    pub async fn register_worker_if(
        &self,
        caller: &Caller,
        id: &str,
        input: RegistrationInput,
        condition: Precondition,
    ) -> Result<Registered> {
        let permit = self.authorize(caller, Action::Register)?;
        let command = Register { condition, ..input.check(id)? };
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        let worker = self.reading(snapshot).as_decided(reply.worker);
        let incarnation = worker.worker.life.incarnation;
        info!(worker.id = %id, worker.incarnation = incarnation, "Worker {id} registered, incarnation {incarnation}");
        if reply.shadows_vm {
            warn!(worker.id = %id, "Worker {id} has the id of a VM: GraphQL's `node` finds the worker");
        }
        let heartbeat_interval = self.timing.interval_for(worker.view.snapshot.worker_count());
        Ok(Registered { worker, created: reply.created, heartbeat_interval })
    }

    /// Records a worker's heartbeat.
    pub async fn record_heartbeat(
        &self,
        caller: &Caller,
        id: &str,
        input: HeartbeatInput,
    ) -> Result<HeartbeatRecorded> {
        let recorded = match self.submit_heartbeat(caller, id, input) {
            Ok(submitted) => self.finish_heartbeat(submitted).await,
            Err(refused) => Err(refused),
        };
        self.count_heartbeat(&recorded);
        recorded
    }

    fn submit_heartbeat(
        &self,
        caller: &Caller,
        id: &str,
        input: HeartbeatInput,
    ) -> Result<Submitted<HeartbeatAccepted>> {
        let permit = self.authorize(caller, Action::Heartbeat)?;
        let offline_after = self.timing.offline_after;
        let command = RecordHeartbeat { worker_id: id.to_owned(), report: input.check()?, offline_after };
        self.journal.with(permit).submit(command, caller).map_err(|refused| self.limit_retry_after(refused))
    }

    /// Records the heartbeats of a batch. A heartbeat that is refused does not affect the others; if the queue has no
    /// room for all, none is taken.
    pub async fn record_heartbeats(
        &self,
        caller: &Caller,
        heartbeats: Vec<(String, HeartbeatInput)>,
    ) -> Result<Vec<Result<HeartbeatRecorded>>> {
        let authorized = self.authorize(caller, Action::Heartbeat);
        let permit = authorized.inspect_err(|denied| self.metrics.count_refused(denied, heartbeats.len()))?;
        let offline_after = self.timing.offline_after;
        let mut checked = Vec::with_capacity(heartbeats.len());
        let mut places = Vec::with_capacity(heartbeats.len());
        for (worker_id, input) in heartbeats {
            places.push(input.check().map(|report| checked.push(RecordHeartbeat { worker_id, report, offline_after })));
        }
        let count = places.len();
        let submitted = self.journal.with(permit).submit_all(checked, caller).map_err(|refused| {
            self.metrics.count_refused(&refused, count);
            self.limit_retry_after(refused)
        })?;
        let mut submitted = submitted.into_iter();
        let mut replies = Vec::with_capacity(places.len());
        for place in places {
            let reply = match place {
                // Each checked heartbeat was submitted, in this order.
                Ok(()) => match submitted.next() {
                    Some(submitted) => self.finish_heartbeat(submitted).await,
                    None => Err(Error::ShuttingDown),
                },
                Err(refused) => Err(refused),
            };
            self.count_heartbeat(&reply);
            replies.push(reply);
        }
        Ok(replies)
    }

    /// Refuses heartbeats before their bodies are read, if the caller may send none. A refused request counts as one
    /// heartbeat, for how many there are in it is not known.
    pub fn authorize_heartbeats(&self, caller: &Caller) -> Result<()> {
        let authorized = self.authorize(caller, Action::Heartbeat);
        authorized.map(drop).inspect_err(|denied| self.metrics.count_refused(denied, 1))
    }

    /// Refuses heartbeats before their bodies are read, if the queue has no room for one: then only
    /// [who sends them](Self::note_liveness_signs) has to be read.
    pub fn check_room_for_heartbeat(&self) -> Result<()> {
        self.journal.for_server().check_room_for_heartbeat().map_err(|refused| self.limit_retry_after(refused))
    }

    /// Limits the wait that a refused worker is told, so that it can be refused once more and is still not offline.
    fn limit_retry_after(&self, error: Error) -> Error {
        match error {
            Error::Busy { retry_after } => {
                // Clients are told whole seconds.
                let longest = Duration::from_secs((self.timing.offline_after / 3).as_secs().max(1));
                Error::Busy { retry_after: retry_after.min(longest) }
            }
            other => other,
        }
    }

    /// Notes that a worker is alive whose registration is refused.
    pub fn note_liveness_sign_of_registration(&self, caller: &Caller, worker_id: &str, boot_id: Option<&str>) {
        let sign = LivenessSign { worker_id, incarnation: None, boot_id, sequence: None };
        self.note_authorized(caller, Action::Register, [sign]);
    }

    /// Notes signs of life from heartbeats that are refused, and nothing else of what these say.
    pub fn note_liveness_signs<'a>(&self, caller: &Caller, senders: impl IntoIterator<Item = HeartbeatSender<'a>>) {
        let signs = senders.into_iter().filter_map(|sender| {
            self.metrics.count_heartbeat(HeartbeatResult::Shed);
            let HeartbeatSender { worker_id, incarnation, boot_id, sequence } = sender;
            // No worker has an incarnation out of range.
            let incarnation = Some(checks::incarnation(incarnation).ok()?);
            let sequence = sequence.and_then(|number| u64::try_from(number).ok());
            Some(LivenessSign { worker_id, incarnation, boot_id, sequence })
        });
        self.note_authorized(caller, Action::Heartbeat, signs);
    }

    /// Notes signs of life of the workers that the caller speaks for.
    fn note_authorized<'a>(&self, caller: &Caller, action: Action, signs: impl IntoIterator<Item = LivenessSign<'a>>) {
        let Ok(permit) = self.authorize(caller, action) else { return };
        let journal = self.journal.with(permit);
        let known = journal.snapshot();
        journal.note_liveness_signs(signs.into_iter().filter(|sign| {
            known.find_worker(sign.worker_id).is_some_and(|worker| worker.authorize(caller.principal(), action).is_ok())
        }));
    }

    /// Counts what became of a heartbeat.
    fn count_heartbeat(&self, reply: &Result<HeartbeatRecorded>) {
        match reply {
            Ok(recorded) => self.metrics.count_accepted(recorded.last_sequence),
            Err(error) => self.metrics.count_refused(error, 1),
        }
    }

    async fn finish_heartbeat(&self, submitted: Submitted<HeartbeatAccepted>) -> Result<HeartbeatRecorded> {
        let Committed { reply, snapshot } = submitted.committed().await?;
        log_rejected_vms(&reply);
        self.note_measured(&reply);
        Ok(recorded(&reply, self.reading(snapshot).view, self.timing))
    }

    /// Hands what a worker measured on to its curves.
    fn note_measured(&self, HeartbeatAccepted { worker, measured, .. }: &HeartbeatAccepted) {
        if let Some(load) = measured {
            self.history.loads().note(&worker.id.shared(), *load, self.clock.monotonic());
        }
    }

    /// Records a worker's heartbeat, once for its idempotency key.
    pub async fn record_heartbeat_idempotent(
        &self,
        caller: &Caller,
        id: &str,
        input: HeartbeatInput,
        request: IdempotentRequest<HeartbeatRecorded>,
    ) -> Result<IdempotentReply> {
        let count = |refused: &Error| self.metrics.count_refused(refused, 1);
        let permit = self.authorize(caller, Action::Heartbeat).inspect_err(count)?;
        let offline_after = self.timing.offline_after;
        let report = input.check().inspect_err(count)?;
        let command = RecordHeartbeat { worker_id: id.to_owned(), report, offline_after };
        let timing = self.timing;
        let show = move |reply: &HeartbeatAccepted, view: Arc<View>| recorded(reply, view, timing);
        let committed = self.commit_idempotent(permit, caller, command, request.of_heartbeats(), show).await;
        let (answered, reply) = committed.inspect_err(count).map_err(|refused| self.limit_retry_after(refused))?;
        match &reply {
            Some(reply) => {
                self.metrics.count_accepted(reply.last_sequence);
                log_rejected_vms(reply);
                self.note_measured(reply);
            }
            None => self.metrics.count_heartbeat(HeartbeatResult::Replayed),
        }
        Ok(answered)
    }

    /// Records the heartbeats of a batch, once for its idempotency key: all in one commit. A heartbeat that is refused
    /// does not affect the others.
    pub async fn record_heartbeats_idempotent(
        &self,
        caller: &Caller,
        heartbeats: Vec<(String, HeartbeatInput)>,
        request: IdempotentRequest<Vec<Result<HeartbeatRecorded>>>,
    ) -> Result<IdempotentReply> {
        let authorized = self.authorize(caller, Action::Heartbeat);
        let permit = authorized.inspect_err(|denied| self.metrics.count_refused(denied, heartbeats.len()))?;
        let offline_after = self.timing.offline_after;
        // Invalid heartbeats are not given to the journal; their positions in the reply are kept.
        let mut checked = Vec::with_capacity(heartbeats.len());
        let mut places = Vec::with_capacity(heartbeats.len());
        for (worker_id, input) in heartbeats {
            places.push(input.check().map(|report| checked.push(RecordHeartbeat { worker_id, report, offline_after })));
        }
        let (timing, count) = (self.timing, places.len());
        let show = move |replies: &Vec<Result<HeartbeatAccepted>>, view: Arc<View>| {
            let mut replies = replies.iter();
            let one = |place: &Result<()>| {
                place.clone()?;
                let reply = replies.next().ok_or(Error::ShuttingDown)?.as_ref().map_err(Clone::clone)?;
                Ok(recorded(reply, view.clone(), timing))
            };
            places.iter().map(one).collect()
        };
        let invalid = count - checked.len();
        let command = RecordHeartbeats(checked);
        let committed = self.commit_idempotent(permit, caller, command, request.of_heartbeats(), show).await;
        let (answered, replies) = committed.map_err(|refused| {
            self.metrics.count_refused(&refused, count);
            self.limit_retry_after(refused)
        })?;
        match &replies {
            Some(replies) => {
                self.metrics.count_heartbeats(HeartbeatResult::Invalid, invalid as u64);
                for reply in replies {
                    match reply {
                        Ok(accepted) => self.metrics.count_accepted(accepted.last_sequence),
                        Err(error) => self.metrics.count_refused(error, 1),
                    }
                }
            }
            None => self.metrics.count_heartbeats(HeartbeatResult::Replayed, count as u64),
        }
        for accepted in replies.iter().flatten().flatten() {
            log_rejected_vms(accepted);
            self.note_measured(accepted);
        }
        Ok(answered)
    }

    /// Deregisters a worker: it is kept as offline, or removed.
    pub async fn deregister_worker(
        &self,
        caller: &Caller,
        id: &str,
        deregistration: Deregistration,
    ) -> Result<WorkerDeregistered> {
        let Deregistration { incarnation, boot_id, host_boot_id, purge, force, condition } = deregistration;
        let incarnation = incarnation.map(checks::incarnation).transpose()?;
        let host_boot_id = host_boot_id.map(checks::host_boot_id).transpose()?;
        let worker_id = id.to_owned();
        let mut command = Deregister {
            worker_id,
            incarnation,
            boot_id,
            host_boot_id,
            purge,
            force,
            condition,
            actor: Actor::Operator,
        };
        command.actor = match caller.principal().role() {
            Some(Role::Worker) => Actor::Worker,
            Some(Role::Viewer | Role::Operator | Role::Admin | Role::Join) => Actor::Operator,
            None => command.guess_actor(),
        };
        let actor = command.actor;
        let permit = self.authorize(caller, command.action())?;
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        let how = match (purge, actor) {
            (true, _) => "was removed",
            (false, Actor::Worker) => "said goodbye",
            (false, Actor::Operator | Actor::Server) => "was taken out of service",
        };
        info!(worker.id = %id, "Worker {id} {how}");
        let Deregistered { worker, removed_vms } = reply;
        let cursor = snapshot.cursor();
        let worker = worker.map(|worker| self.reading(snapshot).as_decided(worker));
        Ok(WorkerDeregistered { worker, removed_vms, cursor })
    }

    /// Stops new VMs from being placed on a worker. VMs already there keep running.
    pub async fn drain_worker(
        &self,
        caller: &Caller,
        id: &str,
        input: DrainInput,
        if_revision: Option<u64>,
    ) -> Result<PolicyChanged> {
        self.set_policy(caller, id, PolicyInput::Drain(input), if_revision.into()).await
    }

    /// Opens a worker for new VMs again.
    pub async fn activate_worker(
        &self,
        caller: &Caller,
        id: &str,
        reason: Option<String>,
        if_revision: Option<u64>,
    ) -> Result<PolicyChanged> {
        self.set_policy(caller, id, PolicyInput::Activate { reason }, if_revision.into()).await
    }

    /// Sets the scheduling policy of a worker.
    pub async fn set_policy(
        &self,
        caller: &Caller,
        id: &str,
        input: PolicyInput,
        condition: Precondition,
    ) -> Result<PolicyChanged> {
        let permit = self.authorize(caller, Action::SetSchedulingPolicy)?;
        let command = SetPolicy { worker_id: id.to_owned(), change: input.check()?, condition };
        let reason = command.change.reason().cloned();
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        log_policy(&reply, reason.as_deref());
        let worker = self.reading(snapshot).as_decided(reply.worker);
        Ok(PolicyChanged { worker, changed: reply.changed })
    }

    /// Sets the scheduling policy of a worker, once for the idempotency key.
    pub async fn set_policy_idempotent(
        &self,
        caller: &Caller,
        id: &str,
        input: PolicyInput,
        condition: Precondition,
        request: IdempotentRequest<PolicyChanged>,
    ) -> Result<IdempotentReply> {
        let permit = self.authorize(caller, Action::SetSchedulingPolicy)?;
        let command = SetPolicy { worker_id: id.to_owned(), change: input.check()?, condition };
        let show = |reply: &PolicySet, view: Arc<View>| PolicyChanged {
            worker: WorkerView { worker: reply.worker.clone(), view },
            changed: reply.changed,
        };
        let reason = command.change.reason().cloned();
        let (answered, reply) = self.commit_idempotent(permit, caller, command, request, show).await?;
        reply.iter().for_each(|reply| log_policy(reply, reason.as_deref()));
        Ok(answered)
    }
}

/// The reply to a heartbeat, with the time of the next one.
fn recorded(reply: &HeartbeatAccepted, view: Arc<View>, timing: Timing) -> HeartbeatRecorded {
    let interval = timing.interval_for(view.snapshot.worker_count());
    let spread = rand::rng().random_range(1.0 - HEARTBEAT_JITTER..=1.0 + HEARTBEAT_JITTER);
    HeartbeatRecorded {
        worker: WorkerView { worker: reply.worker.clone(), view },
        next_heartbeat: interval.mul_f64(spread),
        resync: reply.resync,
        last_sequence: reply.last_sequence,
        rejected_vms: reply.rejected_vms.clone(),
    }
}

fn log_rejected_vms(HeartbeatAccepted { worker, rejected_vms, .. }: &HeartbeatAccepted) {
    if let Some(RejectedVm { id: vm, reason }) = rejected_vms.first() {
        let (id, count) = (&worker.id, rejected_vms.len());
        // One line for all: the worker will report the same VMs again in a few seconds.
        let vm: String = vm.chars().take(64).collect();
        warn!(worker.id = %id, vms.set_aside = count, "{count} VMs of worker {id} were set aside, such as {vm:?}: {reason}");
    }
}

/// How many workers one log line names.
const MAX_NAMED_IN_LOG: usize = 20;

/// One line for all workers of a request, however many they are. The change log has an event for each.
pub(super) fn log_policies(sets: &[PolicySet], reason: Option<&str>) {
    let changed: Vec<_> = sets.iter().filter(|set| set.changed).collect();
    match *changed {
        [] => {}
        [set] => log_policy(set, reason),
        [PolicySet { worker, .. }, ..] => {
            let policy = worker.policy;
            let ids: Vec<_> = changed.iter().map(|set| set.worker.id.as_str()).collect();
            let why = reason.map(|reason| format!(": {reason:?}")).unwrap_or_default();
            let names = first_named(&ids);
            info!(workers.changed = ids.len(), worker.policy = %policy, reason, "Workers {names} are {policy}{why}");
        }
    }
}

/// The first ids, and how many more there are.
fn first_named(ids: &[&str]) -> String {
    match ids.split_at_checked(MAX_NAMED_IN_LOG) {
        Some((named, more @ [_, ..])) => format!("{} and {} more", named.join(", "), more.len()),
        Some((_, [])) | None => ids.join(", "),
    }
}

fn log_policy(PolicySet { worker, changed }: &PolicySet, reason: Option<&str>) {
    if *changed {
        let (id, policy) = (&worker.id, worker.policy);
        let why = reason.map(|reason| format!(": {reason:?}")).unwrap_or_default();
        info!(worker.id = %id, worker.policy = %policy, reason, "Worker {id} is {policy}{why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_twenty_workers_and_counts_the_rest() {
        let ids: Vec<_> = (10..32).map(|number| format!("w{number}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        assert_eq!(first_named(&ids[..2]), "w10, w11");
        assert_eq!(first_named(&ids[..20]), ids[..20].join(", "));
        assert_eq!(first_named(&ids), format!("{} and 2 more", ids[..20].join(", ")));
    }
}
