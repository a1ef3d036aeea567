//! The clock: the only place where the present time is read, and the text of times.
//!
//! All rules that compare times read a [`Clock`] that is passed to them; tests pass a [`Clock::manual`] and move it.
//!
//! The system clock reads the wall clock once and counts monotonic time from there, so that a step of the machine's
//! clock cannot make all workers silent at once. With PostgreSQL, several servers share one cluster: each sets its
//! clock to the time of the database ([`Clock::observe`]), so that all agree on which workers are silent. So the time
//! may go back, with the clock of the database, and from one start of a server to the next. Durations that concern this
//! process only are measured by [`Clock::monotonic`], which never goes back. Intervals and time-outs are in
//! [`timing`](crate::timing).

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicI64, AtomicU64};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike as _, SecondsFormat, Timelike as _, Utc};
use tokio::sync::Notify;
use tokio::time::sleep;

/// An instant in UTC, in whole milliseconds, which both databases and both protocols carry without loss.
pub type Timestamp = DateTime<Utc>;

/// A [`Timestamp`] in seven bytes instead of twelve, for objects of which there are millions. Seven bytes of milliseconds
/// hold every instant that a `Timestamp` can be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CompactTimestamp([u8; 7]);

impl CompactTimestamp {
    /// The instant.
    pub fn get(self) -> Timestamp {
        DateTime::from_timestamp_millis(self.unix_ms()).unwrap_or(DateTime::UNIX_EPOCH)
    }

    fn unix_ms(self) -> i64 {
        let [a, b, c, d, e, f, g] = self.0;
        // In the upper bytes, so that shifting them down again brings the sign along.
        i64::from_le_bytes([0, a, b, c, d, e, f, g]) >> 8
    }
}

impl From<Timestamp> for CompactTimestamp {
    /// What is finer than a millisecond is lost.
    fn from(time: Timestamp) -> Self {
        let [a, b, c, d, e, f, g, _sign] = time.timestamp_millis().to_le_bytes();
        Self([a, b, c, d, e, f, g])
    }
}

impl Ord for CompactTimestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.unix_ms().cmp(&other.unix_ms())
    }
}

impl PartialOrd for CompactTimestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for CompactTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// By how much the clock has to be set at once to wake tasks that wait for a moment, in milliseconds.
const STEP_MS: u64 = 50;

/// By how much the clock has to be set at once to count as set, in milliseconds: a server that follows the clock of a
/// database differs from it by the time of an answer.
const SET_MS: u64 = 1_000;

/// Tells the time; cheap to clone, all clones agree.
#[derive(Clone, Debug)]
pub struct Clock(Arc<ClockSource>);

#[derive(Debug)]
enum ClockSource {
    Anchored { started: Instant, unix_ms_at_start: AtomicI64, last_set: LastSet, moved: Notify },
    Manual { unix_ms: AtomicI64, monotonic_ms: AtomicI64, last_set: LastSet, moved: Notify },
}

/// When the clock was last set, in milliseconds of monotonic time; 0 if it never was.
#[derive(Debug, Default)]
struct LastSet(AtomicU64);

impl LastSet {
    /// Has to be called before the clock is set: a reader of the new time has to find this.
    fn note(&self, before: i64, after: i64, passed: Duration) {
        if before.abs_diff(after) > SET_MS {
            self.0.store(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1), atomic::Ordering::Release);
        }
    }
}

