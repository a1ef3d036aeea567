//! The server tells that workers fell silent.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Lane};
use crate::cluster::{Actor, Availability, EventKind, LivenessCutoff, Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::SignsOfLife;
use crate::journal::draft::{Draft, Part, Told};

/// Announces workers that look silent. Any server may ask for it; whether they are silent, and
/// whether nobody has said so yet, is decided here, on the latest state: so it is said once.
#[derive(Clone, Debug)]
pub struct AnnounceSilent {
    /// Workers that looked silent to whoever asks.
    pub candidates: Vec<WorkerId>,
    /// For how long a worker may be silent.
    pub offline_after: Duration,
    /// Who was heard in another way by the server that asks. It announces none of them: also who was heard since it asked,
    /// or speaks in what waits in another lane.
    pub signs: Arc<SignsOfLife>,
}

impl Command for AnnounceSilent {
    /// Those that were announced.
    type Reply = Vec<WorkerId>;

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn announces_silence(&self) -> bool {
        true
    }

    fn rows(&self, _: &Snapshot) -> usize {
        // Each worker that is announced is a row, and an entry of the change log.
        2 * self.candidates.len()
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let cutoff = LivenessCutoff::of(draft.at, self.offline_after);
        let mut last_announced_availability = Vec::new();
        for id in &self.candidates {
            let Some(known) = draft.find_worker(id.as_str()).cloned() else { continue };
            let is_silent = known.availability(cutoff) == Availability::Offline;
            if !is_silent || known.last_announced_availability == Availability::Offline || self.signs.was_heard(&known, cutoff) {
                continue;
            }
            let mut worker = Worker::clone(&known);
            worker.last_announced_availability = Availability::Offline;
            worker.revision = draft.revision;
            let message = format!("Worker {id} has not been heard from for over {} s", self.offline_after.as_secs());
            draft.tell(Actor::Server, EventKind::WorkerOffline, id, Told { message, ..Told::default() });
            draft.put(worker, &[Part::Announcement]);
            last_announced_availability.push(id.clone());
        }
        Ok(last_announced_availability)
    }
}
