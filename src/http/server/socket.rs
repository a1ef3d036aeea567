//! One client's socket, and its time-outs.
//!
//! hyper parses and writes; the time-outs are here. hyper's own header time-out also runs while a kept-alive connection
//! is idle, and does not run before the first byte, while the HTTP version is detected. One number cannot be right for
//! both: an agent that sends a heartbeat every 10 s would find its connection closed before every other one. So
//! [`Socket`] and [`ConnectionState`] count bytes and requests, and [`ConnectionState::deadline`] says which time-out
//! applies now.
//!
//! Two smaller things are here because only the socket can do them: hyper's empty error responses to requests that it
//! cannot parse get the documented body, and a closing connection is read until the client has received the response.

use std::{
    collections::HashMap,
    future::pending,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker, ready},
};

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit},
    time::Instant,
};
use tokio_rustls::server::TlsStream;
#[cfg(target_os = "linux")]
use tracing::debug;

use super::timeouts::{TimeoutKind, Timeouts};
use crate::http::chunked_body::ChunkedBytes;
use crate::http::error::{HttpError, general_message, on_the_wire};

/// How many bytes of responses may wait for one client before its next request waits. One response may be larger.
const MAX_UNSENT_BYTES_OF_CLIENT: usize = 4 * 1024 * 1024;

/// The state of a connection, updated by its [`Socket`] and its service, and read by the task that drives it.
#[derive(Debug)]
pub struct ConnectionState {
    progress: Mutex<Progress>,
    /// Bytes of responses that the client of this connection has not taken.
    unsent_bytes: AtomicUsize,
    /// The same of all connections.
    in_all: Arc<UnsentBytes>,
    /// Notifies waiting requests that the client has taken a response.
    taken: Notify,
    /// Whether the connection has ended.
    closed: AtomicBool,
}

/// Bytes of responses that clients have not taken, on all connections of a listener.
#[derive(Debug)]
pub struct UnsentBytes {
    now: AtomicUsize,
    max: usize,
}

impl UnsentBytes {
    /// A counter at 0, with a maximum.
    pub fn at_most(max: usize) -> Arc<Self> {
        Arc::new(Self { now: AtomicUsize::new(0), max })
    }
}

#[derive(Debug)]
struct Progress {
    stage: Stage,
    /// Whether anything has ever come from the client.
    heard: bool,
    /// Requests whose response is not finished.
    in_flight: usize,
    /// Of these, the requests that have not begun because the client has to take other responses first.
    waiting: usize,
    /// Since when the client has taken nothing although a write is blocked.
    stalled: Option<Instant>,
    /// Whether it is HTTP/2, where bytes between requests (pings, window updates) do not begin a request.
    multiplexed: bool,
    /// Whether a response of unknown length is written, for as long as the client takes it.
    streams: bool,
    /// Whether it is no longer HTTP. Its new owner has its own time-outs.
    upgraded: bool,
    /// Whether the connection was asked to close, so that no new requests come.
    leaving: bool,
    /// For each response that the client could read from: since when it has taken nothing of it. HTTP/2 only, where one
    /// response may stand still while the socket is free.
    untaken: HashMap<u64, Instant>,
    /// The number of the last response.
    next: u64,
}

/// What a connection is waiting for while nothing is in flight.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Head(Instant),
    Idle(Instant),
    Closing(Instant),
}

