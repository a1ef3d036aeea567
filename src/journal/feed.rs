//! What was committed lately, for whoever follows.
//!
//! The feed keeps the last changes, so many and so many bytes of them, whether anybody listens or
//! not. A [`Listener`] is only a place in it: one that does not listen holds nothing back and costs
//! nothing. It finds out that it has missed something when it comes back, and catches up from the
//! change log or from the latest snapshot.
//!
//! For the same reason a change carries no snapshot. It says what to look for; what it looks like
//! is read from the latest one.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::cluster::{Change, Event, WorkerId};

/// How many changes are kept: some seconds of a busy cluster.
const MAX_CHANGES: usize = 1_024;

/// How many bytes of changes are kept. The last one is kept whatever its size.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The writer's side.
#[derive(Debug)]
pub(super) struct Feed {
    past: Arc<RwLock<Past>>,
    /// How many changes there have ever been.
    told: watch::Sender<u64>,
}

/// A listener has missed changes: there were more than the feed keeps since it last came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed;

/// The feed has ended: the journal is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// A place in the feed.
#[derive(Clone, Debug)]
pub struct Listener {
    past: Arc<RwLock<Past>>,
    told: watch::Receiver<u64>,
    /// Number of the change that comes next.
    next: u64,
}

/// The changes that are kept.
#[derive(Debug, Default)]
struct Past {
    changes: VecDeque<Arc<Change>>,
    /// Number of the first of them.
    first: u64,
    bytes: usize,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { past: Arc::default(), told: watch::Sender::new(0) }
    }

    /// Tells everybody.
    pub(super) fn tell(&self, change: Change) {
        let end = self.past.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(change));
        self.told.send_replace(end);
    }

    /// A place to listen from: hears of what is told from now on.
    pub(super) fn listen(&self) -> Listener {
        let told = self.told.subscribe();
        let next = self.past.read().unwrap_or_else(PoisonError::into_inner).end();
        Listener { past: self.past.clone(), told, next }
    }
}

impl Feed {
    /// A place to listen from: hears of what was told after this revision. None if not all of that is kept.
    pub(super) fn listen_after(&self, revision: u64) -> Option<Listener> {
        let told = self.told.subscribe();
        let past = self.past.read().unwrap_or_else(PoisonError::into_inner);
        let is_later = |change: &&Arc<Change>| change.revision > revision && !change.starts_over;
        let later = past.changes.iter().rev().take_while(is_later).count();
        let before = past.changes.get((past.changes.len() - later).checked_sub(1)?)?;
        let next = past.end() - later as u64;
        (before.revision <= revision).then(|| Listener { past: self.past.clone(), told, next })
    }
}

impl Past {
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

/// How many bytes a change holds, roughly.
fn weight(change: &Change) -> usize {
    /// The texts of an event: who, what and why.
    const TEXTS: usize = 128;
    let events = change.events.as_ref().map_or(0, Vec::len) * (size_of::<Arc<Event>>() + size_of::<Event>() + TEXTS);
    size_of::<Change>() + change.workers.len() * size_of::<WorkerId>() + events
}

impl Listener {
    /// The next change, as soon as there is one. Cancel safe.
    pub async fn next(&mut self) -> Result<Result<Arc<Change>, Missed>, Ended> {
        loop {
            if let Some(change) = self.try_next() {
                return Ok(change);
            }
            self.told.changed().await.map_err(|_| Ended)?;
        }
    }

    /// The next change, if there is one already. After [`Missed`] come those that are still kept.
    pub fn try_next(&mut self) -> Option<Result<Arc<Change>, Missed>> {
        let past = self.past.read().unwrap_or_else(PoisonError::into_inner);
        if self.next < past.first {
            self.next = past.first;
            return Some(Err(Missed));
        }
        let change = past.changes.get(usize::try_from(self.next - past.first).ok()?)?;
        self.next += 1;
        Some(Ok(change.clone()))
    }

    /// Has the change that was heard last come once more.
    pub fn again(&mut self) {
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

    fn heard(listener: &mut Listener) -> Vec<Result<u64, Missed>> {
        std::iter::from_fn(|| listener.try_next()).map(|next| next.map(|change| change.revision)).collect()
    }

    #[tokio::test]
    async fn a_listener_hears_what_is_told_from_then_on_in_order() {
        let feed = Feed::new();
        feed.tell(change(1));
        let mut listener = feed.listen();
        feed.tell(change(2));
        feed.tell(change(3));
        assert_eq!(heard(&mut listener), [Ok(2), Ok(3)]);
        listener.again();
        assert_eq!(heard(&mut listener), [Ok(3)]);
        drop(feed);
        assert_eq!(listener.next().await.unwrap_err(), Ended);
    }

    #[tokio::test]
    async fn who_comes_with_a_revision_hears_what_came_after_it_if_all_of_that_is_kept() {
        let feed = Feed::new();
        assert!(feed.listen_after(0).is_none(), "nobody knows what was before");
        for revision in [3, 4, 6, 7] {
            feed.tell(change(revision));
        }
        for (after, expected) in [
            (2, None),
            (3, Some(vec![4, 6, 7])),
            (4, Some(vec![6, 7])),
            (5, Some(vec![6, 7])),
            (7, Some(vec![])),
            (9, Some(vec![])),
        ] {
            let told = feed.listen_after(after).map(|mut listener| heard(&mut listener));
            let expected = expected.map(|revisions| revisions.into_iter().map(Ok).collect::<Vec<_>>());
            assert_eq!(told, expected, "after {after}");
        }
        // The database was set back: what was at these revisions before is nobody's business any more.
        feed.tell(Change { starts_over: true, ..change(5) });
        feed.tell(change(6));
        for (after, expected) in [(4, None), (5, Some(vec![Ok(6)])), (6, Some(vec![]))] {
            assert_eq!(feed.listen_after(after).map(|mut listener| heard(&mut listener)), expected, "after {after}");
        }
    }

    #[tokio::test]
    async fn one_that_comes_late_is_told_so_and_goes_on_with_what_is_kept() {
        let feed = Feed::new();
        let mut listener = feed.listen();
        let last = MAX_CHANGES as u64 + 10;
        (1..=last).for_each(|revision| feed.tell(change(revision)));
        let heard = heard(&mut listener);
        assert_eq!(heard.first(), Some(&Err(Missed)));
        assert_eq!(heard.get(1), Some(&Ok(11)));
        assert_eq!(heard.last(), Some(&Ok(last)));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_in_bytes_but_for_the_last_change() {
        let feed = Feed::new();
        let large = || {
            let workers = vec![WorkerId::parse("w").unwrap(); MAX_BYTES / 2 / size_of::<WorkerId>()];
            Change { workers, ..change(1) }
        };
        let mut listener = feed.listen();
        (0..5).for_each(|_| feed.tell(large()));
        assert_eq!(heard(&mut listener), [Err(Missed), Ok(1)]);
        assert!(feed.past.read().unwrap().bytes <= MAX_BYTES, "more is kept than should be");
    }
}
