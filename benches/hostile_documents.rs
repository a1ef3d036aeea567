//! How long it takes to refuse what must not be run, and what others notice of it meanwhile.
//!
//! One server; one client after the other sends the documents that are known to hurt, by POST, by GET,
//! as a stream and on a WebSocket, each several times; another asks an ordinary question over and
//! over. Shown is, for each document and door, the longest time until the refusal, and for the
//! ordinary question its median and its slowest answer, before and meanwhile. The bound is 20 ms.
//!
//! `cargo bench --bench hostile_documents`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints, and stops at the first oddity"
)]

#[path = "support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use self::support::{Core, Program, introduce, tell};

const ROUNDS: usize = 20;
const BOUND: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
const ORDINARY: &str = "{ workers { id status vms { id status } } clusterStats { totalWorkers } }";

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::aetherium(Core::Any, folder.path(), &[]).await.unwrap();
    let address = server.address.clone();
    let before = latencies(&address, Arc::new(AtomicBool::new(false)), 200).await;
    let stop = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn({
        let (address, stop) = (address.clone(), stop.clone());
        async move { latencies(&address, stop, usize::MAX).await }
    });

    let mut slowest = Duration::ZERO;
    println!("{:<34} {:>9} {:>9} {:>9} {:>9}", "longest time to refuse, in ms", "POST", "GET", "stream", "socket");
    for (what, document, variables) in corpus() {
        let mut line = format!("{what:<34}");
        for door in [Door::Post, Door::Get, Door::Stream, Door::Socket] {
            match longest(&address, door, &document, &variables).await {
                Some(took) => {
                    slowest = slowest.max(took);
                    write!(line, " {:>9.2}", took.as_secs_f64() * 1e3).unwrap();
                }
                None => line += "         -",
            }
        }
        println!("{line}");
    }
    stop.store(true, Ordering::Relaxed);
    let meanwhile = others.await.unwrap();
    println!("an ordinary question before:    median {:>7.2} ms, slowest {:>7.2} ms", before.0, before.1);
    println!("an ordinary question meanwhile: median {:>7.2} ms, slowest {:>7.2} ms", meanwhile.0, meanwhile.1);
    println!(
        "slowest refusal: {:.2} ms ({})",
        slowest.as_secs_f64() * 1e3,
        if slowest <= BOUND { "ok" } else { "TOO SLOW" }
    );
    server.kill().await;
}

/// By what way a document comes in.
#[derive(Clone, Copy)]
enum Door {
    Post,
    Get,
    Stream,
    Socket,
}

/// Documents that are known to hurt, with what they are asked with.
fn corpus() -> Vec<(&'static str, String, Value)> {
    let bomb = |levels: usize, spreads: usize| {
        let mut document = "{ workers { ...F0 } }".to_owned();
        for level in 0..levels {
            write!(document, "fragment F{level} on Worker{{{}}}", format!("...F{} ", level + 1).repeat(spreads))
                .unwrap();
        }
        document + &format!("fragment F{levels} on Worker{{id}}")
    };
    let aliases: String = (0..10_000).fold(String::new(), |text, n| text + &format!("a{n}:id "));
    let nothing = || json!({});
    let wanted = "query($l: [ID!]) { workersConnection(filter: {ids: $l}) { totalCount } }".to_owned();
    vec![
        ("2^30 fields in fragments", bomb(30, 2), nothing()),
        ("8^8 fields in fragments", bomb(8, 8), nothing()),
        ("40^60 fields in fragments", bomb(60, 40), nothing()),
        ("a fragment that spreads itself", "{workers{...F}} fragment F on Worker{...F}".into(), nothing()),
        ("a cycle of 100 fragments", cycle(100), nothing()),
        ("10,000 aliases", format!("{{workers{{{aliases}}}}}"), nothing()),
        ("1,500 fields", format!("{{workers{{{}}}}}", "id ".repeat(1_500)), nothing()),
        (
            "330 spreads of an object with 1,000 keys",
            format!("{{{}}}fragment F on Query", "...F ".repeat(330))
                + &format!("{{workersConnection(filter:{{{}}}){{totalCount}}}}", "search:\"1\" ".repeat(1_000)),
            nothing(),
        ),
        ("16,000 spreads", format!("{{a{}}}fragment F on Query{{id}}", "...F".repeat(16_000)), nothing()),
        (
            "990 names that there are not",
            format!("{{workers{{{}}}}}", (0..990).map(|n| format!("n{n} ")).collect::<String>()),
            nothing(),
        ),
        ("550 operations", (0..550).map(|n| format!("query Q{n}{{...F}}")).collect::<String>(), nothing()),
        (
            "20 operations that lack 1,900 variables",
            (0..20).map(|n| format!("query Q{n}{{...F}}")).collect::<String>()
                + &format!("fragment F on Query{{nodes(ids:[{}]){{id}}}}", "$v ".repeat(1_900)),
            nothing(),
        ),
        // Valid, but for the name of the operation.
        (
            "20 operations of 1,200 variables",
            (0..20).map(|n| format!("query Q{n}($v:ID!){{...F}}")).collect::<String>()
                + &format!("fragment F on Query{{nodes(ids:[{}]){{id}}}}", "$v ".repeat(1_200)),
            nothing(),
        ),
        // Just within what is parsed.
        ("990 fields, 3,900 tokens", format!("{{workers{{{}}}}}", "id@a id @a id:id ".repeat(330)), nothing()),
        ("a list of 3,900 entries", format!("{{nodes(ids:[{}]){{id}}}}", "1 ".repeat(3_900)), nothing()),
        ("60,000 zeros", format!("{{nodes(ids:[{}]){{id}}}}", "0".repeat(60_000)), nothing()),
        ("15,000 nulls", format!("{{nodes(ids:[{}]){{id}}}}", "null".repeat(15_000)), nothing()),
        ("a text without end, 20,000 fields", format!("{{a(b:[\"\"\"x\"]){{{}}}}}", "id ".repeat(20_000)), nothing()),
        ("10,000 levels", "{a".repeat(10_000) + &"}".repeat(10_000), nothing()),
        ("60 levels", format!("{{vms{}id{}}}", "{worker{vms".repeat(30) + "{", "}".repeat(61)), nothing()),
        ("a list of 20,000 entries", format!("{{nodes(ids:[{}]){{id}}}}", "1 ".repeat(20_000)), nothing()),
        (
            "20,000 levels of lists",
            format!("{{workers(zone:{}{}){{id}}}}", "[".repeat(20_000), "]".repeat(20_000)),
            nothing(),
        ),
        ("braces that do not close", "{".repeat(60_000), nothing()),
        ("a text that does not end", format!("{{workers(zone:\"{}", "\\u0041".repeat(10_000)), nothing()),
        (
            "a list of lists without end",
            format!("{{workers{{{}id{}}}}}", "vms{worker{".repeat(6), "}}".repeat(6)),
            nothing(),
        ),
        ("a variable of 20,000 entries", wanted.clone(), json!({"l": vec!["w"; 20_000]})),
        // Just within what is looked at.
        ("a variable of 14,900 entries", wanted.clone(), json!({"l": vec!["worker-12345"; 14_900]})),
        ("a variable of 500 KB", wanted, json!({"l": "x".repeat(500_000)})),
    ]
}

