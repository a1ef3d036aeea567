//! A response body in several chunks, each sent without being copied: chunks of cached rows are shared between
//! responses.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};

/// A body of up to this many bytes is copied into one chunk: to write several chunks costs more than to copy them.
const COPIED: usize = 4 * 1024;

/// Bytes in chunks, in order.
#[derive(Clone, Debug, Default)]
pub struct ChunkedBytes {
    /// The first chunk, empty only if there are no bytes at all. It is apart from the list because most bodies have one
    /// chunk, and then no list is allocated.
    first: Bytes,
    rest: VecDeque<Bytes>,
    len: usize,
}

impl ChunkedBytes {
    /// Appends a chunk.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.push_back(piece);
        }
    }

    /// The number of chunks.
    pub(super) fn count(&self) -> usize {
        usize::from(!self.first.is_empty()) + self.rest.len()
    }

    /// Removes the first chunk.
    fn pop(&mut self) -> Option<Bytes> {
        let next = self.rest.pop_front().unwrap_or_default();
        let first = std::mem::replace(&mut self.first, next);
        self.len -= first.len();
        (!first.is_empty()).then_some(first)
    }

    /// All bytes, copied into one chunk if there are several.
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.len);
        whole.extend_from_slice(&self.first);
        self.rest.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

impl From<ChunkedBytes> for Body {
    fn from(pieces: ChunkedBytes) -> Self {
        if pieces.len <= COPIED || pieces.rest.is_empty() { Body::from(pieces.into_bytes()) } else { Body::new(pieces) }
    }
}

impl HttpBody for ChunkedBytes {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len as u64)
    }
}

/// Offers all chunks to one vectored write.
impl Buf for ChunkedBytes {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn advance(&mut self, mut count: usize) {
        while count >= self.first.len() && count > 0 {
            let Some(piece) = self.pop() else { return };
            count -= piece.len();
        }
        self.first.advance(count);
        self.len -= count;
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = [&self.first].into_iter().filter(|first| !first.is_empty()).chain(&self.rest);
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pieces: &[&'static str]) -> ChunkedBytes {
        let mut all = ChunkedBytes::default();
        pieces.iter().for_each(|piece| all.push(Bytes::from_static(piece.as_bytes())));
        all
    }

    #[test]
    fn pieces_are_written_from_wherever_the_last_write_ended() {
        let whole = "one-two-three";
        for parts in [vec![whole], vec!["one", "-", "", "two-three"], vec!["", "one-", "two-", "three", ""]] {
            for written in 0..=whole.len() {
                let mut rest = pieces(&parts);
                assert_eq!(rest.remaining(), whole.len());
                rest.advance(written);
                assert_eq!(rest.remaining(), whole.len() - written);
                let mut slices = [IoSlice::new(&[]); 8];
                let filled = rest.chunks_vectored(&mut slices);
                let text: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(String::from_utf8(text).unwrap(), whole[written..], "{parts:?} from {written} on");
                assert_eq!(filled, rest.count());
                assert_eq!(rest.chunk().is_empty(), written == whole.len());
                assert_eq!(rest.into_bytes(), whole[written..]);
            }
        }
        assert_eq!(pieces(&["a", "b", "c"]).chunks_vectored(&mut [IoSlice::new(&[]); 2]), 2);
    }
}
