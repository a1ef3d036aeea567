//! Which points are asked for: the span of time, the step between points, and the tier that suffices.

use chrono::TimeDelta;

use super::tier::{DAY, Tier, WINDOW};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The fewest points that may be asked for: a span that begins and ends within a step has two.
pub const MIN_POINTS: i64 = 2;

/// The most points of a curve.
pub const MAX_POINTS: i64 = 1_500;

/// The most points if it is not said.
pub const DEFAULT_POINTS: i64 = 120;

/// The shortest span that may be asked for, in seconds.
pub const MIN_RANGE: i64 = 60;

/// The longest span, in seconds: as long as history is kept.
pub const MAX_RANGE: i64 = 397 * DAY;

/// How long before the end a curve begins if it is not said, in seconds.
const DEFAULT_RANGE: i64 = 3_600;

/// The steps between points, in seconds; further ones are whole days. Each is a multiple of the one that its tier has.
const STEPS: [i64; 12] = [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, DAY];

/// What is asked for, as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HistoryQuery {
    /// The first moment.
    pub since: Option<Timestamp>,
    /// The moment before which it ends; now if left out or later than now.
    pub until: Option<Timestamp>,
    /// How many seconds before `until` it begins, if `since` is left out.
    pub range_seconds: Option<i64>,
    /// The most points of a curve.
    pub max_points: Option<i64>,
}

/// Which points: those that answer a query. Equal ranges of several subjects are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryRange {
    /// When the first point begins, in seconds since 1970: a multiple of the step.
    pub start: i64,
    /// How many seconds a point stands for.
    pub step: i64,
    /// How many points.
    pub length: usize,
    /// The tier that they are made of.
    pub tier: Tier,
    /// The moment that it is asked at, in seconds since 1970: there are no later samples.
    pub now: i64,
}

impl HistoryQuery {
    /// The points that answer it, or what is wrong with it.
    pub fn check(self, now: Timestamp) -> Result<HistoryRange> {
        let Self { since, until, range_seconds, max_points } = self;
        let until = until.filter(|until| *until < now).unwrap_or(now);
        let max_points = max_points.unwrap_or(DEFAULT_POINTS);
        if !(MIN_POINTS..=MAX_POINTS).contains(&max_points) {
            let problem = format!("must be from {MIN_POINTS} to {MAX_POINTS}, not {max_points}");
            return Err(Error::invalid("max_points", problem));
        }
        if let Some(range) = range_seconds.filter(|range| !(MIN_RANGE..=MAX_RANGE).contains(range)) {
            let problem = format!("must be from {MIN_RANGE} to {MAX_RANGE}, not {range}");
            return Err(Error::invalid("range_seconds", problem));
        }
        let since = match since {
            Some(since) if since >= until => {
                return Err(Error::invalid("since", "must be before `until`, and in the past"));
            }
            Some(since) => since,
            None => {
                let range = TimeDelta::seconds(range_seconds.unwrap_or(DEFAULT_RANGE));
                until.checked_sub_signed(range).unwrap_or(Timestamp::MIN_UTC)
            }
        };
        let (now, until) = (now.timestamp(), seconds_up(until));
        let since = since.timestamp().max(now - Tier::SixHours.retention());
        if until <= since {
            return Err(Error::invalid("until", "is before all that is kept, which is 397 days"));
        }
        let of_tier = |tier: Tier| {
            let days = (1..).map(|days| days * DAY);
            let steps = STEPS.into_iter().chain(days).filter(|step| *step >= tier.step());
            let points = |step: i64| {
                let start = since.div_euclid(step) * step;
                (start, step, (until - start + step - 1) / step)
            };
            // A step as long as the whole span has two points at most.
            let (start, step, length) =
                steps.map(points).find(|(_, _, length)| *length <= max_points).unwrap_or((since, DAY, 0));
            HistoryRange { start, step, length: usize::try_from(length).unwrap_or_default(), tier, now }
        };
        // The first point begins up to a step before what is asked for, and is to be whole.
        let is_kept = |range: &HistoryRange| now - range.start <= range.tier.retention();
        let range = [Tier::Minute, Tier::QuarterHour].map(of_tier).into_iter().find(is_kept);
        Ok(range.unwrap_or_else(|| of_tier(Tier::SixHours)))
    }
}

