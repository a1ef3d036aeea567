//! Answers in fewer bytes, for clients that say which compressions they know.
//!
//! Only what is worth it, and only what is there whole: a stream would be held back until there is enough to compress.
//! Request bodies are read as they are (see [`extract`](super::extract)): a small one could stand for a very large one.

use axum::extract::Request;
use axum::http::header;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::accept::EVENT_STREAM;

/// From this many bytes on. Less fits into one packet anyway.
const WORTH_IT: u64 = 1_024;

/// One JSON object a line, as it happens.
const NDJSON: &str = "application/x-ndjson";

/// Compresses what is large enough and comes whole. Fast rather than small: it is done for each answer anew.
pub(super) fn compression() -> CompressionLayer<impl Predicate + Send + Sync> {
    let whole = NotForContentType::const_new(EVENT_STREAM).and(NotForContentType::const_new(NDJSON));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(WORTH_IT).and(whole))
}

/// Forgets what compressions a client knows if it knows none of ours and forbids even the lack of one (`*;q=0`). Such a
/// request would be refused when it has been carried out; an answer that the client may yet read is better.
pub(super) fn spare_the_strict(mut request: Request) -> Request {
    let lines = request.headers().get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let (mut forbids_none, mut knows_one) = (false, false);
    for entry in lines.flat_map(|line| line.split(',')) {
        let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        match (name.trim(), weight == Some(0.0)) {
            ("identity" | "*", true) => forbids_none = true,
            ("gzip" | "br" | "zstd" | "*", false) => knows_one = true,
            _ => {}
        }
    }
    if forbids_none && !knows_one {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    request
}
