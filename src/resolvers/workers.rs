//! Operations on workers.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tracing::{info, warn};

use super::input::{self, HeartbeatInput, RegistrationInput};
use super::offload::steps;
use super::once::{Answered, Once};
use super::ordered::{self, kept_order};
use super::page::{Edge, ListById, Listing, Matching, Page, PageRequest};
use super::{Reading, Resolvers, Timing};
use crate::cluster::{
    Actor, Ids, KeptOrder, SchedulingPolicy, View, VmStatus, VmView, Worker, WorkerFacet, WorkerFilter, WorkerId,
    WorkerOrder, WorkerOrderField, WorkerSortKey, WorkerView,
};
use crate::error::{Error, Result};
use crate::journal::commands::{
    Deregister, HeartbeatAccepted, PolicySet, RecordHeartbeat, RecordHeartbeats, Register, SetPolicy,
};
pub use crate::journal::commands::{ExpectedRevision, ExpectedState, Precondition, RejectedVm};
use crate::journal::{Committed, LivenessSign, Submitted};

/// By how much the time of the next heartbeat is spread, so that a fleet that starts at once does
/// not send its heartbeats at once for ever.
const JITTER: f64 = 0.1;

/// A worker has registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The worker as it now is.
    pub worker: WorkerView,
    /// Whether it was not known before.
    pub created: bool,
    /// How long to wait between heartbeats.
    pub heartbeat_interval: Duration,
}

/// A heartbeat has been recorded.
#[derive(Clone, Debug)]
pub struct HeartbeatRecorded {
    /// The worker as it now is.
    pub worker: WorkerView,
    /// When to send the next one.
    pub next_heartbeat: Duration,
    /// Whether the next one should carry the whole inventory.
    pub resync: bool,
    /// If it came late, the number of the last one that counted.
    pub last_sequence: Option<u64>,
    /// VMs that were left out.
    pub set_aside: Vec<RejectedVm>,
}

/// Who sends a heartbeat, as it says itself.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatSender<'a> {
    /// The worker.
    pub worker_id: &'a str,
    /// Which life of it.
    pub incarnation: i64,
    /// What its process called its start.
    pub boot_id: Option<&'a str>,
    /// Number of the heartbeat in that life.
    pub sequence: Option<i64>,
}

/// What operators want of a worker is as they asked.
#[derive(Clone, Debug)]
pub struct PolicyChanged {
    /// The worker as it now is.
    pub worker: WorkerView,
    /// Whether it was different before.
    pub changed: bool,
}

impl PolicyChanged {
    /// What happened, as the documented sentence.
    pub fn message(&self) -> &'static str {
        match self.worker.worker.policy {
            SchedulingPolicy::Draining => "Worker marked as draining. It will stop accepting new tasks.",
            SchedulingPolicy::Active => "Worker activated. It will resume accepting tasks.",
        }
    }
}

/// How a worker leaves.
#[derive(Clone, Debug, Default)]
pub struct Goodbye {
    /// Which life of the worker leaves: then it is the worker who says so. Without this and the next two, it is an
    /// operator.
    pub incarnation: Option<i64>,
    /// What the process of that life called its start.
    pub boot_id: Option<String>,
    /// On which start of its host the life that leaves has to be.
    pub host_boot_id: Option<String>,
    /// Remove it with its VMs, instead of keeping it as offline.
    pub purge: bool,
    /// Remove it even though VMs hold slots on it.
    pub force: bool,
    /// Only if this holds.
    pub condition: Precondition,
}

