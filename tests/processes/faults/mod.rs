//! Everything that can go wrong around a server, one after the other and several times in a row, and the table of what
//! became of it.
//!
//! What each fault must leave is said once, in [`trial`]. `tests/run` meets each fault once; `tests/run faults` meets all of
//! them as often as it is told, as a seed draws it, and prints the table.

mod fault;
mod trial;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, stream};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use reqwest::{Method, StatusCode};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DbBackend, TransactionTrait};
use serde_json::json;
use tokio::time::sleep;

use self::fault::Fault;
use self::trial::{Course, Outcome};
use crate::database::TestDatabase;
use crate::harness::{Conduct, Proxy, Server, eventually};

/// How many servers suffer at the same time: nearly all of it is waiting.
const AT_ONCE: usize = 4;

/// Once each, at the same time.
async fn once(backend: DbBackend, faults: &[Fault]) {
    let course = |fault: &Fault| Course {
        backend,
        fault: *fault,
        repetitions: 1,
        // Until all is known of it that can be.
        lasting: trial::ALL_KNOWN_WITHIN + Duration::from_secs(2),
        has_noop: rand::random(),
        is_killed: rand::random(),
    };
    take(faults.iter().map(course).collect(), faults.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_and_the_way_to_it_fail_and_nothing_is_lost() {
    let [forward, back] = [1, -1].map(Fault::DatabaseClockSet);
    let others = [Fault::Stopped, Fault::Frozen, Fault::BlackHole, Fault::Demoted, Fault::NoSessions, Fault::Slow];
    once(DbBackend::Postgres, &[&others[..], &[forward, back]].concat()).await;
}

/// What becomes of disks that fail in other ways is told by `disk.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_sqlite_hangs_and_its_clock_is_set_and_nothing_is_lost() {
    let [forward, back] = [1, -1].map(Fault::ClockSet);
    once(DbBackend::Sqlite, &[Fault::Paused, Fault::HangingDisk, Fault::Locked, forward, back]).await;
}

/// One of two servers is cut off from the database that the other one goes on to write to.
#[tokio::test]
async fn a_server_that_is_cut_off_tells_how_old_its_answers_are() {
    TestDatabase::postgres().await.run(one_of_two_is_cut_off).await;
}

async fn one_of_two_is_cut_off(database: TestDatabase) {
    let (user, rest) = database.url().rsplit_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let wire = Proxy::before(tokio::net::lookup_host(address).await.unwrap().next().unwrap()).await;
    let other = Server::start(&database).await;
    let cut_off = Server::start_on(&format!("{user}@{}/{name}", wire.address), &database, &[]).await;
    eventually("it follows the other one", async || {
        let (_, health) = cut_off.ask("/health?require=replication").await;
        (health["components"]["replication"] == "ok").then_some(())
    })
    .await;

    wire.conduct(Conduct::Swallow);
    let body = json!({"hostname": "w", "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024});
    other.put("/workers/w", &body).await;
    let (status, health) = eventually("it knows that it does not know", async || {
        let (status, health) = cut_off.ask("/health?require=replication").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some((status, health))
    })
    .await;
    assert!(health["staleness_seconds"].as_f64().unwrap() > 5.0, "{status} {health}");
    assert_eq!(cut_off.ask("/health").await.0, StatusCode::OK, "it answers what it knows");
    assert_eq!(cut_off.get("/workers").await["workers"], json!([]));
    eventually("the other one is well", async || {
        let (_, health) = other.ask("/health?require=replication&require=commits").await;
        (health["status"] == "ok").then_some(())
    })
    .await;

    wire.conduct(Conduct::Pass);
    eventually("it has caught up", async || {
        let is_known = cut_off.get("/workers").await["total"] == 1;
        let (_, health) = cut_off.ask("/health").await;
        (is_known && health["status"] == "ok" && health["staleness_seconds"].as_f64()? < 5.0).then_some(())
    })
    .await;
    cut_off.stop().await;
    other.stop().await;
}

/// Somebody holds the lock that all commits need, as another server does in a long commit, and then does not go on.
#[tokio::test]
async fn to_wait_for_a_lock_is_no_outage_while_its_holder_goes_on() {
    TestDatabase::postgres().await.run(a_lock_that_is_held).await;
}

async fn a_lock_that_is_held(database: TestDatabase) {
    let server = Server::start(&database).await;
    let body = json!({"hostname": "w", "address": "192.0.2.1:8081", "cpu_cores": 8, "memory_mb": 1_024});
    server.put("/workers/w", &body).await;
    let mut options = ConnectOptions::new(database.url());
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await.unwrap();
    let holder = connection.begin().await.unwrap();
    holder.execute_unprepared("SELECT FROM cluster FOR UPDATE").await.unwrap();
    let drain = async {
        let (status, answer) = server.change(Method::POST, "/workers/w/drain", Some(&json!({}))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    let held = async {
        let begun = Instant::now();
        // Longer than a commit may hang (3 s), and much shorter than a lock is waited for (6 s).
        while begun.elapsed() < Duration::from_millis(3_300) {
            holder.execute_unprepared("SELECT 1").await.unwrap();
            let (status, health) = server.ask("/health?require=commits").await;
            assert_eq!(status, StatusCode::OK, "after {:?}: {health}", begun.elapsed());
            sleep(Duration::from_millis(100)).await;
        }
        holder.rollback().await.unwrap();
    };
    tokio::join!(drain, held);

    let holder = connection.begin().await.unwrap();
    holder.execute_unprepared("SELECT FROM cluster FOR UPDATE").await.unwrap();
    let told = eventually("health tells", async || {
        let (status, _) = server.ask("/health?require=commits").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    });
    let nothing = json!({});
    let activate = server.change(Method::POST, "/workers/w/activate", Some(&nothing));
    let (_, ()) = tokio::join!(activate, told);
    holder.rollback().await.unwrap();
    eventually("it is over", async || (server.get("/health").await["status"] == "ok").then_some(())).await;
    server.stop().await;
    connection.close().await.unwrap();
}

/// What `tests/run faults` runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes a round: tests/run faults [ROUNDS] [SEED] [NAME]"]
async fn all_faults_as_often_as_wanted() {
    let wanted = |name: &str| std::env::var(format!("AETHERIUM_TEST_FAULTS_{name}")).ok()?.parse::<u64>().ok();
    let rounds = wanted("ROUNDS").unwrap_or(1);
    let seed = wanted("SEED").unwrap_or_else(|| rand::random_range(0..1_000_000_000));
    println!("faults: {rounds} rounds, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut courses = Vec::new();
    for _ in 0..rounds {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
            for fault in Fault::all(backend) {
                courses.push(Course {
                    backend,
                    fault,
                    repetitions: *[1, 2, 5].choose(&mut random).unwrap(),
                    lasting: Duration::from_millis(random.random_range(500..8_000)),
                    has_noop: random.random(),
                    is_killed: random.random(),
                });
            }
        }
    }
    courses.shuffle(&mut random);
    // What is drawn does not depend on it: a trial of the whole is the same by itself.
    if let Ok(name) = std::env::var("AETHERIUM_TEST_FAULTS_NAME") {
        courses.retain(|course| course.fault.to_string().contains(&name));
    }
    take(courses, AT_ONCE).await;
    println!("faults: seed {seed}");
}

/// Takes all courses, so many at once, prints what became of them, and fails if anything is not as it has to be.
async fn take(courses: Vec<Course>, at_once: usize) {
    let count = courses.len();
    let trials = stream::iter(courses).map(async |course| {
        // One that cannot go on does not keep the others from being told of.
        let outcome = AssertUnwindSafe(trial::run(course)).catch_unwind().await;
        println!("{}: {course:?}", if outcome.is_ok() { "done" } else { "FAILED, see above" });
        outcome.ok()
    });
    let mut outcomes: Vec<_> = trials.buffer_unordered(at_once).filter_map(async |outcome| outcome).collect().await;
    outcomes.sort_by_key(|outcome| (format!("{:?}", outcome.course.backend), outcome.course.fault.to_string()));
    print(&outcomes);
    println!("faults: {} of {count} trials came to their end", outcomes.len());
    outcomes.iter().for_each(Outcome::check);
    assert_eq!(outcomes.len(), count, "some trials failed");
}

/// Prints the table.
fn print(outcomes: &[Outcome]) {
    println!(
        "| fault | database | times | acknowledged / refused / unknown | lost | half | false offline | health meanwhile \
         | known after | refused within | healed after | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let seconds = |duration: Option<Duration>| {
        duration.map_or("-".to_owned(), |duration| format!("{:.1} s", duration.as_secs_f64()))
    };
    for outcome in outcomes {
        let Course { backend, fault, repetitions, .. } = outcome.course;
        let backend = if backend == DbBackend::Sqlite { "SQLite" } else { "PostgreSQL" };
        let [acknowledged, refused, unknown] = outcome.commands;
        let verdict = if outcome.complaints.is_empty() { "" } else { "see below" };
        println!(
            "| {fault} | {backend} | {repetitions} | {acknowledged} / {refused} / {unknown} | {} | {} | {} | {} | {} | {} | {} | {verdict} |",
            outcome.lost,
            outcome.half,
            outcome.false_offline,
            outcome.health,
            seconds(outcome.known_after),
            seconds(outcome.refused_after),
            seconds(Some(outcome.healed_after)),
        );
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.complaints.is_empty()) {
        println!("{outcome:#?}");
    }
}
