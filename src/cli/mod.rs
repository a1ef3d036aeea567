//! The command line: the commands, their options, and which part of the library runs each.
//!
//! A command that is more than one call has a file of its own. What a command does is in the library, where it is
//! tested; here are only its options, and what is written to the terminal.

mod admin_token_file;
mod dev;
mod graphql;
mod listen_address;
mod migrate;
mod output;
mod serve;
mod sign_in_link;
mod tls;
mod token;

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
use self::token::TokenCommand;

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
    /// Create, list and revoke tokens, straight on the database.
    Token(TokenCommand),
    /// Print the GraphQL schema.
    Schema,
    /// Print the OpenAPI document of the REST API.
    Openapi,
}

impl Cli {
    /// The arguments of this process. Does not return if they cannot be parsed, or ask for help.
    pub fn of_this_process() -> Self {
        let matches = ignore_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Whether the command has something to finish when it is told to stop. The others may be ended by a signal at
    /// once.
    pub fn ends_in_order(&self) -> bool {
        match self.command {
            Command::Serve(_) | Command::Dev(_) | Command::Agent(_) | Command::Simulate(_) => true,
            Command::Migrate(_) | Command::Token(_) | Command::Schema | Command::Openapi => false,
        }
    }

    /// Runs the command, until told to stop.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(options) => serve::run(options, shutdown).await?,
            Command::Dev(options) => dev::run(options, shutdown).await?,
            Command::Agent(options) => {
                if let Some(joined) = agent::run(options, shutdown).await? {
                    print(joined)?;
                }
            }
            Command::Simulate(options) => {
                let summary = simulate::run(options, Progress::Bar, shutdown).await?;
                print(&summary)?;
                if !summary.is_success() {
                    return Ok(ExitCode::FAILURE);
                }
            }
            Command::Migrate(options) => migrate::run(options).await?,
            Command::Token(command) => token::run(command).await?,
            Command::Schema => print(aetherium::graphql::sdl().trim_end())?,
            Command::Openapi => print(rest::openapi().trim_end())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes a variable of the environment that is set to the empty text count as not set: service files and containers
/// often cannot leave one out.
fn ignore_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_env().map(env::var_os) {
        Some(Some(value)) if value.is_empty() => argument.env(Resettable::Reset),
        Some(_) | None => argument,
    });
    command.mut_subcommands(ignore_empty_variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(command: &str) -> Command {
        Cli::try_parse_from(["aetherium", command]).unwrap().command
    }

    #[test]
    fn the_server_of_dev_has_the_defaults_of_serve() {
        let (Command::Serve(serve), Command::Dev(_)) = (parse("serve"), parse("dev")) else { panic!() };
        let mut serve = serve.server_options();
        let dev = DevOptions::server_options("a.db");
        assert_eq!(serve.database_url, "sqlite://aetherium.db");
        serve.database_url.clone_from(&dev.database_url);
        assert_eq!(format!("{serve:?}"), format!("{dev:?}"));
    }
}
