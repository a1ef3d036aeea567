//! The connection that a request came by, as far as those who answer it have to know it: whose it is, and whether there
//! is room for an answer until the client has taken it.
//!
//! It belongs to the task that answers. A request that came by none, as in tests of the service, has room for
//! everything.

use std::{net::SocketAddr, sync::Arc};

use axum::{body::HttpBody as _, response::Response};
use tokio::sync::Notify;

use super::socket::ConnectionState;
use crate::http::middleware::compression::Uncompressed;

/// Answers of up to this many bytes are sent whatever waits for other clients: over HTTP/1 there are at most as many of
/// them as connections. So commands, whose answers are small, are told what has become of them.
pub const SMALL_ANSWER: usize = 64 * 1024;

tokio::task_local! {
    /// By which the request came that the task answers.
    static CURRENT: Connection;
}

/// Whose connection it is, and how far it is.
#[derive(Clone, Debug)]
pub struct Connection {
    pub client: SocketAddr,
    pub pace: Arc<ConnectionState>,
    /// If it is one of those that are kept for operators: told when its only request begins.
    pub only: Option<Arc<Notify>>,
}

impl Connection {
    /// Runs a future as part of serving it.
    pub fn current<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

/// The address of the client whose request is being answered here, for lines in the log. A proxy's, if it comes by one.
pub fn current_client() -> Option<SocketAddr> {
    CURRENT.try_with(|connection| connection.client).ok()
}

/// Whether the request that is being answered here came over one of the connections that are kept for operators when all
/// others are taken: workers have to be refused there.
pub fn is_kept_for_operators() -> bool {
    CURRENT.try_with(|connection| connection.only.is_some()).unwrap_or(false)
}

/// Whether an answer may be held until its client has taken it, beside those that wait for all clients.
pub fn has_room_for(answer: &Response) -> bool {
    let bytes = unsent_bytes_of(answer);
    bytes <= SMALL_ANSWER || CURRENT.try_with(|connection| connection.pace.may_hold(bytes)).unwrap_or(true)
}

/// How many bytes an answer keeps until it is taken: those of its body, or of what is being compressed.
pub fn unsent_bytes_of(answer: &Response) -> usize {
    let plain = answer.extensions().get::<Uncompressed>().map(|Uncompressed(bytes)| *bytes);
    plain.or_else(|| answer.body().size_hint().exact()).and_then(|bytes| bytes.try_into().ok()).unwrap_or(0)
}
