//! The address of a client behind proxies: the one that the last proxy of ours has written into `X-Forwarded-For`.
//!
//! Anybody can send that header, so it counts only as far as proxies that the operator trusts have written it. Each of
//! them appends the address of whom it got the request from: read from the end, the first address that is not one of
//! a trusted proxy is the client's.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request that this peer has sent, if proxies in these networks are trusted.
pub fn forwarded_client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer;
    let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut forwarded = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(client) {
        // What is no address was written by somebody whom no proxy of ours vouches for.
        let Some(before) = forwarded.next().and_then(|text| str::from_utf8(text).ok()).and_then(address) else { break };
        client = before;
    }
    client
}

/// An address as proxies write it: alone, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let alone = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = alone.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_trusted_proxies_have_written_counts() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        for (peer, sent, client) in [
            ("10.0.0.1", &["192.0.2.7"][..], "192.0.2.7"),
            ("10.0.0.1", &["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["192.0.2.7:1234"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db8::1]:1234"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            // Nobody vouches for it.
            ("192.0.2.7", &["6.6.6.6"], "192.0.2.7"),
            ("192.0.2.7", &["10.0.0.1"], "192.0.2.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ] {
            let headers = sent.iter().map(|value| (X_FORWARDED_FOR, HeaderValue::from_static(value))).collect();
            let found = forwarded_client(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(found.to_string(), client, "{peer} {sent:?}");
        }
    }
}
