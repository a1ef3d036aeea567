//! The watch of drains: their progress, for clients that wait for it.
//!
//! It works as the other [watches](super::watch) do. A message is sent when it would show something else than the one
//! before, which heartbeats alone do not cause. A drain that has ended, or has left the filter, is told once more.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use futures_util::stream::{self, Stream};
use tokio::time::Interval;

use super::Resolvers;
use super::watch::{check_period, ticks_every};
use crate::auth::{Action, Caller};
use crate::clock::Timestamp;
use crate::cluster::{Change, Cursor, DrainFilter, DrainView, View, Worker, WorkerId, WorkerView};
use crate::error::Result;
use crate::journal::{ChangeReceiver, Closed, Lagged};

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
        let period = period.map(check_period).transpose()?;
        let permit = self.authorize(caller, Action::Read)?;
        let feed = self.journal.with(permit).subscribe();
        let reading = self.present();
        let watch = DrainWatch {
            resolvers: self.clone(),
            feed,
            filter,
            up_to: reading.view().snapshot.cursor(),
            seen: reading.view().now,
            due: reading.view().snapshot.draining_workers().map(|worker| worker.id.clone()).collect(),
            last_sent: None,
            gathered: BTreeSet::new(),
            followed: BTreeMap::new(),
            ticks: period.map(ticks_every),
            no_silence_during: self.no_silence_during(),
        };
        let progress = stream::unfold(Box::new(watch), |mut watch| async move {
            watch.next().await.map(|progress| (Ok(progress), watch))
        });
        Ok(self.while_accepted(caller.principal(), progress))
    }
}

struct DrainWatch {
    resolvers: Resolvers,
    feed: ChangeReceiver,
    filter: DrainFilter,
    /// The cursor of the last change that was taken.
    up_to: Cursor,
    /// The latest moment of which the reader may have been shown the cluster.
    seen: Timestamp,
    /// Workers to look at now.
    due: BTreeSet<WorkerId>,
    /// The worker of the last message: the next one by id has its turn.
    last_sent: Option<WorkerId>,
    /// Workers to look at at the next tick.
    gathered: BTreeSet<WorkerId>,
    /// What the reader was sent last, by worker.
    followed: BTreeMap<WorkerId, Followed>,
    ticks: Option<Interval>,
    /// In which time no worker becomes offline, and no drain overdue, without a commit, as far as that was known at its
    /// start. A deadline that was set since is not in it: that it has passed is told by the commit that announces it.
    no_silence_during: Range<Timestamp>,
}

/// What the reader was sent last of a worker.
struct Followed {
    worker: Arc<Worker>,
    /// What the message showed.
    shown: u64,
}

impl DrainWatch {
    async fn next(&mut self) -> Option<DrainProgress> {
        loop {
            // What has come by the feed meanwhile is taken first: a slow reader gets fewer messages, with the latest
            // state.
            loop {
                match self.feed.try_recv() {
                    Some(Ok(change)) => self.take(&change),
                    Some(Err(Lagged)) => self.look_at_all(),
                    None => break,
                }
            }
            while let Some(id) = self.next_due() {
                let view = self.resolvers.latest(self.seen);
                if let Some(progress) = self.progress_of(&id, &view) {
                    return Some(progress);
                }
            }
            let tick = async {
                match &mut self.ticks {
                    Some(ticks) => ticks.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = self.feed.recv() => match heard {
                    Ok(Ok(change)) => self.take(&change),
                    Ok(Err(Lagged)) => self.look_at_all(),
                    Err(Closed) => return None,
                },
                _ = tick => self.due.append(&mut self.gathered),
                () = self.resolvers.clock.left(self.no_silence_during.clone()) => {
                    self.no_silence_during = self.resolvers.no_silence_during();
                    self.seen = self.seen.max(self.no_silence_during.start);
                    self.look_at_all();
                }
            }
        }
    }

    /// The message about a worker, if there is something new to tell.
    fn progress_of(&mut self, id: &WorkerId, view: &Arc<View>) -> Option<DrainProgress> {
        let worker = view.find_worker(id.as_str());
        let drain = worker.as_ref().and_then(WorkerView::last_drain);
        let followed = self.followed.get(id);
        let number = |worker: &Worker| worker.drain.as_ref().map(|drain| drain.number);
        let is_another = followed.is_some_and(|followed| {
            drain.as_ref().is_none_or(|drain| number(&followed.worker) != Some(drain.drain.number))
        });
        if is_another {
            // It has ended, and the worker was drained again since, or purged: it is told as it was sent last.
            if drain.is_some() {
                self.due.insert(id.clone());
            }
            let Followed { worker, .. } = self.followed.remove(id)?;
            let drain = WorkerView { worker, view: view.clone() }.last_drain()?;
            return Some(DrainProgress { drain, is_last: true });
        }
        let drain = drain?;
        if !drain.drain.stands() || !self.filter.matches(&drain) {
            return self.followed.remove(id).map(|_| DrainProgress { drain, is_last: true });
        }
        let shown = shown(&drain);
        if followed.is_some_and(|followed| followed.shown == shown) {
            return None;
        }
        self.followed.insert(id.clone(), Followed { worker: drain.worker.worker.clone(), shown });
        Some(DrainProgress { drain, is_last: false })
    }

    fn next_due(&mut self) -> Option<WorkerId> {
        let last_sent = self.last_sent.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.due.range::<WorkerId, _>((last_sent, Bound::Unbounded)).next();
        let id = next.or_else(|| self.due.first())?.clone();
        self.due.remove(&id);
        self.last_sent = Some(id.clone());
        Some(id)
    }

    fn take(&mut self, change: &Change) {
        if change.starts_over {
            self.up_to = change.cursor();
            return self.look_at_all();
        }
        if change.revision <= self.up_to.revision {
            return;
        }
        self.up_to = change.cursor();
        let snapshot = self.resolvers.journal.for_server().snapshot();
        let drains =
            |id: &WorkerId| snapshot.find_worker(id.as_str()).is_some_and(|worker| worker.standing_drain().is_some());
        let changed: Vec<_> =
            change.workers.iter().filter(|id| self.followed.contains_key(*id) || drains(id)).cloned().collect();
        self.waiting().extend(changed);
        if change.removed > 0 {
            let gone = self.followed.keys().filter(|id| snapshot.find_worker(id.as_str()).is_none());
            let gone: Vec<_> = gone.cloned().collect();
            self.waiting().extend(gone);
        }
    }

    /// Looks at all drains again: the feed has lost changes, or some show something else by the clock alone.
    fn look_at_all(&mut self) {
        let snapshot = self.resolvers.journal.for_server().snapshot();
        let all = snapshot.draining_workers().map(|worker| &worker.id).chain(self.followed.keys());
        let all: Vec<_> = all.cloned().collect();
        self.waiting().extend(all);
    }

    fn waiting(&mut self) -> &mut BTreeSet<WorkerId> {
        if self.ticks.is_some() { &mut self.gathered } else { &mut self.due }
    }
}

/// A hash of everything that a message shows of a drain.
fn shown(drain: &DrainView) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    drain.hash_shown(&mut hasher);
    hasher.finish()
}
