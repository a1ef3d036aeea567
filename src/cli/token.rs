//! `aetherium token`: creates, lists and revokes tokens, and makes sign-in links.
//!
//! Straight on the database, whoever has which has the cluster, so nobody is asked for a token here: this is how the first
//! one is made, and the way back in. A server that runs on the same database follows within a second. With
//! a token to send, or after `aetherium login`, and without `--database-url`, a server is asked instead (ADR 0069); what
//! that takes is in `operator::tokens`.
//!
//! A join token is printed as the command that is to be pasted on the worker's host. The secret is in no argument of a
//! process there: `printf` is part of the shell, and the agent reads standard input.

use std::process::ExitCode;
use std::time::Duration;

use aetherium::auth::{Caller, Joins};
use aetherium::clock::{Clock, Rfc3339};
use aetherium::config::positive_duration;
use aetherium::journal::OpenError;
use aetherium::operator::{self, Connection, ConnectionOptions, Failure, Format, OutputOptions};
use aetherium::resolvers::tokens::{TokenInput, TokenView};
use aetherium::server::{Server, ServerOptions, StartError};
use aetherium::tls::Fingerprint;
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::output::{print, quoted};
use super::serve::DatabaseOptions;
use super::sign_in_link::SignInLink;
use super::tls::fingerprint_beside;

/// What stands for the address of the server in a command, if nobody said it. It cannot be taken for an address.
const PLACEHOLDER: &str = "<URL of the server>";

#[derive(Args, Clone, Debug)]
pub struct TokenCommand {
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Clone, Debug, Subcommand)]
enum TokenAction {
    /// Create a token, and print it. It is shown this once.
    Create(CreateOptions),
    /// Make a link that signs a browser in, once and within ten minutes, and print it.
    SignIn(SignInOptions),
    /// List the tokens, without their secrets: those that ended, too.
    List(ListOptions),
    /// Revoke a token: it is not accepted any more, and what was begun with it ends.
    Revoke(RevokeOptions),
}

#[derive(Args, Clone, Debug)]
struct CreateOptions {
    /// What its holder may do: viewer, operator, admin, worker or join.
    #[arg(long, value_name = "ROLE", required_unless_present = "join", conflicts_with = "join")]
    role: Option<String>,

    /// A token of the role join, which lets workers join. What is printed is the command that does it, to be pasted on the
    /// worker's host; with --role join it is the token alone.
    #[arg(long)]
    join: bool,

    /// Name for lists and for the audit trail; of a join token by default the worker's id, or join.
    #[arg(long, value_name = "NAME", required_unless_present = "join")]
    name: Option<String>,

    /// After which time it expires, such as 90d; never, if left out. A join token expires after 1h, if left out, and after
    /// 30d at most.
    #[arg(long, visible_alias = "ttl", value_name = "DURATION", value_parser = positive_duration)]
    expires_in: Option<Duration>,

    /// The only worker that its holder speaks for; for the role worker. The only one that it lets join, also if it is known
    /// already; for the role join, which is for new workers without.
    #[arg(long, value_name = "ID")]
    worker: Option<String>,

    /// How many workers its holder may speak for, whichever it registers first; for the role worker, and instead of
    /// --worker.
    #[arg(long, value_name = "N")]
    max_workers: Option<i64>,

    /// How many workers it lets join; for the role join, one if left out.
    #[arg(long, visible_alias = "max-uses", value_name = "N")]
    uses: Option<i64>,

    #[command(flatten)]
    place: Place,
}

/// Where the tokens are: in a database, or behind a server.
#[derive(Args, Clone, Debug)]
struct Place {
    /// The database: sqlite://FILE, or postgres://USER:PASSWORD@HOST/DATABASE. Without it a server is asked if a token is
    /// there to ask it with (--token-file, AETHERIUM_TOKEN, `aetherium login`), and else it is sqlite://aetherium.db.
    #[arg(long, env = "AETHERIUM_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The server: the one that is asked, and of --join the one that the worker reaches. Of --join on a database, the
    /// fingerprint is by default that of the certificate that `--tls self` has made beside it.
    #[command(flatten)]
    connection: ConnectionOptions,

    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args, Clone, Debug)]
struct ListOptions {
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Clone, Debug)]
struct SignInOptions {
    /// What whoever follows the link may do: viewer, operator or admin.
    #[arg(long, value_name = "ROLE")]
    role: String,

    /// Name for lists and for the audit trail.
    #[arg(long, value_name = "NAME", default_value = "sign-in link")]
    name: String,

