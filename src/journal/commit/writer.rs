//! The writer: the task that commits batches of commands, and polls for the commits of other servers.
//!
//! It takes the commands that wait, decides them on the latest state, commits them as one batch with one revision,
//! publishes the new snapshot, and only then sends the replies. While one batch commits, the next one collects in the
//! queue, so that no timer is needed to form batches.
//!
//! What a command decides is not here, but in [`commands`](crate::journal::commands); what a poll reads is applied in
//! [`known_state`](crate::journal::follow::known_state); the time-outs of a commit and of a poll are in
//! [`watchdog`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sea_orm::{DbBackend, DbErr};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::failure::{Failure, JournalEnded, file_moved, is_about_the_tables, is_timeout, outage};
use super::health::CommitHealth;
use super::watchdog::{self, WorkKind};
use crate::clock::Clock;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};
use crate::journal::batch::Batch;
use crate::journal::feed::ChangeFeed;
use crate::journal::follow::known_state::KnownState;
use crate::journal::follow::notify::CommitNotifier;
use crate::journal::metrics::JournalMetrics;
use crate::journal::published::Published;
use crate::journal::queue::backlog::MAX_BATCH_COMMANDS;
use crate::journal::queue::command_queue::QueueReceiver;
use crate::journal::queue::pending_command::{PendingCommand, PendingCommands};
use crate::journal::store::cluster_row::ClusterRow;
use crate::journal::store::database::Database;
use crate::journal::store::heartbeat_rows::HeartbeatRows;
use crate::journal::store::outage::{Outage, OutageEnd};
use crate::journal::store::rows;
use crate::journal::store::sqlite_files::FileCheckError;
use crate::journal::store::statement_meter::uncounted;
use crate::journal::store::write_batch::write_batch;

/// Most rows that a batch may write to be tried as one of plain heartbeats: as many as a batch of nothing else has.
const MAX_PLAIN_HEARTBEAT_ROWS: usize = MAX_BATCH_COMMANDS;

/// How long commands wait for the end of an outage that is known, before they are refused.
const OUTAGE_WAIT: Duration = Duration::from_millis(1_500);

/// If PostgreSQL ended a statement for a time-out before this time had passed, the time-out cannot really have passed:
/// none of a commit is shorter (see `store::postgres`).
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(4);

/// How often to poll for commits of other servers on the same database, or to check the files of the database.
const POLL_PERIOD: Duration = Duration::from_millis(500);

/// Stands for the incarnation floor in a batch that registers nobody, or is not committed.
const NO_INCARNATION_FLOOR: u64 = 0;

/// Commits batches until told to stop, then commits what still waits.
pub struct Writer {
    database: Database,
    clock: Clock,
    /// The last state that this server knows to be committed.
    known: KnownState,
    queue: QueueReceiver,
    /// Wakes the writer to poll for commits of other servers at once.
    poll_now: Arc<Notify>,
    /// Notifies other servers of commits.
    notifier: CommitNotifier,
    health: Arc<CommitHealth>,
    metrics: Arc<JournalMetrics>,
    /// Set while the database is known to take no commits, or not all of them.
    outage: Option<Outage>,
    /// Where batches are acknowledged, if not by the writer itself.
    acknowledgements: Option<mpsc::UnboundedSender<CommittedBatch>>,
}

/// The commands of a batch that is committed, and the state that it led to.
struct CommittedBatch {
    commands: PendingCommands,
    snapshot: Arc<Snapshot>,
}