fn cycle(length: usize) -> String {
    let links = (0..length).map(|n| format!("fragment F{n} on Worker{{...F{}}}", (n + 1) % length));
    format!("{{workers{{...F0}}}}{}", links.collect::<String>())
}

/// The longest time until a refusal; none if the document does not fit through the door.
async fn longest(address: &str, door: Door, document: &str, variables: &Value) -> Option<Duration> {
    let body = json!({"query": document, "variables": variables}).to_string();
    let escape = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let path = format!("/graphql?query={}&variables={}", escape(document), escape(&variables.to_string()));
    let mut longest = Duration::ZERO;
    match door {
        Door::Get if path.len() > 60_000 => return None,
        Door::Socket if body.len() > 60_000 => return None,
        Door::Post | Door::Get | Door::Stream => {
            for _ in 0..ROUNDS {
                let request = match door {
                    Door::Get => format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
                    Door::Post | Door::Stream | Door::Socket => {
                        let accept =
                            if matches!(door, Door::Stream) { "text/event-stream" } else { "application/json" };
                        let length = body.len();
                        format!(
                            "POST /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
                             accept: {accept}\r\ncontent-length: {length}\r\n\r\n{body}"
                        )
                    }
                };
                let (took, answer) = exchange(address, &request).await;
                let is_refused = answer.contains("\"errors\"") || answer.starts_with("HTTP/1.1 4");
                assert!(is_refused, "{answer}");
                longest = longest.max(took);
            }
        }
        Door::Socket => {
            let mut socket = introduce(TcpStream::connect(address).await.unwrap()).await;
            socket.next().await.unwrap().unwrap();
            for _ in 0..ROUNDS {
                let payload = json!({"query": document, "variables": variables});
                let began = Instant::now();
                tell(&mut socket, &json!({"type": "subscribe", "id": "1", "payload": payload})).await;
                let answer = loop {
                    let message =
                        timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap().into_text().unwrap();
                    if !message.contains("\"complete\"") && !message.contains("\"ping\"") {
                        break message;
                    }
                };
                longest = longest.max(began.elapsed());
                assert!(answer.contains("\"code\""), "{answer}");
            }
        }
    }
    Some(longest)
}

/// Sends a request, and reads the answer to its end. The time is that from the last byte sent to the last one read.
async fn exchange(address: &str, request: &str) -> (Duration, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let began = Instant::now();
    // A server that refuses a body by its length does not read it.
    let _ = connection.write_all(request.as_bytes()).await;
    let _ = timeout(PATIENCE, connection.read_to_end(&mut answer)).await.unwrap();
    (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

/// Median and slowest of an ordinary question's answers, in ms.
async fn latencies(address: &str, stop: Arc<AtomicBool>, at_most: usize) -> (f64, f64) {
    let body = json!({"query": ORDINARY}).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) && took.len() < at_most {
        let (time, answer) = exchange(address, &request).await;
        assert!(answer.contains("\"data\""), "{answer}");
        took.push(time.as_secs_f64() * 1e3);
        sleep(Duration::from_millis(5)).await;
    }
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], *took.last().unwrap())
}
