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
mod signs;

pub use announce::AnnounceSilent;
pub use correct::CorrectTimes;
pub use deregister::Deregister;
pub use forget::ForgetPurged;
pub use heartbeat::{Beat, HeartbeatAccepted, Inventory, RecordHeartbeat, RecordHeartbeats, RejectedVm, VmReport};
pub use once::{
    ANSWERS_ARE_KEPT_FOR_HOURS, ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES, Once, Tell, Told, heartbeat_fingerprint,
};
pub use policy::{PolicySet, SetPolicy};
pub use precondition::{Precondition, Seen, SeenAt};
pub use register::{Register, RegistrationAccepted};
pub use signs::{Heard, RecordSigns, SignOfLife};

use std::cmp::Ordering;
use std::sync::Arc;

use super::draft::{Draft, Part};
use crate::cluster::{Availability, Snapshot, Worker, WorkerVms};
use crate::error::{Error, Result};

/// Something that may change the cluster.
pub trait Command: Send + 'static {
    /// What to tell whoever asked, once it is committed.
    type Reply: Send + 'static;

    /// With whose commands it waits.
    fn lane(&self) -> Lane;

    /// How many rows it may write at most, entries of the change log included, if the cluster is as it was last known to be:
    /// so that a batch does not grow beyond what one commit can take.
    fn rows(&self, known: &Snapshot) -> usize;

    /// The key by which its client can send it again: the journal then looks up whether it was answered before.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Whether it is heartbeats and nothing else, which have a shorter way to the database if they bring no news.
    fn is_heartbeat(&self) -> bool {
        false
    }

    /// Whether it announces workers as silent: then it has to know who speaks in what waits in other lanes.
    fn announces_silence(&self) -> bool {
        false
    }

    /// Tells who speaks in it, for the case that there is no room for what they say.
    fn signs_of_life(&self, _hear: &mut dyn FnMut(SignOfLife<'_>)) {}

    /// Refuses, or does it. Called again on a fresh draft if the batch has to be repeated.
    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply>;
}

/// Whose commands wait together. Those of one lane are carried out in the order in which they came; lanes do not wait for
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What operators ask for.
    Operators,
    /// What the server itself finds out: announcements, corrections, signs of life, tombstones.
    Server,
    /// Registrations, heartbeats and goodbyes of workers.
    Workers,
}

impl Lane {
    /// All of them, in the order in which a batch takes them.
    pub const ALL: [Self; 3] = [Self::Operators, Self::Server, Self::Workers];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// The VMs of a worker, as far as is known.
fn vms_on<'a>(known: &'a Snapshot, worker_id: &str) -> Option<&'a WorkerVms> {
    known.find_worker(worker_id).map(|worker| &worker.usage.vms)
}

