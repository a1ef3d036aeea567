//! The HTTP client of the REST API, as a worker or a gateway in front of workers uses it.
//!
//! Everything that talks to a server from outside goes through here: the agent on a real host, the synthetic fleets of
//! `simulate`, and the commands of operators, which ask by [`ApiClient`] for answers as they are. The wire types are
//! therefore declared a second time and nothing of the server is imported: a client built against this file keeps
//! telling us whether the server still speaks the documented contract.
//!
//! A failed call says in its [`ClientError`] what the caller can do about it; the caller decides whether to register
//! again, to stop, or to come back later. The longest waits that callers keep to are in `retry_limits`.
//!
//! An error status counts as the server's word only with the server's error body: JSON with `error`, `message` and a
//! `code` equal to the status. Load balancers, captive portals and firewalls on the way answer with any status they
//! like; what they say is no answer ([`ClientError::Unavailable`]), or a proxy that is being configured could end a
//! worker's report for good.

mod api;
mod retry_limits;
mod tls_problem;
mod token;
mod traced;
mod trust;
mod worker_token;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::api::{ApiAnswer, ApiClient, ApiError, Lines, Question, is_clear_text};
use self::retry_limits::REQUEST_TIMEOUT;
pub use self::retry_limits::RetryLimits;
use self::tls_problem::tls_problem;
pub use self::token::{ClientToken, TokenFileError, TokenOptions, read_token_text};
pub(crate) use self::traced::send_traced;
pub use self::trust::{Trust, TrustError, TrustOptions};
pub use self::worker_token::{JoinRequest, NotAWorkerToken, WorkerToken, public_id};

/// A server that has not accepted a connection by now is down or unreachable; the caller's own back-off does the rest.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A longer answer than this is not the server's, and is not read to its end. The server's longest one names every VM
/// of a report that it left out.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Enough for a burst of a simulated fleet; connections beyond it are closed after use instead of kept.
const IDLE_CONNECTIONS: usize = 1024;

/// Longer than a heartbeat interval, so that a worker keeps its connection from one heartbeat to the next.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The path of a worker, as spans have it.
const WORKER: &str = "/api/v1/workers/{id}";

/// A connection to one server. Clones share the connections underneath and cost a reference count.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    workers: Url,
    timeout: Duration,
    token: Option<ClientToken>,
}

