//! The time-outs of a connection, with their defaults, and the pings of HTTP/2.
//!
//! How they are held is in [`socket`](super::socket), which counts a connection's bytes and requests. How long a request may
//! take until its answer begins is a setting of the operator, see [`HttpOptions`](crate::http::HttpOptions).

use std::time::Duration;

/// How often a silent HTTP/2 peer is asked whether it is still there.
pub const HTTP2_PING: Duration = Duration::from_secs(20);

/// How long the peer may take to answer. The question waits behind what a slow reader has not read yet.
pub const HTTP2_PONG: Duration = Duration::from_secs(60);

/// How long a client may take for each thing it has to do.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To send the head of a request, from its first byte, and from the connection's beginning for the first request.
    pub head: Duration,
    /// To send the next request. Longer than the interval of heartbeats, so that agents keep their connections, and longer
    /// than the 60 s of common proxies, so that it is they who close and no request is lost.
    pub idle: Duration,
    /// To take the next byte of an answer.
    pub stall: Duration,
    /// To close its side after we closed ours.
    pub close: Duration,
}

/// What a client took too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    /// The head of a request began and did not end: somebody slow, or somebody holding sockets on purpose.
    Head,
    /// No further request. Nothing is wrong, the connection is just not needed.
    Idle,
    /// The client does not read its answer, or on HTTP/2 none of those that it has asked for.
    Stall,
    /// The client does not read one of several answers. The others may be finished.
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
