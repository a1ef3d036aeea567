//! Several servers on one PostgreSQL: no leader, and nobody decides on what has passed.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use aetherium::journal::LivenessSign;
use futures_util::future::join_all;
use futures_util::poll;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use serde_json::json;
use tokio::task::yield_now;

use crate::harness::*;

/// Makes a test of a function: two servers on one database, which have not talked since they started.
macro_rules! on_two_servers {
    ($($(#[$attribute:meta])* async fn $name:ident($a:ident, $b:ident) $behaviour:block)+) => { $(
        $(#[$attribute])*
        #[tokio::test]
        async fn $name() {
            TestDatabase::postgres().await.run(async |$a: TestCluster| {
                $a.add([worker("w1").vms([vm("vm-1")])]).await;
                let $b = $a.another_server().await;
                $behaviour
            }).await;
        }
    )+ };
}

/// Waits until a server has seen what another one committed.
async fn catch_up(cluster: &TestCluster, revision: u64) {
    let mut commits = cluster.server().journal().subscribe();
    while cluster.revision() < revision {
        let seen = tokio::time::timeout(seconds(20), commits.recv()).await;
        let _ = seen.expect("a server should look for others' commits").expect("the journal should be open");
    }
}

on_two_servers! {
    async fn who_is_shed_by_one_server_is_not_announced_by_another(a, b) {
        a.advance(seconds(50));
        a.server().journal().note_liveness_signs([LivenessSign { worker_id: "w1", incarnation: Some(1), boot_id: None, sequence: None }]);
        assert_eq!(a.sweep().await, 0);
        a.advance(seconds(11));
        assert_eq!(b.sweep().await, 0, "61 s after the last heartbeat that was taken, 11 s after the one that was shed");
        a.advance(seconds(50));
        assert_eq!(b.sweep().await, 1, "it is silent");
    }

    async fn servers_see_each_others_commits(a, b) {
        a.rest().post("/api/v1/workers/w1/drain").await;
        a.rest().put("/api/v1/workers/w2").json(worker("w2").registration()).await;
        catch_up(&b, a.revision()).await;
        assert_eq!(b.everything().await, a.everything().await);

        b.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-2"}]})).await;
        b.rest().delete("/api/v1/workers/w2?purge=true").await;
        catch_up(&a, b.revision()).await;
        assert_eq!(a.everything().await, b.everything().await);
        assert_eq!(a.history().await, b.history().await);
    }

    // Of an order that moves, a token tells what its walk has seen, which may be more than this server has.
    async fn a_page_after_one_of_another_server_is_waited_for_by_long_polls_too(a, b) {
        a.rest().put("/api/v1/workers/w2").json(worker("w2").registration()).await;
        // Who has committed last commits again without a look at what others have.
        b.rest().post("/api/v1/workers/w2/drain").await;
        catch_up(&a, b.revision()).await;
        let before = a.revision();
        // The database has it, and the other server cannot read what it is.
        let held = a.server().journal().database().readers().begin().await.unwrap();
        held.execute_unprepared("LOCK TABLE worker_tombstone IN ACCESS EXCLUSIVE MODE").await.unwrap();
        assert_eq!(b.rest().post("/api/v1/workers/w1/drain").await.status, 200);
        let link = b.rest().get("/api/v1/workers?sort=-last_seen&limit=1").await.header("link").unwrap().to_owned();
        let next = link.split(['<', '>']).nth(1).unwrap();
        let path = format!("/api/v1/workers{next}&wait=60s&after_revision={before}");
        let mut answer = pin!(a.rest().get(&path).into_future());
        for _ in 0..20 {
            assert!(poll!(&mut answer).is_pending(), "it is not there yet");
            yield_now().await;
        }
        held.rollback().await.unwrap();
        let answer = in_time(answer).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("x-revision"), Some(&*b.revision().to_string()));
    }

    async fn a_drain_here_survives_a_heartbeat_there(a, b) {
        a.rest().post("/api/v1/workers/w1/drain").await;
        a.advance(seconds(10));
        let reply = b.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 5})).await.json();
        assert_eq!([&reply["policy"], &reply["revision"]], [&json!("draining"), &json!(4)]);
        a.rest().post("/api/v1/workers/w9/drain").await;
        let worker = a.worker("w1").await;
        assert_eq!(
            [&worker["status"], &worker["used_cpu_cores"], &worker["last_seen"]],
            [&json!("draining"), &json!(5), &json!("2025-11-02T10:00:10Z")]
        );
        assert_eq!(worker, b.worker("w1").await);
    }

    async fn a_restart_here_makes_a_heartbeat_there_too_old(a, b) {
        a.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(b.beat("w1", json!({"incarnation": 1, "vms": []})).await.status, 409);
        assert_eq!(b.beat("w1", json!({"incarnation": 2, "vms": []})).await.status, 200);
    }

    async fn a_vm_that_moves_there_is_as_old_as_it_was_here(a, b) {
        let report = |status: &str| json!({"incarnation": 1, "vms": [{"id": "moved", "status": status, "note": "on w1"}]});
        a.beat("w1", report("running")).await;
        a.advance(seconds(60));
        b.add([worker("w2").vms([vm("moved")])]).await;
        catch_up(&a, b.revision()).await;
        let moved = a.rest().get("/api/v1/vms/moved").await.json();
        assert_eq!(moved, b.rest().get("/api/v1/vms/moved").await.json());
        assert_eq!([&moved["worker_id"], &moved["created_at"], &moved["started_at"]], [
            "w2", "2025-11-02T10:00:00Z", "2025-11-02T10:00:00Z",
        ]);
        assert_eq!(b.rest().get("/api/v1/workers/w1/vms").await.json()["vms"][0]["note"], "on w1");
    }

    async fn a_removal_here_is_known_there(a, b) {
        a.rest().delete("/api/v1/workers/w1?purge=true&force=true").await;
        assert_eq!(b.beat("w1", json!({"incarnation": 1})).await.status, 404);
        let answer = b.rest().put("/api/v1/workers/vm-1").json(worker("vm-1").registration()).await;
        assert_eq!(answer.status, 201, "the id is free: {}", answer.body);
        let answer = b.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        assert_eq!(answer.json()["incarnation"], 2);
    }

    async fn a_worker_and_a_vm_of_one_id_are_two_things_for_all_servers(a, b) {
        a.beat("w1", json!({"incarnation": 1, "vms": [{"id": "new"}]})).await;
        let answer = b.rest().put("/api/v1/workers/new").json(worker("new").registration()).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        catch_up(&a, b.revision()).await;
        for server in [&a, &b] {
            assert_eq!(server.rest().get("/api/v1/vms/new").await.json()["worker_id"], "w1");
            assert_eq!(server.worker("new").await["vm_count"], 0);
        }
    }

    async fn one_id_registered_here_and_there_at_once_is_one_worker(a, b) {
        let register = |cluster: &TestCluster| {
            cluster.rest().put("/api/v1/workers/new").json(worker("new").registration()).into_future()
        };
        let (here, there) = tokio::join!(register(&a), register(&b));
        let mut statuses = [here.status, there.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201]);
        let mut incarnations = [here.json()["incarnation"].as_u64(), there.json()["incarnation"].as_u64()];
        incarnations.sort_unstable();
        assert_eq!(incarnations, [Some(1), Some(2)]);
    }

    async fn one_server_tells_that_a_worker_went_offline(a, b) {
        a.advance(seconds(61));
        let (here, there) = tokio::join!(a.sweep(), b.sweep());
        assert_eq!(here + there, 1);
        assert_eq!(a.history().await, ["worker_registered w1", "vm_started w1 vm-1", "worker_offline w1"]);
        b.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(a.sweep().await, 0, "heard there is heard");
    }

    // Such heartbeats are decided before the lock is held, which has to be found out if somebody was quicker.
    async fn heartbeats_on_both_at_once_all_count_and_share_no_revision(a, b) {
        const ROUNDS: u32 = 10;
        a.add((0..20).map(|n| worker(&format!("n{n}")))).await;
        let told = join_all((0..20_u32).map(async |n| {
            let (id, mut told) = (format!("n{n}"), Vec::new());
            for round in 1..=ROUNDS {
                let here = (n + round) % 2 == 0;
                let cluster = if here { &a } else { &b };
                let answer = cluster.beat(&id, json!({"incarnation": 1, "used_cpu_cores": round})).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                told.push((here, answer.json()["revision"].as_u64().unwrap()));
            }
            told
        }))
        .await;
        let of = |wanted| {
            let told = told.iter().flatten().filter(|(here, _)| *here == wanted);
            told.map(|(_, revision)| *revision).collect::<BTreeSet<_>>()
        };
        assert_eq!(of(true).intersection(&of(false)).collect::<Vec<_>>(), [&0; 0]);
        let last = a.revision().max(b.revision());
        catch_up(&a, last).await;
        catch_up(&b, last).await;
        assert_eq!(a.everything().await, b.everything().await);
        for n in 0..20 {
            assert_eq!(a.worker(&format!("n{n}")).await["used_cpu_cores"], ROUNDS);
        }
    }

    async fn commands_on_both_at_once_all_count(a, b) {
        let acknowledged = AtomicU64::new(0);
        join_all((0..40_u32).map(async |n| {
            let (cluster, id) = (if n % 2 == 0 { &a } else { &b }, format!("n{n}"));
            let registered =
                cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker(&id).registration()).await;
            assert_eq!(registered.status, 201, "{}", registered.body);
            let other = if n % 2 == 0 { &b } else { &a };
            let beaten = other.beat(&id, json!({"incarnation": 1, "vms": [{"id": format!("vm-{id}")}]})).await;
            assert_eq!(beaten.status, 200, "{}", beaten.body);
            let drained = cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).await;
            assert_eq!(drained.status, 200, "{}", drained.body);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }))
        .await;
        assert_eq!(acknowledged.into_inner(), 40);
        let last = a.revision().max(b.revision());
        catch_up(&a, last).await;
        catch_up(&b, last).await;
        let stats = a.rest().get("/api/v1/cluster/stats").await.json();
        let counted = ["total_workers", "draining_workers", "total_vms"].map(|field| stats[field].as_u64());
        assert_eq!(counted, [Some(41), Some(40), Some(41)]);
        assert_eq!(a.everything().await, b.everything().await);
        let before = a.everything().await;
        assert_eq!(a.another_server().await.everything().await, before, "the database says the same");
    }
}

