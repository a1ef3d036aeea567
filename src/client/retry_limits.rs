//! Retry limits: the longest waits of a worker for an answer, between two attempts, and between two heartbeats. The
//! agent and the simulator keep to them; how a wait below them is chosen is in `agent::backoff`.

use std::time::Duration;

/// One heartbeat interval. An answer that is later than the next question is of no use.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait between two attempts, under a server whose time-out is long enough for it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How long a client may wait for what, so that a worker is heard before the server takes it for lost.
///
/// A server that comes back gives every worker `offline_after` to be heard. At that moment a client may be waiting for
/// the answer of a dead connection, then for its next attempt, and then for the list of its VMs. These three limits
/// together are at most three quarters of `offline_after`; the last quarter is for the call itself. The same goes for a
/// client that has not noticed anything and waits for its next heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// Longest wait for an answer.
    pub request_timeout: Duration,
    /// Longest wait between two attempts, whatever the server asked for.
    pub longest_backoff: Duration,
    /// Longest wait for what the next heartbeat is to tell.
    pub inventory_timeout: Duration,
    /// Longest wait from an acknowledged heartbeat to the next, even if the server asked for more: what it heard just
    /// before it went away is all it knows when it is back.
    pub longest_pace: Duration,
}

impl RetryLimits {
    /// The limits under a server that takes a worker for lost after this long a silence.
    pub fn under(offline_after: Duration) -> Self {
        let largest = Self::default();
        Self {
            request_timeout: largest.request_timeout.min(offline_after / 4),
            longest_backoff: LONGEST_BACKOFF.min(offline_after / 3),
            inventory_timeout: largest.inventory_timeout.min(offline_after / 6),
            longest_pace: largest.longest_pace.min(offline_after / 2),
        }
    }

    /// The wait that a server asked for, as far as it may be granted: what is left up to the longest wait is for chance,
    /// so that not everybody who was told the same returns at the same moment.
    pub fn granted(&self, retry_after: Option<Duration>) -> Duration {
        retry_after.unwrap_or_default().min(self.longest_backoff / 2)
    }
}

impl Default for RetryLimits {
    /// Before a server has said anything. A worker that was not restarted knows better, so these are short rather than
    /// considerate: the server may have the worker on its list.
    fn default() -> Self {
        Self {
            request_timeout: REQUEST_TIMEOUT,
            longest_backoff: Duration::from_secs(5),
            inventory_timeout: Duration::from_secs(5),
            longest_pace: Duration::from_secs(300),
        }
    }
}
