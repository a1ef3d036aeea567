//! The object types with their resolvers, generated from the field lists of
//! [`cluster::fields`], and the connections and payloads that only GraphQL has.
//!
//! A field is written by plans, too, in `plan::object_writers`: a new argument has to be read in both, since a plan ignores
//! what it does not ask for.

use std::sync::Arc;

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, Interface, Object, Result, SimpleObject};

use super::history::{History, history_query};
use super::inputs::{OrderDirection, VmFilter, VmOrder, in_statuses};
use super::paging::{PageArguments, PageInfo};
use super::scalars::{self, Cursor};
use super::value_types::{self, FromDomain, Int};
use crate::auth::TokenId;
use crate::cluster::fields::{
    capacity_fields, evacuation_move_fields, evacuation_plan_fields, placement_assignment_fields,
    placement_candidate_fields, placement_fields, placement_refusal_fields, refusal_detail_fields, reservation_fields,
    reserved_slot_fields, stranded_vm_fields, workers_refused_fields, zone_capacity_fields,
};
use crate::cluster::fields::{
    cluster_stats_fields, drain_fields, event_fields, heartbeat_reply_fields, registered_fields, token_fields,
    vm_counts_fields, vm_fields, worker_counts_fields, worker_distribution_fields, worker_fields, zone_fields,
};
use crate::cluster::{self, DrainView, ReservationView, VmId, VmView, WorkerId, WorkerView};
use crate::graphql::execution::budget::Budget;
use crate::graphql::execution::loader::HistoryLoader;
use crate::history::Subject;
use crate::resolvers::checks::wanted;
use crate::resolvers::drain_workers::{ChangeOfWorkers, DrainOfWorkers};
use crate::resolvers::drains::{WorkerDrainsKey, drain_limit, drain_number};
use crate::resolvers::page::Page;
use crate::resolvers::reservations::reservations_on;
use crate::resolvers::sessions::SessionView;
use crate::resolvers::tokens::TokenView;
use crate::resolvers::{
    self, ComponentHealth, EventSubject, EventView, EventsKey, Health, HeartbeatRecorded, PolicyChanged, Registered,
    event_limit, page_of_worker_vms,
};

/// The types of fields by the names that the field lists give them: those of [`value_types`], and objects.
mod field_types {
    use super::Vm;
    pub use crate::graphql::schema::value_types::*;

    pub type Drain = Option<super::Drain>;
    pub type Vms = Vec<Vm>;
    pub type Worker = super::Worker;
    pub type PlacementAssignments = Vec<super::PlacementAssignment>;
    pub type PlacementCandidates = Vec<super::PlacementCandidate>;
    pub type PlacementRefusals = Vec<super::PlacementRefusal>;
    pub type RefusalDetails = Vec<super::RefusalDetail>;
    pub type WorkersRefusedList = Vec<super::WorkersRefused>;
    pub type ZoneCapacities = Vec<super::ZoneCapacity>;
    pub type ReservedSlots = Vec<super::ReservedSlot>;
    pub type EvacuationMoves = Vec<super::EvacuationMove>;
    pub type StrandedVms = Vec<super::StrandedVm>;
}

/// Converts lists of objects.
macro_rules! lists {
    ($($object:ident($view:ty))+) => { $(
        impl FromDomain<&[$view]> for Vec<$object> {
            fn of(list: &[$view]) -> Self {
                list.iter().cloned().map($object).collect()
            }
        }
    )+ };
}

lists! {
    PlacementAssignment(cluster::PlacementAssignment)
    PlacementCandidate(cluster::PlacementCandidate)
    PlacementRefusal(cluster::PlacementRefusal)
    RefusalDetail(cluster::RefusalDetail)
    WorkersRefused(cluster::WorkersRefused)
    ZoneCapacity(cluster::ZoneCapacity)
    ReservedSlot(cluster::ReservedSlot)
    EvacuationMove(cluster::EvacuationMove)
    StrandedVm(cluster::StrandedVm)
}

impl FromDomain<Option<DrainView>> for field_types::Drain {
    fn of(drain: Option<DrainView>) -> Self {
        drain.map(Drain)
    }
}

