//! Following the cluster over WebSockets, on a real port: the protocol and its close codes, the three streams, and how
//! all of it ends.
//!
//! What a stream does with a reader that is slow, or with time that passes, is asked of the stream itself: a socket's
//! buffers would hide the first, and a clock that is stopped does not fit sockets in the middle of their work.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use aetherium::auth::Caller;
use aetherium::cluster::{EventFilter, EventKind, WorkerFilter, WorkerStatus};
use aetherium::http::ListenerOptions;
use aetherium::resolvers::watch::Heartbeat;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use crate::harness::*;

const EVENTS: &str = "subscription($after: Cursor, $filter: EventFilter) {
    clusterEvents(after: $after, filter: $filter) { cursor kind workerId vmId revision message }
}";

/// The next event of a stream over a socket.
async fn next_event(socket: &mut Socket, id: &str) -> Value {
    socket.next(id).await["clusterEvents"].take()
}

/// The next event that something has changed.
async fn next_change(socket: &mut Socket, id: &str) -> Value {
    loop {
        let event = next_event(socket, id).await;
        if event["kind"] != "SYNCED" {
            return event;
        }
    }
}

/// Kind and worker of an event: `WORKER_DRAIN_STARTED w1`.
fn line(event: &Value) -> String {
    format!("{} {}", event["kind"].as_str().unwrap(), event["workerId"].as_str().unwrap_or_default())
        .trim_end()
        .to_owned()
}

/// Follows the events of a cluster from now on: what is told of it from here on is not missed.
async fn follow(socket: &mut Socket, id: &str) -> Value {
    socket.subscribe(id, EVENTS, json!({})).await;
    let first = next_event(socket, id).await;
    assert_eq!(first["kind"], "SYNCED", "a stream without a cursor begins with one: {first}");
    first["cursor"].clone()
}

async fn drain(cluster: &TestCluster, id: &str) {
    assert_eq!(cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).await.status, 200);
}

async fn activate(cluster: &TestCluster, id: &str) {
    assert_eq!(cluster.rest().post(&format!("/api/v1/workers/{id}/activate")).await.status, 200);
}

/// All events of the log after a cursor, as the query tells them.
async fn logged(cluster: &TestCluster, after: &Value) -> Vec<Value> {
    let query = "query($after: Cursor) { events(first: 500, after: $after) {
        nodes { cursor kind workerId vmId revision message } endCursor hasNextPage
    } }";
    let (mut events, mut after) = (Vec::new(), after.clone());
    loop {
        let mut page = cluster.graphql_answer(query, json!({"after": after})).await["data"]["events"].take();
        let Value::Array(nodes) = page["nodes"].take() else { panic!("{page}") };
        events.extend(nodes);
        if page["hasNextPage"] == false {
            return events;
        }
        after = page["endCursor"].take();
    }
}

mod protocol {
    use super::*;

    /// The protocol does not depend on the database.
    async fn served() -> (TestCluster, Port) {
        let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        (cluster, port)
    }

    #[tokio::test]
    async fn questions_and_commands_are_answered_once_and_completed() {
        let (cluster, port) = served().await;
        let mut socket = port.client().await;
        socket.subscribe("q", "query($id: ID!) { worker(id: $id) { id status } }", json!({"id": "w1"})).await;
        assert_eq!(socket.next("q").await, json!({"worker": {"id": "w1", "status": "ACTIVE"}}));
        assert_eq!(socket.hear().await, json!({"id": "q", "type": "complete"}));

        let command = r#"mutation { drainWorker(input: {workerId: "w1"}) { changed worker { status events(first: 1) { kind } } } }"#;
        socket.subscribe("q", command, json!({})).await;
        assert_eq!(
            socket.next("q").await["drainWorker"],
            json!({"changed": true, "worker": {"status": "DRAINING", "events": [{"kind": "WORKER_DRAIN_STARTED"}]}})
        );
        assert_eq!(
            socket.hear().await,
            json!({"id": "q", "type": "complete"}),
            "an id is free again after its operation"
        );
        assert_eq!(cluster.worker("w1").await["status"], "draining");
    }

