//! The change log does not grow for ever: what leaves it, what stays, and how whoever wanted to read what has left is
//! told. That operators' events stay for longer is in `operator_events`; here they leave as others do.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aetherium::auth::Caller;
use aetherium::cluster::{Cursor, Event, EventFilter, EventKind};
use aetherium::error::Error;
use aetherium::resolvers::EventView;
use futures_util::StreamExt;
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};
use serde_json::{Value, json};

use crate::harness::*;

const EVENTS: &str = "subscription($after: Cursor, $filter: EventFilter) {
    clusterEvents(after: $after, filter: $filter) { cursor kind workerId vmId message oldestCursor }
}";

/// A cluster that keeps this much of its log.
async fn keeping(database: &TestDatabase, max_age: Duration, max_events: u64) -> TestCluster {
    TestCluster::configured(database, |options| {
        options.retention.max_age = max_age;
        options.retention.max_events = max_events;
        options.retention.max_operator_event_age = Duration::ZERO;
        options.retention.max_operator_events = 0;
    })
    .await
}

/// More than any test writes.
const MANY: u64 = 1_000_000;

/// Longer than any test takes by its clock.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

async fn trim(cluster: &TestCluster) -> u64 {
    cluster.server().retention_pruner().prune().await.unwrap()
}

/// A start of a worker's process.
async fn start(cluster: &TestCluster, id: &str, boot: &str) -> Answer {
    let registration = worker(id).registers("boot_id", boot).registration();
    cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await
}

/// Two starts of a worker's process, and its removal.
async fn remove(cluster: &TestCluster, id: &str) {
    for boot in ["a", "b"] {
        assert!(start(cluster, id, boot).await.status < 300);
    }
    assert_eq!(cluster.rest().delete(&format!("/api/v1/workers/{id}?purge=true")).await.status, 204);
}

/// How many rows a table has.
async fn rows(cluster: &TestCluster, table: &str) -> i64 {
    let database = cluster.server().journal().database();
    let count = Statement::from_string(database.backend(), format!("SELECT count(*) AS rows FROM {table}"));
    database.readers().query_one_raw(count).await.unwrap().unwrap().try_get("", "rows").unwrap()
}

/// So many events, each of a commit of its own, all at this moment.
async fn happen(cluster: &TestCluster, count: usize) {
    let resolvers = cluster.server().resolvers();
    for _ in 0..count {
        if !resolvers.drain_worker(&Caller::unrestricted(), "w1", Default::default(), None).await.unwrap().changed {
            assert!(resolvers.activate_worker(&Caller::unrestricted(), "w1", None, None).await.unwrap().changed);
        }
    }
}

/// So many events of one commit: VMs that begin.
async fn happen_at_once(cluster: &TestCluster, prefix: &str, count: usize) {
    let vms: Vec<_> = (0..count).map(|n| json!({"id": format!("{prefix}-{n:04}")})).collect();
    let delta = json!({"incarnation": 1, "vms_delta": {"upsert": vms}});
    assert_eq!(cluster.beat("w1", delta).await.status, 200);
}

/// Cursors of all that is in the log.
async fn logged(cluster: &TestCluster) -> Vec<String> {
    let journal = cluster.server().journal();
    let start = journal.snapshot().cursor_after(0);
    let page = journal.event_log().events_after(&start, &EventFilter::default(), u64::from(u32::MAX)).await.unwrap();
    page.events.iter().map(|event| event.cursor.to_string()).collect()
}

/// The present cursor.
fn now(cluster: &TestCluster) -> String {
    cluster.server().journal().snapshot().cursor().to_string()
}

/// The answer of the query.
async fn events(cluster: &TestCluster, after: Option<&str>) -> Value {
    let query =
        "query($after: Cursor) { events(first: 500, after: $after) { nodes { cursor } endCursor hasNextPage } }";
    cluster.graphql_answer(query, json!({"after": after})).await
}

async fn next_event(socket: &mut Socket, id: &str) -> Value {
    socket.next(id).await["clusterEvents"].take()
}

