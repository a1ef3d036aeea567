//! Where too much waits for clients that take nothing of their answers, a large answer is refused as everything else
//! is: in the shape of its path, with its number, and readable by the pages that may read it. A command is told what
//! has become of it.

use aetherium::http::ListenerOptions;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use h2::client::SendRequest;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::*;

const PAGE: &str = "https://portal.example";

/// A client of HTTP/2 that opens windows of this many bytes for its answers.
async fn client(port: &Port, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(port.authority()).await.unwrap();
    let settings = h2::client::Builder::new().initial_window_size(window).handshake(stream);
    let (requests, connection) = in_time(settings).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// The head of an answer, and its body, which has yet to be taken.
async fn ask(client: &SendRequest<Bytes>, method: &str, path: &str, body: Value) -> (u16, HeaderMap, h2::RecvStream) {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    let request =
        request.header("origin", PAGE).header("x-request-id", "asked-1").header("content-type", "application/json");
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    in_time(async {
        let mut requests = client.clone().ready().await.unwrap();
        let (answer, mut sent) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        sent.send_data(body, true).unwrap();
        let (head, body) = answer.await.unwrap().into_parts();
        (head.status.as_u16(), head.headers, body)
    })
    .await
}

async fn text(mut body: h2::RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(piece) = in_time(body.data()).await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

on_both_databases! {
    async fn a_large_answer_without_room_is_refused_as_everything_else_is(database: TestDatabase) {
        const WAIT: &str = "Too much is waiting for clients that do not take it; try again shortly";
        const DONE: &str = "This was carried out, but too much is waiting for clients that do not take it, and so its answer is \
                            not sent. Look at what has changed instead of sending it again";
        let cluster =
            TestCluster::configured(&database, |options| options.http.cors_origins = vec![PAGE.parse().unwrap()]).await;
        let vms = (0..300).map(|n| vm(&format!("vm-{n}")).name(&"n".repeat(255)));
        cluster.add([worker("w1").vms(vms), worker("w2")]).await;
        let options = ListenerOptions { max_unsent_bytes: 1, ..listener_options() };
        let port = Port::with_options(&cluster, options).await;
        let (stalled, reader) = (client(&port, 0).await, client(&port, 1 << 20).await);
        let (status, _, taken_by_nobody) = ask(&stalled, "GET", "/api/v1/workers/w2", Value::Null).await;
        assert_eq!(status, 200);

        let drain = "mutation { drainWorker(input: {workerId: \"w1\"}) { worker { vms { id name } } } }";
        let beats = vec![json!({"worker_id": "w2", "incarnation": 1, "used_cpu_cores": 3}); 1_000];
        for (method, path, body, expected, message) in [
            ("GET", "/api/v1/vms", Value::Null, 503, WAIT),
            ("POST", "/graphql", json!({"query": "{ vms { id name } }"}), 503, WAIT),
            ("GET", "/graphql?query=%7Bvms%7Bid%20name%7D%7D", Value::Null, 503, WAIT),
            ("POST", "/graphql", json!({"query": drain}), 500, DONE),
            ("POST", "/api/v1/heartbeats", json!({"heartbeats": beats}), 500, DONE),
        ] {
            let (status, headers, body) = ask(&reader, method, path, body).await;
            assert_eq!(status, expected, "{method} {path}");
            assert_eq!(headers["x-request-id"], "asked-1", "{method} {path}");
            assert_eq!(headers["access-control-allow-origin"], PAGE, "{method} {path}");
            assert_eq!(headers.contains_key("retry-after"), expected == 503, "{method} {path}");
            let body: Value = serde_json::from_str(&text(body).await).unwrap();
            if path.starts_with("/graphql") {
                let code = if expected == 503 { "UNAVAILABLE" } else { "INTERNAL" };
                assert_eq!(body, json!({"errors": [{"message": message, "extensions": {"code": code}}]}));
            } else {
                assert_eq!(body, failure(expected, message));
            }
        }
        // What they say is true.
        let changed = [cluster.worker("w1").await["status"].take(), cluster.worker("w2").await["used_cpu_cores"].take()];
        assert_eq!(changed, [json!("draining"), json!(3)]);

        // Small answers are answers, and so are those that have no body.
        let (status, ..) = ask(&reader, "POST", "/api/v1/workers/w1/activate", json!({})).await;
        assert_eq!(status, 200);
        let (status, headers, _) = ask(&reader, "HEAD", "/api/v1/vms", Value::Null).await;
        assert_eq!(status, 200);
        assert!(headers["content-length"].to_str().unwrap().parse::<usize>().unwrap() > 64 * 1024, "{headers:?}");

        // When the others are gone there is room.
        drop((taken_by_nobody, stalled));
        let body = in_time(async {
            loop {
                let (status, _, body) = ask(&reader, "GET", "/api/v1/vms", Value::Null).await;
                if status == 200 {
                    return text(body).await;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["total"], 300);
    }
}
