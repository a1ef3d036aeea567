//! A worker says goodbye, or is removed.

use super::{Command, Precondition};
use crate::cluster::{Availability, EventKind, Worker};
use crate::error::{Error, Result};
use crate::journal::draft::{Draft, Part, Told};

/// Takes a worker out of service, or out of the cluster altogether.
#[derive(Clone, Debug)]
pub struct Deregister {
    /// The worker.
    pub worker_id: String,
    /// Remove it with its VMs, instead of keeping it as offline.
    pub purge: bool,
    /// Remove it even though VMs hold slots on it.
    pub force: bool,
    /// Only if this holds.
    pub condition: Precondition,
}

impl Command for Deregister {
    type Reply = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { worker_id, purge, force, condition } = self;
        let known = draft.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        condition.check(worker_id, Some(&known), draft.revision)?;
        if *purge {
            let vms = known.usage.vms.count_slot_holders();
            if vms > 0 && !force {
                return Err(Error::HoldsVms { id: worker_id.clone(), vms });
            }
            for vm in known.slot_holders() {
                let message = format!("VM {} went with worker {worker_id}", vm.id);
                let told = Told { vm_id: Some(vm.id.clone()), reason: Some("worker removed".into()), message };
                draft.tell(EventKind::VmStopped, &known.id, told);
            }
            let message = format!("Worker {worker_id} was removed");
            draft.tell(EventKind::WorkerLeft, &known.id, Told { message, ..Told::default() });
            draft.purge(&known);
        } else if known.life.left_at.is_none() {
            let mut worker = Worker::clone(&known);
            worker.life.left_at = Some(draft.at);
            // Everybody is told that it left: no need to find out, and announce, that it is silent.
            worker.announced = Availability::Offline;
            worker.revision = draft.revision;
            let message = format!("Worker {worker_id} said goodbye");
            draft.tell(EventKind::WorkerLeft, &known.id, Told { message, ..Told::default() });
            draft.put(worker, &[Part::Goodbye, Part::Announcement]);
        }
        Ok(())
    }
}
