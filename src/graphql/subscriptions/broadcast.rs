//! The subscription broadcast: equal subscriptions share the payload of each item.
//!
//! Every subscriber has a watch of its own, which decides which items it gets and when; a watch is cheap. Rendering a
//! selection of fields is expensive (ADR 0011). So each pair of a subscription (document, operation name and variables)
//! and an item (a heartbeat, an event, statistics) is rendered once, and its payload is cached for a short time: every
//! subscriber with an equal subscription gets the same bytes. A notice, which only one subscriber gets (that its stream
//! is idle or has a gap), is not cached.
//!
//! An item is rendered by a plan ([`ItemPlan`]). If the subscription has no plan, or the plan falls back, the engine
//! runs the document as a query against a second schema, whose root ([`ItemRoot`]) has the fields of the subscription
//! root and resolves each to the item.

use std::collections::HashMap;
use std::fmt;
use std::mem::size_of;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{
    Context, EmptyMutation, EmptySubscription, Object, Request, Response, Result, Schema, ServerError, ValidationMode,
    Variables,
};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};
use tokio::runtime::Handle;

use super::item::{ItemKey, StreamItem};
use crate::auth::Caller;
use crate::graphql::error;
use crate::graphql::execution::budget::Budget;
use crate::graphql::execution::loader::{BatchGate, HistoryLoader};
use crate::graphql::execution::response::{OperationResponse, SerializedResponse, is_request_error};
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::plan::ItemPlan;
use crate::graphql::schema::index::SchemaIndex;
use crate::graphql::schema::inputs::{DrainFilter, EventFilter, WorkerFilter};
use crate::graphql::schema::object_types::{
    ClusterEvent, ClusterStats, Drain, DrainProgress, Node, Worker, WorkerHeartbeat, WorkerUpdate,
};
use crate::graphql::schema::scalars::{Cursor, Duration};
use crate::graphql::schema::value_types::{DateTime, FromDomain, Int};
use crate::resolvers::Resolvers;
use crate::resolvers::offload::{Offload, STEPS_TO_RESOLVE};
use crate::resolvers::watch::{self, Heartbeat};

/// How many payloads the cache allocates room for at the start. It is no limit.
const ESTIMATED_PAYLOADS: usize = 10_000;

/// The capacity of the payload cache in bytes, keys included.
const MAX_PAYLOAD_BYTES: u64 = 32 * 1024 * 1024;

/// The identity of a subscription: requests with equal keys get equal payloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SubscriptionKey {
    query: Arc<str>,
    operation_name: Option<String>,
    variables: String,
}

/// The request for a subscription, prepared for rendering.
pub struct SubscriptionRequest {
    key: SubscriptionKey,
    document: ExecutableDocument,
    variables: Variables,
    /// Whether an item takes long to render.
    is_slow: bool,
}

impl SubscriptionRequest {
    /// A valid subscription, its operation as a document of its own, and the cost of one item.
    pub fn new(
        ParsedRequest { document, request, .. }: ParsedRequest,
        mut operation: ExecutableDocument,
        cost: u64,
    ) -> Self {
        if let DocumentOperations::Single(operation) = &mut operation.operations {
            operation.node.ty = OperationType::Query;
        }
        let key = SubscriptionKey {
            query: document.text.clone(),
            operation_name: request.operation_name,
            variables: serde_json::to_string(&request.variables).unwrap_or_default(),
        };
        let is_slow = Offload::is_long(cost.saturating_mul(STEPS_TO_RESOLVE));
        Self { key, document: operation, variables: request.variables, is_slow }
    }

    fn plan(&self) -> Option<ItemPlan> {
        let (_, operation) = self.document.operations.iter().next()?;
        ItemPlan::compile(&operation.node, &self.document, &self.variables, SchemaIndex::of_schema()).ok()
    }
}

/// A subscription with at least one subscriber, prepared to render every item.
pub struct SharedSubscription {
    id: u64,
    request: SubscriptionRequest,
    /// Renders its items; none if the engine has to resolve them.
    plan: Option<ItemPlan>,
    /// The registry that it is removed from when its last subscriber leaves.
    registry: Arc<Mutex<SubscriptionRegistry>>,
}

impl Drop for SharedSubscription {
    fn drop(&mut self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // An equal subscription may have been registered meanwhile: that one stays.
        if registry.by_key.get(&self.request.key).is_some_and(|subscription| subscription.strong_count() == 0) {
            registry.by_key.remove(&self.request.key);
        }
    }
}

