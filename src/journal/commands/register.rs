//! A worker registers, or registers again.

use std::sync::Arc;

use super::{Command, Lane, Precondition, events_if_back, known_vms, rows_of_drain};
use crate::auth::{Denied, TokenId, TokenScope, TokenState};
use crate::cluster::{Actor, Boots, EventKind, Identity, Life, Snapshot, Worker, WorkerId};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, ColumnGroup, EventDetails};
use crate::journal::incarnation::boot_is_over;
use crate::journal::liveness_signs::LivenessSign;

/// As how many rows the row of a registration counts. It has thirty columns, comes as JSON and may insert a worker,
/// while the row of a heartbeat is six numbers. So a batch holds some thousand registrations, and takes no longer than
/// one of heartbeats.
pub(super) const WIDE_ROW: usize = 15;

/// Registers a worker.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its id.
    pub id: WorkerId,
    /// Who it is and how large.
    pub identity: Identity,
    /// New for each start of the process. The same again is a retry; without one, each registration counts as a new
    /// start.
    pub boot_id: Option<Arc<str>>,
    /// New for each boot of the host. With another one than before, the VMs that the host ran are gone.
    pub host_boot_id: Option<Arc<str>>,
    /// The last incarnation that the process knows of. It gets a later one, even from a database that was restored to a
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
    /// Whether a VM has the same id, which hides the VM from lookups by id alone.
    pub shadows_vm: bool,
}

impl Command for Register {
    type Reply = RegistrationAccepted;

    fn lane(&self) -> Lane {
        Lane::Workers
    }

