//! Questions about the cluster as a whole.

use std::time::Duration;

use tokio::time::timeout;

use super::offload::steps;
use super::{Reading, Resolvers};
use crate::clock::Timestamp;
use crate::cluster::{ClusterStats, WorkerDistribution};

/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// A database that has answered the journal within this time is there, though it took longer to answer a health check: a
/// slow one takes so long to begin a session and answer a first statement on it. One that is away is known to be before.
const HEARD_LATELY: Duration = Duration::from_secs(5);

/// How this server is.
#[derive(Clone, Debug)]
pub struct Health {
    /// Its parts, in a stated order.
    pub components: [(Component, ComponentHealth); 4],
    /// Whether Consul does what it is asked, if it is used. Nothing of the server depends on it.
    pub consul: Option<ComponentHealth>,
    /// How old what this server answers from memory may be, where other servers commit as well.
    pub staleness: Duration,
    /// When this was found.
    pub timestamp: Timestamp,
}

/// A part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The database is there: it answers a question, or has answered the journal lately though all connections for
    /// questions are busy or slow.
    Database,
    /// The journal goes on. If it does not, this server will answer nothing new, ever.
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

/// How one part of the server is.
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
        components.chain(self.consul.map(|health| ("consul", health)))
    }

    /// Whether this part works.
    pub fn is_component_ok(&self, component: Component) -> bool {
        self.components.contains(&(component, ComponentHealth::Ok))
    }
}

impl Reading {
    /// Totals of the cluster.
    pub fn cluster_stats(&self) -> ClusterStats {
        ClusterStats::of(&self.view)
    }

    /// How many steps it takes to write which VMs are where.
    pub fn steps_to_list_distribution(&self) -> u64 {
        let snapshot = &self.view.snapshot;
        steps(snapshot.worker_count().saturating_add(snapshot.vm_count()), 0)
    }

    /// Which VMs are where, by worker id.
    pub fn list_distribution(&self) -> Vec<WorkerDistribution> {
        self.view.workers().map(WorkerDistribution::of).collect()
    }
}

impl Resolvers {
    /// How this server is. What becomes of commits is known from those that were made; only the database is asked.
    pub async fn health(&self) -> Health {
        let database = match timeout(HEALTH_TIMEOUT, self.journal.database().ping()).await {
            Ok(answer) => answer.is_ok(),
            // A slow one is not away.
            Err(_) => {
                self.journal.accepts_commits()
                    && self.journal.is_multi_server()
                    && self.journal.database_idle() < HEARD_LATELY
            }
        };
        // After the wait: it may have become known meanwhile.
        let takes_commits = self.journal.accepts_commits();
        let components = [
            (Component::Database, database),
            (Component::Journal, self.journal.is_open()),
            (Component::Commits, takes_commits),
            (Component::Replication, self.journal.is_following()),
        ];
        let health = |is_ok| if is_ok { ComponentHealth::Ok } else { ComponentHealth::Unavailable };
        Health {
            components: components.map(|(component, is_ok)| (component, health(is_ok))),
            consul: self.consul.as_ref().map(|healthy| health(*healthy.borrow())),
            staleness: self.journal.staleness(),
            timestamp: self.clock.now(),
        }
    }
}
