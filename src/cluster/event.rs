//! Events, which are the entries of the change log: what each means, and which of them a filter matches, in a stream;
//! and cursors, which are places in the log.
//!
//! Events are recorded by the commands that cause them, in `journal::commands`. Their rows, and the same filter in SQL,
//! are in `entity/src/event.rs`; pages of them are read in `journal::store::events`, and for how long they are kept is
//! decided in `journal::retention`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::MAX_EXACT;
use super::id::{ReservationId, VmId, WorkerId};
use super::status::{VmStatus, words};
use crate::auth::Role;
use crate::clock::Timestamp;

words! {
    /// What kind of thing happened.
    EventKind as "kind of event" {
        /// A join token let a worker in, which has a token of its own from then on.
        WorkerJoined = "worker_joined",
        /// A worker came that was not known before.
        WorkerRegistered = "worker_registered",
        /// A known worker described itself anew, such as with other labels.
        WorkerUpdated = "worker_updated",
        /// A known worker's process started again.
        WorkerRestarted = "worker_restarted",
        /// A worker fell silent for longer than the heartbeat time-out.
        WorkerOffline = "worker_offline",
        /// A worker that was announced offline is heard again.
        WorkerOnline = "worker_online",
        /// An operator asked that no new work be placed there: a drain began.
        WorkerDrainStarted = "worker_drain_started",
        /// An operator gave another reason, deadline or metadata for a drain that stands.
        WorkerDrainChanged = "worker_drain_changed",
        /// The deadline of a drain passed before the drain was complete. Nothing is stopped.
        WorkerDrainOverdue = "worker_drain_overdue",
        /// A worker that is drained has acknowledged it, and reported that no VM holds a slot.
        WorkerDrainComplete = "worker_drain_complete",
        /// A VM appeared on a worker whose drain was complete.
        WorkerDrainReopened = "worker_drain_reopened",
        /// An operator opened it for new work again.
        WorkerActivated = "worker_activated",
        /// A worker said goodbye, or an operator took it out of service; it is still registered.
        WorkerLeft = "worker_left",
        /// A worker was removed with all that was known of it.
        WorkerPurged = "worker_purged",
        /// A VM began to hold a slot on a worker.
        VmStarted = "vm_started",
        /// A VM's description or status changed.
        VmChanged = "vm_changed",
        /// A VM was shut down: it is listed on its worker still, and holds no slot there.
        VmStopped = "vm_stopped",
        /// A VM ended by an error.
        VmFailed = "vm_failed",
        /// A VM is gone from a worker while another worker reports that it holds a slot there.
        VmMoved = "vm_moved",
        /// A VM is gone from what its worker reports, without having stopped or failed before.
        VmVanished = "vm_vanished",
        /// A VM was lost with its worker, whose host was started anew, or which was removed.
        VmLost = "vm_lost",
        /// A token was created.
        TokenCreated = "token_created",
        /// A token was revoked.
        TokenRevoked = "token_revoked",
        /// Requests came with tokens that are not accepted.
        AuthenticationFailed = "authentication_failed",
        /// A browser signed in, which opened a session.
        SignedIn = "signed_in",
        /// A browser signed out, which closed its session.
        SignedOut = "signed_out",
        /// Room was reserved for VMs that are not there yet.
        ReservationHeld = "reservation_held",
        /// A VM took a slot that was held for it.
        ReservationTaken = "reservation_taken",
        /// Slots that were held were given back.
        ReservationReleased = "reservation_released",
        /// The time of a reservation was over before a VM took each of its slots.
        ReservationExpired = "reservation_expired",
        /// Nothing happened: everything up to this cursor has been told. Sent in streams only.
        Synced = "synced",
        /// The cursor given cannot be resumed; read the present state and go on from this cursor. Sent in streams only.
        Resync = "resync",
    }
}

