//! How operators say whether and where Consul is used: options of ours, and the variables that Consul's own tools read.
//! What is asked of Consul is in [`consul`](super::consul), what is announced in [`service`](super::service).

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::address::{Address, AddressError};
use super::consul::{Consul, Settings, TokenSource};
use super::error::ConsulError;
use crate::config::positive_duration;

/// Whether Consul is used, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsulMode {
    /// It is not, whatever the environment says.
    Off,
    /// The one that `CONSUL_HTTP_ADDR` names, or the one of this machine.
    FromEnvironment,
    /// This one, unless that is no address. Clap would repeat what it cannot read, with a password in it perhaps; so it
    /// is only refused when a [client](ConsulOptions::client) is made.
    At(Result<Address, AddressError>),
}

impl ConsulMode {
    fn read(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "on" | "true" | "yes" | "1" => Self::FromEnvironment,
            "off" | "false" | "no" | "0" => Self::Off,
            address => Self::At(address.parse()),
        })
    }
}

/// Updates and attempts are parts of the TTL, and Consul is not to be flooded with them.
const SHORTEST_CHECK_TTL: Duration = Duration::from_millis(100);

/// Reads the TTL of a check. Consul has no upper limit.
fn check_ttl(text: &str) -> Result<Duration, String> {
    let ttl = positive_duration(text)?;
    if ttl < SHORTEST_CHECK_TTL {
        return Err(format!("the TTL of a check is at least {SHORTEST_CHECK_TTL:?}"));
    }
    Ok(ttl)
}

/// How Consul is used; the same for servers and for agents.
#[derive(Args, Clone, Debug)]
pub struct ConsulOptions {
    /// Use Consul for service discovery. Its address looks like 127.0.0.1:8500, http://…, https://… or
    /// unix:///run/consul.sock; without one, it is that of CONSUL_HTTP_ADDR, or 127.0.0.1:8500.
    #[arg(long, env = "AETHERIUM_CONSUL", hide_env_values = true, value_name = "ADDRESS", num_args = 0..=1,
          default_missing_value = "on", value_parser = ConsulMode::read)]
    pub consul: Option<ConsulMode>,

    /// The TTL of the check: how long after an update Consul makes it critical. It is updated each third of that.
    #[arg(long, env = "AETHERIUM_CONSUL_CHECK_TTL", value_name = "DURATION", default_value = "30s",
          value_parser = check_ttl)]
    pub consul_check_ttl: Duration,
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self { consul: None, consul_check_ttl: Duration::from_secs(30) }
    }
}

impl ConsulOptions {
    /// A client of the Consul to use, if one is to be used. Reads `CONSUL_…` variables and the files that they name.
    pub fn client(&self) -> Result<Option<Consul>, ConsulError> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(settings) = self.settings(read)? else { return Ok(None) };
        Consul::new(settings).map(Some)
    }

    fn settings(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Settings>, ConsulError> {
        let address = match &self.consul {
            None | Some(ConsulMode::Off) => return Ok(None),
            Some(ConsulMode::At(address)) => {
                address.clone().map_err(|reason| ConsulError::Address { name: "--consul", reason })?
            }
            Some(ConsulMode::FromEnvironment) => match variable(ADDRESS) {
                Some(text) => text.parse().map_err(|reason| ConsulError::Address { name: ADDRESS, reason })?,
                None => Address::default(),
            },
        };
        let flag = |name: &'static str| match variable(name) {
            Some(text) => as_flag(&text).map(Some).ok_or(ConsulError::Flag { name, value: text }),
            None => Ok(None),
        };
        let address = if flag("CONSUL_HTTP_SSL")? == Some(true) { address.over_tls() } else { address };
        let token = match (variable("CONSUL_HTTP_TOKEN_FILE"), variable("CONSUL_HTTP_TOKEN")) {
            (Some(path), _) => TokenSource::File(PathBuf::from(path)),
            (None, Some(token)) => TokenSource::Text(token),
            (None, None) => TokenSource::None,
        };
        Ok(Some(Settings {
            address,
            token,
            ca_file: variable("CONSUL_CACERT").map(PathBuf::from),
            verifies_certificates: flag("CONSUL_HTTP_SSL_VERIFY")?.unwrap_or(true),
            namespace: variable("CONSUL_NAMESPACE"),
        }))
    }
}

