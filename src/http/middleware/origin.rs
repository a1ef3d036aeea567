//! CORS for web pages of allowed origins, and protection against cross-site request forgery (CSRF): commands from pages
//! of all other origins are refused. Names that a DNS rebinding attack would use are refused in `host`.
//!
//! A browser sends requests of any page to this server, and a command has been carried out even if the page cannot read
//! the response. So, besides the CORS headers that let allowed origins read responses, commands of any other origin are
//! refused. Programs that are not browsers send neither `Origin` nor `Sec-Fetch-Site` and are not affected.

use std::{str::FromStr, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

/// How long a browser may cache the response to a preflight. Chromium's own limit is two hours.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3_600);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origin of a web page, as browsers spell it: `https://dashboard.example.com`, `http://localhost:5173`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// The text is no origin that can be allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin: write scheme and host, as in https://dashboard.example.com or http://localhost:5173")]
pub struct NotAnOrigin(String);

impl FromStr for Origin {
    type Err = NotAnOrigin;

    /// Accepts a trailing slash and a default port, and stores what browsers send. `*` and `null` are refused: the
    /// first is everybody, the second is every sandboxed page.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let refuse = || NotAnOrigin(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(refuse)?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(refuse()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
        let well_formed = authority.parse::<Authority>().is_ok_and(|parsed| !parsed.host().is_empty());
        if !well_formed || authority.contains(['@', '*']) {
            return Err(refuse());
        }
        HeaderValue::try_from(format!("{scheme}://{authority}")).map(Self).map_err(|_| refuse())
    }
}

/// The layer that answers preflights and lets pages of these origins read responses. Without origins there is no layer,
/// so that no header can allow anything.
pub fn cors(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().map(|Origin(value)| value.clone())))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        // The origins are trusted, so that no list of headers has to be maintained.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::any())
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}

/// Whether a browser sent this request for a page that is neither of this server nor of an allowed origin.
///
/// `Sec-Fetch-Site` cannot be set by a page and is right even behind a proxy that rewrites `Host`; for older browsers,
/// which do not send it, `Origin` is compared with `Host`. (Go's `http.CrossOriginProtection` has the same rule.) Over TLS
/// its scheme has to be `https`: on the way to a page of `http`, anybody may have written it. Without TLS, a proxy may
/// have ended it, so that both schemes are of this server. Check it before any command and before a WebSocket upgrade,
/// for which browsers send no preflight.
pub fn is_foreign_page(uri: &Uri, headers: &HeaderMap, is_encrypted: bool, allowed: &[Origin]) -> bool {
    let origin = headers.get(header::ORIGIN);
    if origin.is_some_and(|origin| allowed.iter().any(|Origin(allowed)| allowed == origin)) {
        return false;
    }
    match (headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes), origin) {
        (Some(b"same-origin" | b"none"), _) => false,
        (Some(_), _) => true,
        (None, None) => false,
        (None, Some(origin)) => !is_own(uri, headers, is_encrypted, origin),
    }
}

/// Whose page sent a request, as far as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A page of this server.
    OwnPage,
    /// Any other page, also of an origin that is allowed by name.
    OtherPage,
    /// Nobody says: it was no browser, an address was opened by hand, or an old browser fetches for a page of its own.
    NotSaid,
}

/// Whose page sent a request: what decides whether the cookie of a session counts. `SameSite=Strict` does not decide it,
/// since it takes other ports of one host for the same site, and so does not [`is_foreign_page`], which lets pages of
/// allowed origins through: those have tokens of their own.
pub fn sender(uri: &Uri, headers: &HeaderMap, is_encrypted: bool) -> Sender {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (origin, another) = (origins.next(), origins.next());
    if another.is_some() {
        return Sender::OtherPage;
    }
    match (headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes), origin) {
        (Some(b"same-origin"), _) => Sender::OwnPage,
        (Some(b"none") | None, None) => Sender::NotSaid,
        (Some(_), _) => Sender::OtherPage,
        (None, Some(origin)) if is_own(uri, headers, is_encrypted, origin) => Sender::OwnPage,
        (None, Some(_)) => Sender::OtherPage,
    }
}