impl ConnectionState {
    /// The state of a connection that was just accepted, of which a request head is expected.
    pub fn new(in_all: Arc<UnsentBytes>) -> Arc<Self> {
        let progress = Progress {
            stage: Stage::Head(Instant::now()),
            heard: false,
            in_flight: 0,
            waiting: 0,
            stalled: None,
            multiplexed: false,
            streams: false,
            upgraded: false,
            leaving: false,
            untaken: HashMap::new(),
            next: 0,
        };
        Arc::new(Self {
            progress: Mutex::new(progress),
            unsent_bytes: AtomicUsize::new(0),
            in_all,
            taken: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Whether this many bytes more may wait for the client. If nothing waits for any client, a response may have any
    /// length.
    pub fn may_hold(&self, bytes: usize) -> bool {
        let in_all = self.in_all.now.load(Relaxed);
        in_all == 0 || in_all.saturating_add(bytes) <= self.in_all.max
    }

    /// Notes that the connection has ended, when it is dropped.
    pub fn closed_when_dropped(&self) -> impl Drop {
        ClosedWhenDropped(self)
    }

    /// Waits until the client has taken enough of its responses to get another one.
    pub async fn room(&self) {
        let mut waits = None;
        loop {
            let mut taken = pin!(self.taken.notified());
            // Enabled before the check, so that no notification in between is missed.
            taken.as_mut().enable();
            if self.closed.load(Acquire) {
                // The request is dropped with its stream.
                return pending().await;
            }
            if self.unsent_bytes.load(Acquire) <= MAX_UNSENT_BYTES_OF_CLIENT {
                return;
            }
            waits.get_or_insert_with(|| Waits::begin(self));
            taken.await;
        }
    }

    /// Whether a time-out may begin to apply without a step of the connection.
    pub fn is_multiplexing(&self) -> bool {
        let progress = self.progress();
        progress.multiplexed && progress.in_flight > 0
    }

    /// Notes the beginning of a request; its response is finished when the guard is dropped.
    pub fn begin_request(self: &Arc<Self>, multiplexed: bool) -> InFlight {
        let mut progress = self.progress();
        progress.in_flight += 1;
        progress.multiplexed |= multiplexed;
        InFlight(Arc::clone(self))
    }

    /// Notes that the connection is upgraded.
    pub fn note_upgrade(&self) {
        let mut progress = self.progress();
        progress.upgraded = true;
        progress.streams = true;
    }

    /// Notes the beginning of a response of unknown length.
    pub fn note_stream(&self) {
        self.progress().streams = true;
    }

    /// Notes that the connection was asked to close. Requests in flight may still take their time.
    pub fn note_closing(&self) {
        let mut progress = self.progress();
        progress.stage = Stage::Closing(Instant::now());
        progress.leaving = true;
    }

    /// If the client has not sent anything yet, gives it the time to do so. Returns whether that is the case.
    pub fn await_first_bytes(&self) -> bool {
        let mut progress = self.progress();
        if !progress.heard {
            progress.stage = Stage::Closing(Instant::now());
        }
        !progress.heard
    }

    /// Ready once the client has sent something. It registers no waker, because it is polled after each step of the
    /// connection.
    pub fn poll_first_bytes(&self) -> Poll<()> {
        if self.progress().heard { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The time-out that applies, and when it ends. None while the client waits for the server.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, TimeoutKind)> {
        let progress = self.progress();
        if let Some(since) = progress.stalled {
            return Some((since + timeouts.stall, TimeoutKind::Stall));
        }
        if progress.in_flight > 0 {
            // If all responses wait for the client, the latest of these times says since when it has taken nothing at
            // all.
            let since = progress.untaken.values().copied();
            let all = since.clone().max().filter(|_| progress.untaken.len() + progress.waiting >= progress.in_flight);
            let one = since.min().filter(|_| !progress.leaving);
            let (all, one) =
                (all.map(|since| (since, TimeoutKind::Stall)), one.map(|since| (since, TimeoutKind::Stream)));
            let first = all.into_iter().chain(one).min_by_key(|(since, _)| *since)?;
            return Some((first.0 + timeouts.stall, first.1));
        }
        Some(match progress.stage {
            Stage::Head(since) => (since + timeouts.head, TimeoutKind::Head),
            Stage::Idle(since) => (since + timeouts.idle, TimeoutKind::Idle),
            Stage::Closing(since) => (since + timeouts.close, TimeoutKind::Close),
        })
    }

    fn note_read(&self) {
        let mut progress = self.progress();
        progress.heard = true;
        if let (Stage::Idle(_), 0, false) = (progress.stage, progress.in_flight, progress.multiplexed) {
            progress.stage = Stage::Head(Instant::now());
        }
    }

    /// Notes a write, and whether it was blocked. Returns whether a response of unknown length is written.
    fn note_write(&self, blocked: bool) -> bool {
        let mut progress = self.progress();
        if !blocked {
            progress.stalled = None;
        } else if progress.stalled.is_none() {
            progress.stalled = Some(Instant::now());
        }
        progress.streams
    }

    /// Whether what is written now could be hyper's own response, to a request that never reached the service.
    fn owes_nothing(&self) -> bool {
        let progress = self.progress();
        progress.in_flight == 0 && !progress.multiplexed && !progress.upgraded
    }

    fn is_upgraded(&self) -> bool {
        self.progress().upgraded
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing panics while the lock is held, and the numbers would still be right.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose response is not finished.
#[derive(Debug)]
pub struct InFlight(Arc<ConnectionState>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut progress = self.0.progress();
        progress.in_flight -= 1;
        if progress.in_flight == 0 {
            progress.stage = match progress.stage {
                Stage::Head(_) | Stage::Idle(_) => Stage::Idle(Instant::now()),
                // One more request was answered while closing; its last bytes get the same time.
                Stage::Closing(_) => Stage::Closing(Instant::now()),
            };
        }
    }
}

struct ClosedWhenDropped<'a>(&'a ConnectionState);

impl Drop for ClosedWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Release);
    }
}

/// A request that waits for the client until it begins or is dropped.
struct Waits<'a>(&'a ConnectionState);

