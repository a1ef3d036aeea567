//! What operations count for monitoring: heartbeats by what became of them, streams that are open, and gaps in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Kind};
use crate::metrics::{Counter, Family, Source};

/// The counters of all operations of one server.
#[derive(Debug, Default)]
pub struct ResolverMetrics {
    heartbeats: [Counter; HeartbeatResult::ALL.len()],
    streams: AtomicU64,
    resyncs: Counter,
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeartbeatResult {
    /// It counts.
    Recorded,
    /// It came after a later one, and changes nothing.
    Late,
    /// Its reply was stored under its idempotency key.
    Replayed,
    /// It is malformed.
    Invalid,
    /// Its worker is not registered, or its incarnation is over.
    Conflict,
    /// Its sender may not speak for the worker.
    Denied,
    /// It is refused for load, and its worker counts as heard all the same.
    Shed,
    /// The database takes no commits, or the server shuts down.
    Unavailable,
}

impl HeartbeatResult {
    const ALL: [Self; 8] = [
        Self::Recorded,
        Self::Late,
        Self::Replayed,
        Self::Invalid,
        Self::Conflict,
        Self::Denied,
        Self::Shed,
        Self::Unavailable,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Late => "late",
            Self::Replayed => "replayed",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Shed => "shed",
            Self::Unavailable => "unavailable",
        }
    }

    fn of_error(error: &Error) -> Self {
        match error.kind() {
            Kind::InvalidArgument => Self::Invalid,
            Kind::NotFound | Kind::Conflict | Kind::Stale | Kind::KeyReused => Self::Conflict,
            Kind::Unauthenticated | Kind::Forbidden => Self::Denied,
            Kind::Overloaded | Kind::RateLimited => Self::Shed,
            Kind::RevisionNotReached | Kind::ShuttingDown | Kind::StorageUnavailable | Kind::Internal => {
                Self::Unavailable
            }
        }
    }
}

impl ResolverMetrics {
    pub(super) fn count_heartbeat(&self, result: HeartbeatResult) {
        self.count_heartbeats(result, 1);
    }

    pub(super) fn count_heartbeats(&self, result: HeartbeatResult, count: u64) {
        if let Some(counter) = self.heartbeats.get(result as usize) {
            counter.add(count);
        }
    }

    /// Counts a heartbeat that was accepted. Only of one that came late the reply tells the last number that counted.
    pub(super) fn count_accepted(&self, last_sequence: Option<u64>) {
        self.count_heartbeat(match last_sequence {
            None => HeartbeatResult::Recorded,
            Some(_) => HeartbeatResult::Late,
        });
    }

    /// Counts heartbeats that are refused for the same reason.
    pub(super) fn count_refused(&self, error: &Error, count: usize) {
        self.count_heartbeats(HeartbeatResult::of_error(error), count as u64);
    }

    /// Counts a gap in a stream, of which its reader was told.
    pub(super) fn count_resync(&self) {
        self.resyncs.increment();
    }

    /// Counts a stream as open until what is returned is dropped.
    pub(super) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }
}

/// A stream that is counted as open.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<ResolverMetrics>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Source for ResolverMetrics {
    fn collect(&self, families: &mut Vec<Family>) {
        let help = "Heartbeats by what became of them.";
        let mut heartbeats = Family::counter("aetherium_heartbeats", help);
        for (result, counter) in HeartbeatResult::ALL.iter().zip(&self.heartbeats) {
            heartbeats.add([("result", result.word().into())], counter.get() as f64);
        }
        let streams = self.streams.load(Ordering::Relaxed) as f64;
        let help = "Subscriptions and streams that are open, over whichever protocol.";
        families.push(heartbeats);
        families.push(Family::gauge("aetherium_subscriptions", help).with([], streams));
        let help = "Gaps of which the readers of streams of events were told, because what they lacked has left the change log.";
        families.push(Family::counter("aetherium_subscription_resyncs", help).with_counter([], &self.resyncs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_its_own_counter() {
        let metrics = ResolverMetrics::default();
        for (count, result) in (1..).zip(HeartbeatResult::ALL) {
            metrics.count_heartbeats(result, count);
        }
        let counted = metrics.heartbeats.each_ref().map(Counter::get);
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_stream_is_open_until_it_is_dropped() {
        let metrics = Arc::new(ResolverMetrics::default());
        let open = [metrics.open_stream(), metrics.open_stream()];
        assert_eq!(metrics.streams.load(Ordering::Relaxed), 2);
        drop(open);
        assert_eq!(metrics.streams.load(Ordering::Relaxed), 0);
    }
}
