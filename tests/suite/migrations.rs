//! The database's shape: made by migrations, undone by them, and never taken for granted.

use aetherium::clock::Clock;
use aetherium::graphql::GraphqlOptions;
use aetherium::http::HttpOptions;
use aetherium::journal::Database;
use aetherium::journal::Retention;
use aetherium::resolvers::Timing;
use aetherium::server::{Options, Server};
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

on_both_databases! {
    async fn migrations_go_up_down_and_up_again(db: TestDatabase) {
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

    async fn every_migration_can_be_undone_by_itself(db: TestDatabase) {
        let database = Database::connect(db.url()).await.unwrap();
        database.migrate().await.unwrap();
        for undone in 1..=Migrator::migrations().len() {
            database.migrate_back(1).await.unwrap();
            let pending = database.migrations().await.unwrap().into_iter().filter(|(_, is_applied)| !is_applied);
            assert_eq!(pending.count(), undone);
        }
        database.close().await.unwrap();
    }

    async fn a_server_that_may_not_migrate_says_what_to_do(db: TestDatabase) {
        let options = Options {
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
