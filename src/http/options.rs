//! What an operator may set about HTTP, with its defaults. Time-outs of connections are not here but in
//! [`timeouts`](super::server::timeouts).

use std::time::Duration;

use ipnet::IpNet;

use super::failed_authentications::FAILURES_PER_MINUTE;
use super::middleware::origin::Origin;

/// The longest request body, unless the route allows another length. A registration with all its labels is a tenth of
/// it.
pub(super) const BODY_LIMIT: usize = 256 * 1024;

/// The time until a response begins: longer than any query or commit should take, shorter than a client's own time-out.
const RESPONSE_TIME: Duration = Duration::from_secs(10);

/// What an operator may set about the middleware.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The origins whose pages may read responses and send commands. If there are none, no CORS header is ever sent.
    pub cors_origins: Vec<Origin>,
    /// The port, if the server listens on a loopback address only. Then a web page may have its own name resolve to
    /// that address, so that requests with a foreign `Host` are refused, except for
    /// [`allowed_hosts`](Self::allowed_hosts).
    pub loopback_port: Option<u16>,
    /// Names that are allowed in `Host`, besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` tells the address of a client.
    pub trusted_proxies: Vec<IpNet>,
    /// How many requests of one address with credentials that are not accepted are answered with 401 at once, and as
    /// many more in each minute; those beyond with 429.
    pub failed_authentications_per_minute: u32,
    /// The longest request body, where the route does not allow [more](crate::http::routing::RouteOptions::body).
    pub body_limit: usize,
    /// How long a request may take until its response *begins*. Streams and WebSockets have no limit after that.
    pub response_time: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            loopback_port: None,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            failed_authentications_per_minute: FAILURES_PER_MINUTE,
            body_limit: BODY_LIMIT,
            response_time: RESPONSE_TIME,
        }
    }
}