impl Clock {
    /// The machine's clock, anchored now.
    #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Arc::new(ClockSource::Anchored {
            started: Instant::now(),
            unix_ms_at_start: AtomicI64::new(whole_milliseconds(since_epoch)),
            last_set: LastSet::default(),
            moved: Notify::new(),
        }))
    }

    /// A clock that stands still until it is told to [`advance`](Self::advance).
    pub fn manual(start: Timestamp) -> Self {
        let unix_ms = AtomicI64::new(start.timestamp_millis());
        let (monotonic_ms, last_set) = (AtomicI64::new(0), LastSet::default());
        Self(Arc::new(ClockSource::Manual { unix_ms, monotonic_ms, last_set, moved: Notify::new() }))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let unix_ms = match &*self.0 {
            ClockSource::Anchored { started, unix_ms_at_start, .. } => {
                unix_ms_at_start.load(atomic::Ordering::Acquire) + whole_milliseconds(started.elapsed())
            }
            ClockSource::Manual { unix_ms, .. } => unix_ms.load(atomic::Ordering::Acquire),
        };
        DateTime::from_timestamp_millis(unix_ms).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// The time that has passed since the clock was made, however it was set meanwhile.
    pub fn monotonic(&self) -> Duration {
        match &*self.0 {
            ClockSource::Anchored { started, .. } => started.elapsed(),
            ClockSource::Manual { monotonic_ms, .. } => {
                Duration::from_millis(u64::try_from(monotonic_ms.load(atomic::Ordering::Relaxed)).unwrap_or(0))
            }
        }
    }

    /// When the clock was last set by more than a second at once, in [monotonic](Self::monotonic) time. Two readings of
    /// the clock do not tell that: it may have been set forward and back in between.
    pub fn last_set(&self) -> Option<Duration> {
        let (ClockSource::Anchored { last_set, .. } | ClockSource::Manual { last_set, .. }) = &*self.0;
        Some(last_set.0.load(atomic::Ordering::Acquire)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// Sets the system clock to the time of the database. A manual clock is not set: the test decides.
    pub fn observe(&self, database_now: Timestamp) {
        if let ClockSource::Anchored { started, unix_ms_at_start, last_set, moved } = &*self.0 {
            let passed = started.elapsed();
            let start = database_now.timestamp_millis() - whole_milliseconds(passed);
            last_set.note(unix_ms_at_start.load(atomic::Ordering::Relaxed), start, passed);
            let before = unix_ms_at_start.swap(start, atomic::Ordering::Release);
            if before.abs_diff(start) > STEP_MS {
                moved.notify_waiters();
            }
        }
    }

    /// Moves a manual clock forward; the system clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Manual { unix_ms, monotonic_ms, moved, .. } = &*self.0 {
            unix_ms.fetch_add(whole_milliseconds(by), atomic::Ordering::Relaxed);
            monotonic_ms.fetch_add(whole_milliseconds(by), atomic::Ordering::Relaxed);
            moved.notify_waiters();
        }
    }

    /// Sets a manual clock, forward or back, without passing time; the system clock is set by
    /// [`observe`](Self::observe).
    pub fn set(&self, now: Timestamp) {
        if let ClockSource::Manual { unix_ms, last_set, moved, .. } = &*self.0 {
            last_set.note(unix_ms.load(atomic::Ordering::Relaxed), now.timestamp_millis(), self.monotonic());
            unix_ms.store(now.timestamp_millis(), atomic::Ordering::Release);
            moved.notify_waiters();
        }
    }

    /// Waits until the time is not in a range any more: until it is after it, or before it because the clock was set
    /// back. It is cancel safe.
    pub async fn left(&self, time: Range<Timestamp>) {
        loop {
            let (ClockSource::Anchored { moved, .. } | ClockSource::Manual { moved, .. }) = &*self.0;
            let mut moved = pin!(moved.notified());
            // Enabled before the clock is read: it may be set between the reading and the wait.
            moved.as_mut().enable();
            let now = self.now();
            let left = (time.end - now).to_std().ok().filter(|_| time.contains(&now));
            let Some(left) = left else { return };
            match &*self.0 {
                ClockSource::Anchored { .. } => tokio::select! {
                    () = sleep(left) => {}
                    () = moved => {}
                },
                ClockSource::Manual { .. } => moved.await,
            }
        }
    }
}

/// The text of an instant by RFC 3339, in UTC, with a fraction only if it is not zero: `2025-11-02T12:30:45Z`.
///
/// Each worker shows two instants, and formatting them by chrono takes as long as writing the rest of a worker. So
/// instants of whole milliseconds in years of four digits, which are all that occur, are formatted by hand.
#[derive(Clone, Debug)]
pub struct Rfc3339(Rfc3339Text);

#[derive(Clone, Debug)]
enum Rfc3339Text {
    Usual { text: [u8; 24], len: usize },
    Odd(String),
}

impl Rfc3339 {
    /// The text of an instant.
    pub fn of(time: Timestamp) -> Self {
        let Some(mut text) = digits(time) else {
            return Self(Rfc3339Text::Odd(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)));
        };
        let mut len = text.len();
        if text[19..].starts_with(b".000") {
            (text[19], len) = (b'Z', 20);
        }
        Self(Rfc3339Text::Usual { text, len })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_ref()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Rfc3339 {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Rfc3339Text::Usual { text, len } => &text[..*len],
            Rfc3339Text::Odd(text) => text.as_bytes(),
        }
    }
}

/// The text of an instant with always three digits of fraction, and the zone as a number:
/// `2025-11-02T12:30:45.000+00:00`. This is how it is stored in databases that store times as text.
pub fn with_milliseconds(time: Timestamp) -> String {
    match digits(time).as_ref().and_then(|text| str::from_utf8(text).ok()?.strip_suffix('Z')) {
        Some(text) => [text, "+00:00"].concat(),
        None => time.to_rfc3339_opts(SecondsFormat::Millis, false),
    }
}

