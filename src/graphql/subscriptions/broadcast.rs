//! Subscriptions that share their work.
//!
//! Every socket has a watch of its own, which decides what its reader gets and when; that is cheap.
//! What is dear is to resolve and write out a selection of fields (ADR 0011). So that is done once for each *operation*
//! (document and variables) and *item* (a beat, an event, statistics), and kept for a moment: whoever
//! asked the same gets the same bytes. What only one reader is told (that its own stream is quiet, or
//! has a gap) is not kept.
//!
//! An item is written by plan. What a plan cannot do is resolved: the document runs as a query against a second
//! schema, whose root has the fields of the subscription root and answers them with the item.

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
use crate::graphql::error;
use crate::graphql::execution::budget::Budget;
use crate::graphql::execution::loader::WorkerEvents;
use crate::graphql::execution::response::{OperationResponse, SerializedResponse, was_refused};
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::plan::ItemPlan;
use crate::graphql::schema::index::SchemaIndex;
use crate::graphql::schema::inputs::{EventFilter, WorkerFilter};
use crate::graphql::schema::objects::{ClusterEvent, ClusterStats, Node, Worker, WorkerHeartbeat};
use crate::graphql::schema::scalars::{Cursor, Duration};
use crate::graphql::schema::values::{DateTime, FromDomain, Int};
use crate::resolvers::Resolvers;
use crate::resolvers::offload::{Offload, STEPS_TO_RESOLVE};
use crate::resolvers::watch::Heartbeat;

/// How many payloads are expected to be kept, which room is made for at first. It is no limit.
const EXPECTED_PAYLOADS: usize = 10_000;

/// How many bytes of payloads may be kept, with what they are found by.
const MAX_PAYLOAD_BYTES: u64 = 32 * 1024 * 1024;

/// What two requests have in common that ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SubscriptionKey {
    query: Arc<str>,
    operation_name: Option<String>,
    variables: String,
}

/// A subscription as it was asked for.
pub struct SubscriptionRequest {
    key: SubscriptionKey,
    document: ExecutableDocument,
    variables: Variables,
    /// Whether an item takes long to write.
    is_long: bool,
}

impl SubscriptionRequest {
    /// A subscription that has been found valid, and its operation alone, with what an item of it costs.
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
        let is_long = Offload::is_long(cost.saturating_mul(STEPS_TO_RESOLVE));
        Self { key, document: operation, variables: request.variables, is_long }
    }

    fn plan(&self) -> Option<ItemPlan> {
        let (_, operation) = self.document.operations.iter().next()?;
        ItemPlan::compile(&operation.node, &self.document, &self.variables, SchemaIndex::of_schema()).ok()
    }
}

/// An operation that somebody follows, prepared to write every item.
pub struct SharedSubscription {
    id: u64,
    asked: SubscriptionRequest,
    /// What writes its items; none if they have to be resolved.
    plan: Option<ItemPlan>,
    /// Where it is known, as long as it is followed.
    operations: Arc<Mutex<SharedSubscriptions>>,
}

impl Drop for SharedSubscription {
    fn drop(&mut self) {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless somebody has asked for the same again meanwhile.
        if operations.known.get(&self.asked.key).is_some_and(|known| known.strong_count() == 0) {
            operations.known.remove(&self.asked.key);
        }
    }
}

/// An answer, written out.
#[derive(Clone, Debug)]
pub enum Payload {
    /// What there is to tell.
    Next(Arc<str>),
    /// The operation cannot be run, or not any longer.
    Refused(Vec<ServerError>),
}

impl From<OperationResponse> for Payload {
    fn from(answer: OperationResponse) -> Self {
        match answer {
            OperationResponse::Resolved(response) => response.into(),
            OperationResponse::Written(text) => {
                Self::Next(str::from_utf8(&text.into_bytes()).unwrap_or_default().into())
            }
        }
    }
}

impl From<Response> for Payload {
    fn from(response: Response) -> Self {
        if was_refused(&response) { Self::Refused(response.errors) } else { Self::Next(write(&response)) }
    }
}

fn write(response: &Response) -> Arc<str> {
    serde_json::to_string(&SerializedResponse(response)).unwrap_or_default().into()
}

/// Writes out items, each once for everybody who asked the same. Cheap to clone.
#[derive(Clone)]
pub struct SubscriptionBroadcast(Arc<Inner>);

struct Inner {
    schema: Schema<ItemRoot, EmptyMutation, EmptySubscription>,
    resolvers: Resolvers,
    /// SharedSubscriptions that somebody follows, so that equal ones have one id.
    operations: Arc<Mutex<SharedSubscriptions>>,
    payloads: Cache<(u64, ItemKey), Arc<str>, ByBytes>,
}

