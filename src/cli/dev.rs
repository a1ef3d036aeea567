//! `aetherium dev`: a cluster to try things out on. A server with the defaults of `aetherium serve` and a database in a
//! temporary folder, a real agent for this machine, and a small simulated fleet, both of which talk to the server over
//! HTTP. The fleet plays a scene, so that there is something to see: drains that are held up, a worker that is lost.
//! Nothing is kept when it ends, so that there is neither TLS nor a token: both are for what stays.

use std::time::Duration;

use aetherium::agent::{self, AgentOptions};
use aetherium::clock::Clock;
use aetherium::cluster::Snapshot;
use aetherium::journal::{Closed, Journal};
use aetherium::resolvers::Resolvers;
use aetherium::server::{Server, ServerOptions};
use aetherium::simulate::{self, Progress, Scene, SimulateOptions};
use aetherium::timing::Timing;
use anyhow::Context;
use clap::{Args, value_parser};
use sysinfo::System;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::listen_address::{ListenOptions, Mend, Protection, url_from_here};
use super::output::print;
use super::timing::TimingOptions;

/// The share of the VMs of the simulated workers that is replaced every minute, in percent: enough to be seen.
const CHURN: f64 = 20.0;

/// How long the fleet may take to register before the addresses are printed all the same.
const REGISTRATION_TIME: Duration = Duration::from_secs(15);

/// How long they may then take to tell what they hold.
const INVENTORY_TIME: Duration = Duration::from_secs(3);

/// How long the agent and the fleet may take to deregister from a server in the same process.
const DEREGISTRATION_TIME: Duration = Duration::from_secs(1);

#[derive(Args, Clone, Debug)]
pub struct DevOptions {
    #[command(flatten)]
    listen: ListenOptions,

    /// How many workers to simulate beside this machine.
    #[arg(long, env = "AETHERIUM_DEV_WORKERS", value_name = "N", default_value_t = 10,
          value_parser = value_parser!(u32).range(0..=100_000))]
    workers: u32,

    /// How many VMs each simulated worker holds.
    #[arg(long, env = "AETHERIUM_DEV_VMS_PER_WORKER", value_name = "M", default_value_t = 5,
          value_parser = value_parser!(u32).range(0..=1_000))]
    vms_per_worker: u32,

    #[command(flatten)]
    timing: TimingOptions,
}

impl DevOptions {
    /// What the server is started with: the defaults, and a database in this file.
    pub fn server_options(file: &str) -> ServerOptions {
        // A temporary folder may have any name, and these two characters mean something in a URL.
        ServerOptions::new(format!("sqlite://{}", file.replace('%', "%25").replace('?', "%3F")))
    }
}

pub async fn run(options: DevOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let DevOptions { listen, workers, vms_per_worker, timing } = options;
    timing.check()?;
    // There is nothing to mend: whoever wants to be reached runs `serve`.
    let mend =
        Mend { serve: "aetherium serve --tls self", create_token: "aetherium token create --role admin --name me" };
    let unprotected = Protection { has_tls: false, has_tokens: false };
    listen.check(unprotected, &mend)?;
    let bound = listen.bind()?;
    let folder =
        tempfile::Builder::new().prefix("aetherium-dev-").tempdir().context("Cannot make a temporary folder")?;
    let file = folder.path().join("aetherium.db").display().to_string();
    let server_options = ServerOptions { timing: timing.timing(), ..DevOptions::server_options(&file) };
    let server = Server::start(server_options, Clock::system()).await?;
    let journal = server.journal().clone();
    let past = Past { resolvers: server.resolvers().clone(), journal: journal.clone() };
    let (listener, address) = bound.listen()?;
    let url = url_from_here(address, false);
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server.serve(listener, closing.clone()));

    let host = System::host_name().ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "this-host".to_owned());
    let clients = TaskTracker::new();
    clients.spawn(report_this_host(url.clone(), host.clone(), shutdown.clone()));
    if workers > 0 {
        // Of fewer workers, those that play a part would be most.
        let scene = if workers < Scene::WORKERS_AT_WORK { Scene::default() } else { Scene::cluster_at_work() };
        let server = url.clone();
        let options =
            SimulateOptions { server, workers, vms_per_worker, churn: CHURN, scene, ..SimulateOptions::default() };
        clients.spawn(simulate_workers(options, shutdown.clone()));
    }
    clients.close();

    let expected = workers as usize + 1;
    let registering = async {
        let registered = timeout(REGISTRATION_TIME, until_registered(&journal, expected)).await;
        past.make_up(expected).await;
        registered
    };
    if let Some(registered) = shutdown.run_until_cancelled(registering).await {
        if registered.is_err() {
            warn!("Not all of the {expected} workers are there yet");
        }
        print(welcome(&url, &host, workers, vms_per_worker, timing.timing()))?;
        shutdown.cancelled().await;
    }

    // The server is stopped last, so that the others can still deregister.
    if timeout(DEREGISTRATION_TIME, clients.wait()).await.is_err() {
        warn!("The agent or the fleet did not end in time");
    }
    closing.cancel();
    serving.await.context("the server ended in a panic")??;
    folder.close().context("Cannot remove the temporary folder")
}