impl<'a> Waits<'a> {
    fn begin(pace: &'a ConnectionState) -> Self {
        pace.progress().waiting += 1;
        Self(pace)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.progress().waiting -= 1;
    }
}

/// A response that the client has not taken completely: it is in flight until its body is dropped, and every part of it
/// that was passed on for sending.
#[derive(Debug)]
pub struct Untaken {
    in_flight: InFlight,
    number: u64,
    /// Its length in bytes, if it is known; else 0.
    bytes: usize,
    /// Parts that were passed on and are not sent yet.
    parts: AtomicUsize,
}

impl Untaken {
    /// Counts a response of this many bytes.
    pub fn new(in_flight: InFlight, bytes: usize) -> Arc<Self> {
        let pace = &in_flight.0;
        pace.unsent_bytes.fetch_add(bytes, AcqRel);
        pace.in_all.now.fetch_add(bytes, AcqRel);
        let number = {
            let mut progress = pace.progress();
            progress.next += 1;
            progress.next
        };
        Arc::new(Self { in_flight, number, bytes, parts: AtomicUsize::new(0) })
    }

    /// Passes on a part, which now waits for the client.
    pub fn part(self: &Arc<Self>, pieces: ChunkedBytes) -> Part {
        if self.parts.fetch_add(1, AcqRel) == 0 {
            self.note_taken();
        }
        Part { pieces, of: Some(Arc::clone(self)) }
    }

    /// Notes that the client has taken something, or may begin to.
    fn note_taken(&self) {
        let mut progress = self.in_flight.0.progress();
        if progress.multiplexed {
            progress.untaken.insert(self.number, Instant::now());
        }
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let pace = &self.in_flight.0;
        pace.progress().untaken.remove(&self.number);
        pace.in_all.now.fetch_sub(self.bytes, AcqRel);
        pace.unsent_bytes.fetch_sub(self.bytes, AcqRel);
        pace.taken.notify_waiters();
    }
}

/// A part of a response on its way to the client, which notes when the client takes bytes.
#[derive(Debug, Default)]
pub struct Part {
    pieces: ChunkedBytes,
    of: Option<Arc<Untaken>>,
}

impl From<ChunkedBytes> for Part {
    /// A part of a response that is not watched.
    fn from(pieces: ChunkedBytes) -> Self {
        Self { pieces, of: None }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.pieces.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.pieces.advance(count);
        if let Some(of) = self.of.as_ref().filter(|_| count > 0) {
            of.note_taken();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.pieces.chunks_vectored(slices)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Some(of) = &self.of else { return };
        if of.parts.fetch_sub(1, AcqRel) == 1 {
            // Everything that was passed on has been taken; the rest is the server's to produce.
            of.in_flight.0.progress().untaken.remove(&of.number);
        }
    }
}

/// The transport below a connection.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether it takes bytes before the system does. Then a client that does not read is noticed by a flush that is
    /// blocked, too.
    const HAS_BUFFER: bool = false;

    /// Asks the system to buffer little that is not sent yet.
    fn keep_little(&self) {}
}

impl Transport for TcpStream {
    /// Limits the system's send buffer for streams, so that what a slow reader does not take stays in this process,
    /// where it can be dropped; the system's buffers grow to megabytes. Responses with an end are written faster the
    /// more the system takes at once, and are not limited.
    #[cfg(target_os = "linux")]
    fn keep_little(&self) {
        const MOST_UNSENT: u32 = 128 * 1024;
        if let Err(error) = SockRef::from(self).set_tcp_notsent_lowat(MOST_UNSENT) {
            debug!("More than {MOST_UNSENT} bytes may wait to be sent to a client: {error}");
        }
    }
}

/// TLS holds back up to 64 KiB that the system does not take yet.
impl<IO: Transport> Transport for TlsStream<IO> {
    const HAS_BUFFER: bool = true;

    fn keep_little(&self) {
        self.get_ref().0.keep_little();
    }
}

impl<IO: Transport> Transport for Box<IO> {
    const HAS_BUFFER: bool = IO::HAS_BUFFER;

    fn keep_little(&self) {
        (**self).keep_little();
    }
}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {}

