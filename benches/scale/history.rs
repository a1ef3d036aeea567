//! History: curves of a day, what a sample of the whole fleet takes, and what Prometheus is told.

use std::ops::Range;
use std::time::Duration;

use aetherium::clock::Clock;
use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Datelike as _};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DbBackend};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::figures::{Column, Figure};
use super::support::load::{Connection, Request};
use super::support::{Fleet, Program};

/// A row of the finest tier holds samples of so many seconds.
const WINDOW: u64 = 15 * 60;

/// Rows of a day, and one more: a day begins within one.
const WINDOWS: u64 = 97;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// The numbers of the tiers, in rows.
const MINUTES: u64 = 0;
const QUARTER_HOURS: u64 = 1;
const SIX_HOURS: u64 = 2;

/// A server takes its first sample five seconds after its start: until then, it has none, and some seconds later, it has.
const NO_SAMPLE_YET: Duration = Duration::from_secs(4);
pub const FIRST_SAMPLE_TAKEN: Duration = Duration::from_secs(8);

/// In which seconds of a minute a server has nothing of history to do: a sample is taken when a minute begins, and all rows
/// are written when a quarter of an hour does.
const QUIET: Range<u64> = 3..58;
const QUIET_AFTER_WRITING: Range<u64> = 25..58;

/// How long a server is watched around a minute: before, and after.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_millis(4_500);

/// What the dashboard asks for the rows of its table of workers: a small curve for each.
const SPARKLINES: &str = "{ workersConnection(first: 50) { nodes { id history(rangeSeconds: 21600, maxPoints: 36) {
    cpuCores { values } usedCpuCores { values } measuredCpuCores { values } } } } }";

