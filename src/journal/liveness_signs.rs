//! Signs of life: that a worker was alive, although nothing else that it said was taken.
//!
//! A heartbeat that is refused for load, or given up while it waits in the queue, still proves that its worker is
//! alive. [`LivenessSigns`] notes when. The [sweeper](crate::liveness_sweeper) has that time committed, and nothing else of the
//! heartbeat. So workers stay online for all servers while there is no room for what they say, and only those that are
//! silent go offline. What a heartbeat that is taken changes is [decided](super::commands) elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::incarnation::check_incarnation;
use crate::clock::{Clock, Timestamp};
use crate::cluster::{LivenessCutoff, Snapshot, Worker, WorkerId};

/// Which process of a worker speaks in a command.
#[derive(Clone, Copy, Debug)]
pub struct LivenessSign<'a> {
    /// The worker that it says it is.
    pub worker_id: &'a str,
    /// The incarnation of a heartbeat; none in a registration, which asks for one.
    pub incarnation: Option<u64>,
    /// The boot id of the process, if it gives one.
    pub boot_id: Option<&'a str>,
    /// The sequence number of a heartbeat in its incarnation.
    pub sequence: Option<u64>,
}

impl LivenessSign<'_> {
    /// Whether the process is the present one of the worker, or one that is about to take its place: the same judgement
    /// as if the command were taken. The sequence number of a late heartbeat is a sign of life once.
    pub fn is_of(&self, worker: &Worker) -> bool {
        if worker.life.deregistered_at.is_some() {
            return false;
        }
        let Some(incarnation) = self.incarnation else {
            return !self.boot_id.is_some_and(|said| worker.life.boots.is_over(said, None));
        };
        let was_said = |this| worker.usage.late_sequence.is_some_and(|last| this <= last);
        !self.late_sequence(worker).is_some_and(was_said)
            && check_incarnation(worker, incarnation, self.boot_id).is_ok()
    }

    /// Its sequence number, if that is not above the last one that counted.
    pub fn late_sequence(&self, worker: &Worker) -> Option<u64> {
        self.sequence.filter(|this| worker.usage.sequence.is_some_and(|last| *this <= last))
    }
}

/// The last sign of life of a worker that was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedSign {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its incarnation at that time.
    pub incarnation: u64,
    /// The last sequence number that was noted and came late: it is no sign of life again.
    pub late_sequence: Option<u64>,
    /// When it was noted.
    pub at: Timestamp,
}

impl NotedSign {
    /// Whether the sign is later than the worker's `last_seen`, and the worker still has the same incarnation and has
    /// not left.
    pub fn is_news_of(&self, worker: &Worker) -> bool {
        worker.life.incarnation == self.incarnation
            && worker.life.deregistered_at.is_none()
            && worker.usage.last_seen < self.at
    }
}

/// The signs that this server has noted. Only registered workers are kept, so there are no more of them than workers.
#[derive(Debug)]
pub struct LivenessSigns {
    clock: Clock,
    noted: Mutex<HashMap<WorkerId, NotedSign>>,
}