impl Client {
    /// Prepares calls to the server at a base URL such as `http://127.0.0.1:8080`. Nothing is sent yet.
    ///
    /// The URL may have a path, for servers behind a proxy that adds one.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        Self::trusting(server, &Trust::System)
    }

    /// The same, for a server that is trusted only like this.
    pub fn trusting(server: &str, trust: &Trust) -> Result<Self, ClientError> {
        let workers = workers_url(server)?;
        let http = http_client(server, &workers, trust)?;
        Ok(Self { http, workers, timeout: REQUEST_TIMEOUT, token: None })
    }

    /// The same client, with another limit for a whole call: from the connection to the last byte of the answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same client, which sends this token; without one, none.
    #[must_use]
    pub fn with_token(self, token: Option<ClientToken>) -> Self {
        Self { token, ..self }
    }

    /// A request with the limit and the token of this client.
    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url).timeout(self.timeout);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.header_value()),
            None => request,
        }
    }

    /// Joins with a join token, which is the token of this client: `POST /api/v1/workers/{id}/join`.
    pub async fn join(&self, id: &str, request: &JoinRequest) -> Result<JoinedWorker, ClientError> {
        self.call(Method::POST, self.worker(id, &["join"])?, "/api/v1/workers/{id}/join", request).await
    }

    /// Makes a worker known, or announces a new start of one: `PUT /api/v1/workers/{id}`.
    pub async fn register(&self, id: &str, registration: &Registration) -> Result<Registered, ClientError> {
        let registered = self.call(Method::PUT, self.worker(id, &[])?, WORKER, registration).await;
        registered.map_err(ClientError::about_a_start)
    }

    /// Tells that a worker is alive and what it runs: `POST /api/v1/workers/{id}/heartbeat`.
    pub async fn heartbeat(&self, id: &str, heartbeat: &Heartbeat) -> Result<HeartbeatReply, ClientError> {
        self.call(Method::POST, self.worker(id, &["heartbeat"])?, "/api/v1/workers/{id}/heartbeat", heartbeat)
            .await
            .map_err(|error| error.about_a_known_worker())
    }

    /// Heartbeats for many workers in one request: `POST /api/v1/heartbeats`. One answer per heartbeat, in the same
    /// order.
    ///
    /// An `Err` is about the request as a whole; a worker that the server does not know, say, is one in the list.
    pub async fn heartbeats(
        &self,
        heartbeats: &[(&str, &Heartbeat)],
    ) -> Result<Vec<Result<HeartbeatReply, ClientError>>, ClientError> {
        let entries =
            heartbeats.iter().map(|&(worker_id, heartbeat)| HeartbeatEntry { worker_id, heartbeat }).collect();
        let url = self
            .workers
            .join("heartbeats")
            .map_err(|error| ClientError::Url { url: self.workers.to_string(), reason: error.to_string() })?;
        let body = HeartbeatsBody { heartbeats: entries };
        let Answers { results } = self.call(Method::POST, url, "/api/v1/heartbeats", &body).await?;
        if results.len() != heartbeats.len() {
            let message = format!("it answered {} of {} heartbeats", results.len(), heartbeats.len());
            return Err(ClientError::not_the_server(message, None));
        }
        Ok(results.into_iter().map(Answer::into_result).collect())
    }

    /// Tells that a worker leaves on purpose: `DELETE /api/v1/workers/{id}`. A life that is not the present one is
    /// [`ClientError::Superseded`], and takes nobody out of service.
    pub async fn goodbye(&self, id: &str, life: LifeOf<'_>) -> Result<(), ClientError> {
        let mut url = self.worker(id, &[])?;
        match life {
            LifeOf::Process { incarnation, boot_id } => {
                let incarnation = incarnation.to_string();
                url.query_pairs_mut().append_pair("incarnation", &incarnation).append_pair("boot_id", boot_id);
            }
            LifeOf::HostBoot(host_boot_id) => {
                url.query_pairs_mut().append_pair("host_boot_id", host_boot_id);
            }
        }
        let request = self.request(Method::DELETE, url);
        let response = send_traced(request, WORKER).await.map_err(ClientError::network)?;
        match accept(response).await.map_err(ClientError::about_a_known_worker)?.status() {
            StatusCode::NO_CONTENT => Ok(()),
            // A page of something on the way: the server has no body to give here.
            status => Err(ClientError::not_the_server(format!("{status} is no answer to a goodbye"), None)),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        template: &'static str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        let request = self.request(method, url).json(body);
        let response = accept(send_traced(request, template).await.map_err(ClientError::network)?).await?;
        if !is_json(&response) {
            let message = format!("{} came with {}, not with JSON", response.status(), media_type(&response));
            return Err(ClientError::not_the_server(message, None));
        }
        let answer = read_body(response).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::not_the_server(format!("its answer could not be read: {error}"), None))
    }

    fn worker(&self, id: &str, rest: &[&str]) -> Result<Url, ClientError> {
        let unusable =
            |reason: &str| ClientError::Url { url: format!("{}/{id}", self.workers), reason: reason.to_owned() };
        // URLs give these a meaning of their own that percent-encoding does not take away.
        if matches!(id, "" | "." | "..") {
            return Err(unusable("a URL cannot hold this worker id"));
        }
        let mut url = self.workers.clone();
        url.path_segments_mut().map_err(|()| unusable("it cannot have a path"))?.push(id).extend(rest);
        Ok(url)
    }
}

/// For which life of a worker somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeOf<'a> {
    /// For the one of this process, which registration gave this number.
    Process {
        /// The number.
        incarnation: u64,
        /// What the process called its start.
        boot_id: &'a str,
    },
    /// For the one that lives on this start of the host.
    HostBoot(&'a str),
}

/// The server's answer to a worker that joins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JoinedWorker {
    /// The worker.
    pub worker_id: String,
    /// The public id of its token.
    pub token_id: String,
}

/// What a worker is: the body of a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Name of the host.
    pub hostname: String,
    /// Host and port the worker listens on.
    pub address: String,
    /// Failure domain; empty for none.
    pub zone: String,
    /// Free key/value pairs.
    pub labels: BTreeMap<String, String>,
    /// What the worker can run, such as the names of its hypervisors.
    pub capabilities: Vec<String>,
    /// Logical cores.
    pub cpu_cores: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk space in GiB.
    pub disk_gb: u32,
    /// How many VMs the worker takes at most.
    pub max_vms: u32,
    /// Any text that is new for each start of the process; the same text again is a retry of the same registration.
    pub boot_id: String,
    /// New for each start of the host: with another one than before, the server forgets what the host ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_boot_id: Option<String>,
    /// The last incarnation that this process was given, by whatever state of the server's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_incarnation: Option<u64>,
}

