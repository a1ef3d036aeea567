//! Tables are changed by one server at a time, and only if they are ours.

use std::path::Path;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use sea_orm::DbBackend;
use serde_json::{Value, json};

use crate::database::{EmptyDatabase, TestDatabase};
use crate::harness::{Exit, Lock, Program, Server};

/// How many servers start together.
const SERVERS: usize = 5;

fn assert_refused(exit: &Exit, words: &[&str]) {
    let Exit { code, out, err } = exit;
    assert_eq!((*code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
    for words in words {
        assert!(err.contains(words), "{words} is not in: {err}");
    }
}

/// Everything that could touch a database.
async fn all_refuse(url: &str, words: &[&str]) {
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0", "--database-url", url][..],
        &["serve", "--listen", "127.0.0.1:0", "--no-migrate", "--database-url", url],
        &["migrate", "up", "--database-url", url],
        &["migrate", "down", "--database-url", url],
        &["migrate", "status", "--database-url", url],
    ] {
        assert_refused(&Program::run(arguments).await, words);
    }
}

async fn migrate(direction: &str, database: &TestDatabase) {
    let yes: &[&str] = if direction == "down" { &["--yes"] } else { &[] };
    let exit = Program::run(&[&["migrate", direction, "--database-url", database.url()], yes].concat()).await;
    assert_eq!(exit.code, Some(0), "{}", exit.err);
}

#[tokio::test]
async fn servers_that_start_together_on_an_empty_database_all_start() {
    let behaviour = async |database: TestDatabase| {
        // First on an empty one, then with some migrations pending.
        for pending in [0, 1, 2] {
            for _ in 0..pending {
                migrate("down", &database).await;
            }
            let servers = join_all((0..SERVERS).map(|_| Server::start(&database))).await;
            for server in servers {
                server.is_well().await;
                server.stop().await;
            }
        }
    };
    TestDatabase::postgres_without_tables().await.run(behaviour).await;
}

#[tokio::test]
async fn who_has_nothing_to_change_needs_no_right_to() {
    let behaviour = async |database: TestDatabase| {
        migrate("up", &database).await;
        let role = format!("reader_{}", uuid::Uuid::new_v4().simple());
        database
            .execute(&format!(
                "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
            ))
            .await;
        let (_, server) = database.url().split_once('@').unwrap();
        let url = format!("postgres://{role}@{server}");
        for further in [&[][..], &["--no-migrate"]] {
            let server = Server::start_on(&url, &database, further).await;
            server.is_well().await;
            server.stop().await;
        }
        let status = Program::run(&["migrate", "status", "--database-url", &url]).await;
        assert_eq!(status.code, Some(0), "{}", status.err);

        migrate("down", &database).await;
        let exit = Program::run(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url]).await;
        assert_eq!(exit.code, Some(1));
        let sentence = exit.err.lines().last().unwrap();
        assert!(sentence.contains("Cannot migrate") && sentence.contains("permission denied"), "{sentence}");
        database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    };
    TestDatabase::postgres_without_tables().await.run(behaviour).await;
}

