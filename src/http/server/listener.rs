//! The accept loop: accepts a bounded number of connections, does their TLS handshakes, serves them, and shuts down in
//! order. The caps on connections are here.
//!
//! `axum::serve` is not used because it has no time-outs: a client that never finishes its request head would keep its
//! socket for ever, and enough of those are an outage. The values of the time-outs are in
//! [`timeouts`](super::timeouts), and [`socket`](super::socket) enforces them. What is not here: requests are the
//! service's business, and upgraded connections (WebSockets) belong to their handler, who tracks and ends them.

use std::{
    convert::Infallible,
    fs,
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
    response::Response,
};
use bytes::{Buf, Bytes};
use futures_util::future::Either;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWrite,
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};
use tracing::{debug, error, warn};

use super::connection::{Connection, SMALL_ANSWER, unsent_bytes_of};
use super::socket::{ConnectionState, InFlight, Part, Socket, Transport, UnsentBytes, Untaken};
use super::timeouts::{HTTP2_PING, HTTP2_PONG, TimeoutKind, Timeouts};
use crate::http::chunked_body::ChunkedBytes;
use crate::http::error::{HttpError, on_the_wire};
use crate::http::middleware::host::malformed;
use crate::http::middleware::stack::Malformed;
use crate::tls::ServerTls;

/// The most connections of one server: more clients belong on several servers. Each costs a socket and some tens of
/// kilobytes.
const MOST_CONNECTIONS: usize = 15_000;

/// The limit of open files where the system does not tell: the usual soft limit of a process.
const USUAL_FILE_LIMIT: usize = 1_024;

/// Connections beyond the cap, each of which serves one request of anybody but workers: an operator who is called
/// because 15,000 agents hold all connections can look at the health of the server, and drain.
const RESERVED_CONNECTIONS: usize = 64;

/// The longest request head. It is also the most that hyper buffers of a connection, so that 15,000 hostile clients
/// take 240 MB instead of 6 GB with hyper's default.
const HEAD_BYTES: usize = 16 * 1024;

/// Chunks of a body that are passed to hyper together: as many as it queues.
const MOST_PIECES: usize = 16;

/// Requests that one HTTP/2 connection may have in flight.
const STREAMS: u32 = 128;

/// Bytes of responses that may wait to be taken, of all clients together.
const MAX_UNSENT_BYTES: usize = 256 * 1024 * 1024;

/// Connections over the cap that are being answered 503. Beyond these, connections are closed without a response.
const MOST_TURNED_AWAY: usize = 256;

/// The longest backlog that Linux keeps, unless told otherwise.
const MOST_WAITING: usize = 4_096;

/// The shortest and the longest pause after a failed accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The limits of a listener.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Connections at a time, WebSockets included. Any more get a 503 and are closed: in the backlog, clients and
    /// health checks would hang without knowing why.
    pub connections: usize,
    /// Connections beyond those, for one request each of anybody but workers.
    pub reserved_connections: usize,
    /// Counts the connections that were rejected: over the cap and over the reserve.
    pub rejected_connections: Arc<AtomicU64>,
    /// The time-outs of a client.
    pub timeouts: Timeouts,
    /// The certificate to show, if connections are TLS.
    pub tls: Option<ServerTls>,
    /// How long requests in flight may take after the shutdown has begun.
    pub shutdown_time: Duration,
    /// Bytes of responses that may wait to be taken, of all clients together. Beyond that, a response of more than 64 KiB is
    /// refused.
    pub max_unsent_bytes: usize,
}

impl ListenerOptions {
    /// The default time-outs of clients, and as many connections as four fifths of this process's limit of open files;
    /// the rest is for the database, the log and rejected connections. The time of a shutdown has no default here, for
    /// it is a part of the time that the whole server has: see `timing`.
    pub fn for_this_process(shutdown_time: Duration) -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let files = open_file_limit(&limits).unwrap_or(USUAL_FILE_LIMIT);
        Self {
            connections: connections_within(files),
            reserved_connections: RESERVED_CONNECTIONS,
            rejected_connections: Arc::default(),
            timeouts: Timeouts::default(),
            tls: None,
            shutdown_time,
            max_unsent_bytes: MAX_UNSENT_BYTES,
        }
    }
}

/// Serves until `shutdown` is cancelled, then lets requests in flight finish, and returns when the last connection is
/// closed.
///
/// After `shutdown`, no new connections are accepted, idle ones close at once, and others after their response. Those
/// that are not done within [`ListenerOptions::shutdown_time`] are cut. WebSockets are not waited for: their handlers
/// watch the same token. Connections learn of the shutdown from this function, so that they go on by themselves if its
/// future is dropped before it returns.
pub async fn serve<S>(listener: TcpListener, service: S, options: ListenerOptions, shutdown: CancellationToken)
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let timeouts = options.timeouts;
    let places = Arc::new(Semaphore::new(options.connections.min(Semaphore::MAX_PERMITS)));
    let reserve = Arc::new(Semaphore::new(options.reserved_connections.min(Semaphore::MAX_PERMITS)));
    let turned_away = Arc::new(Semaphore::new(MOST_TURNED_AWAY));
    let connections = TaskTracker::new();
    let (asked, cut) = (Arc::new(Call::default()), CancellationToken::new());
    let unsent = UnsentBytes::at_most(options.max_unsent_bytes);

    let mut is_full = false;
    let mut admit = |stream: TcpStream, peer| {
        let place = Arc::clone(&places).try_acquire_owned();
        let is_reserved = place.is_err();
        // Logged once each time the cap is reached, and not for each connection.
        if std::mem::replace(&mut is_full, is_reserved) != is_reserved && is_reserved {
            warn!(
                connections = options.connections,
                "All {} connections are taken, the few that are left are for operators", options.connections
            );
        }
        if let Ok(place) = place.or_else(|_| Arc::clone(&reserve).try_acquire_owned()) {
            // Responses are written in one piece, so that Nagle's algorithm would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                debug!("Small packets to {peer} may be delayed: {error}");
            }
            let end = End { asked: Arc::clone(&asked), enforced: cut.clone() };
            let connection = Connection {
                client: peer,
                pace: ConnectionState::new(Arc::clone(&unsent)),
                only: is_reserved.then(Arc::default),
                is_encrypted: options.tls.is_some(),
                authenticated: Arc::default(),
            };
            let (served, service) = (connection.clone(), service.clone());
            // Two types of connections, so that plain ones do not ask at each step which they are.
            match &options.tls {
                None => {
                    let attended = serve_connection(stream, Some(place), served, service, timeouts, end);
                    connections.spawn(connection.current(attended));
                }
                Some(tls) => {
                    let attended = serve_tls_connection(stream, tls.config(), place, served, service, timeouts, end);
                    connections.spawn(connection.current(attended));
                }
            }
            return;
        }
        options.rejected_connections.fetch_add(1, Relaxed);
        if let Ok(place) = Arc::clone(&turned_away).try_acquire_owned() {
            let pace = ConnectionState::new(Arc::clone(&unsent));
            let cut = cut.clone();
            match &options.tls {
                None => connections.spawn(cut.run_until_cancelled_owned(reject(stream, place, pace, timeouts))),
                Some(tls) => {
                    let rejected = reject_tls(stream, tls.config(), place, pace, timeouts);
                    connections.spawn(cut.run_until_cancelled_owned(rejected))
                }
            };
        }
    };
    while let Some((stream, peer)) = shutdown.run_until_cancelled(accept(&listener)).await {
        admit(stream, peer);
    }
    asked.make();
    // These connections were made by the system already, and some have sent their request.
    for (stream, peer) in waiting(listener) {
        admit(stream, peer);
    }

    // From here on the system refuses connections, and clients can try another server at once.
    connections.close();
    if timeout(options.shutdown_time, connections.wait()).await.is_err() {
        warn!(connections = connections.len(), "Cut {} connections that did not finish in time", connections.len());
        cut.cancel();
        connections.wait().await;
    }
}