/// The server's answer to a registration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Registered {
    /// Which life of the worker this is; every heartbeat repeats it.
    pub incarnation: u64,
    /// The usual time from heartbeat to heartbeat.
    pub heartbeat_interval_seconds: f64,
    /// Silence after which the worker counts as offline.
    pub offline_after_seconds: f64,
    /// The cluster's revision that holds this registration.
    pub revision: u64,
    /// Number of the last heartbeat of this life that counted, if there was one: the next has to be above it.
    #[serde(default)]
    pub last_sequence: Option<u64>,
    /// Revision of the last change to the policy, which the next heartbeat repeats; none with a server that does not
    /// tell.
    #[serde(default)]
    pub policy_revision: Option<u64>,
}

/// A sign of life. What is `None` is left out of the body, and absent means "as before", never "empty".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// As the registration was answered.
    pub incarnation: u64,
    /// As in the registration: tells this process from another one that was given the same number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Grows from heartbeat to heartbeat; of a heartbeat that is not newer than the last one, the server takes only
    /// that it is alive.
    pub sequence: u64,
    /// Cores allocated to VMs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_cpu_cores: Option<u32>,
    /// Memory allocated to VMs, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_memory_mb: Option<u32>,
    /// Disk space allocated to VMs, in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_disk_gb: Option<u32>,
    /// The whole inventory; replaces what the server knew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vms: Option<Vec<VmReport>>,
    /// A change of the inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vms_delta: Option<VmDelta>,
    /// The revision of the policy that the worker knows, as the last heartbeat was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision: Option<u64>,
    /// Why what should be done for the policy failed, at most 500 characters; `null` if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_error: Option<Option<String>>,
    /// What the host measured of its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredLoad>,
}

/// What a host measured of its load, each figure only if it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLoad {
    /// For how many seconds CPU cores were busy, all of them together, since the host was started: a counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_busy_seconds: Option<f64>,
    /// Memory in use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_mb: Option<u32>,
    /// Load average of one minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load1: Option<f64>,
}

/// What changed in a worker's inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmDelta {
    /// VMs that are new or different, whole.
    pub upsert: Vec<VmReport>,
    /// Ids of VMs that are gone.
    pub remove: Vec<String>,
}

/// One VM as its worker reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmReport {
    /// Unique in the cluster: 1 to 255 characters, no `/`, no control characters.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where it is in its life.
    pub status: VmStatus,
    /// Virtual CPUs; 0 if not known.
    pub vcpus: u32,
    /// Memory in MiB; 0 if not known.
    pub memory_mb: u32,
    /// What the worker says of it, such as why it could not be moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The reservation that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<String>,
}

/// Where a VM is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmStatus {
    /// Placed on the worker, not started yet.
    Created,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// On its way down.
    Stopping,
    /// Down on purpose.
    Stopped,
    /// Down by accident.
    Failed,
}

impl VmStatus {
    /// Whether a VM in this state takes a slot, cores and memory of its worker.
    pub fn holds_slot(self) -> bool {
        match self {
            Self::Created | Self::Starting | Self::Running | Self::Stopping => true,
            Self::Stopped | Self::Failed => false,
        }
    }
}

/// The server's answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HeartbeatReply {
    /// What operators want of the worker: `active` or `draining`.
    pub policy: String,
    /// Revision of the last change to the policy, which the next heartbeat repeats; none with a server that does not
    /// tell.
    #[serde(default)]
    pub policy_revision: Option<u64>,
    /// Why the worker is drained.
    #[serde(default)]
    pub drain_reason: Option<String>,
    /// Until when it should be empty, in RFC 3339.
    #[serde(default)]
    pub drain_deadline_at: Option<String>,
    /// When to send the next heartbeat.
    pub next_heartbeat_seconds: f64,
    /// The cluster's revision after this heartbeat.
    pub revision: u64,
    /// The server asks for the whole inventory with the next heartbeat.
    pub resync: bool,
    /// This heartbeat came late: number of the last one that counted. The next has to be above it.
    #[serde(default)]
    pub last_sequence: Option<u64>,
    /// VMs of the report that the server left out, each with the reason.
    #[serde(default)]
    pub set_aside: BTreeMap<String, String>,
}

