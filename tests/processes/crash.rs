//! kill -9 under load: what was acknowledged is there, and nothing is there by half. The load is `harness::storm`.

use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

use crate::database::TestDatabase;
use crate::harness::storm::Storm;
use crate::harness::{Postgres, Server, http};

/// How often the server is killed.
const KILLS: u64 = 8;

async fn a_storm_with_kills(database: TestDatabase) {
    let mut server = Server::start(&database).await;
    let mut storm = Storm::gather(&server, &http()).await;
    for kill in 1..=KILLS {
        let client = http();
        let mut raging = storm.rage(&server, &client);
        // Somewhere in the middle of it, and never at the same place.
        raging.wait_for(rand::random_range(100..700)).await;
        server.kill().await;
        let (_, promised) = raging.subside(&mut storm).await;

        server = Server::start(&database).await;
        let found = server.revision;
        assert!(found >= promised, "kill {kill}: revision {promised} was promised, {found} is found");
        storm.settle(&server).await;
    }
    server.stop().await;
    assert_is_sound(&database).await;
}

mod what_was_acknowledged_outlives_a_kill_in_a_storm {
    use super::*;

    #[tokio::test]
    async fn sqlite() {
        TestDatabase::sqlite().run(a_storm_with_kills).await;
    }

    /// On one that waits for the disk, and that is killed as well in the end.
    #[tokio::test]
    async fn postgres() {
        let mut postgres = Postgres::start().await;
        postgres.execute("postgres", "CREATE DATABASE cluster").await.unwrap();
        let database = TestDatabase::at(format!("postgres://postgres@{}/cluster", postgres.address()));
        let server = Server::start(&database).await;
        let client = http();
        let mut storm = Storm::gather(&server, &client).await;
        let mut raging = storm.rage(&server, &client);
        raging.wait_for(200).await;
        server.kill().await;
        let (_, promised) = raging.subside(&mut storm).await;
        postgres.crash().await;
        postgres.resume().await;
        let server = Server::start(&database).await;
        assert!(server.revision >= promised, "{promised} was promised, {} is found", server.revision);
        storm.settle(&server).await;
        server.stop().await;
        postgres.execute("postgres", "DROP DATABASE cluster WITH (FORCE)").await.unwrap();
        postgres.execute("postgres", "CREATE DATABASE cluster").await.unwrap();
        a_storm_with_kills(database).await;
    }
}

/// Asks SQLite whether its file is whole. PostgreSQL was not killed.
async fn assert_is_sound(database: &TestDatabase) {
    if database.backend() == DbBackend::Sqlite {
        let connection = Database::connect(database.url()).await.unwrap();
        for (check, sound) in [("PRAGMA integrity_check", &["ok"][..]), ("PRAGMA foreign_key_check", &[])] {
            let rows = connection.query_all_raw(Statement::from_string(DbBackend::Sqlite, check)).await.unwrap();
            let words: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
            assert_eq!(words, sound, "{check}");
        }
    }
}
