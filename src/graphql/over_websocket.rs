//! GraphQL over WebSocket: the protocol `graphql-transport-ws`, and for old dashboards its
//! predecessor `graphql-ws`.
//!
//! The newer protocol is spoken by the loop below, which keeps to its close codes; the older one
//! by the loop that comes with the engine.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Data, Executor, Request, Response as Answer, Variables};
use async_graphql_axum::{GraphQLProtocol, GraphQLWebSocket};
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{SinkExt as _, StreamExt as _, sink};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::documents::DOCUMENT_ID;
use super::error::request_error;
use super::live::Payload;
use super::{Endpoint, Engine, persisted};
use crate::http::{Failure, origin};

/// The present protocol.
const TRANSPORT_WS: &str = "graphql-transport-ws";

/// Its predecessor.
const LEGACY_WS: &str = "graphql-ws";

/// How long a client may take to say `connection_init`.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a silent client is asked whether it is still there.
const PING_PERIOD: Duration = Duration::from_secs(15);

/// How long a client may stay silent altogether.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// How long a client may take to accept one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest message of a client, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// Most operations at once on one socket.
const MAX_OPERATIONS: usize = 50;

/// The default zeroes 128 KiB on every read, which was 38 % of the cost of a delivery.
const READ_BUFFER: usize = 4 * 1024;

/// Accepts the socket, if the page that opens it may.
pub(super) fn open(endpoint: Endpoint, uri: &Uri, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if origin::is_foreign_page(uri, headers, &endpoint.origins) {
        return Failure::forbidden(
            "Pages of this origin may not open a WebSocket here: start the server with --cors-origin",
        )
        .into_response();
    }
    let upgrade = upgrade
        .protocols([TRANSPORT_WS, LEGACY_WS])
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE);
    let Endpoint { engine, sockets, closing, .. } = endpoint;
    match upgrade.selected_protocol().map(|protocol| protocol.as_bytes().to_vec()) {
        Some(protocol) if protocol == TRANSPORT_WS.as_bytes() => {
            upgrade.on_upgrade(move |socket| sockets.track_future(Connection::new(engine, socket).serve(closing)))
        }
        Some(_) => upgrade.on_upgrade(move |socket| sockets.track_future(serve_legacy(engine, socket, closing))),
        None => Failure::bad_request(format!("The sub-protocol {TRANSPORT_WS} has to be asked for")).into_response(),
    }
}

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    ConnectionInit {
        #[serde(default, rename = "payload")]
        _payload: Option<Value>,
    },
    Ping {
        payload: Option<Value>,
    },
    Pong {
        #[serde(default, rename = "payload")]
        _payload: Option<Value>,
    },
    Subscribe {
        id: String,
        payload: Operation,
    },
    Complete {
        id: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<serde_json::Map<String, Value>>,
    extensions: Option<serde_json::Map<String, Value>>,
}