/// Anything that has an id of its own.
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
            return Matching { view: &self.view, filter }.range(Bound::Unbounded, Bound::Unbounded).collect();
        };
        let mut ids: Vec<_> = ids.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        let workers = ids.into_iter().filter_map(|id| self.view.find_worker(id));
        workers.filter(|worker| filter.matches(worker)).collect()
    }

    /// How many steps it takes to find the workers that match, and to write those of them that are asked for.
    pub fn steps_to_list_workers(&self, filter: &WorkerFilter, order: WorkerOrder, request: &PageRequest) -> u64 {
        let matching = Matching { view: &self.view, filter };
        let rows = match &filter.ids {
            Some(ids) => ids.len(),
            None => matching.source().len(&self.view),
        };
        let snapshot = &self.view.snapshot;
        let rows = if ordered_by(filter, order).is_some() {
            // Those that have moved since the walk began are passed.
            let moved = request.walk_began().map_or(0, |revision| snapshot.count_registered_after(revision));
            request.most_rows(rows).saturating_add(moved).min(rows.saturating_mul(2))
        } else if lie_by_id(filter, order) && matching.known_total().is_some() && !matching.may_pass_the_silent() {
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
        if lie_by_id(filter, order) {
            return Page::by_id(&Matching { view: &self.view, filter }, order.descending, request);
        }
        if let Some(kept) = ordered_by(filter, order) {
            return ordered::page(&self.view, kept, order, request, |worker| edge(worker, order));
        }
        let edges = self.list_workers(filter).into_iter().map(|worker| edge(worker, order)).collect();
        Page::of(edges, order, request, &self.view.snapshot)
    }

    /// The workers that match, in the order asked for: all of them, or the page that is asked for.
    pub fn listing_of_workers(
        &self,
        filter: &WorkerFilter,
        order: WorkerOrder,
        request: &PageRequest,
    ) -> Result<Listing<WorkerView>> {
        let is_sought = lie_by_id(filter, order) || ordered_by(filter, order).is_some();
        if is_sought && !request.is_for_all() {
            return Ok(self.page_of_workers(filter, order, request)?.into());
        }
        Listing::of(self.list_workers(filter), |worker| edge(worker, order), order, request, &self.view.snapshot)
    }

    /// VMs of a worker, by id: those in one of these statuses, or without any wish those that hold a slot.
    pub fn worker_vms(&self, id: &str, statuses: Option<&[VmStatus]>) -> Result<Vec<VmView>> {
        Ok(self.worker(id)?.vms(statuses))
    }

    /// Whatever has this id. Of a worker and a VM that have one, the worker.
    pub fn find_node(&self, id: &str) -> Option<Node> {
        let worker = self.find_worker(id).map(Node::Worker);
        worker.or_else(|| self.find_vm(id).map(Node::Vm))
    }
}

/// Whether the workers that match lie in this order: none are looked up by their ids.
fn lie_by_id(filter: &WorkerFilter, order: WorkerOrder) -> bool {
    filter.ids.is_none() && order.field == WorkerOrderField::Id
}

/// The order that is kept in which all workers are asked for, if they are.
fn ordered_by(filter: &WorkerFilter, order: WorkerOrder) -> Option<KeptOrder> {
    if *filter == WorkerFilter::default() { kept_order(order) } else { None }
}

/// Where all workers that match are.
enum Source<'a> {
    /// Anywhere.
    All,
    /// Among these.
    Among(&'a Ids<WorkerId>),
    /// Nowhere.
    Nowhere,
}

impl Source<'_> {
    /// How many workers there are to look at.
    fn len(&self, view: &View) -> usize {
        match self {
            Self::All => view.snapshot.worker_count(),
            Self::Among(ids) => ids.count(),
            Self::Nowhere => 0,
        }
    }
}

impl<'a> Matching<'a, WorkerFilter> {
    /// The fewest workers among which those that match can be found by an index.
    fn source(&self) -> Source<'a> {
        let snapshot = &self.view.snapshot;
        let sources = self.filter.facets().filter_map(|facet| match facet {
            WorkerFacet::Zone(zone) => Some(snapshot.workers_of_zone(zone)),
            WorkerFacet::Label(key, value) => Some(snapshot.workers_with_label(key, value)),
            WorkerFacet::Status(status) => self.view.candidates(status).map(Some),
        });
        let sources = sources.map(|ids| ids.map_or(Source::Nowhere, Source::Among));
        sources.min_by_key(|source| source.len(self.view)).unwrap_or(Source::All)
    }

    /// Whether a page by status may have to pass any number of workers whose silence nobody has announced yet.
    fn may_pass_the_silent(&self) -> bool {
        let is_by_status = self.filter.facets().any(|facet| matches!(facet, WorkerFacet::Status(_)));
        is_by_status && !self.view.has_announced_all_silent()
    }

    /// How many workers match, if that is known without looking at them.
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

