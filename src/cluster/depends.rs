//! What an object shows beside what is its own, and so for how long it shows the same.
//!
//! A worker changes when it is heard, and its row with it. But its `uptime` counts seconds, its status falls when it has
//! been silent for too long, and whether a VM is a duplicate is for others to say. Which field is of which kind is
//! declared with the field, in [`fields`](super::fields).

use std::time::Duration;

use chrono::TimeDelta;

use super::status::Availability;
use super::view::WorkerView;
use crate::clock::Timestamp;

/// What makes an object look different although it has not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depends {
    silence: bool,
    seconds: bool,
    duplicates: bool,
    others: bool,
}

impl Depends {
    /// Nothing: it looks the same until it changes.
    pub const ON_ITSELF: Self = Self { silence: false, seconds: false, duplicates: false, others: false };
    /// It shows whether a worker has been silent for too long.
    pub const ON_SILENCE: Self = Self { silence: true, ..Self::ON_ITSELF };
    /// It counts seconds, until the worker is silent for too long.
    pub const ON_SECONDS: Self = Self { seconds: true, ..Self::ON_SILENCE };
    /// It shows whether a VM is reported by others too.
    pub const ON_DUPLICATES: Self = Self { duplicates: true, ..Self::ON_ITSELF };
    /// It shows other objects, which change by themselves.
    pub const ON_OTHERS: Self = Self { others: true, ..Self::ON_ITSELF };

    /// What two fields of one object depend on.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            silence: self.silence || other.silence,
            seconds: self.seconds || other.seconds,
            duplicates: self.duplicates || other.duplicates,
            others: self.others || other.others,
        }
    }

    /// Whether it can be told for how long the object looks the same.
    pub const fn can_be_kept(self) -> bool {
        !self.others
    }

    /// Whether it shows which VMs are reported twice.
    pub const fn on_duplicates(self) -> bool {
        self.duplicates
    }
}

/// The [`Depends`] of a field, as its declaration says it.
macro_rules! depends {
    () => {
        $crate::cluster::Depends::ON_ITSELF
    };
    (silence) => {
        $crate::cluster::Depends::ON_SILENCE
    };
    (seconds) => {
        $crate::cluster::Depends::ON_SECONDS
    };
    (duplicates) => {
        $crate::cluster::Depends::ON_DUPLICATES
    };
}
pub(crate) use depends;

impl WorkerView {
    /// Before which moment the clock makes nothing else of what is shown; none if it never does.
    pub fn shows_the_same_until(&self, depends: Depends) -> Option<Timestamp> {
        if !depends.silence || self.availability() == Availability::Offline {
            return None;
        }
        // The last moment at which it is online is the one at which it has been silent for just as long as it may.
        let silent = TimeDelta::from_std(self.view.offline_after)
            .ok()
            .and_then(|silence| self.worker.usage.last_seen.checked_add_signed(silence + TimeDelta::milliseconds(1)));
        if !depends.seconds {
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
            labels: Labels::new(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 1,
            max_vms: 1,
        };
        let mut worker = Worker::first_life(WorkerId::parse("w").unwrap(), identity, Life::first(at(0), 1));
        worker.usage.last_seen = at(40_250);
        worker.life.left_at = has_left.then_some(at(40_250));
        let snapshot = Arc::new(Snapshot::empty("test".into()));
        let view = Arc::new(View::new(snapshot, at(now), Duration::from_secs(60)));
        WorkerView { worker: Arc::new(worker), view }
    }

    #[test]
    fn what_is_shown_holds_until_the_next_second_or_the_end_of_patience() {
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
            assert_eq!(worker.shows_the_same_until(Depends::ON_ITSELF), None, "{now}");
            assert_eq!(worker.shows_the_same_until(Depends::ON_SILENCE), silence.map(at), "{now}");
            assert_eq!(worker.shows_the_same_until(Depends::ON_SECONDS), seconds.map(at), "{now}");
        }
    }
}
