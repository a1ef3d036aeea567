//! One simulated worker: when it registers, sends heartbeats, falls silent and returns, and how it takes the server's
//! answers.
//!
//! It decides and is told what came of it; it sends nothing and reads no clock, so every rule below can be tested by
//! handing it moments and answers. [`super::gateway`] does the sending.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::fleet::Host;
use super::options::SimulateOptions;
use super::tally::Tally;
use crate::client::{ClientError, Heartbeat, HeartbeatReply, LifeOf, Registered, Registration, RetryLimits};

/// Bounds for the waits a server asks for: less would be a busy loop, more would look like a hang.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Taken where a server's answer is not a time at all.
const USUAL_PACE: Duration = Duration::from_secs(10);
const USUAL_OFFLINE_AFTER: Duration = Duration::from_secs(60);

/// Longest wait after the first failure in a row. Short, so that a blip does not cost a worker its health.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How long unreliable workers live and then stay silent, in units of the time after which a server misses them. They
/// are silent for long enough to be missed, always.
const LIVES: Range<f64> = 1.0..3.0;
const SILENCES: Range<f64> = 1.2..2.0;

/// What a worker has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    Rest,
    Register,
    Heartbeat,
}

#[derive(Clone, Copy, Debug)]
enum Life {
    /// The server has not heard of this start of the process, or has forgotten it.
    Unregistered,
    /// The server knows it.
    Registered { incarnation: u64, sequence: u64 },
    /// The process is gone; the worker is due when it starts again.
    Silent,
}

/// A simulated worker.
pub(super) struct Worker {
    host: Host,
    life: Life,
    /// Tells this simulation's boot ids from those of every other one.
    run: Arc<str>,
    boots: u64,
    /// Whether it ever registered, and so whether anybody would miss it.
    known: bool,
    /// Number and boot id of the last life that registered.
    last_life: Option<(u64, String)>,
    /// When it acts next.
    due: Instant,
    /// When its last call came back.
    answered: Instant,
    /// When its VMs last took a step.
    churned: Instant,
    churn: f64,
    /// The pace it was given; without one, what the server `told` last counts.
    interval: Option<Duration>,
    told: Duration,
    /// Where in the first interval its first heartbeat falls, from 0 to 1.
    phase: f64,
    offline_after: Duration,
    /// How long it may stay away: as long as a real agent.
    limits: RetryLimits,
    dies: Option<Instant>,
    /// Failed calls in a row.
    failures: u32,
    draining: bool,
}

impl Worker {
    /// A worker whose process starts now, and registers at once.
    pub(super) fn new(host: Host, run: Arc<str>, phase: f64, options: &SimulateOptions, now: Instant) -> Self {
        let mut worker = Self {
            host,
            life: Life::Unregistered,
            run,
            boots: 0,
            known: false,
            last_life: None,
            due: now,
            answered: now,
            churned: now,
            churn: options.churn,
            interval: options.interval,
            told: USUAL_PACE,
            phase,
            offline_after: USUAL_OFFLINE_AFTER,
            limits: RetryLimits::default(),
            dies: None,
            failures: 0,
            draining: false,
        };
        // Hosts are never started anew: what runs there goes on running when the worker's process begins again.
        worker.host.registration.host_boot_id = Some(worker.run.to_string());
        worker.boot();
        worker
    }

    pub(super) fn id(&self) -> &str {
        &self.host.id
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.host.registration
    }

