//! The errors of the domain, once for both protocols.
//!
//! A variant says what happened; [`Error::kind`] says what a caller can do about it; `Display` is the sentence that a
//! client reads. The cause (the driver's message, SQL) stays in the source chain and is logged once, where the error
//! leaves the server, by [`Error::chain`]: it never reaches a client. Which status or code a kind has is not decided
//! here but by each protocol, which matches all kinds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;

use crate::auth::Denied;
use crate::cluster::EvacuationPlan;

/// Result of everything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error. Each protocol has a status or a code for every kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Correct the request; the message says what would be accepted.
    InvalidArgument,
    /// Nothing: what the request names does not exist.
    NotFound,
    /// Read the present state first: the request contradicts it.
    Conflict,
    /// Read the present state first: the precondition of the request does not hold.
    Stale,
    /// Take a new idempotency key: this one came with another request.
    KeyReused,
    /// Send a token that the server accepts.
    Unauthenticated,
    /// Ask somebody whose role allows it.
    Forbidden,
    /// Wait for as long as the error says, if it does, and try again: the server sheds load.
    Overloaded,
    /// Wait for as long as the error says: the caller has asked too much.
    RateLimited,
    /// Try again in a moment: the revision that the caller has seen elsewhere has not arrived at this server.
    RevisionNotReached,
    /// Try again at once, at another server: this one is shutting down.
    ShuttingDown,
    /// Try again later: the database does not answer.
    StorageUnavailable,
    /// Nothing: it is a fault of the server, which has logged it.
    Internal,
}

/// What an error is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The parameter that cannot be accepted, in snake_case.
    pub argument: Option<&'a str>,
    /// The worker or the VM.
    pub id: Option<&'a str>,
    /// The revision that there is, where the caller has named another one.
    pub current_revision: Option<u64>,
}

