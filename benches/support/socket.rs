//! Subscriptions over WebSockets, as dashboards have them.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A socket that has subscribed.
pub type Socket = WebSocketStream<TcpStream>;

/// Opens a socket on a connection to our server, and introduces itself.
pub async fn introduce(stream: TcpStream) -> Socket {
    let address = stream.peer_addr().unwrap();
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    tell(&mut socket, &json!({"type": "connection_init"})).await;
    socket
}

/// Opens a socket and subscribes to a document.
pub async fn subscribe(stream: TcpStream, document: &str) -> Socket {
    let mut socket = introduce(stream).await;
    tell(&mut socket, &json!({"type": "subscribe", "id": "1", "payload": {"query": document}})).await;
    socket
}

/// Sends a message.
pub async fn tell(socket: &mut Socket, message: &Value) {
    socket.send(Message::Text(message.to_string().into())).await.unwrap();
}
