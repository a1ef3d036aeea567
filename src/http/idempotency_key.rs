//! The header `Idempotency-Key`: requests with the same key are one request that was sent again.
//!
//! This file parses the key and computes the fingerprint, by which a repeated request is compared with the first one.
//! The journal looks up and stores the record. Without the header, the inner extractor runs unchanged.

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt as _, future::Either};
use sha2::{Digest as _, Sha256};

use super::error::{HttpError, truncate};
use super::extract::collect;

/// The header, by the IETF's draft of the same name.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest key, in characters. A UUID has 36.
pub(crate) const LONGEST_KEY: usize = 255;

/// The key of a request, and its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Chosen by the client.
    pub key: String,
    /// A digest of method, address, body and preconditions.
    pub fingerprint: String,
}

/// The result of another extractor, with the key if the request has one.
#[derive(Clone, Debug)]
pub struct WithIdempotencyKey<E>(pub Option<IdempotencyKey>, pub E);

impl<S: Send + Sync, E> FromRequest<S> for WithIdempotencyKey<E>
where
    E: FromRequest<S>,
{
    type Rejection = Response;

    fn from_request(request: Request, state: &S) -> impl Future<Output = Result<Self, Response>> + Send {
        match key(request.headers()) {
            Ok(None) => Either::Left(E::from_request(request, state).map(|inner| match inner {
                Ok(inner) => Ok(Self(None, inner)),
                Err(refused) => Err(refused.into_response()),
            })),
            // Boxed, so that the futures of requests without a key do not have the size of this one.
            Ok(Some(key)) => Either::Right(Either::Left(Box::pin(read_with_key(key, request, state)))),
            Err(failure) => Either::Right(Either::Right(async { Err(failure.into_response()) })),
        }
    }
}

async fn read_with_key<S: Sync, E: FromRequest<S>>(
    key: String,
    request: Request,
    state: &S,
) -> Result<WithIdempotencyKey<E>, Response> {
    let (head, body) = request.into_parts();
    let body = collect(body).await.map_err(HttpError::into_response)?;
    let mut digest = Sha256::new();
    let condition = |name| head.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let (matches, matches_not) = (condition(header::IF_MATCH), condition(header::IF_NONE_MATCH));
    // The host is left out: the same request may be repeated through another server.
    let address = head.uri.path_and_query().map(|address| address.as_str()).unwrap_or_default();
    // `If-None-Match` is digested only if it is there, so that fingerprints that were stored before it was digested
    // still match.
    let parts = [head.method.as_str().as_bytes(), address.as_bytes(), matches, &body, matches_not];
    let parts = parts.iter().take(if matches_not.is_empty() { 4 } else { 5 });
    for part in parts {
        // Each part is preceded by its length, so that different requests never give the same bytes.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let fingerprint = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let inner = E::from_request(Request::from_parts(head, Body::from(body)), state).await;
    Ok(WithIdempotencyKey(Some(IdempotencyKey { key, fingerprint }), inner.map_err(IntoResponse::into_response)?))
}

/// The key, with or without the quotes that the draft puts around it.
fn key(headers: &HeaderMap) -> Result<Option<String>, HttpError> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(HttpError::bad_request("Idempotency-Key is there more than once: one request has one key"));
    }
    let text = line.to_str().unwrap_or_default();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_fit = (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_fit {
        return Err(HttpError::bad_request(format!(
            "Idempotency-Key must have 1 to {LONGEST_KEY} visible ASCII characters, such as a UUID, not {:?}",
            truncate(&String::from_utf8_lossy(line.as_bytes()))
        )));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(lines: &[&str]) -> Result<Option<String>, HttpError> {
        let value = |line: &&str| (IDEMPOTENCY_KEY, line.parse().unwrap());
        key(&lines.iter().map(value).collect())
    }

    #[test]
    fn a_key_is_read_with_its_quotes_and_without() {
        assert_eq!(key_of(&[]), Ok(None));
        for line in ["8e03978e-40d5", "\"8e03978e-40d5\""] {
            assert_eq!(key_of(&[line]), Ok(Some("8e03978e-40d5".to_owned())));
        }
        let long = "x".repeat(256);
        for lines in [&[""][..], &["\"\""], &["two words"], &["gr\u{f6}\u{df}e"], &[&long], &["a", "a"]] {
            assert_eq!(key_of(lines).map_err(|failure| failure.status().as_u16()), Err(400), "{lines:?}");
        }
    }

    #[tokio::test]
    async fn requests_that_differ_in_anything_have_different_fingerprints() {
        let fingerprint = async |method: &str, path: &str, condition: &str, body: &str| {
            let request = Request::builder().method(method).uri(path).header("idempotency-key", "k");
            let request = request.header("if-match", condition).body(Body::from(body.to_owned())).unwrap();
            let WithIdempotencyKey(key, read) = WithIdempotencyKey::<String>::from_request(request, &()).await.unwrap();
            assert_eq!(read, body, "the body is still there to be read");
            key.unwrap().fingerprint
        };
        let first = fingerprint("POST", "/a", "", "b").await;
        assert_eq!(fingerprint("POST", "/a", "", "b").await, first);
        for (method, path, condition, body) in [
            ("PUT", "/a", "", "b"),
            ("POST", "/ab", "", ""),
            ("POST", "/a?b", "", "b"),
            ("POST", "/a", "b", ""),
            ("POST", "/a", "", "bb"),
        ] {
            assert_ne!(fingerprint(method, path, condition, body).await, first, "{method} {path} {condition} {body}");
        }
    }
}
