//! Watches: streams of events, of heartbeats and updates of workers, and of statistics, for clients that follow the
//! cluster instead of polling it. What those of workers have in common is in [`worker_watch`](super::worker_watch).
//!
//! A watch pulls from the journal's feed, and works only while its reader reads. In between it holds little, whatever
//! the cluster does: the ids of workers with news, or some hundred events; never a snapshot. A reader that is too slow
//! for the feed is caught up from the change log or from the latest snapshot; it is never skipped without being
//! told. A gap is told by a `resync` event, whose words are here, and not by an `Error`.
//! How many readers share a watch, and how messages are written, is for the protocols to say.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use futures_util::stream::{self, Stream};
use tokio::time::Interval;

use super::events::{EventView, parse_cursor};
use super::worker_watch::{Told, Topic, check_period, ticks_every};
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::clock::Timestamp;
use crate::cluster::{
    Actor, Change, ClusterStats, Cursor, Event, EventFilter, EventKind, Snapshot, View, Worker, WorkerFilter, WorkerId,
    WorkerView,
};
use crate::error::Result;
use crate::journal::{ChangeReceiver, Closed, Lagged, LogRange};
use crate::timing::{BOOKMARK_INTERVAL, STATS_INTERVAL};

/// How many events are read from the log, or taken from the feed, at once.
const PAGE: usize = 500;

/// A message about the heartbeats of one worker.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The worker as it is now.
    pub worker: WorkerView,
    /// When its last heartbeat arrived.
    pub received_at: Timestamp,
    /// How many heartbeats the message stands for.
    pub coalesced: u32,
    /// Whether the worker has left the filter, or was purged: no message about it follows, unless it comes back.
    pub is_last: bool,
}

impl Heartbeat {
    fn of(worker: WorkerView, coalesced: u32, is_last: bool) -> Self {
        Self { received_at: worker.worker.usage.last_seen, worker, coalesced: coalesced.max(1), is_last }
    }

    /// Whether it shows a worker that there is; if not, it shows the worker as its reader was told before.
    pub fn is_current(&self) -> bool {
        !self.is_last || is_registered(&self.worker)
    }
}

/// A message about a worker that shows something else than before.
#[derive(Clone, Debug)]
pub struct WorkerUpdate {
    /// The worker as it is now.
    pub worker: WorkerView,
    /// Whether the worker has left the filter, or was purged: no message about it follows, unless it comes back.
    pub is_last: bool,
}

impl WorkerUpdate {
    /// Whether it shows a worker that there is; if not, it shows the worker as its reader was told before.
    pub fn is_current(&self) -> bool {
        !self.is_last || is_registered(&self.worker)
    }
}

fn is_registered(worker: &WorkerView) -> bool {
    worker.view.snapshot.find_worker(worker.worker.id.as_str()).is_some()
}

impl Resolvers {
    /// All events after a cursor, in order, none missing and none twice; without a cursor, those from now on. A
    /// [`Synced`](EventKind::Synced) event follows when the past has been replayed, and when nothing has happened for a
    /// while.
    pub fn watch_events(
        &self,
        caller: &Caller,
        after: Option<&str>,
        filter: EventFilter,
    ) -> Result<impl Stream<Item = Result<EventView>> + Send + use<>> {
        // The feed is subscribed before the snapshot is read: what is committed in between comes by the feed.
        let permit = self.authorize(caller, Action::Read)?;
        let feed = self.journal.with(permit).subscribe();
        let reading = self.present();
        let now = reading.view.snapshot.cursor();
        let after = after.map(|text| parse_cursor("after", text)).transpose()?;
        let is_replaying = after.is_some();
        let mut pending = VecDeque::new();
        let cursor = after.unwrap_or_else(|| {
            // Gives the reader a cursor to resume from before anything has happened.
            pending.push_back(notice(EventKind::Synced, &now, &reading, "Following from here"));
            now
        });
        let watch = EventWatch {
            resolvers: self.clone(),
            feed,
            filter,
            up_to: cursor.clone(),
            cursor,
            pending,
            is_behind: is_replaying,
            is_replaying,
            seen: reading.view.now,
            bookmarks: ticks_every(BOOKMARK_INTERVAL),
        };
        // In a box, as the other watches are: `unfold` moves it with every message.
        let events = stream::unfold(Some(Box::new(watch)), |watch| async move {
            let mut watch = watch?;
            let event = watch.next().await?;
            // An error ends the stream, since trying again at once would only repeat it. The reader comes back with its
            // cursor.
            let rest = event.is_ok().then_some(watch);
            Some((event, rest))
        });
        Ok(self.while_accepted(caller.principal(), events))
    }

