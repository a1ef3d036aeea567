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
pub mod offload;
mod once;
mod ordered;
pub mod page;
mod silence;
mod vms;
mod wait;
pub mod watch;
mod workers;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch::Receiver;

pub use self::cluster::{Component, ComponentHealth, Health};
pub(crate) use self::events::MAX_EVENTS;
pub use self::events::{EventPage, EventView, WorkerEventsKey, event_limit};
use self::offload::Offload;
pub use self::once::{Answered, Once, StoredResponse};
use self::silence::Silence;
pub use self::vms::page_of_worker_vms;
pub use self::wait::WorkersQuestion;
pub use self::workers::{
    ExpectedRevision, ExpectedState, Goodbye, HeartbeatRecorded, HeartbeatSender, Node, PolicyChanged, Precondition,
    Registered, RejectedVm,
};
use crate::clock::{Clock, Timestamp};
use crate::cluster::{ClusterStats, Snapshot, View};
use crate::error::Result;
use crate::journal::Journal;

/// What the operator of this server decided about time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// For how long a worker may be silent before it counts as offline.
    pub offline_after: Duration,
    /// How long workers are told to wait between heartbeats, before jitter, while the fleet is small: see
    /// [`interval_for`](Self::interval_for).
    pub heartbeat_interval: Duration,
}

impl Timing {
    /// The documented rule: offline after 60 s.
    pub const OFFLINE_AFTER: Duration = Duration::from_secs(60);
    /// Six heartbeats fit into the documented time-out, so a few may be lost.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
}

/// How many heartbeats a second a fleet is asked to send at most: a second's work of a server is several times that.
const HEARTBEATS_PER_SECOND: u32 = 1_000;

/// What a third of the time-out is told without: the time that a heartbeat may take.
const HEARTBEAT_SLACK: Duration = Duration::from_secs(5);

impl Timing {
    /// How long the workers of a fleet of this size are told to wait between heartbeats: what is configured, and longer
    /// the more there are, so that they stay below [`HEARTBEATS_PER_SECOND`] together; but three fit into the time-out, also
    /// of those who are told to wait a tenth longer by chance. All who are registered count: when the offline ones come
    /// back, they find the interval that they need.
    pub fn interval_for(&self, workers: usize) -> Duration {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        let wanted = Duration::from_secs(1).saturating_mul(workers) / HEARTBEATS_PER_SECOND;
        let longest = self.offline_after.saturating_sub(HEARTBEAT_SLACK).saturating_mul(10) / 33;
        wanted.min(longest).max(self.heartbeat_interval)
    }
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
    /// When the clock alone makes workers offline, for everybody who follows them.
    silence: Arc<Silence>,
    offload: Offload,
    /// Whether Consul does what it is asked, if it is used.
    consul: Option<Receiver<bool>>,
}

impl Resolvers {
    /// Answers from this journal's state.
    pub fn new(journal: Journal, clock: Clock, timing: Timing) -> Self {
        let (last_stats, silence) = (Arc::default(), Arc::default());
        Self { journal, clock, timing, last_stats, silence, offload: Offload::default(), consul: None }
    }

    /// The same, which tells how it goes with Consul, too.
    #[must_use]
    pub fn with_consul(self, healthy: Receiver<bool>) -> Self {
        Self { consul: Some(healthy), ..self }
    }

    /// Where questions are answered that take long.
    pub fn offload(&self) -> &Offload {
        &self.offload
    }

    /// How many workers and VMs there are now.
    pub fn sizes(&self) -> (usize, usize) {
        let snapshot = self.journal.snapshot();
        (snapshot.worker_count(), snapshot.vm_count())
    }

    /// The cluster as it is now, to ask questions of.
    pub fn read(&self) -> Reading {
        self.reading(self.journal.snapshot())
    }

    /// The cluster as it is now, but not before a revision that the caller has been told of.
    pub async fn read_at_least(&self, revision: Option<u64>) -> Result<Reading> {
        let Some(wanted) = revision else { return Ok(self.read()) };
        // In a box, for the many who want none and would carry the room for it.
        Box::pin(self.journal.snapshot_at_least(wanted)).await.map(|snapshot| self.reading(snapshot))
    }

    /// The cluster right after the last change, at the moment of that change, or at a later one that
    /// the caller has seen already. So it is the same for everybody who has followed for a while, and
    /// what is shown of it can be shared.
    fn latest(&self, seen: Timestamp) -> Arc<View> {
        let published = self.journal.published();
        // If the clock was set back since, what the caller has seen is a time that has not come yet.
        let now = published.at.max(seen.min(self.clock.now()));
        let snapshot = published.snapshot.clone();
        Arc::new(View::new(snapshot, now, self.timing.offline_after))
    }

    /// The cluster right after the last change, at a moment.
    fn at(&self, moment: Timestamp) -> Arc<View> {
        Arc::new(View::new(self.journal.snapshot(), moment, self.timing.offline_after))
    }

    /// From when on nobody has become offline by silence alone, and when somebody may. It is the same for everybody who
    /// asks in between, so that what is shown of the cluster at the first can be shared. It is over as well when the
    /// clock is set back behind it ([`Clock::left`]): then whoever is heard from no more is silent for too long by
    /// another time.
    fn silence(&self) -> Range<Timestamp> {
        self.silence.unchanged_during(self.read().view())
    }

    /// Statistics of a view, added up once however many ask for them.
    fn stats_of(&self, view: &Arc<View>) -> ClusterStats {
        let mut last = self.last_stats.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, stats)) if Arc::ptr_eq(&of.snapshot, &view.snapshot) && of.now == view.now => stats.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_told_to_send_heartbeats_less_often_within_its_time_out() {
        let timing = |interval, offline_after| Timing {
            heartbeat_interval: Duration::from_secs(interval),
            offline_after: Duration::from_secs(offline_after),
        };
        for (interval, offline_after, workers, expected) in [
            (10, 60, 0, 10_000),
            (10, 60, 10_000, 10_000),
            (10, 60, 15_000, 15_000),
            (10, 60, 100_000, 16_666),
            (10, 600, 100_000, 100_000),
            // What is configured is never made shorter.
            (30, 60, 100_000, 30_000),
            (1, 3, 100_000, 1_000),
            (1, 60, usize::MAX, 16_666),
        ] {
            let told = timing(interval, offline_after).interval_for(workers);
            assert_eq!(told.as_millis(), expected, "{interval} {offline_after} {workers}");
        }
    }
}