/// What is left of a removed worker goes after a month, and no row is there then that a server which is behind could read.
#[tokio::test]
async fn a_server_that_was_cut_off_for_longer_than_tombstones_are_kept_finds_out_who_was_removed() {
    TestDatabase::postgres()
        .await
        .run(async |database: TestDatabase| {
            let a = TestCluster::on(&database).await;
            a.add([worker("w1").vms([vm("vm-1")]), worker("w2").vms([vm("vm-2")]), worker("w3")]).await;
            let b = TestCluster::by_clock(&database.by_role().await, a.clock()).await;
            assert_eq!(b.everything().await, a.everything().await);
            database.shut_out_role().await;
            for id in ["w1", "w2"] {
                let removed = a.rest().delete(&format!("/api/v1/workers/{id}?purge=true&force=true")).await;
                assert_eq!(removed.status, 204, "{}", removed.body);
            }
            a.advance(seconds(31 * 24 * 3_600));
            a.server().retention_pruner().prune().await.unwrap();
            // This one is there again, as another one of its name.
            let registered = a.rest().put("/api/v1/workers/w2").json(worker("w2").registration()).await;
            assert_eq!(registered.status, 201, "{}", registered.body);

            let mut commits = b.server().journal().subscribe();
            database.let_role_in().await;
            while b.revision() < a.revision() {
                let seen = tokio::time::timeout(seconds(20), commits.recv()).await.expect("it should catch up");
                let change = seen.expect("the journal should be open").expect("it is one step");
                assert!(!change.starts_over, "nothing was set back");
                assert_eq!(change.removed, 1);
            }
            assert_eq!(b.everything().await, a.everything().await);
            for (method, path) in [("POST", "/api/v1/workers/w1/drain"), ("DELETE", "/api/v1/workers/w1")] {
                b.rest().ask(method, path).await.assert_failure(404, "Worker not found: w1");
            }
            assert_eq!(b.beat("w1", json!({"incarnation": 1})).await.status, 404);
            assert_eq!(b.rest().get("/api/v1/vms").await.json()["total"], 0);
        })
        .await;
}
