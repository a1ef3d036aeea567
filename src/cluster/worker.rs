//! A worker: the five facts about it, and the transitions of each.
//!
//! Each fact has one writer. Identity and capacity are written by registrations, usage by heartbeats, the policy by
//! operators; the incarnation is given by the server at a registration; availability is derived and never written. The
//! structs below are divided along these lines, so that no transition can change another writer's part.
//!
//! A restart of the worker's process is no restart of its host: the VMs stay until the new process has reported its
//! inventory, unless it says that the host itself was restarted. What is refused, and what is told of a transition, is
//! decided by the commands of the [`journal`](crate::journal).

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::drain::Drain;
use super::free_capacity::{FreeCapacity, Reserved};
use super::id::WorkerId;
use super::sorted_list::Keyed;
use super::status::{Availability, SchedulingPolicy, WorkerStatus};
use super::text_map::TextMap;
use super::vm::Vm;
use crate::auth::{Action, Denied, Permit, Principal, Target, TokenId};
use crate::clock::Timestamp;
use crate::render::RenderCache;

/// How many boot ids of earlier lives are stored: enough to recognise every retry of a registration that may still be
/// on its way, even while the process restarts again and again.
pub const EARLIER_BOOT_IDS: usize = 32;

/// Labels by key.
pub type Labels = TextMap;

/// A machine that runs VMs. Copies are cheap: the large parts are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Chosen by the worker; never changes.
    pub id: WorkerId,
    /// Its description and capacity: written by registrations.
    pub identity: Arc<Identity>,
    /// Revision of the last registration that was more than a retry.
    pub registration_revision: u64,
    /// The present life of its process: written by registrations and deregistrations.
    pub life: Life,
    /// The token that speaks for it: written by registrations. None if it registered at a server without tokens.
    pub owner: Option<TokenId>,
    /// What it uses: written by heartbeats.
    pub usage: Usage,
    /// What operators asked for: written by operators only.
    pub policy: SchedulingPolicy,
    /// The drain that stands, or else the last one; none if there was none.
    pub drain: Option<Arc<Drain>>,
    /// Revision of the last change to the policy or to the drain.
    pub policy_revision: u64,
    /// The availability that was last announced in the change log, which need not be the present one.
    pub last_announced_availability: Availability,
    /// What is held on it for VMs that are not there yet: written with the reservations that hold it.
    pub reserved: Reserved,
    /// Revision of the last change to any of this.
    pub revision: u64,
    /// Templates of its text. They are no part of its state: a copy, which is made to be changed, has none.
    pub render_cache: RenderCache,
}

/// The description and the capacity of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Name of the machine.
    pub hostname: Arc<str>,
    /// Host and port it listens on.
    pub address: Arc<str>,
    /// Its zone; empty if it has none.
    pub zone: Arc<str>,
    /// Free labels.
    pub labels: Labels,
    /// Its capabilities, such as the hypervisors that it offers.
    pub capabilities: Vec<Arc<str>>,
    /// CPU cores.
    pub cpu_cores: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in GB.
    pub disk_gb: u32,
    /// How many VMs may hold a slot on it.
    pub max_vms: u32,
}

/// One life of a worker's process, from registration to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The number of the life; heartbeats with a lower one are refused.
    pub incarnation: u64,
    /// The boot ids of the process and of its host.
    pub boots: Arc<Boots>,
    /// Revision of the registration that began it.
    pub since_revision: u64,
    /// When it began, by the server's clock.
    pub started_at: Timestamp,
    /// When it deregistered or was deregistered, if it was.
    pub deregistered_at: Option<Timestamp>,
}

impl Life {
    /// The first life of a process without boot ids.
    pub fn first(at: Timestamp, revision: u64) -> Self {
        Self { incarnation: 1, boots: Arc::default(), since_revision: revision, started_at: at, deregistered_at: None }
    }
}