words! {
    /// Who caused an event, which need not be whom it is about.
    Actor as "actor" {
        /// A worker, or a program that speaks for it.
        Worker = "worker",
        /// An operator.
        Operator = "operator",
        /// The server, which found it out.
        Server = "server",
    }
}

impl EventKind {
    /// Whether it is a notice to one reader of a stream, and no entry of the log.
    pub fn is_notice(self) -> bool {
        match self {
            Self::Synced | Self::Resync => true,
            Self::WorkerJoined
            | Self::WorkerRegistered
            | Self::WorkerUpdated
            | Self::WorkerRestarted
            | Self::WorkerOffline
            | Self::WorkerOnline
            | Self::WorkerDrainStarted
            | Self::WorkerDrainChanged
            | Self::WorkerDrainOverdue
            | Self::WorkerDrainComplete
            | Self::WorkerDrainReopened
            | Self::WorkerActivated
            | Self::WorkerLeft
            | Self::WorkerPurged
            | Self::VmStarted
            | Self::VmChanged
            | Self::VmStopped
            | Self::VmFailed
            | Self::VmMoved
            | Self::VmVanished
            | Self::VmLost
            | Self::TokenCreated
            | Self::TokenRevoked
            | Self::SignedIn
            | Self::SignedOut
            | Self::ReservationHeld
            | Self::ReservationTaken
            | Self::ReservationReleased
            | Self::ReservationExpired => false,
            Self::AuthenticationFailed => false,
        }
    }
}

impl EventKind {
    /// Whether only operators cause events of this kind. These are kept for longer than others; of a kind that others
    /// cause, too, those are kept for longer that an operator has caused.
    pub(crate) fn is_by_operators_only(self) -> bool {
        match self {
            Self::WorkerDrainStarted
            | Self::WorkerDrainChanged
            | Self::WorkerActivated
            | Self::WorkerJoined
            | Self::TokenCreated
            | Self::TokenRevoked
            | Self::SignedIn
            | Self::SignedOut
            | Self::ReservationHeld => true,
            Self::WorkerRegistered
            | Self::WorkerUpdated
            | Self::WorkerRestarted
            | Self::WorkerOffline
            | Self::WorkerOnline
            | Self::WorkerDrainOverdue
            | Self::WorkerDrainComplete
            | Self::WorkerDrainReopened
            | Self::WorkerLeft
            | Self::WorkerPurged
            | Self::VmStarted
            | Self::VmChanged
            | Self::VmStopped
            | Self::VmFailed
            | Self::VmMoved
            | Self::VmVanished
            | Self::VmLost
            | Self::AuthenticationFailed
            | Self::ReservationTaken
            | Self::ReservationReleased
            | Self::ReservationExpired
            | Self::Synced
            | Self::Resync => false,
        }
    }
}

/// Which events of the change log are asked for, as far as it matters how long they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    /// Those that operators caused, and no others.
    ByOperators,
    /// All of them, or a part that has others in it.
    All,
}

/// One entry of the change log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub cursor: Cursor,
    /// When it was committed.
    pub at: Timestamp,
    /// What kind of thing happened.
    pub kind: EventKind,
    /// The worker it is about.
    pub worker_id: Option<WorkerId>,
    /// The VM it is about.
    pub vm_id: Option<VmId>,
    /// The reservation it is about.
    pub reservation_id: Option<ReservationId>,
    /// The name that the VM had then.
    pub vm_name: Option<Arc<str>>,
    /// The status that the VM had after it; none if the VM is gone.
    pub vm_status: Option<VmStatus>,
    /// The status that the VM had before it; none if the VM was not there before.
    pub previous_status: Option<VmStatus>,
    /// The zone in which the worker was then, which is empty if it was in none; none if it is about no worker.
    pub zone: Option<Arc<str>>,
    /// Who caused it.
    pub actor: Option<Actor>,
    /// Whose request it was, if it was anybody's.
    pub audit: Option<Arc<Audit>>,
    /// The reason that was given.
    pub reason: Option<Arc<str>>,
    /// What happened, as a sentence.
    pub message: Arc<str>,
    /// The oldest cursor that can still be resumed; told by `Resync` only.
    pub oldest_cursor: Option<Cursor>,
}

