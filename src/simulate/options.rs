//! The flags of `aetherium simulate`, with their defaults; `aetherium dev` fills in the same options. What they do is
//! not here: the workers are in [`fleet`](super::fleet), their VMs and churn in
//! [`simulated_inventory`](super::simulated_inventory).

use std::time::Duration;

use clap::{Args, value_parser};

use super::scene::Scene;
use crate::client::{TokenOptions, TrustOptions};
use crate::config::positive_duration;

/// Options of `aetherium simulate`.
#[derive(Args, Clone, Debug)]
pub struct SimulateOptions {
    /// Base URL of the server.
    #[arg(long, env = "AETHERIUM_SERVER", value_name = "URL", default_value_t = Self::default().server)]
    pub server: String,

    /// Whose word the fleet is.
    #[command(flatten)]
    pub token: TokenOptions,

    /// Whom the fleet trusts to be its server.
    #[command(flatten)]
    pub trust: TrustOptions,

    /// How many workers to simulate.
    #[arg(long, env = "AETHERIUM_SIMULATE_WORKERS", value_name = "N", default_value_t = Self::default().workers,
          value_parser = value_parser!(u32).range(1..=100_000))]
    pub workers: u32,

    /// How many VMs each worker holds.
    #[arg(long, env = "AETHERIUM_SIMULATE_VMS_PER_WORKER", value_name = "M", default_value_t = Self::default().vms_per_worker,
          value_parser = value_parser!(u32).range(0..=1_000))]
    pub vms_per_worker: u32,

    /// Time between two beats of a worker, such as 500ms or 10s; without it, the server's replies set the pace.
    #[arg(long, env = "AETHERIUM_SIMULATE_INTERVAL", value_name = "DURATION", value_parser = positive_duration)]
    pub interval: Option<Duration>,

    /// How long to run, such as 30s or 3m; without it, until interrupted.
    #[arg(long, env = "AETHERIUM_SIMULATE_DURATION", value_name = "DURATION", value_parser = positive_duration)]
    pub duration: Option<Duration>,

    /// Share of the VMs that is replaced every minute.
    #[arg(long, env = "AETHERIUM_SIMULATE_CHURN", value_name = "PERCENT", default_value_t = Self::default().churn,
          value_parser = rate)]
    pub churn: f64,

    /// Share of the workers that are unreliable: they fall silent for longer than the server's time-out, come back as
    /// after a reboot, and do it again some minutes later.
    #[arg(long, env = "AETHERIUM_SIMULATE_FAILURES", value_name = "PERCENT", default_value_t = Self::default().failures,
          value_parser = share)]
    pub failures: f64,

    /// The same seed gives the same fleet.
    #[arg(long, env = "AETHERIUM_SIMULATE_SEED", value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,

    /// Start of the workers' ids: `sim` gives sim-0001, sim-0002 and so on.
    #[arg(long, env = "AETHERIUM_SIMULATE_PREFIX", value_name = "TEXT", default_value_t = Self::default().prefix,
          value_parser = id_prefix)]
    pub prefix: String,

    /// Send beats in bodies of up to this many, as a gateway in front of that many workers does; 1 is one request per
    /// beat.
    #[arg(long, env = "AETHERIUM_SIMULATE_BATCH", value_name = "K", default_value_t = Self::default().batch,
          value_parser = value_parser!(u32).range(1..=1_000))]
    pub batch: u32,

    /// Say goodbye for every worker at the end; otherwise they fall silent, as in a power cut.
    #[arg(long, env = "AETHERIUM_SIMULATE_GOODBYE")]
    pub goodbye: bool,

    /// Exit with 1 if any call failed.
    #[arg(long, env = "AETHERIUM_SIMULATE_STRICT")]
    pub strict: bool,

    /// What is shown besides; a fleet of the command line has no scene.
    #[arg(skip)]
    pub scene: Scene,
}

impl Default for SimulateOptions {
    /// A small cluster with something to show. These are the defaults of the command line, too.
    fn default() -> Self {
        Self {
            server: "http://127.0.0.1:8080".to_owned(),
            token: TokenOptions::default(),
            trust: TrustOptions::default(),
            workers: 100,
            vms_per_worker: 10,
            interval: None,
            duration: None,
            churn: 5.0,
            failures: 1.0,
            seed: 1,
            prefix: "sim".to_owned(),
            batch: 1,
            goodbye: false,
            strict: false,
            scene: Scene::default(),
        }
    }
}

/// A percentage per minute, which may be more than 100.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100_000.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("it has to be a number from 0 to 100000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        Ok(_) | Err(_) => Err("it has to be a number from 0 to 100".to_owned()),
    }
}

/// A prefix of ids. The API takes ids of up to 255 characters without `/` and control characters; some are left for the
/// number.
fn id_prefix(text: &str) -> Result<String, String> {
    const LONGEST: usize = 200;
    if text.is_empty() || text.chars().count() > LONGEST {
        return Err(format!("it has to have 1 to {LONGEST} characters"));
    }
    if text.chars().any(|c| c == '/' || c.is_control()) {
        return Err("an id has no / and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<SimulateOptions, clap::Error> {
        let command = SimulateOptions::augment_args(Command::new("simulate").no_binary_name(true));
        SimulateOptions::from_arg_matches(&command.try_get_matches_from(line.split_whitespace())?)
    }

    #[test]
    fn a_bare_command_line_is_the_default_and_nonsense_is_refused() {
        let (bare, default) = (parse("").unwrap(), SimulateOptions::default());
        assert_eq!(format!("{bare:?}"), format!("{default:?}"));

        for line in [
            "--workers 0",
            "--vms-per-worker -1",
            "--churn NaN",
            "--churn -1",
            "--failures 101",
            "--batch 0",
            "--batch 1001",
            "--prefix a/b",
            "--interval 0s",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
