//! Backoff: how long to wait after a failed request, and what is logged of an outage. The longest wait is a value of
//! [`RetryLimits`]; which server is tried next is decided in `servers`.

use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::client::{ClientError, RetryLimits};

/// The longest wait after the first failure: about as long as a restart of the server takes.
const FIRST_CEILING: Duration = Duration::from_secs(1);

/// An outage: failed requests in a row. It is logged when it begins and when it ends, not with every failure.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
    since: Option<Instant>,
    /// Whether it was logged that it is about TLS, which somebody has to mend. It may become so: a server that is away is
    /// back with another certificate.
    is_about_tls: bool,
}

impl Backoff {
    /// Counts a failed request, and answers how long to wait before the next one.
    pub(super) fn failed(&mut self, id: &str, error: &ClientError, limits: &RetryLimits) -> Duration {
        let retry_after = match error {
            ClientError::Unavailable { retry_after, .. } => *retry_after,
            ClientError::Unknown { .. }
            | ClientError::Superseded { .. }
            | ClientError::Refused { .. }
            | ClientError::Url { .. } => None,
        };
        let delay = delay(self.attempts, limits, retry_after, rand::random());
        self.attempts = self.attempts.saturating_add(1);
        let is_about_tls = error.is_about_tls() && !std::mem::replace(&mut self.is_about_tls, true);
        if self.since.is_none() || is_about_tls {
            self.since.get_or_insert_with(Instant::now);
            warn!(worker.id = %id, %error, "Worker {id} is not heard, trying until it is");
        } else {
            debug!(worker.id = %id, %error, attempts = self.attempts, "Worker {id} is still not heard");
        }
        delay
    }

    /// How long to wait before a server is tried that was discovered during the outage.
    pub(super) fn delay_before_new_server(roll: f64) -> Duration {
        FIRST_CEILING.mul_f64(roll.clamp(0.0, 1.0))
    }

    /// Whether there is an outage.
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Ends the outage: a request was answered.
    pub(super) fn over(&mut self, id: &str) {
        if let Self { attempts, since: Some(since), .. } = std::mem::take(self) {
            let seconds = since.elapsed().as_secs();
            info!(worker.id = %id, attempts, seconds, "Worker {id} is heard again after {seconds} s");
        }
    }
}

/// A random delay up to a ceiling that doubles with each failure (full jitter), so that workers that have lost a server
/// together do not return together. `Retry-After` of the server is added to it, and does not replace it, for the same
/// reason. The sum stays within the limits, since a worker that is silent for longer is announced offline.
fn delay(attempts: u32, limits: &RetryLimits, retry_after: Option<Duration>, roll: f64) -> Duration {
    let floor = limits.granted(retry_after);
    let ceiling = FIRST_CEILING.saturating_mul(2_u32.saturating_pow(attempts)).min(limits.longest_backoff - floor);
    floor + ceiling.mul_f64(roll.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> RetryLimits {
        RetryLimits::under(Duration::from_secs(60))
    }

    #[test]
    fn the_ceiling_doubles_up_to_a_third_of_the_time_out() {
        for (attempts, seconds) in [(0, 1), (1, 2), (2, 4), (4, 16), (5, 20), (6, 20), (u32::MAX, 20)] {
            assert_eq!(
                delay(attempts, &limits(), None, 1.0),
                Duration::from_secs(seconds),
                "after {attempts} attempts"
            );
        }
    }

    #[test]
    fn the_delay_is_anywhere_below_the_ceiling() {
        for (roll, millis) in [(0.0, 0), (0.25, 1000), (0.5, 2000)] {
            assert_eq!(delay(2, &limits(), None, roll), Duration::from_millis(millis));
        }
    }

    #[test]
    fn a_servers_wish_is_the_least_to_wait_but_not_for_ever() {
        for (wish, roll, seconds) in [(7, 0.0, 7), (7, 1.0, 8), (86_400, 0.0, 10), (86_400, 1.0, 11)] {
            assert_eq!(delay(0, &limits(), Some(Duration::from_secs(wish)), roll), Duration::from_secs(seconds));
        }
    }

    proptest! {
        /// The server's grace after a start or an outage is one time-out: see `liveness_sweeper`.
        #[test]
        fn whatever_the_time_out_a_worker_is_heard_within_the_grace_of_a_server_that_is_back(
            exponent in 0.0..9.0_f64,
            attempts in any::<u32>(),
            wish in proptest::option::of(any::<u32>()),
            roll in 0.0..=1.0_f64,
        ) {
            // Of any order of magnitude, from milliseconds to weeks.
            let offline_after = Duration::from_secs_f64(10_f64.powf(exponent) / 1_000.0);
            let limits = RetryLimits::under(offline_after);
            let wish = wish.map(|seconds| Duration::from_secs(seconds.into()));
            // Since the server is back: an attempt that began too early and hangs, the wait after it, the list of VMs.
            let silence = limits.request_timeout + delay(attempts, &limits, wish, roll) + limits.inventory_timeout;
            prop_assert!(silence <= offline_after * 3 / 4, "{silence:?} of {offline_after:?}");
            // Or it has not noticed anything, and waits for its next heartbeat.
            let silence = limits.longest_pace + limits.inventory_timeout;
            prop_assert!(silence <= offline_after * 3 / 4, "{silence:?} of {offline_after:?}");
        }
    }

    #[test]
    fn an_outage_that_is_over_starts_from_the_beginning() {
        let error = ClientError::Unknown { message: String::new() };
        let mut outage = Backoff::default();
        for _ in 0..5 {
            outage.failed("w1", &error, &limits());
        }
        outage.over("w1");
        assert_eq!((outage.attempts, outage.since), (0, None));
        assert!(outage.failed("w1", &error, &limits()) <= FIRST_CEILING);
    }
}
