//! Following by plain HTTP: the change log as server-sent events and as lines of JSON, long polls, GraphQL over
//! server-sent events, and revisions by which a client sees at one server what it was told by another.

use std::time::Duration;

use aetherium::http::ListenerOptions;
use aetherium::server::Crashed;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::*;

const SSE: (&str, &str) = ("accept", "text/event-stream");
const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");

async fn drain(cluster: &TestCluster, id: &str) {
    assert_eq!(cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).await.status, 200);
}

async fn activate(cluster: &TestCluster, id: &str) {
    assert_eq!(cluster.rest().post(&format!("/api/v1/workers/{id}/activate")).await.status, 200);
}

/// All events, as the list tells them.
async fn listed(cluster: &TestCluster) -> Vec<Value> {
    let Value::Array(events) = cluster.rest().get("/api/v1/events?limit=500").await.json()["events"].take() else {
        panic!("no list of events");
    };
    events
}

/// The next event that happened: where a replay ends, and when nothing happens, a stream says that it is up to date.
async fn happened(stream: &mut HttpStream) -> Message {
    loop {
        let message = stream.message().await;
        if message.event != "synced" {
            return message;
        }
    }
}

/// The answer's own word for the revision it was read at.
fn x_revision(answer: &Answer) -> u64 {
    answer.header("x-revision").expect("every answer to a question tells its revision").parse().unwrap()
}

/// GraphQL by the same door, with extensions.
async fn graphql_at(cluster: &TestCluster, query: &str, extensions: Value) -> Value {
    cluster.rest().post("/graphql").json(json!({"query": query, "extensions": extensions})).await.json()
}

/// A server that is served as `aetherium serve` does, until the token is cancelled.
async fn served(cluster: TestCluster) -> (String, CancellationToken, tokio::task::JoinHandle<Result<(), Crashed>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(cluster.into_server().serve(listener, shutdown.clone()));
    (authority, shutdown, serving)
}

