//! What grows with the fleet: the same questions and commands to clusters of 1,000, 10,000 and 100,000 workers with 20 VMs
//! each, on SQLite and on PostgreSQL, and by how much the last is slower than the first. The target of each figure stands
//! with that figure in its file here; `figures` judges and prints. `docs/benchmarks.md` says how to read it.
//!
//! `cargo bench --bench scale`, or only some sizes, one database or some of the figures, by the name of their file here:
//! `cargo bench --bench scale -- 1000 10000 sqlite answers sockets`

#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first oddity"
)]

mod answers;
mod commands;
mod figures;
mod history;
mod servers;
mod sockets;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use self::figures::{Column, Figure, Table};
use self::support::load::{Connection, Request};
use self::support::{Core, Fleet, Postgres, Program};

/// How many workers there are, unless the command line names others.
const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

const VMS: usize = 20;

const DATABASES: [&str; 2] = ["sqlite", "postgresql"];

/// Files of figures. How all join, the start and the memory after it are always measured.
const THEMES: [&str; 5] = ["answers", "history", "commands", "sockets", "servers"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wanted = Wanted::by(std::env::args().skip(1))?;
    Core::Measuring.enter();
    if let Some(why) = Core::why_unpinned() {
        eprintln!("everything runs on any core, and three servers are not compared with one: {why}");
    }
    // An end by a signal is an end in order: what was started is stopped.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let all = async {
        for database in wanted.databases.iter() {
            let mut table = Table::new(format!("{database}, {VMS} VMs on each worker"));
            for &workers in &wanted.sizes {
                let began = Instant::now();
                let cluster = Cluster::new(Fleet { workers, vms: VMS }, database)?;
                table.add(workers, measure(&cluster, &wanted).await?)?;
                eprintln!("{database}, {workers} workers: measured in {:.0} s", began.elapsed().as_secs_f64());
            }
            table.print();
        }
        Ok(())
    };
    tokio::select! {
        done = all => done,
        _ = terminate.recv() => bail!("told to stop"),
        _ = interrupt.recv() => bail!("told to stop"),
    }
}

/// What is to be measured.
struct Wanted {
    sizes: Vec<usize>,
    databases: Vec<&'static str>,
    themes: Vec<&'static str>,
}

impl Wanted {
    /// What the command line names; everything of what it names nothing of.
    fn by(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut wanted = Self { sizes: Vec::new(), databases: Vec::new(), themes: Vec::new() };
        // Cargo says `--bench`.
        for word in words.filter(|word| !word.starts_with("--")) {
            if let Ok(size) = word.parse() {
                wanted.sizes.push(size);
            } else if let Some(database) = DATABASES.into_iter().find(|database| *database == word) {
                wanted.databases.push(database);
            } else if let Some(theme) = THEMES.into_iter().find(|theme| *theme == word) {
                wanted.themes.push(theme);
            } else {
                bail!("what is {word}? Name sizes, or of {}, {}", DATABASES.join(", "), THEMES.join(", "));
            }
        }
        if wanted.sizes.is_empty() {
            wanted.sizes = SIZES.into();
        }
        if wanted.databases.is_empty() {
            wanted.databases = DATABASES.into();
        }
        if wanted.themes.is_empty() {
            wanted.themes = THEMES.into();
        }
        Ok(wanted)
    }

    fn has(&self, theme: &str) -> bool {
        self.themes.contains(&theme)
    }
}

/// A fleet in a database, for which servers are started one after the other, or beside each other.
struct Cluster {
    fleet: Fleet,
    /// The folder of servers: SQLite's file is there.
    folder: TempDir,
    postgres: Option<Postgres>,
}

impl Cluster {
    fn new(fleet: Fleet, database: &str) -> Result<Self> {
        let postgres = (database == "postgresql").then(Postgres::start).transpose()?;
        Ok(Self { fleet, folder: tempfile::tempdir()?, postgres })
    }

    /// A server on the core of who is measured. Nobody falls silent: most workers never beat.
    async fn start(&self) -> Result<Program> {
        let url = self.postgres.as_ref().map(Postgres::url);
        let mut arguments = vec!["--offline-after", "24h"];
        if let Some(url) = &url {
            arguments.extend(["--database-url", url]);
        }
        Program::aetherium(Core::Measured, self.folder.path(), &arguments).await
    }

    /// Where its database is.
    fn database_url(&self) -> String {
        let file = || format!("sqlite://{}/aetherium.db", self.folder.path().display());
        self.postgres.as_ref().map_or_else(file, Postgres::url)
    }

    /// The worker that is asked for where it is one.
    fn middle(&self) -> usize {
        self.fleet.workers / 2
    }
}

async fn measure(cluster: &Cluster, wanted: &Wanted) -> Result<Column> {
    let mut column = Column::default();
    let server = cluster.start().await?;
    let began = Instant::now();
    cluster.fleet.join(&server.client()).await;
    column.add(Figure::informational("all join", "s"), began.elapsed().as_secs_f64());
    if wanted.has("history") {
        history::wait_for_samples(&server).await?;
    }
    server.stop().await;
    if wanted.has("history") {
        history::make_a_day(&cluster.database_url()).await?;
    }

    let began = Instant::now();
    let server = cluster.start().await?;
    Connection::open(&server.address).await?.ask(&Request::get("/api/v1/health")).await?;
    column.add(Figure::at_most(6.0, "start to ready", "s"), began.elapsed().as_secs_f64());
    let ready = Instant::now();
    sleep(Duration::from_secs(1)).await;
    column.add(Figure::at_most(600.0, "memory at rest", "MiB"), server.resident() as f64 / 1_024.0);
    if wanted.has("history") {
        history::measure_samples(&server, ready, &mut column).await?;
    }
    if wanted.has("answers") {
        answers::measure(cluster, &server, &mut column).await?;
    }
    if wanted.has("history") {
        history::measure_curves(cluster, &server, &mut column).await?;
    }
    if wanted.has("commands") {
        commands::measure(cluster, &server, &mut column).await?;
    }
    server.stop().await;

    if wanted.has("sockets") {
        sockets::measure(cluster, &mut column).await?;
    }
    if wanted.has("servers") && cluster.postgres.is_some() && Core::why_unpinned().is_none() {
        servers::measure(cluster, &mut column).await?;
    }
    Ok(column)
}
