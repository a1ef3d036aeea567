//! An operator drains a worker, or activates it again: what that changes and records. Who may, the check of the reason and
//! the log line are in [`resolvers`](crate::resolvers).

use std::sync::Arc;

use super::{Command, Lane, Precondition};
use crate::cluster::{Actor, Drain, EventKind, SchedulingPolicy, Snapshot, Worker};
use crate::error::{Error, Result};
use crate::journal::batch::{Batch, ColumnGroup, EventDetails};

/// Sets the scheduling policy of a worker.
#[derive(Clone, Debug)]
pub struct SetPolicy {
    /// The worker.
    pub worker_id: String,
    /// The policy that is wanted.
    pub policy: SchedulingPolicy,
    /// Why. Given for a worker that is draining already, it replaces the reason of that drain.
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

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { worker_id, policy, reason, condition } = self;
        let known = batch.find_worker(worker_id).ok_or_else(|| Error::WorkerNotFound(worker_id.clone()))?.clone();
        condition.check(worker_id, Some(&known), batch.revision, batch.epochs())?;
        let changed = known.policy != *policy;
        let mut worker = Worker::clone(&known);
        let (kind, message) = match policy {
            SchedulingPolicy::Draining if changed => {
                let started_by = Some(Actor::Operator.as_str().into());
                let drain = Drain { reason: reason.clone(), started_by, started_at: Some(batch.at) };
                worker.drain = Some(Arc::new(drain));
                (EventKind::WorkerDrained, format!("Worker {worker_id} is draining"))
            }
            SchedulingPolicy::Draining => {
                let drain = worker.drain.get_or_insert_default();
                // Without a reason, or with the same one, there is nothing to change.
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
        worker.policy_revision = batch.revision;
        worker.revision = batch.revision;
        batch.record_event(
            Actor::Operator,
            kind,
            &worker.id,
            EventDetails { reason: reason.clone(), message, ..EventDetails::default() },
        );
        let worker = batch.put_worker(worker, &[ColumnGroup::Policy]);
        Ok(PolicySet { worker, changed })
    }
}