/// The request that caused an event, for the audit trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The id of the token that it came with.
    pub token_id: Option<Arc<str>>,
    /// The name of that token.
    pub name: Option<Arc<str>>,
    /// Its id.
    pub request_id: Option<Arc<str>>,
    /// The IP address that it came from.
    pub address: Option<Arc<str>>,
}

/// Which events match: fields are ANDed, entries of a list ORed. A list that is none matches every event; an empty list
/// matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Events about one of these workers.
    pub worker_ids: Option<Vec<String>>,
    /// Events about one of these VMs.
    pub vm_ids: Option<Vec<String>>,
    /// Events about a worker that was in one of these zones then; of the empty text, in none.
    pub zones: Option<Vec<String>>,
    /// Events of one of these kinds.
    pub kinds: Option<Vec<EventKind>>,
    /// Events that one of these caused.
    pub actors: Option<Vec<Actor>>,
    /// Events that somebody caused with one of these tokens, by their public ids.
    pub actor_token_ids: Option<Vec<String>>,
}

impl EventFilter {
    /// Whether it matches no other events than those that operators caused. `role_of` finds the role of a token by its
    /// public id: holders of all roles but that of workers are operators in whatever they do.
    pub fn class(&self, role_of: impl Fn(&str) -> Option<Role>) -> EventClass {
        let Self { worker_ids: _, vm_ids: _, zones: _, kinds, actors, actor_token_ids } = self;
        let is_of_operator = |id: &String| role_of(id).is_some_and(Role::acts_as_operator);
        let is_by_operators = actors.as_ref().is_some_and(|actors| actors.iter().all(|it| *it == Actor::Operator))
            || kinds.as_ref().is_some_and(|kinds| kinds.iter().all(|kind| kind.is_by_operators_only()))
            || actor_token_ids.as_ref().is_some_and(|ids| ids.iter().all(is_of_operator));
        if is_by_operators { EventClass::ByOperators } else { EventClass::All }
    }

    /// Whether the event matches.
    pub fn matches(&self, event: &Event) -> bool {
        let Self { worker_ids, vm_ids, zones, kinds, actors, actor_token_ids } = self;
        let token_id = event.audit.as_ref().and_then(|audit| audit.token_id.as_deref());
        is_among(worker_ids, event.worker_id.as_ref().map(WorkerId::as_str))
            && is_among(vm_ids, event.vm_id.as_ref().map(VmId::as_str))
            && is_among(zones, event.zone.as_deref())
            && kinds.as_ref().is_none_or(|wanted| wanted.contains(&event.kind))
            && actors.as_ref().is_none_or(|wanted| event.actor.is_some_and(|actor| wanted.contains(&actor)))
            && is_among(actor_token_ids, token_id)
    }
}

/// Whether a text is among those that are wanted. If nothing in particular is wanted, whatever it is.
fn is_among(wanted: &Option<Vec<String>>, text: Option<&str>) -> bool {
    wanted.as_ref().is_none_or(|wanted| text.is_some_and(|text| wanted.iter().any(|wanted| wanted == text)))
}

/// A place in the change log of one database: right after an entry.
///
/// A cursor names its epoch, so that a cursor of another database, or of this one before it was restored from a backup,
/// is refused instead of silently skipping or repeating events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The epoch of the database; see [`Epochs`](super::Epochs).
    pub epoch: Arc<str>,
    /// Revision of the commit.
    pub revision: u64,
    /// The entry of that commit, counted from 0; `u32::MAX` for the place after all of them.
    pub position: u32,
}

impl Cursor {
    /// The place after everything that was committed up to this revision.
    pub fn after_revision(epoch: Arc<str>, revision: u64) -> Self {
        Self { epoch, revision, position: u32::MAX }
    }

