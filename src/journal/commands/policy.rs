//! An operator drains a worker, or opens it again.

use std::sync::Arc;

use super::{Command, Lane, Precondition};
use crate::cluster::{Actor, Drain, EventKind, SchedulingPolicy, Snapshot, Worker};
use crate::error::{Error, Result};
use crate::journal::draft::{Draft, Part, Told};

/// Sets what operators want of a worker.
#[derive(Clone, Debug)]
pub struct SetPolicy {
    /// The worker.
    pub worker_id: String,
    /// What is wanted.
    pub policy: SchedulingPolicy,
    /// Why. Another one for a drain that stands takes the place of the one it has.
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

    fn lane(&self) -> Lane {
        Lane::Operators
    }

    fn rows(&self, _: &Snapshot) -> usize {
        2
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { worker_id, policy, reason, condition } = self;
        let known = draft.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        condition.check(worker_id, Some(&known), draft.revision, draft.epochs())?;
        let changed = known.policy != *policy;
        let mut worker = Worker::clone(&known);
        let (kind, message) = match policy {
            SchedulingPolicy::Draining if changed => {
                let started_by = Some(Actor::Operator.as_str().into());
                let drain = Drain { reason: reason.clone(), started_by, started_at: Some(draft.at) };
                worker.drain = Some(Arc::new(drain));
                (EventKind::WorkerDrained, format!("Worker {worker_id} is draining"))
            }
            SchedulingPolicy::Draining => {
                let drain = worker.drain.get_or_insert_default();
                // Who gives no reason, or the same again, has nothing to add to what stands.
                if reason.is_none() || drain.reason == *reason {
                    return Ok(PolicySet { worker: known, changed: false });
                }
                Arc::make_mut(drain).reason.clone_from(reason);
                (EventKind::WorkerDrainChanged, format!("Worker {worker_id} is draining for another reason"))
            }
            SchedulingPolicy::Active if changed => {
                worker.drain = None;
                (EventKind::WorkerActivated, format!("Worker {worker_id} takes new work again"))
            }
            SchedulingPolicy::Active => return Ok(PolicySet { worker: known, changed: false }),
        };
        worker.policy = *policy;
        worker.policy_revision = draft.revision;
        worker.revision = draft.revision;
        draft.tell(Actor::Operator, kind, &worker.id, Told { reason: reason.clone(), message, ..Told::default() });
        let worker = draft.put(worker, &[Part::Operator]);
        Ok(PolicySet { worker, changed })
    }
}
