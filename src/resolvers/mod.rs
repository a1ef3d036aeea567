//! The operations of the API, one typed function each; both protocols call these and nothing else.
//!
//! Queries are methods of a [`Reading`], which is one snapshot at one moment, so that all figures of an answer agree.
//! Commands are methods of [`Resolvers`] and go through the journal; each answers with the state right after its
//! commit. Streams are in [`watch`], long polls in [`long_poll`].
//!
//! Checks of input, defaults, filters and paging are here, too ([`checks`], [`worker_input`], [`filter_input`],
//! [`page`]), so that both protocols accept and refuse the same. How a request is parsed and an answer is written is
//! not known here, and rules about workers are in [`cluster`](crate::cluster).

mod access;
pub mod checks;
mod cluster;
pub mod drain_input;
pub mod drain_watch;
pub mod drain_workers;
pub mod drains;
mod events;
pub mod filter_input;
mod guarded_journal;
mod health;
pub mod history;
mod idempotent_request;
mod indexed_pages;
pub mod join;
mod liveness_forecast;
mod long_poll;
mod metrics;
pub mod offload;
pub mod page;
pub mod placement;
pub mod purge;
pub mod reservations;
pub mod row_cache;
pub mod sessions;
pub mod tokens;
mod vms;
pub mod watch;
pub mod worker_input;
mod worker_watch;
mod workers;

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch::Receiver;

pub(crate) use self::events::{DEFAULT_EVENTS, MAX_EVENTS};
pub use self::events::{EventPage, EventPageRequest, EventSubject, EventView, EventsKey, event_limit};
use self::guarded_journal::GuardedJournal;
pub use self::health::{CONSUL, Component, ComponentHealth, Health};
pub use self::idempotent_request::{IdempotentReply, IdempotentRequest, StoredResponse};
use self::liveness_forecast::LivenessForecast;
pub use self::long_poll::WorkersQuery;
pub use self::metrics::ResolverMetrics;
use self::offload::Offload;
pub use self::vms::page_of_worker_vms;
pub use self::workers::{
    Deregistration, ExpectedRevision, ExpectedState, HeartbeatRecorded, HeartbeatSender, Node, PolicyChanged,
    Precondition, Registered, RejectedVm, WorkerDeregistered,
};
use crate::auth::{Action, Caller, CostLimit};
use crate::clock::{Clock, Timestamp};
use crate::cluster::{ClusterStats, Snapshot, View};
use crate::error::Result;
use crate::history::HistoryReader;
use crate::journal::{HistoryStore, Journal};
use crate::timing::Timing;

/// Statistics, and the view they are of.
type LastStats = Option<(Arc<View>, ClusterStats)>;

/// The entry to all operations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolvers {
    journal: GuardedJournal,
    clock: Clock,
    timing: Timing,
    /// The statistics that were computed last, shared by all their subscribers.
    last_stats: Arc<Mutex<LastStats>>,
    /// When the next worker becomes offline without a commit, shared by all who wait for that.
    forecast: Arc<LivenessForecast>,
    offload: Offload,
    /// Whether there were tokens since this server was started. Then it asks for one also if there are none any more, as
    /// after the restore of a backup from before the first.
    has_seen_tokens: Arc<AtomicBool>,
    /// Whether Consul answers, if it is used.
    consul: Option<Receiver<bool>>,
    cost_limit: CostLimit,
    metrics: Arc<ResolverMetrics>,
    history: HistoryReader,
}

impl Resolvers {
    /// The operations on this journal.
    pub fn new(journal: Journal, clock: Clock, timing: Timing) -> Self {
        let (last_stats, forecast) = (Arc::default(), Arc::default());
        let has_seen_tokens = Arc::new(AtomicBool::new(journal.snapshot().has_tokens()));
        let history = HistoryReader::new(HistoryStore::new(journal.database().clone()));
        let journal = GuardedJournal::new(journal);
        Self {
            journal,
            clock,
            timing,
            last_stats,
            forecast,
            offload: Offload::default(),
            has_seen_tokens,
            consul: None,
            cost_limit: CostLimit::default(),
            metrics: Arc::default(),
            history,
        }
    }

