//! For how long the rendered text of a worker is valid: until the clock changes what its volatile fields show.
//!
//! A commit that changes the worker is not considered here: it drops the text by itself.

use std::time::Duration;

use chrono::TimeDelta;

use super::status::Availability;
use super::view::WorkerView;
use crate::clock::Timestamp;
use crate::render::Volatility;

impl WorkerView {
    /// The moment from which fields of this volatility show something else, if the worker does not change before; none
    /// if they never do.
    pub fn valid_until(&self, volatility: Volatility) -> Option<Timestamp> {
        if !volatility.shows_silence() {
            return None;
        }
        // From the deadline on, a drain is shown as overdue.
        let overdue = self.worker.drain.as_ref().and_then(|drain| drain.overdue_from());
        let overdue = overdue.filter(|at| *at > self.view.now);
        if self.availability() == Availability::Offline {
            return overdue;
        }
        // A worker is online up to and including the moment at which it has been silent for exactly as long as it may.
        let silent = TimeDelta::from_std(self.view.offline_after)
            .ok()
            .and_then(|silence| self.worker.usage.last_seen.checked_add_signed(silence + TimeDelta::milliseconds(1)));
        let silent = match (silent, overdue) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if !volatility.shows_seconds() {
            return silent;
        }
        let next_second = Duration::from_secs(self.uptime().seconds() + 1);
        let next_second = TimeDelta::from_std(next_second)
            .ok()
            .and_then(|uptime| self.worker.life.started_at.checked_add_signed(uptime));
        match (silent, next_second) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{Identity, Labels, Life, Snapshot, View, Worker, WorkerId};

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_timestamp_millis(1_000_000 + milliseconds).unwrap_or_default()
    }

    /// A worker that started at 0 and was heard at 40.250, as it is seen at a moment.
    fn seen(now: i64, has_left: bool) -> WorkerView {
        let text: Arc<str> = "x".into();
        let identity = Identity {
            hostname: text.clone(),
            address: text.clone(),
            zone: text,
            labels: Labels::default(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 1,
            max_vms: 1,
        };
        let mut worker = Worker::first_life(WorkerId::parse("w").unwrap(), identity, Life::first(at(0), 1));
        worker.usage.last_seen = at(40_250);
        worker.life.deregistered_at = has_left.then_some(at(40_250));
        let snapshot = Arc::new(Snapshot::empty("test".into()));
        let view = Arc::new(View::new(snapshot, at(now), Duration::from_secs(60)));
        WorkerView { worker: Arc::new(worker), view }
    }

    #[test]
    fn a_text_is_valid_until_the_next_second_or_the_time_out() {
        for (now, has_left, silence, seconds) in [
            (40_250, false, Some(100_251), Some(41_000)),
            (40_999, false, Some(100_251), Some(41_000)),
            (41_000, false, Some(100_251), Some(42_000)),
            // Started later than it is now, by another server's clock: it is up for no time until it is for a second.
            (-500, false, Some(100_251), Some(1_000)),
            (99_999, false, Some(100_251), Some(100_000)),
            (100_000, false, Some(100_251), Some(100_251)),
            (100_250, false, Some(100_251), Some(100_251)),
            (100_251, false, None, None),
            (41_000, true, None, None),
        ] {
            let worker = seen(now, has_left);
            assert_eq!(worker.valid_until(Volatility::STABLE), None, "{now}");
            assert_eq!(worker.valid_until(Volatility::SILENCE), silence.map(at), "{now}");
            assert_eq!(worker.valid_until(Volatility::SECONDS), seconds.map(at), "{now}");
        }
    }
}