/// Waits for a moment at which no history is sampled or written, nor will be for a second or two.
pub async fn wait_for_quiet() {
    let is_quiet = || {
        let now = seconds();
        let quiet = if now % WINDOW < MINUTE { QUIET_AFTER_WRITING } else { QUIET };
        quiet.contains(&(now % MINUTE))
    };
    while !is_quiet() {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the server has sampled the first worker.
pub async fn wait_for_samples(server: &Program) -> Result<()> {
    let mut connection = Connection::open(&server.address).await?;
    let history = Request::get(&format!("/api/v1/workers/{}/history", Fleet::id(0)));
    loop {
        let answer: Value = serde_json::from_slice(&connection.ask(&history).await?)?;
        if known_points(&answer) > 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Gives all workers, all zones and the cluster a day of history: each row is that of the first worker, of the zone or of
/// the cluster that a server has written when it was stopped. As they are not of that day, it would be in vain to sum them
/// up: their day and their month count as done.
pub async fn make_a_day(url: &str) -> Result<()> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await?;
    let (quickly, tidy) = match connection.get_database_backend() {
        DbBackend::Sqlite => ("PRAGMA synchronous = OFF", "PRAGMA wal_checkpoint(TRUNCATE)"),
        _ => ("SET synchronous_commit = off", "VACUUM (ANALYZE) history"),
    };
    connection.execute_unprepared(quickly).await?;
    let first = format!("w:{}", Fleet::id(0));
    let written = format!("(SELECT max(start) FROM history WHERE tier = {MINUTES} AND subject = '{first}')");
    let present = seconds() / WINDOW * WINDOW;
    let points =
        format!("(SELECT points FROM history WHERE tier = {MINUTES} AND start = {written} AND subject = '{first}')");
    let sums = format!("FROM history WHERE tier = {MINUTES} AND start = {written} AND subject NOT LIKE 'w:%'");
    for start in (0..=WINDOWS).map(|windows| present - windows * WINDOW) {
        for rows in [
            format!("SELECT {MINUTES}, {start}, 'w:' || id, {points} FROM worker WHERE true ORDER BY id"),
            format!("SELECT {MINUTES}, {start}, subject, points {sums}"),
        ] {
            add(&connection, &rows).await?;
        }
    }
    for day in [present / DAY * DAY - DAY, present / DAY * DAY - 2 * DAY] {
        let day_of_month = DateTime::from_timestamp(i64::try_from(day)?, 0).context("a day")?.day0();
        let month = day - u64::from(day_of_month) * DAY;
        for (tier, start) in [(QUARTER_HOURS, day), (SIX_HOURS, month)] {
            add(&connection, &format!("SELECT {tier}, {start}, subject, points {sums} AND subject = 'c'")).await?;
        }
    }
    connection.execute_unprepared(tidy).await?;
    connection.close().await?;
    Ok(())
}

async fn add(connection: &impl sea_orm::ConnectionTrait, rows: &str) -> Result<()> {
    let insert = format!("INSERT INTO history (tier, start, subject, points) {rows} ON CONFLICT DO NOTHING");
    connection.execute_unprepared(&insert).await?;
    Ok(())
}

/// Watches a server that was ready at this moment, and has nothing to do, around a minute: the time of a sample of all
/// workers, less what it needs anyway, and what samples add to its memory.
pub async fn measure_samples(server: &Program, ready: Instant, column: &mut Column) -> Result<()> {
    sleep(NO_SAMPLE_YET.saturating_sub(ready.elapsed())).await;
    let before = server.resident();
    sleep(FIRST_SAMPLE_TAKEN.saturating_sub(ready.elapsed())).await;
    // Not the minute in which a quarter of an hour is written.
    let next = loop {
        let next = seconds() / MINUTE * MINUTE + MINUTE;
        if until(next) > AFTER + BEFORE && !next.is_multiple_of(WINDOW) {
            break next;
        }
        sleep(until(next) + AFTER).await;
    };
    let idle = used(server, AFTER).await;
    sleep(until(next).saturating_sub(BEFORE)).await;
    let busy = used(server, BEFORE + AFTER).await;
    let idle = idle.mul_f64((BEFORE + AFTER).as_secs_f64() / AFTER.as_secs_f64());
    column.add(Figure::informational("sample of all workers", "ms"), busy.saturating_sub(idle).as_secs_f64() * 1e3);
    column.add(Figure::informational("memory of samples", "MiB"), (server.resident() - before) as f64 / 1_024.0);
    Ok(())
}

/// The time that it runs in that time.
async fn used(server: &Program, time: Duration) -> Duration {
    let before = server.threads();
    sleep(time).await;
    server.threads().run_since(&before)
}

/// Asks for curves and metrics, over one connection.
pub async fn measure_curves(cluster: &Cluster, server: &Program, column: &mut Column) -> Result<()> {
    let connection = &mut Connection::open(&server.address).await?;
    let range = format!("history?range_seconds={DAY}");
    let worker = |turn| Fleet::id((cluster.middle() + turn) % cluster.fleet.workers);
    let of_worker = |turn| Request::get(&format!("/api/v1/workers/{}/{range}", worker(turn)));
    let of_cluster = Request::get(&format!("/api/v1/cluster/{range}"));
    let answer: Value = serde_json::from_slice(&connection.ask(&of_worker(0)).await?)?;
    ensure!(known_points(&answer) >= 95, "a day of history with less points: {answer}");
    column.time(Figure::steady("a day of a worker", "ms"), connection, of_worker).await?;
    column.time(Figure::steady("a day of the cluster", "ms"), connection, |_| of_cluster.clone()).await?;
    let sparklines = Request::post("/graphql", &json!({"query": SPARKLINES}).to_string());
    let answer: Value = serde_json::from_slice(&connection.ask(&sparklines).await?)?;
    let last = &answer["data"]["workersConnection"]["nodes"][49]["history"]["usedCpuCores"]["values"];
    ensure!(last.as_array().is_some_and(|values| values.len() >= 24), "no curves of 50 workers: {answer}");
    column.time(Figure::steady("page of workers, with curves", "ms"), connection, |_| sparklines.clone()).await?;
    for (path, unit, bytes) in [("/metrics", "KiB", 1_024.0), ("/metrics/workers", "MiB", 1_048_576.0)] {
        let scrape = Request::get(path);
        column.time(Figure::informational(path, "ms"), connection, |_| scrape.clone()).await?;
        column.add(
            Figure::informational(format!("size of {path}"), unit),
            connection.ask(&scrape).await?.len() as f64 / bytes,
        );
    }
    Ok(())
}

/// How many points of what is given to VMs are known.
fn known_points(history: &Value) -> usize {
    let values = history["used_cpu_cores"]["values"].as_array();
    values.into_iter().flatten().filter(|value| !value.is_null()).count()
}

/// Seconds since 1970.
fn seconds() -> u64 {
    Clock::system().now().timestamp().unsigned_abs()
}

/// How long it is until then.
fn until(seconds: u64) -> Duration {
    let now = Clock::system().now().timestamp_millis().unsigned_abs();
    Duration::from_millis((seconds * 1_000).saturating_sub(now))
}