/// One message of an operation, serialized.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A response, as JSON.
    Next(Arc<str>),
    /// Request errors: the operation cannot be run, or not any longer.
    Errors(Vec<ServerError>),
}

impl From<OperationResponse> for Payload {
    fn from(response: OperationResponse) -> Self {
        match response {
            OperationResponse::Resolved(response) => response.into(),
            OperationResponse::Serialized(text) => {
                Self::Next(str::from_utf8(&text.into_bytes()).unwrap_or_default().into())
            }
        }
    }
}

impl From<Response> for Payload {
    fn from(response: Response) -> Self {
        if is_request_error(&response) { Self::Errors(response.errors) } else { Self::Next(serialize(&response)) }
    }
}

fn serialize(response: &Response) -> Arc<str> {
    serde_json::to_string(&SerializedResponse(response)).unwrap_or_default().into()
}

/// Renders items, each once for all equal subscriptions. Cheap to clone.
#[derive(Clone)]
pub struct SubscriptionBroadcast(Arc<Inner>);

struct Inner {
    schema: Schema<ItemRoot, EmptyMutation, EmptySubscription>,
    resolvers: Resolvers,
    /// The registry of subscriptions with subscribers, by which equal ones have one id.
    registry: Arc<Mutex<SubscriptionRegistry>>,
    payloads: Cache<(u64, ItemKey), Arc<str>, ByteWeighter>,
}

#[derive(Default)]
struct SubscriptionRegistry {
    by_key: HashMap<SubscriptionKey, Weak<SharedSubscription>>,
    next_id: u64,
}

#[derive(Clone)]
struct ByteWeighter;

impl Weighter<(u64, ItemKey), Arc<str>> for ByteWeighter {
    fn weight(&self, (_, key): &(u64, ItemKey), payload: &Arc<str>) -> u64 {
        /// What the cache and the reference-counted text need per entry.
        const OVERHEAD: usize = 64;
        (OVERHEAD + size_of::<(u64, ItemKey)>() + key.held_bytes() + payload.len()) as u64
    }
}

impl SubscriptionBroadcast {
    pub fn new(resolvers: Resolvers) -> Self {
        let schema = Schema::build(ItemRoot, EmptyMutation, EmptySubscription)
            .register_output_type::<Node>()
            // The document was validated against the API's schema when the subscription started.
            .validation_mode(ValidationMode::Fast)
            .finish();
        let payloads = Cache::with(
            ESTIMATED_PAYLOADS,
            MAX_PAYLOAD_BYTES,
            ByteWeighter,
            DefaultHashBuilder::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self(Arc::new(Inner { schema, resolvers, registry: Arc::default(), payloads }))
    }

    /// Registers a valid subscription. Equal requests get one [`SharedSubscription`].
    pub fn prepare(&self, request: SubscriptionRequest) -> Arc<SharedSubscription> {
        let mut registry = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscription) = registry.by_key.get(&request.key).and_then(Weak::upgrade) {
            return subscription;
        }
        registry.next_id += 1;
        let (id, key) = (registry.next_id, request.key.clone());
        let plan = request.plan();
        let subscription = Arc::new(SharedSubscription { id, request, plan, registry: self.0.registry.clone() });
        registry.by_key.insert(key, Arc::downgrade(&subscription));
        subscription
    }

    /// The payload of an item: from the cache, or rendered by the first subscriber that needs it while the others wait.
    pub async fn payload(&self, subscription: &Arc<SharedSubscription>, item: &StreamItem) -> Arc<str> {
        let Some(key) = item.key() else { return self.render(subscription, item).await };
        let key = (subscription.id, key);
        let found = self.0.payloads.get_or_insert_async(&key, async {
            Ok::<_, std::convert::Infallible>(self.render(subscription, item).await)
        });
        match found.await {
            Ok(payload) => payload,
            Err(never) => match never {},
        }
    }

    /// Renders an item; on a thread on which no other request waits, if that takes long.
    async fn render(&self, subscription: &Arc<SharedSubscription>, item: &StreamItem) -> Arc<str> {
        if !subscription.request.is_slow {
            return self.render_inline(subscription, item).await;
        }
        let (broadcast, subscription, item, runtime) =
            (self.clone(), subscription.clone(), item.clone(), Handle::current());
        let work = move || runtime.block_on(broadcast.render_inline(&subscription, &item));
        Box::pin(self.0.resolvers.offload().run_elsewhere(work)).await
    }

