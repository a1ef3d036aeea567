//! One typed function per operation; both protocols call these and nothing else.
//!
//! Questions are methods of a [`Reading`]: one snapshot at one moment, so that everything an
//! answer says is true together. Commands are methods of [`Resolvers`] and go through the journal;
//! each answers with the state right after its commit. Streams are in [`watch`].
//!
//! Checking of input, defaults, filters and paging live here too ([`input`], [`filter`], [`page`]), so that
//! both protocols accept and refuse the same. How things are spelled on a wire does not.

mod cluster;
mod events;
pub mod filter;
pub mod input;
pub mod kept;
mod once;
pub mod page;
mod vms;
pub mod watch;
mod workers;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

pub use self::cluster::{Component, Health};
pub(crate) use self::events::MAX_EVENTS;
pub use self::events::{EventPage, EventView, WorkerEventsKey, event_limit};
pub use self::once::{Answer, Answered, Once};
pub use self::vms::page_of_worker_vms;
pub use self::workers::{Goodbye, HeartbeatRecorded, Node, PolicyChanged, Precondition, Registered, Seen, SetAside};
use crate::clock::{Clock, Timestamp};
use crate::cluster::{ClusterStats, Snapshot, View};
use crate::error::{Error, Result};
use crate::journal::{Ended, Journal};

/// What the operator of this server decided about time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// For how long a worker may be silent before it counts as offline.
    pub offline_after: Duration,
    /// How long workers are told to wait between heartbeats, before jitter.
    pub heartbeat_interval: Duration,
}

impl Timing {
    /// The documented rule: offline after 60 s.
    pub const OFFLINE_AFTER: Duration = Duration::from_secs(60);
    /// Six beats fit into the documented time-out, so a few may be lost.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
}

impl Default for Timing {
    fn default() -> Self {
        Self { offline_after: Self::OFFLINE_AFTER, heartbeat_interval: Self::HEARTBEAT_INTERVAL }
    }
}

/// Statistics, and what they are of.
type LastStats = Option<(Arc<View>, ClusterStats)>;

/// Everything that can be asked of the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolvers {
    journal: Journal,
    clock: Clock,
    timing: Timing,
    /// The last statistics that were added up, for everybody who follows them.
    last_stats: Arc<Mutex<LastStats>>,
}

impl Resolvers {
    /// Answers from this journal's state.
    pub fn new(journal: Journal, clock: Clock, timing: Timing) -> Self {
        Self { journal, clock, timing, last_stats: Arc::default() }
    }

    /// The cluster as it is now, to ask questions of.
    pub fn read(&self) -> Reading {
        self.reading(self.journal.snapshot())
    }

    /// The cluster as it is now, but not before a revision that the caller has been told of.
    pub async fn read_at_least(&self, revision: Option<u64>) -> Result<Reading> {
        let Some(wanted) = revision else { return Ok(self.read()) };
        // In a box, for the many who want none and would carry the room for it.
        match Box::pin(self.journal.snapshot_at_least(wanted)).await {
            Some(snapshot) => Ok(self.reading(snapshot)),
            None => Err(Error::NotThereYet { wanted, current: self.journal.snapshot().revision }),
        }
    }

    /// The cluster as soon as it is past a revision, or as it is after this long.
    pub async fn read_when_past(&self, revision: u64, wait: Duration) -> Reading {
        let mut feed = self.journal.subscribe();
        let passed = async {
            while self.journal.snapshot().revision <= revision {
                if let Err(Ended) = feed.next().await {
                    return;
                }
            }
        };
        // Out of time is an answer too: the cluster as it is.
        let _ = timeout(wait, passed).await;
        self.read()
    }

    /// The cluster right after the last change, at the moment of that change, or at a later one that
    /// the caller has seen already. So it is the same for everybody who has followed for a while, and
    /// what is shown of it can be shared.
    fn latest(&self, seen: Timestamp) -> Arc<View> {
        let published = self.journal.published();
        let (snapshot, now) = (published.snapshot.clone(), published.at.max(seen));
        Arc::new(View::new(snapshot, now, self.timing.offline_after))
    }

    /// Statistics of a view, added up once however many ask for them.
    fn stats_of(&self, view: &Arc<View>) -> ClusterStats {
        let mut last = self.last_stats.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, stats)) if of.snapshot.revision == view.snapshot.revision && of.now == view.now => stats.clone(),
            _ => {
                let stats = ClusterStats::of(view);
                *last = Some((view.clone(), stats.clone()));
                stats
            }
        }
    }

    fn reading(&self, snapshot: Arc<Snapshot>) -> Reading {
        Reading { view: Arc::new(View::new(snapshot, self.clock.now(), self.timing.offline_after)) }
    }
}

/// The cluster at one revision and one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    view: Arc<View>,
}

impl Reading {
    /// Asks of this view.
    pub fn of(view: Arc<View>) -> Self {
        Self { view }
    }

    /// The view that answers are made from.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Revision of the state that is read.
    pub fn revision(&self) -> u64 {
        self.view.snapshot.revision
    }
}
