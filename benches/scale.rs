//! What grows with the fleet: the same questions and commands to clusters of 1,000, 10,000 and 100,000 workers with 20 VMs
//! each, on SQLite and on PostgreSQL, and by how much the last is slower than the first. `docs/benchmarks.md` says how to
//! read it.
//!
//! `cargo bench --bench scale`, or only some sizes or one database: `cargo bench --bench scale -- 1000 10000 sqlite`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first oddity")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use self::support::load::{Connection, Request, load};
use self::support::{Core, Fleet, Postgres, Program, Socket, beat, median, registration, subscribe};

/// How many workers there are, unless the command line names others.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

const VMS: usize = 20;

const DATABASES: [&str; 2] = ["sqlite", "postgresql"];

/// Answers of which the median counts; those before them warm up.
const ANSWERS: usize = 15;
const WARM_UP: usize = 3;

/// How long heartbeats are sent.
const BEATING: Duration = Duration::from_secs(5);

/// Heartbeats come in bodies, over some connections.
const IN_ONE_BODY: usize = 100;
const GATEWAYS: usize = 8;

const EVENTS: &str = "subscription { clusterEvents { kind workerId } }";

/// What is measured of a cluster, in the order of [`FIGURES`].
type Figures = Vec<f64>;

/// How much of a figure a larger fleet may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// Nothing, up to what a machine scatters: at most twice as much.
    None,
    /// It is of all there is.
    Free,
}

/// How many times more a figure may be that should not grow.
const TWICE: f64 = 2.0;

/// Everything that is measured, with its unit.
const FIGURES: [(&str, &str, Growth); 23] = [
    ("all join", "s", Growth::Free),
    ("start to ready", "s", Growth::Free),
    ("memory at rest", "MiB", Growth::Free),
    ("one worker", "ms", Growth::None),
    ("page of workers, first", "ms", Growth::None),
    ("page of workers, middle", "ms", Growth::None),
    ("page of workers, sorted", "ms", Growth::None),
    ("page of sorted workers, second", "ms", Growth::None),
    ("page of workers, in a zone", "ms", Growth::None),
    ("page of a zone, middle", "ms", Growth::None),
    ("page of workers, by label", "ms", Growth::None),
    ("page of workers, by status", "ms", Growth::None),
    ("page of VMs, first", "ms", Growth::None),
    ("page of VMs, middle", "ms", Growth::None),
    ("page of VMs, in a zone", "ms", Growth::None),
    ("page of events, first", "ms", Growth::None),
    ("page of events, middle", "ms", Growth::None),
    ("statistics", "ms", Growth::None),
    ("all workers", "ms", Growth::Free),
    ("drain", "ms", Growth::None),
    ("heartbeat", "ms", Growth::None),
    ("change to subscriber", "ms", Growth::None),
    ("heartbeats in hundreds", "/s", Growth::Free),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let mut sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = SIZES.into();
    }
    let databases: Vec<&str> = words.iter().map(String::as_str).filter(|word| word.parse::<usize>().is_err()).collect();
    if let Some(unknown) = databases.iter().find(|database| !DATABASES.contains(database)) {
        bail!("there is no database {unknown} here: name {}, or sizes", DATABASES.join(", "));
    }
    let wanted = |database| databases.is_empty() || databases.contains(&database);
    Core::Measuring.enter();
    // An end by a signal is an end in order: what was started is stopped.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let all = async {
        for database in DATABASES.into_iter().filter(|database| wanted(database)) {
            let mut columns = Vec::new();
            for &workers in &sizes {
                let postgres = (database == "postgresql").then(Postgres::start).transpose()?;
                columns.push(measure(Fleet { workers, vms: VMS }, postgres.as_ref()).await?);
            }
            print(database, &sizes, &columns);
        }
        Ok(())
    };
    tokio::select! {
        done = all => done,
        _ = terminate.recv() => bail!("told to stop"),
        _ = interrupt.recv() => bail!("told to stop"),
    }
}

/// A row for each figure: a column for each size, how many times the first the last is, and a mark if that is more than it
/// should be.
fn print(database: &str, sizes: &[usize], columns: &[Figures]) {
    let heads: String = sizes.iter().map(|size| format!("{size:>12}")).collect();
    println!("\n{:<34}{heads}{:>12}", format!("{database}, workers with {VMS} VMs"), "last/first");
    for (row, (figure, unit, allowed)) in FIGURES.into_iter().enumerate() {
        let values: Vec<f64> = columns.iter().map(|column| column[row]).collect();
        let shown: String = values.iter().map(|value| format!("{value:>12.3}")).collect();
        let growth = values.last().unwrap() / values.first().unwrap();
        let mark = if allowed == Growth::None && growth > TWICE { "  grows" } else { "" };
        println!("{:<34}{shown}{growth:>12.2}{mark}", format!("{figure}, {unit}"));
    }
}

