//! The subscription root.
//!
//! Each method starts a watch of [`crate::resolvers`] and puts its stream of items into the request's
//! [`StreamHandoff`], from which the executor takes it. Items are rendered once for all equal subscriptions by the
//! [broadcast](crate::graphql::subscriptions::broadcast), so that the streams returned to the engine are empty.

use async_graphql::{Context, Result, Subscription};
use futures_util::stream::{self, Stream, StreamExt as _};

use super::inputs::{DrainFilter, EventFilter, WorkerFilter};
use super::object_types::{ClusterEvent, ClusterStats, DrainProgress, WorkerHeartbeat, WorkerUpdate};
use super::scalars::{Cursor, Duration};
use crate::auth::Caller;
use crate::graphql::subscriptions::item::StreamItem;
use crate::graphql::subscriptions::stream_handoff::StreamHandoff;
use crate::resolvers::Resolvers;

/// Following the cluster.
pub struct Subscription;

/// Following the cluster.
#[Subscription]
impl Subscription {
    /// Beats as they arrive, and whatever else changes a worker: a registration, or that it is drained or activated.
    /// Starts with the present state of every matching worker, then latest-wins per worker, at most one per worker in
    /// `every`: a slow reader gets fewer messages, never an old one and never a growing queue. A worker that leaves the
    /// filter, or is removed, is told once more, with `isLast`.
    async fn worker_heartbeats(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers are wanted; all if left out.")] filter: Option<WorkerFilter>,
        #[graphql(desc = "Shortest time between two messages of one worker, from 50ms to 1h; none if left out.")]
        every: Option<Duration>,
    ) -> Result<impl Stream<Item = WorkerHeartbeat> + use<>> {
        let every = every.and_then(|every| every.measured());
        let beats = ctx.data::<Resolvers>()?.watch_heartbeats(
            ctx.data::<Caller>()?,
            filter.unwrap_or_default().try_into()?,
            every,
        )?;
        ctx.data::<StreamHandoff>()?.put(beats.map(|beat| beat.map(StreamItem::Heartbeat)));
        Ok(stream::empty())
    }

    /// Workers when they show something else than before: another status or drain, another description, another use or
    /// reservation, VMs that come, change or go. Heartbeats that say the same are left out, so that `lastSeen`, `uptime` and
    /// `revision` of a worker are older here than they are in a query. Starts with the present state of every matching
    /// worker, then latest-wins per worker, at most one per worker in `every`: a slow reader gets fewer messages, never an
    /// old one. A worker that leaves the filter, or is removed, is told once more, with `isLast`. Whoever connects again
    /// begins with the present state.
    async fn worker_updates(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers are wanted; all if left out.")] filter: Option<WorkerFilter>,
        #[graphql(desc = "Shortest time between two messages of one worker, from 50ms to 1h; none if left out.")]
        every: Option<Duration>,
    ) -> Result<impl Stream<Item = WorkerUpdate> + use<>> {
        let every = every.and_then(|every| every.measured());
        let updates = ctx.data::<Resolvers>()?.watch_updates(
            ctx.data::<Caller>()?,
            filter.unwrap_or_default().try_into()?,
            every,
        )?;
        ctx.data::<StreamHandoff>()?.put(updates.map(|update| update.map(StreamItem::Update)));
        Ok(stream::empty())
    }

    /// Progress of drains. Starts with the present state of every drain that stands and matches, then tells each again when
    /// it shows something else, at most one per drain in `every`: a slow reader gets fewer messages, never an old one. A
    /// drain that ends or leaves the filter is told once more, with `isLast`. Whoever connects again begins with the present
    /// state.
    async fn drain_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which drains are wanted; all that stand if left out.")] filter: Option<DrainFilter>,
        #[graphql(desc = "Shortest time between two messages of one drain, from 50ms to 1h; none if left out.")]
        every: Option<Duration>,
    ) -> Result<impl Stream<Item = DrainProgress> + use<>> {
        let every = every.and_then(|every| every.measured());
        let drains = ctx.data::<Resolvers>()?.watch_drains(
            ctx.data::<Caller>()?,
            filter.unwrap_or_default().try_into()?,
            every,
        )?;
        ctx.data::<StreamHandoff>()?.put(drains.map(|drain| drain.map(StreamItem::Drain)));
        Ok(stream::empty())
    }

    /// Every change after `after`, in order, none missing, none twice; from now on without it. A `SYNCED` event says
    /// that what was to be replayed has been told, which is the first thing told if there was nothing; it is repeated
    /// when idle, so that there is always a cursor to resume from. `RESYNC` says that `after` cannot be resumed.
    async fn cluster_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Cursor of the last event that was received.")] after: Option<Cursor>,
        #[graphql(desc = "Which events are wanted; all if left out. `SYNCED` and `RESYNC` always come.")]
        filter: Option<EventFilter>,
    ) -> Result<impl Stream<Item = ClusterEvent> + use<>> {
        let after = after.as_ref().map(|cursor| cursor.0.as_str());
        let events = ctx.data::<Resolvers>()?.watch_events(
            ctx.data::<Caller>()?,
            after,
            filter.unwrap_or_default().try_into()?,
        )?;
        ctx.data::<StreamHandoff>()?.put(events.map(|event| event.map(StreamItem::Event)));
        Ok(stream::empty())
    }

    /// Now and after each change, at most one in `every`. Figures of one message are of one revision.
    async fn cluster_stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Shortest time between two messages, from 50ms to 1h; 1s if left out.")] every: Option<
            Duration,
        >,
    ) -> Result<impl Stream<Item = ClusterStats> + use<>> {
        let every = every.and_then(|every| every.measured());
        let stats = ctx.data::<Resolvers>()?.watch_cluster_stats(ctx.data::<Caller>()?, every)?;
        ctx.data::<StreamHandoff>()?.put(stats.map(|stats| stats.map(StreamItem::Stats)));
        Ok(stream::empty())
    }
}
