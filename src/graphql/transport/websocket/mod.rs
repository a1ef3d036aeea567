//! GraphQL over WebSocket: the connection loop of the subprotocol `graphql-transport-ws`, and of its predecessor
//! `graphql-ws` for old dashboards, with its time-outs and limits.
//!
//! [`subprotocol`] parses and writes their messages. The loop is the same for both, and uses the close codes of
//! `graphql-transport-ws`. Items of subscriptions come rendered from the executor.

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
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll, abortable};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::subprotocol::{ClientMessage, Operation, Subprotocol};
use crate::auth::{Caller, Denied, RequestDetails};
use crate::error::Error;
use crate::graphql::execution::executor::Executor;
use crate::graphql::operation::document_cache::DOCUMENT_ID;
use crate::graphql::subscriptions::broadcast::Payload;
use crate::graphql::transport::endpoint::Endpoint;
use crate::graphql::transport::params::{misspelt, misspelt_error, non_empty_name, normalize_numbers};
use crate::http::{Authenticator, HttpError, current_caller, is_encrypted, origin};

/// How long a client may take to send `connection_init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the server pings a client.
const PING_PERIOD: Duration = Duration::from_secs(15);

/// After this long without any message, pong included, a connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// How long one write may take before the client counts as one that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// Most operations at once on one connection.
const MAX_OPERATIONS: usize = 50;

/// The read buffer of a socket. The default is 128 KiB and zeroed on every read, which was 38 % of the cost of a
/// delivery.
const READ_BUFFER: usize = 4 * 1024;

/// After a write, further messages are batched for this long into one write, since a write to a socket costs more than
/// the message in it. The first message after an idle time is sent immediately, and so is the first one of an
/// operation.
const BATCH_WINDOW: Duration = Duration::from_millis(200);

/// A write is sent once this many bytes of messages are in it.
const WRITE_SIZE: usize = 16 * 1024;

/// Accepts the upgrade and serves the connection. A connection that is not allowed is accepted too and closed with a
/// close code, because a page in a browser can see nothing else.
pub fn open(endpoint: &Endpoint, uri: &Uri, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let subprotocol = negotiate_subprotocol(headers);
    let upgrade = upgrade
        .protocols(subprotocol.map(Subprotocol::name))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_SIZE)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE);
    let is_foreign_page = origin::is_foreign_page(uri, headers, is_encrypted(), &endpoint.origins);
    let (executor, sockets, closing) = (endpoint.executor.clone(), endpoint.sockets.clone(), endpoint.closing.clone());
    let (caller, authenticator) = (current_caller(), endpoint.authenticator.clone());
    let serve = async move |socket: WebSocket| match subprotocol {
        _ if is_foreign_page => {
            let reason = "Forbidden: pages of this origin need the server's --cors-origin";
            close(socket, Close::new(4403, reason)).await;
        }
        None => {
            let reason = format!("Subprotocol not acceptable: ask for {}", Subprotocol::TransportWs.name());
            close(socket, Close::new(4406, reason)).await;
        }
        Some(subprotocol) => Connection::new(executor, socket, subprotocol, caller, authenticator).serve(closing).await,
    };
    upgrade.on_upgrade(move |socket| sockets.track_future(serve(socket)))
}

/// The first supported subprotocol of those that the client offers, which are in the order of its preference. (Some
/// clients assume their first, whatever the response says.)
fn negotiate_subprotocol(headers: &HeaderMap) -> Option<Subprotocol> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).map(str::trim);
    names.find_map(|name| Subprotocol::ALL.into_iter().find(|subprotocol| subprotocol.name() == name))
}

/// A close frame: code and reason.
struct Close(u16, String);

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        // A close frame holds 125 bytes, of which the code takes two.
        while reason.len() > 123 {
            reason.pop();
        }
        Self(code, reason)
    }
}

/// The close frame for a caller that is not accepted, or not any more.
fn forbidden(why: &Error) -> Close {
    Close::new(4403, format!("Forbidden: {why}"))
}

/// Sends a close frame and awaits the closing handshake.
async fn close(mut socket: WebSocket, Close(code, reason): Close) {
    let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
    // If the frame cannot be sent, the client is gone already.
    let _ = timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await;
    await_close(socket).await;
}

