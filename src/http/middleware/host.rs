//! By what name we are asked, which tells a page of the internet that pretends to be ours.
//!
//! A page may have its own name resolve to 127.0.0.1 once it is loaded (DNS rebinding). To the browser it then asks its
//! own origin, and no rule about origins helps; but the request still carries the page's name as its `Host`, and, since
//! it has to reach our port, that port. A proxy in front of us passes its public name, which has another port or none:
//! so those who come by a proxy are not concerned.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, Version, header, uri::Authority};

/// What a `Host` without a port means.
const DEFAULT_PORT: u16 = 80;

/// The name by which a server that only this machine can reach, on this port, is asked, if it is neither this machine's
/// nor allowed.
pub fn foreign_name(uri: &Uri, headers: &HeaderMap, port: u16, allowed: &[String]) -> Option<String> {
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

/// What is wrong with the host that a request names, if anything: it names exactly one. Without one, or with two, a
/// proxy and this server may take it for different hosts (RFC 9112, 3.2; RFC 9113, 8.3.1).
pub fn malformed(version: Version, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.iter().filter(|(name, _)| *name == header::HOST).map(|(_, host)| host.as_bytes());
    let (host, other) = (hosts.next(), hosts.next());
    if other.is_some() {
        return Some("The request has more than one Host");
    }
    match (version, uri.authority(), host) {
        (Version::HTTP_09 | Version::HTTP_10, _, None) => None,
        (Version::HTTP_2, Some(_), None) => None,
        (Version::HTTP_2, Some(authority), Some(host)) if !same(authority.as_str().as_bytes(), host) => {
            Some("The request names two hosts: one in `:authority`, another in `host`")
        }
        (_, _, None) => Some("The request has no Host"),
        (_, _, Some(host)) if !is_host(host) => Some("Host must be the name or address of a host, and a port if any"),
        (_, _, Some(_)) => None,
    }
}

/// Whether these name one host, of which one may say the port that the other leaves out.
fn same(one: &[u8], other: &[u8]) -> bool {
    let bare = |host: &[u8]| host.strip_suffix(b":80").or_else(|| host.strip_suffix(b":443")).unwrap_or(host).to_vec();
    one.eq_ignore_ascii_case(other) || bare(one).eq_ignore_ascii_case(&bare(other))
}

/// Whether this is a host and nothing more, such as who is asking for it.
fn is_host(host: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    // Nearly all are; the others are looked at more closely.
    !host.is_empty()
        && !host.contains(&b'@')
        && (host.first().is_some_and(u8::is_ascii_alphanumeric) && host.iter().all(is_plain) && is_with_port(host)
            || Authority::try_from(host).is_ok_and(|it| !it.host().is_empty() && !ends_oddly(&it)))
}

/// Whether what follows the host is no port.
fn ends_oddly(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    !port.is_empty() && port != ":" && authority.port_u16().is_none()
}

/// Whether what follows the only colon is a port.
fn is_with_port(host: &[u8]) -> bool {
    let mut parts = host.split(|byte| *byte == b':').skip(1);
    parts.next().is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit)) && parts.next().is_none()
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

    #[test]
    fn a_request_names_one_host() {
        let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, is_good) in [
            (h1, "/", &["a"][..], true),
            (h1, "/", &["a.example:8080"], true),
            (h1, "/", &["[::1]:8080"], true),
            (h1, "/", &["127.0.0.1"], true),
            (h1, "/", &["a_b.example"], true),
            (h1, "/", &["a:"], true),
            (h1, "/", &[], false),
            (h1, "/", &[""], false),
            (h1, "/", &["a", "a"], false),
            (h1, "/", &["a", "b"], false),
            (h1, "/", &["a, b"], false),
            (h1, "/", &["a b"], false),
            (h1, "/", &["a/b"], false),
            (h1, "/", &["me@a"], false),
            (h1, "/", &["http://a"], false),
            (h1, "/", &["a:b"], false),
            (h1, "/", &[":8080"], false),
            (h1, "http://a/", &["b"], true),
            (h1, "http://a/", &[], false),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_10, "/", &["a", "a"], false),
            (h2, "http://a/", &[], true),
            (h2, "http://a:8080/", &["A:8080"], true),
            (h2, "http://a:80/", &["a"], true),
            (h2, "http://a/", &["b"], false),
            (h2, "http://a:8080/", &["a:8081"], false),
            (h2, "http://a/", &["a", "a"], false),
            (h2, "/", &["a"], true),
            (h2, "/", &[], false),
        ] {
            let headers = hosts.iter().map(|host| (header::HOST, host.parse().unwrap())).collect();
            let problem = malformed(version, &uri.parse().unwrap(), &headers);
            assert_eq!(problem.is_none(), is_good, "{version:?} {uri} {hosts:?}: {problem:?}");
        }
    }
}