on_both_databases! {
    async fn events_are_streamed_as_server_sent_events(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let port = Port::of(&cluster).await;
        let mut live = HttpStream::get(&port.authority(), "/api/v1/events", &[SSE]).await;
        assert_eq!((live.status, live.headers["content-type"].as_str()), (200, "text/event-stream"));
        assert!(live.headers["cache-control"].contains("no-"), "{:?}", live.headers);
        let first = live.message().await;
        assert_eq!(first.event, "synced", "a stream without a cursor begins with one");
        assert_eq!(first.json()["cursor"], json!(first.id));

        let beginning = format!("/api/v1/events?after={}", cluster.first_cursor());
        let mut replay = HttpStream::get(&port.authority(), &beginning, &[SSE]).await;
        drain(&cluster, "w1").await;
        activate(&cluster, "w1").await;
        let expected = listed(&cluster).await;
        assert_eq!(expected.len(), 4);
        for expected in &expected {
            let told = happened(&mut replay).await;
            assert_eq!(&told.json(), expected, "as the list tells it");
            assert_eq!((json!(told.id), json!(told.event)), (expected["cursor"].clone(), expected["kind"].clone()));
        }
        for expected in &expected[2..] {
            assert_eq!(&live.message().await.json(), expected);
        }
        // Whoever read only the first line of all goes on with the second.
        let mut after = HttpStream::get(
            &port.authority(),
            "/api/v1/events",
            &[SSE, ("last-event-id", first.id.as_deref().unwrap())],
        )
        .await;
        assert_eq!(after.message().await.json(), expected[2]);
    }

    async fn the_last_event_id_resumes_with_exactly_what_was_missed(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2"), vm("vm-3")]), worker("w2")]).await;
        let expected = listed(&cluster).await;
        let cluster = cluster.restart().await;
        let port = Port::of(&cluster).await;
        for (place, event) in expected.iter().enumerate() {
            let id = event["cursor"].as_str().unwrap();
            // The address of a page that stays open still has the cursor that it began with.
            let stale = format!("/api/v1/events?after={}", cluster.first_cursor());
            for (path, header) in
                [(stale.as_str(), id), ("/api/v1/events", id), (&format!("/api/v1/events?after={id}"), "")]
            {
                let mut resumed = HttpStream::get(&port.authority(), path, &[SSE, ("last-event-id", header)]).await;
                match expected.get(place + 1) {
                    Some(next) => assert_eq!(&happened(&mut resumed).await.json(), next, "{path} {header}"),
                    None => {
                        drain(&cluster, "w1").await;
                        assert_eq!(happened(&mut resumed).await.event, "worker_drain_started");
                        activate(&cluster, "w1").await;
                        assert_eq!(happened(&mut resumed).await.event, "worker_activated");
                        drop(resumed);
                        break;
                    }
                }
            }
        }
    }

    async fn events_are_streamed_as_lines_of_json(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
        let port = Port::of(&cluster).await;
        let path = format!("/api/v1/events?after={}&worker_id=w1", cluster.first_cursor());
        drain(&cluster, "w2").await;
        drain(&cluster, "w1").await;
        let mut lines = HttpStream::get(&port.authority(), &path, &[NDJSON]).await;
        assert_eq!((lines.status, lines.headers["content-type"].as_str()), (200, "application/x-ndjson"));
        let expected = listed(&cluster).await;
        for expected in expected.iter().filter(|event| event["worker_id"] == "w1") {
            let told = loop {
                let told = lines.line().await;
                if told["kind"] != "synced" {
                    break told;
                }
            };
            assert_eq!(&told, expected);
        }
        activate(&cluster, "w1").await;
        while lines.line().await["kind"] != "worker_activated" {}
    }

    async fn a_cursor_that_cannot_be_resumed_is_told_so_in_the_stream(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let now = format!("{}{}", cluster.first_cursor().trim_end_matches('0'), cluster.revision());
        let mut stream = HttpStream::get(&port.authority(), "/api/v1/events?after=other-1", &[SSE]).await;
        let told = stream.message().await;
        assert_eq!((told.event.as_str(), told.id.as_deref()), ("resync", Some(&*now)));
        assert_eq!(told.json()["oldest_cursor"], cluster.first_cursor());
        drain(&cluster, "w1").await;
        assert_eq!(stream.message().await.event, "worker_drain_started", "it goes on from the present");
        for odd in ["x", "a-b", "a-1-2-3"] {
            let refused = HttpStream::get(&port.authority(), &format!("/api/v1/events?after={odd}"), &[SSE]).await;
            assert_eq!((refused.status, refused.headers["content-type"].as_str()), (400, "application/json"), "{odd}");
            let body: Value = serde_json::from_str(&refused.rest().await).unwrap();
            assert_eq!(body["code"], 400);
        }
    }

    async fn a_long_poll_is_answered_when_something_changes(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let rest = cluster.rest();
        let known = cluster.revision();
        // What has changed already is told at once.
        let path = |after: u64, wait: &str| format!("/api/v1/workers?wait={wait}&after_revision={after}");
        let answer = rest.get(&path(known - 1, "60s")).await;
        assert_eq!((answer.status, x_revision(&answer)), (200, known));
        // Nothing happens: the present, when the time is over.
        let answer = rest.get(&path(known, "0s")).await;
        assert_eq!((x_revision(&answer), answer.json()["workers"][0]["status"].clone()), (known, json!("active")));
        let answer = rest.get(&path(known, "50ms")).await;
        assert_eq!((answer.status, x_revision(&answer)), (200, known));
        // Something happens, once the poll is on its way; many may wait for it.
        let polls = (0..20).map(|n| {
            rest.get(&if n % 2 == 0 { path(known, "60s") } else { "/api/v1/workers?wait=60s".to_owned() }).into_future()
        });
        let (answers, ()) = in_time(async {
            tokio::join!(futures_util::future::join_all(polls), async {
                drain(&cluster, "w1").await;
            })
        })
        .await;
        for answer in answers {
            assert_eq!(
                (x_revision(&answer), answer.json()["workers"][0]["status"].clone()),
                (known + 1, json!("draining"))
            );
        }
        // From one answer to the next nothing is lost.
        let mut seen = known;
        let follow = async {
            while seen < known + 21 {
                seen = x_revision(&rest.get(&path(seen, "60s")).await);
            }
        };
        let change = async {
            for _ in 0..10 {
                activate(&cluster, "w1").await;
                drain(&cluster, "w1").await;
            }
        };
        in_time(async { tokio::join!(follow, change) }).await;
    }

    async fn what_a_long_poll_is_asked_for_is_checked(cluster: TestCluster) {
        for (query, problem) in [
            ("wait=soon", "wait must be a length of time up to 60s, such as 30s, not \"soon\""),
            ("wait=61s", "wait must be a length of time up to 60s, such as 30s, not \"61s\""),
            ("wait=-1s", "wait must be a length of time up to 60s, such as 30s, not \"-1s\""),
            ("wait=1s&after_revision=-1", "after_revision must be from 0 to 9007199254740992, not -1"),
        ] {
            let answer = cluster.rest().get(&format!("/api/v1/workers?{query}")).await;
            assert_eq!(answer.status, 400, "{query}");
            answer.assert_house_shape();
            assert!(answer.json()["message"].as_str().unwrap().contains(problem), "{query}: {}", answer.body);
        }
        let answer = cluster.rest().get("/api/v1/workers?after_revision=99").await;
        assert_eq!(answer.status, 200, "without `wait` there is nothing to wait for");
    }

    async fn every_answer_tells_the_revision_it_was_read_at(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        for round in 0..2 {
            for path in [
                "/workers",
                "/workers/w1",
                "/workers/w1/vms",
                "/cluster/stats",
                "/cluster/distribution",
                "/vms",
                "/vms/vm-1",
                "/events",
            ] {
                let answer = cluster.rest().get(&format!("/api/v1{path}")).await;
                assert_eq!((answer.status, x_revision(&answer)), (200, cluster.revision()), "{path}");
                let head = cluster.rest().head(&format!("/api/v1{path}")).await;
                assert_eq!(x_revision(&head), cluster.revision(), "{path}");
            }
            if round == 0 {
                drain(&cluster, "w1").await;
            }
        }
        let worker = cluster.rest().get("/api/v1/workers/w1?min_revision=1").await;
        assert_eq!(worker.json()["revision"].as_u64(), Some(x_revision(&worker)));
    }

    async fn a_revision_that_is_there_is_answered_at_once(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let now = cluster.revision();
        for (asked, status) in
            [("0", 200), (&*now.to_string(), 200), ("-1", 400), ("x", 400), ("9007199254740993", 400), ("1.5", 400)]
        {
            let answer = cluster.rest().get(&format!("/api/v1/workers?min_revision={asked}")).await;
            assert_eq!(answer.status, status, "{asked}: {}", answer.body);
        }
        let query = "{ workers { id } }";
        for asked in [json!(0), json!(now), Value::Null] {
            let answer = graphql_at(&cluster, query, json!({"minRevision": asked})).await;
            assert_eq!(answer, json!({"data": {"workers": [{"id": "w1"}]}}), "{asked}");
        }
        for asked in [json!(-1), json!("1"), json!(1.5), json!(1_u64 << 60), json!([1]), json!(true)] {
            let answer = graphql_at(&cluster, query, json!({"minRevision": asked})).await;
            assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "{asked}: {answer}");
            assert_eq!(answer.get("data"), None, "{answer}");
        }
        // By GET, and for a mutation, too.
        let get = format!("/graphql?query=%7Bworkers%7Bid%7D%7D&extensions=%7B%22minRevision%22%3A{now}%7D");
        assert_eq!(cluster.rest().get(&get).await.json(), json!({"data": {"workers": [{"id": "w1"}]}}));
        let command = r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#;
        let answer = graphql_at(&cluster, command, json!({"minRevision": now})).await;
        assert_eq!(answer, json!({"data": {"drainWorker": {"changed": true}}}));
    }

    async fn graphql_is_spoken_over_server_sent_events(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let port = Port::of(&cluster).await;
        let ask = async |body: Value| HttpStream::post(&port.authority(), "/graphql", &[SSE], &body).await;
        let event = async |stream: &mut HttpStream| {
            loop {
                let mut event = stream.message().await.json()["data"]["clusterEvents"].take();
                if event["kind"] != "SYNCED" {
                    return (event["kind"].take(), event["cursor"].take());
                }
            }
        };
        let next = |message: Message| {
            assert_eq!((message.event.as_str(), &message.id), ("next", &None), "{message:?}");
            message.json()
        };

        // A question and a command have one answer.
        let mut answer =
            ask(json!({"query": "query($id: ID!) { worker(id: $id) { id } }", "variables": {"id": "w1"}})).await;
        assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "text/event-stream"));
        assert_eq!(next(answer.message().await), json!({"data": {"worker": {"id": "w1"}}}));
        assert_eq!(answer.message().await.event, "complete");
        assert_eq!(answer.next_message().await.unwrap(), None, "and then it is over");
        let command = r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#;
        let mut answer = ask(json!({"query": command})).await;
        assert_eq!(next(answer.message().await), json!({"data": {"drainWorker": {"changed": true}}}));
        assert_eq!(answer.message().await.event, "complete");

        // A subscription goes on until its reader leaves.
        let events = "subscription($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }";
        let mut stream = ask(json!({"query": events, "variables": {"after": cluster.first_cursor()}})).await;
        let mut kinds = Vec::new();
        let mut cursor = Value::Null;
        for _ in 0..3 {
            let (kind, place) = event(&mut stream).await;
            cursor = place;
            kinds.push(kind);
        }
        assert_eq!(kinds, ["WORKER_REGISTERED", "VM_STARTED", "WORKER_DRAIN_STARTED"]);
        assert_eq!(next(stream.message().await)["data"]["clusterEvents"]["kind"], "SYNCED");
        activate(&cluster, "w1").await;
        assert_eq!(event(&mut stream).await.0, "WORKER_ACTIVATED");
        drop(stream);
        let mut resumed = ask(json!({"query": events, "variables": {"after": cursor}})).await;
        assert_eq!(event(&mut resumed).await.0, "WORKER_ACTIVATED");
        for (query, field) in [
            ("subscription { workerHeartbeats { worker { id } coalesced } }", "workerHeartbeats"),
            ("subscription { clusterStats { totalWorkers } }", "clusterStats"),
        ] {
            let mut stream = ask(json!({"query": query})).await;
            assert!(next(stream.message().await)["data"][field].is_object(), "{query}");
        }

        // What is refused is told in the stream, and ends it.
        for (body, code) in [
            (json!({"query": "subscription { nope }"}), "GRAPHQL_VALIDATION_FAILED"),
            (json!({"query": "{"}), "GRAPHQL_PARSE_FAILED"),
            (json!({"query": "subscription { clusterStats(every: \"1ms\") { revision } }"}), "INVALID_ARGUMENT"),
            (json!({"query": events, "variables": {"after": "x"}}), "BAD_USER_INPUT"),
            (json!({"query": events, "extensions": {"minRevision": "x"}}), "INVALID_ARGUMENT"),
        ] {
            let mut refused = ask(body.clone()).await;
            let told = next(refused.message().await);
            assert_eq!(told["errors"][0]["extensions"]["code"], code, "{body}: {told}");
            assert_eq!(refused.message().await.event, "complete", "{body}");
        }
    }
}

