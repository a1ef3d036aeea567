//! Requests that are sent again because their answer was not seen: `Idempotency-Key`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

/// A command of an operator, under a key.
fn command(cluster: &TestCluster, command: &str, key: &str) -> Ask {
    cluster.rest().post(&format!("/api/v1/workers/w1/{command}")).header("idempotency-key", key)
}

/// A heartbeat, under a key.
fn beat(cluster: &TestCluster, key: &str, beat: Value) -> Ask {
    cluster.rest().post("/api/v1/workers/w1/heartbeat").header("idempotency-key", key).json(beat)
}

/// Many heartbeats, under a key.
fn beats(cluster: &TestCluster, key: &str, beats: Value) -> Ask {
    cluster.rest().post("/api/v1/heartbeats").header("idempotency-key", key).json(json!({"heartbeats": beats}))
}

/// The same answer as before, and a word that it is.
#[track_caller]
fn assert_repeated(again: &Answer, first: &Answer) {
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!([first, again].map(|answer| answer.header("idempotency-replayed")), [None, Some("true")]);
}

on_both_databases! {
    async fn a_command_that_is_sent_again_is_answered_the_same_and_not_done_again(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let first = command(&cluster, "drain", "k1").await;
        let plain = json!({
            "worker_id": "w1", "status": "draining",
            "message": "Worker marked as draining. It will stop accepting new tasks.",
        });
        first.assert_json(200, plain);
        assert_eq!(first.header("content-type"), Some("application/json"));

        // Somebody else has changed their mind; the first request must not come back from the dead.
        cluster.rest().post("/api/v1/workers/w1/activate").await;
        let revision = cluster.revision();
        assert_repeated(&command(&cluster, "drain", "k1").await, &first);
        assert_repeated(&command(&cluster, "drain", "\"k1\"").await, &first);
        assert_eq!(cluster.worker("w1").await["status"], "active");
        assert_eq!(cluster.revision(), revision, "nothing was done");

        // Also through another server, and after a restart.
        if cluster.takes_several_servers() {
            assert_repeated(&command(&cluster.another_server().await, "drain", "k1").await, &first);
        }
        let cluster = cluster.restart().await;
        assert_repeated(&command(&cluster, "drain", "k1").await, &first);
        assert_eq!(cluster.history().await, ["worker_registered w1", "worker_drain_started w1", "worker_activated w1"]);

        assert_eq!(command(&cluster, "drain", "k2").await.header("idempotency-replayed"), None);
        assert_eq!(cluster.worker("w1").await["status"], "draining", "another key is another request");
    }

    async fn a_command_that_changed_nothing_is_kept_as_well(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let first = command(&cluster, "activate", "k1").await;
        assert_eq!(first.status, 200);
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        assert_repeated(&command(&cluster, "activate", "k1").await, &first);
        assert_eq!(cluster.worker("w1").await["status"], "draining");
    }

    async fn a_key_with_another_request_is_refused(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        command(&cluster, "drain", "k1").await;
        let before = (cluster.everything().await, cluster.history().await);
        for other in [
            command(&cluster, "activate", "k1"),
            command(&cluster, "drain", "k1").json(json!({"reason": "disk"})),
            command(&cluster, "drain", "k1").header("if-match", "*"),
            cluster.rest().post("/api/v1/workers/w2/drain").header("idempotency-key", "k1"),
            beat(&cluster, "k1", json!({"incarnation": 1})),
            beats(&cluster, "k1", json!([{"worker_id": "w1", "incarnation": 1}])),
        ] {
            let message = "The Idempotency-Key \"k1\" came with another request before. A new request needs a new key.";
            other.await.assert_failure(422, message);
        }
        assert_eq!((cluster.everything().await, cluster.history().await), before);
    }

    async fn a_key_that_is_none_is_refused(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for key in ["", "\"\"", "two words", &"x".repeat(256)] {
            let answer = command(&cluster, "drain", key).await;
            assert_eq!(answer.status, 400, "{key}: {}", answer.body);
            answer.assert_house_shape();
        }
        command(&cluster, "drain", "a b").await.assert_failure(
            400,
            "Idempotency-Key must have 1 to 255 visible ASCII characters, such as a UUID, not \"a b\"",
        );
        assert_eq!(cluster.worker("w1").await["status"], "active");
    }

    async fn what_was_refused_may_be_asked_again(cluster: TestCluster) {
        command(&cluster, "drain", "k1").await.assert_failure(404, "Worker not found: w1");
        cluster.add([worker("w1")]).await;
        let drained = command(&cluster, "drain", "k1").await;
        assert_eq!((drained.status, drained.header("idempotency-replayed")), (200, None));
        // Of a body that cannot be read, nothing is kept either.
        assert_eq!(command(&cluster, "activate", "k2").body("{").await.status, 400);
        assert_eq!(command(&cluster, "activate", "k2").await.status, 200);
    }

    async fn requests_that_come_at_once_are_one(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let twin = if cluster.takes_several_servers() { Some(cluster.another_server().await) } else { None };
        let twin = twin.as_ref().unwrap_or(&cluster);
        let asks = (0..20).map(|n| command(if n % 2 == 0 { &cluster } else { twin }, "drain", "k1").into_future());
        let answers = join_all(asks).await;
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
        let first = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
        assert_eq!(first, 1);
        assert_eq!(cluster.history().await, ["worker_registered w1", "worker_drain_started w1"]);
    }

    async fn a_heartbeat_that_is_sent_again_counts_once(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let one = json!({"incarnation": 1, "vms": [{"id": "vm-1"}, {"id": "a/b"}]});
        let first = beat(&cluster, "k1", one.clone()).await;
        assert_eq!(first.status, 200, "{}", first.body);
        assert_eq!(first.json()["revision"], cluster.revision());
        assert_eq!(first.json()["set_aside"]["a/b"], "A VM's id must not contain '/'.");
        cluster.advance(seconds(5));
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        let before = cluster.everything().await;
        assert_repeated(&beat(&cluster, "k1", one.clone()).await, &first);
        assert_eq!(cluster.everything().await, before, "what it said is no news any more");

        let keyless = cluster.beat("w1", one).await.json();
        let mut keys: Vec<_> = keyless.as_object().unwrap().keys().collect();
        keys.sort_unstable();
        let first = first.json();
        let mut kept: Vec<_> = first.as_object().unwrap().keys().collect();
        kept.sort_unstable();
        assert_eq!(keys, kept, "the answer is as without a key");
    }

    async fn a_batch_of_heartbeats_that_is_sent_again_counts_once(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let many = json!([
            {"worker_id": "w1", "incarnation": 1, "vms": [{"id": "vm-1"}]},
            {"worker_id": "w9", "incarnation": 1},
            {"worker_id": "w2", "incarnation": -1},
            {"worker_id": 7},
            {"worker_id": "w2", "incarnation": 1, "used_cpu_cores": 3},
        ]);
        let first = beats(&cluster, "k1", many.clone()).await;
        assert_eq!(first.status, 200, "{}", first.body);
        let expected = [[json!("w1"), json!(200)], [json!("w9"), json!(404)], [json!("w2"), json!(400)], [Value::Null, json!(400)], [json!("w2"), json!(200)]];
        assert_eq!(pick(&first.json()["results"], ["worker_id", "status"]), expected);
        assert_eq!(cluster.worker("w2").await["used_cpu_cores"], 3);

        cluster.beat("w2", json!({"incarnation": 1, "used_cpu_cores": 5})).await;
        let before = cluster.everything().await;
        assert_repeated(&beats(&cluster, "k1", many.clone()).await, &first);
        assert_eq!(cluster.everything().await, before);
        assert_repeated(&beats(&cluster.restart().await, "k1", many.clone()).await, &first);

        let keyless = TestCluster::on(&TestDatabase::sqlite()).await;
        keyless.add([worker("w1"), worker("w2")]).await;
        let without = keyless.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": many})).await.json();
        let spread = |mut answer: Value| {
            for result in answer["results"].as_array_mut().unwrap() {
                result.as_object_mut().unwrap().remove("next_heartbeat_seconds");
            }
            answer
        };
        assert_eq!(spread(without), spread(first.json()), "the answer is as without a key");
    }

    async fn answers_are_kept_for_a_day(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let pruner = cluster.server().retention_pruner();
        let first = command(&cluster, "drain", "k1").await;
        cluster.advance(minutes(24 * 60));
        pruner.prune().await.unwrap();
        assert_repeated(&command(&cluster, "drain", "k1").await, &first);
        cluster.advance(seconds(1));
        pruner.prune().await.unwrap();
        assert_eq!(command(&cluster, "drain", "k1").await.header("idempotency-replayed"), None, "it is forgotten");
    }

    async fn only_who_sends_a_key_pays_for_it(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let mut commands = ["drain", "activate"].into_iter().cycle();
        let mut cost = async |key: Option<&str>| {
            let mut fewest = u64::MAX;
            for n in 0..5 {
                let ask = cluster.rest().post(&format!("/api/v1/workers/w1/{}", commands.next().unwrap()));
                let ask = match key {
                    Some(key) => ask.header("idempotency-key", &format!("{key}{n}")),
                    None => ask,
                };
                let before = cluster.statements_sent();
                assert_eq!(ask.await.status, 200);
                // Servers on PostgreSQL look for each other's commits, which may fall into one attempt but not into all.
                fewest = fewest.min(cluster.statements_sent() - before);
            }
            fewest
        };
        let without = cost(None).await;
        assert_eq!(cost(Some("k")).await, without + 2, "one to look, one to keep");
    }
}

/// The entries of a batch begin with whose they are, whether they were recorded or refused.
#[tokio::test]
async fn an_entry_of_a_batch_begins_with_its_worker_and_its_status() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let many = json!({"heartbeats": [{"worker_id": "w1", "incarnation": 1}, {"worker_id": "w9", "incarnation": 1}]});
    let answer = cluster.rest().post("/api/v1/heartbeats").json(many).await;
    let (first, second) = (r#"{"worker_id":"w1","status":200,"policy":"#, r#"{"worker_id":"w9","status":404,"error":"#);
    assert!(answer.body.contains(first) && answer.body.contains(second), "{}", answer.body);
}