    /// Every worker that matches, once at the beginning, and then again after its heartbeats: always in its latest
    /// state, and at most once in `period`. A worker that has left the filter, or was purged, is told once more.
    pub fn watch_heartbeats(
        &self,
        caller: &Caller,
        filter: WorkerFilter,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = Result<Heartbeat>> + Send + use<>> {
        self.watch_workers(caller, Heartbeats { filter, followed: BTreeMap::new() }, period)
    }

    /// Every worker that matches, once at the beginning, and then again when it shows something else than it was told
    /// last, apart from when it was heard: always in its latest state, and at most once in `period`. A worker that has
    /// left the filter, or was purged, is told once more.
    pub fn watch_updates(
        &self,
        caller: &Caller,
        filter: WorkerFilter,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = Result<WorkerUpdate>> + Send + use<>> {
        self.watch_workers(caller, Updates { filter, followed: BTreeMap::new() }, period)
    }

    /// Statistics, once at the beginning, and again when they have changed, at most once in `period`.
    pub fn watch_cluster_stats(
        &self,
        caller: &Caller,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = Result<ClusterStats>> + Send + use<>> {
        let period = check_period(period.unwrap_or(STATS_INTERVAL))?;
        let permit = self.authorize(caller, Action::Read)?;
        let feed = self.journal.with(permit).subscribe();
        let watch = StatsWatch {
            resolvers: self.clone(),
            feed,
            ticks: ticks_every(period),
            seen: self.clock.now(),
            last_sent: None,
        };
        let stats =
            stream::unfold(
                Box::new(watch),
                |mut watch| async move { watch.next().await.map(|stats| (Ok(stats), watch)) },
            );
        Ok(self.while_accepted(caller.principal(), stats))
    }
}

struct EventWatch {
    resolvers: Resolvers,
    feed: ChangeReceiver,
    filter: EventFilter,
    /// Everything up to here has been sent, or did not match.
    cursor: Cursor,
    pending: VecDeque<Arc<Event>>,
    /// Everything up to here will have been sent when nothing is pending any more.
    up_to: Cursor,
    /// Whether the log has to be read, because the feed has lost what comes next.
    is_behind: bool,
    /// Whether the past is being replayed, so that a `Synced` event has to follow it.
    is_replaying: bool,
    /// The latest moment of which the reader may have been shown the cluster: it is shown no earlier one.
    seen: Timestamp,
    bookmarks: Interval,
}

impl EventWatch {
    async fn next(&mut self) -> Option<Result<EventView>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.cursor = event.cursor.clone();
                self.bookmarks.reset();
                return Some(Ok(EventView { event, view: self.resolvers.latest(self.seen) }));
            }
            if self.is_behind {
                if let Err(error) = self.read_log().await {
                    return Some(Err(error));
                }
                continue;
            }
            if self.up_to.is_after(&self.cursor) {
                self.cursor = self.up_to.clone();
            }
            if std::mem::take(&mut self.is_replaying) {
                self.bookmark("Everything up to here has been told");
                continue;
            }
            tokio::select! {
                heard = self.feed.recv() => match heard {
                    Ok(Ok(change)) if change.starts_over => self.start_over().await,
                    Ok(Ok(change)) => {
                        if let Err(error) = self.take(&change).await {
                            return Some(Err(error));
                        }
                    }
                    Ok(Err(Lagged)) => self.is_behind = true,
                    Err(Closed) => return None,
                },
                _ = self.bookmarks.tick() => self.bookmark("Nothing was missed"),
            }
        }
    }

    /// Sends a cursor to resume from.
    fn bookmark(&mut self, message: &str) {
        let reading = self.resolvers.present();
        self.pending.push_back(notice(EventKind::Synced, &self.cursor, &reading, message));
    }