impl LivenessSigns {
    /// No signs yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, noted: Mutex::default() }
    }

    /// The time by which signs are noted.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Notes a sign of this time, if it is of the present process of a worker.
    pub(super) fn note(&self, known: &Snapshot, sign: &LivenessSign<'_>, at: Timestamp) {
        let Some(worker) = known.find_worker(sign.worker_id).filter(|worker| sign.is_of(worker)) else { return };
        let (incarnation, late_sequence) = (worker.life.incarnation, sign.late_sequence(worker));
        let mut noted = self.lock();
        match noted.get_mut(&worker.id).filter(|before| before.incarnation == incarnation) {
            // A late sequence number is a sign of life once, as if its heartbeat were taken.
            Some(before) if late_sequence.is_some_and(|this| before.late_sequence.is_some_and(|last| this <= last)) => {
            }
            Some(before) => {
                before.late_sequence = late_sequence.or(before.late_sequence);
                before.at = before.at.max(at);
            }
            None => {
                let worker_id = worker.id.clone();
                noted.insert(worker_id.clone(), NotedSign { worker_id, incarnation, late_sequence, at });
            }
        }
    }

    /// Signs that are later than their workers' `last_seen`. The others are dropped.
    pub(super) fn newer_than(&self, known: &Snapshot) -> Vec<NotedSign> {
        let now = self.clock.now();
        let mut noted = self.lock();
        noted.retain(|id, sign| {
            // If the clock was set back since, the sign may lie in the future. Left there, it would be later than any
            // `last_seen`, and keep a worker alive that is dead.
            sign.at = sign.at.min(now);
            let worker = known.find_worker(id.as_str());
            worker.is_some_and(|worker| sign.is_news_of(worker))
        });
        noted.values().cloned().collect()
    }

    /// Whether there is a sign of the present process of a worker that is recent enough to count.
    pub(super) fn was_heard(&self, worker: &Worker, cutoff: LivenessCutoff) -> bool {
        let noted = self.lock();
        noted.get(&worker.id).is_some_and(|sign| sign.is_news_of(worker) && cutoff.includes(sign.at))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, NotedSign>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::*;
    use crate::cluster::{Changes, Identity, Labels, Life};

    /// A cluster of one worker, whose last heartbeat that counted has this number, and was at this second.
    pub(in crate::journal) fn cluster(sequence: u64, late_sequence: Option<u64>, last_seen: i64) -> Snapshot {
        let text = Arc::<str>::from("");
        let identity = Identity {
            hostname: text.clone(),
            address: text.clone(),
            zone: text,
            labels: Labels::default(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 1,
            max_vms: 1,
        };
        let life = Life {
            incarnation: 1,
            boots: Arc::default(),
            since_revision: 1,
            started_at: Timestamp::UNIX_EPOCH,
            deregistered_at: None,
        };
        let mut worker = Worker::first_life(WorkerId::parse("w1").unwrap(), identity, life);
        worker.usage.sequence = Some(sequence);
        worker.usage.late_sequence = late_sequence;
        worker.usage.last_seen = second(last_seen);
        let workers = vec![Arc::new(worker)];
        let changes = Changes { workers, ..Changes::default() };
        Snapshot::empty("test".into()).apply(changes, 1)
    }

    fn second(number: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(number)
    }

    fn sign(sequence: u64) -> LivenessSign<'static> {
        LivenessSign { worker_id: "w1", incarnation: Some(1), boot_id: None, sequence: Some(sequence) }
    }

    #[test]
    fn a_sign_of_a_time_that_has_not_come_ages_from_now_on() {
        let clock = Clock::manual(second(3_600));
        let (signs, known) = (LivenessSigns::new(clock.clone()), cluster(1, None, 10));
        signs.note(&known, &sign(2), clock.now());
        clock.set(second(100));
        for passed in [0, 5, 61] {
            clock.advance(Duration::from_secs(passed));
            let heard: Vec<_> = signs.newer_than(&known).into_iter().map(|heard| heard.at).collect();
            assert_eq!(heard, [second(100)], "after {passed} s");
        }
    }

    #[test]
    fn a_number_that_comes_late_is_a_sign_of_life_once() {
        let clock = Clock::manual(second(100));
        let last_heard = |known: &Snapshot, numbers: &[u64]| {
            let signs = LivenessSigns::new(clock.clone());
            for (at, number) in (20..).zip(numbers) {
                signs.note(known, &sign(*number), second(at));
            }
            signs.newer_than(known).first().map(|heard| (heard.at.timestamp(), heard.late_sequence))
        };
        let fresh = cluster(5, None, 10);
        assert_eq!(last_heard(&fresh, &[6, 6]), Some((21, None)), "nothing of it was taken yet");
        assert_eq!(last_heard(&fresh, &[5]), Some((20, Some(5))), "the answer to the last one may be lost");
        assert_eq!(last_heard(&fresh, &[2]), Some((20, Some(2))), "a process that has lost count is alive");
        assert_eq!(last_heard(&fresh, &[2, 2]), Some((20, Some(2))), "a copy is not");
        assert_eq!(last_heard(&fresh, &[2, 3, 3]), Some((21, Some(3))));
        let told = cluster(5, Some(3), 10);
        assert_eq!(last_heard(&told, &[3]), None, "it was said before");
        assert_eq!(last_heard(&told, &[4, 4]), Some((20, Some(4))));
    }
}
