//! What answers and commands cost the database, in statements.

use std::ops::Range;

use aetherium::auth::Caller;
use aetherium::cluster::EventFilter;
use aetherium::resolvers::EventView;
use entity::event;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use sea_orm::{
    ConnectionTrait as _, DatabaseTransaction, DbBackend, QuerySelect as _, QueryTrait as _, Statement,
    TransactionTrait as _,
};
use serde_json::json;

use crate::harness::*;

/// Everything that can be asked of the live state.
const QUESTIONS: [&str; 13] = [
    "/api/v1/workers",
    "/api/v1/workers?zone=a",
    "/api/v1/workers?limit=10",
    "/api/v1/workers/w1",
    "/api/v1/workers/w1/vms",
    "/api/v1/cluster/stats",
    "/api/v1/cluster/distribution",
    "/api/v1/vms",
    "/api/v1/vms/vm-1",
    "/api/v1/placement?vcpus=1&memory_mb=1&count=100",
    "/api/v1/capacity?vcpus=1&memory_mb=1",
    "/api/v1/evacuation-plan?id=w1",
    "/api/v1/reservations",
];

/// The fewest statements that an action costs in some attempts: servers on PostgreSQL look for each
/// other's commits twice a second, which may fall into one attempt but not into all of them.
async fn cost(cluster: &TestCluster, action: impl AsyncFn()) -> u64 {
    let mut fewest = u64::MAX;
    for _ in 0..5 {
        let before = cluster.statements_sent();
        action().await;
        fewest = fewest.min(cluster.statements_sent() - before);
    }
    fewest
}

/// Lets so many workers with a VM each join, a gateway's fill at a time.
async fn populate(cluster: &TestCluster, workers: Range<usize>) {
    for start in workers.clone().step_by(1_000) {
        join(cluster, start..workers.end.min(start + 1_000)).await;
    }
}

/// Lets workers with a VM each join at once.
async fn join(cluster: &TestCluster, workers: Range<usize>) {
    let registrations = workers.clone().map(|n| {
        let registration = worker("w").zone("a").registration();
        cluster.rest().put(&format!("/api/v1/workers/w{n}")).json(registration).into_future()
    });
    let registered = futures_util::future::join_all(registrations).await;
    assert!(registered.iter().all(|answer| answer.status == 201));
    beat_all(cluster, workers).await;
}

/// One gateway reports for all of these workers.
async fn beat_all(cluster: &TestCluster, workers: Range<usize>) {
    let beats: Vec<_> = workers
        .map(
            |n| json!({"worker_id": format!("w{n}"), "incarnation": 1, "vms": [{"id": format!("vm-{n}"), "vcpus": 1}]}),
        )
        .collect();
    let answer = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).await.json();
    assert!(answer["results"].as_array().unwrap().iter().all(|result| result["status"] == 200));
}

/// Holds the row of the cluster on PostgreSQL, whose writer has a thread of its own and is quick. On SQLite it has none.
async fn hold(cluster: &TestCluster) -> Option<DatabaseTransaction> {
    let database = cluster.server().journal().database();
    if database.backend() == DbBackend::Sqlite {
        return None;
    }
    let held = database.readers().begin().await.unwrap();
    held.execute_unprepared("SELECT FROM cluster FOR UPDATE").await.unwrap();
    Some(held)
}

