//! The server tells when it heard workers whose heartbeats it had no room for.

use std::time::Duration;

use super::{Command, Lane, check_life, entries_if_back, heard, heard_long_ago};
use crate::clock::Timestamp;
use crate::cluster::{LivenessCutoff, Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::draft::Draft;

/// Who speaks in a command: a process that says which life of a worker it is.
#[derive(Clone, Copy, Debug)]
pub struct SignOfLife<'a> {
    /// Who it says it is.
    pub worker_id: &'a str,
    /// The incarnation of a heartbeat; none in a registration, which asks for one.
    pub incarnation: Option<u64>,
    /// What the process called its start, if it says so.
    pub boot_id: Option<&'a str>,
    /// Number of a heartbeat in its life.
    pub sequence: Option<u64>,
}

impl SignOfLife<'_> {
    /// Whether it is the present process of the worker that speaks, or one that is about to take its place: as it would be
    /// judged if there were room for what it says. The number of a heartbeat that comes late is a sign of life once.
    pub fn is_of(&self, worker: &Worker) -> bool {
        if worker.life.deregistered_at.is_some() {
            return false;
        }
        let Some(incarnation) = self.incarnation else {
            return !self.boot_id.is_some_and(|said| worker.life.boots.is_over(said, None));
        };
        let was_said = |this| worker.usage.late_sequence.is_some_and(|last| this <= last);
        !self.late_sequence(worker).is_some_and(was_said) && check_life(worker, incarnation, self.boot_id).is_ok()
    }

    /// Its number, if that is not above the last one that counted.
    pub fn late_sequence(&self, worker: &Worker) -> Option<u64> {
        self.sequence.filter(|this| worker.usage.sequence.is_some_and(|last| *this <= last))
    }
}

/// A worker that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The worker.
    pub worker_id: WorkerId,
    /// The life of it that was the present one.
    pub incarnation: u64,
    /// The last number by which it was heard and which came late: it is no sign of life again.
    pub late_sequence: Option<u64>,
    /// When.
    pub at: Timestamp,
}

impl Heard {
    /// Whether the worker was not heard later, and has not begun another life or left since.
    pub fn is_news_of(&self, worker: &Worker) -> bool {
        worker.life.incarnation == self.incarnation && worker.life.deregistered_at.is_none() && worker.usage.last_seen < self.at
    }
}

/// Notes that workers were heard, and takes nothing else of what they said.
#[derive(Clone, Debug)]
pub struct RecordSigns {
    /// Which, and when.
    pub heard: Vec<Heard>,
    /// For how long a worker may be silent: who was heard longer ago is not back.
    pub offline_after: Duration,
}

impl Command for RecordSigns {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // The worker's, and if it was announced offline, an entry of the change log.
        self.heard.iter().map(|heard| 1 + entries_if_back(known, heard.worker_id.as_str())).sum()
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let cutoff = LivenessCutoff::of(draft.at, self.offline_after);
        for sign in &self.heard {
            let known = draft.find_worker(sign.worker_id.as_str()).filter(|worker| sign.is_news_of(worker)).cloned();
            let Some(known) = known else { continue };
            let mut worker = Worker::clone(&known);
            worker.revision = draft.revision;
            // By a clock that was set back since, it may have been in the future.
            worker.usage.last_seen = sign.at.min(draft.at).max(known.usage.last_seen);
            worker.usage.late_sequence = worker.usage.late_sequence.max(sign.late_sequence);
            let parts = if cutoff.includes(worker.usage.last_seen) {
                heard(&known, &mut worker, draft)
            } else {
                // It waited for so long to be told that the worker may have died since.
                heard_long_ago(&known, &worker)
            };
            draft.put(worker, parts);
        }
        Ok(())
    }
}
