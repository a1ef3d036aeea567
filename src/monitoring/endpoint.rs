//! What the handlers of monitoring answer from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use crate::metrics::Source;
use crate::resolvers::Resolvers;

/// The state of all handlers.
#[derive(Clone)]
pub struct Monitoring {
    /// The operations.
    pub resolvers: Resolvers,
    /// Whoever counts.
    pub sources: Vec<Arc<dyn Source>>,
    /// Whether the announcement of silent workers is held back, because all of them fell silent at once.
    pub announcements_braked: Arc<AtomicBool>,
    /// Cancelled as soon as the server is told to stop.
    pub stopping: CancellationToken,
}

impl fmt::Debug for Monitoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitoring").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}
