//! What can be asked of the cluster: one file per command, each a pure decision over a [`Draft`].
//!
//! A command's `decide` reads the draft, and either refuses without having changed anything or
//! changes the draft and says what to answer. It does no I/O, and may be asked more than once: the journal commits
//! what was decided only on the latest committed state, so a decision is right when the batch commits.

mod announce;
mod correct;
mod deregister;
mod forget;
mod heartbeat;
mod once;
mod policy;
mod precondition;
mod register;

pub use announce::AnnounceSilent;
pub use correct::CorrectTimes;
pub use deregister::Deregister;
pub use forget::ForgetPurged;
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
use crate::cluster::{Snapshot, Worker, WorkerVms};
use crate::error::{Error, Result};

/// Something that may change the cluster.
pub trait Command: Send + 'static {
    /// What to tell whoever asked, once it is committed.
    type Reply: Send + 'static;

    /// How many rows it may write at most, entries of the change log included, if the cluster is as it was last known to be:
    /// so that a batch does not grow beyond what one commit can take.
    fn rows(&self, known: &Snapshot) -> usize;

    /// The key by which its client can send it again: the journal then looks up whether it was answered before.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Refuses, or does it. Called again on a fresh draft if the batch has to be repeated.
    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply>;
}

/// How many VMs there are on a worker, as far as is known.
fn vms_on<'a>(known: &'a Snapshot, worker_id: &str) -> Option<&'a WorkerVms> {
    known.find_worker(worker_id).map(|worker| &worker.usage.vms)
}

/// Refuses what is said of another life of a worker's process than the present one. The number alone does not tell lives
/// apart when the database was set back to an earlier state: the same may have been handed out to another process before.
fn check_life(worker: &Worker, given: u64, boot_id: Option<&str>) -> Result<()> {
    let (id, current, boots) = (worker.id.as_str(), worker.life.incarnation, &worker.life.boots);
    match given.cmp(&current) {
        Ordering::Less => Err(Error::Superseded { id: id.to_owned(), given, current }),
        Ordering::Greater => {
            // Whoever says no boot id is nobody in particular, and not the one that is over.
            let over = boot_id.and_then(|said| boots.find_over(Some(said)));
            let unknown = || Error::UnknownIncarnation { id: id.to_owned(), given, current };
            Err(over.map_or_else(unknown, |boot_id| boot_is_over(id, &boot_id, current)))
        }
        Ordering::Equal => match boot_id {
            Some(said) if boots.boot_id.as_deref() != Some(said) => {
                Err(Error::AnotherProcess { id: id.to_owned(), incarnation: current, boot_id: said.to_owned() })
            }
            Some(_) | None => Ok(()),
        },
    }
}

/// Why a start of a worker's process that is over is refused: the same whether it registers or beats, so that nobody is told
/// to register again only to be refused then.
fn boot_is_over(id: &str, boot_id: &str, current: u64) -> Error {
    Error::BootIsOver { id: id.to_owned(), boot_id: boot_id.to_owned(), current }
}
