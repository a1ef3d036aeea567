//! The database fails: nothing is lost, nothing is made up, and everybody is told what to do.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

const NOTHING_CHANGED: &str =
    "The database is not available. Nothing was changed as far as the server knows; try again shortly.";

on_both_databases! {
    async fn what_a_thousand_workers_use_outlives_a_restart(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let ids: Vec<String> = (0..1_000).map(|n| format!("w{n:03}")).collect();
        let registrations = ids.iter().map(|id| {
            cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker("w").registration()).into_future()
        });
        assert!(join_all(registrations).await.iter().all(|answer| answer.status == 201));
        // Each uses something else, and something else each time. With a key they are committed together, which is more
        // than one statement may carry.
        for (round, count) in [(1, 1_000), (2, 7), (3, 1), (4, 515)] {
            cluster.advance(seconds(1));
            let beats: Vec<_> = ids[..count].iter().zip(1..).map(|(id, n)| {
                json!({
                    "worker_id": id, "incarnation": 1, "sequence": (n % 2 == 0).then_some(round),
                    "used_cpu_cores": n + round, "used_memory_mb": 2 * n, "used_disk_gb": 3 * n + round, "vms": [],
                })
            }).collect();
            let key = format!("round-{round}");
            let body = json!({"heartbeats": beats});
            let answer = cluster.rest().post("/api/v1/heartbeats").header("idempotency-key", &key).json(body).await;
            assert_eq!(answer.json()["results"].as_array().unwrap().len(), count);
            let (last, n) = (cluster.worker(&ids[count - 1]).await, i32::try_from(count).unwrap());
            assert_eq!([&last["used_cpu_cores"], &last["used_disk_gb"]], [&json!(n + round), &json!(3 * n + round)]);
        }
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    async fn what_heartbeats_without_news_say_outlives_a_restart(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let reporting = |id| worker(id).vms([vm("vm-1")]);
        cluster.add([reporting("w1"), reporting("w2"), worker("w3").without_heartbeat()]).await;
        let owner = async |cluster: &TestCluster| {
            cluster.rest().get("/api/v1/vms/vm-1").await.json()["worker_id"].take()
        };
        assert_eq!(owner(&cluster).await, "w2");
        let history = cluster.history().await;
        // The same inventory again is no news, but makes w1 the last to have reported the VM.
        let same = Value::from(vm("vm-1"));
        for (id, beat, resync) in [
            ("w1", json!({"incarnation": 1, "sequence": 7, "used_cpu_cores": 5, "vms": [same]}), false),
            ("w2", json!({"incarnation": 1, "used_memory_mb": 6, "used_disk_gb": 7}), false),
            ("w3", json!({"incarnation": 1, "sequence": 9, "used_cpu_cores": 8}), true),
            ("w3", json!({"incarnation": 1, "used_disk_gb": 9}), true),
        ] {
            cluster.advance(seconds(1));
            assert_eq!(cluster.beat(id, beat).await.json()["resync"], resync, "{id}");
        }
        assert_eq!(cluster.history().await, history);
        let before = cluster.everything().await;

        let cluster = cluster.restart().await;
        assert_eq!(cluster.everything().await, before);
        assert_eq!(owner(&cluster).await, "w1");
        for (id, sequence) in [("w1", 7), ("w3", 9)] {
            let late = json!({"incarnation": 1, "sequence": sequence, "used_cpu_cores": 1});
            assert_eq!(cluster.beat(id, late).await.json()["resync"], id == "w3", "{id}");
        }
        for (id, seen) in [("w1", 0), ("w3", 2)] {
            let (mut now, mut then) = (cluster.worker(id).await, before["/api/v1/workers"]["workers"][seen].clone());
            assert!(now["revision"].take().as_u64() > then["revision"].take().as_u64(), "{id} was heard");
            then["last_seen"] = now["last_seen"].clone();
            assert_eq!(now, then, "what {id} said late is no news");
        }
        assert_eq!(cluster.beat("w2", json!({"incarnation": 1, "sequence": 1, "used_cpu_cores": 1})).await.status, 200);
        assert_eq!(cluster.worker("w2").await["used_cpu_cores"], 1, "it had no number before");
    }

    async fn what_heartbeats_say_together_with_and_without_news_outlives_a_restart(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let reporting = |n: usize| worker(&format!("w{n}")).vms([vm(&format!("vm-{n}"))]);
        cluster.add((1..=4).map(reporting).chain([worker("w5").without_heartbeat()])).await;
        cluster.advance(seconds(1));
        let (same, other) = (Value::from(vm("vm-2")), Value::from(vm("vm-1").size(4, 4096)));
        // With a key, so that they are one batch on both databases.
        let body = json!({"heartbeats": [
            {"worker_id": "w1", "incarnation": 1, "sequence": 3, "vms": [other]},
            {"worker_id": "w2", "incarnation": 1, "sequence": 4, "used_cpu_cores": 7, "vms": [same]},
            {"worker_id": "w3", "incarnation": 1, "used_memory_mb": 8},
            {"worker_id": "w4", "incarnation": 1, "sequence": 5, "used_disk_gb": 9},
            {"worker_id": "w5", "incarnation": 1, "used_disk_gb": 6},
            {"worker_id": "w1", "incarnation": 1, "sequence": 6, "used_disk_gb": 5},
            {"worker_id": "w4", "incarnation": 1, "sequence": 6, "used_disk_gb": 8},
        ]});
        let beaten = cluster.rest().post("/api/v1/heartbeats").header("idempotency-key", "k").json(body).await.json();
        assert_eq!(pick(&beaten["results"], ["status"]), [[200]; 7]);
        let before = cluster.everything().await;

        let cluster = cluster.restart().await;
        assert_eq!(cluster.everything().await, before);
        for (id, sequence, resync) in [("w1", 6, false), ("w2", 4, false), ("w4", 6, false)] {
            let late = json!({"incarnation": 1, "sequence": sequence, "used_cpu_cores": 1});
            assert_eq!(cluster.beat(id, late).await.json()["resync"], resync, "{id}");
        }
        for (id, seen) in [("w1", 0), ("w2", 1), ("w4", 3)] {
            let (mut now, mut then) = (cluster.worker(id).await, before["/api/v1/workers"]["workers"][seen].clone());
            assert!(now["revision"].take().as_u64() > then["revision"].take().as_u64(), "{id} was heard");
            then["last_seen"] = now["last_seen"].clone();
            assert_eq!(now, then, "what {id} said late is no news");
        }
        for (id, resync) in [("w3", false), ("w5", true)] {
            let first = json!({"incarnation": 1, "sequence": 1, "used_cpu_cores": 1});
            assert_eq!(cluster.beat(id, first).await.json()["resync"], resync, "{id}");
            assert_eq!(cluster.worker(id).await["used_cpu_cores"], 1, "{id} had no number before");
        }
    }

    /// Another server's clock may have been ahead, or a machine's was set back while no server ran: a time that has not
    /// come yet would keep a worker alive for as long.
    async fn a_worker_is_seen_by_the_clock_as_it_is_now(db: TestDatabase) {
        let ahead = TestCluster::on(&db).await;
        ahead.add([worker("w1")]).await;
        ahead.advance(seconds(10));
        ahead.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 1})).await;

        ahead.into_server().stop().await;
        let behind = TestCluster::on(&db).await;
        for cores in [2, 3] {
            let beaten = behind.beat("w1", json!({"incarnation": 1, "used_cpu_cores": cores})).await;
            assert_eq!(beaten.status, 200, "{}", beaten.body);
        }
        let before = behind.worker("w1").await;
        assert_eq!([&before["last_seen"], &before["used_cpu_cores"]], [&json!(START), &json!(3)]);
        assert_eq!(behind.restart().await.worker("w1").await, before);
    }

    async fn heartbeats_that_failed_halfway_leave_nothing_open(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        db.execute("ALTER TABLE worker RENAME TO worker_mislaid").await;
        // One that may be a statement by itself, and one that is part of a transaction.
        let beat = json!({"worker_id": "w1", "incarnation": 1, "used_cpu_cores": 3});
        for _ in 0..2 {
            cluster.beat("w1", beat.clone()).await.assert_failure(503, NOTHING_CHANGED);
            let body = json!({"heartbeats": [beat]});
            let keyed = cluster.rest().post("/api/v1/heartbeats").header("idempotency-key", "k").json(body).await;
            keyed.assert_failure(503, NOTHING_CHANGED);
        }
        assert_eq!(cluster.everything().await, before);
        db.execute("ALTER TABLE worker_mislaid RENAME TO worker").await;
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200);
        assert_eq!(cluster.beat("w1", beat).await.status, 200);
        assert_eq!(cluster.revision(), 4, "no revision was used up");
        let after = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, after);
    }

    // A server whose last commit hangs gives its database up in the end; what comes later would meet another server's.
    async fn nothing_is_written_to_a_database_that_was_closed(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        cluster.server().journal().database().clone().close().await.unwrap();
        let next = TestCluster::on(&db).await;
        let before = next.everything().await;
        for _ in 0..2 {
            assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 503);
            assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 503);
        }
        assert_eq!(next.restart().await.everything().await, before);
    }

    // semantics 23; regression: any database error was a 404
    async fn what_cannot_be_stored_is_a_503_and_has_not_happened(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let before = (cluster.everything().await, cluster.history().await);

        db.execute("ALTER TABLE event RENAME TO event_mislaid").await;
        for (method, path) in [
            ("POST", "/api/v1/workers/w1/drain"),
            ("DELETE", "/api/v1/workers/w1"),
            ("DELETE", "/api/v1/workers/w1?purge=true&force=true"),
        ] {
            let answer = cluster.rest().ask(method, path).await;
            answer.assert_failure(503, NOTHING_CHANGED);
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        let answer = cluster.rest().put("/api/v1/workers/w2").json(worker("w2").registration()).await;
        answer.assert_failure(503, NOTHING_CHANGED);
        cluster.rest().post("/api/v1/workers/w9/drain").await.assert_failure(404, "Worker not found: w9");
        assert_eq!(cluster.everything().await, before.0, "questions are answered, and nothing has happened");

        db.execute("ALTER TABLE event_mislaid RENAME TO event").await;
        assert_eq!((cluster.everything().await, cluster.history().await), before);
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200);
        assert_eq!(cluster.revision(), 3, "no revision was used up");
        let after = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, after);
    }

    // regression: a failed lookup service stopped heartbeats
    async fn heartbeats_go_on_while_something_they_do_not_need_is_broken(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        db.execute("ALTER TABLE event RENAME TO event_mislaid").await;
        cluster.advance(seconds(30));
        // Together in one batch: the one that fails does not take the others with it.
        let (drain, first, second) = tokio::join!(
            cluster.rest().post("/api/v1/workers/w1/drain").into_future(),
            cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 3})),
            cluster.beat("w2", json!({"incarnation": 1})),
        );
        assert_eq!([drain.status, first.status, second.status], [503, 200, 200]);
        let w1 = cluster.worker("w1").await;
        assert_eq!(
            [&w1["last_seen"], &w1["used_cpu_cores"], &w1["status"]],
            [&json!("2025-11-02T10:00:30Z"), &json!(3), &json!("active")]
        );
    }
}

