//! The disk under a SQLite file fails, and recovers: what was acknowledged is there after a restart, what was not is there
//! whole or not at all, and the server goes on by itself.
//!
//! Each kind of fault is met once, twice and five times in a row, with and without a command that changes nothing right
//! after it, and each server ends in order or by kill -9.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::database::TestDatabase;
use crate::harness::{Injection, Lock, Server, SmallDisk, eventually};

/// How many workers register after a fault.
const AFTERWARDS: usize = 20;

/// How many servers suffer at the same time: nearly all of it is waiting.
const AT_ONCE: usize = 6;

/// One way through.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// How many commands meet the fault.
    faults: usize,
    /// Whether a command that changes nothing comes between the fault and the next one that does.
    has_noop: bool,
    /// How the server ends.
    is_killed: bool,
}

fn courses(counts: &'static [usize]) -> impl Iterator<Item = Course> {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    counts
        .iter()
        .flat_map(move |faults| ways.map(|(has_noop, is_killed)| Course { faults: *faults, has_noop, is_killed }))
}

/// A server, what it has promised, and what it has not.
struct Trial {
    database: TestDatabase,
    server: Server,
    promised: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Trial {
    async fn begin(database: TestDatabase) -> Self {
        let server = Server::start(&database).await;
        let mut trial = Self { database, server, promised: BTreeSet::new(), refused: BTreeSet::new() };
        assert_eq!(trial.register("before").await, StatusCode::CREATED);
        trial
    }

    async fn register(&mut self, id: &str) -> StatusCode {
        let body = json!({"hostname": id, "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024});
        let (status, answer) = self.server.change(Method::PUT, &format!("/workers/{id}"), Some(&body)).await;
        match status {
            StatusCode::CREATED => self.promised.insert(id.to_owned()),
            StatusCode::SERVICE_UNAVAILABLE => self.refused.insert(id.to_owned()),
            other => panic!("{other}: {answer}"),
        };
        status
    }

    /// While the fault lasts.
    async fn suffer(&mut self, course: Course) {
        for fault in 0..course.faults {
            assert_eq!(self.register(&format!("during-{fault}")).await, StatusCode::SERVICE_UNAVAILABLE, "{course:?}");
        }
        let (status, health) = self.server.ask("/health").await;
        assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("degraded")), "{course:?}: {health}");
        assert_eq!(health["components"]["commits"], "unavailable", "{course:?}: {health}");
        let (status, _) = self.server.ask("/health?require=commits").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{course:?}");
        self.server.get("/workers").await;
    }

    /// When it is over.
    async fn recover(mut self, course: Course) {
        // Nobody has to send anything for that.
        eventually("the server finds out by itself", async || {
            (self.server.get("/health").await["status"] == "ok").then_some(())
        })
        .await;
        if course.has_noop {
            let (status, answer) = self.server.change(Method::POST, "/workers/before/activate", None).await;
            assert_eq!(status, StatusCode::OK, "{course:?}: {answer}");
        }
        for n in 0..AFTERWARDS {
            assert_eq!(self.register(&format!("after-{n}")).await, StatusCode::CREATED, "{course:?}");
        }
        let before = known(&self.server).await;
        if course.is_killed {
            self.server.kill().await;
        } else {
            self.server.stop().await;
        }

        let server = Server::start(&self.database).await;
        let after = known(&server).await;
        assert_eq!(after, before, "{course:?}: memory was what the disk was");
        let ids: BTreeSet<_> = after.iter().map(|(id, _)| id.clone()).collect();
        assert!(ids.is_superset(&self.promised), "{course:?}: {:?} are lost", self.promised.difference(&ids));
        let told: Vec<_> = server.log(0).await.into_iter().filter(|event| event.kind == "worker_registered").collect();
        let told: Vec<_> = told.into_iter().filter_map(|event| event.worker_id).collect();
        assert_eq!(told.len(), ids.len(), "{course:?}: the log and the workers tell of the same: {told:?}");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), ids, "{course:?}");
        assert!(ids.iter().all(|id| self.promised.contains(id) || self.refused.contains(id)), "{course:?}");
        server.stop().await;
    }
}

/// The workers a server knows, and at what revisions they changed last.
async fn known(server: &Server) -> Vec<(String, Value)> {
    let workers = server.get("/workers").await["workers"].take();
    let workers = workers.as_array().unwrap().iter();
    workers.map(|worker| (worker["id"].as_str().unwrap().to_owned(), worker["revision"].clone())).collect()
}

async fn all(courses: impl Iterator<Item = Course>, take: impl AsyncFn(Course)) {
    let take = &take;
    stream::iter(courses)
        .map(|course| async move { take(course).await })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    all(courses(&[1, 2, 5]), async |course| {
        let disk = SmallDisk::mount(2_048).await;
        let mut trial = Trial::begin(TestDatabase::sqlite_at(&disk.path().join("cluster.db"))).await;
        disk.fill();
        trial.suffer(course).await;
        disk.free();
        trial.recover(course).await;
    })
    .await;
}

async fn injected(what: &str, counts: &'static [usize]) {
    all(courses(counts), async |course| {
        let database = TestDatabase::sqlite();
        let mut trial = Trial::begin(database.clone()).await;
        let log = database.file().with_extension("db-wal");
        let fault = Injection::into(&trial.server.program, &log, what).await;
        trial.suffer(course).await;
        fault.end().await;
        trial.recover(course).await;
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_loses_nothing() {
    injected("write,pwrite64,pwritev:error=EIO", &[1, 2]).await;
}

/// What a file system does when it finds itself damaged.
#[tokio::test]
async fn a_disk_that_becomes_read_only_loses_nothing() {
    injected("write,pwrite64,pwritev,ftruncate:error=EROFS", &[1]).await;
}

#[tokio::test]
async fn a_disk_that_does_not_keep_what_is_written_loses_nothing() {
    injected("fsync,fdatasync:error=EIO", &[1, 2, 5]).await;
}

#[tokio::test]
async fn somebody_elses_lock_loses_nothing() {
    for begin in ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"] {
        all(courses(&[1]), async |course| {
            let database = TestDatabase::sqlite();
            let mut trial = Trial::begin(database.clone()).await;
            let lock = Lock::take(database.url(), begin).await;
            trial.suffer(course).await;
            lock.release().await;
            trial.recover(course).await;
        })
        .await;
    }
}

/// A disk that hangs: a commit is given up, and may come to its end when nobody waits for it any more.
#[tokio::test]
async fn a_disk_that_hangs_is_told_and_loses_nothing() {
    let database = TestDatabase::sqlite();
    let mut trial = Trial::begin(database.clone()).await;
    let log = database.file().with_extension("db-wal");
    let course = Course { faults: 2, has_noop: true, is_killed: true };
    let fault = Injection::into(&trial.server.program, &log, "fsync,fdatasync:delay_enter=20000000:when=1").await;
    let before = std::time::Instant::now();
    trial.suffer(course).await;
    assert!(before.elapsed() < std::time::Duration::from_secs(20), "nobody waits for the disk");
    fault.end().await;
    trial.recover(course).await;
}
