//! The messages of the two subprotocols, `graphql-transport-ws` and its predecessor `graphql-ws`: parsing and writing.
//!
//! `graphql-ws` defines no close codes and gets those of `graphql-transport-ws`. Clients do not reply to its keep-alive
//! `ka`, so the server checks their liveness by ping frames of WebSocket itself.

use async_graphql::ServerError;
use axum::extract::ws::Message;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::graphql::operation::apq;

/// A subprotocol of GraphQL over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// `graphql-transport-ws`, the current one.
    TransportWs,
    /// `graphql-ws`, its predecessor.
    Legacy,
}

/// A message of a client, in either subprotocol.
pub enum ClientMessage {
    /// Initialises the connection, with `authorization` of its payload.
    Init(Option<String>),
    /// Asks for a pong with this payload.
    Ping(Option<Map<String, Value>>),
    /// Replies to a ping.
    Pong,
    /// Starts an operation under this id.
    Subscribe(String, Operation),
    /// Stops the operation with this id.
    Complete(String),
    /// Ends the connection.
    Terminate,
}

/// The parameters of an operation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The document. May be left out if `documentId` or the extension `persistedQuery` names it.
    pub query: Option<String>,
    pub document_id: Option<String>,
    pub operation_name: Option<String>,
    pub variables: Option<Map<String, Value>>,
    pub extensions: Option<Map<String, Value>>,
    /// All other fields, in which misspelt parameters are found.
    #[serde(flatten)]
    pub unknown_fields: Map<String, Value>,
}

impl Operation {
    /// Whether there is a document, or the id or hash of one.
    fn names_a_document(&self) -> bool {
        let extension = self.extensions.as_ref().and_then(|extensions| extensions.get(apq::EXTENSION));
        self.query.is_some() || self.document_id.is_some() || extension.is_some_and(|extension| !extension.is_null())
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TransportWs {
    ConnectionInit {
        payload: Option<Map<String, Value>>,
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
    ConnectionInit { payload: Option<Value> },
    Start { id: String, payload: Operation },
    Stop { id: String },
    ConnectionTerminate,
}

impl Subprotocol {
    /// All supported subprotocols.
    pub const ALL: [Self; 2] = [Self::TransportWs, Self::Legacy];

    /// Its name in the handshake.
    pub fn name(self) -> &'static str {
        match self {
            Self::TransportWs => "graphql-transport-ws",
            Self::Legacy => "graphql-ws",
        }
    }

    /// Parses a message of a client.
    pub fn parse_message(self, text: &str) -> Result<ClientMessage, serde_json::Error> {
        let message = self.deserialize(text)?;
        match &message {
            ClientMessage::Subscribe(id, _) if id.is_empty() => Err(serde::de::Error::custom("`id` is empty")),
            ClientMessage::Subscribe(_, operation) if !operation.names_a_document() => {
                Err(serde::de::Error::missing_field("query"))
            }
            _ => Ok(message),
        }
    }

    /// Deserializes a message, without checks of its content.
    fn deserialize(self, text: &str) -> Result<ClientMessage, serde_json::Error> {
        Ok(match self {
            Self::TransportWs => match serde_json::from_str(text)? {
                TransportWs::ConnectionInit { payload } => ClientMessage::Init(authorization(payload.as_ref())),
                TransportWs::Ping { payload } => ClientMessage::Ping(payload),
                TransportWs::Pong { .. } => ClientMessage::Pong,
                TransportWs::Subscribe { id, payload } => ClientMessage::Subscribe(id, payload),
                TransportWs::Complete { id } => ClientMessage::Complete(id),
            },
            Self::Legacy => match serde_json::from_str(text)? {
                Legacy::ConnectionInit { payload } => {
                    ClientMessage::Init(authorization(payload.as_ref().and_then(Value::as_object)))
                }
                Legacy::Start { id, payload } => ClientMessage::Subscribe(id, payload),
                Legacy::Stop { id } => ClientMessage::Complete(id),
                Legacy::ConnectionTerminate => ClientMessage::Terminate,
            },
        })
    }

    /// The messages that acknowledge the connection.
    pub fn ack(self) -> Vec<Message> {
        let ack = text(&json!({"type": "connection_ack"}));
        match self {
            Self::TransportWs => vec![ack],
            // After the first keep-alive its clients expect further ones.
            Self::Legacy => vec![ack, keep_alive()],
        }
    }

    /// The messages that ask whether the client is still connected.
    pub fn ping(self) -> Vec<Message> {
        match self {
            Self::TransportWs => vec![text(&json!({"type": "ping"}))],
            Self::Legacy => vec![keep_alive(), Message::Ping(Bytes::new())],
        }
    }

    /// The reply to a ping.
    pub fn pong(payload: Option<Map<String, Value>>) -> Message {
        let mut pong = json!({"type": "pong"});
        if let Some(payload) = payload {
            pong["payload"] = payload.into();
        }
        text(&pong)
    }

    /// The beginning of a message with a payload of an operation; its end is [`NEXT_TAIL`](Self::NEXT_TAIL).
    pub fn next_head(self, id: &str) -> String {
        let word = match self {
            Self::TransportWs => "next",
            Self::Legacy => "data",
        };
        format!(r#"{{"type":"{word}","id":{},"payload":"#, Value::from(id))
    }

    /// The end of the message, after the payload.
    pub const NEXT_TAIL: &str = "}";

    /// The message that an operation cannot be run, or not any longer.
    pub fn error(self, id: &str, errors: &[ServerError]) -> Message {
        let payload = match (self, errors.first()) {
            (Self::Legacy, Some(first)) => {
                // `graphql-ws` has one error per message; clients that look for more find them in `errors`.
                let mut payload = json!(first);
                payload["errors"] = json!(errors);
                payload
            }
            _ => json!(errors),
        };
        text(&json!({"type": "error", "id": id, "payload": payload}))
    }

    /// The message that an operation is complete.
    pub fn complete(id: &str) -> Message {
        text(&json!({"type": "complete", "id": id}))
    }
}

/// The token in the payload of `connection_init`, under the name of the header, in any case. Something else than a text
/// counts as a text that is no token, since somebody meant to send one.
fn authorization(payload: Option<&Map<String, Value>>) -> Option<String> {
    let (_, value) = payload?.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn keep_alive() -> Message {
    text(&json!({"type": "ka"}))
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}
