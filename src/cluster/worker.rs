//! A worker: the five facts about it, and what may happen to each.
//!
//! Identity and capacity are written by registration, usage by heartbeats, the policy by operators
//! only; availability is derived and never written; the incarnation is handed out at registration.
//! A new life of the process is not a new start of its host: what the host runs is kept until the new process has told
//! what it finds, unless it says that the host itself has started anew.
//!
//! The structs below are cut along these lines, so that no change can touch another writer's part.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::id::WorkerId;
use super::sorted_list::Keyed;
use super::status::{Availability, SchedulingPolicy, WorkerStatus};
use super::vm::Vm;
use crate::clock::Timestamp;
use crate::render::RenderCache;

/// How many boot ids of earlier lives are remembered: enough for every retry of a registration that may still be under
/// way, even if the process starts again and again.
pub const EARLIER_BOOT_IDS: usize = 32;

/// Labels by key.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A machine that runs VMs. Copies are cheap: the large parts are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Chosen by the worker; never changes.
    pub id: WorkerId,
    /// Who it is and how large: written by registration.
    pub identity: Arc<Identity>,
    /// Revision of the last registration that was more than a retry.
    pub registration_revision: u64,
    /// Which life of its process this is: written by registration and by goodbye.
    pub life: Life,
    /// What it uses: written by heartbeats.
    pub usage: Usage,
    /// What operators asked for: written by them only.
    pub policy: SchedulingPolicy,
    /// The drain that stands; none while the policy is active.
    pub drain: Option<Arc<Drain>>,
    /// Revision of the last change to the policy or to the drain.
    pub policy_revision: u64,
    /// What was last announced of its availability in the change log. Not what it is now.
    pub announced: Availability,
    /// Revision of the last change to any of this.
    pub revision: u64,
    /// Templates of its text. They are no part of its state: whoever changes a copy of it finds none in the copy.
    pub render_cache: RenderCache,
}

/// Who a worker is and how large.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Name of the machine.
    pub hostname: Arc<str>,
    /// Host and port it listens on.
    pub address: Arc<str>,
    /// Where it stands; empty if nobody said.
    pub zone: Arc<str>,
    /// Free labels.
    pub labels: Labels,
    /// What it can do, such as hypervisors it offers.
    pub capabilities: Vec<Arc<str>>,
    /// CPU cores.
    pub cpu_cores: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in GB.
    pub disk_gb: u32,
    /// How many VMs it may hold.
    pub max_vms: u32,
}

/// One life of a worker's process, from registration to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Counts the lives; heartbeats of an older one are refused.
    pub incarnation: u64,
    /// How the starts of the process and of its host are told apart.
    pub boots: Arc<Boots>,
    /// Revision of the registration that began it.
    pub since_revision: u64,
    /// When it began, by the server's clock.
    pub started_at: Timestamp,
    /// When it said goodbye, if it did.
    pub left_at: Option<Timestamp>,
}

impl Life {
    /// The first life of a process that does not say how its starts are told apart.
    pub fn first(at: Timestamp, revision: u64) -> Self {
        Self { incarnation: 1, boots: Arc::default(), since_revision: revision, started_at: at, left_at: None }
    }
}

/// How the starts of a worker's process, and of its host, are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boots {
    /// What the process called its last start, so that a repeated registration is no restart; none if it did not say. It
    /// is among the earlier ones, too, once the process has said goodbye.
    pub boot_id: Option<Arc<str>>,
    /// The starts that are over, the latest last; a registration of one of these comes too late. At most
    /// [`EARLIER_BOOT_IDS`].
    pub earlier: Vec<Boot>,
    /// Which start of its host the process belongs to, if it said so.
    pub host: Option<Arc<str>>,
}

/// A start of a worker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// What the process called it.
    pub id: Arc<str>,
    /// On which start of its host it was, if it said so.
    pub host: Option<Arc<str>>,
}

impl Boot {
    /// Whether a process that says this of itself may be of this start: it says the same boot id, and is not known to be
    /// on another start of the host, as one of a program that always says the same is.
    fn may_be(&self, boot_id: &str, host: Option<&str>) -> bool {
        *self.id == *boot_id && !is_another_start(self.host.as_deref(), host)
    }
}