/// Why a call brought no answer, told apart by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// 404: the server does not know this worker, or no longer. Register again.
    #[error("{message}")]
    Unknown {
        /// The server's words.
        message: String,
    },
    /// 409: another process has registered under this id since, or this one was signed off. Stop.
    #[error("{message}")]
    Superseded {
        /// The server's words.
        message: String,
    },
    /// The server itself, not something on the way, understood and refuses: repeating the same call will not help.
    #[error("the server refused ({status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// No answer, too busy to answer, an answer that makes no sense, or one that is not the server's: try again later.
    #[error("the server is unavailable: {message}")]
    Unavailable {
        /// The server's words, or the cause of the failed connection.
        message: String,
        /// How long the server asks to be left alone (`Retry-After` in seconds; a date is not read).
        retry_after: Option<Duration>,
        /// What went wrong underneath, if it was not the server that said so.
        source: Option<reqwest::Error>,
    },
    /// The server's address, or the worker's id in it, cannot be used.
    #[error("{url:?} is not a usable URL: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Registered {
    /// The limits that follow from what the server said.
    pub fn retry_limits(&self) -> RetryLimits {
        Duration::try_from_secs_f64(self.offline_after_seconds)
            .ok()
            .filter(|offline_after| !offline_after.is_zero())
            .map_or_else(RetryLimits::default, RetryLimits::under)
    }
}

impl ClientError {
    /// Whether the server does not accept the token, or its role: no other heartbeat would fare better.
    pub fn is_about_the_token(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }

    fn from_status(status: StatusCode, message: String, retry_after: Option<Duration>) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Self::Unavailable { message, retry_after, source: None }
            }
            _ if status.is_server_error() => Self::Unavailable { message, retry_after, source: None },
            _ => Self::Refused { status: status.as_u16(), message },
        }
    }

    /// An answer that came, and that is not the server's.
    fn not_the_server(message: String, retry_after: Option<Duration>) -> Self {
        Self::Unavailable { message, retry_after, source: None }
    }

    fn network(source: reqwest::Error) -> Self {
        let message = match tls_problem(&source) {
            // A sentence of its own, to which its causes add nothing.
            Some(problem) => format!("{problem}."),
            None if source.is_timeout() => "it did not answer in time".to_owned(),
            None => root_cause(&source),
        };
        Self::Unavailable { message, retry_after: None, source: Some(source) }
    }

    /// Whether there was no TLS connection, although the server is there: somebody has to mend that.
    pub fn is_about_tls(&self) -> bool {
        matches!(self, Self::Unavailable { source: Some(source), .. } if tls_problem(source).is_some())
    }

    /// A registration is refused with 409 if the start of the process that it names is over: another one has registered
    /// since, or it was signed off. It creates the worker, so a 404 means a wrong address and stays [`Self::Refused`].
    fn about_a_start(self) -> Self {
        match self {
            Self::Refused { status: 409, message } => Self::Superseded { message },
            other => other,
        }
    }

    /// 404 and 409 are about the worker where the worker is spoken of as known.
    fn about_a_known_worker(self) -> Self {
        match self {
            Self::Refused { status: 404, message } => Self::Unknown { message },
            Self::Refused { status: 409, message } => Self::Superseded { message },
            other => other,
        }
    }
}

/// The body of every failure of the server. All three keys have to be there; more may be.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "error")]
    _error: String,
    message: String,
    code: u16,
}

impl ErrorBody {
    /// The server's words, if it is the server that says them: its failures repeat the status.
    fn message_for(self, status: u16) -> Option<String> {
        (self.code == status).then_some(self.message)
    }
}

/// The body of a request that carries the heartbeats of many workers.
#[derive(Serialize)]
struct HeartbeatsBody<'a> {
    heartbeats: Vec<HeartbeatEntry<'a>>,
}

#[derive(Serialize)]
struct HeartbeatEntry<'a> {
    worker_id: &'a str,
    #[serde(flatten)]
    heartbeat: &'a Heartbeat,
}

#[derive(Deserialize)]
struct Answers {
    results: Vec<Answer>,
}

