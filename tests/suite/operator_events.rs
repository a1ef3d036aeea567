//! What operators did stays in the change log for longer than what else happens: an update of all agents does not push it
//! out, whoever asks for it finds all of it, and nobody takes it for all that happened. How other events leave is in
//! `retention`.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use aetherium::journal::Retention;
use aetherium::server::ServerOptions;
use entity::event;
use sea_orm::{ConnectionTrait as _, DbBackend, QueryFilter as _, QuerySelect as _, QueryTrait as _, Statement};
use serde_json::{Value, json};

use crate::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Of all events, 50 are kept; of operators' events, as many as a test writes, for a year.
async fn keeping_few(database: &TestDatabase) -> TestCluster {
    TestCluster::configured(database, |options| options.retention.max_events = 50).await
}

async fn prune(cluster: &TestCluster) -> u64 {
    cluster.server().retention_pruner().prune().await.unwrap()
}

/// So many events of VMs, in commits of 450: they begin, or have another name from now on.
async fn roll_out(cluster: &TestCluster, name: &str, count: usize) {
    roll_out_at(cluster, "w1", name, count).await;
}

async fn roll_out_at(cluster: &TestCluster, worker: &str, name: &str, count: usize) {
    let vm = |n| json!({"id": format!("vm-{}", n % 3_000), "name": format!("{name} {n}")});
    let vms: Vec<_> = (0..count).map(vm).collect();
    for vms in vms.chunks(450) {
        let delta = json!({"incarnation": 1, "vms_delta": {"upsert": vms}});
        assert_eq!(cluster.beat(worker, delta).await.status, 200);
    }
}

/// An operator's act.
async fn act(cluster: &TestCluster, method: &str, path: &str) {
    let answer = cluster.rest().ask(method, &format!("/api/v1/workers/{path}")).await;
    assert!(answer.status < 300, "{}", answer.body);
}

/// The cursors of what operators did, as the database has them.
async fn stored(cluster: &TestCluster) -> Vec<(i64, i64)> {
    rows(cluster, "actor = 'operator'").await
}

/// Revisions and positions of the rows of the log that match.
async fn rows(cluster: &TestCluster, condition: &str) -> Vec<(i64, i64)> {
    let database = cluster.server().journal().database();
    let sql = format!("SELECT revision, position FROM event WHERE {condition} ORDER BY revision, position");
    let rows = database.readers().query_all_raw(Statement::from_string(database.backend(), sql)).await.unwrap();
    rows.iter().map(|row| (row.try_get("", "revision").unwrap(), row.try_get("", "position").unwrap())).collect()
}

/// How far the log is pruned: of all events, of rows, of operators' events.
async fn boundaries(cluster: &TestCluster) -> [i64; 3] {
    let database = cluster.server().journal().database();
    let sql = "SELECT events_pruned_through AS a, events_deleted_through AS b, operator_events_pruned_through AS c \
               FROM cluster";
    let row = database.readers().query_one_raw(Statement::from_string(database.backend(), sql)).await.unwrap().unwrap();
    ["a", "b", "c"].map(|name| row.try_get("", name).unwrap())
}

fn place(cursor: &Value) -> (i64, i64) {
    let mut parts = cursor.as_str().unwrap().split('-').skip(1).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap_or(i64::from(u32::MAX)))
}

fn places(list: &Value) -> Vec<(i64, i64)> {
    pick(list, ["cursor"]).iter().map(|[cursor]| place(cursor)).collect()
}

/// All pages of REST, from a cursor or from the beginning on.
async fn by_rest(cluster: &TestCluster, filter: &str, after: Option<&str>) -> Vec<(i64, i64)> {
    let (mut found, mut after) = (Vec::new(), after.map(str::to_owned));
    loop {
        let from = after.as_ref().map(|after| format!("&after={after}")).unwrap_or_default();
        let answer = cluster.rest().get(&format!("/api/v1/events?limit=4&{filter}{from}")).await;
        assert_eq!(answer.status, 200, "{filter} {}", answer.body);
        let page = answer.json();
        let new = places(&page["events"]);
        assert!(new.len() == 4 || page["has_next_page"] == json!(false), "{page}");
        found.extend(new);
        if page["has_next_page"] == json!(false) {
            return found;
        }
        after = Some(page["end_cursor"].as_str().unwrap().to_owned());
    }
}