/// The text `2025-11-02T12:30:45.000Z`; none for an instant that is not of whole milliseconds in a year of four digits.
fn digits(time: Timestamp) -> Option<[u8; 24]> {
    // Converted once: a time with a zone would compute its local time for each of its parts.
    let local = time.naive_utc();
    let (year, nanoseconds) = (u32::try_from(local.year()).ok()?, local.nanosecond());
    if year > 9_999 || nanoseconds >= 1_000_000_000 || nanoseconds % 1_000_000 != 0 {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut write = |at: usize, number: u32| {
        text[at] += (number / 10) as u8;
        text[at + 1] += (number % 10) as u8;
    };
    write(0, year / 100);
    write(2, year % 100);
    write(5, local.month());
    write(8, local.day());
    write(11, local.hour());
    write(14, local.minute());
    write(17, local.second());
    let milliseconds = nanoseconds / 1_000_000;
    write(20, milliseconds / 10);
    text[22] += (milliseconds % 10) as u8;
    Some(text)
}

fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instants_are_written_as_the_general_way_writes_them(
            milliseconds in prop_oneof![-70_000_000_000_000_i64..300_000_000_000_000, (0_i64..5_000_000_000).prop_map(|s| s * 1_000)],
            nanoseconds in prop_oneof![9 => Just(0), 1 => 0_i64..1_000_000],
        ) {
            let time = DateTime::from_timestamp_millis(milliseconds).unwrap() + TimeDelta::nanoseconds(nanoseconds);
            let text = Rfc3339::of(time);
            prop_assert_eq!(text.as_str(), time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
            prop_assert_eq!(with_milliseconds(time), time.to_rfc3339_opts(SecondsFormat::Millis, false));
        }
    }

    #[test]
    fn a_compact_timestamp_is_any_instant_in_whole_milliseconds() {
        let at = |unix_ms| DateTime::from_timestamp_millis(unix_ms).unwrap();
        let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        let first = at(first.timestamp_millis());
        let instants = [first, at(-1), at(0), at(1), at(1_762_077_600_123), at(last.timestamp_millis())];
        for pair in instants.windows(2) {
            assert!(CompactTimestamp::from(pair[0]) < CompactTimestamp::from(pair[1]));
        }
        for instant in instants {
            assert_eq!(CompactTimestamp::from(instant).get(), instant);
        }
        assert_eq!(size_of::<Option<CompactTimestamp>>(), 8);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let start = DateTime::from_timestamp_millis(1_762_077_600_000).unwrap();
        let clock = Clock::manual(start);
        clock.observe(DateTime::UNIX_EPOCH);
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_millis(1_500));
        assert_eq!((clock.now() - start).num_milliseconds(), 1_500);
    }

    #[tokio::test]
    async fn who_waits_for_a_moment_is_woken_when_the_clock_is_moved_to_it() {
        let start = DateTime::from_timestamp_millis(1_762_077_600_000).unwrap();
        let clock = Clock::manual(start);
        clock.left(start..start).await;
        let moment = start + TimeDelta::milliseconds(1_000);
        let mut waiting = pin!(clock.left(start..moment));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        clock.advance(Duration::from_millis(999));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "a millisecond is missing");
        clock.advance(Duration::from_millis(1));
        assert!(futures_util::poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn who_waits_for_a_moment_is_woken_when_the_clock_is_set_back() {
        let start = DateTime::from_timestamp_millis(1_762_077_600_000).unwrap();
        let clock = Clock::manual(start);
        clock.advance(Duration::from_secs(1));
        let mut waiting = pin!(clock.left(start..start + TimeDelta::hours(1)));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        clock.set(start);
        assert!(futures_util::poll!(&mut waiting).is_pending(), "it is still that time");
        clock.set(start - TimeDelta::milliseconds(1));
        assert!(futures_util::poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn the_systems_clock_may_be_set_while_somebody_waits() {
        let clock = Clock::system();
        let now = clock.now();
        let moment = now + TimeDelta::hours(1);
        let mut waiting = pin!(clock.left(now..moment));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        clock.observe(moment + TimeDelta::minutes(1));
        assert!(futures_util::poll!(&mut waiting).is_ready(), "it is later than was thought");
        let now = clock.now();
        clock.left(now..now + TimeDelta::milliseconds(2)).await;
    }

    #[test]
    fn setting_a_clock_passes_no_time() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH + TimeDelta::hours(1));
        clock.advance(Duration::from_secs(5));
        clock.set(DateTime::UNIX_EPOCH);
        assert_eq!((clock.now(), clock.monotonic()), (DateTime::UNIX_EPOCH, Duration::from_secs(5)));
        let clock = Clock::system();
        let before = clock.monotonic();
        clock.observe(DateTime::UNIX_EPOCH);
        assert!(clock.monotonic() >= before && clock.monotonic() < before + Duration::from_secs(60));
    }

    #[test]
    fn the_system_clock_follows_the_database() {
        let clock = Clock::system();
        let database_now = clock.now() + chrono::Duration::minutes(5);
        clock.observe(database_now);
        assert!(clock.now() >= database_now);
        assert!(clock.now() < database_now + chrono::Duration::minutes(1));
    }
}
