//! SIGTERM: nothing new, everything that is under way, and then the end.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::database::TestDatabase;
use crate::harness::storm::{End, Storm};
use crate::harness::{Lateness, Program, Server, eventually, http};

/// What service managers grant, and we promise.
const PROMISED: Duration = Duration::from_secs(10);

on_both_databases! {
    async fn nothing_is_dropped_when_a_server_is_asked_to_end_in_a_storm(database: TestDatabase) {
        let server = Server::start(&database).await;
        // A connection for each request: on one that is kept, client and server may decide at the same moment to use it
        // and to close it, which HTTP cannot avoid.
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(0).build().unwrap();
        let mut storm = Storm::gather(&server, &client).await;
        let mut raging = storm.rage(&server, &client);
        raging.wait_for(300).await;

        // From now on, few connections are made at a time: whoever comes between the last look at who is waiting and the
        // end of listening is let in by the system and thrown out.
        raging.abate();
        let (asked, lateness) = (Instant::now(), Lateness::measure());
        let exit = server.stop().await;
        lateness.assert_within(PROMISED, asked.elapsed());
        let (ends, promised) = raging.subside(&mut storm).await;
        let (let_in, others): (Vec<_>, Vec<_>) = ends.into_iter().partition(|end| *end == End::Reset);
        assert!(others.iter().all(|end| *end == End::Refused), "{others:?}\n{}", exit.err);
        assert!(let_in.len() <= 2, "{} clients were let in and thrown out", let_in.len());

        let server = Server::start(&database).await;
        assert!(server.revision >= promised);
        storm.settle(&server).await;
        server.stop().await;
    }
}

/// A request whose handler is waiting for the rest of its body.
struct HalfSent(TcpStream);

const BODY: &str = r#"{"hostname": "node1", "address": "node1:8081", "cpu_cores": 8, "memory_mb": 1024}"#;

impl HalfSent {
    /// Sends a head, and waits until the server asks for the body.
    async fn to(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "PUT /api/v1/workers/late HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self(stream)
    }

    /// Sends the rest, and reads until the server closes.
    async fn finish(mut self) -> String {
        self.0.write_all(BODY.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

async fn until_nobody_listens(server: &Server) {
    eventually("the server stops listening", async || TcpStream::connect(server.address).await.err()).await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_kept() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    let request = HalfSent::to(&server).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();

    server.program.signal("TERM");
    until_nobody_listens(&server).await;
    let answer = request.finish().await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n") && answer.contains("connection: close"), "{answer}");
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0, "who has nothing under way is let go at once");
    assert_eq!(server.program.exit().await.code, Some(0));

    let server = Server::start(&database).await;
    assert_eq!(server.get("/workers/late").await["hostname"], "node1");
    server.stop().await;
}

#[tokio::test]
async fn whoever_does_not_finish_does_not_hold_up_the_end() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    let request = HalfSent::to(&server).await;

    let (asked, lateness) = (Instant::now(), Lateness::measure());
    assert_eq!(server.stop().await.code, Some(0));
    lateness.assert_within(PROMISED, asked.elapsed());
    drop(request);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    let request = HalfSent::to(&server).await;

    server.program.signal("TERM");
    until_nobody_listens(&server).await;
    server.program.signal("TERM");
    assert_eq!(server.program.exit().await.code, Some(128 + 15));
    drop(request);
}

#[tokio::test]
async fn a_websocket_is_closed_with_a_word() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    let mut request = format!("ws://{}/graphql", server.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    for message in [
        json!({"type": "connection_init"}),
        json!({"id": "1", "type": "subscribe", "payload": {"query": "subscription { clusterStats { totalWorkers } }"}}),
    ] {
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    let mut next = async || match socket.next().await.unwrap() {
        Ok(Message::Text(text)) => Ok(serde_json::from_str::<serde_json::Value>(&text).unwrap()),
        Ok(other) => Err(other),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(next().await.unwrap()["type"], "connection_ack");
    assert_eq!(next().await.unwrap()["type"], "next");

    let (asked, lateness) = (Instant::now(), Lateness::measure());
    server.program.signal("TERM");
    let farewell = loop {
        match next().await {
            Ok(_) => {}
            Err(Message::Close(farewell)) => break farewell.unwrap(),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(farewell.code), 1012, "clients may come back: {farewell:?}");
    assert!(matches!(socket.next().await, None | Some(Err(Error::ConnectionClosed))));
    assert_eq!(server.program.exit().await.code, Some(0));
    lateness.assert_within(PROMISED, asked.elapsed());
}

#[tokio::test]
async fn a_stream_of_events_ends_instead_of_holding_up_the_end() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    let stream = http().get(format!("{}/api/v1/events", server.url)).header("accept", "text/event-stream");
    let mut stream = stream.send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some(), "it begins with a place to resume from");

    server.program.signal("TERM");
    while let Some(_rest) = stream.chunk().await.expect("a stream that ends is whole") {}
    let exit = server.program.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(!exit.err.contains("connections that did not finish in time"), "{}", exit.err);
}

#[tokio::test]
async fn a_server_that_cannot_reach_its_database_yet_can_be_stopped() {
    // Takes connections and says nothing, as a database behind a broken network does.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://me@{}/fleet", silent.local_addr().unwrap());
    let program = Program::start(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url]);
    let (connection, _) = silent.accept().await.unwrap();
    program.signal("TERM");
    assert_eq!(program.exit().await.code, Some(0));
    drop(connection);
}