on_both_databases! {
    async fn a_database_of_something_else_is_left_alone(empty: EmptyDatabase) {
        let EmptyDatabase(database) = empty;
        if database.backend() == DbBackend::Sqlite {
            std::fs::write(database.file(), "").unwrap();
        }
        database.execute("CREATE TABLE users (id int)").await;
        let before = files(&database);
        all_refuse(database.url(), &["belongs to something else", "users"]).await;
        assert_eq!(files(&database), before, "nothing is changed in it");
        // Of another program that keeps its migrations in the same way.
        database.execute("DROP TABLE users").await;
        database.execute("CREATE TABLE seaql_migrations (version varchar(255) PRIMARY KEY, applied_at bigint)").await;
        database.execute("INSERT INTO seaql_migrations VALUES ('m20220101_000001_create_post', 1)").await;
        all_refuse(database.url(), &["belongs to something else"]).await;
        database.execute("DELETE FROM seaql_migrations").await;
        Server::start(&database).await.stop().await;
    }

    // As it was made by builds from before the first release, all of whose migrations began with this one.
    async fn a_database_from_before_the_first_release_is_left_alone(empty: EmptyDatabase) {
        let EmptyDatabase(database) = empty;
        if database.backend() == DbBackend::Sqlite {
            std::fs::write(database.file(), "").unwrap();
        }
        for sql in [
            "CREATE TABLE seaql_migrations (version varchar PRIMARY KEY NOT NULL, applied_at bigint NOT NULL)",
            "INSERT INTO seaql_migrations VALUES ('m20261123_000001_cluster', 1), ('m20261123_000002_workers', 1)",
            "CREATE TABLE worker (id text PRIMARY KEY NOT NULL, left_at text)",
            "INSERT INTO worker VALUES ('w1', NULL)",
        ] {
            database.execute(sql).await;
        }
        if database.backend() == DbBackend::Sqlite {
            database.execute("PRAGMA journal_mode = WAL").await;
        }
        let before = files(&database);
        all_refuse(database.url(), &["from before the first release", "start with a new file or an empty database"]).await;
        // Asked for its state, it is read as beside a server, which leaves an empty log there. The next to open it takes that away.
        assert_refused(&Program::run(&["migrate", "up", "--database-url", database.url()]).await, &[]);
        assert_eq!(files(&database), before, "nothing is changed in it");
        if database.backend() == DbBackend::Sqlite {
            let log = database.file().with_extension("db-wal");
            assert!(!log.exists(), "{} is left behind", log.display());
        }
    }

    async fn tables_of_a_newer_version_are_used_until_it_takes_something_away(database: TestDatabase) {
        Server::start(&database).await.stop().await;
        // It has added something, which does no harm.
        database.execute("INSERT INTO seaql_migrations VALUES ('m29991231_000001_of_the_future', 1)").await;
        for further in [&[][..], &["--no-migrate"]] {
            let server = Server::start_with(&database, further).await;
            server.is_well().await;
            server.stop().await;
        }
        let status = Program::run(&["migrate", "status", "--database-url", database.url()]).await;
        assert_eq!((status.code, status.out.lines().last()), (Some(0), Some("newer    m29991231_000001_of_the_future")));
        // Only the version that knows a migration can take it back.
        let newer = ["newer version of Aetherium", "m29991231_000001_of_the_future"];
        for further in [&[][..], &["--yes"]] {
            let down = [&["migrate", "down", "--database-url", database.url()], further].concat();
            assert_refused(&Program::run(&down).await, &newer);
        }

        let server = Server::start(&database).await;
        database.execute("INSERT INTO seaql_migrations VALUES ('m29991231_000002_less_contract', 1)").await;
        let exit = server.program.exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.err);
        let sentence = exit.err.lines().last().unwrap();
        for words in ["A newer version of Aetherium has changed the tables", "m29991231_000002_less_contract"] {
            assert!(sentence.contains(words), "{sentence}");
        }
        all_refuse(database.url(), &["newer version of Aetherium", "m29991231_000002_less_contract"]).await;
    }

    // Whoever knows of the unknown ones has applied what was before them.
    async fn tables_that_lack_something_and_have_something_unknown_are_refused(database: TestDatabase) {
        Server::start(&database).await.stop().await;
        migrate("down", &database).await;
        database.execute("INSERT INTO seaql_migrations VALUES ('m29991231_000001_of_the_future', 1)").await;
        all_refuse(database.url(), &["newer version of Aetherium", "m29991231_000001_of_the_future"]).await;
    }
}

/// A migration of a newer version that holds its locks for longer than the commits of an older server wait for them: that one
/// is in an outage when it is committed, and neither commits nor polls fit the tables afterwards.
#[tokio::test]
async fn a_server_in_an_outage_learns_that_a_newer_version_has_taken_something_away() {
    let after = async |table: &str, change: &str| {
        let database = TestDatabase::postgres().await;
        let mut server = Server::start(&database).await;
        let migration =
            Lock::take(database.url(), &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await;
        let worker = json!({
            "hostname": "w1.example.com", "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 8_192, "boot_id": "1",
        });
        let (status, answer) = server.change(Method::PUT, "/workers/w1", Some(&worker)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        let is_outage = |line: &Value| line["message"] == "the database does not take commits";
        server.program.logged("the outage", is_outage).await;
        migration
            .commit(&format!("{change}; INSERT INTO seaql_migrations VALUES ('m29991231_000001_less_contract', 1)"))
            .await;
        let exit = server.program.exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.err);
        let sentence = exit.err.lines().last().unwrap();
        for words in ["A newer version of Aetherium has changed the tables", "m29991231_000001_less_contract"] {
            assert!(sentence.contains(words), "{sentence}");
        }
    };
    tokio::join!(
        after("worker", "ALTER TABLE worker DROP COLUMN hostname"),
        // What polls read.
        after("cluster", "ALTER TABLE cluster RENAME COLUMN epoch TO era"),
    );
}

/// The database's file as it is, except for the lock beside it.
fn files(database: &TestDatabase) -> Option<Vec<u8>> {
    let is_sqlite = database.backend() == DbBackend::Sqlite;
    is_sqlite.then(|| std::fs::read(Path::new(&database.file())).unwrap())
}
