//! The only writer.
//!
//! Commands queue up here. One task (on PostgreSQL in a thread of its own) takes whatever is
//! waiting, decides it on the latest state, commits it as one batch with one revision, publishes the
//! new snapshot, tells the feed, and only then answers, in this order: when somebody has an answer,
//! the change is on disk and in memory. While one batch commits, the next one collects; no timer is
//! needed.
//!
//! **How a batch is right also with several servers.** Its transaction first raises the revision in
//! the `cluster` row. On PostgreSQL that row's lock makes the writing transactions of all servers
//! wait for each other. If the revision found is not the one this server knows, it reads what
//! changed inside the same transaction. So decisions are made on a state that is certainly the
//! latest, as plain functions ([`commands`]), and there is no leader. A batch of heartbeats is decided
//! on what is known, and written by a statement that does so only if that is the latest; else it is
//! committed as any other. The same mends a commit whose outcome was lost with the connection: the
//! next batch finds out.
//!
//! **Invariant:** nobody else writes to the tables of the cluster, except that [`LogTrimmer`] removes old entries of the
//! change log and old answers, beside it. Old tombstones, which are part of the state, it has removed by a command.

mod beats;
pub mod commands;
mod commit_cost;
mod condition;
mod connections;
mod database;
mod draft;
mod feed;
mod files;
mod idempotency;
mod log;
mod migrations;
mod notify;
mod open_error;
mod outage;
mod published;
mod queue;
mod retention;
mod rows;
mod schema;
mod signs;
mod statements;
mod thread;
mod watchdog;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sea_orm::DbBackend;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::commands::Command;
use self::commands::{Heard, Lane, SignOfLife};
use self::condition::CommitCondition;
pub use self::database::{Database, without_password};
use self::feed::Feed;
pub use self::feed::{Ended, Listener, Missed};
pub use self::files::FileMoved;
pub use self::idempotency::Answer;
pub use self::log::{Extent, Log, LogPage};
pub use self::migrations::MigrationState;
pub use self::open_error::OpenError;
pub use self::published::{Committed, Published};
use self::queue::QueueSender;
pub use self::retention::{LogTrimmer, Retention};
pub use self::signs::SignsOfLife;
pub use self::writer::Writer;
use crate::clock::Clock;
use crate::cluster::{Cursor, Snapshot};
use crate::error::{Error, Result};

/// How long to wait for a revision that another server has told of.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Hands commands to the writer, and its results to whoever listens. Cheap to clone: every request has one.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Ends>);

/// The journal's side of what it shares with the writer.
#[derive(Debug)]
struct Ends {
    queue: QueueSender,
    signs: Arc<SignsOfLife>,
    live: Arc<ArcSwap<Published>>,
    feed: Arc<Feed>,
    /// Wakes the writer to look for what other servers committed.
    follow: Arc<Notify>,
    /// When a commit last failed, in milliseconds of the clock that never goes back; 0 if none has.
    last_outage: Arc<AtomicU64>,
    condition: Arc<CommitCondition>,
    log: Log,
    database: Database,
}

/// A command that waits for its commit.
#[derive(Debug)]
pub struct Submitted<T>(oneshot::Receiver<Result<Committed<T>>>);

impl<T> Submitted<T> {
    /// What came of it.
    pub async fn committed(self) -> Result<Committed<T>> {
        self.0.await.map_err(|_| Error::ShuttingDown)?
    }
}

impl Journal {
    /// Reads the whole state and gets ready to write. Nothing is written until the [`Writer`] runs.
    pub async fn open(database: Database, clock: Clock) -> Result<(Self, Writer)> {
        let signs = Arc::new(SignsOfLife::new(clock.clone()));
        let (queue, waiting) = queue::queue(signs.clone());
        let feed = Arc::new(Feed::new());
        let snapshot = Arc::new(writer::load(&database, &clock).await?);
        let live = Arc::new(ArcSwap::from_pointee(Published { at: clock.now(), snapshot: snapshot.clone() }));
        let log = Log::new(database.clone(), live.clone());
        let follow = Arc::new(Notify::new());
        let writer =
            Writer::new(database.clone(), clock, snapshot, live.clone(), feed.clone(), follow.clone(), waiting);
        let (last_outage, condition) = (writer.last_outage(), writer.condition());
        Ok((Self(Arc::new(Ends { queue, signs, live, feed, follow, last_outage, condition, log, database })), writer))
    }

