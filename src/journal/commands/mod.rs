//! What can be asked of the cluster: one file per command, each a pure decision over a [`Draft`].
//!
//! A command's `decide` reads the draft, and either refuses without having changed anything or
//! changes the draft and says what to answer. It does no I/O, and may be asked more than once: the journal commits
//! what was decided only on the latest committed state, so a decision is right when the batch commits.

mod announce;
mod correct;
mod deregister;
mod heartbeat;
mod once;
mod policy;
mod precondition;
mod register;

pub use announce::AnnounceSilent;
pub use correct::CorrectTimes;
pub use deregister::Deregister;
pub use heartbeat::{Beat, HeartbeatAccepted, Inventory, RecordHeartbeat, RecordHeartbeats, SetAside, VmReport};
pub use once::{
    ANSWERS_ARE_KEPT_FOR_HOURS, ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES, Answer, Once, Tell, Told,
    heartbeat_fingerprint,
};
pub use policy::{PolicySet, SetPolicy};
pub use precondition::{Precondition, Seen, SeenAt};
pub use register::{Register, RegistrationAccepted};

use std::cmp::Ordering;

use super::draft::Draft;
use crate::cluster::Worker;
use crate::error::{Error, Result};

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

/// Refuses what is said of another life of a worker's process than the present one. The number alone does not tell lives
/// apart when the database was set back to an earlier state: the same may have been handed out to another process before.
fn check_life(worker: &Worker, given: u64, boot_id: Option<&str>) -> Result<()> {
    let (id, current) = (|| worker.id.to_string(), worker.life.incarnation);
    match given.cmp(&current) {
        Ordering::Less => Err(Error::Superseded { id: id(), given, current }),
        Ordering::Greater => Err(Error::UnknownIncarnation { id: id(), given, current }),
        Ordering::Equal => match boot_id {
            Some(said) if !worker.life.boots.is_of_this_life(said, worker.life.left_at.is_some()) => {
                Err(Error::AnotherProcess { id: id(), incarnation: current, boot_id: said.to_owned() })
            }
            Some(_) | None => Ok(()),
        },
    }
}
