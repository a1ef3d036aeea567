//! Runs a document: guarded, on one reading of the cluster, with coded errors.

use std::sync::Arc;

use async_graphql::parser::types::{DocumentOperations, OperationDefinition, OperationType};
use async_graphql::{Data, Executor, Name, Request, Response, Schema, ServerError, Value};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::budget::Budget;
use super::live::{Asked, Begun, Item, Items, Live, Operation, Payload};
use super::loader::WorkerEvents;
use super::mutation::Mutation;
use super::query::Query;
use super::subscription::Subscription;
use super::{error, guard};
use crate::error::Error;
use crate::resolvers::{Reading, Resolvers, input};

/// The key in a request's extensions that names the revision to be seen.
const MIN_REVISION: &str = "minRevision";

/// The schema with what its resolvers need. Cheap to clone.
#[derive(Clone)]
pub(super) struct Engine {
    schema: Schema<Query, Mutation, Subscription>,
    resolvers: Resolvers,
    live: Live,
}

impl Engine {
    pub(super) fn new(schema: Schema<Query, Mutation, Subscription>, resolvers: Resolvers) -> Self {
        Self { schema, live: Live::new(resolvers.clone()), resolvers }
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

impl Engine {
    /// Runs an operation of any kind, and streams what it has to say, written out. Equal
    /// subscriptions share the work.
    pub(super) fn stream(&self, request: Request) -> BoxStream<'static, Payload> {
        self.follow(
            request,
            |live, operation, item| async move { Payload::Next(live.payload(&operation, &item).await) },
        )
    }

    /// Runs an operation of any kind, and shows each item of a subscription in the way given.
    fn follow<T, Shown>(
        &self,
        request: Request,
        show: impl Fn(Live, Arc<Operation>, Item) -> Shown + Copy + Send + 'static,
    ) -> BoxStream<'static, T>
    where
        T: From<Response> + Send + 'static,
        Shown: Future<Output = T> + Send + 'static,
    {
        let (engine, live) = (self.clone(), self.live.clone());
        let answers = async move {
            match engine.begin(request).await {
                Begin::Answered(response) => stream::once(async { T::from(response) }).boxed(),
                Begin::Following(operation, items) => items
                    .then(move |item| {
                        let (live, operation) = (live.clone(), operation.clone());
                        async move {
                            match item {
                                Ok(item) => show(live, operation, item).await,
                                Err(error) => T::from(refusal(error)),
                            }
                        }
                    })
                    .boxed(),
            }
        };
        stream::once(answers).flatten().boxed()
    }

    /// Does what can be done at once: an answer, or a watch to follow.
    async fn begin(&self, mut request: Request) -> Begin {
        if let Err(refused) = check(&mut request) {
            return Begin::Answered(refused);
        }
        let Some(asked) = Asked::by(&mut request) else {
            return Begin::Answered(self.run(request).await);
        };
        let reading = match self.reading(&request).await {
            Ok(reading) => reading,
            Err(error) => return Begin::Answered(refusal(error)),
        };
        let begun = Begun::default();
        let request = request.data(self.resolvers.clone()).data(reading).data(begun.clone());
        // This stream ends at once; all it can have is what is wrong with the request.
        let mut wrong = self.schema.execute_stream(request);
        if let Some(mut response) = wrong.next().await {
            error::code(&mut response);
            // What could not begin was not executed, so that its errors are those of the request.
            response.errors.iter_mut().for_each(|error| error.path.clear());
            return Begin::Answered(response);
        }
        match begun.take() {
            Some(items) => Begin::Following(self.live.prepare(asked), items),
            None => Begin::Answered(refusal(Error::invalid("subscription", "must select a field to follow"))),
        }
    }

    /// Runs a query or a mutation that has passed the guard.
    async fn run(&self, mut request: Request) -> Response {
        let reading = match self.reading(&request).await {
            Ok(reading) => reading,
            Err(error) => return refusal(error),
        };
        // What a command answers with is newer than the reading that its document began with.
        let is_mutation = operation_type(&mut request) == Some(OperationType::Mutation);
        let loader = WorkerEvents::loader(self.resolvers.clone(), (!is_mutation).then(|| reading.clone()));
        let budget = Budget::default();
        let request = request.data(self.resolvers.clone()).data(reading).data(loader).data(budget.clone());
        let mut response = self.schema.execute(request).await;
        error::code(&mut response);
        budget.settle(response)
    }
}

/// What comes of beginning an operation.
enum Begin {
    Answered(Response),
    Following(Arc<Operation>, Items),
}

/// For the transports that come with the engine, which write out their answers themselves.
impl Executor for Engine {
    async fn execute(&self, mut request: Request) -> Response {
        match check(&mut request) {
            Ok(()) => self.run(request).await,
            Err(refused) => refused,
        }
    }

    fn execute_stream(&self, request: Request, _session: Option<Arc<Data>>) -> BoxStream<'static, Response> {
        self.follow(request, |live, operation, item| async move { live.respond(&operation, &item).await })
    }
}

/// Refuses what must not be run, or cannot be.
fn check(request: &mut Request) -> Result<(), Response> {
    guard::check(request)?;
    fill_in_defaults(request);
    // The engine would notice only when it comes to an argument that the variable is for, and fail that field alone.
    match missing_variable(request) {
        Some(name) => {
            let problem = format!("Variable \"${name}\" has to be given: it has no default, and cannot be null");
            Err(Response::from_errors(vec![error::request_error("BAD_USER_INPUT", problem)]))
        }
        None => Ok(()),
    }
}

/// Gives variables that were left out the default that they are declared with. The engine does so for arguments; the
/// condition of a `@skip` or `@include` it would take for false.
fn fill_in_defaults(request: &mut Request) {
    let Some(operation) = operation(request) else { return };
    let declared = operation.variable_definitions.iter().map(|definition| &definition.node);
    let defaults: Vec<_> = declared
        .filter_map(|variable| Some((variable.name.node.clone(), variable.default_value.as_ref()?.node.clone())))
        .collect();
    for (name, default) in defaults {
        request.variables.entry(name).or_insert(default);
    }
}

fn missing_variable(request: &mut Request) -> Option<Name> {
    let variables = request.variables.clone();
    operation(request)?.variable_definitions.iter().map(|definition| &definition.node).find_map(|definition| {
        let name = &definition.name.node;
        let is_needed = !definition.var_type.node.nullable && definition.default_value.is_none();
        let is_null = variables.get(name).is_none_or(|value| *value == Value::Null);
        (is_needed && is_null).then(|| name.clone())
    })
}

/// What the operation that is asked for is; none if the document does not tell, which execution then says.
fn operation_type(request: &mut Request) -> Option<OperationType> {
    operation(request).map(|operation| operation.ty)
}

fn operation(request: &mut Request) -> Option<&OperationDefinition> {
    let wanted = request.operation_name.clone();
    let document = request.parsed_query().ok()?;
    let operation = match (&document.operations, wanted) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(operations), Some(wanted)) => operations.get(wanted.as_str()),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
        (DocumentOperations::Multiple(_), None) => None,
    };
    operation.map(|operation| &operation.node)
}
