//! The server: puts the journal, the resolvers, both protocols and the background tasks together, and stops them in
//! order.
//!
//! What each part does is in its own room; here is what is started when, which token stops it, and how long each step
//! of a shutdown may take ([`timing`](crate::timing)). How options are written on a command line is not known here.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::discovery::{self, Announcer, CheckState, CheckStatus, Consul};
use crate::error::Error;
use crate::graphql::{DocumentCache, GraphqlOptions, ManifestError};
use crate::http::{self, HttpOptions, ListenerOptions};
use crate::journal::{Database, FileMoved, Journal, OpenError, Retention, RetentionPruner};
use crate::liveness_sweeper::{self, LivenessSweeper};
use crate::resolvers::Resolvers;
use crate::timing::{CLOSE_CONNECTIONS_TIME, CLOSE_DATABASE_TIME, LAST_COMMITS_TIME, Timing};
use crate::{graphql, pages, rest};

/// The state of this server's check in Consul while it is healthy.
const READY: CheckState =
    CheckState { status: CheckStatus::Passing, output: "changes are committed", is_draining: None };

/// The state of the check while it is not, for whichever reason: this server answers questions, and takes no
/// heartbeats.
const NO_COMMITS: CheckState =
    CheckState { status: CheckStatus::Warning, output: "changes are not committed", is_draining: None };

/// How many health checks in a row have to fail before the check in Consul says so: a single one may only have taken
/// long.
const UNHEALTHY_AFTER: u32 = 2;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `sqlite://…` or `postgres://…`.
    pub database_url: String,
    /// Whether to apply pending migrations at the start.
    pub migrate: bool,
    /// The time-out and the interval of heartbeats.
    pub timing: Timing,
    /// How much of the change log to keep.
    pub retention: Retention,
    /// Limits, origins and names of the HTTP server.
    pub http: HttpOptions,
    /// What is answered over GraphQL, and how much at once.
    pub graphql: GraphqlOptions,
}

impl ServerOptions {
    /// The defaults, with this database. The defaults of the command line are these.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            migrate: true,
            timing: Timing::default(),
            retention: Retention::default(),
            http: HttpOptions::default(),
            graphql: GraphqlOptions::default(),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The trusted documents cannot be used.
    #[error(transparent)]
    DocumentCache(#[from] ManifestError),
    /// The database could not be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The state could not be read from it.
    #[error("Cannot read the cluster from the database: {}.", innermost(.0))]
    Load(#[source] Error),
}

/// A running server: its journal commits, and its operations can be called. It listens on a port only while it
/// [serves](Self::serve).
#[derive(Debug)]
pub struct Server {
    resolvers: Resolvers,
    documents: DocumentCache,
    journal: Journal,
    clock: Clock,
    options: ServerOptions,
    /// Open WebSockets, which the shutdown of HTTP does not wait for.
    sockets: TaskTracker,
    tasks: TaskTracker,
    /// Tells sockets and streams to close.
    closing: CancellationToken,
    /// Tells the journal to commit what it has accepted, and to end.
    finishing: CancellationToken,
    /// Cancelled when the journal has ended without being told to.
    crashed: CancellationToken,
    /// How many connections were rejected.
    rejected_connections: Arc<AtomicU64>,
    /// Why the journal ended, if the database file was moved.
    moved: Arc<OnceLock<FileMoved>>,
    announcement: Option<Announcement>,
}

/// The registration of this server in Consul while it serves.
#[derive(Debug)]
struct Announcement {
    announcer: Announcer,
    check: watch::Sender<CheckState>,
    /// How often to check the health of this server.
    period: Duration,
}

/// The server could not go on, and has to be restarted: left running, it would refuse every change.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Crashed {
    /// The journal panicked.
    #[error("The journal ended by a fault of ours, which the log tells of.")]
    Fault,
    /// The database file is not where it was.
    #[error(transparent)]
    FileMoved(FileMoved),
}

impl Server {
    /// Opens the database, reads the cluster into memory, and starts the journal.
    pub async fn start(options: ServerOptions, clock: Clock) -> Result<Self, StartError> {
        Self::start_without_commits(options, clock, ready(())).await
    }

