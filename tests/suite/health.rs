//! How a server says it is: by what became of its commits, not by whether the database can be asked.

use aetherium::auth::Caller;
use aetherium::cluster::DrainRequest;
use aetherium::journal::commands::{PolicyRequest, Precondition, SetPolicy};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use serde_json::json;

use crate::harness::*;

const HEALTH: &str = "/api/v1/health";

/// Checks that reads work, commits do not, and nobody takes the server for dead.
async fn assert_degraded(cluster: &TestCluster) {
    let health = cluster.rest().get(HEALTH).await;
    assert_eq!(health.status, 200, "questions are answered");
    let health = health.json();
    assert_eq!([&health["status"], &health["components"]["commits"]], ["degraded", "unavailable"], "{health}");
    assert_eq!(cluster.rest().get("/api/v1/health?require=commits").await.status, 503);
    assert_eq!(cluster.rest().get("/api/v1/health?require=journal").await.status, 200);
    assert_eq!(cluster.rest().get("/api/v1/workers").await.status, 200);
}

/// Waits until all is well. Nobody sends a command meanwhile.
async fn recovery(cluster: &TestCluster) {
    let healthy = async {
        while cluster.rest().get("/api/v1/health?require=commits&require=database").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    in_time(healthy).await;
    assert_eq!(cluster.rest().get(HEALTH).await.json()["status"], "ok");
}

on_both_databases! {
    async fn tables_that_are_not_ours_any_more_are_told(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        for (table, breaks_all) in [("idempotency_record", false), ("event", false), ("worker", true), ("cluster", true)] {
            db.execute(&format!("ALTER TABLE {table} RENAME TO mislaid")).await;
            let drain = cluster.rest().post("/api/v1/workers/w1/drain").header("idempotency-key", table).await;
            assert_eq!(drain.status, 503, "{table}");
            assert_degraded(&cluster).await;
            let beat = cluster.beat("w1", json!({"incarnation": 1})).await;
            assert_eq!(beat.status, if breaks_all { 503 } else { 200 }, "{table}: what does not need it goes on");
            assert_degraded(&cluster).await;
            db.execute(&format!("ALTER TABLE mislaid RENAME TO {table}")).await;
            recovery(&cluster).await;
            assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200, "{table}");
            assert_eq!(cluster.rest().post("/api/v1/workers/w1/activate").await.status, 200, "{table}");
        }
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    // What only a server's first commit needs.
    async fn a_server_that_cannot_begin_its_epoch_says_so(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        let cluster = cluster.restart().await;
        db.execute("ALTER TABLE epoch RENAME TO mislaid").await;
        for _ in 0..3 {
            assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 503);
            assert_degraded(&cluster).await;
        }
        db.execute("ALTER TABLE mislaid RENAME TO epoch").await;
        recovery(&cluster).await;
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200);
    }

    async fn a_command_that_is_wrong_says_nothing_about_the_server(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let odd = [("POST", "/api/v1/workers/none/drain"), ("DELETE", "/api/v1/workers/none")];
        for (method, path) in odd {
            assert_eq!(cluster.rest().ask(method, path).await.status, 404);
        }
        assert_eq!(cluster.rest().get(HEALTH).await.json()["status"], "ok");
    }

    async fn what_has_to_work_can_be_chosen(cluster: TestCluster) {
        for (query, status) in [
            ("", 200), ("?require=commits", 200), ("?require=database&require=commits&require=journal", 200),
            ("?require=replication", 200), ("?require=", 400), ("?require=luck", 400),
        ] {
            assert_eq!(cluster.rest().get(&format!("{HEALTH}{query}")).await.status, status, "{query}");
        }
    }

    async fn both_protocols_tell_the_same(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let told = cluster.graphql("{ health { status components { name status } stalenessSeconds timestamp } }").await;
        let told = &told["health"];
        let rest = cluster.rest().get(HEALTH).await.json();
        assert_eq!((&told["status"], &rest["status"]), (&json!("OK"), &json!("ok")));
        let names = ["database", "journal", "commits", "replication"];
        let components = names.map(|name| json!({"name": name, "status": "OK"}));
        assert_eq!(told["components"], json!(components));
        assert_eq!(rest["components"], json!(names.iter().map(|name| (*name, "ok")).collect::<std::collections::BTreeMap<_, _>>()));
        for staleness in [&told["stalenessSeconds"], &rest["staleness_seconds"]] {
            let is_told = staleness.as_f64().is_some_and(|age| age >= 0.0);
            assert!(is_told && (cluster.takes_several_servers() || *staleness == 0.0), "{staleness}");
        }
    }

    async fn health_makes_no_commits_while_all_is_well(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        let (before, written) = (cluster.statements_sent(), last_written(&db, &cluster).await);
        for _ in 0..5 {
            assert_eq!(cluster.rest().get(HEALTH).await.status, 200);
        }
        if !cluster.takes_several_servers() {
            assert_eq!(cluster.statements_sent(), before, "the database is only asked whether it answers");
        }
        assert_eq!(last_written(&db, &cluster).await, written);
    }
}

