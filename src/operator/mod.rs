//! What operators do from a terminal: the commands that ask a server over its public API, and what they write.
//!
//! They know nothing of the server but the names of fields ([`columns`]): whatever they need and cannot ask for is missing
//! from the API. Which commands there are is in [`OperatorCommand`]; each has a file. They share which server is asked
//! ([`connection`]), how objects are written ([`output`]), what a failure is ([`failure`]), and how a list is followed
//! ([`event_feed`], [`watch`]).

mod ask;
pub mod columns;
pub mod connection;
mod drain;
pub mod event_feed;
mod events;
pub mod failure;
mod filters;
mod lists;
mod login;
mod login_file;
pub mod output;
mod pages;
mod placement;
mod printable;
mod purge;
mod selection;
mod status;
pub mod tokens;
mod wait;
pub mod watch;

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use self::ask::{ApiOptions, QueryOptions, json_output};
pub use self::connection::{Connection, ConnectionOptions};
use self::drain::{ActivateOptions, DrainOptions, DrainsOptions};
use self::events::EventsOptions;
pub use self::failure::{ExitStatus, Failure};
use self::lists::{VmsOptions, WorkersOptions};
use self::login::{LoginOptions, LogoutOptions};
pub use self::output::{Format, Notes, OutputOptions};
use self::placement::{FitsOptions, ReleaseOptions, ReservationsOptions, ReserveOptions};
use self::purge::PurgeOptions;
use self::status::StatusOptions;
use self::wait::WaitOptions;
use crate::trace::{self, Span, SpanKind};

/// How long after a signal a command ends at the latest.
const LONGEST_ENDING: Duration = Duration::from_secs(1);

/// The commands of operators.
#[derive(Clone, Debug, Subcommand)]
pub enum OperatorCommand {
    /// Tell how the cluster is: in one sentence, its zones, its drains, and what needs somebody.
    Status(StatusOptions),
    /// List workers, or show one.
    Workers(WorkersOptions),
    /// List VMs, or show one.
    Vms(VmsOptions),
    /// Take workers out of service, and wait until nothing is left on them.
    Drain(DrainOptions),
    /// Bring workers back into service.
    Activate(ActivateOptions),
    /// List drains: those that stand, and those that have ended.
    Drains(DrainsOptions),
    /// Wait until workers are drained, online or offline.
    Wait(WaitOptions),
    /// Remove workers that are gone for good.
    Purge(PurgeOptions),
    /// Tell where VMs of a size fit now, and why not elsewhere.
    Fits(FitsOptions),
    /// Hold room for VMs that are not there yet.
    Reserve(ReserveOptions),
    /// Release room that is held.
    Release(ReleaseOptions),
    /// List reservations, or show one.
    Reservations(ReservationsOptions),
    /// Show what happened, and go on with what happens.
    Events(EventsOptions),
    /// Ask the REST API anything.
    Api(ApiOptions),
    /// Run a GraphQL document.
    Query(QueryOptions),
    /// Store which server to ask, and the token for it.
    Login(LoginOptions),
    /// Remove what login has stored.
    Logout(LogoutOptions),
}

impl OperatorCommand {
    fn output(&self) -> OutputOptions {
        match self {
            Self::Status(options) => options.output().clone(),
            Self::Workers(options) => options.output().clone(),
            Self::Vms(options) => options.output().clone(),
            Self::Events(options) => options.output().clone(),
            Self::Reservations(options) => options.output().clone(),
            Self::Release(options) => options.output().clone(),
            Self::Reserve(options) => options.output().clone(),
            Self::Fits(options) => options.output().clone(),
            Self::Wait(options) => options.output().clone(),
            Self::Purge(options) => options.output().clone(),
            Self::Drains(options) => options.output().clone(),
            Self::Activate(options) => options.output().clone(),
            Self::Drain(options) => options.output().clone(),
            Self::Api(_) | Self::Query(_) => json_output(),
            Self::Login(options) => options.output().clone(),
            Self::Logout(options) => options.output().clone(),
        }
    }

