//! What can be asked of the cluster: one file per command, each a pure decision over a [`Draft`].
//!
//! A command's `decide` reads the draft, and either refuses without having changed anything or
//! changes the draft and says what to answer. It does no I/O, and may be asked more than once: the journal commits
//! what was decided only on the latest committed state, so a decision is right when the batch commits.

mod announce;
mod deregister;
mod heartbeat;
mod once;
mod policy;
mod precondition;
mod register;

pub use announce::AnnounceSilent;
pub use deregister::Deregister;
pub use heartbeat::{Beat, HeartbeatAccepted, Inventory, RecordHeartbeat, RecordHeartbeats, SetAside, VmReport};
pub use once::{
    ANSWERS_ARE_KEPT_FOR_HOURS, ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES, Answer, Once, Tell, Told,
    heartbeat_fingerprint,
};
pub use policy::{PolicySet, SetPolicy};
pub use precondition::{Precondition, Seen};
pub use register::{Register, RegistrationAccepted};

use super::draft::Draft;
use crate::error::Result;

/// Something that may change the cluster.
pub trait Command: Send + 'static {
    /// What to tell whoever asked, once it is committed.
    type Reply: Send + 'static;

    /// How many rows it may write at most, so that a batch does not grow beyond what one commit can take.
    fn rows(&self) -> usize {
        1
    }

    /// The key by which its client can send it again: the journal then looks up whether it was answered before.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Refuses, or does it. Called again on a fresh draft if the batch has to be repeated.
    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply>;
}
