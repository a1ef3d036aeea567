//! The liveness forecast: when the next worker becomes offline by the clock alone, computed once for all subscribers
//! and long polls.
//!
//! That a worker becomes offline is no commit, so that nobody is woken by the feed. Announcing it is not done here but
//! by [`liveness_sweeper`](crate::liveness_sweeper).

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::cluster::{View, WorkerId};

/// The last forecast. It holds for later snapshots, too: a worker that sends a heartbeat after it was made is online
/// until it ends. So the workers are looked at once per forecast, however many ask.
#[derive(Debug, Default)]
pub(super) struct LivenessForecast {
    last: Mutex<Option<Forecast>>,
    silent: Mutex<Option<FallenSilent>>,
}

/// The workers that fell silent from the start of one forecast to that of the next.
#[derive(Debug)]
struct FallenSilent {
    /// The epoch of the snapshot that was looked at.
    epoch: Arc<str>,
    between: Range<Timestamp>,
    workers: Arc<[WorkerId]>,
}

#[derive(Debug)]
struct Forecast {
    /// The epoch of the snapshot that was looked at.
    epoch: Arc<str>,
    /// The moment of the look. Between it and `next` no worker becomes offline without a commit.
    since: Timestamp,
    /// When to look at the workers again.
    next: Timestamp,
    /// The revision of the snapshot from which `unannounced` was read.
    revision: u64,
    /// See [`View::longest_unannounced_silence`].
    unannounced: Option<Timestamp>,
}

impl LivenessForecast {
    /// The range of moments around that of the view in which no worker becomes offline without a commit.
    pub(super) fn unchanged_during(&self, view: &Arc<View>) -> Range<Timestamp> {
        self.with_forecast(view, |forecast| forecast.since..forecast.next)
    }

    /// The view's [`View::longest_unannounced_silence`]. All workers are looked at for it only while there is one: no
    /// worker becomes silent for too long within a forecast, so where there was none, there is none.
    pub(super) fn longest_unannounced(&self, view: &Arc<View>) -> Option<Timestamp> {
        let revision = view.snapshot.revision;
        self.with_forecast(view, |forecast| {
            if revision < forecast.revision {
                // The view is older than what was read: workers that are silent in it may have been heard since.
                return view.longest_unannounced_silence();
            }
            if forecast.unannounced.is_some() && forecast.revision < revision {
                (forecast.unannounced, forecast.revision) = (view.longest_unannounced_silence(), revision);
            }
            forecast.unannounced
        })
    }

    /// The workers that are online at one moment and offline at another, later one. They are looked for once, however many
    /// ask for the same two moments: who asks at a later revision finds some among them that were heard since.
    pub(super) fn fallen_silent(&self, before: &Arc<View>, now: &Arc<View>) -> Arc<[WorkerId]> {
        let (epoch, between) = (now.snapshot.epochs.latest(), before.now..now.now);
        let mut last = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if known.between == between && known.epoch == *epoch => known.workers.clone(),
            _ => {
                let workers = fallen_silent(before, now);
                *last = Some(FallenSilent { epoch: epoch.clone(), between, workers: workers.clone() });
                workers
            }
        }
    }

    fn with_forecast<T>(&self, view: &Arc<View>, at: impl FnOnce(&mut Forecast) -> T) -> T {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(forecast) if forecast.holds_for(view) => at(forecast),
            last => at(last.insert(Forecast::at(view))),
        }
    }
}

fn fallen_silent(before: &Arc<View>, now: &Arc<View>) -> Arc<[WorkerId]> {
    let gone = now.workers().filter(|worker| {
        let before = before.find_worker(worker.worker.id.as_str());
        !worker.is_healthy() && before.is_some_and(|before| before.is_healthy())
    });
    gone.map(|worker| worker.worker.id.clone()).collect()
}

impl Forecast {
    fn at(view: &Arc<View>) -> Self {
        let (snapshot, now) = (&view.snapshot, view.now);
        // A worker that is heard from now on is online for the whole time-out. Half of it, since heartbeats that other
        // servers have received arrive late.
        let at_last = now + view.offline_after / 2;
        let next = view.next_silence().map_or(at_last, |next| next.min(at_last));
        Self {
            epoch: snapshot.epochs.latest().clone(),
            since: now,
            next: next.max(now + Duration::from_millis(1)),
            revision: snapshot.revision,
            unannounced: view.longest_unannounced_silence(),
        }
    }