/// The same by GraphQL.
async fn by_graphql(cluster: &TestCluster, filter: &Value, after: Option<&str>) -> Vec<(i64, i64)> {
    let query = "query($after: Cursor, $filter: EventFilter) {
        events(first: 3, after: $after, filter: $filter) { nodes { cursor } endCursor hasNextPage } }";
    let (mut found, mut after) = (Vec::new(), json!(after));
    loop {
        let mut answer = cluster.graphql_answer(query, json!({"after": after, "filter": filter})).await;
        assert_eq!(answer.get("errors"), None, "{filter} {answer}");
        let mut page = answer["data"]["events"].take();
        found.extend(places(&page["nodes"]));
        if page["hasNextPage"] == json!(false) {
            return found;
        }
        after = page["endCursor"].take();
    }
}

/// What a stream of REST replays after a cursor: `synced` ends it.
async fn by_stream(cluster: &TestCluster, filter: &str, after: &str) -> Vec<(i64, i64)> {
    let port = Port::of(cluster).await;
    let headers = [("accept", "text/event-stream"), ("last-event-id", after)];
    let mut stream = HttpStream::get(&port.authority(), &format!("/api/v1/events?{filter}"), &headers).await;
    let mut found = Vec::new();
    loop {
        let message = stream.message().await;
        match message.event.as_str() {
            "synced" => return found,
            "resync" => panic!("{message:?}"),
            _ => found.push(place(&message.json()["cursor"])),
        }
    }
}

const EVENTS: &str = "subscription($after: Cursor, $filter: EventFilter) {
    clusterEvents(after: $after, filter: $filter) { cursor kind oldestCursor } }";

/// The same of a subscription.
async fn by_subscription(cluster: &TestCluster, filter: &Value, after: &str) -> Vec<(i64, i64)> {
    let mut socket = Port::of(cluster).await.client().await;
    socket.subscribe("1", EVENTS, json!({"after": after, "filter": filter})).await;
    let mut found = Vec::new();
    loop {
        let event = socket.next("1").await["clusterEvents"].take();
        match event["kind"].as_str().unwrap() {
            "SYNCED" => return found,
            "RESYNC" => panic!("{event}"),
            _ => found.push(place(&event["cursor"])),
        }
    }
}

/// Holds it that all ways of asking for what operators did find exactly this, after a cursor, and some from the
/// beginning of the log.
async fn assert_found(cluster: &TestCluster, after: &str, expected: &[(i64, i64)]) {
    let by_operators = json!({"actors": ["OPERATOR"]});
    for after in [Some(after), None] {
        assert_eq!(by_rest(cluster, "actor=operator", after).await, expected, "{after:?}");
        assert_eq!(by_graphql(cluster, &by_operators, after).await, expected, "{after:?}");
    }
    assert_eq!(by_stream(cluster, "actor=operator", after).await, expected);
    assert_eq!(by_subscription(cluster, &by_operators, after).await, expected);
}

/// Holds it that nobody who asks for more than what operators did resumes after this cursor.
async fn assert_too_old(cluster: &TestCluster, after: &str) {
    let port = Port::of(cluster).await;
    for filter in ["", "actor=worker", "actor=operator&actor=server", "worker_id=w1"] {
        let answer = cluster.rest().get(&format!("/api/v1/events?after={after}&{filter}")).await;
        assert_eq!(answer.status, 400, "{filter} {}", answer.body);
        let headers = [("accept", "text/event-stream"), ("last-event-id", after)];
        let mut stream = HttpStream::get(&port.authority(), &format!("/api/v1/events?{filter}"), &headers).await;
        let told = stream.message().await;
        assert_eq!(told.event, "resync", "{filter} {told:?}");
        assert_eq!(place(&told.json()["oldest_cursor"]).0, boundaries(cluster).await[0], "{filter}");
    }
    let mut socket = port.client().await;
    for (n, filter) in [json!({}), json!({"kinds": ["WORKER_LEFT", "WORKER_DRAIN_STARTED"]})].iter().enumerate() {
        socket.subscribe(&n.to_string(), EVENTS, json!({"after": after, "filter": filter})).await;
        assert_eq!(socket.next(&n.to_string()).await["clusterEvents"]["kind"], "RESYNC", "{filter}");
    }
}

/// Of all events, those of a day are kept; of operators' events, those of two.
fn keeping_days(options: &mut ServerOptions) {
    options.retention = Retention { max_age: DAY, max_operator_event_age: 2 * DAY, ..Retention::default() };
}

