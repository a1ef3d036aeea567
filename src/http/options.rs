//! What an operator may set about HTTP, and its defaults.

use std::time::Duration;

use super::middleware::origin::Origin;

/// Read of a body unless its route says otherwise. A registration with all its labels is a tenth of it.
pub(super) const BODY_LIMIT: usize = 256 * 1024;

/// Longer than any question or commit should take, shorter than a client's patience.
const RESPONSE_TIME: Duration = Duration::from_secs(10);

/// What an operator may set about the layers.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The origins whose pages may read our answers and ask for changes. None: no CORS header is ever sent.
    pub cors_origins: Vec<Origin>,
    /// The port, if only this machine can reach the server: then a page of the internet may pretend to be ours, and
    /// names that are not this machine's are refused. [`allowed_hosts`](Self::allowed_hosts) are not.
    pub loopback_port: Option<u16>,
    /// Names by which this machine is asked, beside addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// The most bytes read of a request body, where the route does not want [more](crate::http::routing::RouteOptions::body).
    pub body_limit: usize,
    /// How long a request may take until its answer *begins*. Streams and WebSockets last as long as they like.
    pub response_time: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            loopback_port: None,
            allowed_hosts: Vec::new(),
            body_limit: BODY_LIMIT,
            response_time: RESPONSE_TIME,
        }
    }
}