/// About how many rows are read for each subject of a span of so many seconds, for the cost of a query.
pub fn rows_of_range(seconds: Option<i64>) -> u64 {
    let seconds = seconds.unwrap_or(DEFAULT_RANGE).max(0).unsigned_abs();
    let (window, kept) = (WINDOW.unsigned_abs(), Tier::Minute.retention().unsigned_abs());
    // Of longer spans, those of a day that is not summed up yet, and of a month.
    1 + seconds.min(kept).div_ceil(window)
}

impl HistoryRange {
    /// When the last point ends, in seconds since 1970.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(self.length).unwrap_or(i64::MAX)))
    }
}

/// The seconds since 1970, rounded up.
fn seconds_up(time: Timestamp) -> i64 {
    time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2025-11-02T10:07:30Z".parse().unwrap()
    }

    fn of(range: i64, max_points: i64) -> HistoryRange {
        let query =
            HistoryQuery { range_seconds: Some(range), max_points: Some(max_points), ..HistoryQuery::default() };
        query.check(now()).unwrap()
    }

    #[test]
    fn the_finest_tier_is_taken_that_reaches_back_and_the_finest_step_that_has_few_enough_points() {
        const HOUR: i64 = 3_600;
        for (range, max_points, tier, step, length) in [
            (HOUR, 120, Tier::Minute, 60, 61),
            (HOUR, 61, Tier::Minute, 60, 61),
            (HOUR, 60, Tier::Minute, 120, 31),
            (24 * HOUR, 1_500, Tier::Minute, 60, 1_441),
            (24 * HOUR, 120, Tier::Minute, 900, 97),
            (27 * HOUR, 1_500, Tier::QuarterHour, 900, 109),
            // Within what is kept of samples, but the first of such points is not.
            (25 * HOUR, 5, Tier::QuarterHour, 21_600, 5),
            (7 * DAY, 120, Tier::QuarterHour, 7_200, 85),
            (30 * DAY, 1_500, Tier::QuarterHour, 1_800, 1_441),
            (365 * DAY, 1_500, Tier::SixHours, 21_600, 1_461),
            (397 * DAY, 120, Tier::SixHours, 4 * DAY, 100),
            (60, 2, Tier::Minute, 60, 2),
        ] {
            let range = of(range, max_points);
            assert_eq!((range.tier, range.step, range.length), (tier, step, length), "{range:?}");
        }
    }

    proptest! {
        #[test]
        fn points_cover_the_range_and_are_not_too_many(range in MIN_RANGE..=MAX_RANGE, most in MIN_POINTS..=MAX_POINTS) {
            let points = of(range, most);
            prop_assert!((1..=most).contains(&(points.length as i64)));
            let now = now().timestamp();
            prop_assert!(points.start <= now - range && points.end() >= now);
            prop_assert_eq!(points.start % points.step, 0);
            prop_assert_eq!(points.step % points.tier.step(), 0);
            prop_assert!(points.tier == Tier::SixHours || now - points.start <= points.tier.retention());
        }
    }

    #[test]
    fn what_makes_no_range_is_refused() {
        let at = |text: &str| Some(text.parse().unwrap());
        let (before, after) = (at("2025-11-02T09:00:00Z"), at("2025-11-02T11:00:00Z"));
        let nothing = HistoryQuery::default();
        for (query, field) in [
            (HistoryQuery { max_points: Some(0), ..nothing }, "max_points"),
            (HistoryQuery { max_points: Some(1_501), ..nothing }, "max_points"),
            (HistoryQuery { range_seconds: Some(0), ..nothing }, "range_seconds"),
            (HistoryQuery { range_seconds: Some(MAX_RANGE + 1), ..nothing }, "range_seconds"),
            (HistoryQuery { since: after, ..nothing }, "since"),
            (HistoryQuery { since: before, until: before, ..nothing }, "since"),
            (HistoryQuery { until: at("2020-01-01T00:00:00Z"), ..nothing }, "until"),
        ] {
            let Err(Error::Invalid { field: refused, .. }) = query.check(now()) else { panic!("{query:?}") };
            assert_eq!(refused, field, "{query:?}");
        }
        let old = HistoryQuery { since: at("2001-01-01T00:00:00Z"), ..nothing }.check(now()).unwrap();
        assert!(now().timestamp() - old.start < MAX_RANGE + 5 * DAY, "it begins where what is kept does");
        assert_eq!(HistoryQuery { until: after, ..nothing }.check(now()).unwrap(), of(3_600, 120));
    }
}
