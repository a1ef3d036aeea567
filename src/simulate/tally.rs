//! The counts and latencies of a simulation. How they are shown while it runs is in `progress`.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_duration::GoDuration;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::options::SimulateOptions;
use super::simulated_inventory::ChurnCounts;
use crate::client::ClientError;

/// The range of the histogram of latencies: from a microsecond to an hour, with three significant digits.
const LATENCY_MICROSECONDS: (u64, u64) = (1, 3_600_000_000);
const LATENCY_DIGITS: u8 = 3;

/// The result of a simulation. Its `Display` is the table for the terminal.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Size of the fleet.
    pub workers: u32,
    /// The time from the first request until it was told to stop.
    pub elapsed: Duration,
    /// Acknowledged registrations, first ones and later ones.
    pub registrations: u64,
    /// Those that were not the first of their worker: after a silence, or because the server did not know the worker or
    /// refused its incarnation.
    pub registrations_again: u64,
    /// Registrations that failed, each of which was tried again.
    pub registrations_failed: u64,
    /// Acknowledged heartbeats.
    pub heartbeats: u64,
    /// Heartbeats that were not acknowledged.
    pub heartbeats_failed: Failures,
    /// How long acknowledged heartbeats took.
    pub latency: Latency,
    /// How often a worker fell silent.
    pub fell_silent: u64,
    /// How often one came back.
    pub returned: u64,
    /// VMs that came up.
    pub vms_started: u64,
    /// VMs that went down.
    pub vms_stopped: u64,
    /// Workers that said goodbye.
    pub goodbyes: u64,
    /// Goodbyes that failed.
    pub goodbyes_failed: u64,
    /// The message of the first failed request; those of the others are most often the same.
    pub first_failure: Option<String>,
    /// Whether any failure makes the simulation fail.
    pub strict: bool,
}

/// Failed heartbeats by what the failure meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The server did not know the worker (404).
    pub unknown: u64,
    /// Another start of the worker had registered since (409).
    pub superseded: u64,
    /// The server refused the heartbeat for what it said.
    pub refused: u64,
    /// No answer, or a temporary error of the server.
    pub unavailable: u64,
}

/// The latencies of acknowledged heartbeats, from when they were due to the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of the heartbeats took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// All but one of a hundred took no longer.
    pub p99: Duration,
    /// All but one of a thousand took no longer.
    pub p999: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Failures {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { unknown, superseded, refused, unavailable } = self;
        unknown + superseded + refused + unavailable
    }

    fn count(&mut self, error: &ClientError) {
        *match error {
            ClientError::Unknown { .. } => &mut self.unknown,
            ClientError::Superseded { .. } => &mut self.superseded,
            ClientError::Refused { .. } | ClientError::Url { .. } => &mut self.refused,
            ClientError::Unavailable { .. } => &mut self.unavailable,
        } += 1;
    }
}

impl Summary {
    /// All calls that failed.
    pub fn failed(&self) -> u64 {
        self.registrations_failed + self.heartbeats_failed.total() + self.goodbyes_failed
    }

    /// Whether the process should exit with 0.
    pub fn is_success(&self) -> bool {
        !self.strict || self.failed() == 0
    }

    /// Acknowledged heartbeats per second, over the whole run.
    pub fn heartbeats_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.heartbeats as f64 / seconds } else { 0.0 }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failures { unknown, superseded, refused, unavailable } = self.heartbeats_failed;
        let Latency { p50, p90, p99, p999, max } = self.latency;
        writeln!(f, "workers         {}", self.workers)?;
        writeln!(f, "ran for         {}", whole_seconds(self.elapsed))?;
        writeln!(
            f,
            "registrations   {} ({} again), {} failed",
            self.registrations, self.registrations_again, self.registrations_failed
        )?;
        writeln!(f, "beats           {}, {:.1} per second", self.heartbeats, self.heartbeats_per_second())?;
        write!(f, "beats failed    {}", self.heartbeats_failed.total())?;
        if self.heartbeats_failed.total() > 0 {
            write!(
                f,
                " ({unavailable} unavailable, {unknown} unknown worker, {superseded} superseded, {refused} refused)"
            )?;
        }
        writeln!(f)?;
        writeln!(f, "latency         p50 {p50:.1?}, p90 {p90:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, max {max:.1?}")?;
        writeln!(f, "silences        {} began, {} ended", self.fell_silent, self.returned)?;
        write!(f, "VMs             {} started, {} stopped", self.vms_started, self.vms_stopped)?;
        if self.goodbyes + self.goodbyes_failed > 0 {
            write!(f, "\ngoodbyes        {}, {} failed", self.goodbyes, self.goodbyes_failed)?;
        }
        if let Some(words) = &self.first_failure {
            write!(f, "\nfirst failure   {words}")?;
        }
        Ok(())
    }
}

/// The counters, shared by all workers of a fleet. They are behind one lock, so that a summary has figures of one
/// moment; workers count a few thousand times a second, and hold the lock for some nanoseconds.
pub(super) struct Tally {
    began: Instant,
    counts: Mutex<Counts>,
}

