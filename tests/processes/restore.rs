//! Backup and restore as the documents tell them, with the programs that they name.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::harness::{Server, http};

/// A program of PostgreSQL, where its server's programs are.
fn postgres_program(name: &str) -> PathBuf {
    let mut folders: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.path().join("bin"))
        .collect();
    // The newest first: it reads what the older ones serve.
    folders.sort_by_key(|folder| {
        std::cmp::Reverse(folder.parent().and_then(|it| it.file_name()?.to_str()?.parse::<u32>().ok()))
    });
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|program| program.exists());
    found.unwrap_or_else(|| name.into())
}

fn run(program: &str, arguments: &[impl AsRef<OsStr>]) {
    let output = Command::new(postgres_program(program)).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn register(server: &Server, id: &str) {
    let worker = json!({"hostname": id, "address": "192.0.2.1:1", "cpu_cores": 4, "memory_mb": 1024});
    server.put(&format!("/workers/{id}"), &worker).await;
}

/// The place after all that has happened.
async fn end(server: &Server) -> String {
    server.get("/events?limit=500").await["end_cursor"].as_str().unwrap().to_owned()
}

/// The lines of a stream of events, up to one of this kind about this worker.
async fn told_up_to(server: &Server, after: &str, kind: &str, worker: Value) -> Vec<(Value, Value)> {
    let url = format!("{}/api/v1/events?after={after}", server.url);
    let mut response = http().get(url).header("accept", "application/x-ndjson").send().await.unwrap();
    let (mut told, mut text) = (Vec::new(), Vec::new());
    loop {
        text.extend(response.chunk().await.unwrap().expect("the stream goes on"));
        while let Some(line) = text.iter().position(|byte| *byte == b'\n') {
            let event: Value = serde_json::from_slice(&text[..line]).unwrap();
            text.drain(..=line);
            told.push((event["kind"].clone(), event["worker_id"].clone()));
            if event["kind"] == kind && event["worker_id"] == worker {
                return told;
            }
        }
    }
}

on_both_databases! {
    async fn a_backup_is_taken_and_restored_as_documented(database: TestDatabase) {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("backup").display().to_string();
        let server = Server::start(&database).await;
        for n in 0..3 {
            register(&server, &format!("kept{n}")).await;
        }
        let kept = end(&server).await;
        // While the server runs.
        match database.url().strip_prefix("sqlite://") {
            Some(_) => database.execute(&format!("VACUUM INTO '{backup}'")).await,
            None => run("pg_dump", &["--format=custom", &format!("--file={backup}"), database.url()]),
        }
        for n in 0..35 {
            register(&server, &format!("lost{n}")).await;
        }
        let lost = end(&server).await;
        let (revision, _) = server.read("/workers").await;
        server.stop().await;

        match database.url().strip_prefix("sqlite://") {
            Some(file) => {
                for beside in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{file}{beside}"));
                }
                std::fs::copy(&backup, file).unwrap();
            }
            None => {
                let dbname = format!("--dbname={}", database.url());
                run("pg_restore", &["--clean", "--if-exists", "--exit-on-error", &dbname, &backup]);
            }
        }
        let server = Server::start(&database).await;
        assert_eq!(server.get("/workers").await["total"], 3);
        let refused = async |path: String, code: u16| {
            let (status, body) = server.ask(&path).await;
            assert_eq!((status.as_u16(), &body["code"]), (code, &json!(code)), "{path}: {body}");
        };
        refused(format!("/events?after={lost}"), 400).await;
        refused(format!("/workers?min_revision={revision}"), 409).await;
        let told = told_up_to(&server, &lost, "resync", Value::Null).await;
        assert_eq!(told.len(), 1, "{told:?}");
        // As many as were lost, and more: the same numbers stand for other commits now.
        for n in 0..40 {
            register(&server, &format!("new{n}")).await;
        }
        assert!(server.read("/workers").await.0 > revision);
        refused(format!("/events?after={lost}"), 400).await;
        let told = told_up_to(&server, &lost, "resync", Value::Null).await;
        assert_eq!(told.len(), 1, "{told:?}");
        let told = told_up_to(&server, &kept, "worker_registered", json!("new39")).await;
        let new: Vec<_> = (0..40).map(|n| (json!("worker_registered"), json!(format!("new{n}")))).collect();
        assert_eq!(told, new, "what was seen before the backup is what it has");
        server.stop().await;
    }
}
