//! What was seen of another life of the database: after a restore from a backup, and of a copy that lives on beside it.
//!
//! Cursors, tags and revisions that were told by what is lost must not be taken for those of what there is now, however
//! far the database has come since; those from before the backup was taken stay good.

use std::collections::BTreeSet;

use sea_orm::DbBackend;
use serde_json::{Value, json};

use crate::harness::*;

const SSE: (&str, &str) = ("accept", "text/event-stream");
const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");
const EVENTS: &str = "subscription($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }";
const LOST: &str = "or of what this one was before it was restored from a backup";

async fn register(cluster: &TestCluster, id: &str) {
    let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(worker(id).registration()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

async fn drain(cluster: &TestCluster, id: &str, reason: &str) {
    let answer = cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).json(json!({"reason": reason})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// The place after everything, as the list of events tells it.
async fn end(cluster: &TestCluster) -> String {
    cluster.rest().get("/api/v1/events?limit=500").await.json()["end_cursor"].as_str().unwrap().to_owned()
}

/// What a client keeps of what it has seen.
struct Seen {
    end: String,
    revision: u64,
    /// An answer's path, tag and body.
    tags: Vec<(&'static str, String, String)>,
    /// Of the first of several pages in an order that moves.
    next_page: String,
    after_page: Value,
}

const PATHS: [&str; 7] = [
    "/api/v1/workers",
    "/api/v1/workers/w1",
    "/api/v1/workers?sort=-last_seen&limit=1",
    "/api/v1/vms",
    "/api/v1/vms/vm-1",
    "/api/v1/cluster/stats",
    "/api/v1/events",
];

async fn look(cluster: &TestCluster) -> Seen {
    let mut tags = Vec::new();
    for path in PATHS {
        let answer = cluster.rest().get(path).await;
        tags.push((path, answer.header("etag").unwrap().to_owned(), answer.body));
    }
    let link = cluster.rest().get("/api/v1/workers?sort=-last_seen&limit=1").await.header("link").unwrap().to_owned();
    let next_page = format!("/api/v1/workers{}", &link[1..link.find('>').unwrap()]);
    let page =
        "{ workersConnection(first: 1, orderBy: {field: LAST_SEEN, direction: DESC}) { pageInfo { endCursor } } }";
    let after_page = cluster.graphql(page).await["workersConnection"]["pageInfo"]["endCursor"].take();
    Seen { end: end(cluster).await, revision: cluster.revision(), tags, next_page, after_page }
}

/// A stream of events in each protocol, resumed after one cursor.
struct Streams {
    resumed: HttpStream,
    lines: HttpStream,
    graphql: HttpStream,
    socket: Socket,
}

impl Streams {
    async fn resume(cluster: &TestCluster, after: &str) -> Self {
        let port = Port::of(cluster).await;
        let variables = json!({"after": after});
        let body = json!({"query": EVENTS, "variables": variables});
        let path = format!("/api/v1/events?after={after}");
        let mut socket = port.client().await;
        socket.subscribe("1", EVENTS, variables).await;
        Self {
            resumed: HttpStream::get(&port.authority(), "/api/v1/events", &[SSE, ("last-event-id", after)]).await,
            lines: HttpStream::get(&port.authority(), &path, &[NDJSON]).await,
            graphql: HttpStream::post(&port.authority(), "/graphql", &[SSE], &body).await,
            socket,
        }
    }

    /// What each of them tells, up to an event: its kind and worker, without the word that all has been told.
    async fn told_up_to(&mut self, last: &str) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for protocol in 0..4 {
            let mut told: Vec<String> = Vec::new();
            while told.last().is_none_or(|told| told != last) {
                let (event, worker_id) = match protocol {
                    0 => (self.resumed.message().await.json(), "worker_id"),
                    1 => (self.lines.line().await, "worker_id"),
                    2 => (self.graphql.message().await.json()["data"]["clusterEvents"].take(), "workerId"),
                    _ => (self.socket.next("1").await["clusterEvents"].take(), "workerId"),
                };
                let kind = event["kind"].as_str().unwrap().to_lowercase();
                if kind != "synced" {
                    let worker = event[worker_id].as_str().unwrap_or_default();
                    told.push(format!("{kind} {worker}").trim().to_owned());
                }
            }
            all.push(told);
        }
        all
    }
}

/// Nothing of what was seen in another life is believed, whatever has been committed since.
async fn assert_forgotten(cluster: &TestCluster, seen: &Seen) {
    let rest = cluster.rest();
    let Seen { end, tags, next_page, after_page, .. } = seen;
    let refused = rest.get(&format!("/api/v1/events?after={end}")).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.json()["message"].as_str().unwrap().contains(LOST), "{}", refused.body);
    for query in [
        "query($after: Cursor) { events(after: $after) { endCursor } }",
        "query($after: Cursor) { worker(id: \"w1\") { events(first: 3, after: $after) { kind } } }",
    ] {
        let refused = cluster.graphql_answer(query, json!({"after": end})).await;
        let error = &refused["errors"][0];
        assert_eq!(error["extensions"]["code"], "INVALID_ARGUMENT", "{refused}");
        assert!(error["message"].as_str().unwrap().contains(LOST), "{refused}");
    }
    let refused = rest.get(next_page).await;
    assert_eq!(refused.status, 400, "{next_page}: {}", refused.body);
    assert!(refused.json()["message"].as_str().unwrap().contains(LOST), "{}", refused.body);
    let page = "query($after: String) { workersConnection(first: 1, after: $after, orderBy: {field: LAST_SEEN, direction: DESC}) { totalCount } }";
    let refused = cluster.graphql_answer(page, json!({"after": after_page})).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "{refused}");
    for (path, tag, body) in tags {
        let answer = rest.get(path).header("if-none-match", tag).await;
        // Of VMs that nobody has changed, the answer may be the same all the same.
        let is_same = !path.contains("workers") && *body == rest.get(path).await.body;
        assert!(answer.status == 200 || is_same && answer.status == 304, "{path} {tag}: {}", answer.status);
    }
    let (_, worker, _) = &tags[1];
    let answer = rest.post("/api/v1/workers/w1/activate").header("if-match", worker).await;
    assert_eq!(answer.status, 412, "{worker}: {}", answer.body);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("The condition on worker w1 names no revision that this database has"),
        "{worker}: {message}"
    );
}

