//! Following the cluster instead of polling it.
//!
//! Each watch pulls: it works only while somebody reads from it, and what it holds meanwhile is
//! bounded by the size of the cluster, not by the speed of its changes. A reader that fell too far
//! behind the feed is caught up from the change log or from the latest snapshot, never cut off in
//! silence.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::events::{EventView, read_cursor};
use super::{Reading, Resolvers};
use crate::clock::Timestamp;
use crate::cluster::{
    Change, ClusterStats, Cursor, Event, EventFilter, EventKind, View, WorkerFilter, WorkerId, WorkerView,
};
use crate::error::{Error, Result};

/// How long a stream of events may be quiet before it is told that it has missed nothing.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(15);

/// How many events are read from the log at once.
const LOG_PAGE: u64 = 500;

/// How often statistics are sent, unless told otherwise.
const STATS_PERIOD: Duration = Duration::from_secs(1);

/// The shortest time between two messages that can be asked for.
const SHORTEST_PERIOD: Duration = Duration::from_millis(50);

/// A worker as it is, and how many of its beats this message stands for.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The worker.
    pub worker: WorkerView,
    /// When it was last heard from.
    pub received_at: Timestamp,
    /// How many beats were folded into this message.
    pub coalesced: u32,
}

impl Resolvers {
    /// Every event after a cursor, in order, none missing, none twice; from now on without one. Where what there was to
    /// replay has been told, and now and then when nothing happens, comes a [`Synced`](EventKind::Synced).
    pub fn watch_events(
        &self,
        after: Option<&str>,
        filter: EventFilter,
    ) -> Result<impl Stream<Item = Result<EventView>> + Send + use<>> {
        // First the feed, then the snapshot: what is committed in between comes by the feed.
        let feed = self.journal.subscribe();
        let reading = self.read();
        let now = Cursor::after_revision(reading.view.snapshot.database.clone(), reading.revision());
        let after = after.map(read_cursor).transpose()?;
        let is_replaying = after.is_some();
        let mut pending = VecDeque::new();
        let cursor = after.unwrap_or_else(|| {
            // A cursor to resume from, before anything has happened.
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
            latest: reading.view,
            bookmarks: every(BOOKMARK_PERIOD),
        };
        Ok(stream::unfold(Some(watch), |watch| async move {
            let mut watch = watch?;
            let event = watch.next().await?;
            // A failure is the last word: trying again without a pause would only repeat it. The reader comes back
            // with its cursor.
            let rest = event.is_ok().then_some(watch);
            Some((event, rest))
        }))
    }

    /// The present state of every worker that matches, then each again whenever it is heard from:
    /// latest wins, at most one message per worker in `period`.
    pub fn watch_heartbeats(
        &self,
        filter: WorkerFilter,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = Heartbeat> + Send + use<>> {
        let period = period.map(check_period).transpose()?;
        let feed = self.journal.subscribe();
        let reading = self.read();
        let due = reading.list_workers(&filter).into_iter().map(|worker| (worker.worker.id.clone(), 1)).collect();
        let watch = HeartbeatWatch {
            resolvers: self.clone(),
            feed,
            filter,
            latest: reading.view,
            due,
            told: None,
            gathering: BTreeMap::new(),
            ticks: period.map(every),
        };
        Ok(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|beat| (beat, watch)) }))
    }

    /// Statistics now, and again when they changed, at most once in `period`.
    pub fn watch_cluster_stats(
        &self,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = ClusterStats> + Send + use<>> {
        let period = check_period(period.unwrap_or(STATS_PERIOD))?;
        let feed = self.journal.subscribe();
        let latest = self.read().view;
        let watch = StatsWatch { resolvers: self.clone(), feed, ticks: every(period), latest, told: None };
        Ok(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|stats| (stats, watch)) }))
    }
}

struct EventWatch {
    resolvers: Resolvers,
    feed: broadcast::Receiver<Arc<Change>>,
    filter: EventFilter,
    /// Everything up to here has been told, or did not match.
    cursor: Cursor,
    pending: VecDeque<Arc<Event>>,
    /// Everything up to here will have been told once nothing is pending.
    up_to: Cursor,
    /// Whether the log has to be read before the feed makes sense again.
    is_behind: bool,
    /// Whether the reader waits to hear that everything after its own cursor has been told.
    is_replaying: bool,
    /// The cluster that events are shown with: as of the last change that was taken.
    latest: Arc<View>,
    bookmarks: Interval,
}

