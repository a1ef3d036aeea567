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
    /// Its parts, by name.
    pub components: Vec<(&'static str, Component)>,
    /// When this was found.
    pub timestamp: Timestamp,
}

impl Health {
    /// Whether all parts work.
    pub fn is_ok(&self) -> bool {
        self.components.iter().all(|(_, component)| *component == Component::Ok)
    }
}

/// How one part of the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// It works.
    Ok,
    /// It does not: reads are answered from memory, commands are refused.
    Unavailable,
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
    /// How this server is.
    pub async fn health(&self) -> Health {
        let database = match timeout(HEALTH_TIMEOUT, self.journal.database().answer()).await {
            Ok(Ok(())) => Component::Ok,
            Ok(Err(_)) | Err(_) => Component::Unavailable,
        };
        let journal = if self.journal.is_open() { Component::Ok } else { Component::Unavailable };
        Health { components: vec![("database", database), ("journal", journal)], timestamp: self.clock.now() }
    }
}
