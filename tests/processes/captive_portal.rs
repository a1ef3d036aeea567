//! An agent behind something that answers in the server's place: a load balancer that is being configured, a captive
//! portal, a firewall. `tests/suite/foreign_responses.rs` has every answer there could be; this is the real program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::database::TestDatabase;
use crate::harness::{Program, Server, eventually};

/// Passes connections on to a server, or answers them itself.
struct Portal {
    url: String,
    answer: watch::Sender<Option<&'static str>>,
    answered: Arc<AtomicUsize>,
}

impl Portal {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answer, present) = watch::channel(None);
        let answered = Arc::new(AtomicUsize::new(0));
        let count = answered.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(handle(client, server, present.clone(), count.clone()));
            }
        });
        Self { url, answer, answered }
    }

    /// From now on, answers everything with this status line. What was let through before is not cut: that it was cut
    /// would be the reason that is told of the outage.
    fn answer(&self, status: &'static str) {
        self.answer.send_replace(Some(status));
    }

    fn let_through(&self) {
        self.answer.send_replace(None);
    }

    /// Waits until it has answered so many requests more.
    async fn has_answered(&self, more: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        let enough = async || (self.answered.load(Ordering::SeqCst) >= before + more).then_some(());
        eventually("the portal is asked", enough).await;
    }
}

async fn handle(
    mut client: TcpStream,
    server: SocketAddr,
    answer: watch::Receiver<Option<&'static str>>,
    count: Arc<AtomicUsize>,
) {
    let mut request = vec![0; 64 * 1024];
    let read = client.read(&mut request).await.unwrap_or_default();
    request.truncate(read);
    let Some(line) = request.windows(2).position(|bytes| bytes == b"\r\n") else { return };
    let status = *answer.borrow();
    let Some(status) = status else {
        // The server closes the connection after its response, so that the next request comes on another one.
        request.splice(line..line, *b"\r\nconnection: close");
        if let Ok(mut server) = TcpStream::connect(server).await
            && server.write_all(&request).await.is_ok()
        {
            // Either side may leave as it likes.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        return;
    };
    let page = "<!doctype html><title>No</title>";
    let length = page.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html\r\nlocation: https://portal.example/\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = client.write_all(format!("{head}{page}").as_bytes()).await;
    // A socket that is closed before everything is read resets the connection, and the response may be lost with it.
    let _ = client.shutdown().await;
    let _ = copy(&mut client, &mut sink()).await;
    count.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test]
async fn an_agent_outlives_whatever_answers_in_its_servers_place() {
    let database = TestDatabase::sqlite();
    let server = Server::start_with(&database, &["--heartbeat-interval", "100ms", "--offline-after", "20s"]).await;
    let portal = Portal::before(server.address).await;
    portal.answer("404 Not Found");
    let mut agent = Program::start(&["agent", "--server", &portal.url, "--id", "host-1"]);
    // Not even before it was ever taken.
    portal.has_answered(2).await;
    let seen = async |since: &Value| {
        let (status, worker) = server.ask("/workers/host-1").await;
        let is_newer = worker["last_seen"].as_str() > since.as_str();
        (status.is_success() && is_newer).then(|| worker["last_seen"].clone())
    };
    for status in
        ["200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "404 Not Found", "409 Conflict", "413 Too Large"]
    {
        portal.let_through();
        let before = eventually("the worker is heard", async || seen(&json!(null)).await).await;
        eventually("the worker beats", async || seen(&before).await).await;
        portal.answer(status);
        portal.has_answered(2).await;
    }
    portal.let_through();
    let (_, worker) = server.ask("/workers/host-1").await;
    eventually("the worker is heard again", async || seen(&worker["last_seen"]).await).await;
    let moved = |line: &Value| {
        line["level"] == "WARN" && line["error"].as_str().is_some_and(|error| error.contains("https://portal.example/"))
    };
    agent.logged("where it was sent", moved).await;
    agent.signal("TERM");
    assert_eq!(agent.exit().await.code, Some(0));
    server.stop().await;
}
