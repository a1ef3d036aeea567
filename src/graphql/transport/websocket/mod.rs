//! GraphQL over WebSocket: the protocol `graphql-transport-ws`, and for old dashboards its
//! predecessor `graphql-ws`. [`subprotocol`] has their words; the loop below is the same for both, and keeps
//! to the close codes of the present one.

mod subprotocol;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Request, Variables};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll, abortable};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::subprotocol::{ClientMessage, Operation, Subprotocol};
use crate::graphql::execution::executor::Executor;
use crate::graphql::operation::document_cache::DOCUMENT_ID;
use crate::graphql::subscriptions::broadcast::Payload;
use crate::graphql::transport::endpoint::Endpoint;
use crate::graphql::transport::params::{is_meant_otherwise, misspelt, named, whole_numbers};
use crate::http::origin;

/// How long a client may take to say `connection_init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a silent client is asked whether it is still there.
const PING_PERIOD: Duration = Duration::from_secs(15);

/// How long a client may stay silent altogether.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// How long a client may take to accept one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client that was told to go may take to do so.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Largest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// Most operations at once on one socket.
const MAX_OPERATIONS: usize = 50;

/// The default zeroes 128 KiB on every read, which was 38 % of the cost of a delivery.
const READ_BUFFER: usize = 4 * 1024;

/// How long a socket that was just written to waits for more to write at once: a write costs more than what is written.
/// What comes after a quiet time goes out immediately, and so do answers that the client waits for.
const GATHER_TIME: Duration = Duration::from_millis(200);

/// How many bytes are gathered for one write to the socket, if there is so much to tell.
const WRITE_SIZE: usize = 16 * 1024;

/// Accepts the socket. Whoever may not have it is told by a close code: a browser's page cannot see anything else.
pub fn open(endpoint: &Endpoint, uri: &Uri, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let subprotocol = preferred_dialect(headers);
    let upgrade = upgrade
        .protocols(subprotocol.map(Subprotocol::name))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_SIZE)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE);
    let is_foreign_page = origin::is_foreign_page(uri, headers, &endpoint.origins);
    let (engine, sockets, closing) = (endpoint.engine.clone(), endpoint.sockets.clone(), endpoint.closing.clone());
    let serve = async move |socket: WebSocket| match subprotocol {
        _ if is_foreign_page => {
            let reason = "Forbidden: pages of this origin need the server's --cors-origin";
            close(socket, Close::new(4403, reason)).await;
        }
        None => {
            let reason = format!("Subprotocol not acceptable: ask for {}", Subprotocol::TransportWs.name());
            close(socket, Close::new(4406, reason)).await;
        }
        Some(subprotocol) => Connection::new(engine, socket, subprotocol).serve(closing).await,
    };
    upgrade.on_upgrade(move |socket| sockets.track_future(serve(socket)))
}

/// The first of the sub-protocols asked for that is spoken here: a client names them in the order of its preference.
/// (Some believe that they were given their first, whatever the answer says.)
fn preferred_dialect(headers: &HeaderMap) -> Option<Subprotocol> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).map(str::trim);
    names.find_map(|name| Subprotocol::ALL.into_iter().find(|subprotocol| subprotocol.name() == name))
}

/// Why a socket is closed: code and words of the protocol.
struct Close(u16, String);

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        // A close frame holds 125 bytes, two of them the code.
        while reason.len() > 123 {
            reason.pop();
        }
        Self(code, reason)
    }
}

/// Says why, and waits a moment for the client to have seen it.
async fn close(mut socket: WebSocket, Close(code, reason): Close) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
    // Whoever does not take the goodbye is gone already.
    let _ = timeout(GOODBYE_TIME, socket.send(Message::Close(Some(frame)))).await;
    part(socket).await;
}

