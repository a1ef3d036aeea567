//! How operators write what they want: durations and addresses, as every command reads them.
//!
//! What a setting means, and its default, is said where it is used.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use go_duration::GoDuration;

/// Reads a duration as people write it and as the API writes uptimes: `500ms`, `10s`, `1h30m`. Nothing is none.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let GoDuration(nanoseconds) = text.parse().map_err(|_| "a duration looks like 500ms, 10s or 3m".to_owned())?;
    match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => Err("a duration has to be longer than nothing".to_owned()),
        Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
    }
}

/// Reads an address to listen on. Names are not looked up, but for the one that everybody knows.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| "an address looks like 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// Whether only this machine can reach it.
pub fn is_loopback(address: SocketAddr) -> bool {
    // `::ffff:127.0.0.1` is 127.0.0.1 in the other family's clothes.
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("10s", Some(Duration::from_secs(10))),
            ("3m", Some(Duration::from_secs(180))),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("0s", None),
            ("-1s", None),
            ("10", None),
            ("soon", None),
        ] {
            assert_eq!(positive_duration(text).ok(), expected, "{text:?}");
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
