//! A drain in an answer: how far it has come at that moment, what is left on the worker, and what is in the way of
//! powering the host off. All of that is read from the present state of the worker and the [record](super::Drain) of
//! its drain.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::drain::{Drain, DrainState};
use super::id::{VmId, WorkerId};
use super::status::{Availability, VmStatus, words};
use super::view::WorkerView;
use super::vm::Vm;
use crate::clock::Timestamp;

words! {
    /// What kind of thing is in the way of powering a host off.
    BlockerKind as "kind of blocker" {
        /// The worker is not heard from: what runs there is not known.
        WorkerOffline = "worker_offline",
        /// The process of the worker may not know of the drain yet, and take another VM.
        NotAcknowledged = "not_acknowledged",
        /// The process of the worker has not reported its whole inventory since it started.
        NoInventory = "no_inventory",
        /// The worker reported VMs that hold a slot and were set aside, because of their ids: what becomes of them is
        /// not known.
        VmsSetAside = "vms_set_aside",
        /// What operators have the agent run on a change of the policy has failed.
        PolicyHookFailed = "policy_hook_failed",
        /// A reservation holds slots on the worker: their VMs may be on their way.
        Reserved = "reserved",
        /// A VM holds a slot, and is not on its way out.
        VmRunning = "vm_running",
        /// A VM holds a slot, and is shutting down.
        VmStopping = "vm_stopping",
    }
}

impl WorkerView {
    /// The drain that stands on it.
    pub fn drain(&self) -> Option<DrainView> {
        let drain = self.worker.standing_drain()?.clone();
        Some(DrainView { drain, worker: self.clone() })
    }

    /// The drain that stands on it, or else its last one.
    pub fn last_drain(&self) -> Option<DrainView> {
        Some(DrainView { drain: self.worker.drain.clone()?, worker: self.clone() })
    }
}

/// The drain of a worker in an answer, which stands or has ended.
#[derive(Clone, Debug)]
pub struct DrainView {
    /// The record.
    pub drain: Arc<Drain>,
    /// The worker, as it is now.
    pub worker: WorkerView,
}

/// One thing that is in the way of powering a host off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Blocker {
    /// What kind of thing it is.
    pub kind: BlockerKind,
    /// The VM, if it is one.
    pub vm_id: Option<VmId>,
    /// Since when it has been in the way of this drain, as far as that is known.
    pub since: Option<Timestamp>,
    /// What the worker says of the VM, such as why it could not be moved.
    pub note: Option<Arc<str>>,
    /// What it is, as a sentence.
    pub message: String,
}

impl DrainView {
    /// The worker that it is a drain of.
    pub fn worker_id(&self) -> &WorkerId {
        &self.worker.worker.id
    }

    /// The identity of the record: no other drain that is kept has the same. When a worker is purged, its drains go
    /// with it, and the first one after that is number 1 again.
    pub fn id(&self) -> String {
        format!("{}/{}", self.worker_id(), self.drain.number)
    }

    /// How far it has come.
    pub fn state(&self) -> DrainState {
        self.drain.state(self.worker.view.now)
    }

    /// Whether nothing is left on the worker, and nothing on its way: the present life of its process has reported that
    /// no VM holds a slot, and no slot is reserved.
    pub fn is_empty(&self) -> bool {
        self.worker.worker.is_empty()
    }

    /// Whether the worker of the view still has this record as its last one.
    pub fn is_current(&self) -> bool {
        let present = self.worker.view.find_worker(self.worker_id().as_str());
        present.is_some_and(|present| Arc::ptr_eq(&present.worker, &self.worker.worker))
    }

    /// How many VMs hold a slot, while it stands.
    pub fn remaining_vms(&self) -> Option<usize> {
        self.drain.stands().then(|| self.worker.vm_count())
    }

    /// Whether the host can be powered off now: the drain is complete, and nothing is in the way. So the worker is
    /// online, and its present process has acknowledged the drain and reported its inventory, in which no VM holds a
    /// slot.
    pub fn is_safe_to_power_off(&self) -> bool {
        self.state() == DrainState::Complete && !self.has_blockers()
    }

    fn has_blockers(&self) -> bool {
        self.conditions().next().is_some() || self.worker.vm_count() > 0
    }

    /// What is in the way of powering the host off, while the drain stands: first what is so of the worker, then VMs by
    /// id.
    pub fn blockers(&self) -> Vec<Blocker> {
        self.blockers_in().collect()
    }