    /// Where the browser reaches the server; by default at 127.0.0.1:8080, over https:// if `--tls self` has made a
    /// certificate beside the database.
    #[arg(long, env = "AETHERIUM_SERVER", value_name = "URL")]
    server: Option<String>,

    #[command(flatten)]
    database: DatabaseOptions,
}

#[derive(Args, Clone, Debug)]
struct RevokeOptions {
    /// Public id of the token, as `aetherium token list` shows it.
    id: String,

    #[command(flatten)]
    place: Place,
}

/// The database that is meant if none is named.
const DEFAULT_DATABASE: &str = "sqlite://aetherium.db";

pub async fn run(TokenCommand { action }: TokenCommand) -> anyhow::Result<ExitCode> {
    let database_url = match &action {
        TokenAction::SignIn(SignInOptions { database, .. }) => database.database_url.clone(),
        TokenAction::Create(CreateOptions { place, .. })
        | TokenAction::List(ListOptions { place })
        | TokenAction::Revoke(RevokeOptions { place, .. }) => {
            let notes = operator::Notes::new(place.output.format);
            match place.is_server() {
                Ok(true) => return Ok(ExitCode::from(operator::conclude(&notes, ask_server(&action, place)).await)),
                Ok(false) => place.database_url.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
                Err(failure) => {
                    notes.fail(&failure);
                    return Ok(ExitCode::from(failure.exit_code()));
                }
            }
        }
    };
    let options = ServerOptions { migrate: false, is_beside: true, ..ServerOptions::new(&database_url) };
    let server = match Server::start(options.clone(), Clock::system()).await {
        // The first token may be made before the first start of a server.
        Err(StartError::Database(OpenError::Missing { .. } | OpenError::NotMigrated { is_empty: true, .. }))
            if matches!(action, TokenAction::Create(_)) =>
        {
            let options = ServerOptions { migrate: true, is_beside: false, ..options };
            Server::start(options, Clock::system()).await?
        }
        started => started?,
    };
    let outcome = carry_out(&server, action).await;
    server.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The same over the API of a server.
async fn ask_server(action: &TokenAction, place: &Place) -> Result<(), Failure> {
    let connection = place.connection.connect()?;
    match action {
        TokenAction::Create(options) => {
            options.check(Some(&connection)).map_err(|error| Failure::usage(error.to_string()))?;
            let shown = |text: &str| match options.join {
                true => options.command(text, Some(&connection)),
                false => text.to_owned(),
            };
            operator::tokens::create(&connection, &place.output, &options.body(), shown).await
        }
        TokenAction::List(_) => operator::tokens::list(&connection, &place.output).await,
        TokenAction::Revoke(RevokeOptions { id, .. }) => operator::tokens::revoke(&connection, &place.output, id).await,
        // A code opens a session without a token, so that it takes the database to make one.
        TokenAction::SignIn(_) => Err(Failure::usage("A sign-in link is made on the database")),
    }
}

impl Place {
    /// Whether a server is asked.
    fn is_server(&self) -> Result<bool, Failure> {
        let is_server = self.database_url.is_none() && self.connection.has_credentials()?;
        let has_format = self.output.format != Format::Table || !self.output.columns.is_empty();
        if !is_server && has_format {
            return Err(Failure::usage(
                "-o and -c: on a database, tokens are written as text only; with a token to send (--token-file, \
                 AETHERIUM_TOKEN, `aetherium login`) and without --database-url, a server is asked",
            ));
        }
        Ok(is_server)
    }

    /// The fingerprint of the certificate that was made beside the database, if it is one that is meant.
    fn made_fingerprint(&self) -> Option<Fingerprint> {
        fingerprint_beside(self.database_url.as_deref().unwrap_or(DEFAULT_DATABASE))
    }
}

async fn carry_out(server: &Server, action: TokenAction) -> anyhow::Result<()> {
    let (resolvers, caller) = (server.resolvers(), Caller::server());
    match action {
        TokenAction::Create(options) => {
            options.check(None)?;
            let created = resolvers.create_token(&caller, options.input()).await?;
            let text = created.text.expose();
            let printed = if options.join { print(options.command(text, None)) } else { print(text) };
            printed.context("The token was created and cannot be shown: revoke it")?;
        }
        TokenAction::SignIn(SignInOptions { role, name, server, database }) => {
            let here = match fingerprint_beside(&database.database_url) {
                Some(_) => "https://127.0.0.1:8080",
                None => "http://127.0.0.1:8080",
            };
            // Before there is a code that nobody is shown.
            let link = SignInLink::to(server.as_deref().unwrap_or(here))?;
            let code = resolvers.create_sign_in_code(&caller, &role, &name).await?;
            print(link.with_code(&code)).context("The link was made and cannot be shown: it expires in ten minutes")?;
        }
        TokenAction::List(_) => {
            for TokenView { token, view } in resolvers.list_tokens(&caller, &resolvers.read(&caller)?)? {
                let until = token.expires_at.map(|end| Rfc3339::of(end).as_str().to_owned());
                let until = until.as_deref().unwrap_or("never");
                let (id, role, name, kind) = (&token.id, token.role, &token.name, token.kind);
                let state = TokenView { token: token.clone(), view }.state().as_str();
                let of = token.parent.as_ref().map(|parent| format!(" of {parent}")).unwrap_or_default();
                let uses =
                    token.joins.map_or_else(String::new, |Joins { max, so_far }| format!("  used {so_far} of {max}"));
                print(format_args!("{id}  {kind:<12}  {role:<8}  {state:<7}  expires {until:<24}  {name}{of}{uses}"))?;
            }
        }
        TokenAction::Revoke(RevokeOptions { id, place: _ }) => {
            let TokenView { token, .. } = resolvers.revoke_token(&caller, &id).await?;
            print(format_args!("revoked {} ({})", token.id, token.name))?;
        }
    }
    Ok(())
}

impl CreateOptions {
    /// What the token is created with.
    fn input(&self) -> TokenInput {
        let (role, name) = match self.join {
            true => ("join", self.worker.as_deref().unwrap_or("join")),
            false => (self.role.as_deref().unwrap_or_default(), ""),
        };
        TokenInput {
            name: self.name.as_deref().unwrap_or(name).to_owned(),
            role: role.to_owned(),
            expires_in: self.expires_in.map(|time| format!("{}ms", time.as_millis())),
            worker_id: self.worker.clone(),
            max_workers: self.max_workers,
            max_uses: self.uses,
        }
    }

    /// The same as the body of a request.
    fn body(&self) -> Value {
        let TokenInput { name, role, expires_in, worker_id, max_workers, max_uses } = self.input();
        let optional = [
            ("expires_in", expires_in.map(Value::from)),
            ("worker_id", worker_id.map(Value::from)),
            ("max_workers", max_workers.map(Value::from)),
            ("max_uses", max_uses.map(Value::from)),
        ];
        let mut body = Map::from_iter([("name".to_owned(), json!(name)), ("role".to_owned(), json!(role))]);
        body.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Value::Object(body)
    }

    /// Refuses what no worker could join by, before there is a token that nobody uses.
    fn check(&self, asked: Option<&Connection>) -> anyhow::Result<()> {
        let Some(server) = self.server(asked).filter(|_| self.join) else { return Ok(()) };
        ensure!(
            server.starts_with("https://") || server.starts_with("http://"),
            "--server {server:?} is not the URL of a server: write scheme and host, as in https://cluster.example:8080"
        );
        let host = server.trim_start_matches("http://");
        let is_here = ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here));
        if server.starts_with("http://") && !is_here {
            warn!(
                "Over http:// the join token and the worker's own go over the network in clear: write https:// if the server has TLS"
            );
        }
        if server.starts_with("https://") && self.fingerprints(asked).is_empty() {
            info!(
                "There is no fingerprint in the command: the host has to trust the authority of the server's certificate"
            );
        }
        Ok(())
    }

    /// Where the worker reaches the server: where it is asked itself, unless this is on a database.
    fn server<'a>(&'a self, asked: Option<&'a Connection>) -> Option<&'a str> {
        self.place.connection.server.as_deref().or_else(|| asked.map(|asked| asked.server.as_str()))
    }

    /// The certificates that the worker accepts.
    fn fingerprints(&self, asked: Option<&Connection>) -> Vec<Fingerprint> {
        let told = &self.place.connection.trust.server_fingerprints;
        match asked {
            _ if !told.is_empty() => told.clone(),
            Some(asked) => asked.server_fingerprints.clone(),
            None => self.place.made_fingerprint().into_iter().collect(),
        }
    }

    /// The command by which a worker joins with this token.
    fn command(&self, token: &str, asked: Option<&Connection>) -> String {
        let server = self.server(asked).unwrap_or(PLACEHOLDER);
        let mut command = format!("printf '%s\\n' {token} | aetherium agent join --server {}", quoted(server));
        let is_told = !self.place.connection.trust.server_fingerprints.is_empty();
        if is_told || !server.starts_with("http://") {
            for fingerprint in self.fingerprints(asked) {
                command += &format!(" --server-fingerprint {fingerprint}");
            }
        }
        if let Some(id) = &self.worker {
            // In one argument, since an id may begin like a flag.
            command += &format!(" --id={}", quoted(id));
        }
        command + " --join-token-file -"
    }
}
