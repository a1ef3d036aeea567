//! The handle of the journal: what the rest of the program asks of it.
//!
//! It sends commands to the [queue](super::queue), and reads what the writer has published. It commits nothing itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sea_orm::DbBackend;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::commands::{Command, Lane};
use super::commit::health::CommitHealth;
use super::commit::writer::Writer;
use super::feed::{ChangeFeed, ChangeReceiver, Closed};
use super::follow::known_state::load;
use super::follow::notify::follow_replicas;
use super::liveness_signs::{LivenessSign, LivenessSigns, NotedSign};
use super::metrics::JournalMetrics;
use super::published::{Committed, Published};
use super::queue::command_queue::{QueueSender, command_queue};
use super::queue::pending_command::ReplyReceiver;
use super::store::database::Database;
use super::store::drains::latest_drains;
use super::store::events::EventLog;
use super::store::rows;
use crate::auth::Caller;
use crate::clock::Clock;
use crate::cluster::{Cursor, Drain, Snapshot};
use crate::error::{Error, Result};
use crate::metrics::{Family, Source};
use crate::trace::{self, Span, SpanKind};

/// How long to wait for a revision that another server has committed.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends commands to the writer, and reads what it has committed. Cheap to clone: every request has one.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Shared>);

/// What the handle shares with the writer.
#[derive(Debug)]
struct Shared {
    queue: QueueSender,
    signs: Arc<LivenessSigns>,
    published: Arc<ArcSwap<Published>>,
    feed: Arc<ChangeFeed>,
    /// Wakes the writer to poll for commits of other servers at once.
    poll_now: Arc<Notify>,
    /// When the database last took no commits, in milliseconds of the monotonic clock; 0 if it always has.
    last_outage: Arc<AtomicU64>,
    health: Arc<CommitHealth>,
    metrics: Arc<JournalMetrics>,
    token_changes: watch::Receiver<()>,
    event_log: EventLog,
    database: Database,
}

/// A command that waits for its commit, with the span of that.
#[derive(Debug)]
pub struct Submitted<T> {
    reply: ReplyReceiver<T>,
    span: Span,
}

impl<T> Submitted<T> {
    /// The reply, when the command is committed.
    pub async fn committed(mut self) -> Result<Committed<T>> {
        let outcome = self.reply.await.map_err(|_| Error::ShuttingDown).flatten();
        match &outcome {
            Ok(committed) => self.span.set("aetherium.revision", || committed.snapshot.revision),
            Err(error) => self.span.fail(|| error.to_string()),
        }
        outcome
    }
}

impl Journal {
    /// Reads the whole state. Nothing is committed until the [`Writer`] runs.
    pub async fn open(database: Database, clock: Clock) -> Result<(Self, Writer)> {
        let signs = Arc::new(LivenessSigns::new(clock.clone()));
        let (queue, receiver) = command_queue(signs.clone());
        let feed = Arc::new(ChangeFeed::new());
        let snapshot = Arc::new(load(&database, &clock).await?);
        let published = Arc::new(ArcSwap::from_pointee(Published { at: clock.now(), snapshot: snapshot.clone() }));
        let event_log = EventLog::new(database.clone(), published.clone());
        let poll_now = Arc::new(Notify::new());
        let writer =
            Writer::new(database.clone(), clock, snapshot, published.clone(), feed.clone(), poll_now.clone(), receiver);
        let (last_outage, health, metrics) = (writer.last_outage(), writer.health(), writer.metrics());
        let token_changes = writer.token_changes();
        let shared = Shared {
            queue,
            signs,
            published,
            feed,
            poll_now,
            last_outage,
            health,
            metrics,
            token_changes,
            event_log,
            database,
        };
        Ok((Self(Arc::new(shared)), writer))
    }

