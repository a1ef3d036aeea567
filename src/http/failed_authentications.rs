//! The limit on failed authentication: how many requests of one address may come with a credential that is not accepted
//! until they are answered with 429 instead of 401.
//!
//! Who is accepted is never refused here, so that nobody can lock out others who share their address. To guess a token
//! is hopeless with or without a limit; the limit keeps a client that does not stop from filling the log, and its number
//! of failures is what the audit trail tells once a minute.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::auth::NoCredential;
use crate::metrics::{Counter, Family, Source};

/// Failures of one address that are answered with 401 at once, and as many more in each minute, unless told otherwise.
pub(super) const FAILURES_PER_MINUTE: u32 = 60;

/// Addresses that are counted each for itself, of some 100 bytes each. Those beyond share one count.
const MAX_ADDRESSES: usize = 10_000;

/// How often addresses that have not failed lately are forgotten, while there are too many.
const FORGET_PERIOD: Duration = Duration::from_secs(1);

/// Failed authentications by address.
#[derive(Debug)]
pub struct FailedAuthentications {
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    of_the_rest: DefaultDirectRateLimiter,
    clock: DefaultClock,
    recent: Mutex<Recent>,
    /// For monitoring: all requests of nobody, also those with nothing that could be a guess.
    by_reason: [Counter; NoCredential::ALL.len()],
}

#[derive(Debug)]
struct Recent {
    forgotten_at: Instant,
    /// How many there were since they were last told, and where the last came from.
    untold: u64,
    last: Option<IpAddr>,
}

impl Default for FailedAuthentications {
    fn default() -> Self {
        Self::limited(FAILURES_PER_MINUTE)
    }
}

impl FailedAuthentications {
    /// None so far, of which as many as this are answered with 401 at once, and as many more in each minute.
    pub fn limited(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            by_address: RateLimiter::keyed(quota),
            of_the_rest: RateLimiter::direct(quota),
            clock: DefaultClock::default(),
            recent: Mutex::new(Recent { forgotten_at: Instant::now(), untold: 0, last: None }),
            by_reason: Default::default(),
        }
    }

    /// Counts a request of nobody for monitoring, which has no limit.
    pub fn count_reason(&self, why: NoCredential) {
        if let Some(counter) = self.by_reason.get(why as usize) {
            counter.increment();
        }
    }

    /// Counts a failure of an address. The error says when the address has fewer of them again.
    pub fn count(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.untold += 1;
            recent.last = address;
            if self.by_address.len() >= MAX_ADDRESSES && recent.forgotten_at.elapsed() >= FORGET_PERIOD {
                self.by_address.retain_recent();
                recent.forgotten_at = Instant::now();
            }
        }
        let counted = match address {
            Some(address) if self.by_address.len() < MAX_ADDRESSES => self.by_address.check_key(&network_of(address)),
            Some(_) | None => self.of_the_rest.check(),
        };
        counted.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Takes back what could not be told.
    pub fn put_back(&self, count: u64, last: Option<IpAddr>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.untold += count;
        recent.last = recent.last.or(last);
    }

    /// How many failures there were since this was last asked, and the address of the last one.
    pub fn take(&self) -> (u64, Option<IpAddr>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut recent.untold), recent.last.take())
    }
}

impl Source for FailedAuthentications {
    fn collect(&self, families: &mut Vec<Family>) {
        let help = "Requests that were refused because nobody knows who sent them.";
        let mut failures = Family::counter("aetherium_auth_failures", help);
        for (why, counter) in NoCredential::ALL.into_iter().zip(&self.by_reason) {
            failures.add([("reason", why.word().into())], counter.get() as f64);
        }
        families.push(failures);
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since one client has all the rest.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(failures: &FailedAuthentications, address: &str) -> bool {
        failures.count(Some(address.parse().unwrap())).is_err()
    }

    #[test]
    fn each_address_has_its_own_failures() {
        let failures = FailedAuthentications::default();
        for _ in 0..FAILURES_PER_MINUTE {
            assert!(!refused(&failures, "192.0.2.1"));
        }
        let wait = failures.count(Some("192.0.2.1".parse().unwrap())).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(refused(&failures, "::ffff:192.0.2.1"));
        assert!(!refused(&failures, "192.0.2.2"));
        let told = (u64::from(FAILURES_PER_MINUTE) + 3, Some("192.0.2.2".parse().unwrap()));
        assert_eq!((failures.take(), failures.take()), (told, (0, None)));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let failures = FailedAuthentications::default();
        let counted = (0..1_000).filter(|host| !refused(&failures, &format!("2001:db8::{host:x}"))).count();
        // One more may be let in for each second that the loop takes.
        assert!((60..70).contains(&counted), "{counted}");
        assert!(!refused(&failures, "2001:db8:0:1::1"));
    }

    #[test]
    fn the_memory_of_failures_is_bounded() {
        let failures = FailedAuthentications::default();
        for number in 0..1_000_000_u32 {
            _ = failures.count(Some(IpAddr::from(number.to_be_bytes())));
        }
        assert!(failures.by_address.len() <= MAX_ADDRESSES, "{}", failures.by_address.len());
    }
}