on_both_databases! {
    // regression: the distribution asked once per worker
    async fn questions_cost_no_statement_however_many_workers_there_are(cluster: TestCluster) {
        for workers in [0..10, 10..1_000] {
            let count = workers.end;
            populate(&cluster, workers).await;
            for path in QUESTIONS {
                let statements = cost(&cluster, async || assert_eq!(cluster.rest().get(path).await.status, 200)).await;
                assert_eq!(statements, 0, "{path} with {count} workers");
            }
        }
    }

    async fn sparklines_of_a_page_of_workers_are_one_statement(cluster: TestCluster) {
        populate(&cluster, 0..200).await;
        for _ in 0..20 {
            cluster.sample().await;
            cluster.advance(minutes(1));
        }
        for (count, arguments) in [(1, ""), (50, ""), (200, ""), (200, "(rangeSeconds: 604800)"), (200, "(rangeSeconds: 34300800)")] {
            let page = format!("{{ workersConnection(first: {count}) {{ nodes {{ history{arguments} {{ usedCpuCores {{ values }} }} }} }} }}");
            let statements = cost(&cluster, async || {
                let nodes = cluster.graphql(&page).await["workersConnection"]["nodes"].take();
                assert_eq!(nodes.as_array().map(Vec::len), Some(count));
                assert!(nodes.as_array().unwrap().iter().all(|node| node["history"]["usedCpuCores"].is_object()), "{arguments}");
            });
            assert_eq!(statements.await, 1, "{count} {arguments}");
        }
        let one = cost(&cluster, async || assert_eq!(cluster.rest().get("/api/v1/cluster/history").await.status, 200)).await;
        assert_eq!(one, 1);
    }

    async fn measured_load_costs_heartbeats_no_statement(cluster: TestCluster) {
        populate(&cluster, 0..1).await;
        let beat = async |beat: serde_json::Value| {
            let beaten = cluster.beat("w0", beat).await;
            assert_eq!(beaten.status, 200);
        };
        let plain = cost(&cluster, async || beat(json!({"incarnation": 1})).await).await;
        let before = cluster.revision();
        let measured = json!({"cpu_busy_seconds": 1.5, "memory_used_mb": 7, "load1": 0.5});
        let with_load = cost(&cluster, async || beat(json!({"incarnation": 1, "measured": measured})).await).await;
        assert_eq!(with_load, plain);
        assert_eq!(cluster.revision() - before, 5, "a commit for each heartbeat, and none for what it measured");
    }

    async fn what_is_held_costs_heartbeats_no_statement(cluster: TestCluster) {
        populate(&cluster, 0..10).await;
        let beat = async || assert_eq!(cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 1})).await.status, 200);
        let before = cost(&cluster, beat).await;
        let reserve = async |count: usize| {
            let body = json!({"vcpus": 1, "memory_mb": 1, "count": count});
            assert_eq!(cluster.rest().post("/api/v1/reservations").json(body).await.status, 201);
        };
        let of_one = cost(&cluster, async || reserve(1).await).await;
        assert_eq!(cost(&cluster, async || reserve(20).await).await, of_one, "however many slots it has");
        assert_eq!(cost(&cluster, beat).await, before);
    }

    // regression: everything before the place was read first
    async fn a_page_of_the_change_log_is_read_from_its_place_on(cluster: TestCluster) {
        let database = cluster.server().journal().database();
        let backend = database.backend();
        let page = event::Entity::after(7, 3).limit(10).build(backend);
        let explain = if backend == DbBackend::Sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
        let plan = Statement { sql: format!("{explain} {}", page.sql), ..page };
        let connection = database.readers().begin().await.unwrap();
        let column = if backend == DbBackend::Sqlite {
            "detail"
        } else {
            // The table is empty, and a small one is read whole.
            connection.execute_unprepared("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off").await.unwrap();
            "QUERY PLAN"
        };
        let lines = connection.query_all_raw(plan).await.unwrap();
        let plan: Vec<String> = lines.iter().map(|line| line.try_get("", column).unwrap()).collect();
        let begins_at_the_place = match backend {
            DbBackend::Sqlite => "(revision,position)>(?,?)",
            _ => "Index Cond: (ROW(revision, \"position\") > ROW(",
        };
        assert!(plan.iter().any(|line| line.contains(begins_at_the_place)), "{plan:#?}");
    }

    async fn heartbeats_that_come_together_cost_as_many_statements_as_one(cluster: TestCluster) {
        populate(&cluster, 0..300).await;
        let one = cost(&cluster, async || beat_all(&cluster, 0..1).await).await;
        let many = cost(&cluster, async || beat_all(&cluster, 0..300).await).await;
        assert_eq!(many, one);
        assert!((1..=4).contains(&one), "as many as there are writers of the table: {one}");
    }

    /// Somebody else commits, and this server has not heard of it when a heartbeat comes.
    async fn a_heartbeat_that_was_decided_on_what_has_passed_is_decided_anew(cluster: TestCluster) {
        populate(&cluster, 0..1).await;
        for policy in ["draining", "active", "draining"] {
            let sql = format!(
                "UPDATE cluster SET revision = revision + 1; \
                 UPDATE worker SET policy = '{policy}', policy_revision = (SELECT revision FROM cluster), \
                 revision = (SELECT revision FROM cluster)"
            );
            // One that finds what it expects, so that the next one expects so, too.
            beat_all(&cluster, 0..1).await;
            let before = cluster.revision();
            let database = cluster.server().journal().database();
            database.readers().execute_unprepared(&sql).await.unwrap();
            let reply = cluster.beat("w0", json!({"incarnation": 1, "used_cpu_cores": 3})).await.json();
            assert_eq!([&reply["policy"], &reply["revision"]], [&json!(policy), &json!(before + 2)]);
        }
        let before = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, before);
    }

    async fn registrations_that_come_together_cost_as_many_statements_as_one(cluster: TestCluster) {
        let cost_of = async |workers: Range<usize>| {
            let before = cluster.statements_sent();
            let registrations = workers.map(|n| {
                cluster.rest().put(&format!("/api/v1/workers/w{n}")).json(worker("w").registration()).into_future()
            });
            let mut registered = Box::pin(futures_util::future::join_all(registrations));
            // They come while somebody else holds what every commit waits for.
            let held = hold(&cluster).await;
            assert!(futures_util::poll!(&mut registered).is_pending());
            if let Some(held) = held {
                held.commit().await.unwrap();
            }
            registered.await;
            cluster.statements_sent() - before
        };
        // What came first may be a batch of its own; and who looks for other servers' commits may come between, once.
        let (one, many) = (cost_of(0..1).await, cost_of(1..400).await);
        assert!(many <= 2 * one + 1, "{many} statements for 399 workers, {one} for one");
    }
}

