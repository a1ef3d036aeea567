//! `aetherium agent`: registers this host as a worker, and reports its VMs by heartbeats, until told to stop.
//! `aetherium agent join` only joins, and `aetherium agent leave` only deregisters.
//!
//! The agent is one loop: register, then send a heartbeat whenever the server asks for the next one, and register again
//! when the server does not know the worker any more. This file has the options and the loop. What is read of the host
//! is in `host` and [`inventory`], what a heartbeat carries is decided in `heartbeat_planner`, which server it is sent
//! to in `servers`, how long to wait after a failure in `backoff`, what operators have run when the policy changes in
//! `policy_hook`. How a host without a token gets one is in `join`, and what is kept of that between two starts in
//! `state_folder`.
//!
//! **Invariant:** the agent is a client of the public API and imports nothing of the server. A heartbeat is sent even
//! if the inventory cannot be read: a worker that cannot list its VMs is alive.

mod backoff;
mod heartbeat_planner;
mod host;
pub mod inventory;
mod join;
mod load;
mod policy_hook;
mod servers;
mod state_folder;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use self::backoff::Backoff;
use self::heartbeat_planner::HeartbeatPlanner;
use self::host::Host;
use self::inventory::hypervisor::Hypervisor;
use self::inventory::processes::{HostProcesses, PROC};
use self::inventory::{Inventory, InventoryChanges, VmSource};
pub use self::join::{HasJoined, JoinError, JoinOptions};
use self::join::{JoinToken, Joining};
use self::policy_hook::{PolicyHook, StandingPolicy};
use self::servers::ServerSelector;
pub use self::state_folder::StateError;
use self::state_folder::{Membership, StateFolder};
use crate::client::{
    Client, ClientError, ClientToken, HeartbeatReply, LifeOf, Registration, RetryLimits, TokenFileError, TokenOptions,
    Trust, TrustError, TrustOptions, VmReport,
};
use crate::discovery::{
    Announcer, CheckState, CheckStatus, Consul, ConsulError, ConsulOptions, Finder, Service, find_servers,
};

/// How long a deregistration may take: a server that does not answer must not hold up the end of this process.
const DEREGISTRATION_TIMEOUT: Duration = Duration::from_secs(3);

/// The shortest time between two heartbeats, whatever the server asks for.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);

/// The longest time until the heartbeat that acknowledges a policy: operators wait for it, since a drain cannot be
/// complete before.
const ACKNOWLEDGMENT_DELAY: Duration = Duration::from_millis(500);

/// How many VMs a worker takes, unless its operator says otherwise.
const DEFAULT_MAX_VMS: u32 = 100;

/// The policy of a worker that takes no new VMs, as the server calls it.
const DRAINING: &str = "draining";

/// The check of a worker in Consul after an acknowledged heartbeat.
const ACKNOWLEDGED: (CheckStatus, &str) = (CheckStatus::Passing, "the server acknowledges heartbeats");

/// The check before that, and while no server can be reached.
const NOT_ACKNOWLEDGED: (CheckStatus, &str) = (CheckStatus::Warning, "no server acknowledges heartbeats");

/// What an agent is started to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AgentAction {
    /// Report this host, until told to stop.
    #[default]
    Report,
    /// Join the cluster with a join token, keep what the agent needs from then on, and end.
    Join,
    /// Say goodbye for the worker that reports from this host, or did until it was stopped, and end.
    Leave,
}

/// What the operator of a host can tell its agent. Everything but where its server is has a sensible default; and that
/// is kept once the host has joined.
#[derive(Args, Clone, Debug)]
pub struct AgentOptions {
    /// What to do.
    #[arg(value_enum, default_value_t = AgentAction::Report)]
    pub action: AgentAction,

    /// Base URL of the server to report to, such as http://127.0.0.1:8080; by default the one that the host has joined.
    /// With --consul it may be left out, and is the last one to try.
    #[arg(long, env = "AETHERIUM_SERVER", value_name = "URL")]
    pub server: Option<String>,

    /// Whose word this worker is.
    #[command(flatten)]
    pub token: TokenOptions,

    /// Whom this worker trusts to be its server.
    #[command(flatten)]
    pub trust: TrustOptions,

    /// How this host joins.
    #[command(flatten)]
    pub join: JoinOptions,

    /// Id of this worker in the cluster; by default the one that it has joined as, or the host name.
    #[arg(long, env = "AETHERIUM_AGENT_ID")]
    pub id: Option<String>,

    /// Host name to report; by default what the system says.
    #[arg(long, env = "AETHERIUM_AGENT_HOSTNAME", value_name = "NAME")]
    pub hostname: Option<String>,

    /// Address to report, where this worker listens; by default the host name with port 8081.
    #[arg(long, env = "AETHERIUM_AGENT_ADDRESS", value_name = "HOST:PORT")]
    pub address: Option<String>,

    /// Failure domain this host is in.
    #[arg(long, env = "AETHERIUM_AGENT_ZONE", default_value = "")]
    pub zone: String,

    /// Label of this worker. Repeat the flag, or separate several with commas.
    #[arg(
        long = "label",
        env = "AETHERIUM_AGENT_LABELS",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        value_parser = parse_label
    )]
    pub labels: Vec<(String, String)>,

    /// What this worker can run. Repeat the flag, or separate several with commas; by default those of qemu,
    /// firecracker and cloud-hypervisor that are on the PATH.
    #[arg(long = "capability", env = "AETHERIUM_AGENT_CAPABILITIES", value_name = "NAME", value_delimiter = ',')]
    pub capabilities: Vec<String>,

    /// Disk space to report, in GiB; by default that of the mounted file systems. A pool that VMs are given space of
    /// and that is mounted nowhere (LVM, ZFS, Ceph) does not show by itself.
    #[arg(long, env = "AETHERIUM_AGENT_DISK_GB", value_name = "GIB", value_parser = clap::value_parser!(u32).range(..=i64::from(inventory::LARGEST_FIGURE)))]
    pub disk_gb: Option<u32>,

    /// How many VMs this worker takes at most.
    #[arg(long, env = "AETHERIUM_AGENT_MAX_VMS", value_name = "COUNT", default_value_t = DEFAULT_MAX_VMS)]
    pub max_vms: u32,

    /// Where the host's process file system is mounted, when the agent runs in a container; by default /proc, which
    /// then has to show all processes of the host. Say /proc if the container itself is the worker.
    #[arg(long, env = "AETHERIUM_AGENT_PROC", value_name = "DIR")]
    pub proc: Option<PathBuf>,

    /// Say goodbye when told to stop, which makes the worker offline at once. Not for agents that are only started
    /// anew, as for an upgrade: what the host runs goes on running meanwhile.
    #[arg(long, env = "AETHERIUM_AGENT_LEAVE_ON_STOP")]
    pub leave_on_stop: bool,

    /// Command that the shell runs when operators drain or activate this worker, for example to migrate its VMs. It
    /// finds the policy, active or draining, in AETHERIUM_POLICY, and why and until when in AETHERIUM_POLICY_REASON and
    /// AETHERIUM_POLICY_DEADLINE. It is run at the start of the agent, too, and again a minute after it has failed; why
    /// it failed is shown with the drain.
    #[arg(long, env = "AETHERIUM_AGENT_ON_POLICY_CHANGE", value_name = "COMMAND")]
    pub on_policy_change: Option<String>,

    /// Where to find servers, and to be announced.
    #[command(flatten)]
    pub consul: ConsulOptions,

    /// Announce this worker in Consul, too, as service aetherium-worker.
    #[arg(long, env = "AETHERIUM_AGENT_CONSUL_ANNOUNCE")]
    pub consul_announce: bool,
}

