//! `aetherium token`, on the database: before a server was ever started, and beside one that runs.

use std::fs;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use serde_json::json;

use crate::database::{EmptyDatabase, TestDatabase};
use crate::harness::{Program, Server, eventually, http};

/// What `aetherium token` prints, by line.
async fn token(arguments: &[&str], database: &TestDatabase) -> Vec<String> {
    let arguments = [&["token"], arguments, &["--database-url", database.url()]].concat();
    let exit = Program::run(&arguments).await;
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.err);
    exit.out.lines().map(str::to_owned).collect()
}

/// The only line that it prints.
async fn created(arguments: &[&str], database: &TestDatabase) -> String {
    let lines = token(arguments, database).await;
    let [text] = &*lines else { panic!("{lines:?}") };
    text.clone()
}

/// The status of a query with this token.
async fn status(server: &Server, token: Option<&str>) -> StatusCode {
    let ask = http().get(format!("http://{}/api/v1/workers", server.address));
    let ask = match token {
        Some(token) => ask.header(AUTHORIZATION, format!("Bearer {token}")),
        None => ask,
    };
    ask.send().await.unwrap().status()
}

on_both_databases! {
    async fn the_first_token_may_be_made_before_the_first_start(database: EmptyDatabase) {
        let EmptyDatabase(database) = database;
        let admin = created(&["create", "--role", "admin", "--name", "alice"], &database).await;
        let server = Server::start_with(&database, &["--no-migrate"]).await;
        assert_eq!(status(&server, None).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&server, Some(&admin)).await, StatusCode::OK);
        server.stop().await;
    }

    async fn tokens_are_made_and_taken_back_beside_a_running_server(database: TestDatabase) {
        let server = Server::start(&database).await;
        assert_eq!(status(&server, None).await, StatusCode::OK);
        let admin = created(&["create", "--role", "admin", "--name", "alice"], &database).await;
        // Nothing else is committed meanwhile: the server looks by itself.
        eventually("the server to ask for a token", async || {
            (status(&server, None).await == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
        assert_eq!(status(&server, Some(&admin)).await, StatusCode::OK);
        let viewer = created(&["create", "--role", "viewer", "--name", "grafana", "--expires-in", "90d"], &database).await;
        eventually("the viewer to be let in", async || {
            (status(&server, Some(&viewer)).await == StatusCode::OK).then_some(())
        })
        .await;
        let listed = token(&["list"], &database).await;
        assert_eq!(listed.len(), 2, "{listed:?}");
        let id = &viewer[4..16];
        let line = listed.iter().find(|line| line.starts_with(id)).unwrap();
        assert!(line.contains("viewer    live") && line.ends_with("grafana"), "{line}");
        assert!(listed.iter().all(|line| !line.contains(&viewer[16..])), "{listed:?}");
        assert_eq!(token(&["revoke", id], &database).await, [format!("revoked {id} (grafana)")]);
        eventually("the viewer to be refused", async || {
            (status(&server, Some(&viewer)).await == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
        assert_eq!(status(&server, Some(&admin)).await, StatusCode::OK);
        server.stop().await;
        let server = Server::start(&database).await;
        assert_eq!(status(&server, Some(&viewer)).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&server, Some(&admin)).await, StatusCode::OK);
        server.stop().await;
    }

    async fn a_sign_in_link_is_made_beside_a_running_server_and_counts_once(database: TestDatabase) {
        let server = Server::start(&database).await;
        let link = ["sign-in", "--role", "viewer", "--server", "https://cluster.example/below"];
        let refused = Program::run(&[&["token"], &link[..], &["--database-url", database.url()]].concat()).await;
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
        assert!(refused.err.contains("asks for no token, so there is nothing to sign in to"), "{}", refused.err);
        assert_eq!(status(&server, None).await, StatusCode::OK, "it is open still");

        created(&["create", "--role", "admin", "--name", "alice"], &database).await;
        let link = created(&link, &database).await;
        let code = link.strip_prefix("https://cluster.example/below/#code=").unwrap_or_else(|| panic!("{link}"));
        let sign_in = async || {
            let ask = http().post(format!("http://{}/api/v1/session", server.address));
            ask.json(&json!({"code": code})).send().await.unwrap()
        };
        let opened = eventually("the server to know the code", async || {
            let answer = sign_in().await;
            (answer.status() == StatusCode::CREATED).then_some(answer)
        })
        .await;
        let cookie = opened.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let asked = http().get(format!("http://{}/api/v1/workers", server.address)).header(COOKIE, &cookie).send().await.unwrap();
        assert_eq!(asked.status(), StatusCode::OK);
        assert_eq!(sign_in().await.status(), StatusCode::UNAUTHORIZED);
        let listed = token(&["list"], &database).await;
        let states: Vec<_> = listed.iter().map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>()).collect();
        assert!(states.contains(&vec!["sign_in_code", "viewer", "revoked"]), "{listed:?}");
        assert!(states.contains(&vec!["session", "viewer", "live"]), "{listed:?}");
        server.stop().await;
    }

    async fn a_server_is_handed_an_administrators_token_or_makes_one(database: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admin.token");
        let handed = ["--admin-token-file", file.to_str().unwrap()];
        // There is no moment in which it would be open.
        let server = Server::start_with(&database, &handed).await;
        let made = fs::read_to_string(&file).unwrap().trim().to_owned();
        assert_eq!((status(&server, None).await, status(&server, Some(&made)).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
        server.stop().await;
        let server = Server::start_with(&database, &handed).await;
        assert_eq!(status(&server, Some(&made)).await, StatusCode::OK);
        let listed = token(&["list"], &database).await;
        assert!(listed.len() == 1 && listed[0].ends_with("  admin token file"), "{listed:?}");
        server.stop().await;
        token(&["revoke", &made[4..16]], &database).await;
        let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()];
        let exit = Program::run(&[&serve[..], &handed].concat()).await;
        assert_eq!(exit.code, Some(1), "{}", exit.err);
        assert!(exit.err.contains("(--admin-token-file)") && exit.err.contains("was revoked"), "{}", exit.err);
        assert!(!exit.err.contains(&made[16..]), "{}", exit.err);
    }

    async fn what_cannot_be_made_is_told_in_one_line(database: TestDatabase) {
        Server::start(&database).await.stop().await;
        for (arguments, problem) in [
            (&["create", "--role", "root", "--name", "x"][..], "role must be one of viewer, operator, admin, worker"),
            (&["create", "--role", "viewer", "--name", ""], "name"),
            (&["create", "--role", "worker", "--name", "x"], "worker_id is needed"),
            (&["revoke", "000000000000"], "Token not found: 000000000000"),
            (&["sign-in", "--role", "worker"], "role must be one of viewer, operator, admin"),
            (&["sign-in", "--role", "admin", "--server", "localhost"], "--server"),
        ] {
            let exit = Program::run(&[&["token"], arguments, &["--database-url", database.url()]].concat()).await;
            assert_eq!((exit.code, exit.out.as_str()), (Some(1), ""), "{arguments:?}");
            assert!(exit.err.contains(problem) && exit.err.lines().count() == 1, "{arguments:?}: {}", exit.err);
        }
        assert_eq!(token(&["list"], &database).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_stays_as_it_is() {
    let EmptyDatabase(database) = EmptyDatabase(TestDatabase::sqlite());
    // A path that is mistyped is not a database of ours, and is left as it is.
    fs::write(database.file(), "no database").unwrap();
    let create = ["token", "create", "--role", "admin", "--name", "alice", "--database-url", database.url()];
    let exit = Program::run(&create).await;
    assert_eq!((exit.code, exit.out.as_str()), (Some(1), ""));
    assert_eq!(fs::read_to_string(database.file()).unwrap(), "no database");
}
