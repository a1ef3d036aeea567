//! The database's shape: made by migrations, undone by them, and never taken for granted.

use aetherium::clock::Clock;
use aetherium::graphql::GraphqlOptions;
use aetherium::http::HttpOptions;
use aetherium::journal::Database;
use aetherium::journal::Retention;
use aetherium::server::{Server, ServerOptions};
use aetherium::timing::Timing;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::harness::*;

/// The tables there are, besides the one that remembers migrations.
async fn tables(database: &Database) -> Vec<String> {
    let backend = database.backend();
    let sql = match backend {
        DbBackend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
        }
        _ => {
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY name"
        }
    };
    let rows = database.readers().query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    let names = rows.iter().map(|row| row.try_get::<String>("", "name").unwrap());
    names.filter(|name| name != "seaql_migrations").collect()
}

/// A start of a worker's process on a start of its host.
async fn start(cluster: &TestCluster, id: &str, boot: &str, host: &str) -> Answer {
    let mut registration = worker(id).registration();
    registration["boot_id"] = boot.into();
    registration["host_boot_id"] = host.into();
    cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await
}

on_both_databases! {
    async fn migrations_go_up_down_and_up_again(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        for _ in 0..2 {
            assert!(!database.is_migrated().await.unwrap());
            database.migrate().await.unwrap();
            database.migrate().await.unwrap();
            assert!(database.is_migrated().await.unwrap());
            assert_eq!(tables(&database).await, ["cluster", "epoch", "event", "kept_answer", "purged_worker", "vm", "worker"]);
            database.migrate_back(u32::MAX).await.unwrap();
            assert_eq!(tables(&database).await, [] as [&str; 0]);
        }
        database.close().await.unwrap();
        TestCluster::on(&db).await.add([worker("w1").vms([vm("vm-1")])]).await;
    }

    async fn every_migration_can_be_undone_by_itself(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        database.migrate().await.unwrap();
        for undone in 1..=Migrator::migrations().len() {
            database.migrate_back(1).await.unwrap();
            let pending = database.migrations().await.unwrap().into_iter().filter(|(_, is_applied)| !is_applied);
            assert_eq!(pending.count(), undone);
        }
        database.close().await.unwrap();
    }

    // What an older program cannot read, it cannot be put back for.
    async fn what_is_known_of_earlier_starts_is_read_by_the_program_before(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        for id in ["w1", "w2"] {
            for n in 1..=2 {
                assert!(start(&cluster, id, &format!("b{n}"), &format!("h{n}")).await.status < 300);
            }
        }
        assert_eq!(cluster.rest().delete("/api/v1/workers/w2?purge=true").await.status, 204);
        cluster.into_server().stop().await;

        let database = Database::connect(db.url()).await.unwrap();
        database.migrate_back(1).await.unwrap();
        for table in ["worker", "purged_worker"] {
            let sql = format!("SELECT CAST(earlier_boot_ids AS text) AS ids FROM {table}");
            let rows = Statement::from_string(database.backend(), sql);
            let rows = database.readers().query_all_raw(rows).await.unwrap();
            let ids: Vec<String> = rows.iter().map(|row| row.try_get("", "ids").unwrap()).collect();
            assert_eq!(ids, [r#"["b1"]"#], "{table}");
        }
        database.migrate().await.unwrap();
        database.close().await.unwrap();
        let cluster = TestCluster::on(&db).await;
        for id in ["w1", "w2"] {
            // On which start of its host it was is lost: it is over wherever it is.
            for host in ["h1", "h9"] {
                let late = start(&cluster, id, "b1", host).await;
                assert_eq!(late.status, 409, "{id} {host}: {}", late.body);
            }
            let next = start(&cluster, id, "b3", "h3").await;
            assert_eq!(next.json()["incarnation"], 3, "{id}: {}", next.body);
        }
    }

    // Beside servers of this version, which goes on for as long as one by one is replaced. It knows the names of starts only:
    // it adds to them, and forgets the oldest.
    async fn what_the_program_before_writes_of_starts_is_understood(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        for n in 1..=4 {
            assert!(start(&cluster, "w1", &format!("b{n}"), &format!("h{n}")).await.status < 300);
        }
        let older = async |database: &TestDatabase| {
            database.execute(r#"UPDATE worker SET earlier_boot_ids = '["b2", "b3", "b9"]'"#).await;
        };
        let cluster = cluster.restart_after(older).await;
        for (boot, host) in [("b2", "h2"), ("b3", "h3"), ("b9", "h1"), ("b9", "h9")] {
            let late = start(&cluster, "w1", boot, host).await;
            assert_eq!(late.status, 409, "{boot} {host}: {}", late.body);
        }
        assert_eq!(start(&cluster, "w1", "b3", "h5").await.status, 200, "a program that always says the same");
    }

    async fn a_server_that_may_not_migrate_says_what_to_do(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let options = ServerOptions {
            database_url: db.url().to_owned(),
            migrate: false,
            timing: Timing::default(),
            retention: Retention::default(),
            http: HttpOptions::default(),
            graphql: GraphqlOptions::default(),
        };
        let refusal = Server::start(options, Clock::system()).await.unwrap_err().to_string();
        assert!(refusal.contains("has not been migrated: run `aetherium migrate up` first"), "{refusal}");
    }

    async fn two_databases_never_have_the_same_name(db: TestDatabase) {
        let other = TestDatabase::sqlite();
        let (one, another) = (TestCluster::on(&db).await, TestCluster::on(&other).await);
        let name = |cluster: &TestCluster| cluster.server().journal().snapshot().epochs.latest().clone();
        assert_ne!(name(&one), name(&another));
        assert_eq!(name(&one).len(), 12);
        let before = name(&one);
        assert_eq!(name(&one.restart().await), before);
    }
}
