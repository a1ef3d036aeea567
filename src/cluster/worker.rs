//! A worker: the five facts about it, and what may happen to each.
//!
//! Identity and capacity are written by registration, usage by heartbeats, the policy by operators
//! only; availability is derived and never written; the incarnation is handed out at registration.
//! The structs below are cut along these lines, so that no change can touch another writer's part.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::id::WorkerId;
use super::prepared::Prepared;
use super::sorted::Keyed;
use super::status::{Availability, SchedulingPolicy};
use super::vm::Vm;
use crate::clock::Timestamp;

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
    /// Revision of the last change to that.
    pub policy_revision: u64,
    /// What was last announced of its availability in the change log. Not what it is now.
    pub announced: Availability,
    /// Revision of the last change to any of this.
    pub revision: u64,
    /// What was made of all this; see there.
    pub prepared: Prepared,
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
    /// What the process called this start, so that a repeated registration is no restart.
    pub boot_id: Option<Arc<str>>,
    /// When it began, by the server's clock.
    pub started_at: Timestamp,
    /// When it said goodbye, if it did.
    pub left_at: Option<Timestamp>,
}

/// What a worker uses, as of its last heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// When it was last heard from, by the server's clock. Never goes back.
    pub last_seen: Timestamp,
    /// Number of the last heartbeat of this life that counted.
    pub sequence: Option<u64>,
    /// CPU cores allocated to VMs.
    pub used_cpu_cores: u32,
    /// Memory allocated to VMs, in MiB.
    pub used_memory_mb: u32,
    /// Disk allocated to VMs, in GB.
    pub used_disk_gb: u32,
    /// Its VMs, by id.
    pub vms: WorkerVms,
    /// Revision of the last whole inventory of this life; none if there has been none.
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
    /// A worker nobody has seen before. `after` is the last incarnation that an earlier, purged
    /// worker of this id had: the new life is counted on from there.
    pub fn first_life(
        id: WorkerId,
        identity: Identity,
        boot_id: Option<Arc<str>>,
        after: Option<u64>,
        at: Timestamp,
        revision: u64,
    ) -> Self {
        Self {
            id,
            identity: Arc::new(identity),
            registration_revision: revision,
            life: Life { incarnation: after.unwrap_or(0) + 1, boot_id, started_at: at, left_at: None },
            usage: Usage::none(at, revision),
            policy: SchedulingPolicy::Active,
            policy_revision: revision,
            announced: Availability::Online,
            revision,
            prepared: Prepared::default(),
        }
    }

    /// Whether a registration with this `boot_id` is the present life asking again.
    pub fn is_same_life(&self, boot_id: Option<&str>) -> bool {
        boot_id.is_some() && self.life.boot_id.as_deref() == boot_id && self.life.left_at.is_none()
    }

    /// The worker's process has started again: usage begins anew; the policy stays, since
    /// a restart is no reason to forget what operators asked for.
    pub fn start_life(&mut self, identity: Identity, boot_id: Option<Arc<str>>, at: Timestamp, revision: u64) {
        let at = at.max(self.usage.last_seen);
        self.identity = Arc::new(identity);
        self.registration_revision = revision;
        self.life = Life { incarnation: self.life.incarnation + 1, boot_id, started_at: at, left_at: None };
        self.usage = Usage::none(at, revision);
        self.revision = revision;
    }

    /// The present life registers again, perhaps with a changed description. It is a sign of life.
    pub fn reregister(&mut self, identity: Identity, at: Timestamp, revision: u64) {
        if *self.identity != identity {
            self.identity = Arc::new(identity);
            self.registration_revision = revision;
        }
        self.usage.last_seen = self.usage.last_seen.max(at);
        self.revision = revision;
    }

    /// Whether the worker is reachable: it has not left, and was heard late enough.
    pub fn availability(&self, heard_since: HeardSince) -> Availability {
        if self.life.left_at.is_some() || self.usage.last_seen < heard_since.0 {
            Availability::Offline
        } else {
            Availability::Online
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

    /// Revision at which this worker last said anything of that VM: a whole inventory speaks of
    /// every VM in it, also of those that did not change.
    pub fn last_reported(&self, vm: &Vm) -> u64 {
        self.usage.inventory_revision.unwrap_or(0).max(vm.revision)
    }
}

/// Since when a worker has to have been heard to count as online at a moment.
#[derive(Clone, Copy, Debug)]
pub struct HeardSince(Timestamp);

impl HeardSince {
    /// Exactly `offline_after` ago is late enough.
    pub fn of(now: Timestamp, offline_after: Duration) -> Self {
        let silence = TimeDelta::from_std(offline_after).ok();
        Self(silence.and_then(|silence| now.checked_sub_signed(silence)).unwrap_or(Timestamp::MIN_UTC))
    }
}

impl Usage {
    fn none(at: Timestamp, revision: u64) -> Self {
        Self {
            last_seen: at,
            sequence: None,
            used_cpu_cores: 0,
            used_memory_mb: 0,
            used_disk_gb: 0,
            vms: WorkerVms::default(),
            inventory_revision: None,
            vms_revision: revision,
        }
    }
}

impl Keyed for Worker {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}