/// The boot ids of a worker: by which the starts of its process, and of its host, are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boots {
    /// The boot id of the last start of the process, by which a repeated registration is known to be no restart; none
    /// if it has none. It is in `earlier`, too, once the process has deregistered.
    pub boot_id: Option<Arc<str>>,
    /// The starts that are over, the latest last: a registration of one of these is refused as late. At most
    /// [`EARLIER_BOOT_IDS`].
    pub earlier: Vec<Boot>,
    /// The boot id of the host that the process runs on, if it said so.
    pub host: Option<Arc<str>>,
}

/// A start of a worker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The boot id of the process.
    pub id: Arc<str>,
    /// The boot id of the host, if the process said so.
    pub host: Option<Arc<str>>,
}

impl Boot {
    /// Whether a process with these boot ids may be of this start: its own boot id is the same, and the host is not
    /// known to have been restarted. (A program that always sends the same boot id is told apart by the host's.)
    fn may_be(&self, boot_id: &str, host: Option<&str>) -> bool {
        *self.id == *boot_id && !is_another_start(self.host.as_deref(), host)
    }
}

/// Whether both boot ids of a host are known, and different.
fn is_another_start(one: Option<&str>, other: Option<&str>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

impl Boots {
    /// The history after the next start of the process.
    pub fn next(&self, boot_id: Option<Arc<str>>, host: Option<Arc<str>>) -> Self {
        // A process that an operator has deregistered begins another life with the same boot id.
        let goes_on = |last: &Boot| boot_id.as_ref().is_some_and(|boot_id| last.may_be(boot_id, host.as_deref()));
        let over = self.last().filter(|last| !goes_on(last));
        Self { boot_id, earlier: self.with_earlier(over), host }
    }

    /// The history after the end of the last start, when no other has begun.
    #[must_use]
    pub fn ended(&self) -> Self {
        Self { boot_id: self.boot_id.clone(), earlier: self.with_earlier(self.last()), host: self.host.clone() }
    }

    /// The last start, if it has a boot id.
    fn last(&self) -> Option<Boot> {
        self.boot_id.clone().map(|id| Boot { id, host: self.host.clone() })
    }

    fn with_earlier(&self, over: Option<Boot>) -> Vec<Boot> {
        let over = over.filter(|over| !self.earlier.contains(over));
        let forgotten = (self.earlier.len() + usize::from(over.is_some())).saturating_sub(EARLIER_BOOT_IDS);
        self.earlier.iter().skip(forgotten).cloned().chain(over).collect()
    }

    /// Whether the start with these boot ids is over.
    pub fn is_over(&self, boot_id: &str, host: Option<&str>) -> bool {
        self.earlier.iter().any(|over| over.may_be(boot_id, host))
    }

    /// Whether the last start has a boot id and is over: a registration of it would be refused.
    pub fn has_ended(&self) -> bool {
        self.last().is_some_and(|last| self.earlier.contains(&last))
    }

    /// The boot id with which a registration would be refused: the given one, or without one the last, if its start is
    /// over.
    pub fn find_over(&self, said: Option<&str>) -> Option<Arc<str>> {
        match said.filter(|said| self.boot_id.as_deref() != Some(said)) {
            Some(said) => self.is_over(said, None).then(|| said.into()),
            None => self.boot_id.clone().filter(|_| self.has_ended()),
        }
    }
}

/// What is kept of a worker that was purged, so that late messages of its process are still refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The id of the worker.
    pub worker_id: WorkerId,
    /// Its last incarnation.
    pub incarnation: u64,
    /// Its boot ids. The last start need not be over: the process may still run, and registers again when it is told
    /// that the worker is not registered.
    pub boots: Arc<Boots>,
    /// When it was purged.
    pub purged_at: Timestamp,
    /// Revision of the purge.
    pub revision: u64,
}

