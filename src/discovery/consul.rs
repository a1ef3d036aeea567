//! The client of Consul: the five calls of its HTTP API that are needed, over an HTTP client of their own.
//!
//! The client is separate from the one that carries heartbeats, with limits of its own, so that connections to a Consul
//! that hangs never stand in the way of one. Name, tags and meta data of what is registered are not here, but in
//! [`service`](super::service).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use go_duration::GoDuration;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::address::Address;
use super::check_state::CheckStatus;
use super::error::ConsulError;
use super::service::{SERVER, Service};
use crate::client::{is_loopback, root_cause, send_traced};

/// A Consul agent is on this machine, or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for an answer to a call that does not block.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long Consul may hold a question back until the answer is another one.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Consul adds up to a sixteenth to a wait, so that not all return at once; the rest is for the network.
const BLOCKING_TIMEOUT: Duration = Duration::from_millis(300_000 + 300_000 / 16 + 10_000);

/// A longer answer than this is not read to its end: a list of thousands of servers.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

/// A refusal's words are shown in the log, as far as this.
const LARGEST_REFUSAL: usize = 512;

/// When Consul forgets a service whose check nobody has kept fresh.
const DEREGISTER_AFTER: &str = "24h";

/// A client of one Consul agent. Clones share the connections underneath.
#[derive(Clone, Debug)]
pub struct Consul {
    http: reqwest::Client,
    address: Address,
    token: TokenSource,
}

/// What a client is made of.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) token: TokenSource,
    /// Certificates to trust in place of the system's.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) verifies_certificates: bool,
    pub(super) namespace: Option<String>,
}

/// Where the token is.
#[derive(Clone)]
pub(super) enum TokenSource {
    /// There is none.
    None,
    /// It was given.
    Text(String),
    /// In a file, which is read for each call: whoever issues short-lived tokens rewrites it.
    File(PathBuf),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => write!(f, "File({path:?})"),
        }
    }
}

/// Why a call did not do what it should, told apart by what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Consul does not know the service or the check: it has lost its memory, or somebody took the service out.
    /// Register again.
    #[error("Consul does not know it: {message}")]
    Unknown {
        /// Its words.
        message: String,
    },
    /// The token does not allow it. Somebody has to mend that.
    #[error("the token does not allow it: {message}")]
    Forbidden {
        /// Its words.
        message: String,
    },
    /// No answer, or one that makes no sense. Try again later.
    #[error("{message}")]
    Unavailable {
        /// What happened.
        message: String,
    },
}

impl CallError {
    fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into() }
    }

    fn network(error: &reqwest::Error) -> Self {
        Self::unavailable(if error.is_timeout() { "it did not answer in time".to_owned() } else { root_cause(error) })
    }

    /// What a status and its words mean. Which status says what depends on Consul's version.
    fn from_answer(status: StatusCode, words: &str) -> Self {
        let words = words.trim();
        let message = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
        let is_refusal = says(&["Permission denied", "ACL not found"]);
        let is_unknown = says(&["Unknown check", "Unknown service", "does not have associated TTL"]);
        match status.as_u16() {
            403 => Self::Forbidden { message },
            500 if is_refusal => Self::Forbidden { message },
            404 | 500 if is_unknown => Self::Unknown { message },
            _ => Self::Unavailable { message },
        }
    }
}

/// The servers that Consul names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceListing {
    /// To ask for what comes after it.
    pub(super) index: u64,
    /// Base URLs, in order.
    pub(super) servers: Vec<String>,
    /// The token does not allow to see all there is.
    pub(super) is_filtered: bool,
}

