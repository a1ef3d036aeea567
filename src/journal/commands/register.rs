//! A worker comes, or comes back.

use std::sync::Arc;

use super::{Command, Lane, Precondition, SignOfLife, boot_is_over, entries_if_back, vms_on};
use crate::cluster::{Actor, Boots, EventKind, Identity, Life, Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::draft::{Draft, Part, Told};

/// As how many rows that of a registration counts: it has thirty columns, comes as JSON and makes a new worker, while a
/// heartbeat is six numbers. So a batch has some thousand registrations, and takes no longer than one of heartbeats.
const WIDE_ROW: usize = 15;

/// Registers a worker.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its id.
    pub id: WorkerId,
    /// Who it is and how large.
    pub identity: Identity,
    /// New for each start of the process: the same again is a retry, none means a new start.
    pub boot_id: Option<Arc<str>>,
    /// New for each start of the host: with another one than before, what the host ran is gone.
    pub host_boot_id: Option<Arc<str>>,
    /// The last incarnation that the process knows of: it gets a later one, even from a database that was set back to a
    /// state from before that one was handed out.
    pub last_incarnation: Option<u64>,
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
    /// Whether a VM has its id, which `node` finds no more.
    pub shadows_vm: bool,
}

impl Command for Register {
    type Reply = RegistrationAccepted;

    fn lane(&self) -> Lane {
        Lane::Workers
    }

    fn signs_of_life(&self, hear: &mut dyn FnMut(SignOfLife<'_>)) {
        let (worker_id, boot_id) = (self.id.as_str(), self.boot_id.as_deref());
        hear(SignOfLife { worker_id, incarnation: None, boot_id, sequence: None });
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // If the host was started anew, each VM that it had is a row and an entry of the change log, too.
        let vms = vms_on(known, self.id.as_str()).map_or(0, |vms| vms.len());
        WIDE_ROW + 1 + 2 * vms + entries_if_back(known, self.id.as_str())
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { id, identity, boot_id, host_boot_id, last_incarnation, condition } = self;
        let (at, revision) = (draft.at, draft.revision);
        let known = draft.find_worker(id.as_str()).map(|known| &**known);
        condition.check(id.as_str(), known, revision, draft.epochs())?;
        // Whether it comes too late, as one of a start that is over.
        let over = |boots: &Boots| boot_id.as_deref().filter(|said| boots.is_over(said, host_boot_id.as_deref()));
        let Some(known) = draft.find_worker(id.as_str()).cloned() else {
            let shadows_vm = draft.is_vm(id.as_str());
            let tombstone = draft.tombstone(id.as_str()).cloned();
            if let Some(tombstone) = &tombstone
                && let Some(boot_id) = over(&tombstone.boots)
            {
                return Err(boot_is_over(id.as_str(), boot_id, tombstone.incarnation));
            }
            let last = tombstone.as_ref().map(|tombstone| tombstone.incarnation);
            let before = tombstone.map(|tombstone| tombstone.boots.clone()).unwrap_or_default();
            let boots = before.next(boot_id.clone(), host_boot_id.clone());
            let life = Life {
                incarnation: draft.next_incarnation(last, *last_incarnation),
                boots: Arc::new(boots),
                since_revision: revision,
                started_at: at,
                deregistered_at: None,
            };
            let worker = Worker::first_life(id.clone(), identity.clone(), life);
            let message = format!("Worker {id} registered");
            draft.tell(Actor::Worker, EventKind::WorkerRegistered, id, Told { message, ..Told::default() });
            let worker = draft.put(worker, &[Part::Registration]);
            return Ok(RegistrationAccepted { worker, created: true, shadows_vm });
        };

        let mut worker = Worker::clone(&known);
        let mut parts = vec![Part::Registration, Part::Heartbeat];
        if known.is_same_life(boot_id.as_deref(), host_boot_id.as_deref()) {
            worker.reregister(identity.clone(), host_boot_id.clone(), at, revision);
            if *known.identity != *identity {
                let message = format!("Worker {id} described itself anew");
                draft.tell(Actor::Worker, EventKind::WorkerRegistered, id, Told { message, ..Told::default() });
            }
        } else if let Some(boot_id) = over(&known.life.boots) {
            return Err(boot_is_over(id.as_str(), boot_id, known.life.incarnation));
        } else {
            let incarnation = draft.next_incarnation(Some(known.life.incarnation), *last_incarnation);
            let (boot_id, host_boot_id) = (boot_id.clone(), host_boot_id.clone());
            worker.start_life(identity.clone(), boot_id, host_boot_id, incarnation, (at, revision));
            let message = format!("Worker {id} restarted: incarnation {incarnation}");
            draft.tell(Actor::Worker, EventKind::WorkerRestarted, id, Told { message, ..Told::default() });
            for vm in known.slot_holders().filter(|vm| worker.vm(vm.id.as_str()).is_none()) {
                let message = format!("VM {} went with the last start of the host of worker {id}", vm.id);
                let told = Told { vm_id: Some(vm.id.clone()), reason: Some("host restarted".into()), message };
                draft.tell(Actor::Worker, EventKind::VmStopped, id, told);
            }
        }
        if known.usage.late_sequence.is_some() {
            parts.push(Part::LateHeartbeat);
        }
        if draft.announce_if_back(&mut worker) {
            parts.push(Part::Announcement);
        }
        let worker = draft.put(worker, &parts);
        Ok(RegistrationAccepted { worker, created: false, shadows_vm: false })
    }
}
