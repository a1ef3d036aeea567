//! An operator drains a worker, or opens it again.

use std::sync::Arc;

use super::{Command, Precondition};
use crate::cluster::{EventKind, SchedulingPolicy, Worker};
use crate::error::{Error, Result};
use crate::journal::draft::{Draft, Part, Told};

/// Sets what operators want of a worker.
#[derive(Clone, Debug)]
pub struct SetPolicy {
    /// The worker.
    pub worker_id: String,
    /// What is wanted.
    pub policy: SchedulingPolicy,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// Only if this holds.
    pub condition: Precondition,
}

/// The policy is as wanted.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// The worker right after it.
    pub worker: Arc<Worker>,
    /// Whether it was different before.
    pub changed: bool,
}

impl Command for SetPolicy {
    type Reply = PolicySet;

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { worker_id, policy, reason, condition } = self;
        let known = draft.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        condition.check(worker_id, Some(&known), draft.revision)?;
        if known.policy == *policy {
            return Ok(PolicySet { worker: known, changed: false });
        }
        let mut worker = Worker::clone(&known);
        worker.policy = *policy;
        worker.policy_revision = draft.revision;
        worker.revision = draft.revision;
        let (kind, message) = match policy {
            SchedulingPolicy::Draining => (EventKind::WorkerDrained, format!("Worker {worker_id} is draining")),
            SchedulingPolicy::Active => {
                (EventKind::WorkerActivated, format!("Worker {worker_id} takes new work again"))
            }
        };
        draft.tell(kind, &worker.id, Told { reason: reason.clone(), message, ..Told::default() });
        let worker = draft.put(worker, &[Part::Operator]);
        Ok(PolicySet { worker, changed: true })
    }
}
