//! A server that gets more than it can commit: 8,000 agents on connections of their own while each commit takes two
//! seconds, and a gateway that sends ten times what is committed. `docs/benchmarks.md` says how to read it.
//!
//! `cargo bench --bench overload`, or only some of it: `cargo bench --bench overload -- sqlite agents`. Another build of
//! the program is measured with `AETHERIUM_BENCH_PROGRAM=/path/to/aetherium`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first oddity")]

#[path = "support/mod.rs"]
mod support;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::join_all;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use self::support::{Core, Fleet, Postgres, Program};

/// Agents, each with a connection of its own, and how often they beat.
const AGENTS: usize = 8_000;
const INTERVAL: Duration = Duration::from_secs(10);

/// How long each commit takes while it is slow.
const SLOW_COMMIT: Duration = Duration::from_secs(2);

/// How long is measured before, and meanwhile: longer than the time-out, after which workers are told to be offline.
const BEFORE: Duration = Duration::from_secs(15);
const MEANWHILE: Duration = Duration::from_secs(75);
const OFFLINE_AFTER: Duration = Duration::from_secs(60);

/// The gateways' workers, bodies and connections. A gateway does not wait when it is told to.
const IN_ONE_BODY: usize = 1_000;
const FEW_GATEWAYS: usize = 4;
const MANY_GATEWAYS: usize = 256;
const TIMES_THE_PEAK: f64 = 10.0;
const FLOOD: Duration = Duration::from_secs(75);

/// Agents beside the gateways.
const HONEST_AGENTS: usize = 100;

