//! One simulated worker: decides when it registers, sends heartbeats, falls silent and returns, from the answers of the
//! server.
//!
//! It sends nothing and reads no clock: moments and answers are arguments, so that every rule is tested with values.
//! The [gateway](super::gateway) sends.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::fleet::SimulatedHost;
use super::options::SimulateOptions;
use super::scene::Part;
use super::tally::Tally;
use crate::client::{ClientError, Heartbeat, HeartbeatReply, LifeOf, Registered, Registration, RetryLimits};

/// Limits of the waits that a server asks for: less would be a busy loop, more would look like a hang.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Used where the server's answer is no duration.
const USUAL_PACE: Duration = Duration::from_secs(10);
const USUAL_OFFLINE_AFTER: Duration = Duration::from_secs(60);

/// The longest wait after the first failure in a row: short, so that a worker does not become offline by one failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// For how long unreliable workers report, and for how long they are silent then, in units of the server's time-out: a
/// silence is always long enough to make them offline.
const LIFE_SPANS: Range<f64> = 1.0..3.0;
const SILENCE_SPANS: Range<f64> = 1.2..2.0;

/// For how long a worker that a scene has silenced is silent: until nobody looks any more.
const SILENT_IN_SCENE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Wait,
    Register,
    Heartbeat,
}

#[derive(Clone, Copy, Debug)]
enum WorkerState {
    /// The server does not know this start of the process.
    Unregistered,
    /// The server knows it.
    Registered { incarnation: u64, sequence: u64 },
    /// The process has ended; the worker is due when it starts again.
    Silent,
}

/// A simulated worker.
pub(super) struct SimulatedWorker {
    host: SimulatedHost,
    life: WorkerState,
    /// Part of the boot ids, different in each simulation.
    run: Arc<str>,
    boots: u64,
    /// Whether it was ever registered.
    known: bool,
    /// Incarnation and boot id of the last registration.
    last_life: Option<(u64, String)>,
    /// When its next action is due.
    due: Instant,
    /// When its last request was answered.
    answered: Instant,
    /// When time last passed for its VMs.
    churned: Instant,
    churn: f64,
    /// The share of VMs that stop every minute while it is drained.
    evacuation: f64,
    /// The drain that the scene wants, until it was asked for.
    drain: Option<(&'static str, Duration)>,
    /// Whether its part in the scene has begun.
    plays: bool,
    /// The configured interval; without one, the `server_pace` counts.
    interval: Option<Duration>,
    /// The interval that the server asked for last.
    server_pace: Duration,
    /// Where in the first interval its first heartbeat is, from 0 to 1.
    phase: f64,
    offline_after: Duration,
    /// The longest waits, which are those of a real agent.
    limits: RetryLimits,
    silent_at: Option<Instant>,
    /// Failed requests in a row.
    failures: u32,
    draining: bool,
    /// The revision of the policy that it was told of, which it repeats.
    policy_revision: Option<u64>,
}

impl SimulatedWorker {
    /// A worker whose process starts now, and which registers at once.
    pub(super) fn new(host: SimulatedHost, run: Arc<str>, phase: f64, options: &SimulateOptions, now: Instant) -> Self {
        let mut worker = Self {
            host,
            life: WorkerState::Unregistered,
            run,
            boots: 0,
            known: false,
            last_life: None,
            due: now,
            answered: now,
            churned: now,
            churn: options.churn,
            evacuation: options.scene.evacuation.max(options.churn),
            drain: None,
            plays: false,
            interval: options.interval,
            server_pace: USUAL_PACE,
            phase,
            offline_after: USUAL_OFFLINE_AFTER,
            limits: RetryLimits::default(),
            silent_at: None,
            failures: 0,
            draining: false,
            policy_revision: None,
        };
        // Hosts are never restarted: their VMs keep running when the worker's process restarts.
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

    /// The last life that was registered, for its deregistration; none if it never was.
    pub(super) fn last_life(&self) -> Option<LifeOf<'_>> {
        self.last_life.as_ref().map(|(incarnation, boot_id)| LifeOf::Process { incarnation: *incarnation, boot_id })
    }

