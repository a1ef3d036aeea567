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
use crate::cluster::View;
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
    /// The window that had begun when rows were last summed up and removed.
    maintained_at: AtomicI64,
}

impl HistorySampler {
    /// A sampler of this cluster into this history.
    pub fn new(journal: Journal, clock: Clock, offline_after: Duration, history: HistoryReader) -> Self {
        Self { journal, clock, offline_after, history, maintained_at: AtomicI64::new(i64::MIN) }
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

    /// Takes the sample of the present minute.
    pub async fn sample(&self) {
        let (now, passed) = (self.clock.now(), self.clock.monotonic());
        let (minute, history) = (minute_of(now), self.history.clone());
        let view = Arc::new(View::new(self.journal.snapshot(), now, self.offline_after));
        let taken = spawn_blocking(move || sample::take(&view, history.loads(), passed, minute, history.windows()));
        if let Err(error) = taken.await {
            warn!(%error, "A sample was not taken by a fault of ours");
        }
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

/// The rows that have to be written: those that are not there, and those that this server adds something to.
fn merged(start: i64, own: &HashMap<String, Points>, rows: Vec<HistoryRow>) -> Vec<HistoryRow> {
    let mut stored: HashMap<_, _> = rows.into_iter().map(|row| (row.subject, row.points)).collect();
    let row = |(subject, own): (&String, &Points)| {
        let stored = stored.remove(subject);
        let points = match stored.as_ref().and_then(|bytes| Points::decode(Tier::Minute.points_in_row(start), bytes)) {
            Some(mut points) => {
                points.merge(own);
                points.encode()
            }
            None => own.encode(),
        };
        let is_new = stored.is_none_or(|stored| stored != points);
        is_new.then(|| HistoryRow { tier: Tier::Minute.number(), start, subject: subject.clone(), points })
    };
    own.iter().filter_map(row).collect()
}

/// The beginning of the minute of a moment, in seconds since 1970.
fn minute_of(time: Timestamp) -> i64 {
    time.timestamp().div_euclid(MINUTE) * MINUTE
}