/// The answer to one of many heartbeats: what it would have been told alone, or what it would have failed with.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed { status: u16, error: ErrorBody },
    Acknowledged(HeartbeatReply),
}

impl Answer {
    fn into_result(self) -> Result<HeartbeatReply, ClientError> {
        match self {
            Self::Acknowledged(reply) => Ok(reply),
            Self::Failed { status, error } => {
                let message = error.message_for(status);
                let known = StatusCode::from_u16(status).ok().zip(message);
                let (status, message) = known.ok_or_else(|| {
                    ClientError::not_the_server(format!("the {status} of one heartbeat is not its own"), None)
                })?;
                Err(ClientError::from_status(status, message, None).about_a_known_worker())
            }
        }
    }
}

/// Lets successes through and turns every other status into the error that says what to do.
async fn accept(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after =
        header(&response, RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let location = header(&response, LOCATION.as_str());
    let message = match is_json(&response) {
        true => {
            let body = read_body(response).await?;
            serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|body| body.message_for(status.as_u16()))
        }
        false => None,
    };
    Err(match (message, location) {
        (Some(message), _) => ClientError::from_status(status, message, retry_after),
        (None, Some(location)) => ClientError::not_the_server(format!("{status}, it moved to {location}"), retry_after),
        (None, None) => ClientError::not_the_server(format!("{status} without an error body of this API"), retry_after),
    })
}