impl CommittedBatch {
    /// Sends the replies.
    fn acknowledge(self) {
        for pending in self.commands {
            pending.acknowledge(&self.snapshot);
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("revision", &self.known.snapshot().revision).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer on top of this state, which takes commands from the queue.
    pub(in crate::journal) fn new(
        database: Database,
        clock: Clock,
        snapshot: Arc<Snapshot>,
        published: Arc<ArcSwap<Published>>,
        feed: Arc<ChangeFeed>,
        poll_now: Arc<Notify>,
        queue: QueueReceiver,
    ) -> Self {
        Self {
            known: KnownState::new(database.clone(), clock.clone(), snapshot, published, feed),
            queue,
            poll_now,
            notifier: CommitNotifier::new(database.clone()),
            health: Arc::new(CommitHealth::new(database.progress().clone())),
            metrics: Arc::new(JournalMetrics::new()),
            outage: None,
            acknowledgements: None,
            database,
            clock,
        }
    }

    /// When the database last took no commits, in milliseconds of the monotonic clock; 0 if it always has.
    pub fn last_outage(&self) -> Arc<AtomicU64> {
        self.known.last_outage()
    }

    /// Tells that tokens may have changed.
    pub fn token_changes(&self) -> watch::Receiver<()> {
        self.known.token_changes()
    }

    /// The health of commits, which the writer records.
    pub fn health(&self) -> Arc<CommitHealth> {
        self.health.clone()
    }

    /// What the writer counts for monitoring.
    pub fn metrics(&self) -> Arc<JournalMetrics> {
        self.metrics.clone()
    }

    /// Commits whatever waits as soon as the previous batch is done, until told to stop, until what is committed would be
    /// lost, or until the tables are those of a newer version that this one cannot use.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), JournalEnded> {
        let Some(thread) = self.database.writer_thread().cloned() else { return self.commit_all(shutdown).await };
        // Replies are sent from this thread, where those who wait for them are: waking each of them from another thread
        // takes a system call.
        let (sender, mut receiver) = mpsc::unbounded_channel::<CommittedBatch>();
        self.acknowledgements = Some(sender);
        let acknowledging = async move {
            while let Some(committed) = receiver.recv().await {
                committed.acknowledge();
            }
        };
        tokio::join!(thread.run(self.commit_all(shutdown)), acknowledging).0
    }

    async fn commit_all(mut self, shutdown: CancellationToken) -> Result<(), JournalEnded> {
        let mut polls = interval(POLL_PERIOD);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let poll_now = self.poll_now.clone();
        let is_multi_server = self.database.backend() == DbBackend::Postgres;
        loop {
            tokio::select! {
                commands = self.queue.take_batch(self.known.snapshot()) => match commands {
                    Some(commands) => self.commit(commands).await?,
                    None => break,
                },
                _ = polls.tick() => {
                    if is_multi_server {
                        self.poll().await;
                    } else if let Err(FileCheckError::Moved(moved)) = self.database.check_files() {
                        return Err(moved.into());
                    } else {
                        self.checkpoint().await;
                        self.poll_sqlite().await;
                    }
                }
                end = outage_ends(&mut self.outage) => self.leave_outage(end).await,
                () = poll_now.notified(), if is_multi_server => self.poll().await,
                () = shutdown.cancelled(), if !self.queue.is_closed() => {
                    // Nothing new is let in; what waits is still committed.
                    self.queue.close();
                }
            }
            // A poll notices that, also one after an outage, or the probe in one.
            if let Some(contracted) = self.known.contracted() {
                return Err(contracted.clone().into());
            }
        }
        let revision = self.known.snapshot().revision;
        debug!(cluster.revision = revision, "The journal is closed at revision {revision}");
        Ok(())
    }

    /// Commits commands as one batch and sends all of their replies.
    async fn commit(&mut self, mut commands: PendingCommands) -> Result<(), JournalEnded> {
        if let Some(outage) = self.outage.as_mut().filter(|outage| outage.blocks_commands) {
            outage.probe_now();
            let Ok(end) = timeout(OUTAGE_WAIT, outage.ended()).await else {
                let error = DbErr::Custom("the database still takes no commits".to_owned()).into();
                self.known.stamp_outage();
                fail(commands.into_iter().chain(self.queue.take_all()), &error);
                return Ok(());
            };
            self.leave_outage(end).await;
            if let Some(contracted) = self.known.contracted() {
                let error = DbErr::Custom(contracted.to_string()).into();
                fail(commands.into_iter().chain(self.queue.take_all()), &error);
                return Err(contracted.clone().into());
            }
        }
        self.queue.drop_abandoned(&mut commands, self.known.snapshot());
        if commands.is_empty() {
            return Ok(());
        }
        match self.commit_watched(&mut commands).await {
            Ok(()) => self.acknowledge(commands),
            Err(Failure::Moved(moved)) => {
                fail(commands, &file_moved(&moved));
                return Err(moved.into());
            }
            Err(Failure::Refused(error)) if commands.len() > 1 => {
                // One of them cannot be committed. It is found by halving, and the others are spared.
                warn!(error = %error.chain(), "a batch of {} commands failed, trying it in halves", commands.len());
                self.commit_in_halves(commands).await?;
            }
            Err(Failure::Refused(error)) => {
                error!(error = %error.chain(), "a command cannot be committed");
                self.check_tables(&error);
                fail(commands, &error);
            }
            Err(Failure::Outage(error)) => {
                self.enter_outage(&error);
                // The commands that wait would only run into the same outage, and take longer than their clients wait.
                // Commands that are sent from now on do not fail with them: the next attempt decides about those.
                let waiting = self.queue.take_all();
                fail(commands.into_iter().chain(waiting), &error);
            }
        }
        Ok(())
    }

    async fn commit_in_halves(&mut self, commands: PendingCommands) -> Result<(), JournalEnded> {
        let mut stack = halves(commands);
        while let Some(mut commands) = stack.pop() {
            // Halving may take long, and clients give up meanwhile.
            self.queue.drop_abandoned(&mut commands, self.known.snapshot());
            if commands.is_empty() {
                continue;
            }
            match self.commit_watched(&mut commands).await {
                Ok(()) => self.acknowledge(commands),
                Err(Failure::Moved(moved)) => {
                    fail(commands.into_iter().chain(stack.into_iter().flatten()), &file_moved(&moved));
                    return Err(moved.into());
                }
                Err(Failure::Refused(_)) if commands.len() > 1 => stack.extend(halves(commands)),
                Err(Failure::Refused(error)) => {
                    self.check_tables(&error);
                    fail(commands, &error);
                }
                Err(Failure::Outage(error)) => {
                    self.enter_outage(&error);
                    fail(commands.into_iter().chain(stack.drain(..).flatten()), &error);
                }
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, commands: PendingCommands) {
        let committed = CommittedBatch { commands, snapshot: self.known.snapshot().clone() };
        match &self.acknowledgements {
            None => committed.acknowledge(),
            // The receiver is there for as long as the writer is.
            Some(acknowledgements) => _ = acknowledgements.send(committed),
        }
        self.notifier.notify(self.known.snapshot().revision);
    }

    /// Commits under the watchdog, and records how it went.
    async fn commit_watched(&mut self, commands: &mut PendingCommands) -> Result<(), Failure> {
        self.health.begin_commit();
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        let (in_progress, begun) = (self.queue.begin_commit(commands), Instant::now());
        let work = self.try_commit_with_retry(commands);
        let outcome = watchdog::watch(&database, &progress, WorkKind::Commit, work).await;
        let has_succeeded = matches!(outcome, Ok(Ok(())));
        self.queue.end_commit(in_progress, has_succeeded);
        self.health.end_commit(has_succeeded);
        self.metrics.observe_commit(commands.len(), begun.elapsed(), has_succeeded);
        outcome.unwrap_or_else(|aborted| Err(outage(aborted.0)))
    }

    /// Tries once more if PostgreSQL ended the commit for a time-out that cannot really have passed: PostgreSQL
    /// measures time-outs by its wall clock, so those that run are over when that clock is set forward. Nothing was
    /// committed then: the error says so.
    async fn try_commit_with_retry(&mut self, commands: &mut PendingCommands) -> Result<(), Failure> {
        let begun = Instant::now();
        match self.try_commit(commands, true).await {
            Err(Failure::Outage(error)) if begun.elapsed() < SHORTEST_TIMEOUT && is_timeout(&error) => {
                debug!(error = %error.chain(), "a batch is tried once more");
                self.try_commit(commands, true).await
            }
            outcome => outcome,
        }
    }

    /// One transaction: lock, catch up, decide, write; or one statement, if that will do.
    async fn try_commit(&mut self, commands: &mut PendingCommands, may_repeat: bool) -> Result<(), Failure> {
        if !self.known.has_epoch() {
            self.known.begin_epoch().await?;
        }
        if self.known.is_probably_latest() && self.database.backend() == DbBackend::Postgres {
            match self.try_commit_plain_heartbeats(commands).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failure @ (Failure::Refused(_) | Failure::Moved(_))) => return Err(failure),
                // The connection was lost, and perhaps the statement was committed. If so, the transaction below finds
                // another revision, and decides on that: as if the heartbeats had been sent twice.
                Err(Failure::Outage(error)) => debug!(error = %error.chain(), "a batch is tried once more"),
            }
        }
        // What is committed to a file that is not there any more is lost.
        self.database.check_files()?;
        let transaction = self.database.begin_writing().await.map_err(Error::from)?;
        let (row, now) = ClusterRow::raise_revision(&transaction).await?;
        if let Some(now) = now {
            self.clock.observe(now);
        }
        let ClusterRow { revision, epoch, incarnation_floor, pruned_through } = row;
        let known = self.known.snapshot();
        let is_latest = revision == known.revision + 1 && epoch == **known.epochs.latest();
        self.known.set_probably_latest(is_latest);
        if !is_latest {
            self.known.catch_up(&transaction, revision - 1, &epoch, pruned_through).await?;
            if !self.known.has_epoch() {
                // The database was restored. What is committed to it belongs to another epoch than what it has lost.
                transaction.rollback().await.map_err(Error::from)?;
                if !may_repeat {
                    return Err(outage("it is set back again and again"));
                }
                return Box::pin(self.try_commit(commands, false)).await;
            }
        }
        self.health.mark_up_to_date(self.health.now());
        let base = self.known.snapshot().clone();
        // No other server can make a record of these keys now: it would have to hold the lock that this transaction
        // holds.
        let keys: Vec<_> = commands.iter().filter_map(|pending| pending.key()).collect();
        let records = rows::find_idempotency_records(&*transaction, &keys).await?;
        let mut batch = Batch::on(&base, revision, self.clock.now(), incarnation_floor, records);
        decide(commands, &mut batch)?;
        if batch.is_empty() {
            // Repeated requests and refusals: nothing changed, so there is no new revision either.
            transaction.rollback().await.map_err(Error::from)?;
            return Ok(());
        }
        write_batch(&transaction, &batch).await?;
        // Until the commit, this server holds the lock that all others need, so nothing else is committed.
        let locked = self.health.now();
        // After an error from here on it is unknown whether the batch was committed. The next batch finds out.
        transaction.commit().await.map_err(|error| Failure::Outage(error.into()))?;
        self.database.check_files()?;
        let at = batch.at;
        let (changes, events) = batch.into_changes();
        self.known.publish(&base, changes, revision, at, Some(events));
        self.health.mark_up_to_date(locked);
        Ok(())
    }

    /// Commits a batch of plain heartbeats in one statement instead of four, each of which would wait for its answer.
    /// The batch is decided on the state that this server knows, and the statement changes rows only if the database is
    /// still at that state. Nearly all batches are of heartbeats, and nearly all of those are committed so. Answers
    /// whether this one was; if not, nothing was changed.
    async fn try_commit_plain_heartbeats(&mut self, commands: &mut PendingCommands) -> Result<bool, Failure> {
        // Other commands, those with an idempotency key, and large inventories are never plain: to try them would only
        // be to decide them twice.
        let rows = commands.iter().map(|pending| pending.rows()).fold(0, usize::saturating_add);
        let may_be_plain = commands.iter().all(|pending| pending.is_heartbeat() && pending.key().is_none());
        if rows > MAX_PLAIN_HEARTBEAT_ROWS || !may_be_plain {
            return Ok(false);
        }
        let base = self.known.snapshot().clone();
        let revision = base.revision + 1;
        let mut batch = Batch::on(&base, revision, self.clock.now(), NO_INCARNATION_FLOOR, BTreeMap::new());
        decide(commands, &mut batch)?;
        if !batch.is_plain_heartbeats_only() {
            return Ok(false);
        }
        // Unlike a transaction, the statement does not ask for the time, which would be that before the wait for the
        // disk. The clock is set by the polls.
        let (connection, lease) = self.database.lease_writer().await.map_err(Error::from)?;
        let begun = self.health.now();
        let heartbeats = HeartbeatRows::of(&batch);
        let is_written = heartbeats.write_as_batch(&connection, base.epochs.latest()).await.map_err(Error::from)?;
        lease.succeed();
        if !is_written {
            self.known.set_probably_latest(false);
            return Ok(false);
        }
        let at = batch.at;
        let (changes, events) = batch.into_changes();
        self.known.publish(&base, changes, revision, at, Some(events));
        self.health.mark_up_to_date(begun);
        Ok(true)
    }

    /// Checkpoints SQLite's log when it has become long. This is done between commits and not in one, as SQLite would
    /// by itself: a commit to a disk that takes two seconds for each `fsync` would wait for three, and be given up.
    async fn checkpoint(&mut self) {
        if self.is_blocked() {
            return;
        }
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        match watchdog::watch(&database, &progress, WorkKind::Commit, database.checkpoint_if_long()).await {
            Ok(Ok(is_done)) => {
                if is_done {
                    debug!("the log of SQLite was brought into the database");
                }
            }
            // Commits go to the log, and may succeed all the same. The next tick tries again.
            Ok(Err(error)) => warn!(error = %error, "the log of SQLite cannot be brought into the database"),
            Err(aborted) => self.enter_outage(&DbErr::Custom(aborted.0.to_owned()).into()),
        }
    }

    /// Polls for what other servers have committed. Not in an outage that blocks commands: a poll may hang as long as
    /// the outage lasts, and commands would wait behind it. What was missed is read when the outage is over.
    async fn poll(&mut self) {
        if self.is_blocked() {
            return;
        }
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        // What is committed during the poll need not have been seen by it.
        let begun = self.health.now();
        let outcome = watchdog::watch(&database, &progress, WorkKind::Poll, uncounted(self.known.poll()))
            .await
            .unwrap_or_else(|aborted| Err(DbErr::Custom(aborted.0.to_owned()).into()));
        match outcome {
            Ok(()) => self.health.mark_up_to_date(begun),
            // The tables are not this version's any more, which is known already.
            Err(_) if self.outage.is_some() => {}
            Err(error) => self.enter_outage(&error),
        }
    }

    /// Polls for what `aetherium token` has committed beside this server; no other program commits to SQLite. That it
    /// cannot be read is no outage: commits find out for themselves.
    async fn poll_sqlite(&mut self) {
        if self.is_blocked() {
            return;
        }
        let (database, progress) = (self.database.clone(), self.database.progress().clone());
        match watchdog::watch(&database, &progress, WorkKind::Poll, uncounted(self.known.poll())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = %error.chain(), "SQLite was not polled"),
            Err(aborted) => debug!(error = aborted.0, "SQLite was not polled"),
        }
    }