/// An operator's act and so many events of VMs, which are a day old by now. Answers the cursors of all acts, and of all
/// events.
async fn grow_old(cluster: &TestCluster, round: usize, count: usize) -> (Vec<(i64, i64)>, Vec<(i64, i64)>) {
    act(cluster, "POST", if round.is_multiple_of(2) { "w1/drain" } else { "w1/activate" }).await;
    roll_out(cluster, &format!("r{round}"), count).await;
    cluster.advance(DAY + seconds(1));
    (stored(cluster).await, rows(cluster, "true").await)
}

/// Holds it that the log has all of these from either of its beginnings on.
async fn assert_whole(cluster: &TestCluster, acts: &[(i64, i64)], all: &[(i64, i64)]) {
    let [pruned, deleted, operators] = boundaries(cluster).await;
    assert!(operators <= pruned && deleted <= pruned, "{pruned} {deleted} {operators}");
    let expected: Vec<_> = acts.iter().copied().filter(|act| act.0 > operators).collect();
    assert_eq!(by_rest(cluster, "actor=operator", None).await, expected);
    let expected: Vec<_> = all.iter().copied().filter(|event| event.0 > pruned).collect();
    assert_eq!(by_rest(cluster, "", None).await, expected);
}

/// Holds it that nothing is left before the beginnings of the log.
async fn assert_pruned(cluster: &TestCluster) {
    let [pruned, deleted, operators] = boundaries(cluster).await;
    assert_eq!(deleted, pruned);
    assert_eq!(rows(cluster, &format!("revision <= {pruned} AND actor <> 'operator'")).await, []);
    assert_eq!(rows(cluster, &format!("revision <= {operators}")).await, []);
}

/// Lets the database count the rows that are written when events are pruned, and [refuse](refuse_after) them.
async fn prepare_refusals(database: &TestDatabase) {
    let tables =
        "CREATE TABLE refusals (written INTEGER NOT NULL, allowed INTEGER); INSERT INTO refusals VALUES (0, NULL);";
    let count = "UPDATE refusals SET written = written + 1";
    let triggers = match database.backend() {
        DbBackend::Sqlite => ["DELETE ON event", "UPDATE ON cluster"].map(|write| {
            format!(
                "CREATE TRIGGER refuse_{} BEFORE {write} BEGIN \
                   {count}; SELECT RAISE(ABORT, 'refused') FROM refusals WHERE written > allowed; END;",
                write.split(' ').next_back().unwrap()
            )
        }),
        _ => [
            format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                   {count}; IF (SELECT written > allowed FROM refusals) THEN RAISE EXCEPTION 'refused'; END IF; \
                   RETURN coalesce(NEW, OLD); END $$;"
            ),
            "CREATE TRIGGER refuse BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION refuse(); \
             CREATE TRIGGER refuse BEFORE UPDATE ON cluster FOR EACH ROW EXECUTE FUNCTION refuse();"
                .to_owned(),
        ],
    };
    database.execute(&format!("{tables} {}", triggers.concat())).await;
}

/// Lets the database write so many rows more, and refuse all others; if it is none, refuse nothing.
async fn refuse_after(database: &TestDatabase, allowed: Option<u32>) {
    let allowed = allowed.map_or("NULL".to_owned(), |allowed| allowed.to_string());
    database.execute(&format!("UPDATE refusals SET written = 0, allowed = {allowed}")).await;
}