    /// The last life that the server knows of, and so somebody to say goodbye to; none if it never registered.
    pub(super) fn last_life(&self) -> Option<LifeOf<'_>> {
        self.last_life.as_ref().map(|(incarnation, boot_id)| LifeOf::Process { incarnation: *incarnation, boot_id })
    }

    /// When to ask for its [`Self::duty`].
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The usual time from heartbeat to heartbeat.
    pub(super) fn pace(&self) -> Duration {
        self.interval.unwrap_or(self.told)
    }

    /// Says what to do now. A heartbeat that is due within `slack` is brought forward to go with those of others.
    pub(super) fn duty(&mut self, now: Instant, slack: Duration, tally: &Tally) -> Duty {
        match self.life {
            Life::Unregistered if self.due <= now => Duty::Register,
            Life::Silent if self.due <= now => {
                tally.returned();
                self.boot();
                Duty::Register
            }
            Life::Registered { .. } if self.dies.is_some_and(|dies| dies <= now) => {
                tally.fell_silent();
                self.life = Life::Silent;
                self.dies = None;
                self.due = now + self.some(SILENCES);
                Duty::Rest
            }
            Life::Registered { .. } if self.due <= now => Duty::Heartbeat,
            // Who backs off does so to the end.
            Life::Registered { .. } if self.failures == 0 && self.due <= now + slack => Duty::Heartbeat,
            Life::Unregistered | Life::Registered { .. } | Life::Silent => Duty::Rest,
        }
    }

    /// Takes the answer to a registration.
    pub(super) fn registered(&mut self, now: Instant, answer: &Registered, tally: &Tally) {
        tally.registered(self.known);
        self.told = wait(answer.heartbeat_interval_seconds, USUAL_PACE);
        self.offline_after = wait(answer.offline_after_seconds, USUAL_OFFLINE_AFTER);
        self.limits = RetryLimits::under(self.offline_after);
        let (incarnation, sequence) = (answer.incarnation, answer.last_sequence.unwrap_or(0));
        self.life = Life::Registered { incarnation, sequence };
        self.host.registration.last_incarnation = Some(incarnation);
        self.last_life = Some((incarnation, self.host.registration.boot_id.clone()));
        self.host.inventory.owe_everything();
        self.failures = 0;
        self.answered = now;
        self.churned = now;
        self.due = if self.known { now } else { now + self.pace().mul_f64(self.phase) };
        self.known = true;
        if self.host.unreliable && self.dies.is_none() {
            self.dies = Some(now + self.some(LIVES));
        }
    }

    /// Lets its VMs take a step and makes the next heartbeat; none if it is not registered.
    pub(super) fn heartbeat(&mut self, now: Instant, tally: &Tally) -> Option<Heartbeat> {
        let Life::Registered { incarnation, ref mut sequence } = self.life else {
            return None;
        };
        *sequence += 1;
        let boot_id = Some(self.host.registration.boot_id.clone());
        let mut heartbeat = Heartbeat { incarnation, boot_id, sequence: *sequence, ..Heartbeat::default() };
        let elapsed = now.saturating_duration_since(self.churned);
        self.churned = now;
        let Host { inventory, dice, .. } = &mut self.host;
        tally.churned(inventory.churn(self.churn, elapsed, !self.draining, dice));
        inventory.report(&mut heartbeat);
        Some(heartbeat)
    }

    /// From when a heartbeat that is sent now has to be timed.
    ///
    /// With a pace of its own a worker may already be late, because the last answer was slow. It is then timed from when
    /// it should have been sent; otherwise a slow server would slow the fleet down and look better for it.
    pub(super) fn waiting_since(&self, now: Instant) -> Instant {
        if self.due < self.answered { self.due } else { now }
    }

    /// Takes the answer to a heartbeat.
    pub(super) fn acknowledged(&mut self, now: Instant, reply: &HeartbeatReply) {
        self.told = wait(reply.next_heartbeat_seconds, USUAL_PACE);
        self.draining = reply.policy == "draining";
        match (reply.last_sequence, &mut self.life) {
            // It came late, and what it said was not taken.
            (Some(last), Life::Registered { sequence, .. }) => {
                *sequence = last.max(*sequence);
                self.host.inventory.owe_everything();
            }
            (Some(_), Life::Unregistered | Life::Silent) | (None, _) => self.host.inventory.acknowledged(),
        }
        if reply.resync {
            self.host.inventory.owe_everything();
        }
        self.failures = 0;
        self.answered = now;
        self.due = match self.interval {
            None => now + self.told,
            // Keeps time exactly, but after a stall sends one late heartbeat, not all that were missed.
            Some(interval) if self.due + interval * 2 < now => now,
            Some(interval) => self.due + interval,
        };
    }

    /// Takes the failure of a registration or of a heartbeat.
    pub(super) fn failed(&mut self, now: Instant, error: &ClientError) {
        let mut pause = Duration::ZERO;
        match error {
            ClientError::Unknown { .. } => self.life = Life::Unregistered,
            // A real agent leaves the id to the other process. Here nobody is there to clear it up, and a fleet that
            // shrinks silently would be the worse surprise.
            ClientError::Superseded { .. } => self.boot(),
            // Nothing was applied or nobody knows; the next heartbeat tells again what this one told.
            ClientError::Refused { .. } | ClientError::Url { .. } => {}
            ClientError::Unavailable { retry_after, .. } => {
                pause = self.limits.granted(*retry_after);
            }
        }
        self.answered = now;
        self.due = now + pause + self.backoff(self.limits.longest_backoff - pause);
        self.failures = self.failures.saturating_add(1);
    }

    /// Starts the worker's process anew. What runs on the host goes on running.
    fn boot(&mut self) {
        self.boots += 1;
        self.host.registration.boot_id = format!("{}-{}", self.run, self.boots);
        self.life = Life::Unregistered;
    }

    /// Doubles with every failure in a row, up to a longest one. Half of it is left to chance, so that a fleet which
    /// failed together does not come back together. A fleet with a short interval, for a load test, also comes back
    /// fast.
    fn backoff(&mut self, longest: Duration) -> Duration {
        let doubled = FIRST_BACKOFF.min(self.pace()).saturating_mul(1 << self.failures.min(16));
        doubled.min(longest).mul_f64(self.host.dice.random_range(0.5..1.0)).max(SHORTEST_WAIT)
    }

    fn some(&mut self, range: Range<f64>) -> Duration {
        self.offline_after.mul_f64(self.host.dice.random_range(range))
    }
}

