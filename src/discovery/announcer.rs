//! Keeps one service known to Consul: registered, its check fresh, and taken out at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::check_state::CheckState;
use super::consul::{CallError, Consul};
use super::outage_log::{OutageLog, Purpose};
use super::service::Service;

/// After a failure, Consul is tried again so often in a TTL: between the first update that is lost and the end of the TTL
/// there are six further attempts if they fail at once, and two if each takes the five seconds of one that hangs, with the
/// usual TTL.
const ATTEMPTS_PER_TTL: u32 = 10;

/// After a refusal, which only an operator can mend, this many TTLs go by: a minute, with the usual one.
const TTLS_AFTER_REFUSAL: u32 = 2;

/// Announces one service.
#[derive(Debug)]
pub struct Announcer {
    entry: CatalogEntry,
    state: watch::Receiver<CheckState>,
    /// What a registration has to wait for, if for anything.
    signs_of_life: Option<watch::Receiver<()>>,
    log: OutageLog,
    /// The synchronisation that is on its way. It is a task of its own, so that it goes on when the announcer is told to
    /// stop: Consul may still carry out a registration whose connection was given up, after a deregistration even.
    in_flight: JoinSet<(CatalogEntry, Result<(), CallError>)>,
}

impl Announcer {
    /// The check is updated this often in its TTL while Consul answers.
    pub const UPDATES_PER_TTL: u32 = 3;

    /// Longest time that it may take to end what is in flight and to deregister a service, both together.
    pub const LEAVE_TIME: Duration = Duration::from_secs(1);

    /// Announces a service in this state; whether Consul does as it is asked is sent to `healthy`.
    pub fn new(
        consul: Consul,
        service: Service,
        ttl: Duration,
        state: watch::Receiver<CheckState>,
        healthy: Option<watch::Sender<bool>>,
    ) -> Self {
        let purpose = Purpose {
            undone: format!("service {} is not announced", service.id),
            rule: format!("service:write on {:?}", service.name),
        };
        let service = Arc::new(service);
        let entry = CatalogEntry { consul, service, ttl, is_registered: false, synced_maintenance: None };
        let log = OutageLog::new(purpose, healthy);
        Self { entry, state, signs_of_life: None, log, in_flight: JoinSet::new() }
    }

    /// The same announcer, which waits for one of these signs before it registers the service, and for a further one
    /// before it does so again: Consul may have forgotten a service, or somebody has taken out one that is over.
    #[must_use]
    pub fn after(self, signs_of_life: watch::Receiver<()>) -> Self {
        Self { signs_of_life: Some(signs_of_life), ..self }
    }

    /// Announces until told to stop, and takes the service out then.
    pub async fn run(self, shutdown: CancellationToken) {
        self.run_and_stay(shutdown).await.deregister().await;
    }

    /// Announces until told to stop. What is in Consul then stays there, until it expires.
    pub async fn run_and_stay(mut self, shutdown: CancellationToken) -> Self {
        shutdown.run_until_cancelled(self.announce()).await;
        self
    }

    /// Takes the service out of Consul, if that can be done within [`LEAVE_TIME`](Self::LEAVE_TIME). What is in flight
    /// ends before.
    pub async fn deregister(mut self) {
        let CatalogEntry { consul, service, .. } = &self.entry;
        let deregistered = async {
            while self.in_flight.join_next().await.is_some() {}
            consul.deregister(service).await
        };
        let id = &service.id;
        match timeout(Self::LEAVE_TIME, deregistered).await {
            Ok(Ok(())) => info!("Consul answers: service {id} is announced no more"),
            Ok(Err(CallError::Unknown { .. })) => {}
            Ok(Err(error)) => info!(%error, "Service {id} leaves without Consul, which takes it out in time"),
            Err(_) => info!("Service {id} leaves without Consul, which did not answer in time"),
        }
    }

    async fn announce(&mut self) -> Infallible {
        self.sign_of_life().await;
        loop {
            let state = *self.state.borrow_and_update();
            let ttl = self.entry.ttl;
            let pause = match self.sync(state).await {
                Ok(()) => {
                    if self.log.succeeded() {
                        info!("Consul answers: service {} is announced", self.entry.service.id);
                    }
                    tokio::select! {
                        () = sleep(ttl / Self::UPDATES_PER_TTL) => {}
                        Ok(()) = self.state.changed() => {}
                    }
                    continue;
                }
                // Only what was registered can be forgotten, or else this would be a loop without a pause; who waits for a
                // sign of life pauses anyway, and may be forgotten between the registration and the first update.
                Err(error @ CallError::Unknown { .. }) if self.entry.is_registered || self.signs_of_life.is_some() => {
                    self.entry.is_registered = false;
                    if let Some(signs) = &mut self.signs_of_life {
                        signs.mark_unchanged();
                    }
                    self.sign_of_life().await;
                    let id = &self.entry.service.id;
                    info!(%error, "Consul does not know service {id} any more, registering again");
                    continue;
                }
                Err(error) => {
                    debug!(%error, "Consul did not take what was said of service {}", self.entry.service.id);
                    self.log.failed(&error);
                    match error {
                        CallError::Forbidden { .. } => ttl * TTLS_AFTER_REFUSAL,
                        CallError::Unknown { .. } | CallError::Unavailable { .. } => ttl / ATTEMPTS_PER_TTL,
                    }
                }
            };
            sleep(pause).await;
        }
    }

    /// Waits for one that was not seen yet.
    async fn sign_of_life(&mut self) {
        if let Some(signs) = &mut self.signs_of_life
            && signs.changed().await.is_err()
        {
            // Whoever gave them has ended, and will stop this as well.
            std::future::pending().await
        }
    }

    /// Brings Consul's entry up to this state.
    async fn sync(&mut self, state: CheckState) -> Result<(), CallError> {
        let mut entry = self.entry.clone();
        self.in_flight.spawn(async move {
            let outcome = entry.sync(state).await;
            (entry, outcome)
        });
        let ended = self.in_flight.join_next().await.expect("it was spawned");
        let (entry, outcome) = ended.expect("it does not panic, and is not aborted while this waits");
        self.entry = entry;
        outcome
    }
}

/// What Consul has of a service, as far as it has acknowledged it.
#[derive(Clone, Debug)]
struct CatalogEntry {
    consul: Consul,
    service: Arc<Service>,
    ttl: Duration,
    is_registered: bool,
    /// Whether Consul has the service in maintenance, if it was told since the registration.
    synced_maintenance: Option<bool>,
}

impl CatalogEntry {
    /// Registers the service if need be, and updates its maintenance and its check.
    async fn sync(&mut self, state: CheckState) -> Result<(), CallError> {
        let Self { consul, service, .. } = self;
        if !self.is_registered {
            consul.register(service, state.status, self.ttl).await?;
            // A registration takes all checks of before with it, that of a maintenance too.
            self.synced_maintenance = None;
        }
        if let Some(is_draining) = state.is_draining
            && self.synced_maintenance != Some(is_draining)
        {
            consul.set_maintenance(service, is_draining.then_some("the worker is draining")).await?;
            self.synced_maintenance = Some(is_draining);
        }
        // After a registration, too: a check that was there before keeps its old status through it.
        consul.update_check(service, state.status, state.output).await?;
        self.is_registered = true;
        Ok(())
    }
}