    /// The same, one by one.
    pub fn blockers_in(&self) -> impl Iterator<Item = Blocker> {
        let vms = self.drain.stands().then(|| self.worker.worker.slot_holders());
        self.conditions().chain(vms.into_iter().flatten().map(|vm| self.vm_blocker(vm)))
    }

    /// Hashes everything that is shown of it. A heartbeat that changes nothing of that leaves the hash as it is.
    pub fn hash_shown<H: Hasher>(&self, hasher: &mut H) {
        (self.worker_id().as_str(), self.drain.number, self.drain.revision).hash(hasher);
        (self.worker.view.snapshot.epochs.of(self.drain.revision), self.state(), self.is_empty()).hash(hasher);
        self.remaining_vms().hash(hasher);
        self.blockers_in().for_each(|blocker| blocker.hash(hasher));
    }

    fn conditions(&self) -> impl Iterator<Item = Blocker> {
        let worker = &*self.worker.worker;
        let id = &worker.id;
        let began = |other: Timestamp| Some(self.drain.started_at.map_or(other, |started_at| started_at.max(other)));
        let blocker = |kind, since, message| Blocker { kind, vm_id: None, since, note: None, message };
        let is_offline = self.worker.availability() == Availability::Offline;
        let offline = is_offline.then(|| match worker.life.deregistered_at {
            Some(at) => blocker(BlockerKind::WorkerOffline, Some(at), format!("Worker {id} has left")),
            None => {
                let message = format!("Worker {id} is offline: what runs there is not known");
                blocker(BlockerKind::WorkerOffline, Some(worker.usage.last_seen), message)
            }
        });
        let not_acknowledged = self.drain.acknowledged_at.is_none().then(|| {
            let message = format!("Worker {id} has not acknowledged the drain: it may still take a VM");
            blocker(BlockerKind::NotAcknowledged, began(worker.life.started_at), message)
        });
        let no_inventory = (!worker.knows_inventory()).then(|| {
            let message = format!("Worker {id} has not reported its VMs since its process started");
            blocker(BlockerKind::NoInventory, began(worker.life.started_at), message)
        });
        let set_aside = (worker.usage.set_aside_vms > 0).then(|| {
            let (vms, them) = match worker.usage.set_aside_vms {
                1 => ("a VM whose id is".to_owned(), "it"),
                vms => (format!("{vms} VMs whose ids are"), "them"),
            };
            let message = format!("Worker {id} holds {vms} not accepted: what becomes of {them} is not known");
            // They are counted only: when they came, which may be long after the drain began, is not kept.
            blocker(BlockerKind::VmsSetAside, None, message)
        });
        let hook_failed = worker.policy_error().map(|error| {
            let message = format!("The policy hook of worker {id} failed: {}", error.message);
            blocker(BlockerKind::PolicyHookFailed, Some(error.since), message)
        });
        // A worker that drains is given no reservation: what is held there was held before the drain began.
        let reserved = (worker.reserved.vm_slots > 0).then(|| {
            let slots = match worker.reserved.vm_slots {
                1 => "A slot is".to_owned(),
                slots => format!("{slots} slots are"),
            };
            let message = format!("{slots} reserved on worker {id}: VMs may be on their way");
            blocker(BlockerKind::Reserved, self.drain.started_at, message)
        });
        let conditions = [offline, not_acknowledged, no_inventory, set_aside, hook_failed, reserved];
        conditions.into_iter().flatten().filter(|_| self.drain.stands())
    }

    fn vm_blocker(&self, vm: &Vm) -> Blocker {
        let (kind, doing) = match vm.status {
            VmStatus::Created => (BlockerKind::VmRunning, "is about to start"),
            VmStatus::Starting => (BlockerKind::VmRunning, "is starting"),
            // Those in the last two do not hold a slot.
            VmStatus::Running | VmStatus::Stopped | VmStatus::Failed => (BlockerKind::VmRunning, "is running"),
            VmStatus::Stopping => (BlockerKind::VmStopping, "is stopping"),
        };
        let name = if *vm.name == *vm.id.as_str() { String::new() } else { format!(" ({})", vm.name) };
        let note = vm.note().map(|note| format!(": {note}")).unwrap_or_default();
        let message = format!("VM {}{name} {doing}{note}", vm.id);
        let status_since = vm.status_since.get();
        let since = self.drain.started_at.map_or(status_since, |started_at| started_at.max(status_since));
        Blocker { kind, vm_id: Some(vm.id.clone()), since: Some(since), note: vm.note().cloned(), message }
    }
}