/// Awaits the end of the closing handshake for a limited time. The library does our part of it while it reads.
async fn await_close(mut socket: WebSocket) {
    let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// The id of an operation and its next payload; no payload when it is complete.
type OperationOutput = (Arc<str>, Option<Payload>);

/// Whether the connection goes on, or ends: with this close frame, or without one if the client is gone.
type Flow = ControlFlow<Option<Close>>;

/// An operation that is not complete.
struct RunningOperation {
    handle: AbortHandle,
    /// The beginning of each of its `next` messages, up to the payload.
    head: String,
    /// Whether it has had a payload yet.
    is_answered: bool,
}

/// The connection of one client.
struct Connection {
    executor: Executor,
    socket: WebSocket,
    subprotocol: Subprotocol,
    /// Who opened it: by `Authorization` of the handshake, or by `authorization` in the payload of `connection_init`.
    caller: Caller,
    authenticator: Authenticator,
    /// Ends when the caller is not accepted any more.
    denial: BoxFuture<'static, Error>,
    is_acknowledged: bool,
    /// The outputs of all operations. They are polled in turn, so that a busy operation does not starve the others.
    operations: SelectAll<BoxStream<'static, OperationOutput>>,
    running: HashMap<Arc<str>, RunningOperation>,
    last_received: Instant,
    /// When to run [`check_liveness`](Self::check_liveness) next.
    liveness_check: Pin<Box<Sleep>>,
    /// When batching ends and the next write begins.
    batch_timer: Pin<Box<Sleep>>,
    is_batching: bool,
}

impl Connection {
    fn new(
        executor: Executor,
        socket: WebSocket,
        subprotocol: Subprotocol,
        caller: Caller,
        authenticator: Authenticator,
    ) -> Self {
        let now = Instant::now();
        Self {
            executor,
            socket,
            subprotocol,
            caller,
            authenticator,
            denial: pending().boxed(),
            is_acknowledged: false,
            operations: SelectAll::new(),
            running: HashMap::new(),
            last_received: now,
            liveness_check: Box::pin(sleep_until(now + INIT_TIMEOUT)),
            batch_timer: Box::pin(sleep_until(now)),
            is_batching: false,
        }
    }

    async fn serve(mut self, closing: CancellationToken) {
        let mut closing = pin!(closing.cancelled());
        let reason = loop {
            let next = tokio::select! {
                biased;
                why = &mut self.denial => ControlFlow::Break(Some(forbidden(&why))),
                () = &mut closing => ControlFlow::Break(Some(Close::new(1012, "Service restart"))),
                received = self.socket.recv() => self.on_message(received).await,
                Some(output) = self.operations.next(), if !self.is_batching => self.forward(output).await,
                () = &mut self.batch_timer, if self.is_batching => {
                    self.is_batching = false;
                    ControlFlow::Continue(())
                }
                () = &mut self.liveness_check => self.check_liveness().await,
            };
            if let ControlFlow::Break(reason) = next {
                break reason;
            }
        };
        // Nobody reads the outputs of the operations that still run.
        self.operations.clear();
        match reason {
            Some(reason) => close(self.socket, reason).await,
            None => await_close(self.socket).await,
        }
    }

    /// Ends a connection that was not initialised in time or has been idle for too long; else pings the client.
    async fn check_liveness(&mut self) -> Flow {
        if !self.is_acknowledged {
            return ControlFlow::Break(Some(Close::new(4408, "Connection initialisation timeout")));
        }
        if self.last_received.elapsed() >= IDLE_TIMEOUT {
            return ControlFlow::Break(Some(Close::new(1011, "No sign of life")));
        }
        self.liveness_check.as_mut().reset(Instant::now() + PING_PERIOD);
        self.send(self.subprotocol.ping()).await
    }

    /// Handles a message of the client, or the end of its connection.
    async fn on_message(&mut self, received: Option<Result<Message, axum::Error>>) -> Flow {
        self.last_received = Instant::now();
        let text = match received {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return ControlFlow::Continue(()),
            Some(Ok(Message::Binary(_))) => {
                return ControlFlow::Break(Some(Close::new(4400, "Messages are JSON text, not binary")));
            }
            // The library tells this error from a broken connection only by its text.
            Some(Err(error)) if error.to_string().starts_with("Space limit exceeded") => {
                let reason = format!("Messages of up to {} KiB are read", MAX_MESSAGE / 1024);
                return ControlFlow::Break(Some(Close::new(1009, reason)));
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return ControlFlow::Break(None),
        };
        let message = match self.subprotocol.parse_message(&text) {
            Ok(message) => message,
            Err(error) => return ControlFlow::Break(Some(Close::new(4400, format!("Invalid message: {error}")))),
        };
        match message {
            ClientMessage::Init(_) if self.is_acknowledged => {
                ControlFlow::Break(Some(Close::new(4429, "Too many initialisation requests")))
            }
            ClientMessage::Init(authorization) => {
                if let Some(text) = authorization {
                    let principal = self.authenticator.principal_of_text(&text);
                    self.caller = self.caller.clone().with_principal(principal);
                }
                if let Some(why) = self.caller.principal().missing() {
                    // Counted; over a socket it is told as any other.
                    let client = self.caller.request().and_then(RequestDetails::address);
                    let _: HttpError = self.authenticator.refusal(why, client);
                    return ControlFlow::Break(Some(forbidden(&Denied::Unauthenticated(why).into())));
                }
                self.denial = self.executor.denied_later(self.caller.clone());
                self.is_acknowledged = true;
                self.liveness_check.as_mut().reset(Instant::now() + PING_PERIOD);
                self.send(self.subprotocol.ack()).await
            }
            ClientMessage::Ping(payload) => self.send([Subprotocol::pong(payload)]).await,
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

    /// Starts an operation and adds its outputs to those of the connection.
    fn start(&mut self, id: Arc<str>, operation: Operation) -> Flow {
        match self.subprotocol {
            Subprotocol::TransportWs if self.running.contains_key(&id) => {
                return ControlFlow::Break(Some(Close::new(4409, format!("Subscriber for {id} already exists"))));
            }
            Subprotocol::TransportWs => {}
            // Its clients may reuse an id without completing its operation first.
            Subprotocol::Legacy => self.stop(&id),
        }
        if self.running.len() >= MAX_OPERATIONS {
            let reason = format!("At most {MAX_OPERATIONS} operations at once on one socket");
            return ControlFlow::Break(Some(Close::new(4429, reason)));
        }
        let Operation { query, document_id, operation_name, variables, extensions, unknown_fields } = operation;
        let variables = normalize_numbers(Variables::from_json(variables.unwrap_or_default().into()));
        let mut request = Request::new(query.unwrap_or_default()).variables(variables);
        request.operation_name = non_empty_name(operation_name);
        for (name, value) in extensions.unwrap_or_default() {
            request.extensions.insert(name, async_graphql::Value::from_json(value).unwrap_or_default());
        }
        if let Some(id) = document_id {
            request.extensions.insert(DOCUMENT_ID.to_owned(), id.into());
        }
        let payloads = match unknown_fields.keys().find_map(|name| misspelt(name)) {
            Some((name, meant)) => self.executor.stream_parsed(Err(misspelt_error(&name, meant)), self.caller.clone()),
            None => self.executor.stream(request, self.caller.clone()),
        };
        let (payloads, handle) = abortable(payloads);
        let running =
            RunningOperation { handle: handle.clone(), head: self.subprotocol.next_head(&id), is_answered: false };
        self.running.insert(id.clone(), running);
        self.is_batching = false;
        let outputs = {
            let id = id.clone();
            payloads.map(move |payload| (id.clone(), Some(payload)))
        };
        // An operation that ends by itself gets a `complete` message; one that the client stopped gets none.
        let completion = stream::once(async move { (!handle.is_aborted()).then_some((id, None)) });
        self.operations.push(outputs.chain(completion.filter_map(std::future::ready)).boxed());
        ControlFlow::Continue(())
    }

    fn stop(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.handle.abort();
        }
    }

    /// Forwards the outputs of operations to the client: all that are ready, up to about [`WRITE_SIZE`], in one write.
    async fn forward(&mut self, first: OperationOutput) -> Flow {
        let mut remaining = WRITE_SIZE;
        let mut next = Some(first);
        while let Some((id, payload)) = next {
            if let Some(message) = self.message(&id, payload) {
                remaining = remaining.saturating_sub(length(&message));
                self.with_timeout(async |socket| socket.feed(message).await).await?;
            }
            next = if remaining > 0 { self.operations.next().now_or_never().flatten() } else { None };
        }
        // Nothing is batched while more outputs are ready than one write takes, or an operation awaits its first.
        if remaining > 0 && self.running.values().all(|running| running.is_answered) {
            self.is_batching = true;
            self.batch_timer.as_mut().reset(Instant::now() + BATCH_WINDOW);
        }
        self.with_timeout(async |socket| socket.flush().await).await
    }

    /// The message for an operation's output; none if the operation has been stopped.
    fn message(&mut self, id: &str, payload: Option<Payload>) -> Option<Message> {
        let RunningOperation { head, is_answered, .. } = self.running.get_mut(id)?;
        *is_answered = true;
        Some(match payload {
            // The payload is serialized already, once for all equal subscriptions; only the head is this client's.
            Some(Payload::Next(json)) => Message::Text([&**head, &json, Subprotocol::NEXT_TAIL].concat().into()),
            Some(Payload::Errors(errors)) => {
                // Errors end the operation.
                self.stop(id);
                self.subprotocol.error(id, &errors)
            }
            None => {
                self.stop(id);
                Subprotocol::complete(id)
            }
        })
    }

    async fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Flow {
        for message in messages {
            self.with_timeout(async |socket| socket.send(message).await).await?;
        }
        ControlFlow::Continue(())
    }

    /// Writes to the socket. A client that does not read in time is disconnected with close code 1013, "try again
    /// later".
    async fn with_timeout(&mut self, write: impl AsyncFnOnce(&mut WebSocket) -> Result<(), axum::Error>) -> Flow {
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
