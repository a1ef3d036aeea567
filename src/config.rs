//! How settings are written: durations and addresses, as all commands parse and show them.
//!
//! What a setting means, and its default, is not here but where it is used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use go_duration::GoDuration;
use ipnet::IpNet;

/// A duration of the command line, with a default that is shown as an operator would write it: `168h`, `60s`, `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationSetting(pub Duration);

impl FromStr for DurationSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        positive_duration(text).map(Self)
    }
}

impl fmt::Display for DurationSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        if milliseconds.is_multiple_of(60 * 60 * 1_000) {
            write!(f, "{}h", milliseconds / (60 * 60 * 1_000))
        } else if milliseconds.is_multiple_of(1_000) {
            write!(f, "{}s", milliseconds / 1_000)
        } else {
            write!(f, "{milliseconds}ms")
        }
    }
}

/// Parses a duration as people write it and as the API writes uptimes: `500ms`, `10s`, `1h30m`; also days and weeks, of
/// 24 and 168 hours: `30d`, `1w3d12h`. Zero is refused.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let (longer, rest) = days_and_weeks(text).ok_or_else(|| NO_DURATION.to_owned())?;
    let rest = if rest.is_empty() && !longer.is_zero() { "0s" } else { &rest };
    let GoDuration(nanoseconds) = rest.parse().map_err(|_| NO_DURATION.to_owned())?;
    let longest = || "a duration has at most 100 years".to_owned();
    let shorter = u64::try_from(nanoseconds).map_err(|_| "a duration has to be longer than nothing".to_owned())?;
    match longer.checked_add(Duration::from_nanos(shorter)).ok_or_else(longest)? {
        Duration::ZERO => Err("a duration has to be longer than nothing".to_owned()),
        duration if duration > LONGEST => Err(longest()),
        duration => Ok(duration),
    }
}

const NO_DURATION: &str = "a duration looks like 500ms, 10s, 3m, 1h30m, 30d or 2w";

/// A moment further away from now than this may be outside of the range of a [`Timestamp`](crate::clock::Timestamp).
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

const DAY: f64 = 24.0 * 60.0 * 60.0;

/// The days and weeks of a duration, which Go's syntax does not have, and the rest of its text. None if a number of
/// them cannot be parsed.
fn days_and_weeks(text: &str) -> Option<(Duration, String)> {
    let (mut longer, mut others, mut rest) = (Duration::ZERO, String::new(), text);
    while !rest.is_empty() {
        let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').filter(|end| *end > 0);
        // A sign, or nonsense: left to the parser of the rest.
        let Some(end) = number else {
            others.push_str(rest);
            break;
        };
        let (number, after) = rest.split_at(end);
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "d" => Some(DAY),
            "w" => Some(7.0 * DAY),
            _ => None,
        };
        match seconds {
            Some(seconds) => {
                let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
                longer = longer.checked_add(part)?;
            }
            None => others.extend([number, unit]),
        }
        rest = after;
    }
    Some((longer, others))
}

/// Parses an address to listen on. Names are not looked up; only `localhost` is known.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| "an address looks like 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// Parses a network, such as `10.0.0.0/8`, or one address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(alone);
    network.map(|network| network.trunc()).ok_or_else(|| "a network looks like 10.0.0.0/8 or 2001:db8::/32".to_owned())
}

/// Whether only this machine can reach it.
pub fn is_loopback(address: SocketAddr) -> bool {
    // `::ffff:127.0.0.1` is 127.0.0.1, mapped into IPv6.
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_shown_as_it_would_be_written() {
        for text in ["168h", "60s", "10s", "1500ms", "1h"] {
            let setting: DurationSetting = text.parse().unwrap();
            assert_eq!(setting.to_string(), text);
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("10s", Some(Duration::from_secs(10))),
            ("3m", Some(Duration::from_secs(180))),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("30d", Some(Duration::from_secs(30 * 86_400))),
            ("2w", Some(Duration::from_secs(14 * 86_400))),
            ("1w3d12h", Some(Duration::from_secs(10 * 86_400 + 12 * 3_600))),
            ("1d30m500ms", Some(Duration::from_millis(86_400_000 + 1_800_500))),
            ("0.5d", Some(Duration::from_secs(43_200))),
            ("0d1s", Some(Duration::from_secs(1))),
            ("100w", Some(Duration::from_secs(700 * 86_400))),
            ("0d", None),
            ("d", None),
            ("-1d", None),
            ("1d-1h", None),
            ("1d5", None),
            ("5d ", None),
            (" 5d", None),
            ("1.2.3d", None),
            ("30D", None),
            ("30days", None),
            ("1y", None),
            ("", None),
            ("99999999999999999999d", None),
            ("200000000w", None),
            ("999999h", None),
            ("0s", None),
            ("-1s", None),
            ("10", None),
            ("soon", None),
        ] {
            assert_eq!(positive_duration(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_network_is_written_with_its_prefix_or_is_one_address() {
        for (text, expected) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("2001:db8::1", Some("2001:db8::1/128")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("10.0.0", None),
            ("proxy", None),
            ("", None),
        ] {
            assert_eq!(network(text).ok().map(|network| network.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn only_this_machine_reaches_a_loopback_address() {
        for (text, expected) in [
            ("127.0.0.1:8080", Some(true)),
            ("127.9.9.9:0", Some(true)),
            ("localhost:8080", Some(true)),
            ("[::1]:8080", Some(true)),
            ("[::ffff:127.0.0.1]:8080", Some(true)),
            ("0.0.0.0:8080", Some(false)),
            ("[::]:8080", Some(false)),
            ("10.0.0.5:8080", Some(false)),
            ("127.0.0.1", None),
            (":8080", None),
            ("localhost", None),
            ("example.com:80", None),
            ("127.0.0.1:65536", None),
            ("", None),
        ] {
            assert_eq!(listen_address(text).ok().map(is_loopback), expected, "{text:?}");
        }
    }
}
