//! What operators ask of workers: drain and activate.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

/// The documented answer to a drain.
fn drained(id: &str) -> Value {
    let message = "Worker marked as draining. It will stop accepting new tasks.";
    json!({"worker_id": id, "status": "draining", "message": message})
}

/// The documented answer to an activation.
fn activated(id: &str) -> Value {
    let message = "Worker activated. It will resume accepting tasks.";
    json!({"worker_id": id, "status": "active", "message": message})
}

/// A worker as it was before it was drained at this moment and revision, with these changes.
fn draining(mut worker: Value, (since, revision): (&str, u64), vms: u64, changes: Value) -> Value {
    worker["drain"] = json!({
        "reason": null, "started_by": "operator", "started_at": since, "is_empty": vms == 0, "id": "w1/1",
        "worker_id": "w1", "number": 1, "state": "draining", "safe_to_power_off": false, "metadata": {},
        "deadline_at": null, "acknowledged_at": null, "completed_at": null, "overdue_at": null, "ended_at": null,
        "ended_by": null, "end_reason": null, "initial_vms": vms, "remaining_vms": vms, "revision": revision,
    });
    with(worker, changes)
}

/// What is asked of a drain in most tests.
const DRAIN: &str =
    "{ worker(id: \"w1\") { drain { state safeToPowerOff initialVms remainingVms blockers { kind vmId } } } }";

impl TestCluster {
    /// The state of the drain of `w1`, with what is in its way.
    async fn drain_state(&self) -> String {
        let drain = self.graphql(DRAIN).await["worker"]["drain"].take();
        let blockers = drain["blockers"].as_array().unwrap().iter();
        let blockers = blockers.map(|it| match it["vmId"].as_str() {
            Some(vm) => format!(" {}:{vm}", it["kind"].as_str().unwrap()),
            None => format!(" {}", it["kind"].as_str().unwrap()),
        });
        let safe = if drain["safeToPowerOff"] == true { " safe" } else { "" };
        format!("{}{safe}{}", drain["state"].as_str().unwrap(), blockers.collect::<String>())
    }

    /// A heartbeat of the first life of `w1` that carries these.
    async fn beats(&self, vms: Option<&[&str]>, echo: Option<&Value>) -> Value {
        let mut beat = json!({"incarnation": 1});
        if let Some(vms) = vms {
            beat["vms"] = vms.iter().map(|id| json!({"id": id})).collect();
        }
        if let Some(echo) = echo {
            beat["policy_revision"] = echo.clone();
        }
        let reply = self.beat("w1", beat).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()
    }
}