/// Whether these are known to be two starts of a host.
fn is_another_start(one: Option<&str>, other: Option<&str>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

impl Boots {
    /// The next start of the process.
    pub fn next(&self, boot_id: Option<Arc<str>>, host: Option<Arc<str>>) -> Self {
        // A process that an operator took out of service begins another life and is the same as before.
        let goes_on = |last: &Boot| boot_id.as_ref().is_some_and(|boot_id| last.may_be(boot_id, host.as_deref()));
        let over = self.last().filter(|last| !goes_on(last));
        Self { boot_id, earlier: self.with_earlier(over), host }
    }

    /// The last start is over, and no other has begun.
    #[must_use]
    pub fn ended(&self) -> Self {
        Self { boot_id: self.boot_id.clone(), earlier: self.with_earlier(self.last()), host: self.host.clone() }
    }

    /// The last start, if it has a name.
    fn last(&self) -> Option<Boot> {
        self.boot_id.clone().map(|id| Boot { id, host: self.host.clone() })
    }

    fn with_earlier(&self, over: Option<Boot>) -> Vec<Boot> {
        let over = over.filter(|over| !self.earlier.contains(over));
        let forgotten = (self.earlier.len() + usize::from(over.is_some())).saturating_sub(EARLIER_BOOT_IDS);
        self.earlier.iter().skip(forgotten).cloned().chain(over).collect()
    }

    /// Whether a start that a process says this of is over.
    pub fn is_over(&self, boot_id: &str, host: Option<&str>) -> bool {
        self.earlier.iter().any(|over| over.may_be(boot_id, host))
    }

    /// Whether the last start has a name and is over: a registration of it would be refused.
    pub fn has_ended(&self) -> bool {
        self.last().is_some_and(|last| self.earlier.contains(&last))
    }

    /// The name of the start of a process that would be refused if it registered again: the one that it says, or if it
    /// says none, the last one.
    pub fn find_over(&self, said: Option<&str>) -> Option<Arc<str>> {
        match said.filter(|said| self.boot_id.as_deref() != Some(said)) {
            Some(said) => self.is_over(said, None).then(|| said.into()),
            None => self.boot_id.clone().filter(|_| self.has_ended()),
        }
    }
}

/// What is left of a worker that was purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The id of the worker.
    pub worker_id: WorkerId,
    /// Its last incarnation.
    pub incarnation: u64,
    /// The starts of its process. The last one may not be over: its process may still be there, and registers again when it
    /// learns that the worker is not known any more.
    pub boots: Arc<Boots>,
    /// When it was purged; none if that was before this was kept.
    pub purged_at: Option<Timestamp>,
    /// Revision of the purge.
    pub revision: u64,
}

/// Why, by whom and since when a worker is draining.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// The reason that was given last.
    pub reason: Option<Arc<str>>,
    /// Who began it; none if that was before this was kept.
    pub started_by: Option<Arc<str>>,
    /// When it began, by the server's clock; none if that was before this was kept.
    pub started_at: Option<Timestamp>,
}

/// What a worker uses, as of its last heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// When it was last heard from, by the server's clock. Goes back only with that clock.
    pub last_seen: Timestamp,
    /// Number of the last heartbeat of this life that counted.
    pub sequence: Option<u64>,
    /// Number of the last heartbeat of this life that was not above that one, and counted as a sign of life all the same.
    /// Each number does so once, so that no repetition of what was said before can keep a dead process alive. None since
    /// the last registration, or the last heartbeat that counted.
    pub late_sequence: Option<u64>,
    /// CPU cores allocated to VMs.
    pub used_cpu_cores: u32,
    /// Memory allocated to VMs, in MiB.
    pub used_memory_mb: u32,
    /// Disk allocated to VMs, in GB.
    pub used_disk_gb: u32,
    /// Its VMs, by id.
    pub vms: WorkerVms,
    /// Revision of the last whole inventory; none if there has been none since the start of the host. It may be of an
    /// earlier life of the process: see [`Worker::knows_inventory`].
    pub inventory_revision: Option<u64>,
    /// Revision of the last change to the set of VMs.
    pub vms_revision: u64,
}

/// The VMs of a worker, by id. Copies are cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerVms {
    vms: Arc<[Arc<Vm>]>,
    /// Counted once, since every list of workers shows it.
    slot_holders: usize,
}

