//! `aetherium token`: creates, lists and revokes tokens, and makes sign-in links, straight on the database.
//!
//! Whoever has the database has the cluster, so nobody is asked for a token here: this is how the first one is made, and
//! the way back in. A server that runs on the same database follows within a second.
//!
//! A join token is printed as the command that is to be pasted on the worker's host. The secret is in no argument of a
//! process there: `printf` is part of the shell, and the agent reads standard input.

use std::time::Duration;

use aetherium::auth::{Caller, Joins};
use aetherium::clock::{Clock, Rfc3339};
use aetherium::config::positive_duration;
use aetherium::journal::OpenError;
use aetherium::resolvers::tokens::{TokenInput, TokenView};
use aetherium::server::{Server, ServerOptions, StartError};
use aetherium::tls::Fingerprint;
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
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
    List(DatabaseOptions),
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

    /// Base URL at which the worker reaches a server; for the command of --join.
    #[arg(long, env = "AETHERIUM_SERVER", value_name = "URL")]
    server: Option<String>,

    /// Fingerprint of the certificate of that server, for the command of --join: sha256: and 64 digits. By default that of
    /// the certificate that `--tls self` has made beside the database, if the server's URL is none of http://.
    #[arg(long, value_name = "FINGERPRINT")]
    server_fingerprint: Option<Fingerprint>,

    #[command(flatten)]
    database: DatabaseOptions,
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
    database: DatabaseOptions,
}

pub async fn run(TokenCommand { action }: TokenCommand) -> anyhow::Result<()> {
    let (TokenAction::Create(CreateOptions { database, .. })
    | TokenAction::SignIn(SignInOptions { database, .. })
    | TokenAction::List(database)
    | TokenAction::Revoke(RevokeOptions { database, .. })) = &action;
    let options = ServerOptions { migrate: false, is_beside: true, ..ServerOptions::new(&database.database_url) };
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
    outcome
}

async fn carry_out(server: &Server, action: TokenAction) -> anyhow::Result<()> {
    let (resolvers, caller) = (server.resolvers(), Caller::server());
    match action {
        TokenAction::Create(options) => {
            options.check()?;
            let created = resolvers.create_token(&caller, options.input()).await?;
            let text = created.text.expose();
            let printed = if options.join { print(options.command(text)) } else { print(text) };
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
        TokenAction::Revoke(RevokeOptions { id, database: _ }) => {
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

    /// Refuses what no worker could join by, before there is a token that nobody uses.
    fn check(&self) -> anyhow::Result<()> {
        let Some(server) = self.server.as_deref().filter(|_| self.join) else { return Ok(()) };
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
        let is_pinned = self.server_fingerprint.is_some() || fingerprint_beside(&self.database.database_url).is_some();
        if server.starts_with("https://") && !is_pinned {
            info!(
                "There is no fingerprint in the command: the host has to trust the authority of the server's certificate"
            );
        }
        Ok(())
    }

    /// The command by which a worker joins with this token.
    fn command(&self, token: &str) -> String {
        let server = self.server.as_deref().unwrap_or(PLACEHOLDER);
        let mut command = format!("printf '%s\\n' {token} | aetherium agent join --server {}", quoted(server));
        let made = || fingerprint_beside(&self.database.database_url).filter(|_| !server.starts_with("http://"));
        if let Some(fingerprint) = self.server_fingerprint.or_else(made) {
            command += &format!(" --server-fingerprint {fingerprint}");
        }
        if let Some(id) = &self.worker {
            // In one argument, since an id may begin like a flag.
            command += &format!(" --id={}", quoted(id));
        }
        command + " --join-token-file -"
    }
}
