//! A local port for the server of a cluster, and WebSocket clients that connect to it.
//!
//! Nothing here waits for time to pass: every wait is for a message of the server, with a time-out that only a broken
//! server reaches.

use std::net::SocketAddr;
use std::time::Duration;

use aetherium::http::{ListenerOptions, serve};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{TestCluster, TestToken};

/// The current sub-protocol of GraphQL over WebSocket.
pub const TRANSPORT_WS: &str = "graphql-transport-ws";

/// The time-out of every wait.
const DEADLINE: Duration = Duration::from_secs(30);

/// The usual options of a listener. These tests do not wait for a shutdown.
pub fn listener_options() -> ListenerOptions {
    ListenerOptions::for_this_process(Duration::from_secs(8))
}

/// A port on which the server of a cluster listens until this is dropped.
pub struct Port {
    address: SocketAddr,
    _open: DropGuard,
}

/// A connection on which one request follows the other, over HTTP/1.1.
pub struct KeptConnection(BufReader<TcpStream>);

impl KeptConnection {
    /// Asks with a token, or without. Answers the status, when the body has been read.
    pub async fn get(&mut self, path: &str, token: Option<&str>) -> u16 {
        let bearer = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{bearer}\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let (mut head, mut line) = (Vec::new(), String::new());
        while self.0.read_line(&mut line).await.unwrap() > "\r\n".len() {
            head.push(std::mem::take(&mut line).trim_end().to_ascii_lowercase());
        }
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        self.0.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
        head[0].split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }
}

impl Port {
    /// Sends a request over a connection that is reserved for operators, while all others are taken, until it is refused
    /// with these words.
    pub async fn reserved_refuses(&self, request: &str, refusal: &str) {
        // The place is free when the server has noticed that the last client is gone, which is its own business to time.
        in_time(async {
            loop {
                let mut reserved = TcpStream::connect(self.authority()).await.unwrap();
                let _ = reserved.write_all(request.as_bytes()).await;
                let mut answer = String::new();
                let _ = reserved.read_to_string(&mut answer).await;
                if answer.contains(refusal) {
                    break;
                }
                assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
            }
        })
        .await;
    }

    /// A free port for this cluster.
    pub async fn of(cluster: &TestCluster) -> Self {
        Self::with_options(cluster, listener_options()).await
    }

    /// A free port, with these options of the listener.
    pub async fn with_options(cluster: &TestCluster, options: ListenerOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closing = CancellationToken::new();
        tokio::spawn(serve(listener, cluster.server().service(), options, closing.clone()));
        Self { address, _open: closing.drop_guard() }
    }

    /// A connection for one request after the other.
    pub async fn connection(&self) -> KeptConnection {
        KeptConnection(BufReader::new(TcpStream::connect(self.authority()).await.unwrap()))
    }

    /// The port of a server that was started elsewhere.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, _open: CancellationToken::new().drop_guard() }
    }

    /// The request of a WebSocket handshake, to be sent by [`Socket::open`].
    pub fn handshake(&self) -> Handshake {
        Handshake(format!("ws://{}/graphql", self.address).into_client_request().unwrap())
    }

    /// A socket of the current sub-protocol, without any message yet.
    pub async fn socket(&self) -> Socket {
        Socket::open(self.handshake().protocol(TRANSPORT_WS)).await.expect("the handshake should succeed")
    }

    /// A socket of the current sub-protocol, acknowledged, on which operations can be started.
    pub async fn client(&self) -> Socket {
        let mut socket = self.socket().await;
        socket.begin().await;
        socket
    }

    /// The same, opened by the holder of a token, who sends it with the handshake.
    pub async fn client_of(&self, token: &TestToken) -> Socket {
        let handshake = self.handshake().protocol(TRANSPORT_WS).header("authorization", &token.bearer());
        let mut socket = Socket::open(handshake).await.expect("the handshake should succeed");
        socket.begin().await;
        socket
    }

    /// The same, retried until sockets that were closed before have made room.
    pub async fn client_when_there_is_room(&self) -> Socket {
        let mut socket = in_time(async {
            loop {
                match Socket::open(self.handshake().protocol(TRANSPORT_WS)).await {
                    Ok(socket) => return socket,
                    Err((503, _)) => tokio::task::yield_now().await,
                    Err(refused) => panic!("{refused:?}"),
                }
            }
        })
        .await;
        socket.begin().await;
        socket
    }

    /// Host and port, as in the header `Host`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }
}

