//! The address that a server listens on (`--listen`), and the refusal to listen on one that other machines reach
//! without `--insecure`. Accepting connections is not here, but in `http::server::listener`.

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

    /// Allow an address that other machines can reach, although connections are not encrypted: whoever is on the way reads
    /// tokens and answers. Without any token, whoever reaches the server can change everything.
    #[arg(long, env = "AETHERIUM_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,
}

impl ListenOptions {
    /// Binds the port without listening on it yet, so that a port in use is reported before the database is touched.
    pub fn bind(&self) -> anyhow::Result<Bound> {
        let address = self.listen;
        if !is_loopback(address) && !self.insecure {
            bail!(
                "Not listening on {address}: other machines may reach it, and connections are not encrypted; \
                 if the network or a proxy keeps strangers away, say so with --insecure"
            );
        }
        let bind = || -> io::Result<TcpSocket> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Without it, a restart fails until the system has forgotten the connections of the process before.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        Ok(Bound { socket: bind().map_err(|error| cannot_listen(address, error))?, address })
    }
}

/// A bound port that is not listened on yet.
pub struct Bound {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Bound {
    /// The address, whose port is 0 as long as any will do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to accept connections. Returns the address with the port, too.
    pub fn listen(self) -> anyhow::Result<(TcpListener, SocketAddr)> {
        let listener = self.socket.listen(BACKLOG).map_err(|error| cannot_listen(self.address, error))?;
        let address = listener.local_addr().context("cannot tell the address that is listened on")?;
        Ok((listener, address))
    }
}

fn cannot_listen(address: SocketAddr, error: io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::AddrInUse {
        let another = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(0));
        anyhow::anyhow!("Another program listens on {address} already; choose another port, as in --listen {another}")
    } else {
        anyhow::Error::new(error).context(format!("Cannot listen on {address} (--listen)"))
    }
}

/// The base URL under which this machine reaches a server that listens there.
pub fn url_from_here(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}