    /// When to ask for its [`Self::next_action`].
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The interval of its heartbeats.
    pub(super) fn pace(&self) -> Duration {
        self.interval.unwrap_or(self.server_pace)
    }

    /// The action at a moment. A heartbeat that is due within `slack` is sent early, together with those of others.
    pub(super) fn next_action(&mut self, now: Instant, slack: Duration, tally: &Tally) -> Action {
        match self.life {
            WorkerState::Unregistered if self.due <= now => Action::Register,
            WorkerState::Silent if self.due <= now => {
                tally.returned();
                self.boot();
                Action::Register
            }
            WorkerState::Registered { .. } if self.silent_at.is_some_and(|silent_at| silent_at <= now) => {
                tally.fell_silent();
                self.life = WorkerState::Silent;
                self.silent_at = None;
                self.due = match self.host.part {
                    Some(Part::Silent) => now + SILENT_IN_SCENE,
                    Some(Part::Drained { .. }) | None => now + self.random_time(SILENCE_SPANS),
                };
                Action::Wait
            }
            WorkerState::Registered { .. } if self.due <= now => Action::Heartbeat,
            // A backoff is not shortened by the slack.
            WorkerState::Registered { .. } if self.failures == 0 && self.due <= now + slack => Action::Heartbeat,
            WorkerState::Unregistered | WorkerState::Registered { .. } | WorkerState::Silent => Action::Wait,
        }
    }

    /// The registration was accepted.
    pub(super) fn registered(&mut self, now: Instant, answer: &Registered, tally: &Tally) {
        tally.registered(self.known);
        self.server_pace = sane_duration(answer.heartbeat_interval_seconds, USUAL_PACE);
        self.offline_after = sane_duration(answer.offline_after_seconds, USUAL_OFFLINE_AFTER);
        self.limits = RetryLimits::under(self.offline_after);
        let (incarnation, sequence) = (answer.incarnation, answer.last_sequence.unwrap_or(0));
        self.life = WorkerState::Registered { incarnation, sequence };
        self.host.registration.last_incarnation = Some(incarnation);
        self.last_life = Some((incarnation, self.host.registration.boot_id.clone()));
        self.policy_revision = answer.policy_revision;
        self.host.inventory.owe_full_report();
        self.failures = 0;
        self.answered = now;
        self.churned = now;
        // A scene is set up at once.
        let starts_now = self.known || self.host.part.is_some();
        self.due = if starts_now { now } else { now + self.pace().mul_f64(self.phase) };
        self.known = true;
        if self.host.unreliable && self.silent_at.is_none() {
            self.silent_at = Some(now + self.random_time(LIFE_SPANS));
        }
    }

    /// Lets time pass for its VMs, and makes the next heartbeat; none if the worker is not registered.
    pub(super) fn heartbeat(&mut self, now: Instant, tally: &Tally) -> Option<Heartbeat> {
        let WorkerState::Registered { incarnation, ref mut sequence } = self.life else {
            return None;
        };
        *sequence += 1;
        let boot_id = Some(self.host.registration.boot_id.clone());
        let policy_revision = self.policy_revision;
        let mut heartbeat =
            Heartbeat { incarnation, boot_id, sequence: *sequence, policy_revision, ..Heartbeat::default() };
        let elapsed = now.saturating_duration_since(self.churned);
        self.churned = now;
        let SimulatedHost { inventory, load, part, rng, .. } = &mut self.host;
        if let Some(Part::Drained { note, .. }) = part {
            inventory.hold_back(self.draining.then_some(note));
        }
        let churn = if self.draining { self.evacuation } else { self.churn };
        tally.churned(inventory.churn(churn, elapsed, !self.draining, rng));
        inventory.report(&mut heartbeat);
        heartbeat.measured = Some(load.after(elapsed, inventory.used()));
        Some(heartbeat)
    }