on_both_databases! {
    // The documented steps: stop, put the backup in place, start.
    async fn what_was_seen_before_a_restore_is_not_believed_after_it(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
        let kept = look(&cluster).await;
        let (backup, cluster) = cluster.back_up().await;
        for n in 0..30 {
            register(&cluster, &format!("lost{n}")).await;
        }
        drain(&cluster, "w1", "lost").await;
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-1", "name": "lost"}]})).await;
        let lost = look(&cluster).await;

        let cluster = cluster.restore(&backup).await;
        assert_eq!(cluster.revision(), kept.revision, "it is what it was");
        assert_eq!(cluster.worker("w1").await["status"], "active");
        // Before anything is committed, and when nobody waits: at once.
        assert_forgotten(&cluster, &lost).await;
        let min_revision = cluster.rest().get(&format!("/api/v1/workers?min_revision={}", lost.revision)).await;
        min_revision.assert_failure(409, &format!(
            "Revision {} is not of this database as it is now, which is at {}: it may have been restored from a backup. \
             Read the present state, and go on from the revision that comes with it.", lost.revision, kept.revision
        ));
        let body = json!({"query": "{ workers { id } }", "extensions": {"minRevision": lost.revision}});
        let answer = cluster.rest().post("/graphql").json(body).await.json();
        assert_eq!(answer["errors"][0]["extensions"]["code"], "CONFLICT", "{answer}");
        let poll = format!("/api/v1/workers?wait=60s&after_revision={}", lost.revision);
        let answer = in_time(cluster.rest().get(&poll).into_future()).await;
        assert_eq!(answer.header("x-revision"), Some(&*kept.revision.to_string()));

        // A stream that is resumed before anything has happened again, and one that comes late.
        let mut streams = Streams::resume(&cluster, &lost.end).await;
        assert_eq!(streams.told_up_to("resync").await, [["resync"]; 4]);
        for n in 0..35 {
            register(&cluster, &format!("new{n}")).await;
        }
        let new: Vec<_> = (0..35).map(|n| format!("worker_registered new{n}")).collect();
        for told in streams.told_up_to("worker_registered new34").await {
            assert_eq!(told, new, "everything that has happened since");
        }
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-1", "name": "lost"}]})).await;
        while cluster.revision() < lost.revision + 3 {
            cluster.beat("w2", json!({"incarnation": 1})).await;
        }
        assert_forgotten(&cluster, &lost).await;
        // A number alone names no epoch, and the database has come as far again: that is documented with conditions.
        let number = format!("\"{}\"", lost.revision);
        let answer = cluster.rest().post("/api/v1/workers/w1/activate").header("if-match", &number).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let port = Port::of(&cluster).await;
        let mut late = HttpStream::get(&port.authority(), "/api/v1/events", &[SSE, ("last-event-id", &lost.end)]).await;
        let told = late.message().await;
        assert_eq!(told.event, "resync");
        assert_eq!(told.json()["cursor"], json!(end(&cluster).await));
        drain(&cluster, "w2", "found").await;
        assert_eq!(late.message().await.event, "worker_drain_started", "it goes on from the present");

        // What was seen before the backup was taken is what the database has.
        for told in Streams::resume(&cluster, &kept.end).await.told_up_to("worker_drain_started w2").await {
            assert_eq!((&told[..35], told.len()), (&new[..], 37), "and a VM's new name: {told:?}");
        }
        assert_eq!(cluster.rest().get(&format!("/api/v1/events?after={}", kept.end)).await.status, 200);
        let answer = cluster.rest().post("/api/v1/workers/w1/drain").header("if-match", &kept.tags[1].1).await;
        assert_eq!(answer.status, 200, "neither its registration nor its policy has changed since: {}", answer.body);
    }

    // Some histories with backups and restores, and what a client has kept of each place in each of them.
    async fn a_cursor_is_believed_exactly_if_its_history_is_the_databases(db: TestDatabase) {
        let mut seed = 0x2545_F491_4F6C_DD17_u64;
        let mut random = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut cluster = TestCluster::on(&db).await;
        register(&cluster, "w1").await;
        let mut kept: Vec<(String, Vec<String>)> = Vec::new();
        let mut backups = Vec::new();
        let mut reason = 0;
        for round in 0..12 {
            match random(4) {
                0 => {
                    let backup;
                    (backup, cluster) = cluster.back_up().await;
                    backups.push(backup);
                }
                1 => cluster = cluster.restart().await,
                _ if !backups.is_empty() => {
                    let at = usize::try_from(random(backups.len() as u64)).unwrap();
                    cluster = cluster.restore(&backups[at]).await;
                }
                _ => {}
            }
            for _ in 0..random(4) {
                reason += 1;
                drain(&cluster, "w1", &format!("reason {reason}")).await;
                cluster.rest().post("/api/v1/workers/w1/activate").await;
            }
            let log = cluster.rest().get("/api/v1/events?limit=500").await.json();
            let history: Vec<_> = log["events"].as_array().unwrap().iter().map(|event| {
                format!("{} {} {}", event["revision"], event["kind"], event["reason"])
            }).collect();
            for (place, event) in log["events"].as_array().unwrap().iter().enumerate() {
                kept.push((event["cursor"].as_str().unwrap().to_owned(), history[..=place].to_vec()));
            }
            kept.push((log["end_cursor"].as_str().unwrap().to_owned(), history.clone()));
            let mut asked = BTreeSet::new();
            for (cursor, before) in &kept {
                if asked.insert(cursor) {
                    let answer = cluster.rest().get(&format!("/api/v1/events?after={cursor}")).await;
                    let expected = if history.starts_with(before) { 200 } else { 400 };
                    assert_eq!(answer.status, expected, "round {round}, {cursor} after {before:?}, now {history:?}: {}", answer.body);
                    if expected == 200 {
                        assert_eq!(answer.json()["events"].as_array().unwrap().len(), history.len() - before.len());
                    }
                }
            }
        }
        assert!(backups.len() > 1, "nothing was ever restored");
    }

    // The tables are put back to what they were under a server that runs, and goes on.
    async fn a_restore_under_a_running_server_begins_another_epoch(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
        let kept = end(&cluster).await;
        db.keep_tables().await;
        for n in 0..5 {
            register(&cluster, &format!("lost{n}")).await;
        }
        drain(&cluster, "w1", "lost").await;
        let lost = look(&cluster).await;
        let port = Port::of(&cluster).await;
        let mut stream = HttpStream::get(&port.authority(), "/api/v1/events", &[SSE]).await;
        assert_eq!(stream.message().await.event, "synced");
        db.put_tables_back().await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(stream.message().await.event, "resync");
        for round in 0..2 {
            assert_forgotten(&cluster, &lost).await;
            while round == 0 && cluster.revision() < lost.revision + 1 {
                cluster.beat("w2", json!({"incarnation": 1})).await;
            }
        }
        assert_eq!(cluster.rest().get(&format!("/api/v1/events?after={kept}")).await.status, 200);
        assert_eq!(cluster.rest().get("/api/v1/workers").await.json()["total"], 2);
    }

    // A copy that lives on beside the original, as one that tests are made on.
    async fn two_copies_do_not_take_each_others_cursors(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
        let (backup, cluster) = cluster.back_up().await;
        // The same worker at the same moment with the same revision, and not the same.
        let extra = async |cluster: &TestCluster, zone: &str| {
            let registration = worker("extra").zone(zone).registration();
            assert_eq!(cluster.rest().put("/api/v1/workers/extra").json(registration).await.status, 201);
        };
        extra(&cluster, "here").await;
        drain(&cluster, "w1", "here").await;
        let here = look(&cluster).await;
        let copy = db.copy_of(&backup).await;
        let other = TestCluster::on(&copy).await;
        extra(&other, "there").await;
        drain(&other, "w1", "there").await;
        let there = look(&other).await;
        assert_eq!(here.revision, there.revision, "the numbers do not tell");
        assert_forgotten(&other, &here).await;
        assert_forgotten(&cluster, &there).await;
        other.into_server().stop().await;
    }

    // However often a server is started, what it remembers of it is bounded, and history stays readable from its
    // beginning.
    async fn starts_without_number_are_not_remembered_without_end(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        let first = end(&cluster).await;
        let cluster = cluster.restart_after(async |db: &TestDatabase| {
            // As if there had been so many starts, each with its first commit.
            let rows: Vec<_> = (10..1_100).map(|n| format!("({n}, 'epoch{n}', {n})")).collect();
            db.execute(&format!("INSERT INTO epoch (number, name, start_revision) VALUES {}", rows.join(", "))).await;
            db.execute("UPDATE cluster SET epoch = 'epoch1099', revision = 1200").await;
        }).await;
        assert_eq!(cluster.rest().get(&format!("/api/v1/events?after={first}")).await.status, 200);
        drain(&cluster, "w1", "x").await;
        let answer = cluster.rest().get(&format!("/api/v1/events?after={first}")).await;
        assert_eq!(answer.status, 400, "forgotten, and not taken for something else: {}", answer.body);
        let read_page_by_page = async |cluster: &TestCluster| {
            let all = cluster.rest().get("/api/v1/events?limit=1").await.json();
            let next = format!("/api/v1/events?after={}", all["end_cursor"].as_str().unwrap());
            assert_eq!(cluster.rest().get(&next).await.json()["events"][0]["kind"], "worker_drain_started");
        };
        read_page_by_page(&cluster).await;
        assert_eq!(database_rows(cluster.server().journal().database(), "epoch").await, 1_000);
        // Nor are those starts after which nothing was committed.
        let mut cluster = cluster;
        for _ in 0..3 {
            cluster = cluster.restart().await;
            drain(&cluster, "w1", "again, which changes nothing").await;
        }
        assert_eq!(database_rows(cluster.server().journal().database(), "epoch").await, 1_000);
        read_page_by_page(&cluster).await;
    }
}

