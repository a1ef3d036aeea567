//! Workers leave, and are removed.

use serde_json::{Value, json};

use crate::harness::*;

on_both_databases! {
    // semantics 29
    async fn a_worker_that_says_goodbye_is_offline_at_once_and_stays_in_the_list(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let before = cluster.worker("w1").await;
        let answer = cluster.rest().delete("/api/v1/workers/w1").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        let gone = json!({"status": "offline", "is_healthy": false, "revision": 3});
        assert_eq!(cluster.worker("w1").await, with(before, gone));

        cluster.advance(minutes(5));
        assert_eq!(cluster.sweep().await, 0, "it has left, it is not lost");
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1").await.status, 204, "saying it twice changes nothing");
        assert_eq!(cluster.history().await, ["worker_registered w1", "vm_started w1 vm-1", "worker_left w1"]);
        assert_eq!(cluster.revision(), 3);
    }

    // semantics 29
    async fn a_worker_that_has_left_has_to_register_before_it_is_heard(cluster: TestCluster) {
        cluster.add([worker("w1").registers("boot_id", "one")]).await;
        cluster.rest().delete("/api/v1/workers/w1").await;
        let answer = cluster.beat("w1", json!({"incarnation": 1})).await;
        answer.assert_failure(404, "Worker w1 has left the cluster. Register it again, then send heartbeats.");
        let registration = worker("w1").registers("boot_id", "one").registration();
        let answer = cluster.rest().put("/api/v1/workers/w1").json(registration).await.json();
        assert_eq!([&answer["incarnation"], &answer["worker"]["status"]], [&json!(2), &json!("active")]);
        let told = ["worker_registered w1", "worker_left w1", "worker_restarted w1", "worker_online w1"];
        assert_eq!(cluster.history().await, told);
    }

    // semantics 29
    async fn a_worker_that_holds_vms_is_removed_only_by_force(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2").status("stopped")]), worker("w2")]).await;
        let before = cluster.everything().await;
        let refused = cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        refused.assert_failure(409, "Worker w1 still holds 1 VMs. Stop or move them first, or pass force=true.");
        assert_eq!(cluster.everything().await, before);

        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await.status, 204);
        cluster.rest().get("/api/v1/workers/w1").await.assert_failure(404, "Worker not found: w1");
        cluster.rest().get("/api/v1/vms/vm-1").await.assert_failure(404, "VM not found: vm-1");
        let list = cluster.rest().get("/api/v1/workers").await.json();
        assert_eq!(pick(&list["workers"], ["id"]).concat(), ["w2"]);
        let after = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, after);
    }

    // Clients that keep objects in a cache have to learn of each that changed or is gone.
    async fn a_deregistration_answers_with_all_that_it_changed(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2").status("stopped")])]).await;
        let deregister = async |arguments: &str| {
            let fields = "workerId worker { id status } removedVmIds cursor";
            let command = format!("mutation {{ deregisterWorker(input: {{workerId: \"w1\"{arguments}}}) {{ {fields} }} }}");
            cluster.graphql(&command).await["deregisterWorker"].take()
        };
        let left = deregister("").await;
        assert_eq!([&left["worker"], &left["removedVmIds"]], [&json!({"id": "w1", "status": "OFFLINE"}), &json!([])]);
        assert_eq!(deregister("").await["worker"], left["worker"], "saying it twice changes nothing");
        let purged = deregister(", purge: true, force: true").await;
        assert_eq!([&purged["worker"], &purged["removedVmIds"]], [&Value::Null, &json!(["vm-1", "vm-2"])]);
        // What happens next, and nothing before, comes after the cursor.
        cluster.add([worker("w2")]).await;
        let query = "query($after: Cursor) { events(after: $after) { nodes { kind workerId } } }";
        let next = cluster.graphql_answer(query, json!({"after": purged["cursor"]})).await;
        assert_eq!(next["data"]["events"]["nodes"], json!([{"kind": "WORKER_REGISTERED", "workerId": "w2"}]));
        let drain = r#"mutation { drainWorker(input: {workerId: "w2"}) { cursor } }"#;
        let drained = cluster.graphql(drain).await["drainWorker"]["cursor"].take();
        let next = cluster.graphql_answer(query, json!({"after": drained})).await;
        assert_eq!(next["data"]["events"]["nodes"], json!([]));
    }

    async fn a_worker_without_running_vms_is_removed_without_force(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1").status("failed")])]).await;
        cluster.rest().delete("/api/v1/workers/w1").await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?purge=true").await.status, 204);
        cluster.rest().delete("/api/v1/workers/w1").await.assert_failure(404, "Worker not found: w1");
        cluster.rest().get("/api/v1/vms?status=failed").await.assert_json(200, json!({"vms": [], "total": 0}));
    }

    async fn lives_are_counted_on_after_a_removal(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        let cluster = cluster.restart().await;
        cluster
            .beat("w1", json!({"incarnation": 2}))
            .await
            .assert_failure(404, "Worker not found: w1. Register it again, then send heartbeats.");

        let answer = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!((answer.status, answer.json()["incarnation"].take()), (201, json!(3)));
        assert_eq!(
            cluster.beat("w1", json!({"incarnation": 2})).await.status,
            409,
            "the old process is still out there"
        );
        assert_eq!(cluster.beat("w1", json!({"incarnation": 3})).await.status, 200);
    }

    async fn a_removal_and_a_new_registration_at_once_leave_a_whole_worker(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2")])]).await;
        let (removed, registered, beaten) = tokio::join!(
            cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").into_future(),
            cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).into_future(),
            cluster.beat("w1", json!({"incarnation": 2, "vms": [{"id": "vm-2"}, {"id": "vm-3"}]})),
        );
        assert_eq!([removed.status, registered.status, beaten.status], [204, 201, 200]);
        let vms = cluster.rest().get("/api/v1/vms").await.json();
        assert_eq!(pick(&vms["vms"], ["id"]).concat(), ["vm-2", "vm-3"]);
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }
}
