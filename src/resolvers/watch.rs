//! Following the cluster instead of polling it.
//!
//! Each watch pulls: it works only while somebody reads from it. What it holds meanwhile is small,
//! whatever the cluster does: which workers there is something to tell of, or some hundred events;
//! never a snapshot. A reader that fell too far behind the feed is caught up from the change log or
//! from the latest snapshot, never cut off in silence.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::events::{EventView, read_cursor};
use super::{Reading, Resolvers};
use crate::clock::Timestamp;
use crate::cluster::{Change, ClusterStats, Cursor, Event, EventFilter, EventKind, WorkerFilter, WorkerId, WorkerView};
use crate::error::{Error, Result};
use crate::journal::{ChangeReceiver, Closed, Lagged, LogRange};

/// How long a stream of events may be quiet before it is told that it has missed nothing.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(15);

/// How many events are read from the log at once, or taken from the feed.
const PAGE: usize = 500;

/// How often statistics are sent, unless told otherwise.
const STATS_PERIOD: Duration = Duration::from_secs(1);

/// The shortest time between two messages that can be asked for.
const SHORTEST_PERIOD: Duration = Duration::from_millis(50);

/// A worker as it is, and how many of its heartbeats this message stands for.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The worker.
    pub worker: WorkerView,
    /// When it was last heard from.
    pub received_at: Timestamp,
    /// How many heartbeats were folded into this message.
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
        let now = reading.view.snapshot.cursor();
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
            seen: reading.view.now,
            bookmarks: every(BOOKMARK_PERIOD),
        };
        // In a box, as the watches below: it is moved with every message.
        Ok(stream::unfold(Some(Box::new(watch)), |watch| async move {
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
            up_to: reading.view.snapshot.cursor(),
            seen: reading.view.now,
            due,
            told: None,
            gathering: BTreeMap::new(),
            ticks: period.map(every),
            silence: self.silence(),
        };
        Ok(stream::unfold(Box::new(watch), |mut watch| async move {
            watch.next().await.map(|heartbeat| (heartbeat, watch))
        }))
    }

    /// Statistics now, and again when they changed, at most once in `period`.
    pub fn watch_cluster_stats(
        &self,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = ClusterStats> + Send + use<>> {
        let period = check_period(period.unwrap_or(STATS_PERIOD))?;
        let feed = self.journal.subscribe();
        let watch =
            StatsWatch { resolvers: self.clone(), feed, ticks: every(period), seen: self.clock.now(), told: None };
        Ok(stream::unfold(Box::new(watch), |mut watch| async move { watch.next().await.map(|stats| (stats, watch)) }))
    }
}

struct EventWatch {
    resolvers: Resolvers,
    feed: ChangeReceiver,
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
    /// A moment of the cluster that the reader may have seen: nothing is shown as it was before.
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

    /// Tells a cursor to resume from.
    fn bookmark(&mut self, message: &str) {
        let reading = self.resolvers.read();
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
            // The rest when these have been told, or a reader that stalls would hold on to all of them.
            Some(last) if wanted.next().is_some() => {
                self.up_to = last.cursor.clone();
                self.feed.rewind_one();
            }
            _ => self.up_to = up_to,
        }
        Ok(())
    }

    /// Another server has committed it, and the log says what. All who follow are at the same place then, and have it read
    /// once.
    async fn take_from_log(&mut self, change: &Change) -> Result<()> {
        let begin = Cursor::after_revision(change.epoch.clone(), change.after);
        if begin.is_after(&self.cursor) {
            self.is_behind = true;
            return Ok(());
        }
        // What has been told of it already, if it is more than one page; else no cursor that is this reader's own.
        let after = if self.cursor.is_after(&begin) { self.cursor.clone() } else { begin };
        let (page, is_all) = self.resolvers.journal.event_log().shared_events(&after, change.revision).await?;
        if !page.follows(&after) {
            // It is too late, and will be told so.
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

    /// The database was set back: what was told may never have been.
    async fn start_over(&mut self) {
        match self.resolvers.journal.event_log().range().await {
            Ok(LogRange { start, .. }) => self.resync(start, "The database was set back to an earlier state"),
            // The log will be asked again, and then tells the same.
            Err(_) => self.is_behind = true,
        }
    }

    /// Reads the next part of the log. Whatever the feed holds of it is then known already.
    async fn read_log(&mut self) -> Result<()> {
        let journal = &self.resolvers.journal;
        // A cursor from another server may be ahead of this one, but not for long: if the database has it and this
        // server has not seen it yet, the reader has to come back, and nothing is lost.
        let Some(snapshot) = journal.snapshot_at_cursor(&self.cursor).await? else {
            let LogRange { start, .. } = journal.event_log().range().await?;
            self.resync(start, "That cursor is not of this database as it is now");
            return Ok(());
        };
        let mut page = journal.event_log().events_after(&self.cursor, &self.filter, PAGE as u64).await?;
        if !page.follows(&self.cursor) {
            self.resync(page.start, "Events after that cursor have left the change log");
            return Ok(());
        }
        self.is_behind = page.events.len() == PAGE;
        // The log may know more than this server has seen, which the feed will tell of.
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

    /// Tells that the stream has a gap, and goes on from the present.
    fn resync(&mut self, oldest: Cursor, what: &str) {
        let reading = self.resolvers.read();
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
    feed: ChangeReceiver,
    filter: WorkerFilter,
    /// The place of the last change that was taken.
    up_to: Cursor,
    /// When the reader came: nothing is shown as it was before.
    seen: Timestamp,
    /// Workers to tell of now, and how many heartbeats each message stands for.
    due: BTreeMap<WorkerId, u32>,
    /// Whom the last message was about: who comes after it has its turn, or whoever comes early in
    /// the order and sends heartbeats often would be the only one that a slow reader hears of.
    told: Option<WorkerId>,
    /// Workers to tell of at the next tick.
    gathering: BTreeMap<WorkerId, u32>,
    ticks: Option<Interval>,
    /// When nobody has become offline by silence alone.
    silence: Range<Timestamp>,
}

impl HeartbeatWatch {
    async fn next(&mut self) -> Option<Heartbeat> {
        loop {
            // What has come in meanwhile is folded in first: a slow reader gets the latest, and less.
            loop {
                match self.feed.try_recv() {
                    Some(Ok(change)) => self.take(&change),
                    Some(Err(Lagged)) => self.take_all(),
                    None => break,
                }
            }
            while let Some((id, coalesced)) = self.next_due() {
                let worker = self.resolvers.latest(self.seen).find_worker(id.as_str());
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
                heard = self.feed.recv() => match heard {
                    Ok(Ok(change)) => self.take(&change),
                    Ok(Err(Lagged)) => self.take_all(),
                    Err(Closed) => return None,
                },
                _ = tick => self.due.append(&mut self.gathering),
                () = self.resolvers.clock.left(self.silence.clone()) => self.note_silence(),
            }
        }
    }

    /// Notes who has become offline since the last look, which nobody commits.
    fn note_silence(&mut self) {
        let now = self.resolvers.silence();
        let before = std::mem::replace(&mut self.silence, now.clone());
        let (before, now) = (self.resolvers.at(before.start), self.resolvers.at(now.start));
        self.seen = self.seen.max(now.now);
        let gone = now.workers().filter(|worker| {
            let was_healthy = |before: WorkerView| before.is_healthy();
            !worker.is_healthy() && before.find_worker(worker.worker.id.as_str()).is_some_and(was_healthy)
        });
        let gone: Vec<_> = gone.map(|worker| worker.worker.id.clone()).collect();
        self.note(gone);
    }

    fn next_due(&mut self) -> Option<(WorkerId, u32)> {
        let told = self.told.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.due.range::<WorkerId, _>((told, Bound::Unbounded)).next();
        let id = next.or_else(|| self.due.first_key_value())?.0.clone();
        self.told = Some(id.clone());
        self.due.remove_entry(&id)
    }

    fn take(&mut self, change: &Change) {
        if change.revision > self.up_to.revision || change.starts_over {
            self.up_to = change.cursor();
            self.note(change.workers.iter().cloned());
        }
    }

    /// The feed has lost changes: whoever changed since is in the snapshot. How often cannot be told,
    /// except for what the feed still holds, which is taken and counted next.
    fn take_all(&mut self) {
        let snapshot = self.resolvers.journal.snapshot();
        // What is missed may be that the database was set back: then everybody may have changed.
        let is_later = self.up_to.revision <= snapshot.revision && snapshot.epochs.include(&self.up_to);
        let known = if is_later { self.up_to.revision } else { 0 };
        for worker in snapshot.workers().filter(|worker| worker.revision > known) {
            self.waiting().entry(worker.id.clone()).or_default();
        }
        if !is_later {
            self.up_to = snapshot.cursor();
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
    feed: ChangeReceiver,
    ticks: Interval,
    /// When the reader came: nothing is shown as it was before.
    seen: Timestamp,
    told: Option<ClusterStats>,
}

impl StatsWatch {
    async fn next(&mut self) -> Option<ClusterStats> {
        loop {
            let silence = self.resolvers.silence();
            self.seen = self.seen.max(silence.start);
            let stats = self.resolvers.stats_of(&self.resolvers.latest(self.seen));
            if self.told.as_ref().is_none_or(|told| !tells_the_same(told, &stats)) {
                self.told = Some(stats.clone());
                self.ticks.reset();
                return Some(stats);
            }
            // Not before the period is over, and only if anything has been committed since, or somebody may be offline.
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