const ADDRESS: &str = "CONSUL_HTTP_ADDR";

/// The words that Consul's tools take for true and false.
fn as_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        consul: ConsulOptions,
    }

    fn settings(words: &str, variables: &[(&str, &str)]) -> Result<Option<Settings>, ConsulError> {
        let line = CommandLine::try_parse_from(["program"].into_iter().chain(words.split_whitespace())).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        line.consul.settings(variable)
    }

    #[test]
    fn consul_is_used_only_when_it_was_asked_for() {
        let variables = [("CONSUL_HTTP_ADDR", "10.0.0.1:8500"), ("CONSUL_HTTP_TOKEN", "secret")];
        for words in ["", "--consul off"] {
            assert!(settings(words, &variables).unwrap().is_none(), "{words:?}");
        }
    }

    #[test]
    fn the_option_wins_over_the_variable_and_the_variable_over_the_default() {
        let variables = [("CONSUL_HTTP_ADDR", "10.0.0.1:8500")];
        for (words, variables, address) in [
            ("--consul", &variables[..], "http://10.0.0.1:8500"),
            ("--consul on", &variables, "http://10.0.0.1:8500"),
            ("--consul 10.0.0.2:8500", &variables, "http://10.0.0.2:8500"),
            ("--consul", &[], "http://127.0.0.1:8500"),
            ("--consul", &[("CONSUL_HTTP_SSL", "true")], "https://127.0.0.1:8500"),
            ("--consul 10.0.0.2:8500", &[("CONSUL_HTTP_SSL", "0")], "http://10.0.0.2:8500"),
        ] {
            assert_eq!(settings(words, variables).unwrap().unwrap().address.to_string(), address, "{words}");
        }
    }

    #[test]
    fn a_ttl_that_leaves_no_time_between_updates_is_refused() {
        for text in ["2ns", "99ms", "0s", "soon"] {
            assert!(check_ttl(text).is_err(), "{text}");
        }
        assert_eq!(check_ttl("100ms"), Ok(SHORTEST_CHECK_TTL));
    }

    #[test]
    fn what_consuls_tools_read_is_read() {
        let found = settings(
            "--consul",
            &[
                ("CONSUL_HTTP_TOKEN", "secret"),
                ("CONSUL_HTTP_TOKEN_FILE", "/run/token"),
                ("CONSUL_CACERT", "/etc/ca.pem"),
                ("CONSUL_HTTP_SSL_VERIFY", "false"),
                ("CONSUL_NAMESPACE", "fleet"),
            ],
        );
        let found = found.unwrap().unwrap();
        assert!(matches!(&found.token, TokenSource::File(path) if path.to_str() == Some("/run/token")));
        assert_eq!(found.ca_file.as_deref().and_then(|path| path.to_str()), Some("/etc/ca.pem"));
        assert_eq!((found.verifies_certificates, found.namespace.as_deref()), (false, Some("fleet")));
        let found = settings("--consul", &[("CONSUL_HTTP_TOKEN", "secret")]).unwrap().unwrap();
        assert!(matches!(found.token, TokenSource::Text(token) if token == "secret"));
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_named() {
        for (variable, value, named) in [
            ("CONSUL_HTTP_ADDR", "consul", "CONSUL_HTTP_ADDR"),
            ("CONSUL_HTTP_SSL", "perhaps", "CONSUL_HTTP_SSL"),
            ("CONSUL_HTTP_SSL_VERIFY", "perhaps", "CONSUL_HTTP_SSL_VERIFY"),
        ] {
            let error = settings("--consul", &[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