impl AgentOptions {
    /// The defaults, for an agent that reports to `server`. It keeps nothing on this machine.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            action: AgentAction::Report,
            server: Some(server.into()),
            token: TokenOptions::default(),
            trust: TrustOptions::default(),
            join: JoinOptions::default(),
            id: None,
            hostname: None,
            address: None,
            zone: String::new(),
            labels: Vec::new(),
            capabilities: Vec::new(),
            disk_gb: None,
            max_vms: DEFAULT_MAX_VMS,
            proc: None,
            leave_on_stop: false,
            on_policy_change: None,
            consul: ConsulOptions::default(),
            consul_announce: false,
        }
    }

    /// The process file system of the host, if another one than this process's was named.
    fn other_proc(&self) -> Option<&Path> {
        self.proc.as_deref().filter(|proc| !proc.as_os_str().is_empty())
    }

    /// The process file system that is read.
    fn proc(&self) -> &Path {
        self.other_proc().unwrap_or(Path::new(PROC))
    }

    /// The registration: what the operator has set, and what was read of the host otherwise.
    fn registration(
        &self,
        host: Host,
        installed: impl FnOnce() -> Vec<Hypervisor>,
    ) -> Result<Registration, AgentError> {
        let hostname = given(self.hostname.as_deref()).or(host.hostname).ok_or(AgentError::NoHostname)?;
        let mut capabilities: Vec<String> = self.capabilities.iter().filter(|name| !name.is_empty()).cloned().collect();
        if capabilities.is_empty() {
            capabilities = installed().into_iter().map(|hypervisor| hypervisor.name().to_owned()).collect();
        }
        Ok(Registration {
            address: given(self.address.as_deref()).unwrap_or_else(|| format!("{hostname}:8081")),
            hostname,
            zone: self.zone.clone(),
            labels: self.labels.iter().filter(|(key, _)| !key.is_empty()).cloned().collect::<BTreeMap<_, _>>(),
            capabilities,
            cpu_cores: host.cpu_cores,
            memory_mb: host.memory_mb,
            disk_gb: self.disk_gb.unwrap_or(host.disk_gb),
            max_vms: self.max_vms,
            boot_id: Uuid::new_v4().to_string(),
            host_boot_id: host.boot_id,
            last_incarnation: None,
        })
    }
}

/// A setting that is not the empty text: an environment variable that is set to nothing counts as not set.
fn given(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Splits `key=value`. The empty text, which is the value of an environment variable that is set to nothing, is no
/// label.
fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        None if text.is_empty() => Ok((String::new(), String::new())),
        Some(_) | None => Err("a label has to look like key=value".to_owned()),
    }
}

/// Why an agent has ended by itself. Failures that may pass are not among these: they are waited out.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The server's address cannot be used.
    #[error(transparent)]
    Server(ClientError),
    /// The token cannot be read.
    #[error(transparent)]
    Token(TokenFileError),
    /// The authorities to trust cannot be read.
    #[error(transparent)]
    Trust(TrustError),
    /// Neither a server nor a Consul was named.
    #[error(
        "there is no server to report to, and this host has not joined one; name one with --server, or find one with --consul"
    )]
    NoServer,
    /// Consul cannot be used as it was configured.
    #[error(transparent)]
    Consul(ConsulError),
    /// The worker is to be announced, and no Consul was named.
    #[error("--consul-announce needs a Consul to announce the worker in; say which with --consul")]
    NoConsul,
    /// Consul was asked for the servers, once, and named none.
    #[error("Consul names no server: {reason}")]
    NotFound {
        /// Why.
        reason: String,
    },
    /// The system has no name for this host and the operator gave none.
    #[error("this host has no name; give it one with --hostname")]
    NoHostname,
    /// There is no join token to join with.
    #[error("there is no join token to join with; name its file with --join-token-file, or - for standard input")]
    NoJoinToken,
    /// What the agent keeps cannot be read or written.
    #[error(transparent)]
    State(StateError),
    /// What is kept is of another worker.
    #[error(
        "this host has joined as worker {kept}, and its token speaks for no other: leave out --id {id}, give that worker a \
         --state-dir of its own, or, if there shall be no {kept} any more, move {folder} away and join again"
    )]
    JoinedAsAnother {
        /// The worker that it shall be.
        id: String,
        /// The worker that it is.
        kept: String,
        /// Where that is kept.
        folder: String,
    },
    /// The host has not joined.
    #[error(transparent)]
    Join(JoinError),
    /// The server does not accept the token that is kept, and has never accepted it since this process was started.
    #[error(
        "worker {id} cannot report to the server with the token that is kept in {folder}; an admin can let it join again, with a \
         join token for it"
    )]
    KeptTokenRefused {
        /// The worker.
        id: String,
        /// Where the token is kept.
        folder: String,
        /// The answer of the server.
        source: ClientError,
    },
    /// The server refuses this worker, and has never accepted it since this process was started.
    #[error("worker {id} cannot report to the server")]
    Refused {
        /// The worker.
        id: String,
        /// The answer of the server.
        source: ClientError,
    },
    /// Another process has registered under the same id since; or the worker was deregistered.
    #[error(
        "another process has registered as worker {id} since, or this one was signed off; give each process an --id of its \
         own"
    )]
    Superseded {
        /// The worker.
        id: String,
        /// The answer of the server.
        source: ClientError,
    },
    /// The kernel does not tell the boot id of the host, so that it cannot be told whether the worker runs on it.
    #[error(
        "the kernel does not tell which start of this host it is, so it cannot be told that this is where worker {id} lives"
    )]
    NoBootId {
        /// The worker.
        id: String,
    },
    /// The deregistration was not answered, or refused.
    #[error("worker {id} could not say goodbye")]
    Deregistration {
        /// The worker.
        id: String,
        /// The answer of the server.
        source: ClientError,
    },
}

