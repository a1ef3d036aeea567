//! The address under which a client has asked, for links that it shall follow: scheme and host as it sees them, and the
//! path.
//!
//! Behind a proxy the client sees the proxy's. What a proxy says of them counts if the operator trusts it, as with the
//! address of a client ([`forwarded_client`](super::forwarded_client)); anybody else could have links point elsewhere.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use ipnet::IpNet;

use super::middleware::request_context::RequestContext;
use super::server::connection::{current_peer, is_encrypted};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The address of the request that the task answers, without its query; none if it names no host, as in HTTP/1.0.
pub fn current_address(headers: &HeaderMap) -> Option<String> {
    RequestContext::ask(|context| {
        let peer = current_peer().map(|peer| peer.ip().to_canonical());
        let origin = origin(&context.uri, headers, is_encrypted(), peer, &context.state.options.trusted_proxies)?;
        Some(format!("{origin}{}", context.uri.path()))
    })?
}

/// Scheme and host of a request that this peer has sent.
fn origin(
    uri: &Uri,
    headers: &HeaderMap,
    is_encrypted: bool,
    peer: Option<IpAddr>,
    trusted: &[IpNet],
) -> Option<String> {
    let is_trusted = peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(&peer)));
    // The last value is what the proxy itself has written.
    let forwarded = |name: &HeaderName| {
        let value = headers.get_all(name).iter().next_back().filter(|_| is_trusted)?.to_str().ok()?;
        value.rsplit(',').next().map(str::trim)
    };
    let own_scheme = if is_encrypted { "https" } else { "http" };
    let scheme = match forwarded(&X_FORWARDED_PROTO) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => "http",
        Some(_) | None => own_scheme,
    };
    let own_host = || headers.get(header::HOST).and_then(|host| host.to_str().ok().and_then(host_of));
    let host = forwarded(&X_FORWARDED_HOST).and_then(host_of).or_else(own_host);
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str().to_owned()))?;
    Some(format!("{scheme}://{host}"))
}

/// A host with an optional port, and no more, such as user information.
fn host_of(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    (!text.is_empty() && !text.contains('@')).then(|| authority.to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_link_has_the_scheme_and_host_that_the_client_has_asked() {
        let (proto, forwarded_host) = ("x-forwarded-proto", "x-forwarded-host");
        let behind = [(proto, "https"), (forwarded_host, "api.example.com")];
        for (peer, host, is_encrypted, sent, expected) in [
            ("192.0.2.7", Some("localhost:8080"), false, &[][..], Some("http://localhost:8080")),
            ("192.0.2.7", Some("a.example:8443"), true, &[], Some("https://a.example:8443")),
            ("192.0.2.7", Some("[::1]:8080"), false, &[], Some("http://[::1]:8080")),
            ("192.0.2.7", None, false, &[], None),
            // Nobody vouches for it.
            ("192.0.2.7", Some("own"), false, &behind, Some("http://own")),
            ("10.0.0.1", Some("own"), false, &behind, Some("https://api.example.com")),
            ("10.0.0.1", Some("own"), false, &behind[..1], Some("https://own")),
            ("10.0.0.1", Some("own"), true, &[(proto, "http")], Some("http://own")),
            ("10.0.0.1", Some("own"), false, &[(proto, "http, https")], Some("https://own")),
            ("10.0.0.1", Some("own"), false, &[(proto, "gopher"), (forwarded_host, "user@evil")], Some("http://own")),
            ("10.0.0.1", Some("own"), false, &[(forwarded_host, "a b")], Some("http://own")),
        ] {
            let mut headers: HeaderMap = sent
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            if let Some(host) = host {
                headers.insert(header::HOST, HeaderValue::from_static(host));
            }
            let (uri, trusted) = (Uri::from_static("/api/v1/workers"), ["10.0.0.0/8".parse().unwrap()]);
            let found = origin(&uri, &headers, is_encrypted, Some(peer.parse().unwrap()), &trusted);
            assert_eq!(found.as_deref(), expected, "{peer} {host:?} {sent:?}");
        }
        let (uri, headers) = (Uri::from_static("https://h2.example/api"), HeaderMap::new());
        assert_eq!(origin(&uri, &headers, true, None, &[]).as_deref(), Some("https://h2.example"), "HTTP/2");
    }
}
