//! The query root. Each method reads from the one reading of its request.
//!
//! Plans of the same fields are in `plan::roots`.

use async_graphql::{Context, ID, Object, Result};

use super::history::{History, history_query};
use super::inputs::{
    DrainFilter, EventFilter, OrderDirection, VmFilter, VmOrder, WorkerFilter, WorkerOrder, in_zones, whole,
};
use super::object_types::{
    Capacity, ClusterEventConnection, ClusterStats, DrainConnection, EvacuationPlan, Node, Placement, Reservation,
    ReservationConnection, ServerHealth, Session, Token, Vm, VmConnection, VmCounts, Worker, WorkerConnection,
    WorkerCounts, WorkerDistribution, Zone,
};
use super::paging::PageArguments;
use super::placement_inputs::{CapacityRequest, PlacementRequest, ReservationFilter};
use super::scalars::{Cursor, DateTime};
use crate::auth::Caller;
use crate::cluster;
use crate::error::Error;
use crate::graphql::execution::budget::Budget;
use crate::history::Subject;
use crate::resolvers::page::PageRequest;
use crate::resolvers::{DEFAULT_EVENTS, EventPageRequest, Reading, Resolvers, event_limit};

/// Most ids that `nodes` accepts.
pub const MAX_NODES: usize = 1_000;

/// Questions about the cluster. All figures of one answer are of one revision and one moment.
pub struct Query;