    async fn take(&mut self, change: &Change) -> Result<()> {
        let up_to = change.cursor();
        if !up_to.is_after(&self.cursor) {
            return Ok(());
        }
        let Some(events) = &change.events else { return self.take_from_log(change).await };
        let new = &events[events.partition_point(|event| !event.cursor.is_after(&self.cursor))..];
        let mut wanted = new.iter().filter(|event| self.filter.matches(event));
        self.pending.extend(wanted.by_ref().take(PAGE).cloned());
        match self.pending.back() {
            // The rest is taken when these have been sent: a reader that stalls shall not keep all of them alive.
            Some(last) if wanted.next().is_some() => {
                self.up_to = last.cursor.clone();
                self.feed.rewind_one();
            }
            _ => self.up_to = up_to,
        }
        Ok(())
    }

    /// Takes the events of a change that another server has committed, from the log. All watches are at the same place
    /// then, and share one reading of the log.
    async fn take_from_log(&mut self, change: &Change) -> Result<()> {
        let begin = Cursor::after_revision(change.epoch.clone(), change.after);
        if begin.is_after(&self.cursor) {
            self.is_behind = true;
            return Ok(());
        }
        // If the change has more than one page, after the events that were sent; else after the change before, which is
        // the same cursor for all readers.
        let after = if self.cursor.is_after(&begin) { self.cursor.clone() } else { begin };
        let (page, is_all) =
            self.resolvers.journal.for_server().event_log().shared_events(&after, change.revision).await?;
        if !page.follows(&after) {
            // Events after the cursor have left the log: `read_log` tells the reader so.
            self.is_behind = true;
            return Ok(());
        }
        self.pending.extend(page.events.iter().filter(|event| self.filter.matches(event)).cloned());
        match page.events.last() {
            Some(last) if !is_all => {
                self.up_to = last.cursor.clone();
                self.feed.rewind_one();
            }
            _ => self.up_to = change.cursor(),
        }
        Ok(())
    }

    /// The database was set back: what was sent may not be in it.
    async fn start_over(&mut self) {
        match self.resolvers.journal.for_server().event_log().range(&self.filter).await {
            Ok(LogRange { start, .. }) => self.resync(start, "The database was set back to an earlier state"),
            // The log is read again, and then tells the same.
            Err(_) => self.is_behind = true,
        }
    }

    /// Reads the next part of the log. What the feed still has of that part is skipped later.
    async fn read_log(&mut self) -> Result<()> {
        let journal = self.resolvers.journal.for_server();
        // A cursor from another server may be ahead of this server, but not for long: if the database has its revision
        // and this server has not, the reader is refused, comes back, and loses nothing.
        let Some(snapshot) = journal.snapshot_at_cursor(&self.cursor).await? else {
            let LogRange { start, .. } = journal.event_log().range(&self.filter).await?;
            self.resync(start, "That cursor is not of this database as it is now");
            return Ok(());
        };
        let mut page = journal.event_log().events_after(&self.cursor, &self.filter, PAGE as u64).await?;
        if !page.follows(&self.cursor) {
            self.resync(page.start, "Events after that cursor have left the change log");
            return Ok(());
        }
        self.is_behind = page.events.len() == PAGE;
        // The log may have more than the snapshot of this server: that will come by the feed.
        let seen = page.events.partition_point(|event| event.cursor.revision <= snapshot.revision);
        self.is_behind &= seen == page.events.len();
        page.events.truncate(seen);
        if !self.is_behind {
            self.up_to = snapshot.cursor();
        }
        self.pending.extend(page.events);
        self.seen = self.resolvers.clock.now();
        Ok(())
    }

    /// Sends a `Resync` event, which says that the stream has a gap, and goes on from the present.
    fn resync(&mut self, oldest: Cursor, what: &str) {
        self.resolvers.metrics.count_resync();
        let reading = self.resolvers.present();
        let now = reading.view.snapshot.cursor();
        let message = format!("{what}: read the present state, then go on from this event's cursor");
        let mut event = notice(EventKind::Resync, &now, &reading, &message);
        Arc::make_mut(&mut event).oldest_cursor = Some(oldest);
        self.pending.push_back(event);
        self.seen = reading.view.now;
        self.up_to = now.clone();
        self.cursor = now;
        self.is_behind = false;
        self.is_replaying = false;
    }
}