    fn liveness_signs(&self, note: &mut dyn FnMut(LivenessSign<'_>)) {
        let (worker_id, boot_id) = (self.id.as_str(), self.boot_id.as_deref());
        note(LivenessSign { worker_id, incarnation: None, boot_id, sequence: None });
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // If the host was booted again, each VM that it had is a row and an event, too.
        let vms = known_vms(known, self.id.as_str()).map_or(0, |vms| vms.len());
        let others = rows_of_drain(known, self.id.as_str()) + events_if_back(known, self.id.as_str());
        WIDE_ROW + 1 + 2 * vms + others
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { id, identity, boot_id, host_boot_id, last_incarnation, condition } = self;
        let (at, revision) = (batch.at, batch.revision);
        let known = batch.find_worker(id.as_str()).map(|known| &**known);
        let owner = owner_of(batch, id.as_str())?;
        condition.check(id.as_str(), known, revision, batch.epochs())?;
        // A registration of a boot that is over comes too late.
        let over = |boots: &Boots| boot_id.as_deref().filter(|said| boots.is_over(said, host_boot_id.as_deref()));
        let Some(known) = batch.find_worker(id.as_str()).cloned() else {
            let shadows_vm = batch.is_vm(id.as_str());
            let tombstone = batch.tombstone(id.as_str()).cloned();
            if let Some(tombstone) = &tombstone
                && let Some(boot_id) = over(&tombstone.boots)
            {
                return Err(boot_is_over(id.as_str(), boot_id, tombstone.incarnation));
            }
            let last = tombstone.as_ref().map(|tombstone| tombstone.incarnation);
            let before = tombstone.map(|tombstone| tombstone.boots.clone()).unwrap_or_default();
            let boots = before.next(boot_id.clone(), host_boot_id.clone());
            let life = Life {
                incarnation: batch.next_incarnation(last, *last_incarnation),
                boots: Arc::new(boots),
                since_revision: revision,
                started_at: at,
                deregistered_at: None,
            };
            let mut worker = Worker::first_life(id.clone(), identity.clone(), life);
            worker.owner = owner;
            let message = format!("Worker {id} registered");
            let zone = Some(identity.zone.clone());
            let details = EventDetails { zone, message, ..EventDetails::default() };
            batch.record_event(Actor::Worker, EventKind::WorkerRegistered, id, details);
            let worker = batch.put_worker(worker, &[ColumnGroup::Registration]);
            return Ok(RegistrationAccepted { worker, created: true, shadows_vm });
        };

        let mut worker = Worker::clone(&known);
        worker.owner = owner;
        let mut column_groups = vec![ColumnGroup::Registration, ColumnGroup::Heartbeat];
        if known.is_same_life(boot_id.as_deref(), host_boot_id.as_deref()) {
            worker.reregister(identity.clone(), host_boot_id.clone(), at, revision);
            if *known.identity != *identity {
                let message = format!("Worker {id} described itself anew");
                let zone = Some(identity.zone.clone());
                let details = EventDetails { zone, message, ..EventDetails::default() };
                batch.record_event(Actor::Worker, EventKind::WorkerUpdated, id, details);
            }
        } else if let Some(boot_id) = over(&known.life.boots) {
            return Err(boot_is_over(id.as_str(), boot_id, known.life.incarnation));
        } else {
            let incarnation = batch.next_incarnation(Some(known.life.incarnation), *last_incarnation);
            let (boot_id, host_boot_id) = (boot_id.clone(), host_boot_id.clone());
            worker.start_life(identity.clone(), boot_id, host_boot_id, incarnation, (at, revision));
            let message = format!("Worker {id} restarted: incarnation {incarnation}");
            batch.record_event(Actor::Worker, EventKind::WorkerRestarted, id, message);
            for vm in known.slot_holders().filter(|vm| worker.vm(vm.id.as_str()).is_none()) {
                let message = format!("VM {} went with the last start of the host of worker {id}", vm.id);
                let reason = Some("host restarted".into());
                let details = EventDetails { reason, ..EventDetails::of_vm(Some(vm), None, message) };
                batch.record_event(Actor::Worker, EventKind::VmLost, id, details);
            }
        }
        if known.drain != worker.drain {
            column_groups.push(ColumnGroup::Drain);
        }
        if known.usage.late_sequence.is_some() {
            column_groups.push(ColumnGroup::LateHeartbeat);
        }
        if batch.announce_back_online(&mut worker) {
            column_groups.push(ColumnGroup::Announcement);
        }
        let worker = batch.put_worker(worker, &column_groups);
        Ok(RegistrationAccepted { worker, created: false, shadows_vm: false })
    }
}

/// The token that speaks for a worker once it is registered: that of the caller, if there is one. A token that names
/// the worker takes it over from any other, which is how an administrator replaces a lost one. One for any workers may
/// take those that nobody speaks for, or only a token that has ended, as many as it may.
fn owner_of(batch: &Batch<'_>, id: &str) -> Result<Option<TokenId>> {
    let before = batch.find_worker(id).and_then(|known| known.owner.as_ref());
    let Some(token) = batch.caller().principal().token() else { return Ok(before.cloned()) };
    if before == Some(&token.id) {
        return Ok(Some(token.id.clone()));
    }
    match &token.scope {
        TokenScope::Worker(named) if **named == *id => {}
        TokenScope::Worker(_) | TokenScope::Nobody | TokenScope::NewWorkers => {
            return Err(Denied::NotItsWorker(id.to_owned()).into());
        }
        TokenScope::AtMost(_) if before.is_some_and(|owner| is_live(batch, owner)) => {
            return Err(Error::OwnedByAnother(id.to_owned()));
        }
        TokenScope::AtMost(max) => {
            if batch.count_owned_by(&token.id) >= usize::try_from(*max).unwrap_or(usize::MAX) {
                return Err(Error::TooManyWorkers { max: *max });
            }
        }
    }
    Ok(Some(token.id.clone()))
}

fn is_live(batch: &Batch<'_>, token: &TokenId) -> bool {
    batch
        .find_token(token.as_str())
        .is_some_and(|token| token.state(batch.at, |id| batch.find_token(id)) == TokenState::Live)
}
