//! The cost limit: how many points the queries of one token may cost in a time. A point is what GraphQL counts as the cost
//! of an operation: a field that is written, or a row that is scanned. What a query costs is estimated by each protocol.
//!
//! It is a bucket that leaks: each query adds its points if there are not too many in it yet, and they run out at a
//! steady rate. So a query is never too large for the limit, but those after it wait until it is paid for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How many points the queries of one token may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLimit {
    /// Points per second in the long run; 0 is no limit.
    pub per_second: u64,
}

impl Default for CostLimit {
    /// Two fifths of a second of one core for each second, at a tenth of a microsecond a point.
    fn default() -> Self {
        Self { per_second: 4_000_000 }
    }
}

/// How many seconds' points may be spent at once.
const BURST_SECONDS: u64 = 10;

/// The points that the queries of a token have cost lately, on this server. All states of the token share them, and so do
/// the sessions that were opened with it.
#[derive(Clone, Debug, Default)]
pub struct SpentPoints(Arc<Spent>);

#[derive(Debug, Default)]
struct Spent {
    points: AtomicU64,
    /// Up to when points have run out, in milliseconds of monotonic time.
    settled_ms: AtomicU64,
}

/// What a client is told about its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostLimitState {
    /// The most that may be spent at once.
    pub limit: u64,
    /// How much of it is left.
    pub remaining: u64,
    /// How long it takes until all of it is there again.
    pub reset: Duration,
}

impl CostLimit {
    /// The most that may be spent at once.
    pub fn burst(self) -> u64 {
        self.per_second.saturating_mul(BURST_SECONDS)
    }

    /// Spends points. If those before have to be paid for first, nothing is spent, and the error says how long that
    /// takes. `monotonic` is read only when half of the burst is spent, so that most queries do not read a clock.
    pub fn spend(self, spent: &SpentPoints, points: u64, monotonic: impl FnOnce() -> Duration) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        if self.is_half_spent(spent) {
            self.settle(spent, monotonic());
            let over = spent.0.points.load(Relaxed).checked_sub(self.burst());
            if let Some(over) = over {
                return Err(self.time_for(over.saturating_add(1)));
            }
        }
        spent.add(points);
        Ok(())
    }

    /// What the client is told; nothing, as long as more than half of the burst is left.
    pub fn state(self, spent: &SpentPoints, monotonic: impl FnOnce() -> Duration) -> Option<CostLimitState> {
        if self.per_second == 0 || !self.is_half_spent(spent) {
            return None;
        }
        self.settle(spent, monotonic());
        let (points, limit) = (spent.0.points.load(Relaxed), self.burst());
        let state = CostLimitState { limit, remaining: limit.saturating_sub(points), reset: self.time_for(points) };
        self.is_half_spent(spent).then_some(state)
    }

    fn is_half_spent(self, spent: &SpentPoints) -> bool {
        spent.0.points.load(Relaxed) >= self.burst() / 2
    }

    /// Takes out the points that have run out since the last time.
    fn settle(self, spent: &SpentPoints, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let settled_ms = spent.0.settled_ms.load(Relaxed);
        let paid = now_ms.saturating_sub(settled_ms).saturating_mul(self.per_second) / 1_000;
        // Not to `now`, which would lose the part of a point that has run out.
        let until_ms = settled_ms.saturating_add(paid.saturating_mul(1_000) / self.per_second);
        // Of several requests at once, one takes them out.
        if paid > 0 && spent.0.settled_ms.compare_exchange(settled_ms, until_ms, Relaxed, Relaxed).is_ok() {
            let pay = |points: u64| Some(points.saturating_sub(paid));
            let _: Result<u64, u64> = spent.0.points.fetch_update(Relaxed, Relaxed, pay);
        }
    }

    /// How long it takes until this many points have run out.
    fn time_for(self, points: u64) -> Duration {
        Duration::from_millis(points.saturating_mul(1_000).div_ceil(self.per_second.max(1)))
    }
}

impl SpentPoints {
    /// Adds points, whatever there is.
    pub fn add(&self, points: u64) {
        self.0.points.fetch_add(points, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: CostLimit = CostLimit { per_second: 100 };

    fn spend(spent: &SpentPoints, points: u64, ms: u64) -> Result<(), u128> {
        LIMIT.spend(spent, points, || Duration::from_millis(ms)).map_err(|wait| wait.as_millis())
    }

    #[test]
    fn what_is_spent_too_fast_has_to_be_waited_for() {
        let spent = SpentPoints::default();
        // A query that costs more than the whole burst is let through, and paid for afterwards.
        assert_eq!(spend(&spent, 1_500, 60_000), Ok(()));
        assert_eq!(spend(&spent, 1, 60_000), Ok(()), "nothing was spent in the minute before");
        assert_eq!(spend(&spent, 1_500, 60_000), Ok(()));
        assert_eq!(spend(&spent, 1, 60_000), Err(5_020));
        assert_eq!(spend(&spent, 1, 65_019), Err(10));
        assert_eq!(spend(&spent, 1, 65_020), Ok(()));
        assert_eq!(spend(&spent, 1, 65_020), Err(10));
    }

    #[test]
    fn parts_of_a_point_are_not_lost() {
        let spent = SpentPoints::default();
        spend(&spent, 1_000, 0).unwrap();
        let refused = (1..=1_000).filter(|ms| spend(&spent, 1, *ms).is_err()).count();
        assert_eq!(refused, 900);
    }

    #[test]
    fn a_client_is_told_when_half_of_it_is_spent() {
        let spent = SpentPoints::default();
        spend(&spent, 499, 0).unwrap();
        assert_eq!(LIMIT.state(&spent, Duration::default), None);
        spend(&spent, 1, 0).unwrap();
        let reset = Duration::from_secs(5);
        assert_eq!(
            LIMIT.state(&spent, Duration::default),
            Some(CostLimitState { limit: 1_000, remaining: 500, reset })
        );
        spend(&spent, 2_000, 0).unwrap();
        assert_eq!(LIMIT.state(&spent, Duration::default).map(|state| state.remaining), Some(0));
        // Also of a client that has not asked since.
        assert_eq!(LIMIT.state(&spent, || Duration::from_secs(60)), None);
    }

    #[test]
    fn without_a_limit_everything_may_be_spent() {
        let (limit, spent) = (CostLimit { per_second: 0 }, SpentPoints::default());
        for _ in 0..3 {
            assert_eq!(limit.spend(&spent, u64::MAX / 2, Duration::default), Ok(()));
        }
        assert_eq!(limit.state(&spent, Duration::default), None);
    }
}