    fn is_blocked(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.blocks_commands)
    }

    /// The database does not take commits. That is logged once; from now on a probe looks for the end of the outage.
    fn enter_outage(&mut self, error: &Error) {
        if self.health.set_failing(true) {
            error!(error = %error.chain(), "the database does not take commits");
        }
        self.known.stamp_outage();
        if !self.is_blocked() {
            self.outage = Some(Outage::begin(self.database.clone(), true));
        }
    }

    /// A command was refused. If that is the fault of the tables and not of the command, health shows from now on that
    /// commits fail, but commands are still tried.
    fn check_tables(&mut self, error: &Error) {
        if is_about_the_tables(error) && self.outage.is_none() {
            self.health.set_failing(true);
            self.outage = Some(Outage::begin(self.database.clone(), false));
        }
    }

    /// The database takes commits again, or never will. In the first case this server reads first of all what was committed
    /// in the outage: by itself, if the outcome was unknown, or by others.
    async fn leave_outage(&mut self, end: OutageEnd) {
        match end {
            OutageEnd::CommitsSucceed => {}
            OutageEnd::TablesContracted(contracted) => {
                self.known.set_contracted(contracted);
                return;
            }
        }
        let was_blocked = self.outage.take().is_some_and(|outage| outage.blocks_commands);
        if self.health.set_failing(false) {
            info!("the database takes commits again");
        }
        if was_blocked {
            // Another server of PostgreSQL may have become the primary. Sessions with the one before would read the
            // past.
            self.database.reconnect_readers().await;
            self.poll().await;
        }
    }
}

/// Waits for the end of an outage; for ever, if there is none.
async fn outage_ends(outage: &mut Option<Outage>) -> OutageEnd {
    match outage {
        Some(outage) => outage.ended().await,
        None => std::future::pending().await,
    }
}

/// Decides the commands one after the other. What they decided before does not count any more.
fn decide(commands: &mut PendingCommands, batch: &mut Batch<'_>) -> Result<(), Failure> {
    commands.iter_mut().try_for_each(|pending| pending.decide(batch).map_err(Failure::from))
}

/// Two halves as a stack: the first half is on top.
fn halves(mut commands: PendingCommands) -> Vec<PendingCommands> {
    let second = commands.split_off(commands.len() / 2);
    vec![second, commands]
}

fn fail(commands: impl IntoIterator<Item = Box<dyn PendingCommand>>, error: &Error) {
    for pending in commands {
        pending.fail(error);
    }
}
