//! The server records signs of life of workers whose heartbeats it had no room for.

use std::time::Duration;

use super::{Command, Lane, events_if_back, mark_alive, mark_alive_earlier};
use crate::cluster::{LivenessCutoff, Snapshot, Worker};
use crate::error::Result;
use crate::journal::batch::Batch;
use crate::journal::liveness_signs::NotedSign;

/// Records when workers were last heard, and nothing else of what they said.
#[derive(Clone, Debug)]
pub struct RecordLivenessSigns {
    /// The signs.
    pub signs: Vec<NotedSign>,
    /// For how long a worker may be silent: a worker whose sign is older is not announced back online.
    pub offline_after: Duration,
}

impl Command for RecordLivenessSigns {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, known: &Snapshot) -> usize {
        // The worker's, and if it was announced offline, an event.
        self.signs.iter().map(|sign| 1 + events_if_back(known, sign.worker_id.as_str())).sum()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let cutoff = LivenessCutoff::of(batch.at, self.offline_after);
        for sign in &self.signs {
            let known = batch.find_worker(sign.worker_id.as_str()).filter(|worker| sign.is_news_of(worker)).cloned();
            let Some(known) = known else { continue };
            let mut worker = Worker::clone(&known);
            worker.revision = batch.revision;
            // If the clock was set back since, the time of the sign may lie in the future.
            worker.usage.last_seen = sign.at.min(batch.at).max(known.usage.last_seen);
            worker.usage.late_sequence = worker.usage.late_sequence.max(sign.late_sequence);
            let column_groups = if cutoff.includes(worker.usage.last_seen) {
                mark_alive(&known, &mut worker, batch)
            } else {
                // The sign waited for so long to be recorded that the worker may have died since.
                mark_alive_earlier(&known, &worker)
            };
            batch.put_worker(worker, column_groups);
        }
        Ok(())
    }
}
