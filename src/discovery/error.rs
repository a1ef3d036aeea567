//! What an operator has to mend before Consul can be used.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::{Address, AddressError};

/// Why Consul cannot be used as it was configured.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// The address is none. It is not repeated, for there may be a password in it.
    #[error("{name} cannot be used: {reason}")]
    Address {
        /// The option or variable that has it.
        name: &'static str,
        /// What is wrong with it.
        reason: AddressError,
    },
    /// A variable is neither true nor false.
    #[error("{name} has to be true or false, and is {value:?}")]
    Flag {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A file cannot be read.
    #[error("{name} names {}, which cannot be read", path.display())]
    File {
        /// The variable that names it.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should, or the token has letters that no header can have.
    #[error("{name} holds {what}")]
    Content {
        /// The variable.
        name: &'static str,
        /// What it holds instead.
        what: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("there can be no client for Consul")]
    Client(#[source] reqwest::Error),
    /// Consul runs elsewhere, and what a server listens on is of no use to others: all addresses, of which Consul's node
    /// would have another one, or the loopback address.
    #[error(
        "Consul at {address} is on another machine, from where {listen}, where this server listens, leads elsewhere; \
         name the address at which others reach it with --advertise"
    )]
    NoAddress {
        /// Consul's address.
        address: Address,
        /// Where the server listens.
        listen: SocketAddr,
    },
}