struct Counts {
    closed: Option<Instant>,
    /// Latency and elapsed time are filled in when the summary is read.
    summary: Summary,
    latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new(options: &SimulateOptions) -> Self {
        let (low, high) = LATENCY_MICROSECONDS;
        let latency = Histogram::new_with_bounds(low, high, LATENCY_DIGITS)
            .expect("the bounds are constants that the histogram takes");
        let summary = Summary {
            workers: options.workers,
            elapsed: Duration::ZERO,
            registrations: 0,
            registrations_again: 0,
            registrations_failed: 0,
            heartbeats: 0,
            heartbeats_failed: Failures::default(),
            latency: Latency::default(),
            fell_silent: 0,
            returned: 0,
            vms_started: 0,
            vms_stopped: 0,
            goodbyes: 0,
            goodbyes_failed: 0,
            first_failure: None,
            strict: options.strict,
        };
        Self { began: Instant::now(), counts: Mutex::new(Counts { closed: None, summary, latency }) }
    }

    pub(super) fn registered(&self, again: bool) {
        let summary = &mut self.lock().summary;
        summary.registrations += 1;
        summary.registrations_again += u64::from(again);
    }

    pub(super) fn registration_failed(&self, error: &ClientError) {
        let summary = &mut self.lock().summary;
        summary.registrations_failed += 1;
        summary.note(error);
    }

    pub(super) fn acknowledged(&self, latency: Duration) {
        let counts = &mut *self.lock();
        counts.summary.heartbeats += 1;
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        counts.latency.saturating_record(microseconds);
    }

    pub(super) fn heartbeat_failed(&self, error: &ClientError) {
        let summary = &mut self.lock().summary;
        summary.heartbeats_failed.count(error);
        summary.note(error);
    }

    pub(super) fn churned(&self, ChurnCounts { started, stopped }: ChurnCounts) {
        let summary = &mut self.lock().summary;
        summary.vms_started += started;
        summary.vms_stopped += stopped;
    }

    pub(super) fn fell_silent(&self) {
        self.lock().summary.fell_silent += 1;
    }

    pub(super) fn returned(&self) {
        self.lock().summary.returned += 1;
    }

    pub(super) fn said_goodbye(&self) {
        self.lock().summary.goodbyes += 1;
    }

    pub(super) fn goodbye_failed(&self, error: &ClientError) {
        let summary = &mut self.lock().summary;
        summary.goodbyes_failed += 1;
        summary.note(error);
    }

    /// Ends the time over which rates are computed.
    pub(super) fn close(&self) {
        self.lock().closed.get_or_insert_with(Instant::now);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// The counts so far.
    pub(super) fn summary(&self) -> Summary {
        let counts = self.lock();
        let at = |quantile| Duration::from_micros(counts.latency.value_at_quantile(quantile));
        Summary {
            elapsed: counts.closed.unwrap_or_else(Instant::now) - self.began,
            latency: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: Duration::from_micros(counts.latency.max()),
            },
            ..counts.summary.clone()
        }
    }

    /// The counts can be used after a panic elsewhere, since no panic leaves them inconsistent.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    fn note(&mut self, error: &ClientError) {
        self.first_failure.get_or_insert_with(|| error.to_string());
    }
}

/// A time in whole seconds, as the API writes uptimes: `45s`, `3m0s`.
pub(super) fn whole_seconds(time: Duration) -> String {
    let nanoseconds = i64::try_from(Duration::from_secs(time.as_secs()).as_nanos());
    GoDuration(nanoseconds.unwrap_or(i64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_once_and_told() {
        let tally = Tally::new(&SimulateOptions { workers: 2, strict: true, ..SimulateOptions::default() });
        let unavailable =
            ClientError::Unavailable { message: "connection refused".to_owned(), retry_after: None, source: None };
        let unknown = ClientError::Unknown { message: "Worker not found: sim-0001".to_owned() };
        tally.registered(false);
        tally.registered(true);
        tally.registration_failed(&unavailable);
        for milliseconds in 1..=1000 {
            tally.acknowledged(Duration::from_millis(milliseconds));
        }
        tally.heartbeat_failed(&unavailable);
        tally.heartbeat_failed(&unknown);
        tally.churned(ChurnCounts { started: 5, stopped: 4 });
        tally.fell_silent();
        tally.returned();

        let mut summary = tally.summary();
        assert_eq!(summary.failed(), 3);
        assert!(!summary.is_success());
        assert!(summary.latency.p50.abs_diff(Duration::from_millis(500)) < Duration::from_millis(1));

        summary.elapsed = Duration::from_millis(185_400);
        summary.latency = Latency {
            p50: Duration::from_micros(912),
            p90: Duration::from_micros(1_440),
            p99: Duration::from_micros(12_340),
            p999: Duration::from_millis(90),
            max: Duration::from_millis(2_500),
        };
        let expected = "\
workers         2
ran for         3m5s
registrations   2 (1 again), 1 failed
beats           1000, 5.4 per second
beats failed    2 (1 unavailable, 1 unknown worker, 0 superseded, 0 refused)
latency         p50 912.0µs, p90 1.4ms, p99 12.3ms, p99.9 90.0ms, max 2.5s
silences        1 began, 1 ended
VMs             5 started, 4 stopped
first failure   the server is unavailable: connection refused";
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn failures_matter_to_the_exit_code_only_if_asked() {
        for (strict, failed, success) in [(false, true, true), (true, false, true), (true, true, false)] {
            let tally = Tally::new(&SimulateOptions { strict, ..SimulateOptions::default() });
            if failed {
                tally.goodbye_failed(&ClientError::Unknown { message: String::new() });
            }
            assert_eq!(tally.summary().is_success(), success, "{strict} {failed}");
        }
    }
}
