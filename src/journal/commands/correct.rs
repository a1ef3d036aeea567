//! The server finds times that have not come yet.

use std::sync::Arc;

use super::{Command, Lane};
use crate::clock::Timestamp;
use crate::cluster::{Snapshot, Worker, WorkerId};
use crate::error::Result;
use crate::journal::draft::{Draft, Part};

/// Brings times that lie in the future back to the present. They were written by a clock that was ahead and has been set
/// back since, and cannot be right: a worker that was last seen in an hour would be healthy for an hour, dead or alive.
#[derive(Clone, Debug)]
pub struct CorrectTimes {
    /// Workers that seem to have such times to whoever asks.
    pub candidates: Vec<WorkerId>,
}

impl Command for CorrectTimes {
    /// How many workers had some.
    type Reply = usize;

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        // Each kind of time has a writer of its own.
        4 * self.candidates.len()
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let mut corrected = 0;
        for id in &self.candidates {
            let Some(known) = draft.find_worker(id.as_str()).cloned() else { continue };
            let mut worker = Worker::clone(&known);
            let parts = correct(&mut worker, draft.at);
            if !parts.is_empty() {
                worker.revision = draft.revision;
                draft.put(worker, &parts);
                corrected += 1;
            }
        }
        Ok(corrected)
    }
}

/// Says what has to be written.
fn correct(worker: &mut Worker, now: Timestamp) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut correct = |time: &mut Timestamp, part| {
        if *time > now {
            *time = now;
            parts.push(part);
        }
    };
    correct(&mut worker.usage.last_seen, Part::Heartbeat);
    correct(&mut worker.life.started_at, Part::Registration);
    if let Some(deregistered_at) = &mut worker.life.deregistered_at {
        correct(deregistered_at, Part::Goodbye);
    }
    let began = worker.drain.as_ref().and_then(|drain| drain.started_at);
    if let (Some(mut began), Some(drain)) = (began.filter(|began| *began > now), &mut worker.drain) {
        correct(&mut began, Part::Operator);
        Arc::make_mut(drain).started_at = Some(began);
    }
    parts
}
