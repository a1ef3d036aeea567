//! One thing that a subscription has to tell, and what makes two of them the same.

use std::mem::size_of;
use std::sync::Arc;

use crate::cluster;
use crate::resolvers::watch::Heartbeat;
use crate::resolvers::{EventView, Reading, Resolvers};

/// Something that a watch has to tell.
#[derive(Clone)]
pub enum StreamItem {
    Heartbeat(Heartbeat),
    Event(EventView),
    Stats(cluster::ClusterStats),
}

/// What makes two items the same: what they are about, in which state of the cluster, at which moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ItemKey {
    Heartbeat { worker: cluster::WorkerId, epoch: Arc<str>, revision: u64, now: i64, coalesced: u32 },
    Event { cursor: cluster::Cursor, kind: cluster::EventKind, revision: u64, now: i64 },
    Stats(cluster::ClusterStats),
}

impl StreamItem {
    /// None for what is not the same for anybody else: a notice is made for one reader, at its own time.
    pub fn key(&self) -> Option<ItemKey> {
        Some(match self {
            Self::Heartbeat(Heartbeat { worker, coalesced, .. }) => ItemKey::Heartbeat {
                worker: worker.worker.id.clone(),
                epoch: worker.view.snapshot.epochs.latest().clone(),
                revision: worker.view.snapshot.revision,
                now: worker.view.now.timestamp_millis(),
                coalesced: *coalesced,
            },
            Self::Event(EventView { event, .. }) if event.kind.is_notice() => return None,
            Self::Event(EventView { event, view }) => ItemKey::Event {
                cursor: event.cursor.clone(),
                kind: event.kind,
                revision: view.snapshot.revision,
                now: view.now.timestamp_millis(),
            },
            Self::Stats(stats) => ItemKey::Stats(stats.clone()),
        })
    }

    /// What fields below the item are looked up in.
    pub fn reading(&self, resolvers: &Resolvers) -> Reading {
        match self {
            Self::Heartbeat(Heartbeat { worker, .. }) => Reading::of(worker.view.clone()),
            Self::Event(EventView { view, .. }) => Reading::of(view.clone()),
            Self::Stats(_) => resolvers.read(),
        }
    }
}

impl ItemKey {
    /// How many bytes it holds besides itself, roughly.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Heartbeat { worker, epoch, .. } => worker.as_str().len() + epoch.len(),
            Self::Event { cursor, .. } => cursor.epoch.len(),
            Self::Stats(stats) => {
                stats.zones.iter().map(|zone| size_of::<cluster::ZoneStats>() + zone.name.len()).sum()
            }
        }
    }
}
