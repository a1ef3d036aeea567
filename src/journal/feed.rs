//! The change feed: the changes that were committed lately, for streams and for requests that wait for a change.
//!
//! A bounded ring: it keeps the last changes, up to a number and to a size in bytes, whether anybody reads them or not.
//! A [`ChangeReceiver`] is only a position in it: one that is not read holds nothing back and costs nothing. When it is
//! read again and the ring has moved on, it answers [`Lagged`], and its holder catches up from the event log or
//! from the latest snapshot.
//!
//! For the same reason a change carries no snapshot. It says what to look for; what it looks like is read from the
//! latest snapshot. Changes reach other servers by the database ([`follow`](super::follow)), and clients by the
//! resolvers' streams.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::cluster::{Change, Event, WorkerId};

/// How many changes are kept: some seconds of a busy cluster.
const MAX_CHANGES: usize = 1_024;

/// How many bytes of changes are kept. The last one is kept whatever its size.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The publishing side.
#[derive(Debug)]
pub(super) struct ChangeFeed {
    ring: Arc<RwLock<Ring>>,
    /// How many changes there have ever been.
    published: watch::Sender<u64>,
}

/// The receiver has missed changes: since it was last read there were more than the ring keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged;

/// There will be no more changes: the journal is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// A position in the ring.
#[derive(Clone, Debug)]
pub struct ChangeReceiver {
    ring: Arc<RwLock<Ring>>,
    published: watch::Receiver<u64>,
    /// Number of the change that comes next.
    next: u64,
}

/// The changes that are kept.
#[derive(Debug, Default)]
struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// Number of the first of them.
    first: u64,
    bytes: usize,
}

impl ChangeFeed {
    pub(super) fn new() -> Self {
        Self { ring: Arc::default(), published: watch::Sender::new(0) }
    }

    /// Appends a change and wakes the receivers. It never waits for them.
    pub(super) fn publish(&self, change: Change) {
        let end = self.ring.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(change));
        self.published.send_replace(end);
    }

    /// A receiver of the changes from now on.
    pub(super) fn subscribe(&self) -> ChangeReceiver {
        let published = self.published.subscribe();
        let next = self.ring.read().unwrap_or_else(PoisonError::into_inner).end();
        ChangeReceiver { ring: self.ring.clone(), published, next }
    }

    /// A receiver of the changes after this revision. None if not all of them are kept.
    pub(super) fn subscribe_after(&self, revision: u64) -> Option<ChangeReceiver> {
        let published = self.published.subscribe();
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let is_later = |change: &&Arc<Change>| change.revision > revision && !change.starts_over;
        let later = ring.changes.iter().rev().take_while(is_later).count();
        let before = ring.changes.get((ring.changes.len() - later).checked_sub(1)?)?;
        let next = ring.end() - later as u64;
        (before.revision <= revision).then(|| ChangeReceiver { ring: self.ring.clone(), published, next })
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    fn push(&mut self, change: Arc<Change>) -> u64 {
        self.bytes += weight(&change);
        self.changes.push_back(change);
        while self.changes.len() > MAX_CHANGES || (self.bytes > MAX_BYTES && self.changes.len() > 1) {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= weight(&oldest);
            self.first += 1;
        }
        self.end()
    }
}

/// How many bytes a change takes, roughly.
fn weight(change: &Change) -> usize {
    /// The texts of an event: who, what and why.
    const TEXTS: usize = 128;
    let events = change.events.as_ref().map_or(0, Vec::len) * (size_of::<Arc<Event>>() + size_of::<Event>() + TEXTS);
    size_of::<Change>() + change.workers.len() * size_of::<WorkerId>() + events
}

impl ChangeReceiver {
    /// The next change, as soon as there is one. Cancel safe.
    pub async fn recv(&mut self) -> Result<Result<Arc<Change>, Lagged>, Closed> {
        loop {
            if let Some(change) = self.try_recv() {
                return Ok(change);
            }
            self.published.changed().await.map_err(|_| Closed)?;
        }
    }