/// Clients give up after this.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |word: &str, among: [&str; 2]| {
        let named = words.iter().any(|word| among.contains(&word.as_str()));
        !named || words.iter().any(|named| named == word)
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let all = async {
        println!(
            "{:<24}{:>10}{:>10}{:>9}{:>11}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}",
            "",
            "peak /s",
            "taken /s",
            "of peak",
            "refused /s",
            "no answer",
            "drains",
            "p50 s",
            "p99 s",
            "refused",
            "false"
        );
        for database in ["sqlite", "postgresql"] {
            for scenario in ["agents", "gateways"] {
                if wanted(database, ["sqlite", "postgresql"]) && wanted(scenario, ["agents", "gateways"]) {
                    measure(database, scenario).await?;
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        done = all => done,
        _ = terminate.recv() => bail!("told to stop"),
        _ = interrupt.recv() => bail!("told to stop"),
    }
}

async fn measure(database: &str, scenario: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let postgres = (database == "postgresql").then(Postgres::start).transpose()?;
    let url = postgres.as_ref().map(Postgres::url);
    let mut arguments = vec!["--heartbeat-interval", "10s", "--offline-after", "60s"];
    if let Some(url) = &url {
        arguments.extend(["--database-url", url]);
    }
    // Agents use little of the machine, and PostgreSQL's share is its own. A flood of bodies takes a core to send.
    let (ours, theirs) = if scenario == "agents" { (Core::Any, Core::Any) } else { (Core::Measuring, Core::Measured) };
    ours.enter();
    let server = Program::aetherium(theirs, folder.path(), &arguments).await?;
    let workers = AGENTS + 2;
    Fleet { workers, vms: 0 }.join(&server.client()).await;
    let began = Instant::now();

    // One of the last two has died, the other one is drained and opened again.
    let load = Arc::new(Load { address: server.address.clone(), ..Load::default() });
    let mut tasks = Vec::new();
    let agents = if scenario == "agents" { AGENTS } else { HONEST_AGENTS };
    for agent in 0..agents {
        tasks.push(tokio::spawn(load.clone().agent(agent)));
    }
    tasks.push(tokio::spawn(load.clone().quiet_agent(AGENTS + 1)));
    let gateways = |count: usize, pace: Option<f64>| {
        let load = load.clone();
        let bodies = Arc::new((0..AGENTS / IN_ONE_BODY).map(body).collect::<Vec<_>>());
        (0..count)
            .map(move |gateway| tokio::spawn(load.clone().gateway(gateway, bodies.clone(), pace)))
            .collect::<Vec<_>>()
    };
    let (peak, meanwhile) = if scenario == "agents" {
        sleep(INTERVAL).await;
        (load.measure(BEFORE).await, MEANWHILE)
    } else {
        let few = gateways(FEW_GATEWAYS, None);
        let peak = load.measure(BEFORE).await;
        few.iter().for_each(tokio::task::JoinHandle::abort);
        let pace = MANY_GATEWAYS as f64 * IN_ONE_BODY as f64 / (peak.taken * TIMES_THE_PEAK);
        tasks.extend(gateways(MANY_GATEWAYS, Some(pace)));
        (peak, FLOOD)
    };
    let slow =
        if scenario == "agents" { Some(Slow::begin(url.as_deref(), &server, folder.path()).await?) } else { None };
    // Once it has come to a balance.
    sleep(SLOW_COMMIT).await;
    let operator = tokio::spawn(load.clone().operator(AGENTS + 1));
    let during = load.measure(meanwhile).await;
    load.is_over.store(true, Ordering::Relaxed);
    let drains = operator.await?;
    if let Some(slow) = slow {
        slow.end(url.as_deref()).await?;
    }
    if scenario == "gateways" {
        tasks.drain(agents + 1..).for_each(|task| task.abort());
    }
    let ended = Instant::now();
    let healed = load.healed(agents).await;

    let offline = offline(&server.address).await?;
    let dead = Fleet::id(AGENTS);
    let is_beating = |worker: &String| *worker != dead && (scenario == "gateways" || *worker != Fleet::id(AGENTS + 1));
    let false_offline = offline.iter().filter(|worker| is_beating(worker)).count();
    let told = offline.contains(&dead);
    let mut times: Vec<f64> = drains.iter().filter_map(|drain| drain.as_ref().ok().copied()).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)));
    let shown = |share| at(share).map_or("-".to_owned(), |time| format!("{time:.3}"));
    println!(
        "{:<24}{:>10.0}{:>10.0}{:>8.0}%{:>11.0}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}",
        format!("{database}, {scenario}"),
        peak.taken,
        during.taken,
        100.0 * during.taken / peak.taken,
        during.refused,
        during.unanswered,
        drains.len(),
        shown(0.5),
        shown(0.99),
        drains.iter().filter(|drain| drain.is_err()).count(),
        false_offline,
    );
    let healed =
        healed.map_or("not within a minute".to_owned(), |at| format!("after {:.1} s", (at - ended).as_secs_f64()));
    println!(
        "  the dead worker was told: {told}; all were taken again {healed}; {:.0} s",
        began.elapsed().as_secs_f64()
    );
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    ensure!(OFFLINE_AFTER < MEANWHILE, "a worker that is not heard has to be told meanwhile");
    server.kill().await;
    Ok(())
}

/// What is sent, and what becomes of it.
#[derive(Default)]
struct Load {
    address: String,
    taken: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
    is_over: AtomicBool,
    /// When each agent that had a beat taken since the load was over had it taken.
    again: Mutex<std::collections::HashMap<usize, Instant>>,
}

/// Heartbeats a second, and answers that did not come.
struct Rates {
    taken: f64,
    refused: f64,
    unanswered: u64,
}

impl Load {
    async fn measure(&self, time: Duration) -> Rates {
        let counts = || [&self.taken, &self.refused, &self.unanswered].map(|count| count.load(Ordering::Relaxed));
        let (before, began) = (counts(), Instant::now());
        sleep(time).await;
        let (after, seconds) = (counts(), began.elapsed().as_secs_f64());
        let rate = |index: usize| (after[index] - before[index]) as f64 / seconds;
        Rates { taken: rate(0), refused: rate(1), unanswered: after[2] - before[2] }
    }

    /// Beats as agents do, who keep the pace they are told, wait when they are told to, and give up after a while.
    async fn agent(self: Arc<Self>, agent: usize) {
        self.beat_on(agent, true).await;
    }

    /// One whose beats are not counted.
    async fn quiet_agent(self: Arc<Self>, agent: usize) {
        self.beat_on(agent, false).await;
    }

