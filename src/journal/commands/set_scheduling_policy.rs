//! An operator drains a worker, or activates it again: what that changes and records. Who may, the check of what they say
//! and the log line are in [`resolvers`](crate::resolvers).

use std::sync::Arc;

use super::{Command, Lane, Precondition};
use crate::cluster::{Actor, DrainRequest, EventKind, Snapshot, Worker};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, ColumnGroup, EventDetails};

/// Sets the scheduling policy of a worker.
#[derive(Clone, Debug)]
pub struct SetPolicy {
    /// The worker.
    pub worker_id: String,
    /// What is wanted of it.
    pub change: PolicyRequest,
    /// Only if this holds.
    pub condition: Precondition,
}

/// What operators want of a worker.
#[derive(Clone, Debug)]
pub enum PolicyRequest {
    /// That it takes no new VMs. Asked of a worker that is draining already, it changes the drain that stands.
    Drain(DrainRequest),
    /// That it takes VMs, for this reason.
    Activate(Option<Arc<str>>),
}

impl PolicyRequest {
    /// The reason that is given.
    pub fn reason(&self) -> Option<&Arc<str>> {
        match self {
            Self::Drain(DrainRequest { reason, .. }) | Self::Activate(reason) => reason.as_ref(),
        }
    }

    /// Changes the worker as far as it is not as wanted, and tells of it.
    pub(super) fn apply(&self, known: &Arc<Worker>, batch: &mut Batch<'_>) -> PolicySet {
        let (id, author) = (&known.id, batch.author(Actor::Operator));
        let mut worker = Worker::clone(known);
        let (kind, message) = match self {
            Self::Drain(request) if known.standing_drain().is_none() => {
                worker.begin_drain(request, author, batch.at, batch.revision);
                (EventKind::WorkerDrainStarted, format!("Worker {id} is draining"))
            }
            Self::Drain(request) => {
                if !worker.amend_drain(request, batch.at, batch.revision) {
                    return PolicySet { worker: known.clone(), changed: false };
                }
                (EventKind::WorkerDrainChanged, format!("The drain of worker {id} was changed"))
            }
            Self::Activate(_) if known.standing_drain().is_none() => {
                return PolicySet { worker: known.clone(), changed: false };
            }
            Self::Activate(reason) => {
                worker.end_drain(reason.clone(), author, batch.at, batch.revision);
                (EventKind::WorkerActivated, format!("Worker {id} takes new work again"))
            }
        };
        let details = EventDetails { reason: self.reason().cloned(), message, ..EventDetails::default() };
        batch.record_event(Actor::Operator, kind, id, details);
        let worker = batch.put_worker(worker, &[ColumnGroup::Policy, ColumnGroup::Drain]);
        PolicySet { changed: worker.policy != known.policy, worker }
    }
}

/// The policy is as wanted.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// The worker right after it.
    pub worker: Arc<Worker>,
    /// Whether it was different before. That of a drain that is only amended was not.
    pub changed: bool,
}

impl Command for SetPolicy {
    type Reply = PolicySet;

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, _: &Snapshot) -> usize {
        // The worker, its drain and an event.
        3
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { worker_id, change, condition } = self;
        let known = batch.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        condition.check(worker_id, Some(&known), batch.revision, batch.epochs())?;
        Ok(change.apply(&known, batch))
    }
}