/// What no commit leaves as it was, not even one that changes nothing: SQLite's log, or which transaction wrote the row of
/// the cluster.
async fn last_written(db: &TestDatabase, cluster: &TestCluster) -> Vec<u8> {
    if db.backend() == DbBackend::Sqlite {
        return std::fs::read(format!("{}-wal", db.file().display())).unwrap();
    }
    let sql = Statement::from_string(DbBackend::Postgres, "SELECT xmin::text FROM cluster");
    let row = cluster.server().journal().database().readers().query_one_raw(sql).await.unwrap().unwrap();
    row.try_get_by_index::<String>(0).unwrap().into_bytes()
}

/// What a failover leaves behind: sessions on a server that does not lead any more.
#[tokio::test]
async fn sessions_that_became_read_only_are_not_used_again() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            cluster.add([worker("w1")]).await;
            let set = |value: &str| {
                format!(
                    "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format( \
                     'ALTER DATABASE %I SET default_transaction_read_only TO {value}', current_database()); END $$; COMMIT"
                )
            };
            for _ in 0..2 {
                db.execute(&set("on")).await;
                db.cut_off_once().await;
                for _ in 0..2 {
                    assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 503);
                    assert_degraded(&cluster).await;
                }
                // Only for sessions to come: those that are there stay as they are.
                db.execute(&set("off")).await;
                recovery(&cluster).await;
                assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200);
                assert_eq!(cluster.rest().post("/api/v1/workers/w1/activate").await.status, 200);
                let readers = cluster.server().journal().database().readers();
                let mut held = Vec::new();
                for _ in 0..8 {
                    let session = readers.begin().await.unwrap();
                    let sql = Statement::from_string(DbBackend::Postgres, "SHOW default_transaction_read_only");
                    let row = session.query_one_raw(sql).await.unwrap().unwrap();
                    assert_eq!(row.try_get_by_index::<String>(0).unwrap(), "off");
                    held.push(session);
                }
            }
        })
        .await;
}

/// A server that commits nothing would follow for ever what does not lead any more.
#[tokio::test]
async fn a_read_only_session_is_noticed_without_a_command() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            cluster.add([worker("w1")]).await;
            let set = |value: &str| {
                format!(
                    "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format( \
                     'ALTER DATABASE %I SET default_transaction_read_only TO {value}', current_database()); END $$; COMMIT"
                )
            };
            db.execute(&set("on")).await;
            db.cut_off_once().await;
            let degraded = async {
                while cluster.rest().get("/api/v1/health?require=commits").await.status != 503 {
                    tokio::task::yield_now().await;
                }
            };
            in_time(degraded).await;
            assert_degraded(&cluster).await;
            db.execute(&set("off")).await;
            recovery(&cluster).await;
        })
        .await;
}

/// On PostgreSQL, where the row that all commits wait for can be held.
#[tokio::test]
async fn a_queue_that_is_full_is_not_ok() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            cluster.add([worker("w1")]).await;
            let database = cluster.server().journal().database();
            let held = database.readers().begin().await.unwrap();
            held.execute_unprepared("SELECT FROM cluster FOR UPDATE").await.unwrap();
            let mut waiting = Vec::new();
            let drain = || SetPolicy {
                worker_id: "w1".to_owned(),
                change: PolicyRequest::Drain(DrainRequest::default()),
                condition: Precondition::default(),
            };
            while let Ok(submitted) = cluster.server().journal().submit(drain(), &Caller::server()) {
                waiting.push(submitted);
                tokio::task::yield_now().await;
            }
            assert_degraded(&cluster).await;
            held.rollback().await.unwrap();
            for submitted in waiting {
                in_time(submitted.committed()).await.unwrap();
            }
            recovery(&cluster).await;
        })
        .await;
}
