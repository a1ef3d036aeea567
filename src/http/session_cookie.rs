//! The cookie of a session: its names, how it is found among the cookies of a request, and how it is set and cleared.
//!
//! Whether a request with the cookie is of a page of this server is decided in [`origin`], who
//! has the session by the [`Authenticator`](super::Authenticator).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use super::middleware::origin;

/// The name over TLS. A browser takes a cookie of this name only with `Secure`, for `/`, and from the host itself: so
/// neither a page in clear text nor a neighbour below the same domain can have put it there.
const SECURE_NAME: &str = "__Host-aetherium";

/// The name where nothing is encrypted, as on a loopback address.
const PLAIN_NAME: &str = "aetherium";

/// What a request's cookies say of a session.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    /// There is no cookie of ours.
    Nothing,
    /// The one that counts.
    Secret(&'a str),
    /// Several that differ, or one that is no text: nobody can tell whether ours is among them.
    Unclear,
}

/// Finds the session's cookie. Over TLS the name without a prefix does not count, since others may have set it. A server
/// without TLS may be behind a proxy that has it, so that both names count, the other one first.
pub(super) fn find(headers: &HeaderMap, is_encrypted: bool) -> Found<'_> {
    match find_named(headers, SECURE_NAME) {
        Found::Nothing if !is_encrypted => find_named(headers, PLAIN_NAME),
        found => found,
    }
}

/// HTTP/2 may send each cookie in a header of its own. Other cookies of the host may have any bytes.
fn find_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Found<'a> {
    let mut found: Option<&[u8]> = None;
    for line in headers.get_all(header::COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            if name.trim_ascii() != wanted.as_bytes() {
                continue;
            }
            let value = value.trim_ascii();
            if found.is_some_and(|other| other != value) {
                return Found::Unclear;
            }
            found = Some(value);
        }
    }
    match found.map(str::from_utf8) {
        None => Found::Nothing,
        Some(Ok(secret)) => Found::Secret(secret),
        Some(Err(_)) => Found::Unclear,
    }
}

/// `Set-Cookie` for the secret of a session that lasts this long, as an answer to a request with these headers.
pub fn set(asked: &HeaderMap, is_encrypted: bool, secret: &str, lifetime: Duration) -> HeaderValue {
    cookie(asked, is_encrypted, secret, lifetime.as_secs())
}

/// `Set-Cookie` that has the browser forget it.
pub fn clear(asked: &HeaderMap, is_encrypted: bool) -> HeaderValue {
    cookie(asked, is_encrypted, "", 0)
}

fn cookie(asked: &HeaderMap, is_encrypted: bool, secret: &str, seconds: u64) -> HeaderValue {
    // Behind a proxy with TLS, the browser says so: its page is of `https`.
    let (name, secure) =
        if is_encrypted || origin::is_secure(asked) { (SECURE_NAME, "; Secure") } else { (PLAIN_NAME, "") };
    let text = format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // A secret has letters and digits only, which are always a valid header value.
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&[u8]], is_encrypted: bool) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).expect("a header value"));
        }
        match find(&headers, is_encrypted) {
            Found::Nothing => Ok(None),
            Found::Secret(secret) => Ok(Some(secret.to_owned())),
            Found::Unclear => Err(()),
        }
    }

    #[test]
    fn a_sessions_cookie_is_found_among_others() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        for (lines, plain, tls) in [
            (&[][..], Ok(None), Ok(None)),
            (&[&b"aetherium=x"[..]], some("x"), Ok(None)),
            (&[b"__Host-aetherium=x"], some("x"), some("x")),
            (&[b"aetherium=theirs; __Host-aetherium=x"], some("x"), some("x")),
            (&[b"a=1;aetherium = x ;b"], some("x"), Ok(None)),
            (&[b"a=1", b"aetherium=x"], some("x"), Ok(None)),
            (&[b"aetherium=x; aetherium=x"], some("x"), Ok(None)),
            (&[b"aetherium=x; aetherium=y"], Err(()), Ok(None)),
            (&[b"aetherium=x", b"aetherium=y"], Err(()), Ok(None)),
            (&[b"__Host-aetherium=x; __Host-aetherium=y"], Err(()), Err(())),
            (&[b"aetherium=x=y"], some("x=y"), Ok(None)),
            (&[b"\xff\xfe=\xff; aetherium=x"], some("x"), Ok(None)),
            (&[b"aetherium=\xff"], Err(()), Ok(None)),
            (&[b"Aetherium=x; aetherium2=x; xaetherium=x; aetherium"], Ok(None), Ok(None)),
            (&[b"; ;=;==; aetherium="], some(""), Ok(None)),
        ] {
            assert_eq!(found(lines, false), plain, "{lines:?}");
            assert_eq!(found(lines, true), tls, "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_of_an_encrypted_page_is_secure() {
        let asked = |origin| [(header::ORIGIN, HeaderValue::from_static(origin))].into_iter().collect();
        let minute = Duration::from_secs(60);
        assert_eq!(
            set(&asked("http://127.0.0.1:8080"), false, "x", minute),
            "aetherium=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
        );
        assert_eq!(
            set(&asked("https://cluster.example"), false, "x", minute),
            "__Host-aetherium=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(clear(&HeaderMap::new(), false), "aetherium=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    }
}