/// Waits a moment for the closing handshake to be over, of which the library does our part while it reads.
async fn part(mut socket: WebSocket) {
    let _ = timeout(GOODBYE_TIME, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// Something an operation has to say, with the operation's id; none when it is over.
type Step = (Arc<str>, Option<Payload>);

/// What comes next: on with it, or the end, with what to say about it.
type Flow = ControlFlow<Option<Close>>;

/// An operation that is not over.
struct Running {
    handle: AbortHandle,
    /// How each of its messages begins.
    head: String,
    /// Whether it has said anything yet.
    is_answered: bool,
}

/// One client.
struct Connection {
    engine: Executor,
    socket: WebSocket,
    subprotocol: Subprotocol,
    is_acknowledged: bool,
    /// Taking turns: an operation that always has something to say does not silence the others.
    operations: SelectAll<BoxStream<'static, Step>>,
    running: HashMap<Arc<str>, Running>,
    last_heard: Instant,
    /// When to look whether the client still does its part.
    check: Pin<Box<Sleep>>,
    /// Until when more is gathered before anything is written.
    gather: Pin<Box<Sleep>>,
    is_gathering: bool,
}

impl Connection {
    fn new(engine: Executor, socket: WebSocket, subprotocol: Subprotocol) -> Self {
        let now = Instant::now();
        Self {
            engine,
            socket,
            subprotocol,
            is_acknowledged: false,
            operations: SelectAll::new(),
            running: HashMap::new(),
            last_heard: now,
            check: Box::pin(sleep_until(now + INIT_TIMEOUT)),
            gather: Box::pin(sleep_until(now)),
            is_gathering: false,
        }
    }

    async fn serve(mut self, closing: CancellationToken) {
        let mut closing = pin!(closing.cancelled());
        let reason = loop {
            let next = tokio::select! {
                () = &mut closing => ControlFlow::Break(Some(Close::new(1012, "Service restart"))),
                received = self.socket.recv() => self.hear(received).await,
                Some(step) = self.operations.next(), if !self.is_gathering => self.tell(step).await,
                () = &mut self.gather, if self.is_gathering => {
                    self.is_gathering = false;
                    ControlFlow::Continue(())
                }
                () = &mut self.check => self.check().await,
            };
            if let ControlFlow::Break(reason) = next {
                break reason;
            }
        };
        // What is still running has nobody to tell.
        self.operations.clear();
        match reason {
            Some(reason) => close(self.socket, reason).await,
            None => part(self.socket).await,
        }
    }

    /// Looks whether the client still does its part.
    async fn check(&mut self) -> Flow {
        if !self.is_acknowledged {
            return ControlFlow::Break(Some(Close::new(4408, "Connection initialisation timeout")));
        }
        if self.last_heard.elapsed() >= SILENCE_LIMIT {
            return ControlFlow::Break(Some(Close::new(1011, "No sign of life")));
        }
        self.check.as_mut().reset(Instant::now() + PING_PERIOD);
        self.say(self.subprotocol.ping()).await
    }

    async fn hear(&mut self, received: Option<Result<Message, axum::Error>>) -> Flow {
        self.last_heard = Instant::now();
        let text = match received {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return ControlFlow::Continue(()),
            Some(Ok(Message::Binary(_))) => {
                return ControlFlow::Break(Some(Close::new(4400, "Messages are JSON text, not binary")));
            }
            // The library has no other way to tell it from a connection that broke.
            Some(Err(error)) if error.to_string().starts_with("Space limit exceeded") => {
                let reason = format!("Messages of up to {} KiB are read", MAX_MESSAGE / 1024);
                return ControlFlow::Break(Some(Close::new(1009, reason)));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return ControlFlow::Break(None),
        };
        let said = match self.subprotocol.read(&text) {
            Ok(said) => said,
            Err(error) => return ControlFlow::Break(Some(Close::new(4400, format!("Invalid message: {error}")))),
        };
        match said {
            ClientMessage::Init if self.is_acknowledged => {
                ControlFlow::Break(Some(Close::new(4429, "Too many initialisation requests")))
            }
            ClientMessage::Init => {
                self.is_acknowledged = true;
                self.check.as_mut().reset(Instant::now() + PING_PERIOD);
                self.say(self.subprotocol.ack()).await
            }
            ClientMessage::Ping(payload) => self.say([Subprotocol::pong(payload)]).await,
            ClientMessage::Pong => ControlFlow::Continue(()),
            ClientMessage::Subscribe(..) if !self.is_acknowledged => {
                ControlFlow::Break(Some(Close::new(4401, "Unauthorized: connection_init comes first")))
            }
            ClientMessage::Subscribe(id, operation) => self.start(id.into(), operation),
            ClientMessage::Complete(id) => {
                self.stop(&id);
                ControlFlow::Continue(())
            }
            ClientMessage::Terminate => ControlFlow::Break(Some(Close::new(1000, "Bye"))),
        }
    }

    fn start(&mut self, id: Arc<str>, operation: Operation) -> Flow {
        match self.subprotocol {
            Subprotocol::TransportWs if self.running.contains_key(&id) => {
                return ControlFlow::Break(Some(Close::new(4409, format!("Subscriber for {id} already exists"))));
            }
            Subprotocol::TransportWs => {}
            // Its clients may use an id again without a word.
            Subprotocol::Legacy => self.stop(&id),
        }
        if self.running.len() >= MAX_OPERATIONS {
            let reason = format!("At most {MAX_OPERATIONS} operations at once on one socket");
            return ControlFlow::Break(Some(Close::new(4429, reason)));
        }
        let Operation { query, document_id, operation_name, variables, extensions, others } = operation;
        let variables = whole_numbers(Variables::from_json(variables.unwrap_or_default().into()));
        let mut request = Request::new(query.unwrap_or_default()).variables(variables);
        request.operation_name = named(operation_name);
        for (name, value) in extensions.unwrap_or_default() {
            request.extensions.insert(name, async_graphql::Value::from_json(value).unwrap_or_default());
        }
        if let Some(id) = document_id {
            request.extensions.insert(DOCUMENT_ID.to_owned(), id.into());
        }
        let answers = match others.keys().find_map(|name| misspelt(name)) {
            Some((name, meant)) => self.engine.stream_asked(Err(is_meant_otherwise(&name, meant))),
            None => self.engine.stream(request),
        };
        let (answers, handle) = abortable(answers);
        let running = Running { handle: handle.clone(), head: self.subprotocol.next_head(&id), is_answered: false };
        self.running.insert(id.clone(), running);
        self.is_gathering = false;
        let steps = {
            let id = id.clone();
            answers.map(move |answer| (id.clone(), Some(answer)))
        };
        // The last word of an operation that ends by itself; one that was stopped says nothing more.
        let over = stream::once(async move { (!handle.is_aborted()).then_some((id, None)) });
        self.operations.push(steps.chain(over.filter_map(std::future::ready)).boxed());
        ControlFlow::Continue(())
    }

    fn stop(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.handle.abort();
        }
    }

    /// Passes on what operations have to say: all there is at the moment, or as much as goes well into one write.
    async fn tell(&mut self, first: Step) -> Flow {
        let mut room = WRITE_SIZE;
        let mut next = Some(first);
        while let Some((id, payload)) = next {
            if let Some(message) = self.message(&id, payload) {
                room = room.saturating_sub(length(&message));
                self.in_time(async |socket| socket.feed(message).await).await?;
            }
            next = if room > 0 { self.operations.next().now_or_never().flatten() } else { None };
        }
        // One that has more to tell already than goes into one write is not made to wait.
        if room > 0 && self.running.values().all(|running| running.is_answered) {
            self.is_gathering = true;
            self.gather.as_mut().reset(Instant::now() + GATHER_TIME);
        }
        self.in_time(async |socket| socket.flush().await).await
    }

    /// What to send for an operation's step; nothing if it has been stopped.
    fn message(&mut self, id: &str, payload: Option<Payload>) -> Option<Message> {
        let Running { head, is_answered, .. } = self.running.get_mut(id)?;
        *is_answered = true;
        Some(match payload {
            // Written out already, for everybody who asked the same: only the head is this client's.
            Some(Payload::Next(json)) => Message::Text([&**head, &json, Subprotocol::NEXT_TAIL].concat().into()),
            Some(Payload::Refused(errors)) => {
                // It is an operation's last word.
                self.stop(id);
                self.subprotocol.error(id, &errors)
            }
            None => {
                self.stop(id);
                Subprotocol::complete(id)
            }
        })
    }

    async fn say(&mut self, messages: impl IntoIterator<Item = Message>) -> Flow {
        for message in messages {
            self.in_time(async |socket| socket.send(message).await).await?;
        }
        ControlFlow::Continue(())
    }

    /// Writes; a client that does not read is cut off with a code that says "try again".
    async fn in_time(&mut self, write: impl AsyncFnOnce(&mut WebSocket) -> Result<(), axum::Error>) -> Flow {
        match timeout(SEND_TIMEOUT, write(&mut self.socket)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(None),
            Err(_) => ControlFlow::Break(Some(Close::new(1013, "Try again later: messages were not read in time"))),
        }
    }
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}