/// A notice: an event for one reader that is not in the log.
fn notice(kind: EventKind, cursor: &Cursor, reading: &Reading, message: &str) -> Arc<Event> {
    Arc::new(Event {
        cursor: cursor.clone(),
        at: reading.view.now,
        kind,
        worker_id: None,
        vm_id: None,
        reservation_id: None,
        vm_name: None,
        vm_status: None,
        previous_status: None,
        zone: None,
        actor: Some(Actor::Server),
        audit: None,
        reason: None,
        message: message.into(),
        oldest_cursor: None,
    })
}

/// Whether a worker with this id may match, now or at any other time. It is asked of every worker that changes, for every
/// reader: thousands of readers, each of one worker, must not look at each worker that sends a heartbeat.
fn may_match(filter: &WorkerFilter, id: &WorkerId) -> bool {
    filter.ids.as_ref().is_none_or(|ids| ids.iter().any(|wanted| wanted == id.as_str()))
}

/// The topic of heartbeats: each is told, and whatever else changes a worker.
struct Heartbeats {
    filter: WorkerFilter,
    /// The workers of which the reader was told that they match, each as it was told last: that is what is left to show
    /// of one that is purged.
    followed: BTreeMap<WorkerId, Arc<Worker>>,
}

impl Topic for Heartbeats {
    type Message = Heartbeat;

    fn at_first(&self, reading: &Reading) -> Vec<WorkerId> {
        matching_ids(reading, &self.filter)
    }

    fn is_about(&self, id: &WorkerId, _: &Snapshot) -> bool {
        may_match(&self.filter, id)
    }

    fn changed_since(&self, revision: u64, snapshot: &Snapshot) -> Vec<WorkerId> {
        changed_workers(revision, snapshot)
    }

    fn changed_by_clock(&self, now: &Arc<View>, silent: &[WorkerId]) -> Vec<WorkerId> {
        // One that was heard after they were looked for has a message of its own for that.
        let is_silent = |id: &WorkerId| now.find_worker(id.as_str()).is_some_and(|worker| !worker.is_healthy());
        silent.iter().filter(|id| may_match(&self.filter, id) && is_silent(id)).cloned().collect()
    }

    fn followed(&self) -> impl Iterator<Item = &WorkerId> {
        self.followed.keys()
    }

    fn tell(&mut self, id: &WorkerId, changes: u32, view: &Arc<View>) -> Told<Heartbeat> {
        let heartbeat = match view.find_worker(id.as_str()) {
            Some(worker) if self.filter.matches(&worker) => {
                self.followed.insert(id.clone(), worker.worker.clone());
                Some(Heartbeat::of(worker, changes, false))
            }
            Some(worker) => self.followed.remove(id).map(|_| Heartbeat::of(worker, changes, true)),
            None => self.followed.remove(id).map(|worker| {
                let worker = WorkerView { worker, view: view.clone() };
                Heartbeat::of(worker, changes, true)
            }),
        };
        heartbeat.into()
    }
}

/// The topic of updates: what a worker shows is told when it is something else than the reader knows.
struct Updates {
    filter: WorkerFilter,
    /// The workers of which the reader was told that they match, each as it was told last.
    followed: BTreeMap<WorkerId, ShownWorker>,
}

/// A worker as a reader was told last.
struct ShownWorker {
    worker: Arc<Worker>,
    /// A hash of what the message showed.
    shown: u64,
}

impl Topic for Updates {
    type Message = WorkerUpdate;

    fn at_first(&self, reading: &Reading) -> Vec<WorkerId> {
        matching_ids(reading, &self.filter)
    }

    fn is_about(&self, id: &WorkerId, _: &Snapshot) -> bool {
        may_match(&self.filter, id)
    }

    fn changed_since(&self, revision: u64, snapshot: &Snapshot) -> Vec<WorkerId> {
        changed_workers(revision, snapshot)
    }