impl Consul {
    pub(super) fn new(settings: Settings) -> Result<Self, ConsulError> {
        let Settings { address, token, ca_file, verifies_certificates, namespace } = settings;
        // As for the client of the API: the provider that is there already is the right one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("aetherium/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none());
        if let Some(namespace) = namespace {
            let value = header_value(&namespace, "CONSUL_NAMESPACE")?;
            http = http.default_headers(HeaderMap::from_iter([(NAMESPACE_HEADER, value)]));
        }
        if address.base.scheme() == "http" {
            // A host without any CA certificates can still speak plain HTTP.
            http = http.tls_certs_only([]);
        } else if let Some(path) = ca_file {
            http = http.tls_certs_only(certificates(&path)?);
        }
        if !verifies_certificates {
            http = http.tls_danger_accept_invalid_certs(true);
        }
        if let Some(socket) = &address.socket {
            http = http.unix_socket(socket.clone());
        }
        if is_loopback(&address.base) {
            http = http.no_proxy();
        }
        match &token {
            TokenSource::None => {}
            TokenSource::Text(text) => _ = header_value(text, TOKEN)?,
            TokenSource::File(path) => _ = token_of_file(path)?,
        }
        let http = http.build().map_err(ConsulError::Client)?;
        Ok(Self { http, address, token })
    }