on_both_databases! {
    // The point of it all.
    async fn a_roll_out_pushes_nothing_out_that_an_operator_did(db: TestDatabase) {
        let cluster = keeping_few(&db).await;
        cluster.add([worker("w1").max_vms(10_000), worker("w2").vms([vm("lost-1"), vm("lost-2")]), worker("w3")]).await;
        let first = cluster.first_cursor();
        act(&cluster, "POST", "w1/drain").await;
        roll_out(&cluster, "a", 4_000).await;
        prune(&cluster).await;
        act(&cluster, "POST", "w1/activate").await;
        // It has more than a page of events of its own.
        act(&cluster, "DELETE", "w2?purge=true&force=true").await;
        act(&cluster, "DELETE", "w3").await;
        roll_out(&cluster, "b", 8_000).await;
        let acts = stored(&cluster).await;
        assert_eq!(acts.len(), 1 + 1 + 3 + 1);
        prune(&cluster).await;
        for n in 0..3 {
            act(&cluster, "POST", if n % 2 == 0 { "w1/drain" } else { "w1/activate" }).await;
        }
        roll_out(&cluster, "c", 450).await;
        assert!(prune(&cluster).await > 0);
        assert_eq!(prune(&cluster).await, 0);
        let acts = [acts, stored(&cluster).await.split_off(6)].concat();
        assert_eq!(acts.len(), 9);
        assert_eq!(stored(&cluster).await, acts);
        let [pruned, deleted, operators] = boundaries(&cluster).await;
        assert_eq!((deleted, operators), (pruned, 0));
        let others = rows(&cluster, &format!("revision <= {pruned} AND actor <> 'operator'")).await;
        assert_eq!(others, [], "nothing else is left before the beginning");

        for cluster in [cluster.restart().await] {
            assert_found(&cluster, &first, &acts).await;
            assert_too_old(&cluster, &first).await;
            // From any place on, and of one worker, which may be gone.
            for (n, (revision, position)) in acts.iter().enumerate() {
                let after = format!("{}-{revision}-{position}", first.split('-').next().unwrap());
                assert_eq!(by_rest(&cluster, "actor=operator", Some(&after)).await, acts[n + 1..]);
                assert_eq!(by_stream(&cluster, "actor=operator", &after).await, acts[n + 1..]);
            }
            assert_eq!(by_rest(&cluster, "actor=operator&worker_id=w2", Some(&first)).await, acts[2..5]);
            assert_eq!(by_graphql(&cluster, &json!({"actors": ["OPERATOR"], "workerIds": ["w2"]}), None).await, acts[2..5]);
            // Kinds that only operators cause.
            let drains = json!({"kinds": ["WORKER_DRAIN_STARTED", "WORKER_ACTIVATED", "WORKER_DRAIN_CHANGED"]});
            let expected = [&acts[..2], &acts[6..]].concat();
            assert_eq!(by_graphql(&cluster, &drains, Some(&first)).await, expected);
            assert_eq!(by_subscription(&cluster, &drains, &first).await, expected);
            // All events are told without a gap, from where they begin.
            let all = by_rest(&cluster, "", None).await;
            assert_eq!(all, rows(&cluster, &format!("revision > {pruned}")).await);
            let nested = cluster.graphql(r#"{ worker(id: "w1") { events(first: 500) { cursor } } }"#).await;
            let mut nested = places(&nested["worker"]["events"]);
            nested.reverse();
            assert_eq!(nested, rows(&cluster, &format!("revision > {pruned} AND worker_id = 'w1'")).await);
            // A stream goes on behind what it has replayed.
            let mut socket = Port::of(&cluster).await.client().await;
            socket.subscribe("1", EVENTS, json!({"after": first, "filter": {"actors": ["OPERATOR"]}})).await;
            for expected in &acts {
                assert_eq!(place(&socket.next("1").await["clusterEvents"]["cursor"]), *expected);
            }
            assert_eq!(socket.next("1").await["clusterEvents"]["kind"], "SYNCED");
            act(&cluster, "POST", "w1/activate").await;
            assert_eq!(socket.next("1").await["clusterEvents"]["kind"], "WORKER_ACTIVATED");
        }
    }

    async fn what_was_done_with_an_operators_token_is_found_by_it(db: TestDatabase) {
        let cluster = keeping_few(&db).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        let first = cluster.first_cursor();
        let (admin, gateway) = (cluster.token(role_token("admin")).await, cluster.token(gateway_token(9)).await);
        let registered = cluster.holder(&gateway).put("/api/v1/workers/w9").json(worker("w9").registration()).await;
        assert_eq!(registered.status, 201);
        for command in ["drain", "activate"] {
            assert_eq!(cluster.holder(&admin).post(&format!("/api/v1/workers/w1/{command}")).await.status, 200);
        }
        let vms: Vec<_> = (0..450).map(|n| json!({"id": format!("vm-{n}")})).collect();
        let beat = json!({"incarnation": 1, "vms_delta": {"upsert": vms}});
        let beat = cluster.holder(&gateway).post("/api/v1/workers/w9/heartbeat").json(beat).await;
        assert_eq!(beat.status, 200, "{}", beat.body);
        prune(&cluster).await;
        let ask = async |tokens: &[&str], after: Option<&str>| {
            let tokens: String = tokens.iter().map(|id| format!("&actor_token_id={id}")).collect();
            let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
            cluster.holder(&admin).get(&format!("/api/v1/events?limit=500{tokens}{after}")).await
        };
        let acts = rows(&cluster, &format!("actor_token_id = '{}'", admin.id)).await;
        assert_eq!(acts.len(), 2);
        for after in [None, Some(&*first)] {
            assert_eq!(places(&ask(&[&admin.id], after).await.json()["events"]), acts, "{after:?}");
        }
        // A worker's token has left with all others that workers caused, and one that nobody knows may have been one.
        for tokens in [&[&*gateway.id][..], &[&admin.id, &gateway.id], &["4fT9sQ2mXw0a"]] {
            assert_eq!(ask(tokens, Some(&first)).await.status, 400, "{tokens:?}");
        }
        let left = rows(&cluster, &format!("actor_token_id = '{}'", gateway.id)).await;
        assert_eq!(places(&ask(&[&gateway.id], None).await.json()["events"]), left);
    }

    async fn operators_events_leave_in_their_turn(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            options.retention = Retention { max_age: DAY, max_operator_event_age: 10 * DAY, ..Retention::default() };
        })
        .await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        let first = cluster.first_cursor();
        act(&cluster, "POST", "w1/drain").await;
        roll_out(&cluster, "a", 10).await;
        cluster.advance(5 * DAY);
        act(&cluster, "POST", "w1/activate").await;
        roll_out(&cluster, "b", 10).await;
        let acts = stored(&cluster).await;
        assert_eq!(prune(&cluster).await, 1 + 10, "the registration and the VMs");
        cluster.advance(5 * DAY);
        assert_eq!(prune(&cluster).await, 10, "ten days are not more than ten days");
        assert_found(&cluster, &first, &acts).await;
        cluster.advance(seconds(1));
        assert_eq!(prune(&cluster).await, 1);
        assert_eq!(stored(&cluster).await, acts[1..]);
        // Now it is told that something is missing, and from where on nothing is.
        let mut socket = Port::of(&cluster).await.client().await;
        socket.subscribe("1", EVENTS, json!({"after": first, "filter": {"actors": ["OPERATOR"]}})).await;
        let told = socket.next("1").await["clusterEvents"].take();
        assert_eq!(told["kind"], "RESYNC");
        let oldest = told["oldestCursor"].as_str().unwrap();
        assert_eq!(place(&told["oldestCursor"]).0, acts[0].0);
        assert_eq!(cluster.rest().get(&format!("/api/v1/events?actor=operator&after={first}")).await.status, 400);
        assert_found(&cluster, oldest, &acts[1..]).await;
        cluster.advance(5 * DAY);
        assert_eq!(prune(&cluster).await, 1);
        assert_eq!(stored(&cluster).await, []);
        assert_eq!(prune(&cluster).await, 0);
    }

    // They are counted by themselves, and never leave before others of their time.
    async fn of_too_many_operators_events_the_oldest_leave(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            options.retention.max_events = 20;
            options.retention.max_operator_events = 5;
        })
        .await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        for _ in 0..4 {
            act(&cluster, "POST", "w1/drain").await;
            act(&cluster, "POST", "w1/activate").await;
        }
        let acts = stored(&cluster).await;
        assert_eq!(prune(&cluster).await, 0, "they are among the last twenty events");
        roll_out(&cluster, "a", 10).await;
        assert_eq!(prune(&cluster).await, 0);
        roll_out(&cluster, "b", 10).await;
        assert_eq!(prune(&cluster).await, 1 + 3);
        assert_eq!(stored(&cluster).await, acts[3..]);
        roll_out(&cluster, "c", 20).await;
        assert_eq!(prune(&cluster).await, 20);
        assert_found(&cluster, &format!("{}-{}", cluster.first_cursor().split('-').next().unwrap(), acts[2].0), &acts[3..]).await;
    }

    // More of them than one step looks at.
    async fn many_of_operators_stay_and_leave_in_steps(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            options.retention = Retention { max_age: DAY, max_operator_event_age: 2 * DAY, ..Retention::default() };
        })
        .await;
        for (id, count) in [("w1", 450), ("w2", 450), ("w3", 2_500)] {
            cluster.add([worker(id).max_vms(10_000)]).await;
            roll_out_at(&cluster, id, "a", count).await;
            // Its VMs go with it, and that an operator caused.
            act(&cluster, "DELETE", &format!("{id}?purge=true&force=true")).await;
        }
        let (acts, others) = (stored(&cluster).await, rows(&cluster, "actor <> 'operator'").await);
        assert_eq!((acts.len(), others.len()), (3 + 3_400, 3 + 3_400));
        cluster.advance(DAY + seconds(1));
        assert_eq!(prune(&cluster).await, others.len() as u64);
        assert_eq!(stored(&cluster).await, acts);
        cluster.advance(DAY);
        assert_eq!(prune(&cluster).await, acts.len() as u64);
        assert_eq!(rows(&cluster, "true").await, []);
    }

    // By a clock that was ahead: they age from when it is right again, also if others of their time have left meanwhile.
    async fn operators_events_of_a_clock_that_was_ahead_age_as_others_do(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            options.retention.max_events = 20;
            options.retention.max_operator_event_age = 10 * DAY;
        })
        .await;
        let clock = cluster.clock();
        cluster.add([worker("w1").max_vms(10_000)]).await;
        clock.set(clock.now() + 300 * DAY);
        act(&cluster, "POST", "w1/drain").await;
        roll_out(&cluster, "a", 50).await;
        prune(&cluster).await;
        clock.set(START.parse().unwrap());
        assert_eq!((prune(&cluster).await, stored(&cluster).await.len()), (0, 1));
        cluster.advance(10 * DAY + seconds(1));
        prune(&cluster).await;
        assert_eq!(stored(&cluster).await, []);
    }

    // At any row that it writes, because the database refuses that one and all after it. What is there then is what there
    // was, or what there is to be, and the next one ends it.
    async fn pruning_that_is_cut_off_at_any_row_is_finished_by_the_next(db: TestDatabase) {
        let mut cluster = TestCluster::configured(&db, keeping_days).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        prepare_refusals(&db).await;
        let mut left = Vec::new();
        for round in 0..3 {
            refuse_after(&db, None).await;
            let (acts, before) = grow_old(&cluster, round, 3).await;
            let mut last = None;
            // Where it has come to something, it is cut off at the first row again.
            let mut cut = 0;
            loop {
                refuse_after(&db, Some(cut)).await;
                if cluster.server().retention_pruner().prune().await.is_ok() {
                    break;
                }
                cluster = cluster.restart().await;
                assert_whole(&cluster, &acts, &before).await;
                let [pruned, deleted, operators] = boundaries(&cluster).await;
                let operators_left = rows(&cluster, &format!("revision <= {operators}")).await.len();
                let others_left = rows(&cluster, &format!("revision <= {pruned} AND actor <> 'operator'")).await.len();
                assert_eq!(others_left > 0, deleted < pruned);
                let reached = (pruned, deleted, operators);
                cut = if last.is_none_or(|last| last == reached) { cut + 1 } else { 0 };
                if last != Some(reached) {
                    left.push((round, others_left, operators_left));
                }
                last = Some(reached);
            }
            assert_pruned(&cluster).await;
        }
        // Before anything; between a beginning of the log and the removal of what is before it; before the beginning of
        // operators' events is moved; and between that and their removal. The first round has a registration, and no
        // operator's event that is old enough.
        let mut expected = vec![(0, 0, 0), (0, 4, 0)];
        for round in 1..3 {
            expected.extend([(round, 0, 0), (round, 3, 0), (round, 0, 0), (round, 0, 1)]);
        }
        assert_eq!(left, expected);
        assert_eq!(stored(&cluster).await.len(), 1);
    }

    // Between any two things that it waits for, where the server drops it. How many there are, and what the database has
    // done by then, depends on how soon a statement is answered.
    async fn pruning_that_is_dropped_anywhere_is_finished_by_the_next(db: TestDatabase) {
        let mut cluster = TestCluster::configured(&db, keeping_days).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        for round in 0..3 {
            let (acts, before) = grow_old(&cluster, round, 20).await;
            for cut in 0.. {
                let is_done = {
                    let (pruner, mut wakes) = (cluster.server().retention_pruner(), 0);
                    let mut pruning = pin!(pruner.prune());
                    in_time(poll_fn(|context| match pruning.as_mut().poll(context) {
                        Poll::Ready(removed) => Poll::Ready(removed.map(|_| true)),
                        Poll::Pending if wakes == cut => Poll::Ready(Ok(false)),
                        Poll::Pending => {
                            wakes += 1;
                            Poll::Pending
                        }
                    }))
                    .await
                    .unwrap()
                };
                if is_done {
                    break;
                }
                // What the database has been asked for may still happen, but not after this.
                cluster = cluster.restart().await;
                assert_whole(&cluster, &acts, &before).await;
            }
            assert_pruned(&cluster).await;
        }
        assert_eq!(stored(&cluster).await.len(), 1);
    }

    // As it is after a kill between the move of either beginning and the removal of what is before it.
    async fn a_kill_after_a_beginning_was_moved_leaves_nothing_behind(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        for name in ["drain", "activate"] {
            act(&cluster, "POST", &format!("w1/{name}")).await;
            roll_out(&cluster, name, 30).await;
        }
        let acts = stored(&cluster).await;
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            let moved = format!("UPDATE cluster SET events_pruned_through = {}", acts[1].0);
            database.execute(&moved).await;
        }).await;
        assert_found(&cluster, &cluster.first_cursor(), &acts).await;
        assert_eq!(by_rest(&cluster, "", None).await.len(), 30);
        assert_too_old(&cluster, &cluster.first_cursor()).await;
        assert_eq!(prune(&cluster).await, 31, "the registration and the first VMs, although they are not old");
        assert_found(&cluster, &cluster.first_cursor(), &acts).await;
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            let moved = format!("UPDATE cluster SET operator_events_pruned_through = {}", acts[0].0);
            database.execute(&moved).await;
        }).await;
        assert_eq!(by_rest(&cluster, "actor=operator", None).await, acts[1..]);
        assert_eq!(prune(&cluster).await, 1);
        assert_eq!(stored(&cluster).await, acts[1..]);
    }

    async fn a_restored_log_is_pruned_again_from_where_it_begins(db: TestDatabase) {
        let cluster = keeping_few(&db).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        act(&cluster, "POST", "w1/drain").await;
        roll_out(&cluster, "a", 450).await;
        prune(&cluster).await;
        act(&cluster, "POST", "w1/activate").await;
        roll_out(&cluster, "b", 900).await;
        let acts = stored(&cluster).await;
        let (backup, cluster) = cluster.back_up().await;
        act(&cluster, "POST", "w1/drain").await;
        roll_out(&cluster, "c", 900).await;
        prune(&cluster).await;
        let cluster = cluster.restore(&backup).await;
        assert_found(&cluster, &cluster.first_cursor(), &acts).await;
        assert!(prune(&cluster).await > 400);
        let [pruned, deleted, _] = boundaries(&cluster).await;
        assert_eq!(deleted, pruned);
        assert_found(&cluster, &cluster.first_cursor(), &acts).await;
        assert_eq!(rows(&cluster, &format!("revision <= {pruned} AND actor <> 'operator'")).await, []);
    }

    // Those of two servers; on SQLite, two of one.
    async fn two_that_prune_at_once_leave_what_operators_did(db: TestDatabase) {
        let cluster = keeping_few(&db).await;
        let other = if cluster.takes_several_servers() { Some(cluster.another_server().await) } else { None };
        cluster.add([worker("w1").max_vms(10_000)]).await;
        for n in 0..6 {
            act(&cluster, "POST", if n % 2 == 0 { "w1/drain" } else { "w1/activate" }).await;
            roll_out(&cluster, &format!("r{n}"), 2_700).await;
            let (one, another) = (
                cluster.server().retention_pruner(),
                other.as_ref().unwrap_or(&cluster).server().retention_pruner(),
            );
            let (one, another) = in_time(async { tokio::join!(one.prune(), another.prune()) }).await;
            one.unwrap();
            another.unwrap();
        }
        let acts = stored(&cluster).await;
        assert_eq!(acts.len(), 6);
        let revision = cluster.revision();
        for cluster in other.iter().chain([&cluster]) {
            // The other server has read what this one has committed.
            let reached = cluster.rest().get(&format!("/api/v1/workers?min_revision={revision}")).await;
            assert_eq!(reached.status, 200, "{}", reached.body);
            assert_found(cluster, &cluster.first_cursor(), &acts).await;
        }
        let [pruned, deleted, operators] = boundaries(&cluster).await;
        assert_eq!((deleted, operators), (pruned, 0));
        assert_eq!(rows(&cluster, &format!("revision <= {pruned} AND actor <> 'operator'")).await, []);
        assert_eq!((prune(&cluster).await, stored(&cluster).await), (0, acts));
    }

    // A program of before takes the log for complete from its oldest row on.
    async fn taken_back_the_log_has_no_holes(db: TestDatabase) {
        let cluster = keeping_few(&db).await;
        cluster.add([worker("w1").max_vms(10_000)]).await;
        act(&cluster, "POST", "w1/drain").await;
        roll_out(&cluster, "a", 450).await;
        act(&cluster, "POST", "w1/activate").await;
        prune(&cluster).await;
        let acts = stored(&cluster).await;
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            let database = aetherium::journal::Database::connect(database.url()).await.unwrap();
            let migrations = database.migrations().await.unwrap();
            let own = migrations.iter().position(|(name, _)| name.ends_with("operator_events")).unwrap();
            database.migrate_back(u32::try_from(migrations.len() - own).unwrap()).await.unwrap();
            let sql = "SELECT count(*) AS rows FROM event";
            let count = database.readers().query_one_raw(Statement::from_string(database.backend(), sql)).await;
            assert_eq!(count.unwrap().unwrap().try_get::<i64>("", "rows").unwrap(), 1, "what is after the beginning");
            database.migrate().await.unwrap();
            database.close().await.unwrap();
        }).await;
        // Made again, it says that what operators did before is missing.
        let path = format!("/api/v1/events?actor=operator&after={}", cluster.first_cursor());
        assert_eq!(cluster.rest().get(&path).await.status, 400);
        assert_eq!(by_rest(&cluster, "actor=operator", None).await, acts[1..]);
    }
}