#[derive(Default)]
struct SharedSubscriptions {
    known: HashMap<SubscriptionKey, Weak<SharedSubscription>>,
    next_id: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u64, ItemKey), Arc<str>> for ByBytes {
    fn weight(&self, (_, key): &(u64, ItemKey), payload: &Arc<str>) -> u64 {
        /// What the cache and the counted text need besides.
        const OVERHEAD: usize = 64;
        (OVERHEAD + size_of::<(u64, ItemKey)>() + key.held_bytes() + payload.len()) as u64
    }
}

impl SubscriptionBroadcast {
    pub fn new(resolvers: Resolvers) -> Self {
        let schema = Schema::build(ItemRoot, EmptyMutation, EmptySubscription)
            .register_output_type::<Node>()
            // The document was validated against the real schema when the subscription began.
            .validation_mode(ValidationMode::Fast)
            .finish();
        let payloads = Cache::with(
            EXPECTED_PAYLOADS,
            MAX_PAYLOAD_BYTES,
            ByBytes,
            DefaultHashBuilder::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self(Arc::new(Inner { schema, resolvers, operations: Arc::default(), payloads }))
    }

    /// Prepares a subscription that has been found valid; equal ones are the same operation.
    pub fn prepare(&self, asked: SubscriptionRequest) -> Arc<SharedSubscription> {
        let mut operations = self.0.operations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = operations.known.get(&asked.key).and_then(Weak::upgrade) {
            return known;
        }
        operations.next_id += 1;
        let (id, key) = (operations.next_id, asked.key.clone());
        let plan = asked.plan();
        let operation = Arc::new(SharedSubscription { id, asked, plan, operations: self.0.operations.clone() });
        operations.known.insert(key, Arc::downgrade(&operation));
        operation
    }

    /// An item as the operation wants to see it, written out, by whoever asks first.
    pub async fn payload(&self, operation: &Arc<SharedSubscription>, item: &StreamItem) -> Arc<str> {
        let Some(key) = item.key() else { return self.write(operation, item).await };
        let key = (operation.id, key);
        let found = self
            .0
            .payloads
            .get_or_insert_async(&key, async { Ok::<_, std::convert::Infallible>(self.write(operation, item).await) });
        match found.await {
            Ok(payload) => payload,
            Err(never) => match never {},
        }
    }

    /// An item as the operation wants to see it, written where nobody else waits for the thread if that takes long.
    async fn write(&self, operation: &Arc<SharedSubscription>, item: &StreamItem) -> Arc<str> {
        if !operation.asked.is_long {
            return self.write_here(operation, item).await;
        }
        let (live, operation, item, runtime) = (self.clone(), operation.clone(), item.clone(), Handle::current());
        let work = move || runtime.block_on(live.write_here(&operation, &item));
        Box::pin(self.0.resolvers.offload().run_elsewhere(work)).await
    }

    /// An item as the operation wants to see it: by plan, or else resolved field by field.
    async fn write_here(&self, operation: &SharedSubscription, item: &StreamItem) -> Arc<str> {
        match operation.plan.as_ref().and_then(|plan| plan.write(item)) {
            Some(text) => text.into(),
            None => write(&self.respond(operation, item).await),
        }
    }

    /// An item as the operation wants to see it, resolved.
    async fn respond(&self, operation: &SharedSubscription, item: &StreamItem) -> Response {
        let Inner { schema, resolvers, .. } = &*self.0;
        let reading = item.reading(resolvers);
        let budget = Budget::default();
        let mut request = Request::new("")
            .variables(operation.asked.variables.clone())
            .data(budget.clone())
            .data(WorkerEvents::loader(resolvers.clone(), Some(reading.clone())))
            .data(resolvers.clone())
            .data(reading)
            .data(item.clone());
        request.set_parsed_query(operation.asked.document.clone());
        let mut response = schema.execute(request).await;
        error::code(&mut response);
        budget.settle(response)
    }
}

impl fmt::Debug for SubscriptionBroadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionBroadcast").finish_non_exhaustive()
    }
}

/// Answers each field of the subscription root with the item at hand.
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
            StreamItem::Heartbeat(Heartbeat { worker, received_at, coalesced }) => Ok(WorkerHeartbeat {
                worker: Worker(worker.clone()),
                received_at: DateTime::of(*received_at),
                coalesced: Int::of(*coalesced),
            }),
            StreamItem::Event(_) | StreamItem::Stats(_) => Err(mismatch()),
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
            StreamItem::Heartbeat(_) | StreamItem::Stats(_) => Err(mismatch()),
        }
    }

    async fn cluster_stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "every")] _every: Option<Duration>,
    ) -> Result<ClusterStats> {
        match ctx.data::<StreamItem>()? {
            StreamItem::Stats(stats) => Ok(ClusterStats(stats.clone())),
            StreamItem::Heartbeat(_) | StreamItem::Event(_) => Err(mismatch()),
        }
    }
}

/// A document with two fields at its root does not pass validation; this is what it would get.
fn mismatch() -> async_graphql::Error {
    async_graphql::Error::new("A subscription follows one thing at a time")
}
