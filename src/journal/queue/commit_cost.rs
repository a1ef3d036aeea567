//! What a commit costs: an estimate from the last few.
//!
//! A commit takes a fixed time (the disk, the network) and a time for each row. Which of the two prevails decides how
//! long waiting commands have to wait: behind a slow disk, eight thousand rows take as long as one. So the estimate is
//! a line, duration over rows, fitted to the last few commits by weighted least squares.

use std::time::Duration;

/// How much of its weight a commit keeps when the next one is observed: about the last five count.
const DECAY: f64 = 0.8;

/// What a row costs as long as commits of different sizes have not shown it, in seconds. Measured for plain heartbeats.
const USUAL_ROW: f64 = 10e-6;

/// How far the sizes of commits have to differ, in rows, for what they show to count as much as [`USUAL_ROW`].
const USUAL_SPREAD: f64 = 1_000.0;

/// Weighted sums of a linear regression, the latest commits weighing most.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitCost {
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_squared: f64,
    rows_by_seconds: f64,
}

/// The line: what a commit costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// What a commit takes whatever it writes.
    pub fixed: Duration,
    /// What each row adds.
    pub row: Duration,
}

impl Cost {
    /// How long a commit of so many rows takes.
    pub fn of(self, rows: usize) -> Duration {
        self.fixed.saturating_add(self.row.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)))
    }
}

impl CommitCost {
    /// A commit of so many rows took so long.
    pub fn observe(&mut self, rows: usize, took: Duration) {
        let (rows, seconds) = (rows as f64, took.as_secs_f64());
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.rows, rows),
            (&mut self.seconds, seconds),
            (&mut self.rows_squared, rows * rows),
            (&mut self.rows_by_seconds, rows * seconds),
        ] {
            *sum = *sum * DECAY + value;
        }
    }

    /// What the next ones will cost, if they are as the last ones were.
    pub fn estimate(&self) -> Cost {
        if self.weight == 0.0 {
            return Cost::default();
        }
        let (rows, seconds) = (self.rows / self.weight, self.seconds / self.weight);
        let variance = self.rows_squared / self.weight - rows * rows;
        let covariance = self.rows_by_seconds / self.weight - rows * seconds;
        let usual = USUAL_SPREAD * USUAL_SPREAD;
        let slope = (covariance + usual * USUAL_ROW) / (variance.max(0.0) + usual);
        // Neither part of it is ever less than nothing.
        let row = slope.clamp(0.0, seconds / rows.max(1.0));
        let duration = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
        Cost { fixed: duration(seconds - row * rows), row: duration(row) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn after(commits: &[(usize, u32)]) -> Cost {
        let mut cost = CommitCost::default();
        for (rows, milliseconds) in commits {
            cost.observe(*rows, MILLISECOND * *milliseconds);
        }
        cost.estimate()
    }

    #[track_caller]
    fn assert_about(found: Duration, milliseconds: u32) {
        let (found, expected) = (found.as_secs_f64() * 1e3, f64::from(milliseconds));
        assert!((found - expected).abs() <= expected / 10.0, "{found} ms, and not {expected} ms");
    }

    #[test]
    fn a_slow_disk_is_told_from_many_rows() {
        let slow_disk = after(&[(500, 2_000), (4_000, 2_010), (900, 1_990), (6_000, 2_040), (3_000, 2_000)]);
        assert_about(slow_disk.of(8_000), 2_060);
        let many_rows = after(&[(10_000, 1_000), (2_000, 200), (20_000, 2_000), (500, 50), (15_000, 1_500)]);
        assert_about(many_rows.of(8_000), 800);
    }

    #[test]
    fn commits_of_one_size_are_taken_to_be_of_usual_rows() {
        let same = after(&[(1_000, 2_000); 20]);
        assert_about(same.of(1_000), 2_000);
        assert_about(same.of(9_000), 2_080);
    }

    #[test]
    fn a_disk_that_turns_slow_is_noticed_at_once() {
        let mut commits = vec![(2, 2); 1_000];
        commits.extend([(800, 2_000), (1_600, 2_000)]);
        assert!(after(&commits).of(1_600) >= MILLISECOND * 700, "{:?}", after(&commits));
        commits.extend([(1_600, 2_000); 5]);
        assert!(after(&commits).of(1_600) >= MILLISECOND * 1_600, "{:?}", after(&commits));
    }

    #[test]
    fn nothing_is_expected_of_the_unknown() {
        assert_eq!(CommitCost::default().estimate().of(20_000), Duration::ZERO);
        assert_about(after(&[(0, 5)]).of(0), 5);
    }
}