    /// The cluster as of the last commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.live.load().snapshot.clone()
    }

    /// The cluster as of the last commit, and when that was.
    pub fn published(&self) -> Arc<Published> {
        self.0.live.load_full()
    }

    /// Commits from now on. Subscribe first and take the snapshot then: whatever is in the snapshot
    /// already can be told by its revision.
    pub fn subscribe(&self) -> Listener {
        self.0.feed.listen()
    }

    /// Commits after a revision, those that have been and those to come; none if it cannot be told any more what has been.
    pub fn subscribe_after(&self, revision: u64) -> Option<Listener> {
        // First the place: what is committed after the look at the state is behind it.
        let now = self.subscribe();
        if self.snapshot().revision == revision { Some(now) } else { self.0.feed.listen_after(revision) }
    }

    /// The cluster at this revision or a later one: a client that has been told of a revision by
    /// another server wants to see it here too.
    pub async fn snapshot_at_least(&self, revision: u64) -> Result<Arc<Snapshot>> {
        let snapshot = self.snapshot();
        if snapshot.revision >= revision {
            return Ok(snapshot);
        }
        let arriving = async {
            if !self.is_committed(revision).await? {
                return Err(Error::NotOfThisDatabase { wanted: revision, current: self.snapshot().revision });
            }
            self.arrival(|snapshot| snapshot.revision >= revision).await
        };
        self.in_time(revision, arriving).await
    }

    /// The cluster at this place of the change log or a later one. None if there is no such place: if the cursor is of
    /// another database, or of what this one was before it was restored from a backup.
    pub async fn snapshot_with(&self, place: &Cursor) -> Result<Option<Arc<Snapshot>>> {
        let snapshot = self.snapshot();
        let is_known = snapshot.epochs.include(place);
        if is_known && place.revision <= snapshot.revision {
            return Ok(Some(snapshot));
        }
        // Another server may have begun an epoch, or committed what this one has not seen yet.
        let arriving = async {
            if self.0.database.backend() != DbBackend::Postgres {
                return Ok(None);
            }
            let (revision, epoch) = self.0.log.committed().await?;
            // Without a later epoch there are none that this server does not know, and none has ended.
            let is_known = if epoch == **snapshot.epochs.latest() {
                is_known
            } else {
                rows::read_epochs(&*self.0.database.readers()).await?.include(place)
            };
            if !is_known || revision < place.revision {
                return Ok(None);
            }
            let has_place = |snapshot: &Snapshot| snapshot.epochs.include(place) && place.revision <= snapshot.revision;
            self.arrival(has_place).await.map(Some)
        };
        self.in_time(place.revision, arriving).await
    }

    /// Whether the database has this revision, which this server has not seen. On SQLite nobody else commits.
    pub async fn is_committed(&self, revision: u64) -> Result<bool> {
        Ok(self.0.database.backend() == DbBackend::Postgres && self.0.log.committed().await?.0 >= revision)
    }

    /// The cluster as soon as it is so.
    async fn arrival(&self, is_there: impl Fn(&Snapshot) -> bool) -> Result<Arc<Snapshot>> {
        let mut feed = self.subscribe();
        loop {
            let snapshot = self.snapshot();
            if is_there(&snapshot) {
                return Ok(snapshot);
            }
            self.0.follow.notify_one();
            if let Err(Ended) = feed.next().await {
                return Err(Error::ShuttingDown);
            }
        }
    }

    async fn in_time<T>(&self, wanted: u64, arriving: impl Future<Output = Result<T>>) -> Result<T> {
        let not_reached = |_| Err(Error::RevisionNotReached { wanted, current: self.snapshot().revision });
        timeout(ARRIVAL_TIMEOUT, arriving).await.unwrap_or_else(not_reached)
    }

    /// The change log.
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// The database behind it.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// When the database last failed to take a commit, if it ever did, by [`Clock::monotonic`].
    pub fn last_outage(&self) -> Option<Duration> {
        match self.0.last_outage.load(Ordering::Relaxed) {
            0 => None,
            milliseconds => Some(Duration::from_millis(milliseconds)),
        }
    }

    /// What keeps the change log, the answers to requests with a key and the tombstones from growing for ever, for somebody
    /// to run.
    pub fn log_trimmer(&self, clock: Clock, retention: Retention) -> LogTrimmer {
        LogTrimmer::new(self.clone(), clock, retention)
    }

    /// Listens for what other servers commit, until told to stop. Without it, they are found by looking.
    pub async fn listen(self, shutdown: CancellationToken) {
        notify::listen(&self.0.database, &self.0.live, &self.0.follow, &shutdown).await;
    }

    /// Whether the writer still takes commands.
    pub fn is_open(&self) -> bool {
        !self.0.queue.is_closed()
    }

    /// Whether commands are committed, as far as the writer knows: the last commit succeeded, or an attempt after it, none
    /// hangs, and there is room for those of operators.
    pub fn takes_commits(&self) -> bool {
        self.is_open() && self.0.condition.is_ok() && self.0.queue.backlog().has_room_for_operators()
    }

    /// How old what this server knows of the cluster may be: how long ago it last saw that it knew everything that was
    /// committed. On SQLite nobody else commits.
    pub fn staleness(&self) -> Duration {
        if self.is_multi_server() { self.0.condition.staleness() } else { Duration::ZERO }
    }

    /// How long ago the database last answered the journal, in the middle of a commit perhaps; or that began to ask.
    pub fn unanswered_for(&self) -> Duration {
        self.0.database.progress().idle()
    }

    /// Whether other servers may commit to the same database.
    pub fn is_multi_server(&self) -> bool {
        self.0.database.backend() == DbBackend::Postgres
    }

    /// Whether this server follows what others commit: it has looked lately, and can.
    pub fn is_following(&self) -> bool {
        self.is_open() && !(self.is_multi_server() && self.0.condition.is_stale())
    }

    /// Has a command decided and committed. Whoever stops waiting may or may not have stopped it: what
    /// has begun is finished, what has not is not begun.
    pub async fn commit<C: Command>(&self, command: C) -> Result<Committed<C::Reply>> {
        self.submit(command)?.committed().await
    }

    /// Hands a command over, to ask for its outcome later. It is refused at once if it would have to wait for too long.
    pub fn submit<C: Command>(&self, command: C) -> Result<Submitted<C::Reply>> {
        self.0.queue.send(command, &self.0.live.load().snapshot).map(Submitted)
    }

    /// Hands commands over that came together, and have to be committed together as far as one commit can hold them: all
    /// of them, or none.
    pub fn submit_all<C: Command>(&self, commands: impl IntoIterator<Item = C>) -> Result<Vec<Submitted<C::Reply>>> {
        let answers = self.0.queue.send_all(commands, &self.0.live.load().snapshot)?;
        Ok(answers.into_iter().map(Submitted).collect())
    }

    /// Refuses heartbeats, of which nothing else is known yet, if even one would have to wait for too long.
    pub fn check_room_for_heartbeat(&self) -> Result<()> {
        self.0.queue.backlog().check(Lane::Workers)
    }

    /// Whether commands were refused within the last seconds because too many wait.
    pub fn sheds_load(&self) -> bool {
        self.0.queue.backlog().sheds_load()
    }

    /// How many commands were refused because too many wait, since this was last asked.
    pub fn take_refused(&self) -> u64 {
        self.0.queue.backlog().take_refused()
    }

    /// Notes that a worker is alive, of whose heartbeat nothing else is taken.
    pub fn hear(&self, sign: &SignOfLife<'_>) {
        self.0.signs.note(&self.snapshot(), sign, self.0.signs.now());
    }

    /// Workers of whom it was [noted](Self::hear) that they are alive, by this server, later than they were last seen.
    pub fn heard(&self) -> Vec<Heard> {
        self.0.signs.newer_than(&self.snapshot())
    }

    /// What it is [noted](Self::hear) in.
    pub fn signs(&self) -> Arc<SignsOfLife> {
        self.0.signs.clone()
    }
}
