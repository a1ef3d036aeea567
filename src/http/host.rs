//! By what name we are asked, which tells a page of the internet that pretends to be ours.
//!
//! A page may have its own name resolve to 127.0.0.1 once it is loaded (DNS rebinding). To the browser it then asks its
//! own origin, and no rule about origins helps; but the request still carries the page's name as its `Host`, and, since
//! it has to reach our port, that port. A proxy in front of us passes its public name, which has another port or none:
//! so those who come by a proxy are not concerned.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header, uri::Authority};

/// What a `Host` without a port means.
const DEFAULT_PORT: u16 = 80;

/// The name by which a server that only this machine can reach, on this port, is asked, if it is neither this machine's
/// nor allowed.
pub(super) fn foreign_name(uri: &Uri, headers: &HeaderMap, port: u16, allowed: &[String]) -> Option<String> {
    // Nearly always it is the first.
    let host = headers.iter().find(|(name, _)| *name == header::HOST).and_then(|(_, host)| host.to_str().ok());
    // HTTP/2 carries the host in the URI, HTTP/1.1 in a header.
    let host = host.or_else(|| uri.authority().map(Authority::as_str))?;
    // Quickly seen: another port than ours, and an address, which nearly everybody has that asks by our port.
    let may_be_our_port =
        port == DEFAULT_PORT || host.rsplit_once(':').is_some_and(|(_, digits)| digits.parse() == Ok(port));
    if !may_be_our_port || host.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let authority = host.parse::<Authority>().ok()?;
    if authority.port_u16().unwrap_or(DEFAULT_PORT) != port {
        return None;
    }
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let is_ours = is_address
        || name == "localhost"
        || name.ends_with(".localhost")
        || allowed.iter().any(|allowed| allowed.trim_end_matches('.').eq_ignore_ascii_case(&name));
    (!is_ours).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_internet_that_come_by_our_port_are_foreign() {
        let allowed = ["ops.example.com".to_owned()];
        for (host, foreign) in [
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("192.168.1.7:8080", None),
            ("localhost:8080", None),
            ("LocalHost.:8080", None),
            ("aetherium.localhost:8080", None),
            ("ops.example.com:8080", None),
            ("OPS.example.com.:8080", None),
            ("evil.example:8080", Some("evil.example")),
            ("Evil.Example.:8080", Some("evil.example")),
            ("localhost.evil.example:8080", Some("localhost.evil.example")),
            ("127.0.0.1.evil.example:8080", Some("127.0.0.1.evil.example")),
            // A proxy's, which has a port of its own.
            ("fleet.example.com", None),
            ("fleet.example.com:8443", None),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            let found = foreign_name(&Uri::from_static("/"), &headers, 8080, &allowed);
            assert_eq!(found.as_deref(), foreign, "{host}");
            let uri = format!("http://{host}/").parse().unwrap();
            assert_eq!(foreign_name(&uri, &HeaderMap::new(), 8080, &allowed).as_deref(), foreign, "{host} in HTTP/2");
        }
        assert_eq!(foreign_name(&Uri::from_static("/"), &HeaderMap::new(), 8080, &allowed), None, "HTTP/1.0");
        let headers = HeaderMap::from_iter([(header::HOST, "evil.example".parse().unwrap())]);
        assert_eq!(foreign_name(&Uri::from_static("/"), &headers, 80, &[]).as_deref(), Some("evil.example"));
    }
}
