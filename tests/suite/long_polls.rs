//! Long polls wake when their own answer is another one, and for nothing else.

use futures_util::{FutureExt as _, poll};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::harness::*;

/// Questions of all kinds about a fleet.
const QUESTIONS: [&str; 17] = [
    "",
    "id=w1",
    "id=w1&id=w2",
    "id=nobody",
    "zone=a",
    "zone=b",
    "label=env",
    "search=w2",
    "status=offline",
    "status=active",
    "status=draining",
    "is_healthy=false",
    "limit=2",
    "sort=-last_seen&limit=2",
    "sort=-cpu_usage&limit=1",
    "zone=a&sort=vm_count&limit=2",
    "zone=a&status=active&sort=-hostname",
];

/// Something that happens, with a name.
enum Happening {
    Beat(&'static str, Value),
    Register(&'static str, Value),
    Ask(&'static str, &'static str),
    Passes(u64),
    Sweep,
}

impl Happening {
    async fn happen(&self, cluster: &TestCluster) {
        match self {
            Self::Beat(id, beat) => assert_eq!(cluster.beat(id, beat.clone()).await.status, 200),
            Self::Register(id, registration) => {
                let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration.clone()).await;
                assert!([200, 201].contains(&answer.status), "{}", answer.body);
            }
            Self::Ask(method, path) => {
                let answer = cluster.rest().ask(method, path).await;
                assert!([200, 204].contains(&answer.status), "{}", answer.body);
            }
            Self::Passes(by) => cluster.advance(seconds(*by)),
            Self::Sweep => _ = cluster.sweep().await,
        }
    }
}

fn happenings() -> Vec<(&'static str, Happening)> {
    let same = || json!({"incarnation": 1});
    vec![
        ("w1 beats", Happening::Beat("w1", same())),
        ("w2 beats", Happening::Beat("w2", same())),
        ("w4 beats", Happening::Beat("w4", same())),
        ("w2 uses more", Happening::Beat("w2", json!({"incarnation": 1, "used_cpu_cores": 9}))),
        ("w3 has a VM", Happening::Beat("w3", json!({"incarnation": 1, "vms": [{"id": "vm-3"}]}))),
        ("w1 is drained", Happening::Ask("POST", "/api/v1/workers/w1/drain")),
        ("w1 is drained again", Happening::Ask("POST", "/api/v1/workers/w1/drain")),
        ("w4 moves", Happening::Register("w4", worker("w4").zone("b").registers("boot_id", "x").registration())),
        ("w5 comes", Happening::Register("w5", worker("w5").zone("c").registration())),
        ("time passes", Happening::Passes(5)),
        ("w1 beats on", Happening::Beat("w1", same())),
        ("w2 beats on", Happening::Beat("w2", same())),
        ("everybody is silent for long", Happening::Passes(58)),
        ("and longer", Happening::Passes(3)),
        ("that is announced", Happening::Sweep),
        ("w2 is back", Happening::Beat("w2", same())),
        ("w1 is activated", Happening::Ask("POST", "/api/v1/workers/w1/activate")),
        ("w3 says goodbye", Happening::Ask("DELETE", "/api/v1/workers/w3")),
        ("w3 is removed", Happening::Ask("DELETE", "/api/v1/workers/w3?purge=true&force=true")),
    ]
}

async fn furnish(cluster: &TestCluster) {
    cluster
        .add([
            worker("w1").zone("a").registers("labels", json!({"env": "x"})).vms([vm("vm-1")]),
            worker("w2").zone("a").vms([vm("vm-2")]),
            worker("w3").zone("b").without_heartbeat(),
            worker("w4").registers("boot_id", "x"),
        ])
        .await;
    // It is not grace that the tests are about.
    cluster.advance(seconds(1));
}

/// What an answer shows, but for what counts on with every second.
async fn shown(cluster: &TestCluster, question: &str) -> (String, Value) {
    let answer = cluster.rest().get(&format!("/api/v1/workers?{question}")).await;
    let mut body = answer.json();
    for row in body["workers"].as_array_mut().unwrap() {
        for counting in ["uptime", "uptime_seconds"] {
            row.as_object_mut().unwrap().remove(counting);
        }
    }
    // It also names the revision at which the first page was read.
    let has_next = body["next_cursor"].is_string();
    body["next_cursor"] = json!(has_next);
    (answer.header("x-revision").unwrap().to_owned(), body)
}

async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

on_both_databases! {
    // The oracle is the answer itself: whoever asks plainly before and after sees whether there was something to tell.
    async fn a_poll_is_answered_exactly_when_its_answer_is_another_one(cluster: TestCluster) {
        furnish(&cluster).await;
        for (name, happening) in happenings() {
            let mut polls = Vec::new();
            for question in QUESTIONS {
                let (revision, before) = shown(&cluster, question).await;
                for after in [Some(format!("&after_revision={revision}")), None] {
                    // No revision tells whether the client has seen a silence that is not announced.
                    let may_be_early = after.is_some() && ["and longer", "that is announced"].contains(&name);
                    let after = after.unwrap_or_default();
                    let poll = cluster.rest().get(&format!("/api/v1/workers?wait=60s{after}&{question}")).into_future();
                    let mut poll = Box::pin(poll.fuse());
                    assert!(poll!(&mut poll).is_pending(), "{question}: nothing has happened");
                    polls.push((question, before.clone(), may_be_early, poll));
                }
            }
            settle().await;
            happening.happen(&cluster).await;
            settle().await;
            for (question, before, may_be_early, poll) in &mut polls {
                let (_, after) = shown(&cluster, question).await;
                let is_answered = poll!(poll).is_ready();
                let must_be = *before != after;
                assert!(is_answered == must_be || is_answered && *may_be_early, "{name}, {question}: from {before} to {after}");
            }
        }
    }

    // What has happened between two polls is not lost, and what is nobody's business is no reason to answer at once.
    async fn a_poll_from_before_is_answered_at_once_if_there_is_news(cluster: TestCluster) {
        furnish(&cluster).await;
        for (name, happening) in happenings() {
            let mut seen = Vec::new();
            for question in QUESTIONS {
                seen.push((question, shown(&cluster, question).await));
            }
            let was = cluster.revision();
            happening.happen(&cluster).await;
            if cluster.revision() == was {
                // The clock alone is not told by a revision.
                continue;
            }
            for (question, (revision, before)) in seen {
                let (_, after) = shown(&cluster, question).await;
                let path = format!("/api/v1/workers?wait=60s&after_revision={revision}&{question}");
                let is_answered = {
                    let mut poll = Box::pin(cluster.rest().get(&path).into_future());
                    let mut is_answered = false;
                    for _ in 0..20 {
                        is_answered = is_answered || poll!(&mut poll).is_ready();
                        if is_answered { break }
                        yield_now().await;
                    }
                    is_answered
                };
                if before != after {
                    assert!(is_answered, "{name}, {question}: from {before} to {after}");
                } else if matches!(happening, Happening::Beat("w2" | "w4", _)) && name != "w2 is back" && !question.contains("limit") {
                    assert!(!is_answered, "{name}, {question}: {after}");
                }
            }
        }
    }

    // The clock alone makes somebody offline between an answer and the next poll: nothing is committed that tells of
    // it. Where nobody announces it either, the poll ends by itself.
    async fn a_silence_between_two_polls_is_not_missed(cluster: TestCluster) {
        furnish(&cluster).await;
        for (question, is_announced) in [
            ("id=w1", true),
            ("status=active", true),
            ("status=offline", true),
            ("is_healthy=false", true),
            ("status=active&limit=1", true),
            ("", false),
        ] {
            let poll = |revision: &str, question: &str| {
                let path = format!("/api/v1/workers?wait=60s&after_revision={revision}&{question}");
                Box::pin(cluster.rest().get(&path).into_future().fuse())
            };
            cluster.beat("w1", json!({"incarnation": 1})).await;
            cluster.advance(seconds(59));
            let (revision, before) = shown(&cluster, question).await;
            // What somebody has found out before the silence does not hold during it.
            let mut earlier = poll(&revision, "zone=nowhere");
            assert!(poll!(&mut earlier).is_pending());
            cluster.advance(seconds(2));
            let (same, after) = shown(&cluster, question).await;
            assert_eq!(same, revision, "nobody has committed anything");
            assert_ne!(before, after, "{question}");
            let (mut poll, mut other) = (poll(&revision, question), poll(&revision, &format!("zone=nowhere&{question}")));
            assert!(poll!(&mut poll).is_pending(), "{question}: whoever asks again and again is held to a pace");
            assert!(poll!(&mut other).is_pending(), "{question}: it has begun to wait");
            if is_announced {
                assert_ne!(cluster.sweep().await, 0, "{question}");
            }
            let answer = in_time(poll).await;
            assert_eq!(pick(&answer.json()["workers"], ["id", "status"]), pick(&after["workers"], ["id", "status"]), "{question}");
            settle().await;
            assert!(poll!(&mut other).is_pending(), "{question}: it is none of its business");
        }
    }

    async fn a_poll_goes_by_the_clock_as_it_is_set(cluster: TestCluster) {
        furnish(&cluster).await;
        let mut poll = Box::pin(cluster.rest().get("/api/v1/workers?wait=60s&status=offline").into_future().fuse());
        assert!(poll!(&mut poll).is_pending());
        settle().await;
        cluster.clock().set(cluster.clock().now() - minutes(60));
        cluster.sweep().await;
        settle().await;
        assert!(poll!(&mut poll).is_pending(), "nobody is offline");
        cluster.advance(seconds(61));
        assert_eq!(in_time(poll).await.json()["total"], 4);
    }

    // clients 14: 41 answers in 10 s for one host
    async fn the_heartbeats_of_a_fleet_do_not_wake_who_waits_for_one_host(cluster: TestCluster) {
        cluster.add((0..50).map(|n| worker(&format!("w{n}")))).await;
        let mut answers = 0;
        let mut revision = cluster.revision();
        let ask = |revision: u64| Box::pin(cluster.rest().get(&format!("/api/v1/workers?id=w7&wait=60s&after_revision={revision}")).into_future().fuse());
        let mut poll = ask(revision);
        for _ in 0..5 {
            cluster.advance(seconds(10));
            for n in 0..50 {
                cluster.beat(&format!("w{n}"), json!({"incarnation": 1})).await;
                settle().await;
                if let std::task::Poll::Ready(answer) = poll!(&mut poll) {
                    answers += 1;
                    revision = answer.header("x-revision").unwrap().parse().unwrap();
                    poll = ask(revision);
                }
            }
        }
        assert_eq!(answers, 5, "as many as it has beaten");
    }
}

#[tokio::test]
async fn a_revision_that_the_database_does_not_have_is_answered_at_once() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    furnish(&cluster).await;
    let answer = in_time(cluster.rest().get("/api/v1/workers?wait=60s&after_revision=999").into_future()).await;
    assert_eq!(answer.header("x-revision"), Some(&*cluster.revision().to_string()));
}
