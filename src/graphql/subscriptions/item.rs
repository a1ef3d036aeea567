//! The item of a subscription, and the key by which equal items of two subscribers are recognized.
//!
//! Items are rendered in [`broadcast`](super::broadcast).

use std::mem::size_of;
use std::sync::Arc;

use crate::cluster;
use crate::resolvers::drain_watch::DrainProgress;
use crate::resolvers::watch::{Heartbeat, WorkerUpdate};
use crate::resolvers::{EventView, Reading, Resolvers};

/// An item of a subscription, as a watch of [`crate::resolvers::watch`] yields it.
#[derive(Clone)]
pub enum StreamItem {
    Heartbeat(Heartbeat),
    Update(WorkerUpdate),
    Event(EventView),
    Stats(cluster::ClusterStats),
    Drain(DrainProgress),
}

/// The identity of an item: its subject, the state of the cluster and the moment that it shows. Items with equal keys
/// render to equal payloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ItemKey {
    Heartbeat { worker: cluster::WorkerId, epoch: Arc<str>, revision: u64, now: i64, coalesced: u32, is_last: bool },
    Update { worker: cluster::WorkerId, epoch: Arc<str>, revision: u64, now: i64, is_last: bool },
    Event { cursor: cluster::Cursor, kind: cluster::EventKind, revision: u64, now: i64 },
    Stats(cluster::ClusterStats),
    Drain { worker: cluster::WorkerId, number: u32, epoch: Arc<str>, revision: u64, now: i64, is_last: bool },
}

impl StreamItem {
    /// The key of the item. None for a notice, which is made for one subscriber at its own time and equals no other.
    pub fn key(&self) -> Option<ItemKey> {
        Some(match self {
            // As a drain below.
            Self::Heartbeat(heartbeat) if !heartbeat.is_current() => return None,
            Self::Heartbeat(Heartbeat { worker, coalesced, is_last, .. }) => ItemKey::Heartbeat {
                worker: worker.worker.id.clone(),
                epoch: worker.view.snapshot.epochs.latest().clone(),
                revision: worker.view.snapshot.revision,
                now: worker.view.now.timestamp_millis(),
                coalesced: *coalesced,
                is_last: *is_last,
            },
            Self::Update(update) if !update.is_current() => return None,
            Self::Update(WorkerUpdate { worker, is_last }) => ItemKey::Update {
                worker: worker.worker.id.clone(),
                epoch: worker.view.snapshot.epochs.latest().clone(),
                revision: worker.view.snapshot.revision,
                now: worker.view.now.timestamp_millis(),
                is_last: *is_last,
            },
            Self::Event(EventView { event, .. }) if event.kind.is_notice() => return None,
            Self::Event(EventView { event, view }) => ItemKey::Event {
                cursor: event.cursor.clone(),
                kind: event.kind,
                revision: view.snapshot.revision,
                now: view.now.timestamp_millis(),
            },
            Self::Stats(stats) => ItemKey::Stats(stats.clone()),
            // Its worker was purged, and what is told is what its reader was told before.
            Self::Drain(DrainProgress { drain, .. }) if !drain.is_current() => return None,
            Self::Drain(DrainProgress { drain, is_last }) => {
                let view = &drain.worker.view;
                ItemKey::Drain {
                    worker: drain.worker_id().clone(),
                    number: drain.drain.number,
                    epoch: view.snapshot.epochs.latest().clone(),
                    revision: view.snapshot.revision,
                    now: view.now.timestamp_millis(),
                    is_last: *is_last,
                }
            }
        })
    }

    /// The reading that fields below the item are resolved from.
    pub fn reading(&self, resolvers: &Resolvers) -> Reading {
        match self {
            Self::Heartbeat(Heartbeat { worker, .. }) | Self::Update(WorkerUpdate { worker, .. }) => {
                Reading::of(worker.view.clone())
            }
            Self::Event(EventView { view, .. }) => Reading::of(view.clone()),
            Self::Drain(DrainProgress { drain, .. }) => Reading::of(drain.worker.view.clone()),
            Self::Stats(_) => resolvers.present(),
        }
    }
}

impl ItemKey {
    /// Roughly how many bytes it holds on the heap.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Heartbeat { worker, epoch, .. }
            | Self::Update { worker, epoch, .. }
            | Self::Drain { worker, epoch, .. } => worker.as_str().len() + epoch.len(),
            Self::Event { cursor, .. } => cursor.epoch.len(),
            Self::Stats(stats) => {
                stats.zones.iter().map(|zone| size_of::<cluster::ZoneStats>() + zone.name.len()).sum()
            }
        }
    }
}