/// What we say.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Say<'a> {
    ConnectionAck,
    Ping,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    Error {
        id: &'a str,
        payload: &'a [async_graphql::ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// Why a socket is closed: code and words of the protocol.
struct Close(u16, String);

impl Operation {
    /// Whether it says what is to be run.
    fn names_a_document(&self) -> bool {
        let extension = self.extensions.as_ref().and_then(|extensions| extensions.get(persisted::EXTENSION));
        self.query.is_some() || self.document_id.is_some() || extension.is_some_and(|extension| !extension.is_null())
    }
}

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

/// Something an operation has to say, with the operation's id; none when it is over.
type Step = (String, Option<Payload>);

/// One client of the present protocol.
struct Connection {
    engine: Engine,
    socket: WebSocket,
    is_acknowledged: bool,
    /// Taking turns: an operation that always has something to say does not silence the others.
    operations: SelectAll<BoxStream<'static, Step>>,
    /// Ends single operations, by id.
    running: HashMap<String, CancellationToken>,
    last_heard: Instant,
    /// When to look whether the client still does its part.
    check_at: Instant,
}

impl Connection {
    fn new(engine: Engine, socket: WebSocket) -> Self {
        let now = Instant::now();
        Self {
            engine,
            socket,
            is_acknowledged: false,
            operations: SelectAll::new(),
            running: HashMap::new(),
            last_heard: now,
            check_at: now + INIT_TIMEOUT,
        }
    }

    async fn serve(mut self, closing: CancellationToken) {
        let close = loop {
            let check_at = self.check_at;
            let next = tokio::select! {
                () = closing.cancelled() => ControlFlow::Break(Some(Close::new(1012, "Service restart"))),
                received = self.socket.recv() => self.hear(received).await,
                Some((id, answer)) = self.operations.next() => self.pass_on(&id, answer).await,
                () = tokio::time::sleep_until(check_at) => self.check().await,
            };
            if let ControlFlow::Break(close) = next {
                break close;
            }
        };
        if let Some(Close(code, reason)) = close {
            let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
            // Whoever does not take the goodbye is gone already.
            let _ = timeout(SEND_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await;
            let _ =
                timeout(Duration::from_secs(1), async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
        }
    }

    /// Looks whether the client still does its part.
    async fn check(&mut self) -> ControlFlow<Option<Close>> {
        if !self.is_acknowledged {
            return ControlFlow::Break(Some(Close::new(4408, "Connection initialisation timeout")));
        }
        if self.last_heard.elapsed() >= SILENCE_LIMIT {
            return ControlFlow::Break(Some(Close::new(1011, "No sign of life")));
        }
        self.check_at = Instant::now() + PING_PERIOD;
        self.say(&Say::Ping).await
    }

    async fn hear(&mut self, received: Option<Result<Message, axum::Error>>) -> ControlFlow<Option<Close>> {
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
        let said = match serde_json::from_str(&text) {
            Ok(said) => said,
            Err(error) => return ControlFlow::Break(Some(Close::new(4400, format!("Invalid message: {error}")))),
        };
        match said {
            Said::ConnectionInit { .. } if self.is_acknowledged => {
                ControlFlow::Break(Some(Close::new(4429, "Too many initialisation requests")))
            }
            Said::ConnectionInit { .. } => {
                self.is_acknowledged = true;
                self.check_at = Instant::now() + PING_PERIOD;
                self.say(&Say::ConnectionAck).await
            }
            Said::Ping { payload } => self.say(&Say::Pong { payload }).await,
            Said::Pong { .. } => ControlFlow::Continue(()),
            Said::Subscribe { .. } if !self.is_acknowledged => {
                ControlFlow::Break(Some(Close::new(4401, "Unauthorized: connection_init comes first")))
            }
            Said::Subscribe { payload, .. } if !payload.names_a_document() => {
                ControlFlow::Break(Some(Close::new(4400, "Invalid message: the payload has no `query`")))
            }
            Said::Subscribe { id, payload } => self.start(id, payload),
            Said::Complete { id } => {
                if let Some(operation) = self.running.remove(&id) {
                    operation.cancel();
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn start(&mut self, id: String, operation: Operation) -> ControlFlow<Option<Close>> {
        if self.running.contains_key(&id) {
            return ControlFlow::Break(Some(Close::new(4409, format!("Subscriber for {id} already exists"))));
        }
        if self.running.len() >= MAX_OPERATIONS {
            let reason = format!("At most {MAX_OPERATIONS} operations at once on one socket");
            return ControlFlow::Break(Some(Close::new(4429, reason)));
        }
        let Operation { query, document_id, operation_name, variables, extensions } = operation;
        let variables = Variables::from_json(variables.unwrap_or_default().into());
        let mut request = Request::new(query.unwrap_or_default()).variables(variables);
        request.operation_name = operation_name;
        for (name, value) in extensions.unwrap_or_default() {
            request.extensions.insert(name, async_graphql::Value::from_json(value).unwrap_or_default());
        }
        if let Some(id) = document_id {
            request.extensions.insert(DOCUMENT_ID.to_owned(), id.into());
        }
        let ended = CancellationToken::new();
        self.running.insert(id.clone(), ended.clone());
        let answers = self.engine.stream(request);
        let steps = {
            let id = id.clone();
            answers.map(move |answer| (id.clone(), Some(answer)))
        };
        // The last word of an operation that ends by itself; one that was cancelled says nothing more.
        let over = {
            let ended = ended.clone();
            stream::once(async move { (!ended.is_cancelled()).then_some((id, None)) }).filter_map(std::future::ready)
        };
        self.operations.push(steps.take_until(ended.cancelled_owned()).chain(over).boxed());
        ControlFlow::Continue(())
    }

    async fn pass_on(&mut self, id: &str, answer: Option<Payload>) -> ControlFlow<Option<Close>> {
        match answer {
            _ if !self.running.contains_key(id) => ControlFlow::Continue(()),
            Some(Payload::Refused(errors)) => {
                // An `error` is an operation's last word.
                if let Some(operation) = self.running.remove(id) {
                    operation.cancel();
                }
                self.say(&Say::Error { id, payload: &errors }).await
            }
            // Written out already, for everybody who asked the same: only the id is this client's.
            Some(Payload::Next(json)) => {
                let id = Value::from(id);
                self.send(format!(r#"{{"type":"next","id":{id},"payload":{json}}}"#)).await
            }
            None => {
                self.running.remove(id);
                self.say(&Say::Complete { id }).await
            }
        }
    }

    async fn say(&mut self, say: &Say<'_>) -> ControlFlow<Option<Close>> {
        match serde_json::to_string(say) {
            Ok(text) => self.send(text).await,
            Err(_) => ControlFlow::Break(Some(Close::new(1011, "Internal error"))),
        }
    }

    /// Sends; a client that does not read is cut off with a code that says "try again".
    async fn send(&mut self, text: String) -> ControlFlow<Option<Close>> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(None),
            Err(_) => ControlFlow::Break(Some(Close::new(1013, "Try again later: messages were not read in time"))),
        }
    }
}

/// The predecessor, by the engine's own loop. Beside the other one it lacks what its protocol has no words for: codes of
/// closing, and asking a client that is silent whether it is still there. One that vanished without a word is noticed
/// when something cannot be sent to it.
async fn serve_legacy(engine: Engine, socket: WebSocket, closing: CancellationToken) {
    let (mut parts, ()) = axum::http::Request::new(()).into_parts();
    parts.headers.insert(axum::http::header::SEC_WEBSOCKET_PROTOCOL, axum::http::HeaderValue::from_static(LEGACY_WS));
    let Ok(protocol) = GraphQLProtocol::from_request_parts(&mut parts, &()).await else { return };
    let (sink, mut stream) = socket.split();
    let first = closing.run_until_cancelled(timeout(INIT_TIMEOUT, stream.next())).await;
    let Some(Ok(Some(first))) = first else { return };
    let stream = stream::iter([first]).chain(stream).take_until(closing.cancelled_owned());
    let sink = sink::unfold(sink, |mut sink, message| async move {
        match timeout(SEND_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) => Ok(sink),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    });
    let executor = Bounded { engine, room: Arc::new(Semaphore::new(MAX_OPERATIONS)) };
    GraphQLWebSocket::new_with_pair(sink, stream, executor, protocol).serve().await;
}

/// The engine for one socket, with room for so many operations at once.
#[derive(Clone)]
struct Bounded {
    engine: Engine,
    room: Arc<Semaphore>,
}

impl Executor for Bounded {
    async fn execute(&self, request: Request) -> Answer {
        self.engine.execute(request).await
    }

    fn execute_stream(&self, request: Request, session: Option<Arc<Data>>) -> BoxStream<'static, Answer> {
        match self.room.clone().try_acquire_owned() {
            Ok(place) => {
                let answers = self.engine.execute_stream(request, session);
                // The place is free again when the operation is over.
                answers.inspect(move |_| _ = &place).boxed()
            }
            Err(_) => {
                let problem = format!("At most {MAX_OPERATIONS} operations at once on one socket");
                stream::iter([Answer::from_errors(vec![request_error("BAD_USER_INPUT", problem)])]).boxed()
            }
        }
    }
}
