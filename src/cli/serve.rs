//! `aetherium serve`: the flags of the server, and the checks of those that depend on each other, such as that the
//! heartbeat interval is shorter than the time until a worker is offline. Flags of GraphQL are in [`graphql`](super::graphql),
//! of the address in [`listen_address`](super::listen_address), of TLS in [`tls`](super::tls), and those of Consul in
//! `discovery::options`.
//!
//! The defaults are those of [`ServerOptions`], so that `aetherium dev` runs the same server.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use aetherium::auth::{Caller, CostLimit, Role};
use aetherium::clock::Clock;
use aetherium::config::{DurationSetting, is_loopback, listen_address, network};
use aetherium::discovery::{AdvertiseAddress, AdvertiseError, Consul, ConsulOptions, Service};
use aetherium::http::{HttpOptions, Origin};
use aetherium::journal::{Retention, tokens_exist, without_password};
use aetherium::server::{Server, ServerOptions};
use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::BoolishValueParser;
use ipnet::IpNet;
use sysinfo::System;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::admin_token_file;
use super::graphql::GraphqlArgs;
use super::listen_address::{Bound, Content, ListenOptions, Mend, Protection, url_from_here};
use super::output::{print, quoted};
use super::service_manager;
use super::sign_in_link::SignInLink;
use super::timing::TimingOptions;
use super::tls::{TlsOptions, reload_at_hangups};

#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    #[command(flatten)]
    listen: ListenOptions,

    /// Address and port of a listener for monitoring only: /metrics, /metrics/workers, /livez, /readyz and /version. On a
    /// loopback address it asks nobody for a token and is without TLS; on any other it is like --listen.
    #[arg(long, env = "AETHERIUM_METRICS_LISTEN", value_name = "ADDRESS:PORT", value_parser = listen_address)]
    metrics_listen: Option<SocketAddr>,

    #[command(flatten)]
    tls: TlsOptions,

    #[command(flatten)]
    database: DatabaseOptions,

    /// An origin whose pages may call the API, such as https://dashboard.example.com. Repeat the flag, or separate
    /// several with commas.
    #[arg(long = "cors-origin", env = "AETHERIUM_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origins: Vec<Origin>,

    /// A name by which this machine is asked, beside addresses and localhost; of meaning only on a loopback address.
    /// Repeat the flag, or separate several with commas.
    #[arg(long = "allowed-host", env = "AETHERIUM_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',')]
    allowed_hosts: Vec<String>,

    /// File with the token of an administrator, which is accepted from the start on, for automation. If the file is not
    /// there, a token is made and written to it, for its owner only.
    #[arg(long, env = "AETHERIUM_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// A network of proxies, such as 10.0.0.0/8 or 192.0.2.7/32, whose X-Forwarded-For tells the address of a client.
    /// Repeat the flag, or separate several with commas.
    #[arg(long = "trusted-proxy", env = "AETHERIUM_TRUSTED_PROXY", value_name = "NETWORK", value_delimiter = ',',
          value_parser = network)]
    trusted_proxies: Vec<IpNet>,

    /// How many points the queries of one token may cost per second in the long run, and ten times as many at once; 0 is
    /// no limit. A point is a field that is written, or a row that is scanned.
    #[arg(long, env = "AETHERIUM_MAX_COST_PER_SECOND", value_name = "POINTS",
          default_value_t = CostLimit::default().per_second)]
    max_cost_per_second: u64,

    #[command(flatten)]
    timing: TimingOptions,

    /// How long the change log is kept: subscriptions can be resumed from cursors that are not older.
    #[arg(long, env = "AETHERIUM_KEEP_EVENTS_FOR", value_name = "DURATION",
          default_value_t = DurationSetting(Retention::default().max_age))]
    keep_events_for: DurationSetting,

    /// How many entries of the change log are kept at most.
    #[arg(long, env = "AETHERIUM_KEEP_EVENTS", value_name = "N", default_value_t = Retention::default().max_events)]
    keep_events: u64,

    /// How long events are kept that operators caused, for they are the audit trail; at least as long as others. Tokens
    /// that ended stay in the list for as long.
    #[arg(long, env = "AETHERIUM_KEEP_OPERATOR_EVENTS_FOR", value_name = "DURATION",
          default_value_t = DurationSetting(Retention::default().max_operator_event_age))]
    keep_operator_events_for: DurationSetting,

    /// How many events that operators caused are kept at most, when other events of their time have gone.
    #[arg(long, env = "AETHERIUM_KEEP_OPERATOR_EVENTS", value_name = "N",
          default_value_t = Retention::default().max_operator_events)]
    keep_operator_events: u64,

    /// Leave the tables as they are; without it, they are brought up to date at the start.
    #[arg(long, env = "AETHERIUM_NO_MIGRATE", value_parser = BoolishValueParser::new())]
    no_migrate: bool,

    #[command(flatten)]
    consul: ConsulOptions,

    /// Where others reach this server, for Consul: HOST, HOST:PORT, or https://HOST behind a proxy. By default the
    /// address that is listened on; if that is all of them, the one of Consul's node.
    // Clap would repeat what it cannot read, with a password in it perhaps; so it is refused only when it is used.
    #[arg(long, env = "AETHERIUM_ADVERTISE", hide_env_values = true, value_name = "ADDRESS",
          value_parser = |text: &str| Ok::<_, Infallible>(text.parse::<AdvertiseAddress>()))]
    advertise: Option<Result<AdvertiseAddress, AdvertiseError>>,

    // Last, for its heading is that of all that follows.
    #[command(flatten)]
    graphql: GraphqlArgs,
}