    /// Whether this place is after another one of the same log.
    pub fn is_after(&self, other: &Self) -> bool {
        (self.revision, self.position) > (other.revision, other.position)
    }
}

/// The id of the event at a cursor, for caches of clients. Ids of workers and VMs have no slash, so that neither this nor
/// [`STATS_ID`](super::STATS_ID) nor [`zone_id`](super::zone_id) is one of theirs.
pub fn event_id(cursor: &Cursor) -> String {
    format!("events/{cursor}")
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.revision)?;
        if self.position != u32::MAX {
            write!(f, "-{}", self.position)?;
        }
        Ok(())
    }
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this API: pass back one that came with an event, unchanged")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Revisions have to be exact as JSON numbers; the database would take 63 bits.
        let number = |digits: &str| digits.parse().ok().filter(|number| *number <= MAX_EXACT.unsigned_abs());
        let mut parts = text.split('-');
        let (Some(epoch), Some(revision)) = (parts.next(), parts.next().and_then(number)) else {
            return Err(InvalidCursor);
        };
        let position = match parts.next() {
            None => u32::MAX,
            Some(digits) => digits.parse().map_err(|_| InvalidCursor)?,
        };
        if epoch.is_empty() || epoch.len() > 64 || parts.next().is_some() {
            return Err(InvalidCursor);
        }
        Ok(Self { epoch: epoch.into(), revision, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_of_operators_events_if_it_can_match_no_others() {
        use EventKind::{TokenCreated, VmStopped, WorkerActivated, WorkerDrainStarted, WorkerLeft};
        let by = |actors: &[Actor]| EventFilter { actors: Some(actors.to_vec()), ..EventFilter::default() };
        let of = |kinds: &[EventKind]| EventFilter { kinds: Some(kinds.to_vec()), ..EventFilter::default() };
        let with = |ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned()).collect();
            EventFilter { actor_token_ids: Some(ids), ..EventFilter::default() }
        };
        let about = EventFilter { worker_ids: Some(vec!["w1".to_owned()]), ..EventFilter::default() };
        let role_of = |id: &str| id.parse::<Role>().ok();
        for (filter, expected) in [
            (EventFilter::default(), EventClass::All),
            (about.clone(), EventClass::All),
            (by(&[Actor::Operator]), EventClass::ByOperators),
            (by(&[Actor::Operator, Actor::Server]), EventClass::All),
            (by(&[Actor::Worker]), EventClass::All),
            (by(&[]), EventClass::ByOperators),
            (EventFilter { actors: Some(vec![Actor::Operator]), ..about }, EventClass::ByOperators),
            (EventFilter { actors: Some(vec![Actor::Operator]), ..of(&[VmStopped]) }, EventClass::ByOperators),
            (of(&[WorkerDrainStarted, WorkerActivated, TokenCreated]), EventClass::ByOperators),
            (of(&[WorkerDrainStarted, WorkerLeft]), EventClass::All),
            (of(&[EventKind::Resync]), EventClass::All),
            (with(&["viewer", "operator", "admin"]), EventClass::ByOperators),
            (with(&["admin", "worker"]), EventClass::All),
            (with(&["admin", "of nobody known"]), EventClass::All),
            (EventFilter { kinds: Some(vec![WorkerDrainStarted]), ..with(&["worker"]) }, EventClass::ByOperators),
        ] {
            assert_eq!(filter.class(role_of), expected, "{filter:?}");
        }
    }

    #[test]
    fn cursors_read_back_as_what_they_were() {
        let epoch: Arc<str> = "4f9c1a2e".into();
        for cursor in [Cursor { epoch: epoch.clone(), revision: 813, position: 0 }, Cursor::after_revision(epoch, 813)]
        {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "813", "a-b", "a-1-x", "a-1-1-1", "-1-1", "a--1", "a-9007199254740993"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
