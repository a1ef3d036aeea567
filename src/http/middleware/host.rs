//! The names that a server on a loopback address answers to, against DNS rebinding; and the check that a request names
//! one host. What is said to a request that is refused is in [`stack`](super::stack).
//!
//! A web page may have its own name resolve to 127.0.0.1 after it is loaded. Its requests to this server are then of
//! its own origin for the browser, so that CORS does not help; but they still carry the page's name in `Host` and,
//! since they have to reach this server, its port. A proxy passes its public name with another port or none, so that
//! requests through a proxy are not affected.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, Version, header, uri::Authority};

/// The port of a `Host` without one, over TLS or not.
fn default_port(is_encrypted: bool) -> u16 {
    if is_encrypted { 443 } else { 80 }
}

/// The name in `Host`, if it has this server's port and is neither an address, nor `localhost`, nor allowed.
pub fn foreign_name(
    uri: &Uri,
    headers: &HeaderMap,
    port: u16,
    is_encrypted: bool,
    allowed: &[String],
) -> Option<String> {
    // `Host` is nearly always the first header.
    let host = headers.iter().find(|(name, _)| *name == header::HOST).and_then(|(_, host)| host.to_str().ok());
    // HTTP/2 carries the host in the URI, HTTP/1.1 in a header.
    let host = host.or_else(|| uri.authority().map(Authority::as_str))?;
    // The usual cases first: another port, or an address.
    let default_port = default_port(is_encrypted);
    let may_be_our_port =
        port == default_port || host.rsplit_once(':').is_some_and(|(_, digits)| digits.parse() == Ok(port));
    if !may_be_our_port || host.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let authority = host.parse::<Authority>().ok()?;
    if authority.port_u16().unwrap_or(default_port) != port {
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

/// What is wrong with the host of a request, which has to name exactly one. If it names none or two, a proxy and this
/// server may understand different ones (RFC 9112, 3.2; RFC 9113, 8.3.1).
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

/// Whether both name the same host. One may leave out the default port.
fn same(one: &[u8], other: &[u8]) -> bool {
    let bare = |host: &[u8]| host.strip_suffix(b":80").or_else(|| host.strip_suffix(b":443")).unwrap_or(host).to_vec();
    one.eq_ignore_ascii_case(other) || bare(one).eq_ignore_ascii_case(&bare(other))
}

/// Whether this is a host with an optional port, and no more, such as user information.
fn is_host(host: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_');
    // The usual hosts are accepted by their characters; others are parsed.
    !host.is_empty()
        && !host.contains(&b'@')
        && (host.first().is_some_and(u8::is_ascii_alphanumeric) && host.iter().all(is_plain) && is_with_port(host)
            || Authority::try_from(host).is_ok_and(|it| !it.host().is_empty() && !ends_oddly(&it)))
}

/// Whether the host is followed by something else than a port.
fn ends_oddly(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    !port.is_empty() && port != ":" && authority.port_u16().is_none()
}

/// Whether there is at most one colon, followed by a port.
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
            let found = foreign_name(&Uri::from_static("/"), &headers, 8080, false, &allowed);
            assert_eq!(found.as_deref(), foreign, "{host}");
            let uri = format!("http://{host}/").parse().unwrap();
            assert_eq!(
                foreign_name(&uri, &HeaderMap::new(), 8080, false, &allowed).as_deref(),
                foreign,
                "{host} in HTTP/2"
            );
        }
        assert_eq!(foreign_name(&Uri::from_static("/"), &HeaderMap::new(), 8080, false, &allowed), None, "HTTP/1.0");
        let headers = HeaderMap::from_iter([(header::HOST, "evil.example".parse().unwrap())]);
        // A host without a port has the one of the scheme.
        for (port, is_encrypted, foreign) in
            [(80, false, Some("evil.example")), (443, true, Some("evil.example")), (80, true, None), (443, false, None)]
        {
            let found = foreign_name(&Uri::from_static("/"), &headers, port, is_encrypted, &[]);
            assert_eq!(found.as_deref(), foreign, "{port} {is_encrypted}");
        }
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
