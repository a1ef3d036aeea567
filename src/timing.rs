//! The intervals and time-outs of the server, in one place because they depend on each other: how long a worker may be
//! silent, how often it is asked to report, how often the server looks, and how the time of a shutdown is divided.
//!
//! Times that concern one mechanism only are not here, but with that mechanism: those of connections in
//! `http::server::timeouts`, those of WebSockets in `graphql::transport::websocket`, those of database sessions in the
//! journal, those of agents in `client::retry_limits`.

use std::time::Duration;

use chrono::TimeDelta;

/// What the operator of a server decided about heartbeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// For how long a worker may be silent before it counts as offline.
    pub offline_after: Duration,
    /// How long workers are told to wait between heartbeats, before jitter, while the fleet is small: see
    /// [`interval_for`](Self::interval_for).
    pub heartbeat_interval: Duration,
}

/// By which share of the interval the time of the next heartbeat is varied, up or down, so that a fleet that starts at
/// once does not send its heartbeats at once for ever.
pub(crate) const HEARTBEAT_JITTER: f64 = 0.1;

/// How many heartbeats a second a fleet is asked to send at most: a server can take several times as many.
const HEARTBEATS_PER_SECOND: u32 = 1_000;

/// What the time-out is reduced by before heartbeats are fitted into it: the time that one heartbeat may take.
const HEARTBEAT_SLACK: Duration = Duration::from_secs(5);

/// How often the sweeper looks for silent workers: a silent one is announced within this much after its time-out.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How late a sweep may be before the sweeper assumes that this process was paused, and that no heartbeat could arrive
/// either.
pub(crate) const PAUSE_THRESHOLD: Duration = Duration::from_secs(3);

/// By how much the clock has to be set, beside the time that has passed, to count as set; and by how much a time has to
/// lie in the future to be wrong. Servers that share a database follow its clock, and differ by the time of an answer.
pub(crate) const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(1);

/// Into how many parts the time-out is divided for workers whose heartbeats are refused: that one of them is alive is
/// committed at most once in each part, so that what is shed does not come back as work for the database.
pub(crate) const LIVENESS_SIGNS_PER_TIMEOUT: u32 = 4;

/// How long a health check waits for the database.
pub(crate) const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// A database that has answered the journal within this time counts as there although it did not answer the health
/// check in time: a slow one needs so long to begin a session and to answer the first statement on it. One that is away
/// is known to be before.
pub(crate) const DATABASE_HEARD_WITHIN: Duration = Duration::from_secs(5);

/// How long a long poll waits at most if it may have missed that a worker went offline. That is announced within
/// [`SWEEP_INTERVAL`], usually, which answers the poll; where it is not, because many workers are silent at once, a
/// client that asks again and again is held to this pace.
pub(crate) const MISSED_SILENCE_WAIT: Duration = SWEEP_INTERVAL;

/// How long a stream of events may be quiet before a bookmark tells its reader that nothing was missed.
pub(crate) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(15);

/// How often statistics are sent to their subscribers, unless they ask for another interval.
pub(crate) const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest interval between two messages that a subscriber can ask for, and the longest.
pub(crate) const SUBSCRIBER_INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3_600));

/// How long requests in flight, streams and WebSockets may take to end when the server stops. Leaving Consul takes its
/// time out of this.
pub(crate) const CLOSE_CONNECTIONS_TIME: Duration = Duration::from_secs(8);

/// How long the last minutes of history may take to be written when the server stops, while connections close.
pub(crate) const LAST_HISTORY_TIME: Duration = Duration::from_secs(3);

/// How long a scrape or a probe on the listener of monitoring may then take to end. It has its time beside the journal.
pub(crate) const CLOSE_MONITORING_TIME: Duration = Duration::from_millis(500);

/// How long the journal may then take to commit what it has accepted.
pub(crate) const LAST_COMMITS_TIME: Duration = Duration::from_millis(1_200);

/// How long the database may then take to close.
pub(crate) const CLOSE_DATABASE_TIME: Duration = Duration::from_millis(300);

/// How long threads that hang may hold up the end of the process, such as an agent's in a read of `/proc` that the
/// kernel blocks. Whatever had to be finished is finished by then.
pub const RUNTIME_SHUTDOWN_TIME: Duration = Duration::from_millis(200);

/// How long spans that were not sent may then take to be exported. Of a shutdown that was slow it is less.
const EXPORT_SPANS_TIME: Duration = Duration::from_secs(2);

/// The time for spans that were not sent, so long after the shutdown began: what is left until the process would be
/// killed, at most [`EXPORT_SPANS_TIME`].
pub fn export_spans_time(since_shutdown: Duration) -> Duration {
    (KILL_AFTER - RUNTIME_SHUTDOWN_TIME).saturating_sub(since_shutdown).min(EXPORT_SPANS_TIME)
}

/// After how long service managers and container runtimes kill a process that they have told to stop.
const KILL_AFTER: Duration = Duration::from_secs(10);

const _: () = assert!(
    CLOSE_CONNECTIONS_TIME.as_millis()
        + LAST_COMMITS_TIME.as_millis()
        + CLOSE_DATABASE_TIME.as_millis()
        + RUNTIME_SHUTDOWN_TIME.as_millis()
        < KILL_AFTER.as_millis(),
    "a shutdown ends before the process is killed"
);

impl Timing {
    /// The documented rule: offline after 60 s.
    pub const OFFLINE_AFTER: Duration = Duration::from_secs(60);
    /// Six heartbeats fit into the documented time-out, so a few may be lost.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

    /// How long the workers of a fleet of this size are told to wait between heartbeats: what is configured, and longer
    /// the more there are, so that they stay below [`HEARTBEATS_PER_SECOND`] together; but three fit into the time-out,
    /// also of a worker that is told to wait a tenth longer by [jitter](HEARTBEAT_JITTER). All registered workers
    /// count: when the offline ones come back, they find the interval that they need.
    pub fn interval_for(&self, workers: usize) -> Duration {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        let wanted = Duration::from_secs(1).saturating_mul(workers) / HEARTBEATS_PER_SECOND;
        let longest = self.offline_after.saturating_sub(HEARTBEAT_SLACK).saturating_mul(10) / 33;
        wanted.min(longest).max(self.heartbeat_interval)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { offline_after: Self::OFFLINE_AFTER, heartbeat_interval: Self::HEARTBEAT_INTERVAL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_told_to_report_less_often_within_its_time_out() {
        let timing = |interval, offline_after| Timing {
            heartbeat_interval: Duration::from_secs(interval),
            offline_after: Duration::from_secs(offline_after),
        };
        for (interval, offline_after, workers, expected) in [
            (10, 60, 0, 10_000),
            (10, 60, 10_000, 10_000),
            (10, 60, 15_000, 15_000),
            (10, 60, 100_000, 16_666),
            (10, 600, 100_000, 100_000),
            // What is configured is never made shorter.
            (30, 60, 100_000, 30_000),
            (1, 3, 100_000, 1_000),
            (1, 60, usize::MAX, 16_666),
        ] {
            let told = timing(interval, offline_after).interval_for(workers);
            assert_eq!(told.as_millis(), expected, "{interval} {offline_after} {workers}");
        }
    }
}