/// How many workers have how many VMs each: more rows than one commit should have.
const HOSTS: usize = 120;
const VMS_PER_HOST: usize = 200;

/// A start of the host of a worker, and of its process.
async fn start_host(cluster: &TestCluster, n: usize, start: &str) -> Answer {
    let mut registration = worker("w").registration();
    registration["boot_id"] = start.into();
    registration["host_boot_id"] = start.into();
    cluster.rest().put(&format!("/api/v1/workers/w{n}")).json(registration).await
}

async fn start_hosts_with_vms(cluster: &TestCluster) {
    for n in 0..HOSTS {
        assert_eq!(start_host(cluster, n, "start-1").await.status, 201);
        let vms: Vec<_> = (0..VMS_PER_HOST).map(|vm| json!({"id": format!("w{n}-vm-{vm}")})).collect();
        assert_eq!(cluster.beat(&format!("w{n}"), json!({"incarnation": 1, "vms": vms})).await.status, 200);
    }
}

/// What requests are answered that all come while somebody else holds what every commit waits for, and in how many commits.
async fn commits_of(
    cluster: &TestCluster,
    requests: impl Iterator<Item = impl Future<Output = Answer>>,
) -> (Vec<Answer>, u64) {
    let before = cluster.revision();
    let mut answers = Box::pin(futures_util::future::join_all(requests));
    let held = hold(cluster).await;
    assert!(futures_util::poll!(&mut answers).is_pending());
    if let Some(held) = held {
        held.commit().await.unwrap();
    }
    (answers.await, cluster.revision() - before)
}

on_both_databases! {
    // regression: a restart counted as one row, however many VMs went with it, and the whole fleet's was one commit
    async fn hosts_that_start_anew_together_are_committed_in_parts(cluster: TestCluster) {
        start_hosts_with_vms(&cluster).await;
        let starts = (0..HOSTS).map(|n| start_host(&cluster, n, "start-2"));
        let (answers, commits) = commits_of(&cluster, starts).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        // Each restart is told with the VMs that went: 24,120 entries, of which a commit has no more than 10,000.
        assert!(commits >= 3, "{commits}");
        assert_eq!(cluster.rest().get("/api/v1/vms").await.json()["total"], 0);
    }

    // regression: the entries of the VMs that go with a worker did not count
    async fn workers_that_are_removed_together_are_removed_in_parts(cluster: TestCluster) {
        start_hosts_with_vms(&cluster).await;
        let removals = (0..HOSTS).map(|n| {
            cluster.rest().delete(&format!("/api/v1/workers/w{n}?purge=true&force=true")).into_future()
        });
        let (answers, commits) = commits_of(&cluster, removals).await;
        assert!(answers.iter().all(|answer| answer.status == 204));
        // As above, with the worker's row and what is left of it.
        assert!(commits >= 3, "{commits}");
        assert_eq!(cluster.rest().get("/api/v1/vms").await.json()["total"], 0);
    }
}