    async fn beat_on(self: Arc<Self>, agent: usize, counts: bool) {
        let mut connection = None;
        // Spread over an interval.
        sleep(INTERVAL.mul_f64((agent % AGENTS) as f64 / AGENTS as f64)).await;
        for variant in 0.. {
            let beat = support::beat(agent, variant).to_string();
            let path = format!("/api/v1/workers/{}/heartbeat", Fleet::id(agent));
            let began = Instant::now();
            let answer = ask(&mut connection, &self.address, &request("POST", &path, &beat)).await;
            let (count, pause) = match &answer {
                Ok(Answer { status: 200, .. }) => (&self.taken, INTERVAL.saturating_sub(began.elapsed())),
                Ok(Answer { retry_after, .. }) => (&self.refused, Duration::from_secs(retry_after.unwrap_or(1))),
                Err(_) => (&self.unanswered, Duration::from_secs(1)),
            };
            if counts {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if counts && self.is_over.load(Ordering::Relaxed) && answer.is_ok_and(|answer| answer.status == 200) {
                self.again.lock().await.entry(agent).or_insert_with(Instant::now);
            }
            sleep(pause).await;
        }
    }

    /// Sends the heartbeats of many again and again, each body so long after the one before, or at once.
    async fn gateway(self: Arc<Self>, gateway: usize, bodies: Arc<Vec<String>>, pace: Option<f64>) {
        let mut connection = None;
        let pace = Duration::from_secs_f64(pace.unwrap_or(0.0));
        sleep(pace.mul_f64(gateway as f64 / MANY_GATEWAYS as f64)).await;
        for body in bodies.iter().cycle().skip(gateway) {
            let began = Instant::now();
            let request = request("POST", "/api/v1/heartbeats", body);
            let count = match ask(&mut connection, &self.address, &request).await {
                Ok(Answer { status: 200, is_refused: false, .. }) => &self.taken,
                Ok(_) => &self.refused,
                Err(_) => &self.unanswered,
            };
            count.fetch_add(IN_ONE_BODY as u64, Ordering::Relaxed);
            sleep(pace.saturating_sub(began.elapsed())).await;
        }
    }

    /// Drains a worker and opens it again, five times a second, each over a connection of its own: how long each took.
    async fn operator(self: Arc<Self>, worker: usize) -> Vec<Result<f64, ()>> {
        let mut drains = Vec::new();
        let mut turn = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let policy = ["drain", "activate"][turn % 2];
            turn += 1;
            let load = self.clone();
            let path = format!("/api/v1/workers/{}/{policy}", Fleet::id(worker));
            drains.push(tokio::spawn(async move {
                let began = Instant::now();
                match ask(&mut None, &load.address, &request("POST", &path, "{}")).await {
                    Ok(Answer { status: 200, .. }) => Ok(began.elapsed().as_secs_f64()),
                    Ok(_) | Err(_) => Err(()),
                }
            }));
            sleep(Duration::from_millis(200)).await;
        }
        join_all(drains).await.into_iter().map(Result::unwrap).collect()
    }