/// Waits for the next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (mut pause, longest) = ACCEPT_PAUSES;
    loop {
        match listener.accept().await {
            Ok(connection) => return connection,
            // One client gave up while it waited. The next one may be there already.
            Err(error) if is_about_the_client(&error) => {}
            Err(error) => {
                error!("Cannot accept connections, trying again in {pause:?}: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// Accepts the connections that are still in the backlog, at most as many as a backlog has, so that it ends however
/// fast new ones come; then closes the listener.
fn waiting(listener: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    // Without tokio, which learns of a connection some time after it is there.
    let listener = listener.into_std().inspect_err(|error| error!("Cannot accept the last connections: {error}"));
    let accepted = std::iter::from_fn(move || match listener.as_ref().ok()?.accept() {
        Err(error) if !is_about_the_client(&error) => None,
        accepted => Some(accepted),
    });
    accepted.take(MOST_WAITING).filter_map(|accepted| {
        let (stream, peer) = accepted.ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    })
}

fn is_about_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// How a connection learns of the shutdown: it is asked to close, and cut if that takes too long. A connection is not
/// cut before it was asked, so that only one of the two has to be checked in normal operation.
struct End {
    asked: Arc<Call>,
    enforced: CancellationToken,
}

/// The shutdown signal to all connections, checked at each step of each of them: by a flag, since polling a token takes
/// two locks each time.
#[derive(Debug, Default)]
struct Call {
    is_made: AtomicBool,
    made: CancellationToken,
}

impl Call {
    fn make(&self) {
        // The flag is set first: a task that is woken before would not see it, and would not be woken again.
        self.is_made.store(true, Release);
        self.made.cancel();
    }

    /// Completes when the signal is given. The token is polled only if the waker is another one than the last time.
    fn heard(&self) -> impl Future<Output = ()> {
        let mut made = Box::pin(self.made.cancelled());
        let mut woken = None::<Waker>;
        poll_fn(move |cx| {
            if self.is_made.load(Acquire) {
                return Poll::Ready(());
            }
            if woken.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            woken = Some(cx.waker().clone());
            made.as_mut().poll(cx)
        })
    }
}

/// The first byte of a TLS connection: the type of a record with a part of a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a connection to a port of TLS begins.
enum Handshake {
    Done(Box<TlsStream<TcpStream>>),
    /// The client speaks HTTP without TLS. Nothing has been read.
    PlainHttp(TcpStream),
}

/// The TLS handshake with a client.
async fn handshake(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Handshake> {
    let mut first = [TLS_HANDSHAKE];
    stream.peek(&mut first).await?;
    // Everything that is neither is refused as TLS wants it.
    if first[0].is_ascii_uppercase() {
        return Ok(Handshake::PlainHttp(stream));
    }
    Ok(Handshake::Done(Box::new(TlsAcceptor::from(config).accept(stream).await?)))
}

/// Does the TLS handshake of a connection, and then serves it.
///
/// The handshake and the head of the first request share one time-out. A shutdown lets a handshake finish for as long as
/// it waits for the first bytes of a plain connection.
async fn serve_tls_connection<S>(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    place: OwnedSemaphorePermit,
    connection: Connection,
    service: S,
    timeouts: Timeouts,
    end: End,
) where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let client = connection.client;
    let shaken = tokio::select! {
        biased;
        shaken = timeout(timeouts.head, handshake(stream, config)) => shaken,
        () = async {
            end.asked.heard().await;
            tokio::time::sleep(timeouts.close).await;
        } => return debug!("Cut {client}, whose TLS handshake was not done when the server shut down"),
        () = end.enforced.cancelled() => return,
    };
    match shaken {
        Ok(Ok(Handshake::Done(stream))) => {
            serve_connection(stream, Some(place), connection, service, timeouts, end).await;
        }
        Ok(Ok(Handshake::PlainHttp(stream))) => {
            debug!("{client} speaks HTTP without TLS");
            let refusal = HttpError::bad_request("This port speaks TLS: write https:// in place of http://");
            tell_and_close(stream, &refusal, place, connection.pace, timeouts).await;
        }
        Ok(Err(error)) => debug!("There is no TLS connection with {client}: {error}"),
        Err(_) => debug!("Cut {client}, which took too long for a TLS handshake"),
    }
}

/// Serves one connection until either side closes it, a time-out ends it, or the shutdown has let it finish.
async fn serve_connection<IO, S>(
    io: IO,
    place: Option<OwnedSemaphorePermit>,
    connection: Connection,
    service: S,
    timeouts: Timeouts,
    end: End,
) where
    IO: Transport + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let Connection { client, pace, only, .. } = connection.clone();
    let service = service_fn(move |request: Request<Incoming>| answer(request, service.clone(), &connection));
    let protocol = protocol();
    let socket = TokioIo::new(Socket::new(io, Arc::clone(&pace), place));
    let mut served = pin!(protocol.serve_connection_with_upgrades(socket, service));
    // Dropped before the connection, so that requests that wait for it are not begun for nobody.
    let _closed = pace.closed_when_dropped();
    let mut watch = pin!(Watch::new(&pace, timeouts));
    let mut heard = pin!(end.asked.heard());
    let (mut asked, mut leaving) = (false, false);
    loop {
        tokio::select! {
            // The connection is polled first: the watch has to see what its step has changed.
            biased;
            done = served.as_mut() => {
                if let Err(error) = done {
                    debug!("Connection from {client} ended: {error}");
                }
                return;
            }
            () = heard.as_mut(), if !asked => {
                asked = true;
                // A client that has just connected has probably sent a request that has not arrived yet.
                if pace.await_first_bytes() {
                    continue;
                }
            }
            () = poll_fn(|_| pace.poll_first_bytes()), if asked && !leaving => {}
            // The only request of a reserved connection has begun: it is answered, and the connection closes after it.
            () = begun(only.as_deref()), if only.is_some() && !leaving => {}
            () = end.enforced.cancelled(), if asked => return,
            overdue = watch.as_mut() => match overdue {
                TimeoutKind::Idle => {}
                // Behind a proxy, the other responses may be for other clients: they are finished, and new requests go
                // over a new connection.
                TimeoutKind::Stream => debug!("{client} does not take one of its answers, and gets no more over this connection"),
                TimeoutKind::Head | TimeoutKind::Stall | TimeoutKind::Close => {
                    debug!("Cut {client}, which took too long: {overdue:?}");
                    return;
                }
            }
        }
        // A graceful shutdown: requests in flight are finished, and HTTP/2 clients learn which requests were not taken.
        leaving = true;
        pace.note_closing();
        served.as_mut().graceful_shutdown();
    }
}

/// Completes when the only request of a reserved connection has begun; never for others.
async fn begun(only: Option<&Notify>) {
    match only {
        Some(only) => only.notified().await,
        None => pending().await,
    }
}

/// The settings of HTTP/1.1 and HTTP/2. hyper's own time-outs are off, because [`ConnectionState`] has them. The number
/// of headers is limited by hyper's default of 100: any other limit makes each request slower (ADR 0036).
fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES as u32)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PONG);
    builder
}

