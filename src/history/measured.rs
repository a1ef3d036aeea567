//! The load that agents measured, as their heartbeats brought it to this server. It is kept in memory only, until the
//! next sample takes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::figure::Figure;
use crate::cluster::MeasuredLoad;

/// For how long a measured load counts: with the longest interval of heartbeats, one comes within this time.
const VALID_FOR: Duration = Duration::from_secs(120);

/// Most busy cores of one host: more than this come of a counter that leapt, and are not known.
const MAX_BUSY_CORES: f64 = 1e6;

/// What agents measured lately, by worker. It has only workers whose heartbeats were accepted within [`VALID_FOR`].
#[derive(Debug, Default)]
pub struct MeasuredLoads(Mutex<HashMap<Arc<str>, Readings>>);

/// What is known of one worker. Moments are of the monotonic clock.
#[derive(Debug)]
struct Readings {
    heard_at: Duration,
    latest: MeasuredLoad,
    /// The counter when the last sample was taken, or when it first came, or came anew.
    base: Option<Counter>,
    /// The counter now.
    counter: Option<Counter>,
    /// How many cores were busy before the last sample.
    busy_cores: Option<f64>,
}

/// The counter of busy seconds at a moment.
#[derive(Clone, Copy, Debug)]
struct Counter {
    at: Duration,
    busy_seconds: f64,
}

impl MeasuredLoads {
    /// Notes what a heartbeat of a registered worker brought.
    pub fn note(&self, worker: &Arc<str>, load: MeasuredLoad, now: Duration) {
        let mut all = self.lock();
        match all.get_mut(worker) {
            Some(known) => known.note(load, now),
            None => {
                let counter = counter(load, now);
                let known = Readings { heard_at: now, latest: load, base: counter, counter, busy_cores: None };
                all.insert(worker.clone(), known);
            }
        }
    }

    /// The measured figures of a worker, each with its value in stored parts; those that are not known are left out.
    pub(super) fn take(&self, worker: &str, now: Duration) -> Vec<(Figure, i64)> {
        let mut all = self.lock();
        let Some(known) = all.get_mut(worker).filter(|known| known.is_valid(now)) else { return Vec::new() };
        let busy_cores = known.take_busy_cores();
        let parts = |figure: Figure, value: f64| (figure, (value * figure.parts() as f64).round() as i64);
        let figures = [
            busy_cores.filter(|cores| *cores <= MAX_BUSY_CORES).map(|cores| parts(Figure::MeasuredCpuCores, cores)),
            known.latest.memory_used_mb.map(|memory| (Figure::MeasuredMemoryMb, memory.into())),
            known.latest.load1.map(|load| parts(Figure::MeasuredLoad1, load)),
        ];
        figures.into_iter().flatten().collect()
    }

    /// Forgets workers that have not sent their load for long.
    pub(super) fn forget_old(&self, now: Duration) {
        self.lock().retain(|_, known| known.is_valid(now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Readings>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readings {
    fn note(&mut self, load: MeasuredLoad, now: Duration) {
        let counter = counter(load, now);
        let has_gone_back = |new: Counter, old: Counter| new.busy_seconds < old.busy_seconds;
        match (counter, self.counter) {
            (Some(new), Some(old)) if !has_gone_back(new, old) => {}
            // It began anew, with the host: what was counted before is no part of it.
            (Some(_) | None, _) => (self.base, self.busy_cores) = (counter, None),
        }
        (self.counter, self.latest, self.heard_at) = (counter, load, now);
    }

    /// How many cores were busy since the last sample. As before if the counter was not sent again since; none if it was
    /// sent only once.
    fn take_busy_cores(&mut self) -> Option<f64> {
        let (base, counter) = (self.base?, self.counter?);
        if counter.at > base.at {
            let passed = (counter.at - base.at).as_secs_f64();
            self.busy_cores = Some((counter.busy_seconds - base.busy_seconds) / passed);
            self.base = Some(counter);
        }
        self.busy_cores
    }

    fn is_valid(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard_at) <= VALID_FOR
    }
}

fn counter(load: MeasuredLoad, at: Duration) -> Option<Counter> {
    load.cpu_busy_seconds.map(|busy_seconds| Counter { at, busy_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_becomes_busy_cores_and_may_begin_anew() {
        let (loads, worker) = (MeasuredLoads::default(), Arc::from("w"));
        let at = Duration::from_secs;
        let busy = |seconds| MeasuredLoad { cpu_busy_seconds: Some(seconds), memory_used_mb: None, load1: None };
        let cores = |cores: f64| vec![(Figure::MeasuredCpuCores, (cores * 1_000.0) as i64)];
        loads.note(&worker, busy(100.0), at(0));
        assert!(loads.take("w", at(1)).is_empty(), "one reading tells no rate");
        loads.note(&worker, busy(105.0), at(10));
        assert_eq!(loads.take("w", at(11)), cores(0.5));
        assert_eq!(loads.take("w", at(12)), cores(0.5), "nothing has come since");
        loads.note(&worker, busy(135.0), at(20));
        loads.note(&worker, busy(4.0), at(30));
        assert!(loads.take("w", at(31)).is_empty(), "it has begun anew, and was sent once since");
        loads.note(&worker, busy(24.0), at(40));
        assert_eq!(loads.take("w", at(160)), cores(2.0));
        assert!(loads.take("w", at(161)).is_empty(), "too old");
        loads.note(&worker, busy(0.0), at(161));
        loads.note(&worker, busy(9e15), at(162));
        assert!(loads.take("w", at(162)).is_empty(), "no host has so many cores");
        loads.forget_old(at(283));
        assert!(loads.lock().is_empty());
    }
}