/// Which database; for every command that has one.
#[derive(Args, Clone, Debug)]
pub struct DatabaseOptions {
    /// The database: sqlite://FILE, which is made if it is not there, or postgres://USER:PASSWORD@HOST/DATABASE.
    #[arg(
        long,
        env = "AETHERIUM_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://aetherium.db",
        hide_env_values = true
    )]
    pub database_url: String,
}

impl ServeOptions {
    /// What the server is started with, apart from where it listens and where it is announced.
    pub fn server_options(&self) -> ServerOptions {
        let (cors_origins, allowed_hosts) = (self.cors_origins.clone(), self.allowed_hosts.clone());
        ServerOptions {
            migrate: !self.no_migrate,
            timing: self.timing.timing(),
            http: HttpOptions {
                cors_origins,
                allowed_hosts,
                trusted_proxies: self.trusted_proxies.clone(),
                ..HttpOptions::default()
            },
            retention: Retention {
                max_age: self.keep_events_for.0,
                max_events: self.keep_events,
                max_operator_event_age: self.keep_operator_events_for.0,
                max_operator_events: self.keep_operator_events,
            },
            cost_limit: CostLimit { per_second: self.max_cost_per_second },
            graphql: self.graphql.clone().into(),
            ..ServerOptions::new(&self.database.database_url)
        }
    }
}

/// Prints a link for whoever sits at the terminal: they have the database, and so the cluster. Log lines go elsewhere.
async fn offer_sign_in(server: &Server, url: &str) -> anyhow::Result<()> {
    let link = SignInLink::to(url)?;
    let code = server.resolvers().create_sign_in_code(&Caller::server(), Role::Admin.as_str(), "terminal").await?;
    let link = link.with_code(&code);
    print(format_args!("Sign in with a browser, once and within ten minutes: {link}"))?;
    Ok(())
}