impl WorkerVms {
    /// Whether both are the very same list.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.vms, &other.vms)
    }

    /// How many of them hold a slot.
    pub fn count_slot_holders(&self) -> usize {
        self.slot_holders
    }
}

impl From<Vec<Arc<Vm>>> for WorkerVms {
    /// Of VMs in ascending order of their ids.
    fn from(vms: Vec<Arc<Vm>>) -> Self {
        let slot_holders = vms.iter().filter(|vm| vm.status.holds_slot()).count();
        Self { vms: vms.into(), slot_holders }
    }
}

impl Deref for WorkerVms {
    type Target = [Arc<Vm>];

    fn deref(&self) -> &[Arc<Vm>] {
        &self.vms
    }
}

impl Worker {
    /// A worker nobody has seen before, or not since it was purged.
    pub fn first_life(id: WorkerId, identity: Identity, life: Life) -> Self {
        let (at, revision) = (life.started_at, life.since_revision);
        Self {
            id,
            identity: Arc::new(identity),
            registration_revision: revision,
            life,
            usage: Usage::none(at, revision),
            policy: SchedulingPolicy::Active,
            drain: None,
            policy_revision: revision,
            announced: Availability::Online,
            revision,
            render_cache: RenderCache::default(),
        }
    }

    /// Whether a registration with these ids is the present life asking again. The same boot id on another start of the
    /// host is another process, of a program that always says the same.
    pub fn is_same_life(&self, boot_id: Option<&str>, host_boot_id: Option<&str>) -> bool {
        boot_id.is_some()
            && self.life.boots.boot_id.as_deref() == boot_id
            && self.life.left_at.is_none()
            && !self.is_another_start_of_the_host(host_boot_id)
    }

    /// Whether the host is known to have started anew: both have said on which start they are, and it is another one.
    pub fn is_another_start_of_the_host(&self, host_boot_id: Option<&str>) -> bool {
        is_another_start(self.life.boots.host.as_deref(), host_boot_id)
    }

    /// The worker's process has started again. The policy stays, since a restart is no reason to forget what operators
    /// asked for. What the host runs, and what that takes, stays until the new process has told it, or goes at once if the
    /// host itself has started anew.
    pub fn start_life(
        &mut self,
        identity: Identity,
        boot_id: Option<Arc<str>>,
        host_boot_id: Option<Arc<str>>,
        incarnation: u64,
        (at, revision): (Timestamp, u64),
    ) {
        let is_another_start_of_the_host = self.is_another_start_of_the_host(host_boot_id.as_deref());
        self.identity = Arc::new(identity);
        self.registration_revision = revision;
        self.life = Life {
            incarnation,
            boots: Arc::new(self.life.boots.next(boot_id, host_boot_id)),
            since_revision: revision,
            started_at: at,
            left_at: None,
        };
        if is_another_start_of_the_host {
            self.usage = Usage::none(at, revision);
        } else {
            self.usage.last_seen = at;
            self.usage.sequence = None;
            self.usage.late_sequence = None;
            // An inventory of the same batch is of the life before this one, too.
            self.usage.inventory_revision = self.usage.inventory_revision.map(|known| known.min(revision - 1));
        }
        self.revision = revision;
    }

    /// The present life registers again, perhaps with a changed description. It is a sign of life.
    pub fn reregister(&mut self, identity: Identity, host_boot_id: Option<Arc<str>>, at: Timestamp, revision: u64) {
        if *self.identity != identity {
            self.identity = Arc::new(identity);
            self.registration_revision = revision;
        }
        if host_boot_id.is_some() && self.life.boots.host != host_boot_id {
            Arc::make_mut(&mut self.life.boots).host = host_boot_id;
        }
        self.life.started_at = self.life.started_at.min(at);
        self.usage.last_seen = at;
        self.usage.late_sequence = None;
        self.revision = revision;
    }

    /// The worker says goodbye, or an operator takes it out of service. Its process may register again only in the second
    /// case: in the first, a registration that is still under way comes too late.
    pub fn leave(&mut self, by_itself: bool, at: Timestamp, revision: u64) {
        if by_itself {
            self.life.boots = Arc::new(self.life.boots.ended());
        }
        self.life.left_at = Some(self.life.left_at.unwrap_or(at));
        // Everybody is told that it left: no need to find out, and announce, that it is silent.
        self.announced = Availability::Offline;
        self.revision = revision;
    }

