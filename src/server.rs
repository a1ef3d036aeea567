//! Where everything is put together, and taken apart again in order.

use std::convert::Infallible;
use std::error::Error as StdError;
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
use crate::discovery::{Announcer, CheckState, CheckStatus, Consul, Service as AnnouncedService};
use crate::error::Error;
use crate::graphql::{DocumentCache, GraphqlOptions, ManifestError};
use crate::http::{self, HttpOptions, ListenerOptions};
use crate::journal::{Database, FileMoved, Journal, LogTrimmer, OpenError, Retention};
use crate::liveness::{self, LivenessSweeper};
use crate::resolvers::{Resolvers, Timing};
use crate::{graphql, pages, rest};

/// How long sockets may take to say goodbye, which they do while requests in flight are finished.
const FAREWELL: Duration = Duration::from_secs(8);

/// The check of this server in Consul while all is well.
const READY: CheckState =
    CheckState { status: CheckStatus::Passing, output: "changes are committed", is_draining: None };

/// The check while they are not, for whichever reason: this server answers questions, and takes no heartbeats.
const NO_COMMITS: CheckState =
    CheckState { status: CheckStatus::Warning, output: "changes are not committed", is_draining: None };

/// So many looks in a row have to find a server unhealthy before its check says so: a single one may only have taken long.
const UNHEALTHY_LOOKS: u32 = 2;

/// How long the journal may then take to commit what was accepted, and the database to close. Together with the
/// farewell it is less than the 10 s after which service managers grow impatient.
const LAST_COMMITS: Duration = Duration::from_millis(1_200);
const CLOSING_TIME: Duration = Duration::from_millis(300);

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://…` or `postgres://…`.
    pub database_url: String,
    /// Whether to bring the tables into shape at the start.
    pub migrate: bool,
    /// Time-outs of workers.
    pub timing: Timing,
    /// How much of the change log to keep.
    pub retention: Retention,
    /// Limits, origins and names of the HTTP server.
    pub http: HttpOptions,
    /// What is answered over GraphQL, and how much at once.
    pub graphql: GraphqlOptions,
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

/// A server's inner life: the journal is writing, and its operations can be called. Whether anybody
/// listens on a port is another matter.
#[derive(Debug)]
pub struct Server {
    resolvers: Resolvers,
    documents: DocumentCache,
    journal: Journal,
    clock: Clock,
    options: Options,
    /// Long-lived WebSockets, which no HTTP shutdown waits for.
    sockets: TaskTracker,
    tasks: TaskTracker,
    /// Tells sockets and streams to end.
    closing: CancellationToken,
    /// Tells the journal to finish.
    finishing: CancellationToken,
    /// Tells that the journal has ended without being told to.
    crashed: CancellationToken,
    /// How many connections were turned away.
    turned_away: Arc<AtomicU64>,
    /// Why, if that is not our fault.
    moved: Arc<OnceLock<FileMoved>>,
    announcement: Option<Announcement>,
}

/// Tells Consul of this server while it serves.
#[derive(Debug)]
struct Announcement {
    announcer: Announcer,
    check: watch::Sender<CheckState>,
    /// How often to look how this server is.
    period: Duration,
}

/// The server could not go on: it is better started anew than left to refuse every change.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Crashed {
    /// A fault of ours.
    #[error("The journal ended by a fault of ours, which the log tells of.")]
    Fault,
    /// The database is not where it was.
    #[error(transparent)]
    FileMoved(FileMoved),
}

impl Server {
    /// Opens the database, reads the cluster, and starts to write.
    pub async fn start(options: Options, clock: Clock) -> Result<Self, StartError> {
        Self::start_without_commits(options, clock, ready(())).await
    }