    fn holds_for(&self, view: &View) -> bool {
        (self.since..self.next).contains(&view.now) && self.epoch == *view.snapshot.epochs.latest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Availability, Changes, Identity, Labels, Life, Snapshot, Worker};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_000_000 + seconds, 0).unwrap_or_default()
    }

    /// A view, at a moment, of one worker whose last heartbeat was at another moment.
    fn view(epoch: &str, revision: u64, heard: i64, announced: Availability, now: i64) -> Arc<View> {
        let identity = Identity {
            hostname: "h".into(),
            address: "a:1".into(),
            zone: "".into(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 1,
            max_vms: 1,
        };
        let mut worker = Worker::first_life(WorkerId::parse("w").unwrap(), identity, Life::first(at(heard), 1));
        worker.last_announced_availability = announced;
        let changes = Changes { workers: vec![Arc::new(worker)], ..Changes::default() };
        let snapshot = Snapshot::empty(epoch.into()).apply(changes, revision);
        Arc::new(View::new(Arc::new(snapshot), at(now), Duration::from_secs(60)))
    }

    // Each row goes on from the one before it.
    #[test]
    fn workers_are_looked_at_again_only_while_a_silence_is_not_announced_or_when_one_may_have_begun() {
        use Availability::{Offline, Online};
        let silence = LivenessForecast::default();
        for (view, expected, why) in [
            (view("a", 1, 0, Online, 40), None, "it was heard 40 s ago"),
            (view("a", 2, -99, Online, 50), None, "a silence cannot have begun, so nobody has looked for it"),
            (view("a", 3, 0, Online, 61), Some(0), "one may have begun at 60.001"),
            (view("a", 3, -99, Online, 62), Some(0), "nor in a state that was looked at"),
            (view("a", 4, 0, Offline, 62), None, "it is announced"),
            (view("a", 5, -99, Online, 63), None, "nobody has looked again since it was"),
            (view("a", 3, 0, Online, 63), Some(0), "a state from before the announcement"),
            (view("a", 6, -99, Online, 60), Some(-99), "the clock was set back"),
            (view("b", 6, 0, Online, 60), None, "the database was set back"),
        ] {
            assert_eq!(silence.longest_unannounced(&view), expected.map(at), "{why}");
        }
    }

    #[test]
    fn who_fell_silent_is_looked_for_once_for_all_who_ask_for_the_same_two_moments() {
        use Availability::Online;
        let forecast = LivenessForecast::default();
        let asked = |epoch: &str, revision, heard, before, now| {
            let view = |now| view(epoch, revision, heard, Online, now);
            forecast.fallen_silent(&view(before), &view(now)).len()
        };
        assert_eq!(asked("a", 1, 0, 40, 59), 0, "it was heard 59 s ago");
        assert_eq!(asked("a", 1, 0, 59, 61), 1, "from 60.001 on it is offline");
        assert_eq!(asked("a", 2, 50, 59, 61), 1, "it was heard since, but nobody has looked again");
        assert_eq!(asked("a", 2, 0, 61, 91), 0, "it was offline before");
        assert_eq!(asked("b", 2, -30, 61, 91), 0, "in another database as well");
        assert_eq!(asked("c", 2, 30, 61, 91), 1, "in this one it was not");
    }

    #[test]
    fn nobody_becomes_offline_by_silence_until_the_first_one_does_or_half_a_time_out_is_over() {
        use Availability::Online;
        for (heard, now, next) in [(0, 0, 30_000), (0, 29, 59_000), (0, 31, 60_001), (0, 60, 60_001), (0, 61, 91_000)] {
            let unchanged = LivenessForecast::default().unchanged_during(&view("a", 1, heard, Online, now));
            assert_eq!(unchanged, at(now)..at(0) + Duration::from_millis(next), "{now}");
        }
    }
}
