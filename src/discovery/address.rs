//! Where Consul listens: the forms of an address that Consul's own tools take.

use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;

use crate::client::is_loopback;

/// Where a Consul agent listens unless it was told otherwise.
const DEFAULT: &str = "127.0.0.1:8500";

/// Where a Consul agent listens: `HOST:PORT`, `http://…`, `https://…` or `unix:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What paths of the API are appended to.
    pub(super) base: Url,
    /// The socket that connections go to, if it is not the host of `base`.
    pub(super) socket: Option<PathBuf>,
}

/// An address that cannot be Consul's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has none of the forms.
    #[error("the address of Consul looks like 127.0.0.1:8500, http://…, https://… or unix:///run/consul.sock")]
    Form,
    /// It has a user or a password, which would be shown wherever the address is.
    #[error("the address of Consul cannot have a user or a password; its token goes in CONSUL_HTTP_TOKEN")]
    Credentials,
}

impl Address {
    /// The same address over TLS, as `CONSUL_HTTP_SSL` asks for. A Unix socket has none.
    pub(super) fn over_tls(mut self) -> Self {
        if self.socket.is_none() {
            // Cannot fail: http and https can be exchanged for each other.
            let _ = self.base.set_scheme("https");
        }
        self
    }

    /// Whether Consul runs on this machine, so that its node's address is ours.
    pub fn is_local(&self) -> bool {
        self.socket.is_some() || is_loopback(&self.base)
    }
}

impl Default for Address {
    fn default() -> Self {
        let base = Url::parse(&format!("http://{DEFAULT}")).expect("a constant");
        Self { base, socket: None }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        if scheme == "unix" {
            let path = PathBuf::from(rest);
            return match path.is_absolute() {
                true => Ok(Self { base: Url::parse("http://localhost").expect("a constant"), socket: Some(path) }),
                false => Err(AddressError::Form),
            };
        }
        let url = match scheme {
            // A word without a port is more likely a mistake than a host that listens on port 80.
            "" if rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                format!("http://{rest}")
            }
            "http" | "https" => text.to_owned(),
            _ => return Err(AddressError::Form),
        };
        let base = Url::parse(&url).map_err(|_| AddressError::Form)?;
        if base.host_str().is_none() || base.query().is_some() || base.fragment().is_some() {
            return Err(AddressError::Form);
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(AddressError::Credentials);
        }
        Ok(Self { base, socket: None })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix://{}", path.display()),
            None => f.write_str(self.base.as_str().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_consuls_tools_take_is_an_address() {
        for (text, shown, is_local) in [
            ("127.0.0.1:8500", "http://127.0.0.1:8500", true),
            ("localhost:8500", "http://localhost:8500", true),
            ("[::1]:8500", "http://[::1]:8500", true),
            ("consul.example.com:8500", "http://consul.example.com:8500", false),
            ("http://10.0.0.1:8500/", "http://10.0.0.1:8500", false),
            ("https://consul.example.com/at/prefix", "https://consul.example.com/at/prefix", false),
            ("unix:///run/consul.sock", "unix:///run/consul.sock", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_local()), (shown, is_local), "{text}");
        }
        assert_eq!(Address::default().to_string(), "http://127.0.0.1:8500");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "leave", "consul", "ftp://consul:8500", "unix://run/consul.sock", "http://", "http://c/?dc=1"]
        {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Form), "{text:?}");
        }
        for text in ["http://me:secret@consul:8500", "me@consul:8500"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Credentials), "{text:?}");
        }
    }

    #[test]
    fn tls_that_was_asked_for_is_never_given_up() {
        for (text, shown) in [
            ("127.0.0.1:8501", "https://127.0.0.1:8501"),
            ("http://127.0.0.1:8501", "https://127.0.0.1:8501"),
            ("unix:///run/consul.sock", "unix:///run/consul.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().over_tls().to_string(), shown);
        }
    }
}