    /// From when on the latency of a heartbeat that is sent now is measured.
    ///
    /// With a configured interval, the heartbeat may be late because the last answer was slow. It is measured from when
    /// it was due then: otherwise a slow server would slow the fleet down, and its latencies would look better for
    /// that.
    pub(super) fn waiting_since(&self, now: Instant) -> Instant {
        if self.due < self.answered { self.due } else { now }
    }

    /// The heartbeat was acknowledged.
    pub(super) fn acknowledged(&mut self, now: Instant, reply: &HeartbeatReply) {
        self.server_pace = sane_duration(reply.next_heartbeat_seconds, USUAL_PACE);
        self.draining = reply.policy == "draining";
        self.policy_revision = reply.policy_revision;
        match (reply.last_sequence, &mut self.life) {
            // It came late, and nothing in it counted.
            (Some(last), WorkerState::Registered { sequence, .. }) => {
                *sequence = last.max(*sequence);
                self.host.inventory.owe_full_report();
            }
            (Some(_), WorkerState::Unregistered | WorkerState::Silent) | (None, _) => {
                self.host.inventory.acknowledged()
            }
        }
        if reply.resync {
            self.host.inventory.owe_full_report();
        }
        // What it holds is known now.
        if !std::mem::replace(&mut self.plays, true) {
            match self.host.part {
                Some(Part::Drained { reason, deadline, .. }) => self.drain = Some((reason, deadline)),
                Some(Part::Silent) => self.silent_at = Some(now),
                None => {}
            }
        }
        self.failures = 0;
        self.answered = now;
        self.due = match self.interval {
            None => now + self.server_pace,
            // Keeps the interval exactly, but sends one heartbeat after a stall, and not all that were missed.
            Some(interval) if self.due + interval * 2 < now => now,
            Some(interval) => self.due + interval,
        };
    }

    /// The drain that an operator has to ask for now, with its reason and its deadline; each once.
    pub(super) fn take_drain(&mut self) -> Option<(&'static str, Duration)> {
        self.drain.take()
    }

    /// The registration or the heartbeat has failed.
    pub(super) fn failed(&mut self, now: Instant, error: &ClientError) {
        let mut pause = Duration::ZERO;
        match error {
            ClientError::Unknown { .. } => self.life = WorkerState::Unregistered,
            // A real agent ends, and leaves the id to the other process. Here it registers again, so that the fleet
            // does not shrink unnoticed.
            ClientError::Superseded { .. } => self.boot(),
            // The next heartbeat repeats what this one reported.
            ClientError::Refused { .. } | ClientError::Url { .. } => {}
            ClientError::Unavailable { retry_after, .. } => {
                pause = self.limits.granted(*retry_after);
            }
        }
        self.answered = now;
        self.due = now + pause + self.backoff(self.limits.longest_backoff - pause);
        self.failures = self.failures.saturating_add(1);
    }

    /// Restarts the worker's process. The VMs of the host keep running.
    fn boot(&mut self) {
        self.boots += 1;
        self.host.registration.boot_id = format!("{}-{}", self.run, self.boots);
        self.life = WorkerState::Unregistered;
    }

    /// The backoff: it doubles with every failure in a row, up to the longest one, and half of it is random, so that
    /// workers that failed together do not come back together. A fleet with a short interval, for a load test, also has
    /// a short backoff.
    fn backoff(&mut self, longest: Duration) -> Duration {
        let doubled = FIRST_BACKOFF.min(self.pace()).saturating_mul(1 << self.failures.min(16));
        doubled.min(longest).mul_f64(self.host.rng.random_range(0.5..1.0)).max(SHORTEST_WAIT)
    }

    fn random_time(&mut self, range: Range<f64>) -> Duration {
        self.offline_after.mul_f64(self.host.rng.random_range(range))
    }
}

/// A duration from the server, within limits; `usual` if it is none.
fn sane_duration(seconds: f64, usual: Duration) -> Duration {
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) | Err(_) => usual,
        Ok(duration) => duration.clamp(SHORTEST_WAIT, LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::simulate::fleet;

    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        worker: SimulatedWorker,
        tally: Tally,
        now: Instant,
    }