/// On PostgreSQL, where each statement is a way there and back.
#[tokio::test]
async fn heartbeats_without_news_of_vms_are_one_statement() {
    TestDatabase::postgres()
        .await
        .run(async |cluster: TestCluster| {
            populate(&cluster, 0..3).await;
            assert_eq!(cost(&cluster, async || beat_all(&cluster, 0..3).await).await, 1);
            // What somebody else has committed is looked at first, and then it is one again.
            let other = cluster.another_server().await;
            other.rest().post("/api/v1/workers/w1/drain").await;
            beat_all(&cluster, 0..3).await;
            assert_eq!(cluster.worker("w1").await["status"], "draining");
            assert_eq!(cost(&cluster, async || beat_all(&cluster, 0..3).await).await, 1);
        })
        .await;
}

/// How many VMs come and go at once: entries of the change log, which are more than one page of it.
const MANY: usize = 1_200;

/// How many follow at once.
const FOLLOWERS: usize = 40;

/// The next event of a stream that says that something has changed.
async fn next_change(stream: &mut (impl Stream<Item = aetherium::error::Result<EventView>> + Unpin)) -> EventView {
    loop {
        let event = stream.next().await.expect("the stream should go on").expect("the log should be readable");
        if !event.event.kind.is_notice() {
            return event;
        }
    }
}

/// On PostgreSQL, where others commit.
// regression: whoever followed read by itself what another server had committed
#[tokio::test]
async fn what_another_server_commits_is_read_once_however_many_follow() {
    TestDatabase::postgres()
        .await
        .run(async |cluster: TestCluster| {
            populate(&cluster, 0..2).await;
            assert_eq!(cluster.beat("w0", json!({"incarnation": 1, "vms": []})).await.status, 200);
            let other = cluster.another_server().await;
            let resolvers = cluster.server().resolvers();
            // Each asks for something of its own, so that nothing but the reading could be shared.
            let follow = |number: usize| {
                let worker_ids = vec!["w0".to_owned(), format!("nobody-{number}")];
                let filter = EventFilter { worker_ids: Some(worker_ids), ..EventFilter::default() };
                Box::pin(resolvers.watch_events(&Caller::unrestricted(), None, filter).unwrap())
            };
            let cost_for = async |followers: usize| {
                let mut streams: Vec<_> = (0..followers).map(follow).collect();
                let mut fewest = u64::MAX;
                for round in 0..8 {
                    let before = cluster.statements_sent();
                    // A step of one entry, and one of more than a page, by turns.
                    let told = if round % 4 < 2 {
                        let command = ["drain", "activate"][round % 2];
                        assert_eq!(other.rest().post(&format!("/api/v1/workers/w0/{command}")).await.status, 200);
                        1
                    } else {
                        let count = if round % 2 == 0 { MANY } else { 0 };
                        let vms: Vec<_> = (0..count).map(|n| json!({"id": format!("vm-{n:04}")})).collect();
                        let beat = json!({"incarnation": 1, "vms": vms});
                        assert_eq!(other.beat("w0", beat).await.status, 200);
                        MANY
                    };
                    let all = streams.iter_mut().map(async |stream| {
                        let mut heard = Vec::new();
                        while heard.len() < told {
                            heard.push(next_change(stream).await.event.cursor.clone());
                        }
                        heard
                    });
                    let heard = in_time(join_all(all)).await;
                    let (first, rest) = heard.split_first().unwrap();
                    assert!(first.is_sorted_by(|one, other| other.is_after(one)), "in order, and each once");
                    assert!(rest.iter().all(|other| other == first), "everybody hears the same");
                    if round > 1 {
                        fewest = fewest.min(cluster.statements_sent() - before);
                    }
                }
                fewest
            };
            // A look for others' commits may come between, twice a second, but less than one statement for each follower.
            let (one, many) = (cost_for(1).await, cost_for(FOLLOWERS).await);
            assert!(many < one + FOLLOWERS as u64, "{many} statements for {FOLLOWERS} followers, {one} for one");
        })
        .await;
}

/// On SQLite, where nobody looks for other servers' commits in between, however long an answer takes.
#[tokio::test]
async fn questions_cost_no_statement_with_ten_thousand_workers() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    populate(&cluster, 0..10_000).await;
    let before = cluster.statements_sent();
    for path in QUESTIONS {
        assert_eq!(cluster.rest().get(path).await.status, 200, "{path}");
    }
    assert_eq!(cluster.rest().get("/api/v1/cluster/stats").await.json()["total_workers"], 10_000);
    assert_eq!(cluster.statements_sent() - before, 0);
}