    /// The cluster as of the last commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.published.load().snapshot.clone()
    }

    /// Reads the cluster as of the last commit at once, which costs less than to hold it.
    pub fn peek<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.0.published.load().snapshot)
    }

    /// The cluster as of the last commit, and when that was.
    pub fn published(&self) -> Arc<Published> {
        self.0.published.load_full()
    }

    /// Tells that tokens may have changed, and ends with the writer.
    pub fn token_changes(&self) -> watch::Receiver<()> {
        self.0.token_changes.clone()
    }

    /// Changes from now on. Subscribe first and take the snapshot then: changes that are in the snapshot already are
    /// recognised by their revision.
    pub fn subscribe(&self) -> ChangeReceiver {
        self.0.feed.subscribe()
    }

    /// Changes after a revision, past and future; none if not all of the past ones are kept.
    pub fn subscribe_after(&self, revision: u64) -> Option<ChangeReceiver> {
        // The receiver comes first, so that it gets what is committed after the look at the snapshot.
        let now = self.subscribe();
        if self.snapshot().revision == revision { Some(now) } else { self.0.feed.subscribe_after(revision) }
    }

    /// The cluster at this revision or a later one. A client that was told a revision by another server wants to see it
    /// here, too.
    pub async fn snapshot_at_least(&self, revision: u64) -> Result<Arc<Snapshot>> {
        let snapshot = self.snapshot();
        if snapshot.revision >= revision {
            return Ok(snapshot);
        }
        let arriving = async {
            if !self.is_committed(revision).await? {
                return Err(Error::NotOfThisDatabase { wanted: revision, current: self.snapshot().revision });
            }
            self.wait_for_snapshot(|snapshot| snapshot.revision >= revision).await
        };
        self.within_timeout(revision, arriving).await
    }

    /// The cluster at this cursor or a later one. None if there is no such cursor: if it is of another database, or of
    /// what this one was before it was restored.
    pub async fn snapshot_at_cursor(&self, cursor: &Cursor) -> Result<Option<Arc<Snapshot>>> {
        let snapshot = self.snapshot();
        let is_known = snapshot.epochs.include(cursor);
        if is_known && cursor.revision <= snapshot.revision {
            return Ok(Some(snapshot));
        }
        // Another server may have begun an epoch, or committed what this one has not seen yet.
        let arriving = async {
            if self.0.database.backend() != DbBackend::Postgres {
                return Ok(None);
            }
            let (revision, epoch) = self.0.event_log.latest_commit().await?;
            // If there is no later epoch, this server knows all of them, and none has ended.
            let is_known = if epoch == **snapshot.epochs.latest() {
                is_known
            } else {
                rows::read_epochs(&*self.0.database.readers()).await?.include(cursor)
            };
            if !is_known || revision < cursor.revision {
                return Ok(None);
            }
            let has_cursor =
                |snapshot: &Snapshot| snapshot.epochs.include(cursor) && cursor.revision <= snapshot.revision;
            self.wait_for_snapshot(has_cursor).await.map(Some)
        };
        self.within_timeout(cursor.revision, arriving).await
    }

    /// Whether the database has this revision, which this server has not seen yet. On SQLite no other server commits.
    pub async fn is_committed(&self, revision: u64) -> Result<bool> {
        Ok(self.0.database.backend() == DbBackend::Postgres && self.0.event_log.latest_commit().await?.0 >= revision)
    }

    /// The first snapshot for which this holds.
    async fn wait_for_snapshot(&self, is_there: impl Fn(&Snapshot) -> bool) -> Result<Arc<Snapshot>> {
        let mut feed = self.subscribe();
        loop {
            let snapshot = self.snapshot();
            if is_there(&snapshot) {
                return Ok(snapshot);
            }
            self.0.poll_now.notify_one();
            if let Err(Closed) = feed.recv().await {
                return Err(Error::ShuttingDown);
            }
        }
    }

    async fn within_timeout<T>(&self, wanted: u64, arriving: impl Future<Output = Result<T>>) -> Result<T> {
        let not_reached = |_| Err(Error::RevisionNotReached { wanted, current: self.snapshot().revision });
        timeout(ARRIVAL_TIMEOUT, arriving).await.unwrap_or_else(not_reached)
    }

    /// The event log.
    pub fn event_log(&self) -> &EventLog {
        &self.0.event_log
    }

    /// Up to `limit` drains of each of these workers, the latest first, before a number.
    pub async fn latest_drains(
        &self,
        workers: &[(Arc<str>, u64)],
        limit: u64,
    ) -> Result<HashMap<Arc<str>, Vec<Arc<Drain>>>> {
        latest_drains(&self.0.database, workers, limit).await
    }

    /// The database behind it.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// When the database last took no commits, by [`Clock::monotonic`]; none if it always has.
    pub fn last_outage(&self) -> Option<Duration> {
        match self.0.last_outage.load(Ordering::Relaxed) {
            0 => None,
            milliseconds => Some(Duration::from_millis(milliseconds)),
        }
    }

    /// Listens for notifications of other servers, until told to stop. Without it, their commits are found by polling.
    pub async fn follow_replicas(self, shutdown: CancellationToken) {
        follow_replicas(&self.0.database, &self.0.published, &self.0.poll_now, &shutdown).await;
    }

    /// Whether the writer still takes commands.
    pub fn is_open(&self) -> bool {
        !self.0.queue.is_closed()
    }

    /// Whether commands are committed, as far as the writer knows: the last commit succeeded, or an attempt after it;
    /// none hangs; and there is room in the queue for commands of operators.
    pub fn accepts_commits(&self) -> bool {
        self.is_open() && self.0.health.is_ok() && self.0.queue.backlog().has_room_for_operators()
    }

    /// How old what this server knows of the cluster may be: how long ago it is known to have seen everything that was
    /// committed. On SQLite no other server commits.
    pub fn staleness(&self) -> Duration {
        if self.is_multi_server() { self.0.health.staleness() } else { Duration::ZERO }
    }

    /// How long ago the database last answered the writer, perhaps in the middle of a commit; or, if it has not
    /// answered since, how long ago the writer began to ask.
    pub fn database_idle(&self) -> Duration {
        self.0.database.progress().idle()
    }

    /// Whether other servers may commit to the same database.
    pub fn is_multi_server(&self) -> bool {
        self.0.database.backend() == DbBackend::Postgres
    }

    /// Whether this server follows what others commit: it has polled lately, and still can.
    pub fn is_following(&self) -> bool {
        self.is_open() && !(self.is_multi_server() && self.0.health.is_stale())
    }

    /// Has a command of the server itself decided and committed.
    pub async fn commit<C: Command>(&self, command: C) -> Result<Committed<C::Reply>> {
        self.submit(command, &Caller::server())?.committed().await
    }

    /// Has a command decided and committed. If the returned future is dropped, a command that has not begun is not
    /// begun, and one that has is finished.
    pub async fn commit_for<C: Command>(&self, command: C, caller: &Caller) -> Result<Committed<C::Reply>> {
        self.submit(command, caller)?.committed().await
    }

    /// Puts a command into the queue, and waits for its reply later. It is refused at once if it would have to wait too
    /// long.
    pub fn submit<C: Command>(&self, command: C, caller: &Caller) -> Result<Submitted<C::Reply>> {
        let span = commit_span(caller, command.lane());
        let reply = self.0.queue.send(command, caller, &self.0.published.load().snapshot)?;
        Ok(Submitted { reply, span })
    }

    /// Puts commands into the queue that came together: all of them, or none. They are committed together as far as one
    /// commit can hold them.
    pub fn submit_all<C: Command>(
        &self,
        commands: impl IntoIterator<Item = C>,
        caller: &Caller,
    ) -> Result<Vec<Submitted<C::Reply>>> {
        let mut commands = commands.into_iter().peekable();
        let mut span = commands.peek().map(|first| commit_span(caller, first.lane())).unwrap_or_default();
        let replies = self.0.queue.send_all(commands, caller, &self.0.published.load().snapshot)?;
        span.set("aetherium.commands", || replies.len() as u64);
        let without = |reply| Submitted { reply, span: Span::default() };
        let mut submitted: Vec<_> = replies.into_iter().map(without).collect();
        // One for all of them, which is over when the last one is committed.
        if let Some(last) = submitted.last_mut() {
            last.span = span;
        }
        Ok(submitted)
    }

    /// Refuses heartbeats before their bodies are read, if even one would have to wait too long.
    pub fn check_room_for_heartbeat(&self) -> Result<()> {
        self.0.queue.backlog().check(Lane::Workers)
    }

    /// Whether commands were refused within the last seconds because too many waited.
    pub fn sheds_load(&self) -> bool {
        self.0.queue.backlog().sheds_load()
    }

    /// How many commands were refused because too many waited, since this was last asked.
    pub fn take_refused(&self) -> u64 {
        self.0.queue.backlog().take_refused()
    }

    /// Notes signs of life of workers of whose commands nothing else is taken. The clock and the snapshot are read once
    /// for all of them: a server that refuses a million heartbeats a second has little time for each.
    pub fn note_liveness_signs<'a>(&self, signs: impl IntoIterator<Item = LivenessSign<'a>>) {
        let (known, now) = (self.snapshot(), self.0.signs.now());
        for sign in signs {
            self.0.signs.note(&known, &sign, now);
        }
    }

    /// What the journal has counted.
    pub(super) fn metrics(&self) -> &JournalMetrics {
        &self.0.metrics
    }

    /// The [noted](Self::note_liveness_signs) signs that are later than their workers' `last_seen`.
    pub fn unrecorded_liveness_signs(&self) -> Vec<NotedSign> {
        self.0.signs.newer_than(&self.snapshot())
    }

    /// The signs of life that this server has [noted](Self::note_liveness_signs).
    pub fn liveness_signs(&self) -> Arc<LivenessSigns> {
        self.0.signs.clone()
    }
}

/// The span of the time from when a command is put into the queue until its reply is there: of commands of requests, and
/// only where spans are exported.
fn commit_span(caller: &Caller, lane: Lane) -> Span {
    let request = caller.request().filter(|_| trace::is_exporting());
    let Some(parent) = request.and_then(|request| request.trace()) else { return Span::default() };
    let mut span = Span::begin(SpanKind::Internal, Some(parent), || "journal commit".to_owned());
    span.set("aetherium.lane", || lane.name());
    span
}

impl Source for Journal {
    fn collect(&self, families: &mut Vec<Family>) {
        let backlog = self.0.queue.backlog();
        let waiting = Lane::ALL.map(|lane| (lane.name(), backlog.load(lane).commands));
        self.0.metrics.collect(waiting, families);
    }
}
