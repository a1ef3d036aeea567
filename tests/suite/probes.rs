//! Probes of balancers and container runtimes: a server without its database is ready, one that shuts down is not.

use std::future::IntoFuture as _;
use std::net::SocketAddr;

use futures_util::FutureExt as _;
use sea_orm::{DbBackend, TransactionTrait as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::harness::*;

on_both_databases! {
    async fn a_server_that_is_well_is_alive_and_ready(cluster: TestCluster) {
        // What begins with an underscore is only to get past a cache.
        for path in ["/livez", "/readyz", "/readyz/", "/readyz?_=1"] {
            let answer = cluster.rest().get(path).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
        for path in ["/readyz?verbose", "/readyz?verbose=1", "/readyz?_=1&verbose"] {
            let answer = cluster.rest().get(path).await;
            let names = ["shutdown", "descriptors", "journal", "migrations", "database", "commits", "replication"];
            let lines: String = names.iter().map(|name| format!("[+]{name} ok\n")).collect();
            assert_eq!(answer.body, format!("{lines}readyz check passed\n"));
        }
        let version = cluster.rest().get("/version").await;
        assert_eq!(version.json(), json!({"name": "aetherium", "version": env!("CARGO_PKG_VERSION")}));
        for path in ["/readyz?verbos", "/livez?verbose", "/metrics?worker=w1"] {
            let answer = cluster.rest().get(path).await;
            assert_eq!(answer.status, 400, "{path}");
            answer.assert_house_shape();
        }
    }

    async fn without_commits_it_is_degraded_and_ready(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        db.execute("ALTER TABLE worker RENAME TO mislaid").await;
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 503);
        assert_eq!(cluster.rest().get("/readyz").await.status, 200);
        let verbose = cluster.rest().get("/readyz?verbose").await;
        assert_eq!(verbose.status, 200);
        for line in ["[-]commits unavailable: changes are refused\n", "[+]journal ok\n", "readyz check passed, degraded\n"] {
            assert!(verbose.body.contains(line), "{}", verbose.body);
        }
        assert_eq!(cluster.rest().get("/api/v1/health?require=commits").await.status, 503);
        db.execute("ALTER TABLE mislaid RENAME TO worker").await;
    }

    // Kubernetes waits for a second, and a database behind a network that drops everything does not answer before that.
    async fn readiness_is_told_without_a_question_to_the_database(cluster: TestCluster) {
        let readers = cluster.server().journal().database().readers();
        let connections = match readers.get_database_backend() {
            DbBackend::Sqlite => readers.get_sqlite_connection_pool().options().get_max_connections(),
            _ => readers.get_postgres_connection_pool().options().get_max_connections(),
        };
        let mut held = Vec::new();
        for _ in 0..connections {
            held.push(in_time(readers.begin()).await.unwrap());
        }
        for path in ["/readyz", "/livez"] {
            let answer = cluster.rest().get(path).into_future().now_or_never().expect("it waits for nothing");
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
        }
        let verbose = cluster.rest().get("/readyz?verbose").into_future().now_or_never();
        assert!(verbose.is_none(), "this asks a database that does not answer");
        drop(held);
        assert_eq!(cluster.rest().get("/readyz?verbose").await.status, 200);
    }

    async fn a_server_that_has_been_stopped_lives_and_is_not_ready(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let rest = cluster.rest();
        cluster.into_server().stop().await;
        assert_eq!(rest.get("/livez").await.status, 200);
        for path in ["/readyz", "/readyz?verbose"] {
            let answer = rest.get(path).await;
            assert_eq!(answer.status, 503, "{path}");
            answer.assert_house_shape();
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.starts_with("Not ready: [-]shutdown the server is shutting down, [-]journal"), "{message}");
        }
    }
}

/// While requests are still finished, those that ask on the listener of monitoring learn that others should be asked.
#[tokio::test]
async fn a_server_tells_that_it_shuts_down_while_requests_are_finished() {
    let db = TestDatabase::sqlite();
    let (main, monitoring) = (listener().await, listener().await);
    let (address, monitored) = (main.local_addr().unwrap(), monitoring.local_addr().unwrap());
    let server = TestCluster::on(&db).await.into_server().with_monitoring_listener(Some(monitoring));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(main, stop.clone()));
    for (path, expected) in [("/readyz", 200), ("/metrics", 200), ("/metrics/workers", 200), ("/api/v1/workers", 404)] {
        assert_eq!(status(monitored, path).await, expected, "{path}");
    }

    // A request whose body is still to come holds the shutdown up. That it is awaited, the server says itself.
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head = "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nexpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; "HTTP/1.1 100".len()];
    in_time(slow.read_exact(&mut begun)).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100");
    stop.cancel();
    let told = async {
        while status(monitored, "/readyz").await != 503 {
            tokio::task::yield_now().await;
        }
    };
    in_time(told).await;
    assert_eq!(status(monitored, "/livez").await, 200);
    slow.write_all(b"{}").await.unwrap();
    in_time(serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(monitored).await.is_err(), "nobody listens any more");
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn status(address: SocketAddr, path: &str) -> u16 {
    HttpStream::get(&address.to_string(), path, &[]).await.status
}
