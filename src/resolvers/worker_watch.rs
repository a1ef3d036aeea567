//! The loop that watches of workers share: about which workers a message is due, and when.
//!
//! A watch of heartbeats, of updates or of drains gathers the workers of which there may be something to tell: those
//! that the feed names, those that the clock changes, and all of them when it has missed a part of the feed. Of these it
//! holds the ids only. What a message shows is read when its turn has come, so that a slow reader gets fewer messages,
//! with the latest state. What there is to tell of a worker is for the [`Topic`] of the watch to say.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::clock::Timestamp;
use crate::cluster::{Change, Cursor, Snapshot, View, WorkerId};
use crate::error::{Error, Result};
use crate::journal::{ChangeReceiver, Closed, Lagged};
use crate::timing::SUBSCRIBER_INTERVALS;

/// What a watch of workers tells.
pub(super) trait Topic: Send {
    /// A message about one worker.
    type Message: Send;

    /// The workers about which a message is due at the beginning.
    fn at_first(&self, reading: &Reading) -> Vec<WorkerId>;

    /// Whether there may be something to tell of a worker that has changed.
    fn is_about(&self, id: &WorkerId, snapshot: &Snapshot) -> bool;

    /// The workers of which there may be something to tell after any number of changes since a revision. May name others: the
    /// caller drops those that [`is_about`](Self::is_about) rejects.
    fn changed_since(&self, revision: u64, snapshot: &Snapshot) -> Vec<WorkerId>;

    /// The workers of which there may be something to tell because time has gone on until now: these fell silent.
    fn changed_by_clock(&self, now: &Arc<View>, silent: &[WorkerId]) -> Vec<WorkerId>;

    /// The workers that the reader was told of, and not yet that no message about them follows.
    fn followed(&self) -> impl Iterator<Item = &WorkerId>;

    /// What there is to tell of a worker, for which so many changes were noted; 0 if that is not known.
    fn tell(&mut self, id: &WorkerId, changes: u32, view: &Arc<View>) -> Told<Self::Message>;
}

/// What there is to tell of a worker.
pub(super) struct Told<M> {
    /// The message; none if the reader knows it all.
    pub(super) message: Option<M>,
    /// Whether there may be another message about the worker right after this one.
    pub(super) is_due_again: bool,
}

impl<M> From<Option<M>> for Told<M> {
    fn from(message: Option<M>) -> Self {
        Self { message, is_due_again: false }
    }
}

impl Resolvers {
    /// The messages of a topic: first about the workers with which it begins, then about each of which there is
    /// something to tell, at most once in `period`.
    pub(super) fn watch_workers<T: Topic>(
        &self,
        caller: &Caller,
        topic: T,
        period: Option<Duration>,
    ) -> Result<impl Stream<Item = Result<T::Message>> + Send + use<T>> {
        let period = period.map(check_period).transpose()?;
        // The feed is subscribed before the snapshot is read: what is committed in between comes by the feed.
        let permit = self.authorize(caller, Action::Read)?;
        let feed = self.journal.with(permit).subscribe();
        let reading = self.present();
        let due = topic.at_first(&reading).into_iter().map(|id| (id, 1)).collect();
        let watch = WorkerWatch {
            resolvers: self.clone(),
            feed,
            topic,
            up_to: reading.view().snapshot.cursor(),
            seen: reading.view().now,
            due,
            last_sent: None,
            gathered: BTreeMap::new(),
            ticks: period.map(ticks_every),
            no_silence_during: self.no_silence_during(),
        };
        // In a box: `unfold` moves it with every message.
        let messages = stream::unfold(Box::new(watch), |mut watch| async move {
            watch.next().await.map(|message| (Ok(message), watch))
        });
        Ok(self.while_accepted(caller.principal(), messages))
    }
}

struct WorkerWatch<T> {
    resolvers: Resolvers,
    feed: ChangeReceiver,
    topic: T,
    /// The cursor of the last change that was taken.
    up_to: Cursor,
    /// The latest moment of which the reader may have been shown the cluster: it is shown no earlier one.
    seen: Timestamp,
    /// Workers to look at now, each with the number of changes that were noted.
    due: BTreeMap<WorkerId, u32>,
    /// The worker of the last message. The next one by id has its turn: otherwise a slow reader would be sent only the
    /// first workers by id, if these change often.
    last_sent: Option<WorkerId>,
    /// Workers to look at at the next tick.
    gathered: BTreeMap<WorkerId, u32>,
    ticks: Option<Interval>,
    /// In which time no worker becomes offline, and no drain overdue, without a commit, as far as that was known at its
    /// start. A deadline that was set since is not in it: that it has passed is told by the commit that announces it.
    no_silence_during: Range<Timestamp>,
}

