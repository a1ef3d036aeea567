//! The words of the two sub-protocols, which mean nearly the same.
//!
//! The predecessor has no codes for closing: it gets those of the present one. Its `ka` asks for no answer, so its
//! clients are asked by a ping of WebSocket itself whether they are still there.

use async_graphql::ServerError;
use axum::extract::ws::Message;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::graphql::operation::apq;

/// A sub-protocol of GraphQL over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// The present one.
    TransportWs,
    /// Its predecessor.
    Legacy,
}

/// What a client says, in either.
pub enum ClientMessage {
    /// That it begins.
    Init,
    /// Whether we are there.
    Ping(Option<Map<String, Value>>),
    /// That it is there.
    Pong,
    /// What it wants to know.
    Subscribe(String, Operation),
    /// What it does not want to know any longer.
    Complete(String),
    /// That it leaves.
    Terminate,
}

/// An operation as a client asks for it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The document. May be left out where something else names it.
    pub query: Option<String>,
    pub document_id: Option<String>,
    pub operation_name: Option<String>,
    pub variables: Option<Map<String, Value>>,
    pub extensions: Option<Map<String, Value>>,
    /// What is none of these.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl Operation {
    /// Whether it says what is to be run.
    fn names_a_document(&self) -> bool {
        let extension = self.extensions.as_ref().and_then(|extensions| extensions.get(apq::EXTENSION));
        self.query.is_some() || self.document_id.is_some() || extension.is_some_and(|extension| !extension.is_null())
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TransportWs {
    ConnectionInit {
        #[serde(default, rename = "payload")]
        _payload: Option<Map<String, Value>>,
    },
    Ping {
        payload: Option<Map<String, Value>>,
    },
    Pong {
        #[serde(default, rename = "payload")]
        _payload: Option<Map<String, Value>>,
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
#[serde(tag = "type", rename_all = "snake_case")]
enum Legacy {
    ConnectionInit {
        #[serde(default, rename = "payload")]
        _payload: Option<Value>,
    },
    Start {
        id: String,
        payload: Operation,
    },
    Stop {
        id: String,
    },
    ConnectionTerminate,
}

impl Subprotocol {
    /// Those that are spoken.
    pub const ALL: [Self; 2] = [Self::TransportWs, Self::Legacy];

    /// Its name in the handshake.
    pub fn name(self) -> &'static str {
        match self {
            Self::TransportWs => "graphql-transport-ws",
            Self::Legacy => "graphql-ws",
        }
    }

    /// Understands a client.
    pub fn read(self, text: &str) -> Result<ClientMessage, serde_json::Error> {
        let said = self.parse(text)?;
        match &said {
            ClientMessage::Subscribe(id, _) if id.is_empty() => Err(serde::de::Error::custom("`id` is empty")),
            ClientMessage::Subscribe(_, operation) if !operation.names_a_document() => {
                Err(serde::de::Error::missing_field("query"))
            }
            _ => Ok(said),
        }
    }

    fn parse(self, text: &str) -> Result<ClientMessage, serde_json::Error> {
        Ok(match self {
            Self::TransportWs => match serde_json::from_str(text)? {
                TransportWs::ConnectionInit { .. } => ClientMessage::Init,
                TransportWs::Ping { payload } => ClientMessage::Ping(payload),
                TransportWs::Pong { .. } => ClientMessage::Pong,
                TransportWs::Subscribe { id, payload } => ClientMessage::Subscribe(id, payload),
                TransportWs::Complete { id } => ClientMessage::Complete(id),
            },
            Self::Legacy => match serde_json::from_str(text)? {
                Legacy::ConnectionInit { .. } => ClientMessage::Init,
                Legacy::Start { id, payload } => ClientMessage::Subscribe(id, payload),
                Legacy::Stop { id } => ClientMessage::Complete(id),
                Legacy::ConnectionTerminate => ClientMessage::Terminate,
            },
        })
    }

    /// That the client may ask now.
    pub fn ack(self) -> Vec<Message> {
        let ack = text(&json!({"type": "connection_ack"}));
        match self {
            Self::TransportWs => vec![ack],
            // Its clients take the first of these for the promise of more, and watch for them from then on.
            Self::Legacy => vec![ack, keep_alive()],
        }
    }

    /// Whether the client is still there.
    pub fn ping(self) -> Vec<Message> {
        match self {
            Self::TransportWs => vec![text(&json!({"type": "ping"}))],
            Self::Legacy => vec![keep_alive(), Message::Ping(Bytes::new())],
        }
    }

    /// That we are there.
    pub fn pong(payload: Option<Map<String, Value>>) -> Message {
        let mut pong = json!({"type": "pong"});
        if let Some(payload) = payload {
            pong["payload"] = payload.into();
        }
        text(&pong)
    }

    /// The beginning of a message that an operation has something to tell; its end is [`NEXT_TAIL`](Self::NEXT_TAIL).
    pub fn next_head(self, id: &str) -> String {
        let word = match self {
            Self::TransportWs => "next",
            Self::Legacy => "data",
        };
        format!(r#"{{"type":"{word}","id":{},"payload":"#, Value::from(id))
    }

    /// What follows the payload.
    pub const NEXT_TAIL: &str = "}";

    /// That an operation cannot be run, or not any longer.
    pub fn error(self, id: &str, errors: &[ServerError]) -> Message {
        let payload = match (self, errors.first()) {
            (Self::Legacy, Some(first)) => {
                // One error is what it has words for; those of its clients that look for more find them here.
                let mut payload = json!(first);
                payload["errors"] = json!(errors);
                payload
            }
            _ => json!(errors),
        };
        text(&json!({"type": "error", "id": id, "payload": payload}))
    }

    /// That an operation has nothing more to tell.
    pub fn complete(id: &str) -> Message {
        text(&json!({"type": "complete", "id": id}))
    }
}

fn keep_alive() -> Message {
    text(&json!({"type": "ka"}))
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}
