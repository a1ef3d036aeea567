//! The server records how many requests came with tokens that are not accepted: once in a while, and not one event for
//! each, since whoever has no token could fill the change log then.

use std::net::IpAddr;

use super::{Command, Lane};
use crate::cluster::{EventKind, Snapshot};
use crate::error::Result;
use crate::journal::batch::Batch;

/// Records failed authentications.
#[derive(Clone, Copy, Debug)]
pub struct RecordFailedAuthentications {
    /// How many there were since the last time.
    pub count: u64,
    /// The address of the last one.
    pub last: Option<IpAddr>,
}

impl Command for RecordFailedAuthentications {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Server
    }

    fn rows(&self, _: &Snapshot) -> usize {
        1
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply> {
        let Self { count, last } = *self;
        let from = last.map(|address| format!(", the last from {address}")).unwrap_or_default();
        let message = match count {
            1 => format!("A request came with a token that is not accepted{}", from.replace(", the last", "")),
            _ => format!("{count} requests came with tokens that are not accepted{from}"),
        };
        batch.record_event_of_server(EventKind::AuthenticationFailed, message);
        Ok(())
    }
}
