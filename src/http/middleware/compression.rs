//! Answers in fewer bytes, for clients that say which compressions they know.
//!
//! Only what is worth it, and only what is there whole: a stream would be held back until there is enough to compress.
//! Request bodies are read as they are (see [`extract`](crate::http::extract)): a small one could stand for a very large one.

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

/// From this many bytes on. Less fits into one packet anyway.
const LARGE_ENOUGH: SizeAbove = SizeAbove::new(1_024);

/// How many bytes an answer has that is being compressed, which are kept until it is.
#[derive(Clone, Copy, Debug)]
pub struct Uncompressed(pub u64);

/// The compressions that a client knows, as it says it.
#[derive(Debug, Default)]
pub struct AcceptEncoding(Vec<HeaderValue>);

impl AcceptEncoding {
    /// Hears one `Accept-Encoding` header.
    pub fn add(&mut self, known: &HeaderValue) {
        self.0.push(known.clone());
    }

    /// Whether there is something to compress: an answer that is large enough and comes whole, for a client that knows
    /// how to read it. Most answers are small, and most agents know no compression. If only the client is in the way,
    /// the answer is given a word for caches.
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

    /// Compresses an answer. Fast rather than small: it is done for each answer anew.
    pub fn compress(&self, answer: Response) -> Pin<Box<impl Future<Output = Response> + Send + use<>>> {
        let plain = Uncompressed(answer.body().size_hint().lower());
        let mut request = Request::new(Body::empty());
        request.headers_mut().extend(self.0.iter().map(|known| (header::ACCEPT_ENCODING, known.clone())));
        let layer = Compression::new(Answered(answer)).quality(CompressionLevel::Fastest).compress_when(LARGE_ENOUGH);
        let layer = layer.zstd(self.prefer_zstd());
        // In a box, or whoever compresses nothing would carry the room for it through all layers.
        Box::pin(layer.oneshot(request).map(move |compressed| match compressed {
            Ok(mut compressed) => {
                compressed.extensions_mut().insert(plain);
                compressed.map(Body::new)
            }
            Err(never) => match never {},
        }))
    }

    /// Whether zstd is the only compression that will do, or the one that is liked best. Where another is liked as much
    /// it is not used: some clients name it because the platform below them may know it, and then cannot read it.
    fn prefer_zstd(&self) -> bool {
        let zstd = self.weight("zstd");
        zstd > self.weight("br").max(self.weight("gzip"))
    }

    /// How much a compression is liked, from 0 to 1: by its name, or else by what is said of all.
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

    /// Whether the client knows none of ours and forbids even the lack of one (`*;q=0`). Such a request would be
    /// refused when it has been carried out; an answer that the client may yet read is better.
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

/// Whether an answer is large enough, comes whole, and is neither compressed already nor a part of something.
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

/// Tells caches that another client may have got it in fewer bytes.
fn note_that_it_varies(headers: &mut HeaderMap) {
    let names = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let is_said =
        names.flat_map(|line| line.split(',')).any(|name| name.trim().eq_ignore_ascii_case("accept-encoding"));
    if !is_said {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// An answer that is there already, in the place of a service.
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
