//! A body in several pieces, which go out as they are: what others hold too is not copied first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};

/// A body of up to this many bytes goes out as one piece: to hand several on would cost more than to copy them.
const COPIED: usize = 4 * 1024;

/// Bytes that follow each other.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    /// Puts a piece behind the others.
    pub fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// All of it in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        match self.pieces.pop_front() {
            None => Bytes::new(),
            Some(only) if self.pieces.is_empty() => only,
            Some(first) => {
                let mut whole = BytesMut::with_capacity(self.len);
                whole.extend_from_slice(&first);
                self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                whole.freeze()
            }
        }
    }
}

impl From<Pieces> for Body {
    fn from(pieces: Pieces) -> Self {
        if pieces.len <= COPIED || pieces.pieces.len() == 1 {
            Body::from(pieces.into_bytes())
        } else {
            Body::new(pieces)
        }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.len -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len as u64)
    }
}