    #[tokio::test]
    async fn what_fails_while_it_runs_is_a_next_and_what_is_refused_is_an_error() {
        let (_cluster, port) = served().await;
        let mut socket = port.client().await;
        socket.subscribe("1", r#"mutation { drainWorker(input: {workerId: "x"}) { changed } }"#, json!({})).await;
        let answer = socket.hear().await;
        assert_eq!(
            [&answer["type"], &answer["payload"]["data"]],
            [&json!("next"), &json!({"drainWorker": null})],
            "{answer}"
        );
        assert_eq!(answer["payload"]["errors"][0]["extensions"]["code"], "NOT_FOUND");
        assert_eq!(socket.hear().await, json!({"id": "1", "type": "complete"}));

        for (query, code) in [
            ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("", "GRAPHQL_PARSE_FAILED"),
            ("query($id: ID!) { worker(id: $id) { id } }", "BAD_USER_INPUT"),
            ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
            ("subscription { clusterStats { revision } clusterEvents { kind } }", "GRAPHQL_VALIDATION_FAILED"),
            ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
            (
                "subscription { ...F ...G } fragment F on Subscription { clusterStats { revision } } fragment G on Subscription { clusterEvents { kind } }",
                "GRAPHQL_VALIDATION_FAILED",
            ),
        ] {
            socket.subscribe("2", query, json!({})).await;
            let answer = socket.hear().await;
            assert_eq!([&answer["type"], &answer["id"]], [&json!("error"), &json!("2")], "{query}: {answer}");
            assert_eq!(answer["payload"][0]["extensions"]["code"], code, "{query}: {answer}");
        }
        // An `error` is the last word: the next message is about the next operation.
        socket.subscribe("3", "{ workers { id } }", json!({})).await;
        assert_eq!(socket.next("3").await, json!({"workers": [{"id": "w1"}]}));
    }

    #[tokio::test]
    async fn arguments_of_streams_are_checked() {
        let (_cluster, port) = served().await;
        let mut socket = port.client().await;
        for (query, code, problem) in [
            ("clusterStats(every: \"49ms\") { revision }", "INVALID_ARGUMENT", "every must be from 50ms to 1h"),
            ("clusterStats(every: \"2h\") { revision }", "INVALID_ARGUMENT", "every must be from 50ms to 1h"),
            ("clusterStats(every: \"0s\") { revision }", "INVALID_ARGUMENT", "every must be from 50ms to 1h"),
            ("workerHeartbeats(every: \"1us\") { coalesced }", "INVALID_ARGUMENT", "every must be from 50ms to 1h"),
            (
                "workerHeartbeats(every: \"soon\") { coalesced }",
                "GRAPHQL_VALIDATION_FAILED",
                "\"soon\" is no length of time",
            ),
            (
                "workerHeartbeats(every: \"-1s\") { coalesced }",
                "GRAPHQL_VALIDATION_FAILED",
                "\"-1s\" is no length of time",
            ),
            ("clusterEvents(after: \"x\") { kind }", "GRAPHQL_VALIDATION_FAILED", "\"x\" is not a cursor of this API"),
            (
                "clusterEvents(after: \"a-99999999999999999999\") { kind }",
                "GRAPHQL_VALIDATION_FAILED",
                "is not a cursor of this API",
            ),
        ] {
            socket.subscribe("1", &format!("subscription {{ {query} }}"), json!({})).await;
            let answer = socket.hear().await;
            let error = if answer["type"] == "error" { &answer["payload"][0] } else { &answer["payload"]["errors"][0] };
            assert_eq!(error["extensions"]["code"], code, "{query}: {answer}");
            assert!(error["message"].as_str().unwrap().contains(problem), "{query}: {answer}");
            if answer["type"] == "next" {
                assert_eq!(socket.hear().await, json!({"id": "1", "type": "complete"}), "{query}");
            }
        }
    }

    #[tokio::test]
    async fn operations_of_one_socket_go_on_side_by_side_until_they_are_completed() {
        let (cluster, port) = served().await;
        let mut socket = port.client().await;
        follow(&mut socket, "a").await;
        follow(&mut socket, "b").await;
        drain(&cluster, "w1").await;
        let told: BTreeSet<_> = [socket.hear().await, socket.hear().await]
            .map(|answer| format!("{} {}", answer["id"], line(&answer["payload"]["data"]["clusterEvents"])))
            .into();
        assert_eq!(
            told,
            [r#""a" WORKER_DRAIN_STARTED w1"#, r#""b" WORKER_DRAIN_STARTED w1"#].map(str::to_owned).into()
        );

        // What the client completes says nothing any more, not even that it is complete; its id is free.
        socket.complete("a").await;
        socket.complete("nobody").await;
        activate(&cluster, "w1").await;
        assert_eq!(line(&next_event(&mut socket, "b").await), "WORKER_ACTIVATED w1");
        follow(&mut socket, "a").await;
        socket.complete("b").await;
        drain(&cluster, "w1").await;
        assert_eq!(line(&next_event(&mut socket, "a").await), "WORKER_DRAIN_STARTED w1");
    }

    #[tokio::test]
    async fn pings_are_answered_with_what_they_carry() {
        let (_cluster, port) = served().await;
        let mut socket = port.socket().await;
        socket.say(json!({"type": "ping"})).await;
        assert_eq!(socket.hear().await, json!({"type": "pong"}), "before the beginning too");
        socket.say(json!({"type": "connection_init", "payload": {"token": "x"}})).await;
        assert_eq!(socket.hear().await, json!({"type": "connection_ack"}));
        socket.say(json!({"type": "pong"})).await;
        socket.say(json!({"type": "pong", "payload": {"a": 1}})).await;
        socket.send(Message::Ping("x".into())).await;
        socket.say(json!({"type": "ping", "payload": {"a": [1]}})).await;
        assert_eq!(socket.hear().await, json!({"type": "pong", "payload": {"a": [1]}}));
    }

    #[tokio::test]
    async fn breaches_of_the_protocol_close_the_socket_with_its_codes() {
        let (_cluster, port) = served().await;
        let init = json!({"type": "connection_init"}).to_string();
        let subscribe = |id: &str| {
            let payload = json!({"query": "subscription { clusterEvents { kind } }"});
            json!({"id": id, "type": "subscribe", "payload": payload}).to_string()
        };
        let (one, two) = (subscribe("1"), subscribe("2"));
        let many: Vec<_> = (0..51).map(|n| subscribe(&n.to_string())).collect();
        let many: Vec<_> = std::iter::once(&*init).chain(many.iter().map(String::as_str)).collect();
        for (what, messages, code) in [
            ("no JSON", vec!["nonsense"], 4400),
            ("JSON that is no message", vec!["[]"], 4400),
            ("no type", vec!["{}"], 4400),
            ("an unknown type", vec![r#"{"type": "nope"}"#], 4400),
            (
                "the old protocol's words",
                vec![&*init, r#"{"type": "start", "id": "1", "payload": {"query": "{ __typename }"}}"#],
                4400,
            ),
            ("no id", vec![&*init, r#"{"type": "subscribe", "payload": {"query": "{ __typename }"}}"#], 4400),
            ("no payload", vec![&*init, r#"{"type": "subscribe", "id": "1"}"#], 4400),
            ("no query", vec![&*init, r#"{"type": "subscribe", "id": "1", "payload": {}}"#], 4400),
            (
                "variables that are no object",
                vec![
                    &*init,
                    r#"{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": []}}"#,
                ],
                4400,
            ),
            ("an operation before the beginning", vec![&*one], 4401),
            ("an id that is in use", vec![&*init, &*one, &*two, &*one], 4409),
            ("a second beginning", vec![&*init, &*init], 4429),
            ("more operations than one socket may have", many, 4429),
        ] {
            let mut socket = port.socket().await;
            for message in messages {
                socket.send(Message::text(message)).await;
            }
            let (found, reason) = socket.closed().await;
            assert_eq!(found, code, "{what}: {reason}");
            assert!(!reason.is_empty(), "{what}");
            for leak in ["::", "src/", "panicked", "serde"] {
                assert!(!reason.contains(leak), "{what}: {reason}");
            }
        }
        let mut socket = port.client().await;
        socket.send(Message::binary(json!({"type": "ping"}).to_string())).await;
        assert_eq!(socket.closed().await.0, 4400, "messages are text");
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_ends_only_its_own_socket() {
        let (_cluster, port) = served().await;
        let (mut large, mut other) = (port.client().await, port.client().await);
        large.subscribe("1", &format!("{{ workers {{ id }} }}#{}", "x".repeat(70_000)), json!({})).await;
        assert_eq!(large.closed().await.0, 1009);
        other.subscribe("1", "{ workers { id } }", json!({})).await;
        assert_eq!(other.next("1").await, json!({"workers": [{"id": "w1"}]}));
    }

    #[tokio::test]
    async fn whoever_does_not_begin_in_time_is_closed() {
        let (_cluster, port) = served().await;
        let mut socket = port.socket().await;
        socket.say(json!({"type": "ping"})).await;
        socket.hear().await;
        // From here on nothing is under way, and time passes by itself.
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        assert_eq!(socket.closed().await.0, 4408);
        assert!((9..=11).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn whoever_is_silent_is_asked_and_then_closed() {
        let (_cluster, port) = served().await;
        let mut socket = port.client().await;
        follow(&mut socket, "1").await;
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        for expected in [15, 30] {
            while socket.hear_anything().await != json!({"type": "ping"}) {}
            assert!((expected - 1..=expected).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        }
        assert_eq!(socket.closed().await.0, 1011);
        assert!((44..=60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn whoever_answers_pings_is_kept() {
        let (cluster, port) = served().await;
        let mut socket = port.client().await;
        follow(&mut socket, "1").await;
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        while began.elapsed() < Duration::from_secs(90) {
            socket.hear().await;
        }
        tokio::time::resume();
        drain(&cluster, "w1").await;
        while line(&next_event(&mut socket, "1").await) != "WORKER_DRAIN_STARTED w1" {}
    }

    #[tokio::test]
    async fn a_sub_protocol_has_to_be_one_that_is_spoken_here() {
        let (_cluster, port) = served().await;
        let mut socket = Socket::open(port.handshake()).await.expect("the reason is told by a code of closing");
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4406, "{reason}");
        assert!(reason.contains(TRANSPORT_WS), "{reason}");
        // A client that asked for others does not go on when it is given none of them.
        for unknown in ["soap", "graphql-transport-wss"] {
            let outcome = connect_async(port.handshake().protocol(unknown).into_request()).await;
            let Err(tungstenite::Error::Protocol(problem)) = outcome else { panic!("{outcome:?}") };
            assert!(problem.to_string().contains("no subprotocol"), "{problem}");
        }
        for protocols in [TRANSPORT_WS, "soap, graphql-transport-ws", "graphql-ws, graphql-transport-ws"] {
            let socket = Socket::open(port.handshake().protocol(protocols)).await;
            assert!(socket.is_ok(), "{protocols}");
        }
    }

    #[tokio::test]
    async fn pages_of_other_origins_open_no_socket() {
        let cluster = TestCluster::configured(&TestDatabase::sqlite(), |options| {
            options.http.cors_origins = vec!["https://dashboard.example.com".parse().unwrap()];
        })
        .await;
        let port = Port::of(&cluster).await;
        let handshake = || port.handshake().protocol(TRANSPORT_WS);
        let ours = format!("http://{}", port.authority());
        let asks = |socket: Socket| async move {
            let mut socket = socket;
            socket.say(json!({"type": "connection_init"})).await;
            socket
        };
        for (origin, site) in [
            ("https://evil.example.com", None),
            ("null", None),
            ("http://localhost:1", None),
            (&*ours, Some("cross-site")),
            ("https://evil.example.com", Some("same-site")),
        ] {
            let mut handshake = handshake().header("origin", origin);
            if let Some(site) = site {
                handshake = handshake.header("sec-fetch-site", site);
            }
            let socket =
                Socket::open(handshake).await.expect("a page sees no more of a refusal than a code of closing");
            // Whatever it says, the first thing it hears is that.
            let (code, reason) = asks(socket).await.closed().await;
            assert_eq!(code, 4403, "{origin}: {reason}");
        }
        for origin in [Some(&*ours), Some("https://dashboard.example.com"), None] {
            let handshake = match origin {
                Some(origin) => handshake().header("origin", origin),
                None => handshake(),
            };
            let mut socket = asks(Socket::open(handshake).await.unwrap()).await;
            assert_eq!(socket.hear().await["type"], "connection_ack", "{origin:?}");
        }
    }

    #[tokio::test]
    async fn the_predecessor_of_the_protocol_is_spoken_too() {
        let (cluster, port) = served().await;
        let mut socket =
            Socket::open(port.handshake().protocol("graphql-ws")).await.expect("old dashboards know no other");
        socket.say(json!({"type": "connection_init", "payload": {}})).await;
        assert_eq!(socket.hear().await["type"], "connection_ack");
        assert_eq!(socket.hear().await, json!({"type": "ka"}));
        // Whoever speaks both gets the one that it names first.
        let mut both = Socket::open(port.handshake().protocol("graphql-ws, graphql-transport-ws")).await.unwrap();
        both.say(json!({"type": "connection_init"})).await;
        assert_eq!(both.hear().await["type"], "connection_ack");
        assert_eq!(both.hear().await, json!({"type": "ka"}));
        let start = |id: &str, query: &str| json!({"id": id, "type": "start", "payload": {"query": query}});
        socket.say(start("1", "{ workers { id } }")).await;
        assert_eq!(
            socket.hear().await,
            json!({"id": "1", "type": "data", "payload": {"data": {"workers": [{"id": "w1"}]}}})
        );
        assert_eq!(socket.hear().await, json!({"id": "1", "type": "complete"}));
        socket.say(start("2", "subscription { clusterEvents { kind workerId } }")).await;
        assert_eq!(socket.hear().await["payload"]["data"]["clusterEvents"]["kind"], "SYNCED");
        drain(&cluster, "w1").await;
        let expected = json!({"clusterEvents": {"kind": "WORKER_DRAIN_STARTED", "workerId": "w1"}});
        assert_eq!(socket.hear().await, json!({"id": "2", "type": "data", "payload": {"data": expected}}));
        // An id may be used again; what used it before is over.
        socket.say(start("2", "{ worker(id: \"w1\") { status } }")).await;
        let expected = json!({"worker": {"status": "DRAINING"}});
        assert_eq!(socket.hear().await, json!({"id": "2", "type": "data", "payload": {"data": expected}}));
        assert_eq!(socket.hear().await, json!({"id": "2", "type": "complete"}));
        socket.say(start("3", "subscription { clusterEvents { nope } }")).await;
        let refused = socket.hear().await;
        assert_eq!([&refused["type"], &refused["id"]], [&json!("error"), &json!("3")], "{refused}");
        assert!(refused["payload"]["message"].as_str().unwrap().contains("nope"), "{refused}");
        socket.say(json!({"type": "connection_terminate"})).await;
        assert_eq!(socket.closed().await.0, 1000);
    }

    #[tokio::test]
    async fn a_client_that_vanishes_leaves_its_place_to_others() {
        let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
        cluster.add([worker("w1")]).await;
        let options = ListenerOptions { connections: 1, ..listener_options() };
        let port = Port::with_options(&cluster, options).await;
        for _ in 0..3 {
            let mut socket = port.client_when_there_is_room().await;
            follow(&mut socket, "1").await;
            follow(&mut socket, "2").await;
            let refused =
                Socket::open(port.handshake().protocol(TRANSPORT_WS)).await.err().expect("there is room for one");
            assert_eq!(refused.0, 503, "{}", refused.1);
            // Without a word.
            drop(socket);
        }
    }

    #[tokio::test]
    async fn a_client_that_says_goodbye_is_let_go() {
        let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
        let options = ListenerOptions { connections: 1, ..listener_options() };
        let port = Port::with_options(&cluster, options).await;
        let mut socket = port.client().await;
        follow(&mut socket, "1").await;
        socket.send(Message::Close(None)).await;
        port.client_when_there_is_room().await;
        drop(socket);
    }

    #[tokio::test]
    async fn a_server_that_stops_says_so_and_does_not_wait_for_clients() {
        // It is there for as long as the server is.
        let database = TestDatabase::sqlite();
        let cluster = TestCluster::on(&database).await;
        cluster.add([worker("w1")]).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = Port::at(listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(cluster.into_server().serve(listener, shutdown.clone()));

        let mut idle = port.socket().await;
        let mut busy = port.client().await;
        follow(&mut busy, "1").await;
        let mut legacy = Socket::open(port.handshake().protocol("graphql-ws")).await.unwrap();
        legacy.say(json!({"type": "connection_init"})).await;
        legacy.hear().await;
        // One that reads nothing, and will not take part in closing.
        let mut deaf = port.client().await;
        follow(&mut deaf, "1").await;

        let began = std::time::Instant::now();
        shutdown.cancel();
        let (idle, busy) = tokio::join!(idle.closed(), busy.closed());
        assert_eq!([idle.0, busy.0], [1012, 1012]);
        in_time(serving).await.unwrap().unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
        assert_eq!(deaf.closed().await.0, 1012, "it was told all the same");
        assert_eq!(legacy.closed().await.0, 1012);
    }
}

on_both_databases! {
    async fn events_are_told_as_they_happen_in_order(cluster: TestCluster) {
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let mut cursors = vec![follow(&mut socket, "1").await];
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        drain(&cluster, "w1").await;
        drain(&cluster, "w1").await;
        activate(&cluster, "w1").await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        cluster.rest().delete("/api/v1/workers/w1").await;
        let mut told = Vec::new();
        for _ in 0..6 {
            let event = next_event(&mut socket, "1").await;
            cursors.push(event["cursor"].clone());
            told.push(event);
        }
        let lines: Vec<_> = told.iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "WORKER_REGISTERED w1",
                "VM_STARTED w1",
                "WORKER_DRAIN_STARTED w1",
                "WORKER_ACTIVATED w1",
                "VM_VANISHED w1",
                "WORKER_LEFT w1",
            ]
        );
        assert_eq!(told, logged(&cluster, &cursors[0]).await, "as the query tells them");
        // Each cursor leads on to exactly what came after it.
        for (at, cursor) in cursors.iter().enumerate() {
            assert_eq!(logged(&cluster, cursor).await, told[at..], "after {cursor}");
        }
    }

    async fn a_cursor_resumes_with_exactly_what_was_missed_even_after_a_restart(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2")]), worker("w2")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        follow(&mut socket, "1").await;
        drain(&cluster, "w1").await;
        let last = next_event(&mut socket, "1").await;
        drop(socket);

        drain(&cluster, "w2").await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-1"}, {"id": "vm-3"}, {"id": "vm-4"}]})).await;
        let cluster = cluster.restart().await;
        activate(&cluster, "w1").await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        socket.subscribe("1", EVENTS, json!({"after": last["cursor"]})).await;
        let missed = logged(&cluster, &last["cursor"]).await;
        let lines: Vec<_> = missed.iter().map(line).collect();
        assert_eq!((lines[0].as_str(), lines.last().unwrap().as_str()), ("WORKER_DRAIN_STARTED w2", "WORKER_ACTIVATED w1"));
        for expected in &missed {
            assert_eq!(&next_event(&mut socket, "1").await, expected);
        }
        let synced = next_event(&mut socket, "1").await;
        assert_eq!([&synced["kind"], &synced["revision"]], [&json!("SYNCED"), &json!(cluster.revision())], "that was all");
        activate(&cluster, "w2").await;
        assert_eq!(line(&next_event(&mut socket, "1").await), "WORKER_ACTIVATED w2", "and then it goes on");

        // Between two events of one commit, too.
        let within = missed.iter().rposition(|event| event["revision"] == missed[1]["revision"]).unwrap();
        assert!(within > 1, "one commit with several events is needed: {missed:?}");
        socket.subscribe("2", EVENTS, json!({"after": missed[1]["cursor"]})).await;
        for expected in &missed[2..] {
            assert_eq!(&next_event(&mut socket, "2").await, expected);
        }
    }

    async fn a_replay_of_many_pages_misses_nothing(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let start = json!(cluster.first_cursor());
        let vms: Vec<_> = (0..1_300).map(|n| json!({"id": format!("vm-{n:04}")})).collect();
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1, "vms": vms})).await.status, 200);
        drain(&cluster, "w1").await;
        let expected = logged(&cluster, &start).await;
        assert_eq!(expected.len(), 1_302, "pages end inside of a commit");
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        socket.subscribe("1", EVENTS, json!({"after": start})).await;
        for expected in &expected {
            assert_eq!(&next_event(&mut socket, "1").await, expected);
        }
        assert_eq!(line(&next_event(&mut socket, "1").await), "SYNCED", "once, at the end");
    }

    // Or whoever comes back would not know whether anything is still to come.
    async fn a_cursor_after_which_nothing_happened_is_told_so_at_once(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let now = follow(&mut socket, "1").await;
        for (id, filter) in [("2", json!({})), ("3", json!({"kinds": ["WORKER_LEFT"]}))] {
            socket.subscribe(id, EVENTS, json!({"after": now, "filter": filter})).await;
            let told = next_event(&mut socket, id).await;
            assert_eq!([&told["kind"], &told["cursor"]], [&json!("SYNCED"), &now], "{told}");
        }
        // Past what the filter leaves out.
        let filter = json!({"kinds": ["WORKER_LEFT"]});
        socket.subscribe("4", EVENTS, json!({"after": cluster.first_cursor(), "filter": filter})).await;
        assert_eq!(next_event(&mut socket, "4").await["cursor"], now);
    }

    async fn a_cursor_of_another_database_is_answered_with_one_to_go_on_from(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let now = follow(&mut socket, "0").await;
        socket.complete("0").await;
        // One of a database that is not this one, and one that this one has not come to.
        let (name, revision) = now.as_str().unwrap().split_once('-').unwrap();
        let ahead = format!("{name}-{}", revision.parse::<u64>().unwrap() + 1_000);
        for (id, odd) in [("1", format!("00000000-{revision}")), ("2", "other-0-0".to_owned()), ("3", ahead)] {
            socket
                .subscribe(
                    id,
                    EVENTS,
                    json!({"after": odd, "filter": {"kinds": ["WORKER_DRAIN_STARTED", "WORKER_ACTIVATED"]}}),
                )
                .await;
            let event = next_event(&mut socket, id).await;
            assert_eq!(
                [&event["kind"], &event["cursor"], &event["workerId"]],
                [&json!("RESYNC"), &now, &Value::Null],
                "{odd}"
            );
            assert!(event["message"].as_str().is_some_and(|message| !message.is_empty()));
        }
        drain(&cluster, "w1").await;
        for _ in 0..3 {
            let answer = socket.hear().await;
            assert_eq!(line(&answer["payload"]["data"]["clusterEvents"]), "WORKER_DRAIN_STARTED w1", "it goes on from there");
        }
        socket.subscribe("4", EVENTS, json!({"after": now})).await;
        assert_eq!(
            line(&next_event(&mut socket, "4").await),
            "WORKER_DRAIN_STARTED w1",
            "and so does whoever comes back with it"
        );
    }

    async fn only_the_events_that_are_wanted_are_told(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2").vms([vm("vm-1")])]).await;
        let start = cluster.first_cursor();
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let filter = json!({"workerIds": ["w2"], "kinds": ["WORKER_REGISTERED", "WORKER_DRAIN_STARTED"]});
        socket.subscribe("replay", EVENTS, json!({"after": start, "filter": filter})).await;
        assert_eq!(line(&next_event(&mut socket, "replay").await), "WORKER_REGISTERED w2");
        socket.complete("replay").await;
        socket.subscribe("live", EVENTS, json!({"filter": filter})).await;
        assert_eq!(line(&next_event(&mut socket, "live").await), "SYNCED");
        for id in ["w1", "w2"] {
            activate(&cluster, id).await;
            drain(&cluster, id).await;
            activate(&cluster, id).await;
        }
        drain(&cluster, "w2").await;
        for _ in 0..2 {
            assert_eq!(line(&next_event(&mut socket, "live").await), "WORKER_DRAIN_STARTED w2");
        }
    }

    async fn an_event_shows_the_worker_and_the_vm_as_they_are_now(cluster: TestCluster) {
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let query = "subscription { clusterEvents { kind at actor reason worker { id status events(first: 1) { kind } } vm { id status } } }";
        socket.subscribe("1", query, json!({})).await;
        assert_eq!(next_event(&mut socket, "1").await["worker"], Value::Null);
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        assert_eq!(next_event(&mut socket, "1").await["worker"]["id"], "w1");
        assert_eq!(next_event(&mut socket, "1").await["vm"], json!({"id": "vm-1", "status": "RUNNING"}));
        cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"reason": "new disk"})).await;
        assert_eq!(
            next_event(&mut socket, "1").await,
            json!({
                "kind": "WORKER_DRAIN_STARTED", "at": START, "actor": "OPERATOR", "reason": "new disk", "vm": null,
                "worker": {"id": "w1", "status": "DRAINING", "events": [{"kind": "WORKER_DRAIN_STARTED"}]},
            })
        );
    }

    async fn a_worker_that_falls_silent_and_comes_back_is_told_once_each(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        follow(&mut socket, "1").await;
        cluster.advance(seconds(61));
        cluster.sweep().await;
        cluster.sweep().await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        drain(&cluster, "w1").await;
        for expected in ["WORKER_OFFLINE w1", "WORKER_ONLINE w1", "WORKER_DRAIN_STARTED w1"] {
            assert_eq!(line(&next_event(&mut socket, "1").await), expected);
        }
    }

    async fn no_event_is_missed_or_doubled_while_thousands_are_committed_at_once(cluster: TestCluster) {
        const WORKERS: usize = 50;
        const ROUNDS: usize = 20;
        cluster.add((0..WORKERS).map(|n| worker(&format!("w{n:02}")).without_heartbeat())).await;
        let port = Port::of(&cluster).await;
        let (mut early, mut middle) = (port.client().await, port.client().await);
        let start = follow(&mut early, "1").await;
        let writes = join_all((0..WORKERS).map(async |n| {
            let id = format!("w{n:02}");
            for _ in 0..ROUNDS {
                drain(&cluster, &id).await;
                activate(&cluster, &id).await;
            }
        }));
        let read = async |socket: &mut Socket, skip: usize| {
            let mut events = Vec::new();
            while events.len() < 2 * WORKERS * ROUNDS - skip {
                events.push(next_change(socket, "1").await);
            }
            events
        };
        // One follows from the beginning; another comes while it is going on, with the place where the first one is.
        let ((), events, late) = tokio::join!(async { drop(writes.await) }, read(&mut early, 0), async {
            middle.subscribe("1", EVENTS, json!({"after": start})).await;
            let mut events = Vec::new();
            while events.len() < 300 {
                events.push(next_change(&mut middle, "1").await);
            }
            middle.complete("1").await;
            let mut again = port.client().await;
            again.subscribe("1", EVENTS, json!({"after": events[299]["cursor"]})).await;
            events.extend(read(&mut again, 300).await);
            events
        },);
        let expected = logged(&cluster, &start).await;
        assert_eq!(expected.len(), 2 * WORKERS * ROUNDS);
        assert_same(&events, &expected);
        assert_same(&late, &expected);
        let distinct: BTreeSet<_> = events.iter().map(|event| event["cursor"].to_string()).collect();
        assert_eq!(distinct.len(), events.len());
    }

    // A reader that falls further behind than the feed goes back is caught up from the log.
    async fn a_slow_reader_of_events_misses_nothing(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let start = json!(cluster.first_cursor());
        let resolvers = cluster.server().resolvers();
        let filter = EventFilter { kinds: Some(vec![EventKind::WorkerDrainStarted]), ..EventFilter::default() };
        let mut all = pin!(resolvers.watch_events(&Caller::unrestricted(), None, EventFilter::default()).unwrap());
        let mut drained = pin!(resolvers.watch_events(&Caller::unrestricted(), None, filter).unwrap());
        for _ in 0..550 {
            resolvers.drain_worker(&Caller::unrestricted(), "w1", Default::default(), None).await.unwrap();
            resolvers.activate_worker(&Caller::unrestricted(), "w1", None, None).await.unwrap();
        }
        resolvers.drain_worker(&Caller::unrestricted(), "w2", Default::default(), None).await.unwrap();
        let expected = logged(&cluster, &start).await;
        let expected: Vec<_> = expected[2..].iter().map(|event| event["cursor"].as_str().unwrap()).collect();
        assert_eq!(all.next().await.unwrap().unwrap().event.kind, EventKind::Synced);
        assert_eq!(drained.next().await.unwrap().unwrap().event.kind, EventKind::Synced);
        for (at, expected) in expected.iter().enumerate() {
            assert_eq!(in_time(all.next()).await.unwrap().unwrap().event.cursor.to_string(), **expected);
            if at % 2 == 0 {
                assert_eq!(in_time(drained.next()).await.unwrap().unwrap().event.cursor.to_string(), **expected);
            }
        }
        resolvers.activate_worker(&Caller::unrestricted(), "w2", None, None).await.unwrap();
        assert_eq!(in_time(all.next()).await.unwrap().unwrap().event.kind, EventKind::WorkerActivated);
    }

    async fn heartbeats_begin_with_the_present_and_go_on(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3").without_heartbeat()]).await;
        drain(&cluster, "w2").await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let query = "subscription { workerHeartbeats { receivedAt coalesced isLast worker { id status usedCpuCores revision vmCount vmsConnection { totalCount } } } }";
        socket.subscribe("1", query, json!({})).await;
        let mut first = Vec::new();
        for _ in 0..3 {
            first.push(socket.next("1").await["workerHeartbeats"].take());
        }
        let beat = |id: &str, status: &str, used: u32, revision: u64, at: &str, vms: u32| {
            json!({
                "receivedAt": at, "coalesced": 1, "isLast": false,
                "worker": {"id": id, "status": status, "usedCpuCores": used, "revision": revision, "vmCount": vms, "vmsConnection": {"totalCount": vms}},
            })
        };
        assert_eq!(
            first,
            [
                beat("w1", "ACTIVE", 0, 2, START, 0),
                beat("w2", "DRAINING", 0, 6, START, 0),
                beat("w3", "ACTIVE", 0, 5, START, 0)
            ]
        );
        cluster.advance(seconds(10));
        cluster.beat("w2", json!({"incarnation": 1, "used_cpu_cores": 5, "vms": [{"id": "vm-1"}]})).await;
        assert_eq!(socket.next("1").await["workerHeartbeats"], beat("w2", "DRAINING", 5, 7, "2025-11-02T10:00:10Z", 1));
        cluster.add([worker("w4").without_heartbeat()]).await;
        assert_eq!(socket.next("1").await["workerHeartbeats"]["worker"]["id"], "w4", "who comes later is told too");
        cluster.rest().delete("/api/v1/workers/w4?purge=true").await;
        let last = socket.next("1").await["workerHeartbeats"].take();
        assert_eq!((&last["worker"]["id"], &last["isLast"]), (&json!("w4"), &json!(true)));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(socket.next("1").await["workerHeartbeats"]["worker"]["id"], "w1", "who is gone is told once");
    }

    async fn a_worker_that_leaves_the_filter_is_told_once_more(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2").vms([vm("vm-1")]), worker("w3")]).await;
        drain(&cluster, "w3").await;
        let resolvers = cluster.server().resolvers();
        let filter = WorkerFilter { statuses: Some(vec![WorkerStatus::Active]), ..WorkerFilter::default() };
        let watch = || {
            Box::pin(resolvers.watch_heartbeats(&Caller::unrestricted(), filter.clone(), None).unwrap().map(Result::unwrap))
        };
        let (mut beats, mut others) = (watch(), watch());
        let told = async |beats: &mut (dyn Stream<Item = Heartbeat> + Unpin + Send)| {
            let Heartbeat { worker, is_last, .. } = in_time(beats.next()).await.unwrap();
            (worker.worker.id.to_string(), worker.status(), worker.worker.vm("vm-1").is_some(), is_last)
        };
        let line = |id: &str, status, is_last| (id.to_owned(), status, id == "w2", is_last);
        for id in ["w1", "w2"] {
            assert_eq!(told(&mut beats).await, line(id, WorkerStatus::Active, false));
        }
        // It leaves, and more is heard of it that is not wanted.
        drain(&cluster, "w1").await;
        assert_eq!(told(&mut beats).await, line("w1", WorkerStatus::Draining, true));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        // It comes back, and leaves again while nobody reads.
        activate(&cluster, "w1").await;
        assert_eq!(told(&mut beats).await, line("w1", WorkerStatus::Active, false));
        drain(&cluster, "w1").await;
        activate(&cluster, "w1").await;
        drain(&cluster, "w1").await;
        assert_eq!(told(&mut beats).await, line("w1", WorkerStatus::Draining, true));
        // It is purged, and so is one that the reader was never told of.
        for id in ["w2", "w3"] {
            let path = format!("/api/v1/workers/{id}?purge=true&force=true");
            assert_eq!(cluster.rest().delete(&path).await.status, 204);
        }
        assert_eq!(told(&mut beats).await, line("w2", WorkerStatus::Active, true), "as it was told last");
        cluster.add([worker("w2")]).await;
        let Heartbeat { worker: back, is_last, .. } = in_time(beats.next()).await.unwrap();
        assert_eq!((back.worker.id.as_str(), is_last), ("w2", false), "it is there again");
        cluster.advance(minutes(2));
        assert_eq!(in_time(beats.next()).await.unwrap().worker.status(), WorkerStatus::Offline, "the clock alone is enough");
        // Who was told of nobody meanwhile hears of nobody that has left.
        cluster.add([worker("w5")]).await;
        assert_eq!(told(&mut others).await, line("w5", WorkerStatus::Active, false));
    }

    async fn a_purge_that_the_feed_has_forgotten_is_told_all_the_same(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let resolvers = cluster.server().resolvers();
        let mut beats = pin!(resolvers.watch_heartbeats(&Caller::unrestricted(), WorkerFilter::default(), None).unwrap().map(Result::unwrap));
        tell(&mut beats, 2).await;
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        for _ in 0..550 {
            resolvers.drain_worker(&Caller::unrestricted(), "w2", Default::default(), None).await.unwrap();
            resolvers.activate_worker(&Caller::unrestricted(), "w2", None, None).await.unwrap();
        }
        let told = tell(&mut beats, 2).await;
        assert_eq!([&told["w1"], &told["w2"]].map(|beat| beat.is_last), [true, false]);
    }

    async fn updates_leave_out_heartbeats_that_say_the_same(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1")]), worker("w2").zone("b"), worker("w3").zone("a")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let query = "subscription($filter: WorkerFilter) { workerUpdates(filter: $filter) { isLast worker { \
                     id status usedCpuCores vmCount reservedVmSlots labels { key } drain { state } } } }";
        socket.subscribe("1", query, json!({"filter": {"zones": ["a"]}})).await;
        let next = async |socket: &mut Socket| {
            let told = socket.next("1").await["workerUpdates"].take();
            let worker = &told["worker"];
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let last = if told["isLast"] == true { " last" } else { "" };
            let drain = text(&worker["drain"]["state"]);
            let numbers = [&worker["usedCpuCores"], &worker["vmCount"], &worker["reservedVmSlots"]];
            format!("{} {} {drain} {}{last}", text(&worker["id"]), text(&worker["status"]), json!(numbers))
        };
        let beat = async |id: &str, more: Value| {
            let mut report = json!({"incarnation": 1});
            report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(cluster.beat(id, report).await.status, 200);
        };
        // Each follows heartbeats that say nothing new, of this worker and of others.
        let same = async || {
            cluster.advance(seconds(5));
            for id in ["w1", "w2", "w3"] {
                beat(id, json!({})).await;
            }
        };
        assert_eq!(next(&mut socket).await, "w1 ACTIVE - [2,1,0]");
        assert_eq!(next(&mut socket).await, "w3 ACTIVE - [0,0,0]");
        same().await;
        beat("w1", json!({"vms": [{"id": "vm-1", "vcpus": 3, "memory_mb": 1}]})).await;
        assert_eq!(next(&mut socket).await, "w1 ACTIVE - [3,1,0]");
        same().await;
        beat("w3", json!({"vms": [{"id": "vm-3", "status": "starting"}]})).await;
        assert_eq!(next(&mut socket).await, "w3 ACTIVE - [0,1,0]");
        same().await;
        beat("w3", json!({"vms": [{"id": "vm-3", "status": "running"}]})).await;
        assert_eq!(next(&mut socket).await, "w3 ACTIVE - [0,1,0]", "a VM of it shows something else");
        same().await;
        let held = json!({"vcpus": 1, "memory_mb": 1, "without_workers": ["w1", "w2"]});
        assert_eq!(cluster.rest().post("/api/v1/reservations").json(held).await.status, 201);
        assert_eq!(next(&mut socket).await, "w3 ACTIVE - [0,1,1]");
        assert_eq!(cluster.rest().post("/api/v1/workers/w2/drain").await.status, 200);
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"deadline_seconds": 20})).await.status, 200);
        // From here on, a drain shows more than is asked for: that it was announced, and who was told of it.
        let next_other = async |socket: &mut Socket, before: &str| loop {
            let told = next(socket).await;
            if told != before {
                return told;
            }
        };
        let draining = "w1 DRAINING DRAINING [3,1,0]";
        assert_eq!(next(&mut socket).await, draining);
        // The clock alone changes what is shown.
        cluster.advance(seconds(20));
        cluster.sweep().await;
        let overdue = "w1 DRAINING OVERDUE [3,1,0]";
        assert_eq!(next_other(&mut socket, draining).await, overdue);
        cluster.advance(seconds(20));
        beat("w3", json!({})).await;
        cluster.advance(seconds(21));
        let offline = "w1 OFFLINE OVERDUE [3,1,0]";
        assert_eq!(next_other(&mut socket, overdue).await, offline);
        beat("w1", json!({})).await;
        assert_eq!(next_other(&mut socket, offline).await, overdue);
        let elsewhere = worker("w1").zone("b").registers("boot_id", "another").registration();
        assert_eq!(cluster.rest().put("/api/v1/workers/w1").json(elsewhere).await.status, 200);
        let last = "w1 DRAINING OVERDUE [3,1,0] last";
        assert_eq!(next_other(&mut socket, overdue).await, last, "it has left the filter");
        cluster.rest().delete("/api/v1/workers/w3?purge=true&force=true").await;
        assert_eq!(next(&mut socket).await, "w3 ACTIVE - [0,1,1] last", "as it was told last");
    }

    async fn only_the_heartbeats_that_are_wanted_are_told(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a"), worker("w2").zone("b"), worker("w3").zone("a")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let query =
            r#"subscription { workerHeartbeats(filter: {zones: ["a"], statuses: [ACTIVE]}) { worker { id } } }"#;
        socket.subscribe("1", query, json!({})).await;
        let told = async |socket: &mut Socket| socket.next("1").await["workerHeartbeats"]["worker"]["id"].take();
        assert_eq!([told(&mut socket).await, told(&mut socket).await], ["w1", "w3"]);
        drain(&cluster, "w1").await;
        for id in ["w1", "w2", "w3"] {
            cluster.beat(id, json!({"incarnation": 1})).await;
        }
        assert_eq!([told(&mut socket).await, told(&mut socket).await], ["w1", "w3"], "the first is not wanted any more");
        activate(&cluster, "w1").await;
        assert_eq!(told(&mut socket).await, "w1", "it is wanted again");
    }

    // Readers of single workers look at no others, and share the search for who fell silent.
    async fn a_reader_of_one_worker_is_told_of_that_one_only_and_when_it_falls_silent(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3").silent_for(seconds(20))]).await;
        let port = Port::of(&cluster).await;
        let query = |field: &str, ids: &str| {
            format!("subscription {{ {field}(filter: {{ids: [{ids}]}}) {{ worker {{ id status usedCpuCores }} }} }}")
        };
        for field in ["workerHeartbeats", "workerUpdates"] {
            let told = async |socket: &mut Socket| socket.next("1").await[field]["worker"].take();
            let shown = |id: &str, status: &str, used: u32| json!({"id": id, "status": status, "usedCpuCores": used});
            let (mut one, mut two) = (port.client().await, port.client().await);
            one.subscribe("1", &query(field, r#""w1""#), json!({})).await;
            two.subscribe("1", &query(field, r#""w2", "w4""#), json!({})).await;
            let used = if field == "workerHeartbeats" { 0 } else { 5 };
            assert_eq!(told(&mut one).await, shown("w1", "ACTIVE", used));
            assert_eq!(told(&mut two).await, shown("w2", "ACTIVE", used));
            for used in [4, 5] {
                for id in ["w3", "w2", "w1"] {
                    cluster.beat(id, json!({"incarnation": 1, "used_cpu_cores": used})).await;
                }
                assert_eq!(told(&mut one).await, shown("w1", "ACTIVE", used));
                assert_eq!(told(&mut two).await, shown("w2", "ACTIVE", used));
            }
            cluster.advance(seconds(61));
            assert_eq!(told(&mut one).await, shown("w1", "OFFLINE", 5));
            assert_eq!(told(&mut two).await, shown("w2", "OFFLINE", 5));
            for id in ["w2", "w1"] {
                cluster.beat(id, json!({"incarnation": 1, "used_cpu_cores": 5})).await;
            }
            assert_eq!(told(&mut two).await, shown("w2", "ACTIVE", 5));
            assert_eq!(told(&mut one).await, shown("w1", "ACTIVE", 5));
        }
        // One that registers later is told, too, to who asked for it.
        let mut late = port.client().await;
        late.subscribe("1", &query("workerHeartbeats", r#""w4""#), json!({})).await;
        cluster.add([worker("w4")]).await;
        assert_eq!(late.next("1").await["workerHeartbeats"]["worker"]["id"], "w4");
    }

    async fn a_reader_that_does_not_read_gets_fewer_heartbeats_and_the_latest(cluster: TestCluster) {
        const WORKERS: usize = 4;
        const BEATS: usize = 1_250;
        cluster.add((0..WORKERS).map(|n| worker(&format!("w{n}")))).await;
        let beats = cluster.server().resolvers().watch_heartbeats(&Caller::unrestricted(), WorkerFilter::default(), None).unwrap().map(Result::unwrap);
        let mut beats = pin!(beats);
        assert_eq!(tell(&mut beats, WORKERS).await.len(), WORKERS);
        for round in 1..=BEATS {
            let all: Vec<_> = (0..WORKERS)
                .map(|n| json!({"worker_id": format!("w{n}"), "incarnation": 1, "used_cpu_cores": round}))
                .collect();
            assert_eq!(cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": all})).await.status, 200);
        }
        let told = tell(&mut beats, WORKERS).await;
        assert_eq!(told.len(), WORKERS, "one message for each worker, not one for each beat");
        for beat in told.values() {
            assert_eq!(beat.worker.worker.usage.used_cpu_cores, u32::try_from(BEATS).unwrap());
            assert!(beat.coalesced > 1 && beat.coalesced as usize <= BEATS, "{}", beat.coalesced);
        }
        cluster.beat("w2", json!({"incarnation": 1, "used_cpu_cores": 3})).await;
        let next = in_time(beats.next()).await.unwrap();
        assert_eq!((next.worker.worker.id.as_str(), next.coalesced), ("w2", 1), "nothing was left over");
    }

    // The feed forgets what it told too long ago; who beat only then must not be forgotten with it.
    async fn a_heartbeat_that_the_feed_has_forgotten_is_told_all_the_same(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let resolvers = cluster.server().resolvers();
        let mut beats = pin!(resolvers.watch_heartbeats(&Caller::unrestricted(), WorkerFilter::default(), None).unwrap().map(Result::unwrap));
        tell(&mut beats, 2).await;
        cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 7})).await;
        for _ in 0..550 {
            resolvers.drain_worker(&Caller::unrestricted(), "w2", Default::default(), None).await.unwrap();
            resolvers.activate_worker(&Caller::unrestricted(), "w2", None, None).await.unwrap();
        }
        let told = tell(&mut beats, 2).await;
        assert_eq!(told["w1"].worker.worker.usage.used_cpu_cores, 7);
    }

    async fn a_slow_reader_hears_of_every_worker(cluster: TestCluster) {
        cluster.add((0..10).map(|n| worker(&format!("w{n}")))).await;
        let resolvers = cluster.server().resolvers();
        let mut beats = pin!(resolvers.watch_heartbeats(&Caller::unrestricted(), WorkerFilter::default(), None).unwrap().map(Result::unwrap));
        let mut told = BTreeSet::new();
        for _ in 0..10 {
            // All beat again before one is read of.
            let all: Vec<_> = (0..10).map(|n| json!({"worker_id": format!("w{n}"), "incarnation": 1})).collect();
            cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": all})).await;
            told.insert(in_time(beats.next()).await.unwrap().worker.worker.id.to_string());
        }
        assert_eq!(told.len(), 10, "{told:?}");
    }

    async fn statistics_are_told_now_and_after_changes(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let query = r#"subscription { clusterStats(every: "50ms") { totalWorkers drainingWorkers totalVms usedCpuCores revision } }"#;
        socket.subscribe("1", query, json!({})).await;
        let stats = |workers: u32, draining: u32, vms: u32, used: u32, revision: u32| {
            json!({"clusterStats": {
                "totalWorkers": workers, "drainingWorkers": draining, "totalVms": vms, "usedCpuCores": used, "revision": revision,
            }})
        };
        assert_eq!(socket.next("1").await, stats(1, 0, 1, 2, 2));
        drain(&cluster, "w1").await;
        assert_eq!(socket.next("1").await, stats(1, 1, 1, 2, 3));
        // Nothing that the statistics tell: the next message is about what comes after.
        cluster.beat("w1", json!({"incarnation": 1})).await;
        activate(&cluster, "w1").await;
        assert_eq!(socket.next("1").await, stats(1, 0, 1, 2, 5));
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        assert_eq!(socket.next("1").await, stats(1, 0, 0, 0, 6));
    }
}

/// So many messages, by worker.
async fn tell(beats: &mut (impl Stream<Item = Heartbeat> + Unpin), count: usize) -> BTreeMap<String, Heartbeat> {
    let mut told = BTreeMap::new();
    for _ in 0..count {
        let beat = in_time(beats.next()).await.unwrap();
        told.insert(beat.worker.worker.id.to_string(), beat);
    }
    told
}

/// The same events in the same order; says where they part, for whole lists say too much.
#[track_caller]
fn assert_same(told: &[Value], expected: &[Value]) {
    let apart = told.iter().zip(expected).position(|(told, expected)| told != expected);
    assert_eq!(apart.map(|at| (at, &told[at], &expected[at])), None);
    assert_eq!(told.len(), expected.len());
}

/// Streams and time, which passes by itself while nothing happens.
mod time {
    use super::*;

    async fn cluster() -> TestCluster {
        let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        cluster
    }

    /// A time in which something would have happened, if it were to happen at all.
    const LONG: Duration = Duration::from_secs(3_000);

    #[tokio::test]
    async fn a_quiet_stream_of_events_is_notified_now_and_then_that_it_has_missed_nothing() {
        let cluster = cluster().await;
        let resolvers = cluster.server().resolvers();
        let filter = EventFilter { kinds: Some(vec![EventKind::WorkerLeft]), ..EventFilter::default() };
        let mut events = pin!(resolvers.watch_events(&Caller::unrestricted(), None, filter).unwrap());
        events.next().await.unwrap().unwrap();
        // Unwanted events move the cursor on: whoever resumes from it does not read them again.
        drain(&cluster, "w1").await;
        let revision = cluster.revision();
        tokio::time::pause();
        for _ in 0..3 {
            let began = tokio::time::Instant::now();
            let event = events.next().await.unwrap().unwrap().event;
            assert_eq!((event.kind, event.cursor.revision), (EventKind::Synced, revision));
            assert!((14..=15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        }
    }

    // What is written out once for everybody must not be what one reader was told at one time.
    #[tokio::test]
    async fn each_word_to_a_quiet_stream_is_of_its_own_time() {
        let cluster = cluster().await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        socket.subscribe("1", "subscription { clusterEvents { kind at message } }", json!({})).await;
        let first = next_event(&mut socket, "1").await;
        assert_eq!(first["message"], "Following from here");
        let mut told = vec![first["at"].clone()];
        for _ in 0..2 {
            cluster.advance(seconds(1));
            tokio::time::pause();
            let event = next_event(&mut socket, "1").await;
            tokio::time::resume();
            assert_eq!([&event["kind"], &event["message"]], [&json!("SYNCED"), &json!("Nothing was missed")]);
            told.push(event["at"].clone());
        }
        assert_eq!(told, [START, "2025-11-02T10:00:01Z", "2025-11-02T10:00:02Z"]);
    }

    #[tokio::test]
    async fn a_worker_is_told_at_most_once_in_the_time_that_was_asked_for() {
        let cluster = cluster().await;
        let resolvers = cluster.server().resolvers();
        let mut beats = pin!(
            resolvers
                .watch_heartbeats(&Caller::unrestricted(), WorkerFilter::default(), Some(seconds(10)))
                .unwrap()
                .map(Result::unwrap)
        );
        assert_eq!(tell(&mut beats, 2).await.len(), 2);
        for used in [1, 2, 3] {
            cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": used})).await;
        }
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let beat = beats.next().await.unwrap();
        assert_eq!(
            (beat.worker.worker.id.as_str(), beat.worker.worker.usage.used_cpu_cores, beat.coalesced),
            ("w1", 3, 3)
        );
        assert!((9..=10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        assert!(tokio::time::timeout(LONG, beats.next()).await.is_err(), "nothing more happened");
    }

    #[tokio::test]
    async fn statistics_that_are_the_same_are_not_told_again() {
        let cluster = cluster().await;
        let resolvers = cluster.server().resolvers();
        let mut stats = pin!(resolvers.watch_cluster_stats(&Caller::unrestricted(), None).unwrap().map(Result::unwrap));
        assert_eq!(stats.next().await.unwrap().total_workers, 2);
        for id in ["w1", "w2"] {
            cluster.beat(id, json!({"incarnation": 1})).await;
        }
        tokio::time::pause();
        assert!(tokio::time::timeout(LONG, stats.next()).await.is_err(), "a beat that changes nothing is nothing new");
        tokio::time::resume();
        drain(&cluster, "w1").await;
        activate(&cluster, "w1").await;
        drain(&cluster, "w2").await;
        let told = in_time(stats.next()).await.unwrap();
        assert_eq!((told.draining_workers, told.revision), (1, cluster.revision()), "only how it is now");
    }
}

/// Several servers on one PostgreSQL.
mod replicas {
    use super::*;

    #[tokio::test]
    async fn events_that_one_server_commits_reach_the_followers_of_another_in_order() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
                let b = a.another_server().await;
                let port = Port::of(&a).await;
                let mut socket = port.client().await;
                let start = follow(&mut socket, "1").await;
                let writes = async {
                    for round in 0..20 {
                        // Now here, now there, and sometimes both at once.
                        let (one, other) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
                        tokio::join!(drain(one, "w1"), drain(other, "w2"));
                        other.beat("w1", json!({"incarnation": 1, "vms": [{"id": format!("vm-{round}")}]})).await;
                        tokio::join!(activate(one, "w2"), activate(one, "w1"));
                    }
                };
                let reads = async {
                    let mut events = Vec::new();
                    while events.len() < 120 {
                        events.push(next_event(&mut socket, "1").await);
                    }
                    events
                };
                let ((), events) = tokio::join!(writes, reads);
                let fresh = a.another_server().await;
                assert_same(&events, &logged(&fresh, &start).await);

                let mut socket = Port::of(&b).await.client().await;
                socket.subscribe("1", EVENTS, json!({"after": start})).await;
                for expected in &events {
                    assert_eq!(&next_event(&mut socket, "1").await, expected, "the other server tells the same");
                }
            })
            .await;
    }

    // Whoever loses one server goes on with the next, which may not have seen the last commits yet.
    #[tokio::test]
    async fn a_cursor_of_one_server_can_be_resumed_at_another_at_once() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1")]).await;
                let b = a.another_server().await;
                let (here, there) = (Port::of(&a).await, Port::of(&b).await);
                let (mut here, mut there) = (here.client().await, there.client().await);
                follow(&mut here, "1").await;
                for round in 0..10 {
                    if round % 2 == 0 {
                        drain(&a, "w1").await
                    } else {
                        activate(&a, "w1").await
                    }
                    let last = next_event(&mut here, "1").await;
                    assert_eq!(last["revision"], a.revision());
                    let id = round.to_string();
                    there.subscribe(&id, EVENTS, json!({"after": last["cursor"]})).await;
                    if round % 2 == 0 {
                        activate(&a, "w1").await
                    } else {
                        drain(&a, "w1").await
                    }
                    let expected = next_event(&mut here, "1").await;
                    assert_eq!(next_change(&mut there, &id).await, expected);
                    there.complete(&id).await;
                    if round % 2 == 0 {
                        drain(&a, "w1").await
                    } else {
                        activate(&a, "w1").await
                    }
                    next_event(&mut here, "1").await;
                }
            })
            .await;
    }

    #[tokio::test]
    async fn a_stream_that_cannot_be_replayed_ends_with_an_error() {
        TestDatabase::postgres()
            .await
            .run(async |database: TestDatabase| {
                let cluster = TestCluster::on(&database).await;
                cluster.add([worker("w1")]).await;
                let port = Port::of(&cluster).await;
                let mut socket = port.client().await;
                let start = follow(&mut socket, "live").await;
                database.cut_off().await;
                socket.subscribe("1", EVENTS, json!({"after": start})).await;
                let answer = socket.hear().await;
                let code = &answer["payload"][0]["extensions"]["code"];
                assert_eq!([&answer["type"], code], [&json!("error"), &json!("UNAVAILABLE")], "{answer}");
                database.let_in().await;
                // It is for the reader to come back; whoever needed no replay just goes on.
                drain(&cluster, "w1").await;
                assert_eq!(line(&next_event(&mut socket, "live").await), "WORKER_DRAIN_STARTED w1");
            })
            .await;
    }
}
