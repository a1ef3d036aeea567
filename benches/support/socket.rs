//! Subscriptions over WebSockets, as dashboards have them.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// What a socket is read into. The default is zeroed on every read, 128 KiB, which is dear with thousands of them.
const READ_BUFFER: usize = 4 * 1024;

/// A socket that has subscribed.
pub type Socket = WebSocketStream<TcpStream>;

/// Opens a socket on a connection to our server, and introduces itself.
pub async fn introduce(stream: TcpStream) -> Socket {
    let address = stream.peer_addr().unwrap();
    let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await.unwrap();
    tell(&mut socket, &json!({"type": "connection_init"})).await;
    socket
}

/// Opens a socket and subscribes to a document.
pub async fn subscribe(stream: TcpStream, document: &str) -> Socket {
    subscribe_with(stream, document, &json!({})).await
}

/// The same with variables.
pub async fn subscribe_with(stream: TcpStream, document: &str, variables: &Value) -> Socket {
    let mut socket = introduce(stream).await;
    let payload = json!({"query": document, "variables": variables});
    tell(&mut socket, &json!({"type": "subscribe", "id": "1", "payload": payload})).await;
    socket
}

/// Sends a message.
pub async fn tell(socket: &mut Socket, message: &Value) {
    socket.send(Message::Text(message.to_string().into())).await.unwrap();
}
