//! Three servers on one PostgreSQL: whether they share the work of reading, or hinder each other.
//!
//! One core is all there is for who is measured. So each server has a third of it in both cases: alone, it has two programs
//! beside it that only take time; the system gives all who want a core equal parts of it. Three servers then read three
//! times as much as one, less what each spends on following what the others commit, and what they take from each other's
//! caches.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Cluster;
use super::commands::{IN_ONE_BODY, bodies};
use super::figures::{Column, Figure};
use super::history::FIRST_SAMPLE_TAKEN;
use super::support::documents::FIELDS;
use super::support::load::{Connection, Request, load, same};
use super::support::{Core, Fleet, Program};

const SERVERS: usize = 3;

/// How many times the reads of one three are wanted to answer.
const TIMES: f64 = 2.5;

/// Connections to each server, and how long they ask one thing.
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(2);

/// Between two bodies of heartbeats, whoever they go to: a thousand heartbeats a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads a second, and the processor's time for each.
#[derive(Clone, Copy)]
struct Reads {
    rate: f64,
    cost: f64,
}

/// Compares one with three; one before and after the three.
pub async fn measure(cluster: &Cluster, column: &mut Column) -> Result<()> {
    let page = json!({"query": format!("{{ workersConnection(first: 50) {{ nodes {{ {FIELDS} }} }} }}")});
    let questions = [
        ("page", Request::get("/api/v1/workers?limit=50")),
        ("one worker", Request::get(&format!("/api/v1/workers/{}", Fleet::id(cluster.middle())))),
        ("GraphQL page", Request::post("/graphql", &page.to_string())),
    ];
    let bodies = bodies(0..cluster.fleet.workers, IN_ONE_BODY, 1);
    let mut servers = vec![cluster.start().await?];
    sleep(FIRST_SAMPLE_TAKEN).await;
    let before = alone(&servers[0], &questions, &bodies).await?;
    while servers.len() < SERVERS {
        servers.push(cluster.start().await?);
    }
    sleep(FIRST_SAMPLE_TAKEN).await;
    let three = reads(&servers, &questions, &bodies).await?;
    while servers.len() > 1 {
        servers.pop().context("a server")?.stop().await;
    }
    let after = alone(&servers[0], &questions, &bodies).await?;
    for (place, (question, _)) in questions.iter().enumerate() {
        let mean = |of: fn(Reads) -> f64| (of(before[place]) + of(after[place])) / 2.0;
        let one = Reads { rate: mean(|reads| reads.rate), cost: mean(|reads| reads.cost) };
        let three = three[place];
        column.add(Figure::informational(format!("{question}, one server"), "/s"), one.rate);
        column.add(Figure::informational(format!("{question}, three servers"), "/s"), three.rate);
        column.add(Figure::at_least(TIMES, format!("{question}, three to one"), "times"), three.rate / one.rate);
        let by_cost = SERVERS as f64 * one.cost / three.cost;
        column.add(Figure::informational(format!("{question}, three to one by CPU time"), "times"), by_cost);
    }
    servers.pop().context("a server")?.kill().await;
    Ok(())
}

/// The reads of a server that has as much of its core as one of three has.
async fn alone(server: &Program, questions: &[(&str, Request)], bodies: &[Request]) -> Result<Vec<Reads>> {
    let idlers = (1..SERVERS).map(|_| idler()).collect::<Result<Vec<_>>>()?;
    let reads = reads(std::slice::from_ref(server), questions, bodies).await?;
    drop(idlers);
    Ok(reads)
}

/// A program that does nothing, as fast as it can; killed when it is dropped.
fn idler() -> Result<Child> {
    let mut command = Core::Measured.command("sh");
    command.args(["-c", "while :; do :; done"]);
    Command::from(command).kill_on_drop(true).spawn().context("cannot start a shell")
}

/// Asks all servers at the same time, one question after the other, while heartbeats go to each in turn.
async fn reads(servers: &[Program], questions: &[(&str, Request)], bodies: &[Request]) -> Result<Vec<Reads>> {
    let writing = Writing::begin(servers, bodies).await?;
    let mut all = Vec::new();
    for (_, question) in questions {
        let script = same(question, CONNECTIONS);
        let cpu = || servers.iter().map(Program::cpu_time).sum::<Duration>();
        let (began, before) = (Instant::now(), cpu());
        let rates = try_join_all(servers.iter().map(|server| load(&server.address, &script, TIME))).await?;
        let rate: f64 = rates.iter().sum();
        // What was asked to begin with is in it: as many as there are connections.
        let cost = (cpu() - before).as_secs_f64() / (rate * began.elapsed().as_secs_f64());
        all.push(Reads { rate, cost });
    }
    writing.end().await?;
    Ok(all)
}

/// Heartbeats that are being sent.
struct Writing {
    task: JoinHandle<Result<()>>,
}

impl Writing {
    async fn begin(servers: &[Program], bodies: &[Request]) -> Result<Self> {
        let mut connections = try_join_all(servers.iter().map(|server| Connection::open(&server.address))).await?;
        let bodies = bodies.to_vec();
        let task = tokio::spawn(async move {
            let mut ticks = interval(PAUSE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for (turn, body) in bodies.iter().cycle().enumerate() {
                ticks.tick().await;
                let server = turn % connections.len();
                connections[server].exchange(body, |_| ()).await?;
            }
            Ok(())
        });
        Ok(Self { task })
    }

    /// Ends it; an error if it had ended by one.
    async fn end(self) -> Result<()> {
        if self.task.is_finished() {
            return self.task.await?;
        }
        self.task.abort();
        Ok(())
    }
}
