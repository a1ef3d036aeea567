//! The sampler: the task that takes a sample each minute, and writes what is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::points::Points;
use super::reader::HistoryReader;
use super::subject::Subject;
use super::tier::{MINUTE, Tier, WINDOW};
use super::{rollup, sample};
use crate::clock::{Clock, Timestamp};
use crate::cluster::{Availability, View, Worker};
use crate::error::Result;
use crate::journal::{HistoryRow, Journal};

/// How long after the start the first sample is taken: workers have sent heartbeats by then, and nobody has to wait for the
/// next minute to see that there are curves.
const FIRST_SAMPLE_AFTER: Duration = Duration::from_secs(5);

/// How many rows one transaction writes. On SQLite it has the writer's connection, and heartbeats wait for its end.
const ROWS_PER_TRANSACTION: usize = 250;

/// Samples the cluster each minute.
///
/// Servers that share a database all sample, and write the same rows. Each merges into a row what it alone has: a server
/// that was started in the middle of a window, or heard the measured load of other workers.
#[derive(Debug)]
pub struct HistorySampler {
    journal: Journal,
    clock: Clock,
    offline_after: Duration,
    history: HistoryReader,
    /// When it was made, by the monotonic clock.
    started_at: Duration,
    /// The window that had begun when rows were last summed up and removed.
    maintained_at: AtomicI64,
}

impl HistorySampler {
    /// A sampler of this cluster into this history.
    pub fn new(journal: Journal, clock: Clock, offline_after: Duration, history: HistoryReader) -> Self {
        let started_at = clock.monotonic();
        Self { journal, clock, offline_after, history, started_at, maintained_at: AtomicI64::new(i64::MIN) }
    }

    /// Samples shortly after the start, and then each minute, until told to stop. What is not written by then,
    /// [`flush`](Self::flush) writes. No sample waits for a write, which may take longer than a minute.
    pub async fn run(self, shutdown: CancellationToken) {
        let sampling = async {
            sleep(FIRST_SAMPLE_AFTER).await;
            loop {
                self.sample().await;
                self.next_minute().await;
            }
        };
        let writing = async {
            loop {
                self.next_minute().await;
                if let Err(error) = self.write().await {
                    warn!(error = %error.chain(), "History could not be written, the next minute tries again");
                }
            }
        };
        let _: Option<((), ())> = shutdown.run_until_cancelled(async { tokio::join!(sampling, writing) }).await;
    }

    async fn next_minute(&self) {
        let now = self.clock.now();
        let minute = Timestamp::from_timestamp(minute_of(now), 0).unwrap_or(now);
        let next = minute.checked_add_signed(TimeDelta::seconds(MINUTE)).unwrap_or(now);
        self.clock.left(minute..next).await;
    }

    /// Takes the sample of the present minute. There is none while this server does not know the present: if it is cut
    /// off from what others commit, or if workers are silent that could not yet have been heard. Another server may have
    /// a sample of that minute; a wrong one would stand in its place.
    pub async fn sample(&self) {
        if !self.journal.is_following() {
            return;
        }
        let (now, passed) = (self.clock.now(), self.clock.monotonic());
        let is_in_grace = self.is_in_grace(passed);
        let (minute, history) = (minute_of(now), self.history.clone());
        let view = Arc::new(View::new(self.journal.snapshot(), now, self.offline_after));
        let taken = spawn_blocking(move || {
            if !(is_in_grace && has_unannounced(&view)) {
                sample::take(&view, history.loads(), passed, minute, history.windows());
            }
        });
        if let Err(error) = taken.await {
            warn!(%error, "A sample was not taken by a fault of ours");
        }
    }

    /// Whether silence tells nothing of workers, by the rule of the [liveness sweeper](crate::liveness_sweeper): after a
    /// start, an outage of the database, or a time at which the clock was set, each has one time-out to be heard.
    fn is_in_grace(&self, passed: Duration) -> bool {
        let since = [self.journal.last_outage(), self.clock.last_set()].into_iter().flatten();
        passed <= since.fold(self.started_at, Duration::max).saturating_add(self.offline_after)
    }

    /// Writes, sums up and removes what is due.
    pub async fn write(&self) -> Result<()> {
        let now = self.clock.now();
        let (window, _) = Tier::Minute.row_around(minute_of(now));
        let written = self.write_before(window).await;
        let forgotten = self.history.windows().forget_surplus();
        if forgotten > 0 {
            let minutes = forgotten as i64 * WINDOW / MINUTE;
            warn!(history.minutes = minutes, "History of {minutes} minutes could not be written, and is lost");
        }
        written?;
        if self.maintained_at.swap(window, Ordering::Relaxed) != window
            && let Err(error) = rollup::run(&self.history, &self.journal.snapshot(), now.timestamp()).await
        {
            self.maintained_at.store(i64::MIN, Ordering::Relaxed);
            return Err(error);
        }
        Ok(())
    }

    /// Writes all that is in memory, the window that goes on included: another server, or this one after its restart, goes
    /// on with it.
    pub async fn flush(&self) -> Result<()> {
        self.write_before(i64::MAX).await
    }

    /// Writes the windows that begin before a time.
    async fn write_before(&self, time: i64) -> Result<()> {
        for start in self.history.windows().begun_before(time) {
            let subjects = self.history.windows().subjects(start);
            for subjects in subjects.chunks(ROWS_PER_TRANSACTION) {
                self.write_rows(start, subjects).await?;
            }
            self.history.windows().forget(start);
        }
        Ok(())
    }

    /// Writes a window of these subjects, merged with what is there.
    async fn write_rows(&self, start: i64, subjects: &[Subject]) -> Result<()> {
        let own = subjects.iter().map(|subject| (subject.key(), subject));
        let own: HashMap<_, _> =
            own.filter_map(|(key, subject)| Some((key, self.history.windows().points(start, subject)?))).collect();
        let keys: Vec<_> = own.keys().map(String::as_str).collect();
        let merge = |rows: Vec<HistoryRow>| merged(start, &own, rows);
        self.history.store().merge(Tier::Minute.number(), start, &keys, merge).await
    }
}

/// Whether a worker is silent that nobody has announced as offline.
fn has_unannounced(view: &Arc<View>) -> bool {
    let is_unannounced = |worker: &Worker| worker.last_announced_availability == Availability::Online;
    view.workers().any(|worker| !worker.is_healthy() && is_unannounced(&worker.worker))
}

/// The rows that have to be written: those that are not there, and those that this server adds something to. One that it
/// cannot decode is of a newer version, and stays as it is.
fn merged(start: i64, own: &HashMap<String, Points>, rows: Vec<HistoryRow>) -> Vec<HistoryRow> {
    let mut stored: HashMap<_, _> = rows.into_iter().map(|row| (row.subject, row.points)).collect();
    let row = |(subject, own): (&String, &Points)| {
        let points = match stored.remove(subject) {
            Some(stored) => {
                let mut points = Points::decode(Tier::Minute.points_in_row(start), &stored)?;
                points.merge(own);
                Some(points.encode()).filter(|points| *points != stored)?
            }
            None => own.encode(),
        };
        Some(HistoryRow { tier: Tier::Minute.number(), start, subject: subject.clone(), points })
    };
    own.iter().filter_map(row).collect()
}

/// The beginning of the minute of a moment, in seconds since 1970.
fn minute_of(time: Timestamp) -> i64 {
    time.timestamp().div_euclid(MINUTE) * MINUTE
}