    fn changed_by_clock(&self, now: &Arc<View>, silent: &[WorkerId]) -> Vec<WorkerId> {
        // A drain shows that its deadline has passed, too.
        let draining = now.snapshot.draining_workers().map(|worker| &worker.id);
        draining.chain(silent).filter(|id| may_match(&self.filter, id)).cloned().collect()
    }

    fn followed(&self) -> impl Iterator<Item = &WorkerId> {
        self.followed.keys()
    }

    fn tell(&mut self, id: &WorkerId, _: u32, view: &Arc<View>) -> Told<WorkerUpdate> {
        let last = |worker| WorkerUpdate { worker, is_last: true };
        let update = match view.find_worker(id.as_str()) {
            Some(worker) if self.filter.matches(&worker) => {
                let mut hasher = FixedState::with_seed(0).build_hasher();
                worker.hash_shown(&mut hasher);
                let shown = hasher.finish();
                let before = self.followed.insert(id.clone(), ShownWorker { worker: worker.worker.clone(), shown });
                let is_news = before.is_none_or(|before| before.shown != shown);
                is_news.then_some(WorkerUpdate { worker, is_last: false })
            }
            Some(worker) => self.followed.remove(id).map(|_| last(worker)),
            None => {
                let before = self.followed.remove(id);
                before.map(|before| last(WorkerView { worker: before.worker, view: view.clone() }))
            }
        };
        update.into()
    }
}

fn matching_ids(reading: &Reading, filter: &WorkerFilter) -> Vec<WorkerId> {
    reading.list_workers(filter).into_iter().map(|worker| worker.worker.id.clone()).collect()
}

fn changed_workers(revision: u64, snapshot: &Snapshot) -> Vec<WorkerId> {
    let changed = snapshot.workers().filter(|worker| worker.revision > revision);
    changed.map(|worker| worker.id.clone()).collect()
}

struct StatsWatch {
    resolvers: Resolvers,
    feed: ChangeReceiver,
    ticks: Interval,
    /// The latest moment of which the reader may have been shown the cluster.
    seen: Timestamp,
    last_sent: Option<ClusterStats>,
}

impl StatsWatch {
    async fn next(&mut self) -> Option<ClusterStats> {
        loop {
            let silence = self.resolvers.no_silence_during();
            self.seen = self.seen.max(silence.start);
            let stats = self.resolvers.stats_of(&self.resolvers.latest(self.seen));
            if self.last_sent.as_ref().is_none_or(|last_sent| !equal_but_for_revision(last_sent, &stats)) {
                self.last_sent = Some(stats.clone());
                self.ticks.reset();
                return Some(stats);
            }
            // Computes them again when the period is over and something was committed, or a worker may have become
            // offline.
            self.ticks.tick().await;
            tokio::select! {
                heard = self.feed.recv() => if let Err(Closed) = heard {
                    return None;
                },
                () = self.resolvers.clock.left(silence) => {}
            }
            while self.feed.try_recv().is_some() {}
        }
    }
}

/// Whether two statistics are equal in everything but the revision that they were read at.
fn equal_but_for_revision(one: &ClusterStats, other: &ClusterStats) -> bool {
    ClusterStats { revision: 0, ..one.clone() } == ClusterStats { revision: 0, ..other.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_of_some_workers_is_about_no_others() {
        let snapshot = Snapshot::empty("a".into());
        for (ids, id, expected) in [
            (None, "w1", true),
            (Some(vec!["w1", "w2"]), "w2", true),
            (Some(vec!["w1", "w2"]), "w3", false),
            (Some(Vec::new()), "w1", false),
        ] {
            let ids = ids.clone().map(|ids| ids.into_iter().map(str::to_owned).collect());
            let filter = WorkerFilter { ids, ..WorkerFilter::default() };
            let heartbeats = Heartbeats { filter: filter.clone(), followed: BTreeMap::new() };
            let updates = Updates { filter, followed: BTreeMap::new() };
            let id = WorkerId::parse(id).unwrap();
            assert_eq!(heartbeats.is_about(&id, &snapshot), expected, "{id}");
            assert_eq!(updates.is_about(&id, &snapshot), expected, "{id}");
        }
    }
}
