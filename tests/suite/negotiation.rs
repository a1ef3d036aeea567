//! In what form an answer comes: compressed or not, a failure as JSON or as a problem; and by what name we are asked.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::harness::*;

/// Enough workers that it pays to compress their list.
async fn furnish(cluster: &TestCluster) {
    cluster.add((0..20).map(|n| worker(&format!("w{n:02}")).vms([vm(&format!("vm-{n:02}"))]))).await;
}

fn decompressed(answer: &Answer) -> String {
    let (mut text, bytes) = (String::new(), answer.bytes.as_slice());
    match answer.header("content-encoding") {
        None => text.push_str(&answer.body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap()),
        Some("br") => drop(brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text).unwrap()),
        Some("zstd") => drop(zstd::Decoder::new(bytes).unwrap().read_to_string(&mut text).unwrap()),
        Some(other) => panic!("nobody asked for {other}"),
    }
    text
}

#[tokio::test]
async fn large_answers_are_compressed_as_the_client_knows_how() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    furnish(&cluster).await;
    let plain = cluster.rest().get("/api/v1/workers").await;
    assert_eq!(plain.header("content-encoding"), None);
    for (accepted, encoding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        // What browsers, command lines and libraries say. Who likes zstd no more than others gets another: Node's own
        // `fetch` names it in some versions and some wrappers, and cannot read it.
        ("gzip, deflate, br, zstd", Some("br")),
        ("zstd, br, gzip, deflate", Some("br")),
        ("deflate, gzip, br, zstd", Some("br")),
        ("gzip, deflate, zstd", Some("gzip")),
        ("zstd, gzip", Some("gzip")),
        ("br, gzip, deflate", Some("br")),
        ("gzip, deflate, br", Some("br")),
        ("gzip, deflate", Some("gzip")),
        ("gzip,br,deflate", Some("br")),
        ("gzip;q=1.0, deflate;q=0.6, identity;q=0.3", Some("gzip")),
        ("br;q=0.5, gzip;q=0.5, ZSTD;q=0.5", Some("br")),
        ("gzip;q=0.8, zstd;q=0.8", Some("gzip")),
        ("*", Some("br")),
        ("zstd, *;q=0.1", Some("zstd")),
        ("zstd;q=1.0, br;q=0.9, gzip;q=0.8", Some("zstd")),
        ("zstd, br;q=0, gzip;q=0", Some("zstd")),
        ("zstd, *;q=0", Some("zstd")),
        ("zstd;q=0, gzip", Some("gzip")),
        ("zstd;q=0", None),
        ("gzip;q=1.0, br;q=0.5", Some("gzip")),
        ("deflate", None),
        ("identity", None),
        ("", None),
        ("gzip;q=0", None),
        ("gzip, *;q=0", Some("gzip")),
        // Nothing that we have would do: better an answer than none.
        ("*;q=0", None),
        ("identity;q=0", None),
        ("deflate, identity;q=0", None),
    ] {
        let answer = cluster.rest().get("/api/v1/workers").header("accept-encoding", accepted).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, encoding), "{accepted}");
        assert_eq!(decompressed(&answer), plain.body, "{accepted}");
        assert!(encoding.is_none() || answer.bytes.len() < plain.body.len() / 4, "{accepted}: {}", answer.bytes.len());
        assert_eq!(answer.header("vary"), Some("accept, accept-encoding, authorization, cookie"), "{accepted}");
        assert_eq!(answer.header("etag"), plain.header("etag"), "the tag is of what is said, not of its bytes");
    }
    let tag = plain.header("etag").unwrap();
    let known =
        cluster.rest().get("/api/v1/workers").header("if-none-match", tag).header("accept-encoding", "br").await;
    assert_eq!((known.status, known.header("content-encoding"), known.bytes.len()), (304, None, 0));

    let query = json!({"query": "{ workers { id hostname address status uptime startedAt lastSeen } }"});
    let plain = cluster.rest().post("/graphql").json(query.clone()).await;
    let answer = cluster.rest().post("/graphql").json(query).header("accept-encoding", "gzip").await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(decompressed(&answer), plain.body);
}

#[tokio::test]
async fn small_answers_failures_and_streams_are_not_compressed() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    furnish(&cluster).await;
    for path in ["/api/v1/workers/w01", "/api/v1/cluster/stats", "/api/v1/workers/nobody", "/api/v1/nowhere"] {
        let answer = cluster.rest().get(path).header("accept-encoding", "gzip, br, zstd").await;
        assert_eq!(answer.header("content-encoding"), None, "{path}");
        assert!(answer.json().is_object());
    }
    let compressed = cluster.rest().put("/api/v1/workers/w99").header("content-encoding", "gzip").json(json!({})).await;
    compressed.assert_failure(415, "Request bodies are read uncompressed only; this one is gzip");
}