pub async fn run(options: ServeOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server_options = options.server_options();
    options.timing.check()?;
    // From the first moment on: without a handler, the signal would end the process.
    let hangups = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let ServeOptions { listen, metrics_listen, tls, database, consul, advertise, admin_token_file, .. } = options;
    let consul_check_ttl = consul.consul_check_ttl;
    let consul = consul.client()?;
    let advertise = advertise.transpose().context("--advertise cannot be used")?;
    ensure!(
        consul.is_some() || advertise.is_none(),
        "--advertise needs a Consul to announce the server in; say which with --consul"
    );
    let bound = listen.bind()?;
    let bound_for_monitoring = metrics_listen.map(|address| Bound::to(address, "--metrics-listen")).transpose()?;
    let listens: Vec<_> =
        metrics_listen.into_iter().map(|address| listen.at(address)).chain([listen.clone()]).collect();
    let database_shown = without_password(&database.database_url);
    if listens.iter().any(ListenOptions::needs_protection) {
        // As below: it may take its time.
        let Some(found) = shutdown.run_until_cancelled(tokens_exist(&database.database_url)).await else {
            return Ok(());
        };
        let has_tokens = found? || admin_token_file.is_some();
        let (serve, create_token) = commands(bound.address(), &database.database_url);
        let mend = Mend { serve: &serve, create_token: &create_token };
        listens.iter().try_for_each(|listen| listen.check(Protection { has_tls: tls.is_on(), has_tokens }, &mend))?;
    }
    let service = |address, consul: &Consul| {
        let hostname = System::host_name().ok().filter(|name| !name.is_empty());
        Service::server(address, tls.is_on(), advertise.as_ref(), hostname, consul.address())
    };
    // An address that cannot be announced is reported before the database is touched; the port may not be known yet.
    consul.as_ref().map(|consul| service(bound.address(), consul)).transpose()?;
    let certificate = tls.load(bound.address(), &database.database_url)?;
    tokio::spawn(reload_at_hangups(hangups, certificate.clone()));
    // A database may take its time to answer, and be given up on meanwhile.
    let Some(server) = shutdown.run_until_cancelled(Server::start(server_options, Clock::system())).await else {
        return Ok(());
    };
    let server = server?.with_tls(certificate);
    if let Some(path) = admin_token_file.filter(|path| !path.as_os_str().is_empty()) {
        let token = admin_token_file::read_or_make(&path)?;
        let ensured = server.resolvers().ensure_admin_token(&Caller::server(), token, "admin token file").await;
        ensured.with_context(|| format!("{} cannot be used (--admin-token-file)", path.display()))?;
    }
    let protection = Protection { has_tls: tls.is_on(), has_tokens: server.journal().snapshot().has_tokens() };
    let server = match bound_for_monitoring.map(Bound::listen).transpose()? {
        Some((listener, address)) => {
            let url = url_from_here(address, protection.has_tls && !is_loopback(address));
            info!(metrics.address = %address, "Metrics and probes are on {url}");
            if let Some(risk) = protection.risk(address, Content::Monitoring) {
                warn!("{risk}");
            }
            server.with_monitoring_listener(Some(listener))
        }
        None => server,
    };
    let (listener, address) = bound.listen()?;
    info!(
        listen.address = %address,
        database = %database_shown,
        cluster.revision = server.resolvers().present().revision(),
        "Listening on {}", url_from_here(address, protection.has_tls)
    );
    if protection.has_tokens {
        info!("Callers are asked for a token");
    } else if is_loopback(address) {
        let (_, create_token) = commands(address, &database.database_url);
        info!(
            "Open to every program of this machine, since there are no tokens: \
             `{create_token}` makes the first, and the server asks for one from then on"
        );
    }
    if let Some(risk) = protection.risk(address, Content::All) {
        warn!("{risk}");
    }
    if protection.has_tokens && io::stdout().is_terminal() {
        let offered = offer_sign_in(&server, &url_from_here(address, protection.has_tls)).await;
        if let Err(error) = offered {
            warn!("There is no sign-in link: {error:#}");
        }
    }
    let server = match consul {
        Some(consul) => {
            let service = service(address, &consul)?;
            server.announced(consul, service, consul_check_ttl)
        }
        None => server,
    };
    tokio::spawn(service_manager::notify_service_manager(shutdown.clone()));
    server.serve(listener, shutdown).await?;
    info!("Stopped");
    Ok(())
}

/// The commands that start this server with TLS, and make its first token. An address with a password is left out, and said
/// to be in the environment.
fn commands(address: SocketAddr, database_url: &str) -> (String, String) {
    let database = match database_url {
        url if url == without_password(url) => format!(" --database-url {}", quoted(url)),
        _ => " # with the same AETHERIUM_DATABASE_URL".to_owned(),
    };
    let serve = format!("aetherium serve --listen {address} --tls self{database}");
    let create_token = format!("aetherium token create --role admin --name me{database}");
    (serve, create_token)
}