#[tokio::test]
async fn a_database_that_is_gone_for_a_while_is_a_503_until_it_is_back() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            cluster.add([worker("w1")]).await;
            let before = cluster.everything().await;

            db.cut_off().await;
            for _ in 0..2 {
                let answer = cluster.rest().post("/api/v1/workers/w1/drain").await;
                answer.assert_failure(503, NOTHING_CHANGED);
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
            assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 503);
            let health = cluster.rest().get("/api/v1/health").await;
            assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")), "{}", health.body);
            let components = &health.json()["components"];
            for (component, expected) in [("database", "unavailable"), ("journal", "ok"), ("commits", "unavailable")] {
                assert_eq!(components[component], expected, "{component}: {}", health.body);
            }
            assert_eq!(cluster.everything().await, before, "questions are answered from memory");

            db.let_in().await;
            assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200);
            assert_eq!(cluster.rest().get("/api/v1/health").await.status, 200);
            assert_eq!(cluster.revision(), 3);
        })
        .await;
}

/// A connection that is lost under a whole batch: each command is answered once, and what was answered with a success is
/// there. Nothing is decided twice, so no worker has lived twice.
#[tokio::test]
async fn a_connection_lost_under_a_batch_loses_and_repeats_nothing() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            let mut acknowledged = Vec::new();
            for round in 0..5 {
                let registrations = join_all((0..40).map(async |n| {
                    let id = format!("w{round}-{n}");
                    let answer =
                        cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker(&id).registration()).await;
                    (id, answer)
                }));
                let ((), answers) = tokio::join!(db.cut_off_once(), registrations);
                for (id, answer) in answers {
                    match answer.status {
                        201 => acknowledged.push(id),
                        503 => answer.assert_house_shape(),
                        other => panic!("{other}: {}", answer.body),
                    }
                }
                // The next one finds out what became of the lost ones.
                let id = format!("after-{round}");
                while cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker(&id).registration()).await.status
                    == 503
                {}
            }
            let all = cluster.rest().get("/api/v1/workers").await.json();
            let known: Vec<_> = all["workers"].as_array().unwrap().iter().map(|worker| worker["id"].as_str()).collect();
            for id in &acknowledged {
                assert!(known.contains(&Some(id.as_str())), "{id} was acknowledged");
            }
            let restarts = cluster.history().await.into_iter().filter(|event| event.starts_with("worker_restarted w"));
            assert_eq!(restarts.count(), 0, "nobody registered twice");
            let before = cluster.everything().await;
            assert_eq!(cluster.restart().await.everything().await, before);
        })
        .await;
}