/// How many rows a table has.
async fn database_rows(database: &aetherium::journal::Database, table: &str) -> i64 {
    use sea_orm::{ConnectionTrait as _, Statement};
    let statement = Statement::from_string(database.backend(), format!("SELECT count(*) AS rows FROM {table}"));
    database.readers().query_one_raw(statement).await.unwrap().unwrap().try_get("", "rows").unwrap()
}

/// Several servers on one PostgreSQL that is set back under them.
#[tokio::test]
async fn all_servers_notice_that_their_database_was_set_back() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            assert_eq!(db.backend(), DbBackend::Postgres);
            let a = TestCluster::on(&db).await;
            a.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
            let b = a.another_server().await;
            let before = a.revision();
            db.keep_tables().await;
            drain(&b, "w1", "lost").await;
            register(&a, "lost").await;
            let lost = look(&a).await;
            let port = Port::of(&b).await;
            let (mut events, mut beats) = (port.client().await, port.client().await);
            events.subscribe("1", EVENTS, json!({"after": lost.end})).await;
            assert_eq!(events.next("1").await["clusterEvents"]["kind"], "SYNCED");
            beats.subscribe("1", "subscription { workerHeartbeats { worker { id status } } }", json!({})).await;
            for _ in 0..3 {
                beats.next("1").await;
            }
            // One of them goes on at once, past everything that the other one has seen.
            db.put_tables_back().await;
            while a.revision() <= lost.revision + 5 {
                a.beat("w2", json!({"incarnation": 1})).await;
            }
            assert_eq!(events.next("1").await["clusterEvents"]["kind"], "RESYNC");
            let mut told = BTreeSet::new();
            while !told.contains(r#"{"id":"w1","status":"ACTIVE"}"#) {
                told.insert(beats.next("1").await["workerHeartbeats"]["worker"].to_string());
            }
            drain(&b, "w2", "found").await;
            for cluster in [&a, &b] {
                assert_forgotten(cluster, &lost).await;
                let workers =
                    cluster.rest().get(&format!("/api/v1/workers?min_revision={}", b.revision())).await.json();
                assert_eq!(
                    pick(&workers["workers"], ["id", "status"]),
                    [[json!("w1"), json!("active")], [json!("w2"), json!("draining")]]
                );
            }
            assert!(a.revision() > before);
        })
        .await;
}

