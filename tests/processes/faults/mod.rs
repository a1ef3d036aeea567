//! Everything that can go wrong around a server, one after the other and several times in a row, and the table of what
//! became of it.
//!
//! What each fault must leave is said once, in [`trial`]. `tests/run` meets each fault once; `tests/run faults` meets all of
//! them as often as it is told, as a seed draws it, and prints the table.

mod fault;
mod trial;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use sea_orm::DbBackend;

use self::fault::Fault;
use self::trial::{Course, Outcome};

/// How many servers suffer at the same time: nearly all of it is waiting.
const AT_ONCE: usize = 4;

/// One test for each fault: each is met once.
macro_rules! faults {
    ($($name:ident: $backend:ident $fault:expr;)+) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let lasting = Duration::from_millis(2_500);
            let (backend, is_killed) = (DbBackend::$backend, rand::random());
            let course = Course { backend, fault: $fault, repetitions: 1, lasting, has_noop: rand::random(), is_killed };
            let outcome = trial::run(course).await;
            print(&[outcome]).iter().for_each(Outcome::check);
        }
    )+ };
}

faults! {
    postgresql_stops: Postgres Fault::Stopped;
    postgresql_freezes: Postgres Fault::Frozen;
    the_network_swallows_everything: Postgres Fault::BlackHole;
    the_primary_is_demoted: Postgres Fault::Demoted;
    postgresql_has_no_session_left: Postgres Fault::NoSessions;
    postgresql_is_slow: Postgres Fault::Slow;
    postgresqls_clock_is_set_forward: Postgres Fault::DatabaseClockSet(1);
    postgresqls_clock_is_set_back: Postgres Fault::DatabaseClockSet(-1);
    the_only_server_is_paused: Sqlite Fault::Paused;
    the_clock_is_set_forward_and_the_server_starts_again: Sqlite Fault::ClockSet(1);
    the_clock_is_set_back_and_the_server_starts_again: Sqlite Fault::ClockSet(-1);
    the_disk_hangs: Sqlite Fault::HangingDisk;
    somebody_else_holds_the_lock: Sqlite Fault::Locked;
}

/// What `tests/run faults` runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes a round: tests/run faults [ROUNDS] [SEED]"]
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
    let mut outcomes: Vec<_> = stream::iter(courses).map(trial::run).buffer_unordered(AT_ONCE).collect().await;
    outcomes.sort_by_key(|outcome| (format!("{:?}", outcome.course.backend), outcome.course.fault.to_string()));
    print(&outcomes).iter().for_each(Outcome::check);
    println!("faults: {} trials, seed {seed}", outcomes.len());
}

/// Prints the table.
fn print(outcomes: &[Outcome]) -> &[Outcome] {
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
        println!("{:#?}", outcome);
    }
    outcomes
}