/// What is asked of operators' events is read from their indexes, not from the whole log. SQLite plans by the shape of
/// the tables alone, so that it can be asked about an empty one.
#[tokio::test]
async fn operators_events_are_found_by_their_indexes() {
    let database = TestDatabase::sqlite();
    let cluster = TestCluster::on(&database).await;
    let readers = cluster.server().journal().database().readers();
    let plan = async |statement: Statement| {
        let explained = Statement { sql: format!("EXPLAIN QUERY PLAN {}", statement.sql), ..statement };
        let rows = readers.query_all_raw(explained).await.unwrap();
        rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap()).collect::<Vec<_>>().join("\n")
    };
    let page = || event::Entity::after(3, 4).filter(event::Entity::by_operators()).limit(9);
    let by_actor = page().filter(event::Entity::by_actors(["operator"])).build(DbBackend::Sqlite);
    let by_token = page().filter(event::Entity::by_tokens(vec!["4fT9sQ2mXw0a".to_owned()])).build(DbBackend::Sqlite);
    let pruned = entity::cluster::Column::OperatorEventsPrunedThrough;
    let begin = event::Entity::oldest_first().filter(event::Entity::is_after_pruned(pruned));
    let begin = begin.filter(event::Entity::by_operators()).limit(9).build(DbBackend::Sqlite);
    let surplus = event::Entity::revisions_newest_first().filter(event::Entity::by_operators()).offset(9_u64);
    let surplus = surplus.limit(1).build(DbBackend::Sqlite);
    let removal = event::Entity::remove_others(3, 9).build(DbBackend::Sqlite);
    // And so is what is asked of one VM, and where a time is in the log, in either direction.
    let of_vm = event::Entity::newest_first().filter(event::Entity::about_vms(vec!["vm-1".to_owned()]));
    let of_vm = of_vm.filter(event::Entity::is_before(3, 4)).limit(9).build(DbBackend::Sqlite);
    let moment = cluster.clock().now();
    let since = event::Entity::oldest_first().filter(event::Entity::is_since(moment)).limit(9).build(DbBackend::Sqlite);
    let until = event::Entity::newest_first().filter(event::Entity::is_until(moment)).limit(9).build(DbBackend::Sqlite);
    for (statement, index) in [
        (of_vm, "event_vm_id_revision_position_idx"),
        (since.clone(), "event_at_revision_idx (at>?)"),
        (since, "sqlite_autoindex_event_1 (revision>?)"),
        (until.clone(), "event_at_revision_idx (at<?)"),
        (until, "sqlite_autoindex_event_1 (revision<?)"),
        (by_actor, "event_by_operators_idx"),
        (by_token, "event_by_operators_token_idx"),
        (begin, "event_by_operators_idx"),
        (surplus, "event_by_operators_idx"),
        (removal, "sqlite_autoindex_event_1 (revision>? AND revision<?)"),
    ] {
        let sql = statement.sql.clone();
        let plan = plan(statement).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}
