//! The task that commits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use entity::cluster;
use rand::Rng as _;
use sea_orm::sqlx::{self, sqlite::SqliteError};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait, RuntimeErr, Statement,
    TransactionTrait,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::condition::CommitCondition;
use super::database::Database;
use super::draft::Draft;
use super::feed::Feed;
use super::files::{FileMoved, LookError};
use super::notify::Hints;
use super::outage::Outage;
use super::queue::{Batch, MAX_BATCH, Panicked, QueueReceiver, Queued};
use super::watchdog::{self, Work};
use super::{Published, rows};
use crate::clock::{Clock, Timestamp};
use crate::cluster::{Change, Changes, Epochs, Event, Snapshot};
use crate::error::{Error, Result};

/// Most rows that a batch may write to be tried as one of heartbeats without news: as many as one of nothing else has.
const MOST_TRIED: usize = MAX_BATCH;

/// How long commands wait for the end of an outage that is known, before they are refused.
const OUTAGE_PATIENCE: Duration = Duration::from_millis(1_500);

/// What PostgreSQL has ended before this had passed was not too long: no time-out of a commit is shorter (see
/// `database::postgres`).
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(4);

/// How often to look for what other servers on the same database committed, or for the files of the database.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);

/// Commits batches until told to stop, then commits what is still waiting.
pub struct Writer {
    database: Database,
    clock: Clock,
    /// The last state this server knows to be committed.
    state: Arc<Snapshot>,
    live: Arc<ArcSwap<Published>>,
    feed: Arc<Feed>,
    follow: Arc<Notify>,
    hints: Hints,
    queue: QueueReceiver,
    /// Told to whoever asks how this server is.
    condition: Arc<CommitCondition>,
    /// Set while the database is known to take no commits, or not all of them.
    outage: Option<Outage>,
    /// When it last took none, in milliseconds of the clock that never goes back.
    last_outage: Arc<AtomicU64>,
    /// Whether the last batch found the cluster as this server had left it: then the next one probably does, too.
    is_alone: bool,
    /// Whether the database was set back to an earlier state, and no epoch has begun since.
    was_set_back: bool,
    /// Whether this server has begun an epoch: in its life, and since the database was last set back.
    has_epoch: bool,
    /// Who gives the answers, if not the writer itself.
    answers: Option<mpsc::UnboundedSender<Settled>>,
}

/// A batch's place among all, and what the row of the cluster says for it.
struct Turn {
    revision: u64,
    /// The name of the last epoch.
    epoch: String,
    /// Incarnations that are handed out are above this.
    incarnation_floor: u64,
    /// Tombstones of workers that were purged up to this revision may be missing.
    tombstones_pruned_through: u64,
}

/// Stands for the floor in a batch that registers nobody, or is not committed.
const NO_INCARNATIONS: u64 = 0;

/// A batch that is committed, and the state that it led to.
struct Settled {
    batch: Batch,
    state: Arc<Snapshot>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("revision", &self.state.revision).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(
        database: Database,
        clock: Clock,
        state: Arc<Snapshot>,
        live: Arc<ArcSwap<Published>>,
        feed: Arc<Feed>,
        follow: Arc<Notify>,
        queue: QueueReceiver,
    ) -> Self {
        let hints = Hints::new(database.clone());
        let progress = database.progress().clone();
        Self {
            database,
            clock,
            state,
            live,
            feed,
            follow,
            hints,
            queue,
            condition: Arc::new(CommitCondition::new(progress)),
            outage: None,
            last_outage: Arc::default(),
            is_alone: true,
            was_set_back: false,
            has_epoch: false,
            answers: None,
        }
    }

    pub(super) fn last_outage(&self) -> Arc<AtomicU64> {
        self.last_outage.clone()
    }

    pub(super) fn condition(&self) -> Arc<CommitCondition> {
        self.condition.clone()
    }

