//! Questions about the cluster as a whole.

use std::time::Duration;

use tokio::time::timeout;

use super::offload::steps;
use super::{Reading, Resolvers};
use crate::clock::Timestamp;
use crate::cluster::{ClusterStats, WorkerDistribution};

/// How long a health check waits for the database.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How this server is.
#[derive(Clone, Debug)]
pub struct Health {
    /// Its parts, in a stated order.
    pub components: [(Component, ComponentHealth); 3],
    /// Whether Consul does what it is asked, if it is used. Nothing of the server depends on it.
    pub consul: Option<ComponentHealth>,
    /// When this was found.
    pub timestamp: Timestamp,
}

/// A part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The database answers questions.
    Database,
    /// The journal goes on. If it does not, this server will answer nothing new, ever.
    Journal,
    /// Commands are committed.
    Commits,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Database, Self::Journal, Self::Commits];
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
        let database = matches!(timeout(HEALTH_TIMEOUT, self.journal.database().answer()).await, Ok(Ok(())));
        let components = [
            (Component::Database, database),
            (Component::Journal, self.journal.is_open()),
            (Component::Commits, self.journal.takes_commits()),
        ];
        let health = |is_ok| if is_ok { ComponentHealth::Ok } else { ComponentHealth::Unavailable };
        Health {
            components: components.map(|(component, is_ok)| (component, health(is_ok))),
            consul: self.consul.as_ref().map(|healthy| health(*healthy.borrow())),
            timestamp: self.clock.now(),
        }
    }
}