impl EventWatch {
    async fn next(&mut self) -> Option<Result<EventView>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.cursor = event.cursor.clone();
                self.bookmarks.reset();
                return Some(Ok(EventView { event, view: self.latest.clone() }));
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
                received = self.feed.recv() => match received {
                    Ok(change) => self.take(&change),
                    Err(RecvError::Lagged(_)) => self.is_behind = true,
                    Err(RecvError::Closed) => return None,
                },
                _ = self.bookmarks.tick() => self.bookmark("Nothing was missed"),
            }
        }
    }

    /// Tells a cursor to resume from.
    fn bookmark(&mut self, message: &str) {
        let reading = self.resolvers.read();
        self.pending.push_back(notice(EventKind::Synced, &self.cursor, &reading, message));
    }

    fn take(&mut self, change: &Change) {
        let up_to = Cursor::after_revision(self.cursor.database.clone(), change.snapshot.revision);
        if !up_to.is_after(&self.cursor) {
            return;
        }
        match &change.events {
            Some(events) => {
                let wanted = |event: &&Arc<Event>| event.cursor.is_after(&self.cursor) && self.filter.matches(event);
                self.pending.extend(events.iter().filter(wanted).cloned());
                self.up_to = up_to;
                self.latest = self.resolvers.view_of(change);
            }
            None => self.is_behind = true,
        }
    }

    /// Reads the next part of the log. Whatever the feed holds of it is then known already.
    async fn read_log(&mut self) -> Result<()> {
        let journal = &self.resolvers.journal;
        // A cursor from another server may be ahead of this one, but not for long.
        let snapshot = if self.cursor.database == journal.snapshot().database {
            journal.snapshot_at_least(self.cursor.revision).await
        } else {
            None
        };
        let Some(snapshot) = snapshot else {
            let start = journal.log().start().await?;
            self.resync(start, "That cursor is not of this database as it is now");
            return Ok(());
        };
        let page = journal.log().events_after(&self.cursor, &self.filter, LOG_PAGE).await?;
        if !page.follows(&self.cursor) {
            self.resync(page.start, "Events after that cursor have left the change log");
            return Ok(());
        }
        self.is_behind = page.events.len() as u64 == LOG_PAGE;
        if !self.is_behind {
            self.up_to = Cursor::after_revision(self.cursor.database.clone(), snapshot.revision);
        }
        self.pending.extend(page.events);
        self.latest = self.resolvers.read().view;
        Ok(())
    }

    /// Tells that the stream has a gap, and goes on from the present.
    fn resync(&mut self, oldest: Cursor, what: &str) {
        let reading = self.resolvers.read();
        let now = Cursor::after_revision(reading.view.snapshot.database.clone(), reading.revision());
        let message = format!("{what}: read the present state, then go on from this event's cursor");
        let mut event = notice(EventKind::Resync, &now, &reading, &message);
        Arc::make_mut(&mut event).oldest_cursor = Some(oldest);
        self.pending.push_back(event);
        self.latest = reading.view;
        self.up_to = now.clone();
        self.cursor = now;
        self.is_behind = false;
        self.is_replaying = false;
    }
}

/// An event that is only told, not in the log.
fn notice(kind: EventKind, cursor: &Cursor, reading: &Reading, message: &str) -> Arc<Event> {
    Arc::new(Event {
        cursor: cursor.clone(),
        at: reading.view.now,
        kind,
        worker_id: None,
        vm_id: None,
        actor: Some("server".into()),
        reason: None,
        message: message.into(),
        oldest_cursor: None,
    })
}

struct HeartbeatWatch {
    resolvers: Resolvers,
    feed: broadcast::Receiver<Arc<Change>>,
    filter: WorkerFilter,
    /// The cluster as of the last change that was taken.
    latest: Arc<View>,
    /// Workers to tell of now, and how many beats each message stands for.
    due: BTreeMap<WorkerId, u32>,
    /// Whom the last message was about: who comes after it has its turn, or whoever comes early in
    /// the order and beats often would be the only one that a slow reader hears of.
    told: Option<WorkerId>,
    /// Workers to tell of at the next tick.
    gathering: BTreeMap<WorkerId, u32>,
    ticks: Option<Interval>,
}