    /// A worker whose first heartbeat falls into the interval at a quarter of it.
    fn scene(options: SimulateOptions) -> Scene {
        let options = SimulateOptions { workers: 1, vms_per_worker: 2, churn: 0.0, ..options };
        let now = Instant::now();
        let host = fleet::generate_fleet(&options).remove(0);
        Scene {
            worker: SimulatedWorker::new(host, "run".into(), 0.25, &options, now),
            tally: Tally::new(&options),
            now,
        }
    }

    impl Scene {
        fn registers(&mut self) {
            let answer = Registered {
                incarnation: 3,
                heartbeat_interval_seconds: 8.0,
                offline_after_seconds: 60.0,
                last_sequence: None,
                policy_revision: None,
                revision: 1,
            };
            self.worker.registered(self.now, &answer, &self.tally);
        }

        fn duty_after(&mut self, wait: Duration) -> Action {
            self.now += wait;
            self.worker.next_action(self.now, Duration::ZERO, &self.tally)
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
            policy_revision: None,
            drain_reason: None,
            drain_deadline_at: None,
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
        assert_eq!(scene.duty_after(Duration::ZERO), Action::Register);
        scene.registers();
        assert_eq!(scene.duty_after(SECOND), Action::Wait);
        assert_eq!(scene.duty_after(SECOND), Action::Heartbeat);
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
        assert_eq!(scene.duty_after(Duration::ZERO), Action::Heartbeat);
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
        for (error, next_action, new_boot) in [
            (unavailable(None), Action::Heartbeat, false),
            (refused, Action::Heartbeat, false),
            (unknown, Action::Register, false),
            (superseded, Action::Register, true),
        ] {
            let mut scene = scene(SimulateOptions::default());
            scene.registers();
            scene.now = scene.worker.due;
            let boot = scene.worker.registration().boot_id.clone();
            let wait = scene.fails(&error);
            assert!(wait >= SECOND / 2 && wait <= SECOND, "{error}: {wait:?}");
            assert_eq!(scene.duty_after(wait / 2), Action::Wait, "{error}");
            assert_eq!(scene.duty_after(wait), next_action, "{error}");
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
        // `Retry-After` is a floor, with the jitter on top of it, since all workers got the same one.
        let wait = scene.fails(&unavailable(Some(7 * SECOND)));
        assert!(wait > 7 * SECOND && wait <= 9 * SECOND, "{wait:?}");
        // But the wait is never so long that the worker becomes offline.
        let wait = scene.fails(&unavailable(Some(45 * SECOND)));
        assert!(wait > 10 * SECOND && wait <= 20 * SECOND, "{wait:?}");
    }

    #[test]
    fn an_unreliable_worker_is_silent_for_longer_than_the_time_out_and_returns_as_another_start() {
        let mut scene = scene(SimulateOptions { failures: 100.0, ..SimulateOptions::default() });
        scene.registers();
        let boot = scene.worker.registration().boot_id.clone();
        assert_eq!(scene.duty_after(59 * SECOND), Action::Heartbeat);
        assert_eq!(scene.duty_after(121 * SECOND), Action::Wait);
        let silence = scene.worker.due - scene.now;
        assert!(silence > 60 * SECOND && silence <= 120 * SECOND, "{silence:?}");
        assert_eq!(scene.worker.heartbeat(scene.now, &scene.tally), None);

        assert_eq!(scene.duty_after(silence), Action::Register);
        assert_ne!(scene.worker.registration().boot_id, boot);
        scene.registers();
        assert_eq!(scene.duty_after(Duration::ZERO), Action::Heartbeat);
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
        assert_eq!(scene.worker.next_action(early, SECOND, &scene.tally), Action::Heartbeat);
        scene.now = due - 2 * SECOND;
        scene.fails(&unavailable(None));
        let early = scene.worker.due - SECOND / 4;
        assert_eq!(scene.worker.next_action(early, SECOND, &scene.tally), Action::Wait);
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
            assert_eq!(sane_duration(seconds, USUAL_PACE), expected, "{seconds}");
        }
    }
}
