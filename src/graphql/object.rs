//! The object types, written out from the field lists, with what only GraphQL offers beside them.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, Interface, Object, Result, SimpleObject};

use super::budget::Budget;
use super::connection::{PageArguments, VmConnection};
use super::input::{VmFilter, entries};
use super::loader::WorkerEvents;
use super::scalar::{self, Cursor};
use super::shape::{self, Shape};
use crate::cluster::fields::{
    cluster_stats_fields, drain_fields, event_fields, heartbeat_reply_fields, registered_fields, vm_fields,
    worker_distribution_fields, worker_fields,
};
use crate::cluster::{self, DrainView, VmId, VmView, WorkerId, WorkerView};
use crate::resolvers::input::wanted;
use crate::resolvers::{
    ComponentHealth, EventView, Health, HeartbeatRecorded, Node as AnyNode, PolicyChanged, Registered, WorkerEventsKey,
    event_limit, page_of_worker_vms,
};

/// Makes of a field list an object type; what stands in braces after the macro's name are further
/// methods. Labels get an argument, lists of objects are paid for, the rest are plain fields.
macro_rules! object {
    ({ $({ $($more:tt)* })? } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) { $($fields:tt)* }) => {
        object! { @fields ($this: $view) { $(#[$doc])* $object { $($($more)*)? } } { } $($fields)* }
    };
    (@fields ($this:ident: $view:ty) $head:tt { $($done:tt)* }
        $(#[$doc:meta])* $field:ident: Labels [$where:ident $($depends:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @fields ($this: $view) $head {
            $($done)*
            $(#[$doc])*
            fn $field(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "Only labels with one of these keys; all of them if left out.")] keys: Option<Vec<String>>,
            ) -> Result<shape::Labels> {
                let $this: &$view = &self.0;
                let mut labels: shape::Labels = Shape::of($value);
                if let Some(keys) = keys {
                    let keys = wanted("keys", keys)?;
                    labels.retain(|label| keys.iter().any(|wanted| **wanted == *label.key));
                }
                Budget::pay_for(ctx, labels)
            }
        } $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: Vms [$where:ident $($depends:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list Vms $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@fields $view:tt $head:tt $done:tt
        $(#[$doc:meta])* $field:ident: Zones [$where:ident $($depends:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @list Zones $view $head $done $(#[$doc])* $field = $value; $($rest)* }
    };
    (@list $shape:ident ($this:ident: $view:ty) $head:tt { $($done:tt)* }
        $(#[$doc:meta])* $field:ident = $value:expr; $($rest:tt)*
    ) => {
        object! { @fields ($this: $view) $head {
            $($done)*
            $(#[$doc])*
            async fn $field(&self, ctx: &Context<'_>) -> Result<shape::$shape> {
                let $this: &$view = &self.0;
                Budget::pay_for(ctx, Shape::of($value))
            }
        } $($rest)* }
    };
    (@fields ($this:ident: $view:ty) $head:tt { $($done:tt)* }
        $(#[$doc:meta])* $field:ident: $shape:ident [$where:ident $($depends:ident)?] = $value:expr; $($rest:tt)*
    ) => {
        object! { @fields ($this: $view) $head {
            $($done)*
            $(#[$doc])*
            async fn $field(&self) -> shape::$shape {
                let $this: &$view = &self.0;
                Shape::of($value)
            }
        } $($rest)* }
    };
    (@fields ($this:ident: $view:ty) { $(#[$doc:meta])* $object:ident { $($more:tt)* } } { $($done:tt)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $object(pub(super) $view);

        $(#[$doc])*
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
        status: Option<Vec<shape::VmStatus>>,
    ) -> Result<shape::Vms> {
        let statuses: Option<Vec<_>> = entries("status", status)?;
        Ok(Shape::of(Budget::pay_for(ctx, self.0.vms(statuses.as_deref()))?))
    }

    /// VMs of the worker, page by page, sorted by id.
    #[allow(clippy::too_many_arguments, reason = "the arguments of a connection are given by its specification")]
    async fn vms_connection(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the front, up to 500; 100 if neither this nor `last` is given.")] first: Option<i32>,
        #[graphql(desc = "Only what comes after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, up to 500.")] last: Option<i32>,
        #[graphql(desc = "Only what comes before this cursor.")] before: Option<String>,
        #[graphql(desc = "Which VMs are wanted; those that hold a slot if left out.")] filter: Option<VmFilter>,
    ) -> Result<VmConnection> {
        let request = PageArguments { first, after, last, before }.into();
        let filter = filter.unwrap_or_default().try_into()?;
        VmConnection::of(ctx, page_of_worker_vms(&self.0, &filter, &request)?)
    }

    /// What happened to this worker, newest first; read from the change log.
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many at most, up to 500.", default = 20)] first: i32,
        #[graphql(desc = "Only older events than the one with this cursor.")] after: Option<Cursor>,
    ) -> Result<Vec<ClusterEvent>> {
        let limit = event_limit("first", first.into())?;
        // By what may come: afterwards the events of all workers of the list would be there already.
        if !Budget::pay(ctx, usize::try_from(limit)?)? {
            return Ok(Vec::new());
        }
        let key = WorkerEventsKey {
            worker_id: self.0.worker.id.shared(),
            limit,
            after: after.map(|cursor| cursor.0),
        };
        let events = ctx.data::<DataLoader<WorkerEvents>>()?.load_one(key).await?;
        Ok(events.unwrap_or_default().into_iter().map(ClusterEvent).collect())
    }
});

drain_fields!(object);

vm_fields!(object {
    /// The worker that the VM is on; null while unassigned.
    async fn worker(&self) -> Option<Worker> {
        self.0.worker().map(Worker)
    }
});

cluster_stats_fields!(object);
worker_distribution_fields!(object);

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

registered_fields!(object);

heartbeat_reply_fields!(object {
    /// The worker as it now is.
    async fn worker(&self) -> Worker {
        Worker(self.0.worker.clone())
    }
});

/// Object with an ID. No other object has the same, except that a worker may have that of a VM.
#[derive(Clone, Debug, Interface)]
#[graphql(field(name = "id", ty = "shape::Id", desc = "Its ID."))]
pub(super) enum Node {
    /// A worker.
    Worker(Worker),
    /// A VM.
    Vm(Vm),
}

impl From<AnyNode> for Node {
    fn from(node: AnyNode) -> Self {
        match node {
            AnyNode::Worker(worker) => Self::Worker(Worker(worker)),
            AnyNode::Vm(vm) => Self::Vm(Vm(vm)),
        }
    }
}

/// Part of the change log.
#[derive(SimpleObject)]
pub(super) struct EventPage {
    /// The events, oldest first.
    pub(super) nodes: Vec<ClusterEvent>,
    /// Where to go on: after the last of them, or after everything that was read if that was all.
    pub(super) end_cursor: Cursor,
    /// Whether there is more.
    pub(super) has_next_page: bool,
}

/// How this server is.
#[derive(SimpleObject)]
pub(super) struct ServerHealth {
    /// `OK` if all components are, whatever becomes of Consul.
    pub(super) status: HealthStatus,
    /// The parts of the server. Others may be added.
    pub(super) components: Vec<ServerComponent>,
    /// How old what this server answers may be at most, in seconds: how long ago it last saw that it knew everything that was
    /// committed. 0 where no other server commits.
    pub(super) staleness_seconds: f64,
    /// When this was found.
    pub(super) timestamp: shape::DateTime,
}

/// A part of a server, and how it is.
#[derive(SimpleObject)]
pub(super) struct ServerComponent {
    /// Which part: `database` answers questions about history, `journal` goes on, `commits` are being made, `replication`
    /// brings what other servers commit, and `consul` does as it is asked, on servers that are announced there.
    pub(super) name: &'static str,
    /// How it is.
    pub(super) status: ComponentStatus,
}

/// How a server is as a whole.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum HealthStatus {
    /// All of it works.
    Ok,
    /// A part of it does not.
    Degraded,
}

/// How a part of a server is.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum ComponentStatus {
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
            timestamp: scalar::DateTime(health.timestamp),
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
pub(super) struct DrainWorkerPayload {
    /// The worker as it now is.
    worker: Worker,
    /// What happened, as a sentence.
    message: &'static str,
    /// Whether the worker was not draining before.
    changed: bool,
}

/// What became of activating a worker.
#[derive(SimpleObject)]
pub(super) struct ActivateWorkerPayload {
    /// The worker as it now is.
    worker: Worker,
    /// What happened, as a sentence.
    message: &'static str,
    /// Whether the worker was draining before.
    changed: bool,
}

impl From<PolicyChanged> for DrainWorkerPayload {
    fn from(changed: PolicyChanged) -> Self {
        Self { message: changed.message(), worker: Worker(changed.worker), changed: changed.changed }
    }
}

impl From<PolicyChanged> for ActivateWorkerPayload {
    fn from(changed: PolicyChanged) -> Self {
        Self { message: changed.message(), worker: Worker(changed.worker), changed: changed.changed }
    }
}

/// What became of a worker's goodbye.
#[derive(SimpleObject)]
pub(super) struct DeregisterWorkerPayload {
    /// The worker that left.
    pub(super) worker_id: shape::Id,
}

/// Sign of life of a worker.
#[derive(SimpleObject)]
pub(super) struct WorkerHeartbeat {
    /// The worker as it now is.
    pub(super) worker: Worker,
    /// When the worker was last heard from.
    pub(super) received_at: shape::DateTime,
    /// Changes of the worker folded into this message: its beats, and now and then a registration or a drain.
    pub(super) coalesced: i32,
}