    /// The same, with the health of Consul in that of the server.
    #[must_use]
    pub fn with_consul(self, healthy: Receiver<bool>) -> Self {
        Self { consul: Some(healthy), ..self }
    }

    /// The same, with another limit of what the queries of a token may cost.
    #[must_use]
    pub fn with_cost_limit(self, cost_limit: CostLimit) -> Self {
        Self { cost_limit, ..self }
    }

    /// What the operations have counted.
    pub fn metrics(&self) -> &Arc<ResolverMetrics> {
        &self.metrics
    }

    /// The curves of the past, for the sampler.
    pub fn history(&self) -> &HistoryReader {
        &self.history
    }

    /// Where long work is done.
    pub fn offload(&self) -> &Offload {
        &self.offload
    }

    /// The numbers of workers and of VMs.
    pub fn sizes(&self) -> (usize, usize) {
        let snapshot = self.journal.for_server().snapshot();
        (snapshot.worker_count(), snapshot.vm_count())
    }

    /// The cluster as it is now.
    pub fn read(&self, caller: &Caller) -> Result<Reading> {
        let permit = self.authorize(caller, Action::Read)?;
        Ok(self.reading(self.journal.with(permit).snapshot()))
    }

    /// The cluster as it is now, for whom an operation has let in before: for the payload of a mutation, or an item of a
    /// stream.
    pub fn present(&self) -> Reading {
        self.reading(self.journal.for_server().snapshot())
    }

    /// The cluster as it is now, but not before a revision that the caller has seen, at another server perhaps.
    pub async fn read_at_least(&self, caller: &Caller, revision: Option<u64>) -> Result<Reading> {
        let Some(wanted) = revision else { return self.read(caller) };
        let permit = self.authorize(caller, Action::Read)?;
        // In a box: most callers want no revision, and their futures would have the room for this one.
        Box::pin(self.journal.with(permit).snapshot_at_least(wanted)).await.map(|snapshot| self.reading(snapshot))
    }

    /// The same, but not before a revision that the caller has seen.
    pub async fn present_at_least(&self, revision: Option<u64>) -> Result<Reading> {
        let Some(wanted) = revision else { return Ok(self.present()) };
        let journal = self.journal.for_server();
        Box::pin(journal.snapshot_at_least(wanted)).await.map(|snapshot| self.reading(snapshot))
    }

    /// The cluster right after the last change, at the moment of that change, or at `seen`, the latest moment that the
    /// caller has been shown, if that is later. It is the same view for all who have followed for a while, so that they
    /// share what is rendered of it.
    fn latest(&self, seen: Timestamp) -> Arc<View> {
        let published = self.journal.for_server().published();
        // If the clock was set back since, `seen` lies in the future.
        let now = published.at.max(seen.min(self.clock.now()));
        let snapshot = published.snapshot.clone();
        Arc::new(View::new(snapshot, now, self.timing.offline_after))
    }

    /// The cluster right after the last change, at a moment.
    fn at(&self, moment: Timestamp) -> Arc<View> {
        Arc::new(View::new(self.journal.for_server().snapshot(), moment, self.timing.offline_after))
    }

    /// The range of moments around now in which no worker becomes offline without a commit. All callers within the
    /// range get the same one, so that they share what is rendered of its start. It ends also when the clock is set
    /// back before its start ([`Clock::left`]), since silent workers become offline at other moments then.
    fn no_silence_during(&self) -> Range<Timestamp> {
        self.forecast.unchanged_during(self.present().view())
    }

    /// The statistics of a view, computed once for all who ask for them.
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
    /// A reading of this view.
    pub fn of(view: Arc<View>) -> Self {
        Self { view }
    }

    /// The view that is read.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The revision of the snapshot that is read.
    pub fn revision(&self) -> u64 {
        self.view.snapshot.revision
    }
}
