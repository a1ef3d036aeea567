//! A worker deregisters, or an operator takes it out of service or purges it.
//!
//! A worker that only fell silent is not deregistered: [`announce_offline`](super::announce_offline) says so. To keep
//! new VMs away from a worker is [`set_scheduling_policy`](super::set_scheduling_policy) (drain, activate), many workers
//! are purged at once by [`purge_workers`](super::purge_workers), and a purged worker's tombstone goes by
//! [`prune_tombstones`](super::prune_tombstones).

use std::sync::Arc;

use super::{Command, Lane, Precondition, known_vms};
use crate::auth::Action;
use crate::cluster::{Actor, EventKind, Snapshot, VmId, Worker};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, ColumnGroup, EventDetails};
use crate::journal::incarnation;
use crate::journal::reserved_slots;

/// Takes a worker out of service, or out of the cluster altogether.
#[derive(Clone, Debug)]
pub struct Deregister {
    /// The worker.
    pub worker_id: String,
    /// Its incarnation, if the worker itself deregisters, which only its present incarnation may.
    pub incarnation: Option<u64>,
    /// The boot id of its process: as above.
    pub boot_id: Option<String>,
    /// The boot id of its host: as above.
    pub host_boot_id: Option<Arc<str>>,
    /// Purge it with its VMs, instead of keeping it as offline.
    pub purge: bool,
    /// Purge it even though VMs hold slots on it.
    pub force: bool,
    /// Only if this holds.
    pub condition: Precondition,
    /// Who asks: the worker itself or an operator.
    pub actor: Actor,
}

/// The worker is out of service, or purged.
#[derive(Clone, Debug)]
pub struct Deregistered {
    /// The worker right after it; none if it was purged.
    pub worker: Option<Arc<Worker>>,
    /// The VMs that were removed with it, by id, whatever their status.
    pub removed_vms: Vec<VmId>,
}

impl Deregister {
    /// What is done.
    pub fn action(&self) -> Action {
        match (self.actor, self.purge) {
            // Whoever it is: what is purged and comes again is not draining any more.
            (_, true) => Action::Purge,
            (Actor::Worker, false) => Action::Leave,
            (Actor::Operator | Actor::Server, false) => Action::Deregister,
        }
    }

    /// Who asks, on a server that cannot know: an operator names no process of the worker.
    pub fn guess_actor(&self) -> Actor {
        let names_a_process = self.incarnation.is_some() || self.boot_id.is_some() || self.host_boot_id.is_some();
        if names_a_process { Actor::Worker } else { Actor::Operator }
    }

    /// A process of the worker cannot deregister another one.
    fn check_process(&self, worker: &Worker) -> Result<()> {
        incarnation::check_incarnation(
            worker,
            self.incarnation.unwrap_or(worker.life.incarnation),
            self.boot_id.as_deref(),
        )?;
        match &self.host_boot_id {
            Some(given) if worker.life.boots.host.as_ref() != Some(given) => {
                Err(Error::OnAnotherHostBoot { id: worker.id.to_string(), given: given.to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// How many rows the purge of a worker writes at most: its own, its tombstone and the event that it was removed; of each
/// VM, and of each reservation that holds something on it, its row and an event.
pub(super) fn rows_of_purge(known: &Snapshot, worker_id: &str) -> usize {
    3 + 2 * known_vms(known, worker_id).map_or(0, |vms| vms.len()) + 2 * known.reservation_count_on(worker_id)
}

/// Purges a worker, whose VMs and reserved slots go with it. Answers the VMs, by id, whatever their status.
pub(super) fn purge_worker(known: &Worker, actor: Actor, batch: &mut Batch<'_>) -> Vec<VmId> {
    let worker_id = &known.id;
    for vm in known.slot_holders() {
        let message = format!("VM {} went with worker {worker_id}", vm.id);
        let reason = Some("worker removed".into());
        let details = EventDetails { reason, ..EventDetails::of_vm(Some(vm), None, message) };
        batch.record_event(actor, EventKind::VmLost, worker_id, details);
    }
    reserved_slots::release_on_removed(known, actor, batch);
    let message = format!("Worker {worker_id} was removed");
    batch.record_event(actor, EventKind::WorkerPurged, worker_id, message);
    batch.purge(known, actor == Actor::Worker);
    known.usage.vms.iter().map(|vm| vm.id.clone()).collect()
}

impl Command for Deregister {
    type Reply = Deregistered;

    fn lane(&self) -> Lane {
        match self.actor {
            Actor::Worker => Lane::Workers,
            Actor::Operator => Lane::Operators,
            Actor::Server => Lane::Server,
        }
    }

    fn rows(&self, known: &Snapshot) -> usize {
        if !self.purge {
            return 2;
        }
        rows_of_purge(known, &self.worker_id)
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { worker_id, purge, force, condition, .. } = self;
        batch.check_scope(worker_id)?;
        let known = batch.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        batch.authorize(self.action(), &known)?;
        condition.check(worker_id, Some(&known), batch.revision, batch.epochs())?;
        self.check_process(&known)?;
        let actor = self.actor;
        let by_itself = actor == Actor::Worker;
        if *purge {
            let vms = known.usage.vms.count_slot_holders();
            if vms > 0 && !force {
                return Err(Error::HoldsVms { id: worker_id.clone(), vms });
            }
            return Ok(Deregistered { worker: None, removed_vms: purge_worker(&known, actor, batch) });
        }
        let has_left = known.life.deregistered_at.is_some();
        let ends_its_boot = by_itself && known.life.boots.boot_id.is_some() && !known.life.boots.has_ended();
        if has_left && !ends_its_boot {
            return Ok(Deregistered { worker: Some(known), removed_vms: Vec::new() });
        }
        let mut worker = Worker::clone(&known);
        worker.leave(by_itself, batch.at, batch.revision);
        if !has_left {
            let message = match by_itself {
                true => format!("Worker {worker_id} said goodbye"),
                false => format!("Worker {worker_id} was taken out of service"),
            };
            batch.record_event(actor, EventKind::WorkerLeft, &known.id, message);
        }
        let groups = [ColumnGroup::Registration, ColumnGroup::Deregistration, ColumnGroup::Announcement];
        let worker = batch.put_worker(worker, &groups);
        Ok(Deregistered { worker: Some(worker), removed_vms: Vec::new() })
    }
}