impl ListById for Matching<'_, WorkerFilter> {
    type Node = WorkerView;

    fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = WorkerView> + 'a {
        let workers: Box<dyn DoubleEndedIterator<Item = WorkerView> + 'a> = match self.source() {
            Source::All => Box::new(self.view.workers_in(lower, upper)),
            Source::Among(ids) => Box::new(self.view.workers_among(ids, lower, upper)),
            Source::Nowhere => Box::new(std::iter::empty()),
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

/// A worker with its place in an order.
pub(super) fn edge(worker: WorkerView, order: WorkerOrder) -> Edge<WorkerView> {
    let kept = &worker.worker;
    let key_revision = match order.field {
        WorkerOrderField::Id => 0,
        WorkerOrderField::Hostname | WorkerOrderField::Zone => kept.registration_revision,
        WorkerOrderField::VmCount => kept.usage.vms_revision,
        // When exactly is not known; not later than this.
        WorkerOrderField::CpuUsage | WorkerOrderField::MemoryUsage | WorkerOrderField::LastSeen => kept.revision,
    };
    Edge::new(WorkerSortKey::of(&worker, order.field), kept.id.shared(), key_revision, worker)
}

impl Reading {
    /// A worker as a command left it. Other commands of its batch may have gone on from there.
    fn as_decided(&self, worker: Arc<Worker>) -> WorkerView {
        WorkerView { worker, view: self.view.clone() }
    }
}

impl Resolvers {
    /// Registers a worker: a new one, a restarted one, or the same again.
    pub async fn register_worker(&self, id: &str, input: RegistrationInput) -> Result<Registered> {
        self.register_worker_if(id, input, Precondition::default()).await
    }

