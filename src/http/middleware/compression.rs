//! Compression of responses, with zstd, Brotli or gzip as the client prefers.
//!
//! Only responses that are large enough and complete are compressed: a stream would be held back until there is enough
//! of it. Request bodies are not decompressed (see [`extract`](crate::http::extract)): a small one could stand for a
//! very large one.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures_util::FutureExt;
use tower::{Service, ServiceExt};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{Predicate, SizeAbove};

use crate::http::negotiation::{EVENT_STREAM, NDJSON};

/// The smallest body that is compressed. A smaller one fits into one packet anyway.
const LARGE_ENOUGH: SizeAbove = SizeAbove::new(1_024);

/// The length of a response before its compression, which occupies memory until it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Uncompressed(pub u64);

/// The `Accept-Encoding` headers of a request.
#[derive(Debug, Default)]
pub struct AcceptEncoding(Vec<HeaderValue>);

impl AcceptEncoding {
    /// Takes one `Accept-Encoding` header into account.
    pub fn add(&mut self, known: &HeaderValue) {
        self.0.push(known.clone());
    }

    /// Whether to compress this response: it is large enough and complete, and the client knows a compression. Most
    /// responses are small, and most agents know none. A response that is not compressed only because of the client
    /// gets a `Vary` for caches.
    pub fn are_worth_it(&self, answer: &mut Response) -> bool {
        if !is_worth_it(answer) {
            return false;
        }
        let knows_one = !self.0.is_empty() && !self.are_strict();
        if !knows_one {
            note_that_it_varies(answer.headers_mut());
        }
        knows_one
    }

    /// Compresses a response, at the fastest level, since it is done for each response anew.
    pub fn compress(&self, answer: Response) -> Pin<Box<impl Future<Output = Response> + Send + use<>>> {
        let plain = Uncompressed(answer.body().size_hint().lower());
        let mut request = Request::new(Body::empty());
        request.headers_mut().extend(self.0.iter().map(|known| (header::ACCEPT_ENCODING, known.clone())));
        let layer = Compression::new(Answered(answer)).quality(CompressionLevel::Fastest).compress_when(LARGE_ENOUGH);
        let layer = layer.zstd(self.prefer_zstd());
        // Boxed, so that responses that are not compressed do not have the size of this future.
        Box::pin(layer.oneshot(request).map(move |compressed| match compressed {
            Ok(mut compressed) => {
                compressed.extensions_mut().insert(plain);
                compressed.map(Body::new)
            }
            Err(never) => match never {},
        }))
    }

    /// Whether zstd is the preferred compression, alone. If another is preferred as much, zstd is not used: some
    /// clients name it because the platform below them may know it, and then cannot decode it.
    fn prefer_zstd(&self) -> bool {
        let zstd = self.weight("zstd");
        zstd > self.weight("br").max(self.weight("gzip"))
    }

    /// The weight of a compression from 0 to 1: by its name, or else by the wildcard.
    fn weight(&self, coding: &str) -> f32 {
        let lines = self.0.iter().filter_map(|line| line.to_str().ok());
        let (mut by_name, mut of_all) = (None, None);
        for entry in lines.flat_map(|line| line.split(',')) {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
            let place = match name.trim() {
                "*" => &mut of_all,
                name if name.eq_ignore_ascii_case(coding) => &mut by_name,
                _ => continue,
            };
            *place = Some(weight.unwrap_or(1.0));
        }
        by_name.or(of_all).unwrap_or(0.0)
    }

    /// Whether the client knows none of our compressions and forbids the plain form, too (`*;q=0`). tower-http would
    /// answer 406 after the command has been carried out; a plain response, which the client may be able to read, is
    /// better.
    fn are_strict(&self) -> bool {
        let lines = self.0.iter().filter_map(|line| line.to_str().ok());
        let (mut forbids_none, mut knows_one) = (false, false);
        for entry in lines.flat_map(|line| line.split(',')) {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
            match (&*name.trim().to_ascii_lowercase(), weight == Some(0.0)) {
                ("identity" | "*", true) => forbids_none = true,
                ("gzip" | "br" | "zstd" | "*", false) => knows_one = true,
                _ => {}
            }
        }
        forbids_none && !knows_one
    }
}

/// Whether a response is large enough, complete, not compressed already, and no part of a larger one.
fn is_worth_it(answer: &Response) -> bool {
    if !LARGE_ENOUGH.should_compress(answer) {
        return false;
    }
    let headers = answer.headers();
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    ![EVENT_STREAM, NDJSON].iter().any(|stream| media.starts_with(stream))
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
}

/// Adds `Vary: Accept-Encoding`, unless it is there.
fn note_that_it_varies(headers: &mut HeaderMap) {
    let names = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let is_said =
        names.flat_map(|line| line.split(',')).any(|name| name.trim().eq_ignore_ascii_case("accept-encoding"));
    if !is_said {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// A service that returns a response that exists already.
struct Answered(Response);

impl Service<Request> for Answered {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0)))
    }
}
