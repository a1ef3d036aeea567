//! A past that is made up, for a cluster to try things out on: its curves begin with something to see. `aetherium dev` says
//! that it is made up; nothing else has one.

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::sync::Arc;

use super::figure::Figure;
use super::points::{Point, Points};
use super::reader::HistoryReader;
use super::sample::{self, Sums};
use super::subject::Subject;
use super::tier::{DAY, MINUTE, Tier};
use crate::cluster::{View, WorkerView};
use crate::error::Result;
use crate::journal::HistoryRow;

/// Of more workers, no past is made up: it would take long, and nobody looks at so many curves.
const MOST_WORKERS: usize = 200;

/// How many rows one transaction writes.
const ROWS_PER_TRANSACTION: usize = 250;

/// How many samples of each coarser point are made up.
const SAMPLES_OF_A_POINT: i64 = 3;

/// How long ago the first worker had a spike of a minute, in seconds.
const SPIKE_AGO: i64 = 5 * 60 * MINUTE;

/// How long ago the second worker fell silent, and came back, in seconds.
const SILENCE_AGO: (i64, i64) = (9 * 60 * MINUTE, 7 * 60 * MINUTE);

/// The rows that are being made, by start.
type Rows = HashMap<(i64, Subject), Points>;

impl HistoryReader {
    /// Writes a past of these workers as if they had been there all the time: what they use now, and less on most other
    /// days and hours.
    pub async fn make_up(&self, view: &Arc<View>) -> Result<()> {
        if view.snapshot.worker_count() > MOST_WORKERS {
            return Ok(());
        }
        let now = view.now.timestamp().div_euclid(MINUTE) * MINUTE;
        for tier in Tier::ALL {
            // What is not summed up yet is made of the finer rows.
            let until = match tier {
                Tier::Minute => now,
                Tier::QuarterHour | Tier::SixHours => tier.row_around(now).0,
            };
            for start in tier.rows_between(now - tier.retention(), until) {
                let mut rows = Rows::new();
                let step = tier.step();
                let samples = if tier == Tier::Minute { 1 } else { SAMPLES_OF_A_POINT };
                for place in 0..tier.points_in_row(start) {
                    let at = start + step * i64::try_from(place).unwrap_or_default();
                    for sample in (0..samples).map(|sample| at + sample * step / samples).filter(|at| *at < until) {
                        add_sample(view, now - sample, |subject, figure, value| {
                            let points = rows
                                .entry((start, subject))
                                .or_insert_with(|| Points::absent(tier.points_in_row(start)));
                            points.add(figure, place, Point::of(value));
                        });
                    }
                }
                let row = |((start, subject), points): ((i64, Subject), Points)| HistoryRow {
                    tier: tier.number(),
                    start,
                    subject: subject.key(),
                    points: points.encode(),
                };
                let rows: Vec<_> = rows.into_iter().map(row).collect();
                for rows in rows.chunks(ROWS_PER_TRANSACTION) {
                    self.store().add(rows.to_vec()).await?;
                }
            }
        }
        Ok(())
    }
}

/// Makes up the figures of all workers, zones and the cluster so many seconds ago.
fn add_sample(view: &Arc<View>, ago: i64, mut add: impl FnMut(Subject, Figure, i64)) {
    let mut cluster = sample::no_workers();
    let mut zones = HashMap::<Arc<str>, Sums>::new();
    // A worker that has not told what it holds would have had nothing all the time.
    for (number, worker) in view.workers().enumerate().filter(|(_, worker)| worker.worker.knows_inventory()) {
        let is_online = number != 1 || !(SILENCE_AGO.1..SILENCE_AGO.0).contains(&ago);
        let measured = if is_online { made_up_load(number, &worker, ago) } else { Vec::new() };
        let figures = made_up_figures(number, &worker, ago);
        sample::add_to_sums(&mut cluster, &mut zones, &worker, is_online, &figures, &measured);
        if is_online {
            for (figure, value) in figures.into_iter().chain(measured) {
                add(Subject::Worker(worker.worker.id.shared()), figure, value);
            }
        }
    }
    let zones = zones.into_iter().map(|(zone, sums)| (Subject::Zone(zone), sums));
    for (subject, sums) in zones.chain([(Subject::Cluster, cluster)]) {
        for (figure, value) in sample::known(&sums) {
            add(subject.clone(), figure, value);
        }
    }
}

/// Which part of what it uses now a worker used so many seconds ago: all of it now, and less by day and by week.
fn share(number: usize, ago: i64) -> f64 {
    let wave = |length: i64| (1.0 - (TAU * ago as f64 / length as f64).cos()) / 2.0;
    let slow = DAY * (5 + i64::try_from(number % 4).unwrap_or_default());
    1.0 - 0.35 * wave(DAY) - 0.3 * wave(slow)
}

fn made_up_figures(number: usize, worker: &WorkerView, ago: i64) -> Vec<(Figure, i64)> {
    let share = share(number, ago);
    let of_then = |(figure, value): (Figure, i64)| match figure {
        Figure::UsedCpuCores | Figure::UsedMemoryMb | Figure::UsedDiskGb | Figure::VmCount => {
            (figure, (value as f64 * share).round() as i64)
        }
        other => (other, value),
    };
    sample::figures_of(worker).into_iter().map(of_then).collect()
}

fn made_up_load(number: usize, worker: &WorkerView, ago: i64) -> Vec<(Figure, i64)> {
    let (identity, usage) = (worker.identity(), &worker.worker.usage);
    let wave = |length: i64| (TAU * (ago as f64 / length as f64 + number as f64 / 7.0)).sin();
    let used = f64::from(usage.used_cpu_cores) * share(number, ago);
    let is_spike = number == 0 && (SPIKE_AGO..SPIKE_AGO + MINUTE).contains(&ago);
    let busy = if is_spike {
        f64::from(identity.cpu_cores)
    } else {
        0.1 + used * (0.4 + 0.2 * wave(1_700) + 0.15 * wave(260))
    };
    let parts = |figure: Figure, value: f64| (figure, (value * figure.parts() as f64).round() as i64);
    vec![
        parts(Figure::MeasuredCpuCores, busy),
        parts(Figure::MeasuredMemoryMb, 700.0 + f64::from(usage.used_memory_mb) * 0.8 * share(number, ago)),
        parts(Figure::MeasuredLoad1, busy),
    ]
}