/// The next event of a stream that is read without a socket.
async fn next(
    events: &mut (impl futures_util::Stream<Item = aetherium::error::Result<EventView>> + Unpin),
) -> Arc<Event> {
    in_time(events.next()).await.unwrap().unwrap().event
}

/// The next one that tells of a change, or of a gap. A stream also says now and then where it stands, such as when
/// nothing has happened for a while: that is passed over, and what comes next has to lie behind that place.
async fn next_change(
    events: &mut (impl futures_util::Stream<Item = aetherium::error::Result<EventView>> + Unpin),
) -> Arc<Event> {
    let mut place: Option<Cursor> = None;
    loop {
        let event = next(events).await;
        if event.kind != EventKind::Synced {
            assert!(place.is_none_or(|place| event.cursor.is_after(&place)), "{event:?}");
            return event;
        }
        place = Some(event.cursor.clone());
    }
}

on_both_databases! {
    async fn what_is_too_old_leaves_the_log_and_nothing_else(db: TestDatabase) {
        let cluster = keeping(&db, minutes(60), MANY).await;
        cluster.add([worker("w1")]).await;
        happen(&cluster, 4).await;
        cluster.advance(minutes(30));
        happen(&cluster, 3).await;
        happen_at_once(&cluster, "vm", 10).await;
        let before = logged(&cluster).await;
        assert_eq!(before.len(), 18);
        assert_eq!(trim(&cluster).await, 0, "nothing is old");
        cluster.advance(minutes(30));
        assert_eq!(trim(&cluster).await, 0, "sixty minutes are not more than sixty minutes");
        assert_eq!(logged(&cluster).await, before);
        cluster.advance(Duration::from_millis(1));
        assert_eq!(trim(&cluster).await, 5);
        assert_eq!(logged(&cluster).await, before[5..]);
        assert_eq!(trim(&cluster).await, 0);
        cluster.advance(minutes(30));
        assert_eq!(trim(&cluster).await, 13, "an empty log is one, too");
        assert_eq!((trim(&cluster).await, logged(&cluster).await.len()), (0, 0));
        happen(&cluster, 1).await;
        assert_eq!(logged(&cluster).await.len(), 1);
    }

    async fn of_too_many_the_oldest_leave(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 10).await;
        cluster.add([worker("w1")]).await;
        happen(&cluster, 9).await;
        let before = logged(&cluster).await;
        assert_eq!((before.len(), trim(&cluster).await), (10, 0));
        happen(&cluster, 3).await;
        let before = logged(&cluster).await;
        assert_eq!(trim(&cluster).await, 3);
        assert_eq!(logged(&cluster).await, before[3..]);
        assert_eq!(trim(&cluster).await, 0);
    }

    async fn many_leave_in_steps(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 7).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        for n in 0..10 {
            happen_at_once(&cluster, &format!("vm-{n}"), 450).await;
        }
        happen(&cluster, 7).await;
        let before = logged(&cluster).await;
        assert_eq!(before.len(), 1 + 4_500 + 7, "more than go in two steps");
        assert_eq!(trim(&cluster).await, 4_501);
        assert_eq!(logged(&cluster).await, before[4_501..]);
    }

    // A cursor may point between the events of a commit, and then the next of them has to be there.
    async fn a_commit_leaves_whole_or_stays_whole(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 15).await;
        cluster.add([worker("w1")]).await;
        happen_at_once(&cluster, "a", 10).await;
        happen_at_once(&cluster, "b", 10).await;
        let before = logged(&cluster).await;
        assert_eq!(trim(&cluster).await, 11);
        assert_eq!(logged(&cluster).await, before[11..]);
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        // Of the commit that is gone, only the end can be resumed.
        for (id, cursor) in [("1", &before[9]), ("2", &before[0]), ("3", &before[10])] {
            socket.subscribe(id, EVENTS, json!({"after": cursor})).await;
            let told = next_event(&mut socket, id).await;
            assert_eq!(told["kind"], "RESYNC", "{cursor} {told}");
            socket.say(json!({"id": id, "type": "complete"})).await;
        }
        let end = before[10].rsplit_once('-').unwrap().0;
        for (id, cursor, expected) in
            [("4", end, &before[11]), ("5", &before[11], &before[12]), ("6", &before[15], &before[16])]
        {
            socket.subscribe(id, EVENTS, json!({"after": cursor, "filter": {}})).await;
            assert_eq!(next_event(&mut socket, id).await["cursor"], **expected, "after {cursor}");
            drop(socket);
            socket = port.client().await;
        }
    }

    async fn a_cursor_that_is_too_old_is_told_what_can_be_resumed(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 6).await;
        cluster.add([worker("w1")]).await;
        happen(&cluster, 11).await;
        let before = logged(&cluster).await;
        assert_eq!(trim(&cluster).await, 6);
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let first = cluster.first_cursor();
        for (id, cursor) in [("a", &first), ("b", &before[0]), ("c", &before[4])] {
            socket.subscribe(id, EVENTS, json!({"after": cursor})).await;
            let told = next_event(&mut socket, id).await;
            assert_eq!([&told["kind"], &told["cursor"]], [&json!("RESYNC"), &json!(now(&cluster))], "{told}");
            // From the oldest cursor that is named, exactly what is left is told.
            let oldest = told["oldestCursor"].clone();
            let mut other = port.client().await;
            other.subscribe("1", EVENTS, json!({"after": oldest})).await;
            for expected in &before[6..] {
                assert_eq!(next_event(&mut other, "1").await["cursor"], **expected, "after {oldest}");
            }
        }
        // All of them go on from the present.
        happen(&cluster, 1).await;
        for _ in 0..3 {
            let told = socket.hear().await["payload"]["data"]["clusterEvents"].take();
            assert_eq!([&told["kind"], &told["oldestCursor"]], [&json!("WORKER_ACTIVATED"), &Value::Null]);
        }
        // By REST, too; and what is named there is not refused either.
        let path = format!("/api/v1/events?after={first}");
        let mut stream = HttpStream::get(&port.authority(), &path, &[("accept", "text/event-stream")]).await;
        let told = stream.message().await;
        assert_eq!((told.event.as_str(), &told.id), ("resync", &Some(now(&cluster))));
        let oldest = told.json()["oldest_cursor"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/events?after={oldest}");
        assert_eq!(cluster.rest().get(&path).await.json()["events"][0]["cursor"], before[6]);
    }

    async fn cursors_of_another_database_and_of_the_future_are_told_what_can_be_resumed(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 6).await;
        cluster.add([worker("w1")]).await;
        happen(&cluster, 11).await;
        trim(&cluster).await;
        let kept = logged(&cluster).await;
        let port = Port::of(&cluster).await;
        let name = kept[0].split('-').next().unwrap();
        let odd = [
            "other-3".to_owned(),
            "other-3-0".to_owned(),
            format!("{name}-{}", cluster.revision() + 1),
            format!("{name}-9007199254740991-4"),
        ];
        for odd in odd {
            let mut socket = port.client().await;
            // They come whatever is wanted.
            let filter = json!({"kinds": ["WORKER_LEFT"], "workerIds": ["nobody"]});
            socket.subscribe("1", EVENTS, json!({"after": odd, "filter": filter})).await;
            let told = next_event(&mut socket, "1").await;
            assert_eq!([&told["kind"], &told["cursor"]], [&json!("RESYNC"), &json!(now(&cluster))], "{odd}");
            let oldest = told["oldestCursor"].as_str().unwrap();
            socket.subscribe("2", EVENTS, json!({"after": oldest})).await;
            assert_eq!(next_event(&mut socket, "2").await["cursor"], kept[0], "{odd}");
        }
    }

    // A backup is put back under a running server.
    async fn who_follows_a_database_that_is_set_back_is_told_so(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        let before = cluster.revision();
        happen(&cluster, 5).await;
        let port = Port::of(&cluster).await;
        let (mut events, mut beats) = (port.client().await, port.client().await);
        events.subscribe("1", EVENTS, json!({})).await;
        assert_eq!(next_event(&mut events, "1").await["kind"], "SYNCED");
        beats.subscribe("1", "subscription { workerHeartbeats { worker { id status } } }", json!({})).await;
        let mut beat = async || beats.next("1").await["workerHeartbeats"]["worker"].take();
        assert_eq!(beat().await, json!({"id": "w1", "status": "DRAINING"}));
        assert_eq!(beat().await, json!({"id": "w2", "status": "ACTIVE"}));

        db.execute(&format!("DELETE FROM event WHERE revision > {before}")).await;
        db.execute(&format!("UPDATE worker SET policy = 'active', revision = {before} WHERE id = 'w1'")).await;
        db.execute(&format!("UPDATE cluster SET revision = {before}")).await;
        // On PostgreSQL the server looks for others' commits by itself; on SQLite it finds out when it writes.
        cluster.beat("w2", json!({"incarnation": 1})).await;
        let told = next_event(&mut events, "1").await;
        assert_eq!(told["kind"], "RESYNC", "{told}");
        assert!(told["message"].as_str().unwrap().starts_with("The database was set back"), "{told}");
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let worker = beat().await;
            if !heard.contains(&worker) {
                heard.push(worker);
            }
        }
        heard.sort_by_key(|worker| worker["id"].to_string());
        assert_eq!(heard, [json!({"id": "w1", "status": "ACTIVE"}), json!({"id": "w2", "status": "ACTIVE"})]);
        // And goes on from there, without a gap.
        cluster.rest().post("/api/v1/workers/w2/drain").await;
        assert_eq!(next_event(&mut events, "1").await["kind"], "WORKER_DRAIN_STARTED");
    }

    // One that does not read, while what it has not read is removed.
    async fn a_reader_that_is_too_slow_for_the_log_is_told_so(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 100).await;
        cluster.add([worker("w1")]).await;
        let resolvers = cluster.server().resolvers();
        let mut slow = pin!(resolvers.watch_events(&Caller::unrestricted(), None, EventFilter::default()).unwrap());
        let mut in_time = pin!(resolvers.watch_events(&Caller::unrestricted(), None, EventFilter::default()).unwrap());
        assert_eq!(next(&mut slow).await.kind, EventKind::Synced);
        assert_eq!(next(&mut in_time).await.kind, EventKind::Synced);
        // More commits than the feed holds.
        happen(&cluster, 1_100).await;
        let before = logged(&cluster).await;
        // This one has begun to read; what it has in hand stays with it.
        for expected in &before[1..101] {
            assert_eq!(next_change(&mut in_time).await.cursor.to_string(), *expected);
        }
        assert_eq!(trim(&cluster).await, 1_001);
        let told = next_change(&mut slow).await;
        assert_eq!((told.kind, told.cursor.to_string()), (EventKind::Resync, now(&cluster)));
        let oldest = told.oldest_cursor.clone().unwrap().to_string();
        let mut resumed = pin!(resolvers.watch_events(&Caller::unrestricted(), Some(&oldest), EventFilter::default()).unwrap());
        for expected in &before[1_001..] {
            assert_eq!(next(&mut resumed).await.cursor.to_string(), *expected);
        }
        assert_eq!(next(&mut resumed).await.kind, EventKind::Synced);
        // Told in order, without a gap, up to the place where it is told that there is one.
        let mut place = 101;
        loop {
            let told = next_change(&mut in_time).await;
            if told.kind == EventKind::Resync {
                break;
            }
            assert_eq!(told.cursor.to_string(), before[place]);
            place += 1;
        }
        happen(&cluster, 1).await;
        assert_eq!(next_change(&mut slow).await.cursor.revision, cluster.revision(), "it goes on from there");
        assert_eq!(next_change(&mut resumed).await.cursor.revision, cluster.revision());
        assert_eq!(next_change(&mut in_time).await.cursor.revision, cluster.revision());
    }

    // The feed still has what has left the log.
    async fn a_reader_that_keeps_up_does_not_notice(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 1).await;
        cluster.add([worker("w1")]).await;
        let resolvers = cluster.server().resolvers();
        let mut events = pin!(resolvers.watch_events(&Caller::unrestricted(), None, EventFilter::default()).unwrap());
        assert_eq!(next(&mut events).await.kind, EventKind::Synced);
        for _ in 0..5 {
            let before = cluster.revision();
            happen(&cluster, 20).await;
            assert_ne!(trim(&cluster).await, 0);
            for revision in before + 1..=before + 20 {
                assert_eq!(next_change(&mut events).await.cursor.revision, revision);
            }
        }
    }

    async fn the_query_begins_where_the_log_does_and_refuses_what_has_left_it(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 6).await;
        cluster.add([worker("w1")]).await;
        happen(&cluster, 11).await;
        let before = logged(&cluster).await;
        let oldest = {
            assert_eq!(trim(&cluster).await, 6);
            before[5].rsplit_once('-').unwrap().0.to_owned()
        };
        let cursors = |nodes: &Value| pick(nodes, ["cursor"]).into_iter().map(|[cursor]| cursor).collect::<Vec<_>>();
        let all = events(&cluster, None).await;
        assert_eq!(cursors(&all["data"]["events"]["nodes"]), before[6..], "from its beginning");
        let rest = cluster.rest().get("/api/v1/events").await.json();
        assert_eq!(cursors(&rest["events"]), before[6..]);
        for cursor in [&oldest, &before[6]] {
            let page = events(&cluster, Some(cursor)).await;
            let left = if *cursor == oldest { &before[6..] } else { &before[7..] };
            assert_eq!(cursors(&page["data"]["events"]["nodes"]), left, "after {cursor}");
        }
        // Never by silence: a list with a hole in it would be taken for the whole.
        for cursor in [&cluster.first_cursor(), &before[0], &before[5]] {
            let page = events(&cluster, Some(cursor)).await;
            assert_eq!(page["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "after {cursor}: {page}");
            let message = page["errors"][0]["message"].as_str().unwrap();
            assert!(message.contains(&oldest), "it says where to go on: {message}");
            cluster.rest().get(&format!("/api/v1/events?after={cursor}")).await.assert_failure(400, message);
        }
        // Of one worker, the newest come first, and then there are no more.
        let nested = r#"{ worker(id: "w1") { events(first: 500) { cursor } } }"#;
        let nested = cluster.graphql(nested).await["worker"]["events"].take();
        assert_eq!(cursors(&nested), before[6..].iter().rev().cloned().collect::<Vec<_>>());
    }

    async fn what_has_left_is_gone_after_a_restart_and_revisions_go_on(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 3).await;
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        happen(&cluster, 8).await;
        let before = logged(&cluster).await;
        trim(&cluster).await;
        let everything = cluster.everything().await;
        let cluster = cluster.restart().await;
        assert_eq!(cluster.everything().await, everything, "the state is not made from the log");
        assert_eq!(logged(&cluster).await, before[7..]);
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        socket.subscribe("1", EVENTS, json!({"after": before[2]})).await;
        assert_eq!(next_event(&mut socket, "1").await["kind"], "RESYNC");
        let revision = cluster.revision();
        happen(&cluster, 1).await;
        assert_eq!(next_event(&mut socket, "1").await["cursor"], format!("{}-0", now(&cluster)));
        assert_eq!(cluster.revision(), revision + 1);
    }

    // The place where the log begins is moved first: a crash before the entries go must not show as a gap.
    async fn a_crash_in_the_middle_of_trimming_shows_as_no_gap(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 2).await;
        cluster.add([worker("w1")]).await;
        happen(&cluster, 8).await;
        let before = logged(&cluster).await;
        let (_, revision, _) = {
            let mut parts = before[5].split('-');
            (parts.next(), parts.next().unwrap(), parts.next())
        };
        db.execute(&format!("UPDATE cluster SET events_pruned_through = {revision}")).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        socket.subscribe("1", EVENTS, json!({"after": before[2]})).await;
        let told = next_event(&mut socket, "1").await;
        assert_eq!(told["kind"], "RESYNC");
        let oldest = told["oldestCursor"].clone();
        socket.subscribe("2", EVENTS, json!({"after": oldest})).await;
        assert_eq!(next_event(&mut socket, "2").await["cursor"], before[6]);
        // The next to trim finishes it.
        assert_eq!(trim(&cluster).await, 7);
        assert_eq!(logged(&cluster).await, before[7..]);
    }

    // semantics 8, 29: as long as a late word is plausible
    async fn what_is_left_of_a_removed_worker_is_kept_for_a_month(cluster: TestCluster) {
        let clock = cluster.clock();
        let days = |days: u64| seconds(days * 24 * 3_600);
        // By a clock that was ahead: it goes with those that were removed after it.
        clock.set(clock.now() + days(365));
        remove(&cluster, "w0").await;
        clock.set(START.parse().unwrap());
        remove(&cluster, "w1").await;
        cluster.advance(days(30));
        remove(&cluster, "w2").await;
        trim(&cluster).await;
        for id in ["w0", "w1", "w2"] {
            assert_eq!(start(&cluster, id, "a").await.status, 409, "{id}");
        }
        cluster.advance(seconds(1));
        trim(&cluster).await;
        assert_eq!(rows(&cluster, "worker_tombstone").await, 1);
        let cluster = cluster.restart().await;
        assert_eq!(start(&cluster, "w2", "a").await.status, 409, "it was removed later");
        for id in ["w0", "w1"] {
            let forgotten = start(&cluster, id, "a").await;
            assert_eq!((forgotten.status, forgotten.json()["incarnation"].take()), (201, json!(3)), "{id}");
            let late = cluster.beat(id, json!({"incarnation": 2})).await;
            assert_eq!(late.status, 409, "no incarnation comes twice: {}", late.body);
        }
        assert_eq!(start(&cluster, "w3", "a").await.json()["incarnation"], 3, "of no worker, since nobody knows whose it was");
    }

    // A machine that was wrong by a month for a moment must not cost what all others have said.
    async fn a_removal_by_a_clock_that_was_behind_makes_no_other_one_old(cluster: TestCluster) {
        let clock = cluster.clock();
        remove(&cluster, "w0").await;
        clock.set(clock.now() - chrono::TimeDelta::days(31));
        remove(&cluster, "w1").await;
        clock.set(START.parse().unwrap());
        remove(&cluster, "w2").await;
        trim(&cluster).await;
        for id in ["w0", "w2"] {
            assert_eq!(start(&cluster, id, "a").await.status, 409, "{id}");
        }
        assert_eq!(start(&cluster, "w1", "a").await.status, 201, "its own date is all there is");
    }

    // One that is there again counts on by itself.
    async fn incarnations_stay_small_where_a_removed_worker_has_come_back(cluster: TestCluster) {
        for boot in ["a", "b"] {
            start(&cluster, "w1", boot).await;
        }
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        start(&cluster, "w1", "b").await;
        cluster.advance(seconds(31 * 24 * 3_600));
        trim(&cluster).await;
        assert_eq!(rows(&cluster, "worker_tombstone").await, 0);
        assert_eq!(start(&cluster, "w1", "c").await.json()["incarnation"], 4);
        assert_eq!(start(&cluster, "w2", "a").await.json()["incarnation"], 1);
    }

    async fn of_too_many_removed_workers_the_latest_are_remembered(cluster: TestCluster) {
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            database.execute("UPDATE cluster SET revision = 200000").await;
            database.execute(
                "INSERT INTO worker_tombstone \
                 (id, incarnation, earlier_boot_ids, earlier_host_boot_ids, purged_at, revision) \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100010) \
                 SELECT 'w' || i, 7, '[\"old\"]', '[]', '2025-11-02T10:00:00.000+00:00', i FROM n"
            ).await;
        }).await;
        trim(&cluster).await;
        assert_eq!(rows(&cluster, "worker_tombstone").await, 100_000);
        for (id, status) in [("w11", 409), ("w100010", 409), ("w10", 201), ("w1", 201)] {
            let answer = start(&cluster, id, "old").await;
            assert_eq!(answer.status, status, "{id}: {}", answer.body);
            assert!(status == 409 || answer.json()["incarnation"] == 8, "{id}: {}", answer.body);
        }
    }

    // What is too many is told by when it was given: by the clock as it is, and not as it was.
    async fn answers_of_a_clock_that_was_ahead_do_not_all_go_when_there_are_too_many(cluster: TestCluster) {
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            database.execute(
                "INSERT INTO idempotency_record (key, fingerprint, response_body, created_at) \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100010) \
                 SELECT 'key' || i, '', '', '2099-01-01T00:00:00.000+00:00' FROM n"
            ).await;
        }).await;
        trim(&cluster).await;
        assert_eq!(rows(&cluster, "idempotency_record").await, 100_000);
    }

    async fn trimming_while_it_grows_loses_nothing_that_should_stay(db: TestDatabase) {
        let cluster = keeping(&db, LONG, 50).await;
        cluster.add([worker("w1")]).await;
        let resolvers = cluster.server().resolvers();
        let mut events = pin!(resolvers.watch_events(&Caller::unrestricted(), None, EventFilter::default()).unwrap());
        assert_eq!(next(&mut events).await.kind, EventKind::Synced);
        let from = cluster.revision();
        let grow = happen(&cluster, 400);
        let trimming = async {
            // Two at once, as those of two servers.
            while cluster.revision() < from + 400 {
                let (one, other) = (cluster.server().retention_pruner(), cluster.server().retention_pruner());
                let (one, other) = tokio::join!(one.prune(), other.prune());
                one.unwrap();
                other.unwrap();
            }
        };
        let follow = async {
            for revision in from + 1..=from + 400 {
                assert_eq!(next_change(&mut events).await.cursor.revision, revision);
            }
        };
        in_time(async { tokio::join!(grow, trimming, follow) }).await;
        trim(&cluster).await;
        let left = logged(&cluster).await;
        // Two that trim at once may each see the same surplus, but neither moves the beginning back or makes a hole.
        let revisions: Vec<u64> =
            left.iter().map(|cursor| cursor.split('-').nth(1).unwrap().parse().unwrap()).collect();
        assert_eq!(revisions.last(), Some(&(from + 400)));
        assert!(revisions.windows(2).all(|two| two[1] == two[0] + 1), "{revisions:?}");
        assert!((1..=50).contains(&revisions.len()), "{}", revisions.len());
    }
}