impl<T: Topic> WorkerWatch<T> {
    async fn next(&mut self) -> Option<T::Message> {
        loop {
            // What has come by the feed meanwhile is taken first: a slow reader gets fewer messages, with the latest
            // state.
            loop {
                match self.feed.try_recv() {
                    Some(Ok(change)) => self.take(&change),
                    Some(Err(Lagged)) => self.take_all(),
                    None => break,
                }
            }
            while let Some((id, changes)) = self.next_due() {
                let view = self.resolvers.latest(self.seen);
                let Told { message, is_due_again } = self.topic.tell(&id, changes, &view);
                if is_due_again {
                    self.due.entry(id).or_default();
                }
                if message.is_some() {
                    return message;
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
                _ = tick => self.due.append(&mut self.gathered),
                () = self.resolvers.clock.left(self.no_silence_during.clone()) => self.take_time(),
            }
        }
    }

    fn next_due(&mut self) -> Option<(WorkerId, u32)> {
        let last_sent = self.last_sent.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.due.range::<WorkerId, _>((last_sent, Bound::Unbounded)).next();
        let id = next.or_else(|| self.due.first_key_value())?.0.clone();
        self.last_sent = Some(id.clone());
        self.due.remove_entry(&id)
    }

    /// Notes the workers of a change. If the database was set back, these are all there are.
    fn take(&mut self, change: &Change) {
        if change.revision <= self.up_to.revision && !change.starts_over {
            return;
        }
        self.up_to = change.cursor();
        let snapshot = self.resolvers.journal.for_server().snapshot();
        for id in &change.workers {
            if self.topic.is_about(id, &snapshot) {
                *self.waiting().entry(id.clone()).or_default() += 1;
            }
        }
        if change.removed > 0 || change.starts_over {
            self.note_removed(&snapshot);
        }
    }

    /// Notes the workers that have changed by the snapshot, since the feed has lost changes. How many were lost is not
    /// known; those that the feed still has are taken and counted next.
    fn take_all(&mut self) {
        let snapshot = self.resolvers.journal.for_server().snapshot();
        // A lost change may be that the database was set back: then every worker may have changed.
        let is_later = self.up_to.revision <= snapshot.revision && snapshot.epochs.include(&self.up_to);
        let known = if is_later { self.up_to.revision } else { 0 };
        for id in self.topic.changed_since(known, &snapshot) {
            if self.topic.is_about(&id, &snapshot) {
                self.waiting().entry(id).or_default();
            }
        }
        if !is_later {
            self.up_to = snapshot.cursor();
        }
        self.note_removed(&snapshot);
    }

    /// Notes the workers that the clock alone has changed, of which no change tells.
    fn take_time(&mut self) {
        let now = self.resolvers.no_silence_during();
        let before = std::mem::replace(&mut self.no_silence_during, now.clone());
        let (before, now) = (self.resolvers.at(before.start), self.resolvers.at(now.start));
        self.seen = self.seen.max(now.now);
        let silent = self.resolvers.forecast.fallen_silent(&before, &now);
        for id in self.topic.changed_by_clock(&now, &silent) {
            *self.waiting().entry(id).or_default() += 1;
        }
    }

    /// Notes the workers that the reader was told of and that are not there any more.
    fn note_removed(&mut self, snapshot: &Snapshot) {
        let removed = self.topic.followed().filter(|id| snapshot.find_worker(id.as_str()).is_none());
        let removed: Vec<_> = removed.cloned().collect();
        for id in removed {
            self.waiting().entry(id).or_default();
        }
    }

    fn waiting(&mut self) -> &mut BTreeMap<WorkerId, u32> {
        if self.ticks.is_some() { &mut self.gathered } else { &mut self.due }
    }
}

/// Ticks of this period, the first after one of them.
pub(super) fn ticks_every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The period that a reader asks for, or what is wrong with it.
pub(super) fn check_period(period: Duration) -> Result<Duration> {
    let (shortest, longest) = SUBSCRIBER_INTERVALS;
    if period < shortest || period > longest {
        return Err(Error::invalid("every", "must be from 50ms to 1h"));
    }
    Ok(period)
}
