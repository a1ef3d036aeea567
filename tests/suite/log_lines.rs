//! What operators read in the log: each fact once, with the ids of those it is about.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::*;

/// Lines of a log, as they are written.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// What was written since the last look.
    pub fn take_text(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// The lines since the last look.
    fn take(&self) -> Vec<Value> {
        self.take_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What is logged by this thread, until the guards are dropped.
fn listen() -> (Lines, impl Drop, tracing::Dispatch) {
    listen_at(tracing::Level::INFO)
}

/// The same, down to a level.
pub fn listen_at(level: tracing::Level) -> (Lines, impl Drop, tracing::Dispatch) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_max_level(level).with_writer(move || writer.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    // With a second one, tracing asks both whether anybody wants a line, and does not remember what another test said.
    (lines, guard, tracing::Dispatch::new(tracing_subscriber::registry()))
}

on_both_databases! {
    async fn each_worker_that_goes_offline_is_named_and_a_flood_is_not(cluster: TestCluster) {
        let (lines, _guard, _second) = listen();
        cluster.add((0..3).map(|n| worker(&format!("w{n}")))).await;
        cluster.advance(minutes(2));
        lines.take();
        assert_eq!(cluster.sweep().await, 3);
        let told = lines.take();
        assert_eq!(told.len(), 3, "{told:#?}");
        for (n, line) in told.iter().enumerate() {
            let message = format!("Worker w{n} went offline: it has not been heard from for over 60 s");
            assert_eq!((&line["fields"]["message"], &line["fields"]["worker.id"]), (&json!(message), &json!(format!("w{n}"))));
        }

        cluster.add((100..400).map(|n| worker(&format!("w{n}")))).await;
        // One goes on, or the server would take it for its own deafness.
        cluster.advance(minutes(2));
        cluster.beat("w0", json!({"incarnation": 1})).await;
        lines.take();
        assert_eq!(cluster.sweep().await, 300);
        let told = lines.take();
        assert_eq!(told.len(), 21, "{told:#?}");
        let last = &told[20]["fields"];
        assert_eq!(last["message"], "And 280 more workers went offline, from w120 on");
        assert_eq!(last["workers.offline"], 300);
    }

    async fn a_command_is_one_line_that_says_why(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let (lines, _guard, _second) = listen();
        let drain = json!({"reason": "new \"disks\""});
        for _ in 0..2 {
            cluster.rest().post("/api/v1/workers/w1/drain").json(drain.clone()).await;
        }
        let told = lines.take();
        assert_eq!(told.len(), 1, "asking again is no news: {told:#?}");
        let fields = &told[0]["fields"];
        assert_eq!(fields["message"], r#"Worker w1 is draining: "new \"disks\"""#);
        assert_eq!((&fields["worker.id"], &fields["reason"]), (&json!("w1"), &json!("new \"disks\"")));

        cluster.graphql("mutation { activateWorker(input: {workerId: \"w1\"}) { changed } }").await;
        let told = lines.take();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert_eq!(told[0]["fields"]["message"], "Worker w1 is active");

        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        cluster.rest().delete("/api/v1/workers/w1").await;
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        let told: Vec<_> = lines.take().iter().map(|line| line["fields"]["message"].clone()).collect();
        assert_eq!(told, ["Worker w1 registered, incarnation 2", "Worker w1 was taken out of service", "Worker w1 was removed"]);
    }
}
