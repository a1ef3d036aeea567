//! The state that the handlers of all GraphQL transports share: executor, request cache, origins, open WebSockets. The
//! state of the REST handlers is in `rest::endpoint`; the handlers are in [`http`](super::http), [`sse`](super::sse)
//! and [`websocket`](super::websocket).

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::graphql::execution::executor::Executor;
use crate::graphql::operation::request_cache::RequestCache;
use crate::http::{Authenticator, Origin};

/// The state of the GraphQL handlers.
pub struct Endpoint {
    pub executor: Executor,
    /// Tells who opens a WebSocket.
    pub authenticator: Authenticator,
    /// Prepared operations by the bytes of their requests.
    pub request_cache: RequestCache,
    /// Other origins whose pages may open a WebSocket.
    pub origins: Vec<Origin>,
    /// Tracks open WebSockets, so that a shutdown can wait until they are closed.
    pub sockets: TaskTracker,
    /// Cancelled when the server shuts down: WebSockets and event streams then end.
    pub closing: CancellationToken,
}
