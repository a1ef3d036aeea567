//! How long a worker has been up, as Go prints durations.

use std::fmt;

use crate::clock::Timestamp;

/// A length of time in whole seconds, never negative, shown as Go does: `2h30m45s`, `3m0s`, `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime {
    seconds: u64,
}

impl Uptime {
    /// Its whole seconds.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// The time from `start` to `end`; nothing if `end` comes first.
    pub fn between(start: Timestamp, end: Timestamp) -> Self {
        let milliseconds = end.timestamp_millis().saturating_sub(start.timestamp_millis());
        Self { seconds: u64::try_from(milliseconds).unwrap_or(0) / 1_000 }
    }
}

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.seconds / 3_600, self.seconds / 60 % 60, self.seconds % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, minutes) => write!(f, "{minutes}m{seconds}s"),
            (hours, minutes) => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
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