    /// The same, except that nothing is committed before `begin` completes: commands are taken and wait, or are refused if
    /// more come than may wait. For tests of that, which can hold it for as long as they need; a lock on the database
    /// cannot, because a commit that waits for a lock is given up.
    pub async fn start_without_commits(
        options: Options,
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
        if let Err(error) = liveness::correct_times(&journal, &clock).await {
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
            turned_away: Arc::default(),
            moved,
            announcement,
        })
    }

    /// The same server, which is announced in Consul as this service while it serves.
    #[must_use]
    pub fn announced(self, consul: Consul, service: AnnouncedService, ttl: Duration) -> Self {
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

    /// The GraphQL documents it has read.
    pub fn documents(&self) -> &DocumentCache {
        &self.documents
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What looks for silent workers; [`serve`](Self::serve) runs one.
    pub fn liveness_sweeper(&self) -> LivenessSweeper {
        let (journal, clock) = (self.journal.clone(), self.clock.clone());
        LivenessSweeper::new(journal, clock, self.options.timing.offline_after)
            .with_turned_away(self.turned_away.clone())
    }

    /// What keeps the change log from growing for ever; [`serve`](Self::serve) runs one.
    pub fn log_trimmer(&self) -> LogTrimmer {
        self.journal.log_trimmer(self.clock.clone(), self.options.retention)
    }

    /// Both protocols behind one door, with manners.
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

    /// Serves on a listener until told to stop, then leaves in order: no new connections, streams
    /// and sockets are told to end, what is in flight is finished, what was accepted is committed.
    pub async fn serve(mut self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Crashed> {
        let address = listener.local_addr().ok();
        self.options.http.loopback_port =
            address.filter(|address| address.ip().to_canonical().is_loopback()).map(|address| address.port());
        self.tasks.spawn(self.liveness_sweeper().run(self.closing.clone()));
        self.tasks.spawn(self.log_trimmer().run(self.closing.clone()));
        self.tasks.spawn(self.journal.clone().listen(self.closing.clone()));
        let (announcement, leaving) = (self.announcement.take(), CancellationToken::new());
        // Leaving Consul takes of the same time.
        let farewell_time = if announcement.is_some() { FAREWELL - Announcer::LEAVE_TIME } else { FAREWELL };
        let announced =
            announcement.map(|announcement| tokio::spawn(announcement.run(self.resolvers.clone(), leaving.clone())));
        let options = ListenerOptions {
            farewell_time,
            turned_away: self.turned_away.clone(),
            ..ListenerOptions::for_this_process()
        };
        let serving = http::serve(listener, self.service(), options, self.closing.clone());
        let farewell = async {
            tokio::select! {
                () = shutdown.cancelled() => info!("Shutting down"),
                () = self.crashed.cancelled() => error!("The journal has ended: shutting down"),
            }
            // First of all, so that whoever looks for servers finds the others before this one hangs up.
            leaving.cancel();
            if let Some(announced) = announced
                && let Err(error) = announced.await
            {
                error!(%error, "The announcement in Consul ended by a fault of ours");
            }
            self.say_goodbye(farewell_time).await;
        };
        // Both at once: sockets and requests share one time to end in.
        tokio::join!(serving, farewell);
        let (crashed, moved) = (self.crashed.is_cancelled(), self.moved.clone());
        self.finish().await;
        match moved.get() {
            Some(moved) => Err(Crashed::FileMoved(moved.clone())),
            None if crashed => Err(Crashed::Fault),
            None => Ok(()),
        }
    }

    /// Ends everything that was started.
    pub async fn stop(self) {
        self.say_goodbye(FAREWELL).await;
        self.finish().await;
    }

    /// Tells streams and sockets to end, and waits for the sockets.
    async fn say_goodbye(&self, farewell_time: Duration) {
        self.closing.cancel();
        self.sockets.close();
        if timeout(farewell_time, self.sockets.wait()).await.is_err() {
            warn!(sockets = self.sockets.len(), "Some sockets did not close in time");
        }
    }

    /// Commits what was accepted and closes the database, when nobody is left who could ask for more.
    async fn finish(self) {
        self.finishing.cancel();
        self.tasks.close();
        if timeout(LAST_COMMITS, self.tasks.wait()).await.is_err() {
            warn!("The last changes could not be committed in time; nobody was told that they were");
        }
        match timeout(CLOSING_TIME, self.journal.database().clone().close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %Error::from(error).chain(), "The database did not close cleanly"),
            Err(_) => warn!("The database did not close in time"),
        }
    }
}

impl Announcement {
    /// Announces a server until told to stop, and takes it out of Consul then.
    async fn run(self, resolvers: Resolvers, leaving: CancellationToken) {
        let Self { announcer, check, period } = self;
        let looking = leaving.run_until_cancelled(follow_health(resolvers, check, period));
        tokio::join!(announcer.run(leaving.clone()), looking);
    }
}

/// Keeps the check at what periodic looks at the health of a server find.
async fn follow_health(resolvers: Resolvers, check: watch::Sender<CheckState>, period: Duration) -> Infallible {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unhealthy_looks = 0;
    loop {
        ticks.tick().await;
        let present = check_after_look(resolvers.health().await.is_ok(), &mut unhealthy_looks);
        check.send_if_modified(|known| std::mem::replace(known, present) != present);
    }
}

/// The check after a further look; counts those in a row that found a server unhealthy.
fn check_after_look(is_healthy: bool, unhealthy_looks: &mut u32) -> CheckState {
    *unhealthy_looks = if is_healthy { 0 } else { unhealthy_looks.saturating_add(1) };
    if *unhealthy_looks < UNHEALTHY_LOOKS { READY } else { NO_COMMITS }
}

/// The driver's own words, which say what is wrong without those of the layers above.
fn innermost(error: &Error) -> String {
    let mut innermost: &dyn StdError = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_that_took_too_long_takes_no_server_out() {
        let (mut count, looks) = (0, [true, false, true, false, false, false, true, false]);
        let checks = looks.map(|is_healthy| check_after_look(is_healthy, &mut count));
        let warned = checks.map(|check| check == NO_COMMITS);
        assert_eq!(warned, [false, false, false, false, true, true, false, false]);
    }
}