/// What a worker uses, as of its last heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// When its last heartbeat or registration arrived, by the server's clock. It goes back only with that clock.
    pub last_seen: Timestamp,
    /// Number of the last heartbeat of this life that counted.
    pub sequence: Option<u64>,
    /// Number of the last heartbeat of this life that came late, with a number not above that one, and counted as a
    /// sign of life only. Each number counts once, so that repeated messages cannot keep a dead process online. None
    /// after a registration, or after a heartbeat that counted.
    pub late_sequence: Option<u64>,
    /// CPU cores allocated to VMs.
    pub used_cpu_cores: u32,
    /// Memory allocated to VMs, in MiB.
    pub used_memory_mb: u32,
    /// Disk allocated to VMs, in GB.
    pub used_disk_gb: u32,
    /// Its VMs, by id.
    pub vms: WorkerVms,
    /// Revision of the last whole inventory; none if there was none since the host was started. It may be of an earlier
    /// life of the process: see [`Worker::knows_inventory`].
    pub inventory_revision: Option<u64>,
    /// Revision of the last change to the set of VMs.
    pub vms_revision: u64,
    /// How many VMs that hold a slot were set aside when it reported them last, because of their ids: they are not
    /// among its VMs, and something runs there all the same.
    pub set_aside_vms: u32,
    /// The policy revision that the present life has heard of, as it echoed last; none if it never did.
    pub policy_echo: Option<u64>,
    /// What the present life last said of a policy hook that failed; see [`Worker::policy_error`].
    pub policy_error: Option<Arc<PolicyError>>,
}

/// That the command has failed which a worker's agent runs when the policy changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// What the agent says of it.
    pub message: Arc<str>,
    /// When it was reported first.
    pub since: Timestamp,
    /// The policy revision that it is about.
    pub policy_revision: u64,
}

/// The VMs of a worker, by id. Copies are cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerVms {
    vms: Arc<[Arc<Vm>]>,
    /// Counted once, since every list of workers shows it.
    slot_holders: usize,
    /// Those among them whose CPUs or memory are not known. Counted once, too: placements tell how many there are.
    unsized_slot_holders: usize,
    /// The latest time that is stored of any of them. Found once, since each sweep asks for it.
    latest_time: Option<Timestamp>,
}

impl WorkerVms {
    /// Whether both are the same allocation.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.vms, &other.vms)
    }

    /// How many of them hold a slot.
    pub fn count_slot_holders(&self) -> usize {
        self.slot_holders
    }

    /// Those of which a time is after `now` with that time set to it, and the others as they are. None if there are
    /// none of the first.
    pub fn with_clamped_times(&self, now: Timestamp, revision: u64) -> Option<Self> {
        if self.latest_time.is_none_or(|latest| latest <= now) {
            return None;
        }
        let clamped = self.vms.iter().map(|vm| match vm.latest_time() > now {
            true => Arc::new(vm.with_clamped_times(now, revision)),
            false => vm.clone(),
        });
        Some(clamped.collect::<Vec<_>>().into())
    }

    /// How many of them have a time after `now`.
    pub fn count_later_than(&self, now: Timestamp) -> usize {
        match self.latest_time {
            Some(latest) if latest > now => self.vms.iter().filter(|vm| vm.latest_time() > now).count(),
            Some(_) | None => 0,
        }
    }

    /// How many of those have CPUs or memory that their worker cannot know.
    pub fn count_unsized_slot_holders(&self) -> usize {
        self.unsized_slot_holders
    }
}

impl From<Vec<Arc<Vm>>> for WorkerVms {
    /// The VMs have to be in ascending order of their ids.
    fn from(vms: Vec<Arc<Vm>>) -> Self {
        let holders = || vms.iter().filter(|vm| vm.status.holds_slot());
        let slot_holders = holders().count();
        let unsized_slot_holders = holders().filter(|vm| vm.vcpus == 0 || vm.memory_mb == 0).count();
        let latest_time = vms.iter().map(|vm| vm.latest_time()).max();
        Self { vms: vms.into(), slot_holders, unsized_slot_holders, latest_time }
    }
}

impl Deref for WorkerVms {
    type Target = [Arc<Vm>];

