//! Who was alive although nothing of what they said was taken: workers whose heartbeats were refused for load, or given
//! up while they waited.
//!
//! To shed a heartbeat is to answer it, so its worker was heard. The [sweeper](crate::liveness) commits when, and
//! nothing else of it: so workers stay online, for all servers, while there is no room for what they say; and those that
//! are silent are told from them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::commands::{Heard, SignOfLife};
use crate::clock::Clock;
use crate::cluster::{Snapshot, WorkerId};

/// Workers that were heard so. Only registered ones are kept, so there are no more of them than workers.
#[derive(Debug)]
pub(super) struct SignsOfLife {
    clock: Clock,
    heard: Mutex<HashMap<WorkerId, Heard>>,
}

impl SignsOfLife {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, heard: Mutex::default() }
    }

    /// Notes that somebody said so now, if that is the present process of a worker.
    pub(super) fn note(&self, known: &Snapshot, sign: &SignOfLife<'_>) {
        let Some(worker) = known.find_worker(sign.worker_id).filter(|worker| sign.is_of(worker)) else { return };
        let (worker_id, incarnation, at) = (worker.id.clone(), worker.life.incarnation, self.clock.now());
        self.lock().insert(worker_id.clone(), Heard { worker_id, incarnation, at });
    }

    /// Those that were heard in this way later than in any other.
    pub(super) fn newer_than(&self, known: &Snapshot) -> Vec<Heard> {
        let mut heard = self.lock();
        heard.retain(|id, heard| {
            let worker = known.find_worker(id.as_str());
            worker.is_some_and(|worker| heard.is_news_of(worker))
        });
        heard.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkerId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
