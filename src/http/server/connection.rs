//! What the handler of a request may know of its connection: the client, whether the connection is reserved, who was
//! authenticated on it last, and whether there is room for a response until the client has taken it.
//!
//! It is a task-local. A request without a connection, as in tests of the service, has room for everything.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{body::HttpBody as _, http::HeaderValue, response::Response};
use tokio::sync::Notify;

use super::socket::ConnectionState;
use crate::auth::{Principal, is_same_secret};
use crate::http::middleware::compression::Uncompressed;

/// Responses of up to this many bytes are always sent, whatever waits for other clients: over HTTP/1 there are at most
/// as many of them as connections. So commands, whose responses are small, always get theirs.
pub const SMALL_ANSWER: usize = 64 * 1024;

tokio::task_local! {
    /// The connection of the request that the task answers.
    static CURRENT: Connection;
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Connection {
    pub client: SocketAddr,
    pub pace: Arc<ConnectionState>,
    /// For a connection that is reserved for operators: notified when its only request begins.
    pub only: Option<Arc<Notify>>,
    /// Whether it is TLS.
    pub is_encrypted: bool,
    /// Who was authenticated last.
    pub authenticated: Arc<LastAuthenticated>,
}

/// The credential with which a request of a connection was authenticated last, and whose it is. Clients send the same
/// one with each request of a connection, and to compare it takes a tenth of hashing it; `Debug` hides it.
#[derive(Default)]
pub struct LastAuthenticated(Mutex<Option<(Box<[u8]>, Principal)>>);

impl fmt::Debug for LastAuthenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastAuthenticated(…)")
    }
}

impl Connection {
    /// Runs a future in the context of this connection.
    pub fn current<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

/// The address of the client whose request the task answers; a proxy's, if there is one.
pub fn current_peer() -> Option<SocketAddr> {
    CURRENT.try_with(|connection| connection.client).ok()
}

/// Whose this credential was, if the last request of the connection that was authenticated sent it. It may not be
/// accepted any more.
pub fn authenticated_before(credential: &HeaderValue) -> Option<Principal> {
    let of_connection = |connection: &Connection| {
        let last = connection.authenticated.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(sent, _)| is_same_secret(sent, credential.as_bytes())).map(|(_, whose)| whose.clone())
    };
    CURRENT.try_with(of_connection).ok().flatten()
}

/// Remembers whose this credential is, for the next request of the connection.
pub fn note_authenticated(credential: &HeaderValue, whose: &Principal) {
    // A copy: the value is a part of a buffer, which would be held with it.
    let note = |connection: &Connection| {
        let noted = Some((credential.as_bytes().into(), whose.clone()));
        *connection.authenticated.0.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    };
    // Without a connection, as in tests, each request is authenticated for itself.
    _ = CURRENT.try_with(note);
}

/// Whether the request that the task answers came over TLS that ends in this process; not if a proxy ended it.
pub fn is_encrypted() -> bool {
    CURRENT.try_with(|connection| connection.is_encrypted).unwrap_or(false)
}

/// Whether the request that the task answers came over a connection that is reserved for operators, when all others are
/// taken. Requests of workers are refused there.
pub fn is_kept_for_operators() -> bool {
    CURRENT.try_with(|connection| connection.only.is_some()).unwrap_or(false)
}

/// Whether there is room for a response until its client has taken it, besides those that wait for all clients.
pub fn has_room_for(answer: &Response) -> bool {
    let bytes = unsent_bytes_of(answer);
    bytes <= SMALL_ANSWER || CURRENT.try_with(|connection| connection.pace.may_hold(bytes)).unwrap_or(true)
}

/// How many bytes of memory a response occupies until it is taken: its body, or what is being compressed.
pub fn unsent_bytes_of(answer: &Response) -> usize {
    let plain = answer.extensions().get::<Uncompressed>().map(|Uncompressed(bytes)| *bytes);
    plain.or_else(|| answer.body().size_hint().exact()).and_then(|bytes| bytes.try_into().ok()).unwrap_or(0)
}