    fn deref(&self) -> &[Arc<Vm>] {
        &self.vms
    }
}

impl Worker {
    /// A worker at its first registration, or at its first one since it was purged.
    pub fn first_life(id: WorkerId, identity: Identity, life: Life) -> Self {
        let (at, revision) = (life.started_at, life.since_revision);
        Self {
            id,
            identity: Arc::new(identity),
            registration_revision: revision,
            life,
            owner: None,
            usage: Usage::none(at, revision),
            policy: SchedulingPolicy::Active,
            drain: None,
            policy_revision: revision,
            last_announced_availability: Availability::Online,
            reserved: Reserved::default(),
            revision,
            render_cache: RenderCache::default(),
        }
    }

    /// Whether a principal may do this to the worker, which it perhaps has to speak for.
    pub fn authorize(&self, principal: &Principal, action: Action) -> Result<Permit, Denied> {
        principal.authorize(action, Target::Worker { id: self.id.as_str(), owner: self.owner.as_ref() })
    }

    /// Whether a registration with these boot ids is a retry of the present life. The same boot id on another start of
    /// the host is another process, of a program that always sends the same.
    pub fn is_same_life(&self, boot_id: Option<&str>, host_boot_id: Option<&str>) -> bool {
        boot_id.is_some()
            && self.life.boots.boot_id.as_deref() == boot_id
            && self.life.deregistered_at.is_none()
            && !self.is_another_start_of_the_host(host_boot_id)
    }

    /// Whether the host is known to have been restarted: both boot ids of it are known, and different.
    pub fn is_another_start_of_the_host(&self, host_boot_id: Option<&str>) -> bool {
        is_another_start(self.life.boots.host.as_deref(), host_boot_id)
    }