    /// The same, except that nothing is committed before `begin` completes: commands are taken and wait, or are refused
    /// if more come than may wait. For tests of that, which can hold it for as long as they need; a lock on the
    /// database cannot, because a commit that waits for a lock is given up.
    pub async fn start_without_commits(
        options: ServerOptions,
        clock: Clock,
        begin: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let documents = DocumentCache::open(&options.graphql).await?;
        let database = Database::connect(&options.database_url).await?;
        if options.migrate {
            database.migrate().await?;
        } else if !database.is_migrated().await? {
            let url = crate::journal::without_password(&options.database_url);
            return Err(OpenError::NotMigrated { url }.into());
        }
        let (journal, writer) = Journal::open(database, clock.clone()).await.map_err(StartError::Load)?;
        let (tasks, finishing) = (TaskTracker::new(), CancellationToken::new());
        let (crashed, moved) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        tasks.spawn({
            let (finishing, crash, moved) = (finishing.clone(), crashed.clone().drop_guard(), moved.clone());
            async move {
                begin.await;
                match writer.run(finishing).await {
                    Ok(()) => _ = crash.disarm(),
                    Err(error) => _ = moved.set(error),
                }
            }
        });
        // Before anybody asks. If it fails, the sweeper tries again each second.
        if let Err(error) = liveness_sweeper::correct_times(&journal, &clock).await {
            warn!(error = %error.chain(), "times in the future could not be corrected");
        }
        let resolvers = Resolvers::new(journal.clone(), clock.clone(), options.timing);
        let (sockets, closing) = (TaskTracker::new(), CancellationToken::new());
        let announcement = None;
        Ok(Self {
            resolvers,
            documents,
            journal,
            clock,
            options,
            sockets,
            tasks,
            closing,
            finishing,
            crashed,
            rejected_connections: Arc::default(),
            moved,
            announcement,
        })
    }

    /// The same server, which is registered in Consul as this service while it serves.
    #[must_use]
    pub fn announced(self, consul: Consul, service: discovery::Service, ttl: Duration) -> Self {
        let (check, receiver) = watch::channel(READY);
        let (healthy, shown) = watch::channel(false);
        let announcer = Announcer::new(consul, service, ttl, receiver, Some(healthy));
        let announcement = Some(Announcement { announcer, check, period: ttl / Announcer::UPDATES_PER_TTL });
        Self { announcement, resolvers: self.resolvers.with_consul(shown), ..self }
    }

    /// The operations.
    pub fn resolvers(&self) -> &Resolvers {
        &self.resolvers
    }