    /// The same, if the condition holds.
    pub async fn register_worker_if(
        &self,
        id: &str,
        input: RegistrationInput,
        condition: Precondition,
    ) -> Result<Registered> {
        let command = Register { condition, ..input.check(id)? };
        let Committed { reply, snapshot } = self.journal.commit(command).await?;
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
    pub async fn record_heartbeat(&self, id: &str, input: HeartbeatInput) -> Result<HeartbeatRecorded> {
        let offline_after = self.timing.offline_after;
        let command = RecordHeartbeat { worker_id: id.to_owned(), report: input.check()?, offline_after };
        let submitted = self.journal.submit(command).map_err(|refused| self.within_time_out(refused))?;
        self.finish_heartbeat(submitted).await
    }

    /// Records heartbeats of many workers that came together. One that is refused does not spoil the others; if there is
    /// no room for them, none is taken.
    pub async fn record_heartbeats(
        &self,
        heartbeats: Vec<(String, HeartbeatInput)>,
    ) -> Result<Vec<Result<HeartbeatRecorded>>> {
        let offline_after = self.timing.offline_after;
        let mut checked = Vec::with_capacity(heartbeats.len());
        let mut places = Vec::with_capacity(heartbeats.len());
        for (worker_id, input) in heartbeats {
            places.push(input.check().map(|report| checked.push(RecordHeartbeat { worker_id, report, offline_after })));
        }
        let submitted = self.journal.submit_all(checked).map_err(|refused| self.within_time_out(refused))?;
        let mut submitted = submitted.into_iter();
        let mut replies = Vec::with_capacity(places.len());
        for place in places {
            replies.push(match place {
                // Each of these was submitted.
                Ok(()) => match submitted.next() {
                    Some(submitted) => self.finish_heartbeat(submitted).await,
                    None => Err(Error::ShuttingDown),
                },
                Err(refused) => Err(refused),
            });
        }
        Ok(replies)
    }

    /// Refuses heartbeats, of which nothing has been read yet, if there is not even room for one: then it is enough to
    /// read [who sends them](Self::hear).
    pub fn check_room_for_heartbeat(&self) -> Result<()> {
        self.journal.check_room_for_heartbeat().map_err(|refused| self.within_time_out(refused))
    }

    /// Asks whoever is refused for load to come again while it is not silent for too long, even if it is refused again.
    fn within_time_out(&self, error: Error) -> Error {
        match error {
            Error::Busy { retry_after } => {
                // It is told in whole seconds.
                let longest = Duration::from_secs((self.timing.offline_after / 3).as_secs().max(1));
                Error::Busy { retry_after: retry_after.min(longest) }
            }
            other => other,
        }
    }

    /// Hears that a worker is alive whose registration is refused.
    pub fn hear_registration(&self, worker_id: &str, boot_id: Option<&str>) {
        self.journal.note_liveness_sign(&LivenessSign { worker_id, incarnation: None, boot_id, sequence: None });
    }

    /// Hears that a worker is alive whose heartbeat is refused, and nothing else of what it says.
    pub fn hear(&self, sender: &HeartbeatSender<'_>) {
        let HeartbeatSender { worker_id, incarnation, boot_id, sequence } = *sender;
        // One that makes no sense is nobody's.
        if let Ok(incarnation) = input::incarnation(incarnation) {
            let sequence = sequence.and_then(|number| u64::try_from(number).ok());
            self.journal.note_liveness_sign(&LivenessSign {
                worker_id,
                incarnation: Some(incarnation),
                boot_id,
                sequence,
            });
        }
    }

    async fn finish_heartbeat(&self, submitted: Submitted<HeartbeatAccepted>) -> Result<HeartbeatRecorded> {
        let Committed { reply, snapshot } = submitted.committed().await?;
        note_set_aside(&reply);
        Ok(recorded(&reply, self.reading(snapshot).view, self.timing))
    }

    /// Records a worker's heartbeat, once for its key.
    pub async fn record_heartbeat_once(
        &self,
        id: &str,
        input: HeartbeatInput,
        once: Once<HeartbeatRecorded>,
    ) -> Result<Answered> {
        let offline_after = self.timing.offline_after;
        let command = RecordHeartbeat { worker_id: id.to_owned(), report: input.check()?, offline_after };
        let timing = self.timing;
        let show = move |reply: &HeartbeatAccepted, view: Arc<View>| recorded(reply, view, timing);
        let (answered, reply) = self
            .commit_once(command, once.of_heartbeats(), show)
            .await
            .map_err(|refused| self.within_time_out(refused))?;
        reply.iter().for_each(note_set_aside);
        Ok(answered)
    }

    /// Records heartbeats of many workers, once for their key: together or not at all. One that is refused does not
    /// spoil the others.
    pub async fn record_heartbeats_once(
        &self,
        heartbeats: Vec<(String, HeartbeatInput)>,
        once: Once<Vec<Result<HeartbeatRecorded>>>,
    ) -> Result<Answered> {
        let offline_after = self.timing.offline_after;
        // Those that make no sense are not given to the journal; their places are kept.
        let mut checked = Vec::with_capacity(heartbeats.len());
        let mut places = Vec::with_capacity(heartbeats.len());
        for (worker_id, input) in heartbeats {
            places.push(input.check().map(|report| checked.push(RecordHeartbeat { worker_id, report, offline_after })));
        }
        let timing = self.timing;
        let show = move |replies: &Vec<Result<HeartbeatAccepted>>, view: Arc<View>| {
            let mut replies = replies.iter();
            let one = |place: &Result<()>| {
                place.clone()?;
                let reply = replies.next().ok_or(Error::ShuttingDown)?.as_ref().map_err(Clone::clone)?;
                Ok(recorded(reply, view.clone(), timing))
            };
            places.iter().map(one).collect()
        };
        let (answered, replies) = self
            .commit_once(RecordHeartbeats(checked), once.of_heartbeats(), show)
            .await
            .map_err(|refused| self.within_time_out(refused))?;
        replies.iter().flatten().flatten().for_each(note_set_aside);
        Ok(answered)
    }

    /// A worker leaves: it is kept as offline, or removed.
    pub async fn deregister_worker(&self, id: &str, goodbye: Goodbye) -> Result<()> {
        let Goodbye { incarnation, boot_id, host_boot_id, purge, force, condition } = goodbye;
        let incarnation = incarnation.map(input::incarnation).transpose()?;
        let host_boot_id = host_boot_id.map(input::host_boot_id).transpose()?;
        let worker_id = id.to_owned();
        let command = Deregister { worker_id, incarnation, boot_id, host_boot_id, purge, force, condition };
        let actor = command.actor();
        self.journal.commit(command).await?;
        let how = match (purge, actor) {
            (true, _) => "was removed",
            (false, Actor::Worker) => "said goodbye",
            (false, Actor::Operator | Actor::Server) => "was taken out of service",
        };
        info!(worker.id = %id, "Worker {id} {how}");
        Ok(())
    }

    /// Stops new work from landing on a worker. What runs there keeps running.
    pub async fn drain_worker(
        &self,
        id: &str,
        reason: Option<String>,
        if_revision: Option<u64>,
    ) -> Result<PolicyChanged> {
        self.set_policy(id, SchedulingPolicy::Draining, reason, if_revision.into()).await
    }

    /// Opens a worker for new work again.
    pub async fn activate_worker(
        &self,
        id: &str,
        reason: Option<String>,
        if_revision: Option<u64>,
    ) -> Result<PolicyChanged> {
        self.set_policy(id, SchedulingPolicy::Active, reason, if_revision.into()).await
    }

    /// Sets what operators want of a worker.
    pub async fn set_policy(
        &self,
        id: &str,
        policy: SchedulingPolicy,
        reason: Option<String>,
        condition: Precondition,
    ) -> Result<PolicyChanged> {
        let reason = super::input::reason(reason)?;
        let command = SetPolicy { worker_id: id.to_owned(), policy, reason, condition };
        let reason = command.reason.clone();
        let Committed { reply, snapshot } = self.journal.commit(command).await?;
        note_policy(&reply, reason.as_deref());
        let worker = self.reading(snapshot).as_decided(reply.worker);
        Ok(PolicyChanged { worker, changed: reply.changed })
    }

    /// Sets what operators want of a worker, once for the request's key.
    pub async fn set_policy_once(
        &self,
        id: &str,
        policy: SchedulingPolicy,
        reason: Option<String>,
        condition: Precondition,
        once: Once<PolicyChanged>,
    ) -> Result<Answered> {
        let reason = super::input::reason(reason)?;
        let command = SetPolicy { worker_id: id.to_owned(), policy, reason, condition };
        let show = |reply: &PolicySet, view: Arc<View>| PolicyChanged {
            worker: WorkerView { worker: reply.worker.clone(), view },
            changed: reply.changed,
        };
        let reason = command.reason.clone();
        let (answered, reply) = self.commit_once(command, once, show).await?;
        reply.iter().for_each(|reply| note_policy(reply, reason.as_deref()));
        Ok(answered)
    }
}

/// What a worker is told of its heartbeat.
fn recorded(reply: &HeartbeatAccepted, view: Arc<View>, timing: Timing) -> HeartbeatRecorded {
    let interval = timing.interval_for(view.snapshot.worker_count());
    let spread = rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER);
    HeartbeatRecorded {
        worker: WorkerView { worker: reply.worker.clone(), view },
        next_heartbeat: interval.mul_f64(spread),
        resync: reply.resync,
        last_sequence: reply.last_sequence,
        set_aside: reply.rejected_vms.clone(),
    }
}

fn note_set_aside(HeartbeatAccepted { worker, rejected_vms: set_aside, .. }: &HeartbeatAccepted) {
    if let Some(RejectedVm { id: vm, reason }) = set_aside.first() {
        let (id, count) = (&worker.id, set_aside.len());
        // One line, however many: the worker will say the same again in a few seconds.
        let vm: String = vm.chars().take(64).collect();
        warn!(worker.id = %id, vms.set_aside = count, "{count} VMs of worker {id} were set aside, such as {vm:?}: {reason}");
    }
}

fn note_policy(PolicySet { worker, changed }: &PolicySet, reason: Option<&str>) {
    if *changed {
        let (id, policy) = (&worker.id, worker.policy);
        let why = reason.map(|reason| format!(": {reason:?}")).unwrap_or_default();
        info!(worker.id = %id, worker.policy = %policy, reason, "Worker {id} is {policy}{why}");
    }
}
