//! What all transports need.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::graphql::execution::executor::Executor;
use crate::graphql::operation::request_cache::RequestCache;
use crate::http::Origin;

/// What transports need.
pub struct Endpoint {
    pub engine: Executor,
    /// Requests that came before.
    pub repeated: RequestCache,
    /// Pages of other origins that may open a WebSocket.
    pub origins: Vec<Origin>,
    /// Open sockets, for whoever has to wait until they are closed.
    pub sockets: TaskTracker,
    /// Tells sockets to close.
    pub closing: CancellationToken,
}
