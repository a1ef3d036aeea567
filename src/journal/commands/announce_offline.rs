//! The server announces workers that fell silent as offline.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane};
use crate::cluster::{Actor, Availability, EventKind, LivenessCutoff, Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::batch::{Batch, ColumnGroup};
use crate::journal::liveness_signs::LivenessSigns;

/// Announces workers that look silent. Any server may ask for it. Whether they are silent, and not announced yet, is
/// decided here, on the latest state: so each is announced once.
#[derive(Clone, Debug)]
pub struct AnnounceOffline {
    /// Workers that looked silent to the server that asks.
    pub candidates: Vec<WorkerId>,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
    /// The signs of life that the server has noted. It announces none of their workers, also if the sign was noted
    /// after it asked, or is in a command that waits in another lane.
    pub signs: Arc<LivenessSigns>,
}

impl Command for AnnounceOffline {
    /// Those that were announced.
    type Reply = Vec<WorkerId>;

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn announces_offline(&self) -> bool {
        true
    }

    fn rows(&self, _: &Snapshot) -> usize {
        // Each worker that is announced is a row and an event.
        2 * self.candidates.len()
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let cutoff = LivenessCutoff::of(batch.at, self.offline_after);
        let mut announced = Vec::new();
        for id in &self.candidates {
            let Some(known) = batch.find_worker(id.as_str()).cloned() else { continue };
            let is_silent = known.availability(cutoff) == Availability::Offline;
            if !is_silent
                || known.last_announced_availability == Availability::Offline
                || self.signs.was_heard(&known, cutoff)
            {
                continue;
            }
            let mut worker = Worker::clone(&known);
            worker.last_announced_availability = Availability::Offline;
            worker.revision = batch.revision;
            let message = format!("Worker {id} has not been heard from for over {} s", self.offline_after.as_secs());
            batch.record_event(Actor::Server, EventKind::WorkerOffline, id, message);
            batch.put_worker(worker, &[ColumnGroup::Announcement]);
            announced.push(id.clone());
        }
        Ok(announced)
    }
}
