//! Programs that are measured, and what the system says of them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aetherium::client::Client;
use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::Core;

/// A program that serves; killed when it is dropped.
pub struct Program {
    child: Child,
    /// Where it listens.
    pub address: String,
}

/// The threads of a program at a moment, and for how many nanoseconds each has run.
pub struct Threads(HashMap<OsString, u64>);

impl Threads {
    /// For how long these have run since an earlier moment: finer than [`Program::cpu_time`], and without what threads had
    /// run that have ended since. One for blocking work ends ten seconds after its last.
    pub fn run_since(&self, earlier: &Self) -> Duration {
        let run = self.0.iter().map(|(thread, run)| run - earlier.0.get(thread).unwrap_or(&0));
        Duration::from_nanos(run.sum())
    }
}

impl Program {
    /// Our server (or the program that `AETHERIUM_BENCH_PROGRAM` names) on a free port, with its SQLite file, unless it is told otherwise, in a folder. On one core it has one
    /// thread for requests, and is told so in case it cannot be kept to a core.
    pub async fn aetherium(core: Core, folder: &Path, arguments: &[&str]) -> Result<Self> {
        let another = std::env::var_os("AETHERIUM_BENCH_PROGRAM");
        let mut command = core.command(another.unwrap_or_else(|| env!("CARGO_BIN_EXE_aetherium").into()));
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments).current_dir(folder).stderr(Stdio::piped());
        if core == Core::Measured {
            command.env("TOKIO_WORKER_THREADS", "1");
        }
        let mut child = spawn(command)?;
        let mut log = BufReader::new(child.stderr.take().context("its log")?).lines();
        let line = log.next_line().await?.context("the server ended without a word")?;
        let line: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let address = line["listen.address"].as_str().with_context(|| line.to_string())?.to_owned();
        read_on(log);
        Ok(Self { child, address })
    }

    /// A program whose first line is where it listens, and which ends with its standard input.
    pub async fn that_tells_its_address(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(command)?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let address = timeout(Duration::from_secs(30), lines.next_line()).await.context("it does not start")??;
        read_on(lines);
        Ok(Self { child, address: address.context("it ended at once")? })
    }

    /// A client of our API.
    pub fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address)).unwrap()
    }

    /// User and system time so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The name, in parentheses, may have spaces; the times are the 14th and 15th fields, in hundredths.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Its threads.
    pub fn threads(&self) -> Threads {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).unwrap().flatten();
        let run = threads.filter_map(|thread| {
            let run = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((thread.file_name(), run.split(' ').next()?.parse().ok()?))
        });
        Threads(run.collect())
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> i64 {
        self.status("VmRSS:")
    }

    /// The most resident memory there was, in KiB.
    pub fn peak_resident(&self) -> i64 {
        self.status("VmHWM:")
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        let id = self.id().to_string();
        // Every shell has its own `kill`; the program of that name is not installed everywhere.
        Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &id]).status().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Ends it at once, and gives the system a moment to forget its sockets.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
        sleep(Duration::from_millis(200)).await;
    }

    fn status(&self, name: &str) -> i64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.id())).unwrap()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

fn spawn(command: Command) -> Result<Child> {
    let what = command.get_program().to_owned();
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", what.display()))
}

/// Takes what a program says from now on, or it would wait for somebody who does.
fn read_on(mut lines: Lines<impl AsyncBufRead + Send + Unpin + 'static>) {
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}