    /// When the last of so many agents had a beat taken since the load was over.
    async fn healed(&self, agents: usize) -> Option<Instant> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let again = self.again.lock().await;
            if again.len() == agents {
                return again.values().max().copied();
            }
            drop(again);
            sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

/// Commits that take their time.
enum Slow {
    Strace(Child),
    Trigger,
}

impl Slow {
    async fn begin(url: Option<&str>, server: &Program, folder: &std::path::Path) -> Result<Self> {
        if let Some(url) = url {
            let seconds = SLOW_COMMIT.as_secs();
            execute(
                url,
                &format!(
                    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$; \
                     CREATE TRIGGER slow BEFORE UPDATE OF revision ON cluster FOR EACH ROW EXECUTE FUNCTION slow()"
                ),
            )
            .await?;
            return Ok(Self::Trigger);
        }
        let file = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let log = file.into_iter().find(|path| path.to_string_lossy().ends_with("-wal")).context("a WAL")?;
        let what = format!("inject=fsync,fdatasync:delay_enter={}", SLOW_COMMIT.as_micros());
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &server.id().to_string(), "-P"])
            .arg(log)
            .args(["-e", "trace=fsync,fdatasync", "-e", &what])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("strace is needed")?;
        let mut lines = BufReader::new(strace.stderr.take().context("its words")?).lines();
        while !lines.next_line().await?.context("strace could not be attached")?.contains("attached") {}
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self::Strace(strace))
    }

    async fn end(self, url: Option<&str>) -> Result<()> {
        match self {
            Self::Trigger => execute(url.context("a database")?, "DROP FUNCTION slow() CASCADE").await,
            Self::Strace(mut strace) => {
                // Killed, it would leave the program stopped where it is.
                let id = strace.id().context("it runs")?.to_string();
                std::process::Command::new("sh").args(["-c", "kill -s INT \"$0\"", &id]).status()?;
                strace.wait().await?;
                Ok(())
            }
        }
    }
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await?;
    connection.execute_unprepared(sql).await?;
    connection.close().await?;
    Ok(())
}

/// The workers that were told to be offline.
async fn offline(address: &str) -> Result<Vec<String>> {
    let (mut workers, mut after, mut connection) = (Vec::new(), Value::Null, None);
    let query = "query ($after: Cursor) { events(filter: {kinds: [WORKER_OFFLINE]}, first: 500, after: $after) \
                 { nodes { workerId } endCursor hasNextPage } }";
    loop {
        let question = json!({"query": query, "variables": {"after": after}}).to_string();
        let answer = ask(&mut connection, address, &request("POST", "/graphql", &question)).await?;
        let mut answer: Value = serde_json::from_str(&answer.body)?;
        let mut page = answer["data"]["events"].take();
        let events = page["nodes"].as_array().with_context(|| answer.to_string())?;
        workers.extend(events.iter().filter_map(|event| event["workerId"].as_str().map(str::to_owned)));
        if page["hasNextPage"] != json!(true) {
            workers.sort_unstable();
            workers.dedup();
            return Ok(workers);
        }
        after = page["endCursor"].take();
    }
}

fn body(gateway: usize) -> String {
    let workers = gateway * IN_ONE_BODY..(gateway + 1) * IN_ONE_BODY;
    let beats = workers.map(|worker| {
        let mut beat = support::beat(worker, gateway);
        beat["worker_id"] = Fleet::id(worker).into();
        beat
    });
    json!({"heartbeats": beats.collect::<Vec<_>>()}).to_string()
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

struct Answer {
    status: u16,
    retry_after: Option<u64>,
    /// Whether it is a gateway's, whose entries say so.
    is_refused: bool,
    body: String,
}

/// Asks over a kept connection, or a new one.
async fn ask(kept: &mut Option<TcpStream>, address: &str, request: &[u8]) -> Result<Answer> {
    let asking = async {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(address).await?,
        };
        stream.write_all(request).await?;
        let mut bytes = Vec::with_capacity(1_024);
        let (head, length) = loop {
            ensure!(stream.read_buf(&mut bytes).await? > 0, "it closed the connection");
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length: usize = header(&head, "content-length").context("a length")?.parse()?;
                break (head, end + 4 + length);
            }
        };
        while bytes.len() < length {
            ensure!(stream.read_buf(&mut bytes).await? > 0, "it closed the connection");
        }
        if header(&head, "connection") != Some("close") {
            *kept = Some(stream);
        }
        let status = head.get(9..12).context("a status")?.parse()?;
        let retry_after = header(&head, "retry-after").and_then(|seconds| seconds.parse().ok());
        let body = String::from_utf8_lossy(&bytes[head.len() + 4..]).into_owned();
        // A gateway's heartbeats are taken all together or not at all.
        let is_refused = body.get(..body.len().min(400)).is_some_and(|first| first.contains("\"status\":503"));
        Ok(Answer { status, retry_after, is_refused, body })
    };
    timeout(PATIENCE, asking).await?
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.split_once(": ").filter(|(given, _)| *given == name).map(|(_, value)| value))
}