on_both_databases! {
    // semantics 6
    async fn a_drain_changes_the_policy_and_nothing_else(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1"), vm("vm-2")]).silent_for(seconds(20))]).await;
        let before = cluster.worker("w1").await;
        let vms = cluster.rest().get("/api/v1/workers/w1/vms").await.json();

        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        let changes = json!({"status": "draining", "scheduling_policy": "draining", "revision": 3});
        let after = draining(before.clone(), ("2025-11-02T10:00:20Z", 3), 2, changes);
        assert_eq!(cluster.worker("w1").await, after);
        cluster.rest().get("/api/v1/workers/w1/vms").await.assert_json(200, vms);

        cluster.rest().post("/api/v1/workers/w1/activate").await.assert_json(200, activated("w1"));
        assert_eq!(cluster.worker("w1").await, with(before, json!({"revision": 4})));
    }

    // semantics 6
    async fn a_worker_that_has_nothing_left_to_do_stays_draining(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        let worker = cluster.worker("w1").await;
        assert_eq!((&worker["status"], &worker["vm_count"]), (&json!("draining"), &json!(0)));
    }

    // semantics 3
    async fn draining_a_silent_worker_records_the_wish_and_leaves_it_offline(cluster: TestCluster) {
        cluster.add([worker("w1").silent_for(minutes(2))]).await;
        let before = cluster.worker("w1").await;
        assert_eq!(before["status"], "offline");

        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        let wish = json!({"scheduling_policy": "draining", "revision": 3});
        let after = draining(before, ("2025-11-02T10:02:00Z", 3), 0, wish);
        assert_eq!(cluster.worker("w1").await, after);

        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(cluster.worker("w1").await["status"], "draining", "the wish shows when heartbeats return");
    }

    // regression: draining refreshed `last_seen`, so a dead worker looked healthy for a minute
    async fn an_operator_is_no_sign_of_life(cluster: TestCluster) {
        cluster.add([worker("w1").silent_for(seconds(59))]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.rest().post("/api/v1/workers/w1/activate").await;
        cluster.advance(seconds(2));
        let worker = cluster.worker("w1").await;
        assert_eq!([&worker["last_seen"], &worker["is_healthy"]], [&json!(START), &json!(false)]);
    }

    // semantics 4; regression: draining an unknown worker was a 500
    async fn an_unknown_worker_cannot_be_drained_or_activated(cluster: TestCluster) {
        for command in ["drain", "activate"] {
            let answer = cluster.rest().post(&format!("/api/v1/workers/worker-99/{command}")).await;
            answer.assert_failure(404, "Worker not found: worker-99");
        }
        assert_eq!(cluster.revision(), 0);
    }

    // semantics 5
    async fn asking_again_changes_nothing_and_is_answered_the_same(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/activate").await.assert_json(200, activated("w1"));
        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        let (before, history) = (cluster.everything().await, cluster.history().await);
        cluster.advance(seconds(0));
        cluster.rest().post("/api/v1/workers/w1/drain").await.assert_json(200, drained("w1"));
        assert_eq!((cluster.everything().await, cluster.history().await), (before, history.clone()));
        assert_eq!(history, ["worker_registered w1", "worker_drain_started w1"]);
    }

    // semantics 7
    async fn a_body_is_not_needed_and_may_carry_a_reason(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3"), worker("w4")]).await;
        let drain = |id: &str| cluster.rest().post(&format!("/api/v1/workers/{id}/drain"));
        drain("w1").await.assert_json(200, drained("w1"));
        drain("w2").body("{}").await.assert_json(200, drained("w2"));
        drain("w3").json(json!({"reason": "new disk"})).await.assert_json(200, drained("w3"));
        let form = drain("w4").header("content-type", "application/x-www-form-urlencoded");
        form.body(r#"{"reason": "curl -d says it is a form"}"#).await.assert_json(200, drained("w4"));

        let resolvers = cluster.server().resolvers();
        let events = resolvers.list_events(&resolvers.present(), &Default::default(), &Default::default()).await.unwrap();
        let reasons: Vec<_> = events.nodes.iter().filter_map(|node| node.event.reason.as_deref()).collect();
        assert_eq!(reasons, ["new disk", "curl -d says it is a form"]);
    }

    // semantics 7
    async fn a_body_that_cannot_be_read_is_refused(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        for body in ["{", "reason=disk", "[]", "7", r#"{"reason": 5}"#, r#"{"reason": "a\u0000b"}"#] {
            let answer = cluster.rest().post("/api/v1/workers/w1/drain").body(body).await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.body);
            answer.assert_house_shape();
        }
        assert_eq!(cluster.everything().await, before);
    }

    // regression: a worker's restart erased its drain
    async fn a_drain_survives_restarts_of_the_worker_and_of_the_server(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let status = async |cluster: &TestCluster| cluster.worker("w1").await["status"].take();

        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(status(&cluster).await, "draining", "the worker registered again");
        cluster.advance(minutes(5));
        cluster.beat("w1", json!({"incarnation": 2})).await;
        assert_eq!(status(&cluster).await, "draining", "the worker was away");
        cluster.rest().delete("/api/v1/workers/w1").await;
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(status(&cluster).await, "draining", "the worker left and came back");
        let cluster = cluster.restart().await;
        assert_eq!(status(&cluster).await, "draining", "the server restarted");
    }

    // regression: whole-row updates raced the drain
    async fn drains_and_heartbeats_at_the_same_time_never_undo_each_other(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for round in 1..=9_u32 {
            let command = if round % 2 == 0 { "activate" } else { "drain" };
            let (policy, cores) = (if round % 2 == 0 { "active" } else { "draining" }, round);
            let path = format!("/api/v1/workers/w1/{command}");
            let before = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 0}));
            let after = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": cores}));
            let (before, operator, after) = tokio::join!(before, cluster.rest().post(&path).into_future(), after);
            assert_eq!([before.status, operator.status, after.status], [200; 3]);
            let worker = cluster.worker("w1").await;
            assert_eq!([&worker["scheduling_policy"], &worker["used_cpu_cores"]], [&json!(policy), &json!(cores)]);
        }
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    async fn a_drain_is_complete_when_it_is_acknowledged_and_nothing_is_left(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a"), vm("b").status("stopping"), vm("c").status("failed")])]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED VM_RUNNING:a VM_STOPPING:b");
        cluster.beats(Some(&["a"]), None).await;
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED VM_RUNNING:a");
        cluster.beats(Some(&["a"]), None).await;
        assert_eq!(cluster.drain_state().await, "DRAINING VM_RUNNING:a");
        cluster.beats(Some(&[]), None).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        cluster.beats(Some(&["d"]), None).await;
        assert_eq!(cluster.drain_state().await, "DRAINING VM_RUNNING:d");
        cluster.beats(Some(&[]), None).await;
        let before = cluster.everything().await;
        cluster.beats(None, None).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        let told = cluster.history().await;
        let of_drain: Vec<_> = told.iter().filter(|it| it.contains("drain")).map(String::as_str).collect();
        let expected = [
            "worker_drain_started w1", "worker_drain_complete w1", "worker_drain_reopened w1", "worker_drain_complete w1",
        ];
        assert_eq!(of_drain, expected);
        let cluster = cluster.restart().await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        assert_eq!(cluster.everything().await["worker"], before["worker"]);
    }

    // The race: a worker takes a VM before it hears that it is to take none.
    async fn a_vm_that_a_worker_takes_before_it_hears_of_the_drain_is_in_the_way(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for echoes in [false, true] {
            let known = cluster.beats(Some(&[]), None).await["policy_revision"].take();
            let echo = |reply: &Value| echoes.then(|| reply["policy_revision"].clone());
            if echoes {
                cluster.beats(None, Some(&known)).await;
            }
            cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"reason": "disk"})).await;
            // On its way when the drain was decided: the worker is still empty, and takes a VM before the reply.
            let told = cluster.beats(Some(&[]), echoes.then_some(&known)).await;
            assert_eq!([&told["policy"], &told["drain_reason"]], [&json!("draining"), &json!("disk")]);
            assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED");
            cluster.beats(Some(&["late"]), echo(&told).as_ref()).await;
            assert_eq!(cluster.drain_state().await, "DRAINING VM_RUNNING:late");
            cluster.beats(Some(&[]), echo(&told).as_ref()).await;
            assert_eq!(cluster.drain_state().await, "COMPLETE safe");
            cluster.rest().post("/api/v1/workers/w1/activate").await;
        }
        assert!(cluster.history().await.iter().all(|told| !told.contains("reopened")));
    }

    async fn an_agent_that_echoes_acknowledges_by_its_echo_alone(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.beats(Some(&[]), None).await["policy_revision"].take();
        cluster.beats(None, Some(&before)).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        for _ in 0..3 {
            cluster.beats(None, Some(&before)).await;
            cluster.beats(None, None).await;
        }
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED", "its replies are lost");
        // A number that this database has not told anybody, as after it was restored from a backup.
        cluster.beats(None, Some(&json!(9_000))).await;
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED");
        let told = cluster.beats(None, None).await["policy_revision"].take();
        cluster.beats(None, Some(&told)).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
    }

    async fn heartbeats_of_one_request_are_no_acknowledgement(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.beats(Some(&[]), None).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let beat = json!({"worker_id": "w1", "incarnation": 1});
        let both = json!({"heartbeats": [beat, beat]});
        cluster.rest().post("/api/v1/heartbeats").header("idempotency-key", "both").json(both).await;
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED", "the second was sent without a reply");
        cluster.beats(None, None).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
    }

    async fn vms_that_were_set_aside_are_in_the_way_of_a_drain(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let (odd, stopped) = (json!({"id": "a/b"}), json!({"id": "c/d", "status": "stopped"}));
        for worker in ["w1", "w2"] {
            cluster.rest().post(&format!("/api/v1/workers/{worker}/drain")).await;
        }
        let beat = async |cluster: &TestCluster, mut report: Value| {
            report["incarnation"] = json!(1);
            let answer = cluster.beat("w1", report).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()["resync"].clone()
        };
        let drain = async |cluster: &TestCluster, worker: &str| {
            let drain = cluster.rest().get(&format!("/api/v1/workers/{worker}/drain")).await.json();
            let blockers = pick(&drain["blockers"], ["kind", "since", "message"]);
            (pick(&json!([drain]), ["state", "is_empty", "safe_to_power_off"]).concat(), blockers)
        };
        let of = |state: &str, is_empty: bool, is_safe: bool| vec![json!(state), json!(is_empty), json!(is_safe)];
        // They may have come long after the drain began: since when is not known.
        let set_aside = |vms: &str, them: &str| {
            let message = format!("Worker w1 holds {vms} not accepted: what becomes of {them} is not known");
            vec![[json!("vms_set_aside"), Value::Null, json!(message)]]
        };
        for _ in 0..3 {
            beat(&cluster, json!({"vms": [odd, stopped, {"id": "e/f", "status": "starting"}]})).await;
        }
        let two = (of("draining", false, false), set_aside("2 VMs whose ids are", "them"));
        assert_eq!(drain(&cluster, "w1").await, two);
        // What says nothing of VMs changes nothing, nor does a restart of the server.
        beat(&cluster, json!({})).await;
        let cluster = cluster.restart().await;
        assert_eq!(drain(&cluster, "w1").await, two);

        beat(&cluster, json!({"vms": [odd]})).await;
        assert_eq!(drain(&cluster, "w1").await, (of("draining", false, false), set_aside("a VM whose id is", "it")));
        beat(&cluster, json!({"vms": [stopped]})).await;
        assert_eq!(drain(&cluster, "w1").await, (of("complete", true, true), vec![]), "one that holds no slot is none");

        // A part of an inventory tells that there is one, and not how many are left.
        assert_eq!(beat(&cluster, json!({"vms_delta": {"upsert": [odd]}})).await, true, "the whole is asked for");
        assert_eq!(drain(&cluster, "w1").await, (of("draining", false, false), set_aside("a VM whose id is", "it")));
        assert_eq!(beat(&cluster, json!({"vms_delta": {"remove": ["a/b"]}})).await, true);
        assert_eq!(beat(&cluster, json!({"vms": []})).await, false);
        assert_eq!(drain(&cluster, "w1").await, (of("complete", true, true), vec![]));
        let told = cluster.history().await.into_iter().filter(|line| line.starts_with("worker_drain_") && line.ends_with(" w1"));
        let kinds = ["started", "complete", "reopened", "complete"].map(|kind| format!("worker_drain_{kind} w1"));
        assert_eq!(told.collect::<Vec<_>>(), kinds);
        let twin = cluster.graphql(r#"{ worker(id: "w2") { drain { blockers { kind } } } }"#).await;
        assert_eq!(twin["worker"]["drain"]["blockers"], json!([{"kind": "NOT_ACKNOWLEDGED"}]));
    }

    async fn a_new_process_has_to_acknowledge_a_drain_itself(cluster: TestCluster) {
        let registration = worker("w1").registers("boot_id", "b1").registers("host_boot_id", "h1");
        cluster.add([registration.vms([vm("a")])]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.beats(None, None).await;
        cluster.beats(None, None).await;
        assert_eq!(cluster.drain_state().await, "DRAINING VM_RUNNING:a");
        let restart = async |boot: &str, host: &str| {
            let body = worker("w1").registers("boot_id", boot).registers("host_boot_id", host).registration();
            cluster.rest().put("/api/v1/workers/w1").json(body).await.json()["incarnation"].take()
        };
        let life = restart("b2", "h1").await;
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED NO_INVENTORY VM_RUNNING:a");
        cluster.beat("w1", json!({"incarnation": life, "vms": []})).await;
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED");
        cluster.beat("w1", json!({"incarnation": life})).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        // The host was switched off and on: the drain stays complete, and what runs there now is not known.
        let life = restart("b3", "h2").await;
        assert_eq!(cluster.drain_state().await, "COMPLETE NOT_ACKNOWLEDGED NO_INVENTORY");
        cluster.beat("w1", json!({"incarnation": life, "vms": []})).await;
        cluster.beat("w1", json!({"incarnation": life})).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
    }

    async fn a_worker_that_is_offline_is_never_complete_and_never_safe(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.beats(Some(&[]), None).await;
        cluster.advance(seconds(61));
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        assert_eq!(cluster.drain_state().await, "DRAINING WORKER_OFFLINE NOT_ACKNOWLEDGED");
        cluster.beats(None, None).await;
        cluster.beats(None, None).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        cluster.advance(seconds(60));
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        cluster.advance(seconds(1));
        assert_eq!(cluster.drain_state().await, "COMPLETE WORKER_OFFLINE");
        let shown = cluster.rest().get("/api/v1/workers").await.json()["workers"][0]["drain"]["safe_to_power_off"].take();
        assert_eq!(shown, false, "in the cached list, too");
    }

    async fn a_deadline_is_an_alarm_that_is_told_once(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a")])]).await;
        let drain = async |body: Value| cluster.rest().post("/api/v1/workers/w1/drain").json(body).await;
        drain(json!({"reason": "disk", "deadline_seconds": 600})).await.assert_json(200, drained("w1"));
        let list = async || cluster.rest().get("/api/v1/workers").await.json()["workers"][0]["drain"]["state"].take();
        cluster.advance(seconds(599));
        cluster.beats(Some(&["a"]), None).await;
        cluster.beats(Some(&["a"]), None).await;
        cluster.sweep().await;
        assert_eq!((cluster.drain_state().await, list().await), ("DRAINING VM_RUNNING:a".to_owned(), json!("draining")));
        cluster.advance(seconds(1));
        assert_eq!((cluster.drain_state().await, list().await), ("OVERDUE VM_RUNNING:a".to_owned(), json!("overdue")));
        let revision = cluster.revision();
        cluster.sweep().await;
        assert_eq!(cluster.revision(), revision + 1);
        cluster.sweep().await;
        assert_eq!(cluster.revision(), revision + 1, "it is announced once");
        let told = cluster.history().await;
        assert_eq!(told.last().unwrap(), "worker_drain_overdue w1");
        // It may still become complete, and another deadline counts from now.
        drain(json!({"deadline_seconds": 60})).await;
        assert_eq!(cluster.drain_state().await, "DRAINING VM_RUNNING:a");
        drain(json!({"deadline_seconds": 60})).await;
        assert_eq!(cluster.history().await.len(), told.len() + 1, "the same deadline is no change");
        cluster.advance(seconds(60));
        cluster.sweep().await;
        assert_eq!(cluster.drain_state().await, "OVERDUE WORKER_OFFLINE VM_RUNNING:a");
        cluster.beats(Some(&[]), None).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        cluster.advance(seconds(60));
        cluster.beats(None, None).await;
        cluster.sweep().await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
    }

    async fn a_deadline_that_was_set_by_a_clock_that_was_ahead_counts_from_now(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let drain = async |body: Value| cluster.rest().post("/api/v1/workers/w1/drain").json(body).await;
        drain(json!({})).await;
        cluster.advance(minutes(60));
        drain(json!({"deadline_seconds": 60})).await;
        let deadline = async || cluster.worker("w1").await["drain"]["deadline_at"].take();
        assert_eq!(deadline().await, "2025-11-02T11:01:00Z");
        cluster.clock().set(START.parse().unwrap());
        cluster.sweep().await;
        assert_eq!(deadline().await, "2025-11-02T10:01:00Z");
        let revision = cluster.revision();
        cluster.sweep().await;
        assert_eq!(cluster.revision(), revision, "it is corrected once");
    }

    async fn an_overdue_drain_is_announced_after_a_restart_and_by_one_server_only(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a")])]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"deadline_seconds": 1})).await;
        cluster.advance(seconds(1));
        let cluster = cluster.restart().await;
        if cluster.takes_several_servers() {
            let other = cluster.another_server().await;
            tokio::join!(cluster.sweep(), other.sweep());
        }
        cluster.sweep().await;
        let told = cluster.history().await;
        assert_eq!(told.iter().filter(|it| *it == "worker_drain_overdue w1").count(), 1);
    }

    async fn a_policy_hook_that_fails_is_in_the_way_until_the_policy_changes(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let said = |error: Value| json!({"incarnation": 1, "policy_error": error});
        cluster.beat("w1", said(json!("exit status 1:\nno such host"))).await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE POLICY_HOOK_FAILED", "as before if it says nothing");
        let cluster = cluster.restart().await;
        let drain = cluster.graphql("{ worker(id: \"w1\") { drain { blockers { message since } } } }").await;
        let failed = "The policy hook of worker w1 failed: exit status 1: no such host";
        assert_eq!(drain["worker"]["drain"]["blockers"], json!([{"message": failed, "since": START}]));
        cluster.advance(seconds(1));
        let amended = json!({"reason": "again", "deadline_seconds": 60});
        cluster.rest().post("/api/v1/workers/w1/drain").json(amended).await;
        let told = cluster.beats(None, None).await["policy_revision"].take();
        cluster.beats(None, Some(&told)).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE POLICY_HOOK_FAILED", "to say more of the drain mends nothing");
        let mut same = said(json!("exit status 1:\nno such host"));
        same["policy_revision"] = told;
        cluster.beat("w1", same).await;
        let drain = cluster.graphql("{ worker(id: \"w1\") { drain { blockers { message since } } } }").await;
        assert_eq!(drain["worker"]["drain"]["blockers"], json!([{"message": failed, "since": START}]), "since then");
        for command in ["activate", "drain"] {
            cluster.rest().post(&format!("/api/v1/workers/w1/{command}")).await;
        }
        assert_eq!(cluster.drain_state().await, "DRAINING NOT_ACKNOWLEDGED", "that was another drain");
        let told = cluster.beats(None, None).await["policy_revision"].take();
        cluster.beats(None, Some(&told)).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        cluster.beat("w1", said(json!("again"))).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE POLICY_HOOK_FAILED");
        cluster.beat("w1", said(Value::Null)).await;
        assert_eq!(cluster.drain_state().await, "COMPLETE safe");
        let long = cluster.beat("w1", said(json!("x".repeat(501)))).await;
        long.assert_failure(400, "policy_error must have at most 500 characters, not 501");
    }

    async fn a_worker_that_is_purged_takes_its_drains_along(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for command in ["drain", "activate", "drain"] {
            cluster.rest().post(&format!("/api/v1/workers/w1/{command}")).await;
        }
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        cluster.add([worker("w1")]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        assert_eq!(cluster.worker("w1").await["drain"]["number"], 1);
        let cluster = cluster.restart().await;
        assert_eq!(cluster.worker("w1").await["drain"]["number"], 1);
    }

    async fn what_is_said_of_a_drain_is_checked(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        for (body, refusal) in [
            (json!({"deadline_seconds": 0}), "deadline_seconds must be from 1 to 31536000, not 0"),
            (json!({"deadline_seconds": 31_536_001}), "deadline_seconds must be from 1 to 31536000, not 31536001"),
            (json!({"metadata": {"": "x"}}), "metadata must not be empty (of key \"\")"),
            (json!({"metadata": {"k": "x".repeat(257)}}), "metadata must have at most 256 characters, not 257 (of key \"k\")"),
        ] {
            cluster.rest().post("/api/v1/workers/w1/drain").json(body).await.assert_failure(400, refusal);
        }
        let many: serde_json::Map<_, _> = (0..65).map(|key| (key.to_string(), json!(""))).collect();
        let refusal = "metadata must have at most 64 entries, not 65";
        cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"metadata": many})).await.assert_failure(400, refusal);
        let refused = cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"deadline": "2h"})).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert_eq!(cluster.everything().await, before);
    }

    async fn operators_who_disagree_are_each_told_what_they_asked_for(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let commands = ["drain", "activate", "drain", "activate"];
        let paths = commands.map(|command| format!("/api/v1/workers/w1/{command}"));
        let answers = join_all(paths.iter().map(|path| cluster.rest().post(path).into_future())).await;
        for (command, answer) in commands.iter().zip(answers) {
            answer.assert_json(200, if *command == "drain" { drained("w1") } else { activated("w1") });
        }
    }
}
