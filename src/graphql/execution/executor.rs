//! The executor: runs operations. A query is written by its plan as far as it has one; the engine resolves the rest,
//! field by field.
//!
//! A request is answered from one reading of the cluster, within one budget of objects, and its errors get their codes
//! here. Parsing, validation and limits are the [`DocumentCache`]'s; how a response reaches the client is
//! `transport`'s.

use std::sync::Arc;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, Schema, ServerError, ValidationMode, Value, Variables, value};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::runtime::Handle;

use super::budget::Budget;
use super::loader::{BatchGate, HistoryLoader};
use super::merge::merge;
use super::response::OperationResponse;
use crate::auth::Caller;
use crate::error::Error;
use crate::graphql::error;
use crate::graphql::operation::cost::ClusterSize;
use crate::graphql::operation::document_cache::DocumentCache;
use crate::graphql::operation::request::{ParsedRequest, PreparedOperation};
use crate::graphql::operation::variables;
use crate::graphql::plan::{Plan, PlanInput};
use crate::graphql::schema::mutation::Mutation;
use crate::graphql::schema::query::Query;
use crate::graphql::schema::sdl;
use crate::graphql::schema::subscription::Subscription;
use crate::graphql::subscriptions::broadcast::{
    Payload, SharedSubscription, SubscriptionBroadcast, SubscriptionRequest,
};
use crate::graphql::subscriptions::stream_handoff::{ItemStream, StreamHandoff};
use crate::http::{ChunkedBytes, in_request_context, mark_as_command};
use crate::resolvers::offload::{Offload, STEPS_TO_RESOLVE};
use crate::resolvers::row_cache::RowCache;
use crate::resolvers::{Reading, Resolvers, checks};

/// The key in a request's extensions whose value is the least revision that the response must show.
const MIN_REVISION: &str = "minRevision";

/// The key in a request's extensions that asks for the operation's cost, and the key of that cost in the response's.
const COST: &str = "cost";

/// Runs operations: the engine's schema with what resolvers and plans need. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    document_cache: DocumentCache,
    /// Runs without validation: the document cache returns valid documents only.
    schema: Schema<Query, Mutation, Subscription>,
    resolvers: Resolvers,
    broadcast: SubscriptionBroadcast,
    /// The rows of lists that plans have written.
    row_cache: RowCache,
}

impl Executor {
    pub fn new(document_cache: DocumentCache, resolvers: Resolvers) -> Self {
        let schema = document_cache.limits().apply_to(sdl::schema()).validation_mode(ValidationMode::Fast).finish();
        Self {
            document_cache,
            schema,
            broadcast: SubscriptionBroadcast::new(resolvers.clone()),
            resolvers,
            row_cache: RowCache::default(),
        }
    }

    /// The document cache, which has the limits and the trusted documents too.
    pub fn document_cache(&self) -> &DocumentCache {
        &self.document_cache
    }

    /// Whether a caller may ask questions.
    pub fn check_reader(&self, caller: &Caller) -> Result<(), Error> {
        self.resolvers.read(caller).map(|_| ())
    }

    /// Waits until a caller that was accepted is not accepted any more, and says why.
    pub fn denied_later(&self, caller: Caller) -> BoxFuture<'static, Error> {
        let resolvers = self.resolvers.clone();
        async move { resolvers.denied_later(caller.principal()).await }.boxed()
    }

    /// Parses and validates the document of a request, or finds it in the document cache.
    pub fn parse_request(&self, request: Request) -> Result<ParsedRequest, Response> {
        self.document_cache.parse_request(request)
    }

    /// The reading that a request is answered from: the present state. If the request names a revision
    /// (`extensions.minRevision`, which a client has seen at another server), the reading waits until this server has
    /// reached it. There is one reading for the whole request, so that all of the response is of one revision.
    ///
    /// Mutations ask for permission themselves, and may be sent by those who may read nothing.
    async fn reading(
        &self,
        request: &Request,
        caller: &Caller,
        is_mutation: bool,
        cost: u64,
    ) -> Result<Reading, Error> {
        let min_revision = match request.extensions.get(MIN_REVISION) {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Some(checks::revision("min_revision", number.as_i64().unwrap_or(i64::MAX))?)
            }
            Some(_) => return Err(Error::invalid("min_revision", "must be a whole number")),
        };
        if is_mutation {
            // Never refused for that: the next query pays.
            self.resolvers.spend_more(caller, cost);
            return self.resolvers.present_at_least(min_revision).await;
        }
        let reading = self.resolvers.read_at_least(caller, min_revision).await?;
        self.resolvers.spend(caller, cost)?;
        Ok(reading)
    }
}

/// The response to a request that cannot be run because of this error.
fn error_response(cause: Error) -> Response {
    let mut error = ServerError::new(cause.to_string(), None);
    error.source = Some(Arc::new(cause));
    let mut response = Response::from_errors(vec![error]);
    error::set_codes(&mut response);
    response
}