    /// The worker's process was restarted: a new life begins. The policy stays, since operators have not changed it.
    /// The VMs and the usage stay until the new process has reported them; if the host was restarted, they go at once.
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
            deregistered_at: None,
        };
        if is_another_start_of_the_host {
            self.usage = Usage::none(at, revision);
        } else {
            self.usage.last_seen = at;
            self.usage.sequence = None;
            self.usage.late_sequence = None;
            self.usage.policy_echo = None;
            self.usage.policy_error = None;
            // An inventory that was committed in the same batch is of the life before, too.
            self.usage.inventory_revision = self.usage.inventory_revision.map(|known| known.min(revision - 1));
        }
        self.forget_acknowledgement(revision);
        self.revision = revision;
    }

    /// The present life registers again, perhaps with a changed description. That counts as a sign of life.
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

    /// The worker deregisters, or an operator deregisters it. After the first, a registration of the same process that
    /// is still on its way is refused as late; after the second, the process may register again.
    pub fn leave(&mut self, by_itself: bool, at: Timestamp, revision: u64) {
        if by_itself {
            self.life.boots = Arc::new(self.life.boots.ended());
        }
        self.life.deregistered_at = Some(self.life.deregistered_at.unwrap_or(at));
        // A deregistration is an event of its own: the sweeper shall not announce the worker a second time.
        self.last_announced_availability = Availability::Offline;
        self.revision = revision;
    }

    /// Whether the present life of the process has reported its whole inventory.
    pub fn knows_inventory(&self) -> bool {
        self.usage.inventory_revision.is_some_and(|revision| revision >= self.life.since_revision)
    }

    /// The tombstone of the worker when it is purged: by its own process, which ends its start as a deregistration
    /// does, or by an operator.
    pub fn tombstone(&self, by_itself: bool, at: Timestamp, revision: u64) -> Tombstone {
        let Life { incarnation, boots, .. } = &self.life;
        let boots = if by_itself { Arc::new(boots.ended()) } else { boots.clone() };
        let worker_id = self.id.clone();
        Tombstone { worker_id, incarnation: *incarnation, boots, purged_at: at, revision }
    }

    /// Whether it is offline whatever the moment, until it is heard again: it has deregistered, or was announced
    /// offline.
    pub(super) fn is_known_to_be_offline(&self) -> bool {
        self.life.deregistered_at.is_some() || self.last_announced_availability == Availability::Offline
    }

    /// Its status as it was last announced: it does not depend on the moment, and differs from the present one if the
    /// worker has been silent for too long and is not announced yet.
    pub(super) fn announced_status(&self) -> WorkerStatus {
        let availability = if self.is_known_to_be_offline() { Availability::Offline } else { Availability::Online };
        WorkerStatus::of(availability, self.policy)
    }

    /// Whether its heartbeats arrive: it has not deregistered, its last heartbeat is not before the cutoff, and it has
    /// not been announced offline since. (The last differs from the second only if the clock was set back: an
    /// announcement holds until the worker is heard.)
    pub fn availability(&self, cutoff: LivenessCutoff) -> Availability {
        if self.is_known_to_be_offline() || self.usage.last_seen < cutoff.0 {
            Availability::Offline
        } else {
            Availability::Online
        }
    }

    /// The latest of all times that are stored of it.
    pub fn latest_time(&self) -> Timestamp {
        let drained_at = self.drain.as_ref().and_then(|drain| drain.latest_time());
        let others = [self.life.deregistered_at, drained_at, self.usage.vms.latest_time].into_iter().flatten();
        others.fold(self.usage.last_seen.max(self.life.started_at), Timestamp::max)
    }

    /// What its agent reports of the policy hook, if that failed since the drain that stands began, or else for the
    /// present policy: what operators say of a drain later does not undo a failure.
    pub fn policy_error(&self) -> Option<&PolicyError> {
        let since = self.standing_drain().map_or(self.policy_revision, |drain| drain.start_revision);
        // A higher one is of another database, such as this one before it was restored from a backup.
        let counts = since..=self.policy_revision;
        self.usage.policy_error.as_deref().filter(|error| counts.contains(&error.policy_revision))
    }

    /// What is free on it, without what is reserved.
    pub fn free(&self) -> FreeCapacity {
        self.free_beside(&self.reserved)
    }

    /// What is free on it if so much is reserved.
    pub fn free_beside(&self, reserved: &Reserved) -> FreeCapacity {
        let (identity, usage) = (&self.identity, &self.usage);
        let free =
            |total: u32, used: u64, reserved: u64| u64::from(total).saturating_sub(used.saturating_add(reserved));
        FreeCapacity {
            cpu_cores: free(identity.cpu_cores, usage.used_cpu_cores.into(), reserved.cpu_cores),
            memory_mb: free(identity.memory_mb, usage.used_memory_mb.into(), reserved.memory_mb),
            disk_gb: free(identity.disk_gb, usage.used_disk_gb.into(), reserved.disk_gb),
            vm_slots: free(identity.max_vms, usage.vms.count_slot_holders() as u64, reserved.vm_slots),
        }
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

    /// Revision at which this worker last reported that VM: a whole inventory reports every VM in it, also those that
    /// did not change.
    pub fn last_reported(&self, vm: &Vm) -> u64 {
        self.usage.inventory_revision.unwrap_or(0).max(vm.revision)
    }
}

/// The liveness cutoff of a moment: a worker whose last heartbeat is before it counts as offline.
#[derive(Clone, Copy, Debug)]
pub struct LivenessCutoff(Timestamp);

impl LivenessCutoff {
    /// The cutoff at `now`: a heartbeat of exactly `offline_after` ago still counts.
    pub fn of(now: Timestamp, offline_after: Duration) -> Self {
        let silence = TimeDelta::from_std(offline_after).ok();
        Self(silence.and_then(|silence| now.checked_sub_signed(silence)).unwrap_or(Timestamp::MIN_UTC))
    }

    /// Whether a heartbeat at this time counts.
    pub fn includes(self, heard_at: Timestamp) -> bool {
        heard_at >= self.0
    }

    /// The earliest time of a heartbeat that counts.
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
            set_aside_vms: 0,
            policy_echo: None,
            policy_error: None,
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