async fn measure(fleet: Fleet, postgres: Option<&Postgres>) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let url = postgres.map(Postgres::url);
    let mut arguments = vec!["--offline-after", "24h"];
    if let Some(url) = &url {
        arguments.extend(["--database-url", url]);
    }
    let start = async || Program::aetherium(Core::Measured, folder.path(), &arguments).await;

    let server = start().await?;
    let began = Instant::now();
    fleet.join(&server.client()).await;
    let mut figures = vec![began.elapsed().as_secs_f64()];
    server.stop().await;

    let began = Instant::now();
    let server = start().await?;
    let mut connection = Connection::open(&server.address).await?;
    connection.ask(&Request::get("/api/v1/health")).await?;
    figures.push(began.elapsed().as_secs_f64());
    sleep(Duration::from_secs(1)).await;
    figures.push(server.resident() as f64 / 1_024.0);

    let middle = fleet.workers / 2;
    let cursor = Cursors::of(&mut connection, middle).await?;
    let worker = format!("/api/v1/workers/{}", Fleet::id(middle));
    let zone = registration(middle).zone;
    for path in [
        worker.clone(),
        "/api/v1/workers?limit=50".to_owned(),
        format!("/api/v1/workers?limit=50&cursor={}", cursor.worker),
        "/api/v1/workers?limit=50&sort=-hostname".to_owned(),
        format!("/api/v1/workers?limit=50&sort=-hostname&cursor={}", cursor.sorted),
        format!("/api/v1/workers?limit=50&zone={zone}"),
        format!("/api/v1/workers?limit=50&zone={zone}&cursor={}", cursor.worker),
        "/api/v1/workers?limit=50&label=env=production".to_owned(),
        "/api/v1/workers?limit=50&status=active".to_owned(),
        "/api/v1/vms?limit=50".to_owned(),
        format!("/api/v1/vms?limit=50&cursor={}", cursor.vm),
        format!("/api/v1/vms?limit=50&zone={zone}"),
        "/api/v1/events?limit=50".to_owned(),
        format!("/api/v1/events?limit=50&after={}", cursor.event),
        "/api/v1/cluster/stats".to_owned(),
        "/api/v1/workers".to_owned(),
    ] {
        figures.push(milliseconds(&mut connection, |_| Request::get(&path)).await?);
    }
    // An answer of before is no answer any more: each of these changes something.
    let policies = ["drain", "activate"].map(|policy| Request::post(&format!("{worker}/{policy}"), "{}"));
    figures.push(milliseconds(&mut connection, |turn| policies[turn % 2].clone()).await?);
    let heartbeat = format!("{worker}/heartbeat");
    figures
        .push(milliseconds(&mut connection, |turn| Request::post(&heartbeat, &beat(middle, turn).to_string())).await?);
    figures.push(until_told(&server.address, &mut connection, &policies).await?);
    figures.push(load(&server.address, &beats(fleet), BEATING).await? * IN_ONE_BODY as f64);
    server.stop().await;
    ensure!(figures.len() == FIGURES.len(), "a figure without a name");
    Ok(figures)
}

/// The median time of an answer.
async fn milliseconds(connection: &mut Connection, request: impl Fn(usize) -> Request) -> Result<f64> {
    let mut times = Vec::new();
    for turn in 0..WARM_UP + ANSWERS {
        let request = request(turn);
        let asked = Instant::now();
        connection.exchange(&request, |_| ()).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times.split_off(WARM_UP)))
}

/// The median time from a command until a subscriber has heard of it.
async fn until_told(address: &str, connection: &mut Connection, policies: &[Request; 2]) -> Result<f64> {
    let mut socket = subscribe(TcpStream::connect(address).await?, EVENTS).await;
    // It has begun: acknowledged, and told from where on it tells.
    for _ in 0..2 {
        socket.next().await.context("the socket was closed")??;
    }
    let mut times = Vec::new();
    for turn in 0..WARM_UP + ANSWERS {
        let asked = Instant::now();
        connection.exchange(&policies[turn % 2], |_| ()).await?;
        event(&mut socket).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times.split_off(WARM_UP)))
}

async fn event(socket: &mut Socket) -> Result<()> {
    loop {
        let message = socket.next().await.context("the socket was closed")??;
        if message.to_text()?.contains("WORKER_") {
            return Ok(());
        }
    }
}

/// Heartbeats of all workers, in bodies: each gateway sends those of its own.
fn beats(fleet: Fleet) -> support::load::Script {
    let workers: Vec<usize> = (0..fleet.workers).collect();
    let bodies: Vec<Request> = workers
        .chunks(IN_ONE_BODY)
        .map(|some| {
            let beats = some.iter().map(|&worker| {
                let mut beat = beat(worker, 1);
                beat["worker_id"] = Fleet::id(worker).into();
                beat
            });
            Request::post("/api/v1/heartbeats", &json!({"heartbeats": beats.collect::<Vec<_>>()}).to_string())
        })
        .collect();
    (0..GATEWAYS).map(|gateway| bodies.iter().skip(gateway).step_by(GATEWAYS).cloned().collect()).collect()
}

/// Places in the middle of lists.
struct Cursors {
    worker: String,
    sorted: String,
    vm: String,
    event: String,
}

impl Cursors {
    /// Those after the worker of this number, and after what happened to it.
    async fn of(connection: &mut Connection, worker: usize) -> Result<Self> {
        let id = Fleet::id(worker);
        let document = "query ($id: ID!, $vm: String!) {
            workersConnection(filter: {ids: [$id]}, first: 1) { pageInfo { endCursor } }
            sorted: workersConnection(first: 50, orderBy: {field: HOSTNAME, direction: DESC}) { pageInfo { endCursor } }
            vmsConnection(filter: {workerIds: [$id], search: $vm}, first: 1) { pageInfo { endCursor } }
            events(filter: {workerIds: [$id]}, first: 1) { nodes { cursor } }
        }";
        let question = json!({"query": document, "variables": {"id": id, "vm": format!("vm-{worker:05}-10")}});
        let answer = connection.ask(&Request::post("/graphql", &question.to_string())).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let text = |path| answer.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let cursor = |path| text(path).with_context(|| format!("no {path} in {answer}"));
        Ok(Self {
            worker: cursor("/data/workersConnection/pageInfo/endCursor")?,
            sorted: cursor("/data/sorted/pageInfo/endCursor")?,
            vm: cursor("/data/vmsConnection/pageInfo/endCursor")?,
            event: cursor("/data/events/nodes/0/cursor")?,
        })
    }
}
