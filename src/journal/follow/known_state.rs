//! The state that this server knows to be committed, and how it is brought up to the database's.
//!
//! It changes in two ways: by what this server commits, and by what it reads of the commits of others. Either way the
//! new state is [published](KnownState::publish). Nothing is decided or written here, except that an epoch is begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use entity::cluster;
use rand::Rng as _;
use sea_orm::{DatabaseTransaction, DbBackend, DbErr};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::clock::{Clock, Timestamp};
use crate::cluster::{Change, Changes, Epochs, Event, Snapshot};
use crate::error::Result;
use crate::journal::feed::ChangeFeed;
use crate::journal::published::Published;
use crate::journal::store::applied_migrations::{TablesContracted, find_contract};
use crate::journal::store::cluster_row::{ClusterRow, LatestCommit, PrunedThrough, begin_reading, database_time};
use crate::journal::store::database::Database;
use crate::journal::store::rows;

/// The last state that this server knows to be committed.
pub struct KnownState {
    database: Database,
    clock: Clock,
    snapshot: Arc<Snapshot>,
    published: Arc<ArcSwap<Published>>,
    feed: Arc<ChangeFeed>,
    /// Tells that tokens may have changed.
    token_changes: watch::Sender<()>,
    /// When the database last took no commits, in milliseconds of the monotonic clock; 0 if it always has.
    last_outage: Arc<AtomicU64>,
    /// Whether the database was restored to an earlier state, and no epoch has begun since.
    was_restored: bool,
    /// Whether this server has begun an epoch: in its life, and since the database was last restored.
    has_epoch: bool,
    /// Whether the database is probably still at this state: the last batch found it as this server had left it.
    is_probably_latest: bool,
    /// Set once a newer version has made the tables into what this one cannot use.
    contracted: Option<TablesContracted>,
}

impl KnownState {
    pub fn new(
        database: Database,
        clock: Clock,
        snapshot: Arc<Snapshot>,
        published: Arc<ArcSwap<Published>>,
        feed: Arc<ChangeFeed>,
    ) -> Self {
        Self {
            database,
            clock,
            snapshot,
            published,
            feed,
            token_changes: watch::Sender::default(),
            last_outage: Arc::default(),
            was_restored: false,
            has_epoch: false,
            is_probably_latest: true,
            contracted: None,
        }
    }

    /// That a newer version has made the tables into what this one cannot use, once a poll or the probe of an outage has
    /// noticed.
    pub fn contracted(&self) -> Option<&TablesContracted> {
        self.contracted.as_ref()
    }

    /// Records that the probe of an outage has noticed that.
    pub fn set_contracted(&mut self, contracted: TablesContracted) {
        self.contracted = Some(contracted);
    }

    /// The state.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Tells that tokens may have changed.
    pub fn token_changes(&self) -> watch::Receiver<()> {
        self.token_changes.subscribe()
    }

    /// When the database last took no commits.
    pub fn last_outage(&self) -> Arc<AtomicU64> {
        self.last_outage.clone()
    }

    /// Whether what this server commits now belongs to an epoch of its own.
    pub fn has_epoch(&self) -> bool {
        self.has_epoch
    }

    /// Whether the database is probably still at this state.
    pub fn is_probably_latest(&self) -> bool {
        self.is_probably_latest
    }

    /// Records whether a batch has found the database at this state.
    pub fn set_probably_latest(&mut self, is_latest: bool) {
        self.is_probably_latest = is_latest;
    }

    /// Reads what other servers have committed, if there is anything new.
    pub async fn poll(&mut self) -> Result<()> {
        let readers = self.database.watched_readers();
        if let Some(contracted) = find_contract(&readers).await? {
            // Nothing is read of tables that mean something else by now.
            self.contracted = Some(contracted);
            return Ok(());
        }
        let latest = LatestCommit::poll(&readers).await?;
        if latest.is_read_only {
            // A primary that was demoted goes on answering its sessions, with what was true then. A server that commits
            // nothing would follow it for ever.
            return Err(DbErr::Custom("the session is read-only, as on a primary that was demoted".to_owned()).into());
        }
        if let Some(now) = latest.now {
            self.clock.observe(now);
        }
        if latest.revision != self.snapshot.revision || latest.epoch != **self.snapshot.epochs.latest() {
            let transaction = begin_reading(&readers).await?;
            let ClusterRow { revision, epoch, pruned_through, .. } = ClusterRow::read(&transaction).await?;
            self.catch_up(&transaction, revision, &epoch, pruned_through).await?;
            transaction.commit().await?;
        }
        // An epoch is not left to the next commit of this server, because others may not have noticed that the database
        // was restored. And it is begun also if nothing is new: after a failed attempt, nothing is new to this server
        // any more.
        if self.was_restored
            && let Err(error) = self.begin_epoch().await
        {
            warn!(error = %error.chain(), "no epoch could be begun, the next look tries again");
        }
        Ok(())
    }

