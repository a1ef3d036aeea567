//! Who was alive although nothing of what they said was taken: workers whose heartbeats were refused for load, or given
//! up while they waited.
//!
//! To shed a heartbeat is to answer it, so its worker was heard. The [sweeper](crate::liveness) commits when, and
//! nothing else of it: so workers stay online, for all servers, while there is no room for what they say; and those that
//! are silent are told from them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::commands::{Heard, SignOfLife};
use crate::clock::{Clock, Timestamp};
use crate::cluster::{LivenessCutoff, Snapshot, Worker, WorkerId};

/// Workers that were heard so. Only registered ones are kept, so there are no more of them than workers.
#[derive(Debug)]
pub struct SignsOfLife {
    clock: Clock,
    heard: Mutex<HashMap<WorkerId, Heard>>,
}

impl SignsOfLife {
    /// Nobody was heard yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, heard: Mutex::default() }
    }

    /// The time by which signs are noted.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Notes that somebody said so at this time, if that is the present process of a worker.
    pub(super) fn note(&self, known: &Snapshot, sign: &SignOfLife<'_>, at: Timestamp) {
        let Some(worker) = known.find_worker(sign.worker_id).filter(|worker| sign.is_of(worker)) else { return };
        let (incarnation, late_sequence) = (worker.life.incarnation, sign.late_sequence(worker));
        let mut heard = self.lock();
        let before = heard.get(&worker.id).filter(|before| before.incarnation == incarnation);
        let last_late = before.and_then(|before| before.late_sequence);
        if late_sequence.is_some_and(|this| last_late.is_some_and(|last| this <= last)) {
            // A number that comes late is a sign of life once, as if it were taken.
            return;
        }
        let at = before.map_or(at, |before| before.at.max(at));
        let (worker_id, late_sequence) = (worker.id.clone(), late_sequence.or(last_late));
        heard.insert(worker_id.clone(), Heard { worker_id, incarnation, late_sequence, at });
    }

    /// Those that were heard in this way later than in any other.
    pub(super) fn newer_than(&self, known: &Snapshot) -> Vec<Heard> {
        let now = self.clock.now();
        let mut heard = self.lock();
        heard.retain(|id, heard| {
            // By a clock that was set back since, it may be in the future. It must not stay there: that would be news each
            // time, of somebody who is dead.
            heard.at = heard.at.min(now);
            let worker = known.find_worker(id.as_str());
            worker.is_some_and(|worker| heard.is_news_of(worker))
        });
        heard.values().cloned().collect()
    }

    /// Whether the present process of a worker was heard in this way within the time that counts.
    pub(super) fn was_heard(&self, worker: &Worker, cutoff: LivenessCutoff) -> bool {
        let heard = self.lock();
        heard.get(&worker.id).is_some_and(|heard| heard.is_news_of(worker) && cutoff.includes(heard.at))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::*;
    use crate::cluster::{Changes, Identity, Life};

    /// A cluster of one worker, whose last heartbeat that counted has this number, and was at this second.
    pub(in crate::journal) fn cluster(sequence: u64, late_sequence: Option<u64>, last_seen: i64) -> Snapshot {
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
        let changes = Changes { workers, purged: Vec::new(), gone: Vec::new(), forgotten: Vec::new() };
        Snapshot::empty("test".into()).apply(changes, 1)
    }

    fn second(number: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(number)
    }

    fn sign(sequence: u64) -> SignOfLife<'static> {
        SignOfLife { worker_id: "w1", incarnation: Some(1), boot_id: None, sequence: Some(sequence) }
    }

    #[test]
    fn a_sign_of_a_time_that_has_not_come_ages_from_now_on() {
        let clock = Clock::manual(second(3_600));
        let (signs, known) = (SignsOfLife::new(clock.clone()), cluster(1, None, 10));
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
            let signs = SignsOfLife::new(clock.clone());
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
