//! What the server finds out of a VM, and what its worker says of it: since when there is the VM, since when it runs,
//! since when it has its status; a note, and a reservation.

use serde_json::{Value, json};

use crate::harness::*;

/// Times of a VM, as the minutes since the cluster began.
async fn times(cluster: &TestCluster, path: &str) -> [Option<i64>; 3] {
    let vm = cluster.rest().get(path).await.json();
    let start = chrono::DateTime::parse_from_rfc3339("2025-11-02T10:00:00Z").unwrap();
    ["created_at", "started_at", "status_since"].map(|key| {
        let at = vm[key].as_str().map(|at| chrono::DateTime::parse_from_rfc3339(at).unwrap());
        at.map(|at| (at - start).num_minutes())
    })
}

/// A minute later, the worker reports the VMs in these statuses, and no others.
async fn report(cluster: &TestCluster, worker: &str, vms: &[(&str, &str)]) {
    cluster.advance(minutes(1));
    let vms: Vec<Value> = vms.iter().map(|(id, status)| vm(id).status(status).into()).collect();
    let answer = cluster.beat(worker, json!({"incarnation": 1, "vms": vms})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

on_both_databases! {
    async fn a_vm_is_as_old_as_the_server_knows_it_and_runs_since_it_last_began_to(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (status, expected) in [
            ("created", [Some(1), None, Some(1)]),
            ("created", [Some(1), None, Some(1)]),
            ("starting", [Some(1), None, Some(3)]),
            ("running", [Some(1), Some(4), Some(4)]),
            ("running", [Some(1), Some(4), Some(4)]),
            ("stopping", [Some(1), Some(4), Some(6)]),
            ("stopped", [Some(1), Some(4), Some(7)]),
            ("running", [Some(1), Some(8), Some(8)]),
            ("failed", [Some(1), Some(8), Some(9)]),
        ] {
            report(&cluster, "w1", &[("vm-1", status)]).await;
            assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, expected, "{status}");
        }
        let cluster = cluster.restart().await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(1), Some(8), Some(9)], "after a restart");
        report(&cluster, "w1", &[]).await;
        report(&cluster, "w1", &[("vm-1", "running")]).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(11), Some(11), Some(11)], "it was gone");
    }

    async fn times_of_a_clock_that_was_ahead_are_set_to_the_present(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        report(&cluster, "w2", &[("vm-2", "running")]).await;
        let clock = cluster.clock();
        let present = clock.now();
        clock.set(present + chrono::TimeDelta::hours(1));
        report(&cluster, "w1", &[("vm-1", "running"), ("vm-3", "created")]).await;
        clock.set(present);
        // A heartbeat corrects when its worker was heard, and none that says the same corrects its VMs.
        report(&cluster, "w1", &[("vm-1", "running"), ("vm-3", "created")]).await;
        report(&cluster, "w2", &[("vm-2", "running")]).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(62), Some(62), Some(62)]);
        cluster.sweep().await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(3), Some(3), Some(3)]);
        let cluster = cluster.restart().await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(3), Some(3), Some(3)]);
        assert_eq!(times(&cluster, "/api/v1/vms/vm-3").await, [Some(3), None, Some(3)]);
        assert_eq!(times(&cluster, "/api/v1/vms/vm-2").await, [Some(1), Some(1), Some(1)]);
        let revision = cluster.revision();
        cluster.sweep().await;
        assert_eq!(cluster.revision(), revision, "there is nothing left to correct");
        report(&cluster, "w1", &[("vm-1", "stopped"), ("vm-3", "created")]).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(3), Some(3), Some(4)]);
    }

    async fn a_vm_that_moves_stays_as_old_as_it_is(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2"), worker("w3")]).await;
        report(&cluster, "w1", &[("vm-1", "running")]).await;
        report(&cluster, "w2", &[("vm-1", "starting")]).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(1), Some(1), Some(2)], "it arrives");
        report(&cluster, "w2", &[("vm-1", "running")]).await;
        report(&cluster, "w1", &[]).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(1), Some(3), Some(3)], "it was not running in between");
        report(&cluster, "w3", &[("vm-1", "running")]).await;
        report(&cluster, "w2", &[]).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(1), Some(3), Some(3)], "moved while it ran");
    }

    async fn a_restarted_agent_changes_no_time_and_a_restarted_host_all(cluster: TestCluster) {
        cluster.add([worker("w1").registers("host_boot_id", "h1").registers("boot_id", "a").vms([vm("vm-1")])]).await;
        let before = times(&cluster, "/api/v1/vms/vm-1").await;
        let register = async |boot: &str, host: &str, incarnation: u64| {
            cluster.advance(minutes(1));
            let again = worker("w1").registers("host_boot_id", host).registers("boot_id", boot).registration();
            cluster.rest().put("/api/v1/workers/w1").json(again).await;
            let vms: [Value; 1] = [vm("vm-1").into()];
            cluster.beat("w1", json!({"incarnation": incarnation, "vms": vms})).await;
        };
        register("b", "h1", 2).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, before);
        register("c", "h2", 3).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(2), Some(2), Some(2)], "nothing outlives its host");
    }

    async fn a_note_and_a_reservation_are_told_kept_and_shown_in_both_protocols(cluster: TestCluster) {
        let noted = |note: Value| json!([{"id": "vm-1", "note": note, "reservation_id": "r-1"}]);
        cluster.add([worker("w1").reports("vms", noted(json!("live migration refused: no avx512")))]).await;
        let cluster = cluster.restart().await;
        let vm = cluster.rest().get("/api/v1/vms/vm-1").await.json();
        assert_eq!([&vm["note"], &vm["reservation_id"]], ["live migration refused: no avx512", "r-1"]);
        let listed = cluster.rest().get("/api/v1/workers/w1/vms").await.json();
        assert_eq!(listed["vms"][0]["note"], vm["note"], "where it is in the way of a drain, the reason is seen");
        let fields = "id note reservationId createdAt startedAt statusSince revision";
        let answer = cluster.graphql(&format!(r#"{{ vm(id: "vm-1") {{ {fields} }} }}"#)).await;
        assert_eq!(answer["vm"], json!({
            "id": "vm-1", "note": vm["note"], "reservationId": "r-1", "createdAt": vm["created_at"],
            "startedAt": vm["started_at"], "statusSince": vm["status_since"], "revision": vm["revision"],
        }));

        cluster.beat("w1", json!({"incarnation": 1, "vms": noted(vm["note"].clone())})).await;
        assert_eq!(cluster.rest().get("/api/v1/vms/vm-1").await.json()["revision"], vm["revision"], "the same again");
        cluster.beat("w1", json!({"incarnation": 1, "vms_delta": {"upsert": noted(json!(""))}})).await;
        let vm = cluster.rest().get("/api/v1/vms/vm-1").await.json();
        assert_eq!([vm.get("note"), vm.get("reservation_id")], [None, Some(&json!("r-1"))]);
        let input = r#"{workerId: "w1", incarnation: 1, vms: [{id: "vm-1", note: "on its way"}]}"#;
        cluster.graphql(&format!("mutation {{ recordHeartbeat(input: {input}) {{ resync }} }}")).await;
        let vm = cluster.rest().get("/api/v1/vms/vm-1").await.json();
        assert_eq!([vm.get("note"), vm.get("reservation_id")], [Some(&json!("on its way")), None]);
    }

    async fn a_note_that_is_too_long_is_refused_with_its_vm(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let beat = |length| json!({"incarnation": 1, "vms": [{"id": "vm-1", "note": "ö".repeat(length)}]});
        assert_eq!(cluster.beat("w1", beat(200)).await.status, 200);
        let refusal = cluster.beat("w1", beat(201)).await;
        assert_eq!(refusal.status, 400);
        assert!(refusal.body.contains("note") && refusal.body.contains("vm-1"), "{}", refusal.body);
    }

    // Servers before the columns knew when a VM came and changed from the log only.
    async fn rows_from_before_the_columns_get_their_times_from_the_log(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        report(&cluster, "w1", &[("vm-1", "created")]).await;
        report(&cluster, "w1", &[("vm-1", "running"), ("vm-2", "stopped")]).await;
        let clock = cluster.clock();
        cluster.into_server().stop().await;
        db.execute("DELETE FROM event WHERE vm_id = 'vm-2'").await;
        let database = aetherium::journal::Database::connect(db.url()).await.unwrap();
        let migrations = <migration::Migrator as migration::MigratorTrait>::migrations();
        let place = migrations.iter().position(|one| one.name().ends_with("vm_columns")).unwrap();
        database.migrate_back(u32::try_from(migrations.len() - place).unwrap()).await.unwrap();
        database.migrate().await.unwrap();
        database.close().await.unwrap();
        let cluster = TestCluster::by_clock(&db, clock).await;
        assert_eq!(times(&cluster, "/api/v1/vms/vm-1").await, [Some(1), Some(2), Some(2)]);
        assert_eq!(times(&cluster, "/api/v1/vms/vm-2").await, [Some(0), None, Some(0)], "as its worker's process");
    }
}
