//! The command line: what can be said, and which part of the house does it.
//!
//! A file for each command that is more than one call. Whatever a command does that is worth a test of its own is in
//! the library; here is only what it is asked with, and what is written to the terminal.

mod dev;
mod graphql;
mod listen;
mod migrate;
mod output;
mod serve;

use std::env;
use std::process::ExitCode;

use aetherium::agent::{self, AgentOptions};
use aetherium::rest;
use aetherium::simulate::{self, Progress, SimulateOptions};
use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::dev::DevOptions;
use self::migrate::MigrateOptions;
use self::output::print;
use self::serve::ServeOptions;

/// Answers for a cluster of workers and their VMs, over REST and GraphQL.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "AETHERIUM_LOG says what is logged, such as debug or warn; info unless said otherwise."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeOptions),
    /// Try it out: a server in a temporary folder, an agent for this machine, and a small simulated fleet.
    Dev(DevOptions),
    /// Report this host and its VMs to a server.
    Agent(AgentOptions),
    /// Run a synthetic fleet against a server, over the real API.
    Simulate(SimulateOptions),
    /// Look after the tables of a database by hand.
    Migrate(MigrateOptions),
    /// Print the GraphQL schema.
    Schema,
    /// Print the OpenAPI document of the REST API.
    Openapi,
}

impl Cli {
    /// What this process was started with. Does not return if that cannot be understood, or was a call for help.
    pub fn of_this_process() -> Self {
        let matches = heed_what_is_said(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Whether the command, told to stop, has something to do first. Others a signal may end where they are.
    pub fn ends_in_order(&self) -> bool {
        match self.command {
            Command::Serve(_) | Command::Dev(_) | Command::Agent(_) | Command::Simulate(_) => true,
            Command::Migrate(_) | Command::Schema | Command::Openapi => false,
        }
    }

    /// Does it, until told to stop.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(options) => serve::run(options, shutdown).await?,
            Command::Dev(options) => dev::run(options, shutdown).await?,
            Command::Agent(options) => agent::run(options, shutdown).await?,
            Command::Simulate(options) => {
                let summary = simulate::run(options, Progress::Bar, shutdown).await?;
                print(&summary)?;
                if !summary.is_success() {
                    return Ok(ExitCode::FAILURE);
                }
            }
            Command::Migrate(options) => migrate::run(options).await?,
            Command::Schema => print(aetherium::graphql::sdl().trim_end())?,
            Command::Openapi => print(rest::openapi().trim_end())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A variable that is set to nothing says nothing: service files and containers often cannot leave one out.
fn heed_what_is_said(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_env().map(env::var_os) {
        Some(Some(said)) if said.is_empty() => argument.env(Resettable::Reset),
        Some(_) | None => argument,
    });
    command.mut_subcommands(heed_what_is_said)
}