    /// Commits whatever is waiting as soon as the previous batch is done, until told to stop, or until what is committed
    /// would be lost.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), FileMoved> {
        let Some(thread) = self.database.writers_thread().cloned() else { return self.write(shutdown).await };
        // Answers are given here, where those who wait for them are: to wake each from afar takes a call of the system.
        let (answers, mut answered) = mpsc::unbounded_channel();
        self.answers = Some(answers);
        let answering = async move {
            while let Some(Settled { batch, state }) = answered.recv().await {
                acknowledge(batch, &state);
            }
        };
        tokio::join!(thread.run(self.write(shutdown)), answering).0
    }

    async fn write(mut self, shutdown: CancellationToken) -> Result<(), FileMoved> {
        let mut polls = interval(FOLLOW_PERIOD);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let nudge = self.follow.clone();
        let may_have_company = self.database.backend() == DbBackend::Postgres;
        loop {
            tokio::select! {
                batch = self.queue.take_batch(&self.state) => match batch {
                    Some(batch) => self.commit(batch).await?,
                    None => break,
                },
                _ = polls.tick() => {
                    if may_have_company {
                        self.follow().await;
                    } else if let Err(LookError::Moved(moved)) = self.database.check_files() {
                        return Err(moved);
                    } else {
                        self.checkpoint().await;
                    }
                }
                () = outage_ends(&mut self.outage) => self.note_recovery().await,
                () = nudge.notified(), if may_have_company => self.follow().await,
                () = shutdown.cancelled(), if !self.queue.is_closed() => {
                    // Nothing new comes in; what is in goes on to be committed.
                    self.queue.close();
                }
            }
        }
        debug!(cluster.revision = self.state.revision, "The journal is closed at revision {}", self.state.revision);
        Ok(())
    }

    /// Commits a batch and answers everybody in it.
    async fn commit(&mut self, mut batch: Batch) -> Result<(), FileMoved> {
        if let Some(outage) = self.outage.as_mut().filter(|outage| outage.stops_commands) {
            outage.hurry();
            if timeout(OUTAGE_PATIENCE, outage.end()).await.is_err() {
                let error = DbErr::Custom("the database still takes no commits".to_owned()).into();
                self.note_outage_time();
                fail(batch.into_iter().chain(self.queue.take_all()), &error);
                return Ok(());
            }
            self.note_recovery().await;
        }
        self.queue.drop_abandoned(&mut batch, &self.state);
        if batch.is_empty() {
            return Ok(());
        }
        match self.attempt(&mut batch).await {
            Ok(()) => self.acknowledge(batch),
            Err(Failure::Moved(moved)) => {
                fail(batch, &file_moved(&moved));
                return Err(moved);
            }
            Err(Failure::Refused(error)) if batch.len() > 1 => {
                // Something in it that cannot be committed: find out which, spare the others.
                warn!(error = %error.chain(), "a batch of {} commands failed, trying it in halves", batch.len());
                let mut parts = halves(batch);
                while let Some(mut part) = parts.pop() {
                    // It may take long, and there is less to do the longer it does.
                    self.queue.drop_abandoned(&mut part, &self.state);
                    if part.is_empty() {
                        continue;
                    }
                    match self.attempt(&mut part).await {
                        Ok(()) => self.acknowledge(part),
                        Err(Failure::Moved(moved)) => {
                            fail(part.into_iter().chain(parts.into_iter().flatten()), &file_moved(&moved));
                            return Err(moved);
                        }
                        Err(Failure::Refused(_)) if part.len() > 1 => parts.extend(halves(part)),
                        Err(Failure::Refused(error)) => {
                            self.note_refusal(&error);
                            fail(part, &error);
                        }
                        Err(Failure::Outage(error)) => {
                            self.note_outage(&error);
                            fail(part.into_iter().chain(parts.drain(..).flatten()), &error);
                        }
                    }
                }
            }
            Err(Failure::Refused(error)) => {
                error!(error = %error.chain(), "a command cannot be committed");
                self.note_refusal(&error);
                fail(batch, &error);
            }
            Err(Failure::Outage(error)) => {
                self.note_outage(&error);
                // The others would only wait for the same, longer than anybody waits for them. But not those who come when
                // they have heard of it: what they are told has to be of their own time.
                let others = self.queue.take_all();
                fail(batch.into_iter().chain(others), &error);
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, batch: Batch) {
        match &self.answers {
            None => acknowledge(batch, &self.state),
            // Whoever answers does so until there is nobody left to settle anything.
            Some(answers) => _ = answers.send(Settled { batch, state: self.state.clone() }),
        }
        self.hints.send(self.state.revision);
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.condition.begin_commit();
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        let under_way = self.queue.begin_commit(batch);
        let work = self.try_commit_again(batch);
        let outcome = watchdog::watch(&database, &progress, Work::Commit, work).await;
        let has_succeeded = matches!(outcome, Ok(Ok(())));
        self.queue.end_commit(under_way, has_succeeded);
        self.condition.end_commit(has_succeeded);
        outcome.unwrap_or_else(|given_up| Err(outage(given_up.0)))
    }

    /// Tries once more what PostgreSQL has ended for a time-out that cannot have passed: it measures them by its wall clock,
    /// so those that are running are over when that is set forward. Nothing was committed then: the errors say so.
    async fn try_commit_again(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let begun = Instant::now();
        match self.try_commit(batch, true).await {
            Err(Failure::Outage(error)) if begun.elapsed() < SHORTEST_TIMEOUT && is_timeout(&error) => {
                debug!(error = %error.chain(), "a batch is tried once more");
                self.try_commit(batch, true).await
            }
            outcome => outcome,
        }
    }

    /// One transaction: lock, catch up, decide, write; or all of it at once, if that is possible.
    async fn try_commit(&mut self, batch: &mut Batch, may_repeat: bool) -> Result<(), Failure> {
        if !self.has_epoch {
            self.begin_epoch().await?;
        }
        if self.is_alone && self.database.backend() == DbBackend::Postgres {
            match self.try_heartbeats(batch).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failure @ (Failure::Refused(_) | Failure::Moved(_))) => return Err(failure),
                // The connection was lost, and perhaps it was committed. If so, what follows finds another revision, and
                // decides on that: as if the heartbeats had been sent twice.
                Err(Failure::Outage(error)) => debug!(error = %error.chain(), "a batch is tried once more"),
            }
        }
        // What is committed to a file that is not there any more is lost.
        self.database.check_files()?;
        let transaction = self.database.begin_writing().await.map_err(Error::from)?;
        let Turn { revision, epoch, incarnation_floor, tombstones_pruned_through } =
            self.raise_revision(&transaction).await?;
        self.is_alone = revision == self.state.revision + 1 && epoch == **self.state.epochs.latest();
        if !self.is_alone {
            self.catch_up(&transaction, revision - 1, &epoch, tombstones_pruned_through).await?;
            if !self.has_epoch {
                // The database was set back. What is committed on it belongs to another epoch than what it has lost.
                transaction.rollback().await.map_err(Error::from)?;
                if !may_repeat {
                    return Err(Failure::Outage(DbErr::Custom("it is set back again and again".to_owned()).into()));
                }
                return Box::pin(self.try_commit(batch, false)).await;
            }
        }
        self.condition.mark_up_to_date(self.condition.now());
        let base = self.state.clone();
        // Nobody else can answer any of them now: they would have to hold the lock that we hold.
        let keys: Vec<_> = batch.iter().filter_map(|queued| queued.key()).collect();
        let answers = rows::answers_of(&*transaction, &keys).await?;
        let mut draft = Draft::on(&base, revision, self.clock.now(), incarnation_floor, answers);
        decide(batch, &mut draft)?;
        if draft.is_empty() {
            // Repeated requests and refusals: nothing happened, so there is no new revision either.
            transaction.rollback().await.map_err(Error::from)?;
            return Ok(());
        }
        draft.write(&transaction).await?;
        // Until the commit, this server holds the lock that all others need.
        let locked = self.condition.now();
        // From here on a failure tells nothing about what was committed: the next batch finds out.
        transaction.commit().await.map_err(|error| Failure::Outage(error.into()))?;
        self.database.check_files()?;
        let at = draft.at;
        let (changes, events) = draft.into_changes();
        self.publish(&base, changes, revision, at, Some(events));
        self.condition.mark_up_to_date(locked);
        Ok(())
    }

    /// Nearly all batches are of heartbeats, and of them nearly all find the cluster as this server has left it. So they
    /// are decided on that, and written if it is so, in one statement instead of four, each of which would wait for its
    /// answer. Whether that was done; if not, nothing was.
    async fn try_heartbeats(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        // Other commands and those that come with a key are not among them, and large inventories have news: to try would
        // only be to decide twice.
        let rows = batch.iter().map(|queued| queued.rows()).fold(0, usize::saturating_add);
        if rows > MOST_TRIED || !batch.iter().all(|queued| queued.is_heartbeat() && queued.key().is_none()) {
            return Ok(false);
        }
        let base = self.state.clone();
        let revision = base.revision + 1;
        let mut draft = Draft::on(&base, revision, self.clock.now(), NO_INCARNATIONS, BTreeMap::new());
        decide(batch, &mut draft)?;
        let Some(beats) = draft.only_beats() else { return Ok(false) };
        // The clock is set by whoever looks for others' commits: what time it was before the disk was waited for is no use.
        let (connection, lease) = self.database.lease_writer().await.map_err(Error::from)?;
        let begun = self.condition.now();
        let is_written = beats.write_as_batch(&connection, base.epochs.latest()).await.map_err(Error::from)?;
        lease.succeed();
        if !is_written {
            self.is_alone = false;
            return Ok(false);
        }
        let at = draft.at;
        let (changes, events) = draft.into_changes();
        self.publish(&base, changes, revision, at, Some(events));
        self.condition.mark_up_to_date(begun);
        Ok(true)
    }

    /// Begins an epoch, by which what is committed from now on is told from what a copy of the database may come to have. If
    /// the database was set back, the incarnations are raised with it: once there is an epoch, nobody would notice any more,
    /// such as the next server after a crash.
    async fn begin_epoch(&mut self) -> Result<()> {
        let name = format!("{:012x}", rand::rng().random::<u64>() >> 16);
        let transaction = self.database.begin_writing().await?;
        rows::begin_epoch(&transaction, &name).await?;
        // Under the lock of all commits. It may have happened since this server read the database at its start.
        let row = cluster::Entity::find_by_id(cluster::ID).one(&*transaction).await?.ok_or_else(no_cluster_row)?;
        let epochs = rows::read_epochs(&*transaction).await?;
        if self.was_set_back || self.is_set_back(u64::try_from(row.revision).unwrap_or(0), &epochs) {
            // Some incarnations that the database does not know of may have been handed out, and their processes may live.
            // No process registers a thousand times a second, so the time in milliseconds is above what came before it,
            // and above what an earlier floor has led to.
            let floor = self.clock.now().timestamp_millis();
            cluster::Entity::raise_incarnation_floor(floor).exec(&*transaction).await?;
        }
        transaction.commit().await?;
        debug!(cluster.revision = self.state.revision, "Epoch {name} begins");
        self.has_epoch = true;
        self.was_set_back = false;
        // The next batch finds it in the database.
        self.is_alone = false;
        Ok(())
    }

    /// Raises the revision, which on PostgreSQL makes all servers' transactions take turns; also
    /// sets the clock by the database's.
    async fn raise_revision(&self, transaction: &DatabaseTransaction) -> Result<Turn> {
        let sql = match self.database.backend() {
            DbBackend::Postgres => {
                "UPDATE cluster SET revision = revision + 1 WHERE id = 1 \
                 RETURNING revision, epoch, incarnation_floor, tombstones_pruned_through, clock_timestamp() AS now"
            }
            _ => {
                "UPDATE cluster SET revision = revision + 1 WHERE id = 1 \
                 RETURNING revision, epoch, incarnation_floor, tombstones_pruned_through"
            }
        };
        let statement = Statement::from_string(self.database.backend(), sql);
        let row = transaction.query_one_raw(statement).await?.ok_or_else(no_cluster_row)?;
        if self.database.backend() == DbBackend::Postgres {
            self.clock.observe(row.try_get::<Timestamp>("", "now")?);
        }
        let number = |column: &str| -> Result<u64> {
            let number: i64 = row.try_get("", column)?;
            u64::try_from(number).map_err(|_| DbErr::Custom(format!("{column} {number} is negative")).into())
        };
        Ok(Turn {
            revision: number("revision")?,
            epoch: row.try_get("", "epoch")?,
            incarnation_floor: number("incarnation_floor")?,
            tombstones_pruned_through: number("tombstones_pruned_through")?,
        })
    }

    /// Brings SQLite's log into the database when it has become long. Between commits and not in one, as SQLite would do it
    /// by itself: a commit on a disk that takes two seconds for each `fsync` would wait for three, and be given up.
    async fn checkpoint(&mut self) {
        if self.outage.as_ref().is_some_and(|outage| outage.stops_commands) {
            return;
        }
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        match watchdog::watch(&database, &progress, Work::Commit, database.checkpoint_if_long()).await {
            Ok(Ok(is_done)) => {
                if is_done {
                    debug!("the log of SQLite was brought into the database");
                }
            }
            // Commits go to the log, and may succeed all the same. The next look tries again.
            Ok(Err(error)) => warn!(error = %error, "the log of SQLite cannot be brought into the database"),
            Err(given_up) => self.note_outage(&DbErr::Custom(given_up.0.to_owned()).into()),
        }
    }

    /// Looks for what other servers have committed. Not in an outage that stops commands: a look may hang as long as the
    /// outage lasts, and commands would wait behind it. What was missed is looked at when the outage is over.
    async fn follow(&mut self) {
        if self.outage.as_ref().is_some_and(|outage| outage.stops_commands) {
            return;
        }
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        // What is committed while it looks, it need not have seen.
        let begun = self.condition.now();
        let outcome = watchdog::watch(&database, &progress, Work::Look, self.try_follow())
            .await
            .unwrap_or_else(|given_up| Err(DbErr::Custom(given_up.0.to_owned()).into()));
        match outcome {
            Ok(()) => self.condition.mark_up_to_date(begun),
            // Tables that are not ours any more: known already.
            Err(_) if self.outage.is_some() => {}
            Err(error) => self.note_outage(&error),
        }
    }

    async fn try_follow(&mut self) -> Result<()> {
        let readers = self.database.watched_readers();
        let (now, is_read_only) = match self.database.backend() {
            DbBackend::Postgres => ("clock_timestamp()", "current_setting('transaction_read_only') = 'on'"),
            _ => ("NULL", "FALSE"),
        };
        let sql =
            format!("SELECT revision, epoch, {now} AS now, {is_read_only} AS is_read_only FROM cluster WHERE id = 1");
        let statement = Statement::from_string(self.database.backend(), sql);
        let row = readers.query_one_raw(statement).await?.ok_or_else(no_cluster_row)?;
        if row.try_get("", "is_read_only")? {
            // A primary that was demoted goes on to answer its sessions, with what was true then. A server that commits
            // nothing would follow it for ever.
            return Err(DbErr::Custom("the session is read-only, as on a primary that was demoted".to_owned()).into());
        }
        if let Some(now) = row.try_get::<Option<Timestamp>>("", "now")? {
            self.clock.observe(now);
        }
        let revision = u64::try_from(row.try_get::<i64>("", "revision")?).unwrap_or(0);
        if revision != self.state.revision || row.try_get::<String>("", "epoch")? != **self.state.epochs.latest() {
            let transaction = begin_reading(&readers).await?;
            let row = cluster::Entity::find_by_id(cluster::ID).one(&transaction).await?.ok_or_else(no_cluster_row)?;
            let unsigned = |number| u64::try_from(number).unwrap_or(0);
            let (revision, tombstones_pruned_through) =
                (unsigned(row.revision), unsigned(row.tombstones_pruned_through));
            self.catch_up(&transaction, revision, &row.epoch, tombstones_pruned_through).await?;
            transaction.commit().await?;
        }
        // Not only with the next commit of this server: others may not have noticed. And not only when something is new: to
        // this server nothing is any more, if it could not begin one when it noticed.
        if self.was_set_back
            && let Err(error) = self.begin_epoch().await
        {
            warn!(error = %error.chain(), "no epoch could be begun, the next look tries again");
        }
        Ok(())
    }

    /// Brings what is known up to the revision and the epoch of the database, as a transaction sees it.
    async fn catch_up(
        &mut self,
        transaction: &DatabaseTransaction,
        revision: u64,
        epoch: &str,
        tombstones_pruned_through: u64,
    ) -> Result<()> {
        let epochs = if epoch == &**self.state.epochs.latest() {
            self.state.epochs.clone()
        } else {
            rows::read_epochs(transaction).await?
        };
        let base = self.base_for(revision, epochs);
        let changes = rows::changes_since(transaction, &base, tombstones_pruned_through).await?;
        self.publish(&base, changes, revision, self.clock.now(), None);
        Ok(())
    }

    /// Whether a database at this revision, with these epochs, was set back since the last look, to a backup perhaps: what
    /// we know is ahead of it, or behind the end of its epoch there.
    fn is_set_back(&self, revision: u64, epochs: &Epochs) -> bool {
        revision < self.state.revision || !epochs.include(&self.state.cursor())
    }

    /// What to read changes on top of. If the database was set back, nothing we know can be trusted.
    fn base_for(&mut self, revision: u64, epochs: Epochs) -> Arc<Snapshot> {
        if self.is_set_back(revision, &epochs) {
            warn!(
                cluster.revision = revision,
                "The database is at revision {revision}, and not what it was at {}: reading everything again",
                self.state.revision
            );
            self.has_epoch = false;
            self.was_set_back = true;
            // What was heard since the backup is forgotten: everybody gets a whole time-out to be heard again.
            self.note_outage_time();
            return Arc::new(Snapshot::empty(epochs));
        }
        if epochs == self.state.epochs {
            return self.state.clone();
        }
        let mut base = Snapshot::clone(&self.state);
        base.epochs = epochs;
        Arc::new(base)
    }

    /// Makes a committed state the one that is read, and tells the feed.
    fn publish(
        &mut self,
        base: &Snapshot,
        changes: Changes,
        revision: u64,
        at: Timestamp,
        events: Option<Vec<Arc<Event>>>,
    ) {
        let starts_over = base.revision < self.state.revision;
        let is_news = starts_over || revision != self.state.revision;
        let workers = changes.workers.iter().map(|worker| worker.id.clone()).collect();
        let removed = changes.purged.len() + changes.gone.len();
        let snapshot = Arc::new(base.apply(changes, revision));
        let (epoch, ended_silence) = (snapshot.epochs.of(revision).clone(), snapshot.ended_silence());
        self.state = snapshot.clone();
        // That an epoch has begun is known from now on, and changes nothing.
        let at = if is_news { at } else { self.live.load().at };
        self.live.store(Arc::new(Published { snapshot, at }));
        if is_news {
            let after = base.revision;
            self.feed.tell(Change { at, after, revision, epoch, workers, removed, ended_silence, events, starts_over });
        }
    }

    /// The database does not take commits. Logged once; from now on somebody else looks for the end of it.
    fn note_outage(&mut self, error: &Error) {
        if self.condition.set_failing(true) {
            error!(error = %error.chain(), "the database does not take commits");
        }
        self.note_outage_time();
        if self.outage.as_ref().is_none_or(|outage| !outage.stops_commands) {
            self.outage = Some(Outage::begin(self.database.clone(), true));
        }
    }

    /// Until now the database took no commits: whoever judges silence has to know.
    fn note_outage_time(&self) {
        let milliseconds = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        // 0 is for never.
        self.last_outage.store(milliseconds.max(1), Ordering::Relaxed);
    }

    /// A command was refused. If that is the tables' fault and not the command's, this server is not well.
    fn note_refusal(&mut self, error: &Error) {
        if is_about_the_tables(error) && self.outage.is_none() {
            self.condition.set_failing(true);
            self.outage = Some(Outage::begin(self.database.clone(), false));
        }
    }

    /// The database takes commits again. What it took while it was unknown what it did, or from others, is looked at first.
    async fn note_recovery(&mut self) {
        let stopped_commands = self.outage.take().is_some_and(|outage| outage.stops_commands);
        if self.condition.set_failing(false) {
            info!("the database takes commits again");
        }
        if stopped_commands {
            // Another server may have taken over. What was opened to the one before stays with it, and would tell of the past.
            self.database.renew_readers().await;
            self.follow().await;
        }
    }
}