// Where an answer to a change is, and where not: over GET, that changes nothing.
#[tokio::test]
async fn a_get_may_follow_but_not_command() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let port = Port::of(&cluster).await;
    let path = "/graphql?query=subscription%7BclusterEvents%7Bkind%7D%7D";
    let mut stream = HttpStream::get(&port.authority(), path, &[SSE]).await;
    assert_eq!(stream.message().await.json(), json!({"data": {"clusterEvents": {"kind": "SYNCED"}}}));
    let path = "/graphql?query=mutation%7BdrainWorker(input%3A%7BworkerId%3A%22w1%22%7D)%7Bchanged%7D%7D";
    let refused = HttpStream::get(&port.authority(), path, &[SSE]).await;
    assert_eq!(refused.status, 405);
    assert_eq!(cluster.worker("w1").await["status"], "active");
    let plain = cluster.rest().get("/graphql?query=subscription%7BclusterEvents%7Bkind%7D%7D").await;
    assert_eq!(plain.status, 405, "without a stream there is nothing to follow by");
}

// Nobody is told of a revision before the database has it: one that it does not have is of another life of it.
#[tokio::test]
async fn a_revision_that_the_database_does_not_have_is_refused_at_once() {
    let database = TestDatabase::postgres().await;
    for database in [TestDatabase::sqlite(), database] {
        database
            .run(async |cluster: TestCluster| {
                cluster.add([worker("w1")]).await;
                let message = "Revision 7 is not of this database as it is now, which is at 2: it may have been restored from \
                               a backup. Read the present state, and go on from the revision that comes with it.";
                let began = std::time::Instant::now();
                for path in ["/workers", "/workers/w1", "/workers/w1/vms", "/cluster/stats", "/vms", "/events"] {
                    let answer = cluster.rest().get(&format!("/api/v1{path}?min_revision=7")).await;
                    answer.assert_failure(409, message);
                    assert_eq!(answer.header("retry-after"), None, "it would be the same then");
                }
                let answer = graphql_at(&cluster, "{ workers { id } }", json!({"minRevision": 7})).await;
                assert_eq!(
                    [&answer["errors"][0]["message"], &answer["errors"][0]["extensions"]["code"]],
                    [&json!(message), &json!("CONFLICT")]
                );
                let ahead = cluster.first_cursor().replacen("-0", "-7", 1);
                let answer = cluster.rest().get(&format!("/api/v1/events?after={ahead}")).await;
                assert_eq!(answer.status, 400, "{}", answer.body);
                let answer = cluster.rest().get("/api/v1/workers?wait=60s&after_revision=7").await;
                assert_eq!((answer.status, x_revision(&answer)), (200, 2));
                assert!(began.elapsed() < Duration::from_secs(20), "nobody waited: {:?}", began.elapsed());
            })
            .await;
    }
}

