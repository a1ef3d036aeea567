//! What operators and heartbeats make of a worker's drain: pure transitions, which the commands of the
//! [`journal`](crate::journal) call. What is kept of it is the [record](super::Drain).

use std::sync::Arc;

use super::drain::{Author, Deadline, Drain, DrainRequest};
use super::status::{Availability, SchedulingPolicy};
use super::worker::{LivenessCutoff, Worker};
use crate::clock::Timestamp;

/// What a heartbeat has made of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStep {
    /// The process was told, or has acknowledged it.
    Noted,
    /// No VM holds a slot any more, and none is reserved.
    Completed,
    /// A VM has appeared on a worker whose drain was complete.
    Reopened,
}

impl Worker {
    /// The drain that stands.
    pub fn standing_drain(&self) -> Option<&Arc<Drain>> {
        self.drain.as_ref().filter(|drain| drain.stands())
    }

    /// An operator begins a drain.
    pub fn begin_drain(&mut self, request: &DrainRequest, author: Author, at: Timestamp, revision: u64) {
        let drain = Drain {
            number: self.drain.as_ref().map_or(0, |last| last.number) + 1,
            reason: request.reason.clone(),
            metadata: request.metadata.clone().unwrap_or_default(),
            started_by: Some(author),
            started_at: Some(at),
            start_revision: revision,
            deadline: request.deadline.map(|after| Deadline::from_now(after, at)),
            initial_vms: u32::try_from(self.usage.vms.count_slot_holders()).ok(),
            revision,
            ..Drain::default()
        };
        self.drain = Some(Arc::new(drain));
        self.policy = SchedulingPolicy::Draining;
        self.policy_revision = revision;
        self.revision = revision;
    }

    /// An operator says something else of the drain that stands. Answers whether that changes anything.
    pub fn amend_drain(&mut self, request: &DrainRequest, at: Timestamp, revision: u64) -> bool {
        let Some(drain) = self.drain.as_mut().map(Arc::make_mut) else { return false };
        if !drain.amend(request, at) {
            return false;
        }
        drain.revision = revision;
        self.policy_revision = revision;
        self.revision = revision;
        true
    }

    /// An operator ends the drain, by activating the worker.
    pub fn end_drain(&mut self, reason: Option<Arc<str>>, author: Author, at: Timestamp, revision: u64) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| drain.stands()) {
            let drain = Arc::make_mut(drain);
            drain.ended_at = Some(at);
            drain.ended_by = Some(author);
            drain.end_reason = reason;
            drain.revision = revision;
        }
        self.policy = SchedulingPolicy::Active;
        self.policy_revision = revision;
        self.revision = revision;
    }

    /// A new process of the worker has started, which does not know of the drain, and may take VMs until it does. That
    /// the drain was complete stays on record: only a VM reopens it. Answers whether the record has changed.
    pub fn forget_acknowledgement(&mut self, revision: u64) -> bool {
        match self.drain.as_mut() {
            Some(drain) if drain.stands() && (drain.acknowledged_at.is_some() || drain.notified_revision.is_some()) => {
                let drain = Arc::make_mut(drain);
                (drain.acknowledged_at, drain.notified_revision) = (None, None);
                drain.revision = revision;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Takes the drain that stands further by a heartbeat that counted, after its inventory was taken. Answers what has
    /// changed of the record, if anything.
    pub fn advance_drain(&mut self, at: Timestamp, revision: u64) -> Option<DrainStep> {
        let drain = self.standing_drain()?;
        let knows = match drain.acknowledged_at {
            Some(_) => true,
            None => self.knows_of_drain(drain, revision),
        };
        let is_notified_now = !knows && drain.notified_revision.is_none();
        let is_empty = self.is_empty();
        let step = match drain.completed_at {
            None if knows && is_empty => DrainStep::Completed,
            Some(_) if self.usage.vms.count_slot_holders() > 0 || self.usage.set_aside_vms > 0 => DrainStep::Reopened,
            None | Some(_) if is_notified_now || knows && drain.acknowledged_at.is_none() => DrainStep::Noted,
            None | Some(_) => return None,
        };
        let drain = Arc::make_mut(self.drain.as_mut()?);
        drain.revision = revision;
        drain.notified_revision = drain.notified_revision.or(Some(revision));
        if knows {
            drain.acknowledged_at = drain.acknowledged_at.or(Some(at));
        }
        match step {
            DrainStep::Completed => drain.completed_at = Some(at),
            DrainStep::Reopened => drain.completed_at = None,
            DrainStep::Noted => {}
        }
        Some(step)
    }

    /// Completes the drain that stands if what was reserved on the worker is all that was left of it. A worker that is
    /// not heard from completes nothing, whether its silence is announced or not: its next heartbeat does. Answers what
    /// has changed of the record, if anything.
    pub fn complete_drain(&mut self, cutoff: LivenessCutoff, at: Timestamp, revision: u64) -> Option<DrainStep> {
        let drain = self.standing_drain()?;
        let is_due = drain.acknowledged_at.is_some() && drain.completed_at.is_none();
        if !is_due || !self.is_empty() || self.availability(cutoff) == Availability::Offline {
            return None;
        }
        let drain = Arc::make_mut(self.drain.as_mut()?);
        drain.completed_at = Some(at);
        drain.revision = revision;
        Some(DrainStep::Completed)
    }

    /// Whether the present process has reported that no VM holds a slot, none was set aside, and none is held for a VM
    /// that is not there yet.
    pub fn is_empty(&self) -> bool {
        let holds_none = self.usage.vms.count_slot_holders() == 0 && self.usage.set_aside_vms == 0;
        self.knows_inventory() && holds_none && self.reserved.vm_slots == 0
    }

    /// Whether the present process knows of a drain. A process that echoes policy revisions says so itself. Of one that
    /// never did, this is its second heartbeat since the drain began: before it sent this one, it had the reply to the
    /// first one, unless that was lost on the way. (Heartbeats of one commit were sent before the reply to any of
    /// them.)
    fn knows_of_drain(&self, drain: &Drain, revision: u64) -> bool {
        match self.usage.policy_echo {
            // A higher one is of another database, such as this one before it was restored from a backup.
            Some(echo) => (drain.start_revision..=self.policy_revision).contains(&echo),
            None => drain.notified_revision.is_some_and(|told| told < revision),
        }
    }
}