/// Waits for the end of an outage, if there is one.
async fn outage_ends(outage: &mut Option<Outage>) {
    match outage {
        Some(outage) => outage.end().await,
        None => std::future::pending().await,
    }
}

/// Has every command decide, one after the other; what it decided before counts no more.
fn decide(batch: &mut Batch, draft: &mut Draft<'_>) -> Result<(), Failure> {
    let refused = |Panicked| Failure::Refused(Error::Corrupt(Arc::new(Panicked)));
    batch.iter_mut().try_for_each(|queued| queued.decide(draft).map_err(refused))
}

/// The two halves of a batch, the one that came first last: where it is taken from.
fn halves(mut batch: Batch) -> Vec<Batch> {
    let second = batch.split_off(batch.len() / 2);
    vec![second, batch]
}

fn acknowledge(batch: Batch, state: &Arc<Snapshot>) {
    for queued in batch {
        queued.acknowledge(state);
    }
}

fn fail(batch: impl IntoIterator<Item = Box<dyn Queued>>, error: &Error) {
    for queued in batch {
        queued.fail(error);
    }
}

/// Why a batch was not committed.
enum Failure {
    /// Because of something in it: without that, the rest could be.
    Refused(Error),
    /// Because the database is not there, or not in a state to take any.
    Outage(Error),
    /// Because the file of the database is not where it was. What was committed may be nowhere.
    Moved(FileMoved),
}

