//! The tiers: how finely history is kept for how long.

use chrono::{DateTime, Datelike as _, Months, TimeZone as _, Utc};

/// A minute, in seconds: how far apart samples are.
pub(super) const MINUTE: i64 = 60;

/// What a row of the finest tier holds: what a crash may lose.
pub(super) const WINDOW: i64 = 15 * MINUTE;

const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// For how long samples are kept: longer than the day that is summed up of them.
const MINUTE_RETENTION: i64 = 26 * HOUR;

/// For how long quarters of an hour are kept: longer than the month that is summed up of them.
const QUARTER_HOUR_RETENTION: i64 = 35 * DAY;

/// For how long six hours are kept: a year and a month, so that a month can be compared with that of the year before.
const SIX_HOURS_RETENTION: i64 = 397 * DAY;

/// How finely history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Each sample. A row has a quarter of an hour of them.
    Minute,
    /// Count, sum, smallest and largest of the samples of each quarter of an hour. A row has a day of them.
    QuarterHour,
    /// The same of each six hours. A row has a month of them.
    SixHours,
}

impl Tier {
    /// All of them, the finest first.
    pub(super) const ALL: [Self; 3] = [Self::Minute, Self::QuarterHour, Self::SixHours];

    /// Its number in rows.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Minute => 0,
            Self::QuarterHour => 1,
            Self::SixHours => 2,
        }
    }

    /// The tier with this number.
    pub(super) fn of_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.number() == number)
    }

    /// How many seconds a point of it stands for.
    pub fn step(self) -> i64 {
        match self {
            Self::Minute => MINUTE,
            Self::QuarterHour => WINDOW,
            Self::SixHours => 6 * HOUR,
        }
    }

    /// For how many seconds it is kept.
    pub fn retention(self) -> i64 {
        match self {
            Self::Minute => MINUTE_RETENTION,
            Self::QuarterHour => QUARTER_HOUR_RETENTION,
            Self::SixHours => SIX_HOURS_RETENTION,
        }
    }

    /// The start of the row that holds a moment, and that of the row after it; in UTC.
    pub(super) fn row_around(self, at: i64) -> (i64, i64) {
        match self {
            Self::Minute => around(at, WINDOW),
            Self::QuarterHour => around(at, DAY),
            Self::SixHours => month_around(at),
        }
    }

    /// The starts of the rows that hold points from `since` on and before `until`.
    pub(super) fn rows_between(self, since: i64, until: i64) -> Vec<i64> {
        let mut starts = Vec::new();
        let mut at = since;
        while at < until {
            let (start, next) = self.row_around(at);
            starts.push(start);
            at = next;
        }
        starts
    }

    /// How many points the row that begins there has.
    pub(super) fn points_in_row(self, start: i64) -> usize {
        let (_, next) = self.row_around(start);
        usize::try_from((next - start) / self.step()).unwrap_or_default()
    }
}

fn around(at: i64, length: i64) -> (i64, i64) {
    let start = at.div_euclid(length) * length;
    (start, start + length)
}

fn month_around(at: i64) -> (i64, i64) {
    let month = |time: DateTime<Utc>| {
        let start = Utc.with_ymd_and_hms(time.year(), time.month(), 1, 0, 0, 0).single()?;
        Some((start.timestamp(), start.checked_add_months(Months::new(1))?.timestamp()))
    };
    // Whatever the clock says, there is a row: times that no calendar has are in rows of 31 days.
    DateTime::from_timestamp(at, 0).and_then(month).unwrap_or_else(|| around(at, 31 * DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp()
    }

    #[test]
    fn rows_begin_at_quarters_days_and_months() {
        let moment = at("2024-02-29T13:47:12Z");
        for (tier, start, next, points) in [
            (Tier::Minute, "2024-02-29T13:45:00Z", "2024-02-29T14:00:00Z", 15),
            (Tier::QuarterHour, "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z", 96),
            (Tier::SixHours, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z", 29 * 4),
        ] {
            assert_eq!(tier.row_around(moment), (at(start), at(next)));
            assert_eq!(tier.points_in_row(at(start)), points);
            assert_eq!(Tier::of_number(tier.number()), Some(tier));
        }
        let months = Tier::SixHours.rows_between(at("2023-12-31T23:59:59Z"), at("2024-02-01T00:00:01Z"));
        assert_eq!(months, ["2023-12-01", "2024-01-01", "2024-02-01"].map(|day| at(&format!("{day}T00:00:00Z"))));
        assert_eq!(Tier::Minute.rows_between(900, 900), Vec::<i64>::new());
        assert_eq!(Tier::Minute.rows_between(-1, 1), [-900, 0]);
    }
}