/// Reads an answer's body to its end, but no more of it than the server would ever send.
async fn read_body(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ClientError::network)? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            let message = format!("its answer is larger than {} MiB", LARGEST_ANSWER / 1024 / 1024);
            return Err(ClientError::not_the_server(message, None));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_json(response: &Response) -> bool {
    let media_type = media_type(response);
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn media_type(response: &Response) -> String {
    header(response, CONTENT_TYPE.as_str()).unwrap_or_else(|| "no media type".to_owned())
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The HTTP client for the server at a base URL, of which `url` is an address.
fn http_client(server: &str, url: &Url, trust: &Trust) -> Result<reqwest::Client, ClientError> {
    let unusable = |reason: String| ClientError::Url { url: server.to_owned(), reason };

    // reqwest comes without a cryptography provider, so that the whole process uses one. The binary installs it;
    // tests and other users of the library may not have, and a provider that is there already is the right one.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let mut http = reqwest::Client::builder()
        .user_agent(concat!("aetherium/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // Following a redirect can turn a PUT into a GET; the operator should name the real address instead.
        .redirect(redirect::Policy::none());
    if url.scheme() == "https" {
        http = trust.apply(http).map_err(|error| unusable(error.to_string()))?;
    } else if trust.is_told() {
        return Err(unusable(
            "there is no certificate to check without TLS; write https://, or leave out --ca-file and --server-fingerprint"
                .to_owned(),
        ));
    } else {
        // Without this a host that has no CA certificates could not even speak plain HTTP.
        http = http.tls_certs_only([]);
    }
    if is_loopback(url) {
        http = http.no_proxy();
    }
    http.build().map_err(|error| {
        let reason = root_cause(&error);
        // The authorities of the system are read here, and a small image has none.
        let hint = "name the server's authority with --ca-file, or pin its certificate with --server-fingerprint";
        unusable(if url.scheme() == "https" { format!("{reason}; {hint}") } else { reason })
    })
}

/// Finds where a server keeps its workers.
fn workers_url(server: &str) -> Result<Url, ClientError> {
    api_url(server, &["workers"])
}

/// Finds what a server has under a path of its API.
fn api_url(server: &str, path: &[&str]) -> Result<Url, ClientError> {
    let unusable = |reason: String| ClientError::Url { url: server.to_owned(), reason };
    let example = "it has to look like http://127.0.0.1:8080";
    let mut url = Url::parse(server).map_err(|error| unusable(format!("{error}; {example}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(unusable(example.to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("it cannot have a ? or a #".to_owned()));
    }
    url.path_segments_mut()
        .map_err(|()| unusable(example.to_owned()))?
        .pop_if_empty()
        .extend(["api", "v1"])
        .extend(path);
    Ok(url)
}

/// A proxy cannot reach the loopback of this host, whatever `HTTP_PROXY` says.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The innermost cause says what happened ("connection refused"); the layers above only say who noticed.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::IntoResponse;

    use super::*;

    /// A client of a server that always gives this answer, as JSON unless the headers say otherwise.
    async fn answered_with(status: u16, headers: &[(&'static str, &'static str)], body: impl Into<String>) -> Client {
        let json = [("content-type", "application/json")];
        let (headers, body) = ([&json, headers].concat(), body.into());
        let answer = move || {
            let mut response = (axum::http::StatusCode::from_u16(status).unwrap(), body.clone()).into_response();
            for (name, value) in &headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            std::future::ready(response)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Client::new(&url).unwrap()
    }

    /// The server's error body.
    fn own_words(status: u16, message: &str) -> String {
        serde_json::json!({"error": "…", "message": message, "code": status}).to_string()
    }

    /// The kind of an error, and what it says.
    fn words(error: &ClientError) -> String {
        let kind = match error {
            ClientError::Unknown { .. } => "unknown",
            ClientError::Superseded { .. } => "superseded",
            ClientError::Refused { .. } => "refused",
            ClientError::Unavailable { .. } => "unavailable",
            ClientError::Url { .. } => "url",
        };
        format!("{kind}: {error}")
    }

    #[tokio::test]
    async fn every_answer_says_what_to_do_about_it() {
        for (status, expected) in [
            (404, "unknown: its words"),
            (409, "superseded: its words"),
            (400, "refused: the server refused (400): its words"),
            (413, "refused: the server refused (413): its words"),
            (408, "unavailable: the server is unavailable: its words"),
            (429, "unavailable: the server is unavailable: its words"),
            (500, "unavailable: the server is unavailable: its words"),
        ] {
            let client = answered_with(status, &[], own_words(status, "its words")).await;
            let error = client.heartbeat("w1", &Heartbeat::default()).await.unwrap_err();
            assert_eq!(words(&error), expected, "{status}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_the_servers_is_told_as_such() {
        let html = [("content-type", "text/html; charset=utf-8")];
        for (status, headers, body, expected) in [
            (404, &html[..], own_words(404, "no"), "404 Not Found without an error body of this API"),
            (409, &[], own_words(404, "no"), "409 Conflict without an error body of this API"),
            (400, &[], r#"{"message": "no", "code": 400}"#.into(), "400 Bad Request without an error body of this API"),
            (302, &[], String::new(), "302 Found without an error body of this API"),
            (200, &html, "<html>".into(), "200 OK came with text/html; charset=utf-8, not with JSON"),
            (200, &[], String::new(), "its answer could not be read: EOF while parsing a value at line 1 column 0"),
            (
                200,
                &[],
                r#"{"status": "up"}"#.into(),
                "its answer could not be read: missing field `policy` at line 1 column 16",
            ),
        ] {
            let client = answered_with(status, headers, &*body).await;
            let error = client.heartbeat("w1", &Heartbeat::default()).await.unwrap_err();
            assert_eq!(words(&error), format!("unavailable: the server is unavailable: {expected}"), "{status} {body}");
        }
    }

    #[tokio::test]
    async fn a_registration_is_never_unknown_but_may_be_superseded() {
        for (status, expected) in [(404, "refused: the server refused (404): no"), (409, "superseded: no")] {
            let client = answered_with(status, &[], own_words(status, "no")).await;
            let error = client.register("w1", &Registration::default()).await.unwrap_err();
            assert_eq!(words(&error), expected);
        }
    }

    const THIRD_LIFE: LifeOf<'_> = LifeOf::Process { incarnation: 3, boot_id: "b" };

    #[tokio::test]
    async fn a_goodbye_needs_no_body_in_return() {
        answered_with(204, &[], "").await.goodbye("w1", THIRD_LIFE).await.unwrap();
        let error = answered_with(200, &[], "<html>").await.goodbye("w1", THIRD_LIFE).await.unwrap_err();
        assert_eq!(words(&error), "unavailable: the server is unavailable: 200 OK is no answer to a goodbye");
    }

    #[tokio::test]
    async fn each_of_many_heartbeats_is_answered_on_its_own() {
        let body = r#"{"results": [
            {"worker_id": "w1", "status": 200, "policy": "draining", "next_heartbeat_seconds": 9.5, "revision": 7, "resync": true},
            {"worker_id": "w2", "status": 404, "error": {"error": "Not Found", "message": "never seen", "code": 404}},
            {"worker_id": "w3", "status": 409, "error": {"error": "Conflict", "message": "too old", "code": 409}},
            {"worker_id": "w4", "status": 503, "error": {"error": "Service Unavailable", "message": "busy", "code": 503}}
        ]}"#;
        let client = answered_with(200, &[], body).await;
        let heartbeat = Heartbeat::default();
        let heartbeats = [("w1", &heartbeat), ("w2", &heartbeat), ("w3", &heartbeat), ("w4", &heartbeat)];
        let answers = client.heartbeats(&heartbeats).await.unwrap();

        let reply = HeartbeatReply {
            policy: "draining".to_owned(),
            policy_revision: None,
            drain_reason: None,
            drain_deadline_at: None,
            next_heartbeat_seconds: 9.5,
            revision: 7,
            resync: true,
            last_sequence: None,
            set_aside: BTreeMap::new(),
        };
        assert_eq!(answers[0].as_ref().ok(), Some(&reply));
        let failures: Vec<String> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(words).collect();
        assert_eq!(
            failures,
            ["unknown: never seen", "superseded: too old", "unavailable: the server is unavailable: busy"]
        );

        // With an answer missing, nobody can tell whose it is.
        let error = client.heartbeats(&heartbeats[..3]).await.unwrap_err();
        assert_eq!(words(&error), "unavailable: the server is unavailable: it answered 4 of 3 heartbeats");
    }

    #[tokio::test]
    async fn a_wish_to_be_left_alone_is_passed_on() {
        for (header, expected) in [("7", Some(7)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)] {
            let client = answered_with(503, &[("retry-after", header)], "").await;
            let ClientError::Unavailable { retry_after, .. } = client.goodbye("w1", THIRD_LIFE).await.unwrap_err()
            else {
                panic!("503 is a server that is unavailable");
            };
            assert_eq!(retry_after, expected.map(Duration::from_secs), "{header}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_but_told() {
        let client = answered_with(308, &[("location", "https://elsewhere/")], "").await;
        let error = client.goodbye("w1", THIRD_LIFE).await.unwrap_err();
        assert_eq!(
            words(&error),
            "unavailable: the server is unavailable: 308 Permanent Redirect, it moved to https://elsewhere/"
        );
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let error = client.goodbye("w1", THIRD_LIFE).await.unwrap_err();
        assert!(words(&error).starts_with("unavailable: the server is unavailable: Connection refused"), "{error}");
    }

    #[test]
    fn any_base_url_leads_to_the_workers() {
        for (server, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v1/workers/w1/heartbeat"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/api/v1/workers/w1/heartbeat"),
            ("https://example.com/cluster/", "https://example.com/cluster/api/v1/workers/w1/heartbeat"),
            ("http://[::1]:8080", "http://[::1]:8080/api/v1/workers/w1/heartbeat"),
        ] {
            let client = Client::new(server).unwrap();
            assert_eq!(client.worker("w1", &["heartbeat"]).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_bad_base_url_is_told_in_a_sentence() {
        for (server, reason) in [
            ("127.0.0.1:8080", "relative URL without a base; it has to look like http://127.0.0.1:8080"),
            ("localhost:8080", "it has to look like http://127.0.0.1:8080"),
            ("", "relative URL without a base; it has to look like http://127.0.0.1:8080"),
            ("ftp://example.com", "it has to look like http://127.0.0.1:8080"),
            ("http://", "empty host; it has to look like http://127.0.0.1:8080"),
            ("http://example.com/?a=b", "it cannot have a ? or a #"),
        ] {
            let error = Client::new(server).unwrap_err().to_string();
            assert_eq!(error, format!("{server:?} is not a usable URL: {reason}"));
        }
    }

    #[test]
    fn an_odd_id_stays_one_segment_of_the_path() {
        let client = Client::new("http://s").unwrap();
        for (id, segment) in
            [("a b", "a%20b"), ("a?b#c", "a%3Fb%23c"), ("ü%", "%C3%BC%25"), ("a/b", "a%2Fb"), ("...", "...")]
        {
            let url = client.worker(id, &["heartbeat"]).unwrap();
            assert_eq!(url.path(), format!("/api/v1/workers/{segment}/heartbeat"));
        }
        for id in ["", ".", ".."] {
            assert!(matches!(client.worker(id, &[]), Err(ClientError::Url { .. })), "{id:?}");
        }
    }

    #[test]
    fn the_loopback_is_known_by_name_and_number() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
