//! `aetherium migrate`, by hand.

use std::fs;

use sea_orm::DbBackend;

use crate::database::{EmptyDatabase, TestDatabase};
use crate::harness::{Program, Server};

/// What `migrate` says, by line: what became of a migration, and its name; not what was lost with it.
async fn migrate(direction: &str, database: &TestDatabase) -> Vec<(String, String)> {
    let yes: &[&str] = if direction == "down" { &["--yes"] } else { &[] };
    let exit = Program::run(&[&["migrate", direction, "--database-url", database.url()], yes].concat()).await;
    assert_eq!((exit.code, exit.err.as_str()), (Some(0), ""));
    let lines = exit.out.lines().filter(|line| !line.starts_with("lost ")).map(|line| {
        let (became, name) = line.rsplit_once(' ').unwrap();
        (became.trim().to_owned(), name.to_owned())
    });
    lines.collect()
}

on_both_databases! {
    async fn migrations_go_up_and_down_by_hand(empty: EmptyDatabase) {
        let EmptyDatabase(database) = empty;
        if database.backend() == DbBackend::Sqlite {
            // A path that is mistyped is not a database, and does not become one.
            for direction in ["status", "down"] {
                let exit = Program::run(&["migrate", direction, "--database-url", database.url()]).await;
                assert_eq!((exit.code, exit.out.as_str()), (Some(1), ""));
                assert!(exit.err.contains("does not exist") && exit.err.lines().count() == 1, "{}", exit.err);
                assert!(fs::read_dir(database.file().parent().unwrap()).unwrap().next().is_none(), "nothing is made");
            }
            fs::write(database.file(), "").unwrap();
        }
        let all = migrate("status", &database).await;
        assert!(all.len() >= 3 && all.iter().all(|(became, _)| became == "pending"), "{all:?}");
        let names: Vec<_> = all.iter().map(|(_, name)| name.clone()).collect();
        let every = |became: &str| names.iter().map(|name| (became.to_owned(), name.clone())).collect::<Vec<_>>();

        // A server that may not touch the tables says what is missing.
        let serve = ["serve", "--listen", "127.0.0.1:0", "--no-migrate", "--database-url", database.url()];
        let exit = Program::run(&serve).await;
        assert_eq!(exit.code, Some(1));
        assert!(exit.err.contains("aetherium migrate up") && exit.err.lines().count() == 1, "{}", exit.err);

        assert_eq!(migrate("up", &database).await, every("applied"));
        assert_eq!(migrate("up", &database).await, [("nothing to".to_owned(), "do".to_owned())]);
        assert_eq!(migrate("status", &database).await, every("applied"));
        let server = Server::start_with(&database, &["--no-migrate"]).await;
        assert_eq!(server.get("/workers").await["total"], 0);
        server.stop().await;

        // Without being sure, nothing is taken back, and what would be lost is told.
        let down = Program::run(&["migrate", "down", "--database-url", database.url()]).await;
        assert_eq!((down.code, down.err.lines().count()), (Some(1), 1), "{}", down.err);
        assert!(down.err.contains("Nothing was changed") && down.err.contains("--yes"), "{}", down.err);
        assert!(down.out.lines().all(|line| line.starts_with("would lose ")) && !down.out.is_empty(), "{}", down.out);
        assert_eq!(migrate("status", &database).await, every("applied"));

        if database.backend() == DbBackend::Postgres {
            // A change that the database refuses only when it is committed has lost nothing.
            let refusal = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                           $$ BEGIN RAISE EXCEPTION 'refused at the end'; END $$; \
                           CREATE CONSTRAINT TRIGGER refusal AFTER DELETE ON seaql_migrations \
                           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()";
            database.execute(refusal).await;
            let down = Program::run(&["migrate", "down", "--yes", "--database-url", database.url()]).await;
            assert_eq!((down.code, down.out.as_str()), (Some(1), ""), "{}", down.err);
            assert!(down.err.lines().last().unwrap().contains("refused at the end"), "{}", down.err);
            assert_eq!(migrate("status", &database).await, every("applied"));
            database.execute("DROP FUNCTION refuse CASCADE").await;
        }

        let last = names.last().unwrap().clone();
        assert_eq!(migrate("down", &database).await, [("taken back".to_owned(), last.clone())]);
        assert_eq!(migrate("status", &database).await.last(), Some(&("pending".to_owned(), last)));
        for _ in 1..names.len() {
            migrate("down", &database).await;
        }
        assert_eq!(migrate("status", &database).await, every("pending"));

        // And back again, all of it, by the server itself.
        Server::start(&database).await.stop().await;
        assert_eq!(migrate("status", &database).await, every("applied"));
    }
}
