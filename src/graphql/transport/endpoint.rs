//! The state that the handlers of all transports share.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::graphql::execution::executor::Executor;
use crate::graphql::operation::request_cache::RequestCache;
use crate::http::Origin;

/// The state of the GraphQL handlers.
pub struct Endpoint {
    pub executor: Executor,
    /// Prepared operations by the bytes of their requests.
    pub request_cache: RequestCache,
    /// Other origins whose pages may open a WebSocket.
    pub origins: Vec<Origin>,
    /// Tracks open WebSockets, so that a shutdown can wait until they are closed.
    pub sockets: TaskTracker,
    /// Cancelled when the server shuts down: WebSockets and event streams then end.
    pub closing: CancellationToken,
}