/// Whether the page that sent a request came over TLS, as far as its origin says.
pub fn is_secure(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// Whether an origin has the host and the port that the request names and, over TLS, the scheme `https`.
fn is_own(uri: &Uri, headers: &HeaderMap, is_encrypted: bool, origin: &HeaderValue) -> bool {
    let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let theirs = theirs.filter(|(scheme, _)| !is_encrypted || *scheme == "https").map(|(_, host)| host);
    // HTTP/2 carries the host in the URI, HTTP/1.1 in a header.
    let ours = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let ours = ours.or_else(|| uri.authority().map(Authority::as_str));
    theirs.is_some() && theirs == ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_browsers_spell_them() {
        for (given, kept) in [
            ("https://dashboard.example.com", "https://dashboard.example.com"),
            ("HTTP://LocalHost:5173/", "http://localhost:5173"),
            ("https://example.com:443", "https://example.com"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(given.parse(), Ok(Origin(HeaderValue::from_static(kept))), "{given}");
        }
    }

    #[test]
    fn everybody_and_nobody_are_no_origins() {
        for odd in [
            "*",
            "null",
            "",
            "example.com",
            "https://",
            "https://*.example.com",
            "https://a.b/path",
            "file://x",
            "https://me@host",
        ] {
            assert_eq!(odd.parse::<Origin>(), Err(NotAnOrigin(odd.to_owned())), "{odd}");
        }
    }

    #[test]
    fn a_cookie_counts_for_own_pages_only() {
        use Sender::{NotSaid, OtherPage, OwnPage};
        let sent_by = |headers: &[(&'static str, &'static str)], is_encrypted| {
            let headers =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| {
                map.append(name, value);
            });
            sender(&Uri::from_static("/api/v1/workers"), &map, is_encrypted)
        };
        let host = ("host", "node1:8080");
        for (headers, plain, tls) in [
            (&[host][..], NotSaid, NotSaid),
            (&[host, ("sec-fetch-site", "none")], NotSaid, NotSaid),
            (&[host, ("sec-fetch-site", "same-origin")], OwnPage, OwnPage),
            (&[host, ("sec-fetch-site", "same-origin"), ("origin", "https://public.name")], OwnPage, OwnPage),
            (&[host, ("sec-fetch-site", "same-site")], OtherPage, OtherPage),
            (&[host, ("sec-fetch-site", "cross-site")], OtherPage, OtherPage),
            (&[host, ("sec-fetch-site", "none"), ("origin", "http://node1:8080")], OtherPage, OtherPage),
            (&[host, ("origin", "http://node1:8080")], OwnPage, OtherPage),
            (&[host, ("origin", "https://node1:8080")], OwnPage, OwnPage),
            (&[host, ("origin", "http://node1:9999")], OtherPage, OtherPage),
            (&[host, ("origin", "http://node1")], OtherPage, OtherPage),
            (&[host, ("origin", "null")], OtherPage, OtherPage),
            (&[("origin", "http://node1:8080")], OtherPage, OtherPage),
            (&[host, ("origin", "http://node1:8080"), ("origin", "http://evil")], OtherPage, OtherPage),
        ] {
            assert_eq!((sent_by(headers, false), sent_by(headers, true)), (plain, tls), "{headers:?}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        let allowed = ["https://ops.example.com".parse().expect("an origin")];
        let is_foreign = |is_encrypted: bool, headers: &[(&'static str, &'static str)]| {
            let headers =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_foreign_page(&Uri::from_static("/api/v1/workers"), &headers.collect(), is_encrypted, &allowed)
        };
        let foreign = |headers: &[(&'static str, &'static str)]| is_foreign(false, headers);
        let host = ("host", "node1:8080");
        assert!(!foreign(&[host]), "curl");
        assert!(!foreign(&[host, ("origin", "http://node1:8080")]), "our own page in an old browser");
        assert!(!foreign(&[host, ("origin", "https://ops.example.com"), ("sec-fetch-site", "cross-site")]), "named");
        assert!(
            !foreign(&[host, ("origin", "https://public.name"), ("sec-fetch-site", "same-origin")]),
            "our page behind a proxy"
        );
        assert!(!foreign(&[host, ("sec-fetch-site", "none")]), "the address bar");
        assert!(foreign(&[host, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[host, ("origin", "http://node1:9999"), ("sec-fetch-site", "same-site")]), "another port");
        assert!(foreign(&[host, ("origin", "http://evil.example")]), "an old browser");
        assert!(foreign(&[host, ("origin", "null")]), "a sandboxed page");
        assert!(foreign(&[("origin", "http://evil.example")]), "no host to compare with");

        assert!(!is_foreign(true, &[host, ("origin", "https://node1:8080")]), "our own page over TLS");
        assert!(!is_foreign(false, &[host, ("origin", "https://node1:8080")]), "our own page behind a proxy with TLS");
        assert!(is_foreign(true, &[host, ("origin", "http://node1:8080")]), "a page that came without TLS");
        assert!(!is_foreign(true, &[host]), "curl");
    }
}
