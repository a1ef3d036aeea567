//! The record of a drain: what operators said, and what came of it.
//!
//! A worker has the record of its drain that stands, or else of its last one. Operators begin and end a drain, the
//! heartbeats of the worker acknowledge and complete it ([`worker_drain`](super::worker_drain)), and the server announces
//! that it is overdue. What is left on the worker is not in the record: progress and blockers are read from the present
//! state, in [`drain_view`](super::drain_view).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::status::words;
use super::text_map::TextMap;
use crate::clock::Timestamp;

/// Texts of the operators' own, by key.
pub type Metadata = TextMap;

words! {
    /// How far a drain has come.
    DrainState as "drain state" {
        /// It stands, and is not complete.
        Draining = "draining",
        /// It stands, is not complete, and its deadline has passed. It may still become complete.
        Overdue = "overdue",
        /// The worker has acknowledged it and reported that no VM holds a slot, and no slot is reserved.
        Complete = "complete",
        /// The worker was activated before the drain was complete.
        Canceled = "canceled",
        /// The worker was activated after the drain was complete.
        Ended = "ended",
    }
}

impl DrainState {
    /// Whether a drain in this state stands.
    pub fn is_standing(self) -> bool {
        match self {
            Self::Draining | Self::Overdue | Self::Complete => true,
            Self::Canceled | Self::Ended => false,
        }
    }
}

/// Who began or ended a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The kind of actor, such as `operator`.
    pub actor: Arc<str>,
    /// The id of the token.
    pub token_id: Option<Arc<str>>,
    /// The name of the token.
    pub name: Option<Arc<str>>,
}

/// The time that operators give a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// How long it was when it was given.
    pub after: Duration,
    /// When it passes.
    pub at: Timestamp,
}

impl Deadline {
    /// The deadline that begins now.
    pub fn from_now(after: Duration, now: Timestamp) -> Self {
        let at = TimeDelta::from_std(after).ok().and_then(|after| now.checked_add_signed(after));
        Self { after, at: at.unwrap_or(Timestamp::MAX_UTC) }
    }
}

/// The record of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Which drain of the worker it is, from 1.
    pub number: u32,
    /// The last reason that was given.
    pub reason: Option<Arc<str>>,
    /// Texts of the operators' own, by key.
    pub metadata: Metadata,
    /// Who began it; none if that was before this was stored.
    pub started_by: Option<Author>,
    /// When it began, by the server's clock; none if that was before this was stored.
    pub started_at: Option<Timestamp>,
    /// Revision of the commit that began it. A worker that has heard of this revision knows of the drain.
    pub start_revision: u64,
    /// Until when it shall be complete.
    pub deadline: Option<Deadline>,
    /// Revision of the first heartbeat of the present process since the drain began: its reply has told the process.
    pub notified_revision: Option<u64>,
    /// When the present process of the worker acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// When it became complete; none again once a VM has appeared.
    pub completed_at: Option<Timestamp>,
    /// When it was announced overdue.
    pub overdue_at: Option<Timestamp>,
    /// When the worker was activated.
    pub ended_at: Option<Timestamp>,
    /// Who activated it.
    pub ended_by: Option<Author>,
    /// Why it was activated.
    pub end_reason: Option<Arc<str>>,
    /// How many VMs held a slot when it began; none if that was before this was stored.
    pub initial_vms: Option<u32>,
    /// Revision of the last change to this record.
    pub revision: u64,
}

/// What operators say of a drain. What they leave out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainRequest {
    /// Why.
    pub reason: Option<Arc<str>>,
    /// In what time it shall be complete.
    pub deadline: Option<Duration>,
    /// Texts of their own, by key.
    pub metadata: Option<Metadata>,
}

impl Drain {
    /// Whether it has not been ended.
    pub fn stands(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Whether it stands, is not complete, and its deadline has passed. What was announced holds until the deadline is
    /// another one, also if the clock is set back.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        let has_passed = self.deadline.is_some_and(|deadline| deadline.at <= now);
        self.stands() && self.completed_at.is_none() && (self.overdue_at.is_some() || has_passed)
    }

    /// How far it has come.
    pub fn state(&self, now: Timestamp) -> DrainState {
        match (self.stands(), self.completed_at) {
            (true, Some(_)) => DrainState::Complete,
            (true, None) if self.is_overdue(now) => DrainState::Overdue,
            (true, None) => DrainState::Draining,
            (false, Some(_)) => DrainState::Ended,
            (false, None) => DrainState::Canceled,
        }
    }

    /// The moment at which it will be overdue, if it has to be announced then.
    pub fn overdue_from(&self) -> Option<Timestamp> {
        let waits = self.stands() && self.completed_at.is_none() && self.overdue_at.is_none();
        self.deadline.filter(|_| waits).map(|deadline| deadline.at)
    }

    /// Takes what operators say of a drain that stands. Answers whether that changes anything: the same reason, metadata
    /// or length of time does not, unless that time has passed. A deadline counts from the request that changes it.
    pub fn amend(&mut self, request: &DrainRequest, now: Timestamp) -> bool {
        let DrainRequest { reason, deadline, metadata } = request;
        let mut changed = false;
        if reason.is_some() && self.reason != *reason {
            self.reason.clone_from(reason);
            changed = true;
        }
        if let Some(metadata) = metadata.as_ref().filter(|metadata| self.metadata != **metadata) {
            self.metadata.clone_from(metadata);
            changed = true;
        }
        if let Some(after) = *deadline
            && (self.is_overdue(now) || self.deadline.is_none_or(|deadline| deadline.after != after))
        {
            self.deadline = Some(Deadline::from_now(after, now));
            self.overdue_at = None;
            changed = true;
        }
        changed
    }

    /// Brings times that lie in the future back to the present. Answers whether there were any.
    pub fn clamp_times(&mut self, now: Timestamp) -> bool {
        let mut clamped = false;
        let times = [&mut self.started_at, &mut self.acknowledged_at, &mut self.completed_at, &mut self.overdue_at];
        for time in times.into_iter().chain([&mut self.ended_at]).flatten() {
            if *time > now {
                *time = now;
                clamped = true;
            }
        }
        // It was counted from the clock that was ahead.
        if let Some(deadline) = &mut self.deadline {
            let latest = Deadline::from_now(deadline.after, now);
            clamped |= deadline.at > latest.at;
            deadline.at = deadline.at.min(latest.at);
        }
        clamped
    }

    /// The latest of its times that have passed: also of when its deadline was set, which may be long after its start.
    pub fn latest_time(&self) -> Option<Timestamp> {
        let Self { started_at, acknowledged_at, completed_at, overdue_at, ended_at, .. } = self;
        let set_at = |deadline: Deadline| deadline.at.checked_sub_signed(TimeDelta::from_std(deadline.after).ok()?);
        let times = [started_at, acknowledged_at, completed_at, overdue_at, ended_at].into_iter().copied();
        times.chain([self.deadline.and_then(set_at)]).flatten().max()
    }
}