/// On PostgreSQL, where transactions of several servers wait for each other.
#[tokio::test]
async fn servers_take_turns_whatever_isolation_the_database_prefers() {
    let prefer_serializable = "DO $$ BEGIN EXECUTE format( \
        'ALTER DATABASE %I SET default_transaction_isolation TO serializable', current_database()); END $$";
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            db.execute(prefer_serializable).await;
            let (a, b) = (TestCluster::on(&db).await, TestCluster::on(&db).await);
            a.add([worker("w1"), worker("w2")]).await;
            for _ in 0..20 {
                let beat = || json!({"incarnation": 1});
                let (first, second) = tokio::join!(a.beat("w1", beat()), b.beat("w2", beat()));
                assert_eq!([first.status, second.status], [200, 200]);
            }
        })
        .await;
}

/// On SQLite, whose log would grow as long as the server runs: no commit brings it into the database.
#[tokio::test]
async fn the_server_brings_a_long_log_into_the_database() {
    let db = TestDatabase::sqlite();
    let cluster = TestCluster::on(&db).await;
    cluster.add([worker("w1")]).await;
    let size = || std::fs::metadata(db.file()).unwrap().len();
    let (before, bytes) = (size(), 40 * 1024 * 1024);
    db.execute(&format!(
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE filler (bytes BLOB); INSERT INTO filler VALUES (zeroblob({bytes}))"
    ))
    .await;
    in_time(async {
        while size() < before + bytes {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 200);
}