    /// The cache of GraphQL documents.
    pub fn documents(&self) -> &DocumentCache {
        &self.documents
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// A sweeper for silent workers; [`serve`](Self::serve) runs one.
    pub fn liveness_sweeper(&self) -> LivenessSweeper {
        let (journal, clock) = (self.journal.clone(), self.clock.clone());
        LivenessSweeper::new(journal, clock, self.options.timing.offline_after)
            .with_rejected_connections(self.rejected_connections.clone())
    }

    /// A task that removes old entries of the change log; [`serve`](Self::serve) runs one.
    pub fn retention_pruner(&self) -> RetentionPruner {
        RetentionPruner::new(self.journal.clone(), self.clock.clone(), self.options.retention)
    }

    /// Both protocols and the pages, behind the middleware.
    pub fn service(
        &self,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static + use<>
    {
        let graphql = graphql::routes(
            self.documents.clone(),
            self.resolvers.clone(),
            &self.options.http.cors_origins,
            self.sockets.clone(),
            self.closing.clone(),
        );
        let rest = rest::routes(self.resolvers.clone(), self.closing.clone());
        http::with_middleware(rest.merge(graphql).merge(pages::routes()), &self.options.http)
    }

    /// Serves on a listener until told to stop, then shuts down in order: the registration in Consul goes, no
    /// connection is accepted any more, streams and sockets are closed, requests in flight are finished, what was
    /// accepted is committed, and the database is closed.
    pub async fn serve(mut self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Crashed> {
        let address = listener.local_addr().ok();
        self.options.http.loopback_port =
            address.filter(|address| address.ip().to_canonical().is_loopback()).map(|address| address.port());
        self.tasks.spawn(self.liveness_sweeper().run(self.closing.clone()));
        self.tasks.spawn(self.retention_pruner().run(self.closing.clone()));
        self.tasks.spawn(self.journal.clone().follow_replicas(self.closing.clone()));
        let (announcement, leaving) = (self.announcement.take(), CancellationToken::new());
        let leave_time = if announcement.is_some() { Announcer::LEAVE_TIME } else { Duration::ZERO };
        let close_time = CLOSE_CONNECTIONS_TIME - leave_time;
        let announced =
            announcement.map(|announcement| tokio::spawn(announcement.run(self.resolvers.clone(), leaving.clone())));
        let options = ListenerOptions {
            shutdown_time: close_time,
            rejected_connections: self.rejected_connections.clone(),
            ..ListenerOptions::for_this_process()
        };
        let serving = http::serve(listener, self.service(), options, self.closing.clone());
        let shutting_down = async {
            tokio::select! {
                () = shutdown.cancelled() => info!("Shutting down"),
                () = self.crashed.cancelled() => error!("The journal has ended: shutting down"),
            }
            // First of all, so that clients find the other servers before this one closes their connections.
            leaving.cancel();
            if let Some(announced) = announced
                && let Err(error) = announced.await
            {
                error!(%error, "The announcement in Consul ended by a fault of ours");
            }
            self.close_sockets(close_time).await;
        };
        // At the same time: sockets and requests in flight share one deadline.
        tokio::join!(serving, shutting_down);
        let (crashed, moved) = (self.crashed.is_cancelled(), self.moved.clone());
        self.finish().await;
        match moved.get() {
            Some(moved) => Err(Crashed::FileMoved(moved.clone())),
            None if crashed => Err(Crashed::Fault),
            None => Ok(()),
        }
    }

    /// Stops a server that does not serve.
    pub async fn stop(self) {
        self.close_sockets(CLOSE_CONNECTIONS_TIME).await;
        self.finish().await;
    }

    /// Tells streams and sockets to close, and waits for the sockets.
    async fn close_sockets(&self, close_time: Duration) {
        self.closing.cancel();
        self.sockets.close();
        if timeout(close_time, self.sockets.wait()).await.is_err() {
            warn!(sockets = self.sockets.len(), "Some sockets did not close in time");
        }
    }

    /// Commits what was accepted and closes the database, after the last connection has gone.
    async fn finish(self) {
        self.finishing.cancel();
        self.tasks.close();
        if timeout(LAST_COMMITS_TIME, self.tasks.wait()).await.is_err() {
            warn!("The last changes could not be committed in time; nobody was told that they were");
        }
        match timeout(CLOSE_DATABASE_TIME, self.journal.database().clone().close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %Error::from(error).chain(), "The database did not close cleanly"),
            Err(_) => warn!("The database did not close in time"),
        }
    }
}

impl Announcement {
    /// Keeps the server registered until told to stop, and takes it out of Consul then.
    async fn run(self, resolvers: Resolvers, leaving: CancellationToken) {
        let Self { announcer, check, period } = self;
        let following = leaving.run_until_cancelled(follow_health(resolvers, check, period));
        tokio::join!(announcer.run(leaving.clone()), following);
    }
}

/// Checks the health of the server periodically, and sets the check in Consul to what was found.
async fn follow_health(resolvers: Resolvers, check: watch::Sender<CheckState>, period: Duration) -> Infallible {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures_in_a_row = 0;
    loop {
        ticks.tick().await;
        let present = next_check(resolvers.health().await.is_ok(), &mut failures_in_a_row);
        check.send_if_modified(|known| std::mem::replace(known, present) != present);
    }
}

/// The state of the check after a further health check; counts the failed ones in a row.
fn next_check(is_healthy: bool, failures_in_a_row: &mut u32) -> CheckState {
    *failures_in_a_row = if is_healthy { 0 } else { failures_in_a_row.saturating_add(1) };
    if *failures_in_a_row < UNHEALTHY_AFTER { READY } else { NO_COMMITS }
}

/// The message of the innermost cause: the database driver's, without those of the layers above it.
fn innermost(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_health_check_that_took_too_long_takes_no_server_out() {
        let (mut count, results) = (0, [true, false, true, false, false, false, true, false]);
        let checks = results.map(|is_healthy| next_check(is_healthy, &mut count));
        let warned = checks.map(|check| check == NO_COMMITS);
        assert_eq!(warned, [false, false, false, false, true, true, false, false]);
    }
}