/// How many entries of the change log tell that a worker is back, if it is heard: one if it was announced offline.
fn entries_if_back(known: &Snapshot, worker_id: &str) -> usize {
    let is_offline = |worker: &Arc<Worker>| worker.last_announced_availability == Availability::Offline;
    usize::from(known.find_worker(worker_id).is_some_and(is_offline))
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

/// Notes that a worker is heard, and says what has to be written for it.
fn heard(before: &Worker, after: &mut Worker, draft: &mut Draft<'_>) -> &'static [Part] {
    let is_back = draft.announce_if_back(after);
    match (is_back, before.usage.late_sequence != after.usage.late_sequence) {
        (false, false) => &[Part::Heartbeat],
        (true, false) => &[Part::Heartbeat, Part::Announcement],
        (false, true) => &[Part::Heartbeat, Part::LateHeartbeat],
        (true, true) => &[Part::Heartbeat, Part::Announcement, Part::LateHeartbeat],
    }
}

/// What has to be written of a worker that was heard, but too long ago to be announced back.
fn heard_long_ago(before: &Worker, after: &Worker) -> &'static [Part] {
    if before.usage.late_sequence == after.usage.late_sequence {
        &[Part::Heartbeat]
    } else {
        &[Part::Heartbeat, Part::LateHeartbeat]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::cluster::{Identity, Vm, VmStatus, WorkerId};
    use crate::journal::SignsOfLife;

    /// A cluster on which commands are carried out one by one, without a database.
    struct Carried {
        snapshot: Snapshot,
        at: Timestamp,
    }

    impl Carried {
        /// What is written for a command, which is no more than it counts as.
        fn out<C: Command>(&mut self, command: &C) -> usize {
            let (before, revision) = (self.snapshot.clone(), self.snapshot.revision + 1);
            self.at += TimeDelta::seconds(61);
            let mut draft = Draft::on(&before, revision, self.at, 0, BTreeMap::new());
            assert!(command.decide(&mut draft).is_ok());
            let (changes, events) = draft.into_changes();
            let (mut rows, purged) = (events.len() + changes.workers.len(), changes.purged.clone());
            let vms_of = |id: &WorkerId| vms_on(&before, id.as_str()).cloned().unwrap_or_default();
            for worker in &changes.workers {
                let is_gone = |vm: &&Arc<Vm>| worker.vm(vm.id.as_str()).is_none();
                rows += worker.usage.vms.iter().filter(|vm| vm.revision == revision).count();
                rows += vms_of(&worker.id).iter().filter(is_gone).count();
            }
            rows += purged.iter().map(|tombstone| 2 + vms_of(&tombstone.worker_id).len()).sum::<usize>();
            let counted = command.rows(&before);
            assert!(rows <= counted, "{rows} rows, and not {counted}");
            self.snapshot = before.apply(changes, revision);
            rows
        }
    }

    fn register(start: &str) -> Register {
        let text = Arc::<str>::from("");
        let identity = Identity {
            hostname: text.clone(),
            address: text.clone(),
            zone: text,
            labels: BTreeMap::new(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 1,
            max_vms: 10,
        };
        Register {
            id: WorkerId::parse("w1").unwrap(),
            identity,
            boot_id: Some(start.into()),
            host_boot_id: Some(start.into()),
            last_incarnation: None,
            condition: Precondition::default(),
        }
    }

    fn beat(incarnation: u64, vms: &[&str]) -> RecordHeartbeat {
        let report = |id: &&str| VmReport {
            id: (*id).to_owned(),
            name: (*id).into(),
            status: VmStatus::Running,
            vcpus: 1,
            memory_mb: 1,
        };
        let beat = Beat {
            incarnation,
            boot_id: None,
            sequence: None,
            used_cpu_cores: None,
            used_memory_mb: None,
            used_disk_gb: None,
            inventory: Inventory::Whole(vms.iter().map(report).collect()),
        };
        RecordHeartbeat { worker_id: "w1".to_owned(), beat, offline_after: Duration::from_secs(60) }
    }

    #[test]
    fn commands_count_all_that_they_write() {
        let mut carried = Carried { snapshot: Snapshot::empty("test".into()), at: Timestamp::UNIX_EPOCH };
        let offline_after = Duration::from_secs(60);
        let silence = AnnounceSilent {
            candidates: vec![WorkerId::parse("w1").unwrap()],
            offline_after,
            signs: Arc::new(SignsOfLife::new(Clock::manual(Timestamp::UNIX_EPOCH))),
        };
        let heard = |at| RecordSigns {
            heard: vec![Heard { worker_id: WorkerId::parse("w1").unwrap(), incarnation: 1, late_sequence: None, at }],
            offline_after,
        };
        let removal = Deregister {
            worker_id: "w1".to_owned(),
            incarnation: None,
            boot_id: None,
            host_boot_id: None,
            purge: true,
            force: true,
            condition: Precondition::default(),
        };
        assert_eq!(carried.out(&register("a")), 2);
        assert_eq!(carried.out(&beat(1, &["x", "y"])), 5);
        assert_eq!(carried.out(&silence), 2);
        assert_eq!(carried.out(&beat(1, &["z"])), 8, "it is back, and all its VMs are others");
        carried.out(&silence);
        assert_eq!(heard(carried.at).rows(&carried.snapshot), 2);
        assert_eq!(carried.out(&heard(carried.at)), 1, "that was over a time-out ago: it is not back");
        assert_eq!(carried.out(&heard(carried.at + TimeDelta::seconds(1))), 2, "it is back");
        assert_eq!(heard(carried.at).rows(&carried.snapshot), 1);
        carried.out(&silence);
        assert_eq!(carried.out(&register("b")), 5, "it is back, and its VM went with its host");
        carried.out(&beat(2, &["x", "y", "z"]));
        assert_eq!(carried.out(&removal), 9);
    }
}
