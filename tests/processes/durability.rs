//! On the disk before it is acknowledged: that it is so cannot be switched off unnoticed.
//!
//! A process that is killed loses nothing that it gave to the system, so no test that kills one can tell whether anybody
//! waited for the disk. What is looked at here is the waiting.

use std::collections::HashMap;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::database::TestDatabase;
use crate::harness::{Server, Trace};

/// How many commands are looked at, one after the other.
const COMMANDS: usize = 20;

async fn register(server: &Server, id: &str) {
    let body = json!({"hostname": id, "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024});
    let (status, answer) = server.change(Method::PUT, &format!("/workers/{id}"), Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

/// What of the record matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// SQLite's log is on the disk.
    Synced,
    /// An answer is given.
    Answered,
}

fn steps(trace: &str) -> Vec<Step> {
    let is_sync = |call: &str| call.contains("fsync(") || call.contains("fdatasync(");
    // Which threads wait for the log, where the record of a call is in two pieces.
    let mut unfinished = HashMap::new();
    let mut steps = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        if is_sync(call) && call.contains("-wal>") {
            if call.contains("<unfinished") {
                unfinished.insert(thread, ());
            } else if call.trim_end().ends_with("= 0") {
                steps.push(Step::Synced);
            }
        } else if call.contains("sync resumed>") && call.trim_end().ends_with("= 0") {
            if unfinished.remove(thread).is_some() {
                steps.push(Step::Synced);
            }
        } else if call.contains("\"HTTP/1.1 20") {
            steps.push(Step::Answered);
        }
    }
    steps
}

#[tokio::test]
async fn sqlite_waits_for_the_disk_before_each_answer() {
    let database = TestDatabase::sqlite();
    let server = Server::start(&database).await;
    register(&server, "before").await;
    let trace = Trace::of(&server.program, "fsync,fdatasync,write,writev,sendto,sendmsg").await;
    for number in 0..COMMANDS {
        register(&server, &format!("w{number}")).await;
    }
    let trace = trace.end().await;
    let steps = steps(&trace);
    let answers = steps.iter().filter(|step| **step == Step::Answered).count();
    assert_eq!(answers, COMMANDS, "each answer is seen:\n{trace}");
    let mut is_synced = false;
    for (place, step) in steps.iter().enumerate() {
        match step {
            Step::Synced => is_synced = true,
            Step::Answered => {
                assert!(is_synced, "step {place} answers what is not on the disk: {steps:?}\n{trace}");
                is_synced = false;
            }
        }
    }
    server.stop().await;
}

/// Somebody may have thought that it makes everything quicker, for a role or a database.
#[tokio::test]
async fn postgresql_is_waited_for_whatever_is_set_for_the_database() {
    TestDatabase::postgres()
        .await
        .run(async |database: TestDatabase| {
            Server::start(&database).await.stop().await;
            database
                .execute(
                    "CREATE SCHEMA audit; CREATE TABLE audit.commit (setting text); \
                     CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                       INSERT INTO audit.commit VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
                     CREATE TRIGGER note AFTER INSERT OR UPDATE ON worker EXECUTE FUNCTION audit.note()",
                )
                .await;
            for (setting, expected) in [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")] {
                database
                    .execute(&format!(
                        "DO $$ BEGIN EXECUTE format( \
                         'ALTER DATABASE %I SET synchronous_commit TO {setting}', current_database()); END $$"
                    ))
                    .await;
                let server = Server::start(&database).await;
                register(&server, setting).await;
                // By the quick way, too.
                let beat = json!({"incarnation": 1});
                let path = format!("/workers/{setting}/heartbeat");
                assert_eq!(server.change(Method::POST, &path, Some(&beat)).await.0, StatusCode::OK);
                server.stop().await;
                database
                    .execute(&format!(
                        "DO $$ BEGIN ASSERT (SELECT count(*) >= 2 AND bool_and(setting = '{expected}') FROM audit.commit), \
                         (SELECT string_agg(setting, ' ') FROM audit.commit); END $$; TRUNCATE audit.commit"
                    ))
                    .await;
            }
        })
        .await;
}