#[tokio::test]
async fn a_server_that_leaves_ends_streams_and_answers_polls() {
    // It is there for as long as the server is.
    let database = TestDatabase::sqlite();
    let cluster = TestCluster::on(&database).await;
    cluster.add([worker("w1")]).await;
    let (authority, shutdown, serving) = served(cluster).await;
    let mut sse = HttpStream::get(&authority, "/api/v1/events", &[SSE]).await;
    sse.message().await;
    let mut lines = HttpStream::get(&authority, "/api/v1/events", &[NDJSON]).await;
    lines.line().await;
    let query = json!({"query": "subscription { clusterEvents { kind } }"});
    let mut graphql = HttpStream::post(&authority, "/graphql", &[SSE], &query).await;
    graphql.message().await;
    let poll = HttpStream::get(&authority, "/api/v1/workers?wait=60s&after_revision=99", &[]);

    let began = std::time::Instant::now();
    // The poll is read to its head, which comes with its answer.
    let (poll, ()) = tokio::join!(poll, async {
        // The connections before it were all answered by a server that takes them in order.
        let probe = HttpStream::get(&authority, "/api/v1/workers", &[]).await;
        assert_eq!(probe.status, 200);
        shutdown.cancel();
    });
    assert_eq!(poll.status, 200);
    assert_eq!(serde_json::from_str::<Value>(&poll.rest().await).unwrap()["total"], 1);
    assert_eq!(sse.next_message().await.unwrap(), None);
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert_eq!(graphql.next_message().await.unwrap().map(|message| message.event), None);
    in_time(serving).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(6), "it took {:?}", began.elapsed());
}

