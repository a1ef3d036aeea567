//! How a server fares under a fleet that behaves like a real one: `aetherium simulate` beats, starts and stops VMs, and
//! lets some workers fall silent; told are its own figures, and what the server needed for it.
//!
//! `cargo bench --bench load`, or with options of `aetherium simulate` that are to replace these:
//! `cargo bench --bench load -- --workers 5000 --interval 2s --duration 60s`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first oddity")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::support::{Core, Program};

/// 2,000 beats a second from a fleet of 40,000 VMs, for long enough that registering it is not most of it.
const FLEET: [(&str, &str); 5] =
    [("--workers", "2000"), ("--vms-per-worker", "20"), ("--interval", "1s"), ("--duration", "30s"), ("--batch", "1")];

/// What is left of a load a moment after it.
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let folder = tempfile::tempdir().unwrap();
    let server = Program::aetherium(Core::Measured, folder.path(), &[]).await.unwrap();
    let mut simulate = Core::Measuring.command(env!("CARGO_BIN_EXE_aetherium"));
    simulate.args(["simulate", "--server", &format!("http://{}", server.address)]);
    for (option, value) in FLEET {
        if !given.iter().any(|argument| argument.starts_with(option)) {
            simulate.args([option, value]);
        }
    }
    let began = Instant::now();
    let simulated = tokio::process::Command::from(simulate).args(&given).kill_on_drop(true).output().await.unwrap();
    let (cpu, elapsed) = (server.cpu_time().as_secs_f64(), began.elapsed().as_secs_f64());
    assert!(simulated.status.success(), "{}", String::from_utf8_lossy(&simulated.stderr));
    print!("{}", String::from_utf8_lossy(&simulated.stdout));
    println!("server's CPU    {cpu:.1} s of {elapsed:.1} s, {:.0} % of a core", cpu / elapsed * 100.0);
    sleep(PAUSE).await;
    let mib = |kib: i64| kib as f64 / 1_024.0;
    println!("server's memory {:.0} MiB, at most {:.0} MiB", mib(server.resident()), mib(server.peak_resident()));
    server.kill().await;
}
