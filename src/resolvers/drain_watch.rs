//! The watch of drains: their progress, for clients that wait for it.
//!
//! It works as the other [watches of workers](super::worker_watch) do. A message is sent when it would show something
//! else than the one before, which heartbeats alone do not cause. A drain that has ended, or has left the filter, is
//! told once more.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use futures_util::stream::Stream;

use super::worker_watch::{Told, Topic};
use super::{Reading, Resolvers};
use crate::auth::Caller;
use crate::cluster::{DrainFilter, DrainView, Snapshot, View, Worker, WorkerId, WorkerView};
use crate::error::Result;

/// A message about the drain of one worker.
#[derive(Clone, Debug)]
pub struct DrainProgress {
    /// The drain as it is now.
    pub drain: DrainView,
    /// Whether it has ended or left the filter, or its worker was purged: no message about it follows, unless it comes
    /// back.
    pub is_last: bool,
}

impl Resolvers {
    /// Every drain that stands and matches, once at the beginning, and again when it shows something else: always as it
    /// is then, and at most once in `period`.
    pub fn watch_drains(
        &self,
        caller: &Caller,
        filter: DrainFilter,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = Result<DrainProgress>> + Send + use<>> {
        self.watch_workers(caller, DrainTopic { filter, followed: BTreeMap::new() }, period)
    }
}

/// The topic of drains: what a drain shows is told when it is something else than the reader knows.
struct DrainTopic {
    filter: DrainFilter,
    /// What the reader was sent last, by worker.
    followed: BTreeMap<WorkerId, Followed>,
}

/// What the reader was sent last of a worker.
struct Followed {
    worker: Arc<Worker>,
    /// What the message showed.
    shown: u64,
}

impl DrainTopic {
    /// The workers whose drain stands, and those whose drain the reader was told of.
    fn all(&self, snapshot: &Snapshot) -> Vec<WorkerId> {
        let draining = snapshot.draining_workers().map(|worker| &worker.id);
        draining.chain(self.followed.keys()).cloned().collect()
    }
}

impl Topic for DrainTopic {
    type Message = DrainProgress;

    fn at_first(&self, reading: &Reading) -> Vec<WorkerId> {
        self.all(&reading.view().snapshot)
    }

    fn is_about(&self, id: &WorkerId, snapshot: &Snapshot) -> bool {
        let drains = || snapshot.find_worker(id.as_str()).is_some_and(|worker| worker.standing_drain().is_some());
        self.followed.contains_key(id) || drains()
    }

    fn changed_since(&self, _: u64, snapshot: &Snapshot) -> Vec<WorkerId> {
        self.all(snapshot)
    }

    fn changed_by_clock(&self, now: &Arc<View>, _: &[WorkerId]) -> Vec<WorkerId> {
        self.all(&now.snapshot)
    }

    fn followed(&self) -> impl Iterator<Item = &WorkerId> {
        self.followed.keys()
    }

    fn tell(&mut self, id: &WorkerId, _: u32, view: &Arc<View>) -> Told<DrainProgress> {
        let worker = view.find_worker(id.as_str());
        let drain = worker.as_ref().and_then(WorkerView::last_drain);
        let followed = self.followed.get(id);
        let number = |worker: &Worker| worker.drain.as_ref().map(|drain| drain.number);
        let is_another = followed.is_some_and(|followed| {
            drain.as_ref().is_none_or(|drain| number(&followed.worker) != Some(drain.drain.number))
        });
        if is_another {
            // It has ended, and the worker was drained again since, or purged: it is told as it was sent last.
            let before = self.followed.remove(id);
            let before =
                before.and_then(|Followed { worker, .. }| WorkerView { worker, view: view.clone() }.last_drain());
            let message = before.map(|drain| DrainProgress { drain, is_last: true });
            return Told { message, is_due_again: drain.is_some() };
        }
        let Some(drain) = drain else { return None.into() };
        if !drain.drain.stands() || !self.filter.matches(&drain) {
            return self.followed.remove(id).map(|_| DrainProgress { drain, is_last: true }).into();
        }
        let shown = shown(&drain);
        if followed.is_some_and(|followed| followed.shown == shown) {
            return None.into();
        }
        self.followed.insert(id.clone(), Followed { worker: drain.worker.worker.clone(), shown });
        Some(DrainProgress { drain, is_last: false }).into()
    }
}

/// A hash of everything that a message shows of a drain.
fn shown(drain: &DrainView) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    drain.hash_shown(&mut hasher);
    hasher.finish()
}