impl FromDomain<&[VmView]> for field_types::Vms {
    fn of(vms: &[VmView]) -> Self {
        vms.iter().cloned().map(Vm).collect()
    }
}

impl FromDomain<Vec<VmView>> for field_types::Vms {
    fn of(vms: Vec<VmView>) -> Self {
        vms.into_iter().map(Vm).collect()
    }
}

impl FromDomain<WorkerView> for field_types::Worker {
    fn of(worker: WorkerView) -> Self {
        Worker(worker)
    }
}

/// Defines an object type from a field list. In braces after the macro's name are further methods. Labels get an
/// argument, lists of objects are paid for from the budget, the rest are plain fields.
macro_rules! object {
    ({ $({ $($more:tt)* })? } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) { $($fields:tt)* }) => {
        object! { @fields ($this: $view) { $(#[$doc])* $object { $($($more)*)? } } { } $($fields)* }
    };
    (@fields ($this:ident: $view:ty) $head:tt { $($done:tt)* }
        $(#[$doc:meta])* $field:ident: Labels [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @fields ($this: $view) $head {
            $($done)*
            $(#[$doc])*
            fn $field(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "Only labels with one of these keys; all of them if left out.")] keys: Option<Vec<String>>,
            ) -> Result<value_types::Labels> {
                let $this: &$view = &self.0;
                let mut labels: value_types::Labels = FromDomain::of($value);
                if let Some(keys) = keys {
                    let keys = wanted("keys", keys)?;
                    labels.retain(|label| keys.iter().any(|wanted| **wanted == *label.key));
                }
                Budget::pay_for(ctx, labels)
            }
        } $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: Vms [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list Vms $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: Zones [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list Zones $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: Blockers [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list Blockers $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: PlacementAssignments [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list PlacementAssignments $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: PlacementCandidates [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list PlacementCandidates $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: PlacementRefusals [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list PlacementRefusals $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: RefusalDetails [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list RefusalDetails $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: ZoneCapacities [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list ZoneCapacities $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: ReservedSlots [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list ReservedSlots $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: EvacuationMoves [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list EvacuationMoves $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: StrandedVms [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list StrandedVms $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: ZoneCounts [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list ZoneCounts $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@list $shape:ident ($this:ident: $view:ty) $head:tt { $($done:tt)* }
        $(#[$doc:meta])* $field:ident = $value:expr; $($rest:tt)*
    ) => {
        object! { @fields ($this: $view) $head {
            $($done)*
            $(#[$doc])*
            async fn $field(&self, ctx: &Context<'_>) -> Result<field_types::$shape> {
                let $this: &$view = &self.0;
                Budget::pay_for(ctx, FromDomain::of($value))
            }
        } $($rest)* }
    };
    (@fields ($this:ident: $view:ty) $head:tt { $($done:tt)* }
        $(#[$doc:meta])* $field:ident: $shape:ident [$where:ident $($volatility:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @fields ($this: $view) $head {
            $($done)*
            $(#[$doc])*
            async fn $field(&self) -> field_types::$shape {
                let $this: &$view = &self.0;
                FromDomain::of($value)
            }
        } $($rest)* }
    };
    (@fields ($this:ident: $view:ty) { $(#[$doc:meta])* $object:ident { $($more:tt)* } } { $($done:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $object(pub $view);

        $(#[$doc])*
        #[allow(clippy::wrong_self_convention, reason = "a field whose name begins with `from` is no conversion")]
        #[Object]
        impl $object {
            $($done)*
            $($more)*
        }
    };
}

worker_fields!(object {
    /// VMs of the worker, sorted by id.
    async fn vms(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only VMs in one of these statuses; those that hold a slot if left out, none if the list is empty.")]
        status: Option<Vec<value_types::VmStatus>>,
        #[graphql(desc = "The same by the name that filters have for it. Together with `status`, both have to match.")]
        statuses: Option<Vec<value_types::VmStatus>>,
    ) -> Result<Vec<Vm>> {
        let statuses = in_statuses(status, statuses)?;
        Ok(FromDomain::of(Budget::pay_for(ctx, self.0.vms(statuses.as_deref()))?))
    }

    /// VMs of the worker, page by page.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn vms_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which VMs are wanted; those that hold a slot if left out.")] filter: Option<VmFilter>,
        #[graphql(desc = "In what order; by id if left out. A cursor is of one order: none of another goes with it.")]
        order_by: Option<VmOrder>,
    ) -> Result<VmConnection> {
        let request = PageArguments { first, after, last, before }.into();
        let filter = filter.unwrap_or_default().try_into()?;
        let order = order_by.map(Into::into).unwrap_or_default();
        VmConnection::of(ctx, page_of_worker_vms(&self.0, &filter, order, &request)?)
    }

    /// Reservations that hold a slot on the worker, the oldest first.
    async fn reservations(&self, ctx: &Context<'_>) -> Result<Vec<Reservation>> {
        let reservations = Budget::pay_for(ctx, reservations_on(&self.0))?;
        Ok(reservations.into_iter().map(Reservation).collect())
    }

    /// Drains of this worker, the latest first, as far back as they are kept.
    async fn drains(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, up to 500.", default = 20)] first: i32,
        #[graphql(desc = "Only older drains than the one with this number.")] after: Option<i32>,
    ) -> Result<Vec<Drain>> {
        let limit = drain_limit("first", first.into())?;
        // Paid for by the limit, as events are.
        if !Budget::pay(ctx, usize::try_from(limit)?)? {
            return Ok(Vec::new());
        }
        let before = after.map(|number| drain_number("after", number.into())).transpose()?;
        let key = WorkerDrainsKey { worker_id: self.0.worker.id.shared(), limit, before };
        let drains = ctx.data::<DataLoader<HistoryLoader>>()?.load_one(key).await?;
        Ok(drains.unwrap_or_default().into_iter().map(Drain).collect())
    }

    /// How figures of this worker went; twin of `GET /workers/{id}/history`. While it was offline, its curves have no values.
    async fn history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first moment; `until` less `rangeSeconds` if left out.")] since: Option<scalars::DateTime>,
        #[graphql(desc = "The moment before which it ends; now if left out or later than now.")]
        until: Option<scalars::DateTime>,
        #[graphql(
            desc = "How many seconds before `until` it begins, from 60 to 34300800, which is 397 days; an hour if neither \
                    this nor `since` is given. Means something without `since` only."
        )]
        range_seconds: Option<i32>,
        #[graphql(desc = "How many points each curve has at most, from 2 to 1500.", default = 120)] max_points: i32,
    ) -> Result<History> {
        let subject = Subject::Worker(self.0.worker.id.shared());
        History::about(ctx, subject, history_query(since, until, range_seconds, max_points)).await
    }

    /// What happened to this worker, newest first unless asked otherwise, as far back as the change log has all events. What
    /// operators did before that is in `events` with a filter of `workerIds` and `actors`.
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, up to 500.", default = 20)] first: i32,
        #[graphql(desc = "Only events that come after this cursor in the order asked for: with `DESC`, older ones.")]
        after: Option<Cursor>,
        #[graphql(
            desc = "Oldest first (`ASC`) or newest first (`DESC`).",
            default_with = "OrderDirection::Desc"
        )]
        order: OrderDirection,
    ) -> Result<Vec<ClusterEvent>> {
        events_about(ctx, EventSubject::Worker, self.0.worker.id.shared(), (first, after, order)).await
    }
});

drain_fields!(object {
    /// The worker, as it is now.
    async fn worker(&self) -> Worker {
        Worker(self.0.worker.clone())
    }
});

vm_fields!(object {
    /// The worker that the VM is on; null while unassigned.
    async fn worker(&self) -> Option<Worker> {
        self.0.worker().map(Worker)
    }

    /// Zone of that worker; null if it is in none.
    async fn zone(&self) -> value_types::Zone {
        FromDomain::of(self.0.worker().as_ref().map_or("", |worker| &*worker.identity().zone))
    }

    /// What happened to this VM, on whichever worker, newest first unless asked otherwise, as far back as the change log has
    /// all events.
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, up to 500.", default = 20)] first: i32,
        #[graphql(desc = "Only events that come after this cursor in the order asked for: with `DESC`, older ones.")]
        after: Option<Cursor>,
        #[graphql(
            desc = "Oldest first (`ASC`) or newest first (`DESC`).",
            default_with = "OrderDirection::Desc"
        )]
        order: OrderDirection,
    ) -> Result<Vec<ClusterEvent>> {
        events_about(ctx, EventSubject::Vm, self.0.vm.id.shared(), (first, after, order)).await
    }
});

/// The events of a worker or a VM, loaded together with those of others in a list.
async fn events_about(
    ctx: &Context<'_>,
    about: EventSubject,
    id: Arc<str>,
    (first, after, order): (i32, Option<Cursor>, OrderDirection),
) -> Result<Vec<ClusterEvent>> {
    let limit = event_limit("first", first.into())?;
    // Paid for by the limit, before they are loaded: afterwards the events of all objects of the list would be in memory.
    if !Budget::pay(ctx, usize::try_from(limit)?)? {
        return Ok(Vec::new());
    }
    let newest_first = order == OrderDirection::Desc;
    let key = EventsKey { about, id, limit, after: after.map(|cursor| cursor.0), newest_first };
    let events = ctx.data::<DataLoader<HistoryLoader>>()?.load_one(key).await?;
    Ok(events.unwrap_or_default().into_iter().map(ClusterEvent).collect())
}

cluster_stats_fields!(object {
    /// Always the same, for caches of clients: no other object has it.
    async fn id(&self) -> value_types::Id {
        FromDomain::of(cluster::STATS_ID)
    }
});
worker_distribution_fields!(object);
zone_fields!(object {
    /// How figures of this zone went; twin of `GET /zones/{zone}/history`.
    async fn history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first moment; `until` less `rangeSeconds` if left out.")] since: Option<scalars::DateTime>,
        #[graphql(desc = "The moment before which it ends; now if left out or later than now.")]
        until: Option<scalars::DateTime>,
        #[graphql(
            desc = "How many seconds before `until` it begins, from 60 to 34300800, which is 397 days; an hour if neither \
                    this nor `since` is given. Means something without `since` only."
        )]
        range_seconds: Option<i32>,
        #[graphql(desc = "How many points each curve has at most, from 2 to 1500.", default = 120)] max_points: i32,
    ) -> Result<History> {
        let subject = Subject::Zone(self.0.name.clone());
        History::about(ctx, subject, history_query(since, until, range_seconds, max_points)).await
    }
});
worker_counts_fields!(object);
vm_counts_fields!(object);

event_fields!(object {
    /// The worker it is about, as it is now; null if it is gone.
    async fn worker(&self) -> Option<Worker> {
        self.0.worker().map(Worker)
    }

    /// The VM it is about, as it is now; null if it is gone.
    async fn vm(&self) -> Option<Vm> {
        self.0.vm().map(Vm)
    }
});

registered_fields!(object {
    /// Where the change log is after this: what happens next comes after it.
    async fn cursor(&self) -> Cursor {
        FromDomain::of(self.0.worker.view.snapshot.cursor())
    }
});

token_fields!(object);

placement_fields!(object);

placement_assignment_fields!(object {
    /// The worker.
    async fn worker(&self) -> Worker {
        Worker(self.0.worker.clone())
    }
});

placement_candidate_fields!(object {
    /// The worker.
    async fn worker(&self) -> Worker {
        Worker(self.0.worker.clone())
    }
});

placement_refusal_fields!(object {
    /// The worker.
    async fn worker(&self) -> Worker {
        Worker(self.0.worker.clone())
    }
});

refusal_detail_fields!(object);

workers_refused_fields!(object);

capacity_fields!(object);

zone_capacity_fields!(object);

reservation_fields!(object);

reserved_slot_fields!(object);

evacuation_plan_fields!(object);

evacuation_move_fields!(object);

stranded_vm_fields!(object);

/// Room is held. The same request with another reservation would hold more.
#[derive(SimpleObject)]
pub struct ReservePayload {
    /// The reservation.
    pub reservation: Reservation,
}

/// Outcome of releasing a reservation.
#[derive(SimpleObject)]
pub struct ReleaseReservationPayload {
    /// The reservation as it now is.
    pub reservation: Reservation,
    /// Whether it held something before.
    pub changed: bool,
}

/// Who asks, as the server knows it.
#[derive(SimpleObject)]
pub struct Session {
    /// Whether the server asks for tokens. If not, whoever reaches it may do everything.
    pub asks_for_tokens: bool,
    /// The session or the token of who asks; null if the server asks for none.
    pub token: Option<Token>,
}

impl From<SessionView> for Session {
    fn from(SessionView { asks_for_tokens, token }: SessionView) -> Self {
        Self { asks_for_tokens, token: token.map(Token) }
    }
}

/// Outcome of creating a token.
#[derive(SimpleObject)]
pub struct CreateTokenPayload {
    /// Its text, which is shown this once: send it as `Authorization: Bearer`.
    pub secret: String,
    /// The token.
    pub token: Token,
}

/// Outcome of revoking a token.
#[derive(SimpleObject)]
pub struct RevokeTokenPayload {
    /// The token.
    pub token: Token,
}

heartbeat_reply_fields!(object {
    /// The worker as it now is.
    async fn worker(&self) -> Worker {
        Worker(self.0.worker.clone())
    }
});

/// Object with an ID. No other object has the same, except that a worker may have that of a VM.
#[derive(Clone, Debug, Interface)]
#[graphql(field(name = "id", ty = "value_types::Id", desc = "Its ID."))]
pub enum Node {
    /// A worker.
    Worker(Worker),
    /// A VM.
    Vm(Vm),
}

impl From<resolvers::Node> for Node {
    fn from(node: resolvers::Node) -> Self {
        match node {
            resolvers::Node::Worker(worker) => Self::Worker(Worker(worker)),
            resolvers::Node::Vm(vm) => Self::Vm(Vm(vm)),
        }
    }
}

/// Part of the change log.
#[derive(SimpleObject)]
pub struct ClusterEventConnection {
    /// The events with their cursors.
    edges: Vec<ClusterEventEdge>,
    /// The events, in the order that was asked for.
    nodes: Vec<ClusterEvent>,
    /// Where this page lies in the log.
    page_info: PageInfo,
    /// Where to go on in time, with `clusterEvents` or the next question: after the last of the events if the page leaves
    /// later ones out, else after everything that was read, events that the filter left out included.
    end_cursor: Cursor,
    /// Whether there is more, as in `pageInfo`.
    has_next_page: bool,
}

/// Event with its cursor.
#[derive(SimpleObject)]
pub struct ClusterEventEdge {
    /// The event.
    node: ClusterEvent,
    /// Its place in the log.
    cursor: Cursor,
}

impl From<resolvers::EventPage> for ClusterEventConnection {
    fn from(page: resolvers::EventPage) -> Self {
        let resolvers::EventPage { nodes, end_cursor, has_next_page, has_previous_page } = page;
        let cursor_of = |event: Option<&EventView>| event.map(|event| event.event.cursor.to_string());
        let page_info = PageInfo {
            has_next_page,
            has_previous_page,
            start_cursor: cursor_of(nodes.first()),
            end_cursor: cursor_of(nodes.last()),
        };
        let edges = nodes.iter().map(|event| ClusterEventEdge {
            cursor: Cursor(event.event.cursor.to_string()),
            node: ClusterEvent(event.clone()),
        });
        Self {
            edges: edges.collect(),
            nodes: nodes.into_iter().map(ClusterEvent).collect(),
            page_info,
            end_cursor: Cursor(end_cursor.to_string()),
            has_next_page,
        }
    }
}

/// How this server is.
#[derive(SimpleObject)]
pub struct ServerHealth {
    /// `OK` if all components are, whatever becomes of Consul.
    pub status: HealthStatus,
    /// The parts of the server. Others may be added.
    pub components: Vec<ServerComponent>,
    /// How old what this server answers may be at most, in seconds: how long ago it last saw that it knew everything that was
    /// committed. 0 where no other server commits.
    pub staleness_seconds: f64,
    /// When this was found.
    pub timestamp: value_types::DateTime,
}

/// A part of a server, and how it is.
#[derive(SimpleObject)]
pub struct ServerComponent {
    /// Which part: `database` answers questions about history, `journal` goes on, `commits` are being made, `replication`
    /// brings what other servers commit, and `consul` does as it is asked, on servers that are announced there.
    pub name: &'static str,
    /// How it is.
    pub status: ComponentStatus,
}

/// How a server is as a whole.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub enum HealthStatus {
    /// All of it works.
    Ok,
    /// A part of it does not.
    Degraded,
}

/// How a part of a server is.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub enum ComponentStatus {
    /// It works.
    Ok,
    /// It does not.
    Unavailable,
}

impl From<Health> for ServerHealth {
    fn from(health: Health) -> Self {
        let status = if health.is_ok() { HealthStatus::Ok } else { HealthStatus::Degraded };
        let components =
            health.named_components().map(|(name, health)| ServerComponent { name, status: health.into() });
        Self {
            status,
            components: components.collect(),
            staleness_seconds: health.staleness.as_secs_f64(),
            timestamp: scalars::DateTime(health.timestamp),
        }
    }
}

impl From<ComponentHealth> for ComponentStatus {
    fn from(health: ComponentHealth) -> Self {
        match health {
            ComponentHealth::Ok => Self::Ok,
            ComponentHealth::Unavailable => Self::Unavailable,
        }
    }
}

/// What became of draining a worker.
#[derive(SimpleObject)]
pub struct DrainWorkerPayload {
    /// The worker as it now is.
    worker: Worker,
    /// What happened, as a sentence.
    message: &'static str,
    /// Whether the worker was not draining before.
    changed: bool,
    /// Where the change log is after this: what happens next comes after it.
    cursor: Cursor,
}

/// What became of activating a worker.
#[derive(SimpleObject)]
pub struct ActivateWorkerPayload {
    /// The worker as it now is.
    worker: Worker,
    /// What happened, as a sentence.
    message: &'static str,
    /// Whether the worker was draining before.
    changed: bool,
    /// Where the change log is after this: what happens next comes after it.
    cursor: Cursor,
}

impl From<PolicyChanged> for DrainWorkerPayload {
    fn from(changed: PolicyChanged) -> Self {
        Self {
            message: changed.message(),
            cursor: FromDomain::of(changed.cursor()),
            changed: changed.changed,
            worker: Worker(changed.worker),
        }
    }
}

impl From<PolicyChanged> for ActivateWorkerPayload {
    fn from(changed: PolicyChanged) -> Self {
        Self {
            message: changed.message(),
            cursor: FromDomain::of(changed.cursor()),
            changed: changed.changed,
            worker: Worker(changed.worker),
        }
    }
}

/// Outcome of joining. The same request again has the same one.
#[derive(SimpleObject)]
pub struct JoinWorkerPayload {
    /// The worker, which registers with its own token next.
    pub worker_id: value_types::Id,
    /// Id of its own token.
    pub token_id: value_types::Id,
    /// When it joined, by the server's clock.
    pub joined_at: scalars::DateTime,
}

/// What became of a worker's goodbye.
#[derive(SimpleObject)]
pub struct DeregisterWorkerPayload {
    /// The worker that left.
    pub worker_id: value_types::Id,
    /// The worker as it now is; null if it was removed.
    pub worker: Option<Worker>,
    /// Ids of the VMs that were removed with it, whatever their status.
    pub removed_vm_ids: Vec<value_types::Id>,
    /// Where the change log is after this: what happens next comes after it.
    pub cursor: Cursor,
}

impl DeregisterWorkerPayload {
    /// What became of this worker.
    pub fn of(worker_id: value_types::Id, deregistered: resolvers::WorkerDeregistered) -> Self {
        let resolvers::WorkerDeregistered { worker, removed_vms, cursor } = deregistered;
        Self {
            worker_id,
            worker: worker.map(Worker),
            removed_vm_ids: removed_vms.iter().map(|vm| FromDomain::of(vm.as_str())).collect(),
            cursor: FromDomain::of(cursor),
        }
    }
}

/// What became of draining the workers that match, or would.
#[derive(SimpleObject)]
pub struct DrainWorkersPayload {
    /// Whether nothing was changed, because that was asked for.
    dry_run: bool,
    /// The workers that match, by id.
    workers: Vec<WorkerChange>,
    /// How many of them were not draining before.
    total_changed: i32,
    /// Where the VMs on them could go, as the rest of the cluster was right before.
    plan: EvacuationPlan,
    /// Revision of the cluster after it: all changes are of one revision.
    revision: scalars::Int53,
    /// Where the change log is after this: what happens next comes after it.
    cursor: Cursor,
}

/// What became of activating the workers that match, or would.
#[derive(SimpleObject)]
pub struct ActivateWorkersPayload {
    /// Whether nothing was changed, because that was asked for.
    dry_run: bool,
    /// The workers that match, by id.
    workers: Vec<WorkerChange>,
    /// How many of them were draining before.
    total_changed: i32,
    /// Revision of the cluster after it: all changes are of one revision.
    revision: scalars::Int53,
    /// Where the change log is after this: what happens next comes after it.
    cursor: Cursor,
}

/// A worker that was to be drained or activated.
#[derive(SimpleObject)]
pub struct WorkerChange {
    /// The worker as it now is, which a dry run leaves as it was.
    worker: Worker,
    /// Whether it was in the other policy before.
    changed: bool,
}

impl From<PolicyChanged> for WorkerChange {
    fn from(PolicyChanged { worker, changed }: PolicyChanged) -> Self {
        Self { worker: Worker(worker), changed }
    }
}

impl From<DrainOfWorkers> for DrainWorkersPayload {
    fn from(DrainOfWorkers { change, plan }: DrainOfWorkers) -> Self {
        let ActivateWorkersPayload { dry_run, workers, total_changed, revision, cursor } = change.into();
        Self { dry_run, workers, total_changed, plan: EvacuationPlan(plan), revision, cursor }
    }
}

impl From<ChangeOfWorkers> for ActivateWorkersPayload {
    fn from(change: ChangeOfWorkers) -> Self {
        let total_changed = FromDomain::of(change.total_changed());
        let ChangeOfWorkers { dry_run, workers, revision, cursor } = change;
        let workers = workers.into_iter().map(Into::into).collect();
        Self { dry_run, workers, total_changed, revision: FromDomain::of(revision), cursor: FromDomain::of(cursor) }
    }
}

/// What became of the workers that match, or would.
#[derive(SimpleObject)]
pub struct PurgeWorkersPayload {
    /// Whether nothing was changed, because that was asked for.
    dry_run: bool,
    /// The workers that were removed, or would be, by id.
    purged: Vec<PurgedWorker>,
    /// Those that match and were not, or would not be, by id; at most 100 are named.
    refused: Vec<RefusedPurge>,
    /// How many were not, or would not be.
    total_refused: i32,
    /// How many more would be removed by the same again.
    remaining: i32,
    /// Where the change log is after this: what happens next comes after it.
    cursor: Cursor,
}

/// A worker that was removed, or would be.
#[derive(SimpleObject)]
pub struct PurgedWorker {
    /// The worker.
    worker_id: value_types::Id,
    /// Ids of the VMs that go with it, whatever their status.
    removed_vm_ids: Vec<value_types::Id>,
}

/// A worker that was not removed with the others.
#[derive(SimpleObject)]
pub struct RefusedPurge {
    /// The worker.
    worker_id: value_types::Id,
    /// Why.
    reason: value_types::PurgeRefusalReason,
    /// The same in a sentence.
    message: String,
}

impl From<resolvers::purge::Purge> for PurgeWorkersPayload {
    fn from(purge: resolvers::purge::Purge) -> Self {
        let resolvers::purge::Purge { dry_run, purged, refused, total_refused, remaining, cursor } = purge;
        let purged = purged.into_iter().map(|worker| PurgedWorker {
            worker_id: FromDomain::of(worker.worker_id.as_str()),
            removed_vm_ids: worker.removed_vms.iter().map(|vm| FromDomain::of(vm.as_str())).collect(),
        });
        let refused = refused.into_iter().map(|worker| RefusedPurge {
            worker_id: FromDomain::of(worker.worker_id.as_str()),
            reason: worker.reason.into(),
            message: worker.message(),
        });
        Self {
            dry_run,
            purged: purged.collect(),
            refused: refused.collect(),
            total_refused: FromDomain::of(total_refused),
            remaining: FromDomain::of(remaining),
            cursor: FromDomain::of(cursor),
        }
    }
}

/// Sign of life of a worker.
#[derive(SimpleObject)]
pub struct WorkerHeartbeat {
    /// The worker as it now is.
    pub worker: Worker,
    /// When the worker was last heard from.
    pub received_at: value_types::DateTime,
    /// Changes of the worker folded into this message: its beats, and now and then a registration or a drain.
    pub coalesced: i32,
    /// Whether the worker has left the filter, or was removed: no message about it follows, unless it comes back. One that
    /// was removed is shown as it was told last.
    pub is_last: bool,
}

/// Change of what a worker shows.
#[derive(SimpleObject)]
pub struct WorkerUpdate {
    /// The worker as it now is.
    pub worker: Worker,
    /// Whether the worker has left the filter, or was removed: no message about it follows, unless it comes back. One that
    /// was removed is shown as it was told last.
    pub is_last: bool,
}

/// Progress of a drain.
#[derive(SimpleObject)]
pub struct DrainProgress {
    /// The drain as it is now.
    pub drain: Drain,
    /// Whether it has ended or left the filter, or its worker was purged: no message about it follows, unless it comes back.
    pub is_last: bool,
}

macro_rules! connection {
    ($(#[$doc:meta])* $connection:ident, $(#[$edge_doc:meta])* $edge:ident, $node:ident($view:ty)) => {
        $(#[$doc])*
        #[derive(SimpleObject)]
        pub struct $connection {
            /// The elements with their cursors.
            edges: Vec<$edge>,
            /// The elements.
            nodes: Vec<$node>,
            /// Where this page lies in the whole list.
            page_info: PageInfo,
            /// How many elements there are in the whole list.
            total_count: i32,
        }

        $(#[$edge_doc])*
        #[derive(SimpleObject)]
        pub struct $edge {
            /// Place of the element in the list; stays right while others come and go.
            cursor: String,
            /// The element.
            node: $node,
        }

        impl $connection {
            /// A page, whose elements are shown twice.
            pub fn of(ctx: &Context<'_>, mut page: Page<$view>) -> Result<Self> {
                if !Budget::pay(ctx, 2 * page.edges.len())? {
                    page.edges.clear();
                }
                let (page_info, total_count) = (PageInfo::from(&page), Int::of(page.total));
                let nodes = page.edges.iter().map(|edge| $node(edge.node.clone())).collect();
                let edges = page
                    .edges
                    .into_iter()
                    .map(|edge| $edge { cursor: edge.cursor(), node: $node(edge.node) })
                    .collect();
                Ok(Self { edges, nodes, page_info, total_count })
            }
        }
    };
}

connection! {
    /// Page of workers.
    WorkerConnection,
    /// Worker with its place in a list.
    WorkerEdge,
    Worker(WorkerView)
}
connection! {
    /// Page of reservations.
    ReservationConnection,
    /// Reservation with its place in a list.
    ReservationEdge,
    Reservation(ReservationView)
}
connection! {
    /// Page of VMs.
    VmConnection,
    /// VM with its place in a list.
    VmEdge,
    Vm(VmView)
}
connection! {
    /// Page of drains.
    DrainConnection,
    /// Drain with its place in a list.
    DrainEdge,
    Drain(DrainView)
}
