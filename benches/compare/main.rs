//! The comparative benchmark: this server against others, in one run on one machine. The target of each figure stands
//! with that figure in its file here; `table` judges and prints. `docs/benchmarks.md` says how to read it.
//!
//! Everybody who is measured has one core, and whoever measures has another. Only the ratios mean anything: a machine's
//! speed is another one an hour later.
//!
//! `cargo bench --bench compare`, or only figures whose name contains a word: `cargo bench --bench compare -- q2 beats`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first oddity in its own work"
)]

mod at_rest;
mod beats;
mod limit;
mod new_document;
mod ours;
mod peers;
mod questions;
mod reads;
mod rounds;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod while_busy;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::support::{Core, load};
use self::table::Table;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == limit::SERVE {
            let bodies = arguments.next().context("a folder of bodies")?;
            return limit::serve(PathBuf::from(bodies), &arguments.collect::<Vec<_>>());
        }
        // Cargo says `--bench`.
        if !argument.starts_with("--") {
            words.push(argument);
        }
    }
    let wanted = Wanted(words);
    Core::Measuring.enter();
    // One thread, which is on that core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // An end by a signal is an end in order: what was started is stopped.
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            done = compare(&wanted) => done,
            _ = terminate.recv() => bail!("told to stop"),
            _ = interrupt.recv() => bail!("told to stop"),
        }
    })
}

/// Words of the command line; none means everything.
pub struct Wanted(Vec<String>);

impl Wanted {
    /// Whether a figure was asked for.
    pub fn has(&self, figure: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|word| figure.contains(word.as_str()))
    }
}

async fn compare(wanted: &Wanted) -> Result<()> {
    let mut table = Table::default();
    table.note(match Core::why_unpinned() {
        None => "one core for whoever is measured, one for who measures; PostgreSQL runs on any".to_owned(),
        Some(why) => format!("everything runs on any core, which blurs the ratios: {why}"),
    });
    reads::compare(wanted, &mut table).await?;
    new_document::compare(wanted, &mut table).await?;
    beats::compare(wanted, &mut table).await?;
    while_busy::compare(wanted, &mut table).await?;
    at_rest::measure(wanted, &mut table).await?;
    table.write()
}