// A client that has gone away without a word leaves nothing behind.
#[tokio::test]
async fn a_reader_that_vanishes_leaves_its_place_to_others() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let options = ListenerOptions { connections: 1, ..listener_options() };
    let port = Port::with_options(&cluster, options).await;
    for accept in [SSE, NDJSON, SSE] {
        let stream = in_time(async {
            loop {
                let stream = HttpStream::get(&port.authority(), "/api/v1/events", &[accept]).await;
                if stream.status == 200 {
                    return stream;
                }
                assert_eq!(stream.status, 503);
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(stream);
    }
}

/// Several servers on one PostgreSQL.
mod replicas {
    use super::*;

    #[tokio::test]
    async fn what_one_server_acknowledged_is_seen_at_another_by_its_revision() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1")]).await;
                let b = a.another_server().await;
                for round in 0..20 {
                    let (here, there) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
                    let used = json!({"incarnation": 1, "used_cpu_cores": round});
                    let revision = here.beat("w1", used).await.json()["revision"].as_u64().unwrap();
                    let seen = there.rest().get(&format!("/api/v1/workers/w1?min_revision={revision}")).await;
                    assert_eq!((seen.status, &seen.json()["used_cpu_cores"]), (200, &json!(round)), "{}", seen.body);
                    assert!(x_revision(&seen) >= revision);
                    let query = r#"{ worker(id: "w1") { usedCpuCores } }"#;
                    let seen = graphql_at(there, query, json!({"minRevision": revision})).await;
                    assert_eq!(seen["data"]["worker"]["usedCpuCores"], round);
                }
            })
            .await;
    }

    #[tokio::test]
    async fn a_subscription_begins_no_earlier_than_the_revision_it_names() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1")]).await;
                let b = a.another_server().await;
                let port = Port::of(&b).await;
                for round in 1..=5 {
                    if round % 2 == 0 {
                        activate(&a, "w1").await
                    } else {
                        drain(&a, "w1").await
                    }
                    let told = a.revision();
                    let body = json!({
                        "query": r#"subscription { clusterStats(every: "50ms") { revision drainingWorkers } }"#,
                        "extensions": {"minRevision": told},
                    });
                    let mut stream = HttpStream::post(&port.authority(), "/graphql", &[SSE], &body).await;
                    let stats = stream.message().await.json()["data"]["clusterStats"].take();
                    assert_eq!(stats, json!({"revision": told, "drainingWorkers": round % 2}));
                }
            })
            .await;
    }

    // What does not come in time is said, and is no reason to wait for ever.
    #[tokio::test]
    async fn a_revision_that_does_not_arrive_is_an_error_that_says_so() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1")]).await;
                let b = a.another_server().await;
                // The database has it, and this server cannot read what it is.
                let held = a.server().journal().database().readers().begin().await.unwrap();
                held.execute_unprepared("LOCK TABLE worker_tombstone IN ACCESS EXCLUSIVE MODE").await.unwrap();
                drain(&a, "w1").await;
                let told = a.revision();
                let message =
                    format!("Revision {told} has not arrived at this server yet, which is at 2. Try again shortly.");
                let cursor = a.rest().get("/api/v1/events").await.json()["end_cursor"].as_str().unwrap().to_owned();
                let list = b.rest().get(&format!("/api/v1/workers?min_revision={told}"));
                let events = b.rest().get(&format!("/api/v1/events?after={cursor}"));
                let (list, events, answer) = tokio::join!(
                    list.into_future(),
                    events.into_future(),
                    graphql_at(&b, "{ workers { id } }", json!({"minRevision": told})),
                );
                list.assert_failure(503, &message);
                events.assert_failure(503, &message);
                assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{answer}");
                held.rollback().await.unwrap();
                let answer = b.rest().get(&format!("/api/v1/workers/w1?min_revision={told}")).await;
                assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("draining")));
            })
            .await;
    }

    #[tokio::test]
    async fn a_long_poll_at_one_server_is_answered_by_a_change_at_another() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1")]).await;
                let b = a.another_server().await;
                let path = format!("/api/v1/workers?wait=60s&after_revision={}", a.revision());
                let (answer, ()) = in_time(async {
                    tokio::join!(b.rest().get(&path).into_future(), drain(&a, "w1")) //
                })
                .await;
                assert_eq!(answer.json()["workers"][0]["status"], "draining");
                assert_eq!(x_revision(&answer), a.revision());
            })
            .await;
    }

    #[tokio::test]
    async fn a_stream_over_http_is_resumed_at_another_server() {
        TestDatabase::postgres()
            .await
            .run(async |a: TestCluster| {
                a.add([worker("w1")]).await;
                let b = a.another_server().await;
                let (here, there) = (Port::of(&a).await, Port::of(&b).await);
                let mut stream = HttpStream::get(&here.authority(), "/api/v1/events", &[SSE]).await;
                let mut last = stream.message().await.id.unwrap();
                for round in 0..10 {
                    if round % 2 == 0 {
                        drain(&a, "w1").await
                    } else {
                        activate(&a, "w1").await
                    }
                    let port = if round % 2 == 0 { &there } else { &here };
                    // By the server that has not written it, right after it was acknowledged.
                    let resume = [SSE, ("last-event-id", last.as_str())];
                    stream = HttpStream::get(&port.authority(), "/api/v1/events", &resume).await;
                    let told = happened(&mut stream).await;
                    assert_eq!(told.event, if round % 2 == 0 { "worker_drain_started" } else { "worker_activated" });
                    last = told.id.unwrap();
                }
            })
            .await;
    }
}