fn outage(words: impl Into<String>) -> Failure {
    Failure::Outage(DbErr::Custom(words.into()).into())
}

fn file_moved(moved: &FileMoved) -> Error {
    DbErr::Custom(moved.to_string()).into()
}

impl From<LookError> for Failure {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Moved(moved) => Self::Moved(moved),
            LookError::Unknown(error) => outage(format!("the file of the database cannot be looked at: {error}")),
        }
    }
}

/// A failure on the way to a commit, before which nothing can have been committed; or of a statement that is a commit by
/// itself, which has done nothing if it was the data's fault, and else may have: the next batch finds out.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if is_about_the_data(&error) { Self::Refused(error) } else { Self::Outage(error) }
    }
}

/// Whether the database understood and refused: SQLSTATE classes 22 (data exception), 23 (integrity)
/// and 42 (no such thing), and their like on SQLite.
fn is_about_the_data(error: &Error) -> bool {
    match database_code(error) {
        // ERROR, TOOBIG, CONSTRAINT, MISMATCH.
        Some(Code::Sqlite(code)) => matches!(code, 1 | 18 | 19 | 20),
        Some(Code::Postgres(state)) => ["22", "23", "42"].iter().any(|class| state.starts_with(class)),
        None => false,
    }
}

/// Whether a statement does not fit the tables: they are not those of this version, or we may not write to them.
fn is_about_the_tables(error: &Error) -> bool {
    match database_code(error) {
        Some(Code::Sqlite(code)) => code == 1,
        Some(Code::Postgres(state)) => state.starts_with("42"),
        None => false,
    }
}