/// Every way to fail, with what it says.
fn failures(cluster: &TestCluster) -> Vec<(Ask, u16, &'static str, Value)> {
    let rest = || cluster.rest();
    let text = |text: &str| json!(text);
    vec![
        (rest().get("/api/v1/workers/nobody"), 404, "Not Found", text("Worker not found: nobody")),
        (rest().get("/api/v1/nowhere"), 404, "Not Found", text("No route for GET /api/v1/nowhere")),
        (
            rest().put("/api/v1/cluster/stats"),
            405,
            "Method Not Allowed",
            text("PUT is not allowed on /api/v1/cluster/stats; allowed: GET, HEAD"),
        ),
        (
            rest().get("/api/v1/workers?limit=ten"),
            400,
            "Bad Request",
            text("Query parameter `limit`: expected a whole number, not negative, got \"ten\""),
        ),
        (rest().get("/api/v1/workers?limit=501"), 400, "Bad Request", text("limit must be from 0 to 500, not 501")),
        (
            rest().put("/api/v1/workers/w1").header("content-type", "text/csv").body("a,b"),
            415,
            "Unsupported Media Type",
            text("The body has to be application/json, not text/csv"),
        ),
        (
            rest().post("/api/v1/workers/w01/drain").body("x".repeat(257 * 1024)),
            413,
            "Payload Too Large",
            text("The request body is larger than the 256 KiB that are read here"),
        ),
        (rest().post("/api/v1/workers/w01/drain").header("if-match", "\"0\""), 412, "Precondition Failed", Value::Null),
        (rest().get("/api/v1/workers?min_revision=9007199254740992"), 409, "Conflict", Value::Null),
        (
            rest().post("/api/v1/workers/w01/drain").header("origin", "https://evil.example"),
            403,
            "Forbidden",
            Value::Null,
        ),
    ]
}

#[tokio::test]
async fn failures_are_problems_for_those_who_ask_for_problems() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    furnish(&cluster).await;
    for (ask, status, title, detail) in failures(&cluster) {
        let answer = ask.header("accept", "application/problem+json, */*;q=0.1").await;
        let mut problem = answer.json();
        if detail.is_null() {
            assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
            problem["detail"] = Value::Null;
        }
        // What it is about has keys of its own.
        ["argument", "id", "current_revision"]
            .iter()
            .for_each(|key| drop(problem.as_object_mut().unwrap().remove(*key)));
        assert_eq!(problem, json!({"type": "about:blank", "title": title, "status": status, "detail": detail}));
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
        assert!(
            answer.headers.get_all("vary").iter().any(|vary| vary.to_str().is_ok_and(|vary| vary.contains("accept")))
        );
        assert_eq!(answer.header("allow").is_some(), status == 405);
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    let found = cluster.rest().get("/api/v1/workers/w01").header("accept", "application/problem+json").await;
    assert_eq!((found.status, found.header("content-type")), (200, Some("application/json")));
}

#[tokio::test]
async fn failures_are_as_documented_for_everybody_else() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    furnish(&cluster).await;
    for accept in ["", "*/*", "application/json", "application/json, application/problem+json", "text/html"] {
        for (ask, status, _, _) in failures(&cluster) {
            let answer = ask.header("accept", accept).await;
            assert_eq!(answer.status, status, "{accept}");
            answer.assert_house_shape();
        }
    }
}

/// A server that only this machine can reach is not spoken to by pages that have their own name resolve to it.
#[tokio::test]
async fn a_server_on_loopback_answers_to_names_of_this_machine_only() {
    let options =
        |options: &mut aetherium::server::ServerOptions| options.http.allowed_hosts = vec!["ops.example.com".into()];
    // It is there for as long as the server is.
    let database = TestDatabase::sqlite();
    let cluster = TestCluster::configured(&database, options).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(cluster.into_server().serve(listener, stop.clone()));
    let own = format!(":{port}");
    for (name, port_named, status) in [
        ("127.0.0.1", &*own, 200),
        ("localhost", &own, 200),
        ("ops.example.com", &own, 200),
        ("evil.example", &own, 421),
        // By way of a proxy, which has a port of its own.
        ("fleet.example.com", "", 200),
    ] {
        let answer = in_time(raw(port, &format!("{name}{port_named}"))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        if status == 421 {
            let message = "This server answers to addresses and localhost, not to \\\"evil.example\\\"; if that is a \
                           name of this machine, allow it with --allowed-host";
            assert!(answer.contains(message), "{answer}");
        }
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// One request under this name, and its whole answer.
async fn raw(port: u16, host: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET /api/v1/workers HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