/// To notice is one thing, and to write that down is another, which may fail.
#[tokio::test]
async fn a_server_that_noticed_but_could_not_write_begins_an_epoch_at_a_later_look() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            cluster.add([worker("w1")]).await;
            db.keep_tables().await;
            let before = cluster.revision();
            drain(&cluster, "w1", "lost").await;
            let read = async |what: &str| -> bool {
                use sea_orm::{ConnectionTrait as _, Statement};
                let database = cluster.server().journal().database();
                let statement = Statement::from_string(db.backend(), format!("SELECT {what} AS it FROM cluster"));
                database.readers().query_one_raw(statement).await.unwrap().unwrap().try_get("", "it").unwrap()
            };
            // Sequences count what was rolled back, too.
            let number = "(SELECT max(number) FROM epoch)";
            db.execute(&format!(
                "CREATE SEQUENCE attempts; \
                 DO $$ BEGIN EXECUTE format('ALTER TABLE epoch ADD CONSTRAINT no_more \
                 CHECK (number <= %s OR nextval(''attempts'') = 0)', {number}); END $$"
            ))
            .await;
            db.put_tables_back().await;
            in_time(async { while !read("(SELECT is_called FROM attempts)").await {} }).await;
            assert_eq!(cluster.revision(), before, "it has noticed");
            assert!(read("incarnation_floor = 0").await);
            db.execute("ALTER TABLE epoch DROP CONSTRAINT no_more").await;
            // Without a commit of its own.
            in_time(async { while read("incarnation_floor = 0").await {} }).await;
            assert_eq!(cluster.worker("w1").await["status"], "active");
            drain(&cluster, "w1", "found").await;
            assert_eq!(cluster.revision(), before + 1);
        })
        .await;
}

/// A cursor of an epoch that another server has just begun is waited for, not refused.
#[tokio::test]
async fn what_another_server_has_just_told_is_believed() {
    TestDatabase::postgres()
        .await
        .run(async |a: TestCluster| {
            a.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
            for round in 0..5 {
                // A server's first commit begins an epoch, of which the others have not heard.
                let b = a.another_server().await;
                b.beat("w2", json!({"incarnation": 1})).await;
                drain(&b, "w1", "x").await;
                let seen = look(&b).await;
                let answer = a.rest().get(&format!("/api/v1/events?after={}", seen.end)).await;
                assert_eq!(answer.status, 200, "{round}: {}", answer.body);
                let answer = a.rest().get(&seen.next_page).await;
                assert_eq!(answer.status, 200, "{round}: {}", answer.body);
                let answer = a.rest().post("/api/v1/workers/w1/activate").header("if-match", &seen.tags[1].1).await;
                assert_eq!(answer.status, 200, "{round}: {}", answer.body);
                b.into_server().stop().await;
            }
        })
        .await;
}
