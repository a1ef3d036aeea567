//! A SQLite file is one server's, and the server that has it notices when it is gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reqwest::StatusCode;
use serde_json::json;

use crate::database::{TestDatabase, database_folder};
use crate::harness::{Exit, Program, Server, eventually};

fn assert_one_sentence(exit: &Exit, words: &str) {
    let sentence = exit.err.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>();
    assert_eq!((exit.code, sentence.len()), (Some(1), 1), "{}", exit.err);
    assert!(sentence[0].contains(words), "{words} is not in: {}", sentence[0]);
}

/// What a second server says that is given this URL.
async fn second(url: &str) -> Exit {
    Program::run(&["serve", "--listen", "127.0.0.1:0", "--database-url", url]).await
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

#[tokio::test]
async fn a_second_server_is_refused_by_whatever_name_it_calls_the_file() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    let file = database.file();
    let folder = file.parent().unwrap();
    // On the same file system, so that the file can have a second name there.
    let elsewhere = database_folder("aetherium-elsewhere-");
    symlink(&file, elsewhere.path().join("link.db")).unwrap();
    symlink(folder, elsewhere.path().join("folder")).unwrap();
    let names = [
        file.clone(),
        folder.join(".").join("..").join(folder.file_name().unwrap()).join("cluster.db"),
        elsewhere.path().join("link.db"),
        elsewhere.path().join("folder").join("cluster.db"),
    ];
    for name in &names {
        assert_one_sentence(&second(&url(name)).await, "in use by another Aetherium server");
    }
    assert_one_sentence(&second(&format!("{}?mode=rwc", database.url())).await, "in use by another");
    for direction in ["up", "down"] {
        let exit = Program::run(&["migrate", direction, "--database-url", database.url()]).await;
        assert_one_sentence(&exit, "in use by another");
    }
    let status = Program::run(&["migrate", "status", "--database-url", database.url()]).await;
    assert_eq!((status.code, status.err.as_str()), (Some(0), ""));
    assert!(status.out.lines().all(|line| line.starts_with("applied")), "{}", status.out);

    // Somebody tidies the lock away; the server takes the place again.
    let lock = folder.join("cluster.db-lock");
    fs::remove_file(&lock).unwrap();
    eventually("the lock is there again", async || lock.exists().then_some(())).await;
    assert_one_sentence(&second(database.url()).await, "in use by another");

    // Whatever ends the first one, the next one starts.
    server.kill().await;
    let server = Server::start(&database).await;
    server.stop().await;
    fs::hard_link(&file, elsewhere.path().join("twin.db")).unwrap();
    for name in [&file, &elsewhere.path().join("twin.db")] {
        assert_one_sentence(&second(&url(name)).await, "several names");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_locked_is_not_served() {
    let folder = database_folder("aetherium-locked-");
    // Nobody can open that for writing.
    fs::create_dir(folder.path().join("cluster.db-lock")).unwrap();
    assert_one_sentence(&second(&url(&folder.path().join("cluster.db"))).await, "Cannot lock");
}

/// What may become of the files.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Deleted,
    Replaced,
    MovedAway,
    LogDeleted,
    IndexDeleted,
    LinkTurned,
}

#[tokio::test]
async fn a_server_whose_file_is_gone_acknowledges_nothing_and_ends() {
    for loss in [Loss::Deleted, Loss::Replaced, Loss::MovedAway, Loss::LogDeleted, Loss::IndexDeleted, Loss::LinkTurned]
    {
        for is_busy in [false, true] {
            let folder = database_folder("aetherium-lost-");
            let (real, link) = (folder.path().join("real.db"), folder.path().join("link.db"));
            symlink(&real, &link).unwrap();
            let database = TestDatabase::sqlite_at(&link);
            let server = Server::start(&database).await;
            let body = json!({"hostname": "w", "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024});
            server.put("/workers/w1", &body).await;
            match loss {
                Loss::Deleted => fs::remove_file(&real).unwrap(),
                Loss::Replaced => {
                    fs::copy(&real, folder.path().join("copy.db")).unwrap();
                    fs::rename(folder.path().join("copy.db"), &real).unwrap();
                }
                Loss::MovedAway => fs::rename(&real, folder.path().join("moved.db")).unwrap(),
                Loss::LogDeleted => fs::remove_file(folder.path().join("real.db-wal")).unwrap(),
                Loss::IndexDeleted => fs::remove_file(folder.path().join("real.db-shm")).unwrap(),
                Loss::LinkTurned => {
                    fs::copy(&real, folder.path().join("other.db")).unwrap();
                    fs::remove_file(&link).unwrap();
                    symlink(folder.path().join("other.db"), &link).unwrap();
                }
            }
            if is_busy {
                let http = crate::harness::http();
                let late = http.put(format!("{}/api/v1/workers/w2", server.url)).json(&body).send().await;
                // It may have ended already.
                if let Ok(late) = late {
                    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE, "{loss:?}");
                }
            }
            let exit = server.program.exit().await;
            assert_one_sentence(&exit, "was deleted, moved or replaced");
        }
    }
}