#[test]
fn a_log_of_a_week_is_kept_unless_told_otherwise() {
    let usual = aetherium::journal::Retention::default();
    assert_eq!((usual.max_age, usual.max_events), (Duration::from_secs(7 * 24 * 3_600), 1_000_000));
    assert_eq!((usual.max_operator_event_age, usual.max_operator_events), (LONG, 1_000_000));
}

// What another server has committed is in the database before this server has seen it: no gap, only a little later. On
// SQLite, where a server does not look for others' commits by itself, that little is as long as the test.
#[tokio::test]
async fn a_cursor_that_only_this_server_does_not_know_yet_is_no_gap() {
    TestDatabase::postgres()
        .await
        .run(async |other: TestCluster| {
            other.add([worker("w1")]).await;
            let cluster = other.another_server().await;
            // The database has it, and this server cannot read what it is.
            let held = other.server().journal().database().readers().begin().await.unwrap();
            held.execute_unprepared("LOCK TABLE worker_tombstone IN ACCESS EXCLUSIVE MODE").await.unwrap();
            happen(&other, 1).await;
            let resolvers = cluster.server().resolvers();
            let mut events = pin!(
                resolvers.watch_events(&Caller::unrestricted(), Some(&now(&other)), EventFilter::default()).unwrap()
            );
            let told = events.next().await.unwrap();
            assert!(matches!(told, Err(Error::RevisionNotReached { .. })), "{told:?}");
            assert!(events.next().await.is_none(), "the reader comes back with its cursor");
            held.rollback().await.unwrap();
            let mut events = pin!(
                resolvers.watch_events(&Caller::unrestricted(), Some(&now(&other)), EventFilter::default()).unwrap()
            );
            assert_eq!(next(&mut events).await.kind, EventKind::Synced);
        })
        .await;
}
