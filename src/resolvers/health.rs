//! The health of this server: its database, its journal, its commits, and how it follows other servers.
//!
//! Only the database is probed, and not for long; the health of the other parts is known from what they have done: that
//! of commits from what the writer has recorded in `journal::commit::health`. Whether workers are healthy is another
//! matter, see [`WorkerView::is_healthy`](crate::cluster::WorkerView::is_healthy).

use std::time::Duration;

use tokio::time::timeout;

use super::Resolvers;
use crate::clock::Timestamp;
use crate::timing::{DATABASE_HEARD_WITHIN, HEALTH_TIMEOUT};

/// What both protocols call Consul, which is no part of the server.
pub const CONSUL: &str = "consul";

/// The health of this server.
#[derive(Clone, Debug)]
pub struct Health {
    /// Its parts, in the order of [`Component::ALL`].
    pub components: [(Component, ComponentHealth); 4],
    /// Whether Consul answers, if it is used. Nothing of the server depends on it.
    pub consul: Option<ComponentHealth>,
    /// How far the state in memory may lag behind the commits of other servers.
    pub staleness: Duration,
    /// When this was found.
    pub timestamp: Timestamp,
}

/// A part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The database answers a question; or it has answered the journal within [`DATABASE_HEARD_WITHIN`], while all
    /// connections for questions are busy or slow.
    Database,
    /// The journal runs. If it has ended, this server commits nothing any more and has to be restarted.
    Journal,
    /// Commands are committed.
    Commits,
    /// This server follows what others commit to the same database.
    Replication,
}

impl Component {
    /// What both protocols call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Journal => "journal",
            Self::Commits => "commits",
            Self::Replication => "replication",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Database, Self::Journal, Self::Commits, Self::Replication];
}

/// The health of one part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentHealth {
    /// It works.
    Ok,
    /// It does not.
    Unavailable,
}

impl Health {
    /// Whether all parts work.
    pub fn is_ok(&self) -> bool {
        Component::ALL.into_iter().all(|component| self.is_component_ok(component))
    }

    /// All parts by name, and Consul where it is used.
    pub fn named_components(&self) -> impl Iterator<Item = (&'static str, ComponentHealth)> {
        let components = self.components.into_iter().map(|(component, health)| (component.name(), health));
        components.chain(self.consul.map(|health| (CONSUL, health)))
    }

    /// Whether this part works.
    pub fn is_component_ok(&self, component: Component) -> bool {
        self.components.contains(&(component, ComponentHealth::Ok))
    }
}

impl Resolvers {
    /// The health of this server. Only the database is asked; the rest is known from what the journal has done.
    pub async fn health(&self) -> Health {
        let database = match timeout(HEALTH_TIMEOUT, self.journal.for_server().database().ping()).await {
            Ok(answer) => answer.is_ok(),
            // It may be slow, and not away.
            Err(_) => {
                self.journal.for_server().accepts_commits()
                    && self.journal.for_server().is_multi_server()
                    && self.journal.for_server().database_idle() < DATABASE_HEARD_WITHIN
            }
        };
        // Read after the wait, during which it may have changed.
        let accepts_commits = self.journal.for_server().accepts_commits();
        let components = [
            (Component::Database, database),
            (Component::Journal, self.is_journal_open()),
            (Component::Commits, accepts_commits),
            (Component::Replication, self.journal.for_server().is_following()),
        ];
        let health = |is_ok| if is_ok { ComponentHealth::Ok } else { ComponentHealth::Unavailable };
        Health {
            components: components.map(|(component, is_ok)| (component, health(is_ok))),
            consul: self.consul.as_ref().map(|healthy| health(*healthy.borrow())),
            staleness: self.journal.for_server().staleness(),
            timestamp: self.clock.now(),
        }
    }

    /// Whether the journal runs, as [`Component::Journal`] tells, without a question to the database.
    pub fn is_journal_open(&self) -> bool {
        self.journal.for_server().is_open()
    }

    /// Whether the tables are of this version, as far as the database says so in time.
    pub async fn is_migrated(&self) -> bool {
        let asked = timeout(HEALTH_TIMEOUT, self.journal.for_server().database().is_migrated()).await;
        matches!(asked, Ok(Ok(true)))
    }
}