    /// Runs the command, and returns the exit status of the process. Failures are told here.
    pub async fn run(self) -> u8 {
        let notes = Notes::new(self.output().format);
        // All that it asks is one trace, which goes on with that of whoever started it.
        let parent = trace::of_environment();
        let mut span = Span::begin(SpanKind::Internal, parent.as_ref(), || format!("aetherium {}", self.name()));
        if let Some(own) = span.context().or(parent) {
            trace::set_parent_of_calls(own);
        }
        let status = conclude(&notes, self.carry_out(&notes)).await;
        span.set("process.exit.code", || u64::from(status));
        if status != 0 {
            span.fail(|| format!("exit status {status}"));
        }
        status
    }

    /// What it is called on the command line.
    fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Workers(_) => "workers",
            Self::Vms(_) => "vms",
            Self::Drain(_) => "drain",
            Self::Activate(_) => "activate",
            Self::Drains(_) => "drains",
            Self::Wait(_) => "wait",
            Self::Purge(_) => "purge",
            Self::Fits(_) => "fits",
            Self::Reserve(_) => "reserve",
            Self::Release(_) => "release",
            Self::Reservations(_) => "reservations",
            Self::Events(_) => "events",
            Self::Api(_) => "api",
            Self::Query(_) => "query",
            Self::Login(_) => "login",
            Self::Logout(_) => "logout",
        }
    }

    async fn carry_out(&self, notes: &Notes) -> Result<(), Failure> {
        match self {
            Self::Status(options) => options.run(notes).await,
            Self::Workers(options) => options.run(notes).await,
            Self::Vms(options) => options.run(notes).await,
            Self::Events(options) => options.run(notes).await,
            Self::Reservations(options) => options.run(notes).await,
            Self::Release(options) => options.run(notes).await,
            Self::Reserve(options) => options.run(notes).await,
            Self::Fits(options) => options.run(notes).await,
            Self::Wait(options) => options.run(notes).await,
            Self::Purge(options) => options.run(notes).await,
            Self::Drains(options) => options.run(notes).await,
            Self::Activate(options) => options.run(notes).await,
            Self::Drain(options) => options.run(notes).await,
            Self::Api(options) => options.run().await,
            Self::Query(options) => options.run().await,
            Self::Login(options) => options.run(notes).await,
            Self::Logout(options) => options.run(),
        }
    }
}

/// Waits for the end of a command, or for a signal, and tells how it ended: the exit status of the process. Signals are
/// listened for before the command has done anything: one that came earlier would end the process as it is, such as with
/// a terminal that shows nothing.
pub async fn conclude(notes: &Notes, command: impl Future<Output = Result<(), Failure>>) -> u8 {
    let interruption = interruption();
    end_though_stuck();
    let outcome = tokio::select! {
        outcome = command => outcome,
        status = interruption => Err(notes.interrupted(status)),
    };
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            notes.fail(&failure);
            failure.exit_code()
        }
    }
}

/// Sees to it that a signal ends the process also while it writes to a reader that takes nothing. The command is stuck in
/// that, with the thread that it runs on; so another thread, with a runtime of its own, hears the signal, too. When this
/// returns, it listens.
fn end_though_stuck() {
    let (listening, until_it_listens) = mpsc::channel::<()>();
    let hear = move || {
        let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else { return };
        let interruption = {
            let _inside = runtime.enter();
            interruption()
        };
        drop(listening);
        let status = runtime.block_on(interruption);
        thread::sleep(LONGEST_ENDING);
        process::exit(i32::from(status as u8));
    };
    // Without the thread, a signal still ends a command that is not stuck.
    let _ = thread::Builder::new().name("signals".to_owned()).spawn(hear);
    // Nothing is sent: the other end is dropped by the thread, or with it.
    let _ = until_it_listens.recv();
}

/// Listens from now on for whoever ends the command, and waits for that. It is called inside of a runtime.
fn interruption() -> impl Future<Output = ExitStatus> {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
            // The system ends the process itself then.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => ExitStatus::Interrupted,
            _ = terminate.recv() => ExitStatus::Terminated,
        }
    }
}