impl Executor {
    /// Runs an operation of any kind and streams its payloads as JSON: one for a query or mutation, one for each item
    /// of a subscription. Equal subscriptions share their payloads.
    pub fn stream(&self, request: Request, caller: Caller) -> BoxStream<'static, Payload> {
        self.stream_parsed(self.parse_request(request), caller)
    }

    /// Like [`stream`](Self::stream), for a request that has been parsed; or streams the error response of one that
    /// could not be.
    pub fn stream_parsed(
        &self,
        parsed: Result<ParsedRequest, Response>,
        caller: Caller,
    ) -> BoxStream<'static, Payload> {
        let (executor, broadcast) = (self.clone(), self.broadcast.clone());
        let payloads = async move {
            let started = match parsed {
                Ok(parsed) => executor.start(parsed, &caller).await,
                Err(error_response) => StartedOperation::Response(error_response.into()),
            };
            match started {
                StartedOperation::Response(response) => stream::once(async { Payload::from(response) }).boxed(),
                StartedOperation::Subscription(subscription, items) => items
                    .then(move |item| {
                        let (broadcast, subscription) = (broadcast.clone(), subscription.clone());
                        async move {
                            match item {
                                Ok(item) => Payload::Next(broadcast.payload(&subscription, &item).await),
                                Err(error) => Payload::from(error_response(error)),
                            }
                        }
                    })
                    .boxed(),
            }
        };
        stream::once(payloads).flatten().boxed()
    }

    /// Starts an operation: runs a query or mutation to its response, and begins the watch of a subscription.
    async fn start(&self, mut parsed: ParsedRequest, caller: &Caller) -> StartedOperation {
        let Some(mut document) = parsed.extract_operation(&[OperationType::Subscription]) else {
            return StartedOperation::Response(self.run(parsed, caller).await);
        };
        let cost = match self.document_cache.check(&mut parsed) {
            Ok(cost) => cost,
            Err(error_response) => return StartedOperation::Response(error_response.into()),
        };
        self.rewrite_for_engine(&mut document, &parsed.request.variables);
        let reading = match self.reading(&parsed.request, caller, false, cost).await {
            Ok(reading) => reading,
            Err(error) => return StartedOperation::Response(error_response(error).into()),
        };
        let handoff = StreamHandoff::default();
        let mut request = Request::new("")
            .variables(parsed.request.variables.clone())
            .data(self.resolvers.clone())
            .data(caller.clone())
            .data(reading)
            .data(handoff.clone());
        request.set_parsed_query(document.clone());
        // The resolvers of subscription fields return empty streams, so that the engine yields a response only for an
        // error.
        let mut errors = self.schema.execute_stream(request);
        if let Some(mut response) = errors.next().await {
            error::set_codes(&mut response);
            // A subscription that could not start was not executed: without their paths, its errors are request errors.
            response.errors.iter_mut().for_each(|error| error.path.clear());
            return StartedOperation::Response(response.into());
        }
        match handoff.take() {
            Some(items) => StartedOperation::Subscription(
                self.broadcast.prepare(SubscriptionRequest::new(parsed, document, cost)),
                items,
            ),
            None => StartedOperation::Response(
                error_response(Error::invalid("subscription", "must select a field to follow")).into(),
            ),
        }
    }

    /// Runs a query or a mutation.
    pub async fn run(&self, parsed: ParsedRequest, caller: &Caller) -> OperationResponse {
        match self.prepare(parsed) {
            Ok(prepared) => self.run_prepared(&Arc::new(prepared), caller).await,
            Err(error_response) => error_response.into(),
        }
    }

    /// Prepares a query or mutation: coerces its variables, checks its cost against the limit and finds its plan.
    pub fn prepare(&self, mut parsed: ParsedRequest) -> Result<PreparedOperation, Response> {
        let cost = self.document_cache.check(&mut parsed)?;
        let plan = parsed.plan(self.document_cache.schema_index());
        Ok(PreparedOperation { parsed, cost, plan })
    }

    /// Runs a prepared operation: in this task, or, if its estimate is long, on a thread on which no other request
    /// waits.
    pub async fn run_prepared(&self, prepared: &Arc<PreparedOperation>, caller: &Caller) -> OperationResponse {
        if prepared.parsed.operation().is_some_and(|operation| operation.ty == OperationType::Mutation) {
            mark_as_command();
        }
        if !Offload::is_long(self.steps(prepared)) {
            return self.run_inline(prepared, caller).await;
        }
        let (executor, prepared, caller, runtime) = (self.clone(), prepared.clone(), caller.clone(), Handle::current());
        let work = move || runtime.block_on(async { executor.run_inline(&prepared, &caller).await.serialized() });
        Box::pin(self.resolvers.offload().run_elsewhere(in_request_context(work))).await
    }

    /// An estimate of the steps that an operation takes; see [`Offload`].
    fn steps(&self, PreparedOperation { parsed, cost, plan }: &PreparedOperation) -> u64 {
        let steps_each = match plan {
            Some((plan, _)) if plan.engine_document().is_none() => 1,
            Some(_) | None => STEPS_TO_RESOLVE,
        };
        let upper_bound = cost.saturating_mul(steps_each);
        // `cost` is that of the largest cluster: nearly all operations are short even there, and need no second
        // estimate.
        if !Offload::is_long(upper_bound) {
            return upper_bound;
        }
        let (workers, vms) = self.resolvers.sizes();
        parsed.cost_in(ClusterSize::of(workers, vms), self.document_cache.schema_index()).saturating_mul(steps_each)
    }

    async fn run_inline(&self, prepared: &PreparedOperation, caller: &Caller) -> OperationResponse {
        let PreparedOperation { parsed, cost, plan } = prepared;
        let is_mutation = parsed.operation().is_some_and(|operation| operation.ty == OperationType::Mutation);
        let reading = match self.reading(&parsed.request, caller, is_mutation, *cost).await {
            Ok(reading) => reading,
            Err(error) => return error_response(error).into(),
        };
        let is_cost_requested = parsed.request.extensions.get(COST) == Some(&Value::Boolean(true));
        let cost =
            is_cost_requested.then(|| value!({ "requested": *cost, "limit": self.document_cache.limits().cost }));
        if let Some((plan, is_reusable)) = plan
            && let Some(text) = self.run_by_plan(parsed, caller, plan, *is_reusable, &reading, cost.as_ref()).await
        {
            return OperationResponse::Serialized(text);
        }
        let Some(document) = parsed.extract_operation(&[OperationType::Query, OperationType::Mutation]) else {
            let message = "Subscriptions are not supported on this transport, which answers once. Ask for a stream with \
                           `Accept: text/event-stream`, or open a WebSocket at /graphql with the subprotocol \
                           graphql-transport-ws.";
            return Response::from_errors(vec![error::request_error("GRAPHQL_VALIDATION_FAILED", message)]).into();
        };
        // Boxed, because the future of a planned operation would be as large as this one otherwise.
        let response = Box::pin(self.resolve(parsed, caller, document, reading, &Budget::default())).await;
        match cost {
            Some(cost) => response.extension(COST, cost).into(),
            None => response.into(),
        }
    }

    /// Writes the response of a query by its plan; the engine resolves only the root fields that the plan lacks. None
    /// if a field has an error or needs anything else that only the engine can do: then the caller lets the engine run
    /// all of it.
    async fn run_by_plan(
        &self,
        parsed: &ParsedRequest,
        caller: &Caller,
        plan: &Plan,
        is_reusable: bool,
        reading: &Reading,
        cost: Option<&Value>,
    ) -> Option<ChunkedBytes> {
        let budget = Budget::default();
        let engine_data = match plan.engine_document() {
            None => None,
            Some(document) => {
                let response = Box::pin(self.resolve(parsed, caller, document.clone(), reading.clone(), &budget)).await;
                Some(response).filter(|response| response.errors.is_empty()).map(|response| response.data)
            }
        };
        if plan.engine_document().is_some() && engine_data.is_none() {
            return None;
        }
        let row_cache = is_reusable.then_some(&self.row_cache);
        let input = PlanInput { reading, variables: &parsed.request.variables, row_cache };
        plan.write(&input, engine_data.as_ref(), budget.spent(), cost).ok()
    }

    /// Rewrites a document in the two places where the engine departs from the specification: fields that are selected
    /// more than once, and arguments whose variable was omitted.
    fn rewrite_for_engine(&self, document: &mut ExecutableDocument, variables: &Variables) {
        merge(document, variables, self.document_cache.schema_index());
        variables::drop_omitted_arguments(document, variables);
    }

    /// Lets the engine resolve a document field by field.
    async fn resolve(
        &self,
        parsed: &ParsedRequest,
        caller: &Caller,
        mut document: ExecutableDocument,
        reading: Reading,
        budget: &Budget,
    ) -> Response {
        self.rewrite_for_engine(&mut document, &parsed.request.variables);
        // The payload of a mutation is newer than the reading of its request.
        let is_mutation = parsed.operation().is_some_and(|operation| operation.ty == OperationType::Mutation);
        let (resolvers, gate) = (self.resolvers.clone(), BatchGate::default());
        let loader =
            HistoryLoader::loader(resolvers, (!is_mutation).then(|| reading.clone()), caller.clone(), gate.clone());
        let mut request = Request::new("")
            .variables(parsed.request.variables.clone())
            .data(self.resolvers.clone())
            .data(caller.clone())
            .data(reading)
            .data(loader)
            .data(budget.clone());
        request.set_parsed_query(document);
        let mut response = gate.run(self.schema.execute(request)).await;
        error::set_codes(&mut response);
        budget.settle(response)
    }
}

/// An operation that has been started.
enum StartedOperation {
    /// A query or mutation, which is over, or an error.
    Response(OperationResponse),
    /// A subscription, and its items as its watch yields them.
    Subscription(Arc<SharedSubscription>, ItemStream),
}
