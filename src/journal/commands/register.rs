//! A worker comes, or comes back.

use std::sync::Arc;

use super::{Command, Precondition};
use crate::cluster::{EventKind, Identity, Worker, WorkerId};
use crate::error::{Error, Result};
use crate::journal::draft::{Draft, Part, Told};

/// Registers a worker.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its id.
    pub id: WorkerId,
    /// Who it is and how large.
    pub identity: Identity,
    /// New for each start of the process: the same again is a retry, none means a new start.
    pub boot_id: Option<Arc<str>>,
    /// Only if this holds.
    pub condition: Precondition,
}

/// The worker is registered.
#[derive(Clone, Debug)]
pub struct RegistrationAccepted {
    /// The worker right after it: its incarnation is this registration's, whatever else is in the batch.
    pub worker: Arc<Worker>,
    /// Whether it was not known before.
    pub created: bool,
}

impl Command for Register {
    type Reply = RegistrationAccepted;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { id, identity, boot_id, condition } = self;
        let (at, revision) = (draft.at, draft.revision);
        condition.check(id.as_str(), draft.find_worker(id.as_str()).map(|known| &**known), revision)?;
        let Some(known) = draft.find_worker(id.as_str()).cloned() else {
            if draft.is_vm(id.as_str()) {
                return Err(Error::IdTakenByVm(id.to_string()));
            }
            let after = draft.last_incarnation_of_purged(id.as_str());
            let worker = Worker::first_life(id.clone(), identity.clone(), boot_id.clone(), after, at, revision);
            let message = format!("Worker {id} registered");
            draft.tell(EventKind::WorkerRegistered, id, Told { message, ..Told::default() });
            let worker = draft.put(worker, &[Part::Registration]);
            return Ok(RegistrationAccepted { worker, created: true });
        };

        let mut worker = Worker::clone(&known);
        let mut parts = vec![Part::Registration, Part::Heartbeat];
        if known.is_same_life(boot_id.as_deref()) {
            worker.reregister(identity.clone(), at, revision);
            if *known.identity != *identity {
                let message = format!("Worker {id} described itself anew");
                draft.tell(EventKind::WorkerRegistered, id, Told { message, ..Told::default() });
            }
        } else {
            worker.start_life(identity.clone(), boot_id.clone(), at, revision);
            let message = format!("Worker {id} restarted: incarnation {}", worker.life.incarnation);
            draft.tell(EventKind::WorkerRestarted, id, Told { message, ..Told::default() });
            for vm in known.slot_holders() {
                let message = format!("VM {} is unknown on worker {id} since its restart", vm.id);
                let told = Told { vm_id: Some(vm.id.clone()), reason: Some("worker restarted".into()), message };
                draft.tell(EventKind::VmStopped, id, told);
            }
        }
        if draft.announce_if_back(&mut worker) {
            parts.push(Part::Announcement);
        }
        let worker = draft.put(worker, &parts);
        Ok(RegistrationAccepted { worker, created: false })
    }
}