/// Whether PostgreSQL has ended a statement or a session because it took too long: SQLSTATE 57014 (query canceled), 55P03
/// (lock not available) and 25P03 (idle in transaction).
fn is_timeout(error: &Error) -> bool {
    matches!(database_code(error), Some(Code::Postgres(state)) if ["57014", "55P03", "25P03"].contains(&&*state))
}

/// What a database says is wrong.
enum Code {
    /// The primary code. Extended ones carry it in their low byte.
    Sqlite(u32),
    /// The SQLSTATE.
    Postgres(String),
}

fn database_code(error: &Error) -> Option<Code> {
    let Error::Database(error) = error else { return None };
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = &**error else {
        return None;
    };
    let sqlx::Error::Database(error) = &**error else { return None };
    let code = error.code()?;
    match code.parse::<u32>() {
        Ok(code) if error.try_downcast_ref::<SqliteError>().is_some() => Some(Code::Sqlite(code & 0xff)),
        _ => Some(Code::Postgres(code.into_owned())),
    }
}

/// Reads the state of the cluster from scratch.
pub(super) async fn load(database: &Database, clock: &Clock) -> Result<Snapshot> {
    if database.backend() == DbBackend::Postgres {
        let statement = Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp() AS now");
        if let Some(row) = database.readers().query_one_raw(statement).await? {
            clock.observe(row.try_get("", "now")?);
        }
    }
    let transaction = begin_reading(&database.readers()).await?;
    let row = cluster::Entity::find_by_id(cluster::ID).one(&transaction).await?.ok_or_else(no_cluster_row)?;
    let base = Snapshot::empty(rows::read_epochs(&transaction).await?);
    let changes = rows::changes_since(&transaction, &base, 0).await?;
    transaction.commit().await?;
    Ok(base.apply(changes, u64::try_from(row.revision).unwrap_or(0)))
}

/// Begins a transaction that reads, all of it of one revision.
async fn begin_reading(readers: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match readers.get_database_backend() {
        DbBackend::Postgres => {
            let isolation = sea_orm::IsolationLevel::RepeatableRead;
            readers.begin_with_config(Some(isolation), None).await
        }
        _ => readers.begin().await,
    }
}

fn no_cluster_row() -> Error {
    DbErr::RecordNotFound("the row of the cluster".to_owned()).into()
}
