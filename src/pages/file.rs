//! How a file of the program (a page, a script, a style) is sent: compressed, and only if the browser does not have it
//! already. Which files there are, for how long each is cached, and under which policy, is in [`pages`](super).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

use super::content_security_policy::Policy;
use crate::http::HttpError;

/// A file that is part of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    name: &'static str,
    content: Content,
    policy: Policy,
    lifetime: Lifetime,
}

/// A content that was compressed when the program was built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compressed {
    pub(super) gzip: &'static [u8],
    /// What is loaded with every visit is there in this form, too; browsers take it over TLS, and from loopback.
    pub(super) brotli: Option<&'static [u8]>,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Compressed(Compressed),
    Text(&'static str),
}

/// How long a browser may keep a file without asking again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lifetime {
    /// It is named after its content.
    ForEver,
    /// It has to ask, and is told if there is nothing new.
    WhileUnchanged,
}

impl File {
    /// One that is kept compressed.
    pub(super) fn compressed(name: &'static str, content: Compressed, policy: Policy, lifetime: Lifetime) -> Self {
        Self { name, content: Content::Compressed(content), policy, lifetime }
    }

    /// One that is kept as it is.
    pub(super) fn text(name: &'static str, text: &'static str, policy: Policy, lifetime: Lifetime) -> Self {
        Self { name, content: Content::Text(text), policy, lifetime }
    }

    /// The file, or that the client has it.
    pub(super) fn answer(self, asked: &HeaderMap) -> Response {
        let etag = self.etag();
        let mut response = if is_among(asked, header::IF_NONE_MATCH, &etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            match self.body(asked) {
                Ok(response) => response,
                Err(failure) => return failure.into_response(),
            }
        };
        let headers = response.headers_mut();
        self.policy.write_headers(headers);
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.lifetime.in_words()));
        // Under the address of a page there may be an answer for programs.
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        response
    }

    fn body(self, asked: &HeaderMap) -> Result<Response, HttpError> {
        let (body, encoding) = match self.content {
            Content::Compressed(content) => match (Coding::of(asked, content.brotli.is_some()), content.brotli) {
                (Coding::Brotli, Some(brotli)) => (Body::from(brotli), Some(HeaderValue::from_static("br"))),
                (Coding::Gzip, _) => (Body::from(content.gzip), Some(HeaderValue::from_static("gzip"))),
                (Coding::Identity, _) | (Coding::Brotli, None) => (Body::from(unpacked(content.gzip)?), None),
            },
            Content::Text(text) => (Body::from(text), None),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type()));
        response.headers_mut().extend(encoding.map(|encoding| (header::CONTENT_ENCODING, encoding)));
        Ok(response)
    }

    /// Weak: the file is the same, compressed or not.
    fn etag(self) -> String {
        let mut hasher = DefaultHasher::new();
        match self.content {
            // Named after its content, and so told apart by it.
            Content::Compressed(_) => self.name.hash(&mut hasher),
            Content::Text(text) => text.hash(&mut hasher),
        }
        format!(r#"W/"{:016x}""#, hasher.finish())
    }

    fn media_type(self) -> &'static str {
        match self.name.rsplit('.').next().unwrap_or_default() {
            "css" => "text/css; charset=utf-8",
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            "ttf" => "font/ttf",
            "txt" => "text/plain; charset=utf-8",
            "woff2" => "font/woff2",
            _ => "application/octet-stream",
        }
    }
}

impl Lifetime {
    fn in_words(self) -> &'static str {
        match self {
            Self::ForEver => "public, max-age=31536000, immutable",
            Self::WhileUnchanged => "no-cache",
        }
    }
}

/// Whether a header that is a list names this, or everything.
fn is_among(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    elements(headers, name).any(|element| element == "*" || element == wanted)
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Brotli,
    Gzip,
    Identity,
}

impl Coding {
    /// The one that a client prefers; of those that it likes equally, the smallest. Who says nothing gets content as it
    /// is: that is curl, with a person before it.
    fn of(headers: &HeaderMap, has_brotli: bool) -> Self {
        let brotli = if has_brotli { weight_of(headers, &["br"]) } else { 0.0 };
        let gzip = weight_of(headers, &["gzip", "x-gzip"]);
        if brotli > 0.0 && brotli >= gzip {
            Self::Brotli
        } else if gzip > 0.0 {
            Self::Gzip
        } else {
            Self::Identity
        }
    }
}

/// How welcome a coding with one of these names is, from 0 to 1: as the client says, else as it says of all others.
fn weight_of(headers: &HeaderMap, names: &[&str]) -> f32 {
    let (mut named, mut others) = (None, None);
    for element in elements(headers, header::ACCEPT_ENCODING) {
        let (coding, weight) = element.split_once(';').unwrap_or((element, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
        let coding = coding.trim();
        if names.iter().any(|name| coding.eq_ignore_ascii_case(name)) {
            named = Some(weight);
        } else if coding == "*" {
            others = Some(weight);
        }
    }
    named.or(others).unwrap_or(0.0)
}

fn elements(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// What we have compressed ourselves can be unpacked; were it otherwise, it would be our fault.
fn unpacked(gzip: &[u8]) -> Result<Vec<u8>, HttpError> {
    let mut content = Vec::new();
    match GzDecoder::new(gzip).read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(_) => Err(HttpError::internal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_content_is_sent_to_those_who_ask_for_it() {
        use Coding::{Brotli, Gzip, Identity};
        for (accepted, with_brotli, without) in [
            (None, Identity, Identity),
            (Some("gzip, deflate, br, zstd"), Brotli, Gzip),
            (Some("gzip, deflate"), Gzip, Gzip),
            (Some("br;q=1.0, GZIP;q=0.5"), Brotli, Gzip),
            (Some("br;q=0.5, x-gzip"), Gzip, Gzip),
            (Some("br;q=0, *"), Gzip, Gzip),
            (Some("*"), Brotli, Gzip),
            (Some("*;q=0"), Identity, Identity),
            (Some("gzip;q=0, *;q=0.1"), Brotli, Identity),
            (Some("identity"), Identity, Identity),
            (Some("gzip;q=0"), Identity, Identity),
            (Some("gzip;q=much"), Identity, Identity),
            (Some("br"), Brotli, Identity),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(accepted.map(|accepted| (header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))));
            assert_eq!(Coding::of(&headers, true), with_brotli, "{accepted:?}");
            assert_eq!(Coding::of(&headers, false), without, "{accepted:?}");
        }
    }
}
