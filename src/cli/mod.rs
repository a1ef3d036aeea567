//! The command line: the commands, their options, and which part of the library runs each.
//!
//! A command that is more than one call has a file of its own. What a command does is in the library, where it is
//! tested; here are only its options, and what is written to the terminal.

mod admin_token_file;
mod completion;
mod dev;
mod graphql;
mod listen_address;
mod manual;
mod migrate;
mod output;
mod serve;
mod service_manager;
mod sign_in_link;
mod timing;
mod tls;
mod token;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use aetherium::agent::{self, AgentOptions};
use aetherium::operator::{Failure, Format, Notes, OperatorCommand};
use aetherium::rest;
use aetherium::simulate::{self, Progress, SimulateOptions};
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use self::completion::CompletionOptions;
use self::dev::DevOptions;
use self::manual::ManualOptions;
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
    #[command(flatten)]
    Operator(OperatorCommand),
    /// Create, list and revoke tokens: straight on the database, or over the API of a server.
    Token(TokenCommand),
    /// Print the GraphQL schema.
    Schema,
    /// Print the OpenAPI document of the REST API.
    Openapi,
    /// Print what makes a shell complete the commands and options of this program.
    Completion(CompletionOptions),
    /// Write the manual pages of this program.
    Man(ManualOptions),
}

impl Cli {
    /// The arguments of this process. Does not return if they cannot be parsed, or ask for help.
    pub fn of_this_process() -> Self {
        let matches = ignore_empty_variables(Self::command()).try_get_matches();
        let cli = matches.and_then(|matches| Self::from_arg_matches(&matches));
        cli.unwrap_or_else(|error| {
            let is_refusal = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if is_refusal && let Some(format) = wanted_json(env::args_os()) {
                let failure = Failure::usage(one_line(&error));
                Notes::new(format).fail(&failure);
                std::process::exit(i32::from(failure.exit_code()));
            }
            error.exit()
        })
    }

    /// Whether the command has something to finish when it is told to stop. The others may be ended by a signal at
    /// once.
    pub fn ends_in_order(&self) -> bool {
        match self.command {
            Command::Serve(_) | Command::Dev(_) | Command::Agent(_) | Command::Simulate(_) => true,
            // These listen for signals themselves.
            Command::Operator(_) => false,
            Command::Migrate(_)
            | Command::Token(_)
            | Command::Schema
            | Command::Openapi
            | Command::Completion(_)
            | Command::Man(_) => false,
        }
    }

    /// The name under which traces have the program while it runs this command, unless `OTEL_SERVICE_NAME` says another;
    /// none if it has no part in any.
    pub fn service_name(&self) -> Option<&'static str> {
        match self.command {
            Command::Serve(_) | Command::Dev(_) => Some("aetherium"),
            Command::Agent(_) => Some("aetherium-agent"),
            Command::Simulate(_) => Some("aetherium-simulate"),
            Command::Operator(_) => Some("aetherium-cli"),
            Command::Migrate(_)
            | Command::Token(_)
            | Command::Schema
            | Command::Openapi
            | Command::Completion(_)
            | Command::Man(_) => None,
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
            Command::Operator(command) => return Ok(ExitCode::from(command.run().await)),
            Command::Token(command) => return token::run(command).await,
            Command::Schema => print(aetherium::graphql::sdl().trim_end())?,
            Command::Openapi => print(rest::openapi().trim_end())?,
            Command::Completion(options) => io::stdout().write_all(&options.script(Self::command())).or_else(closed)?,
            Command::Man(options) => options.write(Self::command())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whoever reads standard output may have enough of it.
fn closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// The format of JSON that arguments ask for which could not be parsed: `-o json` in any spelling.
fn wanted_json(arguments: impl Iterator<Item = OsString>) -> Option<Format> {
    let words: Vec<_> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let named = |value: &str| match value {
        "json" => Some(Format::Json),
        "jsonl" => Some(Format::Jsonl),
        _ => None,
    };
    let spelled = words.windows(2).filter(|pair| matches!(&*pair[0], "-o" | "--output")).map(|pair| &*pair[1]);
    let joined = words.iter().filter_map(|word| word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")));
    spelled.chain(joined).find_map(|value| named(value.trim_start_matches('=')))
}

/// What the parser says, without its hints on further lines.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words = first.trim_start_matches("error:").split_whitespace();
    words.collect::<Vec<_>>().join(" ")
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
    fn a_refusal_is_json_if_json_was_asked_for() {
        for (line, expected) in [
            ("workers -o json --nonsense", Some(Format::Json)),
            ("workers --nonsense -ojson", Some(Format::Json)),
            ("workers -o=jsonl --nonsense", Some(Format::Jsonl)),
            ("workers --output json", Some(Format::Json)),
            ("workers --output=json", Some(Format::Json)),
            ("workers -o table json", None),
            ("workers --offline", None),
        ] {
            assert_eq!(wanted_json(line.split(' ').map(OsString::from)), expected, "{line}");
        }
        let error = Cli::try_parse_from(["aetherium", "workers", "--nonsense"]).unwrap_err();
        assert_eq!(one_line(&error), "unexpected argument '--nonsense' found");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