/// One error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A value of the request is not acceptable.
    #[error("{field} {problem}")]
    Invalid {
        /// The parameter, in snake_case.
        field: &'static str,
        /// What is wrong and what would be right: a sentence that begins with the field.
        problem: String,
    },
    /// No worker has this id.
    #[error("Worker not found: {0}")]
    WorkerNotFound(String),
    /// No worker is in this zone.
    #[error("Zone not found: {0}")]
    ZoneNotFound(String),
    /// The worker has never been drained.
    #[error("Worker {0} has never been drained")]
    NeverDrained(String),
    /// No VM has this id.
    #[error("VM not found: {0}")]
    VmNotFound(String),
    /// No reservation has this id.
    #[error("Reservation not found: {0}")]
    ReservationNotFound(String),
    /// The VMs do not fit, so none of them is reserved room for.
    #[error(
        "Nothing was reserved: {placeable} of the {wanted} VMs fit. `GET /api/v1/placement` with the same parameters tells why \
         the others do not."
    )]
    DoesNotFit {
        /// How many VMs there are to be.
        wanted: usize,
        /// How many of them fit.
        placeable: usize,
    },
    /// No place was found for VMs of workers that were to be drained, so none of these workers is drained.
    #[error(
        "Nothing was drained: no place was found for {} of the {} VMs on these workers. The plan in this answer tells which, \
         and why; drain fewer workers, or allow the shortfall.",
        .0.total_stranded(),
        .0.vms
    )]
    Shortfall(Arc<EvacuationPlan>),
    /// A VM that room is reserved for already.
    #[error("Reservation {reservation} holds a slot for VM {vm} already. Release it first, or go on with it.")]
    VmIsReservedFor {
        /// The VM.
        vm: String,
        /// The reservation.
        reservation: String,
    },
    /// A reservation cannot be released because VMs have all its slots.
    #[error("Reservation {0} is taken: its VMs are there, and hold their slots by themselves.")]
    ReservationTaken(String),
    /// One reservation too many.
    #[error(
        "There are {max} reservations that hold room already, which is as many as there may be. Release some first."
    )]
    TooManyReservations {
        /// How many there may be.
        max: usize,
    },
    /// No token has this id.
    #[error("Token not found: {0}")]
    TokenNotFound(String),
    /// No token can have the id that was sent, which is not repeated: it may be most of a token.
    #[error("Token not found: the id of a token has 12 letters and digits")]
    NoTokenId,
    /// A session, or a link for one, is asked for at a server without tokens.
    #[error("This server asks for no token, so there is nothing to sign in to")]
    NothingToSignInTo,
    /// A caller with a token asks to sign out.
    #[error(
        "This request came with a token and not with a session. A token is revoked by `DELETE /api/v1/tokens/{{id}}`"
    )]
    NotASession,
    /// The token that automation hands to the server cannot be an administrator's.
    #[error(
        "Token {0}, which is to be an administrator's, is known and is not: it was revoked, or is of another role. Hand \
         another one to the server."
    )]
    NotAnAdminToken(String),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// A registration of a worker that another token speaks for.
    #[error(
        "Worker {0} is registered, and this token does not speak for it. Register another id, or have the worker purged \
         first."
    )]
    OwnedByAnother(String),
    /// A registration of one worker too many.
    #[error("The token speaks for {max} workers already, which is as many as it may")]
    TooManyWorkers {
        /// How many it may speak for.
        max: u32,
    },
    /// A join token has let in as many workers as it may.
    #[error("The join token is used up: it lets workers join {}. An admin creates another one", times(*.max))]
    JoinTokenUsedUp {
        /// How many it may let in.
        max: u32,
    },
    /// A worker that is known joins with a token for new ones.
    #[error(
        "Worker {0} is known already, and this join token is for new workers. Choose another id; or, for this worker to \
         join anew, an admin creates a join token for it: `aetherium token create --join --worker {0}`"
    )]
    WorkerIsKnown(String),
    /// A worker joins again with a token of its own that has ended since.
    #[error("Worker {0} has joined with this token of its own before, which was revoked since. Join with a new one")]
    JoinedTokenEnded(String),
    /// A token that was made by a client has the id of another one.
    #[error("There is another token with the id {0}. Join with a new one")]
    TokenExists(String),
    /// A heartbeat for a worker that is not registered.
    #[error("Worker not found: {0}. Register it again, then send heartbeats.")]
    NotRegistered(String),
    /// A heartbeat of a worker that has deregistered.
    #[error("Worker {0} has left the cluster. Register it again, then send heartbeats.")]
    HasLeft(String),
    /// A heartbeat, or a deregistration, of an incarnation that has been superseded.
    #[error(
        "Incarnation {given} of worker {id} is over: incarnation {current} has registered since. \
         Two processes may be using this id."
    )]
    Superseded {
        /// The worker.
        id: String,
        /// What the heartbeat said.
        given: u64,
        /// What is true.
        current: u64,
    },
    /// A registration of a start of the worker's process that has ended.
    #[error(
        "The process of worker {id} that calls itself {boot_id:?} is over: it said goodbye, or another one has registered \
         since. The present incarnation is {current}. A new start needs a new boot_id; or two processes are using this id."
    )]
    BootIsOver {
        /// The worker.
        id: String,
        /// What the process calls its start.
        boot_id: String,
        /// The incarnation of the present life, or of the last one.
        current: u64,
    },
    /// A message with the present incarnation and another boot id: it is of another process.
    #[error(
        "Incarnation {incarnation} of worker {id} is another process than the one that calls itself {boot_id:?}, which \
         may have had this number before the database was set back to a backup. Two processes may be using this id."
    )]
    AnotherProcess {
        /// The worker.
        id: String,
        /// The present incarnation, which was named.
        incarnation: u64,
        /// What the process calls its start.
        boot_id: String,
    },
    /// A deregistration for a start of the host on which the worker's process does not run.
    #[error(
        "Worker {id} is not known to run on the start of its host that is called {given:?}: its present process has \
         registered from elsewhere, or did not say from where. Nothing was changed."
    )]
    OnAnotherHostBoot {
        /// The worker.
        id: String,
        /// What the host's start is called.
        given: String,
    },
    /// A repeated heartbeat of a worker that has been silent for too long since.
    #[error(
        "Heartbeat {given} of worker {id} was heard before, and nothing new since: the last one that counted was \
         {last}. Go on with a sequence above that."
    )]
    SaidBefore {
        /// The worker.
        id: String,
        /// The heartbeat's sequence.
        given: u64,
        /// The last one that counted.
        last: u64,
    },
    /// A heartbeat with an incarnation that this database has never given, as after its restore from a backup.
    #[error("Worker {id} has no incarnation {given} yet, the present one is {current}. Register it again.")]
    UnknownIncarnation {
        /// The worker.
        id: String,
        /// What the heartbeat said.
        given: u64,
        /// What is true.
        current: u64,
    },
    /// The worker cannot be purged while VMs run on it.
    #[error("Worker {id} still holds {vms} VMs. Stop or move them first, or pass force=true.")]
    HoldsVms {
        /// The worker.
        id: String,
        /// How many VMs hold a slot on it.
        vms: usize,
    },
    /// The precondition on the revision does not hold.
    #[error(
        "Worker {id} is not what it was at revision {expected}: its registration, or what operators want of it, \
         is of revision {current}. Read it again, then decide."
    )]
    StaleRevision {
        /// The worker that was to be changed.
        id: String,
        /// The revision the caller has seen.
        expected: u64,
        /// The one it has changed at.
        current: u64,
    },
    /// The precondition names no revision that this database has: an entity tag of something else, a revision of
    /// another database or from before a restore, one in the future, or 0.
    #[error(
        "The condition on worker {id} names no revision that this database has. The worker's registration, or what \
         operators want of it, is of revision {current}. Read it again, then decide."
    )]
    UnknownRevision {
        /// The worker that was to be changed.
        id: String,
        /// The revision it has changed at.
        current: u64,
    },
    /// The precondition is that the worker is registered, and it is not.
    #[error("Worker {0} is not registered, and only a worker that is was to be changed.")]
    NothingToMatch(String),
    /// The precondition is that the worker is not registered, and it is.
    #[error("Worker {id} is registered already, and only one that is not was to be registered or changed.")]
    AlreadyRegistered {
        /// The worker.
        id: String,
        /// The revision it has changed at.
        current: u64,
    },
    /// The precondition is that the worker has changed, and it has not.
    #[error(
        "Worker {id} is still what it was: its registration, and what operators want of it, is of revision {current}."
    )]
    Unchanged {
        /// The worker.
        id: String,
        /// The revision it has changed at.
        current: u64,
    },
    /// An idempotency key that came with another request before.
    #[error("The Idempotency-Key {0:?} came with another request before. A new request needs a new key.")]
    KeyReused(String),
    /// The caller has seen a revision at another server, and it has not arrived at this one.
    #[error("Revision {wanted} has not arrived at this server yet, which is at {current}. Try again shortly.")]
    RevisionNotReached {
        /// What the caller wants to see.
        wanted: u64,
        /// What there is.
        current: u64,
    },
    /// The caller has seen a revision that the database does not have: in another database, or in this one before it
    /// was restored from a backup.
    #[error(
        "Revision {wanted} is not of this database as it is now, which is at {current}: it may have been restored from a \
         backup. Read the present state, and go on from the revision that comes with it."
    )]
    NotOfThisDatabase {
        /// What the caller wants to see.
        wanted: u64,
        /// What there is.
        current: u64,
    },
    /// More commands wait than can be committed within the time that a client waits.
    #[error(
        "The server is busy: too many changes are waiting to be committed. Try again in {} s.",
        whole_seconds(*.retry_after)
    )]
    Busy {
        /// When it makes sense to try again: how long the command would have had to wait.
        retry_after: Duration,
    },
    /// The queries of a token cost more than its limit.
    #[error(
        "The queries of this token cost more than it may spend: its limit is {limit} points at once, and {per_second} per \
         second. Try again in {} s; ask for less at a time, or follow changes instead of asking again.",
        whole_seconds(*.retry_after)
    )]
    CostLimitReached {
        /// How many points it may spend at once.
        limit: u64,
        /// How many per second in the long run.
        per_second: u64,
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// A worker came over a connection that is reserved for operators.
    #[error("The server has no connection left for workers. Try again shortly, over another connection.")]
    NoConnectionForWorkers,
    /// The server is shutting down.
    #[error("The server is shutting down. Try again in a few seconds.")]
    ShuttingDown,
    /// The database does not answer, or not as it should.
    #[error("The database is not available. Nothing was changed as far as the server knows; try again shortly.")]
    Database(#[source] Arc<DbErr>),
    /// A row of the database cannot be parsed.
    #[error("Internal error. The server's log has the details.")]
    Corrupt(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// What a caller can do about the error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::InvalidArgument,
            Self::WorkerNotFound(_)
            | Self::ZoneNotFound(_)
            | Self::NeverDrained(_)
            | Self::VmNotFound(_)
            | Self::TokenNotFound(_)
            | Self::ReservationNotFound(_)
            | Self::NoTokenId
            | Self::NotRegistered(_)
            | Self::HasLeft(_)
            | Self::UnknownIncarnation { .. } => Kind::NotFound,
            Self::Denied(Denied::Unauthenticated(_)) => Kind::Unauthenticated,
            Self::Denied(
                Denied::Role { .. }
                | Denied::FirstToken
                | Denied::SignInCode
                | Denied::NotItsWorker(_)
                | Denied::JoinsAnother(_),
            ) => Kind::Forbidden,
            Self::Superseded { .. }
            | Self::NotAnAdminToken(_)
            | Self::BootIsOver { .. }
            | Self::AnotherProcess { .. }
            | Self::OnAnotherHostBoot { .. }
            | Self::SaidBefore { .. }
            | Self::HoldsVms { .. }
            | Self::OwnedByAnother(_)
            | Self::TooManyWorkers { .. }
            | Self::JoinTokenUsedUp { .. }
            | Self::WorkerIsKnown(_)
            | Self::JoinedTokenEnded(_)
            | Self::TokenExists(_)
            | Self::DoesNotFit { .. }
            | Self::Shortfall(_)
            | Self::VmIsReservedFor { .. }
            | Self::ReservationTaken(_)
            | Self::TooManyReservations { .. }
            | Self::NothingToSignInTo
            | Self::NotASession
            | Self::NotOfThisDatabase { .. } => Kind::Conflict,
            Self::StaleRevision { .. }
            | Self::UnknownRevision { .. }
            | Self::NothingToMatch(_)
            | Self::AlreadyRegistered { .. }
            | Self::Unchanged { .. } => Kind::Stale,
            Self::KeyReused(_) => Kind::KeyReused,
            Self::Busy { .. } | Self::NoConnectionForWorkers => Kind::Overloaded,
            Self::CostLimitReached { .. } => Kind::RateLimited,
            Self::RevisionNotReached { .. } => Kind::RevisionNotReached,
            Self::ShuttingDown => Kind::ShuttingDown,
            Self::Database(_) => Kind::StorageUnavailable,
            Self::Corrupt(_) => Kind::Internal,
        }
    }

    /// Which part of the request, or which object, the error is about: for programs, such as a form that marks a field.
    pub fn subject(&self) -> Subject<'_> {
        let of = |id| Subject { id: Some(id), ..Subject::default() };
        match self {
            Self::Invalid { field, .. } => Subject { argument: Some(field), ..Subject::default() },
            Self::WorkerNotFound(id)
            | Self::ZoneNotFound(id)
            | Self::NeverDrained(id)
            | Self::VmNotFound(id)
            | Self::TokenNotFound(id)
            | Self::ReservationNotFound(id)
            | Self::ReservationTaken(id)
            | Self::VmIsReservedFor { vm: id, .. }
            | Self::Denied(Denied::NotItsWorker(id) | Denied::JoinsAnother(id))
            | Self::WorkerIsKnown(id)
            | Self::JoinedTokenEnded(id)
            | Self::OwnedByAnother(id)
            | Self::NotRegistered(id)
            | Self::HasLeft(id)
            | Self::NothingToMatch(id)
            | Self::Superseded { id, .. }
            | Self::BootIsOver { id, .. }
            | Self::AnotherProcess { id, .. }
            | Self::OnAnotherHostBoot { id, .. }
            | Self::SaidBefore { id, .. }
            | Self::UnknownIncarnation { id, .. }
            | Self::HoldsVms { id, .. } => of(id),
            Self::StaleRevision { id, current, .. }
            | Self::UnknownRevision { id, current }
            | Self::AlreadyRegistered { id, current }
            | Self::Unchanged { id, current } => Subject { current_revision: Some(*current), ..of(id) },
            Self::RevisionNotReached { current, .. } | Self::NotOfThisDatabase { current, .. } => {
                Subject { current_revision: Some(*current), ..Subject::default() }
            }
            Self::KeyReused(_)
            | Self::NoTokenId
            | Self::NotAnAdminToken(_)
            | Self::Denied(
                Denied::Unauthenticated(_) | Denied::Role { .. } | Denied::FirstToken | Denied::SignInCode,
            )
            | Self::NothingToSignInTo
            | Self::NotASession
            | Self::TooManyWorkers { .. }
            | Self::JoinTokenUsedUp { .. }
            | Self::TokenExists(_)
            | Self::DoesNotFit { .. }
            | Self::Shortfall(_)
            | Self::TooManyReservations { .. }
            | Self::Busy { .. }
            | Self::CostLimitReached { .. }
            | Self::NoConnectionForWorkers
            | Self::ShuttingDown
            | Self::Database(_)
            | Self::Corrupt(_) => Subject::default(),
        }
    }

    /// For how long the caller should wait before it tries again, if the server knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::CostLimitReached { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// A value that cannot be accepted.
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }

    /// The error with all its causes, for the log.
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// A duration in whole seconds, rounded up: a client that comes back too early would be refused again.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn times(number: u32) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