/// Reads a time from a server without trusting it.
fn wait(seconds: f64, usual: Duration) -> Duration {
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) | Err(_) => usual,
        Ok(wait) => wait.clamp(SHORTEST_WAIT, LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::simulate::fleet;

    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        worker: Worker,
        tally: Tally,
        now: Instant,
    }

    /// A worker whose first heartbeat falls into the interval at a quarter of it.
    fn scene(options: SimulateOptions) -> Scene {
        let options = SimulateOptions { workers: 1, vms_per_worker: 2, churn: 0.0, ..options };
        let now = Instant::now();
        let host = fleet::muster(&options).remove(0);
        Scene { worker: Worker::new(host, "run".into(), 0.25, &options, now), tally: Tally::new(&options), now }
    }

    impl Scene {
        fn registers(&mut self) {
            let answer = Registered {
                incarnation: 3,
                heartbeat_interval_seconds: 8.0,
                offline_after_seconds: 60.0,
                last_sequence: None,
                revision: 1,
            };
            self.worker.registered(self.now, &answer, &self.tally);
        }

        fn duty_after(&mut self, wait: Duration) -> Duty {
            self.now += wait;
            self.worker.duty(self.now, Duration::ZERO, &self.tally)
        }

        fn heartbeats(&mut self) -> Heartbeat {
            self.worker.heartbeat(self.now, &self.tally).unwrap()
        }

        fn is_acknowledged(&mut self, reply: HeartbeatReply) {
            self.worker.acknowledged(self.now, &reply);
        }

        fn fails(&mut self, error: &ClientError) -> Duration {
            self.worker.failed(self.now, error);
            self.worker.due - self.now
        }
    }

    fn reply() -> HeartbeatReply {
        HeartbeatReply {
            policy: "active".to_owned(),
            next_heartbeat_seconds: 9.5,
            revision: 2,
            resync: false,
            last_sequence: None,
            set_aside: BTreeMap::new(),
        }
    }

    fn unavailable(retry_after: Option<Duration>) -> ClientError {
        ClientError::Unavailable { message: "busy".to_owned(), retry_after, source: None }
    }

    #[test]
    fn it_registers_at_once_and_sends_its_first_heartbeat_at_its_place_in_the_interval() {
        let mut scene = scene(SimulateOptions::default());
        assert_eq!(scene.duty_after(Duration::ZERO), Duty::Register);
        scene.registers();
        assert_eq!(scene.duty_after(SECOND), Duty::Rest);
        assert_eq!(scene.duty_after(SECOND), Duty::Heartbeat);
    }

    #[test]
    fn its_own_interval_counts_else_the_servers_word() {
        for (interval, expected) in [(None, 9_500), (Some(3 * SECOND), 3_000)] {
            let mut scene = scene(SimulateOptions { interval, ..SimulateOptions::default() });
            scene.registers();
            scene.now = scene.worker.due;
            scene.heartbeats();
            scene.is_acknowledged(reply());
            let next = scene.worker.due - scene.now;
            assert_eq!(next, Duration::from_millis(expected), "{interval:?}");
        }
    }

    #[test]
    fn a_heartbeat_behind_a_slow_answer_is_timed_from_when_it_was_due() {
        let mut scene = scene(SimulateOptions { interval: Some(SECOND), ..SimulateOptions::default() });
        scene.registers();
        scene.now = scene.worker.due;
        let first = scene.now;
        assert_eq!(scene.worker.waiting_since(scene.now), first);

        scene.now = first + SECOND.mul_f64(1.5);
        scene.is_acknowledged(reply());
        assert_eq!(scene.duty_after(Duration::ZERO), Duty::Heartbeat);
        assert_eq!(scene.worker.waiting_since(scene.now), first + SECOND);

        // A stall of a minute is one late answer, not sixty heartbeats to make up for.
        scene.now = first + 60 * SECOND;
        scene.is_acknowledged(reply());
        scene.is_acknowledged(reply());
        assert_eq!(scene.worker.due, scene.now + SECOND);
    }

    #[test]
    fn an_incarnation_begins_with_everything_and_goes_on_with_nothing_new() {
        let mut scene = scene(SimulateOptions::default());
        scene.registers();
        let first = scene.heartbeats();
        assert_eq!((first.incarnation, first.sequence), (3, 1));
        assert_eq!(first.vms.map(|vms| vms.len()), Some(2));
        assert!(first.used_cpu_cores.is_some_and(|cores| cores > 0));

        scene.is_acknowledged(reply());
        let second = scene.heartbeats();
        assert_eq!((second.sequence, second.vms, second.vms_delta), (2, None, None));

        scene.is_acknowledged(HeartbeatReply { resync: true, ..reply() });
        assert!(scene.heartbeats().vms.is_some());
        scene.registers();
        assert_eq!(scene.heartbeats().sequence, 1);
    }

    #[test]
    fn failures_lead_to_what_helps_against_them() {
        let message = String::new;
        let refused = ClientError::Refused { status: 400, message: message() };
        let unknown = ClientError::Unknown { message: message() };
        let superseded = ClientError::Superseded { message: message() };
        for (error, duty, new_boot) in [
            (unavailable(None), Duty::Heartbeat, false),
            (refused, Duty::Heartbeat, false),
            (unknown, Duty::Register, false),
            (superseded, Duty::Register, true),
        ] {
            let mut scene = scene(SimulateOptions::default());
            scene.registers();
            scene.now = scene.worker.due;
            let boot = scene.worker.registration().boot_id.clone();
            let wait = scene.fails(&error);
            assert!(wait >= SECOND / 2 && wait <= SECOND, "{error}: {wait:?}");
            assert_eq!(scene.duty_after(wait / 2), Duty::Rest, "{error}");
            assert_eq!(scene.duty_after(wait), duty, "{error}");
            let booted = boot != scene.worker.registration().boot_id;
            assert_eq!(booted, new_boot, "{error}");
        }
    }

    #[test]
    fn back_off_grows_to_its_limit_and_starts_over_after_success() {
        let mut scene = scene(SimulateOptions::default());
        scene.registers();
        for longest in [1, 2, 4, 8, 16, 20, 20, 20] {
            let wait = scene.fails(&unavailable(None));
            let longest = longest * SECOND;
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
        }
        scene.is_acknowledged(reply());
        assert!(scene.fails(&unavailable(None)) <= SECOND);
        // A server's own wish is a floor, with the jitter on top: everybody was told the same.
        let wait = scene.fails(&unavailable(Some(7 * SECOND)));
        assert!(wait > 7 * SECOND && wait <= 9 * SECOND, "{wait:?}");
        // But nobody stays away for longer than the server waits before it misses a worker.
        let wait = scene.fails(&unavailable(Some(45 * SECOND)));
        assert!(wait > 10 * SECOND && wait <= 20 * SECOND, "{wait:?}");
    }

    #[test]
    fn an_unreliable_worker_is_silent_for_longer_than_the_time_out_and_returns_as_another_start() {
        let mut scene = scene(SimulateOptions { failures: 100.0, ..SimulateOptions::default() });
        scene.registers();
        let boot = scene.worker.registration().boot_id.clone();
        assert_eq!(scene.duty_after(59 * SECOND), Duty::Heartbeat);
        assert_eq!(scene.duty_after(121 * SECOND), Duty::Rest);
        let silence = scene.worker.due - scene.now;
        assert!(silence > 60 * SECOND && silence <= 120 * SECOND, "{silence:?}");
        assert_eq!(scene.worker.heartbeat(scene.now, &scene.tally), None);

        assert_eq!(scene.duty_after(silence), Duty::Register);
        assert_ne!(scene.worker.registration().boot_id, boot);
        scene.registers();
        assert_eq!(scene.duty_after(Duration::ZERO), Duty::Heartbeat);
        let summary = scene.tally.summary();
        assert_eq!((summary.fell_silent, summary.returned), (1, 1));
        assert_eq!((summary.registrations, summary.registrations_again), (2, 1));
    }

    #[test]
    fn a_heartbeat_may_be_brought_forward_but_not_one_that_backs_off() {
        let mut scene = scene(SimulateOptions::default());
        scene.registers();
        let due = scene.worker.due;
        let early = due - SECOND;
        assert_eq!(scene.worker.duty(early, SECOND, &scene.tally), Duty::Heartbeat);
        scene.now = due - 2 * SECOND;
        scene.fails(&unavailable(None));
        let early = scene.worker.due - SECOND / 4;
        assert_eq!(scene.worker.duty(early, SECOND, &scene.tally), Duty::Rest);
    }

    #[test]
    fn a_server_that_speaks_nonsense_does_not_stop_the_fleet() {
        for (seconds, expected) in [
            (0.0, USUAL_PACE),
            (-1.0, USUAL_PACE),
            (f64::NAN, USUAL_PACE),
            (f64::INFINITY, USUAL_PACE),
            (1e-6, SHORTEST_WAIT),
            (1e9, LONGEST_WAIT),
            (9.5, Duration::from_millis(9_500)),
        ] {
            assert_eq!(wait(seconds, USUAL_PACE), expected, "{seconds}");
        }
    }
}