impl HeartbeatWatch {
    async fn next(&mut self) -> Option<Heartbeat> {
        loop {
            // What has come in meanwhile is folded in first: a slow reader gets the latest, and less.
            loop {
                match self.feed.try_recv() {
                    Ok(change) => self.take(&change),
                    Err(TryRecvError::Lagged(_)) => self.take_all(),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            while let Some((id, coalesced)) = self.next_due() {
                let worker = self.latest.find_worker(id.as_str());
                if let Some(worker) = worker.filter(|worker| self.filter.matches(worker)) {
                    let received_at = worker.worker.usage.last_seen;
                    return Some(Heartbeat { worker, received_at, coalesced: coalesced.max(1) });
                }
            }
            let tick = async {
                match &mut self.ticks {
                    Some(ticks) => ticks.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.feed.recv() => match received {
                    Ok(change) => self.take(&change),
                    Err(RecvError::Lagged(_)) => self.take_all(),
                    Err(RecvError::Closed) => return None,
                },
                _ = tick => self.due.append(&mut self.gathering),
            }
        }
    }

    fn next_due(&mut self) -> Option<(WorkerId, u32)> {
        let told = self.told.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.due.range::<WorkerId, _>((told, Bound::Unbounded)).next();
        let id = next.or_else(|| self.due.first_key_value())?.0.clone();
        self.told = Some(id.clone());
        self.due.remove_entry(&id)
    }

    fn take(&mut self, change: &Change) {
        if change.snapshot.revision > self.latest.snapshot.revision {
            self.latest = self.resolvers.view_of(change);
            self.note(change.workers.iter().cloned());
        }
    }

    /// The feed has lost changes: whoever changed since is in the snapshot. How often cannot be told,
    /// except for what the feed still holds, which is taken and counted next.
    fn take_all(&mut self) {
        let known = self.latest.snapshot.revision;
        let snapshot = self.resolvers.journal.snapshot();
        for worker in snapshot.workers().filter(|worker| worker.revision > known) {
            self.waiting().entry(worker.id.clone()).or_default();
        }
    }

    fn note(&mut self, workers: impl IntoIterator<Item = WorkerId>) {
        for id in workers {
            *self.waiting().entry(id).or_default() += 1;
        }
    }

    fn waiting(&mut self) -> &mut BTreeMap<WorkerId, u32> {
        if self.ticks.is_some() { &mut self.gathering } else { &mut self.due }
    }
}

struct StatsWatch {
    resolvers: Resolvers,
    feed: broadcast::Receiver<Arc<Change>>,
    ticks: Interval,
    latest: Arc<View>,
    told: Option<ClusterStats>,
}

impl StatsWatch {
    async fn next(&mut self) -> Option<ClusterStats> {
        loop {
            let stats = self.resolvers.stats_of(&self.latest);
            if self.told.as_ref().is_none_or(|told| !tells_the_same(told, &stats)) {
                self.told = Some(stats.clone());
                self.ticks.reset();
                return Some(stats);
            }
            // Not before the period is over, and only if anything has been committed since.
            self.ticks.tick().await;
            match self.feed.recv().await {
                Ok(change) => self.latest = self.resolvers.view_of(&change),
                Err(RecvError::Lagged(_)) => self.latest = self.resolvers.read().view,
                Err(RecvError::Closed) => return None,
            }
            loop {
                match self.feed.try_recv() {
                    Ok(change) => self.latest = self.resolvers.view_of(&change),
                    Err(TryRecvError::Lagged(_)) => self.latest = self.resolvers.read().view,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
        }
    }
}

/// Whether two statistics differ in nothing but the revision they were read at.
fn tells_the_same(one: &ClusterStats, other: &ClusterStats) -> bool {
    ClusterStats { revision: 0, ..one.clone() } == ClusterStats { revision: 0, ..other.clone() }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn check_period(period: Duration) -> Result<Duration> {
    if period < SHORTEST_PERIOD || period > Duration::from_secs(3_600) {
        return Err(Error::invalid("every", "must be from 50ms to 1h"));
    }
    Ok(period)
}
