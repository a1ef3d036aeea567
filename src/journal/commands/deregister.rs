//! A worker says goodbye, or is taken out of service; or it is removed.

use std::sync::Arc;

use super::{Command, Lane, Precondition, check_life, vms_on};
use crate::cluster::{Actor, EventKind, Snapshot, Worker};
use crate::error::{Error, Result};
use crate::journal::draft::{Draft, Part, Told};

/// Takes a worker out of service, or out of the cluster altogether.
#[derive(Clone, Debug)]
pub struct Deregister {
    /// The worker.
    pub worker_id: String,
    /// Which life of it: then it is the worker itself who leaves, and only if that life is the present one.
    pub incarnation: Option<u64>,
    /// What the process of that life called its start: as above.
    pub boot_id: Option<String>,
    /// On which start of its host it lives: as above.
    pub host_boot_id: Option<Arc<str>>,
    /// Remove it with its VMs, instead of keeping it as offline.
    pub purge: bool,
    /// Remove it even though VMs hold slots on it.
    pub force: bool,
    /// Only if this holds.
    pub condition: Precondition,
}

impl Deregister {
    /// Who wants it: an operator does not say of which life he speaks.
    pub fn actor(&self) -> Actor {
        let names_a_life = self.incarnation.is_some() || self.boot_id.is_some() || self.host_boot_id.is_some();
        if names_a_life { Actor::Worker } else { Actor::Operator }
    }

    /// Whoever speaks for one life of the worker cannot take another one out of service.
    fn check_life(&self, worker: &Worker) -> Result<()> {
        check_life(worker, self.incarnation.unwrap_or(worker.life.incarnation), self.boot_id.as_deref())?;
        match &self.host_boot_id {
            Some(given) if worker.life.boots.host.as_ref() != Some(given) => {
                Err(Error::OnAnotherHostBoot { id: worker.id.to_string(), given: given.to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Command for Deregister {
    type Reply = ();

    fn lane(&self) -> Lane {
        match self.actor() {
            Actor::Worker => Lane::Workers,
            Actor::Operator => Lane::Operators,
            Actor::Server => Lane::Server,
        }
    }

    fn rows(&self, known: &Snapshot) -> usize {
        if !self.purge {
            return 2;
        }
        // The worker's row, its tombstone and the entry that it was removed; of each VM its row and an entry.
        3 + 2 * vms_on(known, &self.worker_id).map_or(0, |vms| vms.len())
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { worker_id, purge, force, condition, .. } = self;
        let known = draft.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        condition.check(worker_id, Some(&known), draft.revision, draft.epochs())?;
        self.check_life(&known)?;
        let actor = self.actor();
        let by_itself = actor == Actor::Worker;
        if *purge {
            let vms = known.usage.vms.count_slot_holders();
            if vms > 0 && !force {
                return Err(Error::HoldsVms { id: worker_id.clone(), vms });
            }
            for vm in known.slot_holders() {
                let message = format!("VM {} went with worker {worker_id}", vm.id);
                let told = Told { vm_id: Some(vm.id.clone()), reason: Some("worker removed".into()), message };
                draft.tell(actor, EventKind::VmStopped, &known.id, told);
            }
            let message = format!("Worker {worker_id} was removed");
            draft.tell(actor, EventKind::WorkerLeft, &known.id, Told { message, ..Told::default() });
            draft.purge(&known, by_itself);
            return Ok(());
        }
        let has_left = known.life.deregistered_at.is_some();
        let ends_its_start = by_itself && known.life.boots.boot_id.is_some() && !known.life.boots.has_ended();
        if has_left && !ends_its_start {
            return Ok(());
        }
        let mut worker = Worker::clone(&known);
        worker.leave(by_itself, draft.at, draft.revision);
        if !has_left {
            let message = match by_itself {
                true => format!("Worker {worker_id} said goodbye"),
                false => format!("Worker {worker_id} was taken out of service"),
            };
            draft.tell(actor, EventKind::WorkerLeft, &known.id, Told { message, ..Told::default() });
        }
        draft.put(worker, &[Part::Registration, Part::Goodbye, Part::Announcement]);
        Ok(())
    }
}