/// Passes one request to the service, and tells the connection's state when it begins and when it is answered.
fn answer<S>(
    mut request: Request<Incoming>,
    service: S,
    connection: &Connection,
) -> impl Future<Output = Result<Response<Paced>, Infallible>> + use<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let is_multiplexed = request.version() == Version::HTTP_2;
    let pace = Arc::clone(&connection.pace);
    let in_flight = pace.begin_request(is_multiplexed);
    if let Some(only) = &connection.only {
        only.notify_one();
    }
    // HTTP/2 has no such header: the connection itself announces its end.
    let is_last = connection.only.is_some() && !is_multiplexed;
    // The service answers it, so that the error has its id, its form and its log line.
    if let Some(problem) = malformed(request.version(), request.uri(), request.headers()) {
        request.extensions_mut().insert(Malformed(problem));
    }
    let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
    // Only HTTP/2 clients send requests before they have taken the last response. Others do not have this wait in their
    // future.
    let answer = if is_multiplexed {
        let pace = Arc::clone(&pace);
        let answer = async move {
            pace.room().await;
            call_when_ready(service, request).await
        };
        // hyper answers HTTP/2 requests on another task, which needs the task-local, too.
        Either::Left(Box::pin(connection.clone().current(answer)))
    } else {
        Either::Right(call_when_ready(service, request))
    };
    async move {
        let mut response = answer.await?;
        if is_last {
            // A response that is ready at once is sent before the connection is told to close.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let bytes = unsent_bytes_of(&response);
        // Small responses are not counted, except on HTTP/2, where a connection may have many.
        let is_watched = is_multiplexed || bytes > SMALL_ANSWER;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            pace.note_upgrade();
        } else if response.body().size_hint().exact().is_none() {
            pace.note_stream();
        }
        let (untaken, in_flight) =
            if is_watched { (Some(Untaken::new(in_flight, bytes)), None) } else { (None, Some(in_flight)) };
        Ok(response.map(|body| Paced { body, is_over: false, put_off: None, untaken, _in_flight: in_flight }))
    }
}

/// Calls a service once it is ready, as the contract of [`Service`] wants. Ours is ready at any time and has no state of
/// its own, but a layer that somebody puts around it (a limit of concurrency, a buffer) may panic when it is called
/// before.
///
/// Readiness is asked for here and not in the future, so that the future of a service that is ready is the service's own,
/// which does not carry the request along. Nobody is woken by this first look; if the service is not ready, the future is
/// [`oneshot`](ServiceExt::oneshot), which asks again.
fn call_when_ready<S>(mut service: S, request: Request) -> impl Future<Output = Result<Response, Infallible>> + use<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Either::Left(service.call(request)),
        // In a box, or every future would have room for the wait.
        Poll::Pending => Either::Right(Box::pin(service.oneshot(request))),
        Poll::Ready(Err(never)) => match never {},
    }
}

/// The body of a response. The request is in flight until the body is dropped.
///
/// The chunks that are ready are passed to hyper together: hyper writes a chunk by itself if it is larger than what is
/// buffered, which took half as long again for a list in four chunks.
struct Paced {
    body: Body,
    /// Whether the body has ended: it must not be polled again.
    is_over: bool,
    /// Trailers or an error that came after the last chunks.
    put_off: Option<Result<Frame<Bytes>, axum::Error>>,
    /// The response, if it is watched how the client takes it.
    untaken: Option<Arc<Untaken>>,
    _in_flight: Option<InFlight>,
}

impl Paced {
    fn part(&self, pieces: ChunkedBytes) -> Part {
        match &self.untaken {
            Some(untaken) => untaken.part(pieces),
            None => pieces.into(),
        }
    }
}

