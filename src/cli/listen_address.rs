//! The address that a server listens on (`--listen`), and the refusal to listen on one that other machines reach
//! without TLS or without tokens, unless `--insecure` allows it. Accepting connections is not here, but in
//! `http::server::listener`.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use aetherium::config::{is_loopback, listen_address};
use anyhow::{Context, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted: those of a fleet that comes back all at once.
const BACKLOG: u32 = 4_096;

#[derive(Args, Clone, Debug)]
pub struct ListenOptions {
    /// Address and port to listen on; port 0 takes any that is free.
    #[arg(long, env = "AETHERIUM_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080",
          value_parser = listen_address)]
    listen: SocketAddr,

    /// Allow an address that other machines can reach without TLS, where whoever is on the way reads tokens and answers, and
    /// without any token, where whoever reaches the server can change everything.
    #[arg(long, env = "AETHERIUM_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,
}

impl ListenOptions {
    /// Binds the port without listening on it yet, so that a port in use is reported before the database is touched.
    pub fn bind(&self) -> anyhow::Result<Bound> {
        Bound::to(self.listen, "--listen")
    }

    /// The same options for another address, which wants the same protection.
    pub fn at(&self, listen: SocketAddr) -> Self {
        Self { listen, ..*self }
    }

    /// Whether TLS and tokens are asked for: on any address that other machines reach, unless the operator says that
    /// neither is needed.
    pub fn needs_protection(&self) -> bool {
        !is_loopback(self.listen) && !self.insecure
    }

    /// Refuses to listen where other machines reach a server without this protection.
    pub fn check(&self, protection: Protection, mend: &Mend<'_>) -> anyhow::Result<()> {
        match protection.lack(self.listen, mend) {
            Some(lack) if self.needs_protection() => bail!(lack),
            Some(_) | None => Ok(()),
        }
    }
}

/// What keeps strangers away from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Whether connections are encrypted.
    pub has_tls: bool,
    /// Whether callers are asked for a token.
    pub has_tokens: bool,
}

/// The commands that bring what is missing.
#[derive(Debug)]
pub struct Mend<'a> {
    /// Starts the server, with TLS.
    pub serve: &'a str,
    /// Makes the first token.
    pub create_token: &'a str,
}

impl Protection {
    /// What is missing, and what to do about it; none if nothing is.
    fn lack(self, address: SocketAddr, Mend { serve, create_token }: &Mend<'_>) -> Option<String> {
        let (lack, mend) = match (self.has_tls, self.has_tokens) {
            (true, true) => return None,
            (false, true) => (
                "connections would not be encrypted",
                format!("start it with `{serve}`, or with --tls-cert and --tls-key"),
            ),
            (true, false) => (
                "nobody would be asked for a token",
                format!("make the first one with `{create_token}`, and start it again"),
            ),
            (false, false) => (
                "connections would not be encrypted and nobody would be asked for a token",
                format!(
                    "make the first token with `{create_token}`, and start it with `{serve}`, or with --tls-cert and \
                     --tls-key"
                ),
            ),
        };
        Some(format!(
            "Not listening on {address}, which other machines may reach: {lack}; {mend}. \
             Or say with --insecure that strangers are kept away by other means."
        ))
    }

    /// What it means that a server listens there all the same; none if there is nothing to warn of.
    pub fn risk(self, address: SocketAddr, content: Content) -> Option<String> {
        const READ: &str =
            "nothing is encrypted, so whoever is on the way reads tokens and answers, and can use the tokens";
        const OPEN: &str = "there are no tokens (`aetherium token create --role admin --name me` makes the first), so \
                            whoever reaches it can";
        let power = match content {
            Content::All => "change everything",
            Content::Monitoring => "read all metrics, with the names of zones and workers, and change nothing",
        };
        let risk = match (self.has_tls, self.has_tokens) {
            _ if is_loopback(address) => return None,
            (true, true) => return None,
            (false, true) => READ.to_owned(),
            (true, false) => format!("{OPEN} {power}"),
            (false, false) => {
                format!("{OPEN} {power}, and nothing is encrypted, so whoever is on the way reads all answers")
            }
        };
        Some(format!("Other machines may reach {address}, as --insecure allows it: {risk}"))
    }
}

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The whole API.
    All,
    /// Metrics and probes, which are only read.
    Monitoring,
}

/// A bound port that is not listened on yet.
pub struct Bound {
    socket: TcpSocket,
    address: SocketAddr,
    flag: &'static str,
}