/// A request of a WebSocket handshake.
#[derive(Clone)]
pub struct Handshake(Request);

impl Handshake {
    /// Adds sub-protocols.
    pub fn protocol(self, protocols: &str) -> Self {
        self.header(SEC_WEBSOCKET_PROTOCOL.as_str(), protocols)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.0.headers_mut().insert(name, value.parse().unwrap());
        self
    }

    /// The request as text.
    pub fn into_request(self) -> Request {
        self.0
    }
}

/// A client of a WebSocket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Performs the handshake; a refusal has its status and its body.
    pub async fn open(Handshake(request): Handshake) -> Result<Self, (u16, String)> {
        // Without Nagle's algorithm, which holds the second of two small messages back for 40 ms.
        match in_time(connect_async_with_config(request, None, true)).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tungstenite::Error::Http(refusal)) => {
                let body = refusal.body().as_deref().unwrap_or_default();
                Err((refusal.status().as_u16(), String::from_utf8_lossy(body).into_owned()))
            }
            Err(error) => panic!("no WebSocket: {error}"),
        }
    }

    /// Performs the initialisation of the current sub-protocol.
    pub async fn begin(&mut self) {
        self.say(json!({"type": "connection_init"})).await;
        assert_eq!(self.hear().await, json!({"type": "connection_ack"}));
    }

    /// Sends a message of the sub-protocol.
    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    /// Sends a frame.
    pub async fn send(&mut self, message: Message) {
        in_time(self.0.send(message)).await.unwrap();
    }

    /// The next message of the sub-protocol other than a ping, which the server may send on a slow machine.
    pub async fn hear(&mut self) -> Value {
        loop {
            let message = self.hear_anything().await;
            if message != json!({"type": "ping"}) {
                return message;
            }
            self.say(json!({"type": "pong"})).await;
        }
    }

    /// The next message of the sub-protocol, of any kind.
    pub async fn hear_anything(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    /// The same, as text.
    pub async fn hear_text(&mut self) -> String {
        loop {
            match in_time(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a message was expected, not {other:?}"),
            }
        }
    }

    /// The code and the reason with which the server closes the socket. Messages before that are skipped.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match in_time(self.0.next()).await {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return (code.into(), reason.as_str().to_owned());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => panic!("the socket was closed without a word"),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The same, with the messages before that.
    pub async fn closed_after(&mut self, messages: &mut Vec<Value>) -> (u16, String) {
        loop {
            match in_time(self.0.next()).await {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return (code.into(), reason.as_str().to_owned());
                }
                Some(Ok(Message::Text(text))) => messages.push(serde_json::from_str(text.as_str()).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a message was expected, not {other:?}"),
            }
        }
    }

    /// Starts an operation.
    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({"query": query, "variables": variables});
        self.say(json!({"id": id, "type": "subscribe", "payload": payload})).await;
    }

    /// Ends an operation, and waits until the server has received that.
    pub async fn complete(&mut self, id: &str) {
        self.say(json!({"id": id, "type": "complete"})).await;
        self.say(json!({"type": "ping", "payload": {"after": id}})).await;
        while self.hear().await != json!({"type": "pong", "payload": {"after": id}}) {}
    }

    /// The data of the next message, which has to be of this operation and without errors.
    pub async fn next(&mut self, id: &str) -> Value {
        let mut message = self.hear().await;
        assert_eq!([&message["type"], &message["id"]], [&json!("next"), &json!(id)], "{message}");
        assert_eq!(message["payload"].get("errors"), None, "{message}");
        message["payload"]["data"].take()
    }
}

/// The output of a future, which has to complete within the time-out.
pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("this should not take so long")
}
