//! Runs a document, by plan as far as there is one: guarded, on one reading of the cluster, with coded errors.

use std::sync::Arc;

use async_graphql::parser::types::ExecutableDocument;
use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response, Schema, ServerError, ValidationMode, Value, Variables, value};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::runtime::Handle;

use super::budget::Budget;
use super::loader::WorkerEvents;
use super::merge::merge;
use super::response::OperationResponse;
use crate::error::Error;
use crate::graphql::error;
use crate::graphql::operation::cost::Sizes;
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
use crate::graphql::subscriptions::handoff::{ItemStream, StreamHandoff};
use crate::http::{ChunkedBytes, in_request_context, mark_as_command};
use crate::resolvers::kept::Kept;
use crate::resolvers::offload::{Offload, STEPS_TO_RESOLVE};
use crate::resolvers::{Reading, Resolvers, input};

/// The key in a request's extensions that names the revision to be seen.
const MIN_REVISION: &str = "minRevision";

/// The key in a request's extensions that asks for its cost, and in the answer's that tells it.
const COST: &str = "cost";

/// The schema with what its resolvers need. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    documents: DocumentCache,
    /// Does not validate: what is run has been found valid.
    schema: Schema<Query, Mutation, Subscription>,
    resolvers: Resolvers,
    live: SubscriptionBroadcast,
    /// Rows of lists that plans have written.
    kept: Kept,
}

impl Executor {
    pub fn new(documents: DocumentCache, resolvers: Resolvers) -> Self {
        let schema = documents.limits().tell(sdl::schema()).validation_mode(ValidationMode::Fast).finish();
        Self {
            documents,
            schema,
            live: SubscriptionBroadcast::new(resolvers.clone()),
            resolvers,
            kept: Kept::default(),
        }
    }

    /// What is known of documents.
    pub fn documents(&self) -> &DocumentCache {
        &self.documents
    }

    /// Reads the document of a request, or says why it cannot be read.
    pub fn read(&self, request: Request) -> Result<ParsedRequest, Response> {
        self.documents.read(request)
    }

    /// What the request is answered from: the present, or if it names a revision that another server
    /// has told of (`extensions.minRevision`), not before that. One for the whole request, so that
    /// all of its answer is of one revision.
    async fn reading(&self, request: &Request) -> Result<Reading, Error> {
        let wanted = match request.extensions.get(MIN_REVISION) {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
                Some(input::revision("min_revision", number.as_i64().unwrap_or(i64::MAX))?)
            }
            Some(_) => return Err(Error::invalid("min_revision", "must be a whole number")),
        };
        self.resolvers.read_at_least(wanted).await
    }
}

/// The answer to a request that cannot be run.
fn refusal(cause: Error) -> Response {
    let mut error = ServerError::new(cause.to_string(), None);
    error.source = Some(Arc::new(cause));
    let mut response = Response::from_errors(vec![error]);
    error::code(&mut response);
    response
}