    /// Brings the state up to the revision and the epoch of the database, as a transaction sees it.
    pub async fn catch_up(
        &mut self,
        transaction: &DatabaseTransaction,
        revision: u64,
        epoch: &str,
        pruned_through: PrunedThrough,
    ) -> Result<()> {
        let epochs = if epoch == &**self.snapshot.epochs.latest() {
            self.snapshot.epochs.clone()
        } else {
            rows::read_epochs(transaction).await?
        };
        let base = self.base_for(revision, epochs);
        let changes = rows::changes_since(transaction, &base, pruned_through).await?;
        self.publish(&base, changes, revision, self.clock.now(), None);
        Ok(())
    }

    /// Whether a database at this revision, with these epochs, was restored to an earlier state since the last look,
    /// from a backup for example: what this server knows is ahead of it, or behind the end of its epoch there.
    fn is_restored(&self, revision: u64, epochs: &Epochs) -> bool {
        revision < self.snapshot.revision || !epochs.include(&self.snapshot.cursor())
    }

    /// The snapshot on top of which changes are read. If the database was restored, nothing that this server knows can
    /// be trusted.
    fn base_for(&mut self, revision: u64, epochs: Epochs) -> Arc<Snapshot> {
        if self.is_restored(revision, &epochs) {
            warn!(
                cluster.revision = revision,
                "The database is at revision {revision}, and not what it was at {}: reading everything again",
                self.snapshot.revision
            );
            self.has_epoch = false;
            self.was_restored = true;
            // Heartbeats since the backup are lost: each worker gets a whole time-out to send another one.
            self.stamp_outage();
            return Arc::new(Snapshot::empty(epochs));
        }
        if epochs == self.snapshot.epochs {
            return self.snapshot.clone();
        }
        let mut base = Snapshot::clone(&self.snapshot);
        base.epochs = epochs;
        Arc::new(base)
    }

    /// Begins an epoch: it distinguishes commits from now on from those that are made to a copy of the database. If the
    /// database was restored, the incarnation floor is raised in the same transaction: once there is an epoch, the
    /// restore is not noticed any more, for example by this server after a crash.
    pub async fn begin_epoch(&mut self) -> Result<()> {
        let name = format!("{:012x}", rand::rng().random::<u64>() >> 16);
        let transaction = self.database.begin_writing().await?;
        rows::begin_epoch(&transaction, &name).await?;
        // The row is read under the lock of all commits. The restore may have happened after this server started.
        let ClusterRow { revision, .. } = ClusterRow::read(&*transaction).await?;
        let epochs = rows::read_epochs(&*transaction).await?;
        if self.was_restored || self.is_restored(revision, &epochs) {
            // Incarnations that the database does not know of may have been handed out, and their processes may live.
            // No process registers a thousand times a second, so the time in milliseconds is above all that were handed
            // out before it, and above what an earlier floor has led to.
            let floor = self.clock.now().timestamp_millis();
            cluster::Entity::raise_incarnation_floor(floor).exec(&*transaction).await?;
        }
        transaction.commit().await?;
        debug!(cluster.revision = self.snapshot.revision, "Epoch {name} begins");
        self.has_epoch = true;
        self.was_restored = false;
        // The next batch finds the epoch in the database.
        self.is_probably_latest = false;
        Ok(())
    }

    /// Makes a committed state the one that is read, and publishes the change to the feed.
    pub fn publish(
        &mut self,
        base: &Snapshot,
        changes: Changes,
        revision: u64,
        at: Timestamp,
        events: Option<Vec<Arc<Event>>>,
    ) {
        let starts_over = base.revision < self.snapshot.revision;
        let is_news = starts_over || revision != self.snapshot.revision;
        let workers = changes.workers.iter().map(|worker| worker.id.clone()).collect();
        let may_change_tokens = starts_over || !changes.tokens.is_empty() || !changes.forgotten_tokens.is_empty();
        let removed = changes.purged.len() + changes.gone.len();
        let snapshot = Arc::new(base.apply(changes, revision));
        let (epoch, ended_silence) = (snapshot.epochs.of(revision).clone(), snapshot.ended_silence());
        self.snapshot = snapshot.clone();
        // A new epoch is known from now on, and changes nothing else.
        let at = if is_news { at } else { self.published.load().at };
        self.published.store(Arc::new(Published { snapshot, at }));
        if may_change_tokens {
            self.token_changes.send_replace(());
        }
        if is_news {
            let after = base.revision;
            let change = Change { at, after, revision, epoch, workers, removed, ended_silence, events, starts_over };
            self.feed.publish(change);
        }
    }

    /// Records that until now the database took no commits, for the liveness sweeper: that time is no silence of
    /// workers.
    pub fn stamp_outage(&self) {
        let milliseconds = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        // 0 is for never.
        self.last_outage.store(milliseconds.max(1), Ordering::Relaxed);
    }
}

/// Reads the whole state.
pub async fn load(database: &Database, clock: &Clock) -> Result<Snapshot> {
    let readers = database.readers();
    if database.backend() == DbBackend::Postgres
        && let Some(now) = database_time(&readers).await?
    {
        clock.observe(now);
    }
    let transaction = begin_reading(&readers).await?;
    let ClusterRow { revision, .. } = ClusterRow::read(&transaction).await?;
    let base = Snapshot::empty(rows::read_epochs(&transaction).await?);
    let changes = rows::changes_since(&transaction, &base, PrunedThrough::default()).await?;
    transaction.commit().await?;
    Ok(base.apply(changes, revision))
}