    /// Renders an item by the plan, or lets the engine resolve it.
    async fn render_inline(&self, subscription: &SharedSubscription, item: &StreamItem) -> Arc<str> {
        match subscription.plan.as_ref().and_then(|plan| plan.write(item)) {
            Some(text) => text.into(),
            None => serialize(&self.resolve(subscription, item).await),
        }
    }

    /// Lets the engine resolve an item.
    async fn resolve(&self, subscription: &SharedSubscription, item: &StreamItem) -> Response {
        let Inner { schema, resolvers, .. } = &*self.0;
        let reading = item.reading(resolvers);
        let (budget, gate) = (Budget::default(), BatchGate::default());
        let mut request = Request::new("")
            .variables(subscription.request.variables.clone())
            .data(budget.clone())
            .data(HistoryLoader::loader(resolvers.clone(), Some(reading.clone()), Caller::server(), gate.clone()))
            .data(resolvers.clone())
            .data(reading)
            .data(item.clone());
        request.set_parsed_query(subscription.request.document.clone());
        let mut response = gate.run(schema.execute(request)).await;
        error::set_codes(&mut response);
        budget.settle(response)
    }
}

impl fmt::Debug for SubscriptionBroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionBroadcast").finish_non_exhaustive()
    }
}

/// The root of the second schema: each field of the subscription root resolves to the item in the request's data.
pub struct ItemRoot;

#[Object(name = "Subscription")]
impl ItemRoot {
    async fn worker_heartbeats(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "filter")] _filter: Option<WorkerFilter>,
        #[graphql(name = "every")] _every: Option<Duration>,
    ) -> Result<WorkerHeartbeat> {
        match ctx.data::<StreamItem>()? {
            StreamItem::Heartbeat(Heartbeat { worker, received_at, coalesced, is_last }) => Ok(WorkerHeartbeat {
                worker: Worker(worker.clone()),
                received_at: DateTime::of(*received_at),
                coalesced: Int::of(*coalesced),
                is_last: *is_last,
            }),
            StreamItem::Update(_) | StreamItem::Event(_) | StreamItem::Stats(_) | StreamItem::Drain(_) => {
                Err(mismatch())
            }
        }
    }

    async fn worker_updates(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "filter")] _filter: Option<WorkerFilter>,
        #[graphql(name = "every")] _every: Option<Duration>,
    ) -> Result<WorkerUpdate> {
        match ctx.data::<StreamItem>()? {
            StreamItem::Update(watch::WorkerUpdate { worker, is_last }) => {
                Ok(WorkerUpdate { worker: Worker(worker.clone()), is_last: *is_last })
            }
            StreamItem::Heartbeat(_) | StreamItem::Event(_) | StreamItem::Stats(_) | StreamItem::Drain(_) => {
                Err(mismatch())
            }
        }
    }

    async fn cluster_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "after")] _after: Option<Cursor>,
        #[graphql(name = "filter")] _filter: Option<EventFilter>,
    ) -> Result<ClusterEvent> {
        match ctx.data::<StreamItem>()? {
            StreamItem::Event(event) => Ok(ClusterEvent(event.clone())),
            StreamItem::Heartbeat(_) | StreamItem::Update(_) | StreamItem::Stats(_) | StreamItem::Drain(_) => {
                Err(mismatch())
            }
        }
    }

    async fn drain_progress(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "filter")] _filter: Option<DrainFilter>,
        #[graphql(name = "every")] _every: Option<Duration>,
    ) -> Result<DrainProgress> {
        match ctx.data::<StreamItem>()? {
            StreamItem::Drain(progress) => {
                Ok(DrainProgress { drain: Drain(progress.drain.clone()), is_last: progress.is_last })
            }
            StreamItem::Heartbeat(_) | StreamItem::Update(_) | StreamItem::Event(_) | StreamItem::Stats(_) => {
                Err(mismatch())
            }
        }
    }

    async fn cluster_stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "every")] _every: Option<Duration>,
    ) -> Result<ClusterStats> {
        match ctx.data::<StreamItem>()? {
            StreamItem::Stats(stats) => Ok(ClusterStats(stats.clone())),
            StreamItem::Heartbeat(_) | StreamItem::Update(_) | StreamItem::Event(_) | StreamItem::Drain(_) => {
                Err(mismatch())
            }
        }
    }
}

/// The error of an item under another field. Validation allows one root field only, so that no client gets it.
fn mismatch() -> async_graphql::Error {
    async_graphql::Error::new("A subscription follows one thing at a time")
}