    /// The next change, if there is one already. After [`Lagged`] come those that are still kept.
    pub fn try_recv(&mut self) -> Option<Result<Arc<Change>, Lagged>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if self.next < ring.first {
            self.next = ring.first;
            return Some(Err(Lagged));
        }
        let change = ring.changes.get(usize::try_from(self.next - ring.first).ok()?)?;
        self.next += 1;
        Some(Ok(change.clone()))
    }

    /// Goes back by one change: the one that was received last is received once more.
    pub fn rewind_one(&mut self) {
        self.next = self.next.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64) -> Change {
        let at = crate::clock::Timestamp::default();
        Change {
            at,
            after: revision.saturating_sub(1),
            revision,
            epoch: "test".into(),
            workers: Vec::new(),
            removed: 0,
            ended_silence: chrono::TimeDelta::zero(),
            events: None,
            starts_over: false,
        }
    }

    fn received(receiver: &mut ChangeReceiver) -> Vec<Result<u64, Lagged>> {
        std::iter::from_fn(|| receiver.try_recv()).map(|next| next.map(|change| change.revision)).collect()
    }

    #[tokio::test]
    async fn a_receiver_gets_what_is_published_from_then_on_in_order() {
        let feed = ChangeFeed::new();
        feed.publish(change(1));
        let mut receiver = feed.subscribe();
        feed.publish(change(2));
        feed.publish(change(3));
        assert_eq!(received(&mut receiver), [Ok(2), Ok(3)]);
        receiver.rewind_one();
        assert_eq!(received(&mut receiver), [Ok(3)]);
        drop(feed);
        assert_eq!(receiver.recv().await.unwrap_err(), Closed);
    }

    #[tokio::test]
    async fn a_receiver_after_a_revision_gets_what_came_after_it_if_all_of_that_is_kept() {
        let feed = ChangeFeed::new();
        assert!(feed.subscribe_after(0).is_none(), "nobody knows what was before");
        for revision in [3, 4, 6, 7] {
            feed.publish(change(revision));
        }
        for (after, expected) in [
            (2, None),
            (3, Some(vec![4, 6, 7])),
            (4, Some(vec![6, 7])),
            (5, Some(vec![6, 7])),
            (7, Some(vec![])),
            (9, Some(vec![])),
        ] {
            let found = feed.subscribe_after(after).map(|mut receiver| received(&mut receiver));
            let expected = expected.map(|revisions| revisions.into_iter().map(Ok).collect::<Vec<_>>());
            assert_eq!(found, expected, "after {after}");
        }
        // The database was restored: what was at these revisions before does not count any more.
        feed.publish(Change { starts_over: true, ..change(5) });
        feed.publish(change(6));
        for (after, expected) in [(4, None), (5, Some(vec![Ok(6)])), (6, Some(vec![]))] {
            assert_eq!(
                feed.subscribe_after(after).map(|mut receiver| received(&mut receiver)),
                expected,
                "after {after}"
            );
        }
    }

    #[tokio::test]
    async fn one_that_lags_is_told_so_and_goes_on_with_what_is_kept() {
        let feed = ChangeFeed::new();
        let mut receiver = feed.subscribe();
        let last = MAX_CHANGES as u64 + 10;
        (1..=last).for_each(|revision| feed.publish(change(revision)));
        let received = received(&mut receiver);
        assert_eq!(received.first(), Some(&Err(Lagged)));
        assert_eq!(received.get(1), Some(&Ok(11)));
        assert_eq!(received.last(), Some(&Ok(last)));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes_but_for_the_last_change() {
        let feed = ChangeFeed::new();
        let large = || {
            let workers = vec![WorkerId::parse("w").unwrap(); MAX_BYTES / 2 / size_of::<WorkerId>()];
            Change { workers, ..change(1) }
        };
        let mut receiver = feed.subscribe();
        (0..5).for_each(|_| feed.publish(large()));
        assert_eq!(received(&mut receiver), [Err(Lagged), Ok(1)]);
        assert!(feed.ring.read().unwrap().bytes <= MAX_BYTES, "more is kept than should be");
    }
}
