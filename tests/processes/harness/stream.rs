//! Streams as clients follow them: over a WebSocket, as server-sent events, as one JSON object a line.
//!
//! A server may be killed or stopped at any moment, so each step may find that the stream has ended. That is an answer
//! and no failure; whoever follows comes back with its last cursor.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;

/// One GraphQL subscription, on a WebSocket of its own.
pub struct Subscription {
    socket: Box<WebSocketStream<MaybeTlsStream<TcpStream>>>,
    /// The code with which the server closed the socket, if it did so in order.
    pub farewell: Option<u16>,
    /// Whether the server said that it could not do this now, and to come back.
    pub was_refused: bool,
}

impl Subscription {
    /// Subscribes; none if the server is not there, or goes away meanwhile.
    pub async fn open(address: SocketAddr, query: &str, variables: &Value) -> Option<Self> {
        let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let (socket, _) = timeout(PATIENCE, connect_async(request)).await.expect("a handshake in time").ok()?;
        let mut this = Self { socket: Box::new(socket), farewell: None, was_refused: false };
        this.say(&json!({"type": "connection_init"})).await?;
        let payload = json!({"query": query, "variables": variables});
        this.say(&json!({"id": "1", "type": "subscribe", "payload": payload})).await?;
        Some(this)
    }

    /// The data of the next message; none when there is no more of it. Giving up in the middle loses nothing.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let text = match self.socket.next().await? {
                Ok(Message::Text(text)) => text,
                Ok(Message::Close(farewell)) => {
                    self.farewell = farewell.map(|farewell| farewell.code.into());
                    return None;
                }
                Ok(_) => continue,
                Err(_) => return None,
            };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            match message["type"].as_str().unwrap() {
                "next" => {
                    let payload = message["payload"].take();
                    assert!(payload["errors"].is_null(), "{payload}");
                    return payload.get("data").cloned();
                }
                "ping" => self.say(&json!({"type": "pong"})).await?,
                "connection_ack" => {}
                "complete" => return None,
                // Where everybody comes back at once, not everybody is let in at once.
                "error" if message["payload"][0]["extensions"]["code"] == "UNAVAILABLE" => {
                    self.was_refused = true;
                    return None;
                }
                _ => panic!("{text}"),
            }
        }
    }

    async fn say(&mut self, message: &Value) -> Option<()> {
        let text = Message::text(message.to_string());
        timeout(PATIENCE, self.socket.send(text)).await.expect("a server that reads").ok()
    }
}

/// An event as a follower is told of it, by whatever protocol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// Its place in the log.
    pub cursor: String,
    /// What kind of thing happened.
    pub kind: String,
    /// The worker it is about.
    #[serde(alias = "workerId")]
    pub worker_id: Option<String>,
    /// The VM it is about.
    #[serde(alias = "vmId")]
    pub vm_id: Option<String>,
}

impl Told {
    /// As GraphQL or REST tell it.
    pub fn from_json(event: Value) -> Self {
        let mut told: Self = serde_json::from_value(event).unwrap();
        told.kind.make_ascii_lowercase();
        told
    }

    /// Whether it tells about the stream, and not about the cluster.
    pub fn is_notice(&self) -> bool {
        self.kind == "synced" || self.kind == "resync"
    }

    /// Kind, worker and VM: what is known of an event before it is committed.
    pub fn what(&self) -> String {
        let [worker, vm] = [&self.worker_id, &self.vm_id].map(|id| id.as_deref().unwrap_or_default());
        format!("{} {worker} {vm}", self.kind)
    }
}

/// What to ask for to read events into [`Told`].
pub const TOLD: &str = "cursor kind workerId vmId";

/// By which protocol somebody follows events.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// `clusterEvents` over `graphql-transport-ws`.
    WebSocket,
    /// `/api/v1/events` as server-sent events, resumed by `Last-Event-ID`.
    ServerSentEvents,
    /// `/api/v1/events` as one JSON object a line, resumed by `after`.
    Ndjson,
}

/// The change log as it goes on.
pub enum EventStream {
    /// Over a WebSocket.
    WebSocket(Subscription),
    /// As an HTTP answer that does not end.
    Http {
        /// The answer.
        answer: Response,
        /// What has come of it and was not read yet.
        waiting: BytesMut,
        /// What ends one event.
        end: &'static [u8],
    },
}

impl EventStream {
    /// Follows from a cursor; none if the server is not there, or goes away meanwhile.
    pub async fn open(protocol: Protocol, http: &Client, address: SocketAddr, after: &str) -> Option<Self> {
        let url = format!("http://{address}/api/v1/events");
        let (request, end) = match protocol {
            Protocol::WebSocket => {
                let query = format!("subscription ($after: Cursor) {{ clusterEvents(after: $after) {{ {TOLD} }} }}");
                return Subscription::open(address, &query, &json!({"after": after})).await.map(Self::WebSocket);
            }
            Protocol::ServerSentEvents => {
                // As a page that was opened without a cursor and connects again: the header counts.
                let request = http.get(url).header("accept", "text/event-stream").header("last-event-id", after);
                (request, &b"\n\n"[..])
            }
            Protocol::Ndjson => {
                let request = http.get(format!("{url}?after={after}")).header("accept", "application/x-ndjson");
                (request, &b"\n"[..])
            }
        };
        let answer = timeout(PATIENCE, request.send()).await.expect("an answer in time").ok()?;
        answer.status().is_success().then(|| Self::Http { answer, waiting: BytesMut::new(), end })
    }

    /// The next event; none when there is no more of it. Giving up in the middle loses nothing.
    pub async fn next(&mut self) -> Option<Told> {
        let (answer, waiting, end) = match self {
            Self::WebSocket(subscription) => {
                let mut data = subscription.next().await?;
                return Some(Told::from_json(data["clusterEvents"].take()));
            }
            Self::Http { answer, waiting, end } => (answer, waiting, *end),
        };
        loop {
            while let Some(event) = first_part(waiting, end) {
                if let Some(told) = read(&event, end) {
                    return Some(told);
                }
            }
            // What was cut off in the middle is not an event.
            waiting.extend_from_slice(&answer.chunk().await.ok()??);
        }
    }
}

/// Takes what comes before the first of these ends.
fn first_part(waiting: &mut BytesMut, end: &[u8]) -> Option<Bytes> {
    let length = waiting.windows(end.len()).position(|window| window == end)?;
    let mut part = waiting.split_to(length + end.len());
    part.truncate(length);
    Some(part.freeze())
}

/// Reads one event; none if it is a sign of life.
fn read(event: &[u8], end: &[u8]) -> Option<Told> {
    let event = std::str::from_utf8(event).unwrap();
    if end == b"\n" {
        return Some(Told::from_json(serde_json::from_str(event).unwrap()));
    }
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let told = Told::from_json(serde_json::from_str(field("data:")?).unwrap());
    assert_eq!((field("id:"), field("event:")), (Some(&*told.cursor), Some(&*told.kind)));
    Some(told)
}