/// A stream that updates its [`ConnectionState`] with what passes through it.
///
/// It also holds the connection's permit under the cap: the permit has to live as long as the socket and not as long as
/// the HTTP connection, which a WebSocket leaves.
pub struct Socket<IO: Transport> {
    io: IO,
    pace: Arc<ConnectionState>,
    _place: Option<OwnedSemaphorePermit>,
    refusal: Bytes,
    farewell: ShutdownState,
    keeps_little: bool,
}

/// The progress of closing.
enum ShutdownState {
    NotYet,
    Listening,
    Done,
}

impl<IO: Transport> Socket<IO> {
    pub fn new(io: IO, pace: Arc<ConnectionState>, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { io, pace, _place: place, refusal: Bytes::new(), farewell: ShutdownState::NotYet, keeps_little: false }
    }

    fn note_write(&mut self, blocked: bool) {
        if self.pace.note_write(blocked) && !self.keeps_little {
            self.keeps_little = true;
            self.io.keep_little();
        }
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal = self.refusal.split_off(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Replaces hyper's empty error response by the documented one.
    fn replace_refusal(&mut self, written: &[u8]) -> bool {
        // Nearly every write fails the first comparison.
        let replacement = written.starts_with(b"HTTP/1.1 4").then(|| in_house_shape(written)).flatten();
        match replacement {
            Some(refusal) if self.pace.owes_nothing() => {
                self.refusal = refusal;
                true
            }
            Some(_) | None => false,
        }
    }
}

impl<IO: Transport> Drop for Socket<IO> {
    /// Ends TLS in order, as far as that needs no waiting, for a WebSocket, whose handler drops it when it is closed. A
    /// connection of HTTP that is dropped was cut, and its client has to see that.
    fn drop(&mut self) {
        if IO::HAS_BUFFER && matches!(self.farewell, ShutdownState::NotYet) && self.pace.is_upgraded() {
            let _: Poll<_> = Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl<IO: Transport> AsyncRead for Socket<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.note_read();
        }
        read
    }
}

impl<IO: Transport> AsyncWrite for Socket<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        if self.replace_refusal(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_write(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_refusal(cx))?;
        if let [only] = bufs
            && self.replace_refusal(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let length: usize = bufs.iter().map(|piece| piece.len()).sum();
        let written = if bufs.len() > 1 && length <= SMALL {
            let mut whole = [MaybeUninit::uninit(); SMALL];
            let mut whole = ReadBuf::uninit(&mut whole);
            bufs.iter().for_each(|piece| whole.put_slice(piece));
            Pin::new(&mut self.io).poll_write(cx, whole.filled())
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        };
        self.note_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if IO::HAS_BUFFER {
            self.note_write(flushed.is_pending());
        }
        flushed
    }

    /// Closes the server's side, and then reads what the client still sends until it closes its own.
    ///
    /// Closing a socket with unread bytes resets it, and the reset can overtake the response: a client that sends too
    /// large a body would see a broken connection and never the 413. The wait is limited by [`Timeouts::close`].
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        loop {
            match self.farewell {
                ShutdownState::NotYet => {
                    ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                    self.farewell =
                        if self.pace.is_upgraded() { ShutdownState::Done } else { ShutdownState::Listening };
                    self.pace.note_closing();
                }
                ShutdownState::Listening => {
                    let mut ignored = [0; 4096];
                    let mut ignored = ReadBuf::new(&mut ignored);
                    let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut ignored));
                    if read.is_err() || ignored.filled().is_empty() {
                        self.farewell = ShutdownState::Done;
                    }
                }
                ShutdownState::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Buffers of up to this many bytes together are copied into one for a write: a vectored write costs the system more,
/// and most responses are a head and a body of some hundred bytes.
const SMALL: usize = 2 * 1024;

/// Writes hyper's response to a request that it could not parse (400, 414, 431: a head, and no body) with the
/// documented body.
///
/// `None` for anything else. Responses of ours are never mistaken for one: errors have a body.
fn in_house_shape(refusal: &[u8]) -> Option<Bytes> {
    let head = std::str::from_utf8(refusal.strip_suffix(b"\r\n\r\n")?).ok()?;
    let (status_line, headers) = head.split_once("\r\n")?;
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    let status = StatusCode::from_u16(status).ok()?;
    let headers = || headers.split("\r\n");
    let is_hypers = headers().any(|line| line.eq_ignore_ascii_case("content-length: 0"))
        && headers().all(|line| matches!(line.split(':').next(), Some("connection" | "content-length" | "date")));
    if !is_hypers {
        return None;
    }
    let date = headers().find(|line| line.starts_with("date:")).map(|date| format!("{date}\r\n")).unwrap_or_default();
    Some(on_the_wire(&HttpError::new(status, general_message(status)), date.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_held_to_what_it_owes_now() {
        let start = Instant::now();
        let pace = ConnectionState::new(UnsentBytes::at_most(usize::MAX));
        let owes = || pace.deadline(&Timeouts::default()).map(|(at, overdue)| ((at - start).as_secs(), overdue));

        assert_eq!(owes(), Some((10, TimeoutKind::Head)), "a new connection owes a head");
        tokio::time::advance(seconds(2)).await;
        pace.note_read();
        assert_eq!(owes(), Some((10, TimeoutKind::Head)), "bytes that come slowly win no time");

        let request = pace.begin_request(false);
        pace.note_read();
        assert_eq!(owes(), None, "it is our turn");
        drop(request);
        assert_eq!(owes(), Some((77, TimeoutKind::Idle)), "answered: now it may rest");

        tokio::time::advance(seconds(5)).await;
        pace.note_read();
        assert_eq!(owes(), Some((17, TimeoutKind::Head)), "the next head has begun");

        let request = pace.begin_request(false);
        pace.note_write(true);
        tokio::time::advance(seconds(1)).await;
        pace.note_write(true);
        assert_eq!(owes(), Some((37, TimeoutKind::Stall)), "it does not read its answer");
        pace.note_write(false);
        assert_eq!(owes(), None);

        drop(request);
        pace.note_closing();
        assert_eq!(owes(), Some((9, TimeoutKind::Close)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_multiplexed_connection_rests_only_when_nothing_is_in_flight() {
        let start = Instant::now();
        let pace = ConnectionState::new(UnsentBytes::at_most(usize::MAX));
        let owes = || pace.deadline(&Timeouts::default()).map(|(at, overdue)| ((at - start).as_secs(), overdue));
        let (first, second) = (pace.begin_request(true), pace.begin_request(true));
        drop(first);
        assert_eq!(owes(), None);
        drop(second);
        tokio::time::advance(seconds(20)).await;
        pace.note_read();
        assert_eq!(owes(), Some((75, TimeoutKind::Idle)), "a ping is not the beginning of a request");
    }

    #[tokio::test]
    async fn what_is_written_in_pieces_arrives_whole() {
        for (sizes, capacity) in [
            (vec![0, 1, 0], 4 * SMALL),
            (vec![SMALL - 1, 1], 4 * SMALL),
            (vec![SMALL - 1, 2], 4 * SMALL),
            // The other side takes it little by little.
            (vec![300, 500, 700], 100),
        ] {
            let sent: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|at| at as u8).collect();
            let (mut client, server) = tokio::io::duplex(capacity);
            let mut socket = Socket::new(server, ConnectionState::new(UnsentBytes::at_most(usize::MAX)), None);
            let mut rest = &sent[..];
            let pieces = sizes.iter().map(|&size| rest.split_off(..size).expect("as much as that")).collect::<Vec<_>>();
            let writing = async {
                let mut pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                let mut left = &mut pieces[..];
                while !left.is_empty() {
                    let written = poll_fn(|cx| Pin::new(&mut socket).poll_write_vectored(cx, left)).await;
                    IoSlice::advance_slices(&mut left, written.expect("a write"));
                }
                drop(socket);
            };
            let mut received = Vec::new();
            let reading = client.read_to_end(&mut received);
            let ((), read) = tokio::join!(writing, reading);
            assert_eq!((read.expect("an end"), &received), (sent.len(), &sent), "{sizes:?}");
        }
    }

    #[test]
    fn only_hypers_own_refusals_are_rewritten() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        let shaped = in_house_shape(bare).expect("a refusal of hyper's");
        let shaped = std::str::from_utf8(&shaped).expect("text");
        let (head, body) = shaped.split_once("\r\n\r\n").expect("a head and a body");
        assert_eq!(
            body,
            r#"{"error":"Request Header Fields Too Large","message":"The request's headers are more or larger than what is read here","code":431}"#
        );
        for line in [
            "HTTP/1.1 431 Request Header Fields Too Large",
            "date: Thu, 01 Jan 1970 00:00:00 GMT",
            "content-type: application/json",
            "connection: close",
            &format!("content-length: {}", body.len()),
        ] {
            assert!(head.lines().any(|there| there == line), "{line} is missing in {head}");
        }
        for other in [
            &b"HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 4",
            b"{\"data\":null}",
        ] {
            assert_eq!(in_house_shape(other), None);
        }
    }
}