/// Questions about the cluster. All figures of one answer are of one revision and one moment.
#[Object]
impl Query {
    /// The object with this ID. Of a worker and a VM that have one ID, the worker; `vm` finds the VM.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "ID of a worker or a VM.")] id: ID,
    ) -> Result<Option<Node>> {
        Ok(ctx.data::<Reading>()?.find_node(&id).map(Into::into))
    }

    /// The objects with these IDs, in the same order; null where there is none.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "IDs of workers and VMs, at most 1,000.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Node>>> {
        if ids.len() > MAX_NODES {
            return Err(
                Error::invalid("ids", format!("must have at most {MAX_NODES} entries, not {}", ids.len())).into()
            );
        }
        let ids = Budget::pay_for(ctx, ids)?;
        let reading = ctx.data::<Reading>()?;
        Ok(ids.iter().map(|id| reading.find_node(id).map(Into::into)).collect())
    }

    /// All workers, sorted by id; twin of `GET /workers`.
    async fn workers(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Only workers in this zone; all if left out or null. The empty text asks for workers without a zone."
        )]
        zone: Option<String>,
        #[graphql(
            desc = "Only workers in one of these zones; all if left out or null, none if the list is empty. Together with `zone`, both have to match."
        )]
        zones: Option<Vec<String>>,
    ) -> Result<Vec<Worker>> {
        let filter = in_zones(zone, zones)?;
        let workers = Budget::pay_for(ctx, ctx.data::<Reading>()?.list_workers(&filter))?;
        Ok(workers.into_iter().map(Worker).collect())
    }

    /// Workers, page by page.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn workers_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which workers are wanted; all if left out.")] filter: Option<WorkerFilter>,
        #[graphql(
            desc = "In what order; by id if left out. Workers whose place may have changed since the first page come behind \
                    all others, by id: whoever is there throughout is on a page."
        )]
        order_by: Option<WorkerOrder>,
    ) -> Result<WorkerConnection> {
        let request: PageRequest = PageArguments { first, after, last, before }.into();
        let order = order_by.map(Into::into).unwrap_or_default();
        let filter = filter.unwrap_or_default().try_into()?;
        let mut reading = ctx.data::<Reading>()?.clone();
        if request.after.is_some() || request.before.is_some() {
            // A cursor may come from a server that is ahead of this one.
            reading = ctx.data::<Resolvers>()?.read_for_page(reading, &request).await?;
        }
        WorkerConnection::of(ctx, reading.page_of_workers(&filter, order, &request)?)
    }

    /// The worker with this id; null if there is none.
    async fn worker(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the worker.")] id: ID) -> Result<Option<Worker>> {
        Ok(ctx.data::<Reading>()?.find_worker(&id).map(Worker))
    }

    /// All VMs that hold a slot, sorted by id; twin of `GET /vms`.
    async fn vms(&self, ctx: &Context<'_>) -> Result<Vec<Vm>> {
        let vms = Budget::pay_for(ctx, ctx.data::<Reading>()?.list_vms(&cluster::VmFilter::default()))?;
        Ok(vms.into_iter().map(Vm).collect())
    }

    /// VMs, page by page.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn vms_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which VMs are wanted; those that hold a slot if left out.")] filter: Option<VmFilter>,
        #[graphql(desc = "In what order; by id if left out. A cursor is of one order: none of another goes with it.")]
        order_by: Option<VmOrder>,
    ) -> Result<VmConnection> {
        let request: PageRequest = PageArguments { first, after, last, before }.into();
        let filter = filter.unwrap_or_default().try_into()?;
        let order = order_by.map(Into::into).unwrap_or_default();
        let mut reading = ctx.data::<Reading>()?.clone();
        if request.after.is_some() || request.before.is_some() {
            // A cursor may come from a server that is ahead of this one.
            reading = ctx.data::<Resolvers>()?.read_for_page(reading, &request).await?;
        }
        VmConnection::of(ctx, reading.page_of_vms(&filter, order, &request)?)
    }

    /// The drain of each worker that stands, or else its last one, page by page, sorted by worker; twin of `GET /drains`.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn drains(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which drains are wanted; all if left out.")] filter: Option<DrainFilter>,
    ) -> Result<DrainConnection> {
        let request = PageArguments { first, after, last, before }.into();
        let filter = filter.unwrap_or_default().try_into()?;
        DrainConnection::of(ctx, ctx.data::<Reading>()?.page_of_drains(&filter, &request)?)
    }

    /// The VM with this id, whatever its status; null if there is none.
    async fn vm(&self, ctx: &Context<'_>, #[graphql(desc = "Id of the VM.")] id: ID) -> Result<Option<Vm>> {
        Ok(ctx.data::<Reading>()?.find_vm(&id).map(Vm))
    }

    /// Totals of the cluster; twin of `GET /cluster/stats`.
    async fn cluster_stats(&self, ctx: &Context<'_>) -> Result<ClusterStats> {
        Ok(ClusterStats(ctx.data::<Reading>()?.cluster_stats()))
    }

    /// Zones that have workers, sorted by name, each with the sums over its workers; twin of `GET /cluster/zones`.
    async fn zones(&self, ctx: &Context<'_>) -> Result<Vec<Zone>> {
        let zones = Budget::pay_for(ctx, ctx.data::<Reading>()?.list_zones())?;
        Ok(zones.into_iter().map(Zone).collect())
    }

    /// How figures of the cluster went; twin of `GET /cluster/history`.
    async fn cluster_history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first moment; `until` less `rangeSeconds` if left out.")] since: Option<DateTime>,
        #[graphql(desc = "The moment before which it ends; now if left out or later than now.")] until: Option<
            DateTime,
        >,
        #[graphql(
            desc = "How many seconds before `until` it begins, from 60 to 34300800, which is 397 days; an hour if neither \
                    this nor `since` is given. Means something without `since` only."
        )]
        range_seconds: Option<i32>,
        #[graphql(desc = "How many points each curve has at most, from 2 to 1500.", default = 120)] max_points: i32,
    ) -> Result<History> {
        History::about(ctx, Subject::Cluster, history_query(since, until, range_seconds, max_points)).await
    }

    /// How figures of a zone went; null if no worker is in it. Twin of `GET /zones/{zone}/history`.
    async fn zone_history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Name of the zone.")] zone: String,
        #[graphql(desc = "The first moment; `until` less `rangeSeconds` if left out.")] since: Option<DateTime>,
        #[graphql(desc = "The moment before which it ends; now if left out or later than now.")] until: Option<
            DateTime,
        >,
        #[graphql(
            desc = "How many seconds before `until` it begins, from 60 to 34300800, which is 397 days; an hour if neither \
                    this nor `since` is given. Means something without `since` only."
        )]
        range_seconds: Option<i32>,
        #[graphql(desc = "How many points each curve has at most, from 2 to 1500.", default = 120)] max_points: i32,
    ) -> Result<Option<History>> {
        if !ctx.data::<Reading>()?.has_zone(&zone) {
            return Ok(None);
        }
        let query = history_query(since, until, range_seconds, max_points);
        History::about(ctx, Subject::Zone(zone.into()), query).await.map(Some)
    }

    /// How many workers match, by status and by zone; twin of `GET /cluster/worker-counts`.
    async fn worker_counts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers are counted; all if left out.")] filter: Option<WorkerFilter>,
    ) -> Result<WorkerCounts> {
        let filter = filter.unwrap_or_default().try_into()?;
        Ok(WorkerCounts(ctx.data::<Reading>()?.count_workers(&filter)))
    }

    /// How many VMs match, by status and by zone; twin of `GET /cluster/vm-counts`.
    async fn vm_counts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which VMs are counted; all if left out, whatever their status.")] filter: Option<VmFilter>,
    ) -> Result<VmCounts> {
        Ok(VmCounts(ctx.data::<Reading>()?.count_vms(filter.unwrap_or_default().try_into()?)))
    }

    /// Which VMs are where, by worker id; twin of `GET /cluster/distribution`.
    async fn vm_distribution(&self, ctx: &Context<'_>) -> Result<Vec<WorkerDistribution>> {
        let distribution = Budget::pay_for(ctx, ctx.data::<Reading>()?.list_distribution())?;
        Ok(distribution.into_iter().map(WorkerDistribution).collect())
    }

    /// Where VMs would be placed now, and every reason why not elsewhere; twin of `GET /placement`. Nothing is held by the
    /// question: `reserve` does that.
    async fn placement(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The VMs, and where they may be.")] request: PlacementRequest,
    ) -> Result<Placement> {
        let request: cluster::PlacementRequest = request.try_into()?;
        Ok(Placement(ctx.data::<Reading>()?.placement(&request)))
    }

    /// Where the VMs of the workers that match could go, if these were drained, and for which of them no place was found and why; twin
    /// of `GET /evacuation-plan`. It looks at sizes and free room as `placement` does. Nothing is moved or held by it.
    async fn evacuation_plan(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which workers are to be emptied; all if left out.")] filter: Option<WorkerFilter>,
        #[graphql(desc = "How many VMs each list of the plan has at most, up to 500; 20 if left out.")] limit: Option<
            i32,
        >,
    ) -> Result<EvacuationPlan> {
        let filter = filter.unwrap_or_default().try_into()?;
        let (caller, reading) = (ctx.data::<Caller>()?, ctx.data::<Reading>()?.clone());
        let plan = ctx.data::<Resolvers>()?.evacuation_plan(caller, reading, filter, limit.map(whole)).await?;
        Ok(EvacuationPlan(plan))
    }

    /// How many VMs of one size fit now, and how many after the loss of the worker, or the zone, with the most room for
    /// them; twin of `GET /capacity`.
    async fn capacity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The size of each VM, and where they may be.")] request: CapacityRequest,
    ) -> Result<Capacity> {
        let (size, constraints): (cluster::VmSize, cluster::PlacementConstraints) = request.try_into()?;
        Ok(Capacity(ctx.data::<Reading>()?.capacity(size, &constraints)))
    }

    /// Reservations, page by page, the latest first: those that ended, too, for a day.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn reservations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which reservations are wanted; all if left out.")] filter: Option<ReservationFilter>,
    ) -> Result<ReservationConnection> {
        let request = PageArguments { first, after, last, before }.into();
        let filter = filter.unwrap_or_default().try_into()?;
        ReservationConnection::of(ctx, ctx.data::<Reading>()?.page_of_reservations(&filter, &request)?)
    }

    /// The reservation with this id; null if there is none.
    async fn reservation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the reservation.")] id: ID,
    ) -> Result<Option<Reservation>> {
        Ok(ctx.data::<Reading>()?.find_reservation(&id).map(Reservation))
    }

    /// How this server is; twin of `GET /health`.
    async fn health(&self, ctx: &Context<'_>) -> Result<ServerHealth> {
        Ok(ctx.data::<Resolvers>()?.health().await.into())
    }

    /// Who asks: the session of a browser, or the token; twin of `GET /session`. One signs in and out over REST, since
    /// it sets a cookie.
    async fn session(&self, ctx: &Context<'_>) -> Result<Session> {
        let session = ctx.data::<Resolvers>()?.session(ctx.data::<Caller>()?, ctx.data::<Reading>()?)?;
        Ok(session.into())
    }

    /// All tokens, by id: those that ended, too; twin of `GET /tokens`. For the role `ADMIN`; null, with an error, for
    /// others.
    async fn tokens(&self, ctx: &Context<'_>) -> Option<Result<Vec<Token>>> {
        let list = || {
            let tokens = ctx.data::<Resolvers>()?.list_tokens(ctx.data::<Caller>()?, ctx.data::<Reading>()?)?;
            Ok(Budget::pay_for(ctx, tokens)?.into_iter().map(Token).collect())
        };
        // Nullable, so that the other fields of a document are answered to those who may not see tokens.
        Some(list())
    }

    /// The change log, page by page; twin of `GET /events`. What operators did is kept for longer than other events: a filter
    /// that asks for nothing else reaches further back.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<
            i32,
        >,
        #[graphql(
            desc = "Only events that come after this cursor in the order asked for: with `ASC`, later ones. One that is \
                    older than the log is refused."
        )]
        after: Option<Cursor>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only events that come before this cursor in the order asked for.")] before: Option<Cursor>,
        #[graphql(desc = "Oldest first (`ASC`) or newest first (`DESC`).", default_with = "OrderDirection::Asc")]
        order: OrderDirection,
        #[graphql(desc = "Only events of this time or later.")] since: Option<DateTime>,
        #[graphql(desc = "Only events from before this time.")] until: Option<DateTime>,
        #[graphql(desc = "Which events are wanted; all if left out.")] filter: Option<EventFilter>,
    ) -> Result<ClusterEventConnection> {
        let filter = filter.unwrap_or_default().try_into()?;
        let limit = match (first, last) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("last", "cannot be combined with `first`: ask for one of them").into());
            }
            (None, Some(last)) => event_limit("last", last.into())?,
            (Some(first), None) => event_limit("first", first.into())?,
            (None, None) => DEFAULT_EVENTS,
        };
        let limit = if Budget::pay(ctx, usize::try_from(limit)?)? { limit } else { 0 };
        let request = EventPageRequest {
            limit,
            from_the_end: last.is_some(),
            after: after.map(|cursor| cursor.0),
            before: before.map(|cursor| cursor.0),
            newest_first: order == OrderDirection::Desc,
            since: since.map(|time| time.0),
            until: until.map(|time| time.0),
            names: ["after", "before"],
        };
        let reading = ctx.data::<Reading>()?;
        Ok(ctx.data::<Resolvers>()?.list_events(reading, &request, &filter).await?.into())
    }
}
