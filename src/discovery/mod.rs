//! Service discovery with Consul: servers and workers announce themselves, and agents find servers.
//!
//! [`Consul`] is the client of Consul's HTTP API. An [`Announcer`] keeps one service registered and its TTL check
//! fresh; a [`Finder`] keeps a list of servers. How operators configure it is in [`options`] and [`address`].
//!
//! Nothing here judges health, and nothing waits for it: each part is a task of its own with an HTTP client of its
//! own, and what it knows leaves through a [`watch`](tokio::sync::watch) channel. So a Consul that hangs, forgets or
//! refuses costs a line in the log and a stale list, never a heartbeat (ADR 0055).

mod address;
mod announcer;
mod check_state;
mod consul;
mod error;
mod finder;
mod options;
mod outage_log;
mod service;
#[cfg(test)]
mod tests;

pub use self::address::{Address, AddressError};
pub use self::announcer::Announcer;
pub use self::check_state::{CheckState, CheckStatus};
pub use self::consul::Consul;
pub use self::error::ConsulError;
pub use self::finder::{Finder, ServerList, find_servers};
pub use self::options::{ConsulMode, ConsulOptions};
pub use self::service::{AdvertiseAddress, AdvertiseError, Service};