impl Bound {
    /// Binds the port that this flag names.
    pub fn to(address: SocketAddr, flag: &'static str) -> anyhow::Result<Self> {
        let bind = || -> io::Result<TcpSocket> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Without it, a restart fails until the system has forgotten the connections of the process before.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        Ok(Self { socket: bind().map_err(|error| cannot_listen(address, flag, error))?, address, flag })
    }

    /// The address, whose port is 0 as long as any will do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to accept connections. Returns the address with the port, too.
    pub fn listen(self) -> anyhow::Result<(TcpListener, SocketAddr)> {
        let listener = self.socket.listen(BACKLOG).map_err(|error| cannot_listen(self.address, self.flag, error))?;
        let address = listener.local_addr().context("cannot tell the address that is listened on")?;
        Ok((listener, address))
    }
}

fn cannot_listen(address: SocketAddr, flag: &str, error: io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::AddrInUse {
        let another = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(0));
        anyhow::anyhow!("Another program listens on {address} already; choose another port, as in {flag} {another}")
    } else {
        anyhow::Error::new(error).context(format!("Cannot listen on {address} ({flag})"))
    }
}

/// The base URL under which this machine reaches a server that listens there, over TLS or not.
pub fn url_from_here(address: SocketAddr, has_tls: bool) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEND: Mend<'_> = Mend { serve: "aetherium serve --tls self", create_token: "aetherium token create" };

    fn options(listen: &str, insecure: bool) -> ListenOptions {
        ListenOptions { listen: listen.parse().unwrap(), insecure }
    }

    #[test]
    fn other_machines_are_let_in_with_tls_and_tokens_and_only_what_is_missing_is_asked_for() {
        for (has_tls, has_tokens) in [(false, false), (false, true), (true, false), (true, true)] {
            let protection = Protection { has_tls, has_tokens };
            for insecure in [false, true] {
                assert!(options("127.0.0.1:0", insecure).check(protection, &MEND).is_ok(), "loopback is always open");
            }
            assert!(options("0.0.0.0:80", true).check(protection, &MEND).is_ok());
            let refusal = options("0.0.0.0:80", false).check(protection, &MEND).err().map(|error| error.to_string());
            assert_eq!(refusal.is_none(), has_tls && has_tokens, "{refusal:?}");
            let Some(refusal) = refusal else { continue };
            for (command, is_missing) in [(MEND.serve, !has_tls), (MEND.create_token, !has_tokens)] {
                assert_eq!(refusal.contains(command), is_missing, "{refusal}");
            }
            assert!(refusal.contains("0.0.0.0:80") && refusal.contains("--insecure"), "{refusal}");
        }
    }

    #[test]
    fn what_is_insecure_is_said_as_it_is_here_and_now() {
        let risk_of = |content, listen: &str, has_tls, has_tokens| {
            Protection { has_tls, has_tokens }.risk(listen.parse().unwrap(), content)
        };
        let risk = |listen: &str, has_tls, has_tokens| risk_of(Content::All, listen, has_tls, has_tokens);
        for (has_tls, has_tokens, phrases) in [
            (false, false, &["can change everything", "on the way reads"][..]),
            (false, true, &["on the way reads tokens"]),
            (true, false, &["can change everything"]),
        ] {
            let risk = risk("10.0.0.5:80", has_tls, has_tokens).unwrap();
            assert!(phrases.iter().all(|phrase| risk.contains(phrase)), "{risk}");
            assert_eq!(risk.contains("encrypted"), !has_tls, "{risk}");
            let monitored = risk_of(Content::Monitoring, "10.0.0.5:80", has_tls, has_tokens).unwrap();
            assert_eq!(monitored.contains("read all metrics"), !has_tokens, "{monitored}");
            assert!(!monitored.contains("change everything"), "there is nothing to change: {monitored}");
        }
        assert_eq!(risk_of(Content::Monitoring, "10.0.0.5:80", true, true), None);
        assert_eq!(risk("10.0.0.5:80", true, true), None);
        assert_eq!(risk("127.0.0.1:80", false, false), None);
    }

    #[test]
    fn a_url_has_the_scheme_of_its_server() {
        assert_eq!(url_from_here("0.0.0.0:80".parse().unwrap(), false), "http://127.0.0.1:80");
        assert_eq!(url_from_here("[::]:443".parse().unwrap(), true), "https://[::1]:443");
    }
}