impl HttpBody for Paced {
    type Data = Part;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Part>, axum::Error>>> {
        let mut pieces = ChunkedBytes::default();
        while self.put_off.is_none() && pieces.count() < MOST_PIECES && !self.is_end_stream() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => pieces.push(piece),
                    Err(other) => self.put_off = Some(Ok(other)),
                },
                Poll::Ready(Some(Err(error))) => self.put_off = Some(Err(error)),
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending if pieces.has_remaining() => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        if pieces.has_remaining() {
            return Poll::Ready(Some(Ok(Frame::data(self.part(pieces)))));
        }
        // Trailers have no data to be mapped.
        Poll::Ready(self.put_off.take().map(|frame| frame.map(|frame| frame.map_data(|_| Part::default()))))
    }

    fn is_end_stream(&self) -> bool {
        self.put_off.is_none() && (self.is_over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Completes when the client has exceeded the time-out that applies at the moment.
struct Watch<'a> {
    pace: &'a ConnectionState,
    timeouts: Timeouts,
    alarm: Pin<Box<Sleep>>,
}

impl<'a> Watch<'a> {
    fn new(pace: &'a ConnectionState, timeouts: Timeouts) -> Self {
        Self { pace, timeouts, alarm: Box::pin(sleep_until(Instant::now() + timeouts.head)) }
    }
}

impl Future for Watch<'_> {
    type Output = TimeoutKind;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TimeoutKind> {
        while let Some((deadline, overdue)) = self.pace.deadline(&self.timeouts) {
            // Setting a timer costs more than one needless look when it fires, so that it is only ever set to an
            // earlier time until it fires: a busy connection then sets one in ten seconds and not two for every
            // request.
            if deadline < self.alarm.deadline() {
                self.alarm.as_mut().reset(deadline);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if deadline <= Instant::now() {
                return Poll::Ready(overdue);
            }
            self.alarm.as_mut().reset(deadline);
        }
        // No time-out applies. The connection's next step polls this again, except that one of several responses may be
        // passed to hyper without such a step.
        if self.pace.is_multiplexing() && self.alarm.as_mut().poll(cx).is_ready() {
            let again = Instant::now() + self.timeouts.stall / 4;
            self.alarm.as_mut().reset(again);
            let _: Poll<()> = self.alarm.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

/// Answers a client over the cap with 503, without reading its request.
async fn reject<IO: Transport>(io: IO, place: OwnedSemaphorePermit, pace: Arc<ConnectionState>, timeouts: Timeouts) {
    let refusal = HttpError::unavailable("All connections are taken; try again shortly");
    tell_and_close(io, &refusal, place, pace, timeouts).await;
}

/// The same for a client of TLS, which cannot read it without a handshake.
async fn reject_tls(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    place: OwnedSemaphorePermit,
    pace: Arc<ConnectionState>,
    timeouts: Timeouts,
) {
    match timeout(timeouts.close, handshake(stream, config)).await {
        Ok(Ok(Handshake::Done(stream))) => reject(stream, place, pace, timeouts).await,
        Ok(Ok(Handshake::PlainHttp(stream))) => reject(stream, place, pace, timeouts).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Answers with an error, without reading a request, and closes the connection.
async fn tell_and_close<IO: Transport>(
    io: IO,
    error: &HttpError,
    place: OwnedSemaphorePermit,
    pace: Arc<ConnectionState>,
    timeouts: Timeouts,
) {
    let refusal = on_the_wire(error, b"");
    let mut socket = Socket::new(io, pace, Some(place));
    let farewell = async {
        // A few hundred bytes always fit into the send buffer of a new socket.
        poll_fn(|cx| Pin::new(&mut socket).poll_write(cx, &refusal)).await?;
        poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await
    };
    // Whether the client has read it or not, nothing more can be done for it.
    let _: Result<io::Result<()>, _> = timeout(timeouts.close, farewell).await;
}

fn connections_within(files: usize) -> usize {
    MOST_CONNECTIONS.min(files / 5 * 4)
}

/// The soft limit of open files in the words of `/proc/self/limits`; `None` if it is not there or unlimited.
fn open_file_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::{extract::ws::WebSocketUpgrade, response::IntoResponse};
    use futures_util::{SinkExt, StreamExt, stream};
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use rustls::{ClientConfig, RootCertStore};
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        task::JoinHandle,
    };
    use tokio_rustls::{TlsConnector, client};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::http::authentication::Authenticator;
    use crate::http::extract::Json;
    use crate::http::middleware::stack::with_middleware;
    use crate::http::options::HttpOptions;
    use crate::http::request_metrics::RequestMetrics;
    use crate::http::routing::{Routes, get, post};
    use crate::http::server::connection::is_kept_for_operators;
    use crate::tls::self_signed;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

    fn routes() -> Routes {
        Routes::new()
            .route("/", get(async || "home"))
            .route("/body", post(async |Json(body): Json<Value>| Json(body)))
            .route("/stream", get(slow_stream))
            .route("/pieces", get(async || Body::from_stream(forty_pieces())))
            .route("/socket", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(truncate)))
    }

    /// All there at once. Panics if it is asked for more than there is.
    fn forty_pieces() -> impl futures_util::Stream<Item = Result<String, Infallible>> {
        stream::unfold(0, async |n| (n < 40).then(|| (Ok(format!("piece {n};")), n + 1)))
    }

    async fn slow_stream() -> impl IntoResponse {
        let ticks = stream::iter(["tick ", "tick ", "tock"]).then(async |tick| {
            tokio::time::sleep(Duration::from_secs(100)).await;
            Ok::<_, io::Error>(tick)
        });
        Body::from_stream(ticks)
    }

    async fn truncate(mut socket: axum::extract::ws::WebSocket) {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    }

    /// A client's end of a connection that is served in memory, where the clock can be moved.
    fn connect(routes: Routes) -> DuplexStream {
        connect_with(routes, Arc::default())
    }

    fn connect_with(routes: Routes, asked: Arc<Call>) -> DuplexStream {
        connect_among(routes, asked, UnsentBytes::at_most(MAX_UNSENT_BYTES))
    }

    /// One of several connections.
    fn connect_among(routes: Routes, asked: Arc<Call>, unsent: Arc<UnsentBytes>) -> DuplexStream {
        serve_in_memory(
            with_middleware(routes, &HttpOptions::default(), Authenticator::default(), &RequestMetrics::default()),
            asked,
            unsent,
        )
    }

    /// The same for any service.
    fn serve_in_memory<S>(service: S, asked: Arc<Call>, unsent: Arc<UnsentBytes>) -> DuplexStream
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let timeouts = Timeouts::default();
        let connection = Connection {
            client: SocketAddr::from(([192, 0, 2, 7], 4_000)),
            pace: ConnectionState::new(unsent),
            only: None,
            authenticated: Arc::default(),
            is_encrypted: false,
        };
        let end = End { asked, enforced: CancellationToken::new() };
        tokio::spawn(connection.clone().current(serve_connection(server, None, connection, service, timeouts, end)));
        client
    }

    /// The usual options, for tests that must not depend on how soon a client gets to run.
    fn unhurried() -> ListenerOptions {
        let timeouts = Timeouts { close: Duration::from_secs(60), ..Timeouts::default() };
        ListenerOptions { timeouts, ..ListenerOptions::for_this_process(Duration::from_secs(8)) }
    }

    /// A server on a real socket, with the means to stop it and to see that it has.
    struct Server {
        address: SocketAddr,
        shutdown: CancellationToken,
        running: JoinHandle<()>,
    }

    impl Server {
        async fn start(routes: Routes, options: ListenerOptions) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("an address");
            let shutdown = CancellationToken::new();
            let service =
                with_middleware(routes, &HttpOptions::default(), Authenticator::default(), &RequestMetrics::default());
            let running = tokio::spawn(serve(listener, service, options, shutdown.clone()));
            Self { address, shutdown, running }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("a connection")
        }

        /// A connection over TLS.
        async fn connect_by(&self, connector: &TlsConnector) -> client::TlsStream<TcpStream> {
            shake_hands(connector, self.connect().await).await.expect("a handshake")
        }

        async fn stop(self) {
            self.shutdown.cancel();
            self.running.await.expect("an orderly end");
        }
    }

    /// A certificate, and a client that trusts it.
    fn certificate() -> (ServerTls, TlsConnector) {
        let folder = tempfile::tempdir().expect("a folder");
        let files = self_signed(folder.path(), &["localhost".to_owned()]).expect("a certificate");
        let trusted = CertificateDer::from_pem_file(&files.certificate).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(trusted).expect("a certificate that can be trusted");
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let client = client.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
        let tls = ServerTls::load(files).expect("a usable certificate");
        (tls, Arc::new(client.with_no_client_auth()).into())
    }

    async fn shake_hands<IO: tokio::io::AsyncRead + AsyncWrite + Unpin>(
        connector: &TlsConnector,
        io: IO,
    ) -> io::Result<client::TlsStream<IO>> {
        connector.connect("localhost".try_into().expect("a name"), io).await
    }

    /// A client's end of a TLS connection that is served in memory.
    async fn connect_in_memory(routes: Routes, shutdown: Arc<Call>) -> client::TlsStream<DuplexStream> {
        let (tls, connector) = certificate();
        let (client, server) = tokio::io::duplex(64 * 1024);
        let shaken = TlsAcceptor::from(tls.config()).accept(server);
        let (server, client) = tokio::join!(shaken, shake_hands(&connector, client));
        let connection = Connection {
            client: SocketAddr::from(([192, 0, 2, 7], 4_000)),
            pace: ConnectionState::new(UnsentBytes::at_most(MAX_UNSENT_BYTES)),
            only: None,
            is_encrypted: true,
            authenticated: Arc::default(),
        };
        let service =
            with_middleware(routes, &HttpOptions::default(), Authenticator::default(), &RequestMetrics::default());
        let end = End { asked: shutdown, enforced: CancellationToken::new() };
        let server = server.expect("a handshake");
        let served = serve_connection(server, None, connection.clone(), service, Timeouts::default(), end);
        tokio::spawn(connection.current(served));
        client.expect("a handshake")
    }

    /// One response whose length is declared, or declared chunked and ended.
    async fn response(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
        let mut text = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&text);
            if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let whole = match length {
                    Some(length) => body.len() >= length.parse().expect("a length"),
                    None => body.ends_with("0\r\n\r\n") || head.starts_with("HTTP/1.1 101"),
                };
                if whole {
                    return so_far.into_owned();
                }
            }
            let read = client.read_buf(&mut text).await.expect("a response");
            assert!(read > 0, "the connection closed after {:?}", String::from_utf8_lossy(&text));
        }
    }

    /// Everything until the server closes.
    async fn rest(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
        let mut text = Vec::new();
        client.read_to_end(&mut text).await.expect("an orderly end");
        String::from_utf8(text).expect("text")
    }

    #[track_caller]
    fn assert_failure(response: &str, status: u64) {
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let body: Value = serde_json::from_str(body).expect("a JSON body");
        assert_eq!(body["code"], status);
        assert_eq!(body.as_object().map(|body| body.len()), Some(3), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_arrive_is_not_waited_for() {
        for beginning in ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nhost: te"] {
            let mut client = connect(routes());
            let start = Instant::now();
            client.write_all(beginning.as_bytes()).await.expect("a write");
            assert_eq!(rest(&mut client).await, "", "{beginning:?}");
            assert_eq!(start.elapsed().as_secs(), 10, "{beginning:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_wins_no_time() {
        let mut client = connect(routes());
        let start = Instant::now();
        for byte in GET.iter().cycle() {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_rest_between_two_requests() {
        let mut client = connect(routes());
        for _ in 0..3 {
            client.write_all(GET).await.expect("a write");
            assert!(response(&mut client).await.ends_with("home"));
            tokio::time::sleep(Duration::from_secs(74)).await;
        }
        let start = Instant::now();
        assert_eq!(rest(&mut client).await, "");
        assert_eq!(start.elapsed().as_secs(), 1, "75 s after the last answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_last_longer_than_any_patience() {
        let mut client = connect(routes());
        client.write_all(b"GET /stream HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a write");
        let streamed = response(&mut client).await;
        assert!(streamed.contains("tick") && streamed.contains("tock"), "{streamed}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let large = Routes::new().route("/", get(async || "x".repeat(1024 * 1024)));
        let mut client = connect(large);
        client.write_all(GET).await.expect("a write");
        let start = Instant::now();
        tokio::time::sleep(Duration::from_secs(31)).await;
        let read = rest(&mut client).await;
        assert!(read.len() < 1024 * 1024, "{} bytes", read.len());
        assert_eq!(start.elapsed().as_secs(), 31, "nothing was left to wait for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_websocket_outlives_the_patience_of_http() {
        let shutdown = Arc::<Call>::default();
        let client = connect_with(routes(), Arc::clone(&shutdown));
        let (mut socket, _) = tokio_tungstenite::client_async("ws://test/socket", client).await.expect("an upgrade");
        tokio::time::sleep(Duration::from_secs(300)).await;
        shutdown.make();
        socket.send(Message::text("still there?")).await.expect("a send");
        let answer = socket.next().await.expect("an answer").expect("a message");
        assert_eq!(answer.into_text().expect("text").as_str(), "still there?");
        socket.close(None).await.expect("a close");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_tls_is_held_to_the_same_time_outs() {
        for (request, path, seconds) in
            [("GET / HT", "a head", 10), ("GET / HTTP/1.1\r\nhost: test\r\n\r\n", "an answer", 30)]
        {
            let large = Routes::new().route("/", get(async || "x".repeat(1024 * 1024)));
            let mut client = connect_in_memory(large, Arc::default()).await;
            client.write_all(request.as_bytes()).await.expect("a write");
            client.flush().await.expect("a write");
            let start = Instant::now();
            tokio::time::sleep(Duration::from_secs(seconds + 1)).await;
            let mut read = Vec::new();
            // It was cut in the middle, so that there is no close_notify.
            assert!(client.read_to_end(&mut read).await.is_err(), "{path}");
            assert!(read.len() < 1024 * 1024, "{path}: {} bytes", read.len());
            assert_eq!(start.elapsed().as_secs(), seconds + 1, "{path}: nothing was left to wait for");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_bytes_of_an_answer_are_waited_for_no_longer_over_tls() {
        // So much is taken by TLS and by the connection below it that nothing is left to be written.
        let fits = Routes::new().route("/", get(async || "x".repeat(100 * 1024)));
        let mut client = connect_in_memory(fits, Arc::default()).await;
        client.write_all(GET).await.expect("a write");
        client.flush().await.expect("a write");
        tokio::time::sleep(Duration::from_secs(31)).await;
        let start = Instant::now();
        let mut read = Vec::new();
        assert!(client.read_to_end(&mut read).await.is_err(), "it was not cut");
        assert_eq!(start.elapsed().as_secs(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_tls_rests_and_ends_as_others_do() {
        let mut client = connect_in_memory(routes(), Arc::default()).await;
        for _ in 0..3 {
            client.write_all(GET).await.expect("a write");
            client.flush().await.expect("a write");
            assert!(response(&mut client).await.ends_with("home"));
            tokio::time::sleep(Duration::from_secs(74)).await;
        }
        let start = Instant::now();
        assert_eq!(rest(&mut client).await, "", "it ends with a close_notify");
        assert_eq!(start.elapsed().as_secs(), 1, "75 s after the last answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_is_not_finished_is_not_waited_for() {
        let (tls, _) = certificate();
        let server = Server::start(routes(), ListenerOptions { tls: Some(tls), ..unhurried() }).await;
        for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
            let mut client = server.connect().await;
            let start = Instant::now();
            client.write_all(beginning).await.expect("a write");
            let mut read = Vec::new();
            // What was not read yet is reset.
            let _ = client.read_to_end(&mut read).await;
            assert_eq!((read.len(), start.elapsed().as_secs()), (0, 10), "{beginning:?}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn handshakes_take_places_and_who_is_one_too_many_is_told_so_over_tls() {
        let (tls, connector) = certificate();
        let options = ListenerOptions { tls: Some(tls), connections: 1, reserved_connections: 0, ..unhurried() };
        let server = Server::start(routes(), options).await;
        // It never says anything, and holds its place all the same.
        let silent = server.connect().await;
        assert_failure(&rest(&mut server.connect_by(&connector).await).await, 503);
        let mut plain = server.connect().await;
        plain.write_all(GET).await.expect("a write");
        assert_failure(&response(&mut plain).await, 503);
        drop((silent, plain));
        // The place is free when the server has noticed, which is its own business to time.
        loop {
            let mut next = server.connect_by(&connector).await;
            let _ = next.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
            let mut answer = String::new();
            let _ = next.read_to_string(&mut answer).await;
            if answer.ends_with("home") {
                break;
            }
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn who_speaks_plain_http_to_a_port_of_tls_is_told_what_to_write() {
        let (tls, _) = certificate();
        let server = Server::start(routes(), ListenerOptions { tls: Some(tls), ..unhurried() }).await;
        for request in [GET, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n"] {
            let mut client = server.connect().await;
            client.write_all(request).await.expect("a write");
            let answer = rest(&mut client).await;
            assert_failure(&answer, 400);
            assert!(answer.contains("write https:// in place of http://"), "{answer}");
        }
        // What is neither gets an alert, which is two bytes in a record of type 21.
        let mut client = server.connect().await;
        client.write_all(b"\x80\x01\x02\x03\x04").await.expect("a write");
        let mut alert = Vec::new();
        let _ = client.read_to_end(&mut alert).await;
        assert_eq!((alert.first(), alert.len()), (Some(&21), 7), "{alert:?}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_shutdown_lets_what_is_in_flight_over_tls_finish_and_waits_for_no_handshake() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move || {
                begun.notify_one();
                go.notified().await;
                if crate::http::is_encrypted() { "finished" } else { "in clear" }
            }
        };
        let (tls, connector) = certificate();
        let timeouts = Timeouts { close: Duration::from_millis(10), ..Timeouts::default() };
        let options =
            ListenerOptions { tls: Some(tls), timeouts, ..ListenerOptions::for_this_process(Duration::from_secs(60)) };
        let server = Server::start(routes().route("/waits", get(waits)), options).await;
        let mut half_done = server.connect().await;
        half_done.write_all(b"\x16\x03\x01").await.expect("a write");
        let (mut resting, mut working) = (server.connect_by(&connector).await, server.connect_by(&connector).await);
        resting.write_all(GET).await.expect("a write");
        response(&mut resting).await;
        working.write_all(b"GET /waits HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a write");
        begun.notified().await;

        server.shutdown.cancel();
        assert_eq!(rest(&mut resting).await, "", "a connection at rest closes at once, with a close_notify");
        let _ = half_done.read_to_end(&mut Vec::new()).await;
        assert!(!server.running.is_finished(), "somebody still waits for an answer");
        go.notify_one();
        let answer = rest(&mut working).await;
        assert!(answer.ends_with("finished"), "{answer}");
        drop(working);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_websocket_works_over_tls() {
        let client = connect_in_memory(routes(), Arc::default()).await;
        let (mut socket, _) = tokio_tungstenite::client_async("ws://test/socket", client).await.expect("an upgrade");
        socket.send(Message::text("x".repeat(100_000))).await.expect("a send");
        let answer = socket.next().await.expect("an answer").expect("a message");
        assert_eq!(answer.into_text().expect("text").len(), 100_000);
        socket.close(None).await.expect("a close");
    }

    #[tokio::test]
    async fn http2_is_spoken_to_those_who_begin_with_it() {
        let mut client = connect(routes());
        // The preface, empty SETTINGS, and HEADERS for `GET /` out of HPACK's static table, which end the stream, and
        // for a host, which is written out.
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("a write");
        client.write_all(b"\0\0\x09\x01\x05\0\0\0\x01\x82\x84\x86\x01\x04test").await.expect("a write");
        let mut data = Vec::new();
        while data.is_empty() {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.expect("a frame");
            let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
            client.read_exact(&mut payload).await.expect("a payload");
            if head[3] == 0 {
                data = payload;
            }
        }
        assert_eq!(data, b"home");
    }

    #[tokio::test]
    async fn what_is_there_of_a_body_goes_out_together_and_in_order() {
        let all: String = (0..40).map(|n| format!("piece {n};")).collect();
        // What stands between the pieces of a body of unknown length: how long each is, in lines of their own.
        let body = |answer: &str| {
            let lines = answer.split_once("\r\n\r\n").expect("a head").1.split("\r\n");
            lines.filter(|line| line.contains("piece")).collect::<String>()
        };
        let mut client = connect(routes());
        client.write_all(b"GET /pieces HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a write");
        let answer = response(&mut client).await;
        assert_eq!(body(&answer), all);
        assert_eq!(answer.matches("piece 0;").count(), 1);
        assert!(answer.lines().filter(|line| line.contains("piece")).count() <= 3, "{answer}");
    }

    #[tokio::test]
    async fn what_cannot_be_parsed_is_refused_in_the_house_shape() {
        let server = Server::start(routes(), unhurried()).await;
        let headers = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
        for (request, status) in [
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\n{}\r\n", headers(101)), 431),
            (format!("GET / HTTP/1.1\r\nx-large: {}\r\n\r\n", "x".repeat(20_000)), 431),
            (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1_000_000)), 431),
        ] {
            let mut client = server.connect().await;
            // The server may have heard enough before everything is written.
            let _ = client.write_all(request.as_bytes()).await;
            let answer = rest(&mut client).await;
            assert_failure(&answer, status);
            assert!(answer.contains("connection: close") && answer.contains("date: "), "{answer}");
        }
        let mut client = server.connect().await;
        client
            .write_all(format!("GET / HTTP/1.1\r\nhost: test\r\n{}\r\n", headers(64)).as_bytes())
            .await
            .expect("a write");
        assert!(response(&mut client).await.ends_with("home"), "as many as are read are no problem");
        drop(client);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_client_with_too_large_a_body_gets_to_read_why() {
        let server = Server::start(routes(), unhurried()).await;
        let body = vec![b' '; 3 * 1024 * 1024];
        for framing in [format!("content-length: {}", body.len()), "transfer-encoding: chunked".to_owned()] {
            let (mut reading, mut writing) = server.connect().await.into_split();
            let head =
                format!("POST /body HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{framing}\r\n\r\n");
            let chunk_size = if framing.contains("chunked") { format!("{:x}\r\n", body.len()) } else { String::new() };
            let sent = [head.as_bytes(), chunk_size.as_bytes(), &body].concat();
            // Everything is sent before anything is read, as simple clients do.
            let _ = writing.write_all(&sent).await;
            assert_failure(&response(&mut reading).await, 413);
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_a_place_is_freed_by_leaving() {
        let one = ListenerOptions { connections: 1, reserved_connections: 0, ..unhurried() };
        let turned_away = Arc::clone(&one.rejected_connections);
        let server = Server::start(routes(), one).await;
        // A WebSocket has left HTTP, and still takes its place.
        let url = format!("ws://{}/socket", server.address);
        let (mut socket, _) = tokio_tungstenite::client_async(url, server.connect().await).await.expect("an upgrade");
        let mut second = server.connect().await;
        let refusal = rest(&mut second).await;
        drop(second);
        assert_failure(&refusal, 503);
        assert!(refusal.contains("retry-after: 1"), "{refusal}");
        assert_eq!(turned_away.load(Relaxed), 1);

        socket.close(None).await.expect("a close");
        while socket.next().await.is_some() {}
        drop(socket);
        // The place is free when the server has noticed, which is its own business to time.
        loop {
            let mut next = server.connect().await;
            let _ = next.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
            let mut answer = String::new();
            let _ = next.read_to_string(&mut answer).await;
            if answer.ends_with("home") {
                break;
            }
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn beyond_the_cap_a_few_connections_are_for_one_request_of_who_is_no_worker() {
        let kept = async || if is_kept_for_operators() { "kept" } else { "usual" };
        let options = ListenerOptions { connections: 1, reserved_connections: 1, ..unhurried() };
        let turned_away = Arc::clone(&options.rejected_connections);
        let server = Server::start(routes().route("/kept", get(kept)), options).await;
        let mut usual = server.connect().await;
        let get_kept = b"GET /kept HTTP/1.1\r\nhost: test\r\n\r\n";
        usual.write_all(get_kept).await.expect("a write");
        assert!(response(&mut usual).await.ends_with("usual"));
        let mut reserved = server.connect().await;
        assert_failure(&rest(&mut server.connect().await).await, 503);
        assert_eq!(turned_away.load(Relaxed), 1, "the one that got no hearing");
        reserved.write_all(get_kept).await.expect("a write");
        let answer = response(&mut reserved).await;
        assert!(answer.ends_with("kept") && answer.contains("connection: close"), "{answer}");
        assert_eq!(rest(&mut reserved).await, "", "there is no second request");
        drop(reserved);

        // What goes on would keep the place. It is free when the server has noticed, which is its own business to time.
        let upgrade = "GET /socket HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let stream = "GET /stream HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n";
        let lines = "GET /lines HTTP/1.1\r\nhost: test\r\naccept: application/x-ndjson\r\n\r\n";
        for request in [upgrade, stream, lines] {
            let refusal = loop {
                let mut next = server.connect().await;
                let _ = next.write_all(request.as_bytes()).await;
                let mut answer = String::new();
                let _ = next.read_to_string(&mut answer).await;
                if answer.contains("for streams") {
                    break answer;
                }
                let is_unheard = answer.is_empty() || answer.contains("All connections are taken; try again shortly");
                assert!(is_unheard, "it holds its connection: {answer}");
            };
            assert_failure(&refusal, 503);
            assert!(refusal.contains("connection: close"), "{refusal}");
        }
        usual.write_all(get_kept).await.expect("a write");
        assert!(response(&mut usual).await.ends_with("usual"), "those within the cap are as always");
        server.stop().await;
    }

    /// Panics when it is called before it was ready, which it is when it is asked for the third time.
    #[derive(Default)]
    struct Reluctant {
        looks: usize,
    }

    impl Clone for Reluctant {
        /// That one is ready does not make its copy so.
        fn clone(&self) -> Self {
            Self::default()
        }
    }

    impl Service<Request> for Reluctant {
        type Response = Response;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response, Infallible>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.looks += 1;
            if self.looks > 2 {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn call(&mut self, _: Request) -> Self::Future {
            assert!(std::mem::take(&mut self.looks) > 2, "it was called before it was ready");
            std::future::ready(Ok("ready".into_response()))
        }
    }

    #[tokio::test]
    async fn a_service_is_called_when_it_is_ready_and_not_before() {
        let served = || serve_in_memory(Reluctant::default(), Arc::default(), UnsentBytes::at_most(MAX_UNSENT_BYTES));
        let mut client = served();
        for _ in 0..2 {
            client.write_all(GET).await.expect("a write");
            assert!(response(&mut client).await.ends_with("ready"));
        }
        let (mut requests, _connection) = http2(served(), 65_535).await;
        for _ in 0..2 {
            assert_eq!(ask(&mut requests, "/").await.expect("an answer").status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn a_shutdown_lets_what_is_in_flight_finish() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let router = {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            Routes::new().route("/", get(async || "home")).route(
                "/waits",
                get(async move || {
                    begun.notify_one();
                    go.notified().await;
                    "finished"
                }),
            )
        };
        let server = Server::start(router, unhurried()).await;
        let (mut resting, mut working) = (server.connect().await, server.connect().await);
        resting.write_all(GET).await.expect("a write");
        response(&mut resting).await;
        working.write_all(b"GET /waits HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a write");
        begun.notified().await;

        server.shutdown.cancel();
        assert_eq!(rest(&mut resting).await, "", "a connection at rest closes at once");
        assert!(!server.running.is_finished(), "somebody still waits for an answer");
        go.notify_one();
        let answer = rest(&mut working).await;
        assert!(answer.ends_with("finished") && answer.contains("connection: close"), "{answer}");
        drop((resting, working));
        let address = server.address;
        server.stop().await;
        assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_ever() {
        let begun = Arc::new(Notify::new());
        let router = {
            let begun = Arc::clone(&begun);
            Routes::new().route(
                "/",
                get(async move || {
                    begun.notify_one();
                    std::future::pending::<String>().await
                }),
            )
        };
        let brief = ListenerOptions::for_this_process(Duration::from_millis(10));
        let server = Server::start(router, brief).await;
        let mut client = server.connect().await;
        client.write_all(GET).await.expect("a write");
        begun.notified().await;
        server.stop().await;
        assert_eq!(rest(&mut client).await, "");
    }

    #[test]
    fn the_cap_follows_the_file_limit() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             127000               127000               processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_file_limit(limits), Some(1_024));
        assert_eq!(
            open_file_limit("Max open files            unlimited            unlimited            files\n"),
            None
        );
        assert_eq!(open_file_limit(""), None);
        assert_eq!(connections_within(1_024), 816);
        assert_eq!(connections_within(20_000), MOST_CONNECTIONS);
    }

    /// Routes with an answer of a megabyte, which count how often it was made.
    fn large(made: &Arc<AtomicUsize>) -> Routes {
        let made = Arc::clone(made);
        let large = move || {
            made.fetch_add(1, Relaxed);
            std::future::ready(vec![b'x'; MIB])
        };
        routes().route("/large", get(async move || large().await)).route("/steady", get(async || vec![b'x'; 64 * 1024]))
    }

    const MIB: usize = 1024 * 1024;

    /// A client's end of an HTTP/2 connection. It opens windows of this many bytes, and no others by itself.
    async fn http2(
        client: DuplexStream,
        window: u32,
    ) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let mut settings = h2::client::Builder::new();
        settings.initial_window_size(window).initial_connection_window_size(16 * MIB as u32);
        let (requests, connection) = settings.handshake(client).await.expect("a handshake");
        (requests, tokio::spawn(connection))
    }

    /// Asks, and answers with the answer's head and its body, which has yet to be taken.
    async fn ask(
        requests: &mut h2::client::SendRequest<Bytes>,
        path: &str,
    ) -> Result<axum::http::Response<h2::RecvStream>, h2::Error> {
        let request = axum::http::Request::get(format!("http://test{path}")).body(()).expect("a request");
        std::future::poll_fn(|cx| requests.poll_ready(cx)).await?;
        requests.send_request(request, true)?.0.await
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_http2_that_opens_no_window_is_cut() {
        for window in [0, 1, 1_000] {
            let made = Arc::default();
            let (mut requests, connection) = http2(connect(large(&made)), window).await;
            let start = Instant::now();
            let answer = ask(&mut requests, "/large").await.expect("a head");
            assert_eq!(answer.status(), StatusCode::OK);
            // What is held here is not taken: the windows stay as they are.
            let cut = connection.await.expect("no panic");
            assert_eq!(start.elapsed().as_secs(), 30, "{window}: {cut:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_reader_of_http2_gets_all_of_its_answer() {
        let made = Arc::default();
        let (mut requests, connection) = http2(connect(large(&made)), 1_024).await;
        let start = Instant::now();
        let mut body = ask(&mut requests, "/steady").await.expect("a head").into_body();
        let mut taken = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.expect("the next piece");
            taken += piece.len();
            tokio::time::sleep(Duration::from_secs(20)).await;
            body.flow_control().release_capacity(piece.len()).expect("an open stream");
        }
        assert_eq!(taken, 64 * 1024);
        assert!(start.elapsed() > Duration::from_secs(20 * 60), "{:?}", start.elapsed());
        assert!(!connection.is_finished(), "it may ask for more");
        assert_eq!(ask(&mut requests, "/").await.expect("an answer").status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_ends_no_other_that_is() {
        let made = Arc::default();
        let (mut requests, connection) = http2(connect(large(&made)), 1_024).await;
        let start = Instant::now();
        let stalled = ask(&mut requests, "/large").await.expect("a head");
        let mut steady = ask(&mut requests, "/steady").await.expect("a head").into_body();
        let mut taken = 0;
        while let Some(piece) = steady.data().await {
            let piece = piece.expect("the next piece");
            taken += piece.len();
            tokio::time::sleep(Duration::from_secs(5)).await;
            steady.flow_control().release_capacity(piece.len()).expect("an open stream");
        }
        assert_eq!(taken, 64 * 1024);
        assert!(start.elapsed() > Duration::from_secs(300), "{:?}", start.elapsed());
        // Nothing new comes over a connection one of whose answers stands still, and when that is all, it is cut.
        assert!(ask(&mut requests, "/").await.is_err());
        drop((stalled, connection.await.expect("no panic")));
        assert!(start.elapsed() < Duration::from_secs(400), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_client_does_not_take_is_bounded() {
        let made = Arc::default();
        let (requests, connection) = http2(connect(large(&made)), 0).await;
        let asks: Vec<_> = (0..100)
            .map(|_| {
                let mut requests = requests.clone();
                tokio::spawn(async move { ask(&mut requests, "/large").await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let held = made.load(Relaxed);
        assert!((2..=8).contains(&held), "{held} answers of 1 MiB wait for one client");
        let start = Instant::now();
        drop(connection.await.expect("no panic"));
        assert!(
            start.elapsed() <= Duration::from_secs(15),
            "those that wait for room save nobody: {:?}",
            start.elapsed()
        );
        for answer in futures_util::future::join_all(asks).await {
            drop(answer.expect("no panic"));
        }
        assert_eq!(made.load(Relaxed), held, "nothing is made for a client that was cut");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_its_answers_gets_as_many_as_it_asks_for() {
        let made = Arc::default();
        let (requests, _connection) = http2(connect(large(&made)), 65_535).await;
        let asks = (0..50).map(|_| {
            let mut requests = requests.clone();
            tokio::spawn(async move {
                let answer = ask(&mut requests, "/large").await.expect("a head");
                assert_eq!(answer.status(), StatusCode::OK);
                let (mut body, mut taken) = (answer.into_body(), 0);
                while let Some(piece) = body.data().await {
                    let piece = piece.expect("the next piece");
                    taken += piece.len();
                    body.flow_control().release_capacity(piece.len()).expect("an open stream");
                }
                taken
            })
        });
        for taken in futures_util::future::join_all(asks).await {
            assert_eq!(taken.expect("no panic"), MIB);
        }
        assert_eq!(made.load(Relaxed), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn what_all_clients_together_do_not_take_is_bounded() {
        let (made, unsent) = (Arc::default(), UnsentBytes::at_most(4 * MIB));
        let mut open = Vec::new();
        let mut statuses = Vec::new();
        for n in 0..8 {
            let mut client = connect_among(large(&made), Arc::default(), Arc::clone(&unsent));
            if n % 2 == 0 {
                let (mut requests, connection) = http2(client, 0).await;
                let answer = ask(&mut requests, "/large").await.expect("a head");
                statuses.push(answer.status().as_u16());
                open.push((Some((requests, connection, answer)), None));
            } else {
                client.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a write");
                let mut head = [0; 12];
                client.read_exact(&mut head).await.expect("a head");
                statuses.push(String::from_utf8_lossy(&head[9..]).parse().expect("a status"));
                open.push((None, Some(client)));
            }
        }
        assert_eq!(statuses, [200, 200, 200, 200, 503, 503, 503, 503]);
        // Small answers are answers, and so are large ones when those who stand still have been cut.
        let mut client = connect_among(large(&made), Arc::default(), Arc::clone(&unsent));
        client.write_all(GET).await.expect("a write");
        assert!(response(&mut client).await.ends_with("home"));
        tokio::time::sleep(Duration::from_secs(31)).await;
        let mut client = connect_among(large(&made), Arc::default(), unsent);
        client.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a write");
        assert!(response(&mut client).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn http2_names_one_host() {
        let made = Arc::default();
        let (mut requests, _connection) = http2(connect(large(&made)), 65_535).await;
        for (uri, host, status) in
            [("http://test/", None, 200), ("http://test/", Some("TEST"), 200), ("http://test/", Some("other"), 400)]
        {
            let mut request = axum::http::Request::get(uri).body(()).expect("a request");
            if let Some(host) = host {
                request.headers_mut().insert("host", host.parse().expect("a value"));
            }
            std::future::poll_fn(|cx| requests.poll_ready(cx)).await.expect("a connection");
            let answer = requests.send_request(request, true).expect("a stream").0.await.expect("an answer");
            assert_eq!(answer.status().as_u16(), status, "{uri} {host:?}");
        }
    }
}