/// Runs an agent: reports this host until `shutdown` is cancelled; or lets it join, which is told; or deregisters its
/// worker.
///
/// Returns an error only for failures that do not pass: see [`AgentError`].
///
/// The future is boxed so that its code is generated with this library, not again in each program that polls it.
pub fn run(
    options: AgentOptions,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<Option<HasJoined>, AgentError>> {
    run_until(options, shutdown).boxed()
}

async fn run_until(options: AgentOptions, shutdown: CancellationToken) -> Result<Option<HasJoined>, AgentError> {
    let consul = options.consul.client().map_err(AgentError::Consul)?;
    let token = options.token.read().map_err(AgentError::Token)?;
    // Whoever names a token has no use for the one that is kept, nor for what it was made for.
    let folder = options.join.folder().filter(|_| token.is_none() || options.action == AgentAction::Join);
    let kept = match &folder {
        Some(folder) => folder.joined().map_err(AgentError::State)?,
        None => None,
    };
    let named = given(options.server.as_deref());
    let has_joined = kept.as_ref().is_some_and(|kept| named.as_deref().is_none_or(|named| kept.may_be_of(named)));
    let named = named.or_else(|| kept.as_ref()?.server.clone());
    // What is said now counts, and only without it what was said when the host joined. That goes with the token that is
    // kept: at whichever address it is sent, it is sent to whom the host trusts.
    let joins_another = options.action == AgentAction::Join || !has_joined && options.join.join_token().is_some();
    let trusted = kept.as_ref().filter(|_| !options.trust.is_told() && !joins_another).map(Membership::trust);
    let trusted = trusted.unwrap_or_else(|| options.trust.clone());
    let trust = trusted.read().map_err(AgentError::Trust)?;
    // An invalid address is reported before anything else is done.
    if let Some(url) = &named {
        Client::trusting(url, &trust).map_err(AgentError::Server)?;
    }
    match (&named, &consul) {
        (None, None) => return Err(AgentError::NoServer),
        (Some(_), None) if options.consul_announce => return Err(AgentError::NoConsul),
        _ => {}
    }
    let id = worker_id(&options, kept.as_ref(), folder.as_ref())?;
    let token = token.or_else(|| kept.as_ref()?.token.to_client_token());
    if options.action == AgentAction::Leave {
        leave(id, named.as_deref(), consul, token, &trust, &options).await?;
        return Ok(None);
    }

    // The tasks that talk to Consul are dropped with this set; nothing waits for them.
    let mut discovery = JoinSet::new();
    let found = consul.clone().map(|consul| {
        let (finder, found) = Finder::new(consul);
        discovery.spawn(finder.run());
        found
    });
    let mut servers = ServerSelector::new(&id, named.as_deref(), found, token, trust).map_err(AgentError::Server)?;

    let joins = match options.action {
        AgentAction::Join => true,
        AgentAction::Report | AgentAction::Leave => {
            let has_token = options.token.path().is_some() || has_joined;
            !has_token && options.join.join_token().is_some()
        }
    };
    if joins {
        let Some(file) = options.join.join_token() else { return Err(AgentError::NoJoinToken) };
        let joining = Joining {
            folder: folder.as_ref().ok_or(AgentError::State(StateError::NoFolder))?,
            worker_id: &id,
            hostname: host::name(),
            server: named.as_deref(),
            trust: &trusted,
            is_by_hand: options.action == AgentAction::Join,
            before: kept.as_ref(),
        };
        let joined = async { joining.join(JoinToken::read(file).await?, &mut servers).await };
        let joined = shutdown.run_until_cancelled(joined).await.map(|joined| joined.map_err(AgentError::Join));
        match (joined, options.action) {
            (None, AgentAction::Join) => return Err(AgentError::Join(JoinError::Interrupted)),
            (None, AgentAction::Report | AgentAction::Leave) => return Ok(None),
            (Some(joined), AgentAction::Join) => return joined.map(Some),
            (Some(joined), AgentAction::Report | AgentAction::Leave) => {
                joined?;
                info!(worker.id = %id, "Worker {id} has joined, and has a token of its own");
            }
        }
    } else if let Some(before) = kept.as_ref().and_then(|kept| kept.hostname.as_deref())
        && host::name().is_some_and(|now| now != before)
    {
        warn!(
            worker.id = %id,
            "This host called itself {before} when it joined as worker {id}, as which it goes on; if it is a copy of that \
             host, it has to join by itself"
        );
    }

    let registration = options.registration(Host::read(options.proc()).await, inventory::hypervisor::installed)?;
    let processes = match options.other_proc() {
        Some(proc) => HostProcesses::under(proc, &id),
        None => HostProcesses::of_this_host(&id),
    };
    let sources: Vec<Box<dyn VmSource>> = vec![Box::new(processes)];
    let kept_in = folder.filter(|_| joins || kept.is_some()).map(|folder| folder.to_string());
    let hook = given(options.on_policy_change.as_deref()).map(|command| PolicyHook::start(command, id.clone()));
    let proc = Some(options.proc().to_owned());
    let agent = Agent { kept_in, hook, proc, ..Agent::new(servers, id, registration, sources) };
    let leaves = options.leave_on_stop;
    let announcer = consul.filter(|_| options.consul_announce).map(|consul| {
        let Registration { address, zone, .. } = &agent.registration;
        let service = Service::worker(&agent.id, address, zone);
        Announcer::new(consul, service, options.consul.consul_check_ttl, agent.check_state.subscribe(), None)
            .after(agent.acknowledged.subscribe())
    });
    let closing = CancellationToken::new();
    let _closes = closing.clone().drop_guard();
    let announcing = announcer.map(|announcer| tokio::spawn(announcer.run_and_stay(closing.clone())));
    let outcome = Agent { leave_on_stop: leaves, ..agent }.run(shutdown).await;
    closing.cancel();
    // As with the server: an agent that is only restarted stays registered, and the check expires if it does not come
    // back.
    if let Some(announcing) = announcing
        && let Ok(announcer) = announcing.await
        && leaves
        && outcome.is_ok()
    {
        announcer.deregister().await;
    }
    outcome.map(|()| None)
}

/// The id of the worker: the one that is given, or as which it has joined, or the name of the host.
fn worker_id(
    options: &AgentOptions,
    kept: Option<&Membership>,
    folder: Option<&StateFolder>,
) -> Result<String, AgentError> {
    let id = given(options.id.as_deref());
    match (id, kept, folder) {
        (Some(id), Some(Membership { worker_id: kept, .. }), Some(folder)) if id != *kept => {
            Err(AgentError::JoinedAsAnother { id, kept: kept.clone(), folder: folder.to_string() })
        }
        (Some(id), ..) => Ok(id),
        (None, Some(kept), _) => Ok(kept.worker_id.clone()),
        (None, None, _) => given(options.hostname.as_deref()).or_else(host::name).ok_or(AgentError::NoHostname),
    }
}

/// Deregisters the worker that runs on this start of the host. A worker with the same id that has registered from
/// elsewhere is not touched.
async fn leave(
    id: String,
    named: Option<&str>,
    consul: Option<Consul>,
    token: Option<ClientToken>,
    trust: &Trust,
    options: &AgentOptions,
) -> Result<(), AgentError> {
    let Some(host_boot_id) = host::boot_id(options.proc()) else { return Err(AgentError::NoBootId { id }) };
    let life = LifeOf::HostBoot(&host_boot_id);
    // The server that was named is tried first, since Consul may hang.
    let named = named.map(|url| Client::trusting(url, trust)).transpose().map_err(AgentError::Server)?;
    let with_token = |client: Client| client.with_token(token.clone());
    let mut outcome = deregister(named.map(with_token), &id, life).await;
    if matches!(outcome, None | Some(Err(ClientError::Unavailable { .. })))
        && let Some(consul) = &consul
    {
        outcome = match (find_servers(consul).await, outcome) {
            (Ok(urls), before) => deregister(usable(&urls, trust).map(with_token), &id, life).await.or(before),
            (Err(reason), None) => return Err(AgentError::NotFound { reason }),
            (Err(_), before) => before,
        };
        if outcome.is_none() {
            return Err(AgentError::NotFound { reason: "none of them is passing".to_owned() });
        }
    }
    match outcome {
        Some(Ok(())) => info!(worker.id = %id, "Worker {id} said goodbye"),
        Some(Err(ClientError::Unknown { .. })) => info!(worker.id = %id, "The server does not know worker {id}"),
        Some(Err(source)) => return Err(AgentError::Deregistration { id, source }),
        None => return Err(AgentError::NoServer),
    }
    if let Some(consul) = consul.filter(|_| options.consul_announce) {
        let (_, check_state) = watch::channel(check_state(NOT_ACKNOWLEDGED, None));
        let service = Service::worker(&id, "", "");
        Announcer::new(consul, service, options.consul.consul_check_ttl, check_state, None).deregister().await;
    }
    Ok(())
}

/// Clients of the servers at these addresses, without those whose address is invalid.
fn usable(urls: &[String], trust: &Trust) -> impl Iterator<Item = Client> {
    urls.iter().filter_map(|url| Client::trusting(url, trust).ok())
}

/// Deregisters the worker at the first server that answers. None if there is no server.
async fn deregister(
    clients: impl IntoIterator<Item = Client>,
    id: &str,
    life: LifeOf<'_>,
) -> Option<Result<(), ClientError>> {
    let mut outcome = None;
    for client in clients {
        outcome = Some(client.goodbye(id, life).await);
        if !matches!(outcome, Some(Err(ClientError::Unavailable { .. }))) {
            break;
        }
    }
    outcome
}

fn check_state((status, output): (CheckStatus, &'static str), is_draining: Option<bool>) -> CheckState {
    CheckState { status, output, is_draining }
}

/// One worker, and what it knows of its server.
struct Agent {
    servers: ServerSelector,
    id: String,
    registration: Registration,
    inventory: Inventory,
    planner: HeartbeatPlanner,
    backoff: Backoff,
    limits: RetryLimits,
    /// Whether a registration of this process was ever accepted. From then on, a refusal is taken for a fault of the
    /// server or of a proxy, which passes.
    accepted: bool,
    inventory_failing: bool,
    inventory_changes: InventoryChanges,
    /// VMs of the last report that the server rejected, each with the reason, so that each is logged once.
    rejected_vms: BTreeMap<String, String>,
    /// The policy as the last heartbeat was answered, and the revision of it: the next heartbeat tells the server that
    /// it was heard of.
    policy: String,
    policy_revision: Option<u64>,
    /// What the operator of the host wants to be run for a policy.
    hook: Option<PolicyHook>,
    /// The process file system of the host, of which its load is read; none if it is not to be told.
    proc: Option<PathBuf>,
    /// The check in Consul, if the worker is announced there.
    check_state: watch::Sender<CheckState>,
    /// Tells the announcer of each acknowledged heartbeat.
    acknowledged: watch::Sender<()>,
    leave_on_stop: bool,
    /// Where its token is kept, if it has made it itself.
    kept_in: Option<String>,
}

impl Agent {
    fn new(servers: ServerSelector, id: String, registration: Registration, sources: Vec<Box<dyn VmSource>>) -> Self {
        Self {
            servers,
            id,
            registration,
            inventory: Inventory::new(sources),
            planner: HeartbeatPlanner::default(),
            backoff: Backoff::default(),
            limits: RetryLimits::default(),
            accepted: false,
            inventory_failing: false,
            inventory_changes: InventoryChanges::default(),
            rejected_vms: BTreeMap::new(),
            policy: String::new(),
            policy_revision: None,
            hook: None,
            proc: None,
            check_state: watch::Sender::new(check_state(NOT_ACKNOWLEDGED, None)),
            acknowledged: watch::Sender::default(),
            leave_on_stop: false,
            kept_in: None,
        }
    }

    /// Reports until told to stop. A request in flight is dropped then: whatever it said is said again by the
    /// deregistration, or at the next start of the agent.
    async fn run(mut self, shutdown: CancellationToken) -> Result<(), AgentError> {
        let outcome = match shutdown.run_until_cancelled(self.register_and_report()).await {
            None => {
                self.stop().await;
                Ok(())
            }
            // It is not deregistered: that would deregister the process that took over.
            Some(Err(error)) => Err(error),
        };
        if let Some(hook) = self.hook {
            hook.stop().await;
        }
        outcome
    }

    async fn register_and_report(&mut self) -> Result<Infallible, AgentError> {
        loop {
            self.register().await?;
            self.send_heartbeats_until_forgotten().await?;
        }
    }

    /// Registers the worker, trying until it is accepted.
    async fn register(&mut self) -> Result<(), AgentError> {
        let registered = loop {
            match self.servers.client().await.register(&self.id, &self.registration).await {
                Ok(registered) => break registered,
                Err(error @ ClientError::Unavailable { .. }) => self.back_off(&error).await,
                // Another process runs under this id. To register under a new boot id would displace that process.
                Err(source @ ClientError::Superseded { .. }) => {
                    return Err(AgentError::Superseded { id: self.id.clone(), source });
                }
                Err(error) if self.accepted => self.back_off(&error).await,
                Err(source) => {
                    let id = self.id.clone();
                    return Err(match self.kept_in.clone().filter(|_| source.is_about_the_token()) {
                        Some(folder) => AgentError::KeptTokenRefused { id, folder, source },
                        None => AgentError::Refused { id, source },
                    });
                }
            }
        };
        self.accepted = true;
        self.limits = registered.retry_limits();
        self.servers.succeeded();
        self.servers.set_request_timeout(self.limits.request_timeout);
        let incarnation = registered.incarnation;
        self.planner.begin(incarnation, registered.last_sequence);
        self.policy_revision = registered.policy_revision;
        self.registration.last_incarnation = Some(incarnation);
        let id = &self.id;
        info!(worker.id = %id, incarnation, "Worker {id} is registered");
        Ok(())
    }

    /// Sends heartbeats until the server says that it does not know this worker.
    async fn send_heartbeats_until_forgotten(&mut self) -> Result<(), AgentError> {
        loop {
            let vms = self.list_vms().await;
            let mut heartbeat = self.planner.plan(vms.as_deref(), Instant::now());
            heartbeat.boot_id = Some(self.registration.boot_id.clone());
            // What acknowledges a drain is an inventory of a worker that knows of the drain. Without one, what the
            // server knows of the VMs may be older. (The used figures are there if an inventory was read and is not
            // withheld.)
            heartbeat.policy_revision = self.policy_revision.filter(|_| heartbeat.used_cpu_cores.is_some());
            heartbeat.policy_error = self.hook.as_mut().map(PolicyHook::failure);
            heartbeat.measured = self.proc.as_deref().and_then(load::measure);
            self.servers.begin_trial();
            match self.servers.client().await.heartbeat(&self.id, &heartbeat).await {
                Ok(reply) => {
                    self.planner.acknowledged(&heartbeat, reply.resync, reply.last_sequence, Instant::now());
                    self.backoff.over(&self.id);
                    self.servers.succeeded();
                    self.set_check_state(ACKNOWLEDGED, Some(reply.policy == DRAINING));
                    self.acknowledged.send_replace(());
                    let pace = pace(&reply, &self.limits);
                    self.log_rejected_vms(&reply.set_aside, heartbeat.vms.is_some());
                    let is_news = self.note_policy(reply);
                    self.wait(if is_news { pace.min(ACKNOWLEDGMENT_DELAY) } else { pace }).await;
                }
                // Any failure of the trial, also one that says that the worker is unknown or superseded: the server in
                // use is asked for that.
                Err(error) if self.servers.end_trial() => {
                    let id = &self.id;
                    debug!(worker.id = %id, %error, "Worker {id} stays with its server, the first choice did not take it");
                    self.planner.unanswered(&heartbeat);
                }
                Err(error @ ClientError::Unknown { .. }) => {
                    // After an acknowledged heartbeat, the server was started with an empty database: registering
                    // helps. A server that does not know what it has just registered is in trouble, and gets no tight
                    // loop.
                    if !self.planner.was_heard() {
                        self.back_off(&error).await;
                    }
                    let id = &self.id;
                    info!(worker.id = %id, "The server does not know worker {id}, registering again");
                    return Ok(());
                }
                Err(source @ ClientError::Superseded { .. }) => {
                    return Err(AgentError::Superseded { id: self.id.clone(), source });
                }
                // The token does not speak for the worker, as after another one had it for a while: it does once the
                // worker is registered with it again.
                Err(error @ ClientError::Refused { status: 403, .. }) => {
                    self.planner.unanswered(&heartbeat);
                    self.back_off(&error).await;
                    return Ok(());
                }
                // The worker stays alive even if the server refuses its inventory.
                Err(error @ ClientError::Refused { .. })
                    if !error.is_about_the_token() && (heartbeat.vms.is_some() || heartbeat.vms_delta.is_some()) =>
                {
                    self.planner.inventory_refused(Instant::now());
                    let id = &self.id;
                    warn!(worker.id = %id, %error, "The inventory of worker {id} was refused, beating without it for a while");
                }
                // The server has accepted this worker before, so its refusals are waited out, too.
                Err(
                    error @ (ClientError::Refused { .. } | ClientError::Unavailable { .. } | ClientError::Url { .. }),
                ) => {
                    self.planner.unanswered(&heartbeat);
                    self.back_off(&error).await;
                }
            }
        }
    }

    /// Reads the inventory. If that fails, the heartbeat is sent without one.
    async fn list_vms(&mut self) -> Option<Vec<VmReport>> {
        let id = &self.id;
        match self.inventory.read_within(self.limits.inventory_timeout).await {
            Ok(vms) => {
                if std::mem::take(&mut self.inventory_failing) {
                    info!(worker.id = %id, "The VMs of worker {id} can be listed again");
                }
                self.inventory_changes.note(id, &vms);
                Some(vms.into_iter().map(|vm| vm.report).collect())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.inventory_failing, true) {
                    warn!(worker.id = %id, %error, "The VMs of worker {id} cannot be listed, beating without them");
                }
                None
            }
        }
    }

    /// Turns to the next server, or waits if all servers have failed in turn.
    async fn back_off(&mut self, error: &ClientError) {
        if self.servers.failed() {
            if !self.backoff.is_on() {
                let id = &self.id;
                info!(worker.id = %id, %error, "Worker {id} turns to another server: {error}");
            }
            return;
        }
        self.set_check_state(NOT_ACKNOWLEDGED, None);
        let pause = self.backoff.failed(&self.id, error, &self.limits);
        let wait = tokio::time::sleep(pause);
        tokio::pin!(wait);
        tokio::select! {
            () = &mut wait => {}
            // Workers that have lost a server together hear of a new one together: the delay is random.
            () = self.servers.new_server_discovered() => {
                _ = tokio::time::timeout(Backoff::delay_before_new_server(rand::random()), wait).await;
            }
        }
    }

    /// Sets the check in Consul. Whether the worker is draining stays as it was where that is not known.
    fn set_check_state(&self, (status, output): (CheckStatus, &'static str), is_draining: Option<bool>) {
        self.check_state.send_if_modified(|known| {
            let present = check_state((status, output), is_draining.or(known.is_draining));
            std::mem::replace(known, present) != present
        });
    }

    /// Takes note of the policy, of which the hook is told. Whether the server waits to hear that the worker knows it.
    fn note_policy(&mut self, reply: HeartbeatReply) -> bool {
        let HeartbeatReply { policy, policy_revision: revision, drain_reason, drain_deadline_at, .. } = reply;
        if self.policy != policy {
            let id = &self.id;
            info!(worker.id = %id, policy, "Worker {id} is {policy}");
            self.policy.clone_from(&policy);
        }
        if let Some(hook) = &self.hook {
            hook.tell(StandingPolicy { policy, revision, reason: drain_reason, deadline: drain_deadline_at });
        }
        let before = std::mem::replace(&mut self.policy_revision, revision);
        revision.is_some() && before != revision
    }

    /// Waits until the next heartbeat is due, or until the outcome of the hook is another one, which operators wait
    /// for.
    async fn wait(&self, pace: Duration) {
        let sleep = tokio::time::sleep(pace);
        match self.hook.as_ref().map(PolicyHook::watch_failure) {
            // It is an error once the hook has ended, and it does so only with the agent.
            Some(mut failure) => tokio::select! {
                () = sleep => {}
                Ok(()) = failure.changed() => {}
            },
            None => sleep.await,
        }
    }

    /// Logs the VMs that the server has rejected, with the reason: each once, until a whole report is accepted without
    /// it.
    fn log_rejected_vms(&mut self, rejected_vms: &BTreeMap<String, String>, was_whole: bool) {
        let worker_id = &self.id;
        for (id, reason) in rejected_vms.iter().filter(|(id, _)| !self.rejected_vms.contains_key(*id)) {
            warn!(worker.id = %worker_id, vm.id = %id, reason, "The server left VM {id} of worker {worker_id} out: {reason}");
        }
        if was_whole {
            self.rejected_vms.clear();
        }
        self.rejected_vms.extend(rejected_vms.clone());
    }

    /// Ends. The worker is deregistered only if that was asked for: its VMs keep running, and most agents that are
    /// stopped are started again at once.
    async fn stop(&self) {
        let id = &self.id;
        let Some(incarnation) = self.planner.incarnation() else { return };
        if !self.leave_on_stop {
            info!(worker.id = %id, "Worker {id} stops reporting; it counts as offline when it has been silent for too long");
            return;
        }
        let life = LifeOf::Process { incarnation, boot_id: &self.registration.boot_id };
        let goodbye = deregister(self.servers.in_turn(DEREGISTRATION_TIMEOUT), id, life);
        match tokio::time::timeout(DEREGISTRATION_TIMEOUT, goodbye).await {
            Ok(None | Some(Ok(()) | Err(ClientError::Unknown { .. }))) => {
                info!(worker.id = %id, "Worker {id} said goodbye")
            }
            Ok(Some(Err(error))) => warn!(worker.id = %id, %error, "Worker {id} left without a goodbye"),
            Err(_) => warn!(worker.id = %id, "Worker {id} left, the server did not answer its goodbye in time"),
        }
    }
}

/// When to send the next heartbeat: when the server asks for it, within limits.
fn pace(reply: &HeartbeatReply, limits: &RetryLimits) -> Duration {
    let slowest = limits.longest_pace.max(MIN_HEARTBEAT_INTERVAL);
    Duration::try_from_secs_f64(reply.next_heartbeat_seconds).unwrap_or(slowest).clamp(MIN_HEARTBEAT_INTERVAL, slowest)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{Method, StatusCode, Uri};
    use axum::response::Json;
    use clap::Parser;
    use serde_json::{Value, json};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::task::JoinHandle;

    use super::inventory::FoundVm;
    use super::*;
    use crate::client::VmStatus;
    use crate::discovery::ServerList;

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that gives prepared answers, and hands the requests to the test.
    struct FakeServer {
        url: String,
        calls: UnboundedReceiver<Call>,
    }

    #[derive(Debug)]
    struct Call {
        line: String,
        body: Value,
    }

    impl FakeServer {
        /// Gives these answers in turn; `200`, and when there are none left, stands for what a contented server says.
        async fn answering(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers)));
            let (told, calls) = unbounded_channel();
            let answer = move |method: Method, uri: Uri, body: Bytes| {
                let contented = json!({
                    "incarnation": 3, "heartbeat_interval_seconds": 10, "offline_after_seconds": 60, "worker": {},
                    "policy": "active", "next_heartbeat_seconds": 0, "revision": 1, "resync": false,
                });
                let (status, mut answer) = answers.lock().unwrap().pop_front().unwrap_or((200, json!({})));
                for (key, value) in contented.as_object().unwrap() {
                    if status == 200 && answer.get(key).is_none() {
                        answer[key] = value.clone();
                    }
                }
                let line = format!("{method} {uri}");
                // The last calls may come when the test has seen enough.
                let _ = told.send(Call { line, body: serde_json::from_slice(&body).unwrap_or_default() });
                std::future::ready((StatusCode::from_u16(status).unwrap(), Json(answer)))
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
            Self { url, calls }
        }

        async fn call(&mut self) -> Call {
            tokio::time::timeout(PATIENCE, self.calls.recv()).await.unwrap().unwrap()
        }

        /// The next request that is not a heartbeat without VMs.
        async fn news(&mut self) -> Call {
            loop {
                let call = self.call().await;
                let is_heartbeat = call.line.starts_with("POST");
                if !is_heartbeat || call.body.get("vms").is_some() || call.body.get("vms_delta").is_some() {
                    return call;
                }
            }
        }
    }

    /// VMs that a test moves; `None` cannot be read.
    #[derive(Clone, Default)]
    struct Moving(Arc<Mutex<Option<Vec<VmReport>>>>);

    impl Moving {
        fn set(&self, ids: &[&str]) {
            let vm = |id: &&str| VmReport {
                id: (*id).to_owned(),
                name: format!("{id}-name"),
                status: VmStatus::Running,
                vcpus: 2,
                memory_mb: 2048,
                note: None,
                reservation_id: None,
            };
            *self.0.lock().unwrap() = Some(ids.iter().map(vm).collect());
        }
    }

    impl VmSource for Moving {
        fn name(&self) -> &str {
            "moving"
        }

        fn list(&self) -> io::Result<Vec<FoundVm>> {
            let vms = self.0.lock().unwrap().clone().ok_or_else(|| io::Error::other("out of order"))?;
            Ok(vms.into_iter().map(|report| FoundVm { report, kind: "moving" }).collect())
        }
    }

    /// A running agent with the id `w 1`.
    struct Running {
        shutdown: CancellationToken,
        outcome: JoinHandle<Result<(), AgentError>>,
    }

    impl Running {
        fn agent(url: &str, vms: &Moving) -> Self {
            let registration =
                Registration { hostname: "node1".into(), boot_id: "boot".into(), ..Registration::default() };
            let servers = ServerSelector::new("w 1", Some(url), None, None, Trust::System).unwrap();
            let agent = Agent::new(servers, "w 1".into(), registration, vec![Box::new(vms.clone())]);
            Self::run(Agent { leave_on_stop: true, ..agent })
        }

        fn run(agent: Agent) -> Self {
            let shutdown = CancellationToken::new();
            let outcome = tokio::spawn(agent.run(shutdown.clone()));
            Self { shutdown, outcome }
        }

        async fn end(self) -> Result<(), AgentError> {
            tokio::time::timeout(PATIENCE, self.outcome).await.unwrap().unwrap()
        }
    }

    fn error(status: u16, message: &str) -> (u16, Value) {
        (status, json!({"error": "…", "message": message, "code": status}))
    }

    #[tokio::test]
    async fn an_agent_registers_sends_heartbeats_and_says_goodbye() {
        let vms = Moving::default();
        vms.set(&["vm-1"]);
        let mut server = FakeServer::answering([]).await;
        let agent = Running::agent(&server.url, &vms);

        let registration = server.call().await;
        assert_eq!(registration.line, "PUT /api/v1/workers/w%201");
        assert_eq!(registration.body["boot_id"], "boot");

        let first = server.call().await;
        assert_eq!(first.line, "POST /api/v1/workers/w%201/heartbeat");
        let vm = json!({"id": "vm-1", "name": "vm-1-name", "status": "running", "vcpus": 2, "memory_mb": 2048});
        assert_eq!(
            first.body,
            json!({
                "incarnation": 3, "boot_id": "boot", "sequence": 1, "used_cpu_cores": 2, "used_memory_mb": 2048, "vms": [vm],
            }),
        );

        vms.set(&["vm-1", "vm-2"]);
        let delta = server.news().await.body;
        assert_eq!(delta["vms_delta"]["upsert"][0]["id"], "vm-2");
        assert_eq!(delta["vms_delta"]["remove"], json!([]));
        assert_eq!(delta["used_cpu_cores"], 4);

        vms.set(&["vm-2"]);
        assert_eq!(server.news().await.body["vms_delta"], json!({"upsert": [], "remove": ["vm-1"]}));

        agent.shutdown.cancel();
        assert_eq!(server.news().await.line, "DELETE /api/v1/workers/w%201?incarnation=3&boot_id=boot");
        agent.end().await.unwrap();
    }

    #[tokio::test]
    async fn an_agent_that_is_only_started_anew_says_no_goodbye() {
        let mut server = FakeServer::answering([]).await;
        let servers = ServerSelector::new("w 1", Some(&server.url), None, None, Trust::System).unwrap();
        let sources: Vec<Box<dyn VmSource>> = vec![Box::new(Moving::default())];
        let agent = Running::run(Agent::new(servers, "w 1".into(), Registration::default(), sources));
        assert!(server.call().await.line.starts_with("PUT"));
        assert!(server.call().await.line.starts_with("POST"));
        agent.shutdown.cancel();
        agent.end().await.unwrap();
        while let Ok(call) = server.calls.try_recv() {
            assert!(call.line.starts_with("POST"), "{}", call.line);
        }
    }

    /// An agent that knows of its servers by Consul, and of one that it was told, and where to name others.
    fn finding(named: Option<&str>, urls: &[&str]) -> (watch::Sender<Vec<String>>, Agent) {
        let (sender, receiver) = watch::channel(Vec::new());
        let servers = ServerSelector::new("w 1", named, Some(ServerList::new(receiver)), None, Trust::System).unwrap();
        sender.send_replace(urls.iter().map(|url| (*url).to_owned()).collect());
        let vms = Moving::default();
        vms.set(&["vm-1"]);
        let registration = Registration { boot_id: "boot".into(), ..Registration::default() };
        (sender, Agent::new(servers, "w 1".into(), registration, vec![Box::new(vms)]))
    }

    #[tokio::test]
    async fn a_server_that_ends_costs_one_heartbeat() {
        let ok = || (200, json!({}));
        let mut named = FakeServer::answering([]).await;
        let mut found = FakeServer::answering([ok(), ok(), error(503, "stopping")]).await;
        let (_list, agent) = finding(Some(&named.url), &[&found.url]);
        let _agent = Running::run(agent);
        assert!(found.call().await.line.starts_with("PUT"));
        for sequence in [1, 2] {
            assert_eq!(found.call().await.body["sequence"], sequence);
        }
        let next = named.call().await;
        assert!(next.line.starts_with("POST"), "it need not register: {}", next.line);
        assert_eq!(next.body["sequence"], 3, "the next one after that which was refused");
    }

    #[tokio::test]
    async fn a_first_choice_that_does_not_take_a_worker_changes_nothing() {
        for refusal in [error(503, "starting"), error(404, "unknown"), error(409, "over"), error(400, "vms[0] is odd")]
        {
            let mut first = FakeServer::answering([refusal]).await;
            let mut second = FakeServer::answering([]).await;
            let (_list, mut agent) = finding(Some(&second.url), &[&first.url]);
            agent.servers.client().await;
            agent.servers.failed();
            agent.servers.succeeded();
            agent.servers.trial_now();
            agent.planner.begin(3, None);
            let check_state = agent.check_state.subscribe();
            tokio::spawn(async move { agent.send_heartbeats_until_forgotten().await });
            assert_eq!(first.call().await.body["sequence"], 1);
            for sequence in [2, 3] {
                let call = second.call().await;
                assert!(call.line.starts_with("POST"), "{}", call.line);
                assert_eq!(call.body["sequence"], sequence);
            }
            assert_eq!(check_state.borrow().status, CheckStatus::Passing);
            assert!(first.calls.try_recv().is_err(), "it is left alone for some minutes");
        }
    }

    #[tokio::test]
    async fn a_worker_that_waits_for_a_server_turns_to_one_that_consul_names() {
        let mut gone = FakeServer::answering([error(503, "stopping")]).await;
        let mut another = FakeServer::answering([]).await;
        let (list, mut agent) = finding(None, &[&gone.url]);
        // It was in vain so often that it would wait for hours.
        agent.limits.longest_backoff = Duration::from_secs(24 * 60 * 60);
        let away = ClientError::Unavailable { message: String::new(), retry_after: None, source: None };
        for _ in 0..40 {
            agent.backoff.failed("w 1", &away, &agent.limits);
        }
        let _agent = Running::run(agent);
        assert!(gone.call().await.line.starts_with("PUT"));
        list.send_replace(vec![another.url.clone()]);
        assert!(another.call().await.line.starts_with("PUT"));
    }

    #[tokio::test]
    async fn a_server_that_hangs_leaves_time_for_a_goodbye_to_another() {
        let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hanging = format!("http://{}", hangs.local_addr().unwrap());
        let mut named = FakeServer::answering([(204, json!({}))]).await;
        let (_list, agent) = finding(Some(&named.url), &[&hanging]);
        let mut agent = Agent { leave_on_stop: true, ..agent };
        agent.servers.client().await;
        agent.planner.begin(3, None);
        agent.stop().await;
        let call = named.calls.try_recv().unwrap();
        assert_eq!(call.line, "DELETE /api/v1/workers/w%201?incarnation=3&boot_id=boot");
    }

    #[test]
    fn an_address_from_consul_that_cannot_be_used_is_passed_over() {
        let urls = ["http://a:1", "ftp://b:1", "http://c:1"].map(str::to_owned);
        assert_eq!(usable(&urls, &Trust::System).count(), 2);
    }

    #[tokio::test]
    async fn a_worker_can_be_signed_off_from_its_host_alone() {
        let mut server =
            FakeServer::answering([(204, json!({})), error(409, "elsewhere"), error(404, "unknown")]).await;
        let options = AgentOptions {
            action: AgentAction::Leave,
            id: Some("w 1".into()),
            ..AgentOptions::new(server.url.clone())
        };
        let leave = async || run(options.clone(), CancellationToken::new()).await;
        leave().await.unwrap();
        let refused = leave().await.unwrap_err();
        assert!(
            matches!(&refused, AgentError::Deregistration { source: ClientError::Superseded { .. }, .. }),
            "{refused}"
        );
        leave().await.unwrap();
        let expected = format!("DELETE /api/v1/workers/w%201?host_boot_id={}", host::boot_id(Path::new(PROC)).unwrap());
        for _ in 0..3 {
            assert_eq!(server.call().await.line, expected);
        }
    }

    #[tokio::test]
    async fn a_forgotten_worker_registers_again_and_tells_everything() {
        let vms = Moving::default();
        vms.set(&["vm-1"]);
        let ok = || (200, json!({}));
        let mut server = FakeServer::answering([ok(), ok(), error(404, "Worker not found: w 1")]).await;
        let _agent = Running::agent(&server.url, &vms);

        let lines = ["PUT /api/v1/workers/w%201", "POST /api/v1/workers/w%201/heartbeat"];
        assert_eq!([server.call().await.line, server.call().await.line], lines);
        assert_eq!(server.call().await.body["sequence"], 2, "the one that is answered with 404");
        let again = server.call().await;
        assert_eq!((again.line.as_str(), &again.body["boot_id"]), (lines[0], &json!("boot")));
        assert_eq!(
            again.body["last_incarnation"], 3,
            "a server that has lost its memory must not give it an earlier one"
        );
        let heartbeat = server.call().await.body;
        assert_eq!((&heartbeat["sequence"], &heartbeat["vms"][0]["id"]), (&json!(3), &json!("vm-1")));
    }

    #[tokio::test]
    async fn a_resync_brings_the_whole_inventory() {
        let vms = Moving::default();
        vms.set(&["vm-1"]);
        let mut server = FakeServer::answering([(200, json!({})), (200, json!({"resync": true}))]).await;
        let _agent = Running::agent(&server.url, &vms);
        server.call().await;
        for _ in 0..2 {
            assert_eq!(server.call().await.body["vms"][0]["id"], "vm-1");
        }
        assert_eq!(server.call().await.body.get("vms"), None);
    }

    #[tokio::test]
    async fn a_superseded_agent_stops_without_signing_off_its_successor() {
        let mut server = FakeServer::answering([(200, json!({})), error(409, "incarnation 3 is over")]).await;
        let agent = Running::agent(&server.url, &Moving::default());
        let stopped = agent.end().await.unwrap_err();
        assert!(matches!(stopped, AgentError::Superseded { .. }), "{stopped}");
        assert!(stopped.to_string().contains("another process has registered as worker w 1"), "{stopped}");
        server.call().await;
        server.call().await;
        assert!(server.calls.try_recv().is_err(), "no goodbye");
    }

    #[tokio::test]
    async fn an_agent_whose_start_is_over_does_not_begin_another() {
        let ok = || (200, json!({}));
        let over = || error(409, "The process of worker w 1 that calls itself \"boot\" is over");
        for answers in [vec![over()], vec![ok(), error(404, "Worker not found: w 1"), over()]] {
            let calls = answers.len();
            let mut server = FakeServer::answering(answers).await;
            let stopped = Running::agent(&server.url, &Moving::default()).end().await.unwrap_err();
            assert!(matches!(stopped, AgentError::Superseded { .. }), "{stopped}");
            for _ in 0..calls {
                server.call().await;
            }
            assert!(server.calls.try_recv().is_err(), "nothing more is said");
        }
    }

    #[tokio::test]
    async fn a_refused_registration_is_an_error() {
        let server = FakeServer::answering([error(400, "cpu_cores must be positive")]).await;
        let stopped = Running::agent(&server.url, &Moving::default()).end().await.unwrap_err();
        let AgentError::Refused { source, .. } = stopped else {
            panic!("{stopped}");
        };
        assert_eq!(source.to_string(), "the server refused (400): cpu_cores must be positive");
    }

    #[tokio::test]
    async fn a_server_that_is_away_for_a_while_is_waited_for() {
        let vms = Moving::default();
        vms.set(&["vm-1"]);
        let answers = [error(503, "starting"), (200, json!({})), error(500, "oops"), (200, json!({}))];
        let mut server = FakeServer::answering(answers).await;
        let _agent = Running::agent(&server.url, &vms);
        assert!(server.call().await.line.starts_with("PUT"));
        assert!(server.call().await.line.starts_with("PUT"));
        for sequence in [1, 2] {
            let heartbeat = server.call().await.body;
            assert_eq!(heartbeat["sequence"], sequence);
            assert_eq!(heartbeat["vms"][0]["id"], "vm-1", "nobody knows whether the failed beat was taken");
        }
    }

    #[tokio::test]
    async fn an_inventory_that_cannot_be_read_does_not_stop_the_heartbeats() {
        let vms = Moving::default();
        let mut server = FakeServer::answering([]).await;
        let _agent = Running::agent(&server.url, &vms);
        server.call().await;
        for sequence in [1, 2] {
            assert_eq!(server.call().await.body, json!({"incarnation": 3, "boot_id": "boot", "sequence": sequence}));
        }
        vms.set(&[]);
        assert_eq!(server.news().await.body["vms"], json!([]));
    }

    #[tokio::test]
    async fn an_inventory_the_server_refuses_does_not_stop_the_heartbeats() {
        let vms = Moving::default();
        vms.set(&["vm-1"]);
        let mut server = FakeServer::answering([(200, json!({})), error(400, "vms[0] is odd")]).await;
        let _agent = Running::agent(&server.url, &vms);
        server.call().await;
        assert!(server.call().await.body.get("vms").is_some());
        assert_eq!(server.call().await.body, json!({"incarnation": 3, "boot_id": "boot", "sequence": 2}));
    }

    #[tokio::test]
    async fn an_agent_leaves_at_once_even_if_its_server_never_was() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let agent = Running::agent(&url, &Moving::default());
        agent.shutdown.cancel();
        agent.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_policy_is_acknowledged_and_the_failure_of_the_hook_told() {
        let draining = json!({
            "policy": "draining", "policy_revision": 7, "drain_reason": "disk", "next_heartbeat_seconds": 600,
        });
        let patient = json!({"policy": "draining", "policy_revision": 7, "next_heartbeat_seconds": 600});
        let answers =
            [json!({"policy_revision": 2}), json!({"policy_revision": 3}), draining, patient.clone(), patient];
        let mut server = FakeServer::answering(answers.map(|answer| (200, answer))).await;
        let registration = Registration { hostname: "node1".into(), boot_id: "boot".into(), ..Registration::default() };
        let servers = ServerSelector::new("w 1", Some(&server.url), None, None, Trust::System).unwrap();
        let vms = Moving::default();
        vms.set(&[]);
        let agent = Agent::new(servers, "w 1".into(), registration, vec![Box::new(vms.clone())]);
        let command = r#"[ $AETHERIUM_POLICY = active ] || { echo "$AETHERIUM_POLICY_REASON is stuck"; exit 1; }"#;
        let hook = PolicyHook::start(command.to_owned(), "w 1".to_owned());
        let agent = Running::run(Agent { hook: Some(hook), ..agent });

        server.call().await;
        let first = server.call().await.body;
        assert_eq!((&first["policy_revision"], first.get("policy_error")), (&json!(2), Some(&Value::Null)));
        assert_eq!(server.call().await.body["policy_revision"], 3);
        // The heartbeats after that are due in ten minutes: the next ones come early.
        let mut told = server.call().await.body;
        assert_eq!(told["policy_revision"], 7);
        while told["policy_error"].is_null() {
            told = server.call().await.body;
        }
        assert_eq!(told["policy_error"], "the policy hook ended with exit status: 1: disk is stuck");
        agent.shutdown.cancel();
        agent.end().await.unwrap();
    }

    #[tokio::test]
    async fn a_policy_is_not_acknowledged_by_a_heartbeat_without_an_inventory() {
        let vms = Moving::default();
        let answers = std::iter::repeat_n((200, json!({"policy_revision": 2})), 1_000);
        let mut server = FakeServer::answering(answers).await;
        let agent = Running::agent(&server.url, &vms);
        server.call().await;
        for _ in 0..3 {
            assert_eq!(server.call().await.body.get("policy_revision"), None);
        }
        vms.set(&["vm-1"]);
        assert_eq!(server.news().await.body["policy_revision"], 2);
        agent.shutdown.cancel();
        agent.end().await.unwrap();
    }

    #[test]
    fn the_pace_is_the_servers_within_reason() {
        let limits = RetryLimits::under(Duration::from_secs(60));
        for (seconds, millis) in [(9.7, 9700), (0.0, 50), (-1.0, 30_000), (f64::NAN, 30_000), (1e300, 30_000)] {
            let reply = HeartbeatReply {
                policy: "active".into(),
                policy_revision: None,
                drain_reason: None,
                drain_deadline_at: None,
                next_heartbeat_seconds: seconds,
                revision: 1,
                resync: false,
                last_sequence: None,
                set_aside: BTreeMap::new(),
            };
            assert_eq!(pace(&reply, &limits), Duration::from_millis(millis), "{seconds}");
        }
    }

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        agent: AgentOptions,
    }

    fn parse(words: &str) -> Result<AgentOptions, clap::Error> {
        let words = ["agent", "--server", "http://s"].into_iter().chain(words.split_whitespace());
        CommandLine::try_parse_from(words).map(|line| line.agent)
    }

    fn host() -> Host {
        Host {
            hostname: Some("node1".into()),
            cpu_cores: 16,
            memory_mb: 32_768,
            disk_gb: 500,
            boot_id: Some("host-boot".into()),
        }
    }

    #[test]
    fn a_host_speaks_for_itself_unless_told_otherwise() {
        let registration = parse("").unwrap().registration(host(), || vec![Hypervisor::Qemu]).unwrap();
        assert_eq!(registration.address, "node1:8081");
        assert_eq!((registration.zone.as_str(), registration.max_vms), ("", 100));
        assert_eq!((registration.cpu_cores, registration.memory_mb, registration.disk_gb), (16, 32_768, 500));
        assert_eq!(registration.capabilities, ["qemu"]);
        assert!(registration.labels.is_empty());

        let flags = "--hostname other --address 10.0.0.1:9 --zone z --label a=b --label c=d=e,f= --capability gpu,qemu --max-vms 7 --disk-gb 9000";
        let registration = parse(flags).unwrap().registration(host(), Vec::new).unwrap();
        assert_eq!((registration.hostname.as_str(), registration.address.as_str()), ("other", "10.0.0.1:9"));
        let labels = [("a", "b"), ("c", "d=e"), ("f", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(registration.labels, BTreeMap::from(labels));
        assert_eq!((registration.disk_gb, registration.max_vms), (9000, 7));
        assert_eq!(registration.capabilities, ["gpu", "qemu"]);
    }

    #[test]
    fn a_variable_that_is_set_to_nothing_says_nothing() {
        let mut options = AgentOptions::new("http://s");
        options.hostname = Some(String::new());
        options.address = Some(String::new());
        options.labels = vec![parse_label("").unwrap()];
        options.capabilities = vec![String::new()];
        let registration = options.registration(host(), || vec![Hypervisor::Qemu]).unwrap();
        assert_eq!((registration.hostname.as_str(), registration.address.as_str()), ("node1", "node1:8081"));
        assert_eq!((registration.labels, registration.capabilities), (BTreeMap::new(), vec!["qemu".into()]));
    }

    #[test]
    fn each_start_of_the_process_is_another_boot() {
        let boot = || AgentOptions::new("http://s").registration(host(), Vec::new).unwrap().boot_id;
        assert_ne!(boot(), boot());
    }

    #[test]
    fn a_label_needs_a_key() {
        for (text, accepted) in [("a=b", true), ("a=", true), ("", true), ("a", false), ("=b", false)] {
            assert_eq!(parse_label(text).is_ok(), accepted, "{text:?}");
        }
        assert!(parse("--label nonsense").is_err());
    }

    #[test]
    fn defaults_are_the_same_with_and_without_a_command_line() {
        let mut from_flags = parse("").unwrap();
        from_flags.server = Some("http://s".into());
        // What is not a process of its own keeps nothing.
        from_flags.join.keeps_state = false;
        assert_eq!(format!("{from_flags:?}"), format!("{:?}", AgentOptions::new("http://s")));
    }
}