    /// Where Consul is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `PUT /v1/agent/service/register`: makes a service known, or replaces what was said of it. Checks of before go.
    pub(super) async fn register(
        &self,
        service: &Service,
        status: CheckStatus,
        ttl: Duration,
    ) -> Result<(), CallError> {
        let mut url = self.url(&["agent", "service", "register"])?;
        url.query_pairs_mut().append_pair("replace-existing-checks", "true");
        let ttl = GoDuration(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)).to_string();
        let body = Registration {
            id: &service.id,
            name: service.name,
            address: &service.address,
            port: service.port,
            meta: &service.meta,
            check: Check {
                check_id: service.check_id(),
                name: "Heartbeat",
                ttl,
                status: status.word(),
                deregister_critical_service_after: DEREGISTER_AFTER,
            },
        };
        self.put(self.http.request(Method::PUT, url).json(&body), "/v1/agent/service/register").await
    }

    /// `PUT /v1/agent/check/update/:id`: says how a service is, and that somebody still says so.
    pub(super) async fn update_check(
        &self,
        service: &Service,
        status: CheckStatus,
        output: &str,
    ) -> Result<(), CallError> {
        let url = self.url(&["agent", "check", "update", &service.check_id()])?;
        let body = json!({"Status": status.word(), "Output": output});
        self.put(self.http.request(Method::PUT, url).json(&body), "/v1/agent/check/update/{id}").await
    }

    /// `PUT /v1/agent/service/maintenance/:id`: takes a service out of what is passing, or puts it back.
    pub(super) async fn set_maintenance(&self, service: &Service, reason: Option<&str>) -> Result<(), CallError> {
        let mut url = self.url(&["agent", "service", "maintenance", &service.id])?;
        url.query_pairs_mut().append_pair("enable", if reason.is_some() { "true" } else { "false" });
        if let Some(reason) = reason {
            url.query_pairs_mut().append_pair("reason", reason);
        }
        self.put(self.http.request(Method::PUT, url), "/v1/agent/service/maintenance/{id}").await
    }

    /// `PUT /v1/agent/service/deregister/:id`: takes a service out.
    pub(super) async fn deregister(&self, service: &Service) -> Result<(), CallError> {
        let url = self.url(&["agent", "service", "deregister", &service.id])?;
        self.put(self.http.request(Method::PUT, url), "/v1/agent/service/deregister/{id}").await
    }

    /// `GET /v1/health/service/aetherium?passing`: the servers that are well. After an index, Consul holds the answer
    /// back until it is another one, or for some minutes.
    pub(super) async fn list_servers(&self, after: Option<u64>) -> Result<ServiceListing, CallError> {
        let mut url = self.url(&["health", "service", SERVER])?;
        url.query_pairs_mut().append_key_only("passing");
        let mut limit = CALL_TIMEOUT;
        if let Some(index) = after {
            let wait = format!("{}s", LONGEST_WAIT.as_secs());
            url.query_pairs_mut().append_pair("index", &index.to_string()).append_pair("wait", &wait);
            limit = BLOCKING_TIMEOUT;
        }
        let response = self.send(self.http.get(url).timeout(limit), "/v1/health/service/{name}").await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let index = header("x-consul-index").and_then(|text| text.parse().ok());
        let index = index.ok_or_else(|| CallError::unavailable("its answer has no X-Consul-Index; is it Consul?"))?;
        let is_filtered = header("x-consul-results-filtered-by-acls") == Some("true");
        let body = read_at_most(response, LARGEST_ANSWER).await?;
        let entries: Vec<Entry> = serde_json::from_slice(&body)
            .map_err(|error| CallError::unavailable(format!("its answer could not be read: {error}")))?;
        Ok(ServiceListing { index, servers: urls(&entries), is_filtered })
    }

    async fn put(&self, request: RequestBuilder, template: &'static str) -> Result<(), CallError> {
        self.send(request.timeout(CALL_TIMEOUT), template).await.map(drop)
    }

    async fn send(&self, request: RequestBuilder, template: &'static str) -> Result<Response, CallError> {
        let request = match self.token().await? {
            Some(token) => request.header("x-consul-token", token),
            None => request,
        };
        let response = send_traced(request, template).await.map_err(|error| CallError::network(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let words = read_at_most(response, LARGEST_ANSWER).await.unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        Err(CallError::from_answer(status, &words[..words.floor_char_boundary(LARGEST_REFUSAL)]))
    }

    async fn token(&self) -> Result<Option<HeaderValue>, CallError> {
        match &self.token {
            TokenSource::None => Ok(None),
            TokenSource::Text(text) => header_value(text, TOKEN).map(Some).map_err(|error| unusable(&error)),
            TokenSource::File(path) => {
                let path = path.clone();
                let read = spawn_blocking(move || token_of_file(&path)).await;
                let token = read.map_err(|_| CallError::unavailable("its token could not be read"))?;
                token.map(Some).map_err(|error| unusable(&error))
            }
        }
    }

    fn url(&self, path: &[&str]) -> Result<Url, CallError> {
        let mut url = self.address.base.clone();
        let unusable = |()| CallError::unavailable("its address cannot have a path");
        url.path_segments_mut().map_err(unusable)?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }
}

const TOKEN: &str = "CONSUL_HTTP_TOKEN";
const TOKEN_FILE: &str = "CONSUL_HTTP_TOKEN_FILE";
const NAMESPACE_HEADER: reqwest::header::HeaderName = reqwest::header::HeaderName::from_static("x-consul-namespace");

fn unusable(error: &ConsulError) -> CallError {
    CallError::unavailable(error.to_string())
}

/// A value that is never shown.
fn header_value(text: &str, name: &'static str) -> Result<HeaderValue, ConsulError> {
    let what = "a character that cannot be sent";
    let mut value = HeaderValue::from_str(text).map_err(|_| ConsulError::Content { name, what })?;
    value.set_sensitive(true);
    Ok(value)
}

fn token_of_file(path: &Path) -> Result<HeaderValue, ConsulError> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| ConsulError::File { name: TOKEN_FILE, path: path.to_owned(), source })?;
    match text.trim() {
        "" => Err(ConsulError::Content { name: TOKEN_FILE, what: "a file without a token" }),
        token => header_value(token, TOKEN_FILE),
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ConsulError> {
    const NAME: &str = "CONSUL_CACERT";
    let pem = std::fs::read(path);
    let pem = pem.map_err(|source| ConsulError::File { name: NAME, path: path.to_owned(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(ConsulError::Content { name: NAME, what: "a file without PEM certificates" }),
    }
}

async fn read_at_most(mut response: Response, limit: usize) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| CallError::network(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(CallError::unavailable("its answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Registration<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    meta: &'a BTreeMap<&'static str, String>,
    check: Check,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    check_id: String,
    name: &'static str,
    #[serde(rename = "TTL")]
    ttl: String,
    status: &'static str,
    deregister_critical_service_after: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: EntryService,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryService {
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: u32,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

impl Entry {
    /// The base URL of a server, if it has an address and a port.
    fn url(&self) -> Option<String> {
        let Self { node, service } = self;
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let port = u16::try_from(service.port).ok().filter(|port| *port > 0)?;
        let scheme = service.meta.as_ref().and_then(|meta| meta.get("scheme")).map_or("http", String::as_str);
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let url = Url::parse(&format!("{scheme}://{host}:{port}")).ok()?;
        let is_usable = matches!(scheme, "http" | "https") && url.path() == "/" && url.username().is_empty();
        is_usable.then(|| url.as_str().trim_end_matches('/').to_owned())
    }
}

/// Each server once, in an order that does not depend on Consul's.
fn urls(entries: &[Entry]) -> Vec<String> {
    let urls: std::collections::BTreeSet<String> = entries.iter().filter_map(Entry::url).collect();
    urls.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &CallError) -> &'static str {
        match error {
            CallError::Unknown { .. } => "unknown",
            CallError::Forbidden { .. } => "forbidden",
            CallError::Unavailable { .. } => "unavailable",
        }
    }

    #[test]
    fn what_an_error_means_does_not_depend_on_consuls_version() {
        for (status, words, expected) in [
            (404, "Unknown check ID \"service:a\". Ensure that the check ID is passed, not the check name.", "unknown"),
            (404, "Unknown service ID \"a\". Ensure that the service ID is passed, not the service name.", "unknown"),
            (500, "CheckID \"service:a\" does not have associated TTL", "unknown"),
            (500, "Unknown check \"service:a\"", "unknown"),
            (403, "Permission denied: token with AccessorID '…' lacks permission 'service:write'", "forbidden"),
            (403, "", "forbidden"),
            (500, "rpc error making call: Permission denied", "forbidden"),
            (500, "ACL not found", "forbidden"),
            (500, "No cluster leader", "unavailable"),
            (404, "404 page not found", "unavailable"),
            (400, "Invalid Service Meta: Value is too long", "unavailable"),
            (429, "", "unavailable"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(&CallError::from_answer(status, words)), expected, "{status} {words}");
        }
    }

    #[test]
    fn a_server_is_where_its_service_is_or_else_where_its_node_is() {
        let entry = |service: serde_json::Value| -> Option<String> {
            let entry = json!({"Node": {"Node": "n", "Address": "10.0.0.9"}, "Service": service, "Checks": []});
            serde_json::from_value::<Entry>(entry).unwrap().url()
        };
        for (service, expected) in [
            (json!({"Address": "10.0.0.5", "Port": 8080}), Some("http://10.0.0.5:8080")),
            (json!({"Address": "", "Port": 8080, "Meta": null}), Some("http://10.0.0.9:8080")),
            (json!({"Address": "2001:db8::1", "Port": 8080}), Some("http://[2001:db8::1]:8080")),
            (json!({"Address": "a", "Port": 443, "Meta": {"scheme": "https"}}), Some("https://a")),
            (json!({"Address": "a", "Port": 8080, "Meta": {"scheme": "ftp"}}), None),
            (json!({"Address": "a/b", "Port": 8080}), None),
            (json!({"Address": "me@a", "Port": 8080}), None),
            (json!({"Address": "a", "Port": 0}), None),
            (json!({"Address": "a", "Port": 70_000}), None),
        ] {
            assert_eq!(entry(service.clone()).as_deref(), expected, "{service}");
        }
    }

    #[test]
    fn no_token_is_ever_shown() {
        let source = TokenSource::Text("secret".to_owned());
        let settings = Settings {
            address: Address::default(),
            token: source,
            ca_file: None,
            verifies_certificates: true,
            namespace: None,
        };
        assert!(!format!("{settings:?}").contains("secret"));
        let consul = Consul::new(settings).unwrap();
        assert!(!format!("{consul:?}").contains("secret"));
        assert!(!format!("{:?}", header_value("secret", TOKEN).unwrap()).contains("secret"));
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let missing = token_of_file(&file).unwrap_err().to_string();
        assert!(missing.starts_with("CONSUL_HTTP_TOKEN_FILE names ") && missing.ends_with("which cannot be read"));
        std::fs::write(&file, " \n").unwrap();
        assert_eq!(
            token_of_file(&file).unwrap_err().to_string(),
            "CONSUL_HTTP_TOKEN_FILE holds a file without a token"
        );
        assert_eq!(certificates(&file).unwrap_err().to_string(), "CONSUL_CACERT holds a file without PEM certificates");
        std::fs::write(&file, "secret\n").unwrap();
        assert_eq!(token_of_file(&file).unwrap(), "secret");
    }
}