impl Executor {
    /// Runs an operation of any kind, and streams what it has to say, written out. Equal
    /// subscriptions share the work.
    pub fn stream(&self, request: Request) -> BoxStream<'static, Payload> {
        self.stream_asked(self.read(request))
    }

    /// The same for a request whose document has been read, or could not be.
    pub fn stream_asked(&self, asked: Result<ParsedRequest, Response>) -> BoxStream<'static, Payload> {
        let (engine, live) = (self.clone(), self.live.clone());
        let answers = async move {
            let begun = match asked {
                Ok(asked) => engine.begin(asked).await,
                Err(refused) => Begin::Answered(refused.into()),
            };
            match begun {
                Begin::Answered(answer) => stream::once(async { Payload::from(answer) }).boxed(),
                Begin::Following(operation, items) => items
                    .then(move |item| {
                        let (live, operation) = (live.clone(), operation.clone());
                        async move {
                            match item {
                                Ok(item) => Payload::Next(live.payload(&operation, &item).await),
                                Err(error) => Payload::from(refusal(error)),
                            }
                        }
                    })
                    .boxed(),
            }
        };
        stream::once(answers).flatten().boxed()
    }

    /// Does what can be done at once: an answer, or a watch to follow.
    async fn begin(&self, mut asked: ParsedRequest) -> Begin {
        let Some(mut document) = asked.cut_out(&[OperationType::Subscription]) else {
            return Begin::Answered(self.run(asked).await);
        };
        let cost = match self.documents.check(&mut asked) {
            Ok(cost) => cost,
            Err(refused) => return Begin::Answered(refused.into()),
        };
        self.prepare(&mut document, &asked.request.variables);
        let reading = match self.reading(&asked.request).await {
            Ok(reading) => reading,
            Err(error) => return Begin::Answered(refusal(error).into()),
        };
        let begun = StreamHandoff::default();
        let mut request = Request::new("")
            .variables(asked.request.variables.clone())
            .data(self.resolvers.clone())
            .data(reading)
            .data(begun.clone());
        request.set_parsed_query(document.clone());
        // This stream ends at once; all it can have is what is wrong with the request.
        let mut wrong = self.schema.execute_stream(request);
        if let Some(mut response) = wrong.next().await {
            error::code(&mut response);
            // What could not begin was not executed, so that its errors are those of the request.
            response.errors.iter_mut().for_each(|error| error.path.clear());
            return Begin::Answered(response.into());
        }
        match begun.take() {
            Some(items) => Begin::Following(self.live.prepare(SubscriptionRequest::new(asked, document, cost)), items),
            None => Begin::Answered(refusal(Error::invalid("subscription", "must select a field to follow")).into()),
        }
    }

    /// Runs a query or a mutation.
    pub async fn run(&self, asked: ParsedRequest) -> OperationResponse {
        match self.check(asked) {
            Ok(ready) => self.run_ready(&Arc::new(ready)).await,
            Err(refused) => refused.into(),
        }
    }

    /// Finds out whether a query or a mutation may be run.
    pub fn check(&self, mut asked: ParsedRequest) -> Result<PreparedOperation, Response> {
        let cost = self.documents.check(&mut asked)?;
        let plan = asked.plan(self.documents.types());
        Ok(PreparedOperation { asked, cost, plan })
    }

    /// Runs what may be run: here, or if it takes long, where nobody else waits for the thread.
    pub async fn run_ready(&self, ready: &Arc<PreparedOperation>) -> OperationResponse {
        if ready.asked.operation().is_some_and(|operation| operation.ty == OperationType::Mutation) {
            mark_as_command();
        }
        if !Offload::is_long(self.steps(ready)) {
            return self.run_here(ready).await;
        }
        let (engine, ready, runtime) = (self.clone(), ready.clone(), Handle::current());
        let work = move || runtime.block_on(async { engine.run_here(&ready).await.written() });
        Box::pin(self.resolvers.offload().run_elsewhere(in_request_context(work))).await
    }

    /// How many steps an operation takes, about.
    fn steps(&self, PreparedOperation { asked, cost, plan }: &PreparedOperation) -> u64 {
        let steps_each = match plan {
            Some((plan, _)) if plan.rest().is_none() => 1,
            Some(_) | None => STEPS_TO_RESOLVE,
        };
        let most = cost.saturating_mul(steps_each);
        // Hardly any could take long even in the largest cluster.
        if !Offload::is_long(most) {
            return most;
        }
        let (workers, vms) = self.resolvers.sizes();
        asked.cost_on(Sizes::of(workers, vms), self.documents.types()).saturating_mul(steps_each)
    }

    async fn run_here(&self, ready: &PreparedOperation) -> OperationResponse {
        let PreparedOperation { asked, cost, plan } = ready;
        let reading = match self.reading(&asked.request).await {
            Ok(reading) => reading,
            Err(error) => return refusal(error).into(),
        };
        let wants_cost = asked.request.extensions.get(COST) == Some(&Value::Boolean(true));
        let cost = wants_cost.then(|| value!({ "requested": *cost, "limit": self.documents.limits().cost }));
        if let Some((plan, is_for_good)) = plan
            && let Some(written) = self.run_by_plan(asked, plan, *is_for_good, &reading, cost.as_ref()).await
        {
            return OperationResponse::Written(written);
        }
        let Some(document) = asked.cut_out(&[OperationType::Query, OperationType::Mutation]) else {
            let problem = "Subscriptions are not supported on this transport, which answers once. Ask for a stream with \
                           `Accept: text/event-stream`, or open a WebSocket at /graphql with the subprotocol \
                           graphql-transport-ws.";
            return Response::from_errors(vec![error::request_error("GRAPHQL_VALIDATION_FAILED", problem)]).into();
        };
        // In a box, or what is answered by plan would carry the room for it.
        let response = Box::pin(self.resolve(asked, document, reading, &Budget::default())).await;
        match cost {
            Some(cost) => response.extension(COST, cost).into(),
            None => response.into(),
        }
    }

    /// Runs a query as far as possible without resolving it field by field. None if there is anything that only that
    /// can do, or say.
    async fn run_by_plan(
        &self,
        asked: &ParsedRequest,
        plan: &Plan,
        is_for_good: bool,
        reading: &Reading,
        cost: Option<&Value>,
    ) -> Option<ChunkedBytes> {
        let budget = Budget::default();
        let rest = match plan.rest() {
            None => None,
            Some(rest) => {
                let response = Box::pin(self.resolve(asked, rest.clone(), reading.clone(), &budget)).await;
                Some(response).filter(|response| response.errors.is_empty()).map(|response| response.data)
            }
        };
        if plan.rest().is_some() && rest.is_none() {
            return None;
        }
        let kept = is_for_good.then_some(&self.kept);
        let question = PlanInput { reading, variables: &asked.request.variables, kept };
        plan.answer(&question, rest.as_ref(), budget.spent(), cost).ok()
    }

    /// Writes a document as the engine reads it rightly.
    fn prepare(&self, document: &mut ExecutableDocument, variables: &Variables) {
        merge(document, variables, self.documents.types());
        variables::leave_out(document, variables);
    }

    /// Resolves a document field by field.
    async fn resolve(
        &self,
        asked: &ParsedRequest,
        mut document: ExecutableDocument,
        reading: Reading,
        budget: &Budget,
    ) -> Response {
        self.prepare(&mut document, &asked.request.variables);
        // What a command answers with is newer than the reading that its document began with.
        let is_mutation = asked.operation().is_some_and(|operation| operation.ty == OperationType::Mutation);
        let loader = WorkerEvents::loader(self.resolvers.clone(), (!is_mutation).then(|| reading.clone()));
        let mut request = Request::new("")
            .variables(asked.request.variables.clone())
            .data(self.resolvers.clone())
            .data(reading)
            .data(loader)
            .data(budget.clone());
        request.set_parsed_query(document);
        let mut response = self.schema.execute(request).await;
        error::code(&mut response);
        budget.settle(response)
    }
}

/// What comes of beginning an operation.
enum Begin {
    Answered(OperationResponse),
    Following(Arc<SharedSubscription>, ItemStream),
}
