//! Keeps one service known to Consul: registered, its check fresh, and taken out at the end.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::connection::{Connection, Purpose};
use super::consul::{CallError, Consul};
use super::service::Service;

/// After a refusal, which only an operator can mend, this many times to live go by: a minute, with the usual one.
const TTLS_AFTER_REFUSAL: u32 = 2;

/// What is kept in Consul of a service that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is well.
    pub status: CheckStatus,
    /// Why, for those who look into Consul.
    pub output: &'static str,
    /// Whether it is to be given nothing new; nothing if that is not known, or not a question.
    pub is_draining: Option<bool>,
}

/// The status of a check; Consul makes it critical by itself if nobody says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// It works.
    Passing,
    /// It is there, and cannot do what it is for. Finders that ask for what is passing do not see it.
    Warning,
}

impl CheckStatus {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
        }
    }
}

/// Announces one service.
#[derive(Debug)]
pub struct Announcer {
    consul: Consul,
    service: Service,
    ttl: Duration,
    standing: watch::Receiver<Standing>,
    connection: Connection,
    is_registered: bool,
    /// What Consul was told last about draining, since the registration.
    told_draining: Option<bool>,
}

impl Announcer {
    /// The check is told anew this often in its time to live, so that two updates may be lost.
    pub const UPDATES_PER_TTL: u32 = 3;

    /// Longest time that a service may take to leave.
    pub const LEAVE_TIME: Duration = Duration::from_secs(1);

    /// Announces a service as it stands; how it goes with Consul is told to `is_well`.
    pub fn new(
        consul: Consul,
        service: Service,
        ttl: Duration,
        standing: watch::Receiver<Standing>,
        is_well: Option<watch::Sender<bool>>,
    ) -> Self {
        let purpose = Purpose {
            done: format!("service {} is announced", service.id),
            undone: format!("service {} is not announced", service.id),
            rule: format!("service:write on {:?}", service.name),
        };
        let connection = Connection::new(purpose, is_well);
        Self { consul, service, ttl, standing, connection, is_registered: false, told_draining: None }
    }

    /// Announces until told to stop, and takes the service out then.
    pub async fn run(self, shutdown: CancellationToken) {
        self.run_and_stay(shutdown).await.leave().await;
    }

    /// Announces until told to stop. What is in Consul then stays there, until it expires.
    pub async fn run_and_stay(mut self, shutdown: CancellationToken) -> Self {
        shutdown.run_until_cancelled(self.announce()).await;
        self
    }

    /// Takes the service out of Consul, if that can be done within [`LEAVE_TIME`](Self::LEAVE_TIME).
    pub async fn leave(self) {
        let id = &self.service.id;
        match timeout(Self::LEAVE_TIME, self.consul.deregister(&self.service)).await {
            Ok(Ok(())) => info!("Consul answers: service {id} is announced no more"),
            Ok(Err(CallError::Unknown { .. })) => {}
            Ok(Err(error)) => info!(%error, "Service {id} leaves without Consul, which takes it out in time"),
            Err(_) => info!("Service {id} leaves without Consul, which did not answer in time"),
        }
    }

    async fn announce(&mut self) -> Infallible {
        loop {
            let standing = *self.standing.borrow_and_update();
            let pause = match self.tell(standing).await {
                Ok(()) => {
                    self.connection.succeeded();
                    tokio::select! {
                        () = sleep(self.ttl / Self::UPDATES_PER_TTL) => {}
                        Ok(()) = self.standing.changed() => {}
                    }
                    continue;
                }
                // Only what was registered can be forgotten: otherwise this would be a loop without a pause.
                Err(error @ CallError::Unknown { .. }) if self.is_registered => {
                    self.is_registered = false;
                    info!(%error, "Consul does not know service {} any more, registering again", self.service.id);
                    continue;
                }
                Err(error) => {
                    debug!(%error, "Consul did not take what was said of service {}", self.service.id);
                    self.connection.failed(&error);
                    match error {
                        CallError::Forbidden { .. } => self.ttl * TTLS_AFTER_REFUSAL,
                        CallError::Unknown { .. } | CallError::Unavailable { .. } => self.ttl / Self::UPDATES_PER_TTL,
                    }
                }
            };
            sleep(pause).await;
        }
    }

    /// Says how the service is, after registering it if need be.
    async fn tell(&mut self, standing: Standing) -> Result<(), CallError> {
        let Self { consul, service, .. } = self;
        let is_new = !self.is_registered;
        if is_new {
            consul.register(service, standing.status, self.ttl).await?;
            // A registration takes all checks of before with it, that of a maintenance too.
            self.told_draining = None;
        }
        if let Some(is_draining) = standing.is_draining
            && self.told_draining != Some(is_draining)
        {
            consul.set_maintenance(service, is_draining.then_some("the worker is draining")).await?;
            self.told_draining = Some(is_draining);
        }
        // After a registration, too: a check that was there before keeps its old status through it.
        consul.update_check(service, standing.status, standing.output).await?;
        self.is_registered = true;
        Ok(())
    }
}
