//! How long a worker has been up, as Go prints durations.

use std::fmt;

use go_duration::GoDuration;

use crate::clock::Timestamp;

/// A length of time in whole seconds, never negative, shown as Go does: `2h30m45s`, `3m0s`, `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime {
    seconds: u64,
}

impl Uptime {
    /// The time from `start` to `end`; nothing if `end` comes first.
    pub fn between(start: Timestamp, end: Timestamp) -> Self {
        Self { seconds: u64::try_from((end - start).num_seconds()).unwrap_or(0) }
    }
}

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 292 years fit; more would be a clock that is wrong beyond our help.
        let nanoseconds = i64::try_from(self.seconds.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
        GoDuration::from(nanoseconds).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn uptime_reads_as_go_prints_it() {
        let start = DateTime::UNIX_EPOCH;
        for (milliseconds, text) in [
            (-5_000, "0s"),
            (0, "0s"),
            (999, "0s"),
            (45_000, "45s"),
            (180_000, "3m0s"),
            (9_045_000, "2h30m45s"),
            (93_600_000, "26h0m0s"),
        ] {
            let end = start + TimeDelta::milliseconds(milliseconds);
            assert_eq!(Uptime::between(start, end).to_string(), text);
        }
    }
}