    /// Whether the present life of the process has told its whole inventory.
    pub fn knows_inventory(&self) -> bool {
        self.usage.inventory_revision.is_some_and(|revision| revision >= self.life.since_revision)
    }

    /// What is left of it when it is purged: by itself, which ends its process as a goodbye does, or by an operator.
    pub fn tombstone(&self, by_itself: bool, at: Timestamp, revision: u64) -> Tombstone {
        let Life { incarnation, boots, .. } = &self.life;
        let boots = if by_itself { Arc::new(boots.ended()) } else { boots.clone() };
        let worker_id = self.id.clone();
        Tombstone { worker_id, incarnation: *incarnation, boots, purged_at: Some(at), revision }
    }

    /// Whether it is offline at any moment, until it is heard again: it has left, or its silence has been announced.
    pub(super) fn is_known_to_be_offline(&self) -> bool {
        self.life.left_at.is_some() || self.announced == Availability::Offline
    }

    /// Its status unless it has been silent for too long since the last announcement: does not depend on the moment.
    pub(super) fn announced_status(&self) -> WorkerStatus {
        let availability = if self.is_known_to_be_offline() { Availability::Offline } else { Availability::Online };
        WorkerStatus::of(availability, self.policy)
    }

    /// Whether the worker is reachable: it has not left, was heard late enough, and has not been announced offline since.
    /// (The last says something new only if the clock went back: what was told holds until the worker is heard.)
    pub fn availability(&self, cutoff: LivenessCutoff) -> Availability {
        if self.is_known_to_be_offline() || self.usage.last_seen < cutoff.0 {
            Availability::Offline
        } else {
            Availability::Online
        }
    }

    /// The latest of the times that were stamped on it.
    pub fn latest_time(&self) -> Timestamp {
        let drained_at = self.drain.as_ref().and_then(|drain| drain.started_at);
        let others = [self.life.left_at, drained_at].into_iter().flatten();
        others.fold(self.usage.last_seen.max(self.life.started_at), Timestamp::max)
    }

    /// VMs that hold a slot, by id.
    pub fn slot_holders(&self) -> impl DoubleEndedIterator<Item = &Arc<Vm>> {
        self.usage.vms.iter().filter(|vm| vm.status.holds_slot())
    }

    /// Its report of one VM.
    pub fn vm(&self, id: &str) -> Option<&Arc<Vm>> {
        let at = self.usage.vms.binary_search_by(|vm| vm.id.as_str().cmp(id)).ok()?;
        self.usage.vms.get(at)
    }

    /// Revision at which this worker last said anything of that VM: a whole inventory speaks of
    /// every VM in it, also of those that did not change.
    pub fn last_reported(&self, vm: &Vm) -> u64 {
        self.usage.inventory_revision.unwrap_or(0).max(vm.revision)
    }
}

/// Since when a worker has to have been heard to count as online at a moment.
#[derive(Clone, Copy, Debug)]
pub struct LivenessCutoff(Timestamp);

impl LivenessCutoff {
    /// Exactly `offline_after` ago is late enough.
    pub fn of(now: Timestamp, offline_after: Duration) -> Self {
        let silence = TimeDelta::from_std(offline_after).ok();
        Self(silence.and_then(|silence| now.checked_sub_signed(silence)).unwrap_or(Timestamp::MIN_UTC))
    }

    /// Whether a worker that was heard at this time is not silent.
    pub fn includes(self, heard_at: Timestamp) -> bool {
        heard_at >= self.0
    }

    /// The moment: a heartbeat at it is late enough, one before it is not.
    pub(super) fn moment(self) -> Timestamp {
        self.0
    }
}

impl Usage {
    fn none(at: Timestamp, revision: u64) -> Self {
        Self {
            last_seen: at,
            sequence: None,
            late_sequence: None,
            used_cpu_cores: 0,
            used_memory_mb: 0,
            used_disk_gb: 0,
            vms: WorkerVms::default(),
            inventory_revision: None,
            vms_revision: revision,
        }
    }
}

impl Keyed for Tombstone {
    fn key(&self) -> &str {
        self.worker_id.as_str()
    }
}

impl Keyed for Worker {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}
