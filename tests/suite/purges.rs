//! Many workers are purged at once: those that a filter matches, never all of them by mistake.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

async fn purge(cluster: &TestCluster, body: Value) -> Answer {
    cluster.rest().post("/api/v1/purges").json(body).await
}

/// The same over GraphQL, as REST writes it.
async fn purge_by_graphql(cluster: &TestCluster, input: Value) -> Value {
    let mutation = "mutation($input: PurgeWorkersInput!) { purgeWorkers(input: $input) {
        dry_run: dryRun purged { worker_id: workerId removed_vm_ids: removedVmIds }
        refused { worker_id: workerId reason message } total_refused: totalRefused remaining
    } }";
    let mut answer = cluster.graphql_answer(mutation, json!({"input": input})).await;
    if !answer["errors"].is_null() {
        return answer["errors"][0]["message"].take();
    }
    let mut purge = answer["data"]["purgeWorkers"].take();
    for refused in purge["refused"].as_array_mut().unwrap() {
        refused["reason"] = refused["reason"].as_str().unwrap().to_ascii_lowercase().into();
    }
    purge
}

fn simulated(at: usize) -> TestWorker {
    worker(&format!("sim-{at:02}")).registers("labels", json!({"simulated": "true"}))
}

async fn ids(cluster: &TestCluster) -> Vec<String> {
    let workers = cluster.rest().get("/api/v1/workers").await.json();
    workers["workers"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

on_both_databases! {
    async fn simulated_workers_that_stay_are_removed_at_once(cluster: TestCluster) {
        cluster.add((0..30).map(simulated)).await;
        cluster.add([simulated(30).vms([vm("held"), vm("over").status("stopped")]), worker("real")]).await;
        cluster.advance(minutes(60));
        cluster.add([simulated(31)]).await;
        cluster.sweep().await;
        let before = (cluster.everything().await, cluster.history().await, cluster.revision());
        let asked = json!({"filter": {"labels": {"simulated": "true"}}, "offline_for": "1h", "dry_run": true});
        let message = "Worker sim-30 still holds 1 VMs. Stop or move them first, or pass force=true.";
        let purged: Vec<_> =
            (0..30).map(|at| json!({"worker_id": format!("sim-{at:02}"), "removed_vm_ids": []})).collect();
        let told = json!({
            "dry_run": true, "purged": purged,
            "refused": [{"worker_id": "sim-30", "reason": "holds_vms", "message": message}],
            "total_refused": 1, "remaining": 0,
        });
        purge(&cluster, asked.clone()).await.assert_json(200, told.clone());
        let filter = json!({"labels": [{"key": "simulated", "value": "true"}]});
        let twin = json!({"filter": filter, "offlineFor": "1h", "dryRun": true});
        assert_eq!(purge_by_graphql(&cluster, twin).await, told);
        let after = (cluster.everything().await, cluster.history().await, cluster.revision());
        assert_eq!(after, before, "a dry run changes nothing");

        purge(&cluster, with(asked.clone(), json!({"dry_run": false}))).await
            .assert_json(200, with(told, json!({"dry_run": false})));
        assert_eq!(ids(&cluster).await, ["real", "sim-30", "sim-31"]);
        assert_eq!(cluster.revision(), before.2 + 1, "all of them go in one commit");
        let events: Vec<_> = (0..30).map(|at| format!("worker_purged sim-{at:02}")).collect();
        assert_eq!(cluster.history().await[before.1.len()..], events);

        let forced = purge_by_graphql(&cluster, json!({"filter": filter, "offlineFor": "1h", "force": true})).await;
        let gone = json!([{"worker_id": "sim-30", "removed_vm_ids": ["held", "over"]}]);
        assert_eq!((&forced["purged"], &forced["refused"]), (&gone, &json!([])));
        assert_eq!(cluster.history().await[before.1.len() + 30..], ["vm_lost sim-30 held", "worker_purged sim-30"]);
        let cluster = cluster.restart().await;
        assert_eq!(ids(&cluster).await, ["real", "sim-31"]);
    }

    async fn everything_is_purged_only_if_that_is_said(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let nothing_said = "filter must say which workers, unless `all` says that every worker is meant";
        for nothing in [
            json!({}), json!({"filter": {}}), json!({"filter": null, "offline_for": null}),
            json!({"filter": {"search": ""}}), json!({"filter": {"min_free_vm_slots": 0}}),
        ] {
            purge(&cluster, nothing).await.assert_failure(400, nothing_said);
        }
        assert_eq!(purge_by_graphql(&cluster, json!({})).await, nothing_said);
        assert_eq!(purge_by_graphql(&cluster, json!({"filter": {"search": ""}})).await, nothing_said);
        let both = json!({"all": true, "filter": {"ids": ["w1"]}});
        purge(&cluster, both).await.assert_failure(400, "all must not be given together with conditions");
        for (body, refusal) in [
            (json!({"offline_for": "-1h"}), "offline_for must be a length of time up to 315360000s, such as 30s, not \"-1h\""),
            (json!({"filter": {"statuses": ["gone"]}}), "filter.statuses must be one of active, draining, offline, not \"gone\""),
        ] {
            purge(&cluster, body).await.assert_failure(400, refusal);
        }
        assert_eq!(purge(&cluster, json!({"filter": {"zone": ["a"]}})).await.status, 400, "a condition that is misspelled is none");
        for nobody in [json!({"filter": {"ids": []}}), json!({"filter": {"ids": ["w9"]}}), json!({"offline_for": "0s"})] {
            let none = json!({"dry_run": false, "purged": [], "refused": [], "total_refused": 0, "remaining": 0});
            purge(&cluster, nobody).await.assert_json(200, none);
        }
        assert_eq!(ids(&cluster).await, ["w1", "w2"]);
        let all = purge(&cluster, json!({"all": true})).await.json();
        assert_eq!((all["purged"].as_array().unwrap().len(), ids(&cluster).await.len()), (2, 0));
    }

    async fn one_request_purges_as_many_as_one_commit_takes(cluster: TestCluster) {
        let registration = worker("w").registration();
        let registered = (0..1_003).map(|at| {
            cluster.rest().put(&format!("/api/v1/workers/w{at:04}")).json(registration.clone()).into_future()
        });
        assert!(join_all(registered).await.iter().all(|answer| answer.status == 201));
        let none = json!({"filter": {"search": "w"}});
        let first = purge(&cluster, none.clone()).await.json();
        assert_eq!((first["purged"].as_array().unwrap().len(), &first["remaining"]), (1_000, &json!(3)));
        let next = purge(&cluster, none).await.json();
        assert_eq!((pick(&next["purged"], ["worker_id"]), &next["remaining"]), (
            [["w1000"], ["w1001"], ["w1002"]].map(|ids| ids.map(Value::from)).to_vec(), &json!(0),
        ));
    }

    async fn a_purge_that_is_sent_again_removes_nothing_else(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let send = |body: &Value| {
            cluster.rest().post("/api/v1/purges").header("idempotency-key", "k1").json(body.clone()).into_future()
        };
        let dry = json!({"filter": {"search": "w"}, "dry_run": true});
        for _ in 0..2 {
            let answer = send(&dry).await;
            assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, None), "it may look again");
        }
        let body = json!({"filter": {"search": "w"}});
        let first = send(&body).await;
        assert_eq!(first.json()["purged"][0]["worker_id"], "w1");
        cluster.add([worker("w2")]).await;
        let again = send(&body).await;
        assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
        assert_eq!(ids(&cluster).await, ["w2"]);
        assert_eq!(send(&json!({"all": true})).await.status, 422, "another request with the key");
    }

    async fn a_worker_that_came_back_meanwhile_is_not_purged(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        cluster.advance(minutes(60));
        cluster.sweep().await;
        // Both wait in one batch, and the heartbeat is decided on with the purge: whichever is first, no worker that is
        // heard before its purge is removed, and none that is removed is told that it was heard.
        let (purged, heard) = tokio::join!(
            purge(&cluster, json!({"offline_for": "30m"})),
            cluster.beat("w1", json!({"incarnation": 1})),
        );
        let purged = purged.json();
        let went = pick(&purged["purged"], ["worker_id"]).contains(&[json!("w1")]);
        assert_eq!(went, heard.status == 404, "{purged}");
        assert_eq!(ids(&cluster).await.contains(&"w1".to_owned()), heard.status == 200);
        assert!(!ids(&cluster).await.contains(&"w2".to_owned()));
    }
}
