//! Events, which are the entries of the change log, and cursors, which are places in it. Where the log is kept, and for
//! how long, is the journal's business.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::MAX_EXACT;
use super::id::{VmId, WorkerId};
use super::status::words;
use crate::clock::Timestamp;

words! {
    /// What kind of thing happened.
    EventKind as "kind of event" {
        /// A worker came that was not known before, or described itself anew.
        WorkerRegistered = "worker_registered",
        /// A known worker's process started again.
        WorkerRestarted = "worker_restarted",
        /// A worker fell silent for longer than the heartbeat time-out.
        WorkerOffline = "worker_offline",
        /// A worker that was announced offline is heard again.
        WorkerOnline = "worker_online",
        /// An operator asked that no new work be placed there.
        WorkerDrained = "worker_drained",
        /// An operator gave another reason for a drain that stands.
        WorkerDrainChanged = "worker_drain_changed",
        /// An operator opened it for new work again.
        WorkerActivated = "worker_activated",
        /// A worker said goodbye or was removed.
        WorkerLeft = "worker_left",
        /// A VM began to hold a slot on a worker.
        VmStarted = "vm_started",
        /// A VM's description or status changed.
        VmChanged = "vm_changed",
        /// A VM ceased to hold a slot on a worker.
        VmStopped = "vm_stopped",
        /// A token was created.
        TokenCreated = "token_created",
        /// A token was revoked.
        TokenRevoked = "token_revoked",
        /// A browser signed in, which opened a session.
        SignedIn = "signed_in",
        /// A browser signed out, which closed its session.
        SignedOut = "signed_out",
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
            Self::WorkerRegistered
            | Self::WorkerRestarted
            | Self::WorkerOffline
            | Self::WorkerOnline
            | Self::WorkerDrained
            | Self::WorkerDrainChanged
            | Self::WorkerActivated
            | Self::WorkerLeft
            | Self::VmStarted
            | Self::VmChanged
            | Self::VmStopped
            | Self::TokenCreated
            | Self::TokenRevoked
            | Self::SignedIn
            | Self::SignedOut => false,
        }
    }
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
    /// Who caused it: `worker`, `operator` or `server`.
    pub actor: Option<Arc<str>>,
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
    /// Events of one of these kinds.
    pub kinds: Option<Vec<EventKind>>,
    /// Events that one of these caused.
    pub actors: Option<Vec<Actor>>,
    /// Events that somebody caused with one of these tokens, by their public ids.
    pub actor_token_ids: Option<Vec<String>>,
}

impl EventFilter {
    /// Whether the event matches.
    pub fn matches(&self, event: &Event) -> bool {
        let Self { worker_ids, kinds, actors, actor_token_ids } = self;
        let token_id = event.audit.as_ref().and_then(|audit| audit.token_id.as_deref());
        worker_ids.as_ref().is_none_or(|wanted| {
            event.worker_id.as_ref().is_some_and(|id| wanted.iter().any(|wanted| wanted == id.as_str()))
        }) && kinds.as_ref().is_none_or(|wanted| wanted.contains(&event.kind))
            && actors
                .as_ref()
                .is_none_or(|wanted| wanted.iter().any(|wanted| event.actor.as_deref() == Some(wanted.as_str())))
            && actor_token_ids
                .as_ref()
                .is_none_or(|wanted| token_id.is_some_and(|id| wanted.iter().any(|wanted| wanted == id)))
    }
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