/// Runs the agent. Its failure is logged and does not end the cluster, which shows its simulated workers without it.
async fn report_this_host(url: String, host: String, shutdown: CancellationToken) {
    let name = Some(host);
    let options = AgentOptions { id: name.clone(), hostname: name, leave_on_stop: true, ..AgentOptions::new(url) };
    if let Err(error) = agent::run(options, shutdown).await {
        warn!("This host is not reported: {:#}", anyhow::Error::new(error));
    }
}

async fn simulate_workers(options: SimulateOptions, shutdown: CancellationToken) {
    if let Err(error) = simulate::run(options, Progress::Quiet, shutdown).await {
        warn!("There is no simulated fleet: {:#}", anyhow::Error::new(error));
    }
}

/// The past that curves begin with.
struct Past {
    resolvers: Resolvers,
    journal: Journal,
}

impl Past {
    /// Makes it up of what so many workers hold, once they have told it; if they do not in time, as the agent of a machine
    /// that cannot tell, of what is known.
    async fn make_up(self, workers: usize) {
        let is_known =
            |snapshot: &Snapshot| snapshot.workers().filter(|worker| worker.knows_inventory()).count() >= workers;
        let _ = timeout(INVENTORY_TIME, until(&self.journal, is_known)).await;
        if let Err(error) = self.resolvers.history().make_up(self.resolvers.present().view()).await {
            warn!(error = %error.chain(), "There is no past to see in curves");
        }
    }
}

/// Waits until this many workers have registered.
async fn until_registered(journal: &Journal, expected: usize) {
    until(journal, |snapshot| snapshot.worker_count() >= expected).await;
}

/// Waits until the cluster is like that.
async fn until(journal: &Journal, is_so: impl Fn(&Snapshot) -> bool) {
    let mut changes = journal.subscribe();
    while !is_so(&journal.snapshot()) {
        if let Err(Closed) = changes.recv().await {
            return;
        }
    }
}

fn welcome(url: &str, host: &str, workers: u32, vms_per_worker: u32, timing: Timing) -> String {
    let fleet = match (workers, vms_per_worker) {
        (0, _) => String::new(),
        (workers, vms) => {
            let interval = timing.heartbeat_interval;
            format!(", and {workers} simulated workers with {vms} VMs each, which beat every {interval:?}")
        }
    };
    let scene = if workers < Scene::WORKERS_AT_WORK {
        String::new()
    } else {
        let silence = timing.offline_after;
        format!(
            "\nThere is something to see: one drain is held up by a VM that cannot be moved, another one is overdue, and\n\
             one worker has fallen silent, which makes it offline after {silence:?}. Curves of the time before now are made up.\n"
        )
    };
    format!(
        r#"
Aetherium is running. In it: this machine, as {host}{fleet}.

    Dashboard {url}/
    REST      {url}/api/v1   (reference: {url}/docs)
    GraphQL   {url}/graphql   (in a browser, a playground)
{scene}
Three things to try in another terminal:

    # Who is there?
    curl -s {url}/api/v1/workers

    # The same over GraphQL, and only what you want to know.
    curl -s {url}/graphql -H 'Content-Type: application/json' -d '{{"query": "{{ clusterStats {{ activeWorkers totalVms }} workers {{ id zone status vmCount }} }}"}}'

    # Nothing new shall land on this machine. (…/activate takes it back.)
    curl -s -X POST {url}/api/v1/workers/{host}/drain

Ctrl-C ends it, and forgets everything."#
    )
}
