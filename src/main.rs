//! `aetherium`, the program: a runtime, signals, and one sentence when something cannot be done.
//!
//! What can be asked for is in [`cli`], how it is logged in [`telemetry`]; everything else is the library's.

mod cli;
mod telemetry;

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aetherium::timing::{RUNTIME_SHUTDOWN_TIME, export_spans_time};
use aetherium::trace;
use anyhow::Context;
use mimalloc::MiMalloc;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::Cli;

/// With the system's own, a heartbeat takes up to a fifth more of the processor (ADR 0036).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit status of a process that was ended by a signal is this, plus the number of the signal, by the convention of
/// shells.
const ENDED_BY_SIGNAL: i32 = 128;

fn main() -> ExitCode {
    keep_to_small_pages();
    let cli = Cli::of_this_process();
    run(cli).unwrap_or_else(|error| {
        // Nothing can be done about a standard error that takes nothing.
        let _ = writeln!(io::stderr(), "aetherium: {}", sentence(&error));
        ExitCode::FAILURE
    })
}

/// The allocator asks for pages of 2 MiB, each of which the system clears at once when it is first touched: a request that
/// needs more memory than any before it waits for that (ADR 0036).
fn keep_to_small_pages() {
    // If the system refuses, such requests are slower, and nothing else is lost.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    telemetry::init()?;
    // The only provider there is, installed before anybody asks for one; a second call would say that it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = runtime().enable_all().build().context("cannot start threads")?;
    let shutdown_began = Arc::new(OnceLock::new());
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        if cli.ends_in_order() {
            let signals = [SignalKind::terminate(), SignalKind::interrupt()];
            for kind in signals {
                let signal = signal(kind).context("cannot listen for signals")?;
                tokio::spawn(on_signal(signal, kind, shutdown.clone(), shutdown_began.clone()));
            }
        }
        let exporter = cli.service_name().and_then(|name| trace::start_exporter(name, cli.ends_in_order()));
        let outcome = cli.run(shutdown).await;
        if let Some(exporter) = exporter {
            let since_shutdown = shutdown_began.get().map_or(Duration::ZERO, Instant::elapsed);
            exporter.shut_down(export_spans_time(since_shutdown)).await;
        }
        outcome
    });
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIME);
    outcome
}

/// A thread for each core. Where there is one core, it is this thread: handing work over to another one, and asking
/// whether it has some to spare, took a fifth of what a heartbeat takes (ADR 0005).
fn runtime() -> Builder {
    match std::thread::available_parallelism() {
        Ok(NonZeroUsize::MIN) => Builder::new_current_thread(),
        Ok(_) | Err(_) => Builder::new_multi_thread(),
    }
}

/// The first signal starts an orderly shutdown; a further one ends the process at once.
async fn on_signal(
    mut signal: Signal,
    kind: SignalKind,
    shutdown: CancellationToken,
    shutdown_began: Arc<OnceLock<Instant>>,
) {
    while signal.recv().await.is_some() {
        if shutdown.is_cancelled() {
            std::process::exit(ENDED_BY_SIGNAL + kind.as_raw_value());
        }
        let _ = shutdown_began.set(Instant::now());
        info!("Asked to stop (signal {})", kind.as_raw_value());
        shutdown.cancel();
    }
}

/// An error and what is behind it, on one line.
///
/// Errors differ in whether their words include their cause's. So causes are added until a sentence has come to its full
/// stop, or until the innermost cause, which says what really happened, has been said.
fn sentence(error: &anyhow::Error) -> String {
    let innermost = error.root_cause().to_string();
    let mut said = String::new();
    for cause in error.chain() {
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(&cause.to_string());
        if said.ends_with('.') || said.contains(&innermost) {
            break;
        }
    }
    let mut line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if !line.ends_with('.') {
        line.push('.');
    }
    line
}
