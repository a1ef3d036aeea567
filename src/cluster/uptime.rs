//! Durations of whole seconds, written as Go writes durations. From when to when a worker is up is decided by its
//! [view](super::WorkerView::uptime).

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

/// An uptime as text.
#[derive(Clone, Copy, Debug)]
pub struct UptimeText {
    text: [u8; 32],
    begin: usize,
}

impl Uptime {
    /// The text, as Go writes it. Formatted by hand, without `fmt`, because every row of a list of workers has one.
    pub fn text(self) -> UptimeText {
        let (hours, minutes, seconds) = (self.seconds / 3_600, self.seconds / 60 % 60, self.seconds % 60);
        // The text is written from its end.
        let mut text = [0; 32];
        let mut begin = text.len();
        let mut put = |byte| {
            begin -= 1;
            text[begin] = byte;
        };
        for (number, unit, is_shown) in
            [(seconds, b's', true), (minutes, b'm', self.seconds >= 60), (hours, b'h', self.seconds >= 3_600)]
        {
            if !is_shown {
                break;
            }
            put(unit);
            let mut rest = number;
            loop {
                put(b'0' + (rest % 10) as u8);
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
        }
        UptimeText { text, begin }
    }
}

impl AsRef<[u8]> for UptimeText {
    fn as_ref(&self) -> &[u8] {
        &self.text[self.begin..]
    }
}

impl fmt::Display for Uptime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.text().as_ref()).unwrap_or_default())
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
            (59_999, "59s"),
            (60_000, "1m0s"),
            (3_599_000, "59m59s"),
            (3_600_000, "1h0m0s"),
            (93_600_000, "26h0m0s"),
            (1_000_000_000_000, "277777h46m40s"),
        ] {
            let end = start + TimeDelta::milliseconds(milliseconds);
            assert_eq!(Uptime::between(start, end).to_string(), text);
        }
    }
}
