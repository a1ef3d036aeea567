//! The time-outs of a connection, with their defaults, and the pings of HTTP/2.
//!
//! They are enforced in [`socket`](super::socket), which counts the bytes and requests of a connection. How long a response
//! may take to begin is no time-out of the client but a setting of the operator, in
//! [`HttpOptions`](crate::http::HttpOptions).

use std::time::Duration;

/// How often a silent HTTP/2 client is sent a ping.
pub const HTTP2_PING: Duration = Duration::from_secs(20);

/// How long the client may take to answer a ping, which waits behind what a slow reader has not read yet.
pub const HTTP2_PONG: Duration = Duration::from_secs(60);

/// The time-outs of a client.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To send the head of a request, from its first byte, and from the connection's beginning for the first request.
    pub head: Duration,
    /// To send the next request. Longer than the interval of heartbeats, so that agents keep their connections, and longer
    /// than the 60 s of common proxies, so that the proxy closes first and no request is lost.
    pub idle: Duration,
    /// To take the next byte of a response.
    pub stall: Duration,
    /// To close its side after the server closed its own.
    pub close: Duration,
}

/// The time-out that a client exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    /// The head of a request began and did not end: somebody slow, or somebody holding sockets on purpose.
    Head,
    /// No further request. Nothing is wrong, the connection is just not needed.
    Idle,
    /// The client does not read its response, or on HTTP/2 none of its responses.
    Stall,
    /// The client does not read one of several responses. The others may be finished.
    Stream,
    /// The client does not close its side.
    Close,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            close: Duration::from_secs(1),
        }
    }
}
